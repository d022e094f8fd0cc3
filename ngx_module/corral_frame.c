
/*
 * WebSocket frames: the scanner of the relay and the writers of its own
 * frames.
 *
 * The scanner reads headers and skips payload: it changes no byte, copies none
 * (but for the payload of control frames, up to 125 bytes), and does not look
 * into messages: UTF-8 and compression are the affair of the endpoints.
 *
 * It never lets a part of a header or of a control frame pass.  Such a rest,
 * at most CORRAL_FRAME_HOLD_MAX bytes, lies behind "good"; the caller keeps it
 * and presents it again in front of the next bytes.  So each control frame is
 * seen whole, can be swallowed whole, and between two calls the stream that
 * has passed is at a frame boundary as often as it can be.
 *
 * Pure: no I/O, no clock, no allocation; the state is the caller's.
 */


#include "corral_frame.h"

#include <string.h>


#define CORRAL_FRAME_FIN   0x80
#define CORRAL_FRAME_RSV1  0x40
#define CORRAL_FRAME_RSV   0x70
#define CORRAL_FRAME_OP    0x0f
#define CORRAL_FRAME_MASK  0x80
#define CORRAL_FRAME_LEN   0x7f

#define CORRAL_FRAME_IS_CONTROL  0x08

#define CORRAL_FRAME_STOPS  (CORRAL_FRAME_PIECES|CORRAL_FRAME_METERED)

#define CORRAL_FRAME_PROTOCOL_ERROR  1002
#define CORRAL_FRAME_NO_CODE         1005
#define CORRAL_FRAME_TOO_BIG         1009

#define CORRAL_FRAME_LEN_BAD         UINT64_MAX


static int corral_frame_read_control(corral_frame_t *f, const uint8_t *h,
    size_t n, corral_frame_result_t *out);
static void corral_frame_piece(const corral_frame_t *f, size_t header,
    size_t data, size_t end, corral_frame_result_t *out);


/* bytes of the header that begins with these two */

static inline size_t
corral_frame_header_size(const uint8_t *h)
{
    unsigned  len;

    len = h[1] & CORRAL_FRAME_LEN;

    return 2 + (h[1] >> 7) * 4 + (len < 126 ? 0 : (len == 126 ? 2 : 8));
}


/* a client masks, a server does not */

static inline int
corral_frame_mask_ok(const corral_frame_t *f, const uint8_t *h)
{
    return h[1] >> 7 == (f->flags & CORRAL_FRAME_MASKED);
}


/* RSV1 alone, on the first frame of a message, if deflate was agreed */

static inline int
corral_frame_rsv_ok(const corral_frame_t *f, unsigned rsv, unsigned opcode)
{
    return rsv == CORRAL_FRAME_RSV1
           && opcode != CORRAL_FRAME_CONTINUATION
           && (f->flags & CORRAL_FRAME_DEFLATE);
}


/* CORRAL_FRAME_LEN_BAD if not in its shortest form, or negative */

static inline uint64_t
corral_frame_length(const uint8_t *h)
{
    unsigned  i;
    uint64_t  len;

    len = h[1] & CORRAL_FRAME_LEN;

    if (len < 126) {
        return len;
    }

    if (len == 126) {
        len = (uint64_t) h[2] << 8 | h[3];
        return len < 126 ? CORRAL_FRAME_LEN_BAD : len;
    }

    len = 0;

    for (i = 2; i < 10; i++) {
        len = len << 8 | h[i];
    }

    return len <= 0xffff || len > INT64_MAX ? CORRAL_FRAME_LEN_BAD : len;
}


/*
 * Skips whole messages of one frame of up to 65535 bytes, which is nearly all
 * that agents send: a quarter of the work of the general way, which takes over
 * at the first frame that is anything else.  Returns the bytes skipped.
 */

