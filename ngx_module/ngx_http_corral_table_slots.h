
/*
 * The layout of the zone, for ngx_http_corral_table*.c alone: one array of
 * slots, one column of counts for each process, two images.
 */


#ifndef _NGX_HTTP_CORRAL_TABLE_SLOTS_H_INCLUDED_
#define _NGX_HTTP_CORRAL_TABLE_SLOTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_affinity.h>
#include <corral_revocation.h>

#include "ngx_http_corral_table.h"


#define NGX_HTTP_CORRAL_PROCESSES   64      /* one bit each of a 64-bit mask */
#define NGX_HTTP_CORRAL_KEY_LEN     96      /* "i:" id 64 ":" incarnation 10 */
#define NGX_HTTP_CORRAL_SUSPECTS    256


/*
 * What one process holds of an instance: active and reserved.  Of a service:
 * both together in active, and how many wait in the other one.
 */

typedef struct {
    volatile uint32_t            active;
    volatile uint16_t            reserved;  /* for moments only */
    volatile uint16_t            retries;   /* under way, of a service */
} ngx_http_corral_count_t;

#define ngx_http_corral_count_waiting  reserved


typedef struct {
    uint32_t                     seq;       /* 0: never given out */
    uint32_t                     next;      /* of its bucket */
    uint32_t                     hash;
    uint32_t                     len;
    u_char                       key[NGX_HTTP_CORRAL_KEY_LEN];
    ngx_atomic_t                 seen;      /* ngx_time() of the last sight */

    ngx_atomic_t                 fails;     /* in a row */
    ngx_atomic_t                 ejected;   /* msec until, 0: available */
    ngx_atomic_t                 trial;     /* msec until the next trial */
    ngx_atomic_t                 times;     /* ejections, less forgiven ones */
    ngx_atomic_t                 returned;  /* msec of the last return */
    ngx_atomic_t                 window;    /* bad << 32 | good, results since
                                               the last look */
    ngx_atomic_t                 looked;    /* msec, of a service */
    ngx_atomic_t                 rest;      /* fail_timeout, msec */
    ngx_atomic_t                 latency;   /* see corral_health_sample() */
    ngx_atomic_t                 since;     /* msec, first seen eligible; 0:
                                               not yet, 1: always was */
    ngx_atomic_t                 taken;     /* see corral_health_rate() */
    uint32_t                     cursor;    /* of a service's round robin */
    volatile uint32_t            remote;    /* held by other zones */
    ngx_atomic_t                 report;    /* see corral_report_pack() */

    /* see ngx_http_corral_table_rebalance.c */

    ngx_atomic_t                 leave;     /* are still to leave it */
    ngx_atomic_t                 come;      /* are still to come to it */
    ngx_atomic_t                 plan;      /* msec it was made, of a service */
    ngx_atomic_t                 asked;     /* by which command, hashed */
    ngx_atomic_t                 until;     /* msec, that plan holds */
    ngx_atomic_t                 pause;     /* us between two that go */
    ngx_atomic_t                 due;       /* us, when one may go */

    ngx_http_corral_totals_t     totals;
    ngx_http_corral_count_t      counts[NGX_HTTP_CORRAL_PROCESSES];
} ngx_http_corral_shslot_t;


typedef struct {
    ngx_pid_t                    pid;       /* 0: the column is free */
    uint64_t                     start_time;
    ngx_atomic_t                 exiting;
    ngx_uint_t                   cleared;   /* slots, of who has left */
} ngx_http_corral_process_t;


typedef struct {
    u_char                      *data;
    size_t                       len;
    uint64_t                     revision;
    uint32_t                     crc32;
    u_char                       epoch[65];
} ngx_http_corral_image_t;


/* messages that have seen two instances die */

typedef struct {
    ngx_atomic_t                 until;     /* ngx_time() of the youngest */
    ngx_atomic_t                 next;
    struct {
        ngx_atomic_t             hash;
        ngx_atomic_t             until;
    } entries[NGX_HTTP_CORRAL_SUSPECTS];
} ngx_http_corral_suspects_t;


typedef struct {
    u_char                       nonce[16];
    ngx_atomic_t                 live;      /* bit i: process i is in use */
    ngx_http_corral_process_t    processes[NGX_HTTP_CORRAL_PROCESSES];

    ngx_uint_t                   nslots;
    ngx_uint_t                   used;      /* slots given out, from below */
    ngx_uint_t                   nbuckets;  /* a power of two */
    uint32_t                    *buckets;
    ngx_http_corral_shslot_t    *slots;

    ngx_http_corral_suspects_t   suspects;

    size_t                       image_size;
    ngx_atomic_t                 current;   /* image 0 or 1, 2: none */
    ngx_pid_t                    writer;    /* of the other image */
    ngx_http_corral_image_t      images[2];

    ngx_atomic_t                 remote_at;     /* msec, last look */
    ngx_atomic_t                 remote_read;   /* time of what is known */
    ngx_atomic_t                 remote_any;
    ngx_atomic_t                 report_read;   /* time of what is known */
    ngx_atomic_t                 report_any;

    corral_affinity_t            affinity;
    u_char                       secret[32];

    /* what is revoked, under the lock but for the time */

    ngx_uint_t                   nrevocations;    /* room */
    ngx_uint_t                   revoked;         /* entries */
    uint32_t                     revoked_crc32;
    ngx_http_corral_revoked_t    revoked_version;
    ngx_atomic_t                 revoked_heard;   /* msec, 0: never */
    corral_revocation_t         *revocations;
} ngx_http_corral_shctx_t;


/* of this worker: the zone, its lock, the column that this process writes */
extern ngx_http_corral_shctx_t  *ngx_http_corral_sh;
extern ngx_slab_pool_t          *ngx_http_corral_shpool;
extern ngx_uint_t                ngx_http_corral_column;

/* the slot that ref still means, or NULL */
ngx_http_corral_shslot_t *ngx_http_corral_table_get(
    ngx_http_corral_slot_t ref);

/* ms that an ejected slot still rests; 0: not ejected, or to be tried */
ngx_msec_t ngx_http_corral_table_rests(ngx_http_corral_shslot_t *slot);

/* Adds to the totals of a slot, atomically. */
void ngx_http_corral_table_add_totals(ngx_http_corral_shslot_t *slot,
    ngx_http_corral_totals_t *delta);

/*
 * ngx_http_corral_table_process.c.  enter: gives this process a column; logs if
 * none is free.  leave: gives it back.  tick: clears those of dead processes.
 */
void ngx_http_corral_table_process_enter(ngx_log_t *log);
void ngx_http_corral_table_process_leave(void);
void ngx_http_corral_table_process_tick(void);

/* The suspects of this worker's zone. */
void ngx_http_corral_table_suspect_init(ngx_http_corral_suspects_t *suspects);

/* Sums of a slot over all live processes. */
void ngx_http_corral_table_sum(ngx_http_corral_shslot_t *slot,
    uint32_t *active, uint32_t *reserved);


#endif /* _NGX_HTTP_CORRAL_TABLE_SLOTS_H_INCLUDED_ */
