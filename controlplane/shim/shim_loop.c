/*
 * The life of a shim: starts the agent, then turns over output, signals,
 * corrald's words and deadlines until nothing of the agent is left.
 *
 * Decides nothing but one thing: what outlives the agent, or its stop time, is
 * killed.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"


/* ms an unended line waits for its newline */

#define CORRAL_SHIM_PARTIAL  1000

/*
 * Reads of 64 kB from one pipe before the other descriptors get their turn;
 * together more than a pipe can hold.
 */

#define CORRAL_SHIM_READS    8


static int corral_shim_loop_open(corral_shim_t *shim, char *text, size_t size);
static int corral_shim_loop_timeout(corral_shim_t *shim, int64_t now);
static void corral_shim_loop_due(corral_shim_t *shim, int64_t now);
static void corral_shim_loop_signalled(corral_shim_t *shim, int64_t now);
static void corral_shim_loop_reap(corral_shim_t *shim, int64_t now);
static void corral_shim_loop_agent_ended(corral_shim_t *shim, int status,
    struct rusage *ru, int64_t now);
static void corral_shim_loop_all_gone(corral_shim_t *shim, int64_t now);
static void corral_shim_loop_read(corral_shim_t *shim, int *fd,
    corral_shim_log_stream_t *s, int64_t now);


/*
 * Opens log and socket and starts the agent.  buf is the description, which is
 * given back as soon as the agent runs.  Returns an exit code of the shim;
 * unless that is CORRAL_SHIM_OK, text says why and nothing runs.
 */

int
corral_shim_loop_run(corral_shim_t *shim, corrald_wire_spec_t *spec, char *buf,
    char *text, size_t size)
{
    int   code, out[2], err[2];
    char  mark[64];

    code = corral_shim_loop_open(shim, text, size);

    if (code != CORRAL_SHIM_OK) {
        return code;
    }

    if (pipe2(out, O_CLOEXEC) == -1 || pipe2(err, O_CLOEXEC) == -1) {
        (void) snprintf(text, size, "pipe failed: %s", strerror(errno));
        return CORRAL_SHIM_SYSTEM;
    }

    /*
     * Only our end must not block: an agent that gets EAGAIN from its output
     * would lose lines.  The larger pipe takes up bursts while we write.
     */

    (void) fcntl(out[0], F_SETFL, O_NONBLOCK);
    (void) fcntl(err[0], F_SETFL, O_NONBLOCK);
    (void) fcntl(out[0], F_SETPIPE_SZ, 262144);
    (void) fcntl(err[0], F_SETPIPE_SZ, 262144);

    shim->oom_before = corral_shim_sys_oom_count(shim->cgroup);

    shim->pid = corral_shim_agent_start(spec, out[1], err[1], shim->lock,
                                        &code, text, size);
    if (shim->pid == -1) {
        return code;
    }

    (void) close(out[1]);
    (void) close(err[1]);

    shim->out = out[0];
    shim->err = err[0];
    shim->started_at = corral_shim_sys_wall();
    shim->start_time = corral_shim_sys_start_time(shim->pid);

    explicit_bzero(buf, CORRALD_WIRE_SPEC_MAX + 1);
    (void) munmap(buf, CORRALD_WIRE_SPEC_MAX + 1);
    (void) prctl(PR_SET_DUMPABLE, 1);

    (void) snprintf(mark, sizeof(mark), "started pid %d, incarnation %u",
                    (int) shim->pid, shim->incarnation);
    corral_shim_log_mark(&shim->log, mark);

    return CORRAL_SHIM_OK;
}


static int
corral_shim_loop_open(corral_shim_t *shim, char *text, size_t size)
{
    int       i;
    sigset_t  set;

    for (i = 0; i < CORRAL_SHIM_CLIENTS; i++) {
        shim->clients[i] = -1;
    }

    shim->out = -1;
    shim->err = -1;
    shim->streams[0].tag = 'O';
    shim->streams[1].tag = 'E';

    (void) prctl(PR_SET_CHILD_SUBREAPER, 1);

    /* all signals are blocked since the guard; these two are read */

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGCHLD);
    (void) sigaddset(&set, SIGTERM);

    shim->signals = signalfd(-1, &set, SFD_NONBLOCK|SFD_CLOEXEC);

    if (shim->signals == -1) {
        (void) snprintf(text, size, "signalfd failed: %s", strerror(errno));
        return CORRAL_SHIM_SYSTEM;
    }

    if (corral_shim_log_open(&shim->log) != 0) {
        (void) snprintf(text, size, "cannot open log \"%.300s\": %s",
                        shim->log.path, strerror(errno));
        return CORRAL_SHIM_FILES;
    }

    return corral_shim_peer_listen(shim, text, size);
}


/* Returns when the agent and all that it left have ended. */

