
/*
 * Documents of the registry, from JSON to structs: the fields of
 * corral_schema.h that gateways read (flag CORRAL_G).  The image and the state
 * file are made of such lines: corral_decode_print.c, corral_decode_image.c.
 *
 * A document is taken whole or refused whole: every type and bound comes from
 * the row of the schema, and a struct is written only when all fields are good.
 * Members that gateways do not read are not looked at.  Beyond the schema,
 * strings must not hold control characters, because they end in request lines,
 * headers and logs.
 *
 * Pure: no I/O, no clock, no globals.  Strings of a struct come from the
 * caller's allocator and live as long as the caller wishes; jansson's own
 * memory is given back before a function returns.
 */


#include "corral_decode.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <corral_duration.h>
#include <corral_schema.h>

#include "corral_decode_fields.h"


/* a document may grow a little when defaults are written out */

#define CORRAL_DECODE_MAX  (CORRAL_DOCUMENT_MAX + 4096)


/* what one call works with */

typedef struct {
    const corral_decode_kind_t    *kind;
    const json_t                  *doc;
    corral_decode_alloc_pt         alloc;
    void                          *data;
    char                          *err;
    size_t                         size;
} corral_decode_t;


static int corral_decode_document(corral_kind_e kind, const char *json,
    size_t len, void *out, corral_decode_alloc_pt alloc, void *data,
    char *err, size_t size);
static int corral_decode_members(corral_decode_t *d, void *out);
static int corral_decode_value(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value, void *out);
static int corral_decode_preset(corral_decode_t *d,
    const corral_decode_row_t *row, void *out);
static int corral_decode_text(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value, corral_str_t *out);
static int corral_decode_number(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value, int64_t *out);
static int corral_decode_word(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value, int64_t *out);
static int corral_decode_list(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value, corral_strs_t *out);
static int corral_decode_conditions(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value,
    corral_conditions_t *out);
static int corral_decode_weights(corral_decode_t *d,
    const corral_decode_row_t *row, const json_t *value,
    corral_weights_t *out);


/* an error; control characters of foreign text do not reach the log */

static int __attribute__((format(printf, 3, 4)))
corral_decode_error(char *err, size_t size, const char *fmt, ...)
{
    size_t   i;
    va_list  args;

    if (size == 0) {
        return -1;
    }

    va_start(args, fmt);
    vsnprintf(err, size, fmt, args);
    va_end(args);

    for (i = 0; err[i]; i++) {
        if ((unsigned char) err[i] < 0x20 || err[i] == 0x7f) {
            err[i] = '?';
        }
    }

    return -1;
}


/* a value as it stands in an error; long ones are only described */

static const char *
corral_decode_show(const json_t *value, char *buf, size_t size)
{
    size_t  n;

    n = json_dumpb(value, buf, size - 1, JSON_ENCODE_ANY|JSON_COMPACT);

    if (n == 0 || n > size - 1) {
        snprintf(buf, size, "a long %s",
                 json_is_string(value) ? "string"
                 : (json_is_object(value) ? "object" : "array"));
        return buf;
    }

    buf[n] = '\0';

    return buf;
}


/* service "3a1c": "weight" is 2000, it must be ... */

static int __attribute__((format(printf, 4, 5)))
corral_decode_refuse(corral_decode_t *d, const char *field,
    const json_t *value, const char *fmt, ...)
{
    char          id[CORRAL_ID_MAX + 8], is[72], must[160];
    va_list       args;
    const json_t  *member;

    member = json_object_get(d->doc, d->kind->id);

    if (json_is_string(member)) {
        corral_decode_show(member, id, sizeof(id));

    } else {
        snprintf(id, sizeof(id), "without \"%s\"", d->kind->id);
    }

    va_start(args, fmt);
    vsnprintf(must, sizeof(must), fmt, args);
    va_end(args);

    if (value == NULL) {
        return corral_decode_error(d->err, d->size, "%s %s: \"%s\" %s",
                                   d->kind->name, id, field, must);
    }

    return corral_decode_error(d->err, d->size,
                               "%s %s: \"%s\" is %s, it must be %s",
                               d->kind->name, id, field,
                               corral_decode_show(value, is, sizeof(is)),
                               must);
}


static void *
corral_decode_alloc(corral_decode_t *d, size_t size)
{
    void  *p;

    p = d->alloc(d->data, size);

    if (p == NULL) {
        corral_decode_error(d->err, d->size, "%s: no memory", d->kind->name);
    }

    return p;
}


