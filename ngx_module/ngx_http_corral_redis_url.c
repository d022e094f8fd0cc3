
/*
 * Reads the address of Redis as it stands in the configuration.  Runs at
 * configuration only, where looking a name up may block.  The password is
 * taken apart here, so that what is logged later cannot contain it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_redis.h"


#define NGX_HTTP_CORRAL_REDIS_PORT    6379
#define NGX_HTTP_CORRAL_REDIS_DB_MAX  65535


static char *ngx_http_corral_redis_url_unix(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr);
static char *ngx_http_corral_redis_url_param(ngx_conf_t *cf, ngx_str_t *param,
    ngx_http_corral_redis_addr_t *addr);
static char *ngx_http_corral_redis_url_tcp(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr);
static char *ngx_http_corral_redis_url_userinfo(ngx_conf_t *cf,
    ngx_str_t *info, ngx_http_corral_redis_addr_t *addr);
static char *ngx_http_corral_redis_url_resolve(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr);
static char *ngx_http_corral_redis_url_db(ngx_conf_t *cf, ngx_str_t *db,
    ngx_http_corral_redis_addr_t *addr);
static char *ngx_http_corral_redis_url_decode(ngx_conf_t *cf, ngx_str_t *in,
    ngx_str_t *out);
static char *ngx_http_corral_redis_url_error(ngx_conf_t *cf, const char *fmt,
    ...);


char *
ngx_http_corral_redis_url(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr)
{
    ngx_str_t  rest;

    ngx_memzero(addr, sizeof(ngx_http_corral_redis_addr_t));

    if (url->len > 5 && ngx_strncasecmp(url->data, (u_char *) "unix:", 5) == 0)
    {
        return ngx_http_corral_redis_url_unix(cf, url, addr);
    }

    if (url->len > 8
        && ngx_strncasecmp(url->data, (u_char *) "redis://", 8) == 0)
    {
        rest.data = url->data + 8;
        rest.len = url->len - 8;

        return ngx_http_corral_redis_url_tcp(cf, &rest, addr);
    }

    if (url->len >= 9
        && ngx_strncasecmp(url->data, (u_char *) "rediss://", 9) == 0)
    {
        return "TLS to Redis (rediss://) is not supported yet; "
               "use redis:// or unix:";
    }

    if (url->len >= 11
        && ngx_strncasecmp(url->data, (u_char *) "sentinel://", 11) == 0)
    {
        return "Redis Sentinel (sentinel://) is not supported yet; "
               "use redis:// or unix:";
    }

    return "the address of Redis is to be unix:/path[?user=&password=&db=] "
           "or redis://[[user]:password@]host[:port][/db]";
}


static char *
ngx_http_corral_redis_url_unix(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr)
{
    char       *err;
    u_char     *p, *last, *end;
    ngx_str_t   path, param;

    last = url->data + url->len;

    p = ngx_strlchr(url->data, last, '?');

    path.data = url->data;
    path.len = (p ? p : last) - url->data;

    while (p && p < last) {
        p++;

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        param.data = p;
        param.len = end - p;

        err = ngx_http_corral_redis_url_param(cf, &param, addr);
        if (err) {
            return err;
        }

        p = end;
    }

    if (addr->user.len && addr->password.len == 0) {
        return "a user of Redis needs a password: unix:/path?user=u&password=p";
    }

    return ngx_http_corral_redis_url_resolve(cf, &path, addr);
}


static char *
ngx_http_corral_redis_url_param(ngx_conf_t *cf, ngx_str_t *param,
    ngx_http_corral_redis_addr_t *addr)
{
    u_char     *eq;
    ngx_str_t   name, value;

    eq = ngx_strlchr(param->data, param->data + param->len, '=');

    if (eq == NULL) {
        eq = param->data + param->len;
    }

    name.data = param->data;
    name.len = eq - param->data;

    ngx_str_null(&value);

    if (name.len < param->len) {
        value.data = eq + 1;
        value.len = param->len - name.len - 1;
    }

    if (name.len == 4 && ngx_strncmp(name.data, "user", 4) == 0) {
        return ngx_http_corral_redis_url_decode(cf, &value, &addr->user);
    }

    if (name.len == 8 && ngx_strncmp(name.data, "password", 8) == 0) {
        return ngx_http_corral_redis_url_decode(cf, &value, &addr->password);
    }

    if (name.len == 2 && ngx_strncmp(name.data, "db", 2) == 0) {
        return ngx_http_corral_redis_url_db(cf, &value, addr);
    }

    return ngx_http_corral_redis_url_error(cf,
                   "unknown parameter \"%V\" in the address of Redis; "
                   "it is to be user, password or db", &name);
}


static char *
ngx_http_corral_redis_url_tcp(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr)
{
    char       *err;
    u_char     *p, *last;
    ngx_str_t   part, host;

    host = *url;
    last = url->data + url->len;

    p = ngx_strlchr(url->data, last, '/');

    if (p) {
        part.data = p + 1;
        part.len = last - p - 1;

        if (part.len) {
            err = ngx_http_corral_redis_url_db(cf, &part, addr);
            if (err) {
                return err;
            }
        }

        host.len = p - url->data;
    }

    /* the last one: an "@" in a password need not be encoded */

    for (p = host.data + host.len; p > host.data; p--) {

        if (p[-1] != '@') {
            continue;
        }

        part.data = host.data;
        part.len = p - 1 - host.data;

        err = ngx_http_corral_redis_url_userinfo(cf, &part, addr);
        if (err) {
            return err;
        }

        host.len -= p - host.data;
        host.data = p;
        break;
    }

    return ngx_http_corral_redis_url_resolve(cf, &host, addr);
}


