
/*
 * A full load of the registry.
 *
 * The position in the streams is read first and the documents then, so that
 * nothing is missed.  A load is put aside until it is whole and applied in one
 * turn of the loop, as a difference to what is known.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "local.h"


/* documents of one HSCAN: an answer of about 2 MB */

#define CORRALD_LOAD_SCAN  500


/* The hashes that a load reads, in this order. */

typedef enum {
    CORRALD_LOAD_REVISIONS = 0,
    CORRALD_LOAD_MACS,
    CORRALD_LOAD_SERVICES,
    CORRALD_LOAD_INSTANCES,
    CORRALD_LOAD_RULES,
    CORRALD_LOAD_HASHES
} corrald_load_hash_e;


typedef struct {
    char            *text;
    size_t           len;
} corrald_load_value_t;


/* A load under way. */

typedef struct {
    corrald_map_t               hashes[CORRALD_LOAD_HASHES];
    int                         hash;
    char                        epoch[64];
    corrald_follow_position_t   position;
} corrald_load_t;


static void corrald_load_position(const redisReply *reply, const char *err,
    void *data);
static void corrald_load_scan(const char *cursor);
static void corrald_load_scanned(const redisReply *reply, const char *err,
    void *data);
static void corrald_load_keep(corrald_map_t *map, const char *name,
    const redisReply *value);
static void corrald_load_apply(void);
static void corrald_load_apply_kind(corrald_kind_e kind,
    corrald_load_hash_e hash);
static void corrald_load_remove(corrald_cache_t *c, void *data);
static void corrald_load_value_free(void *value);


static corrald_load_t  *corrald_loading;


void
corrald_load_begin(void)
{
    int               i;
    char              key[CORRALD_KEY_SIZE];
    corrald_redis_t  *r;
    corrald_load_t   *load;

    r = corrald_local.follow;

    load = calloc(1, sizeof(*load));

    if (load == NULL) {
        corrald_redis_break(r, "no memory for a full load");
        return;
    }

    corrald_loading = load;

    corrald_local.status.loads++;

    /* the position first: what changes from now on is read again */

    corrald_redis_command(r, 0, NULL, NULL, "MULTI");
    corrald_redis_command(r, 0, NULL, NULL, "GET %s",
                          corrald_local_key(key, CORRALD_KEY_EPOCH));
    corrald_redis_command(r, 0, NULL, NULL, "GET %s",
                          corrald_local_key(key, CORRALD_KEY_REVISION));

    for (i = 0; i < CORRALD_FOLLOW_STREAMS; i++) {
        corrald_redis_command(r, 0, NULL, NULL, "XREVRANGE %s + - COUNT 1",
                              corrald_local_key(key, corrald_follow_key(i)));
    }

    corrald_redis_command(r, 0, corrald_load_position, load, "EXEC");
}


static void
corrald_load_position(const redisReply *reply, const char *err, void *data)
{
    int              i;
    corrald_load_t  *load;

    load = data;

    if (reply == NULL || load != corrald_loading) {
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 2 + CORRALD_FOLLOW_STREAMS)
    {
        corrald_local_trouble("Redis refuses the registry: %s",
                              corrald_reply_str(reply));
        corrald_redis_break(corrald_local.follow, "the registry is refused");
        return;
    }

    snprintf(load->epoch, sizeof(load->epoch), "%s",
             corrald_reply_str(reply->element[0]));
    load->position.revision = corrald_reply_int(reply->element[1]);

    if (*load->epoch == '\0') {
        corrald_load_discard();
        corrald_restore_run("", "the store has no epoch");
        return;
    }

    for (i = 0; i < CORRALD_FOLLOW_STREAMS; i++) {
        corrald_follow_last(reply->element[2 + i], load->position.ids[i],
                            sizeof(load->position.ids[i]));
    }

    corrald_load_scan("0");
}


static void
corrald_load_scan(const char *cursor)
{
    char  key[CORRALD_KEY_SIZE];

    static const corrald_key_e  keys[] = {
        CORRALD_KEY_REVISIONS, CORRALD_KEY_MACS, CORRALD_KEY_SERVICES,
        CORRALD_KEY_INSTANCES, CORRALD_KEY_RULES
    };

    corrald_redis_command(corrald_local.follow, 0, corrald_load_scanned,
                          corrald_loading, "HSCAN %s %s COUNT %d",
                          corrald_local_key(key, keys[corrald_loading->hash]),
                          cursor, CORRALD_LOAD_SCAN);
}


