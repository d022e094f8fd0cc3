/*
 * Which instances a service is to have, and what each is to become.
 *
 * Pure: no I/O, no clock, no globals.  Asked again after every change, so each
 * decision is one step; nothing is remembered between two.
 *
 * Instances of an older generation that carry traffic are replaced one at a
 * time: one more is started, and when it is ready an old one is removed.  With
 * a fixed port two cannot live side by side: the old one is stopped first.
 * What carries no traffic is renewed in place.
 */


#include "decide_replicas.h"


static int corrald_decide_replicas_old(
    const corrald_replicas_service_t *service,
    const corrald_replicas_instance_t *i);
static void corrald_decide_replicas_surplus(
    corrald_replicas_instance_t *instances, size_t n, size_t surplus);
static size_t corrald_decide_replicas_replace(
    const corrald_replicas_service_t *service,
    corrald_replicas_instance_t *instances, size_t n);


size_t
corrald_decide_replicas(const corrald_replicas_service_t *service,
    corrald_replicas_instance_t *instances, size_t n)
{
    size_t                        i, kept;
    corrald_replicas_instance_t  *in;

    kept = 0;

    for (i = 0; i < n; i++) {
        in = &instances[i];
        in->reason = "requested";

        if (in->evict || service->deleted) {
            in->want = CORRALD_WANT_REMOVE;
            continue;
        }

        kept++;

        switch (service->desired) {

        case CORRALD_DESIRED_STOPPED:
            in->want = CORRALD_WANT_STOP;
            break;

        case CORRALD_DESIRED_PAUSED:
            in->want = CORRALD_WANT_PAUSE;
            break;

        default:
            in->want = in->pause ? CORRALD_WANT_PAUSE : CORRALD_WANT_RUN;

            if (in->pause) {
                in->reason = "maintenance";
            }
        }

        if (in->renew && in->want == CORRALD_WANT_RUN
            && corrald_state_lives(in->state))
        {
            in->want = CORRALD_WANT_RENEW;
        }
    }

    if (service->deleted) {
        return 0;
    }

    /* a stopped service keeps its instances, but not more than it may have */

    if (service->desired != CORRALD_DESIRED_RUNNING) {

        if (kept > service->replicas) {
            corrald_decide_replicas_surplus(instances, n,
                                            kept - service->replicas);
        }

        return 0;
    }

    return corrald_decide_replicas_replace(service, instances, n);
}


const char *
corrald_decide_replicas_want(corrald_want_e want)
{
    static const char  *names[] = {
        "run", "pause", "renew", "stop", "remove"
    };

    return names[want];
}


/* The service is to run: counts, generations, and who goes. */

static size_t
corrald_decide_replicas_replace(const corrald_replicas_service_t *service,
    corrald_replicas_instance_t *instances, size_t n)
{
    size_t                        i, kept, excess, old, young, ready, leaving;
    corrald_replicas_instance_t  *in, *first;

    kept = 0;
    leaving = 0;

    for (i = 0; i < n; i++) {
        in = &instances[i];

        if (in->want != CORRALD_WANT_REMOVE) {
            kept++;

        } else {
            leaving += (size_t) corrald_state_lives(in->state);
        }
    }

    if (kept < service->replicas) {
        return service->replicas - kept;
    }

    excess = kept - service->replicas;
    old = 0;
    young = 0;
    ready = 0;
    first = NULL;

    for (i = 0; i < n; i++) {
        in = &instances[i];

        if (in->want == CORRALD_WANT_REMOVE) {
            continue;
        }

        ready += (size_t) in->ready;

        /* one that has ended while another took its place does not come back */

        if (excess > 0 && in->generation != service->generation
            && !corrald_state_lives(in->state))
        {
            in->want = CORRALD_WANT_REMOVE;
            in->reason = "replaced";
            excess--;
            continue;
        }

        if (!corrald_decide_replicas_old(service, in)) {
            young += !in->ready;
            continue;
        }

        if (in->state == CORRALD_STATE_draining
            || in->state == CORRALD_STATE_stopping)
        {
            /* on its way: out, if another has its place, or back in place */

            in->reason = "replaced";
            in->want = CORRALD_WANT_RENEW;

            if (excess > 0) {
                in->want = CORRALD_WANT_REMOVE;
                excess--;
                leaving++;
            }

            young += (size_t) service->fixed;

        } else if (service->fixed) {

            if (young == 0) {
                in->want = CORRALD_WANT_RENEW;
                in->reason = "replaced";
                young++;
            }

        } else if (in->state == CORRALD_STATE_starting
                   || (in->state == CORRALD_STATE_running && !in->ready))
        {
            in->want = CORRALD_WANT_RENEW;
            in->reason = "replaced";

        } else {
            old++;
            first = (first == NULL) ? in : first;
        }
    }

    if (old == 0) {
        corrald_decide_replicas_surplus(instances, n, excess);
        return 0;
    }

    if (excess == 0) {
        return (young == 0 && leaving == 0) ? 1 : 0;
    }

    /* an old one leaves when enough are ready without it */

    if (ready - (size_t) first->ready >= service->replicas || excess > 1) {
        first->want = CORRALD_WANT_REMOVE;
        first->reason = "replaced";
    }

    return 0;
}


/*
 * Lives in another generation.  What does not live takes the new generation
 * with its next start.
 */

static int
corrald_decide_replicas_old(const corrald_replicas_service_t *service,
    const corrald_replicas_instance_t *i)
{
    return i->generation != service->generation
           && corrald_state_lives(i->state);
}


/* The newest go first: the first has the port that was given. */

static void
corrald_decide_replicas_surplus(corrald_replicas_instance_t *instances,
    size_t n, size_t surplus)
{
    int     pass;
    size_t  i;

    /* those that do not live, then those not ready, then any */

    for (pass = 0; pass < 3 && surplus > 0; pass++) {

        for (i = n; i > 0 && surplus > 0; i--) {

            if (instances[i - 1].want == CORRALD_WANT_REMOVE
                || (pass == 0 && corrald_state_lives(instances[i - 1].state))
                || (pass == 1 && instances[i - 1].ready))
            {
                continue;
            }

            instances[i - 1].want = CORRALD_WANT_REMOVE;
            instances[i - 1].reason = "scaled_down";
            surplus--;
        }
    }
}
