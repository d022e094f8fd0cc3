
/*
 * The modes of the load generator: when connections are opened, what they do
 * once they are open, what is measured meanwhile, and the report.
 *
 * All modes but idle and slow have a warm-up and a window; only in the window
 * latencies are noted, and the CPU time of --pid is read at both of its ends.
 * With --count the window lasts from the first message, or handshake, to the
 * last one.
 */


#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>


#define LOAD_SLOW_TICK   10000000       /* ns between reads of LOAD_SLOW */
#define LOAD_SLOW_TALK   10             /* ticks between its messages */
#define LOAD_PROBE_TICK  1000000        /* and of LOAD_PACED */


static void load_mode_open(void);
static void load_mode_begin(void);
static void load_mode_phase(void);
static void load_mode_tick(void);
static void load_mode_pace(void);
static void load_mode_timer(int64_t ns);
static void load_mode_report(void);
static void load_mode_report_slow(void);


static int            load_epoll;
static int            load_timer = -1;
static load_conn_t   *load_conns;
static uint32_t       load_opening;     /* handshakes begun and not ended */
static uint32_t       load_started;
static uint32_t       load_open;
static uint32_t       load_ended;
static uint64_t       load_done;        /* events of the window */
static uint64_t       load_ticks;
static int64_t        load_begun;       /* ns: LOAD_PACED has begun */
static uint64_t       load_sent;        /* its messages, all of them */
static load_times_t   load_times;
static load_cpu_t     load_cpus[2];
static load_cpu_t     load_own[2];

static int64_t        load_from;        /* ns: of the window, 0: not yet */
static int64_t        load_until;       /* 0: not known */
static int64_t        load_finished;
static unsigned       load_measuring;


int
load_mode_epoll(void)
{
    return load_epoll;
}


void
load_mode_run(void)
{
    int                 i, n;
    char                byte;
    uint32_t            k;
    uint64_t            missed;
    struct epoll_event  events[LOAD_EVENTS], ee;

    load_epoll = epoll_create1(EPOLL_CLOEXEC);
    load_conns = calloc(load.connections, sizeof(load_conn_t));

    if (load_epoll == -1 || load_conns == NULL) {
        load_fail("no memory for %u connections", load.connections);
    }

    for (k = 0; k < load.connections; k++) {
        load_conns[k].fd = -1;
        load_conns[k].index = k;
    }

    if (load.mode == LOAD_IDLE) {
        ee.events = EPOLLIN | EPOLLRDHUP;
        ee.data.ptr = &byte;

        if (epoll_ctl(load_epoll, EPOLL_CTL_ADD, 0, &ee) == -1) {
            load_fail("idle waits for the end of its input, which must be a "
                      "pipe: %s", strerror(errno));
        }
    }

    if (load.mode == LOAD_RATE) {
        load_mode_begin();
    }

    load_mode_open();

    while (load_finished == 0) {
        n = epoll_wait(load_epoll, events, LOAD_EVENTS, 5);

        if (n == -1 && errno != EINTR) {
            load_fail("epoll_wait: %s", strerror(errno));
        }

        for (i = 0; i < n && load_finished == 0; i++) {

            if (events[i].data.ptr == &byte) {
                if (read(0, &byte, 1) <= 0) {
                    load_finished = load_clock_now();
                }

            } else if (events[i].data.ptr == &load_timer) {
                if (read(load_timer, &missed, sizeof(missed)) > 0) {
                    load_mode_tick();
                }

            } else {
                load_conn_event(events[i].data.ptr, events[i].events);
            }
        }

        load_mode_phase();
    }

    load_mode_report();
}


static void
load_mode_open(void)
{
    while (load_started < load.connections && load_opening < load.parallel) {
        load_opening++;
        load_conn_start(&load_conns[load_started++]);
    }
}


/* all are open: the first messages, and the times of the window */

