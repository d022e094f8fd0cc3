
/*
 * Changes of the registry.
 *
 * A commit is prepared against the view: operations become documents, are
 * checked, get their times, MACs, events and history.  commit.lua then
 * compares revisions and writes all or nothing.  A conflict brings the newer
 * document with it; where the caller did not insist on a revision, the commit
 * is prepared and sent again.
 *
 * What comes of it is applied to the view at once, not when the stream brings
 * it: who was told DONE reads his own change.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "../model/check.h"
#include "../model/diff.h"
#include "../model/state.h"
#include "corrald_embed.h"
#include "local.h"


#define CORRALD_COMMIT_TRIES  16


typedef struct {

    /* as asked for */

    corrald_op_e      op;
    corrald_kind_e    kind;
    char              id[CORRAL_ID_MAX + 1];
    json_t           *doc;
    unsigned          owners;
    int64_t           expected;

    /* as prepared */

    int               idle;          /* would change nothing */
    json_t           *before;
    json_t           *after;         /* NULL: deleted */
    char             *text;
    size_t            len;
    int64_t           base;          /* revision it was prepared against */
    char              mac[CORRALD_CRYPT_HEX];
    char              number[24];
    char              name[CORRALD_DOC_UNIQUE];   /* "" when it has none */
    char              was[CORRALD_DOC_UNIQUE];
    char             *history;
} corrald_commit_op_t;


typedef struct {
    corrald_commit_op_t   *ops;
    size_t                 n;
    unsigned               flags;
    corrald_commit_pt      handler;
    void                  *data;
    int                    tries;

    int                    held;     /* its documents are under way */
    json_t                *events;   /* array of [type, kind, id, data] */
    corrald_result_e       result;
    int64_t                revision;
    char                   id[CORRAL_ID_MAX + 1];
    char                   message[640];
} corrald_commit_t;


/* Who waits for the commits under way on one document. */

typedef struct corrald_commit_wait_s  corrald_commit_wait_t;

struct corrald_commit_wait_s {
    corrald_commit_wait_t   *next;
    void                   (*handler)(void *data);
    void                    *data;
};

typedef struct {
    size_t                   commits;    /* under way */
    corrald_commit_wait_t   *first;
    corrald_commit_wait_t  **last;
    char                     key[CORRALD_KEY_SIZE];
} corrald_commit_lane_t;


static void corrald_commit_begin(void *data);
static void corrald_commit_run(void *data);
static int corrald_commit_prepare(corrald_commit_t *c);
static int corrald_commit_op(corrald_commit_t *c, corrald_commit_op_t *op);
static int corrald_commit_merge(corrald_commit_t *c, corrald_commit_op_t *op,
    const corrald_cache_t *known);
static int corrald_commit_finish(corrald_commit_t *c,
    corrald_commit_op_t *op);
static int corrald_commit_state(corrald_commit_t *c, corrald_commit_op_t *op);
static void corrald_commit_events(corrald_commit_t *c,
    corrald_commit_op_t *op);
static void corrald_commit_instance_events(corrald_commit_t *c,
    corrald_commit_op_t *op);
static void corrald_commit_event(corrald_commit_t *c, const char *type,
    corrald_kind_e kind, const char *id, json_t *data);
static void corrald_commit_statuses(corrald_commit_t *c);
static void corrald_commit_status(corrald_commit_t *c, const char *service_id);
static corrald_commit_lane_t *corrald_commit_lane(corrald_kind_e kind,
    const char *id, int make);
static void corrald_commit_hold(corrald_commit_t *c, int hold);
static void corrald_commit_send(corrald_commit_t *c);
static void corrald_commit_replied(const redisReply *reply, const char *err,
    void *data);
static void corrald_commit_taken(corrald_commit_t *c, const char *id,
    const char *other);
static void corrald_commit_conflict(corrald_commit_t *c,
    const redisReply *reply);
