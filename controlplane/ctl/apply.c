
/*
 * apply and register: the services and rules of a file.  All documents are
 * looked at before the first is written: by their form here, and by the API in
 * a dry run.  So a file with a mistake changes nothing.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corral.h"
#include "yaml.h"


static json_t *corral_apply_documents(corral_run_t *run);
static int corral_apply_document(const char *file, size_t n, json_t *doc,
    json_t *services, json_t *rules);
static int corral_apply_lists(const char *file, size_t n, json_t *doc);
static int corral_apply_named(const char *file, json_t *docs);
static int corral_apply_is_rule(json_t *doc);
static corral_exit_e corral_apply_check(corral_run_t *run, json_t *docs);
static json_t *corral_apply_draft(json_t *doc, json_t *docs);
static int corral_apply_has(json_t *docs, const char *name,
    const json_t *end);
static corral_exit_e corral_apply_put(corral_run_t *run, json_t *doc,
    int dry_run, corral_answer_t *answer);
static void corral_apply_report(corral_run_t *run, const char *name,
    corral_answer_t *answer);


corral_exit_e
corral_apply_apply(corral_run_t *run)
{
    size_t            i;
    json_t           *docs, *doc;
    corral_exit_e     code;
    corral_answer_t   answer;

    docs = corral_apply_documents(run);

    if (docs == NULL) {
        return CORRAL_USAGE;
    }

    code = corral_apply_check(run, docs);

    if (run->dry_run) {
        json_decref(docs);
        return code;
    }

    for (i = 0; code == CORRAL_OK && i < json_array_size(docs); i++) {
        doc = json_array_get(docs, i);
        code = corral_apply_put(run, doc, 0, &answer);

        if (code == CORRAL_OK) {
            corral_apply_report(run,
                       json_string_value(json_object_get(doc, "name")),
                       &answer);
        }

        corral_http_free(&answer);
    }

    for (i = 0; run->wait && code == CORRAL_OK && i < json_array_size(docs);
         i++)
    {
        doc = json_array_get(docs, i);

        if (!corral_apply_is_rule(doc)) {
            code = corral_service_wait_for(run,
                       json_string_value(json_object_get(doc, "name")));
        }
    }

    json_decref(docs);

    return code;
}


/*
 * The services and rules of the file: one a document, or lists under "services"
 * and "rules".  Services come first: rules name them.
 */

static json_t *
corral_apply_documents(corral_run_t *run)
{
    int      rc;
    char    *text, err[512];
    size_t   i, len;
    json_t  *docs, *doc, *services, *rules;

    if (run->file == NULL) {
        corral_output_error("usage: corral %s -f FILE", run->command->name);
        return NULL;
    }

    text = corral_file_read(run->file, &len);

    if (text == NULL) {
        return NULL;
    }

    docs = corral_yaml_load(text, len, err, sizeof(err));
    free(text);

    if (docs == NULL) {
        corral_output_error("%s: %s", run->file, err);
        return NULL;
    }

    rc = 0;
    services = json_array();
    rules = json_array();

    json_array_foreach(docs, i, doc) {
        rc |= corral_apply_document(run->file, i + 1, doc, services, rules);
    }

    json_array_extend(services, rules);
    json_decref(rules);
    json_decref(docs);

    if (rc != 0 || corral_apply_named(run->file, services) != 0) {
        json_decref(services);
        return NULL;
    }

    return services;
}


/* appends what a document holds; -1 after saying what is wrong with it */

static int
corral_apply_document(const char *file, size_t n, json_t *doc,
    json_t *services, json_t *rules)
{
    size_t   i;
    json_t  *one;

    if (json_is_null(doc)) {
        return 0;                           /* "---" and nothing */
    }

    if (!json_is_object(doc)) {
        corral_output_error("%s: document %zu is no mapping: it is to be a "
                            "service, a rule, or \"services\" and \"rules\"",
                            file, n);
        return -1;
    }

    if (json_object_get(doc, "services") == NULL
        && json_object_get(doc, "rules") == NULL)
    {
        json_array_append(corral_apply_is_rule(doc) ? rules : services, doc);
        return 0;
    }

    if (corral_apply_lists(file, n, doc) != 0) {
        return -1;
    }

    json_array_extend(services, json_object_get(doc, "services"));

    json_array_foreach(json_object_get(doc, "rules"), i, one) {
        json_object_set_new(one, "kind", json_string("rule"));
        json_array_append(rules, one);
    }

    return 0;
}


/* only lists of mappings, and only "services" and "rules" */

static int
corral_apply_lists(const char *file, size_t n, json_t *doc)
{
    size_t       i;
    json_t      *list, *one;
    const char  *key;

    json_object_foreach(doc, key, list) {

        if (strcmp(key, "services") != 0 && strcmp(key, "rules") != 0) {
            corral_output_error("%s: document %zu has \"%s\": beside "
                                "\"services\" and \"rules\" nothing may stand",
                                file, n, key);
            return -1;
        }

        if (!json_is_array(list)) {
            corral_output_error("%s: \"%s\" in document %zu is no list", file,
                                key, n);
            return -1;
        }

        json_array_foreach(list, i, one) {

            if (!json_is_object(one)) {
                corral_output_error("%s: number %zu of \"%s\" in document %zu "
                                    "is no mapping", file, i + 1, key, n);
                return -1;
            }
        }
    }

    return 0;
}


