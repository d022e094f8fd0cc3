/*
 * Services: what is wanted of each on this node, compared with what is.
 *
 * Level-triggered: an event does not say what to do, it only makes its service
 * look again.  A look reads the documents, asks decide_replicas.c what each
 * instance is to become, lets each take one step and creates what is missing.
 *
 * A service is run by the node that has instances of it, or else by the
 * leader; a node that was lost for CORRAL_NODE_LOST has none.
 *
 * Nothing is done while the store is away or this node has no lease: agents
 * live on, and what they do meanwhile is stored when it is back.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "../base/map.h"
#include "local.h"
#include "paths.h"
#include "ports.h"


/* bytes of an id whose files may have another name: 108 - 60 - 24 */

#define CORRALD_SUPERVISE_LONG    23

/* new instances that one look asks for; the next look asks for more */

#define CORRALD_SUPERVISE_CREATE  32


typedef struct {
    char        service_id[CORRAL_ID_MAX + 1];
} corrald_supervise_ticket_t;


static void corrald_supervise_watch(corrald_kind_e kind, const char *id,
    const json_t *before, const json_t *after, int64_t revision, void *data);
static void corrald_supervise_each(const corrald_entry_t *entry, void *data);
static void corrald_supervise_turn(void *data);
static void corrald_supervise_look(corrald_service_t *s);
static int corrald_supervise_ours(corrald_service_t *s, const json_t *doc);
static void corrald_supervise_owner(const corrald_entry_t *entry, void *data);
static void corrald_supervise_decide(corrald_service_t *s, const json_t *doc,
    int trusted);
static void corrald_supervise_input(corrald_replicas_instance_t *input,
    const json_t *doc);
static int corrald_supervise_compare(const void *one, const void *two);
static void corrald_supervise_create(corrald_service_t *s, const json_t *doc);
static void corrald_supervise_created(const corrald_result_t *result,
    void *data);
static void corrald_supervise_delete(corrald_service_t *s, const json_t *doc);
static corrald_service_t *corrald_supervise_service(const char *id);
static void corrald_supervise_add(const char *id, const json_t *doc);
static void corrald_supervise_remove(const char *id);
static void corrald_supervise_forget(corrald_service_t *s);


static corrald_map_t       corrald_services;     /* by service_id */
static corrald_map_t       corrald_instances;    /* by instance_id */
static corrald_service_t  *corrald_dirty;
static int                 corrald_supervise_scheduled;
static int                 corrald_supervise_open;


int
corrald_supervise_begin(void)
{
    corrald_supervise_open = 1;

    return corrald_store_watch(corrald_supervise_watch, NULL);
}


void
corrald_supervise_known(void)
{
    corrald_store_each(CORRALD_INSTANCE, corrald_supervise_each, NULL);
    corrald_store_each(CORRALD_SERVICE, corrald_supervise_each, NULL);
}


void
corrald_supervise_end(void)
{
    void                *value;
    const char          *key;
    corrald_map_iter_t   it;

    corrald_supervise_open = 0;

    corrald_map_first(&corrald_instances, &it);

    while (corrald_map_next(&corrald_instances, &it, &key, &value)) {
        corrald_instance_close(value);
        free(value);
    }

    corrald_map_free(&corrald_instances, NULL);
    corrald_map_free(&corrald_services, free);
    corrald_map_init(&corrald_instances);
    corrald_map_init(&corrald_services);
    corrald_dirty = NULL;
}


size_t
corrald_supervise_alive(size_t *adopted)
{
    void                *value;
    size_t               alive;
    const char          *key;
    corrald_instance_t  *in;
    corrald_map_iter_t   it;

    alive = 0;
    *adopted = 0;

    corrald_map_first(&corrald_instances, &it);

    while (corrald_map_next(&corrald_instances, &it, &key, &value)) {
        in = value;
        alive += in->alive;
        *adopted += in->adopted;
    }

    return alive;
}


