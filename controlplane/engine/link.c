/*
 * The connection to one shim: packets of base/wire.h, and a pidfd on the agent
 * as a second line.  If the shim is stopped or hangs, the kernel still tells
 * when the agent ends.
 *
 * libuv has no sequenced packets, so both descriptors are polled.  A link frees
 * itself when its handles are closed.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <uv.h>

#include "../base/log.h"
#include "../base/loop.h"
#include "link.h"
#include "process.h"


struct corrald_link_s {
    uv_poll_t           socket;
    uv_poll_t           process;
    int                 fd;
    int                 pidfd;       /* -1: none */
    int                 open;        /* handles */
    unsigned            closed:1;
    unsigned            lost:1;
    unsigned            greeted:1;
    corrald_link_pt     handler;
    void               *data;
};


static void corrald_link_readable(uv_poll_t *poll, int status, int events);
static void corrald_link_message(corrald_link_t *link, char *buf, size_t len);
static void corrald_link_watch(corrald_link_t *link, pid_t pid,
    uint64_t start_time);
static void corrald_link_ended(uv_poll_t *poll, int status, int events);
static void corrald_link_lose(corrald_link_t *link);
static void corrald_link_closed(uv_handle_t *handle);


corrald_link_t *
corrald_link_open(const char *path, corrald_link_pt handler, void *data)
{
    int                  fd, error;
    corrald_link_t      *link;
    struct sockaddr_un   addr;

    memset(&addr, 0, sizeof(addr));
    addr.sun_family = AF_UNIX;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }

    memcpy(addr.sun_path, path, strlen(path));

    fd = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return NULL;
    }

    /* a local connect() takes its place in the backlog or fails: no wait */

    if (connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == -1) {
        goto failed;
    }

    link = calloc(1, sizeof(*link));

    if (link == NULL) {
        goto failed;
    }

    link->fd = fd;
    link->pidfd = -1;
    link->handler = handler;
    link->data = data;
    link->socket.data = link;
    link->process.data = link;

    if (uv_poll_init(corrald_loop_uv(), &link->socket, fd) != 0) {
        free(link);
        errno = EIO;
        goto failed;
    }

    link->open = 1;
    uv_poll_start(&link->socket, UV_READABLE|UV_DISCONNECT,
                  corrald_link_readable);

    return link;

failed:

    error = errno;
    (void) close(fd);
    errno = error;

    return NULL;
}


/* NULL is allowed; the handler is not called any more. */

void
corrald_link_close(corrald_link_t **where)
{
    corrald_link_t  *link;

    link = *where;
    *where = NULL;

    if (link == NULL || link->closed) {
        return;
    }

    link->closed = 1;

    uv_close((uv_handle_t *) &link->socket, corrald_link_closed);

    if (link->pidfd != -1) {
        uv_close((uv_handle_t *) &link->process, corrald_link_closed);
    }
}


int
corrald_link_send(corrald_link_t *link, corrald_wire_type_e type, int signal,
    int group, int64_t timeout)
{
    char                 buf[CORRALD_WIRE_MSG_MAX];
    corrald_wire_t       w;
    corrald_wire_msg_t   msg;

    if (link == NULL || link->lost) {
        return -1;
    }

    memset(&msg, 0, sizeof(msg));
    msg.type = type;
    msg.signal = signal;
    msg.group = group;
    msg.timeout = timeout;

    corrald_wire_begin(&w, buf, sizeof(buf), '\0');
    corrald_wire_write_msg(&w, &msg);

    /* what is lost here is said again: the caller is level-triggered */

    return send(link->fd, buf, w.len, MSG_NOSIGNAL|MSG_DONTWAIT) == -1 ? -1
                                                                       : 0;
}


static void
corrald_link_readable(uv_poll_t *poll, int status, int events)
{
    char             buf[CORRALD_WIRE_MSG_MAX];
    ssize_t          n;
    corrald_link_t  *link;

    link = poll->data;

    while (!link->closed && !link->lost) {

        n = recv(link->fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }

        if (n <= 0) {
            corrald_link_lose(link);
            return;
        }

        corrald_link_message(link, buf, (size_t) n);
    }
}


static void
corrald_link_message(corrald_link_t *link, char *buf, size_t len)
{
    char                 err[256];
    corrald_wire_msg_t   msg;

    if (corrald_wire_parse_msg(buf, len, '\0', &msg, err, sizeof(err)) != 0) {
        corrald_log_warn("a shim said what is not understood: %s", err);
        return;
    }

    switch (msg.type) {

    case CORRALD_WIRE_hello:

        if (link->greeted) {
            return;
        }

        link->greeted = 1;

        if (msg.ended_at == 0) {
            corrald_link_watch(link, (pid_t) msg.pid,
                               (uint64_t) msg.start_time);
        }

        link->handler(CORRALD_LINK_HELLO, &msg, link->data);
        break;

    case CORRALD_WIRE_exit:
        link->handler(CORRALD_LINK_EXIT, &msg, link->data);
        break;

    case CORRALD_WIRE_gone:
        link->handler(CORRALD_LINK_GONE, &msg, link->data);
        break;

    case CORRALD_WIRE_report:
        link->handler(CORRALD_LINK_REPORT, &msg, link->data);
        break;

    case CORRALD_WIRE_error:
        corrald_log_warn("a shim refused: %s", msg.text ? msg.text : "");
        break;

    default:
        break;
    }
}


static void
corrald_link_watch(corrald_link_t *link, pid_t pid, uint64_t start_time)
{
    int  fd;

    fd = (int) syscall(SYS_pidfd_open, pid, 0);

    if (fd == -1) {
        return;
    }

    /* in this order: the descriptor holds the process that was looked at */

    if (corrald_process_start_time(pid) != start_time
        || uv_poll_init(corrald_loop_uv(), &link->process, fd) != 0)
    {
        (void) close(fd);
        return;
    }

    link->pidfd = fd;
    link->open++;
    uv_poll_start(&link->process, UV_READABLE, corrald_link_ended);
}


static void
corrald_link_ended(uv_poll_t *poll, int status, int events)
{
    corrald_link_t  *link;

    link = poll->data;

    uv_poll_stop(poll);

    if (!link->closed) {
        link->handler(CORRALD_LINK_DEAD, NULL, link->data);
    }
}


static void
corrald_link_lose(corrald_link_t *link)
{
    link->lost = 1;
    uv_poll_stop(&link->socket);
    link->handler(CORRALD_LINK_LOST, NULL, link->data);
}


static void
corrald_link_closed(uv_handle_t *handle)
{
    corrald_link_t  *link;

    link = handle->data;

    if (--link->open == 0) {
        (void) close(link->fd);

        if (link->pidfd != -1) {
            (void) close(link->pidfd);
        }

        free(link);
    }
}
