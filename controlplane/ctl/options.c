
/*
 * Options of the command line: their table, and how a run gets them.
 */


#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corral.h"


#define CORRAL_SECONDS_MAX  1000000


typedef struct {
    const char          *name;
    int                  letter;     /* 0: none */
    const char          *value;      /* NULL: a flag, its int is set to 1 */
    size_t               offset;     /* of the member of corral_run_t */
    const char          *text;
} corral_option_t;


static int corral_options_put(corral_run_t *run, int letter, int i,
    const char *value);
static int corral_options_values(corral_run_t *run);
static long corral_options_seconds(const char *name, const char *value);
static int corral_options_takes(const corral_command_t *command,
    const char *option);


#define corral_at(member)  offsetof(corral_run_t, member)


/* The first eight are taken by every command. */

static const corral_option_t  corral_options[] = {

    { "output", 'o', "table|json|name", corral_at(output),
      "form of the output" },

    { "api", 0, "URL|unix:PATH", corral_at(api),
      "where corrald is; default: $CORRAL_API, then the admin socket "
      "/run/corral/admin.sock, then http://127.0.0.1:8080" },

    { "token-file", 0, "FILE", corral_at(token_file),
      "file with the token; default: $CORRAL_TOKEN, $CORRAL_TOKEN_FILE, "
      "/var/lib/corral/token" },

    { "timeout", 0, "SECONDS", corral_at(timeout), "for one answer, 30" },

    { "insecure", 0, NULL, corral_at(http.insecure),
      "do not verify certificates" },

    { "quiet", 'q', NULL, corral_at(quiet), "no progress" },

    { "help", 'h', NULL, corral_at(help), "help for the command" },

    { "version", 'V', NULL, corral_at(version), "the version" },

    { "file", 'f', "FILE", corral_at(file),
      "YAML or JSON, - for standard input" },

    { "follow", 'f', NULL, corral_at(follow), "go on with what comes" },

    { "watch", 'w', NULL, corral_at(watch), "go on with what comes" },

    { "labels", 'l', "KEY=VALUE,...", corral_at(labels),
      "services that have all these labels" },

    { "data", 'd', "TEXT", corral_at(data),
      "message or body to send, @FILE reads a file" },

    { "yes", 'y', NULL, corral_at(yes), "do not ask" },

    { "level", 0, "LEVEL", corral_at(level), "error, warn, info or debug" },

    { "stream", 0, "STREAM", corral_at(stream), "stdout or stderr" },

    { "since", 0, "TIME", corral_at(since), "RFC 3339, or an age like 5m" },

    { "tail", 0, "LINES", corral_at(tail),
      "how many lines from the end, 100" },

    { "wait", 0, "SECONDS", corral_at(wait),
      "until it is as wanted, for so long at most" },

    { "code", 0, "CODE", corral_at(code), "close code, 1000" },

    { "reason", 0, "TEXT", corral_at(reason),
      "close reason, up to 123 bytes" },

    { "service", 0, "SERVICE", corral_at(service), "only of this service" },

    { "instance", 0, "INSTANCE", corral_at(instance),
      "only of this instance" },

    { "session", 0, "SESSION", corral_at(session), "only of this session" },

    { "tenant", 0, "TENANT", corral_at(tenant), "only of this tenant" },

    { "subject", 0, "SUBJECT", corral_at(subject), "only of this subject" },

    { "client-ip", 0, "ADDRESS", corral_at(client_ip),
      "only of this client" },

    { "of-gateway", 0, "GATEWAY", corral_at(of_gateway),
      "only of this gateway" },

    { "of-worker", 0, "WORKER", corral_at(of_worker), "only of this worker" },

    { "age", 0, "TIME", corral_at(age), "open for so long or longer, as 1h" },

    { "rate", 0, "N", corral_at(rate),
      "connections a second, of the whole cluster; 0: at once" },

    { "deadline", 0, "TIME", corral_at(deadline),
      "all are closed by then, as 30s" },

    { "retry-after", 0, "TIME", corral_at(retry_after),
      "clients are told to come back within, 5s" },

    { "idle", 0, "TIME", corral_at(idle),
      "without a message for so long or longer, as 10m" },

    { "for", 0, "TIME", corral_at(revoke_for), "how long, as 12h; 24h" },

    { "gateway", 0, "URL", corral_at(gateway),
      "where clients reach services; default: $CORRAL_GATEWAY, then what "
      "the API says" },

    { "template", 0, "NAME", corral_at(template),
      "python (default) or node" },

    { "all", 0, NULL, corral_at(all), "every one" },

    { "dry-run", 0, NULL, corral_at(dry_run),
      "only say what would be done" },

    { "binary", 0, NULL, corral_at(binary), "send a binary message" },

    { "last-id", 0, "ID", corral_at(last_id), "events after this one" },

    { "http", 0, NULL, corral_at(http_call),
      "by HTTP: POST with a message, else GET" },

    { "path", 0, "PATH", corral_at(path), "what follows the service" },

    { NULL, 0, NULL, 0, NULL }
};


#define CORRAL_GLOBAL_OPTIONS  8


