
/*
 * What connections and requests hold of an instance: the counts in the column
 * of this process, and their sums over the live ones.  A count has one writer,
 * so there is no lock and no lost update; what a dead process held goes with
 * its column.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


void
ngx_http_corral_table_reserve(ngx_http_corral_slot_t ref,
    ngx_http_corral_hold_t *hold)
{
    ngx_http_corral_shslot_t  *slot;

    ngx_http_corral_table_release(hold);

    hold->ref = ref;
    hold->state = NGX_HTTP_CORRAL_HOLD_RESERVED;

    slot = ngx_http_corral_table_get(ref);

    if (slot && ngx_http_corral_column < NGX_HTTP_CORRAL_PROCESSES) {
        slot->counts[ngx_http_corral_column].reserved++;
    }
}


void
ngx_http_corral_table_activate(ngx_http_corral_hold_t *hold)
{
    ngx_http_corral_shslot_t  *slot;

    if (hold->state != NGX_HTTP_CORRAL_HOLD_RESERVED) {
        return;
    }

    hold->state = NGX_HTTP_CORRAL_HOLD_ACTIVE;

    slot = ngx_http_corral_table_get(hold->ref);

    if (slot && ngx_http_corral_column < NGX_HTTP_CORRAL_PROCESSES) {
        slot->counts[ngx_http_corral_column].active++;
        slot->counts[ngx_http_corral_column].reserved--;
    }
}


void
ngx_http_corral_table_release(ngx_http_corral_hold_t *hold)
{
    ngx_http_corral_shslot_t  *slot;

    if (hold->state == NGX_HTTP_CORRAL_HOLD_NONE) {
        return;
    }

    slot = ngx_http_corral_table_get(hold->ref);

    if (slot && ngx_http_corral_column < NGX_HTTP_CORRAL_PROCESSES) {

        if (hold->state == NGX_HTTP_CORRAL_HOLD_ACTIVE) {
            slot->counts[ngx_http_corral_column].active--;

        } else {
            slot->counts[ngx_http_corral_column].reserved--;
        }
    }

    hold->state = NGX_HTTP_CORRAL_HOLD_NONE;
}


void
ngx_http_corral_table_move(ngx_http_corral_hold_t *to,
    ngx_http_corral_hold_t *from)
{
    *to = *from;
    from->state = NGX_HTTP_CORRAL_HOLD_NONE;
}


void
ngx_http_corral_table_sum(ngx_http_corral_shslot_t *slot, uint32_t *active,
    uint32_t *reserved)
{
    uint64_t    live;
    uint32_t    a, r;
    ngx_uint_t  i;

    a = 0;
    r = 0;

    for (live = ngx_http_corral_sh->live; live; live &= live - 1) {
        i = __builtin_ctzll(live);
        a += slot->counts[i].active;
        r += slot->counts[i].reserved;
    }

    *active = a;
    *reserved = r;
}


uint32_t
ngx_http_corral_table_load(ngx_http_corral_slot_t ref)
{
    uint32_t                   active, reserved;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return 0;
    }

    ngx_http_corral_table_sum(slot, &active, &reserved);

    return active + reserved;
}
