
/*
 * The registry of one worker: the documents as they were last put, and for
 * each service an immutable object to pick from.  An update is put aside; its
 * commit has the objects of the services that it touches built, in slices, and
 * then swaps them in at once.  Process memory only: counters live in the
 * table, and no count of references crosses an event.
 *
 * It knows neither Redis nor files: sync and load feed it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_registry_entries.h"


#define NGX_HTTP_CORRAL_SEEN_TICKS  20      /* of half a second */


static void ngx_http_corral_registry_unsee(void);
static void ngx_http_corral_registry_drop_unseen(void);
static void ngx_http_corral_registry_swap(void);
static ngx_int_t ngx_http_corral_registry_settle(uint64_t start,
    uint64_t budget);
static void ngx_http_corral_registry_swap_instance(
    ngx_http_corral_ientry_t *i);
static void ngx_http_corral_registry_swap_service(
    ngx_http_corral_sentry_t *s);
static void ngx_http_corral_registry_introduce(
    ngx_http_corral_service_t *o);
static void ngx_http_corral_registry_rename(ngx_http_corral_sentry_t *s);


ngx_http_corral_registry_t  ngx_http_corral_reg;


ngx_int_t
ngx_http_corral_registry_init(ngx_cycle_t *cycle, ngx_uint_t methods)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    ngx_memzero(reg, sizeof(ngx_http_corral_registry_t));

    ngx_rbtree_init(&reg->services, &reg->sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_rbtree_init(&reg->names, &reg->sentinel, ngx_str_rbtree_insert_value);
    ngx_rbtree_init(&reg->instances, &reg->sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&reg->all_services);
    ngx_queue_init(&reg->all_instances);
    ngx_queue_init(&reg->dirty);
    ngx_queue_init(&reg->changed);

    /* the wait step picks by round robin when it knows no block */

    reg->methods = methods | CORRAL_BALANCE_ROUND_ROBIN;

    return ngx_http_corral_registry_rules_init(cycle);
}


ngx_http_corral_registry_info_t *
ngx_http_corral_registry_info(void)
{
    return &ngx_http_corral_reg.info;
}


void
ngx_http_corral_registry_tick(void)
{
    ngx_queue_t               *q;
    ngx_http_corral_ientry_t  *i;
    ngx_http_corral_sentry_t  *s;

    if (++ngx_http_corral_reg.ticks % NGX_HTTP_CORRAL_SEEN_TICKS) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_instances);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, queue);

        if (i->doc) {
            ngx_http_corral_table_seen(i->doc->ref);
        }
    }

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_services);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_services);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

        if (s->object) {
            ngx_http_corral_table_seen(s->object->terms.ref);
        }
    }

    ngx_http_corral_registry_split_tick();
}


ngx_http_corral_service_t *
ngx_http_corral_registry_find(ngx_str_t *name)
{
    uint32_t                     hash;
    ngx_str_node_t              *node;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (name->len == 0 || reg->names.root == NULL) {
        return NULL;
    }

    /* the steps of one request ask for the same one in turn */

    if (reg->found && name->len == reg->found_len
        && ngx_memcmp(name->data, reg->found_name, name->len) == 0)
    {
        return reg->found;
    }

    hash = ngx_crc32_short(name->data, name->len);

    node = ngx_str_rbtree_lookup(&reg->names, name, hash);

    if (node) {
        s = (ngx_http_corral_sentry_t *)
                ((u_char *) node
                 - offsetof(ngx_http_corral_sentry_t, by_name));

    } else {
        s = (ngx_http_corral_sentry_t *)
                ngx_str_rbtree_lookup(&reg->services, name, hash);
    }

    if (s == NULL || s->object == NULL) {
        return NULL;
    }

    if (name->len <= sizeof(reg->found_name)) {
        ngx_memcpy(reg->found_name, name->data, name->len);
        reg->found_len = name->len;
        reg->found = s->object;
    }

    return s->object;
}


