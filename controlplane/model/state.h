
/*
 * States of instances, their legal changes, and what a service's status is
 * by them.  All from the tables of the schema.  See state.c.
 */


#ifndef _CORRALD_STATE_H_INCLUDED_
#define _CORRALD_STATE_H_INCLUDED_


#include <stddef.h>

#include <jansson.h>

#include <corral_schema.h>


typedef enum {
#define X(state, text)  CORRALD_STATE_##state,
    CORRAL_INSTANCE_STATES(X)
#undef X
    CORRALD_STATE_N
} corrald_state_e;                   /* -1: no such state */

typedef enum {
#define X(status, text)  CORRALD_STATUS_##status,
    CORRAL_SERVICE_STATUS(X)
#undef X
    CORRALD_STATUS_N
} corrald_status_e;


/* Numbers of instances of one service, the base of its status. */

typedef struct {
    size_t        total;
    size_t        state[CORRALD_STATE_N];
    size_t        healthy;           /* of those running */
    size_t        degraded;
    size_t        unhealthy;
    size_t        unknown;
} corrald_state_count_t;


int corrald_state_parse(const char *name);
const char *corrald_state_name(corrald_state_e state);
const char *corrald_state_text(corrald_state_e state);
const char *corrald_state_change(corrald_state_e from, corrald_state_e to);
const char *corrald_state_reason(const char *code);
int corrald_state_lives(corrald_state_e state);

void corrald_state_count(corrald_state_count_t *count,
    const json_t *instance);
corrald_status_e corrald_state_status(const json_t *service,
    const corrald_state_count_t *count);
const char *corrald_state_status_name(corrald_status_e status);
const char *corrald_state_status_text(corrald_status_e status);


/* all of them as text, with a blank before each */

#define corrald_state_status_word(status, text)  " " #status
#define CORRALD_STATUS_WORDS  CORRAL_SERVICE_STATUS(corrald_state_status_word)


#endif /* _CORRALD_STATE_H_INCLUDED_ */
