
/*
 * The arithmetic of passive health, without its state: that lies in shared
 * memory, each part of it one word that is exchanged as a whole, so that a
 * process may die anywhere.
 *
 * Pure: no I/O, no clock, no globals.
 *
 * Source: Finagle's and linkerd's peak EWMA (a moving average that follows a
 * rise at once).
 */


#include "corral_health.h"

#include <string.h>


/* e^-x for x >= 0, within 2 % where it matters; not libm's: no need of it */

static double
corral_health_decay(double x)
{
    double    y;
    unsigned  i;

    if (x > 40.0) {
        return 0.0;
    }

    y = 1.0 - x / 1024;

    for (i = 0; i < 10; i++) {
        y *= y;
    }

    return y;
}


/* milliseconds since the sample; 0 if its clock is ahead of ours */

static uint32_t
corral_health_age(uint64_t word, uint32_t now)
{
    uint32_t  age;

    age = now - (uint32_t) word;

    return age > INT32_MAX ? 0 : age;
}


/*
 * The word after one more sample: latency in ms.  A latency above the estimate
 * replaces it, one below is averaged in by the time since the last sample.
 * now: milliseconds of any clock that goes on over reloads; it may wrap.
 */

uint64_t
corral_health_sample(uint64_t word, uint32_t now, uint32_t latency)
{
    float     estimate;
    double    kept, old;
    uint32_t  bits;

    old = corral_health_latency(word, now);

    if (word == 0 || latency >= old) {
        estimate = (float) latency;

    } else {
        kept = corral_health_decay((double) corral_health_age(word, now)
                                   / CORRAL_HEALTH_TAU);
        estimate = (float) (old + latency * (1.0 - kept));
    }

    memcpy(&bits, &estimate, sizeof(bits));

    /* never the word that means: none yet */

    bits += bits == 0;

    return (uint64_t) bits << 32 | now;
}


/*
 * The estimate in ms as it is now: without new samples it decays towards 0, so
 * that an instance that was slow is tried again.  0.0 if there is no sample.
 */

double
corral_health_latency(uint64_t word, uint32_t now)
{
    float     estimate;
    uint32_t  bits;

    if (word == 0) {
        return 0.0;
    }

    bits = (uint32_t) (word >> 32);
    memcpy(&estimate, &bits, sizeof(bits));

    return estimate * corral_health_decay((double) corral_health_age(word, now)
                                          / CORRAL_HEALTH_TAU);
}
