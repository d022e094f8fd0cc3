/* links: ngx_module/common/corral_duration.c */

/* Durations: what is read, what is refused, and that all is read back. */


#include "../../ngx_module/common/corral_duration.h"

#include "unit.h"


typedef struct {
    const char   *text;
    int64_t       ms;
} duration_case_t;


static const duration_case_t  cases[] = {
    { "0", 0 },
    { "0s", 0 },
    { "0ms", 0 },
    { "1500ms", 1500 },
    { "30s", 30000 },
    { "30", 30000 },
    { "5m", 300000 },
    { "1h", 3600000 },
    { "1d", 86400000 },
    { "1m30s", 90000 },
    { "1d2h3m4s5ms", 93784005 },
    { "1s500ms", 1500 },
    { "007s", 7000 },
    { "90m", 5400000 },
    { "9223372036854775807ms", INT64_MAX },
    { "9223372036854775", 9223372036854775000 },

    { "", -1 },
    { "s", -1 },
    { "-1s", -1 },
    { "+1s", -1 },
    { " 1s", -1 },
    { "1s ", -1 },
    { "1 s", -1 },
    { "1.5s", -1 },
    { "1e3", -1 },
    { "1x", -1 },
    { "1S", -1 },
    { "1sec", -1 },
    { "1mss", -1 },
    { "30s1m", -1 },
    { "1s1s", -1 },
    { "1m30", -1 },
    { "1m s", -1 },
    { "9223372036854775808ms", -1 },
    { "99999999999999999999s", -1 },
    { "9223372036854776", -1 },
    { "9223372036854775s808ms", -1 },
    { "106751991168d", -1 },
    { "106751991167d1d", -1 }
};


int
main(void)
{
    char      text[CORRAL_DURATION_TEXT], name[80];
    size_t    i, len;
    int64_t   ms;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(name, sizeof(name), "\"%s\"", cases[i].text);
        ms = corral_duration_parse(cases[i].text, strlen(cases[i].text));
        is_int(ms, cases[i].ms, name);

        if (ms >= 0) {
            len = corral_duration_print(ms, text, sizeof(text));
            is_int(corral_duration_parse(text, len), ms, "read back");
        }
    }

    is_int(corral_duration_parse("30sx", 3), 30000, "no byte beyond len");
    is_int(corral_duration_parse("1\0s", 3), -1, "a NUL inside");
    is_int(corral_duration_parse("9223372036854775s807ms", 22), INT64_MAX,
           "the greatest sum");

    is_int(corral_duration_seconds(-1), -1, "negative seconds");
    is_int(corral_duration_seconds(1800), 1800000, "seconds");

    corral_duration_print(90000, text, sizeof(text));
    is_str(text, "1m30s", "print 90000");
    corral_duration_print(0, text, sizeof(text));
    is_str(text, "0s", "print 0");
    corral_duration_print(1500, text, sizeof(text));
    is_str(text, "1500ms", "print 1500");
    corral_duration_print(90061000, text, sizeof(text));
    is_str(text, "1d1h1m1s", "print 90061000");
    is_int(corral_duration_print(-5, text, sizeof(text)), 0, "print -5");
    is_str(text, "", "is empty");
    is_int(corral_duration_print(90061000, text, 4), 8, "cut, as snprintf()");
    is_str(text, "1d1", "and ended");
    ok(corral_duration_print(INT64_MAX, text, sizeof(text)) < sizeof(text)
       && corral_duration_print(INT64_MAX - 807, text, sizeof(text))
          < sizeof(text), "any fits");

    return done_testing();
}
