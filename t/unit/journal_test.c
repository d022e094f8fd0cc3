/* links: ngx_module/corral_journal.c */

/*
 * The journal: what is to be sent again, what is swallowed, suspects, overflow,
 * and memory to the byte.
 */


#include "../../ngx_module/corral_journal.h"

#include <stdlib.h>

#include "unit.h"


static corral_journal_memory_t  memory;
static int                      blocks;


static void *
take(void *data, size_t size)
{
    (void) data;
    blocks++;

    return malloc(size);
}


static void
give(void *data, void *p)
{
    (void) data;
    blocks--;
    free(p);
}


/* "r1": request 1; "n": a note */

static corral_journal_entry_t *
say(corral_journal_t *j, const char *text, int preamble)
{
    corral_answer_t  a;

    a.kind = *text == 'r' ? CORRAL_ANSWER_REQUEST : CORRAL_ANSWER_NOTE;
    a.key = *text == 'r' ? (uint64_t) text[1] : 0;
    a.preamble = (unsigned) preamble;

    return corral_journal_add(j, &a, 1, text, strlen(text));
}


/* "f1": the final answer to request 1; "p1": a part of it */

static int
answer(corral_journal_t *j, const char *text)
{
    corral_answer_t  a;

    a.kind = *text == 'f' ? CORRAL_ANSWER_FINAL : CORRAL_ANSWER_STARTED;
    a.key = (uint64_t) text[1];
    a.preamble = 0;

    return corral_journal_answer(j, &a);
}


static void
next_is(corral_journal_t *j, const char *want, const char *name)
{
    char                     text[256];
    corral_journal_entry_t  *e;

    e = corral_journal_next(j);

    if (e == NULL) {
        is_str(NULL, want, name);
        return;
    }

    snprintf(text, sizeof(text), "%.*s", (int) e->len, (char *) e->data);
    is_str(text, want, name);
}


static void
start(corral_journal_t *j, size_t max)
{
    memory = (corral_journal_memory_t) { take, give, NULL, 1000000, 0 };
    corral_journal_init(j, &memory, max);
}


static void
end(corral_journal_t *j)
{
    corral_journal_free(j);
    ok(blocks == 0 && memory.used == 0 && j->used == 0 && j->requests == 0
       && j->notes == 0 && j->lost == 0, "all memory is given back");
}


static void
test_replay(void)
{
    corral_journal_t  j;

    start(&j, 65536);

    say(&j, "r1", 0);
    say(&j, "r2", 0);
    say(&j, "r3", 0);
    is_int(answer(&j, "f2"), 0, "an answer passes");
    is_int(answer(&j, "f9"), 0, "one that nobody asked for passes");
    is_int(j.requests, 2, "two are open");

    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "lost");
    next_is(&j, "r1", "the first that has no answer");
    next_is(&j, "r3", "the other one");
    next_is(&j, NULL, "no more");

    is_int(answer(&j, "f3"), 0, "answered by the next agent");
    is_int(answer(&j, "f1"), 0, "the other one too");
    ok(corral_journal_idle(&j), "nothing is open");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "lost again");
    next_is(&j, NULL, "nothing is to be sent");
    end(&j);
}


static void
test_preamble(void)
{
    corral_journal_t  j;

    start(&j, 65536);

    say(&j, "r0", 1);
    say(&j, "note", 1);
    is_int(answer(&j, "f0"), 0, "the first time its answer passes");
    say(&j, "r1", 0);

    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "lost");
    next_is(&j, "r0", "the preamble");
    next_is(&j, "note", "all of it");
    next_is(&j, NULL, "the rest waits for its answer");
    is_int(corral_journal_waits(&j), 1, "which is to come");
    is_int(answer(&j, "f0"), 1, "and is swallowed");
    next_is(&j, "r1", "now the request");
    is_int(answer(&j, "f1"), 0, "whose answer passes");

    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "lost again");
    next_is(&j, "r0", "the preamble once more");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "and again");
    next_is(&j, "r0", "the preamble once more");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_SUSPECT,
           "one that kills each agent is a suspect");
    end(&j);

    /* not answered before the death: passed afterwards */

    start(&j, 65536);
    say(&j, "r0", 1);
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "lost");
    next_is(&j, "r0", "the preamble");
    is_int(answer(&j, "f0"), 0, "its first answer passes");
    end(&j);
}