void
ngx_http_corral_registry_walk(ngx_http_corral_registry_walk_pt cb, void *data)
{
    ngx_queue_t               *q;
    ngx_http_corral_sentry_t  *s;

    for (q = ngx_queue_head(&ngx_http_corral_reg.all_services);
         q != ngx_queue_sentinel(&ngx_http_corral_reg.all_services);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

        if (s->object) {
            cb(s->object, data);
        }
    }
}


void
ngx_http_corral_registry_walk_instances(ngx_http_corral_service_t *service,
    ngx_http_corral_registry_instance_pt cb, void *data)
{
    ngx_queue_t                           *q;
    ngx_http_corral_ientry_t              *i;
    ngx_http_corral_sentry_t              *s;
    ngx_http_corral_registry_instance_t    view;

    s = ngx_http_corral_registry_service(&service->id, 0);

    if (s == NULL) {
        return;
    }

    for (q = ngx_queue_head(&s->instances);
         q != ngx_queue_sentinel(&s->instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, link);

        if (i->doc == NULL) {
            continue;
        }

        view.id = i->by_id.str;
        view.address.len = i->doc->doc.address.len;
        view.address.data = (u_char *) i->doc->doc.address.data;
        view.incarnation = i->doc->doc.incarnation;
        view.weight = i->doc->doc.weight;
        view.priority = i->doc->doc.priority;
        view.state = i->doc->doc.state;
        view.health = i->doc->doc.health;
        view.ref = i->doc->ref;

        cb(&view, data);
    }
}


ngx_int_t
ngx_http_corral_registry_begin(ngx_uint_t full, ngx_log_t *log)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->updating) {
        ngx_http_corral_registry_abort();
    }

    reg->tmp = ngx_create_pool(4096, log);
    if (reg->tmp == NULL) {
        return NGX_ERROR;
    }

    reg->updating = 1;
    reg->full = full;
    reg->closed = 0;
    reg->log = log;

    if (full) {
        ngx_http_corral_registry_unsee();
    }

    return NGX_OK;
}


/* before a full load: nothing was put */

static void
ngx_http_corral_registry_unsee(void)
{
    ngx_queue_t                 *q;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_ientry_t    *i;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    for (q = ngx_queue_head(&reg->all_instances);
         q != ngx_queue_sentinel(&reg->all_instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, queue);
        i->put = 0;
    }

    for (q = ngx_queue_head(&reg->all_services);
         q != ngx_queue_sentinel(&reg->all_services);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);
        s->put = 0;
    }

    ngx_http_corral_registry_rules_unsee();
}


ngx_int_t
ngx_http_corral_registry_attach(ngx_http_corral_ientry_t *i,
    corral_str_t *service_id)
{
    ngx_str_t                  id;
    ngx_http_corral_sentry_t  *s;

    id.len = service_id->len;
    id.data = (u_char *) service_id->data;

    s = ngx_http_corral_registry_service(&id, 1);
    if (s == NULL) {
        return NGX_ERROR;
    }

    if (i->service == s) {
        return NGX_OK;
    }

    if (i->service) {
        ngx_http_corral_registry_mark(i->service);
        ngx_queue_remove(&i->link);
    }

    i->service = s;
    ngx_queue_insert_tail(&s->instances, &i->link);

    return NGX_OK;
}


void *
ngx_http_corral_registry_palloc(void *data, size_t size)
{
    return ngx_palloc(data, size);
}


ngx_http_corral_sentry_t *
ngx_http_corral_registry_service(ngx_str_t *id, ngx_uint_t create)
{
    uint32_t                   hash;
    ngx_http_corral_sentry_t  *s;

    hash = ngx_crc32_short(id->data, id->len);

    s = (ngx_http_corral_sentry_t *)
            ngx_str_rbtree_lookup(&ngx_http_corral_reg.services, id, hash);

    if (s || !create || id->len > CORRAL_ID_MAX) {
        return s;
    }

    s = ngx_calloc(sizeof(ngx_http_corral_sentry_t), ngx_cycle->log);
    if (s == NULL) {
        return NULL;
    }

    ngx_memcpy(s->id, id->data, id->len);

    s->by_id.node.key = hash;
    s->by_id.str.len = id->len;
    s->by_id.str.data = s->id;

    ngx_queue_init(&s->instances);
    ngx_queue_insert_tail(&ngx_http_corral_reg.all_services, &s->queue);
    ngx_rbtree_insert(&ngx_http_corral_reg.services, &s->by_id.node);

    ngx_http_corral_registry_mark(s);

    return s;
}