static inline size_t
corral_frame_skip_whole(const corral_frame_t *f, const uint8_t *p, size_t n,
    uint64_t max, size_t *count)
{
    size_t          pos, head, len, base;
    unsigned        masked, ignore;
    const uint8_t  *h;

    masked = f->flags & CORRAL_FRAME_MASKED;
    ignore = (f->flags & CORRAL_FRAME_DEFLATE) ? CORRAL_FRAME_RSV1 : 0;
    base = masked ? 6 : 2;

    for (pos = 0; n - pos >= 8; pos += head + len) {
        h = p + pos;
        len = h[1] & CORRAL_FRAME_LEN;
        head = base;

        if ((h[0] & ~ignore) - (CORRAL_FRAME_FIN|CORRAL_FRAME_TEXT) > 1
            || h[1] >> 7 != masked
            || len == 127)
        {
            break;
        }

        if (len == 126) {
            len = (size_t) h[2] << 8 | h[3];
            head = base + 2;

            if (len < 126) {
                break;
            }
        }

        if (len > max || len > n - pos - head) {
            break;
        }

        (*count)++;
    }

    return pos;
}


/*
 * Opens a data frame whose header begins at h.  *size is the bytes of the
 * header, or 0 if nothing was opened: the header is not whole yet (returns 0)
 * or broken (returns the close code).
 */

static inline int
corral_frame_open(corral_frame_t *f, const uint8_t *h, size_t n, uint64_t max,
    size_t *size)
{
    size_t    head;
    uint64_t  len;
    unsigned  opcode;

    *size = 0;

    if (n < 2) {
        return CORRAL_FRAME_DONE;
    }

    opcode = h[0] & CORRAL_FRAME_OP;

    if (!corral_frame_mask_ok(f, h)
        || opcode > CORRAL_FRAME_BINARY
        || (opcode == CORRAL_FRAME_CONTINUATION) != (f->opcode != 0)
        || ((h[0] & CORRAL_FRAME_RSV)
            && !corral_frame_rsv_ok(f, h[0] & CORRAL_FRAME_RSV, opcode)))
    {
        return CORRAL_FRAME_PROTOCOL_ERROR;
    }

    head = corral_frame_header_size(h);

    if (n < head) {
        return CORRAL_FRAME_DONE;
    }

    len = corral_frame_length(h);

    if (len == CORRAL_FRAME_LEN_BAD) {
        return CORRAL_FRAME_PROTOCOL_ERROR;
    }

    /* the limit may have been lowered since the message began */

    if (f->message > max || len > max - f->message) {
        return CORRAL_FRAME_TOO_BIG;
    }

    if (h[1] & CORRAL_FRAME_MASK) {
        memcpy(f->key, h + head - 4, 4);
    }

    if (opcode) {
        f->opcode = (uint8_t) opcode;
    }

    f->first = h[0];
    f->phase = 0;
    f->left = len;
    f->message += len;
    *size = head;

    return CORRAL_FRAME_DONE;
}


/* a run of payload is behind us: the end of the frame, of the message? */

static inline void
corral_frame_leave(corral_frame_t *f, size_t run)
{
    f->phase = (f->phase + run) & 3;

    if (f->left == 0 && (f->first & CORRAL_FRAME_FIN)) {
        f->opcode = 0;
        f->message = 0;
    }
}


/*
 * Starts a direction.  flags: CORRAL_FRAME_MASKED for what a client sends,
 * CORRAL_FRAME_DEFLATE when permessage-deflate was agreed, CORRAL_FRAME_PIECES
 * to be given each run of data payload.
 */

void
corral_frame_init(corral_frame_t *f, unsigned flags)
{
    memset(f, 0, sizeof(corral_frame_t));
    f->flags = (uint8_t) flags;
}


/*
 * The general way of corral_frame_scan(), which is described here: scans n
 * bytes.  max_message bounds the payload of a message over all its
 * fragments, as it is on the wire; 0: no limit.  Returns
 *
 *   CORRAL_FRAME_DONE         p[0 .. good) may pass; the n - good bytes behind
 *                             it, at most CORRAL_FRAME_HOLD_MAX, begin a header
 *                             or a control frame: present them again, in front
 *                             of the next bytes;
 *   CORRAL_FRAME_CONTROL      the same, but a control frame ends at good: it is
 *                             p[start .. good), described in out.  To swallow
 *                             it, leave these bytes out.  Call again with
 *                             p + good;
 *   CORRAL_FRAME_PIECE        only with one of these two: a run of payload
 *                             p[data .. data + len) ends at good.  Call again
 *                             with p + good;
 *   CORRAL_FRAME_AFTER_CLOSE  bytes behind a close frame: drop them, they may
 *                             not pass (good is 0);
 *   1002, 1009                close code for a broken protocol or a message
 *                             that is too big: p[0 .. good) may still pass, the
 *                             offending frame begins at good.  Do not call
 *                             again: the state is that before this frame.
 *
 * The size of a message is judged by headers, before any of the excess passes.
 * Offsets and counts in out are those of this call alone.
 */

