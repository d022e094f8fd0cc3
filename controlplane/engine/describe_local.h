/*
 * What the files of describe.c share.
 */


#ifndef _CORRALD_DESCRIBE_LOCAL_H_INCLUDED_
#define _CORRALD_DESCRIBE_LOCAL_H_INCLUDED_


#include <sys/types.h>

#include "../base/wire.h"
#include "describe.h"
#include "environ.h"


#define CORRALD_DESCRIBE_GROUPS  CORRALD_WIRE_GROUPS_MAX


/* Who it runs as; uid -1: as corrald does. */

typedef struct {
    int64_t   uid;
    int64_t   gid;
    gid_t     groups[CORRALD_DESCRIBE_GROUPS];
    int       ngroups;
    char      name[64];
    char      home[512];
} corrald_describe_user_t;


/* What stands between braces in arguments. */

typedef struct {
    const char  *name;
    const char  *value;
} corrald_describe_word_t;

typedef struct {
    char                      port[8];       /* or "" */
    char                      listen[256];   /* unix:PATH or host:port */
    const char               *host;          /* of the document; or "" */
    const char               *socket;        /* its path; or "" */
    corrald_describe_word_t   words[9];      /* the last one has no name */
} corrald_describe_words_t;


/* All return 0, or -1 with d->reason and d->err. */

/* describe.c: writes both and returns -1 */

int corrald_describe_fail(corrald_describe_t *d, const char *reason,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));


/* describe_user.c */

int corrald_describe_user(corrald_describe_t *d, corrald_describe_user_t *u)
    __attribute__((warn_unused_result));


/* describe_environ.c */

int corrald_describe_environ(corrald_describe_t *d,
    const corrald_describe_user_t *u, const corrald_describe_words_t *w,
    corrald_environ_t *env) __attribute__((warn_unused_result));


/* describe_command.c: adds the arguments to wire */

int corrald_describe_command(corrald_describe_t *d,
    const corrald_describe_words_t *w, const corrald_environ_t *env,
    corrald_wire_t *wire) __attribute__((warn_unused_result));


#endif /* _CORRALD_DESCRIBE_LOCAL_H_INCLUDED_ */
