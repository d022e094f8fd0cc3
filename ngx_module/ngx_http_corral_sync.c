
/*
 * Keeps the registry of one worker: where it comes from at the start, what is
 * done when it has changed, in which order, and how much of it in one turn of
 * the event loop.  The parts know nothing of each other: load (text in), save
 * (text out), follow (Redis).
 *
 * At the start the registry comes from the image in the zone, which survives
 * a reload, else from the state file.  Without Redis the order is the other
 * way round, as the file is the truth then and may have been edited; it is
 * looked at once a second and loaded anew when it has changed.  With Redis,
 * that is followed from then on.
 *
 * No locks.  Everything lives as long as the worker.  All timers are
 * cancelable: none of this holds an old worker back.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_follow.h"
#include "ngx_http_corral_load.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_save.h"
#include "ngx_http_corral_sync.h"


/* how long the first load may take before the worker begins to serve */
#define NGX_HTTP_CORRAL_SYNC_START    200000     /* us */

#define NGX_HTTP_CORRAL_SYNC_WATCH    1000       /* ms, looks at the file */
#define NGX_HTTP_CORRAL_SYNC_SETTLE   200        /* ms, before it is saved */

/*
 * ms between two files.  Small ones are written with each image: the workers
 * of a new binary find no image, and begin with the file.
 */
#define NGX_HTTP_CORRAL_SYNC_FILE     2000
#define NGX_HTTP_CORRAL_SYNC_SMALL    (64 * 1024)


typedef enum {
    NGX_HTTP_CORRAL_SYNC_NONE = 0,
    NGX_HTTP_CORRAL_SYNC_IMAGE,
    NGX_HTTP_CORRAL_SYNC_STATE_FILE
} ngx_http_corral_sync_source_e;


typedef struct {
    ngx_pool_t                     *pool;
    ngx_http_corral_main_conf_t    *conf;
    ngx_http_corral_sync_info_t     info;

    ngx_http_corral_sync_source_e   loading;   /* what load.c is at */
    ngx_uint_t                      tried;     /* bit mask of sources */
    ngx_uint_t                      started;   /* the first load is over */

    ngx_uint_t                      saving;
    ngx_uint_t                      file_due;  /* the file is to be written */
    ngx_msec_t                      file_time; /* it was last begun */

    ngx_event_t                     work;      /* posted while there is some */
    ngx_event_t                     watch;
    ngx_event_t                     save;
    ngx_connection_t                dummy;     /* ev->data of the timers */
} ngx_http_corral_sync_t;


static void ngx_http_corral_sync_event(ngx_event_t *ev,
    ngx_event_handler_pt handler);
static void ngx_http_corral_sync_first(uint64_t until);
static ngx_int_t ngx_http_corral_sync_source(void);
static void ngx_http_corral_sync_loaded(ngx_int_t rc);
static void ngx_http_corral_sync_follow(void);
static ngx_resolver_t *ngx_http_corral_sync_resolver(void);
static void ngx_http_corral_sync_watch(ngx_event_t *ev);
static void ngx_http_corral_sync_work(ngx_event_t *ev);
static void ngx_http_corral_sync_post(void);
static void ngx_http_corral_sync_changed(ngx_uint_t full);
static void ngx_http_corral_sync_save(ngx_event_t *ev);
static void ngx_http_corral_sync_saved(ngx_int_t rc);


static ngx_http_corral_sync_t  ngx_http_corral_sync;


ngx_int_t
ngx_http_corral_sync_init(ngx_cycle_t *cycle)
{
    ngx_http_corral_sync_t       *sync;
    ngx_http_corral_main_conf_t  *mcf;

    /* not the cache manager, not the master */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_corral_get_main_conf(cycle);

    if (mcf == NULL || mcf->zone == NULL) {
        return NGX_OK;
    }

    sync = &ngx_http_corral_sync;

    sync->conf = mcf;
    sync->info.configured = (mcf->redis.len != 0);
    ngx_str_set(&sync->info.source, "none");

    sync->pool = ngx_create_pool(1024, cycle->log);
    if (sync->pool == NULL) {
        return NGX_ERROR;
    }

    sync->dummy.fd = (ngx_socket_t) -1;

    ngx_http_corral_sync_event(&sync->work, ngx_http_corral_sync_work);
    ngx_http_corral_sync_event(&sync->watch, ngx_http_corral_sync_watch);
    ngx_http_corral_sync_event(&sync->save, ngx_http_corral_sync_save);

    /*
     * Nothing is served yet, so this may be done in one go: the first request
     * finds a registry.  It is bounded all the same, because meanwhile
     * connections wait for this worker after a reload.
     */

    ngx_http_corral_sync_first(ngx_http_corral_clock()
                               + NGX_HTTP_CORRAL_SYNC_START);

    return NGX_OK;
}


