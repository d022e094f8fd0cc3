
/*
 * What the files of the upstream step share: the configuration of an upstream
 * block with "corral", and which method it means for a service.
 */


#ifndef _NGX_HTTP_CORRAL_UPSTREAM_H_INCLUDED_
#define _NGX_HTTP_CORRAL_UPSTREAM_H_INCLUDED_


#include "ngx_http_corral.h"


typedef struct {
    ngx_flag_t                  enabled;
    ngx_http_complex_value_t   *service;
    ngx_uint_t                  method;     /* ngx_http_corral_method_e */
    ngx_str_t                   hash_key;
} ngx_http_corral_upstream_srv_conf_t;


/* Is there a budget for one more retry of the service?  Counts a refusal. */
ngx_uint_t ngx_http_corral_upstream_may_retry(ngx_http_corral_ctx_t *ctx);

/*
 * What an instance may hold: the smaller one of what the service allows and of
 * what the instance says, 0: no limit.  How much of its weight it has now, of
 * CORRAL_HEALTH_WHOLE; ramped: it is new.
 */
uint32_t ngx_http_corral_upstream_limit(ngx_http_corral_service_t *service,
    ngx_http_corral_instance_t *instance);
uint32_t ngx_http_corral_upstream_part(ngx_http_corral_service_t *service,
    ngx_http_corral_instance_t *instance, ngx_uint_t *ramped);

/*
 * The method and hash key of a service: its own, or those of the block; conf
 * is NULL if there is no block.
 */
ngx_uint_t ngx_http_corral_upstream_method(ngx_http_corral_service_t *service,
    ngx_http_corral_upstream_srv_conf_t *ucf, ngx_str_t *key);


extern ngx_module_t  ngx_http_corral_upstream_module;


#endif /* _NGX_HTTP_CORRAL_UPSTREAM_H_INCLUDED_ */
