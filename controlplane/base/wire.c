/*
 * Reads and writes the words between corrald and corral-shim.
 *
 * Pure: no I/O, no clock, no allocation.  The parsers work in place and leave
 * pointers into the caller's buffer, which must outlive the result.  All input
 * is taken to be hostile: every number is bounded, a key that may stand once
 * stands once, and an unknown one is an error, because a shim that ignored
 * half of its instructions would run the agent with rights it must not have.
 */


#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "wire.h"


typedef struct {
    char         *pos;
    char         *last;
    char          sep;
} corrald_wire_reader_t;


typedef enum {
#define X(key, text)  CORRALD_WIRE_SPEC_##key,
    CORRALD_WIRE_SPEC_KEYS(X)
#undef X
    CORRALD_WIRE_SPEC_LAST
} corrald_wire_spec_key_e;


static const char  *corrald_wire_spec_keys[] = {
#define X(key, text)  #key,
    CORRALD_WIRE_SPEC_KEYS(X)
#undef X
};


static const char  *corrald_wire_types[] = {
    "none",
#define X(type, from, text)  #type,
    CORRALD_WIRE_TYPES(X)
#undef X
};


static const struct {
    const char   *name;
    int           resource;
} corrald_wire_rlimits[] = {
    { "as",      RLIMIT_AS      },
    { "core",    RLIMIT_CORE    },
    { "cpu",     RLIMIT_CPU     },
    { "data",    RLIMIT_DATA    },
    { "fsize",   RLIMIT_FSIZE   },
    { "memlock", RLIMIT_MEMLOCK },
    { "nofile",  RLIMIT_NOFILE  },
    { "nproc",   RLIMIT_NPROC   },
    { "stack",   RLIMIT_STACK   }
};


static int corrald_wire_spec_pair(corrald_wire_spec_t *spec, const char *key,
    char *value, uint64_t *seen, char *err, size_t size);
static int corrald_wire_spec_many(corrald_wire_spec_t *spec,
    corrald_wire_spec_key_e id, char *value, char *err, size_t size);
static int corrald_wire_spec_number(corrald_wire_spec_t *spec,
    corrald_wire_spec_key_e id, const char *value, char *err, size_t size);
static int corrald_wire_spec_string(corrald_wire_spec_t *spec,
    corrald_wire_spec_key_e id, const char *value, char *err, size_t size);
static int corrald_wire_spec_check(const corrald_wire_spec_t *spec, char *err,
    size_t size);
static int corrald_wire_groups(corrald_wire_spec_t *spec, const char *value);
static int corrald_wire_parse_rlimit(corrald_wire_spec_t *spec, char *value);
static int corrald_wire_next(corrald_wire_reader_t *r, char **key,
    char **value);
static int corrald_wire_first(corrald_wire_reader_t *r, char *err,
    size_t size);
static int corrald_wire_number(const char *text, int base, uint64_t max,
    uint64_t *n);


/*
 * Starts a sequence in buf with the version.  sep is '\0' for pipes and
 * sockets, '\n' for files.
 */

void
corrald_wire_begin(corrald_wire_t *w, char *buf, size_t size, char sep)
{
    w->buf = buf;
    w->size = size;
    w->len = 0;
    w->sep = sep;
    w->full = 0;

    corrald_wire_num(w, "corral", CORRALD_WIRE_VERSION);
}


/*
 * Adds one pair.  What does not fit, and a value that holds the separator, is
 * left out and sets w->full: the caller looks at it once, at the end.
 */

void
corrald_wire_add(corrald_wire_t *w, const char *key, const char *value)
{
    size_t  klen, vlen;

    klen = strlen(key);
    vlen = strlen(value);

    if (w->len + klen + vlen + 2 > w->size
        || (w->sep != '\0' && strchr(value, w->sep) != NULL))
    {
        w->full = 1;
        return;
    }

    memcpy(w->buf + w->len, key, klen);
    w->len += klen;
    w->buf[w->len++] = '=';
    memcpy(w->buf + w->len, value, vlen);
    w->len += vlen;
    w->buf[w->len++] = w->sep;
}


