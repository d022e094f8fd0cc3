/*
 * The words between corrald and corral-shim, and the record that a shim
 * leaves on disk.
 *
 * Everything is a sequence of "key=value" strings.  On a pipe or socket each
 * ends with a NUL, in the exit record with a newline.  The first is always
 * "corral=1", the version.  Arguments and variables cannot hold a NUL, so no
 * escaping is needed, and a dump is read with tr '\0' '\n'.
 *
 * Pure: no I/O, no clock, no allocation.  Results point into the caller's
 * buffer.
 */


#ifndef _CORRALD_WIRE_H_INCLUDED_
#define _CORRALD_WIRE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRALD_WIRE_VERSION       1

/*
 * An argument or variable is bounded by the kernel (128 kB), all of them
 * together by what a shim is willing to hold while it starts the agent.
 */

#define CORRALD_WIRE_SPEC_MAX      524288
#define CORRALD_WIRE_ARGS_MAX      512
#define CORRALD_WIRE_ENV_MAX       1024
#define CORRALD_WIRE_GROUPS_MAX    64
#define CORRALD_WIRE_RLIMITS_MAX   16

/* One message on the socket, and one exit record: both are a few facts. */

#define CORRALD_WIRE_MSG_MAX       4096


/*
 * What a shim is told to run.  X(key, text).  "arg", "env" and "rlimit" may
 * stand many times, in their order; all others at most once.
 */

#define CORRALD_WIRE_SPEC_KEYS(X)                                             \
    X(corral,       "version, first")                                         \
    X(mode,         "run, or probe: one command with a time limit")           \
    X(instance,     "instance_id")                                            \
    X(cluster,      "name of the cluster: proves whose shim this is")         \
    X(node,         "name of the node")                                       \
    X(incarnation,  "of the instance")                                        \
    X(nonce,        "random: the last part of the identity")                  \
    X(arg,          "one argument, the first is the program")                 \
    X(env,          "one NAME=VALUE")                                         \
    X(cwd,          "working directory")                                      \
    X(uid,          "user id of the agent; absent: as the shim")              \
    X(gid,          "group id of the agent; absent: as the shim")             \
    X(groups,       "supplementary group ids, comma-separated")               \
    X(umask,        "octal")                                                  \
    X(rlimit,       "name:soft:hard, numbers or unlimited")                   \
    X(cgroup,       "directory of a cgroup v2 that the agent is put into")    \
    X(socket,       "path that the shim listens on")                          \
    X(lock,         "path of the lock file")                                  \
    X(exit,         "path of the exit record")                                \
    X(log,          "path of the log file")                                   \
    X(log_max,      "bytes of one log file until it is rotated")              \
    X(log_files,    "rotated files kept")                                     \
    X(stop_signal,  "number, for a shim that gets SIGTERM itself")            \
    X(stop_timeout, "ms from the stop signal to the kill of all")             \
    X(grace,        "ms that descendants have after the agent ended")         \
    X(timeout,      "ms, of mode probe")                                      \
    X(end,          "1, last: nothing is missing")


typedef struct {
    const char   *name;
    int           resource;
    uint64_t      soft;
    uint64_t      hard;
} corrald_wire_rlimit_t;


typedef struct {
    int           probe;             /* mode=probe */

    const char   *instance;
    const char   *cluster;
    const char   *node;
    const char   *nonce;
    const char   *cwd;
    const char   *cgroup;
    const char   *socket;
    const char   *lock;
    const char   *exit;
    const char   *log;

    char         *argv[CORRALD_WIRE_ARGS_MAX + 1];
    char         *env[CORRALD_WIRE_ENV_MAX + 1];
    size_t        argc;
    size_t        envc;

    uint32_t      groups[CORRALD_WIRE_GROUPS_MAX];
    size_t        ngroups;

    corrald_wire_rlimit_t  rlimits[CORRALD_WIRE_RLIMITS_MAX];
    size_t        nrlimits;

    int64_t       uid;               /* -1: not set */
    int64_t       gid;               /* -1: not set */
    int64_t       umask;             /* -1: not set */
    uint32_t      incarnation;
    uint64_t      log_max;           /* bytes */
    uint32_t      log_files;
    int           stop_signal;
    uint32_t      stop_timeout;      /* ms */
    uint32_t      grace;             /* ms */
    uint32_t      timeout;           /* ms */
} corrald_wire_spec_t;


