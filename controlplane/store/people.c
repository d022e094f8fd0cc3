
/*
 * What people and scripts ask the store for: events, histories, connections,
 * commands to workers, heartbeats, and answers kept for an Idempotency-Key.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/loop.h"
#include "local.h"


/* ms between looks for answers to a command */

#define CORRALD_PEOPLE_POLL      25
#define CORRALD_PEOPLE_POLL_MAX  500


/* Somebody who waits for one reply of Redis. */

typedef struct {
    corrald_store_json_pt     handler;
    void                     *data;
    char                     *text;  /* what the caller's call needs */
} corrald_people_ask_t;


typedef struct corrald_people_list_s  corrald_people_list_t;

struct corrald_people_list_s {
    corrald_people_list_t    *next;
    corrald_store_json_pt     handler;
    void                     *data;
};


/* A command on its way to the workers. */

typedef struct {
    corrald_store_json_pt     handler;
    void                     *data;
    corrald_command_t         command;   /* its texts are ours */
    char                     *op;
    char                     *reason;
    json_t                   *filter;
    char                      id[40];
    int64_t                   began;
    int64_t                   deadline;
    size_t                    answered;
    json_t                   *answers;   /* worker to answer */
    corrald_timer_t          *timer;
} corrald_people_command_t;


static corrald_people_ask_t *corrald_people_ask(corrald_store_json_pt handler,
    void *data);
static int corrald_people_refused(corrald_people_ask_t *ask,
    const redisReply *reply, const char *err);
static void corrald_people_events(const redisReply *reply, const char *err,
    void *data);
static void corrald_people_history(const redisReply *reply, const char *err,
    void *data);
static void corrald_people_done(const redisReply *reply, const char *err,
    void *data);
static void corrald_people_list_looked(void *data);
static void corrald_people_list_read(const redisReply *reply, const char *err,
    void *data);
static void corrald_people_listed(void);
static void corrald_people_command_looked(void *data);
static void corrald_people_command_sent(const redisReply *reply,
    const char *err, void *data);
static void corrald_people_command_ask(void *data);
static void corrald_people_command_read(const redisReply *reply,
    const char *err, void *data);
static void corrald_people_command_end(corrald_people_command_t *c,
    const char *err);
static void corrald_people_begun(const redisReply *reply, const char *err,
    void *data);


/* the list of connections that is being read, or was within the second */

static corrald_people_list_t  *corrald_people_listing;
static json_t                 *corrald_people_conns;
static json_t                 *corrald_people_reading;
static int64_t                 corrald_people_conns_at;
static size_t                  corrald_people_left;
static int                     corrald_people_failed;


/* An event for people, on its own; those of commits are made by the commit. */

void
corrald_store_event(const char *type, const char *kind, const char *id,
    const json_t *detail)
{
    char   key[CORRALD_KEY_SIZE], *text;

    if (corrald_local.main == NULL) {
        return;
    }

    text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;

    corrald_redis_command(corrald_local.main, 0, NULL, NULL,
                          "XADD %s MAXLEN ~ %d * type %s kind %s id %s "
                          "data %s",
                          corrald_local_key(key, CORRALD_KEY_EVENTS),
                          CORRAL_EVENTS_MAX, type, kind, id,
                          text ? text : "{}");
    free(text);
}


void
corrald_store_events(const char *after, size_t count, int newest,
    corrald_store_json_pt handler, void *data)
{
    char                   key[CORRALD_KEY_SIZE];
    corrald_people_ask_t  *ask;

    ask = corrald_people_ask(handler, data);
    corrald_local_key(key, CORRALD_KEY_EVENTS);

    if (newest) {
        ask->text = strdup("newest");
        corrald_redis_command(corrald_local.main, 0, corrald_people_events,
                              ask, "XREVRANGE %s + - COUNT %d", key,
                              (int) count);
        return;
    }

    corrald_redis_command(corrald_local.main, 0, corrald_people_events, ask,
                          "XRANGE %s %s%s + COUNT %d", key,
                          *after ? "(" : "", *after ? after : "-",
                          (int) count);
}


