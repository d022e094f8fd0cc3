
/*
 * The routes of the API, and the way of a request through them: host and
 * origin, route, token and permission, body, idempotency, handler.  Errors
 * become problem documents here and nowhere else.
 */


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "../model/view.h"
#include "access.h"
#include "api.h"
#include "http.h"


#define CORRALD_REST_LIMIT      100
#define CORRALD_REST_LIMIT_MAX  1000

#define ANY      CORRALD_REST_ANYTIME
#define COMPAT   CORRALD_REST_COMPAT
#define PUBLIC   CORRALD_REST_PUBLIC
#define STREAM   CORRALD_REST_STREAM
#define WRITE    CORRALD_REST_WRITE

#define PAGE     "limit offset cursor sort fields"
#define CHANGE   "wait timeout"


/*
 * Every operation.  A literal segment stands before a parameter in the same
 * place.  "compat" are MyAgent's.
 */

static const corrald_rest_route_t  corrald_rest_table[] = {

    { "GET", "/api/v1/services", "services:read",
      COMPAT, corrald_services_list,
      "", "ServiceList",
      "status tags labels name " PAGE,
      "List services." },
    { "POST", "/api/v1/services", "services:write",
      COMPAT|WRITE, corrald_services_create,
      "Service", "Service",
      "strict dry_run " CHANGE,
      "Create a service. Who may do this may run commands." },

    { "POST", "/api/v1/services/actions/{action}", "services:write",
      WRITE, corrald_actions_batch,
      "Selection", "BatchResult",
      CHANGE,
      "Start, stop, restart, pause or resume many services." },

    { "GET", "/api/v1/services/{service}", "services:read",
      COMPAT, corrald_services_get,
      "", "Service",
      "fields",
      "One service, by its id or its name." },
    { "PUT", "/api/v1/services/{service}", "services:write",
      COMPAT|WRITE, corrald_services_put,
      "Service", "Service",
      "replace dry_run " CHANGE,
      "Merge fields into a service; with replace=1 create or replace it." },
    { "PATCH", "/api/v1/services/{service}", "services:write",
      WRITE, corrald_services_patch,
      "Service", "Service",
      "dry_run " CHANGE,
      "Change a service by JSON Merge Patch (RFC 7396)." },
    { "DELETE", "/api/v1/services/{service}", "services:write",
      COMPAT|WRITE, corrald_services_delete,
      "", "Message",
      "grace force timeout",
      "Stop a service and forget it." },

    { "POST", "/api/v1/services/{service}/start", "services:operate",
      COMPAT|WRITE, corrald_actions_start,
      "", "Message",
      CHANGE,
      "Start, and wait for it as MyAgent does." },
    { "POST", "/api/v1/services/{service}/stop", "services:operate",
      COMPAT|WRITE, corrald_actions_stop,
      "", "Message",
      CHANGE,
      "Stop, and wait for it as MyAgent does." },
    { "POST", "/api/v1/services/{service}/restart", "services:operate",
      COMPAT|WRITE, corrald_actions_restart,
      "", "Message",
      CHANGE,
      "Restart, and wait for it as MyAgent does." },

    { "POST", "/api/v1/services/{service}/actions/drain",
      "services:operate",
      WRITE, corrald_drains_service,
      "Drain", "Operation",
      "",
      "Pause a service and close its connections, at a pace." },
    { "POST", "/api/v1/services/{service}/actions/{action}",
      "services:operate",
      WRITE, corrald_actions_action,
      "", "Operation",
      CHANGE,
      "Begin start, stop, restart, pause or resume." },
    { "GET", "/api/v1/services/{service}/scale", "services:read",
      0, corrald_actions_scale,
      "", "Scale",
      "",
      "How many instances are wanted, how many there are." },
    { "PUT", "/api/v1/services/{service}/scale", "services:operate",
      WRITE, corrald_actions_set_scale,
      "Scale", "Operation",
      CHANGE,
      "Set how many instances are wanted." },

    { "GET", "/api/v1/services/{service}/instances", "instances:read",
      0, corrald_instances_of_service,
      "", "InstanceList",
      "state health node " PAGE,
      "The instances of a service." },
    { "POST", "/api/v1/services/{service}/instances", "instances:write",
      WRITE, corrald_instances_register,
      "Registration", "Instance",
      CHANGE,
      "Register an external instance, which keeps itself by heartbeats." },
    { "GET", "/api/v1/services/{service}/stats", "services:read",
      COMPAT, corrald_stats_service,
      "", "ServiceStats",
      "",
      "Numbers of one service. What is not known is null." },
    { "GET", "/api/v1/services/{service}/health", "services:read",
      COMPAT, corrald_health_service,
      "", "ServiceHealth",
      "",
      "Health of one service, with the last probe of each instance." },
    { "GET", "/api/v1/services/{service}/logs", "logs:read",
      STREAM, corrald_output_service,
      "", "LogLines",
      "tail since until stream level search follow",
      "Output of a service's instances." },

    { "GET", "/api/v1/instances", "instances:read",
      0, corrald_instances_list,
      "", "InstanceList",
      "state health node service " PAGE,
      "All instances." },
    { "GET", "/api/v1/instances/{instance}", "instances:read",
      0, corrald_instances_get,
      "", "Instance",
      "fields",
      "One instance." },
    { "PATCH", "/api/v1/instances/{instance}", "instances:write",
      WRITE, corrald_instances_patch,
      "Instance", "Instance",
      CHANGE,
      "Change weight, priority, maintenance or ttl." },
    { "DELETE", "/api/v1/instances/{instance}", "instances:write",
      WRITE, corrald_instances_delete,
      "", "Message",
      CHANGE,
      "Evict a managed instance (another comes if one is wanted), or forget "
      "an external one." },
    { "POST", "/api/v1/instances/{instance}/actions/drain",
      "instances:write",
      WRITE, corrald_drains_instance,
      "Drain", "Operation",
      "",
      "Pause an instance and close its connections, at a pace." },
    { "POST", "/api/v1/instances/{instance}/actions/{action}",
      "instances:write",
      WRITE, corrald_instances_action,
      "", "Instance",
      CHANGE,
      "Restart, pause or resume one instance." },
    { "PUT", "/api/v1/instances/{instance}/heartbeat", "instances:write",
      WRITE, corrald_instances_heartbeat,
      "Heartbeat", "Instance",
      "",
      "An external instance says how it is." },
    { "GET", "/api/v1/instances/{instance}/history", "instances:read",
      0, corrald_instances_history,
      "", "History",
      "",
      "The last changes of state and health, newest first." },
    { "GET", "/api/v1/instances/{instance}/logs", "logs:read",
      STREAM, corrald_output_instance,
      "", "LogLines",
      "tail since until stream level search follow",
      "Output of one instance." },

    { "GET", "/api/v1/routes", "routes:read",
      0, corrald_routes_list,
      "", "RuleList",
      "enabled name service tags " PAGE,
      "Rules, in the order in which they are asked." },
    { "POST", "/api/v1/routes", "routes:write",
      WRITE, corrald_routes_create,
      "Rule", "Rule",
      "dry_run " CHANGE,
      "Create a rule." },
    { "POST", "/api/v1/routes/actions/test", "routes:read",
      0, corrald_trace_test,
      "Request", "Trace",
      "",
      "Which rule a request would match, and why every other did not." },
    { "POST", "/api/v1/routes/actions/reorder", "routes:write",
      WRITE, corrald_routes_reorder,
      "Order", "RuleList",
      CHANGE,
      "Give rules new priorities, in one change." },
    { "GET", "/api/v1/routes/{rule}", "routes:read",
      0, corrald_routes_get,
      "", "Rule",
      "fields",
      "One rule, by its id or its name." },
    { "PUT", "/api/v1/routes/{rule}", "routes:write",
      WRITE, corrald_routes_put,
      "Rule", "Rule",
      "dry_run " CHANGE,
      "Create or replace a rule." },
    { "PATCH", "/api/v1/routes/{rule}", "routes:write",
      WRITE, corrald_routes_patch,
      "Rule", "Rule",
      "dry_run " CHANGE,
      "Change a rule by JSON Merge Patch (RFC 7396)." },
    { "DELETE", "/api/v1/routes/{rule}", "routes:write",
      WRITE, corrald_routes_delete,
      "", "Message",
      CHANGE,
      "Delete a rule." },
    { "POST", "/api/v1/routes/{rule}/actions/{action}", "routes:write",
      WRITE, corrald_routes_action,
      "", "Rule",
      CHANGE,
      "Enable or disable a rule." },
    { "GET", "/api/v1/routing/rules", "routes:read",
      COMPAT, corrald_routes_compat_list,
      "", "RuleList",
      "enabled_only " PAGE,
      "Rules, as MyAgent lists them." },
    { "POST", "/api/v1/routing/rules", "routes:write",
      COMPAT|WRITE, corrald_routes_compat_create,
      "Rule", "Rule",
      "dry_run " CHANGE,
      "Create a rule, from MyAgent's bodies, too." },

    { "GET", "/api/v1/connections", "connections:read",
      COMPAT, corrald_connections_list,
      "", "ConnectionList",
      "service service_id instance_id session_id tenant subject client_ip "
      "gateway worker connection_id age idle status " PAGE,
      "The WebSockets of the whole cluster." },
    { "POST", "/api/v1/connections/actions/close", "connections:close",
      WRITE, corrald_connections_close,
      "Close", "Closed",
      "",
      "Close connections that match a filter." },
    { "POST", "/api/v1/connections/{connection}/actions/renew",
      "connections:close",
      WRITE, corrald_connections_renew,
      "Renewal", "Message",
      "",
      "Let a connection live until another end of its token." },
    { "DELETE", "/api/v1/connections/{connection}", "connections:close",
      COMPAT|WRITE, corrald_connections_delete,
      "", "Message",
      "code reason",
      "Close one connection." },

    { "GET", "/api/v1/revocations", "revocations:read",
      0, corrald_revocations_list,
      "", "RevocationList",
      PAGE,
      "What is revoked: tokens, subjects, sessions." },
    { "POST", "/api/v1/revocations", "revocations:write",
      WRITE, corrald_revocations_create,
      "Revocation", "Revocation",
      "",
      "Revoke a token, a subject or a session until a time." },
    { "DELETE", "/api/v1/revocations/{revocation}", "revocations:write",
      WRITE, corrald_revocations_delete,
      "", "Message",
      "",
      "Revoke it no longer." },

    { "GET", "/api/v1/stats", "services:read",
      COMPAT, corrald_stats_system,
      "", "SystemStats",
      "",
      "Numbers of the whole cluster." },
    { "GET", "/api/v1/nodes", "nodes:read",
      ANY, corrald_cluster_nodes,
      "", "NodeList",
      PAGE,
      "Nodes and their leases." },
    { "GET", "/api/v1/gateways", "nodes:read",
      ANY, corrald_cluster_gateways,
      "", "GatewayList",
      PAGE,
      "nginx workers and the revision each serves from." },
    { "POST", "/api/v1/gateways/{gateway}/actions/drain", "connections:close",
      WRITE, corrald_drains_gateway,
      "Drain", "Operation",
      "",
      "Close the connections of a gateway, at a pace." },
    { "GET", "/api/v1/events", "events:read",
      STREAM, corrald_events_list,
      "", "Event",
      "follow snapshot types service limit last_event_id",
      "What happens: server-sent events or lines of JSON." },
    { "GET", "/api/v1/operations", "services:read",
      0, corrald_operations_list,
      "", "OperationList",
      PAGE,
      "Operations of this node, newest first." },
    { "GET", "/api/v1/operations/{operation}", "services:read",
      0, corrald_operations_get,
      "", "Operation",
      "wait",
      "One operation; wait=30s waits for its end." },
    { "GET", "/api/v1/explain/{thing}", "services:read",
      0, corrald_explain_get,
      "", "Explanation",
      "",
      "Why a service or an instance is in the state it is in." },

    { "GET", "/api/v1/info", "info:read",
      COMPAT|ANY, corrald_cluster_info,
      "", "Info",
      "",
      "Name, version and state of this node." },
    { "GET", "/health", "",
      COMPAT|PUBLIC|ANY, corrald_health_system,
      "", "Health",
      "",
      "Whether this node can do its work." },
    { "GET", "/healthz", "",
      PUBLIC|ANY, corrald_health_live,
      "", "",
      "",
      "200 while the process runs." },
    { "GET", "/readyz", "",
      PUBLIC|ANY, corrald_health_ready,
      "", "Ready",
      "",
      "200 when changes can be made, else 503." },
    { "GET", "/metrics", "metrics:read",
      ANY, corrald_metrics_get,
      "", "",
      "",
      "Prometheus metrics." },
    { "GET", "/openapi.json", "",
      PUBLIC|ANY, corrald_spec_openapi,
      "", "",
      "",
      "This API as OpenAPI 3.1." },
    { "GET", "/docs", "",
      PUBLIC|ANY, corrald_spec_page,
      "", "",
      "",
      "This API as a page." },

    { NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL }
};

