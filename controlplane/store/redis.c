
/*
 * One connection to Redis: connect, authenticate, send, time out, come back.
 * It knows no key.
 *
 * hiredis 0.14 resolves names blocking and has no time-outs of its own, so
 * both are here: names through libuv, and a deadline for each command.  Redis
 * answers in order, so when the oldest command is late, all are: the
 * connection is dropped and every handler hears of it.
 *
 * Lifetimes: the redisAsyncContext frees itself after its disconnect
 * callback; r->ac is cleared there and nowhere else.  A handler is called
 * exactly once; when there is no connection, from the next turn of the loop.
 */


#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/async.h>
#include <hiredis/adapters/libuv.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "redis.h"


/* ms between tries, doubled from the first to the last, plus up to half */

#define CORRALD_REDIS_FIRST  50
#define CORRALD_REDIS_LAST   2000

/* ms between looks at the oldest command */

#define CORRALD_REDIS_TICK   100


typedef struct corrald_redis_call_s  corrald_redis_call_t;

struct corrald_redis_call_s {
    corrald_redis_call_t     *next;  /* sent after this one */
    corrald_redis_t          *redis;
    corrald_redis_pt          handler;
    void                     *data;
    int64_t                   deadline;
};


struct corrald_redis_s {
    const char               *name;
    const corrald_redis_url_t  *url;
    corrald_redis_state_pt    handler;
    void                     *data;

    redisAsyncContext        *ac;
    corrald_redis_call_t     *first; /* the oldest without an answer */
    corrald_redis_call_t    **last;
    corrald_timer_t          *tick;
    corrald_timer_t          *retry;

    int64_t                   deadline;  /* of the handshake, 0: none */
    int64_t                   delay;
    unsigned                  up:1;
    unsigned                  resolving:1;
    unsigned                  closed:1;
    char                      error[256];
};


typedef struct {
    uv_getaddrinfo_t          uv;    /* must be first */
    corrald_redis_t          *redis;
} corrald_redis_resolve_t;


static void corrald_redis_resolve(corrald_redis_t *r);
static void corrald_redis_resolved(uv_getaddrinfo_t *uv, int status,
    struct addrinfo *res);
static void corrald_redis_attach(corrald_redis_t *r, redisAsyncContext *ac);
static void corrald_redis_connected(const redisAsyncContext *ac, int status);
static void corrald_redis_disconnected(const redisAsyncContext *ac,
    int status);
static void corrald_redis_handshake(corrald_redis_t *r);
static void corrald_redis_greeted(const redisReply *reply, const char *err,
    void *data);
static void corrald_redis_pong(const redisReply *reply, const char *err,
    void *data);
static void corrald_redis_replied(redisAsyncContext *ac, void *reply,
    void *data);
static void corrald_redis_lost(corrald_redis_t *r, const char *err);
static void corrald_redis_again(void *data);
static void corrald_redis_ticked(void *data);
static corrald_redis_call_t *corrald_redis_call(corrald_redis_t *r,
    int64_t wait, corrald_redis_pt handler, void *data);
static void corrald_redis_refused(void *data);
static void corrald_redis_fatal(const corrald_redis_t *r);


/*
 * Parses unix:/path or redis://[user:password@]host[:port][/db], with
 * percent-encoding in user and password.  Returns 0, or -1 and a sentence,
 * which does not repeat the password.
 */

static char *
corrald_redis_decode(const char *s, size_t len)
{
    char      *out, hex[3];
    size_t     i, n;

    out = malloc(len + 1);

    for (i = 0, n = 0; out && i < len; i++) {
        if (s[i] == '%' && i + 2 < len) {
            hex[0] = s[i + 1];
            hex[1] = s[i + 2];
            hex[2] = '\0';
            out[n++] = (char) strtol(hex, NULL, 16);
            i += 2;
            continue;
        }

        out[n++] = s[i];
    }

    if (out) {
        out[n] = '\0';
    }

    return out;
}


