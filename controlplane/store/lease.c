
/*
 * The second's work: this node's lease, the leadership, whether the store is
 * still the one we know, and who else is there (nodes, workers, external
 * instances).  Everything is read at most once a second.
 *
 * A lease is renewed only by an answer: without Redis nobody leads, and a node
 * whose lease another corrald holds stops acting (CORRALD_BUS_FENCED).
 */


#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/alloc.h"
#include "../base/bus.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "../base/version.h"
#include "corrald_embed.h"
#include "local.h"


typedef struct corrald_lease_wait_s  corrald_lease_wait_t;

struct corrald_lease_wait_s {
    corrald_lease_wait_t     *next;
    corrald_journal_pt        handler;
    void                     *data;
};


/* One look at everything. */

typedef struct {
    json_t                   *nodes;
    json_t                   *workers;
    json_t                   *loads;     /* instance_id to object or null */
    corrald_lease_wait_t     *waits;
    int64_t                   begun;     /* wall clock, ms */
    int                       left;      /* answers to come */
    int                       failed;
} corrald_lease_look_t;


typedef struct {
    corrald_lease_look_t     *look;
    char                      id[CORRALD_KEY_SIZE];
} corrald_lease_item_t;


static void corrald_lease_beat(void *data);
static void corrald_lease_node(void);
static void corrald_lease_node_done(const redisReply *reply, const char *err,
    void *data);
static void corrald_lease_leader(void);
static void corrald_lease_leader_done(const redisReply *reply,
    const char *err, void *data);
static void corrald_lease_lead(int64_t token);
static void corrald_lease_epoch(const redisReply *reply, const char *err,
    void *data);
static void corrald_lease_clock(const redisReply *reply, const char *err,
    void *data);
static void corrald_lease_look(void);
static void corrald_lease_node_names(const redisReply *reply, const char *err,
    void *data);
static void corrald_lease_worker_names(const redisReply *reply,
    const char *err, void *data);
static void corrald_lease_names(const redisReply *reply,
    corrald_lease_look_t *look, corrald_key_e key, corrald_redis_pt handler);
static void corrald_lease_node_read(const redisReply *reply, const char *err,
    void *data);
static void corrald_lease_worker_read(const redisReply *reply,
    const char *err, void *data);
static void corrald_lease_load_ask(const corrald_entry_t *entry, void *data);
static void corrald_lease_load_read(const redisReply *reply, const char *err,
    void *data);
static void corrald_lease_ask(corrald_lease_look_t *look, corrald_key_e key,
    const char *id, corrald_redis_pt handler);
static void corrald_lease_looked(corrald_lease_look_t *look);
static void corrald_lease_nodes_seen(json_t *nodes);
static void corrald_lease_workers_seen(json_t *workers);
static void corrald_lease_suspects_seen(json_t *worker, json_t *before);
static json_t *corrald_lease_find(json_t *array, const char *member,
    const char *id);


static const char *const  corrald_lease_worker_numbers[] = {
    "pid", "start_time", "revision", "services", "instances", "connections",
    "suspects", NULL
};

static const char *const  corrald_lease_node_numbers[] = {
    "epoch", "pid", "revision", "instances", NULL
};


static corrald_timer_t        *corrald_lease_timer;
static corrald_lease_look_t   *corrald_lease_looking;
static corrald_lease_wait_t   *corrald_lease_waits;
static json_t                 *corrald_lease_nodes;
static json_t                 *corrald_lease_workers;
static json_t                 *corrald_lease_loads;
static corrald_map_t           corrald_lease_lost;  /* node to ms, as pointer */
static int64_t                 corrald_lease_until; /* monotonic: we lead */
static int64_t                 corrald_lease_sent;  /* monotonic */
static int64_t                 corrald_lease_max;   /* fence that was seen */
static size_t                  corrald_lease_running;
static char                    corrald_lease_started[CORRALD_CLOCK_SIZE];
static int                     corrald_lease_asked; /* leader.lua is out */


