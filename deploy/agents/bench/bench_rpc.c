
/*
 * JSON-RPC of bench-agent: requests are read whole, answers may come later and
 * in parts, also of several requests at a time.
 *
 *   echo   result: params
 *   work   params {"ms": 20, "parts": 3}: after that time the result {"final":
 *          true, "agent": "..."}; parts of it, {"final": false, "part": 1},
 *          come before, evenly
 *   die    the process ends by SIGKILL
 *
 * Others are answered with an error, and what has no id is not answered.  Only
 * the top of a message is read, as far as that takes; it is not judged.
 */

#include "bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


typedef struct bench_job_s  bench_job_t;

struct bench_job_s {
    bench_job_t   *next;
    bench_conn_t  *conn;
    int64_t        due;
    int64_t        interval;
    unsigned       part;            /* that comes next, from 1 */
    unsigned       parts;
    char           id[BENCH_RPC_ID + 1];
};


/* a member of the message: its text, quotes included */

typedef struct {
    const char  *data;
    size_t       len;
} bench_text_t;


/* behind the string that begins at p, or the end */

static const char *
bench_rpc_string(const char *p, const char *last)
{
    for (p++; p < last && *p != '"'; p++) {
        if (*p == '\\') {
            p++;
        }
    }

    return p < last ? p + 1 : last;
}


/* behind the value that begins at p, or the end */

static const char *
bench_rpc_value(const char *p, const char *last)
{
    int  depth;

    depth = 0;

    while (p < last) {
        if (*p == '"') {
            p = bench_rpc_string(p, last);

            if (depth == 0) {
                return p;
            }

            continue;
        }

        if (*p == '{' || *p == '[') {
            depth++;

        } else if (*p == '}' || *p == ']') {
            if (depth-- <= 1) {
                return depth < 0 ? p : p + 1;
            }

        } else if (*p == ',' && depth == 0) {
            return p;
        }

        p++;
    }

    return last;
}


/* the value of a member of the object that text holds; empty if none */

static bench_text_t
bench_rpc_member(bench_text_t text, const char *name)
{
    size_t        len;
    const char   *p, *key, *last;
    bench_text_t  value;

    p = text.data;
    last = p + text.len;
    len = strlen(name);
    value.data = last;
    value.len = 0;

    while (p < last) {
        p += strcspn(p, "\"");
        if (p >= last) {
            break;
        }

        key = p + 1;
        p = bench_rpc_string(p, last);

        while (p < last && strchr(" \t\r\n:", *p)) {
            p++;
        }

        value.data = p;
        p = bench_rpc_value(p, last);
        value.len = (size_t) (p - value.data);

        if (strncmp(key, name, len) == 0 && key[len] == '"') {
            return value;
        }
    }

    value.data = last;
    value.len = 0;

    return value;
}


static int
bench_rpc_is(bench_text_t text, const char *word)
{
    return text.len == strlen(word) + 2
           && memcmp(text.data + 1, word, text.len - 2) == 0;
}


/* Keeps a part of a request.  Returns -1 if it becomes too long. */

int
bench_rpc_take(bench_conn_t *c, const uint8_t *data, size_t len)
{
    char    *p;
    size_t   size;

    if (c->message_len + len + 1 > c->message_size) {
        size = 2 * (c->message_len + len) + 256;
        p = size > BENCH_RPC_MAX ? NULL : realloc(c->message, size);

        if (p == NULL) {
            return -1;
        }

        c->message = p;
        c->message_size = size;
    }

    memcpy(c->message + c->message_len, data, len);
    c->message_len += len;
    c->message[c->message_len] = '\0';

    return 0;
}


/* sends one answer, in one frame */

static void
bench_rpc_answer(bench_thread_t *t, bench_conn_t *c, const char *id,
    const char *key, bench_text_t value)
{
    char    *out, *p;
    size_t   len;

    len = sizeof("{\"jsonrpc\":\"2.0\",\"id\":,\"result\":}") - 1 + strlen(id)
          + value.len - 6 + strlen(key);

    out = malloc(len + 5);
    if (out == NULL) {
        bench_free(t, c);
        return;
    }

    out[0] = (char) (0x80 | BENCH_TEXT);
    p = out + 2;

    if (len < 126) {
        out[1] = (char) len;

    } else if (len < 65536) {
        out[1] = 126;
        *p++ = (char) (len >> 8);
        *p++ = (char) len;

    } else {
        free(out);                  /* nobody asks the bench for so much */
        bench_free(t, c);
        return;
    }

    p += snprintf(p, len + 1, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"%s\":%.*s}", id,
                  key, (int) value.len, value.data);

    bench_send(t, c, (uint8_t *) out, (size_t) (p - out));
    free(out);
}


