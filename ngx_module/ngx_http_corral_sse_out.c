
/*
 * Events on their way to a client, in buffers of the request that are used
 * again and again: a stream may last for days.
 */


#include "ngx_http_corral_sse.h"


#define NGX_HTTP_CORRAL_SSE_BUFFER   16384
#define NGX_HTTP_CORRAL_SSE_BUFFERS  4      /* on their way at a time */


static ngx_int_t ngx_http_corral_sse_out_buf(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out);


void
ngx_http_corral_sse_out_init(ngx_http_corral_sse_out_t *out)
{
    ngx_memzero(out, sizeof(ngx_http_corral_sse_out_t));
    out->last = &out->out;
}


ngx_int_t
ngx_http_corral_sse_out_put(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out, u_char *data, size_t len)
{
    size_t  n;

    while (len) {

        if ((out->buf == NULL || out->buf->last == out->buf->end)
            && ngx_http_corral_sse_out_buf(r, out) != NGX_OK)
        {
            return NGX_ERROR;
        }

        n = ngx_min(len, (size_t) (out->buf->end - out->buf->last));

        out->buf->last = ngx_cpymem(out->buf->last, data, n);
        data += n;
        len -= n;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_sse_out_event(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out, ngx_str_t *event, u_char *run,
    uint64_t seq)
{
    u_char  *p, id[sizeof("id: \n\n") + CORRAL_SSE_ID_MAX];

    /* the last id of an event counts: ours stands behind the agent's */

    p = ngx_cpymem(id, "id: ", 4);
    p = ngx_cpymem(p, run, CORRAL_SSE_RUN);
    p = ngx_sprintf(p, "-%uL\n\n", seq);

    if (ngx_http_corral_sse_out_put(r, out, event->data, event->len) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_corral_sse_out_put(r, out, id, p - id);
}


ngx_int_t
ngx_http_corral_sse_out_end(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out, ngx_uint_t last)
{
    if (out->buf == NULL) {

        if (!last) {
            return NGX_OK;
        }

        if (ngx_http_corral_sse_out_buf(r, out) != NGX_OK) {
            return NGX_ERROR;
        }

        out->buf->temporary = 0;            /* it may stay empty */
    }

    out->buf->flush = 1;
    out->buf->last_buf = last;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_sse_out_buf(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = ngx_chain_get_free_buf(r->pool, &out->free);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    b = cl->buf;

    if (b->start == NULL) {
        b->start = ngx_palloc(r->pool, NGX_HTTP_CORRAL_SSE_BUFFER);
        if (b->start == NULL) {
            return NGX_ERROR;
        }

        b->end = b->start + NGX_HTTP_CORRAL_SSE_BUFFER;
        b->tag = (ngx_buf_tag_t) &ngx_http_corral_sse_out_init;
    }

    b->pos = b->start;
    b->last = b->start;
    b->temporary = 1;
    b->flush = 0;
    b->last_buf = 0;

    cl->next = NULL;
    *out->last = cl;
    out->last = &cl->next;
    out->buf = b;
    out->n++;

    return NGX_OK;
}


ngx_uint_t
ngx_http_corral_sse_out_full(ngx_http_corral_sse_out_t *out)
{
    return out->n >= NGX_HTTP_CORRAL_SSE_BUFFERS;
}


void
ngx_http_corral_sse_out_update(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out)
{
    ngx_chain_t  *cl;

    ngx_chain_update_chains(r->pool, &out->free, &out->busy, &out->out,
                            (ngx_buf_tag_t) &ngx_http_corral_sse_out_init);

    out->last = &out->out;
    out->buf = NULL;
    out->n = 0;

    for (cl = out->busy; cl; cl = cl->next) {
        out->n++;
    }
}


void
ngx_http_corral_sse_count(ngx_http_corral_slot_t ref, size_t field)
{
    ngx_http_corral_totals_t  delta;

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    *(uint64_t *) ((u_char *) &delta + field) = 1;

    ngx_http_corral_table_add(ref, &delta);
}
