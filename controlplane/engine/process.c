/*
 * Processes of this machine, by /proc.
 *
 * A pid alone proves nothing: it may have been given to somebody else.  A
 * process is one of ours when its start time fits, when it holds our lock file
 * open, or when it carries the nonce of its start; only then it is killed.
 */


#define _GNU_SOURCE

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process.h"


/* Of an environment this much is looked at: CORRAL_NONCE is of the last. */

#define CORRALD_PROCESS_ENVIRON  262144


static int corrald_process_read(const char *path, char *buf, size_t size);
static int corrald_process_holds(const char *pid, const struct stat *lock);
static int corrald_process_carries(const char *pid, const char *word,
    char *buf);


uint64_t
corrald_process_start_time(pid_t pid)
{
    char                 path[64], buf[1024], *p;
    unsigned long long   n;

    (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);

    if (pid <= 0 || corrald_process_read(path, buf, sizeof(buf)) <= 0) {
        return 0;
    }

    /* the name of the program may hold anything, also ")" */

    p = strrchr(buf, ')');

    if (p == NULL
        || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u "
                  "%*u %*d %*d %*d %*d %*d %*d %llu", &n) != 1)
    {
        return 0;
    }

    return n;
}


/* "" where it is not known. */

const char *
corrald_process_boot_id(void)
{
    static char  id[64];

    if (id[0] == '\0'
        && corrald_process_read("/proc/sys/kernel/random/boot_id", id,
                                sizeof(id))
           > 0)
    {
        id[strcspn(id, "\n")] = '\0';
    }

    return id;
}


unsigned
corrald_process_kill_survivors(const char *lock, const char *nonce)
{
    int             fd, pid;
    DIR            *dir;
    char            word[128], *buf;
    unsigned        found;
    struct stat     st;
    struct dirent  *entry;

    if (stat(lock, &st) == -1) {
        memset(&st, 0, sizeof(st));
    }

    (void) snprintf(word, sizeof(word), "CORRAL_NONCE=%s", nonce);

    dir = opendir("/proc");
    buf = malloc(CORRALD_PROCESS_ENVIRON);
    found = 0;

    while (dir != NULL && buf != NULL) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') {
            continue;
        }

        pid = (int) strtol(entry->d_name, NULL, 10);

        if (pid == getpid()) {
            continue;
        }

        /* a pidfd first: what is killed is what was looked at */

        fd = (int) syscall(SYS_pidfd_open, pid, 0);

        if (fd == -1) {
            continue;
        }

        if (corrald_process_holds(entry->d_name, &st)
            || (nonce[0] != '\0'
                && corrald_process_carries(entry->d_name, word, buf)))
        {
            found++;
            (void) syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        }

        (void) close(fd);
    }

    if (dir != NULL) {
        (void) closedir(dir);
    }

    free(buf);

    return found;
}


static int
corrald_process_read(const char *path, char *buf, size_t size)
{
    int      fd;
    size_t   len;
    ssize_t  n;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    len = 0;

    while (len < size - 1) {
        n = read(fd, buf + len, size - 1 - len);

        if (n <= 0) {
            break;
        }

        len += (size_t) n;
    }

    (void) close(fd);
    buf[len] = '\0';

    return (int) len;
}


static int
corrald_process_holds(const char *pid, const struct stat *lock)
{
    int             holds;
    DIR            *dir;
    char            path[64];
    struct stat     st;
    struct dirent  *entry;

    if (lock->st_ino == 0) {
        return 0;
    }

    (void) snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);

    dir = opendir(path);

    if (dir == NULL) {
        return 0;
    }

    holds = 0;

    while (!holds) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        holds = fstatat(dirfd(dir), entry->d_name, &st, 0) == 0
                && st.st_ino == lock->st_ino && st.st_dev == lock->st_dev;
    }

    (void) closedir(dir);

    return holds;
}


static int
corrald_process_carries(const char *pid, const char *word, char *buf)
{
    int     n, i;
    char    path[64];
    size_t  len;

    (void) snprintf(path, sizeof(path), "/proc/%.20s/environ", pid);

    n = corrald_process_read(path, buf, CORRALD_PROCESS_ENVIRON);
    len = strlen(word) + 1;

    for (i = 0; i + (int) len <= n; i += (int) strlen(buf + i) + 1) {
        if (memcmp(buf + i, word, len) == 0) {
            return 1;
        }
    }

    return 0;
}
