
/*
 * bench-agent: a WebSocket echo agent for benchmarks, and for tests of what
 * agents do wrong (see --help).  With --rpc it speaks JSON-RPC: bench_rpc.c.
 *
 * Compile:  cc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread \
 *              -o bench-agent deploy/agents/bench/bench[-_]*.c
 *
 * Each thread has an epoll instance and one buffer.  What a recv() brings is
 * unmasked in place while it moves down over the masks, and one send() gives it
 * back: the frame of a server is never longer than that of the client.
 *
 * It does not check that text is UTF-8, and offers no extension and no
 * subprotocol.  Plain GETs are answered of / and /healthz, of /json with 1 kB
 * of JSON, and of /sse with a stream of events of 128 bytes, each of which has
 * one "!" and comes alone.
 *
 * This file has the options and the listening socket.
 */

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>


bench_options_t        bench;
volatile sig_atomic_t  bench_stopping;
atomic_uint_fast64_t   bench_messages;


static void
bench_signal(int signo)
{
    (void) signo;

    bench_stopping = 1;
}


static int
bench_bind_unix(const char *path)
{
    int                 fd, probe;
    mode_t              mask;
    struct stat         sb;
    struct sockaddr_un  sun;

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;

    if (strlen(path) == 0 || strlen(path) >= sizeof(sun.sun_path)) {
        fprintf(stderr, "bench-agent: --listen \"unix:%s\": a socket path has "
                "1 to %zu bytes\n", path, sizeof(sun.sun_path) - 1);
        return -1;
    }

    memcpy(sun.sun_path, path, strlen(path));

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1 || probe == -1) {
        return -1;
    }

    if (lstat(path, &sb) == 0 && S_ISSOCK(sb.st_mode)) {
        if (connect(probe, (struct sockaddr *) &sun, sizeof(sun)) == 0) {
            fprintf(stderr, "bench-agent: cannot listen on unix:%s: another "
                    "process listens there\n", path);
            return -1;
        }

        unlink(path);               /* left by a process that was killed */
    }

    close(probe);
    mask = umask(0117);             /* 0660: the gateway is in our group */

    if (bind(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1) {
        fprintf(stderr, "bench-agent: cannot listen on unix:%s: %s\n", path,
                strerror(errno));
        return -1;
    }

    umask(mask);

    return fd;
}


static int
bench_bind_tcp(const char *listen_on)
{
    int                       fd, on;
    char                      host[64];
    char                     *end;
    size_t                    len;
    socklen_t                 size;
    const char               *colon;
    unsigned long             port;
    struct sockaddr_in       *sin;
    struct sockaddr_in6      *sin6;
    struct sockaddr_storage   ss;

    colon = strrchr(listen_on, ':');
    len = colon ? (size_t) (colon - listen_on) : 0;

    if (colon == NULL || len == 0 || len >= sizeof(host)
        || colon[1] < '0' || colon[1] > '9')
    {
        goto invalid;
    }

    port = strtoul(colon + 1, &end, 10);
    if (*end || port > 65535) {
        goto invalid;
    }

    memset(&ss, 0, sizeof(ss));
    memcpy(host, listen_on, len);
    host[len] = '\0';

    if (strcmp(host, "localhost") == 0) {
        snprintf(host, sizeof(host), "127.0.0.1");
    }

    sin = (struct sockaddr_in *) &ss;
    sin6 = (struct sockaddr_in6 *) &ss;

    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons((uint16_t) port);
        size = sizeof(*sin6);
        if (inet_pton(AF_INET6, host + 1, &sin6->sin6_addr) != 1) {
            goto invalid;
        }

    } else {
        sin->sin_family = AF_INET;
        sin->sin_port = htons((uint16_t) port);
        size = sizeof(*sin);
        if (inet_pton(AF_INET, host, &sin->sin_addr) != 1) {
            goto invalid;
        }
    }

    on = 1;
    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, (struct sockaddr *) &ss, size) == -1)
    {
        fprintf(stderr, "bench-agent: cannot listen on %s: %s\n", listen_on,
                strerror(errno));
        return -1;
    }

    return fd;

invalid:

    fprintf(stderr, "bench-agent: --listen \"%s\": expected unix:/path, "
            "1.2.3.4:port or [::1]:port with a port up to 65535\n",
            listen_on);

    return -1;
}


/* A whole number of an option, or the end of the program with a sentence. */

static uint64_t
bench_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char      *end;
    uint64_t   n;

    errno = 0;
    n = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || errno || n < min || n > max)
    {
        fprintf(stderr, "bench-agent: --%s \"%s\": expected a whole number "
                "from %llu to %llu\n", name, text, (unsigned long long) min,
                (unsigned long long) max);
        exit(2);
    }

    return n;
}


