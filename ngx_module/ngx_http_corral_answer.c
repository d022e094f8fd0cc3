
/*
 * An answer of the agent that is not a 101: passed to the client whole, as a
 * normal response of nginx, so that the client's connection can be used again.
 *
 * The body streams: at most one buffer of it is here, and the agent is read
 * again when the client has taken that.  Its end is the length, the last
 * chunk, or the end of the connection.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_handshake.h"


#define NGX_HTTP_CORRAL_ANSWER_BUFFER  16384


typedef struct {
    ngx_str_t    name;
    ngx_uint_t   offset;                    /* in headers_out, 0: of the hop */
} ngx_http_corral_answer_header_t;


static ngx_int_t ngx_http_corral_answer_header(ngx_http_corral_handshake_t *h);
static ngx_int_t ngx_http_corral_answer_known(ngx_http_corral_handshake_t *h,
    ngx_table_elt_t *e);
static ngx_int_t ngx_http_corral_answer_length(ngx_http_corral_handshake_t *h,
    ngx_str_t *value);
static void ngx_http_corral_answer_event(ngx_event_t *ev);
static void ngx_http_corral_answer_write(ngx_http_request_t *r);
static void ngx_http_corral_answer_run(ngx_http_corral_handshake_t *h);
static void ngx_http_corral_answer_wait(ngx_http_corral_handshake_t *h);
static ngx_int_t ngx_http_corral_answer_output(ngx_http_corral_handshake_t *h);
static ngx_int_t ngx_http_corral_answer_body(ngx_http_corral_handshake_t *h,
    ngx_chain_t **out);
static ngx_chain_t *ngx_http_corral_answer_buf(ngx_http_corral_handshake_t *h,
    off_t size);
static ngx_int_t ngx_http_corral_answer_read(ngx_http_corral_handshake_t *h);


static ngx_http_corral_answer_header_t  ngx_http_corral_answer_headers[] = {
    { ngx_string("connection"), 0 },
    { ngx_string("keep-alive"), 0 },
    { ngx_string("proxy-connection"), 0 },
    { ngx_string("upgrade"), 0 },
    { ngx_string("trailer"), 0 },
    { ngx_string("server"), offsetof(ngx_http_headers_out_t, server) },
    { ngx_string("date"), offsetof(ngx_http_headers_out_t, date) },
    { ngx_string("content-encoding"),
      offsetof(ngx_http_headers_out_t, content_encoding) },
    { ngx_string("location"), offsetof(ngx_http_headers_out_t, location) },
    { ngx_string("last-modified"),
      offsetof(ngx_http_headers_out_t, last_modified) },
    { ngx_string("accept-ranges"),
      offsetof(ngx_http_headers_out_t, accept_ranges) },
    { ngx_string("expires"), offsetof(ngx_http_headers_out_t, expires) },
    { ngx_string("etag"), offsetof(ngx_http_headers_out_t, etag) },
    { ngx_null_string, 0 }
};


#define ngx_http_corral_answer_is(e, s)                                       \
    ((e)->key.len == sizeof(s) - 1                                            \
     && ngx_strncmp((e)->lowcase_key, s, sizeof(s) - 1) == 0)


void
ngx_http_corral_answer_start(ngx_http_corral_handshake_t *h)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = h->request;
    c = r->upstream->peer.connection;

    if (ngx_http_corral_answer_header(h) != NGX_OK) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_BAD_GATEWAY);
        return;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        ngx_http_corral_handshake_finalize(h, rc);
        return;
    }

    if (r->header_only) {
        ngx_http_corral_handshake_finalize(h, rc);
        return;
    }

    c->read->handler = ngx_http_corral_answer_event;
    c->write->handler = ngx_http_corral_answer_event;
    r->write_event_handler = ngx_http_corral_answer_write;
    r->connection->log->action = "reading upstream";

    ngx_http_corral_answer_run(h);
}


static ngx_int_t
ngx_http_corral_answer_header(ngx_http_corral_handshake_t *h)
{
    size_t               len;
    ngx_int_t            rc;
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *e;
    ngx_http_request_t  *r;

    r = h->request;
    h->left = -1;

    for (part = &r->upstream->headers_in.headers.part; part; part = part->next)
    {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {
            rc = ngx_http_corral_answer_known(h, &e[i]);

            if (rc != NGX_OK) {
                return rc;
            }
        }
    }

    len = h->status.end - h->status.start;

    r->headers_out.status = h->status.code;
    r->headers_out.status_line.len = len;
    r->headers_out.status_line.data = h->status.start;

    if (h->status.code == NGX_HTTP_NO_CONTENT
        || h->status.code == NGX_HTTP_NOT_MODIFIED)
    {
        h->left = 0;
        h->chunked = 0;
        r->header_only = 1;
    }

    if (h->chunked) {
        h->left = -1;
    }

    r->headers_out.content_length_n = h->left;

    return NGX_OK;
}


