
/*
 * The OpenAPI document and the page, both made of the route table and the
 * schema: what is written there cannot differ from what is served.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/version.h"
#include "../model/doc.h"
#include "../model/view.h"
#include "api.h"
#include "corrald_embed.h"


/* Parameters of queries: X(name, type, text) */

#define CORRALD_SPEC_QUERY(X)                                                 \
    X(limit, integer, "items of a page, 1 to 1000; default 100")              \
    X(offset, integer, "items to skip; cursor is better")                     \
    X(cursor, string, "next_cursor of the page before")                       \
    X(sort, string, "field to sort by, with - before it descending")          \
    X(fields, string, "only these members, separated by commas")              \
    X(status, string, "of services or connections")                           \
    X(tags, string, "any of these, separated by commas")                      \
    X(labels, string, "all of these: key=value or key, separated by commas")  \
    X(name, string, "a part of the name")                                     \
    X(enabled, boolean, "only those that are, or are not")                    \
    X(enabled_only, boolean, "true unless given: only enabled ones")          \
    X(dry_run, boolean, "only check, and answer what would be")               \
    X(strict, boolean, "unknown fields are an error")                         \
    X(replace, boolean, "the body is the whole document; creates")            \
    X(wait, string, "applied: until the gateways serve from the change; of "  \
      "an operation: how long to wait for its end")                           \
    X(timeout, string, "how long to wait, a duration of at most 60s")         \
    X(grace, string, "for open connections, a duration")                      \
    X(force, boolean, "with all instances, at once")                          \
    X(state, string, "any of these states, separated by commas")              \
    X(health, string, "any of these, separated by commas")                    \
    X(node, string, "any of these nodes, separated by commas")                \
    X(service, string, "id or name of a service")                             \
    X(service_id, string, "id of a service")                                  \
    X(instance_id, string, "id of an instance")                               \
    X(session_id, string, "of connections")                                   \
    X(tenant, string, "of connections")                                       \
    X(subject, string, "of connections")                                      \
    X(client_ip, string, "of connections")                                    \
    X(gateway, string, "of connections")                                      \
    X(worker, string, "of connections")                                       \
    X(connection_id, string, "16 hexadecimal digits")                         \
    X(age, string, "of connections: a duration, open for so long or longer")  \
    X(idle, string, "of connections: a duration, no data frame for so long")  \
    X(code, integer, "close code: 1000, 1001, 1008, 1011-1013, 3000-4999")    \
    X(reason, string, "close reason, at most 123 bytes")                      \
    X(tail, integer, "the newest so many lines, at most 10000; default 100")  \
    X(since, string, "RFC 3339, or an age such as 5m")                        \
    X(until, string, "RFC 3339, or an age such as 5m")                        \
    X(stream, string, "stdout, stderr or corral")                             \
    X(level, string, "at least: trace, debug, info, warn, error, fatal")      \
    X(search, string, "a part of the text, case ignored")                     \
    X(follow, boolean, "go on with what comes")                               \
    X(snapshot, boolean, "begin with all services and instances")             \
    X(types, string, "types or kinds of events, separated by commas")         \
    X(last_event_id, string, "instead of the header Last-Event-ID")


/* Objects that are not documents: X(schema, member, type, text) */

