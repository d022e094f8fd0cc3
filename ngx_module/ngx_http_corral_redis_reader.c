
/*
 * Bytes of Redis' protocol in, answers out: hiredis' redisReader with objects
 * of our own and with bounds.  Knows no connection.
 *
 * What comes from the other side is not trusted: an answer has at most so many
 * bytes, elements and arrays in each other, and a line an end.  hiredis itself
 * bounds none of them, but for the arrays before 1.0.
 *
 * Lifetimes: an answer lies in a pool of its own, made with its outermost
 * object.  The pool is the reader's until the answer is complete, then the
 * caller's.
 */


#include "ngx_http_corral_redis_reader.h"

#include <hiredis/hiredis.h>


/* hiredis 1.0 counts elements otherwise and has its tasks one by one */

#if (HIREDIS_MAJOR >= 1)

typedef size_t  ngx_http_corral_redis_reader_n_t;

#define ngx_http_corral_redis_reader_task(reader)                             \
    (reader)->task[(reader)->ridx]

#else

typedef int  ngx_http_corral_redis_reader_n_t;

#define ngx_http_corral_redis_reader_task(reader)                             \
    (&(reader)->rstack[(reader)->ridx])

#endif


#define NGX_HTTP_CORRAL_REDIS_READER_BUFFER    (64 * 1024)  /* when empty */
#define NGX_HTTP_CORRAL_REDIS_READER_BYTES     (64 * 1024 * 1024)
#define NGX_HTTP_CORRAL_REDIS_READER_ELEMENTS  (1024 * 1024)
#define NGX_HTTP_CORRAL_REDIS_READER_LINE      (64 * 1024)
#define NGX_HTTP_CORRAL_REDIS_READER_DEPTH     7


static ngx_uint_t ngx_http_corral_redis_reader_endless(redisReader *reader);
static ngx_http_corral_redis_reply_t *ngx_http_corral_redis_reader_object(
    const redisReadTask *task, ngx_http_corral_redis_type_e type);
static void *ngx_http_corral_redis_reader_string(const redisReadTask *task,
    char *data, size_t len);
static void *ngx_http_corral_redis_reader_array(const redisReadTask *task,
    ngx_http_corral_redis_reader_n_t n);
static void *ngx_http_corral_redis_reader_integer(const redisReadTask *task,
    long long value);
static void *ngx_http_corral_redis_reader_nil(const redisReadTask *task);
static void ngx_http_corral_redis_reader_drop(void *object);

#if (HIREDIS_MAJOR >= 1)
static void *ngx_http_corral_redis_reader_double(const redisReadTask *task,
    double value, char *data, size_t len);
static void *ngx_http_corral_redis_reader_bool(const redisReadTask *task,
    int value);
#endif


static redisReplyObjectFunctions  ngx_http_corral_redis_reader_objects = {
    .createString = ngx_http_corral_redis_reader_string,
    .createArray = ngx_http_corral_redis_reader_array,
    .createInteger = ngx_http_corral_redis_reader_integer,
    .createNil = ngx_http_corral_redis_reader_nil,
    .freeObject = ngx_http_corral_redis_reader_drop,
#if (HIREDIS_MAJOR >= 1)
    .createDouble = ngx_http_corral_redis_reader_double,
    .createBool = ngx_http_corral_redis_reader_bool,
#endif
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
        *err = r->why ? r->why
               : (r->reader->err == REDIS_ERR_PROTOCOL)
                 ? r->reader->errstr : "no memory for an answer";
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

    if (ngx_http_corral_redis_reader_task(reader)->type == REDIS_REPLY_STRING) {
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
    ngx_http_corral_redis_type_e    type;
    ngx_http_corral_redis_reply_t  *reply;

    switch (task->type) {

    case REDIS_REPLY_STRING:
        type = NGX_HTTP_CORRAL_REDIS_STRING;
        break;

    case REDIS_REPLY_STATUS:
        type = NGX_HTTP_CORRAL_REDIS_STATUS;
        break;

    case REDIS_REPLY_ERROR:
        type = NGX_HTTP_CORRAL_REDIS_ERROR;
        break;

    default:    /* of RESP3, which nobody has asked for */
        return NULL;
    }

    reply = ngx_http_corral_redis_reader_object(task, type);
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
ngx_http_corral_redis_reader_array(const redisReadTask *task,
    ngx_http_corral_redis_reader_n_t n)
{
    ngx_uint_t                       depth;
    const redisReadTask             *parent;
    ngx_http_corral_redis_reader_t  *r;
    ngx_http_corral_redis_reply_t   *reply;

    r = task->privdata;
    depth = 0;

    for (parent = task->parent; parent; parent = parent->parent) {
        depth++;
    }

    /* NULL is what stops the reader; hiredis calls it "Out of memory" */

    if (task->type != REDIS_REPLY_ARRAY) {
        r->why = "an answer of RESP3, which was not asked for";
        return NULL;
    }

    if (depth > NGX_HTTP_CORRAL_REDIS_READER_DEPTH) {
        r->why = "arrays nested too deep";
        return NULL;
    }

    if ((size_t) n > NGX_HTTP_CORRAL_REDIS_READER_ELEMENTS - r->elements) {
        r->why = "an answer of too many elements";
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


#if (HIREDIS_MAJOR >= 1)

/* RESP3 is not asked for: NULL stops the reader */

static void *
ngx_http_corral_redis_reader_double(const redisReadTask *task, double value,
    char *data, size_t len)
{
    return NULL;
}


static void *
ngx_http_corral_redis_reader_bool(const redisReadTask *task, int value)
{
    return NULL;
}

#endif
