
/*
 * Commands that look on: logs, events, connections, nodes, gateways; and the
 * one that closes connections.
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


static const corral_column_t  corral_watch_connection_columns[] = {
    { "CONNECTION", "connection_id", CORRAL_PLAIN },
    { "SERVICE", "service", CORRAL_PLAIN },
    { "INSTANCE", "instance_id", CORRAL_PLAIN },
    { "CLIENT", "client_ip", CORRAL_PLAIN },
    { "AGE", "connected_at", CORRAL_AGE },
    { "IDLE", "last_activity", CORRAL_AGE },
    { "IN", "messages_in", CORRAL_PLAIN },
    { "OUT", "messages_out", CORRAL_PLAIN },
    { "RECEIVED", "bytes_received", CORRAL_BYTES },
    { "SENT", "bytes_sent", CORRAL_BYTES },
    { "PATH", "path", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


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
        corrald_buf_printf(&b, "/api/v1/%s/%s/logs?tail=%s", nouns[i], name,
                           run->tail ? run->tail : "100");

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
        corral_refused(&answer, code);
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
corral_watch_connections(corral_run_t *run)
{
    corral_exit_e    code;
    corrald_buf_t    b;
    corral_answer_t  answer;

    corrald_buf_init(&b, 8192);
    corrald_buf_str(&b, "/api/v1/connections?limit=1000");

    corral_watch_query(&b, "service", run->service);
    corral_watch_query(&b, "instance_id", run->instance);

    code = corral_get(run, b.data, &answer);

    if (code == CORRAL_OK) {
        corral_show_list(run, answer.body, corral_watch_connection_columns,
                         "connection_id");
    }

    corrald_buf_free(&b);
    corral_http_free(&answer);

    return code;
}


corral_exit_e
corral_watch_close(corral_run_t *run)
{
    json_t          *filter, *body;
    corral_exit_e    code;
    corral_answer_t  answer;

    if (run->nargs == 0 && run->service == NULL && run->instance == NULL) {
        corral_output_error("which? a connection, --service or --instance");
        return CORRAL_USAGE;
    }

    filter = json_object();

    if (run->nargs) {
        json_object_set_new(filter, "connection_id",
                            json_string(run->args[0]));
    }

    if (run->service) {
        json_object_set_new(filter, "service", json_string(run->service));
    }

    if (run->instance) {
        json_object_set_new(filter, "instance_id",
                            json_string(run->instance));
    }

    body = json_pack("{s:o,s:b}", "filter", filter, "dry_run", run->dry_run);

    if (run->code) {
        json_object_set_new(body, "code",
                            json_integer(strtol(run->code, NULL, 10)));
    }

    if (run->reason) {
        json_object_set_new(body, "reason", json_string(run->reason));
    }

    code = corral_http_request(&run->http, "POST",
                               "/api/v1/connections/actions/close", body,
                               &answer);
    json_decref(body);

    if (code != CORRAL_OK) {
        corral_refused(&answer, code);

    } else if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);

    } else if (run->dry_run) {
        corral_output_note("%lld connections match",
            json_integer_value(json_object_get(answer.body, "matched")));

    } else {
        corral_output_note("%lld closed, %lld of them got the close frame",
            json_integer_value(json_object_get(answer.body, "closed")),
            json_integer_value(json_object_get(answer.body, "sent")));

        if (run->nargs
            && json_integer_value(json_object_get(answer.body, "matched"))
               == 0)
        {
            corral_output_error("there is no connection \"%s\"",
                                run->args[0]);
            code = CORRAL_NOT_FOUND;
        }
    }

    corral_http_free(&answer);

    return code;
}


corral_exit_e
corral_watch_nodes(corral_run_t *run)
{
    corral_exit_e    code;
    corral_answer_t  answer;

    code = corral_get(run, "/api/v1/nodes", &answer);

    if (code == CORRAL_OK) {
        corral_show_list(run, answer.body, corral_watch_node_columns, "node");
    }

    corral_http_free(&answer);

    return code;
}


corral_exit_e
corral_watch_gateways(corral_run_t *run)
{
    corral_exit_e    code;
    corral_answer_t  answer;

    code = corral_get(run, "/api/v1/gateways", &answer);

    if (code == CORRAL_OK) {
        corral_show_list(run, answer.body, corral_watch_gateway_columns,
                         "worker");
    }

    corral_http_free(&answer);

    return code;
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
            corral_refused(&answer, code);
            corral_http_free(&answer);
            break;
        }

        corral_http_free(&answer);

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
