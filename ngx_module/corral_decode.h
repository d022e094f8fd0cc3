
/*
 * Documents of the registry as gateways need them: the fields of
 * corral_schema.h that carry flag CORRAL_G, decoded from JSON into plain
 * structs, and printed back for the image and the state file.
 * See corral_decode.c.
 */


#ifndef _CORRAL_DECODE_H_INCLUDED_
#define _CORRAL_DECODE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <corral_schema.h>


#define CORRAL_DECODE_UNSET     (-1)    /* integer or duration that is null */
#define CORRAL_DECODE_ERROR     512     /* a size that fits any error */
#define CORRAL_DECODE_HEAD_MAX  256     /* first line of an image, with \n */


/* len bytes and a NUL, which is not counted; same layout as ngx_str_t */

typedef struct {
    size_t          len;
    char           *data;
} corral_str_t;


typedef struct {
    uint32_t        n;
    corral_str_t   *items;
} corral_strs_t;


typedef enum {
    CORRAL_SERVICE = 0,
    CORRAL_INSTANCE,
    CORRAL_RULE,
    CORRAL_KINDS
} corral_kind_e;


/* words of the enumerations, in the order of corral_schema.h */

typedef enum {
    CORRAL_DESIRED_RUNNING = 0,
    CORRAL_DESIRED_STOPPED,
    CORRAL_DESIRED_PAUSED
} corral_desired_e;


typedef enum {
    CORRAL_PROTOCOL_HTTP = 0,
    CORRAL_PROTOCOL_HTTPS,
    CORRAL_PROTOCOL_GRPC,
    CORRAL_PROTOCOL_GRPCS
} corral_protocol_e;


typedef enum {
    CORRAL_METHOD_DEFAULT = 0,
    CORRAL_METHOD_ROUND_ROBIN,
    CORRAL_METHOD_LEAST_CONN,
    CORRAL_METHOD_HASH,
    CORRAL_METHOD_RANDOM,
    CORRAL_METHOD_P2C,
    CORRAL_METHOD_EWMA,
    CORRAL_METHOD_WEIGHTED_ROUND_ROBIN,     /* other names of the same */
    CORRAL_METHOD_WEIGHTED_RANDOM,
    CORRAL_METHOD_LEAST_CONNECTIONS
} corral_method_e;


typedef enum {
    CORRAL_FAILOVER_CLOSE = 0,
    CORRAL_FAILOVER_REATTACH,
    CORRAL_FAILOVER_REPLAY
} corral_failover_e;


typedef enum {
    CORRAL_REBALANCE_OFF = 0,
    CORRAL_REBALANCE_REATTACH,
    CORRAL_REBALANCE_CLOSE
} corral_rebalance_e;


typedef enum {
    CORRAL_ANSWER_MODE_NONE = 0,
    CORRAL_ANSWER_MODE_JSONRPC,
    CORRAL_ANSWER_MODE_EVENTS,
    CORRAL_ANSWER_MODE_POINTERS
} corral_answer_mode_e;


typedef enum {
    CORRAL_RATE_ACTION_CLOSE = 0,
    CORRAL_RATE_ACTION_DELAY
} corral_rate_action_e;


typedef enum {
    CORRAL_STATE_PENDING = 0,
    CORRAL_STATE_STARTING,
    CORRAL_STATE_RUNNING,
    CORRAL_STATE_PAUSED,
    CORRAL_STATE_DRAINING,
    CORRAL_STATE_STOPPING,
    CORRAL_STATE_STOPPED,
    CORRAL_STATE_FAILED
} corral_state_e;


typedef enum {
    CORRAL_HEALTH_HEALTHY = 0,
    CORRAL_HEALTH_DEGRADED,
    CORRAL_HEALTH_UNHEALTHY,
    CORRAL_HEALTH_UNKNOWN
} corral_health_e;


typedef enum {
    CORRAL_STRATEGY_ROUND_ROBIN = 0,
    CORRAL_STRATEGY_RANDOM,
    CORRAL_STRATEGY_WEIGHTED_RANDOM,
    CORRAL_STRATEGY_LEAST_CONNECTIONS,
    CORRAL_STRATEGY_HASH_BASED,
    CORRAL_STRATEGY_MANUAL,
    CORRAL_STRATEGY_TAG_BASED
} corral_strategy_e;


#define corral_decode_operator_e(word, text)  CORRAL_OPERATOR_##word,

typedef enum {
    CORRAL_OPERATORS(corral_decode_operator_e)
    CORRAL_OPERATOR_NUMBER
} corral_operator_e;


/* Durations are in milliseconds.  -1: null, left to the directives. */

