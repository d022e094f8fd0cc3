
/*
 * The way of a change into the registry.
 *
 * A commit is prepared against the view (commit_prepare.c).  commit.lua then
 * compares revisions and writes all or nothing.  A conflict brings the newer
 * document with it; where the caller did not insist on a revision, the commit
 * is prepared and sent again.
 *
 * What comes of it is applied to the view at once, not when the stream brings
 * it: who was told DONE reads his own change.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "commit.h"
#include "corrald_embed.h"


#define CORRALD_COMMIT_TRIES  16
#define CORRALD_COMMIT_KEYS   12     /* and one of each operation */

#define corrald_commit_text(n)    #n
#define corrald_commit_number(n)  corrald_commit_text(n)


/* What must live until the command is written. */

typedef struct {
    char    keys[CORRALD_COMMIT_KEYS][CORRALD_KEY_SIZE];
    char    nkeys[24];
    char    deadline[24];
    char    leader[160];
    char    epoch[24];
    char    count[24];
    char    events[24];
} corrald_commit_words_t;


static void corrald_commit_begin(void *data);
static void corrald_commit_run(void *data);
static void corrald_commit_hold(corrald_commit_t *c, int hold);
static void corrald_commit_send(corrald_commit_t *c);
static void corrald_commit_words(const corrald_commit_t *c,
    corrald_commit_words_t *w);
static void corrald_commit_keys(corrald_commit_t *c,
    corrald_commit_words_t *w, corrald_redis_args_t *a);
static void corrald_commit_op_args(corrald_commit_op_t *op,
    corrald_redis_args_t *a);
static void corrald_commit_replied(const redisReply *reply, const char *err,
    void *data);
static void corrald_commit_taken(corrald_commit_t *c, const char *id,
    const char *other);
static void corrald_commit_conflict(corrald_commit_t *c,
    const redisReply *reply);
static void corrald_commit_apply(corrald_commit_t *c, int64_t revision);
static void corrald_commit_synced(void *data);
static void corrald_commit_end(corrald_commit_t *c);


void
corrald_store_commit(const corrald_op_t *ops, size_t n, unsigned flags,
    corrald_commit_pt handler, void *data)
{
    size_t             i;
    corrald_commit_t  *c;

    c = corrald_alloc(1, sizeof(*c), "for a commit");
    c->ops = corrald_alloc(n + 1, sizeof(*c->ops), "for a commit");
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
        corrald_alloc_failed("for a commit");
    }
}


/*
 * What can be merged into any revision waits for the commits before it: they
 * would only be a conflict.  All others are sent at once.
 */

