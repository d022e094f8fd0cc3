
/*
 * What the API shows of a document.  See view.c.
 */


#ifndef _CORRALD_VIEW_H_INCLUDED_
#define _CORRALD_VIEW_H_INCLUDED_


#include <stdint.h>

#include <jansson.h>

#include "doc.h"
#include "state.h"


/* stands for the value of a secret; in a request: as it is */

#define CORRALD_VIEW_HIDDEN  "[hidden]"


/* Members that answers have beside the schema's: X(kind, name, type, text) */

#define CORRALD_VIEW_COMPUTED(X)                                              \
    X(SERVICE,  status,            string,                                    \
      "derived from the instances, see CORRAL_SERVICE_STATUS")                \
    X(SERVICE,  endpoint,          string,                                    \
      "where clients reach the service")                                      \
    X(SERVICE,  started_at,        time,                                      \
      "start of the oldest instance that lives, or null")                     \
    X(SERVICE,  last_health_check, time,                                      \
      "when the health of an instance last changed, or null")                 \
    X(SERVICE,  error_message,     string,                                    \
      "why an instance is failed or unhealthy, or null")                      \
    X(SERVICE,  restart_count,     integer,                                   \
      "of all instances")                                                     \
    X(SERVICE,  ready,             integer,                                   \
      "instances that gateways may choose")                                   \
    X(SERVICE,  instances,         map,                                       \
      "numbers of instances: total, ready, outdated (of an older generation) " \
      "and by state")                                                         \
    X(SERVICE,  waiting,           integer,                                   \
      "requests that wait in gateways for an instance")                       \
    X(SERVICE,  trusted,           boolean,                                   \
      "false: the document does not carry corrald's HMAC, nothing is started")\
    X(SERVICE,  revision,          integer,                                   \
      "of the last change of the document: the ETag")                         \
    X(RULE,     revision,          integer,                                   \
      "of the last change of the document: the ETag")                         \
    X(INSTANCE, service,           string,                                    \
      "name of the service")                                                  \
    X(INSTANCE, ready,             boolean,                                   \
      "gateways may choose it")                                               \
    X(INSTANCE, load,              map,                                       \
      "the last heartbeat of an external instance, or null")                  \
    X(INSTANCE, revision,          integer,                                   \
      "of the last change of the document: the ETag")


typedef struct {
    const char      *name;
    corrald_kind_e   kind;
    corrald_type_e   type;
    const char      *text;
} corrald_view_field_t;


const corrald_view_field_t *corrald_view_computed(void);
int corrald_view_is_computed(corrald_kind_e kind, const char *name);

json_t *corrald_view_service(const json_t *doc, const json_t *instances,
    int64_t revision, int64_t waiting, int trusted, const char *gateway_url);
json_t *corrald_view_instance(const json_t *doc, const json_t *service,
    int64_t revision, const json_t *load);
const char *corrald_view_not_ready(const json_t *instance,
    const json_t *service);
int corrald_view_outdated(const json_t *instance, const json_t *service);
int corrald_view_unmask(json_t *in, const json_t *current,
    const json_t *instances, const char **name);
void corrald_view_select(json_t *view, const char *fields);


#endif /* _CORRALD_VIEW_H_INCLUDED_ */
