
/*
 * A pair that moves joins another instance: the handshake, and the agent's side
 * with its new agent.
 *
 * The handshake is that of ngx_http_corral_handshake.c, with a request that
 * stands in for the one that is gone; its pool lives as long as one round.
 * Whether and when a pair moves is ngx_http_corral_relay_move.c's affair, what
 * the new agent is told first is ngx_http_corral_relay_replay.c's.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_handshake.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_sync.h"


static ngx_http_corral_handshake_t *ngx_http_corral_relay_move_handshake(
    ngx_http_corral_resume_t *resume, ngx_pool_t *pool);
static ngx_int_t ngx_http_corral_relay_move_request(
    ngx_http_corral_resume_t *resume, ngx_http_corral_handshake_t *h);
static void ngx_http_corral_relay_move_free(ngx_http_corral_resume_t *resume);
static void ngx_http_corral_relay_move_attach(ngx_http_corral_pair_t *p,
    ngx_http_corral_handshake_t *h);
static void ngx_http_corral_relay_move_record(ngx_http_corral_pair_t *p,
    ngx_http_corral_handshake_t *h);
static void ngx_http_corral_relay_move_kept(ngx_http_corral_pair_t *p,
    ngx_http_corral_handshake_t *h);


/* It is this pair's turn: begins a handshake. */

void
ngx_http_corral_relay_move_try(ngx_http_corral_resume_t *resume)
{
    ngx_pool_t                   *pool;
    ngx_http_corral_handshake_t  *h;

    resume->state = NGX_HTTP_CORRAL_MOVE_TRYING;

    pool = ngx_create_pool(4096,
           resume->pair->sides[NGX_HTTP_CORRAL_CLIENT].connection->log);

    h = pool ? ngx_http_corral_relay_move_handshake(resume, pool) : NULL;

    if (h == NULL) {

        if (pool) {
            ngx_destroy_pool(pool);
        }

        ngx_http_corral_relay_move_round(resume);
        return;
    }

    resume->handshake = h;

    /* may fail at once, and call ngx_http_corral_relay_move_failed() */

    ngx_http_corral_handshake_connect(h);
}


static ngx_http_corral_handshake_t *
ngx_http_corral_relay_move_handshake(ngx_http_corral_resume_t *resume,
    ngx_pool_t *pool)
{
    ngx_msec_int_t                 half;
    ngx_http_request_t            *r;
    ngx_http_upstream_t           *u;
    ngx_http_corral_pair_t        *p;
    ngx_http_corral_websocket_t   *ws;
    ngx_http_corral_handshake_t   *h;
    ngx_http_corral_record_end_t   end;

    p = resume->pair;

    ws = ngx_pcalloc(pool, sizeof(ngx_http_corral_websocket_t));
    u = ngx_pcalloc(pool, sizeof(ngx_http_upstream_t));
    h = ngx_pcalloc(pool, sizeof(ngx_http_corral_handshake_t));

    if (ws == NULL || u == NULL || h == NULL) {
        return NULL;
    }

    ngx_http_corral_relay_end_of(p, ws, &end);

    r = ngx_http_corral_record_request(p->record, &end, pool);
    if (r == NULL) {
        return NULL;
    }

    h->request = r;
    h->ctx = ngx_http_corral_get_ctx(r);
    h->conf = ngx_http_get_module_loc_conf(r,
                                           ngx_http_corral_websocket_module);
    h->pair = p;
    h->agreed = &resume->agreed;
    h->terms = p->shared->terms;
    h->tries = h->terms.tries;

    /* one that hangs leaves time for another one */

    half = h->terms.hold_time / 2;
    h->terms.connect_timeout = ngx_min(h->terms.connect_timeout, half);
    h->terms.handshake_timeout = ngx_min(h->terms.handshake_timeout, half);

    r->upstream = u;

    u->upstream = h->conf->upstream;
    u->peer.log = r->connection->log;
    u->peer.log_error = NGX_ERROR_ERR;
    u->peer.start_time = ngx_current_msec;
    ngx_str_set(&u->schema, "ws://");

    if (ngx_http_corral_relay_move_request(resume, h) != NGX_OK
        || ngx_http_corral_upstream_init_peer(r, h->conf->upstream) != NGX_OK)
    {
        return NULL;
    }

    u->peer.tries = h->terms.tries;

    /* it had a place in its service, and its pace is our affair */

    h->ctx->moved = 1;

    /* the one that was lost may be there again in a later round */

    if (resume->rounds == 0) {
        h->ctx->tried[0] = resume->key;
        h->ctx->ntried = 1;
        h->ctx->wanted = resume->wanted;

    } else if (resume->rounds == 1 && resume->wanted) {
        h->ctx->tried[0] = resume->wanted;  /* it did not take it */
        h->ctx->ntried = 1;
    }

    return h;
}


