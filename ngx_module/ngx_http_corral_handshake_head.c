
/*
 * The words of a handshake: the request that the agent gets, the head of its
 * answer, whether that is a sound 101, and the 101 that the client gets.
 *
 * Strings are not copied: headers of the answer point into the buffer that it
 * was read into, which lives as long as the request.
 */


#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral.h"
#include "ngx_http_corral_handshake.h"

#include <ngx_sha1.h>


#define NGX_HTTP_CORRAL_HANDSHAKE_INTERIM  8     /* 1xx answers before it */
#define NGX_HTTP_CORRAL_HANDSHAKE_GUID                                        \
    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


static ngx_uint_t ngx_http_corral_handshake_own(ngx_table_elt_t *header,
    ngx_uint_t host);
static ngx_int_t ngx_http_corral_handshake_header(
    ngx_http_corral_handshake_t *h);
static ngx_uint_t ngx_http_corral_handshake_accept(ngx_http_request_t *r,
    ngx_str_t *accept);
static ngx_uint_t ngx_http_corral_handshake_offered(ngx_http_request_t *r,
    char *name, ngx_str_t *value);
static ngx_table_elt_t *ngx_http_corral_handshake_find(ngx_list_t *headers,
    char *name, ngx_uint_t *count);
static ngx_str_t ngx_http_corral_handshake_item(u_char **pp, u_char *last);


/*
 * The request for the agent: the client's, with what belongs to the hop made
 * anew.  Connection and Upgrade are ours, Host may be the service's.
 */

ngx_int_t
ngx_http_corral_handshake_request(ngx_http_corral_handshake_t *h)
{
    size_t                  len;
    u_char                 *p;
    ngx_str_t              *uri;
    ngx_uint_t              i, host;
    ngx_list_part_t        *part;
    ngx_table_elt_t        *e;
    ngx_http_request_t     *r;
    ngx_http_corral_ctx_t  *ctx;

    static u_char  head[] = "GET ";
    static u_char  hop[] = "Connection: Upgrade" CRLF
                           "Upgrade: websocket" CRLF CRLF;

    r = h->request;
    ctx = h->ctx;

    uri = ctx->uri.len ? &ctx->uri : &r->unparsed_uri;
    host = ctx->upstream_host.len != 0;

    len = sizeof(head) + uri->len + sizeof(" HTTP/1.1" CRLF) + sizeof(hop)
          + sizeof("Host: " CRLF) + ctx->upstream_host.len;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {
            len += e[i].key.len + sizeof(": ") + e[i].value.len + sizeof(CRLF);
        }
    }

    h->out = ngx_create_temp_buf(r->pool, len);
    if (h->out == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(h->out->last, "%s%V HTTP/1.1" CRLF, head, uri);

    if (host) {
        p = ngx_sprintf(p, "Host: %V" CRLF, &ctx->upstream_host);
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (e[i].hash && !ngx_http_corral_handshake_own(&e[i], host)) {
                p = ngx_sprintf(p, "%V: %V" CRLF, &e[i].key, &e[i].value);
            }
        }
    }

    h->out->last = ngx_cpymem(p, hop, sizeof(hop) - 1);

    return NGX_OK;
}


/* headers of one hop, and Host if we write it ourselves */

