/*
 * From draining to stopping: the gateways are given the time to hear of it,
 * then the connections are counted until none is left or the deadline comes;
 * what is open then is closed with 1012, at the pace of drain_rate, those that
 * are idle first and between messages, and told when to come back.
 *
 * The count comes from the workers themselves: a command that only counts.
 * One that did not answer may have connections, so its silence is no zero.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "local.h"


/* ms */

#define CORRALD_DRAIN_APPLIED  2000  /* for the gateways to stop choosing it */
#define CORRALD_DRAIN_ANSWER   1000  /* for the workers to count */
#define CORRALD_DRAIN_POLL     250
#define CORRALD_DRAIN_PACE     10000 /* at most, for the paced close */
#define CORRALD_DRAIN_CLOSE    18000 /* for the workers to have closed */
#define CORRALD_DRAIN_RETRY    3     /* s, clients come back within */

#define CORRALD_DRAIN_CODE     1012  /* service restart: come back */


enum {
    CORRALD_DRAIN_ANNOUNCED = 0,
    CORRALD_DRAIN_COUNTING,
    CORRALD_DRAIN_CLOSING,
    CORRALD_DRAIN_OVER
};


typedef struct {
    char       id[CORRAL_ID_MAX + 1];
    uint32_t   serial;
} corrald_drain_ticket_t;


static void corrald_drain_applied(json_t *value, const char *err, void *data);
static void corrald_drain_count(corrald_instance_t *in, int dry);
static void corrald_drain_counted(json_t *value, const char *err, void *data);
static void corrald_drain_closed(json_t *value, const char *err, void *data);
static void corrald_drain_stop(corrald_instance_t *in, const char *reason,
    const char *message);
static corrald_drain_ticket_t *corrald_drain_ticket(corrald_instance_t *in);
static corrald_instance_t *corrald_drain_find(void *data);


/* Draining was stored with this revision. */

void
corrald_drain_begin(corrald_instance_t *in, int64_t revision)
{
    corrald_drain_ticket_t  *ticket;

    in->drain_phase = CORRALD_DRAIN_ANNOUNCED;
    in->drain_open = -1;

    ticket = corrald_drain_ticket(in);

    if (ticket != NULL) {
        in->drain_busy = 1;
        corrald_store_applied(revision, CORRALD_DRAIN_APPLIED,
                              corrald_drain_applied, ticket);
    }
}


/* The next step of an instance that is draining. */

void
corrald_drain(corrald_instance_t *in, const json_t *doc,
    const json_t *service)
{
    int64_t  now, deadline;

    if (in->drain_busy) {
        return;
    }

    now = corrald_clock_ms();
    deadline = corrald_doc_time(doc, "state_at")
               + (service ? corrald_doc_ms(service, "drain_timeout") : 0);

    switch (in->drain_phase) {

    case CORRALD_DRAIN_ANNOUNCED:

        /* corrald was away since: it has been announced for long */

        in->drain_phase = CORRALD_DRAIN_COUNTING;
        /* fall through */

    case CORRALD_DRAIN_COUNTING:

        if (in->drain_open == 0) {
            corrald_drain_stop(in, "drained", "no connection was left");
            return;
        }

        if (now >= deadline) {
            in->drain_phase = CORRALD_DRAIN_CLOSING;
            corrald_drain_count(in, 0);
            return;
        }

        corrald_drain_count(in, 1);
        return;

    case CORRALD_DRAIN_OVER:
        corrald_drain_stop(in, "drain_timeout", in->message);
        return;

    default:

        /* a command that could not be given */

        corrald_drain_count(in, 0);
    }
}


static void
corrald_drain_applied(json_t *value, const char *err, void *data)
{
    corrald_instance_t  *in;

    in = corrald_drain_find(data);

    if (in != NULL) {
        in->drain_busy = 0;
        in->drain_phase = CORRALD_DRAIN_COUNTING;
        corrald_supervise_wake(in->service);
    }
}


