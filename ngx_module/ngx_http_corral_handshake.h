
/*
 * The handshake with an agent.  See ngx_http_corral_handshake_start.c,
 * ngx_http_corral_handshake.c and ngx_http_corral_handshake_head.c.
 */


#ifndef _NGX_HTTP_CORRAL_HANDSHAKE_H_INCLUDED_
#define _NGX_HTTP_CORRAL_HANDSHAKE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_websocket.h"


typedef struct ngx_http_corral_handshake_s  ngx_http_corral_handshake_t;


/*
 * What a connection that may go on with another instance keeps of its
 * handshake: the request for the agent, without the empty line at its end, and
 * what the first agent has agreed to.
 */

typedef struct {
    ngx_str_t                              request;
    ngx_str_t                              accept;
    ngx_str_t                              protocol;
    ngx_str_t                              extensions;
} ngx_http_corral_agreed_t;


/*
 * One upgrade, from the content handler to the 101 or another answer.  Lives
 * in r->pool; its upstream connection and balancer data are given back by
 * ngx_http_corral_handshake_drop() at the latest, which is a cleanup of r.
 *
 * The same for a pair that looks for another instance: then r is a stand-in,
 * pair and agreed are set, and each end of it is one of the functions
 * ngx_http_corral_relay_move_joined() and ..._failed().
 */

struct ngx_http_corral_handshake_s {
    ngx_http_request_t                    *request;
    ngx_http_corral_ctx_t                 *ctx;
    ngx_http_corral_websocket_loc_conf_t  *conf;
    ngx_http_cleanup_t                    *cleanup;
    ngx_http_corral_pair_t                *pair;
    ngx_http_corral_agreed_t              *agreed;

    ngx_http_corral_terms_t                terms;  /* nothing in it is unset */
    ngx_int_t                              tries;  /* left */
    ngx_uint_t                             failed; /* status of the last try,
                                                      0: none failed */

    ngx_buf_t                             *out;    /* request for the agent */
    ngx_buf_t                             *in;     /* head of its answer, and
                                                      what came with it */
    ngx_http_status_t                      status;
    ngx_uint_t                             passed; /* interim answers */

    /* of an answer that is not 101, see ngx_http_corral_answer.c */

    off_t                                  left;   /* bytes; -1: until EOF */
    ngx_http_chunked_t                     chunk;
    ngx_buf_t                             *body;
    ngx_chain_t                           *free;
    ngx_chain_t                           *busy;

    unsigned                               connected:1;
    unsigned                               status_done:1;
    unsigned                               chunked:1;
    unsigned                               deflate:1;  /* RSV1 is agreed */
    unsigned                               ended:1;    /* answer is whole */
};


/* ngx_http_corral_handshake_start.c: the content handler of WebSockets. */
ngx_int_t ngx_http_corral_handshake_handler(ngx_http_request_t *r);

/* Connects to the next instance and goes on from there by events. */
void ngx_http_corral_handshake_connect(ngx_http_corral_handshake_t *h);

/* The head of an answer may have so many bytes. */
#define NGX_HTTP_CORRAL_HANDSHAKE_HEAD  8192

/*
 * Closes the connection to the agent, if it is still there, and gives the
 * instance back: state is 0 or NGX_PEER_FAILED.
 */
void ngx_http_corral_handshake_drop(ngx_http_corral_handshake_t *h,
    ngx_uint_t state);

/* Drops all and finalizes the request with rc. */
void ngx_http_corral_handshake_finalize(ngx_http_corral_handshake_t *h,
    ngx_int_t rc);

/*
 * Does a header with this name (in lower case) have the token, in a list of
 * tokens with optional parameters?  Compares without regard to case.
 */
ngx_uint_t ngx_http_corral_handshake_token(ngx_list_t *headers, char *name,
    char *token);

/* ngx_http_corral_handshake_head.c */

/* Makes h->out, the request for the agent.  NGX_OK, NGX_ERROR. */
ngx_int_t ngx_http_corral_handshake_request(ngx_http_corral_handshake_t *h);

/*
 * Parses the head of the answer as far as it is in h->in.  NGX_OK when it is
 * whole, NGX_AGAIN, NGX_ERROR, or NGX_DECLINED if it is no HTTP.
 */
ngx_int_t ngx_http_corral_handshake_parse(ngx_http_corral_handshake_t *h);

/*
 * Checks a 101 against what was offered, or against what another agent has
 * agreed to: NULL, or what is wrong with it.
 */
char *ngx_http_corral_handshake_check(ngx_http_corral_handshake_t *h);

/*
 * What another instance would have to agree to, after a sound 101: strings of
 * r->pool or of the answer.
 */
void ngx_http_corral_handshake_agreed(ngx_http_corral_handshake_t *h,
    ngx_http_corral_agreed_t *agreed);

/*
 * Makes the 101 for the client: the agent's headers as they came, and those
 * that other steps have put into headers_out.  $sent_http_* sees them all.
 * NGX_OK, NGX_ERROR.
 */
ngx_int_t ngx_http_corral_handshake_reply(ngx_http_corral_handshake_t *h,
    ngx_str_t *head);

/*
 * Starts to pass the answer in h->status, r->upstream->headers_in.headers and
 * h->in to the client, whole, whatever it is.  Finalizes the request, now or
 * later.
 */
void ngx_http_corral_answer_start(ngx_http_corral_handshake_t *h);


#endif /* _NGX_HTTP_CORRAL_HANDSHAKE_H_INCLUDED_ */