int
corral_options_read(int argc, char **argv, corral_run_t *run)
{
    int             c, i, n, rc;
    char            letters[64];
    struct option   longs[64];

    memset(longs, 0, sizeof(longs));

    letters[0] = ':';
    n = 1;

    /* -f is --follow for commands that take it, else --file with a value */

    for (i = 0; corral_options[i].name; i++) {
        longs[i].name = corral_options[i].name;
        longs[i].has_arg = corral_options[i].value ? 1 : 0;
        longs[i].val = i;
        longs[i].flag = &c;

        if (corral_options[i].letter == 0
            || (corral_options[i].letter == 'f'
                && !corral_options_takes(run->command, corral_options[i].name)))
        {
            continue;
        }

        letters[n++] = (char) corral_options[i].letter;

        if (corral_options[i].value) {
            letters[n++] = ':';
        }
    }

    letters[n] = '\0';

    for ( ;; ) {
        rc = getopt_long(argc, argv, letters, longs, NULL);

        if (rc == -1) {
            break;
        }

        if (rc == '?') {
            corral_output_error("\"%s\" is not an option; \"corral help %s\" "
                                "lists them", argv[optind - 1],
                                run->command->name);
            return -1;
        }

        if (rc == ':') {
            corral_output_error("\"%s\" needs a value", argv[optind - 1]);
            return -1;
        }

        if (corral_options_put(run, rc, rc ? -1 : c, optarg) != 0) {
            return -1;
        }
    }

    for ( ; optind < argc; optind++) {

        if (run->nargs == CORRAL_ARGS) {
            corral_output_error("more than %d names", CORRAL_ARGS);
            return -1;
        }

        run->args[run->nargs++] = argv[optind];
    }

    return corral_options_values(run);
}


void
corral_options_show(const corral_command_t *command)
{
    int   i;
    char  left[64];

    for (i = 0; corral_options[i].name; i++) {

        if (i >= CORRAL_GLOBAL_OPTIONS
            && (command == NULL
                || !corral_options_takes(command, corral_options[i].name)))
        {
            continue;
        }

        snprintf(left, sizeof(left), "%s%c%s--%s%s%s",
                 corral_options[i].letter ? "-" : " ",
                 corral_options[i].letter ? corral_options[i].letter : ' ',
                 corral_options[i].letter ? ", " : "  ",
                 corral_options[i].name,
                 corral_options[i].value ? " " : "",
                 corral_options[i].value ? corral_options[i].value : "");

        printf("  %-30s %s\n", left, corral_options[i].text);
    }
}


/* puts one option, found by its letter or its row, into the run */

static int
corral_options_put(corral_run_t *run, int letter, int i, const char *value)
{
    char                   *at;
    const corral_option_t  *o;

    for (o = &corral_options[i < 0 ? 0 : i]; i < 0 && o->name; o++) {

        if (o->letter == letter
            && (letter != 'f' || corral_options_takes(run->command, o->name)))
        {
            break;
        }
    }

    /* an option that the command would not read is an error */

    if (o - corral_options >= CORRAL_GLOBAL_OPTIONS
        && !corral_options_takes(run->command, o->name))
    {
        corral_output_error("\"%s\" does not take --%s", run->command->name,
                            o->name);
        return -1;
    }

    at = (char *) run + o->offset;

    if (o->value) {
        *(const char **) at = value;

    } else {
        *(int *) at = 1;
    }

    return 0;
}


/* the options that are not simply words */

static int
corral_options_values(corral_run_t *run)
{
    if (run->quiet) {
        corral_output_quiet();
    }

    run->http.timeout = 30;

    if (run->timeout) {
        run->http.timeout = corral_options_seconds("timeout", run->timeout);
    }

    if (run->http.timeout < 0
        || (run->wait && corral_options_seconds("wait", run->wait) < 0))
    {
        return -1;
    }

    if (run->output == NULL || strcmp(run->output, "table") == 0) {
        run->format = CORRAL_TABLE;

    } else if (strcmp(run->output, "json") == 0) {
        run->format = CORRAL_JSON;

    } else if (strcmp(run->output, "name") == 0) {
        run->format = CORRAL_NAME;

    } else {
        corral_output_error("\"%s\" is not an output: table, json or name",
                            run->output);
        return -1;
    }

    return 0;
}


/* -1 after saying what is wrong */

static long
corral_options_seconds(const char *name, const char *value)
{
    long   n;
    char  *last;

    n = strtol(value, &last, 10);

    if (n < 1 || n > CORRAL_SECONDS_MAX || *last) {
        corral_output_error("--%s is \"%s\", it must be a number of seconds "
                            "from 1 to %d", name, value, CORRAL_SECONDS_MAX);
        return -1;
    }

    return n;
}


static int
corral_options_takes(const corral_command_t *command, const char *option)
{
    size_t       len;
    const char  *p;

    len = strlen(option);

    for (p = strstr(command->options, option); p; p = strstr(p + 1, option)) {

        if ((p == command->options || p[-1] == ' ')
            && (p[len] == ' ' || p[len] == '\0'))
        {
            return 1;
        }
    }

    return 0;
}
