
/*
 * Start, stop, restart, pause, resume, scale: each writes what is wanted and
 * answers with an operation that can be followed.  The three of MyAgent wait
 * for a while and answer as it does.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "../model/select.h"
#include "api.h"


/* MyAgent's own start takes 2 s and its stop up to 10 s */

#define CORRALD_ACTIONS_WAIT  10000


typedef struct {
    const char   *name;
    const char   *desired;           /* what it wants; NULL: as it is */
    const char   *done;              /* MyAgent's sentence */
    const char   *begun;
    int           restart;
} corrald_actions_row_t;


/* One action on one service. */

typedef struct corrald_actions_batch_s  corrald_actions_batch_t;

typedef struct {
    corrald_rest_t                *r;
    const corrald_actions_row_t   *action;
    char                           id[CORRAL_ID_MAX + 1];
    char                           name[CORRAL_ID_MAX + 1];
    int                            compat;
    int                            tries;
    int64_t                        timeout;
    int64_t                        revision;
    corrald_actions_batch_t       *batch;
} corrald_actions_t;


struct corrald_actions_batch_s {
    corrald_rest_t                *r;
    json_t                        *items;
    int64_t                        revision;   /* the last that was written */
    size_t                         left;
    size_t                         failed;
};


static const corrald_actions_row_t *corrald_actions_find(corrald_rest_t *r,
    const char *name);
static void corrald_actions_compat(corrald_rest_t *r, const char *name);
static corrald_actions_t *corrald_actions_make(corrald_rest_t *r,
    const corrald_actions_row_t *action, const corrald_entry_t *entry);
static void corrald_actions_run(void *data);
static void corrald_actions_written(const corrald_result_t *result,
    void *data);
static void corrald_actions_missing(corrald_actions_batch_t *batch,
    const json_t *ids);
static void corrald_actions_batch_end(corrald_actions_batch_t *batch);
static void corrald_actions_batched(corrald_actions_t *a,
    const corrald_result_t *result);
static void corrald_actions_scaled(const corrald_result_t *result,
    void *data);
static void corrald_actions_waited(corrald_operation_e state,
    const char *message, void *data);


static const corrald_actions_row_t  corrald_actions_table[] = {
    { "start",   "running", "Service started successfully",
      "Service is starting", 0 },
    { "stop",    "stopped", "Service stopped successfully",
      "Service is stopping", 0 },
    { "restart", "running", "Service restarted successfully",
      "Service is restarting", 1 },
    { "pause",   "paused",  "Service paused successfully",
      "Service is pausing", 0 },
    { "resume",  "running", "Service resumed successfully",
      "Service is resuming", 0 },
    { NULL, NULL, NULL, NULL, 0 }
};


void
corrald_actions_start(corrald_rest_t *r)
{
    corrald_actions_compat(r, "start");
}


void
corrald_actions_stop(corrald_rest_t *r)
{
    corrald_actions_compat(r, "stop");
}


void
corrald_actions_restart(corrald_rest_t *r)
{
    corrald_actions_compat(r, "restart");
}


void
corrald_actions_action(corrald_rest_t *r)
{
    corrald_actions_t            *a;
    const corrald_entry_t        *entry;
    const corrald_actions_row_t  *action;

    action = corrald_actions_find(r, r->params[1]);

    if (action == NULL) {
        return;
    }

    entry = corrald_services_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    a = corrald_actions_make(r, action, entry);

    corrald_store_turn(CORRALD_SERVICE, a->id, corrald_actions_run, a);
}


/* Each service is changed on its own: one that fails does not stop others. */

void
corrald_actions_batch(corrald_rest_t *r)
{
    size_t                        i, n;
    corrald_check_t               check;
    corrald_actions_t            *a;
    corrald_uri_row_t            *rows;
    const corrald_actions_row_t  *action;
    corrald_actions_batch_t      *batch;

    action = corrald_actions_find(r, r->params[0]);

    if (action == NULL || corrald_rest_body(r, 1) != 0) {
        return;
    }

    corrald_check_init(&check);

    if (corrald_select_check(&check, r->json) != 0) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    corrald_check_free(&check);

    batch = corrald_alloc(1, sizeof(*batch), "for a request");

    rows = corrald_services_select(r->json, "name", &n);
    corrald_uri_sort(rows, n, 0);

    batch->r = r;
    batch->items = json_array();
    batch->left = n + 1;             /* none is the last before all are begun */
    corrald_actions_missing(batch, json_object_get(r->json, "ids"));

    for (i = 0; i < n; i++) {
        a = corrald_actions_make(r, action, rows[i].data);
        a->batch = batch;
        corrald_store_turn(CORRALD_SERVICE, a->id, corrald_actions_run, a);
    }

    free(rows);
    corrald_actions_batch_end(batch);
}


