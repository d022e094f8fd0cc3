
/*
 * Message by message: how bytes pass in a pair that may go on with another
 * instance.  A message of up to hold_size passes when it is whole, so that an
 * agent that dies in the middle of one has said nothing, and what a client has
 * begun to say can be said to the next agent.  A longer one streams as it
 * comes; who dies then has been heard.
 *
 * Mostly a read is one whole message, which passes from the scratch buffer as
 * it came.  Others are collected, unmasked, and pass as one frame; control
 * frames between their fragments overtake them.
 *
 * Only for sides with "whole" set; all others never come here.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


#define NGX_HTTP_CORRAL_RELAY_FIN  0x80


static ngx_uint_t ngx_http_corral_relay_hold_whole(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *pos, size_t n);
static ngx_uint_t ngx_http_corral_relay_hold_piece(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *pos, corral_frame_result_t *res);
static ngx_int_t ngx_http_corral_relay_hold_add(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *data, corral_frame_result_t *res);
static ngx_uint_t ngx_http_corral_relay_hold_message(
    ngx_http_corral_pair_t *p, ngx_uint_t i);
static void ngx_http_corral_relay_hold_frame(ngx_http_corral_pair_t *p,
    ngx_uint_t i, ngx_uint_t first);
static void ngx_http_corral_relay_hold_stream(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *pos, corral_frame_result_t *res);
static void ngx_http_corral_relay_hold_control(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *pos, corral_frame_result_t *res);
static void ngx_http_corral_relay_hold_pass(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *pos, size_t n);


/* n bytes of side i: messages, parts of them, control frames */

void
ngx_http_corral_relay_hold_take(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n)
{
    int                      rc;
    u_char                  *start, *last;
    size_t                   messages, dropped, data;
    corral_frame_result_t    res;
    ngx_http_corral_half_t  *half;
    ngx_http_corral_side_t  *a, *b;

    a = &p->sides[i];
    b = &p->sides[!i];
    half = &p->resume->halves[i];

    if (!half->begun && ngx_http_corral_relay_whole(p, a, pos, n)) {

        if (ngx_http_corral_relay_hold_whole(p, i, pos, n)) {
            ngx_http_corral_relay_passed(p, i, n, 1, 1);
        }

        return;
    }

    start = pos;
    last = pos + n;
    messages = 0;
    dropped = 0;
    data = 0;

    for ( ;; ) {
        a->frame.flags |= CORRAL_FRAME_PIECES;

        rc = ngx_http_corral_relay_next_frame(p, i, pos, last - pos, &res);

        messages += res.messages;

        if (rc == CORRAL_FRAME_CONTROL) {
            ngx_http_corral_relay_hold_control(p, i, pos, &res);

        } else if (rc == CORRAL_FRAME_PIECE) {
            data = 1;
            dropped += !ngx_http_corral_relay_hold_piece(p, i, pos, &res);

        } else {
            break;
        }

        pos += res.good;

        if (a->eof || a->deaf || p->ended) {
            break;                          /* it has left, or must */
        }

        if (b->owe_close || b->owe_ping || b->owe_text) {
            ngx_http_corral_relay_pay(p, !i);
        }
    }

    if (corral_frame_between(&a->frame)) {
        a->frame.flags &= ~CORRAL_FRAME_PIECES;
    }

    ngx_http_corral_relay_passed(p, i, pos - start, messages - dropped, data);

    if (pos == last || a->eof || a->deaf || p->ended) {
        return;
    }

    if (rc >= 1000) {
        ngx_http_corral_relay_refuse(p, i, rc);

    } else if (rc == CORRAL_FRAME_DONE || rc == NGX_HTTP_CORRAL_RELAY_HELD) {
        a->rest = ngx_http_corral_relay_bytes(pos, last - pos, last - pos,
                                              p->sides[0].connection->log);
        if (a->rest == NULL) {
            p->reset = 1;
            p->ended = 1;
        }
    }
}


/* one message in one frame, all of it in the scratch buffer; 0: dropped */

