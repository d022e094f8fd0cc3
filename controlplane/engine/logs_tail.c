/*
 * The newest lines of one or several instances.
 *
 * Files are read from their end, in blocks, and no further than is asked for:
 * the cost of a tail does not depend on how much was logged.  All reading is
 * done on threads of the pool.  A file may be rotated meanwhile: the files are
 * opened first, and one that is met twice is read once.
 */


#define _GNU_SOURCE

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/alloc.h"
#include "../base/conf.h"
#include "../base/loop.h"
#include "logs.h"
#include "logs_local.h"


#define CORRALD_LOGS_BLOCK  65536


typedef struct {
    char                 *instance;
    size_t                order;     /* in which it was read */
    corrald_logs_line_t   line;      /* text is its own */
} corrald_logs_row_t;


typedef struct {

    /* of the caller, copied */

    char                **ids;
    size_t                n;
    char                 *dir;
    char                 *search;
    corrald_logs_query_t  query;
    corrald_logs_pt       handler;
    void                 *data;

    /* of the thread */

    corrald_logs_row_t   *rows;
    size_t                nrows;
    size_t                bytes;
    int                   truncated;
    char                  cursor[64];
    json_t               *value;
    char                  err[256];
} corrald_logs_job_t;


/* Lines of one file, from its end to its beginning. */

typedef struct {
    int                   fd;
    off_t                 pos;       /* of buf in the file */
    size_t                len;       /* of buf, without what was given out */
    char                 *buf;
    size_t                size;
} corrald_logs_reader_t;


static void corrald_logs_work(void *data);
static void corrald_logs_done(void *data);
static void corrald_logs_free(corrald_logs_job_t *job);
static int corrald_logs_instance(corrald_logs_job_t *job, char *id);
static int corrald_logs_file(corrald_logs_job_t *job, char *id, int fd,
    size_t *left);
static int corrald_logs_back(corrald_logs_reader_t *r, char **line,
    size_t *len);
static int corrald_logs_keep(corrald_logs_job_t *job, char *id,
    const corrald_logs_line_t *line);
static int corrald_logs_compare(const void *one, const void *two);


void
corrald_logs_fetch(const char *const *instance_ids, size_t n,
    const corrald_logs_query_t *query, corrald_logs_pt handler, void *data)
{
    size_t               i;
    corrald_logs_job_t  *job;

    job = corrald_alloc(1, sizeof(*job), "to read logs");
    job->query = *query;
    job->handler = handler;
    job->data = data;
    job->dir = strdup(corrald_conf()->log_dir);
    job->ids = calloc(n + 1, sizeof(char *));
    job->search = query->search ? strdup(query->search) : NULL;
    job->query.search = job->search;

    if (job->query.tail == 0 || job->query.tail > CORRALD_LOGS_TAIL_MAX) {
        job->query.tail = CORRALD_LOGS_TAIL_MAX;
    }

    for (i = 0; job->ids != NULL && i < n; i++) {
        job->ids[job->n] = strdup(instance_ids[i]);
        job->n += (job->ids[job->n] != NULL);
    }

    if (corrald_loop_work(corrald_logs_work, corrald_logs_done, job) != 0) {

        (void) snprintf(job->err, sizeof(job->err), "no thread is free");

        /* later, as promised; without memory for that there is no way */

        if (corrald_loop_soon(corrald_logs_done, job) != 0) {
            corrald_alloc_failed("to read logs");
        }
    }
}


