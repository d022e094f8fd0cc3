
/*
 * Step 1, who: tenant, subject and claims of the client, as variables of
 * whoever has verified them say: auth_request_set, a JWT module, a client
 * certificate, a map over API keys.  It verifies nothing itself.
 *
 * It runs behind the access phase, because "auth_request" and JWT modules may
 * come after us there, and before the route step, whose rules ask for it.
 *
 * Claims lie in one string, so that they pass with the others into the record
 * of a WebSocket: of each the length of its name (1 byte), its name, the length
 * of its value (2 bytes, the higher first) and its value.
 */


#include "ngx_http_corral.h"


#define NGX_HTTP_CORRAL_WHO_MAX     CORRAL_REVOCATION_NAME  /* bytes */
#define NGX_HTTP_CORRAL_CLAIM_MAX   1024                    /* of a value */
#define NGX_HTTP_CORRAL_CLAIMS      32                      /* of a location */


typedef struct {
    ngx_str_t                   name;
    ngx_http_complex_value_t    value;
} ngx_http_corral_claim_t;


typedef struct {
    ngx_http_complex_value_t   *tenant;
    ngx_http_complex_value_t   *subject;
    ngx_array_t                *claims;     /* of ngx_http_corral_claim_t */
} ngx_http_corral_who_loc_conf_t;


