/*
 * The command of an agent: its arguments with their words replaced, and its
 * program, found and allowed.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../model/doc.h"
#include "describe_local.h"


static int corrald_describe_myagent(corrald_describe_t *d, char **args,
    size_t *n);
static int corrald_describe_program(corrald_describe_t *d, const char *arg,
    const corrald_environ_t *env, char *path);
static int corrald_describe_allowed(corrald_describe_t *d, const char *path);
static char *corrald_describe_expand(const char *text,
    const corrald_describe_words_t *w);


int
corrald_describe_command(corrald_describe_t *d,
    const corrald_describe_words_t *w, const corrald_environ_t *env,
    corrald_wire_t *wire)
{
    int          rc;
    char        *args[CORRALD_WIRE_ARGS_MAX], *arg, path[PATH_MAX];
    size_t       i, n;
    json_t      *command, *item;

    command = json_object_get(d->probe ? d->probe : d->service, "command");
    n = 0;

    json_array_foreach(command, i, item) {
        if (n < CORRALD_WIRE_ARGS_MAX) {
            args[n++] = strdup(json_string_value(item));
        }
    }

    rc = 0;

    if (n == 0) {
        rc = corrald_describe_myagent(d, args, &n);
    }

    for (i = 0; rc == 0 && i < n; i++) {
        arg = args[i] ? corrald_describe_expand(args[i], w) : NULL;

        if (arg == NULL) {
            rc = corrald_describe_fail(d, "spawn_failed", "no memory");
            break;
        }

        if (i == 0) {
            rc = corrald_describe_program(d, arg, env, path);

            if (rc == 0) {
                corrald_wire_add(wire, "arg", path);
            }

        } else {
            corrald_wire_add(wire, "arg", arg);
        }

        free(arg);
    }

    for (i = 0; i < n; i++) {
        free(args[i]);
    }

    return rc;
}


/* The words of myagent_command; blanks separate them. */

static int
corrald_describe_myagent(corrald_describe_t *d, char **args, size_t *n)
{
    size_t       len;
    const char  *p;

    if (*corrald_doc_str(d->service, "agent_factory_path") == '\0') {
        return corrald_describe_fail(d, "spawn_failed", "the service has "
                                     "neither \"command\" nor "
                                     "\"agent_factory_path\"");
    }

    for (p = d->myagent_command; *p; p += len) {
        p += strspn(p, " \t");
        len = strcspn(p, " \t");

        if (len > 0 && *n < CORRALD_WIRE_ARGS_MAX) {
            args[(*n)++] = strndup(p, len);
        }
    }

    if (*n == 0) {
        return corrald_describe_fail(d, "spawn_failed", "\"myagent_command\" "
                                     "of corrald's configuration is empty");
    }

    return 0;
}


/* The absolute path of the program, looked for in the agent's PATH. */

static int
corrald_describe_program(corrald_describe_t *d, const char *arg,
    const corrald_environ_t *env, char *path)
{
    size_t       len;
    const char  *p;
    struct stat  st;

    if (*arg == '/') {
        (void) snprintf(path, PATH_MAX, "%s", arg);

    } else if (strchr(arg, '/') != NULL) {

        /* relative to the working directory, as the agent would see it */

        p = corrald_doc_str(d->service, "cwd");
        (void) snprintf(path, PATH_MAX, "%s/%s", *p ? p : d->paths.cwd, arg);

    } else {
        path[0] = '\0';

        for (p = corrald_environ_get(env, "PATH"); p && *p; p += len) {
            p += (*p == ':');
            len = strcspn(p, ":");

            if (*p != '/') {
                continue;
            }

            (void) snprintf(path, PATH_MAX, "%.*s/%s", (int) len, p, arg);

            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)
                && (st.st_mode & 0111))
            {
                break;
            }

            path[0] = '\0';
        }

        if (path[0] == '\0') {
            return corrald_describe_fail(d, "spawn_failed", "program "
                                         "\"%.200s\" was not found in PATH",
                                         arg);
        }
    }

    return corrald_describe_allowed(d, path);
}


static int
corrald_describe_allowed(corrald_describe_t *d, const char *path)
{
    char    real[PATH_MAX], root[PATH_MAX];
    size_t  i, len;

    if (d->nroots == 0) {
        return 0;
    }

    /* links are followed first: what counts is what is executed */

    if (realpath(path, real) == NULL) {
        return corrald_describe_fail(d, "spawn_failed", "program \"%.200s\": "
                                     "%s", path, strerror(errno));
    }

    for (i = 0; i < d->nroots; i++) {

        if (realpath(d->command_roots[i], root) == NULL) {
            continue;
        }

        len = strlen(root);

        if (strncmp(real, root, len) == 0
            && (real[len] == '/' || root[len - 1] == '/'))
        {
            return 0;
        }
    }

    return corrald_describe_fail(d, "command_refused", "program \"%.200s\" is "
                                 "outside \"command_roots\" of corrald's "
                                 "configuration", real);
}


/* A copy with the words replaced, to be freed; NULL without memory. */

static char *
corrald_describe_expand(const char *text, const corrald_describe_words_t *w)
{
    char        *out;
    size_t       i, len, vlen, size;
    const char  *p;

    size = strlen(text) + 1;

    for (p = strchr(text, '{'); p; p = strchr(p + 1, '{')) {
        for (i = 0; w->words[i].name; i++) {
            if (strncmp(p, w->words[i].name, strlen(w->words[i].name)) == 0) {
                size += strlen(w->words[i].value);
            }
        }
    }

    out = malloc(size);

    if (out == NULL) {
        return NULL;
    }

    for (len = 0, p = text; *p; /* void */ ) {

        for (i = 0; w->words[i].name; i++) {
            if (strncmp(p, w->words[i].name, strlen(w->words[i].name)) == 0) {
                break;
            }
        }

        if (w->words[i].name == NULL) {
            out[len++] = *p++;
            continue;
        }

        vlen = strlen(w->words[i].value);
        memcpy(out + len, w->words[i].value, vlen);
        len += vlen;
        p += strlen(w->words[i].name);
    }

    out[len] = '\0';

    return out;
}
