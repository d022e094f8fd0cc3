
/*
 * Requests of the command line to the REST API, by libcurl: over TCP, TLS or
 * the admin socket.  Turns a status into an exit code and a problem document
 * into a sentence; prints nothing.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/buf.h"

#include "http.h"
#include "output.h"


#define CORRAL_HTTP_BODY_MAX  (64 * 1024 * 1024)


typedef struct {
    CURL                 *curl;
    corrald_buf_t         buf;
    corral_http_data_pt   cb;
    void                 *ctx;
    int                   ended;     /* by the callback */
} corral_http_call_t;


static CURL *corral_http_open(corral_http_t *http, const char *path,
    struct curl_slist **headers);
static int corral_http_idle(void *ctx, curl_off_t total, curl_off_t now,
    curl_off_t up_total, curl_off_t up);
static size_t corral_http_write(char *data, size_t size, size_t n, void *ctx);
static corral_exit_e corral_http_done(corral_http_t *http,
    corral_http_call_t *call, CURLcode rc, corral_answer_t *answer);
static void corral_http_sentence(corral_answer_t *answer);


corral_exit_e
corral_http_request(corral_http_t *http, const char *method, const char *path,
    json_t *body, corral_answer_t *answer)
{
    char                *text;
    CURLcode             rc;
    corral_exit_e        code;
    corral_http_call_t   call;
    struct curl_slist   *headers;

    memset(answer, 0, sizeof(corral_answer_t));
    memset(&call, 0, sizeof(corral_http_call_t));

    headers = NULL;
    text = NULL;

    call.curl = corral_http_open(http, path, &headers);
    if (call.curl == NULL) {
        snprintf(answer->error, sizeof(answer->error), "out of memory");
        return CORRAL_FAILED;
    }

    corrald_buf_init(&call.buf, CORRAL_HTTP_BODY_MAX);

    if (body) {
        text = json_dumps(body, JSON_COMPACT);
        headers = curl_slist_append(headers,
                         strcmp(method, "PATCH") == 0
                         ? "Content-Type: application/merge-patch+json"
                         : "Content-Type: application/json");
        curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, text);

    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, "");
        headers = curl_slist_append(headers, "Content-Type:");
    }

    curl_easy_setopt(call.curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(call.curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(call.curl, CURLOPT_WRITEDATA, &call);

    if (http->timeout) {
        curl_easy_setopt(call.curl, CURLOPT_TIMEOUT, http->timeout);
    }

    rc = curl_easy_perform(call.curl);
    code = corral_http_done(http, &call, rc, answer);

    curl_slist_free_all(headers);
    free(text);

    return code;
}


corral_exit_e
corral_http_stream(corral_http_t *http, const char *path, const char *accept,
    const char *last_id, corral_http_data_pt cb, void *ctx,
    corral_answer_t *answer)
{
    char                 line[256];
    CURLcode             rc;
    corral_exit_e        code;
    corral_http_call_t   call;
    struct curl_slist   *headers;

    memset(answer, 0, sizeof(corral_answer_t));
    memset(&call, 0, sizeof(corral_http_call_t));

    headers = NULL;

    call.curl = corral_http_open(http, path, &headers);
    if (call.curl == NULL) {
        snprintf(answer->error, sizeof(answer->error), "out of memory");
        return CORRAL_FAILED;
    }

    corrald_buf_init(&call.buf, CORRAL_HTTP_BODY_MAX);

    call.cb = cb;
    call.ctx = ctx;

    snprintf(line, sizeof(line), "Accept: %s", accept);
    headers = curl_slist_append(headers, line);

    if (last_id) {
        snprintf(line, sizeof(line), "Last-Event-ID: %s", last_id);
        headers = curl_slist_append(headers, line);
    }

    curl_easy_setopt(call.curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(call.curl, CURLOPT_WRITEDATA, &call);
    curl_easy_setopt(call.curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(call.curl, CURLOPT_XFERINFOFUNCTION, corral_http_idle);
    curl_easy_setopt(call.curl, CURLOPT_XFERINFODATA, &call);

    /* a heartbeat comes each 15 s: silence for a minute is a dead peer */

    curl_easy_setopt(call.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(call.curl, CURLOPT_LOW_SPEED_TIME, 60L);

    rc = curl_easy_perform(call.curl);

    if (call.ended) {
        rc = CURLE_OK;
    }

    code = corral_http_done(http, &call, rc, answer);

    curl_slist_free_all(headers);

    return code;
}


static CURL *
corral_http_open(corral_http_t *http, const char *path,
    struct curl_slist **headers)
{
    char   url[4096], line[1024];
    CURL  *curl;

    curl = curl_easy_init();
    if (curl == NULL) {
        return NULL;
    }

    snprintf(url, sizeof(url), "%s%s", http->url, path);

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, corral_http_write);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "corral");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");

    /* the daemon is never behind a proxy of the environment */

    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");

    if (http->socket) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, http->socket);
    }

    if (http->insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }

    if (http->token) {
        snprintf(line, sizeof(line), "Authorization: Bearer %s", http->token);
        *headers = curl_slist_append(*headers, line);
    }

    return curl;
}


