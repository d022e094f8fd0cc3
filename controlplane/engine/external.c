/*
 * Instances that registered themselves, and nodes that were lost.
 *
 *     no heartbeat within the ttl      health unknown, reason ttl_expired
 *     a heartbeat comes back           health healthy, reason heartbeat
 *     none for ten times the ttl       removed
 *     maintenance                      paused, and back
 *
 * An external instance is looked after by the node that took its registration,
 * and by the leader when that node is lost.  The leader also says of the
 * instances of a lost node: health unknown, node_lost, at once; failed after
 * CORRAL_NODE_LOST.  Its commits carry the leader's token, so that one who is
 * no leader any more changes nothing.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "../base/map.h"
#include "local.h"


/* times the ttl without a heartbeat, then it is removed */

#define CORRALD_EXTERNAL_REMOVE  10


static void corrald_external_each(const corrald_entry_t *entry, void *data);
static void corrald_external_ttl(const corrald_entry_t *entry,
    unsigned flags);
static void corrald_external_maintain(const corrald_entry_t *entry,
    unsigned flags);
static void corrald_external_lost(const corrald_entry_t *entry);
static void corrald_external_set(const char *id, json_t *doc,
    unsigned flags);
static int64_t corrald_external_silent(const char *id, int silent);
static void corrald_external_prune(void);


/* by instance_id: since when there is no heartbeat (int64_t, monotonic) */

static corrald_map_t  corrald_external_since;


/* To be called again and again while the store is there. */

void
corrald_external_tick(void)
{
    corrald_store_each(CORRALD_INSTANCE, corrald_external_each, NULL);
    corrald_external_prune();
}


static void
corrald_external_each(const corrald_entry_t *entry, void *data)
{
    int          mine, alive;
    unsigned     flags;
    const char  *node;

    node = corrald_doc_str(entry->doc, "node");
    mine = (strcmp(node, corrald_conf()->node) == 0);
    alive = mine || corrald_store_node_alive(node);

    if (!mine && (alive || corrald_store_leader() == 0)) {
        return;
    }

    if (corrald_doc_bool(entry->doc, "managed")) {

        if (!alive) {
            corrald_external_lost(entry);
        }

        return;
    }

    flags = mine ? CORRALD_AS_NODE : CORRALD_AS_LEADER;

    corrald_external_ttl(entry, flags);
    corrald_external_maintain(entry, flags);
}


static void
corrald_external_ttl(const corrald_entry_t *entry, unsigned flags)
{
    int            silent, known;
    int64_t        since, ttl;
    json_t        *change;
    const char    *health, *reason, *state;
    corrald_op_t   op;

    silent = (corrald_store_load(entry->id) == NULL);
    since = corrald_external_silent(entry->id, silent);
    health = corrald_doc_str(entry->doc, "health");
    reason = corrald_doc_str(entry->doc, "reason");
    state = corrald_doc_str(entry->doc, "state");
    ttl = corrald_doc_ms(entry->doc, "ttl");
    known = (strcmp(health, "unknown") != 0);

    if (!silent) {

        if (strcmp(reason, "ttl_expired") == 0) {
            change = json_pack("{s:s, s:s, s:s}", "health", "healthy",
                               "reason", "heartbeat", "message",
                               "its heartbeat is back");
            corrald_external_set(entry->id, change, flags);
        }

        return;
    }

    /* the heartbeat itself expires after one ttl */

    if (corrald_clock_monotonic() - since
        >= ttl * (CORRALD_EXTERNAL_REMOVE - 1))
    {
        memset(&op, 0, sizeof(op));
        op.op = CORRALD_DEL;
        op.kind = CORRALD_INSTANCE;
        op.id = entry->id;
        op.owners = CORRALD_OWNER_all;
        op.expected = entry->revision;

        corrald_log_warn("instance \"%s\": no heartbeat for %lld s, it is "
                         "removed", entry->id,
                         (long long) (ttl * CORRALD_EXTERNAL_REMOVE / 1000));
        corrald_store_commit(&op, 1, flags, NULL, NULL);
        return;
    }

    if (known || (strcmp(reason, "ttl_expired") != 0
                  && strcmp(state, "stopped") != 0))
    {
        change = json_pack("{s:s, s:s, s:o}", "health", "unknown", "reason",
                           "ttl_expired", "message",
                           json_sprintf("no heartbeat for %lld s",
                                        (long long) ttl / 1000));
        corrald_external_set(entry->id, change, flags);
    }
}


