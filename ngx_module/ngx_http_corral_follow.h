
/*
 * Follows the registry in Redis.  See ngx_http_corral_follow.c.
 */


#ifndef _NGX_HTTP_CORRAL_FOLLOW_H_INCLUDED_
#define _NGX_HTTP_CORRAL_FOLLOW_H_INCLUDED_


#include "ngx_http_corral.h"
#include "ngx_http_corral_sync.h"


/*
 * Connects to Redis and follows from now on: called once in a worker, when the
 * first load from elsewhere is over.  Keeps info current; changed is called
 * after each commit, full says whether it was a full load.
 */
ngx_int_t ngx_http_corral_follow_init(ngx_pool_t *pool,
    ngx_http_corral_main_conf_t *mcf, ngx_resolver_t *resolver,
    ngx_http_corral_sync_info_t *info, void (*changed)(ngx_uint_t full));

/* Takes the lease back and closes the connections. */
void ngx_http_corral_follow_exit(void);


#endif /* _NGX_HTTP_CORRAL_FOLLOW_H_INCLUDED_ */
