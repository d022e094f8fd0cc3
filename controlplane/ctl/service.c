
/*
 * Commands about services and their instances: show, act, wait.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "corral.h"


#define CORRAL_SERVICE_WAIT  60      /* seconds, unless --wait says */


static corral_exit_e corral_service_act(corral_run_t *run, const char *action,
    const char *done);
static corral_exit_e corral_service_act_one(corral_run_t *run,
    const char *name, const char *action, const char *done);
static corral_exit_e corral_service_act_many(corral_run_t *run,
    const char *action);
static int corral_service_sure(corral_run_t *run, const char *what);
static void corral_service_drains(json_t *service, const char *name,
    char *last, size_t size);
static int corral_service_settled(json_t *service, const char **why);


static const corral_column_t  corral_service_columns[] = {
    { "SERVICE", "name", CORRAL_PLAIN },
    { "STATUS", "status", CORRAL_PLAIN },
    { "READY", "ready", CORRAL_PLAIN },
    { "WANTED", "replicas", CORRAL_PLAIN },
    { "WAITING", "waiting", CORRAL_PLAIN },
    { "RESTARTS", "restart_count", CORRAL_PLAIN },
    { "AGE", "created_at", CORRAL_AGE },
    { "TAGS", "tags", CORRAL_LIST },
    { "ENDPOINT", "endpoint", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


static const corral_column_t  corral_instance_columns[] = {
    { "INSTANCE", "instance_id", CORRAL_PLAIN },
    { "STATE", "state", CORRAL_PLAIN },
    { "HEALTH", "health", CORRAL_PLAIN },
    { "PID", "pid", CORRAL_PLAIN },
    { "RESTARTS", "restart_count", CORRAL_PLAIN },
    { "SINCE", "state_at", CORRAL_AGE },
    { "NODE", "node", CORRAL_PLAIN },
    { "LOAD", "load.agent", CORRAL_PLAIN },
    { "REASON", "reason", CORRAL_PLAIN },
    { "ADDRESS", "address", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


corral_exit_e
corral_service_ps(corral_run_t *run)
{
    int             instances;
    char           *path;
    corral_exit_e   code;

    if (run->nargs + run->all + !!run->labels > 1) {
        corral_output_error("a name, --all and --labels exclude each other");
        return CORRAL_USAGE;
    }

    if (run->nargs) {
        path = corral_path("/api/v1/services/%s/instances?limit=1000",
                                   run->args[0]);

    } else if (run->all) {
        path = strdup("/api/v1/instances?limit=1000");

    } else if (run->labels) {
        path = corral_path("/api/v1/services?limit=1000&labels=%s",
                                   run->labels);

    } else {
        path = strdup("/api/v1/services?limit=1000");
    }

    instances = run->nargs || run->all;

    code = corral_list(run, path, instances ? corral_instance_columns
                                            : corral_service_columns,
                       instances ? "instance_id" : "name");
    free(path);

    return code;
}


/* a name is a service first; what has no service of that name, an instance */

corral_exit_e
corral_service_describe(corral_run_t *run)
{
    char            *path;
    json_t          *list;
    corral_exit_e    code;
    corral_answer_t  answer;

    path = corral_path("/api/v1/services/%s", run->args[0]);
    code = corral_http_request(&run->http, "GET", path, NULL, &answer);
    free(path);

    if (code == CORRAL_NOT_FOUND) {
        corral_http_free(&answer);

        path = corral_path("/api/v1/instances/%s", run->args[0]);
        code = corral_http_request(&run->http, "GET", path, NULL, &answer);
        free(path);

        if (code == CORRAL_NOT_FOUND) {
            corral_output_error("there is no service or instance \"%s\"",
                                run->args[0]);
            corral_http_free(&answer);
            return code;
        }

        run->nargs = 0;                     /* has no instances to list */
    }

    if (code != CORRAL_OK) {
        corral_api_refused(&answer, code);
        corral_http_free(&answer);
        return code;
    }

    if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);
        corral_http_free(&answer);
        return CORRAL_OK;
    }

    corral_output_object(answer.body);
    corral_http_free(&answer);

    if (run->nargs == 0) {
        return CORRAL_OK;
    }

    path = corral_path("/api/v1/services/%s/instances?limit=1000",
                               run->args[0]);
    list = corral_list_get(run, path, &code);
    free(path);

    if (list) {
        printf("\n");
        corral_output_table(corral_instance_columns,
                            json_object_get(list, "items"));
        json_decref(list);
    }

    return code;
}


corral_exit_e
corral_service_start(corral_run_t *run)
{
    return corral_service_act(run, "start", "starting");
}


corral_exit_e
corral_service_stop(corral_run_t *run)
{
    return corral_service_act(run, "stop", "stopping");
}


corral_exit_e
corral_service_restart(corral_run_t *run)
{
    return corral_service_act(run, "restart", "restarting");
}


corral_exit_e
corral_service_pause(corral_run_t *run)
{
    return corral_service_act(run, "pause", "paused");
}


corral_exit_e
corral_service_resume(corral_run_t *run)
{
    return corral_service_act(run, "resume", "resumed");
}


static corral_exit_e
corral_service_act(corral_run_t *run, const char *action, const char *done)
{
    int            i;
    corral_exit_e  code, worst;

    if (run->all || run->labels) {

        if (run->nargs || (run->all && run->labels)) {
            corral_output_error("names, --all and --labels exclude each "
                                "other");
            return CORRAL_USAGE;
        }

        if (!corral_service_sure(run, action)) {
            return CORRAL_FAILED;
        }

        return corral_service_act_many(run, action);
    }

    if (run->nargs == 0) {
        corral_output_error("usage: corral %s SERVICE..., --all or --labels",
                            action);
        return CORRAL_USAGE;
    }

    worst = CORRAL_OK;

    for (i = 0; i < run->nargs; i++) {
        code = corral_service_act_one(run, run->args[i], action, done);
        worst = worst ? worst : code;
    }

    for (i = 0; run->wait && worst == CORRAL_OK && i < run->nargs; i++) {
        worst = corral_service_wait_for(run, run->args[i]);
    }

    return worst;
}


static corral_exit_e
corral_service_act_one(corral_run_t *run, const char *name,
    const char *action, const char *done)
{
    char            *path, fmt[128];
    corral_exit_e    code;
    corral_answer_t  answer;

    snprintf(fmt, sizeof(fmt), "/api/v1/services/%%s/actions/%s", action);

    path = corral_path(fmt, name);
    code = corral_http_request(&run->http, "POST", path, NULL, &answer);
    free(path);

    if (code != CORRAL_OK) {
        corral_output_error("%s: %s", name, answer.error);

    } else if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);

    } else {
        corral_output_note("%s: %s", name, done);
    }

    corral_http_free(&answer);

    return code;
}