int
corrald_redis_url(corrald_redis_url_t *url, const char *text, char *err,
    size_t size)
{
    char        *end;
    long         n;
    size_t       len;
    const char  *p, *at, *colon, *slash;

    memset(url, 0, sizeof(*url));

    if (strncmp(text, "unix:", 5) == 0) {
        url->path = strdup(text + 5);

        if (url->path == NULL || strlen(url->path) > 107) {
            snprintf(err, size, "the path of a unix socket has at most 107 "
                     "bytes");
            return -1;
        }

        return 0;
    }

    if (strncmp(text, "redis://", 8) != 0) {
        snprintf(err, size, "an address of Redis is unix:/path or "
                 "redis://[user:password@]host[:port][/db]");
        return -1;
    }

    p = text + 8;
    at = strrchr(p, '@');

    if (at) {
        colon = memchr(p, ':', (size_t) (at - p));

        if (colon && colon > p) {
            url->user = corrald_redis_decode(p, (size_t) (colon - p));
        }

        p = colon ? colon + 1 : p;
        url->password = corrald_redis_decode(p, (size_t) (at - p));
        p = at + 1;
    }

    slash = strchr(p, '/');
    len = slash ? (size_t) (slash - p) : strlen(p);

    if (*p == '[') {
        colon = memchr(p, ']', len);

        if (colon == NULL) {
            snprintf(err, size, "an IPv6 address of Redis ends with \"]\"");
            return -1;
        }

        url->host = strndup(p + 1, (size_t) (colon - p - 1));
        colon = colon[1] == ':' ? colon + 1 : NULL;

    } else {
        colon = memchr(p, ':', len);
        url->host = strndup(p, colon ? (size_t) (colon - p) : len);
    }

    if (url->host == NULL || *url->host == '\0') {
        snprintf(err, size, "the address of Redis has no host");
        return -1;
    }

    n = 6379;

    if (colon) {
        n = strtol(colon + 1, &end, 10);

        if (n < 1 || n > 65535 || (*end != '\0' && *end != '/')) {
            snprintf(err, size, "the port of Redis must be from 1 to 65535");
            return -1;
        }
    }

    url->port = (uint16_t) n;

    if (slash && slash[1]) {
        n = strtol(slash + 1, &end, 10);

        if (n < 0 || n > 65535 || *end != '\0') {
            snprintf(err, size, "the database of Redis must be a number");
            return -1;
        }

        url->db = (int) n;
    }

    return 0;
}


void
corrald_redis_url_free(corrald_redis_url_t *url)
{
    free(url->path);
    free(url->host);
    free(url->user);
    free(url->password);

    memset(url, 0, sizeof(*url));
}


/*
 * Returns a connection that is not yet begun, or NULL when memory is short.
 * name (a literal) and url must live as long as the connection.
 */

corrald_redis_t *
corrald_redis_create(const char *name, const corrald_redis_url_t *url,
    corrald_redis_state_pt handler, void *data)
{
    corrald_redis_t  *r;

    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return NULL;
    }

    r->name = name;
    r->url = url;
    r->handler = handler;
    r->data = data;
    r->last = &r->first;
    r->delay = CORRALD_REDIS_FIRST;

    r->tick = corrald_loop_timer(CORRALD_REDIS_TICK, CORRALD_REDIS_TICK,
                                 corrald_redis_ticked, r);
    if (r->tick == NULL) {
        free(r);
        return NULL;
    }

    return r;
}


/* Begins to connect, and does so again after each loss. */

void
corrald_redis_connect(corrald_redis_t *r)
{
    if (r->closed || r->ac || r->resolving) {
        return;
    }

    corrald_loop_timer_stop(&r->retry);

    r->deadline = corrald_clock_monotonic() + corrald_conf()->redis_timeout;

    if (r->url->path) {
        corrald_redis_attach(r, redisAsyncConnectUnix(r->url->path));
        return;
    }

    corrald_redis_resolve(r);
}


/* Writes what is to be sent as far as the socket takes it, at once. */

void
corrald_redis_flush(corrald_redis_t *r)
{
    if (r->ac && (r->ac->c.flags & REDIS_CONNECTED)) {
        redisAsyncHandleWrite(r->ac);
    }
}


/* Drops the connection; all handlers hear of it.  It comes back by itself. */

