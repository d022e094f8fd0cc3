
/*
 * Saves the registry of this worker: into the zone, for workers that start
 * later, and into the state file, for a start without Redis.
 *
 * The text is made by the registry and written in slices.  The file is written
 * beside its place and renamed, so that a reader never sees a half; it is not
 * fsynced, because that may stop a worker for seconds: after a power failure
 * the file may be the one before or empty, and a broken one is refused whole.
 *
 * When to save is decided by ngx_http_corral_sync.c.  No locks of its own: the
 * one writer of the zone's image is chosen by ngx_http_corral_table.c.  The
 * text belongs to this file until the save ends.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_registry.h"
#include "ngx_http_corral_save.h"


#define NGX_HTTP_CORRAL_SAVE_CHUNK  (128 * 1024)


typedef enum {
    NGX_HTTP_CORRAL_SAVE_IDLE = 0,
    NGX_HTTP_CORRAL_SAVE_PRINT,
    NGX_HTTP_CORRAL_SAVE_IMAGE,
    NGX_HTTP_CORRAL_SAVE_OPEN,
    NGX_HTTP_CORRAL_SAVE_WRITE,
    NGX_HTTP_CORRAL_SAVE_RENAME
} ngx_http_corral_save_state_e;


typedef struct {
    ngx_http_corral_save_state_e   state;
    ngx_uint_t                     image;   /* write it into the zone, too */
    ngx_str_t                     *path;    /* NULL: no file */
    ngx_str_t                      text;
    size_t                         size;    /* of the last text */
    ngx_str_t                      epoch;   /* of text */
    u_char                         epoch_data[65];
    uint64_t                       revision;
    uint32_t                       crc32;     /* of text */
    ngx_fd_t                       fd;
    size_t                         pos;     /* bytes written so far */
    u_char                         temp[NGX_MAX_PATH];

    unsigned                       told_image:1;  /* it does not fit */
    unsigned                       told_file:1;   /* it cannot be written */
} ngx_http_corral_save_t;


static ngx_int_t ngx_http_corral_save_print(uint64_t until);
static ngx_int_t ngx_http_corral_save_image(void);
static ngx_int_t ngx_http_corral_save_open(void);
static ngx_int_t ngx_http_corral_save_write(void);
static ngx_int_t ngx_http_corral_save_rename(void);
static ngx_int_t ngx_http_corral_save_failed(const char *what);


static ngx_http_corral_save_t  ngx_http_corral_save;


void
ngx_http_corral_save_start(ngx_uint_t image, ngx_str_t *path)
{
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    ngx_http_corral_save_abort();

    ngx_http_corral_registry_print_begin();

    save->image = image;
    save->path = path;
    save->state = NGX_HTTP_CORRAL_SAVE_PRINT;
}


ngx_int_t
ngx_http_corral_save_next(uint64_t until)
{
    ngx_int_t                rc;
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    do {
        switch (save->state) {

        case NGX_HTTP_CORRAL_SAVE_PRINT:
            rc = ngx_http_corral_save_print(until);
            break;

        case NGX_HTTP_CORRAL_SAVE_IMAGE:
            rc = ngx_http_corral_save_image();
            break;

        case NGX_HTTP_CORRAL_SAVE_OPEN:
            rc = ngx_http_corral_save_open();
            break;

        case NGX_HTTP_CORRAL_SAVE_WRITE:
            rc = ngx_http_corral_save_write();
            break;

        case NGX_HTTP_CORRAL_SAVE_RENAME:
            rc = ngx_http_corral_save_rename();
            break;

        default: /* NGX_HTTP_CORRAL_SAVE_IDLE */
            return NGX_OK;
        }

    } while (rc == NGX_AGAIN && ngx_http_corral_clock() < until);

    if (rc != NGX_AGAIN) {
        ngx_http_corral_save_abort();
    }

    return rc;
}


void
ngx_http_corral_save_abort(void)
{
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    if (save->state == NGX_HTTP_CORRAL_SAVE_WRITE
        || save->state == NGX_HTTP_CORRAL_SAVE_RENAME)
    {
        (void) ngx_close_file(save->fd);
        (void) ngx_delete_file(save->temp);
    }

    if (save->state == NGX_HTTP_CORRAL_SAVE_IMAGE) {
        ngx_http_corral_table_image_abort();
    }

    if (save->text.data) {
        ngx_free(save->text.data);
    }

    ngx_str_null(&save->text);
    save->state = NGX_HTTP_CORRAL_SAVE_IDLE;
}


ngx_int_t
ngx_http_corral_save_compare(void)
{
    u_char                            epoch[65];
    uint64_t                          revision;
    ngx_http_corral_registry_info_t  *info;

    info = ngx_http_corral_registry_info();

    epoch[0] = '\0';
    revision = ngx_http_corral_table_image_revision(epoch);

    if (epoch[0] == '\0' || ngx_strcmp(epoch, info->epoch) != 0
        || revision < info->revision)
    {
        return -1;
    }

    return revision > info->revision;
}


