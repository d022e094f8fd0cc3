
/*
 * A growing buffer with a declared maximum.  See buf.c.
 */


#ifndef _CORRALD_BUF_H_INCLUDED_
#define _CORRALD_BUF_H_INCLUDED_


#include <stddef.h>


/*
 * data is always followed by a NUL that len does not count, also when the
 * buffer is empty.  Once an addition did not fit or memory was short, failed
 * is set and nothing more is added: a writer may check once, at its end.
 */

typedef struct {
    char         *data;
    size_t        len;
    size_t        size;              /* allocated, without the NUL */
    size_t        max;               /* of len */
    int           failed;
} corrald_buf_t;


void corrald_buf_init(corrald_buf_t *b, size_t max);
void corrald_buf_free(corrald_buf_t *b);
void corrald_buf_clear(corrald_buf_t *b);
int corrald_buf_reserve(corrald_buf_t *b, size_t more);
int corrald_buf_add(corrald_buf_t *b, const void *data, size_t len);
int corrald_buf_str(corrald_buf_t *b, const char *s);
int corrald_buf_printf(corrald_buf_t *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int corrald_buf_quote(corrald_buf_t *b, const char *s, size_t len);
void corrald_buf_drop(corrald_buf_t *b, size_t len);
char *corrald_buf_take(corrald_buf_t *b, size_t *len);


#endif /* _CORRALD_BUF_H_INCLUDED_ */
