/*
 * Processes of this machine: identity, and those that hold a lock.  See
 * process.c.
 */


#ifndef _CORRALD_PROCESS_H_INCLUDED_
#define _CORRALD_PROCESS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>


/* Field 22 of /proc/PID/stat, or 0 when there is no such process. */

uint64_t corrald_process_start_time(pid_t pid);
const char *corrald_process_boot_id(void);

/*
 * Kills everything that is left of an agent whose shim and guard are gone:
 * processes that hold the lock file open or have the nonce in their
 * environment, and only those.  Returns how many it found.  Walks through
 * /proc: for a thread.
 */

unsigned corrald_process_kill_survivors(const char *lock, const char *nonce);


#endif /* _CORRALD_PROCESS_H_INCLUDED_ */