size_t
ngx_http_corral_save_size(void)
{
    return ngx_http_corral_save.size;
}


static ngx_int_t
ngx_http_corral_save_print(uint64_t until)
{
    uint64_t                          now;
    ngx_int_t                         rc;
    ngx_msec_t                        budget;
    ngx_http_corral_save_t           *save;
    ngx_http_corral_registry_info_t  *info;

    save = &ngx_http_corral_save;

    now = ngx_http_corral_clock();
    budget = (now < until) ? (ngx_msec_t) ((until - now + 999) / 1000) : 1;

    rc = ngx_http_corral_registry_print_next(budget, &save->text,
                                             &save->crc32);

    if (rc == NGX_DECLINED) {
        return NGX_BUSY;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    /* the text is of this turn's generation: DECLINED would have told */

    info = ngx_http_corral_registry_info();

    ngx_memcpy(save->epoch_data, info->epoch, sizeof(save->epoch_data));
    save->epoch.data = save->epoch_data;
    save->epoch.len = ngx_strlen(save->epoch_data);
    save->revision = info->revision;
    save->size = save->text.len;

    save->pos = 0;
    save->state = save->image ? NGX_HTTP_CORRAL_SAVE_IMAGE
                              : NGX_HTTP_CORRAL_SAVE_OPEN;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_corral_save_image(void)
{
    ngx_int_t                rc;
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    rc = ngx_http_corral_table_image_write(&save->epoch, save->revision,
                                           &save->text, save->crc32,
                                           &save->pos);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc == NGX_BUSY) {

        if (!save->told_image) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "corral: the registry, %uz bytes, does not fit into "
                          "corral_zone: workers will start from the state "
                          "file or from Redis; make the zone larger",
                          save->text.len);
            save->told_image = 1;
        }

        rc = save->path ? NGX_OK : NGX_ERROR;

    } else if (rc == NGX_OK) {
        save->told_image = 0;
    }

    if (rc != NGX_OK || save->path == NULL) {
        return rc;
    }

    save->state = NGX_HTTP_CORRAL_SAVE_OPEN;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_corral_save_open(void)
{
    u_char                  *p;
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    /*
     * The number of the worker keeps two writers apart, and unlike the pid it
     * bounds the number of files that killed workers leave behind.
     */

    p = ngx_snprintf(save->temp, sizeof(save->temp) - 1, "%V.%ui.tmp",
                     save->path, ngx_worker);
    *p = '\0';

    save->fd = ngx_open_file(save->temp, NGX_FILE_WRONLY, NGX_FILE_TRUNCATE,
                             0640);

    if (save->fd == NGX_INVALID_FILE) {
        return ngx_http_corral_save_failed("cannot be created");
    }

    save->pos = 0;
    save->state = NGX_HTTP_CORRAL_SAVE_WRITE;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_corral_save_write(void)
{
    size_t                   size;
    ssize_t                  n;
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    size = ngx_min(save->text.len - save->pos, NGX_HTTP_CORRAL_SAVE_CHUNK);

    n = ngx_write_fd(save->fd, save->text.data + save->pos, size);

    if (n <= 0) {
        return ngx_http_corral_save_failed("cannot be written");
    }

    save->pos += n;

    if (save->pos == save->text.len) {
        save->state = NGX_HTTP_CORRAL_SAVE_RENAME;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_corral_save_rename(void)
{
    ngx_int_t                rc;
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;

    /* whatever comes of it, the descriptor is gone */

    save->state = NGX_HTTP_CORRAL_SAVE_IDLE;

    rc = ngx_close_file(save->fd);

    if (rc != NGX_FILE_ERROR) {
        rc = ngx_rename_file(save->temp, save->path->data);
    }

    if (rc == NGX_FILE_ERROR) {
        rc = ngx_http_corral_save_failed("cannot be renamed");
        (void) ngx_delete_file(save->temp);
        return rc;
    }

    save->told_file = 0;

    return NGX_OK;
}


/* A full disk is told once, not with each change. */

static ngx_int_t
ngx_http_corral_save_failed(const char *what)
{
    ngx_uint_t               level;
    ngx_http_corral_save_t  *save;

    save = &ngx_http_corral_save;
    level = save->told_file ? NGX_LOG_INFO : NGX_LOG_ERR;

    ngx_log_error(level, ngx_cycle->log, ngx_errno,
                  "corral: state file \"%V\" is not saved: \"%s\" %s",
                  save->path, save->temp, what);

    save->told_file = 1;

    return NGX_ERROR;
}
