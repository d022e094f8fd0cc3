
/*
 * How a pair comes to its end: who has gone, who broke the rules, which Close
 * is owed to whom and when it may be put in, when a side is given FIN, and what
 * happens when a deadline is over.  Functions here note and act; only
 * ngx_http_corral_relay_settle() ends the pair.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


static void ngx_http_corral_relay_owe(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t code);
static ngx_uint_t ngx_http_corral_relay_boundary(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static void ngx_http_corral_relay_lingered(ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_linger(ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_fin(ngx_http_corral_side_t *s);


/*
 * Nothing comes from side i any more.  lost: not by a FIN, but by an error, or
 * it did not answer our ping.
 */

void
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

    if (i == NGX_HTTP_CORRAL_AGENT
        && p->resume && ngx_http_corral_relay_move_lost(p, lost) == NGX_OK)
    {
        return;
    }

    if (i == NGX_HTTP_CORRAL_CLIENT && p->resume) {
        ngx_http_corral_relay_move_cancel(p);
    }

    p->ending = 1;

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
        ngx_http_corral_relay_fault(p, lost);
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


/*
 * The agent's fault, for passive health: not when a session that went well for
 * long ends without a Close, unless the connection was lost.
 */

void
ngx_http_corral_relay_fault(ngx_http_corral_pair_t *p, ngx_uint_t lost)
{
    time_t     age;
    ngx_str_t  id;

    age = (ngx_time() - ngx_http_corral_record_opened(p->record)) * 1000;

    if (ngx_http_corral_relay_resumed(p)) {
        age = ngx_current_msec - p->resume->joined;
    }

    if (!lost && age >= (time_t) p->shared->terms.early_end) {
        return;
    }

    id.len = p->shared->id_len;
    id.data = p->shared->names;

    ngx_http_corral_registry_bad(&id, p->hold.ref, lost);
}


/* side i did not answer a ping */

void
ngx_http_corral_relay_lose(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_log_error(NGX_LOG_INFO, p->sides[i].connection->log, 0,
                  "%s did not answer a WebSocket ping",
                  i == NGX_HTTP_CORRAL_CLIENT ? "client" : "agent");

    ngx_http_corral_relay_count_close(p, closes_dead);
    ngx_http_corral_relay_ended(p, i, 1);
    ngx_http_corral_relay_mute(p, i);
}


/* a send failed; what this side has still to say may be in its socket */

void
ngx_http_corral_relay_mute(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_http_corral_side_t  *s;

    s = &p->sides[i];

    if (i == NGX_HTTP_CORRAL_AGENT
        && p->resume && ngx_http_corral_relay_move_mute(p) == NGX_OK)
    {
        return;
    }

    if (i == NGX_HTTP_CORRAL_CLIENT && p->resume) {
        ngx_http_corral_relay_move_cancel(p);
    }

    p->ending = 1;

    s->mute = 1;
    s->owe_close = 0;
    s->owe_ping = 0;

    if (s->tail) {
        ngx_free(s->tail);
        s->tail = NULL;
    }
}


/* side i broke the protocol: it is not listened to any longer */

