
/*
 * What sticks: the hash of the value that a hash key names, for the balancing
 * of instances and for the targets of rules.
 */


#include "ngx_http_corral.h"


static void ngx_http_corral_hash_cookie(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);


uint64_t
ngx_http_corral_hash(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_str_t *name)
{
    u_char           *p;
    ngx_str_t         key, rest;
    ngx_table_elt_t  *h;

    ngx_str_null(&key);

    p = ngx_strlchr(name->data, name->data + name->len, '.');

    rest.data = p ? p + 1 : name->data + name->len;
    rest.len = name->data + name->len - rest.data;

    if (p == NULL && name->len == sizeof("session") - 1
        && ngx_strncmp(name->data, "session", name->len) == 0)
    {
        key = ctx->session;

    } else if (p && ngx_strncmp(name->data, "header.", 7) == 0) {
        h = ngx_http_corral_get_header(r, &rest);

        if (h) {
            key = h->value;
        }

    } else if (p && ngx_strncmp(name->data, "query.", 6) == 0) {
        (void) ngx_http_arg(r, rest.data, rest.len, &key);

    } else if (p && ngx_strncmp(name->data, "cookie.", 7) == 0) {
        ngx_http_corral_hash_cookie(r, &rest, &key);
    }

    if (key.len == 0) {
        key = r->connection->addr_text;
    }

    return corral_balance_key(key.data, key.len);
}


static void
ngx_http_corral_hash_cookie(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
#if (nginx_version >= 1023000)

    (void) ngx_http_parse_multi_header_lines(r, r->headers_in.cookie, name,
                                             value);
#else

    (void) ngx_http_parse_multi_header_lines(&r->headers_in.cookies, name,
                                             value);
#endif
}
