
/*
 * Services: list, create, read, change, delete.
 *
 * A handler changes documents and nothing else: what is to happen to processes
 * is the engine's affair, which follows the documents.  Deletion is a mark on
 * the document; it goes with its last instance.
 */


#define _GNU_SOURCE

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <corral_duration.h>
#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../model/diff.h"
#include "../model/patch.h"
#include "../model/rules.h"
#include "../model/state.h"
#include "../model/view.h"
#include "api.h"


/* conflicts with other writers that are answered by trying again */

#define CORRALD_SERVICES_TRIES  8


typedef enum {
    CORRALD_SERVICES_MERGE = 0,      /* PUT as MyAgent means it */
    CORRALD_SERVICES_PATCH,          /* merge-patch, strict */
    CORRALD_SERVICES_REPLACE         /* PUT ?replace=1, strict */
} corrald_services_mode_e;


/* A change on its way. */

typedef struct {
    corrald_rest_t           *r;
    corrald_services_mode_e   mode;
    char                      id[CORRAL_ID_MAX + 1];
    int                       tries;
    int                       status;
    int64_t                   timeout;
} corrald_services_change_t;


static json_t *corrald_services_show_row(void *row, void *data);
static void corrald_services_insert(corrald_rest_t *r, unsigned flags);
static void corrald_services_change(corrald_rest_t *r,
    corrald_services_mode_e mode);
static void corrald_services_try(void *data);
static json_t *corrald_services_wanted(corrald_services_change_t *c,
    const corrald_entry_t *entry);
static int corrald_services_mirror(corrald_check_t *check, const json_t *doc,
    const json_t *before);
static void corrald_services_changed(const corrald_result_t *result,
    void *data);
static void corrald_services_deleted(const corrald_result_t *result,
    void *data);
static void corrald_services_gone(corrald_operation_e state,
    const char *message, void *data);
static void corrald_services_compat(json_t *in);


void
corrald_services_list(corrald_rest_t *r)
{
    int                 descending;
    size_t              n;
    const char         *sort;
    corrald_uri_row_t  *rows;

    if (corrald_rest_query_words(r, "status", CORRALD_STATUS_WORDS) != 0) {
        return;
    }

    if (corrald_rest_query_sort(r, "name created_at updated_at", "name",
                                &sort, &descending)
        != 0)
    {
        return;
    }

    rows = corrald_services_select(r->query, sort, &n);

    if (!corrald_rest_not_modified(r, corrald_store_status()->revision)) {
        corrald_rest_page(r, rows, n, sort, descending,
                          corrald_services_show_row, NULL);
    }

    free(rows);
}


void
corrald_services_create(corrald_rest_t *r)
{
    int  strict;

    if (corrald_rest_query_bool(r, "strict", 0, &strict) == 0
        && corrald_rest_body(r, 1) == 0)
    {
        corrald_services_insert(r, strict ? CORRALD_CHECK_CREATE
                                          : CORRALD_CHECK_CREATE
                                            |CORRALD_CHECK_COMPAT);
    }
}


void
corrald_services_get(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL) {
        return;
    }

    /* the answer has parts of the instances: only If-Match goes by it */

    corrald_rest_etag(r, entry->revision);

    corrald_rest_view(r, corrald_services_show(entry));
}


void
corrald_services_put(corrald_rest_t *r)
{
    int          replace;
    const char  *name, *match;

    if (corrald_rest_query_bool(r, "replace", 0, &replace) != 0
        || corrald_rest_body(r, 1) != 0)
    {
        return;
    }

    if (!replace) {
        corrald_services_change(r, CORRALD_SERVICES_MERGE);
        return;
    }

    name = r->params[0];
    match = corrald_rest_header(r, "If-None-Match");

    if (corrald_store_service(name)) {

        if (match && strcmp(match, "*") == 0) {
            corrald_rest_problem(r, CORRALD_PROBLEM_PRECONDITION_FAILED,
                                 "there is a service \"%.64s\"", name);
            return;
        }

        corrald_services_change(r, CORRALD_SERVICES_REPLACE);
        return;
    }

    if (corrald_rest_header(r, "If-Match")) {
        corrald_rest_problem(r, CORRALD_PROBLEM_PRECONDITION_FAILED,
                             "there is no service \"%.64s\"", name);
        return;
    }

    if (json_object_get(r->json, "name") == NULL) {
        json_object_set_new(r->json, "name", json_string(name));

    } else if (strcmp(corrald_doc_str(r->json, "name"), name) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                             "the path says \"%.64s\", \"name\" says "
                             "\"%.64s\", and there is no such service yet",
                             name, corrald_doc_str(r->json, "name"));
        return;
    }

    corrald_services_insert(r, CORRALD_CHECK_CREATE);
}