void
corrald_store_history(const char *instance_id, corrald_store_json_pt handler,
    void *data)
{
    char  key[CORRALD_KEY_SIZE];

    corrald_redis_command(corrald_local.main, 0, corrald_people_history,
                          corrald_people_ask(handler, data),
                          "LRANGE %s 0 %d",
                          corrald_local_key(key, CORRALD_KEY_HISTORY,
                                            instance_id),
                          CORRAL_HISTORY_MAX - 1);
}


/* Lists of a second ago are as good: workers renew theirs once a second. */

void
corrald_store_connections(corrald_store_json_pt handler, void *data)
{
    int                     first;
    corrald_people_list_t  *l;

    l = corrald_alloc(1, sizeof(*l), "to list connections");

    l->handler = handler;
    l->data = data;

    first = corrald_people_listing == NULL;
    l->next = corrald_people_listing;
    corrald_people_listing = l;

    if (first) {
        corrald_lease_refresh(corrald_people_list_looked, NULL);
    }
}


void
corrald_store_command(const corrald_command_t *command, int64_t timeout,
    corrald_store_json_pt handler, void *data)
{
    corrald_people_command_t  *c;

    c = corrald_alloc(1, sizeof(*c), "for a command");

    c->handler = handler;
    c->data = data;
    c->command = *command;
    c->op = strdup(command->op);
    c->reason = strdup(command->reason);
    c->filter = json_deep_copy(command->filter);
    c->began = corrald_clock_monotonic();
    c->deadline = c->began + timeout;
    c->answers = json_object();

    /* who is to answer is known only now */

    corrald_lease_refresh(corrald_people_command_looked, c);
}


void
corrald_people_heartbeat(const char *instance_id, const json_t *load,
    int64_t ttl, corrald_store_json_pt handler, void *data)
{
    char                  key[CORRALD_KEY_SIZE], ms[24], now[32];
    char                 *text;
    json_t               *value;
    json_t               *texts;
    const char           *name;
    corrald_redis_args_t  a;

    corrald_local_key(key, CORRALD_KEY_LOAD, instance_id);
    snprintf(ms, sizeof(ms), "%lld", (long long) ttl);

    memset(&a, 0, sizeof(a));
    texts = json_array();

    corrald_redis_add(&a, "HSET");
    corrald_redis_add(&a, key);
    corrald_redis_add(&a, "at");
    corrald_redis_add(&a, corrald_clock_now(now, sizeof(now)));

    json_object_foreach((json_t *) load, name, value) {
        corrald_redis_add(&a, name);

        if (json_is_string(value)) {
            corrald_redis_add(&a, json_string_value(value));
            continue;
        }

        text = json_dumps(value, JSON_COMPACT|JSON_ENCODE_ANY);
        json_array_append_new(texts, json_string(text));
        free(text);

        corrald_redis_add(&a, json_string_value(
                              json_array_get(texts,
                                             json_array_size(texts) - 1)));
    }

    corrald_redis_send(corrald_local.main, &a, 0, NULL, NULL);
    corrald_redis_args_free(&a);
    json_decref(texts);

    /* what it said of itself the last time does not hold any more */

    if (json_object_get(load, "agent") == NULL) {
        corrald_redis_command(corrald_local.main, 0, NULL, NULL,
                              "HDEL %s agent", key);
    }

    corrald_redis_command(corrald_local.main, 0, corrald_people_done,
                          corrald_people_ask(handler, data), "PEXPIRE %s %s",
                          key, ms);
}


void
corrald_store_reports(const char *text)
{
    char  key[CORRALD_KEY_SIZE];

    corrald_redis_command(corrald_local.main, 0, NULL, NULL,
                          "SET %s %s PX %d",
                          corrald_local_key(key, CORRALD_KEY_REPORTS,
                                            corrald_conf()->node),
                          text, CORRAL_REPORTS_LEASE);
}


void
corrald_store_idempotency_begin(const char *key, const char *digest,
    corrald_store_json_pt handler, void *data)
{
    char                   name[CORRALD_KEY_SIZE];
    corrald_people_ask_t  *ask;

    ask = corrald_people_ask(handler, data);
    ask->text = strdup(digest);

    /* a request that never ends frees its key after a minute */

    corrald_redis_command(corrald_local.main, 0, corrald_people_begun, ask,
                          "SET %s %s NX GET EX 60",
                          corrald_local_key(name, CORRALD_KEY_IDEMPOTENCY,
                                            key),
                          digest);
}


