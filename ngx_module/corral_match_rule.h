
/*
 * A compiled rule, for corral_match.c and corral_match_compile.c alone.
 */


#ifndef _CORRAL_MATCH_RULE_H_INCLUDED_
#define _CORRAL_MATCH_RULE_H_INCLUDED_


#include "corral_match.h"

#include <arpa/inet.h>
#include <math.h>
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


/* an address of either family, in a rule or a request; 0: it is none */

static inline int
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


/* a finite decimal number, and nothing beside it; 0: it is none */

static inline int
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


#endif /* _CORRAL_MATCH_RULE_H_INCLUDED_ */
