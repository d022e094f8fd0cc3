
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

#include <openssl/evp.h>

#include <sys/random.h>


#define NGX_HTTP_CORRAL_HANDSHAKE_INTERIM  8     /* 1xx answers before it */
#define NGX_HTTP_CORRAL_HANDSHAKE_GUID                                        \
    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#define NGX_HTTP_CORRAL_HANDSHAKE_ANEW     "; client_no_context_takeover"
#define NGX_HTTP_CORRAL_HANDSHAKE_SESSION  32    /* bytes of a random one */


static u_char *ngx_http_corral_handshake_line(u_char *p,
    ngx_table_elt_t *header);
static ngx_uint_t ngx_http_corral_handshake_own(ngx_table_elt_t *header,
    ngx_uint_t host);
static u_char *ngx_http_corral_handshake_write(u_char *p, ngx_table_elt_t *e,
    ngx_uint_t failover);
static void ngx_http_corral_handshake_session(ngx_http_corral_handshake_t *h,
    u_char *buf, ngx_str_t *session);
static char *ngx_http_corral_handshake_same(ngx_http_corral_handshake_t *h);
static ngx_uint_t ngx_http_corral_handshake_equal(ngx_list_t *headers,
    char *name, ngx_str_t *value);
static ngx_int_t ngx_http_corral_handshake_takeover(
    ngx_http_corral_handshake_t *h, ngx_table_elt_t *e);
static ngx_int_t ngx_http_corral_handshake_header(
    ngx_http_corral_handshake_t *h);
static ngx_uint_t ngx_http_corral_handshake_accept(ngx_http_request_t *r,
    ngx_str_t *accept);
static ngx_uint_t ngx_http_corral_handshake_offered(ngx_http_request_t *r,
    char *name, ngx_str_t *value);
static ngx_table_elt_t *ngx_http_corral_handshake_find(ngx_list_t *headers,
    char *name, ngx_uint_t *count);
static ngx_str_t ngx_http_corral_handshake_item(u_char **pp, u_char *last);


static ngx_inline ngx_uint_t
ngx_http_corral_handshake_is(ngx_table_elt_t *e, char *name)
{
    size_t  len;

    len = ngx_strlen(name);

    return e->key.len == len
           && ngx_strncasecmp(e->key.data, (u_char *) name, len) == 0;
}


/* bytes that ngx_http_corral_handshake_write() may add to a header */

static ngx_inline size_t
ngx_http_corral_handshake_grows(ngx_table_elt_t *e)
{
    size_t  i, n;

    if (!ngx_http_corral_handshake_is(e, "sec-websocket-extensions")) {
        return 0;
    }

    for (i = 0, n = 1; i < e->value.len; i++) {
        n += e->value.data[i] == ',';
    }

    return n * (sizeof(NGX_HTTP_CORRAL_HANDSHAKE_ANEW) + 2);
}


/*
 * The request for the agent: the client's, with what belongs to the hop made
 * anew.  Connection and Upgrade are ours, Host may be the service's.
 */

ngx_int_t
ngx_http_corral_handshake_request(ngx_http_corral_handshake_t *h)
{
    size_t                  len;
    u_char                 *p;
    ngx_str_t              *uri, session;
    ngx_uint_t              i, host;
    ngx_list_part_t        *part;
    ngx_table_elt_t        *e;
    ngx_http_request_t     *r;
    ngx_http_corral_ctx_t  *ctx;
    u_char                  buf[NGX_HTTP_CORRAL_HANDSHAKE_SESSION];

    static u_char  head[] = "GET ";
    static u_char  hop[] = "Connection: Upgrade" CRLF
                           "Upgrade: websocket" CRLF CRLF;

    r = h->request;
    ctx = h->ctx;

    uri = ctx->uri.len ? &ctx->uri : &r->unparsed_uri;
    host = ctx->upstream_host.len != 0;

    ngx_http_corral_handshake_session(h, buf, &session);

    len = sizeof(head) + uri->len + sizeof(" HTTP/1.1" CRLF) + sizeof(hop)
          + sizeof("Host: " CRLF) + ctx->upstream_host.len
          + sizeof("Corral-Session: " CRLF) + session.len;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        e = part->elts;

        for (i = 0; i < part->nelts; i++) {
            len += e[i].key.len + sizeof(": ") + e[i].value.len + sizeof(CRLF)
                   + ngx_http_corral_handshake_grows(&e[i]);
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
                p = ngx_http_corral_handshake_write(p, &e[i],
                                                    h->terms.failover);
            }
        }
    }

    if (session.len) {
        p = ngx_sprintf(p, "Corral-Session: %V" CRLF, &session);
    }

    h->out->last = ngx_cpymem(p, hop, sizeof(hop) - 1);

    return NGX_OK;
}


