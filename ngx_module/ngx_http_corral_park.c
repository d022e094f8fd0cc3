
/*
 * Holds a request in a phase, as limit_req does it, until somebody lets it go
 * on or its time is over.  Who parks it says what is done then, and sees to it
 * that nobody keeps the request when it ends meanwhile: the client's leaving
 * is seen and ends it.
 */


#include "ngx_http_corral.h"


ngx_int_t
ngx_http_corral_park(ngx_http_request_t *r, char *action,
    ngx_http_event_handler_pt handler, ngx_msec_t timeout)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    c->log->action = action;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = handler;
    c->write->delayed = 1;

    ngx_add_timer(c->write, timeout);

    return NGX_OK;
}


void
ngx_http_corral_unpark(ngx_http_request_t *r)
{
    ngx_event_t  *wev;

    wev = r->connection->write;

    wev->delayed = 0;

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    ngx_post_event(wev, &ngx_posted_events);
}


ngx_int_t
ngx_http_corral_parked(ngx_http_request_t *r)
{
    ngx_event_t  *wev;

    wev = r->connection->write;

    if (wev->delayed) {

        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        }

        return NGX_AGAIN;
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    return NGX_OK;
}
