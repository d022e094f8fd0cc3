
/*
 * A session stays with the instance that has it, as long as that one runs or
 * drains: its incarnation is what a session belongs to, a process started anew
 * does not know it.
 *
 * By cookie: the client carries the instance's name, signed, in a cookie of
 * the gateway's.  Nothing is kept here.
 *
 * By anything else that a request has: the hash of it says where a new session
 * goes, the same in every gateway that knows the same instances.  Where it
 * went is kept in the zone, and in Redis for other gateways and for a restart;
 * so a session stays when instances come and go.  A gateway that does not know
 * a session, or has not asked for ten seconds, asks Redis, once and for at most
 * 20 ms; without an answer what it knows decides, or the hash.  So two gateways
 * that have moved a session to different instances agree again.
 *
 * By an id that the agent makes: as by value, but nothing is hashed, and only
 * the answer of an agent says who has it: see ngx_http_corral_learn.c.
 *
 * An instance that is gone, ejected, full or was tried already has its session
 * no more: it goes to another one, and that is kept, unless it was learned.
 */


#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral_learn.h"
#include "ngx_http_corral_sync.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>


#define NGX_HTTP_CORRAL_AFFINITY_COOKIE  "corral-affinity-"
#define NGX_HTTP_CORRAL_AFFINITY_FRESH   10      /* s, or a quarter of ttl */
#define NGX_HTTP_CORRAL_AFFINITY_MAC     16      /* bytes of the signature */
#define NGX_HTTP_CORRAL_AFFINITY_OWNER   (CORRAL_ID_MAX + 1 + NGX_INT32_LEN)


/* a request that waits for Redis, in its own pool */

typedef struct {
    ngx_queue_t                  queue;
    ngx_http_request_t          *request;
    ngx_http_corral_ctx_t       *ctx;
    uintptr_t                    number;
    ngx_pool_cleanup_t          *cleanup;
} ngx_http_corral_affinity_ask_t;


static void ngx_http_corral_affinity_prepare(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service);
static ngx_uint_t ngx_http_corral_affinity_kept(uint64_t session,
    ngx_http_corral_service_t *service, ngx_http_corral_slot_t *ref,
    uint32_t *age);
static ngx_uint_t ngx_http_corral_affinity_fresh(
    ngx_http_corral_service_t *service, uint32_t age);
static ngx_http_corral_instance_t *ngx_http_corral_affinity_member(
    ngx_http_corral_service_t *service, ngx_str_t *owner);
static ngx_uint_t ngx_http_corral_affinity_cookie_owner(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, ngx_str_t *owner);
static void ngx_http_corral_affinity_cookie_name(ngx_str_t *service,
    u_char *buf, ngx_str_t *name);
static ngx_int_t ngx_http_corral_affinity_sign(ngx_http_request_t *r,
    ngx_str_t *service_id, ngx_str_t *owner,
    u_char mac[2 * NGX_HTTP_CORRAL_AFFINITY_MAC]);
static void ngx_http_corral_affinity_go_on(ngx_http_request_t *r);
static void ngx_http_corral_affinity_forget(void *data);
static void ngx_http_corral_affinity_told(void *data, ngx_str_t *owner);
static ngx_uint_t ngx_http_corral_affinity_is(ngx_str_t *name, char *word);


static ngx_queue_t  ngx_http_corral_affinity_asks;
static uintptr_t    ngx_http_corral_affinity_number;


void
ngx_http_corral_affinity_value(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value)
{
    u_char           *p;
    ngx_str_t         rest;
    ngx_table_elt_t  *h;

    ngx_str_null(value);

    p = ngx_strlchr(name->data, name->data + name->len, '.');

    rest.data = p ? p + 1 : name->data + name->len;
    rest.len = name->data + name->len - rest.data;

    if (ngx_http_corral_affinity_is(name, "session")) {
        *value = ctx->session;

        if (value->len == 0) {
            (void) ngx_http_arg(r, (u_char *) "session_id", 10, value);
        }

    } else if (ngx_http_corral_affinity_is(name, "subject")) {
        *value = ctx->subject;

    } else if (p && ngx_strncmp(name->data, "claim.", 6) == 0) {
        ngx_http_corral_claim(ctx, &rest, value);

    } else if (p && ngx_strncmp(name->data, "header.", 7) == 0) {
        h = ngx_http_corral_get_header(r, &rest);

        if (h) {
            *value = h->value;
        }

    } else if (p && ngx_strncmp(name->data, "query.", 6) == 0) {
        (void) ngx_http_arg(r, rest.data, rest.len, value);

    } else if (p && ngx_strncmp(name->data, "cookie.", 7) == 0) {
        ngx_http_corral_affinity_request_cookie(r, &rest, value);
    }
}


