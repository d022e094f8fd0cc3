
/*
 * The registry as one worker sees it: services with their instances, ready to
 * pick from.  See ngx_http_corral_registry.c.
 */


#ifndef _NGX_HTTP_CORRAL_REGISTRY_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REGISTRY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_answer.h>
#include <corral_balance.h>
#include <corral_decode.h>
#include <corral_health.h>
#include <corral_match.h>
#include <corral_schema.h>

#include "ngx_http_corral_table.h"


typedef enum {
    NGX_HTTP_CORRAL_SERVICE = 0,
    NGX_HTTP_CORRAL_INSTANCE,
    NGX_HTTP_CORRAL_RULE,
    NGX_HTTP_CORRAL_KINDS
} ngx_http_corral_kind_e;       /* as corral_kind_e */


/* in the order of CORRAL_BALANCE_*, whose bits are 1 << method */

typedef enum {
    NGX_HTTP_CORRAL_ROUND_ROBIN = 0,
    NGX_HTTP_CORRAL_LEAST_CONN,
    NGX_HTTP_CORRAL_HASH,
    NGX_HTTP_CORRAL_RANDOM,
    NGX_HTTP_CORRAL_P2C,
    NGX_HTTP_CORRAL_EWMA
} ngx_http_corral_method_e;


/* a word for a method; the first with its number is its name */

typedef struct {
    ngx_str_t                    name;
    ngx_uint_t                   method;    /* ngx_http_corral_method_e */
} ngx_http_corral_method_t;


/* in the order of corral_method_e from 1 on; the last has no name */
extern ngx_http_corral_method_t  ngx_http_corral_methods[];


/* An instance that a service may pick.  Lives as long as its service. */

typedef struct {
    ngx_str_t                  id;
    ngx_str_t                  name;        /* address as $upstream_addr */
    struct sockaddr           *sockaddr;
    socklen_t                  socklen;
    uint32_t                   weight;
    uint64_t                   key;         /* hash of the id */
    ngx_http_corral_slot_t     ref;
} ngx_http_corral_instance_t;


/*
 * What a connection keeps of its service.  In milliseconds; NGX_CONF_UNSET
 * where the document leaves it to the directives of the location.
 */

typedef struct {
    ngx_int_t                  connect_timeout;
    ngx_int_t                  handshake_timeout;
    ngx_int_t                  idle_timeout;
    ngx_int_t                  ping_interval;
    ngx_int_t                  ping_timeout;
    ngx_int_t                  close_timeout;
    ngx_int_t                  early_end;
    ngx_int_t                  max_lifetime;

    /* a client's and an agent's; bytes; -1: unset */

    int64_t                    max_message_size[2];
    int64_t                    byte_rate[2];

    int64_t                    message_rate;
    int64_t                    message_burst;
    ngx_int_t                  message_delay;        /* or close */
    ngx_int_t                  tries;
    ngx_http_corral_slot_t     ref;         /* of the service's totals */
    uint32_t                   failover;    /* corral_failover_e */
    ngx_uint_t                 replay_started;
    ngx_msec_t                 hold_time;
    size_t                     hold_size;
    size_t                     journal_size;
} ngx_http_corral_terms_t;


/* When instances are ejected or the circuit is opened, and for how long. */

typedef struct {
    uint32_t                     max_fails; /* in a row, 0: never */
    uint32_t                     max_ejected;        /* percent */
    uint32_t                     retry_budget;       /* percent */
    uint32_t                     circuit_failures;   /* 0: never */
    ngx_msec_t                   circuit_timeout;
    ngx_msec_t                   fail_timeout;
    ngx_msec_t                   max_time;
    ngx_msec_t                   interval;
    corral_health_limits_t       limits;
} ngx_http_corral_eject_t;


/* Instances of one priority. */

typedef struct {
    uint32_t                     priority;
    uint32_t                     first;     /* of service->instances */
    uint32_t                     n;
    uint32_t                     total;     /* that should be ready */
    uint32_t                     until;     /* of CORRAL_BALANCE_DRAW: the
                                               draws below are this tier's */
    corral_balance_t            *balance;
} ngx_http_corral_tier_t;


/* Resumable server-sent events of a service; times in milliseconds. */

typedef struct {
    ngx_uint_t                 resume;      /* 0: off */
    ngx_uint_t                 events;
    ngx_msec_t                 keep;
    ngx_msec_t                 run_on;
} ngx_http_corral_sse_terms_t;


/* How load that has come to lie uneven is evened. */

typedef struct {
    ngx_uint_t                 mode;        /* corral_rebalance_e */
    uint32_t                   rate;        /* a second, of all gateways */
    uint32_t                   tolerance;   /* percent */
    ngx_msec_t                 idle;        /* who leaves, for so long */
    ngx_uint_t                 sessions;    /* also those of affinity */
} ngx_http_corral_rebalance_terms_t;


/*
 * A service of one generation, immutable.  Nobody keeps a pointer beyond the
 * current event: what a request needs later is copied, so that long
 * connections never pin an old generation.
 */

