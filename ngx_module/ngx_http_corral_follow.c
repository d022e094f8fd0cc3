
/*
 * Follows the registry in Redis (docs/schema.md, "One change", "Full load").
 *
 * Two connections: "follow" waits in XREAD BLOCK for changes and commands,
 * "cmd" carries everything else.  One thing is done at a time, the phase:
 *
 *     wait     no connection, or the store has no epoch; the heartbeat looks
 *     probe    asks for epoch, revision and the end of the changes at once
 *     scan     a full load: HSCAN of services, then of instances
 *     fetch    changed documents: HMGET
 *     commit   the registry builds what was put
 *     idle     up to date, changes are waited for
 *
 * Changes are read in phase idle only, and from the place where the last probe
 * or the last change stood: so nothing is missed and nothing has to be kept.
 * In the other phases XREAD waits for commands alone, and only shortly.
 *
 * Whatever looks wrong (a revision skipped, another epoch, an entry from
 * before) leads to a probe, and the probe to a full load unless it finds
 * everything as it should be.  Until a commit the registry before stays in
 * force.  Documents are put in slices.
 *
 * Lifetimes: an answer with documents is kept until all were put.  When "cmd"
 * is lost, what was begun is dropped and the phase is wait.  No locks, all
 * timers are cancelable.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_follow.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_redis.h"


#define NGX_HTTP_CORRAL_FOLLOW_TIMEOUT  3000    /* ms, for an answer */
#define NGX_HTTP_CORRAL_FOLLOW_BLOCK    5000    /* ms that XREAD waits */
#define NGX_HTTP_CORRAL_FOLLOW_BRIEF    100     /* ms, for commands alone */
#define NGX_HTTP_CORRAL_FOLLOW_JITTER   100     /* ms before a full load */
#define NGX_HTTP_CORRAL_FOLLOW_RETRY    5000    /* ms after a failed one */
#define NGX_HTTP_CORRAL_FOLLOW_BEHIND   3       /* beats, then a full load */
#define NGX_HTTP_CORRAL_FOLLOW_BATCH    500     /* documents of one HMGET */
#define NGX_HTTP_CORRAL_FOLLOW_ENTRIES  1000    /* more: a full load */
#define NGX_HTTP_CORRAL_FOLLOW_ID       64      /* bytes of an entry's id */


typedef enum {
    NGX_HTTP_CORRAL_FOLLOW_WAIT = 0,
    NGX_HTTP_CORRAL_FOLLOW_PROBE,
    NGX_HTTP_CORRAL_FOLLOW_SCAN,
    NGX_HTTP_CORRAL_FOLLOW_FETCH,
    NGX_HTTP_CORRAL_FOLLOW_COMMIT,
    NGX_HTTP_CORRAL_FOLLOW_IDLE
} ngx_http_corral_follow_phase_e;


/* id of the last entry that was read of a stream; len 0: not known */

typedef struct {
    size_t                            len;
    u_char                            data[NGX_HTTP_CORRAL_FOLLOW_ID];
} ngx_http_corral_follow_id_t;


typedef struct {
    ngx_http_corral_sync_info_t      *info;
    void                            (*changed)(ngx_uint_t full);

    ngx_http_corral_redis_t          *cmd;
    ngx_http_corral_redis_t          *follow;
    ngx_http_corral_follow_phase_e    phase;

    ngx_http_corral_follow_id_t       changes;
    ngx_http_corral_follow_id_t       commands;
    unsigned                          reading:1;   /* XREAD is under way */

    unsigned                          force:1;     /* probe, then full load */
    unsigned                          full:1;      /* of the update */
    unsigned                          begun:1;     /* registry_begin was said */
    unsigned                          empty:1;     /* it was told */
    unsigned                          same:1;      /* epoch, in this beat */
    ngx_uint_t                        behind;      /* beats */
    uint64_t                          behind_at;   /* revision at that time */

    /* the update */
    u_char                            epoch[CORRAL_ID_MAX + 1];
    uint64_t                          revision;
    ngx_http_corral_follow_id_t       end;         /* of changes, then */
    ngx_http_corral_kind_e            kind;        /* of a scan */
    u_char                            cursor[NGX_INT64_LEN + 1];
    size_t                            cursor_len;

    /* documents not yet put: elements pos to n of list */
    ngx_http_corral_redis_reply_t    *reply;       /* kept */
    ngx_http_corral_redis_reply_t    *list;
    ngx_uint_t                        pos;

    /* a batch of changes: ids of services, then of instances */
    ngx_pool_t                       *batch;
    ngx_array_t                       ids[2];
    ngx_uint_t                        fetched;     /* of ids[kind] */
    ngx_uint_t                        asked;       /* by this HMGET */

    ngx_event_t                       beat;
    ngx_event_t                       timer;       /* jitter, retry */
    ngx_event_t                       work;
    ngx_connection_t                  dummy;       /* ev->data */
} ngx_http_corral_follow_t;


static void ngx_http_corral_follow_event(ngx_event_t *ev,
    ngx_event_handler_pt handler);
static ngx_int_t ngx_http_corral_follow_send(
    ngx_http_corral_redis_reply_pt cb, ngx_uint_t argc, ngx_str_t *argv);
static ngx_int_t ngx_http_corral_follow_get(ngx_http_corral_key_e key,
    ngx_http_corral_redis_reply_pt cb);
static ngx_int_t ngx_http_corral_follow_last(ngx_http_corral_redis_t *redis,
    ngx_http_corral_key_e key, ngx_http_corral_redis_reply_pt cb);
static ngx_uint_t ngx_http_corral_follow_number(
    ngx_http_corral_redis_reply_t *reply, uint64_t *number);
