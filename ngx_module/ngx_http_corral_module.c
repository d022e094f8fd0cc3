
/*
 * The core: the order of the steps that a request goes through, the context
 * that they share, the answers that they give instead, and the start and end
 * of a worker.  It knows nothing of what a step does.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_redis.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_sync.h"


typedef struct {
    ngx_http_phases        phase;
    ngx_http_handler_pt    handler;
} ngx_http_corral_step_t;


static ngx_int_t ngx_http_corral_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_corral_init_process(ngx_cycle_t *cycle);
static void ngx_http_corral_exit_process(ngx_cycle_t *cycle);
static void ngx_http_corral_tick(ngx_event_t *ev);
static void ngx_http_corral_ctx_cleanup(void *data);
static ngx_int_t ngx_http_corral_problem_body(ngx_http_request_t *r,
    ngx_uint_t status, char *code, ngx_str_t *detail, ngx_str_t *body);
static ngx_int_t ngx_http_corral_vsend_problem(ngx_http_request_t *r,
    ngx_uint_t status, char *code, ngx_uint_t retry_after, const char *fmt,
    va_list args);
static void *ngx_http_corral_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_corral_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_corral_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_corral_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_state_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_affinity_secret(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_corral_name(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * One request, top to bottom.  Each step is a file of its own and returns
 * NGX_DECLINED to let the request go on to the next one.  Step 5, upstream, is
 * called by nginx when it connects, or by the relay.
 */

static ngx_http_corral_step_t  ngx_http_corral_steps[] = {

    /* which headers may pass, and from which web pages */
    { NGX_HTTP_ACCESS_PHASE, ngx_http_corral_identity_handler },

    /* the same, if "satisfy any" has passed it over: see there */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_identity_handler },

    /* who is it, as those say who have verified it by now */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_who_handler },

    /* which service */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_route_handler },

    /* who may not come any more */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_revocation_handler },

    /* a client that comes back to an event stream needs no instance */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_sse_handler },

    /* reserve an instance of it */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_wait_handler },

    /* a WebSocket leaves for the relay, the rest for proxy_pass, grpc_pass */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_websocket_handler },

    /* a copy of the rest for another service */
    { NGX_HTTP_PRECONTENT_PHASE, ngx_http_corral_mirror_handler },

    /* count it */
    { NGX_HTTP_LOG_PHASE, ngx_http_corral_metrics_log_handler }
};


