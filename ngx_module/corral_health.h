
/*
 * The arithmetic of passive health: how slow an instance is.  See
 * corral_health.c.
 */


#ifndef _CORRAL_HEALTH_H_INCLUDED_
#define _CORRAL_HEALTH_H_INCLUDED_


#include <stdint.h>


#define CORRAL_HEALTH_TAU      10000    /* ms, a latency decays to 1/e */
#define CORRAL_HEALTH_PENALTY  5000     /* ms that a failure counts as */


/* Latencies are packed in one word, for one atomic: 0 is "no sample yet". */

uint64_t corral_health_sample(uint64_t word, uint32_t now, uint32_t latency);
double corral_health_latency(uint64_t word, uint32_t now);


#endif /* _CORRAL_HEALTH_H_INCLUDED_ */
