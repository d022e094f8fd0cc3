
/*
 * floor: a relay that does nothing but relay, as the floor of what a proxy can
 * cost here (see docs/benchmarks.md).
 *
 *     floor --listen 127.0.0.1:PORT --connect 127.0.0.1:PORT
 *
 * One thread, one epoll instance, one buffer.  An event is one recv() and one
 * send(); what a socket does not take becomes a tail, and while there is one
 * the other side is not read.  Nothing is parsed: the handshake is bytes like
 * all others.  It counts nothing, checks nothing, pings nobody and logs
 * nothing; nobody would run it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>


#define FLOOR_BUFFER  65536
#define FLOOR_EVENTS  512


typedef struct floor_side_s  floor_side_t;

struct floor_side_s {
    int             fd;
    uint32_t        events;         /* what epoll waits for */
    floor_side_t   *other;
    char           *tail;           /* what fd has not taken */
    size_t          pos;
    size_t          len;
    unsigned        eof:1;          /* nothing comes from it any more */
    unsigned        shut:1;         /* nothing goes to it any more */
};


static int                 floor_epoll;
static struct sockaddr_in  floor_to;
static char                floor_buffer[FLOOR_BUFFER];
static floor_side_t       *floor_dead[FLOOR_EVENTS];   /* freed after a turn */
static size_t              floor_ndead;


static void
floor_fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}


static void
floor_address(const char *text, struct sockaddr_in *sin)
{
    char   host[32];
    char  *colon;

    snprintf(host, sizeof(host), "%s", text);
    colon = strchr(host, ':');

    memset(sin, 0, sizeof(struct sockaddr_in));
    sin->sin_family = AF_INET;

    if (colon) {
        *colon = '\0';
        sin->sin_port = htons((uint16_t) strtoul(colon + 1, NULL, 10));
    }

    if (sin->sin_port == 0 || inet_pton(AF_INET, host, &sin->sin_addr) != 1) {
        fprintf(stderr, "floor: \"%s\": expected 1.2.3.4:port\n", text);
        exit(2);
    }
}


static void
floor_watch(floor_side_t *s, int op, uint32_t events)
{
    struct epoll_event  ee;

    if (op == EPOLL_CTL_MOD && s->events == events) {
        return;
    }

    ee.events = events;
    ee.data.ptr = s;
    s->events = events;

    if (epoll_ctl(floor_epoll, op, s->fd, &ee) == -1) {
        floor_fail("epoll_ctl");
    }
}


/* what a side waits for follows from the tails of both */

static void
floor_settle(floor_side_t *s)
{
    floor_watch(s, EPOLL_CTL_MOD,
                (s->eof || s->other->tail ? 0 : EPOLLIN)
                | (s->tail ? EPOLLOUT : 0));
}


static void
floor_end(floor_side_t *s)
{
    floor_side_t  *o;

    if (s->fd == -1) {
        return;
    }

    o = s->other;

    close(s->fd);
    close(o->fd);
    free(s->tail);
    free(o->tail);
    s->fd = -1;
    o->fd = -1;

    floor_dead[floor_ndead++] = s < o ? s : o;
}


static void
floor_shut(floor_side_t *s)
{
    s->shut = 1;
    shutdown(s->fd, SHUT_WR);

    if (s->eof) {
        floor_end(s);
    }
}


static void
floor_read(floor_side_t *s)
{
    ssize_t        n, m;
    floor_side_t  *o;

    o = s->other;
    n = recv(s->fd, floor_buffer, FLOOR_BUFFER, 0);

    if (n == -1) {
        if (errno != EAGAIN) {
            floor_end(s);
        }

        return;
    }

    if (n == 0) {
        s->eof = 1;
        floor_settle(s);

        if (o->shut) {
            floor_end(s);

        } else if (o->tail == NULL) {
            floor_shut(o);
        }

        return;
    }

    if (o->shut) {
        return;
    }

    m = send(o->fd, floor_buffer, (size_t) n, MSG_NOSIGNAL);

    if (m == n) {
        return;
    }

    if (m == -1) {

        /* ENOTCONN: the connection to the agent is still being made */

        if (errno != EAGAIN && errno != ENOTCONN) {
            floor_end(s);
            return;
        }

        m = 0;
    }

    o->pos = 0;
    o->len = (size_t) (n - m);
    o->tail = malloc(o->len);

    if (o->tail == NULL) {
        floor_end(s);
        return;
    }

    memcpy(o->tail, floor_buffer + m, o->len);
    floor_settle(s);
    floor_settle(o);
}


