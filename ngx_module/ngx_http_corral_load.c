
/*
 * Loads the registry from its text form (docs/schema.md, "State file and
 * image"): one line that says what follows, then one document a line.  The
 * text comes from the image in the zone or from the state file, and goes into
 * the registry as one full update.
 *
 * The text is checked as a whole (version, number of lines, CRC) before the
 * first document is put: a file that was cut short changes nothing.  How the
 * text is read is corral_decode.c's affair; what a document may contain is the
 * registry's, which refuses a broken one alone.
 *
 * Everything works in slices, so that a large file does not stop the event
 * loop; who calls, and how long a slice is, is decided by the caller.  There
 * is one load at a time in a worker.  No locks: the image is copied out of the
 * zone by ngx_http_corral_table.c, and the text belongs to the load until it
 * ends.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_decode.h>

#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_load.h"
#include "ngx_http_corral_registry.h"


/*
 * More than a registry of CORRAL_INSTANCES_MAX instances needs, and little
 * enough that a wrong path does not eat the machine.
 */
#define NGX_HTTP_CORRAL_LOAD_MAX    (256 * 1024 * 1024)

/* one step of reading and of checking: some 50 us */
#define NGX_HTTP_CORRAL_LOAD_CHUNK  (64 * 1024)


typedef enum {
    NGX_HTTP_CORRAL_LOAD_IDLE = 0,
    NGX_HTTP_CORRAL_LOAD_READ,
    NGX_HTTP_CORRAL_LOAD_OPEN,
    NGX_HTTP_CORRAL_LOAD_CHECK,
    NGX_HTTP_CORRAL_LOAD_PUT,
    NGX_HTTP_CORRAL_LOAD_COMMIT
} ngx_http_corral_load_state_e;


typedef struct {
    ngx_http_corral_load_state_e   state;
    ngx_pool_t                    *pool;
    ngx_str_t                      name;    /* for the log */
    ngx_fd_t                       fd;      /* while reading */
    ngx_str_t                      text;
    size_t                         pos;     /* bytes read so far */
    corral_decode_image_t          image;
    ngx_uint_t                     refused;
} ngx_http_corral_load_t;


static void ngx_http_corral_load_note(ngx_file_info_t *fi);
static void ngx_http_corral_load_done(void);
static ngx_int_t ngx_http_corral_load_read(void);
static ngx_int_t ngx_http_corral_load_open(void);
static ngx_int_t ngx_http_corral_load_check(void);
static ngx_int_t ngx_http_corral_load_put(void);
static ngx_int_t ngx_http_corral_load_commit(uint64_t until);


static ngx_http_corral_load_t  ngx_http_corral_load;

/* the file that was last begun to be loaded */
static ngx_file_info_t         ngx_http_corral_load_info;


ngx_int_t
ngx_http_corral_load_image(void)
{
    ngx_int_t                rc;
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    if (load->state != NGX_HTTP_CORRAL_LOAD_IDLE) {
        return NGX_ERROR;
    }

    load->pool = ngx_create_pool(1024, ngx_cycle->log);
    if (load->pool == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_corral_table_image_read(load->pool, &load->text);

    if (rc != NGX_OK) {
        ngx_http_corral_load_done();
        return rc;
    }

    ngx_str_set(&load->name, "image of the zone");
    load->state = NGX_HTTP_CORRAL_LOAD_OPEN;

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_load_file(ngx_str_t *path)
{
    off_t                    size;
    ngx_err_t                err;
    ngx_uint_t               level;
    ngx_file_info_t          fi;
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    if (load->state != NGX_HTTP_CORRAL_LOAD_IDLE) {
        return NGX_ERROR;
    }

    ngx_memzero(&ngx_http_corral_load_info, sizeof(ngx_file_info_t));

    /* non-blocking: a named pipe instead of a file must not stop the worker */

    load->fd = ngx_open_file(path->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                             NGX_FILE_OPEN, 0);

    if (load->fd == NGX_INVALID_FILE) {
        err = ngx_errno;
        level = (err == NGX_ENOENT) ? NGX_LOG_NOTICE : NGX_LOG_ERR;

        ngx_log_error(level, ngx_cycle->log, err,
                      "corral: state file \"%V\" cannot be opened", path);
        return NGX_DECLINED;
    }

    if (ngx_fd_info(load->fd, &fi) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, ngx_errno,
                      "corral: state file \"%V\" cannot be examined", path);
        goto declined;
    }

    ngx_http_corral_load_note(&fi);

    if (!ngx_is_file(&fi)) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: state file \"%V\" is not a regular file", path);
        goto declined;
    }

    size = ngx_file_size(&fi);

    if (size == 0 || size > NGX_HTTP_CORRAL_LOAD_MAX) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: state file \"%V\" has %O bytes; "
                      "it is to have 1 to %d", path, size,
                      NGX_HTTP_CORRAL_LOAD_MAX);
        goto declined;
    }

    load->pool = ngx_create_pool(1024, ngx_cycle->log);
    if (load->pool == NULL) {
        goto failed;
    }

    load->text.len = (size_t) size;
    load->text.data = ngx_palloc(load->pool, load->text.len);

    load->name.data = ngx_pnalloc(load->pool, path->len + 13);

    if (load->text.data == NULL || load->name.data == NULL) {
        goto failed;
    }

    load->name.len = ngx_sprintf(load->name.data, "state file \"%V\"", path)
                     - load->name.data;

    load->state = NGX_HTTP_CORRAL_LOAD_READ;

    return NGX_OK;

