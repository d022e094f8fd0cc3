
/*
 * Drains of an instance, a service or a gateway: taken out of routing (an
 * instance by maintenance, a service by pause; a gateway is its operator's
 * affair), counted, then closed by the workers themselves, at one pace for all
 * of them.  The operation shows how far that is.
 *
 * The workers go on when this process ends; only the operation goes with it.
 * What was drained stays out of routing until it is resumed.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/loop.h"
#include "api.h"


#define CORRALD_DRAINS_CODE      1012
#define CORRALD_DRAINS_REASON    "draining"
#define CORRALD_DRAINS_HINTED    90       /* bytes; room for retry_after */
#define CORRALD_DRAINS_RATE      100      /* a second, of a gateway */
#define CORRALD_DRAINS_DEADLINE  30000    /* ms, of a gateway */
#define CORRALD_DRAINS_RETRY     5000     /* ms */
#define CORRALD_DRAINS_MAX       3600000  /* ms, of deadline and retry_after */

/* ms: to leave routing, for a count, and behind the deadline for the rest */

#define CORRALD_DRAINS_APPLIED   2000
#define CORRALD_DRAINS_COUNT     1000
#define CORRALD_DRAINS_REST      8000
#define CORRALD_DRAINS_POLL      100
#define CORRALD_DRAINS_TRIES     30       /* polls until it leaves "running" */


typedef struct corrald_drains_s  corrald_drains_t;

struct corrald_drains_s {
    corrald_drains_t   *next;
    corrald_rest_t     *r;                /* until it is answered */
    char                op[40];           /* its operation */
    corrald_kind_e      kind;
    char                id[CORRAL_ID_MAX + 1];       /* "" for a gateway */
    char                service_id[CORRAL_ID_MAX + 1];
    char                target[CORRAL_ID_MAX + 1];
    char                reason[CORRALD_DRAINS_HINTED + 1];
    json_t             *filter;
    int64_t             rate;
    int64_t             deadline;
    int64_t             retry_after;
    int64_t             total;
    int                 tries;
    int                 counting;
    corrald_timer_t    *timer;
};


static corrald_drains_t *corrald_drains_make(corrald_rest_t *r,
    const json_t *service);
static int corrald_drains_body(corrald_rest_t *r, const json_t *service,
    corrald_drains_t *d);
static int corrald_drains_ms(corrald_check_t *check, const json_t *body,
    const char *name, int64_t *ms);
static void corrald_drains_write(corrald_drains_t *d, json_t *doc,
    unsigned owners);
static void corrald_drains_written(const corrald_result_t *result,
    void *data);
static void corrald_drains_begin(corrald_drains_t *d);
static void corrald_drains_leave(void *data);
static void corrald_drains_applied(json_t *value, const char *err,
    void *data);
static void corrald_drains_command(corrald_drains_t *d, int dry_run,
    corrald_store_json_pt handler);
static void corrald_drains_total(json_t *value, const char *err, void *data);
static void corrald_drains_look(void *data);
static void corrald_drains_looked(json_t *value, const char *err, void *data);
static void corrald_drains_done(json_t *value, const char *err, void *data);
static corrald_drains_t *corrald_drains_find(void *data);
static void corrald_drains_free(corrald_drains_t *d);


static corrald_drains_t  *corrald_drains_first;


void
corrald_drains_service(corrald_rest_t *r)
{
    corrald_drains_t       *d;
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    d = corrald_drains_make(r, entry->doc);

    if (d == NULL) {
        return;
    }

    d->kind = CORRALD_SERVICE;
    snprintf(d->id, sizeof(d->id), "%s", entry->id);
    snprintf(d->service_id, sizeof(d->service_id), "%s", entry->id);
    snprintf(d->target, sizeof(d->target), "%s",
             corrald_doc_str(entry->doc, "name"));
    d->filter = json_pack("{s:s}", "service_id", entry->id);

    corrald_drains_write(d, json_pack("{s:s}", "desired", "paused"),
                         CORRALD_OWNER_schedule);
}


