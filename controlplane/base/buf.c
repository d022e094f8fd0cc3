
/*
 * A growing buffer that knows its maximum: what comes from outside can make
 * it fail, but not grow for ever.
 */


#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"


static char  corrald_buf_empty[1];


/* Makes an empty buffer; nothing is allocated before the first addition. */

void
corrald_buf_init(corrald_buf_t *b, size_t max)
{
    b->data = corrald_buf_empty;
    b->len = 0;
    b->size = 0;
    b->max = max;
    b->failed = 0;
}


/* Gives the memory back and makes the buffer empty again. */

void
corrald_buf_free(corrald_buf_t *b)
{
    if (b->size) {
        free(b->data);
    }

    corrald_buf_init(b, b->max);
}


/* Makes the buffer empty but keeps its memory. */

void
corrald_buf_clear(corrald_buf_t *b)
{
    b->len = 0;
    b->failed = 0;

    if (b->size) {
        b->data[0] = '\0';
    }
}


/*
 * Makes room for more bytes behind len.  Returns 0; -1 and failed when the
 * maximum would be passed or memory is short.
 */

int
corrald_buf_reserve(corrald_buf_t *b, size_t more)
{
    char    *data;
    size_t   need, size;

    if (b->failed) {
        return -1;
    }

    if (more > b->max || b->len > b->max - more) {
        b->failed = 1;
        return -1;
    }

    need = b->len + more;

    if (need <= b->size && b->size) {
        return 0;
    }

    size = b->size ? b->size : 64;

    while (size < need) {
        size *= 2;
    }

    if (size > b->max && b->max >= need && b->max > 0) {
        size = b->max;
    }

    data = realloc(b->size ? b->data : NULL, size + 1);
    if (data == NULL) {
        b->failed = 1;
        return -1;
    }

    b->data = data;
    b->size = size;
    b->data[b->len] = '\0';

    return 0;
}


/* Appends all of it or nothing.  Returns 0 or -1, see corrald_buf_reserve. */

int
corrald_buf_add(corrald_buf_t *b, const void *data, size_t len)
{
    if (corrald_buf_reserve(b, len) != 0) {
        return -1;
    }

    if (len) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
        b->data[b->len] = '\0';
    }

    return 0;
}


int
corrald_buf_str(corrald_buf_t *b, const char *s)
{
    return corrald_buf_add(b, s, strlen(s));
}


int
corrald_buf_printf(corrald_buf_t *b, const char *fmt, ...)
{
    int      n;
    va_list  args, again;

    va_start(args, fmt);
    va_copy(again, args);

    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    if (n < 0 || corrald_buf_reserve(b, (size_t) n) != 0) {
        b->failed = 1;
        va_end(again);
        return -1;
    }

    vsnprintf(b->data + b->len, (size_t) n + 1, fmt, again);
    va_end(again);

    b->len += (size_t) n;

    return 0;
}


/* Appends s as a JSON string with its quotes; bytes above 0x7f pass. */

int
corrald_buf_quote(corrald_buf_t *b, const char *s, size_t len)
{
    size_t  i, start;

    corrald_buf_add(b, "\"", 1);

    for (i = 0, start = 0; i < len; i++) {

        if ((unsigned char) s[i] >= 0x20 && s[i] != '"' && s[i] != '\\') {
            continue;
        }

        corrald_buf_add(b, s + start, i - start);
        start = i + 1;

        if (s[i] == '"' || s[i] == '\\') {
            corrald_buf_printf(b, "\\%c", s[i]);

        } else {
            corrald_buf_printf(b, "\\u%04x", (unsigned char) s[i]);
        }
    }

    corrald_buf_add(b, s + start, len - start);

    return corrald_buf_add(b, "\"", 1);
}


/* Takes len bytes (at most all) away from the front. */

void
corrald_buf_drop(corrald_buf_t *b, size_t len)
{
    if (len >= b->len) {
        corrald_buf_clear(b);
        return;
    }

    memmove(b->data, b->data + len, b->len - len + 1);
    b->len -= len;
}


/*
 * Hands the content over: the caller frees it.  The buffer is empty then.
 * Returns NULL when the buffer has failed or memory is short.
 */

char *
corrald_buf_take(corrald_buf_t *b, size_t *len)
{
    char  *data;

    if (b->failed || corrald_buf_reserve(b, 0) != 0) {
        return NULL;
    }

    data = b->data;

    if (len) {
        *len = b->len;
    }

    corrald_buf_init(b, b->max);

    return data;
}