static void
corrald_drain_count(corrald_instance_t *in, int dry)
{
    json_t                  *filter;
    corrald_command_t        command;
    const corrald_entry_t   *service;
    corrald_drain_ticket_t  *ticket;

    ticket = corrald_drain_ticket(in);
    filter = json_pack("{s:s}", "instance_id", in->id);

    if (ticket == NULL || filter == NULL) {
        free(ticket);
        json_decref(filter);
        corrald_instance_later(in, CORRALD_DRAIN_POLL);
        return;
    }

    in->drain_busy = 1;

    memset(&command, 0, sizeof(command));

    command.op = dry ? "close" : "drain";
    command.filter = filter;
    command.code = CORRALD_DRAIN_CODE;
    command.reason = "the instance is stopped";
    command.dry_run = dry;

    service = corrald_store_get(CORRALD_SERVICE, in->service->id);

    command.rate = service ? corrald_doc_int(service->doc, "drain_rate") : 0;
    command.total = in->drain_open > 0 ? in->drain_open : 0;
    command.deadline = CORRALD_DRAIN_PACE;
    command.retry_after = CORRALD_DRAIN_RETRY;

    corrald_store_command(&command,
                          dry ? CORRALD_DRAIN_ANSWER : CORRALD_DRAIN_CLOSE,
                          dry ? corrald_drain_counted : corrald_drain_closed,
                          ticket);
    json_decref(filter);
}


static void
corrald_drain_counted(json_t *value, const char *err, void *data)
{
    corrald_instance_t  *in;

    in = corrald_drain_find(data);

    if (in == NULL) {
        return;
    }

    in->drain_busy = 0;
    in->drain_open = -1;

    if (value != NULL
        && json_array_size(json_object_get(value, "missing")) == 0)
    {
        in->drain_open = json_integer_value(json_object_get(value,
                                                            "matched"));
    }

    if (in->drain_open == 0) {
        corrald_supervise_wake(in->service);
        return;
    }

    corrald_instance_later(in, CORRALD_DRAIN_POLL);
}


static void
corrald_drain_closed(json_t *value, const char *err, void *data)
{
    corrald_instance_t  *in;

    in = corrald_drain_find(data);

    if (in == NULL) {
        return;
    }

    in->drain_busy = 0;
    in->drain_phase = CORRALD_DRAIN_OVER;

    if (value != NULL) {
        (void) snprintf(in->message, sizeof(in->message),
                        "the deadline came: %lld connections were closed "
                        "with %d", (long long) json_integer_value(
                                       json_object_get(value, "closed")),
                        CORRALD_DRAIN_CODE);
    } else {
        (void) snprintf(in->message, sizeof(in->message),
                        "the deadline came; connections could not be closed: "
                        "%.200s", err);
    }

    corrald_supervise_wake(in->service);
}


static void
corrald_drain_stop(corrald_instance_t *in, const char *reason,
    const char *message)
{
    corrald_instance_commit(in, corrald_instance_change("stopping", reason,
                                                        "%s", message),
                            NULL);
}


static corrald_drain_ticket_t *
corrald_drain_ticket(corrald_instance_t *in)
{
    corrald_drain_ticket_t  *ticket;

    ticket = calloc(1, sizeof(*ticket));

    if (ticket != NULL) {
        (void) snprintf(ticket->id, sizeof(ticket->id), "%s", in->id);
        ticket->serial = in->serial;
    }

    return ticket;
}


/* Frees the ticket; NULL when the instance is gone. */

static corrald_instance_t *
corrald_drain_find(void *data)
{
    corrald_instance_t      *in;
    corrald_drain_ticket_t  *ticket;

    ticket = data;
    in = corrald_supervise_find(ticket->id);

    if (in != NULL && in->serial != ticket->serial) {
        in = NULL;
    }

    free(ticket);

    return in;
}