/*
 * Puts one header of the agent where nginx looks for it.  What belongs to the
 * hop is left out.  NGX_DECLINED: the answer contradicts itself.
 */

static ngx_int_t
ngx_http_corral_answer_known(ngx_http_corral_handshake_t *h,
    ngx_table_elt_t *e)
{
    ngx_table_elt_t                  *out, **known;
    ngx_http_request_t               *r;
    ngx_http_corral_answer_header_t  *hh;

    r = h->request;
    known = NULL;

    if (ngx_http_corral_answer_is(e, "content-length")) {
        return ngx_http_corral_answer_length(h, &e->value);
    }

    if (ngx_http_corral_answer_is(e, "transfer-encoding")) {
        h->chunked = e->value.len == 7
                     && ngx_strncasecmp(e->value.data, (u_char *) "chunked", 7)
                        == 0;
        return h->chunked ? NGX_OK : NGX_DECLINED;
    }

    if (ngx_http_corral_answer_is(e, "content-type")) {
        r->headers_out.content_type = e->value;
        r->headers_out.content_type_len = e->value.len;
        return NGX_OK;
    }

    for (hh = ngx_http_corral_answer_headers; hh->name.len; hh++) {

        if (e->key.len != hh->name.len
            || ngx_strncmp(e->lowcase_key, hh->name.data, e->key.len) != 0)
        {
            continue;
        }

        if (hh->offset == 0) {
            return NGX_OK;
        }

        known = (ngx_table_elt_t **) ((char *) &r->headers_out + hh->offset);
        break;
    }

    out = ngx_list_push(&r->headers_out.headers);
    if (out == NULL) {
        return NGX_ERROR;
    }

    *out = *e;
    out->hash = 1;

    if (known) {
        *known = out;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_answer_length(ngx_http_corral_handshake_t *h, ngx_str_t *value)
{
    off_t  n;

    n = ngx_atoof(value->data, value->len);

    if (n == NGX_ERROR || (h->left != -1 && h->left != n)) {
        ngx_log_error(NGX_LOG_ERR, h->request->connection->log, 0,
                      "upstream sent invalid \"Content-Length\" header: "
                      "\"%V\"", value);
        return NGX_DECLINED;
    }

    h->left = n;

    return NGX_OK;
}


static void
ngx_http_corral_answer_event(ngx_event_t *ev)
{
    ngx_connection_t             *c, *client;
    ngx_http_corral_handshake_t  *h;

    c = ev->data;
    h = c->data;
    client = h->request->connection;

    ngx_http_set_log_request(client->log, h->request);

    if (c->close) {
        ngx_http_corral_handshake_finalize(h, NGX_ERROR);

    } else if (ev->timedout) {
        ngx_log_error(NGX_LOG_ERR, client->log, NGX_ETIMEDOUT,
                      "upstream timed out");
        ngx_http_corral_handshake_finalize(h, NGX_ERROR);

    } else if (!ev->write) {
        ngx_http_corral_answer_run(h);
    }

    ngx_http_run_posted_requests(client);
}


/* the client takes more */

static void
ngx_http_corral_answer_write(ngx_http_request_t *r)
{
    ngx_event_t                  *wev;
    ngx_http_corral_handshake_t  *h;

    wev = r->connection->write;
    h = r->upstream->peer.connection->data;

    if (wev->timedout) {
        r->connection->timedout = 1;
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    ngx_http_corral_answer_run(h);
}


static void
ngx_http_corral_answer_run(ngx_http_corral_handshake_t *h)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = h->request;

    for ( ;; ) {
        rc = ngx_http_corral_answer_output(h);

        if (rc == NGX_ERROR) {
            ngx_http_corral_handshake_finalize(h, NGX_ERROR);
            return;
        }

        if (h->busy) {
            break;
        }

        if (h->ended) {
            ngx_http_corral_handshake_finalize(h,
                                    ngx_http_send_special(r, NGX_HTTP_LAST));
            return;
        }

        rc = ngx_http_corral_answer_read(h);

        if (rc == NGX_ERROR) {
            r->keepalive = 0;
            (void) ngx_http_send_special(r, NGX_HTTP_FLUSH);
            ngx_http_corral_handshake_finalize(h, NGX_ERROR);
            return;
        }

        if (rc == NGX_AGAIN) {
            break;
        }
    }

    ngx_http_corral_answer_wait(h);
}


/* for the client to take more, or for the agent to send more */

static void
ngx_http_corral_answer_wait(ngx_http_corral_handshake_t *h)
{
    ngx_connection_t          *c, *client;
    ngx_http_core_loc_conf_t  *clcf;

    client = h->request->connection;
    c = h->request->upstream->peer.connection;

    clcf = ngx_http_get_module_loc_conf(h->request, ngx_http_core_module);

    if (h->busy) {

        if (c->read->timer_set) {
            ngx_del_timer(c->read);
        }

        ngx_add_timer(client->write, clcf->send_timeout);

    } else {

        if (client->write->timer_set) {
            ngx_del_timer(client->write);
        }

        ngx_add_timer(c->read, h->terms.handshake_timeout);
    }

    if (ngx_handle_write_event(client->write, clcf->send_lowat) != NGX_OK
        || ngx_handle_read_event(c->read, 0) != NGX_OK)
    {
        ngx_http_corral_handshake_finalize(h, NGX_ERROR);
    }
}


/* gives the client what is here, or more time for what it has not taken */

static ngx_int_t
ngx_http_corral_answer_output(ngx_http_corral_handshake_t *h)
{
    ngx_int_t     rc;
    ngx_chain_t  *out;

    out = NULL;

    if (h->busy == NULL) {
        rc = ngx_http_corral_answer_body(h, &out);

        if (rc != NGX_OK) {
            return rc;
        }

        if (out == NULL) {
            return NGX_OK;
        }
    }

    rc = ngx_http_output_filter(h->request, out);

    ngx_chain_update_chains(h->request->pool, &h->free, &h->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_corral_answer_start);

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


/* makes links of the bytes of body in h->in, and sees its end */

static ngx_int_t
ngx_http_corral_answer_body(ngx_http_corral_handshake_t *h, ngx_chain_t **out)
{
    off_t          size;
    ngx_int_t      rc;
    ngx_chain_t  **ll;

    ll = out;

    while (!h->ended) {

        if (h->chunked) {

#if (nginx_version >= 1027002)
            rc = ngx_http_parse_chunked(h->request, h->in, &h->chunk, 0);
#else
            rc = ngx_http_parse_chunked(h->request, h->in, &h->chunk);
#endif

            if (rc == NGX_DONE) {
                h->ended = 1;
                break;
            }

            if (rc == NGX_AGAIN) {
                break;
            }

            if (rc != NGX_OK) {
                ngx_log_error(NGX_LOG_ERR, h->request->connection->log, 0,
                              "upstream sent invalid chunked response");
                return NGX_ERROR;
            }

            size = ngx_min(h->in->last - h->in->pos, h->chunk.size);
            h->chunk.size -= size;

        } else {
            size = h->in->last - h->in->pos;

            if (h->left != -1) {
                size = ngx_min(size, h->left);
                h->left -= size;
                h->ended = h->left == 0;
            }

            if (size == 0) {
                break;
            }
        }

        *ll = ngx_http_corral_answer_buf(h, size);
        if (*ll == NULL) {
            return NGX_ERROR;
        }

        ll = &(*ll)->next;
    }

    return NGX_OK;
}


static ngx_chain_t *
ngx_http_corral_answer_buf(ngx_http_corral_handshake_t *h, off_t size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = ngx_chain_get_free_buf(h->request->pool, &h->free);
    if (cl == NULL) {
        return NULL;
    }

    b = cl->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->memory = 1;
    b->flush = 1;
    b->tag = (ngx_buf_tag_t) &ngx_http_corral_answer_start;
    b->pos = h->in->pos;
    h->in->pos += (size_t) size;
    b->last = h->in->pos;

    h->request->upstream->state->response_length += size;

    return cl;
}


/* NGX_OK: there is more in h->in, or the end was seen */

static ngx_int_t
ngx_http_corral_answer_read(ngx_http_corral_handshake_t *h)
{
    ssize_t            n;
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    c = h->request->upstream->peer.connection;

    if (!c->read->ready) {
        return NGX_AGAIN;
    }

    /* the head stays where it is: headers_out points into it */

    if (h->body == NULL) {
        b = ngx_create_temp_buf(h->request->pool,
                                NGX_HTTP_CORRAL_ANSWER_BUFFER);
        if (b == NULL) {
            return NGX_ERROR;
        }

        h->body = b;
    }

    b = h->body;
    b->pos = b->start;
    b->last = b->start;

    n = c->recv(c, b->last, b->end - b->last);

    if (n == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (n == 0 && !h->chunked && h->left == -1) {
        h->ended = 1;
        return NGX_OK;
    }

    if (n <= 0) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "upstream prematurely closed connection");
        return NGX_ERROR;
    }

    b->last += n;
    h->in = b;
    h->request->upstream->state->bytes_received += n;

    return NGX_OK;
}
