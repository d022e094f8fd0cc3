
/*
 * Turns JSON of a stranger into a checked document, or into a list of what is
 * wrong with it.  The fields and their bounds come from the schema and are not
 * repeated here; only rules between fields, and the grammar of a few strings,
 * are code (rules.c).
 *
 * Pure: no I/O, no clock, no globals that change.
 */


#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_duration.h>
#include <corral_schema.h>

#include "../base/clock.h"
#include "check.h"
#include "route.h"
#include "rules.h"
#include "view.h"


/* A person corrects a few errors at a time. */

#define CORRALD_CHECK_ERRORS  32

/* No document of ours has more than 4 levels. */

#define CORRALD_CHECK_DEPTH   32

/* Bytes of a JSON pointer in an answer; longer ones are cut. */

#define CORRALD_CHECK_POINTER  256


static int corrald_check_member(corrald_check_t *c, corrald_kind_e kind,
    json_t *in, const char *name, json_t *value, const json_t *current,
    unsigned owners, unsigned flags);
static int corrald_check_unknown(corrald_check_t *c, corrald_kind_e kind,
    const char *name, const char *pointer);
static int corrald_check_foreign(corrald_check_t *c, const corrald_field_t *f,
    const char *pointer);
static void corrald_check_ignore(corrald_check_t *c, json_t *in,
    const char *name);
static int corrald_check_text(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer);
static int corrald_check_number(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer);
static int corrald_check_list(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer);
static int corrald_check_map(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer);
static int corrald_check_part(corrald_check_t *c, corrald_kind_e kind,
    const json_t *value, const char *pointer);
static int corrald_check_conditions(corrald_check_t *c,
    const corrald_field_t *f, const json_t *value, const char *pointer);
static int corrald_check_weights(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer);
static void corrald_check_pointer(char *buf, size_t size, const char *parent,
    const char *name);
static size_t corrald_check_distance(const char *a, const char *b);


void
corrald_check_init(corrald_check_t *c)
{
    c->errors = json_array();
    c->ignored = json_array();
    c->sentence[0] = '\0';
}


void
corrald_check_free(corrald_check_t *c)
{
    json_decref(c->errors);
    json_decref(c->ignored);

    c->errors = NULL;
    c->ignored = NULL;
}


/*
 * Adds an error.  The first one becomes the sentence, with the name of the
 * place before it.  Returns -1, always.
 */

int
corrald_check_error(corrald_check_t *c, const char *pointer, const char *fmt,
    ...)
{
    char     detail[384];
    json_t  *error;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);

    if (c->sentence[0] == '\0') {
        snprintf(c->sentence, sizeof(c->sentence), "%s%s%s%s",
                 *pointer ? "\"" : "", *pointer ? pointer + 1 : "",
                 *pointer ? "\" " : "", detail);
    }

    if (json_array_size(c->errors) >= CORRALD_CHECK_ERRORS) {
        return -1;
    }

    error = json_pack("{s:s, s:s}", "pointer", pointer, "detail", detail);

    if (error == NULL) {

        /* a cut in the middle of a UTF-8 character */

        error = json_pack("{s:s, s:s}", "pointer", "", "detail",
                          "a value is not valid");
    }

    json_array_append_new(c->errors, error);

    return -1;
}


/* See check.h. */

int
corrald_check_input(corrald_check_t *c, corrald_kind_e kind, json_t *in,
    const json_t *current, unsigned owners, unsigned flags)
{
    int                     rc;
    void                   *next;
    json_t                 *value;
    const char             *name;
    const corrald_field_t  *f;

    rc = 0;

    json_object_foreach_safe(in, next, name, value) {
        rc |= corrald_check_member(c, kind, in, name, value, current, owners,
                                   flags);
    }

    if (flags & CORRALD_CHECK_CREATE) {
        for (f = corrald_doc_fields(kind); f->name; f++) {
            if ((f->flags & CORRAL_R) && json_object_get(in, f->name) == NULL)
            {
                rc = corrald_check_error(c, "", "\"%s\" is required", f->name);
            }
        }
    }

    return rc ? -1 : 0;
}


/* See check.h.  Members that the schema does not know are left alone. */

