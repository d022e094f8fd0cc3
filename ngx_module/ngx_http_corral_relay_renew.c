
/*
 * A client renews its token in the open WebSocket: its message is taken out of
 * the stream, the token is asked about, and the answer is put into the stream
 * to the client, between two messages of the agent.  Only for connections whose
 * location has corral_token_renew; others never come here.
 *
 * Who verifies the token is a location of nginx' own: it gets a request, with
 * the token as a header, that runs through all phases of nginx as any other;
 * ngx_http_corral_relay_verify.c makes it.  Traffic goes on meanwhile, and what
 * the answer is changes nothing before all of it is known to be good.
 *
 * One renewal at a time, and one a second.
 */


#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_renew.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_revocation.h"
#include "ngx_http_corral_websocket.h"

#include <corral_renew.h>


#define NGX_HTTP_CORRAL_RENEW_PAUSE  1000       /* ms from one to the next */
#define NGX_HTTP_CORRAL_RENEW_TEXT   128        /* bytes of an answer */


struct ngx_http_corral_renew_s {
    ngx_http_corral_bytes_t   *frame;       /* one that has begun to come */
    ngx_http_corral_verify_t  *verify;      /* of the one under way */
    ngx_str_t                  token;       /* id of the last renewed, or null;
                                               by ngx_alloc */
    ngx_msec_t                 began;       /* the last one */
    ngx_uint_t                 len;
    u_char                     text[NGX_HTTP_CORRAL_RENEW_TEXT];
    unsigned                   once:1;      /* began is a time */
    unsigned                   renewed:1;   /* token stands for the record's */
    unsigned                   unread:1;    /* an answer waits in the tail */
};


static void ngx_http_corral_relay_renew_collect(ngx_http_corral_pair_t *p,
    u_char **pos, size_t *n);
static ngx_uint_t ngx_http_corral_relay_renew_stopped(
    ngx_http_corral_pair_t *p, u_char *pos, size_t n);
static void ngx_http_corral_relay_renew_usual(ngx_http_corral_pair_t *p,
    u_char *pos, size_t n);
static void ngx_http_corral_relay_renew_keep(ngx_http_corral_pair_t *p,
    ngx_http_corral_bytes_t **to, u_char *pos, size_t n, size_t size);
static void ngx_http_corral_relay_renew_message(ngx_http_corral_pair_t *p,
    u_char *pos, size_t n);
static void ngx_http_corral_relay_renew_begin(ngx_http_corral_pair_t *p,
    ngx_str_t *token);
static char *ngx_http_corral_relay_renew_take_over(ngx_http_corral_pair_t *p,
    ngx_http_corral_verify_t *v);
static void ngx_http_corral_relay_renew_answer(ngx_http_corral_pair_t *p,
    char *failed, time_t expires);


/* Gives a new pair what it needs to be renewed.  NGX_ERROR: no memory. */

ngx_int_t
ngx_http_corral_relay_renew_create(ngx_http_corral_pair_t *p, ngx_log_t *log)
{
    ngx_http_corral_websocket_loc_conf_t  *wlcf;

    wlcf = p->shared->loc_conf[ngx_http_corral_websocket_module.ctx_index];

    if (wlcf->token_renew.len == 0) {
        return NGX_OK;
    }

    p->renew = ngx_calloc(sizeof(ngx_http_corral_renew_t), log);
    if (p->renew == NULL) {
        return NGX_ERROR;
    }

    p->sides[NGX_HTTP_CORRAL_CLIENT].watched = 1;

    return NGX_OK;
}


/* The pair ends; a renewal that is under way with it. */

void
ngx_http_corral_relay_renew_free(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_renew_t  *renew;

    renew = p->renew;
    p->renew = NULL;

    if (renew->verify) {
        ngx_http_corral_relay_verify_cancel(renew->verify);
    }

    if (renew->frame) {
        ngx_free(renew->frame);
    }

    if (renew->token.data) {
        ngx_free(renew->token.data);
    }

    ngx_free(renew);
}


/* The id of the token of now, if there was a renewal; else it stays. */

void
ngx_http_corral_relay_renew_token(ngx_http_corral_pair_t *p, ngx_str_t *token)
{
    if (p->renew && p->renew->renewed) {
        *token = p->renew->token;
    }
}


/* n bytes of the client: all but what renews goes the usual way */

void
ngx_http_corral_relay_renew_take(ngx_http_corral_pair_t *p, u_char *pos,
    size_t n)
{
    int                      rc;
    size_t                   at, len;
    ngx_http_corral_side_t  *client;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (p->renew->frame) {
        ngx_http_corral_relay_renew_collect(p, &pos, &n);
    }

    while (n && !ngx_http_corral_relay_renew_stopped(p, pos, n)) {

        at = n;
        len = 0;

        rc = corral_renew_find(&client->frame, pos, n, &at, &len);

        if (at) {
            ngx_http_corral_relay_renew_usual(p, pos, at);

        } else if (rc == CORRAL_RENEW_MORE) {
            ngx_http_corral_relay_renew_keep(p, &client->rest, pos, n, n);
            return;

        } else if (len > n) {
            ngx_http_corral_relay_renew_keep(p, &p->renew->frame, pos, n, len);
            return;

        } else {
            ngx_http_corral_relay_renew_message(p, pos, len);
            at = len;
        }

        pos += at;
        n -= at;
    }
}


