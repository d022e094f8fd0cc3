
/*
 * One routing rule, compiled from its document: fields become numbers, patterns
 * become PCRE2 programs, CIDRs become bits, words lose their case where it does
 * not count.  A rule that does not compile is refused whole, with a sentence;
 * corrald compiles by the same code before it stores a rule, so that what it
 * accepts no gateway refuses.
 *
 * Pure: no I/O, no clock, no globals.  Everything of a rule comes from the
 * caller's allocator, also PCRE2's memory, and lives as long as he wishes.
 */


#include "corral_match_rule.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


typedef struct {
    corral_decode_alloc_pt      alloc;
    void                       *data;
    pcre2_general_context      *general;
    char                       *err;
    size_t                      size;
    uint32_t                    item;
    const corral_condition_t   *in;
} corral_match_compile_t;


#define corral_match_row(word, text)  #word,

static const char  *corral_match_fields[] = {
    CORRAL_MATCH_FIELDS(corral_match_row)
    CORRAL_MATCH_PREFIXES(corral_match_row)
};


static int corral_match_condition(corral_match_compile_t *c,
    corral_match_condition_t *out);
static int corral_match_words(corral_match_compile_t *c,
    corral_match_condition_t *out);
static int corral_match_split(corral_match_compile_t *c,
    corral_match_condition_t *out);
static int corral_match_copy(corral_match_compile_t *c, corral_str_t *out,
    const char *data, size_t len, int fold);
static int corral_match_special(corral_match_compile_t *c,
    corral_match_condition_t *out);
static int corral_match_regex(corral_match_compile_t *c,
    corral_match_condition_t *out);
static int corral_match_cidrs(corral_match_compile_t *c,
    corral_match_condition_t *out);
static int corral_match_cidr(const corral_str_t *text,
    corral_match_range_t *range);


static int __attribute__((format(printf, 2, 3)))
corral_match_refuse(corral_match_compile_t *c, const char *fmt, ...)
{
    size_t   len;
    va_list  args;

    len = (size_t) snprintf(c->err, c->size, "condition %" PRIu32 " on "
                            "\"%.64s\": ", c->item + 1, c->in->field.data);

    va_start(args, fmt);

    if (len < c->size) {
        vsnprintf(c->err + len, c->size - len, fmt, args);
    }

    va_end(args);

    return -1;
}


static void *
corral_match_malloc(size_t size, void *data)
{
    corral_match_compile_t  *c;

    c = data;

    return c->alloc(c->data, size);
}


/* what is given back while a pattern is compiled goes with the rule */

static void
corral_match_free(void *p, void *data)
{
    (void) p;
    (void) data;
}


/*
 * Takes the name of a field apart: "header.x-tier" is CORRAL_MATCH_header and
 * "x-tier".  Returns 0, or -1 if there is no such field; name points into text.
 */

int
corral_match_field(const corral_str_t *text, corral_match_field_e *field,
    corral_str_t *name)
{
    int     i;
    size_t  len;

    for (i = 0; i < CORRAL_MATCH_NUMBER; i++) {
        len = strlen(corral_match_fields[i]);

        if (text->len < len
            || memcmp(text->data, corral_match_fields[i], len) != 0)
        {
            continue;
        }

        if (i < CORRAL_MATCH_header && text->len == len) {
            name->len = 0;
            name->data = text->data + len;

        } else if (i >= CORRAL_MATCH_header && text->len > len + 1
                   && text->data[len] == '.')
        {
            name->len = text->len - len - 1;
            name->data = text->data + len + 1;

        } else {
            continue;
        }

        *field = i;

        return 0;
    }

    return -1;
}


/*
 * Compiles the conditions of a rule.  Returns NULL and a sentence in err
 * (CORRAL_MATCH_ERROR bytes fit any) if one of them is wrong or there is no
 * memory.  rule is not needed any more afterwards.
 */

corral_match_rule_t *
corral_match_compile(const corral_rule_t *rule, corral_decode_alloc_pt alloc,
    void *data, char *err, size_t size)
{
    corral_match_rule_t     *out;
    corral_match_compile_t   c;

    snprintf(err, size, "no memory");

    memset(&c, 0, sizeof(c));
    c.alloc = alloc;
    c.data = data;
    c.err = err;
    c.size = size;

    out = alloc(data, sizeof(*out));
    if (out == NULL) {
        return NULL;
    }

    memset(out, 0, sizeof(*out));

    if (corral_match_copy(&c, &out->name, rule->name.data, rule->name.len, 0)
        != 0)
    {
        return NULL;
    }

    if (rule->conditions.n == 0) {
        return out;
    }

    out->conditions = alloc(data, rule->conditions.n
                                  * sizeof(*out->conditions));
    if (out->conditions == NULL) {
        return NULL;
    }

    memset(out->conditions, 0, rule->conditions.n * sizeof(*out->conditions));

    for ( /* void */ ; c.item < rule->conditions.n; c.item++) {
        c.in = &rule->conditions.items[c.item];

        if (corral_match_condition(&c, &out->conditions[out->n++]) != 0) {
            return NULL;
        }
    }

    return out;
}


