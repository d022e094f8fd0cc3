
/*
 * Printing documents as lines of an image or state file: the reverse of
 * corral_decode.c.  All fields that gateways read are written, defaults too, so
 * that a line means the same to a version with other defaults.
 *
 * Pure: no I/O, no clock, no globals, no allocation.
 */


#include "corral_decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <corral_duration.h>
#include <corral_schema.h>

#include "corral_decode_fields.h"


/* text that grows up to size, and then only counts */

typedef struct {
    char      *buf;
    size_t     size;
    size_t     len;
} corral_decode_print_t;


static void corral_decode_print_members(corral_decode_print_t *t,
    const corral_decode_kind_t *kind, const void *doc);


static void
corral_decode_print_put(corral_decode_print_t *t, const char *data, size_t len)
{
    if (t->len + len < t->size) {
        memcpy(t->buf + t->len, data, len);
    }

    t->len += len;
}


static void
corral_decode_print_puts(corral_decode_print_t *t, const char *text)
{
    corral_decode_print_put(t, text, strlen(text));
}


/* a JSON string; control characters do not occur in decoded structs */

static void
corral_decode_print_string(corral_decode_print_t *t, const corral_str_t *s)
{
    size_t  i, from;

    corral_decode_print_put(t, "\"", 1);

    for (i = 0, from = 0; i < s->len; i++) {
        if (s->data[i] == '"' || s->data[i] == '\\') {
            corral_decode_print_put(t, s->data + from, i - from);
            corral_decode_print_put(t, "\\", 1);
            from = i;
        }
    }

    corral_decode_print_put(t, s->data + from, s->len - from);
    corral_decode_print_put(t, "\"", 1);
}


static void
corral_decode_print_list(corral_decode_print_t *t, const corral_strs_t *list)
{
    uint32_t  i;

    corral_decode_print_put(t, "[", 1);

    for (i = 0; i < list->n; i++) {
        if (i > 0) {
            corral_decode_print_put(t, ",", 1);
        }

        corral_decode_print_string(t, &list->items[i]);
    }

    corral_decode_print_put(t, "]", 1);
}


static void
corral_decode_print_word(corral_decode_print_t *t, const char *words,
    int64_t i)
{
    size_t       len;
    const char  *word;

    do {
        word = corral_decode_fields_word(&words, &len);
    } while (word && i-- > 0);

    corral_decode_print_put(t, "\"", 1);
    corral_decode_print_put(t, word ? word : "", len);
    corral_decode_print_put(t, "\"", 1);
}


static void
corral_decode_print_conditions(corral_decode_print_t *t,
    const corral_conditions_t *list)
{
    uint32_t  i;

    corral_decode_print_put(t, "[", 1);

    for (i = 0; i < list->n; i++) {
        corral_decode_print_puts(t, i ? ",{" : "{");
        corral_decode_print_members(t, &corral_decode_condition,
                                    &list->items[i]);
        corral_decode_print_put(t, "}", 1);
    }

    corral_decode_print_put(t, "]", 1);
}


static void
corral_decode_print_weights(corral_decode_print_t *t,
    const corral_weights_t *list)
{
    char      text[24];
    uint32_t  i;

    corral_decode_print_put(t, "{", 1);

    for (i = 0; i < list->n; i++) {
        if (i > 0) {
            corral_decode_print_put(t, ",", 1);
        }

        corral_decode_print_string(t, &list->items[i].name);
        snprintf(text, sizeof(text), ":%" PRId64, list->items[i].weight);
        corral_decode_print_puts(t, text);
    }

    corral_decode_print_put(t, "}", 1);
}


