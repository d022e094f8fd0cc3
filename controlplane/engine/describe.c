/*
 * From a service document to what corral-shim is to run.  The user, the
 * environment and the command are decided in describe_*.c.
 *
 * It reads files (env files, secrets), asks for users and resolves names, so
 * it runs on a thread of the pool and has all it needs in its own structure.
 * Secrets are in memory only, and wiped; they stand in no error.
 *
 * What it makes on disk before the start was stored: the instance's own
 * directories.  That does no harm when the start never comes.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <corral_schema.h>

#include "../base/conf.h"
#include "../model/doc.h"
#include "cgroup.h"
#include "describe_local.h"
#include "signals.h"


/* ms that descendants of an ended agent have until they are killed */

#define CORRALD_DESCRIBE_GRACE  2000


static void corrald_describe_facts(const corrald_describe_t *d,
    corrald_wire_t *wire);
static void corrald_describe_owner(const corrald_describe_user_t *u,
    corrald_wire_t *wire);
static int corrald_describe_address(corrald_describe_t *d,
    corrald_describe_words_t *w);
static int corrald_describe_resolve(corrald_describe_t *d, const char *host,
    const char *port);
static int corrald_describe_limits(corrald_describe_t *d,
    corrald_wire_t *wire);
static void corrald_describe_rlimit(corrald_wire_t *wire, const char *name,
    int64_t value);
static int corrald_describe_dirs(corrald_describe_t *d,
    const corrald_describe_user_t *u, const char *cwd);
static int corrald_describe_dir(corrald_describe_t *d, const char *path,
    mode_t mode, uid_t uid, gid_t gid);
static char *corrald_describe_strdup(const char *s, int *failed);


corrald_describe_t *
corrald_describe_create(json_t *service, const char *instance_id,
    uint32_t incarnation, const char *nonce, uint16_t port)
{
    int                    failed;
    size_t                 i;
    corrald_describe_t    *d;
    const corrald_conf_t  *conf;

    conf = corrald_conf();
    d = calloc(1, sizeof(*d));

    if (d == NULL) {
        return NULL;
    }

    d->service = json_incref(service);
    d->incarnation = incarnation;
    d->port = port;

    (void) snprintf(d->instance_id, sizeof(d->instance_id), "%s", instance_id);
    (void) snprintf(d->nonce, sizeof(d->nonce), "%s", nonce);
    corrald_paths(instance_id, &d->paths);

    failed = 0;

    d->cluster = corrald_describe_strdup(conf->cluster, &failed);
    d->node = corrald_describe_strdup(conf->node, &failed);
    d->group = corrald_describe_strdup(conf->group, &failed);
    d->python = corrald_describe_strdup(conf->python, &failed);
    d->myagent_command = corrald_describe_strdup(conf->myagent_command,
                                                 &failed);
    d->agent_user = corrald_describe_strdup(corrald_describe_default_user(),
                                            &failed);

    d->command_roots = calloc(conf->command_roots.n + 1, sizeof(char *));
    d->users = calloc(conf->users.n + 1, sizeof(char *));

    if (failed || d->command_roots == NULL || d->users == NULL) {
        corrald_describe_free(d);
        return NULL;
    }

    for (i = 0; i < conf->command_roots.n; i++, d->nroots++) {
        d->command_roots[i] = corrald_describe_strdup(
                                     conf->command_roots.items[i], &failed);
    }

    for (i = 0; i < conf->users.n; i++, d->nusers++) {
        d->users[i] = corrald_describe_strdup(conf->users.items[i], &failed);
    }

    if (failed) {
        corrald_describe_free(d);
        return NULL;
    }

    return d;
}


void
corrald_describe_free(corrald_describe_t *d)
{
    size_t  i;

    if (d == NULL) {
        return;
    }

    json_decref(d->service);

    for (i = 0; i < d->nroots; i++) {
        free(d->command_roots[i]);
    }

    for (i = 0; i < d->nusers; i++) {
        free(d->users[i]);
    }

    if (d->text != NULL) {
        explicit_bzero(d->text, d->len);
        free(d->text);
    }

    free(d->command_roots);
    free(d->users);
    free(d->cluster);
    free(d->node);
    free(d->group);
    free(d->python);
    free(d->myagent_command);
    free(d->agent_user);
    free(d);
}


