
/*
 * The list of WebSockets that this worker relays, told through Redis: one hash,
 * a field for each.
 *
 * It is told as differences, which the relay keeps; here is no queue.  So when
 * Redis is slow or gone, updates of one connection merge.  After a connection
 * to Redis was lost the list is told anew.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_relay.h"


#define NGX_HTTP_CORRAL_PUBLISH_SOON    100    /* ms after a change of it */
#define NGX_HTTP_CORRAL_PUBLISH_BEAT    500    /* connections told in a beat */
#define NGX_HTTP_CORRAL_PUBLISH_CHUNK   50     /* of these, in one turn */
#define NGX_HTTP_CORRAL_PUBLISH_TEXT    200    /* bytes of a client's string */


#define ngx_http_corral_publish_list_name(name, text)   ngx_string(#name),
#define ngx_http_corral_publish_list_e(name, text)      CONNECTION_##name,

enum { CORRAL_CONNECTION_FIELDS(ngx_http_corral_publish_list_e)
       CONNECTION_NUMBER };


typedef struct {
    ngx_str_t                     key;
    ngx_uint_t                    connected;
    ngx_uint_t                    budget;       /* connections to be told */
    ngx_event_t                   soon;
    ngx_event_t                   work;
    ngx_connection_t              dummy;        /* ev->data */
} ngx_http_corral_publish_list_t;


static void ngx_http_corral_publish_list_expired(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_publish_list_soon(ngx_event_t *ev);
static void ngx_http_corral_publish_list_work(ngx_event_t *ev);
static ngx_int_t ngx_http_corral_publish_list_chunk(ngx_pool_t *pool);
static ngx_int_t ngx_http_corral_publish_list_view(ngx_pool_t *pool,
    ngx_http_corral_pair_view_t *view, ngx_str_t *id, ngx_str_t *json);
static u_char *ngx_http_corral_publish_list_json(u_char *p,
    ngx_http_corral_pair_view_t *view, ngx_str_t *id);
static u_char *ngx_http_corral_publish_list_string(u_char *p,
    ngx_uint_t field, ngx_str_t *value);
static u_char *ngx_http_corral_publish_list_number(u_char *p,
    ngx_uint_t field, uint64_t value);
static u_char *ngx_http_corral_publish_list_time(u_char *p, ngx_uint_t field,
    time_t value);


static ngx_str_t  ngx_http_corral_publish_list_fields[] = {
    CORRAL_CONNECTION_FIELDS(ngx_http_corral_publish_list_name)
};

static ngx_http_corral_publish_list_t  ngx_http_corral_publish_list;


ngx_int_t
ngx_http_corral_publish_list_init(ngx_pool_t *pool)
{
    ngx_http_corral_publish_list_t  *list;

    list = &ngx_http_corral_publish_list;

    list->key = ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_CONNECTIONS,
                                       ngx_http_corral_publish_worker());
    if (list->key.data == NULL) {
        return NGX_ERROR;
    }

    list->dummy.fd = (ngx_socket_t) -1;

    list->soon.handler = ngx_http_corral_publish_list_soon;
    list->soon.data = &list->dummy;
    list->soon.log = ngx_cycle->log;
    list->soon.cancelable = 1;

    list->work.handler = ngx_http_corral_publish_list_work;
    list->work.data = &list->dummy;
    list->work.log = ngx_cycle->log;

    return NGX_OK;
}


ngx_str_t *
ngx_http_corral_publish_list_key(void)
{
    return &ngx_http_corral_publish_list.key;
}


void
ngx_http_corral_publish_list_connected(void)
{
    ngx_str_t                        argv[2];
    ngx_http_corral_publish_list_t  *list;

    list = &ngx_http_corral_publish_list;
    list->connected = 1;

    /* what was closed meanwhile is not in the differences: begin anew */

    ngx_str_set(&argv[0], "DEL");
    argv[1] = list->key;
    ngx_http_corral_publish_send(2, argv);

    ngx_http_corral_relay_again();
    list->budget = ngx_http_corral_relay_count();
}


void
ngx_http_corral_publish_list_closed(void)
{
    ngx_http_corral_publish_list.connected = 0;
}


void
ngx_http_corral_publish_list_beat(void)
{
    ngx_uint_t                       n;
    ngx_http_corral_publish_list_t  *list;

    list = &ngx_http_corral_publish_list;

    ngx_http_corral_publish_expire(&list->key,
                                   ngx_http_corral_publish_list_expired);

    /* a busy connection has changed again at once: it is told once a beat */

    n = ngx_min(ngx_http_corral_relay_count(), NGX_HTTP_CORRAL_PUBLISH_BEAT);
    list->budget = ngx_max(list->budget, n);

    ngx_post_event(&list->work, &ngx_posted_next_events);
}


void
ngx_http_corral_publish_list_changed(void)
{
    ngx_http_corral_publish_list_t  *list;

    list = &ngx_http_corral_publish_list;

    if (!list->connected) {
        return;
    }

    list->budget++;

    if (!list->soon.timer_set) {
        ngx_add_timer(&list->soon, NGX_HTTP_CORRAL_PUBLISH_SOON);
    }
}


/* The list is not there though it should be: somebody emptied the store. */