ngx_http_corral_sync_info_t *
ngx_http_corral_sync_info(void)
{
    return &ngx_http_corral_sync.info;
}


void
ngx_http_corral_sync_connections(void)
{
    ngx_http_corral_publish_list_changed();
}


void
ngx_http_corral_sync_waiting(ngx_str_t *service_id, ngx_uint_t waiting)
{
    ngx_http_corral_publish_waiting(service_id, waiting);
}


void
ngx_http_corral_sync_exit(ngx_cycle_t *cycle)
{
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    ngx_http_corral_follow_exit();
    ngx_http_corral_load_abort();
    ngx_http_corral_save_abort();

    if (sync->pool) {
        ngx_destroy_pool(sync->pool);
        sync->pool = NULL;
    }
}


static void
ngx_http_corral_sync_event(ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = &ngx_http_corral_sync.dummy;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;
}


/* Loads the first registry, from one source after the other. */

static void
ngx_http_corral_sync_first(uint64_t until)
{
    ngx_int_t  rc;

    while (ngx_http_corral_sync_source() == NGX_OK) {

        do {
            rc = ngx_http_corral_load_next(until);
        } while (rc == NGX_AGAIN && ngx_http_corral_clock() < until);

        if (rc == NGX_AGAIN) {
            ngx_http_corral_sync_post();
            return;
        }

        ngx_http_corral_sync_loaded(rc);

        if (rc == NGX_OK) {
            break;
        }
    }

    ngx_http_corral_sync_follow();
}


/* Begins to load from the next source.  NGX_DECLINED: there is none. */

static ngx_int_t
ngx_http_corral_sync_source(void)
{
    ngx_int_t                       rc;
    ngx_uint_t                      i;
    ngx_http_corral_sync_t         *sync;
    ngx_http_corral_sync_source_e   order[2];

    sync = &ngx_http_corral_sync;

    if (sync->info.configured) {
        order[0] = NGX_HTTP_CORRAL_SYNC_IMAGE;
        order[1] = NGX_HTTP_CORRAL_SYNC_STATE_FILE;

    } else {
        order[0] = NGX_HTTP_CORRAL_SYNC_STATE_FILE;
        order[1] = NGX_HTTP_CORRAL_SYNC_IMAGE;
    }

    for (i = 0; i < 2; i++) {

        if (sync->tried & (1 << order[i])) {
            continue;
        }

        sync->tried |= 1 << order[i];

        if (order[i] == NGX_HTTP_CORRAL_SYNC_IMAGE) {
            rc = ngx_http_corral_load_image();

        } else if (sync->conf->state_file.len) {
            rc = ngx_http_corral_load_file(&sync->conf->state_file);

        } else {
            continue;
        }

        if (rc == NGX_OK) {
            sync->loading = order[i];
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static void
ngx_http_corral_sync_loaded(ngx_int_t rc)
{
    ngx_http_corral_sync_t           *sync;
    ngx_http_corral_sync_source_e     source;
    ngx_http_corral_registry_info_t  *info;

    sync = &ngx_http_corral_sync;

    source = sync->loading;
    sync->loading = NGX_HTTP_CORRAL_SYNC_NONE;

    if (rc != NGX_OK) {

        if (rc == NGX_ERROR) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                          "corral: no memory to load the registry");
        }

        return;
    }

    if (source == NGX_HTTP_CORRAL_SYNC_IMAGE) {
        ngx_str_set(&sync->info.source, "image");

    } else {
        ngx_str_set(&sync->info.source, "file");
    }

    sync->info.loads++;

    info = ngx_http_corral_registry_info();

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "corral: registry loaded from %V: epoch \"%s\", revision "
                  "%uL, %uD services, %uD instances", &sync->info.source,
                  info->epoch, info->revision, info->services,
                  info->instances);

    ngx_http_corral_sync_changed(1);
}


/* The first load is over, whatever came of it. */

static void
ngx_http_corral_sync_follow(void)
{
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    sync->started = 1;

    if (sync->info.configured) {

        if (ngx_http_corral_follow_init(sync->pool, sync->conf,
                                        ngx_http_corral_sync_resolver(),
                                        &sync->info,
                                        ngx_http_corral_sync_changed)
            != NGX_OK)
        {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                          "corral: no memory to follow Redis: this worker "
                          "stays with the registry it has");
        }

        return;
    }

    if (sync->conf->state_file.len) {

        /* a phase of its own for each worker */

        ngx_add_timer(&sync->watch, (ngx_msec_t) ngx_random()
                                    % NGX_HTTP_CORRAL_SYNC_WATCH);
    }
}


/* The one of the http block, or NULL if there is no "resolver" in it. */

