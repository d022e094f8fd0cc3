
/*
 * Rebalancing of a service on demand: the gateways are asked for one pass and
 * say how many connections are to go; they go on by themselves, at the pace of
 * the service.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "api.h"


#define CORRALD_REBALANCE_WAIT  5000      /* ms, for the answers */


typedef struct {
    corrald_rest_t  *r;
    char             service_id[CORRAL_ID_MAX + 1];
    int              dry_run;
} corrald_rebalance_t;


static int corrald_rebalance_body(corrald_rest_t *r, int *dry_run);
static void corrald_rebalance_answered(json_t *value, const char *err,
    void *data);
static const char *corrald_rebalance_refused(const json_t *value);


/* Body: dry_run, or nothing. */

void
corrald_rebalance_service(corrald_rest_t *r)
{
    int                     dry_run;
    json_t                 *filter;
    corrald_command_t       command;
    corrald_rebalance_t    *b;
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0
        || corrald_rebalance_body(r, &dry_run) != 0)
    {
        return;
    }

    b = corrald_alloc(1, sizeof(*b), "for a rebalance");

    b->r = r;
    b->dry_run = dry_run;
    snprintf(b->service_id, sizeof(b->service_id), "%s", entry->id);

    filter = json_pack("{s:s}", "service_id", entry->id);
    memset(&command, 0, sizeof(command));

    command.op = "rebalance";
    command.filter = filter;
    command.reason = "";
    command.dry_run = dry_run;

    corrald_store_command(&command, CORRALD_REBALANCE_WAIT,
                          corrald_rebalance_answered, b);
    json_decref(filter);
}


/* 0, or -1: then it was answered. */

static int
corrald_rebalance_body(corrald_rest_t *r, int *dry_run)
{
    int               rc;
    json_t           *value;
    const char       *name;
    corrald_check_t   check;

    if (corrald_rest_body(r, 0) != 0) {
        return -1;
    }

    corrald_check_init(&check);

    json_object_foreach(r->json, name, value) {
        if (strcmp(name, "dry_run") != 0) {
            (void) corrald_check_error(&check, "", "\"%.64s\" is not a "
                                       "member: there is dry_run", name);

        } else if (!json_is_boolean(value)) {
            (void) corrald_check_error(&check, "/dry_run", "must be true or "
                                       "false");
        }
    }

    *dry_run = json_is_true(json_object_get(r->json, "dry_run"));
    rc = json_array_size(check.errors) != 0;

    if (rc) {
        corrald_rest_check(r, &check);
    }

    corrald_check_free(&check);

    return rc ? -1 : 0;
}


static void
corrald_rebalance_answered(json_t *value, const char *err, void *data)
{
    json_t               *detail;
    int64_t               planned;
    const char           *refused;
    corrald_rest_t       *r;
    corrald_rebalance_t  *b;

    b = data;
    r = b->r;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        goto done;
    }

    refused = corrald_rebalance_refused(value);

    if (refused) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "nothing is moved: "
                             "%.128s", refused);
        goto done;
    }

    planned = corrald_doc_int(value, "matched");

    if (planned && !b->dry_run) {
        detail = json_pack("{s:I, s:O, s:s}", "planned", (json_int_t) planned,
                           "movable", json_object_get(value, "closed"),
                           "by", r->principal ? r->principal : "");
        corrald_store_event("rebalance", "service", b->service_id, detail);
        json_decref(detail);
    }

    corrald_rest_json(r, 200,
                      json_pack("{s:I, s:O, s:b, s:O, s:O, s:O, s:O}",
                                "planned", (json_int_t) planned,
                                "movable", json_object_get(value, "closed"),
                                "dry_run", b->dry_run,
                                "workers", json_object_get(value, "workers"),
                                "answered", json_object_get(value, "answered"),
                                "missing", json_object_get(value, "missing"),
                                "errors", json_object_get(value, "errors")));

done:

    free(b);
}


/* why, if no worker does anything; else NULL */

static const char *
corrald_rebalance_refused(const json_t *value)
{
    json_t  *errors;

    errors = json_object_get(value, "errors");

    if (json_array_size(errors) == 0
        || (int64_t) json_array_size(errors)
           != corrald_doc_int(value, "answered"))
    {
        return NULL;
    }

    return corrald_doc_str(json_array_get(errors, 0), "detail");
}
