
/*
 * Turns: which documents have a commit of this process under way, and who
 * waits for its end.  It knows no commit, only how many there are.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "local.h"


/* Who waits for the commits under way on one document. */

typedef struct corrald_turn_wait_s  corrald_turn_wait_t;

struct corrald_turn_wait_s {
    corrald_turn_wait_t   *next;
    void                 (*handler)(void *data);
    void                  *data;
};

typedef struct {
    size_t                 commits;  /* under way */
    corrald_turn_wait_t   *first;
    corrald_turn_wait_t  **last;
    char                   key[CORRALD_KEY_SIZE];
} corrald_turn_lane_t;


static corrald_turn_lane_t *corrald_turn_lane(corrald_kind_e kind,
    const char *id, int make);


/* documents with a commit under way, or with somebody who waits for his turn */

static corrald_map_t  corrald_turn_lanes;


void
corrald_store_turn(corrald_kind_e kind, const char *id,
    void (*handler)(void *data), void *data)
{
    corrald_turn_lane_t  *lane;
    corrald_turn_wait_t  *w;

    lane = corrald_turn_lane(kind, id, 0);

    if (lane == NULL) {
        handler(data);
        return;
    }

    w = corrald_alloc(1, sizeof(*w), "for a commit");

    w->handler = handler;
    w->data = data;
    w->next = NULL;

    *lane->last = w;
    lane->last = &w->next;
}


int
corrald_turn_busy(corrald_kind_e kind, const char *id)
{
    corrald_turn_lane_t  *lane;

    lane = corrald_turn_lane(kind, id, 0);

    return lane != NULL && lane->commits != 0;
}


void
corrald_turn_begin(corrald_kind_e kind, const char *id)
{
    corrald_turn_lane(kind, id, 1)->commits++;
}


void
corrald_turn_end(corrald_kind_e kind, const char *id)
{
    corrald_turn_lane_t  *lane;
    corrald_turn_wait_t  *w;

    lane = corrald_turn_lane(kind, id, 1);
    lane->commits--;

    while (lane->commits == 0 && lane->first) {
        w = lane->first;
        lane->first = w->next;

        if (lane->first == NULL) {
            lane->last = &lane->first;
        }

        w->handler(w->data);
        free(w);
    }

    if (lane->commits == 0) {
        corrald_map_del(&corrald_turn_lanes, lane->key);
        free(lane);
    }
}


static corrald_turn_lane_t *
corrald_turn_lane(corrald_kind_e kind, const char *id, int make)
{
    char                  key[CORRALD_KEY_SIZE];
    corrald_turn_lane_t  *lane;

    snprintf(key, sizeof(key), "%s/%.64s", corrald_doc_kind(kind), id);
    lane = corrald_map_get(&corrald_turn_lanes, key);

    if (lane || !make) {
        return lane;
    }

    lane = corrald_alloc(1, sizeof(*lane), "for a commit");

    if (corrald_map_set(&corrald_turn_lanes, key, lane) != 0) {
        corrald_alloc_failed("for a commit");
    }

    memcpy(lane->key, key, sizeof(key));
    lane->last = &lane->first;

    return lane;
}