static corral_exit_e
corral_service_act_many(corral_run_t *run, const char *action)
{
    char             path[64];
    size_t           i;
    json_t          *body, *items, *item, *labels;
    const char      *name, *detail;
    corral_exit_e    code;
    corral_answer_t  answer;

    body = json_object();

    if (run->labels) {
        labels = json_string(run->labels);
        json_object_set_new(body, "labels", labels);

    } else {
        json_object_set_new(body, "all", json_true());
    }

    snprintf(path, sizeof(path), "/api/v1/services/actions/%s", action);

    code = corral_http_request(&run->http, "POST", path, body, &answer);
    json_decref(body);

    if (code != CORRAL_OK) {
        corral_api_refused(&answer, code);
        corral_http_free(&answer);
        return code;
    }

    if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);
    }

    items = json_object_get(answer.body, "items");

    if (json_array_size(items) == 0) {
        corral_output_note("no service is chosen: nothing to %s", action);
    }

    json_array_foreach(items, i, item) {
        name = json_string_value(json_object_get(item, "name"));
        detail = json_string_value(json_object_get(item, "detail"));

        if (json_integer_value(json_object_get(item, "status")) >= 400) {
            code = CORRAL_FAILED;
            corral_output_error("%s: %s", name ? name : "?",
                                detail ? detail : "failed");

        } else {
            corral_output_note("%s: %s", name ? name : "?", action);
        }
    }

    for (i = 0; run->wait && code == CORRAL_OK && i < json_array_size(items);
         i++)
    {
        item = json_array_get(items, i);
        name = json_string_value(json_object_get(item, "name"));

        if (name) {
            code = corral_service_wait_for(run, name);
        }
    }

    corral_http_free(&answer);

    return code;
}


