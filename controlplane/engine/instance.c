/*
 * One instance: the next step from what its document says, what is wanted and
 * what was observed.
 *
 * A step begins at most one thing and returns; its end brings the next step.
 * Nothing is done before it is stored: a start is "starting" in the store
 * before there is a process, an end is stored before the shim may forget it.
 * So corrald may die between any two lines and find its way afterwards.
 */


#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "cgroup.h"
#include "local.h"
#include "paths.h"
#include "ports.h"
#include "signals.h"


/* ms */

#define CORRALD_INSTANCE_RETRY    300    /* after a commit that failed */
#define CORRALD_INSTANCE_DEAD     1000   /* for the shim to say it, too */
#define CORRALD_INSTANCE_TELL     300    /* ready sooner: one commit less */
#define CORRALD_INSTANCE_INSIST   2000   /* over stop_timeout, then kill */


typedef struct {
    char                  id[CORRAL_ID_MAX + 1];
    uint32_t              serial;
    corrald_instance_pt   done;
} corrald_instance_ticket_t;


static void corrald_instance_committed(const corrald_result_t *result,
    void *data);
static void corrald_instance_timed(void *data);
static void corrald_instance_pending(corrald_instance_t *in,
    const json_t *doc);
static void corrald_instance_starting(corrald_instance_t *in,
    const json_t *doc, const json_t *service);
static void corrald_instance_running(corrald_instance_t *in,
    const json_t *doc, const json_t *service, corrald_state_e state);
static void corrald_instance_draining(corrald_instance_t *in,
    const json_t *doc, const json_t *service);
static void corrald_instance_stopping(corrald_instance_t *in,
    const json_t *doc, const json_t *service);
static void corrald_instance_resting(corrald_instance_t *in,
    const json_t *doc, const json_t *service, corrald_state_e state);
static void corrald_instance_move(corrald_instance_t *in, const char *state,
    const char *message, corrald_instance_pt done);
static void corrald_instance_quit(corrald_instance_t *in,
    const json_t *service);
static void corrald_instance_probe(corrald_instance_t *in, const json_t *doc,
    const json_t *service, int ready);
static void corrald_instance_probed(corrald_probe_event_e event,
    const char *health, const char *reason, const char *message, void *data);
static void corrald_instance_delete(corrald_instance_t *in);
static void corrald_instance_facts(corrald_instance_t *in, json_t *doc);


void
corrald_instance_step(corrald_instance_t *in)
{
    int                     trusted;
    int64_t                 now;
    const json_t           *doc, *service;
    corrald_state_e         state;
    const corrald_entry_t  *entry;

    now = corrald_clock_monotonic();

    if (in->committing || in->preparing || in->spawning || in->clearing) {
        return;
    }

    if (now < in->hold_until) {
        corrald_instance_later(in, in->hold_until - now);
        return;
    }

    entry = corrald_store_get(CORRALD_INSTANCE, in->id);

    if (entry == NULL) {
        return;
    }

    doc = entry->doc;
    state = (corrald_state_e)
            corrald_state_parse(corrald_doc_str(doc, "state"));
    service = corrald_supervise_document(in->service, &trusted);

    /* a state that says: there is a process.  Where is it? */

    if (corrald_state_lives(state) && in->link == NULL && !in->ended) {
        corrald_start_connect(in, doc);

        if (!in->ended) {
            return;
        }
    }

    /* the kernel said that the agent ended; its shim did not, in time */

    if (in->dead_at != 0 && !in->ended && in->alive) {

        if (now - in->dead_at < CORRALD_INSTANCE_DEAD) {
            corrald_instance_later(in, CORRALD_INSTANCE_DEAD);

        } else {
            in->alive = 0;
            in->ended = 1;
            memset(&in->end, 0, sizeof(in->end));
            in->end.vanished = 1;
        }
    }

    if (in->ended && corrald_state_lives(state)) {
        corrald_end(in, state);
        return;
    }

    if (in->ended) {
        corrald_end_stored(in, 0);
    }

    switch (state) {

    case CORRALD_STATE_pending:
        corrald_instance_pending(in, doc);
        break;

    case CORRALD_STATE_starting:
        corrald_instance_starting(in, doc, service);
        break;

    case CORRALD_STATE_running:
    case CORRALD_STATE_paused:
        corrald_instance_running(in, doc, service, state);
        break;

    case CORRALD_STATE_draining:
        corrald_instance_draining(in, doc, service);
        break;

    case CORRALD_STATE_stopping:
        corrald_instance_stopping(in, doc, service);
        break;

    case CORRALD_STATE_stopped:
    case CORRALD_STATE_failed:
        corrald_instance_resting(in, doc, service, state);
        break;

    default:
        break;
    }
}