static void corrald_commit_apply(corrald_commit_t *c, int64_t revision);
static void corrald_commit_synced(void *data);
static int corrald_commit_fail(corrald_commit_t *c, corrald_result_e result,
    const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void corrald_commit_end(corrald_commit_t *c);
static void corrald_commit_reset(corrald_commit_t *c);


/* documents with a commit under way, or with somebody who waits for his turn */

static corrald_map_t  corrald_commit_lanes;


void
corrald_store_commit(const corrald_op_t *ops, size_t n, unsigned flags,
    corrald_commit_pt handler, void *data)
{
    size_t             i;
    corrald_commit_t  *c;

    c = calloc(1, sizeof(*c));

    if (c) {
        c->ops = calloc(n + 1, sizeof(*c->ops));
    }

    if (c == NULL || c->ops == NULL) {
        corrald_log_error("no memory for a commit");
        abort();
    }

    c->n = n;
    c->flags = flags;
    c->handler = handler;
    c->data = data;

    for (i = 0; i < n; i++) {
        c->ops[i].op = ops[i].op;
        c->ops[i].kind = ops[i].kind;
        c->ops[i].doc = json_incref(ops[i].doc);
        c->ops[i].owners = ops[i].owners;
        c->ops[i].expected = ops[i].expected;
        snprintf(c->ops[i].id, sizeof(c->ops[i].id), "%s", ops[i].id);
    }

    corrald_commit_begin(c);
}


void
corrald_store_turn(corrald_kind_e kind, const char *id,
    void (*handler)(void *data), void *data)
{
    corrald_commit_lane_t  *lane;
    corrald_commit_wait_t  *w;

    lane = corrald_commit_lane(kind, id, 0);

    if (lane == NULL) {
        handler(data);
        return;
    }

    w = malloc(sizeof(*w));

    if (w == NULL) {
        corrald_log_error("no memory for a commit");
        abort();
    }

    w->handler = handler;
    w->data = data;
    w->next = NULL;

    *lane->last = w;
    lane->last = &w->next;
}


void
corrald_store_set(corrald_kind_e kind, const char *id, json_t *doc,
    unsigned owners, unsigned flags, corrald_commit_pt handler, void *data)
{
    corrald_op_t  op;

    op.op = CORRALD_SET;
    op.kind = kind;
    op.id = id;
    op.doc = doc;
    op.owners = owners;
    op.expected = CORRALD_ANY;

    corrald_store_commit(&op, 1, flags, handler, data);

    json_decref(doc);
}


/* in the next turn of the loop: a handler is never called from the call */

static void
corrald_commit_ended(void *data)
{
    corrald_commit_end(data);
}


static void
corrald_commit_later(corrald_commit_t *c)
{
    if (corrald_loop_soon(corrald_commit_ended, c) != 0) {
        corrald_log_error("no memory for a commit");
        abort();
    }
}


/*
 * What can be merged into any revision waits for the commits before it: they
 * would only be a conflict.  All others are sent at once.
 */

static void
corrald_commit_begin(void *data)
{
    size_t                  i;
    corrald_commit_t       *c;
    corrald_commit_lane_t  *lane;

    c = data;

    for (i = 0; i < c->n; i++) {
        lane = corrald_commit_lane(c->ops[i].kind, c->ops[i].id, 0);

        if (lane && lane->commits && c->ops[i].expected == CORRALD_ANY) {
            corrald_store_turn(c->ops[i].kind, c->ops[i].id,
                               corrald_commit_begin, c);
            return;
        }
    }

    corrald_commit_run(c);
}


static void
corrald_commit_run(void *data)
{
    size_t             i;
    corrald_commit_t  *c;

    c = data;

    if (!corrald_local.status.ready) {
        corrald_commit_fail(c, CORRALD_UNAVAILABLE, "", "%s",
                            *corrald_local.error ? corrald_local.error
                            : corrald_local.status.loads
                              ? "Redis does not answer on the connection by "
                                "which the registry is followed"
                              : "the registry is not loaded yet");
        corrald_commit_later(c);
        return;
    }

    if (corrald_commit_prepare(c) != 0) {
        corrald_commit_later(c);
        return;
    }

    for (i = 0; i < c->n; i++) {
        if (!c->ops[i].idle) {
            corrald_commit_send(c);
            return;
        }
    }

    c->result = CORRALD_DONE;
    c->revision = corrald_cache_revision();

    corrald_commit_later(c);
}


static int
corrald_commit_prepare(corrald_commit_t *c)
{
    size_t  i;

    corrald_commit_reset(c);
    c->events = json_array();

    if ((c->flags & CORRALD_AS_LEADER) && corrald_store_leader() == 0) {
        return corrald_commit_fail(c, CORRALD_FENCED, "",
                                   "this node does not lead");
    }

    if ((c->flags & CORRALD_AS_NODE) && corrald_local.status.node_epoch == 0) {
        return corrald_commit_fail(c, CORRALD_FENCED, "",
                                   "this node has no lease yet");
    }

    for (i = 0; i < c->n; i++) {
        if (corrald_commit_op(c, &c->ops[i]) != 0) {
            return -1;
        }
    }

    for (i = 0; i < c->n; i++) {
        if (!c->ops[i].idle) {
            corrald_commit_events(c, &c->ops[i]);
        }
    }

    corrald_commit_statuses(c);

    return 0;
}


static int
corrald_commit_op(corrald_commit_t *c, corrald_commit_op_t *op)
{
    corrald_cache_t  *known;

    known = corrald_cache_get(op->kind, op->id);
    op->base = known ? known->entry.revision : 0;

    if (op->expected != CORRALD_ANY && op->expected != op->base) {
        c->revision = op->base;
        return corrald_commit_fail(c, CORRALD_CONFLICT, op->id, "the %s has "
                                   "revision %lld, not %lld",
                                   corrald_doc_kind(op->kind),
                                   (long long) op->base,
                                   (long long) op->expected);
    }

    if (known == NULL && op->op != CORRALD_PUT) {
        return corrald_commit_fail(c, CORRALD_MISSING, op->id,
                                   "there is no %s \"%s\"",
                                   corrald_doc_kind(op->kind), op->id);
    }

    op->before = known ? json_incref(known->entry.doc) : NULL;

    if (op->op == CORRALD_DEL) {
        return 0;
    }

    if (corrald_commit_merge(c, op, known) != 0) {
        return -1;
    }

    return corrald_commit_finish(c, op);
}


/* Makes op->after of what is known and what is asked for. */

static int
corrald_commit_merge(corrald_commit_t *c, corrald_commit_op_t *op,
    const corrald_cache_t *known)
{
    json_t                 *value;
    const char             *name;
    const corrald_field_t  *f;

    op->after = known ? json_copy(known->entry.doc) : json_object();

    json_object_foreach(op->doc, name, value) {
        f = corrald_doc_field(op->kind, name);

        if (f == NULL) {
            return corrald_commit_fail(c, CORRALD_INVALID, op->id,
                                       "\"%s\" is not a field of a %s", name,
                                       corrald_doc_kind(op->kind));
        }

        if (known == NULL || (f->owner & op->owners)) {
            json_object_set(op->after, name, value);
        }
    }

    /* a whole document: what it does not have goes back to its default */

    for (f = corrald_doc_fields(op->kind); known && f->name; f++) {
        if (op->op == CORRALD_PUT && (f->owner & op->owners) && *f->preset
            && !(f->flags & CORRAL_F)
            && json_object_get(op->doc, f->name) == NULL)
        {
            json_object_del(op->after, f->name);
        }
    }

    return 0;
}


/* Times, defaults, checks, text, MAC. */

static int
corrald_commit_finish(corrald_commit_t *c, corrald_commit_op_t *op)
{
    int              rc;
    char             now[CORRALD_CLOCK_SIZE];
    corrald_check_t  check;

    corrald_clock_now(now, sizeof(now));

    json_object_set_new(op->after, corrald_doc_id(op->kind),
                        json_string(op->id));

    if (op->before == NULL) {
        json_object_set_new(op->after, "created_at", json_string(now));
        json_object_set_new(op->after, op->kind == CORRALD_INSTANCE
                                       ? "state_at" : "updated_at",
                            json_string(now));
    }

    if (corrald_check_fill(op->kind, op->after) != 0) {
        return corrald_commit_fail(c, CORRALD_INVALID, op->id, "no memory");
    }

    if (op->before && json_equal(op->before, op->after)) {
        op->idle = 1;
        return 0;
    }

    if (op->before && op->kind != CORRALD_INSTANCE) {
        json_object_set_new(op->after, "updated_at", json_string(now));
    }

    if (op->kind == CORRALD_INSTANCE && corrald_commit_state(c, op) != 0) {
        return -1;
    }

    corrald_check_init(&check);
    rc = corrald_check_document(&check, op->kind, op->after);

    if (rc != 0) {
        corrald_commit_fail(c, CORRALD_INVALID, op->id, "%s", check.sentence);
    }

    corrald_check_free(&check);

    if (rc != 0) {
        return -1;
    }

    op->text = json_dumps(op->after, JSON_COMPACT);
    op->len = op->text ? strlen(op->text) : 0;

    if (op->text == NULL || op->len > CORRAL_DOCUMENT_MAX) {
        return corrald_commit_fail(c, CORRALD_INVALID, op->id, "the document "
                                   "has %zu bytes, at most %d are stored",
                                   op->len, CORRAL_DOCUMENT_MAX);
    }

    if (op->kind == CORRALD_SERVICE) {
        corrald_crypt_hmac(corrald_local.hmac, corrald_local.hmac_len,
                           op->text, op->len, op->mac);
    }

    return 0;
}


/* The change of an instance's state: legal, dated, noted in its history. */

static int
corrald_commit_state(corrald_commit_t *c, corrald_commit_op_t *op)
{
    int          from, to, health;
    char         now[CORRALD_CLOCK_SIZE];
    json_t      *note;
    const char  *was, *is;

    was = corrald_doc_str(op->before, "state");
    is = corrald_doc_str(op->after, "state");
    from = corrald_state_parse(was);
    to = corrald_state_parse(is);
    health = strcmp(corrald_doc_str(op->before, "health"),
                    corrald_doc_str(op->after, "health"))
             != 0;

    if (from == to && !health) {
        return 0;
    }

    if (op->before && from != to && from != -1 && to != -1
        && corrald_state_change(from, to) == NULL)
    {
        return corrald_commit_fail(c, CORRALD_INVALID, op->id, "an instance "
                                   "cannot go from %s to %s", was, is);
    }

    corrald_clock_now(now, sizeof(now));

    if (from != to) {
        json_object_set_new(op->after, "state_at", json_string(now));
    }

    note = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}",
                     "at", now, "state", is,
                     "health", corrald_doc_str(op->after, "health"),
                     "reason", corrald_doc_str(op->after, "reason"),
                     "message", corrald_doc_str(op->after, "message"),
                     "incarnation", json_object_get(op->after,
                                                    "incarnation"));

    op->history = json_dumps(note, JSON_COMPACT);
    json_decref(note);

    return 0;
}


