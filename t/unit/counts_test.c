/* links: ngx_module/corral_counts.c */

/* Counts as text: what is printed is read back, and what is broken ends it. */


#include "../../ngx_module/corral_counts.h"

#include "unit.h"


#define ZONE  "0123456789abcdef"


static int
lines(const char *text)
{
    int              n;
    corral_counts_t  counts;

    if (corral_counts_open(&counts, text, strlen(text)) != 0) {
        return -1;
    }

    for (n = 0; corral_counts_next(&counts); n++) { /* void */ }

    return n;
}


int
main(void)
{
    char             text[1024], key[CORRAL_COUNTS_KEY_MAX + 2];
    size_t           len;
    corral_counts_t  counts;

    memset(key, 'k', sizeof(key));

    len = corral_counts_head(text, ZONE);
    len += corral_counts_line(text + len, "i:a.1:3", 7, 17);
    len += corral_counts_line(text + len, key, CORRAL_COUNTS_KEY_MAX,
                              UINT32_MAX);

    is_int(corral_counts_open(&counts, text, len), 0, "what we print is ours");
    ok(memcmp(counts.zone, ZONE, 16) == 0, "its zone");
    is_int(corral_counts_next(&counts), 1, "a line");
    ok(counts.len == 7 && memcmp(counts.key, "i:a.1:3", 7) == 0, "its key");
    is_int(counts.count, 17, "its count");
    is_int(corral_counts_next(&counts), 1, "another line");
    is_int((int64_t) counts.len, CORRAL_COUNTS_KEY_MAX, "the longest key");
    is_int(counts.count, UINT32_MAX, "the highest count");
    is_int(corral_counts_next(&counts), 0, "the end");

    is_int(lines(""), -1, "nothing");
    is_int(lines("2 " ZONE "\n"), -1, "another version");
    is_int(lines("1 " ZONE), -1, "without its end");
    is_int(lines("1 " ZONE "\n"), 0, "no counts");
    is_int(lines("1 " ZONE "\na 1\nb 2\n"), 2, "two");
    is_int(lines("1 " ZONE "\na 1\nb 2"), 1, "a line that was cut off");
    is_int(lines("1 " ZONE "\na 1\nb -2\nc 3\n"), 1, "no number");
    is_int(lines("1 " ZONE "\na 4294967296\n"), 0, "too high");
    is_int(lines("1 " ZONE "\na \n"), 0, "no digits");
    is_int(lines("1 " ZONE "\n 1\n"), 0, "no key");

    len = corral_counts_head(text, ZONE);
    snprintf(text + len, sizeof(text) - len, "%.*s 1\n",
             CORRAL_COUNTS_KEY_MAX + 1, key);
    is_int(lines(text), 0, "a key that is too long");

    return done_testing();
}