void
corral_shim_loop_turns(corral_shim_t *shim)
{
    int             i, n;
    int64_t         now;
    struct pollfd   fds[4 + CORRAL_SHIM_CLIENTS];

    for ( ;; ) {
        fds[0].fd = shim->signals;
        fds[1].fd = shim->listen;
        fds[2].fd = shim->out;
        fds[3].fd = shim->err;

        for (i = 0; i < CORRAL_SHIM_CLIENTS; i++) {
            fds[4 + i].fd = shim->clients[i];
        }

        for (i = 0; i < 4 + CORRAL_SHIM_CLIENTS; i++) {
            fds[i].events = POLLIN;
            fds[i].revents = 0;
        }

        n = poll(fds, 4 + CORRAL_SHIM_CLIENTS,
                 corral_shim_loop_timeout(shim, corral_shim_sys_now()));

        now = corral_shim_sys_now();

        if (n > 0) {

            /* the output first: an exit is announced after the last words */

            if (fds[2].revents) {
                corral_shim_loop_read(shim, &shim->out, &shim->streams[0], now);
            }

            if (fds[3].revents) {
                corral_shim_loop_read(shim, &shim->err, &shim->streams[1], now);
            }

            if (fds[0].revents) {
                corral_shim_loop_signalled(shim, now);
            }

            if (fds[1].revents) {
                corral_shim_peer_accept(shim);
            }

            for (i = 0; i < CORRAL_SHIM_CLIENTS; i++) {
                if (fds[4 + i].revents && shim->clients[i] == fds[4 + i].fd) {
                    corral_shim_peer_client(shim, &shim->clients[i], now);
                }
            }
        }

        corral_shim_loop_due(shim, now);
        corral_shim_log_flush(&shim->log, now);

        if (shim->gone
            && (shim->acked
                || (shim->recorded && now >= shim->linger_at)))
        {
            return;
        }
    }
}


/* ms until the next thing is due, or -1. */

static int
corral_shim_loop_timeout(corral_shim_t *shim, int64_t now)
{
    int      i;
    int64_t  at, next;

    next = INT64_MAX;

    for (i = 0; i < 2; i++) {
        if (shim->streams[i].len > 0) {
            at = shim->streams[i].since + CORRAL_SHIM_PARTIAL;
            next = (at < next) ? at : next;
        }
    }

    if (shim->log.error != 0) {
        next = (shim->log.retry_at < next) ? shim->log.retry_at : next;
    }

    if (shim->kill_at != 0 && !shim->gone) {
        next = (shim->kill_at < next) ? shim->kill_at : next;
    }

    if (shim->gone) {
        next = (shim->linger_at < next) ? shim->linger_at : next;
    }

    if (next == INT64_MAX) {
        return -1;
    }

    at = next - now;

    /* a time that has passed and could not be served must not spin */

    return (at < 1) ? 1 : (at > 60000) ? 60000 : (int) at;
}


static void
corral_shim_loop_due(corral_shim_t *shim, int64_t now)
{
    int                        i;
    corral_shim_log_stream_t  *s;

    for (i = 0; i < 2; i++) {
        s = &shim->streams[i];

        if (s->len > 0 && now >= s->since + CORRAL_SHIM_PARTIAL) {
            corral_shim_log_partial(&shim->log, s);
        }
    }

    if (shim->kill_at != 0 && now >= shim->kill_at && !shim->gone) {

        if (!shim->ended) {
            shim->we_killed = 1;
        }

        corral_shim_tree_kill(shim->cgroup);
        shim->kills++;
        shim->kill_at = now + (shim->kills < CORRAL_SHIM_KILL_MANY
                               ? CORRAL_SHIM_KILL_TICK
                               : CORRAL_SHIM_KILL_SLOW);

        corral_shim_loop_reap(shim, now);
    }

    /* a full disk must not lose the record: it is tried until it is there */

    if (shim->ended && !shim->recorded && !shim->acked) {
        shim->recorded = (corral_shim_sys_record(shim->exit, &shim->last) == 0);
    }

    if (shim->gone && !shim->recorded && now >= shim->linger_at) {
        shim->linger_at = now + CORRAL_SHIM_LINGER;
    }
}


static void
corral_shim_loop_signalled(corral_shim_t *shim, int64_t now)
{
    ssize_t                  n;
    struct signalfd_siginfo  info;

    for ( ;; ) {
        n = read(shim->signals, &info, sizeof(info));

        if (n != sizeof(info)) {
            break;
        }

        if (info.ssi_signo == SIGTERM) {
            corral_shim_loop_stop(shim, shim->stop_signal, shim->stop_timeout,
                                  now);
        }
    }

    corral_shim_loop_reap(shim, now);
}


