
/*
 * Picking one of n instances: a schedule for round robin, an alias table for
 * weighted random, two choices for least connections and for the cheapest,
 * rendezvous hashing and a ring for hash.  corral_balance_build.c makes these.
 *
 * What changes all the time (ejected, full, load) is asked through the view,
 * for as few instances as can be.  A method draws at most 8 times; if none of
 * the drawn may be taken, all instances are looked at once, in an order that
 * starts and strides at random: so the instances that follow a dead node in
 * the list do not inherit all of its traffic.  That scan does not heed weights.
 *
 * Pure: no I/O, no clock, no random source of its own, no globals.
 *
 * Sources: M. Mitzenmacher 1996 (two choices); D. Thaler and C. Ravishankar
 * 1998, J. Schindelhauer and G. Schomaker 2005 (rendezvous hashing, and its
 * weights).
 */


#include "corral_balance_tables.h"


/* a walk over all instances in random order, each once */

typedef struct {
    uint32_t    i;
    uint32_t    stride;
    uint32_t    left;
} corral_balance_scan_t;


/* the better of two instances; the first if they are equal */

typedef uint32_t (*corral_balance_better_pt)(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t i, uint32_t k);


static uint32_t corral_balance_two(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random,
    corral_balance_better_pt better);
static uint32_t corral_balance_ring(const corral_balance_t *b, uint64_t key);
static uint32_t corral_balance_rendezvous(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key, uint64_t room);
static uint32_t corral_balance_least_exact(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random);


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


/* is the load of i below its share, rounded up, of the room for all? */

static inline int
corral_balance_fits(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t i, uint64_t room)
{
    return corral_balance_load(view, i)
           < (room * b->weights[i] + b->sum - 1) / b->sum;
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


static uint32_t
corral_balance_cheaper(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t i, uint32_t k)
{
    return view->cost(view->data, k) * b->weights[i]
           < view->cost(view->data, i) * b->weights[k] ? k : i;
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
    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    return b->n <= CORRAL_BALANCE_EXACT
           ? corral_balance_least_exact(b, view, random)
           : corral_balance_two(b, view, random, corral_balance_better);
}


/*
 * The less loaded for its weight of two random instances, however many there
 * are.  random: 64 fresh bits.  Returns as round robin.
 */

uint32_t
corral_balance_two_choices(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random)
{
    return corral_balance_two(b, view, random, corral_balance_better);
}


/*
 * The cheaper for its weight of two random instances, by view->cost.  random:
 * 64 fresh bits.  Returns as round robin.
 */

uint32_t
corral_balance_cheapest(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random)
{
    return corral_balance_two(b, view, random, corral_balance_cheaper);
}


static uint32_t
corral_balance_two(const corral_balance_t *b, const corral_balance_view_t *view,
    uint64_t random, corral_balance_better_pt better)
{
    uint32_t               i, first, draw, bits;
    corral_balance_scan_t  scan;

    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    first = CORRAL_BALANCE_NONE;

    for (draw = 0; draw < CORRAL_BALANCE_DRAWS; draw++) {
        bits = (uint32_t) (corral_balance_next(&random) >> 32);
        i = corral_balance_below(bits, b->n);

        if (i == first || !corral_balance_usable(b, view, i)) {
            continue;
        }

        if (first != CORRAL_BALANCE_NONE) {
            return better(b, view, first, i);
        }

        first = i;
    }

    if (first != CORRAL_BALANCE_NONE) {
        return first;
    }

    corral_balance_scan_start(&scan, b->n, corral_balance_next(&random));

    first = corral_balance_scan_next(b, view, &scan);
    i = corral_balance_scan_next(b, view, &scan);

    return i == CORRAL_BALANCE_NONE ? first : better(b, view, first, i);
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
        return corral_balance_rendezvous(b, view, key, 0);
    }

    i = corral_balance_ring(b, key);

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


/* the first point at or behind a key */

static uint32_t
corral_balance_ring(const corral_balance_t *b, uint64_t key)
{
    uint32_t  i;

    i = b->buckets[key >> b->shift];

    while (i < b->npoints && b->points[i] < key) {
        i++;
    }

    return i == b->npoints ? 0 : i;
}


/*
 * The instance of a key, as long as its load is below its bound: its share by
 * weight of factor percent of (total + 1), rounded up both times.  total is the
 * load of all instances.  What an instance does not take goes where random
 * numbers say that the key alone determines: for a key to the same place each
 * time, but not all its keys to one neighbour, who would overflow next.  If
 * eight such places are full, too, all are looked at once; if none has room
 * (others are down) the least loaded is taken.
 *
 * Sources: V. Mirrokni, M. Thorup, M. Zadimoghaddam 2016 (the bound); J. Chen,
 * B. Coleman, A. Shrivastava 2021 (random jumps instead of the next one).
 */

uint32_t
corral_balance_hash_bounded(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key, uint32_t total,
    uint32_t factor)
{
    uint32_t               i, draw;
    uint64_t               room, seed;
    corral_balance_scan_t  scan;

    if (b->n == 0) {
        return CORRAL_BALANCE_NONE;
    }

    room = (((uint64_t) total + 1) * factor + 99) / 100;
    seed = key;

    if (b->n <= CORRAL_BALANCE_RENDEZVOUS) {
        i = corral_balance_rendezvous(b, view, key, room);

        return i == CORRAL_BALANCE_NONE
               ? corral_balance_least_conn(b, view, corral_balance_mix(seed))
               : i;
    }

    i = corral_balance_hash(b, view, key);

    if (i == CORRAL_BALANCE_NONE || corral_balance_fits(b, view, i, room)) {
        return i;
    }

    for (draw = 0; draw < CORRAL_BALANCE_DRAWS; draw++) {
        i = b->owners[corral_balance_ring(b, corral_balance_next(&seed))];

        if (corral_balance_usable(b, view, i)
            && corral_balance_fits(b, view, i, room))
        {
            return i;
        }
    }

    corral_balance_scan_start(&scan, b->n, seed);

    do {
        i = corral_balance_scan_next(b, view, &scan);

        if (i == CORRAL_BALANCE_NONE) {
            return corral_balance_least_conn(b, view, seed);
        }

    } while (!corral_balance_fits(b, view, i, room));

    return i;
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
 * services, because keys move where another method takes over.  room: of a
 * bounded hash, else 0.
 */

static uint32_t
corral_balance_rendezvous(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key, uint64_t room)
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

        if (corral_balance_usable(b, view, i)
            && (room == 0 || corral_balance_fits(b, view, i, room)))
        {
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
