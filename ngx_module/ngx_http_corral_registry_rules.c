
/*
 * The rules of the registry: their documents, compiled one by one as they are
 * put, in the order in which they are asked; and the index over all of them,
 * which the commit builds aside in slices and swaps in with everything else.
 * A change of one rule compiles that rule and builds the index, nothing more.
 *
 * During an update the tree of the order holds rules of both sides; an entry
 * says which of its two is in force.  Which service a rule leads to is
 * ngx_http_corral_registry_targets.c's affair.
 */


#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_registry_entries.h"


#define NGX_HTTP_CORRAL_REGISTRY_RULES_STEP  64     /* between two looks */


static ngx_http_corral_rentry_t *ngx_http_corral_registry_rules_entry(
    ngx_str_t *id, ngx_uint_t create);
static void ngx_http_corral_registry_rules_mark(ngx_http_corral_rentry_t *e);
static void ngx_http_corral_registry_rules_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_uint_t ngx_http_corral_registry_rules_wanted(
    ngx_http_corral_rule_t *rule);
static void ngx_http_corral_registry_rules_drop(ngx_http_corral_rule_t *rule);
static void ngx_http_corral_registry_rules_forget(ngx_http_corral_rentry_t *e);


ngx_int_t
ngx_http_corral_registry_rules_init(ngx_cycle_t *cycle)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    ngx_rbtree_init(&reg->rules, &reg->sentinel, ngx_str_rbtree_insert_value);
    ngx_rbtree_init(&reg->order, &reg->sentinel,
                    ngx_http_corral_registry_rules_insert);

    ngx_queue_init(&reg->all_rules);
    ngx_queue_init(&reg->changed_rules);

    reg->scratch = corral_match_scratch_create(ngx_http_corral_registry_palloc,
                                               cycle->pool);

    return reg->scratch ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_corral_registry_rules_put(ngx_str_t *json, ngx_uint_t line)
{
    uint64_t                   hash;
    ngx_str_t                  id, key;
    ngx_pool_t                *pool;
    ngx_http_corral_rule_t    *rule;
    ngx_http_corral_rentry_t  *e;
    char                       err[CORRAL_DECODE_ERROR];
    char                       reason[CORRAL_DECODE_ERROR + 128];

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    rule = ngx_pcalloc(pool, sizeof(ngx_http_corral_rule_t));
    if (rule == NULL) {
        goto failed;
    }

    if (corral_decode_rule((char *) json->data, json->len, &rule->doc,
                           ngx_http_corral_registry_palloc, pool, err,
                           sizeof(err))
        != 0)
    {
        ngx_destroy_pool(pool);
        return ngx_http_corral_registry_refuse(line, err);
    }

    id.len = rule->doc.rule_id.len;
    id.data = (u_char *) rule->doc.rule_id.data;

    hash = corral_balance_key(json->data, json->len);

    e = ngx_http_corral_registry_rules_entry(&id, 1);
    if (e == NULL) {
        goto failed;
    }

    e->put = 1;
    e->del = 0;

    if (e->next) {
        ngx_http_corral_registry_rules_drop(e->next);
        e->next = NULL;
    }

    if (e->rule && e->rule->hash == hash) {
        ngx_destroy_pool(pool);
        return NGX_OK;                      /* nothing new */
    }

    key.len = rule->doc.hash_key.len;
    key.data = (u_char *) rule->doc.hash_key.data;

    ngx_snprintf((u_char *) err, sizeof(err), "\"hash_key\" is \"%V\", it must "
                 "be client_ip, session, subject, claim.NAME, header.NAME, "
                 "query.NAME or cookie.NAME, or several with blanks between%Z",
                 &key);

    if (ngx_http_corral_registry_hash_key(&key)) {
        rule->match = corral_match_compile(&rule->doc,
                                           ngx_http_corral_registry_palloc,
                                           pool, err, sizeof(err));
    }

    if (rule->match == NULL) {
        ngx_snprintf((u_char *) reason, sizeof(reason), "rule \"%s\": %s%Z",
                     rule->doc.rule_id.data, err);
        ngx_destroy_pool(pool);
        ngx_http_corral_registry_rules_mark(e);
        return ngx_http_corral_registry_refuse(line, reason);
    }

    rule->pool = pool;
    rule->entry = e;
    rule->hash = hash;
    rule->cursor = (uint32_t) ngx_random();
    rule->name.len = rule->doc.name.len;
    rule->name.data = (u_char *) rule->doc.name.data;
    rule->hash_key = key;
    rule->force_by.len = rule->doc.force_by.len;
    rule->force_by.data = (u_char *) rule->doc.force_by.data;

    if (ngx_http_corral_registry_split_init(rule) != NGX_OK) {
        ngx_http_corral_registry_rules_mark(e);
        goto failed;
    }

    rule->node.key = (ngx_rbtree_key_t) (rule->doc.priority + INT32_MAX);
    ngx_rbtree_insert(&ngx_http_corral_reg.order, &rule->node);

    e->next = rule;

    ngx_http_corral_registry_rules_mark(e);

    return NGX_OK;

failed:

    ngx_destroy_pool(pool);

    return NGX_ERROR;
}


