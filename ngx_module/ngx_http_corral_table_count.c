
/*
 * What connections and requests hold of an instance: the counts in the column
 * of this process, and their sums over the live ones.  A count has one writer,
 * so there is no lock and no lost update; what a dead process held goes with
 * its column.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


#define NGX_HTTP_CORRAL_COUNT_TRIES  3


static ngx_http_corral_count_t *ngx_http_corral_table_column(
    ngx_http_corral_slot_t ref);
static ngx_uint_t ngx_http_corral_table_over(ngx_http_corral_slot_t ref,
    ngx_http_corral_slot_t service, ngx_http_corral_limits_t *limits);


static void  (*ngx_http_corral_table_freed)(void);


void
ngx_http_corral_table_on_free(void (*handler)(void))
{
    ngx_http_corral_table_freed = handler;
}


/* what this process holds of a slot; a sink if that is not seen by others */

static ngx_http_corral_count_t *
ngx_http_corral_table_column(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    static ngx_http_corral_count_t  sink;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL || ngx_http_corral_column == NGX_HTTP_CORRAL_PROCESSES) {
        return &sink;
    }

    return &slot->counts[ngx_http_corral_column];
}


/*
 * Counts first and looks then, so that two processes that do so at the same
 * moment see each other.  Both may give way: each tries again, twice.
 */

ngx_int_t
ngx_http_corral_table_reserve(ngx_http_corral_slot_t ref,
    ngx_http_corral_slot_t service, ngx_http_corral_limits_t *limits,
    ngx_http_corral_hold_t *hold)
{
    ngx_uint_t                tries;
    ngx_http_corral_count_t  *i, *s;

    ngx_http_corral_table_release(hold);

    i = ngx_http_corral_table_column(ref);
    s = ngx_http_corral_table_column(service);

    for (tries = 0; tries < NGX_HTTP_CORRAL_COUNT_TRIES; tries++) {
        i->reserved++;
        s->active++;

        __sync_synchronize();               /* also a load after a store */

        if (!ngx_http_corral_table_over(ref, service, limits)) {
            hold->ref = ref;
            hold->service = service;
            hold->state = NGX_HTTP_CORRAL_HOLD_RESERVED;
            hold->retry = 0;

            return NGX_OK;
        }

        i->reserved--;
        s->active--;

        ngx_cpu_pause();
    }

    return NGX_BUSY;
}


static ngx_uint_t
ngx_http_corral_table_over(ngx_http_corral_slot_t ref,
    ngx_http_corral_slot_t service, ngx_http_corral_limits_t *limits)
{
    return (limits->instance
            && ngx_http_corral_table_load(ref) > limits->instance)
           || (limits->service
               && ngx_http_corral_table_in_use(service) > limits->service);
}


void
ngx_http_corral_table_activate(ngx_http_corral_hold_t *hold)
{
    ngx_http_corral_count_t  *count;

    if (hold->state != NGX_HTTP_CORRAL_HOLD_RESERVED) {
        return;
    }

    hold->state = NGX_HTTP_CORRAL_HOLD_ACTIVE;

    count = ngx_http_corral_table_column(hold->ref);

    count->active++;
    count->reserved--;
}


void
ngx_http_corral_table_release(ngx_http_corral_hold_t *hold)
{
    ngx_uint_t                state;
    ngx_http_corral_count_t  *count, *service;

    state = hold->state;
    hold->state = NGX_HTTP_CORRAL_HOLD_NONE;

    if (state == NGX_HTTP_CORRAL_HOLD_NONE) {
        return;
    }

    service = ngx_http_corral_table_column(hold->service);

    if (state == NGX_HTTP_CORRAL_HOLD_WAITING) {
        service->ngx_http_corral_count_waiting--;
        return;
    }

    ngx_http_corral_table_tried(hold);

    count = ngx_http_corral_table_column(hold->ref);

    if (state == NGX_HTTP_CORRAL_HOLD_ACTIVE) {
        count->active--;

    } else {
        count->reserved--;
    }

    service->active--;

    __sync_synchronize();       /* who begins to wait sees it, or is seen */

    if (ngx_http_corral_table_freed
        && ngx_http_corral_table_waiting(hold->service))
    {
        ngx_http_corral_table_freed();
    }
}


void
ngx_http_corral_table_wait(ngx_http_corral_slot_t service,
    ngx_http_corral_hold_t *hold)
{
    ngx_http_corral_table_release(hold);

    hold->service = service;
    hold->state = NGX_HTTP_CORRAL_HOLD_WAITING;
    hold->retry = 0;

    ngx_http_corral_table_column(service)->ngx_http_corral_count_waiting++;

    __sync_synchronize();       /* before a look whether a place is free */
}


void
ngx_http_corral_table_retry(ngx_http_corral_hold_t *hold)
{
    if (!hold->retry) {
        hold->retry = 1;
        ngx_http_corral_table_column(hold->service)->retries++;
    }
}


void
ngx_http_corral_table_tried(ngx_http_corral_hold_t *hold)
{
    if (hold->retry) {
        hold->retry = 0;
        ngx_http_corral_table_column(hold->service)->retries--;
    }
}


uint32_t
ngx_http_corral_table_retries(ngx_http_corral_slot_t service)
{
    uint32_t                   n;
    uint64_t                   live;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);
    n = 0;

    if (slot) {
        for (live = ngx_http_corral_sh->live; live; live &= live - 1) {
            n += slot->counts[__builtin_ctzll(live)].retries;
        }
    }

    return n;
}


void
ngx_http_corral_table_move(ngx_http_corral_hold_t *to,
    ngx_http_corral_hold_t *from)
{
    *to = *from;
    from->state = NGX_HTTP_CORRAL_HOLD_NONE;
    from->retry = 0;
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

    return active + reserved + slot->remote;
}


uint32_t
ngx_http_corral_table_in_use(ngx_http_corral_slot_t service)
{
    uint32_t                   active, waiting;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    if (slot == NULL) {
        return 0;
    }

    ngx_http_corral_table_sum(slot, &active, &waiting);

    return active + slot->remote;
}


uint32_t
ngx_http_corral_table_waiting(ngx_http_corral_slot_t service)
{
    uint32_t                   active, waiting;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    if (slot == NULL) {
        return 0;
    }

    ngx_http_corral_table_sum(slot, &active, &waiting);

    return waiting;
}