#undef ANY
#undef COMPAT
#undef PUBLIC
#undef STREAM
#undef WRITE
#undef PAGE
#undef CHANGE


typedef struct {
    corrald_rest_t   *r;
    int               status;
    json_t           *body;
} corrald_rest_wait_t;


static int corrald_rest_utf8(const corrald_rest_t *r);
static int corrald_rest_find(corrald_rest_t *r);
static void corrald_rest_allow(corrald_rest_t *r, const char *methods);
static int corrald_rest_key(corrald_rest_t *r);
static void corrald_rest_key_begun(json_t *value, const char *err,
    void *data);
static void corrald_rest_replay(corrald_rest_t *r, const json_t *answer);
static void corrald_rest_remember(corrald_rest_t *r, int status,
    const json_t *body);
static void corrald_rest_applied(json_t *value, const char *err, void *data);
static void corrald_rest_body_send(corrald_rest_t *r, int status,
    const char *type, json_t *body);


/* The table; the last row has no method. */

const corrald_rest_route_t *
corrald_rest_routes(void)
{
    return corrald_rest_table;
}


/* The headers are here.  What can be refused without the body, is. */

void
corrald_rest_begin(corrald_rest_t *r)
{
    const char  *wanted;

    if (r->query == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST,
                             "the query string is not valid");
        return;
    }

    if (corrald_access_host(r) != 0) {
        return;
    }

    wanted = corrald_rest_header(r, "Access-Control-Request-Method");

    if (strcmp(r->method, "OPTIONS") == 0 && wanted
        && json_object_get(r->headers, "Access-Control-Allow-Origin"))
    {
        corrald_rest_set(r, "Access-Control-Allow-Methods",
                         "GET, POST, PUT, PATCH, DELETE");
        corrald_rest_set(r, "Access-Control-Allow-Headers",
                         "Authorization, Content-Type, If-Match, "
                         "If-None-Match, Idempotency-Key, Last-Event-ID");
        corrald_rest_set(r, "Access-Control-Max-Age", "600");
        corrald_rest_empty(r, 204);
        return;
    }

    if (corrald_rest_find(r) != 0) {
        return;
    }

    corrald_access_check(r);
}


