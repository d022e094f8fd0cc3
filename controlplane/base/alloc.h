
/*
 * Memory without which nothing can go on.  See alloc.c.
 */


#ifndef _CORRALD_ALLOC_H_INCLUDED_
#define _CORRALD_ALLOC_H_INCLUDED_


#include <stddef.h>


/*
 * n elements, zeroed, to be given to free().  Never NULL: without memory the
 * program ends, after a line in the log: "no memory " and what it was for
 * ("for a list", "to wait for the disk").
 */

void *corrald_alloc(size_t n, size_t size, const char *what)
    __attribute__((warn_unused_result, malloc));

/* Ends the program with that line: something else did not get memory. */

void corrald_alloc_failed(const char *what) __attribute__((noreturn));


#endif /* _CORRALD_ALLOC_H_INCLUDED_ */
