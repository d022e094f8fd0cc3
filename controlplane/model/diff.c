
/*
 * Which fields differ between two documents of a kind, by the schema's table.
 *
 * Pure: no I/O, no clock, no globals.
 */


#include "diff.h"


/* a missing member equals none but a missing one */

static int
corrald_diff_equal(const json_t *a, const json_t *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }

    return json_equal(a, b);
}


/* Returns a new array of the names of fields that differ. */

json_t *
corrald_diff_names(corrald_kind_e kind, const json_t *before,
    const json_t *after)
{
    json_t                 *names;
    const corrald_field_t  *f;

    names = json_array();

    for (f = corrald_doc_fields(kind); f->name; f++) {
        if (!corrald_diff_equal(json_object_get(before, f->name),
                                json_object_get(after, f->name)))
        {
            json_array_append_new(names, json_string(f->name));
        }
    }

    return names;
}


/* Returns the flags (CORRAL_P ...) of all fields that differ, as a mask. */

unsigned
corrald_diff_flags(corrald_kind_e kind, const json_t *before,
    const json_t *after)
{
    unsigned                flags;
    const corrald_field_t  *f;

    flags = 0;

    for (f = corrald_doc_fields(kind); f->name; f++) {
        if (!corrald_diff_equal(json_object_get(before, f->name),
                                json_object_get(after, f->name)))
        {
            flags |= f->flags;
        }
    }

    return flags;
}
