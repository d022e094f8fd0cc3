/*
 * Shims that nobody asked for: their instance has no document any more, or one
 * that says that nothing runs.
 *
 * run_dir/shims is looked through now and then; each socket that belongs to no
 * living instance is asked who it is.  A shim is told to end only when it says
 * that it is of this cluster and this node: what somebody else started is left
 * alone, with one line in the log.
 */


#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "local.h"
#include "paths.h"


/* ms between two looks, and for a stranger to end */

#define CORRALD_ADOPT_SWEEP  10000
#define CORRALD_ADOPT_TIME   10000

/* at a time: a full run_dir is worked off in several looks */

#define CORRALD_ADOPT_MAX    64


typedef struct {
    char              path[256];
    corrald_link_t   *link;
    int64_t           until;
    int               ours;
} corrald_adopt_t;


static void corrald_adopt_look(const char *dir, const char *name);
static int corrald_adopt_known(const char *base);
static void corrald_adopt_heard(corrald_link_e event,
    const corrald_wire_msg_t *msg, void *data);
static void corrald_adopt_hello(corrald_adopt_t *a,
    const corrald_wire_msg_t *msg);


static corrald_adopt_t  corrald_adopt[CORRALD_ADOPT_MAX];
static int64_t          corrald_adopt_at;
static size_t           corrald_adopt_ended;


/* To be called again and again while the store is there. */

void
corrald_adopt_sweep(void)
{
    int             i;
    DIR            *dir;
    char            path[256];
    int64_t         now;
    struct dirent  *entry;

    now = corrald_clock_monotonic();

    for (i = 0; i < CORRALD_ADOPT_MAX; i++) {
        if (corrald_adopt[i].link != NULL && now > corrald_adopt[i].until) {
            corrald_link_close(&corrald_adopt[i].link);
        }
    }

    if (now < corrald_adopt_at) {
        return;
    }

    corrald_adopt_at = now + CORRALD_ADOPT_SWEEP;

    (void) snprintf(path, sizeof(path), "%s/shims", corrald_conf()->run_dir);
    dir = opendir(path);

    if (dir == NULL) {
        return;
    }

    for ( ;; ) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        corrald_adopt_look(path, entry->d_name);
    }

    (void) closedir(dir);
}


/* The next sweep is due: somebody has lost its document. */

void
corrald_adopt_soon(void)
{
    corrald_adopt_at = 0;
}


/* How many were told to end since the start. */

size_t
corrald_adopt_orphans(void)
{
    return corrald_adopt_ended;
}


void
corrald_adopt_close(void)
{
    int  i;

    for (i = 0; i < CORRALD_ADOPT_MAX; i++) {
        corrald_link_close(&corrald_adopt[i].link);
    }
}


static void
corrald_adopt_look(const char *dir, const char *name)
{
    int               i;
    char              base[128];
    size_t            len;
    corrald_adopt_t  *a;

    len = strlen(name);

    if (len <= 5 || len >= sizeof(base) || strcmp(name + len - 5, ".sock")) {
        return;
    }

    (void) snprintf(base, sizeof(base), "%.*s", (int) (len - 5), name);

    if (corrald_adopt_known(base)) {
        return;
    }

    for (i = 0; i < CORRALD_ADOPT_MAX; i++) {
        if (corrald_adopt[i].link == NULL) {
            break;
        }
    }

    if (i == CORRALD_ADOPT_MAX) {
        return;
    }

    a = &corrald_adopt[i];
    (void) snprintf(a->path, sizeof(a->path), "%.120s/%.120s", dir, name);

    a->ours = 0;
    a->until = corrald_clock_monotonic() + CORRALD_ADOPT_TIME;
    a->link = corrald_link_open(a->path, corrald_adopt_heard, a);

    /* nobody listens: what is left of a shim that was killed with its guard */

    if (a->link == NULL) {
        (void) unlink(a->path);
    }
}


/* Whether an instance of ours has a process, or is about to have one. */

static int
corrald_adopt_known(const char *base)
{
    int                     state;
    corrald_instance_t     *in;
    const corrald_entry_t  *entry;

    /* a base that is a digest stands for an id that is not known here */

    in = corrald_supervise_base(base);

    if (in == NULL) {
        return 0;
    }

    entry = corrald_store_get(CORRALD_INSTANCE, in->id);

    if (in->link != NULL || in->spawning || in->preparing || in->committing
        || in->clearing || entry == NULL)
    {
        return 1;
    }

    state = corrald_state_parse(corrald_doc_str(entry->doc, "state"));

    return state == -1 || corrald_state_lives((corrald_state_e) state);
}


static void
corrald_adopt_heard(corrald_link_e event, const corrald_wire_msg_t *msg,
    void *data)
{
    corrald_adopt_t  *a;

    a = data;

    switch (event) {

    case CORRALD_LINK_HELLO:
        corrald_adopt_hello(a, msg);
        break;

    case CORRALD_LINK_GONE:

        if (a->ours) {
            (void) corrald_link_send(a->link, CORRALD_WIRE_ack, 0, 0, 0);
        }

        break;

    case CORRALD_LINK_LOST:
        corrald_link_close(&a->link);
        break;

    default:
        break;
    }
}


static void
corrald_adopt_hello(corrald_adopt_t *a, const corrald_wire_msg_t *msg)
{
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    if (msg->cluster == NULL || msg->node == NULL
        || strcmp(msg->cluster, conf->cluster) != 0
        || strcmp(msg->node, conf->node) != 0)
    {
        corrald_log_warn("the shim at \"%s\" is of cluster \"%s\", node "
                         "\"%s\": it is left alone", a->path,
                         msg->cluster ? msg->cluster : "",
                         msg->node ? msg->node : "");
        corrald_link_close(&a->link);
        return;
    }

    a->ours = 1;
    corrald_adopt_ended++;
    corrald_log_warn("instance \"%s\" is not wanted, but pid %lld runs: it is "
                     "stopped", msg->instance ? msg->instance : "",
                     (long long) msg->pid);

    (void) corrald_link_send(a->link, CORRALD_WIRE_stop, 15, 0,
                             CORRALD_ADOPT_TIME / 2);
}
