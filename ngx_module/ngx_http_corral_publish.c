
/*
 * What a worker tells through Redis: its lease, the WebSockets it relays, and
 * the revision it serves from.  Answers to commands are made by
 * ngx_http_corral_command.c and go out here, too.
 *
 * The list of connections is told as differences, which the relay keeps; here
 * is no queue.  So when Redis is slow or gone, updates of one connection
 * merge.  After a connection to Redis was lost the list is told anew.
 *
 * Does not read the registry's documents and does not connect: that is
 * ngx_http_corral_follow.c, which also says when to beat.  The names of fields
 * come from corral_schema.h.  No locks; everything lives as long as the worker.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_relay.h"

#include <jansson.h>


#define NGX_HTTP_CORRAL_PUBLISH_SOON    100    /* ms after a change of it */
#define NGX_HTTP_CORRAL_PUBLISH_BEAT    500    /* connections told in a beat */
#define NGX_HTTP_CORRAL_PUBLISH_CHUNK   50     /* of these, in one turn */
#define NGX_HTTP_CORRAL_PUBLISH_TEXT    200    /* bytes of a client's string */


#define ngx_http_corral_publish_name(name, text)        ngx_string(#name),
#define ngx_http_corral_publish_worker_e(name, text)    WORKER_##name,
#define ngx_http_corral_publish_wake_e(name, text)      WAKE_##name,
#define ngx_http_corral_publish_connection_e(name, text)                      \
    CONNECTION_##name,

enum { CORRAL_WORKER_FIELDS(ngx_http_corral_publish_worker_e) WORKER_NUMBER };

enum { CORRAL_CONNECTION_FIELDS(ngx_http_corral_publish_connection_e)
       CONNECTION_NUMBER };

enum { CORRAL_WAKE_FIELDS(ngx_http_corral_publish_wake_e) WAKE_NUMBER };


typedef struct {
    ngx_http_corral_main_conf_t  *conf;
    ngx_http_corral_redis_t      *redis;        /* NULL: not connected */

    ngx_str_t                     worker;       /* id */
    ngx_str_t                     pid;
    ngx_str_t                     start_time;
    ngx_str_t                     lease;        /* keys */
    ngx_str_t                     connections;

    ngx_uint_t                    budget;       /* connections to be told */
    ngx_event_t                   soon;
    ngx_event_t                   work;
    ngx_connection_t              dummy;        /* ev->data */
} ngx_http_corral_publish_t;


static uint64_t ngx_http_corral_publish_start_time(void);
static void ngx_http_corral_publish_lease(void);
static void ngx_http_corral_publish_expire(ngx_str_t *key,
    ngx_http_corral_redis_reply_pt cb);
