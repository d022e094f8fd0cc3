/*
 * From a service document to what corral-shim is to run: program, arguments,
 * environment, user, directories, address.
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
#include <limits.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <corral_schema.h>

#include "../base/conf.h"
#include "../base/file.h"
#include "../base/wire.h"
#include "../model/doc.h"
#include "cgroup.h"
#include "describe.h"
#include "environ.h"
#include "signals.h"


#define CORRALD_DESCRIBE_GROUPS  CORRALD_WIRE_GROUPS_MAX
#define CORRALD_DESCRIBE_SECRET  65536

/* ms that descendants of an ended agent have until they are killed */

#define CORRALD_DESCRIBE_GRACE   2000


/* Who it runs as; uid -1: as corrald does. */

typedef struct {
    int64_t   uid;
    int64_t   gid;
    gid_t     groups[CORRALD_DESCRIBE_GROUPS];
    int       ngroups;
    char      name[64];
    char      home[512];
} corrald_describe_user_t;


/* What stands between braces in arguments. */

typedef struct {
    const char  *name;
    const char  *value;
} corrald_describe_word_t;

typedef struct {
    char                      port[8];
    char                      listen[256];
    corrald_describe_word_t   words[9];
} corrald_describe_words_t;


static int corrald_describe_fail(corrald_describe_t *d, const char *reason,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int corrald_describe_user(corrald_describe_t *d,
    corrald_describe_user_t *u);
static int corrald_describe_address(corrald_describe_t *d,
    corrald_describe_words_t *w, char *host, size_t size);
static int corrald_describe_environ(corrald_describe_t *d,
    const corrald_describe_user_t *u, const corrald_describe_words_t *w,
    corrald_environ_t *env);
static int corrald_describe_files(corrald_describe_t *d,
    corrald_environ_t *env);
static int corrald_describe_secrets(corrald_describe_t *d,
    corrald_environ_t *env);
static int corrald_describe_command(corrald_describe_t *d,
    const corrald_describe_words_t *w, const corrald_environ_t *env,
    corrald_wire_t *wire);
static int corrald_describe_myagent(corrald_describe_t *d, char **args,
    size_t *n);
static int corrald_describe_program(corrald_describe_t *d, const char *arg,
    const corrald_environ_t *env, char *path);
static int corrald_describe_allowed(corrald_describe_t *d, const char *path);
static char *corrald_describe_expand(const char *text,
    const corrald_describe_words_t *w);
static int corrald_describe_limits(corrald_describe_t *d,
    corrald_wire_t *wire);
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
    int                        i, rc;
    char                       host[256], text[2048];
    size_t                     used;
    const char                *cwd;
    corrald_wire_t             wire;
    corrald_environ_t          env;
    corrald_describe_user_t    user;
    corrald_describe_words_t   words;

    corrald_environ_init(&env);

    if (corrald_describe_user(d, &user) != 0
        || corrald_describe_address(d, &words, host, sizeof(host)) != 0)
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

    corrald_wire_add(&wire, "mode", d->probe ? "probe" : "run");
    corrald_wire_add(&wire, "instance", d->instance_id);
    corrald_wire_add(&wire, "cluster", d->cluster);
    corrald_wire_add(&wire, "node", d->node);
    corrald_wire_add(&wire, "nonce", d->nonce);
    corrald_wire_num(&wire, "incarnation", d->incarnation);
    corrald_wire_add(&wire, "cwd", cwd);
    corrald_wire_add(&wire, "socket", d->paths.socket);
    corrald_wire_add(&wire, "lock", d->paths.lock);
    corrald_wire_add(&wire, "exit", d->paths.exit);
    corrald_wire_add(&wire, "log", d->paths.log);
    corrald_wire_num(&wire, "log_max",
                     corrald_doc_int(d->service, "log_max_size"));
    corrald_wire_num(&wire, "log_files",
                     corrald_doc_int(d->service, "log_files"));
    corrald_wire_num(&wire, "stop_signal",
                     corrald_signals_number(corrald_doc_str(d->service,
                                                           "stop_signal")));
    corrald_wire_num(&wire, "stop_timeout",
                     corrald_doc_ms(d->service, "stop_timeout"));
    corrald_wire_num(&wire, "grace", CORRALD_DESCRIBE_GRACE);

    if (d->probe) {
        corrald_wire_num(&wire, "timeout", corrald_doc_ms(d->probe,
                                                          "timeout"));
    }

    /* what the agent makes, its socket above all, is its group's, too */

    corrald_wire_add(&wire, "umask", "7");

    if (user.uid != -1) {
        corrald_wire_num(&wire, "uid", user.uid);
        corrald_wire_num(&wire, "gid", user.gid);

        used = 0;
        text[0] = '\0';

        for (i = 0; i < user.ngroups && used < sizeof(text) - 16; i++) {
            used += (size_t) snprintf(text + used, sizeof(text) - used,
                                      "%s%u", i ? "," : "",
                                      (unsigned) user.groups[i]);
        }

        corrald_wire_add(&wire, "groups", text);
    }

    for (i = 0; i < (int) env.n; i++) {
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


/*
 * The user of services that name none.  Where the packages did not make the
 * default one, it is nobody: never root.
 */

const char *
corrald_describe_default_user(void)
{
    const char  *user;

    user = corrald_conf()->agent_user;

    if (strcmp(user, "corral-agent") == 0 && getpwnam(user) == NULL) {
        return "nobody";
    }

    return user;
}


static int
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


static int
corrald_describe_user(corrald_describe_t *d, corrald_describe_user_t *u)
{
    int             rc;
    char            buf[8192];
    size_t          i;
    const char     *user, *group;
    struct group    gr, *grp;
    struct passwd   pw, *found;

    user = corrald_doc_str(d->service, "user");
    group = corrald_doc_str(d->service, "group");

    u->uid = -1;
    u->gid = -1;
    u->ngroups = CORRALD_DESCRIBE_GROUPS;

    if (geteuid() != 0) {

        rc = getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found);

        (void) snprintf(u->name, sizeof(u->name), "%s",
                        rc == 0 && found ? pw.pw_name : "");
        (void) snprintf(u->home, sizeof(u->home), "%s",
                        rc == 0 && found ? pw.pw_dir : "/");

        if (*user && strcmp(user, u->name) != 0) {
            return corrald_describe_fail(d, "command_refused", "corrald does "
                                         "not run as root: it cannot start "
                                         "agents as user \"%s\"", user);
        }

        if (*group) {
            return corrald_describe_fail(d, "command_refused", "corrald does "
                                         "not run as root: it cannot start "
                                         "agents as group \"%s\"", group);
        }

        return 0;
    }

    if (*user && d->nusers) {

        for (i = 0; i < d->nusers; i++) {
            if (strcmp(d->users[i], user) == 0) {
                break;
            }
        }

        if (i == d->nusers) {
            return corrald_describe_fail(d, "command_refused", "user \"%s\" "
                                         "is not in \"users\" of corrald's "
                                         "configuration", user);
        }
    }

    if (*user == '\0') {
        user = d->agent_user;
    }

    rc = getpwnam_r(user, &pw, buf, sizeof(buf), &found);

    if (rc != 0 || found == NULL) {
        return corrald_describe_fail(d, "spawn_failed", "user \"%s\" does not "
                                     "exist: make it, or set \"user\" of the "
                                     "service or \"agent_user\" of corrald",
                                     user);
    }

    /* by the table's words "any but root": an empty list is no leave */

    if (pw.pw_uid == 0 && d->nusers == 0) {
        return corrald_describe_fail(d, "command_refused", "user \"%s\" is "
                                     "root: name it in \"users\" of corrald's "
                                     "configuration to allow that", user);
    }

    u->uid = pw.pw_uid;
    u->gid = pw.pw_gid;
    (void) snprintf(u->name, sizeof(u->name), "%s", pw.pw_name);
    (void) snprintf(u->home, sizeof(u->home), "%s", pw.pw_dir);

    if (*group) {
        rc = getgrnam_r(group, &gr, buf, sizeof(buf), &grp);

        if (rc != 0 || grp == NULL) {
            return corrald_describe_fail(d, "spawn_failed", "group \"%s\" "
                                         "does not exist", group);
        }

        u->gid = gr.gr_gid;
    }

    if (getgrouplist(u->name, (gid_t) u->gid, u->groups, &u->ngroups) == -1) {
        u->ngroups = CORRALD_DESCRIBE_GROUPS;
    }

    return 0;
}


/* Where it listens: the document's address, and the words for arguments. */

static int
corrald_describe_address(corrald_describe_t *d, corrald_describe_words_t *w,
    char *host, size_t size)
{
    int                 rc;
    char                path[CORRALD_PATHS_SOCKET];
    const char         *name;
    struct addrinfo     hints, *found;
    corrald_address_t   address;

    name = corrald_doc_str(d->service, "host");
    name = *name ? name : "localhost";
    (void) snprintf(host, size, "%s", name);

    memset(w, 0, sizeof(*w));

    if (d->port == 0) {
        corrald_paths_listen(&d->paths, d->incarnation, path, sizeof(path));
        (void) snprintf(w->listen, sizeof(w->listen), "unix:%s", path);
        (void) snprintf(d->address, sizeof(d->address), "unix:%s", path);

    } else {
        (void) snprintf(w->port, sizeof(w->port), "%u", d->port);
        (void) snprintf(w->listen, sizeof(w->listen),
                        strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                        w->port);

        /*
         * as most servers take it, also where no resolver knows it; an agent
         * on ::1 names that as its host
         */

        name = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;

        memset(&hints, 0, sizeof(hints));
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_family = AF_UNSPEC;
        found = NULL;
        rc = getaddrinfo(name, w->port, &hints, &found);

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
    }

    w->words[0].name = "{port}";
    w->words[0].value = w->port;
    w->words[1].name = "{host}";
    w->words[1].value = d->port ? corrald_doc_str(d->service, "host") : "";
    w->words[2].name = "{socket}";
    w->words[2].value = d->port ? "" : w->listen + sizeof("unix:") - 1;
    w->words[3].name = "{listen}";
    w->words[3].value = w->listen;
    w->words[4].name = "{instance}";
    w->words[4].value = d->instance_id;
    w->words[5].name = "{service}";
    w->words[5].value = corrald_doc_str(d->service, "name");
    w->words[6].name = "{path}";
    w->words[6].value = corrald_doc_str(d->service, "agent_factory_path");
    w->words[7].name = "{python}";
    w->words[7].value = d->python;

    return 0;
}


/*
 * The environment: little that is inherited, then env files, env, secrets, and
 * last what Corral itself says; later ones replace earlier ones.
 */

static int
corrald_describe_environ(corrald_describe_t *d,
    const corrald_describe_user_t *u, const corrald_describe_words_t *w,
    corrald_environ_t *env)
{
    int          rc;
    char         ms[24];
    size_t       i;
    json_t      *value;
    const char  *key, *text;

    static const char  *inherited[] = { "LANG", "LC_ALL", "TZ" };

    rc = corrald_environ_set(env, "PATH", "/usr/local/sbin:/usr/local/bin:"
                             "/usr/sbin:/usr/bin:/sbin:/bin");
    rc |= corrald_environ_set(env, "LANG", "C.UTF-8");
    rc |= corrald_environ_set(env, "HOME", u->home[0] ? u->home : "/");

    if (u->name[0]) {
        rc |= corrald_environ_set(env, "USER", u->name);
        rc |= corrald_environ_set(env, "LOGNAME", u->name);
    }

    for (i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++) {
        text = getenv(inherited[i]);

        if (text != NULL) {
            rc |= corrald_environ_set(env, inherited[i], text);
        }
    }

    if (corrald_describe_files(d, env) != 0) {
        return -1;
    }

    json_object_foreach(json_object_get(d->service, "env"), key, value) {
        rc |= corrald_environ_set(env, key, json_string_value(value));
    }

    if (corrald_describe_secrets(d, env) != 0) {
        return -1;
    }

    const struct {
        const char  *name;
        const char  *value;
    } ours[] = {
        { "CORRAL_SERVICE",  corrald_doc_str(d->service, "name") },
        { "CORRAL_INSTANCE", d->instance_id },
        { "CORRAL_NODE",     d->node },
        { "CORRAL_LISTEN",   w->listen },
        { "CORRAL_NONCE",    d->nonce },
        { "CORRAL_SESSION_TIMEOUT", ms },
        { "CORRAL_SOCKET",   d->port ? NULL : w->words[2].value },
        { "PORT",            d->port ? w->port : NULL },
        { "HOST",            d->port ? w->words[1].value : NULL }
    };

    (void) snprintf(ms, sizeof(ms), "%lld",
                    (long long) corrald_doc_ms(d->service, "session_timeout")
                    / 1000);

    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (ours[i].value != NULL) {
            rc |= corrald_environ_set(env, ours[i].name, ours[i].value);
        }
    }

    if (rc != 0) {
        return corrald_describe_fail(d, "spawn_failed", "there are more than "
                                     "%d variables", CORRALD_ENVIRON_MAX);
    }

    return 0;
}


