
/*
 * What is revoked: tokens, subjects and sessions that may not connect any more,
 * each until a time.  The gateways learn it within a second or two.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "api.h"


#define CORRALD_REVOCATIONS_DAY   86400             /* s, unless told */
#define CORRALD_REVOCATIONS_SIZE  (32 + CORRAL_REVOCATION_NAME)


/* One that is being written. */

typedef struct {
    corrald_rest_t  *r;
    char             id[CORRALD_REVOCATIONS_SIZE];
    int64_t          expires;                       /* unix time, 0: undone */
} corrald_revocations_t;


static int corrald_revocations_name(const char *id);
static void corrald_revocations_send(corrald_rest_t *r, const char *id,
    int64_t expires);
static void corrald_revocations_written(json_t *value, const char *err,
    void *data);
static void corrald_revocations_listed(json_t *value, const char *err,
    void *data);
static json_t *corrald_revocations_show(const char *id, int64_t expires);
static json_t *corrald_revocations_row(void *row, void *data);


static const char *const  corrald_revocations_kinds[] = {
#define X(name, text)  #name,
    CORRAL_REVOCATION_KINDS(X)
#undef X
    NULL
};


void
corrald_revocations_list(corrald_rest_t *r)
{
    corrald_store_revocations(corrald_revocations_listed, r);
}


/* Body: revocation_id, and until when, by expires_at or not at all. */

void
corrald_revocations_create(corrald_rest_t *r)
{
    json_t           *value;
    int64_t           now, expires;
    const char       *id, *name;
    corrald_check_t   check;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    corrald_check_init(&check);

    json_object_foreach(r->json, name, value) {
        if (!corrald_uri_word("revocation_id,expires_at", name)) {
            (void) corrald_check_error(&check, "", "\"%.64s\" is not a "
                                       "member: there are revocation_id and "
                                       "expires_at", name);
        }
    }

    id = json_string_value(json_object_get(r->json, "revocation_id"));

    if (id == NULL || !corrald_revocations_name(id)) {
        (void) corrald_check_error(&check, "/revocation_id", "is \"%.64s\", it "
                                   "must be token:ID, subject:NAME or "
                                   "session:ID, with a name of 1 to %d bytes",
                                   id ? id : "", CORRAL_REVOCATION_NAME);
    }

    now = corrald_clock_ms() / 1000;
    expires = now + CORRALD_REVOCATIONS_DAY;
    value = json_object_get(r->json, "expires_at");

    if (value) {
        name = json_string_value(value);
        expires = name ? corrald_clock_parse(name) / 1000 : 0;
    }

    if (expires <= now || expires > now + CORRAL_REVOCATION_AGE) {
        name = json_string_value(value);
        (void) corrald_check_error(&check, "/expires_at", "is \"%.64s\", it "
                                   "must be a time to come, within 366 days, "
                                   "as \"2030-01-01T00:00:00Z\"",
                                   name ? name : "");
    }

    if (json_array_size(check.errors)) {
        corrald_rest_check(r, &check);

    } else {
        corrald_revocations_send(r, id, expires);
    }

    corrald_check_free(&check);
}


void
corrald_revocations_delete(corrald_rest_t *r)
{
    if (!corrald_revocations_name(r->params[0])) {
        corrald_rest_problem(r, CORRALD_PROBLEM_REVOCATION_NOT_FOUND,
                             "\"%.64s\" is not the id of a revocation: that is "
                             "token:ID, subject:NAME or session:ID",
                             r->params[0]);
        return;
    }

    corrald_revocations_send(r, r->params[0], 0);
}


/* Is it a kind, a colon and a name? */

static int
corrald_revocations_name(const char *id)
{
    size_t  i, kind, name;

    kind = strcspn(id, ":");

    for (i = 0; corrald_revocations_kinds[i]; i++) {

        if (strlen(corrald_revocations_kinds[i]) == kind
            && strncmp(corrald_revocations_kinds[i], id, kind) == 0)
        {
            name = id[kind] ? strlen(id + kind + 1) : 0;

            return name >= 1 && name <= CORRAL_REVOCATION_NAME;
        }
    }

    return 0;
}


static void
corrald_revocations_send(corrald_rest_t *r, const char *id, int64_t expires)
{
    corrald_revocations_t  *v;

    v = corrald_alloc(1, sizeof(*v), "for a request");

    v->r = r;
    v->expires = expires;
    snprintf(v->id, sizeof(v->id), "%s", id);

    corrald_store_revoke(v->id, expires, corrald_revocations_written, v);
}


static void
corrald_revocations_written(json_t *value, const char *err, void *data)
{
    json_t                 *detail;
    const char             *result;
    corrald_rest_t         *r;
    corrald_revocations_t  *v;

    v = data;
    r = v->r;
    result = value ? json_string_value(value) : "";

    if (value == NULL) {
        corrald_rest_store_error(r, err);

    } else if (strcmp(result, "missing") == 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_REVOCATION_NOT_FOUND,
                             "\"%.64s\" is not revoked", v->id);

    } else if (strcmp(result, "full") == 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "%d entries are "
                             "revoked already, which is all there may be: "
                             "revoke a subject instead of its tokens, or "
                             "until an earlier time", CORRAL_REVOCATIONS_MAX);

    } else {
        detail = json_pack("{s:s}", "by", r->principal ? r->principal : "");
        corrald_store_event(v->expires ? "revoked" : "unrevoked",
                            "revocation", v->id, detail);
        json_decref(detail);

        if (v->expires) {
            corrald_rest_json(r, 201, corrald_revocations_show(v->id,
                                                               v->expires));
        } else {
            corrald_rest_json(r, 200,
                              corrald_rest_message("Revoked no longer"));
        }
    }

    free(v);
}


static void
corrald_revocations_listed(json_t *value, const char *err, void *data)
{
    size_t               i;
    char               (*keys)[24];
    json_t              *item;
    corrald_rest_t      *r;
    corrald_uri_row_t   *rows;

    r = data;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        return;
    }

    rows = corrald_alloc(json_array_size(value) + 1, sizeof(*rows),
                         "for a list");
    keys = corrald_alloc(json_array_size(value) + 1, sizeof(*keys),
                         "for a list");

    json_array_foreach(value, i, item) {
        snprintf(keys[i], sizeof(keys[i]), "%020lld",
                 (long long) corrald_doc_int(item, "expires"));
        rows[i].key = keys[i];
        rows[i].id = corrald_doc_str(item, "name");
        rows[i].data = item;
    }

    corrald_rest_page(r, rows, json_array_size(value), "expires_at", 0,
                      corrald_revocations_row, NULL);
    free(rows);
    free(keys);
}


static json_t *
corrald_revocations_row(void *row, void *data)
{
    return corrald_revocations_show(corrald_doc_str(row, "name"),
                                    corrald_doc_int(row, "expires"));
}


static json_t *
corrald_revocations_show(const char *id, int64_t expires)
{
    char    at[32];
    size_t  kind;

    kind = strcspn(id, ":");

    return json_pack("{s:s, s:s%, s:s, s:s}", "revocation_id", id,
                     "kind", id, kind, "name", id + kind + 1,
                     "expires_at", corrald_clock_format(expires * 1000, at,
                                                        sizeof(at)));
}