static void
load_mode_begin(void)
{
    int64_t   now;
    uint32_t  k;

    now = load_clock_now();

    switch (load.mode) {

    case LOAD_IDLE:
        printf("{\"open\": %u}\n", load_open);
        fflush(stdout);
        return;

    case LOAD_SLOW:
        load_from = now;
        load_mode_timer(LOAD_SLOW_TICK);
        return;

    case LOAD_PROBE:
    case LOAD_PACED:
        load_begun = now;
        load_mode_timer(LOAD_PROBE_TICK);
        break;

    default:
        break;
    }

    load_from = now + (int64_t) (load.warmup * 1e9);
    load_until = load_from + (int64_t) (load.seconds * 1e9);

    if (load.count) {
        load_from = now;
        load_until = INT64_MAX;
        load_mode_phase();
    }

    if (load.mode == LOAD_ECHO || load.mode == LOAD_HTTP) {
        for (k = 0; k < load.connections; k++) {
            load_conn_message(&load_conns[k]);
        }
    }
}


static void
load_mode_timer(int64_t ns)
{
    struct epoll_event  ee;
    struct itimerspec   its;

    load_timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    its.it_value.tv_sec = 0;
    its.it_value.tv_nsec = ns;
    its.it_interval = its.it_value;
    ee.events = EPOLLIN;
    ee.data.ptr = &load_timer;

    if (load_timer == -1
        || timerfd_settime(load_timer, 0, &its, NULL) == -1
        || epoll_ctl(load_epoll, EPOLL_CTL_ADD, load_timer, &ee) == -1)
    {
        load_fail("timerfd: %s", strerror(errno));
    }
}


static void
load_mode_phase(void)
{
    int64_t  now;

    if (load_from == 0 || load.mode == LOAD_SLOW || load_finished) {
        return;
    }

    now = load_clock_now();

    if (!load_measuring && now >= load_from) {
        load_measuring = 1;
        load_clock_cpu(load.pid, &load_cpus[0]);
        load_clock_cpu((long) getpid(), &load_own[0]);
        load_from = load_clock_now();

        if (load.count == 0) {
            load_until = load_from + (int64_t) (load.seconds * 1e9);
        }
    }

    if (load_measuring && now >= load_until) {
        load_finished = now;
        load_clock_cpu(load.pid, &load_cpus[1]);
        load_clock_cpu((long) getpid(), &load_own[1]);
    }
}


/* one tick of LOAD_SLOW, LOAD_PROBE and LOAD_PACED */

static void
load_mode_tick(void)
{
    uint32_t      k;
    load_conn_t  *c;

    load_ticks++;

    if (load.mode == LOAD_PACED) {
        load_mode_pace();
        return;
    }

    for (k = 0; k < load.connections && load_finished == 0; k++) {
        c = &load_conns[k];

        if (c->state != LOAD_OPEN) {
            continue;
        }

        if (load.mode == LOAD_PROBE || load_ticks % LOAD_SLOW_TALK == 0) {

            /* a probe that has no answer yet goes on waiting for it */

            if (load.mode == LOAD_SLOW || c->begun == 0) {
                load_conn_message(c);
            }
        }

        if (load.mode == LOAD_SLOW) {
            load_conn_read(c, load.rate / (1000000000 / LOAD_SLOW_TICK));
        }
    }
}


/*
 * Sends the messages that are due, each on a connection whose last one is back.
 * One that had to wait for such a connection is late from when it was due: a
 * proxy that stalls is not spared the messages of its stall.
 */

static void
load_mode_pace(void)
{
    int64_t          now, due;
    uint32_t         k;
    load_conn_t     *c;
    static uint32_t  next;

    now = load_clock_now();

    for (k = 0; k < load.connections; k++) {
        due = load_begun + (int64_t) ((double) load_sent * 1e9
                                      / (double) load.rate);
        if (due > now) {
            return;
        }

        c = &load_conns[next++ % load.connections];

        if (c->state != LOAD_OPEN || c->begun) {
            continue;
        }

        load_sent++;
        load_conn_message(c);
        c->begun = due > now - 2 * LOAD_PROBE_TICK ? now : due;
    }
}


