
/*
 * Routing rules, compiled: does a request match one, and which of many is the
 * first.  See corral_match_compile.c, corral_match.c and corral_match_index.c.
 */


#ifndef _CORRAL_MATCH_H_INCLUDED_
#define _CORRAL_MATCH_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "corral_decode.h"


#define CORRAL_MATCH_ERROR   512        /* a size that fits any error */
#define CORRAL_MATCH_VALUES  32         /* looked at of one field */

/* what one regular expression may cost on one value: about half a ms, 256 kB */

#define CORRAL_MATCH_LIMIT   20000      /* calls of PCRE2's match() */
#define CORRAL_MATCH_DEPTH   1000       /* nested backtracks */
#define CORRAL_MATCH_HEAP    256        /* kB */


#define corral_match_field_word(word, text)  CORRAL_MATCH_##word,

/* the fields, and behind them those with a name: see corral_schema.h */

typedef enum {
    CORRAL_MATCH_FIELDS(corral_match_field_word)
    CORRAL_MATCH_PREFIXES(corral_match_field_word)
    CORRAL_MATCH_NUMBER
} corral_match_field_e;


typedef struct corral_match_rule_s     corral_match_rule_t;
typedef struct corral_match_index_s    corral_match_index_t;
typedef struct corral_match_scratch_s  corral_match_scratch_t;


/*
 * The request.  get returns 1 and the i-th value of a field, or 0 if it has no
 * such value; name is empty for fields without one.  The value is looked at
 * before the next call.  scratch is what regular expressions work in.  accept
 * has the last word on a rule that the index has found; NULL: any will do.
 */

typedef struct {
    int                     (*get)(void *data, corral_match_field_e field,
                                   const corral_str_t *name, uint32_t i,
                                   corral_str_t *value);
    int                     (*accept)(void *data, void *owner);
    void                     *data;
    corral_match_scratch_t   *scratch;
} corral_match_view_t;


int corral_match_field(const corral_str_t *text, corral_match_field_e *field,
    corral_str_t *name);

corral_match_rule_t *corral_match_compile(const corral_rule_t *rule,
    corral_decode_alloc_pt alloc, void *data, char *err, size_t size);
int corral_match_test(corral_match_rule_t *rule,
    const corral_match_view_t *view, uint32_t *failed);
int corral_match_order(int64_t priority1, const corral_str_t *name1,
    int64_t priority2, const corral_str_t *name2);

corral_match_scratch_t *corral_match_scratch_create(
    corral_decode_alloc_pt alloc, void *data);
void corral_match_scratch_free(corral_match_scratch_t *scratch);
const corral_str_t *corral_match_limited(corral_match_scratch_t *scratch);

corral_match_index_t *corral_match_index_create(uint32_t n,
    corral_decode_alloc_pt alloc, void *data);
int corral_match_index_add(corral_match_index_t *index,
    corral_match_rule_t *rule, void *owner);
void *corral_match_index_find(const corral_match_index_t *index,
    const corral_match_view_t *view);


/* a letter without its case, as bytes go */

static inline int
corral_match_lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}


/* for corral_match_index.c alone */

typedef struct {
    corral_match_field_e      field;
    const corral_str_t       *name;
    const corral_strs_t      *words;     /* any of these, or it fails */
} corral_match_key_t;

int corral_match_key(const corral_match_rule_t *rule, uint32_t condition,
    corral_match_key_t *key);


#endif /* _CORRAL_MATCH_H_INCLUDED_ */
