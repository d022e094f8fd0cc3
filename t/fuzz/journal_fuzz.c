/* links: ngx_module/corral_journal.c */

/*
 * A journal under any order of messages, answers, evidence and deaths: counts
 * and memory agree with a walk over the entries, nothing that was answered is
 * sent again, and nobody gets the answer to a request twice.  Input: two bytes
 * for each step.
 */


#include "../../ngx_module/corral_journal.h"

#include <stdlib.h>
#include <string.h>


#define KEYS  8


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static corral_journal_memory_t  memory;
static unsigned                 asked[KEYS + 1];   /* requests so far */
static unsigned                 had[KEYS + 1];     /* final answers passed */


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


static void *
fuzz_alloc(void *data, size_t size)
{
    (void) data;

    return malloc(size);
}


static void
fuzz_free(void *data, void *p)
{
    (void) data;
    free(p);
}


static void
fuzz_walk(const corral_journal_t *j)
{
    size_t                         used;
    uint32_t                       notes, requests, lost;
    const corral_journal_entry_t  *e;

    used = 0;
    notes = 0;
    requests = 0;
    lost = 0;

    for (e = j->first; e; e = e->next) {
        used += sizeof(corral_journal_entry_t) + e->len;
        requests += e->open && e->request;
        notes += e->open && !e->request;
        lost += e->lost;

        fuzz_check(e->open || e->preamble);
        fuzz_check(!e->swallow || (e->preamble && e->request && e->open));
    }

    fuzz_check(used == j->used && used == memory.used);
    fuzz_check(requests == j->requests);
    fuzz_check(notes == j->notes);
    fuzz_check(lost == j->lost && lost <= CORRAL_JOURNAL_LOST_MAX);
}


static void
fuzz_say(corral_journal_t *j, unsigned op, unsigned arg)
{
    uint8_t          text[600];
    corral_answer_t  a;

    memset(text, (int) arg, sizeof(text));

    a.kind = op ? CORRAL_ANSWER_REQUEST : CORRAL_ANSWER_NOTE;
    a.key = op ? arg % KEYS + 1 : 0;
    a.preamble = arg > 250;

    if (op) {
        asked[a.key]++;
    }

    (void) corral_journal_add(j, &a, 1, text, arg * 2);
}


static void
fuzz_answer(corral_journal_t *j, unsigned op, unsigned arg)
{
    int                      open;
    corral_answer_t          a;
    corral_journal_entry_t  *e;

    a.kind = op ? CORRAL_ANSWER_FINAL : CORRAL_ANSWER_STARTED;
    a.key = arg % KEYS + 1;
    a.preamble = 0;
    open = 0;

    for (e = j->first; e; e = e->next) {
        open |= e->request && e->open && e->sent && e->key == a.key;
    }

    if (corral_journal_answer(j, &a) == 0 && op && open) {
        had[a.key]++;
        fuzz_check(had[a.key] <= asked[a.key]);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                   i;
    unsigned                 arg;
    corral_journal_t         j;
    corral_journal_entry_t  *e;

    memory = (corral_journal_memory_t) { fuzz_alloc, fuzz_free, NULL, 8000,
                                         0 };
    memset(asked, 0, sizeof(asked));
    memset(had, 0, sizeof(had));

    corral_journal_init(&j, &memory, 4096);

    for (i = 0; i + 1 < size; i += 2) {
        arg = data[i + 1];

        switch (data[i] % 8) {

        case 0:
        case 1:
            fuzz_say(&j, data[i] % 8, arg);
            break;

        case 2:
        case 3:
            fuzz_answer(&j, data[i] % 8 == 3, arg);
            break;

        case 4:
            corral_journal_seen(&j, arg);
            break;

        case 5:
            if (corral_journal_lose(&j, arg >> 1 & 1, arg & 1)
                != CORRAL_JOURNAL_REPLAY)
            {
                corral_journal_free(&j);
            }
            break;

        default:
            e = corral_journal_next(&j);
            fuzz_check(e == NULL || (e->open && e->sent && !e->lost));
            break;
        }

        fuzz_walk(&j);
    }

    corral_journal_free(&j);
    fuzz_walk(&j);

    return 0;
}
