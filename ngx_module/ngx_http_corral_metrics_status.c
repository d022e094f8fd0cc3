
/*
 * The status of the gateway as one worker sees it, in JSON: its registry, the
 * counts of services and instances, the processes that share the zone.
 */


#include "ngx_http_corral_metrics.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_sync.h"

#include <corral_health.h>


static void ngx_http_corral_status_service(
    ngx_http_corral_service_t *service, void *data);
static void ngx_http_corral_status_instance(
    ngx_http_corral_registry_instance_t *instance, void *data);
static void ngx_http_corral_status_totals(ngx_http_corral_metrics_out_t *out,
    ngx_http_corral_totals_t *totals);
static void ngx_http_corral_status_processes(
    ngx_http_corral_metrics_out_t *out);


#define ngx_http_corral_status_state(name, text)  #name,

static char  *ngx_http_corral_status_states[] = {
    CORRAL_INSTANCE_STATES(ngx_http_corral_status_state)
};

static char  *ngx_http_corral_status_healths[] = {
    "healthy", "degraded", "unhealthy", "unknown"
};

static char  *ngx_http_corral_status_avails[] = {
    "available", "ejected", "half_open"
};

static char  *ngx_http_corral_status_reports[] = {
    "ready", "drain", "out"
};

static char  *ngx_http_corral_status_circuits[] = {
    "closed", "open", "half_open"
};


ngx_int_t
ngx_http_corral_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                         rc;
    ngx_str_t                         nonce;
    ngx_http_corral_sync_info_t      *sync;
    ngx_http_corral_main_conf_t      *mcf;
    ngx_http_corral_metrics_out_t     out;
    ngx_http_corral_registry_info_t  *info;

    rc = ngx_http_corral_metrics_start(r, &out);

    if (rc != NGX_OK) {
        return rc;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_corral_module);
    info = ngx_http_corral_registry_info();
    sync = ngx_http_corral_sync_info();

    ngx_http_corral_table_nonce(&nonce);

    ngx_http_corral_metrics_print(&out,
        "{\"version\":\"%s\",\"cluster\":\"%V\",\"node\":\"%V\","
        "\"gateway\":\"%V\",\"zone\":\"%V\",\"pid\":%P,\"epoch\":\"%s\","
        "\"revision\":%uL,\"source\":\"%V\",\"refused\":%uD,"
        "\"redis\":{\"configured\":%s,\"connected\":%s,\"initialised\":%s},"
        "\"connections\":%ui,\"rules\":%uD,\"services\":[",
        NGX_HTTP_CORRAL_VERSION, &mcf->cluster, &mcf->node, &mcf->gateway,
        &nonce, ngx_pid, info->epoch, info->revision, &sync->source,
        info->refused, sync->configured ? "true" : "false",
        sync->connected ? "true" : "false",
        sync->initialised ? "true" : "false",
        ngx_http_corral_relay_count(), info->rules);

    ngx_http_corral_registry_walk(ngx_http_corral_status_service, &out);

    ngx_http_corral_metrics_print(&out, "],\"splits\":[");
    ngx_http_corral_status_splits(&out);
    ngx_http_corral_metrics_print(&out, "],\"processes\":[");
    ngx_http_corral_status_processes(&out);
    ngx_http_corral_metrics_print(&out, "]}\n");

    return ngx_http_corral_metrics_send(&out, "application/json", 16);
}


