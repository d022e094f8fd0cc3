/*
 * The output of agents: names of files, the form of a line, levels, and the
 * newest lines of one or several instances.
 *
 * Files are read from their end, in blocks, and no further than is asked for:
 * the cost of a tail does not depend on how much was logged.  All reading is
 * done on threads of the pool.  A file may be rotated meanwhile: the files are
 * opened first, and one that is met twice is read once.
 */


#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <corral_schema.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/loop.h"
#include "logs.h"
#include "logs_local.h"


#define CORRALD_LOGS_BLOCK  65536

/* of the beginning of a line, where its level is looked for */

#define CORRALD_LOGS_HEAD   512


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
static char *corrald_logs_utf8(const char *text, size_t len, size_t *size);
static corrald_logs_level_e corrald_logs_find_level(const char *text,
    size_t len);
static corrald_logs_level_e corrald_logs_member(const char *text, size_t len,
    const char *name, int json);
static corrald_logs_level_e corrald_logs_words(const char *text, size_t len);
static int corrald_logs_contains(const char *text, size_t len,
    const char *part);


static const struct {
    const char            *word;
    corrald_logs_level_e   level;
} corrald_logs_level_words[] = {
    { "trace",    CORRALD_LOGS_trace },
    { "debug",    CORRALD_LOGS_debug },
    { "dbg",      CORRALD_LOGS_debug },
    { "info",     CORRALD_LOGS_info  },
    { "notice",   CORRALD_LOGS_info  },
    { "warn",     CORRALD_LOGS_warn  },
    { "warning",  CORRALD_LOGS_warn  },
    { "error",    CORRALD_LOGS_error },
    { "err",      CORRALD_LOGS_error },
    { "critical", CORRALD_LOGS_fatal },
    { "crit",     CORRALD_LOGS_fatal },
    { "alert",    CORRALD_LOGS_fatal },
    { "emerg",    CORRALD_LOGS_fatal },
    { "fatal",    CORRALD_LOGS_fatal },
    { "panic",    CORRALD_LOGS_fatal },

    /* numbers of pino and bunyan */

    { "10",       CORRALD_LOGS_trace },
    { "20",       CORRALD_LOGS_debug },
    { "30",       CORRALD_LOGS_info  },
    { "40",       CORRALD_LOGS_warn  },
    { "50",       CORRALD_LOGS_error },
    { "60",       CORRALD_LOGS_fatal }
};


corrald_logs_level_e
corrald_logs_level(const char *word, size_t len)
{
    size_t  i, n;

    n = sizeof(corrald_logs_level_words) / sizeof(corrald_logs_level_words[0]);

    for (i = 0; i < n; i++) {
        if (strlen(corrald_logs_level_words[i].word) == len
            && strncasecmp(corrald_logs_level_words[i].word, word, len) == 0)
        {
            return corrald_logs_level_words[i].level;
        }
    }

    return CORRALD_LOGS_NONE;
}


/* The word of a level; NULL for NONE. */

const char *
corrald_logs_level_name(corrald_logs_level_e level)
{
    static const char  *names[] = {
        NULL,
#define X(level)  #level,
        CORRALD_LOGS_LEVELS(X)
#undef X
    };

    return names[level];
}


int
corrald_logs_parse(const char *data, size_t len, corrald_logs_line_t *line)
{
    char         stamp[32];
    size_t       n;
    const char  *p;

    p = memchr(data, ' ', len < 32 ? len : 32);

    if (p == NULL || p - data < 20 || p[-1] != 'Z') {
        return -1;
    }

    n = (size_t) (p - data);
    memcpy(stamp, data, n);
    stamp[n] = '\0';

    line->time = corrald_clock_parse(stamp);

    if (line->time < 0) {
        return -1;
    }

    p++;
    n = len - (size_t) (p - data);

    if (n < 2 || (*p != 'O' && *p != 'E' && *p != 'S')) {
        return -1;
    }

    line->stream = *p++;
    line->partial = (*p == '+');
    p += line->partial;

    if (p >= data + len || *p != ' ') {
        return -1;
    }

    line->text = p + 1;
    line->len = len - (size_t) (line->text - data);
    line->level = (line->stream == 'S')
                  ? CORRALD_LOGS_info
                  : corrald_logs_find_level(line->text, line->len);

    return 0;
}


