
/*
 * Operations: what an action has begun, and whether it has come about.
 *
 * An action is done when its document is written; an operation only looks on
 * until the instances are as wanted.  So it lives in this process, is bounded,
 * and nothing is lost with it.  Every change of the service or of one of its
 * instances is looked at; an operation without an end within ten minutes ends
 * as "timeout".  A drain is led by its caller instead and has a deadline of its
 * own.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/crypt.h"
#include "../base/loop.h"
#include "../model/state.h"
#include "../model/view.h"
#include "api.h"


#define CORRALD_OPERATIONS_MAX    1000
#define CORRALD_OPERATIONS_KEEP   3600000    /* ms after the end */
#define CORRALD_OPERATIONS_LIMIT  600000     /* ms until "timeout" */


typedef struct corrald_operations_wait_s  corrald_operations_wait_t;
typedef struct corrald_operations_s  corrald_operations_t;

struct corrald_operations_wait_s {
    corrald_operations_wait_t   *next;
    corrald_operation_pt         handler;
    void                        *data;
    int64_t                      deadline;       /* monotonic */
};


struct corrald_operations_s {
    corrald_operations_t        *next;           /* older */
    char                         id[40];
    char                         action[16];
    char                         service_id[CORRAL_ID_MAX + 1];
    char                         name[CORRAL_ID_MAX + 1];
    char                         target[CORRAL_ID_MAX + 1];
    int                          led;            /* its caller says how far */
    corrald_operation_e          state;
    char                         message[512];
    int64_t                      created;        /* wall clock, ms */
    int64_t                      ended;
    size_t                       done;           /* instances as wanted */
    size_t                       wanted;
    corrald_operations_wait_t   *waits;
};


/* What is counted of a service's instances. */

typedef struct {
    int64_t                      since;          /* earlier failures: no */
    size_t                       total;
    size_t                       lives;
    size_t                       failed;
    size_t                       ready;          /* of this generation */
    size_t                       old;            /* live, of an earlier one */
    char                         message[384];
} corrald_operations_count_t;


static void corrald_operations_watch(corrald_kind_e kind, const char *id,
    const json_t *before, const json_t *after, int64_t revision, void *data);
static corrald_operations_t *corrald_operations_make(const char *action,
    const char *service_id);
static void corrald_operations_look(corrald_operations_t *op);
static void corrald_operations_count(const corrald_entry_t *entry,
    void *data);
static void corrald_operations_end(corrald_operations_t *op,
    corrald_operation_e state, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static corrald_operations_t *corrald_operations_find(const char *id);
static json_t *corrald_operations_object(void *row, void *data);
static void corrald_operations_waited(corrald_operation_e state,
    const char *message, void *data);
static void corrald_operations_ticked(void *data);
static void corrald_operations_trim(void);


static const char  *corrald_operations_states[] = {
    "running", "succeeded", "failed", "timeout"
};


static corrald_operations_t   *corrald_operations_first;
static size_t                  corrald_operations_n;
static corrald_timer_t        *corrald_operations_timer;


int
corrald_operations_open(void)
{
    corrald_operations_timer = corrald_loop_timer(100, 100,
                                                  corrald_operations_ticked,
                                                  NULL);

    return corrald_operations_timer == NULL
           || corrald_store_watch(corrald_operations_watch, NULL) != 0
           ? -1 : 0;
}


/* Whoever waits is told that it still runs. */

void
corrald_operations_close(void)
{
    corrald_operations_t       *op;
    corrald_operations_wait_t  *w;

    corrald_loop_timer_stop(&corrald_operations_timer);

    while (corrald_operations_first) {
        op = corrald_operations_first;
        corrald_operations_first = op->next;

        while (op->waits) {
            w = op->waits;
            op->waits = w->next;
            w->handler(op->state, op->message, w->data);
            free(w);
        }

        free(op);
    }

    corrald_operations_n = 0;
}


const char *
corrald_operations_begin(const char *action, const char *service_id)
{
    corrald_operations_t  *op;

    op = corrald_operations_make(action, service_id);

    snprintf(op->target, sizeof(op->target), "%s", op->name);

    corrald_operations_look(op);

    return op->id;
}


const char *
corrald_operations_lead(const char *action, const char *service_id,
    const char *target)
{
    corrald_operations_t  *op;

    op = corrald_operations_make(action, service_id);

    op->led = 1;
    snprintf(op->target, sizeof(op->target), "%s", target);

    return op->id;
}


void
corrald_operations_progress(const char *id, size_t done, size_t wanted,
    const char *fmt, ...)
{
    va_list                args;
    corrald_operations_t  *op;

    op = corrald_operations_find(id);

    if (op == NULL || op->state != CORRALD_OPERATION_RUNNING) {
        return;
    }

    op->done = done;
    op->wanted = wanted;

    va_start(args, fmt);
    vsnprintf(op->message, sizeof(op->message), fmt, args);
    va_end(args);
}


void
corrald_operations_finish(const char *id, corrald_operation_e state,
    const char *fmt, ...)
{
    char                   message[512];
    va_list                args;
    corrald_operations_t  *op;

    op = corrald_operations_find(id);

    if (op == NULL || op->state != CORRALD_OPERATION_RUNNING) {
        return;
    }

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);

    corrald_operations_end(op, state, "%s", message);
}