static int
corral_match_condition(corral_match_compile_t *c,
    corral_match_condition_t *out)
{
    size_t        i;
    corral_str_t  name;

    if (corral_match_field(&c->in->field, &out->field, &name) != 0) {
        return corral_match_refuse(c, "there is no such field; it can be: path"
                                   " host method client_ip client_port "
                                   "user_agent subprotocol tenant service "
                                   "header.NAME query.NAME cookie.NAME "
                                   "claim.NAME request.NAME");
    }

    for (i = 0; i < name.len; i++) {
        if ((unsigned char) name.data[i] <= ' ' || name.data[i] == 0x7f) {
            return corral_match_refuse(c, "a name has no blanks and no control"
                                       " characters");
        }
    }

    /* of a header the case never counts; a request has both */

    if (corral_match_copy(c, &out->name, name.data, name.len,
                          out->field == CORRAL_MATCH_header)
        != 0)
    {
        return -1;
    }

    out->operator = c->in->operator;
    out->fold = !c->in->case_sensitive;

    switch (out->operator) {

    case CORRAL_OPERATOR_not_equals:
        out->operator = CORRAL_OPERATOR_equals;
        out->negative = 1;
        break;

    case CORRAL_OPERATOR_not_contains:
        out->operator = CORRAL_OPERATOR_contains;
        out->negative = 1;
        break;

    case CORRAL_OPERATOR_not_in_list:
        out->operator = CORRAL_OPERATOR_in_list;
        out->negative = 1;
        break;

    default:
        break;
    }

    if (corral_match_words(c, out) != 0) {
        return -1;
    }

    return corral_match_special(c, out);
}


/* the words that the field is compared with */

static int
corral_match_words(corral_match_compile_t *c, corral_match_condition_t *out)
{
    uint32_t             i;
    const corral_strs_t  *values;

    values = &c->in->values;

    if (out->operator != CORRAL_OPERATOR_in_list
        && out->operator != CORRAL_OPERATOR_ip_in_range)
    {
        if (values->n) {
            return corral_match_refuse(c, "\"values\" are for in_list, "
                                       "not_in_list and ip_in_range: here it "
                                       "is \"value\"");
        }

        out->words.items = c->alloc(c->data, sizeof(corral_str_t));
        out->words.n = 1;

        return out->words.items == NULL
               || corral_match_copy(c, &out->words.items[0], c->in->value.data,
                                    c->in->value.len, out->fold)
                  != 0
               ? -1 : 0;
    }

    if (values->n == 0) {
        return corral_match_split(c, out);
    }

    if (c->in->value.len) {
        return corral_match_refuse(c, "give \"value\" or \"values\"");
    }

    out->words.items = c->alloc(c->data, values->n * sizeof(corral_str_t));
    if (out->words.items == NULL) {
        return -1;
    }

    for (i = 0; i < values->n; i++) {
        if (corral_match_copy(c, &out->words.items[i], values->items[i].data,
                              values->items[i].len, out->fold)
            != 0)
        {
            return -1;
        }
    }

    out->words.n = values->n;

    return 0;
}


/* a list in one string: "a, b,c" */

