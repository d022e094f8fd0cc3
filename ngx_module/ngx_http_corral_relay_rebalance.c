
/*
 * Rebalancing: long connections stay on the instances that were there when they
 * came.  Some of them leave those that hold more than their share for those
 * that hold less: at a pace, those that have been idle longest first, and none
 * that was used a moment ago or waits for an answer.
 *
 * There is no leader.  Every few seconds one worker of each gateway makes a
 * plan of what the whole cluster holds (corral_rebalance.c): how many of this
 * gateway's connections leave which instance, and how many come to which.  It
 * stands in the zone.  Each worker takes from it, one by one, for pairs that it
 * has; so together they move no more than was planned.  A plan is made anew of
 * what is true then; where there are other gateways, the first seconds of each
 * period are for moves and the last ones for the news of them to arrive.
 *
 * Only instances of one priority share their load, and only those that new
 * connections may be given to.  Nothing leaves while an instance drains, while
 * others of the service wait for a new instance, or while its circuit is open.
 *
 * A ring holds this worker's pairs that may leave, in the order of their turn,
 * as in ngx_http_corral_relay_drain.c.  No locks; all runs from the clock of
 * the relay, as long as there are pairs.
 */


#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_rebalance.h"
#include "ngx_http_corral_relay_resume.h"
#include "ngx_http_corral_upstream.h"

#include <sys/ioctl.h>


#define NGX_HTTP_CORRAL_REBALANCE_TICK    100       /* ms */
#define NGX_HTTP_CORRAL_REBALANCE_LOOK    1000      /* ms */
#define NGX_HTTP_CORRAL_REBALANCE_PERIOD  6         /* s, of any clock */
#define NGX_HTTP_CORRAL_REBALANCE_WORK    4         /* s of it, for moves */
#define NGX_HTTP_CORRAL_REBALANCE_PAUSE   5000      /* ms between two plans */
#define NGX_HTTP_CORRAL_REBALANCE_ASKED   60000     /* ms that one is for */
#define NGX_HTTP_CORRAL_REBALANCE_RETRY   5         /* s, at most */


typedef struct {
    ngx_http_corral_pair_t       *pair;
    uint32_t                      number;
    uint64_t                      last;        /* message */
} ngx_http_corral_rebalance_turn_t;


typedef struct ngx_http_corral_rebalance_s  ngx_http_corral_rebalance_t;

struct ngx_http_corral_rebalance_s {
    ngx_http_corral_rebalance_t       *next;
    ngx_msec_t                         plan;   /* of which plan it is */
    ngx_uint_t                         size;
    ngx_uint_t                         head;
    ngx_uint_t                         left;
    ngx_http_corral_rebalance_turn_t  *ring;
    size_t                             len;
    u_char                             service_id[];
};


static ngx_uint_t ngx_http_corral_rebalance_count(
    ngx_http_corral_service_t *service, corral_rebalance_t *list);
static void ngx_http_corral_rebalance_look(ngx_http_corral_service_t *service,
    void *data);
static uint32_t ngx_http_corral_rebalance_left(
    ngx_http_corral_service_t *service);
static ngx_uint_t ngx_http_corral_rebalance_mode(
    ngx_http_corral_service_t *service);
static ngx_uint_t ngx_http_corral_rebalance_rests(void);
static ngx_uint_t ngx_http_corral_rebalance_movable(
    ngx_http_corral_service_t *service, ngx_http_corral_pair_t *p,
    ngx_uint_t mode);
static ngx_int_t ngx_http_corral_rebalance_find(
    ngx_http_corral_service_t *service, ngx_http_corral_pair_t *p);
static void ngx_http_corral_rebalance_fill(ngx_http_corral_service_t *service,
    ngx_uint_t mode);
static int ngx_libc_cdecl ngx_http_corral_rebalance_cmp(const void *one,
    const void *two);
static ngx_http_corral_rebalance_t **ngx_http_corral_rebalance_ring(
    ngx_str_t *service_id);
static void ngx_http_corral_rebalance_work(ngx_http_corral_rebalance_t *b);
static ngx_int_t ngx_http_corral_rebalance_one(ngx_http_corral_rebalance_t *b,
    ngx_http_corral_service_t *service, ngx_uint_t mode);
