/*
 * Addresses of instances, between their text in documents and the kernel's
 * structures.
 *
 * Pure: no I/O, no look-up of names, no allocation.
 */


#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"


int
corrald_address_parse(const char *text, corrald_address_t *address)
{
    char         host[64], *end;
    long         port;
    size_t       len;
    const char  *colon;

    memset(address, 0, sizeof(*address));

    if (strncmp(text, "unix:/", 6) == 0) {
        text += 5;
        len = strlen(text);

        if (len >= sizeof(address->un.sun_path)) {
            return -1;
        }

        address->un.sun_family = AF_UNIX;
        memcpy(address->un.sun_path, text, len);

        return 0;
    }

    colon = strrchr(text, ':');

    if (colon == NULL || colon[1] < '1' || colon[1] > '9') {
        return -1;
    }

    port = strtol(colon + 1, &end, 10);

    if (*end != '\0' || port > 65535) {
        return -1;
    }

    len = (size_t) (colon - text);

    if (len > 2 && text[0] == '[' && colon[-1] == ']') {
        text++;
        len -= 2;
        address->in6.sin6_family = AF_INET6;
        address->in6.sin6_port = htons((uint16_t) port);

    } else {
        address->in.sin_family = AF_INET;
        address->in.sin_port = htons((uint16_t) port);
    }

    if (len == 0 || len >= sizeof(host)) {
        return -1;
    }

    memcpy(host, text, len);
    host[len] = '\0';

    if (address->sa.sa_family == AF_INET6) {
        return inet_pton(AF_INET6, host, &address->in6.sin6_addr) == 1 ? 0
                                                                       : -1;
    }

    return inet_pton(AF_INET, host, &address->in.sin_addr) == 1 ? 0 : -1;
}


void
corrald_address_format(const corrald_address_t *address, char *text,
    size_t size)
{
    char  host[INET6_ADDRSTRLEN];

    switch (address->sa.sa_family) {

    case AF_UNIX:
        (void) snprintf(text, size, "unix:%s", address->un.sun_path);
        break;

    case AF_INET6:
        (void) inet_ntop(AF_INET6, &address->in6.sin6_addr, host,
                         sizeof(host));
        (void) snprintf(text, size, "[%s]:%u", host,
                        corrald_address_port(address));
        break;

    default:
        (void) inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof(host));
        (void) snprintf(text, size, "%s:%u", host,
                        corrald_address_port(address));
    }
}


unsigned
corrald_address_port(const corrald_address_t *address)
{
    switch (address->sa.sa_family) {
    case AF_INET:   return ntohs(address->in.sin_port);
    case AF_INET6:  return ntohs(address->in6.sin6_port);
    default:        return 0;
    }
}
