
/*
 * A client of Redis: one connection on nginx's own events, commands out,
 * answers in.  Of hiredis only the protocol is used, redisReader and
 * redisFormatCommandArgv; it never sees a socket.  No key and no command but
 * those of the greeting stands here.
 *
 * Commands are answered in their order, so a queue of callbacks is all the
 * state there is.  What was not answered in time, an answer nobody asked for,
 * or one that is too large or not Redis' protocol ends the connection; it is
 * made anew after a delay that grows.  Answers are read for at most one slice
 * a turn of the event loop.
 *
 * Lifetimes: a client is freed by close only.  A connection may end within any
 * callback (fail is called there): after each one "generation" tells.  An
 * answer has a pool of its own, made with its first byte, and is freed after
 * its callback unless it was kept.  No locks; timers are cancelable, and the
 * socket holds no exiting worker back.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include <hiredis/hiredis.h>
#include <hiredis/read.h>

#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_redis.h"


#define NGX_HTTP_CORRAL_REDIS_TIMEOUT   3000      /* ms, connect and greeting */
#define NGX_HTTP_CORRAL_REDIS_RESOLVE   3000      /* ms */
#define NGX_HTTP_CORRAL_REDIS_DELAY     100       /* ms, the first one */
#define NGX_HTTP_CORRAL_REDIS_DELAY_MAX 5000      /* ms */
#define NGX_HTTP_CORRAL_REDIS_STABLE    10000     /* ms, then it is the first */
#define NGX_HTTP_CORRAL_REDIS_SILENCE   60        /* s between equal lines */

#define NGX_HTTP_CORRAL_REDIS_CHUNK     (64 * 1024)         /* one read */
#define NGX_HTTP_CORRAL_REDIS_OUT_MAX   (8 * 1024 * 1024)   /* not yet sent */
#define NGX_HTTP_CORRAL_REDIS_OUT_KEEP  (64 * 1024)         /* when all is */
#define NGX_HTTP_CORRAL_REDIS_IN_MAX    (64 * 1024 * 1024)  /* one answer */
#define NGX_HTTP_CORRAL_REDIS_LINE_MAX  (64 * 1024)
#define NGX_HTTP_CORRAL_REDIS_ELEMENTS  (1024 * 1024)       /* of one answer */
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

    redisReader                      *reader;
    size_t                            in;     /* bytes since the last answer */
    size_t                            elements;
    ngx_pool_t                       *reply_pool;
    unsigned                          kept:1;
};