static ngx_uint_t ngx_http_corral_rebalance_busy(ngx_http_corral_pair_t *p,
    ngx_msec_t idle);
static ngx_http_corral_instance_t *ngx_http_corral_rebalance_target(
    ngx_http_corral_service_t *service, uint32_t from);
static ngx_int_t ngx_http_corral_rebalance_leave(ngx_http_corral_pair_t *p,
    ngx_http_corral_instance_t *target);
static void ngx_http_corral_rebalance_drop(ngx_http_corral_rebalance_t **link);


static ngx_http_corral_rebalance_t  *ngx_http_corral_rebalances;
static ngx_msec_t                    ngx_http_corral_rebalance_looked;


void
ngx_http_corral_relay_rebalance_turn(void)
{
    ngx_http_corral_rebalance_t  *b, *next;

    if (ngx_current_msec - ngx_http_corral_rebalance_looked
        >= NGX_HTTP_CORRAL_REBALANCE_LOOK)
    {
        ngx_http_corral_rebalance_looked = ngx_current_msec;
        ngx_http_corral_registry_walk(ngx_http_corral_rebalance_look, NULL);
    }

    for (b = ngx_http_corral_rebalances; b; b = next) {
        next = b->next;
        ngx_http_corral_rebalance_work(b);
    }
}


const char *
ngx_http_corral_relay_rebalance(ngx_str_t *service_id, uint32_t number,
    ngx_uint_t dry_run, ngx_http_corral_rebalanced_t *result)
{
    uint32_t                    planned;
    const char                 *err;
    corral_rebalance_t         *list;
    ngx_http_corral_service_t  *service;

    result->planned = 0;
    result->movable = 0;

    service = ngx_http_corral_registry_find(service_id);

    if (service == NULL) {
        return "there is no such service in this gateway";
    }

    err = ngx_http_corral_rebalance_storm(service);
    if (err) {
        return err;
    }

    list = ngx_calloc(service->n * sizeof(corral_rebalance_t), ngx_cycle->log);

    if (list == NULL
        || ngx_http_corral_rebalance_plan(service, 0, list, &planned)
           != NGX_OK)
    {
        if (list) {
            ngx_free(list);
        }

        return "no memory";
    }

    if (ngx_http_corral_table_plan_ask(service->terms.ref, number,
                               dry_run ? 0 : NGX_HTTP_CORRAL_REBALANCE_ASKED))
    {
        result->planned = planned;

        if (!dry_run) {
            ngx_http_corral_rebalance_write(service, list, planned);
        }
    }

    result->movable = ngx_http_corral_rebalance_count(service, list);

    ngx_free(list);

    return NULL;
}


/* how many of this worker could leave instances that hold too much */

static ngx_uint_t
ngx_http_corral_rebalance_count(ngx_http_corral_service_t *service,
    corral_rebalance_t *list)
{
    void                    *at;
    ngx_int_t                i;
    ngx_uint_t               n, mode, movable;
    ngx_http_corral_pair_t  *p;

    mode = service->rebalance.mode == CORRAL_REBALANCE_CLOSE
           ? CORRAL_REBALANCE_CLOSE : CORRAL_REBALANCE_REATTACH;

    at = NULL;
    n = 0;
    movable = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_walk(&at, &n);

        if (p == NULL) {
            return movable;
        }

        if (ngx_http_corral_rebalance_movable(service, p, mode)) {
            i = ngx_http_corral_rebalance_find(service, p);
            movable += i != NGX_ERROR && list[i].load > list[i].share;
        }
    }
}


/* once a second, for each service: is there a plan, and a ring for it? */

