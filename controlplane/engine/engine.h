/*
 * What the layers above see of the engine.  Its office is to bring about what
 * the documents want; all requests reach it as documents, so there is little
 * to call.  See engine.c.
 */


#ifndef _CORRALD_ENGINE_H_INCLUDED_
#define _CORRALD_ENGINE_H_INCLUDED_


#include <stddef.h>

#include <jansson.h>


/*
 * Reads run_dir, finds the shims that live, and from then on follows the
 * store.  The store must be open.  Returns 0, or -1 with a sentence.
 */

int corrald_engine_open(char *err, size_t size)
    __attribute__((warn_unused_result));

/* Ends probes, timers and connections to shims.  Agents live on. */

void corrald_engine_close(void);

/*
 * How agents are run here, for doctor and health: {cgroup (path or null),
 * memory_limits, process_limits ("cgroup" or "rlimit"), cpu_limits ("cgroup"
 * or "none"), shims, adopted, orphans (numbers), user (name or null),
 * unprivileged}.  New reference.
 */

json_t *corrald_engine_report(void);


#endif /* _CORRALD_ENGINE_H_INCLUDED_ */
