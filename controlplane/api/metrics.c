
/*
 * Prometheus metrics of this corrald.  The gateways have their own, with the
 * traffic; here are the registry, the API and the store.
 *
 * Labels are of bounded number: states, statuses, routes of the table, never
 * names that a client chooses.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/version.h"
#include "../model/state.h"
#include "api.h"
#include "http.h"
#include "stream.h"


#define CORRALD_METRICS_ROUTES   64
#define CORRALD_METRICS_CLASSES  6           /* 1xx to 5xx */

/* upper bounds in ms */

static const int64_t  corrald_metrics_bounds[] = {
    1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000
};

#define CORRALD_METRICS_BOUNDS                                                \
    (sizeof(corrald_metrics_bounds) / sizeof(corrald_metrics_bounds[0]))


static void corrald_metrics_head(corrald_buf_t *b, const char *name,
    const char *type, const char *text);
static void corrald_metrics_one(corrald_buf_t *b, const char *name,
    const char *type, const char *text, double value);
static void corrald_metrics_requests(corrald_buf_t *b);
static void corrald_metrics_registry(corrald_buf_t *b);
static void corrald_metrics_store(corrald_buf_t *b);
static void corrald_metrics_process(corrald_buf_t *b);


static uint64_t  corrald_metrics_counts[CORRALD_METRICS_ROUTES]
                                       [CORRALD_METRICS_CLASSES];
static uint64_t  corrald_metrics_buckets[CORRALD_METRICS_BOUNDS + 1];
static int64_t   corrald_metrics_sum;


/* Counts an answer, which took so many milliseconds. */

void
corrald_metrics_request(const corrald_rest_t *r, int64_t ms)
{
    size_t  route, i;

    /* the last place is for what no route is for */

    route = r->route ? (size_t) (r->route - corrald_rest_routes())
                     : CORRALD_METRICS_ROUTES - 1;

    if (route >= CORRALD_METRICS_ROUTES) {
        route = CORRALD_METRICS_ROUTES - 1;
    }

    corrald_metrics_counts[route][r->status / 100 % CORRALD_METRICS_CLASSES]++;

    for (i = 0; i < CORRALD_METRICS_BOUNDS; i++) {
        if (ms <= corrald_metrics_bounds[i]) {
            break;
        }
    }

    corrald_metrics_buckets[i]++;
    corrald_metrics_sum += ms;
}


void
corrald_metrics_get(corrald_rest_t *r)
{
    corrald_buf_t  b;

    corrald_buf_init(&b, 1048576);

    corrald_metrics_head(&b, "corrald_build_info", "gauge",
                         "Constant 1, with the version.");
    corrald_buf_printf(&b, "corrald_build_info{version=\"%s\"} 1\n",
                       CORRALD_VERSION);

    corrald_metrics_store(&b);
    corrald_metrics_registry(&b);
    corrald_metrics_requests(&b);
    corrald_metrics_process(&b);

    corrald_rest_text(r, 200, "text/plain; version=0.0.4; charset=utf-8",
                      b.data, b.len);
    corrald_buf_free(&b);
}


static void
corrald_metrics_head(corrald_buf_t *b, const char *name, const char *type,
    const char *text)
{
    corrald_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, text, name,
                       type);
}


static void
corrald_metrics_one(corrald_buf_t *b, const char *name, const char *type,
    const char *text, double value)
{
    corrald_metrics_head(b, name, type, text);
    corrald_buf_printf(b, "%s %.17g\n", name, value);
}


static void
corrald_metrics_store(corrald_buf_t *b)
{
    const corrald_store_status_t  *s;

    s = corrald_store_status();

    corrald_metrics_one(b, "corrald_store_connected", "gauge",
                        "1 while Redis answers.", s->connected);
    corrald_metrics_one(b, "corrald_store_ready", "gauge",
                        "1 while changes can be made.", s->ready);
    corrald_metrics_one(b, "corrald_store_reconnects_total", "counter",
                        "Losses of the connection to Redis.",
                        (double) s->reconnects);
    corrald_metrics_one(b, "corrald_store_commits_total", "counter",
                        "Changes of the registry made here.",
                        (double) s->commits);
    corrald_metrics_one(b, "corrald_store_conflicts_total", "counter",
                        "Changes that met a newer document.",
                        (double) s->conflicts);
    corrald_metrics_one(b, "corrald_store_loads_total", "counter",
                        "Full loads of the registry.", (double) s->loads);
    corrald_metrics_one(b, "corrald_store_untrusted_total", "counter",
                        "Services seen without a valid HMAC.",
                        (double) s->untrusted);
    corrald_metrics_one(b, "corrald_leader", "gauge",
                        "1 while this node leads.",
                        corrald_store_leader() != 0);
    corrald_metrics_one(b, "corrald_node_epoch", "gauge",
                        "Epoch of this node's lease, 0 without one.",
                        (double) s->node_epoch);
}


static void
corrald_metrics_service(const corrald_entry_t *entry, void *data)
{
    size_t                  i;
    json_t                 *instances, *item;
    corrald_state_count_t   count;

    memset(&count, 0, sizeof(count));
    instances = corrald_instances_array(entry->id);

    json_array_foreach(instances, i, item) {
        corrald_state_count(&count, item);
    }

    json_decref(instances);

    ((size_t *) data)[corrald_state_status(entry->doc, &count)]++;
}


static void
corrald_metrics_instance(const corrald_entry_t *entry, void *data)
{
    corrald_state_count(data, entry->doc);
}