static u_char *
ngx_http_corral_handshake_line(u_char *p, ngx_table_elt_t *header)
{
    p = ngx_cpymem(p, header->key.data, header->key.len);
    *p++ = ':';
    *p++ = ' ';
    p = ngx_cpymem(p, header->value.data, header->value.len);
    *p++ = CR;
    *p++ = LF;

    return p;
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

        if (ngx_http_corral_header_is(header, name->data, name->len)) {
            return 1;
        }
    }

    return 0;
}


/*
 * One header for the agent.  Of an agent that may be replaced no compression
 * can be taken over: with replay, messages must be readable, so nothing is
 * offered; else the client must begin each message anew.
 */

static u_char *
ngx_http_corral_handshake_write(u_char *p, ngx_table_elt_t *e,
    ngx_uint_t failover)
{
    u_char     *q, *last;
    ngx_str_t   item;

    if (failover == CORRAL_FAILOVER_CLOSE
        || !ngx_http_corral_handshake_is(e, "sec-websocket-extensions"))
    {
        return ngx_http_corral_handshake_line(p, e);
    }

    if (failover == CORRAL_FAILOVER_REPLAY) {
        return p;
    }

    p = ngx_sprintf(p, "%V: ", &e->key);
    q = e->value.data;
    last = q + e->value.len;

    while (q < last) {
        item = ngx_http_corral_handshake_item(&q, last);

        if (item.len == 0) {
            continue;
        }

        /* whole, with its parameters and without the comma */

        p = ngx_cpymem(p, item.data, q - item.data - (q[-1] == ','));

        if (item.len == sizeof("permessage-deflate") - 1
            && ngx_strncasecmp(item.data, (u_char *) "permessage-deflate",
                               item.len) == 0
            && ngx_strlcasestrn(item.data, q,
                                (u_char *) "client_no_context_takeover",
                                sizeof("client_no_context_takeover") - 2)
               == NULL)
        {
            p = ngx_cpymem(p, NGX_HTTP_CORRAL_HANDSHAKE_ANEW,
                           sizeof(NGX_HTTP_CORRAL_HANDSHAKE_ANEW) - 1);
        }

        if (q < last) {
            *p++ = ',';
            *p++ = ' ';
        }
    }

    *p++ = CR;
    *p++ = LF;

    return p;
}


/*
 * What an agent that takes a session over knows it by: the client's own name
 * of it, or a random one.  Empty if the service does not go on elsewhere.
 */

static void
ngx_http_corral_handshake_session(ngx_http_corral_handshake_t *h, u_char *buf,
    ngx_str_t *session)
{
    size_t  i;
    u_char  bytes[NGX_HTTP_CORRAL_HANDSHAKE_SESSION / 2];

    ngx_str_null(session);

    if (h->terms.failover == CORRAL_FAILOVER_CLOSE) {
        return;
    }

    *session = h->ctx->session;

    for (i = 0; i < session->len; i++) {
        if (session->data[i] <= 0x20 || session->data[i] >= 0x7f) {
            session->len = 0;
        }
    }

    if (session->len) {
        return;
    }

    if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != sizeof(bytes)) {

        for (i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (u_char) ngx_random();
        }
    }

    session->data = buf;
    session->len = ngx_hex_dump(buf, bytes, sizeof(bytes)) - buf;
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

    if (h->agreed) {
        return ngx_http_corral_handshake_same(h);
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
        || (e && h->terms.failover == CORRAL_FAILOVER_REPLAY)
        || (e && !ngx_http_corral_handshake_offered(r,
                                       "sec-websocket-extensions", &e->value)))
    {
        return "it chose an extension that was not offered";
    }

    h->deflate = e != NULL;

    return NULL;
}


/* is this 101 what the client was told when another agent gave it? */

static char *
ngx_http_corral_handshake_same(ngx_http_corral_handshake_t *h)
{
    ngx_list_t                *headers;
    ngx_http_corral_agreed_t  *agreed;

    agreed = h->agreed;
    headers = &h->request->upstream->headers_in.headers;

    if (!ngx_http_corral_handshake_equal(headers, "sec-websocket-accept",
                                         &agreed->accept))
    {
        return "Sec-WebSocket-Accept does not fit the key";
    }

    if (!ngx_http_corral_handshake_equal(headers, "sec-websocket-protocol",
                                         &agreed->protocol))
    {
        return "it chose another subprotocol than the instance before";
    }

    if (!ngx_http_corral_handshake_equal(headers, "sec-websocket-extensions",
                                         &agreed->extensions))
    {
        return "it chose other extensions than the instance before";
    }

    h->deflate = agreed->extensions.len != 0;

    return NULL;
}


/* once with this value, or not at all if that is empty */

