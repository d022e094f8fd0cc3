/* links: controlplane/engine/decide_restart.c */
/* links: controlplane/engine/decide_health.c */

/*
 * Restarts with a clock of our own: the delays and their bounds, the budget of
 * the window, what makes it begin anew; and health by thresholds.
 */


#include "../../controlplane/engine/decide_health.h"
#include "../../controlplane/engine/decide_restart.h"

#include "unit.h"


static const corrald_restart_policy_t  restart_default = {
    CORRALD_RESTART_ALWAYS, 5, 600000, 1000, 60000, 60000
};


static void
restart_test_delays(void)
{
    int                          i;
    char                         name[64];
    corrald_restart_t            r;
    corrald_restart_policy_t     p;
    corrald_restart_decision_t   d;

    static const int64_t  want[] = {
        1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000
    };

    memset(&r, 0, sizeof(r));
    p = restart_default;
    p.max_restart_count = 100;

    for (i = 0; i < 8; i++) {
        corrald_decide_restart(&r, &p, 1, 0, i * 1000, 0, &d);
        snprintf(name, sizeof(name), "delay of restart %d", i + 1);
        is_int(d.delay, want[i], name);
    }

    corrald_decide_restart_reset(&r);

    for (i = 0; i < 1000; i++) {
        corrald_decide_restart_reset(&r);
        corrald_decide_restart(&r, &p, 1, 0, 0, (uint32_t) i * 7919u, &d);

        if (d.delay < 1000 || d.delay > 1250) {
            break;
        }
    }

    is_int(i, 1000, "jitter adds from 0 to a quarter");

    corrald_decide_restart_reset(&r);
    corrald_decide_restart(&r, &p, 1, 0, 0, 250, &d);
    is_int(d.delay, 1250, "a quarter can come");

    p.restart_delay = 0;
    corrald_decide_restart_reset(&r);
    corrald_decide_restart(&r, &p, 1, 0, 0, 12345, &d);
    is_int(d.delay, 0, "no delay is none");

    corrald_decide_restart_free(&r);
}


static void
restart_test_budget(void)
{
    int                          i;
    corrald_restart_t            r;
    corrald_restart_policy_t     p;
    corrald_restart_decision_t   d;

    memset(&r, 0, sizeof(r));
    p = restart_default;

    for (i = 0; i < 5; i++) {
        corrald_decide_restart(&r, &p, 1, 0, i * 1000, 0, &d);
        ok(d.again && !d.crash_loop, "within the budget");
    }

    corrald_decide_restart(&r, &p, 1, 0, 6000, 0, &d);
    ok(d.crash_loop, "the sixth in ten minutes is a crash loop");
    ok(d.again, "that is still tried");
    is_int(d.delay, 60000, "at the longest delay");
    is_int(d.recent, 5, "restarts within the window");

    /* ready, but not for long enough */

    corrald_decide_restart(&r, &p, 1, 59999, 70000, 0, &d);
    ok(d.crash_loop, "ready for 59.999 s changes nothing");

    corrald_decide_restart(&r, &p, 1, 60000, 200000, 0, &d);
    ok(!d.crash_loop, "ready for 60 s: it begins anew");
    is_int(d.delay, 1000, "with the first delay");

    /* the window moves on */

    corrald_decide_restart_reset(&r);

    for (i = 0; i < 5; i++) {
        corrald_decide_restart(&r, &p, 1, 0, 0, 0, &d);
    }

    corrald_decide_restart(&r, &p, 1, 0, 599999, 0, &d);
    ok(d.crash_loop, "just within the window");
    corrald_decide_restart_reset(&r);

    for (i = 0; i < 5; i++) {
        corrald_decide_restart(&r, &p, 1, 0, 0, 0, &d);
    }

    corrald_decide_restart(&r, &p, 1, 0, 600000, 0, &d);
    ok(!d.crash_loop, "out of the window");
    ok(d.delay > 1000, "but without a stable time the delay goes on doubling");

    corrald_decide_restart_reset(&r);
    corrald_decide_restart(&r, &p, 1, 0, 600001, 0, &d);
    ok(!d.crash_loop && d.delay == 1000, "a reset begins anew");

    p.max_restart_count = 0;
    corrald_decide_restart_reset(&r);
    corrald_decide_restart(&r, &p, 1, 0, 0, 0, &d);
    ok(d.crash_loop && d.delay == 60000, "no budget: the longest delay");

    corrald_decide_restart_free(&r);
}


static void
restart_test_policy(void)
{
    corrald_restart_t            r;
    corrald_restart_policy_t     p;
    corrald_restart_decision_t   d;

    memset(&r, 0, sizeof(r));
    p = restart_default;

    corrald_decide_restart(&r, &p, 0, 0, 0, 0, &d);
    ok(d.again, "always: also after code 0");

    p.restart = CORRALD_RESTART_ON_FAILURE;
    corrald_decide_restart(&r, &p, 0, 0, 0, 0, &d);
    ok(!d.again, "on_failure: not after code 0");
    corrald_decide_restart(&r, &p, 1, 0, 0, 0, &d);
    ok(d.again, "on_failure: after a failure");

    p.restart = CORRALD_RESTART_NEVER;
    corrald_decide_restart(&r, &p, 1, 0, 0, 0, &d);
    ok(!d.again, "never");

    corrald_decide_restart_free(&r);
}


static void
restart_test_health(void)
{
    int                       i;
    uint64_t                  ms;
    corrald_decide_health_t   h;

    corrald_decide_health_init(&h, 2, 3);
    is_int(h.state, CORRALD_PROBE_WAITING, "nothing is known");

    ok(!corrald_decide_health(&h, 1), "one pass of two");
    ok(corrald_decide_health(&h, 1), "two passes");
    is_int(h.state, CORRALD_PROBE_PASSING, "passing");

    ok(!corrald_decide_health(&h, 0), "one failure of three: still passing");
    ok(corrald_decide_health(&h, 0), "two failures of three");
    is_int(h.state, CORRALD_PROBE_WORRYING, "worrying");
    ok(corrald_decide_health(&h, 0), "three failures");
    is_int(h.state, CORRALD_PROBE_FAILING, "failing");

    ok(!corrald_decide_health(&h, 0), "and so on");
    ok(!corrald_decide_health(&h, 1), "one pass does not heal, two are wanted");
    ok(corrald_decide_health(&h, 1), "two do");
    is_int(h.state, CORRALD_PROBE_PASSING, "unhealthy heals by itself");
    is_int((int64_t) h.total, 8, "all are counted");
    is_int((int64_t) h.failed, 4, "and the failed ones");

    corrald_decide_health_init(&h, 1, 1);
    ok(corrald_decide_health(&h, 0), "threshold 1: one failure");
    is_int(h.state, CORRALD_PROBE_FAILING, "fails");

    for (i = 0; i < 1000; i++) {
        ms = corrald_decide_health_interval(10000, (uint32_t) i * 104729u);

        if (ms < 10000 || ms > 11000) {
            break;
        }
    }

    is_int(i, 1000, "an interval has up to a tenth of jitter");

    is_int((int64_t) corrald_decide_health_eager(0, 0), 20, "eager at first");
    is_int((int64_t) corrald_decide_health_eager(1, 0), 30, "half more");
    is_int((int64_t) corrald_decide_health_eager(100, 0), 1000, "up to 1 s");
}


int
main(void)
{
    restart_test_delays();
    restart_test_budget();
    restart_test_policy();
    restart_test_health();

    return done_testing();
}
