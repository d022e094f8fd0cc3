
/*
 * Brings the registry up to what Redis has: everything, by HSCAN, or what has
 * changed, by HMGET.  Documents are put in slices, then the registry commits.
 * That the store is still the same one is asked at the end: emptied meanwhile,
 * it would look like one without services.
 *
 * When to do it is decided in ngx_http_corral_follow.c and _read.c; lifetimes
 * and the phases are described in the first.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_follow_state.h"
#include "ngx_http_corral_publish.h"


#define NGX_HTTP_CORRAL_FOLLOW_RETRY    5000    /* ms after a failed one */
#define NGX_HTTP_CORRAL_FOLLOW_BATCH    500     /* documents of one HMGET */


static void ngx_http_corral_follow_update_scan(void);
static void ngx_http_corral_follow_update_scanned(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_update_verify(void);
static void ngx_http_corral_follow_update_verified(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_update_fetch(void);
static void ngx_http_corral_follow_update_fetched(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_update_post(void);
static ngx_int_t ngx_http_corral_follow_update_put(void);
static void ngx_http_corral_follow_update_commit(void);


/* by ngx_http_corral_kind_e */

static ngx_http_corral_key_e  ngx_http_corral_follow_update_hashes[] = {
    NGX_HTTP_CORRAL_KEY_SERVICES,
    NGX_HTTP_CORRAL_KEY_INSTANCES,
    NGX_HTTP_CORRAL_KEY_RULES
};


void
ngx_http_corral_follow_update_full(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ngx_http_corral_registry_begin(1, ngx_cycle->log) != NGX_OK) {
        ngx_http_corral_follow_update_failed();
        return;
    }

    ctx->begun = 1;
    ctx->kind = NGX_HTTP_CORRAL_SERVICE;
    ctx->cursor_len = ngx_sprintf(ctx->cursor, "0") - ctx->cursor;

    ngx_http_corral_follow_update_scan();
}


void
ngx_http_corral_follow_update_changes(uint64_t revision)
{
    ngx_http_corral_follow_t         *ctx;
    ngx_http_corral_registry_info_t  *info;

    ctx = &ngx_http_corral_follow;
    info = ngx_http_corral_registry_info();

    if (ngx_http_corral_registry_begin(0, ngx_cycle->log) != NGX_OK) {
        ngx_http_corral_follow_update_failed();
        return;
    }

    ctx->begun = 1;
    ctx->full = 0;
    ctx->revision = revision;
    ngx_memcpy(ctx->epoch, info->epoch, sizeof(ctx->epoch));

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_FETCH;
    ctx->kind = NGX_HTTP_CORRAL_SERVICE;
    ctx->fetched = 0;

    ngx_http_corral_follow_update_fetch();
}


/* Drops what was begun. */

void
ngx_http_corral_follow_update_reset(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->begun) {
        ngx_http_corral_registry_abort();
    }

    ngx_http_corral_follow_update_finish();

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->work.posted) {
        ngx_delete_posted_event(&ctx->work);
    }

    ctx->phase = NGX_HTTP_CORRAL_FOLLOW_WAIT;
}


/* Frees what the update needed. */

void
ngx_http_corral_follow_update_finish(void)
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
ngx_http_corral_follow_update_scan(void)
{
    ngx_str_t                  argv[5];
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ngx_str_set(&argv[0], "HSCAN");
    argv[1] = ngx_http_corral_key(
                              ngx_http_corral_follow_update_hashes[ctx->kind]);
    argv[2].data = ctx->cursor;
    argv[2].len = ctx->cursor_len;
    ngx_str_set(&argv[3], "COUNT");
    ngx_str_set(&argv[4], "200");

    if (ngx_http_corral_follow_send(ngx_http_corral_follow_update_scanned, 5,
                                    argv)
        == NGX_ERROR)
    {
        ngx_http_corral_follow_update_failed();
    }
}


static void
ngx_http_corral_follow_update_scanned(void *data,
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

    ngx_http_corral_follow_update_post();
}


/*
 * Everything was read: is it still the same store?  Emptied during the scan,
 * it would look like one without services.
 */

static void
ngx_http_corral_follow_update_verify(void)
{
    if (ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_EPOCH,
                                   ngx_http_corral_follow_update_verified)
        == NGX_ERROR)
    {
        ngx_http_corral_follow_update_failed();
    }
}


static void
ngx_http_corral_follow_update_verified(void *data,
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
    ngx_http_corral_follow_update_post();
}


/*
 * Fetches the next of the changed documents.  With the epoch in the same MULTI
 * a store that was emptied is not taken for one whose documents were deleted.
 */

