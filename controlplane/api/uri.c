
/*
 * Request targets: percent-encoding, patterns of paths, queries, and pages of
 * sorted lists.
 *
 * A path is matched segment by segment before anything is decoded, so that an
 * encoded slash is a part of a name and never a separator.
 *
 * Pure: no I/O, no clock, no globals.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uri.h"


static int corrald_uri_hex(int c);
static int corrald_uri_up(const void *a, const void *b);
static int corrald_uri_down(const void *a, const void *b);
static int corrald_uri_compare(const corrald_uri_row_t *a,
    const corrald_uri_row_t *b);
static int corrald_uri_read_cursor(const char *cursor, const char *sort,
    int descending, char *text, size_t size, corrald_uri_row_t *row);


/*
 * Decodes percent-encoding.  Returns the length; -1 when it is broken, holds
 * an encoded NUL, or does not fit.
 */

int
corrald_uri_decode(char *dst, size_t size, const char *src, size_t len)
{
    int     high, low;
    size_t  i, n;

    for (i = 0, n = 0; i < len; i++) {

        if (n + 1 >= size) {
            return -1;
        }

        if (src[i] != '%') {
            dst[n++] = src[i];
            continue;
        }

        if (i + 2 >= len) {
            return -1;
        }

        high = corrald_uri_hex(src[i + 1]);
        low = corrald_uri_hex(src[i + 2]);

        if (high == -1 || low == -1 || high * 16 + low == 0) {
            return -1;
        }

        dst[n++] = (char) (high * 16 + low);
        i += 2;
    }

    dst[n] = '\0';

    return (int) n;
}


/*
 * Parses a query string.  Returns a new object of strings; a name that is
 * given twice has its values joined by a comma.  NULL: the encoding is broken
 * or a value is not UTF-8.
 */

json_t *
corrald_uri_query(const char *text)
{
    char        *copy, *name, *value;
    size_t       len, split, i;
    json_t      *query, *was, *now;
    const char  *p;

    query = json_object();
    len = strlen(text);
    copy = malloc(2 * len + 4);

    if (query == NULL || copy == NULL) {
        goto failed;
    }

    for (p = text; *p; p += len + (p[len] == '&')) {
        len = strcspn(p, "&");
        split = strcspn(p, "=&");

        if (len == 0) {
            continue;
        }

        name = copy;
        value = copy + split + 1;

        if (corrald_uri_decode(name, split + 1, p, split) == -1
            || corrald_uri_decode(value, len + 1,
                                  split < len ? p + split + 1 : "",
                                  split < len ? len - split - 1 : 0)
               == -1)
        {
            goto failed;
        }

        /* blanks of a form; a plus that is meant is encoded */

        for (i = 0; value[i]; i++) {
            if (value[i] == '+' && split < len) {
                value[i] = ' ';
            }
        }

        was = json_object_get(query, name);
        now = was ? json_sprintf("%s,%s", json_string_value(was), value)
                  : json_string(value);

        if (now == NULL || json_object_set_new(query, name, now) != 0) {
            goto failed;
        }
    }

    free(copy);

    return query;

failed:

    free(copy);
    json_decref(query);

    return NULL;
}


/*
 * Compares a path with a pattern whose segments in braces stand for any one
 * segment.  Returns 1 with the decoded segments in params, 0 when the path
 * does not match, -1 when it would but a segment is broken.
 */

int
corrald_uri_match(const char *pattern, const char *path,
    char (*params)[CORRALD_URI_PARAM_SIZE])
{
    int     n;
    size_t  a, b;

    for (n = 0; *pattern == '/' && *path == '/'; pattern += a, path += b) {
        pattern++;
        path++;

        a = strcspn(pattern, "/");
        b = strcspn(path, "/");

        if (*pattern == '{') {
            if (b == 0) {
                return 0;
            }

            if (n < CORRALD_URI_PARAMS
                && corrald_uri_decode(params[n], CORRALD_URI_PARAM_SIZE, path,
                                      b)
                   == -1)
            {
                params[n][0] = '\0';
                return -1;
            }

            n++;
            continue;
        }

        if (a != b || memcmp(pattern, path, a) != 0) {
            return 0;
        }
    }

    return *pattern == '\0' && *path == '\0';
}


