
/*
 * What the files of the store share among themselves.  Nothing outside this
 * folder includes it.
 */


#ifndef _CORRALD_LOCAL_H_INCLUDED_
#define _CORRALD_LOCAL_H_INCLUDED_


#include <corral_schema.h>

#include "../base/map.h"
#include "redis.h"
#include "store.h"


/* A key: "corral:default:services".  Ids have at most 64 bytes. */

#define CORRALD_KEY_SIZE  192

typedef enum {
#define X(name, format, type, writer, text)  CORRALD_KEY_##name,
    CORRAL_KEYS(X)
#undef X
    CORRALD_KEY_N
} corrald_key_e;


typedef struct {
    corrald_store_status_t   status;

    corrald_redis_url_t      url;
    corrald_redis_t         *main;   /* commands */
    corrald_redis_t         *follow; /* XREAD BLOCK */

    char                     where[160];
    char                     epoch[64];
    char                     error[256];
    char                     hmac[64];
    size_t                   hmac_len;

    int64_t                  clock;  /* Redis' clock minus ours, ms */
    unsigned                 closing:1;
} corrald_local_t;

extern corrald_local_t  corrald_local;


/* store.c */

const char *corrald_local_key(char *buf, corrald_key_e key, ...);
void corrald_local_trouble(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
void corrald_local_ready(int ready);


/* embed.c: the Redis of our own */

int corrald_embed_open(corrald_redis_url_t *url, char *err, size_t size)
    __attribute__((warn_unused_result));
void corrald_embed_start(void);
void corrald_embed_attached(corrald_redis_t *r);


/* cache.c: the documents in memory */

typedef struct corrald_cache_s  corrald_cache_t;

struct corrald_cache_s {
    corrald_entry_t   entry;         /* must be first */
    char             *text;          /* as stored, followed by a NUL */
    size_t            len;
    char              mac[65];       /* "" for none */
    corrald_cache_t  *next;          /* instance of the same service */
    corrald_cache_t **prev;
};

corrald_cache_t *corrald_cache_get(corrald_kind_e kind, const char *id);
void corrald_cache_put(corrald_kind_e kind, const char *id, const char *text,
    size_t len, int64_t revision, const char *mac);
void corrald_cache_del(corrald_kind_e kind, const char *id, int64_t revision);
void corrald_cache_publish(void);
int64_t corrald_cache_revision(void);
void corrald_cache_seen(int64_t revision);
void corrald_cache_reset_revision(int64_t revision);
void corrald_cache_sweep(int64_t revision);
void corrald_cache_each(corrald_kind_e kind,
    void (*handler)(corrald_cache_t *c, void *data), void *data);
void corrald_cache_free(void);


/* turn.c: commits under way; the end of the last one is the turn of others */

int corrald_turn_busy(corrald_kind_e kind, const char *id);
void corrald_turn_begin(corrald_kind_e kind, const char *id);
void corrald_turn_end(corrald_kind_e kind, const char *id);


/* journal.c: the documents on disk */

typedef struct {
    corrald_kind_e    kind;
    char             *id;
    char             *text;
    size_t            len;
    int64_t           revision;
    char              mac[65];
} corrald_journal_doc_t;

typedef struct {
    char              epoch[64];
    int64_t           revision;
    int64_t           fence;
    corrald_map_t     docs;          /* "kind/id" to corrald_journal_doc_t */
} corrald_journal_t;

typedef void (*corrald_journal_pt)(void *data);

int corrald_journal_open(corrald_journal_t *found, char *err, size_t size)
    __attribute__((warn_unused_result));
void corrald_journal_found_free(corrald_journal_t *found);
void corrald_journal_add(corrald_kind_e kind, const char *id, int64_t revision,
    const char *mac, const char *text, size_t len);
void corrald_journal_rewrite(void);
void corrald_journal_sync(corrald_journal_pt handler, void *data);
void corrald_journal_close(void);


/* follow.c: the streams */

#define CORRALD_FOLLOW_STREAMS  4

/* Where a load stands.  ids: of the last entry of each stream. */

typedef struct {
    int64_t           revision;
    char              ids[CORRALD_FOLLOW_STREAMS][48];
    int               other;         /* not the store that was known */
    int               reset;         /* and one was */
} corrald_follow_position_t;

void corrald_follow_up(void);
void corrald_follow_down(void);
void corrald_follow_recheck(void);
void corrald_follow_loaded(const corrald_follow_position_t *position);
int64_t corrald_follow_revision(void);

/* the key of a stream, and the id of the last entry of an answer, or "0-0" */

corrald_key_e corrald_follow_key(int i);
void corrald_follow_last(const redisReply *reply, char *id, size_t size);


/* load.c: all documents; it ends in corrald_follow_loaded() */

void corrald_load_begin(void);
void corrald_load_discard(void);


/* restore.c: a store without epoch, or one that went back in time */

void corrald_restore_open(corrald_journal_t *found);
void corrald_restore_run(const char *epoch, const char *why);
int64_t corrald_restore_known(const char *epoch);
void corrald_restore_forget(void);


/* lease.c: the second's work */

void corrald_lease_up(void);
void corrald_lease_down(void);
int64_t corrald_lease_fence(void);
void corrald_lease_refresh(corrald_journal_pt handler, void *data);
void corrald_lease_close(void);


/* waiting.c: requests that wait for an instance */

void corrald_waiting_told(const char *service_id, const char *worker,
    int64_t waiting);
void corrald_waiting_close(void);


/* applied.c: who serves from which revision */

void corrald_applied_ack(const char *worker, const char *epoch,
    int64_t revision);
void corrald_applied_lost(void);



/* people.c */

void corrald_people_heartbeat(const char *instance_id, const json_t *load,
    int64_t ttl, corrald_store_json_pt handler, void *data);


/* store.c: replies of Redis */

const char *corrald_reply_str(const redisReply *reply);
const redisReply *corrald_reply_at(const redisReply *reply, size_t i);
int64_t corrald_reply_int(const redisReply *reply);
json_t *corrald_reply_object(const redisReply *pairs,
    const char *const *numbers);
const char *corrald_reply_field(const redisReply *pairs, const char *name);


#endif /* _CORRALD_LOCAL_H_INCLUDED_ */