static void
bench_rpc_queue(bench_thread_t *t, bench_job_t *job)
{
    bench_job_t  **link;

    for (link = &t->jobs; *link && (*link)->due <= job->due;
         link = &(*link)->next)
    {
        /* void */
    }

    job->next = *link;
    *link = job;
}


static void
bench_rpc_work(bench_thread_t *t, bench_conn_t *c, const char *id,
    bench_text_t params)
{
    long          ms, parts;
    bench_job_t  *job;

    ms = strtol(bench_rpc_member(params, "ms").data, NULL, 10);
    parts = strtol(bench_rpc_member(params, "parts").data, NULL, 10);

    job = calloc(1, sizeof(bench_job_t));
    if (job == NULL) {
        bench_free(t, c);
        return;
    }

    job->conn = c;
    job->part = 1;
    job->parts = parts > 0 && parts < 1000000 ? (unsigned) parts : 0;
    job->interval = (ms > 0 ? ms : 0) / (int64_t) (job->parts + 1);
    job->due = bench_now() + job->interval;
    snprintf(job->id, sizeof(job->id), "%s", id);

    bench_rpc_queue(t, job);
}


/* A request is whole: answers it, now or later. */

void
bench_rpc_message(bench_thread_t *t, bench_conn_t *c)
{
    char          id_text[BENCH_RPC_ID + 1];
    bench_text_t  text, id, method, params;

    static const bench_text_t  unknown = {
        "{\"code\":-32601,\"message\":\"no such method\"}", 42
    };

    text.data = c->message ? c->message : "";
    text.len = c->message_len;
    c->message_len = 0;

    id = bench_rpc_member(text, "id");
    method = bench_rpc_member(text, "method");
    params = bench_rpc_member(text, "params");

    if (bench_rpc_is(method, "die")) {
        kill(getpid(), SIGKILL);
    }

    if (id.len == 0 || id.len > BENCH_RPC_ID) {
        return;
    }

    memcpy(id_text, id.data, id.len);
    id_text[id.len] = '\0';

    if (bench_rpc_is(method, "echo") && params.len) {
        bench_rpc_answer(t, c, id_text, "result", params);

    } else if (bench_rpc_is(method, "work")) {
        bench_rpc_work(t, c, id_text, params);

    } else {
        bench_rpc_answer(t, c, id_text, "error", unknown);
    }
}


/* Sends what is due.  Returns milliseconds until the next, at most 100. */

int
bench_rpc_run(bench_thread_t *t)
{
    char           result[256];
    int64_t        now;
    const char    *name;
    bench_job_t   *job;
    bench_conn_t  *c;
    bench_text_t   value;

    while (t->jobs) {
        now = bench_now();
        job = t->jobs;

        if (job->due > now) {
            return job->due - now < 100 ? (int) (job->due - now) : 100;
        }

        t->jobs = job->next;
        c = job->conn;
        name = getenv("CORRAL_INSTANCE");

        value.data = result;
        value.len = (size_t) (job->part <= job->parts
            ? snprintf(result, sizeof(result),
                       "{\"final\":false,\"part\":%u}", job->part)
            : snprintf(result, sizeof(result),
                       "{\"final\":true,\"agent\":\"%.100s\"}",
                       name ? name : bench.listen));

        bench_rpc_answer(t, c, job->id, "result", value);

        if (c->fd != -1 && job->part++ <= job->parts) {
            job->due = now + job->interval;
            bench_rpc_queue(t, job);

        } else {
            free(job);
        }
    }

    return 100;
}


/* The connection is gone: nobody waits for its answers. */

void
bench_rpc_forget(bench_thread_t *t, bench_conn_t *c)
{
    bench_job_t  **link, *job;

    for (link = &t->jobs; *link; /* void */) {
        job = *link;

        if (job->conn == c) {
            *link = job->next;
            free(job);

        } else {
            link = &job->next;
        }
    }
}
