
/*
 * Which services a query, or the body of an action on many of them, means.
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <string.h>

#include "../base/alloc.h"
#include "../model/state.h"
#include "api.h"


/* rows that are being collected */

typedef struct {
    corrald_uri_row_t  *rows;
    size_t              n;
    const json_t       *filter;
    const char         *sort;
} corrald_services_rows_t;


static int corrald_services_filter(const corrald_entry_t *entry,
    const json_t *filter);
static int corrald_services_labels(const json_t *doc, const json_t *labels);


static void
corrald_services_collect(const corrald_entry_t *entry, void *data)
{
    corrald_services_rows_t  *c;

    c = data;

    if (corrald_services_filter(entry, c->filter)) {
        c->rows[c->n].key = corrald_doc_str(entry->doc, c->sort);
        c->rows[c->n].id = entry->id;
        c->rows[c->n].data = (void *) entry;
        c->n++;
    }
}


/*
 * filter was checked and has any of: status, tags (any of them), name (a part
 * of it), ids (ids or names), labels ("k=v,k2" or an object: all of them).
 */

corrald_uri_row_t *
corrald_services_select(const json_t *filter, const char *sort, size_t *n)
{
    corrald_services_rows_t  c;

    c.n = 0;
    c.filter = filter;
    c.sort = sort;
    c.rows = corrald_alloc(corrald_store_count(CORRALD_SERVICE) + 1,
                           sizeof(*c.rows), "for a list");

    corrald_store_each(CORRALD_SERVICE, corrald_services_collect, &c);

    *n = c.n;

    return c.rows;
}


static int
corrald_services_filter(const corrald_entry_t *entry, const json_t *filter)
{
    size_t                  i;
    json_t                 *instances, *item, *list;
    const char             *text;
    corrald_state_count_t   count;

    list = json_object_get(filter, "ids");

    if (list) {
        json_array_foreach(list, i, item) {
            text = json_string_value(item);

            if (text && (strcmp(text, entry->id) == 0
                         || strcmp(text, corrald_doc_str(entry->doc, "name"))
                            == 0))
            {
                break;
            }
        }

        if (i == json_array_size(list)) {
            return 0;
        }
    }

    text = corrald_doc_str(filter, "name");

    if (*text && strcasestr(corrald_doc_str(entry->doc, "name"), text) == NULL)
    {
        return 0;
    }

    text = corrald_doc_str(filter, "tags");

    if (*text) {
        list = json_object_get(entry->doc, "tags");

        json_array_foreach(list, i, item) {
            if (corrald_uri_word(text, json_string_value(item))) {
                break;
            }
        }

        if (i == json_array_size(list)) {
            return 0;
        }
    }

    if (!corrald_services_labels(entry->doc,
                                 json_object_get(filter, "labels")))
    {
        return 0;
    }

    text = corrald_doc_str(filter, "status");

    if (*text == '\0') {
        return 1;
    }

    memset(&count, 0, sizeof(count));
    instances = corrald_instances_array(entry->id);

    json_array_foreach(instances, i, item) {
        corrald_state_count(&count, item);
    }

    json_decref(instances);

    return corrald_uri_word(text, corrald_state_status_name(
                                 corrald_state_status(entry->doc, &count)));
}


/* Whether a service has all labels of a selector, text or object. */

static int
corrald_services_labels(const json_t *doc, const json_t *labels)
{
    char          key[64];
    json_t       *have, *value;
    size_t        len, split;
    const char   *p, *name, *is;

    have = json_object_get(doc, "labels");

    json_object_foreach((json_t *) labels, name, value) {
        is = json_string_value(json_object_get(have, name));

        if (is == NULL || (json_is_string(value)
                           && strcmp(is, json_string_value(value)) != 0))
        {
            return 0;
        }
    }

    p = json_string_value(labels);

    for ( /* void */ ; p && *p; p += len + (p[len] == ',')) {
        len = strcspn(p, ",");
        split = strcspn(p, "=,");

        snprintf(key, sizeof(key), "%.*s", split < 63 ? (int) split : 63, p);

        is = json_string_value(json_object_get(have, key));

        if (is == NULL
            || (split < len && (strlen(is) != len - split - 1
                                || memcmp(is, p + split + 1, len - split - 1)
                                   != 0)))
        {
            return 0;
        }
    }

    return 1;
}