static corrald_operations_t *
corrald_operations_make(const char *action, const char *service_id)
{
    const corrald_entry_t  *entry;
    corrald_operations_t   *op;

    op = corrald_alloc(1, sizeof(*op), "for an operation");

    if (corrald_crypt_random_hex(op->id, 8) != 0) {
        corrald_alloc_failed("for an operation");
    }

    entry = corrald_store_get(CORRALD_SERVICE, service_id);

    snprintf(op->action, sizeof(op->action), "%s", action);
    snprintf(op->service_id, sizeof(op->service_id), "%s", service_id);
    snprintf(op->name, sizeof(op->name), "%s",
             entry ? corrald_doc_str(entry->doc, "name") : "");
    snprintf(op->message, sizeof(op->message), "begun");

    op->created = corrald_clock_ms();
    op->next = corrald_operations_first;
    corrald_operations_first = op;
    corrald_operations_n++;

    corrald_operations_trim();

    return op;
}


void
corrald_operations_wait(const char *id, int64_t timeout,
    corrald_operation_pt handler, void *data)
{
    corrald_operations_t       *op;
    corrald_operations_wait_t  *w;

    op = corrald_operations_find(id);

    if (op == NULL || op->state != CORRALD_OPERATION_RUNNING) {
        handler(op ? op->state : CORRALD_OPERATION_TIMEOUT,
                op ? op->message : "it is not known any more", data);
        return;
    }

    w = corrald_alloc(1, sizeof(*w), "to wait for an operation");

    w->handler = handler;
    w->data = data;
    w->deadline = corrald_clock_monotonic() + timeout;
    w->next = op->waits;
    op->waits = w;
}


json_t *
corrald_operations_show(const char *id)
{
    corrald_operations_t  *op;

    op = corrald_operations_find(id);

    return op ? corrald_operations_object(op, NULL) : NULL;
}


void
corrald_operations_list(corrald_rest_t *r)
{
    char                   (*keys)[CORRALD_CLOCK_SIZE];
    size_t                   i;
    corrald_uri_row_t       *rows;
    corrald_operations_t    *op;

    rows = corrald_alloc(corrald_operations_n + 1, sizeof(*rows), "for a list");
    keys = corrald_alloc(corrald_operations_n + 1, sizeof(*keys), "for a list");

    for (i = 0, op = corrald_operations_first; op; i++, op = op->next) {
        rows[i].key = corrald_clock_format(op->created, keys[i],
                                           sizeof(keys[i]));
        rows[i].id = op->id;
        rows[i].data = op;
    }

    corrald_rest_page(r, rows, i, "created_at", 1, corrald_operations_object,
                      NULL);
    free(rows);
    free(keys);
}


void
corrald_operations_get(corrald_rest_t *r)
{
    int64_t                wait;
    corrald_operations_t  *op;

    op = corrald_operations_find(r->params[0]);

    if (op == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_OPERATION_NOT_FOUND,
                             "there is no operation \"%.64s\" on this node",
                             r->params[0]);
        return;
    }

    if (corrald_rest_query_ms(r, "wait", 0, 0, 60000, &wait) != 0) {
        return;
    }

    corrald_operations_wait(op->id, wait, corrald_operations_waited, r);
}


