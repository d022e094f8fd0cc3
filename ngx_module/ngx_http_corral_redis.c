
/*
 * A client of Redis: commands out, answers in, on one connection of nginx's own
 * events.  Of hiredis only the protocol is used: redisFormatCommandArgv here,
 * redisReader in ngx_http_corral_redis_reader.c; it never sees a socket.  No
 * key stands here, and how the connection comes and goes is
 * ngx_http_corral_redis_connect.c's affair.
 *
 * Commands are answered in their order, so a queue of callbacks is all the
 * state there is.  What was not answered in time, an answer nobody asked for,
 * or one that is too large or not Redis' protocol ends the connection.  Answers
 * are read for at most one slice a turn of the event loop.
 *
 * Lifetimes: a client is freed by close only.  A connection may end within any
 * callback (fail is called there): after each one "generation" tells.  An
 * answer is freed after its callback unless it was kept.  No locks; timers are
 * cancelable, and the socket holds no exiting worker back.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <hiredis/hiredis.h>

#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_redis_client.h"


#define NGX_HTTP_CORRAL_REDIS_CHUNK     (64 * 1024)         /* one read */
#define NGX_HTTP_CORRAL_REDIS_OUT_MAX   (8 * 1024 * 1024)   /* not yet sent */
#define NGX_HTTP_CORRAL_REDIS_OUT_KEEP  (64 * 1024)         /* when all is */


static ngx_int_t ngx_http_corral_redis_append(ngx_http_corral_redis_t *redis,
    char *data, size_t len);
static ngx_int_t ngx_http_corral_redis_send(ngx_http_corral_redis_t *redis);
static ngx_int_t ngx_http_corral_redis_parse(ngx_http_corral_redis_t *redis);
static void ngx_http_corral_redis_answer(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_refused(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_redis_deadline(ngx_http_corral_redis_t *redis);


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

    ngx_queue_init(&redis->calls);
    ngx_queue_init(&redis->free);

    ngx_http_corral_redis_begin(redis);

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
ngx_http_corral_redis_keep(ngx_http_corral_redis_t *redis)
{
    redis->kept = 1;
}


void
ngx_http_corral_redis_free(ngx_http_corral_redis_reply_t *reply)
{
    ngx_destroy_pool(reply->pool);
}


ngx_int_t
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


void
ngx_http_corral_redis_write(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_corral_redis_t  *redis;

    c = ev->data;
    redis = c->data;

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


void
ngx_http_corral_redis_read(ngx_event_t *ev)
{
    ssize_t                   n;
    uint64_t                  until;
    ngx_connection_t         *c;
    ngx_http_corral_redis_t  *redis;

    static u_char  buf[NGX_HTTP_CORRAL_REDIS_CHUNK];

    c = ev->data;
    redis = c->data;

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

        if (ngx_http_corral_redis_reader_feed(&redis->reader, buf, n) != NGX_OK)
        {
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
    ngx_int_t                       rc;
    ngx_uint_t                      generation;
    const char                     *err;
    ngx_http_corral_redis_reply_t  *reply;

    generation = redis->generation;

    for ( ;; ) {
        rc = ngx_http_corral_redis_reader_next(&redis->reader, &reply, &err);

        if (rc == NGX_AGAIN) {
            return NGX_OK;
        }

        if (rc != NGX_OK) {
            ngx_http_corral_redis_lost(redis, 0, "cannot be understood: %s",
                                       err);
            return NGX_DONE;
        }

        ngx_http_corral_redis_answer(redis, reply);

        if (redis->connection == NULL || redis->generation != generation) {
            return NGX_DONE;
        }
    }
}


static void
ngx_http_corral_redis_answer(ngx_http_corral_redis_t *redis,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_queue_t                     *q;
    ngx_http_corral_redis_call_t    *call;
    ngx_http_corral_redis_reply_pt   cb;

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
