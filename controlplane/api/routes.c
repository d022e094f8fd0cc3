
/*
 * Rules: list, create, read, change, delete.  The order of many is
 * routes_order.c's affair, which request they are for is trace.c's.
 *
 * A rule may only be written with targets that exist; what happens to a service
 * later does not touch the rules that name it.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/crypt.h"
#include "../model/diff.h"
#include "../model/patch.h"
#include "../model/route.h"
#include "api.h"


#define CORRALD_ROUTES_TRIES  8         /* conflicts with other writers */


typedef enum {
    CORRALD_ROUTES_PATCH = 0,        /* merge-patch */
    CORRALD_ROUTES_REPLACE,          /* PUT: a whole document */
    CORRALD_ROUTES_ENABLE,
    CORRALD_ROUTES_DISABLE
} corrald_routes_mode_e;


/* A change on its way. */

typedef struct {
    corrald_rest_t          *r;
    corrald_routes_mode_e    mode;
    char                     id[CORRAL_ID_MAX + 1];
    int                      tries;
    int                      status;
} corrald_routes_change_t;


/* rows that are being collected */

typedef struct {
    corrald_rest_t     *r;
    int                 enabled;     /* -1: any */
    const char         *sort;
    json_t             *keys;        /* strings that rows point to */
    corrald_uri_row_t  *rows;
    size_t              n;
} corrald_routes_rows_t;


static void corrald_routes_page(corrald_rest_t *r, int enabled);
static void corrald_routes_collect(const corrald_entry_t *entry, void *data);
static int corrald_routes_word(const json_t *list, const char *words);
static json_t *corrald_routes_row(void *row, void *data);
static const corrald_entry_t *corrald_routes_find(corrald_rest_t *r);
static void corrald_routes_insert(corrald_rest_t *r, unsigned flags);
static corrald_routes_change_t *corrald_routes_new(corrald_rest_t *r,
    const char *id, int status);
static void corrald_routes_change(corrald_rest_t *r,
    corrald_routes_mode_e mode);
static void corrald_routes_try(void *data);
static json_t *corrald_routes_wanted(corrald_routes_change_t *c,
    const corrald_entry_t *entry);
static json_t *corrald_routes_replaced(const json_t *doc, const json_t *in);
static int corrald_routes_targets(corrald_check_t *check, const json_t *doc,
    const json_t *before);
static int corrald_routes_target(corrald_check_t *check, const char *pointer,
    const char *name, int known);
static void corrald_routes_changed(const corrald_result_t *result,
    void *data);
static void corrald_routes_deleted(const corrald_result_t *result,
    void *data);


void
corrald_routes_list(corrald_rest_t *r)
{
    int  enabled;

    if (corrald_rest_query_bool(r, "enabled", -1, &enabled) == 0) {
        corrald_routes_page(r, enabled);
    }
}


/* MyAgent's: only enabled ones, unless asked otherwise */

void
corrald_routes_compat_list(corrald_rest_t *r)
{
    int  only;

    if (corrald_rest_query_bool(r, "enabled_only", 1, &only) == 0) {
        corrald_routes_page(r, only ? 1 : -1);
    }
}


void
corrald_routes_create(corrald_rest_t *r)
{
    if (corrald_rest_body(r, 1) == 0) {
        corrald_routes_insert(r, CORRALD_CHECK_CREATE);
    }
}


void
corrald_routes_compat_create(corrald_rest_t *r)
{
    if (corrald_rest_body(r, 1) == 0) {
        corrald_route_compat(r->json);
        corrald_routes_insert(r, CORRALD_CHECK_CREATE|CORRALD_CHECK_COMPAT);
    }
}


void
corrald_routes_get(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_routes_find(r);

    if (entry == NULL || corrald_rest_not_modified(r, entry->revision)) {
        return;
    }

    corrald_rest_view(r, corrald_routes_show(entry));
}


/* The whole document; creates a rule of this name. */

void
corrald_routes_put(corrald_rest_t *r)
{
    const char  *name, *match;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    name = r->params[0];
    match = corrald_rest_header(r, "If-None-Match");

    if (corrald_store_rule(name)) {

        if (match && strcmp(match, "*") == 0) {
            corrald_rest_problem(r, CORRALD_PROBLEM_PRECONDITION_FAILED,
                                 "there is a rule \"%.128s\"", name);
            return;
        }

        corrald_routes_change(r, CORRALD_ROUTES_REPLACE);
        return;
    }

    if (corrald_rest_header(r, "If-Match")) {
        corrald_rest_problem(r, CORRALD_PROBLEM_PRECONDITION_FAILED,
                             "there is no rule \"%.128s\"", name);
        return;
    }

    if (json_object_get(r->json, "name") == NULL) {
        json_object_set_new(r->json, "name", json_string(name));

    } else if (strcmp(corrald_doc_str(r->json, "name"), name) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                             "the path says \"%.128s\", \"name\" says "
                             "\"%.128s\", and there is no such rule yet",
                             name, corrald_doc_str(r->json, "name"));
        return;
    }

    corrald_routes_insert(r, CORRALD_CHECK_CREATE);
}


