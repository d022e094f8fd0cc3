
/*
 * Who may do what.
 *
 * Over TCP the admin token is asked for, of which only the SHA-256 is kept in
 * memory; digests are compared in constant time.  On the admin socket the
 * kernel says who asks: uid 0 and members of the group corral-admin, but never
 * a descendant of an agent's shim, whatever its uid.
 *
 * Browsers are kept out by the Host header (a name that is rebound to this
 * address is not one of ours) and by Origin (a foreign page may not call).
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/file.h"
#include "../base/log.h"
#include "access.h"


#define CORRALD_ACCESS_TOKEN_MAX  512

/* parents that are followed; a longer chain is nobody's */

#define CORRALD_ACCESS_DEPTH      64


static void corrald_access_token(corrald_rest_t *r);
static int corrald_access_origin(corrald_rest_t *r, const char *host);
static int corrald_access_literal(const char *name);
static int corrald_access_member(uid_t uid, gid_t gid);
static int corrald_access_shim(pid_t pid);


static char  corrald_access_digest[CORRALD_CRYPT_HEX];


/* Reads the admin token, or makes it at the first start. */

int
corrald_access_open(char *err, size_t size)
{
    int          rc;
    char        *text, token[CORRALD_CRYPT_HEX];
    size_t       len;
    const char  *path;

    path = corrald_conf()->token_file;

    rc = corrald_file_read(path, CORRALD_ACCESS_TOKEN_MAX, &text, &len, err,
                           size);
    if (rc == -1) {
        return -1;
    }

    if (rc == 0) {
        len = strcspn(text, "\r\n");

        if (len < 32) {
            free(text);
            snprintf(err, size, "the token in \"%s\" has %zu bytes, it must "
                     "have at least 32", path, len);
            return -1;
        }

        corrald_crypt_sha256(text, len, corrald_access_digest);
        free(text);

        return 0;
    }

    if (corrald_crypt_random_hex(token, 32) != 0) {
        snprintf(err, size, "no random bytes for a token");
        return -1;
    }

    corrald_crypt_sha256(token, 64, corrald_access_digest);
    token[64] = '\n';

    if (corrald_file_write(path, token, 65, 0600, (gid_t) -1, err, size)
        != 0)
    {
        return -1;
    }

    corrald_log_info("the admin token was made: %s", path);

    return 0;
}


/* Host and Origin.  Returns 0, or -1 after a problem was answered. */

int
corrald_access_host(corrald_rest_t *r)
{
    char         name[256];
    size_t       len;
    const char  *host;

    if (r->local) {
        return 0;
    }

    host = corrald_rest_header(r, "Host");

    if (host == NULL) {

        /* HTTP/1.0 has none, and no browser speaks it */

        return corrald_access_origin(r, "");
    }

    len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

    if (len >= sizeof(name)) {
        len = sizeof(name) - 1;
    }

    memcpy(name, host, len);
    name[len] = '\0';

    /* an address cannot be rebound, only a name can */

    if (!corrald_access_literal(name) && strcasecmp(name, "localhost") != 0
        && !corrald_conf_has(&corrald_conf()->allowed_hosts, name)
        && !corrald_conf_has(&corrald_conf()->allowed_hosts, host))
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_HOST_REFUSED,
                             "\"%.100s\" is not one of allowed_hosts", name);
        return -1;
    }

    return corrald_access_origin(r, host);
}


/*
 * Token or peer.  A problem is answered when neither allows the route.  Who is
 * let in is an administrator: he has the permission of every route.
 */

void
corrald_access_check(corrald_rest_t *r)
{
    char                              err[256];
    const union MHD_ConnectionInfo   *info;

    if (r->route->flags & CORRALD_REST_PUBLIC) {
        return;
    }

    if (corrald_conf()->public_metrics
        && strcmp(r->route->permission, "metrics:read") == 0)
    {
        return;
    }

    if (!r->local) {
        corrald_access_token(r);
        return;
    }

    info = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (corrald_access_peer(info ? info->connect_fd : -1, err, sizeof(err))
        != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_FORBIDDEN, "%s", err);
        return;
    }

    r->principal = "local";
}


/* Whether the peer of a unix socket is an administrator. */

int
corrald_access_peer(int fd, char *err, size_t size)
{
    socklen_t     len;
    struct ucred  peer;

    len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1) {
        snprintf(err, size, "the caller is not known: %s", strerror(errno));
        return -1;
    }

    if (peer.uid != 0 && !corrald_access_member(peer.uid, peer.gid)) {
        snprintf(err, size, "user %u is neither root nor in the group "
                 "corral-admin", (unsigned) peer.uid);
        return -1;
    }

    if (corrald_access_shim(peer.pid)) {
        snprintf(err, size, "process %d was started by an agent: agents use "
                 "a token", (int) peer.pid);
        return -1;
    }

    return 0;
}


