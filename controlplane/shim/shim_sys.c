/*
 * What the shim asks of the kernel, and its small files.  No state.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"


/* Writes the record beside its path and renames it.  Returns 0 or -1. */

int
corral_shim_sys_record(const char *record, const corrald_wire_msg_t *msg)
{
    int              fd;
    char             buf[CORRALD_WIRE_MSG_MAX], path[4200];
    ssize_t          n;
    corrald_wire_t   w;

    corrald_wire_begin(&w, buf, sizeof(buf), '\n');
    corrald_wire_write_msg(&w, msg);

    (void) snprintf(path, sizeof(path), "%s.tmp", record);

    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        return -1;
    }

    n = write(fd, buf, w.len);

    if (n != (ssize_t) w.len || fsync(fd) == -1 || w.full) {
        (void) close(fd);
        (void) unlink(path);
        return -1;
    }

    (void) close(fd);

    return rename(path, record);
}


/*
 * Kills by the kernel's OOM killer so far: in our cgroup, or where there is
 * none in the whole system, which is a good guess together with SIGKILL.
 */

uint64_t
corral_shim_sys_oom_count(const char *cgroup)
{
    char                 path[4200], buf[16384], *p;
    unsigned long long   n;

    p = NULL;

    if (cgroup != NULL) {
        (void) snprintf(path, sizeof(path), "%s/memory.events", cgroup);

        if (corral_shim_sys_read_file(path, buf, sizeof(buf)) > 0) {
            p = strstr(buf, "oom_kill ");
        }
    }

    if (p == NULL
        && corral_shim_sys_read_file("/proc/vmstat", buf, sizeof(buf)) > 0)
    {
        p = strstr(buf, "oom_kill ");
    }

    if (p == NULL || sscanf(p, "oom_kill %llu", &n) != 1) {
        return 0;
    }

    return n;
}


/* Field 22 of /proc/PID/stat, or 0. */

uint64_t
corral_shim_sys_start_time(pid_t pid)
{
    char                 path[64], buf[1024], *p;
    unsigned long long   n;

    (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);

    if (corral_shim_sys_read_file(path, buf, sizeof(buf)) <= 0) {
        return 0;
    }

    p = strrchr(buf, ')');

    if (p == NULL
        || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u "
                  "%*u %*d %*d %*d %*d %*d %*d %llu", &n) != 1)
    {
        return 0;
    }

    return n;
}


/* Standard streams become /dev/null. */

void
corral_shim_sys_null(void)
{
    int  fd;

    fd = open("/dev/null", O_RDWR|O_CLOEXEC);

    if (fd != -1) {
        (void) dup2(fd, 0);
        (void) dup2(fd, 1);
        (void) dup2(fd, 2);

        if (fd > 2) {
            (void) close(fd);
        }
    }
}


/* Closes whatever the caller forgot to mark close-on-exec. */

void
corral_shim_sys_close_others(void)
{
    int  fd;

#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3, ~0u, 0) == 0) {
        return;
    }
#endif

    for (fd = 3; fd < 65536; fd++) {
        (void) close(fd);
    }
}


/*
 * Of root's powers a running shim needs three: to signal an agent of another
 * user, and to write its files and keep doing so in directories of whatever
 * owner.  Failures do not matter: an unprivileged shim has none of them.
 */

void
corral_shim_sys_drop_caps(void)
{
    struct __user_cap_data_struct    data[2];
    struct __user_cap_header_struct  header;

    if (geteuid() != 0) {
        return;
    }

    memset(data, 0, sizeof(data));
    header.version = _LINUX_CAPABILITY_VERSION_3;
    header.pid = 0;

    data[0].permitted = (1u << CAP_KILL) | (1u << CAP_DAC_OVERRIDE)
                        | (1u << CAP_FOWNER);
    data[0].effective = data[0].permitted;

    (void) syscall(SYS_capset, &header, data);
}


/* Monotonic milliseconds. */

int64_t
corral_shim_sys_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* Milliseconds since 1970. */

int64_t
corral_shim_sys_wall(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/*
 * Reads at most size - 1 bytes and ends them with NUL.  Returns the number of
 * bytes, or -1.
 */

int
corral_shim_sys_read_file(const char *path, char *buf, size_t size)
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


/* Writes text in one write(), as files of /proc and cgroups want it. */

int
corral_shim_sys_write_file(const char *path, const char *text)
{
    int      fd;
    ssize_t  n;

    fd = open(path, O_WRONLY|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    n = write(fd, text, strlen(text));

    (void) close(fd);

    return (n == (ssize_t) strlen(text)) ? 0 : -1;
}
