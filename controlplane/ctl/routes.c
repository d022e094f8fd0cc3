
/*
 * Commands about rules: create, show, order, try.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corral.h"
#include "yaml.h"


static const corral_column_t  corral_routes_columns[] = {
    { "PRIORITY", "priority", CORRAL_PLAIN },
    { "RULE", "name", CORRAL_PLAIN },
    { "ENABLED", "enabled", CORRAL_PLAIN },
    { "STRATEGY", "target_strategy", CORRAL_PLAIN },
    { "SERVICES", "target_services", CORRAL_LIST },
    { "TAGS", "target_tags", CORRAL_LIST },
    { "FALLBACK", "fallback_service", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


static const corral_column_t  corral_routes_trace[] = {
    { "PRIORITY", "priority", CORRAL_PLAIN },
    { "RULE", "name", CORRAL_PLAIN },
    { "RESULT", "result", CORRAL_PLAIN },
    { "WHY", "why", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


static corral_exit_e corral_routes_write(corral_run_t *run, const char *method,
    char *path, json_t *doc, const char *done);
static corral_exit_e corral_routes_switch(corral_run_t *run,
    const char *action);
static corral_exit_e corral_routes_ask(corral_run_t *run, const char *method,
    const char *path, json_t *body, corral_answer_t *answer);
static void corral_routes_member(json_t *object, const char *key, size_t len,
    json_t *value);
static json_t *corral_routes_file(corral_run_t *run);
static json_t *corral_routes_request(corral_run_t *run);
static void corral_routes_pair(json_t *request, const char *member,
    const char *text, size_t len, char separator);
static void corral_routes_why(json_t *trace);
static char *corral_routes_decode(const char *text, size_t len);


corral_exit_e
corral_routes_list(corral_run_t *run)
{
    return corral_list(run, "/api/v1/routes?limit=1000",
                       corral_routes_columns, "name");
}


corral_exit_e
corral_routes_show(corral_run_t *run)
{
    char            *path;
    json_t          *conditions;
    corral_exit_e    code;
    corral_answer_t  answer;

    path = corral_path("/api/v1/routes/%s", run->args[0]);
    code = corral_api_get(run, path, &answer);
    free(path);

    if (code == CORRAL_OK && run->format == CORRAL_JSON) {
        corral_output_json(answer.body, 1);

    } else if (code == CORRAL_OK) {
        conditions = json_object_get(answer.body, "conditions");
        json_incref(conditions);
        json_object_del(answer.body, "conditions");

        corral_output_object(answer.body);
        printf("conditions: ");
        corral_output_json(conditions, 1);
        json_decref(conditions);
    }

    corral_http_free(&answer);

    return code;
}


corral_exit_e
corral_routes_add(corral_run_t *run)
{
    json_t  *doc;

    doc = corral_routes_file(run);

    if (doc == NULL) {
        return CORRAL_USAGE;
    }

    return corral_routes_write(run, "POST", corral_path("/api/v1/routes%s",
                                                        ""),
                               doc, "created");
}


/* some members of a rule: JSON where it is some, else a word */

corral_exit_e
corral_routes_set(corral_run_t *run)
{
    int          i;
    json_t      *doc, *value;
    const char  *equals;

    doc = json_object();

    for (i = 1; i < run->nargs; i++) {
        equals = strchr(run->args[i], '=');

        if (equals == NULL) {
            corral_output_error("\"%s\" is not KEY=VALUE", run->args[i]);
            json_decref(doc);
            return CORRAL_USAGE;
        }

        value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);

        corral_routes_member(doc, run->args[i],
                             (size_t) (equals - run->args[i]),
                             value ? value : json_string(equals + 1));
    }

    return corral_routes_write(run, "PATCH",
                               corral_path("/api/v1/routes/%s", run->args[0]),
                               doc, "updated");
}


/* path and doc are taken over */

