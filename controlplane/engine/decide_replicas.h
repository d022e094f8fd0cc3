/*
 * Which instances a service is to have.  Pure.  See decide_replicas.c.
 */


#ifndef _CORRALD_DECIDE_REPLICAS_H_INCLUDED_
#define _CORRALD_DECIDE_REPLICAS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "../model/state.h"


typedef enum {
    CORRALD_DESIRED_STOPPED = 0,
    CORRALD_DESIRED_RUNNING,
    CORRALD_DESIRED_PAUSED
} corrald_desired_e;


typedef struct {
    corrald_desired_e    desired;
    size_t               replicas;
    int64_t              generation;
    int                  fixed;      /* the port is given: one at a time */
    int                  deleted;    /* it goes with its last instance */
} corrald_replicas_service_t;


/* What an instance is to become. */

typedef enum {
    CORRALD_WANT_RUN = 0,
    CORRALD_WANT_PAUSE,
    CORRALD_WANT_RENEW,              /* stopped and started again in place */
    CORRALD_WANT_STOP,
    CORRALD_WANT_REMOVE
} corrald_want_e;


typedef struct {

    /* of the caller */

    corrald_state_e      state;
    int                  ready;      /* running and not unhealthy */
    int64_t              generation;
    int64_t              created;    /* older ones are kept */
    int                  evict;
    int                  pause;      /* maintenance */
    int                  renew;      /* its restart was asked for */

    /* the decision */

    corrald_want_e       want;
    const char          *reason;     /* a reason code, for a change */
} corrald_replicas_instance_t;


/* instances: sorted by created, oldest first.  Returns how many to create. */

size_t corrald_decide_replicas(const corrald_replicas_service_t *service,
    corrald_replicas_instance_t *instances, size_t n);
const char *corrald_decide_replicas_want(corrald_want_e want);


#endif /* _CORRALD_DECIDE_REPLICAS_H_INCLUDED_ */
