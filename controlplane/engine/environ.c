/*
 * The environment of an agent.
 *
 * An env file has one variable a line:
 *
 *     # a comment
 *     KEY=value             blanks around the value are cut
 *     export KEY=value      as shells like it
 *     KEY=value # comment   a "#" after a blank ends an unquoted value
 *     KEY='as it stands'
 *     KEY="with \n \t \" \\ and \$"
 *     KEY=                  empty
 *
 * Nothing is substituted: a value means the same in every file.  What cannot
 * be understood is an error with file and line, never skipped.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "environ.h"


static char *corrald_environ_line(char *line, char **name, char **value);
static char *corrald_environ_quoted(char *p, char **end);


void
corrald_environ_init(corrald_environ_t *env)
{
    env->vars = NULL;
    env->n = 0;
}


void
corrald_environ_free(corrald_environ_t *env)
{
    size_t  i;

    for (i = 0; i < env->n; i++) {
        explicit_bzero(env->vars[i], strlen(env->vars[i]));
        free(env->vars[i]);
    }

    free(env->vars);
    corrald_environ_init(env);
}


int
corrald_environ_set(corrald_environ_t *env, const char *name,
    const char *value)
{
    char    *var, **vars;
    size_t   i, nlen, vlen;

    nlen = strlen(name);
    vlen = strlen(value);

    var = malloc(nlen + vlen + 2);

    if (var == NULL) {
        return -1;
    }

    memcpy(var, name, nlen);
    var[nlen] = '=';
    memcpy(var + nlen + 1, value, vlen + 1);

    for (i = 0; i < env->n; i++) {
        if (strncmp(env->vars[i], var, nlen + 1) == 0) {
            explicit_bzero(env->vars[i], strlen(env->vars[i]));
            free(env->vars[i]);
            env->vars[i] = var;
            return 0;
        }
    }

    vars = NULL;

    if (env->n < CORRALD_ENVIRON_MAX) {
        vars = realloc(env->vars, (env->n + 1) * sizeof(char *));
    }

    if (vars == NULL) {
        explicit_bzero(var, nlen + vlen + 1);
        free(var);
        return -1;
    }

    env->vars = vars;
    env->vars[env->n++] = var;

    return 0;
}


/* The value, borrowed, or NULL. */

const char *
corrald_environ_get(const corrald_environ_t *env, const char *name)
{
    size_t  i, len;

    len = strlen(name);

    for (i = 0; i < env->n; i++) {
        if (strncmp(env->vars[i], name, len) == 0 && env->vars[i][len] == '=')
        {
            return env->vars[i] + len + 1;
        }
    }

    return NULL;
}


int
corrald_environ_parse(corrald_environ_t *env, char *text, size_t len,
    const char *name, char *err, size_t size)
{
    char      *line, *end, *last, *key, *value, *why;
    unsigned   n;

    last = text + len;

    for (line = text, n = 1; line < last; line = end + 1, n++) {

        end = memchr(line, '\n', (size_t) (last - line));

        if (end == NULL) {
            end = last;
        }

        why = NULL;

        if (memchr(line, '\0', (size_t) (end - line)) != NULL) {
            why = "it holds a zero byte";

        } else {

            if (end > line && end[-1] == '\r') {
                end[-1] = '\0';
            }

            /* text has a byte more than len, see corrald_file_read() */

            *end = '\0';
            key = NULL;
            value = NULL;
            why = corrald_environ_line(line, &key, &value);

            if (why == NULL && key != NULL
                && corrald_environ_set(env, key, value) != 0)
            {
                why = "there are more than 1024 variables";
            }
        }

        if (why != NULL) {
            (void) snprintf(err, size, "%s:%u: %s", name, n, why);
            return -1;
        }
    }

    return 0;
}


/* Returns NULL, or what is wrong.  *name stays NULL for an empty line. */

static char *
corrald_environ_line(char *line, char **name, char **value)
{
    char  *p, *end, *why;

    p = line + strspn(line, " \t");

    if (*p == '\0' || *p == '#') {
        return NULL;
    }

    if (strncmp(p, "export", 6) == 0 && (p[6] == ' ' || p[6] == '\t')) {
        p += 7;
        p += strspn(p, " \t");
    }

    *name = p;

    if (!((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || *p == '_')) {
        return "a name must begin with a letter or \"_\"";
    }

    p += strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                   "0123456789_.-");
    end = p;
    p += strspn(p, " \t");

    if (*p != '=') {
        return "it is not KEY=VALUE";
    }

    *end = '\0';
    p++;
    p += strspn(p, " \t");
    *value = p;

    if (*p == '"' || *p == '\'') {
        (*value)++;
        why = corrald_environ_quoted(p, &end);

        if (why != NULL) {
            return why;
        }

        end += strspn(end, " \t");

        return (*end == '\0' || *end == '#') ? NULL
                                             : "something follows the quotes";
    }

    /* "#" begins a comment only after a blank: it may be part of a value */

    for (end = p; *end != '\0'; end++) {
        if (*end == '#' && end > p && (end[-1] == ' ' || end[-1] == '\t')) {
            break;
        }
    }

    if (*p == '#') {
        end = p;
    }

    while (end > p && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }

    *end = '\0';

    return NULL;
}


/* p is at the quote; the value is written in place behind it. */

static char *
corrald_environ_quoted(char *p, char **end)
{
    char  quote, *to;

    quote = *p++;
    to = p;

    while (*p != quote) {

        if (*p == '\0') {
            return "a quote is not closed";
        }

        if (quote == '"' && *p == '\\') {
            p++;

            switch (*p) {
            case 'n':   *to++ = '\n';  break;
            case 't':   *to++ = '\t';  break;
            case 'r':   *to++ = '\r';  break;
            case '"':
            case '\\':
            case '$':   *to++ = *p;    break;
            default:
                return "after \\ only n, t, r, \", \\ and $ may stand";
            }

            p++;
            continue;
        }

        *to++ = *p++;
    }

    *end = p + 1;
    *to = '\0';

    return NULL;
}