static void
bench_usage(FILE *out)
{
    fputs("Usage: bench-agent [options]\n"
        "  --listen ADDRESS       unix:/path, 1.2.3.4:port or [::1]:port\n"
        "                         (default: $CORRAL_LISTEN)\n"
        "  --threads N            1 to 64 (default: 1)\n"
        "  --grace SECONDS        for open messages after SIGTERM (default: 8)"
        "\n"
        "  --slow-read BYTES      read so many bytes a second per connection\n"
        "  --send-and-close BYTES send so many bytes after the handshake,\n"
        "                         then Close 1000, and end the connection\n"
        "  --message-size BYTES   of the messages of --send-and-close\n"
        "                         (default: 65536)\n"
        "  --no-close-frame       end --send-and-close without a Close frame\n"
        "  --event-interval MS    between the events of a stream of /sse\n"
        "                         (default: 100)\n"
        "  --reject-percent N     answer N of 100 handshakes with 503\n"
        "  --die-after N          echo N messages in all, then die by SIGKILL\n"
        "                         when the next one begins\n"
        "  --rpc                  JSON-RPC: echo, the result is params; work,\n"
        "                         {\"ms\": N, \"parts\": N}, an answer after\n"
        "                         so long, in so many parts; die, SIGKILL\n",
        out);
}


static void
bench_parse(int argc, char **argv)
{
    int                         c, index;
    const char                 *name;
    static const struct option  options[] = {
        { "listen",         required_argument, NULL, 'l' },
        { "threads",        required_argument, NULL, 't' },
        { "grace",          required_argument, NULL, 'g' },
        { "slow-read",      required_argument, NULL, 'r' },
        { "send-and-close", required_argument, NULL, 's' },
        { "message-size",   required_argument, NULL, 'm' },
        { "no-close-frame", no_argument,       NULL, 'n' },
        { "reject-percent", required_argument, NULL, 'p' },
        { "event-interval", required_argument, NULL, 'e' },
        { "die-after",      required_argument, NULL, 'd' },
        { "rpc",            no_argument,       NULL, 'j' },
        { "help",           no_argument,       NULL, 'h' },
        { NULL,             0,                 NULL, 0 }
    };

    bench.listen = getenv("CORRAL_LISTEN");
    bench.threads = 1;
    bench.grace = 8;
    bench.message_size = 65536;
    bench.interval = 100;

    for ( ;; ) {
        c = getopt_long(argc, argv, "", options, &index);
        if (c == -1) {
            break;
        }

        if (c == '?') {
            bench_usage(stderr);
            exit(2);
        }

        name = options[index].name;

        switch (c) {

        case 'l':
            bench.listen = optarg;
            break;

        case 't':
            bench.threads = (long) bench_number(name, optarg, 1,
                                                BENCH_THREADS);
            break;

        case 'g':
            bench.grace = (long) bench_number(name, optarg, 0, 86400);
            break;

        case 'r':
            bench.slow_read = bench_number(name, optarg, 10, 1ULL << 40);
            break;

        case 's':
            bench.send = bench_number(name, optarg, 0, 1ULL << 50);
            bench.send_set = 1;
            break;

        case 'm':
            bench.message_size = bench_number(name, optarg, 1, 1ULL << 50);
            break;

        case 'n':
            bench.no_close = 1;
            break;

        case 'p':
            bench.reject = (long) bench_number(name, optarg, 0, 100);
            break;

        case 'e':
            bench.interval = (long) bench_number(name, optarg, 1, 60000);
            break;

        case 'd':
            bench.die_after = bench_number(name, optarg, 0, 1ULL << 60);
            bench.die_set = 1;
            break;

        case 'j':
            bench.rpc = 1;
            break;

        default:
            bench_usage(stdout);
            exit(0);
        }
    }

    if (optind < argc) {
        fprintf(stderr, "bench-agent: \"%s\": there are only options\n",
                argv[optind]);
        exit(2);
    }

    if (bench.listen == NULL || bench.listen[0] == '\0') {
        fputs("bench-agent: where to listen is missing: set CORRAL_LISTEN or "
              "give --listen\n", stderr);
        exit(2);
    }
}


int
main(int argc, char **argv)
{
    int               fd;
    long              i;
    pthread_t         ids[BENCH_THREADS];
    bench_thread_t   *threads;
    struct sigaction  sa;

    bench_parse(argc, argv);

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = bench_signal;
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);

    fd = strncmp(bench.listen, "unix:", 5) == 0
         ? bench_bind_unix(bench.listen + 5) : bench_bind_tcp(bench.listen);

    if (fd == -1) {
        return 1;
    }

    if (listen(fd, 4096) == -1) {
        perror("bench-agent: listen");
        return 1;
    }

    threads = calloc((size_t) bench.threads, sizeof(bench_thread_t));
    if (threads == NULL) {
        perror("bench-agent");
        return 1;
    }

    printf("bench-agent: listening on %s, pid %d\n", bench.listen,
           (int) getpid());
    fflush(stdout);

    for (i = 0; i < bench.threads; i++) {
        if (bench_start(&threads[i], fd) == -1) {
            return 1;
        }

        if (i && pthread_create(&ids[i], NULL, bench_thread, &threads[i])) {
            fputs("bench-agent: a thread cannot be started\n", stderr);
            return 1;
        }
    }

    bench_thread(&threads[0]);

    for (i = 1; i < bench.threads; i++) {
        pthread_join(ids[i], NULL);
    }

    if (strncmp(bench.listen, "unix:", 5) == 0) {
        unlink(bench.listen + 5);
    }

    printf("bench-agent: stopped, %llu messages\n",
           (unsigned long long) atomic_load(&bench_messages));
    free(threads);

    return 0;
}
