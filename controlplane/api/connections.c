
/*
 * The WebSockets of the whole cluster: listed by the workers that relay them,
 * closed by command to these.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../model/filter.h"
#include "api.h"


/*
 * ms for the workers to answer a command: longer than the default
 * close_timeout, after which one that found no frame boundary is reset
 */

#define CORRALD_CONNECTIONS_WAIT  8000


typedef struct {
    corrald_rest_t   *r;
    json_t           *filter;
    int               dry_run;
    int               compat;
    int               code;
} corrald_connections_close_t;


static void corrald_connections_listed(json_t *value, const char *err,
    void *data);
static json_t *corrald_connections_query(corrald_rest_t *r);
static int corrald_connections_wanted(const corrald_rest_t *r,
    const json_t *filter, const json_t *conn, int64_t now);
static json_t *corrald_connections_row(void *row, void *data);
static void corrald_connections_checked(corrald_rest_t *r, json_t *filter,
    corrald_check_t *check);
static int corrald_connections_code(int64_t code);
static int corrald_connections_reason(const char *reason);
static void corrald_connections_send(corrald_connections_close_t *c,
    const char *reason);
static void corrald_connections_closed(json_t *value, const char *err,
    void *data);
static void corrald_connections_renewed(json_t *value, const char *err,
    void *data);


void
corrald_connections_list(corrald_rest_t *r)
{
    json_t  *filter;

    if (corrald_rest_query_words(r, "status", "active closing") != 0) {
        return;
    }

    filter = corrald_connections_query(r);

    if (filter) {
        json_decref(filter);
        corrald_store_connections(corrald_connections_listed, r);
    }
}


void
corrald_connections_delete(corrald_rest_t *r)
{
    int64_t                       code;
    const char                   *reason;
    corrald_check_t               check;
    corrald_connections_close_t  *c;

    if (corrald_rest_query_int(r, "code", 1000, 1000, 4999, &code) != 0) {
        return;
    }

    reason = corrald_rest_query(r, "reason");
    reason = reason ? reason : "";

    if (!corrald_connections_code(code)
        || !corrald_connections_reason(reason))
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"code\" can be 1000, 1001, 1008, 1011, 1012, "
                             "1013 or from 3000 to 4999, \"reason\" has at "
                             "most 123 bytes");
        return;
    }

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->code = (int) code;
    c->compat = 1;
    c->filter = json_pack("{s:s}", "connection_id", r->params[0]);

    corrald_check_init(&check);

    if (c->filter == NULL || corrald_filter_check(&check, c->filter) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONNECTION_NOT_FOUND,
                             "Connection not found");
        json_decref(c->filter);
        free(c);

    } else {
        corrald_connections_send(c, reason);
    }

    corrald_check_free(&check);
}


/* Body: filter (at least one condition) or all: true, code, reason, dry_run. */

void
corrald_connections_close(corrald_rest_t *r)
{
    json_t                       *value, *filter;
    int64_t                       code;
    const char                   *name, *reason;
    corrald_check_t               check;
    corrald_connections_close_t  *c;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    corrald_check_init(&check);

    json_object_foreach(r->json, name, value) {
        if (!corrald_uri_word("filter,all,code,reason,dry_run", name)) {
            (void) corrald_check_error(&check, "", "\"%.64s\" is not a "
                                       "member: there are filter, all, code, "
                                       "reason, dry_run", name);
        }
    }

    value = json_object_get(r->json, "filter");
    filter = value ? json_deep_copy(value) : json_object();

    corrald_connections_checked(r, filter, &check);

    if (json_object_size(filter) == 0 && json_array_size(check.errors) == 0
        && !json_is_true(json_object_get(r->json, "all")))
    {
        (void) corrald_check_error(&check, "/filter", "is empty: say \"all\": "
                                   "true to close every connection");
    }

    value = json_object_get(r->json, "code");
    code = value ? json_integer_value(value) : 1000;

    if (!corrald_connections_code(code)) {
        (void) corrald_check_error(&check, "/code", "is %lld, it must be 1000, "
                                   "1001, 1008, 1011, 1012, 1013 or from 3000 "
                                   "to 4999, as a number", (long long) code);
    }

    value = json_object_get(r->json, "all");

    if (value && !json_is_boolean(value)) {
        (void) corrald_check_error(&check, "/all", "must be true or false");
    }

    value = json_object_get(r->json, "reason");
    reason = value ? json_string_value(value) : "";

    if (reason == NULL || !corrald_connections_reason(reason)) {
        (void) corrald_check_error(&check, "/reason", "must be a string of at "
                                   "most 123 bytes");
    }

    value = json_object_get(r->json, "dry_run");

    if (value && !json_is_boolean(value)) {
        (void) corrald_check_error(&check, "/dry_run", "must be true or "
                                   "false");
    }

    if (json_array_size(check.errors)) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        json_decref(filter);
        return;
    }

    corrald_check_free(&check);

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->code = (int) code;
    c->filter = filter;
    c->dry_run = json_is_true(value);

    corrald_connections_send(c, reason);
}