/* Whether this node may act: it sees the registry and has its lease. */

int
corrald_supervise_active(void)
{
    const corrald_store_status_t  *status;

    status = corrald_store_status();

    return corrald_supervise_open && status->ready && status->node_epoch != 0;
}


corrald_instance_t *
corrald_supervise_find(const char *instance_id)
{
    return corrald_map_get(&corrald_instances, instance_id);
}


/* By the name of its files, see paths.h. */

corrald_instance_t *
corrald_supervise_base(const char *base)
{
    void                *value;
    const char          *key;
    corrald_paths_t      paths;
    corrald_instance_t  *in;
    corrald_map_iter_t   it;

    in = corrald_supervise_find(base);

    if (in != NULL) {
        return in;
    }

    /* ids that are too long for the path of a socket are rare */

    corrald_map_first(&corrald_instances, &it);

    while (corrald_map_next(&corrald_instances, &it, &key, &value)) {

        if (strlen(key) > CORRALD_SUPERVISE_LONG) {
            corrald_paths(key, &paths);

            if (strcmp(paths.base, base) == 0) {
                return value;
            }
        }
    }

    return NULL;
}


/* NULL: the service was deleted. */

const json_t *
corrald_supervise_document(const corrald_service_t *service, int *trusted)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_SERVICE, service->id);

    if (entry == NULL) {
        *trusted = 0;
        return NULL;
    }

    *trusted = entry->trusted;

    return entry->doc;
}


/* Looks at the service in the next turn of the loop. */

void
corrald_supervise_wake(corrald_service_t *service)
{
    if (!service->dirty) {
        service->dirty = 1;
        service->next_dirty = corrald_dirty;
        corrald_dirty = service;
    }

    if (!corrald_supervise_scheduled
        && corrald_loop_soon(corrald_supervise_turn, NULL) == 0)
    {
        corrald_supervise_scheduled = 1;
    }
}


void
corrald_supervise_wake_id(const char *service_id)
{
    corrald_service_t  *s;

    s = corrald_supervise_service(service_id);

    if (s != NULL) {
        corrald_supervise_wake(s);
    }
}


void
corrald_supervise_all(void)
{
    void                *value;
    const char          *key;
    corrald_map_iter_t   it;

    corrald_map_first(&corrald_services, &it);

    while (corrald_map_next(&corrald_services, &it, &key, &value)) {
        corrald_supervise_wake(value);
    }
}


static void
corrald_supervise_watch(corrald_kind_e kind, const char *id,
    const json_t *before, const json_t *after, int64_t revision, void *data)
{
    if (!corrald_supervise_open || kind == CORRALD_RULE) {
        return;
    }

    if (kind == CORRALD_SERVICE) {
        corrald_supervise_wake_id(id);
        return;
    }

    if (after != NULL) {
        corrald_supervise_add(id, after);
        corrald_supervise_wake_id(corrald_doc_str(after, "service_id"));
        return;
    }

    corrald_supervise_remove(id);

    if (before != NULL) {
        corrald_supervise_wake_id(corrald_doc_str(before, "service_id"));
    }
}


static void
corrald_supervise_each(const corrald_entry_t *entry, void *data)
{
    corrald_supervise_watch(entry->kind, entry->id, NULL, entry->doc,
                            entry->revision, NULL);
}


static void
corrald_supervise_turn(void *data)
{
    corrald_service_t  *s;

    corrald_supervise_scheduled = 0;

    if (!corrald_supervise_open) {
        return;
    }

    while (corrald_dirty != NULL) {
        s = corrald_dirty;
        corrald_dirty = s->next_dirty;
        s->dirty = 0;

        if (corrald_supervise_active()) {
            corrald_supervise_look(s);
        }
    }
}


