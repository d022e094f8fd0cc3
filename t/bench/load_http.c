
/*
 * HTTP of the load generator: requests in a closed loop over kept connections
 * (mode http), and streams of events (mode sse).
 *
 * An answer must be a 200 with Content-Length, a stream a 200 without an end.
 * Each event of bench-agent has one "!", which occurs nowhere else in a stream,
 * chunked or not: these are counted, the rest is skipped.
 */


#include "load.h"

#include <stdlib.h>
#include <string.h>


#define LOAD_MARK  '!'


static void load_http_head(load_conn_t *c, const char *head);
static void load_http_done(load_conn_t *c);


/* What goes into the head of a request besides Host. */

const char *
load_http_headers(void)
{
    return load.mode == LOAD_SSE ? "Accept: text/event-stream\r\n"
                                 : "Accept: application/json\r\n";
}


/* Takes what a connection has read.  It may be ended on return. */

void
load_http_read(load_conn_t *c, const uint8_t *p, size_t n)
{
    char     *head;
    size_t    used, i;
    uint64_t  marks;

    while (n && c->state >= LOAD_ANSWER) {

        if (!c->body) {
            head = load_conn_head(c, p, n, &used);
            p += used;
            n -= used;

            if (head) {
                load_http_head(c, head);
            }

            continue;
        }

        if (load.mode == LOAD_SSE) {

            for (i = 0, marks = 0; i < n; i++) {
                marks += p[i] == LOAD_MARK;
            }

            load_mode_counted(marks);
            return;
        }

        used = n < c->left ? n : (size_t) c->left;
        c->left -= used;
        p += used;
        n -= used;

        if (c->left == 0) {
            load_http_done(c);
        }
    }
}


static void
load_http_head(load_conn_t *c, const char *head)
{
    const char  *length;

    if (strncmp(head, "HTTP/1.1 200 ", 13) != 0) {
        load_fail("%s: no 200, but \"%.*s\"", load.target,
                  (int) strcspn(head, "\r\n"), head);
    }

    c->body = 1;
    c->head_len = 0;

    if (load.mode == LOAD_SSE) {
        c->state = LOAD_OPEN;
        load_mode_opened(c);
        return;
    }

    length = strcasestr(head, "\r\nContent-Length:");

    if (length == NULL) {
        load_fail("%s: an answer without Content-Length", load.target);
    }

    c->left = strtoull(length + 17, NULL, 10);

    if (c->left == 0) {
        load_fail("%s: an answer without a body", load.target);
    }
}


/* the first answer of a connection opens it, the others are counted */

static void
load_http_done(load_conn_t *c)
{
    c->body = 0;

    if (c->state == LOAD_ANSWER) {
        c->state = LOAD_OPEN;
        load_mode_opened(c);
        return;
    }

    c->messages++;
    load_mode_echoed(c);
}
