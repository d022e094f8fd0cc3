
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
 * 1009, too many of them: 1008; in these cases the other side gets 1001 (the
 * agent) or 1011 (the client).  Idle: 1001 "idle" for both.  nginx stops, or
 * the pair has lived long enough: 1012 for the client, 1001 for the agent.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_websocket.h"

#include <sys/random.h>


#define NGX_HTTP_CORRAL_RELAY_TURNS  16     /* reads until others have a turn */

/* in front of the scratch buffer: what was held back from the last read */

#define NGX_HTTP_CORRAL_RELAY_ROOM   256


static ngx_inline void ngx_http_corral_relay_event(ngx_http_corral_pair_t *p,
    ngx_event_t *ev);
static ngx_uint_t ngx_http_corral_relay_early(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a);
static ngx_inline void ngx_http_corral_relay_take(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, u_char *pos, size_t n);
static int ngx_http_corral_relay_take_apart(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *pos, size_t n, int rc, corral_frame_result_t *res,
    size_t *good);
static u_char *ngx_http_corral_relay_control(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *start, u_char *pos, corral_frame_result_t *res);
static ngx_inline void ngx_http_corral_relay_count_in(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, size_t bytes, size_t messages,
    ngx_uint_t data);
static ngx_inline void ngx_http_corral_relay_pass(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, u_char *pos, size_t n);
static ngx_inline void ngx_http_corral_relay_send(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *s, u_char *pos, size_t n);
static void ngx_http_corral_relay_send_rest(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *s, u_char *pos, size_t n, ssize_t sent);


u_char           ngx_http_corral_relay_nonce[8];

static u_char   *ngx_http_corral_relay_scratch;
static size_t    ngx_http_corral_relay_size;
static uint32_t  ngx_http_corral_relay_worker;      /* high half of the ids */
static uint32_t  ngx_http_corral_relay_number;      /* the last low half */


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

    if (ngx_http_corral_record_init(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_corral_relay_time_init(cycle);
}


void
ngx_http_corral_relay_handler(ngx_event_t *ev)
{
    ngx_connection_t  *c;

    c = ev->data;

    ngx_http_corral_relay_event(c->data, ev);
}


/* the client's side while its c->data is the request */

void
ngx_http_corral_relay_kept_handler(ngx_event_t *ev)
{
    ngx_connection_t             *c;
    ngx_http_corral_websocket_t  *ws;

    c = ev->data;
    ws = ngx_http_get_module_ctx((ngx_http_request_t *) c->data,
                                 ngx_http_corral_websocket_module);

    ngx_http_corral_relay_event(ws->pair, ev);
}


static ngx_inline void
ngx_http_corral_relay_event(ngx_http_corral_pair_t *p, ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_corral_side_t  *s, *other;

    static ngx_str_t  stops = ngx_string("gateway stops");

    c = ev->data;
    s = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (s->connection != c) {
        s = &p->sides[NGX_HTTP_CORRAL_AGENT];
    }

    if (c->close) {

        /* worker_shutdown_timeout is over; c->error would spoil TLS */

        c->close = 0;
        c->error = 0;
        p->hurry = 1;

        ngx_http_corral_relay_shut(p, 1012, 1001, &stops);

    } else if (!ev->write) {
        ngx_http_corral_relay_pump(p, s);

    } else if (s->tail) {
        ngx_http_corral_relay_flush(p, s);

        other = ngx_http_corral_relay_other(p, s);

        /* a pair that moves has no agent to be read */

        if (s->tail == NULL && other->connection) {
            ngx_http_corral_relay_pump(p, other);
        }
    }

    if (p->ending || p->ended) {
        ngx_http_corral_relay_settle(p);
    }
}


/*
 * From side a to the other one, as much as that one takes.  What runs for each
 * message knows a side by its address: an index would have to be multiplied
 * again after each call.
 */

void
ngx_http_corral_relay_pump(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a)
{
    u_char                  *buf;
    size_t                   held;
    ssize_t                  n;
    ngx_uint_t               turn;
    ngx_event_t             *rev;
    ngx_http_corral_side_t  *b;

    b = ngx_http_corral_relay_other(p, a);
    rev = a->connection->read;

    if (a->early && !ngx_http_corral_relay_early(p, a)) {
        return;
    }

    for (turn = 0;
         rev->ready && !a->eof && !a->early && !(b->tail && !b->told);
         turn++)
    {

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
            ngx_http_corral_relay_ended(p, ngx_http_corral_relay_index(p, a),
                                        n == NGX_ERROR);
            return;
        }

        a->heard = ngx_http_corral_relay_now();
        a->waiting = 0;
        held = 0;

        if (a->rest) {
            held = a->rest->last;
            buf -= held;
            ngx_memcpy(buf, a->rest->data, held);
            ngx_free(a->rest);
            a->rest = NULL;
        }

        ngx_http_corral_relay_take(p, a, buf, held + n);
    }
}