int64_t
corrald_store_leader(void)
{
    return corrald_clock_monotonic() < corrald_lease_until
           ? corrald_local.status.token : 0;
}


json_t *
corrald_store_nodes(void)
{
    if (corrald_lease_nodes == NULL) {
        corrald_lease_nodes = json_array();
    }

    return corrald_lease_nodes;
}


json_t *
corrald_store_workers(void)
{
    if (corrald_lease_workers == NULL) {
        corrald_lease_workers = json_array();
    }

    return corrald_lease_workers;
}


int
corrald_store_node_alive(const char *node)
{
    return corrald_doc_bool(corrald_lease_find(corrald_store_nodes(), "node",
                                               node),
                            "alive");
}


int64_t
corrald_store_node_lost(const char *node)
{
    return (int64_t) (intptr_t) corrald_map_get(&corrald_lease_lost, node);
}


void
corrald_store_node_instances(size_t n)
{
    corrald_lease_running = n;
}


json_t *
corrald_store_load(const char *instance_id)
{
    json_t  *load;

    if (corrald_lease_loads == NULL) {
        corrald_lease_loads = json_object();
    }

    load = json_object_get(corrald_lease_loads, instance_id);

    if (load == NULL) {
        load = json_object();
        json_object_set_new(corrald_lease_loads, instance_id, load);
    }

    return json_is_null(load) ? NULL : load;
}


void
corrald_store_heartbeat(const char *instance_id, const json_t *load,
    int64_t ttl, corrald_store_json_pt handler, void *data)
{
    corrald_people_heartbeat(instance_id, load, ttl, handler, data);

    (void) corrald_store_load(instance_id);
    json_object_set_new(corrald_lease_loads, instance_id,
                        json_deep_copy(load));
}


/* The main connection stands. */

void
corrald_lease_up(void)
{
    if (*corrald_lease_started == '\0') {
        corrald_clock_now(corrald_lease_started,
                          sizeof(corrald_lease_started));
    }

    corrald_loop_timer_stop(&corrald_lease_timer);
    corrald_lease_timer = corrald_loop_timer(0, CORRAL_HEARTBEAT,
                                             corrald_lease_beat, NULL);
}


void
corrald_lease_down(void)
{
    corrald_loop_timer_stop(&corrald_lease_timer);
    corrald_lease_lead(0);
}


/* The highest token or epoch that was seen. */

int64_t
corrald_lease_fence(void)
{
    return corrald_lease_max;
}


/* Looks now; handler is called with the result in place, or without Redis. */

void
corrald_lease_refresh(corrald_journal_pt handler, void *data)
{
    corrald_lease_wait_t  *w;

    w = corrald_alloc(1, sizeof(*w), "to look at the cluster");

    /* a look under way may have passed what the caller wants to see */

    w->handler = handler;
    w->data = data;
    w->next = corrald_lease_waits;
    corrald_lease_waits = w;

    if (corrald_lease_looking == NULL) {
        corrald_lease_look();
    }
}


void
corrald_lease_close(void)
{
    corrald_lease_down();

    json_decref(corrald_lease_nodes);
    json_decref(corrald_lease_workers);
    json_decref(corrald_lease_loads);

    corrald_lease_nodes = NULL;
    corrald_lease_workers = NULL;
    corrald_lease_loads = NULL;

    corrald_map_free(&corrald_lease_lost, NULL);
}


static void
corrald_lease_beat(void *data)
{
    char              key[CORRALD_KEY_SIZE];
    corrald_redis_t  *r;

    r = corrald_local.main;

    corrald_redis_command(r, 0, corrald_lease_epoch, NULL, "GET %s",
                          corrald_local_key(key, CORRALD_KEY_EPOCH));

    if (!corrald_local.status.ready) {

        /* a lease in a store that is about to be restored would be lost */

        corrald_lease_lead(0);
        return;
    }

    corrald_redis_command(r, 0, corrald_lease_clock, NULL, "TIME");

    corrald_lease_node();

    if (corrald_local.status.node_epoch) {
        corrald_lease_leader();
    }

    if (corrald_lease_looking == NULL) {
        corrald_lease_look();
    }
}