/* a JSON object of at most CORRAL_DECODE_MAX bytes, or NULL with an error */

static json_t *
corral_decode_parse(const char *json, size_t len, const char *what, char *err,
    size_t size)
{
    json_t        *doc;
    json_error_t   error;

    if (len > CORRAL_DECODE_MAX) {
        corral_decode_error(err, size, "%s has %zu bytes, it must have at most"
                            " %d", what, len, CORRAL_DECODE_MAX);
        return NULL;
    }

    doc = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error);

    if (doc == NULL) {
        corral_decode_error(err, size, "%s is not JSON, at byte %d: %s", what,
                            error.position, error.text);
        return NULL;
    }

    if (!json_is_object(doc)) {
        json_decref(doc);
        corral_decode_error(err, size, "%s is not a JSON object", what);
        return NULL;
    }

    return doc;
}


/*
 * Decodes a service document, or a line of an image, of len bytes.  On success
 * returns 0 and fills *out; its strings are allocated by alloc.  Returns -1
 * and a sentence in err (CORRAL_DECODE_ERROR bytes fit any) if the document is
 * broken or there is no memory: *out is untouched then.
 */

int
corral_decode_service(const char *json, size_t len, corral_service_t *out,
    corral_decode_alloc_pt alloc, void *data, char *err, size_t size)
{
    corral_service_t  service;

    if (corral_decode_document(CORRAL_SERVICE, json, len, &service, alloc,
                               data, err, size)
        != 0)
    {
        return -1;
    }

    *out = service;

    return 0;
}


/* The same for an instance. */

int
corral_decode_instance(const char *json, size_t len, corral_instance_t *out,
    corral_decode_alloc_pt alloc, void *data, char *err, size_t size)
{
    corral_instance_t  instance;

    if (corral_decode_document(CORRAL_INSTANCE, json, len, &instance, alloc,
                               data, err, size)
        != 0)
    {
        return -1;
    }

    *out = instance;

    return 0;
}


/* The same for a rule. */

int
corral_decode_rule(const char *json, size_t len, corral_rule_t *out,
    corral_decode_alloc_pt alloc, void *data, char *err, size_t size)
{
    corral_rule_t  rule;

    if (corral_decode_document(CORRAL_RULE, json, len, &rule, alloc, data, err,
                               size)
        != 0)
    {
        return -1;
    }

    *out = rule;

    return 0;
}


static int
corral_decode_document(corral_kind_e kind, const char *json, size_t len,
    void *out, corral_decode_alloc_pt alloc, void *data, char *err,
    size_t size)
{
    int               rc;
    json_t           *doc;
    corral_decode_t   d;

    d.kind = &corral_decode_kinds[kind];
    d.alloc = alloc;
    d.data = data;
    d.err = err;
    d.size = size;

    doc = corral_decode_parse(json, len, d.kind->name, err, size);
    if (doc == NULL) {
        return -1;
    }

    d.doc = doc;

    rc = corral_decode_members(&d, out);

    json_decref(doc);

    return rc;
}


/* fills the struct of d->kind from d->doc */

static int
corral_decode_members(corral_decode_t *d, void *out)
{
    int                         rc;
    size_t                      i;
    json_t                     *value;
    const corral_decode_row_t  *row;

    rc = 0;
    memset(out, 0, d->kind->size);

    for (i = 0; i < d->kind->n && rc == 0; i++) {
        row = &d->kind->rows[d->kind->members[i].row];
        value = json_object_get(d->doc, row->name);

        rc = corral_decode_value(d, row, value,
                                 (char *) out + d->kind->members[i].offset);
    }

    return rc;
}


static int
corral_decode_value(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, void *out)
{
    if (value == NULL) {
        return corral_decode_preset(d, row, out);
    }

    if (json_is_null(value) && (row->flags & CORRAL_N)) {
        *(int64_t *) out = CORRAL_DECODE_UNSET;
        return 0;
    }

    switch (row->type) {

    case CORRAL_DECODE_string:
    case CORRAL_DECODE_name:
        return corral_decode_text(d, row, value, out);

    case CORRAL_DECODE_enumerate:
        return corral_decode_word(d, row, value, out);

    case CORRAL_DECODE_strings:
        return corral_decode_list(d, row, value, out);

    case CORRAL_DECODE_conditions:
        return corral_decode_conditions(d, row, value, out);

    case CORRAL_DECODE_weights:
        return corral_decode_weights(d, row, value, out);

    case CORRAL_DECODE_boolean:
        if (!json_is_boolean(value)) {
            return corral_decode_refuse(d, row->name, value, "true or false");
        }

        *(int64_t *) out = json_is_true(value);
        return 0;

    default: /* integer and duration: no other type has a member */
        return corral_decode_number(d, row, value, out);
    }
}


