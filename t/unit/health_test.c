/* links: ngx_module/corral_health.c */

/*
 * The arithmetic of passive health: latencies that rise at once and decay.
 */


#include "../../ngx_module/corral_health.h"

#include <stdlib.h>

#include "unit.h"


/* within so many parts of a thousand */

static int
near(double got, double want, double within)
{
    if (got < want * (1 - within / 1000) || got > want * (1 + within / 1000)) {
        printf("# got %f, want %f\n", got, want);
        return 0;
    }

    return 1;
}


static void
latency(void)
{
    uint32_t  now;
    uint64_t  word;

    now = 1000;
    ok(corral_health_latency(0, now) == 0.0, "no sample is 0");

    word = corral_health_sample(0, now, 100);
    ok(near(corral_health_latency(word, now), 100, 1), "the first sample");

    word = corral_health_sample(word, now, 900);
    ok(near(corral_health_latency(word, now), 900, 1), "a rise is followed");

    word = corral_health_sample(word, now, 0);
    ok(near(corral_health_latency(word, now), 900, 1),
       "a fall within no time changes nothing");

    ok(near(corral_health_latency(word, now + CORRAL_HEALTH_TAU),
            900 / 2.718282, 5), "it decays to 1/e");
    ok(near(corral_health_latency(word, now + 3 * CORRAL_HEALTH_TAU),
            900 / 20.0855, 10), "and to 1/e^3");
    ok(corral_health_latency(word, now + 3600 * 1000) == 0.0,
       "in an hour it is gone");

    /* half a tau at 100: 900 e^-0.5 + 100 (1 - e^-0.5) */

    word = corral_health_sample(word, now + CORRAL_HEALTH_TAU / 2, 100);
    ok(near(corral_health_latency(word, now + CORRAL_HEALTH_TAU / 2), 585.2, 5),
       "a fall is averaged by time");

    word = corral_health_sample(word, now + CORRAL_HEALTH_TAU / 2, 590);
    ok(near(corral_health_latency(word, now + CORRAL_HEALTH_TAU / 2), 590, 1),
       "a sample above what it has decayed to replaces it");
}


static void
clocks(void)
{
    uint64_t  word;

    word = corral_health_sample(0, 0xfffffff0, 100);
    ok(near(corral_health_latency(word, 0x10), 100, 5), "the clock wraps");
    ok(near(corral_health_latency(word, 0xffffff00), 100, 1),
       "a clock that is behind does not make it grow");

    ok(corral_health_sample(0, 0, 0) != 0, "a sample of 0 at 0 is a sample");
    ok(corral_health_latency(corral_health_sample(0, 0, 0), 0) < 0.001,
       "and nearly 0");
    ok(near(corral_health_latency(corral_health_sample(0, 5, 0xffffffff), 5),
            4294967295.0, 1), "the greatest latency");
}


static void
ramp(void)
{
    uint64_t  word;

    is_int(corral_health_ramp(5000, 5000, 0), CORRAL_HEALTH_WHOLE,
           "without a slow start the whole");
    is_int(corral_health_ramp(5000, 5000, 1000), CORRAL_HEALTH_WHOLE / 100,
           "it begins with a hundredth");
    is_int(corral_health_ramp(5000, 4000, 1000), CORRAL_HEALTH_WHOLE / 100,
           "also on a clock that is behind");
    is_int(corral_health_ramp(5000, 5250, 1000), CORRAL_HEALTH_WHOLE / 4,
           "a quarter of the time");
    is_int(corral_health_ramp(5000, 5999, 1000), 65470, "nearly the whole");
    is_int(corral_health_ramp(5000, 6000, 1000), CORRAL_HEALTH_WHOLE,
           "the whole");
    is_int(corral_health_ramp(1, UINT64_MAX, 3600000), CORRAL_HEALTH_WHOLE,
           "long ago");

    word = corral_health_rate(0, 7000, 1);
    word = corral_health_rate(word, 7999, 1);
    is_int((uint32_t) word, 2, "two in one second");
    is_int((uint32_t) corral_health_rate(word, 7999, 0), 2, "only looked at");
    is_int((uint32_t) corral_health_rate(word, 8000, 0), 0, "a new second");
    is_int((uint32_t) corral_health_rate(word, 8000, 1), 1, "begins with one");
    is_int((uint32_t) corral_health_rate((7ull << 32) + UINT32_MAX, 7000, 1),
           UINT32_MAX, "the count does not run over");
}


