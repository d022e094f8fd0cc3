
/*
 * One routing rule, compiled from its document: fields become numbers, patterns
 * become PCRE2 programs, CIDRs become bits, words lose their case where it does
 * not count.  A rule that does not compile is refused whole, with a sentence;
 * corrald compiles by the same code before it stores a rule, so that what it
 * accepts no gateway refuses.
 *
 * Patterns are those of an operator, the text is a stranger's: each match has
 * limits of calls, depth and memory.  One that hits a limit does not match, and
 * the scratch remembers the rule.
 *
 * Pure: no I/O, no clock, no globals.  Everything of a rule comes from the
 * caller's allocator, also PCRE2's memory, and lives as long as he wishes.
 * A scratch belongs to one thread.
 */


#include "corral_match.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH  8
#include <pcre2.h>


#define CORRAL_MATCH_NUMBER_MAX  64     /* bytes of a number or an address */


/* addresses of both families are 128 bits: ::ffff:0:0/96 is IPv4 */

typedef struct {
    uint8_t                 address[16];
    uint32_t                bits;
} corral_match_range_t;


typedef struct {
    corral_match_field_e    field;
    corral_str_t            name;       /* of a header ..., or empty */
    corral_operator_e       operator;   /* never one of "not" */
    int                     negative;   /* the opposite is asked for */
    int                     fold;       /* case does not count */
    corral_strs_t           words;      /* in lower case if fold */
    double                  number;
    pcre2_code             *code;
    corral_match_range_t   *ranges;     /* words.n of them */
} corral_match_condition_t;


struct corral_match_rule_s {
    uint32_t                    n;
    corral_match_condition_t   *conditions;
    corral_str_t                name;
    int                         limited;    /* it was told already */
};


struct corral_match_scratch_s {
    pcre2_match_data           *data;
    pcre2_match_context        *context;
    corral_match_rule_t        *limited;
};


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
static int corral_match_address(const char *data, size_t len,
    uint8_t address[16]);
static int corral_match_number(const corral_str_t *text, double *number);
static int corral_match_holds(corral_match_rule_t *rule,
    const corral_match_condition_t *c, const corral_match_view_t *view,
    const corral_str_t *value);
static int corral_match_regex_holds(corral_match_rule_t *rule,
    const corral_match_condition_t *c, const corral_match_view_t *view,
    const corral_str_t *value);


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


static int
corral_match_address(const char *data, size_t len, uint8_t address[16])
{
    char  text[CORRAL_MATCH_NUMBER_MAX];

    if (len >= sizeof(text)) {
        return 0;
    }

    memcpy(text, data, len);
    text[len] = '\0';

    if (inet_pton(AF_INET, text, address + 12) == 1) {
        memset(address, 0, 10);
        memset(address + 10, 0xff, 2);
        return 1;
    }

    return inet_pton(AF_INET6, text, address) == 1;
}


/* the whole text is a finite decimal number */

static int
corral_match_number(const corral_str_t *value, double *number)
{
    char  text[CORRAL_MATCH_NUMBER_MAX], *end;

    if (value->len == 0 || value->len >= sizeof(text)) {
        return 0;
    }

    memcpy(text, value->data, value->len);
    text[value->len] = '\0';

    if (strspn(text, "0123456789.+-eE") != value->len) {
        return 0;
    }

    *number = strtod(text, &end);

    return *end == '\0' && isfinite(*number);
}


/*
 * Returns whether all conditions hold; if not, *failed is the first that does
 * not (failed may be NULL).
 */

int
corral_match_test(corral_match_rule_t *rule, const corral_match_view_t *view,
    uint32_t *failed)
{
    int                        holds;
    uint32_t                   i, n;
    corral_str_t               value;
    corral_match_condition_t  *c;

    for (n = 0; n < rule->n; n++) {
        c = &rule->conditions[n];
        holds = 0;

        for (i = 0; i < CORRAL_MATCH_VALUES && !holds; i++) {

            if (!view->get(view->data, c->field, &c->name, i, &value)) {
                break;
            }

            holds = corral_match_holds(rule, c, view, &value);
        }

        if (holds == c->negative) {
            if (failed) {
                *failed = n;
            }

            return 0;
        }
    }

    return 1;
}


int
corral_match_lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}


static int
corral_match_equal(const corral_match_condition_t *c, const char *data,
    const corral_str_t *word)
{
    size_t  i;

    if (!c->fold) {
        return memcmp(data, word->data, word->len) == 0;
    }

    for (i = 0; i < word->len; i++) {
        if (corral_match_lower(data[i]) != word->data[i]) {
            return 0;
        }
    }

    return 1;
}


static int
corral_match_contains(const corral_match_condition_t *c,
    const corral_str_t *value, const corral_str_t *word)
{
    size_t  i;

    for (i = 0; i + word->len <= value->len; i++) {
        if (corral_match_equal(c, value->data + i, word)) {
            return 1;
        }
    }

    return 0;
}


static int
corral_match_in_list(const corral_match_condition_t *c,
    const corral_str_t *value)
{
    uint32_t  i;

    for (i = 0; i < c->words.n; i++) {
        if (c->words.items[i].len == value->len
            && corral_match_equal(c, value->data, &c->words.items[i]))
        {
            return 1;
        }
    }

    return 0;
}