/* Frees what it has, but not the instance.  A process lives on. */

void
corrald_instance_close(corrald_instance_t *in)
{
    corrald_link_close(&in->link);
    corrald_probe_stop(&in->probe);
    corrald_loop_timer_stop(&in->timer);
    corrald_describe_free(in->prepared);
    corrald_decide_restart_free(&in->restart);
    json_decref(in->probed);
    in->prepared = NULL;
    in->probed = NULL;
}


/* A step is due in so many ms, or sooner. */

void
corrald_instance_later(corrald_instance_t *in, int64_t ms)
{
    int64_t  at;

    ms = (ms < 1) ? 1 : ms;
    at = corrald_clock_monotonic() + ms;

    if (in->timer != NULL && in->timer_at <= at) {
        return;
    }

    corrald_loop_timer_stop(&in->timer);
    in->timer_at = at;
    in->timer = corrald_loop_timer((uint64_t) ms, 0, corrald_instance_timed,
                                   in);
}


static void
corrald_instance_timed(void *data)
{
    corrald_instance_t  *in;

    in = data;
    in->timer = NULL;

    corrald_supervise_wake(in->service);
}


void
corrald_instance_commit(corrald_instance_t *in, json_t *doc,
    corrald_instance_pt done)
{
    corrald_instance_ticket_t  *ticket;

    ticket = calloc(1, sizeof(*ticket));

    if (ticket == NULL || doc == NULL) {
        free(ticket);
        json_decref(doc);
        in->hold_until = corrald_clock_monotonic() + CORRALD_INSTANCE_RETRY;
        corrald_instance_later(in, CORRALD_INSTANCE_RETRY);
        return;
    }

    (void) snprintf(ticket->id, sizeof(ticket->id), "%s", in->id);
    ticket->serial = in->serial;
    ticket->done = done;
    in->committing = 1;

    corrald_store_set(CORRALD_INSTANCE, in->id, doc, CORRALD_OWNER_node,
                      CORRALD_AS_NODE, corrald_instance_committed, ticket);
}


static void
corrald_instance_committed(const corrald_result_t *result, void *data)
{
    corrald_instance_t         *in;
    corrald_instance_ticket_t  *ticket;

    ticket = data;
    in = corrald_supervise_find(ticket->id);

    if (in == NULL || in->serial != ticket->serial) {
        free(ticket);
        return;
    }

    in->committing = 0;

    if (result->result == CORRALD_DONE) {

        if (ticket->done != NULL) {
            ticket->done(in, result->revision);
        }

    } else {

        /* all is looked at again from the beginning, a little later */

        if (result->result != CORRALD_MISSING) {
            corrald_log_warn("instance \"%s\": its state was not stored: %s",
                             in->id, result->message);
        }

        in->hold_until = corrald_clock_monotonic() + CORRALD_INSTANCE_RETRY;
    }

    free(ticket);
    corrald_supervise_wake(in->service);
}


json_t *
corrald_instance_change(const char *state, const char *reason,
    const char *fmt, ...)
{
    char      text[1025];
    va_list   args;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    return json_pack("{s:s, s:s, s:s%}", "state", state, "reason", reason,
                     "message", text, strlen(text));
}


