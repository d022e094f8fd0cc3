
/*
 * Finds, among the frames of a client, the message with which it renews its
 * token:
 *
 *     {"type":"corral.renew","token":"TOKEN"}
 *
 * byte by byte as it stands here, but for one blank that may stand behind each
 * ":" and ",".  It is one text frame, not compressed, of a whole message.
 * TOKEN is up to CORRAL_RENEW_TOKEN bytes of what "Authorization: Bearer" may
 * hold (RFC 6750).  Anything else is a message as any other.
 *
 * Only headers are read, and of a text frame of a fitting length as much of its
 * payload as is like the shape.  Whether frames keep to the protocol is the
 * scanner's affair: what is broken is not found, or is found behind it.
 *
 * Pure: no I/O, no clock, no allocation.
 */


#include "corral_renew.h"


#define CORRAL_RENEW_FIN      0x80
#define CORRAL_RENEW_CONTROL  0x08
#define CORRAL_RENEW_MASK     0x80

#define CORRAL_RENEW_BLANKS   3
#define CORRAL_RENEW_LEAST    (sizeof(corral_renew_shape) - 1                 \
                               - CORRAL_RENEW_BLANKS + 3)
#define CORRAL_RENEW_MOST     (sizeof(corral_renew_shape) - 1                 \
                               + CORRAL_RENEW_TOKEN + 2)


/* "~" is a blank or nothing */

static const char  corral_renew_shape[] =
    "{\"type\":~\"corral.renew\",~\"token\":~\"";


static int corral_renew_begins(const uint8_t *h, size_t n, size_t *len);
static int corral_renew_like(const uint8_t *p, size_t n, size_t len,
    const uint8_t key[4], size_t *end);
static int corral_renew_char(int c);


/*
 * Looks through n bytes of a client that lie behind what f has scanned; f is
 * not changed.  Returns
 *
 *   CORRAL_RENEW_NONE  there is nothing of it here;
 *   CORRAL_RENEW_MORE  at p[*at] a frame begins that may be it: fewer than
 *                      CORRAL_RENEW_HOLD bytes are here, present them again, in
 *                      front of the next ones;
 *   CORRAL_RENEW_HERE  at p[*at] a frame of *len bytes begins, perhaps not all
 *                      of it here, that begins as it does.
 */

int
corral_renew_find(const corral_frame_t *f, const uint8_t *p, size_t n,
    size_t *at, size_t *len)
{
    int             rc, open;
    size_t          pos, head;
    uint64_t        size;
    unsigned        i;
    const uint8_t  *h;

    if (corral_frame_closed(f) || f->left >= n) {
        return CORRAL_RENEW_NONE;
    }

    pos = (size_t) f->left;
    open = f->opcode != 0 && (pos == 0 || !(f->first & CORRAL_RENEW_FIN));

    for ( ;; ) {
        h = p + pos;

        if (!open && h[0] == (CORRAL_RENEW_FIN|CORRAL_FRAME_TEXT)) {
            rc = corral_renew_begins(h, n - pos, len);

            if (rc != CORRAL_RENEW_NONE) {
                *at = pos;
                return rc;
            }
        }

        if (n - pos < 2) {
            return CORRAL_RENEW_NONE;
        }

        size = h[1] & 0x7f;
        head = 2 + (h[1] >> 7) * 4 + (size < 126 ? 0 : size == 126 ? 2 : 8);

        if (n - pos < head) {
            return CORRAL_RENEW_NONE;
        }

        if (size >= 126) {
            i = size == 126 ? 4 : 10;

            for (size = 0, h += 2; h < p + pos + i; h++) {
                size = size << 8 | *h;
            }

            h = p + pos;
        }

        if (!(h[0] & CORRAL_RENEW_CONTROL)) {
            open = !(h[0] & CORRAL_RENEW_FIN);
        }

        if (size >= n - pos - head) {
            return CORRAL_RENEW_NONE;
        }

        pos += head + (size_t) size;
    }
}


/* does the text frame at h begin as the message does? */

static int
corral_renew_begins(const uint8_t *h, size_t n, size_t *len)
{
    size_t  head, size, end;

    if (n < 2) {
        return CORRAL_RENEW_MORE;
    }

    size = h[1] & 0x7f;
    head = 6;

    if (!(h[1] & CORRAL_RENEW_MASK) || size == 127) {
        return CORRAL_RENEW_NONE;
    }

    if (size == 126) {

        if (n < 4) {
            return CORRAL_RENEW_MORE;
        }

        size = (size_t) h[2] << 8 | h[3];
        head = 8;
    }

    if (size < CORRAL_RENEW_LEAST || size > CORRAL_RENEW_MOST) {
        return CORRAL_RENEW_NONE;
    }

    if (n <= head) {
        return CORRAL_RENEW_MORE;
    }

    *len = head + size;

    return corral_renew_like(h + head, n - head < size ? n - head : size, size,
                             h + head - 4, &end);
}


/*
 * Are the first n of len bytes of payload like the shape?  If all of it is
 * here, *end is where the token begins.
 */

static int
corral_renew_like(const uint8_t *p, size_t n, size_t len, const uint8_t key[4],
    size_t *end)
{
    size_t       i;
    const char  *s;

    for (i = 0, s = corral_renew_shape; *s; s++) {

        if (*s == '~') {
            i += i < n && (p[i] ^ key[i & 3]) == ' ';
            continue;
        }

        if (i == n) {
            return n == len ? CORRAL_RENEW_NONE : CORRAL_RENEW_MORE;
        }

        if ((p[i] ^ key[i & 3]) != *s) {
            return CORRAL_RENEW_NONE;
        }

        i++;
    }

    *end = i;

    return CORRAL_RENEW_HERE;
}


/*
 * Copies the token out of the n bytes of a whole frame that was found.  Returns
 * its length, or 0 if the frame only begins as the message does.
 */

size_t
corral_renew_token(const uint8_t *p, size_t n,
    uint8_t token[CORRAL_RENEW_TOKEN])
{
    size_t          head, end, len, i;
    const uint8_t  *key;

    head = (p[1] & 0x7f) == 126 ? 8 : 6;
    key = p + head - 4;
    p += head;
    n -= head;

    if (corral_renew_like(p, n, n, key, &end) != CORRAL_RENEW_HERE
        || n - end < 3 || n - end - 2 > CORRAL_RENEW_TOKEN
        || (p[n - 2] ^ key[(n - 2) & 3]) != '"'
        || (p[n - 1] ^ key[(n - 1) & 3]) != '}')
    {
        return 0;
    }

    len = n - end - 2;

    corral_frame_mask(token, p + end, len, key, (unsigned) end);

    for (i = 0; i < len; i++) {
        if (!corral_renew_char(token[i])) {
            return 0;
        }
    }

    return len;
}


static int
corral_renew_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'
           || c == '~' || c == '+' || c == '/' || c == '=';
}
