
/*
 * The processes that share the zone: a column of counts for each, from the
 * start of the process to its end.  Whoever finds a dead one takes its column
 * out of the sums at once, and clears it in slices.
 *
 * The lock is taken to give a column out, to leave one and to clear a slice; a
 * process that dies meanwhile leaves its column out of the sums, to be cleared
 * again.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


#define NGX_HTTP_CORRAL_PROCESS_SLICE   256     /* slots cleared in one go */
#define NGX_HTTP_CORRAL_PROCESS_SLICES  4       /* of them in one event */


static ngx_uint_t ngx_http_corral_table_column_locked(void);
static void ngx_http_corral_table_leave_locked(ngx_uint_t i);
static ngx_uint_t ngx_http_corral_table_left(void);
static ngx_uint_t ngx_http_corral_table_clear(void);
static void ngx_http_corral_table_clear_locked(ngx_uint_t i);
static ngx_uint_t ngx_http_corral_table_dead(ngx_http_corral_process_t *p);


void
ngx_http_corral_table_process_enter(ngx_log_t *log)
{
    ngx_uint_t                  i;
    ngx_http_corral_shctx_t    *sh;
    ngx_http_corral_process_t  *p;

    sh = ngx_http_corral_sh;

    /* this process serves nobody yet: it may clear until one is free */

    do {
        ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

        i = ngx_http_corral_table_column_locked();

        if (i < NGX_HTTP_CORRAL_PROCESSES) {
            p = &sh->processes[i];
            p->start_time = ngx_http_corral_table_start_time(ngx_pid);
            p->exiting = 0;
            p->cleared = 0;
            p->pid = ngx_pid;
            ngx_memory_barrier();
            sh->live |= (uint64_t) 1 << i;
        }

        ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    } while (i == NGX_HTTP_CORRAL_PROCESSES && ngx_http_corral_table_clear());

    ngx_http_corral_column = i;

    if (i == NGX_HTTP_CORRAL_PROCESSES) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "corral table: %d processes share the zone already, "
                      "counts of this one are not seen by others",
                      NGX_HTTP_CORRAL_PROCESSES);
    }
}


void
ngx_http_corral_table_process_leave(void)
{
    if (ngx_http_corral_column < NGX_HTTP_CORRAL_PROCESSES) {
        ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);
        ngx_http_corral_table_leave_locked(ngx_http_corral_column);
        ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

        while (ngx_http_corral_table_clear()) { /* void */ }
    }

    ngx_http_corral_column = NGX_HTTP_CORRAL_PROCESSES;
}


void
ngx_http_corral_table_process_tick(void)
{
    ngx_uint_t                i;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    for (i = 0; i < NGX_HTTP_CORRAL_PROCESSES; i++) {

        if (i == ngx_http_corral_column
            || (sh->live & ((uint64_t) 1 << i)) == 0
            || !ngx_http_corral_table_dead(&sh->processes[i]))
        {
            continue;
        }

        ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

        /* another worker may have been faster, and a new one may be there */

        if ((sh->live & ((uint64_t) 1 << i))
            && ngx_http_corral_table_dead(&sh->processes[i]))
        {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "corral table: counts of process %P are cleared",
                          sh->processes[i].pid);
            ngx_http_corral_table_leave_locked(i);
        }

        ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);
    }

    for (i = 0; i < NGX_HTTP_CORRAL_PROCESS_SLICES; i++) {
        if (!ngx_http_corral_table_clear()) {
            break;
        }
    }
}


void
ngx_http_corral_table_exiting(void)
{
    if (ngx_http_corral_sh
        && ngx_http_corral_column < NGX_HTTP_CORRAL_PROCESSES)
    {
        ngx_http_corral_sh->processes[ngx_http_corral_column].exiting = 1;
    }
}


/*
 * A free column, or NGX_HTTP_CORRAL_PROCESSES.  When there is none, those of
 * dead processes are left, so that they can be cleared.
 */

static ngx_uint_t
ngx_http_corral_table_column_locked(void)
{
    ngx_uint_t                i;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    for (i = 0; i < NGX_HTTP_CORRAL_PROCESSES; i++) {
        if (sh->processes[i].pid == 0) {
            return i;
        }
    }

    for (i = 0; i < NGX_HTTP_CORRAL_PROCESSES; i++) {
        if ((sh->live & ((uint64_t) 1 << i))
            && ngx_http_corral_table_dead(&sh->processes[i]))
        {
            ngx_http_corral_table_leave_locked(i);
        }
    }

    return NGX_HTTP_CORRAL_PROCESSES;
}


