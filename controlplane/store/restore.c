
/*
 * A store that lost its data gets it back: from memory while corrald runs,
 * from the journal when it starts.
 *
 * Lost means: there is no epoch, or the epoch is the one we know with a lower
 * revision than we have seen (Redis came back with an older file).  The store
 * gets a new epoch, so that every gateway loads it anew.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/crypt.h"
#include "../base/log.h"
#include "corrald_embed.h"
#include "local.h"


/* What is sent must live until it is sent. */

typedef struct {
    corrald_redis_args_t   args;
    json_t                *keep;     /* array of strings */
    size_t                 docs;
} corrald_restore_t;


static void corrald_restore_doc(corrald_restore_t *r, corrald_kind_e kind,
    const char *id, int64_t revision, const char *text, size_t len,
    const char *mac);
static void corrald_restore_cached(corrald_cache_t *c, void *data);
static void corrald_restore_done(const redisReply *reply, const char *err,
    void *data);


/* what the journal had; empty after the first load */

static corrald_journal_t  corrald_restore_found;


/* Takes the content of found over. */

void
corrald_restore_open(corrald_journal_t *found)
{
    corrald_restore_found = *found;
}


/* The journal has done its work. */

void
corrald_restore_forget(void)
{
    corrald_journal_found_free(&corrald_restore_found);
    memset(&corrald_restore_found, 0, sizeof(corrald_restore_found));
}


/* The highest revision that we know of a store with this epoch; 0: none. */

int64_t
corrald_restore_known(const char *epoch)
{
    if (*corrald_local.epoch) {
        return strcmp(epoch, corrald_local.epoch) == 0
               ? corrald_cache_revision() : 0;
    }

    return strcmp(epoch, corrald_restore_found.epoch) == 0
           ? corrald_restore_found.revision : 0;
}


/* Fills the store, whose epoch is this one ("" for none), and looks again. */

void
corrald_restore_run(const char *epoch, const char *why)
{
    char                 keys[10][CORRALD_KEY_SIZE], fresh[33], revision[24];
    char                 fence[24];
    int                  i;
    void                *value;
    int64_t              known;
    corrald_restore_t    r;
    corrald_map_iter_t   it;

    static const corrald_key_e  names[] = {
        CORRALD_KEY_EPOCH, CORRALD_KEY_REVISION, CORRALD_KEY_REVISIONS,
        CORRALD_KEY_SERVICES, CORRALD_KEY_INSTANCES, CORRALD_KEY_NAMES,
        CORRALD_KEY_MACS, CORRALD_KEY_CHANGES, CORRALD_KEY_FENCE,
        CORRALD_KEY_RULES
    };

    corrald_local_ready(0);

    if (corrald_crypt_random_hex(fresh, 16) != 0) {
        corrald_redis_break(corrald_local.follow, "no random bytes");
        return;
    }

    memset(&r, 0, sizeof(r));

    known = *corrald_local.epoch ? corrald_cache_revision()
                                 : corrald_restore_found.revision;

    snprintf(revision, sizeof(revision), "%lld",
             (long long) (known ? known + 1 : 0));
    snprintf(fence, sizeof(fence), "%lld",
             (long long) (*corrald_local.epoch ? corrald_lease_fence()
                                               : corrald_restore_found.fence));

    r.keep = json_array();

    corrald_redis_add(&r.args, "EVAL");
    corrald_redis_add_len(&r.args, corrald_lua_restore,
                          corrald_lua_restore_len);
    corrald_redis_add(&r.args, "10");

    for (i = 0; i < 10; i++) {
        corrald_redis_add(&r.args, corrald_local_key(keys[i], names[i]));
    }

    corrald_redis_add(&r.args, epoch);
    corrald_redis_add(&r.args, revision);
    corrald_redis_add(&r.args, fresh);
    corrald_redis_add(&r.args, fence);

    if (*corrald_local.epoch) {
        for (i = 0; i < CORRALD_STORED; i++) {
            corrald_cache_each(i, corrald_restore_cached, &r);
        }

    } else {
        corrald_map_first(&corrald_restore_found.docs, &it);

        while (corrald_map_next(&corrald_restore_found.docs, &it, NULL,
                                &value))
        {
            corrald_journal_doc_t  *d = value;

            corrald_restore_doc(&r, d->kind, d->id, d->revision, d->text,
                                d->len, d->mac);
        }
    }

    if (r.docs || *epoch) {
        corrald_log_warn("registry: %s: restoring %zu documents of revision "
                         "%lld", why, r.docs, (long long) known);

    } else {
        corrald_log_info("registry: %s: a new one is made", why);
    }

    corrald_redis_send(corrald_local.follow, &r.args, 0, corrald_restore_done,
                       (void *) (intptr_t) r.docs);

    corrald_redis_args_free(&r.args);
    json_decref(r.keep);
}


static void
corrald_restore_doc(corrald_restore_t *r, corrald_kind_e kind, const char *id,
    int64_t revision, const char *text, size_t len, const char *mac)
{
    char         number[24], unique[CORRALD_DOC_UNIQUE];
    json_t      *doc, *kept;
    const char  *name;

    snprintf(number, sizeof(number), "%lld", (long long) revision);

    doc = kind != CORRALD_INSTANCE ? json_loadb(text, len, 0, NULL) : NULL;
    name = corrald_doc_unique(kind, corrald_doc_str(doc, "name"), unique);

    kept = json_pack("[s, s]", number, name);
    json_array_append_new(r->keep, kept);
    json_decref(doc);

    corrald_redis_add(&r->args, corrald_doc_kind(kind));
    corrald_redis_add(&r->args, id);
    corrald_redis_add(&r->args, json_string_value(json_array_get(kept, 0)));
    corrald_redis_add_len(&r->args, text, len);
    corrald_redis_add(&r->args, mac);
    corrald_redis_add(&r->args, json_string_value(json_array_get(kept, 1)));

    r->docs++;
}


static void
corrald_restore_cached(corrald_cache_t *c, void *data)
{
    corrald_restore_doc(data, c->entry.kind, c->entry.id, c->entry.revision,
                        c->text, c->len, c->mac);
}


static void
corrald_restore_done(const redisReply *reply, const char *err, void *data)
{
    json_t  *detail;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        corrald_local_trouble("the registry cannot be restored: %s",
                              reply->str);
        corrald_redis_break(corrald_local.follow, "the restoration failed");
        return;
    }

    if (strcmp(corrald_reply_str(reply), "ok") == 0 && data) {
        detail = json_pack("{s:I}", "documents",
                           (json_int_t) (intptr_t) data);
        corrald_store_event("store_restored", "", "", detail);
        json_decref(detail);
    }

    corrald_follow_recheck();
}
