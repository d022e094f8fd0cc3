
/*
 * Lists of the API, which come in pages, as one: got and shown.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#include "corral.h"


/*
 * path has a query.  Returns all pages as one body, a new reference, or NULL
 * with *code after it was said why not.
 */

json_t *
corral_list_get(corral_run_t *run, const char *path, corral_exit_e *code)
{
    char             *escaped;
    json_t           *list, *value, *next;
    corrald_buf_t     b;
    corral_answer_t   answer;

    list = NULL;
    next = NULL;

    do {
        corrald_buf_init(&b, 16384);
        corrald_buf_str(&b, path);

        if (next) {
            escaped = corral_http_escape(json_string_value(next));
            corrald_buf_printf(&b, "&cursor=%s", escaped);
            free(escaped);
            json_decref(next);
            next = NULL;
        }

        *code = corral_api_get(run, b.data, &answer);
        corrald_buf_free(&b);

        if (*code == CORRAL_OK) {
            value = json_object_get(answer.body, "next_cursor");
            next = json_is_string(value) ? json_incref(value) : NULL;

            if (list) {
                json_array_extend(json_object_get(list, "items"),
                                  json_object_get(answer.body, "items"));
            } else {
                list = json_incref(answer.body);
            }
        }

        corral_http_free(&answer);

    } while (next);

    if (*code != CORRAL_OK) {
        json_decref(list);
        return NULL;
    }

    if (json_object_get(list, "has_more")) {
        json_object_set_new(list, "has_more", json_false());
        json_object_set_new(list, "next_cursor", json_null());
    }

    return list;
}


corral_exit_e
corral_list(corral_run_t *run, const char *path,
    const corral_column_t *columns, const char *name)
{
    json_t         *list;
    corral_exit_e   code;

    list = corral_list_get(run, path, &code);

    if (list) {
        corral_list_show(run, list, columns, name);
        json_decref(list);
    }

    return code;
}


/* by the format: table of its items, JSON, or names */

void
corral_list_show(corral_run_t *run, json_t *body,
    const corral_column_t *columns, const char *name)
{
    size_t       i;
    json_t      *items, *item;
    const char  *s;

    items = json_object_get(body, "items");

    switch (run->format) {

    case CORRAL_JSON:
        corral_output_json(body, 1);
        break;

    case CORRAL_NAME:
        json_array_foreach(items, i, item) {
            s = json_string_value(json_object_get(item, name));
            printf("%s\n", s ? s : "");
        }

        break;

    default: /* CORRAL_TABLE */
        corral_output_table(columns, items);
        break;
    }
}