/* Body: expires_at.  Who asks has verified the new token; here nobody can. */

void
corrald_connections_renew(corrald_rest_t *r)
{
    json_t             *filter;
    int64_t             expires;
    const char         *name;
    corrald_check_t     check;
    corrald_command_t   command;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    corrald_check_init(&check);

    name = json_string_value(json_object_get(r->json, "expires_at"));
    expires = name ? corrald_clock_parse(name) : -1;

    if (expires <= corrald_clock_ms() || json_object_size(r->json) != 1) {
        (void) corrald_check_error(&check, "/expires_at", "is \"%.64s\", it "
                                   "must be a time to come, as "
                                   "\"2030-01-01T00:00:00Z\", and the only "
                                   "member", name ? name : "");
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    filter = json_pack("{s:s}", "connection_id", r->params[0]);

    if (filter == NULL || corrald_filter_check(&check, filter) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONNECTION_NOT_FOUND,
                             "there is no connection \"%.64s\"",
                             r->params[0]);

    } else {
        memset(&command, 0, sizeof(command));

        command.op = "renew";
        command.filter = filter;
        command.reason = "";
        command.expires = expires / 1000;

        corrald_store_command(&command, CORRALD_CONNECTIONS_WAIT,
                              corrald_connections_renewed, r);
    }

    json_decref(filter);
    corrald_check_free(&check);
}


static void
corrald_connections_renewed(json_t *value, const char *err, void *data)
{
    size_t           silent;
    corrald_rest_t  *r;

    r = data;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        return;
    }

    silent = json_array_size(json_object_get(value, "missing"))
             + json_array_size(json_object_get(value, "errors"));

    if (corrald_doc_int(value, "matched")) {
        corrald_rest_json(r, 200, json_pack("{s:s}", "message",
                                            "Connection renewed"));

    } else if (silent) {
        corrald_rest_set(r, "Retry-After", "2");
        corrald_rest_problem(r, CORRALD_PROBLEM_STORE_TIMEOUT, "%zu of %lld "
                             "workers did not do it, the others do not have "
                             "this connection", silent,
                             (long long) corrald_doc_int(value, "workers"));

    } else {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONNECTION_NOT_FOUND,
                             "there is no connection \"%.64s\"",
                             r->params[0]);
    }
}


static void
corrald_connections_listed(json_t *value, const char *err, void *data)
{
    size_t               i, n;
    json_t              *conn, *filter;
    int64_t              now;
    corrald_rest_t      *r;
    corrald_uri_row_t   *rows;

    r = data;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        return;
    }

    rows = corrald_alloc(json_array_size(value) + 1,
                         sizeof(*rows), "for a list");

    n = 0;
    now = corrald_clock_ms();
    filter = corrald_connections_query(r);

    json_array_foreach(value, i, conn) {
        if (corrald_connections_wanted(r, filter, conn, now)) {
            rows[n].key = corrald_doc_str(conn, "connected_at");
            rows[n].id = corrald_doc_str(conn, "connection_id");
            rows[n].data = conn;
            n++;
        }
    }

    corrald_rest_page(r, rows, n, "connected_at", 0, corrald_connections_row,
                      NULL);
    json_decref(filter);
    free(rows);
}


/* The filter that the query asks for, or NULL: then it was answered. */

static json_t *
corrald_connections_query(corrald_rest_t *r)
{
    size_t           i;
    json_t          *filter, *error;
    const char      *wanted;
    corrald_check_t  check;

    filter = json_object();

    for (i = 0; corrald_filter_names[i]; i++) {
        wanted = corrald_rest_query(r, corrald_filter_names[i]);

        if (wanted) {
            json_object_set_new(filter, corrald_filter_names[i],
                                json_string(wanted));
        }
    }

    corrald_check_init(&check);

    if (corrald_filter_check(&check, filter) != 0) {
        error = json_array_get(check.errors, 0);
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"%s\" %s", corrald_doc_str(error, "pointer")
                             + sizeof("/filter/") - 1,
                             corrald_doc_str(error, "detail"));
        json_decref(filter);
        filter = NULL;
    }

    corrald_check_free(&check);

    return filter;
}


