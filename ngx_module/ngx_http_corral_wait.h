
/*
 * The queue of the wait step: requests that are held until an instance has a
 * place for them.  See ngx_http_corral_wait_queue.c.
 */


#ifndef _NGX_HTTP_CORRAL_WAIT_H_INCLUDED_
#define _NGX_HTTP_CORRAL_WAIT_H_INCLUDED_


#include "ngx_http_corral.h"


/* What becomes of a request that gets no place: answers it. */

typedef void (*ngx_http_corral_wait_refuse_pt)(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t timed_out);


/* In the master, before workers are made: what they wake each other with. */
ngx_int_t ngx_http_corral_wait_queue_create(ngx_cycle_t *cycle);

/* In a worker, once. */
ngx_int_t ngx_http_corral_wait_queue_init(ngx_cycle_t *cycle,
    ngx_http_corral_wait_refuse_pt refuse);

/* requests of this worker that wait for a service */
ngx_uint_t ngx_http_corral_wait_queue_length(ngx_str_t *service_id);

/*
 * Holds the request until an instance is reserved in ctx->hold, and goes on
 * with its phases then; or refuses it after queue_timeout, or when there is
 * nothing to wait for any more.  NGX_AGAIN: held.  NGX_BUSY: queue_size
 * requests wait already.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_corral_wait_queue_park(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service);


#endif /* _NGX_HTTP_CORRAL_WAIT_H_INCLUDED_ */
