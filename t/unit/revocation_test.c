/* links: ngx_module/corral_revocation.c */

/*
 * The list of what is revoked: a new one replaces the old one, entries end, and
 * what the store has lost is kept, but not for ever.
 */


#include "../../ngx_module/corral_revocation.h"

#include "unit.h"


static void
entry(corral_revocation_t *r, int id, uint64_t expires)
{
    memset(r, 0, sizeof(*r));
    r->digest[0] = (uint8_t) (id * 37);
    r->digest[15] = (uint8_t) id;
    r->expires = expires;
}


static int
has(const corral_revocation_t *list, size_t n, int id, uint64_t now)
{
    corral_revocation_t  key;

    entry(&key, id, 0);

    return corral_revocation_find(list, n, key.digest, now);
}


int
main(void)
{
    int                   i, found;
    size_t                n, m;
    corral_revocation_t   one[100], two[200], three[300];

    memset(one, 0, sizeof(one));

    is_int(has(one, 0, 1, 10), 0, "nothing is revoked");

    for (i = 0; i < 100; i++) {
        entry(&one[i], i, i < 50 ? 100 : 200);
    }

    n = corral_revocation_merge(one, 100, NULL, 0, 0, 10);
    is_int((int64_t) n, 100, "all are taken");

    for (i = 0, found = 0; i < 100; i++) {
        found += has(one, n, i, 10);
    }

    is_int(found, 100, "and found");
    is_int(has(one, n, 100, 10), 0, "others are not");
    is_int(has(one, n, 7, 99), 1, "until its end");
    is_int(has(one, n, 7, 100), 0, "and not after it");

    /* the next list replaces it */

    entry(&two[0], 3, 300);
    m = corral_revocation_merge(two, 1, one, n, 0, 10);
    is_int((int64_t) m, 1, "what is no longer told is gone");

    /* the store was emptied: what lives is kept, the new one goes first */

    entry(&two[0], 60, 300);
    entry(&two[1], 101, 300);
    m = corral_revocation_merge(two, 2, one, n, 1, 150);
    is_int((int64_t) m, 51, "what was lost and lives is kept");
    is_int(has(two, m, 70, 150), 1, "is revoked");
    is_int(has(two, m, 60, 250), 1, "the new end counts");
    is_int(has(two, m, 7, 150), 0, "what has ended is not kept");

    /* and stays so with the lists that follow */

    entry(&three[0], 101, 300);
    n = corral_revocation_merge(three, 1, two, m, 0, 160);
    is_int(has(three, n, 70, 160), 1, "kept once more");
    is_int(has(three, n, 60, 160), 0, "but not what the store has undone");
    is_int((int64_t) corral_revocation_merge(one, 0, three, n, 0, 200), 0,
           "not for ever");

    return done_testing();
}
