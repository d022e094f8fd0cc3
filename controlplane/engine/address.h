/*
 * Addresses of instances.  Pure.  See address.c.
 */


#ifndef _CORRALD_ADDRESS_H_INCLUDED_
#define _CORRALD_ADDRESS_H_INCLUDED_


#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>


typedef union {
    struct sockaddr      sa;
    struct sockaddr_in   in;
    struct sockaddr_in6  in6;
    struct sockaddr_un   un;
} corrald_address_t;


/* "unix:/path", "1.2.3.4:port", "[::1]:port".  Returns 0 or -1. */

int corrald_address_parse(const char *text, corrald_address_t *address)
    __attribute__((warn_unused_result));

/* The text of it; size 200 is enough. */

void corrald_address_format(const corrald_address_t *address, char *text,
    size_t size);

/* 0 for a unix socket */

unsigned corrald_address_port(const corrald_address_t *address);


#endif /* _CORRALD_ADDRESS_H_INCLUDED_ */
