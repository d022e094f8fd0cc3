/*
 * The engine as a whole: its beginning and end, its tick, its report.
 *
 * Five times a second it is asked whether this node may act.  When it may
 * again, and then every few seconds, everything is looked at without an event.
 */


#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../base/bus.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "cgroup.h"
#include "engine.h"
#include "local.h"
#include "paths.h"
#include "ports.h"


/* ms between two looks at everything, and between two at the lease */

#define CORRALD_ENGINE_ALL   5000
#define CORRALD_ENGINE_TICK  200


static void corrald_engine_bus(corrald_bus_type_e type, const void *payload,
    void *data);
static void corrald_engine_tick(void *data);
static void corrald_engine_all(void);


static corrald_timer_t  *corrald_engine_timer;
static int64_t           corrald_engine_at;      /* monotonic, 0: now */
static int64_t           corrald_engine_external_at;


int
corrald_engine_open(char *err, size_t size)
{
    const char  *user;

    if (corrald_paths_make(err, size) != 0) {
        return -1;
    }

    corrald_cgroup_open();

    if (corrald_supervise_begin() != 0
        || corrald_bus_on(CORRALD_BUS_STORE, corrald_engine_bus, NULL) != 0
        || corrald_bus_on(CORRALD_BUS_LEADER, corrald_engine_bus, NULL) != 0)
    {
        (void) snprintf(err, size, "no memory for the engine");
        return -1;
    }

    corrald_engine_timer = corrald_loop_timer(CORRALD_ENGINE_TICK,
                                              CORRALD_ENGINE_TICK,
                                              corrald_engine_tick, NULL);
    if (corrald_engine_timer == NULL) {
        (void) snprintf(err, size, "no memory for the engine");
        return -1;
    }

    user = corrald_describe_default_user();

    if (geteuid() != 0) {
        corrald_log_warn("corrald does not run as root: agents run as its own "
                         "user and can do what it can");

    } else if (strcmp(user, corrald_conf()->agent_user) != 0) {
        corrald_log_warn("user \"%s\" does not exist: agents run as \"%s\"",
                         corrald_conf()->agent_user, user);
    }

    corrald_supervise_known();

    return 0;
}


void
corrald_engine_close(void)
{
    corrald_loop_timer_stop(&corrald_engine_timer);
    corrald_adopt_close();
    corrald_supervise_end();
    corrald_ports_close();
}


json_t *
corrald_engine_report(void)
{
    int        root;
    size_t     shims, adopted;
    json_t    *report;
    unsigned   has;

    root = (geteuid() == 0);
    shims = corrald_supervise_alive(&adopted);
    has = corrald_cgroup_controllers();

    report = json_pack("{s:s?, s:s, s:s, s:s, s:I, s:I, s:I, s:s?, s:b}",
                       "cgroup", corrald_cgroup_base(),
                       "memory_limits", has & CORRALD_CGROUP_MEMORY
                                        ? "cgroup" : "rlimit",
                       "cpu_limits", has & CORRALD_CGROUP_CPU ? "cgroup"
                                                              : "none",
                       "process_limits", has & CORRALD_CGROUP_PIDS
                                         ? "cgroup" : "rlimit",
                       "shims", (json_int_t) shims,
                       "adopted", (json_int_t) adopted,
                       "orphans", (json_int_t) corrald_adopt_orphans(),
                       "user", root ? corrald_describe_default_user() : NULL,
                       "unprivileged", !root);

    return report ? report : json_object();
}


void
corrald_engine_soon(void)
{
    corrald_engine_at = 0;
}


static void
corrald_engine_bus(corrald_bus_type_e type, const void *payload, void *data)
{
    corrald_engine_at = 0;
    corrald_engine_tick(NULL);
}


/* Looks at everything when this node may act again, and then now and then. */

static void
corrald_engine_tick(void *data)
{
    int64_t  now;

    if (!corrald_supervise_active()) {
        corrald_engine_at = 0;
        return;
    }

    now = corrald_clock_monotonic();

    if (now >= corrald_engine_at) {
        corrald_engine_at = now + CORRALD_ENGINE_ALL;
        corrald_engine_all();
    }

    /* heartbeats are read once a second */

    if (now >= corrald_engine_external_at) {
        corrald_engine_external_at = now + CORRAL_HEARTBEAT;
        corrald_external_tick();
        corrald_report_tick();
    }
}


static void
corrald_engine_all(void)
{
    size_t  adopted;

    corrald_supervise_all();
    corrald_store_node_instances(corrald_supervise_alive(&adopted));
    corrald_adopt_sweep();
    corrald_janitor_tick();
}
