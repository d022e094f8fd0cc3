
/*
 * JSON pointers in a message that comes in pieces.
 *
 * A state machine walks over the bytes once and knows only where it is: how
 * deep, in an object or an array, and for each pointer how many of its tokens
 * match the path.  Names and values are hashed (FNV-1a, 64 bits) while they
 * pass, escapes decoded, so nothing is copied and nothing is bounded but the
 * depth.  Two different values of equal hash would be taken for one: by chance
 * never, and who makes them on purpose confuses a connection of his own.
 *
 * JSON is not judged.  What is no JSON finds nothing, or something; the first
 * of two members of the same name counts.
 *
 * Pure: no I/O, no clock, no allocation; the state is the caller's.
 */


#include "corral_pointer.h"

#include <string.h>


#define CORRAL_POINTER_SEED    0xcbf29ce484222325
#define CORRAL_POINTER_PRIME   0x100000001b3
#define CORRAL_POINTER_NO      UINT32_MAX          /* no array index */


typedef enum {
    CORRAL_POINTER_VALUE = 0,       /* a value is to come */
    CORRAL_POINTER_KEY,             /* a name, or the end of the object */
    CORRAL_POINTER_COLON,
    CORRAL_POINTER_IN_KEY,
    CORRAL_POINTER_IN_STRING,
    CORRAL_POINTER_IN_PLAIN,
    CORRAL_POINTER_AFTER,           /* a comma, or the end of a container */
    CORRAL_POINTER_DONE,
    CORRAL_POINTER_BROKEN
} corral_pointer_state_e;


static const uint8_t *corral_pointer_structure(corral_pointer_scan_t *s,
    const uint8_t *p);
static void corral_pointer_open(corral_pointer_scan_t *s, unsigned object,
    const uint8_t *p);
static void corral_pointer_close(corral_pointer_scan_t *s, unsigned object);
static void corral_pointer_next(corral_pointer_scan_t *s);
static void corral_pointer_value(corral_pointer_scan_t *s);
static void corral_pointer_found(corral_pointer_scan_t *s,
    corral_pointer_type_e type, const uint8_t *p);
static void corral_pointer_name(corral_pointer_scan_t *s);
static void corral_pointer_element(corral_pointer_scan_t *s);
static const uint8_t *corral_pointer_string(corral_pointer_scan_t *s,
    const uint8_t *p, const uint8_t *last);
static void corral_pointer_unescape(corral_pointer_scan_t *s, uint8_t c);
static void corral_pointer_utf8(corral_pointer_scan_t *s, uint32_t code);
static const uint8_t *corral_pointer_plain(corral_pointer_scan_t *s,
    const uint8_t *p, const uint8_t *last);


static inline uint64_t
corral_pointer_add(uint64_t hash, uint8_t c)
{
    return (hash ^ c) * CORRAL_POINTER_PRIME;
}


/* 0 says "none" */

static inline uint64_t
corral_pointer_final(uint64_t hash)
{
    return hash ? hash : 1;
}


static inline int
corral_pointer_in_object(const corral_pointer_scan_t *s)
{
    return s->objects[(s->depth - 1) / 8] >> ((s->depth - 1) % 8) & 1;
}


/*
 * Compiles "/a/b/0".  Returns 0; or -1 if the text does not begin with "/", has
 * more than CORRAL_POINTER_TOKENS tokens or a "~" that is not "~0" or "~1".
 */

int
corral_pointer_parse(corral_pointer_t *pointer, const char *text, size_t len)
{
    size_t    i;
    uint8_t   c;
    uint32_t  index, n;
    uint64_t  hash;

    memset(pointer, 0, sizeof(corral_pointer_t));

    if (len == 0 || text[0] != '/') {
        return -1;
    }

    n = 0;

    for (i = 0; i < len; n++) {
        if (n == CORRAL_POINTER_TOKENS) {
            return -1;
        }

        hash = CORRAL_POINTER_SEED;
        index = i + 1 < len && text[i + 1] != '/' ? 0 : CORRAL_POINTER_NO;

        for (i++; i < len && text[i] != '/'; i++) {
            c = (uint8_t) text[i];

            if (c == '~') {
                i++;

                if (i == len || (text[i] != '0' && text[i] != '1')) {
                    return -1;
                }

                c = text[i] == '0' ? '~' : '/';
            }

            hash = corral_pointer_add(hash, c);

            index = c < '0' || c > '9' || index > 99999999
                    ? CORRAL_POINTER_NO : index * 10 + (c - '0');
        }

        pointer->names[n] = corral_pointer_final(hash);
        pointer->indexes[n] = index;
    }

    pointer->n = n;

    return 0;
}


