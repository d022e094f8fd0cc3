/* links: ngx_module/corral_balance.c ngx_module/corral_balance_build.c */

/*
 * Picking: exact shares of round robin, shares of the random methods within
 * their noise, ties, unavailable instances, stability of hashing.  Random
 * numbers are a fixed sequence: the test gives the same result each time.
 */


#include "../../ngx_module/corral_balance.h"

#include <stdlib.h>
#include <time.h>

#include "unit.h"


#define N_MAX  10000
#define ALL    (CORRAL_BALANCE_ROUND_ROBIN|CORRAL_BALANCE_LEAST_CONN          \
                |CORRAL_BALANCE_HASH|CORRAL_BALANCE_RANDOM)


/* blocks of one arena, each of its own size so that ASan sees overruns */

static void       *arena_blocks[64];
static unsigned    arena_used;
static unsigned    arena_limit = 64;

static uint32_t    weights[N_MAX];
static uint64_t    ids[N_MAX];
static uint32_t    loads[N_MAX];
static uint8_t     down[N_MAX];
static uint32_t    hits[N_MAX];
static uint32_t    asked;
static uint64_t    seed = 1;


static void *
arena_alloc(void *data, size_t size)
{
    (void) data;

    if (arena_used >= arena_limit) {
        return NULL;
    }

    arena_blocks[arena_used] = malloc(size);

    return arena_blocks[arena_used++];
}


static void
arena_reset(void)
{
    while (arena_used) {
        free(arena_blocks[--arena_used]);
    }
}


static uint64_t
next_random(void)
{
    seed = seed * 6364136223846793005 + 1442695040888963407;

    return corral_balance_key(&seed, sizeof(seed));
}


static int
is_up(void *data, uint32_t i)
{
    (void) data;
    asked++;

    return !down[i];
}


static uint32_t
load_of(void *data, uint32_t i)
{
    (void) data;

    return loads[i];
}


static double
cost_of(void *data, uint32_t i)
{
    (void) data;

    return loads[i] / 1000.0;
}


static const corral_balance_view_t  view = { is_up, load_of, cost_of, NULL };


/* n instances of one weight, all up, without load; ids are those of names */

static void
setup(uint32_t n, uint32_t weight)
{
    char      name[32];
    uint32_t  i;

    arena_reset();

    for (i = 0; i < n; i++) {
        weights[i] = weight;
        loads[i] = 0;
        down[i] = 0;
        snprintf(name, sizeof(name), "echo.%u", i);
        ids[i] = corral_balance_key(name, strlen(name));
    }
}


static corral_balance_t *
create(uint32_t n)
{
    arena_reset();

    return corral_balance_create(n, weights, ids, ALL, arena_alloc, NULL);
}


typedef enum {
    ROUND_ROBIN, RANDOM, LEAST_CONN, TWO_CHOICES, CHEAPEST, HASH
} method_e;

static const char  *methods[] = { "round robin", "random", "least_conn",
                                  "two choices", "cheapest", "hash" };


static uint32_t
pick(corral_balance_t *b, method_e method)
{
    static uint32_t  cursor;

    switch (method) {
    case ROUND_ROBIN:
        return corral_balance_round_robin(b, &view, &cursor, next_random());
    case RANDOM:
        return corral_balance_random(b, &view, next_random());
    case LEAST_CONN:
        return corral_balance_least_conn(b, &view, next_random());
    case TWO_CHOICES:
        return corral_balance_two_choices(b, &view, next_random());
    case CHEAPEST:
        return corral_balance_cheapest(b, &view, next_random());
    default:
        return corral_balance_hash(b, &view, next_random());
    }
}


/* counts hits of so many picks; returns how many were not possible */

static uint32_t
picks(corral_balance_t *b, method_e method, uint32_t n, uint32_t count)
{
    uint32_t  i, none;

    memset(hits, 0, n * sizeof(uint32_t));

    for (none = 0; count; count--) {
        i = pick(b, method);

        if (i >= n) {
            none++;

        } else {
            hits[i]++;
        }
    }

    return none;
}


/* each share within so many parts of a thousand of what the weight says */

