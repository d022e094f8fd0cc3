/*
 * Asks instances whether they work, again and again, and turns the answers
 * into health.
 *
 *     startup     until it passes; then never again
 *     readiness   first at short intervals until it passes: ready; then at its
 *                 own interval: health
 *     liveness    after startup, at its own interval; its failure is the end
 *                 of the process
 *
 * Each check has a timer and at most one question under way; all run beside
 * each other.  Only changes are told.  Results are kept in memory, the last
 * ten of each check; nothing here is stored.
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/clock.h"
#include "../base/crypt.h"
#include "../base/loop.h"
#include "../base/map.h"
#include "../model/doc.h"
#include "../store/store.h"
#include "decide_health.h"
#include "describe.h"
#include "probe.h"
#include "prober.h"
#include "spawn.h"


typedef enum {
    CORRALD_PROBE_STARTUP_CHECK = 0,
    CORRALD_PROBE_READINESS_CHECK,
    CORRALD_PROBE_LIVENESS_CHECK,
    CORRALD_PROBE_CHECKS
} corrald_probe_kind_e;


typedef struct {
    corrald_probe_t           *probe;
    corrald_probe_kind_e       kind;
    const char                *type;     /* NULL: there is none */
    const char                *path;
    json_t                    *def;      /* of the service, or NULL */
    int64_t                    interval;
    int64_t                    timeout;
    int64_t                    delay;    /* before the first */
    unsigned                   running:1;
    unsigned                   attempts;
    int64_t                    since;    /* monotonic, when it began */
    corrald_timer_t           *timer;
    corrald_prober_t          *prober;
    corrald_decide_health_t    health;
    size_t                     nresults;
    corrald_prober_result_t   *results;  /* newest first */
} corrald_probe_check_t;


struct corrald_probe_s {
    char                       id[CORRAL_ID_MAX + 8];
    char                       nonce[40];
    uint32_t                   incarnation;
    char                      *address;
    json_t                    *service;
    corrald_probe_pt           handler;
    void                      *data;
    unsigned                   ready:1;
    unsigned                   stopped:1;
    unsigned                   jobs;     /* threads that still point here */
    corrald_timer_t           *timer;
    corrald_probe_check_t      checks[CORRALD_PROBE_CHECKS];
};


/* A description that is made on a thread for a check of type exec. */

typedef struct {
    corrald_probe_check_t     *check;
    corrald_describe_t        *describe;
    int                        rc;
} corrald_probe_job_t;


static void corrald_probe_check_init(corrald_probe_t *p,
    corrald_probe_kind_e kind);
static void corrald_probe_begin(void *data);
static void corrald_probe_check_begin(corrald_probe_check_t *c);
static void corrald_probe_check_end(corrald_probe_check_t *c);
static void corrald_probe_next(corrald_probe_check_t *c);
static void corrald_probe_ask(void *data);
static void corrald_probe_ask_exec(corrald_probe_check_t *c);
static void corrald_probe_job(void *data);
static void corrald_probe_job_done(void *data);
static void corrald_probe_answer(const corrald_prober_result_t *result,
    void *data);
static void corrald_probe_told(corrald_probe_check_t *c, const char *words);
static void corrald_probe_result(corrald_probe_check_t *c,
    const corrald_prober_result_t *result);
static void corrald_probe_judge(corrald_probe_check_t *c, int changed,
    const char *message);
static int corrald_probe_eager(const corrald_probe_check_t *c);
static void corrald_probe_free(corrald_probe_t *p);
static json_t *corrald_probe_check_report(const corrald_probe_check_t *c);
static uint32_t corrald_probe_random(void);


static const char  *corrald_probe_members[] = {
    "startup_probe", "readiness_probe", "liveness_probe"
};

static const char  *corrald_probe_kinds[] = {
    "startup", "readiness", "liveness"
};

static corrald_map_t  corrald_probe_all;     /* by instance_id */


