
/*
 * Rules by the gateways' own code: what they would refuse is refused before it
 * is stored, and a dry run tells what they would do, by the same comparisons.
 *
 * Pure: no I/O, no clock, no globals.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_match.h>

#include "route.h"
#include "rules.h"


/* What is allocated for one rule, freed together. */

typedef struct corrald_route_block_s  corrald_route_block_t;

struct corrald_route_block_s {
    corrald_route_block_t   *next;
    max_align_t              data[];
};


struct corrald_route_s {
    corrald_route_block_t   *blocks;
    corral_match_rule_t     *match;
    corral_match_scratch_t  *scratch;
};


static void *corrald_route_alloc(void *data, size_t size);
static int corrald_route_get(void *data, corral_match_field_e field,
    const corral_str_t *name, uint32_t i, corral_str_t *value);
static const json_t *corrald_route_header(const json_t *headers,
    const char *name);
static int corrald_route_value(corrald_check_t *c, const char *pointer,
    const json_t *value);
static json_t *corrald_route_why(const json_t *doc, const json_t *request,
    uint32_t condition);


/* Returns a new rule, or NULL and a sentence in err. */

corrald_route_t *
corrald_route_make(const json_t *doc, char *err, size_t size)
{
    char             *text;
    corral_rule_t     rule;
    corrald_route_t  *route;

    route = calloc(1, sizeof(*route));
    text = json_dumps(doc, JSON_COMPACT);

    if (route == NULL || text == NULL) {
        snprintf(err, size, "no memory");
        free(route);
        free(text);
        return NULL;
    }

    if (corral_decode_rule(text, strlen(text), &rule, corrald_route_alloc,
                           route, err, size)
        == 0)
    {
        route->match = corral_match_compile(&rule, corrald_route_alloc, route,
                                            err, size);
    }

    free(text);

    if (route->match == NULL) {
        corrald_route_free(route);
        return NULL;
    }

    return route;
}


void
corrald_route_free(corrald_route_t *route)
{
    corrald_route_block_t  *block;

    if (route->scratch) {
        corral_match_scratch_free(route->scratch);
    }

    while (route->blocks) {
        block = route->blocks;
        route->blocks = block->next;
        free(block);
    }

    free(route);
}


static void *
corrald_route_alloc(void *data, size_t size)
{
    corrald_route_t        *route;
    corrald_route_block_t  *block;

    route = data;

    block = malloc(sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }

    block->next = route->blocks;
    route->blocks = block;

    return block->data;
}


/* See route.h.  failed may be NULL. */

int
corrald_route_test(corrald_route_t *route, const json_t *doc,
    const json_t *request, json_t **failed)
{
    uint32_t              condition;
    corral_match_view_t   view;

    if (route->scratch == NULL) {
        route->scratch = corral_match_scratch_create(corrald_route_alloc,
                                                     route);
    }

    view.get = corrald_route_get;
    view.accept = NULL;
    view.data = (void *) request;
    view.scratch = route->scratch;

    condition = 0;

    if (route->scratch
        && corral_match_test(route->match, &view, &condition))
    {
        return 1;
    }

    if (failed) {
        *failed = corrald_route_why(doc, request, condition);
    }

    return 0;
}


/* corral_match_view_t.get */

