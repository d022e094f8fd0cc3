
/*
 * What the files of the registry share: the entries behind a service and an
 * instance, and the update under way.  For ngx_http_corral_registry*.c alone.
 */


#ifndef _NGX_HTTP_CORRAL_REGISTRY_ENTRIES_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REGISTRY_ENTRIES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_registry.h"


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
    void                       (*swapped)(void);
    ngx_uint_t                   ticks;

    /* the update under way */

    ngx_uint_t                   updating;
    ngx_uint_t                   full;
    ngx_uint_t                   closed;    /* no more put: being built */
    ngx_queue_t                  dirty;
    ngx_queue_t                  changed;
    ngx_pool_t                  *tmp;
    ngx_log_t                   *log;
    ngx_str_t                   *from;      /* of put; or NULL */

    /* the image being printed */

    u_char                      *image;
    size_t                       image_len;
    size_t                       image_size;
    uint64_t                     image_lines;
    uint32_t                     image_crc32;   /* of the lines so far */
    ngx_uint_t                   image_swaps;
    ngx_uint_t                   image_kind;
    ngx_queue_t                 *image_next;

    ngx_http_corral_registry_info_t  info;
} ngx_http_corral_registry_t;


extern ngx_http_corral_registry_t  ngx_http_corral_reg;


/*
 * Builds s->next_object from the documents after the update; NULL if the
 * service goes.  NGX_ERROR: no memory, nothing was built.
 */
ngx_int_t ngx_http_corral_registry_build(ngx_http_corral_sentry_t *s);

/* ngx_palloc() in the form that the pure files call */
void *ngx_http_corral_registry_palloc(void *data, size_t size);

/* microseconds of a clock that only goes forward, for budgets */
uint64_t ngx_http_corral_registry_usec(void);


#endif /* _NGX_HTTP_CORRAL_REGISTRY_ENTRIES_H_INCLUDED_ */
