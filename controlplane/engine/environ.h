/*
 * The environment of an agent: a list of variables and the reader of env
 * files.  Pure, but for memory.  See environ.c.
 */


#ifndef _CORRALD_ENVIRON_H_INCLUDED_
#define _CORRALD_ENVIRON_H_INCLUDED_


#include <stddef.h>


/* As many as corral-shim takes. */

#define CORRALD_ENVIRON_MAX       1024
#define CORRALD_ENVIRON_FILE_MAX  262144


typedef struct {
    char     **vars;                 /* "NAME=VALUE", n of them */
    size_t     n;
} corrald_environ_t;


void corrald_environ_init(corrald_environ_t *env);

/* Wipes the values before it frees them. */

void corrald_environ_free(corrald_environ_t *env);

/* Sets or replaces.  Returns 0, or -1 when there are too many. */

int corrald_environ_set(corrald_environ_t *env, const char *name,
    const char *value) __attribute__((warn_unused_result));
const char *corrald_environ_get(const corrald_environ_t *env,
    const char *name);

/*
 * Reads lines of KEY=VALUE from text, which is changed.  Returns 0, or -1
 * with "name:line: sentence" in err; values never stand in it.
 */

int corrald_environ_parse(corrald_environ_t *env, char *text, size_t len,
    const char *name, char *err, size_t size)
    __attribute__((warn_unused_result));


#endif /* _CORRALD_ENVIRON_H_INCLUDED_ */
