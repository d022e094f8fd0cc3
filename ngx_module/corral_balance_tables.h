
/*
 * The tables that are built for one set of weights.  For corral_balance*.c
 * alone.
 */


#ifndef _CORRAL_BALANCE_TABLES_H_INCLUDED_
#define _CORRAL_BALANCE_TABLES_H_INCLUDED_


#include "corral_balance.h"


struct corral_balance_s {
    uint32_t    n;
    uint32_t    equal;       /* all weights are the same */
    uint64_t    sum;         /* of them */
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


#endif /* _CORRAL_BALANCE_TABLES_H_INCLUDED_ */
