/* links: ngx_module/corral_renew.c ngx_module/corral_frame.c */

/*
 * What renews a token among a client's frames, cut anywhere: the messages that
 * are taken out and all that passes are those that a reader finds who has the
 * whole stream in his hands.  Input: a seed of the cuts, then payloads, each
 * behind its kind and its length.
 */


#include "../../ngx_module/corral_renew.h"

#include <stdlib.h>
#include <string.h>


#define FUZZ_MAX  65536


typedef struct {
    uint8_t   passed[FUZZ_MAX];
    size_t    npassed;
    uint64_t  tokens;          /* hash over those taken out */
} fuzz_seen_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


/* the usual way of n bytes; returns how many may pass, or n + 1 at an error */

static size_t
fuzz_pass(fuzz_seen_t *s, corral_frame_t *f, const uint8_t *p, size_t n)
{
    int                    rc;
    size_t                 good;
    corral_frame_result_t  res;

    good = 0;

    do {
        rc = corral_frame_scan(f, p + good, n - good, 0, &res);

        memcpy(s->passed + s->npassed, p + good, res.good);
        s->npassed += res.good;
        good += res.good;

    } while (rc == CORRAL_FRAME_CONTROL || rc == CORRAL_FRAME_PIECE);

    return rc == CORRAL_FRAME_DONE ? good : n + 1;
}


static void
fuzz_token(fuzz_seen_t *s, const uint8_t *token, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        s->tokens = (s->tokens ^ token[i]) * 0x100000001b3;
    }

    s->tokens = (s->tokens ^ 0x100) * 0x100000001b3;
}


/* a frame that was found, whole; 0: the stream is broken */

static int
fuzz_frame(fuzz_seen_t *s, corral_frame_t *f, const uint8_t *p, size_t n)
{
    size_t   len;
    uint8_t  token[CORRAL_RENEW_TOKEN];

    len = corral_renew_token(p, n, token);

    if (len) {
        fuzz_token(s, token, len);
        return 1;
    }

    return fuzz_pass(s, f, p, n) == n;
}


/* as the relay does it; each read brings some bytes, or all with seed 0 */

static void
fuzz_run(fuzz_seen_t *s, const uint8_t *p, size_t n, unsigned seed)
{
    int             rc;
    size_t          have, at, len, good;
    corral_frame_t  f;

    memset(s, 0, sizeof(*s));
    corral_frame_init(&f, CORRAL_FRAME_MASKED);
    have = 0;

    while (have < n) {
        have += seed ? 1 + (seed >> 16) % 37 : n;
        have = have > n ? n : have;
        seed = seed ? (seed * 1103515245 + 12345) | 1 : 0;

        while (have) {
            at = have;
            len = 0;
            rc = corral_renew_find(&f, p, have, &at, &len);

            fuzz_check(at <= have);

            if (at == 0 && rc == CORRAL_RENEW_MORE) {
                fuzz_check(have < CORRAL_RENEW_HOLD);
                break;
            }

            if (at == 0 && len > have) {
                break;
            }

            if (at == 0) {
                good = len;

                if (!fuzz_frame(s, &f, p, len)) {
                    return;
                }

            } else {
                good = fuzz_pass(s, &f, p, at);

                if (good > at) {
                    return;
                }
            }

            p += good;
            n -= good;
            have -= good;

            if (good < at) {
                break;                      /* a rest, to come again */
            }
        }
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    n, len;
    unsigned  seed, kind;

    static uint8_t        stream[FUZZ_MAX];
    static fuzz_seen_t    whole, cut;
    static const char     head[] = "{\"type\":\"corral.renew\",\"token\":\"";
    static const uint8_t  first[] = { 0x81, 0x01, 0x80, 0x82, 0x89, 0x00,
                                      0xc1, 0x81 };

    if (size < 2) {
        return 0;
    }

    seed = data[0] | 1;
    data++;
    size--;

    for (n = 0; size >= 2 && n < FUZZ_MAX - 1024; /* void */) {
        kind = data[0];
        len = data[1];
        data += 2;
        size -= 2;
        len = len > size ? size : len;

        if (kind & 0x40) {              /* the input is a token */
            uint8_t  text[512];

            memcpy(text, head, sizeof(head) - 1);
            memcpy(text + sizeof(head) - 1, data, len);
            memcpy(text + sizeof(head) - 1 + len, "\"}", 2);

            n += corral_frame_header(stream + n, first[kind & 7],
                                     sizeof(head) + 1 + len,
                                     (uint8_t *) "\x01\x80\x7f\x33");
            corral_frame_mask(stream + n, text, sizeof(head) + 1 + len,
                              (uint8_t *) "\x01\x80\x7f\x33", 0);
            n += sizeof(head) + 1 + len;

        } else if (kind & 0x20) {       /* anything at all */
            memcpy(stream + n, data, len);
            n += len;

        } else {
            if ((first[kind & 7] & 8) && len > 125) {
                len = 125;
            }

            n += corral_frame_header(stream + n, first[kind & 7], len,
                                     (uint8_t *) "\x01\x80\x7f\x33");
            corral_frame_mask(stream + n, data, len,
                              (uint8_t *) "\x01\x80\x7f\x33", 0);
            n += len;
        }

        data += len;
        size -= len;
    }

    fuzz_run(&whole, stream, n, 0);
    fuzz_run(&cut, stream, n, seed);

    fuzz_check(whole.tokens == cut.tokens && whole.npassed == cut.npassed
               && memcmp(whole.passed, cut.passed, cut.npassed) == 0);

    return 0;
}
