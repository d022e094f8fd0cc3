
/*
 * The renewal of a token in the open WebSocket: what the files of the relay
 * that do it share with each other.
 */


#ifndef _NGX_HTTP_CORRAL_RELAY_RENEW_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RELAY_RENEW_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_corral_relay_pair.h"


/* A token that is asked about.  By ngx_alloc. */

struct ngx_http_corral_verify_s {
    ngx_http_corral_pair_t    *pair;        /* NULL: it has ended */
    ngx_http_request_t        *request;     /* NULL: not yet, or not any more */
    ngx_event_t                event;       /* the beginning, then the end */

    /* what came of it */

    char                      *failed;      /* a word for the client, or NULL */
    time_t                     expires;
    ngx_str_t                  token;       /* its id */
    u_char                     id[CORRAL_REVOCATION_NAME];

    size_t                     len;
    u_char                     data[];      /* the token */
};


/*
 * Asks the location of corral_token_renew about a token, in a turn of its own.
 * ngx_http_corral_relay_renew_told() is called later, never from within.  NULL:
 * no memory.
 */
ngx_http_corral_verify_t *ngx_http_corral_relay_verify(
    ngx_http_corral_pair_t *p, ngx_str_t *token);

/* Nobody wants to know any more; frees it. */
void ngx_http_corral_relay_verify_cancel(ngx_http_corral_verify_t *v);

void ngx_http_corral_relay_renew_told(ngx_http_corral_pair_t *p,
    ngx_http_corral_verify_t *v);


#endif /* _NGX_HTTP_CORRAL_RELAY_RENEW_H_INCLUDED_ */
