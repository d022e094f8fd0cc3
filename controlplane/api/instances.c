
/*
 * Instances: list, read, change, remove.  How external ones come and stay is
 * registration.c's affair.
 *
 * Only the user's fields are changed here; the state of a managed instance is
 * its node's.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../model/patch.h"
#include "../model/view.h"
#include "api.h"


/* A change on its way. */

typedef struct {
    corrald_rest_t    *r;
    int                status;
    char               id[CORRAL_ID_MAX + 1];
} corrald_instances_change_t;


typedef struct {
    corrald_uri_row_t  *rows;
    size_t              n;
    corrald_rest_t     *r;
    const char         *sort;
} corrald_instances_rows_t;


static void corrald_instances_page(corrald_rest_t *r, const char *service_id);
static void corrald_instances_collect(const corrald_entry_t *entry,
    void *data);
static json_t *corrald_instances_row(void *row, void *data);
static void corrald_instances_append(const corrald_entry_t *entry,
    void *data);
static void corrald_instances_set(corrald_rest_t *r,
    const corrald_entry_t *entry, json_t *doc, int status);
static void corrald_instances_done(const corrald_result_t *result,
    void *data);
static void corrald_instances_removed(const corrald_result_t *result,
    void *data);
static void corrald_instances_historied(json_t *value, const char *err,
    void *data);


void
corrald_instances_list(corrald_rest_t *r)
{
    const char             *name;
    const corrald_entry_t  *service;

    name = corrald_rest_query(r, "service");

    if (name == NULL) {
        corrald_instances_page(r, NULL);
        return;
    }

    service = corrald_store_service(name);

    corrald_instances_page(r, service ? service->id : "");
}


void
corrald_instances_of_service(corrald_rest_t *r)
{
    const corrald_entry_t  *service;

    service = corrald_services_find(r);

    if (service) {
        corrald_instances_page(r, service->id);
    }
}


void
corrald_instances_get(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_instances_find(r);

    if (entry == NULL) {
        return;
    }

    corrald_rest_etag(r, entry->revision);

    corrald_rest_view(r, corrald_instances_show(entry));
}


void
corrald_instances_patch(corrald_rest_t *r)
{
    int                     rc;
    json_t                 *wanted, *doc;
    corrald_check_t         check;
    const corrald_entry_t  *entry;
    const corrald_field_t  *f;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    corrald_check_init(&check);
    wanted = corrald_patch_merge(entry->doc, r->json);

    rc = corrald_check_input(&check, CORRALD_INSTANCE, wanted, entry->doc,
                             CORRALD_OWNER_user, 0);
    if (rc == 0) {
        rc = corrald_check_fill(CORRALD_INSTANCE, wanted);
    }

    if (rc != 0) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        json_decref(wanted);
        return;
    }

    corrald_check_free(&check);

    /* the user's fields only: the node writes the others meanwhile */

    doc = json_object();

    for (f = corrald_doc_fields(CORRALD_INSTANCE); f->name; f++) {
        if (f->owner == CORRALD_OWNER_user && !(f->flags & CORRAL_F)) {
            json_object_set(doc, f->name, json_object_get(wanted, f->name));
        }
    }

    json_decref(wanted);
    corrald_instances_set(r, entry, doc, 200);
}


void
corrald_instances_delete(corrald_rest_t *r)
{
    corrald_op_t            op;
    const corrald_entry_t  *entry;

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    if (corrald_doc_bool(entry->doc, "managed")
        && corrald_store_get(CORRALD_SERVICE,
                             corrald_doc_str(entry->doc, "service_id")))
    {
        corrald_instances_set(r, entry, json_pack("{s:b}", "evict", 1), 202);
        return;
    }

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_DEL;
    op.kind = CORRALD_INSTANCE;
    op.id = entry->id;
    op.expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                     : CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_instances_removed, r);
}


void
corrald_instances_action(corrald_rest_t *r)
{
    char                    now[CORRALD_CLOCK_SIZE];
    json_t                 *doc;
    const char             *action;
    const corrald_entry_t  *entry;

    action = r->params[1];
    doc = NULL;

    if (strcmp(action, "pause") == 0) {
        doc = json_pack("{s:b}", "maintenance", 1);

    } else if (strcmp(action, "resume") == 0) {
        doc = json_pack("{s:b}", "maintenance", 0);

    } else if (strcmp(action, "restart") == 0) {
        doc = json_pack("{s:s}", "restart_at",
                        corrald_clock_now(now, sizeof(now)));
    }

    if (doc == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "there is no "
                             "action \"%.64s\": it can be restart, pause, "
                             "resume", action);
        return;
    }

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        json_decref(doc);
        return;
    }

    if (strcmp(action, "restart") == 0
        && !corrald_doc_bool(entry->doc, "managed"))
    {
        json_decref(doc);
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "instance \"%s\" is "
                             "external: it is not run from here", entry->id);
        return;
    }

    corrald_instances_set(r, entry, doc, 202);
}


void
corrald_instances_history(corrald_rest_t *r)
{
    /* it stays for a while after its instance */

    if (strlen(r->params[0]) > CORRAL_ID_MAX) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "\"%.64s...\" is not an id", r->params[0]);
        return;
    }

    corrald_store_history(r->params[0], corrald_instances_historied, r);
}


