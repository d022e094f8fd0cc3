
/*
 * The clock of the relay: pings, dead peers, idle pairs, and how long an end
 * may take.
 *
 * There is one timer in a worker, not one for each connection.  It turns a
 * wheel of buckets; a pair lies in the bucket of the first thing that can
 * become due.  Traffic only notes its time and leaves the pair where it is:
 * when its bucket comes up, the pair looks at those times and moves on.  So
 * traffic costs nothing here, and a turn costs what is due.
 *
 * The timer is not cancelable: it keeps an old worker alive as long as it has
 * pairs.  With the last pair it is deleted, and the worker may go.
 */


#include "ngx_http_corral_relay_pair.h"

#include <sys/ioctl.h>

#if (NGX_LINUX)
#include <linux/sockios.h>
#endif


#define NGX_HTTP_CORRAL_RELAY_TICK     100          /* ms */
#define NGX_HTTP_CORRAL_RELAY_BUCKETS  1024         /* about 100 s */


static void ngx_http_corral_relay_time_handler(ngx_event_t *ev);
static void ngx_http_corral_relay_time_turn(ngx_queue_t *bucket);
static uint32_t ngx_http_corral_relay_time_left(ngx_http_corral_pair_t *p);
static uint32_t ngx_http_corral_relay_time_side(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
static void ngx_http_corral_relay_time_due(ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_time_check(ngx_http_corral_pair_t *p,
    ngx_uint_t i);


static ngx_queue_t       ngx_http_corral_relay_wheel[
                                               NGX_HTTP_CORRAL_RELAY_BUCKETS];
static uint64_t          ngx_http_corral_relay_turned;  /* ticks done */
static ngx_event_t       ngx_http_corral_relay_timer;
static ngx_connection_t  ngx_http_corral_relay_timer_data;


#define ngx_http_corral_relay_ticks()                                         \
    ((uint64_t) ngx_current_msec / NGX_HTTP_CORRAL_RELAY_TICK)


ngx_int_t
ngx_http_corral_relay_time_init(ngx_cycle_t *cycle)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_CORRAL_RELAY_BUCKETS; i++) {
        ngx_queue_init(&ngx_http_corral_relay_wheel[i]);
    }

    ngx_memzero(&ngx_http_corral_relay_timer, sizeof(ngx_event_t));

    ngx_http_corral_relay_timer_data.fd = (ngx_socket_t) -1;

    ngx_http_corral_relay_timer.handler = ngx_http_corral_relay_time_handler;
    ngx_http_corral_relay_timer.data = &ngx_http_corral_relay_timer_data;
    ngx_http_corral_relay_timer.log = cycle->log;

    return NGX_OK;
}


/* A new pair: its time begins. */

void
ngx_http_corral_relay_time_start(ngx_http_corral_pair_t *p)
{
    if (!ngx_http_corral_relay_timer.timer_set) {
        ngx_http_corral_relay_turned = ngx_http_corral_relay_ticks();
        ngx_add_timer(&ngx_http_corral_relay_timer,
                      NGX_HTTP_CORRAL_RELAY_TICK);
    }

    ngx_http_corral_relay_time_arm(p);
}


/* The pair must have ended, or come nearer to its end, in so many ms. */

void
ngx_http_corral_relay_time_limit(ngx_http_corral_pair_t *p, ngx_msec_t time)
{
    p->limited = 1;
    p->deadline = (uint32_t) (ngx_current_msec + time);

    ngx_http_corral_relay_time_arm(p);
}


/* The pair is gone; it was counted out of ngx_http_corral_relay_count(). */

void
ngx_http_corral_relay_time_stop(ngx_http_corral_pair_t *p)
{
    ngx_queue_remove(&p->due);

    if (ngx_http_corral_relay_count() == 0
        && ngx_http_corral_relay_timer.timer_set)
    {
        ngx_del_timer(&ngx_http_corral_relay_timer);
    }
}