static void
ngx_http_corral_publish_list_expired(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_uint_t                       n;
    ngx_http_corral_publish_list_t  *list;

    list = &ngx_http_corral_publish_list;
    n = ngx_http_corral_relay_count();

    if (reply->type != NGX_HTTP_CORRAL_REDIS_INTEGER || reply->integer
        || n == 0)
    {
        return;
    }

    ngx_http_corral_relay_again();

    list->budget = ngx_max(list->budget, n);
    ngx_post_event(&list->work, &ngx_posted_next_events);
}


static void
ngx_http_corral_publish_list_soon(ngx_event_t *ev)
{
    ngx_post_event(&ngx_http_corral_publish_list.work,
                   &ngx_posted_next_events);
}


/*
 * One chunk of differences.  What does not fit into the budget or into the
 * backlog stays with the relay, where it merges with what comes.
 */

static void
ngx_http_corral_publish_list_work(ngx_event_t *ev)
{
    ngx_int_t    rc;
    ngx_pool_t  *pool;

    if (ngx_http_corral_publish_list.budget == 0
        || !ngx_http_corral_publish_ready())
    {
        return;
    }

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    rc = ngx_http_corral_publish_list_chunk(pool);

    ngx_destroy_pool(pool);

    if (rc == NGX_AGAIN) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


static ngx_int_t
ngx_http_corral_publish_list_chunk(ngx_pool_t *pool)
{
    ngx_int_t                        rc;
    ngx_str_t                        set[2 + 2 * NGX_HTTP_CORRAL_PUBLISH_CHUNK];
    ngx_str_t                        del[2 + NGX_HTTP_CORRAL_PUBLISH_CHUNK];
    ngx_uint_t                       i, nset, ndel;
    ngx_http_corral_pair_view_t      view;
    ngx_http_corral_publish_list_t  *list;

    list = &ngx_http_corral_publish_list;

    ngx_str_set(&set[0], "HSET");
    ngx_str_set(&del[0], "HDEL");
    set[1] = list->key;
    del[1] = list->key;
    nset = 2;
    ndel = 2;

    rc = NGX_AGAIN;

    for (i = 0; i < NGX_HTTP_CORRAL_PUBLISH_CHUNK && list->budget; i++) {
        rc = ngx_http_corral_relay_next(&view);

        if (rc == NGX_DONE) {
            list->budget = 0;
            break;
        }

        list->budget--;

        if (rc == NGX_DECLINED) {
            if (ngx_http_corral_publish_list_view(pool, &view, &del[ndel],
                                                  NULL)
                != NGX_OK)
            {
                break;
            }

            ndel++;
            continue;
        }

        if (ngx_http_corral_publish_list_view(pool, &view, &set[nset],
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

    return list->budget ? NGX_AGAIN : NGX_OK;
}


/* The id of a pair and, unless it is gone, its document. */

static ngx_int_t
ngx_http_corral_publish_list_view(ngx_pool_t *pool,
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

    p = ngx_http_corral_publish_list_json(buf, view, id);

    json->len = p - buf;
    json->data = ngx_pnalloc(pool, json->len);
    if (json->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(json->data, buf, json->len);

    return NGX_OK;
}


static u_char *
ngx_http_corral_publish_list_json(u_char *p, ngx_http_corral_pair_view_t *view,
    ngx_str_t *id)
{
    u_char      *start;
    ngx_str_t    status;
    ngx_uint_t   method;

    ngx_str_set(&status, "active");

    if (view->closing) {
        ngx_str_set(&status, "closing");
    }

    method = ngx_min(view->method, NGX_HTTP_CORRAL_EWMA);
    start = p;

#define str(field, value)                                                     \
    p = ngx_http_corral_publish_list_string(p, CONNECTION_##field, value)
#define num(field, value)                                                     \
    p = ngx_http_corral_publish_list_number(p, CONNECTION_##field, value)
#define time(field, value)                                                    \
    p = ngx_http_corral_publish_list_time(p, CONNECTION_##field, value)

    str(connection_id, id);
    str(worker, ngx_http_corral_publish_worker());
    str(gateway, ngx_http_corral_publish_gateway());
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
    time(connected_at, view->connected_at);
    time(last_activity, view->last_activity);
    time(expires_at, view->expires);
    num(messages_in, view->messages_in);
    num(messages_out, view->messages_out);
    num(bytes_received, view->bytes_in);
    num(bytes_sent, view->bytes_out);
    num(message_count, view->messages_in + view->messages_out);
    num(resumed, view->resumed);

#undef str
#undef num
#undef time

    *start = '{';
    *p++ = '}';

    return p;
}


/* An empty session, tenant or subject is null. */

static u_char *
ngx_http_corral_publish_list_string(u_char *p, ngx_uint_t field,
    ngx_str_t *value)
{
    p = ngx_sprintf(p, ",\"%V\":", &ngx_http_corral_publish_list_fields[field]);

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


static u_char *
ngx_http_corral_publish_list_number(u_char *p, ngx_uint_t field, uint64_t value)
{
    return ngx_sprintf(p, ",\"%V\":%uL",
                       &ngx_http_corral_publish_list_fields[field], value);
}


static u_char *
ngx_http_corral_publish_list_time(u_char *p, ngx_uint_t field, time_t value)
{
    ngx_tm_t  tm;

    if (value == 0) {
        return ngx_sprintf(p, ",\"%V\":null",
                           &ngx_http_corral_publish_list_fields[field]);
    }

    ngx_gmtime(value, &tm);

    return ngx_sprintf(p, ",\"%V\":\"%4d-%02d-%02dT%02d:%02d:%02dZ\"",
                       &ngx_http_corral_publish_list_fields[field],
                       tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                       tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
}
