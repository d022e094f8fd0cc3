/*
 * The connection to one shim.  See link.c.
 */


#ifndef _CORRALD_LINK_H_INCLUDED_
#define _CORRALD_LINK_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "../base/wire.h"


typedef enum {
    CORRALD_LINK_HELLO = 0,          /* first, and only once */
    CORRALD_LINK_EXIT,               /* the agent ended; msg says how */
    CORRALD_LINK_GONE,               /* nothing of it is left */
    CORRALD_LINK_REPORT,
    CORRALD_LINK_DEAD,               /* the kernel says that the agent ended */
    CORRALD_LINK_LOST                /* the shim closed: it is gone, too */
} corrald_link_e;


typedef struct corrald_link_s  corrald_link_t;

/*
 * msg is NULL for DEAD and LOST; it is valid until the handler returns.  The
 * handler may close the link.  After LOST the link must be closed.
 */

typedef void (*corrald_link_pt)(corrald_link_e event,
    const corrald_wire_msg_t *msg, void *data);


/* Returns NULL with errno when nobody listens there. */

corrald_link_t *corrald_link_open(const char *path, corrald_link_pt handler,
    void *data);
void corrald_link_close(corrald_link_t **link);

/* Returns 0, or -1 when it could not be sent: LOST follows or has come. */

int corrald_link_send(corrald_link_t *link, corrald_wire_type_e type,
    int signal, int group, int64_t timeout);


#endif /* _CORRALD_LINK_H_INCLUDED_ */