static void ngx_http_corral_publish_expired(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_publish_soon(ngx_event_t *ev);
static void ngx_http_corral_publish_work(ngx_event_t *ev);
static ngx_int_t ngx_http_corral_publish_chunk(ngx_pool_t *pool);
static ngx_int_t ngx_http_corral_publish_view(ngx_pool_t *pool,
    ngx_http_corral_pair_view_t *view, ngx_str_t *id, ngx_str_t *json);
static u_char *ngx_http_corral_publish_json(u_char *p,
    ngx_http_corral_pair_view_t *view, ngx_str_t *id);
static u_char *ngx_http_corral_publish_string(u_char *p, ngx_uint_t field,
    ngx_str_t *value);
static u_char *ngx_http_corral_publish_number(u_char *p, ngx_uint_t field,
    uint64_t value);
static u_char *ngx_http_corral_publish_time(u_char *p, ngx_uint_t field,
    time_t value);


static ngx_str_t  ngx_http_corral_publish_worker_fields[] = {
    CORRAL_WORKER_FIELDS(ngx_http_corral_publish_name)
};

static ngx_str_t  ngx_http_corral_publish_connection_fields[] = {
    CORRAL_CONNECTION_FIELDS(ngx_http_corral_publish_name)
};

static ngx_str_t  ngx_http_corral_publish_wake_fields[] = {
    CORRAL_WAKE_FIELDS(ngx_http_corral_publish_name)
};

static ngx_http_corral_publish_t  ngx_http_corral_publish;


ngx_int_t
ngx_http_corral_publish_init(ngx_pool_t *pool,
    ngx_http_corral_main_conf_t *mcf)
{
    u_char                     *p;
    size_t                      len;
    uint64_t                    start_time;
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;
    publish->conf = mcf;

    start_time = ngx_http_corral_publish_start_time();

    len = mcf->gateway.len + 2 + NGX_INT_T_LEN + NGX_INT64_LEN;

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    publish->worker.data = p;
    p = ngx_sprintf(p, "%V:", &mcf->gateway);

    publish->pid.data = p;
    p = ngx_sprintf(p, "%P", ngx_pid);
    publish->pid.len = p - publish->pid.data;

    *p++ = ':';

    publish->start_time.data = p;
    p = ngx_sprintf(p, "%uL", start_time);
    publish->start_time.len = p - publish->start_time.data;

    publish->worker.len = p - publish->worker.data;

    publish->lease = ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_WORKER,
                                            &publish->worker);
    publish->connections = ngx_http_corral_key_of(pool,
                                            NGX_HTTP_CORRAL_KEY_CONNECTIONS,
                                            &publish->worker);

    if (publish->lease.data == NULL || publish->connections.data == NULL) {
        return NGX_ERROR;
    }

    publish->dummy.fd = (ngx_socket_t) -1;

    publish->soon.handler = ngx_http_corral_publish_soon;
    publish->soon.data = &publish->dummy;
    publish->soon.log = ngx_cycle->log;
    publish->soon.cancelable = 1;

    publish->work.handler = ngx_http_corral_publish_work;
    publish->work.data = &publish->dummy;
    publish->work.log = ngx_cycle->log;

    return NGX_OK;
}


ngx_str_t *
ngx_http_corral_publish_worker(void)
{
    return &ngx_http_corral_publish.worker;
}


ngx_str_t *
ngx_http_corral_publish_gateway(void)
{
    return &ngx_http_corral_publish.conf->gateway;
}


void
ngx_http_corral_publish_connected(ngx_http_corral_redis_t *redis)
{
    ngx_str_t                   argv[2];
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;
    publish->redis = redis;

    /* what was closed meanwhile is not in the differences: begin anew */

    ngx_str_set(&argv[0], "DEL");
    argv[1] = publish->connections;
    ngx_http_corral_publish_send(2, argv);

    ngx_http_corral_relay_again();
    publish->budget = ngx_http_corral_relay_count();

    ngx_http_corral_publish_beat();
}


void
ngx_http_corral_publish_closed(void)
{
    ngx_http_corral_publish.redis = NULL;
}


void
ngx_http_corral_publish_beat(void)
{
    ngx_str_t                   argv[3];
    ngx_uint_t                  n;
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;

    if (publish->redis == NULL) {
        return;
    }

    ngx_http_corral_publish_lease();
    ngx_http_corral_publish_expire(&publish->lease, NULL);

    ngx_str_set(&argv[0], "SADD");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_WORKERS);
    argv[2] = publish->worker;
    ngx_http_corral_publish_send(3, argv);

    ngx_http_corral_publish_expire(&publish->connections,
                                   ngx_http_corral_publish_expired);

    /* a busy connection has changed again at once: it is told once a beat */

    n = ngx_min(ngx_http_corral_relay_count(), NGX_HTTP_CORRAL_PUBLISH_BEAT);
    publish->budget = ngx_max(publish->budget, n);

    ngx_post_event(&publish->work, &ngx_posted_next_events);
}


void
ngx_http_corral_publish_connections(void)
{
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;

    if (publish->redis == NULL) {
        return;
    }

    publish->budget++;

    if (!publish->soon.timer_set) {
        ngx_add_timer(&publish->soon, NGX_HTTP_CORRAL_PUBLISH_SOON);
    }
}


