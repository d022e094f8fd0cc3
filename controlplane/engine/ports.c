/*
 * TCP ports of instances: which are ours, which rest, which somebody else has.
 *
 * A port is free when it is neither taken nor resting and can be bound at this
 * moment.  Between the check and the agent's own bind() another program may
 * come first; then the agent fails and the next start takes another port: that
 * is why a port is not for life.
 *
 * Ports in use are known from memory.  After a restart of corrald, adopted
 * instances announce theirs with corrald_ports_use(); those that rested before
 * are known by nobody, but still hold the bind check while they are in use.
 */


#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <corral_schema.h>

#include "ports.h"


typedef struct {
    char      owner[CORRAL_ID_MAX + 1];  /* "" when it only rests */
    int64_t   until;                     /* of the rest, monotonic ms */
} corrald_ports_entry_t;


static unsigned long corrald_ports_inode(const corrald_address_t *address);
static int corrald_ports_owns(const char *pid, unsigned long inode);


/* by port; allocated with the first use */

static corrald_ports_entry_t  *corrald_ports_table;
static unsigned                corrald_ports_next;


int
corrald_ports_check(const corrald_address_t *address, char *err, size_t size)
{
    int   fd, rc, on, error;
    char  text[200], holder[160];

    fd = socket(address->sa.sa_family, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        (void) snprintf(err, size, "socket failed: %s", strerror(errno));
        return -1;
    }

    /* as servers do it: connections in TIME_WAIT do not hinder */

    on = 1;
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

    rc = bind(fd, &address->sa, address->sa.sa_family == AF_INET6
                                ? sizeof(address->in6) : sizeof(address->in));

    /* with SO_REUSEADDR two may bind, but only one may listen */

    if (rc == 0) {
        rc = listen(fd, 1);
    }

    error = errno;
    (void) close(fd);

    if (rc == 0) {
        return 0;
    }

    corrald_address_format(address, text, sizeof(text));

    if (error == EADDRINUSE) {
        corrald_ports_holder(address, holder, sizeof(holder));
        (void) snprintf(err, size, "%s is held by %s", text,
                        holder[0] ? holder : "another program");
        return -1;
    }

    (void) snprintf(err, size, "cannot bind %s: %s", text, strerror(error));

    return -1;
}


int
corrald_ports_take(corrald_address_t *address, uint16_t first, uint16_t last,
    const char *instance_id, int64_t now, char *err, size_t size)
{
    char       text[400];
    unsigned   i, n, port, ours, resting;

    if (corrald_ports_table == NULL) {
        corrald_ports_table = calloc(65536, sizeof(corrald_ports_entry_t));

        if (corrald_ports_table == NULL) {
            (void) snprintf(err, size, "no memory for the ports");
            return -1;
        }
    }

    n = (unsigned) last - first + 1;
    ours = 0;
    resting = 0;

    for (i = 0; i < n; i++) {

        /* round and round: a port that was just left is the last to come */

        port = first + (corrald_ports_next + i) % n;

        if (corrald_ports_table[port].owner[0] != '\0') {
            ours++;
            continue;
        }

        if (corrald_ports_table[port].until > now) {
            resting++;
            continue;
        }

        if (address->sa.sa_family == AF_INET6) {
            address->in6.sin6_port = htons((uint16_t) port);

        } else {
            address->in.sin_port = htons((uint16_t) port);
        }

        if (corrald_ports_check(address, text, sizeof(text)) == 0) {
            corrald_ports_next = port - first + 1;
            corrald_ports_use(port, instance_id);
            return 0;
        }
    }

    n -= ours + resting;

    (void) snprintf(err, size, "no port from %u to %u is free (port_range): "
                    "instances have %u, %u rest for %d s after use, others "
                    "cannot be bound: %u%s%s", first, last, ours, resting,
                    CORRALD_PORTS_QUARANTINE / 1000, n, n ? ", the last as "
                    : "", n ? text : "");

    return -1;
}


