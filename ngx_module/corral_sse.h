
/*
 * Server-sent events (WHATWG HTML, 9.2) as a gateway needs them: where an event
 * ends in bytes that come in pieces, and the ids that the gateway gives them.
 * See corral_sse.c.
 */


#ifndef _CORRAL_SSE_H_INCLUDED_
#define _CORRAL_SSE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_SSE_RUN     32      /* hexadecimal digits of the id of a run */
#define CORRAL_SSE_ID_MAX  53      /* run, "-", 20 digits */

/* what corral_sse_scan() returns */

#define CORRAL_SSE_MORE     0      /* the event goes on */
#define CORRAL_SSE_EVENT    1      /* an event ends here */
#define CORRAL_SSE_NOTHING  2      /* comments and empty lines end here */


/* all zero at the start of a stream */

typedef struct {
    uint8_t    cr;                 /* a LF would belong to the CR before */
    uint8_t    middle;             /* not at the beginning of a line */
    uint8_t    field;              /* a line that is no comment has begun */
} corral_sse_t;


typedef struct {
    size_t     start;              /* first byte that counts */
    size_t     end;                /* behind the last one of the event */
    size_t     used;               /* what is dealt with */
} corral_sse_part_t;


int corral_sse_scan(corral_sse_t *s, const uint8_t *p, size_t n,
    corral_sse_part_t *part);
int corral_sse_parse_id(const char *id, size_t len, uint64_t *seq);


#endif /* _CORRAL_SSE_H_INCLUDED_ */
