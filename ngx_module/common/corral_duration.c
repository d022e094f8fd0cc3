
/*
 * Durations: "1500ms", "30s", "5m", "1h", "1d", several units from the greatest
 * to the smallest ("1m30s"), or an integer of seconds.
 *
 * Pure: no I/O, no clock, no allocation.  Both programs use it.
 */


#include "corral_duration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>


typedef struct {
    char       name[3];
    int64_t    ms;
} corral_duration_unit_t;


static const corral_duration_unit_t  corral_duration_units[] = {
    { "d",  86400000 },
    { "h",  3600000 },
    { "m",  60000 },
    { "s",  1000 },
    { "ms", 1 }
};

#define CORRAL_DURATION_UNITS  5
#define CORRAL_DURATION_DAY    0
#define CORRAL_DURATION_SECOND 3


/*
 * The unit that begins at text, not before unit "first"; *len gets its length.
 * Returns CORRAL_DURATION_UNITS if there is none.
 */

static unsigned
corral_duration_unit(const char *text, size_t rest, unsigned first,
    size_t *len)
{
    unsigned  i;

    /* up to the next digit, so that "ms" is not read as "m" */

    for (*len = 0; *len < rest; (*len)++) {
        if (text[*len] >= '0' && text[*len] <= '9') {
            break;
        }
    }

    for (i = first; i < CORRAL_DURATION_UNITS; i++) {
        if (*len == strlen(corral_duration_units[i].name)
            && memcmp(text, corral_duration_units[i].name, *len) == 0)
        {
            return i;
        }
    }

    return CORRAL_DURATION_UNITS;
}


/*
 * Reads a whole text of len bytes, which need not end with NUL.  Digits without
 * a unit are seconds, if they are all there is.  Returns milliseconds, or -1:
 * not a duration (no sign, space or fraction is allowed, a unit stands once,
 * greater ones first) or more than INT64_MAX.
 */

int64_t
corral_duration_parse(const char *text, size_t len)
{
    size_t    pos, start, taken;
    int64_t   sum, n, digit;
    unsigned  unit, first;

    pos = 0;
    sum = 0;
    first = CORRAL_DURATION_DAY;

    do {
        start = pos;
        n = 0;

        for ( /* void */ ; pos < len; pos++) {
            if (text[pos] < '0' || text[pos] > '9') {
                break;
            }

            digit = text[pos] - '0';

            if (n > (INT64_MAX - digit) / 10) {
                return -1;
            }

            n = n * 10 + digit;
        }

        if (pos == start) {
            return -1;
        }

        if (pos == len) {
            return start == 0 ? corral_duration_seconds(n) : -1;
        }

        unit = corral_duration_unit(text + pos, len - pos, first, &taken);

        if (unit == CORRAL_DURATION_UNITS
            || n > (INT64_MAX - sum) / corral_duration_units[unit].ms)
        {
            return -1;
        }

        sum += n * corral_duration_units[unit].ms;
        first = unit + 1;
        pos += taken;

    } while (pos < len);

    return sum;
}


/* Milliseconds of an integer of seconds; -1 if negative or too many. */

int64_t
corral_duration_seconds(int64_t seconds)
{
    if (seconds < 0 || seconds > INT64_MAX / 1000) {
        return -1;
    }

    return seconds * 1000;
}


/*
 * Writes a duration that corral_duration_parse() reads back to the same value:
 * "1m30s", "0s"; all in milliseconds if it is not whole seconds.  Returns its
 * length, as snprintf() does; CORRAL_DURATION_TEXT bytes fit any.  A negative
 * one gives an empty text.
 */

size_t
corral_duration_print(int64_t ms, char *buf, size_t size)
{
    size_t    len;
    int64_t   n;
    unsigned  i;
    char      text[CORRAL_DURATION_TEXT];

    len = 0;
    text[0] = '\0';

    if (ms % 1000 != 0 && ms > 0) {
        len = (size_t) snprintf(text, sizeof(text), "%" PRId64 "ms", ms);
        ms = -1;
    }

    for (i = 0; i <= CORRAL_DURATION_SECOND && ms >= 0; i++) {
        n = ms / corral_duration_units[i].ms;
        ms %= corral_duration_units[i].ms;

        if (n > 0 || (i == CORRAL_DURATION_SECOND && len == 0)) {
            len += (size_t) snprintf(text + len, sizeof(text) - len,
                                     "%" PRId64 "%s", n,
                                     corral_duration_units[i].name);
        }
    }

    if (size > 0) {
        snprintf(buf, size, "%s", text);
    }

    return len;
}
