
/*
 * What is revoked: tokens, subjects, sessions.  corrald writes the list into
 * Redis and raises its version with each change; each worker asks for the
 * version once a second, and for the list, in pages, when it is another one.  A
 * page that does not fit the others belongs to a later version, which is seen
 * at the next beat: nothing is missed, and a worker that starts later begins
 * with the list.
 *
 * The list is memory of the worker: digests, so that looking is short and a
 * name cannot be made to look like another one.  The last one is in the zone,
 * too, for workers that begin when Redis is away.  A version that goes back, or
 * that another store has begun, says that what the store knew is lost: then
 * what is known here stays until its end.
 *
 * A new list ends the connections and requests that it concerns, some in each
 * turn of the event loop.  No locks; lives as long as the worker.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_revocation.h"

#include <corral_revocation.h>

#include <openssl/evp.h>


#define NGX_HTTP_CORRAL_REVOCATION_PAGE   1000    /* entries of an answer */
#define NGX_HTTP_CORRAL_REVOCATION_TURN   1000    /* looked at in a turn */


typedef struct {
    corral_revocation_t        *list;
    ngx_uint_t                  n;
    ngx_http_corral_revoked_t   version;
    ngx_msec_t                  heard;      /* 0: never */

    /* the list that is being read, NULL: none */
    corral_revocation_t        *next;
    ngx_uint_t                  nnext;
    ngx_uint_t                  offset;     /* in the list of Redis */
    time_t                      began;
    ngx_http_corral_revoked_t   next_version;

    /* where the look at all pairs is, and whether it has ended */
    void                       *at;
    ngx_uint_t                  pair;
    ngx_uint_t                  pairs_done;
    ngx_event_t                 work;
    ngx_connection_t            dummy;
} ngx_http_corral_revocation_t;


static ngx_int_t ngx_http_corral_revocation_digest(
    ngx_http_corral_revocation_kind_e kind, ngx_str_t *name, u_char *digest);
static void ngx_http_corral_revocation_version(void *data,
    ngx_http_corral_redis_reply_t *reply);
static ngx_int_t ngx_http_corral_revocation_parse(
    ngx_http_corral_redis_reply_t *reply, ngx_http_corral_revoked_t *version);
static void ngx_http_corral_revocation_heard(void);
static void ngx_http_corral_revocation_ask(void);
static void ngx_http_corral_revocation_page(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_revocation_add(ngx_str_t *text, ngx_str_t *expires);
static void ngx_http_corral_revocation_swap(void);
static void ngx_http_corral_revocation_work(ngx_event_t *ev);
static void ngx_http_corral_revocation_refused(
    ngx_http_corral_redis_reply_t *reply);


#define ngx_http_corral_revocation_kind(name, text)  ngx_string(#name),

static ngx_str_t  ngx_http_corral_revocation_kinds[] = {
    CORRAL_REVOCATION_KINDS(ngx_http_corral_revocation_kind)
};

static ngx_http_corral_revocation_t  ngx_http_corral_revocation;


void
ngx_http_corral_revocation_init(void)
{
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    ctx->dummy.fd = (ngx_socket_t) -1;
    ctx->work.handler = ngx_http_corral_revocation_work;
    ctx->work.data = &ctx->dummy;
    ctx->work.log = ngx_cycle->log;

    ctx->list = ngx_alloc(CORRAL_REVOCATIONS_MAX * sizeof(corral_revocation_t),
                          ngx_cycle->log);

    if (ctx->list) {
        ctx->heard = ngx_http_corral_table_revocations_heard_at();
        ctx->n = ngx_http_corral_table_revocations_get(ctx->list,
                                                       CORRAL_REVOCATIONS_MAX,
                                                       &ctx->version);
    }

    if (ctx->list && ctx->n == 0) {
        ngx_free(ctx->list);
        ctx->list = NULL;
    }
}


void
ngx_http_corral_revocation_beat(void)
{
    ngx_str_t  argv[2];

    if (ngx_http_corral_revocation.next
        || !ngx_http_corral_publish_ready())
    {
        return;
    }

    ngx_str_set(&argv[0], "GET");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_REVOKED);

    (void) ngx_http_corral_publish_ask(ngx_http_corral_revocation_version,
                                       NULL, 2, argv);
}


void
ngx_http_corral_revocation_closed(void)
{
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    if (ctx->next) {
        ngx_free(ctx->next);
        ctx->next = NULL;
    }
}