static void
corrald_operations_waited(corrald_operation_e state, const char *message,
    void *data)
{
    corrald_rest_t        *r;
    corrald_operations_t  *op;

    r = data;
    op = corrald_operations_find(r->params[0]);

    if (op == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_OPERATION_NOT_FOUND,
                             "the operation is not kept any more");
        return;
    }

    corrald_rest_json(r, 200, corrald_operations_object(op, NULL));
}


static void
corrald_operations_watch(corrald_kind_e kind, const char *id,
    const json_t *before, const json_t *after, int64_t revision, void *data)
{
    const char            *service;
    corrald_operations_t  *op;

    if (kind == CORRALD_RULE) {
        return;
    }

    service = kind == CORRALD_SERVICE
              ? id : corrald_doc_str(after ? after : before, "service_id");

    for (op = corrald_operations_first; op; op = op->next) {
        if (op->state == CORRALD_OPERATION_RUNNING && !op->led
            && strcmp(op->service_id, service) == 0)
        {
            corrald_operations_look(op);
        }
    }
}


/* Whether the service is as the action wants it. */

static void
corrald_operations_look(corrald_operations_t *op)
{
    const char                  *desired;
    const corrald_entry_t       *entry;
    corrald_operations_count_t   count;

    entry = corrald_store_get(CORRALD_SERVICE, op->service_id);

    if (entry == NULL) {
        corrald_operations_end(op, strcmp(op->action, "delete") == 0
                                   ? CORRALD_OPERATION_DONE
                                   : CORRALD_OPERATION_FAILED,
                               "the service was deleted");
        return;
    }

    memset(&count, 0, sizeof(count));
    count.since = op->created;
    corrald_store_instances(op->service_id, corrald_operations_count, &count);

    desired = corrald_doc_str(entry->doc, "desired");
    op->wanted = (size_t) corrald_doc_int(entry->doc, "replicas");
    op->done = count.ready;

    if (strcmp(op->action, "delete") == 0) {
        snprintf(op->message, sizeof(op->message), "%zu instances are left",
                 count.total);
        return;
    }

    if (strcmp(op->action, "pause") == 0) {
        if (strcmp(desired, "paused") == 0) {
            corrald_operations_end(op, CORRALD_OPERATION_DONE,
                                   "the service takes no new requests");
            return;
        }
    }

    if (strcmp(op->action, "stop") == 0) {
        op->done = count.total - count.lives;
        op->wanted = count.total;
        snprintf(op->message, sizeof(op->message), "%zu instances still live",
                 count.lives);

        if (strcmp(desired, "stopped") == 0 && count.lives == 0) {
            corrald_operations_end(op, CORRALD_OPERATION_DONE,
                                   "nothing of the service runs");
        }

        return;
    }

    if (strcmp(op->action, "scale") == 0 && strcmp(desired, "running") != 0) {
        corrald_operations_end(op, CORRALD_OPERATION_DONE, "the service is "
                               "wanted as %s: %zu instances come when it "
                               "starts", desired, op->wanted);
        return;
    }

    if (strcmp(desired, "running") != 0) {
        corrald_operations_end(op, CORRALD_OPERATION_FAILED, "the service is "
                               "now wanted as %s", desired);
        return;
    }

    snprintf(op->message, sizeof(op->message), "%zu of %zu instances are "
             "ready%s%s", count.ready, op->wanted, *count.message ? ": " : "",
             count.message);

    if (count.ready >= op->wanted && count.old == 0) {
        corrald_operations_end(op, CORRALD_OPERATION_DONE,
                               "%zu instances are ready", count.ready);

    } else if (count.failed && count.lives == 0 && count.ready == 0) {
        corrald_operations_end(op, CORRALD_OPERATION_FAILED, "%s",
                               *count.message ? count.message
                                              : "its instances have failed");
    }
}


