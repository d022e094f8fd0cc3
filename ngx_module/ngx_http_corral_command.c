
/*
 * Carries out what the stream "commands" asks of every worker: to close
 * connections, at once or at a pace, to let them live until another time, or to
 * even the load of a service.
 * Parses the command, lets the relay do it and sends the answer;
 * a command that is not understood is answered with the reason and does
 * nothing.  What concerns other workers is answered with 0: so whoever asked
 * knows that all have seen it.
 *
 * Lifetimes: a command has a pool of its own until its answer is sent, when
 * the last of its connections has ended.  No locks.
 */


#include "ngx_http_corral.h"

#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include <corral_duration.h>

#include "ngx_http_corral_command.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_publish.h"
#include "ngx_http_corral_relay.h"


#define NGX_HTTP_CORRAL_COMMAND_REASON  123    /* bytes, RFC 6455, 5.5 */
#define NGX_HTTP_CORRAL_COMMAND_HINTED  90     /* with room for retry_after */


#define ngx_http_corral_command_name(name, text)      ngx_string(#name),
#define ngx_http_corral_command_field_e(name, text)   COMMAND_##name,
#define ngx_http_corral_command_answer_e(name, text)  ANSWER_##name,
#define ngx_http_corral_command_filter_e(name, text)  FILTER_##name,

enum { CORRAL_COMMAND_FIELDS(ngx_http_corral_command_field_e) COMMAND_NUMBER };
enum { CORRAL_ANSWER_FIELDS(ngx_http_corral_command_answer_e) ANSWER_NUMBER };
enum { CORRAL_FILTER_FIELDS(ngx_http_corral_command_filter_e) FILTER_NUMBER };


/* one command while the pairs it closes are ending */

typedef struct {
    ngx_pool_t                *pool;
    ngx_str_t                  id;
} ngx_http_corral_command_t;


static const char *ngx_http_corral_command_close(ngx_pool_t *pool,
    ngx_str_t *values, ngx_uint_t pace);
static const char *ngx_http_corral_command_renew(ngx_pool_t *pool,
    ngx_str_t *values);
static const char *ngx_http_corral_command_rebalance(ngx_pool_t *pool,
    ngx_str_t *values);
static const char *ngx_http_corral_command_how(ngx_pool_t *pool,
    ngx_str_t *values, ngx_uint_t pace, ngx_uint_t dry_run,
    ngx_http_corral_drain_t *drain);
static const char *ngx_http_corral_command_filter(ngx_pool_t *pool,
    ngx_str_t *json, ngx_http_corral_filter_t *filter, ngx_uint_t *ours);
static const char *ngx_http_corral_command_member(ngx_pool_t *pool,
    const char *name, json_t *value, ngx_str_t *members);
static const char *ngx_http_corral_command_values(ngx_str_t *members,
    ngx_http_corral_filter_t *filter);
static ngx_uint_t ngx_http_corral_command_is_dry(ngx_str_t *values);
static ngx_uint_t ngx_http_corral_command_is(ngx_str_t *asked,
    ngx_str_t *value);
static ngx_uint_t ngx_http_corral_command_code(ngx_int_t code);
static void ngx_http_corral_command_done(void *data, ngx_uint_t matched,
    ngx_uint_t closed, ngx_uint_t sent);
static void ngx_http_corral_command_answer(ngx_pool_t *pool, ngx_str_t *id,
    ngx_uint_t matched, ngx_uint_t closed, ngx_uint_t sent, const char *err);


static ngx_str_t  ngx_http_corral_command_fields[] = {
    CORRAL_COMMAND_FIELDS(ngx_http_corral_command_name)
};

static ngx_str_t  ngx_http_corral_command_filters[] = {
    CORRAL_FILTER_FIELDS(ngx_http_corral_command_name)
};

static ngx_str_t  ngx_http_corral_command_answers[] = {
    CORRAL_ANSWER_FIELDS(ngx_http_corral_command_name)
};


