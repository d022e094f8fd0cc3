
/*
 * What sticks: the hash of the value that a hash key names, for the balancing
 * of instances and for the targets of rules.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_affinity.h"


uint64_t
ngx_http_corral_hash(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_str_t *name)
{
    ngx_str_t  key;

    ngx_http_corral_affinity_value(r, ctx, name, &key);

    if (key.len == 0) {
        key = r->connection->addr_text;
    }

    return corral_balance_key(key.data, key.len);
}
