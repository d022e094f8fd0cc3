
/*
 * Which pairs there are: their memory, what they share, the list of
 * connections that is published, and orders to close some of them.
 *
 * Pairs lie in chunks of their own, so that a small struct that lives for days
 * does not pin the hole of a request pool; a free one is reused, and a chunk is
 * never given back.  All is of one worker; nothing here takes a lock.
 */


#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


#define NGX_HTTP_CORRAL_RELAY_CHUNK    65536
#define NGX_HTTP_CORRAL_RELAY_SHARED   256          /* buckets */


typedef struct ngx_http_corral_relay_chunk_s  ngx_http_corral_relay_chunk_t;

struct ngx_http_corral_relay_chunk_s {
    ngx_http_corral_relay_chunk_t  *next;
    ngx_http_corral_pair_t          pairs[];
};


/* a pair that was published and has gone */

typedef struct {
    ngx_queue_t                     queue;
    uint64_t                        id;
} ngx_http_corral_relay_gone_t;


#define NGX_HTTP_CORRAL_RELAY_PAIRS                                           \
    ((NGX_HTTP_CORRAL_RELAY_CHUNK - sizeof(ngx_http_corral_relay_chunk_t))    \
     / sizeof(ngx_http_corral_pair_t))


static ngx_http_corral_pair_t *ngx_http_corral_relay_list_next(
    ngx_http_corral_relay_chunk_t **chunk, ngx_uint_t *n);
static void ngx_http_corral_relay_list_view(ngx_http_corral_pair_t *p,
    ngx_http_corral_pair_view_t *view);
static void ngx_http_corral_relay_list_gone(ngx_http_corral_pair_t *p);
static ngx_uint_t ngx_http_corral_relay_list_same(ngx_str_t *wanted,
    ngx_str_t *value);
static ngx_str_t ngx_http_corral_relay_list_service_id(
    ngx_http_corral_pair_t *p);


static ngx_http_corral_relay_chunk_t  *ngx_http_corral_relay_chunks;
static ngx_queue_t                     ngx_http_corral_relay_unused;
static ngx_queue_t                     ngx_http_corral_relay_changed;
static ngx_queue_t                     ngx_http_corral_relay_gone;
static ngx_uint_t                      ngx_http_corral_relay_pairs;
static ngx_http_corral_shared_t       *ngx_http_corral_relay_shared[
                                                NGX_HTTP_CORRAL_RELAY_SHARED];


void
ngx_http_corral_relay_list_init(void)
{
    ngx_queue_init(&ngx_http_corral_relay_unused);
    ngx_queue_init(&ngx_http_corral_relay_changed);
    ngx_queue_init(&ngx_http_corral_relay_gone);
}


/* Returns a pair, all zero, or NULL; number is set by the caller. */

ngx_http_corral_pair_t *
ngx_http_corral_relay_list_alloc(ngx_log_t *log)
{
    ngx_uint_t                      i;
    ngx_queue_t                    *q;
    ngx_http_corral_pair_t         *p;
    ngx_http_corral_relay_chunk_t  *chunk;

    if (ngx_queue_empty(&ngx_http_corral_relay_unused)) {
        chunk = ngx_memalign(4096, NGX_HTTP_CORRAL_RELAY_CHUNK, log);
        if (chunk == NULL) {
            return NULL;
        }

        chunk->next = ngx_http_corral_relay_chunks;
        ngx_http_corral_relay_chunks = chunk;

        for (i = 0; i < NGX_HTTP_CORRAL_RELAY_PAIRS; i++) {
            p = &chunk->pairs[i];
            p->number = 0;
            ngx_queue_insert_tail(&ngx_http_corral_relay_unused, &p->used);
        }
    }

    q = ngx_queue_head(&ngx_http_corral_relay_unused);
    ngx_queue_remove(q);

    p = ngx_queue_data(q, ngx_http_corral_pair_t, used);

    ngx_memzero(p, sizeof(ngx_http_corral_pair_t));
    ngx_http_corral_relay_pairs++;

    return p;
}


