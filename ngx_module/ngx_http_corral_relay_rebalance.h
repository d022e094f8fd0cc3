
/*
 * What the two files of rebalancing share: see
 * ngx_http_corral_relay_rebalance.c.
 */


#ifndef _NGX_HTTP_CORRAL_RELAY_REBALANCE_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RELAY_REBALANCE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <corral_rebalance.h>

#include "ngx_http_corral_registry.h"


/*
 * plan fills list, which has an entry, zeroed before, for each instance of the
 * service, in their order; NGX_ERROR: no memory.  write makes it the plan of
 * all workers, an empty one if planned is 0.  renew does both, when a plan is
 * due.
 */
ngx_int_t ngx_http_corral_rebalance_plan(
    ngx_http_corral_service_t *service, uint32_t tolerance,
    corral_rebalance_t *list, uint32_t *planned);
void ngx_http_corral_rebalance_write(
    ngx_http_corral_service_t *service, corral_rebalance_t *list,
    uint32_t planned);
void ngx_http_corral_rebalance_renew(
    ngx_http_corral_service_t *service);

/* why now is no time to move connections of the service, or NULL */
const char *ngx_http_corral_rebalance_storm(
    ngx_http_corral_service_t *service);

/* may the instance be given connections? */
ngx_uint_t ngx_http_corral_rebalance_usable(
    ngx_http_corral_instance_t *instance);


#endif /* _NGX_HTTP_CORRAL_RELAY_REBALANCE_H_INCLUDED_ */