static void
corrald_load_scanned(const redisReply *reply, const char *err, void *data)
{
    size_t             i;
    corrald_load_t    *load;
    const redisReply  *pairs;

    load = data;

    if (reply == NULL || load != corrald_loading) {
        return;
    }

    pairs = corrald_reply_at(reply, 1);

    if (pairs == NULL || pairs->type != REDIS_REPLY_ARRAY) {
        corrald_redis_break(corrald_local.follow, "a full load was refused");
        return;
    }

    for (i = 0; i + 1 < pairs->elements; i += 2) {
        corrald_load_keep(&load->hashes[load->hash], pairs->element[i]->str,
                          pairs->element[i + 1]);
    }

    if (strcmp(corrald_reply_str(reply->element[0]), "0") != 0) {
        corrald_load_scan(reply->element[0]->str);
        return;
    }

    if (++load->hash < CORRALD_LOAD_HASHES) {
        corrald_load_scan("0");
        return;
    }

    corrald_load_apply();
}


/* HSCAN may bring a field twice: the later one is not older. */

static void
corrald_load_keep(corrald_map_t *map, const char *name,
    const redisReply *value)
{
    corrald_load_value_t  *v;

    v = corrald_map_get(map, name);

    if (v == NULL) {
        v = corrald_alloc(1, sizeof(*v), "for a full load");

        if (corrald_map_set(map, name, v) != 0) {
            corrald_alloc_failed("for a full load");
        }
    }

    free(v->text);
    v->len = value->len;
    v->text = corrald_alloc(1, value->len + 1, "for a full load");

    memcpy(v->text, value->str, value->len);
    v->text[value->len] = '\0';
}


/* The load is whole: applied as a difference to what is known. */

static void
corrald_load_apply(void)
{
    corrald_load_t            *load;
    corrald_follow_position_t  position;

    load = corrald_loading;
    load->position.other = strcmp(corrald_local.epoch, load->epoch) != 0;
    load->position.reset = load->position.other && *corrald_local.epoch;

    if (load->position.other) {
        corrald_cache_reset_revision(0);
        corrald_applied_lost();
        snprintf(corrald_local.epoch, sizeof(corrald_local.epoch), "%s",
                 load->epoch);
    }

    corrald_load_apply_kind(CORRALD_SERVICE, CORRALD_LOAD_SERVICES);
    corrald_load_apply_kind(CORRALD_INSTANCE, CORRALD_LOAD_INSTANCES);
    corrald_load_apply_kind(CORRALD_RULE, CORRALD_LOAD_RULES);

    corrald_cache_seen(load->position.revision);

    position = load->position;
    corrald_load_discard();
    corrald_follow_loaded(&position);
}


static void
corrald_load_apply_kind(corrald_kind_e kind, corrald_load_hash_e hash)
{
    char                   key[CORRALD_KEY_SIZE];
    void                  *value;
    int64_t                revision;
    const char            *id;
    corrald_cache_t       *known;
    corrald_map_iter_t     it;
    corrald_load_t        *load;
    corrald_load_value_t  *v, *rev, *mac;

    load = corrald_loading;

    corrald_map_first(&load->hashes[hash], &it);

    while (corrald_map_next(&load->hashes[hash], &it, &id, &value)) {
        v = value;

        snprintf(key, sizeof(key), "%s/%.64s", corrald_doc_kind(kind), id);
        rev = corrald_map_get(&load->hashes[CORRALD_LOAD_REVISIONS], key);
        mac = corrald_map_get(&load->hashes[CORRALD_LOAD_MACS], id);
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

    corrald_cache_each(kind, corrald_load_remove, &load->hashes[hash]);
}


/* What the load did not bring is gone, unless it came after the load began. */

static void
corrald_load_remove(corrald_cache_t *c, void *data)
{
    if (corrald_map_get(data, c->entry.id) == NULL
        && c->entry.revision <= corrald_loading->position.revision)
    {
        corrald_cache_del(c->entry.kind, c->entry.id,
                          corrald_loading->position.revision);
    }
}


void
corrald_load_discard(void)
{
    int              i;
    corrald_load_t  *load;

    load = corrald_loading;
    corrald_loading = NULL;

    if (load == NULL) {
        return;
    }

    for (i = 0; i < CORRALD_LOAD_HASHES; i++) {
        corrald_map_free(&load->hashes[i], corrald_load_value_free);
    }

    free(load);
}


static void
corrald_load_value_free(void *value)
{
    free(((corrald_load_value_t *) value)->text);
    free(value);
}
