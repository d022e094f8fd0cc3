
/*
 * The API that a run asks: where it is, with which token, and what is said
 * when it refuses.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "corral.h"


static char *corral_api_token(const char *path);


int
corral_api_where(corral_run_t *run)
{
    char          *token;
    const char    *api, *file;

    static const char  socket[] = "/run/corral/admin.sock";

    api = run->api ? run->api : getenv("CORRAL_API");

    if (api == NULL || *api == '\0') {

        if (access(socket, W_OK) == 0) {
            run->http.socket = socket;
            api = "http://localhost";

        } else {
            api = "http://127.0.0.1:8080";
        }

    } else if (strncmp(api, "unix:", 5) == 0) {
        run->http.socket = api + 5;
        api = "http://localhost";

    } else if (strncmp(api, "http://", 7) != 0
               && strncmp(api, "https://", 8) != 0)
    {
        corral_output_error("\"%s\" is not where an API can be: "
                            "http://host:port, https://host:port or "
                            "unix:/path", api);
        return -1;
    }

    run->http.url = api;

    token = getenv("CORRAL_TOKEN");

    if (token && *token && run->token_file == NULL) {
        run->http.token = token;
        return 0;
    }

    file = run->token_file ? run->token_file : getenv("CORRAL_TOKEN_FILE");

    if (file && *file) {
        run->http.token = corral_api_token(file);

        if (run->http.token == NULL) {
            corral_output_error("the token file %s cannot be read", file);
            return -1;
        }

        return 0;
    }

    if (run->http.socket == NULL) {
        run->http.token = corral_api_token("/var/lib/corral/token");
    }

    return 0;
}


corral_exit_e
corral_api_get(corral_run_t *run, const char *path, corral_answer_t *answer)
{
    corral_exit_e  code;

    code = corral_http_request(&run->http, "GET", path, NULL, answer);

    if (code != CORRAL_OK) {
        return corral_api_refused(answer, code);
    }

    if (answer->body == NULL) {
        corral_output_error("the answer to %s is not JSON", path);
        return CORRAL_FAILED;
    }

    return CORRAL_OK;
}


corral_exit_e
corral_api_refused(corral_answer_t *answer, corral_exit_e code)
{
    corral_output_error("%s", answer->error);

    return code;
}


static char *
corral_api_token(const char *path)
{
    FILE         *f;
    char         *got;

    static char  token[512];

    f = fopen(path, "r");
    if (f == NULL) {
        return NULL;
    }

    got = fgets(token, sizeof(token), f);
    fclose(f);

    token[strcspn(token, "\r\n")] = '\0';

    return got && token[0] ? token : NULL;
}
