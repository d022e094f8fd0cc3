
/*
 * Step 6 of a request: a WebSocket leaves for the relay.  The directives, the
 * check of the client's handshake (RFC 6455 4.2.1) and the variables; what
 * follows is the affair of ngx_http_corral_handshake.c, then of
 * ngx_http_corral_relay.c.
 */


#include "ngx_http_corral.h"

#include <corral_bucket.h>

#include "ngx_http_corral_handshake.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_websocket.h"


typedef enum {
    NGX_HTTP_CORRAL_WEBSOCKET_ID = 0,
    NGX_HTTP_CORRAL_WEBSOCKET_CLOSE_CODE,
    NGX_HTTP_CORRAL_WEBSOCKET_CLOSE_SENT,
    NGX_HTTP_CORRAL_WEBSOCKET_MESSAGES_RECEIVED,
    NGX_HTTP_CORRAL_WEBSOCKET_MESSAGES_SENT,
    NGX_HTTP_CORRAL_WEBSOCKET_BYTES_RECEIVED,
    NGX_HTTP_CORRAL_WEBSOCKET_BYTES_SENT,
    NGX_HTTP_CORRAL_WEBSOCKET_RESUMED
} ngx_http_corral_websocket_variable_e;


typedef struct {
    ngx_http_upstream_srv_conf_t   *upstream;
    ngx_str_t                       file;
    ngx_uint_t                      line;
} ngx_http_corral_websocket_use_t;