static int
corrald_describe_files(corrald_describe_t *d, corrald_environ_t *env)
{
    int          rc;
    char        *data, err[400];
    size_t       i, len;
    json_t      *item;
    const char  *file;

    json_array_foreach(json_object_get(d->service, "env_file"), i, item) {

        file = json_string_value(item);
        rc = corrald_file_read(file, CORRALD_ENVIRON_FILE_MAX, &data, &len,
                               err, sizeof(err));
        if (rc == 1) {
            return corrald_describe_fail(d, "secret_missing", "env file "
                                         "\"%s\" does not exist", file);
        }

        if (rc != 0) {
            return corrald_describe_fail(d, "secret_missing", "env file: %s",
                                         err);
        }

        rc = corrald_environ_parse(env, data, len, file, err, sizeof(err));

        explicit_bzero(data, len);
        free(data);

        if (rc != 0) {
            return corrald_describe_fail(d, "secret_missing", "%s", err);
        }
    }

    return 0;
}


static int
corrald_describe_secrets(corrald_describe_t *d, corrald_environ_t *env)
{
    int          rc;
    char        *data, err[400];
    size_t       len;
    json_t      *value;
    const char  *key, *ref, *text;

    json_object_foreach(json_object_get(d->service, "secrets"), key, value) {

        ref = json_string_value(value);

        if (strncmp(ref, "env:", 4) == 0) {
            text = getenv(ref + 4);

            if (text == NULL) {
                return corrald_describe_fail(d, "secret_missing", "secret "
                                             "\"%s\": corrald has no variable "
                                             "\"%s\"", key, ref + 4);
            }

            if (corrald_environ_set(env, key, text) != 0) {
                return corrald_describe_fail(d, "spawn_failed", "there are "
                                             "too many variables");
            }

            continue;
        }

        rc = corrald_file_read(ref + sizeof("file:") - 1,
                               CORRALD_DESCRIBE_SECRET, &data, &len, err,
                               sizeof(err));
        if (rc != 0) {
            return corrald_describe_fail(d, "secret_missing", "secret \"%s\": "
                                         "%s", key, rc == 1
                                         ? "its file does not exist" : err);
        }

        /* editors end a file with a newline; it is not meant */

        while (len > 0 && (data[len - 1] == '\n' || data[len - 1] == '\r')) {
            data[--len] = '\0';
        }

        rc = 0;

        if (memchr(data, '\0', len) != NULL) {
            rc = corrald_describe_fail(d, "secret_missing", "secret \"%s\": "
                                       "its file holds a zero byte", key);

        } else if (corrald_environ_set(env, key, data) != 0) {
            rc = corrald_describe_fail(d, "spawn_failed", "there are too many "
                                       "variables");
        }

        explicit_bzero(data, len);
        free(data);

        if (rc != 0) {
            return -1;
        }
    }

    return 0;
}


