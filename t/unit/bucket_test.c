/* links: ngx_module/corral_bucket.c */

/* Token buckets: bursts, refills, debts, and clocks that misbehave. */


#include "../../ngx_module/corral_bucket.h"

#include "unit.h"


static int
taken(corral_bucket_t *b, uint64_t rate, uint64_t burst, int n, uint64_t now)
{
    int  i, got;

    got = 0;

    for (i = 0; i < n; i++) {
        got += corral_bucket_take(b, rate, burst, now);
    }

    return got;
}


static void
rates(void)
{
    int              i, got;
    corral_bucket_t  b;

    corral_bucket_init(&b, 5, 1000);
    is_int(taken(&b, 10, 5, 9, 1000), 5, "the burst, no more");
    is_int(taken(&b, 10, 5, 9, 1099), 0, "99 ms bring none at 10/s");
    is_int(taken(&b, 10, 5, 9, 1100), 1, "100 ms bring one");
    is_int(taken(&b, 10, 5, 9, 1350), 2, "250 ms bring two and a half");
    is_int(taken(&b, 10, 5, 9, 1400), 1, "the half was kept");
    is_int(taken(&b, 10, 5, 9, 900000), 5, "a long rest brings the burst");

    corral_bucket_init(&b, 1, 0);
    got = 0;

    for (i = 0; i < 10000; i++) {
        got += taken(&b, 3, 1, 2, (uint64_t) i);
    }

    is_int(got, 30, "3/s over 10 s: no rounding adds up");
}


static void
debts(void)
{
    corral_bucket_t  b;

    corral_bucket_init(&b, 1000, 0);
    is_int(corral_bucket_wait(&b, 1000, 1000, 1000, 0), 0, "full");
    corral_bucket_spend(&b, 1000, 1000, 3000, 0);
    is_int(corral_bucket_wait(&b, 1000, 1000, 0, 0), 2000, "to pay the debt");
    is_int(corral_bucket_wait(&b, 1000, 1000, 1, 0), 2001, "and have one");
    is_int(corral_bucket_wait(&b, 1000, 1000, 0, 1999), 1, "nearly paid");
    is_int(corral_bucket_wait(&b, 1000, 1000, 0, 2000), 0, "paid");
    is_int(taken(&b, 1000, 1000, 3, 2002), 2, "two after it");

    corral_bucket_init(&b, CORRAL_BUCKET_MAX, 0);
    corral_bucket_spend(&b, 1, CORRAL_BUCKET_MAX, CORRAL_BUCKET_MAX, 0);
    corral_bucket_spend(&b, 1, CORRAL_BUCKET_MAX, CORRAL_BUCKET_MAX, 0);
    is_int(corral_bucket_wait(&b, 1, CORRAL_BUCKET_MAX, 0, 0),
           CORRAL_BUCKET_WAIT_MAX, "a wait is bounded");
    is_int(corral_bucket_wait(&b, CORRAL_BUCKET_MAX, CORRAL_BUCKET_MAX, 0,
                              UINT64_MAX), 0, "the longest sleep");
}


static void
clocks(void)
{
    corral_bucket_t  b;

    corral_bucket_init(&b, 2, 5000);
    is_int(taken(&b, 1, 2, 3, 5000), 2, "the burst");
    is_int(taken(&b, 1, 2, 3, 1000), 0, "a clock that goes back: none");
    is_int(taken(&b, 1, 2, 3, 6000), 1, "and none for the way forth");

    corral_bucket_init(&b, 10, 0);
    is_int(taken(&b, 0, 10, 20, 1000000), 10, "rate 0: the burst alone");
    is_int(corral_bucket_wait(&b, 0, 10, 1, 0), CORRAL_BUCKET_WAIT_MAX,
           "rate 0: never");

    corral_bucket_init(&b, 10, 0);
    is_int(taken(&b, 1, 3, 20, 0), 3, "a burst that was lowered");
}


int
main(void)
{
    rates();
    debts();
    clocks();

    return done_testing();
}
