
/*
 * Registry into the worker, leases, lists and answers out.
 * See ngx_http_corral_sync.c.
 */


#ifndef _NGX_HTTP_CORRAL_SYNC_H_INCLUDED_
#define _NGX_HTTP_CORRAL_SYNC_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    ngx_uint_t    connected;                /* to Redis */
    ngx_uint_t    initialised;              /* the store has an epoch */
    ngx_uint_t    configured;               /* corral_redis is set */
    ngx_uint_t    reconnects;
    ngx_uint_t    loads;                    /* full loads so far */
    ngx_str_t     source;                   /* image, file, redis, none */
} ngx_http_corral_sync_info_t;


/*
 * Called in each worker (and cache-less single process) at its start: loads
 * the image of the zone or, without one, the state file, then follows Redis.
 */
ngx_int_t ngx_http_corral_sync_init(ngx_cycle_t *cycle);

/*
 * Called at the end of the worker, before the table is detached: closes the
 * connections to Redis, takes the lease back if that can be done at once.
 */
void ngx_http_corral_sync_exit(ngx_cycle_t *cycle);

ngx_http_corral_sync_info_t *ngx_http_corral_sync_info(void);

/* A pair was opened or closed: the list is published soon. */
void ngx_http_corral_sync_connections(void);

/*
 * Resumable streams in Redis, each under its key, which is made in the pool and
 * has no data without memory; run has 32 bytes, and belongs to who began it:
 * tenant and subject, if there are any, are in the key.  start makes a run and
 * must come first; add gives event seq, from 1, and leaves about max of them;
 * keep lets the run live for keep ms from now on; end says that it is over,
 * lost: before its end.  None waits; without Redis they do nothing.
 *
 * get asks for events from seq on, that one included, and calls handler with at
 * most so many of them (1 to 128), none if there is no such run; with NULL when
 * Redis refuses, or never, when it is lost.
 */

typedef struct {
    uint64_t      seq;
    ngx_str_t     event;
    unsigned      end:1;                    /* no event: the run is over */
    unsigned      lost:1;
} ngx_http_corral_sync_event_t;

typedef void (*ngx_http_corral_sync_run_pt)(void *data, ngx_uint_t n,
    ngx_http_corral_sync_event_t *events);

ngx_uint_t ngx_http_corral_sync_run_ready(void);
ngx_str_t ngx_http_corral_sync_run_key(ngx_pool_t *pool,
    ngx_str_t *service_id, u_char *run, ngx_str_t *tenant,
    ngx_str_t *subject);
void ngx_http_corral_sync_run_start(ngx_str_t *key, ngx_msec_t keep);
void ngx_http_corral_sync_run_add(ngx_str_t *key, uint64_t seq,
    ngx_str_t *event, ngx_uint_t max);
void ngx_http_corral_sync_run_keep(ngx_str_t *key, ngx_msec_t keep);
void ngx_http_corral_sync_run_end(ngx_str_t *key, uint64_t seq,
    ngx_msec_t keep, ngx_uint_t lost);
void ngx_http_corral_sync_run_get(ngx_str_t *key, uint64_t seq,
    ngx_uint_t most, ngx_http_corral_sync_run_pt handler, void *data);

/*
 * Sessions in Redis, owner is "instance_id:incarnation".  set and get let them
 * live for ttl ms from then on.  get calls handler with data and an owner that
 * is empty if there is none, or never, when Redis is lost; all callers have the
 * same handler.  Keys are made in the pool.
 */
typedef void (*ngx_http_corral_sync_session_pt)(void *data, ngx_str_t *owner);

ngx_uint_t ngx_http_corral_sync_session_ready(void);
void ngx_http_corral_sync_session_set(ngx_pool_t *pool, uint64_t session,
    ngx_str_t *owner, ngx_msec_t ttl);
void ngx_http_corral_sync_session_drop(ngx_pool_t *pool, uint64_t session);
void ngx_http_corral_sync_session_get(ngx_pool_t *pool, uint64_t session,
    ngx_msec_t ttl, ngx_http_corral_sync_session_pt handler, void *data);

/* So many requests wait in this worker for a service: told at once. */
void ngx_http_corral_sync_waiting(ngx_str_t *service_id, ngx_uint_t waiting);


#endif /* _NGX_HTTP_CORRAL_SYNC_H_INCLUDED_ */
