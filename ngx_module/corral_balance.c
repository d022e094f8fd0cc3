
/*
 * Picking one of n instances: a schedule for round robin, an alias table for
 * weighted random, two choices for least connections, rendezvous hashing and a
 * ring for hash.
 *
 * Everything is built once and is immutable: a change of weights builds anew.
 * What changes all the time (ejected, full, load) is asked through the view,
 * for as few instances as can be.  A method draws at most 8 times; if none of
 * the drawn may be taken, all instances are looked at once, in an order that
 * starts and strides at random: so the instances that follow a dead node in
 * the list do not inherit all of its traffic.  That scan does not heed weights.
 *
 * Pure: no I/O, no clock, no random source of its own, no globals.  Memory
 * comes from the caller and is never given back here.
 *
 * Sources: A. J. Walker 1977 and M. D. Vose 1991 (alias tables);
 * M. Mitzenmacher 1996 (two choices); D. Karger et al. 1997 (rings); D. Thaler
 * and C. Ravishankar 1998, J. Schindelhauer and G. Schomaker 2005 (rendezvous
 * hashing, and its weights).
 */


#include "corral_balance.h"

#include <string.h>


struct corral_balance_s {
    uint32_t    n;
    uint32_t    equal;       /* all weights are the same */
    uint32_t   *weights;
    uint64_t   *ids;         /* rendezvous only */

    uint32_t   *schedule;    /* nslots of them; NULL if equal: 0 .. n - 1 */
    uint32_t    nslots;

    uint32_t   *threshold;   /* alias table, NULL if equal */
    uint32_t   *alias;

    uint32_t    npoints;     /* ring: points ascend, owners go with them */
    uint32_t    shift;       /* point >> shift is its bucket */
    uint64_t   *points;
    uint32_t   *owners;
    uint32_t   *buckets;     /* first point of each bucket, and npoints */
};


/* a walk over all instances in random order, each once */

typedef struct {
    uint32_t    i;
    uint32_t    stride;
    uint32_t    left;
} corral_balance_scan_t;


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
static uint32_t corral_balance_rendezvous(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key);
static uint32_t corral_balance_least_exact(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random);


/* the finalizer of MurmurHash3 (A. Appleby, public domain) */

static inline uint64_t
corral_balance_mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccd;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53;
    h ^= h >> 33;

    return h;
}


/* the next number of SplitMix64 (G. Steele, D. Lea, C. Flood 2014) */

static inline uint64_t
corral_balance_next(uint64_t *state)
{
    uint64_t  z;

    *state += 0x9e3779b97f4a7c15;
    z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;

    return z ^ (z >> 31);
}


/* 0 .. n - 1 from 32 random bits, without a division */

static inline uint32_t
corral_balance_below(uint32_t bits, uint32_t n)
{
    return (uint32_t) (((uint64_t) bits * n) >> 32);
}


static inline int
corral_balance_usable(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t i)
{
    return b->weights[i] && (view->ok == NULL || view->ok(view->data, i));
}


static inline uint32_t
corral_balance_load(const corral_balance_view_t *view, uint32_t i)
{
    return view->load ? view->load(view->data, i) : 0;
}


/* -1 if the first is less loaded for its weight, 1 if more, 0 if equal */

static inline int
corral_balance_compare(uint64_t load, uint64_t weight, uint64_t load2,
    uint64_t weight2)
{
    uint64_t  left, right;

    left = (load + 1) * weight2;
    right = (load2 + 1) * weight;

    return left < right ? -1 : left > right;
}


/* the less loaded of the two; i if they are equal */

static uint32_t
corral_balance_better(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t i, uint32_t k)
{
    return corral_balance_compare(corral_balance_load(view, k), b->weights[k],
                                  corral_balance_load(view, i), b->weights[i])
           < 0 ? k : i;
}


static void
corral_balance_scan_start(corral_balance_scan_t *scan, uint32_t n,
    uint64_t random)
{
    /* primes above CORRAL_BALANCE_MAX: a stride has no divisor with n */

    static const uint32_t  primes[8] = {
        15485863, 32452843, 49979687, 67867967,
        86028121, 104395301, 122949823, 141650939
    };

    scan->i = corral_balance_below((uint32_t) (random >> 32), n);
    scan->stride = primes[random & 7] % n;
    scan->left = n;
}


