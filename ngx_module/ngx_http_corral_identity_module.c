
/*
 * Step 1, identity: which headers may pass.  Runs in the access phase, so that
 * "satisfy" and "deny" take part.  With "satisfy any" nginx leaves that phase
 * as soon as somebody agrees, perhaps a module that was loaded after this one
 * and is therefore asked before it: so it runs behind that phase, too.
 *
 * Removes headers that only the gateway may set (corral-*, x-corral-*), checks
 * Origin, so that no foreign web page drives an agent, and appends the
 * X-Forwarded-* headers.  Who the client is says ngx_http_corral_who_module.c,
 * behind this phase.
 *
 * The list of headers is built anew when one has to go: nginx's own pointers
 * (headers_in.host and others) go on pointing to the old elements, which
 * live as long as the request.
 */


#include "ngx_http_corral.h"


typedef enum {
    NGX_HTTP_CORRAL_ORIGIN_SAME = 1,
    NGX_HTTP_CORRAL_ORIGIN_ANY,
    NGX_HTTP_CORRAL_ORIGIN_LIST
} ngx_http_corral_origin_e;


typedef struct {
    ngx_uint_t    origin;
    ngx_array_t  *origins;                  /* of ngx_str_t */
} ngx_http_corral_identity_loc_conf_t;


static ngx_int_t ngx_http_corral_identity_origin(ngx_http_request_t *r);
static ngx_uint_t ngx_http_corral_identity_origin_ok(ngx_http_request_t *r,
    ngx_http_corral_identity_loc_conf_t *ilcf, ngx_str_t *origin);
static ngx_int_t ngx_http_corral_identity_strip(ngx_http_request_t *r,
    ngx_str_t *forwarded_for);
static ngx_uint_t ngx_http_corral_identity_reserved(ngx_str_t *name);
static ngx_int_t ngx_http_corral_identity_join(ngx_pool_t *pool,
    ngx_str_t *list, ngx_str_t *value);
static ngx_int_t ngx_http_corral_identity_forwarded(ngx_http_request_t *r,
    ngx_str_t *forwarded_for);
static void *ngx_http_corral_identity_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_identity_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_corral_origin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_corral_identity_commands[] = {

    /* corral_origin same | any | origin ...; */

    { ngx_string("corral_origin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_corral_origin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_identity_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_corral_identity_create_loc_conf,  /* create location conf */
    ngx_http_corral_identity_merge_loc_conf    /* merge location conf */
};


ngx_module_t  ngx_http_corral_identity_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_identity_module_ctx,  /* module context */
    ngx_http_corral_identity_commands,     /* module directives */
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
ngx_http_corral_identity_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_str_t                    forwarded_for;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);

    if (!lcf->enabled || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_corral_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_corral_identity_origin(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx->identified) {
        return NGX_DECLINED;                /* redirected internally */
    }

    if (ngx_http_corral_identity_strip(r, &forwarded_for) != NGX_OK
        || ngx_http_corral_identity_forwarded(r, &forwarded_for) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->identified = 1;

    return NGX_DECLINED;
}


/*
 * Browsers send Origin with each WebSocket handshake and each request that
 * crosses origins.  "same" compares its authority with Host: a page of another
 * host, also one whose name was made to resolve to this machine, differs.  Of
 * several lines each must pass.
 */

static ngx_int_t
ngx_http_corral_identity_origin(ngx_http_request_t *r)
{
    ngx_uint_t                            i;
    ngx_table_elt_t                      *h;
    ngx_list_part_t                      *part;
    ngx_http_corral_identity_loc_conf_t  *ilcf;

    ilcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_identity_module);

    if (ilcf->origin == NGX_HTTP_CORRAL_ORIGIN_ANY) {
        return NGX_OK;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == 6
                && ngx_strncasecmp(h[i].key.data, (u_char *) "origin", 6) == 0
                && !ngx_http_corral_identity_origin_ok(r, ilcf, &h[i].value))
            {
                return ngx_http_corral_problem(r, NGX_HTTP_FORBIDDEN,
                                   "origin_refused", 0,
                                   "Origin \"%V\" may not use this location; "
                                   "corral_origin says who may",
                                   &h[i].value);
            }
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_corral_identity_origin_ok(ngx_http_request_t *r,
    ngx_http_corral_identity_loc_conf_t *ilcf, ngx_str_t *origin)
{
    u_char      *p;
    ngx_str_t   *o, host, authority;
    ngx_uint_t   i;

    if (ilcf->origin == NGX_HTTP_CORRAL_ORIGIN_LIST) {
        o = ilcf->origins->elts;

        for (i = 0; i < ilcf->origins->nelts; i++) {

            if (o[i].len == origin->len
                && ngx_strncasecmp(o[i].data, origin->data, o[i].len) == 0)
            {
                return 1;
            }
        }

        return 0;
    }

    p = ngx_strnstr(origin->data, "://", origin->len);

    if (r->headers_in.host == NULL || p == NULL) {
        return 0;
    }

    host = r->headers_in.host->value;

    authority.data = p + 3;
    authority.len = origin->data + origin->len - authority.data;

    return authority.len == host.len
           && ngx_strncasecmp(authority.data, host.data, host.len) == 0;
}


/* takes out what may not pass, and X-Forwarded-For, which is made anew */

static ngx_int_t
ngx_http_corral_identity_strip(ngx_http_request_t *r,
    ngx_str_t *forwarded_for)
{
    ngx_list_t        list;
    ngx_uint_t        i;
    ngx_table_elt_t  *h, *copy;
    ngx_list_part_t  *part;

    ngx_str_null(forwarded_for);

    if (ngx_list_init(&list, r->pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_corral_identity_reserved(&h[i].key)) {
                continue;
            }

            if (h[i].key.len == 15
                && ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "x-forwarded-for", 15) == 0)
            {
                if (ngx_http_corral_identity_join(r->pool, forwarded_for,
                                                  &h[i].value)
                    != NGX_OK)
                {
                    return NGX_ERROR;
                }

                continue;
            }

            copy = ngx_list_push(&list);
            if (copy == NULL) {
                return NGX_ERROR;
            }

            *copy = h[i];
        }
    }

    /* the last part of a list may be the list's own first one */

    r->headers_in.headers = list;

    if (list.last == &list.part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }

    return NGX_OK;
}


