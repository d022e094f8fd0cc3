
/*
 * A chained hash table.  Keys are copied, values belong to the caller.  The
 * hash is seeded at the first use, so that nobody who chooses names can make
 * all of them collide.
 */


#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#include "map.h"


#define CORRALD_MAP_FIRST  16


struct corrald_map_node_s {
    corrald_map_node_t   *next;
    uint64_t              hash;
    void                 *value;
    char                  key[];
};


static uint64_t corrald_map_hash(const char *key);
static int corrald_map_grow(corrald_map_t *map);


void
corrald_map_init(corrald_map_t *map)
{
    memset(map, 0, sizeof(*map));
}


/* Frees all nodes; release, unless NULL, is called for each value. */

void
corrald_map_free(corrald_map_t *map, void (*release)(void *value))
{
    size_t               i;
    corrald_map_node_t  *node, *next;

    for (i = 0; i < map->nbuckets; i++) {
        for (node = map->buckets[i]; node; node = next) {
            next = node->next;

            if (release) {
                release(node->value);
            }

            free(node);
        }
    }

    free(map->buckets);
    corrald_map_init(map);
}


/* Returns the value or NULL. */

void *
corrald_map_get(const corrald_map_t *map, const char *key)
{
    uint64_t             hash;
    corrald_map_node_t  *node;

    if (map->nbuckets == 0) {
        return NULL;
    }

    hash = corrald_map_hash(key);

    for (node = map->buckets[hash & (map->nbuckets - 1)];
         node;
         node = node->next)
    {
        if (node->hash == hash && strcmp(node->key, key) == 0) {
            return node->value;
        }
    }

    return NULL;
}


/* Adds or replaces.  Returns 0, or -1 when memory is short. */

int
corrald_map_set(corrald_map_t *map, const char *key, void *value)
{
    size_t                len;
    uint64_t              hash;
    corrald_map_node_t   *node, **bucket;

    if (map->count >= map->nbuckets && corrald_map_grow(map) != 0) {
        return -1;
    }

    hash = corrald_map_hash(key);
    bucket = &map->buckets[hash & (map->nbuckets - 1)];

    for (node = *bucket; node; node = node->next) {
        if (node->hash == hash && strcmp(node->key, key) == 0) {
            node->value = value;
            return 0;
        }
    }

    len = strlen(key) + 1;

    node = malloc(sizeof(*node) + len);
    if (node == NULL) {
        return -1;
    }

    memcpy(node->key, key, len);
    node->hash = hash;
    node->value = value;
    node->next = *bucket;
    *bucket = node;
    map->count++;

    return 0;
}


/* Returns the value that was taken out, or NULL. */

void *
corrald_map_del(corrald_map_t *map, const char *key)
{
    void                 *value;
    uint64_t              hash;
    corrald_map_node_t   *node, **link;

    if (map->nbuckets == 0) {
        return NULL;
    }

    hash = corrald_map_hash(key);

    for (link = &map->buckets[hash & (map->nbuckets - 1)];
         *link;
         link = &(*link)->next)
    {
        node = *link;

        if (node->hash == hash && strcmp(node->key, key) == 0) {
            value = node->value;
            *link = node->next;
            map->count--;
            free(node);

            return value;
        }
    }

    return NULL;
}


void
corrald_map_first(const corrald_map_t *map, corrald_map_iter_t *it)
{
    it->bucket = 0;
    it->next = map->nbuckets ? map->buckets[0] : NULL;
}


/* Returns 1 and the next pair, or 0 at the end.  key may be NULL. */

int
corrald_map_next(const corrald_map_t *map, corrald_map_iter_t *it,
    const char **key, void **value)
{
    while (it->next == NULL) {

        if (it->bucket + 1 >= map->nbuckets) {
            return 0;
        }

        it->next = map->buckets[++it->bucket];
    }

    if (key) {
        *key = it->next->key;
    }

    *value = it->next->value;
    it->next = it->next->next;

    return 1;
}


/* FNV-1a over a random start, then mixed. */

static uint64_t
corrald_map_hash(const char *key)
{
    uint64_t              h;
    const unsigned char  *p;

    static uint64_t  seed;

    if (seed == 0) {
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
            seed = (uintptr_t) &seed;
        }

        seed |= 1;
    }

    h = 14695981039346656037ULL ^ seed;

    for (p = (const unsigned char *) key; *p; p++) {
        h = (h ^ *p) * 1099511628211ULL;
    }

    h ^= h >> 32;

    return h * seed ^ h >> 29;
}


static int
corrald_map_grow(corrald_map_t *map)
{
    size_t                i, n;
    corrald_map_node_t   *node, *next, **buckets;

    n = map->nbuckets ? map->nbuckets * 2 : CORRALD_MAP_FIRST;

    buckets = calloc(n, sizeof(*buckets));
    if (buckets == NULL) {

        /* a full table works, only slower; an empty one does not */

        return map->nbuckets ? 0 : -1;
    }

    for (i = 0; i < map->nbuckets; i++) {
        for (node = map->buckets[i]; node; node = next) {
            next = node->next;
            node->next = buckets[node->hash & (n - 1)];
            buckets[node->hash & (n - 1)] = node;
        }
    }

    free(map->buckets);

    map->buckets = buckets;
    map->nbuckets = n;

    return 0;
}