static void
corrald_instance_pending(corrald_instance_t *in, const json_t *doc)
{
    switch (in->want) {

    case CORRALD_WANT_RUN:
    case CORRALD_WANT_RENEW:

        /* of an earlier incarnation, still on its way out */

        if (in->link != NULL) {
            corrald_instance_quit(in, NULL);
            return;
        }

        corrald_start(in, doc);
        return;

    case CORRALD_WANT_PAUSE:
        return;

    default:
        corrald_instance_move(in, "stopped", "no longer wanted", NULL);
    }
}


static void
corrald_instance_starting(corrald_instance_t *in, const json_t *doc,
    const json_t *service)
{
    char     at[CORRALD_CLOCK_SIZE];
    json_t  *change;

    if (!in->met) {
        return;
    }

    if (in->want != CORRALD_WANT_RUN && in->want != CORRALD_WANT_PAUSE) {
        corrald_probe_stop(&in->probe);
        corrald_instance_move(in, "stopping", "no longer wanted", NULL);
        return;
    }

    if (in->not_started) {
        in->not_started = 0;
        corrald_end_failed(in, 1, "startup_timeout", NULL,
                           "it did not become ready: %s", in->message);
        return;
    }

    if (in->probe == NULL && service != NULL) {
        corrald_instance_probe(in, doc, service, 0);
    }

    if (in->ready) {

        change = corrald_instance_change("running", in->reason, "%s",
                                         in->message);
        if (change != NULL) {
            corrald_instance_facts(in, change);
            json_object_set_new(change, "health", json_string(in->health));
            json_object_set_new(change, "ready_at",
                                json_string(corrald_clock_now(at,
                                                              sizeof(at))));
        }

        corrald_log_info("instance \"%s\" is ready: %s", in->id, in->message);
        corrald_instance_commit(in, change, NULL);
        return;
    }

    if (corrald_doc_is_set(doc, "pid")) {
        return;
    }

    if (corrald_clock_ms() - in->started_at < CORRALD_INSTANCE_TELL) {
        corrald_instance_later(in, CORRALD_INSTANCE_TELL);
        return;
    }

    change = json_object();
    corrald_instance_facts(in, change);
    corrald_instance_commit(in, change, NULL);
}


static void
corrald_instance_running(corrald_instance_t *in, const json_t *doc,
    const json_t *service, corrald_state_e state)
{
    json_t  *change;

    if (!in->met) {
        return;
    }

    if (in->want == CORRALD_WANT_RENEW || in->want == CORRALD_WANT_STOP
        || in->want == CORRALD_WANT_REMOVE)
    {
        change = corrald_instance_change("draining", in->why,
                                         "takes no new connections");
        in->drain_phase = 0;
        in->drain_open = -1;
        corrald_instance_commit(in, change, corrald_drain_begin);
        return;
    }

    if (in->not_alive) {
        in->not_alive = 0;
        corrald_end_failed(in, 1, "liveness_failed", NULL, "%s", in->message);
        return;
    }

    if (in->probe == NULL
        || (service != NULL && service != in->probed
            && !corrald_probe_same(service, in->probed)))
    {
        if (service != NULL) {
            corrald_instance_probe(in, doc, service, 1);
        }
    }

    if (in->want == CORRALD_WANT_PAUSE && state == CORRALD_STATE_running) {
        corrald_instance_move(in, "paused", "out of routing, its process is "
                              "not touched", NULL);
        return;
    }

    if (in->want == CORRALD_WANT_RUN && state == CORRALD_STATE_paused) {
        corrald_instance_move(in, "running", "back in routing", NULL);
        return;
    }

    if (in->health != NULL
        && strcmp(in->health, corrald_doc_str(doc, "health")) != 0)
    {
        change = json_pack("{s:s, s:s, s:s}", "health", in->health,
                           "reason", in->reason, "message", in->message);
        corrald_instance_commit(in, change, NULL);
        return;
    }

    /* adopted before its facts were stored */

    if (!corrald_doc_is_set(doc, "pid") && in->pid > 0) {
        change = json_object();
        corrald_instance_facts(in, change);
        corrald_instance_commit(in, change, NULL);
    }
}


