
/*
 * What states there are, which may follow which, and what they make of a
 * service.  The tables are the schema's.
 *
 * Pure: no I/O, no clock, no globals that change.
 */


#include <string.h>

#include "doc.h"
#include "state.h"


typedef struct {
    const char       *name;
    const char       *text;
} corrald_state_word_t;

typedef struct {
    corrald_state_e   from;
    corrald_state_e   to;
    const char       *text;
} corrald_state_change_t;


#define X(name, text)  { #name, text },

static const corrald_state_word_t  corrald_state_words[] = {
    CORRAL_INSTANCE_STATES(X)
};

static const corrald_state_word_t  corrald_state_statuses[] = {
    CORRAL_SERVICE_STATUS(X)
};

static const corrald_state_word_t  corrald_state_reasons[] = {
    CORRAL_REASONS(X)
    { NULL, NULL }
};

#undef X

static const corrald_state_change_t  corrald_state_changes[] = {
#define X(from, to, text)                                                     \
    { CORRALD_STATE_##from, CORRALD_STATE_##to, text },
    CORRAL_STATE_CHANGES(X)
#undef X
    { CORRALD_STATE_N, CORRALD_STATE_N, NULL }
};


/* Returns a state, or -1 when there is none of this name. */

int
corrald_state_parse(const char *name)
{
    int  i;

    for (i = 0; i < CORRALD_STATE_N; i++) {
        if (strcmp(corrald_state_words[i].name, name) == 0) {
            return i;
        }
    }

    return -1;
}


const char *
corrald_state_name(corrald_state_e state)
{
    return corrald_state_words[state].name;
}


const char *
corrald_state_text(corrald_state_e state)
{
    return corrald_state_words[state].text;
}


/* Returns what the change from one state to another means; NULL: illegal. */

const char *
corrald_state_change(corrald_state_e from, corrald_state_e to)
{
    const corrald_state_change_t  *c;

    for (c = corrald_state_changes; c->text; c++) {
        if (c->from == from && c->to == to) {
            return c->text;
        }
    }

    return NULL;
}


/* Returns the sentence of a reason code, or NULL. */

const char *
corrald_state_reason(const char *code)
{
    const corrald_state_word_t  *r;

    for (r = corrald_state_reasons; r->name; r++) {
        if (strcmp(r->name, code) == 0) {
            return r->text;
        }
    }

    return NULL;
}


/* Whether an instance in this state has, or soon has, a process. */

int
corrald_state_lives(corrald_state_e state)
{
    return state == CORRALD_STATE_starting || state == CORRALD_STATE_running
           || state == CORRALD_STATE_paused || state == CORRALD_STATE_draining
           || state == CORRALD_STATE_stopping;
}


/* Adds one instance to the numbers. */

void
corrald_state_count(corrald_state_count_t *count, const json_t *instance)
{
    int          state;
    const char  *health;

    state = corrald_state_parse(corrald_doc_str(instance, "state"));
    if (state == -1) {
        return;
    }

    count->total++;
    count->state[state]++;

    if (state != CORRALD_STATE_running) {
        return;
    }

    health = corrald_doc_str(instance, "health");

    if (strcmp(health, "healthy") == 0) {
        count->healthy++;

    } else if (strcmp(health, "degraded") == 0) {
        count->degraded++;

    } else if (strcmp(health, "unhealthy") == 0) {
        count->unhealthy++;

    } else {
        count->unknown++;
    }
}


/*
 * The status of a service: the first line of CORRAL_SERVICE_STATUS that is
 * true.  A paused instance counts as running: it lives and is well.
 */

corrald_status_e
corrald_state_status(const json_t *service, const corrald_state_count_t *count)
{
    int     i;
    size_t  lives, up;

    for (i = 0, lives = 0; i < CORRALD_STATE_N; i++) {
        lives += corrald_state_lives(i) ? count->state[i] : 0;
    }

    if (strcmp(corrald_doc_str(service, "desired"), "stopped") == 0) {
        return lives ? CORRALD_STATUS_stopping : CORRALD_STATUS_stopped;
    }

    up = count->state[CORRALD_STATE_running] - count->unhealthy
         + count->state[CORRALD_STATE_paused];

    if (up) {
        return CORRALD_STATUS_running;
    }

    if (count->unhealthy) {
        return CORRALD_STATUS_unhealthy;
    }

    if (count->state[CORRALD_STATE_failed]
        && count->state[CORRALD_STATE_starting] == 0)
    {
        return CORRALD_STATUS_error;
    }

    return CORRALD_STATUS_starting;
}


const char *
corrald_state_status_name(corrald_status_e status)
{
    return corrald_state_statuses[status].name;
}


const char *
corrald_state_status_text(corrald_status_e status)
{
    return corrald_state_statuses[status].text;
}
