
/*
 * A WebSocket echo agent for benchmarks and for tests of what agents do wrong.
 *
 * Compile:  cc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread \
 *              -o bench-agent bench-agent.c
 *
 * Each thread has an epoll instance and one buffer.  What a recv() brings is
 * unmasked in place while it moves down over the masks, and one send() gives it
 * back: the frame of a server is never longer than that of the client, so no
 * message is ever held, whatever its size.  A connection owns memory for
 * output only while the peer does not take it; meanwhile nothing is read.
 *
 * It does not check that text is UTF-8, and offers no extension and no
 * subprotocol.  Plain GETs of / and /healthz are answered, nothing else.
 *
 * Connections belong to the thread that accepted them.  Shared between threads
 * are only the counters, which are atomic.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>


#define BENCH_BUFFER         131072  /* what one recv() may bring */
#define BENCH_HEAD           16384   /* of a request, to the empty line */
#define BENCH_HOLD           144     /* a whole control frame is 131 */
#define BENCH_EVENTS         256
#define BENCH_THREADS        64
#define BENCH_HEAD_TIMEOUT   30000   /* milliseconds */
#define BENCH_LINGER         2000    /* for the end of the peer */
#define BENCH_SEND_TIMEOUT   60000   /* --send-and-close: for a slow reader */
#define BENCH_PATTERN        251

#define BENCH_CONT           0x0
#define BENCH_TEXT           0x1
#define BENCH_BINARY         0x2
#define BENCH_CLOSE          0x8
#define BENCH_PING           0x9
#define BENCH_PONG           0xa


typedef enum {
    BENCH_STATE_HEAD = 0,   /* reads an HTTP request */
    BENCH_STATE_OPEN,       /* echoes frames */
    BENCH_STATE_SEND,       /* --send-and-close: sends, drops what it reads */
    BENCH_STATE_END         /* all is said: flush, half-close, drop, close */
} bench_state_t;


typedef struct bench_conn_s  bench_conn_t;

struct bench_conn_s {
    bench_conn_t    *next;           /* all connections of the thread */
    bench_conn_t    *prev;
    int              fd;
    bench_state_t    state;
    uint32_t         events;         /* what epoll waits for */

    uint64_t         left;           /* payload of the current frame to come */
    uint8_t          mask[4];        /* rotated to the next byte of payload */
    uint8_t          fin;            /* of the current frame */
    uint8_t          fragmented;     /* a message has begun and not ended */
    uint8_t          hold_len;
    uint8_t          hold[BENCH_HOLD];   /* a frame header that is not whole */

    char            *head;           /* the request so far */
    size_t           head_len;

    uint8_t         *tail;           /* output the peer has not taken */
    size_t           tail_pos;
    size_t           tail_len;

    uint64_t         total_left;     /* --send-and-close: bytes to send */
    uint64_t         frame_left;     /* of them in the current message */
    uint64_t         sent;

    size_t           budget;         /* --slow-read: bytes until the tick */
    int64_t          deadline;       /* milliseconds, 0: none */
    unsigned         shut:1;         /* our side is shut down */
};


typedef struct {
    int              epoll;
    int              listener;
    bench_conn_t    *conns;
    bench_conn_t    *closed;         /* freed when the events are handled */
    unsigned         stopping:1;
    unsigned         listening:1;
    uint8_t          buffer[BENCH_HOLD + BENCH_BUFFER];
} bench_thread_t;


typedef struct {
    const char      *listen;
    long             threads;
    long             grace;          /* seconds */
    uint64_t         slow_read;      /* bytes a second, 0: full speed */
    uint64_t         send;           /* bytes, with send_set */
    uint64_t         message_size;   /* of --send-and-close */
    long             reject;         /* per cent of handshakes */
    uint64_t         die_after;      /* messages, with die_set */
    unsigned         send_set:1;
    unsigned         die_set:1;
    unsigned         no_close:1;     /* end without a Close frame */
} bench_options_t;


