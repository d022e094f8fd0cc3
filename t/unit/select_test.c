/* links: controlplane/model/select.c controlplane/model/check.c */
/* links: controlplane/model/rules.c controlplane/model/doc.c */
/* links: controlplane/model/view.c controlplane/model/state.c */
/* links: controlplane/model/route.c ngx_module/corral_match.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/corral_learn.c -lpcre2-8 */
/* links: controlplane/base/clock.c ngx_module/common/corral_duration.c */
/* links: -ljansson */
/* links: ngx_module/common/corral_pointer.c */

/* Which bodies of an action on many services say clearly who is meant. */


#include "../../controlplane/model/select.h"

#include "unit.h"


/* "" if it is sound, else what is wrong first */

static const char *
said(const char *text)
{
    int              rc;
    json_t          *body;
    corrald_check_t  check;

    static char  sentence[512];

    corrald_check_init(&check);

    body = json_loads(text, 0, NULL);
    rc = corrald_select_check(&check, body);

    snprintf(sentence, sizeof(sentence), "%s",
             rc == 0 ? "" : check.sentence);

    json_decref(body);
    corrald_check_free(&check);

    return sentence;
}


int
main(void)
{
    is_str(said("{\"ids\":[\"a\",\"b\"]}"), "", "ids");
    is_str(said("{\"labels\":{\"tier\":\"gold\"}}"), "", "labels");
    is_str(said("{\"labels\":\"tier=gold,x\"}"), "", "labels as text");
    is_str(said("{\"tags\":\"a,b\"}"), "", "tags");
    is_str(said("{\"all\":true,\"status\":\"error\"}"), "", "all of a status");
    is_str(said("{\"ids\":[\"a\"],\"tags\":\"b\",\"all\":false}"), "",
           "several, which must all hold");

    is_str(said("{}"), "say which services: \"ids\", \"labels\", \"tags\" or "
           "\"all\": true", "nothing");
    is_str(said("{\"all\":true,\"labels\":\"a\"}"), "\"all\" is true, beside "
           "it there can be \"status\", but not \"ids\", \"labels\" or "
           "\"tags\"", "all and some");
    is_str(said("{\"all\":null}"), "\"all\" must be true or false", "null");
    is_str(said("{\"tags\":null}"), "\"tags\" must be a string of tags, "
           "separated by commas", "no tags");
    is_str(said("{\"ids\":{\"a\":1}}"), "\"ids\" must be an array of 1 to 1000 "
           "names or ids of services", "an object of ids");
    is_str(said("{\"labels\":{\"a\":null}}"), "\"labels\" has \"a\", its value "
           "must be a string", "a label without a value");
    is_str(said("{\"ids\":[\"a\"],\"lables\":\"x\"}"), "\"lables\" is not a "
           "member: there are ids, labels, tags, status, all", "a typo");

    return done_testing();
}
