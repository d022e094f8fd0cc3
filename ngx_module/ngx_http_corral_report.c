
/*
 * What instances say of themselves, from Redis into the zone.  Each node's
 * corrald tells what those say that it probes or takes heartbeats of, under one
 * key that expires; in each zone one process reads the keys of all nodes once a
 * second.  So a sample costs no revision of the registry, and a corrald that
 * is gone leaves the documents in force.
 *
 * No locks; lives as long as the worker.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_report.h"

#include <corral_report.h>


static void ngx_http_corral_report_nodes(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_report_texts(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_report_add(ngx_str_t *text, uint64_t *reports,
    ngx_uint_t n);


void
ngx_http_corral_report_ask(void)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "SMEMBERS");
    argv[1] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_NODES);

    (void) ngx_http_corral_publish_ask(ngx_http_corral_report_nodes, NULL, 2,
                                       argv);
}


static void
ngx_http_corral_report_nodes(void *data, ngx_http_corral_redis_reply_t *reply)
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
            argv[n] = ngx_http_corral_key_of(pool,
                                             NGX_HTTP_CORRAL_KEY_REPORTS,
                                             &reply->elements[i]->str);
            if (argv[n].data) {
                n++;
            }
        }

        if (n > 1) {
            (void) ngx_http_corral_publish_ask(ngx_http_corral_report_texts,
                                               NULL, n, argv);
        }
    }

    ngx_destroy_pool(pool);
}


static void
ngx_http_corral_report_texts(void *data, ngx_http_corral_redis_reply_t *reply)
{
    size_t       i;
    uint64_t    *reports;
    ngx_uint_t   n;

    n = ngx_http_corral_table_slots();

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY || n == 0) {
        return;
    }

    reports = ngx_calloc(n * sizeof(uint64_t), ngx_cycle->log);
    if (reports == NULL) {
        return;
    }

    for (i = 0; i < reply->n; i++) {

        if (reply->elements[i]->type == NGX_HTTP_CORRAL_REDIS_STRING) {
            ngx_http_corral_report_add(&reply->elements[i]->str, reports, n);
        }
    }

    ngx_http_corral_table_report_set(reports, n);

    ngx_free(reports);
}


/* lines of the key of a slot, a blank and the words of the instance */

static void
ngx_http_corral_report_add(ngx_str_t *text, uint64_t *reports, ngx_uint_t n)
{
    u_char           *p, *end, *last, *blank;
    uint32_t          slot;
    ngx_str_t         key;
    corral_report_t   report;

    last = text->data + text->len;

    for (p = text->data; p < last; p = end + 1) {
        end = ngx_strlchr(p, last, '\n');
        end = end ? end : last;

        blank = ngx_strlchr(p, end, ' ');

        if (blank == NULL
            || corral_report_parse((char *) blank, end - blank, &report) != 0)
        {
            continue;
        }

        key.data = p;
        key.len = blank - p;

        slot = ngx_http_corral_table_find(&key);

        if (slot < n) {
            reports[slot] = corral_report_pack(&report);
        }
    }
}
