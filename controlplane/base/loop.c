
/*
 * The loop.  libuv frees nothing: a handle must live until its close callback.
 * Timers here own themselves, so that callers need not know this rule.
 *
 * libmicrohttpd runs without a thread of its own: its epoll fd is polled, and
 * after each MHD_run() its time-out is asked for again, or idle connections
 * would hang.
 */


#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>
#include <uv.h>

#include "log.h"
#include "loop.h"


struct corrald_timer_s {
    uv_timer_t        uv;            /* must be first */
    corrald_loop_pt   handler;
    void             *data;
    int               once;
};


typedef struct {
    uv_work_t         uv;            /* must be first */
    corrald_loop_pt   work;
    corrald_loop_pt   done;
    void             *data;
} corrald_loop_work_t;


struct corrald_loop_http_s {
    uv_poll_t             poll;      /* must be first */
    uv_timer_t            timer;
    struct MHD_Daemon    *daemon;
    corrald_loop_http_t  *next;
    int                   closing;   /* handles that are still open */
};


static void corrald_loop_fired(uv_timer_t *uv);
static void corrald_loop_timer_closed(uv_handle_t *handle);
static void corrald_loop_working(uv_work_t *uv);
static void corrald_loop_worked(uv_work_t *uv, int status);
static void corrald_loop_http_polled(uv_poll_t *poll, int status, int events);
static void corrald_loop_http_timed(uv_timer_t *timer);
static void corrald_loop_http_kicked(uv_check_t *check);
static void corrald_loop_http_run(corrald_loop_http_t *http);
static void corrald_loop_http_closed(uv_handle_t *handle);


static uv_loop_t             corrald_loop;
static uv_check_t            corrald_loop_check;
static uv_idle_t             corrald_loop_idle;
static corrald_loop_http_t  *corrald_loop_https;


static void
corrald_loop_nothing(uv_idle_t *idle)
{
    /* its being active is what makes the loop not sleep */
}


/* Returns 0 or -1. */

int
corrald_loop_init(void)
{
    if (uv_loop_init(&corrald_loop) != 0
        || uv_check_init(&corrald_loop, &corrald_loop_check) != 0
        || uv_idle_init(&corrald_loop, &corrald_loop_idle) != 0)
    {
        return -1;
    }

    uv_unref((uv_handle_t *) &corrald_loop_check);
    uv_unref((uv_handle_t *) &corrald_loop_idle);

    return 0;
}


uv_loop_t *
corrald_loop_uv(void)
{
    return &corrald_loop;
}


/* Runs until corrald_loop_stop(). */

void
corrald_loop_run(void)
{
    uv_run(&corrald_loop, UV_RUN_DEFAULT);
}


void
corrald_loop_stop(void)
{
    uv_stop(&corrald_loop);
}


static void
corrald_loop_close_handle(uv_handle_t *handle, void *data)
{
    if (!uv_is_closing(handle)) {
        corrald_log_debug("a %s handle was left open",
                          uv_handle_type_name(handle->type));
    }
}


/*
 * The last act: lets close callbacks and running work end.  Handles that
 * nobody closed are named at level debug and left as they are.
 */

void
corrald_loop_close(void)
{
    int  i;

    uv_close((uv_handle_t *) &corrald_loop_check, NULL);
    uv_close((uv_handle_t *) &corrald_loop_idle, NULL);

    /* work in the pool has its callback; both keep the loop busy */

    for (i = 0; i < 1000 && uv_run(&corrald_loop, UV_RUN_NOWAIT); i++) {
        uv_sleep(1);
    }

    uv_walk(&corrald_loop, corrald_loop_close_handle, NULL);
    (void) uv_loop_close(&corrald_loop);
}


/*
 * Returns a running timer, or NULL when memory is short.  One that fires once
 * (repeat 0) must not be stopped after it has fired: its handler forgets it.
 */

corrald_timer_t *
corrald_loop_timer(uint64_t delay, uint64_t repeat, corrald_loop_pt handler,
    void *data)
{
    corrald_timer_t  *timer;

    timer = malloc(sizeof(*timer));
    if (timer == NULL) {
        return NULL;
    }

    timer->handler = handler;
    timer->data = data;
    timer->once = repeat == 0;

    uv_timer_init(&corrald_loop, &timer->uv);
    uv_timer_start(&timer->uv, corrald_loop_fired, delay, repeat);

    return timer;
}


/* Stops and frees *timer and sets it to NULL.  NULL is allowed. */

void
corrald_loop_timer_stop(corrald_timer_t **timer)
{
    if (*timer && !uv_is_closing((uv_handle_t *) &(*timer)->uv)) {
        uv_close((uv_handle_t *) &(*timer)->uv, corrald_loop_timer_closed);
    }

    *timer = NULL;
}