corrald_probe_t *
corrald_probe_start(const char *instance_id, json_t *service,
    const char *address, uint32_t incarnation, const char *nonce, int ready,
    corrald_probe_pt handler, void *data)
{
    int               i;
    corrald_probe_t  *p;

    p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return NULL;
    }

    p->address = strdup(address);
    p->service = json_incref(service);
    p->handler = handler;
    p->data = data;
    p->ready = (unsigned) ready & 1;
    p->incarnation = incarnation;
    (void) snprintf(p->id, sizeof(p->id), "%s", instance_id);
    (void) snprintf(p->nonce, sizeof(p->nonce), "%s", nonce);

    for (i = 0; i < CORRALD_PROBE_CHECKS; i++) {
        corrald_probe_check_init(p, (corrald_probe_kind_e) i);
    }

    p->timer = corrald_loop_timer(0, 0, corrald_probe_begin, p);

    if (p->address == NULL || p->timer == NULL
        || corrald_map_set(&corrald_probe_all, p->id, p) != 0)
    {
        corrald_loop_timer_stop(&p->timer);
        corrald_probe_free(p);
        return NULL;
    }

    return p;
}


/* NULL is allowed. */

void
corrald_probe_stop(corrald_probe_t **probe)
{
    int               i;
    corrald_probe_t  *p;

    p = *probe;
    *probe = NULL;

    if (p == NULL) {
        return;
    }

    p->stopped = 1;
    corrald_loop_timer_stop(&p->timer);

    for (i = 0; i < CORRALD_PROBE_CHECKS; i++) {
        corrald_probe_check_end(&p->checks[i]);
    }

    if (corrald_map_get(&corrald_probe_all, p->id) == p) {
        (void) corrald_map_del(&corrald_probe_all, p->id);
    }

    if (p->jobs == 0) {
        corrald_probe_free(p);
    }
}


int
corrald_probe_same(const json_t *one, const json_t *two)
{
    int      i;
    json_t  *a, *b;

    if (corrald_doc_bool(one, "health_check_enabled")
        != corrald_doc_bool(two, "health_check_enabled"))
    {
        return 0;
    }

    for (i = 0; i < CORRALD_PROBE_CHECKS; i++) {
        a = json_object_get(one, corrald_probe_members[i]);
        b = json_object_get(two, corrald_probe_members[i]);

        if (a != b && !json_equal(a, b)) {
            return 0;
        }
    }

    return 1;
}


static void
corrald_probe_check_init(corrald_probe_t *p, corrald_probe_kind_e kind)
{
    json_t                 *def;
    corrald_probe_check_t  *c;

    c = &p->checks[kind];
    c->probe = p;
    c->kind = kind;

    if (!corrald_doc_bool(p->service, "health_check_enabled")) {
        return;
    }

    def = json_object_get(p->service, corrald_probe_members[kind]);

    if (json_is_object(def)) {

        if (strcmp(corrald_doc_str(def, "type"), "none") == 0) {
            return;
        }

        c->def = def;
        c->type = corrald_doc_str(def, "type");
        c->path = corrald_doc_str(def, "path");
        c->interval = corrald_doc_ms(def, "interval");
        c->timeout = corrald_doc_ms(def, "timeout");
        c->delay = corrald_doc_ms(def, "initial_delay");
        corrald_decide_health_init(&c->health,
                                   corrald_doc_int(def, "success_threshold"),
                                   corrald_doc_int(def, "failure_threshold"));
        return;
    }

    if (kind == CORRALD_PROBE_READINESS_CHECK) {
        c->type = "tcp";
        c->path = "/";
        c->interval = 10000;
        c->timeout = 5000;
        corrald_decide_health_init(&c->health, 1, 3);
    }
}