#define CORRALD_SPEC_OBJECTS(X)                                               \
    X(Problem, type, string, "urn:corral:problem:code")                       \
    X(Problem, title, string, "what kind of problem")                         \
    X(Problem, status, integer, "HTTP status")                                \
    X(Problem, detail, string, "a sentence")                                  \
    X(Problem, instance, string, "path of the request")                       \
    X(Problem, code, string, "stable name, see docs/rest.md")                 \
    X(Problem, errors, array, "of {pointer, detail}")                         \
    X(Message, success, boolean, "true")                                      \
    X(Message, message, string, "a sentence")                                 \
    X(Message, data, object, "null")                                          \
    X(Selection, all, boolean, "every service")                               \
    X(Selection, ids, array, "ids or names")                                  \
    X(Selection, labels, object, "key and value pairs, or key=value text")    \
    X(Selection, tags, string, "any of these, separated by commas")           \
    X(Selection, status, string, "only of this status")                       \
    X(BatchResult, items, array, "of {service_id, name, status, "             \
      "operation_id or detail}")                                              \
    X(BatchResult, total, integer, "services selected")                       \
    X(BatchResult, failed, integer, "of these, not changed")                  \
    X(Scale, service_id, string, "of the service")                            \
    X(Scale, replicas, integer, "instances wanted")                           \
    X(Scale, ready, integer, "instances that gateways may choose")            \
    X(Scale, instances, object, "numbers by state")                           \
    X(Operation, operation_id, string, "its id")                              \
    X(Operation, action, string, "what was asked for")                        \
    X(Operation, service_id, string, "of the service")                        \
    X(Operation, service, string, "its name")                                 \
    X(Operation, target, string, "the service, instance or gateway meant")    \
    X(Operation, state, string, "running, succeeded, failed or timeout")      \
    X(Operation, message, string, "a sentence")                               \
    X(Operation, done, integer, "instances as wanted, or closed connections") \
    X(Operation, wanted, integer, "of how many")                              \
    X(Operation, created_at, string, "RFC 3339")                              \
    X(Operation, ended_at, string, "RFC 3339 or null")                        \
    X(Registration, address, string, "unix:/path or host:port")               \
    X(Registration, instance_id, string, "chosen by the instance, or random") \
    X(Registration, weight, integer, "share of the traffic, default 100")     \
    X(Registration, priority, integer, "0, the default, is used first")       \
    X(Registration, ttl, string, "unknown after it without a heartbeat")      \
    X(Registration, health, string, "healthy, degraded or unhealthy")         \
    X(Registration, maintenance, boolean, "paused")                           \
    X(Order, order, array, "names or ids of rules, first one first")          \
    X(Order, start, integer, "priority of the first, default 10")             \
    X(Order, step, integer, "from one to the next, default 10")               \
    X(Request, method, string, "GET, POST ...")                               \
    X(Request, path, string, "decoded path, without arguments")               \
    X(Request, host, string, "in lower case, without port")                   \
    X(Request, client_ip, string, "address of the client")                    \
    X(Request, client_port, string, "port of the client")                     \
    X(Request, user_agent, string, "or the header of that name")              \
    X(Request, tenant, string, "as the identity step would know it")          \
    X(Request, service, string, "what other places of the location name")     \
    X(Request, subprotocol, string, "one, or an array of them")               \
    X(Request, headers, object, "of strings or arrays of strings")            \
    X(Request, query, object, "likewise, decoded")                            \
    X(Request, cookies, object, "likewise")                                   \
    X(Request, claims, object, "likewise")                                    \
    X(Trace, matched, object, "{rule_id, name, priority}, or null")           \
    X(Trace, strategy, string, "of the rule that matches")                    \
    X(Trace, candidates, array, "its targets that exist: {name, "             \
      "service_id, ready, weight}")                                           \
    X(Trace, forced, object, "the candidate that force_by takes, or null")    \
    X(Trace, fallback, object, "likewise, or null")                           \
    X(Trace, rules, integer, "how many rules there are")                      \
    X(Trace, truncated, boolean, "trace does not hold all of them")           \
    X(Trace, trace, array, "in order: {rule_id, name, priority, result, "     \
      "failed: {condition, field, operator, expected, actual}}; result is "   \
      "matched, condition, disabled, no_target or later")                     \
    X(Heartbeat, status, string, "pass, warn or fail")                        \
    X(Heartbeat, note, string, "for people")                                  \
    X(Close, filter, object, "connection_id, worker, gateway, service, "      \
      "service_id, instance_id, session_id, tenant, subject, client_ip, "     \
      "age, idle: all must match")                                            \
    X(Close, all, boolean, "must be true with an empty filter")               \
    X(Close, code, integer, "close code, default 1000")                       \
    X(Close, reason, string, "close reason, at most 123 bytes")               \
    X(Close, dry_run, boolean, "only count")                                  \
    X(Closed, matched, integer, "connections that the filter matched")        \
    X(Closed, closed, integer, "connections that were ended")                 \
    X(Closed, sent, integer, "of these, how many got the close frame")        \
    X(Closed, workers, integer, "live workers")                               \
    X(Closed, answered, integer, "workers that answered")                     \
    X(Closed, missing, array, "names of workers that did not")                \
    X(Closed, errors, array, "of {worker, detail}: those that refused")       \
    X(Revocation, revocation_id, string, "token:ID, subject:NAME or "         \
      "session:ID")                                                           \
    X(Revocation, kind, string, "its part before the colon, answered")        \
    X(Revocation, name, string, "its part behind it, answered")               \
    X(Revocation, expires_at, string, "RFC 3339, within 366 days; default: "  \
      "a day from now")                                                       \
    X(Renewal, expires_at, string, "RFC 3339: the new end of the token")      \
    X(Drain, rate, integer, "connections a second, of all workers together; " \
      "0: at once; default: drain_rate of the service, 100 of a gateway")     \
    X(Drain, deadline, string, "a duration up to 1h, then the rest is "       \
      "closed; default: drain_timeout of the service, 30s of a gateway")      \
    X(Drain, reason, string, "close reason, at most 90 bytes")                \
    X(Drain, retry_after, string, "a duration: each client is told a random " \
      "part of it to come back after; default 5s")                            \
    X(ServiceStats, active_connections, integer, "open WebSockets")           \
    X(ServiceStats, active_sessions, integer, "sessions of these")            \
    X(ServiceStats, memory_usage_mb, number, "of the processes of this node") \
    X(ServiceStats, cpu_seconds, number, "of the processes of this node")     \
    X(ServiceStats, error_count, integer, "restarts")                         \
    X(ServiceStats, uptime_seconds, number, "of the oldest instance")         \
    X(SystemStats, services, object, "numbers by status")                     \
    X(SystemStats, connections, object, "numbers by status and service")      \
    X(SystemStats, health, object, "instances by health")                     \
    X(ServiceHealth, service_id, string, "of the service")                    \
    X(ServiceHealth, timestamp, string, "RFC 3339")                           \
    X(ServiceHealth, status, string, "healthy, degraded, unhealthy, unknown") \
    X(ServiceHealth, response_time_ms, number, "of the slowest probe")        \
    X(ServiceHealth, checks, object, "by instance")                           \
    X(ServiceHealth, error_message, string, "or null")                        \
    X(Event, type, string, "see docs/schema.md")                              \
    X(Event, kind, string, "service, instance, node, worker, connection")     \
    X(Event, id, string, "of the object")                                     \
    X(Event, time, string, "RFC 3339")                                        \
    X(Event, data, object, "what happened")                                   \
    X(LogLines, items, array, "of {time, instance_id, stream, level, "        \
      "partial, text}, oldest first")                                         \
    X(LogLines, truncated, boolean, "there was more")                         \
    X(History, instance_id, string, "of the instance")                        \
    X(History, items, array, "of {at, state, health, reason, message}")       \
    X(Explanation, kind, string, "service or instance")                       \
    X(Explanation, id, string, "its id")                                      \
    X(Explanation, lines, array, "sentences, in order")                       \
    X(Info, name, string, "Corral")                                           \
    X(Info, version, string, "of corrald")                                    \
    X(Info, cluster, string, "name of the cluster")                           \
    X(Info, node, string, "name of this node")                                \
    X(Info, leader, boolean, "this node leads")                               \
    X(Info, store, object, "where Redis is and how")                          \
    X(Info, engine, object, "how agents are run here")                        \
    X(Health, status, string, "healthy, degraded or unhealthy")               \
    X(Health, timestamp, string, "RFC 3339")                                  \
    X(Health, checks, object, "by part")                                      \
    X(Ready, ready, boolean, "true")


