/* links: controlplane/engine/decide_replicas.c controlplane/model/state.c */
/* links: controlplane/model/doc.c controlplane/base/clock.c */
/* links: ngx_module/common/corral_duration.c -ljansson */

/*
 * Which instances a service is to have: a small world that obeys the decisions
 * shows that each change comes to its end, with never too few in service.
 */


#include "../../controlplane/engine/decide_replicas.h"

#include "unit.h"


#define WORLD_MAX  16


static corrald_replicas_service_t   world_service;
static corrald_replicas_instance_t  world[WORLD_MAX];
static size_t                       world_n;
static int64_t                      world_created;


static size_t
world_ready(int64_t generation)
{
    size_t  i, n;

    for (i = 0, n = 0; i < world_n; i++) {
        n += world[i].ready
             && (generation == 0 || world[i].generation == generation);
    }

    return n;
}


/*
 * One turn: decide, then each instance takes one step.  Returns whether
 * anything has changed.
 */

static int
world_turn(int sick)
{
    int                           changed;
    size_t                        i, create;
    corrald_state_e               before;
    corrald_replicas_instance_t  *in;

    create = corrald_decide_replicas(&world_service, world, world_n);
    changed = (create > 0);

    for (i = 0; i < world_n; i++) {
        in = &world[i];
        before = in->state;

        switch (in->state) {

        case CORRALD_STATE_pending:
            in->state = in->want == CORRALD_WANT_RUN ? CORRALD_STATE_starting
                      : in->want == CORRALD_WANT_PAUSE ? in->state
                      : CORRALD_STATE_stopped;
            in->generation = world_service.generation;
            break;

        case CORRALD_STATE_starting:

            if (in->want > CORRALD_WANT_PAUSE) {
                in->state = CORRALD_STATE_stopping;

            } else if (!sick) {
                in->state = CORRALD_STATE_running;
            }

            break;

        case CORRALD_STATE_running:
            in->state = in->want == CORRALD_WANT_RUN ? in->state
                      : in->want == CORRALD_WANT_PAUSE ? CORRALD_STATE_paused
                      : CORRALD_STATE_draining;
            break;

        case CORRALD_STATE_paused:
            in->state = in->want == CORRALD_WANT_RUN ? CORRALD_STATE_running
                      : in->want == CORRALD_WANT_PAUSE ? in->state
                      : CORRALD_STATE_draining;
            break;

        case CORRALD_STATE_draining:
            in->state = in->want == CORRALD_WANT_RUN ? CORRALD_STATE_running
                                                     : CORRALD_STATE_stopping;
            break;

        case CORRALD_STATE_stopping:
            in->state = CORRALD_STATE_stopped;
            in->renew = 0;
            break;

        case CORRALD_STATE_stopped:
        case CORRALD_STATE_failed:

            if (in->want == CORRALD_WANT_REMOVE) {
                memmove(in, in + 1,
                        (world_n - i - 1) * sizeof(world[0]));
                world_n--;
                i--;
                changed = 1;
                continue;
            }

            in->state = in->want == CORRALD_WANT_RUN ? CORRALD_STATE_pending
                                                     : in->state;
            break;

        default:
            break;
        }

        in->ready = (in->state == CORRALD_STATE_running);
        changed |= (in->state != before);
    }

    while (create-- > 0 && world_n < WORLD_MAX) {
        memset(&world[world_n], 0, sizeof(world[0]));
        world[world_n].state = CORRALD_STATE_pending;
        world[world_n].created = ++world_created;
        world[world_n++].generation = world_service.generation;
    }

    return changed;
}


/* turns until nothing changes; the least that were ready, the most that were */

static size_t
world_settle(size_t *least, size_t *most)
{
    size_t  turns;

    *least = world_n;
    *most = 0;

    for (turns = 0; turns < 200; turns++) {

        if (!world_turn(0)) {
            break;
        }

        *least = world_ready(0) < *least ? world_ready(0) : *least;
        *most = world_n > *most ? world_n : *most;
    }

    return turns;
}


static void
world_begin(size_t replicas, int fixed)
{
    size_t  a, b;

    memset(&world_service, 0, sizeof(world_service));
    world_n = 0;
    world_service.desired = CORRALD_DESIRED_RUNNING;
    world_service.replicas = replicas;
    world_service.generation = 1;
    world_service.fixed = fixed;

    (void) world_settle(&a, &b);
}


