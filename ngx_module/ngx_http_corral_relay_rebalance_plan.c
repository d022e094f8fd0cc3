
/*
 * Plans of rebalancing: what the instances of a service hold, what is too much
 * of it (corral_rebalance.c), and how many go from which to which, written into
 * the zone for all workers.  Says also when now is no time for it.  No locks.
 */


#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_rebalance.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_upstream.h"


static void ngx_http_corral_rebalance_leaving(
    ngx_http_corral_registry_instance_t *instance, void *data);
static uint32_t ngx_http_corral_rebalance_plan_tier(
    ngx_http_corral_service_t *service, ngx_http_corral_tier_t *tier,
    uint32_t tolerance, corral_rebalance_t *list, corral_rebalance_t *some);


const char *
ngx_http_corral_rebalance_storm(ngx_http_corral_service_t *service)
{
    ngx_uint_t  drains;

    if (service->desired != CORRAL_DESIRED_RUNNING || service->n == 0) {
        return "the service does not run";
    }

    if (ngx_http_corral_table_ejected(service->terms.ref)) {
        return "the circuit of the service is open";
    }

    if (ngx_http_corral_relay_pace_waiting(&service->id)) {
        return "connections of the service wait for another instance";
    }

    drains = 0;

    ngx_http_corral_registry_walk_instances(service,
                                            ngx_http_corral_rebalance_leaving,
                                            &drains);

    return drains ? "an instance of the service drains" : NULL;
}


static void
ngx_http_corral_rebalance_leaving(
    ngx_http_corral_registry_instance_t *instance, void *data)
{
    ngx_uint_t *drains = data;

    *drains |= (instance->state == CORRAL_STATE_DRAINING
                || instance->state == CORRAL_STATE_STOPPING)
               && ngx_http_corral_table_load(instance->ref) != 0;
}


/* Another plan is due: writes it, an empty one if now is no time. */

void
ngx_http_corral_rebalance_renew(ngx_http_corral_service_t *service)
{
    uint32_t             planned;
    corral_rebalance_t  *list;

    if (service->n == 0) {
        return;
    }

    list = ngx_calloc(service->n * sizeof(corral_rebalance_t), ngx_cycle->log);

    if (list == NULL) {
        return;
    }

    planned = 0;

    if (ngx_http_corral_rebalance_storm(service) == NULL
        && ngx_http_corral_rebalance_plan(service,
                                          service->rebalance.tolerance, list,
                                          &planned)
           != NGX_OK)
    {
        planned = 0;
    }

    ngx_http_corral_rebalance_write(service, list, planned);

    ngx_free(list);
}


ngx_int_t
ngx_http_corral_rebalance_plan(ngx_http_corral_service_t *service,
    uint32_t tolerance, corral_rebalance_t *list, uint32_t *planned)
{
    uint32_t             i;
    corral_rebalance_t  *some;

    *planned = 0;

    some = ngx_calloc(service->n * sizeof(corral_rebalance_t), ngx_cycle->log);

    if (some == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < service->ntiers; i++) {
        *planned += ngx_http_corral_rebalance_plan_tier(service,
                                                        &service->tiers[i],
                                                        tolerance, list, some);
    }

    ngx_free(some);

    return NGX_OK;
}


/* those that cannot be used have no part in it, and keep what they have */

static uint32_t
ngx_http_corral_rebalance_plan_tier(ngx_http_corral_service_t *service,
    ngx_http_corral_tier_t *tier, uint32_t tolerance,
    corral_rebalance_t *list, corral_rebalance_t *some)
{
    uint32_t                     i, n, planned;
    ngx_uint_t                   ramped;
    corral_rebalance_t          *r;
    ngx_http_corral_instance_t  *instance;

    for (i = 0, n = 0; i < tier->n; i++) {
        instance = &service->instances[tier->first + i];

        if (!ngx_http_corral_rebalance_usable(instance)) {
            continue;
        }

        r = &some[n++];

        r->weight = (double) instance->weight
                    * ngx_http_corral_upstream_part(service, instance, &ramped)
                    / CORRAL_HEALTH_WHOLE;
        r->load = ngx_http_corral_table_load(instance->ref);
        r->own = ngx_min(ngx_http_corral_table_held(instance->ref), r->load);
        r->limit = ngx_http_corral_upstream_limit(service, instance);
    }

    planned = corral_rebalance_plan(some, n, tolerance,
                                    (ngx_random() & 0xffff) / 65536.0);

    for (i = 0, n = 0; i < tier->n; i++) {

        if (ngx_http_corral_rebalance_usable(
                &service->instances[tier->first + i]))
        {
            list[tier->first + i] = some[n++];
        }
    }

    return planned;
}


/* a plan for all workers; the pace is this gateway's part of it */

void
ngx_http_corral_rebalance_write(ngx_http_corral_service_t *service,
    corral_rebalance_t *list, uint32_t planned)
{
    uint32_t  i;
    uint64_t  load, own;

    load = 0;
    own = 0;

    for (i = 0; i < service->n; i++) {
        load += list[i].load;
        own += list[i].own;

        ngx_http_corral_table_plan(service->instances[i].ref,
                                   planned ? list[i].leave : 0,
                                   planned ? list[i].come : 0);
    }

    if (planned) {
        ngx_http_corral_table_plan_pace(service->terms.ref,
                                        1000000 / service->rebalance.rate
                                        * load / ngx_max(own, 1));
    }
}


ngx_uint_t
ngx_http_corral_rebalance_usable(ngx_http_corral_instance_t *instance)
{
    corral_report_t  report;

    if (ngx_http_corral_table_avail(instance->ref, 0)
        != NGX_HTTP_CORRAL_AVAILABLE)
    {
        return 0;
    }

    return !ngx_http_corral_table_report(instance->ref, &report)
           || (report.state == CORRAL_REPORT_READY && report.percent != 0);
}