static char *
ngx_http_corral_redis_url_userinfo(ngx_conf_t *cf, ngx_str_t *info,
    ngx_http_corral_redis_addr_t *addr)
{
    char       *err;
    u_char     *colon;
    ngx_str_t   part;

    colon = ngx_strlchr(info->data, info->data + info->len, ':');

    if (colon == NULL || colon + 1 == info->data + info->len) {
        return "the address of Redis names a user without a password; "
               "it is to be redis://[user]:password@host";
    }

    part.data = info->data;
    part.len = colon - info->data;

    err = ngx_http_corral_redis_url_decode(cf, &part, &addr->user);
    if (err) {
        return err;
    }

    part.data = colon + 1;
    part.len = info->data + info->len - part.data;

    return ngx_http_corral_redis_url_decode(cf, &part, &addr->password);
}


/* Fills text, host, port and addrs from unix:/path or host[:port]. */

static char *
ngx_http_corral_redis_url_resolve(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_corral_redis_addr_t *addr)
{
    size_t     len;
    ngx_url_t  u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *url;
    u.default_port = NGX_HTTP_CORRAL_REDIS_PORT;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK || u.wildcard || u.naddrs == 0) {
        return ngx_http_corral_redis_url_error(cf,
                                "%s in the address of Redis \"%V\"",
                                u.err ? u.err : "no host", url);
    }

    addr->addrs = u.addrs;
    addr->naddrs = u.naddrs;
    addr->port = u.port;

    if (u.family != AF_UNIX && u.host.data[0] != '['
        && ngx_inet_addr(u.host.data, u.host.len) == INADDR_NONE)
    {
        addr->host = u.host;
    }

    len = sizeof("redis://:65535/65535") - 1 + url->len;

    addr->text.data = ngx_pnalloc(cf->pool, len);
    if (addr->text.data == NULL) {
        return "no memory";
    }

    if (u.family == AF_UNIX) {
        addr->text.len = ngx_sprintf(addr->text.data, "%V", url)
                         - addr->text.data;

    } else {
        addr->text.len = ngx_sprintf(addr->text.data, "redis://%V:%d/%ui",
                                     &u.host, (int) u.port, addr->db)
                         - addr->text.data;
    }

    return NULL;
}


static char *
ngx_http_corral_redis_url_db(ngx_conf_t *cf, ngx_str_t *db,
    ngx_http_corral_redis_addr_t *addr)
{
    ngx_int_t  n;

    n = ngx_atoi(db->data, db->len);

    if (n == NGX_ERROR || n > NGX_HTTP_CORRAL_REDIS_DB_MAX) {
        return ngx_http_corral_redis_url_error(cf,
                       "invalid database \"%V\" in the address of Redis; "
                       "it is to be a number, 0 to %d", db,
                       NGX_HTTP_CORRAL_REDIS_DB_MAX);
    }

    addr->db = n;

    return NULL;
}


static char *
ngx_http_corral_redis_url_decode(ngx_conf_t *cf, ngx_str_t *in, ngx_str_t *out)
{
    u_char     *p, *last, *dst;
    ngx_int_t   n;

    dst = ngx_pnalloc(cf->pool, in->len + 1);
    if (dst == NULL) {
        return "no memory";
    }

    out->data = dst;
    last = in->data + in->len;

    for (p = in->data; p < last; p++) {

        if (*p != '%') {
            *dst++ = *p;
            continue;
        }

        n = (last - p > 2) ? ngx_hextoi(p + 1, 2) : NGX_ERROR;

        if (n == NGX_ERROR || n == 0) {
            return "\"%\" in the user or password of Redis is to be followed "
                   "by two hexadecimal digits, not 00; write \"%25\" for "
                   "the character itself";
        }

        *dst++ = (u_char) n;
        p += 2;
    }

    *dst = '\0';
    out->len = dst - out->data;

    return NULL;
}


static char *
ngx_http_corral_redis_url_error(ngx_conf_t *cf, const char *fmt, ...)
{
    u_char   *p, *last;
    va_list   args;

    p = ngx_pnalloc(cf->pool, NGX_MAX_ERROR_STR);
    if (p == NULL) {
        return "no memory";
    }

    va_start(args, fmt);
    last = ngx_vslprintf(p, p + NGX_MAX_ERROR_STR - 1, fmt, args);
    va_end(args);

    *last = '\0';

    return (char *) p;
}
