/*
 * Starts a shim with its agent.  See spawn.c.
 */


#ifndef _CORRALD_SPAWN_H_INCLUDED_
#define _CORRALD_SPAWN_H_INCLUDED_


#include <stddef.h>


/*
 * code is an exit code of corral-shim (CORRAL_SHIM_CODES): 0 when the agent
 * runs; text is its sentence, or ours.
 */

typedef void (*corrald_spawn_pt)(int code, const char *text, void *data);

#define CORRALD_SPAWN_LOCKED  69     /* another copy holds the lock */


/*
 * text is the description, taken over and wiped.  handler is called exactly
 * once, later.  Returns 0, or -1 without memory: then it is not called.
 */

int corrald_spawn(char *text, size_t len, const char *instance_id,
    corrald_spawn_pt handler, void *data) __attribute__((warn_unused_result));

/* The program, by the configuration. */

const char *corrald_spawn_shim(void);


#endif /* _CORRALD_SPAWN_H_INCLUDED_ */