declined:

    ngx_http_corral_load_done();
    return NGX_DECLINED;

failed:

    ngx_http_corral_load_done();
    return NGX_ERROR;
}


ngx_int_t
ngx_http_corral_load_next(uint64_t until)
{
    ngx_int_t                rc;
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    do {
        switch (load->state) {

        case NGX_HTTP_CORRAL_LOAD_READ:
            rc = ngx_http_corral_load_read();
            break;

        case NGX_HTTP_CORRAL_LOAD_OPEN:
            rc = ngx_http_corral_load_open();
            break;

        case NGX_HTTP_CORRAL_LOAD_CHECK:
            rc = ngx_http_corral_load_check();
            break;

        case NGX_HTTP_CORRAL_LOAD_PUT:
            rc = ngx_http_corral_load_put();
            break;

        case NGX_HTTP_CORRAL_LOAD_COMMIT:
            rc = ngx_http_corral_load_commit(until);
            break;

        default: /* NGX_HTTP_CORRAL_LOAD_IDLE */
            return NGX_ERROR;
        }

    } while (rc == NGX_AGAIN && ngx_http_corral_clock() < until);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc == NGX_OK && load->refused) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "corral: %V: %ui of %uL documents were refused",
                      &load->name, load->refused, load->image.lines);
    }

    if (rc == NGX_OK) {
        /* nothing is left to abort */
        load->state = NGX_HTTP_CORRAL_LOAD_OPEN;
    }

    ngx_http_corral_load_abort();

    return rc;
}


void
ngx_http_corral_load_abort(void)
{
    ngx_http_corral_load_state_e  state;

    state = ngx_http_corral_load.state;

    if (state == NGX_HTTP_CORRAL_LOAD_PUT
        || state == NGX_HTTP_CORRAL_LOAD_COMMIT)
    {
        ngx_http_corral_registry_abort();
    }

    ngx_http_corral_load_done();
}


ngx_uint_t
ngx_http_corral_load_changed(ngx_str_t *path)
{
    ngx_file_info_t  fi, *last;

    if (ngx_file_info(path->data, &fi) == NGX_FILE_ERROR) {
        return 0;
    }

    last = &ngx_http_corral_load_info;

    return ngx_file_uniq(&fi) != ngx_file_uniq(last)
           || ngx_file_size(&fi) != ngx_file_size(last)
           || fi.st_mtim.tv_sec != last->st_mtim.tv_sec
           || fi.st_mtim.tv_nsec != last->st_mtim.tv_nsec;
}


/*
 * Remembers which file is loaded, unless it was written just now: its time is
 * as coarse as a tick of the kernel, and what comes later in the same tick
 * would not be seen.  Then it is loaded once more.
 */