void
ngx_http_corral_affinity_request_cookie(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
#if (nginx_version >= 1029006)

    (void) ngx_http_parse_cookie_lines(r, r->headers_in.cookie, name, value);

#elif (nginx_version >= 1023000)

    (void) ngx_http_parse_multi_header_lines(r, r->headers_in.cookie, name,
                                             value);
#else

    (void) ngx_http_parse_multi_header_lines(&r->headers_in.cookies, name,
                                             value);
#endif
}


static ngx_uint_t
ngx_http_corral_affinity_is(ngx_str_t *name, char *word)
{
    return name->len == ngx_strlen(word)
           && ngx_strncmp(name->data, word, name->len) == 0;
}


/* by what the request is kept with its instance, if by anything */

static void
ngx_http_corral_affinity_prepare(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service)
{
    uint64_t   parts[2];
    ngx_str_t  value;

    ctx->sticky = 0;
    ctx->cookie = 0;
    ctx->learn = 0;
    ctx->learned = 0;
    ctx->known = 0;
    ctx->owner.slot = NGX_HTTP_CORRAL_NO_SLOT;
    ctx->owner.seq = 0;

    if (service->affinity.len == 0) {
        return;
    }

    if (ngx_http_corral_affinity_is(&service->affinity, "cookie")) {
        ctx->cookie = 1;
        return;
    }

    if (ngx_http_corral_learn_prepare(r, ctx, service)) {
        return;
    }

    ngx_http_corral_affinity_value(r, ctx, &service->affinity, &value);

    if (ngx_http_corral_affinity_is(&service->affinity, "client_ip")) {
        value = r->connection->addr_text;
    }

    if (value.len == 0) {
        return;
    }

    parts[0] = corral_balance_key(service->id.data, service->id.len);
    parts[1] = corral_balance_key(value.data, value.len);

    ctx->affinity = corral_balance_key(parts, sizeof(parts));
    ctx->sticky = 1;
}


ngx_http_corral_instance_t *
ngx_http_corral_affinity_owner(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service)
{
    uint32_t                     age;
    ngx_str_t                    owner;
    ngx_uint_t                   i;
    ngx_http_corral_slot_t       ref;
    ngx_http_corral_instance_t  *instance;

    if (!ctx->prepared) {                   /* nobody has asked before */
        ngx_http_corral_affinity_prepare(r, ctx, service);
    }

    ctx->known = 0;
    ctx->owner.slot = NGX_HTTP_CORRAL_NO_SLOT;

    if (ctx->cookie) {
        ctx->known = ngx_http_corral_affinity_cookie_owner(r, service, &owner);

    } else if (ctx->sticky || ctx->learned) {
        ctx->known = ngx_http_corral_affinity_kept(ctx->affinity, service,
                                                   &ref, &age);

        if (ctx->known && ngx_http_corral_table_key(ref, &owner) == NGX_OK) {
            owner.data += 2;                /* "i:" */
            owner.len -= 2;

        } else {
            owner.len = 0;
        }
    }

    if (!ctx->known) {
        return NULL;
    }

    instance = ngx_http_corral_affinity_member(service, &owner);

    if (instance == NULL
        || ngx_http_corral_table_avail(instance->ref, 0)
           == NGX_HTTP_CORRAL_EJECTED)
    {
        return NULL;
    }

    for (i = 0; i < ctx->ntried; i++) {
        if (ctx->tried[i] == instance->key) {
            return NULL;
        }
    }

    ctx->owner = instance->ref;

    return instance;
}


/* what the zone knows of the session */

