/* links: ngx_module/corral_health.c */

/*
 * The arithmetic of passive health: latencies that rise at once and decay.
 */


#include "../../ngx_module/corral_health.h"

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


int
main(void)
{
    latency();
    clocks();

    return done_testing();
}
