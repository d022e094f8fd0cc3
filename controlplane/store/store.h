
/*
 * The registry: a view of all documents in memory, kept up to date from
 * Redis, and the only way to change them.  See store.c, view.c, commit.c,
 * lease.c.
 *
 * There is one store.  All functions are called on the loop's thread; all
 * callbacks run there, never before the call that named them has returned,
 * and exactly once, also when Redis is lost or the store is closed.
 */


#ifndef _CORRALD_STORE_H_INCLUDED_
#define _CORRALD_STORE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "../model/doc.h"


/* ---- start and state ---- */

typedef struct {
    int           connected;         /* Redis answers */
    int           ready;             /* the view is complete and followed */
    int           embedded;
    const char   *where;             /* "unix:/run/corral/redis.sock" */
    const char   *epoch;             /* "" before the first load */
    int64_t       revision;          /* of the view */
    int64_t       since;             /* ms since 1970, of connected */
    int64_t       node_epoch;        /* 0 without a lease */
    int64_t       token;             /* fencing token; 0: not the leader */
    uint64_t      reconnects;
    uint64_t      commits;
    uint64_t      conflicts;
    uint64_t      loads;             /* full loads */
    uint64_t      untrusted;         /* services without a valid HMAC */
    const char   *error;             /* the last trouble, a sentence or "" */
} corrald_store_status_t;


/* Reads the journal and the keys, starts Redis if it is ours, connects. */

int corrald_store_open(char *err, size_t size)
    __attribute__((warn_unused_result));

/* Calls all callbacks that wait, gives the leases back, disconnects. */

void corrald_store_close(void);
const corrald_store_status_t *corrald_store_status(void);


/* ---- the view ---- */

/*
 * What is known of a document.  It is borrowed and immutable: valid until the
 * handler returns to the loop; json_incref(doc) keeps the document longer.
 * doc has all defaults filled in.
 */

typedef struct {
    corrald_kind_e  kind;
    const char     *id;
    json_t         *doc;
    int64_t         revision;        /* of the last change of this document */

    /*
     * Of a service: it carries corrald's HMAC.  The engine does not start
     * anything from a document that does not.
     */

    int             trusted;
} corrald_entry_t;

typedef void (*corrald_store_each_pt)(const corrald_entry_t *entry,
    void *data);

const corrald_entry_t *corrald_store_get(corrald_kind_e kind, const char *id);
const corrald_entry_t *corrald_store_service(const char *id_or_name);
const corrald_entry_t *corrald_store_rule(const char *id_or_name);
size_t corrald_store_count(corrald_kind_e kind);
void corrald_store_each(corrald_kind_e kind, corrald_store_each_pt handler,
    void *data);
void corrald_store_instances(const char *service_id,
    corrald_store_each_pt handler, void *data);

/*
 * handler hears of every change of the view: before is NULL for a new
 * document, after for a deleted one.  While the view is loaded for the first
 * time each document is new.  revision is that of the change.  It runs after
 * the view has changed; it may commit.
 */

typedef void (*corrald_store_watch_pt)(corrald_kind_e kind, const char *id,
    const json_t *before, const json_t *after, int64_t revision, void *data);

int corrald_store_watch(corrald_store_watch_pt handler, void *data)
    __attribute__((warn_unused_result));


/* ---- changes ---- */

typedef enum {

    /*
     * doc is the whole document.  Of an existing one only the fields whose
     * owner is in owners are taken from it, the others stay.  Members that
     * are missing get their default.
     */
    CORRALD_PUT = 0,

    /* doc holds only the members to be set; the others stay */
    CORRALD_SET,

    CORRALD_DEL
} corrald_op_e;

#define CORRALD_ANY     (-1)         /* whatever its revision is */
#define CORRALD_ABSENT  0            /* it must not exist */

typedef struct {
    corrald_op_e    op;
    corrald_kind_e  kind;
    const char     *id;              /* copied */
    json_t         *doc;             /* borrowed: a reference is taken */
    unsigned        owners;          /* CORRALD_OWNER_... */
    int64_t         expected;        /* revision, CORRALD_ANY or _ABSENT */
} corrald_op_t;

typedef enum {
    CORRALD_DONE = 0,
    CORRALD_CONFLICT,                /* the revision is not the expected one */
    CORRALD_NAME_TAKEN,              /* another one has this name */
    CORRALD_MISSING,                 /* no such document */
    CORRALD_INVALID,                 /* message says why */
    CORRALD_FENCED,                  /* not the leader, or the node's lease */
    CORRALD_UNAVAILABLE,             /* Redis is not there: nothing happened */
    CORRALD_UNKNOWN                  /* no answer: it may have happened */
} corrald_result_e;

typedef struct {
    corrald_result_e  result;
    int64_t           revision;      /* of the commit, or of the conflict */
    const char       *id;            /* of the operation at fault, or "" */
    const char       *message;       /* a sentence when not done */
} corrald_result_t;

typedef void (*corrald_commit_pt)(const corrald_result_t *result, void *data);

/* what must be true for a commit to be made, beside the revisions */

#define CORRALD_AS_LEADER  0x01      /* this node still leads */
#define CORRALD_AS_NODE    0x02      /* this node still has its lease */

