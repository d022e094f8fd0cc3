
/*
 * Which instance: the part of the upstream step that looks at the current
 * generation, at what the table knows of each instance, and reserves one.  It
 * holds nothing itself; the arithmetic is in corral_balance.c.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral_upstream.h"

#include <corral_health.h>


#define NGX_HTTP_CORRAL_PICK_RACES  3       /* lost ones, until it is full */


/* what the callbacks of the balancer look at */

typedef struct {
    ngx_http_corral_service_t  *service;
    ngx_http_corral_tier_t     *tier;
    ngx_http_corral_ctx_t      *ctx;
    uint64_t                    key;        /* hashed, or random */
    ngx_uint_t                  ramp;       /* new instances get less */
    ngx_uint_t                  last_resort;
} ngx_http_corral_pick_view_t;


static ngx_http_corral_instance_t *ngx_http_corral_upstream_pick_reserve(
    ngx_http_request_t *r, ngx_http_corral_pick_view_t *view,
    ngx_http_corral_limits_t *limits, ngx_str_t *hash_key);
static ngx_http_corral_instance_t *ngx_http_corral_upstream_pick_choose(
    ngx_http_request_t *r, ngx_http_corral_pick_view_t *view,
    ngx_uint_t method, ngx_str_t *hash_key);
static uint32_t ngx_http_corral_upstream_pick_tier(
    ngx_http_corral_pick_view_t *view, ngx_uint_t method);
static ngx_http_corral_instance_t *ngx_http_corral_upstream_pick_instance(
    ngx_http_corral_pick_view_t *view, uint32_t i);
static uint64_t ngx_http_corral_upstream_pick_random(void);
static int ngx_http_corral_upstream_pick_ok(void *data, uint32_t i);
static ngx_int_t ngx_http_corral_upstream_pick_hold(
    ngx_http_corral_pick_view_t *view, ngx_http_corral_instance_t *instance,
    ngx_http_corral_limits_t *limits);
static ngx_uint_t ngx_http_corral_upstream_pick_ramped(
    ngx_http_corral_pick_view_t *view, ngx_http_corral_instance_t *instance);
static uint32_t ngx_http_corral_upstream_pick_load(void *data, uint32_t i);
static double ngx_http_corral_upstream_pick_cost(void *data, uint32_t i);
static ngx_int_t ngx_http_corral_upstream_pick_copy(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_instance_t *instance);


ngx_int_t
ngx_http_corral_upstream_pick(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_upstream_srv_conf_t *us)
{
    ngx_str_t                             hash_key;
    ngx_uint_t                            retry;
    ngx_http_corral_limits_t              limits;
    ngx_http_corral_instance_t           *instance;
    ngx_http_corral_main_conf_t          *mcf;
    ngx_http_corral_pick_view_t           view;
    ngx_http_corral_upstream_srv_conf_t  *ucf;

    ngx_http_corral_table_release(&ctx->hold);

    retry = us != NULL && ctx->taken;

    if (us == NULL) {
        mcf = ngx_http_get_module_main_conf(r, ngx_http_corral_module);
        us = mcf->upstream;
    }

    ucf = us ? ngx_http_conf_upstream_srv_conf(us,
                                         ngx_http_corral_upstream_module)
             : NULL;

    view.ctx = ctx;
    view.service = ngx_http_corral_registry_find(&ctx->service_id);

    if (view.service == NULL) {
        return NGX_BUSY;
    }

    limits = view.service->limits;

    if (retry && !ngx_http_corral_upstream_may_retry(ctx)) {
        return NGX_BUSY;
    }

    if (retry || ctx->moved) {
        limits.service = 0;                 /* it had a place already */
    }

    ctx->method = ngx_http_corral_upstream_method(view.service, ucf,
                                                  &hash_key);

    instance = ngx_http_corral_upstream_pick_reserve(r, &view, &limits,
                                                     &hash_key);
    if (instance == NULL) {
        return NGX_BUSY;
    }

    if (ngx_http_corral_upstream_pick_copy(r, ctx, instance) != NGX_OK) {
        ngx_http_corral_table_release(&ctx->hold);
        return NGX_ERROR;
    }

    if (ctx->ntried < NGX_HTTP_CORRAL_MAX_TRIES) {
        ctx->tried[ctx->ntried++] = instance->key;
    }

    (void) ngx_http_corral_table_avail(instance->ref, 1);

    if (view.service->slow_start_rate
        && ngx_http_corral_table_ramp(instance->ref, view.service->slow_start)
           != CORRAL_HEALTH_WHOLE)
    {
        ngx_http_corral_table_taken(instance->ref);
    }

    ngx_http_corral_affinity_chosen(r, ctx, view.service, ctx->instance.ref);

    if (retry && !ctx->moved) {
        ngx_http_corral_table_retry(&ctx->hold);
    }

    return NGX_OK;
}