static void
corrald_commit_events(corrald_commit_t *c, corrald_commit_op_t *op)
{
    char         type[32];
    json_t      *names;
    size_t       i;
    const char  *name;

    if (op->kind == CORRALD_INSTANCE) {
        corrald_commit_instance_events(c, op);
        return;
    }

    name = corrald_doc_str(op->after ? op->after : op->before, "name");

    snprintf(type, sizeof(type), "%s_%s", corrald_doc_kind(op->kind),
             op->before == NULL ? "created"
                                : op->after == NULL ? "deleted" : "updated");

    if (op->before == NULL || op->after == NULL) {
        corrald_commit_event(c, type, op->kind, op->id,
                             json_pack("{s:s}", "name", name));
        return;
    }

    names = corrald_diff_names(op->kind, op->before, op->after);

    for (i = json_array_size(names); i-- > 0; /* void */ ) {
        if (strcmp(json_string_value(json_array_get(names, i)), "updated_at")
            == 0)
        {
            json_array_remove(names, i);
        }
    }

    corrald_commit_event(c, type, op->kind, op->id,
                         json_pack("{s:s, s:o}", "name", name, "changed",
                                   names));
}


static void
corrald_commit_instance_events(corrald_commit_t *c, corrald_commit_op_t *op)
{
    json_t                 *doc, *data;
    const char             *name;
    const corrald_cache_t  *service;

    doc = op->after ? op->after : op->before;

    service = corrald_cache_get(CORRALD_SERVICE,
                                corrald_doc_str(doc, "service_id"));
    name = service ? corrald_doc_str(service->entry.doc, "name") : "";

    data = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
                     "service_id", corrald_doc_str(doc, "service_id"),
                     "service", name,
                     "state", corrald_doc_str(doc, "state"),
                     "health", corrald_doc_str(doc, "health"),
                     "reason", corrald_doc_str(doc, "reason"),
                     "message", corrald_doc_str(doc, "message"),
                     "node", corrald_doc_str(doc, "node"));

    if (op->before == NULL) {
        corrald_commit_event(c, "instance_created", op->kind, op->id, data);
        return;
    }

    if (op->after == NULL) {
        corrald_commit_event(c, "instance_removed", op->kind, op->id, data);
        return;
    }

    if (strcmp(corrald_doc_str(op->before, "state"),
               corrald_doc_str(op->after, "state"))
        != 0)
    {
        json_object_set(data, "was", json_object_get(op->before, "state"));
        corrald_commit_event(c, "instance_state", op->kind, op->id,
                             json_incref(data));
    }

    if (strcmp(corrald_doc_str(op->before, "health"),
               corrald_doc_str(op->after, "health"))
        != 0)
    {
        json_object_set(data, "was", json_object_get(op->before, "health"));
        corrald_commit_event(c, "instance_health", op->kind, op->id,
                             json_incref(data));
    }

    json_decref(data);
}


