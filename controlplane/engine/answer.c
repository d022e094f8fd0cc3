/*
 * Reads what an instance answers to an HTTP or WebSocket probe: a status line
 * and, for a WebSocket, the handshake's headers and frames up to the pong.
 *
 * Pure: no I/O, no clock, no allocation.  The input is whatever an agent sends
 * and is not trusted: everything is bounded, what is too long is a failure.
 */


#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "answer.h"


static int corrald_answer_head(corrald_answer_t *a);
static int corrald_answer_line(corrald_answer_t *a, const char *p, int last);
static int corrald_answer_frames(corrald_answer_t *a);
static int corrald_answer_frame(corrald_answer_t *a, unsigned opcode,
    const unsigned char *payload, size_t len);
static const char *corrald_answer_header(const char *head, const char *name,
    size_t *len);
static int corrald_answer_fail(corrald_answer_t *a, const char *text);


/* accept and ping are borrowed; both NULL for HTTP. */

void
corrald_answer_init(corrald_answer_t *a, corrald_answer_e type,
    const char *accept, const char *ping)
{
    a->type = type;
    a->accept = accept;
    a->ping = ping;
    a->upgraded = 0;
    a->len = 0;
    a->seen = 0;
    a->skip = 0;
    a->message[0] = '\0';
}


