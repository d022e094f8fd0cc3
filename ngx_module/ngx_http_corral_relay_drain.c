
/*
 * Drains: the pairs that match are closed one after the other, at a pace, those
 * that have been idle longest first, each when no message is half passed.  At
 * the deadline the rest is closed at the next frame boundary.
 *
 * The pace is that of the whole cluster: each worker takes the share that its
 * pairs are of the total.  It is raised when it would not reach the deadline,
 * as a fleet that goes all at once comes back all at once.
 *
 * A ring holds the pairs in the order of their turn.  One that was used since,
 * or is within a message, goes to its end: so a tick looks at each pair at most
 * once.  A pair that is to leave an instance, and may go on with another one,
 * is moved there instead, if it can be when nobody waits for an answer.  Pairs
 * may end meanwhile and their memory may be another's: the number
 * tells.  The ring lives until all have had their turn, the order (who asked)
 * until all have ended.  The timer is cancelable: as long as there are pairs,
 * the clock of the relay keeps the worker.
 */


#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


#define NGX_HTTP_CORRAL_DRAIN_TICK  100             /* ms */


typedef struct {
    ngx_http_corral_pair_t      *pair;
    uint32_t                     number;
    uint32_t                     resumed;      /* times, then */
    uint64_t                     last;         /* message, as last seen */
} ngx_http_corral_drain_turn_t;


typedef struct {
    ngx_event_t                      timer;
    ngx_connection_t                 dummy;    /* ev->data */
    ngx_http_corral_order_t         *order;
    ngx_http_corral_drain_turn_t    *ring;
    ngx_uint_t                       size;
    ngx_uint_t                       head;
    ngx_uint_t                       left;     /* in the ring */
    ngx_uint_t                       closed;   /* by us */
    ngx_msec_t                       start;
    ngx_msec_t                       time;     /* ms until the deadline */
    uint64_t                         pace;     /* pairs in 1,000 s */
    ngx_uint_t                       code;
    ngx_uint_t                       away;     /* from an instance */
    ngx_uint_t                       retry_after;
    size_t                           len;
    u_char                           reason[NGX_HTTP_CORRAL_RELAY_REASON];
} ngx_http_corral_drain_ring_t;


static ngx_int_t ngx_http_corral_drain_fill(ngx_http_corral_drain_ring_t *d,
    ngx_http_corral_filter_t *filter);
static int ngx_libc_cdecl ngx_http_corral_drain_cmp(const void *one,
    const void *two);
static void ngx_http_corral_drain_handler(ngx_event_t *ev);
static ngx_uint_t ngx_http_corral_drain_turn(ngx_http_corral_drain_ring_t *d,
    ngx_uint_t now);
static void ngx_http_corral_drain_end(ngx_http_corral_drain_ring_t *d);


void
ngx_http_corral_relay_drain(ngx_http_corral_filter_t *filter,
    ngx_http_corral_drain_t *drain, ngx_http_corral_closed_pt done, void *data)
{
    uint64_t                       total;
    ngx_http_corral_drain_ring_t  *d;

    d = ngx_calloc(sizeof(ngx_http_corral_drain_ring_t), ngx_cycle->log);
    if (d == NULL) {
        done(data, 0, 0, 0);
        return;
    }

    d->order = ngx_calloc(sizeof(ngx_http_corral_order_t), ngx_cycle->log);

    if (d->order == NULL
        || ngx_http_corral_drain_fill(d, filter) != NGX_OK)
    {
        if (d->order) {
            ngx_free(d->order);
        }

        ngx_free(d);
        done(data, 0, 0, 0);
        return;
    }

    d->order->done = done;
    d->order->data = data;

    d->dummy.fd = (ngx_socket_t) -1;
    d->timer.handler = ngx_http_corral_drain_handler;
    d->timer.data = &d->dummy;
    d->timer.log = ngx_cycle->log;
    d->timer.cancelable = 1;
    d->dummy.data = d;

    d->start = ngx_current_msec;
    d->time = drain->deadline;
    d->code = drain->code;
    d->away = filter->instance_id.len != 0;
    d->retry_after = drain->retry_after;
    d->len = ngx_min(drain->reason.len, sizeof(d->reason));
    ngx_memcpy(d->reason, drain->reason.data, d->len);

    total = ngx_max(drain->total, d->left);

    /* rate 0: all of them in the first tick that finds them quiet */

    if (total) {
        d->pace = (uint64_t) d->left * 1000 * 1000
                  / (drain->rate ? ngx_max(d->time, 1)
                                 : NGX_HTTP_CORRAL_DRAIN_TICK)
                  + 1;
        d->pace = ngx_max(d->pace, drain->rate * 1000 * d->left / total);
    }

    ngx_http_corral_drain_handler(&d->timer);
}


/* the pairs that match, those that are idle longest first; all are ordered */