static int
shares_are(uint32_t n, uint32_t count, double within)
{
    double    want, sum;
    uint32_t  i;

    for (sum = 0, i = 0; i < n; i++) {
        sum += down[i] ? 0 : weights[i];
    }

    for (i = 0; i < n; i++) {
        want = down[i] ? 0 : count * (double) weights[i] / sum;

        if (hits[i] < want * (1 - within) - 1e-9
            || hits[i] > want * (1 + within) + 1e-9)
        {
            printf("# %u: %u of %u, want %.1f\n", i, hits[i], count, want);
            return 0;
        }
    }

    return 1;
}


static void
round_robin(void)
{
    uint32_t           i, k, slots, last, gap, longest;
    corral_balance_t  *b;

    setup(7, 100);
    b = create(7);
    is_int(corral_balance_slots(b), 7, "equal weights: one slot each");
    picks(b, ROUND_ROBIN, 7, 7 * 3);
    ok(shares_are(7, 21, 0), "each exactly as often");

    weights[0] = 500;
    weights[3] = 0;
    b = create(7);
    is_int(corral_balance_slots(b), 10, "weights are reduced");
    picks(b, ROUND_ROBIN, 7, 30);
    ok(shares_are(7, 30, 0), "shares are exact over a turn");
    is_int(hits[3], 0, "weight 0 is never picked");

    for (i = 0, last = 0, longest = 0; i < 40; i++) {
        k = pick(b, ROUND_ROBIN);
        gap = i - last;
        longest = k == 0 && gap > longest ? gap : longest;
        last = k == 0 ? i : last;
    }

    ok(longest <= 3, "half of the turn is spread over it");

    setup(100, 10);

    for (i = 0; i < 50; i++) {
        weights[i] = 50;
    }

    b = create(100);
    slots = corral_balance_slots(b);
    is_int(slots, 300, "fifty heavy and fifty light");

    for (i = 0, longest = 0; i < 10; i++) {
        picks(b, ROUND_ROBIN, 100, slots / 10);

        for (k = 50, gap = 0; k < 100; k++) {
            gap += hits[k];
        }

        longest = gap > longest ? gap : longest;
    }

    ok(longest <= 8, "the light ones do not meet (5 of 30 on the mean)");

    setup(1000, 1);

    for (i = 0; i < 1000; i++) {
        weights[i] = 1 + next_random() % 1000;
    }

    weights[0] = 1;
    weights[1] = 1000;
    b = create(1000);
    slots = corral_balance_slots(b);
    ok(slots >= 3900 && slots <= 5096, "a long turn is cut to 4096 or so");
    picks(b, ROUND_ROBIN, 1000, slots);

    for (i = 0, k = 1; i < 1000; i++) {
        k &= hits[i] >= 1;
        k &= abs((int) (hits[i] * 500500.0 / 4096 - weights[i])) < 150
             || hits[i] == 1;
    }

    ok(k, "rounded by no more than a slot, and none is lost");
}


static void
by_chance(void)
{
    uint32_t           i;
    corral_balance_t  *b;

    setup(5, 100);
    weights[1] = 300;
    weights[2] = 1000;
    weights[4] = 0;
    b = create(5);
    picks(b, RANDOM, 5, 200000);
    ok(shares_are(5, 200000, 0.02), "random: shares follow weights");

    setup(500, 100);
    b = create(500);
    picks(b, RANDOM, 500, 500000);
    ok(shares_are(500, 500000, 0.15), "random: equal weights");

    for (i = 0; i < 500; i++) {
        weights[i] = i % 10 + 1;
    }

    b = create(500);
    picks(b, RANDOM, 500, 1000000);
    ok(shares_are(500, 1000000, 0.25), "random: 500 weights");
}


