
/*
 * Building what picking reads: a schedule for round robin, an alias table for
 * weighted random, a ring for hash.  Everything is built once and is immutable:
 * a change of weights builds anew.
 *
 * Pure: no I/O, no clock, no globals.  Memory comes from the caller and is
 * never given back here.
 *
 * Sources: A. J. Walker 1977 and M. D. Vose 1991 (alias tables); D. Karger et
 * al. 1997 (rings).
 */


#include "corral_balance_tables.h"

#include <string.h>


typedef struct {
    void                     *data;
    corral_balance_alloc_pt   alloc;
} corral_balance_arena_t;


static int corral_balance_build_schedule(corral_balance_t *b,
    corral_balance_arena_t *arena);
static int corral_balance_build_alias(corral_balance_t *b,
    corral_balance_arena_t *arena);
static int corral_balance_build_ring(corral_balance_t *b, const uint64_t *ids,
    corral_balance_arena_t *arena);


static inline void *
corral_balance_alloc(corral_balance_arena_t *arena, size_t n, size_t size)
{
    return arena->alloc(arena->data, n * size);
}


/*
 * Builds for n instances; weights and ids are copied.  ids are stable hashes of
 * the instances' names, corral_balance_key(); they are needed for hash only,
 * else NULL.  methods: what is built, an OR of CORRAL_BALANCE_*.  Weight 0: the
 * instance is never picked.  Returns NULL when there is no memory, for more
 * than CORRAL_BALANCE_MAX instances and for a weight above
 * CORRAL_BALANCE_WEIGHT_MAX.
 *
 * Memory: 4 bytes an instance; a schedule or an alias table only for unequal
 * weights (8 bytes a slot, 20 an instance); for hash 8 bytes an instance or,
 * above 256 instances, a ring of up to 1 MB.  Time is O(n + slots + points).
 */

corral_balance_t *
corral_balance_create(uint32_t n, const uint32_t *weights, const uint64_t *ids,
    unsigned methods, corral_balance_alloc_pt alloc, void *data)
{
    uint32_t                i;
    corral_balance_t       *b;
    corral_balance_arena_t  arena;

    arena.alloc = alloc;
    arena.data = data;

    if (n > CORRAL_BALANCE_MAX) {
        return NULL;
    }

    b = corral_balance_alloc(&arena, 1, sizeof(corral_balance_t));
    if (b == NULL) {
        return NULL;
    }

    memset(b, 0, sizeof(corral_balance_t));

    b->weights = corral_balance_alloc(&arena, n + 1, sizeof(uint32_t));
    if (b->weights == NULL) {
        return NULL;
    }

    b->equal = 1;

    for (i = 0; i < n; i++) {
        if (weights[i] > CORRAL_BALANCE_WEIGHT_MAX) {
            return NULL;
        }

        b->weights[i] = weights[i];
        b->sum += weights[i];
        b->equal &= weights[i] == weights[0];
        b->n = weights[i] ? n : b->n;    /* stays 0 if there is none at all */
    }

    b->nslots = b->n;

    if (b->n == 0) {
        return b;
    }

    if (!b->equal && (methods & CORRAL_BALANCE_ROUND_ROBIN)
        && corral_balance_build_schedule(b, &arena) != 0)
    {
        return NULL;
    }

    if (!b->equal && (methods & CORRAL_BALANCE_RANDOM)
        && corral_balance_build_alias(b, &arena) != 0)
    {
        return NULL;
    }

    if ((methods & CORRAL_BALANCE_HASH)
        && corral_balance_build_ring(b, ids, &arena) != 0)
    {
        return NULL;
    }

    return b;
}


static uint32_t
corral_balance_gcd(uint32_t a, uint32_t b)
{
    uint32_t  t;

    while (b) {
        t = a % b;
        a = b;
        b = t;
    }

    return a;
}


/*
 * How many slots each instance gets in one turn of the schedule: its weight
 * divided by what all weights have in common.  If the turn would be longer than
 * CORRAL_BALANCE_SLOTS (or four times the instances), weights are scaled down
 * to that length and rounded to the nearest slot, but never to none.
 */

static uint32_t
corral_balance_share(const corral_balance_t *b, uint32_t *slots)
{
    uint32_t  i, gcd;
    uint64_t  sum, max, total;

    gcd = 0;
    sum = 0;

    for (i = 0; i < b->n; i++) {
        gcd = corral_balance_gcd(gcd, b->weights[i]);
        sum += b->weights[i];
    }

    max = 4 * (uint64_t) b->n;
    max = max < CORRAL_BALANCE_SLOTS ? CORRAL_BALANCE_SLOTS : max;
    total = 0;

    for (i = 0; i < b->n; i++) {
        if (sum / gcd <= max) {
            slots[i] = b->weights[i] / gcd;

        } else {
            slots[i] = (uint32_t) ((b->weights[i] * max + sum / 2) / sum);
            slots[i] += slots[i] == 0 && b->weights[i];
        }

        total += slots[i];
    }

    return (uint32_t) total;
}


