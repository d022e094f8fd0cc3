
/*
 * corral, the command line: a table of commands, each a call of the REST API.
 * Help, completion and the order of docs/cli.md come from the tables below.
 *
 * Data goes to standard output, progress and errors to standard error; the
 * exit code says what happened (corral_exit_e in http.h).
 */


#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/buf.h"

#include "corral.h"


#define CORRAL_VERSION      "0.1.0"
#define CORRAL_SECONDS_MAX  1000000


typedef struct {
    const char          *name;
    int                  letter;     /* 0: none */
    const char          *value;      /* NULL: a flag, its int is set to 1 */
    size_t               offset;     /* of the member of corral_run_t */
    const char          *text;
} corral_option_t;


static void corral_unknown(const char *name);
static int corral_parse(int argc, char **argv, corral_run_t *run);
static int corral_option(corral_run_t *run, int letter, int i,
    const char *value);
static int corral_values(corral_run_t *run);
static long corral_seconds(const char *name, const char *value);
static const corral_command_t *corral_find(const char *name,
    const char *second);
static const char *corral_words(const char *name, char *first, size_t size);
static int corral_takes(const corral_command_t *command, const char *option);
static int corral_where(corral_run_t *run);
static char *corral_token(const char *path);
static corral_exit_e corral_help(corral_run_t *run);
static corral_exit_e corral_version(corral_run_t *run);
static corral_exit_e corral_completion(corral_run_t *run);


/* what chooses connections */

#define CORRAL_FILTER                                                         \
    "service instance session tenant subject client-ip of-gateway of-worker " \
    "age idle"

/* In the order in which a newcomer meets them. */

