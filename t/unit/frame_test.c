/* links: ngx_module/corral_frame.c */

/*
 * The frame scanner: every rule of the protocol that it enforces, fed whole,
 * byte by byte and at random splits with equal results; and the writers.
 */


#include "../../ngx_module/corral_frame.h"

#include <stdlib.h>

#include "unit.h"


#define C  CORRAL_FRAME_MASKED

/* all that a stream showed, however it was fed */

typedef struct {
    int       rc;
    size_t    good;
    size_t    frames;
    size_t    messages;
    size_t    controls;
    unsigned  code;
    size_t    hold;
    uint64_t  hash;        /* over control frames, pieces and their offsets */
} frame_seen_t;


static const uint8_t  frame_key[4] = { 0x37, 0xfa, 0x21, 0x3d };


static uint64_t
frame_hash(uint64_t h, const void *data, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        h = (h ^ ((const uint8_t *) data)[i]) * 0x100000001b3;
    }

    return h;
}


/* takes one result into account; "at" is where its buffer lies in the stream */

static void
frame_note(frame_seen_t *s, int rc, size_t at, const uint8_t *p,
    const corral_frame_result_t *out)
{
    size_t   where;
    uint8_t  plain[512];

    s->frames += out->frames;
    s->messages += out->messages;

    if (rc == CORRAL_FRAME_CONTROL) {
        where = at + out->start;
        s->controls++;
        s->hash = frame_hash(s->hash, &where, sizeof(where));
        s->hash = frame_hash(s->hash, &out->opcode, sizeof(out->opcode));
        s->hash = frame_hash(s->hash, out->payload, out->len);

        if (out->opcode == CORRAL_FRAME_CLOSE) {
            s->code = out->code;
        }
    }

    if (rc == CORRAL_FRAME_PIECE && out->len <= sizeof(plain)) {
        corral_frame_mask(plain, p + out->data, out->len, out->key,
                          out->phase);
        s->hash = frame_hash(s->hash, plain, out->len);
    }
}


/*
 * Feeds a stream as a relay would: the rest behind good is presented again.
 * step 0: whole; above: so many bytes a read; below: random reads.
 */

static frame_seen_t
frame_feed(const uint8_t *p, size_t n, unsigned flags, uint64_t max, int step)
{
    int                     rc;
    size_t                  at, end, k;
    uint8_t                *copy;
    frame_seen_t            s;
    corral_frame_t          f;
    corral_frame_result_t   out;

    memset(&s, 0, sizeof(s));
    corral_frame_init(&f, flags);
    rc = CORRAL_FRAME_DONE;

    for (at = 0, end = 0; rc < 1000 && end < n; /* void */ ) {
        k = step > 0 ? (size_t) step : (size_t) rand() % 40 + 1;
        end = step == 0 || end + k > n ? n : end + k;

        do {
            /* a copy of the right size, so that ASan sees a read beyond it */

            copy = malloc(end - at + 1);
            memcpy(copy, p + at, end - at);
            rc = corral_frame_scan(&f, copy, end - at, max, &out);
            frame_note(&s, rc, at, copy, &out);
            free(copy);

            at += out.good;
            s.hold = end - at > s.hold ? end - at : s.hold;

        } while (rc == CORRAL_FRAME_CONTROL || rc == CORRAL_FRAME_PIECE);
    }

    s.rc = rc;
    s.good = at;

    return s;
}


/* fed in all ways the stream shows the same; returns the whole way's view */

static frame_seen_t
frame_all(const uint8_t *p, size_t n, unsigned flags, uint64_t max,
    const char *name)
{
    int           i, same;
    char          text[128];
    frame_seen_t  whole, split;

    whole = frame_feed(p, n, flags, max, 0);
    same = 1;

    for (i = -30; i <= 20 && same; i++) {
        split = frame_feed(p, n, flags, max, i);

        same = split.rc == whole.rc && split.good == whole.good
               && split.frames == whole.frames
               && split.messages == whole.messages
               && split.controls == whole.controls
               && split.code == whole.code && split.hash == whole.hash;

        if (split.rc != CORRAL_FRAME_AFTER_CLOSE && split.rc < 1000) {
            same = same && split.hold <= CORRAL_FRAME_HOLD_MAX;
        }
    }

    snprintf(text, sizeof(text), "%s: equal at all splits", name);
    ok(same, text);

    return whole;
}


