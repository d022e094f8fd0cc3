
/*
 * Step 2, route: which service the request is for, and what its agent sees of
 * the request target.  The service comes from corral_service, or from the
 * places that corral_service_from allows, in their order.
 *
 * It looks the service up and copies what later steps need of it; whether an
 * instance is ready is the next step's affair.
 */


#include "ngx_http_corral_rules.h"


typedef enum {
    NGX_HTTP_CORRAL_FROM_PATH = 0,
    NGX_HTTP_CORRAL_FROM_QUERY,
    NGX_HTTP_CORRAL_FROM_HEADER,

    /* these ask the registry */
    NGX_HTTP_CORRAL_FROM_TAG,
    NGX_HTTP_CORRAL_FROM_RULES
} ngx_http_corral_from_e;


typedef struct {
    ngx_uint_t                  from;       /* ngx_http_corral_from_e */
    ngx_str_t                   name;       /* prefix, argument or header */
} ngx_http_corral_from_t;


typedef struct {
    ngx_http_complex_value_t   *service;
    ngx_array_t                *from;       /* of ngx_http_corral_from_t */
} ngx_http_corral_route_loc_conf_t;


static ngx_int_t ngx_http_corral_route_name(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *name,
    ngx_http_corral_service_t **service);
static ngx_int_t ngx_http_corral_route_from(ngx_http_request_t *r,
    ngx_http_corral_from_t *from, ngx_str_t *name);
static ngx_int_t ngx_http_corral_route_from_path(ngx_http_request_t *r,
    ngx_str_t *prefix, ngx_str_t *name);
static ngx_int_t ngx_http_corral_route_from_query(ngx_http_request_t *r,
    ngx_str_t *arg, ngx_str_t *name);
static ngx_int_t ngx_http_corral_route_by_tag(ngx_http_request_t *r,
    ngx_str_t *arg, ngx_http_corral_service_t **service);
static ngx_int_t ngx_http_corral_route_by_rules(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_array_t *from,
    ngx_http_corral_service_t **service);
