/*
 * From pending to a process, and back to one that is there already.
 *
 *     choose a port or a socket, a nonce          on the loop
 *     describe: env files, secrets, users         on a thread
 *     store: starting, address, incarnation
 *     run corral-shim
 *     connect to it; hello proves who it is
 *
 * The last line is also how an agent is found again after corrald was away.
 */


#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/file.h"
#include "../base/log.h"
#include "../base/wire.h"
#include "local.h"
#include "paths.h"
#include "ports.h"
#include "process.h"
#include "spawn.h"


/* ms */

#define CORRALD_START_LOST    3000   /* for the guard to write its record */
#define CORRALD_START_POLL    50
#define CORRALD_START_LOCKED  500    /* until the next try after survivors */


/* Work on a thread, or a program that runs: found again by id and serial. */

typedef struct {
    char                  id[CORRAL_ID_MAX + 1];
    uint32_t              serial;
    int                   rc;
    unsigned              killed;
    corrald_describe_t   *describe;
    char                  lock[160];
    char                  nonce[64];
} corrald_start_job_t;


static int corrald_start_port(corrald_instance_t *in, const json_t *service,
    uint16_t *port);
static int corrald_start_first(corrald_instance_t *in);
static void corrald_start_describe(void *data);
static void corrald_start_described(void *data);
static void corrald_start_store(corrald_instance_t *in);
static void corrald_start_stored(corrald_instance_t *in, int64_t revision);
static void corrald_start_spawned(int code, const char *text, void *data);
static void corrald_start_reset(corrald_instance_t *in);
static void corrald_start_heard(corrald_link_e event,
    const corrald_wire_msg_t *msg, void *data);
static void corrald_start_hello(corrald_instance_t *in,
    const corrald_wire_msg_t *msg);
static void corrald_start_exit(corrald_instance_t *in,
    const corrald_wire_msg_t *msg);
static int corrald_start_record(corrald_instance_t *in, const json_t *doc,
    const corrald_paths_t *paths);
static void corrald_start_clear(corrald_instance_t *in, const char *nonce);
static void corrald_start_clearing(void *data);
static void corrald_start_cleared(void *data);
static corrald_start_job_t *corrald_start_job(corrald_instance_t *in);
static corrald_instance_t *corrald_start_find(corrald_start_job_t *job);


/* in is pending and has no process. */

void
corrald_start(corrald_instance_t *in, const json_t *doc)
{
    int                   trusted;
    char                  nonce[33];
    uint16_t              port;
    uint32_t              incarnation;
    const json_t         *service;
    corrald_start_job_t  *job;

    service = corrald_supervise_document(in->service, &trusted);

    if (service == NULL) {
        return;
    }

    if (!trusted) {
        corrald_end_failed(in, 1, "mac_mismatch", NULL, "the document of "
                           "the service does not carry corrald's HMAC: "
                           "somebody else wrote it to Redis");
        return;
    }

    if (corrald_start_port(in, service, &port) != 0) {
        return;
    }

    /* the first start keeps the number that the document was made with */

    incarnation = (uint32_t) corrald_doc_int(doc, "incarnation");
    incarnation += (*corrald_doc_str(doc, "nonce") != '\0');

    job = corrald_start_job(in);

    if (job == NULL || corrald_crypt_random_hex(nonce, 16) != 0) {
        free(job);
        corrald_instance_later(in, 1000);
        return;
    }

    job->describe = corrald_describe_create((json_t *) service, in->id,
                                            incarnation, nonce, port);

    if (job->describe == NULL
        || corrald_loop_work(corrald_start_describe, corrald_start_described,
                             job)
           != 0)
    {
        corrald_describe_free(job->describe);
        free(job);
        corrald_instance_later(in, 1000);
        return;
    }

    in->preparing = 1;
}


/* 0 in *port is a unix socket.  Returns -1 after the instance has failed. */

