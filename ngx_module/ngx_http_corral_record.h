
/*
 * What is kept of a request that was upgraded and freed: for the log phase at
 * its end and for the list of connections.  See ngx_http_corral_record.c.
 */


#ifndef _NGX_HTTP_CORRAL_RECORD_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RECORD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_corral.h"
#include "ngx_http_corral_websocket.h"


typedef enum {
    NGX_HTTP_CORRAL_RECORD_LINE = 0,        /* must be the first */
    NGX_HTTP_CORRAL_RECORD_URI,
    NGX_HTTP_CORRAL_RECORD_ARGS,
    NGX_HTTP_CORRAL_RECORD_UNPARSED_URI,
    NGX_HTTP_CORRAL_RECORD_HOST,
    NGX_HTTP_CORRAL_RECORD_TENANT,
    NGX_HTTP_CORRAL_RECORD_SUBJECT,
    NGX_HTTP_CORRAL_RECORD_TOKEN,
    NGX_HTTP_CORRAL_RECORD_SESSION,
    NGX_HTTP_CORRAL_RECORD_RULE,
    NGX_HTTP_CORRAL_RECORD_PREFIX,
    NGX_HTTP_CORRAL_RECORD_TARGET,          /* the URI that the agent got */
    NGX_HTTP_CORRAL_RECORD_UPSTREAM_HOST,
    NGX_HTTP_CORRAL_RECORD_INSTANCE_ID,
    NGX_HTTP_CORRAL_RECORD_INSTANCE_NAME,
    NGX_HTTP_CORRAL_RECORD_USER_AGENT,
    NGX_HTTP_CORRAL_RECORD_CLAIMS,          /* if it may be moved; the longest
                                               is the last to get room */
    NGX_HTTP_CORRAL_RECORD_STRINGS
} ngx_http_corral_record_e;


typedef struct ngx_http_corral_record_s  ngx_http_corral_record_t;


/* What the record itself does not know when the log phase is to run. */

typedef struct {
    ngx_connection_t             *connection;      /* of the client */
    ngx_http_connection_t        *hc;
    void                        **srv_conf;
    void                        **loc_conf;
    ngx_str_t                     service_id;
    ngx_str_t                     service_name;
    ngx_http_corral_terms_t      *terms;
    ngx_http_corral_websocket_t  *websocket;
    off_t                         upstream_sent;      /* to the agent */
    off_t                         upstream_received;  /* behind its head */
} ngx_http_corral_record_end_t;


/* What a snapshot does with each variable: once a worker, by their names. */
ngx_int_t ngx_http_corral_record_init(ngx_cycle_t *cycle);

/*
 * Makes the record of r, which is about to be upgraded: r->upstream_states,
 * r->headers_out and r->header_size are complete.  variables: take a snapshot
 * of them, too (not needed if r stays).  NULL if there is no memory; freed by
 * ngx_free().
 */
ngx_http_corral_record_t *ngx_http_corral_record_create(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_uint_t variables);

/* A copy of it in a pool; NULL if there is no memory. */
ngx_http_corral_record_t *ngx_http_corral_record_copy(
    ngx_http_corral_record_t *record, ngx_pool_t *pool);

/* A string of it; points into the record. */
ngx_str_t ngx_http_corral_record_string(ngx_http_corral_record_t *record,
    ngx_http_corral_record_e which);

/* When the connection was upgraded, and how its instance was chosen. */
time_t ngx_http_corral_record_opened(ngx_http_corral_record_t *record);
ngx_uint_t ngx_http_corral_record_method(ngx_http_corral_record_t *record);

/*
 * The request that stands in for the one that is gone, in a pool that the
 * caller makes and destroys.  NULL if there is no memory.
 */
ngx_http_request_t *ngx_http_corral_record_request(
    ngx_http_corral_record_t *record, ngx_http_corral_record_end_t *end,
    ngx_pool_t *pool);

/*
 * Makes the record of a connection that has another instance now: ctx->instance
 * and state are of its handshake, which began at tried.  The state of the one
 * before gets its end.  NULL if there is no memory, or no room in a record; the
 * old one stays.
 */
ngx_http_corral_record_t *ngx_http_corral_record_move(
    ngx_http_corral_record_t *record, ngx_http_corral_ctx_t *ctx,
    ngx_http_upstream_state_t *state, ngx_msec_t tried,
    ngx_http_corral_record_end_t *end);

/*
 * Runs the handlers of the log phase with a request made of the record.
 * Writes an error and runs none if there is no memory.
 */
void ngx_http_corral_record_log(ngx_http_corral_record_t *record,
    ngx_http_corral_record_end_t *end);


#endif /* _NGX_HTTP_CORRAL_RECORD_H_INCLUDED_ */