static size_t
frame_put(uint8_t *p, unsigned first, const char *text, size_t n,
    const uint8_t *key)
{
    size_t                head;
    static const uint8_t  zero[4];

    head = corral_frame_header(p, first, n, key);
    corral_frame_mask(p + head, (const uint8_t *) text, n, key ? key : zero,
                      0);

    return head + n;
}


static void
frame_sequence(void)
{
    size_t        n;
    uint8_t       b[1024];
    frame_seen_t  s;

    n = frame_put(b, 0x81, "hello", 5, frame_key);
    n += frame_put(b + n, 0x02, "frag", 4, frame_key);
    n += corral_frame_control(b + n, CORRAL_FRAME_PING, "are you", 7,
                              frame_key);
    n += frame_put(b + n, 0x00, "", 0, frame_key);
    n += frame_put(b + n, 0x80, "ment", 4, frame_key);
    n += frame_put(b + n, 0x82, "", 0, frame_key);
    n += corral_frame_control(b + n, CORRAL_FRAME_PONG, NULL, 0, frame_key);
    n += corral_frame_close(b + n, 1001, "going", 5, frame_key);

    s = frame_all(b, n, C, 0, "client");
    is_int(s.rc, CORRAL_FRAME_DONE, "client stream is whole");
    is_int(s.good, n, "all of it may pass");
    is_int(s.frames, 8, "eight frames");
    is_int(s.messages, 3, "three messages");
    is_int(s.controls, 3, "three control frames");
    is_int(s.code, 1001, "close code");

    frame_all(b, n, C|CORRAL_FRAME_PIECES, 0, "pieces");
    s = frame_all(b, n, C|CORRAL_FRAME_METERED, 0, "metered");
    is_int(s.good, n, "metered: all of it may pass");
    is_int(s.messages, 3, "metered: three messages");

    b[n] = 0x81;
    b[n + 1] = 0x80;
    s = frame_all(b, n + 2, C, 0, "after close");
    is_int(s.rc, CORRAL_FRAME_AFTER_CLOSE, "nothing passes after a close");
    is_int(s.good, n, "the close itself passed");

    s = frame_all(b, n, 0, 0, "masked from the agent");
    is_int(s.rc, 1002, "a masked frame of an agent is refused");
    is_int(s.good, 0, "and nothing passes");

    n = frame_put(b, 0x81, "hello", 5, NULL);
    s = frame_feed(b, n, C, 0, 0);
    is_int(s.rc, 1002, "an unmasked frame of a client is refused");
    s = frame_feed(b, n, 0, 0, 0);
    is_int(s.rc, 0, "but not one of an agent");
}


/* one broken frame behind a good one, which still passes */

static void
frame_broken(const char *name, const void *bad, size_t n, unsigned flags,
    int want)
{
    size_t        good;
    char          text[128];
    uint8_t       b[512];
    frame_seen_t  s;

    good = frame_put(b, 0x81, "fine", 4, NULL);
    memcpy(b + good, bad, n);
    memset(b + good + n, 0, 200);

    s = frame_all(b, good + n + 200, flags, 0, name);
    is_int(s.rc, want, name);

    if (want >= 1000) {
        snprintf(text, sizeof(text), "%s: the frame before it passes", name);
        is_int(s.good, good, text);
    }
}


