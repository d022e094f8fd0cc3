
/*
 * Passive health of a service: which of its instances are ejected for what they
 * did, so that not too many are, and whether its circuit is open.  What is
 * known of one instance is in its slot; the comparison of all of them is made
 * by whichever worker has a result when an interval is over.
 */


#include "ngx_http_corral_registry_entries.h"


static void ngx_http_corral_registry_look(ngx_http_corral_service_t *o);
static void ngx_http_corral_registry_compare(ngx_http_corral_service_t *o);
static void ngx_http_corral_registry_eject(ngx_http_corral_service_t *o,
    ngx_http_corral_slot_t ref, char *why);
static uint32_t ngx_http_corral_registry_room(ngx_http_corral_service_t *o);


void
ngx_http_corral_registry_good(ngx_str_t *service, ngx_http_corral_slot_t ref)
{
    ngx_http_corral_table_ok(ref);

    ngx_http_corral_registry_look(ngx_http_corral_registry_find(service));
}


void
ngx_http_corral_registry_poor(ngx_str_t *service, ngx_http_corral_slot_t ref)
{
    ngx_http_corral_table_poor(ref);

    ngx_http_corral_registry_look(ngx_http_corral_registry_find(service));
}


void
ngx_http_corral_registry_bad(ngx_str_t *service, ngx_http_corral_slot_t ref,
    ngx_uint_t hard)
{
    ngx_http_corral_service_t  *o;

    o = ngx_http_corral_registry_find(service);

    /* of a service that is gone nothing is ejected */

    if (ngx_http_corral_table_fail(ref, o ? o->eject.max_fails : 0, hard)) {

        if (hard) {
            ngx_http_corral_registry_eject(o, ref,
                                           "refuses or resets connections");

        } else if (ngx_http_corral_table_ejected(ref)
                   || ngx_http_corral_registry_room(o))
        {
            ngx_http_corral_registry_eject(o, ref, "fails again and again");

        } else {
            ngx_http_corral_table_spare(ref);
        }
    }

    ngx_http_corral_registry_look(o);
}


void
ngx_http_corral_registry_circuit(ngx_str_t *service, ngx_uint_t good)
{
    ngx_msec_t                  rest;
    ngx_http_corral_totals_t    delta;
    ngx_http_corral_service_t  *o;

    o = ngx_http_corral_registry_find(service);

    if (o == NULL) {
        return;
    }

    if (good) {

        /* a word that all workers write for each request: only if needed */

        if (o->eject.circuit_failures
            || ngx_http_corral_table_ejected(o->terms.ref))
        {
            ngx_http_corral_table_ok(o->terms.ref);
        }

        return;
    }

    if (o->eject.circuit_failures == 0) {
        ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
        delta.failures = 1;
        ngx_http_corral_table_add(o->terms.ref, &delta);

        return;
    }

    /* the slot of the service rests as that of an instance does */

    if (!ngx_http_corral_table_fail(o->terms.ref, o->eject.circuit_failures, 0))
    {
        return;
    }

    rest = ngx_http_corral_table_eject(o->terms.ref, o->eject.circuit_timeout,
                                       o->eject.circuit_timeout, 0);
    if (rest) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral upstream: all tries of service \"%V\" fail, its "
                      "circuit is open for %M ms", &o->name, rest);
    }
}


static void
ngx_http_corral_registry_look(ngx_http_corral_service_t *o)
{
    if (o && o->eject.max_fails
        && ngx_http_corral_table_look(o->terms.ref, o->eject.interval))
    {
        ngx_http_corral_registry_compare(o);
    }
}


/* an interval is over: the results of all instances beside each other */

static void
ngx_http_corral_registry_compare(ngx_http_corral_service_t *o)
{
    uint8_t                 *out;
    uint32_t                 i, room;
    corral_health_window_t  *windows;

    windows = ngx_alloc(o->n * (sizeof(corral_health_window_t) + 1) + 1,
                        ngx_cycle->log);
    if (windows == NULL) {
        return;
    }

    out = (uint8_t *) (windows + o->n);

    for (i = 0; i < o->n; i++) {
        ngx_http_corral_table_window(o->instances[i].ref, &windows[i]);
    }

    room = ngx_http_corral_registry_room(o);

    if (corral_health_outliers(windows, o->n, &o->eject.limits, out) == 0) {
        room = 0;
    }

    for (i = 0; i < o->n && room; i++) {

        if (out[i] && !ngx_http_corral_table_ejected(o->instances[i].ref)) {
            room--;
            ngx_http_corral_registry_eject(o, o->instances[i].ref,
                out[i] == 1 ? "fails too much of its requests"
                            : "fails more than the others");
        }
    }

    ngx_free(windows);
}


static void
ngx_http_corral_registry_eject(ngx_http_corral_service_t *o,
    ngx_http_corral_slot_t ref, char *why)
{
    ngx_str_t                    key;
    ngx_msec_t                   rest;
    ngx_http_corral_slot_view_t  view;

    rest = ngx_http_corral_table_eject(ref, o->eject.fail_timeout,
                                       o->eject.max_time, o->eject.interval);

    if (rest == 0 || !ngx_http_corral_table_view_ref(ref, &view)) {
        return;
    }

    /* "i:", the id, ":", the incarnation */

    key.data = view.key.data + 2;
    key.len = view.key.len - 2;

    while (key.len && key.data[key.len] != ':') {
        key.len--;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "corral upstream: instance \"%V\" of service \"%V\" %s, it "
                  "rests for %M ms", &key, &o->name, why, rest);
}


/* how many more may be ejected for what they answer; one always may */

static uint32_t
ngx_http_corral_registry_room(ngx_http_corral_service_t *o)
{
    uint32_t  i, ejected, most;

    for (i = 0, ejected = 0; i < o->n; i++) {
        ejected += ngx_http_corral_table_ejected(o->instances[i].ref);
    }

    most = (uint64_t) o->n * o->eject.max_ejected / 100;
    most = ngx_max(most, 1);

    return ejected < most ? most - ejected : 0;
}
