
/*
 * A dry run: which rule a request would match, which services it leads to, and
 * why every other rule was not the one.  The comparisons are the gateways' own
 * (model/route.c); which of the candidates a gateway takes depends on what it
 * has counted, so all are named, and the one that the request forces.  What was
 * compiled is kept as long as its document.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/map.h"
#include "../model/route.h"
#include "../model/view.h"
#include "api.h"


#define CORRALD_TRACE_MAX  1000      /* rules of one answer */


typedef struct {
    const corrald_entry_t  **rules;
    size_t                   n;
} corrald_trace_rules_t;


/* a rule as it was compiled; with another document it is another one */

typedef struct {
    json_t                  *doc;
    corrald_route_t         *route;
} corrald_trace_compiled_t;


/* services that are candidates of a rule */

typedef struct {
    const json_t            *rule;
    json_t                  *tags;
    json_t                  *out;
} corrald_trace_targets_t;


static void corrald_trace_collect(const corrald_entry_t *entry, void *data);
static int corrald_trace_compare(const void *one, const void *two);
static json_t *corrald_trace_rule(const corrald_entry_t *entry,
    const json_t *request, json_t **matched);
static corrald_route_t *corrald_trace_route(const corrald_entry_t *entry);
static void corrald_trace_forget(void *value);
static json_t *corrald_trace_targets(const json_t *rule);
static void corrald_trace_tagged(const corrald_entry_t *entry, void *data);
static json_t *corrald_trace_target(const corrald_entry_t *entry,
    const json_t *rule);
static json_t *corrald_trace_answer(const json_t *matched,
    const json_t *request);
static json_t *corrald_trace_forced(const json_t *rule,
    const json_t *candidates, const json_t *request);


/* by rule_id; what was deleted goes when there are more than rules */

static corrald_map_t  corrald_trace_compiled;


void
corrald_trace_test(corrald_rest_t *r)
{
    size_t                  i;
    json_t                 *trace, *step, *matched, *answer;
    corrald_check_t         check;
    corrald_trace_rules_t   c;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    corrald_check_init(&check);

    if (corrald_route_request(&check, r->json) != 0) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return;
    }

    corrald_check_free(&check);

    c.n = 0;
    c.rules = corrald_alloc(corrald_store_count(CORRALD_RULE) + 1,
                            sizeof(*c.rules), "for a request");

    if (corrald_trace_compiled.count > corrald_store_count(CORRALD_RULE)) {
        corrald_map_free(&corrald_trace_compiled, corrald_trace_forget);
    }

    corrald_store_each(CORRALD_RULE, corrald_trace_collect, &c);
    qsort(c.rules, c.n, sizeof(*c.rules), corrald_trace_compare);

    trace = json_array();
    matched = NULL;

    for (i = 0; i < c.n; i++) {

        /* behind the one that decides, the rest of a long list is no news */

        if (matched && json_array_size(trace) >= CORRALD_TRACE_MAX) {
            break;
        }

        step = corrald_trace_rule(c.rules[i], r->json, &matched);

        if (json_array_size(trace) < CORRALD_TRACE_MAX) {
            json_array_append(trace, step);
        }

        json_decref(step);
    }

    answer = corrald_trace_answer(matched, r->json);
    json_object_set_new(answer, "rules", json_integer((json_int_t) c.n));
    json_object_set_new(answer, "truncated",
                        json_boolean(json_array_size(trace) < c.n));
    json_object_set_new(answer, "trace", trace);

    free(c.rules);

    corrald_rest_json(r, 200, answer);
}


static void
corrald_trace_collect(const corrald_entry_t *entry, void *data)
{
    corrald_trace_rules_t  *c;

    c = data;
    c->rules[c->n++] = entry;
}


static int
corrald_trace_compare(const void *one, const void *two)
{
    const corrald_entry_t *const  *a, *const *b;

    a = one;
    b = two;

    return corrald_route_compare((*a)->doc, (*b)->doc);
}


/* what becomes of one rule; *matched is the document of the one that decides */

static json_t *
corrald_trace_rule(const corrald_entry_t *entry, const json_t *request,
    json_t **matched)
{
    int               holds;
    json_t           *step, *failed, *targets;
    const char       *result;
    corrald_route_t  *route;

    failed = NULL;
    targets = NULL;
    route = corrald_trace_route(entry);
    holds = route && corrald_route_test(route, entry->doc, request, &failed);

    if (!corrald_doc_bool(entry->doc, "enabled")) {
        result = "disabled";

    } else if (!holds) {
        result = "condition";

    } else if (*matched) {
        result = "later";

    } else {
        targets = corrald_trace_targets(entry->doc);
        result = json_array_size(targets)
                 || corrald_store_service(corrald_doc_str(entry->doc,
                                                          "fallback_service"))
                 ? "matched" : "no_target";
    }

    if (strcmp(result, "matched") == 0) {
        *matched = entry->doc;
    }

    step = json_pack("{s:s, s:O, s:O, s:s, s:o}",
                     "rule_id", entry->id,
                     "name", json_object_get(entry->doc, "name"),
                     "priority", json_object_get(entry->doc, "priority"),
                     "result", result,
                     "failed", failed ? failed : json_null());

    json_decref(targets);

    return step;
}


/* NULL: it cannot be compiled, and no gateway has it */