void
corrald_routes_patch(corrald_rest_t *r)
{
    if (corrald_rest_body(r, 1) == 0) {
        corrald_routes_change(r, CORRALD_ROUTES_PATCH);
    }
}


void
corrald_routes_action(corrald_rest_t *r)
{
    const char  *action;

    action = r->params[1];

    if (strcmp(action, "enable") == 0) {
        corrald_routes_change(r, CORRALD_ROUTES_ENABLE);

    } else if (strcmp(action, "disable") == 0) {
        corrald_routes_change(r, CORRALD_ROUTES_DISABLE);

    } else {
        corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "\"%.64s\" is not "
                             "an action, it can be: enable disable", action);
    }
}


void
corrald_routes_delete(corrald_rest_t *r)
{
    corrald_op_t            op;
    const corrald_entry_t  *entry;

    entry = corrald_routes_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_DEL;
    op.kind = CORRALD_RULE;
    op.id = entry->id;
    op.expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                     : CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_routes_deleted, r);
}


json_t *
corrald_routes_show(const corrald_entry_t *entry)
{
    json_t  *view;

    view = json_deep_copy(entry->doc);
    json_object_set_new(view, "revision", json_integer(entry->revision));

    return view;
}


/*
 * What a row is sorted by; the order of rules begins with a number that never
 * is negative.  A cursor holds 120 bytes of it: names that are longer, and the
 * same so far, stand by their ids.
 */

static const char *
corrald_routes_key(corrald_routes_rows_t *c, const json_t *doc)
{
    char     key[128];
    json_t  *text;

    if (strcmp(c->sort, "priority") == 0) {
        snprintf(key, sizeof(key), "%08lld/%.100s",
                 (long long) corrald_doc_int(doc, "priority") + 10000000,
                 corrald_doc_str(doc, "name"));

    } else {
        snprintf(key, sizeof(key), "%.100s", corrald_doc_str(doc, c->sort));
    }

    key[strcspn(key, "|")] = '\0';

    text = json_string_nocheck(key);
    json_array_append_new(c->keys, text);

    return text ? json_string_value(text) : "";
}


static void
corrald_routes_page(corrald_rest_t *r, int enabled)
{
    int                     descending;
    const char             *sort;
    corrald_routes_rows_t   c;

    if (corrald_rest_query_sort(r, "priority name created_at updated_at",
                                "priority", &sort, &descending)
        != 0)
    {
        return;
    }

    if (corrald_rest_not_modified(r, corrald_store_status()->revision)) {
        return;
    }

    c.r = r;
    c.enabled = enabled;
    c.sort = sort;
    c.keys = json_array();
    c.n = 0;
    c.rows = corrald_alloc(corrald_store_count(CORRALD_RULE) + 1,
                           sizeof(*c.rows), "for a list");

    corrald_store_each(CORRALD_RULE, corrald_routes_collect, &c);

    corrald_rest_page(r, c.rows, c.n, sort, descending, corrald_routes_row,
                      NULL);
    json_decref(c.keys);
    free(c.rows);
}


/* filters: name (a part of it), service (a target), tags (any target tag) */

static void
corrald_routes_collect(const corrald_entry_t *entry, void *data)
{
    const char             *text;
    const json_t           *doc;
    corrald_routes_rows_t  *c;

    c = data;
    doc = entry->doc;

    if (c->enabled != -1 && corrald_doc_bool(doc, "enabled") != c->enabled) {
        return;
    }

    text = corrald_rest_query(c->r, "name");

    if (text && strstr(corrald_doc_str(doc, "name"), text) == NULL) {
        return;
    }

    text = corrald_rest_query(c->r, "service");

    if (text && strcmp(corrald_doc_str(doc, "fallback_service"), text) != 0
        && !corrald_routes_word(json_object_get(doc, "target_services"), text))
    {
        return;
    }

    text = corrald_rest_query(c->r, "tags");

    if (text
        && !corrald_routes_word(json_object_get(doc, "target_tags"), text))
    {
        return;
    }

    c->rows[c->n].key = corrald_routes_key(c, doc);
    c->rows[c->n].id = entry->id;
    c->rows[c->n].data = (void *) entry;
    c->n++;
}


/* whether one of the items is one of the words, which commas separate */

