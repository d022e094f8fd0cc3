
/*
 * The tables of the schema as C arrays, and reading members of documents.
 *
 * Pure: no I/O, no clock, no globals that change.
 */


#include <stdio.h>
#include <string.h>

#include <corral_duration.h>
#include <corral_schema.h>

#include "../base/clock.h"
#include "doc.h"


/* the words of all reason codes, and "" for none: see the row "reason" */

#define X(code, text)  " " #code
#define CORRALD_DOC_REASONS  CORRAL_REASONS(X)

static const char  corrald_doc_reasons[] = CORRALD_DOC_REASONS;

#undef X


#define X(word, text)  " " #word

static const char  corrald_doc_operators[] = CORRAL_OPERATORS(X);

#undef X


#define X(name, type, owner, flags, min, max, values, preset, text)           \
    { #name, CORRALD_TYPE_##type, CORRALD_OWNER_##owner, flags, min, max,     \
      values, preset, text },

static const corrald_field_t  corrald_doc_service[] = {
    CORRAL_SERVICE_FIELDS(X)
    { NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL }
};

static const corrald_field_t  corrald_doc_instance[] = {
    CORRAL_INSTANCE_FIELDS(X)
    { NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL }
};

static const corrald_field_t  corrald_doc_rule[] = {
    CORRAL_RULE_FIELDS(X)
    { NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL }
};

static const corrald_field_t  corrald_doc_condition[] = {
    CORRAL_CONDITION_FIELDS(X)
    { NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL }
};

static const corrald_field_t  corrald_doc_probe[] = {
    CORRAL_PROBE_FIELDS(X)
    { NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL }
};

#undef X


static const corrald_field_t  *corrald_doc_tables[] = {
    corrald_doc_service, corrald_doc_instance, corrald_doc_rule,
    corrald_doc_probe, corrald_doc_condition
};

static const char  *corrald_doc_kinds[] = {
    "service", "instance", "rule", "probe", "condition"
};

static const char  *corrald_doc_ids[] = {
    "service_id", "instance_id", "rule_id", "", ""
};

static const char  *corrald_doc_types[] = {
    "string", "name", "integer", "boolean", "duration", "enumerate",
    "strings", "map", "probe", "conditions", "weights", "time"
};


const corrald_field_t *
corrald_doc_fields(corrald_kind_e kind)
{
    return corrald_doc_tables[kind];
}


/* Returns the row or NULL. */

const corrald_field_t *
corrald_doc_field(corrald_kind_e kind, const char *name)
{
    const corrald_field_t  *f;

    for (f = corrald_doc_tables[kind]; f->name; f++) {
        if (strcmp(f->name, name) == 0) {
            return f;
        }
    }

    return NULL;
}


/* "service" */

const char *
corrald_doc_kind(corrald_kind_e kind)
{
    return corrald_doc_kinds[kind];
}


/* The kind of a stored document by its name, or -1. */

int
corrald_doc_parse_kind(const char *name)
{
    int  kind;

    for (kind = 0; kind < CORRALD_STORED; kind++) {
        if (strcmp(corrald_doc_kinds[kind], name) == 0) {
            return kind;
        }
    }

    return -1;
}


/*
 * The name as it stands among all unique names: those of rules have a prefix
 * with a character that no service can have.  "" for kinds without.
 */

const char *
corrald_doc_unique(corrald_kind_e kind, const char *name,
    char buf[CORRALD_DOC_UNIQUE])
{
    snprintf(buf, CORRALD_DOC_UNIQUE, "%s%s",
             kind == CORRALD_RULE && *name ? "rule/" : "",
             kind == CORRALD_INSTANCE ? "" : name);

    return buf;
}


/* The member that holds the id: "service_id". */

const char *
corrald_doc_id(corrald_kind_e kind)
{
    return corrald_doc_ids[kind];
}


const char *
corrald_doc_type(corrald_type_e type)
{
    return corrald_doc_types[type];
}


/* The name of a single owner. */

const char *
corrald_doc_owner(unsigned owner)
{
    switch (owner) {
    case CORRALD_OWNER_user:
        return "user";
    case CORRALD_OWNER_scaler:
        return "scaler";
    case CORRALD_OWNER_schedule:
        return "schedule";
    case CORRALD_OWNER_deployment:
        return "deployment";
    case CORRALD_OWNER_node:
        return "node";
    default:
        return "system";
    }
}


/* The words that an enumerate can be, one blank between. */

const char *
corrald_doc_values(const corrald_field_t *field)
{
    if (strcmp(field->values, "CORRAL_OPERATORS") == 0) {
        return corrald_doc_operators + 1;
    }

    return strcmp(field->values, "CORRAL_REASONS") == 0
           ? corrald_doc_reasons + 1 : field->values;
}


/* Whether the text is one of the words of an enumerate. */

int
corrald_doc_is_value(const corrald_field_t *field, const char *text)
{
    size_t       len;
    const char  *p, *values;

    len = strlen(text);

    if (len == 0) {

        /* "no reason" is the default of such a field, and of no other */

        return strcmp(field->preset, "\"\"") == 0;
    }

    /* two words of the list, as they stand there, are not one of them */

    if (strchr(text, ' ')) {
        return 0;
    }

    values = corrald_doc_values(field);

    for (p = values; (p = strstr(p, text)) != NULL; p += len) {
        if ((p == values || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
        {
            return 1;
        }
    }

    return 0;
}


/* Returns a new value, or NULL when the field has no default. */

json_t *
corrald_doc_preset(const corrald_field_t *field)
{
    if (*field->preset == '\0') {
        return NULL;
    }

    return json_loads(field->preset, JSON_DECODE_ANY, NULL);
}


const char *
corrald_doc_str(const json_t *doc, const char *name)
{
    const char  *s;

    s = json_string_value(json_object_get(doc, name));

    return s ? s : "";
}


int64_t
corrald_doc_int(const json_t *doc, const char *name)
{
    return json_integer_value(json_object_get(doc, name));
}


int
corrald_doc_bool(const json_t *doc, const char *name)
{
    return json_is_true(json_object_get(doc, name));
}


/* A duration in milliseconds. */

int64_t
corrald_doc_ms(const json_t *doc, const char *name)
{
    int64_t        ms;
    const json_t  *value;

    value = json_object_get(doc, name);

    if (json_is_string(value)) {
        ms = corral_duration_parse(json_string_value(value),
                                   json_string_length(value));

    } else {
        ms = corral_duration_seconds(json_integer_value(value));
    }

    return ms < 0 ? 0 : ms;
}


/* A time in milliseconds since 1970; 0: none. */

int64_t
corrald_doc_time(const json_t *doc, const char *name)
{
    int64_t      ms;
    const char  *s;

    s = json_string_value(json_object_get(doc, name));
    ms = s ? corrald_clock_parse(s) : 0;

    return ms < 0 ? 0 : ms;
}


/* Whether the member is there and not null. */

int
corrald_doc_is_set(const json_t *doc, const char *name)
{
    const json_t  *value;

    value = json_object_get(doc, name);

    return value != NULL && !json_is_null(value);
}
