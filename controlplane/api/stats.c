
/*
 * Numbers as MyAgent shows them, with true values.  What nobody counts, or
 * what only the gateways' own counters know (totals since their start, see
 * their metrics), is null and not zero.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/file.h"
#include "../model/state.h"
#include "api.h"


/* Of one service. */

typedef struct {
    corrald_rest_t   *r;
    char              id[CORRALD_URI_PARAM_SIZE];
} corrald_stats_ask_t;


static void corrald_stats_system_listed(json_t *value, const char *err,
    void *data);
static void corrald_stats_service_listed(json_t *value, const char *err,
    void *data);
static void corrald_stats_processes(const char *service_id, json_t *stats);
static int corrald_stats_process(const json_t *instance, double *mb,
    double *seconds);
static void corrald_stats_add(json_t *object, const char *name);


void
corrald_stats_system(corrald_rest_t *r)
{
    corrald_store_connections(corrald_stats_system_listed, r);
}


void
corrald_stats_service(corrald_rest_t *r)
{
    corrald_stats_ask_t    *ask;
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL) {
        return;
    }

    ask = corrald_alloc(1, sizeof(*ask), "for a request");

    ask->r = r;
    snprintf(ask->id, sizeof(ask->id), "%s", entry->id);

    corrald_store_connections(corrald_stats_service_listed, ask);
}


static void
corrald_stats_count_service(const corrald_entry_t *entry, void *data)
{
    size_t                  i;
    json_t                 *instances, *item, *services;
    corrald_state_count_t   count;

    services = data;
    memset(&count, 0, sizeof(count));

    instances = corrald_instances_array(entry->id);

    json_array_foreach(instances, i, item) {
        corrald_state_count(&count, item);
    }

    json_decref(instances);

    corrald_stats_add(services, corrald_state_status_name(
                                    corrald_state_status(entry->doc,
                                                         &count)));
    corrald_stats_add(services, "total");
}


static void
corrald_stats_count_instance(const corrald_entry_t *entry, void *data)
{
    int  state;

    state = corrald_state_parse(corrald_doc_str(entry->doc, "state"));

    /* the health of what does not run is nobody's */

    if (state != -1 && corrald_state_lives(state)) {
        corrald_stats_add(data, corrald_doc_str(entry->doc, "health"));
        corrald_stats_add(data, "total");
    }
}


static void
corrald_stats_system_listed(json_t *value, const char *err, void *data)
{
    size_t           i;
    json_t          *services, *health, *by_status, *by_service, *conn, *conns;
    corrald_rest_t  *r;

    r = data;

    services = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "total", 0,
                         "running", 0, "stopped", 0, "error", 0,
                         "unhealthy", 0, "starting", 0, "stopping", 0);
    health = json_pack("{s:i, s:i, s:i, s:i, s:i}", "total", 0, "healthy", 0,
                       "unhealthy", 0, "degraded", 0, "unknown", 0);

    corrald_store_each(CORRALD_SERVICE, corrald_stats_count_service, services);
    corrald_store_each(CORRALD_INSTANCE, corrald_stats_count_instance, health);

    by_status = json_object();
    by_service = json_object();

    json_array_foreach(value, i, conn) {
        corrald_stats_add(by_status, corrald_doc_str(conn, "status"));
        corrald_stats_add(by_service, corrald_doc_str(conn,
                                                      "target_service_id"));
    }

    conns = json_pack("{s:o, s:o, s:o}", "total_connections", value
                      ? json_integer((json_int_t) json_array_size(value))
                      : json_null(),
                      "by_status", by_status, "by_service", by_service);

    corrald_rest_json(r, 200, json_pack("{s:o, s:o, s:o}", "services",
                                        services, "connections", conns,
                                        "health", health));
}


