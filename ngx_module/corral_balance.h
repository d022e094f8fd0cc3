
/*
 * Picking one of n instances: structures that are built once for a set of
 * weights and never change, and one function per method that picks in O(1),
 * above 64 (least_conn) or 256 (hash) instances.  See corral_balance.c.
 */


#ifndef _CORRAL_BALANCE_H_INCLUDED_
#define _CORRAL_BALANCE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_BALANCE_NONE         0xffffffff   /* nothing can be picked */

/* for which methods to build; the others need the weights only */

#define CORRAL_BALANCE_ROUND_ROBIN  0x01
#define CORRAL_BALANCE_LEAST_CONN   0x02
#define CORRAL_BALANCE_HASH         0x04
#define CORRAL_BALANCE_RANDOM       0x08

#define CORRAL_BALANCE_MAX          1000000      /* instances */
#define CORRAL_BALANCE_WEIGHT_MAX   65535
#define CORRAL_BALANCE_DRAWS        8            /* before the scan */
#define CORRAL_BALANCE_EXACT        64           /* least_conn looks at all */
#define CORRAL_BALANCE_RENDEZVOUS   256          /* hash without a ring */
#define CORRAL_BALANCE_SLOTS        4096         /* of a schedule, or 4 n */
#define CORRAL_BALANCE_DRAW         65536        /* of a tier: below this */
#define CORRAL_BALANCE_POINTS       65536        /* of a ring, or n */


typedef struct corral_balance_s  corral_balance_t;


/* returns size bytes, aligned for any type, or NULL */
typedef void *(*corral_balance_alloc_pt)(void *data, size_t size);


/*
 * What the instances are like now.  ok says whether instance i may be taken
 * (not ejected, not full, not tried before); NULL: all may.  It only looks: it
 * is called for instances that are then not picked.  load is the number of
 * connections, for least_conn, two_choices and a bounded hash; cost, for
 * cheapest, is what one more connection would cost.
 */

typedef struct {
    int         (*ok)(void *data, uint32_t i);
    uint32_t    (*load)(void *data, uint32_t i);
    double      (*cost)(void *data, uint32_t i);
    void         *data;
} corral_balance_view_t;


corral_balance_t *corral_balance_create(uint32_t n, const uint32_t *weights,
    const uint64_t *ids, unsigned methods, corral_balance_alloc_pt alloc,
    void *data);

uint32_t corral_balance_round_robin(const corral_balance_t *b,
    const corral_balance_view_t *view, uint32_t *cursor, uint64_t random);
uint32_t corral_balance_random(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random);
uint32_t corral_balance_least_conn(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random);
uint32_t corral_balance_two_choices(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random);
uint32_t corral_balance_cheapest(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t random);
uint32_t corral_balance_hash(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key);
uint32_t corral_balance_hash_bounded(const corral_balance_t *b,
    const corral_balance_view_t *view, uint64_t key, uint32_t total,
    uint32_t factor);

void corral_balance_tiers(uint32_t n, const uint32_t *ready,
    const uint32_t *total, uint32_t threshold, uint32_t *until);

uint64_t corral_balance_key(const void *data, size_t len);
uint32_t corral_balance_slots(const corral_balance_t *b);


#endif /* _CORRAL_BALANCE_H_INCLUDED_ */