static ngx_uint_t
ngx_http_corral_affinity_kept(uint64_t session,
    ngx_http_corral_service_t *service, ngx_http_corral_slot_t *ref,
    uint32_t *age)
{
    uint64_t  owner;

    if (!corral_affinity_get(ngx_http_corral_table_affinity(), session,
                             (uint32_t) ngx_time(),
                             service->affinity_ttl / 1000, &owner, age))
    {
        return 0;
    }

    ref->slot = owner >> 32;
    ref->seq = (uint32_t) owner;

    return 1;
}


/* is what was kept so long ago still to be relied on without a question? */

static ngx_uint_t
ngx_http_corral_affinity_fresh(ngx_http_corral_service_t *service,
    uint32_t age)
{
    return age <= ngx_min(service->affinity_ttl / 4000,
                          NGX_HTTP_CORRAL_AFFINITY_FRESH);
}


/* "instance_id:incarnation" */

static ngx_http_corral_instance_t *
ngx_http_corral_affinity_member(ngx_http_corral_service_t *service,
    ngx_str_t *owner)
{
    size_t     n;
    ngx_int_t  incarnation;
    ngx_str_t  id;

    for (n = owner->len; n && owner->data[n - 1] != ':'; n--) { /* void */ }

    if (n < 2 || n - 1 > CORRAL_ID_MAX) {
        return NULL;
    }

    incarnation = ngx_atoi(owner->data + n, owner->len - n);

    if (incarnation == NGX_ERROR) {
        return NULL;
    }

    id.data = owner->data;
    id.len = n - 1;

    return ngx_http_corral_registry_member(service, &id, incarnation);
}


void
ngx_http_corral_affinity_chosen(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service,
    ngx_http_corral_slot_t ref)
{
    ngx_uint_t                 hit;
    ngx_http_corral_totals_t  *totals;

    totals = ngx_http_corral_table_local(ctx->terms.ref);

    hit = ctx->known && ref.slot == ctx->owner.slot
          && ref.seq == ctx->owner.seq;

    if (hit) {
        totals->affinity_hits++;

    } else if (ctx->known) {
        totals->affinity_moves++;

    } else if (ctx->learned && ctx->ntried == 1) {
        totals->affinity_misses++;
    }

    /* of a learned one an agent must have said so */

    if (ctx->sticky || (ctx->learned && hit)) {
        ngx_http_corral_affinity_keep(r, service, ctx->affinity, ref);
    }
}


void
ngx_http_corral_affinity_keep(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, uint64_t session,
    ngx_http_corral_slot_t ref)
{
    uint32_t                age;
    ngx_str_t               key;
    ngx_http_corral_slot_t  kept;

    if (ngx_http_corral_table_key(ref, &key) != NGX_OK) {
        return;
    }

    if (ngx_http_corral_affinity_kept(session, service, &kept, &age)
        && kept.slot == ref.slot && kept.seq == ref.seq
        && ngx_http_corral_affinity_fresh(service, age))
    {
        return;
    }

    corral_affinity_put(ngx_http_corral_table_affinity(), session,
                        (uint32_t) ngx_time(),
                        (uint64_t) ref.slot << 32 | ref.seq);

    key.data += 2;
    key.len -= 2;

    ngx_http_corral_sync_session_set(r->pool, session, &key,
                                     service->affinity_ttl);
}


void
ngx_http_corral_affinity_end(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, uint64_t session,
    ngx_http_corral_slot_t ref)
{
    uint32_t                age;
    ngx_http_corral_slot_t  kept;

    if (ngx_http_corral_affinity_kept(session, service, &kept, &age)
        && kept.slot == ref.slot && kept.seq == ref.seq)
    {
        corral_affinity_drop(ngx_http_corral_table_affinity(), session);
        ngx_http_corral_sync_session_drop(r->pool, session);
    }
}


