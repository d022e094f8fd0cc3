
/*
 * sd_notify in one function: a datagram to the socket that systemd names in
 * NOTIFY_SOCKET.  Without it there is nobody to tell.
 */


#define _GNU_SOURCE

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"


/* state is "READY=1", "STOPPING=1", "RELOADING=1", ... */

void
corrald_notify(const char *state)
{
    int                  fd;
    size_t               len;
    const char          *path;
    struct sockaddr_un   sun;

    path = getenv("NOTIFY_SOCKET");

    if (path == NULL) {
        return;
    }

    len = strlen(path);

    if ((*path != '/' && *path != '@') || len < 2
        || len >= sizeof(sun.sun_path))
    {
        corrald_log_warn("NOTIFY_SOCKET is \"%s\", which is no socket", path);
        return;
    }

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    memcpy(sun.sun_path, path, len);

    /* the abstract name space */

    if (*path == '@') {
        sun.sun_path[0] = '\0';
    }

    fd = socket(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return;
    }

    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL,
               (struct sockaddr *) &sun,
               (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len))
        == -1)
    {
        corrald_log_warn("systemd cannot be told \"%s\"", state);
    }

    close(fd);
}
