
/*
 * Which worker serves from which revision, and who waits for it.
 *
 * The list of live workers is read when somebody begins to wait and then once
 * a second: a worker that dies is not waited for.  Acks come through the
 * followed stream, so that most waits end within milliseconds.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/loop.h"
#include "local.h"


typedef struct corrald_applied_s  corrald_applied_t;

struct corrald_applied_s {
    corrald_applied_t       *next;
    corrald_store_json_pt    handler;
    void                    *data;
    int64_t                  revision;
    int64_t                  deadline;   /* monotonic */
    int                      looked;     /* the list is newer than the wait */
};


static void corrald_applied_looked(void *data);
static void corrald_applied_ticked(void *data);
static void corrald_applied_check(void);
static json_t *corrald_applied_answer(const corrald_applied_t *w, int *done);


static corrald_applied_t  *corrald_applied_first;
static corrald_map_t       corrald_applied_acks;    /* worker to revision */
static corrald_timer_t    *corrald_applied_timer;


void
corrald_store_applied(int64_t revision, int64_t timeout,
    corrald_store_json_pt handler, void *data)
{
    corrald_applied_t  *w;

    w = corrald_alloc(1, sizeof(*w), "to wait for workers");

    w->handler = handler;
    w->data = data;
    w->revision = revision;
    w->deadline = corrald_clock_monotonic() + timeout;
    w->next = corrald_applied_first;
    corrald_applied_first = w;

    if (corrald_applied_timer == NULL) {
        corrald_applied_timer = corrald_loop_timer(50, 50,
                                                   corrald_applied_ticked,
                                                   NULL);
    }

    /* numbered by its address: it may be gone when the look comes back */

    corrald_lease_refresh(corrald_applied_looked, w);
}


/* A worker says from which revision it serves. */

void
corrald_applied_ack(const char *worker, const char *epoch, int64_t revision)
{
    if (strcmp(epoch, corrald_local.epoch) != 0
        || strlen(worker) >= CORRALD_KEY_SIZE)
    {
        return;
    }

    /* bounded by a cleaning of all: the leases tell it again */

    if (corrald_applied_acks.count > 65536) {
        corrald_map_free(&corrald_applied_acks, NULL);
    }

    if (corrald_map_set(&corrald_applied_acks, worker,
                        (void *) (intptr_t) revision)
        != 0)
    {
        return;
    }

    if (corrald_applied_first) {
        corrald_applied_check();
    }
}


/* Revisions of another store, or of none: nobody can be waited for. */

void
corrald_applied_lost(void)
{
    corrald_applied_t  *w;

    corrald_map_free(&corrald_applied_acks, NULL);

    while (corrald_applied_first) {
        w = corrald_applied_first;
        corrald_applied_first = w->next;
        w->handler(NULL, "the store was lost while workers were waited for",
                   w->data);
        free(w);
    }

    corrald_loop_timer_stop(&corrald_applied_timer);
}


static void
corrald_applied_looked(void *data)
{
    corrald_applied_t  *w;

    for (w = corrald_applied_first; w; w = w->next) {
        if (w == data) {
            w->looked = 1;
            corrald_applied_check();
            return;
        }
    }
}


static void
corrald_applied_ticked(void *data)
{
    corrald_applied_check();

    if (corrald_applied_first == NULL) {
        corrald_loop_timer_stop(&corrald_applied_timer);
    }
}


/* Ends the waits that are over. */

static void
corrald_applied_check(void)
{
    int                  done;
    json_t              *answer;
    corrald_applied_t   *w, **link, *over, **last;

    over = NULL;
    last = &over;

    /* taken out first: a handler may begin a new wait */

    for (link = &corrald_applied_first; *link; /* void */ ) {
        w = *link;

        answer = corrald_applied_answer(w, &done);
        json_decref(answer);

        if (done || w->deadline <= corrald_clock_monotonic()) {
            *link = w->next;
            w->next = NULL;
            *last = w;
            last = &w->next;
            continue;
        }

        link = &w->next;
    }

    while (over) {
        w = over;
        over = w->next;

        answer = corrald_applied_answer(w, &done);
        w->handler(answer, NULL, w->data);
        json_decref(answer);
        free(w);
    }
}


static json_t *
corrald_applied_answer(const corrald_applied_t *w, int *done)
{
    size_t       i;
    json_t      *workers, *worker, *laggards;
    int64_t      revision, acked;
    const char  *id;

    workers = corrald_store_workers();
    laggards = json_array();

    json_array_foreach(workers, i, worker) {
        id = corrald_doc_str(worker, "worker");
        acked = (int64_t) (intptr_t) corrald_map_get(&corrald_applied_acks,
                                                     id);
        revision = strcmp(corrald_doc_str(worker, "epoch"),
                          corrald_local.epoch) == 0
                   ? corrald_doc_int(worker, "revision") : 0;

        if (revision < w->revision && acked < w->revision) {
            json_array_append_new(laggards, json_string(id));
        }
    }

    *done = w->looked && json_array_size(laggards) == 0;

    return json_pack("{s:b, s:I, s:o}", "applied", *done,
                     "workers", (json_int_t) json_array_size(workers),
                     "laggards", laggards);
}
