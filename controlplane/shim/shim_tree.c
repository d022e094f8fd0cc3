/*
 * Finds and ends the descendants of this process.
 *
 * As a subreaper the shim (and its guard) is the ancestor of everything that
 * the agent ever starts, whatever sessions and groups that makes.  Where the
 * agent lives in a cgroup of its own, the kernel ends it in one step; the walk
 * through /proc is the way that works everywhere.
 *
 * Does not wait for processes: whoever reaps decides when all are gone.
 */


#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"


/*
 * More processes than this are seen in the next round.  The pages are touched
 * only as far as there are processes, and only while something is ended.
 */

#define CORRAL_SHIM_TREE_MAX  65536


typedef struct {
    pid_t   pid;
    pid_t   ppid;
    char    state;
    char    ours;
} corral_shim_tree_node_t;


static corral_shim_tree_node_t  corral_shim_tree_nodes[CORRAL_SHIM_TREE_MAX];


static size_t corral_shim_tree_walk(void);
static int corral_shim_tree_children(pid_t pid, size_t *n);
static size_t corral_shim_tree_scan(void);
static int corral_shim_tree_stat(const char *name,
    corral_shim_tree_node_t *node);
static corral_shim_tree_node_t *corral_shim_tree_find(pid_t pid, size_t n);
static int corral_shim_tree_compare(const void *one, const void *two);


/*
 * Sends sig to all descendants that are not zombies.  SIGSTOP leaves out those
 * that are stopped already.  Returns how many it was sent to.
 */

unsigned
corral_shim_tree_signal(int sig)
{
    size_t                    i, n;
    unsigned                  sent;
    corral_shim_tree_node_t  *node;

    n = corral_shim_tree_walk();
    sent = 0;

    for (i = 0; i < n; i++) {
        node = &corral_shim_tree_nodes[i];

        if (!node->ours || node->state == 'Z' || node->state == 'X') {
            continue;
        }

        if (sig == SIGSTOP && (node->state == 'T' || node->state == 't')) {
            continue;
        }

        /*
         * The pid cannot have been given to another process: its parent is a
         * descendant of ours that has not reaped it, or us.  A parent that
         * reaps within these microseconds would need the pids to wrap around.
         */

        if (kill(node->pid, sig) == 0) {
            sent++;
        }
    }

    return sent;
}


/*
 * Kills all descendants.  They are stopped first, round after round, until no
 * new one appears: one that forks faster than it is looked for would get away
 * otherwise.  Call again until corral_shim_tree_empty().
 */

void
corral_shim_tree_kill(const char *cgroup)
{
    int   i;
    char  path[4200];

    if (cgroup != NULL) {
        (void) snprintf(path, sizeof(path), "%s/cgroup.kill", cgroup);
        (void) !corral_shim_sys_write_file(path, "1");
    }

    for (i = 0; i < 20; i++) {
        if (corral_shim_tree_signal(SIGSTOP) == 0) {
            break;
        }
    }

    (void) corral_shim_tree_signal(SIGKILL);
}


/* Returns 1 when this process has no child, alive or zombie. */

int
corral_shim_tree_empty(void)
{
    siginfo_t  info;

    return waitid(P_ALL, 0, &info, WEXITED|WNOHANG|WNOWAIT) == -1
           && errno == ECHILD;
}


/*
 * Fills the table with all descendants.  Costs as much as there are of them,
 * where the kernel lists the children of a thread; else as there are processes
 * in the system.
 */

static size_t
corral_shim_tree_walk(void)
{
    size_t  i, n;

    n = 0;

    if (corral_shim_tree_children(getpid(), &n) != 0) {
        return corral_shim_tree_scan();
    }

    for (i = 0; i < n; i++) {
        (void) corral_shim_tree_children(corral_shim_tree_nodes[i].pid, &n);
    }

    return n;
}


/*
 * Adds the children of one process.  A child that moves to another parent
 * meanwhile may be seen twice or not at all: the callers go round again.
 */