static void
ngx_http_corral_follow_update_fetch(void)
{
    ngx_int_t                  rc;
    ngx_str_t                 *ids;
    ngx_uint_t                 i;
    ngx_http_corral_follow_t  *ctx;
static ngx_str_t  argv[2 + NGX_HTTP_CORRAL_FOLLOW_BATCH];

    ctx = &ngx_http_corral_follow;

    if (ctx->fetched == ctx->ids[ctx->kind].nelts) {

        if (++ctx->kind == NGX_HTTP_CORRAL_KINDS) {
            ctx->phase = NGX_HTTP_CORRAL_FOLLOW_COMMIT;
            ngx_http_corral_follow_update_post();
            return;
        }

        ctx->fetched = 0;

        ngx_http_corral_follow_update_fetch();
        return;
    }

    ngx_str_set(&argv[0], "MULTI");
    rc = ngx_http_corral_follow_send(ngx_http_corral_follow_queued, 1, argv);

    ids = ctx->ids[ctx->kind].elts;
    ctx->asked = ngx_min(ctx->ids[ctx->kind].nelts - ctx->fetched,
                         NGX_HTTP_CORRAL_FOLLOW_BATCH);

    ngx_str_set(&argv[0], "HMGET");
    argv[1] = ngx_http_corral_key(
                              ngx_http_corral_follow_update_hashes[ctx->kind]);

    for (i = 0; i < ctx->asked; i++) {
        argv[2 + i] = ids[ctx->fetched + i];
    }

    rc |= ngx_http_corral_follow_send(ngx_http_corral_follow_queued,
                                      2 + ctx->asked, argv);

    rc |= ngx_http_corral_follow_get(NGX_HTTP_CORRAL_KEY_EPOCH,
                                     ngx_http_corral_follow_queued);

    ngx_str_set(&argv[0], "EXEC");
    rc |= ngx_http_corral_follow_send(ngx_http_corral_follow_update_fetched, 1,
                                      argv);

    if (rc != NGX_OK && ngx_http_corral_redis_ready(ctx->cmd)) {
        ngx_http_corral_redis_fail(ctx->cmd, "cannot be asked, no memory");
    }
}


static void
ngx_http_corral_follow_update_fetched(void *data,
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

    ngx_http_corral_follow_update_post();
}


static void
ngx_http_corral_follow_update_post(void)
{
    ngx_post_event(&ngx_http_corral_follow.work, &ngx_posted_next_events);
}


/* One slice of what is to be done in this worker. */

void
ngx_http_corral_follow_update_work(ngx_event_t *ev)
{
    ngx_int_t                  rc;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_COMMIT) {
        ngx_http_corral_follow_update_commit();
        return;
    }

    rc = ngx_http_corral_follow_update_put();

    if (rc == NGX_AGAIN) {
        ngx_http_corral_follow_update_post();
        return;
    }

    if (rc != NGX_OK) {
        ngx_http_corral_follow_update_failed();
        return;
    }

    ngx_http_corral_redis_free(ctx->reply);
    ctx->reply = NULL;
    ctx->list = NULL;

    if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_FETCH) {
        ctx->fetched += ctx->asked;
        ngx_http_corral_follow_update_fetch();
        return;
    }

    /* cursor 0 is the end of a scan */

    if (ctx->cursor_len == 1 && ctx->cursor[0] == '0') {

        if (++ctx->kind == NGX_HTTP_CORRAL_KINDS) {
            ngx_http_corral_follow_update_verify();
            return;
        }
    }

    ngx_http_corral_follow_update_scan();
}


static ngx_int_t
ngx_http_corral_follow_update_put(void)
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

            if (ngx_http_corral_registry_put(ctx->kind, &value->str, NULL, 0)
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
ngx_http_corral_follow_update_commit(void)
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
        ngx_http_corral_follow_update_post();
        return;
    }

    if (rc != NGX_OK) {
        ngx_http_corral_follow_update_failed();
        return;
    }

    ngx_http_corral_follow_update_finish();

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
                      "revision %uL, %uD services, %uD instances, %uD "
                      "rules", info->epoch, info->revision, info->services,
                      info->instances, info->rules);
    }

    ngx_http_corral_publish_ack();

    ctx->changed(ctx->full);
    ctx->full = 0;

    ngx_http_corral_follow_read_next();
}


/* No memory: the registry is what it was; everything is loaded anew later. */

void
ngx_http_corral_follow_update_failed(void)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                  "corral: the registry cannot be brought up to date, no "
                  "memory; it is tried again in %d ms",
                  NGX_HTTP_CORRAL_FOLLOW_RETRY);

    ngx_http_corral_follow_update_reset();

    ctx->force = 1;
    ngx_add_timer(&ctx->timer, NGX_HTTP_CORRAL_FOLLOW_RETRY);

    ngx_http_corral_follow_read_next();
}