/* an absent field: its default goes the way of a value that is there */

static int
corral_decode_preset(corral_decode_t *d, const corral_decode_row_t *row,
    void *out)
{
    int      rc;
    json_t  *value;

    if (row->preset[0] == '\0') {
        return corral_decode_refuse(d, row->name, NULL, "is missing");
    }

    if (strcmp(row->preset, "null") == 0) {
        *(int64_t *) out = CORRAL_DECODE_UNSET;
        return 0;
    }

    value = json_loads(row->preset, JSON_DECODE_ANY, NULL);

    if (value == NULL) {
        return corral_decode_error(d->err, d->size, "%s: no memory",
                                   d->kind->name);
    }

    rc = corral_decode_value(d, row, value, out);
    json_decref(value);

    return rc;
}


/* copies a string, which must not hold control characters */

static int
corral_decode_copy(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, corral_str_t *out)
{
    size_t       i, len;
    const char  *text;

    text = json_string_value(value);
    len = json_string_length(value);

    for (i = 0; i < len; i++) {
        if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f) {
            return corral_decode_refuse(d, row->name, value,
                                        "without control characters");
        }
    }

    out->data = corral_decode_alloc(d, len + 1);
    if (out->data == NULL) {
        return -1;
    }

    memcpy(out->data, text, len);
    out->data[len] = '\0';
    out->len = len;

    return 0;
}


static int
corral_decode_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9');
}


static int
corral_decode_text(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, corral_str_t *out)
{
    int64_t      i, len;
    const char  *text;

    text = json_string_value(value);
    len = (int64_t) json_string_length(value);

    if (text == NULL || len < row->min || len > row->max) {
        return corral_decode_refuse(d, row->name, value,
                                    "a string of %" PRId64 " to %" PRId64
                                    " bytes", row->min, row->max);
    }

    if (row->type == CORRAL_DECODE_name) {
        for (i = 0; i < len; i++) {
            if (!corral_decode_alnum(text[i])
                && (i == 0 || strchr("._-", text[i]) == NULL))
            {
                return corral_decode_refuse(d, row->name, value,
                                            "letters, digits, \".\", \"_\" and"
                                            " \"-\", beginning with a letter or"
                                            " a digit");
            }
        }
    }

    return corral_decode_copy(d, row, value, out);
}


static int
corral_decode_number(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, int64_t *out)
{
    int64_t  n;

    if (row->type == CORRAL_DECODE_integer
        || row->type == CORRAL_DECODE_weights)
    {
        n = json_integer_value(value);

        if (!json_is_integer(value) || n < row->min || n > row->max) {
            return corral_decode_refuse(d, row->name, value,
                                        "an integer from %" PRId64 " to %"
                                        PRId64, row->min, row->max);
        }

        *out = n;
        return 0;
    }

    n = -1;

    if (json_is_string(value)) {
        n = corral_duration_parse(json_string_value(value),
                                  json_string_length(value));

    } else if (json_is_integer(value)) {
        n = corral_duration_seconds(json_integer_value(value));
    }

    if (n < row->min || n > row->max) {
        return corral_decode_refuse(d, row->name, value,
                                    "a duration such as \"500ms\", \"30s\", "
                                    "\"5m\", from %" PRId64 " to %" PRId64
                                    " ms", row->min, row->max);
    }

    *out = n;

    return 0;
}


static int
corral_decode_word(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, int64_t *out)
{
    size_t       len;
    int64_t      i;
    const char  *words, *word;

    words = corral_decode_fields_words(row);

    for (i = 0; json_is_string(value); i++) {
        word = corral_decode_fields_word(&words, &len);

        if (word == NULL) {
            break;
        }

        if (json_string_length(value) == len
            && memcmp(json_string_value(value), word, len) == 0)
        {
            *out = i;
            return 0;
        }
    }

    return corral_decode_refuse(d, row->name, value, "one of %s",
                                corral_decode_fields_words(row));
}