/* Whether a line is asked for; tail is not looked at. */

int
corrald_logs_match(const corrald_logs_line_t *line,
    const corrald_logs_query_t *query)
{
    corrald_logs_level_e  level;

    if ((query->since != 0 && line->time < query->since)
        || (query->until != 0 && line->time >= query->until)
        || (query->stream != 0 && line->stream != query->stream))
    {
        return 0;
    }

    if (query->level != CORRALD_LOGS_NONE) {
        level = line->level;

        if (level == CORRALD_LOGS_NONE) {
            level = (line->stream == 'E') ? CORRALD_LOGS_warn
                                          : CORRALD_LOGS_info;
        }

        if (level < query->level) {
            return 0;
        }
    }

    return query->search == NULL || query->search[0] == '\0'
           || corrald_logs_contains(line->text, line->len, query->search);
}


json_t *
corrald_logs_json(const char *instance_id, const corrald_logs_line_t *line)
{
    char    *text, at[CORRALD_CLOCK_SIZE];
    size_t   len;
    json_t  *object;

    text = corrald_logs_utf8(line->text, line->len, &len);

    if (text == NULL) {
        return NULL;
    }

    object = json_pack("{s:s, s:s, s:s, s:s?, s:b, s:s%}",
                       "time", corrald_clock_format(line->time, at,
                                                    sizeof(at)),
                       "instance_id", instance_id,
                       "stream", line->stream == 'O' ? "stdout"
                               : line->stream == 'E' ? "stderr" : "corral",
                       "level", corrald_logs_level_name(line->level),
                       "partial", line->partial,
                       "text", text, len);
    free(text);

    return object;
}


/* log_dir/ID.log or, with n above 0, log_dir/ID.log.n; -1: a bad id. */

int
corrald_logs_path(const char *dir, const char *instance_id, unsigned n,
    char *path, size_t size)
{
    int  rc;

    /* an id becomes a part of a path here: nothing that leads elsewhere */

    if (instance_id[0] == '\0' || instance_id[0] == '.'
        || strlen(instance_id) > CORRAL_ID_MAX
        || strspn(instance_id, "abcdefghijklmnopqrstuvwxyz"
                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
           != strlen(instance_id))
    {
        return -1;
    }

    rc = (n == 0) ? snprintf(path, size, "%s/%s.log", dir, instance_id)
                  : snprintf(path, size, "%s/%s.log.%u", dir, instance_id, n);

    return (rc > 0 && (size_t) rc < size) ? 0 : -1;
}


json_t *
corrald_logs_list(const char *service)
{
    int             files;
    DIR            *dir;
    char            id[256], at[CORRALD_CLOCK_SIZE], *end;
    size_t          i, len;
    json_t         *list, *object, *other;
    int64_t         bytes, modified;
    struct stat     st;
    struct dirent  *entry;

    list = json_array();
    dir = opendir(corrald_conf()->log_dir);

    while (dir != NULL) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        len = strlen(entry->d_name);

        /* the newest file stands for all of an instance */

        if (len <= 4 || len - 4 >= sizeof(id)
            || strcmp(entry->d_name + len - 4, ".log") != 0)
        {
            continue;
        }

        memcpy(id, entry->d_name, len - 4);
        id[len - 4] = '\0';

        end = strrchr(id, '.');
        len = end ? (size_t) (end - id) : strlen(id);

        if (service != NULL
            && (strlen(service) != len || strncmp(id, service, len) != 0))
        {
            continue;
        }

        other = corrald_logs_files(id);
        files = (int) json_array_size(other);
        json_decref(other);

        bytes = 0;
        modified = 0;

        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        {
            bytes = st.st_size;
            modified = (int64_t) st.st_mtim.tv_sec * 1000;
        }

        object = json_pack("{s:s, s:s%, s:i, s:I, s:s}", "instance_id", id,
                           "service", id, len, "files", files, "bytes",
                           (json_int_t) bytes, "modified",
                           corrald_clock_format(modified, at, sizeof(at)));

        /* newest first; RFC 3339 sorts as text */

        for (i = 0; i < json_array_size(list); i++) {
            other = json_object_get(json_array_get(list, i), "modified");

            if (strcmp(json_string_value(other), at) < 0) {
                break;
            }
        }

        json_array_insert_new(list, i, object);
    }

    if (dir != NULL) {
        (void) closedir(dir);
    }

    return list;
}


