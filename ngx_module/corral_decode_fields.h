
/*
 * The fields that gateways read, as tables: for decoding and printing only.
 * See corral_decode_fields.c.
 */


#ifndef _CORRAL_DECODE_FIELDS_H_INCLUDED_
#define _CORRAL_DECODE_FIELDS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_DECODE_WEIGHTS  256    /* members of one object of weights */


typedef enum {
    CORRAL_DECODE_string = 0,
    CORRAL_DECODE_name,
    CORRAL_DECODE_integer,
    CORRAL_DECODE_boolean,
    CORRAL_DECODE_duration,
    CORRAL_DECODE_enumerate,
    CORRAL_DECODE_strings,
    CORRAL_DECODE_map,
    CORRAL_DECODE_probe,
    CORRAL_DECODE_conditions,
    CORRAL_DECODE_weights,
    CORRAL_DECODE_time
} corral_decode_type_e;


/* a row of the schema */

typedef struct {
    const char            *name;
    corral_decode_type_e   type;
    unsigned               flags;
    int64_t                min;
    int64_t                max;
    const char            *values;
    const char            *preset;
} corral_decode_row_t;


/* which row goes where in the struct */

typedef struct {
    unsigned               row;
    size_t                 offset;
} corral_decode_member_t;


typedef struct {
    const char                    *name;
    const char                    *id;       /* name of the field */
    const corral_decode_row_t     *rows;
    const corral_decode_member_t  *members;
    size_t                         n;
    size_t                         size;     /* of the struct */
} corral_decode_kind_t;


extern const corral_decode_kind_t  corral_decode_kinds[];    /* corral_kind_e */
extern const corral_decode_kind_t  corral_decode_condition;  /* of a rule */

const char *corral_decode_fields_words(const corral_decode_row_t *row);
const char *corral_decode_fields_word(const char **words, size_t *len);


#endif /* _CORRAL_DECODE_FIELDS_H_INCLUDED_ */