static void
corrald_commit_begin(void *data)
{
    size_t             i;
    corrald_commit_t  *c;

    c = data;

    for (i = 0; i < c->n; i++) {
        if (c->ops[i].expected == CORRALD_ANY
            && corrald_turn_busy(c->ops[i].kind, c->ops[i].id))
        {
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


/* See the head of commit.lua. */

static void
corrald_commit_send(corrald_commit_t *c)
{
    size_t                   i, j;
    json_t                  *event;
    corrald_redis_args_t     a;
    corrald_commit_words_t   w;

    memset(&a, 0, sizeof(a));
    corrald_commit_words(c, &w);

    /*
     * The whole script each time: Redis knows it by its digest.  EVALSHA would
     * save 5 kB on a local socket and cost a second way for NOSCRIPT, which
     * would be taken only after a restart of Redis, when nobody looks.
     */

    corrald_redis_add(&a, "EVAL");
    corrald_redis_add_len(&a, corrald_lua_commit, corrald_lua_commit_len);

    corrald_commit_keys(c, &w, &a);

    corrald_redis_add(&a, corrald_local.epoch);
    corrald_redis_add(&a, w.deadline);
    corrald_redis_add(&a, w.leader);
    corrald_redis_add(&a, w.epoch);
    corrald_redis_add(&a, corrald_commit_number(CORRAL_CHANGES_MAX));
    corrald_redis_add(&a, corrald_commit_number(CORRAL_EVENTS_MAX));
    corrald_redis_add(&a, corrald_commit_number(CORRAL_HISTORY_MAX));
    corrald_redis_add(&a, corrald_commit_number(CORRAL_HISTORY_TTL));
    corrald_redis_add(&a, w.count);

    for (i = 0; i < c->n; i++) {
        if (!c->ops[i].idle) {
            corrald_commit_op_args(&c->ops[i], &a);
        }
    }

    corrald_redis_add(&a, w.events);

    json_array_foreach(c->events, i, event) {
        for (j = 0; j < 4; j++) {
            corrald_redis_add(&a, json_string_value(json_array_get(event,
                                                                   j)));
        }
    }

    corrald_commit_hold(c, 1);
    corrald_redis_send(corrald_local.main, &a, 0, corrald_commit_replied, c);

    corrald_redis_args_free(&a);
}


static void
corrald_commit_words(const corrald_commit_t *c, corrald_commit_words_t *w)
{
    size_t  i, n;

    for (i = 0, n = 0; i < c->n; i++) {
        n += !c->ops[i].idle;
    }

    w->leader[0] = '\0';
    w->epoch[0] = '\0';

    if (c->flags & CORRALD_AS_LEADER) {
        snprintf(w->leader, sizeof(w->leader), "%s:%lld",
                 corrald_conf()->node, (long long) corrald_local.status.token);
    }

    if (c->flags & CORRALD_AS_NODE) {
        snprintf(w->epoch, sizeof(w->epoch), "%lld",
                 (long long) corrald_local.status.node_epoch);
    }

    snprintf(w->deadline, sizeof(w->deadline), "%lld",
             (long long) (corrald_clock_ms() + corrald_local.clock
                          + corrald_conf()->redis_timeout));
    snprintf(w->nkeys, sizeof(w->nkeys), "%zu", CORRALD_COMMIT_KEYS + n);
    snprintf(w->count, sizeof(w->count), "%zu", n);
    snprintf(w->events, sizeof(w->events), "%zu", json_array_size(c->events));
}


static void
corrald_commit_keys(corrald_commit_t *c, corrald_commit_words_t *w,
    corrald_redis_args_t *a)
{
    size_t                i;
    corrald_commit_op_t  *op;

    static const corrald_key_e  names[CORRALD_COMMIT_KEYS] = {
        CORRALD_KEY_EPOCH, CORRALD_KEY_REVISION, CORRALD_KEY_REVISIONS,
        CORRALD_KEY_SERVICES, CORRALD_KEY_INSTANCES, CORRALD_KEY_NAMES,
        CORRALD_KEY_MACS, CORRALD_KEY_CHANGES, CORRALD_KEY_EVENTS,
        CORRALD_KEY_LEADER, CORRALD_KEY_NODE, CORRALD_KEY_RULES
    };

    corrald_redis_add(a, w->nkeys);

    /* only the key of a node has its name in it */

    for (i = 0; i < CORRALD_COMMIT_KEYS; i++) {
        corrald_redis_add(a, corrald_local_key(w->keys[i], names[i],
                                               corrald_conf()->node));
    }

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        if (!op->idle) {
            corrald_redis_add(a, corrald_local_key(op->key,
                                                   CORRALD_KEY_HISTORY,
                                                   op->id));
        }
    }
}


static void
corrald_commit_op_args(corrald_commit_op_t *op, corrald_redis_args_t *a)
{
    snprintf(op->number, sizeof(op->number), "%lld", (long long) op->base);

    corrald_redis_add(a, op->after ? "put" : "del");
    corrald_redis_add(a, corrald_doc_kind(op->kind));
    corrald_redis_add(a, op->id);
    corrald_redis_add(a, op->number);
    corrald_redis_add_len(a, op->text ? op->text : "", op->len);
    corrald_redis_add(a, op->mac);
    corrald_redis_add(a, corrald_doc_unique(op->kind,
                                            corrald_doc_str(op->after, "name"),
                                            op->name));
    corrald_redis_add(a, corrald_doc_unique(op->kind,
                                            corrald_doc_str(op->before,
                                                            "name"),
                                            op->was));
    corrald_redis_add(a, op->history ? op->history : "");
}


/*
 * Marks the documents of a commit as under way, or gives them free and lets
 * those who wait have their turn until one of them commits.
 */

static void
corrald_commit_hold(corrald_commit_t *c, int hold)
{
    size_t  i;

    if (c->held == hold) {
        return;
    }

    c->held = hold;

    for (i = 0; i < c->n; i++) {
        if (hold) {
            corrald_turn_begin(c->ops[i].kind, c->ops[i].id);

        } else {
            corrald_turn_end(c->ops[i].kind, c->ops[i].id);
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


int
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