void
corrald_services_patch(corrald_rest_t *r)
{
    if (corrald_rest_body(r, 1) == 0) {
        corrald_services_change(r, CORRALD_SERVICES_PATCH);
    }
}


void
corrald_services_delete(corrald_rest_t *r)
{
    int                         force;
    char                        now[CORRALD_CLOCK_SIZE];
    size_t                      i, n;
    json_t                     *instances, *item, *doc;
    int64_t                     grace, timeout;
    corrald_op_t               *ops;
    const corrald_entry_t      *entry;
    corrald_services_change_t  *c;

    entry = corrald_services_find(r);

    if (entry == NULL
        || corrald_rest_if_match(r, entry->revision) != 0
        || corrald_rest_query_bool(r, "force", 0, &force) != 0
        || corrald_rest_query_ms(r, "grace", -1, 0, 86400000, &grace) != 0
        || corrald_rest_query_ms(r, "timeout", 5000, 0, 60000, &timeout) != 0)
    {
        return;
    }

    c = corrald_alloc(1, sizeof(*c), "for a request");
    instances = corrald_instances_array(entry->id);
    n = json_array_size(instances);
    ops = corrald_alloc(n + 1, sizeof(*ops), "for a request");

    c->r = r;
    c->timeout = timeout;
    snprintf(c->id, sizeof(c->id), "%s", entry->id);

    ops[0].kind = CORRALD_SERVICE;
    ops[0].id = entry->id;
    ops[0].expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                         : CORRALD_ANY;

    doc = NULL;

    if (n && !force) {

        /* it goes with its last instance, which is the engine's affair */

        doc = json_pack("{s:s, s:s}", "desired", "stopped", "delete_at",
                        corrald_clock_now(now, sizeof(now)));

        if (grace >= 0) {
            json_object_set_new(doc, "drain_timeout",
                                json_sprintf("%lldms", (long long) grace));
        }

        c->status = 202;
        ops[0].op = CORRALD_SET;
        ops[0].doc = doc;
        ops[0].owners = CORRALD_OWNER_operator|CORRALD_OWNER_system;
        n = 0;

    } else {
        ops[0].op = CORRALD_DEL;
    }

    for (i = 0; i < n; i++) {
        item = json_array_get(instances, i);

        ops[i + 1].op = CORRALD_DEL;
        ops[i + 1].kind = CORRALD_INSTANCE;
        ops[i + 1].id = corrald_doc_str(item, "instance_id");
        ops[i + 1].expected = CORRALD_ANY;
    }

    corrald_store_commit(ops, n + 1, 0, corrald_services_deleted, c);

    json_decref(instances);
    json_decref(doc);
    free(ops);
}


const corrald_entry_t *
corrald_services_find(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_service(r->params[0]);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_SERVICE_NOT_FOUND,
                             "there is no service \"%.64s\"", r->params[0]);
    }

    return entry;
}


json_t *
corrald_services_show(const corrald_entry_t *entry)
{
    json_t  *view, *instances;

    instances = corrald_instances_array(entry->id);
    view = corrald_view_service(entry->doc, instances, entry->revision,
                                corrald_store_waiting(entry->id),
                                entry->trusted, corrald_conf()->gateway_url);
    json_decref(instances);

    return view;
}


static json_t *
corrald_services_show_row(void *row, void *data)
{
    return corrald_services_show(row);
}