int
corrald_answer_feed(corrald_answer_t *a, const char *data, size_t len)
{
    int     rc;
    size_t  n;

    a->seen += len;

    if (a->seen > CORRALD_ANSWER_BYTES) {
        return corrald_answer_fail(a, "it sent 1 MB without an answer");
    }

    while (len > 0) {

        if (a->skip > 0) {
            n = (len < a->skip) ? len : a->skip;
            a->skip -= n;
            data += n;
            len -= n;
            continue;
        }

        /* one byte is kept for the NUL */

        n = sizeof(a->head) - 1 - a->len;
        n = (len < n) ? len : n;

        if (n == 0) {
            return corrald_answer_fail(a, "the headers of its answer are "
                                       "longer than 8 kB");
        }

        memcpy(a->head + a->len, data, n);
        a->len += n;
        data += n;
        len -= n;

        if (a->type == CORRALD_ANSWER_LINE) {
            rc = corrald_answer_line(a, a->head, 0);

        } else {
            rc = a->upgraded ? 0 : corrald_answer_head(a);
        }

        if (rc == 0 && a->upgraded) {
            rc = corrald_answer_frames(a);
        }

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


int
corrald_answer_end(corrald_answer_t *a)
{
    a->head[a->len] = '\0';

    if (a->type == CORRALD_ANSWER_LINE && a->seen > 0) {
        return corrald_answer_line(a, a->head, 1);
    }

    if (a->type == CORRALD_ANSWER_BODY && strstr(a->head, "\r\n\r\n")) {
        return corrald_answer_line(a, strstr(a->head, "\r\n\r\n") + 4, 1);
    }

    if (a->upgraded) {
        return corrald_answer_fail(a, "it closed the connection instead of "
                                   "answering the ping");
    }

    if (a->seen > 0) {
        return corrald_answer_fail(a, "it closed the connection within its "
                                   "answer");
    }

    return corrald_answer_fail(a, "it closed the connection without an "
                               "answer");
}


/* Returns as corrald_answer_feed(); what follows the headers stays. */

static int
corrald_answer_head(corrald_answer_t *a)
{
    int          rc;
    char        *end, *p;
    size_t       n;
    unsigned     status;
    const char  *value;

    a->head[a->len] = '\0';

    /* a NUL ends the text for what follows; no header holds one */

    p = memchr(a->head, '\n', a->len);

    if (p == NULL) {
        return 0;
    }

    /* the status line alone: for sscanf() the next one is only white space */

    *p = '\0';
    rc = sscanf(a->head, "HTTP/1.%*1[01] %3u", &status);
    *p = '\n';

    if (rc != 1 || status < 100) {
        return corrald_answer_fail(a, "its answer is not HTTP/1.1");
    }

    if (a->type == CORRALD_ANSWER_HTTP) {

        (void) snprintf(a->message, sizeof(a->message), "status %u", status);

        return (status >= 200 && status < 400) ? 1 : -1;
    }

    if (a->type == CORRALD_ANSWER_BODY) {

        if (status != 200) {
            (void) snprintf(a->message, sizeof(a->message),
                            "status %u instead of 200", status);
            return -1;
        }

        end = strstr(a->head, "\r\n\r\n");

        return end ? corrald_answer_line(a, end + 4, 0) : 0;
    }

    if (status != 101) {
        (void) snprintf(a->message, sizeof(a->message),
                        "status %u instead of 101 to the handshake", status);
        return -1;
    }

    end = strstr(a->head, "\r\n\r\n");

    if (end == NULL) {
        return 0;
    }

    end[2] = '\0';
    value = corrald_answer_header(a->head, "sec-websocket-accept", &n);

    if (value == NULL || n != strlen(a->accept)
        || memcmp(value, a->accept, n) != 0)
    {
        return corrald_answer_fail(a, "its Sec-WebSocket-Accept is wrong");
    }

    a->upgraded = 1;
    a->len -= (size_t) (end + 4 - a->head);
    memmove(a->head, end + 4, a->len);

    return 0;
}


/*
 * The first line of what begins at p is the message, as soon as it is whole, or
 * when the connection has ended.  Plain text: it becomes a member of documents.
 */

static int
corrald_answer_line(corrald_answer_t *a, const char *p, int last)
{
    size_t  i, n;

    a->head[a->len] = '\0';
    n = strcspn(p, "\r\n");

    if (n >= sizeof(a->message)) {
        return corrald_answer_fail(a, "its line is longer than 255 bytes");
    }

    if (p[n] == '\0' && !last) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        a->message[i] = (p[i] < 0x20 || p[i] > 0x7e) ? '?' : p[i];
    }

    a->message[n] = '\0';

    return 1;
}


/* Takes whole frames off the buffer. */

static int
corrald_answer_frames(corrald_answer_t *a)
{
    int                   i, rc;
    size_t                header, have;
    uint64_t              len;
    unsigned              opcode;
    const unsigned char  *p;

    while (a->len >= 2) {
        p = (unsigned char *) a->head;
        opcode = p[0] & 0x0f;
        len = p[1] & 0x7f;
        header = 2;

        if (p[1] & 0x80) {
            return corrald_answer_fail(a, "it masked a frame");
        }

        if (len == 126 || len == 127) {
            header = (len == 126) ? 4 : 10;

            if (a->len < header) {
                return 0;
            }

            len = 0;

            for (i = 2; i < (int) header; i++) {
                len = len << 8 | p[i];
            }
        }

        if (len > CORRALD_ANSWER_BYTES) {
            return corrald_answer_fail(a, "it sent 1 MB without an answer");
        }

        have = a->len - header;

        if (opcode & 0x8) {

            /* control frames are short and are looked at whole */

            if (len > 125) {
                return corrald_answer_fail(a, "it sent a control frame of "
                                           "more than 125 bytes");
            }

            if (have < len) {
                return 0;
            }

            rc = corrald_answer_frame(a, opcode, p + header, (size_t) len);

            if (rc != 0) {
                return rc;
            }
        }

        if (have < len) {
            a->skip = (size_t) len - have;
            a->len = 0;
            return 0;
        }

        a->len -= header + (size_t) len;
        memmove(a->head, a->head + header + len, a->len);
    }

    return 0;
}


static int
corrald_answer_frame(corrald_answer_t *a, unsigned opcode,
    const unsigned char *payload, size_t len)
{
    if (opcode == 0xa && len == strlen(a->ping)
        && memcmp(payload, a->ping, len) == 0)
    {
        (void) snprintf(a->message, sizeof(a->message), "pong");
        return 1;
    }

    if (opcode == 0x8) {
        (void) snprintf(a->message, sizeof(a->message), "it closed the "
                        "WebSocket with code %u",
                        len < 2 ? 1005 : payload[0] << 8 | payload[1]);
        return -1;
    }

    return 0;
}


/* The value of a header, without the blanks around it, or NULL. */

static const char *
corrald_answer_header(const char *head, const char *name, size_t *len)
{
    size_t       n;
    const char  *line, *end, *p;

    n = strlen(name);

    for (line = strchr(head, '\n'); line != NULL; line = strchr(line, '\n')) {
        line++;

        if (strncasecmp(line, name, n) != 0 || line[n] != ':') {
            continue;
        }

        p = line + n + 1;

        while (*p == ' ' || *p == '\t') {
            p++;
        }

        end = p + strcspn(p, "\r\n");

        while (end > p && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        *len = (size_t) (end - p);

        return p;
    }

    return NULL;
}


static int
corrald_answer_fail(corrald_answer_t *a, const char *text)
{
    (void) snprintf(a->message, sizeof(a->message), "%s", text);

    return -1;
}
