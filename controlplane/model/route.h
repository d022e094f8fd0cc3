
/*
 * Rules as gateways will understand them.  See route.c.
 */


#ifndef _CORRALD_ROUTE_H_INCLUDED_
#define _CORRALD_ROUTE_H_INCLUDED_


#include <jansson.h>

#include <corral_match.h>

#include "check.h"


/* A rule that was compiled; to be freed. */

typedef struct corrald_route_s  corrald_route_t;


corrald_route_t *corrald_route_make(const json_t *doc, char *err,
    size_t size) __attribute__((warn_unused_result));
void corrald_route_free(corrald_route_t *route);

/*
 * Whether the rule matches a request for a dry run: an object with method,
 * path, host, client_ip, client_port, user_agent, tenant, service (strings),
 * subprotocol (a string or an array), and headers, query, cookies, claims
 * (objects of strings or arrays of strings).  If not, *failed is a new object
 * that says why: condition, field, operator, expected, actual.
 */

int corrald_route_test(corrald_route_t *route, const json_t *doc,
    const json_t *request, json_t **failed);

/*
 * What the request has of words (header.NAME, query.NAME or cookie.NAME, blanks
 * between): the first value of the first word that it has, or NULL.
 */

const char *corrald_route_first(const json_t *request, const char *words);

/* The request of a dry run: its members and their types. */

int corrald_route_request(corrald_check_t *c, const json_t *request)
    __attribute__((warn_unused_result));

int corrald_route_check(corrald_check_t *c, const json_t *doc)
    __attribute__((warn_unused_result));
int corrald_route_compare(const json_t *a, const json_t *b);
void corrald_route_compat(json_t *in);


#endif /* _CORRALD_ROUTE_H_INCLUDED_ */
