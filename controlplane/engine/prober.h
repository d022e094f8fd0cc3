/*
 * Asks one instance once.  See prober.c.
 */


#ifndef _CORRALD_PROBER_H_INCLUDED_
#define _CORRALD_PROBER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef enum {
    CORRALD_PROBER_TCP = 0,          /* connect, also to a unix socket */
    CORRALD_PROBER_HTTP,
    CORRALD_PROBER_WEBSOCKET,
    CORRALD_PROBER_AGENT,            /* its words; by HTTP if there is a path */
    CORRALD_PROBER_EXEC
} corrald_prober_type_e;


typedef struct {
    corrald_prober_type_e  type;
    int64_t                timeout;      /* ms */
    const char            *address;      /* of the instance; not for exec */
    const char            *path;         /* of http, websocket, agent */
    uint16_t               port;         /* of agent; 0: that of the address */

    /*
     * Of exec: the program corral-shim and its description (base/wire.h, mode
     * probe), which is taken over and wiped.
     */

    const char            *shim;
    char                  *description;
    size_t                 len;
} corrald_prober_ask_t;


typedef struct {
    int                    ok;
    int64_t                at;           /* ms since 1970, of its start */
    int64_t                duration;     /* ms */
    char                   message[256];
    char                   words[256];   /* of agent, one line; "": none */
} corrald_prober_result_t;


typedef struct corrald_prober_s  corrald_prober_t;

typedef void (*corrald_prober_pt)(const corrald_prober_result_t *result,
    void *data);


/*
 * handler is called exactly once, later, unless corrald_prober_cancel() comes
 * first; then *prober is no longer valid.  Returns NULL when memory is short.
 */

corrald_prober_t *corrald_prober_start(const corrald_prober_ask_t *ask,
    corrald_prober_pt handler, void *data);
void corrald_prober_cancel(corrald_prober_t **prober);


#endif /* _CORRALD_PROBER_H_INCLUDED_ */