static const corral_command_t  corral_commands[] = {

    { "init", "NAME", 1, 1, corral_init_init, "template",
      "write a service file and an agent to begin with" },

    { "apply", "-f FILE", 0, 0, corral_apply_apply, "file wait dry-run",
      "create or update the services and rules of a file" },

    { "register", "-f FILE", 0, 0, corral_apply_apply, "file wait dry-run",
      "the same as apply" },

    { "ps", "[SERVICE]", 0, 1, corral_service_ps, "labels all",
      "list services, or the instances of one, or all with --all" },

    { "describe", "SERVICE|INSTANCE", 1, 1, corral_service_describe, "",
      "show everything about a service or an instance" },

    { "start", "SERVICE...", 0, CORRAL_ARGS, corral_service_start,
      "all labels wait", "have services run" },

    { "stop", "SERVICE...", 0, CORRAL_ARGS, corral_service_stop,
      "all labels wait yes", "drain and end services" },

    { "restart", "SERVICE...", 0, CORRAL_ARGS, corral_service_restart,
      "all labels wait yes", "replace the instances of services" },

    { "pause", "SERVICE...", 0, CORRAL_ARGS, corral_service_pause,
      "all labels", "take services out of routing, processes untouched" },

    { "resume", "SERVICE...", 0, CORRAL_ARGS, corral_service_resume,
      "all labels", "undo pause" },

    { "scale", "SERVICE REPLICAS", 2, 2, corral_service_scale, "wait",
      "set how many instances are wanted" },

    { "delete", "SERVICE...", 1, CORRAL_ARGS, corral_service_delete, "yes",
      "stop services and forget them" },

    { "wait", "SERVICE...", 1, CORRAL_ARGS, corral_service_wait, "wait",
      "wait until services are as wanted" },

    { "logs", "SERVICE|INSTANCE", 1, 1, corral_watch_logs,
      "follow tail since level stream", "show what agents print" },

    { "routes list", "", 0, 0, corral_routes_list, "",
      "list rules, in the order in which they are asked" },

    { "routes show", "RULE", 1, 1, corral_routes_show, "", "show a rule" },

    { "routes add", "-f FILE", 0, 0, corral_routes_add, "file",
      "create the rule of a file" },

    { "routes set", "RULE KEY=VALUE...", 2, CORRAL_ARGS, corral_routes_set,
      "", "change some members of a rule" },

    { "routes delete", "RULE...", 1, CORRAL_ARGS, corral_routes_delete, "yes",
      "delete rules" },

    { "routes enable", "RULE...", 1, CORRAL_ARGS, corral_routes_enable, "",
      "have rules asked" },

    { "routes disable", "RULE...", 1, CORRAL_ARGS, corral_routes_disable, "",
      "have rules not asked" },

    { "routes reorder", "RULE...", 1, CORRAL_ARGS, corral_routes_reorder, "",
      "give rules the priorities 10, 20, 30, ..." },

    { "routes test", "[METHOD] URL [NAME:VALUE...] [MEMBER=VALUE...]", 1,
      CORRAL_ARGS, corral_routes_test, "",
      "say which rule a request would match, and why every other not" },

    { "connections", "", 0, 0, corral_connections_list, CORRAL_FILTER,
      "list the WebSockets of the whole cluster" },

    { "close", "[CONNECTION]", 0, 1, corral_connections_close,
      CORRAL_FILTER " all code reason dry-run yes",
      "close one connection, or all that match the options" },

    { "revoke", "KIND:NAME...", 1, CORRAL_ARGS, corral_revoke_revoke, "for",
      "close connections of a token, a subject or a session, refuse new ones" },

    { "unrevoke", "KIND:NAME...", 1, CORRAL_ARGS, corral_revoke_undo, "",
      "undo revoke" },

    { "revocations", "", 0, 0, corral_revoke_list, "",
      "list what is revoked" },

    { "drain", "", 0, 0, corral_connections_drain,
      "service instance of-gateway rate deadline retry-after reason wait",
      "close the connections of a service, an instance or a gateway, at a "
      "pace" },

    { "events", "", 0, 0, corral_watch_events, "watch last-id",
      "show what happened, and with -w what happens" },

    { "call", "SERVICE [MESSAGE]", 1, 2, corral_call_call,
      "data gateway binary follow http path",
      "one WebSocket or HTTP exchange with a service" },

    { "explain", "SERVICE|INSTANCE", 1, 1, corral_service_explain, "",
      "say why it is in the state it is in" },

    { "nodes", "", 0, 0, corral_watch_nodes, "", "list nodes" },

    { "gateways", "", 0, 0, corral_watch_gateways, "",
      "list nginx workers and the revision each serves from" },

    { "doctor", "", 0, 0, corral_doctor_doctor, "gateway",
      "look for what is wrong on this machine" },

    { "completion", "bash|zsh|fish", 1, 1, corral_completion, "",
      "print a completion script" },

    { "help", "[COMMAND]", 0, 2, corral_help, "", "show this" },

    { "version", "", 0, 0, corral_version, "", "show the version" },

    { NULL, NULL, 0, 0, NULL, NULL, NULL }
};


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
main(int argc, char **argv)
{
    corral_run_t   run;
    corral_exit_e  code;

    memset(&run, 0, sizeof(corral_run_t));

    curl_global_init(CURL_GLOBAL_DEFAULT);

    if (argc < 2) {
        (void) corral_help(&run);
        return CORRAL_USAGE;
    }

    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        return corral_help(&run);
    }

    if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0) {
        return corral_version(&run);
    }

    run.command = corral_find(argv[1], NULL);

    /* some have two words */

    if (run.command == NULL && argc > 2) {
        run.command = corral_find(argv[1], argv[2]);

        if (run.command) {
            argc--;
            argv++;
        }
    }

    if (run.command == NULL) {
        corral_unknown(argv[1]);
        return CORRAL_USAGE;
    }

    if (corral_parse(argc - 1, argv + 1, &run) != 0) {
        return CORRAL_USAGE;
    }

    if (run.help) {
        run.args[0] = run.command->name;
        run.nargs = 1;          /* found whole, also if it has two words */
        return corral_help(&run);
    }

    if (run.version) {
        return corral_version(&run);
    }

    if (run.nargs < run.command->min || run.nargs > run.command->max) {
        corral_output_error("usage: corral %s %s", run.command->name,
                            run.command->args);
        return CORRAL_USAGE;
    }

    if (corral_where(&run) != 0) {
        return CORRAL_USAGE;
    }

    code = run.command->run(&run);

    if (fflush(stdout) != 0 || ferror(stdout)) {

        /* who does not read any more needs no explanation */

        if (!corral_output_closed()) {
            corral_output_error("standard output cannot be written");
        }

        return CORRAL_FAILED;
    }

    return code;
}


/* the second words of one that has two are named */

static void
corral_unknown(const char *name)
{
    char                     first[32];
    const char              *second;
    corrald_buf_t            b;
    const corral_command_t  *c;

    corrald_buf_init(&b, 1024);
    corrald_buf_str(&b, "");

    for (c = corral_commands; c->name; c++) {
        second = corral_words(c->name, first, sizeof(first));

        if (second && strcmp(first, name) == 0) {
            corrald_buf_printf(&b, " %s", second);
        }
    }

    if (b.len) {
        corral_output_error("\"%s\" needs a second word, it can be:%s", name,
                            b.data);
    } else {
        corral_output_error("there is no command \"%s\"; \"corral help\" "
                            "lists them", name);
    }

    corrald_buf_free(&b);
}


/* 0, or -1 after saying what is wrong */

static int
corral_parse(int argc, char **argv, corral_run_t *run)
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
                && !corral_takes(run->command, corral_options[i].name)))
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

        if (corral_option(run, rc, rc ? -1 : c, optarg) != 0) {
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

    return corral_values(run);
}


/* puts one option, found by its letter or its row, into the run */