/* The body is here.  The handler answers now or later. */

void
corrald_rest_run(corrald_rest_t *r)
{
    int64_t                        timeout;
    const char                    *wait;
    const corrald_store_status_t  *store;

    store = corrald_store_status();

    if (store->loads == 0 && !(r->route->flags & CORRALD_REST_ANYTIME)) {
        corrald_rest_store_error(r, *store->error ? store->error
                                 : "the registry is not loaded yet");
        return;
    }

    if (!store->ready) {

        /* reads go on, from what was known when the store was lost */

        corrald_rest_set(r, "Warning", "110 corrald \"the store cannot be "
                         "reached: this may be stale\"");
    }

    if (corrald_rest_query_known(r) != 0) {
        return;
    }

    /* looked at before the change, not when it is made */

    wait = corrald_rest_query(r, "wait");

    if ((r->route->flags & CORRALD_REST_WRITE)
        && ((wait && strcmp(wait, "applied") != 0)
            || corrald_rest_query_ms(r, "timeout", 0, 0, 60000, &timeout)
               != 0))
    {
        if (r->response == NULL) {
            corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                                 "\"wait\" is \"%.64s\", it can be: applied",
                                 wait);
        }

        return;
    }

    if (strcmp(r->method, "POST") == 0
        && corrald_rest_header(r, "Idempotency-Key"))
    {
        if (corrald_rest_key(r) == 0) {
            corrald_store_idempotency_begin(r->key, r->digest,
                                            corrald_rest_key_begun, r);
        }

        return;
    }

    r->route->handler(r);
}