/* data is taken over; as text, so that a shared object may change later. */

static void
corrald_commit_event(corrald_commit_t *c, const char *type,
    corrald_kind_e kind, const char *id, json_t *data)
{
    char  *text;

    text = json_dumps(data, JSON_COMPACT);

    json_array_append_new(c->events,
                          json_pack("[s, s, s, s]", type,
                                    corrald_doc_kind(kind), id,
                                    text ? text : "{}"));
    free(text);
    json_decref(data);
}


/* The derived status of each service that the commit touches. */

static void
corrald_commit_statuses(corrald_commit_t *c)
{
    size_t       i;
    json_t      *seen, *value;
    const char  *id;

    seen = json_object();

    for (i = 0; i < c->n; i++) {

        if (c->ops[i].idle || c->ops[i].kind == CORRALD_RULE) {
            continue;
        }

        id = c->ops[i].kind == CORRALD_SERVICE
             ? c->ops[i].id
             : corrald_doc_str(c->ops[i].after ? c->ops[i].after
                                               : c->ops[i].before,
                               "service_id");

        json_object_set_new(seen, id, json_true());
    }

    json_object_foreach(seen, id, value) {
        corrald_commit_status(c, id);
    }

    json_decref(seen);
}


typedef struct {
    corrald_commit_t       *commit;
    corrald_state_count_t   before;
    corrald_state_count_t   after;
} corrald_commit_count_t;