static ngx_uint_t
ngx_http_corral_handshake_equal(ngx_list_t *headers, char *name,
    ngx_str_t *value)
{
    ngx_uint_t        n;
    ngx_table_elt_t  *e;

    e = ngx_http_corral_handshake_find(headers, name, &n);

    if (e == NULL) {
        return value->len == 0;
    }

    return n == 1 && e->value.len == value->len
           && ngx_memcmp(e->value.data, value->data, value->len) == 0;
}


void
ngx_http_corral_handshake_agreed(ngx_http_corral_handshake_t *h,
    ngx_http_corral_agreed_t *agreed)
{
    ngx_uint_t        i, n;
    ngx_list_t       *headers;
    ngx_table_elt_t  *e;

    struct {
        char       *name;
        ngx_str_t  *value;
    } values[] = {
        { "sec-websocket-accept", &agreed->accept },
        { "sec-websocket-protocol", &agreed->protocol },
        { "sec-websocket-extensions", &agreed->extensions }
    };

    headers = &h->request->upstream->headers_in.headers;

    for (i = 0; i < 3; i++) {
        e = ngx_http_corral_handshake_find(headers, values[i].name, &n);

        ngx_str_null(values[i].value);

        if (e) {
            *values[i].value = e->value;
        }
    }

    agreed->request.data = h->out->start;
    agreed->request.len = h->out->last - h->out->start - 2;
}


/*
 * base64(sha1(key + GUID)).  OpenSSL's SHA-1 takes the processor's own
 * instructions for it; what it needs is made once and lives as long as the
 * worker.
 */

static ngx_uint_t
ngx_http_corral_handshake_accept(ngx_http_request_t *r, ngx_str_t *accept)
{
    ngx_str_t         src, dst;
    ngx_table_elt_t  *key;
    u_char            digest[EVP_MAX_MD_SIZE];
    u_char            base64[ngx_base64_encoded_length(20)];

    static EVP_MD_CTX  *sha1;
    static ngx_str_t    name = ngx_string("sec-websocket-key");

    key = ngx_http_corral_get_header(r, &name);

    if (sha1 == NULL) {
        sha1 = EVP_MD_CTX_new();
    }

    /* the algorithm is looked up the first time only */

    if (sha1 == NULL
        || EVP_DigestInit_ex(sha1, EVP_MD_CTX_md(sha1) ? NULL : EVP_sha1(),
                             NULL) != 1
        || EVP_DigestUpdate(sha1, key->value.data, key->value.len) != 1
        || EVP_DigestUpdate(sha1, NGX_HTTP_CORRAL_HANDSHAKE_GUID,
                            sizeof(NGX_HTTP_CORRAL_HANDSHAKE_GUID) - 1) != 1
        || EVP_DigestFinal_ex(sha1, digest, NULL) != 1)
    {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "OpenSSL makes no SHA-1");
        return 0;
    }

    src.data = digest;
    src.len = 20;
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

            if (h->terms.failover == CORRAL_FAILOVER_REATTACH
                && ngx_http_corral_handshake_is(out,
                                                "sec-websocket-extensions")
                && ngx_http_corral_handshake_takeover(h, out) != NGX_OK)
            {
                return NGX_ERROR;
            }
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
                p = ngx_http_corral_handshake_line(p, &e[i]);
            }
        }
    }

    *p++ = CR;
    *p++ = LF;
    head->len = p - head->data;

    return NGX_OK;
}


/* the client must not compress with what only the agent of now has seen */

static ngx_int_t
ngx_http_corral_handshake_takeover(ngx_http_corral_handshake_t *h,
    ngx_table_elt_t *e)
{
    u_char  *p;

    if (ngx_strlcasestrn(e->value.data, e->value.data + e->value.len,
                         (u_char *) "client_no_context_takeover",
                         sizeof("client_no_context_takeover") - 2))
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(h->request->pool, e->value.len
                              + sizeof(NGX_HTTP_CORRAL_HANDSHAKE_ANEW));
    if (p == NULL) {
        return NGX_ERROR;
    }

    e->value.len = ngx_sprintf(p, "%V" NGX_HTTP_CORRAL_HANDSHAKE_ANEW,
                               &e->value)
                   - p;
    e->value.data = p;

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

            if (!ngx_http_corral_header_is(&e[i], name, len)) {
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

            if (!ngx_http_corral_header_is(&e[i], name, len)) {
                continue;
            }

            p = e[i].value.data;
            last = p + e[i].value.len;

            if (e[i].value.len == want
                && ngx_strncasecmp(p, (u_char *) token, want) == 0)
            {
                return 1;                   /* mostly there is one item */
            }

            while (p < last) {
                item = ngx_http_corral_handshake_item(&p, last);

                if (item.len == want
                    && (ngx_memcmp(item.data, token, want) == 0
                        || ngx_strncasecmp(item.data, (u_char *) token, want)
                           == 0))
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
