
/*
 * The registry on the disk of this node: what a Redis that lost its data is
 * filled from.
 *
 * {state_dir}/registry.journal is a header and one line of JSON per document;
 * a later line of the same document replaces an earlier one, "doc": null takes
 * it away.  Lines are appended and synced on a thread of the pool, many
 * commits with one sync; a caller who needs his change on the disk waits for
 * the sync that follows it.  When the file has grown to a multiple of what it
 * holds, it is written anew beside and renamed.
 *
 * The thread has the buffer and the file descriptor of its job to itself: one
 * job runs at a time.  All else happens on the loop's thread.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/alloc.h"
#include "../base/buf.h"
#include "../base/conf.h"
#include "../base/file.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "local.h"


/* 200,000 documents of 64 kB would not fit, of 5 kB they do. */

#define CORRALD_JOURNAL_MAX    1073741824

/* bytes by which the file may outgrow twice its content */

#define CORRALD_JOURNAL_SLACK  4194304


typedef struct corrald_journal_wait_s  corrald_journal_wait_t;

struct corrald_journal_wait_s {
    corrald_journal_wait_t   *next;
    corrald_journal_pt        handler;
    void                     *data;
};


/* What one run of the thread writes. */

typedef struct {
    corrald_buf_t             text;
    corrald_journal_wait_t   *waits;
    int                       rewrite;
    char                      error[256];
} corrald_journal_job_t;


static void corrald_journal_line(corrald_buf_t *b, corrald_kind_e kind,
    const char *id, int64_t revision, const char *mac, const char *text,
    size_t len);
static void corrald_journal_parse(corrald_journal_t *found, char *line,
    size_t len, size_t number);
static void corrald_journal_dump(corrald_cache_t *c, void *data);
static void corrald_journal_run(void);
static void corrald_journal_work(void *data);
static void corrald_journal_done(void *data);
static void corrald_journal_later(void *data);
static void corrald_journal_doc_free(void *value);


static char                     corrald_journal_path[160];
static int                      corrald_journal_fd = -1;
static corrald_buf_t            corrald_journal_pending;
static corrald_journal_wait_t  *corrald_journal_waits;
static corrald_journal_wait_t **corrald_journal_waits_last
                                    = &corrald_journal_waits;
static size_t                   corrald_journal_size;   /* of the file */
static size_t                   corrald_journal_live;   /* after a rewrite */
static int                      corrald_journal_running;
static int                      corrald_journal_due;  /* a run is near */
static int                      corrald_journal_anew;
static int                      corrald_journal_started;
static int                      corrald_journal_broken;


/*
 * Reads what is there into found, which may come out empty.  Returns 0, or -1
 * and a sentence.  Broken lines, as a power failure may leave one at the end,
 * are skipped with a warning.
 */

int
corrald_journal_open(corrald_journal_t *found, char *err, size_t size)
{
    int      rc;
    char    *text, *line, *end;
    size_t   len, number;

    memset(found, 0, sizeof(*found));
    corrald_map_init(&found->docs);
    corrald_buf_init(&corrald_journal_pending, CORRALD_JOURNAL_MAX);

    snprintf(corrald_journal_path, sizeof(corrald_journal_path),
             "%s/registry.journal", corrald_conf()->state_dir);

    rc = corrald_file_read(corrald_journal_path, CORRALD_JOURNAL_MAX, &text,
                           &len, err, size);

    if (rc == -1) {
        return -1;
    }

    corrald_journal_started = 1;

    if (rc == 1) {
        return 0;
    }

    number = 0;

    for (line = text; line < text + len; line = end + 1) {
        end = memchr(line, '\n', (size_t) (text + len - line));
        number++;

        if (end == NULL) {
            corrald_log_warn("%s: the last line is not whole and is ignored",
                             corrald_journal_path);
            break;
        }

        corrald_journal_parse(found, line, (size_t) (end - line), number);
    }

    free(text);

    return 0;
}


void
corrald_journal_found_free(corrald_journal_t *found)
{
    corrald_map_free(&found->docs, corrald_journal_doc_free);
}


/* Notes a document; text NULL: it was deleted.  Nothing is written yet. */

void
corrald_journal_add(corrald_kind_e kind, const char *id, int64_t revision,
    const char *mac, const char *text, size_t len)
{
    if (corrald_journal_anew || !corrald_journal_started) {
        return;      /* the whole will be written */
    }

    corrald_journal_line(&corrald_journal_pending, kind, id, revision, mac,
                         text, len);

    if (!corrald_journal_due) {
        corrald_journal_due = 1;

        /* what nobody waits for is written within a second */

        if (corrald_loop_timer(1000, 0, corrald_journal_later, NULL) == NULL) {
            corrald_journal_later(NULL);
        }
    }
}