static void
corrald_metrics_registry(corrald_buf_t *b)
{
    int                     i;
    size_t                  n, services[CORRALD_STATUS_N], behind;
    json_t                 *worker;
    corrald_state_count_t   count;

    memset(services, 0, sizeof(services));
    memset(&count, 0, sizeof(count));

    corrald_store_each(CORRALD_SERVICE, corrald_metrics_service, services);
    corrald_store_each(CORRALD_INSTANCE, corrald_metrics_instance, &count);

    corrald_metrics_one(b, "corrald_registry_revision", "gauge",
                        "Revision of the registry.",
                        (double) corrald_store_status()->revision);

    corrald_metrics_head(b, "corrald_services", "gauge",
                         "Services by status.");

    for (i = 0; i < CORRALD_STATUS_N; i++) {
        corrald_buf_printf(b, "corrald_services{status=\"%s\"} %zu\n",
                           corrald_state_status_name(i), services[i]);
    }

    corrald_metrics_head(b, "corrald_instances", "gauge",
                         "Instances by state.");

    for (i = 0; i < CORRALD_STATE_N; i++) {
        corrald_buf_printf(b, "corrald_instances{state=\"%s\"} %zu\n",
                           corrald_state_name(i), count.state[i]);
    }

    corrald_metrics_head(b, "corrald_instances_running", "gauge",
                         "Running instances by health.");
    corrald_buf_printf(b, "corrald_instances_running{health=\"healthy\"} %zu\n"
                       "corrald_instances_running{health=\"degraded\"} %zu\n"
                       "corrald_instances_running{health=\"unhealthy\"} %zu\n"
                       "corrald_instances_running{health=\"unknown\"} %zu\n",
                       count.healthy, count.degraded, count.unhealthy,
                       count.unknown);

    behind = 0;

    json_array_foreach(corrald_store_workers(), n, worker) {
        behind += corrald_doc_int(worker, "revision")
                  < corrald_store_status()->revision;
    }

    corrald_metrics_one(b, "corrald_workers", "gauge",
                        "nginx workers with a lease.",
                        (double) json_array_size(corrald_store_workers()));
    corrald_metrics_one(b, "corrald_workers_behind", "gauge",
                        "Of these, workers that serve from an older revision.",
                        (double) behind);
    corrald_metrics_one(b, "corrald_nodes", "gauge", "Nodes ever seen.",
                        (double) json_array_size(corrald_store_nodes()));
}


static void
corrald_metrics_requests(corrald_buf_t *b)
{
    size_t                       i, class;
    uint64_t                     sum;
    const corrald_rest_route_t  *routes;

    routes = corrald_rest_routes();

    corrald_metrics_head(b, "corrald_http_requests_total", "counter",
                         "Answers by route and class of status.");

    for (i = 0; i < CORRALD_METRICS_ROUTES; i++) {

        if (i < CORRALD_METRICS_ROUTES - 1 && routes[i].method == NULL) {
            i = CORRALD_METRICS_ROUTES - 1;
        }

        for (class = 0; class < CORRALD_METRICS_CLASSES; class++) {
            if (corrald_metrics_counts[i][class]) {
                corrald_buf_printf(b, "corrald_http_requests_total{"
                                   "method=\"%s\",route=\"%s\",status=\"%zuxx"
                                   "\"} %llu\n",
                                   i == CORRALD_METRICS_ROUTES - 1
                                       ? "" : routes[i].method,
                                   i == CORRALD_METRICS_ROUTES - 1
                                       ? "" : routes[i].path, class,
                                   (unsigned long long)
                                   corrald_metrics_counts[i][class]);
            }
        }
    }

    corrald_metrics_head(b, "corrald_http_request_seconds", "histogram",
                         "Time from the headers to the answer.");

    for (i = 0, sum = 0; i < CORRALD_METRICS_BOUNDS; i++) {
        sum += corrald_metrics_buckets[i];
        corrald_buf_printf(b, "corrald_http_request_seconds_bucket{le=\"%g\"} "
                           "%llu\n",
                           (double) corrald_metrics_bounds[i] / 1000,
                           (unsigned long long) sum);
    }

    sum += corrald_metrics_buckets[i];

    corrald_buf_printf(b, "corrald_http_request_seconds_bucket{le=\"+Inf\"} "
                       "%llu\ncorrald_http_request_seconds_sum %g\n"
                       "corrald_http_request_seconds_count %llu\n",
                       (unsigned long long) sum,
                       (double) corrald_metrics_sum / 1000,
                       (unsigned long long) sum);

    corrald_metrics_one(b, "corrald_http_requests_open", "gauge",
                        "Requests without an end yet, streams included.",
                        (double) corrald_http_stats()->open);
    corrald_metrics_one(b, "corrald_http_streams", "gauge",
                        "Open streams of events and logs.",
                        (double) corrald_stream_clients());
}


static void
corrald_metrics_process(corrald_buf_t *b)
{
    FILE           *fp;
    unsigned long   pages;
    struct rusage   usage;

    memset(&usage, 0, sizeof(usage));
    getrusage(RUSAGE_SELF, &usage);

    corrald_metrics_one(b, "process_cpu_seconds_total", "counter",
                        "Processor time of corrald.",
                        (double) (usage.ru_utime.tv_sec
                                  + usage.ru_stime.tv_sec)
                        + (double) (usage.ru_utime.tv_usec
                                    + usage.ru_stime.tv_usec) / 1e6);

    pages = 0;
    fp = fopen("/proc/self/statm", "re");

    if (fp) {
        if (fscanf(fp, "%*u %lu", &pages) != 1) {
            pages = 0;
        }

        fclose(fp);
    }

    corrald_metrics_one(b, "process_resident_memory_bytes", "gauge",
                        "Resident memory of corrald.",
                        (double) pages * (double) sysconf(_SC_PAGESIZE));
}