static void
corrald_instance_draining(corrald_instance_t *in, const json_t *doc,
    const json_t *service)
{
    if (in->want == CORRALD_WANT_RUN || in->want == CORRALD_WANT_PAUSE) {
        corrald_instance_move(in, "running", "wanted again", NULL);
        return;
    }

    corrald_drain(in, doc, service);
}


static void
corrald_instance_stopping(corrald_instance_t *in, const json_t *doc,
    const json_t *service)
{
    corrald_probe_stop(&in->probe);
    corrald_instance_quit(in, service);
}


static void
corrald_instance_resting(corrald_instance_t *in, const json_t *doc,
    const json_t *service, corrald_state_e state)
{
    json_t   *change;
    int64_t   wait, restart;

    corrald_probe_stop(&in->probe);

    /* a process that its state does not know: liveness failed, or older */

    if (in->link != NULL) {
        corrald_instance_quit(in, NULL);

        if (in->want == CORRALD_WANT_REMOVE) {
            return;
        }
    }

    switch (in->want) {

    case CORRALD_WANT_REMOVE:
        corrald_instance_delete(in);
        return;

    case CORRALD_WANT_STOP:

        if (state == CORRALD_STATE_failed) {
            change = corrald_instance_change("stopped", in->why,
                                             "no longer wanted");
            if (change != NULL) {
                json_object_set_new(change, "retry_at", json_null());
            }

            corrald_instance_commit(in, change, NULL);
        }

        return;

    case CORRALD_WANT_PAUSE:
        return;

    default:
        break;
    }

    if (state == CORRALD_STATE_stopped) {
        corrald_decide_restart_reset(&in->restart);
        corrald_instance_move(in, "pending", "wanted again", NULL);
        return;
    }

    /* somebody asked for it: no waiting, and a new budget */

    restart = corrald_doc_time(doc, "restart_at");

    if (in->want == CORRALD_WANT_RENEW
        || restart > corrald_doc_time(doc, "state_at")
        || corrald_doc_int(doc, "generation")
           != corrald_doc_int(service, "generation"))
    {
        corrald_decide_restart_reset(&in->restart);
        corrald_instance_move(in, "pending", "restart was asked for", NULL);
        return;
    }

    if (!corrald_doc_is_set(doc, "retry_at")) {
        return;
    }

    wait = corrald_doc_time(doc, "retry_at") - corrald_clock_ms();

    if (wait > 0) {
        corrald_instance_later(in, wait);
        return;
    }

    in->why = "backoff";
    corrald_instance_move(in, "pending", "tried again", NULL);
}


/* A change of state without more; the reason is that of the wish. */

static void
corrald_instance_move(corrald_instance_t *in, const char *state,
    const char *message, corrald_instance_pt done)
{
    corrald_instance_commit(in, corrald_instance_change(state, in->why, "%s",
                                                        message),
                            done);
}


/* Asks the shim to stop the agent, once; then insists. */

static void
corrald_instance_quit(corrald_instance_t *in, const json_t *service)
{
    int      signal, trusted;
    int64_t  now, timeout;

    now = corrald_clock_monotonic();

    if (in->link == NULL || !in->met || !in->alive) {
        return;
    }

    if (!in->stopped) {

        if (service == NULL) {
            service = corrald_supervise_document(in->service, &trusted);
        }

        signal = SIGTERM;
        timeout = 10000;

        if (service != NULL) {
            signal = corrald_signals_number(corrald_doc_str(service,
                                                            "stop_signal"));
            timeout = corrald_doc_ms(service, "stop_timeout");
        }

        in->stopped = 1;
        in->kill_at = now + timeout + CORRALD_INSTANCE_INSIST;
        (void) corrald_link_send(in->link, CORRALD_WIRE_stop, signal, 0,
                                 timeout);
        corrald_instance_later(in, timeout + CORRALD_INSTANCE_INSIST);
        return;
    }

    if (now >= in->kill_at) {
        in->kill_at = now + CORRALD_INSTANCE_INSIST;
        (void) corrald_link_send(in->link, CORRALD_WIRE_kill, 0, 0, 0);
        corrald_instance_later(in, CORRALD_INSTANCE_INSIST);
    }
}


