
/*
 * Which instance: the part of the upstream step that looks at the current
 * generation, at what the table knows of each instance, and reserves one.  It
 * holds nothing itself; the arithmetic is in corral_balance.c.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral_upstream.h"


#define NGX_HTTP_CORRAL_PICK_RACES  3       /* lost ones, until it is full */


/* what the callbacks of the balancer look at */

typedef struct {
    ngx_http_corral_service_t  *service;
    ngx_http_corral_ctx_t      *ctx;
    ngx_uint_t                  last_resort;
} ngx_http_corral_pick_view_t;


static ngx_http_corral_instance_t *ngx_http_corral_upstream_pick_reserve(
    ngx_http_request_t *r, ngx_http_corral_pick_view_t *view,
    ngx_http_corral_limits_t *limits, ngx_str_t *hash_key);
static uint32_t ngx_http_corral_upstream_pick_choose(ngx_http_request_t *r,
    ngx_http_corral_pick_view_t *view, ngx_uint_t method,
    ngx_str_t *hash_key);
static uint64_t ngx_http_corral_upstream_pick_random(void);
static int ngx_http_corral_upstream_pick_ok(void *data, uint32_t i);
static uint32_t ngx_http_corral_upstream_pick_load(void *data, uint32_t i);
static double ngx_http_corral_upstream_pick_cost(void *data, uint32_t i);
static uint64_t ngx_http_corral_upstream_pick_key(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *name);
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

    if (retry) {
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

    ngx_http_corral_affinity_chosen(r, ctx, view.service, ctx->instance.ref);

    return NGX_OK;
}


/* Chooses again when another process has taken the last place meanwhile. */

static ngx_http_corral_instance_t *
ngx_http_corral_upstream_pick_reserve(ngx_http_request_t *r,
    ngx_http_corral_pick_view_t *view, ngx_http_corral_limits_t *limits,
    ngx_str_t *hash_key)
{
    uint32_t                     i;
    ngx_uint_t                   tries, method;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_instance_t  *instance;

    ctx = view->ctx;

    instance = ngx_http_corral_affinity_owner(r, ctx, view->service);

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
            && ngx_http_corral_table_reserve(instance->ref, ctx->terms.ref,
                                             limits, &ctx->hold)
               == NGX_OK)
        {
            return instance;
        }

        if (view->service->n == 0) {
            return NULL;
        }

        i = ngx_http_corral_upstream_pick_choose(r, view, method, hash_key);

        if (i == CORRAL_BALANCE_NONE) {
            return NULL;
        }

        instance = &view->service->instances[i];

        if (ngx_http_corral_table_reserve(instance->ref, ctx->terms.ref,
                                          limits, &ctx->hold)
            == NGX_OK)
        {
            return instance;
        }
    }

    return NULL;
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
 * Ejected instances are passed over.  When nothing else is left they are
 * tried all the same: a gateway that has ejected all of them knows nothing,
 * and a try costs less than an answer that is wrong.
 */

static uint32_t
ngx_http_corral_upstream_pick_choose(ngx_http_request_t *r,
    ngx_http_corral_pick_view_t *view, ngx_uint_t method,
    ngx_str_t *hash_key)
{
    uint32_t                    i, *cursor;
    uint64_t                    random, key;
    corral_balance_view_t       bv;
    ngx_http_corral_service_t  *service;

    service = view->service;

    bv.ok = ngx_http_corral_upstream_pick_ok;
    bv.load = ngx_http_corral_upstream_pick_load;
    bv.cost = ngx_http_corral_upstream_pick_cost;
    bv.data = view;

    for (view->last_resort = 0; view->last_resort < 2; view->last_resort++) {

        random = ngx_http_corral_upstream_pick_random();

        switch (method) {

        case NGX_HTTP_CORRAL_LEAST_CONN:

            /* not all gateways to the one that was the least a second ago */

            i = ngx_http_corral_table_remote_any()
                ? corral_balance_two_choices(service->balance, &bv, random)
                : corral_balance_least_conn(service->balance, &bv, random);
            break;

        case NGX_HTTP_CORRAL_HASH:
            key = view->ctx->sticky
                  ? view->ctx->affinity
                  : ngx_http_corral_upstream_pick_key(r, view->ctx, hash_key);
            i = service->hash_factor
                ? corral_balance_hash_bounded(service->balance, &bv, key,
                      ngx_http_corral_table_in_use(service->terms.ref),
                      service->hash_factor)
                : corral_balance_hash(service->balance, &bv, key);
            break;

        case NGX_HTTP_CORRAL_RANDOM:
            i = corral_balance_random(service->balance, &bv, random);
            break;

        case NGX_HTTP_CORRAL_P2C:
            i = corral_balance_two_choices(service->balance, &bv, random);
            break;

        case NGX_HTTP_CORRAL_EWMA:
            i = corral_balance_cheapest(service->balance, &bv, random);
            break;

        default: /* NGX_HTTP_CORRAL_ROUND_ROBIN */

            /* one cursor for all workers, so that a cycle is exact */

            cursor = ngx_http_corral_table_cursor(view->ctx->terms.ref);

            i = corral_balance_round_robin(service->balance, &bv, cursor,
                                           random);
            break;
        }

        if (i != CORRAL_BALANCE_NONE) {
            return i;
        }
    }

    return CORRAL_BALANCE_NONE;
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

    ngx_uint_t                   n;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_instance_t  *instance;

    ctx = view->ctx;
    instance = &view->service->instances[i];

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

    return view->service->limits.instance == 0
           || ngx_http_corral_table_load(instance->ref)
              < view->service->limits.instance;
}


static uint32_t
ngx_http_corral_upstream_pick_load(void *data, uint32_t i)
{
    ngx_http_corral_pick_view_t *view = data;

    return ngx_http_corral_table_load(view->service->instances[i].ref);
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

    instance = &view->service->instances[i];

    if (!ngx_http_corral_table_latency(instance->ref, &latency)) {
        (void) ngx_http_corral_table_latency(view->service->terms.ref,
                                             &latency);
        latency /= 2;
    }

    return (latency + 1.0)
           * (ngx_http_corral_table_load(instance->ref) + 1.0);
}


/*
 * The value that a hash key names; a request without it is hashed by the
 * address of the client.
 */

static uint64_t
ngx_http_corral_upstream_pick_key(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *name)
{
    ngx_str_t  key;

    ngx_http_corral_affinity_value(r, ctx, name, &key);

    if (key.len == 0) {
        key = r->connection->addr_text;
    }

    return corral_balance_key(key.data, key.len);
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