void
corrald_rest_free(corrald_rest_t *r)
{
    if (r->response) {
        MHD_destroy_response(r->response);
    }

    json_decref(r->query);
    json_decref(r->json);
    json_decref(r->headers);
    corrald_buf_free(&r->body);
    free(r->uri);
    free(r);
}


/* A header of the request, or NULL. */

const char *
corrald_rest_header(const corrald_rest_t *r, const char *name)
{
    return r->conn ? MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND,
                                                 name)
                   : NULL;
}


/*
 * Parses the body into r->json.  Without a body and if none is required it is
 * an empty object.  Returns 0, or -1 after a problem was answered.
 */

int
corrald_rest_body(corrald_rest_t *r, int required)
{
    const char       *type;
    corrald_check_t   check;

    if (r->body.len == 0 && !required) {
        r->json = json_object();
        return 0;
    }

    type = corrald_rest_header(r, "Content-Type");

    if (type && strncasecmp(type, "application/json", 16) != 0
        && strncasecmp(type, "application/merge-patch+json", 28) != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_MEDIA_TYPE, "the body is "
                             "\"%.64s\", it must be application/json", type);
        return -1;
    }

    if (r->body.len == 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_JSON,
                             "there is no body: a JSON object is needed");
        return -1;
    }

    corrald_check_init(&check);

    r->json = corrald_check_parse(&check, r->body.data, r->body.len);

    if (r->json == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_JSON, "%s",
                             check.sentence);
    }

    corrald_check_free(&check);

    return r->json ? 0 : -1;
}


