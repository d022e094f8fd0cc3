
/*
 * Which service a rule or a tag leads to: of those that it names, one that has
 * a ready instance.
 *
 * The sets are made when they are first asked for after a change of the
 * registry, from the services as they are then, and are dropped with the next
 * change: nobody has to remember which rule a service belongs to.  Tags are
 * looked up in a table of all of them, so that a tag of a stranger costs one
 * look-up.  Whether an instance is ready only changes with the registry; what
 * a gateway has ejected is the balancing of the service's affair.
 */


#include "ngx_http_corral_registry_entries.h"


typedef struct {
    ngx_str_node_t               node;      /* must be first */
    ngx_array_t                  services;  /* ngx_http_corral_sentry_t * */
    ngx_http_corral_set_t       *set;
} ngx_http_corral_tag_t;


static ngx_int_t ngx_http_corral_registry_targets_tags(void);
static ngx_int_t ngx_http_corral_registry_targets_tag(
    ngx_http_corral_sentry_t *s, corral_str_t *name);
static ngx_http_corral_tag_t *ngx_http_corral_registry_targets_find(
    ngx_str_t *name);
static ngx_http_corral_service_t *ngx_http_corral_registry_targets_choose(
    ngx_http_corral_rule_t *rule, uint64_t (*key)(void *data), void *data);
static ngx_int_t ngx_http_corral_registry_targets_collect(
    ngx_http_corral_rule_t *rule, ngx_array_t *list);
static ngx_int_t ngx_http_corral_registry_targets_named(
    ngx_http_corral_rule_t *rule, ngx_array_t *list);
static ngx_int_t ngx_http_corral_registry_targets_tagged(
    ngx_http_corral_rule_t *rule, ngx_array_t *list);
static ngx_int_t ngx_http_corral_registry_targets_push(ngx_array_t *list,
    ngx_http_corral_service_t *service);
static ngx_http_corral_set_t *ngx_http_corral_registry_targets_set(
    ngx_http_corral_service_t **services, ngx_uint_t n, corral_rule_t *rule);
static unsigned ngx_http_corral_registry_targets_methods(
    corral_rule_t *rule);
static uint32_t ngx_http_corral_registry_targets_load(void *data, uint32_t i);
static uint64_t ngx_http_corral_registry_targets_random(void);


/* NGX_OK: what was made of the registry as it was before is gone */

static ngx_int_t
ngx_http_corral_registry_targets_fresh(void)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->targets && reg->targets_swaps == reg->swaps) {
        return NGX_OK;
    }

    if (reg->targets) {
        ngx_destroy_pool(reg->targets);
    }

    reg->targets_swaps = reg->swaps;
    reg->tagged = 0;
    reg->targets = ngx_create_pool(4096, ngx_cycle->log);

    return reg->targets ? NGX_OK : NGX_ERROR;
}


/* the table of tags */

