
/*
 * The counts of the whole cluster: each process tells what it holds of each
 * instance and service, under a key of its own that expires with its lease;
 * in each zone one process reads all of them once a second and adds up those
 * that count in another zone.  So old workers behind a reload, who share the
 * zone, are not counted twice, and those of a binary upgrade, who do not, are
 * counted.
 *
 * Numbers are up to two seconds old: least connections draws two instances
 * then, and limits may be passed by what other gateways let in meanwhile.
 * Without Redis they are forgotten after ten seconds.
 *
 * No locks; lives as long as the worker.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_report.h"
#include "ngx_http_corral_view.h"

#include <corral_counts.h>


#define NGX_HTTP_CORRAL_VIEW_MAX  (512 * 1024)  /* bytes a process tells */


static void ngx_http_corral_view_tell(void);
static size_t ngx_http_corral_view_print(u_char *buf, size_t size);
static void ngx_http_corral_view_workers(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_view_counts(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_view_add(ngx_str_t *text, uint32_t *counts,
    ngx_uint_t n);


static ngx_str_t   ngx_http_corral_view_key;    /* of this process */
static ngx_uint_t  ngx_http_corral_view_told;   /* there is something of ours */


ngx_int_t
ngx_http_corral_view_init(ngx_pool_t *pool)
{
    ngx_http_corral_view_key = ngx_http_corral_key_of(pool,
                                            NGX_HTTP_CORRAL_KEY_COUNTS,
                                            ngx_http_corral_publish_worker());

    return ngx_http_corral_view_key.data ? NGX_OK : NGX_ERROR;
}


void
ngx_http_corral_view_beat(void)
{
    ngx_str_t  argv[2];

    ngx_http_corral_table_remote_tick(CORRAL_WORKER_LEASE / 1000);
    ngx_http_corral_table_report_tick(CORRAL_REPORTS_LEASE / 1000);

    if (!ngx_http_corral_publish_ready()) {
        return;
    }

    ngx_http_corral_view_tell();

    if (ngx_http_corral_table_remote_begin()) {
        ngx_str_set(&argv[0], "SMEMBERS");
        argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_WORKERS);

        (void) ngx_http_corral_publish_ask(ngx_http_corral_view_workers, NULL,
                                           2, argv);

        ngx_http_corral_report_ask();
    }
}


void
ngx_http_corral_view_bye(void)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "DEL");
    argv[1] = ngx_http_corral_view_key;

    ngx_http_corral_publish_send(2, argv);
}


/* All that this process holds, at once: a reader sees one moment of it. */

static void
ngx_http_corral_view_tell(void)
{
    size_t     len;
    u_char    *buf, number[NGX_INT_T_LEN];
    ngx_str_t  argv[5];

    len = ngx_http_corral_view_print(NULL, 0);

    if (len == 0 && !ngx_http_corral_view_told) {
        return;
    }

    len += CORRAL_COUNTS_HEAD_MAX + CORRAL_COUNTS_LINE_MAX;

    buf = ngx_alloc(len, ngx_cycle->log);
    if (buf == NULL) {
        return;
    }

    ngx_str_set(&argv[0], "SET");
    argv[1] = ngx_http_corral_view_key;
    argv[2].data = buf;
    argv[2].len = ngx_http_corral_view_print(buf, len);
    ngx_str_set(&argv[3], "PX");
    argv[4].data = number;
    argv[4].len = ngx_sprintf(number, "%d", CORRAL_WORKER_LEASE) - number;

    /* what is told as nothing need not be told again */

    ngx_http_corral_view_told = argv[2].len > CORRAL_COUNTS_ZONE + 3;

    ngx_http_corral_publish_send(5, argv);

    ngx_free(buf);
}


/* Without buf: how many bytes it takes at most, 0 if nothing is held. */

static size_t
ngx_http_corral_view_print(u_char *buf, size_t size)
{
    size_t      len;
    uint32_t    count;
    ngx_str_t   key;
    ngx_uint_t  i;

    len = 0;

    if (buf) {
        ngx_http_corral_table_nonce(&key);
        len = corral_counts_head((char *) buf, (char *) key.data);
    }

    for (i = 0; i < ngx_http_corral_table_slots(); i++) {

        if (!ngx_http_corral_table_own(i, &key, &count)) {
            continue;
        }

        if (buf == NULL) {
            len += CORRAL_COUNTS_LINE_MAX;
            len = ngx_min(len, NGX_HTTP_CORRAL_VIEW_MAX);
            continue;
        }

        if (size - len < CORRAL_COUNTS_LINE_MAX) {
            break;
        }

        len += corral_counts_line((char *) buf + len, (char *) key.data,
                                  key.len, count);
    }

    return len;
}


/* Who is there: asks for what each of them holds. */

static void
ngx_http_corral_view_workers(void *data, ngx_http_corral_redis_reply_t *reply)
{
    size_t       i, n;
    ngx_str_t   *argv;
    ngx_pool_t  *pool;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY || reply->n == 0) {
        return;
    }

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    argv = ngx_palloc(pool, (reply->n + 1) * sizeof(ngx_str_t));

    if (argv) {
        ngx_str_set(&argv[0], "MGET");
        n = 1;

        for (i = 0; i < reply->n; i++) {
            argv[n] = ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_COUNTS,
                                             &reply->elements[i]->str);
            if (argv[n].data) {
                n++;
            }
        }

        if (n > 1) {
            (void) ngx_http_corral_publish_ask(ngx_http_corral_view_counts,
                                               NULL, n, argv);
        }
    }

    ngx_destroy_pool(pool);
}


static void
ngx_http_corral_view_counts(void *data, ngx_http_corral_redis_reply_t *reply)
{
    size_t       i;
    uint32_t    *counts;
    ngx_uint_t   n;

    n = ngx_http_corral_table_slots();

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY || n == 0) {
        return;
    }

    counts = ngx_calloc(n * sizeof(uint32_t), ngx_cycle->log);
    if (counts == NULL) {
        return;
    }

    for (i = 0; i < reply->n; i++) {

        if (reply->elements[i]->type == NGX_HTTP_CORRAL_REDIS_STRING) {
            ngx_http_corral_view_add(&reply->elements[i]->str, counts, n);
        }
    }

    ngx_http_corral_table_remote_set(counts, n);

    ngx_free(counts);
}


/* Adds up what a process of another zone holds, in the first n slots. */

static void
ngx_http_corral_view_add(ngx_str_t *text, uint32_t *counts, ngx_uint_t n)
{
    uint32_t         slot;
    ngx_str_t        key, zone;
    corral_counts_t  c;

    ngx_http_corral_table_nonce(&zone);

    if (corral_counts_open(&c, (char *) text->data, text->len) != 0
        || ngx_memcmp(c.zone, zone.data, CORRAL_COUNTS_ZONE) == 0)
    {
        return;
    }

    while (corral_counts_next(&c)) {
        key.data = (u_char *) c.key;
        key.len = c.len;

        slot = ngx_http_corral_table_find(&key);

        if (slot < n) {
            counts[slot] += c.count;
        }
    }
}