static int
corral_apply_named(const char *file, json_t *docs)
{
    size_t   i;
    json_t  *doc;

    json_array_foreach(docs, i, doc) {

        if (!json_is_string(json_object_get(doc, "name"))) {
            corral_output_error("%s: %s %zu has no name", file,
                                corral_apply_is_rule(doc) ? "rule"
                                                          : "service",
                                i + 1);
            return -1;
        }
    }

    if (json_array_size(docs) == 0) {
        corral_output_error("%s: there is no service and no rule in it",
                            file);
        return -1;
    }

    return 0;
}


/* "kind": "rule" stands in a document of its own, and is set under "rules" */

static int
corral_apply_is_rule(json_t *doc)
{
    const char  *kind;

    kind = json_string_value(json_object_get(doc, "kind"));

    return kind && strcmp(kind, "rule") == 0;
}


/* asks the API about all of them; each mistake is told, the first one counts */

static corral_exit_e
corral_apply_check(corral_run_t *run, json_t *docs)
{
    size_t            i;
    json_t           *doc, *draft;
    corral_exit_e     code, worst;
    corral_answer_t   answer;

    worst = CORRAL_OK;

    json_array_foreach(docs, i, doc) {
        draft = corral_apply_draft(doc, docs);
        code = corral_apply_put(run, draft, 1, &answer);

        if (code == CORRAL_OK && run->dry_run) {
            corral_apply_report(run,
                       json_string_value(json_object_get(doc, "name")),
                       &answer);
        }

        corral_http_free(&answer);
        json_decref(draft);

        worst = worst ? worst : code;

        if (code == CORRAL_UNREACHABLE || code == CORRAL_DENIED) {
            break;                          /* it would be so for the others */
        }
    }

    return worst;
}


/*
 * a document without the services that this file will have made before it: a
 * rule is made after all services, a service after those above it
 */

static json_t *
corral_apply_draft(json_t *doc, json_t *docs)
{
    size_t       i;
    void        *next;
    json_t      *draft, *list, *weights;
    const char  *name;

    draft = json_deep_copy(doc);

    if (!corral_apply_is_rule(doc)) {
        name = json_string_value(json_object_get(draft, "mirror"));

        if (name && corral_apply_has(docs, name, doc)) {
            (void) json_object_del(draft, "mirror");
        }

        return draft;
    }

    list = json_object_get(draft, "target_services");

    for (i = json_array_size(list); i > 0; i--) {
        name = json_string_value(json_array_get(list, i - 1));

        if (name && corral_apply_has(docs, name, NULL)) {
            (void) json_array_remove(list, i - 1);
        }
    }

    weights = json_object_get(draft, "weights");

    for (next = json_object_iter(weights); next; /* void */) {
        name = json_object_iter_key(next);
        next = json_object_iter_next(weights, next);

        if (corral_apply_has(docs, name, NULL)) {
            (void) json_object_del(weights, name);
        }
    }

    name = json_string_value(json_object_get(draft, "fallback_service"));

    if (name && corral_apply_has(docs, name, NULL)) {
        (void) json_object_del(draft, "fallback_service");
    }

    return draft;
}


/* is there a service of that name, in front of end? */

static int
corral_apply_has(json_t *docs, const char *name, const json_t *end)
{
    size_t       i;
    json_t      *doc;
    const char  *s;

    json_array_foreach(docs, i, doc) {
        s = json_string_value(json_object_get(doc, "name"));

        if (doc == end) {
            return 0;
        }

        if (strcmp(s, name) == 0 && !corral_apply_is_rule(doc)) {
            return 1;
        }
    }

    return 0;
}


/* says what the API found wrong; the answer is to be freed */

static corral_exit_e
corral_apply_put(corral_run_t *run, json_t *doc, int dry_run,
    corral_answer_t *answer)
{
    char           *path;
    json_t         *body;
    const char     *name, *kind, *fmt;
    corral_exit_e   code;

    name = json_string_value(json_object_get(doc, "name"));
    body = json_copy(doc);

    kind = json_string_value(json_object_get(doc, "kind"));

    if (kind && (strcmp(kind, "rule") == 0 || strcmp(kind, "service") == 0)) {
        (void) json_object_del(body, "kind");
    }

    if (corral_apply_is_rule(doc)) {
        fmt = dry_run ? "/api/v1/routes/%s?dry_run=1" : "/api/v1/routes/%s";

    } else {
        fmt = dry_run ? "/api/v1/services/%s?replace=1&dry_run=1"
                      : "/api/v1/services/%s?replace=1";
    }

    path = corral_path(fmt, name);
    code = corral_http_request(&run->http, "PUT", path, body, answer);
    free(path);
    json_decref(body);

    if (code != CORRAL_OK) {
        corral_output_error("%s: %s", name, answer->error);
    }

    return code;
}


static void
corral_apply_report(corral_run_t *run, const char *name,
    corral_answer_t *answer)
{
    if (run->format == CORRAL_JSON) {
        corral_output_json(answer->body, 1);

    } else if (run->dry_run) {
        corral_output_note("%s: valid", name);

    } else {
        corral_output_note("%s: %s", name,
                           answer->status == 201 ? "created" : "updated");
    }
}