/* What a value that reads like this text has for a hash. */

uint64_t
corral_pointer_hash(const char *text, size_t len)
{
    size_t    i;
    uint64_t  hash;

    hash = CORRAL_POINTER_SEED;

    for (i = 0; i < len; i++) {
        hash = corral_pointer_add(hash, (uint8_t) text[i]);
    }

    return corral_pointer_final(hash);
}


/* A new message; pointers are added by corral_pointer_want(). */

void
corral_pointer_begin(corral_pointer_scan_t *s)
{
    memset(s, 0, sizeof(corral_pointer_scan_t));
}


/*
 * Looks for one more pointer, which must live as long as the scan.  Returns
 * its place in values.  To be called before the first feed, at most
 * CORRAL_POINTER_MAX times.
 */

unsigned
corral_pointer_want(corral_pointer_scan_t *s, const corral_pointer_t *pointer)
{
    s->pointers[s->n] = pointer;

    return s->n++;
}


/* The next n bytes of the message. */

void
corral_pointer_feed(corral_pointer_scan_t *s, const uint8_t *p, size_t n)
{
    const uint8_t  *last;

    last = p + n;
    s->piece = p;

    while (p < last) {

        switch (s->state) {

        case CORRAL_POINTER_IN_KEY:
        case CORRAL_POINTER_IN_STRING:
            p = corral_pointer_string(s, p, last);
            break;

        case CORRAL_POINTER_IN_PLAIN:
            p = corral_pointer_plain(s, p, last);
            break;

        case CORRAL_POINTER_DONE:
        case CORRAL_POINTER_BROKEN:
            return;

        default:
            p = corral_pointer_structure(s, p);
            break;
        }
    }

    s->before += n;
}


/*
 * 1 if a whole value was seen, so that what was not found is not there.  A
 * plain value alone never ends, and has no members either.
 */

int
corral_pointer_whole(const corral_pointer_scan_t *s)
{
    return s->state == CORRAL_POINTER_DONE;
}


/* one byte between names and values */

static const uint8_t *
corral_pointer_structure(corral_pointer_scan_t *s, const uint8_t *p)
{
    uint8_t  c;

    c = *p;

    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        return p + 1;
    }

    switch (s->state) {

    case CORRAL_POINTER_VALUE:

        if (c == ']') {                     /* an empty array, or a "[1,]" */
            corral_pointer_close(s, 0);
            return p + 1;
        }

        corral_pointer_value(s);
        s->begin = s->before + (size_t) (p - s->piece);

        if (c == '"') {
            s->state = CORRAL_POINTER_IN_STRING;
            return p + 1;
        }

        if (c == '{' || c == '[') {
            corral_pointer_open(s, c == '{', p);
            return p + 1;
        }

        s->state = CORRAL_POINTER_IN_PLAIN;
        return p;

    case CORRAL_POINTER_KEY:

        if (c == '}') {
            corral_pointer_close(s, 1);

        } else if (c == '"') {
            s->hash = CORRAL_POINTER_SEED;
            s->state = CORRAL_POINTER_IN_KEY;

        } else {
            s->state = CORRAL_POINTER_BROKEN;
        }

        return p + 1;

    case CORRAL_POINTER_COLON:
        s->state = c == ':' ? CORRAL_POINTER_VALUE : CORRAL_POINTER_BROKEN;
        return p + 1;

    default: /* CORRAL_POINTER_AFTER */

        if (c == ',') {
            corral_pointer_next(s);

        } else if (c == '}' || c == ']') {
            corral_pointer_close(s, c == '}');

        } else {
            s->state = CORRAL_POINTER_BROKEN;
        }

        return p + 1;
    }
}