/*
 * Bytes that were read and not scanned: they came before the pair was made, or
 * while this side was paused, or a limit held them back.  0: they are still
 * here, since nothing can be sent or may be read yet.
 */

static ngx_uint_t
ngx_http_corral_relay_early(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a)
{
    ngx_http_corral_bytes_t  *b;

    if (a->paused || ngx_http_corral_relay_other(p, a)->tail
        || ((a->frame.flags & CORRAL_FRAME_METERED)
            && ngx_http_corral_relay_limit_wait(p,
                                          ngx_http_corral_relay_index(p, a))))
    {
        return 0;
    }

    b = a->rest;

    a->rest = NULL;
    a->early = 0;

    if (b) {
        ngx_http_corral_relay_take(p, a, b->data, b->last);
        ngx_free(b);
    }

    return !a->early;
}


/* n bytes of side a: mostly one message, or else the scanner has a look */

static ngx_inline void
ngx_http_corral_relay_take(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, u_char *pos, size_t n)
{
    if (a->deaf | a->whole | a->watched) {

        if (a->deaf) {
            return;
        }

        if (a->watched) {
            ngx_http_corral_relay_renew_take(p, pos, n);

        } else {
            ngx_http_corral_relay_hold_take(p,
                                            ngx_http_corral_relay_index(p, a),
                                            pos, n);
        }

        return;
    }

    if (ngx_http_corral_relay_whole(p, a, pos, n)) {
        ngx_http_corral_relay_pass(p, a, pos, n);
        ngx_http_corral_relay_count_in(p, a, n, 1, 1);
        return;
    }

    ngx_http_corral_relay_take_frames(p, ngx_http_corral_relay_index(p, a),
                                      pos, n);
}


/* scans n bytes of side i, passes what may pass and holds the rest back */

void
ngx_http_corral_relay_take_frames(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n)
{
    int                      rc;
    size_t                   good;
    corral_frame_result_t    res;
    ngx_http_corral_side_t  *a;

    a = &p->sides[i];

    rc = ngx_http_corral_relay_next_frame(p, i, pos, n, &res);

    if (rc == CORRAL_FRAME_DONE) {

        /* data frames, or parts of them */

        good = res.good;

        ngx_http_corral_relay_pass(p, a, pos, good);
        ngx_http_corral_relay_count_in(p, a, good, res.messages, good != 0);

    } else {
        rc = ngx_http_corral_relay_take_apart(p, i, pos, n, rc, &res, &good);
    }

    if (good == n) {
        return;
    }

    if (rc >= 1000) {
        ngx_http_corral_relay_refuse(p, i, rc);

    } else if (rc == CORRAL_FRAME_DONE || rc == NGX_HTTP_CORRAL_RELAY_HELD) {
        a->rest = ngx_http_corral_relay_bytes(pos + good, n - good, n - good,
                                              a->connection->log);
        if (a->rest == NULL) {
            p->reset = 1;
            p->ended = 1;
        }
    }
}


/*
 * Goes on where a scan has stopped at a control frame, or at a boundary that a
 * frame of our own may wait for.  Returns what the last scan did, and in good
 * how many of the n bytes are dealt with.
 */

