
/*
 * The registry of one worker: the documents as they were last put, and for
 * each service an immutable object to pick from.  A change builds the objects
 * of the services that it touches, aside and in slices, and then swaps them in
 * at once.  Process memory only: counters live in the table, and no count of
 * references crosses an event.
 *
 * It knows neither Redis nor files: sync and load feed it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_registry.h"


#define NGX_HTTP_CORRAL_SEEN_TICKS  20      /* of half a second */


typedef struct ngx_http_corral_sentry_s  ngx_http_corral_sentry_t;


/* a service: its documents and its object, now and after the update */

struct ngx_http_corral_sentry_s {
    ngx_str_node_t               by_id;     /* must be first */
    ngx_str_node_t               by_name;   /* of the current object */
    ngx_queue_t                  queue;     /* all services */
    ngx_queue_t                  dirty;     /* touched by the update */
    ngx_queue_t                  instances;

    corral_service_t            *doc;       /* NULL: only instances name it */
    corral_service_t            *next_doc;
    ngx_pool_t                  *pool;      /* of doc */
    ngx_pool_t                  *next_pool;
    uint64_t                     hash;      /* of the document's text */
    uint64_t                     next_hash;

    ngx_http_corral_service_t   *object;
    ngx_http_corral_service_t   *next_object;

    unsigned                     named:1;   /* by_name is in the tree */
    unsigned                     is_dirty:1;
    unsigned                     built:1;
    unsigned                     put:1;
    unsigned                     del:1;

    u_char                       id[CORRAL_ID_MAX];
};


/* one document of an instance, with all its strings in one block */

typedef struct {
    corral_instance_t            doc;
    uint64_t                     key;
    ngx_http_corral_slot_t       ref;
    socklen_t                    socklen;   /* 0: no address yet */
    ngx_sockaddr_t               sockaddr;
    uint64_t                     hash;
} ngx_http_corral_idoc_t;


typedef struct {
    ngx_str_node_t               by_id;     /* must be first */
    ngx_queue_t                  queue;     /* all instances */
    ngx_queue_t                  link;      /* of its service */
    ngx_queue_t                  changed;   /* touched by the update */
    ngx_http_corral_sentry_t    *service;

    ngx_http_corral_idoc_t      *doc;
    ngx_http_corral_idoc_t      *next_doc;

    unsigned                     is_changed:1;
    unsigned                     put:1;
    unsigned                     del:1;

    u_char                       id[CORRAL_ID_MAX];
} ngx_http_corral_ientry_t;


typedef struct {
    ngx_rbtree_t                 services;
    ngx_rbtree_t                 names;
    ngx_rbtree_t                 instances;
    ngx_rbtree_node_t            sentinel;

    ngx_queue_t                  all_services;
    ngx_queue_t                  all_instances;

    ngx_uint_t                   methods;
    ngx_uint_t                   swaps;
    ngx_uint_t                   ticks;

    /* the update under way */

    ngx_uint_t                   updating;
    ngx_uint_t                   full;
    ngx_uint_t                   closed;    /* no more put: being built */
    ngx_queue_t                  dirty;
    ngx_queue_t                  changed;
    ngx_pool_t                  *tmp;
    ngx_log_t                   *log;

    /* the image being printed */

    u_char                      *image;
    size_t                       image_len;
    size_t                       image_size;
    uint64_t                     image_lines;
    ngx_uint_t                   image_swaps;
    ngx_uint_t                   image_kind;
    ngx_queue_t                 *image_next;

    ngx_http_corral_registry_info_t  info;
} ngx_http_corral_registry_t;


static ngx_int_t ngx_http_corral_registry_put_service(ngx_str_t *json,
    ngx_uint_t line);
static ngx_int_t ngx_http_corral_registry_put_instance(ngx_str_t *json,
    ngx_uint_t line);
static ngx_int_t ngx_http_corral_registry_refuse(ngx_uint_t line, char *err);
static void *ngx_http_corral_registry_palloc(void *data, size_t size);
static ngx_http_corral_idoc_t *ngx_http_corral_registry_idoc(
    corral_instance_t *doc, char *err);