ngx_http_corral_ientry_t *
ngx_http_corral_registry_instance(ngx_str_t *id, ngx_uint_t create)
{
    uint32_t                   hash;
    ngx_http_corral_ientry_t  *i;

    hash = ngx_crc32_short(id->data, id->len);

    i = (ngx_http_corral_ientry_t *)
            ngx_str_rbtree_lookup(&ngx_http_corral_reg.instances, id, hash);

    if (i || !create || id->len > CORRAL_ID_MAX) {
        return i;
    }

    i = ngx_calloc(sizeof(ngx_http_corral_ientry_t), ngx_cycle->log);
    if (i == NULL) {
        return NULL;
    }

    ngx_memcpy(i->id, id->data, id->len);

    i->by_id.node.key = hash;
    i->by_id.str.len = id->len;
    i->by_id.str.data = i->id;

    ngx_queue_insert_tail(&ngx_http_corral_reg.all_instances, &i->queue);
    ngx_rbtree_insert(&ngx_http_corral_reg.instances, &i->by_id.node);

    return i;
}


void
ngx_http_corral_registry_mark(ngx_http_corral_sentry_t *s)
{
    if (!s->is_dirty) {
        s->is_dirty = 1;
        s->built = 0;
        ngx_queue_insert_tail(&ngx_http_corral_reg.dirty, &s->dirty);
    }
}


void
ngx_http_corral_registry_mark_instance(ngx_http_corral_ientry_t *i)
{
    if (!i->is_changed) {
        i->is_changed = 1;
        ngx_queue_insert_tail(&ngx_http_corral_reg.changed, &i->changed);
    }

    if (i->service) {
        ngx_http_corral_registry_mark(i->service);
    }
}


void
ngx_http_corral_registry_del(ngx_http_corral_kind_e kind, ngx_str_t *id)
{
    ngx_http_corral_sentry_t  *s;
    ngx_http_corral_ientry_t  *i;

    if (kind == NGX_HTTP_CORRAL_SERVICE) {
        s = ngx_http_corral_registry_service(id, 0);

        if (s) {
            s->del = 1;
            ngx_http_corral_registry_mark(s);
        }

        return;
    }

    if (kind == NGX_HTTP_CORRAL_RULE) {
        ngx_http_corral_registry_rules_del(id);
        return;
    }

    i = ngx_http_corral_registry_instance(id, 0);

    if (i) {
        i->del = 1;
        ngx_http_corral_registry_mark_instance(i);
    }
}


ngx_int_t
ngx_http_corral_registry_commit(ngx_str_t *epoch, uint64_t revision,
    ngx_msec_t budget)
{
    uint64_t                     start;
    ngx_int_t                    rc;
    ngx_queue_t                 *q;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;
    start = ngx_http_corral_registry_usec();

    if (reg->settling) {
        return ngx_http_corral_registry_settle(start,
                                               (uint64_t) budget * 1000);
    }

    if (!reg->closed) {
        reg->closed = 1;

        if (reg->full) {
            ngx_http_corral_registry_drop_unseen();
        }
    }

    for (q = ngx_queue_head(&reg->dirty);
         q != ngx_queue_sentinel(&reg->dirty);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, dirty);

        if (s->built) {
            continue;
        }

        if (ngx_http_corral_registry_build(s) != NGX_OK) {
            ngx_http_corral_registry_abort();
            return NGX_ERROR;
        }

        s->built = 1;

        if (ngx_http_corral_registry_usec() - start
            >= (uint64_t) budget * 1000)
        {
            return NGX_AGAIN;
        }
    }

    rc = ngx_http_corral_registry_rules_build(start, (uint64_t) budget * 1000);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc != NGX_OK) {
        ngx_http_corral_registry_abort();
        return NGX_ERROR;
    }

    ngx_http_corral_registry_swap();

    ngx_cpystrn(reg->info.epoch, epoch->data, ngx_min(epoch->len, 64) + 1);
    reg->info.revision = revision;
    reg->info.changed = ngx_current_msec;

    if (reg->swapped) {
        reg->swapped();
    }

    return ngx_http_corral_registry_settle(start, (uint64_t) budget * 1000);
}