/* The whole file is to be written anew: after a load or a restoration. */

void
corrald_journal_rewrite(void)
{
    corrald_journal_anew = 1;
    corrald_buf_clear(&corrald_journal_pending);
    corrald_journal_run();
}


/* handler is called when all that was added until now is on the disk. */

void
corrald_journal_sync(corrald_journal_pt handler, void *data)
{
    corrald_journal_wait_t  *w;

    w = corrald_alloc(1, sizeof(*w), "to wait for the disk");

    w->handler = handler;
    w->data = data;
    w->next = NULL;

    *corrald_journal_waits_last = w;
    corrald_journal_waits_last = &w->next;

    corrald_journal_run();
}


/* Writes what is left, on this thread. */

void
corrald_journal_close(void)
{
    char   err[256];
    char  *text;
    size_t len;

    if (!corrald_journal_started) {
        return;
    }

    corrald_journal_started = 0;

    if (!corrald_journal_running && !corrald_journal_anew
        && corrald_journal_fd != -1 && corrald_journal_pending.len)
    {
        text = corrald_journal_pending.data;
        len = corrald_journal_pending.len;

        if (write(corrald_journal_fd, text, len) != (ssize_t) len
            || fdatasync(corrald_journal_fd) == -1)
        {
            snprintf(err, sizeof(err), "cannot write \"%s\": %s",
                     corrald_journal_path, strerror(errno));
            corrald_log_error("%s", err);
        }
    }

    corrald_buf_free(&corrald_journal_pending);
}


static void
corrald_journal_line(corrald_buf_t *b, corrald_kind_e kind, const char *id,
    int64_t revision, const char *mac, const char *text, size_t len)
{
    /* an id is a name of the schema: it needs no escaping */

    corrald_buf_printf(b, "{\"kind\":\"%s\",\"id\":\"%s\",\"revision\":%lld,"
                       "\"mac\":\"%s\",\"doc\":", corrald_doc_kind(kind), id,
                       (long long) revision, mac);

    if (text) {
        corrald_buf_add(b, text, len);

    } else {
        corrald_buf_str(b, "null");
    }

    corrald_buf_str(b, "}\n");
}


static void
corrald_journal_parse(corrald_journal_t *found, char *line, size_t len,
    size_t number)
{
    int                     k;
    char                    key[CORRALD_KEY_SIZE];
    json_t                 *obj, *doc;
    const char             *kind, *id;
    corrald_journal_doc_t  *d;

    obj = json_loadb(line, len, 0, NULL);

    if (json_is_integer(json_object_get(obj, "corral"))) {
        snprintf(found->epoch, sizeof(found->epoch), "%s",
                 corrald_doc_str(obj, "epoch"));
        found->revision = corrald_doc_int(obj, "revision");
        found->fence = corrald_doc_int(obj, "fence");
        json_decref(obj);
        return;
    }

    kind = corrald_doc_str(obj, "kind");
    id = corrald_doc_str(obj, "id");
    doc = json_object_get(obj, "doc");

    k = corrald_doc_parse_kind(kind);

    if (k == -1 || *id == '\0' || strlen(id) > CORRAL_ID_MAX || doc == NULL)
    {
        corrald_log_warn("%s:%zu: the line is broken and is ignored",
                         corrald_journal_path, number);
        json_decref(obj);
        return;
    }

    if (corrald_doc_int(obj, "revision") > found->revision) {
        found->revision = corrald_doc_int(obj, "revision");
    }

    snprintf(key, sizeof(key), "%s/%s", kind, id);

    corrald_journal_doc_free(corrald_map_del(&found->docs, key));

    d = json_is_object(doc) ? calloc(1, sizeof(*d)) : NULL;

    if (d) {
        d->kind = k;
        d->id = strdup(id);
        d->revision = corrald_doc_int(obj, "revision");
        snprintf(d->mac, sizeof(d->mac), "%s", corrald_doc_str(obj, "mac"));

        /* it was dumped by the same function: the same bytes come out */

        d->text = json_dumps(doc, JSON_COMPACT);
        d->len = d->text ? strlen(d->text) : 0;

        if (d->id == NULL || d->text == NULL
            || corrald_map_set(&found->docs, key, d) != 0)
        {
            corrald_alloc_failed("for the journal");
        }
    }

    json_decref(obj);
}


static void
corrald_journal_dump(corrald_cache_t *c, void *data)
{
    corrald_journal_line(data, c->entry.kind, c->entry.id, c->entry.revision,
                         c->mac, c->text, c->len);
}


