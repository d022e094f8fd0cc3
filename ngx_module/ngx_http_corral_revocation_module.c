
/*
 * Step 3: who may not come any more.  A request whose token, subject or
 * session was revoked is refused; so may be one of which this gateway cannot
 * know it, because Redis has not told for too long.  What is revoked,
 * ngx_http_corral_revocation.c knows; what is under way then is ended by
 * ngx_http_corral_revocation_open.c, open WebSockets by the relay.
 *
 * Corral verifies no token itself: the id comes from a variable of whoever
 * does.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_revocation.h"


#define NGX_HTTP_CORRAL_REVOCATION_STALE  30000     /* ms */
#define NGX_HTTP_CORRAL_REVOCATION_LEAST  3000      /* beats are a second */


typedef struct {
    ngx_http_complex_value_t  *token_id;
    ngx_msec_t                 stale;       /* 0: pass */
} ngx_http_corral_revocation_loc_conf_t;


static ngx_int_t ngx_http_corral_revocation_stale(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_msec_t stale);
static void *ngx_http_corral_revocation_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_revocation_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_corral_revocation_stale_slot(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);


static ngx_command_t  ngx_http_corral_revocation_commands[] = {

    /* corral_token_id value; empty: no token */

    { ngx_string("corral_token_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_revocation_loc_conf_t, token_id),
      NULL },

    /* corral_revocation_stale pass | refuse [time]; */

    { ngx_string("corral_revocation_stale"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_corral_revocation_stale_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_revocation_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_corral_revocation_create_loc_conf,  /* create location conf */
    ngx_http_corral_revocation_merge_loc_conf    /* merge location conf */
};


ngx_module_t  ngx_http_corral_revocation_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_revocation_module_ctx,  /* module context */
    ngx_http_corral_revocation_commands,     /* module directives */
    NGX_HTTP_MODULE,                         /* module type */
    NULL,                                    /* init master */
    NULL,                                    /* init module */
    NULL,                                    /* init process */
    NULL,                                    /* init thread */
    NULL,                                    /* exit thread */
    NULL,                                    /* exit process */
    NULL,                                    /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_int_t
ngx_http_corral_revocation_handler(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t                  *ctx;
    ngx_http_corral_loc_conf_t             *lcf;
    ngx_http_corral_revocation_loc_conf_t  *rlcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);
    ctx = ngx_http_corral_find_ctx(r);

    if (!lcf->enabled || r != r->main || ctx == NULL
        || ctx->service_id.len == 0)
    {
        return NGX_DECLINED;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_revocation_module);

    if (ngx_http_corral_token_id(r, &ctx->token) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_corral_revoked_ctx(ctx)) {
        return ngx_http_corral_revocation_refuse(r, ctx);
    }

    if (ctx->token.len || ctx->subject.len || ctx->session.len) {
        ngx_http_corral_revocation_open(r, ctx);
    }

    return rlcf->stale ? ngx_http_corral_revocation_stale(r, ctx, rlcf->stale)
                       : NGX_DECLINED;
}


ngx_int_t
ngx_http_corral_revocation_refuse(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_http_corral_totals_t  delta;

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.revoked = 1;
    ngx_http_corral_table_add(ctx->terms.ref, &delta);

    return ngx_http_corral_problem(r, NGX_HTTP_UNAUTHORIZED, "token_revoked",
                                   0, "The token, its subject or its session "
                                   "was revoked.");
}


ngx_int_t
ngx_http_corral_token_id(ngx_http_request_t *r, ngx_str_t *token)
{
    ngx_http_corral_revocation_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_revocation_module);

    ngx_str_null(token);

    return rlcf->token_id ? ngx_http_complex_value(r, rlcf->token_id, token)
                          : NGX_OK;
}


static ngx_int_t
ngx_http_corral_revocation_stale(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_msec_t stale)
{
    ngx_http_corral_totals_t  delta;

    if (ngx_http_corral_revocation_age() <= stale) {
        return NGX_DECLINED;
    }

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.unsure = 1;
    ngx_http_corral_table_add(ctx->terms.ref, &delta);

    return ngx_http_corral_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                   "revocations_unknown", 2,
                                   "For more than %M ms this gateway has not "
                                   "been told what is revoked, see "
                                   "corral_revocation_stale.", stale);
}


static void *
ngx_http_corral_revocation_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_corral_revocation_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_corral_revocation_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->token_id = NULL;
     */

    conf->stale = NGX_CONF_UNSET_MSEC;

    return conf;
}


static char *
ngx_http_corral_revocation_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_corral_revocation_loc_conf_t *prev = parent;
    ngx_http_corral_revocation_loc_conf_t *conf = child;

    ngx_http_corral_main_conf_t  *mcf;

    if (conf->token_id == NULL) {
        conf->token_id = prev->token_id;
    }

    ngx_conf_merge_msec_value(conf->stale, prev->stale, 0);

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);

    if (conf->stale && mcf->redis.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"corral_revocation_stale refuse\" needs "
                           "\"corral_redis\": nobody else tells what is "
                           "revoked");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_revocation_stale_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_corral_revocation_loc_conf_t *rlcf = conf;

    ngx_int_t   time;
    ngx_str_t  *value;

    if (rlcf->stale != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "pass") == 0 && cf->args->nelts == 2) {
        rlcf->stale = 0;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "refuse") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\": \"pass\", or \"refuse\" and "
                           "perhaps a time", &value[1]);
        return NGX_CONF_ERROR;
    }

    time = cf->args->nelts == 3 ? ngx_parse_time(&value[2], 0)
                                : NGX_HTTP_CORRAL_REVOCATION_STALE;

    if (time == NGX_ERROR || time < NGX_HTTP_CORRAL_REVOCATION_LEAST) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\", it is at least 3s: Redis is "
                           "asked once a second", &value[2]);
        return NGX_CONF_ERROR;
    }

    rlcf->stale = time;

    return NGX_CONF_OK;
}