/* Whether one of the tags of a header is this revision, or "*". */

static int
corrald_rest_tag(const char *header, int64_t revision)
{
    char         tag[32];
    size_t       len;
    const char  *p;

    snprintf(tag, sizeof(tag), "\"%lld\"", (long long) revision);
    len = strlen(tag);

    if (strcmp(header, "*") == 0) {
        return 1;
    }

    for (p = header; (p = strstr(p, tag)) != NULL; p += len) {
        if (p == header || p[-1] == ' ' || p[-1] == ',' || p[-1] == '/') {
            return 1;
        }
    }

    return 0;
}


/* Compares If-Match with the revision of what is to be changed. */

int
corrald_rest_if_match(corrald_rest_t *r, int64_t revision)
{
    const char  *header;

    header = corrald_rest_header(r, "If-Match");

    if (header == NULL || corrald_rest_tag(header, revision)) {
        return 0;
    }

    if (*header != '"' && strncmp(header, "W/\"", 3) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST, "If-Match must "
                             "be an ETag in quotes");
        return -1;
    }

    corrald_rest_etag(r, revision);
    corrald_rest_problem(r, CORRALD_PROBLEM_PRECONDITION_FAILED,
                         "the revision is %lld, If-Match is %.64s",
                         (long long) revision, header);

    return -1;
}


/* Sets the ETag.  Returns 1 after 304 was answered. */

int
corrald_rest_not_modified(corrald_rest_t *r, int64_t revision)
{
    const char  *header;

    corrald_rest_etag(r, revision);

    header = corrald_rest_header(r, "If-None-Match");

    if (header == NULL || !corrald_rest_tag(header, revision)) {
        return 0;
    }

    corrald_rest_empty(r, 304);

    return 1;
}


/* The header Accept, or "". */

const char *
corrald_rest_accept(const corrald_rest_t *r)
{
    const char  *accept;

    accept = corrald_rest_header(r, "Accept");

    return accept ? accept : "";
}


/* Sets a header of the answer. */

void
corrald_rest_set(corrald_rest_t *r, const char *name, const char *fmt, ...)
{
    char     value[1024];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);

    /* nothing of a request may begin a new line */

    value[strcspn(value, "\r\n")] = '\0';

    if (r->headers == NULL) {
        r->headers = json_object();
    }

    json_object_set_new(r->headers, name, json_string(value));
}


void
corrald_rest_etag(corrald_rest_t *r, int64_t revision)
{
    corrald_rest_set(r, "ETag", "\"%lld\"", (long long) revision);
}


/* body is taken over. */

void
corrald_rest_json(corrald_rest_t *r, int status, json_t *body)
{
    if (*r->key) {
        corrald_rest_remember(r, status, body);
    }

    corrald_rest_body_send(r, status, "application/json", body);
}


void
corrald_rest_text(corrald_rest_t *r, int status, const char *type,
    const char *text, size_t len)
{
    corrald_rest_set(r, "Content-Type", "%s", type);
    corrald_rest_send(r, status,
                      MHD_create_response_from_buffer(len, (void *) text,
                                                  MHD_RESPMEM_MUST_COPY));
}


void
corrald_rest_empty(corrald_rest_t *r, int status)
{
    corrald_rest_send(r, status,
                      MHD_create_response_from_buffer(0, "",
                                                  MHD_RESPMEM_PERSISTENT));
}


