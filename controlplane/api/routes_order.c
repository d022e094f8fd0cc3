
/*
 * A new order of rules: their priorities, in one change.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "api.h"


#define CORRALD_ROUTES_REORDER  1000    /* rules of one request */


static int corrald_routes_number(corrald_rest_t *r, const char *name,
    int64_t min, int64_t max, int64_t *value);
static size_t corrald_routes_positions(corrald_rest_t *r, json_t *order,
    corrald_op_t *ops);
static void corrald_routes_reordered(const corrald_result_t *result,
    void *data);


/* {"order": [rule, ...]}: they get the priorities start, start + step, ... */

void
corrald_routes_reorder(corrald_rest_t *r)
{
    size_t         i, n;
    json_t        *order, *value;
    const char    *name;
    corrald_op_t  *ops;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    json_object_foreach(r->json, name, value) {
        if (!corrald_uri_word("order,start,step", name)) {
            corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                                 "\"%.64s\" is not a member: there are order, "
                                 "start, step", name);
            return;
        }
    }

    order = json_object_get(r->json, "order");
    n = json_array_size(order);

    if (n == 0 || n > CORRALD_ROUTES_REORDER) {
        corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                             "\"order\" must be an array of 1 to %d names or "
                             "ids of rules", CORRALD_ROUTES_REORDER);
        return;
    }

    ops = corrald_alloc(n, sizeof(*ops), "for a request");

    if (corrald_routes_positions(r, order, ops) == n) {
        corrald_store_commit(ops, n, 0, corrald_routes_reordered, r);
    }

    for (i = 0; i < n; i++) {
        json_decref(ops[i].doc);
    }

    free(ops);
}


/* A number of the body, 10 unless given.  -1: a problem was answered. */

static int
corrald_routes_number(corrald_rest_t *r, const char *name, int64_t min,
    int64_t max, int64_t *value)
{
    char    *text;
    json_t  *number;

    number = json_object_get(r->json, name);
    *value = number ? json_integer_value(number) : 10;

    if (number == NULL
        || (json_is_integer(number) && *value >= min && *value <= max))
    {
        return 0;
    }

    text = json_dumps(number, JSON_ENCODE_ANY|JSON_COMPACT);
    corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED, "\"%s\" is "
                         "%.64s, it must be an integer from %lld to %lld",
                         name, text ? text : "?", (long long) min,
                         (long long) max);
    free(text);

    return -1;
}


/* Makes an operation of each; fewer than there are: a problem was answered. */

static size_t
corrald_routes_positions(corrald_rest_t *r, json_t *order, corrald_op_t *ops)
{
    size_t                  i, k, n;
    int64_t                 first, by;
    const char             *name;
    const corrald_entry_t  *entry;

    n = json_array_size(order);

    if (corrald_routes_number(r, "start", -1000000, 1000000, &first) != 0
        || corrald_routes_number(r, "step", 1, 1000, &by) != 0)
    {
        return 0;
    }

    if (first + by * (int64_t) (n - 1) > 1000000) {
        corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                             "the last of %zu rules would have the priority "
                             "%lld, it must be from -1000000 to 1000000", n,
                             (long long) (first + by * (int64_t) (n - 1)));
        return 0;
    }

    for (i = 0; i < n; i++) {
        name = json_string_value(json_array_get(order, i));
        entry = name ? corrald_store_rule(name) : NULL;

        if (name == NULL) {
            corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                                 "item %zu of \"order\" must be a string", i);
            break;
        }

        if (entry == NULL) {
            corrald_rest_problem(r, CORRALD_PROBLEM_RULE_NOT_FOUND,
                                 "item %zu of \"order\": there is no rule "
                                 "\"%.128s\"", i, name);
            break;
        }

        for (k = 0; k < i && strcmp(ops[k].id, entry->id) != 0; k++) {
            /* void */
        }

        if (k < i) {
            corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED,
                                 "items %zu and %zu of \"order\" are the same "
                                 "rule \"%.128s\"", k, i, name);
            break;
        }

        ops[i].op = CORRALD_SET;
        ops[i].kind = CORRALD_RULE;
        ops[i].id = entry->id;
        ops[i].doc = json_pack("{s:I}", "priority",
                               (json_int_t) (first + by * (int64_t) i));
        ops[i].owners = CORRALD_OWNER_operator;
        ops[i].expected = CORRALD_ANY;
    }

    return i;
}


static void
corrald_routes_reordered(const corrald_result_t *result, void *data)
{
    size_t                  i;
    json_t                 *items, *item, *order;
    corrald_rest_t         *r;
    const corrald_entry_t  *entry;

    r = data;

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    items = json_array();
    order = json_object_get(r->json, "order");

    json_array_foreach(order, i, item) {
        entry = corrald_store_rule(json_string_value(item));

        if (entry) {
            json_array_append_new(items, corrald_routes_show(entry));
        }
    }

    corrald_rest_changed(r, 200, json_pack("{s:o, s:I}", "items", items,
                                           "total", (json_int_t)
                                           json_array_size(items)),
                         result->revision);
}