static void
ngx_http_corral_relay_time_handler(ngx_event_t *ev)
{
    uint64_t    now;
    ngx_uint_t  n;

    now = ngx_http_corral_relay_ticks();

    /* after a long sleep of the process each bucket once is enough */

    for (n = 0; ngx_http_corral_relay_turned < now; n++) {

        if (n == NGX_HTTP_CORRAL_RELAY_BUCKETS) {
            ngx_http_corral_relay_turned = now;
            break;
        }

        ngx_http_corral_relay_turned++;

        ngx_http_corral_relay_time_turn(
            &ngx_http_corral_relay_wheel[ngx_http_corral_relay_turned
                                         % NGX_HTTP_CORRAL_RELAY_BUCKETS]);
    }

    ngx_http_corral_relay_rebalance_turn();

    if (ngx_http_corral_relay_count() && !ev->timer_set) {
        ngx_add_timer(ev, NGX_HTTP_CORRAL_RELAY_TICK);
    }
}


/* a pair may end or move others here: the queue is cut off and emptied */

static void
ngx_http_corral_relay_time_turn(ngx_queue_t *bucket)
{
    ngx_queue_t              due, *q;
    ngx_http_corral_pair_t  *p;

    if (ngx_queue_empty(bucket)) {
        return;
    }

    ngx_queue_init(&due);
    ngx_queue_add(&due, bucket);
    ngx_queue_init(bucket);

    while (!ngx_queue_empty(&due)) {
        q = ngx_queue_head(&due);
        p = ngx_queue_data(q, ngx_http_corral_pair_t, due);

        ngx_queue_remove(q);
        ngx_queue_init(q);

        ngx_http_corral_relay_time_due(p);
    }
}


/* Something may have become due earlier than was thought. */

void
ngx_http_corral_relay_time_arm(ngx_http_corral_pair_t *p)
{
    uint32_t  left;
    uint64_t  tick;

    if (p->due.next) {
        ngx_queue_remove(&p->due);
    }

    left = ngx_http_corral_relay_time_left(p);

    if (left == NGX_HTTP_CORRAL_RELAY_NEVER) {
        ngx_queue_init(&p->due);
        return;
    }

    tick = ((uint64_t) ngx_current_msec + left) / NGX_HTTP_CORRAL_RELAY_TICK
           + 1;

    /* beyond the wheel: the last bucket, to look again */

    tick = ngx_max(tick, ngx_http_corral_relay_turned + 1);
    tick = ngx_min(tick, ngx_http_corral_relay_turned
                         + NGX_HTTP_CORRAL_RELAY_BUCKETS - 1);

    ngx_queue_insert_tail(
        &ngx_http_corral_relay_wheel[tick % NGX_HTTP_CORRAL_RELAY_BUCKETS],
        &p->due);
}


/* ms until the first thing that may be due */

static uint32_t
ngx_http_corral_relay_time_left(ngx_http_corral_pair_t *p)
{
    uint32_t    left, side, idle;
    ngx_uint_t  i;

    left = NGX_HTTP_CORRAL_RELAY_NEVER;

    if (p->limited) {
        left = (uint32_t) ngx_max((int32_t) (p->deadline
                                             - (uint32_t) ngx_current_msec),
                                  0);
    }

    if (p->limits) {
        left = ngx_min(left, ngx_http_corral_relay_limit_left(p));
    }

    if (p->own || p->lingering) {
        return left;
    }

    idle = p->shared->terms.idle_timeout;

    if (idle) {
        left = ngx_min(left,
                       ngx_http_corral_relay_until((uint32_t) p->last, idle));
    }

    for (i = 0; i < 2; i++) {
        side = ngx_http_corral_relay_time_side(p, i);
        left = ngx_min(left, side);
    }

    return left;
}


/* until side i is to be pinged, or is dead */

