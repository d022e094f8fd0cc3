
/*
 * What is revoked, as this worker knows it.  See ngx_http_corral_revocation.c.
 */


#ifndef _NGX_HTTP_CORRAL_REVOCATION_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REVOCATION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_schema.h>


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

/* entries that this worker knows, those that have ended included */
ngx_uint_t ngx_http_corral_revocation_count(void);

/* ms since Redis was heard; NGX_MAX_INT_T_VALUE if it never was */
ngx_msec_t ngx_http_corral_revocation_age(void);


#endif /* _NGX_HTTP_CORRAL_REVOCATION_H_INCLUDED_ */