/* what is left to do behind the swap */

static ngx_int_t
ngx_http_corral_registry_settle(uint64_t start, uint64_t budget)
{
    if (ngx_http_corral_registry_rules_settle(start, budget) == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ngx_http_corral_reg.settling = 0;
    ngx_http_corral_reg.updating = 0;

    return NGX_OK;
}


void
ngx_http_corral_registry_on_swap(void (*handler)(void))
{
    ngx_http_corral_reg.swapped = handler;
}


/* what a full load did not bring goes */

static void
ngx_http_corral_registry_drop_unseen(void)
{
    ngx_queue_t                 *q;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_ientry_t    *i;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    for (q = ngx_queue_head(&reg->all_instances);
         q != ngx_queue_sentinel(&reg->all_instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, queue);

        if (!i->put) {
            i->del = 1;
            ngx_http_corral_registry_mark_instance(i);
        }
    }

    for (q = ngx_queue_head(&reg->all_services);
         q != ngx_queue_sentinel(&reg->all_services);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

        if (!s->put) {
            s->del = 1;
            ngx_http_corral_registry_mark(s);
        }
    }

    ngx_http_corral_registry_rules_drop_unseen();
}


/* nothing here can fail: from now on requests see the new generation */

static void
ngx_http_corral_registry_swap(void)
{
    ngx_queue_t                 *q, *next;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    reg->found = NULL;

    /* services first: their old objects point into documents of instances */

    for (q = ngx_queue_head(&reg->dirty);
         q != ngx_queue_sentinel(&reg->dirty);
         q = ngx_queue_next(q))
    {
        ngx_http_corral_registry_swap_service(
            ngx_queue_data(q, ngx_http_corral_sentry_t, dirty));
    }

    for (q = ngx_queue_head(&reg->changed);
         q != ngx_queue_sentinel(&reg->changed);
         q = next)
    {
        next = ngx_queue_next(q);

        ngx_http_corral_registry_swap_instance(
            ngx_queue_data(q, ngx_http_corral_ientry_t, changed));
    }

    ngx_queue_init(&reg->changed);

    /* a name may have gone from one service to another: all are free now */

    for (q = ngx_queue_head(&reg->dirty);
         q != ngx_queue_sentinel(&reg->dirty);
         q = next)
    {
        next = ngx_queue_next(q);

        ngx_http_corral_registry_rename(
            ngx_queue_data(q, ngx_http_corral_sentry_t, dirty));
    }

    ngx_queue_init(&reg->dirty);

    ngx_http_corral_registry_rules_swap();

    ngx_destroy_pool(reg->tmp);
    reg->tmp = NULL;

    reg->settling = 1;
    reg->swaps++;
}


static void
ngx_http_corral_registry_swap_service(ngx_http_corral_sentry_t *s)
{
    if (s->named) {
        ngx_rbtree_delete(&ngx_http_corral_reg.names, &s->by_name.node);
        s->named = 0;
    }

    if (s->object) {
        ngx_destroy_pool(s->object->pool);
        ngx_http_corral_reg.info.services--;
    }

    s->object = s->next_object;
    s->next_object = NULL;

    if (s->object) {
        ngx_http_corral_reg.info.services++;
        ngx_http_corral_registry_introduce(s->object);
    }

    if (s->next_doc || s->del) {

        if (s->pool) {
            ngx_destroy_pool(s->pool);
        }

        s->doc = NULL;
        s->pool = NULL;
    }

    if (s->next_doc && s->del) {
        ngx_destroy_pool(s->next_pool);

    } else if (s->next_doc) {
        s->doc = s->next_doc;
        s->pool = s->next_pool;
        s->hash = s->next_hash;
    }

    s->next_doc = NULL;
    s->next_pool = NULL;
    s->del = 0;
}


/* what is there with the first registry of a worker is not new */

static void
ngx_http_corral_registry_introduce(ngx_http_corral_service_t *o)
{
    uint32_t    i;
    ngx_uint_t  settled;

    settled = ngx_http_corral_reg.info.epoch[0] == '\0';

    for (i = 0; i < o->n; i++) {
        ngx_http_corral_table_introduce(o->instances[i].ref, settled);
    }
}


static void
ngx_http_corral_registry_swap_instance(ngx_http_corral_ientry_t *i)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    i->is_changed = 0;

    if (i->next_doc) {

        if (i->doc) {
            ngx_free(i->doc);

        } else {
            reg->info.instances++;
        }

        i->doc = i->next_doc;
        i->next_doc = NULL;
    }

    if (!i->del && i->doc) {
        return;
    }

    if (i->doc) {
        ngx_free(i->doc);
        reg->info.instances--;
    }

    if (i->service) {
        ngx_queue_remove(&i->link);
    }

    ngx_rbtree_delete(&reg->instances, &i->by_id.node);
    ngx_queue_remove(&i->queue);
    ngx_free(i);
}