static ngx_uint_t
ngx_http_corral_relay_hold_whole(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n)
{
    u_char  *data, key[4];
    size_t   len, head;

    if (p->resume->rules == NULL) {
        ngx_http_corral_relay_hold_pass(p, i, pos, n);
        return 1;
    }

    head = (pos[1] & 0x7f) == 126 ? 4 : 2;

    if (i == NGX_HTTP_CORRAL_AGENT) {

        if (ngx_http_corral_relay_replay_agent(p, pos[0], pos + head,
                                               n - head))
        {
            return 0;
        }

        ngx_http_corral_relay_hold_pass(p, i, pos, n);
        return 1;
    }

    /* read in place, and back again */

    ngx_memcpy(key, pos + head, 4);
    data = pos + head + 4;
    len = n - head - 4;

    corral_frame_mask(data, data, len, key, 0);

    if (!ngx_http_corral_relay_replay_client(p, pos[0], data, len)) {
        return 0;
    }

    corral_frame_mask(data, data, len, key, 0);
    ngx_http_corral_relay_hold_pass(p, i, pos, n);
    ngx_http_corral_relay_replay_ask(p);

    return 1;
}


/* a run of payload, with the header of its frame if that lies here; 0: the
   message has ended and is dropped */

static ngx_uint_t
ngx_http_corral_relay_hold_piece(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, corral_frame_result_t *res)
{
    size_t                   held, total;
    ngx_uint_t               passed;
    ngx_http_corral_half_t  *half;

    half = &p->resume->halves[i];

    if (!half->begun) {
        half->begun = 1;
        half->first = NGX_HTTP_CORRAL_RELAY_FIN | (res->rsv1 ? 0x40 : 0)
                      | res->opcode;
    }

    held = half->held ? half->held->last - NGX_HTTP_CORRAL_RELAY_HEAD : 0;
    total = res->fin ? held + res->len : p->sides[i].frame.message;

    if (!half->streams && total > p->shared->terms.hold_size) {

        /* what is held are whole frames: the header told of this one */

        half->streams = 1;

        if (p->resume->rules) {
            ngx_http_corral_relay_replay_stream(p, i, NULL, 0);
        }

        if (half->held) {

            if (p->resume->rules) {
                ngx_http_corral_relay_replay_stream(p, i,
                            half->held->data + NGX_HTTP_CORRAL_RELAY_HEAD,
                            held);
            }

            ngx_http_corral_relay_hold_frame(p, i, half->first
                                             & ~NGX_HTTP_CORRAL_RELAY_FIN);
        }
    }

    if (half->streams) {
        ngx_http_corral_relay_hold_stream(p, i, pos, res);
        return 1;
    }

    if (ngx_http_corral_relay_hold_add(p, i, pos + res->data, res)
        != NGX_OK)
    {
        p->reset = 1;
        p->ended = 1;
        return 1;
    }

    if (!res->fin) {
        return 1;
    }

    passed = ngx_http_corral_relay_hold_message(p, i);
    ngx_http_corral_relay_hold_drop(half);

    return passed;
}


/* adds a run to what is held, unmasked */

static ngx_int_t
ngx_http_corral_relay_hold_add(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *data, corral_frame_result_t *res)
{
    size_t                    size;
    ngx_http_corral_half_t   *half;
    ngx_http_corral_bytes_t  *b;

    half = &p->resume->halves[i];
    b = half->held;

    if (b == NULL || b->size - b->last < res->len) {

        /* as much as the headers have announced */

        size = NGX_HTTP_CORRAL_RELAY_HEAD
               + ngx_max(p->sides[i].frame.message, res->len)
               + (b ? b->last : 0);

        b = ngx_http_corral_relay_bytes(b ? b->data : data, b ? b->last : 0,
                                        size, p->sides[0].connection->log);
        if (b == NULL) {
            return NGX_ERROR;
        }

        if (half->held) {
            ngx_free(half->held);

        } else {
            b->last = NGX_HTTP_CORRAL_RELAY_HEAD;
        }

        half->held = b;
    }

    corral_frame_mask(b->data + b->last, data, res->len, res->key, res->phase);
    b->last += res->len;

    return NGX_OK;
}


/* what is held is a whole message; 0: it is dropped */

static ngx_uint_t
ngx_http_corral_relay_hold_message(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    u_char                  *data;
    size_t                   len;
    ngx_http_corral_half_t  *half;

    half = &p->resume->halves[i];
    data = half->held->data + NGX_HTTP_CORRAL_RELAY_HEAD;
    len = half->held->last - NGX_HTTP_CORRAL_RELAY_HEAD;

    if (p->resume->rules) {

        if (i == NGX_HTTP_CORRAL_AGENT) {

            if (ngx_http_corral_relay_replay_agent(p, half->first, data, len))
            {
                return 0;
            }

        } else if (!ngx_http_corral_relay_replay_client(p, half->first, data,
                                                        len))
        {
            return 0;
        }
    }

    ngx_http_corral_relay_hold_frame(p, i, half->first);

    if (i == NGX_HTTP_CORRAL_CLIENT && p->resume->rules) {
        ngx_http_corral_relay_replay_ask(p);
    }

    return 1;
}