static void *bench_thread(void *data);
static void bench_accept(bench_thread_t *t);
static void bench_read(bench_thread_t *t, bench_conn_t *c);
static void bench_head(bench_thread_t *t, bench_conn_t *c, uint8_t *data,
    size_t len);
static void bench_request(bench_thread_t *t, bench_conn_t *c, char *head,
    size_t len);
static void bench_handshake(bench_thread_t *t, bench_conn_t *c,
    const char *key);
static void bench_frames(bench_thread_t *t, bench_conn_t *c, uint8_t *data,
    size_t len);
static ssize_t bench_frame(bench_conn_t *c, uint8_t *in, size_t len,
    uint8_t *out, size_t *written);
static size_t bench_control(bench_conn_t *c, unsigned opcode, uint8_t *data,
    size_t len, uint8_t *out);
static size_t bench_fail(bench_conn_t *c, uint8_t *out, unsigned code);
static void bench_generate(bench_thread_t *t, bench_conn_t *c);
static void bench_send(bench_thread_t *t, bench_conn_t *c,
    const uint8_t *data, size_t len);
static void bench_flush(bench_thread_t *t, bench_conn_t *c);
static void bench_finish(bench_thread_t *t, bench_conn_t *c);
static void bench_watch(bench_thread_t *t, bench_conn_t *c);
static void bench_free(bench_thread_t *t, bench_conn_t *c);
static void bench_tick(bench_thread_t *t);
static void bench_stop(bench_thread_t *t);


static bench_options_t        bench;
static uint8_t                bench_pattern[BENCH_BUFFER + BENCH_PATTERN];
static volatile sig_atomic_t  bench_stopping;
static atomic_uint_fast64_t   bench_messages;
static atomic_uint_fast64_t   bench_handshakes;


static int64_t
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* SHA-1 (FIPS 180-4) of at most 119 bytes: two blocks. */

static uint32_t
bench_rotate(uint32_t x, unsigned n)
{
    return (x << n) | (x >> (32 - n));
}


static void
bench_sha1_block(uint32_t h[5], const uint8_t *p)
{
    uint32_t  w[80], a, b, c, d, e, f, k, x;
    unsigned  i;

    for (i = 0; i < 16; i++) {
        w[i] = (uint32_t) p[i * 4] << 24 | (uint32_t) p[i * 4 + 1] << 16
               | (uint32_t) p[i * 4 + 2] << 8 | p[i * 4 + 3];
    }

    for ( /* void */ ; i < 80; i++) {
        w[i] = bench_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }

    a = h[0];
    b = h[1];
    c = h[2];
    d = h[3];
    e = h[4];

    for (i = 0; i < 80; i++) {
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;

        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;

        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;

        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }

        x = bench_rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = bench_rotate(b, 30);
        b = a;
        a = x;
    }

    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}


/* Sec-WebSocket-Accept of a key of 24 characters; accept has room for 29. */

static void
bench_accept_key(const char *key, char *accept)
{
    static const char  guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char  base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij"
                                  "klmnopqrstuvwxyz0123456789+/";
    uint32_t           h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe,
                                0x10325476, 0xc3d2e1f0 };
    uint8_t            block[128], digest[21];
    uint32_t           bits;
    unsigned           i, j;

    memset(block, 0, sizeof(block));
    memcpy(block, key, 24);
    memcpy(block + 24, guid, 36);
    block[60] = 0x80;
    block[126] = (60 * 8) >> 8;
    block[127] = (60 * 8) & 0xff;

    bench_sha1_block(h, block);
    bench_sha1_block(h, block + 64);

    for (i = 0; i < 20; i++) {
        digest[i] = (uint8_t) (h[i / 4] >> (24 - i % 4 * 8));
    }

    digest[20] = 0;

    for (i = 0, j = 0; i < 21; i += 3) {
        bits = (uint32_t) digest[i] << 16 | (uint32_t) digest[i + 1] << 8
               | digest[i + 2];
        accept[j++] = base64[bits >> 18];
        accept[j++] = base64[bits >> 12 & 63];
        accept[j++] = base64[bits >> 6 & 63];
        accept[j++] = base64[bits & 63];
    }

    accept[27] = '=';
    accept[28] = '\0';
}