/* Adds one pair whose value is a number. */

void
corrald_wire_num(corrald_wire_t *w, const char *key, int64_t value)
{
    char  text[24];

    (void) snprintf(text, sizeof(text), "%lld", (long long) value);

    corrald_wire_add(w, key, text);
}


/*
 * Reads what a shim is to run.  Returns 0, or -1 with a sentence in err.  The
 * strings of spec point into buf.
 */

int
corrald_wire_parse_spec(char *buf, size_t len, corrald_wire_spec_t *spec,
    char *err, size_t size)
{
    int                     rc;
    char                   *key, *value;
    uint64_t                seen;
    corrald_wire_reader_t   r;

    memset(spec, 0, sizeof(corrald_wire_spec_t));

    spec->uid = -1;
    spec->gid = -1;
    spec->umask = -1;

    r.pos = buf;
    r.last = buf + len;
    r.sep = '\0';

    if (corrald_wire_first(&r, err, size) != 0) {
        return -1;
    }

    seen = 1;

    for ( ;; ) {
        rc = corrald_wire_next(&r, &key, &value);

        if (rc == 0) {
            break;
        }

        if (rc == -1) {
            (void) snprintf(err, size, "a member is not key=value");
            return -1;
        }

        if (corrald_wire_spec_pair(spec, key, value, &seen, err, size) != 0) {
            return -1;
        }
    }

    if ((seen & (1ull << CORRALD_WIRE_SPEC_end)) == 0) {
        (void) snprintf(err, size, "the end is missing: it was cut off");
        return -1;
    }

    return corrald_wire_spec_check(spec, err, size);
}


static int
corrald_wire_spec_pair(corrald_wire_spec_t *spec, const char *key, char *value,
    uint64_t *seen, char *err, size_t size)
{
    int                       i;
    uint64_t                  bit;
    corrald_wire_spec_key_e   id;

    for (i = 0; i < CORRALD_WIRE_SPEC_LAST; i++) {
        if (strcmp(key, corrald_wire_spec_keys[i]) == 0) {
            break;
        }
    }

    if (i == CORRALD_WIRE_SPEC_LAST) {
        (void) snprintf(err, size, "unknown member \"%.64s\"", key);
        return -1;
    }

    id = (corrald_wire_spec_key_e) i;
    bit = 1ull << i;

    if (*seen & (1ull << CORRALD_WIRE_SPEC_end)) {
        (void) snprintf(err, size, "\"%.64s\" stands after the end", key);
        return -1;
    }

    if (id == CORRALD_WIRE_SPEC_arg || id == CORRALD_WIRE_SPEC_env
        || id == CORRALD_WIRE_SPEC_rlimit)
    {
        return corrald_wire_spec_many(spec, id, value, err, size);
    }

    if (*seen & bit) {
        (void) snprintf(err, size, "\"%.64s\" stands twice", key);
        return -1;
    }

    *seen |= bit;

    return corrald_wire_spec_number(spec, id, value, err, size);
}


static int
corrald_wire_spec_many(corrald_wire_spec_t *spec, corrald_wire_spec_key_e id,
    char *value, char *err, size_t size)
{
    char  *p;

    if (id == CORRALD_WIRE_SPEC_arg) {

        if (spec->argc == CORRALD_WIRE_ARGS_MAX) {
            (void) snprintf(err, size, "more than %d arguments",
                            CORRALD_WIRE_ARGS_MAX);
            return -1;
        }

        spec->argv[spec->argc++] = value;
        return 0;
    }

    if (id == CORRALD_WIRE_SPEC_env) {

        p = strchr(value, '=');

        /* the value may be a secret: never in an error */

        if (p == NULL || p == value) {
            (void) snprintf(err, size, "variable %zu is not NAME=VALUE",
                            spec->envc + 1);
            return -1;
        }

        if (spec->envc == CORRALD_WIRE_ENV_MAX) {
            (void) snprintf(err, size, "more than %d variables",
                            CORRALD_WIRE_ENV_MAX);
            return -1;
        }

        spec->env[spec->envc++] = value;
        return 0;
    }

    if (corrald_wire_parse_rlimit(spec, value) != 0) {
        (void) snprintf(err, size, "rlimit \"%.64s\" is not name:soft:hard "
                        "with soft not above hard", value);
        return -1;
    }

    return 0;
}


