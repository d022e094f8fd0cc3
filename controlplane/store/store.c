
/*
 * The store as a whole: its two connections, what is known of its state, and
 * the keys.
 *
 * main carries commands and answers at once; follow blocks in XREAD.  The
 * registry is ready while both stand and the view is whole.  A loss of either
 * breaks nothing but changes: reads go on from the view.
 */


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/bus.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/file.h"
#include "../base/log.h"
#include "corrald_embed.h"
#include "local.h"


static int corrald_store_keys(char *err, size_t size);
static int corrald_store_address(char *err, size_t size);
static void corrald_store_main(int up, const char *err, void *data);
static void corrald_store_follow(int up, const char *err, void *data);
static void corrald_store_tell(void);


corrald_local_t  corrald_local;

static int  corrald_store_told;
static int  corrald_store_lost;      /* events are owed: it was away */


int
corrald_store_open(char *err, size_t size)
{
    corrald_journal_t  found;

    memset(&corrald_local, 0, sizeof(corrald_local));

    corrald_local.status.where = corrald_local.where;
    corrald_local.status.epoch = corrald_local.epoch;
    corrald_local.status.error = corrald_local.error;

    if (corrald_file_mkdir(corrald_conf()->state_dir, 0750, err, size) == -1
        || corrald_store_keys(err, size) != 0
        || corrald_store_address(err, size) != 0
        || corrald_journal_open(&found, err, size) != 0)
    {
        return -1;
    }

    corrald_restore_open(&found);

    corrald_local.main = corrald_redis_create("main", &corrald_local.url,
                                              corrald_store_main, NULL);
    corrald_local.follow = corrald_redis_create("follow", &corrald_local.url,
                                                corrald_store_follow, NULL);

    if (corrald_local.main == NULL || corrald_local.follow == NULL) {
        snprintf(err, size, "no memory for the connections to Redis");
        return -1;
    }

    corrald_redis_connect(corrald_local.main);
    corrald_redis_connect(corrald_local.follow);

    return 0;
}


void
corrald_store_close(void)
{
    char                  keys[2][CORRALD_KEY_SIZE], epoch[24], leader[128];
    corrald_redis_args_t  a;

    corrald_local.closing = 1;

    if (corrald_local.main && corrald_local.status.node_epoch) {
        snprintf(epoch, sizeof(epoch), "%lld",
                 (long long) corrald_local.status.node_epoch);

        leader[0] = '\0';

        if (corrald_local.status.token) {
            snprintf(leader, sizeof(leader), "%s:%lld", corrald_conf()->node,
                     (long long) corrald_local.status.token);
        }

        memset(&a, 0, sizeof(a));

        corrald_redis_add(&a, "EVAL");
        corrald_redis_add_len(&a, corrald_lua_release,
                              corrald_lua_release_len);
        corrald_redis_add(&a, "2");
        corrald_redis_add(&a, corrald_local_key(keys[0], CORRALD_KEY_NODE,
                                                corrald_conf()->node));
        corrald_redis_add(&a, corrald_local_key(keys[1],
                                                CORRALD_KEY_LEADER));
        corrald_redis_add(&a, epoch);
        corrald_redis_add(&a, leader);
        corrald_redis_send(corrald_local.main, &a, 0, NULL, NULL);
        corrald_redis_args_free(&a);

        corrald_redis_flush(corrald_local.main);
    }

    corrald_redis_destroy(corrald_local.main);
    corrald_redis_destroy(corrald_local.follow);

    corrald_local.main = NULL;
    corrald_local.follow = NULL;

    corrald_journal_close();
    corrald_restore_forget();
    corrald_lease_close();
    corrald_waiting_close();
    corrald_applied_lost();
    corrald_cache_free();
    corrald_redis_url_free(&corrald_local.url);
}


const corrald_store_status_t *
corrald_store_status(void)
{
    return &corrald_local.status;
}


/* Writes a key of the schema; keys with a second part take it as argument. */

