
/*
 * Requests that wait: one line for each service in each worker, first come,
 * first served.  A request holds nothing but its connection meanwhile.
 *
 * The head of a line is tried again when
 *
 *     a place is given back by any process of the zone: an eventfd, which the
 *     master made and all workers inherited, wakes those that hold lines;
 *     another generation of the registry comes into force;
 *     50 ms have passed: what a killed worker held, an instance whose rest is
 *     over, and workers of another master do not tell.
 *
 * That somebody waits is told through Redis at once and once a second, so
 * that what is waited for can be started.
 *
 * How many wait is counted in the slot of the service, in the column of this
 * process.  Lines live in this worker alone; no locks.  A line goes when it is
 * empty and that has been told.
 */


#include "ngx_http_corral_sync.h"
#include "ngx_http_corral_wait.h"

#include <sys/eventfd.h>


#define NGX_HTTP_CORRAL_WAIT_RECHECK  50    /* ms */
#define NGX_HTTP_CORRAL_WAIT_QUIET    100   /* ms between two tellings */
#define NGX_HTTP_CORRAL_WAIT_BATCH    64    /* of one line, in one turn */


/* of one service */

typedef struct {
    ngx_str_node_t                   by_id;     /* must be first */
    ngx_queue_t                      queue;     /* all lines */
    ngx_queue_t                      waiters;
    ngx_uint_t                       n;
    ngx_uint_t                       told;      /* n, as Redis knows it */
    ngx_msec_t                       told_at;
    u_char                           id[CORRAL_ID_MAX];
} ngx_http_corral_wait_line_t;


/* in the pool of its request */

typedef struct {
    ngx_queue_t                      queue;
    ngx_http_corral_wait_line_t     *line;      /* NULL: out of it */
    ngx_http_request_t              *request;
    ngx_http_corral_ctx_t           *ctx;
    ngx_http_corral_hold_t           hold;
    ngx_msec_t                       since;
    ngx_pool_cleanup_t              *cleanup;
} ngx_http_corral_waiter_t;


typedef struct {
    ngx_rbtree_t                     lines;
    ngx_rbtree_node_t                sentinel;
    ngx_queue_t                      all;
    ngx_http_corral_wait_refuse_pt   refuse;

    ngx_event_t                      check;     /* tries the heads */
    ngx_event_t                      recheck;
    ngx_event_t                      signal;    /* wakes the others */
    ngx_event_t                      tell;
    ngx_connection_t                 dummy;     /* ev->data of these */

    ngx_connection_t                 wakeup;    /* the eventfd */
    ngx_event_t                      wakeup_read;
    ngx_event_t                      wakeup_write;
} ngx_http_corral_wait_queue_t;


static ngx_http_corral_wait_line_t *ngx_http_corral_wait_queue_line(
    ngx_str_t *service_id, ngx_uint_t create);
static void ngx_http_corral_wait_queue_write(ngx_http_request_t *r);
static void ngx_http_corral_wait_queue_leave(ngx_http_corral_waiter_t *w);
static void ngx_http_corral_wait_queue_cleanup(void *data);
static void ngx_http_corral_wait_queue_changed(void);
static void ngx_http_corral_wait_queue_freed(void);
static void ngx_http_corral_wait_queue_signal(ngx_event_t *ev);
static void ngx_http_corral_wait_queue_wakeup(ngx_event_t *ev);
static void ngx_http_corral_wait_queue_recheck(ngx_event_t *ev);
static void ngx_http_corral_wait_queue_check(ngx_event_t *ev);
static ngx_uint_t ngx_http_corral_wait_queue_serve(
    ngx_http_corral_wait_line_t *line);
static void ngx_http_corral_wait_queue_tell(ngx_event_t *ev);
static void ngx_http_corral_wait_queue_tell_line(
    ngx_http_corral_wait_line_t *line);


static ngx_http_corral_wait_queue_t  ngx_http_corral_wait_queue;

static int  ngx_http_corral_wait_queue_fd = -1;     /* of the master */


/*
 * It is kept over reloads, so that old and new workers wake each other.  A new
 * binary makes its own: there the recheck helps, as it does where this fails.
 */