static void
corrald_journal_run(void)
{
    int                     kind;
    corrald_journal_job_t  *job;

    if (corrald_journal_running || !corrald_journal_started) {
        return;
    }

    job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return;
    }

    if (corrald_journal_size > 2 * corrald_journal_live
                               + CORRALD_JOURNAL_SLACK
        || corrald_journal_fd == -1 || corrald_journal_broken)
    {
        corrald_journal_anew = 1;
    }

    corrald_buf_init(&job->text, CORRALD_JOURNAL_MAX);

    /* without an epoch nothing has been loaded: the old file is all we have */

    if (corrald_journal_anew && *corrald_local.epoch) {
        corrald_buf_printf(&job->text, "{\"corral\":%d,\"epoch\":\"%s\","
                           "\"revision\":%lld,\"fence\":%lld}\n",
                           CORRAL_SCHEMA_VERSION, corrald_local.epoch,
                           (long long) corrald_cache_revision(),
                           (long long) corrald_lease_fence());

        for (kind = 0; kind < CORRALD_STORED; kind++) {
            corrald_cache_each(kind, corrald_journal_dump, &job->text);
        }

        corrald_journal_anew = 0;
        corrald_journal_broken = 0;
        corrald_buf_clear(&corrald_journal_pending);
        job->rewrite = 1;

    } else if (!corrald_journal_anew) {
        corrald_buf_free(&job->text);
        job->text = corrald_journal_pending;
        corrald_buf_init(&corrald_journal_pending, CORRALD_JOURNAL_MAX);
    }

    job->waits = corrald_journal_waits;
    corrald_journal_waits = NULL;
    corrald_journal_waits_last = &corrald_journal_waits;

    corrald_journal_running = 1;

    if (corrald_loop_work(corrald_journal_work, corrald_journal_done, job)
        != 0)
    {
        corrald_journal_work(job);
        corrald_journal_done(job);
    }
}


/* On a thread of the pool. */

static void
corrald_journal_work(void *data)
{
    size_t                  n;
    ssize_t                 put;
    corrald_journal_job_t  *job;

    job = data;

    if (job->text.failed) {
        snprintf(job->error, sizeof(job->error), "the journal is larger than "
                 "%d bytes, or memory is short", CORRALD_JOURNAL_MAX);
        return;
    }

    if (job->rewrite) {
        if (corrald_file_write(corrald_journal_path, job->text.data,
                               job->text.len, 0600, (gid_t) -1, job->error,
                               sizeof(job->error))
            != 0)
        {
            return;
        }

        if (corrald_journal_fd != -1) {
            close(corrald_journal_fd);
        }

        corrald_journal_fd = open(corrald_journal_path,
                                  O_WRONLY|O_APPEND|O_CLOEXEC);

        if (corrald_journal_fd == -1) {
            snprintf(job->error, sizeof(job->error), "cannot open \"%s\": %s",
                     corrald_journal_path, strerror(errno));
        }

        return;
    }

    for (n = 0; n < job->text.len; n += (size_t) put) {
        put = write(corrald_journal_fd, job->text.data + n, job->text.len - n);

        if (put == -1 && errno == EINTR) {
            put = 0;
            continue;
        }

        if (put == -1) {
            break;
        }
    }

    if (n < job->text.len || (n && fdatasync(corrald_journal_fd) == -1)) {
        snprintf(job->error, sizeof(job->error), "cannot write \"%s\": %s",
                 corrald_journal_path, strerror(errno));
    }
}


static void
corrald_journal_done(void *data)
{
    corrald_journal_job_t   *job;
    corrald_journal_wait_t  *w, *next;

    job = data;
    corrald_journal_running = 0;

    if (*job->error) {

        /*
         * The change is in Redis, and stays: only the second copy is missing.
         * The next run writes the whole.
         */

        corrald_local_trouble("%s", job->error);
        corrald_journal_broken = 1;

    } else if (job->rewrite) {
        corrald_journal_size = job->text.len;
        corrald_journal_live = job->text.len;

    } else {
        corrald_journal_size += job->text.len;
    }

    for (w = job->waits; w; w = next) {
        next = w->next;
        w->handler(w->data);
        free(w);
    }

    corrald_buf_free(&job->text);
    free(job);

    /* commits that came meanwhile share the next sync */

    if (corrald_journal_waits
        || (corrald_journal_anew && *corrald_local.epoch))
    {
        corrald_journal_run();
    }
}


static void
corrald_journal_later(void *data)
{
    corrald_journal_due = 0;

    if (corrald_journal_started && corrald_journal_pending.len) {
        corrald_journal_run();
    }
}


static void
corrald_journal_doc_free(void *value)
{
    corrald_journal_doc_t  *d;

    d = value;

    if (d) {
        free(d->id);
        free(d->text);
        free(d);
    }
}