/* A problem document with this sentence as its detail. */

void
corrald_rest_problem(corrald_rest_t *r, corrald_problem_e problem,
    const char *fmt, ...)
{
    int      status;
    char     detail[1024];
    json_t  *body;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);

    body = corrald_problem_make(problem, r->uri, detail, NULL);
    status = corrald_problem_http(problem);

    if (*r->key) {
        corrald_rest_remember(r, status, body);
    }

    corrald_rest_body_send(r, status, "application/problem+json", body);
}


/* 422 with the list of what is wrong. */

void
corrald_rest_check(corrald_rest_t *r, const corrald_check_t *check)
{
    json_t  *body;

    body = corrald_problem_make(CORRALD_PROBLEM_VALIDATION_FAILED, r->uri,
                                check->sentence, check->errors);

    if (*r->key) {
        corrald_rest_remember(r, 422, body);
    }

    corrald_rest_body_send(r, 422, "application/problem+json", body);
}


/* What was ignored is said: a misspelled name would be silent otherwise. */

void
corrald_rest_ignored(corrald_rest_t *r, const corrald_check_t *check)
{
    size_t          i;
    json_t         *name;
    corrald_buf_t   b;

    if (json_array_size(check->ignored) == 0) {
        return;
    }

    corrald_buf_init(&b, 800);
    corrald_buf_str(&b, "299 corrald \"ignored:");

    json_array_foreach(check->ignored, i, name) {
        corrald_buf_printf(&b, " %.64s", json_string_value(name));
    }

    corrald_buf_str(&b, "\"");
    corrald_rest_set(r, "Warning", "%s", b.data);
    corrald_buf_free(&b);
}


/* The problem of a commit that was not made. */

void
corrald_rest_result(corrald_rest_t *r, const corrald_result_t *result)
{
    switch (result->result) {

    case CORRALD_CONFLICT:
        corrald_rest_problem(r, corrald_rest_header(r, "If-Match")
                                ? CORRALD_PROBLEM_PRECONDITION_FAILED
                                : CORRALD_PROBLEM_CONFLICT,
                             "%s", result->message);
        break;

    case CORRALD_NAME_TAKEN:
        corrald_rest_problem(r, CORRALD_PROBLEM_NAME_TAKEN, "%s",
                             result->message);
        break;

    case CORRALD_MISSING:
        corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "%s",
                             result->message);
        break;

    case CORRALD_INVALID:
        corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED, "%s",
                             result->message);
        break;

    case CORRALD_UNKNOWN:
        corrald_rest_set(r, "Retry-After", "2");
        corrald_rest_problem(r, CORRALD_PROBLEM_STORE_TIMEOUT, "%s",
                             result->message);
        break;

    default:
        corrald_rest_store_error(r, result->message);
        break;
    }
}


/* 503: nothing has happened. */

void
corrald_rest_store_error(corrald_rest_t *r, const char *err)
{
    corrald_rest_set(r, "Retry-After", "2");
    corrald_rest_problem(r, CORRALD_PROBLEM_STORE_UNAVAILABLE, "%s", err);
}


/* The last word: the response is taken over.  r is not ours any more. */

void
corrald_rest_send(corrald_rest_t *r, int status,
    struct MHD_Response *response)
{
    json_t      *value;
    const char  *name;

    if (response == NULL) {
        corrald_log_error("no memory for an answer");
        abort();
    }

    r->status = status;

    json_object_foreach(r->headers, name, value) {
        (void) MHD_add_response_header(response, name,
                                       json_string_value(value));
    }

    (void) MHD_add_response_header(response, "X-Content-Type-Options",
                                   "nosniff");

    if (json_object_get(r->headers, "Cache-Control") == NULL) {
        (void) MHD_add_response_header(response, "Cache-Control", "no-store");
    }

    if (r->response) {
        MHD_destroy_response(r->response);
    }

    r->response = response;

    corrald_metrics_request(r, corrald_clock_monotonic() - r->began);
    corrald_http_answer(r);
}


/* body is taken over. */

