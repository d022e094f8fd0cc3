
/*
 * Which connections a filter chooses.  See filter.c.
 */


#ifndef _CORRALD_FILTER_H_INCLUDED_
#define _CORRALD_FILTER_H_INCLUDED_


#include <stdint.h>

#include <jansson.h>

#include "check.h"


extern const char *const  corrald_filter_names[];     /* NULL at the end */

int corrald_filter_check(corrald_check_t *c, const json_t *filter);
int corrald_filter_matches(const json_t *filter, const json_t *conn,
    int64_t now);


#endif /* _CORRALD_FILTER_H_INCLUDED_ */
