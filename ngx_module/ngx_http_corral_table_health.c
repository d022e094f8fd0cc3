
/*
 * Passive health of an instance, in its slot: failures in a row, ejection and
 * the one trial that ends it, how long it takes to answer, and since when it
 * is there.  Atomics only: a process that dies between two stores leaves an
 * instance ejected for less long, or tried once more.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_health.h>

#include "ngx_http_corral_table_slots.h"


ngx_http_corral_avail_e
ngx_http_corral_table_avail(ngx_http_corral_slot_t ref, ngx_uint_t take)
{
    ngx_msec_t                 now, trial;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL || slot->ejected == 0) {
        return NGX_HTTP_CORRAL_AVAILABLE;
    }

    now = ngx_current_msec;

    if ((ngx_msec_int_t) (slot->ejected - now) > 0) {
        return NGX_HTTP_CORRAL_EJECTED;
    }

    trial = slot->trial;

    if (trial && (ngx_msec_int_t) (trial - now) > 0) {
        return NGX_HTTP_CORRAL_EJECTED;     /* somebody's trial is under way */
    }

    if (!take) {
        return NGX_HTTP_CORRAL_HALF_OPEN;
    }

    if (ngx_atomic_cmp_set(&slot->trial, trial, now + slot->rest)) {
        return NGX_HTTP_CORRAL_HALF_OPEN;
    }

    return NGX_HTTP_CORRAL_EJECTED;
}


void
ngx_http_corral_table_ok(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return;
    }

    (void) ngx_atomic_fetch_add(&slot->window, 1);

    if (slot->fails == 0 && slot->ejected == 0) {
        return;
    }

    if (slot->ejected) {
        slot->returned = ngx_current_msec;
    }

    slot->fails = 0;
    slot->trial = 0;
    slot->ejected = 0;
}


ngx_uint_t
ngx_http_corral_table_fail(ngx_http_corral_slot_t ref, ngx_uint_t max_fails,
    ngx_uint_t hard)
{
    ngx_uint_t                 fails;
    ngx_http_corral_shslot_t  *slot;
    ngx_http_corral_totals_t   delta;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return 0;
    }

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.failures = 1;
    ngx_http_corral_table_add_totals(slot, &delta);

    ngx_http_corral_table_poor(ref);
    fails = ngx_atomic_fetch_add(&slot->fails, 1) + 1;

    return max_fails
           && (hard || fails >= max_fails || slot->ejected)
           && !ngx_http_corral_table_rests(slot);
}


void
ngx_http_corral_table_poor(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot) {
        (void) ngx_atomic_fetch_add(&slot->window, (ngx_atomic_int_t) 1 << 32);
    }
}


ngx_msec_t
ngx_http_corral_table_rests(ngx_http_corral_shslot_t *slot)
{
    ngx_msec_int_t  left;

    left = slot->ejected ? slot->ejected - ngx_current_msec : 0;

    return ngx_max(left, 0);
}


void
ngx_http_corral_table_spare(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot) {
        slot->fails = 0;
    }
}


ngx_uint_t
ngx_http_corral_table_ejected(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    return slot && slot->ejected;
}


ngx_msec_t
ngx_http_corral_table_eject(ngx_http_corral_slot_t ref, ngx_msec_t base,
    ngx_msec_t max, ngx_msec_t interval)
{
    ngx_msec_t                 now, rest;
    ngx_uint_t                 times;
    ngx_http_corral_shslot_t  *slot;
    ngx_http_corral_totals_t   delta;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL || ngx_http_corral_table_rests(slot)) {
        return 0;
    }

    now = ngx_current_msec;
    times = slot->times;

    if (slot->ejected == 0) {
        times = corral_health_forgiven(times, now - slot->returned, interval);
    }

    times++;
    rest = corral_health_rest(base, times, max, ngx_random());

    /* a lost race only ejects for less long */

    slot->times = times;
    slot->rest = base;
    slot->trial = 0;
    slot->ejected = now + rest;

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.ejections = 1;
    ngx_http_corral_table_add_totals(slot, &delta);

    return rest;
}


ngx_uint_t
ngx_http_corral_table_look(ngx_http_corral_slot_t ref, ngx_msec_t interval)
{
    ngx_atomic_uint_t          looked;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return 0;
    }

    looked = slot->looked;

    if (looked == 0) {                      /* the first interval begins */
        (void) ngx_atomic_cmp_set(&slot->looked, 0, ngx_current_msec);
        return 0;
    }

    return (ngx_msec_int_t) (ngx_current_msec - looked)
           >= (ngx_msec_int_t) interval
           && ngx_atomic_cmp_set(&slot->looked, looked, ngx_current_msec);
}


void
ngx_http_corral_table_window(ngx_http_corral_slot_t ref,
    corral_health_window_t *window)
{
    uint64_t                   word;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    word = slot ? __atomic_exchange_n(&slot->window, 0, __ATOMIC_RELAXED) : 0;

    window->good = (uint32_t) word;
    window->bad = (uint32_t) (word >> 32);
}


void
ngx_http_corral_table_sample(ngx_http_corral_slot_t ref, ngx_msec_t latency)
{
    ngx_atomic_t               word;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return;
    }

    do {
        word = slot->latency;
    } while (!ngx_atomic_cmp_set(&slot->latency, word,
                 corral_health_sample(word, (uint32_t) ngx_current_msec,
                                      (uint32_t) ngx_min(latency, 0xffffff))));
}


ngx_uint_t
ngx_http_corral_table_latency(ngx_http_corral_slot_t ref, double *latency)
{
    ngx_atomic_t               word;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);
    word = slot ? slot->latency : 0;

    *latency = corral_health_latency(word, (uint32_t) ngx_current_msec);

    return word != 0;
}


void
ngx_http_corral_table_introduce(ngx_http_corral_slot_t ref, ngx_uint_t settled)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot && slot->since == 0) {
        (void) ngx_atomic_cmp_set(&slot->since, 0,
                                  settled ? 1 : ngx_current_msec);
    }
}


uint32_t
ngx_http_corral_table_ramp(ngx_http_corral_slot_t ref, ngx_msec_t slow_start)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL || slot->since <= 1) {
        return CORRAL_HEALTH_WHOLE;
    }

    return corral_health_ramp(slot->since, ngx_current_msec, slow_start);
}


void
ngx_http_corral_table_taken(ngx_http_corral_slot_t ref)
{
    ngx_atomic_t               word;
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return;
    }

    do {
        word = slot->taken;
    } while (!ngx_atomic_cmp_set(&slot->taken, word,
                                 corral_health_rate(word, ngx_current_msec,
                                                    1)));
}


uint32_t
ngx_http_corral_table_recent(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    return slot ? (uint32_t) corral_health_rate(slot->taken, ngx_current_msec,
                                                0)
                : 0;
}
