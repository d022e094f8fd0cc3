
/*
 * The Redis of our own: its files, its users, and that it runs.
 *
 * It outlives corrald: it is its own session, and a corrald that starts finds
 * it by its socket.  Whether it runs is told by a lock that it inherits: a
 * lock that can be taken means that no server uses the directory, however the
 * last one ended.  So there are never two of them on one file.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/buf.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/file.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "local.h"


#define CORRALD_EMBED_PASSWORD  128

/* ms between two starts of a server that does not stay */

#define CORRALD_EMBED_PAUSE     1000


static int corrald_embed_dirs(char *err, size_t size);
static int corrald_embed_password(const char *name, mode_t mode,
    char *password, char *err, size_t size);
static int corrald_embed_url(const char *gateway, char *err, size_t size);
static int corrald_embed_acl(const char *gateway, const char *corrald,
    char *err, size_t size);
static void corrald_embed_default(corrald_redis_t *r);
static void corrald_embed_rules(corrald_buf_t *b);
static int corrald_embed_conf(char *err, size_t size);
static void corrald_embed_exited(uv_process_t *process, int64_t status,
    int signal);
static void corrald_embed_closed(uv_handle_t *handle);
static void corrald_embed_reloaded(const redisReply *reply, const char *err,
    void *data);


static char     corrald_embed_dir[128];      /* {state_dir}/redis */
static char     corrald_embed_socket[108];
static gid_t    corrald_embed_gid = (gid_t) -1;
static uid_t    corrald_embed_uid = (uid_t) -1;
static int64_t  corrald_embed_last;
static int      corrald_embed_stale;         /* the users' file was changed */


/*
 * Makes directories, passwords, users and the configuration, and fills url.
 * Returns 0, or -1 and a sentence.
 */

int
corrald_embed_open(corrald_redis_url_t *url, char *err, size_t size)
{
    char                   gateway[CORRALD_EMBED_PASSWORD];
    char                   corrald[CORRALD_EMBED_PASSWORD];
    struct group          *gr;
    struct passwd         *pw;
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    if (*conf->redis_user && geteuid() == 0) {
        pw = getpwnam(conf->redis_user);

        if (pw == NULL) {
            snprintf(err, size, "there is no user \"%s\" (redis_user)",
                     conf->redis_user);
            return -1;
        }

        corrald_embed_uid = pw->pw_uid;
        corrald_embed_gid = pw->pw_gid;
    }

    gr = *conf->group && geteuid() == 0 ? getgrnam(conf->group) : NULL;

    if (gr) {
        corrald_embed_gid = gr->gr_gid;
    }

    snprintf(corrald_embed_dir, sizeof(corrald_embed_dir), "%s/redis",
             conf->state_dir);

    if ((size_t) snprintf(corrald_embed_socket, sizeof(corrald_embed_socket),
                          "%s/redis.sock", conf->run_dir)
        >= sizeof(corrald_embed_socket))
    {
        snprintf(err, size, "\"run_dir\" is too long for a socket");
        return -1;
    }

    if (corrald_embed_dirs(err, size) != 0
        || corrald_embed_password("gateway", 0640, gateway, err, size) != 0
        || corrald_embed_password("corrald", 0600, corrald, err, size) != 0
        || corrald_embed_url(gateway, err, size) != 0
        || corrald_embed_acl(gateway, corrald, err, size) != 0
        || corrald_embed_conf(err, size) != 0)
    {
        return -1;
    }

    memset(url, 0, sizeof(*url));

    url->path = strdup(corrald_embed_socket);
    url->user = strdup("corrald");
    url->password = strdup(corrald);

    if (url->path == NULL || url->user == NULL || url->password == NULL) {
        snprintf(err, size, "no memory");
        return -1;
    }

    return 0;
}


/*
 * Starts the server unless one runs.  Called when a connection failed: a
 * server that is frozen or busy still holds its lock and is left alone.
 */