static corrald_route_t *
corrald_trace_route(const corrald_entry_t *entry)
{
    char                       err[CORRAL_DECODE_ERROR];
    corrald_trace_compiled_t  *c;

    c = corrald_map_get(&corrald_trace_compiled, entry->id);

    if (c && c->doc == entry->doc) {
        return c->route;
    }

    if (c) {
        corrald_trace_forget(corrald_map_del(&corrald_trace_compiled,
                                             entry->id));
    }

    c = corrald_alloc(1, sizeof(*c), "for a rule");

    if (corrald_map_set(&corrald_trace_compiled, entry->id, c) != 0) {
        corrald_alloc_failed("for a rule");
    }

    c->doc = json_incref(entry->doc);
    c->route = corrald_route_make(entry->doc, err, sizeof(err));

    return c->route;
}


static void
corrald_trace_forget(void *value)
{
    corrald_trace_compiled_t  *c;

    c = value;

    if (c->route) {
        corrald_route_free(c->route);
    }

    json_decref(c->doc);
    free(c);
}


void
corrald_trace_close(void)
{
    corrald_map_free(&corrald_trace_compiled, corrald_trace_forget);
}


/* {name, service_id, ready, weight} of all that exist, in their order */

static json_t *
corrald_trace_targets(const json_t *rule)
{
    size_t                    i;
    json_t                   *list, *item;
    const corrald_entry_t    *entry;
    corrald_trace_targets_t   t;

    t.rule = rule;
    t.out = json_array();
    t.tags = json_object_get(rule, "target_tags");
    list = json_object_get(rule, "target_services");

    if (json_array_size(list) == 0) {
        corrald_store_each(CORRALD_SERVICE, corrald_trace_tagged, &t);
    }

    json_array_foreach(list, i, item) {
        entry = corrald_store_service(json_string_value(item));

        if (entry) {
            json_array_append_new(t.out, corrald_trace_target(entry, rule));
        }
    }

    return t.out;
}


static void
corrald_trace_tagged(const corrald_entry_t *entry, void *data)
{
    size_t                    i, k;
    json_t                   *tag, *has, *have;
    corrald_trace_targets_t  *t;

    t = data;
    have = json_object_get(entry->doc, "tags");

    if (json_array_size(t->tags) == 0) {
        json_array_append_new(t->out, corrald_trace_target(entry, t->rule));
        return;
    }

    json_array_foreach(t->tags, i, tag) {
        json_array_foreach(have, k, has) {
            if (json_equal(tag, has)) {
                json_array_append_new(t->out,
                                      corrald_trace_target(entry, t->rule));
                return;
            }
        }
    }
}


static json_t *
corrald_trace_target(const corrald_entry_t *entry, const json_t *rule)
{
    size_t       i;
    json_t      *weight, *weights, *instances, *item;
    json_int_t   ready;

    weights = json_object_get(rule, "weights");
    weight = json_object_get(weights, corrald_doc_str(entry->doc, "name"));
    weight = weight ? weight : json_object_get(weights, entry->id);
    weight = weight ? weight : json_object_get(rule, "weight");

    ready = 0;
    instances = corrald_instances_array(entry->id);

    json_array_foreach(instances, i, item) {
        ready += corrald_view_not_ready(item, entry->doc) == NULL;
    }

    json_decref(instances);

    return json_pack("{s:O, s:s, s:I, s:O}",
                     "name", json_object_get(entry->doc, "name"),
                     "service_id", entry->id, "ready", ready,
                     "weight", weight);
}


static json_t *
corrald_trace_answer(const json_t *matched, const json_t *request)
{
    json_t                 *candidates;
    const corrald_entry_t  *fallback;

    if (matched == NULL) {
        return json_pack("{s:n, s:n, s:[], s:n, s:n}", "matched", "strategy",
                         "candidates", "forced", "fallback");
    }

    fallback = corrald_store_service(corrald_doc_str(matched,
                                                     "fallback_service"));
    candidates = corrald_trace_targets(matched);

    return json_pack("{s:{s:O, s:O, s:O}, s:O, s:o, s:o, s:o}",
                     "matched",
                     "rule_id", json_object_get(matched, "rule_id"),
                     "name", json_object_get(matched, "name"),
                     "priority", json_object_get(matched, "priority"),
                     "strategy", json_object_get(matched, "target_strategy"),
                     "candidates", candidates,
                     "forced", corrald_trace_forced(matched, candidates,
                                                    request),
                     "fallback", fallback
                                 ? corrald_trace_target(fallback, matched)
                                 : json_null());
}


/* the candidate that force_by names, if it is ready: no other is taken then */

static json_t *
corrald_trace_forced(const json_t *rule, const json_t *candidates,
    const json_t *request)
{
    size_t       i;
    json_t      *item;
    const char  *name;

    name = corrald_route_first(request, corrald_doc_str(rule, "force_by"));

    json_array_foreach((json_t *) candidates, i, item) {
        if (name
            && (strcmp(name, corrald_doc_str(item, "name")) == 0
                || strcmp(name, corrald_doc_str(item, "service_id")) == 0))
        {
            return json_integer_value(json_object_get(item, "ready")) > 0
                   ? json_incref(item) : json_null();
        }
    }

    return json_null();
}
