
/*
 * Requests of the command line to the REST API.  See http.c.
 */


#ifndef _CORRAL_HTTP_H_INCLUDED_
#define _CORRAL_HTTP_H_INCLUDED_


#include <stddef.h>

#include <jansson.h>


/* Exit codes of the program; every command ends with one of them. */

typedef enum {
    CORRAL_OK = 0,
    CORRAL_FAILED = 1,
    CORRAL_USAGE = 2,
    CORRAL_NOT_FOUND = 3,
    CORRAL_CONFLICT = 4,
    CORRAL_DENIED = 5,
    CORRAL_TIMEOUT = 6,
    CORRAL_UNHEALTHY = 7,
    CORRAL_UNREACHABLE = 8
} corral_exit_e;


/* Where the API is and who asks.  Strings live as long as the program. */

typedef struct {
    const char    *url;              /* http://host:port, without a path */
    const char    *socket;           /* unix socket, or NULL */
    const char    *token;            /* or NULL */
    long           timeout;          /* seconds, 0: none */
    int            insecure;         /* do not verify the certificate */
} corral_http_t;


typedef struct {
    long           status;           /* 0: no answer */
    json_t        *body;             /* NULL if it is not JSON */
    char          *text;             /* the body as it came, or NULL */
    size_t         len;
    char           error[512];       /* a sentence, when there is one */
} corral_answer_t;


/* gets bytes as they come; returns 0 to go on, -1 to end the request */
typedef int (*corral_http_data_pt)(void *ctx, const char *data, size_t len);


/*
 * Makes one request and reads the whole answer, at most 64 MB.  path begins
 * with "/"; body is sent as JSON, or as a merge patch for PATCH; NULL: none.
 * Returns an exit code; for CORRAL_OK the status is 2xx.  In any case the
 * answer is filled in and to be freed with corral_http_free().
 */
corral_exit_e corral_http_request(corral_http_t *http, const char *method,
    const char *path, json_t *body, corral_answer_t *answer);

/*
 * Reads an endless answer until it ends, the callback ends it, or a signal
 * comes.  accept is the Accept header; last_id, if not NULL, Last-Event-ID.
 */
corral_exit_e corral_http_stream(corral_http_t *http, const char *path,
    const char *accept, const char *last_id, corral_http_data_pt cb,
    void *ctx, corral_answer_t *answer);

/* The exit code that a status means. */
corral_exit_e corral_http_code(long status);

void corral_http_free(corral_answer_t *answer);

/* Percent-encodes s as one part of a path.  To be freed by the caller. */
char *corral_http_escape(const char *s);


#endif /* _CORRAL_HTTP_H_INCLUDED_ */
