
/*
 * What the program says of itself: help, its version, completion for shells;
 * all from the tables of commands and options.
 */


#include <stdio.h>
#include <string.h>

#include "base/version.h"

#include "corral.h"


static void corral_help_fish(void);
static void corral_help_bash(void);


corral_exit_e
corral_help_help(corral_run_t *run)
{
    const corral_command_t  *c;

    c = run->nargs ? corral_command_find(run->args[0],
                                         run->nargs > 1 ? run->args[1] : NULL)
                   : NULL;

    if (run->nargs == 1 && c == NULL) {
        corral_command_unknown(run->args[0]);
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

    corral_options_show(c);

    if (c == NULL) {
        printf("\nExit codes: 0 done, 1 failed, 2 usage or invalid, 3 not "
               "found, 4 conflict, 5 denied,\n6 time-out, 7 unhealthy, "
               "8 corrald or its store cannot be reached.\n");
    }

    return CORRAL_OK;
}


corral_exit_e
corral_help_version(corral_run_t *run)
{
    json_t  *version;

    if (run->format == CORRAL_JSON) {
        version = json_pack("{s:s}", "version", CORRALD_VERSION);
        corral_output_json(version, 1);
        json_decref(version);

    } else {
        printf("corral %s\n", CORRALD_VERSION);
    }

    return CORRAL_OK;
}


corral_exit_e
corral_help_completion(corral_run_t *run)
{
    const char  *shell;

    shell = run->args[0];

    if (strcmp(shell, "fish") == 0) {
        corral_help_fish();
        return CORRAL_OK;
    }

    if (strcmp(shell, "zsh") == 0) {
        printf("autoload -U +X bashcompinit && bashcompinit\n");

    } else if (strcmp(shell, "bash") != 0) {
        corral_output_error("\"%s\" is not a shell that is known: bash, zsh "
                            "or fish", shell);
        return CORRAL_USAGE;
    }

    corral_help_bash();

    return CORRAL_OK;
}


static void
corral_help_fish(void)
{
    char                     first[32];
    const char              *second;
    const corral_command_t  *c;

    for (c = corral_commands; c->name; c++) {
        second = corral_command_words(c->name, first, sizeof(first));

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
}


static void
corral_help_bash(void)
{
    char                     first[32], last[32];
    const char              *second;
    const corral_command_t  *c;

    printf("_corral() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]}\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W \"");

    last[0] = '\0';

    for (c = corral_commands; c->name; c++) {
        (void) corral_command_words(c->name, first, sizeof(first));

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
        second = corral_command_words(c->name, first, sizeof(first));
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
}
