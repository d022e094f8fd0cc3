
/*
 * Whether this node can do its work, and whether services can do theirs.
 */


#include <stdio.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../engine/probe.h"
#include "../model/state.h"
#include "../model/view.h"
#include "api.h"


static json_t *corrald_health_instance(const json_t *instance,
    const json_t *service, double *worst);
static const char *corrald_health_sum(const corrald_state_count_t *count,
    corrald_status_e status);


/* MyAgent's /health, where the status is not a constant. */

void
corrald_health_system(corrald_rest_t *r)
{
    char                           now[CORRALD_CLOCK_SIZE];
    const corrald_store_status_t  *store;

    store = corrald_store_status();

    corrald_rest_json(r, store->ready ? 200 : 503,
                      json_pack("{s:s, s:s, s:{s:s}}",
                                "status", store->ready ? "healthy"
                                          : store->loads ? "degraded"
                                                         : "unhealthy",
                                "timestamp", corrald_clock_now(now,
                                                               sizeof(now)),
                                "checks", "store",
                                store->ready ? "healthy" : "unhealthy"));
}


void
corrald_health_live(corrald_rest_t *r)
{
    corrald_rest_text(r, 200, "text/plain", "ok\n", 3);
}


/* What is wrong is told to those with a token: see /api/v1/info. */

void
corrald_health_ready(corrald_rest_t *r)
{
    if (!corrald_store_status()->ready) {
        corrald_rest_store_error(r, "the registry cannot be changed now");
        return;
    }

    corrald_rest_json(r, 200, json_pack("{s:b}", "ready", 1));
}


/*
 * MyAgent's health of a service: one check per instance, with what its last
 * probe said.  Instances of other nodes have what their document says.
 */

void
corrald_health_service(corrald_rest_t *r)
{
    char                    now[CORRALD_CLOCK_SIZE];
    size_t                  i;
    double                  worst;
    json_t                 *instances, *item, *checks, *view;
    const corrald_entry_t  *entry;
    corrald_state_count_t   count;
    corrald_status_e        status;

    entry = corrald_services_find(r);

    if (entry == NULL) {
        return;
    }

    memset(&count, 0, sizeof(count));
    checks = json_object();
    worst = 0;

    instances = corrald_instances_array(entry->id);

    json_array_foreach(instances, i, item) {
        corrald_state_count(&count, item);
        json_object_set_new(checks, corrald_doc_str(item, "instance_id"),
                            corrald_health_instance(item, entry->doc,
                                                    &worst));
    }

    status = corrald_state_status(entry->doc, &count);

    json_object_set_new(checks, "status",
                        json_pack("{s:s, s:s, s:s, s:f, s:{s:s}}",
                                  "name", "status",
                                  "status", corrald_health_sum(&count, status),
                                  "message",
                                  corrald_state_status_text(status),
                                  "duration_ms", 0.0, "metadata",
                                  "service_status",
                                  corrald_state_status_name(status)));

    view = corrald_services_show(entry);

    corrald_rest_json(r, 200, json_pack("{s:s, s:s, s:s, s:f, s:o, s:O}",
                      "service_id", entry->id,
                      "timestamp", corrald_clock_now(now, sizeof(now)),
                      "status", corrald_health_sum(&count, status),
                      "response_time_ms", worst,
                      "checks", checks,
                      "error_message", json_object_get(view,
                                                       "error_message")));
    json_decref(view);
    json_decref(instances);
}


static json_t *
corrald_health_instance(const json_t *instance, const json_t *service,
    double *worst)
{
    double       ms;
    size_t       i;
    json_t      *report, *probe, *last, *check;
    const char  *id, *message, *not_ready;

    id = corrald_doc_str(instance, "instance_id");
    message = corrald_doc_str(instance, "message");
    not_ready = corrald_view_not_ready(instance, service);
    ms = 0;

    report = NULL;

    if (strcmp(corrald_doc_str(instance, "node"), corrald_conf()->node) == 0
        && corrald_doc_bool(instance, "managed"))
    {
        report = corrald_probe_report(id);
    }

    json_array_foreach(json_object_get(report, "checks"), i, probe) {
        last = json_object_get(probe, "last");

        if (json_number_value(json_object_get(last, "duration_ms")) > ms) {
            ms = json_number_value(json_object_get(last, "duration_ms"));
        }

        if (*message == '\0') {
            message = corrald_doc_str(last, "message");
        }
    }

    *worst = ms > *worst ? ms : *worst;

    if (*message == '\0') {
        message = not_ready ? not_ready : "it works";
    }

    check = json_pack("{s:s, s:s, s:s, s:f, s:{s:s, s:s, s:b, s:O*}}",
                      "name", id,
                      "status", corrald_doc_str(instance, "health"),
                      "message", message, "duration_ms", ms,
                      "metadata", "state", corrald_doc_str(instance, "state"),
                      "reason", corrald_doc_str(instance, "reason"),
                      "ready", not_ready == NULL,
                      "probes", json_object_get(report, "checks"));

    json_decref(report);

    return check;
}


static const char *
corrald_health_sum(const corrald_state_count_t *count, corrald_status_e status)
{
    if (status == CORRALD_STATUS_unhealthy || status == CORRALD_STATUS_error) {
        return "unhealthy";
    }

    if (count->state[CORRALD_STATE_running] == 0) {
        return "unknown";
    }

    if (count->unhealthy || count->degraded) {
        return "degraded";
    }

    return count->healthy ? "healthy" : "unknown";
}