static int
corrald_describe_command(corrald_describe_t *d,
    const corrald_describe_words_t *w, const corrald_environ_t *env,
    corrald_wire_t *wire)
{
    int          rc;
    char        *args[CORRALD_WIRE_ARGS_MAX], *arg, path[PATH_MAX];
    size_t       i, n;
    json_t      *command, *item;

    command = json_object_get(d->probe ? d->probe : d->service, "command");
    n = 0;

    json_array_foreach(command, i, item) {
        if (n < CORRALD_WIRE_ARGS_MAX) {
            args[n++] = strdup(json_string_value(item));
        }
    }

    rc = 0;

    if (n == 0) {
        rc = corrald_describe_myagent(d, args, &n);
    }

    for (i = 0; rc == 0 && i < n; i++) {
        arg = args[i] ? corrald_describe_expand(args[i], w) : NULL;

        if (arg == NULL) {
            rc = corrald_describe_fail(d, "spawn_failed", "no memory");
            break;
        }

        if (i == 0) {
            rc = corrald_describe_program(d, arg, env, path);

            if (rc == 0) {
                corrald_wire_add(wire, "arg", path);
            }

        } else {
            corrald_wire_add(wire, "arg", arg);
        }

        free(arg);
    }

    for (i = 0; i < n; i++) {
        free(args[i]);
    }

    return rc;
}