static void
corrald_probe_begin(void *data)
{
    corrald_probe_t        *p;
    corrald_probe_check_t  *c;

    p = data;
    p->timer = NULL;

    c = p->checks;

    if (!p->ready && c[CORRALD_PROBE_STARTUP_CHECK].type != NULL) {
        corrald_probe_check_begin(&c[CORRALD_PROBE_STARTUP_CHECK]);
        return;
    }

    if (c[CORRALD_PROBE_LIVENESS_CHECK].type != NULL) {
        corrald_probe_check_begin(&c[CORRALD_PROBE_LIVENESS_CHECK]);
    }

    if (c[CORRALD_PROBE_READINESS_CHECK].type != NULL) {
        corrald_probe_check_begin(&c[CORRALD_PROBE_READINESS_CHECK]);
        return;
    }

    if (!p->ready) {
        p->ready = 1;
        p->handler(CORRALD_PROBE_READY, "unknown", "no_probe",
                   "there is no readiness probe: running is ready", p->data);
    }
}


static void
corrald_probe_check_begin(corrald_probe_check_t *c)
{
    c->running = 1;
    c->since = corrald_clock_monotonic();
    c->timer = corrald_loop_timer((uint64_t) c->delay, 0, corrald_probe_ask,
                                  c);
}


static void
corrald_probe_check_end(corrald_probe_check_t *c)
{
    c->running = 0;
    corrald_loop_timer_stop(&c->timer);
    corrald_prober_cancel(&c->prober);
}


/* The next question; the interval is between the starts of two. */

static void
corrald_probe_next(corrald_probe_check_t *c)
{
    int64_t   spent;
    uint64_t  wait;

    if (!c->running) {
        return;
    }

    if (corrald_probe_eager(c)) {
        wait = corrald_decide_health_eager(c->attempts,
                                           corrald_probe_random());

    } else {
        wait = corrald_decide_health_interval(c->interval,
                                              corrald_probe_random());
        spent = c->nresults ? c->results[0].duration : 0;
        wait -= (spent < (int64_t) wait) ? (uint64_t) spent : wait;
    }

    c->timer = corrald_loop_timer(wait, 0, corrald_probe_ask, c);
}


/* Readiness that was never reached is asked for often. */

static int
corrald_probe_eager(const corrald_probe_check_t *c)
{
    return c->kind == CORRALD_PROBE_READINESS_CHECK && !c->probe->ready;
}


static void
corrald_probe_ask(void *data)
{
    corrald_prober_ask_t    ask;
    corrald_probe_check_t  *c;

    c = data;
    c->timer = NULL;
    c->attempts++;

    if (strcmp(c->type, "exec") == 0) {
        corrald_probe_ask_exec(c);
        return;
    }

    memset(&ask, 0, sizeof(ask));
    ask.type = strcmp(c->type, "http") == 0 ? CORRALD_PROBER_HTTP
             : strcmp(c->type, "websocket") == 0 ? CORRALD_PROBER_WEBSOCKET
             : strcmp(c->type, "agent_check") == 0 ? CORRALD_PROBER_AGENT
             : CORRALD_PROBER_TCP;
    ask.timeout = c->timeout;
    ask.address = c->probe->address;
    ask.path = c->path;
    ask.port = c->def ? (uint16_t) corrald_doc_int(c->def, "port") : 0;

    c->prober = corrald_prober_start(&ask, corrald_probe_answer, c);

    if (c->prober == NULL) {
        corrald_probe_next(c);
    }
}


static void
corrald_probe_ask_exec(corrald_probe_check_t *c)
{
    uint16_t              port;
    corrald_probe_t      *p;
    corrald_address_t     address;
    corrald_probe_job_t  *job;

    p = c->probe;
    port = 0;

    if (corrald_address_parse(p->address, &address) == 0) {
        port = (uint16_t) corrald_address_port(&address);
    }

    job = calloc(1, sizeof(*job));

    if (job != NULL) {
        job->check = c;
        job->describe = corrald_describe_create(p->service, p->id,
                                                p->incarnation, p->nonce,
                                                port);
    }

    if (job == NULL || job->describe == NULL) {
        free(job);
        corrald_probe_next(c);
        return;
    }

    job->describe->probe = c->def;

    if (corrald_loop_work(corrald_probe_job, corrald_probe_job_done, job)
        != 0)
    {
        corrald_describe_free(job->describe);
        free(job);
        corrald_probe_next(c);
        return;
    }

    p->jobs++;
}


