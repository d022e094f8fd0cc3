/*
 * Starts the agent: everything between fork() and execve().
 *
 * The order of the steps is the point of this file; each has its reason beside
 * it.  Does not wait for the agent and does not watch it.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"


/*
 * The lock is inherited under a number that programs do not expect to be
 * theirs (3 is the first of LISTEN_FDS).
 */

#define CORRAL_SHIM_AGENT_LOCK_FD  200


/* What the child could not do; the parent makes the sentence. */

typedef struct {
    int           code;              /* an exit code of the shim */
    int           error;             /* errno */
    const char   *what;              /* a constant: same image, same address */
} corral_shim_agent_failure_t;


static void corral_shim_agent_child(corrald_wire_spec_t *spec, int out,
    int err, int lock, int report, pid_t parent);
static int corral_shim_agent_become(corrald_wire_spec_t *spec,
    corral_shim_agent_failure_t *f);
static void corral_shim_agent_exec(corrald_wire_spec_t *spec,
    corral_shim_agent_failure_t *f);
static int corral_shim_agent_try(const char *path, char **argv, char **env);
static void corral_shim_agent_signals(void);


/*
 * Forks and executes.  out and err become the agent's standard output and
 * error, lock is inherited (-1: none).  Returns the pid once the program runs,
 * or -1 with an exit code of the shim and a sentence; then nothing is left.
 */

pid_t
corral_shim_agent_start(corrald_wire_spec_t *spec, int out, int err, int lock,
    int *code, char *text, size_t size)
{
    int                          report[2];
    pid_t                        pid, parent;
    ssize_t                      n;
    corral_shim_agent_failure_t  f;

    if (pipe2(report, O_CLOEXEC) == -1) {
        *code = CORRAL_SHIM_SYSTEM;
        (void) snprintf(text, size, "pipe failed: %s", strerror(errno));
        return -1;
    }

    parent = getpid();
    pid = fork();

    if (pid == -1) {
        *code = CORRAL_SHIM_SYSTEM;
        (void) snprintf(text, size, "fork failed: %s", strerror(errno));
        (void) close(report[0]);
        (void) close(report[1]);
        return -1;
    }

    if (pid == 0) {
        corral_shim_agent_child(spec, out, err, lock, report[1], parent);
        _exit(CORRAL_SHIM_SYSTEM);
    }

    (void) close(report[1]);

    /* the end of the pipe, without a word, is the successful execve() */

    do {
        n = read(report[0], &f, sizeof(f));
    } while (n == -1 && errno == EINTR);

    (void) close(report[0]);

    if (n == 0) {
        return pid;
    }

    (void) waitpid(pid, NULL, 0);

    if (n != sizeof(f)) {
        *code = CORRAL_SHIM_SYSTEM;
        (void) snprintf(text, size, "the report of the child was torn");
        return -1;
    }

    *code = f.code;
    (void) snprintf(text, size, "%s \"%.512s\": %s", f.what,
                    f.code == CORRAL_SHIM_RIGHTS ? spec->cwd : spec->argv[0],
                    strerror(f.error));

    if (f.code == CORRAL_SHIM_RIGHTS && strcmp(f.what, "cannot enter") != 0) {
        (void) snprintf(text, size, "%s: %s", f.what, strerror(f.error));
    }

    return -1;
}


static void
corral_shim_agent_child(corrald_wire_spec_t *spec, int out, int err, int lock,
    int report, pid_t parent)
{
    int                          null;
    corral_shim_agent_failure_t  f;

    f.code = CORRAL_SHIM_SYSTEM;
    f.what = "standard streams";

    /*
     * A session of its own: no terminal, and a group whose number is the pid,
     * so that a signal can be sent to the group.
     */

    (void) setsid();

    corral_shim_agent_signals();

    null = open("/dev/null", O_RDWR|O_CLOEXEC);

    if (null == -1 || dup2(null, 0) == -1 || dup2(out, 1) == -1
        || dup2(err, 2) == -1)
    {
        goto failed;
    }

    /*
     * flock() belongs to the open file, so every descendant that keeps this
     * descriptor keeps the lock.  Before the limits, which may be lower.
     */

    if (lock != -1 && fcntl(lock, F_DUPFD, CORRAL_SHIM_AGENT_LOCK_FD) == -1
        && fcntl(lock, F_DUPFD, 3) == -1)
    {
        f.what = "lock";
        goto failed;
    }

    if (corral_shim_agent_become(spec, &f) != 0) {
        goto failed;
    }

    /*
     * After the change of the user, which clears it.  If the parent died in
     * between, the signal will not come.
     */

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent) {
        f.what = "parent";
        goto failed;
    }

    f.code = CORRAL_SHIM_RIGHTS;

    if (chdir(spec->cwd) == -1) {
        f.what = "cannot enter";
        goto failed;
    }

    corral_shim_agent_exec(spec, &f);

