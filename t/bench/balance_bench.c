/* links: ngx_module/corral_balance.c ngx_module/corral_balance_build.c
          ngx_module/corral_health.c */

/*
 * One pick.  Without arguments: nanoseconds of CPU for all methods.  With them,
 * method (see methods[]; empty: the loop alone), instances, percent that are
 * down, picks: for callgrind, run with two counts; the difference, divided, is
 * the instructions of a pick:
 *
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null \
 *       balance_bench round_robin 10000 50 1000
 */


#include "../../ngx_module/corral_balance.h"
#include "../../ngx_module/corral_health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define BENCH_MAX  100000


static uint8_t   down[BENCH_MAX];
static uint32_t  loads[BENCH_MAX];
static uint64_t  latencies[BENCH_MAX];


static void *
bench_alloc(void *data, size_t size)
{
    (void) data;

    return malloc(size);
}


static int
bench_ok(void *data, uint32_t i)
{
    (void) data;

    return !down[i];
}


static uint32_t
bench_load(void *data, uint32_t i)
{
    (void) data;

    return loads[i];
}


/* as the gateway does: latencies decay since their last sample */

static double
bench_cost(void *data, uint32_t i)
{
    (void) data;

    return (corral_health_latency(latencies[i], 5000) + 1.0)
           * (loads[i] + 1.0);
}


static const char  *methods[] = {
    "empty", "round_robin", "random", "least_conn", "hash", "p2c", "ewma",
    "hash_bounded"
};

#define METHODS  (sizeof(methods) / sizeof(methods[0]))


/* n instances of equal weight, of which so many percent are down */

static corral_balance_t *
bench_create(uint32_t n, unsigned part)
{
    uint32_t         i;
    static uint32_t  weights[BENCH_MAX];
    static uint64_t  ids[BENCH_MAX];

    for (i = 0; i < n; i++) {
        weights[i] = 100;
        ids[i] = corral_balance_key(&i, sizeof(i));
        loads[i] = ids[i] % 50;
        latencies[i] = corral_health_sample(0, i % 5000, ids[i] % 1000);
        down[i] = i * UINT64_C(61803) % n * 100 / n < part;
    }

    down[n - 1] = 0;

    return corral_balance_create(n, weights, ids, 0xff, bench_alloc, NULL);
}


/* returns how many picks were in vain */

static long
bench_run(corral_balance_t *b, uint32_t n, unsigned method, long count)
{
    long                          none;
    uint32_t                      i, cursor;
    uint64_t                      random;
    static corral_balance_view_t  view = { bench_ok, bench_load, bench_cost,
                                           NULL };

    random = 42;
    cursor = 0;

    for (none = 0; count > 0; count--) {
        random = random * 6364136223846793005 + 1442695040888963407;

        switch (method) {
        case 1:
            i = corral_balance_round_robin(b, &view, &cursor, random);
            break;
        case 2:
            i = corral_balance_random(b, &view, random);
            break;
        case 3:
            i = corral_balance_least_conn(b, &view, random);
            break;
        case 4:
            i = corral_balance_hash(b, &view, random);
            break;
        case 5:
            i = corral_balance_two_choices(b, &view, random);
            break;
        case 6:
            i = corral_balance_cheapest(b, &view, random);
            break;
        case 7:
            i = corral_balance_hash_bounded(b, &view, random, 24 * n, 125);
            break;
        default:
            i = 0;
        }

        none += i == CORRAL_BALANCE_NONE;
    }

    return none;
}


/* nanoseconds of CPU a pick, for all methods */

static int
bench_table(void)
{
    clock_t                 start;
    unsigned                m, k, d;
    corral_balance_t       *b;
    static const unsigned   parts[] = { 0, 50, 99 };
    static const uint32_t   counts[] = { 10, 10000 };

    for (k = 0; k < 2; k++) {
        for (d = 0; d < 3; d++) {
            b = bench_create(counts[k], parts[d]);

            for (m = 1; b && m < METHODS; m++) {
                start = clock();

                if (bench_run(b, counts[k], m, 100000) != 0) {
                    return 1;
                }

                printf("%s, %u instances, %u %% down: %.0f ns\n", methods[m],
                       counts[k], parts[d],
                       (double) (clock() - start) / CLOCKS_PER_SEC * 1e4);
            }
        }
    }

    return 0;
}


int
main(int argc, char **argv)
{
    long               count, none;
    uint32_t           n;
    unsigned           part, m;
    corral_balance_t  *b;

    if (argc == 1) {
        return bench_table();
    }

    n = argc == 5 ? (uint32_t) strtoul(argv[2], NULL, 10) : 0;

    for (m = 0; m < METHODS; m++) {
        if (strcmp(argv[1], methods[m]) == 0) {
            break;
        }
    }

    if (n == 0 || n > BENCH_MAX || m == METHODS) {
        fprintf(stderr, "usage: balance_bench [method instances down%% "
                "picks]\n");
        return 2;
    }

    part = (unsigned) strtoul(argv[3], NULL, 10);
    count = strtol(argv[4], NULL, 10);
    b = bench_create(n, part);

    if (b == NULL) {
        return 1;
    }

    none = bench_run(b, n, m, count);

    printf("%s, %u instances, %u %% down: %ld picks, %ld in vain\n",
           methods[m], n, part, count, none);

    return none != 0;
}
