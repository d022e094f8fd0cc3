
/*
 * What the modules of Corral share: the context that one request carries, the
 * main and location configuration of the core, and the steps.
 */


#ifndef _NGX_HTTP_CORRAL_H_INCLUDED_
#define _NGX_HTTP_CORRAL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <corral_schema.h>

#include "ngx_http_corral_redis.h"
#include "ngx_http_corral_registry.h"
#include "ngx_http_corral_table.h"


#define NGX_HTTP_CORRAL_VERSION  "0.1.0"


#define NGX_HTTP_CORRAL_MAX_TRIES  16


/*
 * What the steps learn about one request.  Each field has one writer and is
 * read only by the steps below it.  The context survives internal redirects.
 */

typedef struct {

    /* step 1, who */
    ngx_str_t                    tenant;
    ngx_str_t                    subject;
    ngx_str_t                    claims;    /* see ngx_http_corral_claim() */

    /* step 2, route */
    ngx_str_t                    service_id;     /* copies; empty: none */
    ngx_str_t                    service_name;
    ngx_http_corral_terms_t      terms;     /* of the service */
    ngx_uint_t                   protocol;  /* corral_protocol_e */
    ngx_str_t                    prefix;    /* taken off the path, or empty */
    ngx_str_t                    uri;       /* request target for the agent,
                                               as the client encoded it */
    ngx_str_t                    unparsed_uri;   /* the client's, for logs */
    ngx_str_t                    session;   /* session id, or empty */
    ngx_str_t                    rule;      /* name of the rule, or empty */
    ngx_str_t                    upstream_host;  /* Host for the agent */

    /* step 3, revocation */
    ngx_str_t                    token;     /* id of the client's, or empty */
    ngx_queue_t                  open;      /* all that can be revoked */
    ngx_http_request_t          *client;    /* whose context this is */

    /* step 4, wait: reserves; step 5, upstream: replaces it on a retry */
    ngx_http_corral_instance_t   instance;  /* a copy; id is empty: none yet */
    ngx_uint_t                   method;    /* ngx_http_corral_method_e */
    ngx_http_corral_hold_t       hold;
    uint64_t                     tried[NGX_HTTP_CORRAL_MAX_TRIES];
    ngx_uint_t                   ntried;    /* keys of instances tried */
    uint64_t                     wanted;    /* key of the only one; 0: any */
    uint64_t                     affinity;  /* hash of the session */
    ngx_http_corral_slot_t       owner;     /* instance that the cookie names */
    ngx_msec_t                   queue_time;
    void                        *wait;      /* of who has it parked */

    /* step 6, websocket */
    time_t                       expires;   /* of the token; 0: never */

    /* step 5, upstream */
    ngx_http_request_t          *request;
    ngx_http_upstream_srv_conf_t *upstream;

    unsigned                     identified:1;   /* step 1 is done */
    unsigned                     routed:1;       /* step 2 is done */
    unsigned                     revoked:1;      /* since step 3 */
    unsigned                     prepared:1;     /* affinity is looked up */
    unsigned                     sticky:1;       /* affinity is a hash */
    unsigned                     cookie:1;       /* affinity by cookie */
    unsigned                     learn:1;        /* agents tell sessions */
    unsigned                     learned:1;      /* affinity is what one told */
    unsigned                     known:1;        /* where its session is */
    unsigned                     asked:1;        /* Redis, for the session */
    unsigned                     queued:1;       /* it waits, or has waited */
    unsigned                     taken:1;        /* peer.get used instance */
    unsigned                     reported:1;     /* result of try was told */
    unsigned                     refused:1;      /* no budget for a retry */
    unsigned                     moved:1;        /* a WebSocket that was open */
    unsigned                     mirrored:1;     /* it was asked about a copy */
    unsigned                     copy:1;         /* this is the copy's */
} ngx_http_corral_ctx_t;


typedef struct {
    ngx_shm_zone_t              *zone;
    ngx_str_t                    redis;     /* url, "" if not configured */
    ngx_http_corral_redis_addr_t redis_addr;
    ngx_str_t                    state_file;
    ngx_str_t                    cluster;
    ngx_str_t                    node;
    ngx_str_t                    gateway;
    ngx_str_t                    affinity_secret;
    ngx_str_t                    used;      /* directive that needs a zone */
    ngx_http_upstream_srv_conf_t *upstream; /* the first block with "corral" */
    ngx_uint_t                   methods;   /* bits of ..._method_e in use */
} ngx_http_corral_main_conf_t;


/* Is this location Corral's?  Set by the directives of the route step. */

typedef struct {
    ngx_flag_t                   enabled;
} ngx_http_corral_loc_conf_t;


ngx_http_corral_main_conf_t *ngx_http_corral_get_main_conf(ngx_cycle_t *cycle);

/*
 * Returns the context of the request, creating it on the first call; NULL if
 * there is no memory.
 */
ngx_http_corral_ctx_t *ngx_http_corral_get_ctx(ngx_http_request_t *r);

/*
 * Makes one for a copy of the request, which is another request of the same
 * pool; NULL if there is no memory.
 */
ngx_http_corral_ctx_t *ngx_http_corral_create_ctx(ngx_http_request_t *r);

/* Returns it only if there is one already. */
ngx_http_corral_ctx_t *ngx_http_corral_find_ctx(ngx_http_request_t *r);

/*
 * The variables of a module: a table that ends with ngx_http_null_variable.
 * variable is the get_handler of one that is a string in the context, at data
 * bytes.
 */
