
/*
 * Sessions whose id the agent makes: how a service says where its agents tell
 * it, and where it stands in an answer.  See corral_learn.c.
 */


#ifndef _CORRAL_LEARN_H_INCLUDED_
#define _CORRAL_LEARN_H_INCLUDED_


#include <stddef.h>


typedef enum {
    CORRAL_LEARN_HEADER,
    CORRAL_LEARN_COOKIE
} corral_learn_e;


typedef struct {
    corral_learn_e   where;
    const char      *name;          /* of the header or cookie */
    size_t           name_len;
} corral_learn_rule_t;


/* what a Set-Cookie says of one cookie; all point into it */

typedef struct {
    const char      *value;         /* as the client will send it */
    size_t           value_len;
    const char      *expires;       /* a date; empty if max_age is there */
    size_t           expires_len;
    int              ended;         /* no value, or max_age is over */
} corral_learn_cookie_t;


int corral_learn_rule(const char *s, size_t len, corral_learn_rule_t *rule);
int corral_learn_cookie(const char *s, size_t len,
    const corral_learn_rule_t *rule, corral_learn_cookie_t *cookie);


#endif /* _CORRAL_LEARN_H_INCLUDED_ */
