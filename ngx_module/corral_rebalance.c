
/*
 * How many connections are to go from which instance to which, so that each
 * has its share: of what all of them hold together, by weight, and not more
 * than it may hold.
 *
 * Nothing is to go as long as each is near its share.  Then each goes to its
 * share, not only near it, and so a small change does not begin all anew.
 *
 * Each gateway moves only its part of them: as much of what is too much as it
 * holds of the load of the instance.  Parts are rounded by chance, where there
 * are others, so that neither all gateways round up nor all of them down; one
 * that is alone moves exactly what is too much.  Pure.
 */


#include "corral_rebalance.h"


#define CORRAL_REBALANCE_LITTLE  1e-9   /* more than sums of parts are off */


static double corral_rebalance_shares(corral_rebalance_t *list, uint32_t n,
    uint32_t tolerance);
static void corral_rebalance_whole(corral_rebalance_t *list, uint32_t n,
    uint64_t left);
static uint32_t corral_rebalance_part(double *sum, double part);


/*
 * Sets share, leave and come.  tolerance: percent of a share that an instance
 * may be off; one connection always is allowed.  random: 0.0 to 1.0, without
 * it.  Returns how many are to leave, which is also how many are to come.
 */

uint32_t
corral_rebalance_plan(corral_rebalance_t *list, uint32_t n, uint32_t tolerance,
    double random)
{
    double               off, leave, come, m;
    uint64_t             over, under;
    uint32_t             i, total;
    corral_rebalance_t  *r;

    off = corral_rebalance_shares(list, n, tolerance);

    over = 0;
    under = 0;
    total = 0;

    for (i = 0; i < n; i++) {
        r = &list[i];

        r->leave = 0;
        r->come = 0;

        over += r->load > r->share ? r->load - r->share : 0;
        under += r->share > r->load ? r->share - r->load : 0;
    }

    if (off <= 1.0 || over == 0 || under == 0) {
        return 0;
    }

    m = over < under ? over : under;
    leave = random;

    for (i = 0; i < n; i++) {
        r = &list[i];

        if (r->load > r->share && r->own) {
            r->leave = corral_rebalance_part(&leave,
                           (double) (r->load - r->share) * m / over
                           * r->own / r->load);
            r->leave = r->leave < r->own ? r->leave : r->own;
            total += r->leave;
        }
    }

    come = random;

    for (i = 0; i < n; i++) {
        r = &list[i];

        if (r->share > r->load) {
            r->come = corral_rebalance_part(&come,
                          (double) (r->share - r->load) * total / under);
        }
    }

    return total;
}


/*
 * Who would get more than it may hold gets that, and the others the rest.
 * Returns how far off the worst is, where 1.0 is as much as is allowed.
 */

static double
corral_rebalance_shares(corral_rebalance_t *list, uint32_t n,
    uint32_t tolerance)
{
    double               left, weight, share, off, allowed, worst;
    uint32_t             i, again;
    uint64_t             total, given;
    corral_rebalance_t  *r;

    total = 0;
    given = 0;
    worst = 0;

    for (i = 0; i < n; i++) {
        total += list[i].load;
        list[i].full = 0;
    }

    left = total;

    do {
        again = 0;
        weight = 0;

        for (i = 0; i < n; i++) {
            weight += list[i].full ? 0 : list[i].weight;
        }

        share = weight > 0 ? left / weight : 0;

        for (i = 0; i < n; i++) {
            r = &list[i];

            if (!r->full && r->limit && share * r->weight >= r->limit) {
                r->full = 1;
                left -= r->limit;
                again = 1;
            }
        }

    } while (again);

    for (i = 0; i < n; i++) {
        r = &list[i];

        left = r->full ? r->limit : share * r->weight;
        off = r->load > left ? r->load - left : left - r->load;
        allowed = left * tolerance / 100;
        allowed = allowed > 1.0 ? allowed : 1.0;
        worst = off / allowed > worst ? off / allowed : worst;

        r->share = (uint32_t) (left + CORRAL_REBALANCE_LITTLE);
        given += r->share;
    }

    corral_rebalance_whole(list, n, total > given ? total - given : 0);

    return worst;
}


/* what was lost in rounding stays, as far as it can, where it is */

static void
corral_rebalance_whole(corral_rebalance_t *list, uint32_t n, uint64_t left)
{
    uint32_t             i, turn;
    corral_rebalance_t  *r;

    for (turn = 0; turn < 2; turn++) {
        for (i = 0; i < n && left; i++) {
            r = &list[i];

            if (!r->full && (turn ? r->load <= r->share : r->load > r->share)) {
                r->share++;
                left--;
            }
        }
    }
}


/* the whole connections that a part adds to the sum of parts */

static uint32_t
corral_rebalance_part(double *sum, double part)
{
    uint64_t  before;

    before = (uint64_t) (*sum + CORRAL_REBALANCE_LITTLE);
    *sum += part;

    return (uint32_t) ((uint64_t) (*sum + CORRAL_REBALANCE_LITTLE) - before);
}