static void
least_conn(void)
{
    uint32_t           i, k, max;
    corral_balance_t  *b;

    setup(10, 100);
    b = create(10);

    for (i = 0; i < 10; i++) {
        loads[i] = 5;
    }

    picks(b, LEAST_CONN, 10, 100000);
    ok(shares_are(10, 100000, 0.05), "ten equals are taken by chance");

    for (i = 2; i < 10; i++) {
        loads[i] = 6;
    }

    picks(b, LEAST_CONN, 10, 10000);
    ok(hits[0] > 4700 && hits[1] > 4700, "two equals too");
    is_int(hits[0] + hits[1], 10000, "and nobody else");

    setup(3, 100);
    weights[1] = 300;
    b = create(3);
    loads[1] = 2;
    picks(b, LEAST_CONN, 3, 30000);
    ok(shares_are(3, 30000, 1) && hits[1] > 9000 && hits[0] > 9000,
       "0+1 of 100 equals 2+1 of 300");
    loads[1] = 3;
    picks(b, LEAST_CONN, 3, 100);
    is_int(hits[1], 0, "3+1 of 300 is more");
    loads[1] = 1;
    picks(b, LEAST_CONN, 3, 100);
    is_int(hits[1], 100, "1+1 of 300 is less");

    loads[0] = loads[1] = loads[2] = 0xffffffff;
    ok(pick(b, LEAST_CONN) < 3, "the greatest load overflows nothing");

    setup(64, 100);
    b = create(64);
    loads[63] = 0;

    for (i = 0; i < 63; i++) {
        loads[i] = 1;
    }

    picks(b, LEAST_CONN, 64, 100);
    is_int(hits[63], 100, "64: exact");

    /* two choices: maximum over mean stays small, one choice is far worse */

    setup(1000, 100);
    b = create(1000);

    for (i = 0; i < 20000; i++) {
        loads[pick(b, LEAST_CONN)]++;
    }

    for (i = 0, max = 0; i < 1000; i++) {
        max = loads[i] > max ? loads[i] : max;
    }

    ok(max <= 25, "1000: two choices level 20 a piece to 25 at most");

    for (i = 0; i < 1000; i++) {
        loads[i] = 0;
        weights[i] = i < 500 ? 100 : 300;
    }

    b = create(1000);

    for (i = 0; i < 40000; i++) {
        loads[pick(b, LEAST_CONN)]++;
    }

    for (i = 0, k = 0; i < 500; i++) {
        k += loads[i];
    }

    ok(k > 9000 && k < 11500, "1000: by weight, a quarter to the light half");
}


/* two random ones, however few there are: the worst is only taken alone */

static void
two_choices(void)
{
    uint32_t           i;
    corral_balance_t  *b;

    setup(3, 100);
    b = create(3);
    loads[0] = 5;
    loads[1] = 2;
    loads[2] = 9;

    picks(b, TWO_CHOICES, 3, 3000);
    ok(hits[1] > 1850 && hits[1] < 2150, "the best of 3 wins its two pairs");
    ok(hits[2] < 30, "the worst of 3 loses both");

    picks(b, CHEAPEST, 3, 3000);
    ok(hits[1] > 1850 && hits[1] < 2150, "the cheapest of 3 wins");
    ok(hits[2] < 30, "the dearest of 3 loses");

    /* weights: 9 of 300 is less than 5 of 100 */

    weights[2] = 300;
    b = create(3);
    picks(b, CHEAPEST, 3, 3000);
    ok(hits[2] > 850 && hits[2] < 1150, "costs are divided by weights");

    setup(10, 100);
    b = create(10);

    for (i = 0; i < 2000; i++) {
        loads[pick(b, TWO_CHOICES)]++;
    }

    for (i = 0; i < 10 && loads[i] > 195 && loads[i] < 205; i++) { /* void */ }

    is_int(i, 10, "connections that stay are level");
}


static int
owner_of(corral_balance_t *b, uint32_t i)
{
    uint64_t  key;

    key = corral_balance_key(&i, sizeof(i));

    return (int) corral_balance_hash(b, &view, key);
}


/* removing one of n moves its own keys only, and so does its being down */

static void
hash_stable(uint32_t n)
{
    char               name[128];
    uint32_t           i, k, keys, moved, wrong, differ;
    static int         before[50000], without[50000];
    corral_balance_t  *b;

    keys = 50000;
    setup(n, 100);
    b = create(n);

    for (i = 0; i < keys; i++) {
        before[i] = owner_of(b, i);
    }

    k = n / 3;
    down[k] = 1;

    for (i = 0; i < keys; i++) {
        without[i] = owner_of(b, i);
    }

    /* the last one takes the place of the removed one: another order */

    down[k] = 0;
    ids[k] = ids[n - 1];
    b = create(n - 1);

    for (i = 0, moved = 0, wrong = 0, differ = 0; i < keys; i++) {
        down[0] = 0;
        wrong += before[i] != (int) k && without[i] != before[i];
        wrong += without[i] == (int) k;
        moved += without[i] != before[i];

        differ += (owner_of(b, i) == (int) k ? (int) n - 1 : owner_of(b, i))
                  != without[i];
    }

    snprintf(name, sizeof(name), "%u: only keys of the one that is down move",
             n);
    is_int(wrong, 0, name);
    snprintf(name, sizeof(name), "%u: about 1/n of the keys move (%u)", n,
             moved);
    ok(moved > keys / n / 2 && moved < keys * 2 / n, name);
    snprintf(name, sizeof(name), "%u: down and removed are the same", n);
    is_int(differ, 0, name);
}


