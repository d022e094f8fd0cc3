
/*
 * Durations as documents and configuration files write them.
 * See corral_duration.c.
 */


#ifndef _CORRAL_DURATION_H_INCLUDED_
#define _CORRAL_DURATION_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_DURATION_TEXT  32    /* bytes that fit any duration, with NUL */


int64_t corral_duration_parse(const char *text, size_t len);
int64_t corral_duration_seconds(int64_t seconds);
size_t corral_duration_print(int64_t ms, char *buf, size_t size);


#endif /* _CORRAL_DURATION_H_INCLUDED_ */
