
/*
 * apply and register: the services and rules of a file.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corral.h"
#include "yaml.h"


static json_t *corral_apply_documents(corral_run_t *run);
static int corral_apply_is_rule(json_t *doc);
static corral_exit_e corral_apply_put(corral_run_t *run, json_t *doc);


corral_exit_e
corral_apply_apply(corral_run_t *run)
{
    size_t         i;
    json_t        *docs, *doc;
    const char    *name;
    corral_exit_e  code, worst;

    docs = corral_apply_documents(run);

    if (docs == NULL) {
        return CORRAL_USAGE;
    }

    worst = CORRAL_OK;

    json_array_foreach(docs, i, doc) {
        code = corral_apply_put(run, doc);
        worst = worst ? worst : code;
    }

    if (run->wait && worst == CORRAL_OK && !run->dry_run) {

        json_array_foreach(docs, i, doc) {
            if (corral_apply_is_rule(doc)) {
                continue;
            }

            name = json_string_value(json_object_get(doc, "name"));
            code = corral_service_wait_for(run, name);
            worst = worst ? worst : code;
        }
    }

    json_decref(docs);

    return worst;
}


/* "kind": "rule" stands in a document of its own, and is set under "rules" */

static int
corral_apply_is_rule(json_t *doc)
{
    const char  *kind;

    kind = json_string_value(json_object_get(doc, "kind"));

    return kind && strcmp(kind, "rule") == 0;
}


/*
 * The services and rules of the file: one a document, or lists under "services"
 * and "rules".  Services come first: rules name them.
 */

static json_t *
corral_apply_documents(corral_run_t *run)
{
    char        *text, err[512];
    size_t       i, n, len;
    json_t      *docs, *doc, *list, *late, *services, *rules, *one;
    const char  *file;

    file = run->file ? run->file : (run->nargs ? run->args[0] : NULL);

    if (file == NULL) {
        corral_output_error("usage: corral %s -f FILE", run->command->name);
        return NULL;
    }

    text = corral_read_file(file, &len);

    if (text == NULL) {
        return NULL;
    }

    docs = corral_yaml_load(text, len, err, sizeof(err));
    free(text);

    if (docs == NULL) {
        corral_output_error("%s: %s", file, err);
        return NULL;
    }

    list = json_array();
    late = json_array();

    json_array_foreach(docs, i, doc) {
        services = json_object_get(doc, "services");
        rules = json_object_get(doc, "rules");

        json_array_foreach(services, n, one) {
            json_array_append(list, one);
        }

        json_array_foreach(rules, n, one) {
            json_object_set_new(one, "kind", json_string("rule"));
            json_array_append(late, one);
        }

        if (!json_is_array(services) && !json_is_array(rules)
            && !json_is_null(doc))
        {
            json_array_append(corral_apply_is_rule(doc) ? late : list, doc);
        }
    }

    json_array_extend(list, late);
    json_decref(late);
    json_decref(docs);

    json_array_foreach(list, i, doc) {

        if (!json_is_string(json_object_get(doc, "name"))) {
            corral_output_error("%s: %s %zu has no name", file,
                                corral_apply_is_rule(doc) ? "rule"
                                                            : "service",
                                i + 1);
            json_decref(list);
            return NULL;
        }
    }

    if (json_array_size(list) == 0) {
        corral_output_error("%s: there is no service and no rule in it",
                            file);
        json_decref(list);
        return NULL;
    }

    return list;
}


static corral_exit_e
corral_apply_put(corral_run_t *run, json_t *doc)
{
    char            *path;
    json_t          *kind;
    const char      *name, *fmt;
    corral_exit_e    code;
    corral_answer_t  answer;

    name = json_string_value(json_object_get(doc, "name"));

    if (corral_apply_is_rule(doc)) {
        fmt = run->dry_run ? "/api/v1/routes/%s?dry_run=1"
                           : "/api/v1/routes/%s";

    } else {
        fmt = run->dry_run ? "/api/v1/services/%s?replace=1&dry_run=1"
                           : "/api/v1/services/%s?replace=1";
    }

    kind = json_object_get(doc, "kind");
    json_incref(kind);
    json_object_del(doc, "kind");

    path = corral_path(fmt, name);
    code = corral_http_request(&run->http, "PUT", path, doc, &answer);
    free(path);

    if (kind) {
        json_object_set_new(doc, "kind", kind);
    }

    if (code != CORRAL_OK) {
        corral_output_error("%s: %s", name, answer.error);

    } else if (run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);

    } else if (run->dry_run) {
        corral_output_note("%s: valid", name);

    } else {
        corral_output_note("%s: %s", name,
                           answer.status == 201 ? "created" : "updated");
    }

    corral_http_free(&answer);

    return code;
}
