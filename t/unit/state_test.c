/* links: controlplane/model/state.c controlplane/model/doc.c */
/* links: controlplane/base/clock.c ngx_module/common/corral_duration.c */
/* links: -ljansson */

/*
 * Legal changes of state, and the status of a service for every combination of
 * what is wanted and what there is.
 */


#include "../../controlplane/model/state.h"

#include "unit.h"


static corrald_state_count_t  count;


static void
add(const char *state, const char *health)
{
    json_t  *instance;

    instance = json_pack("{s:s, s:s}", "state", state, "health", health);
    corrald_state_count(&count, instance);
    json_decref(instance);
}


static void
status(const char *desired, const char *want, const char *name)
{
    json_t  *service;

    service = json_pack("{s:s}", "desired", desired);

    is_str(corrald_state_status_name(corrald_state_status(service, &count)),
           want, name);

    json_decref(service);
    memset(&count, 0, sizeof(count));
}


int
main(void)
{
    int  i, n, stopped;

    is_int(corrald_state_parse("running"), CORRALD_STATE_running, "a state");
    is_int(corrald_state_parse("runnin"), -1, "no state");
    is_int(corrald_state_parse(""), -1, "nothing");

    ok(corrald_state_change(CORRALD_STATE_pending, CORRALD_STATE_starting)
       != NULL, "pending to starting");
    ok(corrald_state_change(CORRALD_STATE_pending, CORRALD_STATE_draining)
       == NULL, "pending to draining is illegal");
    ok(corrald_state_change(CORRALD_STATE_failed, CORRALD_STATE_starting)
       == NULL, "a failed one is pending first");

    for (i = 0, n = 0, stopped = 0; i < CORRALD_STATE_N; i++) {
        n += corrald_state_change(i, i) != NULL;
        stopped += corrald_state_lives(i);
    }

    is_int(n, 0, "no change is from a state to itself");
    is_int(stopped, 5, "five states have a process");

    ok(corrald_state_reason("crash_loop") != NULL, "a reason");
    ok(corrald_state_reason("bad_luck") == NULL, "no reason");

    status("stopped", "stopped", "nothing wanted, nothing there");
    add("stopped", "unknown");
    add("failed", "unknown");
    status("stopped", "stopped", "nothing wanted, nothing lives");
    add("draining", "healthy");
    status("stopped", "stopping", "nothing wanted, one lives");
    status("running", "starting", "wanted, nothing there yet");
    add("pending", "unknown");
    status("running", "starting", "wanted, one waits");
    add("starting", "unknown");
    add("failed", "unknown");
    status("running", "starting", "one failed, another starts");
    add("failed", "unknown");
    add("pending", "unknown");
    status("running", "error", "one failed, nothing starts");
    add("running", "unknown");
    status("running", "running", "one runs, not yet probed");
    add("running", "unhealthy");
    add("running", "healthy");
    status("running", "running", "one of two is well");
    add("running", "unhealthy");
    add("failed", "unknown");
    status("running", "unhealthy", "one runs, not well");
    add("paused", "healthy");
    status("paused", "running", "paused");

    return done_testing();
}
