
/*
 * Sessions in Redis: which instance has one, for other gateways and for one
 * that has forgotten.  Written without waiting; whoever asks sees to it that
 * he does not wait for long.
 */


#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_sync.h"


static ngx_str_t ngx_http_corral_publish_session_key(ngx_pool_t *pool,
    uint64_t session);
static void ngx_http_corral_publish_session_got(void *data,
    ngx_http_corral_redis_reply_t *reply);


static ngx_http_corral_sync_session_pt  ngx_http_corral_publish_session_handler;


ngx_uint_t
ngx_http_corral_sync_session_ready(void)
{
    return ngx_http_corral_publish_ready();
}


void
ngx_http_corral_sync_session_set(ngx_pool_t *pool, uint64_t session,
    ngx_str_t *owner, ngx_msec_t ttl)
{
    u_char     number[NGX_INT64_LEN];
    ngx_str_t  argv[5];

    if (!ngx_http_corral_publish_ready()) {
        return;
    }

    ngx_str_set(&argv[0], "SET");
    argv[1] = ngx_http_corral_publish_session_key(pool, session);
    argv[2] = *owner;
    ngx_str_set(&argv[3], "PX");
    argv[4].data = number;
    argv[4].len = ngx_sprintf(number, "%M", ttl) - number;

    if (argv[1].data) {
        ngx_http_corral_publish_send(5, argv);
    }
}


void
ngx_http_corral_sync_session_drop(ngx_pool_t *pool, uint64_t session)
{
    ngx_str_t  argv[2];

    if (!ngx_http_corral_publish_ready()) {
        return;
    }

    ngx_str_set(&argv[0], "DEL");
    argv[1] = ngx_http_corral_publish_session_key(pool, session);

    if (argv[1].data) {
        ngx_http_corral_publish_send(2, argv);
    }
}


void
ngx_http_corral_sync_session_get(ngx_pool_t *pool, uint64_t session,
    ngx_msec_t ttl, ngx_http_corral_sync_session_pt handler, void *data)
{
    u_char     number[NGX_INT64_LEN];
    ngx_str_t  argv[4];

    ngx_str_set(&argv[0], "GETEX");
    argv[1] = ngx_http_corral_publish_session_key(pool, session);
    ngx_str_set(&argv[2], "PX");
    argv[3].data = number;
    argv[3].len = ngx_sprintf(number, "%M", ttl) - number;

    /* there is one who asks */

    ngx_http_corral_publish_session_handler = handler;

    if (argv[1].data) {
        (void) ngx_http_corral_publish_ask(ngx_http_corral_publish_session_got,
                                           data, 4, argv);
    }
}


static ngx_str_t
ngx_http_corral_publish_session_key(ngx_pool_t *pool, uint64_t session)
{
    u_char     buf[16];
    ngx_str_t  part;

    part.data = buf;
    part.len = ngx_sprintf(buf, "%016xL", session) - buf;

    return ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_SESSION, &part);
}


static void
ngx_http_corral_publish_session_got(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_str_t  owner;

    static time_t  told;

    ngx_str_null(&owner);

    if (reply->type == NGX_HTTP_CORRAL_REDIS_STRING) {
        owner = reply->str;

    } else if (reply->type == NGX_HTTP_CORRAL_REDIS_ERROR
               && ngx_time() - told >= 60)
    {
        told = ngx_time();
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral: Redis does not tell where a session is: %V",
                      &reply->str);
    }

    ngx_http_corral_publish_session_handler(data, &owner);
}
