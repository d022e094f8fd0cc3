
/*
 * Memory for what cannot be left out: a request has to be answered, a change
 * in the cache has to be known.  Agents outlive corrald, and a new one finds
 * all of it in the store; going on without a part of it would be worse.
 */


#include <stdlib.h>

#include "alloc.h"
#include "log.h"


void *
corrald_alloc(size_t n, size_t size, const char *what)
{
    void  *p;

    p = calloc(n, size);

    if (p == NULL) {
        corrald_alloc_failed(what);
    }

    return p;
}


void
corrald_alloc_failed(const char *what)
{
    corrald_log_error("no memory %s", what);
    abort();
}