void
ngx_http_corral_registry_rules_del(ngx_str_t *id)
{
    ngx_http_corral_rentry_t  *e;

    e = ngx_http_corral_registry_rules_entry(id, 0);

    if (e) {
        e->del = 1;
        ngx_http_corral_registry_rules_mark(e);
    }
}


/* before a full load: nothing was put */

void
ngx_http_corral_registry_rules_unsee(void)
{
    ngx_queue_t               *q;
    ngx_http_corral_rentry_t  *e;

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_rules);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_rules);
         q = ngx_queue_next(q))
    {
        e = ngx_queue_data(q, ngx_http_corral_rentry_t, queue);
        e->put = 0;
    }
}


/* what a full load did not bring goes */

void
ngx_http_corral_registry_rules_drop_unseen(void)
{
    ngx_queue_t               *q;
    ngx_http_corral_rentry_t  *e;

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_rules);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_rules);
         q = ngx_queue_next(q))
    {
        e = ngx_queue_data(q, ngx_http_corral_rentry_t, queue);

        if (!e->put) {
            e->del = 1;
            ngx_http_corral_registry_rules_mark(e);
        }
    }
}


static ngx_http_corral_rentry_t *
ngx_http_corral_registry_rules_entry(ngx_str_t *id, ngx_uint_t create)
{
    uint32_t                   hash;
    ngx_http_corral_rentry_t  *e;

    hash = ngx_crc32_short(id->data, id->len);

    e = (ngx_http_corral_rentry_t *)
            ngx_str_rbtree_lookup(&ngx_http_corral_reg.rules, id, hash);

    if (e || !create || id->len > CORRAL_ID_MAX) {
        return e;
    }

    e = ngx_calloc(sizeof(ngx_http_corral_rentry_t), ngx_cycle->log);
    if (e == NULL) {
        return NULL;
    }

    ngx_memcpy(e->id, id->data, id->len);

    e->by_id.node.key = hash;
    e->by_id.str.len = id->len;
    e->by_id.str.data = e->id;

    ngx_queue_insert_tail(&ngx_http_corral_reg.all_rules, &e->queue);
    ngx_rbtree_insert(&ngx_http_corral_reg.rules, &e->by_id.node);

    return e;
}


static void
ngx_http_corral_registry_rules_mark(ngx_http_corral_rentry_t *e)
{
    if (!e->is_changed) {
        e->is_changed = 1;
        ngx_queue_insert_tail(&ngx_http_corral_reg.changed_rules, &e->changed);
    }
}


static void
ngx_http_corral_registry_rules_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    int                       rc;
    ngx_rbtree_node_t       **p;
    ngx_http_corral_rule_t   *a, *b;

    a = ngx_rbtree_data(node, ngx_http_corral_rule_t, node);

    for ( ;; ) {
        b = ngx_rbtree_data(temp, ngx_http_corral_rule_t, node);

        rc = corral_match_order(a->doc.priority, &a->doc.name,
                                b->doc.priority, &b->doc.name);

        /* equal names are an error of the writer: all workers agree on one */

        if (rc == 0) {
            rc = corral_match_order(0, &a->doc.rule_id, 0, &b->doc.rule_id);
        }

        p = rc < 0 ? &temp->left : &temp->right;

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;

    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


/* will the rule be in force after the update? */

static ngx_uint_t
ngx_http_corral_registry_rules_wanted(ngx_http_corral_rule_t *rule)
{
    ngx_http_corral_rentry_t  *e;

    e = rule->entry;

    return !e->del && rule->doc.enabled
           && rule == (e->next ? e->next : e->rule);
}


/*
 * Builds the index of the rules after the update, as far as the budget (in
 * microseconds, from start) goes: NGX_AGAIN, NGX_OK or NGX_ERROR.
 */

ngx_int_t
ngx_http_corral_registry_rules_build(uint64_t start, uint64_t budget)
{
    ngx_uint_t                   n;
    ngx_http_corral_rule_t      *rule;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (ngx_queue_empty(&reg->changed_rules)) {
        return NGX_OK;
    }

    if (reg->next_pool == NULL) {
        reg->next_pool = ngx_create_pool(16384, ngx_cycle->log);
        if (reg->next_pool == NULL) {
            return NGX_ERROR;
        }

        reg->next_index = corral_match_index_create(reg->info.rules + 64,
                                               ngx_http_corral_registry_palloc,
                                               reg->next_pool);
        if (reg->next_index == NULL) {
            return NGX_ERROR;
        }

        reg->position = reg->order.root == &reg->sentinel
                        ? NULL
                        : ngx_rbtree_min(reg->order.root, &reg->sentinel);
    }

    for (n = 1; reg->position; n++) {
        rule = ngx_rbtree_data(reg->position, ngx_http_corral_rule_t, node);

        if (ngx_http_corral_registry_rules_wanted(rule)
            && corral_match_index_add(reg->next_index, rule->match, rule) != 0)
        {
            return NGX_ERROR;
        }

        reg->position = ngx_rbtree_next(&reg->order, reg->position);

        if (n % NGX_HTTP_CORRAL_REGISTRY_RULES_STEP == 0
            && ngx_http_corral_clock() - start >= budget)
        {
            return NGX_AGAIN;
        }
    }

    return NGX_OK;
}


/* Nothing here can fail: from now on requests are asked by the new index. */

void
ngx_http_corral_registry_rules_swap(void)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->next_pool) {

        if (reg->index_pool) {
            ngx_destroy_pool(reg->index_pool);
        }

        reg->index = reg->next_index;
        reg->index_pool = reg->next_pool;
        reg->next_index = NULL;
        reg->next_pool = NULL;
    }
}


