
/*
 * corrald: main().  Options, start order, signals, stop order, nothing else.
 *
 * Agents and the embedded Redis outlive it: TERM and INT end the API and the
 * watching, no agent.  HUP reads the configuration again.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/access.h"
#include "api/api.h"
#include "api/http.h"
#include "api/stream.h"
#include "base/bus.h"
#include "base/conf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/version.h"
#include "engine/engine.h"
#include "store/store.h"


#define CORRALD_FILE       "/etc/corral/corrald.yaml"
#define CORRALD_OVERRIDES  32


static int corrald_options(int argc, char **argv);
static void corrald_override(const char *key, const char *value);
static void corrald_help(void);
static int corrald_start(char *err, size_t size);
static int corrald_lock(char *err, size_t size);
static void corrald_stop(void);
static void corrald_ready(corrald_bus_type_e type, const void *payload,
    void *data);
static void corrald_fenced(corrald_bus_type_e type, const void *payload,
    void *data);
static void corrald_signal(uv_signal_t *handle, int signum);
static void corrald_reload(void);
static void corrald_log_start(void);


static const struct option  corrald_long_options[] = {
    { "config",    required_argument, NULL, 'c' },
    { "state-dir", required_argument, NULL, 's' },
    { "listen",    required_argument, NULL, 'l' },
    { "set",       required_argument, NULL, 'o' },
    { "check",     no_argument,       NULL, 't' },
    { "openapi",   no_argument,       NULL, 'p' },
    { "version",   no_argument,       NULL, 'v' },
    { "help",      no_argument,       NULL, 'h' },
    { NULL, 0, NULL, 0 }
};


static const char   *corrald_file;
static const char   *corrald_overrides[CORRALD_OVERRIDES + 1];
static size_t        corrald_noverrides;
static int           corrald_check_only;
static int           corrald_openapi_only;
static int           corrald_failed;
static uv_signal_t   corrald_signals[3];


int
main(int argc, char **argv)
{
    int    rc;
    char   err[1024], *restart;

    rc = corrald_options(argc, argv);

    if (rc != -1) {
        return rc;
    }

    if (corrald_conf_load(corrald_file, corrald_overrides, &restart, err,
                          sizeof(err))
        != 0)
    {
        fprintf(stderr, "corrald: %s\n", err);
        return 2;
    }

    if (corrald_check_only) {
        printf("the configuration is valid\n");
        corrald_conf_free();
        return 0;
    }

    corrald_log_start();

    if (corrald_loop_init() != 0) {
        fprintf(stderr, "corrald: the event loop cannot be made\n");
        return 1;
    }

    err[0] = '\0';

    if (corrald_start(err, sizeof(err)) != 0) {
        corrald_log_error("%s", err);
        corrald_failed = 1;

    } else {
        corrald_loop_run();
    }

    corrald_stop();

    return corrald_failed;
}


/* Returns -1 to go on, or the exit status. */

static int
corrald_options(int argc, char **argv)
{
    int     c;
    char   *text;
    json_t *doc;

    for ( ;; ) {
        c = getopt_long(argc, argv, "c:tvh", corrald_long_options, NULL);

        if (c == -1) {
            break;
        }

        switch (c) {

        case 'c':
            corrald_file = optarg;
            break;

        case 's':
            corrald_override("state_dir", optarg);
            break;

        case 'l':
            corrald_override("listen", optarg);
            break;

        case 'o':
            corrald_override(NULL, optarg);
            break;

        case 't':
            corrald_check_only = 1;
            break;

        case 'p':
            corrald_openapi_only = 1;
            break;

        case 'v':
            printf("corrald %s\n", CORRALD_VERSION);
            return 0;

        case 'h':
            corrald_help();
            return 0;

        default:
            fprintf(stderr, "corrald: \"corrald --help\" lists the "
                            "options\n");
            return 2;
        }
    }

    if (optind < argc) {
        fprintf(stderr, "corrald: \"%s\" is not an option\n", argv[optind]);
        return 2;
    }

    if (corrald_openapi_only) {
        doc = corrald_spec_make();
        text = json_dumps(doc, JSON_INDENT(1));
        printf("%s\n", text ? text : "");
        free(text);
        json_decref(doc);
        return 0;
    }

    if (corrald_file == NULL && access(CORRALD_FILE, F_OK) == 0) {
        corrald_file = CORRALD_FILE;
    }

    return -1;
}


/* key=value over file and environment; key NULL: value is both. */

static void
corrald_override(const char *key, const char *value)
{
    size_t   size;
    char    *text;

    size = (key ? strlen(key) : 0) + strlen(value) + 2;
    text = malloc(size);

    if (text == NULL || corrald_noverrides == CORRALD_OVERRIDES) {
        fprintf(stderr, "corrald: too many options\n");
        exit(2);
    }

    snprintf(text, size, "%s%s%s", key ? key : "", key ? "=" : "", value);
    corrald_overrides[corrald_noverrides++] = text;
}


static void
corrald_help(void)
{
    printf("usage: corrald [options]\n\n"
           "  -c, --config FILE     configuration, default %s if it is "
           "there\n"
           "      --state-dir DIR   what must survive a reboot (state_dir)\n"
           "      --listen ADDRESS  address:port of the API (listen)\n"
           "      --set KEY=VALUE   any key of the configuration\n"
           "  -t, --check           only check the configuration\n"
           "      --openapi         print the OpenAPI document\n"
           "  -v, --version         print the version\n"
           "  -h, --help            print this\n\n"
           "Every key can be set by the environment, too: CORRALD_LISTEN "
           "for listen.\n", CORRALD_FILE);
}