/*
 * The slots of an instance lie evenly over the turn, those of different
 * instances begin at different points (multiples of the golden ratio), so that
 * instances of small weight do not meet.  That is smooth weighted round robin
 * in O(slots); computing it step by step would be O(slots * n), too long for an
 * event loop.  Slots are sorted by counting; the order within one bucket, the
 * width of one slot, does not matter.
 */

static int
corral_balance_build_schedule(corral_balance_t *b,
    corral_balance_arena_t *arena)
{
    double     at, step;
    uint32_t   i, k, pass, slot, *slots, *next;

    slots = corral_balance_alloc(arena, b->n, sizeof(uint32_t));
    if (slots == NULL) {
        return -1;
    }

    b->nslots = corral_balance_share(b, slots);

    b->schedule = corral_balance_alloc(arena, b->nslots, sizeof(uint32_t));
    next = corral_balance_alloc(arena, b->nslots + 1, sizeof(uint32_t));

    if (b->schedule == NULL || next == NULL) {
        return -1;
    }

    memset(next, 0, (b->nslots + 1) * sizeof(uint32_t));

    /* first count, then place */

    for (pass = 0; pass < 2; pass++) {

        for (i = 0; i < b->n; i++) {
            if (slots[i] == 0) {
                continue;
            }

            step = (double) b->nslots / slots[i];
            at = (i + 1) * 0.6180339887498949;
            at = (at - (double) (uint32_t) at) * step;

            for (k = 0; k < slots[i]; k++, at += step) {
                slot = (uint32_t) at < b->nslots ? (uint32_t) at
                                                 : b->nslots - 1;

                if (pass == 0) {
                    next[slot + 1]++;

                } else {
                    b->schedule[next[slot]++] = i;
                }
            }
        }

        for (k = 0; pass == 0 && k < b->nslots; k++) {
            next[k + 1] += next[k];
        }
    }

    return 0;
}


/*
 * Vose's alias table: column i is taken with probability 1/n; then i itself if
 * 32 random bits are below threshold[i], else alias[i].
 */

static int
corral_balance_build_alias(corral_balance_t *b, corral_balance_arena_t *arena)
{
    double     mean, *share;
    uint32_t   i, small, large, *stack;
    uint64_t   sum;

    b->threshold = corral_balance_alloc(arena, b->n, sizeof(uint32_t));
    b->alias = corral_balance_alloc(arena, b->n, sizeof(uint32_t));
    stack = corral_balance_alloc(arena, b->n, sizeof(uint32_t));
    share = corral_balance_alloc(arena, b->n, sizeof(double));

    if (b->threshold == NULL || b->alias == NULL || stack == NULL
        || share == NULL)
    {
        return -1;
    }

    for (sum = 0, i = 0; i < b->n; i++) {
        sum += b->weights[i];
    }

    /* columns below the mean from the left, the others from the right */

    mean = (double) sum / b->n;
    small = 0;
    large = b->n;

    for (i = 0; i < b->n; i++) {
        share[i] = b->weights[i] / mean;
        stack[share[i] < 1.0 ? small++ : --large] = i;
        b->threshold[i] = UINT32_MAX;
        b->alias[i] = i;
    }

    while (small > 0 && large < b->n) {
        i = stack[--small];
        b->threshold[i] = (uint32_t) (share[i] * UINT32_MAX);
        b->alias[i] = stack[large];

        share[stack[large]] -= 1.0 - share[i];

        if (share[stack[large]] < 1.0) {
            stack[small++] = stack[large++];
        }
    }

    return 0;
}


/* point k of an instance on the ring */

static inline uint64_t
corral_balance_point(uint64_t id, uint32_t k)
{
    return corral_balance_mix(id + k * 0x9e3779b97f4a7c15);
}


/*
 * Points of each instance: 128 for a weight that is a power of two and the
 * largest, in proportion for the others, so that they do not depend on how many
 * instances there are; halved for all until the ring is within its bound.  Keys
 * move in numbers only where this halving begins (655 instances of the default
 * weight, 1310, ...), between 256 and 257 instances, and when the largest
 * weight passes a power of two.
 */

static uint32_t
corral_balance_points(const corral_balance_t *b, uint32_t i, uint32_t max,
    uint32_t halved)
{
    uint32_t  points;

    points = b->weights[i] * 128 / max >> halved;

    return points == 0 && b->weights[i] ? 1 : points;
}


/* the sum of it; *halved is how often the points were halved */

