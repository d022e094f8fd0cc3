
/*
 * What is revoked, in the zone: the list that the last worker had, for one
 * that begins when Redis is away.  Copied under the lock; a CRC tells a list in
 * whose midst its writer died.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


ngx_int_t
ngx_http_corral_table_revocations_put(corral_revocation_t *list, ngx_uint_t n,
    ngx_http_corral_revoked_t *version, ngx_uint_t lost)
{
    size_t                    size;
    uint32_t                  crc;
    ngx_int_t                 rc;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh == NULL || n > sh->nrevocations) {
        return NGX_DECLINED;
    }

    size = n * sizeof(corral_revocation_t);
    crc = ngx_crc32_long((u_char *) list, size);
    rc = NGX_DECLINED;

    ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

    if (lost || version->n >= sh->revoked_version.n
        || ngx_memcmp(version->id, sh->revoked_version.id, 16) != 0)
    {
        sh->revoked = n;
        sh->revoked_version = *version;
        sh->revoked_crc32 = crc;
        ngx_memcpy(sh->revocations, list, size);
        rc = NGX_OK;
    }

    ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    return rc;
}


ngx_uint_t
ngx_http_corral_table_revocations_get(corral_revocation_t *list,
    ngx_uint_t max, ngx_http_corral_revoked_t *version)
{
    size_t                    size;
    uint32_t                  crc;
    ngx_uint_t                n;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;
    ngx_memzero(version, sizeof(ngx_http_corral_revoked_t));

    if (sh == NULL) {
        return 0;
    }

    ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

    n = ngx_min(sh->revoked, max);
    size = n * sizeof(corral_revocation_t);
    crc = sh->revoked_crc32;
    *version = sh->revoked_version;
    ngx_memcpy(list, sh->revocations, size);

    ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    if (n && ngx_crc32_long((u_char *) list, size) != crc) {
        ngx_memzero(version, sizeof(ngx_http_corral_revoked_t));
        return 0;
    }

    return n;
}


void
ngx_http_corral_table_revocations_heard(ngx_msec_t at)
{
    if (ngx_http_corral_sh) {
        ngx_http_corral_sh->revoked_heard = at;
    }
}


ngx_msec_t
ngx_http_corral_table_revocations_heard_at(void)
{
    return ngx_http_corral_sh ? ngx_http_corral_sh->revoked_heard : 0;
}
