/* links: ngx_module/corral_report.c */

/* HAProxy's words of agent-check, alone and together, and what is none. */


#include <string.h>

#include "../../ngx_module/corral_report.h"

#include "unit.h"


static corral_report_t  report;


static int
parse(const char *text)
{
    return corral_report_parse(text, strlen(text), &report);
}


static void
known(const char *text, uint32_t percent, uint32_t maxconn,
    corral_report_state_e state, unsigned failed)
{
    ok(parse(text) == 0 && report.percent == percent
       && report.maxconn == maxconn && report.state == state
       && report.failed == failed, text);
}


int
main(void)
{
    corral_report_t  back;

    known("", 100, 0, CORRAL_REPORT_READY, 0);
    known("75%", 75, 0, CORRAL_REPORT_READY, 0);
    known("75%\n", 75, 0, CORRAL_REPORT_READY, 0);
    known("0%\r\nmaint", 0, 0, CORRAL_REPORT_READY, 0);
    known("250%", 100, 0, CORRAL_REPORT_READY, 0);
    known("99999999999999999999%", 100, 0, CORRAL_REPORT_READY, 0);
    known("weight:40", 40, 0, CORRAL_REPORT_READY, 0);
    known("weight:40%", 40, 0, CORRAL_REPORT_READY, 0);
    known("maxconn:30", 100, 30, CORRAL_REPORT_READY, 0);
    known("maxconn:5000000000", 100, 1000000, CORRAL_REPORT_READY, 0);
    known("ready", 100, 0, CORRAL_REPORT_READY, 0);
    known("up", 100, 0, CORRAL_REPORT_READY, 0);
    known("drain", 100, 0, CORRAL_REPORT_DRAIN, 0);
    known("maint", 100, 0, CORRAL_REPORT_OUT, 0);
    known("down", 100, 0, CORRAL_REPORT_OUT, 1);
    known("fail", 100, 0, CORRAL_REPORT_OUT, 1);
    known("stopped", 100, 0, CORRAL_REPORT_OUT, 1);
    known("drain,\t50%  maxconn:3 ready", 50, 3, CORRAL_REPORT_DRAIN, 0);
    known("down drain", 100, 0, CORRAL_REPORT_OUT, 1);

    known("down #no, 10% left", 100, 0, CORRAL_REPORT_OUT, 1);
    ok(report.reason_len == 12 && memcmp(report.reason, "no, 10% left", 12)
       == 0, "the reason is the rest of the line");

    is_int(parse("50% quick"), -1, "no word");
    ok(report.word_len == 5 && memcmp(report.word, "quick", 5) == 0,
       "is named");
    is_int(parse("%"), -1, "no number");
    is_int(parse("-1%"), -1, "a sign");
    is_int(parse("weight:"), -1, "weight without a number");
    is_int(parse("maxconn:3x"), -1, "maxconn with more than a number");
    is_int(parse("READY"), -1, "words are in lower case");

    (void) parse("drain 7% maxconn:9");
    is_int(corral_report_unpack(corral_report_pack(&report), &back), 1,
           "packed and unpacked");
    ok(back.percent == 7 && back.maxconn == 9
       && back.state == CORRAL_REPORT_DRAIN, "the same");
    (void) parse("");
    ok(corral_report_pack(&report) != 0, "an empty line is a report, too");
    is_int(corral_report_unpack(0, &back), 0, "no report");
    ok(back.percent == 100 && back.maxconn == 0, "says nothing");

    return done_testing();
}