static void
corral_shim_loop_reap(corral_shim_t *shim, int64_t now)
{
    int            status;
    pid_t          pid;
    struct rusage  ru;

    for ( ;; ) {
        pid = wait4(-1, &status, WNOHANG, &ru);

        if (pid <= 0) {
            break;
        }

        if (pid == shim->pid) {
            corral_shim_loop_agent_ended(shim, status, &ru, now);
        }
    }

    if (shim->ended && !shim->gone && corral_shim_tree_empty()) {
        corral_shim_loop_all_gone(shim, now);
    }
}


static void
corral_shim_loop_agent_ended(corral_shim_t *shim, int status, struct rusage *ru,
    int64_t now)
{
    corrald_wire_msg_t  *exit;

    shim->ended = 1;

    exit = &shim->last;

    corral_shim_peer_identity(shim, exit, CORRALD_WIRE_exit);

    exit->ended_at = corral_shim_sys_wall();
    exit->utime = ru->ru_utime.tv_sec * 1000 + ru->ru_utime.tv_usec / 1000;
    exit->stime = ru->ru_stime.tv_sec * 1000 + ru->ru_stime.tv_usec / 1000;
    exit->maxrss = ru->ru_maxrss;
    exit->killed = shim->we_killed;

    if (WIFEXITED(status)) {
        exit->code = WEXITSTATUS(status);

    } else {
        exit->signal = WTERMSIG(status);
        exit->oom = exit->signal == SIGKILL && !shim->we_killed
                    && corral_shim_sys_oom_count(shim->cgroup)
                       > shim->oom_before;
    }

    shim->recorded = (corral_shim_sys_record(shim->exit, &shim->last) == 0);

    (void) corral_shim_peer_broadcast(shim, exit);

    if (corral_shim_tree_empty()) {
        corral_shim_loop_all_gone(shim, now);
        return;
    }

    /* what the agent left behind is asked first and killed after the grace */

    (void) corral_shim_tree_signal(SIGTERM);

    if (shim->kill_at == 0 || shim->kill_at > now + shim->grace) {
        shim->kill_at = now + shim->grace;
        shim->kill_at += (shim->kill_at == 0);
    }
}


static void
corral_shim_loop_all_gone(corral_shim_t *shim, int64_t now)
{
    char                 text[128];
    corrald_wire_msg_t   msg;
    corrald_wire_msg_t  *exit;

    shim->gone = 1;
    shim->linger_at = now;

    /*
     * Nobody writes any more, unless the agent handed its output to a stranger:
     * one turn takes what the pipes hold, not more.
     */

    corral_shim_loop_read(shim, &shim->out, &shim->streams[0], now);
    corral_shim_loop_read(shim, &shim->err, &shim->streams[1], now);

    corral_shim_log_partial(&shim->log, &shim->streams[0]);
    corral_shim_log_partial(&shim->log, &shim->streams[1]);

    exit = &shim->last;

    if (exit->signal) {
        (void) snprintf(text, sizeof(text), "ended by signal %d%s",
                        (int) exit->signal,
                        exit->oom ? ", out of memory" : "");
    } else {
        (void) snprintf(text, sizeof(text), "ended with code %d",
                        (int) exit->code);
    }

    corral_shim_log_mark(&shim->log, text);
    corral_shim_log_flush(&shim->log, now);

    corral_shim_peer_identity(shim, &msg, CORRALD_WIRE_gone);

    if (corral_shim_peer_broadcast(shim, &msg) > 0) {
        shim->linger_at = now + CORRAL_SHIM_LINGER;

    } else if (!shim->met) {
        shim->linger_at = now + CORRAL_SHIM_FIRST;
    }
}


/*
 * Sends sig to the agent and kills everything after timeout ms, or earlier if
 * an earlier end was set before.
 */

void
corral_shim_loop_stop(corral_shim_t *shim, int sig, uint32_t timeout,
    int64_t now)
{
    if (shim->ended) {
        return;
    }

    (void) kill(shim->pid, sig);

    /* one that was stopped could not hear it */

    (void) kill(shim->pid, SIGCONT);

    if (shim->kill_at == 0 || shim->kill_at > now + timeout) {
        shim->kill_at = now + timeout;
    }
}


/* Reads what a pipe can hold, at most; closes it at its end. */

static void
corral_shim_loop_read(corral_shim_t *shim, int *fd,
    corral_shim_log_stream_t *s, int64_t now)
{
    unsigned     i;
    ssize_t      n;
    static char  buf[65536];

    for (i = 0; i < CORRAL_SHIM_READS && *fd != -1; i++) {

        n = read(*fd, buf, sizeof(buf));

        if (n > 0) {
            corral_shim_log_feed(&shim->log, s, buf, (size_t) n, now);
            continue;
        }

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == 0 || errno != EAGAIN) {
            (void) close(*fd);
            *fd = -1;
        }

        return;
    }
}
