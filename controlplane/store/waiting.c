
/*
 * How many requests wait for an instance of which service: what workers tell
 * through the stream of wakes, at once and once a second.  A worker that is
 * silent for three seconds counts no more.
 *
 * When somebody begins to wait the leader writes an event: nobody has waited
 * for ten seconds before, so that a service at its limit does not fill the
 * stream.
 */


#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "local.h"


#define CORRALD_WAITING_FRESH  (3 * CORRAL_WAKE_REPEAT)
#define CORRALD_WAITING_QUIET  10000     /* ms */
#define CORRALD_WAITING_MAX    4096      /* services, workers of one */


static void corrald_waiting_event(const char *service_id, int64_t waiting);
static int64_t corrald_waiting_sum(json_t *workers, int64_t now);


/*
 * service_id to {"seen": ms, "workers": {worker: [waiting, ms]}}; times are
 * monotonic
 */

static json_t  *corrald_waiting_services;


/* An entry of the stream. */

void
corrald_waiting_told(const char *service_id, const char *worker,
    int64_t waiting)
{
    int64_t   now, seen;
    json_t   *service, *workers;

    now = corrald_clock_monotonic();

    if (corrald_waiting_services == NULL
        || json_object_size(corrald_waiting_services) > CORRALD_WAITING_MAX)
    {
        json_decref(corrald_waiting_services);
        corrald_waiting_services = json_object();
    }

    service = json_object_get(corrald_waiting_services, service_id);

    if (service == NULL) {
        service = json_pack("{s:I, s:{}}", "seen",
                            (json_int_t) -CORRALD_WAITING_QUIET, "workers");
        json_object_set_new(corrald_waiting_services, service_id, service);
    }

    workers = json_object_get(service, "workers");

    if (json_object_size(workers) > CORRALD_WAITING_MAX) {
        json_object_clear(workers);
    }

    json_object_set_new(workers, worker,
                        json_pack("[I, I]", (json_int_t) waiting,
                                  (json_int_t) now));

    if (waiting <= 0) {
        return;
    }

    seen = json_integer_value(json_object_get(service, "seen"));
    json_object_set_new(service, "seen", json_integer(now));

    if (now - seen >= CORRALD_WAITING_QUIET) {
        corrald_waiting_event(service_id, corrald_waiting_sum(workers, now));
    }
}


static void
corrald_waiting_event(const char *service_id, int64_t waiting)
{
    json_t                 *detail;
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_SERVICE, service_id);

    if (entry == NULL || corrald_store_leader() == 0) {
        return;
    }

    detail = json_pack("{s:s, s:I}", "name",
                       corrald_doc_str(entry->doc, "name"), "waiting",
                       (json_int_t) waiting);

    corrald_store_event("service_waiting", "service", service_id, detail);
    json_decref(detail);
}


int64_t
corrald_store_waiting(const char *service_id)
{
    json_t  *service;

    service = json_object_get(corrald_waiting_services, service_id);

    return corrald_waiting_sum(json_object_get(service, "workers"),
                               corrald_clock_monotonic());
}


static int64_t
corrald_waiting_sum(json_t *workers, int64_t now)
{
    int64_t      sum;
    json_t      *told;
    const char  *worker;

    sum = 0;

    json_object_foreach(workers, worker, told) {
        if (now - json_integer_value(json_array_get(told, 1))
            < CORRALD_WAITING_FRESH)
        {
            sum += json_integer_value(json_array_get(told, 0));
        }
    }

    return sum;
}


void
corrald_waiting_close(void)
{
    json_decref(corrald_waiting_services);
    corrald_waiting_services = NULL;
}
