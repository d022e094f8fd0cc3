
/*
 * The HTTP side of bench-agent: requests, health, and the handshake, with the
 * SHA-1 and base64 it needs.  Nothing here reads or writes a socket.
 */

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>


static atomic_uint_fast64_t  bench_handshakes;    /* asked for */


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

    c->deadline = bench_now() + BENCH_IDLE_TIMEOUT;

    if (!keep) {
        c->state = BENCH_STATE_END;
    }

    bench_send(t, c, (uint8_t *) answer, (size_t) n);
}


/* 1 kB in the form of an answer to a JSON-RPC request. */

static void
bench_json(bench_thread_t *t, bench_conn_t *c, int keep)
{
    int                n;
    char               answer[BENCH_JSON + 256];
    static const char  open[] = "{\"jsonrpc\":\"2.0\",\"id\":1,"
                                "\"result\":{\"text\":\"";
    static const char  close[] = "\"}}\n";

    n = snprintf(answer, sizeof(answer),
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                 "Content-Length: %d\r\nConnection: %s\r\n\r\n%s",
                 BENCH_JSON, keep ? "keep-alive" : "close", open);

    memset(answer + n, 'x', BENCH_JSON - strlen(open) - strlen(close));
    n += (int) (BENCH_JSON - strlen(open) - strlen(close));
    memcpy(answer + n, close, strlen(close));
    n += (int) strlen(close);

    c->deadline = bench_now() + BENCH_IDLE_TIMEOUT;

    if (!keep) {
        c->state = BENCH_STATE_END;
    }

    bench_send(t, c, (uint8_t *) answer, (size_t) n);
}


/* The head of a stream; bench_loop.c sends its events. */

static void
bench_stream(bench_thread_t *t, bench_conn_t *c)
{
    static const char  answer[] = "HTTP/1.1 200 OK\r\n"
                                  "Content-Type: text/event-stream\r\n"
                                  "Cache-Control: no-store\r\n"
                                  "Connection: close\r\n\r\n";

    c->state = BENCH_STATE_STREAM;
    c->deadline = 0;
    bench_send(t, c, (const uint8_t *) answer, sizeof(answer) - 1);
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


static void
bench_request(bench_thread_t *t, bench_conn_t *c, char *head, size_t len)
{
    int          keep;
    char        *upgrade, *connection, *key, *version;
    const char  *end;

    end = head + len;
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

        } else if (strncmp(head + 4, "/json ", 6) == 0) {
            bench_json(t, c, keep);

        } else if (strncmp(head + 4, "/sse ", 5) == 0) {
            bench_stream(t, c);

        } else {
            bench_answer(t, c, "404 Not Found", "",
                         "there is only /, /healthz, /json and /sse\n", keep);
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


/*
 * Take bytes of requests and answer them.  What stands behind a handshake is
 * handed on as frames.  The connection may be freed on return.
 */

void
bench_head(bench_thread_t *t, bench_conn_t *c, uint8_t *data, size_t len)
{
    char    *end;
    size_t   n, used;

    while (len && c->fd != -1 && c->state == BENCH_STATE_HEAD) {

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

        end = memmem(c->head, c->head_len + n, "\r\n\r\n", 4);

        if (end == NULL) {
            c->head_len += n;

            if (c->head_len == BENCH_HEAD) {
                bench_answer(t, c, "431 Request Header Fields Too Large", "",
                             "the head is too long\n", 0);
            }

            return;
        }

        used = (size_t) (end - c->head) + 4 - c->head_len;
        data += used;
        len -= used;
        n = c->head_len + used;
        c->head_len = 0;

        end[2] = '\0';
        bench_request(t, c, c->head, n - 2);
    }

    if (c->fd == -1 || c->state == BENCH_STATE_HEAD) {
        return;
    }

    free(c->head);
    c->head = NULL;

    if (c->state == BENCH_STATE_OPEN && len) {
        bench_frames(t, c, data, len);
    }
}
