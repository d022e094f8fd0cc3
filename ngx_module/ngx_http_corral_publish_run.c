
/*
 * Resumable streams in Redis: each run is a stream that expires.  Entry 1-0
 * says that the run is there, event n is entry n+1-0, the last entry says how
 * the run ended.  Written without waiting.
 */


#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_sync.h"

#include <corral_sse.h>

#include <openssl/evp.h>


#define NGX_HTTP_CORRAL_RUN_EVENTS  128
#define NGX_HTTP_CORRAL_RUN_OWNER   16      /* bytes of the digest */


static void ngx_http_corral_publish_run_add(ngx_str_t *key, uint64_t seq,
    char *name, ngx_str_t *value, ngx_uint_t max);
static void ngx_http_corral_publish_run_got(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_publish_run_refused(
    ngx_http_corral_redis_reply_t *reply);
static ngx_int_t ngx_http_corral_publish_run_entry(
    ngx_http_corral_redis_reply_t *entry, ngx_http_corral_sync_event_t *event);


static ngx_http_corral_sync_run_pt  ngx_http_corral_publish_run_handler;


ngx_uint_t
ngx_http_corral_sync_run_ready(void)
{
    return ngx_http_corral_publish_ready();
}


/* Another one's request makes another key of the same id: he finds nothing. */

ngx_str_t
ngx_http_corral_sync_run_key(ngx_pool_t *pool, ngx_str_t *service_id,
    u_char *run, ngx_str_t *tenant, ngx_str_t *subject)
{
    u_char      buf[CORRAL_ID_MAX + 1 + CORRAL_SSE_RUN
                    + 1 + 2 * NGX_HTTP_CORRAL_RUN_OWNER];
    u_char      digest[EVP_MAX_MD_SIZE], *p, *text;
    size_t      len;
    ngx_str_t   part;

    p = ngx_sprintf(buf, "%*s:%*s",
                    (size_t) ngx_min(service_id->len, CORRAL_ID_MAX),
                    service_id->data, (size_t) CORRAL_SSE_RUN, run);

    if (tenant->len || subject->len) {

        /* neither has a NUL */

        len = tenant->len + 1 + subject->len;
        text = ngx_pnalloc(pool, len);

        ngx_str_null(&part);

        if (text == NULL) {
            return part;
        }

        *ngx_cpymem(text, tenant->data, tenant->len) = '\0';
        ngx_memcpy(text + tenant->len + 1, subject->data, subject->len);

        if (!EVP_Digest(text, len, digest, NULL, EVP_sha256(), NULL)) {
            return part;
        }

        *p++ = ':';
        p = ngx_hex_dump(p, digest, NGX_HTTP_CORRAL_RUN_OWNER);
    }

    part.data = buf;
    part.len = p - buf;

    return ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_RUN, &part);
}


void
ngx_http_corral_sync_run_start(ngx_str_t *key, ngx_msec_t keep)
{
    static ngx_str_t  one = ngx_string("1");

    ngx_http_corral_publish_run_add(key, 0, "start", &one, 0);
    ngx_http_corral_sync_run_keep(key, keep);
}


void
ngx_http_corral_sync_run_add(ngx_str_t *key, uint64_t seq, ngx_str_t *event,
    ngx_uint_t max)
{
    ngx_http_corral_publish_run_add(key, seq, "event", event, max);
}


void
ngx_http_corral_sync_run_keep(ngx_str_t *key, ngx_msec_t keep)
{
    u_char     number[NGX_INT64_LEN];
    ngx_str_t  argv[3];

    if (!ngx_http_corral_publish_ready()) {
        return;
    }

    ngx_str_set(&argv[0], "PEXPIRE");
    argv[1] = *key;
    argv[2].data = number;
    argv[2].len = ngx_sprintf(number, "%M", keep) - number;

    ngx_http_corral_publish_send(3, argv);
}


void
ngx_http_corral_sync_run_end(ngx_str_t *key, uint64_t seq, ngx_msec_t keep,
    ngx_uint_t lost)
{
    ngx_str_t  how;

    ngx_str_set(&how, "whole");

    if (lost) {
        ngx_str_set(&how, "lost");
    }

    ngx_http_corral_publish_run_add(key, seq + 1, "end", &how, 0);
    ngx_http_corral_sync_run_keep(key, keep);
}


