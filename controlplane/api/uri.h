
/*
 * Request targets: paths, queries, pages.  Pure.  See uri.c.
 */


#ifndef _CORRALD_URI_H_INCLUDED_
#define _CORRALD_URI_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>


/* Parameters of one path: "/services/{service}/instances" has one. */

#define CORRALD_URI_PARAMS      3
#define CORRALD_URI_PARAM_SIZE  256


typedef struct {
    const char   *key;               /* sorted by it, then by id */
    const char   *id;
    void         *data;
} corrald_uri_row_t;


typedef struct {
    size_t        first;             /* index of the first row of the page */
    size_t        end;               /* index behind its last row */
    size_t        total;
    int64_t       limit;
    int           more;
    char          cursor[512];       /* of the next page, or "" */
} corrald_uri_page_t;


int corrald_uri_decode(char *dst, size_t size, const char *src, size_t len);
json_t *corrald_uri_query(const char *text);
int corrald_uri_match(const char *pattern, const char *path,
    char (*params)[CORRALD_URI_PARAM_SIZE]);
void corrald_uri_sort(corrald_uri_row_t *rows, size_t n, int descending);
int corrald_uri_page(corrald_uri_page_t *page, const corrald_uri_row_t *rows,
    size_t n, const char *sort, int descending, const char *cursor,
    int64_t offset, int64_t limit) __attribute__((warn_unused_result));
int corrald_uri_word(const char *list, const char *word);


#endif /* _CORRALD_URI_H_INCLUDED_ */
