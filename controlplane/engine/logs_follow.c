/*
 * Following the output of one instance, across rotations and restarts.
 *
 * inotify says that there is more; a slow timer looks, too, because a watch is
 * on a file and a file may be renamed between two events.  Reading is done on
 * the loop in small pieces: what was just written is in the page cache.
 *
 * Where it stands is an inode and an offset.  At the end of a file that is no
 * longer the newest, the next newer one follows; when the file itself has gone
 * (more was logged meanwhile than is kept), the oldest that is left does.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include <corral_schema.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/loop.h"
#include "logs.h"
#include "logs_local.h"


#define CORRALD_LOGS_POLL    500       /* ms */
#define CORRALD_LOGS_GONE    3000      /* ms without any file */
#define CORRALD_LOGS_PIECE   65536
#define CORRALD_LOGS_PIECES  4         /* in one turn of the loop */


struct corrald_logs_follow_s {
    uv_fs_event_t           event;
    corrald_timer_t        *timer;       /* the slow one */
    corrald_timer_t        *soon;        /* there is more to read */
    char                    id[CORRAL_ID_MAX + 1];
    char                   *search;
    corrald_logs_query_t    query;
    int                     fd;          /* -1: none is open */
    ino_t                   ino;
    off_t                   offset;
    int64_t                 missing;     /* monotonic, since when; 0: it is */
    unsigned                watching:1;
    unsigned                paused:1;
    unsigned                closed:1;
    unsigned                busy:1;      /* within a call of the reader */
    corrald_logs_line_pt    line;
    corrald_logs_gone_pt    gone;
    void                   *data;
    size_t                  len;
    char                    buf[CORRALD_LOGS_PIECE];
};


static int corrald_logs_follow_begin(corrald_logs_follow_t *f,
    const char *cursor, char *err, size_t size);
static int corrald_logs_follow_open(corrald_logs_follow_t *f, unsigned n);
static int corrald_logs_follow_find(corrald_logs_follow_t *f, ino_t ino,
    unsigned *n);
static void corrald_logs_follow_watch(corrald_logs_follow_t *f);
static void corrald_logs_follow_event(uv_fs_event_t *event, const char *name,
    int events, int status);
static void corrald_logs_follow_look(void *data);
static void corrald_logs_follow_soon(void *data);
static void corrald_logs_follow_read(corrald_logs_follow_t *f);
static int corrald_logs_follow_lines(corrald_logs_follow_t *f);
static int corrald_logs_follow_next(corrald_logs_follow_t *f);
static void corrald_logs_follow_free(corrald_logs_follow_t *f);
static void corrald_logs_follow_closed(uv_handle_t *handle);


corrald_logs_follow_t *
corrald_logs_follow(const char *instance_id, const corrald_logs_query_t *query,
    const char *cursor, corrald_logs_line_pt line, corrald_logs_gone_pt gone,
    void *data, char *err, size_t size)
{
    corrald_logs_follow_t  *f;

    f = calloc(1, sizeof(*f));

    if (f == NULL) {
        (void) snprintf(err, size, "no memory");
        return NULL;
    }

    (void) snprintf(f->id, sizeof(f->id), "%s", instance_id);
    f->query = *query;
    f->query.since = 0;
    f->query.until = 0;
    f->search = query->search ? strdup(query->search) : NULL;
    f->query.search = f->search;
    f->fd = -1;
    f->line = line;
    f->gone = gone;
    f->data = data;

    if (corrald_logs_follow_begin(f, cursor, err, size) != 0) {
        corrald_logs_follow_free(f);
        return NULL;
    }

    uv_fs_event_init(corrald_loop_uv(), &f->event);
    f->event.data = f;

    f->timer = corrald_loop_timer(CORRALD_LOGS_POLL, CORRALD_LOGS_POLL,
                                  corrald_logs_follow_look, f);
    f->soon = corrald_loop_timer(0, 0, corrald_logs_follow_soon, f);

    corrald_logs_follow_watch(f);

    return f;
}


/* Goes on after line() asked for a pause. */

void
corrald_logs_resume(corrald_logs_follow_t *follow)
{
    if (follow->paused && !follow->closed) {
        follow->paused = 0;

        if (follow->soon == NULL) {
            follow->soon = corrald_loop_timer(0, 0, corrald_logs_follow_soon,
                                              follow);
        }
    }
}


/* NULL is allowed. */

