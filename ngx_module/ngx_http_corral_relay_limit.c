
/*
 * Limits of a pair that cost nothing where they are off: messages and bytes a
 * second, how long it may live, and when its token ends.
 *
 * A side that is limited carries CORRAL_FRAME_METERED: each whole message, or
 * run of payload, comes through here.  To delay is not to read: what was read
 * already and may not pass waits in the side's rest (early), up to one buffer
 * of the worker; the rest waits in the socket, which is what slows the sender
 * down.  The wheel wakes it, so a delay is true to a tenth of a second, and the
 * rate is kept by the bucket.
 *
 * When the pair is ending nothing is delayed any more.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_websocket.h"


/* of max_lifetime: at its end a quiet moment is looked for */

#define NGX_HTTP_CORRAL_RELAY_JITTER  10

/* ms without a message that make a moment quiet; until the next look */

#define NGX_HTTP_CORRAL_RELAY_PAUSE   1000


static uint64_t ngx_http_corral_relay_limit_burst(
    ngx_http_corral_terms_t *terms);
static void ngx_http_corral_relay_limit_stop(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static uint32_t ngx_http_corral_relay_limit_age(ngx_http_corral_pair_t *p);
static uint32_t ngx_http_corral_relay_limit_token(ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_limit_expire(ngx_http_corral_pair_t *p);


/*
 * Makes p->limits if its terms have any of these, or if it expires (unix time,
 * 0: never).  NGX_ERROR: no memory.
 */

ngx_int_t
ngx_http_corral_relay_limit_create(ngx_http_corral_pair_t *p, time_t expires,
    ngx_log_t *log)
{
    ngx_uint_t                 i;
    ngx_http_corral_terms_t   *terms;
    ngx_http_corral_paced_t   *l;

    terms = &p->shared->terms;

    if (terms->max_lifetime == 0 && terms->message_rate == 0 && expires == 0
        && terms->byte_rate[0] == 0 && terms->byte_rate[1] == 0)
    {
        return NGX_OK;
    }

    l = ngx_calloc(sizeof(ngx_http_corral_paced_t), log);
    if (l == NULL) {
        return NGX_ERROR;
    }

    l->expires = expires;
    l->opened = ngx_http_corral_relay_now();
    l->early_end = ngx_random()
                   % (terms->max_lifetime / NGX_HTTP_CORRAL_RELAY_JITTER + 1);

    corral_bucket_init(&l->messages, ngx_http_corral_relay_limit_burst(terms),
                       ngx_current_msec);

    for (i = 0; i < 2; i++) {
        corral_bucket_init(&l->bytes[i], terms->byte_rate[i],
                           ngx_current_msec);
    }

    p->limits = l;

    return NGX_OK;
}


/* Has side i a rate? */

ngx_uint_t
ngx_http_corral_relay_limit_metered(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_http_corral_terms_t  *terms;

    terms = &p->shared->terms;

    return terms->byte_rate[i]
           || (i == NGX_HTTP_CORRAL_CLIENT && terms->message_rate);
}


/* the wheel turns ten times a second: less than that at once is not the rate */

static uint64_t
ngx_http_corral_relay_limit_burst(ngx_http_corral_terms_t *terms)
{
    int64_t  burst;

    burst = ngx_max(terms->message_burst, 1);

    return terms->message_delay ? ngx_max(burst, (terms->message_rate + 4) / 5)
                                : burst;
}


/*
 * corral_frame_scan() for a side with METERED.  Beside what that returns:
 * NGX_HTTP_CORRAL_RELAY_HELD, nothing may pass for now; 1008, the message that
 * would begin here is one too many.  In both cases good is 0 and the state of
 * the scanner that before it; the first is remembered in early.
 */

int
ngx_http_corral_relay_limit_scan(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n, corral_frame_result_t *res)
{
    int                        rc;
    uint64_t                   burst;
    corral_frame_t             before;
    ngx_http_corral_side_t    *s;
    ngx_http_corral_terms_t   *terms;
    ngx_http_corral_paced_t   *l;

    s = &p->sides[i];
    l = p->limits;
    terms = &p->shared->terms;

    if (ngx_http_corral_relay_limit_wait(p, i)) {
        ngx_memzero(res, offsetof(corral_frame_result_t, start));
        ngx_http_corral_relay_limit_stop(p, i);
        return NGX_HTTP_CORRAL_RELAY_HELD;
    }

    before = s->frame;

    rc = corral_frame_scan(&s->frame, pos, n, terms->max_message_size[i], res);

    if (p->own) {
        return rc;
    }

    if (rc == CORRAL_FRAME_PIECE && corral_frame_between(&before)
        && i == NGX_HTTP_CORRAL_CLIENT && terms->message_rate)
    {
        burst = ngx_http_corral_relay_limit_burst(terms);

        if (!corral_bucket_take(&l->messages, terms->message_rate, burst,
                                ngx_current_msec))
        {
            s->frame = before;
            ngx_memzero(res, offsetof(corral_frame_result_t, start));
            return 1008;
        }
    }

    if (terms->byte_rate[i]) {
        corral_bucket_spend(&l->bytes[i], terms->byte_rate[i],
                            terms->byte_rate[i], res->good, ngx_current_msec);
    }

    if (ngx_http_corral_relay_limit_wait(p, i)) {
        ngx_http_corral_relay_limit_stop(p, i);
    }

    return rc;
}


/*
 * The same for n bytes that are one whole message, as most reads bring: it is
 * paid for, and may pass.  0: the scan decides.
 */

ngx_uint_t
ngx_http_corral_relay_limit_whole(ngx_http_corral_pair_t *p, ngx_uint_t i,
    size_t n)
{
    uint64_t                  rate;
    ngx_http_corral_terms_t  *terms;
    ngx_http_corral_paced_t  *l;

    l = p->limits;
    terms = &p->shared->terms;
    rate = terms->byte_rate[i];

    if (p->own || p->lingering
        || (rate && corral_bucket_wait(&l->bytes[i], rate, rate, 0,
                                       ngx_current_msec)))
    {
        return 0;
    }

    if (i == NGX_HTTP_CORRAL_CLIENT && terms->message_rate
        && !corral_bucket_take(&l->messages, terms->message_rate,
                               ngx_http_corral_relay_limit_burst(terms),
                               ngx_current_msec))
    {
        return 0;
    }

    if (rate) {
        corral_bucket_spend(&l->bytes[i], rate, rate, n, ngx_current_msec);
    }

    if ((rate || terms->message_delay)
        && ngx_http_corral_relay_limit_wait(p, i))
    {
        ngx_http_corral_relay_limit_stop(p, i);
    }

    return 1;
}


/* ms until more of side i may be read: a debt of bytes, or the next message */

uint32_t
ngx_http_corral_relay_limit_wait(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    uint32_t                   wait, message;
    ngx_http_corral_terms_t   *terms;
    ngx_http_corral_paced_t   *l;

    l = p->limits;
    terms = &p->shared->terms;
    wait = 0;

    if (p->own || p->lingering) {
        return 0;
    }

    if (terms->byte_rate[i]) {
        wait = corral_bucket_wait(&l->bytes[i], terms->byte_rate[i],
                                  terms->byte_rate[i], 0, ngx_current_msec);
    }

    if (i == NGX_HTTP_CORRAL_CLIENT && terms->message_delay
        && terms->message_rate && corral_frame_between(&p->sides[i].frame))
    {
        message = corral_bucket_wait(&l->messages, terms->message_rate,
                                    ngx_http_corral_relay_limit_burst(terms),
                                    1, ngx_current_msec);
        wait = ngx_max(wait, message);
    }

    return wait;
}


/* side i is not read any more until the wheel comes to it */

static void
ngx_http_corral_relay_limit_stop(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    if (p->sides[i].early) {
        return;
    }

    p->sides[i].early = 1;

    ngx_http_corral_relay_count_close(p, delays);

    if (!p->limits->noticed) {
        p->limits->noticed = 1;

        ngx_log_error(NGX_LOG_INFO, p->sides[i].connection->log, 0,
                      "%s sends more than its rate allows and is read more "
                      "slowly",
                      i == NGX_HTTP_CORRAL_CLIENT ? "client" : "agent");
    }

    ngx_http_corral_relay_time_arm(p);
}


/* ms until something is due here */

uint32_t
ngx_http_corral_relay_limit_left(ngx_http_corral_pair_t *p)
{
    uint32_t    left, wait;
    ngx_uint_t  i;

    left = ngx_http_corral_relay_limit_token(p);
    wait = ngx_http_corral_relay_limit_age(p);
    left = ngx_min(left, wait);

    for (i = 0; i < 2; i++) {

        /* one that may be read waits for the other's tail: not for us */

        if (p->sides[i].early && ngx_http_corral_relay_limit_metered(p, i)) {
            wait = ngx_http_corral_relay_limit_wait(p, i);

            if (wait || p->sides[!i].tail == NULL) {
                left = ngx_min(left, wait);
            }
        }
    }

    return left;
}


/* ms until the pair is to be looked at for its age */

static uint32_t
ngx_http_corral_relay_limit_age(ngx_http_corral_pair_t *p)
{
    uint32_t  left, end, lifetime;

    lifetime = (uint32_t) p->shared->terms.max_lifetime;

    if (lifetime == 0 || p->own || p->lingering) {
        return NGX_HTTP_CORRAL_RELAY_NEVER;
    }

    left = ngx_http_corral_relay_until(p->limits->opened,
                                       lifetime - p->limits->early_end);
    if (left) {
        return left;
    }

    end = ngx_http_corral_relay_until(p->limits->opened, lifetime);

    if (!ngx_http_corral_relay_quiet(p)) {
        return ngx_min(end, NGX_HTTP_CORRAL_RELAY_PAUSE);
    }

    left = ngx_http_corral_relay_until((uint32_t) p->last,
                                       NGX_HTTP_CORRAL_RELAY_PAUSE);

    return ngx_min(end, left);
}


/* ms until its token has ended, by the clock on the wall */

static uint32_t
ngx_http_corral_relay_limit_token(ngx_http_corral_pair_t *p)
{
    time_t  left;

    if (p->limits->expires == 0 || p->own || p->lingering) {
        return NGX_HTTP_CORRAL_RELAY_NEVER;
    }

    left = p->limits->expires + NGX_HTTP_CORRAL_LEEWAY - ngx_time();

    /* the wheel looks again after its longest time, whatever this says */

    return left <= 0 ? 0 : (uint32_t) ngx_min(left, 3600) * 1000;
}


static void
ngx_http_corral_relay_limit_expire(ngx_http_corral_pair_t *p)
{
    static ngx_str_t  reason = ngx_string("token expired");

    ngx_log_error(NGX_LOG_INFO,
                  p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                  "the token of a WebSocket has expired");

    ngx_http_corral_relay_count_close(p, closes_expired);
    ngx_http_corral_relay_shut(p, 4401, 1001, &reason);
}


/*
 * Its token ends at another time, 0: never.  NGX_ERROR: no memory; then it is
 * as it was.
 */

ngx_int_t
ngx_http_corral_relay_limit_renew(ngx_http_corral_pair_t *p, time_t expires)
{
    if (p->limits == NULL
        && ngx_http_corral_relay_limit_create(p, expires, ngx_cycle->log)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    p->limits->expires = expires;

    ngx_http_corral_relay_list_use(p);
    ngx_http_corral_relay_time_arm(p);

    return NGX_OK;
}


/* Reads on where that may be, and ends a pair that has lived long enough. */

void
ngx_http_corral_relay_limit_due(ngx_http_corral_pair_t *p)
{
    ngx_uint_t         i;
    ngx_connection_t  *c;

    static ngx_str_t   reason = ngx_string("max_lifetime");

    for (i = 0; i < 2; i++) {
        c = p->sides[i].connection;

        if (p->sides[i].early && ngx_http_corral_relay_limit_metered(p, i)
            && ngx_http_corral_relay_limit_wait(p, i) == 0)
        {
            ngx_post_event(c->read, &ngx_posted_events);
        }
    }

    if (ngx_http_corral_relay_limit_token(p) == 0) {
        ngx_http_corral_relay_limit_expire(p);

    } else if (ngx_http_corral_relay_limit_age(p) == 0) {
        ngx_log_error(NGX_LOG_INFO,
                      p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                      "WebSocket has lived for its max_lifetime, %i ms, less "
                      "%uD ms of jitter", p->shared->terms.max_lifetime,
                      p->limits->early_end);

        ngx_http_corral_relay_count_close(p, closes_lifetime);
        ngx_http_corral_relay_shut(p, 1012, 1001, &reason);
    }
}
