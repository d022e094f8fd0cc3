
/*
 * The streams of Redis, followed: after a full load (load.c) they bring what
 * changes.
 *
 * One connection does only this: XREAD BLOCK over changes, events, acks and
 * wakes.  An answer, or the time-out of an empty read, proves every second that
 * the connection lives.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/bus.h"
#include "../base/log.h"
#include "corrald_embed.h"
#include "local.h"


#define CORRALD_FOLLOW_BLOCK  1000
#define CORRALD_FOLLOW_COUNT  1000


/* A batch of changes whose documents are being fetched. */

typedef struct {
    int              term;
    json_t          *ids[CORRALD_STORED];    /* by kind: id to revision */
    int64_t          revision;       /* the highest of the batch */
} corrald_follow_batch_t;


static void corrald_follow_check(void);
static void corrald_follow_checked(const redisReply *reply, const char *err,
    void *data);
static void corrald_follow_reload(const char *why);
static void corrald_follow_discard(void);
static void corrald_follow_read(void);
static void corrald_follow_entries(const redisReply *reply, const char *err,
    void *data);
static int corrald_follow_stream(const redisReply *stream,
    corrald_follow_batch_t *batch);
static int corrald_follow_changes(const redisReply *entries,
    corrald_follow_batch_t *batch);
static int corrald_follow_events(const redisReply *entries,
    corrald_follow_batch_t *batch);
static int corrald_follow_acks(const redisReply *entries,
    corrald_follow_batch_t *batch);
static int corrald_follow_wakes(const redisReply *entries,
    corrald_follow_batch_t *batch);
static void corrald_follow_fetch(corrald_follow_batch_t *batch);
static void corrald_follow_fetched(const redisReply *reply, const char *err,
    void *data);
static void corrald_follow_batch_free(corrald_follow_batch_t *batch);


/* the followed streams, and the id of the last entry seen of each */

static const struct {
    corrald_key_e    key;
    int            (*handler)(const redisReply *entries,
                              corrald_follow_batch_t *batch);
} corrald_follow_streams[CORRALD_FOLLOW_STREAMS] = {
    { CORRALD_KEY_CHANGES, corrald_follow_changes },
    { CORRALD_KEY_EVENTS,  corrald_follow_events },
    { CORRALD_KEY_ACKS,    corrald_follow_acks },
    { CORRALD_KEY_WAKES,   corrald_follow_wakes }
};

static char     corrald_follow_ids[CORRALD_FOLLOW_STREAMS][48];
static int64_t  corrald_follow_rev;

/*
 * Raised whenever the way begins anew: an answer to what was asked in an
 * earlier term is dropped, and with it its chain of reads.
 */

static int      corrald_follow_term;


/* The last revision whose changes were all applied. */

int64_t
corrald_follow_revision(void)
{
    return corrald_follow_rev;
}


corrald_key_e
corrald_follow_key(int i)
{
    return corrald_follow_streams[i].key;
}


/* The connection stands. */

void
corrald_follow_up(void)
{
    corrald_follow_check();
}


void
corrald_follow_down(void)
{
    corrald_follow_discard();
    corrald_local_ready(0);
}


/* The store may be another one: looked at as after a connect. */

void
corrald_follow_recheck(void)
{
    corrald_follow_discard();
    corrald_local_ready(0);

    if (corrald_redis_is_up(corrald_local.follow)) {
        corrald_follow_check();
    }
}


/* What is known cannot be relied on: everything is read anew. */

static void
corrald_follow_reload(const char *why)
{
    corrald_log_info("registry: full load: %s", why);

    corrald_follow_discard();
    corrald_load_begin();
}


/* The registry is in the cache as it was at this position, or newer. */