typedef struct {
    const char  *name;
    const char  *member;
    const char  *type;
    const char  *text;
} corrald_spec_row_t;


static json_t *corrald_spec_operation(const corrald_rest_route_t *route);
static json_t *corrald_spec_parameters(const corrald_rest_route_t *route);
static json_t *corrald_spec_responses(const corrald_rest_route_t *route);
static json_t *corrald_spec_schemas(void);
static json_t *corrald_spec_document(corrald_kind_e kind);
static json_t *corrald_spec_field(const corrald_field_t *f);
static void corrald_spec_lists(json_t *schemas);
static json_t *corrald_spec_ref(const char *name);
static void corrald_spec_id(const corrald_rest_route_t *route, char *id,
    size_t size);


static const corrald_spec_row_t  corrald_spec_query[] = {
#define X(name, type, text)  { #name, "", #type, text },
    CORRALD_SPEC_QUERY(X)
#undef X
    { NULL, NULL, NULL, NULL }
};

static const corrald_spec_row_t  corrald_spec_objects[] = {
#define X(schema, member, type, text)  { #schema, #member, #type, text },
    CORRALD_SPEC_OBJECTS(X)
#undef X
    { NULL, NULL, NULL, NULL }
};


static char  *corrald_spec_text;


void
corrald_spec_openapi(corrald_rest_t *r)
{
    json_t  *doc;

    /* made once: nothing in it changes while corrald runs */

    if (corrald_spec_text == NULL) {
        doc = corrald_spec_make();
        corrald_spec_text = json_dumps(doc, JSON_INDENT(1));
        json_decref(doc);
    }

    if (corrald_spec_text == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INTERNAL_ERROR, "no memory");
        return;
    }

    corrald_rest_text(r, 200, "application/json", corrald_spec_text,
                      strlen(corrald_spec_text));
}