static ngx_int_t
ngx_http_corral_drain_fill(ngx_http_corral_drain_ring_t *d,
    ngx_http_corral_filter_t *filter)
{
    void                          *chunk;
    ngx_uint_t                     n;
    ngx_http_corral_pair_t        *p;
    ngx_http_corral_drain_turn_t  *t;

    d->order->open = 1;             /* the ring */

    d->size = ngx_http_corral_relay_count();
    d->ring = ngx_alloc(ngx_max(d->size, 1)
                        * sizeof(ngx_http_corral_drain_turn_t),
                        ngx_cycle->log);
    if (d->ring == NULL) {
        return NGX_ERROR;
    }

    chunk = NULL;
    n = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_walk(&chunk, &n);

        if (p == NULL) {
            break;
        }

        if (!ngx_http_corral_relay_list_matches(p, filter)) {
            continue;
        }

        d->order->matched++;

        if (ngx_http_corral_relay_list_order(p, d->order) == NGX_OK) {
            t = &d->ring[d->left++];
            t->pair = p;
            t->number = p->number;
            t->resumed = ngx_http_corral_relay_resumed(p);
            t->last = p->last;
        }
    }

    ngx_qsort(d->ring, d->left, sizeof(ngx_http_corral_drain_turn_t),
              ngx_http_corral_drain_cmp);

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_http_corral_drain_cmp(const void *one, const void *two)
{
    const ngx_http_corral_drain_turn_t *a = one;
    const ngx_http_corral_drain_turn_t *b = two;

    return a->last < b->last ? -1 : a->last > b->last;
}


static void
ngx_http_corral_drain_handler(ngx_event_t *ev)
{
    uint64_t                       due;
    ngx_uint_t                     n, now;
    ngx_msec_t                     passed;
    ngx_connection_t              *dummy;
    ngx_http_corral_drain_ring_t  *d;

    dummy = ev->data;
    d = dummy->data;

    passed = ngx_current_msec - d->start;
    now = (passed >= d->time);
    due = passed * d->pace / 1000000;

    for (n = d->left; n && (now || d->closed < due); n--) {
        d->closed += ngx_http_corral_drain_turn(d, now);
    }

    if (d->left) {
        ngx_add_timer(ev, NGX_HTTP_CORRAL_DRAIN_TICK);
        return;
    }

    ngx_http_corral_drain_end(d);
}


/* The first of the ring has its turn: 1 if it was closed. */

static ngx_uint_t
ngx_http_corral_drain_turn(ngx_http_corral_drain_ring_t *d, ngx_uint_t now)
{
    ngx_str_t                      reason;
    ngx_http_corral_pair_t        *p;
    ngx_http_corral_drain_turn_t   t;

    t = d->ring[d->head];
    p = t.pair;

    d->head = (d->head + 1) % d->size;
    d->left--;

    if (p->number != t.number || p->own || p->lingering) {
        return 0;                           /* it goes without us */
    }

    if (d->away
        && (p->moving || ngx_http_corral_relay_resumed(p) != t.resumed))
    {
        ngx_http_corral_relay_answer(p->closing, 0, 0);
        return 0;                           /* it has left */
    }

    if (!now
        && (p->last != t.last || !ngx_http_corral_relay_quiet(p)
            || (d->away && ngx_http_corral_relay_asking(p))))
    {
        t.last = p->last;
        d->ring[(d->head + d->left) % d->size] = t;
        d->left++;
        return 0;
    }

    if (d->away && ngx_http_corral_relay_move_away(p) == NGX_OK) {
        ngx_http_corral_relay_answer(p->closing, 0, 0);
        return 1;
    }

    reason.data = d->reason;
    reason.len = d->len;

    ngx_http_corral_relay_count_close(p, closes_drained);
    ngx_http_corral_relay_drain_close(p, d->code, &reason, d->retry_after);

    return 1;
}


/* each is told another time to come back, so that they do not meet */

void
ngx_http_corral_relay_drain_close(ngx_http_corral_pair_t *p, ngx_uint_t code,
    ngx_str_t *why, ngx_uint_t retry_after)
{
    u_char     *last;
    ngx_str_t   reason;
    u_char      buf[NGX_HTTP_CORRAL_RELAY_REASON + sizeof(" retry_after=")
                    + NGX_INT_T_LEN];

    last = ngx_cpymem(buf, why->data, why->len);

    if (retry_after) {
        last = ngx_sprintf(last, "%sretry_after=%ui", why->len ? " " : "",
                           (ngx_uint_t) ngx_random() % retry_after + 1);
    }

    reason.data = buf;
    reason.len = last - buf;

    ngx_http_corral_relay_shut(p, code, 1001, &reason);
    ngx_http_corral_relay_list_use(p);
    ngx_http_corral_relay_settle(p);
}


static void
ngx_http_corral_drain_end(ngx_http_corral_drain_ring_t *d)
{
    ngx_http_corral_order_t  *order;

    order = d->order;

    ngx_free(d->ring);
    ngx_free(d);

    if (--order->open == 0) {
        order->done(order->data, order->matched, order->closed, order->sent);
        ngx_free(order);
    }
}
