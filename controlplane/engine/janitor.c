/*
 * What has outlived its use: logs of instances that are gone, and files that
 * nobody will ask for.
 *
 * Logs of a removed instance are kept for log_keep, and of each service only
 * the newest log_keep_instances of them.  The work is done on a thread of the
 * pool; what is needed of the configuration and of the registry is copied
 * before.
 */


#define _GNU_SOURCE

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "../base/map.h"
#include "local.h"


#define CORRALD_JANITOR_EVERY  60000     /* ms */


/* The newest file of an instance that is gone stands for all of them. */

typedef struct {
    char      id[CORRAL_ID_MAX + 1];
    int64_t   modified;                  /* s since 1970 */
    int       stale;
} corrald_janitor_log_t;


typedef struct {
    char                    dir[2304];
    int64_t                 keep;        /* s */
    size_t                  keep_n;      /* of each service */
    corrald_map_t           known;       /* instance ids that live */
    corrald_janitor_log_t  *logs;
    size_t                  n;
    size_t                  removed;
} corrald_janitor_job_t;


static void corrald_janitor_known(const corrald_entry_t *entry, void *data);
static void corrald_janitor_work(void *data);
static void corrald_janitor_done(void *data);
static void corrald_janitor_collect(corrald_janitor_job_t *job, DIR *dir);
static void corrald_janitor_choose(corrald_janitor_job_t *job);
static void corrald_janitor_sweep(corrald_janitor_job_t *job, DIR *dir);
static int corrald_janitor_id(const char *name, char *id, size_t size);
static corrald_janitor_log_t *corrald_janitor_find(
    corrald_janitor_job_t *job, const char *id);
static int corrald_janitor_compare(const void *one, const void *two);
static size_t corrald_janitor_service(const char *id);


static int64_t  corrald_janitor_at;
static int      corrald_janitor_busy;

static const char  corrald_janitor_lives[] = "1";


/* To be called again and again. */

void
corrald_janitor_tick(void)
{
    int64_t                 now;
    corrald_janitor_job_t  *job;
    const corrald_conf_t   *conf;

    now = corrald_clock_monotonic();
    conf = corrald_conf();

    if (corrald_janitor_busy || now < corrald_janitor_at) {
        return;
    }

    corrald_janitor_at = now + CORRALD_JANITOR_EVERY;

    job = calloc(1, sizeof(*job));

    if (job == NULL) {
        return;
    }

    (void) snprintf(job->dir, sizeof(job->dir), "%s", conf->log_dir);
    job->keep = conf->log_keep / 1000;
    job->keep_n = (size_t) conf->log_keep_instances;
    corrald_map_init(&job->known);
    corrald_store_each(CORRALD_INSTANCE, corrald_janitor_known, job);

    if (corrald_loop_work(corrald_janitor_work, corrald_janitor_done, job)
        != 0)
    {
        corrald_map_free(&job->known, NULL);
        free(job);
        return;
    }

    corrald_janitor_busy = 1;
}


static void
corrald_janitor_known(const corrald_entry_t *entry, void *data)
{
    corrald_janitor_job_t  *job;

    job = data;
    (void) !corrald_map_set(&job->known, entry->id,
                            (void *) corrald_janitor_lives);
}


static void
corrald_janitor_work(void *data)
{
    DIR                    *dir;
    corrald_janitor_job_t  *job;

    job = data;
    dir = opendir(job->dir);

    if (dir == NULL) {
        return;
    }

    corrald_janitor_collect(job, dir);
    corrald_janitor_choose(job);
    rewinddir(dir);
    corrald_janitor_sweep(job, dir);
    (void) closedir(dir);
}


static void
corrald_janitor_done(void *data)
{
    corrald_janitor_job_t  *job;

    job = data;
    corrald_janitor_busy = 0;

    if (job->removed > 0) {
        corrald_log_info("%zu log files of removed instances were deleted",
                         job->removed);
    }

    corrald_map_free(&job->known, NULL);
    free(job->logs);
    free(job);
}


