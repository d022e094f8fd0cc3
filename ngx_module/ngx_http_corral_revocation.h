
/*
 * What is revoked, as this worker knows it.  See ngx_http_corral_revocation.c.
 */


#ifndef _NGX_HTTP_CORRAL_REVOCATION_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REVOCATION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral.h"


#define ngx_http_corral_revocation_kind_e(name, text)                         \
    NGX_HTTP_CORRAL_REVOKED_##name,

typedef enum {
    CORRAL_REVOCATION_KINDS(ngx_http_corral_revocation_kind_e)
    NGX_HTTP_CORRAL_REVOKED_KINDS
} ngx_http_corral_revocation_kind_e;


/* Called once in a worker that follows Redis; takes what the zone knows. */
void ngx_http_corral_revocation_init(void);

/* Asks Redis whether something has changed: once a second, and at once. */
void ngx_http_corral_revocation_beat(void);

/* The connection to Redis is lost: no answer comes any more. */
void ngx_http_corral_revocation_closed(void);

/* names by kind, an empty one is nobody's: is one of them revoked? */
ngx_uint_t ngx_http_corral_revoked(
    ngx_str_t names[NGX_HTTP_CORRAL_REVOKED_KINDS]);

/* The same of the names in a context. */
ngx_uint_t ngx_http_corral_revoked_ctx(ngx_http_corral_ctx_t *ctx);

/* Answers a request that is revoked: 401, and counts it.  NGX_DONE. */
ngx_int_t ngx_http_corral_revocation_refuse(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);

/*
 * Requests that go on: the one of ctx is kept in mind until its context ends
 * or leave, which the relay calls when it has the connection.  begin starts a
 * look at all that are, end goes on with it, at most so many, and ends those
 * that are revoked: NGX_OK when it is through, else NGX_AGAIN.  One that waits
 * for an instance is woken, and ctx->revoked says that it is to be refused; one
 * that is with an agent is cut off.
 */
void ngx_http_corral_revocation_open(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
void ngx_http_corral_revocation_open_leave(ngx_http_corral_ctx_t *ctx);
void ngx_http_corral_revocation_open_begin(void);
ngx_int_t ngx_http_corral_revocation_open_end(ngx_uint_t max);

/* entries that this worker knows, those that have ended included */
ngx_uint_t ngx_http_corral_revocation_count(void);

/* ms since Redis was heard; NGX_MAX_INT_T_VALUE if it never was */
ngx_msec_t ngx_http_corral_revocation_age(void);


#endif /* _NGX_HTTP_CORRAL_REVOCATION_H_INCLUDED_ */
