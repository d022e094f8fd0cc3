
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
 * This file connects, beats and probes; ngx_http_corral_follow_update.c brings
 * the registry up to date, ngx_http_corral_follow_read.c reads the streams.
 *
 * Lifetimes: an answer with documents is kept until all were put.  When "cmd"
 * is lost, what was begun is dropped and the phase is wait.  No locks, all
 * timers are cancelable.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_follow.h"
#include "ngx_http_corral_follow_state.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_revocation.h"
#include "ngx_http_corral_view.h"


#define NGX_HTTP_CORRAL_FOLLOW_JITTER   100     /* ms before a full load */
#define NGX_HTTP_CORRAL_FOLLOW_BEHIND   3       /* beats, then a full load */


static void ngx_http_corral_follow_event(ngx_event_t *ev,
    ngx_event_handler_pt handler);
static void ngx_http_corral_follow_cmd_ready(void *data);
static void ngx_http_corral_follow_cmd_closed(void *data);
static void ngx_http_corral_follow_beat(ngx_event_t *ev);
static void ngx_http_corral_follow_beat_epoch(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_beat_revision(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_no_epoch(void);
static void ngx_http_corral_follow_probed(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_decide(void);
static void ngx_http_corral_follow_timer(ngx_event_t *ev);


ngx_http_corral_follow_t  ngx_http_corral_follow;


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
    ngx_http_corral_follow_event(&ctx->work,
                                 ngx_http_corral_follow_update_work);

    if (ngx_http_corral_key_init(pool, &mcf->cluster) != NGX_OK
        || ngx_http_corral_publish_init(pool, mcf) != NGX_OK
        || ngx_http_corral_view_init(pool) != NGX_OK)
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
                                          ngx_http_corral_follow_read_ready,
                                          ngx_http_corral_follow_read_closed,
                                          NULL);

    if (ctx->cmd == NULL || ctx->follow == NULL) {
        return NGX_ERROR;
    }

    ngx_http_corral_revocation_init();

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
        ngx_http_corral_view_bye();
        ngx_http_corral_publish_bye();
        ngx_http_corral_publish_closed();
        ngx_http_corral_redis_close(ctx->cmd);
    }

    ctx->follow = NULL;
    ctx->cmd = NULL;

    ngx_http_corral_follow_update_reset();
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

ngx_int_t
ngx_http_corral_follow_send(ngx_http_corral_redis_reply_pt cb,
    ngx_uint_t argc, ngx_str_t *argv)
{
    return ngx_http_corral_redis_command(ngx_http_corral_follow.cmd,
                                         NGX_HTTP_CORRAL_FOLLOW_TIMEOUT,
                                         cb, NULL, argc, argv);
}


ngx_int_t
ngx_http_corral_follow_get(ngx_http_corral_key_e key,
    ngx_http_corral_redis_reply_pt cb)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "GET");
    argv[1] = ngx_http_corral_key(key);

    return ngx_http_corral_follow_send(cb, 2, argv);
}


ngx_int_t
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


ngx_uint_t
ngx_http_corral_follow_number(ngx_http_corral_redis_reply_t *reply,
    uint64_t *number)
{
    ngx_int_t  n;

    n = (reply->type == NGX_HTTP_CORRAL_REDIS_STRING)
        ? ngx_atoi(reply->str.data, reply->str.len) : NGX_ERROR;

    *number = (n == NGX_ERROR) ? 0 : (uint64_t) n;

    return n != NGX_ERROR;
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
    ngx_http_corral_revocation_beat();
}


static void
ngx_http_corral_follow_cmd_closed(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->info->connected = 0;
    ctx->info->reconnects++;

    ngx_http_corral_publish_closed();
    ngx_http_corral_revocation_closed();
    ngx_http_corral_follow_update_reset();
    ngx_http_corral_follow_read_next();
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
    ngx_http_corral_revocation_beat();
    ngx_http_corral_view_beat();
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

    ngx_http_corral_follow_read_next();

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

void
ngx_http_corral_follow_probe(ngx_uint_t force)
{
    ngx_int_t                  rc;
    ngx_str_t                  argv[1];
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ngx_http_corral_follow_update_reset();

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
    }
}


/* "OK" of MULTI and "QUEUED" of what follows. */

void
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

    if (e[2]->n && ngx_http_corral_follow_read_entry(e[2]->elements[0])) {
        ngx_http_corral_follow_read_set_id(&ctx->end, e[2]->elements[0]);
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

        ngx_http_corral_follow_read_next();

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
    ngx_http_corral_follow_read_next();
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

    ngx_http_corral_follow_update_full();
}