static void
corral_pointer_open(corral_pointer_scan_t *s, unsigned object,
    const uint8_t *p)
{
    uint8_t  *bits, bit;

    corral_pointer_found(s, object ? CORRAL_POINTER_OBJECT
                                   : CORRAL_POINTER_ARRAY, p);

    if (s->depth == CORRAL_POINTER_DEPTH) {
        s->state = CORRAL_POINTER_BROKEN;
        return;
    }

    bits = &s->objects[s->depth / 8];
    bit = (uint8_t) (1 << s->depth % 8);
    *bits = object ? *bits | bit : *bits & ~bit;

    s->depth++;

    if (object) {
        s->state = CORRAL_POINTER_KEY;
        return;
    }

    if (s->depth <= CORRAL_POINTER_TOKENS) {
        s->index[s->depth - 1] = 0;
    }

    corral_pointer_element(s);
    s->state = CORRAL_POINTER_VALUE;
}


static void
corral_pointer_close(corral_pointer_scan_t *s, unsigned object)
{
    unsigned  i;

    if (s->depth == 0 || corral_pointer_in_object(s) != (int) object) {
        s->state = CORRAL_POINTER_BROKEN;
        return;
    }

    s->depth--;

    for (i = 0; i < s->n; i++) {
        if (s->matched[i] > s->depth) {
            s->matched[i] = s->depth;
        }
    }

    s->state = s->depth ? CORRAL_POINTER_AFTER : CORRAL_POINTER_DONE;
}


/* behind a comma */

static void
corral_pointer_next(corral_pointer_scan_t *s)
{
    if (corral_pointer_in_object(s)) {
        s->state = CORRAL_POINTER_KEY;
        return;
    }

    if (s->depth <= CORRAL_POINTER_TOKENS) {
        s->index[s->depth - 1]++;
    }

    corral_pointer_element(s);
    s->state = CORRAL_POINTER_VALUE;
}


/* a value begins: which pointers is it for? */

static void
corral_pointer_value(corral_pointer_scan_t *s)
{
    unsigned  i;

    s->hash = CORRAL_POINTER_SEED;
    s->take = 0;

    for (i = 0; i < s->n; i++) {
        if (s->matched[i] == s->depth && s->pointers[i]->n == s->depth
            && s->values[i].type == CORRAL_POINTER_NONE && s->depth)
        {
            s->take |= 1u << i;
        }
    }
}


/* a value has ended before p, or a container has begun */

static void
corral_pointer_found(corral_pointer_scan_t *s, corral_pointer_type_e type,
    const uint8_t *p)
{
    unsigned  i;

    for (i = 0; s->take; i++, s->take >>= 1) {
        if (s->take & 1) {
            s->values[i].type = type;
            s->values[i].begin = s->begin;
            s->values[i].end = s->before + (size_t) (p - s->piece);
            s->values[i].hash = corral_pointer_final(s->hash);
        }
    }
}


/* the name of a member is in s->hash */

static void
corral_pointer_name(corral_pointer_scan_t *s)
{
    unsigned                 i;
    uint32_t                 level;
    const corral_pointer_t  *pointer;

    level = s->depth - 1;

    for (i = 0; i < s->n; i++) {
        pointer = s->pointers[i];

        if (s->matched[i] < level) {
            continue;
        }

        s->matched[i] = level + (level < pointer->n
                                 && pointer->names[level]
                                    == corral_pointer_final(s->hash));
    }
}


/* the same for the element of an array */

static void
corral_pointer_element(corral_pointer_scan_t *s)
{
    unsigned                 i;
    uint32_t                 level;
    const corral_pointer_t  *pointer;

    level = s->depth - 1;

    for (i = 0; i < s->n; i++) {
        pointer = s->pointers[i];

        if (s->matched[i] < level) {
            continue;
        }

        s->matched[i] = level + (level < pointer->n
                                 && pointer->indexes[level]
                                    == s->index[level]);
    }
}


/* bytes of p that are neither a quote nor a backslash, eight at a time */

