
/*
 * What a commit tells people: the events of its documents, and of each service
 * that it touches the derived status, when that becomes another one.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/diff.h"
#include "../model/state.h"
#include "commit.h"


typedef struct {
    corrald_commit_t       *commit;
    corrald_state_count_t   before;
    corrald_state_count_t   after;
} corrald_commit_count_t;


static void corrald_commit_op_events(corrald_commit_t *c,
    corrald_commit_op_t *op);
static void corrald_commit_instance_events(corrald_commit_t *c,
    corrald_commit_op_t *op);
static void corrald_commit_event(corrald_commit_t *c, const char *type,
    corrald_kind_e kind, const char *id, json_t *data);
static void corrald_commit_statuses(corrald_commit_t *c);
static void corrald_commit_status(corrald_commit_t *c, const char *service_id);


void
corrald_commit_events(corrald_commit_t *c)
{
    size_t  i;

    for (i = 0; i < c->n; i++) {
        if (!c->ops[i].idle) {
            corrald_commit_op_events(c, &c->ops[i]);
        }
    }

    corrald_commit_statuses(c);
}


static void
corrald_commit_op_events(corrald_commit_t *c, corrald_commit_op_t *op)
{
    char         type[32];
    json_t      *names;
    size_t       i;
    const char  *name;

    if (op->kind == CORRALD_INSTANCE) {
        corrald_commit_instance_events(c, op);
        return;
    }

    name = corrald_doc_str(op->after ? op->after : op->before, "name");

    snprintf(type, sizeof(type), "%s_%s", corrald_doc_kind(op->kind),
             op->before == NULL ? "created"
                                : op->after == NULL ? "deleted" : "updated");

    if (op->before == NULL || op->after == NULL) {
        corrald_commit_event(c, type, op->kind, op->id,
                             json_pack("{s:s}", "name", name));
        return;
    }

    names = corrald_diff_names(op->kind, op->before, op->after);

    for (i = json_array_size(names); i-- > 0; /* void */ ) {
        if (strcmp(json_string_value(json_array_get(names, i)), "updated_at")
            == 0)
        {
            json_array_remove(names, i);
        }
    }

    corrald_commit_event(c, type, op->kind, op->id,
                         json_pack("{s:s, s:o}", "name", name, "changed",
                                   names));
}


static void
corrald_commit_instance_events(corrald_commit_t *c, corrald_commit_op_t *op)
{
    json_t                 *doc, *data;
    const char             *name;
    const corrald_cache_t  *service;

    doc = op->after ? op->after : op->before;

    service = corrald_cache_get(CORRALD_SERVICE,
                                corrald_doc_str(doc, "service_id"));
    name = service ? corrald_doc_str(service->entry.doc, "name") : "";

    data = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
                     "service_id", corrald_doc_str(doc, "service_id"),
                     "service", name,
                     "state", corrald_doc_str(doc, "state"),
                     "health", corrald_doc_str(doc, "health"),
                     "reason", corrald_doc_str(doc, "reason"),
                     "message", corrald_doc_str(doc, "message"),
                     "node", corrald_doc_str(doc, "node"));

    if (op->before == NULL) {
        corrald_commit_event(c, "instance_created", op->kind, op->id, data);
        return;
    }

    if (op->after == NULL) {
        corrald_commit_event(c, "instance_removed", op->kind, op->id, data);
        return;
    }

    if (strcmp(corrald_doc_str(op->before, "state"),
               corrald_doc_str(op->after, "state"))
        != 0)
    {
        json_object_set(data, "was", json_object_get(op->before, "state"));
        corrald_commit_event(c, "instance_state", op->kind, op->id,
                             json_incref(data));
    }

    if (strcmp(corrald_doc_str(op->before, "health"),
               corrald_doc_str(op->after, "health"))
        != 0)
    {
        json_object_set(data, "was", json_object_get(op->before, "health"));
        corrald_commit_event(c, "instance_health", op->kind, op->id,
                             json_incref(data));
    }

    json_decref(data);
}


/* data is taken over; as text, so that a shared object may change later. */

static void
corrald_commit_event(corrald_commit_t *c, const char *type,
    corrald_kind_e kind, const char *id, json_t *data)
{
    char  *text;

    text = json_dumps(data, JSON_COMPACT);

    json_array_append_new(c->events,
                          json_pack("[s, s, s, s]", type,
                                    corrald_doc_kind(kind), id,
                                    text ? text : "{}"));
    free(text);
    json_decref(data);
}


/* The derived status of each service that the commit touches. */

static void
corrald_commit_statuses(corrald_commit_t *c)
{
    size_t       i;
    json_t      *seen, *value;
    const char  *id;

    seen = json_object();

    for (i = 0; i < c->n; i++) {

        if (c->ops[i].idle || c->ops[i].kind == CORRALD_RULE) {
            continue;
        }

        id = c->ops[i].kind == CORRALD_SERVICE
             ? c->ops[i].id
             : corrald_doc_str(c->ops[i].after ? c->ops[i].after
                                               : c->ops[i].before,
                               "service_id");

        json_object_set_new(seen, id, json_true());
    }

    json_object_foreach(seen, id, value) {
        corrald_commit_status(c, id);
    }

    json_decref(seen);
}


static void
corrald_commit_count(const corrald_entry_t *entry, void *data)
{
    size_t                   i;
    corrald_commit_op_t     *op;
    corrald_commit_count_t  *count;

    count = data;

    corrald_state_count(&count->before, entry->doc);

    /* those that the commit changes are counted from the commit */

    for (i = 0; i < count->commit->n; i++) {
        op = &count->commit->ops[i];

        if (!op->idle && op->kind == CORRALD_INSTANCE
            && strcmp(op->id, entry->id) == 0)
        {
            return;
        }
    }

    corrald_state_count(&count->after, entry->doc);
}


static void
corrald_commit_status(corrald_commit_t *c, const char *service_id)
{
    size_t                   i;
    const json_t            *before, *after;
    corrald_status_e         was, is;
    corrald_commit_op_t     *op;
    const corrald_entry_t   *known;
    corrald_commit_count_t   count;

    memset(&count, 0, sizeof(count));
    count.commit = c;

    known = corrald_store_get(CORRALD_SERVICE, service_id);
    before = known ? known->doc : NULL;
    after = before;

    corrald_store_instances(service_id, corrald_commit_count, &count);

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        if (op->idle) {
            continue;
        }

        if (op->kind == CORRALD_INSTANCE && op->after
            && strcmp(corrald_doc_str(op->after, "service_id"), service_id)
               == 0)
        {
            corrald_state_count(&count.after, op->after);
        }

        if (op->kind == CORRALD_SERVICE && strcmp(op->id, service_id) == 0) {
            after = op->after;
        }
    }

    if (before == NULL || after == NULL) {
        return;
    }

    was = corrald_state_status(before, &count.before);
    is = corrald_state_status(after, &count.after);

    if (was != is) {
        corrald_commit_event(c, "service_status", CORRALD_SERVICE, service_id,
                             json_pack("{s:s, s:s, s:s}",
                                       "name", corrald_doc_str(after, "name"),
                                       "status",
                                       corrald_state_status_name(is),
                                       "was",
                                       corrald_state_status_name(was)));
    }
}
