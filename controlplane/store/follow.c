
/*
 * The way of the registry from Redis into memory: a full load once, then the
 * streams.
 *
 * One connection does only this: XREAD BLOCK over changes, events, acks and
 * wakes.  An answer, or the time-out of an empty read, proves every second that
 * the connection lives.  A full load reads the position first and the documents
 * then, so that nothing is missed; it is put aside until it is whole and
 * applied in one turn of the loop.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/bus.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "corrald_embed.h"
#include "local.h"


#define CORRALD_FOLLOW_BLOCK  1000
#define CORRALD_FOLLOW_COUNT  1000

/* documents of one HSCAN: an answer of about 2 MB */

#define CORRALD_FOLLOW_SCAN   500

#define CORRALD_FOLLOW_STREAMS  4


/* The hashes that a load reads, in this order. */

typedef enum {
    CORRALD_FOLLOW_REVISIONS = 0,
    CORRALD_FOLLOW_MACS,
    CORRALD_FOLLOW_SERVICES,
    CORRALD_FOLLOW_INSTANCES,
    CORRALD_FOLLOW_RULES,
    CORRALD_FOLLOW_HASHES
} corrald_follow_hash_e;


typedef struct {
    char            *text;
    size_t           len;
} corrald_follow_value_t;


/* A load under way. */

typedef struct {
    corrald_map_t    hashes[CORRALD_FOLLOW_HASHES];
    int              hash;
    int64_t          revision;
    char             epoch[64];
    char             changes[48];
    int              failed;
} corrald_follow_load_t;


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
static void corrald_follow_load(void);
static void corrald_follow_position(const redisReply *reply, const char *err,
    void *data);
static void corrald_follow_scan(const char *cursor);
static void corrald_follow_scanned(const redisReply *reply, const char *err,
    void *data);
static void corrald_follow_apply(void);
static void corrald_follow_apply_kind(corrald_kind_e kind,
    corrald_follow_hash_e hash);
static void corrald_follow_remove(corrald_cache_t *c, void *data);
static void corrald_follow_discard(void);
static void corrald_follow_value_free(void *value);
static void corrald_follow_read(void);
static void corrald_follow_entries(const redisReply *reply, const char *err,
    void *data);
static int corrald_follow_changes(const redisReply *entries,
    corrald_follow_batch_t *batch);
static void corrald_follow_events(const redisReply *entries);
static void corrald_follow_acks(const redisReply *entries);
static void corrald_follow_wakes(const redisReply *entries);
static void corrald_follow_fetch(corrald_follow_batch_t *batch);
static void corrald_follow_fetched(const redisReply *reply, const char *err,
    void *data);
static void corrald_follow_batch_free(corrald_follow_batch_t *batch);
static void corrald_follow_last(const redisReply *reply, char *id,
    size_t size);


/* the followed streams, and the id of the last entry seen of each */

static char                     corrald_follow_ids[CORRALD_FOLLOW_STREAMS][48];
static int64_t                  corrald_follow_rev;
static int                      corrald_follow_reset;
static corrald_follow_load_t   *corrald_follow_loading;

/*
 * Raised whenever the way begins anew: an answer to what was asked in an
 * earlier term is dropped, and with it its chain of reads.
 */

static int                      corrald_follow_term;


/* The last revision whose changes were all applied. */

