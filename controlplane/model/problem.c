
/*
 * Problem documents (RFC 9457) with a stable code.  "detail" is a sentence, as
 * MyAgent's errors have it.
 *
 * Pure: no I/O, no clock, no globals that change.
 */


#include <stdio.h>

#include "problem.h"


typedef struct {
    const char  *code;
    const char  *title;
    int          http;
} corrald_problem_row_t;


static const corrald_problem_row_t  corrald_problems[] = {
    { "", "", 200 },
#define X(code, http, title)  { #code, title, http },
    CORRALD_PROBLEMS(X)
#undef X
};


int
corrald_problem_http(corrald_problem_e problem)
{
    return corrald_problems[problem].http;
}


const char *
corrald_problem_code(corrald_problem_e problem)
{
    return corrald_problems[problem].code;
}


const char *
corrald_problem_title(corrald_problem_e problem)
{
    return corrald_problems[problem].title;
}


/*
 * Returns a new object.  instance is the path of the request.  errors is an
 * array of {pointer, detail} or NULL; a reference is taken.
 */

json_t *
corrald_problem_make(corrald_problem_e problem, const char *instance,
    const char *detail, const json_t *errors)
{
    char     type[96], *p;
    json_t  *doc;

    snprintf(type, sizeof(type), "urn:corral:problem:%s",
             corrald_problems[problem].code);

    for (p = type; *p; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            *p = (char) (*p - 'A' + 'a');

        } else if (*p == '_') {
            *p = '-';
        }
    }

    doc = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s}",
                    "type", type,
                    "title", corrald_problems[problem].title,
                    "status", corrald_problems[problem].http,
                    "detail", "",
                    "instance", "",
                    "code", corrald_problems[problem].code);

    if (doc == NULL) {
        return NULL;
    }

    /* a path or a sentence with a client's bytes may not be UTF-8 */

    if (json_object_set_new(doc, "detail", json_string(detail)) != 0) {
        json_object_set_new(doc, "detail",
                            json_string(corrald_problems[problem].title));
    }

    if (json_object_set_new(doc, "instance", json_string(instance)) != 0) {
        json_object_del(doc, "instance");
    }

    if (errors && json_array_size(errors)) {
        json_object_set(doc, "errors", (json_t *) errors);
    }

    return doc;
}