/* more of a frame that has begun to come; what is left of the n bytes */

static void
ngx_http_corral_relay_renew_collect(ngx_http_corral_pair_t *p, u_char **pos,
    size_t *n)
{
    size_t                    len;
    ngx_http_corral_bytes_t  *b;

    b = p->renew->frame;

    len = ngx_min(*n, b->size - b->last);

    ngx_memcpy(b->data + b->last, *pos, len);
    b->last += len;

    *pos += len;
    *n -= len;

    if (b->last == b->size) {
        p->renew->frame = NULL;
        ngx_http_corral_relay_renew_message(p, b->data, b->size);
        ngx_free(b);
    }
}


/*
 * Is nothing to be found in the n bytes?  They are dropped, as they come from
 * somebody who is not listened to any more, or wait behind what was held back.
 */

static ngx_uint_t
ngx_http_corral_relay_renew_stopped(ngx_http_corral_pair_t *p, u_char *pos,
    size_t n)
{
    ngx_http_corral_side_t  *client;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (p->ended || client->deaf || client->eof) {
        return 1;
    }

    if (client->rest) {
        ngx_http_corral_relay_renew_keep(p, &client->rest, pos, n, n);
        return 1;
    }

    return 0;
}


static void
ngx_http_corral_relay_renew_usual(ngx_http_corral_pair_t *p, u_char *pos,
    size_t n)
{
    if (p->sides[NGX_HTTP_CORRAL_CLIENT].whole) {
        ngx_http_corral_relay_hold_take(p, NGX_HTTP_CORRAL_CLIENT, pos, n);

    } else {
        ngx_http_corral_relay_take_frames(p, NGX_HTTP_CORRAL_CLIENT, pos, n);
    }
}


/* keeps n bytes, behind those that are kept there, with room for size */

static void
ngx_http_corral_relay_renew_keep(ngx_http_corral_pair_t *p,
    ngx_http_corral_bytes_t **to, u_char *pos, size_t n, size_t size)
{
    size_t                    left;
    ngx_http_corral_bytes_t  *b;

    left = *to ? (*to)->last : 0;

    b = ngx_http_corral_relay_bytes(*to ? (*to)->data : pos, left,
                                    left + size, ngx_cycle->log);
    if (b == NULL) {
        p->reset = 1;
        p->ended = 1;
        return;
    }

    ngx_memcpy(b->data + left, pos, n);
    b->last = left + n;

    if (*to) {
        ngx_free(*to);
    }

    *to = b;
}


/* a whole frame that begins as a renewal does */

static void
ngx_http_corral_relay_renew_message(ngx_http_corral_pair_t *p, u_char *pos,
    size_t n)
{
    int                      rc;
    ngx_str_t                token;
    corral_frame_result_t    res;
    ngx_http_corral_side_t  *client;

    static u_char  buf[CORRAL_RENEW_TOKEN];

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    token.data = buf;
    token.len = corral_renew_token(pos, n, buf);

    if (token.len == 0) {
        ngx_http_corral_relay_renew_usual(p, pos, n);
        return;
    }

    /* it counts for limits as any message does */

    rc = ngx_http_corral_relay_next_frame(p, NGX_HTTP_CORRAL_CLIENT, pos, n,
                                          &res);

    if (rc >= 1000) {
        ngx_http_corral_relay_refuse(p, NGX_HTTP_CORRAL_CLIENT, rc);

    } else if (rc == NGX_HTTP_CORRAL_RELAY_HELD) {
        ngx_http_corral_relay_renew_keep(p, &client->rest, pos, n, n);

    } else {
        ngx_http_corral_relay_renew_begin(p, &token);
    }

    ngx_explicit_memzero(buf, token.len);
}


/*
 * The tail of a client is no brake for what it sends: one that does not read
 * our answers gets no more, or they would pile up.
 */

static void
ngx_http_corral_relay_renew_begin(ngx_http_corral_pair_t *p, ngx_str_t *token)
{
    ngx_http_corral_side_t   *client;
    ngx_http_corral_renew_t  *renew;

    renew = p->renew;
    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (p->own || p->lingering || (client->tail && renew->unread)) {
        return;
    }

    if (renew->verify
        || (renew->once
            && ngx_current_msec - renew->began < NGX_HTTP_CORRAL_RENEW_PAUSE))
    {
        /* an answer that waits already is not lost for this one */

        if (!client->owe_text) {
            ngx_http_corral_relay_renew_answer(p, "too_soon", 0);
        }

        return;
    }

    renew->once = 1;
    renew->began = ngx_current_msec;
    renew->verify = ngx_http_corral_relay_verify(p, token);

    if (renew->verify == NULL) {
        ngx_http_corral_relay_renew_answer(p, "unavailable", 0);
    }
}


