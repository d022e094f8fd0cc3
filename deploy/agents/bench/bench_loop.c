
/*
 * The event loop of bench-agent: accepts, reads, sends, ends.  A connection
 * owns memory for output only while its peer does not take it, and meanwhile
 * nothing is read from it.  A freed connection stays allocated until all events
 * of the turn are handled, with fd -1, so that callers can see it.
 */

#include "bench.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


static void bench_watch(bench_thread_t *t, bench_conn_t *c);


static uint8_t  bench_pattern[BENCH_BUFFER + BENCH_PATTERN];


/* Milliseconds of a clock that never jumps. */

int64_t
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/*
 * Send, or keep what the peer does not take.  In state END the connection is
 * finished once all is sent.  It may be freed on return.
 */

void
bench_send(bench_thread_t *t, bench_conn_t *c, const uint8_t *data,
    size_t len)
{
    ssize_t  n;

    n = 0;

    if (c->tail_len == c->tail_pos) {
        n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n == -1) {
            if (errno != EAGAIN && errno != EINTR) {
                bench_free(t, c);
                return;
            }

            n = 0;
        }
    }

    if ((size_t) n < len) {
        uint8_t  *tail;
        size_t    old;

        old = c->tail_len - c->tail_pos;
        tail = malloc(old + len - (size_t) n);
        if (tail == NULL) {
            bench_free(t, c);
            return;
        }

        if (old) {
            memcpy(tail, c->tail + c->tail_pos, old);
        }

        memcpy(tail + old, data + n, len - (size_t) n);
        free(c->tail);
        c->tail = tail;
        c->tail_pos = 0;
        c->tail_len = old + len - (size_t) n;

        if (c->deadline == 0 && c->state == BENCH_STATE_END) {
            c->deadline = bench_now() + BENCH_SEND_TIMEOUT;
        }

    } else if (c->state == BENCH_STATE_END) {
        bench_finish(t, c);
        return;
    }

    bench_watch(t, c);
}


static void
bench_flush(bench_thread_t *t, bench_conn_t *c)
{
    ssize_t  n;

    n = send(c->fd, c->tail + c->tail_pos, c->tail_len - c->tail_pos,
             MSG_NOSIGNAL);

    if (n == -1) {
        if (errno != EAGAIN && errno != EINTR) {
            bench_free(t, c);
        }

        return;
    }

    c->tail_pos += (size_t) n;
    if (c->tail_pos < c->tail_len) {
        return;
    }

    free(c->tail);
    c->tail = NULL;
    c->tail_pos = 0;
    c->tail_len = 0;

    if (c->state == BENCH_STATE_SEND) {
        bench_generate(t, c);

    } else if (c->state == BENCH_STATE_END) {
        bench_finish(t, c);

    } else {
        bench_watch(t, c);
    }
}


/*
 * All is sent: half-close and wait for the end of the peer.  close() at once
 * would reset the connection when input is unread, and the peer could lose
 * what it has not yet read.
 */

void
bench_finish(bench_thread_t *t, bench_conn_t *c)
{
    if (!c->shut) {
        c->shut = 1;
        c->deadline = bench_now() + BENCH_LINGER;

        if (shutdown(c->fd, SHUT_WR) == -1) {
            bench_free(t, c);
            return;
        }
    }

    if (c->eof) {
        bench_free(t, c);
        return;
    }

    bench_watch(t, c);
}


static void
bench_watch(bench_thread_t *t, bench_conn_t *c)
{
    uint32_t            events;
    struct epoll_event  ee;

    events = 0;

    if (c->tail_len > c->tail_pos) {
        events |= EPOLLOUT;
    }

    /* while output waits nothing is echoed, so nothing is read */

    if ((events == 0 || c->state >= BENCH_STATE_SEND) && !c->eof
        && !(bench.slow_read && c->budget == 0
             && c->state == BENCH_STATE_OPEN))
    {
        events |= EPOLLIN;
    }

    if (events != c->events) {
        memset(&ee, 0, sizeof(ee));
        ee.events = events;
        ee.data.ptr = c;
        epoll_ctl(t->epoll, EPOLL_CTL_MOD, c->fd, &ee);
        c->events = events;
    }
}


/* Close a connection; a second call does nothing. */

