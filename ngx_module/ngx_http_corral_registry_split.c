
/*
 * How rules divide requests among services, in numbers: for a canary or an A/B
 * test one wants to see what the weights have made of the traffic.
 *
 * Only rules that name several services are counted, and at most so many of
 * them: each target takes a slot of the zone.  Slots are taken when the rule is
 * put, never by a request.  Their key holds what decides about shares, so that
 * a change of weights begins to count anew and a change of the description
 * does not.
 *
 * Which service a rule leads to is ngx_http_corral_registry_targets.c's affair.
 */


#include "ngx_http_corral_registry_entries.h"


#define NGX_HTTP_CORRAL_SPLIT_RULES    256
#define NGX_HTTP_CORRAL_SPLIT_TARGETS  16


/* one service that a rule names */

typedef struct {
    corral_str_t            *name;          /* of the rule's document */
    ngx_uint_t               fallback;
    ngx_http_corral_slot_t   ref;
} ngx_http_corral_split_t;


static ngx_int_t ngx_http_corral_registry_split_add(
    ngx_http_corral_rule_t *rule, corral_str_t *name, uint64_t hash,
    ngx_uint_t fallback);
static uint64_t ngx_http_corral_registry_split_hash(corral_rule_t *doc);
static void ngx_http_corral_registry_split_walk(ngx_http_corral_rule_t *rule,
    ngx_http_corral_registry_split_pt cb, void *data);


ngx_int_t
ngx_http_corral_registry_split_init(ngx_http_corral_rule_t *rule)
{
    uint32_t                   i;
    uint64_t                   hash;
    corral_rule_t             *doc;
    ngx_http_corral_rentry_t  *e;

    e = rule->entry;
    doc = &rule->doc;

    if (doc->target_services.n < 2
        || doc->target_services.n > NGX_HTTP_CORRAL_SPLIT_TARGETS
        || (!e->is_counted
            && ngx_http_corral_reg.counted == NGX_HTTP_CORRAL_SPLIT_RULES))
    {
        return NGX_OK;
    }

    rule->splits = ngx_array_create(rule->pool, doc->target_services.n + 1,
                                    sizeof(ngx_http_corral_split_t));
    if (rule->splits == NULL) {
        return NGX_ERROR;
    }

    hash = ngx_http_corral_registry_split_hash(doc);

    for (i = 0; i < doc->target_services.n; i++) {
        if (ngx_http_corral_registry_split_add(rule,
                                               &doc->target_services.items[i],
                                               hash, 0)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (doc->fallback_service.len
        && ngx_http_corral_registry_split_add(rule, &doc->fallback_service,
                                              hash, 1)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!e->is_counted) {
        e->is_counted = 1;
        ngx_http_corral_reg.counted++;
    }

    return NGX_OK;
}


/* a service that is named twice is counted once */

static ngx_int_t
ngx_http_corral_registry_split_add(ngx_http_corral_rule_t *rule,
    corral_str_t *name, uint64_t hash, ngx_uint_t fallback)
{
    u_char                    buf[NGX_INT64_LEN + CORRAL_ID_MAX + 4];
    ngx_str_t                 key;
    ngx_uint_t                i;
    ngx_http_corral_split_t  *split;

    split = rule->splits->elts;

    for (i = 0; i < rule->splits->nelts; i++) {
        if (split[i].name->len == name->len
            && ngx_memcmp(split[i].name->data, name->data, name->len) == 0)
        {
            return NGX_OK;
        }
    }

    split = ngx_array_push(rule->splits);
    if (split == NULL) {
        return NGX_ERROR;
    }

    key.data = buf;
    key.len = ngx_snprintf(buf, sizeof(buf), "r:%016xL:%*s", hash, name->len,
                           name->data)
              - buf;

    split->name = name;
    split->fallback = fallback;
    split->ref = ngx_http_corral_table_slot(&key);

    return NGX_OK;
}


/* of the id and all that decides about shares: the same in each worker */

static uint64_t
ngx_http_corral_registry_split_hash(corral_rule_t *doc)
{
    uint32_t  i;
    uint64_t  parts[5];

    parts[0] = corral_balance_key(doc->rule_id.data, doc->rule_id.len);
    parts[1] = doc->target_strategy;
    parts[2] = corral_balance_key(doc->hash_key.data, doc->hash_key.len);
    parts[3] = doc->weight;
    parts[4] = 0;

    /* a sum: the order of the members does not matter */

    for (i = 0; i < doc->weights.n; i++) {
        parts[4] += corral_balance_key(doc->weights.items[i].name.data,
                                       doc->weights.items[i].name.len)
                    * (uint64_t) (doc->weights.items[i].weight + 1);
    }

    return corral_balance_key(parts, sizeof(parts));
}


void
ngx_http_corral_registry_split_count(ngx_http_corral_rule_t *rule,
    ngx_http_corral_service_t *service)
{
    ngx_uint_t                i;
    ngx_http_corral_split_t  *split;

    split = rule->splits->elts;

    for (i = 0; i < rule->splits->nelts; i++) {
        if (ngx_http_corral_registry_target_is(service, split[i].name)) {
            ngx_http_corral_table_local(split[i].ref)->requests++;
            return;
        }
    }
}


void
ngx_http_corral_registry_split_forget(ngx_http_corral_rentry_t *e)
{
    if (e->is_counted) {
        e->is_counted = 0;
        ngx_http_corral_reg.counted--;
    }
}


void
ngx_http_corral_registry_split_tick(void)
{
    ngx_uint_t                 i;
    ngx_queue_t               *q;
    ngx_http_corral_split_t   *split;
    ngx_http_corral_rentry_t  *e;

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_rules);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_rules);
         q = ngx_queue_next(q))
    {
        e = ngx_queue_data(q, ngx_http_corral_rentry_t, queue);

        if (e->rule == NULL || e->rule->splits == NULL) {
            continue;
        }

        split = e->rule->splits->elts;

        for (i = 0; i < e->rule->splits->nelts; i++) {
            ngx_http_corral_table_seen(split[i].ref);
        }
    }
}


