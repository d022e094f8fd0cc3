
/*
 * Step 6, server-sent events that can be resumed: an answer of the agent that
 * is an event stream becomes a run.  Each of its events gets an id, goes to the
 * client, and into Redis for those who come back (..._sse_resume.c).  When the
 * client leaves, the agent is read on for a while: the filter takes what comes
 * and passes nothing, so that for nginx' upstream code the client is still
 * there.
 *
 * Nothing waits for Redis.  What it does not take is missing later, which the
 * client is told then.
 *
 * A run belongs to its request and ends with it.
 */


#include "ngx_http_corral_sse.h"
#include "ngx_http_corral_sync.h"

#include <sys/random.h>


#define NGX_HTTP_CORRAL_SSE_EVENT  (1024 * 1024)  /* bytes of one event */
#define NGX_HTTP_CORRAL_SSE_ALONE  1024           /* runs without a client */
#define NGX_HTTP_CORRAL_SSE_LEASE  30000          /* ms, while it goes on */
#define NGX_HTTP_CORRAL_SSE_RENEW  10000


typedef struct {
    ngx_http_request_t          *r;
    ngx_http_corral_slot_t       ref;       /* of the service's totals */
    ngx_str_t                    key;       /* in Redis */
    ngx_http_event_handler_pt    read;      /* of nginx' upstream code */
    ngx_http_event_handler_pt    write;
    ngx_msec_t                   keep;
    ngx_msec_t                   run_on;
    uint32_t                     max;       /* events kept */
    uint64_t                     seq;       /* of the last event */
    ngx_uint_t                   link;      /* reconnects, at the last lease */

    ngx_chain_t                 *in;        /* not yet scanned */
    u_char                      *open;      /* bytes of the open event */
    size_t                       len;
    size_t                       size;
    corral_sse_t                 scan;
    ngx_http_corral_sse_out_t    out;
    ngx_event_t                  alone;     /* how long without a client */
    ngx_event_t                  renew;     /* the lease of the key */

    u_char                       run[CORRAL_SSE_RUN];

    unsigned                     last:1;    /* the agent's stream has ended */
    unsigned                     ended:1;   /* it was passed on */
    unsigned                     gone:1;    /* the client */
    unsigned                     raw:1;     /* the open event is too long */
} ngx_http_corral_sse_run_t;


static ngx_int_t ngx_http_corral_sse_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service);
static ngx_int_t ngx_http_corral_sse_header(ngx_http_request_t *r,
    ngx_http_corral_sse_run_t *run);
static ngx_int_t ngx_http_corral_sse_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_corral_sse_take(ngx_http_corral_sse_run_t *run);
static ngx_int_t ngx_http_corral_sse_scan(ngx_http_corral_sse_run_t *run,
    ngx_buf_t *b);
static ngx_int_t ngx_http_corral_sse_add(ngx_http_corral_sse_run_t *run,
    u_char *data, size_t len);
static ngx_int_t ngx_http_corral_sse_event(ngx_http_corral_sse_run_t *run,
    int what);
