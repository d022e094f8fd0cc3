
/*
 * What other gateways hold of each instance.  See ngx_http_corral_view.c.
 */


#ifndef _NGX_HTTP_CORRAL_VIEW_H_INCLUDED_
#define _NGX_HTTP_CORRAL_VIEW_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* Called once in a worker, behind ngx_http_corral_publish_init(). */
ngx_int_t ngx_http_corral_view_init(ngx_pool_t *pool);

/* Once a second, also without Redis. */
void ngx_http_corral_view_beat(void);

/* Takes back what was told. */
void ngx_http_corral_view_bye(void);


#endif /* _NGX_HTTP_CORRAL_VIEW_H_INCLUDED_ */
