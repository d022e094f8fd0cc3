
/*
 * load: a generator of WebSocket and HTTP load for measurements of proxies (see
 * --help).
 *
 * This file has the options.  It prints one line of JSON; an error is one
 * sentence on the standard error, and the exit status 1.
 */


#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


load_options_t  load;


void
load_fail(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    fputs("load: ", stderr);
    vfprintf(stderr, fmt, args);
    fputs("\n", stderr);
    va_end(args);

    exit(1);
}


static void
load_usage(FILE *out)
{
    fputs("Usage: load MODE --connect 127.0.0.1:PORT [options]\n"
        "Modes:\n"
        "  echo   messages in a closed loop, one in flight per connection\n"
        "  rate   connect, 101, Close, end, and anew, in a closed loop\n"
        "  idle   opens connections, says so, holds them until stdin ends\n"
        "  slow   reads --rate bytes a second while it talks, to the end\n"
        "  probe  one message each millisecond, if the last one is back\n"
        "  paced  --rate messages a second over all connections, whether\n"
        "         earlier ones are back or not\n"
        "  http   GET requests in a closed loop over kept connections\n"
        "  sse    opens streams of bench-agent and counts their events\n"
        "Options:\n"
        "  --path PATH        of the request (default: /)\n"
        "  --connections N    1 to 100000 (default: 1)\n"
        "  --parallel N       handshakes at once (default: 64)\n"
        "  --size BYTES       of a message (default: 128)\n"
        "  --warmup SECONDS   before the window (default: 0.3)\n"
        "  --seconds SECONDS  of the window (default: 2)\n"
        "  --count N          instead of seconds; echo: messages per\n"
        "                     connection (http: requests), rate:\n"
        "                     handshakes of all\n"
        "  --rate N           a second: slow: bytes (default: 1000000),\n"
        "                     paced: messages (default: 1000)\n"
        "  --tls              over TLS; the certificate is not checked\n"
        "  --rpc              messages are JSON-RPC requests, of 64 bytes at\n"
        "                     least, whose params come back as the result\n"
        "  --fin              rate: end with a FIN, without a Close frame\n"
        "  --pid PID          whose CPU time is read\n", out);
}


static uint64_t
load_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char                *end;
    unsigned long long   n;

    errno = 0;
    n = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || errno || n < min || n > max)
    {
        load_fail("--%s \"%s\": expected a whole number from %llu to %llu",
                  name, text, (unsigned long long) min,
                  (unsigned long long) max);
    }

    return n;
}


static double
load_seconds(const char *name, const char *text)
{
    char    *end;
    double   n;

    n = strtod(text, &end);

    if (end == text || *end || !(n >= 0 && n <= 3600)) {
        load_fail("--%s \"%s\": expected seconds from 0 to 3600", name, text);
    }

    return n;
}


static void
load_target(const char *text)
{
    char         host[32];
    size_t       len;
    const char  *colon;

    colon = strchr(text, ':');
    len = colon ? (size_t) (colon - text) : sizeof(host);

    if (len >= sizeof(host)) {
        load_fail("--connect \"%s\": expected 1.2.3.4:port", text);
    }

    memcpy(host, text, len);
    host[len] = '\0';

    load.address.sin_family = AF_INET;
    load.address.sin_port = htons((uint16_t) load_number("connect", colon + 1,
                                                         1, 65535));
    snprintf(load.target, sizeof(load.target), "%s", text);

    if (inet_pton(AF_INET, host, &load.address.sin_addr) != 1) {
        load_fail("--connect \"%s\": expected 1.2.3.4:port", text);
    }
}


static void
load_mode(const char *name)
{
    unsigned            i;
    static const char  *names[] = { "echo", "rate", "idle", "slow", "probe",
                                    "paced", "http", "sse" };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {

        if (strcmp(name, names[i]) == 0) {
            load.mode = (load_mode_t) i;
            load.mode_name = names[i];
            return;
        }
    }

    load_fail("\"%s\": the modes are echo, rate, idle, slow, probe, paced, "
              "http and sse", name);
}


static void
load_parse(int argc, char **argv)
{
    int                         c, index;
    const char                 *name;
    static const struct option  options[] = {
        { "connect",     required_argument, NULL, 'a' },
        { "path",        required_argument, NULL, 'p' },
        { "connections", required_argument, NULL, 'n' },
        { "parallel",    required_argument, NULL, 'l' },
        { "size",        required_argument, NULL, 's' },
        { "warmup",      required_argument, NULL, 'w' },
        { "seconds",     required_argument, NULL, 't' },
        { "count",       required_argument, NULL, 'c' },
        { "rate",        required_argument, NULL, 'r' },
        { "fin",         no_argument,       NULL, 'f' },
        { "tls",         no_argument,       NULL, 'T' },
        { "rpc",         no_argument,       NULL, 'j' },
        { "pid",         required_argument, NULL, 'i' },
        { "help",        no_argument,       NULL, 'h' },
        { NULL,          0,                 NULL, 0 }
    };

    load.path = "/";
    load.connections = 1;
    load.parallel = 64;
    load.size = 128;
    load.warmup = 0.3;
    load.seconds = 2;

    for ( ;; ) {
        c = getopt_long(argc, argv, "", options, &index);
        if (c == -1) {
            break;
        }

        if (c == '?') {
            load_usage(stderr);
            exit(2);
        }

        name = options[index].name;

        switch (c) {

        case 'a':
            load_target(optarg);
            break;

        case 'p':
            load.path = optarg;
            break;

        case 'n':
            load.connections = (uint32_t) load_number(name, optarg, 1, 100000);
            break;

        case 'l':
            load.parallel = (uint32_t) load_number(name, optarg, 1, 100000);
            break;

        case 's':
            load.size = load_number(name, optarg, 0, 1 << 30);
            break;

        case 'w':
            load.warmup = load_seconds(name, optarg);
            break;

        case 't':
            load.seconds = load_seconds(name, optarg);
            break;

        case 'c':
            load.count = load_number(name, optarg, 1, UINT64_C(1) << 50);
            break;

        case 'r':
            load.rate = load_number(name, optarg, 100, 1 << 30);
            break;

        case 'f':
            load.fin = 1;
            break;

        case 'T':
            load.tls = 1;
            break;

        case 'j':
            load.rpc = 1;
            break;

        case 'i':
            load.pid = (long) load_number(name, optarg, 1, 1 << 22);
            break;

        default:
            load_usage(stdout);
            exit(0);
        }
    }

    if (optind != argc - 1) {
        load_usage(stderr);
        exit(2);
    }

    load_mode(argv[optind]);

    if (load.address.sin_port == 0) {
        load_fail("--connect is missing");
    }

    if (load.count && load.mode != LOAD_ECHO && load.mode != LOAD_RATE
        && load.mode != LOAD_HTTP)
    {
        load_fail("--count belongs to the modes echo, rate and http");
    }

    if (load.rate == 0) {
        load.rate = load.mode == LOAD_PACED ? 1000 : 1000000;
    }

    if (load.mode == LOAD_RATE && load.count
        && load.count < load.connections)
    {
        load_fail("--count is less than --connections");
    }

    if (load.mode == LOAD_RATE && load.parallel < load.connections) {
        load.parallel = load.connections;
    }
}


int
main(int argc, char **argv)
{
    load_parse(argc, argv);
    load_io_init();
    load_conn_init();
    load_mode_run();

    return 0;
}
