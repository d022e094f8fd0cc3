
/*
 * Step 6, mirror: a copy of a share of a service's requests goes to another
 * service, whose answers nobody reads.  The registry says which and how many,
 * corral_mirror names the location that passes the copy.
 *
 * A copy is a background subrequest with a context, headers and variables of
 * its own; its instance is reserved here, or there is no copy: it never waits.
 * nginx keeps a client's connection until its subrequests have ended.  So a
 * timer looks whether the client has its answer, and ends the copy before the
 * client would have to wait for it.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_wait.h"


#define NGX_HTTP_CORRAL_MIRROR_SOONEST  10      /* ms between two looks */
#define NGX_HTTP_CORRAL_MIRROR_LATEST   100


typedef struct {
    ngx_str_t                   uri;        /* empty: off */
    ngx_msec_t                  timeout;
} ngx_http_corral_mirror_loc_conf_t;


/* one copy under way */

typedef struct {
    ngx_event_t                 event;
    ngx_http_request_t         *r;
    ngx_http_post_subrequest_t  post;
    ngx_list_t                  headers;
    ngx_http_corral_slot_t      ref;        /* of the service copied from */
    ngx_msec_t                  timeout;
    ngx_msec_t                  begin;
    ngx_msec_t                  answered;   /* the client, if it is */
    unsigned                    is_answered:1;
    unsigned                    is_shut:1;  /* our side of its connection */
} ngx_http_corral_mirror_copy_t;


static ngx_http_corral_service_t *ngx_http_corral_mirror_of(
    ngx_http_corral_ctx_t *ctx);
static void ngx_http_corral_mirror_body_handler(ngx_http_request_t *r);
static void ngx_http_corral_mirror_send(ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_mirror_reserve(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_ctx_t *copy);
static ngx_int_t ngx_http_corral_mirror_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_ctx_t *cctx);
static ngx_http_corral_mirror_copy_t *ngx_http_corral_mirror_create(
    ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx);
static ngx_int_t ngx_http_corral_mirror_headers(ngx_http_request_t *r,
    ngx_list_t *list);
static void ngx_http_corral_mirror_look(ngx_event_t *ev);
static ngx_uint_t ngx_http_corral_mirror_awaited(
    ngx_http_corral_mirror_copy_t *copy);
static ngx_int_t ngx_http_corral_mirror_cut(
    ngx_http_corral_mirror_copy_t *copy);
static ngx_int_t ngx_http_corral_mirror_done(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);
static void ngx_http_corral_mirror_cleanup(void *data);
static void *ngx_http_corral_mirror_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_corral_mirror_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);


static ngx_command_t  ngx_http_corral_mirror_commands[] = {

    /* corral_mirror /uri | off; */

    { ngx_string("corral_mirror"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_corral_conf_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_mirror_loc_conf_t, uri),
      NULL },

    /* corral_mirror_timeout time; */

    { ngx_string("corral_mirror_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_corral_mirror_loc_conf_t, timeout),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_corral_mirror_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_corral_mirror_create_loc_conf,  /* create location conf */
    ngx_http_corral_mirror_merge_loc_conf    /* merge location conf */
};


ngx_module_t  ngx_http_corral_mirror_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_mirror_module_ctx,    /* module context */
    ngx_http_corral_mirror_commands,       /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_int_t
ngx_http_corral_mirror_handler(ngx_http_request_t *r)
{
    ngx_int_t                           rc;
    ngx_http_corral_ctx_t              *ctx;
    ngx_http_corral_service_t          *service;
    ngx_http_corral_loc_conf_t         *lcf;
    ngx_http_corral_mirror_loc_conf_t  *mlcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);
    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_mirror_module);

    if (!lcf->enabled || mlcf->uri.len == 0 || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx == NULL || ctx->mirrored || r->headers_in.upgrade) {
        return NGX_DECLINED;
    }

    service = ngx_http_corral_mirror_of(ctx);

    if (service == NULL) {
        return NGX_DECLINED;
    }

    ctx->mirrored = 1;                      /* or not: it is asked once */

    if ((uint32_t) (ngx_random() % 100) >= service->mirror_percent) {
        return NGX_DECLINED;
    }

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        ngx_http_corral_mirror_send(r);
        return NGX_DECLINED;
    }

    rc = ngx_http_read_client_request_body(r,
                                         ngx_http_corral_mirror_body_handler);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


/* the request's service, if it has a mirror and speaks what can be copied */

static ngx_http_corral_service_t *
ngx_http_corral_mirror_of(ngx_http_corral_ctx_t *ctx)
{
    ngx_http_corral_service_t  *service;

    if (ctx->service_id.len == 0) {
        return NULL;
    }

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL || service->mirror.len == 0
        || service->protocol == CORRAL_PROTOCOL_GRPC
        || service->protocol == CORRAL_PROTOCOL_GRPCS)
    {
        return NULL;
    }

    return service;
}


