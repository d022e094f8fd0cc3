
/*
 * What is revoked, in Redis.  It is no document of the registry: it comes and
 * goes with people, not with deployments, ends by itself, and a gateway has to
 * learn it without anything being built anew.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/crypt.h"
#include "corrald_embed.h"
#include "local.h"


typedef struct {
    corrald_store_json_pt   handler;
    void                   *data;
} corrald_revoke_ask_t;


static corrald_revoke_ask_t *corrald_revoke_ask(corrald_store_json_pt handler,
    void *data);
static void corrald_revoke_done(const redisReply *reply, const char *err,
    void *data);
static void corrald_revoke_listed(const redisReply *reply, const char *err,
    void *data);


void
corrald_store_revoke(const char *name, int64_t until,
    corrald_store_json_pt handler, void *data)
{
    char                  keys[2][CORRALD_KEY_SIZE];
    char                  end[24], now[24], max[24], id[33];
    corrald_redis_args_t  a;

    snprintf(end, sizeof(end), "%lld", (long long) until);
    snprintf(now, sizeof(now), "%lld",
             (long long) (corrald_clock_ms() / 1000));
    snprintf(max, sizeof(max), "%d", CORRAL_REVOCATIONS_MAX);

    if (corrald_crypt_random_hex(id, 8) != 0) {
        handler(NULL, "no random bytes", data);
        return;
    }

    memset(&a, 0, sizeof(a));

    corrald_redis_add(&a, "EVAL");
    corrald_redis_add_len(&a, corrald_lua_revoke, corrald_lua_revoke_len);
    corrald_redis_add(&a, "2");
    corrald_redis_add(&a, corrald_local_key(keys[0], CORRALD_KEY_REVOCATIONS));
    corrald_redis_add(&a, corrald_local_key(keys[1], CORRALD_KEY_REVOKED));
    corrald_redis_add(&a, name);
    corrald_redis_add(&a, end);
    corrald_redis_add(&a, now);
    corrald_redis_add(&a, max);
    corrald_redis_add(&a, id);

    corrald_redis_send(corrald_local.main, &a, 0, corrald_revoke_done,
                       corrald_revoke_ask(handler, data));
    corrald_redis_args_free(&a);
}


void
corrald_store_revocations(corrald_store_json_pt handler, void *data)
{
    char  key[CORRALD_KEY_SIZE];

    corrald_redis_command(corrald_local.main, 0, corrald_revoke_listed,
                          corrald_revoke_ask(handler, data),
                          "ZRANGEBYSCORE %s (%lld +inf WITHSCORES",
                          corrald_local_key(key, CORRALD_KEY_REVOCATIONS),
                          (long long) (corrald_clock_ms() / 1000));
}


static corrald_revoke_ask_t *
corrald_revoke_ask(corrald_store_json_pt handler, void *data)
{
    corrald_revoke_ask_t  *ask;

    ask = corrald_alloc(1, sizeof(*ask), "to ask the store");

    ask->handler = handler;
    ask->data = data;

    return ask;
}


static void
corrald_revoke_done(const redisReply *reply, const char *err, void *data)
{
    json_t                *value;
    corrald_revoke_ask_t  *ask;

    ask = data;
    value = NULL;

    if (reply && reply->type == REDIS_REPLY_STRING) {
        value = json_string(reply->str);

    } else if (reply) {
        err = corrald_reply_str(reply);
    }

    ask->handler(value, err, ask->data);

    json_decref(value);
    free(ask);
}


static void
corrald_revoke_listed(const redisReply *reply, const char *err, void *data)
{
    size_t                 i;
    json_t                *list;
    corrald_revoke_ask_t  *ask;

    ask = data;
    list = NULL;

    if (reply && reply->type == REDIS_REPLY_ARRAY) {
        list = json_array();

        for (i = 0; i + 1 < reply->elements; i += 2) {
            json_array_append_new(list, json_pack("{s:s, s:I}", "name",
                corrald_reply_str(reply->element[i]), "expires",
                (json_int_t) strtoll(corrald_reply_str(reply->element[i + 1]),
                                     NULL, 10)));
        }

    } else if (reply) {
        err = corrald_reply_str(reply);
    }

    ask->handler(list, err, ask->data);

    json_decref(list);
    free(ask);
}