/*
 * All operations are made, with one revision, or none.
 *
 * A set or put with CORRALD_ANY is merged into the newest document, again
 * after a conflict.  What would change nothing is not written; a commit of
 * only such operations is done at once, with the revision of the view.
 *
 * The commit refuses documents that break the schema and illegal changes of
 * state.  It writes updated_at and state_at, the events (service_created,
 * instance_state, ...) and the history of instances by itself.
 *
 * A change of a service or a rule is on the disk of this node when handler
 * hears DONE.  handler may be NULL: what fails is then logged.
 */

void corrald_store_commit(const corrald_op_t *ops, size_t n, unsigned flags,
    corrald_commit_pt handler, void *data);

/* the commonest case: some members of one document; doc is stolen */

void corrald_store_set(corrald_kind_e kind, const char *id, json_t *doc,
    unsigned owners, unsigned flags, corrald_commit_pt handler, void *data);


/*
 * Calls handler when no commit of this process on that document is under way:
 * at once, or when those before it have ended, in their order.  For callers
 * that read a document, think, and commit with its revision: on one node they
 * take turns, and only other nodes can be in conflict.
 */

void corrald_store_turn(corrald_kind_e kind, const char *id,
    void (*handler)(void *data), void *data);


/* ---- leases ---- */

/*
 * The token of this node's leadership, or 0.  To be asked for before each
 * piece of leader work, which is then committed with CORRALD_AS_LEADER.
 */

int64_t corrald_store_leader(void);

/*
 * All nodes and nginx workers, as read within the last second: arrays of
 * objects with the members of the schema (CORRAL_NODE_FIELDS,
 * CORRAL_WORKER_FIELDS).  A node has "alive" too: false when its lease ended;
 * then it has only "node" beside.  Borrowed; never NULL.
 */

json_t *corrald_store_nodes(void);
json_t *corrald_store_workers(void);

/* 1, or 0 when the node's lease ended or there never was one */

int corrald_store_node_alive(const char *node);

/* ms since 1970 when that node was first seen without lease; 0: it lives */

int64_t corrald_store_node_lost(const char *node);

/* the number of instances that run here, for the node's lease */

void corrald_store_node_instances(size_t n);


/* ---- heartbeats of external instances ---- */

/*
 * load is an object of strings and numbers.  corrald_store_load() is what was
 * read within the last second of the heartbeat that lives, or NULL when the
 * ttl has passed; only external instances (managed: false) are looked at.
 * Borrowed.  Before the first look after a start it answers as if alive:
 * an empty object.
 */

typedef void (*corrald_store_json_pt)(json_t *value, const char *err,
    void *data);

void corrald_store_heartbeat(const char *instance_id, const json_t *load,
    int64_t ttl, corrald_store_json_pt handler, void *data);
json_t *corrald_store_load(const char *instance_id);


/*
 * Requests that wait in all gateways for an instance of the service.  At most
 * three seconds old.
 */

int64_t corrald_store_waiting(const char *service_id);


/* ---- for people ---- */

/*
 * value is borrowed by the handler and NULL exactly when err is a sentence.
 */

void corrald_store_event(const char *type, const char *kind, const char *id,
    const json_t *detail);

/* array of {id, type, kind, object, data}, oldest first; after: "" is all */

void corrald_store_events(const char *after, size_t count, int newest,
    corrald_store_json_pt handler, void *data);

/* array of {at, state, health, reason, message}, newest first */

void corrald_store_history(const char *instance_id,
    corrald_store_json_pt handler, void *data);

/* array of objects, see CORRAL_CONNECTION_FIELDS; numbers are numbers */

void corrald_store_connections(corrald_store_json_pt handler, void *data);

/* What workers are to do, see CORRAL_COMMAND_FIELDS.  Copied. */

typedef struct {
    const char     *op;
    const json_t   *filter;
    const char     *reason;
    int             code;
    int             dry_run;

    /* of a drain */

    int64_t         rate;            /* a second, of all workers */
    int64_t         total;           /* of all workers; 0: not known */
    int64_t         deadline;        /* ms */
    int64_t         retry_after;     /* s, at most; 0: not told */

    int64_t         expires;         /* of a renewal: unix time, s */
} corrald_command_t;

/*
 * A command to all workers.  value is an object {workers, answered, missing
 * (names), errors ({worker, detail}), matched, closed, sent}.
 */

void corrald_store_command(const corrald_command_t *command, int64_t timeout,
    corrald_store_json_pt handler, void *data);

/*
 * What is revoked.  revoke: name ("kind:name") until a unix time, or no longer
 * (0); value is "done", "missing" or "full".  revocations: an array of {name,
 * expires}, the first to end first.
 */

void corrald_store_revoke(const char *name, int64_t until,
    corrald_store_json_pt handler, void *data);
void corrald_store_revocations(corrald_store_json_pt handler, void *data);

/*
 * Waits until all live workers serve from this revision.  value is an object
 * {applied, workers, laggards (names)}; it comes within timeout ms.
 */

void corrald_store_applied(int64_t revision, int64_t timeout,
    corrald_store_json_pt handler, void *data);

/*
 * Idempotency.  begin: value is {} (go on), {pending: true}, {differs: true}
 * or {answer: ...}.  end: answer NULL forgets the key.
 */

void corrald_store_idempotency_begin(const char *key, const char *digest,
    corrald_store_json_pt handler, void *data);
void corrald_store_idempotency_end(const char *key, const char *digest,
    const json_t *answer);


#endif /* _CORRALD_STORE_H_INCLUDED_ */
