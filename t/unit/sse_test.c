/* links: ngx_module/corral_sse.c */

/* Where server-sent events end, however their bytes are cut; ids. */


#include "../../ngx_module/corral_sse.h"

#include "unit.h"

#include <stdlib.h>


#define SSE_OUT  256       /* more than any of the streams */


/* events in brackets, comments in parentheses, what is open at the end */

typedef struct {
    const char   *stream;
    const char   *want;
} sse_case_t;


static const sse_case_t  cases[] = {
    { "data: a\n\n", "[data: a|]" },
    { "data: a\r\n\r\n", "[data: a;|]" },
    { "data: a\r\r", "[data: a;]" },
    { "data: a\r\rdata: b\r\r", "[data: a;][data: b;]" },
    { "data: a\r\n\r\ndata: b\n\n", "[data: a;|][data: b|]" },
    { "data: a\ndata: b\n\n", "[data: a|data: b|]" },
    { "event: x\r\ndata: b\n\r\n", "[event: x;|data: b|]" },
    { ": hi\n\n", "(: hi|)" },
    { ": hi\ndata: a\n\n", "[: hi|data: a|]" },
    { "data: a\n: hi\n\n", "[data: a|: hi|]" },
    { ":\r\n\r\n:\r\n\r\n", "(:;|)(:;|)" },
    { "\n\n\r\r\n", "()()()()" },
    { "data: a\n", "data: a|" },
    { "data: a", "data: a" },
    { "data\n\n", "[data|]" },
    { "data: :\n\n", "[data: :|]" }
};


/* LF is shown as "|", CR as ";"; the stream is cut into pieces of step bytes */

static void
sse_run(const char *stream, size_t step, char *out)
{
    int                 rc;
    char                open[SSE_OUT];
    size_t              n, i, len, used;
    corral_sse_t        s;
    corral_sse_part_t   part;

    memset(&s, 0, sizeof(s));
    len = 0;
    *out = '\0';

    for ( ; *stream; stream += used) {
        n = strlen(stream);
        n = n < step ? n : step;

        rc = corral_sse_scan(&s, (const uint8_t *) stream, n, &part);

        for (i = part.start; i < part.end; i++) {
            open[len++] = stream[i] == '\n' ? '|'
                          : (stream[i] == '\r' ? ';' : stream[i]);
        }

        open[len] = '\0';
        used = part.used;

        if (rc != CORRAL_SSE_MORE) {
            out += snprintf(out, SSE_OUT,
                            rc == CORRAL_SSE_EVENT ? "[%s]" : "(%s)", open);
            len = 0;
            open[0] = '\0';
        }
    }

    if (len) {
        snprintf(out, SSE_OUT, "%s", open);
    }
}


static void
sse_test_id(const char *id, int rc, uint64_t want, const char *name)
{
    int       got;
    uint64_t  seq;

    seq = 0;
    got = corral_sse_parse_id(id, strlen(id), &seq);

    ok(got == rc && (rc != 0 || seq == want), name);
}


int
main(void)
{
    char                out[4 * SSE_OUT], name[64];
    size_t              i, step;
    corral_sse_t        s;
    corral_sse_part_t   part;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (step = 1; step < 40; step += 3) {
            sse_run(cases[i].stream, step, out);

            snprintf(name, sizeof(name), "case %zu by %zu bytes", i, step);
            is_str(out, cases[i].want, name);
        }
    }

    memset(&s, 0, sizeof(s));
    is_int(corral_sse_scan(&s, (const uint8_t *) "data: a\r\r", 9, &part),
           CORRAL_SSE_EVENT, "an event that ends with CR ends at once");
    is_int(corral_sse_scan(&s, (const uint8_t *) "\ndata", 5, &part),
           CORRAL_SSE_MORE, "its LF comes later");
    is_int((int64_t) part.start, 1, "and is left out");

#define RUN  "0123456789abcdef0123456789abcdef"

    sse_test_id(RUN "-1", 0, 1, "an id");
    sse_test_id(RUN "-18446744073709551615", 0, UINT64_MAX, "the last one");
    sse_test_id(RUN "-18446744073709551616", -1, 0, "too great");
    sse_test_id(RUN "-", -1, 0, "no number");
    sse_test_id(RUN "-1x", -1, 0, "a letter");
    sse_test_id(RUN "1", -1, 0, "no dash");
    sse_test_id("0123456789ABCDEF0123456789abcdef-1", -1, 0, "capitals");
    sse_test_id("42", -1, 0, "somebody else's");
    sse_test_id("", -1, 0, "empty");

    return done_testing();
}