static void
ngx_http_corral_rebalance_look(ngx_http_corral_service_t *service, void *data)
{
    uint32_t                      leave;
    ngx_uint_t                    mode;
    ngx_http_corral_rebalance_t  *b;

    mode = ngx_http_corral_rebalance_mode(service);

    if (mode == CORRAL_REBALANCE_OFF) {
        return;
    }

    leave = ngx_http_corral_rebalance_left(service);

    /* who was asked for a pass does it to its end */

    if (!(leave && ngx_http_corral_table_plan_asked(service->terms.ref))
        && !ngx_http_corral_rebalance_rests()
        && ngx_http_corral_table_plan_begin(service->terms.ref,
                                            NGX_HTTP_CORRAL_REBALANCE_PAUSE))
    {
        ngx_http_corral_rebalance_renew(service);
        leave = ngx_http_corral_rebalance_left(service);
    }

    b = *ngx_http_corral_rebalance_ring(&service->id);

    if (leave
        && (b == NULL
            || b->plan != ngx_http_corral_table_planned(service->terms.ref)))
    {
        ngx_http_corral_rebalance_fill(service, mode);
    }
}


/* what the plan has left; 0: nothing, another number means nothing */

static uint32_t
ngx_http_corral_rebalance_left(ngx_http_corral_service_t *service)
{
    uint32_t  i, leave;

    for (i = 0, leave = 0; i < service->n; i++) {
        leave |= ngx_http_corral_table_plan_leave(service->instances[i].ref);
    }

    return leave;
}


/* what the service wants, or who was asked for one pass of it */

static ngx_uint_t
ngx_http_corral_rebalance_mode(ngx_http_corral_service_t *service)
{
    if (service->rebalance.mode == CORRAL_REBALANCE_OFF
        && ngx_http_corral_table_plan_asked(service->terms.ref))
    {
        return CORRAL_REBALANCE_REATTACH;
    }

    return service->rebalance.mode;
}


/* others are to hear first what was moved */

static ngx_uint_t
ngx_http_corral_rebalance_rests(void)
{
    return ngx_http_corral_table_remote_any()
           && ngx_time() % NGX_HTTP_CORRAL_REBALANCE_PERIOD
              >= NGX_HTTP_CORRAL_REBALANCE_WORK;
}


/*
 * One whose session or hash keeps it on its instance would come straight back
 * with its next connection.
 */

static ngx_uint_t
ngx_http_corral_rebalance_movable(ngx_http_corral_service_t *service,
    ngx_http_corral_pair_t *p, ngx_uint_t mode)
{
    if (p->shared->id_len != service->id.len
        || ngx_memcmp(p->shared->names, service->id.data, service->id.len) != 0
        || p->own || p->lingering || p->moving
        || (p->resume == NULL && mode != CORRAL_REBALANCE_CLOSE))
    {
        return 0;
    }

    return service->rebalance.sessions
           || (service->affinity.len == 0
               && ngx_http_corral_record_method(p->record)
                  != NGX_HTTP_CORRAL_HASH);
}


/* the place of its instance in the service; NGX_ERROR: it is none of them */

static ngx_int_t
ngx_http_corral_rebalance_find(ngx_http_corral_service_t *service,
    ngx_http_corral_pair_t *p)
{
    uint32_t                 i;
    ngx_http_corral_slot_t  *ref;

    for (i = 0; i < service->n; i++) {
        ref = &service->instances[i].ref;

        if (ref->slot == p->hold.ref.slot && ref->seq == p->hold.ref.seq) {
            return i;
        }
    }

    return NGX_ERROR;
}


/* the pairs on instances that some are to leave, longest idle first */

static void
ngx_http_corral_rebalance_fill(ngx_http_corral_service_t *service,
    ngx_uint_t mode)
{
    void                              *at;
    ngx_uint_t                         n;
    ngx_http_corral_pair_t            *p;
    ngx_http_corral_rebalance_t       *b, **link;
    ngx_http_corral_rebalance_turn_t  *t;

    link = ngx_http_corral_rebalance_ring(&service->id);

    if (*link) {
        ngx_http_corral_rebalance_drop(link);
    }

    b = ngx_calloc(sizeof(ngx_http_corral_rebalance_t) + service->id.len,
                   ngx_cycle->log);
    if (b == NULL) {
        return;
    }

    b->size = ngx_http_corral_relay_count();
    b->plan = ngx_http_corral_table_planned(service->terms.ref);
    b->len = service->id.len;
    ngx_memcpy(b->service_id, service->id.data, service->id.len);

    b->ring = ngx_alloc(ngx_max(b->size, 1)
                        * sizeof(ngx_http_corral_rebalance_turn_t),
                        ngx_cycle->log);
    if (b->ring == NULL) {
        ngx_free(b);
        return;
    }

    at = NULL;
    n = 0;

    for ( ;; ) {
        p = ngx_http_corral_relay_list_walk(&at, &n);

        if (p == NULL) {
            break;
        }

        if (ngx_http_corral_rebalance_movable(service, p, mode)
            && ngx_http_corral_table_plan_leave(p->hold.ref))
        {
            t = &b->ring[b->left++];
            t->pair = p;
            t->number = p->number;
            t->last = p->last;
        }
    }

    ngx_qsort(b->ring, b->left, sizeof(ngx_http_corral_rebalance_turn_t),
              ngx_http_corral_rebalance_cmp);

    b->next = ngx_http_corral_rebalances;
    ngx_http_corral_rebalances = b;

    if (b->left) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "corral: load of service \"%V\" is uneven: some of %ui "
                      "WebSockets here go to other instances",
                      &service->name, b->left);
    }
}