static void
hash(void)
{
    uint32_t           i, sum;
    corral_balance_t  *b;

    hash_stable(2);
    hash_stable(10);
    hash_stable(100);
    hash_stable(256);
    hash_stable(300);
    hash_stable(600);

    setup(10, 100);
    b = create(10);
    picks(b, HASH, 10, 200000);
    ok(shares_are(10, 200000, 0.03), "10: even");

    weights[0] = 300;
    weights[1] = 50;
    weights[2] = 1;
    weights[3] = 0;
    b = create(10);
    picks(b, HASH, 10, 500000);
    weights[2] = hits[2] > 450 && hits[2] < 600 ? 0 : 1;
    hits[2] = weights[2] == 0 ? 0 : hits[2];
    ok(shares_are(10, 500000, 0.03), "10: by weight");

    setup(300, 100);
    b = create(300);
    picks(b, HASH, 300, 500000);
    ok(shares_are(300, 500000, 0.35), "300: even within a third");

    for (i = 0; i < 150; i++) {
        weights[i] = 20;
    }

    b = create(300);
    picks(b, HASH, 300, 500000);

    for (i = 0, sum = 0; i < 150; i++) {
        sum += hits[i];
    }

    ok(sum > 75000 && sum < 92000, "300: a sixth to the light half");

    weights[0] = 0;
    b = create(300);
    picks(b, HASH, 300, 500000);
    is_int(hits[0], 0, "300: weight 0 has no point");

    /* the bound: more instances than points for all */

    setup(10000, 100);
    b = create(10000);
    is_int(picks(b, HASH, 10000, 10000), 0, "10000: a ring of few points");

    ok(corral_balance_key("a", 1) != corral_balance_key("b", 1), "keys differ");
    is_int((int64_t) corral_balance_key("", 0), (int64_t) 0xefd01f60ba992926,
           "the hash of nothing stays the same between versions");
}


/* connections that stay: none above its bound, whatever the keys are */

static void
bounded_load(uint32_t n, uint32_t factor, uint32_t keys)
{
    char               name[128];
    uint32_t           i, k, over, total;
    corral_balance_t  *b;

    setup(n, 100);

    for (i = 0; i < n; i += 3) {
        weights[i] = 200;
    }

    b = create(n);

    for (total = 0, over = 0; total < 20 * n; total++) {
        k = total % keys;
        i = corral_balance_hash_bounded(b, &view,
                                        corral_balance_key(&k, sizeof(k)),
                                        total, factor);
        loads[i]++;

        /* the bound of HAProxy: ceil(weight / sum * ceil(factor * total)) */

        over += loads[i] > 1 + (uint64_t) (total + 1) * factor * weights[i]
                               / 100 / (n * 100 + (n + 2) / 3 * 100);
    }

    snprintf(name, sizeof(name), "%u instances, %u %%, %u keys: no load is "
             "above its bound", n, factor, keys);
    is_int(over, 0, name);
}


