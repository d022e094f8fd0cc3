
/*
 * Bytes of Redis' protocol in, answers out: hiredis' redisReader with objects
 * of our own and with bounds.  Knows no connection.
 *
 * What comes from the other side is not trusted: an answer has at most so many
 * bytes and elements, and a line an end.  hiredis 0.14 itself bounds none of
 * them.
 *
 * Lifetimes: an answer lies in a pool of its own, made with its outermost
 * object.  The pool is the reader's until the answer is complete, then the
 * caller's.
 */


#include "ngx_http_corral_redis_reader.h"


#define NGX_HTTP_CORRAL_REDIS_READER_BUFFER    (64 * 1024)  /* when empty */
#define NGX_HTTP_CORRAL_REDIS_READER_BYTES     (64 * 1024 * 1024)
#define NGX_HTTP_CORRAL_REDIS_READER_ELEMENTS  (1024 * 1024)
#define NGX_HTTP_CORRAL_REDIS_READER_LINE      (64 * 1024)


static ngx_uint_t ngx_http_corral_redis_reader_endless(redisReader *reader);
static ngx_http_corral_redis_reply_t *ngx_http_corral_redis_reader_object(
    const redisReadTask *task, ngx_http_corral_redis_type_e type);
static void *ngx_http_corral_redis_reader_string(const redisReadTask *task,
    char *data, size_t len);
static void *ngx_http_corral_redis_reader_array(const redisReadTask *task,
    int n);
static void *ngx_http_corral_redis_reader_integer(const redisReadTask *task,
    long long value);
static void *ngx_http_corral_redis_reader_nil(const redisReadTask *task);
static void ngx_http_corral_redis_reader_drop(void *object);


static redisReplyObjectFunctions  ngx_http_corral_redis_reader_objects = {
    ngx_http_corral_redis_reader_string,
    ngx_http_corral_redis_reader_array,
    ngx_http_corral_redis_reader_integer,
    ngx_http_corral_redis_reader_nil,
    ngx_http_corral_redis_reader_drop
};


ngx_int_t
ngx_http_corral_redis_reader_init(ngx_http_corral_redis_reader_t *r)
{
    ngx_memzero(r, sizeof(ngx_http_corral_redis_reader_t));

    r->reader = redisReaderCreateWithFunctions(
                                       &ngx_http_corral_redis_reader_objects);

    if (r->reader == NULL) {
        return NGX_ERROR;
    }

    r->reader->privdata = r;
    r->reader->maxbuf = NGX_HTTP_CORRAL_REDIS_READER_BUFFER;

    return NGX_OK;
}


void
ngx_http_corral_redis_reader_free(ngx_http_corral_redis_reader_t *r)
{
    if (r->reader) {
        redisReaderFree(r->reader);
    }

    if (r->pool) {
        ngx_destroy_pool(r->pool);
    }

    ngx_memzero(r, sizeof(ngx_http_corral_redis_reader_t));
}