json_t *
corrald_instances_show(const corrald_entry_t *entry)
{
    json_t                 *load;
    const corrald_entry_t  *service;

    service = corrald_store_get(CORRALD_SERVICE,
                                corrald_doc_str(entry->doc, "service_id"));

    load = corrald_store_load(entry->id);

    /* of those that we run: if their probe is told by them at all */

    if (corrald_doc_bool(entry->doc, "managed")
        && json_object_size(load) == 0)
    {
        load = NULL;
    }

    return corrald_view_instance(entry->doc, service ? service->doc : NULL,
                                 entry->revision, load);
}


json_t *
corrald_instances_array(const char *service_id)
{
    json_t  *array;

    array = json_array();
    corrald_store_instances(service_id, corrald_instances_append, array);

    return array;
}


static void
corrald_instances_append(const corrald_entry_t *entry, void *data)
{
    json_array_append(data, entry->doc);
}


/* service_id: NULL for all */

static void
corrald_instances_page(corrald_rest_t *r, const char *service_id)
{
    int                       descending;
    const char               *sort;
    corrald_instances_rows_t  c;

    if (corrald_rest_query_words(r, "state",
                         corrald_doc_field(CORRALD_INSTANCE, "state")->values)
        != 0
        || corrald_rest_query_words(r, "health",
                         corrald_doc_field(CORRALD_INSTANCE, "health")->values)
           != 0)
    {
        return;
    }

    if (corrald_rest_query_sort(r, "instance_id created_at state_at",
                                "instance_id", &sort, &descending)
        != 0)
    {
        return;
    }

    c.n = 0;
    c.r = r;
    c.sort = sort;
    c.rows = corrald_alloc(corrald_store_count(CORRALD_INSTANCE) + 1,
                           sizeof(*c.rows), "for a list");

    if (service_id) {
        corrald_store_instances(service_id, corrald_instances_collect, &c);

    } else {
        corrald_store_each(CORRALD_INSTANCE, corrald_instances_collect, &c);
    }

    corrald_rest_page(r, c.rows, c.n, sort, descending, corrald_instances_row,
                      NULL);
    free(c.rows);
}


static void
corrald_instances_collect(const corrald_entry_t *entry, void *data)
{
    size_t                     i;
    const char                *wanted;
    corrald_instances_rows_t  *c;

    static const char  *filters[] = { "state", "health", "node" };

    c = data;

    for (i = 0; i < 3; i++) {
        wanted = corrald_rest_query(c->r, filters[i]);

        if (wanted && !corrald_uri_word(wanted, corrald_doc_str(entry->doc,
                                                                filters[i])))
        {
            return;
        }
    }

    c->rows[c->n].key = corrald_doc_str(entry->doc, c->sort);
    c->rows[c->n].id = entry->id;
    c->rows[c->n].data = (void *) entry;
    c->n++;
}


static json_t *
corrald_instances_row(void *row, void *data)
{
    return corrald_instances_show(row);
}


const corrald_entry_t *
corrald_instances_find(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_INSTANCE, r->params[0]);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "there is no instance \"%.64s\"", r->params[0]);
    }

    return entry;
}


/* Sets members of an instance; doc is taken over. */

static void
corrald_instances_set(corrald_rest_t *r, const corrald_entry_t *entry,
    json_t *doc, int status)
{
    corrald_op_t                  op;
    corrald_instances_change_t   *c;

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->status = status;
    snprintf(c->id, sizeof(c->id), "%s", entry->id);

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_SET;
    op.kind = CORRALD_INSTANCE;
    op.id = c->id;
    op.doc = doc;
    op.owners = CORRALD_OWNER_user;
    op.expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                     : CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_instances_done, c);
    json_decref(doc);
}


static void
corrald_instances_done(const corrald_result_t *result, void *data)
{
    corrald_instances_change_t  *c;

    c = data;

    corrald_instances_changed(c->r, c->id, c->status, result);
    free(c);
}


void
corrald_instances_changed(corrald_rest_t *r, const char *id, int status,
    const corrald_result_t *result)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_INSTANCE, id);

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "the instance was removed meanwhile");
        return;
    }

    corrald_rest_etag(r, entry->revision);

    if (status == 201) {
        corrald_rest_set(r, "Location", "/api/v1/instances/%s", entry->id);
    }

    corrald_rest_changed(r, status, corrald_instances_show(entry),
                         result->revision);
}


static void
corrald_instances_removed(const corrald_result_t *result, void *data)
{
    corrald_rest_t  *r;

    r = data;

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    corrald_rest_changed(r, 200, corrald_rest_message("Instance removed"),
                         result->revision);
}


static void
corrald_instances_historied(json_t *value, const char *err, void *data)
{
    corrald_rest_t  *r;

    r = data;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        return;
    }

    if (json_array_size(value) == 0
        && corrald_store_get(CORRALD_INSTANCE, r->params[0]) == NULL)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "there is no instance \"%.64s\"", r->params[0]);
        return;
    }

    corrald_rest_json(r, 200, json_pack("{s:s, s:O}", "instance_id",
                                        r->params[0], "items", value));
}
