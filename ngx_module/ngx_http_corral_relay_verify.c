
/*
 * Asks a location of nginx about a token: a request of its own, as if a client
 * had sent it, that runs through all phases.  So whatever verifies tokens in
 * nginx can: proxy_pass to a service, auth_request, a JWT module, njs.  (A
 * subrequest would not do: nginx leaves out the access phase for these.)
 *
 * The request stands in for the one that was upgraded, which is gone, and has
 * of it what its record has.  Its connection is a socket that is connected to
 * nobody: what is written there is dropped, and nothing ever comes.  It has no
 * TLS of its own, as nginx would shut down the client's at its end.  It shares
 * no memory with the pair, which may end before it does.
 *
 * nginx frees the request as any other; our cleanup in it looks at what came of
 * it and posts an event, so that the pair is never touched from within.
 */


#include "ngx_http_corral_relay_renew.h"
#include "ngx_http_corral_websocket.h"


static void ngx_http_corral_relay_verify_begin(ngx_event_t *ev);
static void ngx_http_corral_relay_verify_end(ngx_http_request_t *r);
static ngx_http_request_t *ngx_http_corral_relay_verify_request(
    ngx_http_corral_verify_t *v);
static ngx_int_t ngx_http_corral_relay_verify_prepare(
    ngx_http_corral_verify_t *v, ngx_http_request_t *r);
static ngx_connection_t *ngx_http_corral_relay_verify_connection(
    ngx_connection_t *client);
static ngx_int_t ngx_http_corral_relay_verify_address(ngx_connection_t *c,
    ngx_connection_t *client);
static void ngx_http_corral_relay_verify_handler(ngx_event_t *ev);
static ngx_chain_t *ngx_http_corral_relay_verify_drop(ngx_connection_t *c,
    ngx_chain_t *in, off_t limit);
static void ngx_http_corral_relay_verify_done(void *data);
static char *ngx_http_corral_relay_verify_judge(ngx_http_corral_verify_t *v,
    ngx_http_request_t *r);
static ngx_uint_t ngx_http_corral_relay_verify_same(ngx_http_corral_verify_t *v,
    ngx_http_request_t *r, ngx_http_corral_ctx_t *who);
static void ngx_http_corral_relay_verify_told(ngx_event_t *ev);


ngx_http_corral_verify_t *
ngx_http_corral_relay_verify(ngx_http_corral_pair_t *p, ngx_str_t *token)
{
    ngx_http_corral_verify_t  *v;

    v = ngx_calloc(sizeof(ngx_http_corral_verify_t) + token->len,
                   ngx_cycle->log);
    if (v == NULL) {
        return NULL;
    }

    v->pair = p;
    v->len = token->len;
    ngx_memcpy(v->data, token->data, token->len);

    v->event.handler = ngx_http_corral_relay_verify_begin;
    v->event.data = v;
    v->event.log = ngx_cycle->log;

    ngx_post_event(&v->event, &ngx_posted_events);

    return v;
}


void
ngx_http_corral_relay_verify_cancel(ngx_http_corral_verify_t *v)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = v->request;

    if (r == NULL) {

        if (v->event.posted) {
            ngx_delete_posted_event(&v->event);
        }

        ngx_free(v);
        return;
    }

    v->pair = NULL;
    c = r->connection;

    ngx_http_corral_relay_verify_end(r);
    ngx_http_run_posted_requests(c);
}


/* as nginx ends one from outside: the cleanup of an upstream counts it down */

static void
ngx_http_corral_relay_verify_end(ngx_http_request_t *r)
{
    r->main->count++;

    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}


static void
ngx_http_corral_relay_verify_begin(ngx_event_t *ev)
{
    ngx_str_t                              uri;
    ngx_connection_t                      *c;
    ngx_http_request_t                    *r;
    ngx_http_corral_verify_t              *v;
    ngx_http_corral_websocket_loc_conf_t  *wlcf;

    v = ev->data;

    r = ngx_http_corral_relay_verify_request(v);

    ngx_explicit_memzero(v->data, v->len);

    if (r == NULL) {
        v->failed = "unavailable";
        ngx_http_corral_relay_verify_told(ev);
        return;
    }

    v->request = r;
    c = r->connection;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_websocket_module);
    uri = wlcf->token_renew;

    (void) ngx_http_internal_redirect(r, &uri, NULL);

    ngx_http_finalize_request(r, NGX_DONE);
    ngx_http_run_posted_requests(c);
}


