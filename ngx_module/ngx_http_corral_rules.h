
/*
 * Rules for the route step.  See ngx_http_corral_rules.c.
 */


#ifndef _NGX_HTTP_CORRAL_RULES_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RULES_H_INCLUDED_


#include "ngx_http_corral.h"


/*
 * The service that the first matching rule leads to, and ctx->rule, its name.
 * hint is what the other places of the location name, or empty.  NGX_OK;
 * NGX_DECLINED if no rule matches (one whose targets all do not exist is passed
 * over); NGX_ERROR without memory.
 */
ngx_int_t ngx_http_corral_rules_service(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *hint,
    ngx_http_corral_service_t **service);


#endif /* _NGX_HTTP_CORRAL_RULES_H_INCLUDED_ */