/* The token was asked about; v is freed by the caller. */

void
ngx_http_corral_relay_renew_told(ngx_http_corral_pair_t *p,
    ngx_http_corral_verify_t *v)
{
    char  *failed;

    p->renew->verify = NULL;

    if (p->own || p->lingering || p->ended) {
        return;
    }

    failed = ngx_http_corral_relay_renew_take_over(p, v);

    if (failed) {
        ngx_log_error(NGX_LOG_INFO,
                      p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                      "the token of a WebSocket was not renewed: %s", failed);
    }

    ngx_http_corral_relay_renew_answer(p, failed, v->expires);

    if (p->ending || p->ended) {
        ngx_http_corral_relay_settle(p);
    }
}


/* NULL: the new token counts from now on; or why the old one still does */

static char *
ngx_http_corral_relay_renew_take_over(ngx_http_corral_pair_t *p,
    ngx_http_corral_verify_t *v)
{
    u_char                   *id;
    ngx_http_corral_renew_t  *renew;
    ngx_str_t                 names[NGX_HTTP_CORRAL_REVOKED_KINDS];

    renew = p->renew;

    if (v->failed) {
        return v->failed;
    }

    names[NGX_HTTP_CORRAL_REVOKED_token] = v->token;
    names[NGX_HTTP_CORRAL_REVOKED_subject] = ngx_http_corral_record_string(
                                   p->record, NGX_HTTP_CORRAL_RECORD_SUBJECT);
    names[NGX_HTTP_CORRAL_REVOKED_session] = ngx_http_corral_record_string(
                                   p->record, NGX_HTTP_CORRAL_RECORD_SESSION);

    if (ngx_http_corral_revoked(names)) {
        return "revoked";
    }

    id = ngx_alloc(v->token.len + 1, ngx_cycle->log);

    if (id == NULL
        || ngx_http_corral_relay_limit_renew(p, v->expires) != NGX_OK)
    {
        if (id) {
            ngx_free(id);
        }

        return "unavailable";
    }

    if (renew->token.data) {
        ngx_free(renew->token.data);
    }

    ngx_memcpy(id, v->token.data, v->token.len);

    renew->token.data = id;
    renew->token.len = v->token.len;
    renew->renewed = 1;

    return NULL;
}


/* the client is to be told, as soon as the agent is between two messages */

static void
ngx_http_corral_relay_renew_answer(ngx_http_corral_pair_t *p, char *failed,
    time_t expires)
{
    u_char                    *last;
    ngx_http_corral_renew_t   *renew;
    ngx_http_corral_totals_t  *totals;

    renew = p->renew;
    totals = ngx_http_corral_table_local(p->shared->terms.ref);

    if (failed) {
        totals->renewals_failed++;
        last = ngx_sprintf(renew->text, "{\"type\":\"corral.renew_failed\","
                           "\"reason\":\"%s\"}", failed);

    } else {
        totals->renewals++;
        last = ngx_sprintf(renew->text, "{\"type\":\"corral.renewed\","
                           "\"expires_at\":%T}", expires);
    }

    renew->len = last - renew->text;

    p->sides[NGX_HTTP_CORRAL_CLIENT].owe_text = 1;
    ngx_http_corral_relay_renew_pay(p);
}


/*
 * Puts the answer in that the client is owed, if the agent is between two
 * messages.  If not, the scanner of the agent is told to stop at the end of
 * each frame, and this is called again.
 */

void
ngx_http_corral_relay_renew_pay(ngx_http_corral_pair_t *p)
{
    size_t                   n;
    ngx_http_corral_side_t  *client, *agent;
    u_char                   buf[CORRAL_FRAME_HEADER_MAX
                                 + NGX_HTTP_CORRAL_RENEW_TEXT];

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    if (!ngx_http_corral_relay_open(client)) {
        client->owe_text = 0;
        return;
    }

    if (!corral_frame_between(&agent->frame)
        && !ngx_http_corral_relay_hold_boundary(p, NGX_HTTP_CORRAL_AGENT))
    {
        agent->frame.flags |= CORRAL_FRAME_PIECES;
        return;
    }

    client->owe_text = 0;

    if (!client->owe_close && !client->owe_ping) {
        agent->frame.flags &= ~CORRAL_FRAME_PIECES;
    }

    n = corral_frame_header(buf, 0x80|CORRAL_FRAME_TEXT, p->renew->len, NULL);
    ngx_memcpy(buf + n, p->renew->text, p->renew->len);

    ngx_http_corral_relay_put(p, NGX_HTTP_CORRAL_CLIENT, buf,
                              n + p->renew->len);

    p->renew->unread = client->tail != NULL;
}