static void
corrald_lease_node(void)
{
    char                   keys[3][CORRALD_KEY_SIZE], epoch[24], pid[24];
    char                   revision[24], instances[24], ttl[24];
    corrald_redis_args_t   a;
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    snprintf(pid, sizeof(pid), "%d", (int) getpid());
    snprintf(ttl, sizeof(ttl), "%d", CORRAL_NODE_LEASE);
    snprintf(revision, sizeof(revision), "%lld",
             (long long) corrald_cache_revision());
    snprintf(instances, sizeof(instances), "%zu", corrald_lease_running);

    epoch[0] = '\0';

    if (corrald_local.status.node_epoch) {
        snprintf(epoch, sizeof(epoch), "%lld",
                 (long long) corrald_local.status.node_epoch);
    }

    memset(&a, 0, sizeof(a));

    corrald_redis_add(&a, "EVAL");
    corrald_redis_add_len(&a, corrald_lua_node, corrald_lua_node_len);
    corrald_redis_add(&a, "3");
    corrald_redis_add(&a, corrald_local_key(keys[0], CORRALD_KEY_NODE,
                                            conf->node));
    corrald_redis_add(&a, corrald_local_key(keys[1], CORRALD_KEY_NODES));
    corrald_redis_add(&a, corrald_local_key(keys[2], CORRALD_KEY_FENCE));
    corrald_redis_add(&a, conf->node);
    corrald_redis_add(&a, epoch);
    corrald_redis_add(&a, ttl);

    corrald_redis_add(&a, "pid");
    corrald_redis_add(&a, pid);
    corrald_redis_add(&a, "address");
    corrald_redis_add(&a, conf->listen);
    corrald_redis_add(&a, "version");
    corrald_redis_add(&a, CORRALD_VERSION);
    corrald_redis_add(&a, "started_at");
    corrald_redis_add(&a, corrald_lease_started);
    corrald_redis_add(&a, "revision");
    corrald_redis_add(&a, revision);
    corrald_redis_add(&a, "instances");
    corrald_redis_add(&a, instances);

    corrald_redis_send(corrald_local.main, &a, 0, corrald_lease_node_done,
                       NULL);
    corrald_redis_args_free(&a);
}


static void
corrald_lease_node_done(const redisReply *reply, const char *err, void *data)
{
    int      first;
    int64_t  epoch;

    if (reply == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY) {
        corrald_local_trouble("the lease of this node cannot be renewed: %s",
                              corrald_reply_str(reply));
        return;
    }

    epoch = corrald_reply_int(corrald_reply_at(reply, 1));

    if (strcmp(corrald_reply_str(reply->element[0]), "fenced") == 0) {
        corrald_local_trouble("node \"%s\" is run by another corrald, which "
                              "started later (epoch %lld, ours is %lld)",
                              corrald_conf()->node, (long long) epoch,
                              (long long) corrald_local.status.node_epoch);
        corrald_loop_timer_stop(&corrald_lease_timer);
        corrald_lease_lead(0);
        corrald_bus_emit(CORRALD_BUS_FENCED, NULL);
        return;
    }

    first = corrald_local.status.node_epoch == 0;
    corrald_local.status.node_epoch = epoch;
    corrald_lease_max = epoch > corrald_lease_max ? epoch : corrald_lease_max;

    if (first) {
        corrald_log_info("node \"%s\": epoch %lld", corrald_conf()->node,
                         (long long) epoch);
        corrald_store_event("node_up", "node", corrald_conf()->node, NULL);
    }
}