static uint32_t
ngx_http_corral_relay_time_side(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    uint32_t                  left;
    ngx_http_corral_side_t   *s;
    ngx_http_corral_terms_t  *terms;

    s = &p->sides[i];
    terms = &p->shared->terms;

    if (s->told || s->said || s->eof || s->mute || s->fin) {
        return NGX_HTTP_CORRAL_RELAY_NEVER;
    }

    if (s->waiting) {
        return ngx_http_corral_relay_until(s->pinged, terms->ping_timeout);
    }

    if (terms->ping_interval == 0) {
        return NGX_HTTP_CORRAL_RELAY_NEVER;
    }

    left = ngx_http_corral_relay_until(s->heard, terms->ping_interval);

    /* a ping that waits for a frame boundary is not asked for again soon */

    if (left == 0 && s->owe_ping) {
        return NGX_HTTP_CORRAL_RELAY_TICK;
    }

    return left;
}


static void
ngx_http_corral_relay_time_due(ngx_http_corral_pair_t *p)
{
    uint32_t          idle;
    static ngx_str_t  reason = ngx_string("idle");

    if (p->limits) {
        ngx_http_corral_relay_limit_due(p);
    }

    if (p->limited
        && (int32_t) (p->deadline - (uint32_t) ngx_current_msec) <= 0)
    {
        p->limited = 0;
        ngx_http_corral_relay_expire(p);

    } else if (!p->own && !p->lingering) {
        idle = p->shared->terms.idle_timeout;

        if (idle && ngx_http_corral_relay_until((uint32_t) p->last, idle) == 0)
        {
            ngx_log_error(NGX_LOG_INFO,
                          p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                          "WebSocket had no message for %uD ms", idle);

            ngx_http_corral_relay_count_close(p, closes_idle);
            ngx_http_corral_relay_shut(p, 1001, 1001, &reason);

        } else {
            ngx_http_corral_relay_time_check(p, NGX_HTTP_CORRAL_CLIENT);
            ngx_http_corral_relay_time_check(p, NGX_HTTP_CORRAL_AGENT);
        }
    }

    ngx_http_corral_relay_time_arm(p);
    ngx_http_corral_relay_settle(p);
}


static void
ngx_http_corral_relay_time_check(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    ngx_uint_t               progress, queued;
    ngx_http_corral_side_t  *s;

    s = &p->sides[i];

    if (ngx_http_corral_relay_time_side(p, i) != 0) {
        return;
    }

    if (!s->waiting) {
        ngx_http_corral_relay_ping(p, i);
        (void) ngx_http_corral_relay_time_progress(s, &queued);
        return;
    }

    /*
     * We do not read it while the other side has a tail or a limit makes it
     * wait; one that takes bytes,
     * slowly, has not come to our ping yet; and in the middle of a frame it
     * cannot answer: then it is enough that its system has taken the ping
     */

    progress = ngx_http_corral_relay_time_progress(s, &queued);

    if (p->sides[!i].tail || s->early || progress
        || (!corral_frame_boundary(&s->frame) && !queued))
    {
        s->pinged = (uint32_t) ngx_current_msec;
        return;
    }

    ngx_http_corral_relay_lose(p, i);
}


/*
 * Does the other end still take what was sent to it?  1 if bytes wait for it,
 * here or in the socket, and it has more of what was sent than the last time;
 * queued: do any wait?
 *
 * A unix socket counts its buffers, not their bytes: there "taken" falls with
 * each message that is put into the queue of one who reads nothing.
 */

ngx_uint_t
ngx_http_corral_relay_time_progress(ngx_http_corral_side_t *s,
    ngx_uint_t *queued)
{
    int         n;
    uint32_t    before;

    n = 0;

    if (s->connection == NULL) {
        *queued = 0;                        /* the agent is lost */
        return 0;
    }

#if (NGX_LINUX)

    if (ioctl(s->connection->fd, SIOCOUTQ, &n) == -1) {
        n = 0;
    }

#endif

    before = s->taken;
    s->taken = (uint32_t) s->connection->sent - n;

    *queued = n != 0 || s->tail != NULL;

    return *queued && (int32_t) (s->taken - before) > 0;
}