int
corrald_check_document(corrald_check_t *c, corrald_kind_e kind,
    const json_t *doc)
{
    int                     rc;
    char                    pointer[CORRALD_CHECK_POINTER];
    json_t                 *value;
    const corrald_field_t  *f;

    rc = 0;

    for (f = corrald_doc_fields(kind); f->name; f++) {
        value = json_object_get(doc, f->name);

        corrald_check_pointer(pointer, sizeof(pointer), "", f->name);

        if (value == NULL) {
            rc |= corrald_check_error(c, "", "\"%s\" is required", f->name);
            continue;
        }

        rc |= corrald_check_value(c, f, value, pointer);
    }

    /* rules between fields can rely on the types */

    if (rc == 0) {
        rc = kind == CORRALD_RULE ? corrald_route_check(c, doc)
             : kind == CORRALD_SERVICE ? corrald_rules_service(c, doc)
                                       : corrald_rules_instance(c, doc);
    }

    return rc ? -1 : 0;
}


/* See check.h.  Returns 0, or -1 when memory is short. */

int
corrald_check_fill(corrald_kind_e kind, json_t *doc)
{
    size_t                  i;
    json_t                 *value, *item;
    const corrald_field_t  *f;

    for (f = corrald_doc_fields(kind); f->name; f++) {
        value = json_object_get(doc, f->name);

        if (value == NULL && *f->preset) {
            if (json_object_set_new(doc, f->name, corrald_doc_preset(f)) != 0)
            {
                return -1;
            }

            continue;
        }

        if (f->type == CORRALD_TYPE_probe && json_is_object(value)
            && corrald_check_fill(CORRALD_PROBE, value) != 0)
        {
            return -1;
        }

        if (f->type != CORRALD_TYPE_conditions) {
            continue;
        }

        json_array_foreach(value, i, item) {
            if (json_is_object(item)
                && corrald_check_fill(CORRALD_CONDITION, item) != 0)
            {
                return -1;
            }
        }
    }

    return 0;
}


/*
 * Returns a new object; NULL with an error.  The depth is looked at before
 * the parser is, which would recurse.
 */

json_t *
corrald_check_parse(corrald_check_t *c, const char *text, size_t len)
{
    int           depth, quoted;
    size_t        i;
    json_t       *value;
    json_error_t  error;

    depth = 0;
    quoted = 0;

    for (i = 0; i < len; i++) {

        if (quoted) {
            if (text[i] == '\\') {
                i++;

            } else if (text[i] == '"') {
                quoted = 0;
            }

        } else if (text[i] == '"') {
            quoted = 1;

        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > CORRALD_CHECK_DEPTH) {
                corrald_check_error(c, "", "the JSON is nested deeper than "
                                    "%d levels", CORRALD_CHECK_DEPTH);
                return NULL;
            }

        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }

    value = json_loadb(text, len, JSON_REJECT_DUPLICATES|JSON_DECODE_ANY,
                       &error);

    if (value == NULL) {
        corrald_check_error(c, "", "the JSON is broken at line %d, column %d: "
                            "%s", error.line, error.column, error.text);
        return NULL;
    }

    if (!json_is_object(value)) {
        corrald_check_error(c, "", "the JSON must be an object");
        json_decref(value);
        return NULL;
    }

    return value;
}


/* Returns 0, or -1 with errors. */

int
corrald_check_value(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    if (json_is_null(value)) {
        if (f->flags & CORRAL_N) {
            return 0;
        }

        return corrald_check_error(c, pointer, "cannot be null");
    }

    switch (f->type) {

    case CORRALD_TYPE_string:
    case CORRALD_TYPE_name:
    case CORRALD_TYPE_enumerate:
    case CORRALD_TYPE_time:
        return corrald_check_text(c, f, value, pointer);

    case CORRALD_TYPE_boolean:
        if (!json_is_boolean(value)) {
            return corrald_check_error(c, pointer, "must be true or false");
        }

        return 0;

    case CORRALD_TYPE_integer:
    case CORRALD_TYPE_duration:
        return corrald_check_number(c, f, value, pointer);

    case CORRALD_TYPE_strings:
        return corrald_check_list(c, f, value, pointer);

    case CORRALD_TYPE_map:
        return corrald_check_map(c, f, value, pointer);

    case CORRALD_TYPE_conditions:
        return corrald_check_conditions(c, f, value, pointer);

    case CORRALD_TYPE_weights:
        return corrald_check_weights(c, f, value, pointer);

    default: /* CORRALD_TYPE_probe */
        if (!json_is_object(value)) {
            return corrald_check_error(c, pointer, "must be an object or "
                                       "null");
        }

        return corrald_check_part(c, CORRALD_PROBE, value, pointer);
    }
}