static void
corral_decode_print_value(corral_decode_print_t *t,
    const corral_decode_row_t *row, const void *member)
{
    int64_t  n;
    char     text[CORRAL_DURATION_TEXT + 2];

    switch (row->type) {

    case CORRAL_DECODE_string:
    case CORRAL_DECODE_name:
        corral_decode_print_string(t, member);
        return;

    case CORRAL_DECODE_strings:
        corral_decode_print_list(t, member);
        return;

    case CORRAL_DECODE_conditions:
        corral_decode_print_conditions(t, member);
        return;

    case CORRAL_DECODE_weights:
        corral_decode_print_weights(t, member);
        return;

    case CORRAL_DECODE_enumerate:
        corral_decode_print_word(t, corral_decode_fields_words(row),
                                 *(const int64_t *) member);
        return;

    case CORRAL_DECODE_boolean:
        corral_decode_print_puts(t, *(const int64_t *) member ? "true"
                                                              : "false");
        return;

    default: /* integer and duration */
        break;
    }

    n = *(const int64_t *) member;

    if (n == CORRAL_DECODE_UNSET && (row->flags & CORRAL_N)) {
        corral_decode_print_puts(t, "null");

    } else if (row->type == CORRAL_DECODE_duration) {
        corral_decode_print_put(t, "\"", 1);
        corral_duration_print(n, text, sizeof(text));
        corral_decode_print_puts(t, text);
        corral_decode_print_put(t, "\"", 1);

    } else {
        snprintf(text, sizeof(text), "%" PRId64, n);
        corral_decode_print_puts(t, text);
    }
}


/* the members of an object, without its braces */

static void
corral_decode_print_members(corral_decode_print_t *t,
    const corral_decode_kind_t *kind, const void *doc)
{
    size_t                      i;
    const corral_decode_row_t  *row;

    for (i = 0; i < kind->n; i++) {
        row = &kind->rows[kind->members[i].row];

        corral_decode_print_puts(t, i ? ",\"" : "\"");
        corral_decode_print_puts(t, row->name);
        corral_decode_print_puts(t, "\":");
        corral_decode_print_value(t, row,
                                (const char *) doc + kind->members[i].offset);
    }
}


static size_t
corral_decode_print(const corral_decode_kind_t *kind, const void *doc,
    char *buf, size_t size)
{
    corral_decode_print_t  t;

    t.buf = buf;
    t.size = size;
    t.len = 0;

    corral_decode_print_puts(&t, "{\"kind\":\"");
    corral_decode_print_puts(&t, kind->name);
    corral_decode_print_puts(&t, "\",");
    corral_decode_print_members(&t, kind, doc);
    corral_decode_print_puts(&t, "}\n");

    if (size > 0) {
        buf[t.len < size ? t.len : 0] = '\0';
    }

    return t.len;
}


/*
 * Writes the line of a service: compact JSON that begins with "kind", and a
 * newline.  Returns its length without NUL, as snprintf() does: if that is not
 * below size, the line did not fit and buf is of no use; buf may be NULL if
 * size is 0.
 */

size_t
corral_decode_print_service(const corral_service_t *service, char *buf,
    size_t size)
{
    return corral_decode_print(&corral_decode_kinds[CORRAL_SERVICE], service,
                               buf, size);
}


/* The same for an instance. */

size_t
corral_decode_print_instance(const corral_instance_t *instance, char *buf,
    size_t size)
{
    return corral_decode_print(&corral_decode_kinds[CORRAL_INSTANCE],
                               instance, buf, size);
}


/* The same for a rule. */

size_t
corral_decode_print_rule(const corral_rule_t *rule, char *buf, size_t size)
{
    return corral_decode_print(&corral_decode_kinds[CORRAL_RULE], rule, buf,
                               size);
}


/*
 * Writes the first line of an image, with its newline.  lines and crc32 are of
 * all that follows it.  An epoch must be what corral_decode_image_open() takes.
 * Returns as the functions above; CORRAL_DECODE_HEAD_MAX bytes are enough.
 */

size_t
corral_decode_print_head(const char *epoch, uint64_t revision, uint64_t lines,
    uint32_t crc32, char *buf, size_t size)
{
    int  n;

    n = snprintf(buf, size, "{\"corral\":%d,\"epoch\":\"%s\",\"revision\":%"
                 PRIu64 ",\"lines\":%" PRIu64 ",\"crc32\":\"%08" PRIx32
                 "\"}\n", CORRAL_SCHEMA_VERSION, epoch, revision, lines,
                 crc32);

    return n < 0 ? 0 : (size_t) n;
}
