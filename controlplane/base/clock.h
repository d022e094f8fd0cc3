
/*
 * Times: the wall clock in milliseconds since 1970, the monotonic one for
 * intervals, RFC 3339 in UTC.  See clock.c.
 */


#ifndef _CORRALD_CLOCK_H_INCLUDED_
#define _CORRALD_CLOCK_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRALD_CLOCK_SIZE  32       /* "2026-11-20T18:30:00.123Z" and a NUL */


int64_t corrald_clock_ms(void);
int64_t corrald_clock_monotonic(void);
const char *corrald_clock_format(int64_t ms, char *buf, size_t size);
const char *corrald_clock_now(char *buf, size_t size);
int64_t corrald_clock_parse(const char *text);


#endif /* _CORRALD_CLOCK_H_INCLUDED_ */
