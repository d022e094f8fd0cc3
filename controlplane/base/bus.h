
/*
 * Typed events inside the process, from a lower layer to those above it, and
 * between files of one layer that must not know each other.  See bus.c.
 */


#ifndef _CORRALD_BUS_H_INCLUDED_
#define _CORRALD_BUS_H_INCLUDED_


#include <stdint.h>


/* X(type, payload, text).  The payload lives until corrald_bus_emit returns. */

#define CORRALD_BUS_TYPES(X)                                                  \
    X(CONF,   void,                                                           \
      "the configuration was read again")                                     \
    X(STORE,  corrald_bus_store_t,                                            \
      "Redis was lost or is back, or the view is complete")                   \
    X(LEADER, corrald_bus_leader_t,                                           \
      "this node became the leader, or is it no more")                        \
    X(FENCED, void,                                                           \
      "another corrald took this node's lease: stop acting, leave agents")    \
    X(EVENT,  corrald_bus_event_t,                                            \
      "an entry of the events stream, of any node, in their order")           \
    X(RESET,  void,                                                           \
      "the events stream broke: entries may be missing")                      \
    X(STOP,   void,                                                           \
      "corrald is about to end; agents live on")

typedef enum {
#define X(type, payload, text)  CORRALD_BUS_##type,
    CORRALD_BUS_TYPES(X)
#undef X
    CORRALD_BUS_N
} corrald_bus_type_e;


typedef struct {
    int           connected;         /* Redis answers */
    int           ready;             /* the view is complete and followed */
} corrald_bus_store_t;

typedef struct {
    int           leader;
    int64_t       token;             /* fencing token, 0 when not the leader */
} corrald_bus_leader_t;

typedef struct {
    const char   *stream_id;         /* of Redis: "1700000000000-0" */
    const char   *type;
    const char   *kind;
    const char   *id;
    const char   *data;              /* JSON text */
} corrald_bus_event_t;


typedef void (*corrald_bus_pt)(corrald_bus_type_e type, const void *payload,
    void *data);


int corrald_bus_on(corrald_bus_type_e type, corrald_bus_pt handler,
    void *data) __attribute__((warn_unused_result));
void corrald_bus_emit(corrald_bus_type_e type, const void *payload);
void corrald_bus_close(void);


#endif /* _CORRALD_BUS_H_INCLUDED_ */