void
corrald_logs_unfollow(corrald_logs_follow_t **follow)
{
    corrald_logs_follow_t  *f;

    f = *follow;
    *follow = NULL;

    if (f == NULL || f->closed) {
        return;
    }

    f->closed = 1;
    corrald_loop_timer_stop(&f->timer);
    corrald_loop_timer_stop(&f->soon);
    uv_close((uv_handle_t *) &f->event, corrald_logs_follow_closed);
}


/* Where to begin: at the cursor, or at the end of the newest file. */

static int
corrald_logs_follow_begin(corrald_logs_follow_t *f, const char *cursor,
    char *err, size_t size)
{
    char                  path[4200], tail;
    unsigned              n;
    long long             offset;
    unsigned long long    ino;

    if (corrald_logs_path(corrald_conf()->log_dir, f->id, 0, path,
                          sizeof(path))
        != 0)
    {
        (void) snprintf(err, size, "\"%.64s\" is not the id of an instance",
                        f->id);
        return -1;
    }

    if (cursor != NULL) {

        if (sscanf(cursor, "%20llu:%18lld%c", &ino, &offset, &tail) != 2
            || offset < 0)
        {
            (void) snprintf(err, size, "cursor \"%.64s\" is not one of a "
                            "log", cursor);
            return -1;
        }

        if (corrald_logs_follow_find(f, (ino_t) ino, &n) == 0
            && corrald_logs_follow_open(f, n) == 0)
        {
            f->offset = (off_t) offset;
            return 0;
        }

        /* rotated out of existence: what is left follows it */

        f->ino = (ino_t) ino;

        return 0;
    }

    if (corrald_logs_follow_open(f, 0) == 0) {
        f->offset = lseek(f->fd, 0, SEEK_END);
    }

    return 0;
}


static int
corrald_logs_follow_open(corrald_logs_follow_t *f, unsigned n)
{
    int          fd;
    char         path[4200];
    struct stat  st;

    if (corrald_logs_path(corrald_conf()->log_dir, f->id, n, path,
                          sizeof(path))
        != 0)
    {
        return -1;
    }

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (fd == -1) {
        return -1;
    }

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        (void) close(fd);
        return -1;
    }

    if (f->fd != -1) {
        (void) close(f->fd);
    }

    f->fd = fd;
    f->ino = st.st_ino;
    f->offset = 0;
    f->len = 0;

    return 0;
}


/* The number of the file with this inode.  Returns 0 or -1. */

static int
corrald_logs_follow_find(corrald_logs_follow_t *f, ino_t ino, unsigned *n)
{
    char         path[4200];
    unsigned     i;
    struct stat  st;

    for (i = 0; i <= CORRALD_LOGS_FILES; i++) {

        if (corrald_logs_path(corrald_conf()->log_dir, f->id, i, path,
                              sizeof(path))
            != 0)
        {
            return -1;
        }

        if (lstat(path, &st) == -1) {

            if (i == 0) {
                continue;
            }

            return -1;
        }

        if (st.st_ino == ino) {
            *n = i;
            return 0;
        }
    }

    return -1;
}


static void
corrald_logs_follow_watch(corrald_logs_follow_t *f)
{
    char  path[4200];

    if (f->watching) {
        (void) uv_fs_event_stop(&f->event);
        f->watching = 0;
    }

    if (corrald_logs_path(corrald_conf()->log_dir, f->id, 0, path,
                          sizeof(path))
        == 0
        && uv_fs_event_start(&f->event, corrald_logs_follow_event, path, 0)
           == 0)
    {
        f->watching = 1;
    }
}


static void
corrald_logs_follow_event(uv_fs_event_t *event, const char *name, int events,
    int status)
{
    corrald_logs_follow_t  *f;

    f = event->data;

    if (f->closed) {
        return;
    }

    /* the watch went with the file that it was on */

    if (events & UV_RENAME) {
        corrald_logs_follow_watch(f);
    }

    corrald_logs_follow_read(f);
}


static void
corrald_logs_follow_look(void *data)
{
    corrald_logs_follow_t  *f;

    f = data;

    if (!f->watching) {
        corrald_logs_follow_watch(f);
    }

    corrald_logs_follow_read(f);
}


static void
corrald_logs_follow_soon(void *data)
{
    corrald_logs_follow_t  *f;

    f = data;
    f->soon = NULL;

    corrald_logs_follow_read(f);
}


