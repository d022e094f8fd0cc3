
/*
 * A WebSocket agent in C: one process a connection, blocking, OpenSSL's SHA-1.
 *
 * Compile:  cc -O2 -Wall -Wextra -o hello hello.c -lcrypto
 *
 * It takes text messages of one frame and up to MESSAGE bytes; for a whole
 * implementation see ../bench.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


#define MESSAGE  65535
#define GUID     "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


static void
hello_stop(int signo)
{
    (void) signo;

    _exit(0);
}


/* Read up to the empty line and answer; ends the process unless it was 101. */

static void
hello_handshake(FILE *in, FILE *out)
{
    char           line[4096], text[128];
    unsigned char  digest[20], accept[29];

    text[0] = '\0';

    while (fgets(line, sizeof(line), in) && line[0] != '\r') {
        if (strncasecmp(line, "Sec-WebSocket-Key:", 18) == 0) {
            snprintf(text, sizeof(text), "%.24s" GUID,
                     line + 18 + strspn(line + 18, " "));
        }
    }

    if (text[0] == '\0') {              /* a plain GET: the health probe */
        fputs("HTTP/1.1 200 OK\r\nConnection: close\r\n"
              "Content-Length: 3\r\n\r\nok\n", out);
        fflush(out);
        exit(0);
    }

    SHA1((unsigned char *) text, strlen(text), digest);
    EVP_EncodeBlock(accept, digest, sizeof(digest));
    fprintf(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
            accept);
    fflush(out);
}


static void
hello_send(FILE *out, unsigned opcode, const char *data, size_t len)
{
    fputc(0x80 | (int) opcode, out);
    fputc(len < 126 ? (int) len : 126, out);

    if (len >= 126) {
        fputc((int) (len >> 8), out);
        fputc((int) (len & 0xff), out);
    }

    fwrite(data, 1, len, out);
    fflush(out);
}


static void
hello_serve(int fd)
{
    FILE     *in, *out;
    size_t    i, len;
    uint8_t   head[8];
    char      answer[16 + MESSAGE], *data;

    in = fdopen(fd, "r");
    out = fdopen(dup(fd), "w");
    data = answer + snprintf(answer, sizeof(answer), "you said: ");
    hello_handshake(in, out);

    while (fread(head, 1, 2, in) == 2) {
        len = head[1] & 0x7f;

        if (len == 126 && fread(head + 2, 1, 2, in) == 2) {
            len = (size_t) head[2] << 8 | head[3];
        }

        if (len > MESSAGE - 10 || (head[1] & 0x7f) == 127
            || fread(head + 4, 1, 4, in) != 4
            || fread(data, 1, len, in) != len)
        {
            exit(0);
        }

        for (i = 0; i < len; i++) {
            data[i] ^= (char) head[4 + i % 4];
        }

        switch (head[0]) {

        case 0x81:                      /* text */
            hello_send(out, 1, answer, (size_t) (data - answer) + len);
            break;

        case 0x89:                      /* ping */
            hello_send(out, 10, data, len);
            break;

        default:                        /* Close, or what we cannot do */
            hello_send(out, 8, head[0] == 0x88 ? data : "\x03\xeb",
                       head[0] == 0x88 && len < 2 ? 0 : 2);
            exit(0);
        }
    }

    exit(0);
}


int
main(void)
{
    int                 fd, conn, on;
    const char         *port;
    struct sockaddr_in  sin;

    on = 1;
    port = getenv("PORT");
    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) strtoul(port ? port : "0", NULL, 10));
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

    if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) || listen(fd, 128)) {
        perror("hello");
        return 1;
    }

    signal(SIGCHLD, SIG_IGN);
    signal(SIGTERM, hello_stop);

    for ( ;; ) {
        conn = accept(fd, NULL, NULL);

        if (conn != -1 && fork() == 0) {
            close(fd);
            hello_serve(conn);
        }

        close(conn);
    }
}