/* to an agent behind CGI or WSGI an underscore is the same as a dash */

static ngx_uint_t
ngx_http_corral_identity_reserved(ngx_str_t *name)
{
    u_char      c;
    ngx_uint_t  i, k;

    static struct {
        ngx_str_t   name;
        ngx_uint_t  prefix;
    } reserved[] = {
        { ngx_string("corral-"), 1 },
        { ngx_string("x-corral-"), 1 },
        { ngx_string("x-forwarded-prefix"), 0 }
    };

    for (i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {

        if (reserved[i].prefix ? name->len <= reserved[i].name.len
                               : name->len != reserved[i].name.len)
        {
            continue;
        }

        for (k = 0; k < reserved[i].name.len; k++) {
            c = name->data[k] == '_' ? '-' : ngx_tolower(name->data[k]);

            if (c != reserved[i].name.data[k]) {
                break;
            }
        }

        if (k == reserved[i].name.len) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_corral_identity_join(ngx_pool_t *pool, ngx_str_t *list,
    ngx_str_t *value)
{
    u_char  *p, *joined;

    if (list->len == 0) {
        *list = *value;
        return NGX_OK;
    }

    joined = ngx_pnalloc(pool, list->len + 2 + value->len);
    if (joined == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(joined, list->data, list->len);
    *p++ = ',';
    *p++ = ' ';
    p = ngx_cpymem(p, value->data, value->len);

    list->data = joined;
    list->len = p - joined;

    return NGX_OK;
}


/*
 * X-Forwarded-For is one line, with the address of the peer last; -Proto and
 * -Host are kept if a proxy in front has set them.
 */

static ngx_int_t
ngx_http_corral_identity_forwarded(ngx_http_request_t *r,
    ngx_str_t *forwarded_for)
{
    ngx_str_t  value;

    static ngx_str_t  name = ngx_string("x-forwarded-for");
    static ngx_str_t  proto = ngx_string("x-forwarded-proto");
    static ngx_str_t  host = ngx_string("x-forwarded-host");

    if (ngx_http_corral_identity_join(r->pool, forwarded_for,
                                      &r->connection->addr_text)
        != NGX_OK
        || ngx_http_corral_set_header(r, &name, forwarded_for) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    if (ngx_http_corral_get_header(r, &proto) == NULL) {
        ngx_str_set(&value, "http");

#if (NGX_HTTP_SSL)
        if (r->connection->ssl) {
            ngx_str_set(&value, "https");
        }
#endif

        if (ngx_http_corral_set_header(r, &proto, &value) == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    if (r->headers_in.host && ngx_http_corral_get_header(r, &host) == NULL) {
        return ngx_http_corral_set_header(r, &host,
                                          &r->headers_in.host->value)
               == NGX_ERROR ? NGX_ERROR : NGX_OK;
    }

    return NGX_OK;
}


static void *
ngx_http_corral_identity_create_loc_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->origin = 0;
     *     conf->origins = NULL;
     */

    return ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_identity_loc_conf_t));
}


static char *
ngx_http_corral_identity_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_corral_identity_loc_conf_t *prev = parent;
    ngx_http_corral_identity_loc_conf_t *conf = child;

    if (conf->origin == 0) {
        conf->origin = prev->origin ? prev->origin
                                    : NGX_HTTP_CORRAL_ORIGIN_SAME;
        conf->origins = prev->origins;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_origin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_identity_loc_conf_t *ilcf = conf;

    ngx_str_t   *value, *o;
    ngx_uint_t   i;

    if (ilcf->origin) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "same") == 0) {
        ilcf->origin = NGX_HTTP_CORRAL_ORIGIN_SAME;
        return NGX_CONF_OK;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "any") == 0) {
        ilcf->origin = NGX_HTTP_CORRAL_ORIGIN_ANY;
        return NGX_CONF_OK;
    }

    ilcf->origin = NGX_HTTP_CORRAL_ORIGIN_LIST;
    ilcf->origins = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                     sizeof(ngx_str_t));
    if (ilcf->origins == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strstr(value[i].data, "://") == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\": \"same\", \"any\", or "
                               "origins like \"https://example.com\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        o = ngx_array_push(ilcf->origins);
        if (o == NULL) {
            return NGX_CONF_ERROR;
        }

        *o = value[i];
    }

    return NGX_CONF_OK;
}
