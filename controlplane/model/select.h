
/*
 * Which services an action on many is for.  See select.c.
 */


#ifndef _CORRALD_SELECT_H_INCLUDED_
#define _CORRALD_SELECT_H_INCLUDED_


#include <jansson.h>

#include "check.h"


int corrald_select_check(corrald_check_t *c, const json_t *body)
    __attribute__((warn_unused_result));


#endif /* _CORRALD_SELECT_H_INCLUDED_ */
