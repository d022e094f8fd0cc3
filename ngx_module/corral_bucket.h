
/*
 * A token bucket: rate tokens come in a second, up to burst of them are kept.
 * See corral_bucket.c.
 */


#ifndef _CORRAL_BUCKET_H_INCLUDED_
#define _CORRAL_BUCKET_H_INCLUDED_


#include <stdint.h>


#define CORRAL_BUCKET_MAX       4294967296   /* of a rate, a burst, a spend */
#define CORRAL_BUCKET_WAIT_MAX  3600000      /* ms */


typedef struct {
    int64_t     tokens;        /* thousandths; below zero: a debt */
    uint64_t    time;          /* ms, of the last refill */
} corral_bucket_t;


void corral_bucket_init(corral_bucket_t *b, uint64_t burst, uint64_t now);
int corral_bucket_take(corral_bucket_t *b, uint64_t rate, uint64_t burst,
    uint64_t now);
void corral_bucket_spend(corral_bucket_t *b, uint64_t rate, uint64_t burst,
    uint64_t n, uint64_t now);
uint32_t corral_bucket_wait(const corral_bucket_t *b, uint64_t rate,
    uint64_t burst, uint64_t n, uint64_t now);


#endif /* _CORRAL_BUCKET_H_INCLUDED_ */