/*
 * Copy len bytes down, or onto themselves, and unmask them.  Each word is
 * loaded before the place it stood at can be written, because out <= in.
 */

static void
bench_unmask(bench_conn_t *c, uint8_t *out, const uint8_t *in, size_t len)
{
    size_t    i;
    uint8_t   m[8];
    uint64_t  mask, word;

    memcpy(m, c->mask, 4);
    memcpy(m + 4, c->mask, 4);
    memcpy(&mask, m, 8);

    for (i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, in + i, 8);
        word ^= mask;
        memcpy(out + i, &word, 8);
    }

    for ( /* void */ ; i < len; i++) {
        out[i] = in[i] ^ m[i & 3];
    }

    for (i = 0; i < 4; i++) {
        c->mask[i] = m[(len + i) & 3];
    }
}


static void
bench_head(bench_thread_t *t, bench_conn_t *c, uint8_t *data, size_t len)
{
    char    *end;
    size_t   n, rest, used;

    if (c->head == NULL) {
        c->head = malloc(BENCH_HEAD + 1);
        if (c->head == NULL) {
            bench_free(t, c);
            return;
        }
    }

    n = BENCH_HEAD - c->head_len;
    n = len < n ? len : n;
    memcpy(c->head + c->head_len, data, n);
    c->head_len += n;

    end = memmem(c->head, c->head_len, "\r\n\r\n", 4);

    if (end == NULL) {
        if (c->head_len == BENCH_HEAD) {
            c->state = BENCH_STATE_END;
            bench_send(t, c, (const uint8_t *)
                       "HTTP/1.1 431 Request Header Fields Too Large\r\n"
                       "Connection: close\r\nContent-Length: 0\r\n\r\n", 86);
        }

        return;
    }

    used = (size_t) (end - c->head) + 4;
    rest = (c->head_len - used) + (len - n);
    data += len - rest;

    end[2] = '\0';
    c->head_len = 0;
    bench_request(t, c, c->head, used);

    if (c->fd == -1 || c->state == BENCH_STATE_END) {
        return;
    }

    if (c->state == BENCH_STATE_HEAD) {     /* kept: the next request */
        if (rest) {
            bench_head(t, c, data, rest);
        }

        return;
    }

    free(c->head);
    c->head = NULL;

    if (c->state == BENCH_STATE_OPEN && rest) {
        bench_frames(t, c, data, rest);
    }
}


/* The value of a header of the request, or NULL; cuts it out in place. */

static char *
bench_header(char *head, const char *end, const char *name)
{
    char    *line, *value, *p;
    size_t   len;

    len = strlen(name);

    for (line = head; line && line < end; /* void */ ) {
        line = memchr(line, '\n', (size_t) (end - line));
        if (line == NULL) {
            break;
        }

        line++;
        if ((size_t) (end - line) <= len || strncasecmp(line, name, len) != 0
            || line[len] != ':')
        {
            continue;
        }

        for (value = line + len + 1; *value == ' ' || *value == '\t';
             value++)
        {
            /* void */
        }

        for (p = value; p < end && *p != '\r' && *p != '\n' && *p; p++) {
            /* void */
        }

        while (p > value && (p[-1] == ' ' || p[-1] == '\t')) {
            p--;
        }

        return strndup(value, (size_t) (p - value));
    }

    return NULL;
}


static int
bench_has_word(const char *value, const char *word)
{
    size_t  len, n;

    len = strlen(word);

    while (value && *value) {
        value += strspn(value, ", \t");
        n = strcspn(value, ", \t");
        if (n == len && strncasecmp(value, word, len) == 0) {
            return 1;
        }

        value += n;
    }

    return 0;
}


