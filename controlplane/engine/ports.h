/*
 * TCP ports of instances.  See ports.c.
 */


#ifndef _CORRALD_PORTS_H_INCLUDED_
#define _CORRALD_PORTS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "address.h"


/*
 * How long a port rests after use, in ms: longer than any gateway may serve
 * from an old registry, so that no client is sent to a stranger.
 */

#define CORRALD_PORTS_QUARANTINE  60000


/*
 * Whether address can be bound now.  Returns 0, or -1 with a sentence that
 * names the holder where it can be found.
 */

int corrald_ports_check(const corrald_address_t *address, char *err,
    size_t size) __attribute__((warn_unused_result));

/*
 * Sets a port of first..last into address and takes it for instance_id.
 * Returns 0, or -1 when none is free, with a sentence that says why.
 */

int corrald_ports_take(corrald_address_t *address, uint16_t first,
    uint16_t last, const char *instance_id, int64_t now, char *err,
    size_t size) __attribute__((warn_unused_result));

/* A port that was given; a rest does not hinder it. */

void corrald_ports_use(unsigned port, const char *instance_id);

/* The instance has ended: its ports rest. */

void corrald_ports_release(const char *instance_id, int64_t now);

/* Nothing has listened on them: they need no rest. */

void corrald_ports_unused(const char *instance_id);
void corrald_ports_close(void);

/* "pid 123 (nginx)" and so on, or "" when it cannot be known. */

void corrald_ports_holder(const corrald_address_t *address, char *text,
    size_t size);


#endif /* _CORRALD_PORTS_H_INCLUDED_ */
