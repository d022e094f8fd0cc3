/*
 * Writes what the agent says, line by line, into a file of bounded size.
 *
 *     2026-11-20T16:54:20.123Z O text      a line of standard output
 *     2026-11-20T16:54:20.123Z E text      a line of standard error
 *     2026-11-20T16:54:20.123Z O+ text     it goes on in the next O record
 *     2026-11-20T16:54:20.123Z S text      said by the shim itself
 *
 * A file that would pass its limit is renamed to .1, .1 to .2 and so on; no
 * record is torn.  When the disk is full, records are dropped and counted, and
 * a mark with the counts is written as soon as that is possible: the agent
 * must never wait for its log.
 *
 * Does not read pipes and owns no timer: the caller says what the time is.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"


/* ms between tries while nothing can be written */

#define CORRAL_SHIM_LOG_RETRY  250

/* "2026-11-20T16:54:20.123Z O+ " */

#define CORRAL_SHIM_LOG_PREFIX  28


static void corral_shim_log_emit(corral_shim_log_t *log, char tag, int more,
    const char *text, size_t len);
static void corral_shim_log_write(corral_shim_log_t *log);
static void corral_shim_log_fail(corral_shim_log_t *log, int error,
    const char *data, size_t len);
static int corral_shim_log_rotate(corral_shim_log_t *log);
static void corral_shim_log_stamp(corral_shim_log_t *log);


/*
 * Opens the file; path, max and files are set by the caller.  Returns 0, or -1
 * with errno.  A full disk is no error: records are dropped until there is
 * space.
 */

int
corral_shim_log_open(corral_shim_log_t *log)
{
    struct stat  st;

    log->fd = open(log->path,
                   O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0640);

    if (log->fd == -1) {

        if (errno != ENOSPC && errno != EDQUOT) {
            return -1;
        }

        log->error = errno;
        return 0;
    }

    if (fstat(log->fd, &st) == -1) {
        return -1;
    }

    log->size = (uint64_t) st.st_size;

    return 0;
}


/*
 * Takes bytes of one stream.  Whole lines become records; the rest waits for
 * its newline in s, at most until corral_shim_log_partial().
 */

void
corral_shim_log_feed(corral_shim_log_t *log, corral_shim_log_stream_t *s,
    const char *data, size_t len, int64_t now)
{
    size_t       n, max;
    const char  *nl;

    corral_shim_log_stamp(log);

    max = CORRAL_SHIM_LOG_LINE - CORRAL_SHIM_LOG_PREFIX - 1;

    while (len > 0) {
        nl = memchr(data, '\n', len);
        n = (nl == NULL) ? len : (size_t) (nl - data);

        if (s->len + n > max) {
            n = max - s->len;
            nl = NULL;

            memcpy(s->buf + s->len, data, n);
            corral_shim_log_emit(log, s->tag, 1, s->buf, max);
            s->len = 0;

        } else if (nl != NULL && s->len == 0) {
            corral_shim_log_emit(log, s->tag, 0, data, n);

        } else {

            if (s->len == 0) {
                s->since = now;
            }

            memcpy(s->buf + s->len, data, n);
            s->len += n;

            if (nl != NULL) {
                corral_shim_log_emit(log, s->tag, 0, s->buf, s->len);
                s->len = 0;
            }
        }

        if (nl != NULL) {
            n++;
        }

        data += n;
        len -= n;
    }
}


/*
 * Writes a line that has no newline yet, marked as not ended: a prompt or a
 * progress bar is to be seen.
 */

void
corral_shim_log_partial(corral_shim_log_t *log, corral_shim_log_stream_t *s)
{
    if (s->len > 0) {
        corral_shim_log_stamp(log);
        corral_shim_log_emit(log, s->tag, 1, s->buf, s->len);
        s->len = 0;
    }
}


/* Adds a line of the shim's own. */

void
corral_shim_log_mark(corral_shim_log_t *log, const char *text)
{
    corral_shim_log_stamp(log);
    corral_shim_log_emit(log, 'S', 0, text, strlen(text));
}


/*
 * Writes what is buffered; while dropping, tries at most every 250 ms (now:
 * monotonic ms) whether there is space again.
 */

void
corral_shim_log_flush(corral_shim_log_t *log, int64_t now)
{
    int   len;
    char  text[160];

    if (log->error != 0) {

        if (now < log->retry_at) {
            return;
        }

        log->retry_at = now + CORRAL_SHIM_LOG_RETRY;

        if (log->fd == -1 && corral_shim_log_open(log) != 0) {
            return;
        }

        if (log->fd == -1) {
            return;
        }

        corral_shim_log_stamp(log);

        len = snprintf(text, sizeof(text),
                       "%sS gap: %llu lines, %llu bytes dropped: %s\n",
                       log->stamp, (unsigned long long) log->gap_lines,
                       (unsigned long long) log->gap_bytes,
                       strerror(log->error));

        if (log->size + (uint64_t) len > log->max
            && corral_shim_log_rotate(log) != 0)
        {
            return;
        }

        if (write(log->fd, text, (size_t) len) != len) {
            (void) !ftruncate(log->fd, (off_t) log->size);
            return;
        }

        log->size += (uint64_t) len;
        log->error = 0;
        log->gap_lines = 0;
        log->gap_bytes = 0;
    }

    corral_shim_log_write(log);
}


