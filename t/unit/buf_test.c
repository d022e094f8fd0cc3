/* links: controlplane/base/buf.c controlplane/base/map.c */
/* links: controlplane/base/clock.c */

/* The buffer with a maximum, the map, and times. */


#include <stdlib.h>

#include "../../controlplane/base/buf.h"
#include "../../controlplane/base/clock.h"
#include "../../controlplane/base/map.h"

#include "unit.h"


static void
buffers(void)
{
    int             i;
    char           *text;
    size_t          len;
    corrald_buf_t   b;

    corrald_buf_init(&b, 10);

    is_str(b.data, "", "an empty buffer is a string");
    ok(corrald_buf_add(&b, "12345", 5) == 0, "five of ten");
    ok(corrald_buf_str(&b, "67890") == 0, "ten of ten");
    is_str(b.data, "1234567890", "all of it");
    ok(corrald_buf_add(&b, "", 0) == 0, "nothing still fits");
    ok(corrald_buf_add(&b, "x", 1) == -1 && b.failed, "eleven do not");
    is_str(b.data, "1234567890", "what was there stays");
    ok(corrald_buf_add(&b, "", 0) == -1, "a failed buffer stays failed");
    ok(corrald_buf_take(&b, NULL) == NULL, "and gives nothing");

    corrald_buf_clear(&b);
    ok(corrald_buf_printf(&b, "%d-%s", 12, "ab") == 0, "formatted");
    is_str(b.data, "12-ab", "text");
    ok(corrald_buf_printf(&b, "%s", "123456") == -1, "too long to format");
    is_str(b.data, "12-ab", "nothing of it was added");

    corrald_buf_clear(&b);
    corrald_buf_str(&b, "abcdef");
    corrald_buf_drop(&b, 2);
    is_str(b.data, "cdef", "dropped from the front");
    corrald_buf_drop(&b, 99);
    is_str(b.data, "", "dropped all");
    corrald_buf_free(&b);

    corrald_buf_init(&b, 100000);

    for (i = 0; i < 1000; i++) {
        corrald_buf_printf(&b, "%04d", i);
    }

    is_int((int64_t) b.len, 4000, "grown");
    text = corrald_buf_take(&b, &len);
    ok(text && len == 4000 && strlen(text) == 4000
       && memcmp(text + 3996, "0999", 4) == 0, "taken");
    is_int((int64_t) b.len, 0, "and empty");
    free(text);

    corrald_buf_quote(&b, "a\"b\\c\n\x01\xc3\xa4", 9);
    is_str(b.data, "\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa4\"", "quoted");
    corrald_buf_free(&b);
}


static void
maps(void)
{
    int                  i, n;
    char                 key[16];
    long                 sum;
    void                *value;
    const char          *k;
    corrald_map_t        map;
    corrald_map_iter_t   it;

    corrald_map_init(&map);

    ok(corrald_map_get(&map, "a") == NULL && corrald_map_del(&map, "a")
                                             == NULL, "nothing in it");

    for (i = 1, n = 0; i <= 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        n += corrald_map_set(&map, key, (void *) (long) i) == 0;
    }

    is_int(n, 1000, "a thousand set");
    is_int((int64_t) map.count, 1000, "and counted");
    ok(corrald_map_set(&map, "k7", (void *) 70L) == 0
       && corrald_map_get(&map, "k7") == (void *) 70L && map.count == 1000,
       "replaced");

    sum = 0;
    corrald_map_first(&map, &it);

    while (corrald_map_next(&map, &it, &k, &value)) {
        sum += (long) value;

        if ((long) value % 2) {
            corrald_map_del(&map, k);
        }
    }

    is_int(sum, 500500 + 63, "each seen once, also while they are deleted");
    is_int((int64_t) map.count, 501, "the odd ones are gone");
    ok(corrald_map_get(&map, "k8") && corrald_map_get(&map, "k9") == NULL,
       "the right ones");

    corrald_map_free(&map, NULL);
    is_int((int64_t) map.count, 0, "empty again");
}


static void
times(void)
{
    size_t  i;
    char    text[CORRALD_CLOCK_SIZE];

    static const char  *bad[] = {
        "", "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00Zx",
        "2026-01-31T12:00:00+1", "x"
    };

    is_str(corrald_clock_format(1769860800123, text, sizeof(text)),
           "2026-01-31T12:00:00.123Z", "a time");
    is_int(corrald_clock_parse("2026-01-31T12:00:00.123Z"), 1769860800123,
           "read back");
    is_int(corrald_clock_parse("2026-01-31T13:00:00.1239+01:00"),
           1769860800123, "with an offset and many digits");
    is_int(corrald_clock_parse("2026-01-31T12:00:00"), 1769860800000,
           "without a zone it is UTC");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(corrald_clock_parse(bad[i]), -1, *bad[i] ? bad[i] : "nothing");
    }
}


int
main(void)
{
    buffers();
    maps();
    times();

    return done_testing();
}
