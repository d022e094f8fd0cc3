/*
 * A cgroup v2 for each instance: the kernel ends all of it in one step
 * (cgroup.kill), counts its kills for want of memory, and limits memory,
 * processor and number of processes where the controllers are ours.
 *
 *     below the root cgroup                  <mount>/corral/NAME
 *     in a delegated one (Delegate=yes)      <mount><own>/agents/NAME
 *
 * A cgroup that has both processes and controlled children is not allowed, so
 * in a delegated one everything that lives there moves to <own>/daemon first.
 * Where nothing of this can be made, in a container say, instances have no
 * cgroup and everything else works as before.
 *
 * open runs at the start; make and remove touch only what it found, so that
 * they may run on threads.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/conf.h"
#include "../base/log.h"
#include "cgroup.h"


#define CORRALD_CGROUP_PATH    1024

/* of cpu.max, in microseconds */

#define CORRALD_CGROUP_PERIOD  100000


static int corrald_cgroup_mount(char *path, size_t size);
static int corrald_cgroup_own(char *path, size_t size);
static void corrald_cgroup_delegate(const char *own);
static unsigned corrald_cgroup_enable(const char *dir);
static int corrald_cgroup_try(void);
static int corrald_cgroup_write(const char *dir, const char *file,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int corrald_cgroup_path(const char *name, char *path, size_t size);


static char      corrald_cgroup_dir[CORRALD_CGROUP_PATH];
static unsigned  corrald_cgroup_has;


void
corrald_cgroup_open(void)
{
    char  mount[512], own[256], parent[CORRALD_CGROUP_PATH];

    corrald_cgroup_dir[0] = '\0';
    corrald_cgroup_has = 0;

    if (strcmp(corrald_conf()->cgroup, "off") == 0
        || corrald_cgroup_mount(mount, sizeof(mount)) != 0
        || corrald_cgroup_own(own, sizeof(own)) != 0)
    {
        return;
    }

    if (strcmp(own, "/") == 0) {
        (void) snprintf(parent, sizeof(parent), "%s", mount);
        (void) snprintf(corrald_cgroup_dir, sizeof(corrald_cgroup_dir),
                        "%s/corral", mount);

    } else {
        (void) snprintf(parent, sizeof(parent), "%s%s", mount, own);

        /* started again from within what was delegated before */

        if (strlen(own) > 7
            && strcmp(own + strlen(own) - 7, "/daemon") == 0)
        {
            parent[strlen(parent) - 7] = '\0';

        } else {
            corrald_cgroup_delegate(parent);
        }

        (void) snprintf(corrald_cgroup_dir, sizeof(corrald_cgroup_dir),
                        "%.1000s/agents", parent);
    }

    if (mkdir(corrald_cgroup_dir, 0755) == -1 && errno != EEXIST) {
        corrald_cgroup_dir[0] = '\0';
        return;
    }

    (void) corrald_cgroup_enable(parent);
    corrald_cgroup_has = corrald_cgroup_enable(corrald_cgroup_dir);

    if (corrald_cgroup_try() != 0) {
        corrald_cgroup_dir[0] = '\0';
        corrald_cgroup_has = 0;
        return;
    }

    corrald_log_debug("cgroups of instances: %s (%s%s%s)", corrald_cgroup_dir,
                      corrald_cgroup_has & CORRALD_CGROUP_MEMORY
                      ? " memory" : "",
                      corrald_cgroup_has & CORRALD_CGROUP_CPU ? " cpu" : "",
                      corrald_cgroup_has & CORRALD_CGROUP_PIDS
                      ? " pids" : "");
}


const char *
corrald_cgroup_base(void)
{
    return corrald_cgroup_dir[0] ? corrald_cgroup_dir : NULL;
}


unsigned
corrald_cgroup_controllers(void)
{
    return corrald_cgroup_has;
}


int
corrald_cgroup_make(const char *name, const corrald_cgroup_limits_t *limits,
    char *path, size_t psize, char *err, size_t size)
{
    int  rc;

    path[0] = '\0';

    if (corrald_cgroup_path(name, path, psize) != 0) {
        return 0;
    }

    if (mkdir(path, 0755) == -1 && errno != EEXIST) {
        (void) snprintf(err, size, "cannot make cgroup \"%s\": %s", path,
                        strerror(errno));
        return -1;
    }

    /* "max" first: an older limit of the same instance must not stay */

    rc = 0;

    if (corrald_cgroup_has & CORRALD_CGROUP_MEMORY) {
        rc |= limits->memory
              ? corrald_cgroup_write(path, "memory.max", "%lld",
                                     (long long) limits->memory)
              : corrald_cgroup_write(path, "memory.max", "max");

        /* half an agent is worse than none */

        (void) corrald_cgroup_write(path, "memory.oom.group", "1");
    }

    if (corrald_cgroup_has & CORRALD_CGROUP_PIDS) {
        rc |= limits->pids
              ? corrald_cgroup_write(path, "pids.max", "%lld",
                                     (long long) limits->pids)
              : corrald_cgroup_write(path, "pids.max", "max");
    }

    if (corrald_cgroup_has & CORRALD_CGROUP_CPU) {
        rc |= limits->cpu
              ? corrald_cgroup_write(path, "cpu.max", "%lld %d",
                                     (long long) limits->cpu
                                     * (CORRALD_CGROUP_PERIOD / 100),
                                     CORRALD_CGROUP_PERIOD)
              : corrald_cgroup_write(path, "cpu.max", "max");
    }

    if (rc != 0) {
        (void) snprintf(err, size, "cannot set a limit of cgroup \"%s\": %s",
                        path, strerror(errno));
        return -1;
    }

    return 0;
}


void
corrald_cgroup_remove(const char *name)
{
    char  path[CORRALD_CGROUP_PATH];

    if (corrald_cgroup_path(name, path, sizeof(path)) == 0) {
        (void) rmdir(path);
    }
}


/* Where cgroup v2 is mounted. */

static int
corrald_cgroup_mount(char *path, size_t size)
{
    char   line[2048], where[512], type[64], *dash;
    FILE  *file;

    file = fopen("/proc/self/mountinfo", "re");

    if (file == NULL) {
        return -1;
    }

    path[0] = '\0';

    while (path[0] == '\0' && fgets(line, sizeof(line), file) != NULL) {

        dash = strstr(line, " - ");

        if (dash != NULL
            && sscanf(dash, " - %63s", type) == 1
            && strcmp(type, "cgroup2") == 0
            && sscanf(line, "%*d %*d %*s %*s %511s", where) == 1)
        {
            (void) snprintf(path, size, "%s", where);
        }
    }

    (void) fclose(file);

    return path[0] ? 0 : -1;
}


/* Our own cgroup, below the mount. */

static int
corrald_cgroup_own(char *path, size_t size)
{
    char   line[1024];
    FILE  *file;

    file = fopen("/proc/self/cgroup", "re");

    if (file == NULL) {
        return -1;
    }

    path[0] = '\0';

    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "0::", 3) == 0 && strlen(line) - 3 < size) {
            line[strcspn(line, "\n")] = '\0';
            memcpy(path, line + 3, strlen(line + 3) + 1);
        }
    }

    (void) fclose(file);

    return path[0] == '/' ? 0 : -1;
}


