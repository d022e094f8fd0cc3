
/*
 * Pairs whose token, subject or session was revoked: they end at once, with
 * 4401.  What is revoked, ngx_http_corral_revocation.c knows.
 */


#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_revocation.h"


/* Shuts a pair that is revoked; returns 1 then: it is to be settled. */

ngx_uint_t
ngx_http_corral_relay_token_check(ngx_http_corral_pair_t *p)
{
    ngx_str_t  names[NGX_HTTP_CORRAL_REVOKED_KINDS];

    static ngx_str_t  reason = ngx_string("token revoked");

    if (p->own || p->lingering) {
        return 0;
    }

    names[NGX_HTTP_CORRAL_REVOKED_token] = ngx_http_corral_record_string(
                                   p->record, NGX_HTTP_CORRAL_RECORD_TOKEN);
    ngx_http_corral_relay_renew_token(p,
                                      &names[NGX_HTTP_CORRAL_REVOKED_token]);

    names[NGX_HTTP_CORRAL_REVOKED_subject] = ngx_http_corral_record_string(
                                   p->record, NGX_HTTP_CORRAL_RECORD_SUBJECT);
    names[NGX_HTTP_CORRAL_REVOKED_session] = ngx_http_corral_record_string(
                                   p->record, NGX_HTTP_CORRAL_RECORD_SESSION);

    if (!ngx_http_corral_revoked(names)) {
        return 0;
    }

    ngx_log_error(NGX_LOG_INFO,
                  p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                  "the token of a WebSocket was revoked");

    ngx_http_corral_relay_count_close(p, closes_revoked);
    ngx_http_corral_relay_shut(p, 4401, 1001, &reason);
    ngx_http_corral_relay_list_use(p);

    return 1;
}


ngx_int_t
ngx_http_corral_relay_revoke(void **at, ngx_uint_t *n, ngx_uint_t max)
{
    ngx_http_corral_pair_t  *p;

    while (max--) {
        p = ngx_http_corral_relay_list_walk(at, n);

        if (p == NULL) {
            return NGX_OK;
        }

        if (ngx_http_corral_relay_token_check(p)) {
            ngx_http_corral_relay_settle(p);
        }
    }

    return NGX_AGAIN;
}
