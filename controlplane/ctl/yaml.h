
/*
 * Documents in YAML or JSON as JSON values.  See yaml.c.
 */


#ifndef _CORRAL_YAML_H_INCLUDED_
#define _CORRAL_YAML_H_INCLUDED_


#include <stddef.h>

#include <jansson.h>


/*
 * Reads a stream of YAML documents (JSON is YAML) into an array of values.
 * Returns NULL and a sentence with the line in err; the caller frees the
 * array.
 */
json_t *corral_yaml_load(const char *text, size_t len, char *err, size_t size);


#endif /* _CORRAL_YAML_H_INCLUDED_ */
