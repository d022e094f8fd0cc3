
/*
 * The registry's builder: makes the object of one service, from which requests
 * pick, of the documents as they will be after the update.  Pure computation
 * in the object's own pool; the swap is the registry's affair.
 */


#include "ngx_http_corral_registry_entries.h"


#define NGX_HTTP_CORRAL_RANK_ERROR  ((ngx_uint_t) -1)


static ngx_int_t ngx_http_corral_registry_build_instances(
    ngx_http_corral_sentry_t *s, ngx_http_corral_service_t *o,
    ngx_uint_t threshold);
static ngx_uint_t ngx_http_corral_registry_build_tiers(
    ngx_http_corral_sentry_t *s, ngx_http_corral_service_t *o,
    ngx_uint_t threshold, uint32_t *next);
static ngx_uint_t ngx_http_corral_registry_build_count(
    ngx_http_corral_sentry_t *s, ngx_http_corral_service_t *o,
    uint32_t *ready, uint32_t *total);
static ngx_uint_t ngx_http_corral_registry_build_due(
    ngx_http_corral_idoc_t *idoc);
static void ngx_http_corral_registry_build_instance(
    ngx_http_corral_ientry_t *i, ngx_http_corral_idoc_t *idoc,
    ngx_http_corral_instance_t *instance);
static ngx_http_corral_idoc_t *ngx_http_corral_registry_build_doc(
    ngx_http_corral_ientry_t *i);
static ngx_uint_t ngx_http_corral_registry_build_rank(
    ngx_http_corral_idoc_t *idoc);
static ngx_int_t ngx_http_corral_registry_build_balance(
    ngx_http_corral_service_t *o, ngx_http_corral_tier_t *tier);
static void ngx_http_corral_registry_build_terms(
    ngx_http_corral_terms_t *terms, corral_service_t *doc);
static ngx_int_t ngx_http_corral_registry_build_answer(
    ngx_http_corral_service_t *o, corral_service_t *doc, ngx_pool_t *pool);
static void ngx_http_corral_registry_build_eject(
    ngx_http_corral_eject_t *eject, corral_service_t *doc);
static ngx_int_t ngx_http_corral_registry_build_string(ngx_pool_t *pool,
    ngx_str_t *dst, corral_str_t *src);


ngx_http_corral_method_t  ngx_http_corral_methods[] = {
    { ngx_string("round_robin"), NGX_HTTP_CORRAL_ROUND_ROBIN },
    { ngx_string("least_conn"), NGX_HTTP_CORRAL_LEAST_CONN },
    { ngx_string("hash"), NGX_HTTP_CORRAL_HASH },
    { ngx_string("random"), NGX_HTTP_CORRAL_RANDOM },
    { ngx_string("p2c"), NGX_HTTP_CORRAL_P2C },
    { ngx_string("ewma"), NGX_HTTP_CORRAL_EWMA },
    { ngx_string("weighted_round_robin"), NGX_HTTP_CORRAL_ROUND_ROBIN },
    { ngx_string("weighted_random"), NGX_HTTP_CORRAL_RANDOM },
    { ngx_string("least_connections"), NGX_HTTP_CORRAL_LEAST_CONN },
    { ngx_null_string, 0 }
};


/* builds the next object of a service from the documents after the update */

