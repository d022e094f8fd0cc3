
/*
 * The connection of a client of Redis: from an address to a Redis that has
 * accepted us, and from a loss to the next try.  The name is resolved before
 * each try, one address is taken after the other, the delay between tries
 * grows.  What is said of it in the log is said once a minute.
 *
 * No command but those of the greeting stands here; what is queued and answered
 * on a connection is ngx_http_corral_redis.c's affair.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include "ngx_http_corral_redis_client.h"


#define NGX_HTTP_CORRAL_REDIS_TIMEOUT   3000      /* ms, connect and greeting */
#define NGX_HTTP_CORRAL_REDIS_RESOLVE   3000      /* ms */
#define NGX_HTTP_CORRAL_REDIS_DELAY     100       /* ms, the first one */
#define NGX_HTTP_CORRAL_REDIS_DELAY_MAX 5000      /* ms */
#define NGX_HTTP_CORRAL_REDIS_STABLE    10000     /* ms, then it is the first */


static void ngx_http_corral_redis_timer(ngx_event_t *ev);
static void ngx_http_corral_redis_try(ngx_http_corral_redis_t *redis);
static ngx_int_t ngx_http_corral_redis_resolve(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_resolved(ngx_resolver_ctx_t *ctx);
static void ngx_http_corral_redis_connect(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_peer(ngx_http_corral_redis_t *redis,
    ngx_peer_connection_t *pc);
static void ngx_http_corral_redis_connecting(ngx_event_t *ev);
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
static void ngx_http_corral_redis_vfail(ngx_http_corral_redis_t *redis,
    ngx_err_t err, const char *fmt, va_list args);


void
ngx_http_corral_redis_begin(ngx_http_corral_redis_t *redis)
{
    redis->delay = NGX_HTTP_CORRAL_REDIS_DELAY;
    redis->dummy.fd = (ngx_socket_t) -1;
    redis->dummy.data = redis;

    redis->timer.handler = ngx_http_corral_redis_timer;
    redis->timer.data = &redis->dummy;
    redis->timer.log = ngx_cycle->log;
    redis->timer.cancelable = 1;

    /* never calls back from here: the caller has no pointer to it yet */

    ngx_add_timer(&redis->timer, 0);
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
    c->read->handler = ngx_http_corral_redis_connecting;
    c->write->handler = ngx_http_corral_redis_connecting;

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


/* connected, or refused: either event may come first */

static void
ngx_http_corral_redis_connecting(ngx_event_t *ev)
{
    int                       err;
    socklen_t                 len;
    ngx_connection_t         *c;
    ngx_http_corral_redis_t  *redis;

    c = ev->data;
    redis = c->data;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_http_corral_redis_lost(redis, err, "cannot be connected to");
        return;
    }

    ngx_http_corral_redis_connected(redis);
}


static void
ngx_http_corral_redis_connected(ngx_http_corral_redis_t *redis)
{
    ngx_connection_t  *c;

    c = redis->connection;

    if (ngx_http_corral_redis_reader_init(&redis->reader) != NGX_OK) {
        ngx_http_corral_redis_lost(redis, 0, "cannot be read, no memory");
        return;
    }

    if (redis->addr->addrs[0].sockaddr->sa_family != AF_UNIX) {
        (void) ngx_tcp_nodelay(c);
    }

    c->read->handler = ngx_http_corral_redis_read;
    c->write->handler = ngx_http_corral_redis_write;

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


/* Frees all that belongs to the connection. */

void
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

    ngx_http_corral_redis_reader_free(&redis->reader);

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
    redis->generation++;
    redis->state = NGX_HTTP_CORRAL_REDIS_WAITING;
}