void
corrald_ports_use(unsigned port, const char *instance_id)
{
    if (corrald_ports_table == NULL) {
        corrald_ports_table = calloc(65536, sizeof(corrald_ports_entry_t));
    }

    if (corrald_ports_table != NULL && port < 65536) {
        (void) snprintf(corrald_ports_table[port].owner,
                        sizeof(corrald_ports_table[port].owner), "%s",
                        instance_id);
    }
}


void
corrald_ports_release(const char *instance_id, int64_t now)
{
    unsigned  port;

    if (corrald_ports_table == NULL) {
        return;
    }

    for (port = 1; port < 65536; port++) {
        if (strcmp(corrald_ports_table[port].owner, instance_id) == 0) {
            corrald_ports_table[port].owner[0] = '\0';
            corrald_ports_table[port].until = now + CORRALD_PORTS_QUARANTINE;
        }
    }
}


void
corrald_ports_unused(const char *instance_id)
{
    unsigned  port;

    for (port = 1; corrald_ports_table && port < 65536; port++) {
        if (strcmp(corrald_ports_table[port].owner, instance_id) == 0) {
            corrald_ports_table[port].owner[0] = '\0';
        }
    }
}


void
corrald_ports_close(void)
{
    free(corrald_ports_table);
    corrald_ports_table = NULL;
}


void
corrald_ports_holder(const corrald_address_t *address, char *text, size_t size)
{
    DIR            *dir;
    char            path[64], comm[64];
    FILE           *file;
    unsigned long   inode;
    struct dirent  *entry;

    text[0] = '\0';
    inode = corrald_ports_inode(address);

    if (inode == 0) {
        return;
    }

    dir = opendir("/proc");

    if (dir == NULL) {
        return;
    }

    for ( ;; ) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9'
            || !corrald_ports_owns(entry->d_name, inode))
        {
            continue;
        }

        (void) snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
        comm[0] = '\0';
        file = fopen(path, "re");

        if (file != NULL) {
            if (fgets(comm, sizeof(comm), file) != NULL) {
                comm[strcspn(comm, "\n")] = '\0';
            }

            (void) fclose(file);
        }

        (void) snprintf(text, size, "pid %.20s (%s)", entry->d_name, comm);
        break;
    }

    (void) closedir(dir);
}


/* The inode of the socket that listens on this port, or 0. */

static unsigned long
corrald_ports_inode(const corrald_address_t *address)
{
    int             i;
    char            line[512];
    FILE           *file;
    unsigned        port, state;
    unsigned long   inode, found;

    static const char  *files[] = { "/proc/net/tcp", "/proc/net/tcp6" };

    found = 0;

    for (i = 0; i < 2 && found == 0; i++) {
        file = fopen(files[i], "re");

        if (file == NULL) {
            continue;
        }

        while (found == 0 && fgets(line, sizeof(line), file) != NULL) {

            /* local address, state 0A (LISTEN), inode */

            if (sscanf(line, " %*u: %*64[0-9A-F]:%x %*64[0-9A-F]:%*x %x %*s "
                       "%*s %*s %*s %*s %lu", &port, &state, &inode) == 3
                && port == corrald_address_port(address) && state == 0x0a)
            {
                found = inode;
            }
        }

        (void) fclose(file);
    }

    return found;
}


static int
corrald_ports_owns(const char *pid, unsigned long inode)
{
    int             owns;
    DIR            *dir;
    char            path[64], link[64], want[64];
    ssize_t         n;
    struct dirent  *entry;

    (void) snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    (void) snprintf(want, sizeof(want), "socket:[%lu]", inode);

    dir = opendir(path);

    if (dir == NULL) {
        return 0;
    }

    owns = 0;

    for ( ;; ) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

        if (n > 0) {
            link[n] = '\0';

            if (strcmp(link, want) == 0) {
                owns = 1;
                break;
            }
        }
    }

    (void) closedir(dir);

    return owns;
}