int
main(void)
{
    size_t   least, most, turns;
    int64_t  oldest;

    world_begin(3, 0);
    is_int((int64_t) world_ready(0), 3, "three are wanted, three run");

    /* scale */

    world_service.replicas = 5;
    (void) world_settle(&least, &most);
    is_int((int64_t) world_ready(0), 5, "five");
    is_int((int64_t) least, 3, "the three went on");

    oldest = world[0].created;
    world_service.replicas = 2;
    (void) world_settle(&least, &most);
    is_int((int64_t) world_ready(0), 2, "two");
    is_int((int64_t) world_n, 2, "the others are removed");
    is_int(world[0].created, oldest, "the newest went");

    world_service.replicas = 0;
    (void) world_settle(&least, &most);
    is_int((int64_t) world_n, 0, "none");

    /* stop and start keep the instances */

    world_begin(2, 0);
    world_service.desired = CORRALD_DESIRED_STOPPED;
    (void) world_settle(&least, &most);
    ok(world_n == 2 && world[0].state == CORRALD_STATE_stopped, "stopped");
    oldest = world[0].created;
    world_service.desired = CORRALD_DESIRED_RUNNING;
    (void) world_settle(&least, &most);
    ok(world_ready(0) == 2 && world[0].created == oldest, "started again");

    /* pause: the processes are not touched */

    world_service.desired = CORRALD_DESIRED_PAUSED;
    (void) world_settle(&least, &most);
    ok(world[0].state == CORRALD_STATE_paused
       && world[1].state == CORRALD_STATE_paused, "paused");
    world_service.desired = CORRALD_DESIRED_RUNNING;
    (void) world_settle(&least, &most);
    is_int((int64_t) world_ready(0), 2, "resumed");

    world[0].pause = 1;
    (void) world_settle(&least, &most);
    ok(world[0].state == CORRALD_STATE_paused
       && world[1].state == CORRALD_STATE_running && world_n == 2,
       "maintenance of one");
    world[0].pause = 0;

    /* replacement: never fewer than wanted, never more than one more */

    for (turns = 1; turns <= 4; turns++) {
        world_begin(turns, 0);
        world_service.generation = 2;
        oldest = world_created;
        (void) world_settle(&least, &most);
        ok(world[0].created > oldest, "by others than before");
        is_int((int64_t) world_ready(2), (int64_t) turns,
               "all are of the new generation");
        is_int((int64_t) least, (int64_t) turns, "none was missing meanwhile");
        is_int((int64_t) most, (int64_t) turns + 1, "one at a time");
        is_int((int64_t) world_n, (int64_t) turns, "the old ones are gone");
    }

    /* a new generation that never gets ready harms nobody */

    world_begin(2, 0);
    world_service.generation = 2;

    for (turns = 0; turns < 50; turns++) {
        (void) world_turn(1);
    }

    is_int((int64_t) world_ready(1), 2, "the old ones go on");
    is_int((int64_t) world_n, 3, "one of the new ones is tried");

    /* a fixed port: first stop, then start, in place */

    world_begin(1, 1);
    oldest = world[0].created;
    world_service.generation = 2;
    (void) world_settle(&least, &most);
    ok(world_ready(2) == 1 && world[0].created == oldest, "renewed in place");
    is_int((int64_t) most, 1, "never two of them");

    world_begin(3, 1);
    world_service.generation = 2;
    (void) world_settle(&least, &most);
    is_int((int64_t) world_ready(2), 3, "three, one after the other");
    is_int((int64_t) least, 2, "two were always there");

    /* restart of one instance */

    world_begin(2, 0);
    world[1].renew = 1;
    (void) world_settle(&least, &most);
    ok(world_ready(0) == 2 && least == 1 && !world[1].renew,
       "one is renewed, the other goes on");

    /* eviction: another comes */

    world[0].evict = 1;
    oldest = world[0].created;
    (void) world_settle(&least, &most);
    ok(world_ready(0) == 2 && world[0].created != oldest, "evicted, replaced");

    /* scaled down in the middle of a replacement */

    world_begin(4, 0);
    world_service.generation = 2;
    (void) world_turn(0);
    (void) world_turn(0);
    (void) world_turn(0);
    world_service.replicas = 1;
    turns = world_settle(&least, &most);
    ok(world_ready(2) == 1 && world_n == 1, "it comes to its end");
    ok(turns < 60, "soon");

    /* deletion */

    world_begin(3, 0);
    world_service.deleted = 1;
    (void) world_settle(&least, &most);
    is_int((int64_t) world_n, 0, "a deleted service has none");

    return done_testing();
}