void
corrald_store_idempotency_end(const char *key, const char *digest,
    const json_t *answer)
{
    char     name[CORRALD_KEY_SIZE], *text;
    json_t  *value;

    corrald_local_key(name, CORRALD_KEY_IDEMPOTENCY, key);

    if (answer == NULL) {
        corrald_redis_command(corrald_local.main, 0, NULL, NULL, "DEL %s",
                              name);
        return;
    }

    value = json_pack("{s:s, s:O}", "digest", digest, "answer", answer);
    text = json_dumps(value, JSON_COMPACT);

    if (text) {
        corrald_redis_command(corrald_local.main, 0, NULL, NULL,
                              "SET %s %s EX %d", name, text,
                              CORRAL_IDEMPOTENCY_TTL);
    }

    free(text);
    json_decref(value);
}


static corrald_people_ask_t *
corrald_people_ask(corrald_store_json_pt handler, void *data)
{
    corrald_people_ask_t  *ask;

    ask = corrald_alloc(1, sizeof(*ask), "to ask the store");

    ask->handler = handler;
    ask->data = data;

    return ask;
}


/* Returns 1 when there is no answer to work with; the caller was told. */

static int
corrald_people_refused(corrald_people_ask_t *ask, const redisReply *reply,
    const char *err)
{
    if (reply && reply->type != REDIS_REPLY_ERROR) {
        return 0;
    }

    if (ask->handler) {
        ask->handler(NULL, reply ? reply->str : err, ask->data);
    }

    free(ask->text);
    free(ask);

    return 1;
}


static void
corrald_people_events(const redisReply *reply, const char *err, void *data)
{
    size_t                 i;
    json_t                *events, *event, *detail;
    const redisReply      *fields;
    corrald_people_ask_t  *ask;

    ask = data;

    if (corrald_people_refused(ask, reply, err)) {
        return;
    }

    events = json_array();

    for (i = 0; i < reply->elements; i++) {
        fields = corrald_reply_at(reply->element[i], 1);

        if (fields == NULL) {
            continue;
        }

        detail = json_loads(corrald_reply_field(fields, "data"), 0, NULL);

        event = json_pack("{s:s, s:s, s:s, s:s, s:o}",
                          "id", corrald_reply_str(
                                    corrald_reply_at(reply->element[i], 0)),
                          "type", corrald_reply_field(fields, "type"),
                          "kind", corrald_reply_field(fields, "kind"),
                          "object", corrald_reply_field(fields, "id"),
                          "data", detail ? detail : json_object());

        if (event == NULL) {
            continue;
        }

        if (ask->text) {
            json_array_insert_new(events, 0, event);

        } else {
            json_array_append_new(events, event);
        }
    }

    ask->handler(events, NULL, ask->data);

    json_decref(events);
    free(ask->text);
    free(ask);
}


static void
corrald_people_history(const redisReply *reply, const char *err, void *data)
{
    size_t                 i;
    json_t                *items, *item;
    corrald_people_ask_t  *ask;

    ask = data;

    if (corrald_people_refused(ask, reply, err)) {
        return;
    }

    items = json_array();

    for (i = 0; i < reply->elements; i++) {
        item = json_loads(corrald_reply_str(reply->element[i]), 0, NULL);

        if (item) {
            json_array_append_new(items, item);
        }
    }

    ask->handler(items, NULL, ask->data);

    json_decref(items);
    free(ask);
}


static void
corrald_people_done(const redisReply *reply, const char *err, void *data)
{
    json_t                *value;
    corrald_people_ask_t  *ask;

    ask = data;

    if (corrald_people_refused(ask, reply, err)) {
        return;
    }

    value = json_object();

    if (ask->handler) {
        ask->handler(value, NULL, ask->data);
    }

    json_decref(value);
    free(ask);
}