static void
ngx_http_corral_publish_run_add(ngx_str_t *key, uint64_t seq, char *name,
    ngx_str_t *value, ngx_uint_t max)
{
    u_char      number[NGX_INT64_LEN], id[NGX_INT64_LEN + 2];
    ngx_str_t   argv[8];
    ngx_uint_t  n;

    if (!ngx_http_corral_publish_ready()) {
        return;
    }

    ngx_str_set(&argv[0], "XADD");
    argv[1] = *key;
    n = 2;

    if (max) {
        ngx_str_set(&argv[n], "MAXLEN");
        n++;
        ngx_str_set(&argv[n], "~");
        n++;
        argv[n].data = number;
        argv[n].len = ngx_sprintf(number, "%ui", max) - number;
        n++;
    }

    argv[n].data = id;
    argv[n].len = ngx_sprintf(id, "%uL-0", seq + 1) - id;
    n++;

    argv[n].data = (u_char *) name;
    argv[n].len = ngx_strlen(name);
    n++;

    argv[n++] = *value;

    ngx_http_corral_publish_send(n, argv);
}


void
ngx_http_corral_sync_run_get(ngx_str_t *key, uint64_t seq, ngx_uint_t most,
    ngx_http_corral_sync_run_pt handler, void *data)
{
    u_char     id[NGX_INT64_LEN + 2], count[NGX_INT_T_LEN];
    ngx_str_t  argv[6];

    if (!ngx_http_corral_publish_ready()) {
        return;
    }

    /* there is one who asks */

    ngx_http_corral_publish_run_handler = handler;

    ngx_str_set(&argv[0], "XRANGE");
    argv[1] = *key;
    argv[2].data = id;
    argv[2].len = ngx_sprintf(id, "%uL-0", seq + 1) - id;
    ngx_str_set(&argv[3], "+");
    ngx_str_set(&argv[4], "COUNT");
    argv[5].data = count;
    argv[5].len = ngx_sprintf(count, "%ui", most) - count;

    (void) ngx_http_corral_publish_ask(ngx_http_corral_publish_run_got, data,
                                       6, argv);
}


static void
ngx_http_corral_publish_run_got(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_uint_t                    i, n;
    ngx_http_corral_sync_event_t  events[NGX_HTTP_CORRAL_RUN_EVENTS];

    n = 0;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY) {
        ngx_http_corral_publish_run_refused(reply);
        ngx_http_corral_publish_run_handler(data, 0, NULL);
        return;
    }

    for (i = 0; i < reply->n && n < NGX_HTTP_CORRAL_RUN_EVENTS; i++) {

        if (ngx_http_corral_publish_run_entry(reply->elements[i], &events[n])
            == NGX_OK)
        {
            n++;
        }
    }

    ngx_http_corral_publish_run_handler(data, n, events);
}


static void
ngx_http_corral_publish_run_refused(ngx_http_corral_redis_reply_t *reply)
{
    static time_t  told;

    if (ngx_time() - told >= 60) {
        told = ngx_time();
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral: Redis does not tell the events of a stream: %V",
                      &reply->str);
    }
}


/* [ "n-0", [ name, value ] ]; whatever else stands there is not ours */

static ngx_int_t
ngx_http_corral_publish_run_entry(ngx_http_corral_redis_reply_t *entry,
    ngx_http_corral_sync_event_t *event)
{
    u_char                          *p;
    ngx_str_t                       *id;
    ngx_int_t                        number;
    ngx_http_corral_redis_reply_t  **e;

    if (entry->type != NGX_HTTP_CORRAL_REDIS_ARRAY || entry->n != 2
        || entry->elements[0]->type != NGX_HTTP_CORRAL_REDIS_STRING
        || entry->elements[1]->type != NGX_HTTP_CORRAL_REDIS_ARRAY
        || entry->elements[1]->n != 2)
    {
        return NGX_DECLINED;
    }

    id = &entry->elements[0]->str;
    e = entry->elements[1]->elements;

    p = ngx_strlchr(id->data, id->data + id->len, '-');
    number = p ? ngx_atoi(id->data, p - id->data) : NGX_ERROR;

    if (number < 1 || e[0]->type != NGX_HTTP_CORRAL_REDIS_STRING
        || e[1]->type != NGX_HTTP_CORRAL_REDIS_STRING)
    {
        return NGX_DECLINED;
    }

    event->seq = (uint64_t) number - 1;
    event->event = e[1]->str;
    event->end = e[0]->str.len == 3;        /* "end", not "start", "event" */
    event->lost = event->end && e[1]->str.len == 4;         /* "lost" */

    return NGX_OK;
}
