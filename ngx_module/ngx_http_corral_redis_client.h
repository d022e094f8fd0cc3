
/*
 * The client behind ngx_http_corral_redis_t, for ngx_http_corral_redis.c and
 * ngx_http_corral_redis_connect.c alone.
 */


#ifndef _NGX_HTTP_CORRAL_REDIS_CLIENT_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REDIS_CLIENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_http_corral_redis.h"
#include "ngx_http_corral_redis_reader.h"


#define NGX_HTTP_CORRAL_REDIS_SILENCE   60        /* s between equal lines */
#define NGX_HTTP_CORRAL_REDIS_ADDRS     8


typedef enum {
    NGX_HTTP_CORRAL_REDIS_WAITING = 0,     /* until the next try */
    NGX_HTTP_CORRAL_REDIS_RESOLVING,
    NGX_HTTP_CORRAL_REDIS_CONNECTING,
    NGX_HTTP_CORRAL_REDIS_GREETING,
    NGX_HTTP_CORRAL_REDIS_READY
} ngx_http_corral_redis_state_e;


typedef struct {
    ngx_queue_t                       queue;
    ngx_msec_t                        timeout;
    ngx_http_corral_redis_reply_pt    cb;
    void                             *data;
} ngx_http_corral_redis_call_t;


typedef struct {
    ngx_sockaddr_t                    sockaddr;
    ngx_str_t                         name;
    u_char                            text[NGX_SOCKADDR_STRLEN];
} ngx_http_corral_redis_peer_t;


struct ngx_http_corral_redis_s {
    ngx_pool_t                       *pool;
    ngx_http_corral_redis_addr_t     *addr;
    ngx_resolver_t                   *resolver;
    ngx_resolver_ctx_t               *resolving;
    ngx_str_t                         name;
    ngx_http_corral_redis_event_pt    ready;
    ngx_http_corral_redis_event_pt    closed;
    void                             *data;

    ngx_http_corral_redis_state_e     state;
    ngx_event_t                       timer;  /* next try, or next answer */
    ngx_connection_t                  dummy;  /* timer.data */
    ngx_msec_t                        delay;
    ngx_msec_t                        since;  /* ready since */
    time_t                            told;     /* when it was logged: lost, */
    time_t                            told_up;  /* connected, */
    time_t                            refused;  /* and a command refused */
    ngx_uint_t                        quiet;    /* the next is a repetition */
    ngx_uint_t                        next;   /* address to try */

    ngx_http_corral_redis_peer_t      peers[NGX_HTTP_CORRAL_REDIS_ADDRS];
    ngx_uint_t                        npeers; /* found at run time */

    ngx_connection_t                 *connection;
    ngx_uint_t                        generation;  /* of the connection */
    ngx_queue_t                       calls;
    ngx_queue_t                       free;

    u_char                           *out;
    size_t                            out_pos;
    size_t                            out_len;
    size_t                            out_size;

    ngx_http_corral_redis_reader_t    reader;
    ngx_uint_t                        kept;   /* the answer of this callback */
};


/* ngx_http_corral_redis_connect.c: prepares the timer, which then connects. */
void ngx_http_corral_redis_begin(ngx_http_corral_redis_t *redis);

/* Frees all that belongs to the connection; it is not made anew. */
void ngx_http_corral_redis_drop(ngx_http_corral_redis_t *redis);

/*
 * As ngx_http_corral_redis_fail(), which is in the same file, with an error of
 * the system or 0.
 */
void ngx_http_corral_redis_lost(ngx_http_corral_redis_t *redis,
    ngx_err_t err, const char *fmt, ...);

/*
 * ngx_http_corral_redis.c: as ngx_http_corral_redis_command(), also before the
 * client is ready.
 */
ngx_int_t ngx_http_corral_redis_queue(ngx_http_corral_redis_t *redis,
    ngx_msec_t timeout, ngx_http_corral_redis_reply_pt cb, void *data,
    ngx_uint_t argc, ngx_str_t *argv);

/* The events of a connection that is there. */
void ngx_http_corral_redis_write(ngx_event_t *ev);
void ngx_http_corral_redis_read(ngx_event_t *ev);


#endif /* _NGX_HTTP_CORRAL_REDIS_CLIENT_H_INCLUDED_ */
