/*
 * What the files of corral-shim share: its exit codes, its state, and the
 * functions of each file.
 */


#ifndef _CORRAL_SHIM_H_INCLUDED_
#define _CORRAL_SHIM_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <sys/types.h>

#include "base/wire.h"


/* Exit codes of corral-shim, as its caller sees them.  X(name, code, text) */

#define CORRAL_SHIM_CODES(X)                                                  \
    X(OK,        0,   "the agent was started")                                \
    X(USAGE,     64,  "wrong arguments")                                      \
    X(SPEC,      65,  "the description on standard input is wrong")           \
    X(LOCKED,    69,  "another copy of the instance holds the lock")          \
    X(SYSTEM,    71,  "the system refused: fork, pipe, memory")               \
    X(FILES,     73,  "lock, socket or log cannot be created")                \
    X(RIGHTS,    77,  "user, group, limit, cgroup or directory was refused")  \
    X(TIMEOUT,   124, "mode probe: the command took too long")                \
    X(NOT_EXEC,  126, "the program cannot be executed")                       \
    X(NOT_FOUND, 127, "the program was not found")

enum {
#define X(name, code, text)  CORRAL_SHIM_##name = code,
    CORRAL_SHIM_CODES(X)
#undef X
};


/*
 * One record is at most this long, so that a reader needs no larger buffer;
 * longer lines are split.
 */

#define CORRAL_SHIM_LOG_LINE    16384

/* One write() for many lines; larger than any record. */

#define CORRAL_SHIM_LOG_OUT     65536


typedef struct {
    char          tag;               /* 'O' or 'E' */
    int64_t       since;             /* ms, when the partial line began */
    size_t        len;
    char          buf[CORRAL_SHIM_LOG_LINE];
} corral_shim_log_stream_t;


typedef struct {
    const char   *path;
    uint64_t      max;               /* bytes of one file */
    unsigned      files;             /* rotated ones kept */
    int           fd;                /* -1: not open */
    uint64_t      size;              /* of the file, without out */
    int           error;             /* errno while dropping, else 0 */
    int64_t       retry_at;          /* ms, monotonic, while dropping */
    uint64_t      gap_lines;         /* dropped since error began */
    uint64_t      gap_bytes;
    uint64_t      lines;             /* totals */
    uint64_t      dropped;
    uint64_t      rotations;
    time_t        stamp_sec;
    char          stamp[32];
    size_t        out_len;
    unsigned      out_lines;
    char          out[CORRAL_SHIM_LOG_OUT];
} corral_shim_log_t;



/* corrald, a second one while it is replaced, somebody with a debugger */

#define CORRAL_SHIM_CLIENTS     4

/* ms between two rounds of killing; after many, something is stuck */

#define CORRAL_SHIM_KILL_TICK   20
#define CORRAL_SHIM_KILL_SLOW   1000
#define CORRAL_SHIM_KILL_MANY   100

/* ms to wait for corrald's ack; the record stays on disk */

#define CORRAL_SHIM_LINGER      5000

/* ms for the first connection, when an agent ended before it could be made */

#define CORRAL_SHIM_FIRST       1000


typedef struct {
    const char                *instance;
    const char                *cluster;
    const char                *node;
    const char                *nonce;
    const char                *cgroup;
    const char                *socket;
    const char                *exit;
    char                       boot_id[64];
    uint32_t                   incarnation;
    int                        stop_signal;
    uint32_t                   stop_timeout;
    uint32_t                   grace;

    pid_t                      pid;
    uint64_t                   start_time;
    int64_t                    started_at;    /* ms since 1970 */
    uint64_t                   oom_before;

    int                        lock;
    int                        signals;
    int                        listen;
    int                        clients[CORRAL_SHIM_CLIENTS];
    int                        out;
    int                        err;

    int64_t                    kill_at;       /* monotonic ms, 0: none */
    int64_t                    grace_at;
    int64_t                    linger_at;
    unsigned                   kills;

    unsigned                   ended:1;       /* the agent */
    unsigned                   gone:1;        /* and all its descendants */
    unsigned                   met:1;         /* somebody connected */
    unsigned                   acked:1;
    unsigned                   recorded:1;    /* the record is on disk */
    unsigned                   we_killed:1;

    corrald_wire_msg_t         last;          /* the exit */
    corral_shim_log_t          log;
    corral_shim_log_stream_t   streams[2];
} corral_shim_t;


int corral_shim_loop_run(corral_shim_t *shim, corrald_wire_spec_t *spec,
    char *buf, char *text, size_t size) __attribute__((warn_unused_result));
void corral_shim_loop_turns(corral_shim_t *shim);
void corral_shim_loop_stop(corral_shim_t *shim, int sig, uint32_t timeout,
    int64_t now);

int corral_shim_peer_listen(corral_shim_t *shim, char *text, size_t size)
    __attribute__((warn_unused_result));
void corral_shim_peer_accept(corral_shim_t *shim);
void corral_shim_peer_client(corral_shim_t *shim, int *fd, int64_t now);
void corral_shim_peer_identity(corral_shim_t *shim, corrald_wire_msg_t *msg,
    corrald_wire_type_e type);
int corral_shim_peer_broadcast(corral_shim_t *shim, corrald_wire_msg_t *msg);

int corral_shim_log_open(corral_shim_log_t *log)
    __attribute__((warn_unused_result));
void corral_shim_log_feed(corral_shim_log_t *log, corral_shim_log_stream_t *s,
    const char *data, size_t len, int64_t now);
void corral_shim_log_partial(corral_shim_log_t *log,
    corral_shim_log_stream_t *s);
void corral_shim_log_mark(corral_shim_log_t *log, const char *text);
void corral_shim_log_flush(corral_shim_log_t *log, int64_t now);
void corral_shim_log_reopen(corral_shim_log_t *log);

pid_t corral_shim_agent_start(corrald_wire_spec_t *spec, int out, int err,
    int lock, int *code, char *text, size_t size)
    __attribute__((warn_unused_result));

unsigned corral_shim_tree_signal(int sig);
void corral_shim_tree_kill(const char *cgroup);
int corral_shim_tree_empty(void);

int64_t corral_shim_sys_now(void);
int64_t corral_shim_sys_wall(void);
int corral_shim_sys_read_file(const char *path, char *buf, size_t size)
    __attribute__((warn_unused_result));
int corral_shim_sys_write_file(const char *path, const char *text)
    __attribute__((warn_unused_result));
int corral_shim_sys_record(const char *record, const corrald_wire_msg_t *msg)
    __attribute__((warn_unused_result));
uint64_t corral_shim_sys_oom_count(const char *cgroup);
uint64_t corral_shim_sys_start_time(pid_t pid);
void corral_shim_sys_null(void);
void corral_shim_sys_close_others(void);
void corral_shim_sys_drop_caps(void);


#endif /* _CORRAL_SHIM_H_INCLUDED_ */
