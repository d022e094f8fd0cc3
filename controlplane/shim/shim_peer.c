/*
 * The shim's side of the socket to corrald: one message is one packet, in the
 * words of base/wire.h.
 *
 * Only root and the user of the shim may connect.  A peer that does not read
 * is dropped.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"


static void corral_shim_peer_do(corral_shim_t *shim, int *fd,
    corrald_wire_msg_t *msg, int64_t now);
static void corral_shim_peer_send(int *fd, corrald_wire_msg_t *msg);


/*
 * Listens, for its owner only.  Returns CORRAL_SHIM_OK, or another exit code
 * with a sentence.
 */

int
corral_shim_peer_listen(corral_shim_t *shim, char *text, size_t size)
{
    int                 rc;
    mode_t              mask;
    struct sockaddr_un  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sun_family = AF_UNIX;

    if (strlen(shim->socket) >= sizeof(addr.sun_path)) {
        (void) snprintf(text, size, "socket \"%.300s\" is longer than %zu "
                        "bytes", shim->socket, sizeof(addr.sun_path) - 1);
        return CORRAL_SHIM_FILES;
    }

    memcpy(addr.sun_path, shim->socket, strlen(shim->socket));

    shim->listen = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC|SOCK_NONBLOCK,
                          0);

    /* we hold the lock, so a socket that is there has no listener */

    (void) unlink(shim->socket);

    mask = umask(0177);
    rc = bind(shim->listen, (struct sockaddr *) &addr, sizeof(addr));
    (void) umask(mask);

    if (shim->listen == -1 || rc == -1 || listen(shim->listen, 8) == -1) {
        (void) snprintf(text, size, "cannot listen on \"%.300s\": %s",
                        shim->socket, strerror(errno));
        return CORRAL_SHIM_FILES;
    }

    return CORRAL_SHIM_OK;
}


/* Takes a connection and says hello, and how the agent ended if it did. */

void
corral_shim_peer_accept(corral_shim_t *shim)
{
    int                  fd, i;
    socklen_t            len;
    struct ucred         peer;
    corrald_wire_msg_t   msg;

    fd = accept4(shim->listen, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

    if (fd == -1) {
        return;
    }

    /* the mode of the socket says it, too; this is the second lock */

    len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1
        || (peer.uid != 0 && peer.uid != getuid()))
    {
        (void) close(fd);
        return;
    }

    if (shim->clients[CORRAL_SHIM_CLIENTS - 1] != -1) {
        (void) close(shim->clients[CORRAL_SHIM_CLIENTS - 1]);
    }

    /* the newest first, so that the oldest goes when there are too many */

    for (i = CORRAL_SHIM_CLIENTS - 1; i > 0; i--) {
        shim->clients[i] = shim->clients[i - 1];
    }

    shim->clients[0] = fd;
    shim->met = 1;

    corral_shim_peer_identity(shim, &msg, CORRALD_WIRE_hello);
    corral_shim_peer_send(&shim->clients[0], &msg);

    if (shim->ended) {
        corral_shim_peer_send(&shim->clients[0], &shim->last);
    }

    if (shim->gone) {
        msg.type = CORRALD_WIRE_gone;
        corral_shim_peer_send(&shim->clients[0], &msg);
        shim->linger_at = corral_shim_sys_now() + CORRAL_SHIM_LINGER;
    }
}


/* Reads one message and does what it says; *fd is -1 when the peer is gone. */

void
corral_shim_peer_client(corral_shim_t *shim, int *fd, int64_t now)
{
    char                 buf[CORRALD_WIRE_MSG_MAX], err[256];
    ssize_t              n;
    corrald_wire_msg_t   msg, answer;

    n = recv(*fd, buf, sizeof(buf), MSG_TRUNC);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    if (n <= 0) {
        (void) close(*fd);
        *fd = -1;
        return;
    }

    if ((size_t) n > sizeof(buf)) {
        (void) snprintf(err, sizeof(err), "the message is longer than %d "
                        "bytes", CORRALD_WIRE_MSG_MAX);

    } else if (corrald_wire_parse_msg(buf, (size_t) n, '\0', &msg, err,
                                      sizeof(err))
               == 0)
    {
        corral_shim_peer_do(shim, fd, &msg, now);
        return;
    }

    memset(&answer, 0, sizeof(answer));
    answer.type = CORRALD_WIRE_error;
    answer.text = err;

    corral_shim_peer_send(fd, &answer);
}


