
/*
 * Step 4, wait: reserves an instance for the request before its content is
 * made, so that "no instance" is an answer of ours that says why and when to
 * come back.  The upstream step takes what is reserved here.
 *
 * A request that finds no place waits for one if its service has a queue: see
 * ngx_http_corral_wait_queue.c.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral_revocation.h"
#include "ngx_http_corral_wait.h"


typedef enum {
    NGX_HTTP_CORRAL_WAIT_NO_QUEUE = 0,
    NGX_HTTP_CORRAL_WAIT_QUEUE_FULL,
    NGX_HTTP_CORRAL_WAIT_TIMEOUT
} ngx_http_corral_wait_why_e;


static ngx_int_t ngx_http_corral_wait_queue_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_corral_wait_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_corral_wait_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_corral_wait_init_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_corral_wait_park(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service);
static ngx_uint_t ngx_http_corral_wait_mismatch(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
static void ngx_http_corral_wait_gone(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t timed_out);
static ngx_int_t ngx_http_corral_wait_refuse(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_wait_why_e why);
static char *ngx_http_corral_wait_reason(ngx_http_corral_service_t *service);


static ngx_http_variable_t  ngx_http_corral_wait_variables[] = {

    { ngx_string("corral_queue_time"), NULL, ngx_http_corral_wait_queue_time, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_http_module_t  ngx_http_corral_wait_module_ctx = {
    ngx_http_corral_wait_add_variables,    /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_corral_wait_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_wait_module_ctx,      /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_corral_wait_init_module,      /* init module */
    ngx_http_corral_wait_init_process,     /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_int_t
ngx_http_corral_wait_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_service_t   *service;
    ngx_http_corral_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);

    if (!lcf->enabled || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx && ctx->revoked) {              /* while it was parked */
        return ngx_http_corral_revocation_refuse(r, ctx);
    }

    if (ctx == NULL || ctx->hold.state != NGX_HTTP_CORRAL_HOLD_NONE) {
        return NGX_DECLINED;
    }

    if (ngx_http_corral_wait_mismatch(r, ctx)) {
        return NGX_DONE;
    }

    if (ngx_http_corral_upstream_circuit(r, ctx)) {
        return NGX_DONE;
    }

    ctx->ntried = 0;                        /* it may have been redirected */

    if (ngx_http_corral_affinity_ask(r, ctx) == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    /* nobody passes those who wait already */

    if (ngx_http_corral_wait_queue_length(&ctx->service_id)) {
        rc = NGX_BUSY;

    } else {
        rc = ngx_http_corral_upstream_pick(r, ctx, NULL);
    }

    if (rc == NGX_OK) {
        return NGX_DECLINED;
    }

    if (rc != NGX_BUSY) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service && service->queue_size
        && service->desired != CORRAL_DESIRED_STOPPED)
    {
        return ngx_http_corral_wait_park(r, ctx, service);
    }

    return ngx_http_corral_wait_refuse(r, ctx, NGX_HTTP_CORRAL_WAIT_NO_QUEUE);
}