ngx_int_t
ngx_http_corral_affinity_ask(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx)
{
    uint32_t                         age;
    ngx_http_corral_slot_t           ref;
    ngx_http_corral_service_t       *service;
    ngx_http_corral_affinity_ask_t  *ask;

    ctx->prepared = 0;                      /* for another service, perhaps */

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL || service->affinity.len == 0 || ctx->asked) {
        return NGX_DECLINED;
    }

    ngx_http_corral_affinity_prepare(r, ctx, service);
    ctx->prepared = 1;

    if ((!ctx->sticky && !ctx->learned)
        || (ngx_http_corral_affinity_kept(ctx->affinity, service, &ref, &age)
            && ngx_http_corral_affinity_fresh(service, age))
        || !ngx_http_corral_sync_session_ready())
    {
        return NGX_DECLINED;
    }

    ask = ngx_pcalloc(r->pool, sizeof(ngx_http_corral_affinity_ask_t));
    if (ask == NULL) {
        return NGX_DECLINED;
    }

    ask->cleanup = ngx_pool_cleanup_add(r->pool, 0);

    if (ask->cleanup == NULL
        || ngx_http_corral_park(r, "looking for its session",
                                ngx_http_corral_affinity_go_on,
                                CORRAL_SESSION_DEADLINE)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_corral_affinity_asks.next == NULL) {
        ngx_queue_init(&ngx_http_corral_affinity_asks);
    }

    ask->request = r;
    ask->ctx = ctx;
    ask->number = ++ngx_http_corral_affinity_number;
    ask->cleanup->handler = ngx_http_corral_affinity_forget;
    ask->cleanup->data = ask;

    ctx->asked = 1;
    ctx->wait = ask;

    ngx_queue_insert_tail(&ngx_http_corral_affinity_asks, &ask->queue);

    /* if it cannot be sent, the time goes by */

    ngx_http_corral_sync_session_get(r->pool, ctx->affinity,
                                     service->affinity_ttl,
                                     ngx_http_corral_affinity_told,
                                     (void *) ask->number);

    return NGX_AGAIN;
}


/* An answer has come, or the time is over. */

static void
ngx_http_corral_affinity_go_on(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t  *ctx;

    if (ngx_http_corral_parked(r) != NGX_OK) {
        return;
    }

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx->wait) {
        ngx_http_corral_affinity_forget(ctx->wait);
    }

    ngx_http_core_run_phases(r);
}


static void
ngx_http_corral_affinity_forget(void *data)
{
    ngx_http_corral_affinity_ask_t *ask = data;

    ngx_queue_remove(&ask->queue);
    ask->cleanup->handler = NULL;
    ask->ctx->wait = NULL;
}


/*
 * What Redis knows: owner is empty if nothing.  data is the number of the ask,
 * which may be over; answers come in the order of the asks.
 */

static void
ngx_http_corral_affinity_told(void *data, ngx_str_t *owner)
{
    ngx_queue_t                     *q;
    ngx_http_corral_service_t       *service;
    ngx_http_corral_instance_t      *instance;
    ngx_http_corral_affinity_ask_t  *ask;

    ask = NULL;

    for (q = ngx_queue_head(&ngx_http_corral_affinity_asks);
         q != ngx_queue_sentinel(&ngx_http_corral_affinity_asks);
         q = ngx_queue_next(q))
    {
        ask = ngx_queue_data(q, ngx_http_corral_affinity_ask_t, queue);

        if (ask->number == (uintptr_t) data) {
            break;
        }

        ask = NULL;
    }

    if (ask == NULL) {
        return;
    }

    service = ngx_http_corral_registry_find(&ask->ctx->service_id);
    instance = service ? ngx_http_corral_affinity_member(service, owner)
                       : NULL;

    if (instance && instance->ref.slot != NGX_HTTP_CORRAL_NO_SLOT) {
        corral_affinity_put(ngx_http_corral_table_affinity(),
                            ask->ctx->affinity, (uint32_t) ngx_time(),
                            (uint64_t) instance->ref.slot << 32
                            | instance->ref.seq);
    }

    ngx_http_corral_unpark(ask->request);
    ngx_http_corral_affinity_forget(ask);
}


/* the owner in the cookie of the request, if the signature is ours */

