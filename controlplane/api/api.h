
/*
 * The handlers of the route table, by file, and what files of this folder
 * share.  See rest.c.
 */


#ifndef _CORRALD_API_H_INCLUDED_
#define _CORRALD_API_H_INCLUDED_


#include "rest.h"


/* services.c */

void corrald_services_list(corrald_rest_t *r);
void corrald_services_create(corrald_rest_t *r);
void corrald_services_get(corrald_rest_t *r);
void corrald_services_put(corrald_rest_t *r);
void corrald_services_patch(corrald_rest_t *r);
void corrald_services_delete(corrald_rest_t *r);

/* The service of the first parameter; NULL: 404 was answered. */
const corrald_entry_t *corrald_services_find(corrald_rest_t *r);

/* Rows of the services that a query or a body selects; freed by the caller. */
corrald_uri_row_t *corrald_services_select(const json_t *filter,
    const char *sort, size_t *n);

/* As the API shows it; a new reference. */
json_t *corrald_services_show(const corrald_entry_t *entry);


/* actions.c */

void corrald_actions_start(corrald_rest_t *r);
void corrald_actions_stop(corrald_rest_t *r);
void corrald_actions_restart(corrald_rest_t *r);
void corrald_actions_action(corrald_rest_t *r);
void corrald_actions_batch(corrald_rest_t *r);
void corrald_actions_scale(corrald_rest_t *r);
void corrald_actions_set_scale(corrald_rest_t *r);


/* instances.c */

void corrald_instances_list(corrald_rest_t *r);
void corrald_instances_of_service(corrald_rest_t *r);
void corrald_instances_get(corrald_rest_t *r);
void corrald_instances_patch(corrald_rest_t *r);
void corrald_instances_delete(corrald_rest_t *r);
void corrald_instances_action(corrald_rest_t *r);
void corrald_instances_history(corrald_rest_t *r);
json_t *corrald_instances_show(const corrald_entry_t *entry);

/* The documents of a service's instances: an array, a new reference. */
json_t *corrald_instances_array(const char *service_id);

/* The instance of the path, or NULL: then the request was answered. */
const corrald_entry_t *corrald_instances_find(corrald_rest_t *r);

/* Answers a change of the instance by its end: with status, or a problem. */
void corrald_instances_changed(corrald_rest_t *r, const char *id, int status,
    const corrald_result_t *result);


/* registration.c */

void corrald_registration_create(corrald_rest_t *r);
void corrald_registration_heartbeat(corrald_rest_t *r);


/* routes.c */

void corrald_routes_list(corrald_rest_t *r);
void corrald_routes_create(corrald_rest_t *r);
void corrald_routes_get(corrald_rest_t *r);
void corrald_routes_put(corrald_rest_t *r);
void corrald_routes_patch(corrald_rest_t *r);
void corrald_routes_delete(corrald_rest_t *r);
void corrald_routes_action(corrald_rest_t *r);
void corrald_routes_reorder(corrald_rest_t *r);
void corrald_routes_compat_list(corrald_rest_t *r);
void corrald_routes_compat_create(corrald_rest_t *r);

/* As the API shows it; a new reference. */
json_t *corrald_routes_show(const corrald_entry_t *entry);


/* trace.c */

void corrald_trace_test(corrald_rest_t *r);
void corrald_trace_close(void);


/* drains.c */

void corrald_drains_service(corrald_rest_t *r);
void corrald_drains_instance(corrald_rest_t *r);
void corrald_drains_gateway(corrald_rest_t *r);
void corrald_drains_close(void);


/* rebalance.c */

void corrald_rebalance_service(corrald_rest_t *r);


/* connections.c */

void corrald_connections_list(corrald_rest_t *r);
void corrald_connections_delete(corrald_rest_t *r);
void corrald_connections_close(corrald_rest_t *r);
void corrald_connections_renew(corrald_rest_t *r);

/* revocations.c */

void corrald_revocations_list(corrald_rest_t *r);
void corrald_revocations_create(corrald_rest_t *r);
void corrald_revocations_delete(corrald_rest_t *r);


/* cluster.c */

void corrald_cluster_nodes(corrald_rest_t *r);
void corrald_cluster_gateways(corrald_rest_t *r);
void corrald_cluster_info(corrald_rest_t *r);


/* stats.c */

void corrald_stats_system(corrald_rest_t *r);
void corrald_stats_service(corrald_rest_t *r);


/* health.c */

void corrald_health_system(corrald_rest_t *r);
void corrald_health_live(corrald_rest_t *r);
void corrald_health_ready(corrald_rest_t *r);
void corrald_health_service(corrald_rest_t *r);


/* output.c */

void corrald_output_instance(corrald_rest_t *r);
void corrald_output_service(corrald_rest_t *r);


/* explain.c */

void corrald_explain_get(corrald_rest_t *r);


/* events.c */

void corrald_events_list(corrald_rest_t *r);
int corrald_events_open(void) __attribute__((warn_unused_result));


/* operations.c */

typedef enum {
    CORRALD_OPERATION_RUNNING = 0,
    CORRALD_OPERATION_DONE,
    CORRALD_OPERATION_FAILED,
    CORRALD_OPERATION_TIMEOUT
} corrald_operation_e;

typedef void (*corrald_operation_pt)(corrald_operation_e state,
    const char *message, void *data);

void corrald_operations_list(corrald_rest_t *r);
void corrald_operations_get(corrald_rest_t *r);
int corrald_operations_open(void) __attribute__((warn_unused_result));
void corrald_operations_close(void);

/*
 * Follows a service until it is as an action wants it: "start", "stop",
 * "restart", "scale", "pause", "resume", "delete".  Returns its id, which is
 * valid until the next call.
 */
const char *corrald_operations_begin(const char *action,
    const char *service_id);

/*
 * The same for what its caller leads: nothing is followed, progress shows how
 * far it is, finish must be called once.  Both do nothing when the operation is
 * not known any more.
 */
const char *corrald_operations_lead(const char *action,
    const char *service_id, const char *target);
void corrald_operations_progress(const char *id, size_t done, size_t wanted,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void corrald_operations_finish(const char *id, corrald_operation_e state,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* handler is called once: when it has ended, or after timeout ms (RUNNING). */
void corrald_operations_wait(const char *id, int64_t timeout,
    corrald_operation_pt handler, void *data);

/* A new reference, or NULL when there is no such operation. */
json_t *corrald_operations_show(const char *id);


/* metrics.c */

void corrald_metrics_get(corrald_rest_t *r);
void corrald_metrics_request(const corrald_rest_t *r, int64_t ms);


/* spec.c */

void corrald_spec_openapi(corrald_rest_t *r);
void corrald_spec_page(corrald_rest_t *r);
void corrald_spec_free(void);
json_t *corrald_spec_make(void);


#endif /* _CORRALD_API_H_INCLUDED_ */