static void
corrald_commit_count(const corrald_entry_t *entry, void *data)
{
    size_t                   i;
    corrald_commit_op_t     *op;
    corrald_commit_count_t  *count;

    count = data;

    corrald_state_count(&count->before, entry->doc);

    /* those that the commit changes are counted from the commit */

    for (i = 0; i < count->commit->n; i++) {
        op = &count->commit->ops[i];

        if (!op->idle && op->kind == CORRALD_INSTANCE
            && strcmp(op->id, entry->id) == 0)
        {
            return;
        }
    }

    corrald_state_count(&count->after, entry->doc);
}


static void
corrald_commit_status(corrald_commit_t *c, const char *service_id)
{
    size_t                   i;
    const json_t            *before, *after;
    corrald_status_e         was, is;
    corrald_commit_op_t     *op;
    const corrald_entry_t   *known;
    corrald_commit_count_t   count;

    memset(&count, 0, sizeof(count));
    count.commit = c;

    known = corrald_store_get(CORRALD_SERVICE, service_id);
    before = known ? known->doc : NULL;
    after = before;

    corrald_store_instances(service_id, corrald_commit_count, &count);

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        if (op->idle) {
            continue;
        }

        if (op->kind == CORRALD_INSTANCE && op->after
            && strcmp(corrald_doc_str(op->after, "service_id"), service_id)
               == 0)
        {
            corrald_state_count(&count.after, op->after);
        }

        if (op->kind == CORRALD_SERVICE && strcmp(op->id, service_id) == 0) {
            after = op->after;
        }
    }

    if (before == NULL || after == NULL) {
        return;
    }

    was = corrald_state_status(before, &count.before);
    is = corrald_state_status(after, &count.after);

    if (was != is) {
        corrald_commit_event(c, "service_status", CORRALD_SERVICE, service_id,
                             json_pack("{s:s, s:s, s:s}",
                                       "name", corrald_doc_str(after, "name"),
                                       "status",
                                       corrald_state_status_name(is),
                                       "was",
                                       corrald_state_status_name(was)));
    }
}