ngx_int_t
ngx_http_corral_redis_reader_feed(ngx_http_corral_redis_reader_t *r,
    u_char *data, size_t len)
{
    r->bytes += len;

    return (redisReaderFeed(r->reader, (char *) data, len) == REDIS_OK)
           ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_corral_redis_reader_next(ngx_http_corral_redis_reader_t *r,
    ngx_http_corral_redis_reply_t **reply, const char **err)
{
    void  *object;

    if (redisReaderGetReply(r->reader, &object) != REDIS_OK) {
        *err = (r->reader->err == REDIS_ERR_PROTOCOL)
               ? r->reader->errstr
               : "an answer of too many elements, or no memory for it";
        return NGX_ERROR;
    }

    if (object) {
        r->bytes = r->reader->len - r->reader->pos;
        r->elements = 0;
        r->pool = NULL;

        *reply = object;

        return NGX_OK;
    }

    if (r->bytes > NGX_HTTP_CORRAL_REDIS_READER_BYTES) {
        *err = "an answer of more than 64 MB";
        return NGX_ERROR;
    }

    if (ngx_http_corral_redis_reader_endless(r->reader)) {
        *err = "a line without an end";
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * hiredis looks for the end of a line from its beginning with each piece that
 * it is fed: a line of megabytes would cost seconds.
 */

static ngx_uint_t
ngx_http_corral_redis_reader_endless(redisReader *reader)
{
    size_t  len;

    len = reader->len - reader->pos;

    if (reader->ridx < 0) {
        return 0;
    }

    if (reader->rstack[reader->ridx].type == REDIS_REPLY_STRING) {
        return len > 64 && memchr(reader->buf + reader->pos, CR, 64) == NULL;
    }

    return len > NGX_HTTP_CORRAL_REDIS_READER_LINE;
}


/*
 * What redisReader makes of an answer.  It calls for the outermost object
 * first; everything lies in the pool of that one.
 */

static ngx_http_corral_redis_reply_t *
ngx_http_corral_redis_reader_object(const redisReadTask *task,
    ngx_http_corral_redis_type_e type)
{
    ngx_http_corral_redis_reader_t  *r;
    ngx_http_corral_redis_reply_t   *reply, *parent;

    r = task->privdata;

    if (task->parent == NULL) {
        r->pool = ngx_create_pool(
                        type == NGX_HTTP_CORRAL_REDIS_ARRAY ? 4096 : 512,
                        ngx_cycle->log);

        if (r->pool == NULL) {
            return NULL;
        }
    }

    reply = ngx_pcalloc(r->pool,
                        sizeof(ngx_http_corral_redis_reply_t));
    if (reply == NULL) {
        return NULL;
    }

    reply->type = type;
    reply->pool = r->pool;

    if (task->parent) {
        parent = task->parent->obj;
        parent->elements[task->idx] = reply;
    }

    return reply;
}


static void *
ngx_http_corral_redis_reader_string(const redisReadTask *task, char *data,
    size_t len)
{
    u_char                         *p;
    ngx_http_corral_redis_reply_t  *reply;

    reply = ngx_http_corral_redis_reader_object(task,
                     task->type == REDIS_REPLY_STRING
                     ? NGX_HTTP_CORRAL_REDIS_STRING
                     : task->type == REDIS_REPLY_STATUS
                       ? NGX_HTTP_CORRAL_REDIS_STATUS
                       : NGX_HTTP_CORRAL_REDIS_ERROR);
    if (reply == NULL) {
        return NULL;
    }

    p = ngx_pnalloc(reply->pool, len + 1);
    if (p == NULL) {
        return NULL;
    }

    ngx_memcpy(p, data, len);
    p[len] = '\0';

    reply->str.data = p;
    reply->str.len = len;

    return reply;
}


static void *
ngx_http_corral_redis_reader_array(const redisReadTask *task, int n)
{
    ngx_http_corral_redis_reader_t  *r;
    ngx_http_corral_redis_reply_t   *reply;

    r = task->privdata;

    /* NULL is what stops the reader; hiredis calls it "Out of memory" */

    if (n < 0
        || r->elements + (size_t) n > NGX_HTTP_CORRAL_REDIS_READER_ELEMENTS)
    {
        return NULL;
    }

    r->elements += n;

    reply = ngx_http_corral_redis_reader_object(task,
                                                NGX_HTTP_CORRAL_REDIS_ARRAY);
    if (reply == NULL) {
        return NULL;
    }

    if (n) {
        reply->elements = ngx_pcalloc(reply->pool,
                              n * sizeof(ngx_http_corral_redis_reply_t *));
        if (reply->elements == NULL) {
            return NULL;
        }
    }

    reply->n = n;

    return reply;
}


static void *
ngx_http_corral_redis_reader_integer(const redisReadTask *task, long long value)
{
    ngx_http_corral_redis_reply_t  *reply;

    reply = ngx_http_corral_redis_reader_object(task,
                                               NGX_HTTP_CORRAL_REDIS_INTEGER);

    if (reply) {
        reply->integer = value;
    }

    return reply;
}


static void *
ngx_http_corral_redis_reader_nil(const redisReadTask *task)
{
    return ngx_http_corral_redis_reader_object(task, NGX_HTTP_CORRAL_REDIS_NIL);
}


/*
 * Called by hiredis for an answer that it cannot finish.  Its pool is the
 * reader's until the answer is complete: reader_free() destroys it.
 */

static void
ngx_http_corral_redis_reader_drop(void *object)
{
    (void) object;
}