json_t *
corrald_logs_files(const char *instance_id)
{
    char          path[4200], at[CORRALD_CLOCK_SIZE];
    json_t       *list;
    unsigned      n;
    const char   *name;
    struct stat   st;

    list = json_array();

    for (n = 0; n <= CORRALD_LOGS_FILES; n++) {

        if (corrald_logs_path(corrald_conf()->log_dir, instance_id, n, path,
                              sizeof(path))
            != 0
            || lstat(path, &st) == -1 || !S_ISREG(st.st_mode))
        {
            /* the first may be missing for a moment, while it is rotated */

            if (n > 0) {
                break;
            }

            continue;
        }

        name = strrchr(path, '/') + 1;
        json_array_append_new(list,
            json_pack("{s:s, s:I, s:s}", "file", name, "bytes",
                      (json_int_t) st.st_size, "modified",
                      corrald_clock_format((int64_t) st.st_mtim.tv_sec * 1000,
                                           at, sizeof(at))));
    }

    return list;
}


int
corrald_logs_open(const char *instance_id, unsigned n, int64_t *bytes,
    char *err, size_t size)
{
    int          fd;
    char         path[4200];
    struct stat  st;

    if (corrald_logs_path(corrald_conf()->log_dir, instance_id, n, path,
                          sizeof(path))
        != 0)
    {
        (void) snprintf(err, size, "\"%.64s\" is not the id of an instance",
                        instance_id);
        return -1;
    }

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        (void) snprintf(err, size, "instance \"%s\" has no log file %u",
                        instance_id, n);

        if (fd != -1) {
            (void) close(fd);
        }

        return -1;
    }

    *bytes = st.st_size;

    return fd;
}


