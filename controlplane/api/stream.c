
/*
 * Answers without an end: each client has a bounded buffer and is suspended
 * while it is empty.
 *
 * libmicrohttpd does not see a suspended client leave, so its socket is looked
 * at once a second, and something is written to it every ten: what stands
 * between us may not tell of the end.  A client that does not take what is
 * written is not waited for: its stream ends when the buffer is full, and it
 * comes back with the id of the last event it has seen.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "stream.h"


/*
 * A client that has not taken so much is too slow.  One write may be larger: a
 * snapshot of all services is one event.
 */

#define CORRALD_STREAM_SLOW       1048576
#define CORRALD_STREAM_BUFFER     67108864

#define CORRALD_STREAM_MAX        512        /* clients */
#define CORRALD_STREAM_HEARTBEAT  10000      /* ms */

/* bytes that are handed to libmicrohttpd at a time */

#define CORRALD_STREAM_BLOCK      16384


struct corrald_stream_s {
    corrald_stream_t        *next;
    corrald_stream_t       **prev;
    struct MHD_Connection   *conn;
    corrald_stream_type_e    type;
    corrald_stream_pt        gone;
    corrald_stream_pt        more;
    void                    *data;
    corrald_buf_t            buf;
    size_t                   sent;   /* bytes of buf that were taken */
    int64_t                  written;
    unsigned                 suspended:1;
    unsigned                 ended:1;
};


static ssize_t corrald_stream_read(void *cls, uint64_t pos, char *buf,
    size_t max);
static void corrald_stream_free(void *cls);
static void corrald_stream_wake(corrald_stream_t *s);
static int corrald_stream_left(const corrald_stream_t *s);
static void corrald_stream_ticked(void *data);


static corrald_stream_t  *corrald_stream_first;
static size_t             corrald_stream_n;
static corrald_timer_t   *corrald_stream_timer;


int
corrald_stream_open(void)
{
    corrald_stream_timer = corrald_loop_timer(1000, 1000,
                                              corrald_stream_ticked, NULL);

    return corrald_stream_timer ? 0 : -1;
}


/* Ends all streams; they go when the server runs next. */

void
corrald_stream_close(void)
{
    corrald_stream_t  *s;

    corrald_loop_timer_stop(&corrald_stream_timer);

    for (s = corrald_stream_first; s; s = s->next) {
        corrald_stream_end(s);
    }
}


size_t
corrald_stream_clients(void)
{
    return corrald_stream_n;
}


corrald_stream_t *
corrald_stream_begin(corrald_rest_t *r, corrald_stream_type_e type,
    corrald_stream_pt gone, corrald_stream_pt more, void *data)
{
    corrald_stream_t     *s;
    struct MHD_Response  *response;

    static const char  *types[] = {
        "text/event-stream", "application/x-ndjson",
        "text/plain; charset=utf-8"
    };

    if (corrald_stream_n >= CORRALD_STREAM_MAX) {
        corrald_rest_set(r, "Retry-After", "10");
        corrald_rest_problem(r, CORRALD_PROBLEM_OVERLOADED, "there are %d "
                             "streams, more are not served",
                             CORRALD_STREAM_MAX);
        return NULL;
    }

    s = corrald_alloc(1, sizeof(*s), "for a stream");

    s->conn = r->conn;
    s->type = type;
    s->gone = gone;
    s->more = more;
    s->data = data;
    s->written = corrald_clock_monotonic();

    corrald_buf_init(&s->buf, CORRALD_STREAM_BUFFER);

    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN,
                                                 CORRALD_STREAM_BLOCK,
                                                 corrald_stream_read, s,
                                                 corrald_stream_free);
    if (response == NULL) {
        corrald_alloc_failed("for a stream");
    }

    s->next = corrald_stream_first;
    s->prev = &corrald_stream_first;

    if (s->next) {
        s->next->prev = &s->next;
    }

    corrald_stream_first = s;
    corrald_stream_n++;

    corrald_rest_set(r, "Content-Type", "%s", types[type]);

    /* nginx in front of us must not collect it */

    corrald_rest_set(r, "X-Accel-Buffering", "no");
    corrald_rest_send(r, 200, response);

    return s;
}


