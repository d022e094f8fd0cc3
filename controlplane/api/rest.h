
/*
 * One request of the REST API: what a handler reads of it and how it answers.
 * See rest.c (routes), rest_query.c and rest_request.c (what was asked),
 * rest_answer.c, rest_key.c (idempotency) and http.c (libmicrohttpd).
 */


#ifndef _CORRALD_REST_H_INCLUDED_
#define _CORRALD_REST_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <microhttpd.h>

#include "../base/buf.h"
#include "../model/check.h"
#include "../model/problem.h"
#include "../store/store.h"
#include "uri.h"


typedef struct corrald_rest_s  corrald_rest_t;

typedef void (*corrald_rest_pt)(corrald_rest_t *r);


/* flags of a route */

#define CORRALD_REST_COMPAT  0x01    /* one of MyAgent's operations */
#define CORRALD_REST_PUBLIC  0x02    /* without a token */
#define CORRALD_REST_STREAM  0x04    /* may answer with an endless stream */
#define CORRALD_REST_WRITE   0x08    /* changes the registry */
#define CORRALD_REST_ANYTIME 0x10    /* also before the registry is loaded */


/*
 * One operation.  in and out name schemas of the OpenAPI document ("" for
 * none); query names the parameters, separated by blanks (spec.c knows them).
 */

typedef struct {
    const char       *method;
    const char       *path;
    const char       *permission;
    unsigned          flags;
    corrald_rest_pt   handler;
    const char       *in;
    const char       *out;
    const char       *query;
    const char       *text;
} corrald_rest_route_t;


struct corrald_rest_s {
    struct MHD_Connection       *conn;
    const corrald_rest_route_t  *route;

    char                  method[16];
    char                 *uri;       /* as sent, without the query */
    char                  params[CORRALD_URI_PARAMS][CORRALD_URI_PARAM_SIZE];
    json_t               *query;     /* of strings */
    corrald_buf_t         body;
    json_t               *json;      /* the body as an object, or NULL */
    const char           *principal; /* for the log */
    int                   local;     /* came through the admin socket */

    /* the answer */

    int                   status;
    struct MHD_Response  *response;
    json_t               *headers;   /* of strings */
    size_t                bytes;

    /* the work of http.c, rest.c and rest_key.c */

    corrald_rest_t       *next;
    corrald_rest_t      **prev;
    int64_t               began;     /* monotonic ms */
    uint64_t              number;
    char                  key[65];   /* of an Idempotency-Key, or "" */
    char                  digest[65];
    unsigned              entered:1; /* the first call is done */
    unsigned              too_large:1;
    unsigned              suspended:1;
    unsigned              working:1; /* a handler has not answered yet */
    unsigned              dead:1;    /* the connection is gone */
};


/*
 * ---- for handlers: what was asked ----
 *
 * sort: one of words (a blank between two), by "-" before it descending.
 */

const char *corrald_rest_query(const corrald_rest_t *r, const char *name);
int corrald_rest_query_known(corrald_rest_t *r)
    __attribute__((warn_unused_result));
const char *corrald_rest_header(const corrald_rest_t *r, const char *name);
int corrald_rest_query_int(corrald_rest_t *r, const char *name, int64_t preset,
    int64_t min, int64_t max, int64_t *value)
    __attribute__((warn_unused_result));
int corrald_rest_query_bool(corrald_rest_t *r, const char *name, int preset,
    int *value) __attribute__((warn_unused_result));
int corrald_rest_query_words(corrald_rest_t *r, const char *name,
    const char *words) __attribute__((warn_unused_result));
int corrald_rest_query_sort(corrald_rest_t *r, const char *words,
    const char *preset, const char **sort, int *descending)
    __attribute__((warn_unused_result));
int corrald_rest_query_ms(corrald_rest_t *r, const char *name, int64_t preset,
    int64_t min, int64_t max, int64_t *value)
    __attribute__((warn_unused_result));
int corrald_rest_body(corrald_rest_t *r, int required)
    __attribute__((warn_unused_result));
int corrald_rest_if_match(corrald_rest_t *r, int64_t revision)
    __attribute__((warn_unused_result));
int corrald_rest_not_modified(corrald_rest_t *r, int64_t revision);
const char *corrald_rest_accept(const corrald_rest_t *r);


/*
 * ---- for handlers: the answer ----
 *
 * A handler answers exactly once, now or later.  After its answer it does not
 * touch the request any more.
 */

void corrald_rest_set(corrald_rest_t *r, const char *name, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));
void corrald_rest_etag(corrald_rest_t *r, int64_t revision);
void corrald_rest_json(corrald_rest_t *r, int status, json_t *body);
void corrald_rest_text(corrald_rest_t *r, int status, const char *type,
    const char *text, size_t len);
void corrald_rest_empty(corrald_rest_t *r, int status);
void corrald_rest_problem(corrald_rest_t *r, corrald_problem_e problem,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void corrald_rest_check(corrald_rest_t *r, const corrald_check_t *check);
void corrald_rest_ignored(corrald_rest_t *r, const corrald_check_t *check);
void corrald_rest_result(corrald_rest_t *r, const corrald_result_t *result);
void corrald_rest_store_error(corrald_rest_t *r, const char *err);
void corrald_rest_send(corrald_rest_t *r, int status,
    struct MHD_Response *response);

/* What MyAgent says when it is done, as a new object. */

json_t *corrald_rest_message(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/*
 * The answer to a change of this revision: at once, or with ?wait=applied
 * when the workers serve from it.
 */

void corrald_rest_changed(corrald_rest_t *r, int status, json_t *body,
    int64_t revision);

/* One thing, with those members that "fields" asks for; view is taken over. */

void corrald_rest_view(corrald_rest_t *r, json_t *view);

/* A page of rows: makes each item with show, which returns a new object. */

typedef json_t *(*corrald_rest_show_pt)(void *row, void *data);

void corrald_rest_page(corrald_rest_t *r, corrald_uri_row_t *rows, size_t n,
    const char *sort, int descending, corrald_rest_show_pt show, void *data);


/* ---- rest.c, rest_answer.c and rest_key.c to each other ---- */

/* body is taken over; of a request with a key it is kept, too. */

void corrald_rest_document(corrald_rest_t *r, int status, const char *type,
    json_t *body);

/* The handler is called, or the request is answered as it was before. */

void corrald_rest_key_begin(corrald_rest_t *r);

/* Keeps the answer; one that says "try again" is not an answer. */

void corrald_rest_key_end(corrald_rest_t *r, int status, const json_t *body);


/* ---- for http.c, spec.c and metrics.c ---- */

const corrald_rest_route_t *corrald_rest_routes(void);
void corrald_rest_begin(corrald_rest_t *r);
void corrald_rest_run(corrald_rest_t *r);
void corrald_rest_free(corrald_rest_t *r);


#endif /* _CORRALD_REST_H_INCLUDED_ */
