
/*
 * Step 4, wait: reserves an instance for the request before its content is
 * made, so that "no instance" is an answer of ours that says why and when to
 * come back.  The upstream step takes what is reserved here.
 *
 * It does not hold requests while nothing is ready.
 */


#include "ngx_http_corral.h"


static ngx_uint_t ngx_http_corral_wait_mismatch(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
static ngx_int_t ngx_http_corral_wait_refuse(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);


static ngx_http_module_t  ngx_http_corral_wait_module_ctx = {
    NULL,                                  /* preconfiguration */
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
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_int_t
ngx_http_corral_wait_handler(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);

    if (!lcf->enabled || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_corral_find_ctx(r);

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

    switch (ngx_http_corral_upstream_pick(r, ctx, NULL)) {

    case NGX_OK:
        return NGX_DECLINED;

    case NGX_BUSY:
        return ngx_http_corral_wait_refuse(r, ctx);

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
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


static ngx_int_t
ngx_http_corral_wait_refuse(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx)
{
    char                       *why;
    ngx_http_corral_totals_t    delta;
    ngx_http_corral_service_t  *service;

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

    switch (service->desired) {

    case CORRAL_DESIRED_STOPPED:
        why = "it is stopped";
        break;

    case CORRAL_DESIRED_PAUSED:
        why = "it is paused";
        break;

    default:
        why = service->n ? "all that are ready have max_sessions connections"
                         : "none is ready";
        break;
    }

    return ngx_http_corral_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                   service->n ? "service_full"
                                              : "service_not_ready",
                                   service->desired ? 5 : 1,
                                   "service \"%V\" has no instance for this "
                                   "request: %s (%uD of %uD ready)",
                                   &ctx->service_name, why, service->n,
                                   service->total);
}