static int
corrald_wire_spec_number(corrald_wire_spec_t *spec,
    corrald_wire_spec_key_e id, const char *value, char *err, size_t size)
{
    int       base, rc;
    uint64_t  n, max;

    base = 10;

    switch (id) {

    case CORRALD_WIRE_SPEC_uid:
    case CORRALD_WIRE_SPEC_gid:
        max = 4294967294u;
        break;

    case CORRALD_WIRE_SPEC_umask:
        base = 8;
        max = 0777;
        break;

    case CORRALD_WIRE_SPEC_incarnation:
        max = 4294967295u;
        break;

    case CORRALD_WIRE_SPEC_log_max:
        max = 1099511627776ull;
        break;

    case CORRALD_WIRE_SPEC_log_files:
        max = 1000;
        break;

    case CORRALD_WIRE_SPEC_stop_signal:
        max = 64;
        break;

    case CORRALD_WIRE_SPEC_stop_timeout:
    case CORRALD_WIRE_SPEC_grace:
    case CORRALD_WIRE_SPEC_timeout:
        max = 86400000;
        break;

    case CORRALD_WIRE_SPEC_end:
        max = 1;
        break;

    default:
        return corrald_wire_spec_string(spec, id, value, err, size);
    }

    rc = corrald_wire_number(value, base, max, &n);

    if (rc != 0) {
        (void) snprintf(err, size, "%s \"%.64s\" is not a number up to %llu",
                        corrald_wire_spec_keys[id], value,
                        (unsigned long long) max);
        return -1;
    }

    switch (id) {
    case CORRALD_WIRE_SPEC_uid:           spec->uid = (int64_t) n;       break;
    case CORRALD_WIRE_SPEC_gid:           spec->gid = (int64_t) n;       break;
    case CORRALD_WIRE_SPEC_umask:         spec->umask = (int64_t) n;     break;
    case CORRALD_WIRE_SPEC_incarnation:   spec->incarnation = n;         break;
    case CORRALD_WIRE_SPEC_log_max:       spec->log_max = n;             break;
    case CORRALD_WIRE_SPEC_log_files:     spec->log_files = n;           break;
    case CORRALD_WIRE_SPEC_stop_signal:   spec->stop_signal = (int) n;   break;
    case CORRALD_WIRE_SPEC_stop_timeout:  spec->stop_timeout = n;        break;
    case CORRALD_WIRE_SPEC_grace:         spec->grace = n;               break;
    case CORRALD_WIRE_SPEC_timeout:       spec->timeout = n;             break;
    default:                                                             break;
    }

    return 0;
}


