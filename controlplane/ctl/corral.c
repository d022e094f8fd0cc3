
/*
 * corral, the command line: a table of commands, each a call of the REST API.
 * Help, completion and the order of docs/cli.md come from it.
 *
 * Data goes to standard output, progress and errors to standard error; the
 * exit code says what happened (corral_exit_e in http.h).
 */


#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/buf.h"

#include "corral.h"


/* what chooses connections */

#define CORRAL_FILTER                                                         \
    "service instance session tenant subject client-ip of-gateway of-worker " \
    "age idle"

/* In the order in which a newcomer meets them. */

const corral_command_t  corral_commands[] = {

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
      "end what a token, subject or session has open, refuse new requests" },

    { "unrevoke", "KIND:NAME...", 1, CORRAL_ARGS, corral_revoke_undo, "",
      "undo revoke" },

    { "revocations", "", 0, 0, corral_revoke_list, "",
      "list what is revoked" },

    { "drain", "", 0, 0, corral_connections_drain,
      "service instance of-gateway rate deadline retry-after reason wait",
      "close the connections of a service, an instance or a gateway, at a "
      "pace" },

    { "rebalance", "SERVICE", 1, 1, corral_connections_rebalance, "dry-run",
      "have WebSockets go to instances that hold less than their share" },

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

    { "completion", "bash|zsh|fish", 1, 1, corral_help_completion, "",
      "print a completion script" },

    { "help", "[COMMAND]", 0, 2, corral_help_help, "", "show this" },

    { "version", "", 0, 0, corral_help_version, "", "show the version" },

    { NULL, NULL, 0, 0, NULL, NULL, NULL }
};


int
main(int argc, char **argv)
{
    corral_run_t   run;
    corral_exit_e  code;

    memset(&run, 0, sizeof(corral_run_t));

    curl_global_init(CURL_GLOBAL_DEFAULT);

    if (argc < 2) {
        (void) corral_help_help(&run);
        return CORRAL_USAGE;
    }

    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        return corral_help_help(&run);
    }

    if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0) {
        return corral_help_version(&run);
    }

    run.command = corral_command_find(argv[1], NULL);

    /* some have two words */

    if (run.command == NULL && argc > 2) {
        run.command = corral_command_find(argv[1], argv[2]);

        if (run.command) {
            argc--;
            argv++;
        }
    }

    if (run.command == NULL) {
        corral_command_unknown(argv[1]);
        return CORRAL_USAGE;
    }

    if (corral_options_read(argc - 1, argv + 1, &run) != 0) {
        return CORRAL_USAGE;
    }

    if (run.help) {
        run.args[0] = run.command->name;
        run.nargs = 1;          /* found whole, also if it has two words */
        return corral_help_help(&run);
    }

    if (run.version) {
        return corral_help_version(&run);
    }

    if (run.nargs < run.command->min || run.nargs > run.command->max) {
        corral_output_error("usage: corral %s %s", run.command->name,
                            run.command->args);
        return CORRAL_USAGE;
    }

    if (corral_api_where(&run) != 0) {
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

void
corral_command_unknown(const char *name)
{
    char                     first[32];
    const char              *second;
    corrald_buf_t            b;
    const corral_command_t  *c;

    corrald_buf_init(&b, 1024);
    corrald_buf_str(&b, "");

    for (c = corral_commands; c->name; c++) {
        second = corral_command_words(c->name, first, sizeof(first));

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


const corral_command_t *
corral_command_find(const char *name, const char *second)
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


const char *
corral_command_words(const char *name, char *first, size_t size)
{
    const char  *blank;

    blank = strchr(name, ' ');

    snprintf(first, size, "%.*s",
             (int) (blank ? (size_t) (blank - name) : strlen(name)), name);

    return blank ? blank + 1 : NULL;
}