static corral_exit_e
corral_routes_write(corral_run_t *run, const char *method, char *path,
    json_t *doc, const char *done)
{
    corral_exit_e    code;
    corral_answer_t  answer;

    code = corral_routes_ask(run, method, path, doc, &answer);
    free(path);
    json_decref(doc);

    if (code == CORRAL_OK && run->format != CORRAL_JSON) {
        corral_output_note("%s: %s",
                           json_string_value(json_object_get(answer.body,
                                                             "name")),
                           done);
    }

    corral_http_free(&answer);

    return code;
}


/* jansson 2.14 has json_object_setn_new(), Debian's older ones have not */

static void
corral_routes_member(json_t *object, const char *key, size_t len,
    json_t *value)
{
    char  *name;

    name = strndup(key, len);

    if (name == NULL) {
        corral_output_error("out of memory");
        exit(CORRAL_FAILED);
    }

    json_object_set_new(object, name, value);
    free(name);
}


/* one call; its answer in JSON, or why not */

static corral_exit_e
corral_routes_ask(corral_run_t *run, const char *method, const char *path,
    json_t *body, corral_answer_t *answer)
{
    corral_exit_e  code;

    code = corral_http_request(&run->http, method, path, body, answer);

    if (code != CORRAL_OK) {
        return corral_api_refused(answer, code);
    }

    if (run->format == CORRAL_JSON) {
        corral_output_json(answer->body, 1);
    }

    return CORRAL_OK;
}


static json_t *
corral_routes_file(corral_run_t *run)
{
    char    *text, err[512];
    size_t   len;
    json_t  *docs, *doc, *rule;

    if (run->file == NULL) {
        corral_output_error("usage: corral routes add -f FILE");
        return NULL;
    }

    text = corral_file_read(run->file, &len);

    if (text == NULL) {
        return NULL;
    }

    docs = corral_yaml_load(text, len, err, sizeof(err));
    free(text);

    doc = json_array_get(docs, 0);
    rule = json_string("rule");

    if (docs == NULL) {
        corral_output_error("%s: %s", run->file, err);

    } else if (json_array_size(docs) != 1 || !json_is_object(doc)) {
        corral_output_error("%s: one rule is needed; \"corral apply\" takes "
                            "several", run->file);
        doc = NULL;
    }

    /* a document of corral apply says what it is */

    if (doc && json_equal(json_object_get(doc, "kind"), rule)) {
        json_object_del(doc, "kind");
    }

    json_incref(doc);
    json_decref(rule);
    json_decref(docs);

    return doc;
}


corral_exit_e
corral_routes_delete(corral_run_t *run)
{
    int              i;
    char            *path;
    corral_exit_e    code, worst;
    corral_answer_t  answer;

    if (!corral_sure(run, "delete", "these rules")) {
        return CORRAL_FAILED;
    }

    worst = CORRAL_OK;

    for (i = 0; i < run->nargs; i++) {
        path = corral_path("/api/v1/routes/%s", run->args[i]);
        code = corral_routes_ask(run, "DELETE", path, NULL, &answer);
        free(path);

        if (code == CORRAL_OK) {
            corral_output_note("%s: deleted", run->args[i]);
        }

        worst = worst ? worst : code;
        corral_http_free(&answer);
    }

    return worst;
}


corral_exit_e
corral_routes_enable(corral_run_t *run)
{
    return corral_routes_switch(run, "enable");
}


corral_exit_e
corral_routes_disable(corral_run_t *run)
{
    return corral_routes_switch(run, "disable");
}


static corral_exit_e
corral_routes_switch(corral_run_t *run, const char *action)
{
    int              i;
    char            *path, fmt[64];
    corral_exit_e    code, worst;
    corral_answer_t  answer;

    snprintf(fmt, sizeof(fmt), "/api/v1/routes/%%s/actions/%s", action);

    worst = CORRAL_OK;

    for (i = 0; i < run->nargs; i++) {
        path = corral_path(fmt, run->args[i]);
        code = corral_routes_ask(run, "POST", path, NULL, &answer);
        free(path);

        if (code == CORRAL_OK && run->format != CORRAL_JSON) {
            corral_output_note("%s: %sd", run->args[i], action);
        }

        worst = worst ? worst : code;
        corral_http_free(&answer);
    }

    return worst;
}


