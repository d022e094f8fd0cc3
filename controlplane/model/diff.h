
/*
 * What differs between two documents.  See diff.c.
 */


#ifndef _CORRALD_DIFF_H_INCLUDED_
#define _CORRALD_DIFF_H_INCLUDED_


#include <jansson.h>

#include "doc.h"


json_t *corrald_diff_names(corrald_kind_e kind, const json_t *before,
    const json_t *after);
unsigned corrald_diff_flags(corrald_kind_e kind, const json_t *before,
    const json_t *after);


#endif /* _CORRALD_DIFF_H_INCLUDED_ */