static void ngx_http_corral_follow_reset(void);
static void ngx_http_corral_follow_finish(void);

static void ngx_http_corral_follow_cmd_ready(void *data);
static void ngx_http_corral_follow_cmd_closed(void *data);
static void ngx_http_corral_follow_beat(ngx_event_t *ev);
static void ngx_http_corral_follow_beat_epoch(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_beat_revision(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_no_epoch(void);

static void ngx_http_corral_follow_probe(ngx_uint_t force);
static void ngx_http_corral_follow_queued(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_probed(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_decide(void);
static void ngx_http_corral_follow_timer(ngx_event_t *ev);

static void ngx_http_corral_follow_scan(void);
static void ngx_http_corral_follow_scanned(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_verify(void);
static void ngx_http_corral_follow_verified(void *data,
    ngx_http_corral_redis_reply_t *reply);

static void ngx_http_corral_follow_fetch(void);
static void ngx_http_corral_follow_fetched(void *data,
    ngx_http_corral_redis_reply_t *reply);

static void ngx_http_corral_follow_post(void);
static void ngx_http_corral_follow_work(ngx_event_t *ev);
static ngx_int_t ngx_http_corral_follow_put(void);
static void ngx_http_corral_follow_commit(void);
static void ngx_http_corral_follow_failed(void);

static void ngx_http_corral_follow_ready(void *data);
static void ngx_http_corral_follow_closed(void *data);
static void ngx_http_corral_follow_end(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_read(void);
static void ngx_http_corral_follow_entries(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_commands(
    ngx_http_corral_redis_reply_t *entries);
static void ngx_http_corral_follow_changes(
    ngx_http_corral_redis_reply_t *entries);
static ngx_int_t ngx_http_corral_follow_change(ngx_rbtree_t *seen,
    ngx_http_corral_redis_reply_t *entry, uint64_t *revision);
static ngx_int_t ngx_http_corral_follow_add(ngx_rbtree_t *seen,
    ngx_uint_t kind, ngx_str_t *id);
static ngx_uint_t ngx_http_corral_follow_entry(
    ngx_http_corral_redis_reply_t *entry);
static void ngx_http_corral_follow_set_id(ngx_http_corral_follow_id_t *id,
    ngx_http_corral_redis_reply_t *entry);
static ngx_int_t ngx_http_corral_follow_compare(ngx_str_t *id,
    ngx_http_corral_follow_id_t *last);


#define ngx_http_corral_follow_field_e(name, text)  CHANGE_##name,
#define ngx_http_corral_follow_field(name, text)    ngx_string(#name),

enum { CORRAL_CHANGE_FIELDS(ngx_http_corral_follow_field_e) CHANGE_NUMBER };

static ngx_str_t  ngx_http_corral_follow_fields[] = {
    CORRAL_CHANGE_FIELDS(ngx_http_corral_follow_field)
};

/* by ngx_http_corral_kind_e: the hash and the word of a change */

static ngx_http_corral_key_e  ngx_http_corral_follow_hashes[] = {
    NGX_HTTP_CORRAL_KEY_SERVICES,
    NGX_HTTP_CORRAL_KEY_INSTANCES
};

static ngx_str_t  ngx_http_corral_follow_kinds[] = {
    ngx_string("service"),
    ngx_string("instance")
};

static ngx_http_corral_follow_t  ngx_http_corral_follow;


ngx_int_t
ngx_http_corral_follow_init(ngx_pool_t *pool,
    ngx_http_corral_main_conf_t *mcf, ngx_resolver_t *resolver,
    ngx_http_corral_sync_info_t *info, void (*changed)(ngx_uint_t full))
{
    ngx_str_t                  name;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->info = info;
    ctx->changed = changed;
    ctx->dummy.fd = (ngx_socket_t) -1;

    ngx_http_corral_follow_event(&ctx->beat, ngx_http_corral_follow_beat);
    ngx_http_corral_follow_event(&ctx->timer, ngx_http_corral_follow_timer);
    ngx_http_corral_follow_event(&ctx->work, ngx_http_corral_follow_work);

    if (ngx_http_corral_key_init(pool, &mcf->cluster) != NGX_OK
        || ngx_http_corral_publish_init(pool, mcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&name, "corral-cmd");

    ctx->cmd = ngx_http_corral_redis_create(&mcf->redis_addr, resolver, &name,
                                            ngx_http_corral_follow_cmd_ready,
                                            ngx_http_corral_follow_cmd_closed,
                                            NULL);

    ngx_str_set(&name, "corral-follow");

    ctx->follow = ngx_http_corral_redis_create(&mcf->redis_addr, resolver,
                                               &name,
                                               ngx_http_corral_follow_ready,
                                               ngx_http_corral_follow_closed,
                                               NULL);

    if (ctx->cmd == NULL || ctx->follow == NULL) {
        return NGX_ERROR;
    }

    ngx_add_timer(&ctx->beat, CORRAL_HEARTBEAT);

    return NGX_OK;
}


void
ngx_http_corral_follow_exit(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->follow) {
        ngx_http_corral_redis_close(ctx->follow);
    }

    if (ctx->cmd) {
        ngx_http_corral_publish_bye();
        ngx_http_corral_publish_closed();
        ngx_http_corral_redis_close(ctx->cmd);
    }

    ctx->follow = NULL;
    ctx->cmd = NULL;

    ngx_http_corral_follow_reset();
}


static void
ngx_http_corral_follow_event(ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = &ngx_http_corral_follow.dummy;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;
}


/* Small helpers: a command, GET, the last entry of a stream, a number. */

static ngx_int_t
ngx_http_corral_follow_send(ngx_http_corral_redis_reply_pt cb,
    ngx_uint_t argc, ngx_str_t *argv)
{
    return ngx_http_corral_redis_command(ngx_http_corral_follow.cmd,
                                         NGX_HTTP_CORRAL_FOLLOW_TIMEOUT,
                                         cb, NULL, argc, argv);
}


static ngx_int_t
ngx_http_corral_follow_get(ngx_http_corral_key_e key,
    ngx_http_corral_redis_reply_pt cb)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "GET");
    argv[1] = ngx_http_corral_key(key);

    return ngx_http_corral_follow_send(cb, 2, argv);
}


static ngx_int_t
ngx_http_corral_follow_last(ngx_http_corral_redis_t *redis,
    ngx_http_corral_key_e key, ngx_http_corral_redis_reply_pt cb)
{
    ngx_str_t  argv[6];

    ngx_str_set(&argv[0], "XREVRANGE");
    argv[1] = ngx_http_corral_key(key);
    ngx_str_set(&argv[2], "+");
    ngx_str_set(&argv[3], "-");
    ngx_str_set(&argv[4], "COUNT");
    ngx_str_set(&argv[5], "1");

    return ngx_http_corral_redis_command(redis, NGX_HTTP_CORRAL_FOLLOW_TIMEOUT,
                                         cb, NULL, 6, argv);
}


static ngx_uint_t
ngx_http_corral_follow_number(ngx_http_corral_redis_reply_t *reply,
    uint64_t *number)
{
    ngx_int_t  n;

    n = (reply->type == NGX_HTTP_CORRAL_REDIS_STRING)
        ? ngx_atoi(reply->str.data, reply->str.len) : NGX_ERROR;

    *number = (n == NGX_ERROR) ? 0 : (uint64_t) n;

    return n != NGX_ERROR;
}


/* Drops what was begun. */

static void
ngx_http_corral_follow_reset(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->begun) {
        ngx_http_corral_registry_abort();
    }

    ngx_http_corral_follow_finish();

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->work.posted) {
        ngx_delete_posted_event(&ctx->work);
    }

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_WAIT;
}


/* Frees what the update needed. */

static void
ngx_http_corral_follow_finish(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->reply) {
        ngx_http_corral_redis_free(ctx->reply);
    }

    if (ctx->batch) {
        ngx_destroy_pool(ctx->batch);
    }

    ctx->reply = NULL;
    ctx->list = NULL;
    ctx->batch = NULL;
    ctx->begun = 0;
}


static void
ngx_http_corral_follow_cmd_ready(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->info->connected = 1;
    ctx->behind = 0;

    ngx_http_corral_follow_probe(ctx->force);
    ngx_http_corral_publish_connected(ctx->cmd);
}


static void
ngx_http_corral_follow_cmd_closed(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->info->connected = 0;
    ctx->info->reconnects++;

    ngx_http_corral_publish_closed();
    ngx_http_corral_follow_reset();
    ngx_http_corral_follow_read();
}


static void
ngx_http_corral_follow_beat(ngx_event_t *ev)
{
    ngx_add_timer(ev, CORRAL_HEARTBEAT);

    (void) ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_EPOCH,
                                      ngx_http_corral_follow_beat_epoch);

    (void) ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_REVISION,
                                      ngx_http_corral_follow_beat_revision);

    ngx_http_corral_publish_beat();
}