corral_exit_e
corral_routes_reorder(corral_run_t *run)
{
    int              i;
    json_t          *body, *order;
    corral_exit_e    code;
    corral_answer_t  answer;

    order = json_array();

    for (i = 0; i < run->nargs; i++) {
        json_array_append_new(order, json_string(run->args[i]));
    }

    body = json_pack("{s:o}", "order", order);
    code = corral_routes_ask(run, "POST", "/api/v1/routes/actions/reorder",
                             body, &answer);
    json_decref(body);

    if (code == CORRAL_OK && run->format != CORRAL_JSON) {
        corral_list_show(run, answer.body, corral_routes_columns, "name");
    }

    corral_http_free(&answer);

    return code;
}


corral_exit_e
corral_routes_test(corral_run_t *run)
{
    size_t           i;
    json_t          *body, *matched, *candidates, *item;
    corral_exit_e    code;
    corral_answer_t  answer;

    body = corral_routes_request(run);

    if (body == NULL) {
        return CORRAL_USAGE;
    }

    code = corral_routes_ask(run, "POST", "/api/v1/routes/actions/test", body,
                             &answer);
    json_decref(body);

    if (code != CORRAL_OK || run->format == CORRAL_JSON) {
        corral_http_free(&answer);
        return code;
    }

    matched = json_object_get(answer.body, "matched");
    candidates = json_object_get(answer.body, "candidates");

    if (json_is_object(matched)) {
        printf("%s\n", json_string_value(json_object_get(matched, "name")));

    } else {
        printf("no rule matches\n");
    }

    json_array_foreach(candidates, i, item) {
        printf("  %s, %lld ready, weight %lld\n",
               json_string_value(json_object_get(item, "name")),
               (long long) json_integer_value(json_object_get(item, "ready")),
               (long long) json_integer_value(json_object_get(item,
                                                              "weight")));
    }

    item = json_object_get(answer.body, "forced");

    if (json_is_object(item)) {
        printf("  %s is taken (force_by)\n",
               json_string_value(json_object_get(item, "name")));
    }

    if (run->format == CORRAL_TABLE) {
        printf("\n");
        corral_routes_why(json_object_get(answer.body, "trace"));
        corral_output_table(corral_routes_trace,
                            json_object_get(answer.body, "trace"));
    }

    corral_http_free(&answer);

    return CORRAL_OK;
}


/* the condition that failed, as one column */

static void
corral_routes_why(json_t *trace)
{
    char        *expected, *actual;
    size_t       i;
    json_t      *item, *failed;

    json_array_foreach(trace, i, item) {
        failed = json_object_get(item, "failed");

        if (!json_is_object(failed)) {
            json_object_set_new(item, "why", json_string(""));
            continue;
        }

        expected = json_dumps(json_object_get(failed, "expected"),
                              JSON_ENCODE_ANY|JSON_COMPACT);
        actual = json_dumps(json_object_get(failed, "actual"),
                            JSON_ENCODE_ANY|JSON_COMPACT);

        json_object_set_new(item, "why", json_sprintf("%s %s %s: it is %s",
                  json_string_value(json_object_get(failed, "field")),
                  json_string_value(json_object_get(failed, "operator")),
                  expected ? expected : "?",
                  actual && strcmp(actual, "null") != 0 ? actual : "absent"));

        free(expected);
        free(actual);
    }
}


/*
 * A request as people write it: [METHOD] URL, then NAME:VALUE for headers and
 * MEMBER=VALUE for client_ip, tenant, claim.NAME and the like.
 */

