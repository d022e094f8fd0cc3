
/*
 * Parameters of a query: read as what each is to be, or the request is
 * answered with what it can be.
 */


#include <stdlib.h>
#include <string.h>

#include <corral_duration.h>

#include "rest.h"


/* A parameter of the query, or NULL. */

const char *
corrald_rest_query(const corrald_rest_t *r, const char *name)
{
    return json_string_value(json_object_get(r->query, name));
}


/*
 * A parameter that the route does not have is refused, as a misspelled dry_run
 * would make the change; where MyAgent's clients call it is told and ignored.
 */

int
corrald_rest_query_known(corrald_rest_t *r)
{
    size_t       n;
    json_t      *value;
    const char  *name, *words, *p;

    words = r->route->query;

    if (r->route->flags & CORRALD_REST_PUBLIC) {
        return 0;                            /* probes add what they like */
    }

    json_object_foreach(r->query, name, value) {

        n = strlen(name);

        for (p = words; (p = strstr(p, name)) != NULL && n; p += n) {
            if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n])) {
                break;
            }
        }

        if ((p && n)
            || ((r->route->flags & CORRALD_REST_WRITE)
                && (strcmp(name, "wait") == 0
                    || strcmp(name, "timeout") == 0)))
        {
            continue;
        }

        if (r->route->flags & CORRALD_REST_COMPAT
            && corrald_rest_query(r, "strict") == NULL)
        {
            corrald_rest_set(r, "Warning", "299 corrald \"ignored: parameter "
                             "%.64s\"", name);
            continue;
        }

        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER, "\"%.64s\" "
                             "is not a parameter here, there %s%s", name,
                             *words ? "can be: " : "is none", words);
        return -1;
    }

    return 0;
}


/* Each of these returns 0, or -1 after a problem was answered. */

int
corrald_rest_query_int(corrald_rest_t *r, const char *name, int64_t preset,
    int64_t min, int64_t max, int64_t *value)
{
    char        *end;
    const char  *text;

    text = corrald_rest_query(r, name);
    *value = preset;

    if (text == NULL) {
        return 0;
    }

    *value = strtoll(text, &end, 10);

    if (*text == '\0' || *end != '\0' || *value < min || *value > max) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"%s\" is \"%.64s\", it must be an integer from "
                             "%lld to %lld", name, text, (long long) min,
                             (long long) max);
        return -1;
    }

    return 0;
}


int
corrald_rest_query_bool(corrald_rest_t *r, const char *name, int preset,
    int *value)
{
    const char  *text;

    text = corrald_rest_query(r, name);
    *value = preset;

    if (text == NULL) {
        return 0;
    }

    if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0) {
        *value = 1;

    } else if (strcmp(text, "0") == 0 || strcmp(text, "false") == 0) {
        *value = 0;

    } else {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"%s\" is \"%.64s\", it can be: true false 1 0",
                             name, text);
        return -1;
    }

    return 0;
}


/*
 * One of words (a blank between two), or several with commas between.  Empty
 * is as not given.
 */

int
corrald_rest_query_words(corrald_rest_t *r, const char *name,
    const char *words)
{
    size_t       len, n;
    const char  *text, *word, *p;

    text = corrald_rest_query(r, name);
    words += strspn(words, " ");

    for (word = text; word && *word; word += n + (word[n] == ',')) {
        n = strcspn(word, ",");

        for (p = words; *p; p += len, p += strspn(p, " ")) {
            len = strcspn(p, " ");

            if (len == n && memcmp(p, word, n) == 0) {
                break;
            }
        }

        if (*p == '\0') {
            corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                                 "\"%s\" is \"%.64s\", it can be: %s", name,
                                 text, words);
            return -1;
        }
    }

    return 0;
}


int
corrald_rest_query_sort(corrald_rest_t *r, const char *words,
    const char *preset, const char **sort, int *descending)
{
    size_t       len;
    const char  *text, *p;

    text = corrald_rest_query(r, "sort");
    text = text ? text : preset;

    *descending = *text == '-';
    *sort = text + *descending;

    for (p = words; *p; p += len, p += strspn(p, " ")) {
        len = strcspn(p, " ");

        if (len == strlen(*sort) && memcmp(p, *sort, len) == 0) {
            return 0;
        }
    }

    corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER, "\"sort\" is "
                         "\"%.64s\", it can be: %s, each with \"-\" before "
                         "it", *sort, words);
    return -1;
}


int
corrald_rest_query_ms(corrald_rest_t *r, const char *name, int64_t preset,
    int64_t min, int64_t max, int64_t *value)
{
    const char  *text;

    text = corrald_rest_query(r, name);
    *value = preset;

    if (text == NULL) {
        return 0;
    }

    *value = corral_duration_parse(text, strlen(text));

    if (*value < min || *value > max) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"%s\" is \"%.64s\", it must be a duration from "
                             "%lldms to %lldms", name, text, (long long) min,
                             (long long) max);
        return -1;
    }

    return 0;
}