static int
corrald_start_port(corrald_instance_t *in, const json_t *service,
    uint16_t *port)
{
    char                   err[400];
    int64_t                now;
    const char            *host;
    corrald_address_t      address;
    const corrald_conf_t  *conf;

    conf = corrald_conf();
    *port = 0;

    corrald_ports_release(in->id, corrald_clock_monotonic());

    if (strcmp(corrald_doc_str(service, "listen"), "tcp") != 0) {
        return 0;
    }

    host = corrald_doc_str(service, "host");

    /* a name is resolved later; any address says whether the port is taken */

    memset(&address, 0, sizeof(address));
    address.in.sin_family = AF_INET;
    address.in.sin_addr.s_addr = htonl(strcmp(host, "localhost") == 0
                                       ? INADDR_LOOPBACK : INADDR_ANY);

    if (strchr(host, ':') != NULL) {
        (void) snprintf(err, sizeof(err), "[%.64s]:1", host);

    } else {
        (void) snprintf(err, sizeof(err), "%.64s:1", host);
    }

    if (corrald_address_parse(err, &address) != 0) {
        memset(&address, 0, sizeof(address));
        address.in.sin_family = AF_INET;
        address.in.sin_addr.s_addr = htonl(strcmp(host, "localhost") == 0
                                           ? INADDR_LOOPBACK : INADDR_ANY);
    }

    now = corrald_clock_monotonic();

    if (corrald_doc_is_set(service, "port") && corrald_start_first(in)) {

        *port = (uint16_t) corrald_doc_int(service, "port");

        if (address.sa.sa_family == AF_INET6) {
            address.in6.sin6_port = htons(*port);

        } else {
            address.in.sin_port = htons(*port);
        }

        if (corrald_ports_check(&address, err, sizeof(err)) != 0) {
            corrald_end_failed(in, 1, "port_conflict", NULL, "%s", err);
            return -1;
        }

        corrald_ports_use(*port, in->id);
        return 0;
    }

    if (corrald_ports_take(&address, conf->port_range.first,
                           conf->port_range.last, in->id, now, err,
                           sizeof(err))
        != 0)
    {
        corrald_end_failed(in, 1, "ports_exhausted", NULL, "%s", err);
        return -1;
    }

    *port = (uint16_t) corrald_address_port(&address);

    return 0;
}


/* The oldest instance of a service has the port that was given. */

static int
corrald_start_first(corrald_instance_t *in)
{
    corrald_instance_t  *other;

    for (other = in->service->first; other != NULL; other = other->next) {

        if (other->created < in->created
            || (other->created == in->created
                && strcmp(other->id, in->id) < 0))
        {
            return 0;
        }
    }

    return 1;
}


static void
corrald_start_describe(void *data)
{
    corrald_start_job_t  *job;

    job = data;
    job->rc = corrald_describe(job->describe);
}


static void
corrald_start_described(void *data)
{
    corrald_instance_t   *in;
    corrald_start_job_t  *job;

    job = data;
    in = corrald_start_find(job);

    if (in == NULL) {
        corrald_describe_free(job->describe);
        free(job);
        return;
    }

    in->preparing = 0;

    if (job->rc != 0) {
        corrald_ports_unused(in->id);
        corrald_end_failed(in, 1, job->describe->reason, NULL, "%s",
                           job->describe->err);
        corrald_describe_free(job->describe);

    } else {
        corrald_describe_free(in->prepared);
        in->prepared = job->describe;
        corrald_start_store(in);
    }

    free(job);
}


/* The start is stored before it is made. */

static void
corrald_start_store(corrald_instance_t *in)
{
    char                    now[CORRALD_CLOCK_SIZE];
    int64_t                 restarts;
    json_t                 *change;
    corrald_describe_t     *d;
    const corrald_entry_t  *entry;

    d = in->prepared;
    entry = corrald_store_get(CORRALD_INSTANCE, in->id);

    if (entry == NULL) {
        return;
    }

    restarts = corrald_doc_int(entry->doc, "restart_count")
               + (*corrald_doc_str(entry->doc, "nonce") != '\0');

    change = corrald_instance_change("starting", "spawned",
                                     "started as incarnation %u",
                                     d->incarnation);

    if (change != NULL) {
        json_object_set_new(change, "incarnation",
                            json_integer(d->incarnation));
        json_object_set_new(change, "address", json_string(d->address));
        json_object_set_new(change, "nonce", json_string(d->nonce));
        json_object_set_new(change, "boot_id",
                            json_string(corrald_process_boot_id()));
        json_object_set_new(change, "generation",
                            json_integer(corrald_doc_int(d->service,
                                                         "generation")));
        json_object_set_new(change, "restart_count", json_integer(restarts));
        json_object_set_new(change, "started_at",
                            json_string(corrald_clock_now(now, sizeof(now))));
        json_object_set_new(change, "pid", json_null());
        json_object_set_new(change, "start_time", json_null());
        json_object_set_new(change, "ready_at", json_null());
        json_object_set_new(change, "retry_at", json_null());
        json_object_set_new(change, "health", json_string("unknown"));
    }

    corrald_instance_commit(in, change, corrald_start_stored);
}


static void
corrald_start_stored(corrald_instance_t *in, int64_t revision)
{
    char                 *text;
    corrald_start_job_t  *job;

    corrald_start_reset(in);

    job = corrald_start_job(in);

    if (in->prepared == NULL || job == NULL) {
        free(job);
        return;
    }

    /* the description is the spawner's from here on */

    text = in->prepared->text;
    in->prepared->text = NULL;

    if (corrald_spawn(text, in->prepared->len, in->id, corrald_start_spawned,
                      job)
        != 0)
    {
        free(job);
        in->ended = 1;
        in->end.vanished = 1;

    } else {
        in->spawning = 1;
    }

    corrald_describe_free(in->prepared);
    in->prepared = NULL;
}