void
ngx_http_corral_publish_ack(void)
{
    u_char                            max[NGX_INT_T_LEN];
    u_char                            revision[NGX_INT64_LEN];
    ngx_str_t                         argv[12];
    ngx_uint_t                        n;
    ngx_http_corral_publish_t        *publish;
    ngx_http_corral_registry_info_t  *info;

    publish = &ngx_http_corral_publish;

    if (publish->redis == NULL) {
        return;
    }

    /* the lease first: who is woken by the entry reads it */

    ngx_http_corral_publish_lease();

    info = ngx_http_corral_registry_info();
    n = 0;

    ngx_str_set(&argv[n], "XADD");
    n++;
    argv[n++] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_ACKS);
    ngx_str_set(&argv[n], "MAXLEN");
    n++;
    ngx_str_set(&argv[n], "~");
    n++;

    argv[n].data = max;
    argv[n].len = ngx_sprintf(max, "%d", CORRAL_ACKS_MAX) - max;
    n++;

    ngx_str_set(&argv[n], "*");
    n++;

    argv[n++] = ngx_http_corral_publish_worker_fields[WORKER_worker];
    argv[n++] = publish->worker;

    argv[n++] = ngx_http_corral_publish_worker_fields[WORKER_epoch];
    argv[n].data = info->epoch;
    argv[n].len = ngx_strlen(info->epoch);
    n++;

    argv[n++] = ngx_http_corral_publish_worker_fields[WORKER_revision];
    argv[n].data = revision;
    argv[n].len = ngx_sprintf(revision, "%uL", info->revision) - revision;
    n++;

    ngx_http_corral_publish_send(n, argv);
}


void
ngx_http_corral_publish_waiting(ngx_str_t *service_id, ngx_uint_t waiting)
{
    u_char                      max[NGX_INT_T_LEN], number[NGX_INT_T_LEN];
    ngx_str_t                   values[WAKE_NUMBER];
    ngx_str_t                   argv[6 + 2 * WAKE_NUMBER];
    ngx_uint_t                  i;
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;

    if (publish->redis == NULL) {
        return;
    }

    ngx_str_set(&argv[0], "XADD");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_WAKES);
    ngx_str_set(&argv[2], "MAXLEN");
    ngx_str_set(&argv[3], "~");
    argv[4].data = max;
    argv[4].len = ngx_sprintf(max, "%d", CORRAL_WAKES_MAX) - max;
    ngx_str_set(&argv[5], "*");

    values[WAKE_worker] = publish->worker;
    values[WAKE_service_id] = *service_id;
    values[WAKE_waiting].data = number;
    values[WAKE_waiting].len = ngx_sprintf(number, "%ui", waiting) - number;

    for (i = 0; i < WAKE_NUMBER; i++) {
        argv[6 + 2 * i] = ngx_http_corral_publish_wake_fields[i];
        argv[7 + 2 * i] = values[i];
    }

    ngx_http_corral_publish_send(6 + 2 * WAKE_NUMBER, argv);
}


void
ngx_http_corral_publish_bye(void)
{
    ngx_str_t                   argv[3];
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;

    if (publish->redis == NULL) {
        return;
    }

    ngx_str_set(&argv[0], "DEL");
    argv[1] = publish->lease;
    argv[2] = publish->connections;
    ngx_http_corral_publish_send(3, argv);

    ngx_str_set(&argv[0], "SREM");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_WORKERS);
    argv[2] = publish->worker;
    ngx_http_corral_publish_send(3, argv);
}


/*
 * Field 22 of /proc/self/stat.  With the pid it tells this process from a
 * later one of the same pid.
 */

static uint64_t
ngx_http_corral_publish_start_time(void)
{
    char        *p, buf[1024];
    ssize_t      n;
    ngx_fd_t     fd;
    ngx_uint_t   field;

    fd = ngx_open_file("/proc/self/stat", NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        return 0;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf) - 1);
    (void) ngx_close_file(fd);

    if (n <= 0) {
        return 0;
    }

    buf[n] = '\0';

    /* the name of the program, field 2, may hold spaces and parentheses */

    p = strrchr(buf, ')');

    for (field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }

    return p ? strtoull(p + 1, NULL, 10) : 0;
}


void
ngx_http_corral_publish_send(ngx_uint_t argc, ngx_str_t *argv)
{
    if (ngx_http_corral_publish.redis) {
        (void) ngx_http_corral_redis_command(ngx_http_corral_publish.redis,
                                             NGX_HTTP_CORRAL_PUBLISH_TIMEOUT,
                                             NULL, NULL, argc, argv);
    }
}