void
load_mode_opened(load_conn_t *c)
{
    if (load.mode == LOAD_RATE) {

        if (load_measuring) {
            load_clock_add(&load_times, load_clock_now() - c->begun);
        }

        if (load.fin) {
            load_mode_ended(c, "");
        }

        return;
    }

    load_opening--;
    load_open++;
    c->begun = 0;
    load_mode_open();

    if (load_open == load.connections) {
        load_mode_begin();
    }
}


void
load_mode_echoed(load_conn_t *c)
{
    if (load.mode != LOAD_ECHO && load.mode != LOAD_HTTP
        && load.mode != LOAD_PROBE && load.mode != LOAD_PACED)
    {
        return;
    }

    if (load_measuring) {
        load_done++;
        load_clock_add(&load_times, load_clock_now() - c->begun);
    }

    c->begun = 0;

    if (load.mode == LOAD_PROBE || load.mode == LOAD_PACED) {
        return;
    }

    if (load.count == 0 || c->messages < load.count) {
        load_conn_message(c);
        return;
    }

    if (++load_ended == load.connections) {
        load_until = load_clock_now();
    }
}


/* Events of a stream have come. */

void
load_mode_counted(uint64_t n)
{
    if (load_measuring) {
        load_done += n;
    }
}


/* A connection has ended.  It is freed here. */

void
load_mode_ended(load_conn_t *c, const char *why)
{
    load_state_t  state;

    state = c->state;

    load_conn_end(c);

    if (load.mode == LOAD_RATE && (state == LOAD_CLOSING || load.fin)
        && state >= LOAD_OPEN)
    {
        if (load_measuring) {
            load_done++;
        }

        if (load.count && load_done == load.count) {
            load_until = load_clock_now();
            return;
        }

        /* with a count the last ones are not begun */

        if (load.count == 0 || load_done + load.connections <= load.count) {
            load_conn_start(c);
        }

        return;
    }

    if (load.mode == LOAD_SLOW && state == LOAD_OPEN) {
        if (++load_ended == load.connections) {
            load_finished = load_clock_now();
        }

        return;
    }

    load_fail("%s: connection %u ended %s: %s", load.target, c->index,
              state < LOAD_OPEN ? "in its handshake" : "too early", why);
}


static void
load_mode_report(void)
{
    double  seconds;

    if (load.mode == LOAD_IDLE) {
        return;
    }

    if (load.mode == LOAD_SLOW) {
        load_mode_report_slow();
        return;
    }

    seconds = (double) (load_finished - load_from) / 1e9;

    printf("{\"mode\": \"%s\", \"connections\": %u, \"size\": %llu, "
           "\"seconds\": %.4f, \"done\": %llu, ", load.mode_name,
           load.connections, (unsigned long long) load.size, seconds,
           (unsigned long long) load_done);

    printf("\"cpu\": %.6f, \"user\": %.2f, \"system\": %.2f, "
           "\"own_cpu\": %.6f, ",
           (double) (load_cpus[1].total - load_cpus[0].total) / 1e9,
           (double) (load_cpus[1].user - load_cpus[0].user) / 1e9,
           (double) (load_cpus[1].system - load_cpus[0].system) / 1e9,
           (double) (load_own[1].total - load_own[0].total) / 1e9);

    printf("\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"max_us\": %.1f}\n",
           load_clock_percentile(&load_times, 0.5),
           load_clock_percentile(&load_times, 0.9),
           load_clock_percentile(&load_times, 0.99),
           (double) load_times.max / 1000);
}


static void
load_mode_report_slow(void)
{
    uint32_t  k;

    printf("{\"mode\": \"slow\", \"seconds\": %.2f, \"received\": [",
           (double) (load_finished - load_from) / 1e9);

    for (k = 0; k < load.connections; k++) {
        printf("%s%llu", k ? ", " : "",
               (unsigned long long) load_conns[k].received);
    }

    printf("], \"reset\": [");

    for (k = 0; k < load.connections; k++) {
        printf("%s%u", k ? ", " : "", load_conns[k].reset);
    }

    printf("]}\n");
}