static int
corrald_wire_spec_string(corrald_wire_spec_t *spec,
    corrald_wire_spec_key_e id, const char *value, char *err, size_t size)
{
    const char  **field;

    field = NULL;

    switch (id) {

    case CORRALD_WIRE_SPEC_mode:

        if (strcmp(value, "run") == 0) {
            return 0;
        }

        if (strcmp(value, "probe") == 0) {
            spec->probe = 1;
            return 0;
        }

        (void) snprintf(err, size, "mode \"%.64s\" is not run or probe",
                        value);
        return -1;

    case CORRALD_WIRE_SPEC_groups:

        if (corrald_wire_groups(spec, value) != 0) {
            (void) snprintf(err, size, "groups \"%.64s\" are not at most %d "
                            "numbers with commas", value,
                            CORRALD_WIRE_GROUPS_MAX);
            return -1;
        }

        return 0;

    case CORRALD_WIRE_SPEC_instance:  field = &spec->instance;  break;
    case CORRALD_WIRE_SPEC_cluster:   field = &spec->cluster;   break;
    case CORRALD_WIRE_SPEC_node:      field = &spec->node;      break;
    case CORRALD_WIRE_SPEC_nonce:     field = &spec->nonce;     break;
    case CORRALD_WIRE_SPEC_cwd:       field = &spec->cwd;       break;
    case CORRALD_WIRE_SPEC_cgroup:    field = &spec->cgroup;    break;
    case CORRALD_WIRE_SPEC_socket:    field = &spec->socket;    break;
    case CORRALD_WIRE_SPEC_lock:      field = &spec->lock;      break;
    case CORRALD_WIRE_SPEC_exit:      field = &spec->exit;      break;
    case CORRALD_WIRE_SPEC_log:       field = &spec->log;       break;

    default:
        (void) snprintf(err, size, "\"%s\" cannot stand here",
                        corrald_wire_spec_keys[id]);
        return -1;
    }

    if (value[0] == '\0' || strlen(value) > 4095) {
        (void) snprintf(err, size, "%s is empty or longer than 4095 bytes",
                        corrald_wire_spec_keys[id]);
        return -1;
    }

    *field = value;

    return 0;
}


