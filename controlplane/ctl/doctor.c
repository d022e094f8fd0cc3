
/*
 * doctor: looks for what keeps Corral from working on this machine, and says
 * what to do about it.  Each check is a row; a row that fails makes the exit
 * code 7.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "corral.h"


typedef struct {
    corral_run_t      *run;
    json_t            *rows;
    int                failed;
    int                reachable;    /* the API answers */
    char               gateway[512]; /* of a service, as the API says */
} corral_doctor_t;


typedef void (*corral_doctor_pt)(corral_doctor_t *d);


static void corral_doctor_row(corral_doctor_t *d, const char *check, int ok,
    const char *found, const char *fix);
static void corral_doctor_api(corral_doctor_t *d);
static void corral_doctor_ready(corral_doctor_t *d);
static void corral_doctor_gateways(corral_doctor_t *d);
static void corral_doctor_gateway(corral_doctor_t *d);
static size_t corral_doctor_drop(char *data, size_t size, size_t n,
    void *ctx);
static void corral_doctor_services(corral_doctor_t *d);
static void corral_doctor_program(corral_doctor_t *d);
static void corral_doctor_files(corral_doctor_t *d);
static void corral_doctor_cgroup(corral_doctor_t *d);
static void corral_doctor_clock(corral_doctor_t *d);


static const corral_doctor_pt  corral_doctor_checks[] = {
    corral_doctor_program,
    corral_doctor_files,
    corral_doctor_cgroup,
    corral_doctor_clock,
    corral_doctor_api,
    corral_doctor_ready,
    corral_doctor_gateways,
    corral_doctor_gateway,
    corral_doctor_services,
    NULL
};


static const corral_column_t  corral_doctor_columns[] = {
    { "CHECK", "check", CORRAL_PLAIN },
    { "RESULT", "result", CORRAL_PLAIN },
    { "FOUND", "found", CORRAL_PLAIN },
    { "WHAT TO DO", "fix", CORRAL_PLAIN },
    { NULL, NULL, CORRAL_PLAIN }
};


corral_exit_e
corral_doctor_doctor(corral_run_t *run)
{
    int              i;
    corral_doctor_t  d;

    memset(&d, 0, sizeof(corral_doctor_t));

    d.run = run;
    d.rows = json_array();

    for (i = 0; corral_doctor_checks[i]; i++) {
        corral_doctor_checks[i](&d);
    }

    if (run->format == CORRAL_JSON) {
        corral_output_json(d.rows, 1);

    } else {
        corral_output_table(corral_doctor_columns, d.rows);
    }

    json_decref(d.rows);

    return d.failed ? CORRAL_UNHEALTHY : CORRAL_OK;
}


static void
corral_doctor_row(corral_doctor_t *d, const char *check, int ok,
    const char *found, const char *fix)
{
    json_array_append_new(d->rows,
                          json_pack("{s:s,s:s,s:s,s:s}", "check", check,
                                    "result", ok ? "ok" : "FAILED",
                                    "found", found, "fix", ok ? "" : fix));

    d->failed |= !ok;
}


static void
corral_doctor_program(corral_doctor_t *d)
{
    int                 ok;
    char                found[256];
    FILE               *f;

    found[0] = '\0';

    f = popen("nginx -v 2>&1", "r");

    if (f) {
        if (fgets(found, sizeof(found), f) == NULL) {
            found[0] = '\0';
        }

        (void) pclose(f);
    }

    found[strcspn(found, "\n")] = '\0';
    ok = strncmp(found, "nginx version:", 14) == 0;

    corral_doctor_row(d, "nginx", ok, ok ? found + 15 : "not found",
                      "apt install nginx");
}


static void
corral_doctor_files(corral_doctor_t *d)
{
    char            found[64];
    struct rlimit   limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }

    snprintf(found, sizeof(found), "%llu of at most %llu",
             (unsigned long long) limit.rlim_cur,
             (unsigned long long) limit.rlim_max);

    corral_doctor_row(d, "open files", limit.rlim_max >= 4096, found,
                      "raise LimitNOFILE of nginx: each WebSocket takes two");
}


static void
corral_doctor_cgroup(corral_doctor_t *d)
{
    int  v2;

    v2 = access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0;

    corral_doctor_row(d, "cgroups", 1,
                      v2 ? "version 2"
                         : "no version 2: limits are those of rlimits", "");
}


/* times in documents and leases of nodes assume a clock that is set */

static void
corral_doctor_clock(corral_doctor_t *d)
{
    corral_doctor_row(d, "clock", time(NULL) > 1767225600, "looked at",
                      "set the clock: it is before 2026");
}


