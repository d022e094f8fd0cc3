
/*
 * The output of the metrics step, for its files alone.
 * See ngx_http_corral_metrics_out.c.
 */


#ifndef _NGX_HTTP_CORRAL_METRICS_H_INCLUDED_
#define _NGX_HTTP_CORRAL_METRICS_H_INCLUDED_


#include "ngx_http_corral.h"


typedef struct {
    ngx_http_request_t         *r;
    ngx_chain_t                *first;
    ngx_chain_t               **last;
    ngx_buf_t                  *buf;
    off_t                       size;
    ngx_uint_t                  failed;

    ngx_uint_t                  metric;     /* row of the table at hand */
    ngx_uint_t                  of_instance;
    ngx_http_corral_service_t  *service;
    ngx_uint_t                  items;      /* written in this list */
} ngx_http_corral_metrics_out_t;


/*
 * Begins an answer: NGX_OK, or what the handler has to return.  send ends it.
 * type is that of the content, of len bytes.
 */
ngx_int_t ngx_http_corral_metrics_start(ngx_http_request_t *r,
    ngx_http_corral_metrics_out_t *out);
ngx_int_t ngx_http_corral_metrics_send(ngx_http_corral_metrics_out_t *out,
    char *type, size_t len);

/*
 * Append to the output; a failure is kept in it.  print writes at most 2,048
 * bytes a call: fixed words, names of 64 bytes and numbers.  string writes a
 * JSON string with its quotes.
 */
void ngx_http_corral_metrics_print(ngx_http_corral_metrics_out_t *out,
    const char *fmt, ...);
void ngx_http_corral_metrics_string(ngx_http_corral_metrics_out_t *out,
    ngx_str_t *s);

/* ngx_http_corral_metrics_status.c: the content handler of corral_status */
ngx_int_t ngx_http_corral_status_handler(ngx_http_request_t *r);

/* ngx_http_corral_metrics_split.c: how rules divide requests */
void ngx_http_corral_metrics_splits(ngx_http_corral_metrics_out_t *out);
void ngx_http_corral_status_splits(ngx_http_corral_metrics_out_t *out);


#endif /* _NGX_HTTP_CORRAL_METRICS_H_INCLUDED_ */