static void
ngx_http_corral_follow_beat_epoch(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;
    ctx->same = 0;

    if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR) {
        ngx_http_corral_redis_fail(ctx->cmd, "does not tell the epoch: %V",
                                   &reply->str);
        return;
    }

    if (ctx->phase != NGX_HTTP_CORRAL_FOLLOW_IDLE
        && ctx->phase != NGX_HTTP_CORRAL_FOLLOW_WAIT)
    {
        /* a probe is under way or has been, and the end verifies it */
        return;
    }

    if (reply->type != NGX_HTTP_CORRAL_REDIS_STRING) {
        ngx_http_corral_follow_no_epoch();
        return;
    }

    if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_IDLE
        && ngx_strcmp(reply->str.data,
                      ngx_http_corral_registry_info()->epoch) == 0)
    {
        ctx->same = 1;
        return;
    }

    if (!ctx->timer.timer_set) {
        ngx_http_corral_follow_probe(ctx->force);
    }
}


/* Should an entry get lost in whatever way, this finds it. */

static void
ngx_http_corral_follow_beat_revision(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    uint64_t                   revision, ours;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ours = ngx_http_corral_registry_info()->revision;

    if (!ctx->same
        || ctx->phase != NGX_HTTP_CORRAL_FOLLOW_IDLE
        || !ngx_http_corral_follow_number(reply, &revision)
        || revision == ours)
    {
        ctx->behind = 0;
        return;
    }

    if (ctx->behind == 0 || ctx->behind_at != ours) {
        ctx->behind = 1;
        ctx->behind_at = ours;
        return;
    }

    if (++ctx->behind < NGX_HTTP_CORRAL_FOLLOW_BEHIND) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "corral: the store is at revision %uL, this worker at %uL, "
                  "and no change arrives: everything is loaded anew",
                  revision, ours);

    ctx->behind = 0;
    ngx_http_corral_follow_probe(1);
}


static void
ngx_http_corral_follow_no_epoch(void)
{
    ngx_str_t                  key;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->info->initialised = 0;
    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_WAIT;

    if (ctx->empty) {
        return;
    }

    ctx->empty = 1;

    key = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_EPOCH);

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "corral: the store is not initialised, there is no \"%V\": "
                  "corrald has not run yet, or Redis was emptied; the "
                  "registry of revision %uL stays in force", &key,
                  ngx_http_corral_registry_info()->revision);
}