int
corrald_describe(corrald_describe_t *d)
{
    int                        rc;
    size_t                     i;
    const char                *cwd;
    corrald_wire_t             wire;
    corrald_environ_t          env;
    corrald_describe_user_t    user;
    corrald_describe_words_t   words;

    corrald_environ_init(&env);

    if (corrald_describe_user(d, &user) != 0
        || corrald_describe_address(d, &words) != 0)
    {
        return -1;
    }

    d->text = malloc(CORRALD_WIRE_SPEC_MAX);

    if (d->text == NULL) {
        return corrald_describe_fail(d, "spawn_failed", "no memory");
    }

    d->len = CORRALD_WIRE_SPEC_MAX;

    cwd = corrald_doc_str(d->service, "cwd");
    cwd = *cwd ? cwd : d->paths.cwd;

    corrald_wire_begin(&wire, d->text, CORRALD_WIRE_SPEC_MAX, '\0');

    rc = corrald_describe_environ(d, &user, &words, &env);

    if (rc == 0) {
        rc = corrald_describe_command(d, &words, &env, &wire);
    }

    if (rc == 0) {
        rc = corrald_describe_dirs(d, &user, cwd);
    }

    if (rc == 0) {
        rc = corrald_describe_limits(d, &wire);
    }

    if (rc != 0) {
        corrald_environ_free(&env);
        return -1;
    }

    corrald_wire_add(&wire, "cwd", cwd);
    corrald_describe_facts(d, &wire);
    corrald_describe_owner(&user, &wire);

    for (i = 0; i < env.n; i++) {
        corrald_wire_add(&wire, "env", env.vars[i]);
    }

    corrald_environ_free(&env);

    corrald_wire_num(&wire, "end", 1);

    if (wire.full) {
        return corrald_describe_fail(d, "spawn_failed", "arguments and "
                                     "environment are longer than %d bytes",
                                     CORRALD_WIRE_SPEC_MAX);
    }

    d->len = wire.len;

    return 0;
}


static void
corrald_describe_facts(const corrald_describe_t *d, corrald_wire_t *wire)
{
    corrald_wire_add(wire, "mode", d->probe ? "probe" : "run");
    corrald_wire_add(wire, "instance", d->instance_id);
    corrald_wire_add(wire, "cluster", d->cluster);
    corrald_wire_add(wire, "node", d->node);
    corrald_wire_add(wire, "nonce", d->nonce);
    corrald_wire_num(wire, "incarnation", d->incarnation);
    corrald_wire_add(wire, "socket", d->paths.socket);
    corrald_wire_add(wire, "lock", d->paths.lock);
    corrald_wire_add(wire, "exit", d->paths.exit);
    corrald_wire_add(wire, "log", d->paths.log);
    corrald_wire_num(wire, "log_max",
                     corrald_doc_int(d->service, "log_max_size"));
    corrald_wire_num(wire, "log_files",
                     corrald_doc_int(d->service, "log_files"));
    corrald_wire_num(wire, "stop_signal",
                     corrald_signals_number(corrald_doc_str(d->service,
                                                            "stop_signal")));
    corrald_wire_num(wire, "stop_timeout",
                     corrald_doc_ms(d->service, "stop_timeout"));
    corrald_wire_num(wire, "grace", CORRALD_DESCRIBE_GRACE);

    if (d->probe) {
        corrald_wire_num(wire, "timeout", corrald_doc_ms(d->probe, "timeout"));
    }

    /* what the agent makes, its socket above all, is its group's, too */

    corrald_wire_add(wire, "umask", "7");
}


