/*
 * Reads what an instance answers to a probe.  Pure.  See answer.c.
 */


#ifndef _CORRALD_ANSWER_H_INCLUDED_
#define _CORRALD_ANSWER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* A status line and headers beyond this are no answer to a probe. */

#define CORRALD_ANSWER_HEAD   8192

/* An agent may greet before it answers; this much is listened to. */

#define CORRALD_ANSWER_BYTES  1048576


typedef enum {
    CORRALD_ANSWER_HTTP = 0,         /* status 200 to 399 */
    CORRALD_ANSWER_WEBSOCKET,        /* 101, then a pong to our ping */
    CORRALD_ANSWER_BODY,             /* status 200; message: its first line */
    CORRALD_ANSWER_LINE              /* no HTTP: message is the first line */
} corrald_answer_e;


typedef struct {
    corrald_answer_e  type;
    const char       *accept;        /* the right Sec-WebSocket-Accept */
    const char       *ping;          /* payload of the ping, 8 bytes */

    /* of corrald_answer_feed() */

    unsigned          upgraded:1;
    size_t            len;
    size_t            seen;
    size_t            skip;          /* rest of a frame that is passed over */
    char              head[CORRALD_ANSWER_HEAD];
    char              message[256];
} corrald_answer_t;


void corrald_answer_init(corrald_answer_t *a, corrald_answer_e type,
    const char *accept, const char *ping);

/*
 * Returns 1 when the probe has passed, -1 when it has failed, 0 when more is
 * needed; with 1 and -1 message is a sentence.  a->upgraded turns 1 when the
 * ping is to be sent.
 */

int corrald_answer_feed(corrald_answer_t *a, const char *data, size_t len)
    __attribute__((warn_unused_result));

/* The connection ended before an answer.  Always -1, with a sentence. */

int corrald_answer_end(corrald_answer_t *a);


#endif /* _CORRALD_ANSWER_H_INCLUDED_ */