const char *
corrald_local_key(char *buf, corrald_key_e key, ...)
{
    int          n;
    va_list      args;
    const char  *second;

    static const struct {
        const char  *format;
    } formats[] = {
#define X(name, format, type, writer, text)  { format },
        CORRAL_KEYS(X)
#undef X
    };

    second = "";

    if (strstr(strstr(formats[key].format, "%s") + 2, "%s")) {
        va_start(args, key);
        second = va_arg(args, const char *);
        va_end(args);
    }

    /* the formats are literals of the schema, of one or two strings */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"

    n = snprintf(buf, CORRALD_KEY_SIZE, formats[key].format,
                 corrald_conf()->cluster, second);

#pragma GCC diagnostic pop

    if (n >= CORRALD_KEY_SIZE) {
        corrald_log_error("a key of Redis is too long: %s", buf);
    }

    return buf;
}


/* Something is wrong: logged, and shown in the status. */

void
corrald_local_trouble(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(corrald_local.error, sizeof(corrald_local.error), fmt, args);
    va_end(args);

    corrald_log_error("%s", corrald_local.error);
}


/* The view is whole and followed, or not any more. */

void
corrald_local_ready(int ready)
{
    ready = ready && corrald_local.status.connected;

    if (ready == corrald_local.status.ready) {
        return;
    }

    corrald_local.status.ready = ready;

    if (ready) {
        corrald_local.error[0] = '\0';

        /* the leases are taken now, not with the next beat */

        corrald_lease_up();

        if (corrald_store_lost) {
            corrald_store_lost = 0;
            corrald_store_event("store_back", "node", corrald_conf()->node,
                                NULL);
        }
    }

    corrald_store_tell();
}


/* The text of a string reply; "" for all others. */

const char *
corrald_reply_str(const redisReply *reply)
{
    if (reply == NULL
        || (reply->type != REDIS_REPLY_STRING
            && reply->type != REDIS_REPLY_STATUS
            && reply->type != REDIS_REPLY_ERROR))
    {
        return "";
    }

    return reply->str;
}


/* The i-th element of an array, or NULL. */

const redisReply *
corrald_reply_at(const redisReply *reply, size_t i)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || i >= reply->elements)
    {
        return NULL;
    }

    return reply->element[i];
}


int64_t
corrald_reply_int(const redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        return reply->integer;
    }

    return strtoll(corrald_reply_str(reply), NULL, 10);
}


/* One value of an array of names and values. */

const char *
corrald_reply_field(const redisReply *pairs, const char *name)
{
    size_t  i;

    for (i = 0; pairs->type == REDIS_REPLY_ARRAY && i + 1 < pairs->elements;
         i += 2)
    {
        if (strcmp(corrald_reply_str(pairs->element[i]), name) == 0) {
            return corrald_reply_str(pairs->element[i + 1]);
        }
    }

    return "";
}


/*
 * A new object of such an array; the members named in numbers (or NULL)
 * become integers.  A value that is not UTF-8 is left out.
 */

json_t *
corrald_reply_object(const redisReply *pairs, const char *const *numbers)
{
    size_t              i;
    json_t             *object;
    const char         *name, *value;
    const char *const  *n;

    object = json_object();

    for (i = 0; i + 1 < pairs->elements; i += 2) {
        name = corrald_reply_str(pairs->element[i]);
        value = corrald_reply_str(pairs->element[i + 1]);

        for (n = numbers; n && *n && strcmp(*n, name) != 0; n++) {
            /* void */
        }

        json_object_set_new(object, name, n && *n
                            ? json_integer(strtoll(value, NULL, 10))
                            : json_string(value));
    }

    return object;
}


/* The key of the HMAC: read, or made at the first start. */

