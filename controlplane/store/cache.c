
/*
 * All documents in memory.  Every change of the registry that this process
 * hears of comes through corrald_cache_put() and _del(), whichever way it
 * came; corrald_cache_publish() then tells the watchers, when all documents of
 * a commit are in place.
 *
 * Revisions only grow here: what is older than what is known is dropped.  A
 * document that was deleted leaves a stone with its revision, so that a read
 * that was under way cannot bring it back.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/alloc.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "../model/check.h"
#include "local.h"


#define CORRALD_CACHE_WATCHERS  16


typedef struct corrald_cache_change_s  corrald_cache_change_t;

struct corrald_cache_change_s {
    corrald_cache_change_t   *next;
    corrald_kind_e            kind;
    json_t                   *before;
    json_t                   *after;
    int64_t                   revision;
    char                      id[];
};


/* The instances of one service, which may come before it. */

typedef struct {
    corrald_cache_t          *first;
} corrald_cache_group_t;


typedef struct {
    corrald_store_watch_pt    handler;
    void                     *data;
} corrald_cache_watcher_t;


static int corrald_cache_trusted(const corrald_cache_t *c);
static void corrald_cache_name(corrald_cache_t *c, const json_t *before);
static void corrald_cache_link(corrald_cache_t *c);
static void corrald_cache_unlink(corrald_cache_t *c);
static void corrald_cache_change(corrald_kind_e kind, const char *id,
    json_t *before, json_t *after, int64_t revision);
static void corrald_cache_release(void *value);
static const char *corrald_cache_stone(char *buf, corrald_kind_e kind,
    const char *id);


static corrald_map_t             corrald_cache_docs[CORRALD_STORED];
static corrald_map_t             corrald_cache_names;
static corrald_map_t             corrald_cache_groups;
static corrald_map_t             corrald_cache_stones;
static int64_t                   corrald_cache_rev;

static corrald_cache_change_t   *corrald_cache_first;
static corrald_cache_change_t  **corrald_cache_last = &corrald_cache_first;

static corrald_cache_watcher_t   corrald_cache_watchers[CORRALD_CACHE_WATCHERS];
static size_t                    corrald_cache_nwatchers;


const corrald_entry_t *
corrald_store_get(corrald_kind_e kind, const char *id)
{
    return corrald_map_get(&corrald_cache_docs[kind], id);
}


/* By id, or else by name. */

static const corrald_entry_t *
corrald_cache_named(corrald_kind_e kind, const char *id_or_name)
{
    char              name[CORRALD_DOC_UNIQUE];
    corrald_cache_t  *c;

    c = corrald_map_get(&corrald_cache_docs[kind], id_or_name);

    if (c) {
        return &c->entry;
    }

    c = corrald_map_get(&corrald_cache_names,
                        corrald_doc_unique(kind, id_or_name, name));

    /* "rule/x" is the name of no service */

    return c && c->entry.kind == kind ? &c->entry : NULL;
}


const corrald_entry_t *
corrald_store_service(const char *id_or_name)
{
    return corrald_cache_named(CORRALD_SERVICE, id_or_name);
}


const corrald_entry_t *
corrald_store_rule(const char *id_or_name)
{
    return corrald_cache_named(CORRALD_RULE, id_or_name);
}


size_t
corrald_store_count(corrald_kind_e kind)
{
    return corrald_cache_docs[kind].count;
}


void
corrald_store_each(corrald_kind_e kind, corrald_store_each_pt handler,
    void *data)
{
    void                *value;
    corrald_map_iter_t   it;

    corrald_map_first(&corrald_cache_docs[kind], &it);

    while (corrald_map_next(&corrald_cache_docs[kind], &it, NULL, &value)) {
        handler(&((corrald_cache_t *) value)->entry, data);
    }
}