static void
floor_write(floor_side_t *s)
{
    ssize_t  n;

    n = send(s->fd, s->tail + s->pos, s->len - s->pos, MSG_NOSIGNAL);

    if (n == -1) {
        if (errno != EAGAIN) {
            floor_end(s);
        }

        return;
    }

    s->pos += (size_t) n;

    if (s->pos < s->len) {
        return;
    }

    free(s->tail);
    s->tail = NULL;
    floor_settle(s);
    floor_settle(s->other);

    if (s->other->eof) {
        floor_shut(s);
    }
}


static void
floor_accept(int listener)
{
    int            fd, on;
    floor_side_t  *s;

    for ( ;; ) {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1) {
            return;
        }

        s = calloc(2, sizeof(floor_side_t));
        if (s == NULL) {
            floor_fail("no memory for a connection");
        }

        s[0].fd = fd;
        s[0].other = &s[1];
        s[1].other = &s[0];
        s[1].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                         0);

        if (s[1].fd == -1
            || (connect(s[1].fd, (struct sockaddr *) &floor_to,
                        sizeof(floor_to)) == -1
                && errno != EINPROGRESS))
        {
            floor_fail("connect to the agent");
        }

        on = 1;
        setsockopt(s[0].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(s[1].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

        floor_watch(&s[0], EPOLL_CTL_ADD, EPOLLIN);
        floor_watch(&s[1], EPOLL_CTL_ADD, EPOLLIN);
    }
}


static void
floor_event(floor_side_t *s, uint32_t events)
{
    if (s->fd != -1 && (events & EPOLLOUT) && s->tail) {
        floor_write(s);
    }

    if (s->fd == -1 || !(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        return;
    }

    if (s->events & EPOLLIN) {
        floor_read(s);

    } else if (events & (EPOLLERR | EPOLLHUP)) {
        floor_end(s);
    }
}


static void
floor_run(int listener)
{
    int                  i, n;
    struct epoll_event   ee, events[FLOOR_EVENTS];

    floor_epoll = epoll_create1(EPOLL_CLOEXEC);
    ee.events = EPOLLIN;
    ee.data.ptr = NULL;

    if (floor_epoll == -1
        || epoll_ctl(floor_epoll, EPOLL_CTL_ADD, listener, &ee) == -1)
    {
        floor_fail("epoll");
    }

    for ( ;; ) {
        n = epoll_wait(floor_epoll, events, FLOOR_EVENTS, -1);

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                floor_accept(listener);

            } else {
                floor_event(events[i].data.ptr, events[i].events);
            }
        }

        while (floor_ndead) {
            free(floor_dead[--floor_ndead]);
        }
    }
}


int
main(int argc, char **argv)
{
    int                 fd, on;
    struct sockaddr_in  at;

    if (argc != 5 || strcmp(argv[1], "--listen") != 0
        || strcmp(argv[3], "--connect") != 0)
    {
        fputs("Usage: floor --listen 1.2.3.4:PORT --connect 1.2.3.4:PORT\n",
              stderr);
        return 2;
    }

    floor_address(argv[2], &at);
    floor_address(argv[4], &floor_to);

    on = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, (struct sockaddr *) &at, sizeof(at)) == -1
        || listen(fd, 4096) == -1)
    {
        floor_fail(argv[2]);
    }

    floor_run(fd);

    return 0;
}