static void
corrald_describe_owner(const corrald_describe_user_t *u, corrald_wire_t *wire)
{
    int     i;
    char    text[2048];
    size_t  used;

    if (u->uid == -1) {
        return;
    }

    corrald_wire_num(wire, "uid", u->uid);
    corrald_wire_num(wire, "gid", u->gid);

    used = 0;
    text[0] = '\0';

    for (i = 0; i < u->ngroups && used < sizeof(text) - 16; i++) {
        used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%u",
                                  i ? "," : "", (unsigned) u->groups[i]);
    }

    corrald_wire_add(wire, "groups", text);
}


int
corrald_describe_fail(corrald_describe_t *d, const char *reason,
    const char *fmt, ...)
{
    va_list  args;

    d->reason = reason;

    va_start(args, fmt);
    (void) vsnprintf(d->err, sizeof(d->err), fmt, args);
    va_end(args);

    return -1;
}


/* Where it listens: the document's address, and the words for arguments. */

static int
corrald_describe_address(corrald_describe_t *d, corrald_describe_words_t *w)
{
    char         path[CORRALD_PATHS_SOCKET];
    const char  *host;

    host = corrald_doc_str(d->service, "host");

    memset(w, 0, sizeof(*w));
    w->host = "";
    w->socket = "";

    if (d->port == 0) {
        corrald_paths_listen(&d->paths, d->incarnation, path, sizeof(path));
        (void) snprintf(w->listen, sizeof(w->listen), "unix:%s", path);
        (void) snprintf(d->address, sizeof(d->address), "unix:%s", path);
        w->socket = w->listen + sizeof("unix:") - 1;

    } else {
        w->host = host;
        host = *host ? host : "localhost";
        (void) snprintf(w->port, sizeof(w->port), "%u", d->port);
        (void) snprintf(w->listen, sizeof(w->listen),
                        strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                        w->port);

        if (corrald_describe_resolve(d, host, w->port) != 0) {
            return -1;
        }
    }

    const corrald_describe_word_t  words[] = {
        { "{port}",     w->port },
        { "{host}",     w->host },
        { "{socket}",   w->socket },
        { "{listen}",   w->listen },
        { "{instance}", d->instance_id },
        { "{service}",  corrald_doc_str(d->service, "name") },
        { "{path}",     corrald_doc_str(d->service, "agent_factory_path") },
        { "{python}",   d->python },
        { NULL,         NULL }
    };

    memcpy(w->words, words, sizeof(words));

    return 0;
}


/* The address that the gateways connect to. */

static int
corrald_describe_resolve(corrald_describe_t *d, const char *host,
    const char *port)
{
    int                 rc;
    const char         *name;
    struct addrinfo     hints, *found;
    corrald_address_t   address;

    /*
     * as most servers take it, also where no resolver knows it; an agent on
     * ::1 names that as its host
     */

    name = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = AF_UNSPEC;
    found = NULL;
    rc = getaddrinfo(name, port, &hints, &found);

    if (rc != 0) {
        return corrald_describe_fail(d, "spawn_failed", "host \"%s\" "
                                     "cannot be resolved: %s", host,
                                     gai_strerror(rc));
    }

    memset(&address, 0, sizeof(address));
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);

    /* who listens everywhere is reached on the loopback */

    if (address.sa.sa_family == AF_INET
        && address.in.sin_addr.s_addr == htonl(INADDR_ANY))
    {
        address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    } else if (address.sa.sa_family == AF_INET6
               && IN6_IS_ADDR_UNSPECIFIED(&address.in6.sin6_addr))
    {
        address.in6.sin6_addr = in6addr_loopback;
    }

    corrald_address_format(&address, d->address, sizeof(d->address));

    return 0;
}


/* A cgroup where there are any, and rlimits for what it does not limit. */