/* Returns whether the text has the form of an instance's address. */

int
corrald_check_address(const char *address)
{
    int          v6;
    char         host[64], *end;
    long         port;
    size_t       len;
    const char  *colon, *p;

    unsigned char  bin[16];

    if (strncmp(address, "unix:/", 6) == 0) {
        for (p = address + 6; *p; p++) {
            if ((unsigned char) *p <= 0x20 || *p == 0x7f) {
                return 0;
            }
        }

        /* sun_path has 108 bytes with the NUL */

        return p - address > 6 && p - address - 5 <= 107;
    }

    colon = strrchr(address, ':');
    if (colon == NULL || colon[1] < '1' || colon[1] > '9') {
        return 0;
    }

    port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || port > 65535) {
        return 0;
    }

    len = (size_t) (colon - address);
    v6 = len > 2 && *address == '[' && colon[-1] == ']';

    if (v6) {
        address++;
        len -= 2;
    }

    if (len == 0 || len >= sizeof(host)) {
        return 0;
    }

    memcpy(host, address, len);
    host[len] = '\0';

    return inet_pton(v6 ? AF_INET6 : AF_INET, host, bin) == 1;
}


static int
corrald_check_member(corrald_check_t *c, corrald_kind_e kind, json_t *in,
    const char *name, json_t *value, const json_t *current, unsigned owners,
    unsigned flags)
{
    char                    pointer[CORRALD_CHECK_POINTER];
    const json_t           *was;
    const corrald_field_t  *f;

    corrald_check_pointer(pointer, sizeof(pointer), "", name);

    f = corrald_doc_field(kind, name);

    if (f == NULL) {

        /* what we add to answers may come back with them */

        if (corrald_view_is_computed(kind, name)
            || (flags & CORRALD_CHECK_COMPAT))
        {
            corrald_check_ignore(c, in, name);
            return 0;
        }

        return corrald_check_unknown(c, kind, name, pointer);
    }

    was = json_object_get(current, name);

    if (!(f->owner & owners)) {

        /* what was read may come back as it was */

        if (was && json_equal(was, value)) {
            return 0;
        }

        if (flags & CORRALD_CHECK_COMPAT) {
            corrald_check_ignore(c, in, name);
            return 0;
        }

        return corrald_check_foreign(c, f, pointer);
    }

    if ((f->flags & CORRAL_F) && was && !json_equal(was, value)) {
        return corrald_check_error(c, pointer,
                                   "cannot change after creation");
    }

    /* MyAgent's clients send null for what they do not want to say */

    if (json_is_null(value) && !(f->flags & CORRAL_N)
        && (flags & CORRALD_CHECK_COMPAT))
    {
        json_object_del(in, name);
        return 0;
    }

    return corrald_check_value(c, f, value, pointer);
}


/* an unknown field is an error: it is most often a misspelled known one */

static int
corrald_check_unknown(corrald_check_t *c, corrald_kind_e kind,
    const char *name, const char *pointer)
{
    size_t                  d, best;
    const char             *near;
    const corrald_field_t  *f;

    near = NULL;
    best = 3;

    for (f = corrald_doc_fields(kind); f->name; f++) {
        d = corrald_check_distance(name, f->name);

        if (d < best) {
            best = d;
            near = f->name;
        }
    }

    if (near) {
        return corrald_check_error(c, pointer, "is not a field of %s %s; "
                                   "is \"%s\" meant?",
                                   kind == CORRALD_INSTANCE ? "an" : "a",
                                   corrald_doc_kind(kind), near);
    }

    return corrald_check_error(c, pointer, "is not a field of %s %s",
                               kind == CORRALD_INSTANCE ? "an" : "a",
                               corrald_doc_kind(kind));
}


static int
corrald_check_foreign(corrald_check_t *c, const corrald_field_t *f,
    const char *pointer)
{
    if (f->owner == CORRALD_OWNER_system) {
        return corrald_check_error(c, pointer, "is set by corrald, not by "
                                   "requests");
    }

    return corrald_check_error(c, pointer, "is set by the %s, not by this "
                               "request", corrald_doc_owner(f->owner));
}