static int
corrald_route_get(void *data, corral_match_field_e field,
    const corral_str_t *name, uint32_t i, corral_str_t *value)
{
    const json_t  *request, *v;

    static const char  *members[] = {
#define X(word, text)  #word,
        CORRAL_MATCH_FIELDS(X)
#undef X
    };

    request = data;

    switch (field) {

    case CORRAL_MATCH_header:
        v = corrald_route_header(json_object_get(request, "headers"),
                                 name->data);
        break;

    case CORRAL_MATCH_query:
        v = json_object_get(json_object_get(request, "query"), name->data);
        break;

    case CORRAL_MATCH_cookie:
        v = json_object_get(json_object_get(request, "cookies"), name->data);
        break;

    case CORRAL_MATCH_claim:
        v = json_object_get(json_object_get(request, "claims"), name->data);
        break;

    case CORRAL_MATCH_request:
        v = corrald_route_header(json_object_get(request, "headers"),
                                 name->data);

        if (v == NULL) {
            v = json_object_get(json_object_get(request, "query"), name->data);
        }

        break;

    default:
        v = json_object_get(request, members[field]);

        if (v == NULL && field == CORRAL_MATCH_user_agent) {
            v = corrald_route_header(json_object_get(request, "headers"),
                                     "user-agent");
        }

        break;
    }

    if (json_is_array(v)) {
        v = json_array_get(v, i);

    } else if (i > 0) {
        return 0;
    }

    if (!json_is_string(v)) {
        return 0;
    }

    value->data = (char *) json_string_value(v);
    value->len = json_string_length(v);

    return 1;
}


/* See route.h: as gateways read force_by, for which empty is not there. */

const char *
corrald_route_first(const json_t *request, const char *words)
{
    char                   word[129];
    size_t                 len;
    const char            *p;
    corral_str_t           text, name, value;
    corral_match_field_e   field;

    for (p = words; *p; p += len + (p[len] == ' ')) {
        len = strcspn(p, " ");

        snprintf(word, sizeof(word), "%.*s", (int) len, p);

        text.data = word;
        text.len = strlen(word);

        if (corral_match_field(&text, &field, &name) == 0
            && corrald_route_get((void *) request, field, &name, 0, &value)
            && value.len > 0)
        {
            return value.data;
        }
    }

    return NULL;
}


/* names of headers know no case */

static const json_t *
corrald_route_header(const json_t *headers, const char *name)
{
    size_t       i;
    json_t      *value;
    const char  *key;

    json_object_foreach((json_t *) headers, key, value) {

        for (i = 0; key[i] && corral_match_lower(key[i])
                              == corral_match_lower(name[i]);
             i++)
        {
            /* void */
        }

        if (key[i] == '\0' && name[i] == '\0') {
            return value;
        }
    }

    return NULL;
}


/* the first condition that does not hold, with both values */

static json_t *
corrald_route_why(const json_t *doc, const json_t *request, uint32_t condition)
{
    uint32_t               i;
    json_t                *why, *item, *actual, *values;
    const char            *text;
    corral_str_t           field, name, value;
    corral_match_field_e   f;

    item = json_array_get(json_object_get(doc, "conditions"), condition);
    text = corrald_doc_str(item, "field");

    field.data = (char *) text;
    field.len = strlen(text);

    actual = json_array();

    for (i = 0; i < CORRAL_MATCH_VALUES; i++) {
        if (corral_match_field(&field, &f, &name) != 0
            || !corrald_route_get((void *) request, f, &name, i, &value))
        {
            break;
        }

        json_array_append_new(actual, json_stringn(value.data, value.len));
    }

    values = json_object_get(item, "values");

    why = json_pack("{s:i, s:s, s:s, s:O}", "condition", (int) condition + 1,
                    "field", text,
                    "operator", corrald_doc_str(item, "operator"),
                    "expected", json_array_size(values)
                                ? values : json_object_get(item, "value"));

    json_object_set_new(why, "actual",
                        json_array_size(actual) > 1
                        ? json_incref(actual)
                        : json_array_size(actual)
                          ? json_incref(json_array_get(actual, 0))
                          : json_null());
    json_decref(actual);

    return why;
}


/* Returns 0, or -1 with errors: the types of the request of a dry run. */

