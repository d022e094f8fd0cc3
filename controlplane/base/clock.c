
/*
 * Clocks and RFC 3339.  No library, no allocation.
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"


/* Milliseconds since 1970, of the wall clock: for people and for leases. */

int64_t
corrald_clock_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* Milliseconds of a clock that is never set: for intervals. */

int64_t
corrald_clock_monotonic(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* Writes RFC 3339 in UTC with milliseconds; size: CORRALD_CLOCK_SIZE. */

const char *
corrald_clock_format(int64_t ms, char *buf, size_t size)
{
    char       day[24];
    time_t     t;
    struct tm  tm;

    t = (time_t) (ms / 1000);

    if (ms < 0 || gmtime_r(&t, &tm) == NULL) {
        snprintf(buf, size, "1970-01-01T00:00:00.000Z");
        return buf;
    }

    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, size, "%s.%03dZ", day, (int) (ms % 1000));

    return buf;
}


/* The time now. */

const char *
corrald_clock_now(char *buf, size_t size)
{
    return corrald_clock_format(corrald_clock_ms(), buf, size);
}


/*
 * Reads RFC 3339 with any offset and any number of digits after the second,
 * and the same without an offset, taken as UTC (MyAgent writes such times).
 * Returns milliseconds since 1970, or -1.
 */

int64_t
corrald_clock_parse(const char *text)
{
    int          n, ms, digits, hours, minutes;
    char         sign;
    int64_t      offset;
    struct tm    tm;
    const char  *p;

    memset(&tm, 0, sizeof(tm));
    n = 0;

    if (sscanf(text, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year,
               &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec,
               &n)
        != 6
        || n != 19)
    {
        return -1;
    }

    if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12
        || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour < 0
        || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59
        || tm.tm_sec < 0 || tm.tm_sec > 60)
    {
        return -1;
    }

    tm.tm_year -= 1900;
    tm.tm_mon--;

    p = text + n;
    ms = 0;

    if (*p == '.') {
        for (p++, digits = 0; *p >= '0' && *p <= '9'; p++, digits++) {
            if (digits < 3) {
                ms = ms * 10 + (*p - '0');
            }
        }

        if (digits == 0) {
            return -1;
        }

        for ( /* void */ ; digits < 3; digits++) {
            ms *= 10;
        }
    }

    offset = 0;

    if (*p == 'Z' || *p == 'z') {
        p++;

    } else if (*p == '+' || *p == '-') {
        n = 0;

        if (sscanf(p, "%c%2d:%2d%n", &sign, &hours, &minutes, &n) != 3
            || n != 6 || hours < 0 || hours > 23 || minutes < 0
            || minutes > 59)
        {
            return -1;
        }

        offset = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
        p += n;
    }

    if (*p != '\0') {
        return -1;
    }

    return ((int64_t) timegm(&tm) - offset) * 1000 + ms;
}
