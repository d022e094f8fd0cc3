/*
 * Asks instances whether they work.  See probe.c.
 */


#ifndef _CORRALD_PROBE_H_INCLUDED_
#define _CORRALD_PROBE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>


/*
 * What the last probes of an instance of this node said; a new reference,
 * never NULL:
 *
 *     instance_id, health, reason, message   as in its document
 *     checks   array of {kind: "startup" | "readiness" | "liveness", type,
 *              state: "waiting" | "passing" | "failing" | "unknown",
 *              passes, failures (in a row), total, failed,
 *              last: {at, ok, duration_ms, message} or null,
 *              results: the last ten of these, newest first}
 */

json_t *corrald_probe_report(const char *instance_id);


#endif /* _CORRALD_PROBE_H_INCLUDED_ */