static ngx_resolver_t *
ngx_http_corral_sync_resolver(void)
{
    ngx_http_conf_ctx_t       *ctx;
    ngx_http_core_loc_conf_t  *clcf;

    ctx = (ngx_http_conf_ctx_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                               ngx_http_module);

    clcf = ctx->loc_conf[ngx_http_core_module.ctx_index];

    /* nginx makes an empty one where none is configured */

    if (clcf->resolver == NULL || clcf->resolver->connections.nelts == 0) {
        return NULL;
    }

    return clcf->resolver;
}


static void
ngx_http_corral_sync_watch(ngx_event_t *ev)
{
    ngx_int_t                rc;
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    ngx_add_timer(ev, NGX_HTTP_CORRAL_SYNC_WATCH);

    if (sync->loading
        || !ngx_http_corral_load_changed(&sync->conf->state_file))
    {
        return;
    }

    rc = ngx_http_corral_load_file(&sync->conf->state_file);

    if (rc == NGX_OK) {
        sync->loading = NGX_HTTP_CORRAL_SYNC_STATE_FILE;
        ngx_http_corral_sync_post();
    }
}


static void
ngx_http_corral_sync_post(void)
{
    ngx_event_t  *ev;

    ev = &ngx_http_corral_sync.work;

    if (!ev->posted) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


/* One slice: what changes the registry comes before what saves it. */

static void
ngx_http_corral_sync_work(ngx_event_t *ev)
{
    uint64_t                 until;
    ngx_int_t                rc;
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    until = ngx_http_corral_clock() + NGX_HTTP_CORRAL_SLICE;

    if (sync->loading) {
        rc = ngx_http_corral_load_next(until);

        if (rc == NGX_AGAIN) {
            ngx_http_corral_sync_post();
            return;
        }

        ngx_http_corral_sync_loaded(rc);

        if (!sync->started && rc == NGX_OK) {
            ngx_http_corral_sync_follow();

        } else if (!sync->started) {
            ngx_http_corral_sync_first(until);
        }

        return;
    }

    if (sync->saving) {
        rc = ngx_http_corral_save_next(until);

        if (rc == NGX_AGAIN) {
            ngx_http_corral_sync_post();
            return;
        }

        sync->saving = 0;
        ngx_http_corral_sync_saved(rc);
    }
}


/*
 * The registry was changed.  It is saved when it has been quiet for a moment;
 * the moments differ, so that mostly one worker does it for all.
 */

static void
ngx_http_corral_sync_changed(ngx_uint_t full)
{
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    if (!sync->save.timer_set && !ngx_exiting) {
        ngx_add_timer(&sync->save, NGX_HTTP_CORRAL_SYNC_SETTLE
                                   + (ngx_msec_t) (ngx_random() % 100));
    }
}


static void
ngx_http_corral_sync_save(ngx_event_t *ev)
{
    ngx_int_t                rc;
    ngx_str_t               *path;
    ngx_msec_t               passed, pause;
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    if (ngx_exiting || ngx_http_corral_registry_info()->epoch[0] == '\0') {
        return;
    }

    rc = ngx_http_corral_save_compare();

    if (rc > 0) {
        /* the worker that wrote the newer image writes the file, too */
        sync->file_due = 0;
        return;
    }

    if (rc == 0 && !sync->file_due) {
        return;
    }

    path = NULL;
    passed = 0;
    pause = ngx_http_corral_save_size() > NGX_HTTP_CORRAL_SYNC_SMALL
            ? NGX_HTTP_CORRAL_SYNC_FILE : 0;

    if (sync->info.configured && sync->conf->state_file.len) {
        passed = ngx_current_msec - sync->file_time;

        if (sync->file_time == 0 || passed >= pause) {
            path = &sync->conf->state_file;
            sync->file_time = ngx_current_msec;
            sync->file_due = 0;

        } else {
            sync->file_due = 1;
        }
    }

    if (rc == 0 && path == NULL) {
        ngx_add_timer(ev, pause - passed);
        return;
    }

    ngx_http_corral_save_start(rc < 0, path);
    sync->saving = 1;
    ngx_http_corral_sync_post();
}


static void
ngx_http_corral_sync_saved(ngx_int_t rc)
{
    ngx_http_corral_sync_t  *sync;

    sync = &ngx_http_corral_sync;

    if (rc == NGX_BUSY) {
        ngx_http_corral_sync_changed(1);
        return;
    }

    if (rc == NGX_DECLINED) {
        /* another worker was first: the file is its affair */
        sync->file_due = 0;
        return;
    }

    if (sync->file_due && !sync->save.timer_set) {
        ngx_add_timer(&sync->save, NGX_HTTP_CORRAL_SYNC_FILE);
    }
}
