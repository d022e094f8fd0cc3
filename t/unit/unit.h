
/*
 * TAP for C: ok(), is_int(), is_str(), and done_testing() as the last thing
 * that main() returns.
 */


#ifndef _CORRAL_UNIT_H_INCLUDED_
#define _CORRAL_UNIT_H_INCLUDED_


#include <inttypes.h>
#include <stdio.h>
#include <string.h>


static int  unit_count;
static int  unit_failed;


/* one assertion; returns cond */

static inline int
ok(int cond, const char *name)
{
    unit_count++;

    if (!cond) {
        unit_failed++;
    }

    printf("%sok %d - %s\n", cond ? "" : "not ", unit_count, name);

    return cond;
}


static inline int
is_int(int64_t got, int64_t want, const char *name)
{
    if (!ok(got == want, name)) {
        printf("#      got: %" PRId64 "\n# expected: %" PRId64 "\n", got, want);
    }

    return got == want;
}


static inline int
is_str(const char *got, const char *want, const char *name)
{
    int  same;

    same = got && want ? strcmp(got, want) == 0 : got == want;

    if (!ok(same, name)) {
        printf("#      got: %s\n# expected: %s\n", got ? got : "(null)",
               want ? want : "(null)");
    }

    return same;
}


/* prints the plan; the exit status of the test */

static inline int
done_testing(void)
{
    printf("1..%d\n", unit_count);

    return unit_failed || unit_count == 0;
}


#endif /* _CORRAL_UNIT_H_INCLUDED_ */
