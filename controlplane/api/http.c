
/*
 * The HTTP server: two libmicrohttpd daemons on our loop, one for TCP and one
 * for the admin socket.
 *
 * A request is suspended while its handler has not answered.  libmicrohttpd
 * neither times such a connection out nor notices its client leaving, so every
 * handler has a deadline of its own, and a request whose connection is gone
 * lives until its handler answers (dead).
 *
 * At the end all are resumed first: stopping a daemon with suspended
 * connections is an error of its user.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/file.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "access.h"
#include "http.h"


/*
 * Bytes per connection for the request line and all headers; a stream's text
 * goes through the same memory, so it is not made smaller.
 */

#define CORRALD_HTTP_MEMORY    32768

/* bytes of a body that are read and dropped before the connection is cut */

#define CORRALD_HTTP_DROP      8388608


static int corrald_http_listen(char *err, size_t size);
static int corrald_http_admin(char *err, size_t size);
static struct MHD_Daemon *corrald_http_daemon(int fd, int tcp, char *err,
    size_t size);
static int corrald_http_bind(const char *address, char *err, size_t size);
static void *corrald_http_uri(void *cls, const char *uri,
    struct MHD_Connection *conn);
static enum MHD_Result corrald_http_access(void *cls,
    struct MHD_Connection *conn, const char *url, const char *method,
    const char *version, const char *data, size_t *size, void **ctx);
static void corrald_http_enter(corrald_rest_t *r, const char *method,
    int local);
static enum MHD_Result corrald_http_queue(corrald_rest_t *r);
static void corrald_http_completed(void *cls, struct MHD_Connection *conn,
    void **ctx, enum MHD_RequestTerminationCode why);
static void corrald_http_log(void *cls, const char *fmt, va_list args);


static struct MHD_Daemon     *corrald_http_tcp;
static struct MHD_Daemon     *corrald_http_unix;
static corrald_loop_http_t   *corrald_http_tcp_loop;
static corrald_loop_http_t   *corrald_http_unix_loop;
static char                  *corrald_http_cert;
static char                  *corrald_http_key;
static corrald_rest_t        *corrald_http_requests;
static corrald_http_stats_t   corrald_http_numbers;
static int                    corrald_http_closing;


/* Listens.  Returns 0, or -1 and a sentence. */

int
corrald_http_open(char *err, size_t size)
{
    if (corrald_http_listen(err, size) != 0
        || corrald_http_admin(err, size) != 0)
    {
        return -1;
    }

    return 0;
}


/* No further connections; those that are open go on. */

void
corrald_http_quiesce(void)
{
    MHD_socket  fd;

    corrald_http_closing = 1;

    if (corrald_http_tcp) {
        fd = MHD_quiesce_daemon(corrald_http_tcp);

        if (fd != MHD_INVALID_SOCKET) {
            close(fd);
        }
    }

    if (corrald_http_unix) {
        fd = MHD_quiesce_daemon(corrald_http_unix);

        if (fd != MHD_INVALID_SOCKET) {
            close(fd);
        }

        (void) unlink(corrald_conf()->admin_socket);
    }
}


/*
 * Answers what is still worked on with 503 and stops.  Handlers that answer
 * later find their request dead.
 */

void
corrald_http_close(void)
{
    int              i;
    corrald_rest_t  *r, *next;

    corrald_http_closing = 1;

    for (r = corrald_http_requests; r; r = next) {
        next = r->next;

        if (r->suspended && !r->dead) {
            r->suspended = 0;
            MHD_resume_connection(r->conn);
        }
    }

    /* the last answers leave; what does not within a moment is cut */

    for (i = 0; i < 20 && corrald_http_requests; i++) {

        if (corrald_http_tcp) {
            MHD_run(corrald_http_tcp);
        }

        if (corrald_http_unix) {
            MHD_run(corrald_http_unix);
        }

        for (r = corrald_http_requests; r && r->dead; r = r->next) {
            /* void */
        }

        if (r) {
            usleep(5000);
        }
    }

    corrald_loop_http_remove(&corrald_http_tcp_loop);
    corrald_loop_http_remove(&corrald_http_unix_loop);

    if (corrald_http_tcp) {
        MHD_stop_daemon(corrald_http_tcp);
        corrald_http_tcp = NULL;
    }

    if (corrald_http_unix) {
        MHD_stop_daemon(corrald_http_unix);
        corrald_http_unix = NULL;
    }

    free(corrald_http_cert);
    free(corrald_http_key);

    corrald_http_cert = NULL;
    corrald_http_key = NULL;
}