static void
corrald_people_list_looked(void *data)
{
    char              key[CORRALD_KEY_SIZE];
    size_t            i;
    json_t           *worker;

    if (corrald_people_conns && corrald_clock_monotonic()
                                - corrald_people_conns_at < CORRAL_HEARTBEAT)
    {
        corrald_people_listed();
        return;
    }

    json_decref(corrald_people_reading);

    corrald_people_reading = json_array();
    corrald_people_left = json_array_size(corrald_store_workers()) + 1;
    corrald_people_failed = !corrald_local.status.connected;

    json_array_foreach(corrald_store_workers(), i, worker) {
        corrald_redis_command(corrald_local.main, 0, corrald_people_list_read,
                              NULL, "HVALS %s",
                              corrald_local_key(key, CORRALD_KEY_CONNECTIONS,
                                                corrald_doc_str(worker,
                                                                "worker")));
    }

    corrald_people_list_read(NULL, NULL, NULL);
}


/* Called once more than there are workers, with err NULL. */

static void
corrald_people_list_read(const redisReply *reply, const char *err, void *data)
{
    size_t   i;
    json_t  *conn;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        corrald_people_failed |= err != NULL;

    } else {
        for (i = 0; i < reply->elements; i++) {
            conn = json_loadb(reply->element[i]->str, reply->element[i]->len,
                              0, NULL);

            if (json_is_object(conn)) {
                json_array_append_new(corrald_people_reading, conn);

            } else {
                json_decref(conn);
            }
        }
    }

    if (--corrald_people_left) {
        return;
    }

    if (!corrald_people_failed) {
        json_decref(corrald_people_conns);
        corrald_people_conns = corrald_people_reading;
        corrald_people_conns_at = corrald_clock_monotonic();
        corrald_people_reading = NULL;
    }

    corrald_people_listed();
}


static void
corrald_people_listed(void)
{
    json_t                 *conns;
    corrald_people_list_t  *l, *next;

    l = corrald_people_listing;
    corrald_people_listing = NULL;

    conns = corrald_people_failed ? NULL : json_incref(corrald_people_conns);

    for ( /* void */ ; l; l = next) {
        next = l->next;
        l->handler(conns, conns ? NULL : "the lists of connections cannot be "
                                         "read: Redis does not answer",
                   l->data);
        free(l);
    }

    json_decref(conns);
}


static void
corrald_people_command_looked(void *data)
{
    char                      key[CORRALD_KEY_SIZE], *filter;
    corrald_people_command_t  *c;

    c = data;
    filter = json_dumps(c->filter, JSON_COMPACT);

    snprintf(c->id, sizeof(c->id), "%llx-%x",
             (unsigned long long) corrald_clock_ms(),
             (unsigned) (uintptr_t) c);

    corrald_redis_command(corrald_local.main, 0, corrald_people_command_sent,
                          c, "XADD %s MAXLEN ~ %d * id %s op %s filter %s "
                          "code %d reason %s dry_run %d rate %lld "
                          "total %lld deadline %lld retry_after %lld "
                          "expires %lld",
                          corrald_local_key(key, CORRALD_KEY_COMMANDS),
                          CORRAL_COMMANDS_MAX, c->id, c->op, filter,
                          c->command.code, c->reason, c->command.dry_run,
                          (long long) c->command.rate,
                          (long long) c->command.total,
                          (long long) c->command.deadline,
                          (long long) c->command.retry_after,
                          (long long) c->command.expires);
    free(filter);
}


static void
corrald_people_command_sent(const redisReply *reply, const char *err,
    void *data)
{
    corrald_people_command_t  *c;

    c = data;

    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        corrald_people_command_end(c, reply ? reply->str : err);
        return;
    }

    corrald_people_command_ask(c);
}


static void
corrald_people_command_ask(void *data)
{
    char                       key[CORRALD_KEY_SIZE];
    corrald_people_command_t  *c;

    c = data;
    c->timer = NULL;

    corrald_redis_command(corrald_local.main, 0, corrald_people_command_read,
                          c, "LRANGE %s 0 -1",
                          corrald_local_key(key, CORRALD_KEY_ANSWERS, c->id));
}