/* Asks where the store is; force: whatever it says, everything is loaded. */

static void
ngx_http_corral_follow_probe(ngx_uint_t force)
{
    ngx_int_t                  rc;
    ngx_str_t                  argv[1];
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ngx_http_corral_follow_reset();

    ctx->force |= (force != 0);

    /* all four at one moment: MULTI */

    ngx_str_set(&argv[0], "MULTI");
    rc = ngx_http_corral_follow_send(ngx_http_corral_follow_queued, 1, argv);

    if (rc != NGX_OK) {
        return;
    }

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_PROBE;

    rc = ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_EPOCH,
                                    ngx_http_corral_follow_queued);

    rc |= ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_REVISION,
                                     ngx_http_corral_follow_queued);

    rc |= ngx_http_corral_follow_last(ctx->cmd, NGX_HTTP_CORRAL_KEY_CHANGES,
                                      ngx_http_corral_follow_queued);

    ngx_str_set(&argv[0], "EXEC");
    rc |= ngx_http_corral_follow_send(ngx_http_corral_follow_probed, 1, argv);

    if (rc != NGX_OK && ngx_http_corral_redis_ready(ctx->cmd)) {
        ngx_http_corral_redis_fail(ctx->cmd, "cannot be asked, no memory");
        return;
    }

    ngx_http_corral_follow_read();
}


/* "OK" of MULTI and "QUEUED" of what follows. */

static void
ngx_http_corral_follow_queued(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    if (reply->type != NGX_HTTP_CORRAL_REDIS_STATUS) {
        ngx_http_corral_redis_fail(ngx_http_corral_follow.cmd,
                                   "refused to read the registry: %V",
                                   &reply->str);
    }
}


static void
ngx_http_corral_follow_probed(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t        *ctx;
    ngx_http_corral_redis_reply_t  **e;

    ctx = &ngx_http_corral_follow;
    e = reply->elements;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY || reply->n != 3
        || e[2]->type != NGX_HTTP_CORRAL_REDIS_ARRAY)
    {
        ngx_http_corral_redis_fail(ctx->cmd, "refused to read the registry: "
                                   "%V", &reply->str);
        return;
    }

    if (e[0]->type != NGX_HTTP_CORRAL_REDIS_STRING) {
        ngx_http_corral_follow_no_epoch();
        return;
    }

    if (e[0]->str.len == 0 || e[0]->str.len > CORRAL_ID_MAX) {
        ngx_http_corral_redis_fail(ctx->cmd, "has an epoch of %uz bytes; it "
                                   "is to have 1 to %d", e[0]->str.len,
                                   CORRAL_ID_MAX);
        return;
    }

    ctx->empty = 0;

    ngx_memzero(ctx->epoch, sizeof(ctx->epoch));
    ngx_memcpy(ctx->epoch, e[0]->str.data, e[0]->str.len);

    (void) ngx_http_corral_follow_number(e[1], &ctx->revision);

    ctx->end.len = ngx_sprintf(ctx->end.data, "0-0") - ctx->end.data;

    if (e[2]->n && ngx_http_corral_follow_entry(e[2]->elements[0])) {
        ngx_http_corral_follow_set_id(&ctx->end, e[2]->elements[0]);
    }

    ngx_http_corral_follow_decide();
}


/* What the probe has found: nothing to do, changes to read, or a full load. */

static void
ngx_http_corral_follow_decide(void)
{
    ngx_uint_t                        same;
    ngx_http_corral_follow_t         *ctx;
    ngx_http_corral_registry_info_t  *info;

    ctx = &ngx_http_corral_follow;
    info = ngx_http_corral_registry_info();

    same = !ctx->force && ngx_strcmp(ctx->epoch, info->epoch) == 0;

    if (same && ctx->revision == info->revision) {
        ctx->changes = ctx->end;

    } else if (same && ctx->revision > info->revision && ctx->changes.len) {
        /* go on where we were; should entries be gone, a gap will show */

    } else {
        ctx->phase = NGX_HTTP_CORRAL_FOLLOW_SCAN;
        ctx->full = 1;

        /* not all workers at once, unless there is nothing to serve from */

        if (info->epoch[0]) {
            ngx_add_timer(&ctx->timer, (ngx_msec_t) ngx_random()
                                       % NGX_HTTP_CORRAL_FOLLOW_JITTER);
            return;
        }

        ngx_http_corral_follow_timer(&ctx->timer);
        return;
    }

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_IDLE;
    ctx->info->initialised = 1;

    ngx_http_corral_publish_ack();
    ngx_http_corral_follow_read();
}


/* Begins a full load, or tries again after one has failed. */

static void
ngx_http_corral_follow_timer(ngx_event_t *ev)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->phase != NGX_HTTP_CORRAL_FOLLOW_SCAN) {
        ngx_http_corral_follow_probe(ctx->force);
        return;
    }

    if (ngx_http_corral_registry_begin(1, ngx_cycle->log) != NGX_OK) {
        ngx_http_corral_follow_failed();
        return;
    }

    ctx->begun = 1;
    ctx->kind = NGX_HTTP_CORRAL_SERVICE;
    ctx->cursor_len = ngx_sprintf(ctx->cursor, "0") - ctx->cursor;

    ngx_http_corral_follow_scan();
}


static void
ngx_http_corral_follow_scan(void)
{
    ngx_str_t                  argv[5];
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ngx_str_set(&argv[0], "HSCAN");
    argv[1] = ngx_http_corral_key(ngx_http_corral_follow_hashes[ctx->kind]);
    argv[2].data = ctx->cursor;
    argv[2].len = ctx->cursor_len;
    ngx_str_set(&argv[3], "COUNT");
    ngx_str_set(&argv[4], "200");

    if (ngx_http_corral_follow_send(ngx_http_corral_follow_scanned, 5, argv)
        == NGX_ERROR)
    {
        ngx_http_corral_follow_failed();
    }
}