/*
 * Messages.  X(type, from, text).  corrald asks; the shim sends hello to each
 * new connection, exit when the agent ended, gone when nothing of it is left.
 */

#define CORRALD_WIRE_TYPES(X)                                                 \
    X(hello,  shim,    "who I am and what I run")                             \
    X(exit,   shim,    "the agent ended: code or signal, times, oom")         \
    X(gone,   shim,    "the agent and all its descendants ended")             \
    X(report, shim,    "answer to status: counters of the log")               \
    X(error,  shim,    "the last message was not understood or failed")       \
    X(signal, corrald, "send signal to the agent, or to its group")           \
    X(stop,   corrald, "send signal; after timeout ms kill all")              \
    X(kill,   corrald, "kill the agent and all its descendants now")          \
    X(status, corrald, "send a report")                                       \
    X(reopen, corrald, "close the log file and open it again")                \
    X(ack,    corrald, "the exit is recorded: remove its record")

typedef enum {
    CORRALD_WIRE_NONE = 0,
#define X(type, from, text)  CORRALD_WIRE_##type,
    CORRALD_WIRE_TYPES(X)
#undef X
} corrald_wire_type_e;


/* Members of messages and of the exit record.  X(key, kind, text) */

#define CORRALD_WIRE_MSG_KEYS(X)                                              \
    X(instance,    string, "instance_id")                                     \
    X(cluster,     string, "name of the cluster")                             \
    X(node,        string, "name of the node")                                \
    X(nonce,       string, "random, from the spec")                           \
    X(boot_id,     string, "of the kernel")                                   \
    X(text,        string, "of an error, a sentence")                         \
    X(incarnation, number, "of the instance")                                 \
    X(pid,         number, "of the agent")                                    \
    X(start_time,  number, "of the agent: clock ticks after boot")            \
    X(shim_pid,    number, "of the shim")                                     \
    X(started_at,  number, "start of the agent, ms since 1970")               \
    X(ended_at,    number, "its end, ms since 1970; 0: it lives")             \
    X(code,        number, "exit code")                                       \
    X(signal,      number, "in exit: that ended it; else: to be sent")        \
    X(group,       number, "1: to the whole process group")                   \
    X(timeout,     number, "ms")                                              \
    X(oom,         number, "1: killed for want of memory")                    \
    X(killed,      number, "1: it ignored the stop signal")                   \
    X(lost,        number, "1: the shim was killed, its guard wrote this")    \
    X(utime,       number, "ms of processor time in user mode")               \
    X(stime,       number, "ms of processor time in the kernel")              \
    X(maxrss,      number, "kB, largest resident set")                        \
    X(lines,       number, "lines written to the log")                        \
    X(dropped,     number, "lines not written, for want of space")            \
    X(rotations,   number, "of the log")

typedef struct {
    corrald_wire_type_e   type;
#define corrald_wire_string  const char *
#define corrald_wire_number  int64_t
#define X(key, kind, text)  corrald_wire_##kind key;
    CORRALD_WIRE_MSG_KEYS(X)
#undef X
#undef corrald_wire_string
#undef corrald_wire_number
} corrald_wire_msg_t;


/* A writer into the caller's buffer.  full is set when something was lost. */

typedef struct {
    char         *buf;
    size_t        size;
    size_t        len;
    char          sep;               /* '\0' or '\n' */
    int           full;
} corrald_wire_t;


void corrald_wire_begin(corrald_wire_t *w, char *buf, size_t size, char sep);
void corrald_wire_add(corrald_wire_t *w, const char *key, const char *value);
void corrald_wire_num(corrald_wire_t *w, const char *key, int64_t value);

int corrald_wire_parse_spec(char *buf, size_t len, corrald_wire_spec_t *spec,
    char *err, size_t size) __attribute__((warn_unused_result));
int corrald_wire_parse_msg(char *buf, size_t len, char sep,
    corrald_wire_msg_t *msg, char *err, size_t size)
    __attribute__((warn_unused_result));
void corrald_wire_write_msg(corrald_wire_t *w, const corrald_wire_msg_t *msg);
const char *corrald_wire_type_name(corrald_wire_type_e type);
int corrald_wire_rlimit(const char *name);


#endif /* _CORRALD_WIRE_H_INCLUDED_ */
