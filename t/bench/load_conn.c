
/*
 * One WebSocket of the load generator: handshake, sending, reading frames.  In
 * the modes http and sse it is a connection of load_http.c, for which this file
 * connects, sends the request and hands over what comes.
 *
 * All messages are the same masked frame, or request, made once.  Of frames
 * only the headers are read; pings are answered.  An end that was not asked for
 * is told to load_mode.c, which decides whether it is a failure.
 */


#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>


#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT  24
#endif

/* of the key in every request: RFC 6455, 1.3 */

#define LOAD_ACCEPT  "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


static void load_conn_make_request(void);
static void load_conn_make_message(void);
static void load_conn_payload(uint8_t *p);
static void load_conn_send(load_conn_t *c);
static void load_conn_wait(load_conn_t *c, uint32_t events);
static void load_conn_read_once(load_conn_t *c, size_t max);
static size_t load_conn_answer(load_conn_t *c, const uint8_t *p, size_t n);
static void load_conn_frames(load_conn_t *c, const uint8_t *p, size_t n);
static size_t load_conn_header(load_conn_t *c, const uint8_t *p, size_t n);
static void load_conn_frame_done(load_conn_t *c);


static const uint8_t  *load_message;
static size_t          load_message_len;
static char            load_request[2048];
static size_t          load_request_len;
static uint8_t         load_buffer[LOAD_BUFFER];

/* Close 1000 with a mask of zeros */

static const uint8_t  load_close[] = { 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8 };


void
load_conn_init(void)
{
    load_conn_make_request();

    if (load.mode == LOAD_HTTP) {
        load_message = (const uint8_t *) load_request;
        load_message_len = load_request_len;
        return;
    }

    load_conn_make_message();
}


static void
load_conn_make_request(void)
{
    int          n;
    const char  *headers;

    headers = "Upgrade: websocket\r\n"
              "Connection: Upgrade\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
              "Sec-WebSocket-Version: 13\r\n";

    if (load.mode >= LOAD_HTTP) {
        headers = load_http_headers();
    }

    n = snprintf(load_request, sizeof(load_request),
                 "GET %s HTTP/1.1\r\n"
                 "Host: %s\r\n"
                 "User-Agent: load\r\n"
                 "%s\r\n", load.path, load.target, headers);

    if (n < 0 || (size_t) n >= sizeof(load_request)) {
        load_fail("--path is too long");
    }

    load_request_len = (size_t) n;
}


static void
load_conn_make_message(void)
{
    int       bits;
    size_t    head;
    uint8_t  *p;
    uint64_t  i;

    load.answer = load.size;
    p = malloc(14 + load.size);
    if (p == NULL) {
        load_fail("no memory for a message of %llu bytes",
                  (unsigned long long) load.size);
    }

    p[0] = load.rpc ? 0x81 : 0x82;

    if (load.size < 126) {
        p[1] = (uint8_t) (0x80 | load.size);
        head = 2;

    } else {
        bits = load.size < 65536 ? 16 : 64;
        p[1] = 0x80 | (bits == 16 ? 126 : 127);
        head = 2;

        while (bits) {
            bits -= 8;
            p[head++] = (uint8_t) (load.size >> bits);
        }
    }

    for (i = 0; i < 4; i++) {
        p[head++] = (uint8_t) (0x11 * (i + 1));
    }

    load_conn_payload(p + head);

    for (i = 0; i < load.size; i++) {
        p[head + i] ^= p[head - 4 + i % 4];
    }

    load_message = p;
    load_message_len = head + load.size;
}


/* letters, or a request with letters as its params, for which they come back */

static void
load_conn_payload(uint8_t *p)
{
    size_t             before;
    uint64_t           i;
    static const char  request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,"
                                   "\"method\":\"echo\",\"params\":\"";
    static const char  result[] = "{\"jsonrpc\":\"2.0\",\"id\":1,"
                                  "\"result\":\"";

    for (i = 0; i < load.size; i++) {
        p[i] = (uint8_t) ('a' + i % 26);
    }

    if (!load.rpc) {
        return;
    }

    before = sizeof(request) - 1;

    if (load.size < before + 2) {
        load_fail("--size %llu: a JSON-RPC request has %zu bytes at least",
                  (unsigned long long) load.size, before + 2);
    }

    memcpy(p, request, before);
    memcpy(p + load.size - 2, "\"}", 2);
    load.answer -= before - (sizeof(result) - 1);
}


/* Begins a handshake.  Sources rotate, so that ports do not run out. */