static void
ngx_http_corral_follow_scanned(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t        *ctx;
    ngx_http_corral_redis_reply_t  **e;

    ctx = &ngx_http_corral_follow;

    if (ctx->phase != NGX_HTTP_CORRAL_FOLLOW_SCAN || ctx->reply) {
        /* of a load that was given up */
        return;
    }

    e = reply->elements;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY || reply->n != 2
        || e[0]->type != NGX_HTTP_CORRAL_REDIS_STRING
        || e[0]->str.len > sizeof(ctx->cursor)
        || e[1]->type != NGX_HTTP_CORRAL_REDIS_ARRAY)
    {
        ngx_http_corral_redis_fail(ctx->cmd, "refused to read the registry: "
                                   "%V", &reply->str);
        return;
    }

    ctx->cursor_len = e[0]->str.len;
    ngx_memcpy(ctx->cursor, e[0]->str.data, e[0]->str.len);

    ngx_http_corral_redis_keep(ctx->cmd);

    ctx->reply = reply;
    ctx->list = e[1];
    ctx->pos = 0;

    ngx_http_corral_follow_post();
}


/*
 * Everything was read: is it still the same store?  Emptied during the scan,
 * it would look like one without services.
 */

static void
ngx_http_corral_follow_verify(void)
{
    if (ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_EPOCH,
                                   ngx_http_corral_follow_verified)
        == NGX_ERROR)
    {
        ngx_http_corral_follow_failed();
    }
}


static void
ngx_http_corral_follow_verified(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->phase != NGX_HTTP_CORRAL_FOLLOW_SCAN || !ctx->begun) {
        return;
    }

    if (reply->type != NGX_HTTP_CORRAL_REDIS_STRING
        || ngx_strcmp(reply->str.data, ctx->epoch) != 0)
    {
        ngx_http_corral_follow_probe(1);
        return;
    }

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_COMMIT;
    ngx_http_corral_follow_post();
}


/*
 * Fetches the next of the changed documents.  With the epoch in the same MULTI
 * a store that was emptied is not taken for one whose documents were deleted.
 */

static void
ngx_http_corral_follow_fetch(void)
{
    ngx_int_t                  rc;
    ngx_str_t                 *ids;
    ngx_uint_t                 i;
    ngx_http_corral_follow_t  *ctx;

    static ngx_str_t  argv[2 + NGX_HTTP_CORRAL_FOLLOW_BATCH];

    ctx = &ngx_http_corral_follow;

    if (ctx->fetched == ctx->ids[ctx->kind].nelts) {

        if (ctx->kind == NGX_HTTP_CORRAL_INSTANCE) {
            ctx->phase = NGX_HTTP_CORRAL_FOLLOW_COMMIT;
            ngx_http_corral_follow_post();
            return;
        }

        ctx->kind = NGX_HTTP_CORRAL_INSTANCE;
        ctx->fetched = 0;

        ngx_http_corral_follow_fetch();
        return;
    }

    ngx_str_set(&argv[0], "MULTI");
    rc = ngx_http_corral_follow_send(ngx_http_corral_follow_queued, 1, argv);

    ids = ctx->ids[ctx->kind].elts;
    ctx->asked = ngx_min(ctx->ids[ctx->kind].nelts - ctx->fetched,
                         NGX_HTTP_CORRAL_FOLLOW_BATCH);

    ngx_str_set(&argv[0], "HMGET");
    argv[1] = ngx_http_corral_key(ngx_http_corral_follow_hashes[ctx->kind]);

    for (i = 0; i < ctx->asked; i++) {
        argv[2 + i] = ids[ctx->fetched + i];
    }

    rc |= ngx_http_corral_follow_send(ngx_http_corral_follow_queued,
                                      2 + ctx->asked, argv);

    rc |= ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_EPOCH,
                                     ngx_http_corral_follow_queued);

    ngx_str_set(&argv[0], "EXEC");
    rc |= ngx_http_corral_follow_send(ngx_http_corral_follow_fetched, 1, argv);

    if (rc != NGX_OK && ngx_http_corral_redis_ready(ctx->cmd)) {
        ngx_http_corral_redis_fail(ctx->cmd, "cannot be asked, no memory");
    }
}


static void
ngx_http_corral_follow_fetched(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t        *ctx;
    ngx_http_corral_redis_reply_t  **e;

    ctx = &ngx_http_corral_follow;

    if (ctx->phase != NGX_HTTP_CORRAL_FOLLOW_FETCH) {
        return;
    }

    e = reply->elements;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY || reply->n != 2
        || e[0]->type != NGX_HTTP_CORRAL_REDIS_ARRAY || e[0]->n != ctx->asked)
    {
        ngx_http_corral_redis_fail(ctx->cmd, "refused to read the registry: "
                                   "%V", &reply->str);
        return;
    }

    if (e[1]->type != NGX_HTTP_CORRAL_REDIS_STRING
        || ngx_strcmp(e[1]->str.data, ctx->epoch) != 0)
    {
        ngx_http_corral_follow_probe(0);
        return;
    }

    ngx_http_corral_redis_keep(ctx->cmd);

    ctx->reply = reply;
    ctx->list = e[0];
    ctx->pos = 0;

    ngx_http_corral_follow_post();
}


static void
ngx_http_corral_follow_post(void)
{
    ngx_post_event(&ngx_http_corral_follow.work, &ngx_posted_next_events);
}


/* One slice of what is to be done in this worker. */