/* The pair has ended; it is no longer in the wheel. */

void
ngx_http_corral_relay_list_free(ngx_http_corral_pair_t *p)
{
    if (p->changed) {
        ngx_queue_remove(&p->used);
    }

    if (p->published) {
        ngx_http_corral_relay_list_gone(p);
    }

    p->number = 0;
    ngx_queue_insert_head(&ngx_http_corral_relay_unused, &p->used);
    ngx_http_corral_relay_pairs--;
}


static void
ngx_http_corral_relay_list_gone(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_relay_gone_t  *gone;

    gone = ngx_alloc(sizeof(ngx_http_corral_relay_gone_t), ngx_cycle->log);

    if (gone == NULL) {
        return;                     /* it leaves the list with our lease */
    }

    gone->id = ngx_http_corral_relay_id(p);
    ngx_queue_insert_tail(&ngx_http_corral_relay_gone, &gone->queue);
}


/* The pair is new or has been used: the list is to show it. */

void
ngx_http_corral_relay_list_use(ngx_http_corral_pair_t *p)
{
    if (!p->changed) {
        p->changed = 1;
        ngx_queue_insert_tail(&ngx_http_corral_relay_changed, &p->used);
    }
}


/* Returns what connections of this service and location share, or NULL. */

ngx_http_corral_shared_t *
ngx_http_corral_relay_list_share(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_terms_t *terms)
{
    size_t                      len, names, rules;
    ngx_http_corral_service_t  *service;
    ngx_http_corral_shared_t   *s, *found, **bucket;

    struct {
        ngx_http_corral_slot_t    service;
        void                    **loc_conf;
    } key;

    names = ctx->service_id.len + ctx->service_name.len;
    len = offsetof(ngx_http_corral_shared_t, names) + names;
    rules = 0;
    service = NULL;

    if (terms->failover == CORRAL_FAILOVER_REPLAY) {
        service = ngx_http_corral_registry_find(&ctx->service_id);

        if (service && service->answer) {
            rules = ngx_align(len, NGX_ALIGNMENT);
            len = rules + sizeof(corral_answer_rules_t) + service->reset.len;
        }
    }

    s = ngx_calloc(len, r->connection->log);
    if (s == NULL) {
        return NULL;
    }

    s->refs = 1;
    s->terms = *terms;
    s->srv_conf = r->srv_conf;
    s->loc_conf = r->loc_conf;
    s->id_len = ctx->service_id.len;
    s->name_len = ctx->service_name.len;

    ngx_memcpy(ngx_cpymem(s->names, ctx->service_id.data, s->id_len),
               ctx->service_name.data, s->name_len);

    if (rules) {
        s->rules = rules;
        s->reset_len = service->reset.len;

        ngx_memcpy(ngx_cpymem((u_char *) s + rules, service->answer,
                              sizeof(corral_answer_rules_t)),
                   service->reset.data, s->reset_len);
    }

    len -= offsetof(ngx_http_corral_shared_t, terms);

    /* the terms of a service at one place change rarely: they are compared */

    ngx_memzero(&key, sizeof(key));
    key.service = terms->ref;
    key.loc_conf = r->loc_conf;

    s->hash = (uint32_t) corral_balance_key(&key, sizeof(key));

    bucket = &ngx_http_corral_relay_shared[s->hash
                                           % NGX_HTTP_CORRAL_RELAY_SHARED];

    for (found = *bucket; found; found = found->next) {

        if (found->hash == s->hash
            && found->id_len == s->id_len && found->name_len == s->name_len
            && ngx_memcmp(&found->terms, &s->terms, len) == 0)
        {
            ngx_free(s);
            found->refs++;
            return found;
        }
    }

    s->next = *bucket;
    *bucket = s;

    return s;
}


void
ngx_http_corral_relay_list_unshare(ngx_http_corral_shared_t *shared)
{
    ngx_http_corral_shared_t  **s;

    if (--shared->refs) {
        return;
    }

    s = &ngx_http_corral_relay_shared[shared->hash
                                      % NGX_HTTP_CORRAL_RELAY_SHARED];

    while (*s != shared) {
        s = &(*s)->next;
    }

    *s = shared->next;

    ngx_free(shared);
}


