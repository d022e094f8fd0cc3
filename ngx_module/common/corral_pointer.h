
/*
 * JSON pointers (RFC 6901) looked up in a message that comes in pieces: no
 * tree, no copy, one pass for all of them.  See corral_pointer.c.
 */


#ifndef _CORRAL_POINTER_H_INCLUDED_
#define _CORRAL_POINTER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_POINTER_MAX     4      /* looked for in one pass */
#define CORRAL_POINTER_TOKENS  8      /* of one pointer */
#define CORRAL_POINTER_DEPTH   512    /* a deeper message is not understood */


typedef struct {
    uint32_t        n;                           /* tokens; 0: not set */
    uint32_t        indexes[CORRAL_POINTER_TOKENS];   /* as array indexes */
    uint64_t        names[CORRAL_POINTER_TOKENS];     /* hashes */
} corral_pointer_t;


typedef enum {
    CORRAL_POINTER_NONE = 0,                     /* not there */
    CORRAL_POINTER_STRING,
    CORRAL_POINTER_PLAIN,                        /* a number, true, false */
    CORRAL_POINTER_NULL,
    CORRAL_POINTER_OBJECT,
    CORRAL_POINTER_ARRAY
} corral_pointer_type_e;


/*
 * hash: of the decoded string or of the text of a plain value, never 0.  It
 * lies from begin, with its quotes, to before end: bytes of the whole message;
 * of a container there is no end.
 */

typedef struct {
    uint64_t               hash;
    size_t                 begin;
    size_t                 end;
    corral_pointer_type_e  type;
} corral_pointer_value_t;


typedef struct {
    const corral_pointer_t  *pointers[CORRAL_POINTER_MAX];
    corral_pointer_value_t   values[CORRAL_POINTER_MAX];
    unsigned                 n;

    /* where the scan is */

    const uint8_t           *piece;
    size_t                   before;        /* bytes, of earlier pieces */
    size_t                   begin;         /* of the value */
    uint64_t                 hash;          /* of the key or value so far */
    uint32_t                 depth;         /* containers that are open */
    uint32_t                 code;          /* of an escape */
    uint32_t                 high;          /* its first half, or 0 */
    uint32_t                 take;          /* values that begin here: bits */
    uint8_t                  state;
    uint8_t                  escape;
    uint32_t                 matched[CORRAL_POINTER_MAX];
    uint32_t                 index[CORRAL_POINTER_TOKENS];
    uint8_t                  objects[CORRAL_POINTER_DEPTH / 8];
} corral_pointer_scan_t;


int corral_pointer_parse(corral_pointer_t *pointer, const char *text,
    size_t len);
uint64_t corral_pointer_hash(const char *text, size_t len);

void corral_pointer_begin(corral_pointer_scan_t *scan);
unsigned corral_pointer_want(corral_pointer_scan_t *scan,
    const corral_pointer_t *pointer);
void corral_pointer_feed(corral_pointer_scan_t *scan, const uint8_t *p,
    size_t n);
int corral_pointer_whole(const corral_pointer_scan_t *scan);


#endif /* _CORRAL_POINTER_H_INCLUDED_ */