static void
corrald_logs_work(void *data)
{
    size_t               i;
    json_t              *lines;
    corrald_logs_job_t  *job;

    job = data;

    if (job->dir == NULL || job->ids == NULL) {
        (void) snprintf(job->err, sizeof(job->err), "no memory");
        return;
    }

    for (i = 0; i < job->n; i++) {
        if (corrald_logs_instance(job, job->ids[i]) != 0) {
            return;
        }
    }

    /* each instance was read backwards; all are merged by time */

    if (job->nrows > 1) {
        qsort(job->rows, job->nrows, sizeof(job->rows[0]),
              corrald_logs_compare);
    }

    lines = json_array();

    i = (job->nrows > job->query.tail) ? job->nrows - job->query.tail : 0;

    for ( /* void */ ; i < job->nrows; i++) {
        json_array_append_new(lines,
                              corrald_logs_json(job->rows[i].instance,
                                                &job->rows[i].line));
    }

    job->value = json_pack("{s:o, s:s?, s:b}", "lines", lines, "cursor",
                           job->n == 1 && job->cursor[0] ? job->cursor : NULL,
                           "truncated", job->truncated);

    if (job->value == NULL) {
        (void) snprintf(job->err, sizeof(job->err), "no memory");
    }
}


static void
corrald_logs_done(void *data)
{
    corrald_logs_job_t  *job;

    job = data;

    job->handler(job->value, job->value ? NULL : job->err, job->data);
    corrald_logs_free(job);
}


static void
corrald_logs_free(corrald_logs_job_t *job)
{
    size_t  i;

    for (i = 0; i < job->nrows; i++) {
        free((char *) job->rows[i].line.text);
    }

    for (i = 0; i < job->n; i++) {
        free(job->ids[i]);
    }

    json_decref(job->value);
    free(job->rows);
    free(job->ids);
    free(job->dir);
    free(job->search);
    free(job);
}


/* Returns 0, or -1 with job->err. */