static ngx_int_t ngx_http_corral_route_prefix(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, size_t len);
static ngx_int_t ngx_http_corral_route_strip(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, size_t len);
static ngx_uint_t ngx_http_corral_route_literal(ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_route_escape(ngx_http_request_t *r,
    ngx_str_t *uri);
static ngx_int_t ngx_http_corral_route_unescape(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_int_t ngx_http_corral_route_scheme(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_corral_route_host(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_corral_route_add_variables(ngx_conf_t *cf);
static void *ngx_http_corral_route_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_route_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_corral_service(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_service_from(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_route_enable(ngx_conf_t *cf,
    ngx_command_t *cmd);


static ngx_command_t  ngx_http_corral_route_commands[] = {

    /* corral_service value | off; */

    { ngx_string("corral_service"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_service,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    /*
     * corral_service_from path[=/prefix/] | query[=name] | header=name
     *                     | tag[=name] | rules ...;
     */

    { ngx_string("corral_service_from"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_corral_service_from,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_route_module_ctx = {
    ngx_http_corral_route_add_variables,   /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_corral_route_create_loc_conf, /* create location configuration */
    ngx_http_corral_route_merge_loc_conf   /* merge location configuration */
};


ngx_module_t  ngx_http_corral_route_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_route_module_ctx,     /* module context */
    ngx_http_corral_route_commands,        /* module directives */
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


static ngx_http_variable_t  ngx_http_corral_route_variables[] = {

    { ngx_string("corral_service"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, service_name),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_service_id"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, service_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_rule"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, rule),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_session"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, session),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_instance"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, instance)
      + offsetof(ngx_http_corral_instance_t, id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_scheme"), NULL, ngx_http_corral_route_scheme, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_host"), NULL, ngx_http_corral_route_host, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_corral_route_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_str_t                    name;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_service_t   *service;
    ngx_http_corral_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);

    if (!lcf->enabled || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_corral_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->routed) {
        return NGX_DECLINED;
    }

    service = NULL;

    rc = ngx_http_corral_route_name(r, ctx, &name, &service);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_HTTP_BAD_REQUEST) {
        return ngx_http_corral_problem(r, NGX_HTTP_BAD_REQUEST, "bad_target",
                                       0, "the path holds a control character "
                                       "where it would become a header");
    }

    if (rc == NGX_BUSY) {
        return ngx_http_corral_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                       "registry_not_loaded", 1,
                                       "the gateway has no registry yet");
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_corral_problem(r, NGX_HTTP_NOT_FOUND,
                                       "service_not_named", 0,
                                       "the request names no service");
    }

    if (service == NULL) {
        service = ngx_http_corral_registry_find(&name);
    }

    if (service == NULL) {

        if (ngx_http_corral_registry_info()->epoch[0] == '\0') {
            return ngx_http_corral_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                           "registry_not_loaded", 1,
                                           "the gateway has no registry yet");
        }

        return ngx_http_corral_problem(r, NGX_HTTP_NOT_FOUND,
                                       "service_not_found", 0,
                                       "there is no service \"%V\"", &name);
    }

    if (ngx_http_corral_route_take(r, ctx, service) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->routed = 1;

    return NGX_DECLINED;
}


/*
 * Finds the name of the service, or the service itself, and what the agent is
 * to see of the target.  NGX_DECLINED: none is named; NGX_BUSY: the registry,
 * which could tell, is not there yet.
 */

static ngx_int_t
ngx_http_corral_route_name(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_str_t *name, ngx_http_corral_service_t **service)
{
    ngx_int_t                          rc;
    ngx_uint_t                         i, n;
    ngx_http_corral_from_t            *from;
    ngx_http_corral_route_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_route_module);

    ctx->unparsed_uri = r->unparsed_uri;
    ctx->uri = r->unparsed_uri;

    if (!r->valid_unparsed_uri
        && ngx_http_corral_route_escape(r, &ctx->uri) != NGX_OK)
    {
        return NGX_ERROR;
    }

    from = rlcf->from ? rlcf->from->elts : NULL;
    n = rlcf->from ? rlcf->from->nelts : 0;

    for (i = 0; i < n; i++) {
        if (from[i].from == NGX_HTTP_CORRAL_FROM_QUERY) {
            (void) ngx_http_arg(r, (u_char *) "session_id", 10, &ctx->session);
        }
    }

    for (i = 0; i < n; i++) {

        /* rules that are not loaded are not rules that do not match */

        if (from[i].from >= NGX_HTTP_CORRAL_FROM_TAG
            && ngx_http_corral_registry_info()->epoch[0] == '\0')
        {
            return NGX_BUSY;
        }

        switch (from[i].from) {

        case NGX_HTTP_CORRAL_FROM_RULES:
            rc = ngx_http_corral_route_by_rules(r, ctx, rlcf->from, service);
            break;

        case NGX_HTTP_CORRAL_FROM_TAG:
            rc = ngx_http_corral_route_by_tag(r, &from[i].name, service);
            break;

        default:
            rc = ngx_http_corral_route_from(r, &from[i], name);
            break;
        }

        if (rc == NGX_OK && from[i].from == NGX_HTTP_CORRAL_FROM_PATH) {
            rc = ngx_http_corral_route_prefix(r, ctx,
                                              from[i].name.len + name->len);
        }

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (rlcf->service == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_complex_value(r, rlcf->service, name) != NGX_OK) {
        return NGX_ERROR;
    }

    return name->len ? NGX_OK : NGX_DECLINED;
}


/* what a place of the request names; changes nothing */

static ngx_int_t
ngx_http_corral_route_from(ngx_http_request_t *r, ngx_http_corral_from_t *from,
    ngx_str_t *name)
{
    ngx_table_elt_t  *h;

    switch (from->from) {

    case NGX_HTTP_CORRAL_FROM_PATH:
        return ngx_http_corral_route_from_path(r, &from->name, name);

    case NGX_HTTP_CORRAL_FROM_QUERY:
        return ngx_http_corral_route_from_query(r, &from->name, name);

    case NGX_HTTP_CORRAL_FROM_HEADER:
        h = ngx_http_corral_get_header(r, &from->name);

        if (h == NULL || h->value.len == 0) {
            return NGX_DECLINED;
        }

        *name = h->value;

        return NGX_OK;

    default: /* no name, but a service */
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_http_corral_route_from_path(ngx_http_request_t *r, ngx_str_t *prefix,
    ngx_str_t *name)
{
    u_char  *p, *last;

    if (r->uri.len <= prefix->len
        || ngx_strncmp(r->uri.data, prefix->data, prefix->len) != 0)
    {
        return NGX_DECLINED;
    }

    last = r->uri.data + r->uri.len;

    name->data = r->uri.data + prefix->len;
    p = ngx_strlchr(name->data, last, '/');
    name->len = (p ? p : last) - name->data;

    return name->len ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_corral_route_from_query(ngx_http_request_t *r, ngx_str_t *arg,
    ngx_str_t *name)
{
    if (ngx_http_arg(r, arg->data, arg->len, name) != NGX_OK
        || name->len == 0)
    {
        return NGX_DECLINED;
    }

    return ngx_http_corral_route_unescape(r, name);
}


/* ?tag=: in turn one of the services with that tag */

static ngx_int_t
ngx_http_corral_route_by_tag(ngx_http_request_t *r, ngx_str_t *arg,
    ngx_http_corral_service_t **service)
{
    ngx_int_t  rc;
    ngx_str_t  tag;

    rc = ngx_http_corral_route_from_query(r, arg, &tag);

    if (rc != NGX_OK) {
        return rc;
    }

    *service = ngx_http_corral_registry_tagged(&tag);

    return *service ? NGX_OK : NGX_DECLINED;
}


/* the rules; their field "service" is what the other places name */

static ngx_int_t
ngx_http_corral_route_by_rules(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_array_t *places,
    ngx_http_corral_service_t **service)
{
    ngx_int_t                rc;
    ngx_str_t                hint;
    ngx_uint_t               i;
    ngx_http_corral_from_t  *from;

    from = places->elts;
    rc = NGX_DECLINED;

    for (i = 0; i < places->nelts && rc == NGX_DECLINED; i++) {
        rc = ngx_http_corral_route_from(r, &from[i], &hint);
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ngx_str_null(&hint);
    }

    return ngx_http_corral_rules_service(r, ctx, &hint, service);
}


/* {prefix}{service}/x reaches the agent as /x with X-Forwarded-Prefix */

static ngx_int_t
ngx_http_corral_route_prefix(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, size_t len)
{
    ngx_int_t  rc;

    static ngx_str_t  header = ngx_string("x-forwarded-prefix");

    ctx->prefix.data = r->uri.data;
    ctx->prefix.len = len;

    rc = ngx_http_corral_set_header(r, &header, &ctx->prefix);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_HTTP_BAD_REQUEST : NGX_ERROR;
    }

    return ngx_http_corral_route_strip(r, ctx, len);
}


/*
 * Takes len bytes off the path.  The target keeps the client's encoding when
 * the prefix stands in it literally and nginx has not normalised the path;
 * otherwise it is made from the decoded path, so that no ".." reaches an agent
 * that locations have not seen.  peer.init gives r->unparsed_uri back for the
 * log: by then proxy_pass has made its request.
 */

static ngx_int_t
ngx_http_corral_route_strip(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    size_t len)
{
    u_char      c, *p;
    ngx_uint_t  literal;

    literal = ngx_http_corral_route_literal(r);

    r->uri.data += len;
    r->uri.len -= len;

    if (r->uri.len == 0) {
        ngx_str_set(&r->uri, "/");
    }

    p = ctx->unparsed_uri.data;

    if (literal && ctx->unparsed_uri.len >= len
        && ngx_strncmp(p, ctx->prefix.data, len) == 0)
    {
        c = ctx->unparsed_uri.len > len ? p[len] : '?';

        if (c == '/') {
            ctx->uri.data = p + len;
            ctx->uri.len = ctx->unparsed_uri.len - len;
            r->unparsed_uri = ctx->uri;

            return NGX_OK;
        }

        if (c == '?') {
            ctx->uri.len = ctx->unparsed_uri.len - len + 1;
            ctx->uri.data = ngx_pnalloc(r->pool, ctx->uri.len);
            if (ctx->uri.data == NULL) {
                return NGX_ERROR;
            }

            ctx->uri.data[0] = '/';
            ngx_memcpy(ctx->uri.data + 1, p + len, ctx->uri.len - 1);
            r->unparsed_uri = ctx->uri;

            return NGX_OK;
        }
    }

    r->valid_unparsed_uri = 0;

    return ngx_http_corral_route_escape(r, &ctx->uri);
}


/* is the path what the client sent, but for its encoding? */

static ngx_uint_t
ngx_http_corral_route_literal(ngx_http_request_t *r)
{
    u_char     *p, *src, *dst;
    size_t      len;
    ngx_uint_t  same;

    if (!r->valid_unparsed_uri || r->complex_uri) {
        return 0;
    }

    if (!r->quoted_uri) {
        return 1;
    }

    p = ngx_strlchr(r->unparsed_uri.data,
                    r->unparsed_uri.data + r->unparsed_uri.len, '?');
    len = p ? (size_t) (p - r->unparsed_uri.data) : r->unparsed_uri.len;

    dst = ngx_pnalloc(r->pool, len + 1);
    if (dst == NULL) {
        return 0;
    }

    p = dst;
    src = r->unparsed_uri.data;

    ngx_unescape_uri(&dst, &src, len, 0);

    same = (size_t) (dst - p) == r->uri.len
           && ngx_memcmp(p, r->uri.data, r->uri.len) == 0;

    ngx_pfree(r->pool, p);

    return same;
}


/* the request target from the decoded path and the arguments */

static ngx_int_t
ngx_http_corral_route_escape(ngx_http_request_t *r, ngx_str_t *uri)
{
    u_char     *p;
    uintptr_t   escape;

    escape = 2 * ngx_escape_uri(NULL, r->uri.data, r->uri.len,
                                NGX_ESCAPE_URI);

    p = ngx_pnalloc(r->pool, r->uri.len + escape + 1 + r->args.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    uri->data = p;

    if (escape) {
        p = (u_char *) ngx_escape_uri(p, r->uri.data, r->uri.len,
                                      NGX_ESCAPE_URI);

    } else {
        p = ngx_cpymem(p, r->uri.data, r->uri.len);
    }

    if (r->args.len) {
        *p++ = '?';
        p = ngx_cpymem(p, r->args.data, r->args.len);
    }

    uri->len = p - uri->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_route_unescape(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char  *src, *dst;

    dst = ngx_pnalloc(r->pool, value->len);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    src = value->data;
    value->data = dst;

    ngx_unescape_uri(&dst, &src, value->len, 0);

    value->len = dst - value->data;

    return NGX_OK;
}


/* copies what the request needs: the service may be replaced at any time */

ngx_int_t
ngx_http_corral_route_take(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_service_t *service)
{
    ctx->service_id.data = ngx_pstrdup(r->pool, &service->id);
    ctx->service_name.data = ngx_pstrdup(r->pool, &service->name);

    if (ctx->service_id.data == NULL || ctx->service_name.data == NULL) {
        return NGX_ERROR;
    }

    ctx->service_id.len = service->id.len;
    ctx->service_name.len = service->name.len;

    ctx->terms = service->terms;
    ctx->protocol = service->protocol;

    if (service->upstream_host.len) {
        ctx->upstream_host.data = ngx_pstrdup(r->pool,
                                              &service->upstream_host);
        if (ctx->upstream_host.data == NULL) {
            return NGX_ERROR;
        }

        ctx->upstream_host.len = service->upstream_host.len;
    }

    return NGX_OK;
}


/* the scheme for proxy_pass: https agents get https, everything else http */

static ngx_int_t
ngx_http_corral_route_scheme(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               s;
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_find_ctx(r);

    ngx_str_set(&s, "http");

    if (ctx && ctx->protocol == CORRAL_PROTOCOL_HTTPS) {
        ngx_str_set(&s, "https");
    }

    v->len = s.len;
    v->data = s.data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* upstream_host of the service, or what the client asked for */

static ngx_int_t
ngx_http_corral_route_host(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               s;
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_find_ctx(r);

    ngx_str_set(&s, "localhost");

    if (ctx && ctx->upstream_host.len) {
        s = ctx->upstream_host;

    } else if (r->headers_in.host && r->headers_in.host->value.len) {
        s = r->headers_in.host->value;

    } else if (r->headers_in.server.len) {
        s = r->headers_in.server;
    }

    v->len = s.len;
    v->data = s.data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_route_add_variables(ngx_conf_t *cf)
{
    return ngx_http_corral_add_variables(cf, ngx_http_corral_route_variables);
}


static void *
ngx_http_corral_route_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_corral_route_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_route_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->service = NGX_CONF_UNSET_PTR;
    conf->from = NGX_CONF_UNSET_PTR;

    return conf;
}


static char *
ngx_http_corral_route_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_corral_route_loc_conf_t *prev = parent;
    ngx_http_corral_route_loc_conf_t *conf = child;

    ngx_conf_merge_ptr_value(conf->service, prev->service, NULL);
    ngx_conf_merge_ptr_value(conf->from, prev->from, NULL);

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_service(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_route_loc_conf_t *rlcf = conf;

    ngx_str_t                         *value;
    ngx_http_corral_loc_conf_t        *lcf;
    ngx_http_compile_complex_value_t   ccv;

    if (rlcf->service != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        lcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_corral_module);
        lcf->enabled = 0;
        rlcf->service = NULL;
        return NGX_CONF_OK;
    }

    rlcf->service = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (rlcf->service == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = rlcf->service;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_corral_route_enable(cf, cmd);
}


static char *
ngx_http_corral_service_from(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_route_loc_conf_t *rlcf = conf;

    ngx_str_t               *value, name;
    ngx_uint_t               i;
    ngx_http_corral_from_t  *from;

    if (rlcf->from != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    rlcf->from = ngx_array_create(cf->pool, 3, sizeof(ngx_http_corral_from_t));
    if (rlcf->from == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        from = ngx_array_push(rlcf->from);
        if (from == NULL) {
            return NGX_CONF_ERROR;
        }

        name = value[i];

        if (ngx_strcmp(name.data, "path") == 0) {
            from->from = NGX_HTTP_CORRAL_FROM_PATH;
            ngx_str_set(&from->name, "/agents/");

        } else if (ngx_strncmp(name.data, "path=/", 6) == 0
                   && name.data[name.len - 1] == '/')
        {
            from->from = NGX_HTTP_CORRAL_FROM_PATH;
            from->name.data = name.data + 5;
            from->name.len = name.len - 5;

        } else if (ngx_strcmp(name.data, "query") == 0) {
            from->from = NGX_HTTP_CORRAL_FROM_QUERY;
            ngx_str_set(&from->name, "service");

        } else if (ngx_strncmp(name.data, "query=", 6) == 0 && name.len > 6) {
            from->from = NGX_HTTP_CORRAL_FROM_QUERY;
            from->name.data = name.data + 6;
            from->name.len = name.len - 6;

        } else if (ngx_strncmp(name.data, "header=", 7) == 0 && name.len > 7) {
            from->from = NGX_HTTP_CORRAL_FROM_HEADER;
            from->name.data = name.data + 7;
            from->name.len = name.len - 7;

        } else if (ngx_strcmp(name.data, "tag") == 0) {
            from->from = NGX_HTTP_CORRAL_FROM_TAG;
            ngx_str_set(&from->name, "tag");

        } else if (ngx_strncmp(name.data, "tag=", 4) == 0 && name.len > 4) {
            from->from = NGX_HTTP_CORRAL_FROM_TAG;
            from->name.data = name.data + 4;
            from->name.len = name.len - 4;

        } else if (ngx_strcmp(name.data, "rules") == 0) {
            from->from = NGX_HTTP_CORRAL_FROM_RULES;
            ngx_str_null(&from->name);

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid place \"%V\": \"path\", "
                               "\"path=/prefix/\", \"query\", "
                               "\"query=name\", \"header=name\", \"tag\", "
                               "\"tag=name\" or \"rules\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return ngx_http_corral_route_enable(cf, cmd);
}


static char *
ngx_http_corral_route_enable(ngx_conf_t *cf, ngx_command_t *cmd)
{
    ngx_http_corral_loc_conf_t   *lcf;
    ngx_http_corral_main_conf_t  *mcf;

    lcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_corral_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);

    lcf->enabled = 1;
    mcf->used = cmd->name;

    return NGX_CONF_OK;
}