static ngx_http_request_t *
ngx_http_corral_relay_verify_request(ngx_http_corral_verify_t *v)
{
    ngx_pool_t                    *pool;
    ngx_connection_t              *c;
    ngx_http_request_t            *r;
    ngx_http_connection_t         *hc;
    ngx_http_corral_pair_t        *p;
    ngx_http_corral_record_t      *record;
    ngx_http_corral_websocket_t   *ws;
    ngx_http_corral_record_end_t   end;

    p = v->pair;

    c = ngx_http_corral_relay_verify_connection(
                             p->sides[NGX_HTTP_CORRAL_CLIENT].connection);
    if (c == NULL) {
        return NULL;
    }

    pool = ngx_create_pool(4096, c->log);
    if (pool == NULL) {
        ngx_http_close_connection(c);
        return NULL;
    }

    r = NULL;

    hc = ngx_palloc(pool, sizeof(ngx_http_connection_t));
    ws = ngx_pcalloc(pool, sizeof(ngx_http_corral_websocket_t));
    record = ngx_http_corral_record_copy(p->record, pool);

    if (hc && ws && record) {
        *hc = *p->hc;

        hc->busy = NULL;
        hc->nbusy = 0;
        hc->free = NULL;

        ngx_http_corral_relay_end_of(p, ws, &end);

        end.connection = c;
        end.hc = hc;

        r = ngx_http_corral_record_request(record, &end, pool);
    }

    if (r == NULL || ngx_http_corral_relay_verify_prepare(v, r) != NGX_OK) {
        ngx_destroy_pool(pool);
        ngx_http_close_connection(c);
        return NULL;
    }

    c->data = r;

    return r;
}


/* makes a request of what is, so far, one to be logged */