static int
corrald_routes_word(const json_t *list, const char *words)
{
    size_t   i;
    json_t  *item;

    json_array_foreach(list, i, item) {
        if (corrald_uri_word(words, json_string_value(item))) {
            return 1;
        }
    }

    return 0;
}


static json_t *
corrald_routes_row(void *row, void *data)
{
    return corrald_routes_show(row);
}


static const corrald_entry_t *
corrald_routes_find(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_rule(r->params[0]);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_RULE_NOT_FOUND,
                             "there is no rule \"%.128s\"", r->params[0]);
    }

    return entry;
}


/* A new rule of r->json. */

static void
corrald_routes_insert(corrald_rest_t *r, unsigned flags)
{
    int               dry_run;
    char              uuid[37], now[CORRALD_CLOCK_SIZE];
    corrald_op_t      op;
    corrald_check_t   check;

    if (corrald_rest_query_bool(r, "dry_run", 0, &dry_run) != 0) {
        return;
    }

    if (corrald_store_count(CORRALD_RULE) >= CORRAL_RULES_MAX) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "there are %d "
                             "rules, more are not kept", CORRAL_RULES_MAX);
        return;
    }

    if (corrald_crypt_uuid(uuid) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INTERNAL_ERROR,
                             "no random bytes");
        return;
    }

    corrald_check_init(&check);

    if (corrald_check_input(&check, CORRALD_RULE, r->json, NULL,
                            CORRALD_OWNER_operator, flags)
        == 0)
    {
        corrald_rest_ignored(r, &check);

        corrald_clock_now(now, sizeof(now));
        json_object_set_new(r->json, "rule_id", json_string(uuid));
        json_object_set_new(r->json, "created_at", json_string(now));
        json_object_set_new(r->json, "updated_at", json_string(now));

        if (corrald_check_fill(CORRALD_RULE, r->json) == 0
            && corrald_check_document(&check, CORRALD_RULE, r->json) == 0)
        {
            (void) corrald_routes_targets(&check, r->json, NULL);
        }
    }

    if (json_array_size(check.errors)) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    corrald_check_free(&check);

    if (dry_run) {
        json_object_set_new(r->json, "dry_run", json_true());
        corrald_rest_json(r, 200, json_incref(r->json));
        return;
    }

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_PUT;
    op.kind = CORRALD_RULE;
    op.id = uuid;
    op.doc = r->json;
    op.owners = CORRALD_OWNER_all;
    op.expected = CORRALD_ABSENT;

    corrald_store_commit(&op, 1, 0, corrald_routes_changed,
                         corrald_routes_new(r, uuid, 201));
}


static corrald_routes_change_t *
corrald_routes_new(corrald_rest_t *r, const char *id, int status)
{
    corrald_routes_change_t  *c;

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->status = status;
    snprintf(c->id, sizeof(c->id), "%s", id);

    return c;
}


static void
corrald_routes_change(corrald_rest_t *r, corrald_routes_mode_e mode)
{
    const corrald_entry_t    *entry;
    corrald_routes_change_t  *c;

    entry = corrald_routes_find(r);

    if (entry == NULL) {
        return;
    }

    c = corrald_routes_new(r, entry->id, 200);
    c->mode = mode;

    /* requests for one rule take turns */

    corrald_store_turn(CORRALD_RULE, c->id, corrald_routes_try, c);
}


/* One try against the newest document. */

static void
corrald_routes_try(void *data)
{
    int                       dry_run;
    json_t                   *wanted;
    corrald_op_t              op;
    corrald_rest_t           *r;
    const corrald_entry_t    *entry;
    corrald_routes_change_t  *c;

    c = data;
    r = c->r;
    entry = corrald_store_get(CORRALD_RULE, c->id);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_RULE_NOT_FOUND,
                             "rule \"%.128s\" was deleted meanwhile",
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

    wanted = corrald_routes_wanted(c, entry);

    if (wanted == NULL) {
        free(c);
        return;
    }

    if (dry_run) {
        json_object_set_new(wanted, "changed",
                            corrald_diff_names(CORRALD_RULE, entry->doc,
                                               wanted));
        json_object_set_new(wanted, "dry_run", json_true());
        corrald_rest_json(r, 200, wanted);
        free(c);
        return;
    }

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_PUT;
    op.kind = CORRALD_RULE;
    op.id = c->id;
    op.doc = wanted;
    op.owners = CORRALD_OWNER_operator;
    op.expected = entry->revision;

    corrald_store_commit(&op, 1, 0, corrald_routes_changed, c);

    json_decref(wanted);
}


/* The document as the request wants it; NULL after a problem was answered. */

