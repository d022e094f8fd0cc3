
/* links: ngx_module/corral_sse.c */

/*
 * Server-sent events of any bytes, cut anywhere: the events are those that a
 * reader finds who turns all line ends into LF first.
 */


#include "../../ngx_module/corral_sse.h"

#include <stdlib.h>
#include <string.h>


typedef struct {
    uint8_t  *data;
    size_t    len;
} sse_text_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
sse_add(sse_text_t *t, uint8_t c)
{
    t->data[t->len++] = c;
}


/* CR LF and CR to LF; what begins and ends an event is a NUL */

static void
sse_plain(const uint8_t *p, size_t n, sse_text_t *out)
{
    size_t   i, line, event;
    uint8_t  c;

    line = out->len;
    event = out->len;

    for (i = 0; i < n; i++) {
        c = p[i];

        if (c == '\r' && i + 1 < n && p[i + 1] == '\n') {
            i++;
        }

        if (c != '\r' && c != '\n') {
            sse_add(out, c);
            continue;
        }

        if (out->len == line && out->len == event) {
            sse_add(out, 1);
            event = line = out->len;
            continue;
        }

        if (out->len == line) {
            sse_add(out, 0);
            event = line = out->len;
            continue;
        }

        sse_add(out, '\n');
        line = out->len;
    }
}


/* the same with the scanner, pieces of step bytes */

static void
sse_scan(const uint8_t *p, size_t n, size_t step, sse_text_t *out)
{
    int                 rc;
    size_t              i, len, event, left;
    uint8_t            *open;
    corral_sse_t        s;
    corral_sse_part_t   part;

    memset(&s, 0, sizeof(s));
    open = malloc(n + 1);
    len = 0;

    for ( ; n; p += part.used, n -= part.used) {
        left = n < step ? n : step;

        rc = corral_sse_scan(&s, p, left, &part);

        if (part.start > part.end || part.end > part.used || part.used == 0
            || part.used > left
            || (rc == CORRAL_SSE_MORE && part.used != left))
        {
            abort();
        }

        memcpy(open + len, p + part.start, part.end - part.start);
        len += part.end - part.start;

        if (rc == CORRAL_SSE_MORE) {
            continue;
        }

        event = out->len;

        for (i = 0; i < len; i++) {
            if (open[i] == '\r' && i + 1 < len && open[i + 1] == '\n') {
                continue;
            }

            sse_add(out, open[i] == '\r' ? '\n' : open[i]);
        }

        sse_add(out, out->len == event ? 1 : 0);
        len = 0;
    }

    for (i = 0; i < len; i++) {
        if (open[i] == '\r' && i + 1 < len && open[i + 1] == '\n') {
            continue;
        }

        sse_add(out, open[i] == '\r' ? '\n' : open[i]);
    }

    free(open);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       i, step;
    uint64_t     seq;
    sse_text_t   want, got;

    if (size < 2) {
        return 0;
    }

    step = data[0] % 16 + 1;
    data++;
    size--;

    /* NUL and 1 are the borders of the comparison */

    for (i = 0; i < size; i++) {
        if (data[i] < 2) {
            return 0;
        }
    }

    want.data = malloc(2 * size + 2);
    got.data = malloc(2 * size + 2);
    want.len = 0;
    got.len = 0;

    sse_plain(data, size, &want);
    sse_scan(data, size, step, &got);

    if (want.len != got.len || memcmp(want.data, got.data, want.len) != 0) {
        abort();
    }

    (void) corral_sse_parse_id((const char *) data, size, &seq);

    free(want.data);
    free(got.data);

    return 0;
}