static ngx_uint_t
ngx_http_corral_handshake_own(ngx_table_elt_t *header, ngx_uint_t host)
{
    ngx_str_t  *name;

    static ngx_str_t  names[] = {
        ngx_string("host"),                 /* must be the first */
        ngx_string("connection"),
        ngx_string("upgrade"),
        ngx_string("keep-alive"),
        ngx_string("proxy-connection"),
        ngx_string("te"),
        ngx_string("trailer"),
        ngx_string("transfer-encoding"),
        ngx_string("content-length"),
        ngx_string("expect"),
        ngx_null_string
    };

    for (name = host ? names : names + 1; name->len; name++) {

        if (header->key.len == name->len
            && ngx_strncasecmp(header->key.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Parses the head of the answer as far as it is there.  NGX_OK when it is
 * whole, NGX_AGAIN, NGX_ERROR, or NGX_DECLINED if it is no HTTP.
 */

ngx_int_t
ngx_http_corral_handshake_parse(ngx_http_corral_handshake_t *h)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = h->request;

    for ( ;; ) {

        if (!h->status_done) {

            rc = ngx_http_parse_status_line(r, h->in, &h->status);

            if (rc == NGX_ERROR) {
                ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                              "upstream sent no valid HTTP header");
                return NGX_DECLINED;
            }

            if (rc == NGX_AGAIN) {
                return NGX_AGAIN;
            }

            h->status_done = 1;
            r->state = 0;

            if (ngx_list_init(&r->upstream->headers_in.headers, r->pool, 12,
                              sizeof(ngx_table_elt_t))
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        rc = ngx_http_corral_handshake_header(h);

        if (rc != NGX_OK) {
            return rc;
        }

        r->state = 0;

        if (h->status.code >= 200
            || h->status.code == NGX_HTTP_SWITCHING_PROTOCOLS)
        {
            return NGX_OK;
        }

        /* 100, 103: an interim answer, another one follows */

        h->status_done = 0;
        ngx_memzero(&h->status, sizeof(ngx_http_status_t));

        if (++h->passed > NGX_HTTP_CORRAL_HANDSHAKE_INTERIM) {
            return NGX_DECLINED;
        }
    }
}


/* parses header lines; returns as handshake_parse() */

static ngx_int_t
ngx_http_corral_handshake_header(ngx_http_corral_handshake_t *h)
{
    ngx_int_t            rc;
    ngx_table_elt_t     *e;
    ngx_http_request_t  *r;

    r = h->request;

    for ( ;; ) {
        rc = ngx_http_parse_header_line(r, h->in, 1);

        if (rc == NGX_HTTP_PARSE_HEADER_DONE) {
            return NGX_OK;
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc != NGX_OK) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "upstream sent invalid header");
            return NGX_DECLINED;
        }

        e = ngx_list_push(&r->upstream->headers_in.headers);
        if (e == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(e, sizeof(ngx_table_elt_t));

        e->hash = r->header_hash;
        e->key.data = r->header_name_start;
        e->key.len = r->header_name_end - r->header_name_start;
        e->value.data = r->header_start;
        e->value.len = r->header_end - r->header_start;

        e->lowcase_key = ngx_pnalloc(r->pool, e->key.len);
        if (e->lowcase_key == NULL) {
            e->hash = 0;
            return NGX_ERROR;
        }

        ngx_strlow(e->lowcase_key, e->key.data, e->key.len);
    }
}


/* checks a 101 against what was offered; NULL or what is wrong with it */

char *
ngx_http_corral_handshake_check(ngx_http_corral_handshake_t *h)
{
    ngx_list_t          *headers;
    ngx_uint_t           n;
    ngx_table_elt_t     *e;
    ngx_http_request_t  *r;

    r = h->request;
    headers = &r->upstream->headers_in.headers;

    if (!ngx_http_corral_handshake_token(headers, "upgrade", "websocket")
        || !ngx_http_corral_handshake_token(headers, "connection", "upgrade"))
    {
        return "its 101 does not upgrade to WebSocket";
    }

    e = ngx_http_corral_handshake_find(headers, "sec-websocket-accept", &n);

    if (n != 1 || !ngx_http_corral_handshake_accept(r, &e->value)) {
        return "Sec-WebSocket-Accept does not fit the key";
    }

    e = ngx_http_corral_handshake_find(headers, "sec-websocket-protocol", &n);

    if (n > 1
        || (e && (ngx_strlchr(e->value.data, e->value.data + e->value.len, ',')
                  || !ngx_http_corral_handshake_offered(r,
                                        "sec-websocket-protocol", &e->value))))
    {
        return "it chose a subprotocol that was not offered";
    }

    e = ngx_http_corral_handshake_find(headers, "sec-websocket-extensions",
                                       &n);
    if (n > 1
        || (e && !ngx_http_corral_handshake_offered(r,
                                       "sec-websocket-extensions", &e->value)))
    {
        return "it chose an extension that was not offered";
    }

    h->deflate = e != NULL;

    return NULL;
}


/* base64(sha1(key + GUID)) */

static ngx_uint_t
ngx_http_corral_handshake_accept(ngx_http_request_t *r, ngx_str_t *accept)
{
    ngx_str_t         src, dst;
    ngx_sha1_t        sha1;
    ngx_table_elt_t  *key;
    u_char            digest[20], base64[ngx_base64_encoded_length(20)];

    static ngx_str_t  name = ngx_string("sec-websocket-key");

    key = ngx_http_corral_get_header(r, &name);

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, key->value.data, key->value.len);
    ngx_sha1_update(&sha1, NGX_HTTP_CORRAL_HANDSHAKE_GUID,
                    sizeof(NGX_HTTP_CORRAL_HANDSHAKE_GUID) - 1);
    ngx_sha1_final(digest, &sha1);

    src.data = digest;
    src.len = sizeof(digest);
    dst.data = base64;

    ngx_encode_base64(&dst, &src);

    return accept->len == dst.len
           && ngx_memcmp(accept->data, dst.data, dst.len) == 0;
}


/* is each item that the agent chose among those that the client offered? */

static ngx_uint_t
ngx_http_corral_handshake_offered(ngx_http_request_t *r, char *name,
    ngx_str_t *value)
{
    u_char      *p, *last;
    ngx_str_t    item;
    ngx_uint_t   n;
    u_char       token[128];

    p = value->data;
    last = p + value->len;
    n = 0;

    while (p < last) {
        item = ngx_http_corral_handshake_item(&p, last);

        if (item.len == 0) {
            continue;
        }

        if (item.len >= sizeof(token)) {
            return 0;
        }

        *ngx_cpymem(token, item.data, item.len) = '\0';
        n++;

        if (!ngx_http_corral_handshake_token(&r->headers_in.headers, name,
                                             (char *) token))
        {
            return 0;
        }
    }

    return n != 0;
}


/*
 * The 101 for the client: the agent's headers as they came, and those that
 * other steps have put into headers_out.  $sent_http_* sees them all.
 */

ngx_int_t
ngx_http_corral_handshake_reply(ngx_http_corral_handshake_t *h,
    ngx_str_t *head)
{
    size_t               len;
    u_char              *p;
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *e, *out;
    ngx_http_request_t  *r;

    static u_char  line[] = "HTTP/1.1 101 Switching Protocols" CRLF;

    r = h->request;

    for (part = &r->upstream->headers_in.headers.part; part; part = part->next)
    {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {
            out = ngx_list_push(&r->headers_out.headers);
            if (out == NULL) {
                return NGX_ERROR;
            }

            *out = e[i];
        }
    }

    if (ngx_http_corral_affinity_answer(r, h->ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    len = sizeof(line) + sizeof(CRLF);

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {
            len += e[i].key.len + sizeof(": ") + e[i].value.len + sizeof(CRLF);
        }
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    head->data = p;
    p = ngx_cpymem(p, line, sizeof(line) - 1);

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (e[i].hash) {
                p = ngx_sprintf(p, "%V: %V" CRLF, &e[i].key, &e[i].value);
            }
        }
    }

    *p++ = CR;
    *p++ = LF;
    head->len = p - head->data;

    return NGX_OK;
}


/* the first header of this name (in lower case), and how many there are */

static ngx_table_elt_t *
ngx_http_corral_handshake_find(ngx_list_t *headers, char *name,
    ngx_uint_t *count)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *e, *found;

    len = ngx_strlen(name);
    found = NULL;
    *count = 0;

    for (part = &headers->part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (e[i].key.len != len
                || ngx_strncasecmp(e[i].key.data, (u_char *) name, len) != 0)
            {
                continue;
            }

            if (found == NULL) {
                found = &e[i];
            }

            (*count)++;
        }
    }

    return found;
}


