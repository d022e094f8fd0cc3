
/*
 * A table of sessions in memory that several processes share: which owner a
 * session has.  See corral_affinity.c.
 */


#ifndef _CORRAL_AFFINITY_H_INCLUDED_
#define _CORRAL_AFFINITY_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* zeroed memory is an empty entry */

typedef struct {
    volatile uint64_t    key;           /* hash of the session */
    volatile uint64_t    owner;         /* what the caller makes of it */
    volatile uint32_t    time;          /* seconds, of the last put */
    volatile uint32_t    check;         /* of the three */
} corral_affinity_entry_t;


typedef struct {
    corral_affinity_entry_t   *entries;
    size_t                     n;       /* a multiple of CORRAL_AFFINITY_WAYS */
} corral_affinity_t;


#define CORRAL_AFFINITY_WAYS  8


int corral_affinity_get(const corral_affinity_t *table, uint64_t key,
    uint32_t now, uint32_t ttl, uint64_t *owner, uint32_t *age);
void corral_affinity_put(const corral_affinity_t *table, uint64_t key,
    uint32_t now, uint64_t owner);
void corral_affinity_drop(const corral_affinity_t *table, uint64_t key);


#endif /* _CORRAL_AFFINITY_H_INCLUDED_ */
