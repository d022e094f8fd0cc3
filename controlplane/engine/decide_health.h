/*
 * From results of probes to health.  Pure.  See decide_health.c.
 */


#ifndef _CORRALD_DECIDE_HEALTH_H_INCLUDED_
#define _CORRALD_DECIDE_HEALTH_H_INCLUDED_


#include <stdint.h>


typedef enum {
    CORRALD_PROBE_WAITING = 0,       /* no result has decided anything yet */
    CORRALD_PROBE_PASSING,
    CORRALD_PROBE_WORRYING,          /* passing, but failures begin */
    CORRALD_PROBE_FAILING
} corrald_probe_state_e;


typedef struct {
    unsigned               success_threshold;
    unsigned               failure_threshold;

    corrald_probe_state_e  state;
    unsigned               passes;       /* in a row */
    unsigned               failures;     /* in a row */
    uint64_t               total;
    uint64_t               failed;
} corrald_decide_health_t;


void corrald_decide_health_init(corrald_decide_health_t *h,
    int64_t success_threshold, int64_t failure_threshold);
int corrald_decide_health(corrald_decide_health_t *h, int ok);
const char *corrald_decide_health_name(corrald_probe_state_e state);

/* Delays in ms.  random is any number. */

uint64_t corrald_decide_health_interval(int64_t interval, uint32_t random);
uint64_t corrald_decide_health_eager(unsigned attempt, uint32_t random);


#endif /* _CORRALD_DECIDE_HEALTH_H_INCLUDED_ */
