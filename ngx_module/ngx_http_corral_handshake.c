
/*
 * The handshake with an agent: connect to the instance that was reserved, send
 * the client's request, judge the answer, try another instance when this one
 * fails.  Ends in a pair of the relay (a sound 101), in an answer that is
 * passed whole (ngx_http_corral_answer.c), or in a problem.  A pair that has
 * lost its instance comes here for another one.
 *
 * All state lives in r->pool.  Nothing is read from the agent inside the
 * content handler (ngx_http_corral_handshake_start.c): a connect() may succeed
 * at once, and the pair may free the request.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_handshake.h"
#include "ngx_http_corral_learn.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_websocket.h"


static ngx_int_t ngx_http_corral_handshake_begin(
    ngx_http_corral_handshake_t *h);
static void ngx_http_corral_handshake_none(ngx_http_corral_handshake_t *h);
static ngx_err_t ngx_http_corral_handshake_first(
    ngx_http_corral_handshake_t *h, ngx_connection_t *c);
static void ngx_http_corral_handshake_refused(ngx_http_corral_handshake_t *h,
    ngx_err_t err);
static void ngx_http_corral_handshake_connected(
    ngx_http_corral_handshake_t *h, ngx_connection_t *c);
static void ngx_http_corral_handshake_next(ngx_http_corral_handshake_t *h,
    ngx_uint_t type, ngx_uint_t hard);
static void ngx_http_corral_handshake_failed(ngx_http_corral_handshake_t *h);
static void ngx_http_corral_handshake_event(ngx_event_t *ev);
static void ngx_http_corral_handshake_send(ngx_http_corral_handshake_t *h);
static ngx_err_t ngx_http_corral_handshake_error(ngx_connection_t *c);
static void ngx_http_corral_handshake_read(ngx_http_corral_handshake_t *h);
static ssize_t ngx_http_corral_handshake_recv(ngx_http_corral_handshake_t *h,
    ngx_connection_t *c);
static ngx_uint_t ngx_http_corral_handshake_is_101(u_char *data, size_t n);
static void ngx_http_corral_handshake_judge(ngx_http_corral_handshake_t *h);
static ngx_uint_t ngx_http_corral_handshake_bits(ngx_uint_t status);
static ngx_int_t ngx_http_corral_handshake_reserve(
    ngx_http_corral_handshake_t *h);
static void ngx_http_corral_handshake_upgrade(ngx_http_corral_handshake_t *h);


/* a new try: its row in upstream_states, and nothing left of the last one */