/* A new service of r->json. */

static void
corrald_services_insert(corrald_rest_t *r, unsigned flags)
{
    int                         dry_run;
    char                        uuid[37], now[CORRALD_CLOCK_SIZE];
    json_t                     *view;
    const char                 *hidden;
    corrald_op_t                op;
    corrald_check_t             check;
    corrald_services_change_t  *c;

    if (corrald_rest_query_bool(r, "dry_run", 0, &dry_run) != 0) {
        return;
    }

    if (corrald_store_count(CORRALD_SERVICE) >= CORRAL_SERVICES_MAX) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "there are %d "
                             "services, more are not kept",
                             CORRAL_SERVICES_MAX);
        return;
    }

    if (flags & CORRALD_CHECK_COMPAT) {
        corrald_services_compat(r->json);
    }

    if (corrald_crypt_uuid(uuid) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INTERNAL_ERROR,
                             "no random bytes");
        return;
    }

    corrald_check_init(&check);

    if (corrald_view_unmask(r->json, NULL, NULL, &hidden) != 0) {
        (void) corrald_check_error(&check, "/env", "\"%.64s\" is \"%s\", "
                                   "which stands for a value that is there "
                                   "already", hidden, CORRALD_VIEW_HIDDEN);
    }

    if (corrald_check_input(&check, CORRALD_SERVICE, r->json, NULL,
                            CORRALD_OWNER_operator, flags)
        != 0
        || json_array_size(check.errors)
        || corrald_rules_derive(r->json) != 0)
    {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    corrald_rest_ignored(r, &check);

    corrald_clock_now(now, sizeof(now));
    json_object_set_new(r->json, "service_id", json_string(uuid));
    json_object_set_new(r->json, "created_at", json_string(now));
    json_object_set_new(r->json, "updated_at", json_string(now));

    if (corrald_check_fill(CORRALD_SERVICE, r->json) != 0
        || corrald_check_document(&check, CORRALD_SERVICE, r->json) != 0
        || corrald_services_mirror(&check, r->json, NULL) != 0)
    {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    corrald_check_free(&check);

    if (dry_run) {
        view = corrald_view_service(r->json, NULL, 0, 0, 1,
                                    corrald_conf()->gateway_url);
        json_object_set_new(view, "dry_run", json_true());
        corrald_rest_json(r, 200, view);
        return;
    }

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->status = 201;
    snprintf(c->id, sizeof(c->id), "%s", uuid);

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_PUT;
    op.kind = CORRALD_SERVICE;
    op.id = uuid;
    op.doc = r->json;
    op.owners = CORRALD_OWNER_all;
    op.expected = CORRALD_ABSENT;

    corrald_store_commit(&op, 1, 0, corrald_services_changed, c);
}


static void
corrald_services_change(corrald_rest_t *r, corrald_services_mode_e mode)
{
    const corrald_entry_t      *entry;
    corrald_services_change_t  *c;

    entry = corrald_services_find(r);

    if (entry == NULL) {
        return;
    }

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->mode = mode;
    c->status = 200;
    snprintf(c->id, sizeof(c->id), "%s", entry->id);

    /* requests for one service take turns */

    corrald_store_turn(CORRALD_SERVICE, c->id, corrald_services_try, c);
}


/* One try against the newest document. */

static void
corrald_services_try(void *data)
{
    int                         dry_run;
    json_t                     *wanted, *view, *instances;
    corrald_op_t                op;
    corrald_rest_t             *r;
    const corrald_entry_t      *entry;
    corrald_services_change_t  *c;

    c = data;
    r = c->r;
    entry = corrald_store_get(CORRALD_SERVICE, c->id);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_SERVICE_NOT_FOUND,
                             "service \"%.64s\" was deleted meanwhile",
                             r->params[0]);
        free(c);
        return;
    }

    if (corrald_rest_if_match(r, entry->revision) != 0
        || corrald_rest_query_bool(r, "dry_run", 0, &dry_run) != 0)
    {
        free(c);
        return;
    }

    wanted = corrald_services_wanted(c, entry);

    if (wanted == NULL) {
        free(c);
        return;
    }

    if (dry_run) {
        instances = corrald_instances_array(entry->id);
        view = corrald_view_service(wanted, instances, entry->revision,
                                    corrald_store_waiting(entry->id),
                                    entry->trusted,
                                    corrald_conf()->gateway_url);
        json_object_set_new(view, "dry_run", json_true());
        json_object_set_new(view, "changed",
                            corrald_diff_names(CORRALD_SERVICE, entry->doc,
                                               wanted));
        json_decref(instances);
        json_decref(wanted);
        corrald_rest_json(r, 200, view);
        free(c);
        return;
    }

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_PUT;
    op.kind = CORRALD_SERVICE;
    op.id = c->id;
    op.doc = wanted;
    op.owners = CORRALD_OWNER_operator|CORRALD_OWNER_system;
    op.expected = entry->revision;

    corrald_store_commit(&op, 1, 0, corrald_services_changed, c);

    json_decref(wanted);
}


