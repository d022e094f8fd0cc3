
/*
 * Who is there: nodes, nginx workers, and this node itself.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/version.h"
#include "../engine/engine.h"
#include "api.h"


static void corrald_cluster_list(corrald_rest_t *r, json_t *array,
    const char *key, corrald_rest_show_pt show);
static json_t *corrald_cluster_node(void *row, void *data);
static json_t *corrald_cluster_worker(void *row, void *data);


void
corrald_cluster_nodes(corrald_rest_t *r)
{
    corrald_cluster_list(r, corrald_store_nodes(), "node",
                         corrald_cluster_node);
}


void
corrald_cluster_gateways(corrald_rest_t *r)
{
    corrald_cluster_list(r, corrald_store_workers(), "worker",
                         corrald_cluster_worker);
}


void
corrald_cluster_info(corrald_rest_t *r)
{
    json_t                        *info, *redis;
    const corrald_conf_t          *conf;
    const corrald_store_status_t  *store;

    conf = corrald_conf();
    store = corrald_store_status();

    redis = json_pack("{s:s, s:b, s:b, s:b, s:s, s:I, s:s}",
                      "where", store->where, "embedded", store->embedded,
                      "connected", store->connected, "ready", store->ready,
                      "epoch", store->epoch,
                      "revision", (json_int_t) store->revision,
                      "error", store->error);

    info = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:i, s:i, s:o?}",
                     "name", "Corral", "version", CORRALD_VERSION,
                     "description", "Runs, routes and watches AI agents "
                                    "behind nginx",
                     "cluster", conf->cluster, "node", conf->node,
                     "leader", corrald_store_leader() != 0,
                     "gateway_url", conf->gateway_url,
                     "services", (int) corrald_store_count(CORRALD_SERVICE),
                     "instances", (int) corrald_store_count(CORRALD_INSTANCE),
                     "store", redis);

    json_object_set_new(info, "engine", corrald_engine_report());

    corrald_rest_json(r, 200, info);
}


static void
corrald_cluster_list(corrald_rest_t *r, json_t *array, const char *key,
    corrald_rest_show_pt show)
{
    size_t               i;
    json_t              *item;
    corrald_uri_row_t   *rows;

    rows = corrald_alloc(json_array_size(array) + 1,
                         sizeof(*rows), "for a list");

    json_array_foreach(array, i, item) {
        rows[i].key = corrald_doc_str(item, key);
        rows[i].id = "";
        rows[i].data = item;
    }

    corrald_rest_page(r, rows, json_array_size(array), key, 0, show, NULL);
    free(rows);
}


static json_t *
corrald_cluster_node(void *row, void *data)
{
    char         lost[CORRALD_CLOCK_SIZE];
    json_t      *view;
    int64_t      since;
    const char  *name;

    view = json_copy(row);
    name = corrald_doc_str(view, "node");
    since = corrald_store_node_lost(name);

    json_object_set_new(view, "status",
                        json_string(corrald_doc_bool(view, "alive")
                                    ? "up" : "lost"));
    json_object_set_new(view, "lost_at", since
                        ? json_string(corrald_clock_format(since, lost,
                                                           sizeof(lost)))
                        : json_null());
    json_object_set_new(view, "self",
                        json_boolean(strcmp(name, corrald_conf()->node) == 0));

    return view;
}


/* Whether a worker serves from the newest revision is what people look for. */

static json_t *
corrald_cluster_worker(void *row, void *data)
{
    json_t                        *view;
    int64_t                        behind;
    const corrald_store_status_t  *store;

    view = json_copy(row);
    store = corrald_store_status();

    behind = store->revision - corrald_doc_int(view, "revision");

    if (strcmp(corrald_doc_str(view, "epoch"), store->epoch) != 0) {
        behind = store->revision + 1;
    }

    json_object_set_new(view, "behind", json_integer(behind > 0 ? behind : 0));
    json_object_set_new(view, "applied", json_boolean(behind <= 0));

    return view;
}