static int
corral_decode_list(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, corral_strs_t *out)
{
    size_t  i, n;

    n = json_array_size(value);

    if (!json_is_array(value) || n > (size_t) row->max) {
        return corral_decode_refuse(d, row->name, value,
                                    "an array of at most %" PRId64 " strings",
                                    row->max);
    }

    out->n = (uint32_t) n;

    if (n == 0) {
        return 0;
    }

    out->items = corral_decode_alloc(d, n * sizeof(corral_str_t));
    if (out->items == NULL) {
        return -1;
    }

    for (i = 0; i < n; i++) {
        if (!json_is_string(json_array_get(value, i))) {
            return corral_decode_refuse(d, row->name,
                                        json_array_get(value, i), "a string");
        }

        if (corral_decode_copy(d, row, json_array_get(value, i),
                               &out->items[i])
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
corral_decode_conditions(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, corral_conditions_t *out)
{
    size_t           i, n;
    corral_decode_t  item;
    char             err[CORRAL_DECODE_ERROR];

    n = json_array_size(value);

    if (!json_is_array(value) || n > (size_t) row->max) {
        return corral_decode_refuse(d, row->name, value,
                                    "an array of at most %" PRId64 " objects",
                                    row->max);
    }

    out->n = (uint32_t) n;

    if (n == 0) {
        return 0;
    }

    out->items = corral_decode_alloc(d, n * sizeof(corral_condition_t));
    if (out->items == NULL) {
        return -1;
    }

    item = *d;
    item.kind = &corral_decode_condition;
    item.err = err;
    item.size = sizeof(err);

    for (i = 0; i < n; i++) {
        item.doc = json_array_get(value, i);

        if (!json_is_object(item.doc)) {
            return corral_decode_refuse(d, row->name, item.doc,
                                        "an object with \"field\" and "
                                        "\"operator\"");
        }

        if (corral_decode_members(&item, &out->items[i]) != 0) {
            return corral_decode_refuse(d, row->name, NULL, "item %zu: %.120s",
                                        i, err);
        }
    }

    return 0;
}


static int
corral_decode_weights(corral_decode_t *d, const corral_decode_row_t *row,
    const json_t *value, corral_weights_t *out)
{
    size_t       n;
    json_t      *item, *name;
    const char  *key;

    n = json_object_size(value);

    if (!json_is_object(value) || n > CORRAL_DECODE_WEIGHTS) {
        return corral_decode_refuse(d, row->name, value, "an object of at most"
                                    " %d integers", CORRAL_DECODE_WEIGHTS);
    }

    if (n == 0) {
        return 0;
    }

    out->items = corral_decode_alloc(d, n * sizeof(corral_weight_t));
    if (out->items == NULL) {
        return -1;
    }

    json_object_foreach((json_t *) value, key, item) {

        if (corral_decode_number(d, row, item, &out->items[out->n].weight)
            != 0)
        {
            return -1;
        }

        name = json_string(key);

        if (name == NULL
            || corral_decode_copy(d, row, name, &out->items[out->n].name) != 0)
        {
            json_decref(name);
            return -1;
        }

        json_decref(name);
        out->n++;
    }

    return 0;
}


/*
 * What a line of an image is: CORRAL_SERVICE, CORRAL_INSTANCE, CORRAL_RULE, or
 * -1 with a sentence in err.  The lines that corrald and gateways write begin
 * with "kind", and are not parsed here; of others only "kind" is judged.
 */

int
corral_decode_kind(const char *json, size_t len, char *err, size_t size)
{
    int         i, kind;
    json_t     *doc, *member;
    char        text[32], is[72];
    const char *word;

    for (i = CORRAL_SERVICE; i < CORRAL_KINDS; i++) {
        kind = snprintf(text, sizeof(text), "{\"kind\":\"%s\",",
                        corral_decode_kinds[i].name);

        if (len > (size_t) kind && memcmp(json, text, (size_t) kind) == 0) {
            return i;
        }
    }

    doc = corral_decode_parse(json, len, "the line", err, size);
    if (doc == NULL) {
        return -1;
    }

    member = json_object_get(doc, "kind");
    word = json_string_value(member);
    kind = -1;

    for (i = CORRAL_SERVICE; word && i < CORRAL_KINDS; i++) {
        kind = strcmp(word, corral_decode_kinds[i].name) == 0 ? i : kind;
    }

    if (member == NULL) {
        corral_decode_error(err, size, "\"kind\" is missing");

    } else if (kind == -1) {
        corral_decode_error(err, size, "\"kind\" is %s, it must be "
                            "\"service\", \"instance\" or \"rule\"",
                            corral_decode_show(member, is, sizeof(is)));
    }

    json_decref(doc);

    return kind;
}