static void
corrald_lease_leader(void)
{
    char                   keys[2][CORRALD_KEY_SIZE], token[24], ttl[24];
    corrald_redis_args_t   a;

    if (corrald_lease_asked) {
        return;
    }

    corrald_lease_asked = 1;
    corrald_lease_sent = corrald_clock_monotonic();

    token[0] = '\0';

    if (corrald_local.status.token) {
        snprintf(token, sizeof(token), "%lld",
                 (long long) corrald_local.status.token);
    }

    snprintf(ttl, sizeof(ttl), "%d", CORRAL_LEADER_LEASE);

    memset(&a, 0, sizeof(a));

    corrald_redis_add(&a, "EVAL");
    corrald_redis_add_len(&a, corrald_lua_leader, corrald_lua_leader_len);
    corrald_redis_add(&a, "2");
    corrald_redis_add(&a, corrald_local_key(keys[0], CORRALD_KEY_LEADER));
    corrald_redis_add(&a, corrald_local_key(keys[1], CORRALD_KEY_FENCE));
    corrald_redis_add(&a, corrald_conf()->node);
    corrald_redis_add(&a, token);
    corrald_redis_add(&a, ttl);

    corrald_redis_send(corrald_local.main, &a, 0, corrald_lease_leader_done,
                       NULL);
    corrald_redis_args_free(&a);
}


static void
corrald_lease_leader_done(const redisReply *reply, const char *err,
    void *data)
{
    int64_t  token;

    corrald_lease_asked = 0;

    token = reply && reply->type == REDIS_REPLY_ARRAY
            ? strtoll(corrald_reply_str(corrald_reply_at(reply, 0)), NULL, 10)
            : 0;

    /* counted from the question: the answer may have been long on its way */

    corrald_lease_until = corrald_lease_sent + CORRAL_LEADER_LEASE
                          - CORRAL_HEARTBEAT;

    corrald_lease_lead(token);
}


static void
corrald_lease_lead(int64_t token)
{
    corrald_bus_leader_t  change;

    if (token > corrald_lease_max) {
        corrald_lease_max = token;
    }

    if (token == 0) {
        corrald_lease_until = 0;
    }

    if (token == corrald_local.status.token) {
        return;
    }

    corrald_local.status.token = token;

    change.leader = token != 0;
    change.token = token;

    corrald_log_info(token ? "this node leads, token %lld"
                           : "this node does not lead any more",
                     (long long) token);

    corrald_bus_emit(CORRALD_BUS_LEADER, &change);
}


/* A store whose epoch went, or changed, under our feet. */

static void
corrald_lease_epoch(const redisReply *reply, const char *err, void *data)
{
    if (reply == NULL || !corrald_local.status.ready) {
        return;
    }

    if (strcmp(corrald_reply_str(reply), corrald_local.epoch) != 0) {
        corrald_follow_recheck();
    }
}


static void
corrald_lease_clock(const redisReply *reply, const char *err, void *data)
{
    int64_t  ms;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        return;
    }

    ms = corrald_reply_int(corrald_reply_at(reply, 0)) * 1000
         + corrald_reply_int(corrald_reply_at(reply, 1)) / 1000;

    corrald_local.clock = ms - corrald_clock_ms();
}


static void
corrald_lease_look(void)
{
    char                   key[CORRALD_KEY_SIZE];
    corrald_lease_look_t  *look;

    look = corrald_alloc(1, sizeof(*look), "to look at the cluster");

    look->nodes = json_array();
    look->workers = json_array();
    look->loads = json_object();
    look->begun = corrald_clock_ms();
    look->left = 2;
    look->waits = corrald_lease_waits;

    corrald_lease_waits = NULL;
    corrald_lease_looking = look;

    corrald_redis_command(corrald_local.main, 0, corrald_lease_node_names,
                          look, "SMEMBERS %s",
                          corrald_local_key(key, CORRALD_KEY_NODES));
    corrald_redis_command(corrald_local.main, 0, corrald_lease_worker_names,
                          look, "SMEMBERS %s",
                          corrald_local_key(key, CORRALD_KEY_WORKERS));

    corrald_store_each(CORRALD_INSTANCE, corrald_lease_load_ask, look);
}


