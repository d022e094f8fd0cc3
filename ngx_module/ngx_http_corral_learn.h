
/*
 * Learned sessions: the agent makes the id and tells it in its answer.
 * See ngx_http_corral_learn.c.
 */


#ifndef _NGX_HTTP_CORRAL_LEARN_H_INCLUDED_
#define _NGX_HTTP_CORRAL_LEARN_H_INCLUDED_


#include "ngx_http_corral.h"


/*
 * Returns 1 if the sessions of the service are learned: ctx->learn is set, and
 * if the request has an id ctx->learned and its hash, ctx->affinity.
 */
ngx_uint_t ngx_http_corral_learn_prepare(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service);

/*
 * The head of the answer of ctx->instance lies in r->upstream: what it says of
 * a session is kept, or the session ends.  Once for each answer.
 */
void ngx_http_corral_learn_answer(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);


#endif /* _NGX_HTTP_CORRAL_LEARN_H_INCLUDED_ */
