
/*
 * What is revoked: a sorted list of digests, each with the time of its end.  A
 * list that the store tells replaces the one before, but for entries that the
 * store itself has lost: these stay until their end.
 *
 * Pure: no clock, no globals, no memory of its own.
 */


#include "corral_revocation.h"

#include <stdlib.h>
#include <string.h>


static int
corral_revocation_compare(const void *one, const void *two)
{
    const corral_revocation_t *a = one;
    const corral_revocation_t *b = two;

    return memcmp(a->digest, b->digest, CORRAL_REVOCATION_DIGEST);
}


static const corral_revocation_t *
corral_revocation_search(const corral_revocation_t *list, size_t n,
    const uint8_t *digest)
{
    corral_revocation_t  key;

    if (n == 0) {
        return NULL;
    }

    memcpy(key.digest, digest, CORRAL_REVOCATION_DIGEST);

    return bsearch(&key, list, n, sizeof(corral_revocation_t),
                   corral_revocation_compare);
}


/*
 * Sorts the n entries of list, each of which is there once, and adds those of
 * old, a list made by this function, that live still and were kept; with lost
 * all of them, which are kept from now on.  list has room for n + nold.
 * Returns how many it has.
 */

size_t
corral_revocation_merge(corral_revocation_t *list, size_t n,
    const corral_revocation_t *old, size_t nold, int lost, uint64_t now)
{
    size_t  i, all;

    qsort(list, n, sizeof(corral_revocation_t), corral_revocation_compare);

    all = n;

    for (i = 0; i < nold; i++) {

        if ((!lost && !old[i].kept) || old[i].expires <= now
            || corral_revocation_search(list, n, old[i].digest))
        {
            continue;
        }

        list[all] = old[i];
        list[all++].kept = 1;
    }

    if (all > n) {
        qsort(list, all, sizeof(corral_revocation_t),
              corral_revocation_compare);
    }

    return all;
}


/* Returns 1 if the digest is in a list made by merge and has not ended. */

int
corral_revocation_find(const corral_revocation_t *list, size_t n,
    const uint8_t *digest, uint64_t now)
{
    const corral_revocation_t  *found;

    found = corral_revocation_search(list, n, digest);

    return found && found->expires > now;
}