static json_t *
corrald_routes_wanted(corrald_routes_change_t *c, const corrald_entry_t *entry)
{
    int               rc;
    json_t           *wanted;
    corrald_check_t   check;

    corrald_check_init(&check);

    switch (c->mode) {

    case CORRALD_ROUTES_PATCH:
        wanted = corrald_patch_merge(entry->doc, c->r->json);
        break;

    case CORRALD_ROUTES_REPLACE:
        wanted = corrald_routes_replaced(entry->doc, c->r->json);
        break;

    default: /* CORRALD_ROUTES_ENABLE, CORRALD_ROUTES_DISABLE */
        wanted = json_deep_copy(entry->doc);
        json_object_set_new(wanted, "enabled",
                            json_boolean(c->mode == CORRALD_ROUTES_ENABLE));
        break;
    }

    rc = corrald_check_input(&check, CORRALD_RULE, wanted, entry->doc,
                             CORRALD_OWNER_operator, 0);

    if (rc == 0) {
        rc = corrald_check_fill(CORRALD_RULE, wanted);
    }

    if (rc == 0) {
        rc = corrald_check_document(&check, CORRALD_RULE, wanted);
    }

    if (rc == 0) {
        rc = corrald_routes_targets(&check, wanted, entry->doc);
    }

    if (rc != 0) {
        corrald_rest_check(c->r, &check);
        json_decref(wanted);
        wanted = NULL;
    }

    corrald_check_free(&check);

    return wanted;
}


/* What is not given goes back to its default; the system's fields stay. */

static json_t *
corrald_routes_replaced(const json_t *doc, const json_t *in)
{
    json_t                 *wanted, *value;
    const corrald_field_t  *f;

    wanted = json_deep_copy(in);

    for (f = corrald_doc_fields(CORRALD_RULE); f->name; f++) {
        value = json_object_get(doc, f->name);

        if (value && json_object_get(wanted, f->name) == NULL
            && (f->owner != CORRALD_OWNER_user || *f->preset == '\0'))
        {
            json_object_set(wanted, f->name, value);
        }
    }

    return wanted;
}


/* Services that the rule did not name before must exist. */

static int
corrald_routes_targets(corrald_check_t *check, const json_t *doc,
    const json_t *before)
{
    int          rc;
    char         pointer[64];
    size_t       i;
    json_t      *list, *item, *was;
    const char  *name;

    rc = 0;
    list = json_object_get(doc, "target_services");
    was = json_object_get(before, "target_services");

    json_array_foreach(list, i, item) {
        snprintf(pointer, sizeof(pointer), "/target_services/%zu", i);
        name = json_string_value(item);
        rc |= corrald_routes_target(check, pointer, name,
                                    corrald_routes_word(was, name));
    }

    json_object_foreach(json_object_get(doc, "weights"), name, item) {
        rc |= corrald_routes_target(check, "/weights", name,
                  json_object_get(json_object_get(before, "weights"), name)
                  != NULL);
    }

    name = corrald_doc_str(doc, "fallback_service");

    if (*name) {
        rc |= corrald_routes_target(check, "/fallback_service", name,
                  strcmp(corrald_doc_str(before, "fallback_service"), name)
                  == 0);
    }

    return rc;
}


static int
corrald_routes_target(corrald_check_t *check, const char *pointer,
    const char *name, int known)
{
    if (known || corrald_store_service(name)) {
        return 0;
    }

    return corrald_check_error(check, pointer, "is \"%.64s\": there is no such"
                               " service", name);
}


static void
corrald_routes_changed(const corrald_result_t *result, void *data)
{
    int                       status;
    corrald_rest_t           *r;
    const corrald_entry_t    *entry;
    corrald_routes_change_t  *c;

    c = data;
    r = c->r;

    if (result->result == CORRALD_CONFLICT && c->status == 200
        && c->tries++ < CORRALD_ROUTES_TRIES)
    {
        /* another writer was faster: If-Match is asked again */

        corrald_store_turn(CORRALD_RULE, c->id, corrald_routes_try, c);
        return;
    }

    status = c->status;
    entry = corrald_store_get(CORRALD_RULE, c->id);
    free(c);

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_RULE_NOT_FOUND,
                             "the rule was deleted meanwhile");
        return;
    }

    corrald_rest_etag(r, entry->revision);

    if (status == 201) {
        corrald_rest_set(r, "Location", "/api/v1/routes/%s", entry->id);
    }

    corrald_rest_changed(r, status, corrald_routes_show(entry),
                         result->revision);
}


static void
corrald_routes_deleted(const corrald_result_t *result, void *data)
{
    corrald_rest_t  *r;

    r = data;

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    corrald_rest_changed(r, 200,
                         corrald_rest_message("Rule deleted successfully"),
                         result->revision);
}
