/*
 * What the files of the engine share with each other.
 */


#ifndef _CORRALD_ENGINE_LOCAL_H_INCLUDED_
#define _CORRALD_ENGINE_LOCAL_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <corral_schema.h>

#include "../base/loop.h"
#include "../model/state.h"
#include "../store/store.h"
#include "decide_replicas.h"
#include "decide_restart.h"
#include "describe.h"
#include "link.h"
#include "probe.h"


typedef struct corrald_service_s   corrald_service_t;
typedef struct corrald_instance_s  corrald_instance_t;


/* How a process ended: a fact that waits to be stored. */

typedef struct {
    int              code;
    int              signal;
    unsigned         oom:1;
    unsigned         killed:1;       /* by the shim, after stop_timeout */
    unsigned         lost:1;         /* with its shim */
    unsigned         vanished:1;     /* found by nobody */
} corrald_end_t;


/* A service of which an instance is, or may be, run here. */

struct corrald_service_s {
    char                  id[CORRAL_ID_MAX + 1];
    corrald_service_t    *next_dirty;
    unsigned              dirty:1;
    unsigned              ours:1;    /* this node runs it */
    unsigned              creating;  /* commits under way */
    corrald_instance_t   *first;
    size_t                n;
};


/*
 * An instance of this node, as observed.  Its document is in the store and
 * nowhere else.  Rules of its life:
 *
 * 1. It is made when its document appears and ends when that is gone.
 * 2. Answers of the store and of threads find it by id and serial, never by
 *    pointer; link, probe and timer are its own and are closed with it.
 * 3. Facts are written here by callbacks; only corrald_instance_step() acts.
 */

struct corrald_instance_s {
    char                  id[CORRAL_ID_MAX + 1];
    corrald_service_t    *service;
    corrald_instance_t   *next;      /* of the service */
    uint32_t              serial;
    int64_t               created;   /* ms since 1970 */

    /* the wish, set by supervise.c before each step */

    corrald_want_e        want;
    const char           *why;

    /* under way; while one of them is, nothing else begins */

    unsigned              committing:1;
    unsigned              preparing:1;
    unsigned              spawning:1;
    unsigned              clearing:1;    /* survivors are killed */

    /* facts */

    unsigned              met:1;         /* the shim said hello: it is ours */
    unsigned              alive:1;       /* the agent */
    unsigned              ended:1;       /* end is not stored yet */
    unsigned              left:1;        /* the record is on disk, not told */
    unsigned              ready:1;
    unsigned              not_started:1;
    unsigned              not_alive:1;
    unsigned              stopped:1;     /* the stop signal was sent */
    unsigned              adopted:1;
    corrald_end_t         end;
    int64_t               pid;
    int64_t               start_time;
    int64_t               started_at;
    int64_t               ready_since;   /* monotonic */
    const char           *health;        /* of the probe, or NULL */
    const char           *reason;        /* of the probe */
    char                  message[400];
    int64_t               lost_at;       /* monotonic: the shim went, 0: no */
    int64_t               dead_at;       /* the kernel said so, 0: no */
    int64_t               hold_until;    /* after a commit that failed */
    int64_t               kill_at;       /* a stop that was not obeyed */

    /* of draining: see drain.c */

    unsigned              drain_phase;
    unsigned              drain_busy:1;
    int64_t               drain_open;    /* connections, -1: not known */

    corrald_link_t       *link;
    corrald_probe_t      *probe;
    json_t               *probed;        /* the service the probe was made of */
    corrald_timer_t      *timer;
    int64_t               timer_at;
    corrald_restart_t     restart;
    corrald_describe_t   *prepared;
};


/* ---- engine.c: everything is looked at with the next tick ---- */

void corrald_engine_soon(void);


/* ---- supervise.c: services ---- */

/* begin follows the store, -1: no memory; known: what it knew before */

int corrald_supervise_begin(void)
    __attribute__((warn_unused_result));
void corrald_supervise_known(void);
void corrald_supervise_end(void);

int corrald_supervise_active(void);
size_t corrald_supervise_alive(size_t *adopted);
corrald_instance_t *corrald_supervise_find(const char *instance_id);
corrald_instance_t *corrald_supervise_base(const char *base);
void corrald_supervise_wake(corrald_service_t *service);
void corrald_supervise_wake_id(const char *service_id);
void corrald_supervise_all(void);
const json_t *corrald_supervise_document(const corrald_service_t *service,
    int *trusted);


/* ---- instance.c: one step of one instance ---- */

void corrald_instance_step(corrald_instance_t *in);
void corrald_instance_close(corrald_instance_t *in);
void corrald_instance_later(corrald_instance_t *in, int64_t ms);

/* doc is stolen; done is called when it is stored, with the next step after */

typedef void (*corrald_instance_pt)(corrald_instance_t *in, int64_t revision);

void corrald_instance_commit(corrald_instance_t *in, json_t *doc,
    corrald_instance_pt done);

/* A new document {state, reason, message}; NULL without memory. */

json_t *corrald_instance_change(const char *state, const char *reason,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));


/* ---- start.c: from pending to a process ---- */

void corrald_start(corrald_instance_t *in, const json_t *doc);
void corrald_start_connect(corrald_instance_t *in, const json_t *doc);
void corrald_start_acknowledge(corrald_instance_t *in);


/* ---- end.c: from a process to its end ---- */

/* The process ended while its state says that it lives. */

void corrald_end(corrald_instance_t *in, corrald_state_e state);

/*
 * Commits failed, with the time of the next start by the restart policy;
 * more: further members, stolen, or NULL.
 */

void corrald_end_failed(corrald_instance_t *in, int failed,
    const char *reason, json_t *more, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* The end is stored: the shim may forget it. */

void corrald_end_stored(corrald_instance_t *in, int64_t revision);


/* ---- drain.c: from draining to stopping ---- */

void corrald_drain_begin(corrald_instance_t *in, int64_t revision);
void corrald_drain(corrald_instance_t *in, const json_t *doc,
    const json_t *service);


/* ---- adopt.c: shims that nobody asked for ---- */

void corrald_adopt_sweep(void);
void corrald_adopt_soon(void);
size_t corrald_adopt_orphans(void);
void corrald_adopt_close(void);


/* ---- external.c: instances that registered themselves, lost nodes ---- */

void corrald_external_tick(void);


/* report.c */

void corrald_report_tick(void);


/* ---- janitor.c: what has outlived its use ---- */

void corrald_janitor_tick(void);


#endif /* _CORRALD_ENGINE_LOCAL_H_INCLUDED_ */
