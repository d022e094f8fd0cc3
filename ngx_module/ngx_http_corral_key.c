
/*
 * Makes the names of Redis keys from the table of corral_schema.h, the only
 * place where they are spelled.  Knows no value and sends nothing.
 */


#include "ngx_http_corral_key.h"


#define ngx_http_corral_key_format(name, format, type, writer, text)  format,

static const char  *ngx_http_corral_key_formats[] = {
    CORRAL_KEYS(ngx_http_corral_key_format)
};

static ngx_str_t    ngx_http_corral_keys[NGX_HTTP_CORRAL_KEY_NUMBER];
static u_char      *ngx_http_corral_key_cluster;    /* ends with a NUL */


ngx_int_t
ngx_http_corral_key_init(ngx_pool_t *pool, ngx_str_t *cluster)
{
    ngx_uint_t  i;
    ngx_str_t   none;

    ngx_http_corral_key_cluster = ngx_pnalloc(pool, cluster->len + 1);
    if (ngx_http_corral_key_cluster == NULL) {
        return NGX_ERROR;
    }

    ngx_cpystrn(ngx_http_corral_key_cluster, cluster->data, cluster->len + 1);

    ngx_str_set(&none, "");

    for (i = 0; i < NGX_HTTP_CORRAL_KEY_NUMBER; i++) {

        ngx_http_corral_keys[i] = ngx_http_corral_key_of(pool, i, &none);

        if (ngx_http_corral_keys[i].data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_str_t
ngx_http_corral_key(ngx_http_corral_key_e key)
{
    return ngx_http_corral_keys[key];
}


ngx_str_t
ngx_http_corral_key_of(ngx_pool_t *pool, ngx_http_corral_key_e key,
    ngx_str_t *part)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    name;
    const char  *format;

    format = ngx_http_corral_key_formats[key];

    /* the first "%s" is the cluster, the second one the part, if there is */

    len = ngx_strlen(format) + ngx_strlen(ngx_http_corral_key_cluster)
          + part->len + 1;

    name.len = 0;
    name.data = ngx_pnalloc(pool, len);

    if (name.data == NULL) {
        return name;
    }

    p = name.data;

    for ( /* void */ ; *format; format++) {

        if (*format != '%') {
            *p++ = *format;
            continue;
        }

        format++;

        if (p - name.data == sizeof("corral:") - 1) {
            p = ngx_cpymem(p, ngx_http_corral_key_cluster,
                           ngx_strlen(ngx_http_corral_key_cluster));

        } else {
            p = ngx_cpymem(p, part->data, part->len);
        }
    }

    name.len = p - name.data;

    return name;
}
