
/*
 * The journal of one connection.
 *
 * An entry is a message of the client, in the order it came.  A request stays
 * until its final answer has come.  A note, which asks for nothing, stays until
 * there is evidence that the agent has read it: an answer to a later request,
 * or what the caller has found (corral_journal_seen()).  The preamble stays for
 * good.  So what lies here when an agent is lost is what another one must get,
 * for each message to have reached at least one.
 *
 * Memory is bounded twice, for the connection and for all of them.  What does
 * not fit is noted without its payload: as long as it is open, the connection
 * cannot be resumed.
 *
 * Pure: no I/O, no clock, no globals; memory comes from the caller.
 */


#include "corral_journal.h"

#include <string.h>


static void corral_journal_remove(corral_journal_t *j,
    corral_journal_entry_t **link);
static void corral_journal_done(corral_journal_t *j,
    corral_journal_entry_t *e);


void
corral_journal_init(corral_journal_t *j, corral_journal_memory_t *memory,
    size_t max)
{
    memset(j, 0, sizeof(corral_journal_t));

    j->memory = memory;
    j->end = &j->first;
    j->max = max;
}


/* Frees all entries; the journal is empty and may go on. */

void
corral_journal_free(corral_journal_t *j)
{
    while (j->first) {
        corral_journal_remove(j, &j->first);
    }
}


/*
 * Notes a message of the client before it is sent; answer says what it is.
 * Without data, or without room for it, only that it came.  Returns the entry,
 * which is sent and open; NULL if there was room for nothing: the connection
 * cannot be resumed any more.
 */

corral_journal_entry_t *
corral_journal_add(corral_journal_t *j, const corral_answer_t *answer,
    unsigned opcode, const void *data, size_t len)
{
    size_t                   size;
    corral_journal_entry_t  *e;
    corral_journal_memory_t *m;

    m = j->memory;
    size = sizeof(corral_journal_entry_t) + len;

    if (data == NULL || j->used + size > j->max || m->used + size > m->max) {
        data = NULL;
        size = sizeof(corral_journal_entry_t);
    }

    j->seq++;

    e = data || j->lost < CORRAL_JOURNAL_LOST_MAX ? m->alloc(m->data, size)
                                                  : NULL;
    if (e == NULL) {
        j->blind = 1;
        return NULL;
    }

    memset(e, 0, sizeof(corral_journal_entry_t));

    e->seq = j->seq;
    e->key = answer->key;
    e->content = answer->content;
    e->opcode = (uint8_t) opcode;
    e->request = answer->kind == CORRAL_ANSWER_REQUEST;
    e->preamble = answer->preamble != 0;
    e->open = 1;
    e->sent = 1;

    if (data) {
        e->len = (uint32_t) len;
        memcpy(e->data, data, len);

    } else {
        e->lost = 1;
        j->lost++;
    }

    if (e->request) {
        j->requests++;

    } else {
        j->notes++;
    }

    j->used += size;
    m->used += size;

    *j->end = e;
    j->end = &e->next;

    return e;
}


/* The oldest open request of that key; if there is none, one without a key. */

corral_journal_entry_t *
corral_journal_find(corral_journal_t *j, uint64_t key)
{
    corral_journal_entry_t  *e, *keyless;

    keyless = NULL;

    for (e = j->first; e; e = e->next) {

        if (!e->request || !e->open || !e->sent) {
            continue;
        }

        if (e->key == key) {
            return e;
        }

        if (e->key == 0 && keyless == NULL) {
            keyless = e;
        }
    }

    return keyless;
}


/*
 * The agent has sent a message, which answer describes.  Returns 1 if the
 * client has had that answer, so that it must not pass; else 0.
 */

int
corral_journal_answer(corral_journal_t *j, const corral_answer_t *answer)
{
    int                      swallow;
    corral_journal_entry_t  *e;

    if (answer->kind < CORRAL_ANSWER_STARTED || j->requests == 0) {
        return 0;
    }

    e = corral_journal_find(j, answer->key);
    if (e == NULL) {
        return 0;
    }

    swallow = e->swallow;

    if (e->seq > 1) {
        corral_journal_seen(j, e->seq - 1);
    }

    if (answer->kind == CORRAL_ANSWER_FINAL) {
        corral_journal_done(j, e);

    } else if (!swallow) {
        e->started = 1;
    }

    return swallow;
}


/* There is evidence that the agent has read everything up to seq. */