static inline size_t
corral_pointer_run(const uint8_t *p, size_t n)
{
    size_t    i;
    uint64_t  word, quote, slash;

    for (i = 0; n - i >= 8; i += 8) {
        memcpy(&word, p + i, 8);

        quote = word ^ 0x2222222222222222;
        slash = word ^ 0x5c5c5c5c5c5c5c5c;

        if (((quote - 0x0101010101010101) & ~quote & 0x8080808080808080)
            | ((slash - 0x0101010101010101) & ~slash & 0x8080808080808080))
        {
            break;
        }
    }

    while (i < n && p[i] != '"' && p[i] != '\\') {
        i++;
    }

    return i;
}


/* inside of a name or a string; returns behind what was used */

static const uint8_t *
corral_pointer_string(corral_pointer_scan_t *s, const uint8_t *p,
    const uint8_t *last)
{
    size_t  i, n;

    if (s->escape) {
        corral_pointer_unescape(s, *p);
        return p + 1;
    }

    n = corral_pointer_run(p, (size_t) (last - p));

    if (s->state == CORRAL_POINTER_IN_KEY || s->take) {
        for (i = 0; i < n; i++) {
            s->hash = corral_pointer_add(s->hash, p[i]);
        }
    }

    p += n;

    if (p == last) {
        return p;
    }

    if (*p == '\\') {
        s->escape = 1;
        return p + 1;
    }

    if (s->state == CORRAL_POINTER_IN_KEY) {
        corral_pointer_name(s);
        s->state = CORRAL_POINTER_COLON;
        return p + 1;
    }

    corral_pointer_found(s, CORRAL_POINTER_STRING, p + 1);

    s->state = s->depth ? CORRAL_POINTER_AFTER : CORRAL_POINTER_DONE;

    return p + 1;
}


/* one byte behind a backslash: escape is 1, then 2 to 5 for four digits */

static void
corral_pointer_unescape(corral_pointer_scan_t *s, uint8_t c)
{
    static const char  from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char        *p;

    if (s->escape == 1) {
        if (c == 'u') {
            s->escape = 2;
            s->code = 0;
            return;
        }

        p = c ? strchr(from, c) : NULL;

        s->hash = corral_pointer_add(s->hash,
                                     p ? (uint8_t) to[p - from] : c);
        s->escape = 0;
        return;
    }

    c |= 0x20;
    s->code = s->code << 4 | ((c <= '9' ? c - '0' : c - 'a' + 10) & 15);

    if (++s->escape < 6) {
        return;
    }

    s->escape = 0;

    if (s->code >= 0xd800 && s->code < 0xdc00) {
        s->high = s->code;
        return;
    }

    if (s->code >= 0xdc00 && s->code < 0xe000 && s->high) {
        s->code = 0x10000 + ((s->high - 0xd800) << 10) + (s->code - 0xdc00);
    }

    s->high = 0;
    corral_pointer_utf8(s, s->code);
}


static void
corral_pointer_utf8(corral_pointer_scan_t *s, uint32_t code)
{
    int  shift;

    if (code < 0x80) {
        s->hash = corral_pointer_add(s->hash, (uint8_t) code);
        return;
    }

    shift = code < 0x800 ? 6 : (code < 0x10000 ? 12 : 18);

    s->hash = corral_pointer_add(s->hash, (uint8_t)
                     ((0xf00 >> (shift / 6 + 1)) | code >> shift));

    while (shift) {
        shift -= 6;
        s->hash = corral_pointer_add(s->hash,
                                     0x80 | (code >> shift & 0x3f));
    }
}


/* a number, true, false or null: until a byte that cannot be part of it */

static const uint8_t *
corral_pointer_plain(corral_pointer_scan_t *s, const uint8_t *p,
    const uint8_t *last)
{
    while (p < last
           && ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')
               || *p == '-' || *p == '+' || *p == '.' || *p == 'E'))
    {
        s->hash = corral_pointer_add(s->hash, *p++);
    }

    if (p == last) {
        return p;
    }

    if (s->hash == CORRAL_POINTER_SEED) {
        s->state = CORRAL_POINTER_BROKEN;
        return last;
    }

    corral_pointer_found(s, s->hash == corral_pointer_hash("null", 4)
                            ? CORRAL_POINTER_NULL : CORRAL_POINTER_PLAIN,
                         p);

    s->state = s->depth ? CORRAL_POINTER_AFTER : CORRAL_POINTER_DONE;

    return p;
}
