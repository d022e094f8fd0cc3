
/*
 * Filters of connections: whether one is sound, and what it chooses from the
 * lists that workers publish.  The members are the filter fields of
 * corral_schema.h; a command carries the same object to the workers, which
 * choose by what they hold.
 *
 * Pure: the time is given.
 */


#include "filter.h"

#include <stdio.h>
#include <string.h>

#include <corral_duration.h>
#include <corral_schema.h>


#define corrald_filter_name(name, text)  #name,
#define corrald_filter_word(name, text)  " " #name


const char *const  corrald_filter_names[] = {
    CORRAL_FILTER_FIELDS(corrald_filter_name)
    NULL
};


static int corrald_filter_known(const char *name);
static int corrald_filter_age(const char *name);
static const char *corrald_filter_wrong(const char *name, const char *value);


/*
 * Known members, each a string of the right form.  Returns 0, or -1 with
 * errors under "/filter/".
 */

int
corrald_filter_check(corrald_check_t *c, const json_t *filter)
{
    int          rc;
    char         pointer[96];
    json_t      *value;
    const char  *name, *wrong;

    if (!json_is_object(filter)) {
        return corrald_check_error(c, "/filter", "must be an object of"
                                   CORRAL_FILTER_FIELDS(corrald_filter_word)
                                   " service");
    }

    rc = 0;

    json_object_foreach((json_t *) filter, name, value) {
        snprintf(pointer, sizeof(pointer), "/filter/%.64s", name);

        if (!corrald_filter_known(name)) {
            rc = corrald_check_error(c, pointer, "is not known, it must be "
                                   "one of"
                                   CORRAL_FILTER_FIELDS(corrald_filter_word)
                                   " service");
            continue;
        }

        if (json_string_length(value) == 0) {
            rc = corrald_check_error(c, pointer, "must be a string that is "
                                     "not empty");
            continue;
        }

        wrong = corrald_filter_wrong(name, json_string_value(value));

        if (wrong) {
            rc = corrald_check_error(c, pointer, "is \"%.64s\", it must be %s",
                                     json_string_value(value), wrong);
        }
    }

    return rc ? -1 : 0;
}


/*
 * Does a checked filter choose this connection, as of now (ms)?  One whose
 * times cannot be read is not chosen by its age.
 */

int
corrald_filter_matches(const json_t *filter, const json_t *conn, int64_t now)
{
    int64_t      since;
    json_t      *value;
    const char  *name, *wanted, *is;

    json_object_foreach((json_t *) filter, name, value) {
        wanted = json_string_value(value);

        if (corrald_filter_age(name)) {
            since = corrald_doc_time(conn, strcmp(name, "age") == 0
                                           ? "connected_at"
                                           : "last_activity");

            if (since <= 0
                || now - since < corral_duration_parse(wanted, strlen(wanted)))
            {
                return 0;
            }

            continue;
        }

        is = corrald_doc_str(conn, strcmp(name, "service_id") == 0
                                   ? "target_service_id" : name);

        if (strcmp(wanted, is) != 0) {
            return 0;
        }
    }

    return 1;
}


static int
corrald_filter_known(const char *name)
{
    size_t  i;

    for (i = 0; corrald_filter_names[i]; i++) {
        if (strcmp(corrald_filter_names[i], name) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
corrald_filter_age(const char *name)
{
    return strcmp(name, "age") == 0 || strcmp(name, "idle") == 0;
}


/* what the value must be, or NULL if it is that */

static const char *
corrald_filter_wrong(const char *name, const char *value)
{
    if (strcmp(name, "connection_id") == 0
        && (strlen(value) != 16
            || strspn(value, "0123456789abcdef") != 16
            || strspn(value, "0") == 16))
    {
        return "16 hexadecimal digits";
    }

    if (corrald_filter_age(name)
        && corral_duration_parse(value, strlen(value)) < 0)
    {
        return "a duration such as \"500ms\", \"30s\", \"5m\"";
    }

    return NULL;
}