failed:

    f.error = errno;

    (void) !write(report, &f, sizeof(f));
}


/* Limits, group, user.  Returns 0, or -1 with errno, f->code and f->what. */

static int
corral_shim_agent_become(corrald_wire_spec_t *spec,
    corral_shim_agent_failure_t *f)
{
    char           path[4200];
    size_t         i;
    gid_t          groups[CORRALD_WIRE_GROUPS_MAX];
    struct rlimit  rl;

    f->code = CORRAL_SHIM_RIGHTS;

    /* the shim's protection against the OOM killer is not the agent's */

    (void) !corral_shim_sys_write_file("/proc/self/oom_score_adj", "0");

    if (spec->cgroup != NULL) {
        f->what = "cgroup";
        (void) snprintf(path, sizeof(path), "%s/cgroup.procs", spec->cgroup);

        if (corral_shim_sys_write_file(path, "0") != 0) {
            return -1;
        }
    }

    for (i = 0; i < spec->nrlimits; i++) {
        rl.rlim_cur = (rlim_t) spec->rlimits[i].soft;
        rl.rlim_max = (rlim_t) spec->rlimits[i].hard;

        f->what = spec->rlimits[i].name;

        if (setrlimit(spec->rlimits[i].resource, &rl) == -1) {
            return -1;
        }
    }

    if (spec->umask != -1) {
        (void) umask((mode_t) spec->umask);
    }

    /* groups before the user: afterwards there is no right to change them */

    if (spec->gid != -1) {
        f->what = "group";

        for (i = 0; i < spec->ngroups; i++) {
            groups[i] = (gid_t) spec->groups[i];
        }

        if (setgroups(spec->ngroups, groups) == -1
            || setresgid((gid_t) spec->gid, (gid_t) spec->gid,
                         (gid_t) spec->gid) == -1)
        {
            return -1;
        }
    }

    if (spec->uid != -1) {
        f->what = "user";

        if (setresuid((uid_t) spec->uid, (uid_t) spec->uid,
                      (uid_t) spec->uid) == -1)
        {
            return -1;
        }
    }

    /*
     * No set-user-id program raises its rights any more.  Such a program would
     * also lose PDEATHSIG.
     */

    f->what = "no_new_privs";

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) {
        return -1;
    }

    f->code = CORRAL_SHIM_SYSTEM;

    return 0;
}


/*
 * Looks for the program in the agent's own PATH, not in the shim's.  execvp()
 * is not used, because it hands a file without a known format to a shell.
 */

static void
corral_shim_agent_exec(corrald_wire_spec_t *spec,
    corral_shim_agent_failure_t *f)
{
    int          error;
    char         path[PATH_MAX];
    size_t       i, n;
    const char  *dirs, *end;

    f->what = "cannot execute";
    error = ENOENT;

    if (strchr(spec->argv[0], '/') != NULL) {
        error = corral_shim_agent_try(spec->argv[0], spec->argv, spec->env);
        goto failed;
    }

    dirs = "/usr/local/bin:/usr/bin:/bin";

    for (i = 0; i < spec->envc; i++) {
        if (strncmp(spec->env[i], "PATH=", 5) == 0) {
            dirs = spec->env[i] + 5;
        }
    }

    while (*dirs != '\0') {
        end = strchr(dirs, ':');
        n = (end == NULL) ? strlen(dirs) : (size_t) (end - dirs);

        /* an empty or relative entry would mean the working directory */

        if (*dirs == '/'
            && (size_t) snprintf(path, sizeof(path), "%.*s/%s", (int) n, dirs,
                                 spec->argv[0]) < sizeof(path))
        {
            n = (end == NULL) ? n : n + 1;

            switch (corral_shim_agent_try(path, spec->argv, spec->env)) {

            case ENOENT:
            case ENOTDIR:
                break;

            default:
                error = errno;
            }

        } else if (end != NULL) {
            n++;
        }

        dirs += n;
    }

failed:

    f->code = (error == ENOENT || error == ENOTDIR) ? CORRAL_SHIM_NOT_FOUND
                                                    : CORRAL_SHIM_NOT_EXEC;
    errno = error;
}


/* Returns only with an error. */

static int
corral_shim_agent_try(const char *path, char **argv, char **env)
{
    (void) execve(path, argv, env);

    return errno;
}


static void
corral_shim_agent_signals(void)
{
    int            sig;
    sigset_t       set;
    unsigned long  action[4] = { 0 };      /* the kernel's form: SIG_DFL */

    /*
     * Ignored signals stay ignored over execve(), so all are set.  glibc's
     * sigaction() leaves out 32 and 33, which a parent may have ignored.
     */

    for (sig = 1; sig < NSIG; sig++) {
        (void) syscall(SYS_rt_sigaction, sig, action, NULL, 8);
    }

    (void) sigemptyset(&set);
    (void) sigprocmask(SIG_SETMASK, &set, NULL);
}