ngx_uint_t
ngx_http_corral_publish_ready(void)
{
    ngx_http_corral_redis_t  *redis;

    redis = ngx_http_corral_publish.redis;

    return redis && ngx_http_corral_redis_pending(redis)
                    <= NGX_HTTP_CORRAL_REDIS_BACKLOG;
}


ngx_int_t
ngx_http_corral_publish_ask(ngx_http_corral_redis_reply_pt cb, void *data,
    ngx_uint_t argc, ngx_str_t *argv)
{
    return ngx_http_corral_publish.redis
           ? ngx_http_corral_redis_command(ngx_http_corral_publish.redis,
                                           NGX_HTTP_CORRAL_PUBLISH_TIMEOUT,
                                           cb, data, argc, argv)
           : NGX_DECLINED;
}


static void
ngx_http_corral_publish_lease(void)
{
    u_char                            numbers[5][NGX_INT64_LEN];
    ngx_str_t                        *value, argv[2 + 2 * WORKER_NUMBER];
    ngx_str_t                         values[WORKER_NUMBER];
    ngx_uint_t                        i;
    ngx_http_corral_publish_t        *publish;
    ngx_http_corral_registry_info_t  *info;

    publish = &ngx_http_corral_publish;
    info = ngx_http_corral_registry_info();

    values[WORKER_worker] = publish->worker;
    values[WORKER_gateway] = publish->conf->gateway;
    values[WORKER_node] = publish->conf->node;
    ngx_http_corral_table_nonce(&values[WORKER_zone]);
    values[WORKER_pid] = publish->pid;
    values[WORKER_start_time] = publish->start_time;

    ngx_str_set(&values[WORKER_state], "serving");

    if (ngx_exiting) {
        ngx_str_set(&values[WORKER_state], "exiting");
    }

    values[WORKER_epoch].data = info->epoch;
    values[WORKER_epoch].len = ngx_strlen(info->epoch);

    value = &values[WORKER_revision];
    value->data = numbers[0];
    value->len = ngx_sprintf(numbers[0], "%uL", info->revision) - numbers[0];

    value = &values[WORKER_services];
    value->data = numbers[1];
    value->len = ngx_sprintf(numbers[1], "%uD", info->services) - numbers[1];

    value = &values[WORKER_instances];
    value->data = numbers[2];
    value->len = ngx_sprintf(numbers[2], "%uD", info->instances) - numbers[2];

    value = &values[WORKER_connections];
    value->data = numbers[3];
    value->len = ngx_sprintf(numbers[3], "%ui", ngx_http_corral_relay_count())
                 - numbers[3];

    value = &values[WORKER_suspects];
    value->data = numbers[4];
    value->len = ngx_sprintf(numbers[4], "%ui",
                             ngx_http_corral_relay_suspects(
                                         &values[WORKER_suspect_service_id]))
                 - numbers[4];

    ngx_str_set(&values[WORKER_version], NGX_HTTP_CORRAL_VERSION);

    ngx_str_set(&argv[0], "HSET");
    argv[1] = publish->lease;

    for (i = 0; i < WORKER_NUMBER; i++) {
        argv[2 + 2 * i] = ngx_http_corral_publish_worker_fields[i];
        argv[3 + 2 * i] = values[i];
    }

    ngx_http_corral_publish_send(2 + 2 * WORKER_NUMBER, argv);
}


static void
ngx_http_corral_publish_expire(ngx_str_t *key,
    ngx_http_corral_redis_reply_pt cb)
{
    u_char     lease[NGX_INT_T_LEN];
    ngx_str_t  argv[3];

    if (ngx_http_corral_publish.redis == NULL) {
        return;
    }

    ngx_str_set(&argv[0], "PEXPIRE");
    argv[1] = *key;
    argv[2].data = lease;
    argv[2].len = ngx_sprintf(lease, "%d", CORRAL_WORKER_LEASE) - lease;

    (void) ngx_http_corral_redis_command(ngx_http_corral_publish.redis,
                                         NGX_HTTP_CORRAL_PUBLISH_TIMEOUT,
                                         cb, NULL, 3, argv);
}