void
ngx_http_corral_command_run(ngx_http_corral_redis_reply_t *fields)
{
    ngx_str_t    values[COMMAND_NUMBER], *name, *op;
    ngx_uint_t   i, j;
    ngx_pool_t  *pool;
    const char  *err;

    ngx_memzero(values, sizeof(values));

    for (i = 0; i + 1 < fields->n; i += 2) {
        name = &fields->elements[i]->str;

        for (j = 0; j < COMMAND_NUMBER; j++) {
            if (name->len == ngx_http_corral_command_fields[j].len
                && ngx_strncmp(name->data,
                               ngx_http_corral_command_fields[j].data,
                               name->len)
                   == 0)
            {
                values[j] = fields->elements[i + 1]->str;
            }
        }
    }

    if (values[COMMAND_id].len == 0 || values[COMMAND_id].len > CORRAL_ID_MAX)
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: a command without an id, or one of more than "
                      "%d bytes, is ignored", CORRAL_ID_MAX);
        return;
    }

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    op = &values[COMMAND_op];

    if (op->len == 5 && ngx_strncmp(op->data, "close", 5) == 0) {
        err = ngx_http_corral_command_close(pool, values, 0);

    } else if (op->len == 5 && ngx_strncmp(op->data, "drain", 5) == 0) {
        err = ngx_http_corral_command_close(pool, values, 1);

    } else if (op->len == 5 && ngx_strncmp(op->data, "renew", 5) == 0) {
        err = ngx_http_corral_command_renew(pool, values);

    } else if (op->len == 9 && ngx_strncmp(op->data, "rebalance", 9) == 0) {
        err = ngx_http_corral_command_rebalance(pool, values);

    } else {
        err = "unknown op; it is to be close, drain, renew or rebalance";
    }

    if (err) {
        ngx_http_corral_command_answer(pool, &values[COMMAND_id], 0, 0, 0,
                                       err);
        ngx_destroy_pool(pool);
    }
}


/*
 * Returns NULL, then the answer is on its way and the pool belongs to it, or
 * why the command cannot be carried out.
 */

static const char *
ngx_http_corral_command_close(ngx_pool_t *pool, ngx_str_t *values,
    ngx_uint_t pace)
{
    ngx_uint_t                  dry_run, ours;
    const char                 *err;
    ngx_http_corral_drain_t    *drain;
    ngx_http_corral_filter_t    filter;
    ngx_http_corral_command_t  *command;

    err = ngx_http_corral_command_filter(pool, &values[COMMAND_filter],
                                         &filter, &ours);
    if (err) {
        return err;
    }

    dry_run = ngx_http_corral_command_is_dry(values);

    command = ngx_palloc(pool, sizeof(ngx_http_corral_command_t));
    drain = ngx_pcalloc(pool, sizeof(ngx_http_corral_drain_t));

    if (command == NULL || drain == NULL) {
        return "no memory";
    }

    err = ngx_http_corral_command_how(pool, values, pace, dry_run, drain);
    if (err) {
        return err;
    }

    command->pool = pool;
    command->id.len = values[COMMAND_id].len;
    command->id.data = ngx_pstrdup(pool, &values[COMMAND_id]);

    if (command->id.data == NULL) {
        return "no memory";
    }

    /* for somebody else: he who asked learns that it was seen */

    if (!ours) {
        ngx_http_corral_command_done(command, 0, 0, 0);

    } else if (pace && !dry_run) {
        ngx_http_corral_relay_drain(&filter, drain,
                                    ngx_http_corral_command_done, command);

    } else {
        ngx_http_corral_relay_close(&filter, drain->code, &drain->reason,
                                    dry_run, ngx_http_corral_command_done,
                                    command);
    }

    return NULL;
}


/* the same; the answer is sent at once */

static const char *
ngx_http_corral_command_renew(ngx_pool_t *pool, ngx_str_t *values)
{
    time_t                     expires;
    ngx_uint_t                 ours, matched;
    const char                *err;
    ngx_http_corral_filter_t   filter;

    err = ngx_http_corral_command_filter(pool, &values[COMMAND_filter],
                                         &filter, &ours);
    if (err) {
        return err;
    }

    expires = ngx_atotm(values[COMMAND_expires].data,
                        values[COMMAND_expires].len);

    if (expires == NGX_ERROR || expires == 0 || filter.id == 0) {
        return "a renewal needs a connection_id and expires, a unix time";
    }

    matched = ours ? ngx_http_corral_relay_renew(&filter, expires) : 0;

    ngx_http_corral_command_answer(pool, &values[COMMAND_id], matched, 0, 0,
                                   NULL);
    ngx_destroy_pool(pool);

    return NULL;
}


/* the same; what goes on then is not waited for */