static void
test_notes(void)
{
    corral_journal_t  j;

    start(&j, 65536);

    say(&j, "a", 0);
    say(&j, "r1", 0);
    say(&j, "b", 0);
    is_int(j.notes, 2, "two notes");
    is_int(answer(&j, "f1"), 0, "an answer");
    is_int(j.notes, 1, "is evidence for what came before");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "lost");
    next_is(&j, "b", "the other one is sent again");
    corral_journal_seen(&j, j.seq);
    is_int(j.notes, 0, "other evidence");
    ok(j.first == NULL, "nothing is left");
    end(&j);
}


static void
test_started(void)
{
    corral_journal_t  j;

    start(&j, 65536);
    say(&j, "r1", 0);
    is_int(answer(&j, "p1"), 0, "a part passes");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_STARTED,
           "not to be sent again");
    corral_journal_free(&j);

    say(&j, "r1", 0);
    (void) answer(&j, "p1");
    is_int(corral_journal_lose(&j, 1, 1), CORRAL_JOURNAL_REPLAY,
           "to be sent again, if that is allowed");
    is_int(j.first->again, 1, "and the client is to be told");
    end(&j);
}


static void
test_suspect(void)
{
    corral_journal_t         j;
    corral_journal_entry_t  *e;

    start(&j, 65536);

    say(&j, "r1", 0);
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "one death");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY,
           "one that it was not sent to");
    next_is(&j, "r1", "sent again");
    say(&j, "r2", 0);
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_SUSPECT, "two deaths");

    e = corral_journal_suspect(&j, NULL);
    ok(e && e->seq == 1, "the suspect");
    ok(corral_journal_suspect(&j, e) == NULL, "the newer one is none");
    end(&j);

    start(&j, 65536);
    say(&j, "r1", 0);
    is_int(corral_journal_lose(&j, 0, 0), CORRAL_JOURNAL_REPLAY, "one leaves");
    next_is(&j, "r1", "sent again");
    is_int(corral_journal_lose(&j, 0, 0), CORRAL_JOURNAL_REPLAY,
           "another one leaves: nobody has died");
    next_is(&j, "r1", "sent again");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY, "one death");
    end(&j);
}


static void
test_overflow(void)
{
    int                      i;
    corral_answer_t          a;
    corral_journal_t         j;

    start(&j, 2 * sizeof(corral_journal_entry_t) + 10);

    say(&j, "r1", 0);
    say(&j, "r2", 0);
    say(&j, "r3", 0);
    is_int(j.lost, 1, "the third is known by its key alone");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_OVERFLOW,
           "cannot be resumed");
    corral_journal_free(&j);

    say(&j, "r1", 0);
    say(&j, "r2", 0);
    say(&j, "r3", 0);
    (void) answer(&j, "f3");
    is_int(j.lost, 0, "it is answered");
    is_int(corral_journal_lose(&j, 1, 0), CORRAL_JOURNAL_REPLAY,
           "can be resumed");
    corral_journal_free(&j);

    memory.max = 10;
    say(&j, "r1", 0);
    is_int(j.lost, 1, "all journals together are bounded, too");

    a.kind = CORRAL_ANSWER_REQUEST;
    a.key = 2;
    a.preamble = 0;

    for (i = 0; i < CORRAL_JOURNAL_LOST_MAX; i++) {
        (void) corral_journal_add(&j, &a, 1, NULL, 0);
    }

    is_int(j.lost, CORRAL_JOURNAL_LOST_MAX, "so are the keys");
    is_int(j.blind, 1, "and then it is blind");
    end(&j);
}


int
main(void)
{
    test_replay();
    test_preamble();
    test_notes();
    test_started();
    test_suspect();
    test_overflow();

    return done_testing();
}