int
corral_frame_scan_any(corral_frame_t *f, const uint8_t *p, size_t n,
    uint64_t max_message, corral_frame_result_t *out)
{
    int     rc;
    size_t  pos, start, data, run, whole;

    out->good = 0;
    out->frames = 0;
    out->messages = 0;

    if (corral_frame_closed(f)) {
        return n ? CORRAL_FRAME_AFTER_CLOSE : CORRAL_FRAME_DONE;
    }

    if (max_message == 0 || max_message > INT64_MAX) {
        max_message = INT64_MAX;
    }

    rc = CORRAL_FRAME_DONE;
    pos = 0;
    whole = 0;

    while (pos < n) {
        if (corral_frame_between(f) && !(f->flags & CORRAL_FRAME_STOPS)) {
            pos += corral_frame_skip_whole(f, p + pos, n - pos, max_message,
                                           &whole);
        }

        start = pos;

        if (f->left == 0) {
            if (n - pos >= 2 && (p[pos] & CORRAL_FRAME_IS_CONTROL)) {
                rc = corral_frame_read_control(f, p + pos, n - pos, out);

                if (rc == CORRAL_FRAME_CONTROL) {
                    out->start = pos;
                    out->data += pos;
                    out->frames++;
                    pos = out->data + out->len;
                }

                break;
            }

            rc = corral_frame_open(f, p + pos, n - pos, max_message, &run);
            if (run == 0) {
                break;
            }

            pos += run;
        }

        data = pos;
        run = n - pos < f->left ? n - pos : (size_t) f->left;
        pos += run;
        f->left -= run;

        if (f->left == 0) {
            out->frames++;
            out->messages += f->first >> 7;
        }

        if (f->flags & CORRAL_FRAME_STOPS) {
            corral_frame_piece(f, start, data, pos, out);
            rc = CORRAL_FRAME_PIECE;
        }

        corral_frame_leave(f, run);

        if (rc != CORRAL_FRAME_DONE) {
            break;
        }
    }

    out->good = pos;
    out->frames += whole;
    out->messages += whole;

    return rc;
}


/*
 * Reads a whole control frame into out, offsets relative to h.  Returns
 * CORRAL_FRAME_CONTROL, CORRAL_FRAME_DONE if it is not whole yet, or 1002.
 */

static int
corral_frame_read_control(corral_frame_t *f, const uint8_t *h, size_t n,
    corral_frame_result_t *out)
{
    size_t                len, head;
    static const uint8_t  zero[4];

    len = h[1] & CORRAL_FRAME_LEN;

    if (!corral_frame_mask_ok(f, h)
        || (h[0] & (CORRAL_FRAME_FIN|CORRAL_FRAME_RSV)) != CORRAL_FRAME_FIN
        || (h[0] & CORRAL_FRAME_OP) > CORRAL_FRAME_PONG
        || len > CORRAL_FRAME_PAYLOAD_MAX)
    {
        return CORRAL_FRAME_PROTOCOL_ERROR;
    }

    head = corral_frame_header_size(h);

    if (n < head + len) {
        return CORRAL_FRAME_DONE;
    }

    out->opcode = h[0] & CORRAL_FRAME_OP;
    out->data = head;
    out->len = len;
    out->code = CORRAL_FRAME_NO_CODE;

    corral_frame_mask(out->payload, h + head, len,
                      (h[1] & CORRAL_FRAME_MASK) ? h + 2 : zero, 0);

    if (out->opcode != CORRAL_FRAME_CLOSE) {
        return CORRAL_FRAME_CONTROL;
    }

    if (len > 0) {
        out->code = len > 1 ? out->payload[0] << 8 | out->payload[1] : 0;

        if (!corral_frame_code_valid(out->code)) {
            return CORRAL_FRAME_PROTOCOL_ERROR;
        }
    }

    f->flags |= CORRAL_FRAME_CLOSED;

    return CORRAL_FRAME_CONTROL;
}


/* describes the run of payload p[data .. end) of the open frame */

