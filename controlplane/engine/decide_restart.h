/*
 * Whether and when an ended process is started again.  Pure.  See
 * decide_restart.c.
 */


#ifndef _CORRALD_DECIDE_RESTART_H_INCLUDED_
#define _CORRALD_DECIDE_RESTART_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef enum {
    CORRALD_RESTART_ALWAYS = 0,
    CORRALD_RESTART_ON_FAILURE,
    CORRALD_RESTART_NEVER
} corrald_restart_e;


/* Times are ms.  The fields are the service's of the same names. */

typedef struct {
    corrald_restart_e   restart;
    int64_t             max_restart_count;
    int64_t             restart_window;
    int64_t             restart_delay;
    int64_t             restart_max_delay;
    int64_t             stable_after;
} corrald_restart_policy_t;


/* What happened before, of one instance.  All zero is a new one. */

typedef struct {
    unsigned            streak;      /* restarts since it was stable */
    int64_t            *times;       /* of restarts, a ring */
    size_t              size;
    size_t              n;
    size_t              next;
} corrald_restart_t;


typedef struct {
    int                 again;       /* 0: not started again */
    int                 crash_loop;  /* the budget of the window is used up */
    int64_t             delay;       /* until the next start */
    unsigned            recent;      /* restarts within the window */
} corrald_restart_decision_t;


void corrald_decide_restart(corrald_restart_t *r,
    const corrald_restart_policy_t *policy, int failed, int64_t ready_for,
    int64_t now, uint32_t random, corrald_restart_decision_t *decision);
void corrald_decide_restart_reset(corrald_restart_t *r);
void corrald_decide_restart_free(corrald_restart_t *r);


#endif /* _CORRALD_DECIDE_RESTART_H_INCLUDED_ */