typedef struct {
    ngx_str_t                    id;
    ngx_str_t                    name;
    ngx_str_t                    upstream_host;
    ngx_str_t                    hash_key;
    ngx_str_t                    reset;     /* before an answer begins anew */
    corral_answer_rules_t       *answer;    /* NULL: nothing is replayed */
    ngx_uint_t                   protocol;  /* corral_protocol_e */
    ngx_uint_t                   desired;   /* corral_desired_e */
    ngx_uint_t                   balance_method;     /* corral_method_e */
    uint32_t                     hash_factor;        /* percent, 0: none */
    ngx_http_corral_limits_t     limits;
    uint32_t                     queue_size;
    ngx_msec_t                   queue_timeout;
    ngx_str_t                    affinity;  /* empty: none */
    ngx_msec_t                   affinity_ttl;
    ngx_str_t                    mirror;    /* a service; empty: none */
    uint32_t                     mirror_percent;
    uint32_t                     slow_start;         /* ms, 0: none */
    uint32_t                     slow_start_rate;    /* per second, 0: any */
    ngx_http_corral_terms_t      terms;
    ngx_http_corral_eject_t      eject;
    ngx_http_corral_sse_terms_t  sse;
    ngx_http_corral_rebalance_terms_t  rebalance;

    ngx_http_corral_instance_t  *instances; /* eligible, of the best health,
                                               by priority */
    uint32_t                     n;
    uint32_t                     total;     /* of any state */
    ngx_http_corral_tier_t      *tiers;     /* with instances, by priority */
    uint32_t                     ntiers;

    ngx_pool_t                  *pool;
} ngx_http_corral_service_t;


/* Registry numbers of this worker, for leases, metrics and status. */

typedef struct {
    u_char       epoch[65];                 /* "" until something is loaded */
    uint64_t     revision;
    uint32_t     services;
    uint32_t     instances;
    uint32_t     rules;
    uint32_t     refused;                   /* documents refused so far */
    ngx_msec_t   changed;                   /* ngx_current_msec of the swap */
} ngx_http_corral_registry_info_t;


/* methods: bits of ngx_http_corral_method_e that upstream blocks use */
ngx_int_t ngx_http_corral_registry_init(ngx_cycle_t *cycle,
    ngx_uint_t methods);
ngx_http_corral_registry_info_t *ngx_http_corral_registry_info(void);

/* handler is called whenever another generation has come into force. */
void ngx_http_corral_registry_on_swap(void (*handler)(void));

/* Twice a second: tells the table which slots this worker still uses. */
void ngx_http_corral_registry_tick(void);

/*
 * Finds a service by name, then by id.  The pointer is valid until control
 * goes back to the event loop.
 */
ngx_http_corral_service_t *ngx_http_corral_registry_find(ngx_str_t *name);

/* What a request may know of the rule that it matched. */

typedef struct ngx_http_corral_rule_s  ngx_http_corral_rule_t;

/*
 * The first rule that the request matches, or NULL; get, accept and data of the
 * view are the caller's.  The pointer is valid until control goes back to the
 * event loop.  name, hash_key and force_by are those of the rule.
 */
ngx_http_corral_rule_t *ngx_http_corral_registry_match(
    corral_match_view_t *view);
ngx_str_t *ngx_http_corral_registry_rule_name(ngx_http_corral_rule_t *rule);
ngx_str_t *ngx_http_corral_registry_rule_hash_key(
    ngx_http_corral_rule_t *rule);
ngx_str_t *ngx_http_corral_registry_rule_force_by(
    ngx_http_corral_rule_t *rule);

/*
 * The service that the rule leads to: by its strategy one of its targets that
 * have a ready instance, else its fallback, else its first target.  NULL if
 * there is none of them.  key hashes what hash_key names, if that is needed.
 */
ngx_http_corral_service_t *ngx_http_corral_registry_target(
    ngx_http_corral_rule_t *rule, uint64_t (*key)(void *data), void *data);

/*
 * The target of that name, if the rule names it and it has a ready instance;
 * else NULL.
 */
ngx_http_corral_service_t *ngx_http_corral_registry_forced(
    ngx_http_corral_rule_t *rule, ngx_str_t *name);

/*
 * In turn one of the services with the tag that have a ready instance, else the
 * first with it, else NULL.
 */
ngx_http_corral_service_t *ngx_http_corral_registry_tagged(ngx_str_t *tag);

/*
 * An instance of the service that may take requests of the sessions it has: it
 * runs or drains, and this incarnation of it is meant.  NULL if there is none.
 * Valid until the next call, or until control goes back to the event loop.
 */
ngx_http_corral_instance_t *ngx_http_corral_registry_member(
    ngx_http_corral_service_t *service, ngx_str_t *id, uint32_t incarnation);

/*
 * How a try or a connection ended, for passive health.  service is its id or
 * name.  bad: hard says that the connection was refused or reset.  poor: an
 * answer that is not for us to call a failure, but counts when instances are
 * compared.  All compare them when an interval of the service is over.
 */
