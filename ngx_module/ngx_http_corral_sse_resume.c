
/*
 * A client that comes back to a run: the id of the last event it has seen says
 * which run, and from where on.  Redis is asked for what came since then, and
 * again and again while the run goes on, whichever worker or gateway has it.
 * No agent is asked.
 *
 * This is one of the few requests that wait for Redis.  If it does not answer
 * in time the client is told to come again in a second; if events are missing
 * there is an event "gap"; an unknown run is a gap, too, and the id is taken
 * from the client, so that it begins anew.
 *
 * An answer of Redis may come when the request is gone: requests that wait are
 * found by a number.
 */


#include "ngx_http_corral_sse.h"
#include "ngx_http_corral_sync.h"


#define NGX_HTTP_CORRAL_SSE_DEADLINE  20      /* ms for the first answer */
#define NGX_HTTP_CORRAL_SSE_AGAIN     10      /* ms, for what is on its way */
#define NGX_HTTP_CORRAL_SSE_PATIENCE  250     /* ms until a run is unknown */
#define NGX_HTTP_CORRAL_SSE_SOON      50      /* ms between two questions */
#define NGX_HTTP_CORRAL_SSE_LATE      500     /* the same when nothing comes */
#define NGX_HTTP_CORRAL_SSE_SILENCE   15000   /* ms until a comment is sent */
#define NGX_HTTP_CORRAL_SSE_LOST      5000    /* ms without any answer */

/* events of one question: a first answer of large ones is to come in time */

#define NGX_HTTP_CORRAL_SSE_FIRST     4
#define NGX_HTTP_CORRAL_SSE_MOST      32


typedef struct {
    ngx_rbtree_node_t            node;      /* key: the number */
    ngx_http_request_t          *r;
    ngx_http_corral_slot_t       ref;       /* of the service's totals */
    ngx_str_t                    key;       /* in Redis */
    u_char                       run[CORRAL_SSE_RUN];
    uint64_t                     seq;       /* the client has it */
    ngx_uint_t                   most;      /* events of the next answer */
    ngx_msec_t                   interval;
    ngx_msec_t                   since;
    ngx_msec_t                   heard;     /* the last answer */
    ngx_msec_t                   said;      /* the last byte to the client */
    ngx_event_t                  timer;
    ngx_http_corral_sse_out_t    out;

    unsigned                     asked:1;
    unsigned                     answered:1;
    unsigned                     begun:1;   /* the header is sent */
    unsigned                     last:1;    /* nothing follows what is in out */
} ngx_http_corral_sse_resume_t;


static ngx_int_t ngx_http_corral_sse_resume_id(ngx_http_request_t *r,
    ngx_str_t *id, uint64_t *seq);
static ngx_int_t ngx_http_corral_sse_resume_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service,
    ngx_str_t *id, uint64_t seq);
static void ngx_http_corral_sse_resume_ask(ngx_http_corral_sse_resume_t *s);
static void ngx_http_corral_sse_resume_got(void *data, ngx_uint_t n,
    ngx_http_corral_sync_event_t *events);
static ngx_int_t ngx_http_corral_sse_resume_events(
    ngx_http_corral_sse_resume_t *s, ngx_uint_t n,
    ngx_http_corral_sync_event_t *events);
static ngx_int_t ngx_http_corral_sse_resume_gap(
    ngx_http_corral_sse_resume_t *s, char *reason, uint64_t to);
static ngx_int_t ngx_http_corral_sse_resume_text(
    ngx_http_corral_sse_resume_t *s, char *text);
static void ngx_http_corral_sse_resume_send(ngx_http_corral_sse_resume_t *s);
static void ngx_http_corral_sse_resume_later(ngx_http_corral_sse_resume_t *s,
    ngx_msec_t time);
static ngx_int_t ngx_http_corral_sse_resume_header(
    ngx_http_corral_sse_resume_t *s);
static ngx_http_corral_sse_resume_t *ngx_http_corral_sse_resume_of(
    ngx_http_request_t *r);
static void ngx_http_corral_sse_resume_write(ngx_http_request_t *r);
static void ngx_http_corral_sse_resume_timer(ngx_event_t *ev);
static void ngx_http_corral_sse_resume_cleanup(void *data);


