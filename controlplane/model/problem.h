
/*
 * Problem documents, RFC 9457.  See problem.c.
 */


#ifndef _CORRALD_PROBLEM_H_INCLUDED_
#define _CORRALD_PROBLEM_H_INCLUDED_


#include <jansson.h>


/*
 * Every problem that the API answers: X(code, status, title).  The code is
 * stable: clients and translations go by it.  The lower-case code is the last
 * part of "type".
 */

#define CORRALD_PROBLEMS(X)                                                   \
    X(BAD_REQUEST,         400, "The request cannot be understood")           \
    X(INVALID_JSON,        400, "The body is not valid JSON")                 \
    X(INVALID_PARAMETER,   400, "A query parameter has a wrong value")        \
    X(ACTION_FAILED,       400, "The action failed")                          \
    X(TOKEN_REQUIRED,      401, "A token is required")                        \
    X(TOKEN_INVALID,       401, "The token is not valid")                     \
    X(FORBIDDEN,           403, "The permission is missing")                  \
    X(HOST_REFUSED,        403, "The Host header names another host")         \
    X(ORIGIN_REFUSED,      403, "Web pages of this origin may not call")      \
    X(NOT_FOUND,           404, "There is no such resource")                  \
    X(SERVICE_NOT_FOUND,   404, "There is no such service")                   \
    X(INSTANCE_NOT_FOUND,  404, "There is no such instance")                  \
    X(RULE_NOT_FOUND,      404, "There is no such rule")                      \
    X(CONNECTION_NOT_FOUND, 404, "There is no such connection")               \
    X(REVOCATION_NOT_FOUND, 404, "It is not revoked")                         \
    X(OPERATION_NOT_FOUND, 404, "There is no such operation")                 \
    X(METHOD_NOT_ALLOWED,  405, "The resource does not have this method")     \
    X(NAME_TAKEN,          409, "Another one has this name")                  \
    X(CONFLICT,            409, "The resource is in another state")           \
    X(REQUEST_IN_FLIGHT,   409, "The first request with this key still runs") \
    X(PRECONDITION_FAILED, 412, "The resource was changed meanwhile")         \
    X(BODY_TOO_LARGE,      413, "The body is too large")                      \
    X(MEDIA_TYPE,          415, "The media type is not understood")           \
    X(VALIDATION_FAILED,   422, "Some values are not valid")                  \
    X(KEY_REUSED,          422, "The key was used for another request")       \
    X(INTERNAL_ERROR,      500, "corrald failed")                             \
    X(STORE_UNAVAILABLE,   503, "The store cannot be reached")                \
    X(STORE_TIMEOUT,       503, "The store did not answer in time")           \
    X(OVERLOADED,          503, "Too many requests of this kind")

typedef enum {
    CORRALD_PROBLEM_NONE = 0,
#define X(code, status, title)  CORRALD_PROBLEM_##code,
    CORRALD_PROBLEMS(X)
#undef X
    CORRALD_PROBLEM_N
} corrald_problem_e;


int corrald_problem_http(corrald_problem_e problem);
const char *corrald_problem_code(corrald_problem_e problem);
const char *corrald_problem_title(corrald_problem_e problem);
json_t *corrald_problem_make(corrald_problem_e problem, const char *instance,
    const char *detail, const json_t *errors);


#endif /* _CORRALD_PROBLEM_H_INCLUDED_ */