void
corrald_embed_start(void)
{
    int                     fd, rc;
    char                    path[160], conf[160];
    char                   *argv[3];
    uv_process_t           *process;
    uv_stdio_container_t    stdio[4];
    uv_process_options_t    options;

    if (corrald_clock_monotonic() - corrald_embed_last < CORRALD_EMBED_PAUSE) {
        return;
    }

    snprintf(path, sizeof(path), "%s/lock", corrald_embed_dir);
    snprintf(conf, sizeof(conf), "%s/redis.conf", corrald_embed_dir);

    fd = open(path, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        corrald_local_trouble("cannot open \"%s\": %s", path, strerror(errno));
        return;
    }

    if (flock(fd, LOCK_EX|LOCK_NB) == -1) {
        close(fd);
        return;
    }

    corrald_embed_last = corrald_clock_monotonic();

    process = calloc(1, sizeof(*process));
    if (process == NULL) {
        close(fd);
        return;
    }

    argv[0] = corrald_conf()->redis_program;
    argv[1] = conf;
    argv[2] = NULL;

    memset(&options, 0, sizeof(options));
    memset(stdio, 0, sizeof(stdio));

    /* the lock becomes descriptor 3 of the server and of nobody else */

    stdio[0].flags = UV_IGNORE;
    stdio[1].flags = UV_IGNORE;
    stdio[2].flags = UV_IGNORE;
    stdio[3].flags = UV_INHERIT_FD;
    stdio[3].data.fd = fd;

    options.file = argv[0];
    options.args = argv;
    options.stdio = stdio;
    options.stdio_count = 4;
    options.exit_cb = corrald_embed_exited;
    options.flags = UV_PROCESS_DETACHED;

    if (corrald_embed_uid != (uid_t) -1) {
        options.flags |= UV_PROCESS_SETUID|UV_PROCESS_SETGID;
        options.uid = corrald_embed_uid;
        options.gid = corrald_embed_gid;
    }

    rc = uv_spawn(corrald_loop_uv(), process, &options);
    close(fd);

    if (rc != 0) {
        corrald_local_trouble("cannot start \"%s\" (redis_program): %s",
                              argv[0], uv_strerror(rc));
        uv_close((uv_handle_t *) process, corrald_embed_closed);
        return;
    }

    corrald_embed_stale = 0;

    /* it need not end before we do */

    uv_unref((uv_handle_t *) process);

    corrald_log_info("embedded Redis started on %s", corrald_embed_socket);
}


/*
 * A server that was found running may have other users than those in the
 * file.  Reading them makes Redis drop all connections, so it is done only
 * when they differ.
 */

void
corrald_embed_attached(corrald_redis_t *r)
{
    if (!corrald_embed_stale) {
        corrald_embed_default(r);
        return;
    }

    corrald_embed_stale = 0;
    corrald_redis_command(r, 0, corrald_embed_reloaded, NULL, "ACL LOAD");
}


/*
 * Who may open the socket (mode 0660) may be a gateway, without a password.
 * This is set in the running server only: while Redis reads its file at the
 * start, it checks each transaction in it against the user "default", who must
 * be allowed everything then, and is off.
 */

static void
corrald_embed_default(corrald_redis_t *r)
{
    char                  *word, *next;
    corrald_buf_t          b;
    corrald_redis_args_t   a;

    corrald_buf_init(&b, 16384);
    corrald_buf_str(&b, "ACL SETUSER default reset on nopass resetchannels");
    corrald_embed_rules(&b);

    memset(&a, 0, sizeof(a));

    for (word = b.data; word; word = next) {
        next = strchr(word, ' ');

        if (next) {
            *next++ = '\0';
        }

        corrald_redis_add(&a, word);
    }

    if (!b.failed) {
        corrald_redis_send(r, &a, 0, corrald_embed_reloaded, NULL);
    }

    corrald_redis_args_free(&a);
    corrald_buf_free(&b);
}


static int
corrald_embed_dirs(char *err, size_t size)
{
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    if (corrald_file_mkdir(conf->state_dir, 0750, err, size) == -1
        || corrald_file_mkdir(corrald_embed_dir, 0700, err, size) == -1
        || corrald_file_mkdir(conf->run_dir, 02750, err, size) == -1)
    {
        return -1;
    }

    if (geteuid() != 0) {
        return 0;
    }

    /* the group may pass through state_dir to its password, no further */

    if (corrald_embed_gid != (gid_t) -1
        && (chown(conf->state_dir, (uid_t) -1, corrald_embed_gid) == -1
            || chown(conf->run_dir, corrald_embed_uid, corrald_embed_gid)
               == -1
            || chmod(conf->run_dir, 02750) == -1))
    {
        snprintf(err, size, "cannot give \"%s\" and \"%s\" to their group: %s",
                 conf->state_dir, conf->run_dir, strerror(errno));
        return -1;
    }

    if (corrald_embed_uid != (uid_t) -1
        && chown(corrald_embed_dir, corrald_embed_uid, corrald_embed_gid)
           == -1)
    {
        snprintf(err, size, "cannot give \"%s\" to its user: %s",
                 corrald_embed_dir, strerror(errno));
        return -1;
    }

    return 0;
}


