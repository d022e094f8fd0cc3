/*
 * corral-shim: the parent of one agent process.
 *
 *     corral-shim [INSTANCE] < description
 *
 * corrald writes the description (base/wire.h) to standard input.  The program
 * starts the agent, detaches itself and exits with a code of CORRAL_SHIM_CODES
 * and, if that is not 0, a sentence on standard error.  What it leaves:
 *
 *     guard ─ shim ─ agent ─ ...
 *
 * The shim owns the agent's output, writes its log, tells corrald over a
 * socket how it ends and leaves a record of that on disk.  It does not decide
 * anything: when to start, stop or restart is corrald's affair.  It outlives
 * corrald.
 *
 * The guard does nothing but wait for the shim.  If that is killed, the kernel
 * kills the agent (PDEATHSIG); the agent's descendants fall to the guard, as
 * the next subreaper, which kills them and writes the record.
 *
 * The lock file is locked as long as anything of this lives: guard, shim,
 * agent, or a descendant that kept the descriptor.
 *
 * One process, one thread, no library beyond libc.  Memory is bounded: two
 * lines, one output buffer, and the description until the agent runs.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"


/* of CORRAL_SHIM_KILL_TICK: 0.4 s until a lock counts as held */

#define CORRAL_SHIM_LOCK_TRIES  20

#define CORRAL_SHIM_HELP  "usage: corral-shim [INSTANCE] < description\n"


static int corral_shim_read_spec(char **buf, size_t *len);
static int corral_shim_await(int report);
static void corral_shim_tell(int report, int code, const char *text);
static void corral_shim_guard(corrald_wire_spec_t *spec, char *buf,
    int report);
static void corral_shim_guard_wait(corral_shim_t *shim, pid_t pid);
static void corral_shim_shim(corral_shim_t *shim, corrald_wire_spec_t *spec,
    char *buf, int report);
static int corral_shim_keep(corral_shim_t *shim, corrald_wire_spec_t *spec);
static int corral_shim_probe(corrald_wire_spec_t *spec);


/* Static: its pages are touched only as far as they are used. */

static corral_shim_t        corral_shim;
static corrald_wire_spec_t  corral_shim_spec;


int
main(int argc, char **argv)
{
    int      code, report[2];
    char    *buf, text[512];
    pid_t    pid;
    size_t   len;

    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        (void) !write(2, CORRAL_SHIM_HELP, sizeof(CORRAL_SHIM_HELP) - 1);
        return CORRAL_SHIM_USAGE;
    }

    corral_shim_sys_close_others();

    /* the description holds secrets: no core file, no debugger of the user */

    (void) prctl(PR_SET_DUMPABLE, 0);

    code = corral_shim_read_spec(&buf, &len);

    if (code != CORRAL_SHIM_OK) {
        return code;
    }

    if (corrald_wire_parse_spec(buf, len, &corral_shim_spec, text,
                                sizeof(text))
        != 0)
    {
        (void) dprintf(2, "corral-shim: wrong description: %s\n", text);
        return CORRAL_SHIM_SPEC;
    }

    if (corral_shim_spec.probe) {
        return corral_shim_probe(&corral_shim_spec);
    }

    if (pipe2(report, O_CLOEXEC) == -1) {
        (void) dprintf(2, "corral-shim: pipe failed: %s\n", strerror(errno));
        return CORRAL_SHIM_SYSTEM;
    }

    pid = fork();

    if (pid == -1) {
        (void) dprintf(2, "corral-shim: fork failed: %s\n", strerror(errno));
        return CORRAL_SHIM_SYSTEM;
    }

    if (pid == 0) {
        (void) close(report[0]);
        corral_shim_guard(&corral_shim_spec, buf, report[1]);
        _exit(CORRAL_SHIM_SYSTEM);
    }

    (void) close(report[1]);

    return corral_shim_await(report[0]);
}


/* Reads standard input to its end.  Returns an exit code. */