/* Its operator takes it out of routing and back; the process is elsewhere. */

static void
corrald_external_maintain(const corrald_entry_t *entry, unsigned flags)
{
    int          out;
    const char  *state;

    out = corrald_doc_bool(entry->doc, "maintenance");
    state = corrald_doc_str(entry->doc, "state");

    if (out && strcmp(state, "running") == 0) {
        corrald_external_set(entry->id,
                             corrald_instance_change("paused", "maintenance",
                                                     "in maintenance"),
                             flags);

    } else if (!out && strcmp(state, "paused") == 0) {
        corrald_external_set(entry->id,
                             corrald_instance_change("running", "requested",
                                                     "maintenance is over"),
                             flags);
    }
}


/* A managed instance of a node without lease; we are the leader. */

static void
corrald_external_lost(const corrald_entry_t *entry)
{
    int          state;
    int64_t      lost;
    json_t      *change;
    const char  *node, *reason;

    node = corrald_doc_str(entry->doc, "node");
    reason = corrald_doc_str(entry->doc, "reason");
    lost = corrald_store_node_lost(node);
    state = corrald_state_parse(corrald_doc_str(entry->doc, "state"));

    if (lost == 0 || state == -1
        || !corrald_state_lives((corrald_state_e) state))
    {
        return;
    }

    if (corrald_clock_ms() - lost > CORRAL_NODE_LOST) {
        change = corrald_instance_change("failed", "node_lost", "node \"%s\" "
                                         "has no lease for %d s", node,
                                         CORRAL_NODE_LOST / 1000);
        if (change != NULL) {
            json_object_set_new(change, "health", json_string("unknown"));
            json_object_set_new(change, "retry_at", json_null());
            json_object_set_new(change, "pid", json_null());
        }

        corrald_log_warn("instance \"%s\": node \"%s\" is lost", entry->id,
                         node);
        corrald_external_set(entry->id, change, CORRALD_AS_LEADER);
        return;
    }

    if (strcmp(reason, "node_lost") != 0) {
        change = json_pack("{s:s, s:s, s:o}", "health", "unknown", "reason",
                           "node_lost", "message",
                           json_sprintf("node \"%s\" has no lease", node));
        corrald_external_set(entry->id, change, CORRALD_AS_LEADER);
    }
}


static void
corrald_external_set(const char *id, json_t *doc, unsigned flags)
{
    if (doc != NULL) {
        corrald_store_set(CORRALD_INSTANCE, id, doc, CORRALD_OWNER_node,
                          flags, NULL, NULL);
    }
}


/* Since when it is silent; 0 when it is not. */

static int64_t
corrald_external_silent(const char *id, int silent)
{
    int64_t  *since;

    since = corrald_map_get(&corrald_external_since, id);

    if (!silent) {

        if (since != NULL) {
            (void) corrald_map_del(&corrald_external_since, id);
            free(since);
        }

        return 0;
    }

    if (since == NULL) {
        since = malloc(sizeof(int64_t));

        if (since == NULL) {
            return corrald_clock_monotonic();
        }

        *since = corrald_clock_monotonic();

        if (corrald_map_set(&corrald_external_since, id, since) != 0) {
            free(since);
            return corrald_clock_monotonic();
        }
    }

    return *since;
}


/* Of instances that are gone. */

static void
corrald_external_prune(void)
{
    void                *value;
    const char          *key;
    corrald_map_iter_t   it;

    corrald_map_first(&corrald_external_since, &it);

    while (corrald_map_next(&corrald_external_since, &it, &key, &value)) {
        if (corrald_store_get(CORRALD_INSTANCE, key) == NULL) {
            free(corrald_map_del(&corrald_external_since, key));
        }
    }
}