static int
corrald_wire_spec_check(const corrald_wire_spec_t *spec, char *err,
    size_t size)
{
    size_t  i;

    const struct {
        const char  *name;
        const char  *value;
        int          path;
        int          run;
    } needed[] = {
        { "instance", spec->instance, 0, 1 },
        { "cluster",  spec->cluster,  0, 1 },
        { "node",     spec->node,     0, 1 },
        { "nonce",    spec->nonce,    0, 1 },
        { "cwd",      spec->cwd,      1, 0 },
        { "socket",   spec->socket,   1, 1 },
        { "lock",     spec->lock,     1, 1 },
        { "exit",     spec->exit,     1, 1 },
        { "log",      spec->log,      1, 1 }
    };

    if (spec->argc == 0 || spec->argv[0][0] == '\0') {
        (void) snprintf(err, size, "no program is named");
        return -1;
    }

    for (i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {

        if (spec->probe && needed[i].run) {
            continue;
        }

        if (needed[i].value == NULL) {
            (void) snprintf(err, size, "%s is missing", needed[i].name);
            return -1;
        }

        if (needed[i].path && needed[i].value[0] != '/') {
            (void) snprintf(err, size, "%s \"%.128s\" is not an absolute path",
                            needed[i].name, needed[i].value);
            return -1;
        }
    }

    if (spec->cgroup != NULL && spec->cgroup[0] != '/') {
        (void) snprintf(err, size, "cgroup \"%.128s\" is not an absolute path",
                        spec->cgroup);
        return -1;
    }

    if (spec->probe && spec->timeout == 0) {
        (void) snprintf(err, size, "a probe needs a timeout");
        return -1;
    }

    if (!spec->probe && spec->log_max < 4096) {
        (void) snprintf(err, size, "log_max is below 4096");
        return -1;
    }

    return 0;
}


static int
corrald_wire_groups(corrald_wire_spec_t *spec, const char *value)
{
    const char  *p;
    uint64_t     n;

    p = value;

    while (*p != '\0') {

        if (spec->ngroups == CORRALD_WIRE_GROUPS_MAX) {
            return -1;
        }

        if (*p < '0' || *p > '9') {
            return -1;
        }

        n = 0;

        while (*p >= '0' && *p <= '9') {
            n = n * 10 + (uint64_t) (*p++ - '0');

            if (n > 4294967294u) {
                return -1;
            }
        }

        spec->groups[spec->ngroups++] = (uint32_t) n;

        if (*p == ',' && p[1] != '\0') {
            p++;

        } else if (*p != '\0') {
            return -1;
        }
    }

    return 0;
}


static int
corrald_wire_parse_rlimit(corrald_wire_spec_t *spec, char *value)
{
    int                     i;
    char                   *soft, *hard, text[64];
    uint64_t               *to[2];
    const char             *from[2];
    corrald_wire_rlimit_t  *rl;

    /* a copy: the caller shows the whole value when it is wrong */

    if (spec->nrlimits == CORRALD_WIRE_RLIMITS_MAX
        || strlen(value) >= sizeof(text))
    {
        return -1;
    }

    memcpy(text, value, strlen(value) + 1);

    soft = strchr(text, ':');

    if (soft == NULL) {
        return -1;
    }

    *soft++ = '\0';
    hard = strchr(soft, ':');

    if (hard == NULL) {
        return -1;
    }

    *hard++ = '\0';

    rl = &spec->rlimits[spec->nrlimits];
    rl->resource = corrald_wire_rlimit(text);

    if (rl->resource == -1) {
        return -1;
    }

    for (i = 0; ; i++) {
        if (corrald_wire_rlimits[i].resource == rl->resource) {
            rl->name = corrald_wire_rlimits[i].name;
            break;
        }
    }

    from[0] = soft;
    from[1] = hard;
    to[0] = &rl->soft;
    to[1] = &rl->hard;

    for (i = 0; i < 2; i++) {

        if (strcmp(from[i], "unlimited") == 0) {
            *to[i] = (uint64_t) RLIM_INFINITY;

        } else if (corrald_wire_number(from[i], 10, UINT64_MAX - 1, to[i])
                   != 0)
        {
            return -1;
        }
    }

    if (rl->soft > rl->hard) {
        return -1;
    }

    spec->nrlimits++;

    return 0;
}


/* Returns the RLIMIT_ constant of a name such as "nofile", or -1. */

int
corrald_wire_rlimit(const char *name)
{
    size_t  i, n;

    n = sizeof(corrald_wire_rlimits) / sizeof(corrald_wire_rlimits[0]);

    for (i = 0; i < n; i++) {
        if (strcmp(name, corrald_wire_rlimits[i].name) == 0) {
            return corrald_wire_rlimits[i].resource;
        }
    }

    return -1;
}


/*
 * Reads a message, or with sep '\n' an exit record.  Returns 0, or -1 with a
 * sentence in err.  Members that are absent are NULL or 0; members that are
 * not known are skipped, because a shim may be older or newer than corrald.
 */

int
corrald_wire_parse_msg(char *buf, size_t len, char sep,
    corrald_wire_msg_t *msg, char *err, size_t size)
{
    int                     rc, i;
    char                   *key, *value;
    uint64_t                n;
    corrald_wire_reader_t   r;

    memset(msg, 0, sizeof(corrald_wire_msg_t));

    r.pos = buf;
    r.last = buf + len;
    r.sep = sep;

    if (corrald_wire_first(&r, err, size) != 0) {
        return -1;
    }

    for ( ;; ) {
        rc = corrald_wire_next(&r, &key, &value);

        if (rc == 0) {
            break;
        }

        if (rc == -1) {
            (void) snprintf(err, size, "a member is not key=value");
            return -1;
        }

        if (strcmp(key, "type") == 0) {

            for (i = 1; i <= CORRALD_WIRE_ack; i++) {
                if (strcmp(value, corrald_wire_types[i]) == 0) {
                    msg->type = (corrald_wire_type_e) i;
                }
            }

            if (msg->type == CORRALD_WIRE_NONE) {
                (void) snprintf(err, size, "unknown type \"%.64s\"", value);
                return -1;
            }

            continue;
        }

#define corrald_wire_string(member)                                           \
        msg->member = value

#define corrald_wire_number(member)                                           \
        if (corrald_wire_number(value, 10, INT64_MAX, &n) != 0) {             \
            (void) snprintf(err, size, "%s \"%.64s\" is not a number",        \
                            key, value);                                      \
            return -1;                                                        \
        }                                                                     \
        msg->member = (int64_t) n

#define X(member, kind, text)                                                 \
        if (strcmp(key, #member) == 0) {                                      \
            corrald_wire_##kind(member);                                      \
            continue;                                                         \
        }

        CORRALD_WIRE_MSG_KEYS(X)

#undef X
#undef corrald_wire_string
#undef corrald_wire_number
    }

    if (msg->type == CORRALD_WIRE_NONE) {
        (void) snprintf(err, size, "the type is missing");
        return -1;
    }

    return 0;
}


/*
 * Adds type and members of msg to a sequence that was begun; members that are
 * NULL or 0 are left out.
 */

void
corrald_wire_write_msg(corrald_wire_t *w, const corrald_wire_msg_t *msg)
{
    corrald_wire_add(w, "type", corrald_wire_types[msg->type]);

#define corrald_wire_string(member)                                           \
    if (msg->member != NULL) {                                                \
        corrald_wire_add(w, #member, msg->member);                            \
    }

#define corrald_wire_number(member)                                           \
    if (msg->member != 0) {                                                   \
        corrald_wire_num(w, #member, msg->member);                            \
    }

#define X(member, kind, text)  corrald_wire_##kind(member)

    CORRALD_WIRE_MSG_KEYS(X)

#undef X
#undef corrald_wire_string
#undef corrald_wire_number
}


/* Returns the word for a type, for logs. */

const char *
corrald_wire_type_name(corrald_wire_type_e type)
{
    return corrald_wire_types[type];
}


/* Returns 1 with a pair, 0 at the end, -1 when there is no key=value. */

static int
corrald_wire_next(corrald_wire_reader_t *r, char **key, char **value)
{
    char  *end, *eq;

    if (r->pos == r->last) {
        return 0;
    }

    end = memchr(r->pos, r->sep, (size_t) (r->last - r->pos));

    if (end == NULL) {
        return -1;
    }

    eq = memchr(r->pos, '=', (size_t) (end - r->pos));

    if (eq == NULL || eq == r->pos
        || memchr(r->pos, '\0', (size_t) (end - r->pos)) != NULL)
    {
        return -1;
    }

    *eq = '\0';
    *end = '\0';

    *key = r->pos;
    *value = eq + 1;

    r->pos = end + 1;

    return 1;
}


static int
corrald_wire_first(corrald_wire_reader_t *r, char *err, size_t size)
{
    char      *key, *value;
    uint64_t   n;

    if (corrald_wire_next(r, &key, &value) != 1
        || strcmp(key, "corral") != 0
        || corrald_wire_number(value, 10, 65535, &n) != 0)
    {
        (void) snprintf(err, size, "it does not begin with corral=VERSION");
        return -1;
    }

    if (n != CORRALD_WIRE_VERSION) {
        (void) snprintf(err, size, "version %llu is not understood, only %d",
                        (unsigned long long) n, CORRALD_WIRE_VERSION);
        return -1;
    }

    return 0;
}


static int
corrald_wire_number(const char *text, int base, uint64_t max, uint64_t *n)
{
    unsigned     digit;
    uint64_t     value;
    const char  *p;

    if (*text == '\0') {
        return -1;
    }

    value = 0;

    for (p = text; *p != '\0'; p++) {
        digit = (unsigned) (*p - '0');

        if (*p < '0' || digit >= (unsigned) base) {
            return -1;
        }

        if (digit > max || value > (max - digit) / (unsigned) base) {
            return -1;
        }

        value = value * (unsigned) base + digit;
    }

    *n = value;

    return 0;
}