/* Whether a key is base64 of 16 bytes. */

static int
bench_key_ok(const char *key)
{
    return key && strlen(key) == 24
           && strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                          "0123456789+/") == 22
           && strcmp(key + 22, "==") == 0;
}


static void
bench_answer(bench_thread_t *t, bench_conn_t *c, const char *status,
    const char *headers, const char *body, int keep)
{
    int   n;
    char  answer[512];

    n = snprintf(answer, sizeof(answer),
                 "HTTP/1.1 %s\r\nContent-Type: text/plain\r\n"
                 "Content-Length: %zu\r\n%sConnection: %s\r\n\r\n%s",
                 status, strlen(body), headers,
                 keep ? "keep-alive" : "close", body);

    if (!keep) {
        c->state = BENCH_STATE_END;
    }

    bench_send(t, c, (uint8_t *) answer, (size_t) n);
}


static void
bench_request(bench_thread_t *t, bench_conn_t *c, char *head, size_t len)
{
    int          keep;
    char        *upgrade, *connection, *key, *version;
    const char  *end;

    end = head + len - 2;
    upgrade = bench_header(head, end, "Upgrade");
    connection = bench_header(head, end, "Connection");
    key = bench_header(head, end, "Sec-WebSocket-Key");
    version = bench_header(head, end, "Sec-WebSocket-Version");
    keep = !bench_has_word(connection, "close") && !t->stopping;

    if (strncmp(head, "GET /", 5) != 0
        || strcspn(head + 4, " \r\n") == strcspn(head + 4, "\r\n")
        || strncmp(head + 4 + strcspn(head + 4, " "), " HTTP/1.1\r\n", 11)
           != 0)
    {
        bench_answer(t, c, "400 Bad Request", "",
                     "only GET with HTTP/1.1 is served\n", 0);

    } else if (!bench_has_word(upgrade, "websocket")) {
        if (strncmp(head + 4, "/healthz ", 9) == 0
            || strncmp(head + 4, "/ ", 2) == 0)
        {
            bench_answer(t, c, "200 OK", "", "ok\n", keep);

        } else {
            bench_answer(t, c, "404 Not Found", "",
                         "there is only / and /healthz\n", keep);
        }

    } else if (!bench_has_word(connection, "upgrade") || !bench_key_ok(key)) {
        bench_answer(t, c, "400 Bad Request", "",
                     "the WebSocket handshake is broken\n", 0);

    } else if (version == NULL || strcmp(version, "13") != 0) {
        bench_answer(t, c, "426 Upgrade Required",
                     "Sec-WebSocket-Version: 13\r\n",
                     "only WebSocket version 13 is served\n", 0);

    } else {
        bench_handshake(t, c, key);
    }

    free(upgrade);
    free(connection);
    free(key);
    free(version);
}


static void
bench_handshake(bench_thread_t *t, bench_conn_t *c, const char *key)
{
    int       n;
    char      answer[256], accept[29];
    uint64_t  count;

    count = atomic_fetch_add(&bench_handshakes, 1);

    /* even: n of each hundred, spread as evenly as they can be */

    if ((count + 1) * (uint64_t) bench.reject / 100
        != count * (uint64_t) bench.reject / 100)
    {
        bench_answer(t, c, "503 Service Unavailable", "Retry-After: 1\r\n",
                     "refused by --reject-percent\n", 0);
        return;
    }

    bench_accept_key(key, accept);
    n = snprintf(answer, sizeof(answer),
                 "HTTP/1.1 101 Switching Protocols\r\n"
                 "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n\r\n", accept);

    c->state = bench.send_set ? BENCH_STATE_SEND : BENCH_STATE_OPEN;
    c->deadline = 0;
    c->total_left = bench.send;
    bench_send(t, c, (uint8_t *) answer, (size_t) n);

    if (c->state == BENCH_STATE_SEND && c->fd != -1) {
        bench_generate(t, c);
    }
}


