/* links: controlplane/model/filter.c controlplane/model/check.c */
/* links: controlplane/model/rules.c controlplane/model/doc.c */
/* links: controlplane/model/view.c controlplane/model/state.c */
/* links: controlplane/model/route.c ngx_module/corral_match.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/corral_learn.c -lpcre2-8 */
/* links: controlplane/base/clock.c ngx_module/common/corral_duration.c */
/* links: -ljansson */
/* links: ngx_module/common/corral_pointer.c */

/* Filters of connections: what is refused, what is chosen. */


#include "../../controlplane/model/filter.h"
#include "../../controlplane/base/clock.h"

#include "unit.h"


static const char  conn_text[] =
    "{\"connection_id\":\"00c0ffee00000001\",\"worker\":\"g1:1:1\","
    "\"gateway\":\"g1\",\"target_service_id\":\"s1\",\"service\":\"echo\","
    "\"instance_id\":\"echo.1\",\"session_id\":null,\"tenant\":\"acme\","
    "\"subject\":\"ann\",\"client_ip\":\"10.0.0.1\","
    "\"connected_at\":\"2026-11-27T10:00:00Z\","
    "\"last_activity\":\"2026-11-27T10:50:00Z\"}";


/* 1 chosen, 0 not, -1 refused; an hour after the connection was opened */

static int
chosen(const char *text)
{
    int              rc;
    json_t          *filter, *conn;
    corrald_check_t  check;

    corrald_check_init(&check);

    filter = json_loads(text, 0, NULL);
    conn = json_loads(conn_text, 0, NULL);

    rc = corrald_filter_check(&check, filter);

    if (rc == 0) {
        rc = corrald_filter_matches(filter, conn,
                                 corrald_clock_parse("2026-11-27T11:00:00Z"));
    }

    json_decref(filter);
    json_decref(conn);
    corrald_check_free(&check);

    return rc;
}


int
main(void)
{
    is_int(chosen("{}"), 1, "an empty one chooses all");
    is_int(chosen("{\"service_id\":\"s1\"}"), 1, "service");
    is_int(chosen("{\"service_id\":\"s2\"}"), 0, "another service");
    is_int(chosen("{\"service_id\":\"s1\",\"subject\":\"ann\","
                  "\"tenant\":\"acme\",\"client_ip\":\"10.0.0.1\"}"), 1,
           "all of several");
    is_int(chosen("{\"service_id\":\"s1\",\"subject\":\"bob\"}"), 0,
           "one of several differs");
    is_int(chosen("{\"session_id\":\"x\"}"), 0, "null is no session");
    is_int(chosen("{\"connection_id\":\"00c0ffee00000001\"}"), 1, "id");

    is_int(chosen("{\"age\":\"1h\"}"), 1, "as old as this");
    is_int(chosen("{\"age\":\"3601s\"}"), 0, "not so old");
    is_int(chosen("{\"idle\":\"10m\"}"), 1, "idle for so long");
    is_int(chosen("{\"idle\":\"601s\"}"), 0, "not so long");
    is_int(chosen("{\"age\":\"1m\",\"idle\":\"11m\"}"), 0, "both must be");

    is_int(chosen("{\"colour\":\"red\"}"), -1, "unknown member");
    is_int(chosen("{\"subject\":\"\"}"), -1, "an empty string");
    is_int(chosen("{\"subject\":5}"), -1, "a number");
    is_int(chosen("{\"subject\":null}"), -1, "null");
    is_int(chosen("[]"), -1, "an array");
    is_int(chosen("{\"age\":\"soon\"}"), -1, "no duration");
    is_int(chosen("{\"age\":\"-1s\"}"), -1, "a negative one");
    is_int(chosen("{\"connection_id\":\"x\"}"), -1, "no id");
    is_int(chosen("{\"connection_id\":\"0000000000000000\"}"), -1, "id 0");
    is_int(chosen("{\"connection_id\":\"00C0FFEE00000001\"}"), -1,
           "an id that no list shows");

    return done_testing();
}