int
corrald_stream_write(corrald_stream_t *s, const void *data, size_t len)
{
    if (s->ended) {
        return -1;
    }

    corrald_buf_drop(&s->buf, s->sent);
    s->sent = 0;

    if (s->buf.len > CORRALD_STREAM_SLOW
        || corrald_buf_add(&s->buf, data, len) != 0)
    {
        s->buf.failed = 0;
        corrald_log_debug("a stream ends: its client is too slow");
        corrald_stream_end(s);
        return -1;
    }

    s->written = corrald_clock_monotonic();
    corrald_stream_wake(s);

    return 0;
}


size_t
corrald_stream_pending(const corrald_stream_t *s)
{
    return s->buf.len - s->sent;
}


void
corrald_stream_end(corrald_stream_t *s)
{
    s->ended = 1;
    corrald_stream_wake(s);
}


corrald_stream_type_e
corrald_stream_type(const corrald_rest_t *r, corrald_stream_type_e preset)
{
    const char  *accept;

    accept = corrald_rest_accept(r);

    if (strstr(accept, "text/event-stream")) {
        return CORRALD_STREAM_SSE;
    }

    if (strstr(accept, "application/x-ndjson")
        || strstr(accept, "application/jsonl"))
    {
        return CORRALD_STREAM_NDJSON;
    }

    if (strstr(accept, "text/plain")) {
        return CORRALD_STREAM_TEXT;
    }

    return preset;
}


/* libmicrohttpd has room for max bytes. */

static ssize_t
corrald_stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    size_t             n;
    corrald_stream_t  *s;

    s = cls;
    n = s->buf.len - s->sent;

    if (n == 0) {
        if (s->ended) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }

        s->suspended = 1;
        MHD_suspend_connection(s->conn);

        return 0;
    }

    n = n < max ? n : max;
    memcpy(buf, s->buf.data + s->sent, n);
    s->sent += n;

    if (s->sent == s->buf.len) {

        /* a burst is over: its memory is given back */

        if (s->buf.size > 65536) {
            corrald_buf_free(&s->buf);

        } else {
            corrald_buf_clear(&s->buf);
        }

        s->sent = 0;

        if (s->more && !s->ended) {
            s->more(s->data);
        }
    }

    return (ssize_t) n;
}


/* The response is done with: the client left, or all was sent. */

static void
corrald_stream_free(void *cls)
{
    corrald_stream_t  *s;

    s = cls;

    *s->prev = s->next;

    if (s->next) {
        s->next->prev = s->prev;
    }

    corrald_stream_n--;

    s->ended = 1;
    s->suspended = 0;
    s->gone(s->data);

    corrald_buf_free(&s->buf);
    free(s);
}


static void
corrald_stream_wake(corrald_stream_t *s)
{
    if (s->suspended) {
        s->suspended = 0;
        MHD_resume_connection(s->conn);
        corrald_loop_http_kick();
    }
}


static void
corrald_stream_ticked(void *data)
{
    int64_t            now;
    corrald_stream_t  *s, *next;

    static const char  *beats[] = { ": heartbeat\n\n", "{}\n", "" };

    now = corrald_clock_monotonic();

    for (s = corrald_stream_first; s; s = next) {
        next = s->next;

        if (s->suspended && corrald_stream_left(s)) {
            corrald_stream_end(s);

        } else if (now - s->written >= CORRALD_STREAM_HEARTBEAT) {
            (void) corrald_stream_write(s, beats[s->type],
                                        strlen(beats[s->type]));
        }
    }
}


/* Whether the client has closed: it has nothing to say, so a look is enough. */

static int
corrald_stream_left(const corrald_stream_t *s)
{
    char                              byte;
    ssize_t                           n;
    const union MHD_ConnectionInfo   *info;

    info = MHD_get_connection_info(s->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (info == NULL) {
        return 0;
    }

    n = recv(info->connect_fd, &byte, 1, MSG_PEEK|MSG_DONTWAIT);

    return n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR);
}