static int ngx_libc_cdecl
ngx_http_corral_rebalance_cmp(const void *one, const void *two)
{
    const ngx_http_corral_rebalance_turn_t *a = one;
    const ngx_http_corral_rebalance_turn_t *b = two;

    return a->last < b->last ? -1 : a->last > b->last;
}


/* the link of the service's ring, or of the end of the list */

static ngx_http_corral_rebalance_t **
ngx_http_corral_rebalance_ring(ngx_str_t *service_id)
{
    ngx_http_corral_rebalance_t  **link;

    for (link = &ngx_http_corral_rebalances; *link; link = &(*link)->next) {

        if ((*link)->len == service_id->len
            && ngx_memcmp((*link)->service_id, service_id->data,
                          service_id->len)
               == 0)
        {
            break;
        }
    }

    return link;
}


/* a tick: as many as may go now; each of the ring has at most one turn */

static void
ngx_http_corral_rebalance_work(ngx_http_corral_rebalance_t *b)
{
    ngx_str_t                   id;
    ngx_uint_t                  n, mode;
    ngx_http_corral_service_t  *service;

    id.data = b->service_id;
    id.len = b->len;

    service = ngx_http_corral_registry_find(&id);
    mode = service ? ngx_http_corral_rebalance_mode(service)
                   : CORRAL_REBALANCE_OFF;

    /* a ring without pairs stays: it tells that this plan was seen */

    if (mode == CORRAL_REBALANCE_OFF) {
        ngx_http_corral_rebalance_drop(ngx_http_corral_rebalance_ring(&id));
        return;
    }

    if (b->left == 0
        || b->plan != ngx_http_corral_table_planned(service->terms.ref)
        || ngx_http_corral_rebalance_rests()
        || ngx_http_corral_rebalance_storm(service))
    {
        return;
    }

    for (n = b->left; n; n--) {

        if (ngx_http_corral_rebalance_one(b, service, mode) != NGX_OK) {
            return;
        }
    }
}


/* The first of the ring has its turn.  NGX_AGAIN: not in this tick. */

static ngx_int_t
ngx_http_corral_rebalance_one(ngx_http_corral_rebalance_t *b,
    ngx_http_corral_service_t *service, ngx_uint_t mode)
{
    ngx_int_t                          from;
    ngx_http_corral_slot_t             ref;
    ngx_http_corral_pair_t            *p;
    ngx_http_corral_instance_t        *target;
    ngx_http_corral_rebalance_turn_t   t;

    t = b->ring[b->head];
    p = t.pair;

    from = p->number == t.number
           && ngx_http_corral_rebalance_movable(service, p, mode)
           ? ngx_http_corral_rebalance_find(service, p) : NGX_ERROR;

    if (from == NGX_ERROR
        || !ngx_http_corral_table_plan_leave(p->hold.ref))
    {
        b->head = (b->head + 1) % b->size;
        b->left--;
        return NGX_OK;
    }

    if (ngx_http_corral_rebalance_busy(p, service->rebalance.idle)) {
        b->head = (b->head + 1) % b->size;
        b->ring[(b->head + b->left - 1) % b->size] = t;
        return NGX_OK;
    }

    ref = p->hold.ref;
    target = ngx_http_corral_rebalance_target(service, from);

    if (target == NULL
        || ngx_http_corral_table_plan_take(ref, target->ref) != NGX_OK)
    {
        return NGX_AGAIN;
    }

    if (!ngx_http_corral_table_plan_go(service->terms.ref,
                                       NGX_HTTP_CORRAL_REBALANCE_TICK))
    {
        ngx_http_corral_table_plan_give(ref, target->ref);
        return NGX_AGAIN;
    }

    b->head = (b->head + 1) % b->size;
    b->left--;

    if (ngx_http_corral_rebalance_leave(p, target) != NGX_OK) {
        ngx_http_corral_table_plan_give(ref, target->ref);
    }

    return NGX_OK;
}


