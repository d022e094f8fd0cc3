
/*
 * What a hash key names in a request: the first of its words that the request
 * has, and what sticks by it, for the balancing of instances and for the
 * targets of rules.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_affinity.h"


void
ngx_http_corral_hash_value(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value)
{
    u_char     *p, *last;
    ngx_str_t   word;

    ngx_str_null(value);

    last = name->data + name->len;

    for (p = name->data; p < last && value->len == 0; p++) {
        word.data = p;

        while (p < last && *p != ' ') {
            p++;
        }

        word.len = p - word.data;

        if (word.len == 9 && ngx_strncmp(word.data, "client_ip", 9) == 0) {
            *value = r->connection->addr_text;
            return;
        }

        ngx_http_corral_affinity_value(r, ctx, &word, value);
    }
}


uint64_t
ngx_http_corral_hash(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_str_t *name)
{
    ngx_str_t  key;

    ngx_http_corral_hash_value(r, ctx, name, &key);

    if (key.len == 0) {
        key = r->connection->addr_text;
    }

    return corral_balance_key(key.data, key.len);
}
