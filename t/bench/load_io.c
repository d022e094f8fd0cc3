
/*
 * Bytes of one connection of the load generator: of its socket, or of TLS over
 * it (--tls).  What cannot be done now is -1 with EAGAIN, as recv() and send()
 * have it.  Certificates are not checked: the proxies of a measurement sign
 * their own.
 */


#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <openssl/err.h>
#include <openssl/ssl.h>


static ssize_t load_io_error(load_conn_t *c, int rc);


static SSL_CTX  *load_io_ctx;


void
load_io_init(void)
{
    if (!load.tls) {
        return;
    }

    load_io_ctx = SSL_CTX_new(TLS_client_method());

    if (load_io_ctx == NULL) {
        load_fail("OpenSSL does not start");
    }

    /* the rest of a short write comes from another place: see load_conn.c */

    SSL_CTX_set_mode(load_io_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                                  | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                  | SSL_MODE_RELEASE_BUFFERS);
}


void
load_io_start(load_conn_t *c)
{
    c->ssl = NULL;
    c->want_read = 0;

    if (load_io_ctx == NULL) {
        return;
    }

    c->ssl = SSL_new(load_io_ctx);

    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        load_fail("no memory for TLS");
    }

    SSL_set_connect_state(c->ssl);
}


void
load_io_end(load_conn_t *c)
{
    if (c->ssl) {
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
}


ssize_t
load_io_recv(load_conn_t *c, void *data, size_t n)
{
    int  rc;

    if (c->ssl == NULL) {
        return recv(c->fd, data, n, 0);
    }

    ERR_clear_error();
    rc = SSL_read(c->ssl, data, (int) n);

    return rc > 0 ? rc : load_io_error(c, rc);
}


ssize_t
load_io_send(load_conn_t *c, const void *data, size_t n)
{
    int  rc;

    if (c->ssl == NULL) {
        return send(c->fd, data, n, MSG_NOSIGNAL);
    }

    ERR_clear_error();
    rc = SSL_write(c->ssl, data, (int) n);

    return rc > 0 ? rc : load_io_error(c, rc);
}


static ssize_t
load_io_error(load_conn_t *c, int rc)
{
    int  error;

    error = SSL_get_error(c->ssl, rc);
    c->want_read = error == SSL_ERROR_WANT_READ;

    switch (error) {

    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;

    case SSL_ERROR_ZERO_RETURN:
        return 0;

    case SSL_ERROR_SYSCALL:
        if (errno == 0) {
            return 0;
        }

        return -1;

    default:

        /* an end without close_notify is an end */

        if (ERR_GET_REASON(ERR_peek_error())
            == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        {
            return 0;
        }

        errno = EPROTO;
        return -1;
    }
}


/* What epoll has to wait for when not all could be sent. */

uint32_t
load_io_blocked(load_conn_t *c)
{
    return c->want_read ? EPOLLIN : EPOLLIN | EPOLLOUT;
}


/* Is there more to read of which epoll knows nothing? */

int
load_io_pending(load_conn_t *c)
{
    return c->ssl && SSL_pending(c->ssl) > 0;
}
