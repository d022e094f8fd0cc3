/*
 * A cgroup v2 for each instance.  See cgroup.c.
 */


#ifndef _CORRALD_CGROUP_H_INCLUDED_
#define _CORRALD_CGROUP_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* What can be limited there; without it rlimits are used where they can. */

#define CORRALD_CGROUP_MEMORY  0x01
#define CORRALD_CGROUP_CPU     0x02
#define CORRALD_CGROUP_PIDS    0x04


/* 0: no limit */

typedef struct {
    int64_t   memory;                /* bytes */
    int64_t   cpu;                   /* percent of one processor */
    int64_t   pids;
} corrald_cgroup_limits_t;


/*
 * Looks for a place where cgroups can be made, once, at the start.  Without
 * one all others do nothing.
 */

void corrald_cgroup_open(void);

/* The directory that holds ours, or NULL. */

const char *corrald_cgroup_base(void);
unsigned corrald_cgroup_controllers(void);

/*
 * Makes the cgroup of an instance and sets its limits; for a thread.  Returns
 * 0 with its path, or "" where there are none; -1 with a sentence.
 */

int corrald_cgroup_make(const char *name,
    const corrald_cgroup_limits_t *limits, char *path, size_t psize,
    char *err, size_t size) __attribute__((warn_unused_result));

/* Of an instance that is gone; harmless while it has processes. */

void corrald_cgroup_remove(const char *name);


#endif /* _CORRALD_CGROUP_H_INCLUDED_ */