static int
ngx_http_corral_relay_take_apart(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n, int rc, corral_frame_result_t *res, size_t *good)
{
    u_char                  *head, *start, *from, *last;
    size_t                   data, messages, out;
    ngx_http_corral_side_t  *a, *b;

    a = &p->sides[i];
    b = &p->sides[!i];

    head = pos;
    start = pos;
    last = pos + n;
    data = 0;
    messages = 0;
    out = 0;

    for ( ;; ) {
        messages += res->messages;
        data += res->good;

        if (rc == CORRAL_FRAME_CONTROL) {
            data -= res->good - res->start;

            from = ngx_http_corral_relay_control(p, i, start, pos, res);
            out += from - start;
            start = from;
        }

        pos += res->good;

        if (rc != CORRAL_FRAME_CONTROL && rc != CORRAL_FRAME_PIECE) {
            break;
        }

        if ((b->owe_close || b->owe_ping || b->owe_text)
            && corral_frame_boundary(&a->frame))
        {
            ngx_http_corral_relay_pass(p, a, start, pos - start);
            start = pos;
            ngx_http_corral_relay_pay(p, !i);
        }

        rc = ngx_http_corral_relay_next_frame(p, i, pos, last - pos, res);
    }

    ngx_http_corral_relay_pass(p, a, start, pos - start);
    ngx_http_corral_relay_count_in(p, a, pos - head - out, messages,
                                   data != 0);
    *good = pos - head;

    return rc;
}


/*
 * A control frame lies at pos + res->start.  start is the first byte that has
 * not passed yet; it moves if the frame is to be left out.
 */

static u_char *
ngx_http_corral_relay_control(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *start, u_char *pos, corral_frame_result_t *res)
{
    size_t  len;

    if (!ngx_http_corral_relay_see(p, i, res)) {
        return start;
    }

    len = res->good - res->start;

    ngx_memmove(start + len, start, pos + res->start - start);

    return start + len;
}


/* a control frame of side i has come; 1: it is not for the other side */

ngx_uint_t
ngx_http_corral_relay_see(ngx_http_corral_pair_t *p, ngx_uint_t i,
    corral_frame_result_t *res)
{
    if (res->opcode == CORRAL_FRAME_CLOSE) {
        p->sides[i].said = 1;
        p->ending = 1;

        /*
         * With the other side done, too, its end need not be read; but if it
         * was not told, its end is what the pair waits for.
         */

        if (p->sides[i].told && (p->sides[!i].said || p->sides[!i].eof)) {
            p->sides[i].connection->read->ready = 0;
        }

        if (p->close_code == 0) {
            p->close_code = res->code;
        }

        if (!p->limited) {
            ngx_http_corral_relay_time_limit(p,
                                             p->shared->terms.close_timeout);
        }

        return 0;
    }

    return res->opcode == CORRAL_FRAME_PONG
           && res->len == sizeof(ngx_http_corral_relay_nonce)
           && ngx_memcmp(res->payload, ngx_http_corral_relay_nonce, res->len)
              == 0;
}