static void
frame_protocol(void)
{
    unsigned  op;
    uint8_t   b[2];
    char      name[64];

    for (op = 0; op < 16; op++) {
        b[0] = 0x80 | op;
        b[1] = 0;
        snprintf(name, sizeof(name), "opcode %u", op);

        if (op == 0 || (op > 2 && op < 8) || op > 10) {
            frame_broken(name, b, 2, 0, 1002);
        }
    }

    frame_broken("RSV1 not agreed", "\xc1\0", 2, 0, 1002);
    frame_broken("RSV2", "\xa1\0", 2, CORRAL_FRAME_DEFLATE, 1002);
    frame_broken("RSV3", "\x91\0", 2, CORRAL_FRAME_DEFLATE, 1002);
    frame_broken("RSV1 and RSV2", "\xe1\0", 2, CORRAL_FRAME_DEFLATE, 1002);
    frame_broken("RSV1 on a ping", "\xc9\0", 2, CORRAL_FRAME_DEFLATE, 1002);

    frame_broken("126 for 125", "\x82\x7e\x00\x7d", 4, 0, 1002);
    frame_broken("127 for 65535", "\x82\x7f\0\0\0\0\0\0\xff\xff", 10, 0, 1002);
    frame_broken("negative length", "\x82\x7f\x80\0\0\0\0\1\0\0", 10, 0, 1002);
    frame_broken("fragmented ping", "\x09\0", 2, 0, 1002);
    frame_broken("fragmented close", "\x08\0", 2, 0, 1002);
    frame_broken("ping of 126", "\x89\x7e\0\x7e", 4, 0, 1002);
    frame_broken("ping of 65536", "\x89\x7f\0\0\0\0\0\1\0\0", 10, 0, 1002);
    frame_broken("close of one byte", "\x88\1\3", 3, 0, 1002);
    frame_broken("close 1005", "\x88\2\x03\xed", 4, 0, 1002);
    frame_broken("close 999", "\x88\2\x03\xe7", 4, 0, 1002);
    frame_broken("close 5000", "\x88\2\x13\x88", 4, 0, 1002);
    frame_broken("no code: nothing after it", "\x88\0", 2, 0,
                 CORRAL_FRAME_AFTER_CLOSE);
}


static void
frame_deflate(void)
{
    size_t        n;
    uint8_t       b[64];
    frame_seen_t  s;

    n = frame_put(b, 0x41, "aa", 2, NULL);
    n += frame_put(b + n, 0x80, "bb", 2, NULL);
    s = frame_feed(b, n, CORRAL_FRAME_DEFLATE, 0, 0);
    is_int(s.rc, 0, "RSV1 opens a compressed message");
    is_int(s.messages, 1, "which is one message");

    n = frame_put(b, 0x41, "aa", 2, NULL);
    n += frame_put(b + n, 0xc0, "bb", 2, NULL);
    s = frame_feed(b, n, CORRAL_FRAME_DEFLATE, 0, 0);
    is_int(s.rc, 1002, "RSV1 on a continuation is refused");
    is_int(s.good, 4, "after its first fragment");

    n = frame_put(b, 0x01, "aa", 2, NULL);
    n += frame_put(b + n, 0x81, "bb", 2, NULL);
    s = frame_feed(b, n, 0, 0, 0);
    is_int(s.rc, 1002, "a message inside a message is refused");
}


static void
frame_sizes(void)
{
    size_t                  i, n;
    uint64_t                len;
    uint8_t                 b[700], head[14];
    frame_seen_t            s;
    corral_frame_t          f;
    corral_frame_result_t   out;
    static const uint64_t   lens[] = { 0, 1, 125, 126, 127, 65535, 65536,
                                       1ull << 32, INT64_MAX };

    for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        len = lens[i];
        n = corral_frame_header(head, 0x82, len, i & 1 ? frame_key : NULL);
        corral_frame_init(&f, i & 1);
        is_int(corral_frame_scan(&f, head, n, 0, &out), 0, "header passes");
        is_int(f.left, (int64_t) len, "with its length");
        is_int(corral_frame_boundary(&f), len == 0, "boundary only if empty");
        is_int(corral_frame_between(&f), len == 0, "between messages too");
    }

    memset(b, 'x', sizeof(b));
    n = frame_put(b, 0x02, (char *) b, 100, NULL);
    n += frame_put(b + n, 0x00, (char *) b, 0, NULL);
    n += frame_put(b + n, 0x80, (char *) b, 100, NULL);

    s = frame_all(b, n, 0, 200, "message of 200");
    is_int(s.rc, 0, "a message of the greatest size passes");
    s = frame_all(b, n, 0, 199, "message over 199");
    is_int(s.rc, 1009, "one byte more over all fragments is 1009");
    is_int(s.good, 104, "judged by the header that exceeds it");

    memset(b + 300, 'x', 128);
    i = frame_put(b + 220, 0x82, (char *) b + 300, 128, NULL);
    s = frame_all(b + 220, i, 0, 128, "one frame of 128");
    is_int(s.rc, 0, "an unfragmented message of the greatest size");
    s = frame_all(b + 220, i, 0, 127, "one frame over 127");
    is_int(s.rc, 1009, "and one byte more");
    is_int(s.good, 0, "of which nothing passes");

    corral_frame_init(&f, 0);
    corral_frame_scan(&f, b, 102, 200, &out);
    is_int(corral_frame_scan(&f, b + 102, n - 102, 50, &out), 1009,
           "a limit lowered in an open message is 1009");

    n = corral_frame_header(b, 0x02, INT64_MAX, NULL);
    corral_frame_init(&f, 0);
    is_int(corral_frame_scan(&f, b, n, 0, &out), 0, "2^63-1 without limit");
    f.left = 0;
    n = corral_frame_header(b, 0x80, 1, NULL);
    is_int(corral_frame_scan(&f, b, n, 0, &out), 1009, "the sum cannot wrap");
}


