
/*
 * What a commit is to write, of what was asked for and what is known: whole
 * documents, checked, dated and signed, the history of instances, events.
 * Redis is not asked.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/crypt.h"
#include "../model/check.h"
#include "../model/state.h"
#include "commit.h"


static int corrald_commit_op(corrald_commit_t *c, corrald_commit_op_t *op);
static int corrald_commit_merge(corrald_commit_t *c, corrald_commit_op_t *op,
    const corrald_cache_t *known);
static int corrald_commit_finish(corrald_commit_t *c,
    corrald_commit_op_t *op);
static int corrald_commit_state(corrald_commit_t *c, corrald_commit_op_t *op);


int
corrald_commit_prepare(corrald_commit_t *c)
{
    size_t  i;

    corrald_commit_reset(c);
    c->events = json_array();

    if ((c->flags & CORRALD_AS_LEADER) && corrald_store_leader() == 0) {
        return corrald_commit_fail(c, CORRALD_FENCED, "",
                                   "this node does not lead");
    }

    if ((c->flags & CORRALD_AS_NODE) && corrald_local.status.node_epoch == 0) {
        return corrald_commit_fail(c, CORRALD_FENCED, "",
                                   "this node has no lease yet");
    }

    for (i = 0; i < c->n; i++) {
        if (corrald_commit_op(c, &c->ops[i]) != 0) {
            return -1;
        }
    }

    corrald_commit_events(c);

    return 0;
}


void
corrald_commit_reset(corrald_commit_t *c)
{
    size_t                i;
    corrald_commit_op_t  *op;

    for (i = 0; i < c->n; i++) {
        op = &c->ops[i];

        json_decref(op->before);
        json_decref(op->after);
        free(op->text);
        free(op->history);

        op->before = NULL;
        op->after = NULL;
        op->text = NULL;
        op->history = NULL;
        op->len = 0;
        op->idle = 0;
        op->mac[0] = '\0';
    }

    json_decref(c->events);
    c->events = NULL;
}


static int
corrald_commit_op(corrald_commit_t *c, corrald_commit_op_t *op)
{
    corrald_cache_t  *known;

    known = corrald_cache_get(op->kind, op->id);
    op->base = known ? known->entry.revision : 0;

    if (op->expected != CORRALD_ANY && op->expected != op->base) {
        c->revision = op->base;
        return corrald_commit_fail(c, CORRALD_CONFLICT, op->id, "the %s has "
                                   "revision %lld, not %lld",
                                   corrald_doc_kind(op->kind),
                                   (long long) op->base,
                                   (long long) op->expected);
    }

    if (known == NULL && op->op != CORRALD_PUT) {
        return corrald_commit_fail(c, CORRALD_MISSING, op->id,
                                   "there is no %s \"%s\"",
                                   corrald_doc_kind(op->kind), op->id);
    }

    op->before = known ? json_incref(known->entry.doc) : NULL;

    if (op->op == CORRALD_DEL) {
        return 0;
    }

    if (corrald_commit_merge(c, op, known) != 0) {
        return -1;
    }

    return corrald_commit_finish(c, op);
}


/* Makes op->after of what is known and what is asked for. */

static int
corrald_commit_merge(corrald_commit_t *c, corrald_commit_op_t *op,
    const corrald_cache_t *known)
{
    json_t                 *value;
    const char             *name;
    const corrald_field_t  *f;

    op->after = known ? json_copy(known->entry.doc) : json_object();

    json_object_foreach(op->doc, name, value) {
        f = corrald_doc_field(op->kind, name);

        if (f == NULL) {
            return corrald_commit_fail(c, CORRALD_INVALID, op->id,
                                       "\"%s\" is not a field of a %s", name,
                                       corrald_doc_kind(op->kind));
        }

        if (known == NULL || (f->owner & op->owners)) {
            json_object_set(op->after, name, value);
        }
    }

    /* a whole document: what it does not have goes back to its default */

    for (f = corrald_doc_fields(op->kind); known && f->name; f++) {
        if (op->op == CORRALD_PUT && (f->owner & op->owners) && *f->preset
            && !(f->flags & CORRAL_F)
            && json_object_get(op->doc, f->name) == NULL)
        {
            json_object_del(op->after, f->name);
        }
    }

    return 0;
}