static void
ngx_http_corral_follow_work(ngx_event_t *ev)
{
    ngx_int_t                  rc;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_COMMIT) {
        ngx_http_corral_follow_commit();
        return;
    }

    rc = ngx_http_corral_follow_put();

    if (rc == NGX_AGAIN) {
        ngx_http_corral_follow_post();
        return;
    }

    if (rc != NGX_OK) {
        ngx_http_corral_follow_failed();
        return;
    }

    ngx_http_corral_redis_free(ctx->reply);
    ctx->reply = NULL;
    ctx->list = NULL;

    if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_FETCH) {
        ctx->fetched += ctx->asked;
        ngx_http_corral_follow_fetch();
        return;
    }

    /* cursor 0 is the end of a scan */

    if (ctx->cursor_len == 1 && ctx->cursor[0] == '0') {

        if (ctx->kind == NGX_HTTP_CORRAL_INSTANCE) {
            ngx_http_corral_follow_verify();
            return;
        }

        ctx->kind = NGX_HTTP_CORRAL_INSTANCE;
    }

    ngx_http_corral_follow_scan();
}


static ngx_int_t
ngx_http_corral_follow_put(void)
{
    uint64_t                        until;
    ngx_str_t                      *ids;
    ngx_http_corral_follow_t       *ctx;
    ngx_http_corral_redis_reply_t  *value;

    ctx = &ngx_http_corral_follow;
    until = ngx_http_corral_clock() + NGX_HTTP_CORRAL_SLICE;
    ids = ctx->ids[ctx->kind].elts;

    while (ctx->pos < ctx->list->n) {

        /* a scan brings names and values, a fetch values alone */

        ctx->pos += (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_SCAN);

        if (ctx->pos == ctx->list->n) {
            break;
        }

        value = ctx->list->elements[ctx->pos];

        if (value->type == NGX_HTTP_CORRAL_REDIS_STRING) {

            /* NGX_DECLINED: refused and logged, the others count */

            if (ngx_http_corral_registry_put(ctx->kind, &value->str, 0)
                == NGX_ERROR)
            {
                return NGX_ERROR;
            }

        } else if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_FETCH) {
            ngx_http_corral_registry_del(ctx->kind,
                                         &ids[ctx->fetched + ctx->pos]);
        }

        ctx->pos++;

        if (ngx_http_corral_clock() >= until) {
            return NGX_AGAIN;
        }
    }

    return NGX_OK;
}


static void
ngx_http_corral_follow_commit(void)
{
    ngx_int_t                         rc;
    ngx_str_t                         epoch;
    ngx_http_corral_follow_t         *ctx;
    ngx_http_corral_registry_info_t  *info;

    ctx = &ngx_http_corral_follow;

    epoch.data = ctx->epoch;
    epoch.len = ngx_strlen(ctx->epoch);

    rc = ngx_http_corral_registry_commit(&epoch, ctx->revision,
                                         NGX_HTTP_CORRAL_SLICE / 1000);

    if (rc == NGX_AGAIN) {
        ngx_http_corral_follow_post();
        return;
    }

    if (rc != NGX_OK) {
        ngx_http_corral_follow_failed();
        return;
    }

    ngx_http_corral_follow_finish();

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_IDLE;
    ctx->changes = ctx->end;
    ctx->info->initialised = 1;

    if (ctx->full) {
        ctx->force = 0;
        ctx->info->loads++;
        ngx_str_set(&ctx->info->source, "redis");

        info = ngx_http_corral_registry_info();

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "corral: registry loaded from Redis: epoch \"%s\", "
                      "revision %uL, %uD services, %uD instances",
                      info->epoch, info->revision, info->services,
                      info->instances);
    }

    ngx_http_corral_publish_ack();

    ctx->changed(ctx->full);
    ctx->full = 0;

    ngx_http_corral_follow_read();
}


/* No memory: the registry is what it was; everything is loaded anew later. */

static void
ngx_http_corral_follow_failed(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                  "corral: the registry cannot be brought up to date, no "
                  "memory; it is tried again in %d ms",
                  NGX_HTTP_CORRAL_FOLLOW_RETRY);

    ngx_http_corral_follow_reset();

    ctx->force = 1;
    ngx_add_timer(&ctx->timer, NGX_HTTP_CORRAL_FOLLOW_RETRY);

    ngx_http_corral_follow_read();
}


static void
ngx_http_corral_follow_ready(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    /* commands from before are of no interest: they were not for us */

    if (ngx_http_corral_follow_last(ctx->follow, NGX_HTTP_CORRAL_KEY_COMMANDS,
                                    ngx_http_corral_follow_end)
        == NGX_ERROR)
    {
        ngx_http_corral_redis_fail(ctx->follow, "cannot be asked, no memory");
    }
}


static void
ngx_http_corral_follow_closed(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->reading = 0;
    ctx->commands.len = 0;
}


static void
ngx_http_corral_follow_end(void *data, ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY) {
        ngx_http_corral_redis_fail(ctx->follow, "refused to read commands: %V",
                                   &reply->str);
        return;
    }

    ctx->commands.len = ngx_sprintf(ctx->commands.data, "0-0")
                        - ctx->commands.data;

    if (reply->n && ngx_http_corral_follow_entry(reply->elements[0])) {
        ngx_http_corral_follow_set_id(&ctx->commands, reply->elements[0]);
    }

    ngx_http_corral_follow_read();
}


/* Waits for changes, in phase idle, and for commands. */