static void
corrald_probe_job(void *data)
{
    corrald_probe_job_t  *job;

    job = data;
    job->rc = corrald_describe(job->describe);
}


static void
corrald_probe_job_done(void *data)
{
    corrald_probe_t          *p;
    corrald_probe_job_t      *job;
    corrald_prober_ask_t      ask;
    corrald_probe_check_t    *c;
    corrald_prober_result_t   result;

    job = data;
    c = job->check;
    p = c->probe;
    p->jobs--;

    if (!p->stopped && c->running && job->rc == 0) {

        memset(&ask, 0, sizeof(ask));
        ask.type = CORRALD_PROBER_EXEC;
        ask.timeout = c->timeout;
        ask.shim = corrald_spawn_shim();
        ask.description = job->describe->text;
        ask.len = job->describe->len;
        job->describe->text = NULL;

        c->prober = corrald_prober_start(&ask, corrald_probe_answer, c);

        if (c->prober == NULL) {
            corrald_probe_next(c);
        }

    } else if (!p->stopped && c->running) {

        memset(&result, 0, sizeof(result));
        result.at = corrald_clock_ms();
        (void) snprintf(result.message, sizeof(result.message), "%.255s",
                        job->describe->err);
        corrald_probe_result(c, &result);
    }

    corrald_describe_free(job->describe);
    free(job);

    if (p->stopped && p->jobs == 0) {
        corrald_probe_free(p);
    }
}


static void
corrald_probe_answer(const corrald_prober_result_t *result, void *data)
{
    corrald_probe_check_t  *c;

    c = data;
    c->prober = NULL;

    if (result->words[0] != '\0') {
        corrald_probe_told(c, result->words);
    }

    corrald_probe_result(c, result);
}


/* What it says of itself holds until it could have been asked three times. */

static void
corrald_probe_told(corrald_probe_check_t *c, const char *words)
{
    json_t  *load;

    load = json_pack("{s:s}", "agent", words);

    if (load != NULL) {
        corrald_store_heartbeat(c->probe->id, load,
                                3 * c->interval + c->timeout, NULL, NULL);
        json_decref(load);
    }
}


static void
corrald_probe_result(corrald_probe_check_t *c,
    const corrald_prober_result_t *result)
{
    int  changed;

    /* without memory for them the probe still works */

    if (c->results == NULL) {
        c->results = calloc(CORRALD_PROBE_RESULTS, sizeof(c->results[0]));
    }

    if (c->results != NULL) {
        memmove(&c->results[1], &c->results[0],
                (CORRALD_PROBE_RESULTS - 1) * sizeof(c->results[0]));
        c->results[0] = *result;
        c->nresults += (c->nresults < CORRALD_PROBE_RESULTS);
    }

    changed = corrald_decide_health(&c->health, result->ok);

    corrald_probe_next(c);

    /* the last thing: the handler may stop the probe */

    corrald_probe_judge(c, changed, result->message);
}


