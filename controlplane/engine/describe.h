/*
 * What corral-shim is told to run.  See describe.c and describe_*.c.
 */


#ifndef _CORRALD_DESCRIBE_H_INCLUDED_
#define _CORRALD_DESCRIBE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "address.h"
#include "paths.h"


/*
 * Everything that is needed, copied: it is read on a thread of the pool, while
 * the loop goes on.
 */

typedef struct {

    /* of the caller */

    json_t             *service;     /* a reference, never changed */
    const json_t       *probe;       /* of it: the command to run; or NULL */
    char                instance_id[72];
    char                nonce[40];
    uint32_t            incarnation;
    uint16_t            port;        /* 0: a unix socket */
    corrald_paths_t     paths;

    /* of the configuration, copied by corrald_describe_create() */

    char               *cluster;
    char               *node;
    char               *group;
    char               *python;
    char               *myagent_command;
    char               *agent_user;
    char              **command_roots;
    size_t              nroots;
    char              **users;
    size_t              nusers;

    /* the result */

    char               *text;        /* the description; wiped when freed */
    size_t              len;
    char                address[200];    /* of the instance document */
    const char         *reason;      /* when it failed: a reason code */
    char                err[512];    /* and a sentence */
} corrald_describe_t;


/* Takes a reference of service.  Returns NULL when memory is short. */

corrald_describe_t *corrald_describe_create(json_t *service,
    const char *instance_id, uint32_t incarnation, const char *nonce,
    uint16_t port);
void corrald_describe_free(corrald_describe_t *d);

const char *corrald_describe_default_user(void);

/* Blocks: for a thread.  Returns 0, or -1 with d->reason and d->err. */

int corrald_describe(corrald_describe_t *d)
    __attribute__((warn_unused_result));


#endif /* _CORRALD_DESCRIBE_H_INCLUDED_ */
