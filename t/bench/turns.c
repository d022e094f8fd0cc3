
/*
 * turns: the longest turn of an event loop, for LD_PRELOAD.
 *
 * A turn lasts from the return of epoll_wait() to the next call of it.  Its
 * length is taken as CPU time, which other processes of the machine do not
 * stretch, and as time on the wall, which they do.  CORRAL_TURNS names a file
 * that is mapped: whoever maps it, too, reads and resets the figures while the
 * process runs.  Each process writes what it saw to the record of its pid.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>


#define TURNS_RECORDS  16


typedef struct {
    uint64_t     pid;           /* 0: free */
    uint64_t     turns;
    uint64_t     cpu;           /* ns, the longest */
    uint64_t     wall;
    uint64_t     over;          /* turns of more than 1 ms of CPU */
} turns_record_t;


typedef int (*turns_wait_pt)(int epfd, struct epoll_event *events, int n,
    int timeout);


static turns_wait_pt    turns_wait;
static turns_record_t  *turns_mine;
static pid_t            turns_pid;
static uint64_t         turns_cpu, turns_wall;


static uint64_t
turns_clock(clockid_t id)
{
    struct timespec  ts;

    clock_gettime(id, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


/* the record of this process: after a fork() a new one */

static void
turns_init(void)
{
    int              fd, i;
    char            *name;
    uint64_t         none;
    turns_record_t  *all;

    turns_pid = getpid();
    turns_mine = NULL;
    turns_cpu = 0;

    name = getenv("CORRAL_TURNS");
    fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;

    if (fd == -1) {
        return;
    }

    all = mmap(NULL, TURNS_RECORDS * sizeof(turns_record_t),
               PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);

    if (all == MAP_FAILED) {
        return;
    }

    for (i = 0; i < TURNS_RECORDS; i++) {
        none = 0;

        if (__atomic_compare_exchange_n(&all[i].pid, &none,
                                        (uint64_t) turns_pid, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        {
            turns_mine = &all[i];
            return;
        }
    }
}


int
epoll_wait(int epfd, struct epoll_event *events, int n, int timeout)
{
    int       rc;
    uint64_t  cpu, wall;

    if (turns_wait == NULL) {
        *(void **) &turns_wait = dlsym(RTLD_NEXT, "epoll_wait");
    }

    if (turns_pid != getpid()) {
        turns_init();
    }

    if (turns_mine && turns_cpu) {
        cpu = turns_clock(CLOCK_THREAD_CPUTIME_ID) - turns_cpu;
        wall = turns_clock(CLOCK_MONOTONIC) - turns_wall;

        turns_mine->turns++;
        turns_mine->over += cpu > 1000000;

        if (cpu > turns_mine->cpu) {
            turns_mine->cpu = cpu;
        }

        if (wall > turns_mine->wall) {
            turns_mine->wall = wall;
        }
    }

    rc = turns_wait(epfd, events, n, timeout);

    if (turns_mine) {
        turns_cpu = turns_clock(CLOCK_THREAD_CPUTIME_ID);
        turns_wall = turns_clock(CLOCK_MONOTONIC);
    }

    return rc;
}