/* Number of pairs of the same service in this worker. */

ngx_uint_t
ngx_http_corral_relay_list_service(ngx_http_corral_pair_t *p)
{
    ngx_uint_t                 i, n;
    ngx_http_corral_shared_t  *s;

    n = 0;

    for (i = 0; i < NGX_HTTP_CORRAL_RELAY_SHARED; i++) {

        for (s = ngx_http_corral_relay_shared[i]; s; s = s->next) {

            if (s->id_len == p->shared->id_len
                && ngx_memcmp(s->names, p->shared->names, s->id_len) == 0)
            {
                n += s->refs;
            }
        }
    }

    return n;
}


ngx_uint_t
ngx_http_corral_relay_count(void)
{
    return ngx_http_corral_relay_pairs;
}


/* the next pair in use; chunk and n are where the walk is */

static ngx_http_corral_pair_t *
ngx_http_corral_relay_list_next(ngx_http_corral_relay_chunk_t **chunk,
    ngx_uint_t *n)
{
    ngx_http_corral_pair_t  *p;

    while (*chunk) {

        while (*n < NGX_HTTP_CORRAL_RELAY_PAIRS) {
            p = &(*chunk)->pairs[(*n)++];

            if (p->number) {
                return p;
            }
        }

        *chunk = (*chunk)->next;
        *n = 0;
    }

    return NULL;
}


/* The same for others: *at is NULL and *n 0 at the beginning. */

ngx_http_corral_pair_t *
ngx_http_corral_relay_list_walk(void **at, ngx_uint_t *n)
{
    ngx_http_corral_pair_t         *p;
    ngx_http_corral_relay_chunk_t  *chunk;

    chunk = *at ? *at : ngx_http_corral_relay_chunks;

    p = ngx_http_corral_relay_list_next(&chunk, n);
    *at = chunk;

    return p;
}


ngx_int_t
ngx_http_corral_relay_next(ngx_http_corral_pair_view_t *view)
{
    ngx_queue_t                   *q;
    ngx_http_corral_pair_t        *p;
    ngx_http_corral_relay_gone_t  *gone;

    ngx_memzero(view, sizeof(ngx_http_corral_pair_view_t));

    if (!ngx_queue_empty(&ngx_http_corral_relay_gone)) {
        q = ngx_queue_head(&ngx_http_corral_relay_gone);
        ngx_queue_remove(q);

        gone = ngx_queue_data(q, ngx_http_corral_relay_gone_t, queue);
        view->id = gone->id;
        ngx_free(gone);

        return NGX_DECLINED;
    }

    if (ngx_queue_empty(&ngx_http_corral_relay_changed)) {
        return NGX_DONE;
    }

    q = ngx_queue_head(&ngx_http_corral_relay_changed);
    ngx_queue_remove(q);

    p = ngx_queue_data(q, ngx_http_corral_pair_t, used);
    p->changed = 0;
    p->published = 1;

    ngx_http_corral_relay_list_view(p, view);

    return NGX_OK;
}


void
ngx_http_corral_relay_again(void)
{
    ngx_uint_t                      n;
    ngx_http_corral_pair_t         *p;
    ngx_http_corral_relay_chunk_t  *chunk;

    chunk = ngx_http_corral_relay_chunks;
    n = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_next(&chunk, &n);

        if (p == NULL) {
            return;
        }

        ngx_http_corral_relay_list_use(p);
    }
}


