
/*
 * Commands for the WebSockets of the whole cluster: to list them, to close them
 * and to drain what they are connected to.  The first two choose by the same
 * options, which are the API's filter.
 */


#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#include "corral.h"


/* an option and the member of a filter that it stands for */

typedef struct {
    const char   *name;
    size_t        offset;            /* of the member of corral_run_t */
} corral_connections_filter_t;


static corral_exit_e corral_connections_follow(corral_run_t *run,
    const char *id);
static json_t *corral_connections_filter(corral_run_t *run);
static json_t *corral_connections_body(corral_run_t *run, int dry_run);
static corral_exit_e corral_connections_post(corral_run_t *run, int dry_run,
    corral_answer_t *answer);
static corral_exit_e corral_connections_sure(corral_run_t *run);
static corral_exit_e corral_connections_report(corral_run_t *run,
    json_t *body);


static const corral_connections_filter_t  corral_connections_filters[] = {
    { "service", offsetof(corral_run_t, service) },
    { "instance_id", offsetof(corral_run_t, instance) },
    { "session_id", offsetof(corral_run_t, session) },
    { "tenant", offsetof(corral_run_t, tenant) },
    { "subject", offsetof(corral_run_t, subject) },
    { "client_ip", offsetof(corral_run_t, client_ip) },
    { "gateway", offsetof(corral_run_t, of_gateway) },
    { "worker", offsetof(corral_run_t, of_worker) },
    { "age", offsetof(corral_run_t, age) },
    { "idle", offsetof(corral_run_t, idle) },
    { NULL, 0 }
};


static const corral_column_t  corral_connections_columns[] = {
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


corral_exit_e
corral_connections_list(corral_run_t *run)
{
    char           *escaped;
    json_t         *filter, *value;
    const char     *name;
    corral_exit_e   code;
    corrald_buf_t   path;

    filter = corral_connections_filter(run);

    corrald_buf_init(&path, 16384);
    corrald_buf_str(&path, "/api/v1/connections?limit=1000");

    json_object_foreach(filter, name, value) {
        escaped = corral_http_escape(json_string_value(value));
        corrald_buf_printf(&path, "&%s=%s", name, escaped);
        free(escaped);
    }

    json_decref(filter);

    code = corral_list(run, path.data, corral_connections_columns,
                       "connection_id");
    corrald_buf_free(&path);

    return code;
}


corral_exit_e
corral_connections_close(corral_run_t *run)
{
    char            *last;
    json_t          *filter;
    size_t           members;
    corral_exit_e    code;
    corral_answer_t  answer;

    filter = corral_connections_filter(run);
    members = json_object_size(filter);
    json_decref(filter);

    if (run->nargs == 0 && members == 0 && !run->all) {
        corral_output_error("which? a connection, options that choose, or "
                            "--all");
        return CORRAL_USAGE;
    }

    if (run->code) {
        (void) strtol(run->code, &last, 10);

        if (*last || last == run->code) {
            corral_output_error("--code is \"%s\", it must be a number",
                                run->code);
            return CORRAL_USAGE;
        }
    }

    if (run->nargs == 0 && !run->dry_run) {
        code = corral_connections_sure(run);

        if (code != CORRAL_OK) {
            return code;
        }
    }

    code = corral_connections_post(run, run->dry_run, &answer);

    if (code == CORRAL_OK) {
        code = corral_connections_report(run, answer.body);
    }

    corral_http_free(&answer);

    return code;
}


corral_exit_e
corral_connections_drain(corral_run_t *run)
{
    char            *name, path[512], id[64];
    long             rate;
    json_t          *body;
    const char      *what, *noun, *last;
    corral_exit_e    code;
    corral_answer_t  answer;

    what = run->service ? run->service
                        : run->instance ? run->instance : run->of_gateway;
    noun = run->service ? "services"
                        : run->instance ? "instances" : "gateways";

    if (!!run->service + !!run->instance + !!run->of_gateway != 1) {
        corral_output_error("which? one of --service, --instance and "
                            "--of-gateway");
        return CORRAL_USAGE;
    }

    body = json_object();

    if (run->rate) {
        rate = strtol(run->rate, (char **) &last, 10);

        if (*last || last == run->rate) {
            corral_output_error("--rate is \"%s\", it must be a number",
                                run->rate);
            json_decref(body);
            return CORRAL_USAGE;
        }

        json_object_set_new(body, "rate", json_integer(rate));
    }

    if (run->deadline) {
        json_object_set_new(body, "deadline", json_string(run->deadline));
    }

    if (run->retry_after) {
        json_object_set_new(body, "retry_after",
                            json_string(run->retry_after));
    }

    if (run->reason) {
        json_object_set_new(body, "reason", json_string(run->reason));
    }

    name = corral_http_escape(what);
    snprintf(path, sizeof(path), "/api/v1/%s/%.300s/actions/drain", noun,
             name);
    free(name);

    code = corral_http_request(&run->http, "POST", path, body, &answer);
    json_decref(body);

    snprintf(id, sizeof(id), "%s",
             code == CORRAL_OK ? json_string_value(
                 json_object_get(answer.body, "operation_id")) : "");

    if (code != CORRAL_OK) {
        corral_api_refused(&answer, code);

    } else if (run->format == CORRAL_JSON && run->wait == NULL) {
        corral_output_json(answer.body, 1);

    } else {
        corral_output_note("%s: draining, operation %s", what, id);
    }

    corral_http_free(&answer);

    return code == CORRAL_OK && run->wait
           ? corral_connections_follow(run, id) : code;
}


corral_exit_e
corral_connections_rebalance(corral_run_t *run)
{
    char            *name, path[512];
    json_t          *body;
    json_int_t       planned, movable, silent;
    corral_exit_e    code;
    corral_answer_t  answer;

    name = corral_http_escape(run->args[0]);
    snprintf(path, sizeof(path), "/api/v1/services/%.300s/actions/rebalance",
             name);
    free(name);

    body = json_pack("{s:b}", "dry_run", run->dry_run != 0);
    code = corral_http_request(&run->http, "POST", path, body, &answer);
    json_decref(body);

    if (code != CORRAL_OK) {
        corral_api_refused(&answer, code);

    } else if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);

    } else {
        body = answer.body;
        planned = json_integer_value(json_object_get(body, "planned"));
        movable = json_integer_value(json_object_get(body, "movable"));
        silent = json_integer_value(json_object_get(body, "workers"))
                 - json_integer_value(json_object_get(body, "answered"));

        corral_output_note("%s: %lld connections %s to other instances, "
                           "%lld could", run->args[0], (long long) planned,
                           run->dry_run ? "would go" : "go",
                           (long long) movable);

        if (silent > 0) {
            corral_output_note("%lld workers did not answer",
                               (long long) silent);
        }
    }

    corral_http_free(&answer);

    return code;
}