static int
corral_option(corral_run_t *run, int letter, int i, const char *value)
{
    char                   *at;
    const corral_option_t  *o;

    for (o = &corral_options[i < 0 ? 0 : i]; i < 0 && o->name; o++) {

        if (o->letter == letter
            && (letter != 'f' || corral_takes(run->command, o->name)))
        {
            break;
        }
    }

    /* an option that the command would not read is an error */

    if (o - corral_options >= CORRAL_GLOBAL_OPTIONS
        && !corral_takes(run->command, o->name))
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
corral_values(corral_run_t *run)
{
    if (run->quiet) {
        corral_output_quiet();
    }

    run->http.timeout = 30;

    if (run->timeout) {
        run->http.timeout = corral_seconds("timeout", run->timeout);
    }

    if (run->http.timeout < 0
        || (run->wait && corral_seconds("wait", run->wait) < 0))
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
corral_seconds(const char *name, const char *value)
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


static const corral_command_t *
corral_find(const char *name, const char *second)
{
    char                     words[64];
    const corral_command_t  *c;

    snprintf(words, sizeof(words), "%s%s%s", name, second ? " " : "",
             second ? second : "");

    for (c = corral_commands; c->name; c++) {
        if (strcmp(c->name, words) == 0) {
            return c;
        }
    }

    return NULL;
}


/* writes the first word; returns the second one, or NULL */

static const char *
corral_words(const char *name, char *first, size_t size)
{
    const char  *blank;

    blank = strchr(name, ' ');

    snprintf(first, size, "%.*s",
             (int) (blank ? (size_t) (blank - name) : strlen(name)), name);

    return blank ? blank + 1 : NULL;
}


static int
corral_takes(const corral_command_t *command, const char *option)
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


/* where the API is and with which token */

static int
corral_where(corral_run_t *run)
{
    char          *token;
    const char    *api, *file;

    static const char  socket[] = "/run/corral/admin.sock";

    api = run->api ? run->api : getenv("CORRAL_API");

    if (api == NULL || *api == '\0') {

        if (access(socket, W_OK) == 0) {
            run->http.socket = socket;
            api = "http://localhost";

        } else {
            api = "http://127.0.0.1:8080";
        }

    } else if (strncmp(api, "unix:", 5) == 0) {
        run->http.socket = api + 5;
        api = "http://localhost";

    } else if (strncmp(api, "http://", 7) != 0
               && strncmp(api, "https://", 8) != 0)
    {
        corral_output_error("\"%s\" is not where an API can be: "
                            "http://host:port, https://host:port or "
                            "unix:/path", api);
        return -1;
    }

    run->http.url = api;

    token = getenv("CORRAL_TOKEN");

    if (token && *token && run->token_file == NULL) {
        run->http.token = token;
        return 0;
    }

    file = run->token_file ? run->token_file : getenv("CORRAL_TOKEN_FILE");

    if (file && *file) {
        run->http.token = corral_token(file);

        if (run->http.token == NULL) {
            corral_output_error("the token file %s cannot be read", file);
            return -1;
        }

        return 0;
    }

    if (run->http.socket == NULL) {
        run->http.token = corral_token("/var/lib/corral/token");
    }

    return 0;
}


static char *
corral_token(const char *path)
{
    FILE         *f;
    char         *got;

    static char  token[512];

    f = fopen(path, "r");
    if (f == NULL) {
        return NULL;
    }

    got = fgets(token, sizeof(token), f);
    fclose(f);

    token[strcspn(token, "\r\n")] = '\0';

    return got && token[0] ? token : NULL;
}


static corral_exit_e
corral_help(corral_run_t *run)
{
    int                       i;
    char                      left[64];
    const corral_command_t   *c;

    c = run->nargs ? corral_find(run->args[0],
                                 run->nargs > 1 ? run->args[1] : NULL)
                   : NULL;

    if (run->nargs == 1 && c == NULL) {
        corral_unknown(run->args[0]);
        return CORRAL_USAGE;
    }

    if (run->nargs && c == NULL) {
        corral_output_error("there is no command \"%s %s\"", run->args[0],
                            run->args[1]);
        return CORRAL_USAGE;
    }

    if (c) {
        printf("corral %s %s\n\n%s.\n\n", c->name, c->args, c->text);

    } else {
        printf("corral COMMAND [ARGUMENTS] [OPTIONS]\n\n"
               "Run, route and watch AI agents behind nginx.\n\n");

        for (c = corral_commands; c->name; c++) {
            printf("  %-14s %s\n", c->name, c->text);
        }

        c = NULL;
        printf("\n");
    }

    for (i = 0; corral_options[i].name; i++) {

        if (i >= CORRAL_GLOBAL_OPTIONS
            && (c == NULL || !corral_takes(c, corral_options[i].name)))
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

    if (c == NULL) {
        printf("\nExit codes: 0 done, 1 failed, 2 usage or invalid, 3 not "
               "found, 4 conflict, 5 denied,\n6 time-out, 7 unhealthy, "
               "8 corrald or its store cannot be reached.\n");
    }

    return CORRAL_OK;
}


static corral_exit_e
corral_version(corral_run_t *run)
{
    json_t  *version;

    if (run->format == CORRAL_JSON) {
        version = json_pack("{s:s}", "version", CORRAL_VERSION);
        corral_output_json(version, 1);
        json_decref(version);

    } else {
        printf("corral %s\n", CORRAL_VERSION);
    }

    return CORRAL_OK;
}


static corral_exit_e
corral_completion(corral_run_t *run)
{
    char                     first[32], last[32];
    const char              *shell, *second;
    const corral_command_t  *c;

    shell = run->args[0];

    if (strcmp(shell, "fish") == 0) {

        for (c = corral_commands; c->name; c++) {
            second = corral_words(c->name, first, sizeof(first));

            if (second) {
                printf("complete -c corral -n __fish_use_subcommand -f -a %s\n"
                       "complete -c corral -n '__fish_seen_subcommand_from %s'"
                       " -f -a %s -d '%s'\n", first, first, second, c->text);

            } else {
                printf("complete -c corral -n __fish_use_subcommand -f -a %s "
                       "-d '%s'\n", c->name, c->text);
            }
        }

        printf("complete -c corral -n 'not __fish_use_subcommand' -f "
               "-a '(corral ps -q -o name 2>/dev/null)'\n");
        return CORRAL_OK;
    }

    if (strcmp(shell, "zsh") == 0) {
        printf("autoload -U +X bashcompinit && bashcompinit\n");

    } else if (strcmp(shell, "bash") != 0) {
        corral_output_error("\"%s\" is not a shell that is known: bash, zsh "
                            "or fish", shell);
        return CORRAL_USAGE;
    }

    printf("_corral() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]}\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W \"");

    last[0] = '\0';

    for (c = corral_commands; c->name; c++) {
        (void) corral_words(c->name, first, sizeof(first));

        if (strcmp(first, last) != 0) {
            printf("%s%s", c == corral_commands ? "" : " ", first);
        }

        snprintf(last, sizeof(last), "%s", first);
    }

    printf("\" -- \"$cur\"))\n"
           "    elif [ \"$COMP_CWORD\" -eq 2 ] && "
           "[ \"${COMP_WORDS[1]}\" = routes ]; then\n"
           "        COMPREPLY=($(compgen -W \"");

    for (c = corral_commands; c->name; c++) {
        second = corral_words(c->name, first, sizeof(first));
        printf("%s%s", second ? " " : "", second ? second : "");
    }

    printf("\" -- \"$cur\"))\n"
           "    elif [ \"${COMP_WORDS[1]}\" = routes ]; then\n"
           "        COMPREPLY=($(compgen -W "
           "\"$(corral routes list -q -o name 2>/dev/null)\" -- "
           "\"$cur\"))\n"
           "    else\n"
           "        COMPREPLY=($(compgen -W "
           "\"$(corral ps -q -o name 2>/dev/null)\" -- \"$cur\"))\n"
           "    fi\n"
           "}\n"
           "complete -o default -F _corral corral\n");

    return CORRAL_OK;
}


corral_exit_e
corral_refused(corral_answer_t *answer, corral_exit_e code)
{
    corral_output_error("%s", answer->error);

    return code;
}


corral_exit_e
corral_get(corral_run_t *run, const char *path, corral_answer_t *answer)
{
    corral_exit_e  code;

    code = corral_http_request(&run->http, "GET", path, NULL, answer);

    if (code != CORRAL_OK) {
        return corral_refused(answer, code);
    }

    if (answer->body == NULL) {
        corral_output_error("the answer to %s is not JSON", path);
        return CORRAL_FAILED;
    }

    return CORRAL_OK;
}


char *
corral_read_file(const char *path, size_t *len)
{
    int              bad;
    FILE            *f;
    char             chunk[8192];
    size_t           n;
    corrald_buf_t    b;

    f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");

    if (f == NULL) {
        corral_output_error("%s cannot be opened", path);
        return NULL;
    }

    corrald_buf_init(&b, 16 * 1024 * 1024);

    do {
        n = fread(chunk, 1, sizeof(chunk), f);
        (void) corrald_buf_add(&b, chunk, n);
    } while (n > 0 && !b.failed);

    bad = b.failed || ferror(f);

    if (f != stdin) {
        fclose(f);
    }

    if (bad) {
        corral_output_error("%s cannot be read, or is longer than 16 MB",
                            path);
        corrald_buf_free(&b);
        return NULL;
    }

    return corrald_buf_take(&b, len);
}
