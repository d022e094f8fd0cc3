
/*
 * An update of the registry: begun, then filled with documents, then committed.
 * The commit has the objects of the services that were touched built aside, in
 * slices, and swaps all of them in at once; before the swap an abort takes
 * everything back, behind it nothing can fail.
 *
 * No count of references crosses an event: what the swap replaces is freed in
 * it, but for rules, which are many and are freed in slices behind it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_registry_entries.h"


static void ngx_http_corral_registry_unsee(void);
static ngx_int_t ngx_http_corral_registry_settle(uint64_t start,
    uint64_t budget);
static void ngx_http_corral_registry_drop_unseen(void);
static void ngx_http_corral_registry_swap(void);
static void ngx_http_corral_registry_swap_service(
    ngx_http_corral_sentry_t *s);
static void ngx_http_corral_registry_introduce(
    ngx_http_corral_service_t *o);
static void ngx_http_corral_registry_swap_instance(
    ngx_http_corral_ientry_t *i);
static void ngx_http_corral_registry_rename(ngx_http_corral_sentry_t *s);


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
    start = ngx_http_corral_clock();

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

        if (ngx_http_corral_clock() - start >= (uint64_t) budget * 1000) {
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