static void
ngx_http_corral_relay_list_view(ngx_http_corral_pair_t *p,
    ngx_http_corral_pair_view_t *view)
{
    ngx_str_t                 uri;
    ngx_connection_t         *c;
    ngx_http_corral_side_t   *client, *agent;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];
    c = client->connection;

    view->id = ngx_http_corral_relay_id(p);
    view->service_id = ngx_http_corral_relay_list_service_id(p);
    view->service.data = p->shared->names + p->shared->id_len;
    view->service.len = p->shared->name_len;
    view->instance_id = ngx_http_corral_record_string(p->record,
                                           NGX_HTTP_CORRAL_RECORD_INSTANCE_ID);
    view->session_id = ngx_http_corral_record_string(p->record,
                                               NGX_HTTP_CORRAL_RECORD_SESSION);
    view->tenant = ngx_http_corral_record_string(p->record,
                                                NGX_HTTP_CORRAL_RECORD_TENANT);
    view->subject = ngx_http_corral_record_string(p->record,
                                               NGX_HTTP_CORRAL_RECORD_SUBJECT);
    view->client_ip = c->addr_text;
    view->client_port = ngx_inet_get_port(c->sockaddr);
    view->user_agent = ngx_http_corral_record_string(p->record,
                                            NGX_HTTP_CORRAL_RECORD_USER_AGENT);

    uri = ngx_http_corral_record_string(p->record,
                                        NGX_HTTP_CORRAL_RECORD_UNPARSED_URI);

    view->path.data = uri.data;

    while (view->path.len < ngx_min(uri.len, 200)
           && uri.data[view->path.len] != '?')
    {
        view->path.len++;
    }

    view->method = ngx_http_corral_record_method(p->record);
    view->closing = p->own || p->lingering || client->said || agent->said;
    view->resumed = ngx_http_corral_relay_resumed(p);
    view->connected_at = ngx_http_corral_record_opened(p->record);
    view->last_activity = ngx_time()
                          - (time_t) ((ngx_current_msec - p->last) / 1000);
    view->expires = p->limits ? p->limits->expires : 0;
    view->messages_in = client->messages;
    view->messages_out = agent->messages;
    view->bytes_in = client->bytes;
    view->bytes_out = agent->bytes;
}


void
ngx_http_corral_relay_close(ngx_http_corral_filter_t *filter, ngx_uint_t code,
    ngx_str_t *reason, ngx_uint_t dry_run, ngx_http_corral_closed_pt done,
    void *data)
{
    ngx_log_t                      *log;
    ngx_uint_t                      n;
    ngx_http_corral_pair_t         *p;
    ngx_http_corral_order_t        *order;
    ngx_http_corral_relay_chunk_t  *chunk;

    log = ngx_cycle->log;

    order = ngx_calloc(sizeof(ngx_http_corral_order_t), log);
    if (order == NULL) {
        done(data, 0, 0, 0);
        return;
    }

    order->done = done;
    order->data = data;
    order->open = 1;                /* this walk: a pair may end within it */

    chunk = ngx_http_corral_relay_chunks;
    n = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_next(&chunk, &n);

        if (p == NULL) {
            break;
        }

        if (!ngx_http_corral_relay_list_matches(p, filter)) {
            continue;
        }

        order->matched++;

        if (dry_run) {
            continue;
        }

        if (ngx_http_corral_relay_list_order(p, order) == NGX_OK) {
            if (!p->own) {
                ngx_http_corral_relay_count_close(p, closes_forced);
            }

            ngx_http_corral_relay_shut(p, code, 1001, reason);
            ngx_http_corral_relay_list_use(p);
            ngx_http_corral_relay_settle(p);
        }
    }

    if (--order->open == 0) {
        done(data, order->matched, order->closed, order->sent);
        ngx_free(order);
    }
}


ngx_uint_t
ngx_http_corral_relay_renew(ngx_http_corral_filter_t *filter, time_t expires)
{
    ngx_uint_t                      n, matched;
    ngx_http_corral_pair_t         *p;
    ngx_http_corral_relay_chunk_t  *chunk;

    chunk = ngx_http_corral_relay_chunks;
    n = 0;
    matched = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_next(&chunk, &n);

        if (p == NULL) {
            return matched;
        }

        if (!p->own && ngx_http_corral_relay_list_matches(p, filter)
            && ngx_http_corral_relay_limit_renew(p, expires) == NGX_OK)
        {
            matched++;
        }
    }
}


