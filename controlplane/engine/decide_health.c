/*
 * From results of probes to health: thresholds, and how long to wait between
 * two probes.
 *
 * Pure: no I/O, no clock, no globals; randomness comes from the caller.
 *
 *     results in a row                       state     health
 *     success_threshold passes               passing   healthy
 *     more than half of failure_threshold    worrying  degraded
 *     failure_threshold failures             failing   unhealthy
 *
 * Every state leads back to passing by passes alone: nothing sticks.
 */


#include "decide_health.h"


/* Thresholds of 0 count as 1. */

void
corrald_decide_health_init(corrald_decide_health_t *h,
    int64_t success_threshold, int64_t failure_threshold)
{
    h->success_threshold = (unsigned) (success_threshold > 0
                                       ? success_threshold : 1);
    h->failure_threshold = (unsigned) (failure_threshold > 0
                                       ? failure_threshold : 1);
    h->state = CORRALD_PROBE_WAITING;
    h->passes = 0;
    h->failures = 0;
    h->total = 0;
    h->failed = 0;
}


/* Takes one result into account.  Returns 1 when the state has changed. */

int
corrald_decide_health(corrald_decide_health_t *h, int ok)
{
    corrald_probe_state_e  before;

    before = h->state;
    h->total++;

    if (ok) {
        h->passes++;
        h->failures = 0;

        if (h->passes >= h->success_threshold) {
            h->state = CORRALD_PROBE_PASSING;
        }

    } else {
        h->failed++;
        h->failures++;
        h->passes = 0;

        if (h->failures >= h->failure_threshold) {
            h->state = CORRALD_PROBE_FAILING;

        } else if (h->state == CORRALD_PROBE_PASSING
                   && h->failures * 2 > h->failure_threshold)
        {
            h->state = CORRALD_PROBE_WORRYING;
        }
    }

    return h->state != before;
}


const char *
corrald_decide_health_name(corrald_probe_state_e state)
{
    static const char  *names[] = {
        "waiting", "passing", "worrying", "failing"
    };

    return names[state];
}


/*
 * The interval and up to a tenth of it, so that the probes of instances that
 * were started together drift apart.
 */

uint64_t
corrald_decide_health_interval(int64_t interval, uint32_t random)
{
    uint64_t  ms;

    ms = (uint64_t) (interval > 0 ? interval : 1);

    return ms + (uint64_t) random % (ms / 10 + 1);
}


/*
 * Between the attempts to see an agent ready for the first time: 20 ms, half
 * as much more each time, at most 1 s.  A started agent is to serve at once.
 */

uint64_t
corrald_decide_health_eager(unsigned attempt, uint32_t random)
{
    uint64_t  ms;

    for (ms = 20; attempt > 0 && ms < 1000; attempt--) {
        ms += ms / 2;
    }

    ms = (ms < 1000) ? ms : 1000;

    return ms + (uint64_t) random % (ms / 10 + 1);
}