/* Reads the password of a Redis user, or makes it at the first start. */

static int
corrald_embed_password(const char *name, mode_t mode, char *password,
    char *err, size_t size)
{
    int      rc;
    char     path[160], *text;
    size_t   len;

    snprintf(path, sizeof(path), "%s/redis.%s.password",
             corrald_conf()->state_dir, name);

    rc = corrald_file_read(path, CORRALD_EMBED_PASSWORD - 1, &text, &len, err,
                           size);
    if (rc == -1) {
        return -1;
    }

    if (rc == 0) {
        len = strcspn(text, "\r\n");
        memcpy(password, text, len);
        password[len] = '\0';
        free(text);

        if (len >= 16) {
            return 0;
        }

        corrald_log_warn("\"%s\" is too short for a password: a new one is "
                         "made", path);
    }

    if (corrald_crypt_random_hex(password, 32) != 0) {
        snprintf(err, size, "no random bytes for a password");
        return -1;
    }

    return corrald_file_write(path, password, strlen(password), mode,
                              corrald_embed_gid, err, size);
}


/* What stands in nginx.conf behind corral_redis, for those who script it. */

static int
corrald_embed_url(const char *gateway, char *err, size_t size)
{
    char  path[160], url[512];

    snprintf(path, sizeof(path), "%s/gateway.url", corrald_conf()->state_dir);
    snprintf(url, sizeof(url), "unix:%s?user=gateway&password=%s\n",
             corrald_embed_socket, gateway);

    return corrald_file_write(path, url, strlen(url), 0640, corrald_embed_gid,
                              err, size);
}


/* The users, as the file has them.  See corrald_embed_default() for that. */

static int
corrald_embed_acl(const char *gateway, const char *corrald, char *err,
    size_t size)
{
    int            rc, same;
    char           path[160], hex[CORRALD_CRYPT_HEX], *old;
    size_t         len;
    corrald_buf_t  b;

    corrald_buf_init(&b, 16384);

    corrald_buf_str(&b, "user default off resetchannels ~* +@all\n");

    corrald_crypt_sha256(gateway, strlen(gateway), hex);
    corrald_buf_printf(&b, "user gateway on #%s resetchannels", hex);
    corrald_embed_rules(&b);
    corrald_buf_str(&b, "\n");

    corrald_crypt_sha256(corrald, strlen(corrald), hex);
    corrald_buf_printf(&b, "user corrald on #%s resetchannels "
                       "~corral:%s:* +@all -@dangerous +acl|load "
                       "+acl|setuser +info +shutdown\n", hex,
                       corrald_conf()->cluster);

    snprintf(path, sizeof(path), "%s/users.acl", corrald_embed_dir);

    rc = corrald_file_read(path, 65536, &old, &len, err, size);
    same = 0;

    if (rc == 0) {
        same = len == b.len && memcmp(old, b.data, len) == 0;
        corrald_embed_stale = !same;
        free(old);
    }

    rc = rc == -1 || b.failed ? -1 : 0;

    if (rc == 0 && !same) {
        rc = corrald_file_write(path, b.data, b.len, 0600, (gid_t) -1, err,
                                size);
    }

    corrald_buf_free(&b);

    if (rc == 0 && corrald_embed_uid != (uid_t) -1
        && chown(path, corrald_embed_uid, (gid_t) -1) == -1)
    {
        snprintf(err, size, "cannot give \"%s\" to its user: %s", path,
                 strerror(errno));
        return -1;
    }

    return rc;
}


/*
 * What a gateway may do: read the registry, write what the schema says it
 * writes.  MACs, idempotent answers and leases of nodes are none of its
 * business.
 */