/* Order matters: each part may use those before it. */

static int
corrald_start(char *err, size_t size)
{
    size_t         i;
    struct rlimit  limit;

    static const int  signums[] = { SIGTERM, SIGINT, SIGHUP };

    signal(SIGPIPE, SIG_IGN);

    /* each connection, instance and probe is a descriptor */

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0
        && limit.rlim_cur < limit.rlim_max)
    {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }

    for (i = 0; i < 3; i++) {
        uv_signal_init(corrald_loop_uv(), &corrald_signals[i]);
        uv_signal_start(&corrald_signals[i], corrald_signal, signums[i]);
    }

    if (corrald_lock(err, size) != 0) {
        return -1;
    }

    if (corrald_bus_on(CORRALD_BUS_STORE, corrald_ready, NULL) != 0
        || corrald_bus_on(CORRALD_BUS_FENCED, corrald_fenced, NULL) != 0
        || corrald_operations_open() != 0
        || corrald_events_open() != 0
        || corrald_stream_open() != 0)
    {
        snprintf(err, size, "corrald cannot start: no memory");
        return -1;
    }

    if (corrald_store_open(err, size) != 0
        || corrald_engine_open(err, size) != 0
        || corrald_access_open(err, size) != 0
        || corrald_http_open(err, size) != 0)
    {
        return -1;
    }

    corrald_log_info("corrald %s, node \"%s\" of cluster \"%s\"",
                     CORRALD_VERSION, corrald_conf()->node,
                     corrald_conf()->cluster);

    return 0;
}


/* One corrald per state directory: two would each undo the other's work. */

static int
corrald_lock(char *err, size_t size)
{
    int          fd;
    char         path[160];
    const char  *dir;

    dir = corrald_conf()->state_dir;

    if (corrald_file_mkdir(dir, 0750, err, size) == -1) {
        return -1;
    }

    snprintf(path, sizeof(path), "%s/corrald.lock", dir);

    /* kept open until the end of the process */

    fd = open(path, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        snprintf(err, size, "cannot open \"%s\": %s", path, strerror(errno));
        return -1;
    }

    if (flock(fd, LOCK_EX|LOCK_NB) == -1) {
        snprintf(err, size, "another corrald uses \"%s\"", dir);
        close(fd);
        return -1;
    }

    return 0;
}


/*
 * No new requests; then those that wait are answered by closing what they wait
 * for; then what is left of them; then the engine, which leaves the agents.
 */

static void
corrald_stop(void)
{
    size_t  i;

    corrald_notify("STOPPING=1");
    corrald_log_info("corrald ends, agents go on");

    corrald_bus_emit(CORRALD_BUS_STOP, NULL);

    corrald_http_quiesce();
    corrald_stream_close();
    corrald_engine_close();
    corrald_drains_close();
    corrald_trace_close();
    corrald_operations_close();
    corrald_store_close();
    corrald_http_close();

    for (i = 0; i < 3; i++) {
        if (corrald_signals[i].loop
            && !uv_is_closing((uv_handle_t *) &corrald_signals[i]))
        {
            uv_close((uv_handle_t *) &corrald_signals[i], NULL);
        }
    }

    corrald_loop_close();
    corrald_bus_close();
    corrald_spec_free();
    corrald_conf_free();

    for (i = 0; i < corrald_noverrides; i++) {
        free((char *) corrald_overrides[i]);
    }
}


/* The registry is loaded for the first time: systemd may start others. */

static void
corrald_ready(corrald_bus_type_e type, const void *payload, void *data)
{
    static int  told;

    const corrald_bus_store_t  *store;

    store = payload;

    if (store->ready && !told) {
        told = 1;
        corrald_notify("READY=1");
        corrald_log_info("ready");
    }
}


static void
corrald_fenced(corrald_bus_type_e type, const void *payload, void *data)
{
    corrald_failed = 1;
    corrald_loop_stop();
}


static void
corrald_signal(uv_signal_t *handle, int signum)
{
    if (signum == SIGHUP) {
        corrald_reload();
        return;
    }

    corrald_loop_stop();
}


static void
corrald_reload(void)
{
    char   err[1024], *restart;

    corrald_notify("RELOADING=1");

    if (corrald_conf_load(corrald_file, corrald_overrides, &restart, err,
                          sizeof(err))
        != 0)
    {
        corrald_log_error("the configuration is not changed: %s", err);

    } else {
        corrald_log_start();

        if (restart) {
            corrald_log_warn("a change of these keys needs a restart: %s",
                             restart);
        }

        free(restart);
        corrald_log_info("the configuration was read again");
        corrald_bus_emit(CORRALD_BUS_CONF, NULL);
    }

    corrald_notify("READY=1");
}


static void
corrald_log_start(void)
{
    int          level;
    const char  *name;

    static const char  *levels[] = { "error", "warn", "info", "debug" };

    name = corrald_conf()->log_level;

    for (level = 0; level < 3 && strcmp(levels[level], name) != 0; level++) {
        /* void */
    }

    corrald_log_init(level, strcmp(corrald_conf()->log_format, "json") == 0);
}
