
/*
 * Passive health of an instance, in its slot: failures in a row, ejection and
 * the one trial that ends it, and how long it takes to answer.  Atomics only: a
 * process that dies between two stores leaves an instance ejected for less
 * long, or tried once more.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_health.h>

#include "ngx_http_corral_table_slots.h"


#define NGX_HTTP_CORRAL_EJECT_MAX   4       /* doublings of fail_timeout */


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

    if (slot == NULL || (slot->fails == 0 && slot->ejected == 0)) {
        return;
    }

    /* the doubling is forgotten ten rests after the last ejection */

    if (slot->ejected
        && (ngx_msec_int_t) (ngx_current_msec - slot->ejected)
           > (ngx_msec_int_t) slot->rest * 10)
    {
        slot->times = 0;
    }

    slot->fails = 0;
    slot->trial = 0;
    slot->ejected = 0;
}


ngx_uint_t
ngx_http_corral_table_fail(ngx_http_corral_slot_t ref, ngx_uint_t max_fails,
    ngx_msec_t fail_timeout, ngx_uint_t hard)
{
    ngx_msec_t                 now;
    ngx_uint_t                 fails, times;
    ngx_http_corral_shslot_t  *slot;
    ngx_http_corral_totals_t   delta;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return 0;
    }

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.failures = 1;

    now = ngx_current_msec;
    fails = ngx_atomic_fetch_add(&slot->fails, 1) + 1;

    if (max_fails == 0
        || (!hard && fails < max_fails && slot->ejected == 0)
        || (slot->ejected && (ngx_msec_int_t) (slot->ejected - now) > 0))
    {
        ngx_http_corral_table_add_totals(slot, &delta);
        return 0;
    }

    times = slot->times;

    if (times < NGX_HTTP_CORRAL_EJECT_MAX) {
        slot->times = times + 1;            /* a lost race only ejects less */
    }

    slot->rest = fail_timeout;
    slot->trial = 0;
    slot->ejected = now + (fail_timeout << times);

    delta.ejections = 1;
    ngx_http_corral_table_add_totals(slot, &delta);

    return 1;
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