void
corrald_drains_instance(corrald_rest_t *r)
{
    corrald_drains_t       *d;
    const corrald_entry_t  *entry, *service;

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    service = corrald_store_get(CORRALD_SERVICE,
                                corrald_doc_str(entry->doc, "service_id"));

    d = corrald_drains_make(r, service ? service->doc : NULL);

    if (d == NULL) {
        return;
    }

    d->kind = CORRALD_INSTANCE;
    snprintf(d->id, sizeof(d->id), "%s", entry->id);
    snprintf(d->service_id, sizeof(d->service_id), "%s",
             corrald_doc_str(entry->doc, "service_id"));
    snprintf(d->target, sizeof(d->target), "%s", entry->id);
    d->filter = json_pack("{s:s}", "instance_id", entry->id);

    corrald_drains_write(d, json_pack("{s:b}", "maintenance", 1),
                         CORRALD_OWNER_user);
}


/* New connections still come: nothing here tells clients to go elsewhere. */

void
corrald_drains_gateway(corrald_rest_t *r)
{
    size_t             i;
    json_t            *worker;
    corrald_drains_t  *d;

    json_array_foreach(corrald_store_workers(), i, worker) {
        if (strcmp(corrald_doc_str(worker, "gateway"), r->params[0]) == 0) {
            break;
        }
    }

    if (i == json_array_size(corrald_store_workers())) {
        corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "there is no "
                             "gateway \"%.64s\" with a live worker",
                             r->params[0]);
        return;
    }

    d = corrald_drains_make(r, NULL);

    if (d == NULL) {
        return;
    }

    snprintf(d->target, sizeof(d->target), "%.64s", r->params[0]);
    d->filter = json_pack("{s:s}", "gateway", r->params[0]);

    corrald_drains_begin(d);
    corrald_drains_applied(NULL, NULL, strdup(d->op));
}


/*
 * The workers go on; nobody looks any more.  One that is being written is
 * ended by the store's answer.
 */

void
corrald_drains_close(void)
{
    corrald_drains_t  *d, *next;

    for (d = corrald_drains_first; d; d = next) {
        next = d->next;

        if (d->r == NULL) {
            corrald_drains_free(d);
        }
    }
}


/* NULL when the body is refused: then it was answered. */

static corrald_drains_t *
corrald_drains_make(corrald_rest_t *r, const json_t *service)
{
    corrald_drains_t  *d;

    d = corrald_alloc(1, sizeof(*d), "for a drain");

    d->r = r;
    d->rate = CORRALD_DRAINS_RATE;
    d->deadline = CORRALD_DRAINS_DEADLINE;
    d->retry_after = CORRALD_DRAINS_RETRY;
    d->next = corrald_drains_first;
    corrald_drains_first = d;

    snprintf(d->reason, sizeof(d->reason), CORRALD_DRAINS_REASON);

    if (service) {
        d->rate = corrald_doc_int(service, "drain_rate");
        d->deadline = corrald_doc_ms(service, "drain_timeout");
        d->deadline = d->deadline < CORRALD_DRAINS_MAX ? d->deadline
                                                       : CORRALD_DRAINS_MAX;
    }

    if (corrald_drains_body(r, service, d) != 0) {
        corrald_drains_free(d);
        return NULL;
    }

    return d;
}


static int
corrald_drains_body(corrald_rest_t *r, const json_t *service,
    corrald_drains_t *d)
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
        if (!corrald_uri_word("rate,deadline,reason,retry_after", name)) {
            (void) corrald_check_error(&check, "", "\"%.64s\" is not a "
                                       "member: there are rate, deadline, "
                                       "reason, retry_after", name);
        }
    }

    value = json_object_get(r->json, "rate");

    if (value
        && corrald_check_value(&check, corrald_doc_field(CORRALD_SERVICE,
                                                         "drain_rate"),
                               value, "/rate")
           == 0)
    {
        d->rate = json_integer_value(value);
    }

    rc = corrald_drains_ms(&check, r->json, "deadline", &d->deadline);
    rc |= corrald_drains_ms(&check, r->json, "retry_after", &d->retry_after);

    value = json_object_get(r->json, "reason");

    if (value && json_is_string(value)
        && json_string_length(value) <= CORRALD_DRAINS_HINTED)
    {
        snprintf(d->reason, sizeof(d->reason), "%s",
                 json_string_value(value));

    } else if (value) {
        (void) corrald_check_error(&check, "/reason", "must be a string of at "
                                   "most %d bytes", CORRALD_DRAINS_HINTED);
    }

    rc |= json_array_size(check.errors) != 0;

    if (rc) {
        corrald_rest_check(r, &check);
    }

    corrald_check_free(&check);

    return rc ? -1 : 0;
}