static void
ngx_http_corral_mirror_body_handler(ngx_http_request_t *r)
{
    ngx_http_corral_mirror_send(r);

    r->preserve_body = 1;

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


/* the registry may be another one than before the body was read */

static void
ngx_http_corral_mirror_send(ngx_http_request_t *r)
{
    ngx_http_corral_ctx_t     *ctx, *copy;
    ngx_http_corral_totals_t  *totals;

    ctx = ngx_http_corral_find_ctx(r);

    totals = ngx_http_corral_table_local(ctx->terms.ref);

    copy = ngx_http_corral_create_ctx(r);

    if (copy) {
        copy->copy = 1;

        if (ngx_http_corral_mirror_reserve(r, ctx, copy) == NGX_OK
            && ngx_http_corral_mirror_start(r, ctx, copy) == NGX_OK)
        {
            totals->mirrored++;
            return;
        }

        ngx_http_corral_table_release(&copy->hold);
    }

    totals->mirror_dropped++;
}


/* An instance of the other service that has a place for it now. */

static ngx_int_t
ngx_http_corral_mirror_reserve(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_ctx_t *copy)
{
    ngx_http_corral_service_t  *service;

    service = ngx_http_corral_mirror_of(ctx);

    if (service == NULL) {
        return NGX_DECLINED;
    }

    service = ngx_http_corral_registry_find(&service->mirror);

    if (service == NULL
        || service->protocol == CORRAL_PROTOCOL_GRPC
        || service->protocol == CORRAL_PROTOCOL_GRPCS
        || ngx_http_corral_wait_queue_length(&service->id)
        || ngx_http_corral_upstream_is_open(service))
    {
        return NGX_DECLINED;
    }

    if (ngx_http_corral_route_take(r, copy, service) != NGX_OK) {
        return NGX_ERROR;
    }

    copy->tenant = ctx->tenant;
    copy->subject = ctx->subject;
    copy->session = ctx->session;
    copy->prefix = ctx->prefix;
    copy->uri = ctx->uri;
    copy->terms.tries = 1;
    copy->identified = 1;
    copy->routed = 1;

    return ngx_http_corral_upstream_pick(r, copy, NULL);
}


/*
 * Headers and values of variables are the copy's own: what nginx has found for
 * one of them is not to be seen by the other.
 */

static ngx_int_t
ngx_http_corral_mirror_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_ctx_t *cctx)
{
    ngx_http_request_t                 *sr;
    ngx_http_variable_value_t          *variables;
    ngx_http_core_main_conf_t          *cmcf;
    ngx_http_corral_mirror_copy_t      *copy;
    ngx_http_corral_mirror_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_mirror_module);
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    variables = ngx_pcalloc(r->pool, cmcf->variables.nelts
                                     * sizeof(ngx_http_variable_value_t));
    copy = ngx_http_corral_mirror_create(r, ctx);

    if (variables == NULL || copy == NULL
        || ngx_http_subrequest(r, &mlcf->uri, &r->args, &sr, &copy->post,
                               NGX_HTTP_SUBREQUEST_BACKGROUND)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    copy->r = sr;
    cctx->request = sr;

    ngx_http_set_ctx(sr, cctx, ngx_http_corral_module);

    sr->header_only = 1;
    sr->method = r->method;
    sr->method_name = r->method_name;
    sr->variables = variables;
    sr->headers_in.headers = copy->headers;

    if (copy->headers.last == &copy->headers.part) {
        sr->headers_in.headers.last = &sr->headers_in.headers.part;
    }

    /* proxy_pass without a URI passes what the first agent gets */

    sr->unparsed_uri = ctx->uri;
    sr->valid_unparsed_uri = 1;

    ngx_add_timer(&copy->event, NGX_HTTP_CORRAL_MIRROR_SOONEST);

    return NGX_OK;
}


static ngx_http_corral_mirror_copy_t *
ngx_http_corral_mirror_create(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_pool_cleanup_t                 *cln;
    ngx_http_corral_mirror_copy_t      *copy;
    ngx_http_corral_mirror_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_mirror_module);

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_corral_mirror_copy_t));
    if (cln == NULL) {
        return NULL;
    }

    copy = cln->data;
    ngx_memzero(copy, sizeof(ngx_http_corral_mirror_copy_t));

    cln->handler = ngx_http_corral_mirror_cleanup;

    copy->event.handler = ngx_http_corral_mirror_look;
    copy->event.data = r->connection;
    copy->event.log = r->connection->log;
    copy->post.handler = ngx_http_corral_mirror_done;
    copy->post.data = copy;
    copy->ref = ctx->terms.ref;
    copy->timeout = mlcf->timeout;
    copy->begin = ngx_current_msec;

    return ngx_http_corral_mirror_headers(r, &copy->headers) == NGX_OK
           ? copy : NULL;
}