/*
 * After the swap: entries take their new rules and free the old ones, which
 * nobody asks any more, as far as the budget goes.  NGX_AGAIN or NGX_OK.
 */

ngx_int_t
ngx_http_corral_registry_rules_settle(uint64_t start, uint64_t budget)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *q;
    ngx_http_corral_rentry_t    *e;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    for (n = 1; !ngx_queue_empty(&reg->changed_rules); n++) {
        q = ngx_queue_head(&reg->changed_rules);
        e = ngx_queue_data(q, ngx_http_corral_rentry_t, changed);

        ngx_queue_remove(q);
        e->is_changed = 0;

        if (e->rule && (e->next || e->del)) {
            ngx_http_corral_registry_rules_drop(e->rule);
            e->rule = NULL;
            reg->info.rules--;
        }

        if (e->next && e->del) {
            ngx_http_corral_registry_rules_drop(e->next);

        } else if (e->next) {
            e->rule = e->next;
            reg->info.rules++;
        }

        e->next = NULL;
        e->del = 0;

        if (e->rule && e->rule->splits == NULL) {
            ngx_http_corral_registry_split_forget(e);
        }

        ngx_http_corral_registry_rules_forget(e);

        if (n % NGX_HTTP_CORRAL_REGISTRY_RULES_STEP == 0
            && ngx_http_corral_clock() - start >= budget)
        {
            return NGX_AGAIN;
        }
    }

    return NGX_OK;
}


void
ngx_http_corral_registry_rules_abort(void)
{
    ngx_queue_t                 *q, *next;
    ngx_http_corral_rentry_t    *e;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->next_pool) {
        ngx_destroy_pool(reg->next_pool);
        reg->next_pool = NULL;
        reg->next_index = NULL;
    }

    for (q = ngx_queue_head(&reg->changed_rules);
         q != ngx_queue_sentinel(&reg->changed_rules);
         q = next)
    {
        next = ngx_queue_next(q);
        e = ngx_queue_data(q, ngx_http_corral_rentry_t, changed);

        e->is_changed = 0;
        e->del = 0;

        if (e->next) {
            ngx_http_corral_registry_rules_drop(e->next);
            e->next = NULL;
        }

        ngx_http_corral_registry_rules_forget(e);
    }

    ngx_queue_init(&reg->changed_rules);
}


static void
ngx_http_corral_registry_rules_drop(ngx_http_corral_rule_t *rule)
{
    ngx_rbtree_delete(&ngx_http_corral_reg.order, &rule->node);
    ngx_destroy_pool(rule->pool);
}


/* an entry without a rule goes */

static void
ngx_http_corral_registry_rules_forget(ngx_http_corral_rentry_t *e)
{
    if (e->rule == NULL) {
        ngx_http_corral_registry_split_forget(e);
        ngx_rbtree_delete(&ngx_http_corral_reg.rules, &e->by_id.node);
        ngx_queue_remove(&e->queue);
        ngx_free(e);
    }
}


ngx_str_t *
ngx_http_corral_registry_rule_name(ngx_http_corral_rule_t *rule)
{
    return &rule->name;
}


ngx_str_t *
ngx_http_corral_registry_rule_hash_key(ngx_http_corral_rule_t *rule)
{
    return &rule->hash_key;
}


ngx_str_t *
ngx_http_corral_registry_rule_force_by(ngx_http_corral_rule_t *rule)
{
    return &rule->force_by;
}


ngx_http_corral_rule_t *
ngx_http_corral_registry_match(corral_match_view_t *view)
{
    const corral_str_t          *limited;
    ngx_http_corral_rule_t      *rule;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->index == NULL) {
        return NULL;
    }

    view->scratch = reg->scratch;

    rule = corral_match_index_find(reg->index, view);

    limited = corral_match_limited(reg->scratch);

    if (limited) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral rules: a pattern of rule \"%s\" hit the limit of "
                      "%d steps on a request: it counts as no match",
                      limited->data, CORRAL_MATCH_LIMIT);
    }

    return rule;
}
