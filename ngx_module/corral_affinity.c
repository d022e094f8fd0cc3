
/*
 * Sessions and their owners, in memory that several processes read and write
 * at the same time without a lock.
 *
 * A session may lie in any of the eight entries of its set; the one that was
 * not put for the longest time makes room for another.  Each entry carries a
 * check of its fields: an entry that two processes wrote at once, or in whose
 * midst one died, is no entry.  What is lost so, or pushed out, the caller has
 * to be able to find out again.
 *
 * Pure: no clock, no globals, no memory of its own.
 */


#include "corral_affinity.h"


static corral_affinity_entry_t *
corral_affinity_set(const corral_affinity_t *table, uint64_t key)
{
    uint64_t  sets;

    sets = table->n / CORRAL_AFFINITY_WAYS;

    return &table->entries[key % sets * CORRAL_AFFINITY_WAYS];
}


/* never 0, as zeroed memory is */

static uint32_t
corral_affinity_check(uint64_t key, uint64_t owner, uint32_t time)
{
    uint64_t  x;

    x = key * 0x9E3779B97F4A7C15ULL ^ owner;
    x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9ULL ^ time;
    x = (x ^ x >> 32) * 0x94D049BB133111EBULL;

    return (uint32_t) (x >> 32) | 1;
}


/*
 * Finds the owner that was put at most ttl seconds ago; *age is how long ago.
 * Returns 1, or 0 if there is none.
 */

int
corral_affinity_get(const corral_affinity_t *table, uint64_t key,
    uint32_t now, uint32_t ttl, uint64_t *owner, uint32_t *age)
{
    int                        i;
    uint32_t                   time;
    corral_affinity_entry_t   *e;

    if (table->n == 0) {
        return 0;
    }

    e = corral_affinity_set(table, key);

    for (i = 0; i < CORRAL_AFFINITY_WAYS; i++, e++) {

        if (e->key != key) {
            continue;
        }

        *owner = e->owner;
        time = e->time;

        if (e->check != corral_affinity_check(key, *owner, time)) {
            continue;
        }

        /* another process' clock may be a second ahead */

        *age = now > time ? now - time : 0;

        return *age <= ttl;
    }

    return 0;
}


/* Sets the owner of a session. */

void
corral_affinity_put(const corral_affinity_t *table, uint64_t key,
    uint32_t now, uint64_t owner)
{
    int                        i;
    uint32_t                   age, oldest;
    corral_affinity_entry_t   *e, *room;

    if (table->n == 0) {
        return;
    }

    e = corral_affinity_set(table, key);
    room = e;
    oldest = 0;

    for (i = 0; i < CORRAL_AFFINITY_WAYS; i++, e++) {

        if (e->key == key) {
            room = e;
            break;
        }

        age = now > e->time ? now - e->time : 0;

        if (age > oldest) {
            oldest = age;
            room = e;
        }
    }

    room->check = 0;
    __sync_synchronize();

    room->key = key;
    room->owner = owner;
    room->time = now;
    __sync_synchronize();

    room->check = corral_affinity_check(key, owner, now);
}


/*
 * Forgets a session.  Another one that another process puts in its place in
 * this moment may be forgotten, too.
 */

void
corral_affinity_drop(const corral_affinity_t *table, uint64_t key)
{
    int                        i;
    corral_affinity_entry_t   *e;

    if (table->n == 0) {
        return;
    }

    e = corral_affinity_set(table, key);

    for (i = 0; i < CORRAL_AFFINITY_WAYS; i++, e++) {
        if (e->key == key) {
            e->check = 0;
        }
    }
}
