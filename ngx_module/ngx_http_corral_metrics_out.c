
/*
 * An answer of the metrics step while it is written: a chain of buffers that
 * grows, sent whole.  What fails on the way is kept in it, and is told when it
 * is sent.
 */


#include "ngx_http_corral_metrics.h"


#define NGX_HTTP_CORRAL_METRICS_BUF  16384


static u_char *ngx_http_corral_metrics_room(
    ngx_http_corral_metrics_out_t *out, size_t size);


ngx_int_t
ngx_http_corral_metrics_start(ngx_http_request_t *r,
    ngx_http_corral_metrics_out_t *out)
{
    ngx_int_t  rc;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    /* what this worker has counted since its last tick belongs to it */

    ngx_http_corral_table_flush();

    ngx_memzero(out, sizeof(ngx_http_corral_metrics_out_t));

    out->r = r;
    out->last = &out->first;

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_metrics_send(ngx_http_corral_metrics_out_t *out, char *type,
    size_t len)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = out->r;

    if (out->failed || out->buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out->buf->last_buf = 1;
    out->buf->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = out->size;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = len;
    r->headers_out.content_type_len = len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, out->first);
}


void
ngx_http_corral_metrics_print(ngx_http_corral_metrics_out_t *out,
    const char *fmt, ...)
{
    u_char   *p, *last;
    va_list   args;

    p = ngx_http_corral_metrics_room(out, 2048);
    if (p == NULL) {
        return;
    }

    va_start(args, fmt);
    last = ngx_vslprintf(p, out->buf->end, fmt, args);
    va_end(args);

    out->size += last - p;
    out->buf->last = last;
}


void
ngx_http_corral_metrics_string(ngx_http_corral_metrics_out_t *out,
    ngx_str_t *s)
{
    u_char  *p, *last;
    size_t   size;

    size = s->len + ngx_escape_json(NULL, s->data, s->len) + 2;

    p = ngx_http_corral_metrics_room(out, size);
    if (p == NULL) {
        return;
    }

    last = p;
    *last++ = '"';
    last = (u_char *) ngx_escape_json(last, s->data, s->len);
    *last++ = '"';

    out->size += last - p;
    out->buf->last = last;
}


/* size bytes of room in the last buffer, or in a new one */

static u_char *
ngx_http_corral_metrics_room(ngx_http_corral_metrics_out_t *out, size_t size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = out->buf;

    if (b && (size_t) (b->end - b->last) >= size) {
        return b->last;
    }

    cl = ngx_alloc_chain_link(out->r->pool);
    b = ngx_create_temp_buf(out->r->pool,
                            ngx_max(size, NGX_HTTP_CORRAL_METRICS_BUF));

    if (cl == NULL || b == NULL) {
        out->failed = 1;
        return NULL;
    }

    cl->buf = b;
    cl->next = NULL;

    *out->last = cl;
    out->last = &cl->next;
    out->buf = b;

    return b->last;
}