void
corrald_redis_break(corrald_redis_t *r, const char *why)
{
    redisAsyncContext  *ac;

    ac = r->ac;

    if (ac == NULL || (ac->c.flags & REDIS_FREEING)) {
        return;
    }

    snprintf(r->error, sizeof(r->error), "%s", why);

    if (ac->c.flags & REDIS_CONNECTED) {

        /* calls the handlers, then the disconnect callback */

        redisAsyncFree(ac);
        return;
    }

    /* without a connection there is no disconnect callback */

    r->ac = NULL;
    ac->data = NULL;
    redisAsyncFree(ac);

    corrald_redis_lost(r, why);
}


/* Ends the connection for good.  Handlers are called before it returns. */

void
corrald_redis_destroy(corrald_redis_t *r)
{
    if (r == NULL) {
        return;
    }

    r->closed = 1;

    corrald_loop_timer_stop(&r->tick);
    corrald_loop_timer_stop(&r->retry);
    corrald_redis_break(r, "corrald ends");

    if (!r->resolving) {
        free(r);
    }
}


int
corrald_redis_is_up(const corrald_redis_t *r)
{
    return r && r->up;
}


/* The argument is borrowed until corrald_redis_send(). */

void
corrald_redis_add(corrald_redis_args_t *a, const char *arg)
{
    corrald_redis_add_len(a, arg, strlen(arg));
}


void
corrald_redis_add_len(corrald_redis_args_t *a, const void *arg, size_t len)
{
    size_t        size, *lens;
    const char  **argv;

    if (a->failed) {
        return;
    }

    if (a->n == a->size) {
        size = a->size ? a->size * 2 : 16;

        argv = realloc(a->argv, size * sizeof(*argv));
        if (argv) {
            a->argv = argv;
        }

        lens = realloc(a->len, size * sizeof(*lens));
        if (lens) {
            a->len = lens;
        }

        if (argv == NULL || lens == NULL) {
            a->failed = 1;
            return;
        }

        a->size = size;
    }

    a->argv[a->n] = arg;
    a->len[a->n++] = len;
}


void
corrald_redis_args_free(corrald_redis_args_t *a)
{
    free(a->argv);
    free(a->len);

    memset(a, 0, sizeof(*a));
}


/*
 * Sends a command.  wait: ms that Redis may take beside redis_timeout, for
 * commands that block.  handler may be NULL.
 */

void
corrald_redis_send(corrald_redis_t *r, const corrald_redis_args_t *a,
    int64_t wait, corrald_redis_pt handler, void *data)
{
    int                    rc;
    corrald_redis_call_t  *call;

    call = corrald_redis_call(r, wait, handler, data);

    if (call == NULL || call->redis == NULL) {
        return;
    }

    rc = a->failed ? REDIS_ERR
                   : redisAsyncCommandArgv(r->ac, corrald_redis_replied, call,
                                           (int) a->n, a->argv, a->len);

    if (rc != REDIS_OK) {
        corrald_redis_fatal(r);
    }
}


/* The same with a format of hiredis: %s, %b (pointer, size_t), %lld. */

void
corrald_redis_command(corrald_redis_t *r, int64_t wait,
    corrald_redis_pt handler, void *data, const char *fmt, ...)
{
    int                    rc;
    va_list                args;
    corrald_redis_call_t  *call;

    call = corrald_redis_call(r, wait, handler, data);

    if (call == NULL || call->redis == NULL) {
        return;
    }

    va_start(args, fmt);
    rc = redisvAsyncCommand(r->ac, corrald_redis_replied, call, fmt, args);
    va_end(args);

    if (rc != REDIS_OK) {
        corrald_redis_fatal(r);
    }
}


/*
 * Puts a call at the end of those that wait.  Without a connection it is
 * refused in the next turn of the loop, and its redis is NULL.
 */

static corrald_redis_call_t *
corrald_redis_call(corrald_redis_t *r, int64_t wait, corrald_redis_pt handler,
    void *data)
{
    corrald_redis_call_t  *call;

    call = calloc(1, sizeof(*call));

    if (call == NULL) {
        corrald_redis_fatal(r);
    }

    call->handler = handler;
    call->data = data;

    if (r == NULL || r->ac == NULL
        || (r->ac->c.flags & (REDIS_DISCONNECTING|REDIS_FREEING)))
    {
        if (corrald_loop_soon(corrald_redis_refused, call) != 0) {
            corrald_redis_refused(call);
            return NULL;
        }

        return call;
    }

    call->redis = r;
    call->deadline = corrald_clock_monotonic()
                     + corrald_conf()->redis_timeout + wait;

    *r->last = call;
    r->last = &call->next;

    return call;
}