static void
ngx_http_corral_load_note(ngx_file_info_t *fi)
{
    int64_t          age;
    struct timespec  now;

    (void) clock_gettime(CLOCK_REALTIME, &now);

    age = ((int64_t) now.tv_sec - fi->st_mtim.tv_sec) * 1000
          + (now.tv_nsec - fi->st_mtim.tv_nsec) / 1000000;

    if (age < 0 || age > 20) {
        ngx_http_corral_load_info = *fi;
    }
}


static void
ngx_http_corral_load_done(void)
{
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    if (load->fd > 0 && ngx_close_file(load->fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &load->name);
    }

    if (load->pool) {
        ngx_destroy_pool(load->pool);
    }

    ngx_memzero(load, sizeof(ngx_http_corral_load_t));
}


static ngx_int_t
ngx_http_corral_load_read(void)
{
    size_t                   size;
    ssize_t                  n;
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    size = ngx_min(load->text.len - load->pos, NGX_HTTP_CORRAL_LOAD_CHUNK);

    n = read(load->fd, load->text.data + load->pos, size);

    if (n == -1) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, ngx_errno,
                      "corral: %V cannot be read", &load->name);
        return NGX_DECLINED;
    }

    load->pos += n;

    if (n > 0 && load->pos < load->text.len) {
        return NGX_AGAIN;
    }

    /* shorter than it was: what it promises will tell whether that is wrong */

    load->text.len = load->pos;
    load->pos = 0;
    load->state = NGX_HTTP_CORRAL_LOAD_OPEN;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_corral_load_open(void)
{
    char                     err[CORRAL_DECODE_ERROR];
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    if (corral_decode_image_open(&load->image, (char *) load->text.data,
                                 load->text.len, err, sizeof(err))
        != 0)
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: %V was refused: %s", &load->name, err);
        return NGX_DECLINED;
    }

    load->state = NGX_HTTP_CORRAL_LOAD_CHECK;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_corral_load_check(void)
{
    int                      rc;
    char                     err[CORRAL_DECODE_ERROR];
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    rc = corral_decode_image_check(&load->image, NGX_HTTP_CORRAL_LOAD_CHUNK,
                                   err, sizeof(err));

    if (rc == 1) {
        return NGX_AGAIN;
    }

    if (rc != 0) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: %V was refused: %s", &load->name, err);
        return NGX_DECLINED;
    }

    if (ngx_http_corral_registry_begin(1, ngx_cycle->log) != NGX_OK) {
        return NGX_ERROR;
    }

    load->state = NGX_HTTP_CORRAL_LOAD_PUT;

    return NGX_AGAIN;
}


/* Puts the document of one line. */

static ngx_int_t
ngx_http_corral_load_put(void)
{
    int                      kind;
    char                     err[CORRAL_DECODE_ERROR];
    ngx_int_t                rc;
    ngx_str_t                line;
    const char              *data;
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    if (corral_decode_image_next(&load->image, &data, &line.len) != 1) {
        load->state = NGX_HTTP_CORRAL_LOAD_COMMIT;
        return NGX_AGAIN;
    }

    kind = corral_decode_kind(data, line.len, err, sizeof(err));

    if (kind == -1) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: %V, line %uL was refused: %s",
                      &load->name, load->image.number, err);
        load->refused++;
        return NGX_AGAIN;
    }

    line.data = (u_char *) data;

    rc = ngx_http_corral_registry_put((ngx_http_corral_kind_e) kind, &line,
                                      &load->name,
                                      (ngx_uint_t) load->image.number);

    if (rc == NGX_DECLINED) {
        load->refused++;
        return NGX_AGAIN;
    }

    return (rc == NGX_OK) ? NGX_AGAIN : rc;
}


static ngx_int_t
ngx_http_corral_load_commit(uint64_t until)
{
    uint64_t                 now;
    ngx_str_t                epoch;
    ngx_msec_t               budget;
    ngx_http_corral_load_t  *load;

    load = &ngx_http_corral_load;

    now = ngx_http_corral_clock();
    budget = (now < until) ? (ngx_msec_t) ((until - now + 999) / 1000) : 1;

    epoch.data = (u_char *) load->image.epoch;
    epoch.len = ngx_strlen(load->image.epoch);

    return ngx_http_corral_registry_commit(&epoch, load->image.revision,
                                           budget);
}