/* the next usable instance, CORRAL_BALANCE_NONE when all were seen */

static uint32_t
corral_balance_scan_next(const corral_balance_t *b,
    const corral_balance_view_t *view, corral_balance_scan_t *scan)
{
    uint32_t  i;

    while (scan->left) {
        i = scan->i;

        scan->left--;
        scan->i += scan->stride;

        if (scan->i >= b->n) {
            scan->i -= b->n;
        }

        if (corral_balance_usable(b, view, i)) {
            return i;
        }
    }

    return CORRAL_BALANCE_NONE;
}


static uint32_t
corral_balance_scan(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random)
{
    corral_balance_scan_t  scan;

    corral_balance_scan_start(&scan, b->n, random);

    return corral_balance_scan_next(b, view, &scan);
}


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
 * Round robin by weight.  *cursor goes on with each draw, atomically: it may
 * lie in shared memory, and must be the one that all share, not a copy (with a
 * copy that goes on by one a pick, the instance behind one that is down gets
 * its share too).  It may start anywhere and is kept over generations, else the
 * first instances win with each change.  random: 64 fresh bits, used by the
 * scan alone.  Returns an index, or CORRAL_BALANCE_NONE if no instance may be
 * taken.
 */

uint32_t
corral_balance_round_robin(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t *cursor, uint64_t random)
{
    uint32_t  i, draw;

    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    for (draw = 0; draw < CORRAL_BALANCE_DRAWS; draw++) {
        i = __atomic_fetch_add(cursor, 1, __ATOMIC_RELAXED) % b->nslots;

        if (b->schedule) {
            i = b->schedule[i];
        }

        if (corral_balance_usable(b, view, i)) {
            return i;
        }
    }

    return corral_balance_scan(b, view, random);
}


/* Random by weight; random: 64 fresh bits.  Returns as round robin. */

uint32_t
corral_balance_random(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random)
{
    uint32_t  i, draw;
    uint64_t  bits;

    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    for (draw = 0; draw < CORRAL_BALANCE_DRAWS; draw++) {
        bits = corral_balance_next(&random);
        i = corral_balance_below((uint32_t) (bits >> 32), b->n);

        if (b->threshold && (uint32_t) bits >= b->threshold[i]) {
            i = b->alias[i];
        }

        if (corral_balance_usable(b, view, i)) {
            return i;
        }
    }

    return corral_balance_scan(b, view, corral_balance_next(&random));
}


/*
 * Least connections by weight: the smallest (load + 1) / weight.  To 64
 * instances all are looked at, and one of the equals is taken by chance; above,
 * the better of two random ones, which is nearly as even and, when several
 * workers decide on counts of a moment ago, does not send them all to the same
 * one.  random: 64 fresh bits.  Returns as round robin.
 */

uint32_t
corral_balance_least_conn(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random)
{
    uint32_t               i, first, draw, bits;
    corral_balance_scan_t  scan;

    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    if (b->n <= CORRAL_BALANCE_EXACT) {
        return corral_balance_least_exact(b, view, random);
    }

    first = CORRAL_BALANCE_NONE;

    for (draw = 0; draw < CORRAL_BALANCE_DRAWS; draw++) {
        bits = (uint32_t) (corral_balance_next(&random) >> 32);
        i = corral_balance_below(bits, b->n);

        if (i == first || !corral_balance_usable(b, view, i)) {
            continue;
        }

        if (first != CORRAL_BALANCE_NONE) {
            return corral_balance_better(b, view, first, i);
        }

        first = i;
    }

    if (first != CORRAL_BALANCE_NONE) {
        return first;
    }

    corral_balance_scan_start(&scan, b->n, corral_balance_next(&random));

    first = corral_balance_scan_next(b, view, &scan);
    i = corral_balance_scan_next(b, view, &scan);

    return i == CORRAL_BALANCE_NONE ? first
                                    : corral_balance_better(b, view, first, i);
}