static int
corrald_connections_wanted(const corrald_rest_t *r, const json_t *filter,
    const json_t *conn, int64_t now)
{
    const char  *wanted;

    wanted = corrald_rest_query(r, "status");

    if (wanted && strcmp(wanted, corrald_doc_str(conn, "status")) != 0) {
        return 0;
    }

    wanted = corrald_rest_query(r, "service");

    return (wanted == NULL
            || strcmp(wanted, corrald_doc_str(conn, "service")) == 0
            || strcmp(wanted, corrald_doc_str(conn, "target_service_id")) == 0)
           && corrald_filter_matches(filter, conn, now);
}


static json_t *
corrald_connections_row(void *row, void *data)
{
    return json_copy(row);
}


/* A sound filter, in which the name of a service has become its id. */

static void
corrald_connections_checked(corrald_rest_t *r, json_t *filter,
    corrald_check_t *check)
{
    json_t                 *value;
    const corrald_entry_t  *service;

    value = json_object_get(filter, "service");

    if (json_is_string(value)) {
        service = corrald_store_service(json_string_value(value));

        if (service == NULL) {
            (void) corrald_check_error(check, "/filter/service", "there is no "
                                       "service \"%.64s\"",
                                       json_string_value(value));

        } else {
            json_object_set_new(filter, "service_id",
                                json_string(service->id));
        }

        json_object_del(filter, "service");
    }

    corrald_filter_check(check, filter);
}


static int
corrald_connections_code(int64_t code)
{
    return code == 1000 || code == 1001 || code == 1008
           || (code >= 1011 && code <= 1013) || (code >= 3000 && code <= 4999);
}


static int
corrald_connections_reason(const char *reason)
{
    return strlen(reason) <= 123;
}


/* c is taken over. */

static void
corrald_connections_send(corrald_connections_close_t *c, const char *reason)
{
    corrald_command_t  command;

    memset(&command, 0, sizeof(command));

    command.op = "close";
    command.filter = c->filter;
    command.code = c->code;
    command.reason = reason;
    command.dry_run = c->dry_run;

    corrald_store_command(&command, CORRALD_CONNECTIONS_WAIT,
                          corrald_connections_closed, c);
}


static void
corrald_connections_closed(json_t *value, const char *err, void *data)
{
    json_t                       *detail;
    corrald_rest_t               *r;
    corrald_connections_close_t  *c;

    c = data;
    r = c->r;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        goto done;
    }

    if (!c->dry_run && corrald_doc_int(value, "closed")) {
        detail = json_pack("{s:O, s:i, s:O, s:O, s:s}", "filter", c->filter,
                           "code", c->code,
                           "closed", json_object_get(value, "closed"),
                           "sent", json_object_get(value, "sent"),
                           "by", r->principal ? r->principal : "");
        corrald_store_event("connections_closed", "connection",
                            corrald_doc_str(c->filter, "connection_id"),
                            detail);
        json_decref(detail);
    }

    if (!c->compat) {
        corrald_rest_json(r, 200, json_incref(value));

    } else if (corrald_doc_int(value, "matched")) {
        corrald_rest_json(r, 200, json_pack("{s:o, s:O, s:O}", "message",
                          json_sprintf("Connection %s disconnected "
                                       "successfully", r->params[0]),
                          "closed", json_object_get(value, "closed"),
                          "sent", json_object_get(value, "sent")));

    } else if (json_array_size(json_object_get(value, "missing"))) {
        corrald_rest_set(r, "Retry-After", "2");
        corrald_rest_problem(r, CORRALD_PROBLEM_STORE_TIMEOUT, "%lld of %lld "
                             "workers did not answer, the others do not have "
                             "this connection",
                             (long long) json_array_size(
                                             json_object_get(value,
                                                             "missing")),
                             (long long) corrald_doc_int(value, "workers"));

    } else {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONNECTION_NOT_FOUND,
                             "Connection not found");
    }

done:

    json_decref(c->filter);
    free(c);
}