void
corrald_uri_sort(corrald_uri_row_t *rows, size_t n, int descending)
{
    if (n) {
        qsort(rows, n, sizeof(*rows),
              descending ? corrald_uri_down : corrald_uri_up);
    }
}


/*
 * Finds a page of sorted rows: behind the cursor of the page before, or from
 * an offset.  A cursor names the last row seen, so that rows which come or go
 * meanwhile shift nothing.  Returns -1 when the cursor is not one of ours or
 * belongs to another order.
 */

int
corrald_uri_page(corrald_uri_page_t *page, const corrald_uri_row_t *rows,
    size_t n, const char *sort, int descending, const char *cursor,
    int64_t offset, int64_t limit)
{
    int                 c;
    char                text[256];
    size_t              i, low, high;
    corrald_uri_row_t   seen;

    memset(page, 0, sizeof(*page));

    page->total = n;
    page->limit = limit;
    page->first = (size_t) offset < n ? (size_t) offset : n;

    if (cursor) {
        if (corrald_uri_read_cursor(cursor, sort, descending, text,
                                    sizeof(text), &seen)
            == -1)
        {
            return -1;
        }

        for (low = 0, high = n; low < high; /* void */ ) {
            i = low + (high - low) / 2;
            c = corrald_uri_compare(&rows[i], &seen);

            if ((descending ? -c : c) <= 0) {
                low = i + 1;

            } else {
                high = i;
            }
        }

        page->first = low;
    }

    page->end = n - page->first > (size_t) limit
                ? page->first + (size_t) limit : n;
    page->more = page->end < n;

    if (page->more && page->end > page->first) {
        snprintf(text, sizeof(text), "%s%s|%.120s|%.80s",
                 descending ? "-" : "", sort, rows[page->end - 1].key,
                 rows[page->end - 1].id);

        for (i = 0; text[i] && 2 * i + 2 < sizeof(page->cursor); i++) {
            snprintf(page->cursor + 2 * i, 3, "%02x",
                     (unsigned char) text[i]);
        }
    }

    return 0;
}


/* Whether word is one of a list that commas separate. */

int
corrald_uri_word(const char *list, const char *word)
{
    size_t       len, n;
    const char  *p;

    n = strlen(word);

    for (p = list; *p; p += len + (p[len] == ',')) {
        len = strcspn(p, ",");

        if (len == n && memcmp(p, word, n) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
corrald_uri_hex(int c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}


static int
corrald_uri_compare(const corrald_uri_row_t *a, const corrald_uri_row_t *b)
{
    int  c;

    c = strcmp(a->key, b->key);

    return c ? c : strcmp(a->id, b->id);
}


static int
corrald_uri_up(const void *a, const void *b)
{
    return corrald_uri_compare(a, b);
}


static int
corrald_uri_down(const void *a, const void *b)
{
    return corrald_uri_compare(b, a);
}


/* The text in hexadecimal is "order|key|id"; key and id point into text. */

static int
corrald_uri_read_cursor(const char *cursor, const char *sort, int descending,
    char *text, size_t size, corrald_uri_row_t *row)
{
    int     high, low;
    char   *key, *id;
    size_t  i, len;

    len = strlen(cursor);

    if (len % 2 || len / 2 >= size) {
        return -1;
    }

    for (i = 0; i < len / 2; i++) {
        high = corrald_uri_hex(cursor[2 * i]);
        low = corrald_uri_hex(cursor[2 * i + 1]);

        if (high == -1 || low == -1) {
            return -1;
        }

        text[i] = (char) (high * 16 + low);
    }

    text[i] = '\0';

    key = strchr(text, '|');
    id = key ? strchr(key + 1, '|') : NULL;

    if (id == NULL) {
        return -1;
    }

    *key++ = '\0';
    *id++ = '\0';

    if ((*text == '-') != (descending != 0)
        || strcmp(text + (*text == '-'), sort) != 0)
    {
        return -1;
    }

    row->key = key;
    row->id = id;

    return 0;
}