/* The page reads /openapi.json: it needs nothing from elsewhere. */

void
corrald_spec_page(corrald_rest_t *r)
{
    corrald_rest_set(r, "Content-Security-Policy", "default-src 'none'; "
                     "style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                     "connect-src 'self'");
    corrald_rest_text(r, 200, "text/html; charset=utf-8",
                      corrald_asset_docs_html, corrald_asset_docs_html_len);
}


void
corrald_spec_free(void)
{
    free(corrald_spec_text);
    corrald_spec_text = NULL;
}


/* The whole document; a new reference. */

json_t *
corrald_spec_make(void)
{
    char                         method[16];
    size_t                       i;
    json_t                      *paths, *path;
    const corrald_rest_route_t  *route;

    paths = json_object();

    for (route = corrald_rest_routes(); route->method; route++) {
        path = json_object_get(paths, route->path);

        if (path == NULL) {
            path = json_object();
            json_object_set_new(paths, route->path, path);
        }

        for (i = 0; route->method[i]; i++) {
            method[i] = (char) (route->method[i] | 0x20);
        }

        method[i] = '\0';

        json_object_set_new(path, method, corrald_spec_operation(route));
    }

    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:o,"
                     " s:{s:o, s:{s:{s:s, s:s}}}, s:[{s:[]}]}",
                     "openapi", "3.1.0",
                     "info", "title", "Corral", "version", CORRALD_VERSION,
                     "description", "Runs, routes and watches AI agents "
                     "behind nginx.  Operations marked x-compat are MyAgent's.",
                     "servers", "url", "/",
                     "paths", paths,
                     "components", "schemas", corrald_spec_schemas(),
                     "securitySchemes", "token", "type", "http",
                     "scheme", "bearer",
                     "security", "token");
}


static json_t *
corrald_spec_operation(const corrald_rest_route_t *route)
{
    char     id[96];
    json_t  *op;

    corrald_spec_id(route, id, sizeof(id));

    op = json_pack("{s:s, s:s, s:o, s:o}", "operationId", id,
                   "summary", route->text,
                   "parameters", corrald_spec_parameters(route),
                   "responses", corrald_spec_responses(route));

    if (route->flags & CORRALD_REST_COMPAT) {
        json_object_set_new(op, "x-compat", json_true());
    }

    if (*route->permission) {
        json_object_set_new(op, "x-permission",
                            json_string(route->permission));
    }

    if (route->flags & CORRALD_REST_PUBLIC) {
        json_object_set_new(op, "security", json_array());
    }

    if (*route->in) {
        json_object_set_new(op, "requestBody",
                            json_pack("{s:b, s:{s:{s:o}}}", "required",
                                      strcmp(route->in, "Heartbeat") != 0,
                                      "content", "application/json", "schema",
                                      corrald_spec_ref(route->in)));
    }

    return op;
}


static json_t *
corrald_spec_parameters(const corrald_rest_route_t *route)
{
    char                       name[32];
    size_t                     len;
    json_t                    *list;
    const char                *p;
    const corrald_spec_row_t  *q;

    list = json_array();

    for (p = strchr(route->path, '{'); p; p = strchr(p + 1, '{')) {
        snprintf(name, sizeof(name), "%.*s", (int) strcspn(p + 1, "}"),
                 p + 1);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:b, s:{s:s}}",
                                        "name", name, "in", "path",
                                        "required", 1, "schema", "type",
                                        "string"));
    }

    for (p = route->query; *p; p += len + (p[len] == ' ')) {
        len = strcspn(p, " ");

        for (q = corrald_spec_query; q->name; q++) {
            if (strlen(q->name) == len && memcmp(q->name, p, len) == 0) {
                json_array_append_new(list,
                                      json_pack("{s:s, s:s, s:s, s:{s:s}}",
                                                "name", q->name,
                                                "in", "query",
                                                "description", q->text,
                                                "schema", "type", q->type));
            }
        }
    }

    return list;
}