void
load_conn_start(load_conn_t *c)
{
    int                 on, size;
    struct sockaddr_in  from;
    struct epoll_event  ee;
    static uint32_t     turn;

    on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (c->fd == -1) {
        load_fail("socket: %s", strerror(errno));
    }

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

    if (load.mode == LOAD_SLOW) {
        size = 65536;
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }

    if (ntohl(load.address.sin_addr.s_addr) >> 24 == 127) {
        memset(&from, 0, sizeof(from));
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = htonl(0x7f000002 + turn++ % 64);

        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
                   sizeof(on));

        if (bind(c->fd, (struct sockaddr *) &from, sizeof(from)) == -1) {
            load_fail("bind: %s", strerror(errno));
        }
    }

    c->state = LOAD_CONNECT;
    c->begun = load_clock_now();
    c->out = (const uint8_t *) load_request;
    c->out_len = load_request_len;
    c->out_pos = 0;
    c->pong_len = 0;
    c->hold_len = 0;
    c->head_len = 0;
    c->left = 0;
    c->body = 0;

    load_io_start(c);

    if (connect(c->fd, (struct sockaddr *) &load.address,
                sizeof(load.address)) == -1
        && errno != EINPROGRESS)
    {
        load_fail("connect to %s: %s", load.target, strerror(errno));
    }

    c->events = EPOLLIN | EPOLLOUT;
    ee.events = c->events;
    ee.data.ptr = c;

    if (epoll_ctl(load_mode_epoll(), EPOLL_CTL_ADD, c->fd, &ee) == -1) {
        load_fail("epoll_ctl: %s", strerror(errno));
    }
}


void
load_conn_end(load_conn_t *c)
{
    load_io_end(c);
    close(c->fd);
    c->fd = -1;
    c->state = LOAD_FREE;
}


static void
load_conn_wait(load_conn_t *c, uint32_t events)
{
    int                 op;
    struct epoll_event  ee;

    op = EPOLL_CTL_MOD;

    if (load.mode == LOAD_SLOW && c->state == LOAD_OPEN) {
        op = EPOLL_CTL_DEL;                 /* the tick does everything */
        events = 0;
    }

    if (c->events == events) {
        return;
    }

    c->events = events;
    ee.events = events;
    ee.data.ptr = c;

    if (epoll_ctl(load_mode_epoll(), op, c->fd, &ee) == -1) {
        load_fail("epoll_ctl: %s", strerror(errno));
    }
}


void
load_conn_event(load_conn_t *c, uint32_t events)
{
    int        error;
    socklen_t  len;

    if (c->state == LOAD_CONNECT) {
        len = sizeof(error);
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);

        if (error) {
            load_mode_ended(c, strerror(error));
            return;
        }

        c->state = LOAD_ANSWER;
    }

    if (events & EPOLLOUT) {
        load_conn_send(c);
    }

    if (c->state != LOAD_FREE && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        load_conn_read(c, sizeof(load_buffer));
    }
}


/* Sends what is to be sent, then a pong that is owed. */

static void
load_conn_send(load_conn_t *c)
{
    ssize_t  n;

    for ( ;; ) {

        if (c->out_pos == c->out_len) {

            if (c->pong_len == 0) {
                load_conn_wait(c, EPOLLIN);
                return;
            }

            c->out = c->pong;
            c->out_len = c->pong_len;
            c->out_pos = 0;
            c->pong_len = 0;
        }

        n = load_io_send(c, c->out + c->out_pos, c->out_len - c->out_pos);

        if (n <= 0) {

            if (n == -1 && errno == EAGAIN) {
                load_conn_wait(c, load_io_blocked(c));
                return;
            }

            /* the end comes with reading, after what was sent before it */

            c->send_failed = 1;
            c->out_pos = c->out_len;
            c->pong_len = 0;
            load_conn_wait(c, EPOLLIN);
            return;
        }

        c->out_pos += (size_t) n;
    }
}


/* Sends one message, or goes on with the one that is still being sent. */

void
load_conn_message(load_conn_t *c)
{
    if (c->send_failed) {
        return;
    }

    if (c->out_pos < c->out_len) {
        load_conn_send(c);
        return;
    }

    c->begun = load_clock_now();
    c->out = load_message;
    c->out_len = load_message_len;
    c->out_pos = 0;

    load_conn_send(c);
}


/* Reads at most so many bytes, and what TLS has of a record beyond them. */

void
load_conn_read(load_conn_t *c, size_t max)
{
    do {
        load_conn_read_once(c, max);
    } while (c->state != LOAD_FREE && load_io_pending(c));

    /* what was read may have ended the TLS handshake that sending waits for */

    if (c->state != LOAD_FREE && c->want_read && c->out_pos < c->out_len) {
        load_conn_send(c);
    }
}


static void
load_conn_read_once(load_conn_t *c, size_t max)
{
    size_t   used;
    ssize_t  n;

    n = load_io_recv(c, load_buffer,
                     max < sizeof(load_buffer) ? max : sizeof(load_buffer));

    if (n == -1) {

        if (errno != EAGAIN) {
            c->reset = 1;
            load_mode_ended(c, strerror(errno));
        }

        return;
    }

    if (n == 0) {
        load_mode_ended(c, "closed by the other side");
        return;
    }

    if (load.mode >= LOAD_HTTP) {
        load_http_read(c, load_buffer, (size_t) n);
        return;
    }

    used = 0;

    if (c->state == LOAD_ANSWER) {
        used = load_conn_answer(c, load_buffer, (size_t) n);
    }

    if (c->state >= LOAD_OPEN && used < (size_t) n) {
        load_conn_frames(c, load_buffer + used, (size_t) n - used);
    }
}


