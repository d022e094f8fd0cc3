
/*
 * The pair: a client's connection and an agent's after the 101.
 *
 * Bytes go from one to the other through one scratch buffer of the worker: one
 * recv and one send an event.  A connection owns memory only while bytes
 * towards it are unsent (tail) or a frame header has begun to come (rest).
 * While there is a tail, the other side is not read: that is all there is of
 * back-pressure.  Frames are scanned on their way, not rewritten; frames of our
 * own are put in at the boundaries that the scanner sees.
 *
 * Functions below the event handlers only note what has happened, in the flags
 * of the sides; ngx_http_corral_relay_settle(), called last by each of them,
 * draws the consequences and alone may end the pair, which frees it.
 *
 * The end of one side does not end the other: everything it said is passed,
 * then a Close if there was none, then FIN; what still comes from the other
 * side is read and dropped, so that the kernel sends no RST that would destroy
 * bytes on their way (ngx_http_corral_relay_time.c limits this).
 *
 * Close codes.  A side that goes without a Close: 1001 for the other one, or
 * 1011 if it is the agent and it was reset or did not answer a ping.  A frame
 * that breaks the protocol: 1002 for its sender; a message that is too big:
 * 1009; in both cases the other side gets 1001 (the agent) or 1011 (the
 * client).  Idle: 1001 "idle" for both.  nginx stops: 1012 for the client,
 * 1001 for the agent.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_sync.h"
#include "ngx_http_corral_websocket.h"

#include <sys/random.h>


#define NGX_HTTP_CORRAL_RELAY_TURNS  16     /* reads until others have a turn */

/* in front of the scratch buffer: what was held back from the last read */

#define NGX_HTTP_CORRAL_RELAY_ROOM   256


static ngx_int_t ngx_http_corral_relay_prepare(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_start_t *start);
static ngx_http_corral_bytes_t *ngx_http_corral_relay_bytes(u_char *data,
    size_t len, size_t size, ngx_log_t *log);
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

static void ngx_http_corral_relay_handler(ngx_event_t *ev);
static void ngx_http_corral_relay_kept_handler(ngx_event_t *ev);
static void ngx_http_corral_relay_event(ngx_http_corral_pair_t *p,
    ngx_event_t *ev);

