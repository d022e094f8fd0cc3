
/*
 * What is revoked, as a sorted list of digests.  See corral_revocation.c.
 */


#ifndef _CORRAL_REVOCATION_H_INCLUDED_
#define _CORRAL_REVOCATION_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_REVOCATION_DIGEST  16


typedef struct {
    uint8_t     digest[CORRAL_REVOCATION_DIGEST];   /* of kind and name */
    uint64_t    expires:63;                         /* unix time */
    uint64_t    kept:1;          /* the store has lost it, we have not */
} corral_revocation_t;


size_t corral_revocation_merge(corral_revocation_t *list, size_t n,
    const corral_revocation_t *old, size_t nold, int lost, uint64_t now);
int corral_revocation_find(const corral_revocation_t *list, size_t n,
    const uint8_t *digest, uint64_t now);


#endif /* _CORRAL_REVOCATION_H_INCLUDED_ */