static int
corral_shim_tree_children(pid_t pid, size_t *n)
{
    int             fd, rc;
    DIR            *dir;
    char            path[64], name[16];
    FILE           *list;
    struct dirent  *task;

    (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);

    dir = opendir(path);

    if (dir == NULL) {
        return -1;
    }

    rc = -1;

    for ( ;; ) {
        task = readdir(dir);

        if (task == NULL) {
            break;
        }

        if (task->d_name[0] < '1' || task->d_name[0] > '9') {
            continue;
        }

        (void) snprintf(path, sizeof(path), "%.16s/children", task->d_name);

        fd = openat(dirfd(dir), path, O_RDONLY|O_CLOEXEC);

        if (fd == -1) {
            continue;
        }

        list = fdopen(fd, "r");

        if (list == NULL) {
            (void) close(fd);
            continue;
        }

        rc = 0;

        while (*n < CORRAL_SHIM_TREE_MAX && fscanf(list, "%15s", name) == 1) {

            if (corral_shim_tree_stat(name, &corral_shim_tree_nodes[*n])
                == 0)
            {
                corral_shim_tree_nodes[(*n)++].ours = 1;
            }
        }

        (void) fclose(list);
    }

    (void) closedir(dir);

    return rc;
}


/* Looks at every process and keeps those that descend from this one. */

static size_t
corral_shim_tree_scan(void)
{
    int                       found, sorted;
    DIR                      *dir;
    pid_t                     self;
    size_t                    i, n;
    struct dirent            *entry;
    corral_shim_tree_node_t  *node, *parent;

    dir = opendir("/proc");

    if (dir == NULL) {
        return 0;
    }

    n = 0;
    sorted = 1;

    while (n < CORRAL_SHIM_TREE_MAX) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        node = &corral_shim_tree_nodes[n];

        if (corral_shim_tree_stat(entry->d_name, node) != 0) {
            continue;
        }

        if (n > 0 && node->pid < node[-1].pid) {
            sorted = 0;
        }

        n++;
    }

    (void) closedir(dir);

    if (!sorted) {
        qsort(corral_shim_tree_nodes, n, sizeof(corral_shim_tree_node_t),
              corral_shim_tree_compare);
    }

    /*
     * Children mostly have higher pids than their parents, so one round finds
     * nearly all, and the last one finds nothing.
     */

    self = getpid();

    do {
        found = 0;

        for (i = 0; i < n; i++) {
            node = &corral_shim_tree_nodes[i];

            if (node->ours) {
                continue;
            }

            if (node->ppid != self) {
                parent = corral_shim_tree_find(node->ppid, n);

                if (parent == NULL || !parent->ours) {
                    continue;
                }
            }

            node->ours = 1;
            found = 1;
        }

    } while (found);

    return n;
}


static int
corral_shim_tree_stat(const char *name, corral_shim_tree_node_t *node)
{
    int    pid, ppid;
    char   path[64], buf[512], *p, state;

    if (name[0] < '1' || name[0] > '9' || strlen(name) > 10) {
        return -1;
    }

    (void) snprintf(path, sizeof(path), "/proc/%s/stat", name);

    if (corral_shim_sys_read_file(path, buf, sizeof(buf)) <= 0) {
        return -1;
    }

    /* the name of the program may hold anything, also ")" */

    p = strrchr(buf, ')');

    if (p == NULL
        || sscanf(buf, "%d", &pid) != 1
        || sscanf(p + 1, " %c %d", &state, &ppid) != 2)
    {
        return -1;
    }

    node->pid = pid;
    node->ppid = ppid;
    node->state = state;
    node->ours = 0;

    return 0;
}


static corral_shim_tree_node_t *
corral_shim_tree_find(pid_t pid, size_t n)
{
    corral_shim_tree_node_t  key;

    memset(&key, 0, sizeof(key));
    key.pid = pid;

    return bsearch(&key, corral_shim_tree_nodes, n, sizeof(key),
                   corral_shim_tree_compare);
}


static int
corral_shim_tree_compare(const void *one, const void *two)
{
    const corral_shim_tree_node_t  *a = one, *b = two;

    return (a->pid > b->pid) - (a->pid < b->pid);
}
