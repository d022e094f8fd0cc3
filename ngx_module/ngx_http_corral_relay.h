
/*
 * Relayed WebSockets: the pair of connections after the 101, what it counts,
 * how it ends.  See ngx_http_corral_relay.c.
 */


#ifndef _NGX_HTTP_CORRAL_RELAY_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RELAY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <corral_frame.h>

#include "ngx_http_corral.h"


typedef struct ngx_http_corral_pair_s  ngx_http_corral_pair_t;

struct ngx_http_corral_handshake_s;


/* What the connection list shows of one pair (corral_schema.h). */

typedef struct {
    uint64_t     id;                        /* of the connection */
    ngx_str_t    service_id;
    ngx_str_t    service;
    ngx_str_t    instance_id;
    ngx_str_t    session_id;
    ngx_str_t    tenant;
    ngx_str_t    subject;
    ngx_str_t    client_ip;
    in_port_t    client_port;
    ngx_str_t    user_agent;
    ngx_str_t    path;
    ngx_uint_t   method;                    /* ngx_http_corral_method_e */
    ngx_uint_t   closing;
    ngx_uint_t   resumed;                   /* times it got another instance */
    time_t       connected_at;
    time_t       last_activity;
    time_t       expires;                   /* 0: never */
    uint64_t     messages_in;
    uint64_t     messages_out;
    uint64_t     bytes_in;
    uint64_t     bytes_out;
} ngx_http_corral_pair_view_t;


/* An empty string matches everything. */

typedef struct {
    uint64_t     id;                        /* 0: any */
    ngx_str_t    service_id;
    ngx_str_t    instance_id;
    ngx_str_t    session_id;
    ngx_str_t    tenant;
    ngx_str_t    subject;
    ngx_str_t    client_ip;
    uint64_t     age;                       /* ms, open for so long at least */
    uint64_t     idle;                      /* ms, the same without a message */
} ngx_http_corral_filter_t;


/* What the handshake hands over; agreed is of ngx_http_corral_handshake.h. */

typedef struct {
    ngx_str_t                 head;         /* the 101 for the client */
    ngx_str_t                 early;        /* bytes the agent sent behind it */
    ngx_http_corral_terms_t  *terms;        /* nothing in it is unset */
    void                     *agreed;
    ngx_http_cleanup_t       *cleanup;      /* the handshake's own, of r */
    ngx_uint_t                deflate;      /* RSV1 is allowed */
} ngx_http_corral_start_t;


typedef void (*ngx_http_corral_closed_pt)(void *data, ngx_uint_t matched,
    ngx_uint_t closed, ngx_uint_t sent);


/* How a drain goes on; reason has at most 90 bytes, to leave room. */

typedef struct {
    ngx_uint_t    code;
    ngx_str_t     reason;
    uint64_t      rate;                     /* pairs a second, all workers;
                                               0: at once, if quiet */
    uint64_t      total;                    /* pairs of all workers, 0: ours */
    ngx_msec_t    deadline;                 /* ms from now */
    ngx_uint_t    retry_after;              /* s, at most; 0: not said */
} ngx_http_corral_drain_t;


ngx_int_t ngx_http_corral_relay_init(ngx_cycle_t *cycle);

/*
 * Makes a pair of the client's connection and r->upstream's.  Sends the 101.
 * Takes over both connections and ctx->hold; the request is freed, or kept if
 * somebody else holds it.  Returns NGX_OK: r must not be used any more; or
 * NGX_ERROR: nothing was changed.  Nothing is read before the next event.
 */
ngx_int_t ngx_http_corral_relay_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_start_t *start);

/*
 * The handshake of a pair that has lost its instance has ended: in a 101 that
 * is as good as the first one, or in no instance.  Frees the handshake.
 */
void ngx_http_corral_relay_move_joined(struct ngx_http_corral_handshake_s *h);
void ngx_http_corral_relay_move_failed(struct ngx_http_corral_handshake_s *h);

/* 1 if the client's connection belongs to a pair, and not to a request */
ngx_uint_t ngx_http_corral_relay_owns(ngx_connection_t *c);

/* The worker ends now: each pair ends, with a Close where one can be sent. */
void ngx_http_corral_relay_exit(void);

/* number of pairs in this worker */
ngx_uint_t ngx_http_corral_relay_count(void);

/*
 * Number of messages so far that this worker has seen in flight at two deaths,
 * and the service of the last of them (empty; points into static memory).
 */
ngx_uint_t ngx_http_corral_relay_suspects(ngx_str_t *service_id);

/*
 * The connection list is published as differences.  next returns, for each
 * pair that was opened, closed or used since it was last returned, NGX_OK with
 * its view (strings point into the pair), NGX_DECLINED with only view->id for
 * one that is gone, NGX_DONE when there is nothing new.  again makes all
 * pairs new (after Redis was lost).
 */
ngx_int_t ngx_http_corral_relay_next(ngx_http_corral_pair_view_t *view);
void ngx_http_corral_relay_again(void);

/*
 * Closes all pairs that match: a Close frame with code and reason to the
 * client at the next frame boundary, 1001 to the agent; after close_timeout
 * the connection is reset.  done is called once, when all matched have ended or
 * have got the frame and need only answer it (perhaps at once): with how many
 * got it.  dry_run only counts.
 */
void ngx_http_corral_relay_close(ngx_http_corral_filter_t *filter,
    ngx_uint_t code, ngx_str_t *reason, ngx_uint_t dry_run,
    ngx_http_corral_closed_pt done, void *data);


/*
 * All pairs that match expire at another time (unix time).  Returns how many
 * there are.
 */
ngx_uint_t ngx_http_corral_relay_renew(ngx_http_corral_filter_t *filter,
    time_t expires);

/*
 * Closes with 4401 those of the next max pairs that are revoked by now.  *at
 * is NULL and *n 0 at the beginning.  NGX_AGAIN, or NGX_OK when all were looked
 * at.
 */
ngx_int_t ngx_http_corral_relay_revoke(void **at, ngx_uint_t *n,
    ngx_uint_t max);

/*
 * The same as close, at a pace: those that are idle longest first, each when
 * no message is half passed, and all of them by the deadline.  done is called
 * once, as above.
 */
void ngx_http_corral_relay_drain(ngx_http_corral_filter_t *filter,
    ngx_http_corral_drain_t *drain, ngx_http_corral_closed_pt done,
    void *data);

/*
 * One pass of rebalancing for a service, whatever its "rebalance" is: those go
 * that go on with another instance.  number is that of the command, the same in
 * all workers.  Says how many are to go from this gateway, in the first worker
 * of it that is asked, and how many of this worker could.  dry_run only counts.
 * Returns NULL, or why nothing is done.
 */

typedef struct {
    ngx_uint_t    planned;
    ngx_uint_t    movable;
} ngx_http_corral_rebalanced_t;

const char *ngx_http_corral_relay_rebalance(ngx_str_t *service_id,
    uint32_t number, ngx_uint_t dry_run, ngx_http_corral_rebalanced_t *result);


#endif /* _NGX_HTTP_CORRAL_RELAY_H_INCLUDED_ */
