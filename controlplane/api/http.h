
/*
 * The HTTP server: libmicrohttpd on our loop.  See http.c.
 */


#ifndef _CORRALD_HTTP_H_INCLUDED_
#define _CORRALD_HTTP_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "rest.h"


typedef struct {
    uint64_t      requests;          /* begun */
    size_t        open;              /* being worked on, streams included */
} corrald_http_stats_t;


int corrald_http_open(char *err, size_t size)
    __attribute__((warn_unused_result));
void corrald_http_quiesce(void);
void corrald_http_close(void);
void corrald_http_answer(corrald_rest_t *r);
const corrald_http_stats_t *corrald_http_stats(void);


#endif /* _CORRALD_HTTP_H_INCLUDED_ */
