
/*
 * Documents in YAML or JSON as JSON values, by libyaml.  Plain scalars follow
 * YAML 1.2's JSON schema: null, true, false, integers and numbers; everything
 * else, and everything quoted, is a string.
 *
 * Aliases are refused: a short file could mean a value of any size.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "yaml.h"


#define CORRAL_YAML_DEPTH  32


typedef struct {
    yaml_parser_t   parser;
    yaml_event_t    event;
    char           *err;
    size_t          size;
} corral_yaml_t;


static int corral_yaml_next(corral_yaml_t *y);
static json_t *corral_yaml_value(corral_yaml_t *y, int depth);
static json_t *corral_yaml_sequence(corral_yaml_t *y, int depth);
static json_t *corral_yaml_mapping(corral_yaml_t *y, int depth);
static json_t *corral_yaml_scalar(yaml_event_t *e);
static json_t *corral_yaml_failed(corral_yaml_t *y, const char *what);


json_t *
corral_yaml_load(const char *text, size_t len, char *err, size_t size)
{
    json_t         *list, *value;
    corral_yaml_t   y;

    memset(&y, 0, sizeof(corral_yaml_t));

    y.err = err;
    y.size = size;

    if (!yaml_parser_initialize(&y.parser)) {
        snprintf(err, size, "out of memory");
        return NULL;
    }

    yaml_parser_set_input_string(&y.parser, (const unsigned char *) text, len);

    list = json_array();

    for ( ;; ) {

        if (corral_yaml_next(&y) != 0) {
            goto failed;
        }

        if (y.event.type == YAML_STREAM_END_EVENT) {
            break;
        }

        if (y.event.type != YAML_DOCUMENT_START_EVENT) {
            continue;                       /* start of stream, end of doc */
        }

        if (corral_yaml_next(&y) != 0) {
            goto failed;
        }

        value = corral_yaml_value(&y, 0);

        if (value == NULL) {
            goto failed;
        }

        json_array_append_new(list, value);
    }

    yaml_event_delete(&y.event);
    yaml_parser_delete(&y.parser);

    return list;

failed:

    yaml_event_delete(&y.event);
    yaml_parser_delete(&y.parser);
    json_decref(list);

    return NULL;
}


static int
corral_yaml_next(corral_yaml_t *y)
{
    yaml_event_delete(&y->event);

    if (!yaml_parser_parse(&y->parser, &y->event)) {
        snprintf(y->err, y->size, "line %lu: %s",
                 (unsigned long) y->parser.problem_mark.line + 1,
                 y->parser.problem ? y->parser.problem : "not readable");
        memset(&y->event, 0, sizeof(yaml_event_t));
        return -1;
    }

    return 0;
}


/* the value that begins with the current event */

static json_t *
corral_yaml_value(corral_yaml_t *y, int depth)
{
    json_t  *value;

    if (depth > CORRAL_YAML_DEPTH) {
        return corral_yaml_failed(y, "nested too deep");
    }

    switch (y->event.type) {

    case YAML_SCALAR_EVENT:
        value = corral_yaml_scalar(&y->event);
        return value ? value : corral_yaml_failed(y, "a number is too large");

    case YAML_SEQUENCE_START_EVENT:
        return corral_yaml_sequence(y, depth);

    case YAML_MAPPING_START_EVENT:
        return corral_yaml_mapping(y, depth);

    case YAML_ALIAS_EVENT:
        return corral_yaml_failed(y, "aliases are not supported");

    default:
        return corral_yaml_failed(y, "a value is missing");
    }
}


static json_t *
corral_yaml_sequence(corral_yaml_t *y, int depth)
{
    json_t  *list, *value;

    list = json_array();

    for ( ;; ) {

        if (corral_yaml_next(y) != 0) {
            break;
        }

        if (y->event.type == YAML_SEQUENCE_END_EVENT) {
            return list;
        }

        value = corral_yaml_value(y, depth + 1);

        if (value == NULL) {
            break;
        }

        json_array_append_new(list, value);
    }

    json_decref(list);

    return NULL;
}


static json_t *
corral_yaml_mapping(corral_yaml_t *y, int depth)
{
    char    *key;
    json_t  *object, *value;

    object = json_object();
    key = NULL;

    for ( ;; ) {

        if (corral_yaml_next(y) != 0) {
            break;
        }

        if (y->event.type == YAML_MAPPING_END_EVENT) {
            return object;
        }

        if (y->event.type != YAML_SCALAR_EVENT) {
            (void) corral_yaml_failed(y, "a key must be a word");
            break;
        }

        key = strdup((char *) y->event.data.scalar.value);

        if (key == NULL || json_object_get(object, key)) {
            (void) corral_yaml_failed(y, "the key stands twice");
            break;
        }

        if (corral_yaml_next(y) != 0) {
            break;
        }

        value = corral_yaml_value(y, depth + 1);

        if (value == NULL || json_object_set_new(object, key, value) != 0) {
            break;
        }

        free(key);
        key = NULL;
    }

    free(key);
    json_decref(object);

    return NULL;
}


static json_t *
corral_yaml_scalar(yaml_event_t *e)
{
    char       *last;
    double      d;
    long long   n;
    const char *s;

    s = (char *) e->data.scalar.value;

    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return json_stringn(s, e->data.scalar.length);
    }

    if (*s == '\0' || strcmp(s, "null") == 0 || strcmp(s, "~") == 0) {
        return json_null();
    }

    if (strcmp(s, "true") == 0) {
        return json_true();
    }

    if (strcmp(s, "false") == 0) {
        return json_false();
    }

    /* a leading zero, as in 0644 or 007, is text to most people */

    if ((*s >= '0' && *s <= '9') || *s == '-') {
        errno = 0;
        n = strtoll(s, &last, 10);

        if (*last == '\0' && errno == 0 && (s[0] != '0' || s[1] == '\0')) {
            return json_integer(n);
        }

        d = strtod(s, &last);

        if (*last == '\0' && strpbrk(s, ".eE")) {
            return json_real(d);
        }
    }

    return json_stringn(s, e->data.scalar.length);
}


static json_t *
corral_yaml_failed(corral_yaml_t *y, const char *what)
{
    snprintf(y->err, y->size, "line %lu: %s",
             (unsigned long) y->event.start_mark.line + 1, what);

    return NULL;
}