/* the request that the first agent got, and the number of this one */

static ngx_int_t
ngx_http_corral_relay_move_request(ngx_http_corral_resume_t *resume,
    ngx_http_corral_handshake_t *h)
{
    ngx_str_t  *request;

    request = &resume->agreed.request;

    h->out = ngx_create_temp_buf(h->request->pool, request->len
                                 + sizeof("Corral-Resume: " CRLF CRLF)
                                 + NGX_INT32_LEN);
    if (h->out == NULL) {
        return NGX_ERROR;
    }

    h->out->last = ngx_sprintf(h->out->last, "%VCorral-Resume: %uD" CRLF CRLF,
                               request, resume->resumed + 1);

    return NGX_OK;
}


/* No instance took the pair. */

void
ngx_http_corral_relay_move_failed(ngx_http_corral_handshake_t *h)
{
    ngx_http_corral_resume_t  *resume;

    resume = h->pair->resume;

    ngx_http_corral_relay_move_free(resume);
    ngx_http_corral_relay_move_round(resume);
}


/* The move is cancelled within a handshake. */

void
ngx_http_corral_relay_move_drop(ngx_http_corral_resume_t *resume)
{
    ngx_http_corral_handshake_drop(resume->handshake, 0);
    ngx_http_corral_relay_move_free(resume);
}


/* gives the handshake back; its connection was taken or dropped before */

static void
ngx_http_corral_relay_move_free(ngx_http_corral_resume_t *resume)
{
    ngx_pool_t  *pool;

    pool = resume->handshake->request->pool;

    resume->handshake = NULL;
    ngx_destroy_pool(pool);
}


/* another instance has taken the pair */

void
ngx_http_corral_relay_move_joined(ngx_http_corral_handshake_t *h)
{
    ngx_log_t                 *log;
    ngx_http_corral_pair_t    *p;
    ngx_http_corral_resume_t  *resume;

    p = h->pair;
    resume = p->resume;
    log = p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log;

    ngx_http_corral_relay_move_record(p, h);
    ngx_http_corral_relay_move_attach(p, h);

    resume->key = h->ctx->instance.key;
    resume->heard = p->sides[NGX_HTTP_CORRAL_AGENT].bytes;
    resume->joined = ngx_current_msec;
    resume->resumed++;
    resume->wanted = 0;

    ngx_http_corral_table_move(&p->hold, &h->ctx->hold);
    ngx_http_corral_table_local(p->hold.ref)->connections++;
    ngx_http_corral_table_local(p->shared->terms.ref)->moves++;

    log->action = "relaying WebSocket";

    ngx_http_corral_relay_pace_leave(resume);
    ngx_http_corral_relay_move_free(resume);

    resume->state = NGX_HTTP_CORRAL_MOVE_REPLAYING;
    p->moving = 0;

    ngx_http_corral_relay_list_use(p);
    ngx_http_corral_sync_connections();
    ngx_http_corral_relay_time_start(p);

    if (resume->rules) {
        ngx_http_corral_relay_replay_go_on(p);

    } else {

        if (p->sides[NGX_HTTP_CORRAL_AGENT].tail) {
            ngx_http_corral_relay_flush(p, &p->sides[NGX_HTTP_CORRAL_AGENT]);
        }

        ngx_http_corral_relay_move_done(p);
    }

    if (p->ending || p->ended) {
        ngx_http_corral_relay_settle(p);
    }
}


/* the agent's side with its new agent */

static void
ngx_http_corral_relay_move_attach(ngx_http_corral_pair_t *p,
    ngx_http_corral_handshake_t *h)
{
    size_t                     n;
    ngx_connection_t          *c;
    ngx_http_upstream_t       *u;
    ngx_http_corral_side_t    *agent;
    ngx_http_core_loc_conf_t  *clcf;

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];
    u = h->request->upstream;
    c = u->peer.connection;

    u->peer.connection = NULL;
    u->peer.sockaddr = NULL;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    clcf = ngx_http_get_module_loc_conf(h->request, ngx_http_core_module);

    if (clcf->tcp_nodelay) {
        (void) ngx_tcp_nodelay(c);
    }

    c->data = p;
    c->read->handler = ngx_http_corral_relay_handler;
    c->write->handler = ngx_http_corral_relay_handler;

    agent->connection = c;
    agent->eof = 0;
    agent->mute = 0;
    agent->heard = ngx_http_corral_relay_now();

    corral_frame_init(&agent->frame,
                      (h->deflate ? CORRAL_FRAME_DEFLATE : 0)
                      | (ngx_http_corral_relay_limit_metered(p,
                                                     NGX_HTTP_CORRAL_AGENT)
                         ? CORRAL_FRAME_METERED : 0));

    p->resume->before = agent->bytes;

    n = h->in->last - h->in->pos;

    if (n) {
        agent->rest = ngx_http_corral_relay_bytes(h->in->pos, n, n, c->log);
        agent->early = 1;

        if (agent->rest == NULL) {
            p->reset = 1;
            p->ended = 1;
        }
    }

    ngx_post_event(c->read, &ngx_posted_events);
}


