
/*
 * The message with which a client renews its token.  See corral_renew.c.
 */


#ifndef _CORRAL_RENEW_H_INCLUDED_
#define _CORRAL_RENEW_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "corral_frame.h"


#define CORRAL_RENEW_TOKEN  8192    /* bytes of a token, at most */
#define CORRAL_RENEW_HOLD   48      /* of what is held back after MORE, less */

/* what corral_renew_find() returns */

#define CORRAL_RENEW_NONE   0
#define CORRAL_RENEW_MORE   1
#define CORRAL_RENEW_HERE   2


int corral_renew_find(const corral_frame_t *f, const uint8_t *p, size_t n,
    size_t *at, size_t *len);
size_t corral_renew_token(const uint8_t *p, size_t n,
    uint8_t token[CORRAL_RENEW_TOKEN]);


#endif /* _CORRAL_RENEW_H_INCLUDED_ */