static ngx_int_t
ngx_http_corral_registry_targets_tags(void)
{
    uint32_t                     i;
    ngx_queue_t                 *q;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->tagged) {
        return NGX_OK;
    }

    ngx_rbtree_init(&reg->tags, &reg->sentinel, ngx_str_rbtree_insert_value);

    for (q = ngx_queue_head(&reg->all_services);
         q != ngx_queue_sentinel(&reg->all_services);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

        for (i = 0; s->object && i < s->doc->tags.n; i++) {
            if (ngx_http_corral_registry_targets_tag(s, &s->doc->tags.items[i])
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    reg->tagged = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_targets_tag(ngx_http_corral_sentry_t *s,
    corral_str_t *name)
{
    ngx_str_t                    key;
    ngx_http_corral_tag_t       *tag;
    ngx_http_corral_sentry_t   **p;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    key.len = name->len;
    key.data = (u_char *) name->data;

    tag = ngx_http_corral_registry_targets_find(&key);

    if (tag == NULL) {
        tag = ngx_pcalloc(reg->targets, sizeof(ngx_http_corral_tag_t));

        if (tag == NULL
            || ngx_array_init(&tag->services, reg->targets, 4,
                              sizeof(ngx_http_corral_sentry_t *))
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        tag->node.node.key = ngx_crc32_short(key.data, key.len);
        tag->node.str = key;
        ngx_rbtree_insert(&reg->tags, &tag->node.node);
    }

    p = ngx_array_push(&tag->services);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *p = s;

    return NGX_OK;
}


static ngx_http_corral_tag_t *
ngx_http_corral_registry_targets_find(ngx_str_t *name)
{
    return (ngx_http_corral_tag_t *)
               ngx_str_rbtree_lookup(&ngx_http_corral_reg.tags, name,
                                     ngx_crc32_short(name->data, name->len));
}


ngx_http_corral_service_t *
ngx_http_corral_registry_tagged(ngx_str_t *name)
{
    uint32_t                      i;
    ngx_array_t                   list;
    ngx_http_corral_tag_t        *tag;
    ngx_http_corral_sentry_t    **s;

    if (ngx_http_corral_registry_targets_fresh() != NGX_OK
        || ngx_http_corral_registry_targets_tags() != NGX_OK)
    {
        return NULL;
    }

    tag = ngx_http_corral_registry_targets_find(name);

    if (tag == NULL) {
        return NULL;
    }

    if (tag->set == NULL) {
        s = tag->services.elts;

        if (ngx_array_init(&list, ngx_http_corral_reg.targets,
                           tag->services.nelts,
                           sizeof(ngx_http_corral_service_t *))
            != NGX_OK)
        {
            return NULL;
        }

        for (i = 0; i < tag->services.nelts; i++) {
            if (ngx_http_corral_registry_targets_push(&list, s[i]->object)
                != NGX_OK)
            {
                return NULL;
            }
        }

        tag->set = ngx_http_corral_registry_targets_set(list.elts, list.nelts,
                                                        NULL);
    }

    if (tag->set == NULL || tag->set->n == 0) {
        return tag->set ? tag->set->any : NULL;
    }

    i = corral_balance_round_robin(tag->set->balance, &tag->set->view,
                                   &ngx_http_corral_reg.tag_cursor,
                                   ngx_http_corral_registry_targets_random());

    return tag->set->services[i];
}


ngx_http_corral_service_t *
ngx_http_corral_registry_target(ngx_http_corral_rule_t *rule,
    uint64_t (*key)(void *data), void *data)
{
    ngx_http_corral_service_t  *service;

    service = ngx_http_corral_registry_targets_choose(rule, key, data);

    if (service && rule->splits) {
        ngx_http_corral_registry_split_count(rule, service);
    }

    return service;
}


static ngx_http_corral_service_t *
ngx_http_corral_registry_targets_choose(ngx_http_corral_rule_t *rule,
    uint64_t (*key)(void *data), void *data)
{
    uint32_t                    i;
    ngx_str_t                   fallback;
    ngx_array_t                 list;
    ngx_http_corral_set_t      *set;
    ngx_http_corral_service_t  *service;

    if (ngx_http_corral_registry_targets_fresh() != NGX_OK) {
        return NULL;
    }

    if (rule->set == NULL
        || rule->set_swaps != ngx_http_corral_reg.targets_swaps)
    {
        rule->set = NULL;

        if (ngx_http_corral_registry_targets_collect(rule, &list) == NGX_OK) {
            rule->set_swaps = ngx_http_corral_reg.targets_swaps;
            rule->set = ngx_http_corral_registry_targets_set(list.elts,
                                                             list.nelts,
                                                             &rule->doc);
        }
    }

    set = rule->set;

    if (set == NULL) {
        return NULL;
    }

    if (set->n == 0) {
        fallback.len = rule->doc.fallback_service.len;
        fallback.data = (u_char *) rule->doc.fallback_service.data;

        service = ngx_http_corral_registry_find(&fallback);

        return service ? service : set->any;
    }

    switch (rule->doc.target_strategy) {

    case CORRAL_STRATEGY_MANUAL:
        return set->services[0];

    case CORRAL_STRATEGY_RANDOM:
        return set->services[ngx_http_corral_registry_targets_random()
                             % set->n];

    case CORRAL_STRATEGY_WEIGHTED_RANDOM:
        i = corral_balance_random(set->balance, &set->view,
                                  ngx_http_corral_registry_targets_random());
        break;

    case CORRAL_STRATEGY_LEAST_CONNECTIONS:
        i = corral_balance_least_conn(set->balance, &set->view,
                                   ngx_http_corral_registry_targets_random());
        break;

    case CORRAL_STRATEGY_HASH_BASED:
        i = corral_balance_hash(set->balance, &set->view, key(data));
        break;

    default: /* CORRAL_STRATEGY_ROUND_ROBIN, CORRAL_STRATEGY_TAG_BASED */
        i = corral_balance_round_robin(set->balance, &set->view, &rule->cursor,
                                   ngx_http_corral_registry_targets_random());
        break;
    }

    return set->services[i == CORRAL_BALANCE_NONE ? 0 : i];
}


ngx_http_corral_service_t *
ngx_http_corral_registry_forced(ngx_http_corral_rule_t *rule, ngx_str_t *name)
{
    uint32_t                    i;
    ngx_http_corral_service_t  *service;

    service = ngx_http_corral_registry_find(name);

    if (service == NULL || service->n == 0) {
        return NULL;
    }

    for (i = 0; i < rule->doc.target_services.n; i++) {
        if (ngx_http_corral_registry_target_is(service,
                                          &rule->doc.target_services.items[i]))
        {
            return service;
        }
    }

    return NULL;
}


/* the services that the rule names, those without ready instances, too */

static ngx_int_t
ngx_http_corral_registry_targets_collect(ngx_http_corral_rule_t *rule,
    ngx_array_t *list)
{
    ngx_queue_t               *q;
    ngx_http_corral_sentry_t  *s;

    if (ngx_array_init(list, ngx_http_corral_reg.targets, 8,
                       sizeof(ngx_http_corral_service_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (rule->doc.target_services.n) {
        return ngx_http_corral_registry_targets_named(rule, list);
    }

    if (rule->doc.target_tags.n) {
        return ngx_http_corral_registry_targets_tagged(rule, list);
    }

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_services);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_services);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

        if (ngx_http_corral_registry_targets_push(list, s->object) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_targets_named(ngx_http_corral_rule_t *rule,
    ngx_array_t *list)
{
    uint32_t                     i, k;
    ngx_str_t                    name;
    ngx_http_corral_service_t   *service, **seen;

    for (i = 0; i < rule->doc.target_services.n; i++) {
        name.len = rule->doc.target_services.items[i].len;
        name.data = (u_char *) rule->doc.target_services.items[i].data;

        service = ngx_http_corral_registry_find(&name);
        seen = list->elts;

        for (k = 0; k < list->nelts && seen[k] != service; k++) { /* void */ }

        if (k == list->nelts
            && ngx_http_corral_registry_targets_push(list, service) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_targets_tagged(ngx_http_corral_rule_t *rule,
    ngx_array_t *list)
{
    uint32_t                    i, k, n;
    ngx_str_t                   name;
    corral_strs_t              *tags, *have;
    ngx_http_corral_tag_t      *tag;
    ngx_http_corral_sentry_t  **s;

    if (ngx_http_corral_registry_targets_tags() != NGX_OK) {
        return NGX_ERROR;
    }

    tags = &rule->doc.target_tags;

    for (i = 0; i < tags->n; i++) {
        name.len = tags->items[i].len;
        name.data = (u_char *) tags->items[i].data;

        tag = ngx_http_corral_registry_targets_find(&name);
        s = tag ? tag->services.elts : NULL;

        for (k = 0; tag && k < tag->services.nelts; k++) {
            have = &s[k]->doc->tags;

            /* one with an earlier tag of the rule is there already */

            for (n = 0; n < i * have->n; n++) {
                if (ngx_strcmp(tags->items[n / have->n].data,
                               have->items[n % have->n].data)
                    == 0)
                {
                    break;
                }
            }

            if (n == i * have->n
                && ngx_http_corral_registry_targets_push(list, s[k]->object)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_targets_push(ngx_array_t *list,
    ngx_http_corral_service_t *service)
{
    ngx_http_corral_service_t  **p;

    if (service == NULL) {
        return NGX_OK;
    }

    p = ngx_array_push(list);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *p = service;

    return NGX_OK;
}


/*
 * Keeps the ready ones of the n services, in their order.  Shares are the
 * rule's; those of weight 0 count only if there is nothing else.
 */

static ngx_http_corral_set_t *
ngx_http_corral_registry_targets_set(ngx_http_corral_service_t **services,
    ngx_uint_t n, corral_rule_t *rule)
{
    uint32_t                *weights, weight, sum;
    uint64_t                *ids;
    ngx_uint_t               i, pass;
    ngx_pool_t              *pool;
    ngx_http_corral_set_t   *set;

    pool = ngx_http_corral_reg.targets;

    set = ngx_pcalloc(pool, sizeof(ngx_http_corral_set_t));
    weights = ngx_palloc(pool, n * sizeof(uint32_t) + 1);
    ids = ngx_palloc(pool, n * sizeof(uint64_t) + 1);

    if (set == NULL || weights == NULL || ids == NULL) {
        return NULL;
    }

    set->services = services;
    set->any = n ? services[0] : NULL;
    set->view.load = ngx_http_corral_registry_targets_load;
    set->view.data = set;

    sum = 0;

    for (i = 0; i < n; i++) {
        sum += services[i]->n
               ? ngx_http_corral_registry_target_weight(rule, services[i])
               : 0;
    }

    for (i = 0, pass = 0; i < n; i++) {
        weight = sum ? ngx_http_corral_registry_target_weight(rule,
                                                               services[i])
                     : 1;

        if (services[i]->n == 0 || weight == 0) {
            continue;
        }

        services[pass] = services[i];
        weights[pass] = weight;
        ids[pass] = corral_balance_key(services[i]->id.data,
                                       services[i]->id.len);
        pass++;
    }

    set->n = pass;

    if (pass) {
        set->balance = corral_balance_create(set->n, weights, ids,
                              ngx_http_corral_registry_targets_methods(rule),
                              ngx_http_corral_registry_palloc, pool);
        if (set->balance == NULL) {
            return NULL;
        }
    }

    return set;
}


/* what the strategy needs: a ring of all services costs more than a request */

static unsigned
ngx_http_corral_registry_targets_methods(corral_rule_t *rule)
{
    switch (rule ? rule->target_strategy : CORRAL_STRATEGY_ROUND_ROBIN) {

    case CORRAL_STRATEGY_LEAST_CONNECTIONS:
        return CORRAL_BALANCE_LEAST_CONN;

    case CORRAL_STRATEGY_HASH_BASED:
        return CORRAL_BALANCE_HASH;

    case CORRAL_STRATEGY_WEIGHTED_RANDOM:
        return CORRAL_BALANCE_RANDOM;

    default:
        return CORRAL_BALANCE_ROUND_ROBIN;
    }
}


uint32_t
ngx_http_corral_registry_target_weight(corral_rule_t *rule,
    ngx_http_corral_service_t *service)
{
    uint32_t  i;

    if (rule == NULL) {
        return 1;
    }

    for (i = 0; i < rule->weights.n; i++) {
        if (ngx_http_corral_registry_target_is(service,
                                               &rule->weights.items[i].name))
        {
            return (uint32_t) rule->weights.items[i].weight;
        }
    }

    return (uint32_t) rule->weight;
}


/* does a rule mean the service by this name? */

ngx_uint_t
ngx_http_corral_registry_target_is(ngx_http_corral_service_t *service,
    corral_str_t *name)
{
    return (name->len == service->name.len
            && ngx_memcmp(name->data, service->name.data, name->len) == 0)
           || (name->len == service->id.len
               && ngx_memcmp(name->data, service->id.data, name->len) == 0);
}


/* connections of a service, of all its instances */

static uint32_t
ngx_http_corral_registry_targets_load(void *data, uint32_t i)
{
    ngx_http_corral_set_t *set = data;

    return ngx_http_corral_table_load(set->services[i]->terms.ref);
}


static uint64_t
ngx_http_corral_registry_targets_random(void)
{
    return (uint64_t) ngx_random() << 32 ^ (uint64_t) ngx_random();
}
