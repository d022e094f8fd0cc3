
/*
 * The registry image in the zone: two buffers, one valid.  A reader takes no
 * lock, the CRC tells it when a writer was faster; a writer takes the lock only
 * to become the one writer.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_decode.h>

#include "ngx_http_corral_table_slots.h"


#define NGX_HTTP_CORRAL_TABLE_IMAGE_CHUNK  (1024 * 1024)


ngx_int_t
ngx_http_corral_table_image_write(ngx_str_t *epoch, uint64_t revision,
    ngx_str_t *text, uint32_t crc32, size_t *pos)
{
    size_t                    n;
    ngx_int_t                 rc;
    ngx_uint_t                other;
    ngx_http_corral_image_t  *image;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh == NULL || text->len > sh->image_size || epoch->len > 64) {
        return NGX_BUSY;
    }

    ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

    rc = NGX_OK;

    if (sh->current < 2) {
        image = &sh->images[sh->current];

        if (image->revision >= revision
            && ngx_strlen(image->epoch) == epoch->len
            && ngx_strncmp(image->epoch, epoch->data, epoch->len) == 0)
        {
            rc = NGX_DECLINED;
        }
    }

    if (sh->writer && sh->writer != ngx_pid && kill(sh->writer, 0) == 0) {
        rc = NGX_DECLINED;
    }

    if (rc == NGX_OK) {
        sh->writer = ngx_pid;
    }

    ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    if (rc != NGX_OK) {
        return rc;
    }

    other = (sh->current == 0) ? 1 : 0;
    image = &sh->images[other];

    n = ngx_min(text->len - *pos, NGX_HTTP_CORRAL_TABLE_IMAGE_CHUNK);

    ngx_memcpy(image->data + *pos, text->data + *pos, n);
    *pos += n;

    if (*pos < text->len) {
        return NGX_AGAIN;
    }

    image->len = text->len;
    image->revision = revision;
    image->crc32 = crc32;
    ngx_cpystrn(image->epoch, epoch->data, epoch->len + 1);

    ngx_memory_barrier();
    sh->current = other;
    ngx_memory_barrier();
    sh->writer = 0;

    return NGX_OK;
}


void
ngx_http_corral_table_image_abort(void)
{
    if (ngx_http_corral_sh && ngx_http_corral_sh->writer == ngx_pid) {
        ngx_http_corral_sh->writer = 0;
    }
}


ngx_int_t
ngx_http_corral_table_image_read(ngx_pool_t *pool, ngx_str_t *text)
{
    size_t                    len;
    ngx_uint_t                tries, current;
    ngx_http_corral_image_t   image;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    /* a writer may switch twice while we copy: the CRC tells */

    for (tries = 0; sh && tries < 3; tries++) {
        current = sh->current;

        if (current > 1) {
            break;
        }

        image = sh->images[current];
        len = ngx_min(image.len, sh->image_size);

        text->data = ngx_palloc(pool, len + 1);
        if (text->data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(text->data, image.data, len);
        text->len = len;

        if (corral_decode_crc32(0, text->data, len) == image.crc32) {
            return NGX_OK;
        }

        ngx_pfree(pool, text->data);
    }

    return NGX_DECLINED;
}


uint64_t
ngx_http_corral_table_image_revision(u_char epoch[65])
{
    ngx_uint_t  current;

    if (ngx_http_corral_sh == NULL || ngx_http_corral_sh->current > 1) {
        return 0;
    }

    current = ngx_http_corral_sh->current;

    ngx_memcpy(epoch, ngx_http_corral_sh->images[current].epoch, 65);

    return ngx_http_corral_sh->images[current].revision;
}
