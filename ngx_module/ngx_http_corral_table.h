
/*
 * Shared memory: process slots, instance and service slots with their
 * counters, the last registry image.  See ngx_http_corral_table.c.
 */


#ifndef _NGX_HTTP_CORRAL_TABLE_H_INCLUDED_
#define _NGX_HTTP_CORRAL_TABLE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_affinity.h>
#include <corral_revocation.h>
#include <corral_health.h>
#include <corral_report.h>


#define NGX_HTTP_CORRAL_NO_SLOT  0xffffffff


/*
 * What a connection or request holds of an instance and of its service, or
 * that it waits for the service.  The slot may be given to another instance
 * meanwhile: then the sequence differs and every update through the hold is
 * dropped.
 */

typedef struct {
    uint32_t    slot;
    uint32_t    seq;
} ngx_http_corral_slot_t;


typedef enum {
    NGX_HTTP_CORRAL_HOLD_NONE = 0,
    NGX_HTTP_CORRAL_HOLD_RESERVED,
    NGX_HTTP_CORRAL_HOLD_ACTIVE,
    NGX_HTTP_CORRAL_HOLD_WAITING            /* of the service alone */
} ngx_http_corral_hold_e;


typedef struct {
    ngx_http_corral_slot_t  ref;
    ngx_http_corral_slot_t  service;
    uint32_t                state;          /* ngx_http_corral_hold_e */
    uint32_t                retry;          /* counted as a retry, too */
} ngx_http_corral_hold_t;


/*
 * Totals of a slot: raised by any process, never lowered while the slot
 * lives.  X(field, text)
 */

#define NGX_HTTP_CORRAL_TOTALS(X)                                             \
    X(connections,    "WebSockets opened")                                    \
    X(requests,       "requests, WebSocket handshakes included")              \
    X(failures,       "tries that failed")                                    \
    X(retries,        "tries on another instance")                            \
    X(budget,         "retries refused for want of a budget")                 \
    X(rejected,       "requests refused for want of an instance")             \
    X(affinity_hits,  "requests that went to the instance of their session")  \
    X(affinity_moves, "sessions whose instance was gone or full")             \
    X(affinity_misses, "requests with a learned session that is not known")   \
    X(queued,         "requests that waited for an instance")                 \
    X(queue_timeouts, "requests that waited in vain")                         \
    X(queue_aborts,   "requests whose client left while they waited")         \
    X(queue_msec,     "milliseconds that requests waited, summed up")         \
    X(mirrored,       "requests of which a copy was sent")                    \
    X(mirror_dropped, "copies that the other service could not take")         \
    X(mirror_cut,     "copies that were ended as the client was done")        \
    X(ejections,      "times an instance was ejected")                        \
    X(streams,        "event streams that can be resumed")                    \
    X(resumes,        "clients that came back to an event stream")            \
    X(gaps,           "times such a client missed events")                    \
    X(messages_in,    "WebSocket messages from clients")                      \
    X(messages_out,   "WebSocket messages to clients")                        \
    X(bytes_in,       "WebSocket bytes from clients, framing included")       \
    X(bytes_out,      "WebSocket bytes to clients, framing included")         \
    X(closes_normal,  "WebSockets that ended with close code 1000 or 1001")   \
    X(closes_other,   "WebSockets that ended in any other way")               \
    X(moves,          "WebSockets that went on with another instance")        \
    X(moves_refused,  "WebSockets that could not, and were closed")           \
    X(rebalanced,     "WebSockets that left an instance to even the load")    \
    X(replayed,       "WebSocket messages sent again to another instance")    \
    X(suspects,       "WebSocket messages that saw two instances die")        \
    X(closes_protocol, "WebSockets closed for a frame that is broken")        \
    X(closes_size,    "WebSockets closed for a message that is too big")      \
    X(closes_rate,    "WebSockets closed for too many messages")              \
    X(closes_idle,    "WebSockets closed for want of messages")               \
    X(closes_lifetime, "WebSockets closed for their age")                     \
    X(closes_forced,  "WebSockets closed by request")                         \
    X(closes_drained, "WebSockets closed by a drain")                         \
    X(closes_expired, "WebSockets closed as their token expired")             \
    X(closes_revoked, "WebSockets closed as their token was revoked")         \
    X(renewals,       "tokens renewed by a message of the client")            \
    X(renewals_failed, "such messages that were refused")                     \
    X(revoked,        "requests refused as their token was revoked")          \
    X(cut_revoked,    "requests cut off as their token was revoked")          \
    X(unsure,         "requests refused as Redis did not tell what is")       \
    X(closes_dead,    "sides of WebSockets that did not answer a ping")       \
    X(delays,         "times a side was not read for its rate")

