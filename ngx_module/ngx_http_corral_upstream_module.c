
/*
 * Step 5, upstream: one static upstream block serves every service; the peer
 * is picked per request.  "corral" replaces the block's balancer.
 *
 * The context of the request is the peer data.  peer.get uses the instance
 * that the wait step reserved; only a retry picks anew, from the generation
 * that is current then.  peer.free tells passive health how it went and gives
 * the count back; it may be called twice.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral_upstream.h"

#include <corral_health.h>


#define NGX_HTTP_CORRAL_TRIES  3


static ngx_int_t ngx_http_corral_upstream_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_corral_upstream_get(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_corral_upstream_free(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_http_corral_upstream_set_session(
    ngx_peer_connection_t *pc, void *data);
static void ngx_http_corral_upstream_save_session(ngx_peer_connection_t *pc,
    void *data);
#endif
static ngx_uint_t ngx_http_corral_upstream_speaks(ngx_http_upstream_t *u,
    ngx_http_corral_ctx_t *ctx);
static ngx_int_t ngx_http_corral_upstream_name(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_upstream_srv_conf_t *ucf);
static void ngx_http_corral_upstream_sample(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t ok);
static ngx_int_t ngx_http_corral_upstream_header_filter(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_upstream_init_filter(ngx_conf_t *cf);
static void *ngx_http_corral_upstream_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_corral_upstream(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_balance(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_corral_upstream_commands[] = {

    /* corral [service]; */

    { ngx_string("corral"),
      NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_corral_upstream,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    /* corral_balance method [key]; */

    { ngx_string("corral_balance"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE12,
      ngx_http_corral_balance,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_upstream_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_corral_upstream_init_filter,  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_corral_upstream_create_srv_conf,  /* create server conf */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_corral_upstream_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_upstream_module_ctx,  /* module context */
    ngx_http_corral_upstream_commands,     /* module directives */
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


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


static ngx_int_t
ngx_http_corral_upstream_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_corral_upstream_srv_conf_t  *ucf;

    ucf = ngx_http_conf_upstream_srv_conf(us, ngx_http_corral_upstream_module);

    if (us->servers->nelts != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "upstream \"%V\" in %s:%ui has \"corral\": its peers "
                      "come from the registry, remove \"server\"",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

    us->peer.init = ngx_http_corral_upstream_init_peer;
    us->peer.data = ucf;

    return NGX_OK;
}


ngx_uint_t
ngx_http_corral_upstream_is_corral(ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_http_corral_upstream_srv_conf_t  *ucf;

    if (uscf->srv_conf == NULL) {
        return 0;
    }

    ucf = ngx_http_conf_upstream_srv_conf(uscf,
                                          ngx_http_corral_upstream_module);

    return ucf->enabled;
}


ngx_int_t
ngx_http_corral_upstream_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_str_t                             key;
    ngx_http_upstream_t                  *u;
    ngx_http_corral_ctx_t                *ctx;
    ngx_http_corral_service_t            *service;
    ngx_http_corral_upstream_srv_conf_t  *ucf;

    u = r->upstream;
    ucf = ngx_http_conf_upstream_srv_conf(us, ngx_http_corral_upstream_module);

    ctx = ngx_http_corral_get_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx->unparsed_uri.len && r == r->main) {
        r->unparsed_uri = ctx->unparsed_uri;    /* see the route step */
    }

    if (ctx->service_id.len == 0
        && ngx_http_corral_upstream_name(r, ctx, ucf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!ngx_http_corral_upstream_speaks(u, ctx)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "corral upstream: service \"%V\" does not speak what "
                      "this location passes, \"%V\": see its \"protocol\"",
                      &ctx->service_name, &u->schema);
        return NGX_ERROR;
    }

    /*
     * Nothing is reserved in a location without a route step, and after an
     * internal redirect.  What was reserved is given back if this block
     * balances otherwise than the first one.
     */

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (ctx->hold.state == NGX_HTTP_CORRAL_HOLD_RESERVED && service
        && ngx_http_corral_upstream_method(service, ucf, &key) != ctx->method)
    {
        ngx_http_corral_table_release(&ctx->hold);
    }

    if (ctx->hold.state != NGX_HTTP_CORRAL_HOLD_RESERVED) {
        ctx->ntried = 0;
    }

    ctx->request = r;
    ctx->upstream = us;
    ctx->taken = 0;

    u->peer.data = ctx;
    u->peer.get = ngx_http_corral_upstream_get;
    u->peer.free = ngx_http_corral_upstream_free;
    u->peer.tries = ctx->terms.tries > 0 ? (ngx_uint_t) ctx->terms.tries
                                         : NGX_HTTP_CORRAL_TRIES;

    /* with nobody left to ask, nginx passes the last answer */

    if (service && u->peer.tries > service->n) {
        u->peer.tries = service->n ? service->n : 1;
    }

#if (NGX_HTTP_SSL)
    u->peer.set_session = ngx_http_corral_upstream_set_session;
    u->peer.save_session = ngx_http_corral_upstream_save_session;
#endif

    return NGX_OK;
}


#if (NGX_HTTP_SSL)

/* TLS sessions are not kept: an instance is picked anew each time */

static ngx_int_t
ngx_http_corral_upstream_set_session(ngx_peer_connection_t *pc, void *data)
{
    return NGX_OK;
}


static void
ngx_http_corral_upstream_save_session(ngx_peer_connection_t *pc, void *data)
{
}

#endif


/* does the location pass what the service speaks? */

static ngx_uint_t
ngx_http_corral_upstream_speaks(ngx_http_upstream_t *u,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_uint_t  grpc;

    grpc = u->schema.len >= 4 && ngx_strncmp(u->schema.data, "grpc", 4) == 0;

    return grpc == (ctx->protocol == CORRAL_PROTOCOL_GRPC
                    || ctx->protocol == CORRAL_PROTOCOL_GRPCS);
}


/* the service of a location without a route step: the argument of "corral" */

static ngx_int_t
ngx_http_corral_upstream_name(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_upstream_srv_conf_t *ucf)
{
    ngx_str_t                   name;
    ngx_http_corral_service_t  *service;

    ngx_str_null(&name);

    if (ucf->service
        && ngx_http_complex_value(r, ucf->service, &name) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (name.len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "corral upstream: the request names no service");
        return NGX_ERROR;
    }

    service = ngx_http_corral_registry_find(&name);

    if (service == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "corral upstream: there is no service \"%V\"", &name);
        return NGX_ERROR;
    }

    ctx->service_id.len = service->id.len;
    ctx->service_id.data = ngx_pstrdup(r->pool, &service->id);
    ctx->service_name.len = service->name.len;
    ctx->service_name.data = ngx_pstrdup(r->pool, &service->name);
    ctx->terms = service->terms;
    ctx->protocol = service->protocol;

    if (ctx->service_id.data == NULL || ctx->service_name.data == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_upstream_get(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_corral_ctx_t *ctx = data;

    ngx_int_t                 rc;
    ngx_http_corral_totals_t  delta;

    if (ctx->taken || ctx->hold.state != NGX_HTTP_CORRAL_HOLD_RESERVED) {

        rc = ngx_http_corral_upstream_pick(ctx->request, ctx, ctx->upstream);

        if (rc != NGX_OK) {
            pc->name = &ctx->service_name;
            return rc;
        }

        if (ctx->taken) {
            ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
            delta.retries = 1;
            ngx_http_corral_table_add(ctx->terms.ref, &delta);
        }
    }

    ngx_http_corral_table_activate(&ctx->hold);

    ctx->taken = 1;
    ctx->reported = 0;

    pc->sockaddr = ctx->instance.sockaddr;
    pc->socklen = ctx->instance.socklen;
    pc->name = &ctx->instance.name;
    pc->cached = 0;
    pc->connection = NULL;

    return NGX_OK;
}


static void
ngx_http_corral_upstream_free(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_corral_ctx_t *ctx = data;

    ngx_uint_t            hard;
    ngx_http_upstream_t  *u;

    if (ctx->hold.state == NGX_HTTP_CORRAL_HOLD_NONE) {
        return;
    }

    if (state & NGX_PEER_FAILED) {

        /* never connected: refused, unreachable or timed out */

        u = ctx->request->upstream;
        hard = u && u->state && u->state->connect_time == (ngx_msec_t) -1;

        ngx_http_corral_upstream_report(ctx->request, ctx, 0, hard);
    }

    ngx_http_corral_table_release(&ctx->hold);

    if (pc->tries) {
        pc->tries--;
    }

    /* without a budget for it nginx is to answer with what it has */

    if (pc->tries && (state & NGX_PEER_FAILED)
        && !ngx_http_corral_upstream_may_retry(ctx))
    {
        pc->tries = 0;
    }
}


void
ngx_http_corral_upstream_report(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t ok, ngx_uint_t hard)
{
    if (ctx->reported) {
        return;
    }

    ctx->reported = 1;

    ngx_http_corral_table_tried(&ctx->hold);
    ngx_http_corral_registry_circuit(&ctx->service_id, ok);
    ngx_http_corral_upstream_sample(r, ctx, ok);

    if (ok) {
        ngx_http_corral_registry_good(&ctx->service_id, ctx->instance.ref);

    } else {
        ngx_http_corral_registry_bad(&ctx->service_id, ctx->instance.ref,
                                     hard);
    }
}


ngx_uint_t
ngx_http_corral_upstream_circuit(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_http_corral_totals_t     delta;
    ngx_http_corral_service_t   *service;
    ngx_http_corral_slot_view_t  view;

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL || !ngx_http_corral_upstream_is_open(service)) {
        return 0;
    }

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.rejected = 1;
    ngx_http_corral_table_add(service->terms.ref, &delta);

    view.rest = 0;
    (void) ngx_http_corral_table_view_ref(service->terms.ref, &view);

    (void) ngx_http_corral_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
               "circuit_open", view.rest / 1000 + 1,
               "service \"%V\" failed %uD times in a row: it is not tried "
               "for a while", &ctx->service_name,
               service->eject.circuit_failures);

    return 1;
}