void
corrald_store_instances(const char *service_id, corrald_store_each_pt handler,
    void *data)
{
    corrald_cache_t        *c, *next;
    corrald_cache_group_t  *group;

    group = corrald_map_get(&corrald_cache_groups, service_id);

    for (c = group ? group->first : NULL; c; c = next) {
        next = c->next;
        handler(&c->entry, data);
    }
}


int
corrald_store_watch(corrald_store_watch_pt handler, void *data)
{
    corrald_cache_watcher_t  *w;

    if (corrald_cache_nwatchers == CORRALD_CACHE_WATCHERS) {
        return -1;
    }

    w = &corrald_cache_watchers[corrald_cache_nwatchers++];
    w->handler = handler;
    w->data = data;

    return 0;
}


corrald_cache_t *
corrald_cache_get(corrald_kind_e kind, const char *id)
{
    return corrald_map_get(&corrald_cache_docs[kind], id);
}


/*
 * Takes over a document as Redis holds it, unless it is older than what is
 * known.  One that is broken is refused: the one before it stays in force.
 */

void
corrald_cache_put(corrald_kind_e kind, const char *id, const char *text,
    size_t len, int64_t revision, const char *mac)
{
    char             *copy, key[CORRALD_KEY_SIZE];
    json_t           *doc, *before;
    corrald_check_t   check;
    corrald_cache_t  *c;

    c = corrald_cache_get(kind, id);

    if (c && c->entry.revision >= revision) {
        return;
    }

    if ((int64_t) (intptr_t) corrald_map_get(&corrald_cache_stones,
                                             corrald_cache_stone(key, kind,
                                                                 id))
        > revision)
    {
        return;
    }

    corrald_check_init(&check);

    doc = len <= CORRAL_DOCUMENT_MAX ? corrald_check_parse(&check, text, len)
                                     : NULL;

    if (doc == NULL || corrald_check_fill(kind, doc) != 0
        || corrald_check_document(&check, kind, doc) != 0
        || strcmp(corrald_doc_str(doc, corrald_doc_id(kind)), id) != 0)
    {
        corrald_log_error("the document of %s \"%s\" is not valid and is "
                          "ignored: %s", corrald_doc_kind(kind), id,
                          *check.sentence ? check.sentence : "wrong id");
        corrald_check_free(&check);
        json_decref(doc);
        return;
    }

    corrald_check_free(&check);

    copy = corrald_alloc(1, len + 1, "for a document");

    if (c == NULL) {
        c = corrald_alloc(1, sizeof(*c), "for a document");
        c->entry.kind = kind;
        c->entry.id = strdup(id);

        if (c->entry.id == NULL
            || corrald_map_set(&corrald_cache_docs[kind], id, c) != 0)
        {
            corrald_alloc_failed("for a document");
        }
    }

    memcpy(copy, text, len);
    copy[len] = '\0';

    free(c->text);

    before = c->entry.doc;

    c->text = copy;
    c->len = len;
    c->entry.doc = doc;
    c->entry.revision = revision;

    memset(c->mac, 0, sizeof(c->mac));
    memcpy(c->mac, mac, strlen(mac) < sizeof(c->mac) ? strlen(mac) : 0);

    c->entry.trusted = kind != CORRALD_SERVICE || corrald_cache_trusted(c);

    if (kind != CORRALD_INSTANCE) {
        corrald_cache_name(c, before);

    } else if (before == NULL) {
        corrald_cache_link(c);
    }

    corrald_cache_seen(revision);
    corrald_journal_add(kind, id, revision, c->mac, c->text, c->len);
    corrald_cache_change(kind, id, before, json_incref(doc), revision);
}


/* The document is gone since this revision. */