ngx_uint_t
ngx_http_corral_handshake_token(ngx_list_t *headers, char *name, char *token)
{
    size_t            len, want;
    u_char           *p, *last;
    ngx_str_t         item;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *e;

    len = ngx_strlen(name);
    want = ngx_strlen(token);

    for (part = &headers->part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (e[i].key.len != len
                || ngx_strncasecmp(e[i].key.data, (u_char *) name, len) != 0)
            {
                continue;
            }

            p = e[i].value.data;
            last = p + e[i].value.len;

            while (p < last) {
                item = ngx_http_corral_handshake_item(&p, last);

                if (item.len == want
                    && ngx_strncasecmp(item.data, (u_char *) token, want) == 0)
                {
                    return 1;
                }
            }
        }
    }

    return 0;
}


/*
 * The next item of a list "a; x=1, b", without its parameters; advances p
 * behind it and its comma.  Empty items are possible.
 */

static ngx_str_t
ngx_http_corral_handshake_item(u_char **pp, u_char *last)
{
    u_char      *p;
    ngx_str_t    item;
    ngx_uint_t   quoted, params;

    p = *pp;

    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    item.data = p;
    item.len = 0;
    quoted = 0;
    params = 0;

    for ( /* void */ ; p < last; p++) {

        if (*p == '"') {
            quoted = !quoted;

        } else if (*p == '\\' && quoted && p + 1 < last) {
            p++;

        } else if (*p == ',' && !quoted) {
            break;

        } else if (*p == ';' && !quoted) {
            params = 1;
        }

        if (!params && *p != ' ' && *p != '\t') {
            item.len = p + 1 - item.data;
        }
    }

    *pp = p < last ? p + 1 : p;

    return item;
}