static void
corrald_instance_probe(corrald_instance_t *in, const json_t *doc,
    const json_t *service, int ready)
{
    corrald_probe_stop(&in->probe);
    json_decref(in->probed);
    in->probed = json_incref((json_t *) service);
    in->health = NULL;

    if (ready && !in->ready) {
        in->ready = 1;
        in->ready_since = corrald_clock_monotonic();
    }

    in->probe = corrald_probe_start(in->id, in->probed,
                                    corrald_doc_str(doc, "address"),
                                    (uint32_t) corrald_doc_int(doc,
                                                               "incarnation"),
                                    corrald_doc_str(doc, "nonce"), ready,
                                    corrald_instance_probed, in);

    if (in->probe == NULL) {
        corrald_instance_later(in, CORRALD_INSTANCE_RETRY);
    }
}


static void
corrald_instance_probed(corrald_probe_event_e event, const char *health,
    const char *reason, const char *message, void *data)
{
    corrald_instance_t  *in;

    in = data;
    in->reason = reason;
    in->health = health;
    (void) snprintf(in->message, sizeof(in->message), "%s", message);

    switch (event) {

    case CORRALD_PROBE_READY:
        in->ready = 1;
        in->ready_since = corrald_clock_monotonic();
        break;

    case CORRALD_PROBE_HEALTH:

        /* stable means: without a break */

        if (strcmp(health, "unhealthy") == 0) {
            in->ready_since = 0;

        } else if (in->ready_since == 0) {
            in->ready_since = corrald_clock_monotonic();
        }

        break;

    case CORRALD_PROBE_NOT_STARTED:
        in->not_started = 1;
        break;

    case CORRALD_PROBE_NOT_ALIVE:
        in->not_alive = 1;
        break;
    }

    corrald_supervise_wake(in->service);
}


static void
corrald_instance_delete(corrald_instance_t *in)
{
    char                        name[256];
    corrald_op_t                op;
    corrald_paths_t             paths;
    corrald_instance_ticket_t  *ticket;

    ticket = calloc(1, sizeof(*ticket));

    if (ticket == NULL) {
        return;
    }

    (void) snprintf(ticket->id, sizeof(ticket->id), "%s", in->id);
    ticket->serial = in->serial;

    memset(&op, 0, sizeof(op));
    op.op = CORRALD_DEL;
    op.kind = CORRALD_INSTANCE;
    op.id = in->id;
    op.owners = CORRALD_OWNER_all;
    op.expected = CORRALD_ANY;

    in->committing = 1;
    corrald_store_commit(&op, 1, CORRALD_AS_NODE, corrald_instance_committed,
                         ticket);

    /* only what is empty: what an agent wrote is its user's */

    corrald_paths(in->id, &paths);
    (void) rmdir(paths.dir);
    (void) rmdir(paths.cwd);
    (void) unlink(paths.lock);

    (void) snprintf(name, sizeof(name), "%s.%s.%s", corrald_conf()->cluster,
                    corrald_conf()->node, in->id);
    corrald_cgroup_remove(name);
}


static void
corrald_instance_facts(corrald_instance_t *in, json_t *doc)
{
    char  at[CORRALD_CLOCK_SIZE];

    if (doc == NULL || in->pid == 0) {
        return;
    }

    json_object_set_new(doc, "pid", json_integer(in->pid));
    json_object_set_new(doc, "start_time", json_integer(in->start_time));
    json_object_set_new(doc, "started_at",
                        json_string(corrald_clock_format(in->started_at, at,
                                                         sizeof(at))));
}
