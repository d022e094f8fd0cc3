
/*
 * The registry of one worker: the documents as they were last put, and for
 * each service an immutable object to pick from.  Here are its entries, and
 * what looks something up in it or walks through it.  Process memory only:
 * counters live in the table.
 *
 * Documents come by ngx_http_corral_registry_put.c, generations by
 * ngx_http_corral_registry_update.c.  It knows neither Redis nor files: sync
 * and load feed it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_registry_entries.h"


#define NGX_HTTP_CORRAL_SEEN_TICKS  20      /* of half a second */


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


void *
ngx_http_corral_registry_palloc(void *data, size_t size)
{
    return ngx_palloc(data, size);
}