static void
corrald_embed_rules(corrald_buf_t *b)
{
    int          i;
    char         pattern[CORRALD_KEY_SIZE];
    const char  *cluster;

    static const struct {
        const char  *format;
        int          gateway;
        int          reads;
    } keys[] = {

#define CORRALD_EMBED_gateway  1
#define CORRALD_EMBED_corrald  0
#define X(name, format, type, writer, text)                                   \
        { format, CORRALD_EMBED_##writer,                                     \
          CORRALD_KEY_##name == CORRALD_KEY_EPOCH                             \
          || CORRALD_KEY_##name == CORRALD_KEY_REVISION                       \
          || CORRALD_KEY_##name == CORRALD_KEY_SERVICES                       \
          || CORRALD_KEY_##name == CORRALD_KEY_INSTANCES                      \
          || CORRALD_KEY_##name == CORRALD_KEY_RULES                          \
          || CORRALD_KEY_##name == CORRALD_KEY_CHANGES                        \
          || CORRALD_KEY_##name == CORRALD_KEY_REVOCATIONS                    \
          || CORRALD_KEY_##name == CORRALD_KEY_REVOKED                        \
          || CORRALD_KEY_##name == CORRALD_KEY_COMMANDS },

        CORRAL_KEYS(X)

#undef X
#undef CORRALD_EMBED_gateway
#undef CORRALD_EMBED_corrald

    };

    cluster = corrald_conf()->cluster;

    for (i = 0; i < CORRALD_KEY_N; i++) {

        if (!keys[i].gateway && !keys[i].reads) {
            continue;
        }

        snprintf(pattern, sizeof(pattern), keys[i].format, cluster, "*");
        corrald_buf_printf(b, " %s%s", keys[i].gateway ? "%RW~" : "%R~",
                           pattern);
    }

    corrald_buf_str(b, " +@read +@connection +@transaction -@dangerous -scan "
                    "-randomkey -dbsize +time +set +getex +hset +hdel +hincrby "
                    "+pexpire +expire +persist +sadd +srem +xadd +rpush "
                    "+lpush +del +unlink");
}


static int
corrald_embed_conf(char *err, size_t size)
{
    int            rc;
    char           path[160];
    corrald_buf_t  b;

    corrald_buf_init(&b, 8192);

    corrald_buf_printf(&b,
        "# Written by corrald at each start: changes here are lost.\n"
        "port 0\n"
        "unixsocket \"%s\"\n"
        "unixsocketperm 660\n"
        "dir \"%s\"\n"
        "pidfile \"%s/redis.pid\"\n"
        "logfile \"%s/redis.log\"\n"
        "aclfile \"%s/users.acl\"\n"
        "daemonize yes\n"
        "supervised no\n"
        "databases 1\n"
        "appendonly yes\n"
        "appendfsync everysec\n"
        "no-appendfsync-on-rewrite no\n"
        "save \"\"\n"
        "stop-writes-on-bgsave-error no\n"
        "maxmemory-policy noeviction\n"
        "timeout 0\n"
        "loglevel notice\n"
        "always-show-logo no\n"
        "set-proc-title no\n",
        corrald_embed_socket, corrald_embed_dir, corrald_embed_dir,
        corrald_embed_dir, corrald_embed_dir);

    snprintf(path, sizeof(path), "%s/redis.conf", corrald_embed_dir);

    rc = b.failed ? -1 : corrald_file_write(path, b.data, b.len, 0644,
                                            (gid_t) -1, err, size);
    corrald_buf_free(&b);

    return rc;
}


/* The parent of the daemon: the daemon itself is nobody's child. */

static void
corrald_embed_exited(uv_process_t *process, int64_t status, int signal)
{
    if (status != 0 || signal != 0) {
        corrald_local_trouble("\"%s\" ended with status %d, signal %d: see "
                              "\"%s/redis.log\"",
                              corrald_conf()->redis_program, (int) status,
                              signal, corrald_embed_dir);
    }

    uv_close((uv_handle_t *) process, corrald_embed_closed);
}


static void
corrald_embed_closed(uv_handle_t *handle)
{
    free(handle);
}


static void
corrald_embed_reloaded(const redisReply *reply, const char *err, void *data)
{
    if (reply && reply->type == REDIS_REPLY_ERROR) {
        corrald_log_warn("the users of the embedded Redis cannot be read "
                         "again: %s", reply->str);
    }
}