static void
corral_frame_piece(const corral_frame_t *f, size_t header, size_t data,
    size_t end, corral_frame_result_t *out)
{
    out->start = header;
    out->data = data;
    out->len = end - data;
    out->opcode = f->opcode;
    memcpy(out->key, f->key, 4);
    out->phase = f->phase;
    out->rsv1 = (f->first & CORRAL_FRAME_RSV1) != 0;
    out->end = f->left == 0;
    out->fin = out->end && (f->first & CORRAL_FRAME_FIN);
}


/*
 * May this code stand in a close frame?  1 or 0.  Registered codes of the
 * protocol (RFC 6455 7.4.1, IANA to 1014) and 3000-4999; never 1005, 1006 and
 * 1015, which only say locally that there was none.
 */

int
corral_frame_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003)
           || (code >= 1007 && code <= 1014)
           || (code >= 3000 && code <= 4999);
}


/*
 * Writes a frame header; first is the first byte, 0x80 | opcode for a whole
 * message.  mask: 4 bytes, or NULL for an unmasked frame.  Returns its bytes,
 * at most CORRAL_FRAME_HEADER_MAX, for which out must have room.
 */

size_t
corral_frame_header(uint8_t *out, unsigned first, uint64_t len,
    const uint8_t *mask)
{
    int      i;
    uint8_t  *p;

    p = out;
    *p++ = (uint8_t) first;

    if (len < 126) {
        *p++ = (uint8_t) len;

    } else if (len <= 0xffff) {
        *p++ = 126;
        *p++ = (uint8_t) (len >> 8);
        *p++ = (uint8_t) len;

    } else {
        *p++ = 127;

        for (i = 56; i >= 0; i -= 8) {
            *p++ = (uint8_t) (len >> i);
        }
    }

    if (mask) {
        out[1] |= CORRAL_FRAME_MASK;
        memcpy(p, mask, 4);
        p += 4;
    }

    return (size_t) (p - out);
}


/*
 * Writes a whole control frame; payload beyond 125 bytes is cut.  Returns its
 * bytes, at most CORRAL_FRAME_CONTROL_MAX, for which out must have room.
 */

size_t
corral_frame_control(uint8_t *out, unsigned opcode, const void *payload,
    size_t len, const uint8_t *mask)
{
    size_t                head;
    static const uint8_t  zero[4];

    if (len > CORRAL_FRAME_PAYLOAD_MAX) {
        len = CORRAL_FRAME_PAYLOAD_MAX;
    }

    head = corral_frame_header(out, CORRAL_FRAME_FIN | opcode, len, mask);

    corral_frame_mask(out + head, payload, len, mask ? mask : zero, 0);

    return head + len;
}


/*
 * Writes a close frame.  A code that may not stand in one (1005, 1006, 0) gives
 * an empty close frame.  A reason of more than 123 bytes is cut at the border
 * of a UTF-8 character.  Returns its bytes, as corral_frame_control().
 */

size_t
corral_frame_close(uint8_t *out, unsigned code, const char *reason, size_t len,
    const uint8_t *mask)
{
    uint8_t  payload[CORRAL_FRAME_PAYLOAD_MAX];

    if (!corral_frame_code_valid(code)) {
        return corral_frame_control(out, CORRAL_FRAME_CLOSE, NULL, 0, mask);
    }

    if (len > sizeof(payload) - 2) {
        len = sizeof(payload) - 2;

        while (len > 0 && ((uint8_t) reason[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    payload[0] = (uint8_t) (code >> 8);
    payload[1] = (uint8_t) code;

    if (len > 0) {
        memcpy(payload + 2, reason, len);
    }

    return corral_frame_control(out, CORRAL_FRAME_CLOSE, payload, len + 2,
                                mask);
}


/*
 * Masks or unmasks n bytes from src to dst, which may be equal.  phase: how
 * many payload bytes of the frame went before (only its lowest 2 bits count).
 */

void
corral_frame_mask(uint8_t *dst, const uint8_t *src, size_t n,
    const uint8_t key[4], unsigned phase)
{
    size_t    i;
    uint8_t   rotated[8];
    uint64_t  word, k;

    for (i = 0; i < 8; i++) {
        rotated[i] = key[(phase + i) & 3];
    }

    memcpy(&k, rotated, 8);

    for (i = 0; n - i >= 8; i += 8) {
        memcpy(&word, src + i, 8);
        word ^= k;
        memcpy(dst + i, &word, 8);
    }

    for ( /* void */ ; i < n; i++) {
        dst[i] = src[i] ^ rotated[i & 7];
    }
}