/* called about once a second: a stream that nobody reads any more ends */

static int
corral_http_idle(void *ctx, curl_off_t total, curl_off_t now,
    curl_off_t up_total, curl_off_t up)
{
    corral_http_call_t  *call;

    call = ctx;

    if (corral_output_closed()) {
        call->ended = 1;
    }

    return call->ended;
}


static size_t
corral_http_write(char *data, size_t size, size_t n, void *ctx)
{
    long                 status;
    corral_http_call_t  *call;

    call = ctx;
    size *= n;
    status = 0;

    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);

    if (call->cb && status >= 200 && status < 300) {

        if (call->cb(call->ctx, data, size) != 0) {
            call->ended = 1;
            return 0;
        }

        return size;
    }

    return corrald_buf_add(&call->buf, data, size) == 0 ? size : 0;
}


/* fills in the answer and gives the call back */

static corral_exit_e
corral_http_done(corral_http_t *http, corral_http_call_t *call, CURLcode rc,
    corral_answer_t *answer)
{
    const char  *where;

    where = http->socket ? http->socket : http->url;

    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_cleanup(call->curl);

    if (call->buf.len) {
        answer->body = json_loadb(call->buf.data, call->buf.len, 0, NULL);
        answer->text = corrald_buf_take(&call->buf, &answer->len);
    }

    corrald_buf_free(&call->buf);

    switch (rc) {

    case CURLE_OK:
        break;

    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        snprintf(answer->error, sizeof(answer->error),
                 "corrald cannot be reached at %s: %s; is it running? "
                 "--api or CORRAL_API says where it is",
                 where, curl_easy_strerror(rc));
        return CORRAL_UNREACHABLE;

    case CURLE_OPERATION_TIMEDOUT:
        snprintf(answer->error, sizeof(answer->error),
                 "no answer from %s in time", where);
        return CORRAL_TIMEOUT;

    default:
        snprintf(answer->error, sizeof(answer->error),
                 "the connection to %s failed: %s", where,
                 curl_easy_strerror(rc));
        return CORRAL_UNREACHABLE;
    }

    if (answer->status >= 400) {
        corral_http_sentence(answer);
    }

    return corral_http_code(answer->status);
}


/* the sentence of a problem document: its detail and what is wrong where */

static void
corral_http_sentence(corral_answer_t *answer)
{
    size_t       i, n;
    json_t      *errors, *e;
    const char  *detail, *at, *why;

    detail = NULL;
    errors = NULL;

    if (answer->body) {
        detail = json_string_value(json_object_get(answer->body, "detail"));
        errors = json_object_get(answer->body, "errors");
    }

    n = snprintf(answer->error, sizeof(answer->error), "%s",
                 detail ? detail : "");

    if (detail == NULL) {
        snprintf(answer->error, sizeof(answer->error),
                 "the API answers %ld", answer->status);
        return;
    }

    json_array_foreach(errors, i, e) {
        at = json_string_value(json_object_get(e, "pointer"));
        why = json_string_value(json_object_get(e, "detail"));

        /* one mistake is the detail itself */

        if (n < sizeof(answer->error) && why && !strstr(detail, why)) {
            n += snprintf(answer->error + n, sizeof(answer->error) - n,
                          "\n  %s: %s", at ? at : "/", why);
        }
    }
}


corral_exit_e
corral_http_code(long status)
{
    switch (status) {

    case 401:
    case 403:
        return CORRAL_DENIED;

    case 404:
    case 410:
        return CORRAL_NOT_FOUND;

    case 409:
    case 412:
    case 428:
        return CORRAL_CONFLICT;

    case 400:
    case 413:
    case 415:
    case 422:
        return CORRAL_USAGE;

    case 503:
        return CORRAL_UNREACHABLE;

    case 504:
        return CORRAL_TIMEOUT;

    default:
        return status >= 200 && status < 300 ? CORRAL_OK : CORRAL_FAILED;
    }
}


void
corral_http_free(corral_answer_t *answer)
{
    json_decref(answer->body);
    free(answer->text);

    answer->body = NULL;
    answer->text = NULL;
}


char *
corral_http_escape(const char *s)
{
    char   *escaped, *copy;

    escaped = curl_easy_escape(NULL, s, 0);
    copy = escaped ? strdup(escaped) : NULL;

    curl_free(escaped);

    if (copy == NULL) {
        fprintf(stderr, "corral: out of memory\n");
        exit(CORRAL_FAILED);
    }

    return copy;
}