/* Times, defaults, checks, text, MAC. */

static int
corrald_commit_finish(corrald_commit_t *c, corrald_commit_op_t *op)
{
    int              rc;
    char             now[CORRALD_CLOCK_SIZE];
    corrald_check_t  check;

    corrald_clock_now(now, sizeof(now));

    json_object_set_new(op->after, corrald_doc_id(op->kind),
                        json_string(op->id));

    if (op->before == NULL) {
        json_object_set_new(op->after, "created_at", json_string(now));
        json_object_set_new(op->after, op->kind == CORRALD_INSTANCE
                                       ? "state_at" : "updated_at",
                            json_string(now));
    }

    if (corrald_check_fill(op->kind, op->after) != 0) {
        return corrald_commit_fail(c, CORRALD_INVALID, op->id, "no memory");
    }

    if (op->before && json_equal(op->before, op->after)) {
        op->idle = 1;
        return 0;
    }

    if (op->before && op->kind != CORRALD_INSTANCE) {
        json_object_set_new(op->after, "updated_at", json_string(now));
    }

    if (op->kind == CORRALD_INSTANCE && corrald_commit_state(c, op) != 0) {
        return -1;
    }

    corrald_check_init(&check);
    rc = corrald_check_document(&check, op->kind, op->after);

    if (rc != 0) {
        corrald_commit_fail(c, CORRALD_INVALID, op->id, "%s", check.sentence);
    }

    corrald_check_free(&check);

    if (rc != 0) {
        return -1;
    }

    op->text = json_dumps(op->after, JSON_COMPACT);
    op->len = op->text ? strlen(op->text) : 0;

    if (op->text == NULL || op->len > CORRAL_DOCUMENT_MAX) {
        return corrald_commit_fail(c, CORRALD_INVALID, op->id, "the document "
                                   "has %zu bytes, at most %d are stored",
                                   op->len, CORRAL_DOCUMENT_MAX);
    }

    if (op->kind == CORRALD_SERVICE) {
        corrald_crypt_hmac(corrald_local.hmac, corrald_local.hmac_len,
                           op->text, op->len, op->mac);
    }

    return 0;
}


/* The change of an instance's state: legal, dated, noted in its history. */

static int
corrald_commit_state(corrald_commit_t *c, corrald_commit_op_t *op)
{
    int          from, to, health;
    char         now[CORRALD_CLOCK_SIZE];
    json_t      *note;
    const char  *was, *is;

    was = corrald_doc_str(op->before, "state");
    is = corrald_doc_str(op->after, "state");
    from = corrald_state_parse(was);
    to = corrald_state_parse(is);
    health = strcmp(corrald_doc_str(op->before, "health"),
                    corrald_doc_str(op->after, "health"))
             != 0;

    if (from == to && !health) {
        return 0;
    }

    if (op->before && from != to && from != -1 && to != -1
        && corrald_state_change(from, to) == NULL)
    {
        return corrald_commit_fail(c, CORRALD_INVALID, op->id, "an instance "
                                   "cannot go from %s to %s", was, is);
    }

    corrald_clock_now(now, sizeof(now));

    if (from != to) {
        json_object_set_new(op->after, "state_at", json_string(now));
    }

    note = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}",
                     "at", now, "state", is,
                     "health", corrald_doc_str(op->after, "health"),
                     "reason", corrald_doc_str(op->after, "reason"),
                     "message", corrald_doc_str(op->after, "message"),
                     "incarnation", json_object_get(op->after,
                                                    "incarnation"));

    op->history = json_dumps(note, JSON_COMPACT);
    json_decref(note);

    return 0;
}
