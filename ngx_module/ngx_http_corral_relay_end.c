
/*
 * The end of a pair: its numbers are summed up, the log phase runs, its hold is
 * given back, connections and memory are freed, and those who ordered its close
 * are told.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_sync.h"
#include "ngx_http_corral_websocket.h"


static void ngx_http_corral_relay_end_kept(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_websocket_t *sum);
static void ngx_http_corral_relay_sum(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws);
static void ngx_http_corral_relay_log(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws);
static void ngx_http_corral_relay_free(ngx_http_corral_pair_t *p,
    ngx_uint_t sent);
static void ngx_http_corral_relay_reset(ngx_connection_t *c);


/* Ends the pair now and frees it. */

void
ngx_http_corral_relay_end(ngx_http_corral_pair_t *p)
{
    ngx_connection_t             *c;
    ngx_http_corral_totals_t     *instance, *service;
    ngx_http_corral_websocket_t   sum;

    c = p->sides[NGX_HTTP_CORRAL_CLIENT].connection;

    ngx_http_corral_relay_sum(p, &sum);

    instance = ngx_http_corral_table_local(p->hold.ref);
    service = ngx_http_corral_table_local(p->shared->terms.ref);

    switch (sum.close_code) {
    case 1000:
    case 1001:
    case 1005:
        instance->closes_normal++;
        service->closes_normal++;
        break;

    default:
        instance->closes_other++;
        service->closes_other++;
        break;
    }

    ngx_http_corral_table_flush();

    if (p->reset) {
        ngx_http_corral_relay_reset(c);

        if (!p->sides[NGX_HTTP_CORRAL_AGENT].told
            && p->sides[NGX_HTTP_CORRAL_AGENT].connection)
        {
            ngx_http_corral_relay_reset(
                                 p->sides[NGX_HTTP_CORRAL_AGENT].connection);
        }
    }

    if (!p->kept) {
        ngx_http_corral_relay_log(p, &sum);

#if (NGX_STAT_STUB)
        (void) ngx_atomic_fetch_add(ngx_stat_writing, -1);
#endif

        c->data = p->hc;                /* ngx_http_close_connection() may */
        c->log->action = "closing connection";  /* wait for TLS */

        ngx_http_corral_relay_free(p, sum.close_sent);
        ngx_http_close_connection(c);
        return;
    }

    ngx_http_corral_relay_end_kept(p, c->data, &sum);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_corral_relay_end_kept(ngx_http_corral_pair_t *p,
    ngx_http_request_t *r, ngx_http_corral_websocket_t *sum)
{
    ngx_http_cleanup_t           *cln;
    ngx_http_corral_side_t       *agent;
    ngx_http_upstream_state_t    *state;
    ngx_http_corral_websocket_t  *ws;

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    ws = ngx_http_get_module_ctx(r, ngx_http_corral_websocket_module);
    *ws = *sum;

    state = r->upstream->state;
    state->response_time = ngx_current_msec - r->upstream->start_time;
    state->response_length = agent->bytes - ngx_http_corral_relay_before(p);
    state->bytes_received += state->response_length;
    state->bytes_sent = ngx_http_corral_relay_sent(p);

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_corral_relay_kept_cleanup) {
            cln->handler = NULL;
        }
    }

    ngx_http_corral_relay_free(p, sum->close_sent);

    /* not NGX_HTTP_CLOSE: it counts as a time-out, and may reset */

    ngx_http_finalize_request(r, NGX_ERROR);
}


static void
ngx_http_corral_relay_sum(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws)
{
    ngx_http_corral_side_t  *client, *agent;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    ws->pair = NULL;
    ws->id = ngx_http_corral_relay_id(p);
    ws->messages_received = client->messages;
    ws->messages_sent = agent->messages;
    ws->bytes_received = client->bytes;
    ws->bytes_sent = agent->bytes;
    ws->resumed = ngx_http_corral_relay_resumed(p);
    ws->close_code = p->close_code ? p->close_code : 1006;
    ws->close_sent = client->told && client->tail == NULL && !client->mute;
}


static void
ngx_http_corral_relay_log(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws)
{
    ngx_http_corral_record_end_t  end;

    ngx_http_corral_relay_end_of(p, ws, &end);
    ngx_http_corral_record_log(p->record, &end);
}


