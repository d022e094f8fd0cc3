
/*
 * What a worker tells through Redis: its lease, its connections, what it
 * serves from.  See ngx_http_corral_publish.c.
 */


#ifndef _NGX_HTTP_CORRAL_PUBLISH_H_INCLUDED_
#define _NGX_HTTP_CORRAL_PUBLISH_H_INCLUDED_


#include "ngx_http_corral.h"
#include "ngx_http_corral_redis.h"


/* an answer of Redis is due within */
#define NGX_HTTP_CORRAL_PUBLISH_TIMEOUT  3000     /* ms */


/* Called once in a worker.  The pool lives as long as the worker. */
ngx_int_t ngx_http_corral_publish_init(ngx_pool_t *pool,
    ngx_http_corral_main_conf_t *mcf);

/* gateway:pid:start_time */
ngx_str_t *ngx_http_corral_publish_worker(void);
ngx_str_t *ngx_http_corral_publish_gateway(void);

/*
 * The connection that carries it all is there, or gone.  Without it nothing
 * is published and nothing is queued.
 */
void ngx_http_corral_publish_connected(ngx_http_corral_redis_t *redis);
void ngx_http_corral_publish_closed(void);

/* Renews the lease and publishes differences of the connection list. */
void ngx_http_corral_publish_beat(void);

/* So many requests wait in this worker for a service. */
void ngx_http_corral_publish_waiting(ngx_str_t *service_id,
    ngx_uint_t waiting);

/* The worker serves from this revision. */
void ngx_http_corral_publish_ack(void);

/* Redis takes commands, and does so in time. */
ngx_uint_t ngx_http_corral_publish_ready(void);

/*
 * Sends a command; cb is not called if the connection is lost meanwhile, nor
 * if this does not return NGX_OK.
 */
ngx_int_t ngx_http_corral_publish_ask(ngx_http_corral_redis_reply_pt cb,
    void *data, ngx_uint_t argc, ngx_str_t *argv);

/* Sends a command whose answer nobody waits for; dropped if not connected. */
void ngx_http_corral_publish_send(ngx_uint_t argc, ngx_str_t *argv);

/* Prolongs a key by the time of a lease; cb as with ask, or NULL. */
void ngx_http_corral_publish_expire(ngx_str_t *key,
    ngx_http_corral_redis_reply_pt cb);

/*
 * The inside of a JSON string, of at most max bytes of value.  Writes up to six
 * times as much, returns the end.
 */
u_char *ngx_http_corral_publish_escape(u_char *p, ngx_str_t *value,
    size_t max);

/* Takes the lease back. */
void ngx_http_corral_publish_bye(void);

/*
 * ngx_http_corral_publish_list.c: the connections of this worker.  init, key,
 * connected, closed and beat are for ngx_http_corral_publish.c alone, which
 * calls each in its function of that name.  changed: a pair was opened or
 * closed.
 */
ngx_int_t ngx_http_corral_publish_list_init(ngx_pool_t *pool);
ngx_str_t *ngx_http_corral_publish_list_key(void);
void ngx_http_corral_publish_list_connected(void);
void ngx_http_corral_publish_list_closed(void);
void ngx_http_corral_publish_list_beat(void);
void ngx_http_corral_publish_list_changed(void);


#endif /* _NGX_HTTP_CORRAL_PUBLISH_H_INCLUDED_ */