static void ngx_http_corral_relay_pump(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static ngx_uint_t ngx_http_corral_relay_early(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static void ngx_http_corral_relay_take(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n);
static u_char *ngx_http_corral_relay_control(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *start, u_char *pos, corral_frame_result_t *res);
static void ngx_http_corral_relay_count_in(ngx_http_corral_pair_t *p,
    ngx_uint_t i, size_t bytes, size_t messages);
static void ngx_http_corral_relay_pass(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n);
static void ngx_http_corral_relay_put(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n);
static ngx_int_t ngx_http_corral_relay_wait(ngx_http_corral_side_t *s,
    u_char *pos, size_t n);
static void ngx_http_corral_relay_flush(ngx_http_corral_pair_t *p,
    ngx_uint_t i);

static void ngx_http_corral_relay_ended(ngx_http_corral_pair_t *p,
    ngx_uint_t i, ngx_uint_t lost);
static void ngx_http_corral_relay_mute(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static void ngx_http_corral_relay_refuse(ngx_http_corral_pair_t *p,
    ngx_uint_t i, ngx_uint_t code);
static void ngx_http_corral_relay_owe(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t code);
static void ngx_http_corral_relay_pay(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static ngx_uint_t ngx_http_corral_relay_boundary(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static void ngx_http_corral_relay_fin(ngx_http_corral_side_t *s);

static void ngx_http_corral_relay_end_kept(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_websocket_t *sum);
static void ngx_http_corral_relay_sum(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws);
static void ngx_http_corral_relay_log(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws);
static void ngx_http_corral_relay_free(ngx_http_corral_pair_t *p,
    ngx_uint_t sent);
static void ngx_http_corral_relay_reset(ngx_connection_t *c);
static void ngx_http_corral_relay_kept_cleanup(void *data);


static u_char    *ngx_http_corral_relay_scratch;
static size_t     ngx_http_corral_relay_size;
static uint32_t   ngx_http_corral_relay_worker;     /* high half of the ids */
static uint32_t   ngx_http_corral_relay_number;     /* the last low half */
static u_char     ngx_http_corral_relay_nonce[8];   /* payload of our pings */
static ngx_uint_t ngx_http_corral_relay_noticed;    /* that one was kept */


#define ngx_http_corral_relay_now()  ((uint32_t) ngx_current_msec)

/* may bytes be put into the stream to this side? */

#define ngx_http_corral_relay_open(s)                                         \
    (!(s)->told && !(s)->mute && !(s)->eof && !(s)->fin)


ngx_int_t
ngx_http_corral_relay_init(ngx_cycle_t *cycle)
{
    uint32_t                                seed[4];
    ngx_uint_t                              i;
    ngx_http_corral_websocket_main_conf_t  *wmcf;

    wmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                             ngx_http_corral_websocket_module);

    ngx_http_corral_relay_size = wmcf->buffer;
    ngx_http_corral_relay_scratch = ngx_palloc(cycle->pool,
                               NGX_HTTP_CORRAL_RELAY_ROOM + wmcf->buffer);
    if (ngx_http_corral_relay_scratch == NULL) {
        return NGX_ERROR;
    }

    if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {

        for (i = 0; i < 4; i++) {
            seed[i] = (uint32_t) ngx_random();
        }
    }

    ngx_http_corral_relay_worker = seed[0] ? seed[0] : 1;
    ngx_memcpy(ngx_http_corral_relay_nonce, &seed[1], 8);

    ngx_http_corral_relay_list_init();

    return ngx_http_corral_relay_time_init(cycle);
}


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

    p->number = ++ngx_http_corral_relay_number;

    if (p->number == 0) {
        p->number = ++ngx_http_corral_relay_number;
    }

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

    if (p->shared == NULL || p->record == NULL) {
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

    if (client->rest) {
        ngx_free(client->rest);
    }

    if (p->record) {
        ngx_free(p->record);
    }

    if (p->shared) {
        ngx_http_corral_relay_list_unshare(p->shared);
    }

    return NGX_ERROR;
}


static ngx_http_corral_bytes_t *
ngx_http_corral_relay_bytes(u_char *data, size_t len, size_t size,
    ngx_log_t *log)
{
    ngx_http_corral_bytes_t  *b;

    b = ngx_alloc(sizeof(ngx_http_corral_bytes_t) + size, log);
    if (b == NULL) {
        return NULL;
    }

    b->size = size;
    b->pos = 0;
    b->last = len;
    ngx_memcpy(b->data, data, len);

    return b;
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

        corral_frame_init(&p->sides[i].frame,
                          deflate | (i == NGX_HTTP_CORRAL_CLIENT
                                     ? CORRAL_FRAME_MASKED : 0));
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


ngx_uint_t
ngx_http_corral_relay_owns(ngx_connection_t *c)
{
    return !c->destroyed
           && c->read->handler == ngx_http_corral_relay_handler;
}


uint64_t
ngx_http_corral_relay_id(ngx_http_corral_pair_t *p)
{
    return (uint64_t) ngx_http_corral_relay_worker << 32 | p->number;
}


static void
ngx_http_corral_relay_handler(ngx_event_t *ev)
{
    ngx_connection_t  *c;

    c = ev->data;

    ngx_http_corral_relay_event(c->data, ev);
}


/* the client's side while its c->data is the request */

static void
ngx_http_corral_relay_kept_handler(ngx_event_t *ev)
{
    ngx_connection_t             *c;
    ngx_http_corral_websocket_t  *ws;

    c = ev->data;
    ws = ngx_http_get_module_ctx((ngx_http_request_t *) c->data,
                                 ngx_http_corral_websocket_module);

    ngx_http_corral_relay_event(ws->pair, ev);
}


static void
ngx_http_corral_relay_event(ngx_http_corral_pair_t *p, ngx_event_t *ev)
{
    ngx_uint_t         i;
    ngx_connection_t  *c;

    static ngx_str_t  stops = ngx_string("gateway stops");

    c = ev->data;
    i = c == p->sides[NGX_HTTP_CORRAL_AGENT].connection;

    if (c->close) {

        /* worker_shutdown_timeout is over; c->error would spoil TLS */

        c->close = 0;
        c->error = 0;
        p->hurry = 1;

        ngx_http_corral_relay_shut(p, 1012, 1001, &stops);

    } else if (!ev->write) {
        ngx_http_corral_relay_pump(p, i);

    } else if (p->sides[i].tail) {
        ngx_http_corral_relay_flush(p, i);

        if (p->sides[i].tail == NULL) {
            ngx_http_corral_relay_pump(p, !i);
        }
    }

    ngx_http_corral_relay_settle(p);
}


/* from side i to the other one, as much as that one takes */

static void
ngx_http_corral_relay_pump(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    u_char                  *buf;
    size_t                   held;
    ssize_t                  n;
    ngx_uint_t               turn;
    ngx_event_t             *rev;
    ngx_http_corral_side_t  *a, *b;

    a = &p->sides[i];
    b = &p->sides[!i];
    rev = a->connection->read;

    if (a->early && !ngx_http_corral_relay_early(p, i)) {
        return;
    }

    for (turn = 0; rev->ready && !a->eof && !(b->tail && !b->told); turn++) {

        if (turn == NGX_HTTP_CORRAL_RELAY_TURNS) {
            ngx_post_event(rev, &ngx_posted_next_events);
            return;
        }

        buf = ngx_http_corral_relay_scratch + NGX_HTTP_CORRAL_RELAY_ROOM;

        n = a->connection->recv(a->connection, buf,
                                ngx_http_corral_relay_size);

        if (n == NGX_AGAIN) {
            return;
        }

        if (n <= 0) {
            ngx_http_corral_relay_ended(p, i, n == NGX_ERROR);
            return;
        }

        a->heard = ngx_http_corral_relay_now();
        a->waiting = 0;
        a->bytes += n;

        held = 0;

        if (a->rest) {
            held = a->rest->last;
            buf -= held;
            ngx_memcpy(buf, a->rest->data, held);
            ngx_free(a->rest);
            a->rest = NULL;
        }

        ngx_http_corral_relay_take(p, i, buf, held + n);
    }
}


/*
 * The bytes that came before the pair was made.  0: they are still here, since
 * nothing can be sent.
 */

static ngx_uint_t
ngx_http_corral_relay_early(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_http_corral_side_t   *a;
    ngx_http_corral_bytes_t  *b;

    if (p->sides[!i].tail) {
        return 0;
    }

    a = &p->sides[i];
    b = a->rest;

    a->rest = NULL;
    a->early = 0;
    a->bytes += b->last;

    ngx_http_corral_relay_take(p, i, b->data, b->last);

    ngx_free(b);

    return 1;
}


/* scans n bytes of side i, passes what may pass and holds the rest back */

static void
ngx_http_corral_relay_take(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n)
{
    int                      rc;
    u_char                  *head, *start, *last;
    size_t                   data, messages, control;
    corral_frame_result_t    res;
    ngx_http_corral_side_t  *a, *b;

    a = &p->sides[i];
    b = &p->sides[!i];

    if (a->deaf) {
        return;
    }

    head = pos;
    start = pos;
    last = pos + n;
    data = 0;
    messages = 0;

    for ( ;; ) {
        rc = corral_frame_scan(&a->frame, pos, last - pos,
                               p->shared->terms.max_message_size, &res);
        control = 0;

        if (rc == CORRAL_FRAME_CONTROL) {
            control = res.good - res.start;
            start = ngx_http_corral_relay_control(p, i, start, pos, &res);
        }

        pos += res.good;
        data += res.good - control;
        messages += res.messages;

        if (rc != CORRAL_FRAME_CONTROL && rc != CORRAL_FRAME_PIECE) {
            break;
        }

        /* a frame of our own waits for this boundary */

        if ((b->owe_close || b->owe_ping) && corral_frame_boundary(&a->frame))
        {
            ngx_http_corral_relay_pass(p, i, start, pos - start);
            start = pos;
            ngx_http_corral_relay_pay(p, !i);
        }
    }

    ngx_http_corral_relay_pass(p, i, start, pos - start);

    if (data) {
        p->last = ngx_current_msec;

        if (!p->changed) {
            ngx_http_corral_relay_list_use(p);
        }
    }

    ngx_http_corral_relay_count_in(p, i, pos - head, messages);

    if (rc >= 1000) {
        ngx_http_corral_relay_refuse(p, i, rc);

    } else if (rc == CORRAL_FRAME_DONE && pos < last) {
        a->rest = ngx_http_corral_relay_bytes(pos, last - pos, last - pos,
                                              a->connection->log);
        if (a->rest == NULL) {
            p->reset = 1;
            p->ended = 1;
        }
    }
}


/*
 * A control frame lies at pos + res->start.  start is the first byte that has
 * not passed yet; it moves if the frame is to be left out.
 */

static u_char *
ngx_http_corral_relay_control(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *start, u_char *pos, corral_frame_result_t *res)
{
    size_t                   len;
    ngx_http_corral_side_t  *a;

    a = &p->sides[i];

    if (res->opcode == CORRAL_FRAME_CLOSE) {
        a->said = 1;

        if (p->close_code == 0) {
            p->close_code = res->code;
        }

        if (!p->limited) {
            ngx_http_corral_relay_time_limit(p,
                                             p->shared->terms.close_timeout);
        }

        return start;
    }

    if (res->opcode == CORRAL_FRAME_PONG
        && res->len == sizeof(ngx_http_corral_relay_nonce)
        && ngx_memcmp(res->payload, ngx_http_corral_relay_nonce, res->len)
           == 0)
    {
        len = res->good - res->start;
        a->bytes -= len;

        ngx_memmove(start + len, start, pos + res->start - start);

        return start + len;
    }

    return start;
}


static void
ngx_http_corral_relay_count_in(ngx_http_corral_pair_t *p, ngx_uint_t i,
    size_t bytes, size_t messages)
{
    ngx_http_corral_totals_t  *instance, *service;

    p->sides[i].messages += messages;

    instance = ngx_http_corral_table_local(p->hold.ref);
    service = ngx_http_corral_table_local(p->shared->terms.ref);

    if (i == NGX_HTTP_CORRAL_CLIENT) {
        instance->messages_in += messages;
        instance->bytes_in += bytes;
        service->messages_in += messages;
        service->bytes_in += bytes;

    } else {
        instance->messages_out += messages;
        instance->bytes_out += bytes;
        service->messages_out += messages;
        service->bytes_out += bytes;
    }

}


/* bytes of side i for the other one, unless its stream has ended */

static void
ngx_http_corral_relay_pass(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n)
{
    ngx_http_corral_side_t  *b;

    b = &p->sides[!i];

    if (n == 0 || !ngx_http_corral_relay_open(b)) {
        return;
    }

    ngx_http_corral_relay_put(p, !i, pos, n);

    if (p->sides[i].said) {
        b->told = 1;
        b->owe_close = 0;
        b->owe_ping = 0;
    }
}


/* sends to side i; what it does not take becomes its tail */

static void
ngx_http_corral_relay_put(ngx_http_corral_pair_t *p, ngx_uint_t i, u_char *pos,
    size_t n)
{
    ssize_t                  m;
    ngx_connection_t        *c;
    ngx_http_corral_side_t  *s;

    s = &p->sides[i];
    c = s->connection;

    /*
     * A short write says that a socket is full, but not so with TLS: go on
     * until it says so itself, or no event will ever come
     */

    while (s->tail == NULL) {
        m = c->send(c, pos, n);

        if (m == NGX_ERROR) {
            ngx_http_corral_relay_mute(p, i);
            return;
        }

        if (m == NGX_AGAIN) {
            break;
        }

        if ((size_t) m == n) {
            return;
        }

        pos += m;
        n -= m;

        if (!c->write->ready) {
            break;
        }
    }

    if (ngx_http_corral_relay_wait(s, pos, n) != NGX_OK) {
        p->reset = 1;
        p->ended = 1;
    }
}


static ngx_int_t
ngx_http_corral_relay_wait(ngx_http_corral_side_t *s, u_char *pos, size_t n)
{
    size_t                    left;
    ngx_http_corral_bytes_t  *t;

    t = s->tail;

    if (t == NULL) {
        s->tail = ngx_http_corral_relay_bytes(pos, n, n, s->connection->log);
        if (s->tail == NULL) {
            return NGX_ERROR;
        }

        return ngx_handle_write_event(s->connection->write, 0);
    }

    /* only small frames of our own, and what followed them in one buffer */

    if (t->size - t->last < n) {
        left = t->last - t->pos;

        t = ngx_http_corral_relay_bytes(t->data + t->pos, left, left + n + 256,
                                        s->connection->log);
        if (t == NULL) {
            return NGX_ERROR;
        }

        ngx_free(s->tail);
        s->tail = t;
    }

    ngx_memcpy(t->data + t->last, pos, n);
    t->last += n;

    return NGX_OK;
}


static void
ngx_http_corral_relay_flush(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ssize_t                   n;
    ngx_connection_t         *c;
    ngx_http_corral_side_t   *s;
    ngx_http_corral_bytes_t  *t;

    s = &p->sides[i];
    c = s->connection;
    t = s->tail;

    while (c->write->ready) {
        n = c->send(c, t->data + t->pos, t->last - t->pos);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {
            ngx_http_corral_relay_mute(p, i);
            return;
        }

        /* it takes bytes: it lives */

        s->heard = ngx_http_corral_relay_now();
        s->waiting = 0;
        t->pos += n;

        if (t->pos == t->last) {
            ngx_free(t);
            s->tail = NULL;
            return;
        }
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        p->reset = 1;
        p->ended = 1;
    }
}


/*
 * Nothing comes from side i any more.  lost: not by a FIN, but by an error, or
 * it did not answer our ping.
 */

static void
ngx_http_corral_relay_ended(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t lost)
{
    ngx_uint_t               code;
    ngx_http_corral_side_t  *a, *b;

    a = &p->sides[i];
    b = &p->sides[!i];

    if (a->eof) {
        return;
    }

    a->eof = 1;
    a->owe_close = 0;
    a->owe_ping = 0;

    if (a->tail) {
        ngx_free(a->tail);
        a->tail = NULL;
    }

    if (i == NGX_HTTP_CORRAL_AGENT
        && !a->said && !a->told && !b->said && !b->eof && !p->own)
    {
        ngx_http_corral_table_fail(p->hold.ref, p->shared->terms.max_fails,
                                   p->shared->terms.fail_timeout, lost);
        p->lost = 1;
    }

    if (b->said) {
        code = p->close_code;

    } else if (i == NGX_HTTP_CORRAL_AGENT && lost) {
        code = 1011;

    } else {
        code = 1001;
    }

    if (p->close_code == 0) {
        p->close_code = 1006;
    }

    ngx_http_corral_relay_owe(p, !i, code);
}


/* side i did not answer a ping */

void
ngx_http_corral_relay_lose(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_log_error(NGX_LOG_INFO, p->sides[i].connection->log, 0,
                  "%s did not answer a WebSocket ping",
                  i == NGX_HTTP_CORRAL_CLIENT ? "client" : "agent");

    ngx_http_corral_relay_ended(p, i, 1);
    ngx_http_corral_relay_mute(p, i);
}


/* a send failed; what this side has still to say may be in its socket */

static void
ngx_http_corral_relay_mute(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_http_corral_side_t  *s;

    s = &p->sides[i];

    s->mute = 1;
    s->owe_close = 0;
    s->owe_ping = 0;

    if (s->tail) {
        ngx_free(s->tail);
        s->tail = NULL;
    }
}


/* side i broke the protocol: it is not listened to any longer */

static void
ngx_http_corral_relay_refuse(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t code)
{
    ngx_str_t   reason;
    ngx_uint_t  client, agent;

    ngx_log_error(NGX_LOG_INFO, p->sides[i].connection->log, 0,
                  "%s sent %s",
                  i == NGX_HTTP_CORRAL_CLIENT ? "client" : "agent",
                  code == 1009 ? "a WebSocket message that is too big"
                               : "a broken WebSocket frame");

    p->sides[i].deaf = 1;

    ngx_str_null(&reason);

    if (i == NGX_HTTP_CORRAL_CLIENT) {
        client = code;
        agent = 1001;

    } else {
        client = 1011;
        agent = code;

        if (code != 1009 && !p->own) {
            ngx_http_corral_table_fail(p->hold.ref,
                                       p->shared->terms.max_fails,
                                       p->shared->terms.fail_timeout, 0);
        }
    }

    if (p->close_code == 0) {
        p->close_code = code;
    }

    ngx_http_corral_relay_shut(p, client, agent, &reason);
}


/*
 * Begins a close of our own: client and agent are the codes, reason is for
 * both.  The caller settles the pair.
 */

void
ngx_http_corral_relay_shut(ngx_http_corral_pair_t *p, ngx_uint_t client,
    ngx_uint_t agent, ngx_str_t *reason)
{
    ngx_log_t                  *log;
    ngx_http_corral_closing_t  *closing;

    if (!p->own) {
        p->own = 1;
        log = p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log;

        if (reason->len && p->closing == NULL) {
            p->closing = ngx_calloc(sizeof(ngx_http_corral_closing_t), log);
        }

        closing = p->closing;

        /* without memory: without a reason */

        if (reason->len && closing) {
            closing->len = ngx_min(reason->len,
                                   NGX_HTTP_CORRAL_RELAY_REASON);
            ngx_memcpy(closing->reason, reason->data, closing->len);
        }

        if (p->close_code == 0) {
            p->close_code = client;
        }

        ngx_http_corral_relay_owe(p, NGX_HTTP_CORRAL_CLIENT, client);
        ngx_http_corral_relay_owe(p, NGX_HTTP_CORRAL_AGENT, agent);
        ngx_http_corral_relay_time_limit(p, p->shared->terms.close_timeout);
    }

    if (p->hurry) {
        ngx_http_corral_relay_time_limit(p, NGX_HTTP_CORRAL_RELAY_HURRY);
    }
}


/* side i is to get a Close, at the next boundary */

static void
ngx_http_corral_relay_owe(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t code)
{
    ngx_http_corral_side_t  *s;

    s = &p->sides[i];

    s->owe_ping = 0;

    if (!ngx_http_corral_relay_open(s) || s->owe_close) {
        return;
    }

    s->owe_close = 1;
    s->code = code;
}


/* pings side i, now or at the next boundary */

void
ngx_http_corral_relay_ping(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    if (ngx_http_corral_relay_open(&p->sides[i])) {
        p->sides[i].owe_ping = 1;
        ngx_http_corral_relay_pay(p, i);
    }
}


/* puts in the frames that side i is owed, if its stream is at a boundary */

static void
ngx_http_corral_relay_pay(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    size_t                   n;
    uint32_t                 mask;
    const uint8_t           *key;
    ngx_http_corral_side_t  *s;
    u_char                   buf[CORRAL_FRAME_CONTROL_MAX];

    s = &p->sides[i];

    if (!ngx_http_corral_relay_boundary(p, i)) {
        return;
    }

    key = NULL;

    if (i == NGX_HTTP_CORRAL_AGENT) {
        mask = (uint32_t) (ngx_random() << 8 ^ ngx_random());
        key = (uint8_t *) &mask;
    }

    if (s->owe_close) {
        s->owe_close = 0;
        s->owe_ping = 0;

        n = corral_frame_close(buf, s->code,
                               p->closing ? (char *) p->closing->reason : "",
                               p->closing ? p->closing->len : 0, key);

        ngx_http_corral_relay_put(p, i, buf, n);
        s->told = 1;

    } else if (s->owe_ping) {
        s->owe_ping = 0;

        n = corral_frame_control(buf, CORRAL_FRAME_PING,
                                 ngx_http_corral_relay_nonce,
                                 sizeof(ngx_http_corral_relay_nonce), key);

        s->pinged = ngx_http_corral_relay_now();
        s->waiting = 1;

        ngx_http_corral_relay_put(p, i, buf, n);
    }
}


/*
 * Is the stream to side i at a frame boundary?  If not, the scanner of the
 * other side is told to stop at the next one.
 */

static ngx_uint_t
ngx_http_corral_relay_boundary(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_http_corral_side_t  *from;

    from = &p->sides[!i];

    if (corral_frame_boundary(&from->frame)) {
        from->frame.flags &= ~CORRAL_FRAME_PIECES;
        return 1;
    }

    from->frame.flags |= CORRAL_FRAME_PIECES;

    if (from->eof) {
        p->sides[i].owe_close = 0;          /* there will never be one */
    }

    return 0;
}


void
ngx_http_corral_relay_settle(ngx_http_corral_pair_t *p)
{
    ngx_uint_t               i, over, done;
    ngx_http_corral_side_t  *s, *from;

    over = 0;
    done = 0;

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];
        from = &p->sides[!i];

        if (s->owe_close) {
            ngx_http_corral_relay_pay(p, i);
        }

        /* nothing will be sent to it any more */

        if (s->tail == NULL
            && !s->fin && !s->mute && !s->owe_close
            && (from->eof || (s->told && (s->said || s->deaf))))
        {
            ngx_http_corral_relay_fin(s);
        }

        over |= s->fin | s->mute | s->eof;

        /* it has ended, or has closed and knows that we have */

        done += s->eof || (s->said && s->told && s->tail == NULL);
    }

    if (p->ended || done == 2) {
        ngx_http_corral_relay_end(p);
        return;
    }

    if (over && !p->lingering && !(p->own && p->limited)) {
        p->lingering = 1;
        ngx_http_corral_relay_time_limit(p, p->hurry
                                            ? NGX_HTTP_CORRAL_RELAY_HURRY
                                            : NGX_HTTP_CORRAL_RELAY_LINGER);
    }
}


/* The pair's deadline is over. */

void
ngx_http_corral_relay_expire(ngx_http_corral_pair_t *p)
{
    ngx_uint_t               i, progress;
    ngx_http_corral_side_t  *s;

    if (p->lingering) {
        progress = 0;

        for (i = 0; i < 2; i++) {
            s = &p->sides[i];

            if (s->mute && !s->eof) {

                /* its last words had their time: the other one is told */

                ngx_http_corral_relay_ended(p, i, 1);
                progress = 1;

            } else if (!s->eof) {
                progress |= ngx_http_corral_relay_time_progress(s)
                            && s->queued;
            }
        }

        if (progress) {
            ngx_http_corral_relay_time_limit(p, NGX_HTTP_CORRAL_RELAY_LINGER);

        } else {
            p->ended = 1;
        }

        return;
    }

    s = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (p->own && !s->eof && !s->mute && (!s->told || s->tail)) {

        /* no frame boundary came, or the client takes nothing */

        p->reset = 1;
        p->ended = 1;
        return;
    }

    if (!p->own) {

        /* one side has said Close, the other one goes on: let it */

        for (i = 0; i < 2; i++) {
            s = &p->sides[i];

            if (!s->said
                && (uint32_t) ngx_current_msec - s->heard
                   < (uint32_t) p->shared->terms.close_timeout)
            {
                ngx_http_corral_relay_time_limit(p,
                                             p->shared->terms.close_timeout);
                return;
            }
        }
    }

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];

        if (!s->fin && !s->mute) {
            ngx_http_corral_relay_fin(s);
        }
    }

    p->lingering = 1;
    ngx_http_corral_relay_time_limit(p, p->hurry
                                        ? NGX_HTTP_CORRAL_RELAY_HURRY
                                        : NGX_HTTP_CORRAL_RELAY_LINGER);
}


/* shuts writing down: close() would be a RST if something still comes in */

static void
ngx_http_corral_relay_fin(ngx_http_corral_side_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;
    s->fin = 1;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        ERR_clear_error();
        (void) SSL_shutdown(c->ssl->connection);
        ERR_clear_error();
    }

#endif

    if (ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        s->mute = 1;                        /* it has gone meanwhile */
    }
}