static json_t *
corrald_spec_responses(const corrald_rest_route_t *route)
{
    json_t      *responses, *ok;
    const char  *status;

    ok = json_pack("{s:s}", "description", "done");

    if (*route->out) {
        json_object_set_new(ok, "content",
                            json_pack("{s:{s:o}}",
                                      strcmp(route->out, "Event") == 0
                                          ? "text/event-stream"
                                          : "application/json",
                                      "schema",
                                      corrald_spec_ref(route->out)));
    }

    status = "200";

    if (strcmp(route->out, "Operation") == 0
        && strcmp(route->method, "GET") != 0)
    {
        status = "202";

    } else if (strcmp(route->method, "POST") == 0
               && (strcmp(route->in, "Service") == 0
                   || strcmp(route->in, "Rule") == 0
                   || strcmp(route->in, "Revocation") == 0
                   || strcmp(route->in, "Registration") == 0))
    {
        status = "201";
    }

    responses = json_pack("{s:o, s:{s:s, s:{s:{s:o}}}}", status, ok,
                          "default", "description", "a problem (RFC 9457)",
                          "content", "application/problem+json", "schema",
                          corrald_spec_ref("Problem"));

    return responses;
}


static json_t *
corrald_spec_schemas(void)
{
    json_t                      *schemas, *schema, *member;
    const corrald_spec_row_t    *row;

    schemas = json_pack("{s:o, s:o, s:o, s:o, s:o}",
                        "Service", corrald_spec_document(CORRALD_SERVICE),
                        "Instance", corrald_spec_document(CORRALD_INSTANCE),
                        "Rule", corrald_spec_document(CORRALD_RULE),
                        "Condition", corrald_spec_document(CORRALD_CONDITION),
                        "Probe", corrald_spec_document(CORRALD_PROBE));

    for (row = corrald_spec_objects; row->name; row++) {
        schema = json_object_get(schemas, row->name);

        if (schema == NULL) {
            schema = json_pack("{s:s, s:{}}", "type", "object", "properties");
            json_object_set_new(schemas, row->name, schema);
        }

        member = json_pack("{s:s, s:s}", "type", row->type,
                           "description", row->text);
        json_object_set_new(json_object_get(schema, "properties"),
                            row->member, member);
    }

    corrald_spec_lists(schemas);

    return schemas;
}


/* The schema of a kind: what may be sent and, readOnly, what is answered. */

static json_t *
corrald_spec_document(corrald_kind_e kind)
{
    json_t                       *properties, *required, *member;
    const char                   *type;
    const corrald_field_t        *f;
    const corrald_view_field_t   *v;

    properties = json_object();
    required = json_array();

    for (f = corrald_doc_fields(kind); f->name; f++) {
        json_object_set_new(properties, f->name, corrald_spec_field(f));

        if (f->flags & CORRAL_R) {
            json_array_append_new(required, json_string(f->name));
        }
    }

    for (v = corrald_view_computed(); v->name; v++) {

        if (v->kind != kind) {
            continue;
        }

        type = v->type == CORRALD_TYPE_map ? "object"
               : v->type == CORRALD_TYPE_time ? "string"
               : corrald_doc_type(v->type);

        member = json_pack("{s:[s, s], s:s, s:b}", "type", type, "null",
                           "description", v->text, "readOnly", 1);
        json_object_set_new(properties, v->name, member);
    }

    return json_pack("{s:s, s:o, s:o}", "type", "object",
                     "required", required, "properties", properties);
}


