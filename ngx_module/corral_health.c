
/*
 * The arithmetic of passive health, without its state: that lies in shared
 * memory, each part of it one word that is exchanged as a whole, so that a
 * process may die anywhere.
 *
 * Pure: no I/O, no clock, no globals.
 *
 * Sources: Finagle's and linkerd's peak EWMA (a moving average that follows a
 * rise at once); HAProxy's slowstart; Envoy's outlier detection.
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


/*
 * The part of its weight, of CORRAL_HEALTH_WHOLE, that an instance has at now
 * which is there since then: it rises as a line, as HAProxy's does, from a
 * hundredth, so that it is seen to work.  All in ms; slow_start 0: the whole.
 */

uint32_t
corral_health_ramp(uint64_t since, uint64_t now, uint64_t slow_start)
{
    uint64_t  part;

    if (now < since) {
        now = since;                        /* another worker's clock */
    }

    if (now - since >= slow_start) {
        return CORRAL_HEALTH_WHOLE;
    }

    part = (now - since) * CORRAL_HEALTH_WHOLE / slow_start;

    return part > CORRAL_HEALTH_WHOLE / 100 ? (uint32_t) part
                                            : CORRAL_HEALTH_WHOLE / 100;
}


/*
 * Events of one second, packed as (second, count): the word after so many more.
 * Its lower half is the count, 0 in a new second.  now is in ms.
 */

uint64_t
corral_health_rate(uint64_t word, uint64_t now, uint32_t more)
{
    uint64_t  second;

    second = (now / 1000) << 32;

    if ((word ^ second) >> 32) {
        word = second;
    }

    if ((uint32_t) word > UINT32_MAX - more) {
        return word;
    }

    return word + more;
}


/*
 * Marks in out[] who of n instances has failed too much, 1, or succeeded less
 * than the others, 2; else 0.  Only who has min_requests results is judged; the
 * comparison needs five of them.  Returns how many are marked.
 */

uint32_t
corral_health_outliers(const corral_health_window_t *windows, uint32_t n,
    const corral_health_limits_t *limits, uint8_t *out)
{
    double    rate, sum, squares, mean, below, allowed;
    uint32_t  i, judged, marked;
    uint64_t  total;

    sum = 0.0;
    squares = 0.0;
    judged = 0;
    marked = 0;

    for (i = 0; i < n; i++) {
        total = (uint64_t) windows[i].good + windows[i].bad;
        out[i] = 0;

        if (total == 0 || total < limits->min_requests) {
            continue;
        }

        rate = (double) windows[i].good / total;
        sum += rate;
        squares += rate * rate;
        judged++;

        if (limits->failure_percent
            && windows[i].bad * UINT64_C(100)
               >= total * limits->failure_percent)
        {
            out[i] = 1;
            marked++;
        }
    }

    if (judged < CORRAL_HEALTH_COMPARE || limits->deviation == 0) {
        return marked;
    }

    /* squares are compared: a root needs a library */

    mean = sum / judged;
    allowed = (squares / judged - mean * mean) * limits->deviation / 100
              * limits->deviation / 100;

    for (i = 0; i < n; i++) {
        total = (uint64_t) windows[i].good + windows[i].bad;

        if (out[i] || total == 0 || total < limits->min_requests) {
            continue;
        }

        below = mean - (double) windows[i].good / total;

        if (below > 1e-6 && below * below > allowed) {
            out[i] = 2;
            marked++;
        }
    }

    return marked;
}


/* Ejections that still count after so many ms without one. */

uint32_t
corral_health_forgiven(uint32_t times, uint64_t good, uint64_t interval)
{
    uint64_t  forgiven;

    forgiven = interval ? good / interval : 0;

    return forgiven < times ? times - (uint32_t) forgiven : 0;
}


/*
 * How long an instance rests, in ms: base for each time that it was ejected, to
 * max (or base, if that is more), and up to an eighth of base more by chance:
 * instances that were ejected together do not come back together.
 */

uint64_t
corral_health_rest(uint64_t base, uint32_t times, uint64_t max, uint64_t random)
{
    uint64_t  rest;

    rest = times ? base * times : base;

    if (rest > max) {
        rest = max > base ? max : base;
    }

    return rest + random % (base / 8 + 1);
}


/*
 * May there be one retry more?  retries are those under way; tries, too, of
 * both kinds, and with the one that is asked for.
 */

int
corral_health_budget(uint32_t retries, uint32_t tries, uint32_t percent)
{
    return retries < CORRAL_HEALTH_RETRIES
           || (retries + UINT64_C(1)) * 100 <= (uint64_t) tries * percent;
}
