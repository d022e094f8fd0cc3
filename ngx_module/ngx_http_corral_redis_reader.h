
/*
 * Reads answers of Redis from bytes.  See ngx_http_corral_redis_reader.c.
 */


#ifndef _NGX_HTTP_CORRAL_REDIS_READER_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REDIS_READER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <hiredis/read.h>

#include "ngx_http_corral_redis.h"


typedef struct {
    redisReader    *reader;
    ngx_pool_t     *pool;                   /* of the answer being read */
    size_t          bytes;                  /* since the last answer */
    size_t          elements;               /* of this one so far */
    const char     *why;                    /* it was refused, or NULL */
} ngx_http_corral_redis_reader_t;


/* NGX_ERROR: no memory.  free may be called twice, or without init. */
ngx_int_t ngx_http_corral_redis_reader_init(
    ngx_http_corral_redis_reader_t *r);
void ngx_http_corral_redis_reader_free(
    ngx_http_corral_redis_reader_t *r);

/* Takes bytes.  NGX_ERROR: no memory. */
ngx_int_t ngx_http_corral_redis_reader_feed(ngx_http_corral_redis_reader_t *r,
    u_char *data, size_t len);

/*
 * NGX_OK: an answer, to be freed by ngx_http_corral_redis_free(); call again.
 * NGX_AGAIN: more bytes are needed.  NGX_ERROR: err says why, as long as the
 * reader lives; nothing but free may follow.
 */
ngx_int_t ngx_http_corral_redis_reader_next(ngx_http_corral_redis_reader_t *r,
    ngx_http_corral_redis_reply_t **reply, const char **err);


#endif /* _NGX_HTTP_CORRAL_REDIS_READER_H_INCLUDED_ */