ngx_int_t
ngx_http_corral_wait_queue_create(ngx_cycle_t *cycle)
{
    if (ngx_http_corral_wait_queue_fd != -1) {
        return NGX_OK;
    }

    ngx_http_corral_wait_queue_fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    if (ngx_http_corral_wait_queue_fd == -1) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, ngx_errno,
                      "corral wait: eventfd() failed: waiting requests get a "
                      "free place up to %d ms later",
                      NGX_HTTP_CORRAL_WAIT_RECHECK);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_wait_queue_init(ngx_cycle_t *cycle,
    ngx_http_corral_wait_refuse_pt refuse)
{
    ngx_uint_t                     i;
    ngx_event_t                   *ev;
    ngx_connection_t              *c;
    ngx_http_corral_wait_queue_t  *q;

    q = &ngx_http_corral_wait_queue;

    ngx_rbtree_init(&q->lines, &q->sentinel, ngx_str_rbtree_insert_value);
    ngx_queue_init(&q->all);
    q->refuse = refuse;
    q->dummy.fd = (ngx_socket_t) -1;

    q->check.handler = ngx_http_corral_wait_queue_check;
    q->recheck.handler = ngx_http_corral_wait_queue_recheck;
    q->signal.handler = ngx_http_corral_wait_queue_signal;
    q->tell.handler = ngx_http_corral_wait_queue_tell;

    for (i = 0; i < 4; i++) {
        ev = (i == 0) ? &q->check : (i == 1) ? &q->recheck
             : (i == 2) ? &q->signal : &q->tell;
        ev->data = &q->dummy;
        ev->log = cycle->log;
        ev->cancelable = 1;
    }

    ngx_http_corral_table_on_free(ngx_http_corral_wait_queue_freed);
    ngx_http_corral_registry_on_swap(ngx_http_corral_wait_queue_changed);

    if (ngx_http_corral_wait_queue_fd == -1
        || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
    {
        return NGX_OK;
    }

    /* like ngx_epoll_notify(): edges alone matter, the number is not read */

    c = &q->wakeup;

    c->fd = ngx_http_corral_wait_queue_fd;
    c->read = &q->wakeup_read;
    c->write = &q->wakeup_write;
    c->log = cycle->log;

    c->read->data = c;
    c->read->log = cycle->log;
    c->read->handler = ngx_http_corral_wait_queue_wakeup;
    c->write->data = c;
    c->write->log = cycle->log;

    return ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT);
}


ngx_uint_t
ngx_http_corral_wait_queue_length(ngx_str_t *service_id)
{
    ngx_http_corral_wait_line_t  *line;

    if (ngx_queue_empty(&ngx_http_corral_wait_queue.all)) {
        return 0;
    }

    line = ngx_http_corral_wait_queue_line(service_id, 0);

    return line ? line->n : 0;
}


static ngx_http_corral_wait_line_t *
ngx_http_corral_wait_queue_line(ngx_str_t *service_id, ngx_uint_t create)
{
    uint32_t                       hash;
    ngx_http_corral_wait_line_t   *line;
    ngx_http_corral_wait_queue_t  *q;

    q = &ngx_http_corral_wait_queue;

    hash = ngx_crc32_short(service_id->data, service_id->len);

    line = (ngx_http_corral_wait_line_t *)
               ngx_str_rbtree_lookup(&q->lines, service_id, hash);

    if (line || !create) {
        return line;
    }

    line = ngx_calloc(sizeof(ngx_http_corral_wait_line_t), ngx_cycle->log);
    if (line == NULL) {
        return NULL;
    }

    ngx_memcpy(line->id, service_id->data, service_id->len);

    line->by_id.node.key = hash;
    line->by_id.str.len = service_id->len;
    line->by_id.str.data = line->id;
    line->told_at = ngx_current_msec - NGX_HTTP_CORRAL_WAIT_QUIET;

    ngx_queue_init(&line->waiters);
    ngx_queue_insert_tail(&q->all, &line->queue);
    ngx_rbtree_insert(&q->lines, &line->by_id.node);

    return line;
}


