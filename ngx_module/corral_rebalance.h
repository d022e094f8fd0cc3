
/*
 * How many connections are to go from which instance to which.
 * See corral_rebalance.c.
 */


#ifndef _CORRAL_REBALANCE_H_INCLUDED_
#define _CORRAL_REBALANCE_H_INCLUDED_


#include <stdint.h>


/* one instance of those that share their load */

typedef struct {
    double      weight;                 /* > 0; its part of it, if it is new */
    uint32_t    load;                   /* of all gateways */
    uint32_t    own;                    /* of this one, at most load */
    uint32_t    limit;                  /* 0: none */

    unsigned    full;                   /* its limit is less than its part */
    uint32_t    share;                  /* what it should have */
    uint32_t    leave;                  /* so many of own are to leave it */
    uint32_t    come;                   /* so many are to come from others */
} corral_rebalance_t;


uint32_t corral_rebalance_plan(corral_rebalance_t *list, uint32_t n,
    uint32_t tolerance, double random);


#endif /* _CORRAL_REBALANCE_H_INCLUDED_ */