static void
corrald_operations_count(const corrald_entry_t *entry, void *data)
{
    int                          state;
    const char                  *message;
    const corrald_entry_t       *service;
    corrald_operations_count_t  *count;

    count = data;
    state = corrald_state_parse(corrald_doc_str(entry->doc, "state"));
    service = corrald_store_get(CORRALD_SERVICE,
                                corrald_doc_str(entry->doc, "service_id"));

    count->total++;

    if (state == -1 || service == NULL) {
        return;
    }

    if (corrald_state_lives(state)) {
        count->lives++;
    }

    if (corrald_view_outdated(entry->doc, service->doc)) {
        count->old++;
        return;
    }

    if (state == CORRALD_STATE_failed
        && corrald_doc_time(entry->doc, "state_at") >= count->since)
    {
        count->failed++;
        message = corrald_doc_str(entry->doc, "message");
        snprintf(count->message, sizeof(count->message), "%s: %s",
                 entry->id, *message ? message
                                     : corrald_doc_str(entry->doc, "reason"));
    }

    if (corrald_view_not_ready(entry->doc, service->doc) == NULL) {
        count->ready++;
    }
}


static void
corrald_operations_end(corrald_operations_t *op, corrald_operation_e state,
    const char *fmt, ...)
{
    char                        message[512];
    va_list                     args;
    corrald_operations_wait_t  *w, *next;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);

    memcpy(op->message, message, sizeof(op->message));

    op->state = state;
    op->ended = corrald_clock_ms();

    w = op->waits;
    op->waits = NULL;

    for ( /* void */ ; w; w = next) {
        next = w->next;
        w->handler(state, message, w->data);
        free(w);
    }
}


static corrald_operations_t *
corrald_operations_find(const char *id)
{
    corrald_operations_t  *op;

    for (op = corrald_operations_first; op; op = op->next) {
        if (strcmp(op->id, id) == 0) {
            return op;
        }
    }

    return NULL;
}


static json_t *
corrald_operations_object(void *row, void *data)
{
    char                   created[CORRALD_CLOCK_SIZE];
    char                   ended[CORRALD_CLOCK_SIZE];
    json_t                *object;
    corrald_operations_t  *op;

    op = row;

    object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s}",
                       "operation_id", op->id, "action", op->action,
                       "service_id", op->service_id, "service", op->name,
                       "state", corrald_operations_states[op->state],
                       "done", (json_int_t) op->done,
                       "wanted", (json_int_t) op->wanted,
                       "created_at", corrald_clock_format(op->created, created,
                                                          sizeof(created)));

    json_object_set_new(object, "target", json_string(op->target));
    json_object_set_new(object, "message", json_string(op->message));
    json_object_set_new(object, "ended_at", op->ended
                        ? json_string(corrald_clock_format(op->ended, ended,
                                                           sizeof(ended)))
                        : json_null());

    return object;
}


/* Ends what waited long enough. */

static void
corrald_operations_ticked(void *data)
{
    corrald_operations_t        *op;
    corrald_operations_wait_t   *w, **link;

    for (op = corrald_operations_first; op; op = op->next) {

        if (op->state != CORRALD_OPERATION_RUNNING) {
            continue;
        }

        if (!op->led
            && corrald_clock_ms() - op->created > CORRALD_OPERATIONS_LIMIT)
        {
            corrald_operations_end(op, CORRALD_OPERATION_TIMEOUT, "not within "
                                   "%d s: %.300s",
                                   CORRALD_OPERATIONS_LIMIT / 1000,
                                   op->message);
            continue;
        }

        for (link = &op->waits; *link; /* void */ ) {
            w = *link;

            if (w->deadline > corrald_clock_monotonic()) {
                link = &w->next;
                continue;
            }

            *link = w->next;
            w->handler(op->state, op->message, w->data);
            free(w);
        }
    }
}


/* The oldest that have ended go; those that run stay. */

static void
corrald_operations_trim(void)
{
    int64_t                 now;
    corrald_operations_t   *op, **link;

    now = corrald_clock_ms();

    for (link = &corrald_operations_first; *link; /* void */ ) {
        op = *link;

        if (op->state == CORRALD_OPERATION_RUNNING
            || (corrald_operations_n <= CORRALD_OPERATIONS_MAX
                && now - op->ended < CORRALD_OPERATIONS_KEEP))
        {
            link = &op->next;
            continue;
        }

        *link = op->next;
        corrald_operations_n--;
        free(op);
    }
}
