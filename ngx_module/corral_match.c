
/*
 * One routing rule, compiled, on one request: do all its conditions hold?  How
 * a rule is compiled is corral_match_compile.c's affair.
 *
 * Patterns are those of an operator, the text is a stranger's: each match has
 * limits of calls, depth and memory.  One that hits a limit does not match, and
 * the scratch remembers the rule.
 *
 * Pure: no I/O, no clock, no globals.  A scratch belongs to one thread.
 */


#include "corral_match_rule.h"

#include <string.h>


struct corral_match_scratch_s {
    pcre2_match_data           *data;
    pcre2_match_context        *context;
    corral_match_rule_t        *limited;
};


static int corral_match_holds(corral_match_rule_t *rule,
    const corral_match_condition_t *c, const corral_match_view_t *view,
    const corral_str_t *value);
static int corral_match_regex_holds(corral_match_rule_t *rule,
    const corral_match_condition_t *c, const corral_match_view_t *view,
    const corral_str_t *value);


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
