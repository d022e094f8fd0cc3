/*
 * The output of agents: which files there are, lines of them, and following
 * them.  See logs.c (files), logs_line.c, logs_tail.c and logs_follow.c.
 *
 * Files are <log_dir>/<instance_id>.log and, rotated, .log.1, .log.2 ...; they
 * are written by corral-shim (see shim_log.c for the form of a line) and kept
 * for a while after the instance is gone.
 */


#ifndef _CORRALD_LOGS_H_INCLUDED_
#define _CORRALD_LOGS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>


/* Levels, in their order.  X(level) */

#define CORRALD_LOGS_LEVELS(X)                                                \
    X(trace)                                                                  \
    X(debug)                                                                  \
    X(info)                                                                   \
    X(warn)                                                                   \
    X(error)                                                                  \
    X(fatal)

typedef enum {
    CORRALD_LOGS_NONE = 0,           /* the line does not say */
#define X(level)  CORRALD_LOGS_##level,
    CORRALD_LOGS_LEVELS(X)
#undef X
} corrald_logs_level_e;


/* One line.  text is borrowed and not ended by NUL. */

typedef struct {
    int64_t               time;      /* ms since 1970 */
    char                  stream;    /* 'O', 'E', or 'S': the shim itself */
    int                   partial;   /* goes on in the next of this stream */
    corrald_logs_level_e  level;
    const char           *text;
    size_t                len;
} corrald_logs_line_t;


/*
 * Which lines.  All conditions must hold; zero means: not asked for.
 */

typedef struct {
    int64_t               since;     /* ms since 1970, inclusive */
    int64_t               until;     /* ms since 1970, exclusive */
    char                  stream;    /* 'O', 'E', 'S' */

    /*
     * At least this level.  A line that does not say its own counts as info
     * on standard output and as warn on standard error.
     */
    corrald_logs_level_e  level;
    const char           *search;    /* a part of the text, case ignored */
    size_t                tail;      /* the newest so many, at most MAX */
} corrald_logs_query_t;

#define CORRALD_LOGS_TAIL_MAX  10000
#define CORRALD_LOGS_BYTES     8388608   /* of text in one answer */


/* ---- one line (pure): logs_line.c ---- */

/* "warn", "warning", "W", 40 ... or NONE */

corrald_logs_level_e corrald_logs_level(const char *word, size_t len);
const char *corrald_logs_level_name(corrald_logs_level_e level);

/* Takes a line of a file apart.  Returns 0, or -1 when it is not one. */

int corrald_logs_parse(const char *data, size_t len, corrald_logs_line_t *line)
    __attribute__((warn_unused_result));

/* Whether a line is asked for; tail is not looked at. */

int corrald_logs_match(const corrald_logs_line_t *line,
    const corrald_logs_query_t *query);

/* One line as the object of an answer; a new reference, or NULL. */

json_t *corrald_logs_json(const char *instance_id,
    const corrald_logs_line_t *line);


/* ---- files: logs.c ---- */

/*
 * All instances of this node that have logs, also those that are gone: array
 * of {instance_id, service (name), files, bytes, modified}.  Newest first.
 * service: NULL for all.  Reads a directory: call it on a thread or seldom.
 */

json_t *corrald_logs_list(const char *service);

/* Files of one instance, newest first: array of {file, bytes, modified}. */

json_t *corrald_logs_files(const char *instance_id);

/*
 * Opens the n-th file (0: the newest) for reading, to be sent as it is.
 * Returns a descriptor and its size, or -1 with a sentence.
 */

int corrald_logs_open(const char *instance_id, unsigned n, int64_t *bytes,
    char *err, size_t size) __attribute__((warn_unused_result));


/* ---- the newest lines: logs_tail.c ---- */

/*
 * Reads on a thread of the pool; handler is called on the loop exactly once.
 * The answer is an object:
 *
 *     lines    array of {time, instance_id, stream: "stdout" | "stderr" |
 *              "corral", level: word or null, partial, text}, oldest first,
 *              merged by time when there are several instances
 *     cursor   of a single instance: where to follow from
 *     truncated  true when CORRALD_LOGS_BYTES was reached first
 *
 * Text that is not UTF-8 has its bad bytes replaced by U+FFFD.  value is
 * borrowed and NULL exactly when err is a sentence.  An instance without logs
 * gives no lines.  query and names are copied.
 */

typedef void (*corrald_logs_pt)(json_t *value, const char *err, void *data);

void corrald_logs_fetch(const char *const *instance_ids, size_t n,
    const corrald_logs_query_t *query, corrald_logs_pt handler, void *data);


/* ---- following: logs_follow.c ---- */

/*
 * line is called on the loop for each new line that matches (tail and since
 * are not looked at), across rotations and restarts of the agent.  cursor is
 * that of a fetch, or NULL for the end of the log.  gone is called once, when
 * the logs were removed; then, as after corrald_logs_unfollow(), nothing more
 * comes.  line returns 0; other than 0 pauses until corrald_logs_resume(), the
 * line itself counts as taken.  Returns NULL with a sentence.
 */

typedef struct corrald_logs_follow_s  corrald_logs_follow_t;

typedef int (*corrald_logs_line_pt)(const corrald_logs_line_t *line,
    void *data);
typedef void (*corrald_logs_gone_pt)(void *data);

corrald_logs_follow_t *corrald_logs_follow(const char *instance_id,
    const corrald_logs_query_t *query, const char *cursor,
    corrald_logs_line_pt line, corrald_logs_gone_pt gone, void *data,
    char *err, size_t size);
void corrald_logs_resume(corrald_logs_follow_t *follow);
void corrald_logs_unfollow(corrald_logs_follow_t **follow);


#endif /* _CORRALD_LOGS_H_INCLUDED_ */