/*
 * Takes the column of a process out of the sums.  It is cleared later, in
 * slices, by whoever comes: thousands of slots are megabytes of memory, too
 * much to be touched under the lock or in one event.
 */

static void
ngx_http_corral_table_leave_locked(ngx_uint_t i)
{
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    sh->processes[i].cleared = 0;
    ngx_memory_barrier();
    sh->live &= ~((uint64_t) 1 << i);
}


/* a column that was left and is not cleared, or NGX_HTTP_CORRAL_PROCESSES */

static ngx_uint_t
ngx_http_corral_table_left(void)
{
    ngx_uint_t                i;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    for (i = 0; i < NGX_HTTP_CORRAL_PROCESSES; i++) {
        if ((sh->live & ((uint64_t) 1 << i)) == 0 && sh->processes[i].pid) {
            break;
        }
    }

    return i;
}


/* clears a slice of what was left; 0 when nothing is */

static ngx_uint_t
ngx_http_corral_table_clear(void)
{
    ngx_uint_t  i;

    if (ngx_http_corral_table_left() == NGX_HTTP_CORRAL_PROCESSES) {
        return 0;
    }

    ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

    i = ngx_http_corral_table_left();

    if (i < NGX_HTTP_CORRAL_PROCESSES) {
        ngx_http_corral_table_clear_locked(i);
    }

    ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    return 1;
}


static void
ngx_http_corral_table_clear_locked(ngx_uint_t i)
{
    ngx_uint_t                  n, end;
    ngx_http_corral_shctx_t    *sh;
    ngx_http_corral_process_t  *p;

    sh = ngx_http_corral_sh;
    p = &sh->processes[i];

    end = ngx_min(p->cleared + NGX_HTTP_CORRAL_PROCESS_SLICE, sh->used);

    for (n = p->cleared; n < end; n++) {
        sh->slots[n].counts[i].active = 0;
        sh->slots[n].counts[i].reserved = 0;
        sh->slots[n].counts[i].retries = 0;
    }

    ngx_memory_barrier();
    p->cleared = n;

    if (n >= sh->used) {
        p->pid = 0;
    }
}


/*
 * A process is dead when its pid is free, or belongs to a process that started
 * at another time.
 */

static ngx_uint_t
ngx_http_corral_table_dead(ngx_http_corral_process_t *p)
{
    uint64_t  start;

    if (p->pid == ngx_pid) {
        return 0;
    }

    if (kill(p->pid, 0) == -1 && ngx_errno == NGX_ESRCH) {
        return 1;
    }

    start = ngx_http_corral_table_start_time(p->pid);

    return start != 0 && start != p->start_time;
}


uint64_t
ngx_http_corral_table_start_time(ngx_pid_t pid)
{
    int         n;
    char       *p, *last;
    u_char      name[sizeof("/proc//stat") + NGX_INT64_LEN];
    ngx_fd_t    fd;
    ssize_t     size;
    char        buf[1024];

    ngx_sprintf(name, "/proc/%P/stat%Z", pid);

    fd = ngx_open_file(name, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        return 0;
    }

    size = read(fd, buf, sizeof(buf) - 1);
    (void) ngx_close_file(fd);

    if (size <= 0) {
        return 0;
    }

    buf[size] = '\0';

    /* the second field is a name in parentheses and may hold anything */

    p = strrchr(buf, ')');

    for (n = 2; p && n < 22; n++) {
        p = strchr(p + 1, ' ');
    }

    if (p == NULL) {
        return 0;
    }

    return strtoull(p + 1, &last, 10);
}


ngx_uint_t
ngx_http_corral_table_process(ngx_uint_t i,
    ngx_http_corral_process_view_t *view)
{
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh == NULL || i >= NGX_HTTP_CORRAL_PROCESSES
        || (sh->live & ((uint64_t) 1 << i)) == 0)
    {
        return 0;
    }

    view->pid = sh->processes[i].pid;
    view->start_time = sh->processes[i].start_time;
    view->exiting = sh->processes[i].exiting;

    return 1;
}
