
/*
 * Commands that look on: logs, events, nodes, gateways.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#include "corral.h"


static int corral_watch_print(void *ctx, const char *data, size_t len);
static void corral_watch_query(corrald_buf_t *b, const char *name,
    const char *value);
static int corral_watch_event(void *ctx, const char *data, size_t len);
static void corral_watch_event_line(corral_run_t *run, const char *id,
    json_t *event);


static const corral_column_t  corral_watch_node_columns[] = {
    { "NODE", "node", CORRAL_PLAIN },
    { "STATUS", "status", CORRAL_PLAIN },
    { "INSTANCES", "instances", CORRAL_PLAIN },
    { "VERSION", "version", CORRAL_PLAIN },
    { "UP", "started_at", CORRAL_AGE },
    { "ADDRESS", "address", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


static const corral_column_t  corral_watch_gateway_columns[] = {
    { "WORKER", "worker", CORRAL_PLAIN },
    { "NODE", "node", CORRAL_PLAIN },
    { "STATE", "state", CORRAL_PLAIN },
    { "REVISION", "revision", CORRAL_PLAIN },
    { "CONNECTIONS", "connections", CORRAL_PLAIN },
    { "VERSION", "version", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


/* a service's logs; a name that is no service is an instance */

corral_exit_e
corral_watch_logs(corral_run_t *run)
{
    char            *name;
    size_t           i;
    corral_exit_e    code;
    corrald_buf_t    b;
    corral_answer_t  answer;

    static const char  *nouns[] = { "services", "instances" };

    name = corral_http_escape(run->args[0]);
    code = CORRAL_FAILED;

    for (i = 0; i < 2; i++) {
        corrald_buf_init(&b, 8192);
        corrald_buf_printf(&b, "/api/v1/%s/%s/logs", nouns[i], name);

        corral_watch_query(&b, "tail", run->tail ? run->tail : "100");
        corral_watch_query(&b, "since", run->since);
        corral_watch_query(&b, "level", run->level);
        corral_watch_query(&b, "stream", run->stream);

        if (run->follow) {
            corral_watch_query(&b, "follow", "true");
        }

        code = corral_http_stream(&run->http, b.data,
                                  run->format == CORRAL_JSON
                                  ? "application/x-ndjson" : "text/plain",
                                  NULL, corral_watch_print, NULL, &answer);

        corrald_buf_free(&b);

        if (code != CORRAL_NOT_FOUND || i == 1) {
            break;
        }

        corral_http_free(&answer);
    }

    if (code == CORRAL_NOT_FOUND) {
        corral_output_error("there is no service or instance \"%s\"",
                            run->args[0]);

    } else if (code != CORRAL_OK) {
        corral_api_refused(&answer, code);
    }

    corral_http_free(&answer);
    free(name);

    return code;
}


static int
corral_watch_print(void *ctx, const char *data, size_t len)
{
    (void) ctx;

    return fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0 ? 0
                                                                      : -1;
}


static void
corral_watch_query(corrald_buf_t *b, const char *name, const char *value)
{
    char  *escaped;

    if (value == NULL) {
        return;
    }

    escaped = corral_http_escape(value);
    corrald_buf_printf(b, "%c%s=%s", strchr(b->data, '?') ? '&' : '?', name,
                       escaped);
    free(escaped);
}


corral_exit_e
corral_watch_nodes(corral_run_t *run)
{
    return corral_list(run, "/api/v1/nodes?limit=1000",
                       corral_watch_node_columns, "node");
}


corral_exit_e
corral_watch_gateways(corral_run_t *run)
{
    return corral_list(run, "/api/v1/gateways?limit=1000",
                       corral_watch_gateway_columns, "worker");
}


/* what came of an endless stream of lines so far */

typedef struct {
    corral_run_t    *run;
    corrald_buf_t    line;
    char             id[64];
} corral_watch_events_t;


corral_exit_e
corral_watch_events(corral_run_t *run)
{
    corral_exit_e           code;
    corral_answer_t         answer;
    corral_watch_events_t   w;

    memset(&w, 0, sizeof(corral_watch_events_t));

    w.run = run;
    corrald_buf_init(&w.line, 1024 * 1024);

    if (run->last_id) {
        snprintf(w.id, sizeof(w.id), "%s", run->last_id);
    }

    do {
        code = corral_http_stream(&run->http,
                                  run->watch ? "/api/v1/events"
                                  : "/api/v1/events?follow=false",
                                  "text/event-stream",
                                  w.id[0] ? w.id : NULL,
                                  corral_watch_event, &w, &answer);

        if (code != CORRAL_OK
            && !(run->watch && w.id[0] && code == CORRAL_UNREACHABLE))
        {
            corral_api_refused(&answer, code);
            corral_http_free(&answer);
            break;
        }

        corral_http_free(&answer);

        if (corral_output_closed()) {
            break;
        }

        /* the daemon may be restarting: go on behind the last event */

        if (run->watch) {
            corral_output_note("events: connection lost, trying again");
            sleep(1);
        }

    } while (run->watch);

    corrald_buf_free(&w.line);

    return code;
}


/* lines of server-sent events: "id:" and "data:" are what matters */

static int
corral_watch_event(void *ctx, const char *data, size_t len)
{
    json_t                 *event;
    size_t                  i;
    corral_watch_events_t  *w;

    w = ctx;

    for (i = 0; i < len; i++) {

        if (data[i] != '\n') {
            (void) corrald_buf_add(&w->line, &data[i], 1);
            continue;
        }

        if (strncmp(w->line.data, "id:", 3) == 0) {
            snprintf(w->id, sizeof(w->id), "%s",
                     w->line.data + 3 + strspn(w->line.data + 3, " "));

        } else if (strncmp(w->line.data, "data:", 5) == 0) {
            event = json_loads(w->line.data + 5, JSON_DECODE_ANY, NULL);

            if (event) {
                corral_watch_event_line(w->run, w->id, event);
                json_decref(event);
            }
        }

        corrald_buf_clear(&w->line);
    }

    return ferror(stdout) ? -1 : 0;
}


static void
corral_watch_event_line(corral_run_t *run, const char *id, json_t *event)
{
    char        *text;
    json_t      *data;
    const char  *type, *what, *time;

    if (run->format == CORRAL_JSON) {
        json_object_set_new(event, "event_id", json_string(id));
        corral_output_json(event, 0);
        return;
    }

    type = json_string_value(json_object_get(event, "type"));
    what = json_string_value(json_object_get(event, "id"));
    time = json_string_value(json_object_get(event, "time"));
    data = json_object_get(event, "data");

    text = data ? json_dumps(data, JSON_COMPACT|JSON_ENCODE_ANY) : NULL;

    printf("%-24s  %-18s  %-24s  %s\n", time ? time : id, type ? type : "-",
           what ? what : "-", text ? text : "");
    fflush(stdout);

    free(text);
}
