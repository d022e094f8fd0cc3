
/*
 * The table of routes: what the API can do, and who may do it.  Below it stands
 * how a request comes to its row: host and origin, route, token and permission,
 * body, idempotency, handler.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "api.h"


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
    { "POST", "/api/v1/services/{service}/actions/rebalance",
      "services:operate",
      WRITE, corrald_rebalance_service,
      "Rebalance", "Rebalanced",
      "",
      "Have WebSockets go to instances that hold less than their share." },
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
      WRITE, corrald_registration_create,
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
      WRITE, corrald_registration_heartbeat,
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


static int corrald_rest_utf8(const corrald_rest_t *r);
static int corrald_rest_find(corrald_rest_t *r);
static void corrald_rest_allow(corrald_rest_t *r, const char *methods);


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
        corrald_rest_key_begin(r);
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
