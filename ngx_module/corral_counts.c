
/*
 * Counts of a process as text, for Redis: a line with the version and the nonce
 * of the zone it counts in, and a line for each instance and service of which
 * it holds something:
 *
 *     1 0123456789abcdef
 *     i:chat.x7f2:3 17
 *     s:5b0c... 17
 *
 * What comes back may be anything: a line that is not well formed ends the
 * reading, what was read before it is good.  Pure.
 */


#include "corral_counts.h"

#include <stdio.h>
#include <string.h>


/*
 * Prints the first line; buf has CORRAL_COUNTS_HEAD_MAX bytes.  Returns the
 * length, here and below without the NUL behind it.
 */

size_t
corral_counts_head(char *buf, const char *zone)
{
    return (size_t) snprintf(buf, CORRAL_COUNTS_HEAD_MAX, "1 %.*s\n",
                             CORRAL_COUNTS_ZONE, zone);
}


/* A line; buf has CORRAL_COUNTS_LINE_MAX bytes, key at most _KEY_MAX. */

size_t
corral_counts_line(char *buf, const char *key, size_t len, uint32_t count)
{
    return (size_t) snprintf(buf, CORRAL_COUNTS_LINE_MAX, "%.*s %u\n",
                             (int) len, key, count);
}


/*
 * Begins to read a text, which must outlive the reading.  Returns 0, or -1 if
 * it is not one of ours.
 */

int
corral_counts_open(corral_counts_t *counts, const char *text, size_t len)
{
    if (len < CORRAL_COUNTS_ZONE + 3 || memcmp(text, "1 ", 2) != 0
        || text[CORRAL_COUNTS_ZONE + 2] != '\n')
    {
        return -1;
    }

    counts->zone = text + 2;
    counts->next = text + CORRAL_COUNTS_ZONE + 3;
    counts->end = text + len;

    return 0;
}


/* Reads a line: key, len and count are set.  Returns 1, or 0 at the end. */

int
corral_counts_next(corral_counts_t *counts)
{
    uint64_t     n;
    const char  *p, *space;

    space = memchr(counts->next, ' ', (size_t) (counts->end - counts->next));

    if (space == NULL || space == counts->next
        || space - counts->next > CORRAL_COUNTS_KEY_MAX)
    {
        return 0;
    }

    n = 0;

    for (p = space + 1; p < counts->end && *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (uint64_t) (*p - '0');

        if (n > UINT32_MAX) {
            return 0;
        }
    }

    if (p == space + 1 || p == counts->end || *p != '\n') {
        return 0;
    }

    counts->key = counts->next;
    counts->len = (size_t) (space - counts->next);
    counts->count = (uint32_t) n;
    counts->next = p + 1;

    return 1;
}