/* The handler has answered: r->response is set. */

void
corrald_http_answer(corrald_rest_t *r)
{
    r->working = 0;

    if (r->dead) {
        corrald_rest_free(r);
        return;
    }

    if (r->suspended) {
        r->suspended = 0;
        MHD_resume_connection(r->conn);
        corrald_loop_http_kick();
    }
}


const corrald_http_stats_t *
corrald_http_stats(void)
{
    return &corrald_http_numbers;
}


static int
corrald_http_listen(char *err, size_t size)
{
    int                    fd;
    size_t                 len;
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    if (*conf->tls_certificate
        && (corrald_file_read(conf->tls_certificate, 1048576,
                              &corrald_http_cert, &len, err, size)
            != 0
            || corrald_file_read(conf->tls_key, 1048576, &corrald_http_key,
                                 &len, err, size)
               != 0))
    {
        if (*err == '\0') {
            snprintf(err, size, "\"tls_certificate\" or \"tls_key\" does not "
                     "exist");
        }

        return -1;
    }

    fd = corrald_http_bind(conf->listen, err, size);

    if (fd == -1) {
        return -1;
    }

    corrald_http_tcp = corrald_http_daemon(fd, 1, err, size);

    if (corrald_http_tcp == NULL) {
        close(fd);
        return -1;
    }

    corrald_http_tcp_loop = corrald_loop_http_add(corrald_http_tcp);

    if (corrald_http_tcp_loop == NULL) {
        snprintf(err, size, "the HTTP server cannot be polled");
        return -1;
    }

    corrald_log_info("API on %s://%s", corrald_http_cert ? "https" : "http",
                     conf->listen);

    return 0;
}


/* The admin socket is for root's processes: without root there is none. */

