
/*
 * The body of an action on many services: whether it is sound.  What it does
 * not say clearly is refused, as a selection that was not understood would be
 * every service.
 *
 * Pure: no I/O, no clock, no globals.
 */


#include "select.h"

#include <string.h>

#include "state.h"


#define CORRALD_SELECT_IDS  1000


static int corrald_select_member(corrald_check_t *c, const char *name,
    const json_t *value);
static int corrald_select_ids(corrald_check_t *c, const json_t *ids);
static int corrald_select_labels(corrald_check_t *c, const json_t *labels);
static int corrald_select_status(corrald_check_t *c, const json_t *status);


/*
 * Known members of the right types, and ids, labels or tags, or all alone.
 * Returns 0, or -1 with errors.
 */

int
corrald_select_check(corrald_check_t *c, const json_t *body)
{
    int          rc, some;
    json_t      *value;
    const char  *name;

    rc = 0;

    json_object_foreach((json_t *) body, name, value) {
        rc |= corrald_select_member(c, name, value);
    }

    if (rc != 0) {
        return -1;
    }

    some = json_object_get(body, "ids") || json_object_get(body, "labels")
           || json_object_get(body, "tags");

    if (json_is_true(json_object_get(body, "all"))) {
        return some ? corrald_check_error(c, "/all", "is true, beside it there "
                                          "can be \"status\", but not \"ids\", "
                                          "\"labels\" or \"tags\"")
                    : 0;
    }

    return some ? 0 : corrald_check_error(c, "", "say which services: \"ids\", "
                                          "\"labels\", \"tags\" or \"all\": "
                                          "true");
}


static int
corrald_select_member(corrald_check_t *c, const char *name,
    const json_t *value)
{
    if (strcmp(name, "ids") == 0) {
        return corrald_select_ids(c, value);
    }

    if (strcmp(name, "labels") == 0) {
        return corrald_select_labels(c, value);
    }

    if (strcmp(name, "status") == 0) {
        return corrald_select_status(c, value);
    }

    if (strcmp(name, "tags") == 0) {
        return json_string_length(value) > 0
               ? 0 : corrald_check_error(c, "/tags", "must be a string of "
                                         "tags, separated by commas");
    }

    if (strcmp(name, "all") == 0) {
        return json_is_boolean(value)
               ? 0 : corrald_check_error(c, "/all", "must be true or false");
    }

    return corrald_check_error(c, "", "\"%.64s\" is not a member: there are "
                               "ids, labels, tags, status, all", name);
}


static int
corrald_select_ids(corrald_check_t *c, const json_t *ids)
{
    size_t   i, n;
    json_t  *id;

    n = json_array_size(ids);

    json_array_foreach(ids, i, id) {
        if (json_string_length(id) == 0) {
            n = 0;
            break;
        }
    }

    return n > 0 && n <= CORRALD_SELECT_IDS
           ? 0 : corrald_check_error(c, "/ids", "must be an array of 1 to %d "
                                     "names or ids of services",
                                     CORRALD_SELECT_IDS);
}


static int
corrald_select_labels(corrald_check_t *c, const json_t *labels)
{
    json_t      *value;
    const char  *name;

    if (json_string_length(labels) > 0) {
        return 0;
    }

    if (json_object_size(labels) == 0) {
        return corrald_check_error(c, "/labels", "must be an object of "
                                   "strings, or text such as \"tier=gold\", "
                                   "and not empty");
    }

    json_object_foreach((json_t *) labels, name, value) {
        if (!json_is_string(value)) {
            return corrald_check_error(c, "/labels", "has \"%.64s\", its "
                                       "value must be a string", name);
        }
    }

    return 0;
}


static int
corrald_select_status(corrald_check_t *c, const json_t *status)
{
    int          i;
    const char  *text;

    text = json_string_value(status);

    for (i = 0; text && i < CORRALD_STATUS_N; i++) {
        if (strcmp(text, corrald_state_status_name(i)) == 0) {
            return 0;
        }
    }

    return corrald_check_error(c, "/status", "is \"%.64s\", it can be:"
                               CORRALD_STATUS_WORDS, text ? text : "");
}