/* Opens the file anew, after something else renamed it. */

void
corral_shim_log_reopen(corral_shim_log_t *log)
{
    corral_shim_log_write(log);

    if (log->fd != -1) {
        (void) close(log->fd);
        log->fd = -1;
    }

    if (corral_shim_log_open(log) != 0) {
        log->error = errno;
    }
}


static void
corral_shim_log_emit(corral_shim_log_t *log, char tag, int more,
    const char *text, size_t len)
{
    char    *p;
    size_t   total, stamp;

    stamp = strlen(log->stamp);
    total = stamp + 1 + (size_t) more + 1 + len + 1;

    if (log->out_len + total > sizeof(log->out)) {
        corral_shim_log_write(log);
    }

    if (log->error == 0
        && log->size + log->out_len + total > log->max
        && log->size + log->out_len > 0)
    {
        corral_shim_log_write(log);

        if (log->error == 0 && corral_shim_log_rotate(log) != 0) {
            corral_shim_log_fail(log, errno, NULL, 0);
        }
    }

    if (log->error != 0) {
        log->gap_lines++;
        log->gap_bytes += total;
        log->dropped++;
        return;
    }

    p = log->out + log->out_len;

    memcpy(p, log->stamp, stamp);
    p += stamp;
    *p++ = tag;

    if (more) {
        *p++ = '+';
    }

    *p++ = ' ';
    memcpy(p, text, len);
    p[len] = '\n';

    log->out_len += total;
    log->out_lines++;
}


static void
corral_shim_log_write(corral_shim_log_t *log)
{
    char     *p;
    size_t    left;
    ssize_t   n;

    p = log->out;
    left = log->out_len;

    while (left > 0 && log->error == 0) {

        n = write(log->fd, p, left);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            corral_shim_log_fail(log, n == 0 ? ENOSPC : errno, p, left);
            break;
        }

        if ((size_t) n < left) {

            /*
             * Most likely the disk is full and the next write says so.  If it
             * does, the file must not end with half a record.
             */

            for (left = (size_t) n; left > 0; left--) {
                if (p[left - 1] == '\n') {
                    break;
                }
            }

            if (left < (size_t) n) {
                (void) !ftruncate(log->fd, (off_t) (log->size + left));
            }

            n = (ssize_t) left;
            left = log->out_len - (size_t) (p - log->out);

            if (n == 0) {
                corral_shim_log_fail(log, ENOSPC, p, left);
                break;
            }
        }

        log->size += (uint64_t) n;
        p += n;
        left -= (size_t) n;
    }

    log->lines += log->out_lines;
    log->out_len = 0;
    log->out_lines = 0;
}


/* Begins to drop; data is the part of out that was not written. */

static void
corral_shim_log_fail(corral_shim_log_t *log, int error, const char *data,
    size_t len)
{
    size_t    i;
    unsigned  lines;

    log->error = (error != 0) ? error : EIO;
    log->retry_at = 0;

    lines = 0;

    for (i = 0; i < len; i++) {
        if (data[i] == '\n') {
            lines++;
        }
    }

    log->gap_lines += lines;
    log->gap_bytes += len;
    log->dropped += lines;
    log->out_lines -= lines;
}


/* Returns 0 with an empty file open, or -1 with errno. */

static int
corral_shim_log_rotate(corral_shim_log_t *log)
{
    int       fd;
    char      from[4200], to[4200];
    unsigned  i;

    for (i = log->files; i > 0; i--) {

        (void) snprintf(to, sizeof(to), "%s.%u", log->path, i);

        if (i > 1) {
            (void) snprintf(from, sizeof(from), "%s.%u", log->path, i - 1);

        } else {
            (void) snprintf(from, sizeof(from), "%s", log->path);
        }

        if (rename(from, to) == -1 && errno != ENOENT) {
            return -1;
        }
    }

    if (log->files == 0 && ftruncate(log->fd, 0) == -1) {
        return -1;
    }

    fd = open(log->path, O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0640);

    if (log->fd != -1) {
        (void) close(log->fd);
    }

    log->fd = fd;
    log->size = 0;

    if (fd == -1) {
        return -1;
    }

    log->rotations++;

    return 0;
}


/* "2026-11-20T16:54:20.123Z ", built anew only when the second changed. */

static void
corral_shim_log_stamp(corral_shim_log_t *log)
{
    size_t           n;
    struct tm        tm;
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    if (ts.tv_sec != log->stamp_sec || log->stamp[0] == '\0') {
        (void) gmtime_r(&ts.tv_sec, &tm);
        (void) strftime(log->stamp, sizeof(log->stamp), "%Y-%m-%dT%H:%M:%S",
                        &tm);
        log->stamp_sec = ts.tv_sec;
    }

    n = sizeof("2026-11-20T16:54:20") - 1;

    (void) snprintf(log->stamp + n, sizeof(log->stamp) - n, ".%03uZ ",
                    (unsigned) (ts.tv_nsec / 1000000));
}
