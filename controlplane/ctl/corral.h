
/*
 * What the commands of the command line share.  See corral.c.
 */


#ifndef _CORRAL_CORRAL_H_INCLUDED_
#define _CORRAL_CORRAL_H_INCLUDED_


#include <jansson.h>

#include "http.h"
#include "output.h"


#define CORRAL_ARGS  64


typedef struct corral_run_s  corral_run_t;
typedef corral_exit_e (*corral_command_pt)(corral_run_t *run);


typedef struct {
    const char         *name;
    const char         *args;
    int                 min;         /* arguments */
    int                 max;
    corral_command_pt   run;
    const char         *options;     /* the words it takes */
    const char         *text;
} corral_command_t;


/* What one run was asked for; options that were not given are NULL or 0. */

struct corral_run_s {
    corral_http_t            http;
    corral_format_e          format;
    const corral_command_t  *command;

    const char        *output;
    const char        *api;
    const char        *token_file;
    const char        *timeout;
    int                quiet;
    int                help;
    int                version;

    const char        *args[CORRAL_ARGS];
    int                nargs;

    const char        *file;         /* -f of apply and register */
    const char        *tail;
    const char        *since;
    const char        *level;
    const char        *stream;
    const char        *wait;         /* seconds, or "" for the default */
    const char        *code;
    const char        *reason;
    const char        *service;
    const char        *instance;
    const char        *session;
    const char        *tenant;
    const char        *subject;
    const char        *client_ip;
    const char        *of_gateway;
    const char        *of_worker;
    const char        *rate;
    const char        *deadline;
    const char        *retry_after;
    const char        *age;
    const char        *idle;
    const char        *revoke_for;
    const char        *data;
    const char        *gateway;
    const char        *template;
    const char        *labels;
    const char        *last_id;
    const char        *path;
    int                follow;
    int                all;
    int                yes;
    int                dry_run;
    int                watch;
    int                binary;
    int                http_call;
};


/*
 * The table, ended by a row without name; corral.c.  find: second is NULL or
 * the second word of one that has two.  words: writes the first word, returns
 * the second one, or NULL.  unknown says that there is no such command.
 */
extern const corral_command_t  corral_commands[];

const corral_command_t *corral_command_find(const char *name,
    const char *second);
const char *corral_command_words(const char *name, char *first, size_t size);
void corral_command_unknown(const char *name);

/* The command line after the command.  Returns 0, or -1 after saying why. */
int corral_options_read(int argc, char **argv, corral_run_t *run);

/* Prints those of a command, or those that all take (NULL). */
void corral_options_show(const corral_command_t *command);

/* Finds the API and the token.  Returns 0, or -1 after saying why. */
int corral_api_where(corral_run_t *run);

/* Prints what is wrong with an answer and returns its exit code. */
corral_exit_e corral_api_refused(corral_answer_t *answer, corral_exit_e code);

/* GETs a path; on failure says why.  The answer is to be freed. */
corral_exit_e corral_api_get(corral_run_t *run, const char *path,
    corral_answer_t *answer);

/*
 * Lists, with all their pages: gets one (NULL: why not was said), prints one by
 * the format, as a table of its items, JSON, or names; or both.
 */
json_t *corral_list_get(corral_run_t *run, const char *path,
    corral_exit_e *code);
void corral_list_show(corral_run_t *run, json_t *body,
    const corral_column_t *columns, const char *name);
corral_exit_e corral_list(corral_run_t *run, const char *path,
    const corral_column_t *columns, const char *name);

/* fmt has one %s, for the percent-encoded name; to be freed. */
char *corral_path(const char *fmt, const char *name);

/* Asks a person; a program must say --yes.  1: go on. */
int corral_sure(corral_run_t *run, const char *what, const char *whom);

/* Until it is as wanted, for --wait or a minute; says what came of it. */
corral_exit_e corral_service_wait_for(corral_run_t *run, const char *name);

/* Reads a file, "-" for standard input; NULL after saying why not. */
char *corral_file_read(const char *path, size_t *len);


/* commands, by file */

corral_exit_e corral_apply_apply(corral_run_t *run);

corral_exit_e corral_service_ps(corral_run_t *run);
corral_exit_e corral_service_describe(corral_run_t *run);
corral_exit_e corral_service_start(corral_run_t *run);
corral_exit_e corral_service_stop(corral_run_t *run);
corral_exit_e corral_service_restart(corral_run_t *run);
corral_exit_e corral_service_pause(corral_run_t *run);
corral_exit_e corral_service_resume(corral_run_t *run);
corral_exit_e corral_service_scale(corral_run_t *run);
corral_exit_e corral_service_delete(corral_run_t *run);
corral_exit_e corral_service_wait(corral_run_t *run);
corral_exit_e corral_service_explain(corral_run_t *run);

corral_exit_e corral_watch_logs(corral_run_t *run);
corral_exit_e corral_watch_events(corral_run_t *run);
corral_exit_e corral_watch_nodes(corral_run_t *run);
corral_exit_e corral_watch_gateways(corral_run_t *run);

corral_exit_e corral_routes_list(corral_run_t *run);
corral_exit_e corral_routes_show(corral_run_t *run);
corral_exit_e corral_routes_add(corral_run_t *run);
corral_exit_e corral_routes_set(corral_run_t *run);
corral_exit_e corral_routes_delete(corral_run_t *run);
corral_exit_e corral_routes_enable(corral_run_t *run);
corral_exit_e corral_routes_disable(corral_run_t *run);
corral_exit_e corral_routes_reorder(corral_run_t *run);
corral_exit_e corral_routes_test(corral_run_t *run);
corral_exit_e corral_connections_list(corral_run_t *run);
corral_exit_e corral_connections_close(corral_run_t *run);
corral_exit_e corral_connections_drain(corral_run_t *run);
corral_exit_e corral_connections_rebalance(corral_run_t *run);
corral_exit_e corral_revoke_list(corral_run_t *run);
corral_exit_e corral_revoke_revoke(corral_run_t *run);
corral_exit_e corral_revoke_undo(corral_run_t *run);

corral_exit_e corral_help_help(corral_run_t *run);
corral_exit_e corral_help_version(corral_run_t *run);
corral_exit_e corral_help_completion(corral_run_t *run);

corral_exit_e corral_call_call(corral_run_t *run);
corral_exit_e corral_doctor_doctor(corral_run_t *run);
corral_exit_e corral_init_init(corral_run_t *run);


#endif /* _CORRAL_CORRAL_H_INCLUDED_ */
