
/*
 * Affinity: a session stays with the instance that has it.
 * See ngx_http_corral_affinity.c.
 */


#ifndef _NGX_HTTP_CORRAL_AFFINITY_H_INCLUDED_
#define _NGX_HTTP_CORRAL_AFFINITY_H_INCLUDED_


#include "ngx_http_corral.h"


/*
 * What the name of a hash key or affinity means in this request: session,
 * subject, claim.NAME, header.NAME, query.NAME, cookie.NAME.  Empty if the
 * request has none; also for client_ip.
 */
void ngx_http_corral_affinity_value(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value);
void ngx_http_corral_affinity_request_cookie(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);

/*
 * In a phase handler, before an instance is picked: looks in Redis for a
 * session that this gateway does not know.  NGX_AGAIN: the request is parked
 * and comes back, NGX_DECLINED: nothing is to be asked.
 */
ngx_int_t ngx_http_corral_affinity_ask(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);

/*
 * The instance that has the session of the request, if it may be used now;
 * else NULL.  ctx->sticky says whether ctx->affinity is to be hashed then.
 * Valid as that of ngx_http_corral_registry_member().
 */
ngx_http_corral_instance_t *ngx_http_corral_affinity_owner(
    ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_service_t *service);

/* The request goes to this instance: its session is there from now on. */
void ngx_http_corral_affinity_chosen(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service,
    ngx_http_corral_slot_t ref);

/*
 * This instance has the session of that hash from now on, for the affinity_ttl
 * of its service: in the zone and in Redis.
 */
void ngx_http_corral_affinity_keep(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, uint64_t session,
    ngx_http_corral_slot_t ref);

/* It is over, if this instance has it. */
void ngx_http_corral_affinity_end(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, uint64_t session,
    ngx_http_corral_slot_t ref);

/* An answer has come: adds the cookie to it, or learns its session. */
ngx_int_t ngx_http_corral_affinity_answer(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);


#endif /* _NGX_HTTP_CORRAL_AFFINITY_H_INCLUDED_ */