static ngx_int_t
ngx_http_corral_handshake_begin(ngx_http_corral_handshake_t *h)
{
    ngx_http_request_t         *r;
    ngx_http_upstream_state_t  *state;

    r = h->request;

    state = ngx_array_push(r->upstream_states);
    if (state == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(state, sizeof(ngx_http_upstream_state_t));

    state->response_time = (ngx_msec_t) -1;
    state->connect_time = (ngx_msec_t) -1;
    state->header_time = (ngx_msec_t) -1;

    r->state = 0;
    r->upstream->state = state;
    r->upstream->start_time = ngx_current_msec;

    h->tries--;
    h->connected = 0;
    h->status_done = 0;
    h->passed = 0;
    h->out->pos = h->out->start;
    h->in = NULL;

    ngx_memzero(&h->status, sizeof(ngx_http_status_t));

    return NGX_OK;
}


/* there is no instance for this try */

static void
ngx_http_corral_handshake_none(ngx_http_corral_handshake_t *h)
{
    ngx_http_request_t  *r;

    r = h->request;
    h->tries = 0;

    if (h->failed) {
        r->upstream_states->nelts--;        /* it was none */
        r->upstream->state = NULL;

    } else {
        r->upstream->state->response_time = 0;
        r->upstream->state->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    ngx_http_corral_handshake_failed(h);
}


/* connects to the next instance; a failure ends in handshake_next() */

void
ngx_http_corral_handshake_connect(ngx_http_corral_handshake_t *h)
{
    ngx_err_t             err;
    ngx_int_t             rc;
    ngx_str_t            *name;
    ngx_connection_t     *c;
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    r = h->request;
    u = r->upstream;

    r->connection->log->action = "connecting to upstream";

    name = ngx_palloc(r->pool, sizeof(ngx_str_t));

    if (name == NULL || ngx_http_corral_handshake_begin(h) != NGX_OK) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    rc = ngx_event_connect_peer(&u->peer);

    if (rc == NGX_ERROR) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    if (rc == NGX_BUSY) {
        ngx_http_corral_handshake_none(h);
        return;
    }

    /* what peer.name points to is the balancer's, and changes with each try */

    *name = *u->peer.name;
    u->state->peer = name;

    if (rc == NGX_DECLINED) {
        ngx_http_corral_handshake_next(h, NGX_HTTP_CORRAL_NEXT_ERROR, 1);
        return;
    }

    c = u->peer.connection;

    c->data = h;
    c->log = r->connection->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_http_corral_handshake_event;
    c->write->handler = ngx_http_corral_handshake_event;

    err = ngx_http_corral_handshake_first(h, c);

    if (err == NGX_EAGAIN) {
        ngx_add_timer(c->write, h->terms.connect_timeout);

    } else if (err) {
        ngx_http_corral_handshake_refused(h, err);
    }
}


/*
 * An agent of this machine is connected by now, although connect() could not
 * say so.  The first send() can, and need not wait for an event: NGX_EAGAIN if
 * it is not, 0, or the error of connect().
 */

static ngx_err_t
ngx_http_corral_handshake_first(ngx_http_corral_handshake_t *h,
    ngx_connection_t *c)
{
    ssize_t  n;

    n = send(c->fd, h->out->pos, h->out->last - h->out->pos, 0);

    if (n == -1) {
        return ngx_socket_errno;
    }

    c->sent += n;
    h->out->pos += n;

    ngx_http_corral_handshake_connected(h, c);

    return 0;
}


static void
ngx_http_corral_handshake_refused(ngx_http_corral_handshake_t *h,
    ngx_err_t err)
{
    ngx_log_error(NGX_LOG_ERR, h->request->connection->log, err,
                  "connect() failed");

    ngx_http_corral_handshake_next(h, NGX_HTTP_CORRAL_NEXT_ERROR, 1);
}


static void
ngx_http_corral_handshake_connected(ngx_http_corral_handshake_t *h,
    ngx_connection_t *c)
{
    ngx_http_request_t  *r;

    r = h->request;

    h->connected = 1;
    r->upstream->state->connect_time = ngx_current_msec
                                       - r->upstream->start_time;
    r->connection->log->action = "sending request to upstream";

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    ngx_add_timer(c->read, h->terms.handshake_timeout);
}


/*
 * The try has failed: type is one bit of corral_next_upstream, hard says that
 * the connection was refused or reset.  Goes on with another instance, if that
 * is allowed and tries are left.
 */

static void
ngx_http_corral_handshake_next(ngx_http_corral_handshake_t *h, ngx_uint_t type,
    ngx_uint_t hard)
{
    ngx_http_request_t         *r;
    ngx_http_upstream_state_t  *state;

    r = h->request;
    state = r->upstream->state;

    if (type == NGX_HTTP_CORRAL_NEXT_TIMEOUT) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, NGX_ETIMEDOUT,
                      "upstream timed out");
        h->failed = NGX_HTTP_GATEWAY_TIME_OUT;

    } else {
        h->failed = NGX_HTTP_BAD_GATEWAY;
    }

    if (state->status == 0) {
        state->status = h->failed;
    }

    state->response_time = ngx_current_msec - r->upstream->start_time;

    ngx_http_corral_upstream_report(r, h->ctx, 0, hard);
    ngx_http_corral_handshake_drop(h, NGX_PEER_FAILED);

    if (h->tries <= 0
        || (h->pair == NULL && (h->conf->next_upstream & type) == 0))
    {
        ngx_http_corral_handshake_failed(h);
        return;
    }

    ngx_http_corral_handshake_connect(h);
}


/* no instance is left to be tried: what the last one did is the answer */