static int
corrald_http_admin(char *err, size_t size)
{
    int                  fd;
    const char          *path;
    struct group        *gr;
    struct sockaddr_un   sun;

    path = corrald_conf()->admin_socket;

    if (*path == '\0') {
        return 0;
    }

    if (geteuid() != 0) {
        corrald_log_info("started without root: no admin socket, agents run "
                         "as this user");
        return 0;
    }

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    (void) unlink(path);

    if (fd == -1
        || bind(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1
        || chmod(path, 0660) == -1
        || listen(fd, 64) == -1)
    {
        snprintf(err, size, "cannot listen on \"%s\" (admin_socket): %s", path,
                 strerror(errno));
        goto failed;
    }

    /* who may connect is not yet who may do something: see access.c */

    gr = getgrnam("corral-admin");

    if (gr && chown(path, (uid_t) -1, gr->gr_gid) == -1) {
        snprintf(err, size, "cannot give \"%s\" to its group: %s", path,
                 strerror(errno));
        goto failed;
    }

    corrald_http_unix = corrald_http_daemon(fd, 0, err, size);

    if (corrald_http_unix == NULL) {
        goto failed;
    }

    corrald_http_unix_loop = corrald_loop_http_add(corrald_http_unix);

    if (corrald_http_unix_loop == NULL) {
        snprintf(err, size, "the HTTP server cannot be polled");
        return -1;
    }

    corrald_log_info("admin socket on %s", path);

    return 0;

failed:

    if (fd != -1) {
        close(fd);
    }

    return -1;
}


static struct MHD_Daemon *
corrald_http_daemon(int fd, int tcp, char *err, size_t size)
{
    unsigned                flags;
    struct MHD_Daemon      *daemon;
    struct MHD_OptionItem   options[8];
    const corrald_conf_t   *conf;

    conf = corrald_conf();

    flags = MHD_USE_EPOLL|MHD_ALLOW_SUSPEND_RESUME|MHD_USE_ERROR_LOG;

    memset(options, 0, sizeof(options));

    options[0].option = MHD_OPTION_CONNECTION_TIMEOUT;
    options[0].value = conf->request_timeout / 1000;
    options[1].option = tcp ? MHD_OPTION_PER_IP_CONNECTION_LIMIT
                            : MHD_OPTION_CONNECTION_LIMIT;
    options[1].value = conf->connections_per_ip;

    if (tcp && corrald_http_cert) {
        flags |= MHD_USE_TLS;
        options[2].option = MHD_OPTION_HTTPS_MEM_CERT;
        options[2].ptr_value = corrald_http_cert;
        options[3].option = MHD_OPTION_HTTPS_MEM_KEY;
        options[3].ptr_value = corrald_http_key;
        options[4].option = MHD_OPTION_END;

    } else {
        options[2].option = MHD_OPTION_END;
    }

    daemon = MHD_start_daemon(flags, 0, NULL, NULL, corrald_http_access,
                              (void *) (intptr_t) !tcp,
                              MHD_OPTION_EXTERNAL_LOGGER, corrald_http_log,
                              NULL,
                              MHD_OPTION_LISTEN_SOCKET, (MHD_socket) fd,
                              MHD_OPTION_STRICT_FOR_CLIENT, 1,
                              MHD_OPTION_CONNECTION_LIMIT,
                              (unsigned) conf->connections,
                              MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                              (size_t) CORRALD_HTTP_MEMORY,
                              MHD_OPTION_URI_LOG_CALLBACK, corrald_http_uri,
                              NULL,
                              MHD_OPTION_NOTIFY_COMPLETED,
                              corrald_http_completed, NULL,
                              MHD_OPTION_ARRAY, options,
                              MHD_OPTION_END);

    if (daemon == NULL) {
        snprintf(err, size, "the HTTP server cannot be started%s",
                 flags & MHD_USE_TLS ? ": are certificate and key valid?"
                                     : "");
    }

    return daemon;
}


static int
corrald_http_bind(const char *address, char *err, size_t size)
{
    int               fd, rc, on;
    char              host[256], service[8];
    uint16_t          port;
    struct addrinfo   hints, *ai;

    if (corrald_conf_split_address(address, host, sizeof(host), &port) != 0) {
        snprintf(err, size, "\"%s\" (listen) is not address:port", address);
        return -1;
    }

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE|AI_NUMERICSERV;

    snprintf(service, sizeof(service), "%u", port);

    rc = getaddrinfo(host, service, &hints, &ai);

    if (rc != 0) {
        snprintf(err, size, "\"%s\" (listen) cannot be resolved: %s", address,
                 gai_strerror(rc));
        return -1;
    }

    on = 1;
    fd = socket(ai->ai_family, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, ai->ai_addr, ai->ai_addrlen) == -1
        || listen(fd, 512) == -1)
    {
        snprintf(err, size, "cannot listen on %s: %s", address,
                 strerror(errno));

        if (fd != -1) {
            close(fd);
        }

        fd = -1;
    }

    freeaddrinfo(ai);

    return fd;
}


/*
 * The first word of a request.  It is called with the target as it was sent;
 * libmicrohttpd's own copy is decoded and would turn %2F into a separator.
 */

static void *
corrald_http_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    char            *query;
    corrald_rest_t  *r;

    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return NULL;
    }

    r->uri = strdup(uri);

    if (r->uri == NULL) {
        free(r);
        return NULL;
    }

    query = strchr(r->uri, '?');

    if (query) {
        *query++ = '\0';
    }

    r->query = corrald_uri_query(query ? query : "");

    corrald_buf_init(&r->body, (size_t) corrald_conf()->body_max);

    r->conn = conn;
    r->began = corrald_clock_monotonic();
    r->number = ++corrald_http_numbers.requests;
    corrald_http_numbers.open++;

    r->next = corrald_http_requests;
    r->prev = &corrald_http_requests;

    if (r->next) {
        r->next->prev = &r->next;
    }

    corrald_http_requests = r;

    return r;
}