static void
corrald_supervise_look(corrald_service_t *s)
{
    int            trusted;
    const json_t  *doc;

    doc = corrald_supervise_document(s, &trusted);

    if (doc == NULL) {

        /* deleted from under its instances: they go, too */

        corrald_supervise_decide(s, NULL, 0);

        if (s->n == 0 && s->creating == 0) {
            corrald_supervise_forget(s);
        }

        return;
    }

    s->ours = (unsigned) corrald_supervise_ours(s, doc) & 1;

    corrald_supervise_decide(s, doc, trusted);

    if (s->ours && corrald_doc_is_set(doc, "delete_at")) {
        corrald_supervise_delete(s, doc);
    }
}


static int
corrald_supervise_ours(corrald_service_t *s, const json_t *doc)
{
    const char  *node;

    node = NULL;

    corrald_store_instances(s->id, corrald_supervise_owner, &node);

    if (node != NULL) {
        return strcmp(node, corrald_conf()->node) == 0;
    }

    /* between two leaders nobody creates: the token says who is one */

    return corrald_store_leader() != 0;
}


/* data: who runs it, as far as was seen; the first of several nodes. */

static void
corrald_supervise_owner(const corrald_entry_t *entry, void *data)
{
    int64_t      lost;
    const char  *node, **owner;

    owner = data;

    if (!corrald_doc_bool(entry->doc, "managed")) {
        return;
    }

    node = corrald_doc_str(entry->doc, "node");

    if (strcmp(node, corrald_conf()->node) != 0
        && !corrald_store_node_alive(node))
    {
        lost = corrald_store_node_lost(node);

        if (lost == 0 || corrald_clock_ms() - lost > CORRAL_NODE_LOST) {
            return;
        }
    }

    if (*owner == NULL || strcmp(node, *owner) < 0) {
        *owner = node;
    }
}


static void
corrald_supervise_decide(corrald_service_t *s, const json_t *doc, int trusted)
{
    size_t                        i, n, create;
    const char                   *desired;
    corrald_instance_t           *in, **list;
    const corrald_entry_t        *entry;
    corrald_replicas_service_t    service;
    corrald_replicas_instance_t  *inputs;

    memset(&service, 0, sizeof(service));

    if (doc == NULL || !s->ours) {
        service.deleted = 1;

    } else {
        desired = corrald_doc_str(doc, "desired");
        service.desired = strcmp(desired, "running") == 0
                          ? CORRALD_DESIRED_RUNNING
                        : strcmp(desired, "paused") == 0
                          ? CORRALD_DESIRED_PAUSED : CORRALD_DESIRED_STOPPED;
        service.replicas = (size_t) corrald_doc_int(doc, "replicas");
        service.generation = corrald_doc_int(doc, "generation");
        service.fixed = corrald_doc_is_set(doc, "port");
        service.deleted = corrald_doc_is_set(doc, "delete_at");
    }

    list = calloc(s->n + 1, sizeof(corrald_instance_t *));
    inputs = calloc(s->n + 1, sizeof(corrald_replicas_instance_t));

    if (list == NULL || inputs == NULL) {
        free(list);
        free(inputs);
        return;
    }

    for (in = s->first, n = 0; in != NULL && n < s->n; in = in->next) {
        list[n++] = in;
    }

    qsort(list, n, sizeof(corrald_instance_t *), corrald_supervise_compare);

    for (i = 0; i < n; i++) {
        entry = corrald_store_get(CORRALD_INSTANCE, list[i]->id);
        corrald_supervise_input(&inputs[i], entry ? entry->doc : NULL);
    }

    create = corrald_decide_replicas(&service, inputs, n);

    for (i = 0; i < n; i++) {
        list[i]->want = inputs[i].want;
        list[i]->why = inputs[i].reason;
    }

    /* a step may end the instance, but only in a later turn of the loop */

    for (i = 0; i < n; i++) {
        corrald_instance_step(list[i]);
    }

    free(list);
    free(inputs);

    if (create == 0 || s->creating > 0 || !trusted) {
        return;
    }

    for (i = 0; i < create && i < CORRALD_SUPERVISE_CREATE; i++) {
        corrald_supervise_create(s, doc);
    }
}