#define ngx_http_corral_total_field(field, text)  uint64_t  field;

typedef struct {
    NGX_HTTP_CORRAL_TOTALS(ngx_http_corral_total_field)
} ngx_http_corral_totals_t;


/* What passive health knows of an instance, shared by the workers. */

typedef enum {
    NGX_HTTP_CORRAL_AVAILABLE = 0,
    NGX_HTTP_CORRAL_EJECTED,                /* rests until its time */
    NGX_HTTP_CORRAL_HALF_OPEN               /* one trial is under way */
} ngx_http_corral_avail_e;


/* one row of the metrics and status locations */

typedef struct {
    ngx_str_t                  key;         /* points into the zone */
    uint32_t                   active;      /* sum over live processes; of a
                                               service: reserved, too */
    uint32_t                   reserved;
    uint32_t                   waiting;     /* of a service */
    uint32_t                   remote;      /* held by other gateways */
    ngx_http_corral_avail_e    avail;
    ngx_msec_t                 rest;        /* until it is tried, if ejected */
    ngx_http_corral_totals_t   totals;
} ngx_http_corral_slot_view_t;


typedef struct {
    ngx_pid_t    pid;
    uint64_t     start_time;                /* clock ticks after boot */
    ngx_uint_t   exiting;
} ngx_http_corral_process_view_t;


/* Adds the zone; called once, by the directive corral_zone. */
ngx_shm_zone_t *ngx_http_corral_table_create(ngx_conf_t *cf, ngx_str_t *name,
    size_t size);

/*
 * Takes a process slot for this worker.  Counts of a worker without one (more
 * than 64 processes share the zone) are not seen by others; this is logged.
 */
ngx_int_t ngx_http_corral_table_attach(ngx_cycle_t *cycle,
    ngx_shm_zone_t *zone);

/* Gives the process slot back; all counts of this worker are gone with it. */
void ngx_http_corral_table_detach(void);

/* Once a second: frees slots of dead processes, marks ours as seen. */
void ngx_http_corral_table_tick(void);

/* Marks this process as exiting in the zone. */
void ngx_http_corral_table_exiting(void);

/*
 * When a process was started: field 22 of /proc/PID/stat, 0 if it cannot be
 * read.  With the pid it tells the process from a later one of the same pid.
 */
uint64_t ngx_http_corral_table_start_time(ngx_pid_t pid);

/*
 * Finds or makes the slot of a key ("i:instance_id:incarnation" or
 * "s:service_id", up to 96 bytes).  Returns slot NGX_HTTP_CORRAL_NO_SLOT if
 * the zone is full: the instance works, but is not counted.  Takes the lock.
 */
ngx_http_corral_slot_t ngx_http_corral_table_slot(ngx_str_t *key);

/* The worker still uses the slot; without it for a minute it may be reused. */
void ngx_http_corral_table_seen(ngx_http_corral_slot_t ref);

/*
 * Holds: activate and release are idempotent by their state.
 *
 * reserve takes a place of the instance and of its service.  A limit that is
 * not 0 is kept by all processes of the zone together, also when two of them
 * reserve at the same moment: NGX_BUSY, nothing is held then.
 */

typedef struct {
    uint32_t    instance;
    uint32_t    service;
} ngx_http_corral_limits_t;

ngx_int_t ngx_http_corral_table_reserve(ngx_http_corral_slot_t ref,
    ngx_http_corral_slot_t service, ngx_http_corral_limits_t *limits,
    ngx_http_corral_hold_t *hold);
void ngx_http_corral_table_activate(ngx_http_corral_hold_t *hold);
void ngx_http_corral_table_release(ngx_http_corral_hold_t *hold);

/*
 * A reserved hold is a retry; it is counted as one until the result of the try
 * is there, or it is released.  retries says how many are under way.
 */
void ngx_http_corral_table_retry(ngx_http_corral_hold_t *hold);
void ngx_http_corral_table_tried(ngx_http_corral_hold_t *hold);
uint32_t ngx_http_corral_table_retries(ngx_http_corral_slot_t service);

