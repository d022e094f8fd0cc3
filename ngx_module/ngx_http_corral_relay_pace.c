
/*
 * Not all at once: of the connections of one service in this worker, only so
 * many look for another instance at a time, in the order in which they lost
 * theirs.  An instance that dies with ten thousand connections would be its own
 * storm else.  Nobody is refused here; who waits too long is the affair of the
 * move's deadline.
 *
 * Moves begin in an event of their own, never in the middle of another one.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


#define NGX_HTTP_CORRAL_PACE_LEAST    64       /* at a time, or */
#define NGX_HTTP_CORRAL_PACE_PERCENT  20       /* of the service's, if more */


/* lives as long as somebody is queued or in flight */

struct ngx_http_corral_pace_s {
    ngx_http_corral_pace_t  *next;
    ngx_queue_t              queue;
    ngx_uint_t               waiting;
    ngx_uint_t               flying;
    ngx_event_t              event;
    ngx_connection_t         dummy;            /* ev->data */
    size_t                   len;
    u_char                   service_id[];
};


static ngx_http_corral_pace_t *ngx_http_corral_relay_pace_get(
    ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_pace_handler(ngx_event_t *ev);
static void ngx_http_corral_relay_pace_free(ngx_http_corral_pace_t *pace);


static ngx_http_corral_pace_t  *ngx_http_corral_relay_paces;


/*
 * Waits for its turn, which comes by ngx_http_corral_relay_move_try().
 * NGX_ERROR: no memory.
 */

ngx_int_t
ngx_http_corral_relay_pace_enter(ngx_http_corral_resume_t *resume)
{
    ngx_http_corral_pace_t  *pace;

    pace = ngx_http_corral_relay_pace_get(resume->pair);
    if (pace == NULL) {
        return NGX_ERROR;
    }

    resume->pace = pace;
    resume->state = NGX_HTTP_CORRAL_MOVE_QUEUED;

    ngx_queue_insert_tail(&pace->queue, &resume->queue);
    pace->waiting++;

    ngx_post_event(&pace->event, &ngx_posted_events);

    return NGX_OK;
}


/* Its turn is over, or it waits no longer.  May be called twice. */

void
ngx_http_corral_relay_pace_leave(ngx_http_corral_resume_t *resume)
{
    ngx_http_corral_pace_t  *pace;

    pace = resume->pace;

    if (pace == NULL) {
        return;
    }

    resume->pace = NULL;

    if (resume->state == NGX_HTTP_CORRAL_MOVE_QUEUED) {
        ngx_queue_remove(&resume->queue);
        pace->waiting--;

    } else {
        pace->flying--;
    }

    /* also the end of it is not here: others may hold it now */

    ngx_post_event(&pace->event, &ngx_posted_events);
}


/* connections of the service that have lost theirs, and not had their turn */

ngx_uint_t
ngx_http_corral_relay_pace_waiting(ngx_str_t *service_id)
{
    ngx_http_corral_pace_t  *pace;

    for (pace = ngx_http_corral_relay_paces; pace; pace = pace->next) {

        if (pace->len == service_id->len
            && ngx_memcmp(pace->service_id, service_id->data, pace->len) == 0)
        {
            return pace->waiting;
        }
    }

    return 0;
}


static ngx_http_corral_pace_t *
ngx_http_corral_relay_pace_get(ngx_http_corral_pair_t *p)
{
    ngx_log_t                 *log;
    ngx_http_corral_pace_t    *pace;
    ngx_http_corral_shared_t  *shared;

    shared = p->shared;

    for (pace = ngx_http_corral_relay_paces; pace; pace = pace->next) {

        if (pace->len == shared->id_len
            && ngx_memcmp(pace->service_id, shared->names, pace->len) == 0)
        {
            return pace;
        }
    }

    log = ngx_cycle->log;

    pace = ngx_calloc(sizeof(ngx_http_corral_pace_t) + shared->id_len, log);
    if (pace == NULL) {
        return NULL;
    }

    pace->len = shared->id_len;
    ngx_memcpy(pace->service_id, shared->names, pace->len);

    ngx_queue_init(&pace->queue);

    pace->dummy.fd = (ngx_socket_t) -1;
    pace->event.handler = ngx_http_corral_relay_pace_handler;
    pace->event.data = &pace->dummy;
    pace->event.log = log;

    pace->next = ngx_http_corral_relay_paces;
    ngx_http_corral_relay_paces = pace;

    return pace;
}


static void
ngx_http_corral_relay_pace_handler(ngx_event_t *ev)
{
    ngx_uint_t                 most;
    ngx_queue_t               *q;
    ngx_http_corral_pace_t    *pace;
    ngx_http_corral_resume_t  *resume;

    pace = (ngx_http_corral_pace_t *)
               ((u_char *) ev - offsetof(ngx_http_corral_pace_t, event));

    most = NGX_HTTP_CORRAL_PACE_LEAST;

    while (!ngx_queue_empty(&pace->queue)) {
        q = ngx_queue_head(&pace->queue);
        resume = ngx_queue_data(q, ngx_http_corral_resume_t, queue);

        if (pace->flying >= most) {
            most = ngx_max(most,
                           ngx_http_corral_relay_list_service(resume->pair)
                           * NGX_HTTP_CORRAL_PACE_PERCENT / 100);

            if (pace->flying >= most) {
                return;                     /* who lands posts us again */
            }
        }

        ngx_queue_remove(q);
        pace->waiting--;
        pace->flying++;

        ngx_http_corral_relay_move_try(resume);
    }

    if (pace->flying == 0) {
        ngx_http_corral_relay_pace_free(pace);
    }
}


static void
ngx_http_corral_relay_pace_free(ngx_http_corral_pace_t *pace)
{
    ngx_http_corral_pace_t  **link;

    for (link = &ngx_http_corral_relay_paces; *link != pace;
         link = &(*link)->next)
    {
        /* void */
    }

    *link = pace->next;

    if (pace->event.posted) {
        ngx_delete_posted_event(&pace->event);
    }

    ngx_free(pace);
}
