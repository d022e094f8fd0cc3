
/*
 * Why something is as it is: the chain from what is wanted to what is, each
 * link a sentence, and what comes next.
 */


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../model/state.h"
#include "../model/view.h"
#include "api.h"


typedef struct {
    corrald_rest_t   *r;
    json_t           *lines;
    json_t           *body;
} corrald_explain_t;


static void corrald_explain_service(corrald_rest_t *r,
    const corrald_entry_t *entry);
static void corrald_explain_instance(corrald_rest_t *r,
    const corrald_entry_t *entry);
static void corrald_explain_state(json_t *lines, const json_t *instance,
    const json_t *service);
static void corrald_explain_history(json_t *value, const char *err,
    void *data);
static void corrald_explain_line(json_t *lines, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static const char *corrald_explain_ago(const json_t *doc, const char *member,
    char *buf, size_t size);


void
corrald_explain_get(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_service(r->params[0]);

    if (entry) {
        corrald_explain_service(r, entry);
        return;
    }

    entry = corrald_store_get(CORRALD_INSTANCE, r->params[0]);

    if (entry) {
        corrald_explain_instance(r, entry);
        return;
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "there is no service "
                         "or instance \"%.64s\"", r->params[0]);
}


static void
corrald_explain_service(corrald_rest_t *r, const corrald_entry_t *entry)
{
    int                            managed;
    size_t                         i, ready, n;
    json_t                        *lines, *instances, *item;
    int64_t                        wanted;
    const char                    *name, *desired;
    corrald_status_e               status;
    corrald_state_count_t          count;

    const corrald_store_status_t  *store;

    lines = json_array();
    instances = corrald_instances_array(entry->id);
    name = corrald_doc_str(entry->doc, "name");
    desired = corrald_doc_str(entry->doc, "desired");
    wanted = corrald_doc_int(entry->doc, "replicas");
    store = corrald_store_status();

    managed = json_array_size(json_object_get(entry->doc, "command"))
              || *corrald_doc_str(entry->doc, "agent_factory_path");

    memset(&count, 0, sizeof(count));
    ready = 0;

    json_array_foreach(instances, i, item) {
        corrald_state_count(&count, item);
        ready += corrald_view_not_ready(item, entry->doc) == NULL;
    }

    status = corrald_state_status(entry->doc, &count);

    corrald_explain_line(lines, "Service %s is %s: %s.", name,
                         corrald_state_status_name(status),
                         corrald_state_status_text(status));

    if (corrald_doc_is_set(entry->doc, "delete_at")) {
        corrald_explain_line(lines, "It is being deleted and goes with its "
                             "last instance; %zu are left.", count.total);
    }

    if (managed) {
        corrald_explain_line(lines, "Wanted: %s, %lld instances of generation "
                             "%lld. There: %zu, of which %zu are ready.",
                             desired, (long long) wanted,
                             (long long) corrald_doc_int(entry->doc,
                                                         "generation"),
                             count.total, ready);

    } else {
        corrald_explain_line(lines, "Wanted: %s. It has no command: its "
                             "instances register themselves; %zu are there, "
                             "%zu are ready.", desired, count.total, ready);
    }

    if (!entry->trusted) {
        corrald_explain_line(lines, "Nothing is started: the document does "
                             "not carry the HMAC of this cluster's key "
                             "(hmac_key_file).");
    }

    if (!store->ready) {
        corrald_explain_line(lines, "The store cannot be reached, so this may "
                             "be stale: %s.", store->error);
    }

    json_array_foreach(instances, i, item) {
        corrald_explain_state(lines, item, entry->doc);
    }

    n = json_array_size(corrald_store_workers());

    if (n == 0) {
        corrald_explain_line(lines, "No gateway follows the registry: "
                             "nobody can reach the service through nginx.");
    }

    corrald_rest_json(r, 200, json_pack("{s:s, s:s, s:s, s:s, s:o}",
                      "kind", "service", "id", entry->id, "name", name,
                      "status", corrald_state_status_name(status),
                      "lines", lines));
    json_decref(instances);
}


static void
corrald_explain_instance(corrald_rest_t *r, const corrald_entry_t *entry)
{
    corrald_explain_t      *e;
    const corrald_entry_t  *service;

    service = corrald_store_get(CORRALD_SERVICE,
                                corrald_doc_str(entry->doc, "service_id"));

    e = corrald_alloc(1, sizeof(*e), "for a request");

    e->r = r;
    e->lines = json_array();

    corrald_explain_state(e->lines, entry->doc,
                          service ? service->doc : NULL);

    e->body = json_pack("{s:s, s:s, s:s, s:s, s:O}",
                        "kind", "instance", "id", entry->id,
                        "name", service ? corrald_doc_str(service->doc,
                                                          "name") : "",
                        "status", corrald_doc_str(entry->doc, "state"),
                        "lines", e->lines);

    corrald_store_history(entry->id, corrald_explain_history, e);
}


/* What one instance is, why, since when, and what comes next. */

static void
corrald_explain_state(json_t *lines, const json_t *instance,
    const json_t *service)
{
    int          state;
    char         ago[32];
    const char  *id, *code, *reason, *message, *not_ready, *node;

    id = corrald_doc_str(instance, "instance_id");
    code = corrald_doc_str(instance, "reason");
    reason = corrald_state_reason(code);
    message = corrald_doc_str(instance, "message");
    node = corrald_doc_str(instance, "node");
    state = corrald_state_parse(corrald_doc_str(instance, "state"));

    corrald_explain_line(lines, "Instance %s on node %s is %s (%s) for %s%s%s"
                         "%s%s%s.", id, node,
                         corrald_doc_str(instance, "state"),
                         state == -1 ? "" : corrald_state_text(state),
                         corrald_explain_ago(instance, "state_at", ago,
                                             sizeof(ago)),
                         reason ? ": " : "", reason ? reason : "",
                         *message ? ", \"" : "", message,
                         *message ? "\"" : "");

    if (state == CORRALD_STATE_running) {
        corrald_explain_line(lines, "  Its health is %s.",
                             corrald_doc_str(instance, "health"));
    }

    not_ready = service ? corrald_view_not_ready(instance, service)
                        : "its service is gone";

    if (not_ready && state == CORRALD_STATE_running) {
        corrald_explain_line(lines, "  Gateways do not choose it: %s.",
                             not_ready);
    }

    if (!corrald_store_node_alive(node)) {
        corrald_explain_line(lines, "  Its node has no lease: nothing new is "
                             "heard of it.");
    }

    if (corrald_doc_bool(instance, "maintenance")) {
        corrald_explain_line(lines, "  Its operator has paused it.");
    }

    if (corrald_doc_bool(instance, "evict")) {
        corrald_explain_line(lines, "  It is to be stopped and removed.");
    }

    if (corrald_doc_is_set(instance, "exit_signal")) {
        corrald_explain_line(lines, "  Its last process was ended by signal "
                             "%lld%s.",
                             (long long) corrald_doc_int(instance,
                                                         "exit_signal"),
                             corrald_doc_bool(instance, "oom")
                                 ? ", for want of memory" : "");

    } else if (corrald_doc_is_set(instance, "exit_code")) {
        corrald_explain_line(lines, "  Its last process ended with code "
                             "%lld.",
                             (long long) corrald_doc_int(instance,
                                                         "exit_code"));
    }

    if (corrald_doc_int(instance, "restart_count")) {
        corrald_explain_line(lines, "  It was restarted %lld times.",
                             (long long) corrald_doc_int(instance,
                                                         "restart_count"));
    }

    if (corrald_doc_is_set(instance, "retry_at")) {
        corrald_explain_line(lines, "  The next try is at %s.",
                             corrald_doc_str(instance, "retry_at"));
    }
}


static void
corrald_explain_history(json_t *value, const char *err, void *data)
{
    size_t              i;
    json_t             *item;
    const char         *reason, *message;
    corrald_explain_t  *e;

    e = data;

    json_array_foreach(value, i, item) {
        reason = corrald_state_reason(corrald_doc_str(item, "reason"));
        message = corrald_doc_str(item, "message");

        corrald_explain_line(e->lines, "  %s %s, %s%s%s%s%s",
                             corrald_doc_str(item, "at"),
                             corrald_doc_str(item, "state"),
                             corrald_doc_str(item, "health"),
                             reason ? ": " : "", reason ? reason : "",
                             *message ? ", " : "", message);
    }

    if (value) {
        json_object_set(e->body, "history", value);
    }

    corrald_rest_json(e->r, 200, e->body);

    json_decref(e->lines);
    free(e);
}


static void
corrald_explain_line(json_t *lines, const char *fmt, ...)
{
    char     text[2048];
    json_t  *line;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    line = json_string(text);

    if (line) {
        json_array_append_new(lines, line);
    }
}


/* "12 s", "5 min", "3 h", "2 d" */

static const char *
corrald_explain_ago(const json_t *doc, const char *member, char *buf,
    size_t size)
{
    int64_t  s;

    s = corrald_doc_time(doc, member);
    s = s ? (corrald_clock_ms() - s) / 1000 : 0;

    if (s < 120) {
        snprintf(buf, size, "%lld s", (long long) (s < 0 ? 0 : s));

    } else if (s < 7200) {
        snprintf(buf, size, "%lld min", (long long) s / 60);

    } else if (s < 172800) {
        snprintf(buf, size, "%lld h", (long long) s / 3600);

    } else {
        snprintf(buf, size, "%lld d", (long long) s / 86400);
    }

    return buf;
}