static ngx_uint_t
ngx_http_corral_affinity_cookie_owner(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, ngx_str_t *owner)
{
    u_char     buf[sizeof(NGX_HTTP_CORRAL_AFFINITY_COOKIE) + CORRAL_ID_MAX];
    u_char     mac[2 * NGX_HTTP_CORRAL_AFFINITY_MAC];
    ngx_str_t  name, value;

    ngx_http_corral_affinity_cookie_name(&service->name, buf, &name);

    ngx_str_null(&value);
    ngx_http_corral_affinity_request_cookie(r, &name, &value);

    if (value.len <= sizeof(mac) + 1
        || value.data[value.len - sizeof(mac) - 1] != '.')
    {
        return 0;
    }

    owner->data = value.data;
    owner->len = value.len - sizeof(mac) - 1;

    return owner->len <= NGX_HTTP_CORRAL_AFFINITY_OWNER
           && ngx_http_corral_affinity_sign(r, &service->id, owner, mac)
              == NGX_OK
           && CRYPTO_memcmp(mac, owner->data + owner->len + 1, sizeof(mac))
              == 0;
}


static void
ngx_http_corral_affinity_cookie_name(ngx_str_t *service, u_char *buf,
    ngx_str_t *name)
{
    u_char  *p;

    p = ngx_cpymem(buf, NGX_HTTP_CORRAL_AFFINITY_COOKIE,
                   sizeof(NGX_HTTP_CORRAL_AFFINITY_COOKIE) - 1);
    p = ngx_cpymem(p, service->data, ngx_min(service->len, CORRAL_ID_MAX));

    name->data = buf;
    name->len = p - buf;
}


/* for this service alone: a cookie of another one says nothing here */

static ngx_int_t
ngx_http_corral_affinity_sign(ngx_http_request_t *r, ngx_str_t *service_id,
    ngx_str_t *owner, u_char mac[2 * NGX_HTTP_CORRAL_AFFINITY_MAC])
{
    u_char                        text[CORRAL_ID_MAX + 1
                                       + NGX_HTTP_CORRAL_AFFINITY_OWNER];
    u_char                       *p, md[EVP_MAX_MD_SIZE];
    unsigned                      len;
    ngx_str_t                     secret;
    ngx_http_corral_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_corral_module);

    secret = mcf->affinity_secret;

    if (secret.len == 0) {
        ngx_http_corral_table_secret(&secret);
    }

    p = ngx_cpymem(text, service_id->data,
                   ngx_min(service_id->len, CORRAL_ID_MAX));
    *p++ = '\0';
    p = ngx_cpymem(p, owner->data, owner->len);

    if (HMAC(EVP_sha256(), secret.data, secret.len, text, p - text, md, &len)
        == NULL)
    {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(mac, md, NGX_HTTP_CORRAL_AFFINITY_MAC);

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_affinity_answer(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    u_char           *p;
    u_char            buf[sizeof(NGX_HTTP_CORRAL_AFFINITY_COOKIE)
                          + CORRAL_ID_MAX];
    u_char            mac[2 * NGX_HTTP_CORRAL_AFFINITY_MAC];
    ngx_str_t         name, owner, sign;
    ngx_table_elt_t  *h;

    ngx_http_corral_learn_answer(r, ctx);

    if (!ctx->cookie || !ctx->taken
        || (ctx->owner.slot == ctx->instance.ref.slot
            && ctx->owner.seq == ctx->instance.ref.seq)
        || ngx_http_corral_table_key(ctx->instance.ref, &owner) != NGX_OK)
    {
        return NGX_OK;
    }

    ctx->cookie = 0;                        /* once */

    owner.data += 2;
    owner.len -= 2;

    ngx_http_corral_affinity_cookie_name(&ctx->service_name, buf, &name);

    if (ngx_http_corral_affinity_sign(r, &ctx->service_id, &owner, mac)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    sign.data = mac;
    sign.len = sizeof(mac);

    h = ngx_list_push(&r->headers_out.headers);
    p = ngx_pnalloc(r->pool, name.len + owner.len + sign.len
                             + sizeof("=.; Path=/; HttpOnly; SameSite=Lax"
                                      "; Secure"));

    if (h == NULL || p == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Set-Cookie");
    h->value.data = p;

    p = ngx_sprintf(p, "%V=%V.%V; Path=/; HttpOnly; SameSite=Lax", &name,
                    &owner, &sign);

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        p = ngx_cpymem(p, "; Secure", sizeof("; Secure") - 1);
    }
#endif

    h->value.len = p - h->value.data;

    return NGX_OK;
}
