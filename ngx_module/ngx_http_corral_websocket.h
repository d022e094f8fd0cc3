
/*
 * What the files of step 6 share: the configuration of corral_websocket and
 * what is known of an upgraded request.
 */


#ifndef _NGX_HTTP_CORRAL_WEBSOCKET_H_INCLUDED_
#define _NGX_HTTP_CORRAL_WEBSOCKET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_corral.h"


/* bits of corral_next_upstream */

#define NGX_HTTP_CORRAL_NEXT_OFF             0x0002
#define NGX_HTTP_CORRAL_NEXT_ERROR           0x0004
#define NGX_HTTP_CORRAL_NEXT_TIMEOUT         0x0008
#define NGX_HTTP_CORRAL_NEXT_INVALID_HEADER  0x0010
#define NGX_HTTP_CORRAL_NEXT_HTTP_429        0x0020
#define NGX_HTTP_CORRAL_NEXT_HTTP_500        0x0040
#define NGX_HTTP_CORRAL_NEXT_HTTP_502        0x0080
#define NGX_HTTP_CORRAL_NEXT_HTTP_503        0x0100
#define NGX_HTTP_CORRAL_NEXT_HTTP_504        0x0200
#define NGX_HTTP_CORRAL_NEXT_HTTP_5XX        0x0400


typedef struct {
    size_t                          buffer;  /* of the worker's scratch */
    ngx_array_t                     uses;    /* of corral_websocket, to be
                                                checked after parsing */
    u_char                         *kinds;   /* of variables, for records */
} ngx_http_corral_websocket_main_conf_t;


typedef struct {
    ngx_http_upstream_srv_conf_t   *upstream;

    ngx_msec_t                      connect_timeout;
    ngx_msec_t                      handshake_timeout;
    ngx_msec_t                      idle_timeout;
    ngx_msec_t                      ping_interval;
    ngx_msec_t                      ping_timeout;
    ngx_msec_t                      close_timeout;
    ngx_msec_t                      max_lifetime;
    off_t                           max_message_size;
    off_t                           max_message_size_out;
    off_t                           byte_rate;
    off_t                           byte_rate_out;
    ngx_int_t                       message_rate;   /* these three are */
    ngx_int_t                       message_burst;  /* inherited together */
    ngx_int_t                       message_delay;
    ngx_http_complex_value_t       *expires;
    ngx_str_t                       token_renew;   /* uri; empty: off */
    ngx_int_t                       tries;
    ngx_uint_t                      next_upstream;
} ngx_http_corral_websocket_loc_conf_t;


/*
 * What the variables tell of a relayed connection: the module context of the
 * request that was upgraded, or of the one that stands in for it in the log
 * phase.  received and sent are seen from the gateway towards the client.
 */

typedef struct {
    uint64_t                        id;
    uint64_t                        messages_received;
    uint64_t                        messages_sent;
    uint64_t                        bytes_received;
    uint64_t                        bytes_sent;
    ngx_uint_t                      resumed;
    ngx_uint_t                      close_code;    /* 0: open */
    ngx_uint_t                      close_sent;
    struct ngx_http_corral_pair_s  *pair;          /* while it lives */
} ngx_http_corral_websocket_t;


/* seconds for which a token is taken behind its end: clocks differ */

#define NGX_HTTP_CORRAL_LEEWAY  30


/*
 * When the token of a request ends, as corral_expires of its location says; 0:
 * never.  NGX_OK, NGX_ERROR, or NGX_DECLINED if that is no time, which was
 * logged.
 */
ngx_int_t ngx_http_corral_websocket_token_end(ngx_http_request_t *r,
    time_t *expires);


extern ngx_module_t  ngx_http_corral_websocket_module;


#endif /* _NGX_HTTP_CORRAL_WEBSOCKET_H_INCLUDED_ */