static int
corrald_store_keys(char *err, size_t size)
{
    int          rc;
    char        *text, hex[CORRALD_CRYPT_HEX];
    size_t       len;
    const char  *path;

    path = corrald_conf()->hmac_key_file;

    rc = corrald_file_read(path, 4096, &text, &len, err, size);
    if (rc == -1) {
        return -1;
    }

    if (rc == 0) {
        len = strcspn(text, "\r\n");

        if (len < 32 || len > sizeof(corrald_local.hmac)) {
            free(text);
            snprintf(err, size, "the key in \"%s\" has %zu bytes, it must "
                     "have from 32 to %zu", path, len,
                     sizeof(corrald_local.hmac));
            return -1;
        }

        memcpy(corrald_local.hmac, text, len);
        corrald_local.hmac_len = len;
        free(text);

        return 0;
    }

    if (corrald_crypt_random_hex(hex, 32) != 0) {
        snprintf(err, size, "no random bytes for a key");
        return -1;
    }

    if (corrald_file_write(path, hex, 64, 0600, (gid_t) -1, err, size) != 0) {
        return -1;
    }

    memcpy(corrald_local.hmac, hex, 64);
    corrald_local.hmac_len = 64;

    return 0;
}


static int
corrald_store_address(char *err, size_t size)
{
    int                    rc;
    char                  *text;
    size_t                 len;
    corrald_redis_url_t   *url;
    const corrald_conf_t  *conf;

    conf = corrald_conf();
    url = &corrald_local.url;

    if (strcmp(conf->redis, "embedded") == 0) {
        corrald_local.status.embedded = 1;

        if (corrald_embed_open(url, err, size) != 0) {
            return -1;
        }

    } else if (corrald_redis_url(url, conf->redis, err, size) != 0) {
        return -1;
    }

    if (*conf->redis_password_file && !corrald_local.status.embedded) {
        rc = corrald_file_read(conf->redis_password_file, 4096, &text, &len,
                               err, size);
        if (rc != 0) {
            if (rc == 1) {
                snprintf(err, size, "there is no file \"%s\" "
                         "(redis_password_file)", conf->redis_password_file);
            }

            return -1;
        }

        text[strcspn(text, "\r\n")] = '\0';
        free(url->password);
        url->password = text;
    }

    if (url->path) {
        snprintf(corrald_local.where, sizeof(corrald_local.where), "unix:%s",
                 url->path);

    } else {
        snprintf(corrald_local.where, sizeof(corrald_local.where),
                 "redis://%.128s:%u/%d", url->host, url->port, url->db);
    }

    return 0;
}


static void
corrald_store_main(int up, const char *err, void *data)
{
    if (up == 1) {
        corrald_log_info("connected to Redis at %s", corrald_local.where);

        corrald_local.status.connected = 1;
        corrald_local.status.since = corrald_clock_ms();

        if (corrald_local.status.embedded) {
            corrald_embed_attached(corrald_local.main);
        }

        corrald_lease_up();
        corrald_store_tell();

        /* follow may have been first and waited for us */

        if (corrald_redis_is_up(corrald_local.follow)) {
            corrald_follow_recheck();
        }

        return;
    }

    if (up == 0) {
        corrald_local.status.connected = 0;
        corrald_local.status.since = corrald_clock_ms();
        corrald_local.status.reconnects++;

        if (!corrald_local.closing) {
            corrald_store_lost = 1;
            corrald_local_trouble("the connection to Redis at %s was lost: "
                                  "%s", corrald_local.where, err);
        }

        corrald_lease_down();
        corrald_applied_lost();
        corrald_local_ready(0);
        corrald_store_tell();

    } else if (strcmp(corrald_local.error, err) != 0
               && !corrald_local.closing)
    {
        snprintf(corrald_local.error, sizeof(corrald_local.error), "%s", err);
        corrald_log_warn("cannot connect to Redis at %s: %s",
                         corrald_local.where, err);
    }

    if (corrald_local.status.embedded && !corrald_local.closing) {
        corrald_embed_start();
    }
}


static void
corrald_store_follow(int up, const char *err, void *data)
{
    if (up == 1) {

        /* without main nothing could be restored or told */

        if (corrald_local.status.connected) {
            corrald_follow_up();
        }

        return;
    }

    corrald_follow_down();
}


static void
corrald_store_tell(void)
{
    int                  state;
    corrald_bus_store_t  change;

    change.connected = corrald_local.status.connected;
    change.ready = corrald_local.status.ready;

    state = change.connected * 2 + change.ready;

    if (state != corrald_store_told) {
        corrald_store_told = state;
        corrald_bus_emit(CORRALD_BUS_STORE, &change);
    }
}