static json_t *
corral_routes_request(corral_run_t *run)
{
    int           i;
    json_t       *request, *claims;
    size_t        len;
    char         *path;
    const char   *url, *p, *equals, *colon;

    request = json_object();
    claims = json_object();
    json_object_set_new(request, "claims", claims);
    i = 0;

    if (run->nargs > 1 && strcspn(run->args[0], "/:=") == strlen(run->args[0]))
    {
        json_object_set_new(request, "method", json_string(run->args[i++]));

    } else {
        json_object_set_new(request, "method", json_string("GET"));
    }

    url = run->args[i++];
    p = strstr(url, "://");

    if (p) {
        p += 3;
        len = *p == '[' ? strcspn(p, "/?#]") + 1 : strcspn(p, "/?#:");
        json_object_set_new(request, "host", json_stringn(p, len));
        url = p + strcspn(p, "/?#");
    }

    if (*url != '/' && p == NULL) {
        corral_output_error("\"%s\" is not a URL or a path", url);
        json_decref(request);
        return NULL;
    }

    path = corral_routes_decode(url, strcspn(url, "?#"));
    json_object_set_new(request, "path", json_string(*path ? path : "/"));
    free(path);

    p = strchr(url, '?');

    for (p = p ? p + 1 : ""; *p && *p != '#'; p += len + (p[len] == '&')) {
        len = strcspn(p, "&#");
        corral_routes_pair(request, "query", p, len, '=');
    }

    for ( /* void */ ; i < run->nargs; i++) {
        equals = strchr(run->args[i], '=');
        colon = strchr(run->args[i], ':');

        if (equals && strncmp(run->args[i], "claim.", 6) == 0) {
            corral_routes_member(claims, run->args[i] + 6,
                                 (size_t) (equals - run->args[i]) - 6,
                                 json_string(equals + 1));

        } else if (equals && (colon == NULL || equals < colon)) {
            corral_routes_member(request, run->args[i],
                                 (size_t) (equals - run->args[i]),
                                 json_string(equals + 1));

        } else if (colon) {
            corral_routes_pair(request, "headers", run->args[i],
                               strlen(run->args[i]), ':');

        } else {
            corral_output_error("\"%s\" is not NAME:VALUE, a header, or "
                                "MEMBER=VALUE", run->args[i]);
            json_decref(request);
            return NULL;
        }
    }

    return request;
}


/* adds name and value to a map; a name that comes again gets an array */

static void
corral_routes_pair(json_t *request, const char *member, const char *text,
    size_t len, char separator)
{
    char        *key, *value;
    json_t      *map, *known, *list;
    const char  *at;

    at = memchr(text, separator, len);
    map = json_object_get(request, member);

    if (map == NULL) {
        map = json_object();
        json_object_set_new(request, member, map);
    }

    if (separator == '=') {
        key = corral_routes_decode(text, at ? (size_t) (at - text) : len);
        value = at ? corral_routes_decode(at + 1, len
                                                  - (size_t) (at + 1 - text))
                   : strdup("");

    } else {
        key = strndup(text, at ? (size_t) (at - text) : len);
        value = strdup(at ? at + 1 + strspn(at + 1, " ") : "");
    }

    known = json_object_get(map, key);

    if (json_is_array(known)) {
        json_array_append_new(known, json_string(value));

    } else if (known) {
        list = json_pack("[O, s]", known, value);
        json_object_set_new(map, key, list);

    } else {
        json_object_set_new(map, key, json_string(value));
    }

    free(key);
    free(value);
}


static char *
corral_routes_decode(const char *text, size_t len)
{
    char    *out, hex[3];
    size_t   i, n;

    out = malloc(len + 1);

    if (out == NULL) {
        corral_output_error("out of memory");
        exit(CORRAL_FAILED);
    }

    for (i = 0, n = 0; i < len; i++) {

        if (text[i] == '%' && i + 2 < len
            && strspn(text + i + 1, "0123456789abcdefABCDEF") >= 2)
        {
            hex[0] = text[i + 1];
            hex[1] = text[i + 2];
            hex[2] = '\0';
            out[n++] = (char) strtol(hex, NULL, 16);
            i += 2;

        } else {
            out[n++] = text[i];
        }
    }

    out[n] = '\0';

    return out;
}