static void
corrald_stats_service_listed(json_t *value, const char *err, void *data)
{
    size_t                   i, n;
    json_t                  *conn, *stats, *sessions;
    int64_t                  in, out, messages;
    const char              *session;
    corrald_rest_t          *r;
    corrald_stats_ask_t     *ask;
    const corrald_entry_t   *entry;

    ask = data;
    r = ask->r;

    entry = corrald_store_get(CORRALD_SERVICE, ask->id);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_SERVICE_NOT_FOUND,
                             "the service was deleted meanwhile");
        free(ask);
        return;
    }

    sessions = json_object();
    n = 0;
    in = 0;
    out = 0;
    messages = 0;

    json_array_foreach(value, i, conn) {
        if (strcmp(corrald_doc_str(conn, "target_service_id"), ask->id) != 0) {
            continue;
        }

        n++;
        in += corrald_doc_int(conn, "bytes_received");
        out += corrald_doc_int(conn, "bytes_sent");
        messages += corrald_doc_int(conn, "message_count");

        session = corrald_doc_str(conn, "session_id");

        if (*session) {
            json_object_set_new(sessions, session, json_true());
        }
    }

    stats = json_pack("{s:s, s:n, s:o, s:n, s:n, s:o, s:n, s:n, s:n, s:n}",
                      "service_id", ask->id,
                      "total_connections",
                      "active_connections",
                      value ? json_integer((json_int_t) n) : json_null(),
                      "peak_connections", "total_sessions",
                      "active_sessions", value
                      ? json_integer((json_int_t) json_object_size(sessions))
                      : json_null(),
                      "completed_sessions", "failed_sessions",
                      "avg_session_duration", "avg_response_time");

    /* of the connections that are open now */

    json_object_set_new(stats, "open_messages", json_integer(messages));
    json_object_set_new(stats, "open_bytes_received", json_integer(in));
    json_object_set_new(stats, "open_bytes_sent", json_integer(out));

    corrald_stats_processes(ask->id, stats);

    json_decref(sessions);
    free(ask);

    corrald_rest_json(r, 200, stats);
}


/* Memory, processor time and age of the processes of this node. */

static void
corrald_stats_processes(const char *service_id, json_t *stats)
{
    size_t       i, local;
    double       mb, seconds, sum_mb, sum_seconds;
    json_t      *instances, *item;
    int64_t      started, first, errors;

    instances = corrald_instances_array(service_id);

    local = 0;
    sum_mb = 0;
    sum_seconds = 0;
    first = 0;
    errors = 0;

    json_array_foreach(instances, i, item) {
        errors += corrald_doc_int(item, "restart_count");
        started = corrald_doc_time(item, "started_at");

        if (!corrald_doc_is_set(item, "pid")) {
            continue;
        }

        if (started && (first == 0 || started < first)) {
            first = started;
        }

        if (corrald_stats_process(item, &mb, &seconds) == 0) {
            local++;
            sum_mb += mb;
            sum_seconds += seconds;
        }
    }

    json_decref(instances);

    json_object_set_new(stats, "memory_usage_mb", local ? json_real(sum_mb)
                                                        : json_null());
    json_object_set_new(stats, "cpu_usage_percent", json_null());
    json_object_set_new(stats, "cpu_seconds", local ? json_real(sum_seconds)
                                                    : json_null());
    json_object_set_new(stats, "error_count", json_integer(errors));
    json_object_set_new(stats, "error_rate", json_null());
    json_object_set_new(stats, "uptime_seconds",
                        first ? json_real((double) (corrald_clock_ms() - first)
                                          / 1000)
                              : json_real(0));
}


/*
 * Reads /proc/PID/stat of an instance of this node, if its pid is still the
 * same process: the start time is a part of its identity.
 */

static int
corrald_stats_process(const json_t *instance, double *mb, double *seconds)
{
    char                 path[64], text[1024], *p;
    FILE                *fp;
    size_t               n;
    long                 rss;
    unsigned long        utime, stime;
    unsigned long long   start;

    if (strcmp(corrald_doc_str(instance, "node"), corrald_conf()->node) != 0) {
        return -1;
    }

    snprintf(path, sizeof(path), "/proc/%lld/stat",
             (long long) corrald_doc_int(instance, "pid"));

    fp = fopen(path, "re");
    if (fp == NULL) {
        return -1;
    }

    n = fread(text, 1, sizeof(text) - 1, fp);
    fclose(fp);
    text[n] = '\0';

    p = strrchr(text, ')');

    if (p == NULL
        || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
                  "%lu %lu %*d %*d %*d %*d %*d %*d %llu %*u %ld", &utime,
                  &stime, &start, &rss)
           != 4
        || (int64_t) start != corrald_doc_int(instance, "start_time"))
    {
        return -1;
    }

    *mb = (double) rss * (double) sysconf(_SC_PAGESIZE) / 1048576;
    *seconds = (double) (utime + stime) / (double) sysconf(_SC_CLK_TCK);

    return 0;
}


static void
corrald_stats_add(json_t *object, const char *name)
{
    json_object_set_new(object, *name ? name : "unknown",
                        json_integer(corrald_doc_int(object, name) + 1));
}