static void
corrald_access_token(corrald_rest_t *r)
{
    char         digest[CORRALD_CRYPT_HEX];
    const char  *auth, *token;

    auth = corrald_rest_header(r, "Authorization");

    if (auth == NULL) {
        corrald_rest_set(r, "WWW-Authenticate", "Bearer realm=\"corral\"");
        corrald_rest_problem(r, CORRALD_PROBLEM_TOKEN_REQUIRED, "send the "
                             "token of the file \"%s\" as \"Authorization: "
                             "Bearer ...\"", corrald_conf()->token_file);
        return;
    }

    token = NULL;

    if (strncasecmp(auth, "Bearer ", 7) == 0) {
        token = auth + 7;

    } else if (strncasecmp(auth, "token ", 6) == 0) {
        token = auth + 6;
    }

    if (token) {
        token += strspn(token, " ");
        corrald_crypt_sha256(token, strlen(token), digest);

        if (corrald_crypt_equal(digest, corrald_access_digest)) {
            r->principal = "admin";
            return;
        }
    }

    corrald_rest_set(r, "WWW-Authenticate",
                     "Bearer realm=\"corral\", error=\"invalid_token\"");
    corrald_rest_problem(r, CORRALD_PROBLEM_TOKEN_INVALID, token
                         ? "the token is not the one of this cluster"
                         : "the token is sent as \"Authorization: Bearer "
                           "...\"");
}


/* A page may call when it came from here, or from one of allowed_origins. */

static int
corrald_access_origin(corrald_rest_t *r, const char *host)
{
    const char  *origin, *p;

    origin = corrald_rest_header(r, "Origin");

    if (origin == NULL) {
        return 0;
    }

    p = strstr(origin, "://");

    if (p && *host && strcasecmp(p + 3, host) == 0) {
        return 0;
    }

    if (corrald_conf_has(&corrald_conf()->allowed_origins, origin)) {
        corrald_rest_set(r, "Access-Control-Allow-Origin", "%s", origin);
        corrald_rest_set(r, "Access-Control-Expose-Headers",
                         "ETag, Location, Warning, Retry-After, "
                         "Corral-Applied");
        corrald_rest_set(r, "Vary", "Origin");
        return 0;
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_ORIGIN_REFUSED,
                         "\"%.200s\" is not one of allowed_origins", origin);

    return -1;
}


/* Whether the host is an address: 1.2.3.4 or [::1]. */

static int
corrald_access_literal(const char *name)
{
    char           inner[256];
    size_t         len;
    unsigned char  bin[16];

    len = strlen(name);

    if (len > 2 && *name == '[' && name[len - 1] == ']') {
        memcpy(inner, name + 1, len - 2);
        inner[len - 2] = '\0';

        return inet_pton(AF_INET6, inner, bin) == 1;
    }

    return inet_pton(AF_INET, name, bin) == 1;
}


static int
corrald_access_member(uid_t uid, gid_t gid)
{
    int             i, n;
    gid_t           groups[256];
    struct group   *gr;
    struct passwd  *pw;

    gr = getgrnam("corral-admin");

    if (gr == NULL) {
        return 0;
    }

    if (gid == gr->gr_gid) {
        return 1;
    }

    pw = getpwuid(uid);
    n = 256;

    if (pw == NULL || getgrouplist(pw->pw_name, gid, groups, &n) == -1) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (groups[i] == gr->gr_gid) {
            return 1;
        }
    }

    return 0;
}


/*
 * Whether a shim is among the ancestors.  Shims are subreapers: what an agent
 * leaves behind stays below its shim.  A process that cannot be read counts as
 * such a one.
 */

static int
corrald_access_shim(pid_t pid)
{
    int      depth;
    char     path[64], text[1024], *p;
    FILE    *fp;
    size_t   n;

    for (depth = 0; pid > 1 && depth < CORRALD_ACCESS_DEPTH; depth++) {
        snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);

        fp = fopen(path, "re");
        if (fp == NULL) {
            return 1;
        }

        n = fread(text, 1, sizeof(text) - 1, fp);
        fclose(fp);
        text[n] = '\0';

        /* "pid (name) state ppid ...": a name may hold parentheses */

        p = strrchr(text, ')');

        if (p == NULL || strlen(p) < 4) {
            return 1;
        }

        *p = '\0';

        if (strstr(text, "(corral-shim") != NULL) {
            return 1;
        }

        pid = (pid_t) strtol(p + 4, NULL, 10);
    }

    return pid > 1;
}