ngx_uint_t
ngx_http_corral_revoked(ngx_str_t names[NGX_HTTP_CORRAL_REVOKED_KINDS])
{
    u_char                         digest[CORRAL_REVOCATION_DIGEST];
    ngx_uint_t                     i;
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    if (ctx->n == 0) {
        return 0;
    }

    for (i = 0; i < NGX_HTTP_CORRAL_REVOKED_KINDS; i++) {

        if (names[i].len == 0) {
            continue;
        }

        /* without a digest nobody can say that it is not revoked */

        if (ngx_http_corral_revocation_digest(i, &names[i], digest) != NGX_OK
            || corral_revocation_find(ctx->list, ctx->n, digest, ngx_time()))
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_corral_revoked_ctx(ngx_http_corral_ctx_t *ctx)
{
    ngx_str_t  names[NGX_HTTP_CORRAL_REVOKED_KINDS];

    names[NGX_HTTP_CORRAL_REVOKED_token] = ctx->token;
    names[NGX_HTTP_CORRAL_REVOKED_subject] = ctx->subject;
    names[NGX_HTTP_CORRAL_REVOKED_session] = ctx->session;

    return ngx_http_corral_revoked(names);
}


ngx_uint_t
ngx_http_corral_revocation_count(void)
{
    return ngx_http_corral_revocation.n;
}


ngx_msec_t
ngx_http_corral_revocation_age(void)
{
    return ngx_http_corral_revocation.heard
           ? ngx_current_msec - ngx_http_corral_revocation.heard
           : NGX_MAX_INT_T_VALUE;
}


static ngx_int_t
ngx_http_corral_revocation_digest(ngx_http_corral_revocation_kind_e kind,
    ngx_str_t *name, u_char *digest)
{
    u_char  *p, text[32 + CORRAL_REVOCATION_NAME], md[EVP_MAX_MD_SIZE];

    /* a longer one cannot be revoked: it is looked up by what nobody has */

    p = ngx_cpymem(text, ngx_http_corral_revocation_kinds[kind].data,
                   ngx_http_corral_revocation_kinds[kind].len);
    *p++ = ':';

    if (name->len <= CORRAL_REVOCATION_NAME) {
        p = ngx_cpymem(p, name->data, name->len);
    }

    if (!EVP_Digest(text, p - text, md, NULL, EVP_sha256(), NULL)) {
        return NGX_ERROR;
    }

    ngx_memcpy(digest, md, CORRAL_REVOCATION_DIGEST);

    return NGX_OK;
}


/* Is the list another one than ours? */

static void
ngx_http_corral_revocation_version(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_revoked_t      version;
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    if (ctx->next) {
        return;
    }

    if (ngx_http_corral_revocation_parse(reply, &version) != NGX_OK) {
        ngx_http_corral_revocation_refused(reply);
        return;
    }

    if (version.n == ctx->version.n
        && ngx_memcmp(version.id, ctx->version.id, sizeof(version.id)) == 0)
    {
        ngx_http_corral_revocation_heard();
        return;
    }

    /* of those that the store has lost at most as many again */

    ctx->next = ngx_alloc(2 * CORRAL_REVOCATIONS_MAX
                          * sizeof(corral_revocation_t), ngx_cycle->log);
    if (ctx->next == NULL) {
        return;
    }

    ctx->nnext = 0;
    ctx->offset = 0;
    ctx->began = ngx_time();
    ctx->next_version = version;

    ngx_http_corral_revocation_ask();
}


/* "0123456789abcdef.42"; nothing is the version of a store without any */

static ngx_int_t
ngx_http_corral_revocation_parse(ngx_http_corral_redis_reply_t *reply,
    ngx_http_corral_revoked_t *version)
{
    ngx_int_t  n;

    ngx_memzero(version, sizeof(ngx_http_corral_revoked_t));

    if (reply->type == NGX_HTTP_CORRAL_REDIS_NIL) {
        return NGX_OK;
    }

    if (reply->type != NGX_HTTP_CORRAL_REDIS_STRING
        || reply->str.len < sizeof(version->id) + 2
        || reply->str.data[sizeof(version->id)] != '.')
    {
        return NGX_ERROR;
    }

    n = ngx_atoi(reply->str.data + sizeof(version->id) + 1,
                 reply->str.len - sizeof(version->id) - 1);

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_memcpy(version->id, reply->str.data, sizeof(version->id));
    version->n = n;

    return NGX_OK;
}


static void
ngx_http_corral_revocation_heard(void)
{
    ngx_msec_t  now;

    now = ngx_max(ngx_current_msec, 1);

    ngx_http_corral_revocation.heard = now;
    ngx_http_corral_table_revocations_heard(now);
}


/*
 * The next page of those that had not ended when the reading began: if the
 * first ones ended between two pages, all others would have another place.
 */

static void
ngx_http_corral_revocation_ask(void)
{
    u_char      now[NGX_TIME_T_LEN + 1], offset[NGX_INT_T_LEN];
    u_char      page[NGX_INT_T_LEN];
    ngx_str_t   argv[8];

    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    ngx_str_set(&argv[0], "ZRANGEBYSCORE");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_REVOCATIONS);
    argv[2].data = now;
    argv[2].len = ngx_sprintf(now, "(%T", ctx->began) - now;
    ngx_str_set(&argv[3], "+inf");
    ngx_str_set(&argv[4], "WITHSCORES");
    ngx_str_set(&argv[5], "LIMIT");
    argv[6].data = offset;
    argv[6].len = ngx_sprintf(offset, "%ui", ctx->offset) - offset;
    argv[7].data = page;
    argv[7].len = ngx_sprintf(page, "%d", NGX_HTTP_CORRAL_REVOCATION_PAGE)
                  - page;

    /* a reading that does not go on would keep the next one from beginning */

    if (ngx_http_corral_publish_ask(ngx_http_corral_revocation_page, NULL, 8,
                                    argv)
        != NGX_OK)
    {
        ngx_http_corral_revocation_closed();
    }
}


static void
ngx_http_corral_revocation_page(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    size_t                         i;
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    if (ctx->next == NULL) {
        return;
    }

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY) {
        ngx_http_corral_revocation_refused(reply);
        ngx_http_corral_revocation_closed();
        return;
    }

    for (i = 0; i + 1 < reply->n; i += 2) {

        if (ctx->nnext == CORRAL_REVOCATIONS_MAX) {
            break;
        }

        ngx_http_corral_revocation_add(&reply->elements[i]->str,
                                       &reply->elements[i + 1]->str);
    }

    ctx->offset += reply->n / 2;

    if (reply->n / 2 == NGX_HTTP_CORRAL_REVOCATION_PAGE
        && ctx->nnext < CORRAL_REVOCATIONS_MAX)
    {
        ngx_http_corral_revocation_ask();
        return;
    }

    ngx_http_corral_revocation_swap();
}


