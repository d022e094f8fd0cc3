
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


typedef struct ngx_http_corral_rentry_s  ngx_http_corral_rentry_t;


/* services with a ready instance, to choose one from; see ..._targets.c */

typedef struct {
    ngx_http_corral_service_t  **services;
    uint32_t                     n;
    ngx_http_corral_service_t   *any;       /* ready or not; NULL: none */
    corral_balance_t            *balance;
    corral_balance_view_t        view;
} ngx_http_corral_set_t;


/* one document of a rule, compiled; all in its pool */

struct ngx_http_corral_rule_s {
    ngx_rbtree_node_t            node;      /* of the order */
    corral_rule_t                doc;
    corral_match_rule_t         *match;
    ngx_str_t                    name;
    ngx_str_t                    hash_key;
    ngx_str_t                    force_by;
    ngx_http_corral_rentry_t    *entry;
    ngx_pool_t                  *pool;
    uint64_t                     hash;      /* of the document's text */

    ngx_array_t                 *splits;    /* ..._split_t; or NULL */
    uint32_t                     cursor;    /* place in the round */
    ngx_http_corral_set_t       *set;
    ngx_uint_t                   set_swaps; /* of the registry it is made of */
};


struct ngx_http_corral_rentry_s {
    ngx_str_node_t               by_id;     /* must be first */
    ngx_queue_t                  queue;     /* all rules */
    ngx_queue_t                  changed;   /* touched by the update */

    ngx_http_corral_rule_t      *rule;
    ngx_http_corral_rule_t      *next;

    unsigned                     is_changed:1;
    unsigned                     put:1;
    unsigned                     del:1;
    unsigned                     is_counted:1;   /* in reg->counted */

    u_char                       id[CORRAL_ID_MAX];
};


typedef struct {
    ngx_rbtree_t                 services;
    ngx_rbtree_t                 names;
    ngx_rbtree_t                 instances;
    ngx_rbtree_t                 rules;
    ngx_rbtree_t                 order;     /* of rules */
    ngx_rbtree_node_t            sentinel;

    ngx_queue_t                  all_services;
    ngx_queue_t                  all_instances;
    ngx_queue_t                  all_rules;

    corral_match_index_t        *index;     /* of enabled rules, or NULL */
    ngx_pool_t                  *index_pool;
    corral_match_scratch_t      *scratch;

    ngx_http_corral_service_t   *found;     /* the last one, of found_name */
    size_t                       found_len;
    u_char                       found_name[CORRAL_ID_MAX];

    ngx_uint_t                   counted;   /* rules with splits */

    ngx_pool_t                  *targets;   /* sets, as of targets_swaps */
    ngx_uint_t                   targets_swaps;
    ngx_rbtree_t                 tags;
    ngx_uint_t                   tagged;    /* tags is filled */
    uint32_t                     tag_cursor;

    ngx_uint_t                   methods;
    ngx_uint_t                   swaps;
    void                       (*swapped)(void);
    ngx_uint_t                   ticks;

    /* the update under way */

    ngx_uint_t                   updating;
    ngx_uint_t                   full;
    ngx_uint_t                   closed;    /* no more put: being built */
    ngx_uint_t                   settling;  /* in force; rules to be freed */
    ngx_queue_t                  dirty;
    ngx_queue_t                  changed;
    ngx_queue_t                  changed_rules;
    corral_match_index_t        *next_index;
    ngx_pool_t                  *next_pool;
    ngx_rbtree_node_t           *position;  /* the next rule to be indexed */
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

/*
 * ngx_http_corral_registry.c: the entry of a service or an instance; create: it
 * is made if there is none.  NULL: there is none, the id is too long, or no
 * memory.
 */
ngx_http_corral_sentry_t *ngx_http_corral_registry_service(ngx_str_t *id,
    ngx_uint_t create);
ngx_http_corral_ientry_t *ngx_http_corral_registry_instance(ngx_str_t *id,
    ngx_uint_t create);

/*
 * Puts an instance under its service, whose document may come later.
 * NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_corral_registry_attach(ngx_http_corral_ientry_t *i,
    corral_str_t *service_id);

/* The update touches it; an instance touches its service. */
void ngx_http_corral_registry_mark(ngx_http_corral_sentry_t *s);
void ngx_http_corral_registry_mark_instance(ngx_http_corral_ientry_t *i);

/*
 * ngx_http_corral_registry_put.c: counts and logs a refused document; returns
 * NGX_DECLINED.
 */
ngx_int_t ngx_http_corral_registry_refuse(ngx_uint_t line, char *err);

/*
 * ngx_http_corral_registry_rules.c: what the registry does with services and
 * instances, for rules.
 */
ngx_int_t ngx_http_corral_registry_rules_init(ngx_cycle_t *cycle);
ngx_int_t ngx_http_corral_registry_rules_put(ngx_str_t *json, ngx_uint_t line);
void ngx_http_corral_registry_rules_del(ngx_str_t *id);
void ngx_http_corral_registry_rules_unsee(void);
void ngx_http_corral_registry_rules_drop_unseen(void);
ngx_int_t ngx_http_corral_registry_rules_build(uint64_t start,
    uint64_t budget);
void ngx_http_corral_registry_rules_swap(void);
ngx_int_t ngx_http_corral_registry_rules_settle(uint64_t start,
    uint64_t budget);
void ngx_http_corral_registry_rules_abort(void);

/*
 * ngx_http_corral_registry_targets.c: whether a rule means the service by this
 * name, and the share that it gives to it.
 */
ngx_uint_t ngx_http_corral_registry_target_is(
    ngx_http_corral_service_t *service, corral_str_t *name);
uint32_t ngx_http_corral_registry_target_weight(corral_rule_t *rule,
    ngx_http_corral_service_t *service);

/*
 * ngx_http_corral_registry_split.c.  init: finds out whether the rule is to be
 * counted, NGX_ERROR without memory.  count: it has sent a request to the
 * service.  forget: the entry is not counted any more.  tick: slots are seen.
 */
ngx_int_t ngx_http_corral_registry_split_init(ngx_http_corral_rule_t *rule);
void ngx_http_corral_registry_split_count(ngx_http_corral_rule_t *rule,
    ngx_http_corral_service_t *service);
void ngx_http_corral_registry_split_forget(ngx_http_corral_rentry_t *e);
void ngx_http_corral_registry_split_tick(void);

/* ngx_palloc() in the form that the pure files call */
void *ngx_http_corral_registry_palloc(void *data, size_t size);


#endif /* _NGX_HTTP_CORRAL_REGISTRY_ENTRIES_H_INCLUDED_ */
