
/*
 * Turns JSON of a stranger into a checked document, or into one sentence and
 * a list of what is wrong with it.  See check.c.
 */


#ifndef _CORRALD_CHECK_H_INCLUDED_
#define _CORRALD_CHECK_H_INCLUDED_


#include <stddef.h>

#include <jansson.h>

#include "doc.h"


/* how a request is read */

#define CORRALD_CHECK_CREATE  0x01   /* required fields must be there */
#define CORRALD_CHECK_COMPAT  0x02   /* unknown and foreign fields: ignored */


typedef struct {
    json_t       *errors;            /* array of {pointer, detail} */
    json_t       *ignored;           /* array of names */
    char          sentence[512];     /* the first error */
} corrald_check_t;


void corrald_check_init(corrald_check_t *c);
void corrald_check_free(corrald_check_t *c);
int corrald_check_error(corrald_check_t *c, const char *pointer,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Members of a request: known, of the right type, within bounds, and of an
 * owner in the mask.  current is the document as it is, or NULL.  Returns 0,
 * or -1 with errors.  in is changed: what is to be ignored is taken out.
 */

int corrald_check_input(corrald_check_t *c, corrald_kind_e kind, json_t *in,
    const json_t *current, unsigned owners, unsigned flags)
    __attribute__((warn_unused_result));

/*
 * The type and bounds of one value; pointer is its place, as in "/name".
 */

int corrald_check_value(corrald_check_t *c, const corrald_field_t *f,
    const json_t *value, const char *pointer)
    __attribute__((warn_unused_result));

/* A whole document: all members valid, and valid together. */

int corrald_check_document(corrald_check_t *c, corrald_kind_e kind,
    const json_t *doc) __attribute__((warn_unused_result));

/* Adds the default of each member that is missing; also in probes. */

int corrald_check_fill(corrald_kind_e kind, json_t *doc)
    __attribute__((warn_unused_result));

/* The address of an instance: unix:/path, 1.2.3.4:port or [::1]:port. */

int corrald_check_address(const char *address);

/* Parses text: one object, no duplicate members, at most 32 levels deep. */

json_t *corrald_check_parse(corrald_check_t *c, const char *text, size_t len);


#endif /* _CORRALD_CHECK_H_INCLUDED_ */