void
corrald_follow_loaded(const corrald_follow_position_t *position)
{
    int  i;

    corrald_follow_term++;
    corrald_follow_rev = position->revision;

    /* of a known store the others go on; of another one the past is nobody's */

    for (i = 0; i < (position->other ? CORRALD_FOLLOW_STREAMS : 1); i++) {
        memcpy(corrald_follow_ids[i], position->ids[i],
               sizeof(corrald_follow_ids[i]));
    }

    corrald_restore_forget();
    corrald_journal_rewrite();

    corrald_log_info("registry: revision %lld, %zu services, %zu instances, "
                     "%zu rules", (long long) corrald_follow_rev,
                     corrald_store_count(CORRALD_SERVICE),
                     corrald_store_count(CORRALD_INSTANCE),
                     corrald_store_count(CORRALD_RULE));

    corrald_cache_publish();
    corrald_local_ready(1);

    if (position->reset) {
        corrald_bus_emit(CORRALD_BUS_RESET, NULL);
    }

    corrald_follow_read();
}


static void
corrald_follow_discard(void)
{
    corrald_load_discard();
    corrald_follow_term++;
}


/* After a connect: is it still the store that we know? */

static void
corrald_follow_check(void)
{
    char                  key[2][CORRALD_KEY_SIZE];
    corrald_redis_args_t  a;

    memset(&a, 0, sizeof(a));

    corrald_redis_add(&a, "MGET");
    corrald_redis_add(&a, corrald_local_key(key[0], CORRALD_KEY_EPOCH));
    corrald_redis_add(&a, corrald_local_key(key[1], CORRALD_KEY_REVISION));

    corrald_redis_send(corrald_local.follow, &a, 0, corrald_follow_checked,
                       (void *) (intptr_t) corrald_follow_term);
    corrald_redis_args_free(&a);
}


static void
corrald_follow_checked(const redisReply *reply, const char *err, void *data)
{
    int64_t      revision;
    const char  *epoch;

    if (reply == NULL || (intptr_t) data != corrald_follow_term) {
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        corrald_local_trouble("Redis refuses the registry: %s",
                              corrald_reply_str(reply));
        corrald_redis_break(corrald_local.follow, "the registry is refused");
        return;
    }

    epoch = corrald_reply_str(reply->element[0]);
    revision = corrald_reply_int(reply->element[1]);

    if (*epoch == '\0') {
        corrald_restore_run("", "the store has no epoch");
        return;
    }

    if (strcmp(epoch, corrald_local.epoch) == 0
        && revision >= corrald_cache_revision())
    {
        corrald_local_ready(1);
        corrald_follow_read();
        return;
    }

    if (corrald_restore_known(epoch) > revision) {
        corrald_restore_run(epoch, "the store went back in time");
        return;
    }

    corrald_follow_reload(*corrald_local.epoch ? "the epoch has changed"
                                               : "start");
}


static void
corrald_follow_read(void)
{
    char  key[CORRALD_FOLLOW_STREAMS][CORRALD_KEY_SIZE];

    corrald_redis_command(corrald_local.follow, CORRALD_FOLLOW_BLOCK,
                          corrald_follow_entries,
                          (void *) (intptr_t) corrald_follow_term,
                          "XREAD BLOCK %d COUNT %d STREAMS %s %s %s %s %s %s "
                          "%s %s",
                          CORRALD_FOLLOW_BLOCK, CORRALD_FOLLOW_COUNT,
                          corrald_local_key(key[0], CORRALD_KEY_CHANGES),
                          corrald_local_key(key[1], CORRALD_KEY_EVENTS),
                          corrald_local_key(key[2], CORRALD_KEY_ACKS),
                          corrald_local_key(key[3], CORRALD_KEY_WAKES),
                          corrald_follow_ids[0], corrald_follow_ids[1],
                          corrald_follow_ids[2], corrald_follow_ids[3]);
}


static void
corrald_follow_entries(const redisReply *reply, const char *err, void *data)
{
    int                      i, rc;
    size_t                   n;
    corrald_follow_batch_t  *batch;

    if (reply == NULL || (intptr_t) data != corrald_follow_term) {
        return;
    }

    if (reply->type == REDIS_REPLY_NIL) {
        corrald_cache_sweep(corrald_follow_rev);
        corrald_follow_read();
        return;
    }

    batch = calloc(1, sizeof(*batch));

    if (reply->type != REDIS_REPLY_ARRAY || batch == NULL) {
        free(batch);
        corrald_redis_break(corrald_local.follow, corrald_reply_str(reply));
        return;
    }

    batch->term = corrald_follow_term;

    for (i = 0; i < CORRALD_STORED; i++) {
        batch->ids[i] = json_object();
    }

    for (n = 0, rc = 0; n < reply->elements; n++) {
        rc |= corrald_follow_stream(reply->element[n], batch);
    }

    if (rc != 0) {
        corrald_follow_batch_free(batch);
        corrald_follow_reload("a revision was skipped");
        return;
    }

    if (batch->revision == 0) {
        corrald_follow_batch_free(batch);
        corrald_follow_read();
        return;
    }

    corrald_follow_fetch(batch);
}