ngx_int_t ngx_http_corral_add_variables(ngx_conf_t *cf,
    ngx_http_variable_t *v);
ngx_int_t ngx_http_corral_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/* The slot of a directive: the path of a location, or "off", which is empty. */
char *ngx_http_corral_conf_location(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* 1 if all cleanups of r->pool are Corral's own */
ngx_uint_t ngx_http_corral_only_own_cleanups(ngx_http_request_t *r);

/*
 * Sets a header of the request for the agent: replaces the client's, or adds
 * it.  The name is in lower case.  Returns NGX_OK, NGX_ERROR, or NGX_DECLINED
 * if the value holds a control character: then nothing was changed.
 */
ngx_int_t ngx_http_corral_set_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);

/*
 * Is this the name of a header that nginx or we have parsed?  The name is in
 * lower case; so is a copy of the header's own, with which a comparison takes a
 * tenth of the time.
 */
#define ngx_http_corral_header_is(h, name, size)                              \
    ((h)->key.len == (size)                                                   \
     && ((h)->lowcase_key                                                     \
         ? ngx_memcmp((h)->lowcase_key, (name), (size)) == 0                  \
         : ngx_strncasecmp((h)->key.data, (u_char *) (name), (size)) == 0))

/* Finds a header of the request by its name, in any case; NULL if none. */
ngx_table_elt_t *ngx_http_corral_get_header(ngx_http_request_t *r,
    ngx_str_t *name);

/*
 * Who it is, as the directives of r's location say now: sets tenant, subject
 * and claims of ctx, to strings of r->pool.  NGX_OK, NGX_ERROR, or NGX_DECLINED
 * if one of them is too long or not text, which was logged.
 */
ngx_int_t ngx_http_corral_who(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);

/* The id of its token, likewise.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_corral_token_id(ngx_http_request_t *r, ngx_str_t *token);

/* The value of a claim; empty if there is none of that name. */
void ngx_http_corral_claim(ngx_http_corral_ctx_t *ctx, ngx_str_t *name,
    ngx_str_t *value);

/*
 * The first value that a hash key names (hash_key in corral_schema.h) and the
 * request has, or empty; and a hash of it, or of the client's address.
 */
void ngx_http_corral_hash_value(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *key, ngx_str_t *value);
uint64_t ngx_http_corral_hash(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *key);

/*
 * Answers with a problem document (RFC 9457): status, code (a stable word) and
 * a sentence.  retry_after in seconds, 0 for none.  To be returned by a phase
 * handler: the request is finalized, NGX_DONE is returned.
 */
ngx_int_t ngx_http_corral_problem(ngx_http_request_t *r, ngx_uint_t status,
    char *code, ngx_uint_t retry_after, const char *fmt, ...);

/* The same for a content handler: sends it and returns what to return. */
ngx_int_t ngx_http_corral_send_problem(ngx_http_request_t *r,
    ngx_uint_t status, char *code, ngx_uint_t retry_after, const char *fmt,
    ...);

/*
 * The route step's last part: the request is for this service.  What it needs
 * of it is copied.
 */
ngx_int_t ngx_http_corral_route_take(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service);

/*
 * park holds a request of a phase handler, which returns NGX_AGAIN then.
 * handler is called when timeout ms are over or unpark was called; it calls
 * parked first and returns unless that says NGX_OK, and then goes on with
 * ngx_http_core_run_phases() or an answer.  unpark calls nobody itself.
 */
ngx_int_t ngx_http_corral_park(ngx_http_request_t *r, char *action,
    ngx_http_event_handler_pt handler, ngx_msec_t timeout);
void ngx_http_corral_unpark(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_parked(ngx_http_request_t *r);

/* the steps, see ngx_http_corral_steps[] for their order */
ngx_int_t ngx_http_corral_identity_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_who_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_route_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_revocation_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_sse_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_wait_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_websocket_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_mirror_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_corral_metrics_log_handler(ngx_http_request_t *r);

/*
 * The upstream step for the steps around it.
 *
 * init_peer prepares r->upstream->peer: its data is the context.  The relay
 * calls it instead of peer.init, so that "keepalive" never lends it a
 * connection.
 *
 * pick looks up the service in the current generation, chooses an instance
 * that was not tried, reserves it, and sets ctx->instance and ctx->hold.
 * NGX_OK, or NGX_BUSY if there is none.
 *
 * report tells passive health and the latency how the try of ctx->instance
 * ended.  hard: the connection was refused or reset.
 *
 * circuit answers the request with a problem and returns 1 if the circuit of
 * its service is open; else the request may be the one that tries it.
 *
 * is_open says whether that is so, without an answer.
 *
 * is_corral says whether an upstream block has the directive "corral".
 */
ngx_int_t ngx_http_corral_upstream_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *uscf);
ngx_int_t ngx_http_corral_upstream_pick(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_upstream_srv_conf_t *uscf);
void ngx_http_corral_upstream_report(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t ok, ngx_uint_t hard);
ngx_uint_t ngx_http_corral_upstream_circuit(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
ngx_uint_t ngx_http_corral_upstream_is_open(
    ngx_http_corral_service_t *service);
ngx_uint_t ngx_http_corral_upstream_is_corral(
    ngx_http_upstream_srv_conf_t *uscf);


extern ngx_module_t  ngx_http_corral_module;


#endif /* _NGX_HTTP_CORRAL_H_INCLUDED_ */