static void
corrald_janitor_collect(corrald_janitor_job_t *job, DIR *dir)
{
    char                    id[CORRAL_ID_MAX + 1];
    void                   *logs;
    struct stat             st;
    struct dirent          *entry;
    corrald_janitor_log_t  *log;

    for ( ;; ) {
        entry = readdir(dir);

        if (entry == NULL) {
            return;
        }

        if (corrald_janitor_id(entry->d_name, id, sizeof(id)) != 0
            || corrald_map_get(&job->known, id) != NULL
            || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW)
               == -1
            || !S_ISREG(st.st_mode))
        {
            continue;
        }

        log = corrald_janitor_find(job, id);

        if (log == NULL) {
            logs = realloc(job->logs, (job->n + 1) * sizeof(*log));

            if (logs == NULL) {
                return;
            }

            job->logs = logs;
            log = &job->logs[job->n++];
            memset(log, 0, sizeof(*log));
            memcpy(log->id, id, sizeof(id));
        }

        if (st.st_mtime > log->modified) {
            log->modified = st.st_mtime;
        }
    }
}


static void
corrald_janitor_choose(corrald_janitor_job_t *job)
{
    size_t   i, len, before, rank;
    int64_t  now;

    now = (int64_t) time(NULL);
    rank = 0;
    before = 0;

    if (job->n == 0) {
        return;
    }

    /* by service, the newest first */

    qsort(job->logs, job->n, sizeof(job->logs[0]), corrald_janitor_compare);

    for (i = 0; i < job->n; i++) {
        len = corrald_janitor_service(job->logs[i].id);

        if (i == 0 || len != before
            || strncmp(job->logs[i].id, job->logs[i - 1].id, len) != 0)
        {
            rank = 0;
        }

        before = len;
        job->logs[i].stale = rank++ >= job->keep_n
                             || now - job->logs[i].modified > job->keep;
    }
}


static void
corrald_janitor_sweep(corrald_janitor_job_t *job, DIR *dir)
{
    char                    id[CORRAL_ID_MAX + 1];
    struct dirent          *entry;
    corrald_janitor_log_t  *log;

    for ( ;; ) {
        entry = readdir(dir);

        if (entry == NULL) {
            return;
        }

        if (corrald_janitor_id(entry->d_name, id, sizeof(id)) != 0) {
            continue;
        }

        log = corrald_janitor_find(job, id);

        if (log != NULL && log->stale
            && unlinkat(dirfd(dir), entry->d_name, 0) == 0)
        {
            job->removed++;
        }
    }
}


/* "echo.x7k2p.log.3" to "echo.x7k2p"; -1 when it is not a log of ours. */

static int
corrald_janitor_id(const char *name, char *id, size_t size)
{
    size_t       len;
    const char  *p, *end;

    end = NULL;

    for (p = strstr(name, ".log"); p != NULL; p = strstr(p + 1, ".log")) {
        if (p[4] == '\0'
            || (p[4] == '.' && p[5] != '\0'
                && strspn(p + 5, "0123456789") == strlen(p + 5)))
        {
            end = p;
        }
    }

    if (end == NULL || end == name) {
        return -1;
    }

    len = (size_t) (end - name);

    if (len >= size) {
        return -1;
    }

    memset(id, 0, size);
    memcpy(id, name, len);

    return 0;
}


static corrald_janitor_log_t *
corrald_janitor_find(corrald_janitor_job_t *job, const char *id)
{
    size_t  i;

    for (i = 0; i < job->n; i++) {
        if (strcmp(job->logs[i].id, id) == 0) {
            return &job->logs[i];
        }
    }

    return NULL;
}


static int
corrald_janitor_compare(const void *one, const void *two)
{
    int                           rc;
    size_t                        la, lb;
    const corrald_janitor_log_t  *a, *b;

    a = one;
    b = two;
    la = corrald_janitor_service(a->id);
    lb = corrald_janitor_service(b->id);

    rc = strncmp(a->id, b->id, la < lb ? la : lb);

    if (rc != 0) {
        return rc;
    }

    if (la != lb) {
        return (la > lb) - (la < lb);
    }

    return (b->modified > a->modified) - (b->modified < a->modified);
}


/* Bytes of the service's name: an id is name, dot, random part. */

static size_t
corrald_janitor_service(const char *id)
{
    const char  *dot;

    dot = strrchr(id, '.');

    return dot ? (size_t) (dot - id) : strlen(id);
}