static void
corrald_commit_send(corrald_commit_t *c)
{
    char                   keys[12][CORRALD_KEY_SIZE], deadline[24];
    char                   leader[160], epoch[24], count[24], events[24];
    char                   nkeys[24], *history;
    size_t                 i, j, n;
    json_t                *event;
    corrald_commit_op_t   *op;
    corrald_redis_args_t   a;

    static const corrald_key_e  names[] = {
        CORRALD_KEY_EPOCH, CORRALD_KEY_REVISION, CORRALD_KEY_REVISIONS,
        CORRALD_KEY_SERVICES, CORRALD_KEY_INSTANCES, CORRALD_KEY_NAMES,
        CORRALD_KEY_MACS, CORRALD_KEY_CHANGES, CORRALD_KEY_EVENTS,
        CORRALD_KEY_LEADER
    };

#define corrald_commit_text(n)  #n
#define corrald_commit_number(n)  corrald_commit_text(n)

    for (i = 0, n = 0; i < c->n; i++) {
        n += !c->ops[i].idle;
    }

    leader[0] = '\0';
    epoch[0] = '\0';

    if (c->flags & CORRALD_AS_LEADER) {
        snprintf(leader, sizeof(leader), "%s:%lld", corrald_conf()->node,
                 (long long) corrald_local.status.token);
    }

    if (c->flags & CORRALD_AS_NODE) {
        snprintf(epoch, sizeof(epoch), "%lld",
                 (long long) corrald_local.status.node_epoch);
    }

    snprintf(deadline, sizeof(deadline), "%lld",
             (long long) (corrald_clock_ms() + corrald_local.clock
                          + corrald_conf()->redis_timeout));
    snprintf(nkeys, sizeof(nkeys), "%zu", 12 + n);
    snprintf(count, sizeof(count), "%zu", n);
    snprintf(events, sizeof(events), "%zu", json_array_size(c->events));

    history = calloc(n + 1, CORRALD_KEY_SIZE);

    if (history == NULL) {
        corrald_log_error("no memory for a commit");
        abort();
    }

    memset(&a, 0, sizeof(a));

    /*
     * The whole script each time: Redis knows it by its digest.  EVALSHA would
     * save 5 kB on a local socket and cost a second way for NOSCRIPT, which
     * would be taken only after a restart of Redis, when nobody looks.
     */

    corrald_redis_add(&a, "EVAL");
    corrald_redis_add_len(&a, corrald_lua_commit, corrald_lua_commit_len);
    corrald_redis_add(&a, nkeys);

    for (i = 0; i < 10; i++) {
        corrald_redis_add(&a, corrald_local_key(keys[i], names[i]));
    }

    corrald_redis_add(&a, corrald_local_key(keys[10], CORRALD_KEY_NODE,
                                            corrald_conf()->node));

    corrald_redis_add(&a, corrald_local_key(keys[11], CORRALD_KEY_RULES));

    for (i = 0, j = 0; i < c->n; i++) {
        if (!c->ops[i].idle) {
            corrald_redis_add(&a, corrald_local_key(history
                                                    + j * CORRALD_KEY_SIZE,
                                                    CORRALD_KEY_HISTORY,
                                                    c->ops[i].id));
            j++;
        }
    }

    corrald_redis_add(&a, corrald_local.epoch);
    corrald_redis_add(&a, deadline);
    corrald_redis_add(&a, leader);
    corrald_redis_add(&a, epoch);
    corrald_redis_add(&a, corrald_commit_number(CORRAL_CHANGES_MAX));
    corrald_redis_add(&a, corrald_commit_number(CORRAL_EVENTS_MAX));
    corrald_redis_add(&a, corrald_commit_number(CORRAL_HISTORY_MAX));
    corrald_redis_add(&a, corrald_commit_number(CORRAL_HISTORY_TTL));
    corrald_redis_add(&a, count);

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        if (op->idle) {
            continue;
        }

        snprintf(op->number, sizeof(op->number), "%lld", (long long) op->base);

        corrald_redis_add(&a, op->after ? "put" : "del");
        corrald_redis_add(&a, corrald_doc_kind(op->kind));
        corrald_redis_add(&a, op->id);
        corrald_redis_add(&a, op->number);
        corrald_redis_add_len(&a, op->text ? op->text : "", op->len);
        corrald_redis_add(&a, op->mac);
        corrald_redis_add(&a, corrald_doc_unique(op->kind,
                                          corrald_doc_str(op->after, "name"),
                                          op->name));
        corrald_redis_add(&a, corrald_doc_unique(op->kind,
                                          corrald_doc_str(op->before, "name"),
                                          op->was));
        corrald_redis_add(&a, op->history ? op->history : "");
    }

    corrald_redis_add(&a, events);

    json_array_foreach(c->events, i, event) {
        for (j = 0; j < 4; j++) {
            corrald_redis_add(&a, json_string_value(json_array_get(event,
                                                                   j)));
        }
    }

    corrald_commit_hold(c, 1);
    corrald_redis_send(corrald_local.main, &a, 0, corrald_commit_replied, c);

    corrald_redis_args_free(&a);
    free(history);
}