static void ngx_http_corral_sse_lease(ngx_http_corral_sse_run_t *run);
static ngx_int_t ngx_http_corral_sse_finish(ngx_http_corral_sse_run_t *run);
static void ngx_http_corral_sse_read(ngx_http_request_t *r);
static void ngx_http_corral_sse_write(ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_sse_leave(ngx_http_corral_sse_run_t *run);
static void ngx_http_corral_sse_alone(ngx_event_t *ev);
static void ngx_http_corral_sse_renew(ngx_event_t *ev);
static void ngx_http_corral_sse_cleanup(void *data);
static ngx_int_t ngx_http_corral_sse_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_corral_sse_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_corral_sse_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_corral_sse_init,              /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_corral_sse_module = {
    NGX_MODULE_V1,
    &ngx_http_corral_sse_module_ctx,       /* module context */
    NULL,                                  /* module directives */
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


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;

static ngx_uint_t  ngx_http_corral_sse_nalone;


/* an event stream of a service that wants it becomes a run */

static ngx_int_t
ngx_http_corral_sse_header_filter(ngx_http_request_t *r)
{
    ngx_str_t                  *type;
    ngx_http_corral_ctx_t      *ctx;
    ngx_http_corral_service_t  *service;

    static ngx_str_t  sse = ngx_string("text/event-stream");

    ctx = ngx_http_get_module_ctx(r, ngx_http_corral_module);
    type = &r->headers_out.content_type;

    if (ctx == NULL || !ctx->taken || r != r->main || r->upstream == NULL
        || r->headers_out.status != NGX_HTTP_OK || r->header_only
        || type->len < sse.len
        || ngx_strncasecmp(type->data, sse.data, sse.len) != 0
        || r->headers_out.content_encoding)
    {
        return ngx_http_next_header_filter(r);
    }

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service && service->sse.resume && ngx_http_corral_sync_run_ready()
        && ngx_http_corral_sse_start(r, ctx, service) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_corral_sse_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service)
{
    u_char                      random[CORRAL_SSE_RUN / 2];
    ngx_pool_cleanup_t         *cln;
    ngx_http_corral_sse_run_t  *run;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_corral_sse_run_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    run = cln->data;
    ngx_memzero(run, sizeof(ngx_http_corral_sse_run_t));

    /* where nobody says who clients are the id is all it takes to read it */

    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(run->run, random, sizeof(random));

    run->key = ngx_http_corral_sync_run_key(r->pool, &service->id, run->run,
                                            &ctx->tenant, &ctx->subject);

    if (run->key.data == NULL
        || ngx_http_corral_sse_header(r, run) != NGX_OK)
    {
        return NGX_ERROR;
    }

    run->r = r;
    run->link = ngx_http_corral_sync_info()->reconnects;
    run->ref = service->terms.ref;
    run->max = service->sse.events;
    run->keep = service->sse.keep;
    run->run_on = service->sse.run_on;

    ngx_http_corral_sse_out_init(&run->out);

    run->alone.handler = ngx_http_corral_sse_alone;
    run->alone.data = run;
    run->alone.log = r->connection->log;

    run->renew.handler = ngx_http_corral_sse_renew;
    run->renew.data = run;
    run->renew.log = r->connection->log;
    run->renew.cancelable = 1;

    cln->handler = ngx_http_corral_sse_cleanup;

    ngx_http_set_ctx(r, run, ngx_http_corral_sse_module);

    /* events are for now, and their length changes */

    r->upstream->buffering = 0;
    run->read = r->read_event_handler;
    r->read_event_handler = ngx_http_corral_sse_read;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);

    ngx_http_corral_sync_run_start(&run->key, NGX_HTTP_CORRAL_SSE_LEASE);
    ngx_add_timer(&run->renew, NGX_HTTP_CORRAL_SSE_RENEW);

    ngx_http_corral_sse_count(run->ref,
                              offsetof(ngx_http_corral_totals_t, streams));

    return NGX_OK;
}


/* for clients that are no EventSource: how to come back before an event */

static ngx_int_t
ngx_http_corral_sse_header(ngx_http_request_t *r,
    ngx_http_corral_sse_run_t *run)
{
    u_char           *p;
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    ngx_str_set(&h->key, "Corral-Run");

    p = ngx_pnalloc(r->pool, CORRAL_SSE_RUN + 2);
    if (p == NULL) {
        h->hash = 0;
        return NGX_ERROR;
    }

    h->value.data = p;
    p = ngx_cpymem(p, run->run, CORRAL_SSE_RUN);
    p = ngx_cpymem(p, "-0", 2);
    h->value.len = p - h->value.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_sse_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t                   rc;
    ngx_http_corral_sse_run_t  *run;

    run = ngx_http_get_module_ctx(r, ngx_http_corral_sse_module);

    if (run == NULL || run->ended) {
        return ngx_http_next_body_filter(r, in);
    }

    if (r->write_event_handler != ngx_http_corral_sse_write) {
        run->write = r->write_event_handler;
        r->write_event_handler = ngx_http_corral_sse_write;
    }

    if (in && ngx_chain_add_copy(r->pool, &run->in, in) != NGX_OK) {
        return NGX_ERROR;
    }

    for ( ;; ) {

        if (ngx_http_corral_sse_take(run) != NGX_OK) {
            return NGX_ERROR;
        }

        if (run->gone) {
            return NGX_OK;
        }

        rc = ngx_http_next_body_filter(r, run->out.out);

        ngx_http_corral_sse_out_update(r, &run->out);

        if (rc == NGX_ERROR) {

            if (run->ended || ngx_http_corral_sse_leave(run) != NGX_OK) {
                return NGX_ERROR;
            }

            continue;
        }

        if (run->in == NULL || run->out.busy) {
            return run->out.busy ? NGX_AGAIN : NGX_OK;
        }
    }
}


/* from in to out, until one of them is at its end */

static ngx_int_t
ngx_http_corral_sse_take(ngx_http_corral_sse_run_t *run)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    while (run->in && (run->gone || !ngx_http_corral_sse_out_full(&run->out)))
    {
        cl = run->in;
        b = cl->buf;

        if (ngx_buf_in_memory(b) && b->pos != b->last) {

            if (ngx_http_corral_sse_scan(run, b) != NGX_OK) {
                return NGX_ERROR;
            }

            if (b->pos != b->last) {
                break;
            }
        }

        if (b->last_buf) {
            run->last = 1;
        }

        run->in = cl->next;
        ngx_free_chain(run->r->pool, cl);
    }

    if (run->last && run->in == NULL) {
        return ngx_http_corral_sse_finish(run);
    }

    return run->gone ? NGX_OK : ngx_http_corral_sse_out_end(run->r, &run->out,
                                                            0);
}