static void
ngx_http_corral_follow_read(void)
{
    u_char                     ms[NGX_INT_T_LEN];
    ngx_str_t                  argv[8];
    ngx_uint_t                 n, idle, block;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    /*
     * Fetching a few documents takes a millisecond: a wait for commands alone
     * would hold up the next change for longer.
     */

    if (ctx->reading || ctx->commands.len == 0
        || ctx->phase == NGX_HTTP_CORRAL_FOLLOW_FETCH
        || (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_COMMIT && !ctx->full))
    {
        return;
    }

    idle = (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_IDLE && ctx->changes.len);
    block = idle ? NGX_HTTP_CORRAL_FOLLOW_BLOCK : NGX_HTTP_CORRAL_FOLLOW_BRIEF;

    n = 0;
    ngx_str_set(&argv[n], "XREAD");
    n++;
    ngx_str_set(&argv[n], "BLOCK");
    n++;

    argv[n].data = ms;
    argv[n].len = ngx_sprintf(ms, "%ui", block) - ms;
    n++;

    ngx_str_set(&argv[n], "STREAMS");
    n++;

    if (idle) {
        argv[n++] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_CHANGES);
    }

    argv[n++] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_COMMANDS);

    if (idle) {
        argv[n].data = ctx->changes.data;
        argv[n].len = ctx->changes.len;
        n++;
    }

    argv[n].data = ctx->commands.data;
    argv[n].len = ctx->commands.len;
    n++;

    if (ngx_http_corral_redis_command(ctx->follow,
                                      block + NGX_HTTP_CORRAL_FOLLOW_TIMEOUT,
                                      ngx_http_corral_follow_entries, NULL,
                                      n, argv)
        == NGX_OK)
    {
        ctx->reading = 1;
    }
}


static void
ngx_http_corral_follow_entries(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_str_t                       changes;
    ngx_uint_t                      i;
    ngx_http_corral_follow_t       *ctx;
    ngx_http_corral_redis_reply_t  *stream, *entries;

    ctx = &ngx_http_corral_follow;
    ctx->reading = 0;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY
        && reply->type != NGX_HTTP_CORRAL_REDIS_NIL)
    {
        ngx_http_corral_redis_fail(ctx->follow, "refused to read changes: %V",
                                   &reply->str);
        return;
    }

    changes = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_CHANGES);

    for (i = 0; i < reply->n; i++) {
        stream = reply->elements[i];

        if (stream->type != NGX_HTTP_CORRAL_REDIS_ARRAY || stream->n != 2
            || stream->elements[1]->type != NGX_HTTP_CORRAL_REDIS_ARRAY)
        {
            ngx_http_corral_redis_fail(ctx->follow, "sent no stream");
            return;
        }

        entries = stream->elements[1];

        if (stream->elements[0]->str.len != changes.len
            || ngx_memcmp(stream->elements[0]->str.data, changes.data,
                          changes.len)
               != 0)
        {
            ngx_http_corral_follow_commands(entries);

        } else if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_IDLE) {
            ngx_http_corral_follow_changes(entries);
        }
    }

    ngx_http_corral_follow_read();
}


static void
ngx_http_corral_follow_commands(ngx_http_corral_redis_reply_t *entries)
{
    ngx_uint_t                      i;
    ngx_http_corral_redis_reply_t  *entry;

    for (i = 0; i < entries->n; i++) {
        entry = entries->elements[i];

        if (ngx_http_corral_follow_entry(entry)) {
            ngx_http_corral_follow_set_id(&ngx_http_corral_follow.commands,
                                          entry);
            ngx_http_corral_publish_command(entry->elements[1]);
        }
    }
}


static void
ngx_http_corral_follow_changes(ngx_http_corral_redis_reply_t *entries)
{
    uint64_t                          revision;
    ngx_int_t                         rc;
    ngx_uint_t                        i;
    ngx_rbtree_t                      seen;
    ngx_rbtree_node_t                 sentinel;
    ngx_http_corral_follow_t         *ctx;
    ngx_http_corral_registry_info_t  *info;

    ctx = &ngx_http_corral_follow;
    info = ngx_http_corral_registry_info();

    if (entries->n > NGX_HTTP_CORRAL_FOLLOW_ENTRIES) {
        ngx_http_corral_follow_probe(1);
        return;
    }

    ctx->batch = ngx_create_pool(4096, ngx_cycle->log);

    if (ctx->batch == NULL
        || ngx_array_init(&ctx->ids[0], ctx->batch, 4, sizeof(ngx_str_t))
           != NGX_OK
        || ngx_array_init(&ctx->ids[1], ctx->batch, 4, sizeof(ngx_str_t))
           != NGX_OK)
    {
        ngx_http_corral_follow_failed();
        return;
    }

    ngx_rbtree_init(&seen, &sentinel, ngx_str_rbtree_insert_value);

    revision = info->revision;

    for (i = 0; i < entries->n; i++) {
        rc = ngx_http_corral_follow_change(&seen, entries->elements[i],
                                           &revision);

        if (rc == NGX_DECLINED) {
            ngx_http_corral_follow_probe(1);
            return;
        }

        if (rc != NGX_OK) {
            ngx_http_corral_follow_failed();
            return;
        }
    }

    if (revision == info->revision) {
        ngx_http_corral_follow_finish();
        return;
    }

    if (ngx_http_corral_registry_begin(0, ngx_cycle->log) != NGX_OK) {
        ngx_http_corral_follow_failed();
        return;
    }

    ctx->begun = 1;
    ctx->full = 0;
    ctx->revision = revision;
    ngx_memcpy(ctx->epoch, info->epoch, sizeof(ctx->epoch));

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_FETCH;
    ctx->kind = NGX_HTTP_CORRAL_SERVICE;
    ctx->fetched = 0;

    ngx_http_corral_follow_fetch();
}


/*
 * Takes one entry into the batch.  revision is that of the entry before, or
 * the registry's.  NGX_DECLINED: something is missing, everything is to be
 * loaded.
 */

