
/*
 * Reading an image of the registry or a state file: the first line, the check
 * of what it promises, the lines one by one.  What a line says is
 * corral_decode.c's affair.
 *
 * The check goes in pieces, so that an event loop can do it between requests.
 * Pure: no I/O, no clock, no globals, no allocation but jansson's.
 */


#include "corral_decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <zlib.h>

#include <corral_schema.h>


#define CORRAL_DECODE_IMAGE_HEAD  4096    /* of a first line written by hand */


static int corral_decode_image_head(corral_decode_image_t *image, json_t *head,
    char *err, size_t size);
static int corral_decode_image_crc32(const char *text, int64_t *crc32);


/* an empty line may have spaces, and the CR of a foreign editor */

static int
corral_decode_image_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) {
        p++;
    }

    return p == end;
}


/*
 * Reads the first line of len bytes of data, which must stay until the image
 * has been read.  Returns 0, or -1 and a sentence in err: it is broken, or of
 * another version of the schema.
 */

int
corral_decode_image_open(corral_decode_image_t *image, const char *data,
    size_t len, char *err, size_t size)
{
    int            rc;
    json_t        *head;
    const char    *p;
    json_error_t   error;

    memset(image, 0, sizeof(corral_decode_image_t));

    p = len ? memchr(data, '\n', len) : NULL;

    image->end = data + len;
    image->body = p ? p + 1 : image->end;
    image->next = image->body;
    image->checked = image->body;
    image->number = 1;

    if (image->body - data > CORRAL_DECODE_IMAGE_HEAD) {
        snprintf(err, size, "the first line is longer than %d bytes",
                 CORRAL_DECODE_IMAGE_HEAD);
        return -1;
    }

    head = json_loadb(data, (size_t) (image->body - data),
                      JSON_REJECT_DUPLICATES, &error);

    if (!json_is_object(head)) {
        json_decref(head);
        snprintf(err, size, "the first line is not a JSON object such as "
                 "{\"corral\":%d,\"epoch\":\"...\",\"revision\":1}",
                 CORRAL_SCHEMA_VERSION);
        return -1;
    }

    rc = corral_decode_image_head(image, head, err, size);
    json_decref(head);

    return rc;
}


static int
corral_decode_image_head(corral_decode_image_t *image, json_t *head, char *err,
    size_t size)
{
    size_t       i, len;
    json_t      *version, *revision, *lines, *crc32;
    const char  *epoch;

    version = json_object_get(head, "corral");
    revision = json_object_get(head, "revision");
    lines = json_object_get(head, "lines");
    crc32 = json_object_get(head, "crc32");
    epoch = json_string_value(json_object_get(head, "epoch"));

    if (!json_is_integer(version)
        || json_integer_value(version) != CORRAL_SCHEMA_VERSION)
    {
        snprintf(err, size, "\"corral\" of the first line is %lld, it must be "
                 "the version %d of the schema",
                 (long long) json_integer_value(version),
                 CORRAL_SCHEMA_VERSION);
        return -1;
    }

    len = epoch ? strlen(epoch) : 0;

    for (i = 0; i < len; i++) {
        if ((unsigned char) epoch[i] <= ' ' || epoch[i] == '"'
            || epoch[i] == '\\' || (unsigned char) epoch[i] >= 0x7f)
        {
            break;
        }
    }

    if (len == 0 || len > sizeof(image->epoch) - 1 || i < len) {
        snprintf(err, size, "\"epoch\" of the first line must be a word of 1 "
                 "to %d bytes", (int) sizeof(image->epoch) - 1);
        return -1;
    }

    memcpy(image->epoch, epoch, len + 1);

    if (!json_is_integer(revision) || json_integer_value(revision) < 0) {
        snprintf(err, size, "\"revision\" of the first line must be an "
                 "integer, 0 or above");
        return -1;
    }

    image->revision = (uint64_t) json_integer_value(revision);
    image->want_lines = -1;
    image->want_crc32 = -1;

    if (lines) {
        image->want_lines = json_integer_value(lines);

        if (!json_is_integer(lines) || image->want_lines < 0) {
            snprintf(err, size, "\"lines\" of the first line must be an "
                     "integer, 0 or above");
            return -1;
        }
    }

    if (crc32 && corral_decode_image_crc32(json_string_value(crc32),
                                           &image->want_crc32)
                 != 0)
    {
        snprintf(err, size, "\"crc32\" of the first line must be a string of "
                 "eight hexadecimal digits");
        return -1;
    }

    return 0;
}


