
/*
 * JSON Merge Patch (RFC 7396): members of the patch replace those of the
 * target, null takes one away, objects are merged.  jansson's own recursive
 * update does all of it but the null.
 *
 * Pure: no I/O, no clock, no globals.
 */


#include "patch.h"


/* Deeper patches are refused: corrald_check_parse() allows no more. */

#define CORRALD_PATCH_DEPTH  64


static json_t *corrald_patch_level(const json_t *target, const json_t *patch,
    int depth);


/*
 * Returns a new value, which shares nothing with the target or the patch;
 * NULL when memory is short or the patch is too deep.
 */

json_t *
corrald_patch_merge(const json_t *target, const json_t *patch)
{
    return corrald_patch_level(target, patch, 0);
}


static json_t *
corrald_patch_level(const json_t *target, const json_t *patch, int depth)
{
    json_t      *out, *value, *member;
    const char  *key;

    if (!json_is_object(patch)) {
        return json_deep_copy(patch);
    }

    if (depth == CORRALD_PATCH_DEPTH) {
        return NULL;
    }

    out = json_is_object(target) ? json_deep_copy(target) : json_object();

    json_object_foreach((json_t *) patch, key, value) {

        if (out == NULL) {
            return NULL;
        }

        if (json_is_null(value)) {
            json_object_del(out, key);
            continue;
        }

        member = corrald_patch_level(json_object_get(out, key), value,
                                     depth + 1);

        if (member == NULL || json_object_set_new(out, key, member) != 0) {
            json_decref(out);
            return NULL;
        }
    }

    return out;
}