/* The list is not there though it should be: somebody emptied the store. */

static void
ngx_http_corral_publish_expired(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_uint_t                  n;
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;
    n = ngx_http_corral_relay_count();

    if (reply->type != NGX_HTTP_CORRAL_REDIS_INTEGER || reply->integer
        || n == 0)
    {
        return;
    }

    ngx_http_corral_relay_again();

    publish->budget = ngx_max(publish->budget, n);
    ngx_post_event(&publish->work, &ngx_posted_next_events);
}


static void
ngx_http_corral_publish_soon(ngx_event_t *ev)
{
    ngx_post_event(&ngx_http_corral_publish.work, &ngx_posted_next_events);
}


/*
 * One chunk of differences.  What does not fit into the budget or into the
 * backlog stays with the relay, where it merges with what comes.
 */

static void
ngx_http_corral_publish_work(ngx_event_t *ev)
{
    ngx_int_t                   rc;
    ngx_pool_t                 *pool;
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;

    if (publish->redis == NULL || publish->budget == 0
        || ngx_http_corral_redis_pending(publish->redis)
           > NGX_HTTP_CORRAL_REDIS_BACKLOG)
    {
        return;
    }

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    rc = ngx_http_corral_publish_chunk(pool);

    ngx_destroy_pool(pool);

    if (rc == NGX_AGAIN) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


static ngx_int_t
ngx_http_corral_publish_chunk(ngx_pool_t *pool)
{
    ngx_int_t                     rc;
    ngx_str_t                     set[2 + 2 * NGX_HTTP_CORRAL_PUBLISH_CHUNK];
    ngx_str_t                     del[2 + NGX_HTTP_CORRAL_PUBLISH_CHUNK];
    ngx_uint_t                    i, nset, ndel;
    ngx_http_corral_publish_t    *publish;
    ngx_http_corral_pair_view_t   view;

    publish = &ngx_http_corral_publish;

    ngx_str_set(&set[0], "HSET");
    ngx_str_set(&del[0], "HDEL");
    set[1] = publish->connections;
    del[1] = publish->connections;
    nset = 2;
    ndel = 2;

    rc = NGX_AGAIN;

    for (i = 0; i < NGX_HTTP_CORRAL_PUBLISH_CHUNK && publish->budget; i++) {
        rc = ngx_http_corral_relay_next(&view);

        if (rc == NGX_DONE) {
            publish->budget = 0;
            break;
        }

        publish->budget--;

        if (rc == NGX_DECLINED) {
            if (ngx_http_corral_publish_view(pool, &view, &del[ndel], NULL)
                != NGX_OK)
            {
                break;
            }

            ndel++;
            continue;
        }

        if (ngx_http_corral_publish_view(pool, &view, &set[nset],
                                         &set[nset + 1])
            != NGX_OK)
        {
            break;
        }

        nset += 2;
    }

    if (nset > 2) {
        ngx_http_corral_publish_send(nset, set);
    }

    if (ndel > 2) {
        ngx_http_corral_publish_send(ndel, del);
    }

    return publish->budget ? NGX_AGAIN : NGX_OK;
}


/* The id of a pair and, unless it is gone, its document. */

static ngx_int_t
ngx_http_corral_publish_view(ngx_pool_t *pool,
    ngx_http_corral_pair_view_t *view, ngx_str_t *id, ngx_str_t *json)
{
    u_char  *p;

    /* each string at its longest, each byte as \u00xx; names and numbers */

    static u_char  buf[14 * 6 * NGX_HTTP_CORRAL_PUBLISH_TEXT + 2048];

    id->len = 16;
    id->data = ngx_pnalloc(pool, 16);
    if (id->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_sprintf(id->data, "%016xL", view->id);

    if (json == NULL) {
        return NGX_OK;
    }

    p = ngx_http_corral_publish_json(buf, view, id);

    json->len = p - buf;
    json->data = ngx_pnalloc(pool, json->len);
    if (json->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(json->data, buf, json->len);

    return NGX_OK;
}


static u_char *
ngx_http_corral_publish_json(u_char *p, ngx_http_corral_pair_view_t *view,
    ngx_str_t *id)
{
    u_char                     *start;
    ngx_str_t                   status;
    ngx_uint_t                  method;
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;

    ngx_str_set(&status, "active");

    if (view->closing) {
        ngx_str_set(&status, "closing");
    }

    method = ngx_min(view->method, NGX_HTTP_CORRAL_EWMA);
    start = p;

#define str(field, value)                                                     \
    p = ngx_http_corral_publish_string(p, CONNECTION_##field, value)
#define num(field, value)                                                     \
    p = ngx_http_corral_publish_number(p, CONNECTION_##field, value)

    str(connection_id, id);
    str(worker, &publish->worker);
    str(gateway, &publish->conf->gateway);
    str(target_service_id, &view->service_id);
    str(service, &view->service);
    str(instance_id, &view->instance_id);
    str(session_id, &view->session_id);
    str(tenant, &view->tenant);
    str(subject, &view->subject);
    str(client_ip, &view->client_ip);
    num(client_port, view->client_port);
    str(user_agent, &view->user_agent);
    str(path, &view->path);
    str(routing_strategy, &ngx_http_corral_methods[method].name);
    str(status, &status);
    p = ngx_http_corral_publish_time(p, CONNECTION_connected_at,
                                     view->connected_at);
    p = ngx_http_corral_publish_time(p, CONNECTION_last_activity,
                                     view->last_activity);
    p = ngx_http_corral_publish_time(p, CONNECTION_expires_at, view->expires);
    num(messages_in, view->messages_in);
    num(messages_out, view->messages_out);
    num(bytes_received, view->bytes_in);
    num(bytes_sent, view->bytes_out);
    num(message_count, view->messages_in + view->messages_out);
    num(resumed, view->resumed);

#undef str
#undef num

    *start = '{';
    *p++ = '}';

    return p;
}


/* An empty session, tenant or subject is null. */

static u_char *
ngx_http_corral_publish_string(u_char *p, ngx_uint_t field, ngx_str_t *value)
{
    p = ngx_sprintf(p, ",\"%V\":",
                    &ngx_http_corral_publish_connection_fields[field]);

    if (value->len == 0
        && (field == CONNECTION_session_id || field == CONNECTION_tenant
            || field == CONNECTION_subject))
    {
        return ngx_cpymem(p, "null", 4);
    }

    *p++ = '"';
    p = ngx_http_corral_publish_escape(p, value, NGX_HTTP_CORRAL_PUBLISH_TEXT);
    *p++ = '"';

    return p;
}


/*
 * At most max bytes, cut before a character that does not fit whole.  What is
 * not UTF-8, which a client may send, becomes "?": a reader of JSON would
 * refuse the document.
 */

u_char *
ngx_http_corral_publish_escape(u_char *p, ngx_str_t *value, size_t max)
{
    u_char    *s, *next, *last, *stop;
    uint32_t   c;

    s = value->data;
    last = s + value->len;
    stop = (value->len > max) ? s + max : last;

    while (s < stop) {
        next = s;

        if (*s < 0x80) {
            next++;

        } else {
            c = ngx_utf8_decode(&next, last - s);

            if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
                *p++ = '?';
                s++;
                continue;
            }
        }

        if (next > stop) {
            break;
        }

        p = (u_char *) ngx_escape_json(p, s, next - s);
        s = next;
    }

    return p;
}


static u_char *
ngx_http_corral_publish_number(u_char *p, ngx_uint_t field, uint64_t value)
{
    return ngx_sprintf(p, ",\"%V\":%uL",
                       &ngx_http_corral_publish_connection_fields[field],
                       value);
}


static u_char *
ngx_http_corral_publish_time(u_char *p, ngx_uint_t field, time_t value)
{
    ngx_tm_t  tm;

    if (value == 0) {
        return ngx_sprintf(p, ",\"%V\":null",
                           &ngx_http_corral_publish_connection_fields[field]);
    }

    ngx_gmtime(value, &tm);

    return ngx_sprintf(p, ",\"%V\":\"%4d-%02d-%02dT%02d:%02d:%02dZ\"",
                       &ngx_http_corral_publish_connection_fields[field],
                       tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                       tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
}