static void
bounded_hash(void)
{
    uint32_t           i, k, first, moved, keys, differ, place;
    static uint8_t     seen[N_MAX];
    corral_balance_t  *b;

    bounded_load(10, 125, 1);
    bounded_load(10, 100, 1000);
    bounded_load(300, 125, 1);
    bounded_load(300, 150, 100000);

    /* where there is room nothing moves */

    setup(300, 100);
    b = create(300);

    for (i = 0, moved = 0; i < 1000; i++) {
        moved += corral_balance_hash_bounded(b, &view,
                                   corral_balance_key(&i, sizeof(i)), 3000, 200)
                 != (uint32_t) owner_of(b, i);
    }

    is_int(moved, 0, "with room it is the plain hash");

    /* keys of a full instance go to many others, each to the same again */

    first = owner_of(b, 0);
    loads[first] = 1000;

    for (i = 0, k = 0, keys = 0, differ = 0; i < 30000; i++) {

        if (owner_of(b, i) != (int) first) {
            continue;
        }

        place = corral_balance_hash_bounded(b, &view,
                                   corral_balance_key(&i, sizeof(i)), 3000,
                                   125);
        differ += place != corral_balance_hash_bounded(b, &view,
                                   corral_balance_key(&i, sizeof(i)), 3000,
                                   125);
        k += !seen[place];
        seen[place] = 1;
        keys++;
    }

    ok(seen[first] == 0, "a full one gets none");
    ok(keys > 50 && k > keys / 2, "its keys are spread, not given to one");
    is_int(differ, 0, "a key has its place also then");

    /* no room anywhere is known of: the least loaded one */

    for (i = 0; i < 300; i++) {
        loads[i] = 50 + i;
    }

    i = corral_balance_hash_bounded(b, &view, 1, 10, 100);
    ok(i < 300 && loads[i] < 320, "without any room one is taken all the same");

    memset(down, 1, 300);
    is_int(corral_balance_hash_bounded(b, &view, 1, 10, 100),
           CORRAL_BALANCE_NONE, "all down: none");

    setup(10, 100);
    b = create(10);
    memset(down, 1, 10);
    is_int(corral_balance_hash_bounded(b, &view, 1, 10, 100),
           CORRAL_BALANCE_NONE, "all of 10 down: none");
    is_int(corral_balance_hash_bounded(create(0), &view, 1, 0, 100),
           CORRAL_BALANCE_NONE, "no instances: none");
}


/* shares of tiers, in percent of all, rounded down */

static const char *
tiers(const char *given, uint32_t threshold)
{
    int          at;
    char        *end;
    uint32_t     n, i, last, ready[8], total[8], until[8];
    static char  text[128];

    memset(ready, 0, sizeof(ready));
    memset(total, 0, sizeof(total));

    for (n = 0; *given; n++, given = end + (*end == ' ')) {
        ready[n] = (uint32_t) strtoul(given, &end, 10);
        total[n] = (uint32_t) strtoul(end + 1, &end, 10);
    }

    corral_balance_tiers(n, ready, total, threshold, until);

    for (i = 0, at = 0, last = 0; i < n; last = until[i++]) {
        at += snprintf(text + at, sizeof(text) - at, "%s%u", i ? " " : "",
                       (until[i] - last) * 100 / CORRAL_BALANCE_DRAW);
    }

    return text;
}


static void
spilling(void)
{
    is_str(tiers("3/3 3/3", 70), "100 0", "the first tier takes all");
    is_str(tiers("7/10 3/3", 70), "100 0", "also with the threshold ready");
    is_str(tiers("5/10 3/3", 70), "71 28", "half of it: 5/7, the rest spills");
    is_str(tiers("0/10 3/3", 70), "0 100", "none of it: the next one");
    is_str(tiers("0/0 3/3 2/2", 70), "0 100 0", "an empty tier");
    is_str(tiers("1/10 1/10 10/10", 70), "14 14 71", "over two tiers");
    is_str(tiers("1/10 1/10", 70), "50 50", "nobody is left: in proportion");
    is_str(tiers("2/10 1/10", 100), "66 33", "by what they have");
    is_str(tiers("1/10 9/9", 0), "100 0", "threshold 0: one is enough");
    is_str(tiers("0/10 9/9", 0), "0 100", "but not none");
    is_str(tiers("9/10 9/9", 100), "89 10", "threshold 100: each one counts");
    is_str(tiers("0/3 0/3", 70), "0 0", "nothing is ready");
    is_str(tiers("1/1000000 1/1000000", 100), "50 50", "very few of many");
}


/* part of the instances down: who may be taken is, evenly, and cheaply */