ngx_int_t
ngx_http_corral_wait_queue_park(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service)
{
    ngx_http_corral_waiter_t      *w;
    ngx_http_corral_wait_line_t   *line;
    ngx_http_corral_wait_queue_t  *q;

    q = &ngx_http_corral_wait_queue;

    line = ngx_http_corral_wait_queue_line(&service->id, 1);
    if (line == NULL) {
        return NGX_ERROR;
    }

    if (line->n >= service->queue_size) {
        return NGX_BUSY;
    }

    w = ngx_pcalloc(r->pool, sizeof(ngx_http_corral_waiter_t));
    if (w == NULL) {
        return NGX_ERROR;
    }

    w->cleanup = ngx_pool_cleanup_add(r->pool, 0);
    if (w->cleanup == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_corral_park(r, "waiting for an instance",
                             ngx_http_corral_wait_queue_write,
                             service->queue_timeout)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    w->cleanup->handler = ngx_http_corral_wait_queue_cleanup;
    w->cleanup->data = w;

    w->request = r;
    w->ctx = ctx;
    w->line = line;
    w->since = ngx_current_msec;

    ctx->wait = w;
    ctx->queued = 1;

    ngx_queue_insert_tail(&line->waiters, &w->queue);
    line->n++;

    ngx_http_corral_table_wait(ctx->terms.ref, &w->hold);
    ngx_http_corral_table_local(ctx->terms.ref)->queued++;

    /* a place may have become free just before we were seen to wait */

    ngx_http_corral_wait_queue_changed();

    if (!q->recheck.timer_set) {
        ngx_add_timer(&q->recheck, NGX_HTTP_CORRAL_WAIT_RECHECK);
    }

    if (line->told == 0) {
        ngx_http_corral_wait_queue_tell_line(line);
    }

    if (!q->tell.timer_set) {
        ngx_add_timer(&q->tell, CORRAL_WAKE_REPEAT);
    }

    return NGX_AGAIN;
}


/* The time is over, or the request has left the line. */

static void
ngx_http_corral_wait_queue_write(ngx_http_request_t *r)
{
    ngx_uint_t                 timed_out;
    ngx_http_corral_ctx_t     *ctx;
    ngx_http_corral_waiter_t  *w;

    if (ngx_http_corral_parked(r) != NGX_OK) {
        return;
    }

    ctx = ngx_http_corral_find_ctx(r);
    w = ctx->wait;
    timed_out = w->line != NULL;

    if (timed_out) {
        if (!ctx->revoked) {
            ngx_http_corral_table_local(ctx->terms.ref)->queue_timeouts++;
        }

        ngx_http_corral_wait_queue_leave(w);
    }

    ctx->wait = NULL;

    if (ctx->hold.state == NGX_HTTP_CORRAL_HOLD_RESERVED) {
        ngx_http_core_run_phases(r);
        return;
    }

    ngx_http_corral_wait_queue.refuse(r, ctx, timed_out);
}


/* out of its line; what comes next is the caller's affair */

static void
ngx_http_corral_wait_queue_leave(ngx_http_corral_waiter_t *w)
{
    ngx_http_corral_ctx_t  *ctx;

    ctx = w->ctx;

    ngx_queue_remove(&w->queue);
    w->line->n--;
    w->line = NULL;
    w->cleanup->handler = NULL;

    ngx_http_corral_table_release(&w->hold);

    ctx->queue_time += ngx_current_msec - w->since;

    ngx_http_corral_table_local(ctx->terms.ref)->queue_msec +=
                                                ngx_current_msec - w->since;
}


/* the request ends while it waits: its client has left */

static void
ngx_http_corral_wait_queue_cleanup(void *data)
{
    ngx_http_corral_waiter_t *w = data;

    ngx_http_corral_table_local(w->ctx->terms.ref)->queue_aborts++;

    ngx_http_corral_wait_queue_leave(w);
    ngx_http_corral_wait_queue_changed();
}


/* Heads are to be tried, in the next turn of the loop. */

static void
ngx_http_corral_wait_queue_changed(void)
{
    ngx_http_corral_wait_queue_t  *q;

    q = &ngx_http_corral_wait_queue;

    if (!q->check.posted && !ngx_queue_empty(&q->all)) {
        ngx_post_event(&q->check, &ngx_posted_next_events);
    }
}


/* This process gave a place back, and somebody waits. */

static void
ngx_http_corral_wait_queue_freed(void)
{
    ngx_http_corral_wait_queue_t  *q;

    q = &ngx_http_corral_wait_queue;

    if (!q->signal.posted) {
        ngx_post_event(&q->signal, &ngx_posted_events);
    }
}


static void
ngx_http_corral_wait_queue_signal(ngx_event_t *ev)
{
    uint64_t  one;

    one = 1;

    /* it fails when 2^64 - 2 wakings were not read: never */

    if (ngx_http_corral_wait_queue.wakeup_read.active
        && write(ngx_http_corral_wait_queue_fd, &one, 8) == 8)
    {
        return;                 /* this process is woken as all others are */
    }

    ngx_http_corral_wait_queue_changed();
}


static void
ngx_http_corral_wait_queue_wakeup(ngx_event_t *ev)
{
    ngx_http_corral_wait_queue_changed();
}


static void
ngx_http_corral_wait_queue_recheck(ngx_event_t *ev)
{
    ngx_http_corral_wait_queue_check(ev);

    if (!ngx_queue_empty(&ngx_http_corral_wait_queue.all)) {
        ngx_add_timer(ev, NGX_HTTP_CORRAL_WAIT_RECHECK);
    }
}


static void
ngx_http_corral_wait_queue_check(ngx_event_t *ev)
{
    ngx_uint_t                     more;
    ngx_queue_t                   *q;
    ngx_http_corral_wait_line_t   *line;

    more = 0;

    for (q = ngx_queue_head(&ngx_http_corral_wait_queue.all);
         q != ngx_queue_sentinel(&ngx_http_corral_wait_queue.all);
         q = ngx_queue_next(q))
    {
        line = ngx_queue_data(q, ngx_http_corral_wait_line_t, queue);

        more |= ngx_http_corral_wait_queue_serve(line);
    }

    if (more) {
        ngx_http_corral_wait_queue_changed();
    }
}


/*
 * Gives places to the first of a line.  Only reserves: the requests go on in
 * events of their own, as any of them may end others.  Returns 1 if there may
 * be more places.
 */

static ngx_uint_t
ngx_http_corral_wait_queue_serve(ngx_http_corral_wait_line_t *line)
{
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    ngx_http_corral_waiter_t   *w;
    ngx_http_corral_service_t  *service;

    service = ngx_http_corral_registry_find(&line->by_id.str);

    for (i = 0; i < NGX_HTTP_CORRAL_WAIT_BATCH; i++) {

        if (ngx_queue_empty(&line->waiters)) {
            return 0;
        }

        w = ngx_queue_data(ngx_queue_head(&line->waiters),
                           ngx_http_corral_waiter_t, queue);

        if (service && service->desired != CORRAL_DESIRED_STOPPED) {
            w->ctx->ntried = 0;

            rc = ngx_http_corral_upstream_pick(w->request, w->ctx, NULL);

            if (rc == NGX_BUSY) {
                return 0;
            }
        }

        ngx_http_corral_wait_queue_leave(w);
        ngx_http_corral_unpark(w->request);
    }

    return 1;
}


/* Once a second; lines that are empty and told to be so are freed. */

static void
ngx_http_corral_wait_queue_tell(ngx_event_t *ev)
{
    ngx_queue_t                   *q, *next;
    ngx_http_corral_wait_line_t   *line;
    ngx_http_corral_wait_queue_t  *wq;

    wq = &ngx_http_corral_wait_queue;

    for (q = ngx_queue_head(&wq->all);
         q != ngx_queue_sentinel(&wq->all);
         q = next)
    {
        next = ngx_queue_next(q);
        line = ngx_queue_data(q, ngx_http_corral_wait_line_t, queue);

        if (line->n || line->told) {
            ngx_http_corral_wait_queue_tell_line(line);
            continue;
        }

        ngx_rbtree_delete(&wq->lines, &line->by_id.node);
        ngx_queue_remove(&line->queue);
        ngx_free(line);
    }

    if (!ngx_queue_empty(&wq->all)) {
        ngx_add_timer(ev, CORRAL_WAKE_REPEAT);
    }
}


/* not more often than ten times a second: a short line comes and goes */

static void
ngx_http_corral_wait_queue_tell_line(ngx_http_corral_wait_line_t *line)
{
    if (ngx_current_msec - line->told_at < NGX_HTTP_CORRAL_WAIT_QUIET) {
        return;
    }

    line->told = line->n;
    line->told_at = ngx_current_msec;

    ngx_http_corral_sync_waiting(&line->by_id.str, line->n);
}