static ngx_int_t
ngx_http_corral_wait_park(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_service_t *service)
{
    ngx_int_t  rc;

    rc = ngx_http_corral_wait_queue_park(r, ctx, service);

    if (rc == NGX_BUSY) {
        return ngx_http_corral_wait_refuse(r, ctx,
                                           NGX_HTTP_CORRAL_WAIT_QUEUE_FULL);
    }

    return rc == NGX_AGAIN ? NGX_AGAIN : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/*
 * The protocol belongs to the service, the passing directive to the location.
 * A request of the other kind gets told which lines are missing; what is not
 * seen here (an http request where grpc_pass stands) peer.init refuses.
 */

static ngx_uint_t
ngx_http_corral_wait_mismatch(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_str_t   *type;
    ngx_uint_t   grpc, service;

    type = r->headers_in.content_type ? &r->headers_in.content_type->value
                                      : NULL;

    grpc = type && type->len >= 16
           && ngx_strncasecmp(type->data, (u_char *) "application/grpc", 16)
              == 0;

    service = ctx->protocol == CORRAL_PROTOCOL_GRPC
              || ctx->protocol == CORRAL_PROTOCOL_GRPCS;

    if (grpc == service) {
        return 0;
    }

    (void) ngx_http_corral_problem(r, NGX_HTTP_BAD_GATEWAY,
               "protocol_mismatch", 0,
               service ? "service \"%V\" speaks gRPC: give it a server with "
                         "\"listen ... http2\" and a location with "
                         "\"grpc_pass grpc://...\", and call it by gRPC"
                       : "service \"%V\" speaks HTTP, not gRPC: give it a "
                         "location with \"proxy_pass $corral_scheme://...\", "
                         "or set its protocol to grpc",
               &ctx->service_name);

    return 1;
}


/* It has waited, and there is no place for it. */

static void
ngx_http_corral_wait_gone(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_uint_t timed_out)
{
    if (ctx->revoked) {
        (void) ngx_http_corral_revocation_refuse(r, ctx);
        return;
    }

    (void) ngx_http_corral_wait_refuse(r, ctx,
                              timed_out ? NGX_HTTP_CORRAL_WAIT_TIMEOUT
                                        : NGX_HTTP_CORRAL_WAIT_NO_QUEUE);
}


static ngx_int_t
ngx_http_corral_wait_refuse(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_wait_why_e why)
{
    char                       *code;
    u_char                     *p;
    ngx_str_t                   waited;
    ngx_http_corral_totals_t    delta;
    ngx_http_corral_service_t  *service;
    u_char                      buf[128];

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.rejected = 1;
    ngx_http_corral_table_add(ctx->terms.ref, &delta);

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL) {
        return ngx_http_corral_problem(r, NGX_HTTP_NOT_FOUND,
                                       "service_not_found", 0,
                                       "there is no service \"%V\"",
                                       &ctx->service_name);
    }

    code = service->n ? "service_full" : "service_not_ready";
    p = buf;

    if (why == NGX_HTTP_CORRAL_WAIT_QUEUE_FULL) {
        code = "queue_full";
        p = ngx_sprintf(buf, "; %uD requests wait already, see its "
                        "\"queue_size\"", service->queue_size);

    } else if (why == NGX_HTTP_CORRAL_WAIT_TIMEOUT) {
        code = "queue_timeout";
        p = ngx_sprintf(buf, "; it has waited for %M ms, see its "
                        "\"queue_timeout\"", ctx->queue_time);
    }

    waited.data = buf;
    waited.len = p - buf;

    return ngx_http_corral_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, code,
                                   service->desired ? 5 : 1,
                                   "service \"%V\" has no instance for this "
                                   "request: %s (%uD of %uD ready)%V",
                                   &ctx->service_name,
                                   ngx_http_corral_wait_reason(service),
                                   service->n, service->total, &waited);
}


static char *
ngx_http_corral_wait_reason(ngx_http_corral_service_t *service)
{
    switch (service->desired) {

    case CORRAL_DESIRED_STOPPED:
        return "it is stopped";

    case CORRAL_DESIRED_PAUSED:
        return "it is paused";

    default:
        break;
    }

    if (service->n == 0) {
        return "none is ready";
    }

    if (service->limits.service
        && ngx_http_corral_table_in_use(service->terms.ref)
           >= service->limits.service)
    {
        return "it has max_connections";
    }

    return "all that are ready have max_sessions connections";
}


static ngx_int_t
ngx_http_corral_wait_init_module(ngx_cycle_t *cycle)
{
    ngx_http_corral_main_conf_t  *mcf;

    mcf = ngx_http_corral_get_main_conf(cycle);

    if (mcf == NULL || mcf->zone == NULL) {
        return NGX_OK;
    }

    return ngx_http_corral_wait_queue_create(cycle);
}


static ngx_int_t
ngx_http_corral_wait_init_process(ngx_cycle_t *cycle)
{
    ngx_http_corral_main_conf_t  *mcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_corral_get_main_conf(cycle);

    if (mcf == NULL || mcf->zone == NULL) {
        return NGX_OK;
    }

    return ngx_http_corral_wait_queue_init(cycle, ngx_http_corral_wait_gone);
}


static ngx_int_t
ngx_http_corral_wait_add_variables(ngx_conf_t *cf)
{
    return ngx_http_corral_add_variables(cf, ngx_http_corral_wait_variables);
}


/* seconds with milliseconds; not found: it went straight through */

static ngx_int_t
ngx_http_corral_wait_queue_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                 *p;
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx == NULL || !ctx->queued) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = ngx_sprintf(p, "%T.%03M", (time_t) ctx->queue_time / 1000,
                         ctx->queue_time % 1000)
             - p;

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