static void
corrald_lease_node_names(const redisReply *reply, const char *err, void *data)
{
    corrald_lease_names(reply, data, CORRALD_KEY_NODE,
                        corrald_lease_node_read);
}


static void
corrald_lease_worker_names(const redisReply *reply, const char *err,
    void *data)
{
    corrald_lease_names(reply, data, CORRALD_KEY_WORKER,
                        corrald_lease_worker_read);
}


static void
corrald_lease_names(const redisReply *reply, corrald_lease_look_t *look,
    corrald_key_e key, corrald_redis_pt handler)
{
    size_t  i;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        look->failed = 1;

    } else {
        for (i = 0; i < reply->elements; i++) {
            corrald_lease_ask(look, key,
                              corrald_reply_str(reply->element[i]), handler);
        }
    }

    corrald_lease_looked(look);
}


static void
corrald_lease_ask(corrald_lease_look_t *look, corrald_key_e key,
    const char *id, corrald_redis_pt handler)
{
    char                   name[CORRALD_KEY_SIZE];
    corrald_lease_item_t  *item;

    item = corrald_alloc(1, sizeof(*item), "to look at the cluster");

    item->look = look;
    snprintf(item->id, sizeof(item->id), "%s", id);
    look->left++;

    corrald_redis_command(corrald_local.main, 0, handler, item, "HGETALL %s",
                          corrald_local_key(name, key, id));
}


static void
corrald_lease_node_read(const redisReply *reply, const char *err, void *data)
{
    json_t                *node;
    corrald_lease_item_t  *item;

    item = data;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        item->look->failed = 1;

    } else {
        node = corrald_reply_object(reply, corrald_lease_node_numbers);
        json_object_set_new(node, "alive",
                            json_boolean(reply->elements > 0));
        json_object_set_new(node, "node", json_string(item->id));
        json_array_append_new(item->look->nodes, node);
    }

    corrald_lease_looked(item->look);
    free(item);
}


static void
corrald_lease_worker_read(const redisReply *reply, const char *err,
    void *data)
{
    char                   key[CORRALD_KEY_SIZE];
    json_t                *worker;
    corrald_lease_item_t  *item;

    item = data;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        item->look->failed = 1;

    } else if (reply->elements == 0) {

        /* its lease ended: readers take it out of the set */

        corrald_redis_command(corrald_local.main, 0, NULL, NULL, "SREM %s %s",
                              corrald_local_key(key, CORRALD_KEY_WORKERS),
                              item->id);

    } else {
        worker = corrald_reply_object(reply, corrald_lease_worker_numbers);
        json_object_set_new(worker, "worker", json_string(item->id));
        json_array_append_new(item->look->workers, worker);
    }

    corrald_lease_looked(item->look);
    free(item);
}


static void
corrald_lease_load_ask(const corrald_entry_t *entry, void *data)
{
    const json_t           *probe;
    const corrald_entry_t  *service;

    service = corrald_store_get(CORRALD_SERVICE,
                                corrald_doc_str(entry->doc, "service_id"));
    probe = service ? json_object_get(service->doc, "readiness_probe") : NULL;

    if (!corrald_doc_bool(entry->doc, "managed")
        || (json_is_object(probe)
            && strcmp(corrald_doc_str(probe, "type"), "agent_check") == 0))
    {
        corrald_lease_ask(data, CORRALD_KEY_LOAD, entry->id,
                          corrald_lease_load_read);
    }
}


static void
corrald_lease_load_read(const redisReply *reply, const char *err, void *data)
{
    corrald_lease_item_t  *item;

    item = data;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        item->look->failed = 1;

    } else {
        json_object_set_new(item->look->loads, item->id,
                            reply->elements
                            ? corrald_reply_object(reply, NULL)
                            : json_null());
    }

    corrald_lease_looked(item->look);
    free(item);
}


/* One answer has come; after the last one, the look is what is known. */

