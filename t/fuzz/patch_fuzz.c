/* links: controlplane/model/patch.c controlplane/api/uri.c -ljansson */

/*
 * A patch of any bytes on a target of any bytes (a newline between): the
 * result has nothing of null, twice is the same as once, and the target is not
 * touched.  The input is also taken as a query and as a path.
 */


#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../controlplane/api/uri.h"
#include "../../controlplane/model/patch.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
fuzz_target(const uint8_t *data, size_t size)
{
    int     n;
    char   *text, params[CORRALD_URI_PARAMS][CORRALD_URI_PARAM_SIZE];
    json_t *query;

    text = malloc(size + 1);

    if (text == NULL) {
        return;
    }

    memcpy(text, data, size);
    text[size] = '\0';

    query = corrald_uri_query(text);
    json_decref(query);

    n = corrald_uri_match("/a/{x}/b/{y}/{z}/{w}", text, params);
    fuzz_check(n >= -1 && n <= 1);

    if (n == 1) {
        fuzz_check(strlen(params[0]) < CORRALD_URI_PARAM_SIZE);
    }

    free(text);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t         *target, *patch, *copy, *once, *twice, *value;
    const char     *key;
    const uint8_t  *split;

    fuzz_target(data, size);

    split = memchr(data, '\n', size);

    if (split == NULL) {
        return 0;
    }

    target = json_loadb((const char *) data, (size_t) (split - data),
                        JSON_DECODE_ANY, NULL);
    patch = json_loadb((const char *) split + 1,
                       size - (size_t) (split - data) - 1, JSON_DECODE_ANY,
                       NULL);

    if (patch == NULL) {
        json_decref(target);
        return 0;
    }

    copy = target ? json_deep_copy(target) : NULL;
    once = corrald_patch_merge(target, patch);

    fuzz_check(target == NULL || json_equal(target, copy));

    if (once) {
        twice = corrald_patch_merge(once, patch);
        fuzz_check(twice && json_equal(once, twice));
        json_decref(twice);

        json_object_foreach(patch, key, value) {
            fuzz_check((json_object_get(once, key) == NULL)
                       == json_is_null(value));
        }
    }

    json_decref(once);
    json_decref(copy);
    json_decref(patch);
    json_decref(target);

    return 0;
}