static void
corrald_probe_judge(corrald_probe_check_t *c, int changed, const char *message)
{
    char                    text[400];
    int64_t                 waited;
    corrald_probe_t        *p;
    corrald_probe_state_e   state;

    p = c->probe;
    state = c->health.state;

    (void) snprintf(text, sizeof(text), "%s probe (%s): %s",
                    corrald_probe_kinds[c->kind], c->type, message);

    switch (c->kind) {

    case CORRALD_PROBE_STARTUP_CHECK:

        if (state == CORRALD_PROBE_PASSING) {
            corrald_probe_check_end(c);
            c->type = NULL;
            corrald_probe_begin(p);

        } else if (state == CORRALD_PROBE_FAILING) {
            corrald_probe_check_end(c);
            p->handler(CORRALD_PROBE_NOT_STARTED, "unknown",
                       "startup_timeout", text, p->data);
        }

        return;

    case CORRALD_PROBE_LIVENESS_CHECK:

        if (state == CORRALD_PROBE_FAILING) {
            corrald_probe_check_end(c);
            p->handler(CORRALD_PROBE_NOT_ALIVE, "unhealthy",
                       "liveness_failed", text, p->data);
        }

        return;

    default:
        break;
    }

    if (!p->ready) {

        if (state == CORRALD_PROBE_PASSING) {
            p->ready = 1;

            /* it was asked often until now */

            corrald_loop_timer_stop(&c->timer);
            corrald_probe_next(c);

            p->handler(CORRALD_PROBE_READY, "healthy", "probe_passed", text,
                       p->data);
            return;
        }

        waited = corrald_clock_monotonic() - c->since;

        if (waited > CORRALD_PROBE_STARTUP) {
            corrald_probe_check_end(c);
            p->handler(CORRALD_PROBE_NOT_STARTED, "unknown",
                       "startup_timeout", text, p->data);
        }

        return;
    }

    if (!changed) {
        return;
    }

    p->handler(CORRALD_PROBE_HEALTH,
               state == CORRALD_PROBE_PASSING ? "healthy"
               : state == CORRALD_PROBE_WORRYING ? "degraded" : "unhealthy",
               state == CORRALD_PROBE_PASSING ? "probe_passed"
                                              : "probe_failed",
               text, p->data);
}


static void
corrald_probe_free(corrald_probe_t *p)
{
    int  i;

    for (i = 0; i < CORRALD_PROBE_CHECKS; i++) {
        free(p->checks[i].results);
    }

    json_decref(p->service);
    free(p->address);
    free(p);
}


json_t *
corrald_probe_report(const char *instance_id)
{
    int               i;
    json_t           *report, *checks;
    corrald_probe_t  *p;

    checks = json_array();
    p = corrald_map_get(&corrald_probe_all, instance_id);

    for (i = 0; p != NULL && i < CORRALD_PROBE_CHECKS; i++) {
        if (p->checks[i].type != NULL || p->checks[i].nresults > 0) {
            json_array_append_new(checks,
                                  corrald_probe_check_report(&p->checks[i]));
        }
    }

    report = json_pack("{s:s, s:o}", "instance_id", instance_id, "checks",
                       checks);

    return report ? report : json_object();
}


static json_t *
corrald_probe_check_report(const corrald_probe_check_t *c)
{
    char                            at[CORRALD_CLOCK_SIZE];
    size_t                          i;
    json_t                         *results;
    const corrald_prober_result_t  *r;

    results = json_array();

    for (i = 0; i < c->nresults; i++) {
        r = &c->results[i];

        json_array_append_new(results,
            json_pack("{s:s, s:b, s:I, s:s%}", "at",
                      corrald_clock_format(r->at, at, sizeof(at)),
                      "ok", r->ok, "duration_ms", (json_int_t) r->duration,
                      "message", r->message, strlen(r->message)));
    }

    return json_pack("{s:s, s:s?, s:s, s:i, s:i, s:I, s:I, s:o}",
                     "kind", corrald_probe_kinds[c->kind],
                     "type", c->type,
                     "state", corrald_decide_health_name(c->health.state),
                     "passes", (int) c->health.passes,
                     "failures", (int) c->health.failures,
                     "total", (json_int_t) c->health.total,
                     "failed", (json_int_t) c->health.failed,
                     "results", results);
}


static uint32_t
corrald_probe_random(void)
{
    uint32_t  n;

    return corrald_crypt_random(&n, sizeof(n)) == 0 ? n : 0;
}