static int
corrald_logs_instance(corrald_logs_job_t *job, char *id)
{
    int          fds[CORRALD_LOGS_FILES + 1], rc;
    char         path[4200];
    size_t       left;
    unsigned     n, i, j;
    struct stat  st, other;

    n = 0;

    for (i = 0; i <= CORRALD_LOGS_FILES; i++) {

        if (corrald_logs_path(job->dir, id, i, path, sizeof(path)) != 0) {
            (void) snprintf(job->err, sizeof(job->err), "\"%.64s\" is not the "
                            "id of an instance", id);
            return -1;
        }

        fds[n] = open(path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

        if (fds[n] == -1) {

            if (i == 0) {
                continue;
            }

            break;
        }

        if (fstat(fds[n], &st) == -1 || !S_ISREG(st.st_mode)) {
            (void) close(fds[n]);
            continue;
        }

        /* renamed between two open(): it is the same file */

        for (j = 0; j < n; j++) {
            if (fstat(fds[j], &other) == 0 && other.st_ino == st.st_ino
                && other.st_dev == st.st_dev)
            {
                break;
            }
        }

        if (j < n) {
            (void) close(fds[n]);
            continue;
        }

        n++;
    }

    rc = 0;
    left = job->query.tail;
    job->cursor[0] = '\0';

    for (i = 0; i < n; i++) {
        if (rc == 0 && left > 0) {
            rc = corrald_logs_file(job, id, fds[i], &left);
        }

        (void) close(fds[i]);
    }

    return (rc == -1) ? -1 : 0;
}


/* Returns 0, 1 when older files need not be read, or -1 with job->err. */

static int
corrald_logs_file(corrald_logs_job_t *job, char *id, int fd, size_t *left)
{
    int                     rc;
    char                   *text;
    size_t                  len;
    struct stat             st;
    corrald_logs_line_t     line;
    corrald_logs_reader_t   reader;

    if (fstat(fd, &st) == -1) {
        return 0;
    }

    memset(&reader, 0, sizeof(reader));
    reader.fd = fd;
    reader.pos = st.st_size;
    rc = 0;

    while (*left > 0) {

        rc = corrald_logs_back(&reader, &text, &len);

        if (rc != 1) {
            break;
        }

        /* the end of what is read is where following begins */

        if (job->cursor[0] == '\0') {
            (void) snprintf(job->cursor, sizeof(job->cursor), "%llu:%lld",
                            (unsigned long long) st.st_ino,
                            (long long) (reader.pos + (off_t) reader.len
                                         + (off_t) len + 1));
        }

        if (corrald_logs_parse(text, len, &line) != 0) {
            continue;
        }

        if (job->query.since != 0 && line.time < job->query.since) {
            rc = 1;
            goto done;
        }

        if (!corrald_logs_match(&line, &job->query)) {
            continue;
        }

        if (job->bytes + line.len > CORRALD_LOGS_BYTES) {
            job->truncated = 1;
            rc = 1;
            goto done;
        }

        if (corrald_logs_keep(job, id, &line) != 0) {
            (void) snprintf(job->err, sizeof(job->err), "no memory");
            rc = -1;
            goto done;
        }

        (*left)--;
    }

    if (rc == -1) {
        (void) snprintf(job->err, sizeof(job->err), "no memory");

    } else {
        rc = 0;
    }

    /* an empty file that was just begun */

    if (job->cursor[0] == '\0') {
        (void) snprintf(job->cursor, sizeof(job->cursor), "%llu:0",
                        (unsigned long long) st.st_ino);
    }

done:

    free(reader.buf);

    return rc;
}


/*
 * The line before the last one that was given out.  Returns 1 with a line
 * that is valid until the next call, 0 at the beginning, -1 without memory.
 * A last line that has no newline yet is left out.
 */

static int
corrald_logs_back(corrald_logs_reader_t *r, char **line, size_t *len)
{
    char    *buf, *nl;
    off_t    from;
    size_t   want;
    ssize_t  n;

    for ( ;; ) {

        /* buf ends with the newline of the line that is looked for */

        nl = r->len > 0 ? memrchr(r->buf, '\n', r->len - 1) : NULL;

        if (r->len > 0 && r->buf[r->len - 1] == '\n'
            && (nl != NULL || r->pos == 0))
        {
            *line = nl ? nl + 1 : r->buf;
            *len = (size_t) (r->buf + r->len - *line) - 1;
            r->len = (size_t) (*line - r->buf);
            return 1;
        }

        if (r->len > 0 && r->buf[r->len - 1] != '\n') {

            nl = memrchr(r->buf, '\n', r->len);
            r->len = nl ? (size_t) (nl - r->buf) + 1 : 0;

            if (nl != NULL) {
                continue;
            }
        }

        if (r->pos == 0) {
            return 0;
        }

        want = r->pos < CORRALD_LOGS_BLOCK ? (size_t) r->pos
                                           : CORRALD_LOGS_BLOCK;
        from = r->pos - (off_t) want;

        if (r->len + want > r->size) {
            buf = realloc(r->buf, r->len + want);

            if (buf == NULL) {
                return -1;
            }

            r->buf = buf;
            r->size = r->len + want;
        }

        memmove(r->buf + want, r->buf, r->len);

        n = pread(r->fd, r->buf, want, from);

        if (n != (ssize_t) want) {
            return 0;
        }

        r->pos = from;
        r->len += want;
    }
}


static int
corrald_logs_keep(corrald_logs_job_t *job, char *id,
    const corrald_logs_line_t *line)
{
    char                *text;
    corrald_logs_row_t  *rows;

    if ((job->nrows & (job->nrows - 1)) == 0) {

        rows = realloc(job->rows, (job->nrows ? job->nrows * 2 : 1)
                                  * sizeof(*rows));
        if (rows == NULL) {
            return -1;
        }

        job->rows = rows;
    }

    text = malloc(line->len + 1);

    if (text == NULL) {
        return -1;
    }

    memcpy(text, line->text, line->len);

    job->rows[job->nrows].instance = id;
    job->rows[job->nrows].line = *line;
    job->rows[job->nrows].line.text = text;
    job->rows[job->nrows].order = job->nrows;
    job->nrows++;
    job->bytes += line->len;

    return 0;
}


/* By time; within one instance the later one was read first. */

static int
corrald_logs_compare(const void *one, const void *two)
{
    const corrald_logs_row_t  *a = one, *b = two;

    if (a->line.time != b->line.time) {
        return (a->line.time > b->line.time) - (a->line.time < b->line.time);
    }

    return (a->order < b->order) - (a->order > b->order);
}
