
/*
 * The arithmetic of passive health: how slow an instance is, how new it is, how
 * it compares with the others, and for how long it rests.  See corral_health.c.
 */


#ifndef _CORRAL_HEALTH_H_INCLUDED_
#define _CORRAL_HEALTH_H_INCLUDED_


#include <stdint.h>


#define CORRAL_HEALTH_TAU      10000    /* ms, a latency decays to 1/e */
#define CORRAL_HEALTH_PENALTY  5000     /* ms that a failure counts as */
#define CORRAL_HEALTH_WHOLE    65536    /* of a weight */
#define CORRAL_HEALTH_COMPARE  5        /* instances, for a mean */
#define CORRAL_HEALTH_RETRIES  3        /* that need no budget */


/* Latencies are packed in one word, for one atomic: 0 is "no sample yet". */

uint64_t corral_health_sample(uint64_t word, uint32_t now, uint32_t latency);
double corral_health_latency(uint64_t word, uint32_t now);

/* results of one instance within an interval */

typedef struct {
    uint32_t    good;
    uint32_t    bad;
} corral_health_window_t;


/* who is an outlier: see the fields of the same names in corral_schema.h */

typedef struct {
    uint32_t    min_requests;
    uint32_t    failure_percent;        /* 0: off */
    uint32_t    deviation;              /* percent, 0: off */
} corral_health_limits_t;


uint32_t corral_health_ramp(uint64_t since, uint64_t now, uint64_t slow_start);
uint64_t corral_health_rate(uint64_t word, uint64_t now, uint32_t more);

int corral_health_budget(uint32_t retries, uint32_t tries, uint32_t percent);
uint32_t corral_health_outliers(const corral_health_window_t *windows,
    uint32_t n, const corral_health_limits_t *limits, uint8_t *out);
uint32_t corral_health_forgiven(uint32_t times, uint64_t good,
    uint64_t interval);
uint64_t corral_health_rest(uint64_t base, uint32_t times, uint64_t max,
    uint64_t random);


#endif /* _CORRAL_HEALTH_H_INCLUDED_ */