/* The words of myagent_command; blanks separate them. */

static int
corrald_describe_myagent(corrald_describe_t *d, char **args, size_t *n)
{
    size_t       len;
    const char  *p;

    if (*corrald_doc_str(d->service, "agent_factory_path") == '\0') {
        return corrald_describe_fail(d, "spawn_failed", "the service has "
                                     "neither \"command\" nor "
                                     "\"agent_factory_path\"");
    }

    for (p = d->myagent_command; *p; p += len) {
        p += strspn(p, " \t");
        len = strcspn(p, " \t");

        if (len > 0 && *n < CORRALD_WIRE_ARGS_MAX) {
            args[(*n)++] = strndup(p, len);
        }
    }

    if (*n == 0) {
        return corrald_describe_fail(d, "spawn_failed", "\"myagent_command\" "
                                     "of corrald's configuration is empty");
    }

    return 0;
}


/* The absolute path of the program, looked for in the agent's PATH. */

static int
corrald_describe_program(corrald_describe_t *d, const char *arg,
    const corrald_environ_t *env, char *path)
{
    size_t       len;
    const char  *p;
    struct stat  st;

    if (*arg == '/') {
        (void) snprintf(path, PATH_MAX, "%s", arg);

    } else if (strchr(arg, '/') != NULL) {

        /* relative to the working directory, as the agent would see it */

        p = corrald_doc_str(d->service, "cwd");
        (void) snprintf(path, PATH_MAX, "%s/%s", *p ? p : d->paths.cwd, arg);

    } else {
        path[0] = '\0';

        for (p = corrald_environ_get(env, "PATH"); p && *p; p += len) {
            p += (*p == ':');
            len = strcspn(p, ":");

            if (*p != '/') {
                continue;
            }

            (void) snprintf(path, PATH_MAX, "%.*s/%s", (int) len, p, arg);

            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)
                && (st.st_mode & 0111))
            {
                break;
            }

            path[0] = '\0';
        }

        if (path[0] == '\0') {
            return corrald_describe_fail(d, "spawn_failed", "program "
                                         "\"%.200s\" was not found in PATH",
                                         arg);
        }
    }

    return corrald_describe_allowed(d, path);
}


