/*
 * Where the files of an instance lie.  See paths.c.
 */


#ifndef _CORRALD_PATHS_H_INCLUDED_
#define _CORRALD_PATHS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* sun_path has 108 bytes with the NUL; run_dir at most 60 */

#define CORRALD_PATHS_SOCKET  108


typedef struct {
    char    base[72];                /* the instance's part of names */
    char    socket[CORRALD_PATHS_SOCKET];    /* of the shim */
    char    lock[160];
    char    exit[160];
    char    dir[160];                /* of the agent's own sockets */
    char    cwd[256];                /* when the service names none */
    char    log[2304];
} corrald_paths_t;


void corrald_paths(const char *instance_id, corrald_paths_t *paths);

/* The agent's unix socket in its incarnation; always below 108 bytes. */

void corrald_paths_listen(const corrald_paths_t *paths, uint32_t incarnation,
    char *path, size_t size);

/* Makes the directories that all instances share.  Returns 0 or -1. */

int corrald_paths_make(char *err, size_t size)
    __attribute__((warn_unused_result));


#endif /* _CORRALD_PATHS_H_INCLUDED_ */