void
bench_free(bench_thread_t *t, bench_conn_t *c)
{
    if (c->fd == -1) {
        return;
    }

    close(c->fd);
    c->fd = -1;

    if (c->prev) {
        c->prev->next = c->next;

    } else {
        t->conns = c->next;
    }

    if (c->next) {
        c->next->prev = c->prev;
    }

    bench_rpc_forget(t, c);
    free(c->message);
    free(c->head);
    free(c->tail);
    c->message = NULL;
    c->head = NULL;
    c->tail = NULL;

    c->next = t->closed;
    t->closed = c;
}


/*
 * --send-and-close: fill the socket with messages, then end.  Uses the buffer
 * of the thread.
 */

void
bench_generate(bench_thread_t *t, bench_conn_t *c)
{
    size_t    n, room;
    unsigned  i, form;
    uint64_t  size;
    uint8_t  *p;

    while (c->state == BENCH_STATE_SEND && c->fd != -1
           && c->tail_len == c->tail_pos)
    {
        p = t->buffer;
        room = BENCH_BUFFER;

        if (c->frame_left == 0 && c->total_left) {
            size = bench.message_size < c->total_left ? bench.message_size
                                                      : c->total_left;
            *p++ = 0x80 | BENCH_BINARY;
            form = size < 126 ? 0 : size < 65536 ? 2 : 8;
            *p++ = (uint8_t) (form == 0 ? size : form == 2 ? 126 : 127);

            for (i = form; i > 0; i--) {
                *p++ = (uint8_t) (size >> ((i - 1) * 8));
            }

            c->frame_left = size;
        }

        n = c->frame_left < room ? (size_t) c->frame_left : room;
        memcpy(p, bench_pattern + c->sent % BENCH_PATTERN, n);
        p += n;
        c->sent += n;
        c->frame_left -= n;
        c->total_left -= n;

        if (c->total_left == 0) {
            if (bench.no_close) {
                c->state = BENCH_STATE_END;

            } else {
                p += bench_fail(c, p, 1000);
            }
        }

        c->deadline = bench_now() + BENCH_SEND_TIMEOUT;
        bench_send(t, c, t->buffer, (size_t) (p - t->buffer));
    }
}


static void
bench_read(bench_thread_t *t, bench_conn_t *c)
{
    size_t    size;
    ssize_t   n;
    uint8_t  *data;

    data = t->buffer + BENCH_HOLD;
    size = BENCH_BUFFER;

    if (bench.slow_read && c->state == BENCH_STATE_OPEN) {
        size = c->budget < size ? c->budget : size;
    }

    n = recv(c->fd, data, size, 0);

    if (n == 0 && (c->state == BENCH_STATE_SEND
                   || c->tail_len > c->tail_pos))
    {
        c->eof = 1;                     /* it may still read */
        bench_watch(t, c);
        return;
    }

    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            bench_free(t, c);
        }

        return;
    }

    switch (c->state) {

    case BENCH_STATE_HEAD:
        bench_head(t, c, data, (size_t) n);
        break;

    case BENCH_STATE_OPEN:
        if (bench.slow_read) {
            c->budget -= (size_t) n;
            bench_watch(t, c);
        }

        if (c->hold_len) {
            data -= c->hold_len;
            memcpy(data, c->hold, c->hold_len);
            n += c->hold_len;
            c->hold_len = 0;
        }

        bench_frames(t, c, data, (size_t) n);
        break;

    default:                            /* dropped */
        break;
    }
}


static void
bench_accept(bench_thread_t *t)
{
    int                 fd, on, size;
    bench_conn_t       *c;
    struct epoll_event  ee;

    for ( ;; ) {
        fd = accept4(t->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                fprintf(stderr, "bench-agent: accept failed: %s\n",
                        strerror(errno));
                usleep(10000);          /* out of descriptors: no flood */
            }

            return;
        }

        on = 1;                         /* fails on a unix socket: no harm */
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

        if (bench.slow_read) {
            size = 4096;                /* let the sender feel it soon */
            (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        }

        c = calloc(1, sizeof(bench_conn_t));
        if (c == NULL) {
            close(fd);
            return;
        }

        c->fd = fd;
        c->events = EPOLLIN;
        c->budget = (size_t) (bench.slow_read / 10);
        c->deadline = bench_now() + BENCH_HEAD_TIMEOUT;

        memset(&ee, 0, sizeof(ee));
        ee.events = EPOLLIN;
        ee.data.ptr = c;

        if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &ee) == -1) {
            close(fd);
            free(c);
            return;
        }

        c->next = t->conns;
        if (c->next) {
            c->next->prev = c;
        }

        t->conns = c;
    }
}


/* Every tenth of a second: deadlines, and budgets of --slow-read. */

