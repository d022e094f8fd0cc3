
/*
 * What a worker tells through Redis: that it lives, in its lease, the revision
 * it serves from, and who waits for a service.  The WebSockets it relays are
 * ngx_http_corral_publish_list.c's affair; answers to commands are made by
 * ngx_http_corral_command.c and go out here, too.
 *
 * Does not read the registry's documents and does not connect: that is
 * ngx_http_corral_follow.c, which also says when to beat.  The names of fields
 * come from corral_schema.h.  No locks; everything lives as long as the worker.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_relay.h"


#define ngx_http_corral_publish_name(name, text)        ngx_string(#name),
#define ngx_http_corral_publish_worker_e(name, text)    WORKER_##name,
#define ngx_http_corral_publish_wake_e(name, text)      WAKE_##name,

enum { CORRAL_WORKER_FIELDS(ngx_http_corral_publish_worker_e) WORKER_NUMBER };

enum { CORRAL_WAKE_FIELDS(ngx_http_corral_publish_wake_e) WAKE_NUMBER };


typedef struct {
    ngx_http_corral_main_conf_t  *conf;
    ngx_http_corral_redis_t      *redis;        /* NULL: not connected */

    ngx_str_t                     worker;       /* id */
    ngx_str_t                     pid;
    ngx_str_t                     start_time;
    ngx_str_t                     lease;        /* key */
} ngx_http_corral_publish_t;


static void ngx_http_corral_publish_lease(void);


static ngx_str_t  ngx_http_corral_publish_worker_fields[] = {
    CORRAL_WORKER_FIELDS(ngx_http_corral_publish_name)
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
    ngx_http_corral_publish_t  *publish;

    publish = &ngx_http_corral_publish;
    publish->conf = mcf;

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
    p = ngx_sprintf(p, "%uL", ngx_http_corral_table_start_time(ngx_pid));
    publish->start_time.len = p - publish->start_time.data;

    publish->worker.len = p - publish->worker.data;

    publish->lease = ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_WORKER,
                                            &publish->worker);
    if (publish->lease.data == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_corral_publish_list_init(pool);
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
    ngx_http_corral_publish.redis = redis;

    ngx_http_corral_publish_list_connected();
    ngx_http_corral_publish_beat();
}


void
ngx_http_corral_publish_closed(void)
{
    ngx_http_corral_publish.redis = NULL;

    ngx_http_corral_publish_list_closed();
}


void
ngx_http_corral_publish_beat(void)
{
    ngx_str_t                   argv[3];
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

    ngx_http_corral_publish_list_beat();
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
    argv[2] = *ngx_http_corral_publish_list_key();
    ngx_http_corral_publish_send(3, argv);

    ngx_str_set(&argv[0], "SREM");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_WORKERS);
    argv[2] = publish->worker;
    ngx_http_corral_publish_send(3, argv);
}


void
ngx_http_corral_publish_send(ngx_uint_t argc, ngx_str_t *argv)
{
    (void) ngx_http_corral_publish_ask(NULL, NULL, argc, argv);
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


void
ngx_http_corral_publish_expire(ngx_str_t *key,
    ngx_http_corral_redis_reply_pt cb)
{
    u_char     lease[NGX_INT_T_LEN];
    ngx_str_t  argv[3];

    ngx_str_set(&argv[0], "PEXPIRE");
    argv[1] = *key;
    argv[2].data = lease;
    argv[2].len = ngx_sprintf(lease, "%d", CORRAL_WORKER_LEASE) - lease;

    (void) ngx_http_corral_publish_ask(cb, NULL, 3, argv);
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