static corrald_commit_lane_t *
corrald_commit_lane(corrald_kind_e kind, const char *id, int make)
{
    char                    key[CORRALD_KEY_SIZE];
    corrald_commit_lane_t  *lane;

    snprintf(key, sizeof(key), "%s/%.64s", corrald_doc_kind(kind), id);
    lane = corrald_map_get(&corrald_commit_lanes, key);

    if (lane || !make) {
        return lane;
    }

    lane = calloc(1, sizeof(*lane));

    if (lane == NULL
        || corrald_map_set(&corrald_commit_lanes, key, lane) != 0)
    {
        corrald_log_error("no memory for a commit");
        abort();
    }

    memcpy(lane->key, key, sizeof(key));
    lane->last = &lane->first;

    return lane;
}


/*
 * Marks the documents of a commit as under way, or gives them free and lets
 * those who wait have their turn until one of them commits.
 */

static void
corrald_commit_hold(corrald_commit_t *c, int hold)
{
    size_t                  i;
    corrald_commit_lane_t  *lane;
    corrald_commit_wait_t  *w;

    if (c->held == hold) {
        return;
    }

    c->held = hold;

    for (i = 0; i < c->n; i++) {
        lane = corrald_commit_lane(c->ops[i].kind, c->ops[i].id, 1);
        lane->commits += hold ? 1 : (size_t) -1;

        while (lane->commits == 0 && lane->first) {
            w = lane->first;
            lane->first = w->next;

            if (lane->first == NULL) {
                lane->last = &lane->first;
            }

            w->handler(w->data);
            free(w);
        }

        if (lane->commits == 0) {
            corrald_map_del(&corrald_commit_lanes, lane->key);
            free(lane);
        }
    }
}


static void
corrald_commit_replied(const redisReply *reply, const char *err, void *data)
{
    const char        *what;
    corrald_commit_t  *c;

    c = data;

    if (reply == NULL) {
        corrald_commit_fail(c, CORRALD_UNKNOWN, "", "%s: the change may have "
                            "been made", err);
        corrald_commit_end(c);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY) {
        corrald_commit_fail(c, CORRALD_UNAVAILABLE, "", "Redis refuses the "
                            "change: %s", corrald_reply_str(reply));
        corrald_commit_end(c);
        return;
    }

    what = corrald_reply_str(reply->element[0]);

    if (strcmp(what, "ok") == 0) {
        corrald_commit_apply(c, corrald_reply_int(corrald_reply_at(reply, 1)));
        return;
    }

    if (strcmp(what, "conflict") == 0) {
        corrald_commit_conflict(c, reply);
        return;
    }

    if (strcmp(what, "name") == 0) {
        corrald_commit_taken(c, corrald_reply_str(corrald_reply_at(reply, 1)),
                             corrald_reply_str(corrald_reply_at(reply, 2)));

    } else if (strcmp(what, "fenced") == 0) {
        corrald_commit_fail(c, CORRALD_FENCED, "", "the lease of the %s is "
                            "not ours any more",
                            corrald_reply_str(corrald_reply_at(reply, 1)));

    } else if (strcmp(what, "late") == 0) {
        corrald_commit_fail(c, CORRALD_UNAVAILABLE, "", "Redis came to the "
                            "change too late: it was not made");

    } else {
        corrald_commit_fail(c, CORRALD_UNAVAILABLE, "", "the store was "
                            "replaced: the registry is being loaded");
        corrald_follow_recheck();
    }

    corrald_commit_end(c);
}


/* The name that the operation on id wants is other's. */

static void
corrald_commit_taken(corrald_commit_t *c, const char *id, const char *other)
{
    size_t  i;

    for (i = 0; i + 1 < c->n && strcmp(c->ops[i].id, id) != 0; i++) {
        /* void */
    }

    corrald_commit_fail(c, CORRALD_NAME_TAKEN, id,
                        "the name \"%s\" is taken: the %s %s has it",
                        corrald_doc_str(c->ops[i].after, "name"),
                        corrald_doc_kind(c->ops[i].kind), other);
}