/* looks at the operation until it ends or --wait is over */

static corral_exit_e
corral_connections_follow(corral_run_t *run, const char *id)
{
    long             seconds;
    char             path[128];
    const char      *state;
    corral_exit_e    code;
    corral_answer_t  answer;

    snprintf(path, sizeof(path), "/api/v1/operations/%s?wait=1s", id);

    for (seconds = strtol(run->wait, NULL, 10); /* void */ ; seconds--) {
        code = corral_api_get(run, path, &answer);

        if (code != CORRAL_OK) {
            corral_http_free(&answer);
            return code;
        }

        state = json_string_value(json_object_get(answer.body, "state"));

        corral_output_note("%s", json_string_value(
                               json_object_get(answer.body, "message")));

        if (strcmp(state, "running") != 0 || seconds <= 1) {
            break;
        }

        corral_http_free(&answer);
    }

    code = strcmp(state, "succeeded") == 0 ? CORRAL_OK
           : strcmp(state, "running") == 0 ? CORRAL_TIMEOUT : CORRAL_FAILED;

    if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);
    }

    corral_http_free(&answer);

    return code;
}


static json_t *
corral_connections_filter(corral_run_t *run)
{
    json_t                             *filter;
    const char                         *value;
    const corral_connections_filter_t  *f;

    filter = json_object();

    for (f = corral_connections_filters; f->name; f++) {
        value = *(const char **) ((char *) run + f->offset);

        if (value) {
            json_object_set_new(filter, f->name, json_string(value));
        }
    }

    return filter;
}


static json_t *
corral_connections_body(corral_run_t *run, int dry_run)
{
    json_t  *body, *filter;

    filter = corral_connections_filter(run);

    if (run->nargs) {
        json_object_set_new(filter, "connection_id",
                            json_string(run->args[0]));
    }

    body = json_pack("{s:o,s:b,s:b}", "filter", filter, "dry_run", dry_run,
                     "all", run->all);

    if (run->code) {
        json_object_set_new(body, "code",
                            json_integer(strtol(run->code, NULL, 10)));
    }

    if (run->reason) {
        json_object_set_new(body, "reason", json_string(run->reason));
    }

    return body;
}


/* says what is wrong; the answer is to be freed */

static corral_exit_e
corral_connections_post(corral_run_t *run, int dry_run,
    corral_answer_t *answer)
{
    json_t         *body;
    corral_exit_e   code;

    body = corral_connections_body(run, dry_run);

    code = corral_http_request(&run->http, "POST",
                               "/api/v1/connections/actions/close", body,
                               answer);
    json_decref(body);

    if (code != CORRAL_OK) {
        corral_api_refused(answer, code);
    }

    return code;
}


/* asks a person, who is told how many; a program must say --yes */

static corral_exit_e
corral_connections_sure(corral_run_t *run)
{
    char             line[16];
    long long        n;
    corral_exit_e    code;
    corral_answer_t  answer;

    if (run->yes) {
        return CORRAL_OK;
    }

    if (!isatty(STDIN_FILENO)) {
        corral_output_error("close of several connections needs --yes when "
                            "nobody can be asked; --dry-run says how many");
        return CORRAL_FAILED;
    }

    code = corral_connections_post(run, 1, &answer);
    n = json_integer_value(json_object_get(answer.body, "matched"));
    corral_http_free(&answer);

    if (code != CORRAL_OK) {
        return code;
    }

    fprintf(stderr, "close %lld connections? [y/N] ", n);

    return fgets(line, sizeof(line), stdin) != NULL
           && (line[0] == 'y' || line[0] == 'Y') ? CORRAL_OK : CORRAL_FAILED;
}


static corral_exit_e
corral_connections_report(corral_run_t *run, json_t *body)
{
    size_t     missing;
    long long  matched;

    matched = json_integer_value(json_object_get(body, "matched"));
    missing = json_array_size(json_object_get(body, "missing"))
              + json_array_size(json_object_get(body, "errors"));

    if (run->format == CORRAL_JSON) {
        corral_output_json(body, 1);

    } else if (run->dry_run) {
        corral_output_note("%lld connections match", matched);

    } else {
        corral_output_note("%lld closed, %lld of them got the close frame",
            json_integer_value(json_object_get(body, "closed")),
            json_integer_value(json_object_get(body, "sent")));
    }

    if (missing) {
        corral_output_error("%zu of %lld workers did not do it", missing,
            json_integer_value(json_object_get(body, "workers")));
        return CORRAL_FAILED;
    }

    if (run->nargs && matched == 0) {
        corral_output_error("there is no connection \"%s\"", run->args[0]);
        return CORRAL_NOT_FOUND;
    }

    return CORRAL_OK;
}