static ngx_int_t ngx_http_corral_registry_address(ngx_http_corral_idoc_t *idoc,
    char *err);
static ngx_http_corral_sentry_t *ngx_http_corral_registry_service(
    ngx_str_t *id, ngx_uint_t create);
static ngx_http_corral_ientry_t *ngx_http_corral_registry_instance(
    ngx_str_t *id, ngx_uint_t create);
static void ngx_http_corral_registry_mark(ngx_http_corral_sentry_t *s);
static void ngx_http_corral_registry_mark_instance(
    ngx_http_corral_ientry_t *i);
static void ngx_http_corral_registry_drop_unseen(void);
static ngx_int_t ngx_http_corral_registry_build(ngx_http_corral_sentry_t *s);
static ngx_int_t ngx_http_corral_registry_build_instances(
    ngx_http_corral_sentry_t *s, ngx_http_corral_service_t *o);
static ngx_http_corral_idoc_t *ngx_http_corral_registry_next(
    ngx_http_corral_ientry_t *i);
static ngx_uint_t ngx_http_corral_registry_rank(ngx_http_corral_idoc_t *idoc);
static ngx_int_t ngx_http_corral_registry_build_balance(
    ngx_http_corral_service_t *o);
static void ngx_http_corral_registry_terms(ngx_http_corral_terms_t *terms,
    corral_service_t *doc);
static void ngx_http_corral_registry_swap(void);
static void ngx_http_corral_registry_swap_instance(
    ngx_http_corral_ientry_t *i);
static void ngx_http_corral_registry_swap_service(
    ngx_http_corral_sentry_t *s);
static void ngx_http_corral_registry_rename(ngx_http_corral_sentry_t *s);
static ngx_int_t ngx_http_corral_registry_copy(ngx_pool_t *pool,
    ngx_str_t *dst, corral_str_t *src);
static uint64_t ngx_http_corral_registry_usec(void);
static ngx_int_t ngx_http_corral_registry_print(ngx_queue_t *q);


static ngx_http_corral_registry_t  ngx_http_corral_reg;


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

    return NGX_OK;
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
}


ngx_http_corral_service_t *
ngx_http_corral_registry_find(ngx_str_t *name)
{
    uint32_t                   hash;
    ngx_str_node_t            *node;
    ngx_http_corral_sentry_t  *s;

    if (name->len == 0 || ngx_http_corral_reg.names.root == NULL) {
        return NULL;
    }

    hash = ngx_crc32_short(name->data, name->len);

    node = ngx_str_rbtree_lookup(&ngx_http_corral_reg.names, name, hash);

    if (node) {
        s = (ngx_http_corral_sentry_t *)
                ((u_char *) node
                 - offsetof(ngx_http_corral_sentry_t, by_name));

        return s->object;
    }

    s = ngx_http_corral_registry_service(name, 0);

    return s ? s->object : NULL;
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
        view.state = i->doc->doc.state;
        view.health = i->doc->doc.health;
        view.ref = i->doc->ref;

        cb(&view, data);
    }
}