/* Chooses again when another process has taken the last place meanwhile. */

static ngx_http_corral_instance_t *
ngx_http_corral_upstream_pick_reserve(ngx_http_request_t *r,
    ngx_http_corral_pick_view_t *view, ngx_http_corral_limits_t *limits,
    ngx_str_t *hash_key)
{
    ngx_uint_t                   tries, method;
    corral_report_t              report;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_instance_t  *instance;

    ctx = view->ctx;

    /* a copy belongs to no session */

    instance = ctx->copy ? NULL
                         : ngx_http_corral_affinity_owner(r, ctx,
                                                          view->service);

    if (instance
        && (ctx->wanted
            || (ngx_http_corral_table_report(instance->ref, &report)
                && report.state == CORRAL_REPORT_OUT)))
    {
        instance = NULL;
    }

    /* all gateways guess the same for a session that none knows */

    method = ctx->sticky ? NGX_HTTP_CORRAL_HASH : ctx->method;

    for (tries = 0; tries < NGX_HTTP_CORRAL_PICK_RACES; tries++) {

        if (limits->service
            && ngx_http_corral_table_in_use(ctx->terms.ref)
               >= limits->service)
        {
            return NULL;
        }

        if (instance
            && ngx_http_corral_upstream_pick_hold(view, instance, limits)
               == NGX_OK)
        {
            return instance;
        }

        if (view->service->n == 0) {
            return NULL;
        }

        instance = ngx_http_corral_upstream_pick_choose(r, view, method,
                                                        hash_key);
        if (instance == NULL) {
            return NULL;
        }

        if (ngx_http_corral_upstream_pick_hold(view, instance, limits)
            == NGX_OK)
        {
            return instance;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_corral_upstream_pick_hold(ngx_http_corral_pick_view_t *view,
    ngx_http_corral_instance_t *instance, ngx_http_corral_limits_t *limits)
{
    ngx_http_corral_limits_t  own;

    own.instance = ngx_http_corral_upstream_limit(view->service, instance);
    own.service = limits->service;

    return ngx_http_corral_table_reserve(instance->ref, view->ctx->terms.ref,
                                         &own, &view->ctx->hold);
}


ngx_uint_t
ngx_http_corral_upstream_may_retry(ngx_http_corral_ctx_t *ctx)
{
    ngx_http_corral_slot_t      ref;
    ngx_http_corral_totals_t    delta;
    ngx_http_corral_service_t  *service;

    if (ctx->moved) {
        return 1;                           /* it was paced before */
    }

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL) {
        return 0;
    }

    ref = service->terms.ref;

    if (corral_health_budget(ngx_http_corral_table_retries(ref),
                             ngx_http_corral_table_in_use(ref) + 1,
                             service->eject.retry_budget))
    {
        return 1;
    }

    if (!ctx->refused) {                    /* the relay asks twice */
        ctx->refused = 1;

        ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
        delta.budget = 1;
        ngx_http_corral_table_add(ref, &delta);
    }

    return 0;
}


ngx_uint_t
ngx_http_corral_upstream_method(ngx_http_corral_service_t *service,
    ngx_http_corral_upstream_srv_conf_t *ucf, ngx_str_t *key)
{
    *key = service->hash_key;

    if (service->balance_method != CORRAL_METHOD_DEFAULT) {
        return ngx_http_corral_methods[service->balance_method - 1].method;
    }

    if (ucf == NULL) {
        return NGX_HTTP_CORRAL_ROUND_ROBIN;
    }

    if (ucf->hash_key.len) {
        *key = ucf->hash_key;
    }

    return ucf->method;
}


/*
 * One tier is drawn by its share; if nobody can be taken there the others are
 * looked at, the first one first.
 *
 * Ejected instances are passed over.  When nothing else is left they are
 * tried all the same: a gateway that has ejected all of them knows nothing,
 * and a try costs less than an answer that is wrong.  A copy has no answer.
 */

static ngx_http_corral_instance_t *
ngx_http_corral_upstream_pick_choose(ngx_http_request_t *r,
    ngx_http_corral_pick_view_t *view, ngx_uint_t method, ngx_str_t *hash_key)
{
    uint32_t                    i, n, drawn, draw;
    ngx_uint_t                  rounds;
    ngx_http_corral_service_t  *service;

    service = view->service;

    if (view->ctx->sticky) {
        view->key = view->ctx->affinity;

    } else {
        view->key = (method == NGX_HTTP_CORRAL_HASH)
                    ? ngx_http_corral_hash(r, view->ctx, hash_key)
                    : ngx_http_corral_upstream_pick_random();
    }

    draw = view->key % CORRAL_BALANCE_DRAW;

    for (drawn = 0; drawn < service->ntiers - 1; drawn++) {
        if (draw < service->tiers[drawn].until) {
            break;
        }
    }

    rounds = view->ctx->copy ? 1 : 2;

    for (view->last_resort = 0;
         view->last_resort < rounds;
         view->last_resort++)
    {

        for (n = 0; n <= service->ntiers; n++) {

            if (n == drawn + 1) {
                continue;
            }

            view->tier = &service->tiers[n ? n - 1 : drawn];

            view->ramp = (service->slow_start
                          || ngx_http_corral_table_report_any())
                         && !view->last_resort;

            i = ngx_http_corral_upstream_pick_tier(view, method);

            if (i == CORRAL_BALANCE_NONE && view->ramp) {
                view->ramp = 0;             /* nobody else can take it */
                i = ngx_http_corral_upstream_pick_tier(view, method);
            }

            if (i != CORRAL_BALANCE_NONE) {
                return ngx_http_corral_upstream_pick_instance(view, i);
            }
        }
    }

    return NULL;
}


/* an instance of view->tier */

static uint32_t
ngx_http_corral_upstream_pick_tier(ngx_http_corral_pick_view_t *view,
    ngx_uint_t method)
{
    uint32_t                   *cursor;
    uint64_t                    random;
    corral_balance_t           *b;
    corral_balance_view_t       bv;
    ngx_http_corral_service_t  *service;

    service = view->service;
    b = view->tier->balance;

    bv.ok = ngx_http_corral_upstream_pick_ok;
    bv.load = ngx_http_corral_upstream_pick_load;
    bv.cost = ngx_http_corral_upstream_pick_cost;
    bv.data = view;

    random = ngx_http_corral_upstream_pick_random();

    switch (method) {

    case NGX_HTTP_CORRAL_LEAST_CONN:

        /* not all gateways to the one that was the least a second ago */

        return ngx_http_corral_table_remote_any()
               ? corral_balance_two_choices(b, &bv, random)
               : corral_balance_least_conn(b, &bv, random);

    case NGX_HTTP_CORRAL_HASH:

        if (service->hash_factor) {
            return corral_balance_hash_bounded(b, &bv, view->key,
                       ngx_http_corral_table_in_use(service->terms.ref),
                       service->hash_factor);
        }

        return corral_balance_hash(b, &bv, view->key);

    case NGX_HTTP_CORRAL_RANDOM:
        return corral_balance_random(b, &bv, random);

    case NGX_HTTP_CORRAL_P2C:
        return corral_balance_two_choices(b, &bv, random);

    case NGX_HTTP_CORRAL_EWMA:
        return corral_balance_cheapest(b, &bv, random);

    default: /* NGX_HTTP_CORRAL_ROUND_ROBIN */

        /* one cursor for all workers, so that a cycle is exact */

        cursor = ngx_http_corral_table_cursor(view->ctx->terms.ref);

        return corral_balance_round_robin(b, &bv, cursor, random);
    }
}


static ngx_http_corral_instance_t *
ngx_http_corral_upstream_pick_instance(ngx_http_corral_pick_view_t *view,
    uint32_t i)
{
    return &view->service->instances[view->tier->first + i];
}


/* xorshift64* (S. Vigna, An experimental exploration of Marsaglia's ...) */

static uint64_t
ngx_http_corral_upstream_pick_random(void)
{
    static uint64_t  x;

    if (x == 0) {
        x = ((uint64_t) ngx_random() << 32 | (uint64_t) ngx_random()) | 1;
    }

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;

    return x * 0x2545F4914F6CDD1DULL;
}


static int
ngx_http_corral_upstream_pick_ok(void *data, uint32_t i)
{
    ngx_http_corral_pick_view_t *view = data;

    uint32_t                     limit;
    ngx_uint_t                   n;
    corral_report_t              report;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_instance_t  *instance;

    ctx = view->ctx;
    instance = ngx_http_corral_upstream_pick_instance(view, i);

    if (ctx->wanted && ctx->wanted != instance->key) {
        return 0;
    }

    /* what it says of itself holds also when nothing else is left */

    if (ngx_http_corral_table_report(instance->ref, &report)
        && (report.state != CORRAL_REPORT_READY || report.percent == 0))
    {
        return 0;
    }

    for (n = 0; n < ctx->ntried; n++) {
        if (ctx->tried[n] == instance->key) {
            return 0;
        }
    }

    if (!view->last_resort
        && ngx_http_corral_table_avail(instance->ref, 0)
           == NGX_HTTP_CORRAL_EJECTED)
    {
        return 0;
    }

    if (view->ramp && !ngx_http_corral_upstream_pick_ramped(view, instance)) {
        return 0;
    }

    limit = ngx_http_corral_upstream_limit(view->service, instance);

    return limit == 0 || ngx_http_corral_table_load(instance->ref) < limit;
}


uint32_t
ngx_http_corral_upstream_limit(ngx_http_corral_service_t *service,
    ngx_http_corral_instance_t *instance)
{
    uint32_t         limit;
    corral_report_t  report;

    limit = service->limits.instance;

    if (ngx_http_corral_table_report(instance->ref, &report)
        && report.maxconn && (limit == 0 || report.maxconn < limit))
    {
        return report.maxconn;
    }

    return limit;
}


uint32_t
ngx_http_corral_upstream_part(ngx_http_corral_service_t *service,
    ngx_http_corral_instance_t *instance, ngx_uint_t *ramped)
{
    uint32_t         part;
    corral_report_t  report;

    part = service->slow_start
           ? ngx_http_corral_table_ramp(instance->ref, service->slow_start)
           : CORRAL_HEALTH_WHOLE;

    *ramped = part != CORRAL_HEALTH_WHOLE;

    if (ngx_http_corral_table_report(instance->ref, &report)) {
        part = (uint32_t) ((uint64_t) part * report.percent / 100);
    }

    return ngx_max(part, 1);
}


/*
 * A new instance, or one that says it is loaded, takes its share of the draws:
 * of a hash the same keys each time, and more of them as the share grows.
 * Methods that compare weigh it in their comparison instead.
 */

static ngx_uint_t
ngx_http_corral_upstream_pick_ramped(ngx_http_corral_pick_view_t *view,
    ngx_http_corral_instance_t *instance)
{
    uint32_t    part, rate;
    ngx_uint_t  ramped;

    part = ngx_http_corral_upstream_part(view->service, instance, &ramped);

    if (part == CORRAL_HEALTH_WHOLE) {
        return 1;
    }

    rate = view->service->slow_start_rate;

    if (ramped && rate && ngx_http_corral_table_recent(instance->ref) >= rate) {
        return 0;
    }

    switch (view->ctx->method) {

    case NGX_HTTP_CORRAL_LEAST_CONN:
    case NGX_HTTP_CORRAL_P2C:
    case NGX_HTTP_CORRAL_EWMA:
        return 1;

    default:
        return ((view->key ^ instance->key) * 0x9e3779b97f4a7c15) >> 48 < part;
    }
}


static uint32_t
ngx_http_corral_upstream_pick_load(void *data, uint32_t i)
{
    ngx_http_corral_pick_view_t *view = data;

    uint32_t                     part;
    uint64_t                     load;
    ngx_uint_t                   ramped;
    ngx_http_corral_instance_t  *instance;

    instance = ngx_http_corral_upstream_pick_instance(view, i);
    load = ngx_http_corral_table_load(instance->ref);

    if (!view->ramp || view->ctx->method == NGX_HTTP_CORRAL_HASH) {
        return load;
    }

    /* as (load + 1) / (weight * part) */

    part = ngx_http_corral_upstream_part(view->service, instance, &ramped);

    return ngx_min((load + 1) * CORRAL_HEALTH_WHOLE / part - 1, 0xfffffffe);
}


/*
 * What one more connection costs: how slow the instance is, times how many wait
 * for it.  An instance that has not answered yet is taken for half as slow as
 * the slowest of its service: it gets its first requests, but not a flood.  One
 * millisecond, the clock's own, is added: connections count also between
 * instances that answer within it.
 */

static double
ngx_http_corral_upstream_pick_cost(void *data, uint32_t i)
{
    ngx_http_corral_pick_view_t *view = data;

    double                       latency;
    ngx_http_corral_instance_t  *instance;

    instance = ngx_http_corral_upstream_pick_instance(view, i);

    if (!ngx_http_corral_table_latency(instance->ref, &latency)) {
        (void) ngx_http_corral_table_latency(view->service->terms.ref,
                                             &latency);
        latency /= 2;
    }

    return (latency + 1.0)
           * (ngx_http_corral_upstream_pick_load(view, i) + 1.0);
}


static ngx_int_t
ngx_http_corral_upstream_pick_copy(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_instance_t *instance)
{
    u_char  *p;

    p = ngx_palloc(r->pool, instance->socklen + instance->id.len
                            + instance->name.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->instance = *instance;

    ctx->instance.sockaddr = (struct sockaddr *) p;
    p = ngx_cpymem(p, instance->sockaddr, instance->socklen);

    ctx->instance.id.data = p;
    p = ngx_cpymem(p, instance->id.data, instance->id.len);

    ctx->instance.name.data = p;
    ngx_memcpy(p, instance->name.data, instance->name.len);

    return NGX_OK;
}