/* one entry, "kind:name"; what a later version may write is passed over */

static void
ngx_http_corral_revocation_add(ngx_str_t *text, ngx_str_t *expires)
{
    time_t                         end;
    ngx_str_t                     *kind, name;
    ngx_uint_t                     i;
    corral_revocation_t           *entry;
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;
    end = ngx_atotm(expires->data, expires->len);

    for (i = 0; i < NGX_HTTP_CORRAL_REVOKED_KINDS; i++) {
        kind = &ngx_http_corral_revocation_kinds[i];

        if (end == NGX_ERROR || text->len <= kind->len + 1
            || text->data[kind->len] != ':'
            || ngx_memcmp(text->data, kind->data, kind->len) != 0)
        {
            continue;
        }

        name.data = text->data + kind->len + 1;
        name.len = text->len - kind->len - 1;
        entry = &ctx->next[ctx->nnext];

        if (name.len <= CORRAL_REVOCATION_NAME
            && ngx_http_corral_revocation_digest(i, &name, entry->digest)
               == NGX_OK)
        {
            entry->expires = end;
            entry->kept = 0;
            ctx->nnext++;
        }
    }
}


/* The new list is whole: it counts, and is to be carried out. */

static void
ngx_http_corral_revocation_swap(void)
{
    ngx_uint_t                     lost;
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    lost = ctx->version.n
           && (ctx->next_version.n < ctx->version.n
               || ngx_memcmp(ctx->next_version.id, ctx->version.id,
                             sizeof(ctx->version.id))
                  != 0);

    ctx->nnext = corral_revocation_merge(ctx->next, ctx->nnext, ctx->list,
                                     ngx_min(ctx->n, CORRAL_REVOCATIONS_MAX),
                                     lost, ngx_time());
    if (ctx->list) {
        ngx_free(ctx->list);
    }

    ctx->list = ctx->next;
    ctx->n = ctx->nnext;
    ctx->version = ctx->next_version;
    ctx->next = NULL;

    if (lost) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral: the store has lost what is revoked: of %ui "
                      "entries those known here stay until their end",
                      ctx->n);
    }

    if (ngx_http_corral_table_revocations_put(ctx->list, ctx->n,
                                              &ctx->version, lost)
        != NGX_OK && ctx->n)
    {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "corral: the zone does not take what is revoked: it has "
                      "a later list, or no room for %ui entries", ctx->n);
    }

    ngx_http_corral_revocation_heard();

    ctx->at = NULL;
    ctx->pair = 0;
    ctx->pairs_done = 0;
    ngx_http_corral_revocation_open_begin();

    if (ctx->n && !ctx->work.posted) {
        ngx_post_event(&ctx->work, &ngx_posted_next_events);
    }
}


static void
ngx_http_corral_revocation_work(ngx_event_t *ev)
{
    ngx_http_corral_revocation_t  *ctx;

    ctx = &ngx_http_corral_revocation;

    if (!ctx->pairs_done) {
        ctx->pairs_done = ngx_http_corral_relay_revoke(&ctx->at, &ctx->pair,
                                              NGX_HTTP_CORRAL_REVOCATION_TURN)
                          == NGX_OK;

    } else if (ngx_http_corral_revocation_open_end(
                                              NGX_HTTP_CORRAL_REVOCATION_TURN)
               == NGX_OK)
    {
        return;
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


static void
ngx_http_corral_revocation_refused(ngx_http_corral_redis_reply_t *reply)
{
    static time_t  told;

    if (ngx_time() - told >= 60) {
        told = ngx_time();
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral: Redis does not tell what is revoked: %V",
                      &reply->str);
    }
}
