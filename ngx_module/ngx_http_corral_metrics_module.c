
/*
 * Step 7, metrics: counts a request when it is logged, and shows the counts as
 * Prometheus text.  They are those of all processes that share the zone, read
 * from its slots, by the registry of this worker.
 *
 * The same in JSON, for corral_status, is ngx_http_corral_metrics_status.c's
 * affair.
 */


#include "ngx_http_corral_metrics.h"
#include "ngx_http_corral_revocation.h"
#include "ngx_http_corral_sync.h"

#include <corral_health.h>


typedef struct {
    char                       *instance;   /* name of the metric, or NULL */
    char                       *service;
    size_t                      offset;     /* of ngx_http_corral_totals_t */
    char                       *text;
} ngx_http_corral_metrics_total_t;


static ngx_int_t ngx_http_corral_metrics_handler(ngx_http_request_t *r);
static void ngx_http_corral_metrics_gateway(
    ngx_http_corral_metrics_out_t *out);
static void ngx_http_corral_metrics_service(
    ngx_http_corral_service_t *service, void *data);
static void ngx_http_corral_metrics_instance(
    ngx_http_corral_registry_instance_t *instance, void *data);
static void ngx_http_corral_metrics_gauge_service(
    ngx_http_corral_service_t *service, void *data);
static void ngx_http_corral_metrics_gauge(
    ngx_http_corral_registry_instance_t *instance, void *data);
