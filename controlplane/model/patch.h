
/*
 * JSON Merge Patch, RFC 7396.  See patch.c.
 */


#ifndef _CORRALD_PATCH_H_INCLUDED_
#define _CORRALD_PATCH_H_INCLUDED_


#include <jansson.h>


json_t *corrald_patch_merge(const json_t *target, const json_t *patch);


#endif /* _CORRALD_PATCH_H_INCLUDED_ */
