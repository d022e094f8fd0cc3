
/*
 * Plans to even the load of a service, for all processes of the zone: how many
 * connections are still to leave each instance, and to come to it.  Whoever
 * moves one takes it from the plan, so that together they move no more than was
 * planned.  All of it is atomics; a process that dies with one that it has
 * taken leaves the plan one short, and the next plan sees it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


static ngx_uint_t ngx_http_corral_table_plan_less(ngx_atomic_t *n);


uint32_t
ngx_http_corral_table_held(ngx_http_corral_slot_t ref)
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


ngx_uint_t
ngx_http_corral_table_plan_begin(ngx_http_corral_slot_t service,
    ngx_msec_t pause)
{
    ngx_atomic_uint_t          plan;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    if (slot == NULL) {
        return 0;
    }

    plan = slot->plan;

    return (plan == 0 || ngx_current_msec - plan >= pause)
           && ngx_atomic_cmp_set(&slot->plan, plan, ngx_current_msec);
}


ngx_uint_t
ngx_http_corral_table_plan_ask(ngx_http_corral_slot_t service, uint32_t number,
    ngx_msec_t time)
{
    ngx_atomic_uint_t          asked;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    if (slot == NULL) {
        return 0;
    }

    asked = slot->asked;

    if (asked == number || !ngx_atomic_cmp_set(&slot->asked, asked, number)) {
        return 0;
    }

    if (time) {
        slot->until = ngx_current_msec + time;
        slot->plan = ngx_current_msec;
    }

    return 1;
}


ngx_msec_t
ngx_http_corral_table_planned(ngx_http_corral_slot_t service)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    return slot ? slot->plan : 0;
}


ngx_uint_t
ngx_http_corral_table_plan_asked(ngx_http_corral_slot_t service)
{
    ngx_atomic_uint_t          until;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);
    until = slot ? slot->until : 0;

    return until && (ngx_msec_int_t) (until - ngx_current_msec) > 0;
}


void
ngx_http_corral_table_plan(ngx_http_corral_slot_t ref, uint32_t leave,
    uint32_t come)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot) {
        slot->come = come;
        slot->leave = leave;
    }
}


uint32_t
ngx_http_corral_table_plan_leave(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    return slot ? slot->leave : 0;
}


uint32_t
ngx_http_corral_table_plan_come(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    return slot ? slot->come : 0;
}


ngx_int_t
ngx_http_corral_table_plan_take(ngx_http_corral_slot_t from,
    ngx_http_corral_slot_t to)
{
    ngx_http_corral_shslot_t  *f, *t;

    f = ngx_http_corral_table_get(from);
    t = ngx_http_corral_table_get(to);

    if (f == NULL || t == NULL || !ngx_http_corral_table_plan_less(&f->leave)) {
        return NGX_DECLINED;
    }

    if (!ngx_http_corral_table_plan_less(&t->come)) {
        (void) ngx_atomic_fetch_add(&f->leave, 1);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


void
ngx_http_corral_table_plan_give(ngx_http_corral_slot_t from,
    ngx_http_corral_slot_t to)
{
    ngx_http_corral_shslot_t  *f, *t;

    f = ngx_http_corral_table_get(from);
    t = ngx_http_corral_table_get(to);

    if (f && t) {
        (void) ngx_atomic_fetch_add(&f->leave, 1);
        (void) ngx_atomic_fetch_add(&t->come, 1);
    }
}


static ngx_uint_t
ngx_http_corral_table_plan_less(ngx_atomic_t *n)
{
    ngx_atomic_uint_t  old;

    do {
        old = *n;

        if (old == 0) {
            return 0;
        }

    } while (!ngx_atomic_cmp_set(n, old, old - 1));

    return 1;
}


void
ngx_http_corral_table_plan_pace(ngx_http_corral_slot_t service, uint64_t pause)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    if (slot) {
        slot->pause = pause;
    }
}


/* Who looks once in a tick may have as many at once as fell due in it. */

ngx_uint_t
ngx_http_corral_table_plan_go(ngx_http_corral_slot_t service, ngx_msec_t tick)
{
    uint64_t                   now;
    ngx_atomic_uint_t          due, next;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(service);

    if (slot == NULL) {
        return 0;
    }

    now = (uint64_t) ngx_current_msec * 1000;
    due = slot->due;
    next = due > now - tick * 1000 ? due : now - tick * 1000;

    return next <= now
           && ngx_atomic_cmp_set(&slot->due, due, next + slot->pause);
}