/* The document as the request wants it; NULL after a problem was answered. */

static json_t *
corrald_services_wanted(corrald_services_change_t *c,
    const corrald_entry_t *entry)
{
    int                     rc;
    json_t                 *in, *wanted, *instances;
    unsigned                flags;
    const char             *hidden;
    corrald_check_t         check;
    const corrald_field_t  *f;

    in = json_deep_copy(c->r->json);
    instances = corrald_instances_array(entry->id);
    corrald_check_init(&check);

    flags = c->mode == CORRALD_SERVICES_MERGE ? CORRALD_CHECK_COMPAT : 0;
    wanted = NULL;

    if (flags) {
        corrald_services_compat(in);
    }

    rc = corrald_view_unmask(in, entry->doc, instances, &hidden);
    json_decref(instances);

    if (rc != 0) {
        (void) corrald_check_error(&check, "/env", "\"%.64s\" is \"%s\", "
                                   "which stands for a value that is there "
                                   "already", hidden, CORRALD_VIEW_HIDDEN);

    } else if (c->mode == CORRALD_SERVICES_PATCH) {
        wanted = corrald_patch_merge(entry->doc, in);
        rc = corrald_check_input(&check, CORRALD_SERVICE, wanted, entry->doc,
                                 CORRALD_OWNER_operator, flags);

    } else {
        rc = corrald_check_input(&check, CORRALD_SERVICE, in, entry->doc,
                                 CORRALD_OWNER_operator, flags);
        wanted = json_copy(entry->doc);

        /*
         * What a person does not write in a whole document is as he found it
         * in the manual.  What loops and actions write stays: replacing a
         * description must not stop the service.
         */

        for (f = corrald_doc_fields(CORRALD_SERVICE); f->name; f++) {
            if (c->mode == CORRALD_SERVICES_REPLACE
                && f->owner == CORRALD_OWNER_user && *f->preset)
            {
                json_object_del(wanted, f->name);
            }
        }

        if (c->mode == CORRALD_SERVICES_REPLACE && rc == 0) {
            rc = corrald_rules_derive(in);
            json_object_del(wanted, "listen");

            if (json_object_get(c->r->json, "desired") == NULL) {
                json_object_del(in, "desired");
            }
        }

        json_object_update(wanted, in);
    }

    if (rc == 0) {
        rc = corrald_check_fill(CORRALD_SERVICE, wanted);
    }

    if (rc == 0) {
        rc = corrald_check_document(&check, CORRALD_SERVICE, wanted);
    }

    if (rc == 0) {
        rc = corrald_services_mirror(&check, wanted, entry->doc);
    }

    json_decref(in);

    if (rc != 0) {
        corrald_rest_check(c->r, &check);
        corrald_check_free(&check);
        json_decref(wanted);

        return NULL;
    }

    corrald_rest_ignored(c->r, &check);
    corrald_check_free(&check);

    if (corrald_diff_flags(CORRALD_SERVICE, entry->doc, wanted) & CORRAL_P) {
        json_object_set_new(wanted, "generation",
                            json_integer(corrald_doc_int(entry->doc,
                                                         "generation")
                                         + 1));
    }

    return wanted;
}