/* what was named and is not there is told, too */

static void
corrald_actions_missing(corrald_actions_batch_t *batch, const json_t *ids)
{
    size_t       i;
    json_t      *id;
    const char  *name;

    json_array_foreach(ids, i, id) {
        name = json_string_value(id);

        if (corrald_store_service(name) == NULL) {
            batch->failed++;
            json_array_append_new(batch->items,
                                  json_pack("{s:n, s:s, s:i, s:o}",
                                            "service_id", "name", name,
                                            "status", 404, "detail",
                                            json_sprintf("there is no service "
                                                         "\"%s\"", name)));
        }
    }
}


static void
corrald_actions_batch_end(corrald_actions_batch_t *batch)
{
    if (--batch->left > 0) {
        return;
    }

    corrald_rest_changed(batch->r, 200,
                         json_pack("{s:I, s:I, s:o}", "total", (json_int_t)
                                   json_array_size(batch->items),
                                   "failed", (json_int_t) batch->failed,
                                   "items", batch->items),
                         batch->revision);
    free(batch);
}


void
corrald_actions_scale(corrald_rest_t *r)
{
    json_t                 *view, *numbers;
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL) {
        return;
    }

    view = corrald_services_show(entry);
    numbers = json_object_get(view, "instances");

    corrald_rest_etag(r, entry->revision);
    corrald_rest_json(r, 200, json_pack("{s:O, s:O, s:O, s:O, s:O}",
                      "service_id", json_object_get(view, "service_id"),
                      "service", json_object_get(view, "name"),
                      "replicas", json_object_get(view, "replicas"),
                      "ready", json_object_get(view, "ready"),
                      "instances", numbers));
    json_decref(view);
}


void
corrald_actions_set_scale(corrald_rest_t *r)
{
    void                    *next;
    json_t                  *doc, *value;
    const char              *name;
    corrald_op_t             op;
    corrald_check_t          check;
    corrald_actions_t       *a;
    const corrald_entry_t   *entry;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    entry = corrald_services_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    corrald_check_init(&check);

    json_object_foreach_safe(r->json, next, name, value) {
        if (strcmp(name, "replicas") != 0) {
            (void) corrald_check_error(&check, "", "\"%.64s\" is not a field "
                                       "of a scale: it has \"replicas\"",
                                       name);
        }
    }

    value = json_object_get(r->json, "replicas");

    if (value == NULL) {
        (void) corrald_check_error(&check, "", "\"replicas\" is required");

    } else if (corrald_check_value(&check,
                                   corrald_doc_field(CORRALD_SERVICE,
                                                     "replicas"),
                                   value, "/replicas")
               != 0)
    {
        value = NULL;
    }

    if (json_array_size(check.errors)) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    corrald_check_free(&check);

    a = corrald_actions_make(r, NULL, entry);

    doc = json_pack("{s:O}", "replicas", value);

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_SET;
    op.kind = CORRALD_SERVICE;
    op.id = a->id;
    op.doc = doc;
    op.owners = CORRALD_OWNER_scaler;
    op.expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                     : CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_actions_scaled, a);
    json_decref(doc);
}


static const corrald_actions_row_t *
corrald_actions_find(corrald_rest_t *r, const char *name)
{
    const corrald_actions_row_t  *action;

    for (action = corrald_actions_table; action->name; action++) {
        if (strcmp(action->name, name) == 0) {
            return action;
        }
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "there is no action "
                         "\"%.64s\": it can be start, stop, restart, pause, "
                         "resume", name);

    return NULL;
}


static void
corrald_actions_compat(corrald_rest_t *r, const char *name)
{
    int64_t                 timeout;
    corrald_actions_t      *a;
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL
        || corrald_rest_query_ms(r, "timeout", CORRALD_ACTIONS_WAIT, 0, 60000,
                                 &timeout)
           != 0)
    {
        return;
    }

    a = corrald_actions_make(r, corrald_actions_find(r, name), entry);
    a->compat = 1;
    a->timeout = timeout;

    corrald_store_turn(CORRALD_SERVICE, a->id, corrald_actions_run, a);
}


static corrald_actions_t *
corrald_actions_make(corrald_rest_t *r, const corrald_actions_row_t *action,
    const corrald_entry_t *entry)
{
    corrald_actions_t  *a;

    a = corrald_alloc(1, sizeof(*a), "for a request");

    a->r = r;
    a->action = action;
    snprintf(a->id, sizeof(a->id), "%s", entry->id);
    snprintf(a->name, sizeof(a->name), "%s",
             corrald_doc_str(entry->doc, "name"));

    return a;
}


/* Writes what the action wants. */