static void
corral_shim_peer_do(corral_shim_t *shim, int *fd, corrald_wire_msg_t *msg,
    int64_t now)
{
    const char          *error;
    corrald_wire_msg_t   answer;

    error = NULL;

    switch (msg->type) {

    case CORRALD_WIRE_signal:

        if (msg->signal < 1 || msg->signal > 64) {
            error = "the signal is not between 1 and 64";

        } else if (shim->ended) {
            error = "the agent has ended";

        } else if (kill(msg->group ? -shim->pid : shim->pid,
                        (int) msg->signal) == -1)
        {
            error = strerror(errno);
        }

        break;

    case CORRALD_WIRE_stop:

        if (msg->signal < 1 || msg->signal > 64 || msg->timeout > 86400000) {
            error = "the signal is not between 1 and 64, or the timeout is "
                    "above a day";
        } else {
            corral_shim_loop_stop(shim, (int) msg->signal,
                                  (uint32_t) msg->timeout, now);
        }

        break;

    case CORRALD_WIRE_kill:
        shim->kill_at = now;
        break;

    case CORRALD_WIRE_status:
        corral_shim_peer_identity(shim, &answer, CORRALD_WIRE_report);
        corral_shim_peer_send(fd, &answer);
        break;

    case CORRALD_WIRE_reopen:
        corral_shim_log_reopen(&shim->log);
        break;

    case CORRALD_WIRE_ack:

        if (!shim->ended) {
            error = "the agent has not ended";

        } else {
            (void) unlink(shim->exit);
            shim->acked = 1;
        }

        break;

    default:
        error = "this message is not for a shim";
    }

    if (error != NULL) {
        memset(&answer, 0, sizeof(answer));
        answer.type = CORRALD_WIRE_error;
        answer.text = error;
        corral_shim_peer_send(fd, &answer);
    }
}


/* Fills in who the shim is and what it runs. */

void
corral_shim_peer_identity(corral_shim_t *shim, corrald_wire_msg_t *msg,
    corrald_wire_type_e type)
{
    memset(msg, 0, sizeof(*msg));

    msg->type = type;
    msg->instance = shim->instance;
    msg->cluster = shim->cluster;
    msg->node = shim->node;
    msg->nonce = shim->nonce;
    msg->boot_id = shim->boot_id;
    msg->incarnation = shim->incarnation;
    msg->pid = shim->pid;
    msg->start_time = (int64_t) shim->start_time;
    msg->shim_pid = getpid();
    msg->started_at = shim->started_at;
    msg->ended_at = shim->ended ? shim->last.ended_at : 0;
    msg->lines = (int64_t) shim->log.lines;
    msg->dropped = (int64_t) shim->log.dropped;
    msg->rotations = (int64_t) shim->log.rotations;
}


/* A corrald that does not read is dropped; it will connect again. */

static void
corral_shim_peer_send(int *fd, corrald_wire_msg_t *msg)
{
    char             buf[CORRALD_WIRE_MSG_MAX];
    corrald_wire_t   w;

    corrald_wire_begin(&w, buf, sizeof(buf), '\0');
    corrald_wire_write_msg(&w, msg);

    if (send(*fd, buf, w.len, MSG_DONTWAIT|MSG_NOSIGNAL) == -1) {
        (void) close(*fd);
        *fd = -1;
    }
}


/* Sends to all peers.  Returns how many there are. */

int
corral_shim_peer_broadcast(corral_shim_t *shim, corrald_wire_msg_t *msg)
{
    int  i, n;

    n = 0;

    for (i = 0; i < CORRAL_SHIM_CLIENTS; i++) {
        if (shim->clients[i] != -1) {
            corral_shim_peer_send(&shim->clients[i], msg);
        }

        n += (shim->clients[i] != -1);
    }

    return n;
}