static const char *
ngx_http_corral_command_rebalance(ngx_pool_t *pool, ngx_str_t *values)
{
    ngx_uint_t                     ours;
    ngx_str_t                     *id;
    const char                    *err;
    ngx_http_corral_filter_t       filter;
    ngx_http_corral_rebalanced_t   result;

    err = ngx_http_corral_command_filter(pool, &values[COMMAND_filter],
                                         &filter, &ours);
    if (err) {
        return err;
    }

    if (filter.service_id.len == 0) {
        return "a rebalance needs a service_id";
    }

    id = &values[COMMAND_id];
    ngx_memzero(&result, sizeof(ngx_http_corral_rebalanced_t));

    if (ours) {
        err = ngx_http_corral_relay_rebalance(&filter.service_id,
                                ngx_crc32_short(id->data, id->len) | 1,
                                ngx_http_corral_command_is_dry(values),
                                &result);
    }

    if (err) {
        return err;
    }

    ngx_http_corral_command_answer(pool, id, result.planned, result.movable, 0,
                                   NULL);
    ngx_destroy_pool(pool);

    return NULL;
}


/* code, reason and, for a drain, its numbers; all of it lives in the pool */

static const char *
ngx_http_corral_command_how(ngx_pool_t *pool, ngx_str_t *values,
    ngx_uint_t pace, ngx_uint_t dry_run, ngx_http_corral_drain_t *drain)
{
    ngx_int_t    code, n[4];
    ngx_uint_t   i;

    static ngx_uint_t  numbers[] = { COMMAND_rate, COMMAND_total,
                                     COMMAND_deadline, COMMAND_retry_after };

    code = ngx_atoi(values[COMMAND_code].data, values[COMMAND_code].len);

    if (!dry_run && !ngx_http_corral_command_code(code)) {
        return "code is to be 1000, 1001, 1008, 1011, 1012, 1013 or 3000 to "
               "4999";
    }

    drain->code = (ngx_uint_t) code;
    drain->reason.len = values[COMMAND_reason].len;
    drain->reason.data = ngx_pstrdup(pool, &values[COMMAND_reason]);

    if (drain->reason.data == NULL) {
        return "no memory";
    }

    if (!pace) {
        return drain->reason.len > NGX_HTTP_CORRAL_COMMAND_REASON
               ? "reason is to be at most 123 bytes" : NULL;
    }

    if (drain->reason.len > NGX_HTTP_CORRAL_COMMAND_HINTED) {
        return "reason of a drain is to be at most 90 bytes";
    }

    for (i = 0; i < 4; i++) {
        n[i] = ngx_atoi(values[numbers[i]].data, values[numbers[i]].len);

        if (n[i] == NGX_ERROR || n[i] > 86400000) {
            return "rate, total, deadline and retry_after of a drain are to "
                   "be numbers up to 86400000";
        }
    }

    drain->rate = n[0];
    drain->total = n[1];
    drain->deadline = n[2];
    drain->retry_after = n[3];

    return NULL;
}


/* Reads the filter; ours is 0 if it leaves this worker out. */

static const char *
ngx_http_corral_command_filter(ngx_pool_t *pool, ngx_str_t *json,
    ngx_http_corral_filter_t *filter, ngx_uint_t *ours)
{
    json_t        *object, *value;
    ngx_str_t      members[FILTER_NUMBER];
    const char    *name, *err;
    json_error_t   error;

    ngx_memzero(members, sizeof(members));
    ngx_memzero(filter, sizeof(ngx_http_corral_filter_t));

    object = json_loadb((char *) json->data, json->len, 0, &error);

    if (!json_is_object(object)) {
        json_decref(object);
        return "filter is to be a JSON object";
    }

    err = NULL;

    json_object_foreach(object, name, value) {

        if (err == NULL) {
            err = ngx_http_corral_command_member(pool, name, value, members);
        }
    }

    json_decref(object);

    if (err == NULL) {
        err = ngx_http_corral_command_values(members, filter);
    }

    filter->service_id = members[FILTER_service_id];
    filter->instance_id = members[FILTER_instance_id];
    filter->session_id = members[FILTER_session_id];
    filter->tenant = members[FILTER_tenant];
    filter->subject = members[FILTER_subject];
    filter->client_ip = members[FILTER_client_ip];

    *ours = ngx_http_corral_command_is(&members[FILTER_worker],
                                       ngx_http_corral_publish_worker())
            && ngx_http_corral_command_is(&members[FILTER_gateway],
                                          ngx_http_corral_publish_gateway());

    return err;
}


/* An unknown member is refused: ignored, it would close more than asked. */