static ngx_int_t
ngx_http_corral_follow_change(ngx_rbtree_t *seen,
    ngx_http_corral_redis_reply_t *entry, uint64_t *revision)
{
    uint64_t                        n, first;
    ngx_str_t                      *id;
    ngx_uint_t                      i, j;
    ngx_http_corral_follow_t       *ctx;
    ngx_http_corral_redis_reply_t  *fields, *values[CHANGE_NUMBER];

    ctx = &ngx_http_corral_follow;

    if (!ngx_http_corral_follow_entry(entry)) {
        return NGX_DECLINED;
    }

    if (ngx_http_corral_follow_compare(&entry->elements[0]->str, &ctx->changes)
        <= 0)
    {
        /* from before the last full load */
        return NGX_OK;
    }

    ngx_memzero(values, sizeof(values));
    fields = entry->elements[1];

    for (i = 0; i + 1 < fields->n; i += 2) {
        for (j = 0; j < CHANGE_NUMBER; j++) {
            if (ngx_strcmp(fields->elements[i]->str.data,
                           ngx_http_corral_follow_fields[j].data)
                == 0)
            {
                values[j] = fields->elements[i + 1];
            }
        }
    }

    if (values[CHANGE_kind] == NULL || values[CHANGE_id] == NULL
        || values[CHANGE_revision] == NULL
        || !ngx_http_corral_follow_number(values[CHANGE_revision], &n))
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: an entry of the changes, \"%V\", is not one",
                      &entry->elements[0]->str);
        return NGX_DECLINED;
    }

    /* entries of one commit share its revision, but not with the registry */

    first = ngx_http_corral_registry_info()->revision;

    if (n != *revision + 1 && (n != *revision || n == first)) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "corral: a change of revision %uL follows revision %uL: "
                      "everything is loaded anew", n, *revision);
        return NGX_DECLINED;
    }

    *revision = n;
    ngx_http_corral_follow_set_id(&ctx->end, entry);

    id = &values[CHANGE_id]->str;

    for (i = 0; i < 2; i++) {
        if (ngx_strcmp(values[CHANGE_kind]->str.data,
                       ngx_http_corral_follow_kinds[i].data)
            == 0)
        {
            return ngx_http_corral_follow_add(seen, i, id);
        }
    }

    /* a kind of a later version, nothing for us */

    return NGX_OK;
}


/* Adds a copy of the id unless it is there. */

static ngx_int_t
ngx_http_corral_follow_add(ngx_rbtree_t *seen, ngx_uint_t kind, ngx_str_t *id)
{
    uint32_t                   hash;
    ngx_str_t                  name, *new;
    ngx_str_node_t            *node;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    /* the kind makes it a name of its own: it is the last byte */

    name.len = id->len + 1;
    name.data = ngx_pnalloc(ctx->batch, name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(name.data, id->data, id->len);
    name.data[id->len] = (u_char) kind;

    hash = ngx_crc32_short(name.data, name.len);

    if (ngx_str_rbtree_lookup(seen, &name, hash)) {
        return NGX_OK;
    }

    node = ngx_palloc(ctx->batch, sizeof(ngx_str_node_t));
    new = ngx_array_push(&ctx->ids[kind]);

    if (node == NULL || new == NULL) {
        return NGX_ERROR;
    }

    node->node.key = hash;
    node->str = name;
    ngx_rbtree_insert(seen, &node->node);

    new->data = name.data;
    new->len = id->len;

    return NGX_OK;
}


/* Is it [id, [name, value, ...]], all of them strings? */

static ngx_uint_t
ngx_http_corral_follow_entry(ngx_http_corral_redis_reply_t *entry)
{
    ngx_uint_t                      i;
    ngx_http_corral_redis_reply_t  *fields;

    if (entry->type != NGX_HTTP_CORRAL_REDIS_ARRAY || entry->n != 2
        || entry->elements[0]->type != NGX_HTTP_CORRAL_REDIS_STRING
        || entry->elements[0]->str.len > NGX_HTTP_CORRAL_FOLLOW_ID
        || entry->elements[1]->type != NGX_HTTP_CORRAL_REDIS_ARRAY)
    {
        return 0;
    }

    fields = entry->elements[1];

    for (i = 0; i < fields->n; i++) {
        if (fields->elements[i]->type != NGX_HTTP_CORRAL_REDIS_STRING) {
            return 0;
        }
    }

    return 1;
}


static void
ngx_http_corral_follow_set_id(ngx_http_corral_follow_id_t *id,
    ngx_http_corral_redis_reply_t *entry)
{
    id->len = entry->elements[0]->str.len;
    ngx_memcpy(id->data, entry->elements[0]->str.data, id->len);
}


/* By time, then by number: "1700000000000-0".  -1, 0 or 1. */

static ngx_int_t
ngx_http_corral_follow_compare(ngx_str_t *id,
    ngx_http_corral_follow_id_t *last)
{
    size_t     i;
    u_char    *dash;
    ngx_int_t  a[2], b[2];
    ngx_str_t  s[2];

    s[0] = *id;
    s[1].data = last->data;
    s[1].len = last->len;

    for (i = 0; i < 2; i++) {
        dash = ngx_strlchr(s[i].data, s[i].data + s[i].len, '-');

        if (dash == NULL) {
            return 1;
        }

        a[i] = ngx_atoi(s[i].data, dash - s[i].data);
        b[i] = ngx_atoi(dash + 1, s[i].data + s[i].len - dash - 1);
    }

    if (a[0] != a[1]) {
        return a[0] < a[1] ? -1 : 1;
    }

    return (b[0] > b[1]) - (b[0] < b[1]);
}