/* gives the new object its name; forgets a service that nothing names */

static void
ngx_http_corral_registry_rename(ngx_http_corral_sentry_t *s)
{
    uint32_t                     hash;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    reg->found = NULL;
    s->is_dirty = 0;

    if (s->object) {
        hash = ngx_crc32_short(s->object->name.data, s->object->name.len);

        if (ngx_str_rbtree_lookup(&reg->names, &s->object->name, hash)) {
            ngx_log_error(NGX_LOG_ERR, reg->log, 0,
                          "corral registry: two services have the name "
                          "\"%V\", \"%V\" is only found by its id",
                          &s->object->name, &s->object->id);
            return;
        }

        s->by_name.node.key = hash;
        s->by_name.str = s->object->name;
        ngx_rbtree_insert(&reg->names, &s->by_name.node);
        s->named = 1;

        return;
    }

    if (s->doc == NULL && ngx_queue_empty(&s->instances)) {
        ngx_rbtree_delete(&reg->services, &s->by_id.node);
        ngx_queue_remove(&s->queue);
        ngx_free(s);
    }
}


void
ngx_http_corral_registry_abort(void)
{
    ngx_queue_t                 *q, *next;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_ientry_t    *i;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (!reg->updating) {
        return;
    }

    if (reg->settling) {

        /* it is in force: nothing can be taken back */

        (void) ngx_http_corral_registry_settle(0, UINT64_MAX);
        return;
    }

    for (q = ngx_queue_head(&reg->changed);
         q != ngx_queue_sentinel(&reg->changed);
         q = next)
    {
        next = ngx_queue_next(q);
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, changed);

        if (i->next_doc) {
            ngx_free(i->next_doc);
            i->next_doc = NULL;
        }

        i->del = 0;

        if (i->doc) {
            (void) ngx_http_corral_registry_attach(i, &i->doc->doc.service_id);
        }

        ngx_http_corral_registry_swap_instance(i);
    }

    ngx_queue_init(&reg->changed);

    for (q = ngx_queue_head(&reg->dirty);
         q != ngx_queue_sentinel(&reg->dirty);
         q = next)
    {
        next = ngx_queue_next(q);
        s = ngx_queue_data(q, ngx_http_corral_sentry_t, dirty);

        if (s->next_object) {
            ngx_destroy_pool(s->next_object->pool);
            s->next_object = NULL;
        }

        if (s->next_doc) {
            ngx_destroy_pool(s->next_pool);
            s->next_doc = NULL;
            s->next_pool = NULL;
        }

        s->del = 0;
        s->is_dirty = 0;

        if (s->doc == NULL && s->object == NULL
            && ngx_queue_empty(&s->instances))
        {
            ngx_rbtree_delete(&reg->services, &s->by_id.node);
            ngx_queue_remove(&s->queue);
            ngx_free(s);
        }
    }

    ngx_queue_init(&reg->dirty);

    ngx_http_corral_registry_rules_abort();

    ngx_destroy_pool(reg->tmp);
    reg->tmp = NULL;
    reg->updating = 0;
}


uint64_t
ngx_http_corral_registry_usec(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
