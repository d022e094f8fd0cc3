
/*
 * WebSocket frames (RFC 6455) as a relay needs them: a scanner that finds
 * frame and message boundaries in bytes which pass through untouched, and
 * writers of the few frames that a gateway makes itself.
 */


#ifndef _CORRAL_FRAME_H_INCLUDED_
#define _CORRAL_FRAME_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_FRAME_CONTINUATION  0x0
#define CORRAL_FRAME_TEXT          0x1
#define CORRAL_FRAME_BINARY        0x2
#define CORRAL_FRAME_CLOSE         0x8
#define CORRAL_FRAME_PING          0x9
#define CORRAL_FRAME_PONG          0xa

/* flags of corral_frame_init() */

#define CORRAL_FRAME_MASKED        0x01   /* from a client: must be masked */
#define CORRAL_FRAME_DEFLATE       0x02   /* RSV1 may open a message */
#define CORRAL_FRAME_PIECES        0x04   /* return at each run of payload */
#define CORRAL_FRAME_METERED       0x08   /* the same, for good */

#define CORRAL_FRAME_CLOSED        0x80   /* set by the scanner */

/* what corral_frame_scan() returns below the close codes */

#define CORRAL_FRAME_DONE          0
#define CORRAL_FRAME_CONTROL       1
#define CORRAL_FRAME_PIECE         2
#define CORRAL_FRAME_AFTER_CLOSE   3

/* sizes: a whole header; a whole control frame; what a caller may have to hold
   back between two reads (a control frame less one byte) */

#define CORRAL_FRAME_HEADER_MAX    14
#define CORRAL_FRAME_PAYLOAD_MAX   125
#define CORRAL_FRAME_CONTROL_MAX   131
#define CORRAL_FRAME_HOLD_MAX      130


/* one direction of one connection; all zero but for flags at its start */

typedef struct {
    uint64_t        left;      /* payload bytes of the open frame to come */
    uint64_t        message;   /* payload bytes announced by the open message */
    uint8_t         key[4];    /* mask of the open frame */
    uint8_t         first;     /* first header byte of the open frame */
    uint8_t         opcode;    /* of the open message, 0: between messages */
    uint8_t         phase;     /* which byte of key is next */
    uint8_t         flags;
} corral_frame_t;


typedef struct {
    size_t          good;      /* bytes from p that may pass */
    size_t          frames;    /* frames completed by this call, all opcodes */
    size_t          messages;  /* data messages completed by this call */

    /* after CORRAL_FRAME_CONTROL and CORRAL_FRAME_PIECE only */

    size_t          start;     /* of its header, or of data if seen before */
    size_t          data;      /* offset of the payload */
    size_t          len;       /* payload bytes that lie here */
    unsigned        opcode;    /* of the control frame; of a piece's message */

    /* after CORRAL_FRAME_CONTROL only */

    unsigned        code;      /* of a close frame; 1005 if it has none */
    uint8_t         payload[CORRAL_FRAME_PAYLOAD_MAX];       /* unmasked */

    /* after CORRAL_FRAME_PIECE only */

    uint8_t         key[4];    /* zero if unmasked */
    uint8_t         phase;     /* of the first byte, for corral_frame_mask() */
    uint8_t         rsv1;      /* the frame had RSV1 (compressed message) */
    uint8_t         end;       /* the frame ends with this piece */
    uint8_t         fin;       /* ... and the message too */
} corral_frame_result_t;


void corral_frame_init(corral_frame_t *f, unsigned flags);
int corral_frame_scan_any(corral_frame_t *f, const uint8_t *p, size_t n,
    uint64_t max_message, corral_frame_result_t *out);
int corral_frame_code_valid(unsigned code);

size_t corral_frame_header(uint8_t *out, unsigned first, uint64_t len,
    const uint8_t *mask);
size_t corral_frame_control(uint8_t *out, unsigned opcode, const void *payload,
    size_t len, const uint8_t *mask);
size_t corral_frame_close(uint8_t *out, unsigned code, const char *reason,
    size_t len, const uint8_t *mask);
void corral_frame_mask(uint8_t *dst, const uint8_t *src, size_t n,
    const uint8_t key[4], unsigned phase);


/* nothing of a frame has passed: a frame of our own may be put in here */

static inline int
corral_frame_boundary(const corral_frame_t *f)
{
    return f->left == 0;
}


/* no message is open: a data message of our own may be put in here */

static inline int
corral_frame_between(const corral_frame_t *f)
{
    return f->left == 0 && f->opcode == 0;
}


/* a close frame has passed: nothing may follow */

static inline int
corral_frame_closed(const corral_frame_t *f)
{
    return (f->flags & CORRAL_FRAME_CLOSED) != 0;
}


/*
 * Are these bytes one whole message, of one frame of up to 65535 bytes?  Of a
 * metered side, too: whoever takes the short way with one pays for it himself.
 */

static inline int
corral_frame_whole(const corral_frame_t *f, const uint8_t *p, size_t n,
    uint64_t max_message)
{
    size_t    len, head;
    unsigned  masked;

    /* no other flag may be set */

    masked = f->flags & ~(unsigned) CORRAL_FRAME_METERED;

    if (n < 2 || masked > CORRAL_FRAME_MASKED || !corral_frame_between(f)
        || (p[0] != (0x80|CORRAL_FRAME_TEXT)
            && p[0] != (0x80|CORRAL_FRAME_BINARY))
        || p[1] >> 7 != masked)
    {
        return 0;
    }

    len = p[1] & 0x7f;
    head = 2 + masked * 4;

    if (len >= 126) {

        if (len == 127 || n < 4) {
            return 0;
        }

        len = (size_t) p[2] << 8 | p[3];
        head += 2;

        if (len < 126) {
            return 0;
        }
    }

    return head + len == n && (max_message == 0 || len <= max_message);
}


/*
 * See corral_frame.c.  What a relay mostly reads, one message, is known here
 * for a third of the instructions, and changes no state.
 */

static inline int
corral_frame_scan(corral_frame_t *f, const uint8_t *p, size_t n,
    uint64_t max_message, corral_frame_result_t *out)
{
    if (!(f->flags & CORRAL_FRAME_METERED)
        && corral_frame_whole(f, p, n, max_message))
    {
        out->good = n;
        out->frames = 1;
        out->messages = 1;

        return CORRAL_FRAME_DONE;
    }

    return corral_frame_scan_any(f, p, n, max_message, out);
}


#endif /* _CORRAL_FRAME_H_INCLUDED_ */