/*
 * Echo what is in data, in place; what is left of a header is held.  A tail
 * can only be there when data is the rest after a handshake.
 */

static void
bench_frames(bench_thread_t *t, bench_conn_t *c, uint8_t *data, size_t len)
{
    size_t    n, written;
    ssize_t   used;
    uint8_t  *in, *out, *end;

    in = data;
    out = data;
    end = data + len;

    while (in < end && c->state == BENCH_STATE_OPEN) {

        if (c->left == 0) {
            used = bench_frame(c, in, (size_t) (end - in), out, &written);
            if (used == 0) {
                c->hold_len = (uint8_t) (end - in);
                memcpy(c->hold, in, c->hold_len);
                break;
            }

            in += used;
            out += written;

        } else {
            n = (size_t) (end - in);
            n = c->left < n ? (size_t) c->left : n;
            bench_unmask(c, out, in, n);
            in += n;
            out += n;
            c->left -= n;
        }

        if (c->left == 0 && c->fin && c->state == BENCH_STATE_OPEN) {
            c->fin = 0;
            atomic_fetch_add(&bench_messages, 1);

            if (t->stopping) {
                out += bench_fail(c, out, 1012);
            }
        }
    }

    if (out > data) {
        bench_send(t, c, data, (size_t) (out - data));

    } else if (c->state == BENCH_STATE_END) {
        bench_finish(t, c);
    }
}


/*
 * Take one frame header, or a whole control frame, from in and write what
 * answers it to out.  Returns the bytes used, 0 when more are needed.
 */

static ssize_t
bench_frame(bench_conn_t *c, uint8_t *in, size_t len, uint8_t *out,
    size_t *written)
{
    size_t    head;
    uint64_t  n;
    unsigned  fin, opcode, form, i;

    *written = 0;

    if (len < 2) {
        return 0;
    }

    fin = in[0] >> 7;
    opcode = in[0] & 0x0f;
    form = in[1] & 0x7f;
    head = 2 + 4 + (form == 126 ? 2 : form == 127 ? 8 : 0);

    /* decided on two bytes: a broken header may never become whole */

    if ((in[0] & 0x70) || !(in[1] & 0x80)
        || (opcode > BENCH_BINARY && opcode < BENCH_CLOSE)
        || opcode > BENCH_PONG
        || (opcode >= BENCH_CLOSE && (!fin || form > 125))
        || (opcode == BENCH_CONT && !c->fragmented)
        || ((opcode == BENCH_TEXT || opcode == BENCH_BINARY)
            && c->fragmented))
    {
        *written = bench_fail(c, out, 1002);
        return (ssize_t) len;
    }

    if (len < head || (opcode >= BENCH_CLOSE && len < head + form)) {
        return 0;
    }

    n = form;

    if (form >= 126) {
        for (n = 0, i = 2; i < head - 4; i++) {
            n = n << 8 | in[i];
        }

        if (n >> 63 || n < (form == 126 ? 126 : 65536)) {
            *written = bench_fail(c, out, 1002);
            return (ssize_t) len;
        }
    }

    memcpy(c->mask, in + head - 4, 4);

    if (opcode >= BENCH_CLOSE) {
        bench_unmask(c, in + head, in + head, (size_t) n);
        *written = bench_control(c, opcode, in + head, (size_t) n, out);
        return (ssize_t) (head + n);
    }

    if (!c->fragmented && bench.die_set
        && atomic_load(&bench_messages) >= bench.die_after)
    {
        kill(getpid(), SIGKILL);
    }

    c->fragmented = !fin;
    c->fin = (uint8_t) fin;
    c->left = n;

    memmove(out, in, head - 4);
    out[1] &= 0x7f;
    *written = head - 4;

    return (ssize_t) head;
}