/*
 * Called once with the headers, then for each piece of the body, then once
 * more, and again after each resumption.
 */

static enum MHD_Result
corrald_http_access(void *cls, struct MHD_Connection *conn, const char *url,
    const char *method, const char *version, const char *data, size_t *size,
    void **ctx)
{
    corrald_rest_t  *r;

    r = *ctx;

    if (r == NULL) {
        return MHD_NO;
    }

    if (!r->entered) {
        r->entered = 1;
        corrald_http_enter(r, method, (int) (intptr_t) cls);

        return r->response ? corrald_http_queue(r) : MHD_YES;
    }

    if (*size) {

        if (!r->too_large && corrald_buf_add(&r->body, data, *size) != 0) {
            r->too_large = 1;
            corrald_buf_free(&r->body);
        }

        r->bytes += *size;
        *size = 0;

        return r->bytes > CORRALD_HTTP_DROP ? MHD_NO : MHD_YES;
    }

    if (r->response) {
        return corrald_http_queue(r);
    }

    if (r->working) {

        /* resumed without an answer: corrald ends */

        corrald_rest_problem(r, CORRALD_PROBLEM_STORE_UNAVAILABLE,
                             "corrald ends");
        r->working = 1;

        return corrald_http_queue(r);
    }

    if (r->too_large) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BODY_TOO_LARGE,
                             "the body has more than %lld bytes",
                             (long long) corrald_conf()->body_max);

        return corrald_http_queue(r);
    }

    r->working = 1;
    corrald_rest_run(r);

    if (r->response) {
        return corrald_http_queue(r);
    }

    r->suspended = 1;
    MHD_suspend_connection(conn);

    return MHD_YES;
}


/* The headers are here: what can be refused without the body, is. */

static void
corrald_http_enter(corrald_rest_t *r, const char *method, int local)
{
    const char          *text;
    unsigned long long   length;

    snprintf(r->method, sizeof(r->method), "%s", method);
    r->local = local;

    corrald_rest_begin(r);

    if (r->response) {
        return;
    }

    text = corrald_rest_header(r, "Content-Length");
    length = text ? strtoull(text, NULL, 10) : 0;

    if (length <= (unsigned long long) corrald_conf()->body_max) {
        return;
    }

    /*
     * A body of moderate size is read and dropped: who sends it all before he
     * reads would see a broken connection instead of the answer.
     */

    if (length <= CORRALD_HTTP_DROP
        && corrald_rest_header(r, "Expect") == NULL)
    {
        r->too_large = 1;
        return;
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_BODY_TOO_LARGE, "the body has "
                         "%.20s bytes, at most %lld are read", text,
                         (long long) corrald_conf()->body_max);
}



static enum MHD_Result
corrald_http_queue(corrald_rest_t *r)
{
    enum MHD_Result  rc;

    rc = MHD_queue_response(r->conn, (unsigned) r->status, r->response);

    MHD_destroy_response(r->response);
    r->response = NULL;

    return rc;
}


static void
corrald_http_completed(void *cls, struct MHD_Connection *conn, void **ctx,
    enum MHD_RequestTerminationCode why)
{
    corrald_rest_t  *r;

    r = *ctx;
    *ctx = NULL;

    if (r == NULL) {
        return;
    }

    corrald_log_debug("%s %s %s: %d, %lld ms",
                      r->principal ? r->principal : "-", r->method, r->uri,
                      r->status,
                      (long long) (corrald_clock_monotonic() - r->began));

    corrald_http_numbers.open--;

    *r->prev = r->next;

    if (r->next) {
        r->next->prev = r->prev;
    }

    r->conn = NULL;

    if (r->working) {
        r->dead = 1;
        return;
    }

    corrald_rest_free(r);
}


static void
corrald_http_log(void *cls, const char *fmt, va_list args)
{
    char  text[512];

    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';

    corrald_log_debug("http: %s", text);
}
