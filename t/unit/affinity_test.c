/* links: ngx_module/corral_affinity.c */

/*
 * The table of sessions: what is put is found, for its time, the oldest makes
 * room, and a torn entry is none.  Two processes that write the same memory
 * never make a reader see what nobody wrote.
 */


#include "../../ngx_module/corral_affinity.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"


#define N  64


static void test_get_put(corral_affinity_t *table);
static void test_room(corral_affinity_t *table);
static void test_torn(corral_affinity_t *table);
static void test_processes(corral_affinity_t *table);


int
main(void)
{
    corral_affinity_t  table;

    table.n = N;
    table.entries = mmap(NULL, N * sizeof(corral_affinity_entry_t),
                         PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1,
                         0);

    if (table.entries == MAP_FAILED) {
        return 1;
    }

    test_get_put(&table);
    test_room(&table);
    test_torn(&table);
    test_processes(&table);

    return done_testing();
}


static void
clear(corral_affinity_t *table)
{
    memset((void *) table->entries, 0, N * sizeof(corral_affinity_entry_t));
}


static void
test_get_put(corral_affinity_t *table)
{
    uint32_t           age;
    uint64_t           owner;
    corral_affinity_t  none;

    clear(table);

    is_int(corral_affinity_get(table, 0, 100, 10, &owner, &age), 0,
           "an empty table has not even the key 0");

    corral_affinity_put(table, 7, 100, 42);
    is_int(corral_affinity_get(table, 7, 105, 10, &owner, &age), 1, "found");
    is_int((int64_t) owner, 42, "its owner");
    is_int(age, 5, "its age");

    is_int(corral_affinity_get(table, 7, 110, 10, &owner, &age), 1,
           "to the last second");
    is_int(corral_affinity_get(table, 7, 111, 10, &owner, &age), 0,
           "not longer");
    is_int(corral_affinity_get(table, 7, 99, 10, &owner, &age), 1,
           "a clock behind finds it");
    is_int(age, 0, "as new");

    corral_affinity_put(table, 7, 111, 43);
    is_int(corral_affinity_get(table, 7, 111, 10, &owner, &age), 1, "again");
    is_int((int64_t) owner, 43, "another owner");

    corral_affinity_put(table, 0, 111, 5);
    is_int(corral_affinity_get(table, 0, 111, 10, &owner, &age), 1,
           "the key 0 is a key");

    none.n = 0;
    none.entries = NULL;
    corral_affinity_put(table, 8, 111, 6);
    corral_affinity_drop(table, 0);
    is_int(corral_affinity_get(table, 0, 111, 10, &owner, &age), 0,
           "dropped");
    is_int(corral_affinity_get(table, 8, 111, 10, &owner, &age), 1,
           "no other one");
    corral_affinity_drop(table, 9);
    corral_affinity_put(table, 0, 112, 7);
    is_int(corral_affinity_get(table, 0, 112, 10, &owner, &age), 1,
           "put again");

    corral_affinity_drop(&none, 1);
    corral_affinity_put(&none, 1, 1, 1);
    is_int(corral_affinity_get(&none, 1, 1, 1, &owner, &age), 0,
           "a table without room");
}


static void
test_room(corral_affinity_t *table)
{
    int       i, found;
    uint32_t  age;
    uint64_t  owner, sets;

    clear(table);

    sets = N / CORRAL_AFFINITY_WAYS;

    /* one more than the set of key 0 has room for; the third is the oldest */

    for (i = 0; i <= CORRAL_AFFINITY_WAYS; i++) {
        corral_affinity_put(table, i * sets, i == 2 ? 50 : 100 + i, i);
    }

    found = 0;

    for (i = 0; i <= CORRAL_AFFINITY_WAYS; i++) {
        found += corral_affinity_get(table, i * sets, 110, 100, &owner, &age)
                 && owner == (uint64_t) i;
    }

    is_int(found, CORRAL_AFFINITY_WAYS, "a full set keeps eight");
    is_int(corral_affinity_get(table, 2 * sets, 110, 100, &owner, &age), 0,
           "the oldest made room");
    is_int(corral_affinity_get(table, 1, 110, 100, &owner, &age), 0,
           "other sets are not touched");
}


static void
test_torn(corral_affinity_t *table)
{
    uint32_t  age;
    uint64_t  owner;

    clear(table);

    corral_affinity_put(table, 8, 100, 1);
    table->entries[0].owner = 2;
    is_int(corral_affinity_get(table, 8, 100, 10, &owner, &age), 0,
           "an owner that was not put");

    corral_affinity_put(table, 8, 100, 1);
    table->entries[0].time = 200;
    is_int(corral_affinity_get(table, 8, 200, 10, &owner, &age), 0,
           "a time that was not put");

    corral_affinity_put(table, 8, 100, 3);
    is_int(corral_affinity_get(table, 8, 100, 10, &owner, &age), 1,
           "put again over it");
}


/* an owner is its key times the number of its writer, or nobody wrote it */

static void
test_processes(corral_affinity_t *table)
{
    int       i, writer, wrong, found;
    pid_t     pids[2];
    uint32_t  age;
    uint64_t  key, owner;

    clear(table);

    for (writer = 0; writer < 2; writer++) {
        pids[writer] = fork();

        if (pids[writer] == 0) {
            srand(writer + 1);

            for (i = 0; i < 300000; i++) {
                key = rand() % 200;
                corral_affinity_put(table, key, 100 + i % 7,
                                    key * 1000 + writer);
            }

            _exit(0);
        }
    }

    wrong = 0;
    found = 0;

    for (i = 0; i < 1000000; i++) {
        key = i % 200;

        if (corral_affinity_get(table, key, 107, 100, &owner, &age)) {
            found++;
            wrong += owner / 1000 != key || owner % 1000 > 1;
        }
    }

    waitpid(pids[0], NULL, 0);
    waitpid(pids[1], NULL, 0);

    ok(found > 0, "read while others write");
    is_int(wrong, 0, "never what nobody wrote");
}