/* passes what is held as one frame, and gives its memory back */

static void
ngx_http_corral_relay_hold_frame(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t first)
{
    u_char                   *data;
    size_t                    len, n;
    uint32_t                  mask;
    uint8_t                   head[CORRAL_FRAME_HEADER_MAX];
    ngx_http_corral_half_t   *half;
    ngx_http_corral_bytes_t  *b;

    half = &p->resume->halves[i];
    b = half->held;
    data = b->data + NGX_HTTP_CORRAL_RELAY_HEAD;
    len = b->last - NGX_HTTP_CORRAL_RELAY_HEAD;

    if (i == NGX_HTTP_CORRAL_CLIENT) {
        mask = (uint32_t) (ngx_random() << 8 ^ ngx_random());
        n = corral_frame_header(head, first, len, (uint8_t *) &mask);
        corral_frame_mask(data, data, len, (uint8_t *) &mask, 0);

    } else {
        n = corral_frame_header(head, first, len, NULL);
    }

    ngx_memcpy(data - n, head, n);
    ngx_http_corral_relay_hold_pass(p, i, data - n, n + len);

    ngx_free(b);
    half->held = NULL;
}


/* a run of a message that is too long to be held: it passes as it is */

static void
ngx_http_corral_relay_hold_stream(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, corral_frame_result_t *res)
{
    u_char  *data;

    ngx_http_corral_relay_hold_pass(p, i, pos + res->start,
                                    res->good - res->start);

    if (p->resume->rules) {
        data = pos + res->data;
        corral_frame_mask(data, data, res->len, res->key, res->phase);
        ngx_http_corral_relay_replay_stream(p, i, data, res->len);

        if (res->fin) {
            ngx_http_corral_relay_replay_end(p, i);
        }
    }

    if (res->fin) {
        ngx_http_corral_relay_hold_drop(&p->resume->halves[i]);
    }
}


/* the message of this half has ended, or will never be whole */

void
ngx_http_corral_relay_hold_drop(ngx_http_corral_half_t *half)
{
    if (half->held) {
        ngx_free(half->held);
    }

    if (half->scan) {
        ngx_free(half->scan);
    }

    ngx_memzero(half, sizeof(ngx_http_corral_half_t));
}


/* a control frame: it passes at once, unless it is for us */

static void
ngx_http_corral_relay_hold_control(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, corral_frame_result_t *res)
{
    ngx_http_corral_side_t  *b;

    if (i == NGX_HTTP_CORRAL_AGENT) {

        if (res->opcode == CORRAL_FRAME_CLOSE
            && ngx_http_corral_relay_move_leave(p, res) == NGX_OK)
        {
            return;
        }

        if (res->opcode == CORRAL_FRAME_PONG
            && ngx_http_corral_relay_replay_pong(p, res))
        {
            return;
        }
    }

    if (ngx_http_corral_relay_see(p, i, res)) {
        return;
    }

    b = &p->sides[!i];

    if (!ngx_http_corral_relay_open(b)) {
        return;
    }

    ngx_http_corral_relay_put(p, !i, pos + res->start,
                              res->good - res->start);

    if (p->sides[i].said) {
        b->told = 1;
        b->owe_close = 0;
        b->owe_ping = 0;
    }
}


/*
 * Bytes of side i for the other one.  An agent that is being replaced gets
 * nothing: what it has not read lies in the journal, or waits as the tail.
 */

static void
ngx_http_corral_relay_hold_pass(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n)
{
    ngx_http_corral_side_t  *b;

    b = &p->sides[!i];

    if (i == NGX_HTTP_CORRAL_CLIENT
        && p->resume->state != NGX_HTTP_CORRAL_MOVE_NONE)
    {
        if (p->resume->rules == NULL
            && ngx_http_corral_relay_wait(b, pos, n) != NGX_OK)
        {
            p->reset = 1;
            p->ended = 1;
        }

        return;
    }

    if (ngx_http_corral_relay_open(b)) {
        ngx_http_corral_relay_put(p, !i, pos, n);
    }
}