static void
ngx_http_corral_handshake_failed(ngx_http_corral_handshake_t *h)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    if (h->pair) {
        ngx_http_corral_relay_move_failed(h);
        return;
    }

    r = h->request;

    if (h->failed == NGX_HTTP_GATEWAY_TIME_OUT) {
        rc = ngx_http_corral_send_problem(r, NGX_HTTP_GATEWAY_TIME_OUT,
                                          "agent_timeout", 0,
                                          "No instance of the service \"%V\" "
                                          "answered the handshake in time.",
                                          &h->ctx->service_name);

    } else if (h->failed) {
        rc = ngx_http_corral_send_problem(r, NGX_HTTP_BAD_GATEWAY,
                                          "agent_unreachable", 0,
                                          "No instance of the service \"%V\" "
                                          "could be reached.",
                                          &h->ctx->service_name);

    } else {
        rc = ngx_http_corral_send_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                          "no_instance", 1,
                                          "The service \"%V\" has no instance "
                                          "that can take a connection now.",
                                          &h->ctx->service_name);
    }

    ngx_http_corral_handshake_finalize(h, rc);
}


void
ngx_http_corral_handshake_drop(ngx_http_corral_handshake_t *h,
    ngx_uint_t state)
{
    ngx_connection_t     *c;
    ngx_http_upstream_t  *u;

    u = h->request->upstream;
    c = u->peer.connection;

    if (c && u->state) {
        u->state->bytes_sent = c->sent;
    }

    if (u->peer.free && u->peer.sockaddr) {
        u->peer.free(&u->peer, u->peer.data, state);
        u->peer.sockaddr = NULL;
    }

    c = u->peer.connection;

    if (c) {
        ngx_close_connection(c);
        u->peer.connection = NULL;
    }
}


void
ngx_http_corral_handshake_finalize(ngx_http_corral_handshake_t *h,
    ngx_int_t rc)
{
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    r = h->request;
    u = r->upstream;

    if (u->state && u->state->response_time == (ngx_msec_t) -1) {
        u->state->response_time = ngx_current_msec - u->start_time;
    }

    ngx_http_corral_handshake_drop(h, 0);

    if (h->pair) {
        ngx_http_corral_relay_move_failed(h);
        return;
    }

    h->cleanup->handler = NULL;

    r->read_event_handler = ngx_http_block_reading;
    r->connection->log->action = "sending to client";

    ngx_http_finalize_request(r, rc);
}


/* events of the agent's connection until the relay takes it */

static void
ngx_http_corral_handshake_event(ngx_event_t *ev)
{
    ngx_connection_t             *c, *client;
    ngx_http_corral_handshake_t  *h;

    c = ev->data;
    h = c->data;
    client = h->request->connection;

    if (h->pair == NULL) {
        ngx_http_set_log_request(client->log, h->request);
    }

    if (c->close) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_SERVICE_UNAVAILABLE);

    } else if (ev->timedout) {
        ngx_http_corral_handshake_next(h, NGX_HTTP_CORRAL_NEXT_TIMEOUT, 0);

    } else if (ev->write) {
        ngx_http_corral_handshake_send(h);

    } else {
        ngx_http_corral_handshake_read(h);
    }

    /* the request may be gone: then the connection says so, or has a pair */

    if (!ngx_http_corral_relay_owns(client)) {
        ngx_http_run_posted_requests(client);
    }
}


static void
ngx_http_corral_handshake_send(ngx_http_corral_handshake_t *h)
{
    ssize_t                     n;
    ngx_err_t                   err;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;

    r = h->request;
    c = r->upstream->peer.connection;

    if (!h->connected) {
        err = ngx_http_corral_handshake_error(c);

        if (err) {
            ngx_http_corral_handshake_refused(h, err);
            return;
        }

        ngx_http_corral_handshake_connected(h, c);
    }

    while (h->out->pos < h->out->last) {
        n = c->send(c, h->out->pos, h->out->last - h->out->pos);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {
            ngx_http_corral_handshake_next(h, NGX_HTTP_CORRAL_NEXT_ERROR, 1);
            return;
        }

        h->out->pos += n;
    }

    if (h->out->pos == h->out->last) {
        r->connection->log->action = "reading response header from upstream";
        return;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


static ngx_err_t
ngx_http_corral_handshake_error(ngx_connection_t *c)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    return err;
}


static void
ngx_http_corral_handshake_read(ngx_http_corral_handshake_t *h)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = h->request->upstream->peer.connection;

    if (!h->connected) {
        return;                             /* the write event tells more */
    }

    for ( ;; ) {

        n = ngx_http_corral_handshake_recv(h, c);

        if (n == NGX_DECLINED) {
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "upstream sent too big header");
            ngx_http_corral_handshake_next(h,
                                       NGX_HTTP_CORRAL_NEXT_INVALID_HEADER, 0);
            return;
        }

        if (n == NGX_AGAIN) {

            if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
                ngx_http_corral_handshake_finalize(h,
                                               NGX_HTTP_INTERNAL_SERVER_ERROR);
            }

            return;
        }

        if (n == NGX_ERROR || n == 0) {

            if (n == 0) {
                ngx_log_error(NGX_LOG_ERR, c->log, 0,
                              "upstream prematurely closed connection");
            }

            ngx_http_corral_handshake_next(h, NGX_HTTP_CORRAL_NEXT_ERROR,
                                           n != 0);
            return;
        }

        h->request->upstream->state->bytes_received += n;

        switch (ngx_http_corral_handshake_parse(h)) {

        case NGX_AGAIN:
            continue;

        case NGX_OK:
            ngx_http_corral_handshake_judge(h);
            return;

        case NGX_DECLINED:
            ngx_http_corral_handshake_next(h,
                                       NGX_HTTP_CORRAL_NEXT_INVALID_HEADER, 0);
            return;

        default: /* NGX_ERROR */
            ngx_http_corral_handshake_finalize(h,
                                               NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }
    }
}