static void
corrald_start_spawned(int code, const char *text, void *data)
{
    corrald_instance_t     *in;
    corrald_start_job_t    *job;
    const corrald_entry_t  *entry;

    job = data;
    in = corrald_start_find(job);
    free(job);

    if (in == NULL) {
        return;
    }

    in->spawning = 0;
    entry = corrald_store_get(CORRALD_INSTANCE, in->id);

    if (entry == NULL) {
        return;
    }

    if (code == 0) {
        corrald_start_connect(in, entry->doc);
        corrald_supervise_wake(in->service);
        return;
    }

    if (code == CORRALD_SPAWN_LOCKED) {

        /*
         * Something of an older incarnation lives.  If its shim does, that is
         * asked to end it; what has no shim is found through the lock.
         */

        corrald_log_warn("instance \"%s\": %s", in->id, text);
        corrald_start_clear(in, "");
    }

    corrald_end_failed(in, 1, "spawn_failed", NULL, "%s", text);
}


static void
corrald_start_reset(corrald_instance_t *in)
{
    corrald_link_close(&in->link);

    in->met = 0;
    in->alive = 0;
    in->ended = 0;
    in->left = 0;
    in->ready = 0;
    in->not_started = 0;
    in->not_alive = 0;
    in->stopped = 0;
    in->adopted = 0;
    in->pid = 0;
    in->start_time = 0;
    in->ready_since = 0;
    in->health = NULL;
    in->lost_at = 0;
    in->dead_at = 0;
    in->drain_phase = 0;
    in->drain_busy = 0;
    memset(&in->end, 0, sizeof(in->end));
}


/*
 * Connects to the shim of an instance that should have a process.  If there is
 * none, its record says how it ended; without one it has vanished.  Then
 * in->ended is set.
 */

void
corrald_start_connect(corrald_instance_t *in, const json_t *doc)
{
    int64_t          now;
    corrald_paths_t  paths;

    now = corrald_clock_monotonic();
    corrald_paths(in->id, &paths);

    in->met = 0;
    in->link = corrald_link_open(paths.socket, corrald_start_heard, in);

    if (in->link != NULL) {
        return;
    }

    if (corrald_start_record(in, doc, &paths) == 0) {
        in->lost_at = 0;
        return;
    }

    /* a killed shim has a guard, and that is just about to write */

    if (in->lost_at == 0) {
        in->lost_at = now;
    }

    if (now - in->lost_at < CORRALD_START_LOST
        && access(paths.socket, F_OK) == 0)
    {
        corrald_instance_later(in, CORRALD_START_POLL);
        return;
    }

    in->lost_at = 0;
    in->alive = 0;
    in->ended = 1;
    memset(&in->end, 0, sizeof(in->end));
    in->end.vanished = 1;

    /* the process may be dead, its descendants may be not */

    corrald_start_clear(in, corrald_doc_str(doc, "nonce"));
}


/* The end is stored: shim or record may go. */

void
corrald_start_acknowledge(corrald_instance_t *in)
{
    corrald_paths_t  paths;

    if (in->link != NULL) {
        (void) corrald_link_send(in->link, CORRALD_WIRE_ack, 0, 0, 0);
    }

    if (in->left) {
        in->left = 0;
        corrald_paths(in->id, &paths);
        (void) unlink(paths.exit);
    }
}


static void
corrald_start_heard(corrald_link_e event, const corrald_wire_msg_t *msg,
    void *data)
{
    corrald_instance_t  *in;

    in = data;

    switch (event) {

    case CORRALD_LINK_HELLO:
        corrald_start_hello(in, msg);
        break;

    case CORRALD_LINK_EXIT:
        corrald_start_exit(in, msg);
        break;

    case CORRALD_LINK_DEAD:
        in->dead_at = corrald_clock_monotonic();
        break;

    case CORRALD_LINK_LOST:

        /* after gone and ack this is its good-bye; before, it was killed */

        corrald_link_close(&in->link);
        in->met = 0;

        if (in->alive && !in->ended) {
            corrald_log_warn("instance \"%s\": its shim is gone", in->id);
            in->lost_at = corrald_clock_monotonic();
        }

        break;

    default:
        break;
    }

    corrald_supervise_wake(in->service);
}