int
corrald_route_request(corrald_check_t *c, const json_t *request)
{
    int          i, rc;
    char         pointer[160];
    json_t      *value, *item;
    const char  *key, *name;

    static const char  *words[] = {
        "method", "path", "host", "client_ip", "client_port", "user_agent",
        "tenant", "service", "subprotocol", NULL
    };

    static const char  *maps[] = {
        "headers", "query", "cookies", "claims", NULL
    };

    rc = 0;

    json_object_foreach((json_t *) request, key, value) {

        snprintf(pointer, sizeof(pointer), "/%.64s", key);

        for (i = 0; words[i] && strcmp(words[i], key) != 0; i++) { /* void */ }

        if (words[i]) {
            rc |= corrald_route_value(c, pointer, value);
            continue;
        }

        for (i = 0; maps[i] && strcmp(maps[i], key) != 0; i++) { /* void */ }

        if (maps[i] == NULL || !json_is_object(value)) {
            rc = corrald_check_error(c, pointer, maps[i]
                                     ? "must be an object of strings"
                                     : "is not a part of a request: method "
                                       "path host client_ip client_port "
                                       "user_agent tenant service subprotocol "
                                       "headers query cookies claims");
            continue;
        }

        json_object_foreach(value, name, item) {
            snprintf(pointer, sizeof(pointer), "/%.64s/%.64s", key, name);
            rc |= corrald_route_value(c, pointer, item);
        }
    }

    return rc;
}


static int
corrald_route_value(corrald_check_t *c, const char *pointer,
    const json_t *value)
{
    size_t   i;
    json_t  *item;

    if (json_is_string(value)) {
        return 0;
    }

    json_array_foreach(value, i, item) {
        if (!json_is_string(item)) {
            return corrald_check_error(c, pointer, "must be a string or an "
                                       "array of strings");
        }
    }

    return json_is_array(value)
           ? 0 : corrald_check_error(c, pointer, "must be a string or an array"
                                     " of strings");
}


/* Rules between the fields of a rule.  Returns 0, or -1 with errors. */

int
corrald_route_check(corrald_check_t *c, const json_t *doc)
{
    char              err[CORRAL_DECODE_ERROR];
    corrald_route_t  *route;

    route = corrald_route_make(doc, err, sizeof(err));

    if (route == NULL) {
        return corrald_check_error(c, strncmp(err, "condition", 9) == 0
                                      ? "/conditions" : "", "%s", err);
    }

    corrald_route_free(route);

    return corrald_rules_hash_key(c, doc) | corrald_rules_force_by(c, doc);
}


/* The order in which rules are asked: below, 0 or above 0. */

int
corrald_route_compare(const json_t *a, const json_t *b)
{
    corral_str_t  x, y;

    x.data = (char *) corrald_doc_str(a, "name");
    x.len = strlen(x.data);
    y.data = (char *) corrald_doc_str(b, "name");
    y.len = strlen(y.data);

    return corral_match_order(corrald_doc_int(a, "priority"), &x,
                              corrald_doc_int(b, "priority"), &y);
}


/*
 * What MyAgent's clients send: flat names of headers and arguments as fields,
 * and of its console "strategy", and conditions as an object of values.
 */

void
corrald_route_compat(json_t *in)
{
    size_t                 i;
    json_t                *conditions, *value, *list;
    const char            *key;
    corral_str_t           field, name;
    corral_match_field_e   f;

    value = json_object_get(in, "strategy");

    if (value && json_object_get(in, "target_strategy") == NULL) {
        json_object_set(in, "target_strategy", value);
        json_object_del(in, "strategy");
    }

    conditions = json_object_get(in, "conditions");

    if (json_is_object(conditions)) {
        list = json_array();

        json_object_foreach(conditions, key, value) {
            json_array_append_new(list, json_pack("{s:s, s:s, s:O}",
                                                  "field", key, "operator",
                                                  "equals", "value", value));
        }

        json_object_set_new(in, "conditions", list);
        conditions = list;
    }

    json_array_foreach(conditions, i, value) {
        key = json_string_value(json_object_get(value, "field"));

        if (key == NULL) {
            continue;
        }

        field.data = (char *) key;
        field.len = strlen(key);

        if (corral_match_field(&field, &f, &name) != 0) {
            json_object_set_new(value, "field", json_sprintf("request.%s",
                                                             key));
        }
    }
}