/* what is known of a pair beside its record */

void
ngx_http_corral_relay_end_of(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws, ngx_http_corral_record_end_t *end)
{
    ngx_http_corral_shared_t  *shared;

    shared = p->shared;

    end->connection = p->sides[NGX_HTTP_CORRAL_CLIENT].connection;
    end->hc = p->hc;
    end->srv_conf = shared->srv_conf;
    end->loc_conf = shared->loc_conf;
    end->service_id.data = shared->names;
    end->service_id.len = shared->id_len;
    end->service_name.data = shared->names + shared->id_len;
    end->service_name.len = shared->name_len;
    end->terms = &shared->terms;
    end->websocket = ws;
    end->upstream_sent = ngx_http_corral_relay_sent(p);
    end->upstream_received = p->sides[NGX_HTTP_CORRAL_AGENT].bytes
                             - ngx_http_corral_relay_before(p);
}


/* bytes that went to the agent of now */

off_t
ngx_http_corral_relay_sent(ngx_http_corral_pair_t *p)
{
    ngx_connection_t  *c;

    c = p->sides[NGX_HTTP_CORRAL_AGENT].connection;

    return c ? c->sent : p->resume->sent;
}


/* all but the client's connection; tells those who ordered the close */

static void
ngx_http_corral_relay_free(ngx_http_corral_pair_t *p, ngx_uint_t sent)
{
    ngx_uint_t                  i;
    ngx_http_corral_closing_t  *closing;

    closing = p->closing;

    if (p->resume) {
        ngx_http_corral_relay_resume_free(p);
    }

    ngx_http_corral_table_release(&p->hold);

    if (p->sides[NGX_HTTP_CORRAL_AGENT].connection) {
        ngx_close_connection(p->sides[NGX_HTTP_CORRAL_AGENT].connection);
    }

    for (i = 0; i < 2; i++) {

        if (p->sides[i].tail) {
            ngx_free(p->sides[i].tail);
        }

        if (p->sides[i].rest) {
            ngx_free(p->sides[i].rest);
        }
    }

    if (p->limits) {
        ngx_free(p->limits);
    }

    if (p->renew) {
        ngx_http_corral_relay_renew_free(p);
    }

    ngx_free(p->record);
    ngx_http_corral_relay_list_unshare(p->shared);
    ngx_http_corral_relay_list_free(p);
    ngx_http_corral_relay_time_stop(p);
    ngx_http_corral_sync_connections();

    if (closing) {
        ngx_http_corral_relay_answer(closing, 1, sent);
        ngx_free(closing);
    }
}


/*
 * The pair has ended, or its client has got the Close and need only answer it:
 * whoever ordered that is told.  closed 0: it went elsewhere instead.
 */

void
ngx_http_corral_relay_answer(ngx_http_corral_closing_t *closing,
    ngx_uint_t closed, ngx_uint_t sent)
{
    ngx_http_corral_order_t   *order;
    ngx_http_corral_waiter_t  *w, *next;

    w = closing->waiters;
    closing->waiters = NULL;

    for ( /* void */ ; w; w = next) {
        next = w->next;
        order = w->order;
        ngx_free(w);

        order->closed += closed;
        order->sent += sent;

        if (--order->open == 0) {
            order->done(order->data, order->matched, order->closed,
                        order->sent);
            ngx_free(order);
        }
    }
}


static void
ngx_http_corral_relay_reset(ngx_connection_t *c)
{
    struct linger  linger;

    linger.l_onoff = 1;
    linger.l_linger = 0;

    if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER, (const void *) &linger,
                   sizeof(struct linger))
        == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno,
                      "setsockopt(SO_LINGER) failed");
    }

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
    }

#endif
}


/* nginx itself ends a kept request: it frees the rest */

void
ngx_http_corral_relay_kept_cleanup(void *data)
{
    ngx_http_corral_pair_t *p = data;

    ngx_http_corral_websocket_t  *ws;

    ws = ngx_http_get_module_ctx((ngx_http_request_t *)
                     p->sides[NGX_HTTP_CORRAL_CLIENT].connection->data,
                     ngx_http_corral_websocket_module);

    ngx_http_corral_relay_sum(p, ws);
    ngx_http_corral_relay_free(p, ws->close_sent);
}