/* some actions on several services are asked for */

static int
corral_service_sure(corral_run_t *run, const char *what)
{
    if (strcmp(what, "stop") != 0 && strcmp(what, "restart") != 0
        && strcmp(what, "delete") != 0)
    {
        return 1;
    }

    return corral_sure(run, what,
                       run->nargs ? "and forget these services"
                                  : (run->all ? "all services"
                                              : run->labels));
}


int
corral_sure(corral_run_t *run, const char *what, const char *whom)
{
    char  line[16];

    if (run->yes) {
        return 1;
    }

    if (!isatty(STDIN_FILENO)) {
        corral_output_error("\"%s %s\" needs --yes when nobody can be asked",
                            what, whom);
        return 0;
    }

    fprintf(stderr, "%s %s? [y/N] ", what, whom);

    return fgets(line, sizeof(line), stdin) != NULL
           && (line[0] == 'y' || line[0] == 'Y');
}


corral_exit_e
corral_service_scale(corral_run_t *run)
{
    char            *path, *last;
    long             n;
    json_t          *body;
    corral_exit_e    code;
    corral_answer_t  answer;

    errno = 0;
    n = strtol(run->args[1], &last, 10);

    if (*last != '\0' || last == run->args[1] || n < 0 || errno) {
        corral_output_error("\"%s\" is not a number of replicas",
                            run->args[1]);
        return CORRAL_USAGE;
    }

    body = json_pack("{s:I}", "replicas", (json_int_t) n);

    path = corral_path("/api/v1/services/%s/scale", run->args[0]);
    code = corral_http_request(&run->http, "PUT", path, body, &answer);
    free(path);
    json_decref(body);

    if (code != CORRAL_OK) {
        corral_api_refused(&answer, code);

    } else if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);

    } else {
        corral_output_note("%s: %ld wanted", run->args[0], n);
    }

    corral_http_free(&answer);

    if (code == CORRAL_OK && run->wait) {
        return corral_service_wait_for(run, run->args[0]);
    }

    return code;
}


corral_exit_e
corral_service_delete(corral_run_t *run)
{
    int              i;
    char            *path;
    corral_exit_e    code, worst;
    corral_answer_t  answer;

    if (!corral_service_sure(run, "delete")) {
        return CORRAL_FAILED;
    }

    worst = CORRAL_OK;

    for (i = 0; i < run->nargs; i++) {
        path = corral_path("/api/v1/services/%s", run->args[i]);
        code = corral_http_request(&run->http, "DELETE", path, NULL, &answer);
        free(path);

        if (code != CORRAL_OK) {
            corral_output_error("%s: %s", run->args[i], answer.error);
            worst = worst ? worst : code;

        } else {

            if (run->format == CORRAL_JSON) {
                corral_output_json(answer.body, 1);
            }

            corral_output_note("%s: %s", run->args[i],
                               answer.status == 202
                               ? "is deleted when its open connections have "
                                 "ended, or after drain_timeout" : "deleted");
        }

        corral_http_free(&answer);
    }

    return worst;
}


corral_exit_e
corral_service_wait(corral_run_t *run)
{
    int            i;
    corral_exit_e  code;

    for (i = 0; i < run->nargs; i++) {
        code = corral_service_wait_for(run, run->args[i]);

        if (code != CORRAL_OK) {
            return code;
        }
    }

    return CORRAL_OK;
}


