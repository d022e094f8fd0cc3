/* links: controlplane/model/patch.c controlplane/model/diff.c */
/* links: controlplane/model/doc.c controlplane/base/clock.c */
/* links: ngx_module/common/corral_duration.c -ljansson */

/* JSON Merge Patch: the table of RFC 7396 appendix A; and differences. */


#include <stdlib.h>

#include <corral_schema.h>

#include "../../controlplane/model/diff.h"
#include "../../controlplane/model/patch.h"

#include "unit.h"


static const char  *patch_table[][3] = {
    { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
    { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
    { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
    { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
    { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
    { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
    { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
      "{\"a\":{\"b\":\"d\"}}" },
    { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
    { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
    { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
    { "{\"a\":\"foo\"}", "null", "null" },
    { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
    { "{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}" },
    { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
    { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
};


int
main(void)
{
    char    *text;
    size_t   i;
    json_t  *target, *patch, *want, *got, *a, *b, *names;

    for (i = 0; i < sizeof(patch_table) / sizeof(patch_table[0]); i++) {
        target = json_loads(patch_table[i][0], JSON_DECODE_ANY, NULL);
        patch = json_loads(patch_table[i][1], JSON_DECODE_ANY, NULL);
        want = json_loads(patch_table[i][2], JSON_DECODE_ANY, NULL);

        got = corrald_patch_merge(target, patch);
        text = json_dumps(got, JSON_ENCODE_ANY|JSON_COMPACT);

        ok(got && json_equal(got, want), patch_table[i][1]);
        printf("# %s\n", text ? text : "nothing");

        free(text);
        text = json_dumps(target, JSON_ENCODE_ANY|JSON_COMPACT);
        is_str(text, patch_table[i][0], "the target is not touched");
        free(text);

        json_decref(target);
        json_decref(patch);
        json_decref(want);
        json_decref(got);
    }

    a = json_loads("{\"name\":\"a\",\"command\":[\"x\"],\"tags\":[]}", 0,
                   NULL);
    b = json_loads("{\"name\":\"a\",\"command\":[\"y\"],\"weight\":1}", 0,
                   NULL);

    names = corrald_diff_names(CORRALD_SERVICE, a, b);
    is_int((int64_t) json_array_size(names), 2, "command and tags differ");
    ok(corrald_diff_flags(CORRALD_SERVICE, a, b) & CORRAL_P,
       "another command is another process");

    json_object_set(b, "command", json_object_get(a, "command"));
    ok(!(corrald_diff_flags(CORRALD_SERVICE, a, b) & CORRAL_P),
       "other tags are not");

    json_decref(names);
    json_decref(a);
    json_decref(b);

    return done_testing();
}
