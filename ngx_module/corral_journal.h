
/*
 * The journal of one connection: what the client said and nobody has answered
 * yet, and what set its session up.  See corral_journal.c.
 */


#ifndef _CORRAL_JOURNAL_H_INCLUDED_
#define _CORRAL_JOURNAL_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "corral_answer.h"


#define CORRAL_JOURNAL_LOST_MAX  1024   /* messages known by their key alone */


/* Where memory comes from, and how much all journals may take together. */

typedef struct {
    void      *(*alloc)(void *data, size_t size);
    void       (*free)(void *data, void *p);
    void        *data;
    size_t       max;
    size_t       used;
} corral_journal_memory_t;


typedef struct corral_journal_entry_s  corral_journal_entry_t;

struct corral_journal_entry_s {
    corral_journal_entry_t  *next;
    uint64_t                 key;
    uint64_t                 content;   /* see corral_answer_t */
    uint32_t                 seq;
    uint32_t                 len;
    uint8_t                  opcode;
    uint8_t                  deaths;    /* of agents, while it was open */

    unsigned                 request:1;
    unsigned                 preamble:1;
    unsigned                 open:1;    /* no final answer, no evidence yet */
    unsigned                 sent:1;    /* to the agent of now */
    unsigned                 started:1; /* part of its answer has passed */
    unsigned                 again:1;   /* it was, when the agent was lost */
    unsigned                 swallow:1; /* the client has its answer already */
    unsigned                 lost:1;    /* without its payload */

    uint8_t                  data[];
};


typedef struct {
    corral_journal_memory_t  *memory;
    corral_journal_entry_t   *first;
    corral_journal_entry_t  **end;
    size_t                    max;      /* bytes, entries included */
    size_t                    used;
    uint32_t                  seq;      /* of the last message */
    uint32_t                  notes;    /* open ones */
    uint32_t                  requests; /* open ones */
    uint32_t                  lost;
    unsigned                  blind:1;  /* a message was not even noted */
} corral_journal_t;


/* what may be done when the agent is lost */

typedef enum {
    CORRAL_JOURNAL_REPLAY = 0,
    CORRAL_JOURNAL_SUSPECT,             /* in flight at a second death */
    CORRAL_JOURNAL_OVERFLOW,            /* an open message was not kept */
    CORRAL_JOURNAL_STARTED              /* an answer has begun */
} corral_journal_verdict_e;


void corral_journal_init(corral_journal_t *j, corral_journal_memory_t *memory,
    size_t max);
void corral_journal_free(corral_journal_t *j);

corral_journal_entry_t *corral_journal_add(corral_journal_t *j,
    const corral_answer_t *answer, unsigned opcode, const void *data,
    size_t len);
corral_journal_entry_t *corral_journal_find(corral_journal_t *j, uint64_t key);
int corral_journal_answer(corral_journal_t *j, const corral_answer_t *answer);
void corral_journal_seen(corral_journal_t *j, uint32_t seq);

corral_journal_verdict_e corral_journal_lose(corral_journal_t *j,
    unsigned died, unsigned started);
corral_journal_entry_t *corral_journal_suspect(
    const corral_journal_t *j, const corral_journal_entry_t *after);
corral_journal_entry_t *corral_journal_next(corral_journal_t *j);
int corral_journal_waits(const corral_journal_t *j);


/* nothing of what the agent says can be an answer */

static inline int
corral_journal_idle(const corral_journal_t *j)
{
    return j->requests == 0;
}


#endif /* _CORRAL_JOURNAL_H_INCLUDED_ */