static ngx_int_t ngx_http_corral_websocket_refuse(ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_websocket_expires(ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_websocket_version(ngx_http_request_t *r);
static ngx_uint_t ngx_http_corral_websocket_key_ok(ngx_str_t *key);

static uint64_t ngx_http_corral_websocket_value(
    ngx_http_corral_websocket_t *ws, uintptr_t which);
static ngx_int_t ngx_http_corral_websocket_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_corral_websocket_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_corral_websocket_init(ngx_conf_t *cf);
static void *ngx_http_corral_websocket_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_corral_websocket_init_main_conf(ngx_conf_t *cf,
    void *conf);
static void *ngx_http_corral_websocket_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_websocket_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static void ngx_http_corral_websocket_exit_process(ngx_cycle_t *cycle);
static char *ngx_http_corral_websocket(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_corral_websocket_message_rate(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_corral_websocket_rate(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_corral_websocket_lifetime(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_corral_websocket_buffer(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_corral_websocket_tries(ngx_conf_t *cf, void *post,
    void *data);


static ngx_conf_post_t  ngx_http_corral_websocket_buffer_post = {
    ngx_http_corral_websocket_buffer
};


static ngx_conf_post_t  ngx_http_corral_websocket_rate_post = {
    ngx_http_corral_websocket_rate
};


static ngx_conf_post_t  ngx_http_corral_websocket_lifetime_post = {
    ngx_http_corral_websocket_lifetime
};


static ngx_conf_post_t  ngx_http_corral_websocket_tries_post = {
    ngx_http_corral_websocket_tries
};


static ngx_conf_bitmask_t  ngx_http_corral_websocket_next_upstream[] = {
    { ngx_string("error"), NGX_HTTP_CORRAL_NEXT_ERROR },
    { ngx_string("timeout"), NGX_HTTP_CORRAL_NEXT_TIMEOUT },
    { ngx_string("invalid_header"), NGX_HTTP_CORRAL_NEXT_INVALID_HEADER },
    { ngx_string("http_429"), NGX_HTTP_CORRAL_NEXT_HTTP_429 },
    { ngx_string("http_500"), NGX_HTTP_CORRAL_NEXT_HTTP_500 },
    { ngx_string("http_502"), NGX_HTTP_CORRAL_NEXT_HTTP_502 },
    { ngx_string("http_503"), NGX_HTTP_CORRAL_NEXT_HTTP_503 },
    { ngx_string("http_504"), NGX_HTTP_CORRAL_NEXT_HTTP_504 },
    { ngx_string("http_5xx"), NGX_HTTP_CORRAL_NEXT_HTTP_5XX },
    { ngx_string("off"), NGX_HTTP_CORRAL_NEXT_OFF },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_corral_websocket_commands[] = {

    /* corral_websocket upstream | off; */

    { ngx_string("corral_websocket"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_websocket,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    /* corral_connect_timeout time; */

    { ngx_string("corral_connect_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, connect_timeout),
      NULL },

    /* corral_handshake_timeout time; */

    { ngx_string("corral_handshake_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, handshake_timeout),
      NULL },

    /* corral_idle_timeout time; 0: never */

    { ngx_string("corral_idle_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, idle_timeout),
      NULL },

    /* corral_max_lifetime time; 0: for ever */

    { ngx_string("corral_max_lifetime"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, max_lifetime),
      &ngx_http_corral_websocket_lifetime_post },

    /* corral_ping_interval time; 0: no pings */

    { ngx_string("corral_ping_interval"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, ping_interval),
      NULL },

    /* corral_ping_timeout time; */

    { ngx_string("corral_ping_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, ping_timeout),
      NULL },

    /* corral_close_timeout time; */

    { ngx_string("corral_close_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, close_timeout),
      NULL },

    /* corral_max_message_size size; 0: no limit */

    { ngx_string("corral_max_message_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, max_message_size),
      NULL },

    /* corral_max_message_size_out size; of agents */

    { ngx_string("corral_max_message_size_out"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, max_message_size_out),
      NULL },

    /* corral_message_rate number [burst=number] [delay]; 0: no limit */

    { ngx_string("corral_message_rate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_corral_websocket_message_rate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    /* corral_byte_rate size; from clients, 0: no limit */

    { ngx_string("corral_byte_rate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, byte_rate),
      &ngx_http_corral_websocket_rate_post },

    /* corral_byte_rate_out size; from agents */

    { ngx_string("corral_byte_rate_out"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, byte_rate_out),
      &ngx_http_corral_websocket_rate_post },

    /* corral_expires value; a unix time, empty: never */

    { ngx_string("corral_expires"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, expires),
      NULL },

    /* corral_token_renew uri | off; */

    { ngx_string("corral_token_renew"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_conf_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, token_renew),
      NULL },

    /* corral_tries number; */

    { ngx_string("corral_tries"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, tries),
      &ngx_http_corral_websocket_tries_post },

    /*
     * corral_next_upstream error | timeout | invalid_header | http_429
     *                      | http_500 | http_502 | http_503 | http_504
     *                      | http_5xx | off ...;
     */

    { ngx_string("corral_next_upstream"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_conf_set_bitmask_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_loc_conf_t, next_upstream),
      &ngx_http_corral_websocket_next_upstream },

    /* corral_relay_buffer size; one for each worker */

    { ngx_string("corral_relay_buffer"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_corral_websocket_main_conf_t, buffer),
      &ngx_http_corral_websocket_buffer_post },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_websocket_module_ctx = {
    ngx_http_corral_websocket_add_variables,   /* preconfiguration */
    ngx_http_corral_websocket_init,            /* postconfiguration */

    ngx_http_corral_websocket_create_main_conf,  /* create main conf */
    ngx_http_corral_websocket_init_main_conf,  /* init main configuration */

    NULL,                                      /* create server configuration */
    NULL,                                      /* merge server configuration */

    ngx_http_corral_websocket_create_loc_conf, /* create location conf */
    ngx_http_corral_websocket_merge_loc_conf   /* merge location conf */
};


ngx_module_t  ngx_http_corral_websocket_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_websocket_module_ctx,     /* module context */
    ngx_http_corral_websocket_commands,        /* module directives */
    NGX_HTTP_MODULE,                           /* module type */
    NULL,                                      /* init master */
    NULL,                                      /* init module */
    NULL,                                      /* init process */
    NULL,                                      /* init thread */
    NULL,                                      /* exit thread */
    ngx_http_corral_websocket_exit_process,    /* exit process */
    NULL,                                      /* exit master */
    NGX_MODULE_V1_PADDING
};


#define ngx_http_corral_websocket_var(name, which)                            \
    { ngx_string(name), NULL, ngx_http_corral_websocket_variable,             \
      NGX_HTTP_CORRAL_WEBSOCKET_##which, NGX_HTTP_VAR_NOCACHEABLE, 0 }


static ngx_http_variable_t  ngx_http_corral_websocket_vars[] = {

    ngx_http_corral_websocket_var("corral_connection_id", ID),
    ngx_http_corral_websocket_var("corral_close_code", CLOSE_CODE),
    ngx_http_corral_websocket_var("corral_close_sent", CLOSE_SENT),
    ngx_http_corral_websocket_var("corral_messages_received",
                                  MESSAGES_RECEIVED),
    ngx_http_corral_websocket_var("corral_messages_sent", MESSAGES_SENT),
    ngx_http_corral_websocket_var("corral_bytes_received", BYTES_RECEIVED),
    ngx_http_corral_websocket_var("corral_bytes_sent", BYTES_SENT),
    ngx_http_corral_websocket_var("corral_resumed", RESUMED),

      ngx_http_null_variable
};


/*
 * The step.  Requests that ask for a WebSocket where corral_websocket is on
 * are answered, or given to the handshake as their content handler, which
 * outranks proxy_pass of the same location.  All others: NGX_DECLINED.
 */

ngx_int_t
ngx_http_corral_websocket_handler(ngx_http_request_t *r)
{
    ngx_int_t                              rc;
    ngx_http_corral_websocket_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_websocket_module);

    if (wlcf->upstream == NULL
        || r != r->main
        || !ngx_http_corral_handshake_token(&r->headers_in.headers, "upgrade",
                                            "websocket"))
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_corral_websocket_refuse(r);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (wlcf->expires) {
        rc = ngx_http_corral_websocket_expires(r);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    r->content_handler = ngx_http_corral_handshake_handler;

    return NGX_DECLINED;
}


/*
 * Notes when the client's token ends.  A value that is no time is refused: to
 * take it for "never" would let in what should have ended.
 */

static ngx_int_t
ngx_http_corral_websocket_expires(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_corral_websocket_token_end(r, &ctx->expires);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_corral_problem(r, NGX_HTTP_FORBIDDEN, "bad_expiry", 0,
                                       "The end of the token is not a time.");
    }

    if (ctx->expires && ctx->expires + NGX_HTTP_CORRAL_LEEWAY <= ngx_time()) {
        return ngx_http_corral_problem(r, NGX_HTTP_UNAUTHORIZED,
                                       "token_expired", 0,
                                       "The token has expired.");
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_corral_websocket_token_end(ngx_http_request_t *r, time_t *expires)
{
    ngx_str_t                              value;
    ngx_http_corral_websocket_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_websocket_module);

    *expires = 0;

    if (wlcf->expires == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, wlcf->expires, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    *expires = ngx_atotm(value.data, value.len);

    if (*expires == NGX_ERROR || *expires == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "corral_expires is \"%V\", it must be a unix time",
                      &value);
        *expires = 0;
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* answers a handshake that breaks the protocol; NGX_DECLINED if it is sound */

static ngx_int_t
ngx_http_corral_websocket_refuse(ngx_http_request_t *r)
{
    char             *wrong;
    ngx_table_elt_t  *key, *version;
    static ngx_str_t  key_name = ngx_string("sec-websocket-key");
    static ngx_str_t  version_name = ngx_string("sec-websocket-version");

    key = ngx_http_corral_get_header(r, &key_name);
    version = ngx_http_corral_get_header(r, &version_name);
    wrong = NULL;

    if (r->method != NGX_HTTP_GET) {
        wrong = "the method is not GET";

    } else if (r->http_version != NGX_HTTP_VERSION_11) {
        wrong = "the protocol is not HTTP/1.1";

    } else if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        wrong = "the request has a body";

    } else if (!ngx_http_corral_handshake_token(&r->headers_in.headers,
                                                "connection", "upgrade"))
    {
        wrong = "the header Connection has no token \"Upgrade\"";

    } else if (version == NULL) {
        wrong = "the header Sec-WebSocket-Version is missing";

    } else if (version->value.len != 2
               || ngx_strncmp(version->value.data, "13", 2) != 0)
    {
        return ngx_http_corral_websocket_version(r);

    } else if (key == NULL) {
        wrong = "the header Sec-WebSocket-Key is missing";

    } else if (!ngx_http_corral_websocket_key_ok(&key->value)) {
        wrong = "Sec-WebSocket-Key is not 16 bytes in base64";
    }

    if (wrong == NULL) {
        return NGX_DECLINED;
    }

    return ngx_http_corral_problem(r, NGX_HTTP_BAD_REQUEST, "bad_handshake",
                                   0, "The WebSocket handshake is wrong: %s.",
                                   wrong);
}


static ngx_int_t
ngx_http_corral_websocket_version(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Sec-WebSocket-Version");
    ngx_str_set(&h->value, "13");

    return ngx_http_corral_problem(r, 426, "websocket_version", 0,
                                   "This version of the WebSocket protocol is "
                                   "not spoken here, only version 13 is.");
}


static ngx_uint_t
ngx_http_corral_websocket_key_ok(ngx_str_t *key)
{
    ngx_str_t  dst;
    u_char     buf[ngx_base64_decoded_length(24)];

    if (key->len != 24) {
        return 0;
    }

    dst.data = buf;

    return ngx_decode_base64(&dst, key) == NGX_OK && dst.len == 16;
}


static uint64_t
ngx_http_corral_websocket_value(ngx_http_corral_websocket_t *ws,
    uintptr_t which)
{
    switch (which) {

    case NGX_HTTP_CORRAL_WEBSOCKET_CLOSE_CODE:
        return ws->close_code;

    case NGX_HTTP_CORRAL_WEBSOCKET_CLOSE_SENT:
        return ws->close_sent;

    case NGX_HTTP_CORRAL_WEBSOCKET_MESSAGES_RECEIVED:
        return ws->messages_received;

    case NGX_HTTP_CORRAL_WEBSOCKET_MESSAGES_SENT:
        return ws->messages_sent;

    case NGX_HTTP_CORRAL_WEBSOCKET_BYTES_RECEIVED:
        return ws->bytes_received;

    case NGX_HTTP_CORRAL_WEBSOCKET_BYTES_SENT:
        return ws->bytes_sent;

    case NGX_HTTP_CORRAL_WEBSOCKET_RESUMED:
        return ws->resumed;

    default: /* NGX_HTTP_CORRAL_WEBSOCKET_ID */
        return ws->id;
    }
}


static ngx_int_t
ngx_http_corral_websocket_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                       *p;
    uint64_t                      n;
    ngx_http_corral_websocket_t  *ws;

    ws = ngx_http_get_module_ctx(r->main, ngx_http_corral_websocket_module);

    if (ws == NULL
        || (data == NGX_HTTP_CORRAL_WEBSOCKET_CLOSE_CODE && !ws->close_code))
    {
        v->not_found = 1;
        return NGX_OK;
    }

    n = ngx_http_corral_websocket_value(ws, data);

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    if (data == NGX_HTTP_CORRAL_WEBSOCKET_ID) {
        v->len = ngx_sprintf(p, "%016xL", n) - p;

    } else {
        v->len = ngx_sprintf(p, "%uL", n) - p;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_websocket_add_variables(ngx_conf_t *cf)
{
    return ngx_http_corral_add_variables(cf, ngx_http_corral_websocket_vars);
}


/* an "upstream" block may stand behind the location: it is known only now */

static ngx_int_t
ngx_http_corral_websocket_init(ngx_conf_t *cf)
{
    ngx_uint_t                              i;
    ngx_http_corral_websocket_use_t        *use;
    ngx_http_corral_websocket_main_conf_t  *wmcf;

    wmcf = ngx_http_conf_get_module_main_conf(cf,
                                             ngx_http_corral_websocket_module);
    use = wmcf->uses.elts;

    for (i = 0; i < wmcf->uses.nelts; i++) {

        if (ngx_http_corral_upstream_is_corral(use[i].upstream)) {
            continue;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "corral_websocket \"%V\" in %V:%ui: this upstream has "
                      "no \"corral\"; write \"upstream %V { corral "
                      "$corral_service; }\"",
                      &use[i].upstream->host, &use[i].file, use[i].line,
                      &use[i].upstream->host);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void *
ngx_http_corral_websocket_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_corral_websocket_main_conf_t  *wmcf;

    wmcf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_corral_websocket_main_conf_t));
    if (wmcf == NULL) {
        return NULL;
    }

    wmcf->buffer = NGX_CONF_UNSET_SIZE;

    if (ngx_array_init(&wmcf->uses, cf->pool, 4,
                       sizeof(ngx_http_corral_websocket_use_t))
        != NGX_OK)
    {
        return NULL;
    }

    return wmcf;
}


static char *
ngx_http_corral_websocket_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_corral_websocket_main_conf_t *wmcf = conf;

    ngx_conf_init_size_value(wmcf->buffer, 64 * 1024);

    return NGX_CONF_OK;
}


static void *
ngx_http_corral_websocket_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_corral_websocket_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_websocket_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->next_upstream = 0;
     *     conf->expires = NULL;
     *     conf->token_renew = { 0, NULL };
     */

    conf->upstream = NGX_CONF_UNSET_PTR;
    conf->connect_timeout = NGX_CONF_UNSET_MSEC;
    conf->handshake_timeout = NGX_CONF_UNSET_MSEC;
    conf->idle_timeout = NGX_CONF_UNSET_MSEC;
    conf->ping_interval = NGX_CONF_UNSET_MSEC;
    conf->ping_timeout = NGX_CONF_UNSET_MSEC;
    conf->close_timeout = NGX_CONF_UNSET_MSEC;
    conf->max_lifetime = NGX_CONF_UNSET_MSEC;
    conf->max_message_size = NGX_CONF_UNSET;
    conf->max_message_size_out = NGX_CONF_UNSET;
    conf->byte_rate = NGX_CONF_UNSET;
    conf->byte_rate_out = NGX_CONF_UNSET;
    conf->message_rate = NGX_CONF_UNSET;
    conf->tries = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_corral_websocket_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_corral_websocket_loc_conf_t *prev = parent;
    ngx_http_corral_websocket_loc_conf_t *conf = child;

    ngx_conf_merge_ptr_value(conf->upstream, prev->upstream, NULL);
    ngx_conf_merge_msec_value(conf->connect_timeout, prev->connect_timeout,
                              5000);
    ngx_conf_merge_msec_value(conf->handshake_timeout,
                              prev->handshake_timeout, 30000);
    ngx_conf_merge_msec_value(conf->idle_timeout, prev->idle_timeout, 0);
    ngx_conf_merge_msec_value(conf->ping_interval, prev->ping_interval,
                              20000);
    ngx_conf_merge_msec_value(conf->ping_timeout, prev->ping_timeout, 20000);
    ngx_conf_merge_msec_value(conf->close_timeout, prev->close_timeout, 5000);
    ngx_conf_merge_msec_value(conf->max_lifetime, prev->max_lifetime, 0);
    ngx_conf_merge_off_value(conf->max_message_size, prev->max_message_size,
                             0);

    /* unset: as max_message_size, whose value is that of this location */

    ngx_conf_merge_off_value(conf->max_message_size_out,
                             prev->max_message_size_out, NGX_CONF_UNSET);
    ngx_conf_merge_off_value(conf->byte_rate, prev->byte_rate, 0);
    ngx_conf_merge_off_value(conf->byte_rate_out, prev->byte_rate_out, 0);

    if (conf->message_rate == NGX_CONF_UNSET) {
        conf->message_rate = ngx_max(prev->message_rate, 0);
        conf->message_burst = prev->message_burst;
        conf->message_delay = prev->message_delay;
    }

    ngx_conf_merge_value(conf->tries, prev->tries, 3);

    if (conf->expires == NULL) {
        conf->expires = prev->expires;
    }

    if (conf->token_renew.data == NULL) {
        conf->token_renew = prev->token_renew;
    }

    ngx_conf_merge_bitmask_value(conf->next_upstream, prev->next_upstream,
                                 (NGX_CONF_BITMASK_SET
                                  |NGX_HTTP_CORRAL_NEXT_ERROR
                                  |NGX_HTTP_CORRAL_NEXT_TIMEOUT
                                  |NGX_HTTP_CORRAL_NEXT_HTTP_5XX));

    if (conf->next_upstream & NGX_HTTP_CORRAL_NEXT_OFF) {
        conf->next_upstream = NGX_CONF_BITMASK_SET|NGX_HTTP_CORRAL_NEXT_OFF;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_websocket(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_corral_websocket_loc_conf_t *wlcf = conf;

    ngx_url_t                               u;
    ngx_str_t                              *value;
    ngx_http_corral_main_conf_t            *mcf;
    ngx_http_corral_websocket_use_t        *use;
    ngx_http_corral_websocket_main_conf_t  *wmcf;

    if (wlcf->upstream != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        wlcf->upstream = NULL;
        return NGX_CONF_OK;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = value[1];
    u.no_resolve = 1;

    wlcf->upstream = ngx_http_upstream_add(cf, &u, 0);
    if (wlcf->upstream == NULL) {
        return NGX_CONF_ERROR;
    }

    wmcf = ngx_http_conf_get_module_main_conf(cf,
                                             ngx_http_corral_websocket_module);

    use = ngx_array_push(&wmcf->uses);
    if (use == NULL) {
        return NGX_CONF_ERROR;
    }

    use->upstream = wlcf->upstream;
    use->file = cf->conf_file->file.name;
    use->line = cf->conf_file->line;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_corral_module);
    mcf->used = cmd->name;

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_websocket_message_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_corral_websocket_loc_conf_t *wlcf = conf;

    ngx_int_t    n;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (wlcf->message_rate != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n > 1000000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid rate \"%V\" in corral_message_rate, it "
                           "must be between 0 and 1000000", &value[1]);
        return NGX_CONF_ERROR;
    }

    wlcf->message_rate = n;
    wlcf->message_burst = NGX_CONF_UNSET;
    wlcf->message_delay = 0;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "delay") == 0) {
            wlcf->message_delay = 1;
            continue;
        }

        n = NGX_ERROR;

        if (ngx_strncmp(value[i].data, "burst=", 6) == 0) {
            n = ngx_atoi(value[i].data + 6, value[i].len - 6);
        }

        if (n == NGX_ERROR || n < 1 || n > 10000000) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" of "
                               "corral_message_rate, there are \"delay\" and "
                               "\"burst=\" with 1 to 10000000", &value[i]);
            return NGX_CONF_ERROR;
        }

        wlcf->message_burst = n;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_websocket_rate(ngx_conf_t *cf, void *post, void *data)
{
    off_t  *rate = data;

    if (*rate > (off_t) CORRAL_BUCKET_MAX) {
        return "must be at most 4g, in bytes a second";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_websocket_lifetime(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *lifetime = data;

    if (*lifetime > 604800000) {
        return "must be at most 7d";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_websocket_buffer(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *size = data;

    if (*size < 4096 || *size > 16 * 1024 * 1024) {
        return "must be between 4k and 16m";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_corral_websocket_tries(ngx_conf_t *cf, void *post, void *data)
{
    ngx_int_t  *tries = data;

    if (*tries < 1 || *tries > NGX_HTTP_CORRAL_MAX_TRIES) {
        return "must be between 1 and 16";
    }

    return NGX_CONF_OK;
}


/* a fast stop; a graceful one gets here without pairs */

static void
ngx_http_corral_websocket_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_corral_relay_exit();
}