static size_t
bench_control(bench_conn_t *c, unsigned opcode, uint8_t *data, size_t len,
    uint8_t *out)
{
    unsigned  code;

    if (opcode == BENCH_PONG) {
        return 0;
    }

    if (opcode == BENCH_CLOSE) {
        code = len >= 2 ? (unsigned) data[0] << 8 | data[1] : 1000;

        if (len == 1 || code < 1000 || (code > 1003 && code < 1007)
            || (code > 1014 && code < 3000) || code > 4999)
        {
            return bench_fail(c, out, 1002);
        }

        c->state = BENCH_STATE_END;
        len = len < 2 ? 0 : 2;
        out[0] = 0x80 | BENCH_CLOSE;

    } else {
        out[0] = 0x80 | BENCH_PONG;
    }

    out[1] = (uint8_t) len;
    memmove(out + 2, data, len);

    return len + 2;
}


/* Write a Close with a code; the connection ends when it is flushed. */

static size_t
bench_fail(bench_conn_t *c, uint8_t *out, unsigned code)
{
    c->state = BENCH_STATE_END;

    out[0] = 0x80 | BENCH_CLOSE;
    out[1] = 2;
    out[2] = (uint8_t) (code >> 8);
    out[3] = (uint8_t) code;

    return 4;
}


/* --send-and-close: fill the socket with messages, then end. */

static void
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


/* Send, or keep what the peer does not take. */

static void
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

static void
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

    if ((events == 0 || c->state >= BENCH_STATE_SEND)
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


/* Close; the memory goes when all events of this turn are handled. */

static void
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

    free(c->head);
    free(c->tail);
    c->head = NULL;
    c->tail = NULL;

    c->next = t->closed;
    t->closed = c;
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


/* SIGTERM came: idle connections end now, others after their message. */

static void
bench_stop(bench_thread_t *t)
{
    uint8_t        close_frame[4];
    bench_conn_t  *c, *next;

    t->stopping = 1;
    t->listening = 0;
    epoll_ctl(t->epoll, EPOLL_CTL_DEL, t->listener, NULL);

    for (c = t->conns; c; c = next) {
        next = c->next;

        if (c->state == BENCH_STATE_HEAD && c->head_len == 0) {
            bench_free(t, c);

        } else if (c->state == BENCH_STATE_OPEN && c->left == 0
                   && !c->fragmented && c->hold_len == 0)
        {
            bench_send(t, c, close_frame, bench_fail(c, close_frame, 1012));
        }
    }
}


static void *
bench_thread(void *data)
{
    int                  i, n;
    int64_t              now, tick, end;
    bench_conn_t        *c;
    bench_thread_t      *t;
    struct epoll_event   events[BENCH_EVENTS];

    t = data;
    tick = bench_now();
    end = 0;

    for ( ;; ) {
        n = epoll_wait(t->epoll, events, BENCH_EVENTS, 100);

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


static void
bench_signal(int signo)
{
    (void) signo;

    bench_stopping = 1;
}


static int
bench_bind_unix(const char *path)
{
    int                 fd, probe;
    mode_t              mask;
    struct stat         sb;
    struct sockaddr_un  sun;

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;

    if (strlen(path) == 0 || strlen(path) >= sizeof(sun.sun_path)) {
        fprintf(stderr, "bench-agent: --listen \"unix:%s\": a socket path has "
                "1 to %zu bytes\n", path, sizeof(sun.sun_path) - 1);
        return -1;
    }

    memcpy(sun.sun_path, path, strlen(path));

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1 || probe == -1) {
        return -1;
    }

    if (lstat(path, &sb) == 0 && S_ISSOCK(sb.st_mode)) {
        if (connect(probe, (struct sockaddr *) &sun, sizeof(sun)) == 0) {
            fprintf(stderr, "bench-agent: cannot listen on unix:%s: another "
                    "process listens there\n", path);
            return -1;
        }

        unlink(path);               /* left by a process that was killed */
    }

    close(probe);
    mask = umask(0117);             /* 0660: the gateway is in our group */

    if (bind(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1) {
        fprintf(stderr, "bench-agent: cannot listen on unix:%s: %s\n", path,
                strerror(errno));
        return -1;
    }

    umask(mask);

    return fd;
}


static int
bench_bind_tcp(const char *listen_on)
{
    int                       fd, on;
    char                      host[64];
    char                     *end;
    size_t                    len;
    socklen_t                 size;
    const char               *colon;
    unsigned long             port;
    struct sockaddr_in       *sin;
    struct sockaddr_in6      *sin6;
    struct sockaddr_storage   ss;

    colon = strrchr(listen_on, ':');
    len = colon ? (size_t) (colon - listen_on) : 0;

    if (colon == NULL || len == 0 || len >= sizeof(host)
        || colon[1] < '0' || colon[1] > '9')
    {
        goto invalid;
    }

    port = strtoul(colon + 1, &end, 10);
    if (*end || port > 65535) {
        goto invalid;
    }

    memset(&ss, 0, sizeof(ss));
    memcpy(host, listen_on, len);
    host[len] = '\0';

    if (strcmp(host, "localhost") == 0) {
        snprintf(host, sizeof(host), "127.0.0.1");
    }

    sin = (struct sockaddr_in *) &ss;
    sin6 = (struct sockaddr_in6 *) &ss;

    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons((uint16_t) port);
        size = sizeof(*sin6);
        if (inet_pton(AF_INET6, host + 1, &sin6->sin6_addr) != 1) {
            goto invalid;
        }

    } else {
        sin->sin_family = AF_INET;
        sin->sin_port = htons((uint16_t) port);
        size = sizeof(*sin);
        if (inet_pton(AF_INET, host, &sin->sin_addr) != 1) {
            goto invalid;
        }
    }

    on = 1;
    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, (struct sockaddr *) &ss, size) == -1)
    {
        fprintf(stderr, "bench-agent: cannot listen on %s: %s\n", listen_on,
                strerror(errno));
        return -1;
    }

    return fd;

invalid:

    fprintf(stderr, "bench-agent: --listen \"%s\": expected unix:/path, "
            "1.2.3.4:port or [::1]:port with a port up to 65535\n",
            listen_on);

    return -1;
}