static void
corrald_check_ignore(corrald_check_t *c, json_t *in, const char *name)
{
    if (json_array_size(c->ignored) < CORRALD_CHECK_ERRORS) {
        json_array_append_new(c->ignored, json_string(name));
    }

    json_object_del(in, name);
}


static int
corrald_check_text(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    int64_t      n;
    const char  *s, *p;

    if (!json_is_string(value)) {
        return corrald_check_error(c, pointer, "must be a string");
    }

    s = json_string_value(value);
    n = (int64_t) json_string_length(value);

    if (f->type == CORRALD_TYPE_enumerate) {
        if (!corrald_doc_is_value(f, s)) {
            return corrald_check_error(c, pointer, "is \"%.40s\", it can be: "
                                       "%s", s, corrald_doc_values(f));
        }

        return 0;
    }

    if (f->type == CORRALD_TYPE_time) {

        /* a time that is set later may be empty until then */

        if (n && corrald_clock_parse(s) == -1) {
            return corrald_check_error(c, pointer, "must be a time as in "
                                       "2026-01-31T12:00:00Z");
        }

        return 0;
    }

    if (n < f->min || n > f->max) {
        return corrald_check_error(c, pointer, "has %lld bytes, it must have "
                                   "from %lld to %lld", (long long) n,
                                   (long long) f->min, (long long) f->max);
    }

    if (f->type != CORRALD_TYPE_name) {
        return 0;
    }

    for (p = s; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')
            || (*p >= 'A' && *p <= 'Z')
            || (p > s && (*p == '.' || *p == '_' || *p == '-')))
        {
            continue;
        }

        return corrald_check_error(c, pointer, "is \"%.64s\", it can have "
                                   "letters, digits, \".\", \"_\", \"-\", and "
                                   "begins with a letter or a digit", s);
    }

    return 0;
}


static int
corrald_check_number(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    int64_t  n;

    if (f->type == CORRALD_TYPE_duration) {

        if (json_is_string(value)) {
            n = corral_duration_parse(json_string_value(value),
                                      json_string_length(value));

        } else if (json_is_integer(value)) {
            n = corral_duration_seconds(json_integer_value(value));

        } else {
            n = -1;
        }

        if (n < 0) {
            return corrald_check_error(c, pointer, "must be a duration such "
                                       "as \"500ms\", \"30s\", \"5m\", or "
                                       "seconds");
        }

        if (n < f->min || n > f->max) {
            return corrald_check_error(c, pointer, "is %lld ms, it must be "
                                       "from %lld to %lld ms", (long long) n,
                                       (long long) f->min,
                                       (long long) f->max);
        }

        return 0;
    }

    if (!json_is_integer(value)) {
        return corrald_check_error(c, pointer, "must be an integer");
    }

    n = json_integer_value(value);

    if (n < f->min || n > f->max) {
        return corrald_check_error(c, pointer, "is %lld, it must be from %lld "
                                   "to %lld", (long long) n,
                                   (long long) f->min, (long long) f->max);
    }

    return 0;
}


static int
corrald_check_list(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    size_t   i;
    json_t  *item;

    if (!json_is_array(value)) {
        return corrald_check_error(c, pointer, "must be an array of strings");
    }

    if ((int64_t) json_array_size(value) > f->max) {
        return corrald_check_error(c, pointer, "has %zu items, at most %lld "
                                   "are allowed", json_array_size(value),
                                   (long long) f->max);
    }

    json_array_foreach(value, i, item) {
        if (!json_is_string(item)) {
            return corrald_check_error(c, pointer, "must be an array of "
                                       "strings; item %zu is not one", i);
        }
    }

    return 0;
}


static int
corrald_check_map(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    char         place[CORRALD_CHECK_POINTER];
    json_t      *item;
    const char  *key;

    if (!json_is_object(value)) {
        return corrald_check_error(c, pointer, "must be an object of "
                                   "strings");
    }

    if ((int64_t) json_object_size(value) > f->max) {
        return corrald_check_error(c, pointer, "has %zu members, at most %lld "
                                   "are allowed", json_object_size(value),
                                   (long long) f->max);
    }

    json_object_foreach((json_t *) value, key, item) {
        corrald_check_pointer(place, sizeof(place), pointer, key);

        if (*key == '\0' || strlen(key) > 256) {
            return corrald_check_error(c, place, "has a name that is empty or "
                                       "longer than 256 bytes");
        }

        if (!json_is_string(item)) {
            return corrald_check_error(c, place, "must be a string");
        }
    }

    return 0;
}


