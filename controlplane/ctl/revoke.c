
/*
 * Commands for what is revoked: tokens, subjects and sessions that may not
 * connect any more.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <corral_duration.h>

#include "base/clock.h"

#include "corral.h"


static const corral_column_t  corral_revoke_columns[] = {
    { "REVOKED", "revocation_id", CORRAL_PLAIN },
    { "UNTIL", "expires_at", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


corral_exit_e
corral_revoke_list(corral_run_t *run)
{
    return corral_list(run, "/api/v1/revocations?limit=1000",
                       corral_revoke_columns, "revocation_id");
}


/* --for is how long; without it corrald says */

corral_exit_e
corral_revoke_revoke(corral_run_t *run)
{
    int              i;
    char             at[32];
    json_t          *body;
    int64_t          ms;
    corral_exit_e    code;
    corral_answer_t  answer;

    ms = run->revoke_for
         ? corral_duration_parse(run->revoke_for, strlen(run->revoke_for)) : 0;

    if (ms < 0) {
        corral_output_error("--for is \"%s\", it must be a duration, as 12h",
                            run->revoke_for);
        return CORRAL_USAGE;
    }

    for (i = 0, code = CORRAL_OK; i < run->nargs && code == CORRAL_OK; i++) {
        body = json_pack("{s:s}", "revocation_id", run->args[i]);

        if (run->revoke_for) {
            json_object_set_new(body, "expires_at", json_string(
                corrald_clock_format(corrald_clock_ms() + ms, at,
                                     sizeof(at))));
        }

        code = corral_http_request(&run->http, "POST", "/api/v1/revocations",
                                   body, &answer);
        json_decref(body);

        if (code != CORRAL_OK) {
            corral_api_refused(&answer, code);

        } else if (run->format == CORRAL_JSON) {
            corral_output_json(answer.body, 1);

        } else {
            corral_output_note("%s: revoked until %s", run->args[i],
                               json_string_value(json_object_get(answer.body,
                                                 "expires_at")));
        }

        corral_http_free(&answer);
    }

    return code;
}


corral_exit_e
corral_revoke_undo(corral_run_t *run)
{
    int              i;
    char            *path;
    corral_exit_e    code;
    corral_answer_t  answer;

    for (i = 0, code = CORRAL_OK; i < run->nargs && code == CORRAL_OK; i++) {
        path = corral_path("/api/v1/revocations/%s", run->args[i]);

        code = corral_http_request(&run->http, "DELETE", path, NULL, &answer);
        free(path);

        if (code != CORRAL_OK) {
            corral_api_refused(&answer, code);

        } else {

            if (run->format == CORRAL_JSON) {
                corral_output_json(answer.body, 1);
            }

            corral_output_note("%s: revoked no longer", run->args[i]);
        }

        corral_http_free(&answer);
    }

    return code;
}
