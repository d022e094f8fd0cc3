
/*
 * A client of Redis on nginx's events: one connection, its commands and their
 * answers.  Knows no key.  See ngx_http_corral_redis.c, and
 * ngx_http_corral_redis_url.c for the address.
 */


#ifndef _NGX_HTTP_CORRAL_REDIS_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/* beyond so many bytes not yet sent, what can wait is not to be queued */
#define NGX_HTTP_CORRAL_REDIS_BACKLOG  (1024 * 1024)

/* arguments of one command */
#define NGX_HTTP_CORRAL_REDIS_ARGS     1024


/* Where Redis is.  Lives as long as the configuration. */

typedef struct {
    ngx_str_t      text;                    /* for the log: no password */
    ngx_str_t      host;                    /* a name, or empty */
    in_port_t      port;
    ngx_addr_t    *addrs;                   /* found at configuration */
    ngx_uint_t     naddrs;                  /* 0: Redis is not configured */
    ngx_str_t      user;
    ngx_str_t      password;
    ngx_uint_t     db;
} ngx_http_corral_redis_addr_t;


typedef enum {
    NGX_HTTP_CORRAL_REDIS_NIL = 0,
    NGX_HTTP_CORRAL_REDIS_STRING,
    NGX_HTTP_CORRAL_REDIS_STATUS,
    NGX_HTTP_CORRAL_REDIS_ERROR,
    NGX_HTTP_CORRAL_REDIS_INTEGER,
    NGX_HTTP_CORRAL_REDIS_ARRAY
} ngx_http_corral_redis_type_e;


typedef struct ngx_http_corral_redis_reply_s  ngx_http_corral_redis_reply_t;

struct ngx_http_corral_redis_reply_s {
    ngx_http_corral_redis_type_e     type;
    ngx_str_t                        str;   /* string, status, error */
    int64_t                          integer;
    ngx_uint_t                       n;     /* elements of an array */
    ngx_http_corral_redis_reply_t  **elements;
    ngx_pool_t                      *pool;  /* of the outermost one */
};


typedef struct ngx_http_corral_redis_s  ngx_http_corral_redis_t;

/*
 * One answer.  It is freed after the call unless it was kept.  Not called for
 * what is unanswered when the connection is lost: then closed is called.
 */
typedef void (*ngx_http_corral_redis_reply_pt)(void *data,
    ngx_http_corral_redis_reply_t *reply);

typedef void (*ngx_http_corral_redis_event_pt)(void *data);


/*
 * Reads the URL of the directive: unix:/path[?user=&password=&db=] or
 * redis://[[user]:password@]host[:port][/db].  Returns NULL, or a sentence.
 */
char *ngx_http_corral_redis_url(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr);

/*
 * Makes a client and connects it; from then on it reconnects by itself until
 * it is closed.  name tells clients apart in the log and in CLIENT LIST.
 * ready is called when Redis has accepted us, closed when a connection that
 * was ready is lost; both with data.  NULL if there is no memory.
 */
ngx_http_corral_redis_t *ngx_http_corral_redis_create(
    ngx_http_corral_redis_addr_t *addr, ngx_resolver_t *resolver,
    ngx_str_t *name, ngx_http_corral_redis_event_pt ready,
    ngx_http_corral_redis_event_pt closed, void *data);

/* Sends what can be sent at once and frees the client.  Calls nobody. */
void ngx_http_corral_redis_close(ngx_http_corral_redis_t *redis);

/*
 * Queues a command; commands of one event are sent together.  cb may be NULL:
 * then only errors are looked at, they are logged.  The answer must come
 * within timeout ms after the one before it.  NGX_DECLINED: not connected (or
 * lost right now); NGX_ERROR: no memory.  Arguments are copied.
 */
ngx_int_t ngx_http_corral_redis_command(ngx_http_corral_redis_t *redis,
    ngx_msec_t timeout, ngx_http_corral_redis_reply_pt cb, void *data,
    ngx_uint_t argc, ngx_str_t *argv);

ngx_uint_t ngx_http_corral_redis_ready(ngx_http_corral_redis_t *redis);

/* bytes not yet sent */
size_t ngx_http_corral_redis_pending(ngx_http_corral_redis_t *redis);

/*
 * Gives the connection up, with a sentence for the log ("Redis ..." stands
 * before it), and connects anew after a while.  Calls closed.
 */
void ngx_http_corral_redis_fail(ngx_http_corral_redis_t *redis,
    const char *fmt, ...);

/* Takes the answer over from the callback it is called in. */
void ngx_http_corral_redis_keep(ngx_http_corral_redis_t *redis);
void ngx_http_corral_redis_free(ngx_http_corral_redis_reply_t *reply);


#endif /* _NGX_HTTP_CORRAL_REDIS_H_INCLUDED_ */