static void
corrald_supervise_input(corrald_replicas_instance_t *input, const json_t *doc)
{
    int      state;
    int64_t  restart, started;

    if (doc == NULL) {
        input->state = CORRALD_STATE_stopped;
        input->evict = 1;
        return;
    }

    state = corrald_state_parse(corrald_doc_str(doc, "state"));

    input->state = state == -1 ? CORRALD_STATE_pending
                               : (corrald_state_e) state;
    input->ready = state == CORRALD_STATE_running
                   && strcmp(corrald_doc_str(doc, "health"), "unhealthy") != 0;
    input->generation = corrald_doc_int(doc, "generation");
    input->created = corrald_doc_time(doc, "created_at");
    input->evict = corrald_doc_bool(doc, "evict");
    input->pause = corrald_doc_bool(doc, "maintenance");

    restart = corrald_doc_time(doc, "restart_at");
    started = corrald_doc_time(doc, "started_at");
    input->renew = restart > 0 && started > 0 && started < restart;
}


/* Oldest first; the id decides between those of one moment. */

static int
corrald_supervise_compare(const void *one, const void *two)
{
    const corrald_instance_t  *a, *b;

    a = *(corrald_instance_t *const *) one;
    b = *(corrald_instance_t *const *) two;

    if (a->created != b->created) {
        return (a->created > b->created) - (a->created < b->created);
    }

    return strcmp(a->id, b->id);
}


static void
corrald_supervise_create(corrald_service_t *s, const json_t *doc)
{
    int                          i;
    char                         id[CORRAL_ID_MAX + 1], random[6];
    char                         now[CORRALD_CLOCK_SIZE];
    json_t                      *instance;
    corrald_op_t                 op;
    unsigned char                bytes[5];
    corrald_supervise_ticket_t  *ticket;

    /* no vowels: no words */

    static const char  alphabet[] = "bcdfghjklmnpqrstvwxz0123456789bc";

    if (corrald_crypt_random(bytes, sizeof(bytes)) != 0) {
        return;
    }

    for (i = 0; i < 5; i++) {
        random[i] = alphabet[bytes[i] % 32];
    }

    random[5] = '\0';

    (void) snprintf(id, sizeof(id), "%.58s.%s", corrald_doc_str(doc, "name"),
                    random);

    if (corrald_store_get(CORRALD_INSTANCE, id) != NULL) {
        return;
    }

    ticket = calloc(1, sizeof(*ticket));
    instance = json_pack("{s:s, s:s, s:s, s:b, s:I, s:s, s:s, s:s, s:s}",
                         "instance_id", id,
                         "service_id", s->id,
                         "node", corrald_conf()->node,
                         "managed", 1,
                         "generation",
                         (json_int_t) corrald_doc_int(doc, "generation"),
                         "state", "pending",
                         "reason", s->n > 0 ? "scaled_up" : "created",
                         "message", "waits for its start",
                         "created_at", corrald_clock_now(now, sizeof(now)));

    if (ticket == NULL || instance == NULL) {
        free(ticket);
        json_decref(instance);
        return;
    }

    (void) snprintf(ticket->service_id, sizeof(ticket->service_id), "%s",
                    s->id);

    memset(&op, 0, sizeof(op));
    op.op = CORRALD_PUT;
    op.kind = CORRALD_INSTANCE;
    op.id = id;
    op.doc = instance;
    op.owners = CORRALD_OWNER_all;
    op.expected = CORRALD_ABSENT;

    s->creating++;

    corrald_store_commit(&op, 1, CORRALD_AS_NODE, corrald_supervise_created,
                         ticket);
    json_decref(instance);
}