static char *ngx_http_corral_metrics_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_corral_metrics_commands[] = {

    /* corral_metrics; */

    { ngx_string("corral_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_corral_metrics_set,
      0,
      0,
      ngx_http_corral_metrics_handler },

    /* corral_status; */

    { ngx_string("corral_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_corral_metrics_set,
      0,
      0,
      ngx_http_corral_status_handler },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_metrics_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_corral_metrics_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_metrics_module_ctx,   /* module context */
    ngx_http_corral_metrics_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


#define ngx_http_corral_metrics_offset(field)                                 \
    offsetof(ngx_http_corral_totals_t, field)

static ngx_http_corral_metrics_total_t  ngx_http_corral_metrics_totals[] = {

    { "corral_instance_connections_total", "corral_service_connections_total",
      ngx_http_corral_metrics_offset(connections),
      "WebSockets opened" },

    { "corral_instance_requests_total", "corral_service_requests_total",
      ngx_http_corral_metrics_offset(requests),
      "Requests, WebSocket handshakes included" },

    { "corral_instance_failures_total", "corral_service_failures_total",
      ngx_http_corral_metrics_offset(failures),
      "Tries that failed" },

    { "corral_instance_ejections_total", NULL,
      ngx_http_corral_metrics_offset(ejections),
      "Times the instance was ejected" },

    { NULL, "corral_service_circuit_opened_total",
      ngx_http_corral_metrics_offset(ejections),
      "Times the circuit was opened" },

    { NULL, "corral_service_retries_refused_total",
      ngx_http_corral_metrics_offset(budget),
      "Retries refused for want of a budget" },

    { NULL, "corral_service_retries_total",
      ngx_http_corral_metrics_offset(retries),
      "Tries on another instance" },

    { NULL, "corral_service_rejected_total",
      ngx_http_corral_metrics_offset(rejected),
      "Requests refused for want of an instance" },

    { NULL, "corral_service_streams_total",
      offsetof(ngx_http_corral_totals_t, streams),
      "Event streams that can be resumed." },

    { NULL, "corral_service_resumes_total",
      offsetof(ngx_http_corral_totals_t, resumes),
      "Clients that came back to an event stream." },

    { NULL, "corral_service_gaps_total",
      offsetof(ngx_http_corral_totals_t, gaps),
      "Times such a client missed events." },

    { NULL, "corral_service_affinity_hits_total",
      ngx_http_corral_metrics_offset(affinity_hits),
      "Requests that went to the instance of their session" },

    { NULL, "corral_service_affinity_moves_total",
      ngx_http_corral_metrics_offset(affinity_moves),
      "Sessions whose instance was gone or full" },

    { NULL, "corral_service_affinity_misses_total",
      ngx_http_corral_metrics_offset(affinity_misses),
      "Requests with a learned session that is not known" },

    { NULL, "corral_service_queued_total",
      ngx_http_corral_metrics_offset(queued),
      "Requests that waited for an instance" },

    { NULL, "corral_service_queue_timeouts_total",
      ngx_http_corral_metrics_offset(queue_timeouts),
      "Requests that waited in vain" },

    { NULL, "corral_service_queue_aborts_total",
      ngx_http_corral_metrics_offset(queue_aborts),
      "Requests whose client left while they waited" },

    { NULL, "corral_service_queue_milliseconds_total",
      ngx_http_corral_metrics_offset(queue_msec),
      "Milliseconds that requests waited, summed up" },

    { NULL, "corral_service_mirrored_total",
      ngx_http_corral_metrics_offset(mirrored),
      "Requests of which a copy was sent" },

    { NULL, "corral_service_mirror_dropped_total",
      ngx_http_corral_metrics_offset(mirror_dropped),
      "Copies that the other service could not take" },

    { NULL, "corral_service_mirror_cut_total",
      ngx_http_corral_metrics_offset(mirror_cut),
      "Copies that were ended as the client was done" },

    { "corral_instance_messages_received_total",
      "corral_service_messages_received_total",
      ngx_http_corral_metrics_offset(messages_in),
      "WebSocket messages from clients" },

    { "corral_instance_messages_sent_total",
      "corral_service_messages_sent_total",
      ngx_http_corral_metrics_offset(messages_out),
      "WebSocket messages to clients" },

    { "corral_instance_received_bytes_total",
      "corral_service_received_bytes_total",
      ngx_http_corral_metrics_offset(bytes_in),
      "WebSocket bytes from clients, framing included" },

    { "corral_instance_sent_bytes_total",
      "corral_service_sent_bytes_total",
      ngx_http_corral_metrics_offset(bytes_out),
      "WebSocket bytes to clients, framing included" },

    { NULL, "corral_service_closes_normal_total",
      ngx_http_corral_metrics_offset(closes_normal),
      "WebSockets that ended with close code 1000 or 1001" },

    { NULL, "corral_service_closes_other_total",
      ngx_http_corral_metrics_offset(closes_other),
      "WebSockets that ended in any other way" },

    { NULL, "corral_service_closes_protocol_total",
      ngx_http_corral_metrics_offset(closes_protocol),
      "WebSockets closed for a frame that is broken" },

    { NULL, "corral_service_closes_size_total",
      ngx_http_corral_metrics_offset(closes_size),
      "WebSockets closed for a message that is too big" },

    { NULL, "corral_service_closes_rate_total",
      ngx_http_corral_metrics_offset(closes_rate),
      "WebSockets closed for too many messages" },

    { NULL, "corral_service_closes_idle_total",
      ngx_http_corral_metrics_offset(closes_idle),
      "WebSockets closed for want of messages" },

    { NULL, "corral_service_closes_lifetime_total",
      ngx_http_corral_metrics_offset(closes_lifetime),
      "WebSockets closed for their age" },

    { NULL, "corral_service_closes_forced_total",
      ngx_http_corral_metrics_offset(closes_forced),
      "WebSockets closed by request" },

    { NULL, "corral_service_closes_drained_total",
      ngx_http_corral_metrics_offset(closes_drained),
      "WebSockets closed by a drain" },

    { NULL, "corral_service_closes_expired_total",
      ngx_http_corral_metrics_offset(closes_expired),
      "WebSockets closed as their token expired" },

    { NULL, "corral_service_closes_revoked_total",
      ngx_http_corral_metrics_offset(closes_revoked),
      "WebSockets closed as their token was revoked" },

    { NULL, "corral_service_token_renewals_total",
      ngx_http_corral_metrics_offset(renewals),
      "Tokens renewed by a message of the client" },

    { NULL, "corral_service_token_renewals_failed_total",
      ngx_http_corral_metrics_offset(renewals_failed),
      "Messages of clients that should renew a token and did not" },

    { NULL, "corral_service_revoked_total",
      ngx_http_corral_metrics_offset(revoked),
      "Requests refused as their token was revoked" },

    { NULL, "corral_service_cut_revoked_total",
      ngx_http_corral_metrics_offset(cut_revoked),
      "Requests cut off as their token was revoked" },

    { NULL, "corral_service_revocations_unknown_total",
      ngx_http_corral_metrics_offset(unsure),
      "Requests refused as Redis did not tell what is revoked" },

    { NULL, "corral_service_closes_dead_total",
      ngx_http_corral_metrics_offset(closes_dead),
      "Sides of WebSockets that did not answer a ping" },

    { NULL, "corral_service_delays_total",
      ngx_http_corral_metrics_offset(delays),
      "Times a side was not read for its rate" },

    { NULL, "corral_service_moves_total",
      ngx_http_corral_metrics_offset(moves),
      "WebSockets that went on with another instance" },

    { NULL, "corral_service_moves_refused_total",
      ngx_http_corral_metrics_offset(moves_refused),
      "WebSockets that could not go on with another instance" },

    { NULL, "corral_service_rebalanced_total",
      ngx_http_corral_metrics_offset(rebalanced),
      "WebSockets that left an instance to even the load" },

    { NULL, "corral_service_replayed_messages_total",
      ngx_http_corral_metrics_offset(replayed),
      "WebSocket messages sent again to another instance" },

    { NULL, "corral_service_suspect_messages_total",
      ngx_http_corral_metrics_offset(suspects),
      "WebSocket messages that saw two instances die" },

    { NULL, NULL, 0, NULL }
};


ngx_int_t
ngx_http_corral_metrics_log_handler(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_corral_module);

    if (ctx == NULL || ctx->service_id.len == 0) {
        return NGX_OK;
    }

    ngx_http_corral_table_local(ctx->terms.ref)->requests++;

    if (ctx->taken) {
        ngx_http_corral_table_local(ctx->instance.ref)->requests++;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_metrics_handler(ngx_http_request_t *r)
{
    ngx_int_t                         rc;
    ngx_http_corral_metrics_out_t     out;
    ngx_http_corral_metrics_total_t  *m;

    rc = ngx_http_corral_metrics_start(r, &out);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_corral_metrics_gateway(&out);

    ngx_http_corral_metrics_print(&out,
        "# HELP corral_service_active_connections WebSockets and requests of "
        "all instances, those picked and not yet connected included\n"
        "# TYPE corral_service_active_connections gauge\n"
        "# HELP corral_service_remote_connections Those of other gateways, "
        "as far as they were told\n"
        "# TYPE corral_service_remote_connections gauge\n"
        "# HELP corral_service_waiting_requests Requests that wait for an "
        "instance now\n"
        "# TYPE corral_service_waiting_requests gauge\n"
        "# HELP corral_service_circuit_open 1 while the circuit is open or "
        "half-open\n"
        "# TYPE corral_service_circuit_open gauge\n"
        "# HELP corral_service_tier_share Part of the traffic that instances "
        "of a priority get\n"
        "# TYPE corral_service_tier_share gauge\n"
        "# HELP corral_instance_active_connections WebSockets and requests "
        "the instance holds now\n"
        "# TYPE corral_instance_active_connections gauge\n"
        "# HELP corral_instance_reserved_connections Picked, not yet "
        "connected\n"
        "# TYPE corral_instance_reserved_connections gauge\n"
        "# HELP corral_instance_remote_connections Those of other gateways, "
        "as far as they were told\n"
        "# TYPE corral_instance_remote_connections gauge\n"
        "# HELP corral_instance_available 1, or 0 while ejected\n"
        "# TYPE corral_instance_available gauge\n"
        "# HELP corral_instance_ramp Part of its weight that a new instance "
        "has\n"
        "# TYPE corral_instance_ramp gauge\n"
        "# HELP corral_instance_reported_weight Part of its weight that the "
        "instance says it wants\n"
        "# TYPE corral_instance_reported_weight gauge\n"
        "# HELP corral_instance_latency_seconds Time to the head of an "
        "answer, peak moving average\n"
        "# TYPE corral_instance_latency_seconds gauge\n");

    ngx_http_corral_registry_walk(ngx_http_corral_metrics_gauge_service, &out);

    for (m = ngx_http_corral_metrics_totals; m->text; m++) {
        out.metric = m - ngx_http_corral_metrics_totals;

        if (m->service) {
            out.of_instance = 0;
            ngx_http_corral_metrics_print(&out,
                                          "# HELP %s %s\n# TYPE %s counter\n",
                                          m->service, m->text, m->service);
            ngx_http_corral_registry_walk(ngx_http_corral_metrics_service,
                                          &out);
        }

        if (m->instance) {
            out.of_instance = 1;
            ngx_http_corral_metrics_print(&out,
                                          "# HELP %s %s\n# TYPE %s counter\n",
                                          m->instance, m->text, m->instance);
            ngx_http_corral_registry_walk(ngx_http_corral_metrics_service,
                                          &out);
        }
    }

    ngx_http_corral_metrics_splits(&out);

    return ngx_http_corral_metrics_send(&out,
                                        "text/plain; version=0.0.4", 25);
}


static void
ngx_http_corral_metrics_gateway(ngx_http_corral_metrics_out_t *out)
{
    ngx_uint_t                        i, serving, exiting;
    ngx_http_corral_sync_info_t      *sync;
    ngx_http_corral_process_view_t    process;
    ngx_http_corral_registry_info_t  *info;

    info = ngx_http_corral_registry_info();
    sync = ngx_http_corral_sync_info();

    serving = 0;
    exiting = 0;

    for (i = 0; i < 64; i++) {

        if (!ngx_http_corral_table_process(i, &process)) {
            continue;
        }

        if (process.exiting) {
            exiting++;

        } else {
            serving++;
        }
    }

    ngx_http_corral_metrics_print(out,
        "# HELP corral_build_info Version of the module\n"
        "# TYPE corral_build_info gauge\n"
        "corral_build_info{version=\"%s\"} 1\n"
        "# HELP corral_processes nginx processes that share the zone\n"
        "# TYPE corral_processes gauge\n"
        "corral_processes{state=\"serving\"} %ui\n"
        "corral_processes{state=\"exiting\"} %ui\n"
        "# HELP corral_registry_revision Revision this worker serves from\n"
        "# TYPE corral_registry_revision gauge\n"
        "corral_registry_revision %uL\n"
        "# HELP corral_registry_services Services this worker knows\n"
        "# TYPE corral_registry_services gauge\n"
        "corral_registry_services %uD\n"
        "# HELP corral_registry_instances Instances this worker knows\n"
        "# TYPE corral_registry_instances gauge\n"
        "corral_registry_instances %uD\n"
        "# HELP corral_registry_rules Rules this worker knows\n"
        "# TYPE corral_registry_rules gauge\n"
        "corral_registry_rules %uD\n",
        NGX_HTTP_CORRAL_VERSION, serving, exiting, info->revision,
        info->services, info->instances, info->rules);

    ngx_http_corral_metrics_print(out,
        "# HELP corral_registry_refused_total Documents this worker refused\n"
        "# TYPE corral_registry_refused_total counter\n"
        "corral_registry_refused_total %uD\n"
        "# HELP corral_registry_loads_total Full loads of this worker\n"
        "# TYPE corral_registry_loads_total counter\n"
        "corral_registry_loads_total %ui\n"
        "# HELP corral_redis_connected 1 while this worker follows Redis\n"
        "# TYPE corral_redis_connected gauge\n"
        "corral_redis_connected %ui\n"
        "# HELP corral_redis_reconnects_total Connections made anew\n"
        "# TYPE corral_redis_reconnects_total counter\n"
        "corral_redis_reconnects_total %ui\n",
        info->refused, sync->loads, sync->connected ? 1 : 0,
        sync->reconnects);

    ngx_http_corral_metrics_print(out,
        "# HELP corral_revocations Entries of revoked that this worker knows\n"
        "# TYPE corral_revocations gauge\n"
        "corral_revocations %ui\n",
        ngx_http_corral_revocation_count());

    if (ngx_http_corral_revocation_age() != NGX_MAX_INT_T_VALUE) {
        ngx_http_corral_metrics_print(out,
            "# HELP corral_revocations_age_seconds Since Redis last told this "
            "worker what is revoked\n"
            "# TYPE corral_revocations_age_seconds gauge\n"
            "corral_revocations_age_seconds %M\n",
            ngx_http_corral_revocation_age() / 1000);
    }
}


static void
ngx_http_corral_metrics_gauge_service(ngx_http_corral_service_t *service,
    void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    uint32_t                     n, drawn;
    ngx_http_corral_tier_t      *tier;
    ngx_http_corral_slot_view_t  view;

    out->service = service;

    if (ngx_http_corral_table_view_ref(service->terms.ref, &view)) {
        ngx_http_corral_metrics_print(out,
            "corral_service_active_connections{service=\"%V\"} %uD\n"
            "corral_service_remote_connections{service=\"%V\"} %uD\n"
            "corral_service_waiting_requests{service=\"%V\"} %uD\n"
            "corral_service_circuit_open{service=\"%V\"} %d\n",
            &service->name, view.active, &service->name, view.remote,
            &service->name, view.waiting, &service->name,
            view.avail != NGX_HTTP_CORRAL_AVAILABLE);
    }

    for (n = 0, drawn = 0; n < service->ntiers; n++) {
        tier = &service->tiers[n];

        ngx_http_corral_metrics_print(out,
            "corral_service_tier_share{service=\"%V\",priority=\"%uD\"} %.3f\n",
            &service->name, tier->priority,
            (double) (tier->until - drawn) / CORRAL_BALANCE_DRAW);

        drawn = tier->until;
    }

    ngx_http_corral_registry_walk_instances(service,
                                            ngx_http_corral_metrics_gauge,
                                            out);
}


static void
ngx_http_corral_metrics_gauge(ngx_http_corral_registry_instance_t *instance,
    void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    double                       latency;
    corral_report_t              report;
    ngx_str_t                   *s, *i;
    ngx_http_corral_slot_view_t  view;

    if (!ngx_http_corral_table_view_ref(instance->ref, &view)) {
        return;
    }

    s = &out->service->name;
    i = &instance->id;

    ngx_http_corral_metrics_print(out,
        "corral_instance_active_connections"
        "{service=\"%V\",instance=\"%V\"} %uD\n"
        "corral_instance_reserved_connections"
        "{service=\"%V\",instance=\"%V\"} %uD\n"
        "corral_instance_remote_connections"
        "{service=\"%V\",instance=\"%V\"} %uD\n"
        "corral_instance_available"
        "{service=\"%V\",instance=\"%V\"} %d\n"
        "corral_instance_ramp"
        "{service=\"%V\",instance=\"%V\"} %.3f\n",
        s, i, view.active, s, i, view.reserved, s, i, view.remote, s, i,
        view.avail == NGX_HTTP_CORRAL_AVAILABLE, s, i,
        (double) ngx_http_corral_table_ramp(instance->ref,
                                            out->service->slow_start)
        / CORRAL_HEALTH_WHOLE);

    if (ngx_http_corral_table_latency(instance->ref, &latency)) {
        ngx_http_corral_metrics_print(out,
            "corral_instance_latency_seconds"
            "{service=\"%V\",instance=\"%V\"} %.3f\n",
            s, i, latency / 1000);
    }

    if (ngx_http_corral_table_report(instance->ref, &report)) {
        ngx_http_corral_metrics_print(out,
            "corral_instance_reported_weight"
            "{service=\"%V\",instance=\"%V\"} %.2f\n",
            s, i, report.state == CORRAL_REPORT_READY
                  ? (double) report.percent / 100 : 0.0);
    }
}


static void
ngx_http_corral_metrics_service(ngx_http_corral_service_t *service,
    void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    ngx_http_corral_slot_view_t       view;
    ngx_http_corral_metrics_total_t  *m;

    m = &ngx_http_corral_metrics_totals[out->metric];

    if (out->of_instance) {
        out->service = service;
        ngx_http_corral_registry_walk_instances(service,
                                         ngx_http_corral_metrics_instance,
                                         out);
        return;
    }

    if (ngx_http_corral_table_view_ref(service->terms.ref, &view)) {
        ngx_http_corral_metrics_print(out, "%s{service=\"%V\"} %uL\n",
            m->service, &service->name,
            *(uint64_t *) ((u_char *) &view.totals + m->offset));
    }
}


static void
ngx_http_corral_metrics_instance(
    ngx_http_corral_registry_instance_t *instance, void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    ngx_http_corral_slot_view_t       view;
    ngx_http_corral_metrics_total_t  *m;

    m = &ngx_http_corral_metrics_totals[out->metric];

    if (ngx_http_corral_table_view_ref(instance->ref, &view)) {
        ngx_http_corral_metrics_print(out,
            "%s{service=\"%V\",instance=\"%V\"} %uL\n",
            m->instance, &out->service->name, &instance->id,
            *(uint64_t *) ((u_char *) &view.totals + m->offset));
    }
}


static char *
ngx_http_corral_metrics_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_corral_main_conf_t  *mcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);

    if (clcf->handler) {
        return "is duplicate, or another content handler is set";
    }

    clcf->handler = (ngx_http_handler_pt) cmd->post;
    mcf->used = cmd->name;

    return NGX_CONF_OK;
}