/* those of the request, and the one that says it is a copy */

static ngx_int_t
ngx_http_corral_mirror_headers(ngx_http_request_t *r, ngx_list_t *list)
{
    ngx_uint_t        i;
    ngx_table_elt_t  *h, *copy;
    ngx_list_part_t  *part;

    static u_char  name[] = "corral-mirror";

    if (ngx_list_init(list, r->pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            copy = ngx_list_push(list);
            if (copy == NULL) {
                return NGX_ERROR;
            }

            *copy = h[i];
        }
    }

    copy = ngx_list_push(list);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(copy, sizeof(ngx_table_elt_t));

    ngx_str_set(&copy->key, "Corral-Mirror");
    ngx_str_set(&copy->value, "1");
    copy->lowcase_key = name;
    copy->hash = ngx_hash_key(name, sizeof(name) - 1);

    return NGX_OK;
}


static void
ngx_http_corral_mirror_look(ngx_event_t *ev)
{
    ngx_msec_t                      age;
    ngx_http_corral_mirror_copy_t  *copy;

    copy = ngx_queue_data(ev, ngx_http_corral_mirror_copy_t, event);

    if (copy->r->main->done && !copy->is_answered) {
        copy->is_answered = 1;
        copy->answered = ngx_current_msec;
    }

    if (copy->is_answered
        && (ngx_current_msec - copy->answered >= copy->timeout
            || ngx_http_corral_mirror_awaited(copy))
        && ngx_http_corral_mirror_cut(copy) == NGX_OK)
    {
        return;
    }

    age = (ngx_current_msec - copy->begin) / 4;
    age = ngx_max(age, NGX_HTTP_CORRAL_MIRROR_SOONEST);

    ngx_add_timer(ev, ngx_min(age, NGX_HTTP_CORRAL_MIRROR_LATEST));
}


/*
 * Does a client that has its answer wait for the copy?  It does when it has
 * sent its next request, and when it is to see the end of the connection: of
 * one without TLS our side can be ended now.  Of HTTP/2 and 3 it never does.
 * A worker that is to end does not wait, either.
 */

static ngx_uint_t
ngx_http_corral_mirror_awaited(ngx_http_corral_mirror_copy_t *copy)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = copy->r->main;
    c = r->connection;

    if (ngx_exiting || ngx_terminate) {
        return 1;
    }

#if (NGX_HTTP_V2)
    if (r->stream) {
        return 0;
    }
#endif

#if (NGX_HTTP_V3)
    if (c->quic) {
        return 0;
    }
#endif

    if (r->keepalive) {
        return r->header_in->pos < r->header_in->last
               || (c->read->ready && !c->read->pending_eof);
    }

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        return 1;
    }
#endif

    if (!copy->is_shut) {
        copy->is_shut = 1;

        (void) ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN);
    }

    return 0;
}


/*
 * Ends the connection to the agent as if the client had gone; the client's own
 * goes on to its next request, so that r may be gone afterwards.  NGX_DECLINED:
 * there is nothing yet that could be ended.
 */

static ngx_int_t
ngx_http_corral_mirror_cut(ngx_http_corral_mirror_copy_t *copy)
{
    ngx_connection_t     *c;
    ngx_http_request_t   *sr;
    ngx_http_cleanup_pt   handler;

    sr = copy->r;
    c = sr->connection;

    if (sr->upstream == NULL || sr->upstream->cleanup == NULL) {
        return NGX_DECLINED;
    }

    ngx_http_corral_table_local(copy->ref)->mirror_cut++;

    handler = *sr->upstream->cleanup;
    handler(sr);

    ngx_http_run_posted_requests(c);

    return NGX_OK;
}


/* However it ended, the client's request is not concerned. */

static ngx_int_t
ngx_http_corral_mirror_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_corral_mirror_cleanup(data);

    return NGX_OK;
}


static void
ngx_http_corral_mirror_cleanup(void *data)
{
    ngx_http_corral_mirror_copy_t *copy = data;

    if (copy->event.timer_set) {
        ngx_del_timer(&copy->event);
    }
}


static void *
ngx_http_corral_mirror_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_corral_mirror_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_corral_mirror_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->uri = { 0, NULL };
     */

    conf->timeout = NGX_CONF_UNSET_MSEC;

    return conf;
}


static char *
ngx_http_corral_mirror_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_corral_mirror_loc_conf_t *prev = parent;
    ngx_http_corral_mirror_loc_conf_t *conf = child;

    ngx_conf_merge_str_value(conf->uri, prev->uri, "");
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 1000);

    return NGX_CONF_OK;
}
