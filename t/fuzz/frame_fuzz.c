/* links: ngx_module/corral_frame.c */

/*
 * The frame scanner against a naive parser of the same rules that has the whole
 * stream in its hands, and against itself at splits chosen by the input.
 * Input: flags, limit, seed of the splits, then the stream.
 */


#include "../../ngx_module/corral_frame.h"

#include <stdlib.h>
#include <string.h>


/* what a stream showed */

typedef struct {
    int       rc;          /* 0, 3 (bytes after a close) or the close code */
    size_t    good;
    size_t    frames;
    size_t    messages;
    unsigned  code;
    uint64_t  control;     /* hash over control frames and where they begin */
    uint64_t  data;        /* hash over unmasked data payload */
} fuzz_seen_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


static uint64_t
fuzz_hash(uint64_t h, unsigned byte)
{
    return (h ^ byte) * 0x100000001b3;
}


/* the rules of RFC 6455, one byte after the other, with no thought of speed */

static fuzz_seen_t
fuzz_naive(const uint8_t *p, size_t n, unsigned flags, uint64_t max)
{
    int          open, fin, masked, i;
    size_t       pos, head, got;
    uint64_t     len, message, k;
    unsigned     op, rsv, b;
    fuzz_seen_t  s;

    memset(&s, 0, sizeof(s));
    open = 0;
    message = 0;

    for ( ;; ) {
        pos = s.good;

        if (n - pos < 2) {
            return s;
        }

        fin = p[pos] & 0x80;
        rsv = (p[pos] >> 4) & 7;
        op = p[pos] & 15;
        masked = p[pos + 1] & 0x80;
        len = p[pos + 1] & 127;

        if (!masked != !(flags & CORRAL_FRAME_MASKED)) {
            s.rc = 1002;
            return s;
        }

        if (op >= 8 && (!fin || rsv || op > 10 || len > 125)) {
            s.rc = 1002;
            return s;
        }

        if (op < 8) {
            if (op > 2 || (op == 0 && !open) || (op != 0 && open)) {
                s.rc = 1002;
                return s;
            }

            if (rsv && (rsv != 4 || !op || !(flags & CORRAL_FRAME_DEFLATE))) {
                s.rc = 1002;
                return s;
            }
        }

        head = 2;
        got = len == 126 ? 2 : (len == 127 ? 8 : 0);

        if (n - pos < head + got + (masked ? 4 : 0)) {
            return s;
        }

        if (got) {
            len = 0;

            for (i = 0; i < (int) got; i++) {
                len = len * 256 + p[pos + head + i];
            }

            if (len < 126 || (got == 8 && len < 65536) || len >> 63) {
                s.rc = 1002;
                return s;
            }

            head += got;
        }

        head += masked ? 4 : 0;

        if (op >= 8) {
            if (n - pos < head + len) {
                return s;
            }

            s.control = fuzz_hash(s.control, op);
            s.control = fuzz_hash(s.control, (unsigned) pos);

        } else {
            if (message + len > (max ? max : INT64_MAX)) {
                s.rc = 1009;
                return s;
            }

            message += len;
            open = 1;
        }

        for (k = 0; k < len && pos + head + k < n; k++) {
            b = p[pos + head + k] ^ (masked ? p[pos + head - 4 + k % 4] : 0);

            if (op >= 8) {
                s.control = fuzz_hash(s.control, b);

            } else {
                s.data = fuzz_hash(s.data, b);
            }

            if (op == 8 && k < 2) {
                s.code = k ? s.code * 256 + b : b;
            }
        }

        if (op == 8) {
            if (len == 0) {
                s.code = 1005;

            } else if (len == 1 || s.code < 1000 || s.code > 4999
                       || (s.code > 1014 && s.code < 3000)
                       || (s.code > 1003 && s.code < 1007))
            {
                s.rc = 1002;
                s.code = 0;
                s.control = 0;       /* not compared */
                return s;
            }
        }

        s.good = pos + head + (size_t) k;

        if (k < len) {
            return s;
        }

        s.frames++;

        if (op == 8) {
            s.rc = s.good < n ? CORRAL_FRAME_AFTER_CLOSE : 0;
            return s;
        }

        if (op < 8 && fin) {
            s.messages++;
            open = 0;
            message = 0;
        }
    }
}