static ngx_command_t  ngx_http_corral_commands[] = {

    /* corral_zone name size; */

    { ngx_string("corral_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_corral_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    /* corral_redis unix:/path | redis://[user:password@]host[:port][/db]; */

    { ngx_string("corral_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    /* corral_state_file path; */

    { ngx_string("corral_state_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_state_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    /* corral_affinity_secret file; */

    { ngx_string("corral_affinity_secret"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_affinity_secret,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    /* corral_cluster name; */

    { ngx_string("corral_cluster"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_name,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_corral_main_conf_t, cluster),
      NULL },

    /* corral_node name; */

    { ngx_string("corral_node"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_name,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_corral_main_conf_t, node),
      NULL },

    /* corral_gateway name; */

    { ngx_string("corral_gateway"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_name,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_corral_main_conf_t, gateway),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_corral_init,                  /* postconfiguration */

    ngx_http_corral_create_main_conf,      /* create main configuration */
    ngx_http_corral_init_main_conf,        /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_corral_create_loc_conf,       /* create location configuration */
    ngx_http_corral_merge_loc_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_corral_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_module_ctx,           /* module context */
    ngx_http_corral_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_corral_init_process,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_corral_exit_process,          /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_event_t       ngx_http_corral_tick_event;
static ngx_connection_t  ngx_http_corral_tick_connection;   /* ev->data */


static ngx_int_t
ngx_http_corral_init(ngx_conf_t *cf)
{
    ngx_uint_t                    i;
    ngx_http_handler_pt          *h;
    ngx_http_core_main_conf_t    *cmcf;
    ngx_http_corral_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);

    if (mcf->used.len && mcf->zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%V\" needs a \"corral_zone\" in the http block, "
                      "for example \"corral_zone corral 16m;\"", &mcf->used);
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    /*
     * nginx runs the handlers of a phase last registered first, but those of
     * the log phase in the order of registration: that phase has one of ours
     */

    i = sizeof(ngx_http_corral_steps) / sizeof(ngx_http_corral_step_t);

    while (i--) {
        h = ngx_array_push(
                &cmcf->phases[ngx_http_corral_steps[i].phase].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_http_corral_steps[i].handler;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_init_process(ngx_cycle_t *cycle)
{
    ngx_event_t                  *ev;
    ngx_http_corral_main_conf_t  *mcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_corral_get_main_conf(cycle);

    if (mcf == NULL || mcf->zone == NULL) {
        return NGX_OK;
    }

    /* each relies on the ones before it */

    if (ngx_http_corral_table_attach(cycle, mcf->zone) != NGX_OK
        || ngx_http_corral_registry_init(cycle, mcf->methods) != NGX_OK
        || ngx_http_corral_relay_init(cycle) != NGX_OK
        || ngx_http_corral_sync_init(cycle) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ev = &ngx_http_corral_tick_event;

    ngx_http_corral_tick_connection.fd = (ngx_socket_t) -1;

    ev->handler = ngx_http_corral_tick;
    ev->data = &ngx_http_corral_tick_connection;
    ev->log = cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, 500);

    return NGX_OK;
}


static void
ngx_http_corral_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_corral_sync_exit(cycle);
    ngx_http_corral_table_detach();
}


/* twice a second, so that a dead worker's counts are gone within one */

static void
ngx_http_corral_tick(ngx_event_t *ev)
{
    if (ngx_exiting) {
        ngx_http_corral_table_exiting();
    }

    ngx_http_corral_table_tick();
    ngx_http_corral_registry_tick();

    ngx_add_timer(ev, 500);
}


ngx_http_corral_main_conf_t *
ngx_http_corral_get_main_conf(ngx_cycle_t *cycle)
{
    return ngx_http_cycle_get_module_main_conf(cycle, ngx_http_corral_module);
}


/*
 * nginx clears r->ctx on an internal redirect.  What the earlier steps found
 * has to survive it, so the context is the data of a pool cleanup and is
 * looked up there when r->ctx was cleared.
 */

ngx_http_corral_ctx_t *
ngx_http_corral_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t     *cln;
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_corral_module);

    if (ctx || (!r->internal && !r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler != ngx_http_corral_ctx_cleanup) {
            continue;
        }

        ctx = cln->data;

        if (ctx->copy && ctx->request != r) {
            continue;                       /* the copy of this request */
        }

        ngx_http_set_ctx(r, ctx, ngx_http_corral_module);

        return ctx;
    }

    return NULL;
}


ngx_http_corral_ctx_t *
ngx_http_corral_get_ctx(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx) {
        return ctx;
    }

    ctx = ngx_http_corral_create_ctx(r);

    if (ctx) {
        ngx_http_set_ctx(r, ctx, ngx_http_corral_module);
    }

    return ctx;
}


ngx_http_corral_ctx_t *
ngx_http_corral_create_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_corral_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_corral_ctx_cleanup;

    ngx_memzero(cln->data, sizeof(ngx_http_corral_ctx_t));

    return cln->data;
}


/* the second line: peer.free has released it already, unless it never ran */

static void
ngx_http_corral_ctx_cleanup(void *data)
{
    ngx_http_corral_ctx_t *ctx = data;

    if (ctx->open.next) {
        ngx_queue_remove(&ctx->open);
    }

    ngx_http_corral_table_release(&ctx->hold);
}


ngx_int_t
ngx_http_corral_add_variables(ngx_conf_t *cf, ngx_http_variable_t *v)
{
    ngx_http_variable_t  *var;

    for ( /* void */ ; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t              *s;
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_find_ctx(r);

    s = ctx ? (ngx_str_t *) ((u_char *) ctx + data) : NULL;

    if (s == NULL || s->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = s->len;
    v->data = s->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


char *
ngx_http_corral_conf_location(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *value, *field;

    field = (ngx_str_t *) (p + cmd->offset);

    if (field->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        ngx_str_set(field, "");
        return NGX_CONF_OK;
    }

    if (value[1].data[0] != '/') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" of %V: \"off\", or the path "
                           "of a location such as \"/internal\"", &value[1],
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    *field = value[1];

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_http_corral_only_own_cleanups(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler && cln->handler != ngx_http_corral_ctx_cleanup) {
            return 0;
        }
    }

    return 1;
}


ngx_table_elt_t *
ngx_http_corral_get_header(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_table_elt_t  *h;
    ngx_list_part_t  *part;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == name->len
                && ((h[i].lowcase_key
                     && ngx_memcmp(h[i].lowcase_key, name->data, name->len)
                        == 0)
                    || ngx_strncasecmp(h[i].key.data, name->data, name->len)
                       == 0))
            {
                return &h[i];
            }
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_corral_set_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    size_t            i;
    ngx_table_elt_t  *h;

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < 0x20 || value->data[i] == 0x7f) {
            return NGX_DECLINED;
        }
    }

    h = ngx_http_corral_get_header(r, name);

    if (h == NULL) {
        h = ngx_list_push(&r->headers_in.headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));

        h->key = *name;
        h->lowcase_key = name->data;
        h->hash = ngx_hash_key(name->data, name->len);
    }

    h->value = *value;

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_problem(ngx_http_request_t *r, ngx_uint_t status, char *code,
    ngx_uint_t retry_after, const char *fmt, ...)
{
    va_list    args;
    ngx_int_t  rc;

    va_start(args, fmt);
    rc = ngx_http_corral_vsend_problem(r, status, code, retry_after, fmt,
                                       args);
    va_end(args);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


ngx_int_t
ngx_http_corral_send_problem(ngx_http_request_t *r, ngx_uint_t status,
    char *code, ngx_uint_t retry_after, const char *fmt, ...)
{
    va_list    args;
    ngx_int_t  rc;

    va_start(args, fmt);
    rc = ngx_http_corral_vsend_problem(r, status, code, retry_after, fmt,
                                       args);
    va_end(args);

    return rc;
}


static ngx_int_t
ngx_http_corral_vsend_problem(ngx_http_request_t *r, ngx_uint_t status,
    char *code, ngx_uint_t retry_after, const char *fmt, va_list args)
{
    u_char                    *p;
    ngx_int_t                  rc;
    ngx_str_t                  type, detail, body;
    ngx_table_elt_t           *h;
    ngx_http_complex_value_t   cv;
    u_char                     buf[NGX_MAX_ERROR_STR];

    p = ngx_vslprintf(buf, buf + sizeof(buf), fmt, args);

    detail.data = buf;
    detail.len = p - buf;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "corral answers %ui %s: %V", status, code, &detail);

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_corral_problem_body(r, status, code, &detail, &body)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (retry_after) {
        h = ngx_list_push(&r->headers_out.headers);
        p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);

        if (h == NULL || p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));

        h->hash = 1;
        ngx_str_set(&h->key, "Retry-After");
        h->value.data = p;
        h->value.len = ngx_sprintf(p, "%ui", retry_after) - p;
    }

    ngx_str_set(&type, "application/problem+json");

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = body;

    return ngx_http_send_response(r, status, &type, &cv);
}


static ngx_int_t
ngx_http_corral_problem_body(ngx_http_request_t *r, ngx_uint_t status,
    char *code, ngx_str_t *detail, ngx_str_t *body)
{
    char       *title;
    u_char     *p;
    uintptr_t   escape;

    switch (status) {

    case NGX_HTTP_BAD_REQUEST:
        title = "Bad Request";
        break;

    case NGX_HTTP_FORBIDDEN:
        title = "Forbidden";
        break;

    case NGX_HTTP_NOT_FOUND:
        title = "Not Found";
        break;

    case 426:
        title = "Upgrade Required";
        break;

    case NGX_HTTP_BAD_GATEWAY:
        title = "Bad Gateway";
        break;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        title = "Service Unavailable";
        break;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        title = "Gateway Timeout";
        break;

    default:
        title = "Error";
        break;
    }

    escape = ngx_escape_json(NULL, detail->data, detail->len);

    p = ngx_pnalloc(r->pool, detail->len + escape + 256);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    p = ngx_sprintf(p, "{\"type\":\"about:blank\",\"title\":\"%s\","
                       "\"status\":%ui,\"code\":\"%s\",\"detail\":\"",
                    title, status, code);
    p = (u_char *) ngx_escape_json(p, detail->data, detail->len);
    p = ngx_cpymem(p, "\"}" CRLF, 4);

    body->len = p - body->data;

    return NGX_OK;
}


static void *
ngx_http_corral_create_main_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->zone = NULL;
     *     conf->redis = { 0, NULL };
     *     conf->state_file = { 0, NULL };
     *     conf->cluster = { 0, NULL };
     *     conf->node = { 0, NULL };
     *     conf->gateway = { 0, NULL };
     *     conf->affinity_secret = { 0, NULL };
     *     conf->used = { 0, NULL };
     */

    return ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_main_conf_t));
}


static char *
ngx_http_corral_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_corral_main_conf_t *mcf = conf;

    ngx_str_t  host;

    host = cf->cycle->hostname;

    if (host.len == 0 || host.len > CORRAL_ID_MAX) {
        ngx_str_set(&host, "node");
    }

    if (mcf->cluster.data == NULL) {
        ngx_str_set(&mcf->cluster, "default");
    }

    if (mcf->node.data == NULL) {
        mcf->node = host;
    }

    if (mcf->gateway.data == NULL) {
        mcf->gateway = mcf->node;
    }

    if ((mcf->redis.len || mcf->state_file.len) && mcf->zone == NULL) {
        ngx_str_set(&mcf->used, "corral_redis or corral_state_file");
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_corral_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_corral_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->enabled = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_corral_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_corral_loc_conf_t *prev = parent;
    ngx_http_corral_loc_conf_t *conf = child;

    ngx_conf_merge_value(conf->enabled, prev->enabled, 0);

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_main_conf_t *mcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    if (mcf->zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[2]);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" of corral_zone, use for "
                           "example 16m", &value[2]);
        return NGX_CONF_ERROR;
    }

    if (size < 256 * 1024) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "size \"%V\" of corral_zone is too small, the "
                           "least is 256k; 16m hold 10,000 instances",
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    mcf->zone = ngx_http_corral_table_create(cf, &value[1], size);

    return mcf->zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_corral_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_main_conf_t *mcf = conf;

    char       *err;
    ngx_str_t  *value;

    if (mcf->redis.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    err = ngx_http_corral_redis_url(cf, &value[1], &mcf->redis_addr);

    if (err) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "corral_redis: %s", err);
        return NGX_CONF_ERROR;
    }

    mcf->redis = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_state_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_main_conf_t *mcf = conf;

    ngx_str_t  *value;

    if (mcf->state_file.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    mcf->state_file = value[1];

    if (ngx_conf_full_name(cf->cycle, &mcf->state_file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* what cookies are signed with: the file, without a line end behind it */

static char *
ngx_http_corral_affinity_secret(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_main_conf_t *mcf = conf;

    u_char      buf[1025];
    ssize_t     n;
    ngx_fd_t    fd;
    ngx_str_t  *value, path;

    if (mcf->affinity_secret.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    path = value[1];

    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(path.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" of "
                           "corral_affinity_secret failed", &path);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));
    (void) ngx_close_file(fd);

    while (n > 0 && (buf[n - 1] == LF || buf[n - 1] == CR)) {
        n--;
    }

    if (n < 16 || n > 1024) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "corral_affinity_secret: file \"%V\" has %z bytes, "
                           "it must have 16 to 1024", &path, n);
        return NGX_CONF_ERROR;
    }

    mcf->affinity_secret.len = n;
    mcf->affinity_secret.data = ngx_pnalloc(cf->pool, n);
    if (mcf->affinity_secret.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(mcf->affinity_secret.data, buf, n);
    ngx_explicit_memzero(buf, sizeof(buf));

    return NGX_CONF_OK;
}


/* a name that stands in keys: letters, digits, ".", "_" and "-" */

static char *
ngx_http_corral_name(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    u_char      c;
    size_t      i;
    ngx_str_t  *field, *value;

    field = (ngx_str_t *) (p + cmd->offset);

    if (field->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9')
            || (i && (c == '.' || c == '_' || c == '-')))
        {
            continue;
        }

        break;
    }

    if (i == 0 || i != value[1].len || i > CORRAL_ID_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" of %V: up to %d letters, "
                           "digits, \".\", \"_\" and \"-\", beginning with a "
                           "letter or a digit",
                           &value[1], &cmd->name, CORRAL_ID_MAX);
        return NGX_CONF_ERROR;
    }

    *field = value[1];

    return NGX_CONF_OK;
}