static void
corrald_redis_refused(void *data)
{
    corrald_redis_call_t  *call;

    call = data;

    if (call->handler) {
        call->handler(NULL, "not connected to Redis", call->data);
    }

    free(call);
}


/*
 * Memory is short.  A command that is half sent or never answered would break
 * the promise to its caller; agents outlive us, so we begin anew.
 */

static void
corrald_redis_fatal(const corrald_redis_t *r)
{
    corrald_log_error("redis %s: no memory for a command", r->name);
    abort();
}


static void
corrald_redis_resolve(corrald_redis_t *r)
{
    char                      port[8];
    struct addrinfo           hints;
    corrald_redis_resolve_t  *res;

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = AF_UNSPEC;

    snprintf(port, sizeof(port), "%u", r->url->port);

    res = malloc(sizeof(*res));
    if (res == NULL) {
        corrald_redis_lost(r, "no memory to resolve the name of Redis");
        return;
    }

    res->redis = r;

    if (uv_getaddrinfo(corrald_loop_uv(), &res->uv, corrald_redis_resolved,
                       r->url->host, port, &hints)
        != 0)
    {
        free(res);
        corrald_redis_lost(r, "the name of Redis cannot be resolved");
        return;
    }

    r->resolving = 1;
}


static void
corrald_redis_resolved(uv_getaddrinfo_t *uv, int status, struct addrinfo *ai)
{
    char                      host[64], err[160];
    corrald_redis_t          *r;
    corrald_redis_resolve_t  *res;

    res = (corrald_redis_resolve_t *) uv;
    r = res->redis;
    free(res);

    r->resolving = 0;

    if (r->closed) {
        uv_freeaddrinfo(ai);
        free(r);
        return;
    }

    if (status != 0) {
        snprintf(err, sizeof(err), "the name \"%.64s\" of Redis cannot be "
                 "resolved: %s", r->url->host, uv_strerror(status));
        corrald_redis_lost(r, err);
        return;
    }

    if (ai->ai_family == AF_INET6) {
        uv_ip6_name((struct sockaddr_in6 *) ai->ai_addr, host, sizeof(host));

    } else {
        uv_ip4_name((struct sockaddr_in *) ai->ai_addr, host, sizeof(host));
    }

    uv_freeaddrinfo(ai);

    corrald_redis_attach(r, redisAsyncConnect(host, r->url->port));
}


static void
corrald_redis_attach(corrald_redis_t *r, redisAsyncContext *ac)
{
    char  err[256];

    if (ac == NULL) {
        corrald_redis_lost(r, "no memory for a connection");
        return;
    }

    if (ac->err) {
        snprintf(err, sizeof(err), "%s", ac->errstr);
        redisAsyncFree(ac);
        corrald_redis_lost(r, err);
        return;
    }

    ac->data = r;
    r->ac = ac;

    if (redisLibuvAttach(ac, corrald_loop_uv()) != REDIS_OK) {
        ac->data = NULL;
        r->ac = NULL;
        redisAsyncFree(ac);
        corrald_redis_lost(r, "the connection cannot be polled");
        return;
    }

    redisAsyncSetConnectCallback(ac, corrald_redis_connected);
    redisAsyncSetDisconnectCallback(ac, corrald_redis_disconnected);

    corrald_redis_handshake(r);
}


/* Failure only; success is told by the answer to PING. */

static void
corrald_redis_connected(const redisAsyncContext *ac, int status)
{
    corrald_redis_t  *r;

    r = ac->data;

    if (status == REDIS_OK || r == NULL) {
        return;
    }

    /* hiredis frees the context after this without a disconnect callback */

    r->ac = NULL;
    corrald_redis_lost(r, ac->errstr);
}