void
corrald_rest_changed(corrald_rest_t *r, int status, json_t *body,
    int64_t revision)
{
    int64_t               timeout;
    corrald_rest_wait_t  *w;

    if (corrald_rest_query(r, "wait") == NULL
        || corrald_rest_query_ms(r, "timeout", 5000, 0, 60000, &timeout) != 0)
    {
        corrald_rest_json(r, status, body);
        return;
    }

    w = malloc(sizeof(*w));

    if (w == NULL) {
        corrald_rest_json(r, status, body);
        return;
    }

    w->r = r;
    w->status = status;
    w->body = body;

    corrald_store_applied(revision, timeout, corrald_rest_applied, w);
}


/* rows are sorted and cut here; their memory stays the caller's. */

void
corrald_rest_page(corrald_rest_t *r, corrald_uri_row_t *rows, size_t n,
    const char *sort, int descending, corrald_rest_show_pt show, void *data)
{
    size_t               i;
    json_t              *items, *item, *body;
    int64_t              limit, offset;
    const char          *cursor, *fields;
    corrald_uri_page_t   page;

    if (corrald_rest_query_int(r, "limit", CORRALD_REST_LIMIT, 1,
                               CORRALD_REST_LIMIT_MAX, &limit)
        != 0
        || corrald_rest_query_int(r, "offset", 0, 0, INT32_MAX, &offset) != 0)
    {
        return;
    }

    cursor = corrald_rest_query(r, "cursor");
    fields = corrald_rest_query(r, "fields");

    corrald_uri_sort(rows, n, descending);

    if (corrald_uri_page(&page, rows, n, sort, descending, cursor, offset,
                         limit)
        != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"cursor\" is not one that this list gave");
        return;
    }

    items = json_array();

    for (i = page.first; i < page.end; i++) {
        item = show(rows[i].data, data);

        if (item && fields) {
            corrald_view_select(item, fields);
        }

        if (item) {
            json_array_append_new(items, item);
        }
    }

    body = json_pack("{s:o, s:I, s:I, s:I, s:b, s:o}", "items", items,
                     "total", (json_int_t) page.total,
                     "limit", (json_int_t) page.limit,
                     "offset", (json_int_t) page.first,
                     "has_more", page.more,
                     "next_cursor", *page.cursor ? json_string(page.cursor)
                                                 : json_null());

    corrald_rest_json(r, 200, body);
}


/* Names are UTF-8, or no answer could say them. */

static int
corrald_rest_utf8(const corrald_rest_t *r)
{
    int      i;
    json_t  *text;

    for (i = 0; i < CORRALD_URI_PARAMS; i++) {
        text = json_string(r->params[i]);

        if (text == NULL) {
            return 0;
        }

        json_decref(text);
    }

    return 1;
}


/* Finds the route.  Returns 0, or -1 after a problem was answered. */

static int
corrald_rest_find(corrald_rest_t *r)
{
    int                          match;
    char                         allow[128];
    size_t                       len;
    const char                  *method, *path;
    const corrald_rest_route_t  *route;

    method = strcmp(r->method, "HEAD") == 0 ? "GET" : r->method;
    path = NULL;
    len = 0;
    allow[0] = '\0';

    for (route = corrald_rest_table; route->method; route++) {

        /* the first pattern that fits is the resource */

        if (path && strcmp(route->path, path) != 0) {
            continue;
        }

        match = corrald_uri_match(route->path, r->uri, r->params);

        if (match == -1 || (match == 1 && !corrald_rest_utf8(r))) {
            corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST,
                                 "the path is not encoded properly: as %%XX, "
                                 "no %%00, and UTF-8 when decoded");
            return -1;
        }

        if (match == 0) {
            continue;
        }

        path = route->path;

        if (strcmp(route->method, method) == 0) {
            r->route = route;
            return 0;
        }

        len += (size_t) snprintf(allow + len, sizeof(allow) - len, "%s%s",
                                 len ? ", " : "", route->method);
    }

    if (path) {
        corrald_rest_allow(r, allow);
        return -1;
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "there is no resource "
                         "\"%.200s\"; /docs lists them", r->uri);

    return -1;
}


static void
corrald_rest_allow(corrald_rest_t *r, const char *methods)
{
    corrald_rest_set(r, "Allow", "%s", methods);

    if (strcmp(r->method, "OPTIONS") == 0) {
        corrald_rest_empty(r, 204);
        return;
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_METHOD_NOT_ALLOWED,
                         "the method %s is not one of: %s", r->method,
                         methods);
}


/* Makes key and digest of an idempotent request. */