static void ngx_http_corral_redis_timer(ngx_event_t *ev);
static void ngx_http_corral_redis_try(ngx_http_corral_redis_t *redis);
static ngx_int_t ngx_http_corral_redis_resolve(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_resolved(ngx_resolver_ctx_t *ctx);
static void ngx_http_corral_redis_connect(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_peer(ngx_http_corral_redis_t *redis,
    ngx_peer_connection_t *pc);
static void ngx_http_corral_redis_connected(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_greet(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_auth(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_select(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_setname(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_info(void *data,
    ngx_http_corral_redis_reply_t *reply);
static ngx_int_t ngx_http_corral_redis_queue(ngx_http_corral_redis_t *redis,
    ngx_msec_t timeout, ngx_http_corral_redis_reply_pt cb, void *data,
    ngx_uint_t argc, ngx_str_t *argv);
static ngx_int_t ngx_http_corral_redis_append(ngx_http_corral_redis_t *redis,
    char *data, size_t len);
static void ngx_http_corral_redis_write(ngx_event_t *ev);
static ngx_int_t ngx_http_corral_redis_send(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_read(ngx_event_t *ev);
static ngx_int_t ngx_http_corral_redis_parse(ngx_http_corral_redis_t *redis);
static ngx_uint_t ngx_http_corral_redis_endless(redisReader *reader);
static void ngx_http_corral_redis_answer(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_refused(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_deadline(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_drop(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_vfail(ngx_http_corral_redis_t *redis,
    ngx_err_t err, const char *fmt, va_list args);
static void ngx_http_corral_redis_lost(ngx_http_corral_redis_t *redis,
    ngx_err_t err, const char *fmt, ...);
static ngx_http_corral_redis_reply_t *ngx_http_corral_redis_object(
    const redisReadTask *task, ngx_http_corral_redis_type_e type);
static void *ngx_http_corral_redis_string(const redisReadTask *task,
    char *data, size_t len);
static void *ngx_http_corral_redis_array(const redisReadTask *task, int n);
static void *ngx_http_corral_redis_integer(const redisReadTask *task,
    long long value);
static void *ngx_http_corral_redis_nil(const redisReadTask *task);
static void ngx_http_corral_redis_object_free(void *object);


static redisReplyObjectFunctions  ngx_http_corral_redis_objects = {
    ngx_http_corral_redis_string,
    ngx_http_corral_redis_array,
    ngx_http_corral_redis_integer,
    ngx_http_corral_redis_nil,
    ngx_http_corral_redis_object_free
};


ngx_http_corral_redis_t *
ngx_http_corral_redis_create(ngx_http_corral_redis_addr_t *addr,
    ngx_resolver_t *resolver, ngx_str_t *name,
    ngx_http_corral_redis_event_pt ready,
    ngx_http_corral_redis_event_pt closed, void *data)
{
    ngx_pool_t               *pool;
    ngx_http_corral_redis_t  *redis;

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    redis = ngx_pcalloc(pool, sizeof(ngx_http_corral_redis_t));

    if (redis == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    redis->pool = pool;
    redis->addr = addr;
    redis->resolver = addr->host.len ? resolver : NULL;
    redis->name = *name;
    redis->ready = ready;
    redis->closed = closed;
    redis->data = data;

    redis->delay = NGX_HTTP_CORRAL_REDIS_DELAY;
    redis->dummy.fd = (ngx_socket_t) -1;
    redis->dummy.data = redis;

    ngx_queue_init(&redis->calls);
    ngx_queue_init(&redis->free);

    redis->timer.handler = ngx_http_corral_redis_timer;
    redis->timer.data = &redis->dummy;
    redis->timer.log = ngx_cycle->log;
    redis->timer.cancelable = 1;

    /* never calls back from here: the caller has no pointer to it yet */

    ngx_add_timer(&redis->timer, 0);

    return redis;
}


void
ngx_http_corral_redis_close(ngx_http_corral_redis_t *redis)
{
    if (redis->state == NGX_HTTP_CORRAL_REDIS_READY) {
        (void) ngx_http_corral_redis_send(redis);
    }

    ngx_http_corral_redis_drop(redis);

    ngx_destroy_pool(redis->pool);
}


ngx_int_t
ngx_http_corral_redis_command(ngx_http_corral_redis_t *redis,
    ngx_msec_t timeout, ngx_http_corral_redis_reply_pt cb, void *data,
    ngx_uint_t argc, ngx_str_t *argv)
{
    if (redis->state != NGX_HTTP_CORRAL_REDIS_READY) {
        return NGX_DECLINED;
    }

    return ngx_http_corral_redis_queue(redis, timeout, cb, data, argc, argv);
}


ngx_uint_t
ngx_http_corral_redis_ready(ngx_http_corral_redis_t *redis)
{
    return redis->state == NGX_HTTP_CORRAL_REDIS_READY;
}


size_t
ngx_http_corral_redis_pending(ngx_http_corral_redis_t *redis)
{
    return redis->out_len - redis->out_pos;
}


void
ngx_http_corral_redis_fail(ngx_http_corral_redis_t *redis, const char *fmt,
    ...)
{
    va_list  args;

    va_start(args, fmt);
    ngx_http_corral_redis_vfail(redis, 0, fmt, args);
    va_end(args);
}


void
ngx_http_corral_redis_keep(ngx_http_corral_redis_t *redis)
{
    redis->kept = 1;
}


void
ngx_http_corral_redis_free(ngx_http_corral_redis_reply_t *reply)
{
    ngx_destroy_pool(reply->pool);
}


static void
ngx_http_corral_redis_timer(ngx_event_t *ev)
{
    ngx_connection_t         *dummy;
    ngx_http_corral_redis_t  *redis;

    dummy = ev->data;
    redis = dummy->data;

    switch (redis->state) {

    case NGX_HTTP_CORRAL_REDIS_WAITING:
        ngx_http_corral_redis_try(redis);
        break;

    case NGX_HTTP_CORRAL_REDIS_RESOLVING:
        /* the resolver has a time-out of its own */
        break;

    case NGX_HTTP_CORRAL_REDIS_CONNECTING:
        ngx_http_corral_redis_lost(redis, 0, "cannot be connected to within "
                                   "%d ms", NGX_HTTP_CORRAL_REDIS_TIMEOUT);
        break;

    default: /* GREETING, READY */
        ngx_http_corral_redis_lost(redis, 0, "did not answer in time, the "
                                   "connection is given up");
    }
}


static void
ngx_http_corral_redis_try(ngx_http_corral_redis_t *redis)
{
    if (redis->resolver == NULL
        || ngx_http_corral_redis_resolve(redis) != NGX_OK)
    {
        ngx_http_corral_redis_connect(redis);
    }
}


/* NGX_OK: the handler goes on (or has done so). */

static ngx_int_t
ngx_http_corral_redis_resolve(ngx_http_corral_redis_t *redis)
{
    ngx_resolver_ctx_t  *ctx;

    ctx = ngx_resolve_start(redis->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_DECLINED;
    }

    ctx->name = redis->addr->host;
    ctx->handler = ngx_http_corral_redis_resolved;
    ctx->data = redis;
    ctx->timeout = NGX_HTTP_CORRAL_REDIS_RESOLVE;
    ctx->cancelable = 1;

    redis->resolving = ctx;
    redis->state = NGX_HTTP_CORRAL_REDIS_RESOLVING;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        /* the context is freed already */
        redis->resolving = NULL;
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static void
ngx_http_corral_redis_resolved(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t                     i;
    ngx_http_corral_redis_t       *redis;
    ngx_http_corral_redis_peer_t  *peer;

    redis = ctx->data;

    if (ctx->state) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral: host of Redis \"%V\" could not be resolved "
                      "(%i: %s), the addresses known so far are used",
                      &ctx->name, ctx->state,
                      ngx_resolver_strerror(ctx->state));

    } else {
        redis->npeers = ngx_min(ctx->naddrs, NGX_HTTP_CORRAL_REDIS_ADDRS);

        for (i = 0; i < redis->npeers; i++) {
            peer = &redis->peers[i];

            ngx_memcpy(&peer->sockaddr, ctx->addrs[i].sockaddr,
                       ctx->addrs[i].socklen);
            ngx_inet_set_port(&peer->sockaddr.sockaddr, redis->addr->port);

            peer->name.data = peer->text;
            peer->name.len = ngx_sock_ntop(&peer->sockaddr.sockaddr,
                                           ctx->addrs[i].socklen, peer->text,
                                           NGX_SOCKADDR_STRLEN, 1);
        }
    }

    redis->resolving = NULL;
    ngx_resolve_name_done(ctx);

    ngx_http_corral_redis_connect(redis);
}


static void
ngx_http_corral_redis_connect(ngx_http_corral_redis_t *redis)
{
    ngx_err_t               err;
    ngx_int_t               rc;
    ngx_log_t               mute;
    ngx_connection_t       *c;
    ngx_peer_connection_t   pc;

    ngx_memzero(&pc, sizeof(ngx_peer_connection_t));

    ngx_http_corral_redis_peer(redis, &pc);

    /* nginx would say at each try what is to be said once a minute */

    mute = *ngx_cycle->log;
    mute.log_level = NGX_LOG_EMERG;

    pc.get = ngx_event_get_peer;
    pc.log = &mute;
    pc.log_error = NGX_ERROR_INFO;

    redis->state = NGX_HTTP_CORRAL_REDIS_CONNECTING;

    rc = ngx_event_connect_peer(&pc);
    err = ngx_socket_errno;
    c = pc.connection;

    if (rc != NGX_OK && rc != NGX_AGAIN) {

        if (c) {
            ngx_close_connection(c);
        }

        ngx_http_corral_redis_lost(redis, err, "cannot be connected to");
        return;
    }

    c->data = redis;
    c->log = ngx_cycle->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_http_corral_redis_read;
    c->write->handler = ngx_http_corral_redis_write;

    redis->connection = c;
    redis->generation++;

    if (rc == NGX_AGAIN) {
        ngx_add_timer(&redis->timer, NGX_HTTP_CORRAL_REDIS_TIMEOUT);
        return;
    }

    ngx_http_corral_redis_connected(redis);
}


/* Takes one address after the other. */

static void
ngx_http_corral_redis_peer(ngx_http_corral_redis_t *redis,
    ngx_peer_connection_t *pc)
{
    ngx_uint_t                     n;
    ngx_addr_t                    *addr;
    ngx_http_corral_redis_peer_t  *peer;

    n = redis->next++;

    if (redis->npeers) {
        peer = &redis->peers[n % redis->npeers];

        pc->sockaddr = &peer->sockaddr.sockaddr;
        pc->name = &peer->name;
        pc->socklen = (pc->sockaddr->sa_family == AF_INET)
                      ? sizeof(struct sockaddr_in)
                      : sizeof(struct sockaddr_in6);
        return;
    }

    addr = &redis->addr->addrs[n % redis->addr->naddrs];

    pc->sockaddr = addr->sockaddr;
    pc->socklen = addr->socklen;
    pc->name = &addr->name;
}


static void
ngx_http_corral_redis_connected(ngx_http_corral_redis_t *redis)
{
    ngx_connection_t  *c;

    c = redis->connection;

    redis->reader =
               redisReaderCreateWithFunctions(&ngx_http_corral_redis_objects);

    if (redis->reader == NULL) {
        ngx_http_corral_redis_lost(redis, 0, "no memory for an answer of it");
        return;
    }

    (void) redisReaderSetPrivdata(redis->reader, redis);

    /* the buffer shrinks to this when it is empty */
    redis->reader->maxbuf = NGX_HTTP_CORRAL_REDIS_CHUNK;

    if (redis->addr->addrs[0].sockaddr->sa_family != AF_UNIX) {
        (void) ngx_tcp_nodelay(c);
    }

    redis->state = NGX_HTTP_CORRAL_REDIS_GREETING;

    if (redis->timer.timer_set) {
        ngx_del_timer(&redis->timer);
    }

    ngx_http_corral_redis_greet(redis);

    if (redis->connection && ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_corral_redis_lost(redis, 0, "cannot be read from");
    }
}


static void
ngx_http_corral_redis_greet(ngx_http_corral_redis_t *redis)
{
    u_char                         buf[NGX_INT_T_LEN];
    ngx_int_t                      rc;
    ngx_str_t                      argv[3];
    ngx_uint_t                     n;
    ngx_http_corral_redis_addr_t  *addr;

    addr = redis->addr;
    rc = NGX_OK;

    if (addr->password.len) {
        n = 0;
        ngx_str_set(&argv[n], "AUTH");
        n++;

        if (addr->user.len) {
            argv[n++] = addr->user;
        }

        argv[n++] = addr->password;

        rc |= ngx_http_corral_redis_queue(redis, NGX_HTTP_CORRAL_REDIS_TIMEOUT,
                                          ngx_http_corral_redis_auth, redis,
                                          n, argv);
    }

    if (addr->db) {
        ngx_str_set(&argv[0], "SELECT");
        argv[1].data = buf;
        argv[1].len = ngx_sprintf(buf, "%ui", addr->db) - buf;

        rc |= ngx_http_corral_redis_queue(redis, NGX_HTTP_CORRAL_REDIS_TIMEOUT,
                                          ngx_http_corral_redis_select, redis,
                                          2, argv);
    }

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "SETNAME");
    argv[2] = redis->name;

    rc |= ngx_http_corral_redis_queue(redis, NGX_HTTP_CORRAL_REDIS_TIMEOUT,
                                      ngx_http_corral_redis_setname, redis,
                                      3, argv);

    ngx_str_set(&argv[0], "INFO");
    ngx_str_set(&argv[1], "cluster");

    rc |= ngx_http_corral_redis_queue(redis, NGX_HTTP_CORRAL_REDIS_TIMEOUT,
                                      ngx_http_corral_redis_info, redis,
                                      2, argv);

    if (rc != NGX_OK && redis->connection) {
        ngx_http_corral_redis_lost(redis, 0, "no memory for a command to it");
    }
}


static void
ngx_http_corral_redis_auth(void *data, ngx_http_corral_redis_reply_t *reply)
{
    if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR) {
        ngx_http_corral_redis_fail(data, "refused the user or the password: "
                                   "%V", &reply->str);
    }
}


static void
ngx_http_corral_redis_select(void *data, ngx_http_corral_redis_reply_t *reply)
{
    if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR) {
        ngx_http_corral_redis_fail(data, "refused the database: %V",
                                   &reply->str);
    }
}


static void
ngx_http_corral_redis_setname(void *data, ngx_http_corral_redis_reply_t *reply)
{
    /* for people only: an ACL may forbid it */
}


static void
ngx_http_corral_redis_info(void *data, ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_redis_t *redis = data;

    ngx_uint_t  level;

    if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR
        && ngx_strncmp(reply->str.data, "NOPERM", 6) != 0)
    {
        ngx_http_corral_redis_fail(redis, "is not ready for us: %V",
                                   &reply->str);
        return;
    }

    /* an ACL may forbid INFO; then MOVED will tell */

    if (reply->type == NGX_HTTP_CORRAL_REDIS_STRING
        && ngx_strstr(reply->str.data, "cluster_enabled:1"))
    {
        ngx_http_corral_redis_fail(redis, "is a Redis Cluster, which is not "
                                   "supported: use one server and replicas");
        return;
    }

    redis->state = NGX_HTTP_CORRAL_REDIS_READY;
    redis->since = ngx_current_msec;

    /* good news after bad */

    level = NGX_LOG_INFO;

    if (redis->quiet
        && ngx_time() - redis->told_up >= NGX_HTTP_CORRAL_REDIS_SILENCE)
    {
        level = NGX_LOG_NOTICE;
        redis->told_up = ngx_time();
    }

    ngx_log_error(level, ngx_cycle->log, 0,
                  "corral: Redis %V (%V) is connected",
                  &redis->addr->text, &redis->name);

    redis->ready(redis->data);
}


static ngx_int_t
ngx_http_corral_redis_queue(ngx_http_corral_redis_t *redis,
    ngx_msec_t timeout, ngx_http_corral_redis_reply_pt cb, void *data,
    ngx_uint_t argc, ngx_str_t *argv)
{
    int                            len;
    char                          *command;
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_queue_t                   *q;
    ngx_http_corral_redis_call_t  *call;

    static size_t       lens[NGX_HTTP_CORRAL_REDIS_ARGS];
    static const char  *args[NGX_HTTP_CORRAL_REDIS_ARGS];

    if (redis->connection == NULL) {
        return NGX_DECLINED;
    }

    if (argc > NGX_HTTP_CORRAL_REDIS_ARGS) {
        return NGX_ERROR;
    }

    for (i = 0; i < argc; i++) {
        /* hiredis compares the pointer of an empty one, too */
        args[i] = argv[i].len ? (char *) argv[i].data : "";
        lens[i] = argv[i].len;
    }

    if (ngx_queue_empty(&redis->free)) {
        call = ngx_palloc(redis->pool, sizeof(ngx_http_corral_redis_call_t));
        if (call == NULL) {
            return NGX_ERROR;
        }

    } else {
        q = ngx_queue_head(&redis->free);
        ngx_queue_remove(q);
        call = ngx_queue_data(q, ngx_http_corral_redis_call_t, queue);
    }

    len = redisFormatCommandArgv(&command, (int) argc, args, lens);

    rc = NGX_ERROR;

    if (len > 0) {
        rc = ngx_http_corral_redis_append(redis, command, (size_t) len);
        redisFreeCommand(command);
    }

    if (rc != NGX_OK) {
        ngx_queue_insert_head(&redis->free, &call->queue);
        return rc;
    }

    call->timeout = timeout;
    call->cb = cb;
    call->data = data;

    ngx_queue_insert_tail(&redis->calls, &call->queue);

    if (ngx_queue_head(&redis->calls) == &call->queue) {
        ngx_http_corral_redis_deadline(redis);
    }

    /* sent at the end of this turn, with what else comes */

    ngx_post_event(redis->connection->write, &ngx_posted_events);

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_redis_append(ngx_http_corral_redis_t *redis, char *data,
    size_t len)
{
    u_char  *out;
    size_t   size, pending;

    pending = redis->out_len - redis->out_pos;

    if (pending + len > NGX_HTTP_CORRAL_REDIS_OUT_MAX) {
        ngx_http_corral_redis_lost(redis, 0, "does not read what it is sent");
        return NGX_DECLINED;
    }

    if (redis->out_len + len > redis->out_size) {
        size = ngx_max(2 * (pending + len), NGX_HTTP_CORRAL_REDIS_OUT_KEEP);

        out = ngx_alloc(size, ngx_cycle->log);
        if (out == NULL) {
            return NGX_ERROR;
        }

        if (redis->out) {
            ngx_memcpy(out, redis->out + redis->out_pos, pending);
            ngx_free(redis->out);
        }

        redis->out = out;
        redis->out_size = size;
        redis->out_pos = 0;
        redis->out_len = pending;
    }

    ngx_memcpy(redis->out + redis->out_len, data, len);
    redis->out_len += len;

    return NGX_OK;
}


static void
ngx_http_corral_redis_write(ngx_event_t *ev)
{
    int                       err;
    socklen_t                 len;
    ngx_connection_t         *c;
    ngx_http_corral_redis_t  *redis;

    c = ev->data;
    redis = c->data;

    if (redis->state == NGX_HTTP_CORRAL_REDIS_CONNECTING) {
        err = 0;
        len = sizeof(int);

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1)
        {
            err = ngx_socket_errno;
        }

        if (err) {
            ngx_http_corral_redis_lost(redis, err, "cannot be connected to");
            return;
        }

        ngx_http_corral_redis_connected(redis);
        return;
    }

    if (ngx_http_corral_redis_send(redis) != NGX_OK
        || ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        ngx_http_corral_redis_lost(redis, ngx_socket_errno,
                                   "cannot be written to");
    }
}


static ngx_int_t
ngx_http_corral_redis_send(ngx_http_corral_redis_t *redis)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = redis->connection;

    while (redis->out_pos < redis->out_len) {
        n = c->send(c, redis->out + redis->out_pos,
                    redis->out_len - redis->out_pos);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        redis->out_pos += n;
    }

    redis->out_pos = 0;
    redis->out_len = 0;

    if (redis->out_size > NGX_HTTP_CORRAL_REDIS_OUT_KEEP) {
        ngx_free(redis->out);
        redis->out = NULL;
        redis->out_size = 0;
    }

    return NGX_OK;
}


static void
ngx_http_corral_redis_read(ngx_event_t *ev)
{
    ssize_t                   n;
    uint64_t                  until;
    ngx_connection_t         *c;
    ngx_http_corral_redis_t  *redis;

    static u_char  buf[NGX_HTTP_CORRAL_REDIS_CHUNK];

    c = ev->data;
    redis = c->data;

    if (redis->state == NGX_HTTP_CORRAL_REDIS_CONNECTING) {
        /* a refused connection: the write event knows why */
        ngx_http_corral_redis_write(c->write);
        return;
    }

    until = ngx_http_corral_clock() + NGX_HTTP_CORRAL_SLICE;

    for ( ;; ) {
        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {

            if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
                ngx_http_corral_redis_lost(redis, 0, "cannot be read from");
            }

            return;
        }

        if (n <= 0) {
            ngx_http_corral_redis_lost(redis, n ? ngx_socket_errno : 0,
                                       "closed the connection");
            return;
        }

        redis->in += n;

        if (redisReaderFeed(redis->reader, (char *) buf, n) != REDIS_OK) {
            ngx_http_corral_redis_lost(redis, 0, "no memory for its answer");
            return;
        }

        if (ngx_http_corral_redis_parse(redis) != NGX_OK) {
            return;
        }

        if (ngx_http_corral_clock() >= until) {
            ngx_post_event(c->read, &ngx_posted_next_events);
            return;
        }
    }
}


/* Takes all complete answers.  NGX_DONE: the connection is gone. */

static ngx_int_t
ngx_http_corral_redis_parse(ngx_http_corral_redis_t *redis)
{
    void        *reply;
    ngx_uint_t   generation;

    generation = redis->generation;

    for ( ;; ) {

        if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK) {
            ngx_http_corral_redis_lost(redis, 0, "sent what is not Redis' "
                                       "protocol, or is too large: %s",
                                       redis->reader->errstr);
            return NGX_DONE;
        }

        if (reply == NULL) {
            break;
        }

        redis->in = redis->reader->len - redis->reader->pos;

        ngx_http_corral_redis_answer(redis, reply);

        if (redis->connection == NULL || redis->generation != generation) {
            return NGX_DONE;
        }
    }

    if (redis->in > NGX_HTTP_CORRAL_REDIS_IN_MAX) {
        ngx_http_corral_redis_lost(redis, 0, "sent an answer of more than "
                                   "%d bytes", NGX_HTTP_CORRAL_REDIS_IN_MAX);
        return NGX_DONE;
    }

    if (ngx_http_corral_redis_endless(redis->reader)) {
        ngx_http_corral_redis_lost(redis, 0, "sent a line without an end");
        return NGX_DONE;
    }

    return NGX_OK;
}


/*
 * hiredis looks for the end of a line from its beginning with each piece that
 * it is fed: a line of megabytes would cost seconds.
 */

static ngx_uint_t
ngx_http_corral_redis_endless(redisReader *reader)
{
    size_t  len;

    len = reader->len - reader->pos;

    if (reader->ridx < 0) {
        return 0;
    }

    if (reader->rstack[reader->ridx].type == REDIS_REPLY_STRING) {
        return len > 64 && memchr(reader->buf + reader->pos, CR, 64) == NULL;
    }

    return len > NGX_HTTP_CORRAL_REDIS_LINE_MAX;
}


static void
ngx_http_corral_redis_answer(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_queue_t                     *q;
    ngx_http_corral_redis_call_t    *call;
    ngx_http_corral_redis_reply_pt   cb;

    redis->reply_pool = NULL;
    redis->elements = 0;

    if (ngx_queue_empty(&redis->calls)) {
        ngx_http_corral_redis_lost(redis, 0, "sent an answer that nobody "
                                   "asked for");
        ngx_http_corral_redis_free(reply);
        return;
    }

    q = ngx_queue_head(&redis->calls);
    ngx_queue_remove(q);
    ngx_queue_insert_head(&redis->free, q);

    call = ngx_queue_data(q, ngx_http_corral_redis_call_t, queue);
    cb = call->cb;

    ngx_http_corral_redis_deadline(redis);

    redis->kept = 0;

    if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR
        && (ngx_strncmp(reply->str.data, "MOVED ", 6) == 0
            || ngx_strncmp(reply->str.data, "ASK ", 4) == 0))
    {
        ngx_http_corral_redis_lost(redis, 0, "is a Redis Cluster, which is "
                                   "not supported: use one server and "
                                   "replicas");

    } else if (cb) {
        cb(call->data, reply);

    } else if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR) {
        ngx_http_corral_redis_refused(redis, reply);
    }

    if (!redis->kept) {
        ngx_http_corral_redis_free(reply);
    }
}


/*
 * Nobody waits for this answer, so it is no reason to give the connection up.
 * A replica and a narrow ACL refuse with each heartbeat.
 */

static void
ngx_http_corral_redis_refused(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply)
{
    if (redis->refused
        && ngx_time() - redis->refused < NGX_HTTP_CORRAL_REDIS_SILENCE)
    {
        return;
    }

    redis->refused = ngx_time();

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "corral: Redis %V (%V) refused a command: %V",
                  &redis->addr->text, &redis->name, &reply->str);
}


/* The next answer must come within the time-out of its command. */

static void
ngx_http_corral_redis_deadline(ngx_http_corral_redis_t *redis)
{
    ngx_http_corral_redis_call_t  *call;

    if (ngx_queue_empty(&redis->calls)) {

        if (redis->timer.timer_set) {
            ngx_del_timer(&redis->timer);
        }

        return;
    }

    call = ngx_queue_data(ngx_queue_head(&redis->calls),
                          ngx_http_corral_redis_call_t, queue);

    ngx_add_timer(&redis->timer, call->timeout);
}


/* Frees all that belongs to the connection. */

static void
ngx_http_corral_redis_drop(ngx_http_corral_redis_t *redis)
{
    ngx_queue_t  *q;

    if (redis->timer.timer_set) {
        ngx_del_timer(&redis->timer);
    }

    if (redis->resolving) {
        ngx_resolve_name_done(redis->resolving);
        redis->resolving = NULL;
    }

    if (redis->connection) {
        ngx_close_connection(redis->connection);
        redis->connection = NULL;
    }

    if (redis->reader) {
        redisReaderFree(redis->reader);
        redis->reader = NULL;
    }

    if (redis->reply_pool) {
        /* of an answer that was begun */
        ngx_destroy_pool(redis->reply_pool);
        redis->reply_pool = NULL;
    }

    while (!ngx_queue_empty(&redis->calls)) {
        q = ngx_queue_head(&redis->calls);
        ngx_queue_remove(q);
        ngx_queue_insert_head(&redis->free, q);
    }

    if (redis->out) {
        ngx_free(redis->out);
        redis->out = NULL;
    }

    redis->out_size = 0;
    redis->out_len = 0;
    redis->out_pos = 0;
    redis->in = 0;
    redis->elements = 0;
    redis->generation++;
    redis->state = NGX_HTTP_CORRAL_REDIS_WAITING;
}


static void
ngx_http_corral_redis_lost(ngx_http_corral_redis_t *redis, ngx_err_t err,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    ngx_http_corral_redis_vfail(redis, err, fmt, args);
    va_end(args);
}


static void
ngx_http_corral_redis_vfail(ngx_http_corral_redis_t *redis, ngx_err_t err,
    const char *fmt, va_list args)
{
    u_char      *last, text[NGX_MAX_ERROR_STR / 2];
    ngx_uint_t   level, ready;
    ngx_msec_t   delay;

    /* the arguments may lie in what is freed next */

    last = ngx_vslprintf(text, text + sizeof(text), fmt, args);

    ready = (redis->state == NGX_HTTP_CORRAL_REDIS_READY);

    if (ready
        && ngx_current_msec - redis->since > NGX_HTTP_CORRAL_REDIS_STABLE)
    {
        redis->delay = NGX_HTTP_CORRAL_REDIS_DELAY;
        redis->quiet = 0;
        redis->told_up = 0;
    }

    level = NGX_LOG_ERR;

    if (redis->quiet
        && ngx_time() - redis->told < NGX_HTTP_CORRAL_REDIS_SILENCE)
    {
        level = NGX_LOG_INFO;

    } else {
        redis->told = ngx_time();
    }

    redis->quiet = 1;

    ngx_log_error(level, ngx_cycle->log, err, "corral: Redis %V (%V) %*s",
                  &redis->addr->text, &redis->name,
                  (size_t) (last - text), text);

    ngx_http_corral_redis_drop(redis);

    /* a quarter more or less, so that workers do not come all at once */

    delay = redis->delay * 3 / 4;
    delay += (ngx_msec_t) ngx_random() % (redis->delay / 2);

    redis->delay = ngx_min(redis->delay * 17 / 10,
                           NGX_HTTP_CORRAL_REDIS_DELAY_MAX);

    ngx_add_timer(&redis->timer, delay);

    if (ready) {
        redis->closed(redis->data);
    }
}


/*
 * What redisReader makes of an answer.  It calls for the outermost object
 * first; everything lies in the pool of that one.
 */

static ngx_http_corral_redis_reply_t *
ngx_http_corral_redis_object(const redisReadTask *task,
    ngx_http_corral_redis_type_e type)
{
    ngx_http_corral_redis_t        *redis;
    ngx_http_corral_redis_reply_t  *reply, *parent;

    redis = task->privdata;

    if (task->parent == NULL) {
        redis->reply_pool = ngx_create_pool(
                        type == NGX_HTTP_CORRAL_REDIS_ARRAY ? 4096 : 512,
                        ngx_cycle->log);

        if (redis->reply_pool == NULL) {
            return NULL;
        }
    }

    reply = ngx_pcalloc(redis->reply_pool,
                        sizeof(ngx_http_corral_redis_reply_t));
    if (reply == NULL) {
        return NULL;
    }

    reply->type = type;
    reply->pool = redis->reply_pool;

    if (task->parent) {
        parent = task->parent->obj;
        parent->elements[task->idx] = reply;
    }

    return reply;
}


static void *
ngx_http_corral_redis_string(const redisReadTask *task, char *data, size_t len)
{
    u_char                         *p;
    ngx_http_corral_redis_reply_t  *reply;

    reply = ngx_http_corral_redis_object(task,
                     task->type == REDIS_REPLY_STRING
                     ? NGX_HTTP_CORRAL_REDIS_STRING
                     : task->type == REDIS_REPLY_STATUS
                       ? NGX_HTTP_CORRAL_REDIS_STATUS
                       : NGX_HTTP_CORRAL_REDIS_ERROR);
    if (reply == NULL) {
        return NULL;
    }

    p = ngx_pnalloc(reply->pool, len + 1);
    if (p == NULL) {
        return NULL;
    }

    ngx_memcpy(p, data, len);
    p[len] = '\0';

    reply->str.data = p;
    reply->str.len = len;

    return reply;
}


static void *
ngx_http_corral_redis_array(const redisReadTask *task, int n)
{
    ngx_http_corral_redis_t        *redis;
    ngx_http_corral_redis_reply_t  *reply;

    redis = task->privdata;

    /* NULL is what stops the reader; hiredis calls it "Out of memory" */

    if (n < 0
        || redis->elements + (size_t) n > NGX_HTTP_CORRAL_REDIS_ELEMENTS)
    {
        return NULL;
    }

    redis->elements += n;

    reply = ngx_http_corral_redis_object(task, NGX_HTTP_CORRAL_REDIS_ARRAY);
    if (reply == NULL) {
        return NULL;
    }

    if (n) {
        reply->elements = ngx_pcalloc(reply->pool,
                              n * sizeof(ngx_http_corral_redis_reply_t *));
        if (reply->elements == NULL) {
            return NULL;
        }
    }

    reply->n = n;

    return reply;
}


static void *
ngx_http_corral_redis_integer(const redisReadTask *task, long long value)
{
    ngx_http_corral_redis_reply_t  *reply;

    reply = ngx_http_corral_redis_object(task, NGX_HTTP_CORRAL_REDIS_INTEGER);

    if (reply) {
        reply->integer = value;
    }

    return reply;
}


static void *
ngx_http_corral_redis_nil(const redisReadTask *task)
{
    return ngx_http_corral_redis_object(task, NGX_HTTP_CORRAL_REDIS_NIL);
}


/*
 * Called by hiredis for an answer that it cannot finish.  Its pool is the
 * client's until the answer is complete: ngx_http_corral_redis_drop().
 */

static void
ngx_http_corral_redis_object_free(void *object)
{
    (void) object;
}