/*
 * Collects the head of an answer.  Returns it without its empty line once that
 * has come, or NULL; *used is how many of the n bytes belong to it.
 */

char *
load_conn_head(load_conn_t *c, const uint8_t *p, size_t n, size_t *used)
{
    char    *end;
    size_t   room, before;

    before = c->head_len;
    room = sizeof(c->head) - 1 - before;
    room = n < room ? n : room;

    memcpy(c->head + before, p, room);
    c->head_len += room;
    c->head[c->head_len] = '\0';

    end = strstr(c->head, "\r\n\r\n");

    if (end == NULL) {

        if (c->head_len == sizeof(c->head) - 1) {
            load_fail("the answer has a head of more than %d bytes",
                      LOAD_HEAD - 1);
        }

        *used = n;
        return NULL;
    }

    *used = (size_t) (end - c->head) + 4 - before;
    end[0] = '\0';

    return c->head;
}


/* Returns how many of the n bytes belong to the answer of the handshake. */

static size_t
load_conn_answer(load_conn_t *c, const uint8_t *p, size_t n)
{
    char    *head;
    size_t   used;

    head = load_conn_head(c, p, n, &used);

    if (head == NULL) {
        return used;
    }

    if (strncmp(head, "HTTP/1.1 101 ", 13) != 0
        || strstr(head, LOAD_ACCEPT) == NULL)
    {
        load_fail("%s: no 101 for our key, but \"%.*s\"", load.target,
                  (int) strcspn(head, "\r\n"), head);
    }

    c->state = LOAD_OPEN;
    load_conn_wait(c, EPOLLIN);

    if (load.mode == LOAD_RATE && !load.fin) {
        c->state = LOAD_CLOSING;
        c->out = load_close;
        c->out_len = sizeof(load_close);
        c->out_pos = 0;
        load_conn_send(c);
    }

    load_mode_opened(c);

    return used;
}


static void
load_conn_frames(load_conn_t *c, const uint8_t *p, size_t n)
{
    size_t           part;
    const uint8_t   *last;

    last = p + n;

    while (p < last) {

        if (c->left == 0) {
            p += load_conn_header(c, p, (size_t) (last - p));

            if (c->hold_len) {
                return;                     /* the header is not whole */
            }

            if (c->left == 0) {
                load_conn_frame_done(c);
            }

            if (c->state < LOAD_OPEN) {
                return;
            }

            continue;
        }

        part = (uint64_t) (last - p) < c->left ? (size_t) (last - p)
                                               : (size_t) c->left;

        if ((c->first & 0x0f) == LOAD_PING) {
            memcpy(c->ping + c->ping_len, p, part);
            c->ping_len += (uint8_t) part;

        } else if ((c->first & 0x08) == 0) {
            c->received += part;
        }

        p += part;
        c->left -= part;

        if (c->left == 0) {
            load_conn_frame_done(c);

            if (c->state < LOAD_OPEN) {
                return;
            }
        }
    }
}


/* Returns how many bytes belong to the header; sets left when it is whole. */

static size_t
load_conn_header(load_conn_t *c, const uint8_t *p, size_t n)
{
    size_t    used;
    unsigned  i, need;

    for (used = 0; used < n; /* void */) {
        c->hold[c->hold_len++] = p[used++];

        if (c->hold_len < 2) {
            continue;
        }

        need = 2;

        if (c->hold[1] == 126) {
            need = 4;

        } else if (c->hold[1] == 127) {
            need = 10;

        } else if (c->hold[1] > 127) {
            load_fail("%s sent a masked frame", load.target);
        }

        if (c->hold_len < need) {
            continue;
        }

        c->left = need == 2 ? c->hold[1] : 0;

        for (i = 2; i < need; i++) {
            c->left = c->left << 8 | c->hold[i];
        }

        c->first = c->hold[0];
        c->frame_len = c->left;
        c->ping_len = 0;
        c->hold_len = 0;

        if ((c->first & 0x08) && c->left > 125) {
            load_fail("%s sent a control frame of %llu bytes", load.target,
                      (unsigned long long) c->left);
        }

        break;
    }

    return used;
}


static void
load_conn_frame_done(load_conn_t *c)
{
    if ((c->first & 0x0f) == LOAD_PING) {

        if (c->state != LOAD_OPEN) {
            return;
        }

        /* with a mask of zeros, once the message before it is out */

        c->pong[0] = 0x8a;
        c->pong[1] = 0x80 | c->ping_len;
        memset(c->pong + 2, 0, 4);
        memcpy(c->pong + 6, c->ping, c->ping_len);
        c->pong_len = 6 + c->ping_len;
        load_conn_send(c);
        return;
    }

    if ((c->first & 0x08) || (c->first & 0x80) == 0) {
        return;
    }

    if (load.mode != LOAD_SLOW && c->frame_len != load.answer) {
        load_fail("%s: an echo of %llu bytes instead of %llu", load.target,
                  (unsigned long long) c->frame_len,
                  (unsigned long long) load.answer);
    }

    c->messages++;
    load_mode_echoed(c);
}