static int
corral_shim_read_spec(char **buf, size_t *len)
{
    ssize_t  n;

    /* not of the heap, so that it can be given back whole */

    *buf = mmap(NULL, CORRALD_WIRE_SPEC_MAX + 1, PROT_READ|PROT_WRITE,
                MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (*buf == MAP_FAILED) {
        (void) dprintf(2, "corral-shim: no memory\n");
        return CORRAL_SHIM_SYSTEM;
    }

    *len = 0;

    for ( ;; ) {
        n = read(0, *buf + *len, CORRALD_WIRE_SPEC_MAX + 1 - *len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            (void) dprintf(2, "corral-shim: cannot read the description: %s\n",
                           strerror(errno));
            return CORRAL_SHIM_SYSTEM;
        }

        if (n == 0) {
            return CORRAL_SHIM_OK;
        }

        *len += (size_t) n;

        if (*len > CORRALD_WIRE_SPEC_MAX) {
            (void) dprintf(2, "corral-shim: the description is longer than "
                           "%d bytes\n", CORRALD_WIRE_SPEC_MAX);
            return CORRAL_SHIM_SPEC;
        }
    }
}


/* Waits for the word of the guard or the shim.  Returns an exit code. */

static int
corral_shim_await(int report)
{
    char     buf[1024];
    size_t   len;
    ssize_t  n;

    len = 0;

    while (len < sizeof(buf) - 1) {
        n = read(report, buf + len, sizeof(buf) - 1 - len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            break;
        }

        len += (size_t) n;
    }

    if (len == 0) {
        (void) dprintf(2, "corral-shim: it died before the agent ran\n");
        return CORRAL_SHIM_SYSTEM;
    }

    if (buf[0] != CORRAL_SHIM_OK) {
        (void) dprintf(2, "corral-shim: %.*s\n", (int) (len - 1), buf + 1);
    }

    return (unsigned char) buf[0];
}


static void
corral_shim_tell(int report, int code, const char *text)
{
    char    buf[1024];
    size_t  len;

    len = strlen(text);

    if (len > sizeof(buf) - 2) {
        len = sizeof(buf) - 2;
    }

    buf[0] = (char) code;
    memcpy(buf + 1, text, len);

    (void) !write(report, buf, len + 1);
    (void) close(report);
}


/*
 * The second process: takes the lock, starts the shim, waits.  Does not
 * return.
 */

static void
corral_shim_guard(corrald_wire_spec_t *spec, char *buf, int report)
{
    int               rc, tries;
    char              text[512];
    pid_t             pid;
    sigset_t          set;
    corral_shim_t    *shim;
    struct timespec   ts;

    shim = &corral_shim;

    (void) setsid();
    (void) prctl(PR_SET_NAME, "corral-guard");
    (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void) !chdir("/");

    (void) sigfillset(&set);
    (void) sigprocmask(SIG_SETMASK, &set, NULL);

    /* best effort: it needs a right that an unprivileged corrald has not */

    (void) !corral_shim_sys_write_file("/proc/self/oom_score_adj", "-900");

    if (corral_shim_keep(shim, spec) != 0) {
        corral_shim_tell(report, CORRAL_SHIM_SYSTEM, "no memory");
        _exit(CORRAL_SHIM_SYSTEM);
    }

    shim->lock = open(spec->lock, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (shim->lock == -1) {
        (void) snprintf(text, sizeof(text), "cannot open lock \"%.300s\": %s",
                        spec->lock, strerror(errno));
        corral_shim_tell(report, CORRAL_SHIM_FILES, text);
        _exit(CORRAL_SHIM_FILES);
    }

    /* an older guard may be just about to end: its shim said good-bye */

    for (tries = 0; ; tries++) {
        rc = flock(shim->lock, LOCK_EX|LOCK_NB);

        if (rc == 0 || tries == CORRAL_SHIM_LOCK_TRIES) {
            break;
        }

        ts.tv_sec = 0;
        ts.tv_nsec = CORRAL_SHIM_KILL_TICK * 1000000L;
        (void) nanosleep(&ts, NULL);
    }

    if (rc == -1) {
        (void) snprintf(text, sizeof(text),
                        "lock \"%.300s\" is held by another copy: %s",
                        spec->lock, strerror(errno));
        corral_shim_tell(report, CORRAL_SHIM_LOCKED, text);
        _exit(CORRAL_SHIM_LOCKED);
    }

    /* of an earlier incarnation: corrald has read it, or never will */

    (void) unlink(shim->exit);

    pid = fork();

    if (pid == -1) {
        (void) snprintf(text, sizeof(text), "fork failed: %s",
                        strerror(errno));
        corral_shim_tell(report, CORRAL_SHIM_SYSTEM, text);
        _exit(CORRAL_SHIM_SYSTEM);
    }

    if (pid == 0) {
        (void) prctl(PR_SET_NAME, "corral-shim");
        corral_shim_shim(shim, spec, buf, report);
    }

    (void) close(report);
    explicit_bzero(buf, CORRALD_WIRE_SPEC_MAX + 1);
    (void) munmap(buf, CORRALD_WIRE_SPEC_MAX + 1);
    (void) prctl(PR_SET_DUMPABLE, 1);
    corral_shim_sys_null();
    corral_shim_sys_drop_caps();

    corral_shim_guard_wait(shim, pid);
}


static void
corral_shim_guard_wait(corral_shim_t *shim, pid_t pid)
{
    int              rc, status;
    unsigned         tries;
    struct timespec  ts;

    /* only the shim: while it lives, orphans are its own */

    do {
        rc = waitpid(pid, &status, 0);
    } while (rc == -1 && errno == EINTR);

    if (rc != pid || WIFEXITED(status)) {
        _exit(rc == pid ? WEXITSTATUS(status) : CORRAL_SHIM_SYSTEM);
    }

    /* the shim was killed: whatever it left is ours now */

    ts.tv_sec = 0;
    ts.tv_nsec = CORRAL_SHIM_KILL_TICK * 1000000L;

    for (tries = 0; ; tries++) {

        while (waitpid(-1, NULL, WNOHANG) > 0) { /* void */ }

        if (corral_shim_tree_empty()) {
            break;
        }

        corral_shim_tree_kill(shim->cgroup);

        if (tries == CORRAL_SHIM_KILL_MANY) {
            ts.tv_sec = 1;
        }

        (void) nanosleep(&ts, NULL);
    }

    corral_shim_peer_identity(shim, &shim->last, CORRALD_WIRE_exit);

    shim->last.signal = SIGKILL;
    shim->last.lost = 1;
    shim->last.ended_at = corral_shim_sys_wall();

    /* the shim may have written it before: that one knows more */

    if (access(shim->exit, F_OK) == -1) {
        (void) !corral_shim_sys_record(shim->exit, &shim->last);
    }

    (void) unlink(shim->socket);

    if (shim->cgroup != NULL) {
        (void) rmdir(shim->cgroup);
    }

    _exit(CORRAL_SHIM_OK);
}


/* The third process: starts the agent and lives with it.  No return. */

static void
corral_shim_shim(corral_shim_t *shim, corrald_wire_spec_t *spec, char *buf,
    int report)
{
    int   code;
    char  text[1024];

    code = corral_shim_loop_run(shim, spec, buf, text, sizeof(text));

    corral_shim_tell(report, code, code == CORRAL_SHIM_OK ? "" : text);

    if (code == CORRAL_SHIM_OK) {
        corral_shim_sys_null();
        corral_shim_sys_drop_caps();
        corral_shim_loop_turns(shim);

        if (shim->cgroup != NULL) {
            (void) rmdir(shim->cgroup);
        }
    }

    if (shim->listen > 0) {
        (void) unlink(shim->socket);
    }

    _exit(code);
}


/*
 * Copies what is needed longer than the description.  Returns 0, or -1 without
 * memory.  Never freed: it lives as long as the process.
 */

static int
corral_shim_keep(corral_shim_t *shim, corrald_wire_spec_t *spec)
{
    int     n;
    size_t  i;

    const struct {
        const char  **to;
        const char   *from;
    } strings[] = {
        { &shim->instance, spec->instance },
        { &shim->cluster,  spec->cluster  },
        { &shim->node,     spec->node     },
        { &shim->nonce,    spec->nonce    },
        { &shim->cgroup,   spec->cgroup   },
        { &shim->socket,   spec->socket   },
        { &shim->exit,     spec->exit     },
        { &shim->log.path, spec->log      }
    };

    for (i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {

        if (strings[i].from == NULL) {
            continue;
        }

        *strings[i].to = strdup(strings[i].from);

        if (*strings[i].to == NULL) {
            return -1;
        }
    }

    shim->incarnation = spec->incarnation;
    shim->stop_signal = spec->stop_signal ? spec->stop_signal : SIGTERM;
    shim->stop_timeout = spec->stop_timeout ? spec->stop_timeout : 10000;
    shim->grace = spec->grace;
    shim->log.max = spec->log_max;
    shim->log.files = spec->log_files;

    n = corral_shim_sys_read_file("/proc/sys/kernel/random/boot_id",
                              shim->boot_id, sizeof(shim->boot_id));

    if (n > 0 && shim->boot_id[n - 1] == '\n') {
        shim->boot_id[n - 1] = '\0';
    }

    return 0;
}


/*
 * Mode probe: one command, its output is ours, with a time limit and with the
 * same rights as an agent.  Returns its exit code, 128 + signal, or one of our
 * own with a sentence.
 */

static int
corral_shim_probe(corrald_wire_spec_t *spec)
{
    int              code, status, result;
    char             text[512];
    pid_t            pid, ended;
    sigset_t         set;
    int64_t          end;
    struct timespec  ts;

    (void) prctl(PR_SET_CHILD_SUBREAPER, 1);

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGCHLD);
    (void) sigaddset(&set, SIGTERM);
    (void) sigprocmask(SIG_BLOCK, &set, NULL);

    end = corral_shim_sys_now() + spec->timeout;
    pid = corral_shim_agent_start(spec, 1, 2, -1, &code, text, sizeof(text));

    if (pid == -1) {
        (void) dprintf(2, "corral-shim: %s\n", text);
        return code;
    }

    result = -1;

    while (result == -1) {

        for ( ;; ) {
            ended = waitpid(-1, &status, WNOHANG);

            if (ended <= 0) {
                break;
            }

            if (ended == pid) {
                result = WIFEXITED(status) ? WEXITSTATUS(status)
                                           : 128 + WTERMSIG(status);
            }
        }

        if (result != -1) {
            break;
        }

        if (corral_shim_sys_now() >= end) {
            result = CORRAL_SHIM_TIMEOUT;
            break;
        }

        ts.tv_sec = (end - corral_shim_sys_now()) / 1000;
        ts.tv_nsec = ((end - corral_shim_sys_now()) % 1000 + 1) * 1000000L;

        if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec > 999999999) {
            ts.tv_sec = 0;
            ts.tv_nsec = 1000000;
        }

        /* SIGTERM: the answer is not wanted any more */

        if (sigtimedwait(&set, NULL, &ts) == SIGTERM) {
            result = CORRAL_SHIM_TIMEOUT;
        }
    }

    ts.tv_sec = 0;
    ts.tv_nsec = CORRAL_SHIM_KILL_TICK * 1000000L;

    while (!corral_shim_tree_empty()) {
        corral_shim_tree_kill(NULL);
        (void) sigtimedwait(&set, NULL, &ts);

        while (waitpid(-1, NULL, WNOHANG) > 0) { /* void */ }
    }

    return result;
}
