
/*
 * The birth of a pair: it takes over both connections from a request, sends
 * the 101, and frees the request, or keeps it if somebody else holds it: a
 * module with a cleanup of its own (limit_conn, realip, auth with a pool) or a
 * subrequest would lose by its early end.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_revocation.h"
#include "ngx_http_corral_sync.h"
#include "ngx_http_corral_websocket.h"


static ngx_int_t ngx_http_corral_relay_prepare(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_start_t *start);
static void ngx_http_corral_relay_take_over(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_start_t *start);
static ngx_uint_t ngx_http_corral_relay_must_keep(ngx_http_request_t *r,
    ngx_http_cleanup_t *own);
static void ngx_http_corral_relay_keep(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_cleanup_t *cln);
static void ngx_http_corral_relay_release(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r);
static void ngx_http_corral_relay_free_buffers(ngx_connection_t *c,
    ngx_http_connection_t *hc);


static ngx_uint_t  ngx_http_corral_relay_noticed;    /* that one was kept */


ngx_int_t
ngx_http_corral_relay_start(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_start_t *start)
{
    ngx_log_t               *log;
    ngx_uint_t               kept;
    ngx_connection_t        *c, *u;
    ngx_http_corral_pair_t  *p;

    c = r->connection;
    u = r->upstream->peer.connection;
    log = c->log;

    p = ngx_http_corral_relay_list_alloc(log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    kept = ngx_http_corral_relay_must_keep(r, start->cleanup);
    p->kept = kept;

    if (ngx_http_corral_relay_prepare(p, r, ctx, start) != NGX_OK) {
        ngx_http_corral_relay_list_free(p);
        return NGX_ERROR;
    }

    /* nothing can fail from here on */

    p->number = ngx_http_corral_relay_new_number();

    ngx_http_corral_table_move(&p->hold, &ctx->hold);
    ngx_http_corral_table_local(p->hold.ref)->connections++;
    ngx_http_corral_table_local(p->shared->terms.ref)->connections++;

    ngx_http_corral_relay_take_over(p, r, start);

    if (kept) {
        ngx_http_corral_relay_keep(p, r, start->cleanup);

    } else {
        ngx_http_corral_relay_release(p, r);
    }

    log->action = "relaying WebSocket";

    ngx_http_corral_relay_time_start(p);
    ngx_http_corral_relay_list_use(p);
    ngx_http_corral_sync_connections();

    /* what is there already gives no edge any more */

    ngx_post_event(c->read, &ngx_posted_events);
    ngx_post_event(u->read, &ngx_posted_events);

    /*
     * It may have been revoked while the agent thought about the handshake; the
     * events above settle it.
     */

    (void) ngx_http_corral_relay_token_check(p);

    return NGX_OK;
}


/* all that can fail; on error the pair has nothing that needs to be freed */

static ngx_int_t
ngx_http_corral_relay_prepare(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_start_t *start)
{
    ngx_buf_t                    *b;
    ngx_log_t                    *log;
    ngx_http_corral_side_t       *client, *agent;
    ngx_http_corral_websocket_t  *ws;

    log = r->connection->log;
    b = r->header_in;
    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    r->header_size = start->head.len;

    p->shared = ngx_http_corral_relay_list_share(r, ctx, start->terms);
    p->record = ngx_http_corral_record_create(r, ctx, !p->kept);

    if (p->shared == NULL || p->record == NULL
        || ngx_http_corral_relay_resume_create(p, ctx, start->agreed)
           != NGX_OK)
    {
        goto failed;
    }

    if (p->kept) {
        ws = ngx_pcalloc(r->pool, sizeof(ngx_http_corral_websocket_t));
        if (ws == NULL) {
            goto failed;
        }

        ngx_http_set_ctx(r, ws, ngx_http_corral_websocket_module);
    }

    if (b->pos < b->last) {
        client->rest = ngx_http_corral_relay_bytes(b->pos, b->last - b->pos,
                                                   b->last - b->pos, log);
        if (client->rest == NULL) {
            goto failed;
        }

        client->early = 1;
    }

    if (ngx_http_corral_relay_limit_create(p, ctx->expires, log) != NGX_OK
        || ngx_http_corral_relay_renew_create(p, log) != NGX_OK)
    {
        goto failed;
    }

    if (start->early.len) {
        agent->rest = ngx_http_corral_relay_bytes(start->early.data,
                                                  start->early.len,
                                                  start->early.len, log);
        if (agent->rest == NULL) {
            goto failed;
        }

        agent->early = 1;
    }

    return NGX_OK;

failed:

    r->headers_out.status = 0;

    if (p->limits) {
        ngx_free(p->limits);
    }

    if (p->renew) {
        ngx_http_corral_relay_renew_free(p);
    }

    if (client->rest) {
        ngx_free(client->rest);
    }

    if (p->resume) {
        ngx_http_corral_relay_resume_free(p);
    }

    if (p->record) {
        ngx_free(p->record);
    }

    if (p->shared) {
        ngx_http_corral_relay_list_unshare(p->shared);
    }

    return NGX_ERROR;
}


static void
ngx_http_corral_relay_take_over(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_start_t *start)
{
    ngx_uint_t                 i, deflate;
    ngx_connection_t          *c[2];
    ngx_http_core_loc_conf_t  *clcf;

    c[NGX_HTTP_CORRAL_CLIENT] = r->connection;
    c[NGX_HTTP_CORRAL_AGENT] = r->upstream->peer.connection;

    r->upstream->peer.connection = NULL;
    r->upstream->peer.sockaddr = NULL;
    start->cleanup->handler = NULL;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    deflate = start->deflate ? CORRAL_FRAME_DEFLATE : 0;

    p->hc = r->http_connection;
    p->last = ngx_current_msec;

    for (i = 0; i < 2; i++) {
        p->sides[i].connection = c[i];
        p->sides[i].heard = ngx_http_corral_relay_now();

        p->sides[i].whole = p->resume != NULL;

        corral_frame_init(&p->sides[i].frame,
                          deflate | (i == NGX_HTTP_CORRAL_CLIENT
                                     ? CORRAL_FRAME_MASKED : 0)
                          | (ngx_http_corral_relay_limit_metered(p, i)
                             ? CORRAL_FRAME_METERED : 0));
        if (c[i]->read->timer_set) {
            ngx_del_timer(c[i]->read);
        }

        if (c[i]->write->timer_set) {
            ngx_del_timer(c[i]->write);
        }

        if (clcf->tcp_nodelay) {
            (void) ngx_tcp_nodelay(c[i]);
        }
    }

#if (NGX_HTTP_SSL)

    /* what was not written is tried again from the tail, not from scratch */

    if (c[0]->ssl) {
        SSL_set_mode(c[0]->ssl->connection,
                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                     |SSL_MODE_ENABLE_PARTIAL_WRITE);
    }

#endif

    r->header_sent = 1;
    r->keepalive = 0;

    ngx_http_corral_relay_put(p, NGX_HTTP_CORRAL_CLIENT, start->head.data,
                              start->head.len);
}


/* somebody else holds the request, and would lose by its early end */

static ngx_uint_t
ngx_http_corral_relay_must_keep(ngx_http_request_t *r, ngx_http_cleanup_t *own)
{
    ngx_http_cleanup_t  *cln;

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler && cln != own) {
            return 1;
        }
    }

    return r->count != 1 || r->postponed || r->post_action
           || !ngx_http_corral_only_own_cleanups(r);
}