/*
 * Is it used, or was it a moment ago?  What the agent has said already is heard
 * first, and what the client has said is answered first, as far as that is
 * known.
 */

static ngx_uint_t
ngx_http_corral_rebalance_busy(ngx_http_corral_pair_t *p, ngx_msec_t idle)
{
    int                        unread;
    ngx_http_corral_resume_t  *resume;

    if (ngx_current_msec - p->last < idle
        || !ngx_http_corral_relay_quiet(p)
        || ioctl(p->sides[NGX_HTTP_CORRAL_AGENT].connection->fd, FIONREAD,
                 &unread)
           == -1
        || unread)
    {
        return 1;
    }

    resume = p->resume;

    return resume
           && (resume->journal.requests || resume->journal.notes
               || resume->journal.blind
               || resume->halves[NGX_HTTP_CORRAL_CLIENT].begun
               || resume->halves[NGX_HTTP_CORRAL_AGENT].begun);
}


/* of the same priority, the one to which most are still to come */

static ngx_http_corral_instance_t *
ngx_http_corral_rebalance_target(ngx_http_corral_service_t *service,
    uint32_t from)
{
    uint32_t                     i, come, most, limit;
    ngx_uint_t                   ramped;
    ngx_http_corral_tier_t      *tier;
    ngx_http_corral_instance_t  *instance, *best;

    for (tier = service->tiers; from >= tier->first + tier->n; tier++) {
        /* void */
    }

    best = NULL;
    most = 0;

    for (i = tier->first; i < tier->first + tier->n; i++) {
        instance = &service->instances[i];
        come = ngx_http_corral_table_plan_come(instance->ref);
        limit = ngx_http_corral_upstream_limit(service, instance);

        if (come <= most
            || !ngx_http_corral_rebalance_usable(instance)
            || (limit && ngx_http_corral_table_load(instance->ref) >= limit))
        {
            continue;
        }

        (void) ngx_http_corral_upstream_part(service, instance, &ramped);

        if (ramped && service->slow_start_rate
            && ngx_http_corral_table_recent(instance->ref)
               >= service->slow_start_rate)
        {
            continue;
        }

        best = instance;
        most = come;
    }

    return best;
}


/* NGX_DECLINED: it stays where it is */

static ngx_int_t
ngx_http_corral_rebalance_leave(ngx_http_corral_pair_t *p,
    ngx_http_corral_instance_t *target)
{
    ngx_http_corral_slot_t  ref, service;

    static ngx_str_t  why = ngx_string("rebalancing");

    ref = p->hold.ref;
    service = p->shared->terms.ref;

    if (p->resume == NULL) {
        ngx_http_corral_relay_drain_close(p, 1012, &why,
                                          NGX_HTTP_CORRAL_REBALANCE_RETRY);

    } else {
        p->resume->wanted = target->key;

        if (ngx_http_corral_relay_move_away(p) != NGX_OK) {
            p->resume->wanted = 0;
            return NGX_DECLINED;
        }
    }

    ngx_http_corral_table_local(ref)->rebalanced++;
    ngx_http_corral_table_local(service)->rebalanced++;

    return NGX_OK;
}


static void
ngx_http_corral_rebalance_drop(ngx_http_corral_rebalance_t **link)
{
    ngx_http_corral_rebalance_t  *b;

    b = *link;
    *link = b->next;

    ngx_free(b->ring);
    ngx_free(b);
}
