
/*
 * The text in which a process tells its counts to other gateways.
 * See corral_counts.c.
 */


#ifndef _CORRAL_COUNTS_H_INCLUDED_
#define _CORRAL_COUNTS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_COUNTS_ZONE      16      /* bytes of a zone's nonce */
#define CORRAL_COUNTS_KEY_MAX   96
#define CORRAL_COUNTS_LINE_MAX  (CORRAL_COUNTS_KEY_MAX + 13)     /* with NUL */
#define CORRAL_COUNTS_HEAD_MAX  (CORRAL_COUNTS_ZONE + 4)


/* a text while it is read, and the line that was read last */

typedef struct {
    const char     *next;
    const char     *end;
    const char     *zone;               /* CORRAL_COUNTS_ZONE bytes */
    const char     *key;
    size_t          len;
    uint32_t        count;
} corral_counts_t;


size_t corral_counts_head(char *buf, const char *zone);
size_t corral_counts_line(char *buf, const char *key, size_t len,
    uint32_t count);
int corral_counts_open(corral_counts_t *counts, const char *text, size_t len);
int corral_counts_next(corral_counts_t *counts);


#endif /* _CORRAL_COUNTS_H_INCLUDED_ */