static void
corrald_actions_run(void *data)
{
    json_t                 *doc;
    corrald_op_t            op;
    corrald_result_t        result;
    corrald_actions_t      *a;
    const corrald_entry_t  *entry;

    a = data;
    entry = corrald_store_get(CORRALD_SERVICE, a->id);

    if (entry == NULL) {
        memset(&result, 0, sizeof(result));
        result.result = CORRALD_MISSING;
        result.message = "the service was deleted meanwhile";
        corrald_actions_written(&result, a);
        return;
    }

    doc = json_pack("{s:s}", "desired", a->action->desired);

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_SET;
    op.kind = CORRALD_SERVICE;
    op.id = a->id;
    op.doc = doc;
    op.owners = CORRALD_OWNER_schedule;
    op.expected = CORRALD_ANY;

    /* a generation is counted from a known one: no restart gets lost in two */

    if (a->action->restart) {
        json_object_set_new(doc, "generation",
                            json_integer(corrald_doc_int(entry->doc,
                                                         "generation")
                                         + 1));
        op.owners |= CORRALD_OWNER_system;
        op.expected = entry->revision;
    }

    /* what is being deleted is not started again */

    if (corrald_doc_is_set(entry->doc, "delete_at")
        && strcmp(a->action->desired, "stopped") != 0)
    {
        json_decref(doc);
        memset(&result, 0, sizeof(result));
        result.result = CORRALD_CONFLICT;
        result.message = "the service is being deleted";
        corrald_actions_written(&result, a);
        return;
    }

    corrald_store_commit(&op, 1, 0, corrald_actions_written, a);

    json_decref(doc);
}


static void
corrald_actions_written(const corrald_result_t *result, void *data)
{
    const char         *id;
    corrald_rest_t     *r;
    corrald_actions_t  *a;

    a = data;
    r = a->r;

    if (result->result == CORRALD_CONFLICT && result->revision
        && a->tries++ < 8)
    {
        corrald_store_turn(CORRALD_SERVICE, a->id, corrald_actions_run, a);
        return;
    }

    if (a->batch) {
        corrald_actions_batched(a, result);
        return;
    }

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        free(a);
        return;
    }

    id = corrald_operations_begin(a->action->name, a->id);

    if (a->compat) {
        a->revision = result->revision;
        corrald_operations_wait(id, a->timeout, corrald_actions_waited, a);
        return;
    }

    free(a);

    corrald_rest_set(r, "Location", "/api/v1/operations/%s", id);
    corrald_rest_changed(r, 202, corrald_operations_show(id),
                         result->revision);
}


static void
corrald_actions_batched(corrald_actions_t *a, const corrald_result_t *result)
{
    int                       status;
    json_t                   *item;
    corrald_actions_batch_t  *batch;

    batch = a->batch;

    switch (result->result) {

    case CORRALD_DONE:
        status = 202;

        if (result->revision > batch->revision) {
            batch->revision = result->revision;
        }

        break;

    case CORRALD_MISSING:
        status = 404;
        break;

    case CORRALD_CONFLICT:
        status = 409;
        break;

    case CORRALD_INVALID:
        status = 422;
        break;

    default:
        status = 503;
        break;
    }

    item = json_pack("{s:s, s:s, s:i}", "service_id", a->id, "name", a->name,
                     "status", status);

    if (status == 202) {
        json_object_set_new(item, "operation_id",
                            json_string(corrald_operations_begin(
                                            a->action->name, a->id)));

    } else {
        json_object_set_new(item, "detail", json_string(result->message));
        batch->failed++;
    }

    json_array_append_new(batch->items, item);
    free(a);

    corrald_actions_batch_end(batch);
}


static void
corrald_actions_scaled(const corrald_result_t *result, void *data)
{
    const char         *id;
    corrald_rest_t     *r;
    corrald_actions_t  *a;

    a = data;
    r = a->r;

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        free(a);
        return;
    }

    id = corrald_operations_begin("scale", a->id);
    free(a);

    corrald_rest_set(r, "Location", "/api/v1/operations/%s", id);
    corrald_rest_changed(r, 202, corrald_operations_show(id),
                         result->revision);
}


/* As MyAgent answers: 200 with a sentence, or 400 when it cannot be done. */

static void
corrald_actions_waited(corrald_operation_e state, const char *message,
    void *data)
{
    int64_t             revision;
    const char         *sentence;
    corrald_rest_t     *r;
    corrald_actions_t  *a;

    a = data;
    r = a->r;

    if (state == CORRALD_OPERATION_FAILED) {
        corrald_rest_problem(r, CORRALD_PROBLEM_ACTION_FAILED,
                             "Failed to %s service: %s", a->action->name,
                             message);
        free(a);
        return;
    }

    sentence = state == CORRALD_OPERATION_DONE ? a->action->done
                                               : a->action->begun;

    revision = a->revision;
    free(a);

    corrald_rest_changed(r, 200, corrald_rest_message("%s", sentence),
                         revision);
}
