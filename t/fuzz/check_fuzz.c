/* links: controlplane/model/route.c ngx_module/corral_match.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/corral_learn.c -lpcre2-8 */
/* links: controlplane/model/check.c controlplane/model/rules.c */
/* links: controlplane/model/doc.c controlplane/model/view.c */
/* links: controlplane/model/state.c controlplane/base/clock.c */
/* links: ngx_module/common/corral_duration.c -ljansson */
/* links: ngx_module/common/corral_pointer.c */

/*
 * Bodies of any bytes.  What is taken as a new service must be a valid
 * document with its defaults, must survive being shown, sent back and written
 * as text; what is refused must say why.
 */


#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../controlplane/model/check.h"
#include "../../controlplane/model/rules.h"
#include "../../controlplane/model/view.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
fuzz_round_trip(json_t *doc)
{
    char             *text;
    json_t           *view, *again;
    const char       *name;
    corrald_check_t   c;

    view = corrald_view_service(doc, NULL, 1, 0, 1, "ws://x/{service}");
    fuzz_check(view != NULL);

    again = json_deep_copy(view);
    fuzz_check(corrald_view_unmask(again, doc, NULL, &name) == 0);

    corrald_check_init(&c);
    fuzz_check(corrald_check_input(&c, CORRALD_SERVICE, again, doc,
                                   CORRALD_OWNER_operator, 0)
               == 0);
    corrald_check_free(&c);

    text = json_dumps(doc, JSON_COMPACT);
    fuzz_check(text != NULL);

    json_decref(again);
    again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    fuzz_check(again != NULL && json_equal(again, doc));

    free(text);
    json_decref(again);
    json_decref(view);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t           *in;
    corrald_check_t   c;

    corrald_check_init(&c);

    in = corrald_check_parse(&c, (const char *) data, size);

    if (in == NULL) {
        fuzz_check(*c.sentence && json_array_size(c.errors));
        corrald_check_free(&c);
        return 0;
    }

    if (corrald_check_input(&c, CORRALD_SERVICE, in, NULL,
                            CORRALD_OWNER_operator,
                            size % 2 ? CORRALD_CHECK_CREATE
                                     : CORRALD_CHECK_CREATE
                                       |CORRALD_CHECK_COMPAT)
        != 0)
    {
        fuzz_check(*c.sentence && json_array_size(c.errors)
                   && json_array_size(c.errors) <= 32);

    } else {
        fuzz_check(json_array_size(c.errors) == 0);
        fuzz_check(corrald_rules_derive(in) == 0);

        json_object_set_new(in, "service_id", json_string("s"));
        json_object_set_new(in, "created_at", json_string(""));
        json_object_set_new(in, "updated_at", json_string(""));

        fuzz_check(corrald_check_fill(CORRALD_SERVICE, in) == 0);

        if (corrald_check_document(&c, CORRALD_SERVICE, in) == 0) {
            fuzz_round_trip(in);

        } else {
            fuzz_check(*c.sentence && json_array_size(c.errors));
        }
    }

    corrald_check_free(&c);
    json_decref(in);

    return 0;
}
