
/*
 * What a handler reads of a request beside its query: headers, body, and the
 * revision that it names.  What is not as it must be is answered here.
 */


#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "rest.h"


/* A header of the request, or NULL. */

const char *
corrald_rest_header(const corrald_rest_t *r, const char *name)
{
    return r->conn ? MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND,
                                                 name)
                   : NULL;
}


/*
 * Parses the body into r->json.  Without a body and if none is required it is
 * an empty object.  Returns 0, or -1 after a problem was answered.
 */

int
corrald_rest_body(corrald_rest_t *r, int required)
{
    const char       *type;
    corrald_check_t   check;

    if (r->body.len == 0 && !required) {
        r->json = json_object();
        return 0;
    }

    type = corrald_rest_header(r, "Content-Type");

    if (type && strncasecmp(type, "application/json", 16) != 0
        && strncasecmp(type, "application/merge-patch+json", 28) != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_MEDIA_TYPE, "the body is "
                             "\"%.64s\", it must be application/json", type);
        return -1;
    }

    if (r->body.len == 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_JSON,
                             "there is no body: a JSON object is needed");
        return -1;
    }

    corrald_check_init(&check);

    r->json = corrald_check_parse(&check, r->body.data, r->body.len);

    if (r->json == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_JSON, "%s",
                             check.sentence);
    }

    corrald_check_free(&check);

    return r->json ? 0 : -1;
}


/* Whether one of the tags of a header is this revision, or "*". */

static int
corrald_rest_tag(const char *header, int64_t revision)
{
    char         tag[32];
    size_t       len;
    const char  *p;

    snprintf(tag, sizeof(tag), "\"%lld\"", (long long) revision);
    len = strlen(tag);

    if (strcmp(header, "*") == 0) {
        return 1;
    }

    for (p = header; (p = strstr(p, tag)) != NULL; p += len) {
        if (p == header || p[-1] == ' ' || p[-1] == ',' || p[-1] == '/') {
            return 1;
        }
    }

    return 0;
}


/* Compares If-Match with the revision of what is to be changed. */

int
corrald_rest_if_match(corrald_rest_t *r, int64_t revision)
{
    const char  *header;

    header = corrald_rest_header(r, "If-Match");

    if (header == NULL || corrald_rest_tag(header, revision)) {
        return 0;
    }

    if (*header != '"' && strncmp(header, "W/\"", 3) != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST, "If-Match must "
                             "be an ETag in quotes");
        return -1;
    }

    corrald_rest_etag(r, revision);
    corrald_rest_problem(r, CORRALD_PROBLEM_PRECONDITION_FAILED,
                         "the revision is %lld, If-Match is %.64s",
                         (long long) revision, header);

    return -1;
}


/* Sets the ETag.  Returns 1 after 304 was answered. */

int
corrald_rest_not_modified(corrald_rest_t *r, int64_t revision)
{
    const char  *header;

    corrald_rest_etag(r, revision);

    header = corrald_rest_header(r, "If-None-Match");

    if (header == NULL || !corrald_rest_tag(header, revision)) {
        return 0;
    }

    corrald_rest_empty(r, 304);

    return 1;
}


/* The header Accept, or "". */

const char *
corrald_rest_accept(const corrald_rest_t *r)
{
    const char  *accept;

    accept = corrald_rest_header(r, "Accept");

    return accept ? accept : "";
}