/* A mirror that was not named before must exist and be another service. */

static int
corrald_services_mirror(corrald_check_t *check, const json_t *doc,
    const json_t *before)
{
    const char  *name;

    name = corrald_doc_str(doc, "mirror");

    if (*name == '\0') {
        return 0;
    }

    if (strcmp(name, corrald_doc_str(doc, "name")) == 0
        || strcmp(name, corrald_doc_str(doc, "service_id")) == 0)
    {
        return corrald_check_error(check, "/mirror", "is \"%.64s\", the "
                                   "service itself: it must be another one",
                                   name);
    }

    if (corrald_store_service(name)
        || strcmp(corrald_doc_str(before, "mirror"), name) == 0)
    {
        return 0;
    }

    return corrald_check_error(check, "/mirror", "is \"%.64s\": there is no "
                               "such service", name);
}


static void
corrald_services_changed(const corrald_result_t *result, void *data)
{
    int                         status;
    corrald_rest_t             *r;
    const corrald_entry_t      *entry;
    corrald_services_change_t  *c;

    c = data;
    r = c->r;

    if (result->result == CORRALD_CONFLICT && c->status == 200
        && c->tries++ < CORRALD_SERVICES_TRIES)
    {
        /* another writer was faster: If-Match is asked again */

        corrald_store_turn(CORRALD_SERVICE, c->id, corrald_services_try, c);
        return;
    }

    status = c->status;
    entry = corrald_store_get(CORRALD_SERVICE, c->id);
    free(c);

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_SERVICE_NOT_FOUND,
                             "the service was deleted meanwhile");
        return;
    }

    corrald_rest_etag(r, entry->revision);

    if (status == 201) {
        corrald_rest_set(r, "Location", "/api/v1/services/%s", entry->id);
    }

    corrald_rest_changed(r, status, corrald_services_show(entry),
                         result->revision);
}


static void
corrald_services_deleted(const corrald_result_t *result, void *data)
{
    const char                 *id;
    corrald_rest_t             *r;
    corrald_services_change_t  *c;

    c = data;
    r = c->r;

    if (result->result != CORRALD_DONE) {
        free(c);
        corrald_rest_result(r, result);
        return;
    }

    if (c->status != 202) {
        free(c);
        corrald_rest_json(r, 200, corrald_rest_message(
                                  "Service deleted successfully"));
        return;
    }

    id = corrald_operations_begin("delete", c->id);
    corrald_rest_set(r, "Location", "/api/v1/operations/%s", id);
    corrald_operations_wait(id, c->timeout, corrald_services_gone, c);
}


static void
corrald_services_gone(corrald_operation_e state, const char *message,
    void *data)
{
    corrald_rest_t             *r;
    corrald_services_change_t  *c;

    c = data;
    r = c->r;
    free(c);

    if (state == CORRALD_OPERATION_DONE) {
        json_object_del(r->headers, "Location");
        corrald_rest_json(r, 200, corrald_rest_message(
                                  "Service deleted successfully"));
        return;
    }

    corrald_rest_json(r, 202, corrald_rest_message("Service is being deleted: "
                                                   "%s", message));
}


/* What MyAgent's clients send and mean. */

static void
corrald_services_compat(json_t *in)
{
    char         path[PATH_MAX];
    size_t       i, n;
    json_t      *tags, *tag;
    const char  *file;

    file = corrald_doc_str(in, "agent_factory_path");

    if (*file && *file != '/' && getcwd(path, sizeof(path))) {
        json_object_set_new(in, "agent_factory_path",
                            json_sprintf("%s/%s", path, file));
    }

    /* its tags are a set */

    tags = json_object_get(in, "tags");

    json_array_foreach(tags, i, tag) {
        for (n = json_array_size(tags); n-- > i + 1; /* void */ ) {
            if (json_equal(tag, json_array_get(tags, n))) {
                json_array_remove(tags, n);
            }
        }
    }
}