/* adds one result; p is the buffer, at its place in the stream */

static void
fuzz_note(fuzz_seen_t *s, int rc, const uint8_t *p, size_t at,
    const corral_frame_result_t *out)
{
    size_t   i;
    uint8_t  one;

    s->frames += out->frames;
    s->messages += out->messages;

    if (rc == CORRAL_FRAME_CONTROL) {
        fuzz_check(out->data + out->len == out->good);

        s->control = fuzz_hash(s->control, out->opcode);
        s->control = fuzz_hash(s->control, (unsigned) (at + out->start));

        for (i = 0; i < out->len; i++) {
            s->control = fuzz_hash(s->control, out->payload[i]);
        }

        if (out->opcode == CORRAL_FRAME_CLOSE) {
            s->code = out->code;
        }
    }

    if (rc == CORRAL_FRAME_PIECE) {
        fuzz_check(out->data + out->len == out->good);

        for (i = 0; i < out->len; i++) {
            corral_frame_mask(&one, p + out->data + i, 1, out->key,
                              (unsigned) (out->phase + i));
            s->data = fuzz_hash(s->data, one);
        }
    }
}


/* the scanner, fed as a relay feeds it; seed 0: whole */

static fuzz_seen_t
fuzz_scan(const uint8_t *p, size_t n, unsigned flags, uint64_t max,
    uint32_t seed)
{
    int                     rc;
    size_t                  at, end, k;
    uint8_t                *copy;
    fuzz_seen_t             s;
    corral_frame_t          f;
    corral_frame_result_t   out;

    memset(&s, 0, sizeof(s));
    corral_frame_init(&f, flags);
    rc = CORRAL_FRAME_DONE;

    for (at = 0, end = 0; rc < 1000 && end < n; /* void */ ) {
        seed = seed ? seed * 1664525 + 1013904223 : 0;
        k = seed ? (seed >> 24) % 23 + 1 : n;
        end = n - end < k ? n : end + k;

        do {
            copy = malloc(end - at + 1);
            memcpy(copy, p + at, end - at);
            rc = corral_frame_scan(&f, copy, end - at, max, &out);
            fuzz_note(&s, rc, copy, at, &out);
            free(copy);
            at += out.good;

        } while (rc == CORRAL_FRAME_CONTROL || rc == CORRAL_FRAME_PIECE);

        fuzz_check(rc != CORRAL_FRAME_DONE
                   || end - at <= CORRAL_FRAME_HOLD_MAX);
    }

    s.rc = rc;
    s.good = at;

    return s;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t     seed;
    uint64_t     max;
    unsigned     flags;
    fuzz_seen_t  naive, seen;

    if (size < 3) {
        return 0;
    }

    flags = data[0] & (CORRAL_FRAME_MASKED|CORRAL_FRAME_DEFLATE);
    max = data[1] * 5;
    seed = data[2] + 1;

    naive = fuzz_naive(data + 3, size - 3, flags, max);

    for ( ;; ) {
        seen = fuzz_scan(data + 3, size - 3, flags, max, seed);

        fuzz_check(seen.rc == naive.rc);
        fuzz_check(seen.good == naive.good);
        fuzz_check(seen.frames == naive.frames);
        fuzz_check(seen.messages == naive.messages);
        fuzz_check(seen.code == naive.code);
        fuzz_check(seen.control == naive.control || naive.rc == 1002);

        if (flags & (CORRAL_FRAME_PIECES|CORRAL_FRAME_METERED)) {
            fuzz_check(seen.data == naive.data);

            if (seed == 0) {
                return 0;
            }

            seed = 0;
        }

        flags |= (size & 1) ? CORRAL_FRAME_METERED : CORRAL_FRAME_PIECES;
    }
}