/* The entries of one stream.  Returns -1 when some are missing. */

static int
corrald_follow_stream(const redisReply *stream, corrald_follow_batch_t *batch)
{
    int                i, rc;
    char               key[CORRALD_KEY_SIZE];
    const redisReply  *entries;

    entries = corrald_reply_at(stream, 1);

    if (entries == NULL || entries->elements == 0) {
        return 0;
    }

    for (i = 0; i < CORRALD_FOLLOW_STREAMS - 1; i++) {
        if (strcmp(corrald_reply_str(stream->element[0]),
                   corrald_local_key(key, corrald_follow_streams[i].key))
            == 0)
        {
            break;
        }
    }

    rc = corrald_follow_streams[i].handler(entries, batch);

    corrald_follow_last(entries, corrald_follow_ids[i],
                        sizeof(corrald_follow_ids[i]));

    return rc;
}


/* Collects what has changed.  Returns -1 when entries are missing. */

static int
corrald_follow_changes(const redisReply *entries,
    corrald_follow_batch_t *batch)
{
    size_t                  i;
    int64_t                 revision, last;
    int                     kind;
    const char             *id;
    const redisReply       *fields;
    const corrald_cache_t  *known;

    last = corrald_follow_rev;

    for (i = 0; i < entries->elements; i++) {
        fields = corrald_reply_at(entries->element[i], 1);

        if (fields == NULL) {
            return -1;
        }

        kind = corrald_doc_parse_kind(corrald_reply_field(fields, "kind"));
        id = corrald_reply_field(fields, "id");
        revision = strtoll(corrald_reply_field(fields, "revision"), NULL, 10);

        if (revision > last + 1) {
            return -1;
        }

        last = revision > last ? revision : last;
        batch->revision = last;

        /* a kind of a later version: nothing for us */

        if (kind == -1) {
            continue;
        }

        known = corrald_cache_get(kind, id);

        if (known == NULL || known->entry.revision < revision) {
            json_object_set_new(batch->ids[kind], id,
                                json_integer(revision));
        }
    }

    return 0;
}


static int
corrald_follow_events(const redisReply *entries,
    corrald_follow_batch_t *batch)
{
    size_t                i;
    const redisReply     *fields;
    corrald_bus_event_t   event;

    for (i = 0; i < entries->elements; i++) {
        fields = corrald_reply_at(entries->element[i], 1);

        if (fields == NULL) {
            continue;
        }

        event.stream_id = corrald_reply_str(
                              corrald_reply_at(entries->element[i], 0));
        event.type = corrald_reply_field(fields, "type");
        event.kind = corrald_reply_field(fields, "kind");
        event.id = corrald_reply_field(fields, "id");
        event.data = corrald_reply_field(fields, "data");

        corrald_bus_emit(CORRALD_BUS_EVENT, &event);
    }

    return 0;
}


static int
corrald_follow_acks(const redisReply *entries,
    corrald_follow_batch_t *batch)
{
    size_t             i;
    const redisReply  *fields;

    for (i = 0; i < entries->elements; i++) {
        fields = corrald_reply_at(entries->element[i], 1);

        if (fields) {
            corrald_applied_ack(corrald_reply_field(fields, "worker"),
                                corrald_reply_field(fields, "epoch"),
                                strtoll(corrald_reply_field(fields,
                                                            "revision"),
                                        NULL, 10));
        }
    }

    return 0;
}