static ngx_int_t
ngx_http_corral_relay_verify_prepare(ngx_http_corral_verify_t *v,
    ngx_http_request_t *r)
{
    u_char                     *p;
    ngx_str_t                   value;
    ngx_time_t                 *tp;
    ngx_http_cleanup_t         *cln;
    ngx_http_corral_ctx_t      *ctx, was;
    ngx_http_core_main_conf_t  *cmcf;

    static ngx_str_t  authorization = ngx_string("authorization");
    static ngx_str_t  host = ngx_string("host");

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    /* what was kept of variables is of the old token */

    ngx_memzero(r->variables, cmcf->variables.nelts
                              * sizeof(ngx_http_variable_value_t));

    ctx = ngx_http_corral_get_ctx(r);
    cln = ngx_http_cleanup_add(r, 0);
    p = ngx_pnalloc(r->pool, sizeof("Bearer ") - 1 + v->len);
    r->header_in = ngx_create_temp_buf(r->pool, 1);

    if (ctx == NULL || cln == NULL || p == NULL || r->header_in == NULL) {
        return NGX_ERROR;
    }

    /* it is a request to another service, or none, of the same client */

    was = *ctx;
    ngx_memzero(ctx, sizeof(ngx_http_corral_ctx_t));
    ctx->tenant = was.tenant;
    ctx->subject = was.subject;

    value.data = p;
    value.len = sizeof("Bearer ") - 1 + v->len;
    ngx_memcpy(ngx_cpymem(p, "Bearer ", 7), v->data, v->len);

    if (ngx_http_corral_set_header(r, &host, &r->headers_in.server) != NGX_OK
        || ngx_http_corral_set_header(r, &authorization, &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_in.host = ngx_http_corral_get_header(r, &host);
    r->headers_in.authorization = ngx_http_corral_get_header(r,
                                                             &authorization);

    tp = ngx_timeofday();

    r->start_sec = tp->sec;
    r->start_msec = tp->msec;
    r->upstream_states = NULL;
    r->headers_out.status = 0;
    r->header_sent = 0;
    r->request_complete = 0;
    r->logged = 1;
    r->uri_changes = NGX_HTTP_MAX_URI_CHANGES + 1;
    r->subrequests = NGX_HTTP_MAX_SUBREQUESTS + 1;
    r->read_event_handler = ngx_http_block_reading;

    cln->handler = ngx_http_corral_relay_verify_done;
    cln->data = v;

    return NGX_OK;
}


/* a connection of this client's, to nobody */

static ngx_connection_t *
ngx_http_corral_relay_verify_connection(ngx_connection_t *client)
{
    ngx_log_t           *log;
    ngx_socket_t         s;
    ngx_connection_t    *c;
    ngx_http_log_ctx_t  *ctx;

    s = ngx_socket(AF_UNIX, SOCK_STREAM, 0);

    if (s == (ngx_socket_t) -1) {
        ngx_log_error(NGX_LOG_ERR, client->log, ngx_socket_errno,
                      ngx_socket_n " failed, a token cannot be verified");
        return NULL;
    }

    c = ngx_get_connection(s, ngx_cycle->log);

    if (c == NULL) {
        (void) ngx_close_socket(s);
        return NULL;
    }

    c->pool = ngx_create_pool(1024, ngx_cycle->log);
    if (c->pool == NULL) {
        ngx_close_connection(c);
        return NULL;
    }

    log = ngx_palloc(c->pool, sizeof(ngx_log_t));
    ctx = ngx_pcalloc(c->pool, sizeof(ngx_http_log_ctx_t));

    if (log == NULL || ctx == NULL
        || ngx_http_corral_relay_verify_address(c, client) != NGX_OK)
    {
        ngx_destroy_pool(c->pool);
        ngx_close_connection(c);
        return NULL;
    }

    *log = *client->log;
    log->data = ctx;
    log->action = "verifying a token";
    ctx->connection = c;

    c->log = log;
    c->pool->log = log;
    c->log_error = NGX_ERROR_INFO;
    c->number = client->number;
    c->start_time = client->start_time;
    c->listening = client->listening;

    c->recv = ngx_recv;
    c->send = ngx_send;
    c->recv_chain = ngx_recv_chain;
    c->send_chain = ngx_http_corral_relay_verify_drop;

    /* nginx would add them to its poll; there is nothing to wait for */

    c->read->active = 1;
    c->write->active = 1;
    c->write->ready = 1;

    c->read->log = log;
    c->write->log = log;
    c->read->handler = ngx_http_corral_relay_verify_handler;
    c->write->handler = ngx_http_corral_relay_verify_handler;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_active, 1);    /* as it will close */
#endif

    return c;
}


static ngx_int_t
ngx_http_corral_relay_verify_address(ngx_connection_t *c,
    ngx_connection_t *client)
{
    c->socklen = client->socklen;
    c->sockaddr = ngx_palloc(c->pool, client->socklen);
    c->addr_text.len = client->addr_text.len;
    c->addr_text.data = ngx_pstrdup(c->pool, &client->addr_text);

    if (c->sockaddr == NULL || c->addr_text.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(c->sockaddr, client->sockaddr, client->socklen);

    if (client->local_sockaddr) {
        c->local_socklen = client->local_socklen;
        c->local_sockaddr = ngx_palloc(c->pool, client->local_socklen);
        if (c->local_sockaddr == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(c->local_sockaddr, client->local_sockaddr,
                   client->local_socklen);
    }

    return NGX_OK;
}


/* a timer of whoever delays the request, or nginx stops */

static void
ngx_http_corral_relay_verify_handler(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = ev->data;
    r = c->data;

    ngx_http_set_log_request(c->log, r);

    if (c->close) {
        ngx_http_corral_relay_verify_end(r);
        ngx_http_run_posted_requests(c);
        return;
    }

    if (ev->delayed && ev->timedout) {
        ev->delayed = 0;
        ev->timedout = 0;
    }

    if (ev->write) {
        r->write_event_handler(r);

    } else {
        r->read_event_handler(r);
    }

    ngx_http_run_posted_requests(c);
}


static ngx_chain_t *
ngx_http_corral_relay_verify_drop(ngx_connection_t *c, ngx_chain_t *in,
    off_t limit)
{
    for ( /* void */ ; in; in = in->next) {
        c->sent += ngx_buf_size(in->buf);

        if (ngx_buf_in_memory(in->buf)) {
            in->buf->pos = in->buf->last;
        }

        if (in->buf->in_file) {
            in->buf->file_pos = in->buf->file_last;
        }
    }

    return NULL;
}


/* the request is about to be freed */

static void
ngx_http_corral_relay_verify_done(void *data)
{
    ngx_http_corral_verify_t *v = data;

    ngx_http_request_t  *r;

    r = v->request;
    v->request = NULL;

    if (v->pair == NULL) {
        ngx_free(v);
        return;
    }

    v->failed = ngx_http_corral_relay_verify_judge(v, r);

    v->event.handler = ngx_http_corral_relay_verify_told;
    ngx_post_event(&v->event, &ngx_posted_events);
}


/* NULL: the token is good, and of the same client; or a word for the client */

static char *
ngx_http_corral_relay_verify_judge(ngx_http_corral_verify_t *v,
    ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_str_t              token;
    ngx_uint_t             status;
    ngx_http_corral_ctx_t  who;

    status = r->err_status ? r->err_status : r->headers_out.status;

    if (status < NGX_HTTP_OK || status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return "unavailable";
    }

    if (status >= NGX_HTTP_SPECIAL_RESPONSE) {
        return "refused";
    }

    ngx_memzero(&who, sizeof(ngx_http_corral_ctx_t));

    rc = ngx_http_corral_who(r, &who);

    if (rc == NGX_OK) {
        rc = ngx_http_corral_token_id(r, &token);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_corral_websocket_token_end(r, &v->expires);
    }

    if (rc == NGX_ERROR) {
        return "unavailable";
    }

    if (rc == NGX_OK && !ngx_http_corral_relay_verify_same(v, r, &who)) {
        return "subject_differs";
    }

    if (rc != NGX_OK || v->expires == 0 || token.len > sizeof(v->id)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"%V\" of corral_token_renew has let a token pass of "
                      "which corral_expires says no time, or corral_token_id "
                      "more than %uz bytes", &r->uri, sizeof(v->id));
        return "bad_answer";
    }

    if (v->expires + NGX_HTTP_CORRAL_LEEWAY <= ngx_time()) {
        return "expired";
    }

    v->token.data = v->id;
    v->token.len = token.len;
    ngx_memcpy(v->id, token.data, token.len);

    return NULL;
}


/* nobody goes on as somebody else, and nobody has no token to renew */

static ngx_uint_t
ngx_http_corral_relay_verify_same(ngx_http_corral_verify_t *v,
    ngx_http_request_t *r, ngx_http_corral_ctx_t *who)
{
    ngx_str_t  tenant, subject;

    tenant = ngx_http_corral_record_string(v->pair->record,
                                           NGX_HTTP_CORRAL_RECORD_TENANT);
    subject = ngx_http_corral_record_string(v->pair->record,
                                            NGX_HTTP_CORRAL_RECORD_SUBJECT);

    if (subject.len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "corral_token_renew needs corral_subject: a WebSocket "
                      "without a subject cannot be renewed");
        return 0;
    }

    return who->subject.len == subject.len
           && ngx_memcmp(who->subject.data, subject.data, subject.len) == 0
           && who->tenant.len == tenant.len
           && ngx_memcmp(who->tenant.data, tenant.data, tenant.len) == 0;
}


static void
ngx_http_corral_relay_verify_told(ngx_event_t *ev)
{
    ngx_http_corral_verify_t  *v;

    v = ev->data;

    ngx_http_corral_relay_renew_told(v->pair, v);
    ngx_free(v);
}