static ngx_rbtree_t       ngx_http_corral_sse_resumes;
static ngx_rbtree_node_t  ngx_http_corral_sse_resumes_sentinel;
static ngx_rbtree_key_t   ngx_http_corral_sse_number;


ngx_int_t
ngx_http_corral_sse_handler(ngx_http_request_t *r)
{
    uint64_t                     seq;
    ngx_int_t                    rc;
    ngx_str_t                    id;
    ngx_http_corral_ctx_t       *ctx;
    ngx_http_corral_service_t   *service;
    ngx_http_corral_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_corral_module);

    if (!lcf->enabled || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_corral_find_ctx(r);

    if (ctx == NULL || !ctx->routed) {
        return NGX_DECLINED;
    }

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL || !service->sse.resume
        || ngx_http_corral_sse_resume_id(r, &id, &seq) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_corral_sse_resume_start(r, ctx, service, &id, seq);
}


/* the id of an event of ours, from the header or, for a new page, the query */

static ngx_int_t
ngx_http_corral_sse_resume_id(ngx_http_request_t *r, ngx_str_t *id,
    uint64_t *seq)
{
    ngx_table_elt_t  *h;

    static ngx_str_t  name = ngx_string("last-event-id");

    h = ngx_http_corral_get_header(r, &name);

    if (h) {
        *id = h->value;

    } else if (r->args.len == 0
               || ngx_http_arg(r, (u_char *) "last_event_id", 13, id)
                  != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return corral_sse_parse_id((char *) id->data, id->len, seq) == 0
           ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_corral_sse_resume_start(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service,
    ngx_str_t *id, uint64_t seq)
{
    ngx_pool_cleanup_t            *cln;
    ngx_http_corral_sse_resume_t  *s;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_corral_sse_resume_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s = cln->data;
    ngx_memzero(s, sizeof(ngx_http_corral_sse_resume_t));

    s->key = ngx_http_corral_sync_run_key(r->pool, &service->id, id->data,
                                          &ctx->tenant, &ctx->subject);
    if (s->key.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(s->run, id->data, CORRAL_SSE_RUN);

    s->r = r;
    s->ref = service->terms.ref;
    s->seq = seq;
    s->most = NGX_HTTP_CORRAL_SSE_FIRST;
    s->interval = NGX_HTTP_CORRAL_SSE_SOON;
    s->since = ngx_current_msec;
    s->heard = ngx_current_msec;
    s->said = ngx_current_msec;

    ngx_http_corral_sse_out_init(&s->out);

    s->timer.handler = ngx_http_corral_sse_resume_timer;
    s->timer.data = s;
    s->timer.log = r->connection->log;

    if (ngx_http_corral_sse_resumes.root == NULL) {
        ngx_rbtree_init(&ngx_http_corral_sse_resumes,
                        &ngx_http_corral_sse_resumes_sentinel,
                        ngx_rbtree_insert_value);
    }

    s->node.key = ++ngx_http_corral_sse_number;
    ngx_rbtree_insert(&ngx_http_corral_sse_resumes, &s->node);

    cln->handler = ngx_http_corral_sse_resume_cleanup;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_corral_sse_count(s->ref,
                              offsetof(ngx_http_corral_totals_t, resumes));

    ngx_add_timer(&s->timer, NGX_HTTP_CORRAL_SSE_DEADLINE);
    ngx_http_corral_sse_resume_ask(s);

    return NGX_DONE;
}


/* the last event that the client has is asked for, too: is it still there? */

static void
ngx_http_corral_sse_resume_ask(ngx_http_corral_sse_resume_t *s)
{
    s->asked = 1;

    ngx_http_corral_sync_run_get(&s->key, s->seq, s->most,
                                 ngx_http_corral_sse_resume_got,
                                 (void *) s->node.key);
}


static void
ngx_http_corral_sse_resume_got(void *data, ngx_uint_t n,
    ngx_http_corral_sync_event_t *events)
{
    uint64_t                       seq;
    ngx_rbtree_key_t               key;
    ngx_connection_t              *c;
    ngx_rbtree_node_t             *node;
    ngx_http_corral_sse_resume_t  *s;

    key = (ngx_rbtree_key_t) data;
    node = ngx_http_corral_sse_resumes.root;

    while (node != &ngx_http_corral_sse_resumes_sentinel && node->key != key) {
        node = key < node->key ? node->left : node->right;
    }

    if (node == &ngx_http_corral_sse_resumes_sentinel) {
        return;                             /* the client left meanwhile */
    }

    s = ngx_rbtree_data(node, ngx_http_corral_sse_resume_t, node);
    c = s->r->connection;
    seq = s->seq;

    if (s->last) {
        return;                             /* its end is on its way */
    }

    s->asked = 0;

    if (events == NULL) {
        return;                             /* no answer: the timer decides */
    }

    s->answered = 1;
    s->heard = ngx_current_msec;

    /* a client may be faster than what the other worker wrote to Redis */

    if (n == 0 && !s->begun
        && ngx_current_msec - s->since < NGX_HTTP_CORRAL_SSE_PATIENCE)
    {
        ngx_http_corral_sse_resume_later(s, NGX_HTTP_CORRAL_SSE_AGAIN);
        return;
    }

    if (ngx_http_corral_sse_resume_events(s, n, events) != NGX_OK) {
        ngx_http_finalize_request(s->r, NGX_ERROR);
        ngx_http_run_posted_requests(c);
        return;
    }

    /* it had everything: an EventSource is to stop */

    if (!s->begun && s->last && s->out.out == NULL) {
        ngx_http_finalize_request(s->r, NGX_HTTP_NO_CONTENT);
        ngx_http_run_posted_requests(c);
        return;
    }

    if (n == s->most) {
        s->interval = 1;                    /* there are more */

    } else {
        s->interval = s->seq != seq ? NGX_HTTP_CORRAL_SSE_SOON
                                    : ngx_min(2 * s->interval,
                                              NGX_HTTP_CORRAL_SSE_LATE);
    }

    s->most = ngx_min(2 * s->most, NGX_HTTP_CORRAL_SSE_MOST);

    ngx_http_corral_sse_resume_send(s);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_corral_sse_resume_events(ngx_http_corral_sse_resume_t *s,
    ngx_uint_t n, ngx_http_corral_sync_event_t *events)
{
    ngx_uint_t  i;

    if (n == 0) {

        /* the worker that had it was killed, and its lease has ended */

        return ngx_http_corral_sse_resume_gap(s, s->begun ? "lost" : "unknown",
                                              0);
    }

    for (i = 0; i < n; i++) {

        if (events[i].end) {
            s->last = 1;

            return events[i].lost
                   ? ngx_http_corral_sse_resume_gap(s, "lost", 0) : NGX_OK;
        }

        if (events[i].seq <= s->seq) {
            continue;
        }

        if (events[i].seq > s->seq + 1
            && ngx_http_corral_sse_resume_gap(s, "dropped", events[i].seq - 1)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (ngx_http_corral_sse_out_event(s->r, &s->out, &events[i].event,
                                          s->run, events[i].seq)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        s->seq = events[i].seq;
    }

    return NGX_OK;
}


/*
 * Events are missing: up to "to" (dropped), all that would come (lost: the
 * agent's stream broke off), or all at all (unknown).  The last two end the
 * stream, and the client's next request is a new one.
 */

static ngx_int_t
ngx_http_corral_sse_resume_gap(ngx_http_corral_sse_resume_t *s, char *reason,
    uint64_t to)
{
    u_char  *p, buf[256];

    ngx_http_corral_sse_count(s->ref,
                              offsetof(ngx_http_corral_totals_t, gaps));

    p = ngx_sprintf(buf, "event: gap\ndata: {\"reason\":\"%s\","
                    "\"from\":%uL", reason, s->seq + 1);

    if (to) {
        p = ngx_sprintf(p, ",\"to\":%uL}\n\n", to);

    } else {
        p = ngx_sprintf(p, "}\nid:\nretry: 1000\n\n");
        s->last = 1;
    }

    return ngx_http_corral_sse_out_put(s->r, &s->out, buf, p - buf);
}


static ngx_int_t
ngx_http_corral_sse_resume_text(ngx_http_corral_sse_resume_t *s, char *text)
{
    return ngx_http_corral_sse_out_put(s->r, &s->out, (u_char *) text,
                                       ngx_strlen(text));
}


/* sends what is in out; then, or when all is sent, Redis is asked again */

static void
ngx_http_corral_sse_resume_send(ngx_http_corral_sse_resume_t *s)
{
    ngx_int_t                  rc;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = s->r;
    c = r->connection;

    if (!s->begun && ngx_http_corral_sse_resume_header(s) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (s->out.out) {
        s->said = ngx_current_msec;
    }

    if (ngx_http_corral_sse_out_end(r, &s->out, s->last) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    rc = ngx_http_output_filter(r, s->out.out);

    ngx_http_corral_sse_out_update(r, &s->out);

    if (rc == NGX_ERROR || s->last) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (s->out.busy || c->buffered) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        ngx_add_timer(c->write, clcf->send_timeout);

        if (ngx_handle_write_event(c->write, clcf->send_lowat) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    ngx_http_corral_sse_resume_later(s, s->interval);
}


/* the timer may run already, for longer */

static void
ngx_http_corral_sse_resume_later(ngx_http_corral_sse_resume_t *s,
    ngx_msec_t time)
{
    if (s->timer.timer_set) {
        ngx_del_timer(&s->timer);
    }

    ngx_add_timer(&s->timer, time);
}


static ngx_int_t
ngx_http_corral_sse_resume_header(ngx_http_corral_sse_resume_t *s)
{
    ngx_int_t            rc;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = s->r;

    s->begun = 1;
    r->write_event_handler = ngx_http_corral_sse_resume_write;

    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");

    rc = ngx_http_send_header(r);

    return rc == NGX_ERROR || rc > NGX_OK || r->header_only ? NGX_ERROR
                                                            : NGX_OK;
}


/* the module context belongs to runs */

static ngx_http_corral_sse_resume_t *
ngx_http_corral_sse_resume_of(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    cln = r->pool->cleanup;

    while (cln->handler != ngx_http_corral_sse_resume_cleanup) {
        cln = cln->next;
    }

    return cln->data;
}


static void
ngx_http_corral_sse_resume_write(ngx_http_request_t *r)
{
    ngx_connection_t              *c;
    ngx_http_corral_sse_resume_t  *s;

    c = r->connection;

    if (c->write->timedout) {
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    s = ngx_http_corral_sse_resume_of(r);

    if (s->asked || (s->out.busy == NULL && !c->buffered)) {
        return;
    }

    ngx_http_corral_sse_resume_send(s);
}


/* time to ask again, or the answer did not come */

static void
ngx_http_corral_sse_resume_timer(ngx_event_t *ev)
{
    ngx_connection_t              *c;
    ngx_http_corral_sse_resume_t  *s = ev->data;

    c = s->r->connection;

    if (s->last) {
        return;                             /* its end is on its way */
    }

    if (s->answered && !s->asked && (s->out.busy || c->buffered)) {

        /* what it has not taken yet comes first; nothing is asked or said */

        s->heard = ngx_current_msec;
        ngx_add_timer(&s->timer, NGX_HTTP_CORRAL_SSE_LATE);
        return;
    }

    if (!s->answered
        || ngx_current_msec - s->heard >= NGX_HTTP_CORRAL_SSE_LOST)
    {
        /* it keeps its id: it is asked to come again */

        s->last = 1;

        if (ngx_http_corral_sse_resume_text(s, "retry: 1000\n\n") != NGX_OK) {
            ngx_http_finalize_request(s->r, NGX_ERROR);

        } else {
            ngx_http_corral_sse_resume_send(s);
        }

        ngx_http_run_posted_requests(c);
        return;
    }

    if (!s->asked) {
        ngx_http_corral_sse_resume_ask(s);
    }

    if (ngx_current_msec - s->said >= NGX_HTTP_CORRAL_SSE_SILENCE
        && ngx_http_corral_sse_resume_text(s, ":\n\n") == NGX_OK)
    {
        ngx_http_corral_sse_resume_send(s);
        ngx_http_run_posted_requests(c);
        return;
    }

    ngx_add_timer(&s->timer, NGX_HTTP_CORRAL_SSE_LATE);
}


static void
ngx_http_corral_sse_resume_cleanup(void *data)
{
    ngx_http_corral_sse_resume_t *s = data;

    ngx_rbtree_delete(&ngx_http_corral_sse_resumes, &s->node);

    if (s->timer.timer_set) {
        ngx_del_timer(&s->timer);
    }
}
