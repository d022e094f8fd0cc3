
/*
 * Times of the load generator: the clock, the CPU time of another process, and
 * a histogram of latencies (32 parts to each power of two of nanoseconds, so
 * that a percentile is right to 3 per cent).
 */


#include "load.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


int64_t
load_clock_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static size_t
load_clock_file(long pid, const char *name, char *buf, size_t size)
{
    int      fd;
    char     path[64];
    ssize_t  n;

    snprintf(path, sizeof(path), "/proc/%ld/%s", pid, name);

    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd == -1 ? -1 : read(fd, buf, size - 1);

    if (n <= 0) {
        load_fail("%s cannot be read: is the process alive?", path);
    }

    close(fd);
    buf[n] = '\0';

    return (size_t) n;
}


/* nanoseconds on a processor of all threads that the process has now */

static uint64_t
load_clock_threads(long pid)
{
    DIR                 *dir;
    char                 path[64], buf[256];
    uint64_t             sum;
    struct dirent       *entry;
    unsigned long long   ns;

    snprintf(path, sizeof(path), "/proc/%ld/task", pid);

    dir = opendir(path);
    if (dir == NULL) {
        load_fail("%s cannot be read: is the process alive?", path);
    }

    sum = 0;

    for ( ;; ) {
        entry = readdir(dir);
        if (entry == NULL) {
            break;
        }

        if (entry->d_name[0] == '.') {
            continue;
        }

        snprintf(path, sizeof(path), "task/%.20s/schedstat", entry->d_name);
        load_clock_file(pid, path, buf, sizeof(buf));

        if (sscanf(buf, "%llu", &ns) != 1) {
            load_fail("/proc/%ld/%s is not understood", pid, path);
        }

        sum += ns;
    }

    closedir(dir);

    return sum;
}


/*
 * CPU time of a process.  /proc/PID/stat tells user and system time apart, in
 * ticks of 10 ms; schedstat has the sum in nanoseconds, thread by thread.
 */

void
load_clock_cpu(long pid, load_cpu_t *cpu)
{
    char                *p;
    char                 buf[4096];
    uint64_t             tick;
    unsigned long long   user, system;

    memset(cpu, 0, sizeof(load_cpu_t));

    if (pid == 0) {
        return;
    }

    tick = 1000000000 / (uint64_t) sysconf(_SC_CLK_TCK);

    /* the name may hold spaces and parentheses: count from its end */

    load_clock_file(pid, "stat", buf, sizeof(buf));
    p = strrchr(buf, ')');

    if (p == NULL
        || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
                  "%llu %llu", &user, &system) != 2)
    {
        load_fail("/proc/%ld/stat is not understood", pid);
    }

    cpu->user = user * tick;
    cpu->system = system * tick;
    cpu->total = load_clock_threads(pid);
}


void
load_clock_add(load_times_t *times, int64_t ns)
{
    uint64_t  n;
    unsigned  power, part;

    n = ns > 0 ? (uint64_t) ns : 1;
    power = 63 - (unsigned) __builtin_clzll(n);
    part = power < 5 ? 0 : (unsigned) (n >> (power - 5)) & (LOAD_SPLIT - 1);

    times->slots[power * LOAD_SPLIT + part]++;
    times->count++;

    if (n > times->max) {
        times->max = n;
    }
}


/* Microseconds that the given part (0 to 1) of all latencies did not exceed. */

double
load_clock_percentile(const load_times_t *times, double part)
{
    double    upper;
    uint64_t  seen, wanted;
    unsigned  i, power;

    seen = 0;
    wanted = (uint64_t) ((double) times->count * part);

    for (i = 0; i < 64 * LOAD_SPLIT; i++) {
        seen += times->slots[i];

        if (seen > wanted) {
            break;
        }
    }

    if (i == 64 * LOAD_SPLIT) {
        return (double) times->max / 1000;
    }

    power = i / LOAD_SPLIT;
    upper = (double) (UINT64_C(1) << power)
            * (1 + (double) (i % LOAD_SPLIT + 1) / LOAD_SPLIT);

    if (upper > (double) times->max) {
        upper = (double) times->max;
    }

    return upper / 1000;
}