void
corrald_logs_fetch(const char *const *instance_ids, size_t n,
    const corrald_logs_query_t *query, corrald_logs_pt handler, void *data)
{
    size_t               i;
    corrald_logs_job_t  *job;

    job = calloc(1, sizeof(*job));

    if (job == NULL) {
        abort();
    }

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
            abort();
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


/* A copy that is UTF-8; what is not becomes U+FFFD. */

static char *
corrald_logs_utf8(const char *text, size_t len, size_t *size)
{
    char                 *out;
    size_t                i, j, n, need;
    const unsigned char  *p;

    out = malloc(len * 3 + 1);

    if (out == NULL) {
        return NULL;
    }

    p = (const unsigned char *) text;

    for (i = 0, n = 0; i < len; i += need) {

        need = p[i] < 0x80 ? 1 : (p[i] & 0xe0) == 0xc0 && p[i] >= 0xc2 ? 2
             : (p[i] & 0xf0) == 0xe0 ? 3
             : (p[i] & 0xf8) == 0xf0 && p[i] <= 0xf4 ? 4 : 0;

        for (j = 1; need > 1 && j < need; j++) {
            if (i + j >= len || (p[i + j] & 0xc0) != 0x80) {
                need = 0;
            }
        }

        /* overlong forms, surrogates, beyond Unicode */

        if ((need == 3 && ((p[i] == 0xe0 && p[i + 1] < 0xa0)
                           || (p[i] == 0xed && p[i + 1] > 0x9f)))
            || (need == 4 && ((p[i] == 0xf0 && p[i + 1] < 0x90)
                              || (p[i] == 0xf4 && p[i + 1] > 0x8f))))
        {
            need = 0;
        }

        if (need == 0) {
            memcpy(out + n, "\xef\xbf\xbd", 3);
            n += 3;
            need = 1;
            continue;
        }

        memcpy(out + n, p + i, need);
        n += need;
    }

    out[n] = '\0';
    *size = n;

    return out;
}


/*
 * The level as the line itself says it: a member of JSON, level=WORD, or a
 * word at its beginning.
 */

static corrald_logs_level_e
corrald_logs_find_level(const char *text, size_t len)
{
    size_t                 i;
    corrald_logs_level_e   level;

    static const char  *members[] = {
        "level", "lvl", "severity", "levelname", "log.level"
    };

    len = (len < CORRALD_LOGS_HEAD) ? len : CORRALD_LOGS_HEAD;

    while (len > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }

    if (len == 0) {
        return CORRALD_LOGS_NONE;
    }

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        level = corrald_logs_member(text, len, members[i], *text == '{');

        if (level != CORRALD_LOGS_NONE) {
            return level;
        }
    }

    return (*text == '{') ? CORRALD_LOGS_NONE : corrald_logs_words(text, len);
}


/* "name": "WORD" or "name": 40, else name=WORD */

static corrald_logs_level_e
corrald_logs_member(const char *text, size_t len, const char *name, int json)
{
    char         key[32];
    size_t       n;
    const char  *p, *end, *word;

    (void) snprintf(key, sizeof(key), json ? "\"%s\"" : "%s=", name);

    end = text + len;
    p = memmem(text, len, key, strlen(key));

    if (p == NULL || (!json && p > text && p[-1] != ' ')) {
        return CORRALD_LOGS_NONE;
    }

    p += strlen(key);

    while (p < end && (*p == ' ' || *p == ':' || *p == '"')) {
        p++;
    }

    word = p;

    while (p < end && ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
                       || (*p >= '0' && *p <= '9')))
    {
        p++;
    }

    n = (size_t) (p - word);

    return corrald_logs_level(word, n);
}


/*
 * One of the first six words, if it looks like a level: in capitals, in
 * brackets, or with a colon behind it.
 */

static corrald_logs_level_e
corrald_logs_words(const char *text, size_t len)
{
    int                    i, marked, upper;
    size_t                 n;
    const char            *p, *end, *word;
    corrald_logs_level_e   level;

    p = text;
    end = text + len;

    for (i = 0; i < 6 && p < end; i++) {

        marked = 0;

        while (p < end && strchr(" \t[(<|-", *p) != NULL && *p != '\0') {
            marked |= (*p == '[' || *p == '(' || *p == '<' || *p == '|');
            p++;
        }

        word = p;
        upper = 1;

        while (p < end && ((*p >= 'a' && *p <= 'z')
                           || (*p >= 'A' && *p <= 'Z')))
        {
            upper &= (*p <= 'Z');
            p++;
        }

        n = (size_t) (p - word);
        marked |= (p < end && (*p == ':' || *p == ']'));

        if (n > 1 && (upper || marked)) {
            level = corrald_logs_level(word, n);

            if (level != CORRALD_LOGS_NONE) {
                return level;
            }
        }

        while (p < end && *p != ' ' && *p != '\t') {
            p++;
        }
    }

    return CORRALD_LOGS_NONE;
}


static int
corrald_logs_contains(const char *text, size_t len, const char *part)
{
    size_t  i, n;

    n = strlen(part);

    for (i = 0; i + n <= len; i++) {
        if (strncasecmp(text + i, part, n) == 0) {
            return 1;
        }
    }

    return 0;
}