static int
corrald_describe_allowed(corrald_describe_t *d, const char *path)
{
    char    real[PATH_MAX], root[PATH_MAX];
    size_t  i, len;

    if (d->nroots == 0) {
        return 0;
    }

    /* links are followed first: what counts is what is executed */

    if (realpath(path, real) == NULL) {
        return corrald_describe_fail(d, "spawn_failed", "program \"%.200s\": "
                                     "%s", path, strerror(errno));
    }

    for (i = 0; i < d->nroots; i++) {

        if (realpath(d->command_roots[i], root) == NULL) {
            continue;
        }

        len = strlen(root);

        if (strncmp(real, root, len) == 0
            && (real[len] == '/' || root[len - 1] == '/'))
        {
            return 0;
        }
    }

    return corrald_describe_fail(d, "command_refused", "program \"%.200s\" is "
                                 "outside \"command_roots\" of corrald's "
                                 "configuration", real);
}


/* A copy with the words replaced, to be freed; NULL without memory. */

static char *
corrald_describe_expand(const char *text, const corrald_describe_words_t *w)
{
    char        *out;
    size_t       i, len, vlen, size;
    const char  *p;

    size = strlen(text) + 1;

    for (p = strchr(text, '{'); p; p = strchr(p + 1, '{')) {
        for (i = 0; w->words[i].name; i++) {
            if (strncmp(p, w->words[i].name, strlen(w->words[i].name)) == 0) {
                size += strlen(w->words[i].value);
            }
        }
    }

    out = malloc(size);

    if (out == NULL) {
        return NULL;
    }

    for (len = 0, p = text; *p; /* void */ ) {

        for (i = 0; w->words[i].name; i++) {
            if (strncmp(p, w->words[i].name, strlen(w->words[i].name)) == 0) {
                break;
            }
        }

        if (w->words[i].name == NULL) {
            out[len++] = *p++;
            continue;
        }

        vlen = strlen(w->words[i].value);
        memcpy(out + len, w->words[i].value, vlen);
        len += vlen;
        p += strlen(w->words[i].name);
    }

    out[len] = '\0';

    return out;
}


/* A cgroup where there are any, and rlimits for what it does not limit. */

static int
corrald_describe_limits(corrald_describe_t *d, corrald_wire_t *wire)
{
    char                      name[256], path[1200], text[64];
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
        (void) snprintf(text, sizeof(text), "data:%lld:%lld",
                        (long long) limits.memory, (long long) limits.memory);
        corrald_wire_add(wire, "rlimit", text);
    }

    if (limits.pids && !(has & CORRALD_CGROUP_PIDS)) {
        (void) snprintf(text, sizeof(text), "nproc:%lld:%lld",
                        (long long) limits.pids, (long long) limits.pids);
        corrald_wire_add(wire, "rlimit", text);
    }

    if (corrald_doc_is_set(d->service, "file_limit")) {
        (void) snprintf(text, sizeof(text), "nofile:%lld:%lld",
                        (long long) corrald_doc_int(d->service, "file_limit"),
                        (long long) corrald_doc_int(d->service,
                                                    "file_limit"));
        corrald_wire_add(wire, "rlimit", text);
    }

    return 0;
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