/* Moves a hold to another owner: from is left without one. */
void ngx_http_corral_table_move(ngx_http_corral_hold_t *to,
    ngx_http_corral_hold_t *from);

/*
 * Waits for the service: counted until the hold is released or reserved with.
 * on_free is called, in the process that releases, whenever a place was given
 * back and somebody in some process of the zone waits for that service.
 */
void ngx_http_corral_table_wait(ngx_http_corral_slot_t service,
    ngx_http_corral_hold_t *hold);
uint32_t ngx_http_corral_table_waiting(ngx_http_corral_slot_t service);
void ngx_http_corral_table_on_free(void (*handler)(void));

/* The place in the round of a service, for all processes: atomic. */
uint32_t *ngx_http_corral_table_cursor(ngx_http_corral_slot_t ref);

/*
 * active plus reserved over all live processes of this zone, and what is known
 * of others: of an instance, and of a service
 */
uint32_t ngx_http_corral_table_load(ngx_http_corral_slot_t ref);
uint32_t ngx_http_corral_table_in_use(ngx_http_corral_slot_t service);

/*
 * May the instance be tried now?  An ejected one whose rest is over becomes
 * half-open for one caller, who gets NGX_HTTP_CORRAL_HALF_OPEN and must report
 * ok or fail; others see it as ejected until then (or until the trial's own
 * time, fail_timeout, is over).  take = 0 only looks.
 */
ngx_http_corral_avail_e ngx_http_corral_table_avail(ngx_http_corral_slot_t ref,
    ngx_uint_t take);

/*
 * Results of an instance: ok ends an ejection.  fail counts failures in a row
 * and returns 1 if the instance is to be ejected: after max_fails of them (0:
 * never), at once if it was tried half-open or hard (refused, reset).
 */
void ngx_http_corral_table_ok(ngx_http_corral_slot_t ref);
ngx_uint_t ngx_http_corral_table_fail(ngx_http_corral_slot_t ref,
    ngx_uint_t max_fails, ngx_uint_t hard);

/* A bad result for the window alone. */
void ngx_http_corral_table_poor(ngx_http_corral_slot_t ref);

/*
 * Ejects for base times the number of ejections, to max, of which each interval
 * since the return is one less.  Returns the time in ms, 0 if it rests already.
 */
ngx_msec_t ngx_http_corral_table_eject(ngx_http_corral_slot_t ref,
    ngx_msec_t base, ngx_msec_t max, ngx_msec_t interval);

/* It is not ejected: failures in a row are counted anew. */
void ngx_http_corral_table_spare(ngx_http_corral_slot_t ref);

/* Is it ejected, or tried half-open? */
ngx_uint_t ngx_http_corral_table_ejected(ngx_http_corral_slot_t ref);

/* 1 for one caller of all workers when an interval of the service is over. */
ngx_uint_t ngx_http_corral_table_look(ngx_http_corral_slot_t ref,
    ngx_msec_t interval);

/* Takes the results since the last call. */
void ngx_http_corral_table_window(ngx_http_corral_slot_t ref,
    corral_health_window_t *window);

/*
 * The time an instance takes to answer (also kept of a service), in ms: sample
 * notes one, latency gives the estimate of now.  Returns 0, and 0.0, if there
 * is no sample yet.
 */
void ngx_http_corral_table_sample(ngx_http_corral_slot_t ref,
    ngx_msec_t latency);
ngx_uint_t ngx_http_corral_table_latency(ngx_http_corral_slot_t ref,
    double *latency);

/*
 * Slow start.  introduce: the instance is eligible; settled: and was so when
 * this gateway began.  Only the first call for an incarnation counts, over all
 * workers and reloads.  ramp: the part of its weight that it has now, of
 * CORRAL_HEALTH_WHOLE.  taken counts one connection more; recent says how many
 * there were in this second.
 */
void ngx_http_corral_table_introduce(ngx_http_corral_slot_t ref,
    ngx_uint_t settled);
uint32_t ngx_http_corral_table_ramp(ngx_http_corral_slot_t ref,
    ngx_msec_t slow_start);
void ngx_http_corral_table_taken(ngx_http_corral_slot_t ref);
uint32_t ngx_http_corral_table_recent(ngx_http_corral_slot_t ref);

