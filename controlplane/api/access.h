
/*
 * Who may do what.  See access.c.
 */


#ifndef _CORRALD_ACCESS_H_INCLUDED_
#define _CORRALD_ACCESS_H_INCLUDED_


#include <stddef.h>

#include "rest.h"


int corrald_access_open(char *err, size_t size)
    __attribute__((warn_unused_result));
int corrald_access_host(corrald_rest_t *r)
    __attribute__((warn_unused_result));
void corrald_access_check(corrald_rest_t *r);
int corrald_access_peer(int fd, char *err, size_t size)
    __attribute__((warn_unused_result));


#endif /* _CORRALD_ACCESS_H_INCLUDED_ */