static void
corrald_supervise_created(const corrald_result_t *result, void *data)
{
    corrald_service_t           *s;
    corrald_supervise_ticket_t  *ticket;

    ticket = data;
    s = corrald_map_get(&corrald_services, ticket->service_id);

    if (result->result != CORRALD_DONE && corrald_supervise_open) {
        corrald_log_warn("service \"%s\": an instance could not be created: "
                         "%s", ticket->service_id, result->message);
    }

    if (s != NULL && corrald_supervise_open) {
        s->creating -= (s->creating > 0);

        /* a failure is tried again with the next look at everything */

        if (result->result == CORRALD_DONE) {
            corrald_supervise_wake(s);
        }
    }

    free(ticket);
}


static void
corrald_supervise_count(const corrald_entry_t *entry, void *data)
{
    (*(size_t *) data)++;
}


/* Deletion was asked for, and the last instance is gone. */

static void
corrald_supervise_delete(corrald_service_t *s, const json_t *doc)
{
    size_t        n;
    corrald_op_t  op;

    n = 0;
    corrald_store_instances(s->id, corrald_supervise_count, &n);

    if (n > 0 || s->creating > 0) {
        return;
    }

    memset(&op, 0, sizeof(op));
    op.op = CORRALD_DEL;
    op.kind = CORRALD_SERVICE;
    op.id = s->id;
    op.owners = CORRALD_OWNER_all;
    op.expected = CORRALD_ANY;

    corrald_log_info("service \"%s\" has no instance left and is deleted",
                     corrald_doc_str(doc, "name"));
    corrald_store_commit(&op, 1, CORRALD_AS_NODE, NULL, NULL);
}


static corrald_service_t *
corrald_supervise_service(const char *id)
{
    corrald_service_t  *s;

    s = corrald_map_get(&corrald_services, id);

    if (s != NULL) {
        return s;
    }

    s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }

    (void) snprintf(s->id, sizeof(s->id), "%s", id);

    if (corrald_map_set(&corrald_services, id, s) != 0) {
        free(s);
        return NULL;
    }

    return s;
}


/* Only managed instances of this node are observed here. */

static void
corrald_supervise_add(const char *id, const json_t *doc)
{
    corrald_service_t   *s;
    corrald_instance_t  *in;

    static uint32_t      serial;

    if (!corrald_doc_bool(doc, "managed")
        || strcmp(corrald_doc_str(doc, "node"), corrald_conf()->node) != 0
        || corrald_supervise_find(id) != NULL)
    {
        return;
    }

    s = corrald_supervise_service(corrald_doc_str(doc, "service_id"));
    in = calloc(1, sizeof(*in));

    if (s == NULL || in == NULL
        || corrald_map_set(&corrald_instances, id, in) != 0)
    {
        free(in);
        corrald_log_error("no memory for instance \"%s\"", id);
        return;
    }

    (void) snprintf(in->id, sizeof(in->id), "%s", id);
    in->serial = ++serial;
    in->created = corrald_doc_time(doc, "created_at");
    in->service = s;
    in->want = CORRALD_WANT_RUN;
    in->why = "requested";
    in->drain_open = -1;
    in->next = s->first;
    s->first = in;
    s->n++;
}


static void
corrald_supervise_remove(const char *id)
{
    corrald_instance_t  *in, **at;

    in = corrald_map_del(&corrald_instances, id);

    if (in == NULL) {
        return;
    }

    for (at = &in->service->first; *at != NULL; at = &(*at)->next) {
        if (*at == in) {
            *at = in->next;
            in->service->n--;
            break;
        }
    }

    /* a process without a document is an orphan: adopt.c ends it, at once */

    if (in->alive) {
        corrald_adopt_soon();
        corrald_engine_soon();
    }

    corrald_ports_release(in->id, corrald_clock_monotonic());
    corrald_instance_close(in);
    free(in);
}


static void
corrald_supervise_forget(corrald_service_t *s)
{
    if (!s->dirty) {
        (void) corrald_map_del(&corrald_services, s->id);
        free(s);
    }
}