static int
corrald_drains_ms(corrald_check_t *check, const json_t *body,
    const char *name, int64_t *ms)
{
    char     pointer[64];
    json_t  *value;

    value = json_object_get(body, name);

    if (value == NULL) {
        return 0;
    }

    snprintf(pointer, sizeof(pointer), "/%s", name);

    if (corrald_check_value(check, corrald_doc_field(CORRALD_SERVICE,
                                                     "drain_timeout"),
                            value, pointer)
        != 0)
    {
        return 1;
    }

    *ms = corrald_doc_ms(body, name);

    if (*ms <= CORRALD_DRAINS_MAX) {
        return 0;
    }

    (void) corrald_check_error(check, pointer, "must be a duration such as "
                               "\"30s\", \"5m\", from 0 to 1h");
    return 1;
}


static void
corrald_drains_write(corrald_drains_t *d, json_t *doc, unsigned owners)
{
    corrald_op_t  op;

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_SET;
    op.kind = d->kind;
    op.id = d->id;
    op.doc = doc;
    op.owners = owners;
    op.expected = CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_drains_written, d);

    json_decref(doc);
}


static void
corrald_drains_written(const corrald_result_t *result, void *data)
{
    corrald_drains_t  *d;

    d = data;

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(d->r, result);
        corrald_drains_free(d);
        return;
    }

    corrald_drains_begin(d);
    corrald_drains_leave(d);
}


/* Answers: from here on the operation tells. */

static void
corrald_drains_begin(corrald_drains_t *d)
{
    snprintf(d->op, sizeof(d->op), "%s",
             corrald_operations_lead("drain", d->service_id, d->target));

    corrald_rest_set(d->r, "Location", "/api/v1/operations/%s", d->op);
    corrald_rest_json(d->r, 202, corrald_operations_show(d->op));
    d->r = NULL;
}


/* The state of an instance is its node's affair: it follows what is wanted. */

static void
corrald_drains_leave(void *data)
{
    corrald_drains_t       *d;
    const corrald_entry_t  *entry;

    d = data;
    d->timer = NULL;
    entry = corrald_store_get(d->kind, d->id);

    if (entry && d->kind == CORRALD_INSTANCE
        && strcmp(corrald_doc_str(entry->doc, "state"), "running") == 0
        && d->tries++ < CORRALD_DRAINS_TRIES)
    {
        d->timer = corrald_loop_timer(CORRALD_DRAINS_POLL, 0,
                                      corrald_drains_leave, d);
        return;
    }

    corrald_operations_progress(d->op, 0, 0, "new connections go elsewhere");

    corrald_store_applied(entry ? entry->revision : 0, CORRALD_DRAINS_APPLIED,
                          corrald_drains_applied, strdup(d->op));
}


static void
corrald_drains_applied(json_t *value, const char *err, void *data)
{
    corrald_drains_t  *d;

    d = corrald_drains_find(data);

    if (d) {
        corrald_drains_command(d, 1, corrald_drains_total);
    }
}


static void
corrald_drains_command(corrald_drains_t *d, int dry_run,
    corrald_store_json_pt handler)
{
    corrald_command_t  command;

    memset(&command, 0, sizeof(command));

    command.op = dry_run ? "close" : "drain";
    command.filter = d->filter;
    command.code = CORRALD_DRAINS_CODE;
    command.reason = d->reason;
    command.dry_run = dry_run;
    command.rate = d->rate;
    command.total = d->total;
    command.deadline = d->deadline;
    command.retry_after = (d->retry_after + 999) / 1000;

    corrald_store_command(&command, dry_run
                                    ? CORRALD_DRAINS_COUNT
                                    : d->deadline + CORRALD_DRAINS_REST,
                          handler, strdup(d->op));
}