static int
corrald_describe_limits(corrald_describe_t *d, corrald_wire_t *wire)
{
    char                      name[256], path[1200];
    unsigned                  has;
    corrald_cgroup_limits_t   limits;

    limits.memory = corrald_doc_int(d->service, "memory_limit_mb") * 1048576;
    limits.cpu = corrald_doc_int(d->service, "cpu_limit_percent");
    limits.pids = corrald_doc_int(d->service, "process_limit");
    has = 0;

    /* a probe is no part of what is limited, but has the same rlimits */

    if (!d->probe) {
        (void) snprintf(name, sizeof(name), "%s.%s.%s", d->cluster, d->node,
                        d->instance_id);

        if (corrald_cgroup_make(name, &limits, path, sizeof(path), d->err,
                                sizeof(d->err))
            != 0)
        {
            d->reason = "spawn_failed";
            return -1;
        }

        if (path[0] != '\0') {
            corrald_wire_add(wire, "cgroup", path);
            has = corrald_cgroup_controllers();
        }
    }

    if (limits.memory && !(has & CORRALD_CGROUP_MEMORY)) {
        corrald_describe_rlimit(wire, "data", limits.memory);
    }

    if (limits.pids && !(has & CORRALD_CGROUP_PIDS)) {
        corrald_describe_rlimit(wire, "nproc", limits.pids);
    }

    if (corrald_doc_is_set(d->service, "file_limit")) {
        corrald_describe_rlimit(wire, "nofile",
                                corrald_doc_int(d->service, "file_limit"));
    }

    return 0;
}


static void
corrald_describe_rlimit(corrald_wire_t *wire, const char *name, int64_t value)
{
    char  text[64];

    (void) snprintf(text, sizeof(text), "%s:%lld:%lld", name,
                    (long long) value, (long long) value);
    corrald_wire_add(wire, "rlimit", text);
}


/*
 * The directory for its sockets: the agent's own, and through the group of the
 * directory, which sockets inherit, the gateway's.
 */

static int
corrald_describe_dirs(corrald_describe_t *d, const corrald_describe_user_t *u,
    const char *cwd)
{
    int             rc;
    gid_t           gid;
    char            buf[8192], path[CORRALD_PATHS_SOCKET];
    struct group    gr, *grp;

    if (d->probe) {
        return 0;
    }

    gid = (gid_t) u->gid;

    if (*d->group) {
        rc = getgrnam_r(d->group, &gr, buf, sizeof(buf), &grp);

        if (rc == 0 && grp != NULL) {
            gid = gr.gr_gid;
        }
    }

    if (corrald_describe_dir(d, d->paths.dir, 02750, (uid_t) u->uid, gid)
        != 0)
    {
        return -1;
    }

    /* a socket that a killed agent left would be in the way of the next */

    corrald_paths_listen(&d->paths, d->incarnation, path, sizeof(path));
    (void) unlink(path);

    if (strcmp(cwd, d->paths.cwd) == 0) {
        return corrald_describe_dir(d, cwd, 0750, (uid_t) u->uid,
                                    (gid_t) u->gid);
    }

    return 0;
}


static int
corrald_describe_dir(corrald_describe_t *d, const char *path, mode_t mode,
    uid_t uid, gid_t gid)
{
    int          fd;
    struct stat  st;

    if (mkdir(path, 0700) == -1 && errno != EEXIST) {
        return corrald_describe_fail(d, "spawn_failed", "cannot make \"%s\": "
                                     "%s", path, strerror(errno));
    }

    /*
     * By descriptor, not by name: the parent directory is ours, but what
     * already lies there may be a link that somebody made.
     */

    fd = open(path, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        (void) corrald_describe_fail(d, "spawn_failed", "cannot open \"%s\": "
                                     "%s", path, strerror(errno));
        goto failed;
    }

    /* the mode last: chown() clears its set-group-id */

    if ((uid != (uid_t) -1 && (st.st_uid != uid || st.st_gid != gid)
         && fchown(fd, uid, gid) == -1)
        || fchmod(fd, mode) == -1)
    {
        (void) corrald_describe_fail(d, "spawn_failed", "cannot set owner and "
                                     "mode of \"%s\": %s", path,
                                     strerror(errno));
        goto failed;
    }

    (void) close(fd);

    return 0;

failed:

    if (fd != -1) {
        (void) close(fd);
    }

    return -1;
}


static char *
corrald_describe_strdup(const char *s, int *failed)
{
    char  *copy;

    copy = strdup(s ? s : "");

    if (copy == NULL) {
        *failed = 1;
    }

    return copy;
}