/* Ends the pair now and frees it. */

void
ngx_http_corral_relay_end(ngx_http_corral_pair_t *p)
{
    ngx_connection_t             *c;
    ngx_http_corral_totals_t     *instance, *service;
    ngx_http_corral_websocket_t   sum;

    c = p->sides[NGX_HTTP_CORRAL_CLIENT].connection;

    ngx_http_corral_relay_sum(p, &sum);

    instance = ngx_http_corral_table_local(p->hold.ref);
    service = ngx_http_corral_table_local(p->shared->terms.ref);

    switch (sum.close_code) {
    case 1000:
    case 1001:
    case 1005:
        instance->closes_normal++;
        service->closes_normal++;
        break;

    default:
        instance->closes_other++;
        service->closes_other++;
        break;
    }

    ngx_http_corral_table_flush();

    if (p->reset) {
        ngx_http_corral_relay_reset(c);

        if (!p->sides[NGX_HTTP_CORRAL_AGENT].told) {
            ngx_http_corral_relay_reset(
                                 p->sides[NGX_HTTP_CORRAL_AGENT].connection);
        }
    }

    if (!p->kept) {
        ngx_http_corral_relay_log(p, &sum);

#if (NGX_STAT_STUB)
        (void) ngx_atomic_fetch_add(ngx_stat_writing, -1);
#endif

        c->data = p->hc;                /* ngx_http_close_connection() may */
        c->log->action = "closing connection";  /* wait for TLS */

        ngx_http_corral_relay_free(p, sum.close_sent);
        ngx_http_close_connection(c);
        return;
    }

    ngx_http_corral_relay_end_kept(p, c->data, &sum);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_corral_relay_end_kept(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_websocket_t *sum)
{
    ngx_http_cleanup_t           *cln;
    ngx_http_corral_side_t       *agent;
    ngx_http_upstream_state_t    *state;
    ngx_http_corral_websocket_t  *ws;

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    ws = ngx_http_get_module_ctx(r, ngx_http_corral_websocket_module);
    *ws = *sum;

    state = r->upstream->state;
    state->response_time = ngx_current_msec - r->upstream->start_time;
    state->response_length = agent->bytes;
    state->bytes_received += agent->bytes;
    state->bytes_sent = agent->connection->sent;

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_corral_relay_kept_cleanup) {
            cln->handler = NULL;
        }
    }

    ngx_http_corral_relay_free(p, sum->close_sent);

    /* not NGX_HTTP_CLOSE: it counts as a time-out, and may reset */

    ngx_http_finalize_request(r, NGX_ERROR);
}