static uint32_t
corral_balance_least_exact(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random)
{
    int       rc;
    uint32_t  i, best, load, best_load, equals;

    best = CORRAL_BALANCE_NONE;
    best_load = 0;
    equals = 0;

    for (i = 0; i < b->n; i++) {
        load = corral_balance_load(view, i);

        if (best != CORRAL_BALANCE_NONE) {
            rc = corral_balance_compare(load, b->weights[i], best_load,
                                        b->weights[best]);
            if (rc > 0) {
                continue;
            }

        } else {
            rc = -1;
        }

        if (!corral_balance_usable(b, view, i)) {
            continue;
        }

        /* the k-th of equals replaces the one before with chance 1/k */

        equals = rc < 0 ? 1 : equals + 1;

        if (equals > 1
            && corral_balance_next(&random) % equals != 0)
        {
            continue;
        }

        best = i;
        best_load = load;
    }

    return best;
}


/*
 * The instance of a key: the same on every gateway, whatever the order of the
 * instances, as long as ids and weights are the same.  An instance that may not
 * be taken hands its keys to those that would have them without it.  key:
 * corral_balance_key() of what is hashed.  Returns as round robin.
 *
 * For a bounded hash let view->ok refuse instances whose load is above their
 * bound, ceil(factor * (total load + 1) * weight / sum of weights).
 */

uint32_t
corral_balance_hash(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key)
{
    uint32_t  i, draw;

    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    if (b->n <= CORRAL_BALANCE_RENDEZVOUS) {
        return corral_balance_rendezvous(b, view, key);
    }

    i = b->buckets[key >> b->shift];

    while (i < b->npoints && b->points[i] < key) {
        i++;
    }

    for (draw = 0; draw < CORRAL_BALANCE_DRAWS; draw++, i++) {
        if (i == b->npoints) {
            i = 0;
        }

        if (corral_balance_usable(b, view, b->owners[i])) {
            return b->owners[i];
        }
    }

    return corral_balance_scan(b, view, corral_balance_mix(key));
}


/*
 * -ln(h / 2^64) within 1e-8: from the exponent and the series of artanh.  Not
 * libm's, so that all gateways and compilers agree.
 */

static double
corral_balance_exponential(uint64_t h)
{
    int       zeros;
    double    m, s, q;

    h |= 1;
    zeros = __builtin_clzll(h);
    m = (double) ((h << zeros) >> 11) * 0x1p-53;        /* 0.5 <= m < 1 */
    m *= 1.4142135623730951;                            /* 0.7 .. 1.42 */

    s = (m - 1.0) / (m + 1.0);
    q = s * s;
    s *= 2.0 + q * (2.0 / 3 + q * (2.0 / 5 + q * (2.0 / 7 + q * (2.0 / 9))));

    return (zeros + 0.5) * 0.6931471805599453 - s;
}


/*
 * Rendezvous hashing: each instance draws a number for the key, exponentially
 * distributed with its weight as rate; the smallest wins.  It needs no memory
 * and is exact, at the cost of O(n); the bound of 256 lies far above most
 * services, because keys move where another method takes over.
 */

static uint32_t
corral_balance_rendezvous(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key)
{
    double    score, best_score;
    uint32_t  i, best;
    uint64_t  h;

    best = CORRAL_BALANCE_NONE;
    best_score = 0.0;

    for (i = 0; i < b->n; i++) {
        if (b->weights[i] == 0) {
            continue;
        }

        h = corral_balance_mix(key ^ b->ids[i]);
        score = b->equal ? -(double) h
                         : corral_balance_exponential(h) / b->weights[i];

        if (best != CORRAL_BALANCE_NONE && score >= best_score) {
            continue;
        }

        if (corral_balance_usable(b, view, i)) {
            best = i;
            best_score = score;
        }
    }

    return best;
}


/*
 * A 64-bit hash of a key or an id: FNV-1a (G. Fowler, L. Noll, K.-P. Vo) with
 * the finalizer of MurmurHash3, without which the upper bits of short keys are
 * poor.  Not for use against an adversary who chooses keys.
 */

uint64_t
corral_balance_key(const void *data, size_t len)
{
    size_t          i;
    uint64_t        h;
    const uint8_t  *p;

    p = data;
    h = 0xcbf29ce484222325;

    for (i = 0; i < len; i++) {
        h = (h ^ p[i]) * 0x100000001b3;
    }

    return corral_balance_mix(h);
}


/* Length of one turn of round robin, in picks. */

uint32_t
corral_balance_slots(const corral_balance_t *b)
{
    return b->nslots;
}