ngx_uint_t
ngx_http_corral_upstream_is_open(ngx_http_corral_service_t *service)
{
    return service->eject.circuit_failures
           && ngx_http_corral_table_avail(service->terms.ref, 1)
              == NGX_HTTP_CORRAL_EJECTED;
}


/*
 * The time to the head of the answer: of a WebSocket that is its handshake,
 * never how long it lasts.  A failure and an answer that says "not now" cost
 * more than a slow answer, however fast they were.
 */

static void
ngx_http_corral_upstream_sample(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t ok)
{
    ngx_msec_t                  latency;
    ngx_http_upstream_state_t  *state;

    state = r->upstream ? r->upstream->state : NULL;

    latency = (state && state->header_time != (ngx_msec_t) -1)
              ? state->header_time : 0;

    if (!ok || (state && (state->status == NGX_HTTP_TOO_MANY_REQUESTS
                          || state->status >= NGX_HTTP_INTERNAL_SERVER_ERROR)))
    {
        latency = ngx_max(latency, CORRAL_HEALTH_PENALTY);
    }

    ngx_http_corral_table_sample(ctx->instance.ref, latency);

    if (ctx->method == NGX_HTTP_CORRAL_EWMA) {
        ngx_http_corral_table_sample(ctx->terms.ref, latency);
    }
}