/* A whole number of an option, or the end of the program with a sentence. */

static uint64_t
bench_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char      *end;
    uint64_t   n;

    errno = 0;
    n = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || errno || n < min || n > max)
    {
        fprintf(stderr, "bench-agent: --%s \"%s\": expected a whole number "
                "from %llu to %llu\n", name, text, (unsigned long long) min,
                (unsigned long long) max);
        exit(2);
    }

    return n;
}


static void
bench_usage(FILE *out)
{
    fputs("Usage: bench-agent [options]\n"
        "  --listen ADDRESS       unix:/path, 1.2.3.4:port or [::1]:port\n"
        "                         (default: $CORRAL_LISTEN)\n"
        "  --threads N            1 to 64 (default: 1)\n"
        "  --grace SECONDS        for open messages after SIGTERM (default: 8)"
        "\n"
        "  --slow-read BYTES      read so many bytes a second per connection\n"
        "  --send-and-close BYTES send so many bytes after the handshake,\n"
        "                         then Close 1000, and end the connection\n"
        "  --message-size BYTES   of the messages of --send-and-close\n"
        "                         (default: 65536)\n"
        "  --no-close-frame       end --send-and-close without a Close frame\n"
        "  --reject-percent N     answer N of 100 handshakes with 503\n"
        "  --die-after N          echo N messages in all, then die by SIGKILL\n"
        "                         when the next one begins\n", out);
}