void ngx_http_corral_registry_good(ngx_str_t *service,
    ngx_http_corral_slot_t ref);
void ngx_http_corral_registry_bad(ngx_str_t *service,
    ngx_http_corral_slot_t ref, ngx_uint_t hard);
void ngx_http_corral_registry_poor(ngx_str_t *service,
    ngx_http_corral_slot_t ref);

/*
 * The same for all instances together: opens and closes the circuit, for tries
 * only, not for what becomes of a connection.
 */
void ngx_http_corral_registry_circuit(ngx_str_t *service, ngx_uint_t good);

/* 1 if a hash key has a known form, see hash_key in corral_schema.h */
ngx_uint_t ngx_http_corral_registry_hash_key(ngx_str_t *key);

/* An instance in any state, for metrics and status. */

typedef struct {
    ngx_str_t                  id;
    ngx_str_t                  address;
    uint32_t                   incarnation;
    uint32_t                   weight;
    uint32_t                   priority;
    ngx_uint_t                 state;       /* corral_state_e */
    ngx_uint_t                 health;      /* corral_health_e */
    ngx_http_corral_slot_t     ref;
} ngx_http_corral_registry_instance_t;


/*
 * How a rule divides its requests: one of the services that it names.  requests
 * are those of all processes since the shares were set, total all of the rule.
 */

typedef struct {
    ngx_str_t                  id;          /* of the rule */
    ngx_str_t                  name;
    ngx_uint_t                 strategy;    /* corral_strategy_e */
    ngx_uint_t                 enabled;
    ngx_uint_t                 n;           /* place of the target, from 0 */
    ngx_str_t                  service;     /* its name, or what the rule says
                                               if there is none */
    uint32_t                   weight;
    uint32_t                   ready;       /* instances */
    ngx_uint_t                 fallback;
    uint64_t                   requests;
    uint64_t                   total;
} ngx_http_corral_registry_split_t;

/*
 * Calls cb for each target of each rule that is counted, in the order of the
 * rules and of their targets, a fallback last.
 */
typedef void (*ngx_http_corral_registry_split_pt)(
    ngx_http_corral_registry_split_t *split, void *data);
void ngx_http_corral_registry_walk_splits(ngx_http_corral_registry_split_pt cb,
    void *data);

/* Calls cb for each service of the current generation, in no order. */
typedef void (*ngx_http_corral_registry_walk_pt)(
    ngx_http_corral_service_t *service, void *data);
void ngx_http_corral_registry_walk(ngx_http_corral_registry_walk_pt cb,
    void *data);

/* Calls cb for each instance of a service, in no order. */
typedef void (*ngx_http_corral_registry_instance_pt)(
    ngx_http_corral_registry_instance_t *instance, void *data);
void ngx_http_corral_registry_walk_instances(
    ngx_http_corral_service_t *service,
    ngx_http_corral_registry_instance_pt cb, void *data);

/*
 * An update: begin, then put and del in any number and over any number of
 * event loop turns, then commit until it no longer says NGX_AGAIN.  Requests
 * go on with the generation before until commit says NGX_OK.  A begin with
 * full = 1 removes, at commit, what was not put.  One update at a time;
 * abort drops what was not committed.
 *
 * put decodes the document; a refused one is logged, counted and leaves the
 * one before in force (NGX_DECLINED).  from is for the log, the name of what it
 * is a line of, or NULL.
 * commit works for at most budget milliseconds.  It returns NGX_AGAIN, NGX_OK
 * or NGX_ERROR (no memory: nothing was swapped).  In the last turns before
 * NGX_OK what was replaced is freed: then the new generation is in force, and
 * abort keeps it.
 */
ngx_int_t ngx_http_corral_registry_begin(ngx_uint_t full, ngx_log_t *log);
ngx_int_t ngx_http_corral_registry_put(ngx_http_corral_kind_e kind,
    ngx_str_t *json, ngx_str_t *from, ngx_uint_t line);
void ngx_http_corral_registry_del(ngx_http_corral_kind_e kind, ngx_str_t *id);
ngx_int_t ngx_http_corral_registry_commit(ngx_str_t *epoch, uint64_t revision,
    ngx_msec_t budget);
void ngx_http_corral_registry_abort(void);

/*
 * The registry as an image (docs/schema.md): begin, then next until NGX_OK,
 * each call working for at most budget ms and appending to a growing buffer.
 * The result is malloc'ed by ngx_alloc; the caller frees it; crc32 is of all of
 * it, made line by line.  NGX_DECLINED if the registry changed meanwhile: begin
 * anew.
 */
void ngx_http_corral_registry_print_begin(void);
ngx_int_t ngx_http_corral_registry_print_next(ngx_msec_t budget,
    ngx_str_t *image, uint32_t *crc32);


#endif /* _NGX_HTTP_CORRAL_REGISTRY_H_INCLUDED_ */
