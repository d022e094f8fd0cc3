/*
 * Whether and when an ended process is started again.
 *
 * The delay doubles with each restart, up to its maximum, and gets up to a
 * quarter more, so that what fell together does not rise together.  More than
 * max_restart_count restarts within restart_window are a crash loop: it is
 * still tried, at the longest delay.  Being ready for stable_after without a
 * break, not merely alive, makes everything begin anew.
 *
 * Pure: no I/O, no clock, no globals; time and randomness come from the
 * caller.
 */


#include <stdlib.h>
#include <string.h>

#include "decide_restart.h"


static int corrald_decide_restart_size(corrald_restart_t *r, size_t size);
static unsigned corrald_decide_restart_recent(const corrald_restart_t *r,
    int64_t since);


/*
 * A process has ended, or could not be started.  failed: not by itself with
 * code 0.  ready_for: how long it was ready without a break, until its end.
 * The decision is recorded in r as if it will be followed.
 */

void
corrald_decide_restart(corrald_restart_t *r,
    const corrald_restart_policy_t *policy, int failed, int64_t ready_for,
    int64_t now, uint32_t random, corrald_restart_decision_t *decision)
{
    int64_t   delay;
    size_t    size;
    unsigned  i;

    memset(decision, 0, sizeof(*decision));

    if (policy->restart == CORRALD_RESTART_NEVER
        || (policy->restart == CORRALD_RESTART_ON_FAILURE && !failed))
    {
        return;
    }

    decision->again = 1;

    if (ready_for > 0 && ready_for >= policy->stable_after) {
        corrald_decide_restart_reset(r);
    }

    size = (size_t) (policy->max_restart_count > 0 ? policy->max_restart_count
                                                   : 1);

    decision->recent = corrald_decide_restart_recent(
                                         r, now - policy->restart_window);

    decision->crash_loop = (int64_t) decision->recent
                           >= policy->max_restart_count;

    delay = policy->restart_delay;

    for (i = 0; i < r->streak && delay < policy->restart_max_delay; i++) {
        delay *= 2;
    }

    if (decision->crash_loop || delay > policy->restart_max_delay) {
        delay = policy->restart_max_delay;
    }

    decision->delay = delay + (int64_t) (random % ((uint64_t) delay / 4 + 1));

    r->streak += (r->streak < 64);

    /* without memory for the window the doubling still holds */

    if (corrald_decide_restart_size(r, size) == 0) {
        r->times[r->next] = now;
        r->next = (r->next + 1) % r->size;
        r->n += (r->n < r->size);
    }
}


/* Somebody asked for a start: it is made at once, with a new budget. */

void
corrald_decide_restart_reset(corrald_restart_t *r)
{
    r->streak = 0;
    r->n = 0;
    r->next = 0;
}


void
corrald_decide_restart_free(corrald_restart_t *r)
{
    free(r->times);
    memset(r, 0, sizeof(*r));
}


/* A changed size forgets the window: the service was changed, too. */

static int
corrald_decide_restart_size(corrald_restart_t *r, size_t size)
{
    int64_t  *times;

    if (r->size == size) {
        return 0;
    }

    times = calloc(size, sizeof(int64_t));

    if (times == NULL) {
        return -1;
    }

    free(r->times);
    r->times = times;
    r->size = size;
    r->n = 0;
    r->next = 0;

    return 0;
}


static unsigned
corrald_decide_restart_recent(const corrald_restart_t *r, int64_t since)
{
    size_t    i;
    unsigned  recent;

    recent = 0;

    for (i = 0; i < r->n; i++) {
        recent += (r->times[i] > since);
    }

    return recent;
}
