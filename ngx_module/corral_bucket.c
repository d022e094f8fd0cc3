
/*
 * A token bucket, which the relay limits messages and bytes with.
 *
 * Tokens are counted in thousandths, so that a rate of tokens a second is one
 * of thousandths a millisecond and nothing is lost by rounding.  Who takes
 * bytes knows their number only afterwards: it spends them and goes into debt,
 * then waits until that is paid.
 *
 * Pure: the time is given, in milliseconds of any clock.  One that goes back
 * brings no tokens and costs none.
 */


#include "corral_bucket.h"


#define CORRAL_BUCKET_UNIT  1000


/* tokens at this time, not more than burst */

static int64_t
corral_bucket_at(const corral_bucket_t *b, uint64_t rate, uint64_t burst,
    uint64_t now)
{
    int64_t  full, tokens;

    full = (int64_t) (burst * CORRAL_BUCKET_UNIT);
    tokens = b->tokens;

    /* after a long sleep the product or the sum may not fit: then it is full */

    if (now > b->time
        && (__builtin_mul_overflow(now - b->time, rate, &tokens)
            || __builtin_add_overflow(tokens, b->tokens, &tokens)))
    {
        return full;
    }

    return tokens < full ? tokens : full;
}


static inline void
corral_bucket_set(corral_bucket_t *b, int64_t tokens, uint64_t now)
{
    b->tokens = tokens;

    if (now > b->time) {
        b->time = now;
    }
}


/* A full one. */

void
corral_bucket_init(corral_bucket_t *b, uint64_t burst, uint64_t now)
{
    b->tokens = (int64_t) (burst * CORRAL_BUCKET_UNIT);
    b->time = now;
}


/* Takes one token: 1, or 0 if there is none. */

int
corral_bucket_take(corral_bucket_t *b, uint64_t rate, uint64_t burst,
    uint64_t now)
{
    int64_t  tokens;

    tokens = corral_bucket_at(b, rate, burst, now);

    if (tokens < CORRAL_BUCKET_UNIT) {
        return 0;
    }

    corral_bucket_set(b, tokens - CORRAL_BUCKET_UNIT, now);

    return 1;
}


/* Takes n tokens (up to CORRAL_BUCKET_MAX), whether they are there or not. */

void
corral_bucket_spend(corral_bucket_t *b, uint64_t rate, uint64_t burst,
    uint64_t n, uint64_t now)
{
    corral_bucket_set(b, corral_bucket_at(b, rate, burst, now)
                         - (int64_t) (n * CORRAL_BUCKET_UNIT), now);
}


/*
 * Milliseconds until n tokens are there, 0 if they are; n is at most burst.
 * Never more than CORRAL_BUCKET_WAIT_MAX: then it is to be asked again.
 */

uint32_t
corral_bucket_wait(const corral_bucket_t *b, uint64_t rate, uint64_t burst,
    uint64_t n, uint64_t now)
{
    int64_t   tokens;
    uint64_t  lacking, wait;

    tokens = corral_bucket_at(b, rate, burst, now);

    if (tokens >= (int64_t) (n * CORRAL_BUCKET_UNIT)) {
        return 0;
    }

    if (rate == 0) {
        return CORRAL_BUCKET_WAIT_MAX;
    }

    lacking = (uint64_t) ((int64_t) (n * CORRAL_BUCKET_UNIT) - tokens);
    wait = (lacking + rate - 1) / rate;

    return wait < CORRAL_BUCKET_WAIT_MAX ? (uint32_t) wait
                                         : CORRAL_BUCKET_WAIT_MAX;
}