static int
corrald_rest_key(corrald_rest_t *r)
{
    char           *query;
    const char     *key;
    corrald_buf_t   b;

    key = corrald_rest_header(r, "Idempotency-Key");

    if (*key == '\0' || strlen(key) > 255) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST, "an "
                             "Idempotency-Key has from 1 to 255 bytes");
        return -1;
    }

    query = json_dumps(r->query, JSON_COMPACT|JSON_SORT_KEYS);

    corrald_buf_init(&b, r->body.len + 65536);
    corrald_buf_printf(&b, "%s %s?%s\n", r->method, r->uri,
                       query ? query : "");
    corrald_buf_add(&b, r->body.data, r->body.len);

    corrald_crypt_sha256(b.data, b.len, r->digest);
    corrald_crypt_sha256(key, strlen(key), r->key);

    corrald_buf_free(&b);
    free(query);

    return 0;
}


static void
corrald_rest_key_begun(json_t *value, const char *err, void *data)
{
    json_t          *answer;
    corrald_rest_t  *r;

    r = data;

    if (value == NULL) {
        r->key[0] = '\0';
        corrald_rest_store_error(r, err);
        return;
    }

    answer = json_object_get(value, "answer");

    if (answer || json_object_size(value)) {

        /* not ours to end */

        r->key[0] = '\0';
    }

    if (answer) {
        corrald_rest_replay(r, answer);

    } else if (json_object_get(value, "pending")) {
        corrald_rest_set(r, "Retry-After", "1");
        corrald_rest_problem(r, CORRALD_PROBLEM_REQUEST_IN_FLIGHT,
                             "a request with this Idempotency-Key has no "
                             "answer yet");

    } else if (json_object_get(value, "differs")) {
        corrald_rest_problem(r, CORRALD_PROBLEM_KEY_REUSED,
                             "this Idempotency-Key was used for another "
                             "request");

    } else {
        r->route->handler(r);
    }
}


static void
corrald_rest_replay(corrald_rest_t *r, const json_t *answer)
{
    int          status;
    json_t      *value;
    const char  *name;

    status = (int) corrald_doc_int(answer, "status");

    json_object_foreach(json_object_get(answer, "headers"), name, value) {
        corrald_rest_set(r, name, "%s", json_string_value(value));
    }

    corrald_rest_set(r, "Idempotency-Replayed", "true");
    corrald_rest_body_send(r, status, status < 400
                           ? "application/json" : "application/problem+json",
                           json_incref(json_object_get(answer, "body")));
}


/* Keeps the answer; one that says "try again" is not an answer. */

static void
corrald_rest_remember(corrald_rest_t *r, int status, const json_t *body)
{
    json_t  *answer;

    if (status >= 500) {
        corrald_store_idempotency_end(r->key, r->digest, NULL);
        r->key[0] = '\0';
        return;
    }

    answer = json_pack("{s:i, s:O*, s:O}", "status", status,
                       "headers", r->headers, "body", body);

    corrald_store_idempotency_end(r->key, r->digest, answer);
    json_decref(answer);

    r->key[0] = '\0';
}


static void
corrald_rest_applied(json_t *value, const char *err, void *data)
{
    corrald_rest_wait_t  *w;

    w = data;

    if (value && json_is_true(json_object_get(value, "applied"))) {
        corrald_rest_set(w->r, "Corral-Applied", "true");

    } else {
        w->status = 202;
        corrald_rest_set(w->r, "Corral-Applied", "false");
    }

    if (json_is_object(w->body)) {
        json_object_set_new(w->body, "applied", value
                            ? json_deep_copy(value)
                            : json_pack("{s:b, s:s}", "applied", 0, "detail",
                                        err));
    }

    corrald_rest_json(w->r, w->status, w->body);
    free(w);
}


static void
corrald_rest_body_send(corrald_rest_t *r, int status, const char *type,
    json_t *body)
{
    char    *text;
    size_t   len;

    text = json_dumps(body, JSON_COMPACT|JSON_ENCODE_ANY);
    json_decref(body);

    if (text == NULL) {
        text = strdup("null");
    }

    if (text == NULL) {
        corrald_log_error("no memory for an answer");
        abort();
    }

    len = strlen(text);

    corrald_rest_set(r, "Content-Type", "%s", type);
    corrald_rest_send(r, status,
                      MHD_create_response_from_buffer(len, text,
                                                  MHD_RESPMEM_MUST_FREE));
}