static ngx_int_t
ngx_http_corral_sse_scan(ngx_http_corral_sse_run_t *run, ngx_buf_t *b)
{
    int                 what;
    corral_sse_part_t   part;

    while (b->pos != b->last
           && (run->gone || !ngx_http_corral_sse_out_full(&run->out)))
    {
        what = corral_sse_scan(&run->scan, b->pos, b->last - b->pos, &part);

        if (ngx_http_corral_sse_add(run, b->pos + part.start,
                                    part.end - part.start)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        b->pos += part.used;

        if (what != CORRAL_SSE_MORE
            && ngx_http_corral_sse_event(run, what) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* more bytes of the open event; one that is too long passes without an id */

static ngx_int_t
ngx_http_corral_sse_add(ngx_http_corral_sse_run_t *run, u_char *data,
    size_t len)
{
    size_t   size;
    u_char  *open;

    if (!run->raw && run->len + len <= run->size) {
        ngx_memcpy(run->open + run->len, data, len);
        run->len += len;

        return NGX_OK;
    }

    if (!run->raw && run->len + len <= NGX_HTTP_CORRAL_SSE_EVENT) {
        size = ngx_max(run->len + len, ngx_max(2 * run->size, 1024));

        open = ngx_alloc(size, run->r->connection->log);
        if (open == NULL) {
            return NGX_ERROR;
        }

        if (run->open) {
            ngx_memcpy(open, run->open, run->len);
            ngx_free(run->open);
        }

        run->open = open;
        run->size = size;

        return ngx_http_corral_sse_add(run, data, len);
    }

    if (!run->raw) {
        run->raw = 1;

        ngx_log_error(NGX_LOG_WARN, run->r->connection->log, 0,
                      "corral: an event of more than %d bytes is passed, but "
                      "cannot be resumed", NGX_HTTP_CORRAL_SSE_EVENT);

        if (!run->gone
            && ngx_http_corral_sse_out_put(run->r, &run->out, run->open,
                                           run->len)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        run->len = 0;
    }

    return run->gone ? NGX_OK : ngx_http_corral_sse_out_put(run->r, &run->out,
                                                            data, len);
}


/* the open event is whole: what is it, who gets it */

static ngx_int_t
ngx_http_corral_sse_event(ngx_http_corral_sse_run_t *run, int what)
{
    ngx_int_t  rc;
    ngx_str_t  event;

    event.data = run->open;
    event.len = run->len;

    run->len = 0;
    rc = NGX_OK;

    if (run->raw) {
        run->raw = 0;

        /* it has a number, so that who comes back learns that one is missing */

        if (what == CORRAL_SSE_EVENT) {
            run->seq++;
        }

        what = CORRAL_SSE_NOTHING;
        event.len = 0;
    }

    if (what == CORRAL_SSE_NOTHING) {

        if (!run->gone) {
            rc = ngx_http_corral_sse_out_put(run->r, &run->out, event.data,
                                             event.len);

            if (rc == NGX_OK) {
                rc = ngx_http_corral_sse_out_put(run->r, &run->out,
                                                 (u_char *) "\n", 1);
            }
        }

        return rc;
    }

    run->seq++;

    ngx_http_corral_sync_run_add(&run->key, run->seq, &event, run->max);
    ngx_http_corral_sse_lease(run);

    return run->gone ? NGX_OK
                     : ngx_http_corral_sse_out_event(run->r, &run->out, &event,
                                                     run->run, run->seq);
}


/*
 * What was sent while Redis was lost may have been the key and its lease: the
 * first event behind that makes the key anew, and must not make it for ever
 */

static void
ngx_http_corral_sse_lease(ngx_http_corral_sse_run_t *run)
{
    ngx_uint_t  link;

    link = ngx_http_corral_sync_info()->reconnects;

    if (run->link != link && ngx_http_corral_sync_run_ready()) {
        run->link = link;
        ngx_http_corral_sync_run_keep(&run->key, NGX_HTTP_CORRAL_SSE_LEASE);
    }
}


/* an event that was begun and not ended is none, but it is passed */

static ngx_int_t
ngx_http_corral_sse_finish(ngx_http_corral_sse_run_t *run)
{
    run->ended = 1;

    ngx_del_timer(&run->renew);
    ngx_http_corral_sync_run_end(&run->key, run->seq, run->keep, 0);

    if (run->gone) {
        return NGX_OK;
    }

    if (ngx_http_corral_sse_out_put(run->r, &run->out, run->open, run->len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_corral_sse_out_end(run->r, &run->out, 1);
}


/* something came from the client, most likely its end */

static void
ngx_http_corral_sse_read(ngx_http_request_t *r)
{
    char                        buf[1];
    ssize_t                     n;
    ngx_connection_t           *c;
    ngx_http_corral_sse_run_t  *run;

    c = r->connection;
    run = ngx_http_get_module_ctx(r, ngx_http_corral_sse_module);

    if (run == NULL || run->gone || run->ended) {
        return;
    }

#if (NGX_HTTP_V2)

    if (r->stream) {
        n = c->error ? 0 : 1;

    } else

#endif

#if (NGX_HAVE_EPOLLRDHUP)

    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_use_epoll_rdhup) {
        n = (c->read->pending_eof || c->error) ? 0 : 1;

    } else

#endif

    {
        n = recv(c->fd, buf, 1, MSG_PEEK);

        if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
            n = 1;
        }
    }

    if (n <= 0 && ngx_http_corral_sse_leave(run) != NGX_OK) {
        run->read(r);
    }
}


/* a client that takes nothing for too long has gone, too */

static void
ngx_http_corral_sse_write(ngx_http_request_t *r)
{
    ngx_connection_t           *c;
    ngx_http_corral_sse_run_t  *run;

    c = r->connection;
    run = ngx_http_get_module_ctx(r, ngx_http_corral_sse_module);

    if (c->write->timedout && !run->ended
        && (run->gone || ngx_http_corral_sse_leave(run) == NGX_OK))
    {
        c->write->timedout = 0;
    }

    run->write(r);
}


/*
 * The client has gone: the agent goes on alone.  NGX_DECLINED if it may not;
 * then the request is to be ended.
 */

static ngx_int_t
ngx_http_corral_sse_leave(ngx_http_corral_sse_run_t *run)
{
    ngx_connection_t  *c;

    c = run->r->connection;

    if (run->run_on == 0
        || ngx_http_corral_sse_nalone >= NGX_HTTP_CORRAL_SSE_ALONE)
    {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "client left the event stream, the agent goes on for at "
                  "most %M ms", run->run_on);

    run->gone = 1;
    c->error = 1;
    run->r->keepalive = 0;

    /* nobody is going to send what is on its way */

    ngx_http_corral_sse_out_init(&run->out);

    ngx_http_corral_sse_nalone++;
    ngx_add_timer(&run->alone, run->run_on);

    return NGX_OK;
}


static void
ngx_http_corral_sse_alone(ngx_event_t *ev)
{
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_corral_sse_run_t  *run = ev->data;

    r = run->r;
    c = r->connection;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "nobody came back to the event stream, it is ended");

    /*
     * As when nginx sees that the client left: the upstream ends the request,
     * and not the request its upstream, which would end it once more
     */

    if (r->upstream->cleanup && *r->upstream->cleanup) {
        (*r->upstream->cleanup)(r);

    } else {
        ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }

    ngx_http_run_posted_requests(c);
}


/* a worker that is killed leaves a run that nobody ends: it has a lease */

static void
ngx_http_corral_sse_renew(ngx_event_t *ev)
{
    ngx_http_corral_sse_run_t *run = ev->data;

    ngx_http_corral_sync_run_keep(&run->key, NGX_HTTP_CORRAL_SSE_LEASE);
    ngx_add_timer(&run->renew, NGX_HTTP_CORRAL_SSE_RENEW);
}


static void
ngx_http_corral_sse_cleanup(void *data)
{
    ngx_http_corral_sse_run_t *run = data;

    if (!run->ended) {
        ngx_http_corral_sync_run_end(&run->key, run->seq, run->keep, 1);
    }

    if (run->gone) {
        ngx_http_corral_sse_nalone--;
    }

    if (run->alone.timer_set) {
        ngx_del_timer(&run->alone);
    }

    if (run->renew.timer_set) {
        ngx_del_timer(&run->renew);
    }

    if (run->open) {
        ngx_free(run->open);
    }
}


static ngx_int_t
ngx_http_corral_sse_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_corral_sse_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_corral_sse_body_filter;

    return NGX_OK;
}
