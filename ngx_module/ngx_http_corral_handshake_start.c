
/*
 * How a handshake begins: the content handler of WebSockets, and what a
 * handshake is made of, its terms among it.  How it goes on is
 * ngx_http_corral_handshake.c's affair.
 *
 * nginx's own upstream code is not used: it has no place where a connection
 * could be taken over between the 101 and the first byte behind it.  What
 * others see of it is filled in: r->upstream, r->upstream_states.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_handshake.h"
#include "ngx_http_corral_websocket.h"


static ngx_int_t ngx_http_corral_handshake_create(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
static ngx_int_t ngx_http_corral_handshake_protocol(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
static void ngx_http_corral_handshake_terms(ngx_http_corral_handshake_t *h);
static void ngx_http_corral_handshake_limits(ngx_http_corral_terms_t *t,
    ngx_http_corral_websocket_loc_conf_t *conf);
static void ngx_http_corral_handshake_cleanup(void *data);


ngx_int_t
ngx_http_corral_handshake_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_corral_ctx_t        *ctx;
    ngx_http_corral_handshake_t  *h;

    ctx = ngx_http_corral_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_corral_handshake_create(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    h = ngx_http_get_module_ctx(r, ngx_http_corral_websocket_module);
    ngx_http_set_ctx(r, NULL, ngx_http_corral_websocket_module);

    rc = ngx_http_corral_handshake_protocol(r, ctx);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    ngx_http_corral_handshake_terms(h);

    if (ngx_http_corral_handshake_request(h) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* a client that leaves meanwhile */

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;

    ngx_http_corral_handshake_connect(h);

    return NGX_DONE;
}


/* leaves the handshake as the module's context, until the handler takes it */

static ngx_int_t
ngx_http_corral_handshake_create(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_http_upstream_t          *u;
    ngx_http_corral_handshake_t  *h;

    u = ngx_pcalloc(r->pool, sizeof(ngx_http_upstream_t));
    h = ngx_pcalloc(r->pool, sizeof(ngx_http_corral_handshake_t));

    if (u == NULL || h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->request = r;
    h->ctx = ctx;
    h->conf = ngx_http_get_module_loc_conf(r,
                                           ngx_http_corral_websocket_module);

    r->upstream = u;

    u->upstream = h->conf->upstream;
    u->peer.log = r->connection->log;
    u->peer.log_error = NGX_ERROR_ERR;
    ngx_str_set(&u->schema, "ws://");

    if (r->upstream_states == NULL) {
        r->upstream_states = ngx_array_create(r->pool, 1,
                                            sizeof(ngx_http_upstream_state_t));
        if (r->upstream_states == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    h->cleanup = ngx_http_cleanup_add(r, 0);

    if (h->cleanup == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->cleanup->handler = ngx_http_corral_handshake_cleanup;
    h->cleanup->data = h;

    if (ngx_http_corral_upstream_init_peer(r, h->conf->upstream) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    u->peer.start_time = ngx_current_msec;

    ngx_http_set_ctx(r, h, ngx_http_corral_websocket_module);

    return NGX_OK;
}


/* NGX_DECLINED: the service can be spoken to in WebSocket frames */

static ngx_int_t
ngx_http_corral_handshake_protocol(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    char  *advice;

    switch (ctx->protocol) {

    case CORRAL_PROTOCOL_HTTP:
        return NGX_DECLINED;

    case CORRAL_PROTOCOL_HTTPS:
        advice = "the relay reaches agents without TLS: give the service "
                 "\"protocol\": \"http\"";
        break;

    default:
        advice = "use a location with \"grpc_pass\"";
        break;
    }

    return ngx_http_corral_send_problem(r, NGX_HTTP_BAD_GATEWAY,
                                        "protocol_mismatch", 0,
                                        "The service \"%V\" does not speak "
                                        "WebSocket: %s.",
                                        &ctx->service_name, advice);
}


/* what the service leaves unset is the directives' affair */

static void
ngx_http_corral_handshake_terms(ngx_http_corral_handshake_t *h)
{
    ngx_http_corral_terms_t               *t;
    ngx_http_corral_websocket_loc_conf_t  *conf;

    h->terms = h->ctx->terms;
    t = &h->terms;
    conf = h->conf;

    ngx_conf_init_value(t->connect_timeout, (ngx_int_t) conf->connect_timeout);
    ngx_conf_init_value(t->handshake_timeout,
                        (ngx_int_t) conf->handshake_timeout);
    ngx_conf_init_value(t->idle_timeout, (ngx_int_t) conf->idle_timeout);
    ngx_conf_init_value(t->ping_interval, (ngx_int_t) conf->ping_interval);
    ngx_conf_init_value(t->ping_timeout, (ngx_int_t) conf->ping_timeout);
    ngx_conf_init_value(t->close_timeout, (ngx_int_t) conf->close_timeout);
    ngx_conf_init_value(t->max_lifetime, (ngx_int_t) conf->max_lifetime);
    ngx_conf_init_value(t->tries, conf->tries);

    ngx_http_corral_handshake_limits(t, conf);

    h->tries = t->tries;
    h->request->upstream->peer.tries = t->tries;
}


/*
 * A size that was given for both directions is that of the agent, too, unless
 * it has one of its own from the same place.
 */

static void
ngx_http_corral_handshake_limits(ngx_http_corral_terms_t *t,
    ngx_http_corral_websocket_loc_conf_t *conf)
{
    ngx_conf_init_value(t->max_message_size[1], t->max_message_size[0]);
    ngx_conf_init_value(t->max_message_size[1], conf->max_message_size_out);
    ngx_conf_init_value(t->max_message_size[0], conf->max_message_size);
    ngx_conf_init_value(t->max_message_size[1], t->max_message_size[0]);

    ngx_conf_init_value(t->byte_rate[0], conf->byte_rate);
    ngx_conf_init_value(t->byte_rate[1], conf->byte_rate_out);

    if (t->message_rate == NGX_CONF_UNSET) {
        t->message_rate = conf->message_rate;
        t->message_burst = conf->message_burst;
        t->message_delay = conf->message_delay;
    }

    ngx_conf_init_value(t->message_burst, t->message_rate);
}


/* the request ends before its time */

static void
ngx_http_corral_handshake_cleanup(void *data)
{
    ngx_http_corral_handshake_t *h = data;

    ngx_http_upstream_t  *u;

    u = h->request->upstream;

    if (u->state && u->state->response_time == (ngx_msec_t) -1) {
        u->state->response_time = ngx_current_msec - u->start_time;
    }

    ngx_http_corral_handshake_drop(h, 0);
}
