
/*
 * A hash table from strings to pointers.  See map.c.
 */


#ifndef _CORRALD_MAP_H_INCLUDED_
#define _CORRALD_MAP_H_INCLUDED_


#include <stddef.h>


typedef struct corrald_map_node_s  corrald_map_node_t;

typedef struct {
    corrald_map_node_t  **buckets;
    size_t                nbuckets;
    size_t                count;
} corrald_map_t;


void corrald_map_init(corrald_map_t *map);
void corrald_map_free(corrald_map_t *map, void (*release)(void *value));
void *corrald_map_get(const corrald_map_t *map, const char *key);
int corrald_map_set(corrald_map_t *map, const char *key, void *value)
    __attribute__((warn_unused_result));
void *corrald_map_del(corrald_map_t *map, const char *key);

/*
 * Iteration in no order, with corrald_map_first() and corrald_map_next().
 * A pair may be deleted while it is the current one, none may be added.
 */

typedef struct {
    corrald_map_node_t   *next;
    size_t                bucket;
} corrald_map_iter_t;

void corrald_map_first(const corrald_map_t *map, corrald_map_iter_t *it);
int corrald_map_next(const corrald_map_t *map, corrald_map_iter_t *it,
    const char **key, void **value);


#endif /* _CORRALD_MAP_H_INCLUDED_ */
