/* links: ngx_module/common/corral_pointer.c -ljansson */

/*
 * JSON pointers in a stream against jansson, which has the tree, and against
 * itself at splits chosen by the input.  Input: seed of the splits, then JSON.
 */


#include "../../ngx_module/common/corral_pointer.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static const char  *fuzz_paths[CORRAL_POINTER_MAX] = {
    "/id", "/a/b", "/a/1", "/0/id"
};


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
fuzz_scan(corral_pointer_scan_t *s, corral_pointer_t *pointers,
    const uint8_t *data, size_t size, uint32_t seed)
{
    size_t  i, n;

    corral_pointer_begin(s);

    for (i = 0; i < CORRAL_POINTER_MAX; i++) {
        fuzz_check(corral_pointer_parse(&pointers[i], fuzz_paths[i],
                                        strlen(fuzz_paths[i])) == 0);
        fuzz_check(corral_pointer_want(s, &pointers[i]) == i);
    }

    for (i = 0; i < size; i += n) {
        seed = seed * 1103515245 + 12345;
        n = seed ? (seed >> 16) % 7 + 1 : size;

        if (n > size - i) {
            n = size - i;
        }

        corral_pointer_feed(s, data + i, n);
    }
}


/* what the pointer says of the tree */

static json_t *
fuzz_get(json_t *doc, unsigned i)
{
    static const char  *names[CORRAL_POINTER_MAX][2] = {
        { "id", NULL }, { "a", "b" }, { "a", "1" }, { "0", "id" }
    };
    unsigned            k;

    for (k = 0; k < 2 && names[i][k]; k++) {
        if (json_is_array(doc)) {
            doc = names[i][k][0] >= '0' && names[i][k][0] <= '9'
                  ? json_array_get(doc, (size_t) (names[i][k][0] - '0'))
                  : NULL;
        } else {
            doc = json_object_get(doc, names[i][k]);
        }
    }

    return doc;
}


static void
fuzz_compare(const corral_pointer_value_t *v, json_t *value)
{
    if (value == NULL) {
        fuzz_check(v->type == CORRAL_POINTER_NONE);

    } else if (json_is_string(value)) {
        fuzz_check(v->type == CORRAL_POINTER_STRING);
        fuzz_check(v->hash
                   == corral_pointer_hash(json_string_value(value),
                                          json_string_length(value)));
    } else if (json_is_null(value)) {
        fuzz_check(v->type == CORRAL_POINTER_NULL);

    } else if (json_is_object(value)) {
        fuzz_check(v->type == CORRAL_POINTER_OBJECT);

    } else if (json_is_array(value)) {
        fuzz_check(v->type == CORRAL_POINTER_ARRAY);

    } else {
        fuzz_check(v->type == CORRAL_POINTER_PLAIN);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                 i;
    json_t                *doc;
    corral_pointer_t       p1[CORRAL_POINTER_MAX], p2[CORRAL_POINTER_MAX];
    corral_pointer_scan_t  whole, cut;

    if (size < 1) {
        return 0;
    }

    fuzz_scan(&whole, p1, data + 1, size - 1, 0);
    fuzz_scan(&cut, p2, data + 1, size - 1, data[0] | 0x100u);

    for (i = 0; i < CORRAL_POINTER_MAX; i++) {
        fuzz_check(whole.values[i].type == cut.values[i].type);
        fuzz_check(whole.values[i].hash == cut.values[i].hash);
    }

    /* jansson loses a NUL behind a number; there is none in JSON */

    if (memchr(data + 1, '\0', size - 1)) {
        return 0;
    }

    doc = json_loadb((const char *) data + 1, size - 1,
                     JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL, NULL);
    if (doc == NULL) {
        return 0;
    }

    for (i = 0; i < CORRAL_POINTER_MAX; i++) {
        fuzz_compare(&whole.values[i], fuzz_get(doc, (unsigned) i));
    }

    json_decref(doc);

    return 0;
}