static void
corral_doctor_api(corral_doctor_t *d)
{
    const char      *url;
    corral_exit_e    code;
    corral_answer_t  answer;

    code = corral_http_request(&d->run->http, "GET", "/api/v1/info", NULL,
                               &answer);

    d->reachable = code == CORRAL_OK;

    url = json_string_value(json_object_get(answer.body, "gateway_url"));
    snprintf(d->gateway, sizeof(d->gateway), "%s", url ? url : "");

    corral_doctor_row(d, "API", code == CORRAL_OK,
                      code == CORRAL_OK
                      ? (d->run->http.socket ? d->run->http.socket
                                             : d->run->http.url)
                      : answer.error,
                      code == CORRAL_DENIED
                      ? "give the token: --token-file or CORRAL_TOKEN"
                      : "start corrald, or say where it is: --api");

    corral_http_free(&answer);
}


static void
corral_doctor_ready(corral_doctor_t *d)
{
    corral_exit_e    code;
    corral_answer_t  answer;

    if (!d->reachable) {
        return;
    }

    code = corral_http_request(&d->run->http, "GET", "/readyz", NULL, &answer);

    corral_doctor_row(d, "store", code == CORRAL_OK,
                      code == CORRAL_OK ? "Redis answers" : answer.error,
                      "look at corrald's log and at Redis");

    corral_http_free(&answer);
}


/* workers that do not follow serve an old registry */

static void
corral_doctor_gateways(corral_doctor_t *d)
{
    char             found[128];
    size_t           i, behind;
    json_t          *items, *item;
    json_int_t       newest, revision;
    corral_exit_e    code;
    corral_answer_t  answer;

    if (!d->reachable) {
        return;
    }

    code = corral_http_request(&d->run->http, "GET", "/api/v1/gateways", NULL,
                               &answer);

    items = json_object_get(answer.body, "items");
    newest = 0;
    behind = 0;

    json_array_foreach(items, i, item) {
        revision = json_integer_value(json_object_get(item, "revision"));
        newest = revision > newest ? revision : newest;
    }

    json_array_foreach(items, i, item) {
        revision = json_integer_value(json_object_get(item, "revision"));
        behind += revision < newest;
    }

    snprintf(found, sizeof(found), "%zu workers, %zu behind revision %lld",
             json_array_size(items), behind, (long long) newest);

    corral_doctor_row(d, "gateways",
                      code == CORRAL_OK && json_array_size(items) && !behind,
                      found, "start nginx with corral_redis, and look at its "
                      "error log for \"corral\"");

    corral_http_free(&answer);
}


static void
corral_doctor_gateway(corral_doctor_t *d)
{
    int          len;
    CURL        *curl;
    char         url[1024], found[128];
    long         status;
    CURLcode     rc;
    const char  *gateway, *path;

    gateway = d->run->gateway ? d->run->gateway : getenv("CORRAL_GATEWAY");
    gateway = gateway && *gateway ? gateway : d->gateway;

    if (*gateway == '\0') {
        corral_doctor_row(d, "gateway port", 0, "not known",
                          "say where it is: --gateway");
        return;
    }

    /* up to the path: that has the place of a service's name */

    path = strstr(gateway, "://");
    path = path ? strchr(path + 3, '/') : NULL;
    len = path ? (int) (path - gateway) : (int) strlen(gateway);

    if (strncmp(gateway, "ws", 2) == 0) {
        snprintf(url, sizeof(url), "http%.*s", len - 2, gateway + 2);

    } else {
        snprintf(url, sizeof(url), "%.*s", len, gateway);
    }

    curl = curl_easy_init();

    if (curl == NULL) {
        return;
    }

    status = 0;

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, corral_doctor_drop);

    rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);

    snprintf(found, sizeof(found), "%.90s: %s", url,
             rc == CURLE_OK ? "answers" : curl_easy_strerror(rc));

    corral_doctor_row(d, "gateway port", rc == CURLE_OK && status < 500,
                      found, "start nginx, or say where it is: --gateway");
}


static size_t
corral_doctor_drop(char *data, size_t size, size_t n, void *ctx)
{
    (void) data;
    (void) ctx;

    return size * n;
}


static void
corral_doctor_services(corral_doctor_t *d)
{
    char             found[128], fix[256];
    size_t           i, bad;
    json_t          *items, *item;
    const char      *status, *name;
    corral_exit_e    code;
    corral_answer_t  answer;

    if (!d->reachable) {
        return;
    }

    code = corral_http_request(&d->run->http, "GET",
                               "/api/v1/services?limit=1000", NULL, &answer);

    items = json_object_get(answer.body, "items");
    bad = 0;
    fix[0] = '\0';

    json_array_foreach(items, i, item) {
        status = json_string_value(json_object_get(item, "status"));
        name = json_string_value(json_object_get(item, "name"));

        if (status && (strcmp(status, "error") == 0
                       || strcmp(status, "unhealthy") == 0))
        {
            bad++;
            snprintf(fix, sizeof(fix), "corral explain %.200s",
                     name ? name : "");
        }
    }

    snprintf(found, sizeof(found), "%zu, of them %zu in trouble",
             json_array_size(items), bad);

    corral_doctor_row(d, "services", code == CORRAL_OK && bad == 0, found,
                      fix);

    corral_http_free(&answer);
}