static int
corral_match_in_range(const corral_match_condition_t *c,
    const corral_str_t *value)
{
    uint8_t                address[16], mask;
    uint32_t               i, n, left;
    corral_match_range_t  *range;

    if (!corral_match_address(value->data, value->len, address)) {
        return 0;
    }

    for (i = 0; i < c->words.n; i++) {
        range = &c->ranges[i];
        n = range->bits / 8;
        left = range->bits % 8;
        mask = (uint8_t) (0xff << (8 - left));

        if (memcmp(address, range->address, n) == 0
            && (left == 0 || (address[n] & mask) == range->address[n]))
        {
            return 1;
        }
    }

    return 0;
}


/* does one value of the field satisfy the operator? */

static int
corral_match_holds(corral_match_rule_t *rule,
    const corral_match_condition_t *c, const corral_match_view_t *view,
    const corral_str_t *value)
{
    double               number;
    const corral_str_t  *word;

    word = c->words.items;

    switch (c->operator) {

    case CORRAL_OPERATOR_equals:
        return value->len == word->len
               && corral_match_equal(c, value->data, word);

    case CORRAL_OPERATOR_contains:
        return corral_match_contains(c, value, word);

    case CORRAL_OPERATOR_starts_with:
        return value->len >= word->len
               && corral_match_equal(c, value->data, word);

    case CORRAL_OPERATOR_ends_with:
        return value->len >= word->len
               && corral_match_equal(c, value->data + value->len - word->len,
                                     word);

    case CORRAL_OPERATOR_regex_match:
        return corral_match_regex_holds(rule, c, view, value);

    case CORRAL_OPERATOR_in_list:
        return corral_match_in_list(c, value);

    case CORRAL_OPERATOR_ip_in_range:
        return corral_match_in_range(c, value);

    case CORRAL_OPERATOR_exists:
        return 1;

    default: /* comparisons of numbers */
        break;
    }

    if (!corral_match_number(value, &number)) {
        return 0;
    }

    switch (c->operator) {

    case CORRAL_OPERATOR_greater_than:
        return number > c->number;

    case CORRAL_OPERATOR_greater_or_equal:
        return number >= c->number;

    case CORRAL_OPERATOR_less_than:
        return number < c->number;

    default: /* CORRAL_OPERATOR_less_or_equal */
        return number <= c->number;
    }
}


static int
corral_match_regex_holds(corral_match_rule_t *rule,
    const corral_match_condition_t *c, const corral_match_view_t *view,
    const corral_str_t *value)
{
    int                      rc;
    corral_match_scratch_t  *scratch;

    scratch = view->scratch;

    rc = pcre2_match(c->code, (const unsigned char *) value->data, value->len,
                     0, 0, scratch->data, scratch->context);

    if (rc >= 0) {
        return 1;
    }

    if (rc != PCRE2_ERROR_NOMATCH && !rule->limited) {
        rule->limited = 1;
        scratch->limited = rule;
    }

    return 0;
}


/*
 * Makes the scratch of one thread; NULL if there is no memory.  PCRE2 takes
 * what it needs while it matches from malloc(), up to CORRAL_MATCH_HEAP.
 */

corral_match_scratch_t *
corral_match_scratch_create(corral_decode_alloc_pt alloc, void *data)
{
    corral_match_scratch_t  *scratch;

    scratch = alloc(data, sizeof(*scratch));
    if (scratch == NULL) {
        return NULL;
    }

    scratch->limited = NULL;
    scratch->data = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);

    if (scratch->data == NULL || scratch->context == NULL) {
        corral_match_scratch_free(scratch);
        return NULL;
    }

    (void) pcre2_set_match_limit(scratch->context, CORRAL_MATCH_LIMIT);
    (void) pcre2_set_depth_limit(scratch->context, CORRAL_MATCH_DEPTH);
    (void) pcre2_set_heap_limit(scratch->context, CORRAL_MATCH_HEAP);

    return scratch;
}


/* Gives PCRE2's memory back; the scratch itself is the allocator's. */

void
corral_match_scratch_free(corral_match_scratch_t *scratch)
{
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
}


/*
 * The name of a rule whose pattern hit a limit since the last call, or NULL;
 * each rule is named once.
 */

const corral_str_t *
corral_match_limited(corral_match_scratch_t *scratch)
{
    corral_match_rule_t  *rule;

    rule = scratch->limited;
    scratch->limited = NULL;

    return rule ? &rule->name : NULL;
}


/* The order of rules: by priority, then by name.  Below, 0 or above 0. */

int
corral_match_order(int64_t priority1, const corral_str_t *name1,
    int64_t priority2, const corral_str_t *name2)
{
    int  rc;

    if (priority1 != priority2) {
        return priority1 < priority2 ? -1 : 1;
    }

    rc = memcmp(name1->data, name2->data,
                name1->len < name2->len ? name1->len : name2->len);

    return rc ? rc : (name1->len > name2->len) - (name1->len < name2->len);
}


/*
 * Whether the condition asks for one of a few exact words; the index finds the
 * rule by them.  Returns 1 or 0, or -1 behind the last condition.
 */

int
corral_match_key(const corral_match_rule_t *rule, uint32_t condition,
    corral_match_key_t *key)
{
    corral_match_condition_t  *c;

    if (condition >= rule->n) {
        return -1;
    }

    c = &rule->conditions[condition];

    key->field = c->field;
    key->name = &c->name;
    key->words = &c->words;

    return !c->negative && (c->operator == CORRAL_OPERATOR_equals
                            || c->operator == CORRAL_OPERATOR_in_list);
}