static void
bench_tick(bench_thread_t *t)
{
    int64_t        now;
    bench_conn_t  *c, *next;

    now = bench_now();

    for (c = t->conns; c; c = next) {
        next = c->next;

        if (c->deadline && now >= c->deadline) {
            bench_free(t, c);
            continue;
        }

        if (bench.slow_read) {
            c->budget = (size_t) (bench.slow_read / 10);
            bench_watch(t, c);
        }
    }
}


/*
 * Every --event-interval: an event for each stream whose peer has taken all
 * that came before.
 */

static void
bench_events(bench_thread_t *t)
{
    bench_conn_t    *c, *next;
    static uint8_t   event[BENCH_EVENT];

    if (event[0] == 0) {
        memset(event, 'x', BENCH_EVENT);
        memcpy(event, "data: !", 7);
        memcpy(event + BENCH_EVENT - 2, "\n\n", 2);
    }

    for (c = t->conns; c; c = next) {
        next = c->next;

        if (c->state == BENCH_STATE_STREAM && c->tail_len == c->tail_pos) {
            bench_send(t, c, event, BENCH_EVENT);
        }
    }
}


/* SIGTERM came: idle connections end now, others after their message. */

static void
bench_stop(bench_thread_t *t)
{
    uint8_t        close_frame[4];
    bench_conn_t  *c, *next;

    t->stopping = 1;
    t->listening = 0;
    epoll_ctl(t->epoll, EPOLL_CTL_DEL, t->listener, NULL);
    shutdown(t->listener, SHUT_RDWR);   /* nobody waits in the backlog */

    for (c = t->conns; c; c = next) {
        next = c->next;

        if (c->state == BENCH_STATE_STREAM
            || (c->state == BENCH_STATE_HEAD && c->head_len == 0))
        {
            bench_free(t, c);

        } else if (c->state == BENCH_STATE_OPEN && c->left == 0
                   && !c->fragmented && c->hold_len == 0)
        {
            bench_send(t, c, close_frame, bench_fail(c, close_frame, 1012));
        }
    }
}


/* Serve until SIGTERM and the end of all connections or the grace. */

void *
bench_thread(void *data)
{
    int                  i, n, timeout;
    int64_t              now, tick, sent, end;
    bench_conn_t        *c;
    bench_thread_t      *t;
    struct epoll_event   events[BENCH_EVENTS];

    t = data;
    tick = bench_now();
    sent = tick;
    timeout = bench.interval < 100 ? (int) bench.interval : 100;
    end = 0;

    for ( ;; ) {
        n = bench_rpc_run(t);
        n = epoll_wait(t->epoll, events, BENCH_EVENTS,
                       n < timeout ? n : timeout);

        for (i = 0; i < n; i++) {
            c = events[i].data.ptr;

            if (c == NULL) {
                if (t->listening) {
                    bench_accept(t);
                }

                continue;
            }

            if (c->fd != -1 && (events[i].events & EPOLLOUT)) {
                bench_flush(t, c);
            }

            if (c->fd != -1
                && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                && ((c->events & EPOLLIN)
                    || !(events[i].events & EPOLLIN)))
            {
                bench_read(t, c);
            }
        }

        now = bench_now();

        if (now - tick >= 100) {
            tick = now;
            bench_tick(t);
        }

        if (now - sent >= bench.interval) {
            sent = now;
            bench_events(t);
        }

        if (bench_stopping && !t->stopping) {
            bench_stop(t);
            end = now + bench.grace * 1000;
        }

        while (t->closed) {
            c = t->closed;
            t->closed = c->next;
            free(c);
        }

        if (t->stopping && (t->conns == NULL || now >= end)) {
            return NULL;
        }
    }
}


/*
 * Prepare a thread to serve a listening socket, before it runs.  Returns -1
 * when that fails and has been said.
 */

int
bench_start(bench_thread_t *t, int listener)
{
    size_t              n;
    struct epoll_event  ee;

    for (n = 0; n < sizeof(bench_pattern); n++) {
        bench_pattern[n] = (uint8_t) (n % BENCH_PATTERN);
    }

    t->listener = listener;
    t->listening = 1;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);

    memset(&ee, 0, sizeof(ee));
    ee.events = EPOLLIN | EPOLLEXCLUSIVE;
    ee.data.ptr = NULL;

    if (t->epoll == -1
        || epoll_ctl(t->epoll, EPOLL_CTL_ADD, listener, &ee) == -1)
    {
        perror("bench-agent: epoll");
        return -1;
    }

    return 0;
}