void
corrald_cache_del(corrald_kind_e kind, const char *id, int64_t revision)
{
    char              key[CORRALD_KEY_SIZE], unique[CORRALD_DOC_UNIQUE];
    json_t           *doc;
    const char       *name;
    corrald_cache_t  *c;

    c = corrald_cache_get(kind, id);

    if (c == NULL || c->entry.revision > revision) {
        return;
    }

    if (corrald_map_set(&corrald_cache_stones,
                        corrald_cache_stone(key, kind, id),
                        (void *) (intptr_t) revision)
        != 0)
    {
        corrald_alloc_failed("for a document");
    }

    doc = json_incref(c->entry.doc);

    if (kind != CORRALD_INSTANCE) {
        name = corrald_doc_unique(kind, corrald_doc_str(doc, "name"), unique);

        if (corrald_map_get(&corrald_cache_names, name) == c) {
            corrald_map_del(&corrald_cache_names, name);
        }

    } else {
        corrald_cache_unlink(c);
    }

    corrald_map_del(&corrald_cache_docs[kind], id);

    corrald_cache_seen(revision);
    corrald_journal_add(kind, id, revision, "", NULL, 0);
    corrald_cache_change(kind, id, doc, NULL, revision);

    corrald_cache_release(c);
}


/* Tells the watchers what has changed since the last call, in its order. */

void
corrald_cache_publish(void)
{
    size_t                   i;
    corrald_cache_change_t  *change;

    while (corrald_cache_first) {
        change = corrald_cache_first;
        corrald_cache_first = change->next;

        if (corrald_cache_first == NULL) {
            corrald_cache_last = &corrald_cache_first;
        }

        for (i = 0; i < corrald_cache_nwatchers; i++) {
            corrald_cache_watchers[i].handler(change->kind, change->id,
                                              change->before, change->after,
                                              change->revision,
                                              corrald_cache_watchers[i].data);
        }

        json_decref(change->before);
        json_decref(change->after);
        free(change);
    }
}


/* The highest revision that was seen. */

int64_t
corrald_cache_revision(void)
{
    return corrald_cache_rev;
}


void
corrald_cache_seen(int64_t revision)
{
    if (revision > corrald_cache_rev) {
        corrald_cache_rev = revision;
        corrald_local.status.revision = revision;
    }
}


/*
 * Another store, whose revisions have nothing to do with those known: all are
 * forgotten, the documents stay until the load replaces them.
 */

void
corrald_cache_reset_revision(int64_t revision)
{
    int                  kind;
    void                *value;
    corrald_map_iter_t   it;

    for (kind = 0; kind < CORRALD_STORED; kind++) {
        corrald_map_first(&corrald_cache_docs[kind], &it);

        while (corrald_map_next(&corrald_cache_docs[kind], &it, NULL, &value))
        {
            ((corrald_cache_t *) value)->entry.revision = 0;
        }
    }

    corrald_map_free(&corrald_cache_stones, NULL);

    corrald_cache_rev = revision;
    corrald_local.status.revision = revision;
}


/*
 * The followed stream has come to this revision: no read of an older state is
 * under way any more, the stones before it have done their work.
 */

void
corrald_cache_sweep(int64_t revision)
{
    void                *value;
    const char          *key;
    corrald_map_iter_t   it;

    if (corrald_cache_stones.count == 0) {
        return;
    }

    corrald_map_first(&corrald_cache_stones, &it);

    while (corrald_map_next(&corrald_cache_stones, &it, &key, &value)) {
        if ((int64_t) (intptr_t) value <= revision) {
            corrald_map_del(&corrald_cache_stones, key);
        }
    }
}


/* handler may delete the document it is called with. */

void
corrald_cache_each(corrald_kind_e kind,
    void (*handler)(corrald_cache_t *c, void *data), void *data)
{
    void                *value;
    corrald_map_iter_t   it;

    corrald_map_first(&corrald_cache_docs[kind], &it);

    while (corrald_map_next(&corrald_cache_docs[kind], &it, NULL, &value)) {
        handler(value, data);
    }
}