static void
ngx_http_corral_relay_keep(ngx_http_corral_pair_t *p, ngx_http_request_t *r,
    ngx_http_cleanup_t *cln)
{
    ngx_connection_t             *c, *u;
    ngx_http_corral_websocket_t  *ws;

    c = p->sides[NGX_HTTP_CORRAL_CLIENT].connection;
    u = p->sides[NGX_HTTP_CORRAL_AGENT].connection;

    if (!ngx_http_corral_relay_noticed) {
        ngx_http_corral_relay_noticed = 1;
        ngx_log_error(NGX_LOG_NOTICE, c->log, 0,
                      "another module holds the request of a WebSocket (for "
                      "example limit_conn): it is kept while the connection "
                      "lives, which takes about 9 kB each");
    }

    ngx_http_corral_revocation_open_leave(ngx_http_corral_find_ctx(r));

    ws = ngx_http_get_module_ctx(r, ngx_http_corral_websocket_module);
    ws->pair = p;
    ws->id = ngx_http_corral_relay_id(p);

    cln->handler = ngx_http_corral_relay_kept_cleanup;
    cln->data = p;

    u->data = p;
    u->read->handler = ngx_http_corral_relay_handler;
    u->write->handler = ngx_http_corral_relay_handler;

    c->read->handler = ngx_http_corral_relay_kept_handler;
    c->write->handler = ngx_http_corral_relay_kept_handler;

    r->read_event_handler = ngx_http_request_empty_handler;
    r->write_event_handler = ngx_http_request_empty_handler;
}


/* frees the request: its connections are the pair's alone from now on */

static void
ngx_http_corral_relay_release(ngx_http_corral_pair_t *p, ngx_http_request_t *r)
{
    ngx_connection_t  *c, *u;

    c = p->sides[NGX_HTTP_CORRAL_CLIENT].connection;
    u = p->sides[NGX_HTTP_CORRAL_AGENT].connection;

    r->logged = 1;
    r->cleanup = NULL;

    ngx_http_free_request(r, 0);

    c->destroyed = 0;
    c->data = p;
    c->read->handler = ngx_http_corral_relay_handler;
    c->write->handler = ngx_http_corral_relay_handler;

    u->data = p;
    u->read->handler = ngx_http_corral_relay_handler;
    u->write->handler = ngx_http_corral_relay_handler;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_writing, 1);
#endif

    ngx_http_corral_relay_free_buffers(c, p->hc);
}


/* those that the request was read into, as ngx_http_set_keepalive() does */

static void
ngx_http_corral_relay_free_buffers(ngx_connection_t *c,
    ngx_http_connection_t *hc)
{
    ngx_buf_t    *b;
    ngx_uint_t    i;
    ngx_chain_t  *cl, *ln, **chains[2];

    b = c->buffer;

    if (b && b->start && ngx_pfree(c->pool, b->start) == NGX_OK) {
        b->start = NULL;
        b->pos = NULL;
        b->last = NULL;
        b->end = NULL;
    }

    chains[0] = &hc->free;
    chains[1] = &hc->busy;

    for (i = 0; i < 2; i++) {

        for (cl = *chains[i]; cl; /* void */) {
            ln = cl;
            cl = cl->next;
            ngx_pfree(c->pool, ln->buf->start);
            ngx_free_chain(c->pool, ln);
        }

        *chains[i] = NULL;
    }

    hc->nbusy = 0;
}