/*
 * Adds to totals.  The first is for rare events; the relay collects in local
 * memory (one totals struct per slot index, reached by _local, see below) and
 * flushes: _local marks the slot dirty; _flush adds all dirty ones to the zone.
 */
void ngx_http_corral_table_add(ngx_http_corral_slot_t ref,
    ngx_http_corral_totals_t *delta);
void ngx_http_corral_table_flush(void);

/*
 * Messages that have seen two instances die, by a hash of service and content:
 * the zone remembers the last of them for 60 s, or until drop.  suspects says
 * whether there is any.
 */
void ngx_http_corral_table_suspect_add(uint64_t hash);
ngx_uint_t ngx_http_corral_table_suspect(uint64_t hash);
ngx_uint_t ngx_http_corral_table_suspects(void);
void ngx_http_corral_table_suspect_drop(uint64_t hash);

/* For metrics and status.  Return 0 when the slot or process is not in use. */
ngx_uint_t ngx_http_corral_table_slots(void);
ngx_uint_t ngx_http_corral_table_view(ngx_uint_t slot,
    ngx_http_corral_slot_view_t *view);
ngx_uint_t ngx_http_corral_table_view_ref(ngx_http_corral_slot_t ref,
    ngx_http_corral_slot_view_t *view);
ngx_uint_t ngx_http_corral_table_process(ngx_uint_t i,
    ngx_http_corral_process_view_t *view);

/*
 * Sessions and the slots of their instances; 32 random bytes that live as long
 * as the zone; the key of a slot, in the zone: NGX_DECLINED if it is another's.
 */
corral_affinity_t *ngx_http_corral_table_affinity(void);
void ngx_http_corral_table_secret(ngx_str_t *secret);
ngx_int_t ngx_http_corral_table_key(ngx_http_corral_slot_t ref,
    ngx_str_t *key);

/* Which list of revocations; all zero: that of a store that has none. */

typedef struct {
    u_char       id[16];                    /* of the store, random */
    uint64_t     n;
} ngx_http_corral_revoked_t;

/*
 * What is revoked, for processes that begin when Redis is away.  put: the list
 * of this version, unless a later one of the same store is there or there is no
 * room; NGX_DECLINED then.  get: takes at most max entries, returns how many,
 * 0 if there is none.  heard: Redis has told now; heard_at: when it last has,
 * 0 if it never has.
 */
ngx_int_t ngx_http_corral_table_revocations_put(corral_revocation_t *list,
    ngx_uint_t n, ngx_http_corral_revoked_t *version, ngx_uint_t lost);
ngx_uint_t ngx_http_corral_table_revocations_get(corral_revocation_t *list,
    ngx_uint_t max, ngx_http_corral_revoked_t *version);
void ngx_http_corral_table_revocations_heard(ngx_msec_t at);
ngx_msec_t ngx_http_corral_table_revocations_heard_at(void);

/*
 * The cluster's view.  own: what this process holds of slot i, 0 if nothing.
 * remote_begin says 1 to one process of the zone a second: it is to bring the
 * view up to date with remote_set, by the index of the slots.  remote_tick
 * drops a view that is older than lease seconds.  remote_any: others hold
 * something.  find: the slot of a key that is known, else NO_SLOT; locks.
 */
ngx_uint_t ngx_http_corral_table_own(ngx_uint_t i, ngx_str_t *key,
    uint32_t *count);
ngx_uint_t ngx_http_corral_table_remote_begin(void);
void ngx_http_corral_table_remote_set(uint32_t *counts, ngx_uint_t n);
void ngx_http_corral_table_remote_tick(time_t lease);
ngx_uint_t ngx_http_corral_table_remote_any(void);
uint32_t ngx_http_corral_table_find(ngx_str_t *key);

/*
 * What instances say of themselves, by the index of their slots, packed: set
 * replaces all; tick drops them when they were not set for lease seconds; any:
 * there are some.  report: that of a slot; returns 0 if it says nothing.
 */
void ngx_http_corral_table_report_set(uint64_t *reports, ngx_uint_t n);
void ngx_http_corral_table_report_tick(time_t lease);
ngx_uint_t ngx_http_corral_table_report_any(void);
ngx_uint_t ngx_http_corral_table_report(ngx_http_corral_slot_t ref,
    corral_report_t *report);