void
corral_journal_seen(corral_journal_t *j, uint32_t seq)
{
    corral_journal_entry_t  *e, *next;

    for (e = j->notes ? j->first : NULL; e; e = next) {
        next = e->next;

        if (!e->request && e->open && e->sent && e->seq <= seq) {
            corral_journal_done(j, e);
        }
    }
}


/* an entry is open no longer; only the preamble stays */

static void
corral_journal_done(corral_journal_t *j, corral_journal_entry_t *e)
{
    corral_journal_entry_t  **link;

    if (!e->preamble) {
        for (link = &j->first; *link != e; link = &(*link)->next) {
            /* void */
        }

        corral_journal_remove(j, link);
        return;
    }

    if (e->request) {
        j->requests--;

    } else {
        j->notes--;
    }

    e->open = 0;
    e->started = 0;
    e->again = 0;
    e->swallow = 0;
    e->deaths = 0;
}


static void
corral_journal_remove(corral_journal_t *j, corral_journal_entry_t **link)
{
    size_t                   size;
    corral_journal_entry_t  *e;

    e = *link;
    size = sizeof(corral_journal_entry_t) + e->len;

    *link = e->next;

    if (j->end == &e->next) {
        j->end = link;
    }

    if (e->open && e->request) {
        j->requests--;
    }

    if (e->open && !e->request) {
        j->notes--;
    }

    j->lost -= e->lost;
    j->used -= size;
    j->memory->used -= size;
    j->memory->free(j->memory->data, e);
}


/*
 * The agent is lost.  died: not because it wanted to leave.  started: requests
 * whose answer has begun may be sent again.  After CORRAL_JOURNAL_REPLAY all
 * that is due is to be sent again, see corral_journal_next(); after another
 * verdict the connection must be closed.
 */

corral_journal_verdict_e
corral_journal_lose(corral_journal_t *j, unsigned died, unsigned started)
{
    unsigned                 suspect, begun, lost;
    corral_journal_entry_t  *e;

    suspect = 0;
    begun = 0;
    lost = j->blind;

    for (e = j->first; e; e = e->next) {

        if (died && e->open && e->sent && ++e->deaths > 1) {
            suspect = 1;
        }

        begun |= e->started;

        /* a preamble without payload can never be sent again */

        lost |= e->lost;
    }

    if (suspect) {
        return CORRAL_JOURNAL_SUSPECT;
    }

    if (lost) {
        return CORRAL_JOURNAL_OVERFLOW;
    }

    if (begun && !started) {
        return CORRAL_JOURNAL_STARTED;
    }

    for (e = j->first; e; e = e->next) {

        e->again |= e->started;
        e->started = 0;
        e->sent = 0;

        if (e->open) {
            continue;
        }

        /* the preamble was dealt with once, and is to be once more */

        e->open = 1;
        e->swallow = e->request;

        if (e->request) {
            j->requests++;

        } else {
            j->notes++;
        }
    }

    return CORRAL_JOURNAL_REPLAY;
}


/* The first message that saw two deaths, or the next one; NULL: no more. */

corral_journal_entry_t *
corral_journal_suspect(const corral_journal_t *j,
    const corral_journal_entry_t *after)
{
    corral_journal_entry_t  *e;

    e = after ? after->next : j->first;

    while (e && (e->deaths < 2 || e->lost)) {
        e = e->next;
    }

    return e;
}


/*
 * The next message that the new agent must get, or NULL: the preamble first,
 * and the rest when its answers have come, see corral_journal_waits().  The
 * caller sends it and, if again is set, tells the client before that an answer
 * begins anew.
 */

corral_journal_entry_t *
corral_journal_next(corral_journal_t *j)
{
    corral_journal_entry_t  *e, *other;

    other = NULL;

    for (e = j->first; e; e = e->next) {

        if (e->sent) {
            continue;
        }

        if (e->preamble) {
            e->sent = 1;
            return e;
        }

        if (other == NULL) {
            other = e;
        }
    }

    if (other && !corral_journal_waits(j)) {
        other->sent = 1;
        return other;
    }

    return NULL;
}


/* 1 while an answer to the preamble is to come that the client has had */

int
corral_journal_waits(const corral_journal_t *j)
{
    corral_journal_entry_t  *e;

    for (e = j->first; e; e = e->next) {

        if (e->swallow) {
            return 1;
        }
    }

    return 0;
}
