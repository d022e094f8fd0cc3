
/*
 * Documents as the API shows them: secrets hidden, and beside the fields of
 * the schema those that are derived, among them all of MyAgent's.
 *
 * Pure: no I/O, no clock, no globals that change.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/clock.h"
#include "view.h"


static json_t *corrald_view_hide(const json_t *doc, corrald_kind_e kind);
static json_t *corrald_view_endpoint(const json_t *doc, const char *url);
static json_t *corrald_view_numbers(const corrald_state_count_t *count,
    size_t ready, size_t outdated);
static json_t *corrald_view_error(const json_t *instances);
static json_t *corrald_view_started(const json_t *instances);
static json_t *corrald_view_checked(const json_t *instances);
static int corrald_view_port(const json_t *instances);


static const corrald_view_field_t  corrald_view_fields[] = {
#define X(kind, name, type, text)                                             \
    { #name, CORRALD_##kind, CORRALD_TYPE_##type, text },
    CORRALD_VIEW_COMPUTED(X)
#undef X
    { NULL, 0, 0, NULL }
};


/* The table; the last row has no name. */

const corrald_view_field_t *
corrald_view_computed(void)
{
    return corrald_view_fields;
}


int
corrald_view_is_computed(corrald_kind_e kind, const char *name)
{
    const corrald_view_field_t  *f;

    for (f = corrald_view_fields; f->name; f++) {
        if (f->kind == kind && strcmp(f->name, name) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * Returns a new object.  instances is an array of the service's instance
 * documents.  NULL when memory is short.
 */

json_t *
corrald_view_service(const json_t *doc, const json_t *instances,
    int64_t revision, int64_t waiting, int trusted, const char *gateway_url)
{
    int                    port;
    size_t                 i, ready, outdated;
    json_t                *view, *item;
    int64_t                restarts;
    corrald_status_e       status;
    corrald_state_count_t  count;

    view = corrald_view_hide(doc, CORRALD_SERVICE);
    if (view == NULL) {
        return NULL;
    }

    memset(&count, 0, sizeof(count));
    restarts = 0;
    ready = 0;
    outdated = 0;

    json_array_foreach(instances, i, item) {
        corrald_state_count(&count, item);
        restarts += corrald_doc_int(item, "restart_count");
        ready += corrald_view_not_ready(item, doc) == NULL;
        outdated += corrald_view_outdated(item, doc);
    }

    status = corrald_state_status(doc, &count);
    port = corrald_view_port(instances);

    /* MyAgent shows the port that was chosen */

    if (!corrald_doc_is_set(doc, "port") && port) {
        json_object_set_new(view, "port", json_integer(port));
    }

    json_object_set_new(view, "status",
                        json_string(corrald_state_status_name(status)));
    json_object_set_new(view, "endpoint",
                        corrald_view_endpoint(doc, gateway_url));
    json_object_set_new(view, "started_at", corrald_view_started(instances));
    json_object_set_new(view, "last_health_check",
                        corrald_view_checked(instances));
    json_object_set_new(view, "error_message",
                        corrald_view_error(instances));
    json_object_set_new(view, "restart_count", json_integer(restarts));
    json_object_set_new(view, "ready", json_integer((json_int_t) ready));
    json_object_set_new(view, "instances",
                        corrald_view_numbers(&count, ready, outdated));
    json_object_set_new(view, "waiting", json_integer(waiting));
    json_object_set_new(view, "trusted", json_boolean(trusted));
    json_object_set_new(view, "revision", json_integer(revision));

    return view;
}


/*
 * Returns a new object.  service is its service's document or NULL, load its
 * last heartbeat or NULL.
 */

json_t *
corrald_view_instance(const json_t *doc, const json_t *service,
    int64_t revision, const json_t *load)
{
    json_t  *view;

    view = corrald_view_hide(doc, CORRALD_INSTANCE);
    if (view == NULL) {
        return NULL;
    }

    json_object_set_new(view, "service", service
                        ? json_string(corrald_doc_str(service, "name"))
                        : json_null());
    json_object_set_new(view, "ready", json_boolean(
                            service && !corrald_view_not_ready(doc, service)));
    json_object_set_new(view, "load", load ? json_deep_copy(load)
                                           : json_null());
    json_object_set_new(view, "revision", json_integer(revision));

    return view;
}


/*
 * Why a gateway does not choose this instance, as a sentence; NULL when it
 * does.  The rule is the one of docs/schema.md.
 */

const char *
corrald_view_not_ready(const json_t *instance, const json_t *service)
{
    if (strcmp(corrald_doc_str(service, "desired"), "running") != 0) {
        return "the service is not wanted as running";
    }

    if (strcmp(corrald_doc_str(instance, "state"), "running") != 0) {
        return "its state is not running";
    }

    if (strcmp(corrald_doc_str(instance, "health"), "unhealthy") == 0) {
        return "it is unhealthy";
    }

    if (*corrald_doc_str(instance, "address") == '\0') {
        return "it has no address";
    }

    if (corrald_doc_int(instance, "weight") == 0) {
        return "its weight is 0";
    }

    return NULL;
}


/*
 * Whether the process was started for an older generation of its service, so
 * that it is going to be replaced.
 */

int
corrald_view_outdated(const json_t *instance, const json_t *service)
{
    int  state;

    state = corrald_state_parse(corrald_doc_str(instance, "state"));

    return state != -1 && corrald_state_lives(state)
           && corrald_doc_bool(instance, "managed")
           && corrald_doc_int(instance, "generation")
              < corrald_doc_int(service, "generation");
}


/*
 * Takes back what the view has put into a service that comes again in a
 * request: hidden values become the current ones, the chosen port null.
 * Returns 0; -1 when a hidden value has no current one: *name is its variable.
 */

int
corrald_view_unmask(json_t *in, const json_t *current,
    const json_t *instances, const char **name)
{
    int          port;
    void        *next;
    json_t      *env, *value, *was;
    const char  *key;

    env = json_object_get(in, "env");

    json_object_foreach_safe(env, next, key, value) {

        if (!json_is_string(value)
            || strcmp(json_string_value(value), CORRALD_VIEW_HIDDEN) != 0)
        {
            continue;
        }

        was = json_object_get(json_object_get(current, "env"), key);

        if (was == NULL) {
            *name = key;
            return -1;
        }

        json_object_set(env, key, was);
    }

    port = corrald_view_port(instances);

    if (port && current && !corrald_doc_is_set(current, "port")
        && corrald_doc_int(in, "port") == port)
    {
        json_object_set_new(in, "port", json_null());
    }

    return 0;
}


/* Keeps only the members named in fields, which commas separate. */

void
corrald_view_select(json_t *view, const char *fields)
{
    void        *next;
    size_t       len;
    json_t      *value;
    const char  *key, *p;

    json_object_foreach_safe(view, next, key, value) {
        len = strlen(key);

        for (p = fields; (p = strstr(p, key)) != NULL; p += len) {
            if ((p == fields || p[-1] == ',')
                && (p[len] == ',' || p[len] == '\0'))
            {
                break;
            }
        }

        if (p == NULL) {
            json_object_del(view, key);
        }
    }
}


/* A copy in which the values of secret fields are hidden. */

static json_t *
corrald_view_hide(const json_t *doc, corrald_kind_e kind)
{
    json_t                 *view, *map, *value;
    const char             *key;
    const corrald_field_t  *f;

    view = json_copy((json_t *) doc);

    for (f = corrald_doc_fields(kind); view && f->name; f++) {

        if (!(f->flags & CORRAL_S)) {
            continue;
        }

        map = json_object();

        json_object_foreach(json_object_get(doc, f->name), key, value) {
            json_object_set_new(map, key, json_string(CORRALD_VIEW_HIDDEN));
        }

        json_object_set_new(view, f->name, map);
    }

    return view;
}


static json_t *
corrald_view_endpoint(const json_t *doc, const char *url)
{
    char         text[1200];
    const char  *p;

    p = strstr(url, "{service}");

    if (p == NULL) {
        return json_string(url);
    }

    snprintf(text, sizeof(text), "%.*s%s%s", (int) (p - url), url,
             corrald_doc_str(doc, "name"), p + 9);

    return json_string(text);
}


static json_t *
corrald_view_numbers(const corrald_state_count_t *count, size_t ready,
    size_t outdated)
{
    int      i;
    json_t  *numbers;

    numbers = json_pack("{s:I, s:I, s:I}", "total", (json_int_t) count->total,
                        "ready", (json_int_t) ready,
                        "outdated", (json_int_t) outdated);

    for (i = 0; i < CORRALD_STATE_N; i++) {
        json_object_set_new(numbers, corrald_state_name(i),
                            json_integer((json_int_t) count->state[i]));
    }

    return numbers;
}


/* The message of the first failed or unhealthy instance. */

static json_t *
corrald_view_error(const json_t *instances)
{
    size_t       i;
    json_t      *item;
    const char  *state, *message, *reason;

    json_array_foreach(instances, i, item) {
        state = corrald_doc_str(item, "state");

        if (strcmp(state, "failed") != 0
            && (strcmp(state, "running") != 0
                || strcmp(corrald_doc_str(item, "health"), "unhealthy") != 0))
        {
            continue;
        }

        message = corrald_doc_str(item, "message");

        if (*message) {
            return json_string(message);
        }

        reason = corrald_state_reason(corrald_doc_str(item, "reason"));

        return json_string(reason ? reason : "the instance failed");
    }

    return json_null();
}


static json_t *
corrald_view_started(const json_t *instances)
{
    int          state;
    size_t       i;
    json_t      *item;
    int64_t      at, first;
    const char  *text;

    first = 0;
    text = NULL;

    json_array_foreach(instances, i, item) {
        state = corrald_state_parse(corrald_doc_str(item, "state"));
        at = corrald_doc_time(item, "started_at");

        if (state != -1 && corrald_state_lives(state) && at
            && (first == 0 || at < first))
        {
            first = at;
            text = corrald_doc_str(item, "started_at");
        }
    }

    return text ? json_string(text) : json_null();
}


static json_t *
corrald_view_checked(const json_t *instances)
{
    size_t       i;
    json_t      *item;
    int64_t      at, last;
    const char  *text;

    last = 0;
    text = NULL;

    json_array_foreach(instances, i, item) {
        at = corrald_doc_time(item, "state_at");

        if (strcmp(corrald_doc_str(item, "health"), "unknown") != 0
            && at > last)
        {
            last = at;
            text = corrald_doc_str(item, "state_at");
        }
    }

    return text ? json_string(text) : json_null();
}


/* The TCP port of the first instance that has one; 0: none. */

static int
corrald_view_port(const json_t *instances)
{
    size_t       i;
    json_t      *item;
    const char  *address, *colon;

    json_array_foreach(instances, i, item) {
        address = corrald_doc_str(item, "address");
        colon = strrchr(address, ':');

        if (colon && strncmp(address, "unix:", 5) != 0
            && corrald_doc_bool(item, "managed"))
        {
            return (int) strtol(colon + 1, NULL, 10);
        }
    }

    return 0;
}
