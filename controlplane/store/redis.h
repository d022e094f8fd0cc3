
/*
 * One connection to Redis that comes back by itself.  See redis.c.
 */


#ifndef _CORRALD_REDIS_H_INCLUDED_
#define _CORRALD_REDIS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>


typedef struct corrald_redis_s  corrald_redis_t;

/* reply is NULL when the connection was lost: err says why, a sentence */

typedef void (*corrald_redis_pt)(const redisReply *reply, const char *err,
    void *data);

/* up: Redis answers; down: not any more, called once after each up */

typedef void (*corrald_redis_state_pt)(int up, const char *err, void *data);


/* Where Redis is.  Strings are owned. */

typedef struct {
    char     *path;                  /* of a unix socket, or NULL */
    char     *host;
    char     *user;                  /* NULL: none */
    char     *password;              /* NULL: none */
    uint16_t  port;
    int       db;
} corrald_redis_url_t;


/* Arguments of one command, which may hold any bytes. */

typedef struct {
    const char  **argv;
    size_t       *len;
    size_t        n;
    size_t        size;
    int           failed;
} corrald_redis_args_t;


int corrald_redis_url(corrald_redis_url_t *url, const char *text, char *err,
    size_t size) __attribute__((warn_unused_result));
void corrald_redis_url_free(corrald_redis_url_t *url);

corrald_redis_t *corrald_redis_create(const char *name,
    const corrald_redis_url_t *url, corrald_redis_state_pt handler,
    void *data);
void corrald_redis_connect(corrald_redis_t *r);
void corrald_redis_flush(corrald_redis_t *r);
void corrald_redis_break(corrald_redis_t *r, const char *why);
void corrald_redis_destroy(corrald_redis_t *r);
int corrald_redis_is_up(const corrald_redis_t *r);

void corrald_redis_add(corrald_redis_args_t *a, const char *arg);
void corrald_redis_add_len(corrald_redis_args_t *a, const void *arg,
    size_t len);
void corrald_redis_args_free(corrald_redis_args_t *a);

void corrald_redis_send(corrald_redis_t *r, const corrald_redis_args_t *a,
    int64_t wait, corrald_redis_pt handler, void *data);
void corrald_redis_command(corrald_redis_t *r, int64_t wait,
    corrald_redis_pt handler, void *data, const char *fmt, ...);


#endif /* _CORRALD_REDIS_H_INCLUDED_ */