void
ngx_http_corral_relay_refuse(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t code)
{
    char       *what;
    ngx_str_t   reason;
    ngx_uint_t  client, agent;

    switch (code) {
    case 1008:
        what = "more WebSocket messages than message_rate allows";
        ngx_http_corral_relay_count_close(p, closes_rate);
        break;

    case 1009:
        what = "a WebSocket message that is too big";
        ngx_http_corral_relay_count_close(p, closes_size);
        break;

    default:
        what = "a broken WebSocket frame";
        ngx_http_corral_relay_count_close(p, closes_protocol);
    }

    ngx_log_error(NGX_LOG_INFO, p->sides[i].connection->log, 0,
                  "%s sent %s",
                  i == NGX_HTTP_CORRAL_CLIENT ? "client" : "agent", what);

    p->sides[i].deaf = 1;

    ngx_str_null(&reason);

    if (i == NGX_HTTP_CORRAL_CLIENT) {
        client = code;
        agent = 1001;

    } else {
        client = 1011;
        agent = code;

        if (code != 1009 && !p->own) {
            ngx_http_corral_relay_fault(p, 0);
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

    p->ending = 1;

    if (p->resume) {
        ngx_http_corral_relay_move_cancel(p);
    }

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

void
ngx_http_corral_relay_pay(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    size_t                   n;
    uint32_t                 mask;
    const uint8_t           *key;
    ngx_http_corral_side_t  *s;
    u_char                   buf[CORRAL_FRAME_CONTROL_MAX];

    s = &p->sides[i];

    if (s->owe_text) {
        ngx_http_corral_relay_renew_pay(p);
    }

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

    if (corral_frame_boundary(&from->frame)
        || ngx_http_corral_relay_hold_boundary(p, !i))
    {

        /* a text of ours waits for the end of the message */

        if (!p->sides[i].owe_text) {
            from->frame.flags &= ~CORRAL_FRAME_PIECES;
        }

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

    if (p->moving && !p->ended) {
        return;                             /* nothing has ended yet */
    }

    over = 0;
    done = 0;

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];

        if (s->owe_close) {
            ngx_http_corral_relay_pay(p, i);
        }

        /* it has ended, or has closed and knows that we have */

        done += s->eof || (s->said && s->told && s->tail == NULL);
    }

    if (p->ended || done == 2) {
        ngx_http_corral_relay_end(p);
        return;
    }

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];
        from = &p->sides[!i];

        /* nothing will be sent to it any more */

        if (s->tail == NULL
            && !s->fin && !s->mute && !s->owe_close
            && (from->eof || (s->told && (s->said || s->deaf))))
        {
            ngx_http_corral_relay_fin(s);
        }

        over |= s->fin | s->mute | s->eof;
    }

    if (p->ended) {
        ngx_http_corral_relay_end(p);
        return;
    }

    if (over && !p->lingering && !(p->own && p->limited)) {
        ngx_http_corral_relay_linger(p);
    }

    /* last: whoever is told may do anything, but to end this pair */

    s = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (p->closing && p->closing->waiters
        && s->told && s->tail == NULL && !s->mute)
    {
        ngx_http_corral_relay_answer(p->closing, 1, 1);
    }
}


/* The pair's deadline is over. */

void
ngx_http_corral_relay_expire(ngx_http_corral_pair_t *p)
{
    ngx_uint_t               i;
    ngx_http_corral_side_t  *s;

    if (p->lingering) {
        ngx_http_corral_relay_lingered(p);
        return;
    }

    s = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    if (p->own && !s->eof && !s->mute && (!s->told || s->tail)) {

        /* no frame boundary came, or the client takes nothing */

        p->reset = 1;
        p->ended = 1;
        return;
    }

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];

        /* the other side has said Close, this one goes on: let it */

        if (!p->own && !s->said
            && ngx_http_corral_relay_now() - s->heard
               < (uint32_t) p->shared->terms.close_timeout)
        {
            ngx_http_corral_relay_time_limit(p,
                                             p->shared->terms.close_timeout);
            return;
        }
    }

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];

        if (!s->fin && !s->mute) {
            ngx_http_corral_relay_fin(s);
        }
    }

    ngx_http_corral_relay_linger(p);
}


/* the end has come, unless somebody still takes what was sent to it */

static void
ngx_http_corral_relay_lingered(ngx_http_corral_pair_t *p)
{
    ngx_uint_t               i, progress, queued;
    ngx_http_corral_side_t  *s;

    progress = 0;

    for (i = 0; i < 2; i++) {
        s = &p->sides[i];

        if (s->eof) {
            continue;
        }

        if (s->mute) {

            /* its last words had their time: the other one is told */

            ngx_http_corral_relay_ended(p, i, 1);
            progress = 1;

        } else {
            progress |= ngx_http_corral_relay_time_progress(s, &queued);
        }
    }

    if (progress && !p->hurry) {
        ngx_http_corral_relay_time_limit(p, NGX_HTTP_CORRAL_RELAY_LINGER);

    } else {
        p->ended = 1;
    }
}


/* last words: from now on the end comes when nothing moves any more */

static void
ngx_http_corral_relay_linger(ngx_http_corral_pair_t *p)
{
    ngx_uint_t  i, queued;

    p->lingering = 1;

    for (i = 0; i < 2; i++) {
        (void) ngx_http_corral_relay_time_progress(&p->sides[i], &queued);
    }

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