static void
ngx_http_corral_relay_sum(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws)
{
    ngx_http_corral_side_t  *client, *agent;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    ws->pair = NULL;
    ws->id = ngx_http_corral_relay_id(p);
    ws->messages_received = client->messages;
    ws->messages_sent = agent->messages;
    ws->bytes_received = client->bytes;
    ws->bytes_sent = agent->bytes;
    ws->close_code = p->close_code ? p->close_code : 1006;
    ws->close_sent = client->told && client->tail == NULL && !client->mute;
}


static void
ngx_http_corral_relay_log(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws)
{
    ngx_http_corral_shared_t      *shared;
    ngx_http_corral_record_end_t   end;

    shared = p->shared;

    end.connection = p->sides[NGX_HTTP_CORRAL_CLIENT].connection;
    end.hc = p->hc;
    end.srv_conf = shared->srv_conf;
    end.loc_conf = shared->loc_conf;
    end.service_id.data = shared->names;
    end.service_id.len = shared->id_len;
    end.service_name.data = shared->names + shared->id_len;
    end.service_name.len = shared->name_len;
    end.terms = &shared->terms;
    end.websocket = ws;
    end.upstream_sent = p->sides[NGX_HTTP_CORRAL_AGENT].connection->sent;
    end.upstream_received = p->sides[NGX_HTTP_CORRAL_AGENT].bytes;

    ngx_http_corral_record_log(p->record, &end);
}