ngx_uint_t
ngx_http_corral_registry_hash_key(ngx_str_t *key)
{
    ngx_uint_t  n;

    static ngx_str_t  prefixes[] = {
        ngx_string("header."),
        ngx_string("query."),
        ngx_string("cookie."),
        ngx_null_string
    };

    if (ngx_strcmp(key->data, "client_ip") == 0
        || ngx_strcmp(key->data, "session") == 0)
    {
        return 1;
    }

    for (n = 0; prefixes[n].len; n++) {

        if (key->len > prefixes[n].len
            && ngx_strncmp(key->data, prefixes[n].data, prefixes[n].len) == 0)
        {
            return 1;
        }
    }

    return 0;
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

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_registry_put(ngx_http_corral_kind_e kind, ngx_str_t *json,
    ngx_uint_t line)
{
    ngx_int_t  rc;

    rc = (kind == NGX_HTTP_CORRAL_SERVICE)
         ? ngx_http_corral_registry_put_service(json, line)
         : ngx_http_corral_registry_put_instance(json, line);

    ngx_reset_pool(ngx_http_corral_reg.tmp);

    return rc;
}


static ngx_int_t
ngx_http_corral_registry_put_service(ngx_str_t *json, ngx_uint_t line)
{
    uint64_t                   hash;
    ngx_str_t                  id, key;
    ngx_pool_t                *pool;
    corral_service_t          *doc;
    ngx_http_corral_sentry_t  *s;
    char                       err[CORRAL_DECODE_ERROR];

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    doc = ngx_palloc(pool, sizeof(corral_service_t));

    if (doc == NULL
        || corral_decode_service((char *) json->data, json->len, doc,
                                 ngx_http_corral_registry_palloc, pool,
                                 err, sizeof(err))
           != 0)
    {
        ngx_destroy_pool(pool);
        return doc ? ngx_http_corral_registry_refuse(line, err) : NGX_ERROR;
    }

    key.len = doc->hash_key.len;
    key.data = (u_char *) doc->hash_key.data;

    if (!ngx_http_corral_registry_hash_key(&key)) {
        ngx_snprintf((u_char *) err, sizeof(err),
                     "service \"%s\": \"hash_key\" is \"%s\", it must be "
                     "client_ip, session, header.NAME, query.NAME or "
                     "cookie.NAME%Z", doc->name.data, key.data);
        ngx_destroy_pool(pool);
        return ngx_http_corral_registry_refuse(line, err);
    }

    id.len = doc->service_id.len;
    id.data = (u_char *) doc->service_id.data;

    s = ngx_http_corral_registry_service(&id, 1);

    if (s == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    if (s->next_pool) {
        ngx_destroy_pool(s->next_pool);
        s->next_pool = NULL;
        s->next_doc = NULL;
    }

    hash = corral_balance_key(json->data, json->len);

    s->put = 1;
    s->del = 0;

    if (s->doc && s->hash == hash) {
        ngx_destroy_pool(pool);
        return NGX_OK;                      /* nothing new */
    }

    s->next_doc = doc;
    s->next_pool = pool;
    s->next_hash = hash;

    ngx_http_corral_registry_mark(s);

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_put_instance(ngx_str_t *json, ngx_uint_t line)
{
    uint64_t                   hash;
    ngx_str_t                  id, service_id;
    corral_instance_t          doc;
    ngx_http_corral_idoc_t    *idoc;
    ngx_http_corral_ientry_t  *i;
    ngx_http_corral_sentry_t  *s;
    char                       err[CORRAL_DECODE_ERROR];

    if (corral_decode_instance((char *) json->data, json->len, &doc,
                               ngx_http_corral_registry_palloc,
                               ngx_http_corral_reg.tmp, err, sizeof(err))
        != 0)
    {
        return ngx_http_corral_registry_refuse(line, err);
    }

    id.len = doc.instance_id.len;
    id.data = (u_char *) doc.instance_id.data;

    i = ngx_http_corral_registry_instance(&id, 1);
    if (i == NULL) {
        return NGX_ERROR;
    }

    if (i->next_doc) {
        ngx_free(i->next_doc);
        i->next_doc = NULL;
    }

    hash = corral_balance_key(json->data, json->len);

    i->put = 1;
    i->del = 0;

    if (i->doc && i->doc->hash == hash) {
        return NGX_OK;                      /* nothing new */
    }

    idoc = ngx_http_corral_registry_idoc(&doc, err);
    if (idoc == NULL) {
        ngx_http_corral_registry_mark_instance(i);
        return ngx_http_corral_registry_refuse(line, err);
    }

    idoc->hash = hash;

    service_id.len = doc.service_id.len;
    service_id.data = (u_char *) doc.service_id.data;

    s = ngx_http_corral_registry_service(&service_id, 1);

    if (s == NULL) {
        ngx_free(idoc);
        return NGX_ERROR;
    }

    if (i->service && i->service != s) {
        ngx_http_corral_registry_mark(i->service);
        ngx_queue_remove(&i->link);
        i->service = NULL;
    }

    if (i->service == NULL) {
        i->service = s;
        ngx_queue_insert_tail(&s->instances, &i->link);
    }

    i->next_doc = idoc;

    ngx_http_corral_registry_mark_instance(i);

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_refuse(ngx_uint_t line, char *err)
{
    ngx_http_corral_reg.info.refused++;

    if (line) {
        ngx_log_error(NGX_LOG_ERR, ngx_http_corral_reg.log, 0,
                      "corral registry: line %ui refused: %s", line, err);

    } else {
        ngx_log_error(NGX_LOG_ERR, ngx_http_corral_reg.log, 0,
                      "corral registry: document refused: %s", err);
    }

    return NGX_DECLINED;
}


static void *
ngx_http_corral_registry_palloc(void *data, size_t size)
{
    return ngx_palloc(data, size);
}


/* the document in one block, with its address, its slot and its strings */

static ngx_http_corral_idoc_t *
ngx_http_corral_registry_idoc(corral_instance_t *doc, char *err)
{
    u_char                  *p;
    size_t                   len;
    ngx_str_t                key;
    ngx_uint_t               n;
    corral_str_t            *strs[4];
    ngx_http_corral_idoc_t  *idoc;
    u_char                   buf[CORRAL_ID_MAX + NGX_INT64_LEN + 4];

    len = sizeof(ngx_http_corral_idoc_t) + doc->instance_id.len
          + doc->service_id.len + doc->node.len + doc->address.len + 4;

    idoc = ngx_alloc(len, ngx_cycle->log);
    if (idoc == NULL) {
        ngx_snprintf((u_char *) err, CORRAL_DECODE_ERROR, "no memory%Z");
        return NULL;
    }

    ngx_memzero(idoc, sizeof(ngx_http_corral_idoc_t));

    idoc->doc = *doc;

    strs[0] = &idoc->doc.instance_id;
    strs[1] = &idoc->doc.service_id;
    strs[2] = &idoc->doc.node;
    strs[3] = &idoc->doc.address;

    p = (u_char *) (idoc + 1);

    for (n = 0; n < 4; n++) {
        ngx_memcpy(p, strs[n]->data, strs[n]->len);
        strs[n]->data = (char *) p;
        p += strs[n]->len;
        *p++ = '\0';
    }

    if (ngx_http_corral_registry_address(idoc, err) != NGX_OK) {
        ngx_free(idoc);
        return NULL;
    }

    idoc->key = corral_balance_key(doc->instance_id.data,
                                   doc->instance_id.len);

    key.data = buf;
    key.len = ngx_sprintf(buf, "i:%s:%L", idoc->doc.instance_id.data,
                          idoc->doc.incarnation)
              - buf;

    idoc->ref = ngx_http_corral_table_slot(&key);

    return idoc;
}


static ngx_int_t
ngx_http_corral_registry_address(ngx_http_corral_idoc_t *idoc, char *err)
{
    ngx_url_t      u;
    corral_str_t  *address;

    address = &idoc->doc.address;

    if (address->len == 0) {
        return NGX_OK;                      /* not started yet */
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url.len = address->len;
    u.url.data = ngx_pnalloc(ngx_http_corral_reg.tmp, address->len + 1);
    if (u.url.data == NULL) {
        return NGX_ERROR;
    }

    ngx_cpystrn(u.url.data, (u_char *) address->data, address->len + 1);
    u.no_resolve = 1;

    if (ngx_parse_url(ngx_http_corral_reg.tmp, &u) != NGX_OK || u.naddrs != 1
        || (u.family != AF_UNIX && u.no_port) || u.uri.len
        || u.addrs[0].socklen > (socklen_t) sizeof(ngx_sockaddr_t))
    {
        ngx_snprintf((u_char *) err, CORRAL_DECODE_ERROR,
                     "instance \"%s\": \"address\" is \"%s\", it must be "
                     "unix:/path, 1.2.3.4:port or [::1]:port%Z",
                     idoc->doc.instance_id.data, address->data);
        return NGX_ERROR;
    }

    idoc->socklen = u.addrs[0].socklen;
    ngx_memcpy(&idoc->sockaddr, u.addrs[0].sockaddr, idoc->socklen);

    return NGX_OK;
}


static ngx_http_corral_sentry_t *
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


static ngx_http_corral_ientry_t *
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


static void
ngx_http_corral_registry_mark(ngx_http_corral_sentry_t *s)
{
    if (!s->is_dirty) {
        s->is_dirty = 1;
        s->built = 0;
        ngx_queue_insert_tail(&ngx_http_corral_reg.dirty, &s->dirty);
    }
}


static void
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
    ngx_queue_t                 *q;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;
    start = ngx_http_corral_registry_usec();

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

        /* to the front: the next slice does not walk over it again */

        if (ngx_http_corral_registry_usec() - start
            >= (uint64_t) budget * 1000)
        {
            return NGX_AGAIN;
        }
    }

    ngx_http_corral_registry_swap();

    ngx_cpystrn(reg->info.epoch, epoch->data, ngx_min(epoch->len, 64) + 1);
    reg->info.revision = revision;
    reg->info.changed = ngx_current_msec;

    return NGX_OK;
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

        i->put = 0;
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

        s->put = 0;
    }
}


/* builds the next object of a service from the documents after the update */

static ngx_int_t
ngx_http_corral_registry_build(ngx_http_corral_sentry_t *s)
{
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
        || ngx_http_corral_registry_copy(pool, &o->id, &doc->service_id)
           != NGX_OK
        || ngx_http_corral_registry_copy(pool, &o->name, &doc->name)
           != NGX_OK
        || ngx_http_corral_registry_copy(pool, &o->upstream_host,
                                         &doc->upstream_host)
           != NGX_OK
        || ngx_http_corral_registry_copy(pool, &o->hash_key, &doc->hash_key)
           != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    o->pool = pool;
    o->protocol = doc->protocol;
    o->desired = doc->desired;
    o->balance_method = doc->balance;
    o->max_sessions = doc->max_sessions;

    ngx_http_corral_registry_terms(&o->terms, doc);

    key.data = buf;
    key.len = ngx_sprintf(buf, "s:%V", &o->id) - buf;

    o->terms.ref = ngx_http_corral_table_slot(&key);

    if (ngx_http_corral_registry_build_instances(s, o) != NGX_OK
        || ngx_http_corral_registry_build_balance(o) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    s->next_object = o;

    return NGX_OK;
}


/* healthy instances, or those of the best health that there is */

static ngx_int_t
ngx_http_corral_registry_build_instances(ngx_http_corral_sentry_t *s,
    ngx_http_corral_service_t *o)
{
    ngx_uint_t                   rank, best;
    ngx_queue_t                 *q;
    ngx_http_corral_idoc_t      *idoc;
    ngx_http_corral_ientry_t    *i;
    ngx_http_corral_instance_t  *instance;

    best = 0;

    for (q = ngx_queue_head(&s->instances);
         q != ngx_queue_sentinel(&s->instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, link);
        idoc = ngx_http_corral_registry_next(i);

        if (idoc == NULL) {
            continue;
        }

        o->total++;

        rank = ngx_http_corral_registry_rank(idoc);

        if (rank > best) {
            best = rank;
            o->n = 0;
        }

        if (rank && rank == best) {
            o->n++;
        }
    }

    if (o->n == 0 || o->desired != CORRAL_DESIRED_RUNNING) {
        o->n = 0;
        return NGX_OK;
    }

    o->instances = ngx_pcalloc(o->pool,
                               o->n * sizeof(ngx_http_corral_instance_t));
    if (o->instances == NULL) {
        return NGX_ERROR;
    }

    instance = o->instances;

    for (q = ngx_queue_head(&s->instances);
         q != ngx_queue_sentinel(&s->instances);
         q = ngx_queue_next(q))
    {
        i = ngx_queue_data(q, ngx_http_corral_ientry_t, link);
        idoc = ngx_http_corral_registry_next(i);

        if (idoc == NULL || ngx_http_corral_registry_rank(idoc) != best) {
            continue;
        }

        /* the entry and its document outlive the object: swap sees to it */

        instance->id = i->by_id.str;
        instance->name.len = idoc->doc.address.len;
        instance->name.data = (u_char *) idoc->doc.address.data;
        instance->sockaddr = &idoc->sockaddr.sockaddr;
        instance->socklen = idoc->socklen;
        instance->weight = idoc->doc.weight;
        instance->key = idoc->key;
        instance->ref = idoc->ref;

        instance++;
    }

    return NGX_OK;
}


/* the document that an instance has after the update, NULL if it goes */

static ngx_http_corral_idoc_t *
ngx_http_corral_registry_next(ngx_http_corral_ientry_t *i)
{
    if (i->del) {
        return NULL;
    }

    return i->next_doc ? i->next_doc : i->doc;
}


/* 0: not to be used, else the higher the better */

static ngx_uint_t
ngx_http_corral_registry_rank(ngx_http_corral_idoc_t *idoc)
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
ngx_http_corral_registry_build_balance(ngx_http_corral_service_t *o)
{
    uint32_t    i, *weights;
    uint64_t   *ids;
    unsigned    methods;
    ngx_int_t   rc;

    if (o->n == 0) {
        return NGX_OK;
    }

    weights = ngx_alloc(o->n * sizeof(uint32_t), ngx_cycle->log);
    ids = ngx_alloc(o->n * sizeof(uint64_t), ngx_cycle->log);

    rc = NGX_ERROR;

    if (weights && ids) {

        for (i = 0; i < o->n; i++) {
            weights[i] = o->instances[i].weight;
            ids[i] = o->instances[i].key;
        }

        switch (o->balance_method) {

        case CORRAL_METHOD_ROUND_ROBIN:
            methods = CORRAL_BALANCE_ROUND_ROBIN;
            break;

        case CORRAL_METHOD_LEAST_CONN:
            methods = CORRAL_BALANCE_LEAST_CONN;
            break;

        case CORRAL_METHOD_HASH:
            methods = CORRAL_BALANCE_HASH;
            break;

        default: /* CORRAL_METHOD_DEFAULT */
            methods = ngx_http_corral_reg.methods;
            break;
        }

        o->balance = corral_balance_create(o->n, weights, ids, methods,
                                           ngx_http_corral_registry_palloc,
                                           o->pool);
        if (o->balance) {
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
ngx_http_corral_registry_terms(ngx_http_corral_terms_t *terms,
    corral_service_t *doc)
{
    terms->connect_timeout = doc->connect_timeout;
    terms->handshake_timeout = doc->handshake_timeout;
    terms->idle_timeout = doc->idle_timeout;
    terms->ping_interval = doc->ping_interval;
    terms->ping_timeout = doc->ping_timeout;
    terms->close_timeout = doc->close_timeout;
    terms->fail_timeout = doc->fail_timeout;
    terms->max_message_size = doc->max_message_size;
    terms->tries = doc->tries;
    terms->max_fails = doc->max_fails;
}


/* nothing here can fail: from now on requests see the new generation */

static void
ngx_http_corral_registry_swap(void)
{
    ngx_queue_t                 *q, *next;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

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

    ngx_destroy_pool(reg->tmp);
    reg->tmp = NULL;

    reg->updating = 0;
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

    ngx_destroy_pool(reg->tmp);
    reg->tmp = NULL;
    reg->updating = 0;
}


static ngx_int_t
ngx_http_corral_registry_copy(ngx_pool_t *pool, ngx_str_t *dst,
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


static uint64_t
ngx_http_corral_registry_usec(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


void
ngx_http_corral_registry_print_begin(void)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->image) {
        ngx_free(reg->image);
        reg->image = NULL;
    }

    /* the first line is known last: its place is kept free */

    reg->image_len = CORRAL_DECODE_HEAD_MAX;
    reg->image_size = 0;
    reg->image_lines = 0;
    reg->image_swaps = reg->swaps;
    reg->image_kind = NGX_HTTP_CORRAL_SERVICE;
    reg->image_next = ngx_queue_head(&reg->all_services);
}


ngx_int_t
ngx_http_corral_registry_print_next(ngx_msec_t budget, ngx_str_t *image)
{
    size_t                       head, body;
    uint64_t                     start;
    uint32_t                     crc32;
    ngx_queue_t                 *q;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;
    start = ngx_http_corral_registry_usec();

    if (reg->image_swaps != reg->swaps || reg->updating) {
        return NGX_DECLINED;
    }

    for ( ;; ) {
        q = reg->image_next;

        if (q == ngx_queue_sentinel(&reg->all_services)) {
            reg->image_kind = NGX_HTTP_CORRAL_INSTANCE;
            reg->image_next = ngx_queue_head(&reg->all_instances);
            continue;
        }

        if (q == ngx_queue_sentinel(&reg->all_instances)) {
            break;
        }

        if (ngx_http_corral_registry_print(q) != NGX_OK) {
            return NGX_ERROR;
        }

        reg->image_next = ngx_queue_next(q);

        if (ngx_http_corral_registry_usec() - start
            >= (uint64_t) budget * 1000)
        {
            return NGX_AGAIN;
        }
    }

    if (reg->image == NULL) {
        reg->image = ngx_alloc(CORRAL_DECODE_HEAD_MAX, ngx_cycle->log);
        if (reg->image == NULL) {
            return NGX_ERROR;
        }
    }

    body = reg->image_len - CORRAL_DECODE_HEAD_MAX;

    crc32 = corral_decode_crc32(0, reg->image + CORRAL_DECODE_HEAD_MAX, body);

    head = corral_decode_print_head((char *) reg->info.epoch,
                                    reg->info.revision, reg->image_lines,
                                    crc32, (char *) reg->image,
                                    CORRAL_DECODE_HEAD_MAX);

    ngx_memmove(reg->image + head, reg->image + CORRAL_DECODE_HEAD_MAX, body);

    image->data = reg->image;
    image->len = head + body;
    reg->image = NULL;

    return NGX_OK;
}


/* appends the line of one service or instance */

static ngx_int_t
ngx_http_corral_registry_print(ngx_queue_t *q)
{
    size_t                       n, size;
    u_char                      *p;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_ientry_t    *i;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    for ( ;; ) {
        p = reg->image + reg->image_len;
        size = reg->image_size > reg->image_len
               ? reg->image_size - reg->image_len : 0;

        if (reg->image_kind == NGX_HTTP_CORRAL_SERVICE) {
            s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

            if (s->doc == NULL) {
                return NGX_OK;
            }

            n = corral_decode_print_service(s->doc, (char *) p, size);

        } else {
            i = ngx_queue_data(q, ngx_http_corral_ientry_t, queue);

            if (i->doc == NULL) {
                return NGX_OK;
            }

            n = corral_decode_print_instance(&i->doc->doc, (char *) p, size);
        }

        if (n < size) {
            reg->image_len += n;
            reg->image_lines++;

            return NGX_OK;
        }

        /* as snprintf() does, it says how much it would have taken */

        size = ngx_max(reg->image_size * 2, reg->image_len + n + 4096);

        p = ngx_alloc(size, ngx_cycle->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (reg->image) {
            ngx_memcpy(p, reg->image, reg->image_len);
            ngx_free(reg->image);
        }

        reg->image = p;
        reg->image_size = size;
    }
}
