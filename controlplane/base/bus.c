
/*
 * Who wants to hear of what, and telling them.  Handlers are called in the
 * order of their registration and must not register others meanwhile.
 */


#include <stdlib.h>

#include "bus.h"


/* A registration is a line of some start function: there are few. */

#define CORRALD_BUS_HANDLERS  16


typedef struct {
    corrald_bus_pt    handler;
    void             *data;
} corrald_bus_slot_t;


static corrald_bus_slot_t
    corrald_bus_slots[CORRALD_BUS_N][CORRALD_BUS_HANDLERS];
static int  corrald_bus_n[CORRALD_BUS_N];


/* Returns 0; -1: too many handlers of this type. */

int
corrald_bus_on(corrald_bus_type_e type, corrald_bus_pt handler, void *data)
{
    corrald_bus_slot_t  *slot;

    if (corrald_bus_n[type] == CORRALD_BUS_HANDLERS) {
        return -1;
    }

    slot = &corrald_bus_slots[type][corrald_bus_n[type]++];
    slot->handler = handler;
    slot->data = data;

    return 0;
}


/* Calls all handlers of this type, at once. */

void
corrald_bus_emit(corrald_bus_type_e type, const void *payload)
{
    int  i;

    for (i = 0; i < corrald_bus_n[type]; i++) {
        corrald_bus_slots[type][i].handler(type, payload,
                                           corrald_bus_slots[type][i].data);
    }
}


/* Forgets all handlers. */

void
corrald_bus_close(void)
{
    int  i;

    for (i = 0; i < CORRALD_BUS_N; i++) {
        corrald_bus_n[i] = 0;
    }
}