static void
frame_states(void)
{
    uint8_t                b[64];
    size_t                 n;
    corral_frame_t         f;
    corral_frame_result_t  out;

    n = frame_put(b, 0x01, "ab", 2, NULL);
    n += corral_frame_control(b + n, CORRAL_FRAME_PONG, "me", 2, NULL);
    n += frame_put(b + n, 0x80, "cd", 2, NULL);

    corral_frame_init(&f, 0);
    ok(corral_frame_between(&f), "between messages at the start");

    is_int(corral_frame_scan(&f, b, 3, 0, &out), 0, "half a frame");
    is_int(out.good, 3, "payload is not held back");
    ok(!corral_frame_boundary(&f), "no boundary inside a frame");

    is_int(corral_frame_scan(&f, b + 3, 4, 0, &out), 0, "half a pong");
    is_int(out.good, 1, "a split pong is held back");
    is_int(out.frames, 1, "the fragment is complete");
    is_int(out.messages, 0, "the message is not");
    ok(corral_frame_boundary(&f), "boundary between fragments");
    ok(!corral_frame_between(&f), "but not between messages");

    is_int(corral_frame_scan(&f, b + 4, n - 4, 0, &out), CORRAL_FRAME_CONTROL,
           "whole pong");
    is_int(out.start, 0, "pong starts");
    is_int(out.good, 4, "pong ends");
    is_int(out.opcode, CORRAL_FRAME_PONG, "its opcode");
    ok(out.len == 2 && memcmp(out.payload, "me", 2) == 0, "its payload");

    is_int(corral_frame_scan(&f, b + 8, n - 8, 0, &out), 0, "the end");
    is_int(out.messages, 1, "one message");
    ok(corral_frame_between(&f), "between messages again");
    ok(!corral_frame_closed(&f), "not closed");

    n = corral_frame_close(b, 0, NULL, 0, NULL);
    is_int(n, 2, "an empty close has two bytes");
    is_int(corral_frame_scan(&f, b, n, 0, &out), CORRAL_FRAME_CONTROL, "close");
    is_int(out.code, 1005, "no code is 1005");
    ok(corral_frame_closed(&f), "closed");
    is_int(corral_frame_scan(&f, b, 0, 0, &out), 0, "no bytes, no complaint");
}