static void
corrald_drains_total(json_t *value, const char *err, void *data)
{
    corrald_drains_t  *d;

    d = corrald_drains_find(data);

    if (d == NULL) {
        return;
    }

    if (value == NULL) {
        corrald_operations_finish(d->op, CORRALD_OPERATION_FAILED,
                                  "the connections cannot be counted: %s",
                                  err);
        corrald_drains_free(d);
        return;
    }

    d->total = corrald_doc_int(value, "matched");

    corrald_operations_progress(d->op, 0, (size_t) d->total,
                                "%lld connections are to go",
                                (long long) d->total);

    corrald_drains_command(d, 0, corrald_drains_done);

    d->timer = corrald_loop_timer(CORRALD_DRAINS_COUNT, CORRALD_DRAINS_COUNT,
                                  corrald_drains_look, d);
}


static void
corrald_drains_look(void *data)
{
    corrald_drains_t  *d;

    d = data;

    if (!d->counting) {
        d->counting = 1;
        corrald_drains_command(d, 1, corrald_drains_looked);
    }
}


static void
corrald_drains_looked(json_t *value, const char *err, void *data)
{
    int64_t            left;
    corrald_drains_t  *d;

    d = corrald_drains_find(data);

    if (d == NULL) {
        return;
    }

    d->counting = 0;

    if (value == NULL
        || json_array_size(json_object_get(value, "missing")))
    {
        return;
    }

    left = corrald_doc_int(value, "matched");
    left = left < d->total ? left : d->total;

    corrald_operations_progress(d->op, (size_t) (d->total - left),
                                (size_t) d->total,
                                "%lld connections are left",
                                (long long) left);
}


static void
corrald_drains_done(json_t *value, const char *err, void *data)
{
    size_t             silent;
    int64_t            closed;
    json_t            *detail;
    corrald_drains_t  *d;

    d = corrald_drains_find(data);

    if (d == NULL) {
        return;
    }

    if (value == NULL) {
        corrald_operations_finish(d->op, CORRALD_OPERATION_FAILED,
                                  "the workers cannot be told: %s", err);
        corrald_drains_free(d);
        return;
    }

    closed = corrald_doc_int(value, "closed");
    silent = json_array_size(json_object_get(value, "missing"))
             + json_array_size(json_object_get(value, "errors"));

    detail = json_pack("{s:O, s:i, s:I, s:O}", "filter", d->filter, "code",
                       CORRALD_DRAINS_CODE, "closed", (json_int_t) closed,
                       "sent", json_object_get(value, "sent"));
    corrald_store_event("connections_closed", "connection", "", detail);
    json_decref(detail);

    corrald_operations_progress(d->op, (size_t) closed,
                                (size_t) corrald_doc_int(value, "matched"),
                                "-");
    corrald_operations_finish(d->op, silent ? CORRALD_OPERATION_FAILED
                                            : CORRALD_OPERATION_DONE,
                              silent ? "%lld connections were closed, %lld of "
                                       "them got the close frame; %zu workers "
                                       "did not say that they are done"
                                     : "%lld connections were closed, %lld of "
                                       "them got the close frame",
                              (long long) closed,
                              (long long) corrald_doc_int(value, "sent"),
                              silent);
    corrald_drains_free(d);
}


/* Frees the id; NULL when the drain has ended. */

static corrald_drains_t *
corrald_drains_find(void *data)
{
    corrald_drains_t  *d;

    for (d = corrald_drains_first; d; d = d->next) {
        if (strcmp(d->op, data) == 0) {
            break;
        }
    }

    free(data);

    return d;
}


static void
corrald_drains_free(corrald_drains_t *d)
{
    corrald_drains_t  **link;

    for (link = &corrald_drains_first; *link != d; link = &(*link)->next) {
        /* void */
    }

    *link = d->next;

    corrald_loop_timer_stop(&d->timer);
    json_decref(d->filter);
    free(d);
}