static int
corral_decode_image_crc32(const char *text, int64_t *crc32)
{
    int          i;
    int64_t      n;
    const char  *digit;
    const char   digits[] = "0123456789abcdef0123456789ABCDEF";

    if (text == NULL || strlen(text) != 8) {
        return -1;
    }

    for (n = 0, i = 0; i < 8; i++) {
        digit = strchr(digits, text[i]);

        if (digit == NULL) {
            return -1;
        }

        n = n * 16 + (digit - digits) % 16;
    }

    *crc32 = n;

    return 0;
}


/*
 * Checks the next "budget" bytes (at least one).  Returns 1 as long as there is
 * more to check, 0 when all is as the first line says, -1 and a sentence in err
 * when it is not: the image must not be used at all.
 */

int
corral_decode_image_check(corral_decode_image_t *image, size_t budget,
    char *err, size_t size)
{
    size_t       left;
    const char  *p, *end, *newline;

    left = (size_t) (image->end - image->checked);
    budget = budget ? budget : 1;
    end = image->checked + (left < budget ? left : budget);

    image->crc32 = corral_decode_crc32(image->crc32, image->checked,
                                       (size_t) (end - image->checked));

    for (p = image->checked; p < end; p = newline + 1) {
        newline = memchr(p, '\n', (size_t) (end - p));

        image->open |= !corral_decode_image_blank(p, newline ? newline : end);

        if (newline == NULL) {
            break;
        }

        image->lines += image->open;
        image->open = 0;
    }

    image->checked = end;

    if (end < image->end) {
        return 1;
    }

    image->lines += image->open;
    image->open = 0;

    if (image->want_lines != -1
        && image->lines != (uint64_t) image->want_lines)
    {
        snprintf(err, size, "it has %" PRIu64 " lines behind the first, which "
                 "says %" PRId64, image->lines, image->want_lines);
        return -1;
    }

    if (image->want_crc32 != -1
        && image->crc32 != (uint32_t) image->want_crc32)
    {
        snprintf(err, size, "its CRC is %08" PRIx32 ", its first line says %08"
                 PRIx32, image->crc32, (uint32_t) image->want_crc32);
        return -1;
    }

    return 0;
}


/*
 * The next line that is not empty, without its newline; image->number is its
 * number in the file.  Returns 1, or 0 at the end.
 */

int
corral_decode_image_next(corral_decode_image_t *image, const char **line,
    size_t *len)
{
    const char  *p, *newline;

    while (image->next < image->end) {
        p = image->next;
        newline = memchr(p, '\n', (size_t) (image->end - p));

        image->next = newline ? newline + 1 : image->end;
        image->number++;

        *line = p;
        *len = (size_t) ((newline ? newline : image->end) - p);

        if (!corral_decode_image_blank(p, p + *len)) {
            return 1;
        }
    }

    return 0;
}


/* The CRC of zlib over len more bytes; crc is 0 at the start. */

uint32_t
corral_decode_crc32(uint32_t crc, const void *data, size_t len)
{
    return (uint32_t) crc32_z(crc, data, len);
}


/* The CRC of two pieces, the second of len bytes, from theirs. */

uint32_t
corral_decode_crc32_join(uint32_t first, uint32_t second, size_t len)
{
    return (uint32_t) crc32_combine(first, second, (z_off_t) len);
}