static void
corrald_start_hello(corrald_instance_t *in, const corrald_wire_msg_t *msg)
{
    corrald_address_t       address;
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_INSTANCE, in->id);

    if (entry == NULL || msg->nonce == NULL || msg->instance == NULL
        || strcmp(msg->instance, in->id) != 0
        || strcmp(msg->nonce, corrald_doc_str(entry->doc, "nonce")) != 0)
    {
        /* an older copy that should not be: it ends, then the lock is free */

        corrald_log_warn("instance \"%s\": a shim of another start answered "
                         "and is told to end", in->id);
        (void) corrald_link_send(in->link, CORRALD_WIRE_kill, 0, 0, 0);
        (void) corrald_link_send(in->link, CORRALD_WIRE_ack, 0, 0, 0);
        in->ended = 1;
        memset(&in->end, 0, sizeof(in->end));
        in->end.vanished = 1;
        return;
    }

    in->met = 1;
    in->lost_at = 0;
    in->pid = msg->pid;
    in->start_time = msg->start_time;
    in->started_at = msg->started_at;
    in->alive = (msg->ended_at == 0);

    if (corrald_doc_is_set(entry->doc, "pid")
        && corrald_doc_int(entry->doc, "pid") == msg->pid && in->alive
        && in->probe == NULL)
    {
        in->adopted = 1;
        corrald_log_info("instance \"%s\": found alive, pid %lld", in->id,
                         (long long) msg->pid);
    }

    if (corrald_address_parse(corrald_doc_str(entry->doc, "address"),
                              &address)
        == 0
        && corrald_address_port(&address) != 0)
    {
        corrald_ports_use(corrald_address_port(&address), in->id);
    }
}


static void
corrald_start_exit(corrald_instance_t *in, const corrald_wire_msg_t *msg)
{
    if (in->ended || !in->met) {
        return;
    }

    in->alive = 0;
    in->ended = 1;
    in->dead_at = 0;
    in->end.code = (int) msg->code;
    in->end.signal = (int) msg->signal;
    in->end.oom = (msg->oom != 0);
    in->end.killed = (msg->killed != 0);
    in->end.lost = (msg->lost != 0);
    in->end.vanished = 0;
}


/* Returns 0 when there is a record of this very process. */

static int
corrald_start_record(corrald_instance_t *in, const json_t *doc,
    const corrald_paths_t *paths)
{
    char                *data, err[256];
    size_t               len;
    corrald_wire_msg_t   msg;

    if (corrald_file_read(paths->exit, CORRALD_WIRE_MSG_MAX, &data, &len, err,
                          sizeof(err))
        != 0)
    {
        return -1;
    }

    if (corrald_wire_parse_msg(data, len, '\n', &msg, err, sizeof(err)) != 0) {
        corrald_log_warn("the record \"%s\" is not understood: %s",
                         paths->exit, err);
        free(data);
        return -1;
    }

    if (msg.nonce == NULL
        || strcmp(msg.nonce, corrald_doc_str(doc, "nonce")) != 0)
    {
        free(data);
        return -1;
    }

    in->met = 1;
    in->left = 1;
    corrald_start_exit(in, &msg);
    free(data);

    return 0;
}


/* Kills what holds the lock or carries the nonce, on a thread. */

static void
corrald_start_clear(corrald_instance_t *in, const char *nonce)
{
    corrald_paths_t       paths;
    corrald_start_job_t  *job;

    job = corrald_start_job(in);

    if (job == NULL) {
        return;
    }

    corrald_paths(in->id, &paths);
    (void) snprintf(job->lock, sizeof(job->lock), "%s", paths.lock);
    (void) snprintf(job->nonce, sizeof(job->nonce), "%s", nonce);

    if (corrald_loop_work(corrald_start_clearing, corrald_start_cleared, job)
        != 0)
    {
        free(job);
        return;
    }

    in->clearing = 1;
}


static void
corrald_start_clearing(void *data)
{
    corrald_start_job_t  *job;

    job = data;
    job->killed = corrald_process_kill_survivors(job->lock, job->nonce);
}


static void
corrald_start_cleared(void *data)
{
    corrald_instance_t   *in;
    corrald_start_job_t  *job;

    job = data;
    in = corrald_start_find(job);

    if (in != NULL) {
        in->clearing = 0;

        if (job->killed > 0) {
            corrald_log_warn("instance \"%s\": %u processes of an earlier "
                             "start were left and have been killed", in->id,
                             job->killed);
        }

        corrald_supervise_wake(in->service);
    }

    free(job);
}


static corrald_start_job_t *
corrald_start_job(corrald_instance_t *in)
{
    corrald_start_job_t  *job;

    job = calloc(1, sizeof(*job));

    if (job != NULL) {
        (void) snprintf(job->id, sizeof(job->id), "%s", in->id);
        job->serial = in->serial;
    }

    return job;
}


static corrald_instance_t *
corrald_start_find(corrald_start_job_t *job)
{
    corrald_instance_t  *in;

    in = corrald_supervise_find(job->id);

    return (in != NULL && in->serial == job->serial) ? in : NULL;
}