static const char *
ngx_http_corral_command_member(ngx_pool_t *pool, const char *name,
    json_t *value, ngx_str_t *members)
{
    size_t       len;
    u_char      *p;
    ngx_uint_t   i;

    for (i = 0; i < FILTER_NUMBER; i++) {
        if (ngx_strcmp(name, ngx_http_corral_command_filters[i].data) == 0) {
            break;
        }
    }

    if (i == FILTER_NUMBER) {
        return "unknown member in filter";
    }

    len = json_string_length(value);

    if (len == 0) {
        return "a member of filter is not a string, or is empty";
    }

    p = ngx_pnalloc(pool, len + 1);
    if (p == NULL) {
        return "no memory";
    }

    ngx_memcpy(p, json_string_value(value), len + 1);

    members[i].data = p;
    members[i].len = len;

    return NULL;
}


/* The strings of a filter that must be of a form. */

static const char *
ngx_http_corral_command_values(ngx_str_t *members,
    ngx_http_corral_filter_t *filter)
{
    int64_t     ms;
    ngx_str_t  *id;

    id = &members[FILTER_connection_id];

    if (id->len) {
        filter->id = (uint64_t) strtoull((char *) id->data, NULL, 16);

        if (id->len != 16 || filter->id == 0) {
            return "connection_id is to be 16 hexadecimal digits";
        }
    }

    if (members[FILTER_age].len) {
        ms = corral_duration_parse((char *) members[FILTER_age].data,
                                   members[FILTER_age].len);
        if (ms < 0) {
            return "age is to be a duration, for example 1h";
        }

        filter->age = ms;
    }

    if (members[FILTER_idle].len) {
        ms = corral_duration_parse((char *) members[FILTER_idle].data,
                                   members[FILTER_idle].len);
        if (ms < 0) {
            return "idle is to be a duration, for example 5m";
        }

        filter->idle = ms;
    }

    return NULL;
}


static ngx_uint_t
ngx_http_corral_command_is_dry(ngx_str_t *values)
{
    return values[COMMAND_dry_run].len == 1
           && values[COMMAND_dry_run].data[0] == '1';
}


/* Is it what the filter asks for?  An empty one asks for nothing. */

static ngx_uint_t
ngx_http_corral_command_is(ngx_str_t *asked, ngx_str_t *value)
{
    return asked->len == 0
           || (asked->len == value->len
               && ngx_memcmp(asked->data, value->data, value->len) == 0);
}


static ngx_uint_t
ngx_http_corral_command_code(ngx_int_t code)
{
    switch (code) {

    case 1000:
    case 1001:
    case 1008:
    case 1011:
    case 1012:
    case 1013:
        return 1;

    default:
        return code >= 3000 && code <= 4999;
    }
}


static void
ngx_http_corral_command_done(void *data, ngx_uint_t matched,
    ngx_uint_t closed, ngx_uint_t sent)
{
    ngx_http_corral_command_t *command = data;

    ngx_http_corral_command_answer(command->pool, &command->id, matched,
                                   closed, sent, NULL);

    ngx_destroy_pool(command->pool);
}


static void
ngx_http_corral_command_answer(ngx_pool_t *pool, ngx_str_t *id,
    ngx_uint_t matched, ngx_uint_t closed, ngx_uint_t sent, const char *err)
{
    u_char     *p, ttl[NGX_INT_T_LEN];
    size_t      len;
    ngx_str_t   key, argv[3], *field, *worker;

    field = ngx_http_corral_command_answers;
    worker = ngx_http_corral_publish_worker();

    key = ngx_http_corral_key_of(pool, NGX_HTTP_CORRAL_KEY_ANSWERS, id);

    len = 6 * worker->len + 3 * NGX_INT_T_LEN + 512
          + (err ? ngx_strlen(err) : 0);
    p = ngx_pnalloc(pool, len);

    if (key.data == NULL || p == NULL) {
        return;
    }

    ngx_str_set(&argv[0], "RPUSH");
    argv[1] = key;
    argv[2].data = p;

    p = ngx_sprintf(p, "{\"%V\":\"", &field[ANSWER_worker]);
    p = ngx_http_corral_publish_escape(p, worker, worker->len);
    p = ngx_sprintf(p, "\",\"%V\":%ui,\"%V\":%ui,\"%V\":%ui",
                    &field[ANSWER_matched], matched, &field[ANSWER_closed],
                    closed, &field[ANSWER_sent], sent);

    if (err) {
        p = ngx_sprintf(p, ",\"%V\":\"%s\"", &field[ANSWER_error], err);
    }

    *p++ = '}';
    argv[2].len = p - argv[2].data;

    ngx_http_corral_publish_send(3, argv);

    ngx_str_set(&argv[0], "EXPIRE");
    argv[2].data = ttl;
    argv[2].len = ngx_sprintf(ttl, "%d", CORRAL_ANSWERS_TTL) - ttl;

    ngx_http_corral_publish_send(3, argv);
}