static void
ngx_http_corral_status_service(ngx_http_corral_service_t *service, void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    uint32_t                     n, drawn;
    ngx_http_corral_tier_t      *tier;
    ngx_http_corral_slot_view_t  view;

    static char  *desired[] = { "running", "stopped", "paused" };

    ngx_http_corral_metrics_print(out,
        "%s{\"service_id\":\"%V\",\"name\":\"%V\",\"desired\":\"%s\","
        "\"ready\":%uD,\"total\":%uD,\"tiers\":[",
        out->service ? "," : "", &service->id, &service->name,
        desired[service->desired], service->n, service->total);

    for (n = 0, drawn = 0; n < service->ntiers; n++) {
        tier = &service->tiers[n];

        ngx_http_corral_metrics_print(out,
            "%s{\"priority\":%uD,\"ready\":%uD,\"total\":%uD,\"share\":%.3f}",
            n ? "," : "", tier->priority, tier->n, tier->total,
            (double) (tier->until - drawn) / CORRAL_BALANCE_DRAW);

        drawn = tier->until;
    }

    ngx_http_corral_metrics_print(out, "]");

    if (ngx_http_corral_table_view_ref(service->terms.ref, &view)) {
        ngx_http_corral_metrics_print(out,
            ",\"active\":%uD,\"remote\":%uD,\"waiting\":%uD,\"retrying\":%uD,"
            "\"circuit\":\"%s\"", view.active, view.remote, view.waiting,
            ngx_http_corral_table_retries(service->terms.ref),
            ngx_http_corral_status_circuits[view.avail]);
        ngx_http_corral_status_totals(out, &view.totals);
    }

    ngx_http_corral_metrics_print(out, ",\"instances\":[");

    out->service = service;
    out->items = 0;

    ngx_http_corral_registry_walk_instances(service,
                                            ngx_http_corral_status_instance,
                                            out);

    ngx_http_corral_metrics_print(out, "]}");
}


static void
ngx_http_corral_status_instance(
    ngx_http_corral_registry_instance_t *instance, void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    double                       latency;
    corral_report_t              report;
    ngx_http_corral_slot_view_t  view;

    ngx_http_corral_metrics_print(out,
        "%s{\"instance_id\":\"%V\",\"incarnation\":%uD,\"weight\":%uD,"
        "\"priority\":%uD,\"state\":\"%s\",\"health\":\"%s\",\"address\":",
        out->items++ ? "," : "", &instance->id, instance->incarnation,
        instance->weight, instance->priority,
        ngx_http_corral_status_states[instance->state],
        ngx_http_corral_status_healths[instance->health]);

    ngx_http_corral_metrics_string(out, &instance->address);

    if (ngx_http_corral_table_view_ref(instance->ref, &view)) {
        ngx_http_corral_metrics_print(out,
            ",\"active\":%uD,\"reserved\":%uD,\"remote\":%uD"
            ",\"availability\":\"%s\",\"rest_ms\":%M,\"ramp\":%.3f",
            view.active, view.reserved, view.remote,
            ngx_http_corral_status_avails[view.avail], view.rest,
            (double) ngx_http_corral_table_ramp(instance->ref,
                                                out->service->slow_start)
            / CORRAL_HEALTH_WHOLE);

        if (ngx_http_corral_table_latency(instance->ref, &latency)) {
            ngx_http_corral_metrics_print(out, ",\"latency_ms\":%.1f", latency);
        }

        if (ngx_http_corral_table_report(instance->ref, &report)) {
            ngx_http_corral_metrics_print(out,
                ",\"report\":{\"percent\":%uD,\"maxconn\":%uD,"
                "\"state\":\"%s\"}", report.percent, report.maxconn,
                ngx_http_corral_status_reports[report.state]);
        }

        ngx_http_corral_status_totals(out, &view.totals);
    }

    ngx_http_corral_metrics_print(out, "}");
}


#define ngx_http_corral_status_total(field, text)                             \
    ngx_http_corral_metrics_print(out, ",\"" #field "\":%uL", totals->field);


static void
ngx_http_corral_status_totals(ngx_http_corral_metrics_out_t *out,
    ngx_http_corral_totals_t *totals)
{
    NGX_HTTP_CORRAL_TOTALS(ngx_http_corral_status_total)
}


static void
ngx_http_corral_status_processes(ngx_http_corral_metrics_out_t *out)
{
    char                            *comma;
    ngx_uint_t                       i;
    ngx_http_corral_process_view_t   process;

    comma = "";

    for (i = 0; i < 64; i++) {

        if (ngx_http_corral_table_process(i, &process)) {
            ngx_http_corral_metrics_print(out,
                                   "%s{\"pid\":%P,\"exiting\":%s}", comma,
                                   process.pid,
                                   process.exiting ? "true" : "false");
            comma = ",";
        }
    }
}