static ngx_int_t ngx_http_corral_who_tell(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
static ngx_int_t ngx_http_corral_who_claims(ngx_http_request_t *r,
    ngx_array_t *claims, ngx_str_t *packed);
static ngx_int_t ngx_http_corral_who_value(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, char *what, ngx_str_t *name, size_t max,
    ngx_str_t *value);
static ngx_uint_t ngx_http_corral_who_text(ngx_str_t *value);
static ngx_int_t ngx_http_corral_who_add_variables(ngx_conf_t *cf);
static void *ngx_http_corral_who_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_who_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_corral_who_claim(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_http_corral_claim_t *ngx_http_corral_who_find(ngx_array_t *claims,
    ngx_str_t *name);


static ngx_command_t  ngx_http_corral_who_commands[] = {

    /* corral_tenant value; empty: none */

    { ngx_string("corral_tenant"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_who_loc_conf_t, tenant),
      NULL },

    /* corral_subject value; empty: nobody */

    { ngx_string("corral_subject"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_who_loc_conf_t, subject),
      NULL },

    /* corral_claim name value; empty: the token has none of that name */

    { ngx_string("corral_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_corral_who_claim,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_who_module_ctx = {
    ngx_http_corral_who_add_variables,     /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_corral_who_create_loc_conf,   /* create location configuration */
    ngx_http_corral_who_merge_loc_conf     /* merge location configuration */
};


ngx_module_t  ngx_http_corral_who_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_who_module_ctx,       /* module context */
    ngx_http_corral_who_commands,          /* module directives */
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


static ngx_http_variable_t  ngx_http_corral_who_variables[] = {

    { ngx_string("corral_tenant"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, tenant), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("corral_subject"), NULL, ngx_http_corral_variable,
      offsetof(ngx_http_corral_ctx_t, subject), NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_corral_who_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
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

    if (ctx->routed) {
        return NGX_DECLINED;                /* redirected internally */
    }

    rc = ngx_http_corral_who(r, ctx);

    if (rc == NGX_DECLINED) {
        return ngx_http_corral_problem(r, NGX_HTTP_FORBIDDEN, "bad_identity",
                                       0, "Who the client is was told in a "
                                       "form that is not allowed.");
    }

    if (rc != NGX_OK || ngx_http_corral_who_tell(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


/* for the agent, of whatever protocol; the client's own were taken out */

static ngx_int_t
ngx_http_corral_who_tell(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx)
{
    static ngx_str_t  tenant = ngx_string("corral-tenant");
    static ngx_str_t  subject = ngx_string("corral-subject");

    if (ctx->tenant.len
        && ngx_http_corral_set_header(r, &tenant, &ctx->tenant) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->subject.len
        && ngx_http_corral_set_header(r, &subject, &ctx->subject) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_who(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx)
{
    ngx_int_t                        rc;
    ngx_http_corral_who_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_who_module);

    rc = ngx_http_corral_who_value(r, wlcf->tenant, "corral_tenant", NULL,
                                   NGX_HTTP_CORRAL_WHO_MAX, &ctx->tenant);

    if (rc == NGX_OK) {
        rc = ngx_http_corral_who_value(r, wlcf->subject, "corral_subject",
                                       NULL, NGX_HTTP_CORRAL_WHO_MAX,
                                       &ctx->subject);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_corral_who_claims(r, wlcf->claims, &ctx->claims);
    }

    return rc;
}


static ngx_int_t
ngx_http_corral_who_claims(ngx_http_request_t *r, ngx_array_t *claims,
    ngx_str_t *packed)
{
    u_char                   *p;
    size_t                    len;
    ngx_int_t                 rc;
    ngx_str_t                *values;
    ngx_uint_t                i;
    ngx_http_corral_claim_t  *claim;

    ngx_str_null(packed);

    if (claims == NULL) {
        return NGX_OK;
    }

    claim = claims->elts;
    len = 0;

    values = ngx_palloc(r->pool, claims->nelts * sizeof(ngx_str_t));
    if (values == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < claims->nelts; i++) {
        rc = ngx_http_corral_who_value(r, &claim[i].value, "corral_claim",
                                       &claim[i].name,
                                       NGX_HTTP_CORRAL_CLAIM_MAX, &values[i]);
        if (rc != NGX_OK) {
            return rc;
        }

        len += 1 + claim[i].name.len + 2 + values[i].len;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    packed->data = p;

    for (i = 0; i < claims->nelts; i++) {

        if (values[i].len == 0) {
            continue;
        }

        *p++ = (u_char) claim[i].name.len;
        p = ngx_cpymem(p, claim[i].name.data, claim[i].name.len);
        *p++ = (u_char) (values[i].len >> 8);
        *p++ = (u_char) values[i].len;
        p = ngx_cpymem(p, values[i].data, values[i].len);
    }

    packed->len = p - packed->data;

    return NGX_OK;
}


void
ngx_http_corral_claim(ngx_http_corral_ctx_t *ctx, ngx_str_t *name,
    ngx_str_t *value)
{
    u_char      *p, *last;
    size_t       len;
    ngx_uint_t   found;

    ngx_str_null(value);

    p = ctx->claims.data;
    last = p + ctx->claims.len;

    while (p < last) {
        len = *p++;

        if ((size_t) (last - p) < len + 2) {
            return;                         /* a record had no more room */
        }

        found = len == name->len && ngx_memcmp(p, name->data, len) == 0;
        p += len;

        len = (size_t) p[0] << 8 | p[1];
        p += 2;

        if ((size_t) (last - p) < len) {
            return;
        }

        if (found) {
            value->len = len;
            value->data = p;
            return;
        }

        p += len;
    }
}


/*
 * The value of a directive.  What is too long is refused and not cut: two
 * people must not become one.
 */

static ngx_int_t
ngx_http_corral_who_value(ngx_http_request_t *r, ngx_http_complex_value_t *cv,
    char *what, ngx_str_t *name, size_t max, ngx_str_t *value)
{
    ngx_str_t  none;

    ngx_str_null(value);
    ngx_str_null(&none);

    if (cv == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, cv, value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value->len > max) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "%s%s%V is %uz bytes long, it may have %uz", what,
                      name ? " " : "", name ? name : &none, value->len, max);
        return NGX_DECLINED;
    }

    if (!ngx_http_corral_who_text(value)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "%s%s%V is not text: it must be UTF-8 without control "
                      "characters", what, name ? " " : "", name ? name : &none);
        return NGX_DECLINED;
    }

    /* who reads a header takes them off, and has another one */

    if (name == NULL && value->len
        && (value->data[0] == ' ' || value->data[value->len - 1] == ' '))
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "%s begins or ends with a space", what);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* it stands in logs and JSON and is compared: there is one way to write it */

static ngx_uint_t
ngx_http_corral_who_text(ngx_str_t *value)
{
    u_char    *p, *last;
    uint32_t   c;

    p = value->data;
    last = p + value->len;

    while (p < last) {

        if (*p < 0x20 || *p == 0x7f) {
            return 0;
        }

        if (*p < 0x80) {
            p++;
            continue;
        }

        c = ngx_utf8_decode(&p, last - p);

        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c < 0xa0) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_corral_who_add_variables(ngx_conf_t *cf)
{
    return ngx_http_corral_add_variables(cf, ngx_http_corral_who_variables);
}


static void *
ngx_http_corral_who_create_loc_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->tenant = NULL;
     *     conf->subject = NULL;
     *     conf->claims = NULL;
     */

    return ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_who_loc_conf_t));
}


static char *
ngx_http_corral_who_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_corral_who_loc_conf_t *prev = parent;
    ngx_http_corral_who_loc_conf_t *conf = child;

    ngx_uint_t                i;
    ngx_http_corral_claim_t  *claim, *c;

    if (conf->tenant == NULL) {
        conf->tenant = prev->tenant;
    }

    if (conf->subject == NULL) {
        conf->subject = prev->subject;
    }

    if (conf->claims == NULL) {
        conf->claims = prev->claims;
        return NGX_CONF_OK;
    }

    if (prev->claims == NULL) {
        return NGX_CONF_OK;
    }

    claim = prev->claims->elts;

    for (i = 0; i < prev->claims->nelts; i++) {

        if (ngx_http_corral_who_find(conf->claims, &claim[i].name)) {
            continue;
        }

        if (conf->claims->nelts == NGX_HTTP_CORRAL_CLAIMS) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "more than %d corral_claim, inherited ones "
                               "included", NGX_HTTP_CORRAL_CLAIMS);
            return NGX_CONF_ERROR;
        }

        c = ngx_array_push(conf->claims);
        if (c == NULL) {
            return NGX_CONF_ERROR;
        }

        *c = claim[i];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_who_claim(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_who_loc_conf_t *wlcf = conf;

    size_t                             i;
    ngx_str_t                         *value, name;
    ngx_http_corral_claim_t           *claim;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;
    name = value[1];

    for (i = 0; i < name.len; i++) {
        if (name.data[i] <= 0x20 || name.data[i] >= 0x7f) {
            break;
        }
    }

    if (i == 0 || i != name.len || name.len > CORRAL_ID_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" of corral_claim: up to %d "
                           "bytes, without blanks", &name, CORRAL_ID_MAX);
        return NGX_CONF_ERROR;
    }

    if (wlcf->claims == NULL) {
        wlcf->claims = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_corral_claim_t));
        if (wlcf->claims == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_corral_who_find(wlcf->claims, &name)) {
        return "is duplicate";
    }

    if (wlcf->claims->nelts == NGX_HTTP_CORRAL_CLAIMS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "more than %d corral_claim",
                           NGX_HTTP_CORRAL_CLAIMS);
        return NGX_CONF_ERROR;
    }

    claim = ngx_array_push(wlcf->claims);
    if (claim == NULL) {
        return NGX_CONF_ERROR;
    }

    claim->name = name;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &claim->value;

    return ngx_http_compile_complex_value(&ccv) == NGX_OK ? NGX_CONF_OK
                                                          : NGX_CONF_ERROR;
}


static ngx_http_corral_claim_t *
ngx_http_corral_who_find(ngx_array_t *claims, ngx_str_t *name)
{
    ngx_uint_t                i;
    ngx_http_corral_claim_t  *claim;

    claim = claims->elts;

    for (i = 0; i < claims->nelts; i++) {

        if (claim[i].name.len == name->len
            && ngx_memcmp(claim[i].name.data, name->data, name->len) == 0)
        {
            return &claim[i];
        }
    }

    return NULL;
}