void
ngx_http_corral_relay_exit(void)
{
    ngx_uint_t                      n;
    ngx_http_corral_pair_t         *p;
    ngx_http_corral_relay_chunk_t  *chunk;

    static ngx_str_t  reason = ngx_string("gateway stops");

    chunk = ngx_http_corral_relay_chunks;
    n = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_next(&chunk, &n);

        if (p == NULL) {
            return;
        }

        ngx_http_corral_relay_shut(p, 1012, 1001, &reason);

        p->sides[NGX_HTTP_CORRAL_CLIENT].deaf = 1;
        p->sides[NGX_HTTP_CORRAL_AGENT].deaf = 1;
        ngx_http_corral_relay_pay(p, NGX_HTTP_CORRAL_CLIENT);
        ngx_http_corral_relay_pay(p, NGX_HTTP_CORRAL_AGENT);
        ngx_http_corral_relay_end(p);
    }
}


/* The order is told when the pair has ended.  NGX_ERROR: no memory. */

ngx_int_t
ngx_http_corral_relay_list_order(ngx_http_corral_pair_t *p,
    ngx_http_corral_order_t *order)
{
    ngx_log_t                 *log;
    ngx_http_corral_waiter_t  *w;

    log = ngx_cycle->log;

    if (p->closing == NULL) {
        p->closing = ngx_calloc(sizeof(ngx_http_corral_closing_t), log);
        if (p->closing == NULL) {
            return NGX_ERROR;
        }
    }

    w = ngx_alloc(sizeof(ngx_http_corral_waiter_t), log);
    if (w == NULL) {
        return NGX_ERROR;
    }

    w->order = order;
    w->next = p->closing->waiters;
    p->closing->waiters = w;
    order->open++;

    return NGX_OK;
}


ngx_uint_t
ngx_http_corral_relay_list_matches(ngx_http_corral_pair_t *p,
    ngx_http_corral_filter_t *filter)
{
    time_t                     opened;
    ngx_str_t                  value;
    ngx_http_corral_record_t  *record;

    if (filter->id && filter->id != ngx_http_corral_relay_id(p)) {
        return 0;
    }

    opened = ngx_http_corral_record_opened(p->record);

    if ((uint64_t) (ngx_time() - opened) * 1000 < filter->age
        || ngx_current_msec - p->last < filter->idle)
    {
        return 0;
    }

    value = ngx_http_corral_relay_list_service_id(p);

    if (!ngx_http_corral_relay_list_same(&filter->service_id, &value)
        || !ngx_http_corral_relay_list_same(&filter->client_ip,
                &p->sides[NGX_HTTP_CORRAL_CLIENT].connection->addr_text))
    {
        return 0;
    }

    record = p->record;

    value = ngx_http_corral_record_string(record,
                                          NGX_HTTP_CORRAL_RECORD_INSTANCE_ID);

    if (!ngx_http_corral_relay_list_same(&filter->instance_id, &value)) {
        return 0;
    }

    value = ngx_http_corral_record_string(record,
                                          NGX_HTTP_CORRAL_RECORD_SESSION);

    if (!ngx_http_corral_relay_list_same(&filter->session_id, &value)) {
        return 0;
    }

    value = ngx_http_corral_record_string(record,
                                          NGX_HTTP_CORRAL_RECORD_TENANT);

    if (!ngx_http_corral_relay_list_same(&filter->tenant, &value)) {
        return 0;
    }

    value = ngx_http_corral_record_string(record,
                                          NGX_HTTP_CORRAL_RECORD_SUBJECT);

    return ngx_http_corral_relay_list_same(&filter->subject, &value);
}


static ngx_uint_t
ngx_http_corral_relay_list_same(ngx_str_t *wanted, ngx_str_t *value)
{
    return wanted->len == 0
           || (wanted->len == value->len
               && ngx_memcmp(wanted->data, value->data, value->len) == 0);
}


static ngx_str_t
ngx_http_corral_relay_list_service_id(ngx_http_corral_pair_t *p)
{
    ngx_str_t  id;

    id.data = p->shared->names;
    id.len = p->shared->id_len;

    return id;
}
