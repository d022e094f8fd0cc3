
/*
 * Answers of handlers: documents, pages of lists, problems, what has changed.
 * Errors become problem documents here and nowhere else.
 */


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../model/view.h"
#include "api.h"
#include "http.h"


#define CORRALD_REST_LIMIT      100
#define CORRALD_REST_LIMIT_MAX  1000


/* An answer that waits until the workers serve from its revision. */

typedef struct {
    corrald_rest_t   *r;
    int               status;
    json_t           *body;
} corrald_rest_wait_t;


static void corrald_rest_applied(json_t *value, const char *err, void *data);


/* Sets a header of the answer. */

void
corrald_rest_set(corrald_rest_t *r, const char *name, const char *fmt, ...)
{
    char     value[1024];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);

    /* nothing of a request may begin a new line */

    value[strcspn(value, "\r\n")] = '\0';

    if (r->headers == NULL) {
        r->headers = json_object();
    }

    json_object_set_new(r->headers, name, json_string(value));
}


void
corrald_rest_etag(corrald_rest_t *r, int64_t revision)
{
    corrald_rest_set(r, "ETag", "\"%lld\"", (long long) revision);
}


/* body is taken over. */

void
corrald_rest_json(corrald_rest_t *r, int status, json_t *body)
{
    corrald_rest_document(r, status, "application/json", body);
}


void
corrald_rest_document(corrald_rest_t *r, int status, const char *type,
    json_t *body)
{
    char    *text;
    size_t   len;

    if (*r->key) {
        corrald_rest_key_end(r, status, body);
    }

    text = json_dumps(body, JSON_COMPACT|JSON_ENCODE_ANY);
    json_decref(body);

    if (text == NULL) {
        text = strdup("null");
    }

    if (text == NULL) {
        corrald_alloc_failed("for an answer");
    }

    len = strlen(text);

    corrald_rest_set(r, "Content-Type", "%s", type);
    corrald_rest_send(r, status,
                      MHD_create_response_from_buffer(len, text,
                                                  MHD_RESPMEM_MUST_FREE));
}


json_t *
corrald_rest_message(const char *fmt, ...)
{
    char     text[512];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    return json_pack("{s:b, s:s, s:n}", "success", 1, "message", text,
                     "data");
}


void
corrald_rest_view(corrald_rest_t *r, json_t *view)
{
    const char  *fields;

    fields = corrald_rest_query(r, "fields");

    if (fields) {
        corrald_view_select(view, fields);
    }

    corrald_rest_json(r, 200, view);
}


void
corrald_rest_text(corrald_rest_t *r, int status, const char *type,
    const char *text, size_t len)
{
    corrald_rest_set(r, "Content-Type", "%s", type);
    corrald_rest_send(r, status,
                      MHD_create_response_from_buffer(len, (void *) text,
                                                  MHD_RESPMEM_MUST_COPY));
}


void
corrald_rest_empty(corrald_rest_t *r, int status)
{
    corrald_rest_send(r, status,
                      MHD_create_response_from_buffer(0, "",
                                                  MHD_RESPMEM_PERSISTENT));
}


/* A problem document with this sentence as its detail. */

void
corrald_rest_problem(corrald_rest_t *r, corrald_problem_e problem,
    const char *fmt, ...)
{
    char     detail[1024];
    json_t  *body;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);

    body = corrald_problem_make(problem, r->uri, detail, NULL);

    corrald_rest_document(r, corrald_problem_http(problem),
                          "application/problem+json", body);
}


/* 422 with the list of what is wrong. */

void
corrald_rest_check(corrald_rest_t *r, const corrald_check_t *check)
{
    json_t  *body;

    body = corrald_problem_make(CORRALD_PROBLEM_VALIDATION_FAILED, r->uri,
                                check->sentence, check->errors);

    corrald_rest_document(r, 422, "application/problem+json", body);
}


/* What was ignored is said: a misspelled name would be silent otherwise. */

void
corrald_rest_ignored(corrald_rest_t *r, const corrald_check_t *check)
{
    size_t          i;
    json_t         *name;
    corrald_buf_t   b;

    if (json_array_size(check->ignored) == 0) {
        return;
    }

    corrald_buf_init(&b, 800);
    corrald_buf_str(&b, "299 corrald \"ignored:");

    json_array_foreach(check->ignored, i, name) {
        corrald_buf_printf(&b, " %.64s", json_string_value(name));
    }

    corrald_buf_str(&b, "\"");
    corrald_rest_set(r, "Warning", "%s", b.data);
    corrald_buf_free(&b);
}


/* The problem of a commit that was not made. */

