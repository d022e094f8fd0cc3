
/*
 * The keys of corral_schema.h with the name of the cluster in them.
 * See ngx_http_corral_key.c.
 */


#ifndef _NGX_HTTP_CORRAL_KEY_H_INCLUDED_
#define _NGX_HTTP_CORRAL_KEY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_schema.h>


#define ngx_http_corral_key_enum(name, format, type, writer, text)            \
    NGX_HTTP_CORRAL_KEY_##name,

typedef enum {
    CORRAL_KEYS(ngx_http_corral_key_enum)
    NGX_HTTP_CORRAL_KEY_NUMBER
} ngx_http_corral_key_e;


/* Called once, before the others.  Allocates from the pool. */
ngx_int_t ngx_http_corral_key_init(ngx_pool_t *pool, ngx_str_t *cluster);

/* A key of one part, valid as long as the pool of init. */
ngx_str_t ngx_http_corral_key(ngx_http_corral_key_e key);

/*
 * A key of two parts.  Allocates from the pool; data is NULL if there is no
 * memory.
 */
ngx_str_t ngx_http_corral_key_of(ngx_pool_t *pool, ngx_http_corral_key_e key,
    ngx_str_t *part);


#endif /* _NGX_HTTP_CORRAL_KEY_H_INCLUDED_ */