/*
 * An answer below 500 has come: the instance is well, also while it streams.
 * One of 500 or more that nginx passes is not for us to call a failure, but the
 * instance must not look fast.
 */

static ngx_int_t
ngx_http_corral_upstream_header_filter(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_corral_module);

    if (ctx && ngx_http_corral_affinity_answer(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx == NULL || !ctx->taken || ctx->reported || r->upstream == NULL
        || ctx->hold.state != NGX_HTTP_CORRAL_HOLD_ACTIVE)
    {
        return ngx_http_next_header_filter(r);
    }

    if (r->headers_out.status < NGX_HTTP_INTERNAL_SERVER_ERROR) {
        ngx_http_corral_upstream_report(r, ctx, 1, 0);

    } else {
        ngx_http_corral_upstream_sample(r, ctx, 0);
        ngx_http_corral_registry_poor(&ctx->service_id, ctx->instance.ref);
        ngx_http_corral_registry_circuit(&ctx->service_id, 0);
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_corral_upstream_init_filter(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_corral_upstream_header_filter;

    return NGX_OK;
}


static void *
ngx_http_corral_upstream_create_srv_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->enabled = 0;
     *     conf->service = NULL;
     *     conf->method = NGX_HTTP_CORRAL_ROUND_ROBIN;
     *     conf->hash_key = { 0, NULL };
     */

    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_corral_upstream_srv_conf_t));
}


static char *
ngx_http_corral_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_upstream_srv_conf_t *ucf = conf;

    ngx_str_t                         *value;
    ngx_http_upstream_server_t        *server;
    ngx_http_corral_main_conf_t       *mcf;
    ngx_http_upstream_srv_conf_t      *us;
    ngx_http_compile_complex_value_t   ccv;

    if (ucf->enabled) {
        return "is duplicate";
    }

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);

    if (us->peer.init_upstream) {
        return "must stand before \"keepalive\" and alone: another balancer "
               "is set already";
    }

    /* nginx refuses a block without servers; this one is never used */

    server = ngx_array_push(us->servers);
    if (server == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(server, sizeof(ngx_http_upstream_server_t));

    ngx_str_set(&server->name, "corral");
    server->down = 1;

    us->peer.init_upstream = ngx_http_corral_upstream_init;

    ucf->enabled = 1;
    mcf->used = cmd->name;

    if (mcf->upstream == NULL) {
        mcf->upstream = us;
    }

    if (cf->args->nelts == 1) {
        return NGX_CONF_OK;
    }

    value = cf->args->elts;

    ucf->service = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (ucf->service == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = ucf->service;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_balance(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_upstream_srv_conf_t *ucf = conf;

    ngx_str_t                    *value;
    ngx_http_corral_method_t     *m;
    ngx_http_corral_main_conf_t  *mcf;

    value = cf->args->elts;
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);

    if (!ucf->enabled) {
        return "must stand behind \"corral\"";
    }

    for (m = ngx_http_corral_methods; m->name.len; m++) {
        if (value[1].len == m->name.len
            && ngx_strncmp(value[1].data, m->name.data, m->name.len) == 0)
        {
            break;
        }
    }

    if (m->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid method \"%V\": \"round_robin\", "
                           "\"least_conn\", \"random\", \"p2c\", \"ewma\" or "
                           "\"hash\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    ucf->method = m->method;
    mcf->methods |= 1 << ucf->method;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ucf->method != NGX_HTTP_CORRAL_HASH
        || !ngx_http_corral_registry_hash_key(&value[2]))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": only \"hash\" has one: "
                           "\"client_ip\", \"session\", \"subject\", "
                           "\"claim.NAME\", \"header.NAME\", "
                           "\"query.NAME\", "
                           "\"cookie.NAME\", or several with blanks between",
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    ucf->hash_key = value[2];

    return NGX_CONF_OK;
}