static void
frame_pieces(void)
{
    uint8_t                b[64], plain[16];
    size_t                 n;
    corral_frame_t         f;
    corral_frame_result_t  out;

    n = frame_put(b, 0x41, "hello", 5, frame_key);
    frame_put(b + n, 0x80, "", 0, frame_key);

    /* a whole message is a piece, too: no shortcut passes it by */

    corral_frame_init(&f, CORRAL_FRAME_METERED);
    is_int(corral_frame_scan(&f, (uint8_t *) "\x81\x01x", 3, 0, &out),
           CORRAL_FRAME_PIECE, "metered: a piece");

    corral_frame_init(&f, C|CORRAL_FRAME_PIECES|CORRAL_FRAME_DEFLATE);

    is_int(corral_frame_scan(&f, b, 9, 0, &out), CORRAL_FRAME_PIECE, "piece");
    is_int(out.start, 0, "header of the piece");
    is_int(out.data, 6, "its payload");
    is_int(out.len, 3, "its length");
    is_int(out.opcode, CORRAL_FRAME_TEXT, "its opcode");
    is_int(out.rsv1, 1, "compressed");
    is_int(out.end, 0, "the frame goes on");
    corral_frame_mask(plain, b + out.data, out.len, out.key, out.phase);
    ok(memcmp(plain, "hel", 3) == 0, "unmasked");

    is_int(corral_frame_scan(&f, b + 9, 8, 0, &out), CORRAL_FRAME_PIECE,
           "second piece");
    corral_frame_mask(plain, b + 9 + out.data, out.len, out.key, out.phase);
    ok(out.len == 2 && memcmp(plain, "lo", 2) == 0, "unmasked with its phase");
    is_int(out.end, 1, "the frame ends");
    is_int(out.fin, 0, "the message does not");

    is_int(corral_frame_scan(&f, b + 11, 6, 0, &out), CORRAL_FRAME_PIECE,
           "an empty last fragment is a piece");
    is_int(out.len, 0, "without bytes");
    is_int(out.opcode, CORRAL_FRAME_TEXT, "of the same message");
    is_int(out.fin, 1, "which ends");
}


static void
frame_writers(void)
{
    size_t                  n, i, k;
    int                     same;
    uint8_t                 b[CORRAL_FRAME_CONTROL_MAX], in[70], out1[70];
    char                    reason[200];
    corral_frame_t          f;
    corral_frame_result_t   out;

    for (i = 0; i < 100; i++) {
        memcpy(reason + 2 * i, "\xc3\xa4", 2);
    }

    n = corral_frame_close(b, 1012, reason, 200, frame_key);
    is_int(n, 130, "a long reason is cut at a character");
    corral_frame_init(&f, C);
    is_int(corral_frame_scan(&f, b, n, 0, &out), CORRAL_FRAME_CONTROL,
           "the close reads back");
    is_int(out.code, 1012, "with its code");
    is_int(out.len, 124, "and 61 characters");
    ok(memcmp(out.payload + 2, reason, 122) == 0, "which are these");

    memset(reason, 'r', 200);
    n = corral_frame_close(b, 4401, reason, 200, frame_key);
    is_int(n, CORRAL_FRAME_CONTROL_MAX, "the longest control frame");
    n = corral_frame_control(b, CORRAL_FRAME_PING, reason, 200, NULL);
    is_int(n, 127, "a long ping is cut");
    n = corral_frame_close(b, 1006, "x", 1, NULL);
    is_int(n, 2, "1006 never goes out");

    for (i = 0; i < sizeof(in); i++) {
        in[i] = (uint8_t) (i * 7 + 1);
    }

    for (same = 1, n = 0; n < 40; n++) {
        for (k = 0; k < 8; k++) {
            corral_frame_mask(out1, in + k, n, frame_key, (unsigned) k);

            for (i = 0; i < n; i++) {
                same &= out1[i] == (in[k + i] ^ frame_key[(k + i) & 3]);
            }
        }
    }

    ok(same, "masking at all lengths and phases");

    memcpy(out1, in, sizeof(in));
    corral_frame_mask(out1, out1, sizeof(in), frame_key, 3);
    corral_frame_mask(out1, out1, sizeof(in), frame_key, 3);
    ok(memcmp(out1, in, sizeof(in)) == 0, "masking in place, twice");

    ok(corral_frame_code_valid(1000) && corral_frame_code_valid(1014)
       && corral_frame_code_valid(3000) && corral_frame_code_valid(4999),
       "valid codes");
    ok(!corral_frame_code_valid(1004) && !corral_frame_code_valid(1006)
       && !corral_frame_code_valid(1015) && !corral_frame_code_valid(2999)
       && !corral_frame_code_valid(5000), "codes that never go out");
}


int
main(void)
{
    srand(1);

    frame_sequence();
    frame_protocol();
    frame_deflate();
    frame_sizes();
    frame_states();
    frame_pieces();
    frame_writers();

    return done_testing();
}