void
corrald_cache_free(void)
{
    int                      kind;
    corrald_cache_change_t  *change;

    while (corrald_cache_first) {
        change = corrald_cache_first;
        corrald_cache_first = change->next;
        json_decref(change->before);
        json_decref(change->after);
        free(change);
    }

    corrald_cache_last = &corrald_cache_first;
    corrald_cache_nwatchers = 0;

    for (kind = 0; kind < CORRALD_STORED; kind++) {
        corrald_map_free(&corrald_cache_docs[kind], corrald_cache_release);
    }

    corrald_map_free(&corrald_cache_names, NULL);
    corrald_map_free(&corrald_cache_groups, free);
    corrald_map_free(&corrald_cache_stones, NULL);
}


static int
corrald_cache_trusted(const corrald_cache_t *c)
{
    char  mac[CORRALD_CRYPT_HEX];

    corrald_crypt_hmac(corrald_local.hmac, corrald_local.hmac_len, c->text,
                       c->len, mac);

    if (corrald_crypt_equal(mac, c->mac)) {
        return 1;
    }

    corrald_local.status.untrusted++;
    corrald_log_warn("service \"%s\" does not carry a valid HMAC: nothing is "
                     "started from it", c->entry.id);

    return 0;
}


/* The name leads to the document that got it last. */

static void
corrald_cache_name(corrald_cache_t *c, const json_t *before)
{
    char         names[2][CORRALD_DOC_UNIQUE];
    const char  *name, *was;

    name = corrald_doc_unique(c->entry.kind,
                              corrald_doc_str(c->entry.doc, "name"), names[0]);
    was = corrald_doc_unique(c->entry.kind, corrald_doc_str(before, "name"),
                             names[1]);

    if (before && strcmp(was, name) != 0
        && corrald_map_get(&corrald_cache_names, was) == c)
    {
        corrald_map_del(&corrald_cache_names, was);
    }

    if (corrald_map_set(&corrald_cache_names, name, c) != 0) {
        corrald_alloc_failed("for a name");
    }
}


static void
corrald_cache_link(corrald_cache_t *c)
{
    const char             *service;
    corrald_cache_group_t  *group;

    service = corrald_doc_str(c->entry.doc, "service_id");
    group = corrald_map_get(&corrald_cache_groups, service);

    if (group == NULL) {
        group = corrald_alloc(1, sizeof(*group), "for an instance");

        if (corrald_map_set(&corrald_cache_groups, service, group) != 0) {
            corrald_alloc_failed("for an instance");
        }
    }

    c->next = group->first;
    c->prev = &group->first;

    if (c->next) {
        c->next->prev = &c->next;
    }

    group->first = c;
}


static void
corrald_cache_unlink(corrald_cache_t *c)
{
    const char             *service;
    corrald_cache_group_t  *group;

    *c->prev = c->next;

    if (c->next) {
        c->next->prev = c->prev;
    }

    service = corrald_doc_str(c->entry.doc, "service_id");
    group = corrald_map_get(&corrald_cache_groups, service);

    if (group && group->first == NULL) {
        free(corrald_map_del(&corrald_cache_groups, service));
    }
}


/* References to before and after are taken over. */

static void
corrald_cache_change(corrald_kind_e kind, const char *id, json_t *before,
    json_t *after, int64_t revision)
{
    size_t                   len;
    corrald_cache_change_t  *change;

    len = strlen(id) + 1;

    change = corrald_alloc(1, sizeof(*change) + len, "for a change");

    memcpy(change->id, id, len);
    change->kind = kind;
    change->before = before;
    change->after = after;
    change->revision = revision;
    change->next = NULL;

    *corrald_cache_last = change;
    corrald_cache_last = &change->next;
}


static void
corrald_cache_release(void *value)
{
    corrald_cache_t  *c;

    c = value;

    json_decref(c->entry.doc);
    free((char *) c->entry.id);
    free(c->text);
    free(c);
}


static const char *
corrald_cache_stone(char *buf, corrald_kind_e kind, const char *id)
{
    snprintf(buf, CORRALD_KEY_SIZE, "%d/%s", kind, id);

    return buf;
}