static int
corrald_follow_wakes(const redisReply *entries,
    corrald_follow_batch_t *batch)
{
    size_t             i;
    const redisReply  *fields;

    for (i = 0; i < entries->elements; i++) {
        fields = corrald_reply_at(entries->element[i], 1);

        if (fields) {
            corrald_waiting_told(corrald_reply_field(fields, "service_id"),
                                 corrald_reply_field(fields, "worker"),
                                 strtoll(corrald_reply_field(fields,
                                                             "waiting"),
                                         NULL, 10));
        }
    }

    return 0;
}


/* Reads documents, their revisions and MACs as of one moment. */

static void
corrald_follow_fetch(corrald_follow_batch_t *batch)
{
    int                    kind;
    char                   keys[5][CORRALD_KEY_SIZE];
    json_t                *value;
    const char            *id;
    corrald_redis_args_t   a;

    memset(&a, 0, sizeof(a));

    corrald_redis_add(&a, "EVAL");
    corrald_redis_add_len(&a, corrald_lua_fetch, corrald_lua_fetch_len);
    corrald_redis_add(&a, "5");
    corrald_redis_add(&a, corrald_local_key(keys[0], CORRALD_KEY_SERVICES));
    corrald_redis_add(&a, corrald_local_key(keys[1], CORRALD_KEY_INSTANCES));
    corrald_redis_add(&a, corrald_local_key(keys[2], CORRALD_KEY_REVISIONS));
    corrald_redis_add(&a, corrald_local_key(keys[3], CORRALD_KEY_MACS));
    corrald_redis_add(&a, corrald_local_key(keys[4], CORRALD_KEY_RULES));

    for (kind = 0; kind < CORRALD_STORED; kind++) {
        json_object_foreach(batch->ids[kind], id, value) {
            corrald_redis_add(&a, corrald_doc_kind(kind));
            corrald_redis_add(&a, id);
        }
    }

    corrald_redis_send(corrald_local.follow, &a, 0, corrald_follow_fetched,
                       batch);
    corrald_redis_args_free(&a);
}


static void
corrald_follow_fetched(const redisReply *reply, const char *err, void *data)
{
    int                      kind;
    size_t                   i, n;
    json_t                  *value;
    int64_t                  revision;
    const char              *id;
    const redisReply        *text;
    corrald_follow_batch_t  *batch;

    batch = data;

    for (kind = 0, n = 0; kind < CORRALD_STORED; kind++) {
        n += json_object_size(batch->ids[kind]);
    }

    if (reply == NULL || batch->term != corrald_follow_term) {
        corrald_follow_batch_free(batch);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 3 * n)
    {
        corrald_follow_batch_free(batch);
        corrald_redis_break(corrald_local.follow, corrald_reply_str(reply));
        return;
    }

    i = 0;

    for (kind = 0; kind < CORRALD_STORED; kind++) {
        json_object_foreach(batch->ids[kind], id, value) {
            text = reply->element[i];
            revision = corrald_reply_int(reply->element[i + 1]);

            /* what was read is at least as new as the entry that told of it */

            if (revision < json_integer_value(value)) {
                revision = json_integer_value(value);
            }

            if (text->type == REDIS_REPLY_STRING) {
                corrald_cache_put(kind, id, text->str, text->len, revision,
                                  corrald_reply_str(reply->element[i + 2]));

            } else {
                corrald_cache_del(kind, id, batch->revision);
            }

            i += 3;
        }
    }

    corrald_follow_rev = batch->revision;
    corrald_cache_seen(batch->revision);
    corrald_follow_batch_free(batch);

    corrald_cache_sweep(corrald_follow_rev);
    corrald_cache_publish();
    corrald_follow_read();
}


static void
corrald_follow_batch_free(corrald_follow_batch_t *batch)
{
    int  kind;

    for (kind = 0; kind < CORRALD_STORED; kind++) {
        json_decref(batch->ids[kind]);
    }

    free(batch);
}


void
corrald_follow_last(const redisReply *reply, char *id, size_t size)
{
    const redisReply  *entry;

    entry = reply->type == REDIS_REPLY_ARRAY && reply->elements
            ? reply->element[reply->elements - 1] : NULL;

    snprintf(id, size, "%s", entry ? corrald_reply_str(
                                         corrald_reply_at(entry, 0))
                                   : "0-0");
}