/* all but the client's connection; tells those who ordered the close */

static void
ngx_http_corral_relay_free(ngx_http_corral_pair_t *p, ngx_uint_t sent)
{
    ngx_uint_t                  i;
    ngx_http_corral_order_t    *order;
    ngx_http_corral_waiter_t   *w, *next;
    ngx_http_corral_closing_t  *closing;

    closing = p->closing;

    ngx_http_corral_table_release(&p->hold);
    ngx_close_connection(p->sides[NGX_HTTP_CORRAL_AGENT].connection);

    for (i = 0; i < 2; i++) {

        if (p->sides[i].tail) {
            ngx_free(p->sides[i].tail);
        }

        if (p->sides[i].rest) {
            ngx_free(p->sides[i].rest);
        }
    }

    ngx_free(p->record);
    ngx_http_corral_relay_list_unshare(p->shared);
    ngx_http_corral_relay_list_free(p);
    ngx_http_corral_relay_time_stop(p);
    ngx_http_corral_sync_connections();

    for (w = closing ? closing->waiters : NULL; w; w = next) {
        next = w->next;
        order = w->order;
        ngx_free(w);

        order->closed++;
        order->sent += sent;

        if (--order->open == 0) {
            order->done(order->data, order->matched, order->closed,
                        order->sent);
            ngx_free(order);
        }
    }

    if (closing) {
        ngx_free(closing);
    }
}


static void
ngx_http_corral_relay_reset(ngx_connection_t *c)
{
    struct linger  linger;

    linger.l_onoff = 1;
    linger.l_linger = 0;

    if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER, (const void *) &linger,
                   sizeof(struct linger))
        == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno,
                      "setsockopt(SO_LINGER) failed");
    }

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
    }

#endif
}


/* nginx itself ends a kept request: it frees the rest */

static void
ngx_http_corral_relay_kept_cleanup(void *data)
{
    ngx_http_corral_pair_t *p = data;

    ngx_http_corral_websocket_t  *ws;

    ws = ngx_http_get_module_ctx((ngx_http_request_t *)
                     p->sides[NGX_HTTP_CORRAL_CLIENT].connection->data,
                     ngx_http_corral_websocket_module);

    ngx_http_corral_relay_sum(p, ws);
    ngx_http_corral_relay_free(p, ws->close_sent);
}