void
corrald_rest_result(corrald_rest_t *r, const corrald_result_t *result)
{
    switch (result->result) {

    case CORRALD_CONFLICT:
        corrald_rest_problem(r, corrald_rest_header(r, "If-Match")
                                ? CORRALD_PROBLEM_PRECONDITION_FAILED
                                : CORRALD_PROBLEM_CONFLICT,
                             "%s", result->message);
        break;

    case CORRALD_NAME_TAKEN:
        corrald_rest_problem(r, CORRALD_PROBLEM_NAME_TAKEN, "%s",
                             result->message);
        break;

    case CORRALD_MISSING:
        corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "%s",
                             result->message);
        break;

    case CORRALD_INVALID:
        corrald_rest_problem(r, CORRALD_PROBLEM_VALIDATION_FAILED, "%s",
                             result->message);
        break;

    case CORRALD_UNKNOWN:
        corrald_rest_set(r, "Retry-After", "2");
        corrald_rest_problem(r, CORRALD_PROBLEM_STORE_TIMEOUT, "%s",
                             result->message);
        break;

    default:
        corrald_rest_store_error(r, result->message);
        break;
    }
}


/* 503: nothing has happened. */

void
corrald_rest_store_error(corrald_rest_t *r, const char *err)
{
    corrald_rest_set(r, "Retry-After", "2");
    corrald_rest_problem(r, CORRALD_PROBLEM_STORE_UNAVAILABLE, "%s", err);
}


/* The last word: the response is taken over.  r is not ours any more. */

void
corrald_rest_send(corrald_rest_t *r, int status,
    struct MHD_Response *response)
{
    json_t      *value;
    const char  *name;

    if (response == NULL) {
        corrald_alloc_failed("for an answer");
    }

    r->status = status;

    json_object_foreach(r->headers, name, value) {
        (void) MHD_add_response_header(response, name,
                                       json_string_value(value));
    }

    (void) MHD_add_response_header(response, "X-Content-Type-Options",
                                   "nosniff");

    if (json_object_get(r->headers, "Cache-Control") == NULL) {
        (void) MHD_add_response_header(response, "Cache-Control", "no-store");
    }

    if (r->response) {
        MHD_destroy_response(r->response);
    }

    r->response = response;

    corrald_metrics_request(r, corrald_clock_monotonic() - r->began);
    corrald_http_answer(r);
}


/* body is taken over. */

void
corrald_rest_changed(corrald_rest_t *r, int status, json_t *body,
    int64_t revision)
{
    int64_t               timeout;
    corrald_rest_wait_t  *w;

    if (corrald_rest_query(r, "wait") == NULL
        || corrald_rest_query_ms(r, "timeout", 5000, 0, 60000, &timeout) != 0)
    {
        corrald_rest_json(r, status, body);
        return;
    }

    w = malloc(sizeof(*w));

    if (w == NULL) {
        corrald_rest_json(r, status, body);
        return;
    }

    w->r = r;
    w->status = status;
    w->body = body;

    corrald_store_applied(revision, timeout, corrald_rest_applied, w);
}


static void
corrald_rest_applied(json_t *value, const char *err, void *data)
{
    corrald_rest_wait_t  *w;

    w = data;

    if (value && json_is_true(json_object_get(value, "applied"))) {
        corrald_rest_set(w->r, "Corral-Applied", "true");

    } else {
        w->status = 202;
        corrald_rest_set(w->r, "Corral-Applied", "false");
    }

    if (json_is_object(w->body)) {
        json_object_set_new(w->body, "applied", value
                            ? json_deep_copy(value)
                            : json_pack("{s:b, s:s}", "applied", 0, "detail",
                                        err));
    }

    corrald_rest_json(w->r, w->status, w->body);
    free(w);
}


/* rows are sorted and cut here; their memory stays the caller's. */

void
corrald_rest_page(corrald_rest_t *r, corrald_uri_row_t *rows, size_t n,
    const char *sort, int descending, corrald_rest_show_pt show, void *data)
{
    size_t               i;
    json_t              *items, *item, *body;
    int64_t              limit, offset;
    const char          *cursor, *fields;
    corrald_uri_page_t   page;

    if (corrald_rest_query_int(r, "limit", CORRALD_REST_LIMIT, 1,
                               CORRALD_REST_LIMIT_MAX, &limit)
        != 0
        || corrald_rest_query_int(r, "offset", 0, 0, INT32_MAX, &offset) != 0)
    {
        return;
    }

    cursor = corrald_rest_query(r, "cursor");
    fields = corrald_rest_query(r, "fields");

    corrald_uri_sort(rows, n, descending);

    if (corrald_uri_page(&page, rows, n, sort, descending, cursor, offset,
                         limit)
        != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"cursor\" is not one that this list gave");
        return;
    }

    items = json_array();

    for (i = page.first; i < page.end; i++) {
        item = show(rows[i].data, data);

        if (item && fields) {
            corrald_view_select(item, fields);
        }

        if (item) {
            json_array_append_new(items, item);
        }
    }

    body = json_pack("{s:o, s:I, s:I, s:I, s:b, s:o}", "items", items,
                     "total", (json_int_t) page.total,
                     "limit", (json_int_t) page.limit,
                     "offset", (json_int_t) page.first,
                     "has_more", page.more,
                     "next_cursor", *page.cursor ? json_string(page.cursor)
                                                 : json_null());

    corrald_rest_json(r, 200, body);
}