/*
 * Reads some of the answer into h->in.  A 101 that comes at once, as nearly all
 * do, gets a buffer of its length, others one of 8 kB.  Returns as recv() does;
 * NGX_DECLINED if the buffer is full; NGX_ERROR also without memory.
 */

static ssize_t
ngx_http_corral_handshake_recv(ngx_http_corral_handshake_t *h,
    ngx_connection_t *c)
{
    size_t    size;
    ssize_t   n;

    static u_char  scratch[NGX_HTTP_CORRAL_HANDSHAKE_HEAD];

    if (h->in == NULL) {
        n = c->recv(c, scratch, sizeof(scratch));

        if (n <= 0) {
            return n;
        }

        size = ngx_http_corral_handshake_is_101(scratch, n) ? (size_t) n
                                                            : sizeof(scratch);

        h->in = ngx_create_temp_buf(h->request->pool, size);
        if (h->in == NULL) {
            return NGX_ERROR;
        }

        h->in->last = ngx_cpymem(h->in->last, scratch, n);

        return n;
    }

    if (h->in->last == h->in->end) {
        return NGX_DECLINED;
    }

    n = c->recv(c, h->in->last, h->in->end - h->in->last);

    if (n > 0) {
        h->in->last += n;
    }

    return n;
}


/* the whole head of one, and nothing else */

static ngx_uint_t
ngx_http_corral_handshake_is_101(u_char *data, size_t n)
{
    return n > 16 && ngx_memcmp(data, "HTTP/1.1 101", 12) == 0
           && ngx_memcmp(data + n - 4, CRLF CRLF, 4) == 0;
}


/* the head is whole: another instance, the relay, or on to the client */

static void
ngx_http_corral_handshake_judge(ngx_http_corral_handshake_t *h)
{
    ngx_uint_t           status;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = h->request;
    c = r->upstream->peer.connection;
    status = h->status.code;

    r->upstream->state->status = status;
    r->upstream->state->header_time = ngx_current_msec
                                      - r->upstream->start_time;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    if (status == NGX_HTTP_SWITCHING_PROTOCOLS) {
        ngx_http_corral_handshake_upgrade(h);
        return;
    }

    ngx_http_corral_upstream_report(r, h->ctx, status < 500, 0);

    if (h->pair) {
        ngx_http_corral_handshake_next(h, NGX_HTTP_CORRAL_NEXT_ERROR, 0);
        return;
    }

    if (h->tries > 0
        && (h->conf->next_upstream & ngx_http_corral_handshake_bits(status))
        && ngx_http_corral_handshake_reserve(h) == NGX_OK)
    {
        h->failed = NGX_HTTP_BAD_GATEWAY;
        r->upstream->state->response_time = ngx_current_msec
                                            - r->upstream->start_time;
        ngx_http_corral_handshake_connect(h);
        return;
    }

    ngx_http_corral_answer_start(h);
}


/* which words of corral_next_upstream name an answer with this status */

