
/*
 * The borders of server-sent events.  Lines end with LF, CR or CR LF, in any
 * mixture; an empty line ends an event.  The LF of a CR LF that comes later is
 * left out, so that nobody has to wait for it.
 *
 * What an event says is not looked at, but for one thing: comments alone are
 * no event and have no id.
 *
 * Pure: no I/O, no clock, no allocation; the state is the caller's.
 */


#include "corral_sse.h"


#define CORRAL_SSE_CR_LAST  2      /* the CR ended an event */


/*
 * Scans n bytes, at least one.  The bytes p[start .. end) are of the open
 * event, each of its lines with its end, but without the empty line; call again
 * with p + used.
 */

int
corral_sse_scan(corral_sse_t *s, const uint8_t *p, size_t n,
    corral_sse_part_t *part)
{
    int      rc;
    size_t   i;
    uint8_t  c;

    part->start = 0;

    for (i = 0; i < n; i++) {
        c = p[i];

        if (c == '\n' && s->cr) {

            if (s->cr == CORRAL_SSE_CR_LAST) {
                part->start = 1;        /* it is the first byte of this call */
            }

            s->cr = 0;
            continue;
        }

        s->cr = (c == '\r');

        if (c != '\r' && c != '\n') {

            if (!s->middle && c != ':') {
                s->field = 1;
            }

            s->middle = 1;
            continue;
        }

        if (s->middle) {
            s->middle = 0;
            continue;
        }

        if (s->cr) {
            s->cr = CORRAL_SSE_CR_LAST;
        }

        part->end = i;
        part->used = i + 1;

        rc = s->field ? CORRAL_SSE_EVENT : CORRAL_SSE_NOTHING;
        s->field = 0;

        return rc;
    }

    part->end = n;
    part->used = n;

    return CORRAL_SSE_MORE;
}


/*
 * Reads an id of ours: the run, "-" and the number of an event in it, from 1.
 * 0 and the number in *seq, or -1 if it is somebody else's.
 */

int
corral_sse_parse_id(const char *id, size_t len, uint64_t *seq)
{
    size_t    i;
    unsigned  digit;

    if (len < CORRAL_SSE_RUN + 2 || len > CORRAL_SSE_ID_MAX
        || id[CORRAL_SSE_RUN] != '-')
    {
        return -1;
    }

    for (i = 0; i < CORRAL_SSE_RUN; i++) {
        if (!((id[i] >= '0' && id[i] <= '9')
              || (id[i] >= 'a' && id[i] <= 'f')))
        {
            return -1;
        }
    }

    *seq = 0;

    for (i++; i < len; i++) {
        digit = (unsigned) (id[i] - '0');

        if (digit > 9 || *seq > (UINT64_MAX - digit) / 10) {
            return -1;
        }

        *seq = *seq * 10 + digit;
    }

    return 0;
}