/* logs and lists must know the new instance */

static void
ngx_http_corral_relay_move_record(ngx_http_corral_pair_t *p,
    ngx_http_corral_handshake_t *h)
{
    ngx_http_corral_record_t      *record;
    ngx_http_corral_websocket_t    ws;
    ngx_http_corral_record_end_t   end;

    ngx_http_corral_relay_end_of(p, &ws, &end);

    record = ngx_http_corral_record_move(p->record, h->ctx,
                                         h->request->upstream->state,
                                         h->request->upstream->start_time,
                                         &end);
    if (record == NULL) {
        ngx_log_error(NGX_LOG_ERR, end.connection->log, 0,
                      "no memory to note that a WebSocket goes on with "
                      "instance \"%V\"", &h->ctx->instance.id);

    } else {
        ngx_free(p->record);
        p->record = record;
    }

    if (p->kept) {
        ngx_http_corral_relay_move_kept(p, h);
    }
}


/* the same in the request, if that is there still */

static void
ngx_http_corral_relay_move_kept(ngx_http_corral_pair_t *p,
    ngx_http_corral_handshake_t *h)
{
    u_char                     *data;
    ngx_str_t                  *peer, *id, *name;
    ngx_http_request_t         *r;
    ngx_http_corral_ctx_t      *ctx;
    ngx_http_upstream_state_t  *state;

    r = p->sides[NGX_HTTP_CORRAL_CLIENT].connection->data;
    ctx = ngx_http_corral_find_ctx(r);
    id = &h->ctx->instance.id;
    name = &h->ctx->instance.name;

    state = r->upstream->state;
    state->response_time = ngx_current_msec - r->upstream->start_time;
    state->response_length = p->sides[NGX_HTTP_CORRAL_AGENT].bytes
                             - p->resume->before;
    state->bytes_received += state->response_length;
    state->bytes_sent = p->resume->sent;

    state = ngx_array_push(r->upstream_states);
    peer = ngx_palloc(r->pool, sizeof(ngx_str_t));
    data = ngx_pnalloc(r->pool, id->len + name->len);

    if (state == NULL || peer == NULL || data == NULL) {
        return;
    }

    ctx->instance.ref = h->ctx->instance.ref;
    ctx->instance.key = h->ctx->instance.key;
    ctx->instance.id.len = id->len;
    ctx->instance.id.data = data;
    ctx->instance.name.len = name->len;
    ctx->instance.name.data = ngx_cpymem(data, id->data, id->len);
    ngx_memcpy(ctx->instance.name.data, name->data, name->len);

    *peer = ctx->instance.name;
    *state = *h->request->upstream->state;
    state->peer = peer;

    r->upstream->state = state;
    r->upstream->start_time = h->request->upstream->start_time;
}


/* All is said that had to be: the client is heard again. */

void
ngx_http_corral_relay_move_done(ngx_http_corral_pair_t *p)
{
    ngx_str_t                  instance;
    ngx_http_corral_side_t    *client;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;
    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (resume->state != NGX_HTTP_CORRAL_MOVE_REPLAYING) {
        return;                             /* it was lost again meanwhile */
    }

    if (resume->event.timer_set) {
        ngx_del_timer(&resume->event);
    }

    resume->state = NGX_HTTP_CORRAL_MOVE_NONE;

    instance = ngx_http_corral_record_string(p->record,
                                           NGX_HTTP_CORRAL_RECORD_INSTANCE_ID);

    ngx_log_error(NGX_LOG_INFO, client->connection->log, 0,
                  "WebSocket goes on with instance \"%V\": after %M ms, with "
                  "%ui messages sent again", &instance,
                  ngx_current_msec - resume->lost, resume->replayed);

    client->paused = 0;
    ngx_post_event(client->connection->read, &ngx_posted_events);
}