static void
corrald_people_command_read(const redisReply *reply, const char *err,
    void *data)
{
    size_t                     i;
    json_t                    *answer, *worker;
    int64_t                    age;
    corrald_people_command_t  *c;

    c = data;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        corrald_people_command_end(c, reply ? corrald_reply_str(reply) : err);
        return;
    }

    for (i = 0; i < reply->elements; i++) {
        answer = json_loads(corrald_reply_str(reply->element[i]), 0, NULL);

        json_object_set(c->answers, corrald_doc_str(answer, "worker"),
                        answer);
        json_decref(answer);
    }

    /* those that died meanwhile are not waited for */

    json_array_foreach(corrald_store_workers(), i, worker) {
        if (json_object_get(c->answers, corrald_doc_str(worker, "worker"))
            == NULL)
        {
            break;
        }
    }

    if (i == json_array_size(corrald_store_workers())
        || corrald_clock_monotonic() >= c->deadline)
    {
        corrald_people_command_end(c, NULL);
        return;
    }

    /* what takes long is looked for more seldom: a tenth of its age */

    age = corrald_clock_monotonic() - c->began;
    age = age / 10 < CORRALD_PEOPLE_POLL_MAX ? age / 10
                                             : CORRALD_PEOPLE_POLL_MAX;

    c->timer = corrald_loop_timer(age > CORRALD_PEOPLE_POLL
                                  ? age : CORRALD_PEOPLE_POLL, 0,
                                  corrald_people_command_ask, c);
}


static void
corrald_people_command_end(corrald_people_command_t *c, const char *err)
{
    size_t       i;
    json_t      *value, *answer, *worker, *missing, *errors;
    int64_t      matched, closed, sent;
    const char  *name;

    matched = 0;
    closed = 0;
    sent = 0;

    errors = json_array();

    json_object_foreach(c->answers, name, answer) {
        if (*corrald_doc_str(answer, "error")) {
            json_array_append_new(errors, json_pack("{s:s, s:s}", "worker",
                                  name, "detail",
                                  corrald_doc_str(answer, "error")));
        }

        matched += corrald_doc_int(answer, "matched");
        closed += corrald_doc_int(answer, "closed");
        sent += corrald_doc_int(answer, "sent");
    }

    missing = json_array();

    json_array_foreach(corrald_store_workers(), i, worker) {
        name = corrald_doc_str(worker, "worker");

        if (json_object_get(c->answers, name) == NULL) {
            json_array_append_new(missing, json_string(name));
        }
    }

    value = json_pack("{s:I, s:I, s:o, s:o, s:I, s:I, s:I}",
                      "workers",
                      (json_int_t) json_array_size(corrald_store_workers()),
                      "answered", (json_int_t) json_object_size(c->answers),
                      "missing", missing, "errors", errors,
                      "matched", (json_int_t) matched,
                      "closed", (json_int_t) closed,
                      "sent", (json_int_t) sent);

    c->handler(err ? NULL : value, err, c->data);

    json_decref(value);
    json_decref(c->filter);
    json_decref(c->answers);
    free(c->op);
    free(c->reason);
    free(c);
}


static void
corrald_people_begun(const redisReply *reply, const char *err, void *data)
{
    json_t                *kept, *value;
    const char            *text;
    corrald_people_ask_t  *ask;

    ask = data;

    if (corrald_people_refused(ask, reply, err)) {
        return;
    }

    text = corrald_reply_str(reply);

    if (*text == '\0') {
        value = json_object();

    } else if (*text != '{') {

        /* only the digest: the first request is still under way */

        value = json_pack("{s:b}", strcmp(text, ask->text) == 0 ? "pending"
                                                                : "differs",
                          1);

    } else {
        kept = json_loads(text, 0, NULL);

        value = strcmp(corrald_doc_str(kept, "digest"), ask->text) == 0
                ? json_pack("{s:O}", "answer", json_object_get(kept,
                                                               "answer"))
                : json_pack("{s:b}", "differs", 1);
        json_decref(kept);
    }

    ask->handler(value, NULL, ask->data);

    json_decref(value);
    free(ask->text);
    free(ask);
}