/* Everything that lives in our cgroup moves one down; then it can be parent. */

static void
corrald_cgroup_delegate(const char *own)
{
    int    pid;
    char   path[CORRALD_CGROUP_PATH + 32], daemon[CORRALD_CGROUP_PATH + 16];
    FILE  *file;

    (void) snprintf(daemon, sizeof(daemon), "%s/daemon", own);

    if (mkdir(daemon, 0755) == -1 && errno != EEXIST) {
        return;
    }

    (void) snprintf(path, sizeof(path), "%s/cgroup.procs", own);
    file = fopen(path, "re");

    if (file == NULL) {
        return;
    }

    while (fscanf(file, "%d", &pid) == 1) {
        (void) corrald_cgroup_write(daemon, "cgroup.procs", "%d", pid);
    }

    (void) fclose(file);
}


/* Hands down what there is.  Returns the controllers that children have. */

static unsigned
corrald_cgroup_enable(const char *dir)
{
    int       fd;
    char      path[CORRALD_CGROUP_PATH + 32], text[512];
    size_t    i;
    ssize_t   n;
    unsigned  has;

    static const struct {
        const char  *name;
        unsigned     bit;
    } controllers[] = {
        { "memory", CORRALD_CGROUP_MEMORY },
        { "cpu",    CORRALD_CGROUP_CPU    },
        { "pids",   CORRALD_CGROUP_PIDS   }
    };

    has = 0;

    for (i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
        (void) corrald_cgroup_write(dir, "cgroup.subtree_control", "+%s",
                                    controllers[i].name);
    }

    (void) snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
    fd = open(path, O_RDONLY|O_CLOEXEC);
    n = (fd == -1) ? -1 : read(fd, text + 1, sizeof(text) - 3);

    if (n > 0) {
        text[0] = ' ';
        text[n + 1] = '\0';
        text[strcspn(text, "\n")] = ' ';

        for (i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
            (void) snprintf(path, sizeof(path), " %s ", controllers[i].name);

            if (strstr(text, path) != NULL) {
                has |= controllers[i].bit;
            }
        }
    }

    if (fd != -1) {
        (void) close(fd);
    }

    return has;
}


/* Whether a process can really be put into one: a child tries. */

static int
corrald_cgroup_try(void)
{
    int    status;
    char   path[CORRALD_CGROUP_PATH + 32];
    pid_t  pid;

    (void) snprintf(path, sizeof(path), "%s/.try.%d", corrald_cgroup_dir,
                    (int) getpid());

    if (mkdir(path, 0755) == -1) {
        return -1;
    }

    pid = fork();

    if (pid == 0) {
        _exit(corrald_cgroup_write(path, "cgroup.procs", "0") == 0 ? 0 : 1);
    }

    status = 1;

    if (pid > 0 && waitpid(pid, &status, 0) != pid) {
        status = 1;
    }

    (void) rmdir(path);

    return status == 0 ? 0 : -1;
}


static int
corrald_cgroup_write(const char *dir, const char *file, const char *fmt, ...)
{
    int      fd, len;
    char     path[CORRALD_CGROUP_PATH + 64], text[64];
    va_list  args;
    ssize_t  n;

    va_start(args, fmt);
    len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    (void) snprintf(path, sizeof(path), "%s/%s", dir, file);
    fd = open(path, O_WRONLY|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    n = write(fd, text, (size_t) len);
    (void) close(fd);

    return n == len ? 0 : -1;
}


/* NAME is unique on this machine: cluster, node, instance. */

static int
corrald_cgroup_path(const char *name, char *path, size_t size)
{
    int  n;

    if (corrald_cgroup_dir[0] == '\0') {
        return -1;
    }

    n = snprintf(path, size, "%s/%s", corrald_cgroup_dir, name);

    if (n < 0 || (size_t) n >= size) {
        path[0] = '\0';
        return -1;
    }

    return 0;
}