static json_t *
corrald_spec_field(const corrald_field_t *f)
{
    char         word[32];
    size_t       len;
    json_t      *schema, *values, *preset;
    const char  *p;

    switch (f->type) {

    case CORRALD_TYPE_integer:
        schema = json_pack("{s:s, s:I, s:I}", "type", "integer",
                           "minimum", (json_int_t) f->min,
                           "maximum", (json_int_t) f->max);
        break;

    case CORRALD_TYPE_boolean:
        schema = json_pack("{s:s}", "type", "boolean");
        break;

    case CORRALD_TYPE_duration:
        schema = json_pack("{s:[s, s], s:[s]}", "type", "string", "integer",
                           "examples", "30s");
        break;

    case CORRALD_TYPE_strings:
        schema = json_pack("{s:s, s:{s:s}, s:I}", "type", "array",
                           "items", "type", "string",
                           "maxItems", (json_int_t) f->max);
        break;

    case CORRALD_TYPE_map:
        schema = json_pack("{s:s, s:{s:s}, s:I}", "type", "object",
                           "additionalProperties", "type", "string",
                           "maxProperties", (json_int_t) f->max);
        break;

    case CORRALD_TYPE_conditions:
        schema = json_pack("{s:s, s:o, s:I}", "type", "array",
                           "items", corrald_spec_ref("Condition"),
                           "maxItems", (json_int_t) f->max);
        break;

    case CORRALD_TYPE_weights:
        schema = json_pack("{s:s, s:{s:s, s:I, s:I}, s:i}", "type", "object",
                           "additionalProperties", "type", "integer",
                           "minimum", (json_int_t) f->min,
                           "maximum", (json_int_t) f->max,
                           "maxProperties", 256);
        break;

    case CORRALD_TYPE_probe:
        schema = json_pack("{s:[o, {s:s}]}", "anyOf",
                           corrald_spec_ref("Probe"), "type", "null");
        break;

    case CORRALD_TYPE_enumerate:
        values = json_array();

        for (p = corrald_doc_values(f); *p; p += len + (p[len] == ' ')) {
            len = strcspn(p, " ");
            snprintf(word, sizeof(word), "%.*s", (int) len, p);
            json_array_append_new(values, json_string(word));
        }

        if (strcmp(f->preset, "\"\"") == 0) {
            json_array_append_new(values, json_string(""));
        }

        schema = json_pack("{s:s, s:o}", "type", "string", "enum", values);
        break;

    case CORRALD_TYPE_time:
        schema = json_pack("{s:s, s:s}", "type", "string",
                           "format", "date-time");
        break;

    default:
        schema = json_pack("{s:s, s:I, s:I}", "type", "string",
                           "minLength", (json_int_t) f->min,
                           "maxLength", (json_int_t) f->max);
        break;
    }

    if ((f->flags & CORRAL_N) && f->type != CORRALD_TYPE_probe) {

        /* 3.1 is JSON Schema: null is one of several types */

        preset = json_object_get(schema, "type");

        if (json_is_array(preset)) {
            json_array_append_new(preset, json_string("null"));

        } else {
            json_object_set_new(schema, "type",
                                json_pack("[O, s]", preset, "null"));
        }
    }

    json_object_set_new(schema, "description", json_string(f->text));

    preset = corrald_doc_preset(f);

    if (preset) {
        json_object_set_new(schema, "default", preset);
    }

    if (f->owner == CORRALD_OWNER_system || f->owner == CORRALD_OWNER_node) {
        json_object_set_new(schema, "readOnly", json_true());
    }

    return schema;
}


static void
corrald_spec_lists(json_t *schemas)
{
    size_t       i;
    json_t      *items;

    static const char  *lists[][2] = {
        { "ServiceList", "Service" },
        { "InstanceList", "Instance" },
        { "RuleList", "Rule" },
        { "OperationList", "Operation" },
        { "RevocationList", "Revocation" },
        { "ConnectionList", NULL },
        { "NodeList", NULL },
        { "GatewayList", NULL },
        { NULL, NULL }
    };

    for (i = 0; lists[i][0]; i++) {
        items = lists[i][1] ? corrald_spec_ref(lists[i][1])
                            : json_pack("{s:s}", "type", "object");

        json_object_set_new(schemas, lists[i][0],
            json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:s}, s:{s:s}, s:{s:s},"
                      " s:{s:s}, s:{s:[s, s]}}}",
                      "type", "object", "properties",
                      "items", "type", "array", "items", items,
                      "total", "type", "integer",
                      "limit", "type", "integer",
                      "offset", "type", "integer",
                      "has_more", "type", "boolean",
                      "next_cursor", "type", "string", "null"));
    }
}


static json_t *
corrald_spec_ref(const char *name)
{
    return json_pack("{s:s+}", "$ref", "#/components/schemas/", name);
}


/* "POST /api/v1/services/{service}/start" is post_services_service_start */

static void
corrald_spec_id(const corrald_rest_route_t *route, char *id, size_t size)
{
    size_t       n;
    const char  *p;

    n = 0;

    for (p = route->method; *p && n + 1 < size; p++) {
        id[n++] = (char) (*p | 0x20);
    }

    p = strncmp(route->path, "/api/v1", 7) == 0 ? route->path + 7
                                                : route->path;

    for ( /* void */ ; *p && n + 1 < size; p++) {
        if (*p == '/' || *p == '.') {
            id[n++] = '_';

        } else if (*p != '{' && *p != '}') {
            id[n++] = *p;
        }
    }

    id[n] = '\0';
}