typedef struct {
    corral_str_t    service_id;
    corral_str_t    name;
    corral_strs_t   tags;
    int64_t         desired;            /* corral_desired_e */
    int64_t         protocol;           /* corral_protocol_e */
    corral_str_t    upstream_host;      /* empty: that of the client */
    int64_t         balance;            /* corral_method_e */
    corral_str_t    hash_key;
    corral_str_t    affinity;
    int64_t         affinity_ttl;
    int64_t         hash_balance_factor;    /* percent, 0: no bound */
    int64_t         spill_threshold;        /* percent */
    int64_t         slow_start;             /* 0: none */
    int64_t         slow_start_rate;        /* 0: no limit */
    int64_t         connect_timeout;
    int64_t         handshake_timeout;
    int64_t         idle_timeout;
    int64_t         ping_interval;
    int64_t         ping_timeout;
    int64_t         close_timeout;
    int64_t         max_lifetime;
    int64_t         max_message_size;
    int64_t         max_message_size_out;
    int64_t         message_rate;
    int64_t         message_burst;
    int64_t         message_rate_action;     /* corral_rate_action_e */
    int64_t         byte_rate;
    int64_t         byte_rate_out;
    int64_t         tries;
    int64_t         retry_budget;           /* percent */
    int64_t         circuit_failures;       /* 0: never */
    int64_t         circuit_timeout;
    int64_t         max_fails;
    int64_t         fail_timeout;
    int64_t         eject_max_time;
    int64_t         eject_interval;
    int64_t         eject_min_requests;
    int64_t         eject_failure_percent;
    int64_t         eject_deviation;
    int64_t         max_ejected;
    int64_t         early_end;
    int64_t         max_sessions;
    int64_t         max_connections;
    int64_t         queue_size;
    int64_t         queue_timeout;
    int64_t         drain_timeout;
    corral_str_t    mirror;                 /* empty: none */
    int64_t         mirror_percent;
    int64_t         sse_resume;
    int64_t         sse_events;
    int64_t         sse_keep;
    int64_t         sse_run_on;
    int64_t         failover;           /* corral_failover_e */
    int64_t         hold_time;
    int64_t         hold_size;
    int64_t         journal_size;
    int64_t         answer;             /* corral_answer_mode_e */
    corral_str_t    answer_id;
    corral_str_t    answer_reply_id;
    corral_str_t    answer_name;
    corral_strs_t   answer_requests;
    corral_strs_t   answer_streams;
    corral_strs_t   answer_finals;
    corral_str_t    answer_final;
    int64_t         preamble_messages;
    corral_strs_t   preamble_names;
    int64_t         replay_started;     /* boolean */
    corral_str_t    reset;
    int64_t         rebalance;          /* corral_rebalance_e */
    int64_t         rebalance_rate;     /* a second */
    int64_t         rebalance_tolerance;    /* percent */
    int64_t         rebalance_idle;     /* ms */
    int64_t         rebalance_sessions; /* boolean */
} corral_service_t;


typedef struct {
    corral_str_t    instance_id;
    corral_str_t    service_id;
    int64_t         incarnation;
    corral_str_t    node;
    corral_str_t    address;
    int64_t         weight;
    int64_t         priority;
    int64_t         state;              /* corral_state_e */
    int64_t         health;             /* corral_health_e */
} corral_instance_t;


typedef struct {
    corral_str_t    field;
    int64_t         operator;           /* corral_operator_e */
    corral_str_t    value;
    corral_strs_t   values;
    int64_t         case_sensitive;
} corral_condition_t;


typedef struct {
    uint32_t             n;
    corral_condition_t  *items;
} corral_conditions_t;


typedef struct {
    corral_str_t    name;               /* of a service */
    int64_t         weight;
} corral_weight_t;


typedef struct {
    uint32_t          n;
    corral_weight_t  *items;
} corral_weights_t;


typedef struct {
    corral_str_t         rule_id;
    corral_str_t         name;
    int64_t              priority;
    int64_t              enabled;
    corral_conditions_t  conditions;
    corral_strs_t        target_services;
    corral_strs_t        target_tags;
    int64_t              target_strategy;    /* corral_strategy_e */
    corral_str_t         hash_key;
    corral_str_t         force_by;      /* empty: nothing */
    corral_weights_t     weights;
    int64_t              weight;
    corral_str_t         fallback_service;   /* empty: none */
} corral_rule_t;


/* An image or state file while it is read; data must outlive it. */

typedef struct {
    char            epoch[65];
    uint64_t        revision;
    uint64_t        number;             /* of the line last returned, from 1 */

    const char     *body;               /* behind the first line */
    const char     *next;
    const char     *end;
    const char     *checked;
    uint64_t        lines;              /* seen by the check so far */
    int             open;               /* a line of them is not ended yet */
    int64_t         want_lines;         /* -1: not said */
    int64_t         want_crc32;         /* -1: not said */
    uint32_t        crc32;
} corral_decode_image_t;


/* returns size bytes, aligned for any type, or NULL */
typedef void *(*corral_decode_alloc_pt)(void *data, size_t size);


int corral_decode_service(const char *json, size_t len, corral_service_t *out,
    corral_decode_alloc_pt alloc, void *data, char *err, size_t size);
int corral_decode_instance(const char *json, size_t len,
    corral_instance_t *out, corral_decode_alloc_pt alloc, void *data,
    char *err, size_t size);
int corral_decode_rule(const char *json, size_t len, corral_rule_t *out,
    corral_decode_alloc_pt alloc, void *data, char *err, size_t size);
int corral_decode_kind(const char *json, size_t len, char *err, size_t size);

size_t corral_decode_print_service(const corral_service_t *service, char *buf,
    size_t size);
size_t corral_decode_print_instance(const corral_instance_t *instance,
    char *buf, size_t size);
size_t corral_decode_print_rule(const corral_rule_t *rule, char *buf,
    size_t size);
size_t corral_decode_print_head(const char *epoch, uint64_t revision,
    uint64_t lines, uint32_t crc32, char *buf, size_t size);
uint32_t corral_decode_crc32(uint32_t crc, const void *data, size_t len);
uint32_t corral_decode_crc32_join(uint32_t first, uint32_t second,
    size_t len);

int corral_decode_image_open(corral_decode_image_t *image, const char *data,
    size_t len, char *err, size_t size);
int corral_decode_image_check(corral_decode_image_t *image, size_t budget,
    char *err, size_t size);
int corral_decode_image_next(corral_decode_image_t *image, const char **line,
    size_t *len);


#endif /* _CORRAL_DECODE_H_INCLUDED_ */