static ngx_inline void
ngx_http_corral_relay_count_in(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, size_t bytes, size_t messages, ngx_uint_t data)
{
    ngx_http_corral_totals_t  *instance, *service;

    a->bytes += bytes;
    a->messages += messages;

    instance = ngx_http_corral_table_local(p->hold.ref);
    service = ngx_http_corral_table_local(p->shared->terms.ref);

    if (a == &p->sides[NGX_HTTP_CORRAL_CLIENT]) {
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

    if (data) {
        p->last = ngx_current_msec;

        if (!p->changed) {
            ngx_http_corral_relay_list_use(p);
        }
    }
}


/* bytes of side i went the other way, around ngx_http_corral_relay_take() */

void
ngx_http_corral_relay_passed(ngx_http_corral_pair_t *p, ngx_uint_t i,
    size_t bytes, size_t messages, ngx_uint_t data)
{
    ngx_http_corral_relay_count_in(p, &p->sides[i], bytes, messages, data);
}


/* bytes of side a for the other one, unless its stream has ended */

static ngx_inline void
ngx_http_corral_relay_pass(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, u_char *pos, size_t n)
{
    ngx_http_corral_side_t  *b;

    b = ngx_http_corral_relay_other(p, a);

    if (n == 0 || !ngx_http_corral_relay_open(b)) {
        return;
    }

    ngx_http_corral_relay_send(p, b, pos, n);

    if (a->said) {
        b->told = 1;
        b->owe_close = 0;
        b->owe_ping = 0;
    }
}


/* sends to side i; what it does not take becomes its tail */

void
ngx_http_corral_relay_put(ngx_http_corral_pair_t *p, ngx_uint_t i, u_char *pos,
    size_t n)
{
    ngx_http_corral_relay_send(p, &p->sides[i], pos, n);
}


static ngx_inline void
ngx_http_corral_relay_send(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *s, u_char *pos, size_t n)
{
    ssize_t            sent;
    ngx_connection_t  *c;

    c = s->connection;
    sent = s->tail ? NGX_AGAIN : c->send(c, pos, n);

    if (sent != (ssize_t) n) {
        ngx_http_corral_relay_send_rest(p, s, pos, n, sent);
    }
}


/* sent is what send() said of the n bytes */

static void
ngx_http_corral_relay_send_rest(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *s, u_char *pos, size_t n, ssize_t sent)
{
    ngx_connection_t  *c;

    c = s->connection;

    /*
     * A short write says that a socket is full, but not so with TLS: go on
     * until it says so itself, or no event will ever come
     */

    while (sent != NGX_AGAIN) {

        if (sent == NGX_ERROR) {
            ngx_http_corral_relay_mute(p, ngx_http_corral_relay_index(p, s));
            return;
        }

        pos += sent;
        n -= sent;

        if (n == 0) {
            return;
        }

        if (!c->write->ready) {
            break;
        }

        sent = c->send(c, pos, n);
    }

    if (ngx_http_corral_relay_wait(s, pos, n) != NGX_OK) {
        p->reset = 1;
        p->ended = 1;
    }
}


/* n bytes more for a side that takes nothing now; NGX_OK or NGX_ERROR */

ngx_int_t
ngx_http_corral_relay_wait(ngx_http_corral_side_t *s, u_char *pos, size_t n)
{
    size_t                    left;
    ngx_log_t                *log;
    ngx_http_corral_bytes_t  *t;

    t = s->tail;
    log = s->connection ? s->connection->log : ngx_cycle->log;

    if (t == NULL) {
        s->tail = ngx_http_corral_relay_bytes(pos, n, n, log);
        if (s->tail == NULL) {
            return NGX_ERROR;
        }

        return s->connection ? ngx_handle_write_event(s->connection->write, 0)
                             : NGX_OK;
    }

    /* only small frames of our own, and what followed them in one buffer */

    if (t->size - t->last < n) {
        left = t->last - t->pos;

        t = ngx_http_corral_relay_bytes(t->data + t->pos, left, left + n + 256,
                                        log);
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


/* sends the tail of a side, as much of it as it takes */

void
ngx_http_corral_relay_flush(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *s)
{
    ssize_t                   n;
    ngx_connection_t         *c;
    ngx_http_corral_bytes_t  *t;

    c = s->connection;
    t = s->tail;

    while (c->write->ready) {
        n = c->send(c, t->data + t->pos, t->last - t->pos);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {
            ngx_http_corral_relay_mute(p, ngx_http_corral_relay_index(p, s));
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


ngx_http_corral_bytes_t *
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


ngx_uint_t
ngx_http_corral_relay_owns(ngx_connection_t *c)
{
    return !c->destroyed
           && c->read->handler == ngx_http_corral_relay_handler;
}


/* the low half of the id of a new pair; never 0, which marks a free one */

uint32_t
ngx_http_corral_relay_new_number(void)
{
    ngx_http_corral_relay_number++;

    if (ngx_http_corral_relay_number == 0) {
        ngx_http_corral_relay_number++;
    }

    return ngx_http_corral_relay_number;
}


uint64_t
ngx_http_corral_relay_id(ngx_http_corral_pair_t *p)
{
    return (uint64_t) ngx_http_corral_relay_worker << 32 | p->number;
}