static void
corrald_redis_disconnected(const redisAsyncContext *ac, int status)
{
    corrald_redis_t  *r;

    r = ac->data;

    if (r == NULL) {
        return;
    }

    r->ac = NULL;

    corrald_redis_lost(r, status != REDIS_OK && *ac->errstr ? ac->errstr
                          : *r->error ? r->error : "Redis closed");
}


/* Sent before the connection stands; hiredis holds it until then. */

static void
corrald_redis_handshake(corrald_redis_t *r)
{
    if (r->url->password) {
        if (r->url->user) {
            corrald_redis_command(r, 0, corrald_redis_greeted, r,
                                  "AUTH %s %s", r->url->user,
                                  r->url->password);

        } else {
            corrald_redis_command(r, 0, corrald_redis_greeted, r, "AUTH %s",
                                  r->url->password);
        }
    }

    if (r->url->db) {
        corrald_redis_command(r, 0, corrald_redis_greeted, r, "SELECT %d",
                              r->url->db);
    }

    corrald_redis_command(r, 0, NULL, NULL, "CLIENT SETNAME corrald-%s",
                          r->name);
    corrald_redis_command(r, 0, corrald_redis_pong, r, "PING");
}


static void
corrald_redis_greeted(const redisReply *reply, const char *err, void *data)
{
    corrald_redis_t  *r;

    r = data;

    if (reply && reply->type == REDIS_REPLY_ERROR) {
        corrald_redis_break(r, reply->str);
    }
}


static void
corrald_redis_pong(const redisReply *reply, const char *err, void *data)
{
    corrald_redis_t  *r;

    r = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {

        /* LOADING: it reads its file */

        corrald_redis_break(r, reply->str);
        return;
    }

    r->deadline = 0;
    r->delay = CORRALD_REDIS_FIRST;
    r->error[0] = '\0';
    r->up = 1;
    r->handler(1, "", r->data);
}


static void
corrald_redis_replied(redisAsyncContext *ac, void *reply, void *data)
{
    const char            *err;
    corrald_redis_t       *r;
    corrald_redis_call_t  *call;

    call = data;
    r = call->redis;

    /* answers come in the order of the commands */

    r->first = call->next;

    if (r->first == NULL) {
        r->last = &r->first;
    }

    err = "";

    if (reply == NULL) {
        err = *r->error ? r->error
              : *ac->errstr ? ac->errstr : "the connection to Redis was lost";
    }

    if (call->handler) {
        call->handler(reply, err, call->data);
    }

    free(call);
}


/* The connection is gone, or could not be made. */

static void
corrald_redis_lost(corrald_redis_t *r, const char *err)
{
    int       was;
    char      text[256];
    int64_t   delay;
    unsigned  jitter;

    was = r->up;

    snprintf(text, sizeof(text), "%s", err);
    snprintf(r->error, sizeof(r->error), "%s", text);

    r->up = 0;
    r->deadline = 0;

    if (!r->closed) {
        if (corrald_crypt_random(&jitter, sizeof(jitter)) != 0) {
            jitter = 0;
        }

        delay = r->delay + (int64_t) (jitter % (unsigned) (r->delay / 2));
        r->delay = r->delay * 2 > CORRALD_REDIS_LAST ? CORRALD_REDIS_LAST
                                                     : r->delay * 2;

        corrald_loop_timer_stop(&r->retry);
        r->retry = corrald_loop_timer((uint64_t) delay, 0,
                                      corrald_redis_again, r);
    }

    corrald_log_debug("redis %s: %s", r->name, text);

    r->handler(was ? 0 : -1, text, r->data);

    r->error[0] = '\0';
}


static void
corrald_redis_again(void *data)
{
    corrald_redis_t  *r;

    r = data;
    r->retry = NULL;

    corrald_redis_connect(r);
}


static void
corrald_redis_ticked(void *data)
{
    int64_t           now;
    corrald_redis_t  *r;

    r = data;

    if (r->ac == NULL) {
        return;
    }

    now = corrald_clock_monotonic();

    if ((r->first && r->first->deadline < now)
        || (r->deadline && r->deadline < now))
    {
        corrald_redis_break(r, "Redis did not answer in time");
    }
}
