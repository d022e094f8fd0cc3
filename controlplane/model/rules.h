
/*
 * Rules that no row of the schema can say.  See rules.c.
 */


#ifndef _CORRALD_RULES_H_INCLUDED_
#define _CORRALD_RULES_H_INCLUDED_


#include <jansson.h>

#include "check.h"


int corrald_rules_service(corrald_check_t *c, const json_t *doc)
    __attribute__((warn_unused_result));
int corrald_rules_instance(corrald_check_t *c, const json_t *doc)
    __attribute__((warn_unused_result));
int corrald_rules_hash_key(corrald_check_t *c, const json_t *doc)
    __attribute__((warn_unused_result));
int corrald_rules_force_by(corrald_check_t *c, const json_t *doc)
    __attribute__((warn_unused_result));
int corrald_rules_derive(json_t *in) __attribute__((warn_unused_result));


#endif /* _CORRALD_RULES_H_INCLUDED_ */