static uint32_t
corral_balance_ring_size(const corral_balance_t *b, uint32_t max,
    uint32_t *halved)
{
    uint32_t  i;
    uint64_t  total;

    for (*halved = 0; /* void */ ; (*halved)++) {

        for (total = 0, i = 0; i < b->n; i++) {
            total += corral_balance_points(b, i, max, *halved);
        }

        if (total <= CORRAL_BALANCE_POINTS || *halved == 7) {
            return (uint32_t) total;
        }
    }
}


/* sorts the points of one bucket, of which there are one or two */

static void
corral_balance_sort(uint64_t *points, uint32_t *owners, uint32_t n)
{
    uint32_t  i, k, owner;
    uint64_t  point;

    for (i = 1; i < n; i++) {
        point = points[i];
        owner = owners[i];

        for (k = i; k > 0 && points[k - 1] > point; k--) {
            points[k] = points[k - 1];
            owners[k] = owners[k - 1];
        }

        points[k] = point;
        owners[k] = owner;
    }
}


static int
corral_balance_build_ring(corral_balance_t *b, const uint64_t *ids,
    corral_balance_arena_t *arena)
{
    uint32_t   i, k, max, halved, bits, bucket, pass, at, *first;
    uint64_t   point;

    if (b->n <= CORRAL_BALANCE_RENDEZVOUS) {
        b->ids = corral_balance_alloc(arena, b->n, sizeof(uint64_t));
        if (b->ids == NULL) {
            return -1;
        }

        memcpy(b->ids, ids, b->n * sizeof(uint64_t));
        return 0;
    }

    for (max = 1, i = 0; i < b->n; i++) {
        while (max < b->weights[i]) {
            max *= 2;
        }
    }

    b->npoints = corral_balance_ring_size(b, max, &halved);

    for (bits = 1; (1u << bits) < b->npoints; bits++) { /* void */ }

    b->shift = 64 - bits;
    b->points = corral_balance_alloc(arena, b->npoints, sizeof(uint64_t));
    b->owners = corral_balance_alloc(arena, b->npoints, sizeof(uint32_t));
    first = corral_balance_alloc(arena, (1u << bits) + 2, sizeof(uint32_t));

    if (b->points == NULL || b->owners == NULL || first == NULL) {
        return -1;
    }

    memset(first, 0, ((1u << bits) + 2) * sizeof(uint32_t));

    /*
     * First count, then place.  Counts stand two buckets further on: summed
     * up, first[bucket + 1] is where the bucket begins, and when all is placed
     * where the next one begins.
     */

    for (pass = 0; pass < 2; pass++) {

        for (i = 0; i < b->n; i++) {
            at = corral_balance_points(b, i, max, halved);

            for (k = 0; k < at; k++) {
                point = corral_balance_point(ids[i], k);
                bucket = (uint32_t) (point >> b->shift);

                if (pass == 0) {
                    first[bucket + 2]++;
                    continue;
                }

                b->points[first[bucket + 1]] = point;
                b->owners[first[bucket + 1]++] = i;
            }
        }

        for (k = 0; pass == 0 && k <= 1u << bits; k++) {
            first[k + 1] += first[k];
        }
    }

    b->buckets = first;

    for (k = 0; k < 1u << bits; k++) {
        corral_balance_sort(b->points + first[k], b->owners + first[k],
                            first[k + 1] - first[k]);
    }

    return 0;
}


/*
 * How much of the traffic each of n tiers takes, the first one first.  A tier
 * whose ready instances are threshold percent of its total or more takes all
 * that is left; with fewer it takes the same part of all that they are of the
 * threshold.  threshold 0: one ready instance is enough.  What nobody can take
 * is divided among all as the rest was.  until[i] is the end of the draws of
 * tier i, of CORRAL_BALANCE_DRAW; the last is just that, unless nothing is
 * ready at all: then all are 0.
 */

void
corral_balance_tiers(uint32_t n, const uint32_t *ready, const uint32_t *total,
    uint32_t threshold, uint32_t *until)
{
    uint32_t  i, sum;
    uint64_t  part;

    for (i = 0, sum = 0; i < n; i++) {
        part = CORRAL_BALANCE_DRAW - sum;

        if (ready[i] == 0) {
            part = 0;

        } else if ((uint64_t) ready[i] * 100
                   < (uint64_t) total[i] * threshold)
        {
            part = (uint64_t) ready[i] * 100 * CORRAL_BALANCE_DRAW
                   / ((uint64_t) total[i] * threshold);
            part += part == 0;

            if (part > CORRAL_BALANCE_DRAW - sum) {
                part = CORRAL_BALANCE_DRAW - sum;
            }
        }

        sum += (uint32_t) part;
        until[i] = sum;
    }

    for (i = 0; i < n && sum; i++) {
        until[i] = (uint32_t) ((uint64_t) until[i] * CORRAL_BALANCE_DRAW
                               / sum);
    }
}
