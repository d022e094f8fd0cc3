
/*
 * Resumable server-sent events: what the files of this step share.  See
 * ngx_http_corral_sse_module.c, ..._sse_resume.c and ..._sse_out.c.
 */


#ifndef _NGX_HTTP_CORRAL_SSE_H_INCLUDED_
#define _NGX_HTTP_CORRAL_SSE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <corral_sse.h>

#include "ngx_http_corral.h"


/* Events on their way to a client: buffers that are used again. */

typedef struct {
    ngx_chain_t   *out;                     /* to be passed on */
    ngx_chain_t  **last;
    ngx_chain_t   *busy;                    /* not yet sent */
    ngx_chain_t   *free;
    ngx_buf_t     *buf;                     /* the last one of out */
    ngx_uint_t     n;                       /* buffers of out and busy */
} ngx_http_corral_sse_out_t;


void ngx_http_corral_sse_out_init(ngx_http_corral_sse_out_t *out);

/*
 * Adds bytes; adds an event with its id.  event has no empty line at its end,
 * run has 32 bytes.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_corral_sse_out_put(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out, u_char *data, size_t len);
ngx_int_t ngx_http_corral_sse_out_event(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out, ngx_str_t *event, u_char *run,
    uint64_t seq);

/* Ends what is in out: with a flush, and as the last of the response if so. */
ngx_int_t ngx_http_corral_sse_out_end(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out, ngx_uint_t last);

/* So much is on its way that nothing more is to be read for it. */
ngx_uint_t ngx_http_corral_sse_out_full(ngx_http_corral_sse_out_t *out);

/* Takes back the buffers that were sent. */
void ngx_http_corral_sse_out_update(ngx_http_request_t *r,
    ngx_http_corral_sse_out_t *out);

/* Adds one to a total of a service: the field's offset in the totals. */
void ngx_http_corral_sse_count(ngx_http_corral_slot_t ref, size_t field);


#endif /* _NGX_HTTP_CORRAL_SSE_H_INCLUDED_ */
