/* links: ngx_module/corral_rebalance.c */

/* Rebalancing: shares by weight and limit, tolerance, parts of gateways. */


#include "../../ngx_module/corral_rebalance.h"

#include <stdlib.h>

#include "unit.h"


static corral_rebalance_t  list[200];


static void
set(uint32_t i, double weight, uint32_t load, uint32_t own, uint32_t limit)
{
    memset(&list[i], 0, sizeof(list[i]));

    list[i].weight = weight;
    list[i].load = load;
    list[i].own = own;
    list[i].limit = limit;
}


/* all that is to come from all gateways comes; the loads after it */

static uint32_t
apply(uint32_t n)
{
    uint32_t  i, leave, come;

    leave = 0;
    come = 0;

    for (i = 0; i < n; i++) {
        leave += list[i].leave;
        come += list[i].come;
        list[i].load += list[i].come - list[i].leave;
        list[i].own += list[i].come - list[i].leave;
    }

    is_int(come, leave, "as many come as leave");

    return leave;
}


static void
two(void)
{
    set(0, 1, 40, 40, 0);
    set(1, 1, 0, 0, 0);

    is_int(corral_rebalance_plan(list, 2, 10, 0.5), 20, "40 and 0: 20 move");
    is_int(list[0].leave, 20, "from the first");
    is_int(list[1].come, 20, "to the second");
    apply(2);
    is_int(corral_rebalance_plan(list, 2, 10, 0.5), 0, "then nothing");

    set(0, 1, 22, 22, 0);
    set(1, 1, 18, 18, 0);
    is_int(corral_rebalance_plan(list, 2, 10, 0.9), 0, "10 % off: allowed");
    is_int(corral_rebalance_plan(list, 2, 9, 0.9), 2, "not within 9 %");

    set(0, 1, 3, 3, 0);
    set(1, 1, 2, 2, 0);
    is_int(corral_rebalance_plan(list, 2, 0, 0.9), 0, "an odd number stays");

    set(0, 1, 2, 2, 0);
    set(1, 1, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 2, 0, 0.9), 0,
           "one that is off by one stays");

    set(0, 1, 0, 0, 0);
    set(1, 1, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 2, 0, 0.9), 0, "nothing to move");
    is_int(corral_rebalance_plan(list, 1, 0, 0.9), 0, "nowhere to move");
    is_int(corral_rebalance_plan(list, 0, 0, 0.9), 0, "nobody");
}


static void
weights(void)
{
    set(0, 1, 40, 40, 0);
    set(1, 3, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 2, 10, 0), 30, "a weight of 3: 30");

    set(0, 1, 100, 100, 0);
    set(1, 0.25, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 2, 10, 0), 20,
           "one that is new gets its part");

    set(0, 1, 90, 90, 0);
    set(1, 1, 0, 0, 10);
    set(2, 1, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 3, 10, 0), 50, "what one may not hold "
           "is for others");
    is_int(list[1].come, 10, "it gets what it may");
    is_int(list[2].come, 40, "others the rest");

    set(0, 1, 90, 90, 10);
    set(1, 1, 10, 10, 10);
    is_int(corral_rebalance_plan(list, 2, 10, 0), 0, "all are full");
}


static void
many(void)
{
    uint32_t  i;

    /* each is off by less than one connection, but one is empty */

    for (i = 0; i < 99; i++) {
        set(i, 1, 10, 10, 0);
    }

    set(99, 1, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 100, 10, 0.3), 9,
           "the empty one of 100 gets its share");
    apply(100);
    is_int(list[99].load, 9, "it has it");
    is_int(corral_rebalance_plan(list, 100, 10, 0.3), 0, "and all stay so");
}


/* gateways that all see the same counts move together what is too much */

static void
gateways(void)
{
    uint32_t  i, k, sum, off;

    for (k = 1, off = 0; k <= 20; k++) {

        for (i = 0, sum = 0; i < k; i++) {
            set(0, 1, 10 * k, 10, 0);
            set(1, 1, 0, 0, 0);
            sum += corral_rebalance_plan(list, 2, 10, (i + 0.5) / k);
            off += list[0].leave > 10;
        }

        off += sum != 5 * k;
    }

    is_int(off, 0, "1 to 20 gateways move half");

    for (i = 0, sum = 0; i < 10; i++) {
        set(0, 1, 10, 1, 0);
        set(1, 1, 0, 0, 0);
        sum += corral_rebalance_plan(list, 2, 10, (i + 0.5) / 10);
    }

    is_int(sum, 5, "half of ten that have one each");

    set(0, 1, 40, 0, 0);
    set(1, 1, 0, 0, 0);
    is_int(corral_rebalance_plan(list, 2, 10, 0.99), 0,
           "who holds none moves none");
}


/* whatever the numbers are: in few steps within the tolerance, and still */

static void
settles(void)
{
    double    share, weight, most;
    uint32_t  i, k, n, bad, total;

    srand(7);

    for (k = 0, bad = 0; k < 2000; k++) {
        n = 2 + rand() % 20;
        weight = 0;
        total = 0;

        for (i = 0; i < n; i++) {
            set(i, 1 + rand() % 5, rand() % 3 ? rand() % 200 : 0, 0, 0);
            list[i].own = list[i].load;
            weight += list[i].weight;
            total += list[i].load;
        }

        if (corral_rebalance_plan(list, n, 10, rand() % 1000 / 1000.0)) {
            for (i = 0; i < n; i++) {
                bad += list[i].leave && list[i].come;
                list[i].load += list[i].come - list[i].leave;
                list[i].own = list[i].load;
            }
        }

        for (i = 0; i < n; i++) {
            share = total * list[i].weight / weight;
            most = share / 10 > 1 ? share / 10 : 1;
            bad += list[i].load > share + most + 1e-6
                   || list[i].load < share - most - 1e-6;
        }

        bad += corral_rebalance_plan(list, n, 10, 0.5) != 0;
    }

    is_int(bad, 0, "2,000 random services are even after one plan");
}


int
main(void)
{
    two();
    weights();
    many();
    gateways();
    settles();

    return done_testing();
}