ngx_int_t
ngx_http_corral_registry_build(ngx_http_corral_sentry_t *s)
{
    uint32_t                    n;
    ngx_str_t                   key;
    ngx_pool_t                 *pool;
    corral_service_t           *doc;
    ngx_http_corral_service_t  *o;
    u_char                      buf[CORRAL_ID_MAX + 2];

    doc = s->next_doc ? s->next_doc : s->doc;

    if (doc == NULL || s->del) {
        return NGX_OK;
    }

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    o = ngx_pcalloc(pool, sizeof(ngx_http_corral_service_t));

    if (o == NULL
        || ngx_http_corral_registry_build_string(pool, &o->id, &doc->service_id)
           != NGX_OK
        || ngx_http_corral_registry_build_string(pool, &o->name, &doc->name)
           != NGX_OK
        || ngx_http_corral_registry_build_string(pool, &o->upstream_host,
                                                 &doc->upstream_host)
           != NGX_OK
        || ngx_http_corral_registry_build_string(pool, &o->affinity,
                                                 &doc->affinity)
           != NGX_OK
        || ngx_http_corral_registry_build_string(pool, &o->hash_key,
                                                 &doc->hash_key)
           != NGX_OK
        || ngx_http_corral_registry_build_string(pool, &o->mirror,
                                                 &doc->mirror)
           != NGX_OK
        || ngx_http_corral_registry_build_string(pool, &o->reset, &doc->reset)
           != NGX_OK
        || ngx_http_corral_registry_build_answer(o, doc, pool) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    o->pool = pool;
    o->protocol = doc->protocol;
    o->desired = doc->desired;
    o->balance_method = doc->balance;
    o->affinity_ttl = doc->affinity_ttl;

    if (ngx_strcmp(o->affinity.data, "none") == 0) {
        o->affinity.len = 0;
    }

    o->limits.instance = doc->max_sessions;
    o->limits.service = doc->max_connections;
    o->queue_size = doc->queue_size;
    o->queue_timeout = doc->queue_timeout;
    o->mirror_percent = doc->mirror_percent;
    o->slow_start = doc->slow_start;
    o->slow_start_rate = doc->slow_start_rate;

    /* below 100 there would not be room for all */

    o->hash_factor = doc->hash_balance_factor
                     ? ngx_max(doc->hash_balance_factor, 100) : 0;

    o->sse.resume = doc->sse_resume;
    o->sse.events = doc->sse_events;
    o->sse.keep = doc->sse_keep;
    o->sse.run_on = doc->sse_run_on;

    o->rebalance.mode = doc->rebalance;
    o->rebalance.rate = doc->rebalance_rate;
    o->rebalance.tolerance = doc->rebalance_tolerance;
    o->rebalance.idle = doc->rebalance_idle;
    o->rebalance.sessions = doc->rebalance_sessions;

    ngx_http_corral_registry_build_terms(&o->terms, doc);
    ngx_http_corral_registry_build_eject(&o->eject, doc);

    key.data = buf;
    key.len = ngx_sprintf(buf, "s:%V", &o->id) - buf;

    o->terms.ref = ngx_http_corral_table_slot(&key);

    if (ngx_http_corral_registry_build_instances(s, o, doc->spill_threshold)
        != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    for (n = 0; n < o->ntiers; n++) {
        if (ngx_http_corral_registry_build_balance(o, &o->tiers[n]) != NGX_OK) {
            ngx_destroy_pool(pool);
            return NGX_ERROR;
        }
    }

    s->next_object = o;

    return NGX_OK;
}


/* healthy instances, or those of the best health that there is */

static ngx_int_t
ngx_http_corral_registry_build_instances(ngx_http_corral_sentry_t *s,
    ngx_http_corral_service_t *o, ngx_uint_t threshold)
{
    uint32_t                     next[CORRAL_PRIORITY_MAX + 1];
    ngx_uint_t                   best;
    ngx_queue_t                 *q;
    ngx_http_corral_idoc_t      *idoc;
    ngx_http_corral_ientry_t    *i;

    best = ngx_http_corral_registry_build_tiers(s, o, threshold, next);

    if (best == NGX_HTTP_CORRAL_RANK_ERROR) {
        return NGX_ERROR;
    }

    if (o->n == 0) {
        return NGX_OK;
    }

    o->instances = ngx_pcalloc(o->pool,
                               o->n * sizeof(ngx_http_corral_instance_t));
    if (o->instances == NULL) {
        return NGX_ERROR;
    }

    for (q = ngx_queue_head(&s->instances);
         q != ngx_queue_sentinel(&s->instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, link);
        idoc = ngx_http_corral_registry_build_doc(i);

        if (idoc == NULL || ngx_http_corral_registry_build_rank(idoc) != best) {
            continue;
        }

        /* the entry and its document outlive the object: swap sees to it */

        ngx_http_corral_registry_build_instance(i, idoc,
                                 &o->instances[next[idoc->doc.priority]++]);
    }

    return NGX_OK;
}


/* the entry and its document outlive the object: swap sees to it */

static void
ngx_http_corral_registry_build_instance(ngx_http_corral_ientry_t *i,
    ngx_http_corral_idoc_t *idoc, ngx_http_corral_instance_t *instance)
{
    instance->id = i->by_id.str;
    instance->name.len = idoc->doc.address.len;
    instance->name.data = (u_char *) idoc->doc.address.data;
    instance->sockaddr = &idoc->sockaddr.sockaddr;
    instance->socklen = idoc->socklen;
    instance->weight = idoc->doc.weight;
    instance->key = idoc->key;
    instance->ref = idoc->ref;
}


ngx_http_corral_instance_t *
ngx_http_corral_registry_member(ngx_http_corral_service_t *service,
    ngx_str_t *id, uint32_t incarnation)
{
    uint32_t                   hash;
    ngx_http_corral_idoc_t    *idoc;
    ngx_http_corral_ientry_t  *i;

    static ngx_http_corral_instance_t  instance;

    hash = ngx_crc32_short(id->data, id->len);

    i = (ngx_http_corral_ientry_t *)
            ngx_str_rbtree_lookup(&ngx_http_corral_reg.instances, id, hash);

    if (i == NULL || i->doc == NULL || i->service == NULL
        || i->service->object != service
        || service->desired != CORRAL_DESIRED_RUNNING)
    {
        return NULL;
    }

    idoc = i->doc;

    if (idoc->doc.incarnation != incarnation || idoc->socklen == 0
        || idoc->doc.health == CORRAL_HEALTH_UNHEALTHY
        || (idoc->doc.state != CORRAL_STATE_RUNNING
            && idoc->doc.state != CORRAL_STATE_DRAINING))
    {
        return NULL;
    }

    ngx_http_corral_registry_build_instance(i, idoc, &instance);

    return &instance;
}


/*
 * Makes the tiers, and sets next[priority] to the place of the tier's first
 * instance.  Returns the best rank that there is.
 */

static ngx_uint_t
ngx_http_corral_registry_build_tiers(ngx_http_corral_sentry_t *s,
    ngx_http_corral_service_t *o, ngx_uint_t threshold, uint32_t *next)
{
    uint32_t                 p, ready[CORRAL_PRIORITY_MAX + 1],
                             total[CORRAL_PRIORITY_MAX + 1],
                             until[CORRAL_PRIORITY_MAX + 1];
    ngx_uint_t               best;
    ngx_http_corral_tier_t  *tier;

    best = ngx_http_corral_registry_build_count(s, o, ready, total);

    if (best == 0 || o->desired != CORRAL_DESIRED_RUNNING) {
        return 0;
    }

    for (p = 0; p <= CORRAL_PRIORITY_MAX; p++) {
        next[p] = o->n;
        o->n += ready[p];
        o->ntiers += ready[p] != 0;
    }

    tier = ngx_pcalloc(o->pool, o->ntiers * sizeof(ngx_http_corral_tier_t));
    if (tier == NULL) {
        return NGX_HTTP_CORRAL_RANK_ERROR;
    }

    o->tiers = tier;

    corral_balance_tiers(CORRAL_PRIORITY_MAX + 1, ready, total, threshold,
                         until);

    for (p = 0; p <= CORRAL_PRIORITY_MAX; p++) {

        if (ready[p] == 0) {
            continue;
        }

        tier->priority = p;
        tier->first = next[p];
        tier->n = ready[p];
        tier->total = total[p];
        tier->until = until[p];
        tier++;
    }

    return best;
}


/*
 * By priority: who is ready, of the best rank, which is returned, and who
 * should be.
 */

static ngx_uint_t
ngx_http_corral_registry_build_count(ngx_http_corral_sentry_t *s,
    ngx_http_corral_service_t *o, uint32_t *ready, uint32_t *total)
{
    size_t                   size;
    ngx_uint_t               rank, best;
    ngx_queue_t             *q;
    ngx_http_corral_idoc_t  *idoc;

    best = 0;
    size = (CORRAL_PRIORITY_MAX + 1) * sizeof(uint32_t);

    ngx_memzero(ready, size);
    ngx_memzero(total, size);

    for (q = ngx_queue_head(&s->instances);
         q != ngx_queue_sentinel(&s->instances);
         q = ngx_queue_next(q))
    {
        idoc = ngx_http_corral_registry_build_doc(
                   ngx_queue_data(q, ngx_http_corral_ientry_t, link));

        if (idoc == NULL) {
            continue;
        }

        o->total++;
        total[idoc->doc.priority] += ngx_http_corral_registry_build_due(idoc);

        rank = ngx_http_corral_registry_build_rank(idoc);

        if (rank > best) {
            best = rank;
            ngx_memzero(ready, size);
        }

        ready[idoc->doc.priority] += rank && rank == best;
    }

    return best;
}


/* is the instance one of those that should be ready? */

static ngx_uint_t
ngx_http_corral_registry_build_due(ngx_http_corral_idoc_t *idoc)
{
    switch (idoc->doc.state) {

    case CORRAL_STATE_PENDING:
    case CORRAL_STATE_STARTING:
    case CORRAL_STATE_RUNNING:
    case CORRAL_STATE_FAILED:
        return idoc->doc.weight != 0;

    default:
        return 0;
    }
}


/* the document that an instance has after the update, NULL if it goes */

static ngx_http_corral_idoc_t *
ngx_http_corral_registry_build_doc(ngx_http_corral_ientry_t *i)
{
    if (i->del) {
        return NULL;
    }

    return i->next_doc ? i->next_doc : i->doc;
}


/* 0: not to be used, else the higher the better */

static ngx_uint_t
ngx_http_corral_registry_build_rank(ngx_http_corral_idoc_t *idoc)
{
    if (idoc->doc.state != CORRAL_STATE_RUNNING || idoc->socklen == 0
        || idoc->doc.weight == 0)
    {
        return 0;
    }

    switch (idoc->doc.health) {

    case CORRAL_HEALTH_HEALTHY:
        return 2;

    case CORRAL_HEALTH_DEGRADED:
    case CORRAL_HEALTH_UNKNOWN:
        return 1;

    default: /* CORRAL_HEALTH_UNHEALTHY */
        return 0;
    }
}


static ngx_int_t
ngx_http_corral_registry_build_balance(ngx_http_corral_service_t *o,
    ngx_http_corral_tier_t *tier)
{
    uint32_t                     i, *weights;
    uint64_t                    *ids;
    unsigned                     methods;
    ngx_int_t                    rc;
    ngx_http_corral_method_t    *m;
    ngx_http_corral_instance_t  *instance;

    weights = ngx_alloc(tier->n * sizeof(uint32_t), ngx_cycle->log);
    ids = ngx_alloc(tier->n * sizeof(uint64_t), ngx_cycle->log);

    rc = NGX_ERROR;

    if (weights && ids) {

        for (i = 0; i < tier->n; i++) {
            instance = &o->instances[tier->first + i];
            weights[i] = instance->weight;
            ids[i] = instance->key;
        }

        methods = ngx_http_corral_reg.methods;

        if (o->balance_method != CORRAL_METHOD_DEFAULT) {
            m = &ngx_http_corral_methods[o->balance_method - 1];
            methods = 1 << m->method;
        }

        if (o->affinity.len) {
            methods |= 1 << NGX_HTTP_CORRAL_HASH;
        }

        tier->balance = corral_balance_create(tier->n, weights, ids, methods,
                                              ngx_http_corral_registry_palloc,
                                              o->pool);
        if (tier->balance) {
            rc = NGX_OK;
        }
    }

    if (weights) {
        ngx_free(weights);
    }

    if (ids) {
        ngx_free(ids);
    }

    return rc;
}


static void
ngx_http_corral_registry_build_terms(ngx_http_corral_terms_t *terms,
    corral_service_t *doc)
{
    terms->connect_timeout = doc->connect_timeout;
    terms->handshake_timeout = doc->handshake_timeout;
    terms->idle_timeout = doc->idle_timeout;
    terms->ping_interval = doc->ping_interval;
    terms->ping_timeout = doc->ping_timeout;
    terms->close_timeout = doc->close_timeout;
    terms->early_end = doc->early_end;
    terms->max_lifetime = doc->max_lifetime;
    terms->max_message_size[0] = doc->max_message_size;
    terms->max_message_size[1] = doc->max_message_size_out;
    terms->byte_rate[0] = doc->byte_rate;
    terms->byte_rate[1] = doc->byte_rate_out;
    terms->message_rate = doc->message_rate;
    terms->message_burst = doc->message_burst;
    terms->message_delay = doc->message_rate_action
                           == CORRAL_RATE_ACTION_DELAY;
    terms->tries = doc->tries;
    terms->failover = doc->failover;
    terms->replay_started = doc->replay_started;
    terms->hold_time = doc->hold_time;
    terms->hold_size = doc->hold_size;
    terms->journal_size = doc->journal_size;
}


/* it was compiled before, when the document was put */

static ngx_int_t
ngx_http_corral_registry_build_answer(ngx_http_corral_service_t *o,
    corral_service_t *doc, ngx_pool_t *pool)
{
    char  err[CORRAL_DECODE_ERROR];

    if (doc->failover != CORRAL_FAILOVER_REPLAY) {
        return NGX_OK;
    }

    o->answer = ngx_palloc(pool, sizeof(corral_answer_rules_t));
    if (o->answer == NULL) {
        return NGX_ERROR;
    }

    return corral_answer_compile(o->answer, doc, err, sizeof(err)) == 0
           ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_corral_registry_build_eject(ngx_http_corral_eject_t *eject,
    corral_service_t *doc)
{
    eject->max_fails = doc->max_fails;
    eject->max_ejected = doc->max_ejected;
    eject->retry_budget = doc->retry_budget;
    eject->circuit_failures = doc->circuit_failures;
    eject->circuit_timeout = doc->circuit_timeout;
    eject->fail_timeout = doc->fail_timeout;
    eject->max_time = doc->eject_max_time;
    eject->interval = doc->eject_interval;
    eject->limits.min_requests = doc->eject_min_requests;
    eject->limits.failure_percent = doc->eject_failure_percent;
    eject->limits.deviation = doc->eject_deviation;
}


static ngx_int_t
ngx_http_corral_registry_build_string(ngx_pool_t *pool, ngx_str_t *dst,
    corral_str_t *src)
{
    dst->len = src->len;
    dst->data = ngx_pnalloc(pool, src->len + 1);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_cpystrn(dst->data, (u_char *) src->data, src->len + 1);

    return NGX_OK;
}
