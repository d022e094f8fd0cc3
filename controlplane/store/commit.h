
/*
 * One commit on its way: what commit.c, commit_prepare.c and commit_events.c
 * share.
 */


#ifndef _CORRALD_COMMIT_H_INCLUDED_
#define _CORRALD_COMMIT_H_INCLUDED_


#include "../base/crypt.h"
#include "local.h"


typedef struct {

    /* as asked for */

    corrald_op_e      op;
    corrald_kind_e    kind;
    char              id[CORRAL_ID_MAX + 1];
    json_t           *doc;
    unsigned          owners;
    int64_t           expected;

    /* as prepared */

    int               idle;          /* would change nothing */
    json_t           *before;
    json_t           *after;         /* NULL: deleted */
    char             *text;
    size_t            len;
    int64_t           base;          /* revision it was prepared against */
    char              mac[CORRALD_CRYPT_HEX];
    char              number[24];
    char              name[CORRALD_DOC_UNIQUE];   /* "" when it has none */
    char              was[CORRALD_DOC_UNIQUE];
    char             *history;
    char              key[CORRALD_KEY_SIZE];      /* of its history */
} corrald_commit_op_t;


typedef struct {
    corrald_commit_op_t   *ops;
    size_t                 n;
    unsigned               flags;
    corrald_commit_pt      handler;
    void                  *data;
    int                    tries;

    int                    held;     /* its documents are under way */
    json_t                *events;   /* array of [type, kind, id, data] */
    corrald_result_e       result;
    int64_t                revision;
    char                   id[CORRAL_ID_MAX + 1];
    char                   message[640];
} corrald_commit_t;


/* commit.c: notes why it is not made; who ends it tells.  Returns -1. */

int corrald_commit_fail(corrald_commit_t *c, corrald_result_e result,
    const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));


/* commit_prepare.c */

/* Returns 0, or -1 with the reason; may be called again, after a conflict. */

int corrald_commit_prepare(corrald_commit_t *c)
    __attribute__((warn_unused_result));

/* Frees what was prepared. */

void corrald_commit_reset(corrald_commit_t *c);


/* commit_events.c: adds to c->events; the operations are prepared */

void corrald_commit_events(corrald_commit_t *c);


#endif /* _CORRALD_COMMIT_H_INCLUDED_ */