corral_exit_e
corral_service_wait_for(corral_run_t *run, const char *name)
{
    int              done;
    char            *path, last[256];
    time_t           until;
    const char      *why;
    corral_exit_e    code;
    corral_answer_t  answer;

    last[0] = '\0';
    until = time(NULL) + (run->wait ? strtol(run->wait, NULL, 10)
                                    : CORRAL_SERVICE_WAIT);
    path = corral_path("/api/v1/services/%s", name);

    for ( ;; ) {
        code = corral_http_request(&run->http, "GET", path, NULL, &answer);

        if (code != CORRAL_OK) {
            corral_output_error("%s: %s", name, answer.error);
            break;
        }

        done = corral_service_settled(answer.body, &why);

        if (done > 0) {
            corral_output_note("%s: %s", name, why);
            break;
        }

        if (done < 0) {
            corral_output_error("%s: %s; \"corral explain %s\" says why",
                                name, why, name);
            code = CORRAL_UNHEALTHY;
            break;
        }

        if (time(NULL) >= until) {
            corral_output_error("%s: still %s; \"corral explain %s\" says "
                                "why", name, why, name);
            code = CORRAL_TIMEOUT;
            break;
        }

        corral_service_drains(answer.body, name, last, sizeof(last));
        corral_http_free(&answer);
        usleep(100000);
    }

    if (code == CORRAL_OK && run->format == CORRAL_JSON
        && run->command->run == corral_service_wait)
    {
        corral_output_json(answer.body, 1);
    }

    corral_http_free(&answer);
    free(path);

    return code;
}


/* what takes long is said, once: open connections may stay to the end */

static void
corral_service_drains(json_t *service, const char *name, char *last,
    size_t size)
{
    char         text[256], seconds[32];
    json_t      *timeout;
    json_int_t   draining;

    draining = json_integer_value(json_object_get(
                          json_object_get(service, "instances"), "draining"));
    timeout = json_object_get(service, "drain_timeout");

    if (draining == 0) {
        return;
    }

    snprintf(seconds, sizeof(seconds), "%llds",
             (long long) json_integer_value(timeout));
    snprintf(text, sizeof(text), "%.64s: %lld draining, open connections have "
             "up to %.24s to end (drain_timeout)", name, (long long) draining,
             json_is_string(timeout) ? json_string_value(timeout) : seconds);

    if (strcmp(text, last) != 0) {
        corral_output_note("%s", text);
        snprintf(last, size, "%s", text);
    }
}


/*
 * 1: as wanted, 0: not yet, -1: it will not be.  After a restart or a change of
 * the process those that run already are not what is wanted.
 */

static int
corral_service_settled(json_t *service, const char **why)
{
    json_int_t   ready, replicas, outdated;
    const char  *status, *desired;

    status = json_string_value(json_object_get(service, "status"));
    desired = json_string_value(json_object_get(service, "desired"));
    ready = json_integer_value(json_object_get(service, "ready"));
    replicas = json_integer_value(json_object_get(service, "replicas"));

    outdated = json_integer_value(json_object_get(
                          json_object_get(service, "instances"), "outdated"));

    *why = status ? status : "unknown";

    if (status == NULL || desired == NULL) {
        return 0;
    }

    if (strcmp(desired, "stopped") == 0) {
        return strcmp(status, "stopped") == 0;
    }

    if (strcmp(desired, "paused") == 0) {
        return 1;
    }

    if (strcmp(status, "error") == 0) {
        return -1;
    }

    if (outdated) {
        *why = "replacing instances";
        return 0;
    }

    return strcmp(status, "running") == 0 && ready >= replicas;
}


corral_exit_e
corral_service_explain(corral_run_t *run)
{
    char            *path;
    size_t           i;
    json_t          *lines, *line;
    corral_exit_e    code;
    corral_answer_t  answer;

    path = corral_path("/api/v1/explain/%s", run->args[0]);
    code = corral_api_get(run, path, &answer);
    free(path);

    if (code == CORRAL_OK) {
        lines = json_object_get(answer.body, "lines");

        if (run->format == CORRAL_JSON || !json_is_array(lines)) {
            corral_output_json(answer.body, 1);

        } else {
            json_array_foreach(lines, i, line) {
                printf("%s\n", json_string_value(line));
            }
        }
    }

    corral_http_free(&answer);

    return code;
}


char *
corral_path(const char *fmt, const char *name)
{
    char    *escaped, *path;
    size_t   size;

    escaped = corral_http_escape(name);
    size = strlen(fmt) + strlen(escaped) + 1;
    path = malloc(size);

    if (path == NULL) {
        corral_output_error("out of memory");
        exit(CORRAL_FAILED);
    }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(path, size, fmt, escaped);
#pragma GCC diagnostic pop

    free(escaped);

    return path;
}