static void
corrald_logs_follow_read(corrald_logs_follow_t *f)
{
    int      pieces;
    ssize_t  n;

    if (f->paused || f->closed || f->busy) {
        return;
    }

    f->busy = 1;
    pieces = 0;

    while (!f->paused && !f->closed && pieces < CORRALD_LOGS_PIECES) {

        n = (f->fd == -1) ? 0
                          : pread(f->fd, f->buf + f->len,
                                  sizeof(f->buf) - f->len, f->offset);

        if (n <= 0) {

            if (corrald_logs_follow_next(f) != 0) {
                break;
            }

            continue;
        }

        f->missing = 0;
        f->offset += n;
        f->len += (size_t) n;
        pieces++;

        if (corrald_logs_follow_lines(f) != 0) {
            break;
        }
    }

    f->busy = 0;

    if (f->closed) {
        return;
    }

    if (pieces == CORRALD_LOGS_PIECES && !f->paused && f->soon == NULL) {
        f->soon = corrald_loop_timer(0, 0, corrald_logs_follow_soon, f);
    }
}


/* Gives out the whole lines of the buffer.  Returns -1 when it is over. */

static int
corrald_logs_follow_lines(corrald_logs_follow_t *f)
{
    char                 *p, *nl;
    size_t                n;
    corrald_logs_line_t   line;

    p = f->buf;
    n = f->len;

    while (n > 0) {
        nl = memchr(p, '\n', n);

        if (nl == NULL) {
            break;
        }

        if (corrald_logs_parse(p, (size_t) (nl - p), &line) == 0
            && corrald_logs_match(&line, &f->query)
            && f->line(&line, f->data) != 0)
        {
            f->paused = 1;
        }

        if (f->closed) {
            return -1;
        }

        n -= (size_t) (nl + 1 - p);
        p = nl + 1;

        if (f->paused) {
            break;
        }
    }

    /* what was not given out is read again after the pause */

    if (f->paused) {
        f->offset -= (off_t) n;
        n = 0;
    }

    /* no line is so long: it is not one of ours */

    if (n == sizeof(f->buf)) {
        n = 0;
    }

    memmove(f->buf, p, n);
    f->len = n;

    return 0;
}


/*
 * The file is read to its end.  Returns 0 when another one has been opened, or
 * -1 when there is nothing to do but wait.
 */

static int
corrald_logs_follow_next(corrald_logs_follow_t *f)
{
    char         path[4200];
    int64_t      now;
    unsigned     n;
    struct stat  st;

    if (corrald_logs_path(corrald_conf()->log_dir, f->id, 0, path,
                          sizeof(path))
        != 0)
    {
        return -1;
    }

    if (lstat(path, &st) == -1) {

        /* for a moment while it is rotated, or for good */

        now = corrald_clock_monotonic();

        if (f->missing == 0) {
            f->missing = now;

        } else if (f->fd != -1 && now - f->missing > CORRALD_LOGS_GONE) {
            f->paused = 1;
            f->gone(f->data);
        }

        return -1;
    }

    f->missing = 0;

    if (f->fd == -1 && f->ino == 0) {
        return corrald_logs_follow_open(f, 0);
    }

    if (st.st_ino == f->ino) {

        /* cut off by somebody: begin with what is there */

        if (f->fd != -1 && st.st_size < f->offset) {
            f->offset = 0;
            f->len = 0;
        }

        return -1;
    }

    /*
     * Rotated.  The last bytes of the old file may have come between our read
     * and its renaming: only a file that is not the newest cannot grow.
     */

    if (f->fd != -1 && fstat(f->fd, &st) == 0 && st.st_size > f->offset) {
        return 0;
    }

    if (corrald_logs_follow_find(f, f->ino, &n) == 0 && n > 0) {
        return corrald_logs_follow_open(f, n - 1);
    }

    /* gone: the oldest that is left */

    for (n = CORRALD_LOGS_FILES; n > 0; n--) {
        if (corrald_logs_follow_open(f, n) == 0) {
            return 0;
        }
    }

    return corrald_logs_follow_open(f, 0);
}


static void
corrald_logs_follow_free(corrald_logs_follow_t *f)
{
    if (f->fd != -1) {
        (void) close(f->fd);
    }

    free(f->search);
    free(f);
}


static void
corrald_logs_follow_closed(uv_handle_t *handle)
{
    corrald_logs_follow_free(handle->data);
}