void
ngx_http_corral_registry_walk_splits(ngx_http_corral_registry_split_pt cb,
    void *data)
{
    ngx_rbtree_node_t           *node;
    ngx_http_corral_rule_t      *rule;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->order.root == &reg->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(reg->order.root, &reg->sentinel);
         node;
         node = ngx_rbtree_next(&reg->order, node))
    {
        rule = ngx_rbtree_data(node, ngx_http_corral_rule_t, node);

        /* the tree holds rules of the update under way, too */

        if (rule->splits && rule == rule->entry->rule) {
            ngx_http_corral_registry_split_walk(rule, cb, data);
        }
    }
}


static void
ngx_http_corral_registry_split_walk(ngx_http_corral_rule_t *rule,
    ngx_http_corral_registry_split_pt cb, void *data)
{
    ngx_uint_t                        i;
    ngx_http_corral_split_t          *split;
    ngx_http_corral_service_t        *service;
    ngx_http_corral_slot_view_t       views[NGX_HTTP_CORRAL_SPLIT_TARGETS + 1];
    ngx_http_corral_registry_split_t  out;

    ngx_memzero(&out, sizeof(ngx_http_corral_registry_split_t));

    out.id = rule->entry->by_id.str;
    out.name = rule->name;
    out.strategy = rule->doc.target_strategy;
    out.enabled = rule->doc.enabled;

    split = rule->splits->elts;

    for (i = 0; i < rule->splits->nelts; i++) {
        if (!ngx_http_corral_table_view_ref(split[i].ref, &views[i])) {
            views[i].totals.requests = 0;
        }

        out.total += views[i].totals.requests;
    }

    for (i = 0; i < rule->splits->nelts; i++) {
        out.n = i;
        out.service.len = split[i].name->len;
        out.service.data = (u_char *) split[i].name->data;
        out.fallback = split[i].fallback;
        out.requests = views[i].totals.requests;

        service = ngx_http_corral_registry_find(&out.service);

        out.ready = service ? service->n : 0;
        out.weight = service && !out.fallback
                     ? ngx_http_corral_registry_target_weight(&rule->doc,
                                                              service)
                     : 0;

        if (service) {
            out.service = service->name;
        }

        cb(&out, data);
    }
}