static ngx_uint_t
ngx_http_corral_handshake_bits(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return NGX_HTTP_CORRAL_NEXT_HTTP_429;

    case NGX_HTTP_INTERNAL_SERVER_ERROR:
        return NGX_HTTP_CORRAL_NEXT_HTTP_5XX|NGX_HTTP_CORRAL_NEXT_HTTP_500;

    case NGX_HTTP_BAD_GATEWAY:
        return NGX_HTTP_CORRAL_NEXT_HTTP_5XX|NGX_HTTP_CORRAL_NEXT_HTTP_502;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_HTTP_CORRAL_NEXT_HTTP_5XX|NGX_HTTP_CORRAL_NEXT_HTTP_503;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        return NGX_HTTP_CORRAL_NEXT_HTTP_5XX|NGX_HTTP_CORRAL_NEXT_HTTP_504;

    default:
        return status >= 500 ? NGX_HTTP_CORRAL_NEXT_HTTP_5XX : 0;
    }
}


/*
 * Another instance, before this one's answer is thrown away: if there is none,
 * the answer is the client's.  NGX_OK: it is reserved and the connection to
 * this one is closed.
 */

static ngx_int_t
ngx_http_corral_handshake_reserve(ngx_http_corral_handshake_t *h)
{
    ngx_http_request_t        *r;
    ngx_http_upstream_t       *u;
    ngx_http_corral_hold_t     hold;
    ngx_http_corral_totals_t   delta;

    r = h->request;
    u = r->upstream;

    ngx_http_corral_table_move(&hold, &h->ctx->hold);

    if (ngx_http_corral_upstream_pick(r, h->ctx, h->conf->upstream) != NGX_OK)
    {
        ngx_http_corral_table_release(&h->ctx->hold);
        ngx_http_corral_table_move(&h->ctx->hold, &hold);
        return NGX_DECLINED;
    }

    ngx_http_corral_table_release(&hold);

    h->ctx->taken = 0;                      /* peer.get is to use it */

    ngx_memzero(&delta, sizeof(ngx_http_corral_totals_t));
    delta.retries = 1;
    ngx_http_corral_table_add(h->ctx->terms.ref, &delta);

    u->state->bytes_sent = u->peer.connection->sent;
    u->peer.sockaddr = NULL;                /* not given back: see above */

    ngx_close_connection(u->peer.connection);
    u->peer.connection = NULL;

    return NGX_OK;
}


static void
ngx_http_corral_handshake_upgrade(ngx_http_corral_handshake_t *h)
{
    char                     *wrong;
    ngx_int_t                 rc;
    ngx_str_t                 head;
    ngx_http_request_t       *r;
    ngx_http_corral_start_t   start;
    ngx_http_corral_agreed_t  agreed;

    r = h->request;
    wrong = ngx_http_corral_handshake_check(h);

    if (wrong) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "upstream broke the WebSocket handshake: %s", wrong);

        if (h->pair) {
            ngx_http_corral_handshake_next(h,
                                       NGX_HTTP_CORRAL_NEXT_INVALID_HEADER, 0);
            return;
        }

        ngx_http_corral_upstream_report(r, h->ctx, 0, 0);
        ngx_http_corral_handshake_drop(h, NGX_PEER_FAILED);

        rc = ngx_http_corral_send_problem(r, NGX_HTTP_BAD_GATEWAY,
                                          "bad_answer", 0,
                                          "The agent broke the WebSocket "
                                          "handshake: %s.", wrong);
        ngx_http_corral_handshake_finalize(h, rc);
        return;
    }

    if (h->pair) {
        ngx_http_corral_learn_answer(r, h->ctx);
        ngx_http_corral_upstream_report(r, h->ctx, 1, 0);
        ngx_http_corral_relay_move_joined(h);
        return;
    }

    if (ngx_http_corral_handshake_reply(h, &head) != NGX_OK) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_http_corral_upstream_report(r, h->ctx, 1, 0);

    if (h->terms.failover != CORRAL_FAILOVER_CLOSE) {
        ngx_http_corral_handshake_agreed(h, &agreed);
    }

    start.head = head;
    start.early.data = h->in->pos;
    start.early.len = h->in->last - h->in->pos;
    start.terms = &h->terms;
    start.agreed = &agreed;
    start.deflate = h->deflate;
    start.cleanup = h->cleanup;

    if (ngx_http_corral_relay_start(r, h->ctx, &start) != NGX_OK) {
        ngx_http_corral_handshake_finalize(h, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }

    /* the request may be gone */
}