/* an object within a document */

static int
corrald_check_part(corrald_check_t *c, corrald_kind_e kind,
    const json_t *value, const char *pointer)
{
    int                     rc;
    char                    place[CORRALD_CHECK_POINTER];
    json_t                 *item;
    const char             *key;
    const corrald_field_t  *f;

    rc = 0;

    json_object_foreach((json_t *) value, key, item) {
        corrald_check_pointer(place, sizeof(place), pointer, key);

        f = corrald_doc_field(kind, key);

        rc |= f ? corrald_check_value(c, f, item, place)
                : corrald_check_unknown(c, kind, key, place);
    }

    for (f = corrald_doc_fields(kind); f->name; f++) {
        if ((f->flags & CORRAL_R) && json_object_get(value, f->name) == NULL) {
            rc = corrald_check_error(c, pointer, "needs a \"%s\"%s%s",
                                     f->name,
                                     f->type == CORRALD_TYPE_enumerate
                                     ? ": " : "",
                                     f->type == CORRALD_TYPE_enumerate
                                     ? corrald_doc_values(f) : "");
        }
    }

    return rc ? -1 : 0;
}


static int
corrald_check_conditions(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    int      rc;
    char     place[CORRALD_CHECK_POINTER];
    size_t   i;
    json_t  *item;

    if (!json_is_array(value)) {
        return corrald_check_error(c, pointer, "must be an array of objects");
    }

    if ((int64_t) json_array_size(value) > f->max) {
        return corrald_check_error(c, pointer, "has %zu items, at most %lld "
                                   "are allowed", json_array_size(value),
                                   (long long) f->max);
    }

    rc = 0;

    json_array_foreach(value, i, item) {
        snprintf(place, sizeof(place), "%s/%zu", pointer, i);

        rc |= json_is_object(item)
              ? corrald_check_part(c, CORRALD_CONDITION, item, place)
              : corrald_check_error(c, place, "must be an object");
    }

    return rc ? -1 : 0;
}


static int
corrald_check_weights(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
{
    int          rc;
    char         place[CORRALD_CHECK_POINTER];
    json_t      *item;
    const char  *key;

    if (!json_is_object(value) || json_object_size(value) > 256) {
        return corrald_check_error(c, pointer, "must be an object of at most "
                                   "256 integers");
    }

    rc = 0;

    json_object_foreach((json_t *) value, key, item) {
        corrald_check_pointer(place, sizeof(place), pointer, key);
        rc |= corrald_check_number(c, f, item, place);
    }

    return rc ? -1 : 0;
}


/* Appends a member to a JSON pointer (RFC 6901). */

static void
corrald_check_pointer(char *buf, size_t size, const char *parent,
    const char *name)
{
    size_t  len;

    len = (size_t) snprintf(buf, size, "%s/", parent);

    for ( /* void */ ; *name && len + 3 < size; name++) {

        if (*name == '~' || *name == '/') {
            buf[len++] = '~';
            buf[len++] = *name == '~' ? '0' : '1';

        } else {
            buf[len++] = *name;
        }
    }

    buf[len < size ? len : size - 1] = '\0';
}


/* How many letters must change to make one word of the other (Levenshtein). */

static size_t
corrald_check_distance(const char *a, const char *b)
{
    size_t  i, j, la, lb, up, left, row[64];

    la = strlen(a);
    lb = strlen(b);

    if (la >= 64 || lb >= 64) {
        return 64;
    }

    for (j = 0; j <= lb; j++) {
        row[j] = j;
    }

    for (i = 1; i <= la; i++) {
        up = row[0];
        row[0] = i;

        for (j = 1; j <= lb; j++) {
            left = up + (a[i - 1] != b[j - 1]);
            up = row[j];

            if (row[j] + 1 < left) {
                left = row[j] + 1;
            }

            if (row[j - 1] + 1 < left) {
                left = row[j - 1] + 1;
            }

            row[j] = left;
        }
    }

    return row[lb];
}
