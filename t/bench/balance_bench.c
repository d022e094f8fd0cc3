/* links: ngx_module/corral_balance.c */

/*
 * Instructions of one pick.  Arguments: method (round_robin, random,
 * least_conn, hash; empty: the loop alone), instances, percent that are down,
 * picks.  Run it under callgrind with two counts; the difference, divided, is
 * the cost of a pick:
 *
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null \
 *       balance_bench round_robin 10000 50 1000
 */


#include "../../ngx_module/corral_balance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define BENCH_MAX  100000


static uint8_t   down[BENCH_MAX];
static uint32_t  loads[BENCH_MAX];


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


int
main(int argc, char **argv)
{
    long                          k, count, none;
    uint32_t                      i, n, cursor;
    uint64_t                      random;
    unsigned                      part;
    corral_balance_t             *b;
    static uint32_t               weights[BENCH_MAX];
    static uint64_t               ids[BENCH_MAX];
    static corral_balance_view_t  view = { bench_ok, bench_load, NULL };

    n = argc == 5 ? (uint32_t) strtoul(argv[2], NULL, 10) : 0;

    if (n == 0 || n > BENCH_MAX) {
        fprintf(stderr, "usage: balance_bench method instances down%% picks\n");
        return 2;
    }

    part = (unsigned) strtoul(argv[3], NULL, 10);
    count = strtol(argv[4], NULL, 10);
    random = 42;

    for (i = 0; i < n; i++) {
        weights[i] = 100;
        ids[i] = corral_balance_key(&i, sizeof(i));
        loads[i] = ids[i] % 50;
        down[i] = i * UINT64_C(61803) % n * 100 / n < part;
    }

    down[n - 1] = 0;
    b = corral_balance_create(n, weights, ids, 0xff, bench_alloc, NULL);
    cursor = 0;
    none = 0;

    if (b == NULL) {
        return 1;
    }

    for (k = 0; k < count; k++) {
        random = random * 6364136223846793005 + 1442695040888963407;

        switch (argv[1][1]) {
        case 'o':
            i = corral_balance_round_robin(b, &view, &cursor, random);
            break;
        case 'a':
            i = argv[1][0] == 'h' ? corral_balance_hash(b, &view, random)
                                  : corral_balance_random(b, &view, random);
            break;
        case 'e':
            i = corral_balance_least_conn(b, &view, random);
            break;
        default:
            i = 0;
        }

        none += i == CORRAL_BALANCE_NONE;
    }

    printf("%s, %u instances, %u %% down: %ld picks, %ld in vain\n", argv[1],
           n, part, count, none);

    return none != 0;
}
