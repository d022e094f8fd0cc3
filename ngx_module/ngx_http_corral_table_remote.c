
/*
 * What processes of other zones hold, as far as it was told: one number in
 * each slot, beside the columns of this zone.  One process at a time brings it
 * up to date, once a second; nobody relies on it for longer than ten.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


#define NGX_HTTP_CORRAL_REMOTE_PAUSE  900       /* ms between two looks */


ngx_uint_t
ngx_http_corral_table_own(ngx_uint_t i, ngx_str_t *key, uint32_t *count)
{
    ngx_http_corral_count_t   *c;
    ngx_http_corral_shslot_t  *slot;

    if (ngx_http_corral_column == NGX_HTTP_CORRAL_PROCESSES
        || i >= ngx_http_corral_table_slots())
    {
        return 0;
    }

    slot = &ngx_http_corral_sh->slots[i];
    c = &slot->counts[ngx_http_corral_column];

    *count = c->active;

    if (slot->len && slot->key[0] == 'i') {
        *count += c->reserved;              /* of a service it is in active */
    }

    key->data = slot->key;
    key->len = slot->len;

    return *count != 0;
}


ngx_uint_t
ngx_http_corral_table_remote_begin(void)
{
    ngx_msec_t                now, at;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh == NULL) {
        return 0;
    }

    now = ngx_current_msec;
    at = sh->remote_at;

    return (at == 0 || now - at >= NGX_HTTP_CORRAL_REMOTE_PAUSE)
           && ngx_atomic_cmp_set(&sh->remote_at, at, now);
}


void
ngx_http_corral_table_remote_set(uint32_t *counts, ngx_uint_t n)
{
    ngx_uint_t                i, any;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;
    any = 0;

    for (i = 0; i < sh->used; i++) {
        sh->slots[i].remote = i < n ? counts[i] : 0;
        any |= sh->slots[i].remote;
    }

    sh->remote_any = any != 0;
    sh->remote_read = ngx_time();
}


void
ngx_http_corral_table_remote_tick(time_t lease)
{
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh && sh->remote_any
        && ngx_time() - (time_t) sh->remote_read > lease)
    {
        ngx_http_corral_table_remote_set(NULL, 0);
    }
}


ngx_uint_t
ngx_http_corral_table_remote_any(void)
{
    return ngx_http_corral_sh && ngx_http_corral_sh->remote_any;
}
