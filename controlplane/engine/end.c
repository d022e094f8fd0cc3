/*
 * The end of a process, or of a try to have one: why it ended, and by the
 * restart policy when it is started again.
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "local.h"
#include "signals.h"


static const char *corrald_end_reason(const corrald_end_t *end, char *text,
    size_t size);
static void corrald_end_members(corrald_instance_t *in, json_t *doc);
static void corrald_end_policy(const json_t *service,
    corrald_restart_policy_t *policy);


void
corrald_end(corrald_instance_t *in, corrald_state_e state)
{
    char             text[256];
    json_t          *change;
    const char      *reason;
    corrald_end_t   *end;

    end = &in->end;
    reason = corrald_end_reason(end, text, sizeof(text));

    corrald_probe_stop(&in->probe);

    if (state != CORRALD_STATE_stopping) {
        change = json_object();
        corrald_end_members(in, change);
        corrald_end_failed(in, end->signal != 0 || end->code != 0
                           || end->lost || end->vanished, reason, change,
                           "%s", text);
        return;
    }

    if (end->killed) {
        change = corrald_instance_change("stopped", "stop_timeout",
                                         "it ignored the stop signal and was "
                                         "killed");
    } else {
        change = corrald_instance_change("stopped", in->why, "%s", text);
    }

    if (change != NULL) {
        corrald_end_members(in, change);
        json_object_set_new(change, "retry_at", json_null());
        json_object_set_new(change, "health", json_string("unknown"));
    }

    corrald_log_info("instance \"%s\" stopped: %s", in->id, text);
    corrald_instance_commit(in, change, corrald_end_stored);
}


void
corrald_end_failed(corrald_instance_t *in, int failed, const char *reason,
    json_t *more, const char *fmt, ...)
{
    int                          n, trusted;
    char                         text[1025], at[CORRALD_CLOCK_SIZE];
    json_t                      *doc;
    va_list                      args;
    int64_t                      ready_for, now;
    uint32_t                     random;
    const json_t                *service;
    corrald_restart_policy_t     policy;
    corrald_restart_decision_t   decision;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    n = (n < (int) sizeof(text)) ? n : (int) sizeof(text) - 1;

    now = corrald_clock_monotonic();
    ready_for = in->ready && in->ready_since > 0 ? now - in->ready_since : 0;

    if (corrald_crypt_random(&random, sizeof(random)) != 0) {
        random = 0;
    }

    service = corrald_supervise_document(in->service, &trusted);
    corrald_end_policy(service, &policy);
    corrald_decide_restart(&in->restart, &policy, failed, ready_for, now,
                           random, &decision);

    if (!decision.again) {
        (void) snprintf(text + n, sizeof(text) - (size_t) n,
                        "; not started again (restart: %s)",
                        policy.restart == CORRALD_RESTART_NEVER
                        ? "never" : "on_failure");

    } else if (decision.crash_loop) {
        (void) snprintf(text + n, sizeof(text) - (size_t) n,
                        "; %u restarts within the window: tried again in "
                        "%lld s", decision.recent,
                        (long long) (decision.delay + 999) / 1000);
    }

    doc = corrald_instance_change("failed", decision.crash_loop ? "crash_loop"
                                                                : reason,
                                  "%s", text);
    if (doc != NULL) {

        if (decision.again) {
            (void) corrald_clock_format(corrald_clock_ms() + decision.delay,
                                        at, sizeof(at));
        }

        json_object_set_new(doc, "retry_at", decision.again ? json_string(at)
                                                            : json_null());
        json_object_set_new(doc, "health", json_string("unknown"));

        if (more != NULL) {
            json_object_update(doc, more);
        }
    }

    json_decref(more);
    corrald_log_warn("instance \"%s\": %s", in->id, text);
    corrald_probe_stop(&in->probe);
    corrald_instance_commit(in, doc, in->ended ? corrald_end_stored : NULL);
}


void
corrald_end_stored(corrald_instance_t *in, int64_t revision)
{
    in->ended = 0;
    in->alive = 0;
    corrald_start_acknowledge(in);
}


/* The reason code, and a sentence for people. */

static const char *
corrald_end_reason(const corrald_end_t *end, char *text, size_t size)
{
    if (end->vanished) {
        (void) snprintf(text, size, "it was not found when corrald looked for "
                        "it");
        return "vanished";
    }

    if (end->lost) {
        (void) snprintf(text, size, "its shim was killed, and the agent with "
                        "it");
        return "shim_lost";
    }

    if (end->oom) {
        (void) snprintf(text, size, "the kernel killed it for want of memory");
        return "out_of_memory";
    }

    if (end->signal != 0) {
        (void) snprintf(text, size, "it was ended by signal %s",
                        corrald_signals_name(end->signal));
        return "killed";
    }

    (void) snprintf(text, size, "it ended with code %d", end->code);

    return "exited";
}


static void
corrald_end_members(corrald_instance_t *in, json_t *doc)
{
    corrald_end_t  *end;

    end = &in->end;

    json_object_set_new(doc, "pid", json_null());
    json_object_set_new(doc, "start_time", json_null());
    json_object_set_new(doc, "exit_code",
                        end->signal || end->lost || end->vanished
                        ? json_null() : json_integer(end->code));
    json_object_set_new(doc, "exit_signal",
                        end->signal ? json_integer(end->signal) : json_null());
    json_object_set_new(doc, "oom", json_boolean(end->oom));
}


static void
corrald_end_policy(const json_t *service, corrald_restart_policy_t *policy)
{
    const char  *restart;

    memset(policy, 0, sizeof(*policy));

    if (service == NULL) {
        policy->restart = CORRALD_RESTART_NEVER;
        return;
    }

    restart = corrald_doc_str(service, "restart");

    policy->restart = strcmp(restart, "never") == 0
                      || !corrald_doc_bool(service, "auto_restart")
                      ? CORRALD_RESTART_NEVER
                    : strcmp(restart, "on_failure") == 0
                      ? CORRALD_RESTART_ON_FAILURE : CORRALD_RESTART_ALWAYS;
    policy->max_restart_count = corrald_doc_int(service, "max_restart_count");
    policy->restart_window = corrald_doc_ms(service, "restart_window");
    policy->restart_delay = corrald_doc_ms(service, "restart_delay");
    policy->restart_max_delay = corrald_doc_ms(service, "restart_max_delay");
    policy->stable_after = corrald_doc_ms(service, "stable_after");
}