/* conflict kind id revision text mac */

static void
corrald_commit_conflict(corrald_commit_t *c, const redisReply *reply)
{
    size_t              i;
    int64_t             revision;
    const char         *id;
    corrald_kind_e      kind;
    const redisReply   *text;

    kind = (corrald_kind_e) corrald_doc_parse_kind(
                            corrald_reply_str(corrald_reply_at(reply, 1)));
    id = corrald_reply_str(corrald_reply_at(reply, 2));
    revision = corrald_reply_int(corrald_reply_at(reply, 3));
    text = corrald_reply_at(reply, 4);

    corrald_local.status.conflicts++;

    /* now it is known; the stream will bring it again, which does no harm */

    if (text && text->type == REDIS_REPLY_STRING) {
        corrald_cache_put(kind, id, text->str, text->len, revision,
                          corrald_reply_str(corrald_reply_at(reply, 5)));

    } else {
        corrald_cache_del(kind, id, corrald_cache_revision());
    }

    corrald_cache_publish();

    for (i = 0; i < c->n; i++) {
        if (c->ops[i].kind == kind && strcmp(c->ops[i].id, id) == 0
            && c->ops[i].expected == CORRALD_ANY
            && c->tries++ < CORRALD_COMMIT_TRIES)
        {
            corrald_commit_run(c);
            return;
        }
    }

    c->revision = revision;
    corrald_commit_fail(c, CORRALD_CONFLICT, id, "the %s was changed "
                        "meanwhile: it has revision %lld",
                        corrald_doc_kind(kind), (long long) revision);
    corrald_commit_end(c);
}


static void
corrald_commit_apply(corrald_commit_t *c, int64_t revision)
{
    int                   durable;
    size_t                i;
    corrald_commit_op_t  *op;

    c->result = CORRALD_DONE;
    c->revision = revision;
    durable = 0;

    corrald_local.status.commits++;

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        if (op->idle) {
            continue;
        }

        durable |= op->kind != CORRALD_INSTANCE;

        if (op->after) {
            corrald_cache_put(op->kind, op->id, op->text, op->len, revision,
                              op->mac);

        } else {
            corrald_cache_del(op->kind, op->id, revision);
        }
    }

    corrald_cache_publish();

    /* the next may build on it while this one waits for the disk */

    corrald_commit_hold(c, 0);

    /* what an operator changed must survive Redis and the power */

    if (durable && c->handler) {
        corrald_journal_sync(corrald_commit_synced, c);
        return;
    }

    corrald_commit_end(c);
}


static void
corrald_commit_synced(void *data)
{
    corrald_commit_end(data);
}


/* Returns -1. */

static int
corrald_commit_fail(corrald_commit_t *c, corrald_result_e result,
    const char *id, const char *fmt, ...)
{
    va_list  args;

    c->result = result;
    snprintf(c->id, sizeof(c->id), "%s", id);

    va_start(args, fmt);
    vsnprintf(c->message, sizeof(c->message), fmt, args);
    va_end(args);

    return -1;
}


static void
corrald_commit_end(corrald_commit_t *c)
{
    size_t            i;
    corrald_result_t  result;

    corrald_commit_hold(c, 0);

    result.result = c->result;
    result.revision = c->revision;
    result.id = c->id;
    result.message = c->message;

    if (c->handler) {
        c->handler(&result, c->data);

    } else if (c->result != CORRALD_DONE) {
        corrald_log_warn("a change of \"%s\" was not made: %s",
                         c->n ? c->ops[0].id : "", c->message);
    }

    corrald_commit_reset(c);

    for (i = 0; i < c->n; i++) {
        json_decref(c->ops[i].doc);
    }

    free(c->ops);
    free(c);
}


/* Frees what was prepared. */

static void
corrald_commit_reset(corrald_commit_t *c)
{
    size_t                i;
    corrald_commit_op_t  *op;

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        json_decref(op->before);
        json_decref(op->after);
        free(op->text);
        free(op->history);

        op->before = NULL;
        op->after = NULL;
        op->text = NULL;
        op->history = NULL;
        op->len = 0;
        op->idle = 0;
        op->mac[0] = '\0';
    }

    json_decref(c->events);
    c->events = NULL;
}