/*
 * Rebalancing.  held: what this gateway alone has of the load of an instance.
 *
 * A plan of a service is made by one process of the zone: begin says 1 to it
 * when the one before is older than pause ms; ask says 1 to the first one that
 * comes with this number of a command, whose plan holds for that many ms.  plan
 * then sets how many are to leave an instance and to come to it; planned says
 * when that was, 0 if never, and asked whether the plan of a command holds.
 *
 * leave and come: how many still are.  take takes one of both, NGX_DECLINED if
 * there is none, and give gives it back.  pace sets the us between two of a
 * service, of all processes of the zone; go says 1 to one when it is time.
 */
uint32_t ngx_http_corral_table_held(ngx_http_corral_slot_t ref);
ngx_uint_t ngx_http_corral_table_plan_begin(ngx_http_corral_slot_t service,
    ngx_msec_t pause);
ngx_uint_t ngx_http_corral_table_plan_ask(ngx_http_corral_slot_t service,
    uint32_t number, ngx_msec_t time);
ngx_msec_t ngx_http_corral_table_planned(ngx_http_corral_slot_t service);
ngx_uint_t ngx_http_corral_table_plan_asked(ngx_http_corral_slot_t service);
void ngx_http_corral_table_plan(ngx_http_corral_slot_t ref, uint32_t leave,
    uint32_t come);
uint32_t ngx_http_corral_table_plan_leave(ngx_http_corral_slot_t ref);
uint32_t ngx_http_corral_table_plan_come(ngx_http_corral_slot_t ref);
ngx_int_t ngx_http_corral_table_plan_take(ngx_http_corral_slot_t from,
    ngx_http_corral_slot_t to);
void ngx_http_corral_table_plan_give(ngx_http_corral_slot_t from,
    ngx_http_corral_slot_t to);
void ngx_http_corral_table_plan_pace(ngx_http_corral_slot_t service,
    uint64_t pause);
ngx_uint_t ngx_http_corral_table_plan_go(ngx_http_corral_slot_t service,
    ngx_msec_t tick);

/* The nonce of the zone, 16 hexadecimal digits: changes when it is made anew */
void ngx_http_corral_table_nonce(ngx_str_t *nonce);

/*
 * The registry image (see docs/schema.md). Two buffers: a reader copies the
 * valid one under the lock's absence and checks length and CRC; a writer fills
 * the other one and then switches. write takes the lock only to become the one
 * writer; it returns NGX_DECLINED if a newer or equal revision of the same
 * epoch is there or another writer is at work, NGX_BUSY if the image does not
 * fit. It copies at most 1 MB a call and returns NGX_AGAIN as long as there is
 * more (*pos is 0 at first); abort gives the writer's role back meanwhile.
 * read allocates from the pool; NGX_DECLINED if there is none.
 */
ngx_int_t ngx_http_corral_table_image_write(ngx_str_t *epoch,
    uint64_t revision, ngx_str_t *image, uint32_t crc32, size_t *pos);
void ngx_http_corral_table_image_abort(void);
ngx_int_t ngx_http_corral_table_image_read(ngx_pool_t *pool,
    ngx_str_t *image);

/* epoch and revision of the image without reading it; 0 if there is none */
uint64_t ngx_http_corral_table_image_revision(u_char epoch[65]);


/* what this worker has not yet added to the totals of a slot */

typedef struct {
    ngx_http_corral_totals_t  totals;
    uint32_t                  seq;          /* 0: clean */
} ngx_http_corral_local_t;

extern ngx_http_corral_local_t  *ngx_http_corral_locals;
extern uint32_t                  ngx_http_corral_nlocals;

ngx_http_corral_totals_t *ngx_http_corral_table_local_begin(
    ngx_http_corral_slot_t ref);


/*
 * The relay asks twice for each message: the usual case is inline and does not
 * touch shared memory.  If the slot has another key since, the flush sees it.
 */

static ngx_inline ngx_http_corral_totals_t *
ngx_http_corral_table_local(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_local_t  *local;

    if (ref.slot < ngx_http_corral_nlocals) {
        local = &ngx_http_corral_locals[ref.slot];

        if (local->seq == ref.seq && ref.seq) {
            return &local->totals;
        }
    }

    return ngx_http_corral_table_local_begin(ref);
}


#endif /* _NGX_HTTP_CORRAL_TABLE_H_INCLUDED_ */