static void
corrald_lease_looked(corrald_lease_look_t *look)
{
    corrald_lease_wait_t  *w, *next;

    if (--look->left) {
        return;
    }

    corrald_lease_looking = NULL;

    if (!look->failed) {
        corrald_lease_nodes_seen(look->nodes);
        corrald_lease_workers_seen(look->workers);

        json_decref(corrald_lease_nodes);
        json_decref(corrald_lease_workers);
        json_decref(corrald_lease_loads);

        corrald_lease_nodes = look->nodes;
        corrald_lease_workers = look->workers;
        corrald_lease_loads = look->loads;

    } else {
        json_decref(look->nodes);
        json_decref(look->workers);
        json_decref(look->loads);
    }

    for (w = look->waits; w; w = next) {
        next = w->next;
        w->handler(w->data);
        free(w);
    }

    free(look);

    if (corrald_lease_waits && corrald_lease_looking == NULL) {
        corrald_lease_look();
    }
}


static void
corrald_lease_nodes_seen(json_t *nodes)
{
    int          was;
    size_t       i;
    json_t      *node;
    const char  *name;

    json_array_foreach(nodes, i, node) {
        name = corrald_doc_str(node, "node");
        was = corrald_store_node_lost(name) == 0;

        if (corrald_doc_bool(node, "alive")) {
            corrald_map_del(&corrald_lease_lost, name);
            continue;
        }

        if (!was) {
            continue;
        }

        if (corrald_map_set(&corrald_lease_lost, name,
                            (void *) (intptr_t) corrald_clock_ms())
            != 0)
        {
            corrald_alloc_failed("to look at the cluster");
        }

        /* one of all nodes tells it, of a change that it has seen itself */

        if (corrald_store_leader()
            && corrald_lease_find(corrald_lease_nodes, "node", name))
        {
            corrald_store_event("node_lost", "node", name, NULL);
        }
    }
}


static void
corrald_lease_workers_seen(json_t *workers)
{
    size_t       i;
    json_t      *worker, *before, *detail;
    const char  *id;

    if (corrald_lease_workers == NULL || !corrald_store_leader()) {
        return;
    }

    json_array_foreach(workers, i, worker) {
        id = corrald_doc_str(worker, "worker");
        before = corrald_lease_find(corrald_lease_workers, "worker", id);

        corrald_lease_suspects_seen(worker, before);

        if (before == NULL) {
            detail = json_pack("{s:s, s:s}",
                               "gateway", corrald_doc_str(worker, "gateway"),
                               "node", corrald_doc_str(worker, "node"));
            corrald_store_event("gateway_up", "worker", id, detail);
            json_decref(detail);
        }
    }

    json_array_foreach(corrald_lease_workers, i, worker) {
        id = corrald_doc_str(worker, "worker");

        if (corrald_lease_find(workers, "worker", id) == NULL) {
            detail = json_pack("{s:s, s:s}",
                               "gateway", corrald_doc_str(worker, "gateway"),
                               "node", corrald_doc_str(worker, "node"));
            corrald_store_event("gateway_gone", "worker", id, detail);
            json_decref(detail);
        }
    }
}


/* has a worker met messages that kill, since it was last looked at? */

static void
corrald_lease_suspects_seen(json_t *worker, json_t *before)
{
    json_t   *detail;
    int64_t   n;

    n = corrald_doc_int(worker, "suspects");

    if (before) {
        n -= corrald_doc_int(before, "suspects");
    }

    if (n <= 0) {
        return;
    }

    detail = json_pack("{s:s, s:I}",
                       "worker", corrald_doc_str(worker, "worker"),
                       "messages", (json_int_t) n);
    corrald_store_event("message_suspect", "service",
                        corrald_doc_str(worker, "suspect_service_id"),
                        detail);
    json_decref(detail);
}


static json_t *
corrald_lease_find(json_t *array, const char *member, const char *id)
{
    size_t   i;
    json_t  *item;

    json_array_foreach(array, i, item) {
        if (strcmp(corrald_doc_str(item, member), id) == 0) {
            return item;
        }
    }

    return NULL;
}
