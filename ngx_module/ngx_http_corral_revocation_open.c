
/*
 * Requests that go on while something is revoked: answers of any length, event
 * streams and gRPC, handshakes, and those that wait for an instance.  Each that
 * has a token, a subject or a session is kept in mind, and looked at again when
 * the list is another one.  A WebSocket that is open is no request any more:
 * ngx_http_corral_relay_token.c.
 *
 * The queue is the worker's; an entry is part of its context and goes with it.
 */


#include "ngx_http_corral_revocation.h"


static void ngx_http_corral_revocation_open_check(ngx_http_corral_ctx_t *ctx);


static ngx_queue_t  ngx_http_corral_revocation_opens;
static ngx_queue_t  ngx_http_corral_revocation_last;    /* of this look */


void
ngx_http_corral_revocation_open(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    if (ctx->open.next) {
        return;                             /* before it was redirected */
    }

    if (ngx_http_corral_revocation_opens.next == NULL) {
        ngx_queue_init(&ngx_http_corral_revocation_opens);
    }

    ctx->client = r;
    ngx_queue_insert_tail(&ngx_http_corral_revocation_opens, &ctx->open);
}


void
ngx_http_corral_revocation_open_leave(ngx_http_corral_ctx_t *ctx)
{
    if (ctx->open.next) {
        ngx_queue_remove(&ctx->open);
        ctx->open.next = NULL;
    }
}


/* Those that come later have been asked by the new list already. */

void
ngx_http_corral_revocation_open_begin(void)
{
    if (ngx_http_corral_revocation_opens.next == NULL) {
        return;
    }

    if (ngx_http_corral_revocation_last.next) {
        ngx_queue_remove(&ngx_http_corral_revocation_last);
    }

    ngx_queue_insert_tail(&ngx_http_corral_revocation_opens,
                          &ngx_http_corral_revocation_last);
}


ngx_int_t
ngx_http_corral_revocation_open_end(ngx_uint_t max)
{
    ngx_queue_t  *q;

    if (ngx_http_corral_revocation_last.next == NULL) {
        return NGX_OK;
    }

    while (max--) {
        q = ngx_queue_head(&ngx_http_corral_revocation_opens);
        ngx_queue_remove(q);

        if (q == &ngx_http_corral_revocation_last) {
            q->next = NULL;
            return NGX_OK;
        }

        ngx_queue_insert_tail(&ngx_http_corral_revocation_opens, q);

        ngx_http_corral_revocation_open_check(
                              ngx_queue_data(q, ngx_http_corral_ctx_t, open));
    }

    return NGX_AGAIN;
}


static void
ngx_http_corral_revocation_open_check(ngx_http_corral_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->client;

    if (ctx->revoked || r->done || !ngx_http_corral_revoked_ctx(ctx)) {
        return;
    }

    ctx->revoked = 1;

    if (ctx->wait) {
        ngx_http_corral_unpark(r);          /* its step refuses it */
        return;
    }

    c = r->connection;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "the token of a request was revoked");

    ngx_http_corral_table_local(ctx->terms.ref)->cut_revoked++;

#if (NGX_HTTP_V2)

    /* nginx would keep the RST_STREAM until another stream has something */

    if (r->stream) {
        ngx_post_event(r->stream->connection->connection->write,
                       &ngx_posted_events);
    }

#endif

    /* as nginx ends one from outside: the cleanup of an upstream counts it */

    r->main->count++;

    ngx_http_finalize_request(r, NGX_HTTP_CLOSE);
    ngx_http_run_posted_requests(c);
}
