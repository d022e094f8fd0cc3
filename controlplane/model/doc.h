
/*
 * Documents: kinds, owners of their fields, the tables of fields, and reading
 * members of a checked document.  See doc.c.
 */


#ifndef _CORRALD_DOC_H_INCLUDED_
#define _CORRALD_DOC_H_INCLUDED_


#include <stdint.h>

#include <jansson.h>


typedef enum {
    CORRALD_SERVICE = 0,
    CORRALD_INSTANCE,
    CORRALD_RULE,
    CORRALD_STORED,                  /* the number of those in the store */

    CORRALD_PROBE = CORRALD_STORED,  /* a part of a service, never alone */
    CORRALD_CONDITION,               /* a part of a rule */
    CORRALD_KINDS
} corrald_kind_e;


/* bytes of what corrald_doc_unique() writes */

#define CORRALD_DOC_UNIQUE  160


/* Whose fields a commit may change: a mask.  The names are the schema's. */

#define CORRALD_OWNER_user        0x01
#define CORRALD_OWNER_scaler      0x02
#define CORRALD_OWNER_schedule    0x04
#define CORRALD_OWNER_deployment  0x08
#define CORRALD_OWNER_node        0x10
#define CORRALD_OWNER_system      0x20

/* an operator at the API may do what our own loops do for him */

#define CORRALD_OWNER_operator    (CORRALD_OWNER_user|CORRALD_OWNER_scaler    \
                                   |CORRALD_OWNER_schedule                    \
                                   |CORRALD_OWNER_deployment)
#define CORRALD_OWNER_all         0x3f


typedef enum {
    CORRALD_TYPE_string = 0,
    CORRALD_TYPE_name,
    CORRALD_TYPE_integer,
    CORRALD_TYPE_boolean,
    CORRALD_TYPE_duration,
    CORRALD_TYPE_enumerate,
    CORRALD_TYPE_strings,
    CORRALD_TYPE_map,
    CORRALD_TYPE_probe,
    CORRALD_TYPE_conditions,
    CORRALD_TYPE_weights,
    CORRALD_TYPE_time
} corrald_type_e;


/* One row of the schema. */

typedef struct {
    const char       *name;
    corrald_type_e    type;
    unsigned          owner;
    unsigned          flags;         /* CORRAL_R and so on */
    int64_t           min;
    int64_t           max;
    const char       *values;        /* of an enumerate, one blank between */
    const char       *preset;        /* the default: JSON text or "" */
    const char       *text;
} corrald_field_t;


/* The rows of a kind; the last has no name. */

const corrald_field_t *corrald_doc_fields(corrald_kind_e kind);
const corrald_field_t *corrald_doc_field(corrald_kind_e kind,
    const char *name);
const char *corrald_doc_kind(corrald_kind_e kind);
int corrald_doc_parse_kind(const char *name);
const char *corrald_doc_unique(corrald_kind_e kind, const char *name,
    char buf[CORRALD_DOC_UNIQUE]);
const char *corrald_doc_id(corrald_kind_e kind);
const char *corrald_doc_type(corrald_type_e type);
const char *corrald_doc_owner(unsigned owner);
const char *corrald_doc_values(const corrald_field_t *field);
int corrald_doc_is_value(const corrald_field_t *field, const char *text);
json_t *corrald_doc_preset(const corrald_field_t *field);

/*
 * Members of a document with its defaults filled in.  A missing member or one
 * of another type reads as "", 0 and NULL.
 */

const char *corrald_doc_str(const json_t *doc, const char *name);
int64_t corrald_doc_int(const json_t *doc, const char *name);
int corrald_doc_bool(const json_t *doc, const char *name);
int64_t corrald_doc_ms(const json_t *doc, const char *name);
int64_t corrald_doc_time(const json_t *doc, const char *name);
int corrald_doc_is_set(const json_t *doc, const char *name);


#endif /* _CORRALD_DOC_H_INCLUDED_ */