int64_t
corrald_follow_revision(void)
{
    return corrald_follow_rev;
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
    corrald_follow_load();
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
corrald_follow_load(void)
{
    char                    key[CORRALD_KEY_SIZE];
    corrald_redis_t        *r;
    corrald_follow_load_t  *load;

    r = corrald_local.follow;

    load = calloc(1, sizeof(*load));

    if (load == NULL) {
        corrald_redis_break(r, "no memory for a full load");
        return;
    }

    corrald_follow_loading = load;

    corrald_local.status.loads++;

    /* the position first: what changes from now on is read again */

    corrald_redis_command(r, 0, NULL, NULL, "MULTI");
    corrald_redis_command(r, 0, NULL, NULL, "GET %s",
                          corrald_local_key(key, CORRALD_KEY_EPOCH));
    corrald_redis_command(r, 0, NULL, NULL, "GET %s",
                          corrald_local_key(key, CORRALD_KEY_REVISION));
    corrald_redis_command(r, 0, NULL, NULL, "XREVRANGE %s + - COUNT 1",
                          corrald_local_key(key, CORRALD_KEY_CHANGES));
    corrald_redis_command(r, 0, NULL, NULL, "XREVRANGE %s + - COUNT 1",
                          corrald_local_key(key, CORRALD_KEY_EVENTS));
    corrald_redis_command(r, 0, NULL, NULL, "XREVRANGE %s + - COUNT 1",
                          corrald_local_key(key, CORRALD_KEY_ACKS));
    corrald_redis_command(r, 0, NULL, NULL, "XREVRANGE %s + - COUNT 1",
                          corrald_local_key(key, CORRALD_KEY_WAKES));
    corrald_redis_command(r, 0, corrald_follow_position, load, "EXEC");
}


static void
corrald_follow_position(const redisReply *reply, const char *err, void *data)
{
    corrald_follow_load_t  *load;

    load = data;

    if (reply == NULL || load != corrald_follow_loading) {
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 6) {
        corrald_local_trouble("Redis refuses the registry: %s",
                              corrald_reply_str(reply));
        corrald_redis_break(corrald_local.follow, "the registry is refused");
        return;
    }

    snprintf(load->epoch, sizeof(load->epoch), "%s",
             corrald_reply_str(reply->element[0]));
    load->revision = corrald_reply_int(reply->element[1]);

    if (*load->epoch == '\0') {
        corrald_follow_discard();
        corrald_restore_run("", "the store has no epoch");
        return;
    }

    corrald_follow_last(reply->element[2], load->changes,
                        sizeof(load->changes));

    /* what is said in the past is nobody's; those known go on */

    if (strcmp(load->epoch, corrald_local.epoch) != 0
        || *corrald_follow_ids[1] == '\0')
    {
        corrald_follow_last(reply->element[3], corrald_follow_ids[1],
                            sizeof(corrald_follow_ids[1]));
        corrald_follow_last(reply->element[4], corrald_follow_ids[2],
                            sizeof(corrald_follow_ids[2]));
        corrald_follow_last(reply->element[5], corrald_follow_ids[3],
                            sizeof(corrald_follow_ids[3]));
        corrald_follow_reset = *corrald_local.epoch != '\0';
    }

    corrald_follow_scan("0");
}


static void
corrald_follow_scan(const char *cursor)
{
    char  key[CORRALD_KEY_SIZE];

    static const corrald_key_e  keys[] = {
        CORRALD_KEY_REVISIONS, CORRALD_KEY_MACS, CORRALD_KEY_SERVICES,
        CORRALD_KEY_INSTANCES, CORRALD_KEY_RULES
    };

    corrald_redis_command(corrald_local.follow, 0, corrald_follow_scanned,
                          corrald_follow_loading, "HSCAN %s %s COUNT %d",
                          corrald_local_key(key,
                                            keys[corrald_follow_loading->hash]),
                          cursor, CORRALD_FOLLOW_SCAN);
}


static void
corrald_follow_scanned(const redisReply *reply, const char *err, void *data)
{
    size_t                   i;
    corrald_map_t           *map;
    const redisReply        *pairs, *value;
    corrald_follow_load_t   *load;
    corrald_follow_value_t  *v;

    load = data;

    if (reply == NULL || load != corrald_follow_loading) {
        return;
    }

    pairs = corrald_reply_at(reply, 1);

    if (pairs == NULL || pairs->type != REDIS_REPLY_ARRAY) {
        corrald_redis_break(corrald_local.follow, "a full load was refused");
        return;
    }

    map = &load->hashes[load->hash];

    for (i = 0; i + 1 < pairs->elements; i += 2) {
        value = pairs->element[i + 1];

        /* HSCAN may bring a field twice: the later one is not older */

        v = corrald_map_get(map, pairs->element[i]->str);

        if (v == NULL) {
            v = calloc(1, sizeof(*v));

            if (v == NULL
                || corrald_map_set(map, pairs->element[i]->str, v) != 0)
            {
                corrald_log_error("no memory for a full load");
                abort();
            }
        }

        free(v->text);
        v->len = value->len;
        v->text = malloc(value->len + 1);

        if (v->text == NULL) {
            corrald_log_error("no memory for a full load");
            abort();
        }

        memcpy(v->text, value->str, value->len);
        v->text[value->len] = '\0';
    }

    if (strcmp(corrald_reply_str(reply->element[0]), "0") != 0) {
        corrald_follow_scan(reply->element[0]->str);
        return;
    }

    if (++load->hash < CORRALD_FOLLOW_HASHES) {
        corrald_follow_scan("0");
        return;
    }

    corrald_follow_apply();
}


/* The load is whole: applied as a difference to what is known. */

static void
corrald_follow_apply(void)
{
    int                     changed;
    corrald_follow_load_t  *load;

    load = corrald_follow_loading;
    changed = strcmp(corrald_local.epoch, load->epoch) != 0;

    if (changed) {
        corrald_cache_reset_revision(0);
        corrald_applied_lost();
        snprintf(corrald_local.epoch, sizeof(corrald_local.epoch), "%s",
                 load->epoch);
    }

    corrald_follow_apply_kind(CORRALD_SERVICE, CORRALD_FOLLOW_SERVICES);
    corrald_follow_apply_kind(CORRALD_INSTANCE, CORRALD_FOLLOW_INSTANCES);
    corrald_follow_apply_kind(CORRALD_RULE, CORRALD_FOLLOW_RULES);

    corrald_cache_seen(load->revision);

    corrald_follow_rev = load->revision;
    snprintf(corrald_follow_ids[0], sizeof(corrald_follow_ids[0]), "%s",
             load->changes);

    corrald_follow_discard();
    corrald_restore_forget();
    corrald_journal_rewrite();

    corrald_log_info("registry: revision %lld, %zu services, %zu instances, "
                     "%zu rules", (long long) corrald_follow_rev,
                     corrald_store_count(CORRALD_SERVICE),
                     corrald_store_count(CORRALD_INSTANCE),
                     corrald_store_count(CORRALD_RULE));

    corrald_cache_publish();
    corrald_local_ready(1);

    if (corrald_follow_reset) {
        corrald_follow_reset = 0;
        corrald_bus_emit(CORRALD_BUS_RESET, NULL);
    }

    corrald_follow_read();
}


static void
corrald_follow_apply_kind(corrald_kind_e kind, corrald_follow_hash_e hash)
{
    char                     key[CORRALD_KEY_SIZE];
    void                    *value;
    int64_t                  revision;
    const char              *id;
    corrald_cache_t         *known;
    corrald_map_iter_t       it;
    corrald_follow_load_t   *load;
    corrald_follow_value_t  *v, *rev, *mac;

    load = corrald_follow_loading;

    corrald_map_first(&load->hashes[hash], &it);

    while (corrald_map_next(&load->hashes[hash], &it, &id, &value)) {
        v = value;

        snprintf(key, sizeof(key), "%s/%.64s", corrald_doc_kind(kind), id);
        rev = corrald_map_get(&load->hashes[CORRALD_FOLLOW_REVISIONS], key);
        mac = corrald_map_get(&load->hashes[CORRALD_FOLLOW_MACS], id);
        revision = rev ? strtoll(rev->text, NULL, 10) : 0;
        known = corrald_cache_get(kind, id);

        /* the same bytes: another store may hold the same documents */

        if (known && known->len == v->len
            && memcmp(known->text, v->text, v->len) == 0
            && strcmp(known->mac, mac && kind == CORRALD_SERVICE
                                  ? mac->text : "")
               == 0)
        {
            if (known->entry.revision < revision) {
                known->entry.revision = revision;
            }

            continue;
        }

        corrald_cache_put(kind, id, v->text, v->len,
                          revision > 0 ? revision : 1,
                          mac && kind == CORRALD_SERVICE ? mac->text : "");
    }

    corrald_cache_each(kind, corrald_follow_remove, &load->hashes[hash]);
}


/* What the load did not bring is gone, unless it came after the load began. */

static void
corrald_follow_remove(corrald_cache_t *c, void *data)
{
    if (corrald_map_get(data, c->entry.id) == NULL
        && c->entry.revision <= corrald_follow_loading->revision)
    {
        corrald_cache_del(c->entry.kind, c->entry.id,
                          corrald_follow_loading->revision);
    }
}


static void
corrald_follow_discard(void)
{
    int                     i;
    corrald_follow_load_t  *load;

    load = corrald_follow_loading;
    corrald_follow_loading = NULL;
    corrald_follow_term++;

    if (load == NULL) {
        return;
    }

    for (i = 0; i < CORRALD_FOLLOW_HASHES; i++) {
        corrald_map_free(&load->hashes[i], corrald_follow_value_free);
    }

    free(load);
}


static void
corrald_follow_value_free(void *value)
{
    free(((corrald_follow_value_t *) value)->text);
    free(value);
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
    char                     keys[CORRALD_FOLLOW_STREAMS][CORRALD_KEY_SIZE];
    size_t                   n;
    const redisReply        *stream, *entries;
    corrald_follow_batch_t  *batch;

    static const corrald_key_e  names[] = {
        CORRALD_KEY_CHANGES, CORRALD_KEY_EVENTS, CORRALD_KEY_ACKS,
        CORRALD_KEY_WAKES
    };

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
    rc = 0;

    for (i = 0; i < CORRALD_FOLLOW_STREAMS; i++) {
        corrald_local_key(keys[i], names[i]);
    }

    for (n = 0; n < reply->elements; n++) {
        stream = reply->element[n];
        entries = corrald_reply_at(stream, 1);

        if (entries == NULL || entries->elements == 0) {
            continue;
        }

        for (i = 0; i < CORRALD_FOLLOW_STREAMS - 1; i++) {
            if (strcmp(corrald_reply_str(stream->element[0]), keys[i]) == 0) {
                break;
            }
        }

        switch (i) {

        case 0:
            rc = corrald_follow_changes(entries, batch);
            break;

        case 1:
            corrald_follow_events(entries);
            break;

        case 2:
            corrald_follow_acks(entries);
            break;

        default:
            corrald_follow_wakes(entries);
            break;
        }

        corrald_follow_last(entries, corrald_follow_ids[i],
                            sizeof(corrald_follow_ids[i]));
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


static void
corrald_follow_events(const redisReply *entries)
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
}


static void
corrald_follow_acks(const redisReply *entries)
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
}


static void
corrald_follow_wakes(const redisReply *entries)
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


/* The id of the last entry of an answer; of an empty one: the beginning. */

static void
corrald_follow_last(const redisReply *reply, char *id, size_t size)
{
    const redisReply  *entry;

    entry = reply->type == REDIS_REPLY_ARRAY && reply->elements
            ? reply->element[reply->elements - 1] : NULL;

    snprintf(id, size, "%s", entry ? corrald_reply_str(
                                         corrald_reply_at(entry, 0))
                                   : "0-0");
}
