/*
 * Asks instances whether they work, again and again.  See probe.c.
 */


#ifndef _CORRALD_PROBE_H_INCLUDED_
#define _CORRALD_PROBE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>


/* results kept of each check */

#define CORRALD_PROBE_RESULTS  10

/*
 * ms that an agent without a startup_probe has to pass its readiness probe for
 * the first time
 */

#define CORRALD_PROBE_STARTUP  120000


typedef enum {
    CORRALD_PROBE_READY = 0,         /* for the first time: may take traffic */
    CORRALD_PROBE_HEALTH,            /* healthy, degraded or unhealthy */
    CORRALD_PROBE_NOT_STARTED,       /* not ready within its time */
    CORRALD_PROBE_NOT_ALIVE          /* the liveness probe failed */
} corrald_probe_event_e;


typedef struct corrald_probe_s  corrald_probe_t;

/*
 * health and reason are words of the schema; message is a sentence.  Called
 * from the loop, never within corrald_probe_start().  The handler may stop the
 * probe.
 */

typedef void (*corrald_probe_pt)(corrald_probe_event_e event,
    const char *health, const char *reason, const char *message, void *data);


/*
 * Begins to probe an instance of a service document.  ready: it was ready
 * before (adopted): no READY comes, only changes of health.  nonce and
 * incarnation are those of the process, for commands that run beside it.
 * Returns NULL when memory is short.
 */

corrald_probe_t *corrald_probe_start(const char *instance_id, json_t *service,
    const char *address, uint32_t incarnation, const char *nonce, int ready,
    corrald_probe_pt handler, void *data);
void corrald_probe_stop(corrald_probe_t **probe);

/* 1 when the two documents of a service ask for the same probes */

int corrald_probe_same(const json_t *one, const json_t *two);


/*
 * What the last probes of an instance of this node said; a new reference,
 * never NULL:
 *
 *     instance_id
 *     checks   array of {kind: "startup" | "readiness" | "liveness", type,
 *              state: "waiting" | "passing" | "worrying" | "failing",
 *              passes, failures (in a row), total, failed,
 *              results: the last ten, newest first: {at, ok, duration_ms,
 *              message}}
 */

json_t *corrald_probe_report(const char *instance_id);


#endif /* _CORRALD_PROBE_H_INCLUDED_ */