int
corrald_loop_soon(corrald_loop_pt handler, void *data)
{
    return corrald_loop_timer(0, 0, handler, data) ? 0 : -1;
}


static void
corrald_loop_fired(uv_timer_t *uv)
{
    void             *data;
    corrald_loop_pt   handler;
    corrald_timer_t  *timer;

    timer = (corrald_timer_t *) uv;
    handler = timer->handler;
    data = timer->data;

    if (timer->once) {
        uv_close((uv_handle_t *) uv, corrald_loop_timer_closed);
    }

    handler(data);
}


static void
corrald_loop_timer_closed(uv_handle_t *handle)
{
    free(handle);
}


int
corrald_loop_work(corrald_loop_pt work, corrald_loop_pt done, void *data)
{
    corrald_loop_work_t  *w;

    w = malloc(sizeof(*w));
    if (w == NULL) {
        return -1;
    }

    w->work = work;
    w->done = done;
    w->data = data;

    if (uv_queue_work(&corrald_loop, &w->uv, corrald_loop_working,
                      corrald_loop_worked)
        != 0)
    {
        free(w);
        return -1;
    }

    return 0;
}


static void
corrald_loop_working(uv_work_t *uv)
{
    corrald_loop_work_t  *w;

    w = (corrald_loop_work_t *) uv;
    w->work(w->data);
}


static void
corrald_loop_worked(uv_work_t *uv, int status)
{
    corrald_loop_work_t  *w;

    w = (corrald_loop_work_t *) uv;
    w->done(w->data);
    free(w);
}


/*
 * Drives an MHD daemon that was started with MHD_USE_EPOLL and no thread.
 * Returns NULL on failure; the daemon is not touched then.
 */

corrald_loop_http_t *
corrald_loop_http_add(struct MHD_Daemon *daemon)
{
    corrald_loop_http_t          *http;
    const union MHD_DaemonInfo   *info;

    info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        return NULL;
    }

    http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return NULL;
    }

    http->daemon = daemon;

    if (uv_poll_init(&corrald_loop, &http->poll, info->epoll_fd) != 0) {
        free(http);
        return NULL;
    }

    uv_timer_init(&corrald_loop, &http->timer);
    http->timer.data = http;
    http->closing = 2;

    uv_poll_start(&http->poll, UV_READABLE, corrald_loop_http_polled);

    http->next = corrald_loop_https;
    corrald_loop_https = http;

    return http;
}


/*
 * To be called after MHD_resume_connection(): the daemons run at the end of
 * this turn of the loop, once for any number of calls.
 */

void
corrald_loop_http_kick(void)
{
    uv_idle_start(&corrald_loop_idle, corrald_loop_nothing);
    uv_check_start(&corrald_loop_check, corrald_loop_http_kicked);
}


/* The daemon may be stopped afterwards, not before. */

void
corrald_loop_http_remove(corrald_loop_http_t **http)
{
    corrald_loop_http_t  *h, **link;

    h = *http;
    *http = NULL;

    if (h == NULL) {
        return;
    }

    for (link = &corrald_loop_https; *link != h; link = &(*link)->next) {
        /* void */
    }

    *link = h->next;

    h->timer.data = h;
    h->poll.data = h;

    uv_close((uv_handle_t *) &h->poll, corrald_loop_http_closed);
    uv_close((uv_handle_t *) &h->timer, corrald_loop_http_closed);
}


static void
corrald_loop_http_polled(uv_poll_t *poll, int status, int events)
{
    corrald_loop_http_run((corrald_loop_http_t *) poll);
}


static void
corrald_loop_http_timed(uv_timer_t *timer)
{
    corrald_loop_http_run(timer->data);
}


static void
corrald_loop_http_kicked(uv_check_t *check)
{
    corrald_loop_http_t  *http, *next;

    uv_check_stop(&corrald_loop_check);
    uv_idle_stop(&corrald_loop_idle);

    for (http = corrald_loop_https; http; http = next) {
        next = http->next;
        corrald_loop_http_run(http);
    }
}


static void
corrald_loop_http_run(corrald_loop_http_t *http)
{
    MHD_UNSIGNED_LONG_LONG  timeout;

    MHD_run(http->daemon);

    if (uv_is_closing((uv_handle_t *) &http->timer)) {
        return;
    }

    if (MHD_get_timeout(http->daemon, &timeout) == MHD_YES) {
        uv_timer_start(&http->timer, corrald_loop_http_timed, timeout, 0);

    } else {
        uv_timer_stop(&http->timer);
    }
}


static void
corrald_loop_http_closed(uv_handle_t *handle)
{
    corrald_loop_http_t  *http;

    http = handle->data;

    if (--http->closing == 0) {
        free(http);
    }
}