static void
bench_parse(int argc, char **argv)
{
    int                         c, index;
    const char                 *name;
    static const struct option  options[] = {
        { "listen",         required_argument, NULL, 'l' },
        { "threads",        required_argument, NULL, 't' },
        { "grace",          required_argument, NULL, 'g' },
        { "slow-read",      required_argument, NULL, 'r' },
        { "send-and-close", required_argument, NULL, 's' },
        { "message-size",   required_argument, NULL, 'm' },
        { "no-close-frame", no_argument,       NULL, 'n' },
        { "reject-percent", required_argument, NULL, 'p' },
        { "die-after",      required_argument, NULL, 'd' },
        { "help",           no_argument,       NULL, 'h' },
        { NULL,             0,                 NULL, 0 }
    };

    bench.listen = getenv("CORRAL_LISTEN");
    bench.threads = 1;
    bench.grace = 8;
    bench.message_size = 65536;

    for ( ;; ) {
        c = getopt_long(argc, argv, "", options, &index);
        if (c == -1) {
            break;
        }

        if (c == '?') {
            bench_usage(stderr);
            exit(2);
        }

        name = options[index].name;

        switch (c) {

        case 'l':
            bench.listen = optarg;
            break;

        case 't':
            bench.threads = (long) bench_number(name, optarg, 1,
                                                BENCH_THREADS);
            break;

        case 'g':
            bench.grace = (long) bench_number(name, optarg, 0, 86400);
            break;

        case 'r':
            bench.slow_read = bench_number(name, optarg, 10, 1ULL << 40);
            break;

        case 's':
            bench.send = bench_number(name, optarg, 0, 1ULL << 50);
            bench.send_set = 1;
            break;

        case 'm':
            bench.message_size = bench_number(name, optarg, 1, 1ULL << 50);
            break;

        case 'n':
            bench.no_close = 1;
            break;

        case 'p':
            bench.reject = (long) bench_number(name, optarg, 0, 100);
            break;

        case 'd':
            bench.die_after = bench_number(name, optarg, 0, 1ULL << 60);
            bench.die_set = 1;
            break;

        default:
            bench_usage(stdout);
            exit(0);
        }
    }

    if (optind < argc) {
        fprintf(stderr, "bench-agent: \"%s\": there are only options\n",
                argv[optind]);
        exit(2);
    }

    if (bench.listen == NULL || bench.listen[0] == '\0') {
        fputs("bench-agent: where to listen is missing: set CORRAL_LISTEN or "
              "give --listen\n", stderr);
        exit(2);
    }
}


static int
bench_start(bench_thread_t *t, int listener)
{
    struct epoll_event  ee;

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


int
main(int argc, char **argv)
{
    int               fd;
    long              i;
    size_t            n;
    pthread_t         ids[BENCH_THREADS];
    bench_thread_t   *threads;
    struct sigaction  sa;

    bench_parse(argc, argv);

    for (n = 0; n < sizeof(bench_pattern); n++) {
        bench_pattern[n] = (uint8_t) (n % BENCH_PATTERN);
    }

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = bench_signal;
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);

    fd = strncmp(bench.listen, "unix:", 5) == 0
         ? bench_bind_unix(bench.listen + 5) : bench_bind_tcp(bench.listen);

    if (fd == -1) {
        return 1;
    }

    if (listen(fd, 4096) == -1) {
        perror("bench-agent: listen");
        return 1;
    }

    threads = calloc((size_t) bench.threads, sizeof(bench_thread_t));
    if (threads == NULL) {
        perror("bench-agent");
        return 1;
    }

    printf("bench-agent: listening on %s, pid %d\n", bench.listen,
           (int) getpid());
    fflush(stdout);

    for (i = 0; i < bench.threads; i++) {
        if (bench_start(&threads[i], fd) == -1) {
            return 1;
        }

        if (i && pthread_create(&ids[i], NULL, bench_thread, &threads[i])) {
            fputs("bench-agent: a thread cannot be started\n", stderr);
            return 1;
        }
    }

    bench_thread(&threads[0]);

    for (i = 1; i < bench.threads; i++) {
        pthread_join(ids[i], NULL);
    }

    if (strncmp(bench.listen, "unix:", 5) == 0) {
        unlink(bench.listen + 5);
    }

    printf("bench-agent: stopped, %llu messages\n",
           (unsigned long long) atomic_load(&bench_messages));
    free(threads);

    return 0;
}