static int
corral_match_split(corral_match_compile_t *c, corral_match_condition_t *out)
{
    size_t       i, from, to, len;
    uint32_t     n;
    const char  *text;

    text = c->in->value.data;
    len = c->in->value.len;

    for (i = 0, n = 1; i < len; i++) {
        n += text[i] == ',';
    }

    out->words.items = c->alloc(c->data, n * sizeof(corral_str_t));
    if (out->words.items == NULL) {
        return -1;
    }

    for (from = 0; from <= len; from = i + 1) {

        for (i = from; i < len && text[i] != ','; i++) { /* void */ }

        for (to = i; from < to && text[from] == ' '; from++) { /* void */ }

        for ( /* void */ ; to > from && text[to - 1] == ' '; to--) {
            /* void */
        }

        if (from == to) {
            return corral_match_refuse(c, "the list \"%.64s\" has an empty "
                                       "word", text);
        }

        if (corral_match_copy(c, &out->words.items[out->words.n++],
                              text + from, to - from, out->fold)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
corral_match_copy(corral_match_compile_t *c, corral_str_t *out,
    const char *data, size_t len, int fold)
{
    size_t  i;

    out->data = c->alloc(c->data, len + 1);
    if (out->data == NULL) {
        return -1;
    }

    for (i = 0; i < len; i++) {
        out->data[i] = fold ? (char) corral_match_lower(data[i]) : data[i];
    }

    out->data[len] = '\0';
    out->len = len;

    return 0;
}


/* what an operator needs beside its words */

static int
corral_match_special(corral_match_compile_t *c, corral_match_condition_t *out)
{
    const corral_str_t  *value;

    value = &c->in->value;

    switch (out->operator) {

    case CORRAL_OPERATOR_contains:
    case CORRAL_OPERATOR_starts_with:
    case CORRAL_OPERATOR_ends_with:
        return value->len ? 0 : corral_match_refuse(c, "\"value\" is empty: "
                                                    "that holds always");

    case CORRAL_OPERATOR_regex_match:
        return corral_match_regex(c, out);

    case CORRAL_OPERATOR_ip_in_range:
        return corral_match_cidrs(c, out);

    case CORRAL_OPERATOR_exists:
        out->negative = strcmp(value->data, "false") == 0;

        if (value->len && !out->negative && strcmp(value->data, "true") != 0) {
            return corral_match_refuse(c, "\"value\" is \"%.64s\", of exists "
                                       "it can be: true false, or nothing",
                                       value->data);
        }

        return 0;

    case CORRAL_OPERATOR_greater_than:
    case CORRAL_OPERATOR_greater_or_equal:
    case CORRAL_OPERATOR_less_than:
    case CORRAL_OPERATOR_less_or_equal:
        if (!corral_match_number(value, &out->number)) {
            return corral_match_refuse(c, "\"value\" is \"%.64s\", it must be "
                                       "a number", value->data);
        }

        return 0;

    default:
        return 0;
    }
}


/* bytes, not characters: text of clients need not be UTF-8 */

static int
corral_match_regex(corral_match_compile_t *c, corral_match_condition_t *out)
{
    int                      code;
    size_t                   at;
    uint32_t                 options;
    unsigned char            text[160];
    pcre2_compile_context   *context;

    if (c->in->value.len == 0 || c->in->value.len > CORRAL_REGEX_MAX) {
        return corral_match_refuse(c, "a pattern has from 1 to %d bytes, not "
                                   "%zu", CORRAL_REGEX_MAX, c->in->value.len);
    }

    if (c->general == NULL) {
        c->general = pcre2_general_context_create(corral_match_malloc,
                                                  corral_match_free, c);
    }

    context = c->general ? pcre2_compile_context_create(c->general) : NULL;

    if (context == NULL) {
        return -1;
    }

    (void) pcre2_set_parens_nest_limit(context, 50);

    options = PCRE2_NEVER_UTF|PCRE2_NEVER_UCP|PCRE2_NEVER_BACKSLASH_C
              |PCRE2_DOLLAR_ENDONLY;

    if (out->fold) {
        options |= PCRE2_CASELESS;
    }

    out->code = pcre2_compile((const unsigned char *) c->in->value.data,
                              c->in->value.len, options, &code, &at, context);

    if (out->code == NULL) {
        (void) pcre2_get_error_message(code, text, sizeof(text));
        return corral_match_refuse(c, "the pattern \"%.100s\" is wrong at byte"
                                   " %zu: %s", c->in->value.data, at,
                                   (char *) text);
    }

    return 0;
}


static int
corral_match_cidrs(corral_match_compile_t *c, corral_match_condition_t *out)
{
    uint32_t  i;

    out->ranges = c->alloc(c->data, out->words.n * sizeof(*out->ranges));
    if (out->ranges == NULL) {
        return -1;
    }

    for (i = 0; i < out->words.n; i++) {
        if (!corral_match_cidr(&out->words.items[i], &out->ranges[i])) {
            return corral_match_refuse(c, "\"%.64s\" is not a range such as "
                                       "10.0.0.0/8, 2001:db8::/32 or an "
                                       "address", out->words.items[i].data);
        }
    }

    return 0;
}


static int
corral_match_cidr(const corral_str_t *text, corral_match_range_t *range)
{
    size_t       i, len;
    uint32_t     bits, max;
    const char  *slash;

    slash = memchr(text->data, '/', text->len);
    len = slash ? (size_t) (slash - text->data) : text->len;

    if (!corral_match_address(text->data, len, range->address)) {
        return 0;
    }

    max = memchr(text->data, ':', len) ? 128 : 32;
    bits = max;

    if (slash) {
        i = len + 1;

        if (i == text->len || text->len - i > 3
            || strspn(text->data + i, "0123456789") != text->len - i)
        {
            return 0;
        }

        bits = (uint32_t) strtoul(text->data + i, NULL, 10);
    }

    if (bits > max) {
        return 0;
    }

    range->bits = bits + (128 - max);

    /* 10.1.2.3/8 is most often a slip, and has only one meaning */

    for (i = 0; i < 16; i++) {
        if (range->bits < i * 8 + 8) {
            range->address[i] &= range->bits <= i * 8 ? 0
                                 : 0xff << (8 - (range->bits - i * 8));
        }
    }

    return 1;
}
