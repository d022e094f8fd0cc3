
/*
 * Answers without an end.  See stream.c.
 */


#ifndef _CORRALD_STREAM_H_INCLUDED_
#define _CORRALD_STREAM_H_INCLUDED_


#include <stddef.h>

#include "rest.h"


typedef struct corrald_stream_s  corrald_stream_t;

typedef enum {
    CORRALD_STREAM_SSE = 0,          /* text/event-stream */
    CORRALD_STREAM_NDJSON,           /* application/x-ndjson */
    CORRALD_STREAM_TEXT              /* text/plain */
} corrald_stream_type_e;

typedef void (*corrald_stream_pt)(void *data);


/*
 * Begins the answer to r, which is not to be touched any more.  gone is called
 * exactly once, when the client has left or the stream has ended: then the
 * stream is no longer valid.  more (or NULL) is called when what was written
 * has been taken.  Returns NULL after a problem was answered; gone is not
 * called then.
 */

corrald_stream_t *corrald_stream_begin(corrald_rest_t *r,
    corrald_stream_type_e type, corrald_stream_pt gone, corrald_stream_pt more,
    void *data);

/*
 * Appends to what is to be sent.  Returns 0; -1: the client is so slow that
 * the stream ends, nothing more need be written.
 */

int corrald_stream_write(corrald_stream_t *s, const void *data, size_t len);

/* Bytes that the client has not taken yet. */

size_t corrald_stream_pending(const corrald_stream_t *s);

/* Ends the stream when all is sent. */

void corrald_stream_end(corrald_stream_t *s);

/* Which type a request asks for by its header Accept. */

corrald_stream_type_e corrald_stream_type(const corrald_rest_t *r,
    corrald_stream_type_e preset);

int corrald_stream_open(void) __attribute__((warn_unused_result));
void corrald_stream_close(void);
size_t corrald_stream_clients(void);


#endif /* _CORRALD_STREAM_H_INCLUDED_ */