static void
unavailable(uint32_t n, uint32_t up)
{
    char               name[128];
    double             within;
    uint32_t           i, m, none, wrong, most, count;
    corral_balance_t  *b;

    setup(n, 100);
    b = create(n);
    count = up * 400;

    for (m = ROUND_ROBIN; m <= HASH; m++) {

        /* a whole block is down, as when a node dies */

        for (i = 0; i < n; i++) {
            down[i] = i >= up;
        }

        asked = 0;
        none = picks(b, m, n, count);

        for (i = 0, wrong = 0, most = 0; i < n; i++) {
            wrong += down[i] ? hits[i] : 0;
            most = hits[i] > most ? hits[i] : most;
        }

        snprintf(name, sizeof(name), "%s: %u of %u up: always found",
                 methods[m], up, n);
        ok(none == 0 && wrong == 0, name);

        within = 1.8;
        snprintf(name, sizeof(name), "%s: %u of %u up: nobody takes more than "
                 "%.1f shares (%u of 400), asked %.1f a pick", methods[m], up,
                 n, within, most, (double) asked / count);
        ok(most < 400 * within, name);
    }

    memset(down, 1, n);

    for (m = ROUND_ROBIN; m <= HASH; m++) {
        asked = 0;
        snprintf(name, sizeof(name), "%s: all %u down: none", methods[m], n);
        is_int(pick(b, m), CORRAL_BALANCE_NONE, name);
        snprintf(name, sizeof(name), "%s: all %u down: one scan", methods[m],
                 n);
        ok(asked >= n && asked <= n + CORRAL_BALANCE_DRAWS, name);
    }

    /* one is left: the scan finds it, wherever it is */

    for (m = ROUND_ROBIN; m <= HASH; m++) {
        for (i = 0, wrong = 0; i < 100; i++) {
            down[i * 7 % n] = 0;
            wrong += pick(b, m) != i * 7 % n;
            down[i * 7 % n] = 1;
        }

        snprintf(name, sizeof(name), "%s: the only one of %u", methods[m], n);
        is_int(wrong, 0, name);
    }
}


static void
bounds(void)
{
    uint32_t                m, i, failed;
    corral_balance_t       *b;
    corral_balance_view_t   all = { NULL, NULL, NULL, NULL };

    setup(3, 0);
    b = create(0);
    ok(b != NULL && pick(b, ROUND_ROBIN) == CORRAL_BALANCE_NONE, "no instance");
    b = create(3);

    for (m = ROUND_ROBIN; m <= HASH; m++) {
        is_int(pick(b, m), CORRAL_BALANCE_NONE, "weight 0 everywhere");
    }

    setup(300, 0);
    b = create(300);
    is_int(pick(b, HASH), CORRAL_BALANCE_NONE, "no weight on a ring");

    weights[7] = 1;
    b = create(300);

    for (m = ROUND_ROBIN; m <= HASH; m++) {
        picks(b, m, 300, 50);
        is_int(hits[7], 50, "the only weight of 300");
    }

    setup(1, 7);
    b = create(1);

    for (m = ROUND_ROBIN; m <= HASH; m++) {
        is_int(pick(b, m), 0, "one instance");
    }

    is_int(corral_balance_least_conn(b, &all, 1), 0, "view without callbacks");

    weights[0] = CORRAL_BALANCE_WEIGHT_MAX + 1;
    ok(create(1) == NULL, "a weight too great is refused");
    weights[0] = 1;
    ok(corral_balance_create(CORRAL_BALANCE_MAX + 1, weights, ids, ALL,
                             arena_alloc, NULL) == NULL,
       "too many instances are refused");

    setup(300, 3);
    weights[4] = 9;

    for (i = 0, failed = 0; i < 20; i++) {
        arena_limit = i;
        b = create(300);

        if (b) {
            break;
        }

        failed++;
    }

    arena_limit = 64;
    is_int(failed, 12, "no memory at any of its 12 allocations is NULL");
}


static void
build_time(void)
{
    double           ms;
    uint32_t         i;
    struct timespec  a, z;

    setup(N_MAX, 100);

    for (i = 0; i < N_MAX; i++) {
        weights[i] = 1 + next_random() % 1000;
    }

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    ok(create(N_MAX) != NULL, "10,000 instances of different weights");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &z);

    ms = (z.tv_sec - a.tv_sec) * 1e3 + (z.tv_nsec - a.tv_nsec) / 1e6;
    printf("# all structures built in %.2f ms of CPU\n", ms);
}


int
main(void)
{
    round_robin();
    by_chance();
    least_conn();
    two_choices();
    hash();
    bounded_hash();
    spilling();
    unavailable(10, 5);
    unavailable(64, 2);
    unavailable(1000, 500);
    unavailable(1000, 10);
    unavailable(10000, 100);
    bounds();
    build_time();
    arena_reset();

    return done_testing();
}