/* "good/bad" of each instance; returns a digit for each, as in out[] */

static const char *
outliers(const char *given, uint32_t min, uint32_t percent, uint32_t deviation)
{
    char                    *end;
    uint32_t                 n, i, marked;
    uint8_t                  out[16];
    static char              text[17];
    corral_health_window_t   windows[16];
    corral_health_limits_t   limits = { min, percent, deviation };

    memset(windows, 0, sizeof(windows));

    for (n = 0; *given; n++, given = end + (*end == ' ')) {
        windows[n].good = (uint32_t) strtoul(given, &end, 10);
        windows[n].bad = (uint32_t) strtoul(end + 1, &end, 10);
    }

    marked = corral_health_outliers(windows, n, &limits, out);

    for (i = 0; i < n; i++) {
        text[i] = (char) ('0' + out[i]);
        marked -= out[i] != 0;
    }

    text[n] = '\0';

    return marked ? "wrong count" : text;
}


static void
ejection(void)
{
    is_str(outliers("15/85 16/84", 100, 85, 0), "10", "from 85 % on");
    is_str(outliers("0/99 1/99", 100, 85, 0), "01", "not with 99 results");
    is_str(outliers("0/100 100/0", 100, 0, 0), "00", "off");
    is_str(outliers("0/0 0/0", 1, 1, 190), "00", "no results");
    is_str(outliers("0/4294967295", 1, 100, 0), "1", "the greatest count");

    is_str(outliers("100/0 100/0 100/0 100/0 100/0 0/100", 100, 0, 190),
           "000002", "one of six fails");
    is_str(outliers("100/0 100/0 100/0 100/0 100/0 0/100", 100, 85, 190),
           "000001", "both reasons: the first");
    is_str(outliers("100/0 100/0 100/0 0/100", 100, 0, 100), "0000",
           "four are not compared");
    is_str(outliers("100/0 100/0 100/0 100/0 0/9", 10, 0, 100), "00000",
           "nor five of which one was idle");
    is_str(outliers("50/50 50/50 50/50 50/50 50/50", 100, 0, 190), "00000",
           "all alike");
    is_str(outliers("99/1 98/2 99/1 98/2 99/1 96/4", 100, 0, 190), "000002",
           "a small spread: little is enough");
    is_str(outliers("99/1 98/2 99/1 98/2 99/1 96/4", 100, 0, 300), "000000",
           "but not for a greater deviation");

    is_int(corral_health_forgiven(3, 9999, 10000), 3, "nothing is forgiven");
    is_int(corral_health_forgiven(3, 10000, 10000), 2, "one an interval");
    is_int(corral_health_forgiven(3, 1000000, 10000), 0, "to none");
    is_int(corral_health_forgiven(3, 1000000, 0), 3, "without intervals none");

    is_int((int64_t) corral_health_rest(8000, 1, 300000, 0), 8000, "the first");
    is_int((int64_t) corral_health_rest(8000, 3, 300000, 0), 24000,
           "the third");
    is_int((int64_t) corral_health_rest(8000, 99, 300000, 0), 300000, "to max");
    is_int((int64_t) corral_health_rest(8000, 9, 100, 0), 8000,
           "never less than base");
    is_int((int64_t) corral_health_rest(8000, 1, 300000, 1000), 9000,
           "and an eighth more");
    is_int((int64_t) corral_health_rest(8000, 1, 300000, 1001), 8000,
           "but no more than that");
}


static void
budget(void)
{
    ok(corral_health_budget(2, 2, 20), "three retries always may");
    ok(!corral_health_budget(3, 19, 20), "the fourth not among 19");
    ok(corral_health_budget(3, 20, 20), "but among 20");
    ok(!corral_health_budget(3, 1000, 0), "nor without a budget");
    ok(corral_health_budget(3, 4, 100), "all may with 100 %");
    ok(corral_health_budget(UINT32_MAX - 1, UINT32_MAX, 100), "the most");
}


int
main(void)
{
    budget();
    ejection();
    ramp();
    latency();
    clocks();

    return done_testing();
}
