
/*
 * The words of HAProxy's agent-check, in one line:
 *
 *     75%  weight:75          part of the weight; more than 100 is 100
 *     maxconn:30              connections that it takes
 *     ready  up               as usual
 *     drain                   nothing new, what it has goes on
 *     maint                   out of service
 *     down  fail  stopped     out of service: it does not work
 *     #why it is so           the rest of the line, for people
 *
 * They are divided by blanks, tabs or commas.  A line stands for itself: what
 * it does not say holds as in the documents; of several states the strongest
 * holds.
 *
 * Pure: no I/O, no clock, no globals.  What comes in is not trusted.
 */


#include "corral_report.h"

#include <string.h>


#define CORRAL_REPORT_CONN_MAX  1000000
#define CORRAL_REPORT_KNOWN     ((uint64_t) 1 << 63)


typedef struct {
    const char             *word;
    corral_report_state_e   state;
    unsigned                failed;
} corral_report_word_t;


static const corral_report_word_t  corral_report_words[] = {
    { "ready",   CORRAL_REPORT_READY, 0 },
    { "up",      CORRAL_REPORT_READY, 0 },
    { "drain",   CORRAL_REPORT_DRAIN, 0 },
    { "maint",   CORRAL_REPORT_OUT,   0 },
    { "down",    CORRAL_REPORT_OUT,   1 },
    { "fail",    CORRAL_REPORT_OUT,   1 },
    { "stopped", CORRAL_REPORT_OUT,   1 },
    { NULL,      CORRAL_REPORT_READY, 0 }
};


/* all of it must be digits; above max it is max */

static int
corral_report_number(const char *p, size_t len, uint32_t max, uint32_t *value)
{
    size_t    i;
    uint64_t  n;

    for (n = 0, i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return -1;
        }

        n = n * 10 + (uint64_t) (p[i] - '0');
        n = n > max ? max : n;
    }

    *value = (uint32_t) n;

    return len ? 0 : -1;
}


static int
corral_report_word(const char *p, size_t len, corral_report_t *report)
{
    const corral_report_word_t  *w;

    if (len > 7 && memcmp(p, "weight:", 7) == 0) {
        len -= p[len - 1] == '%';
        return corral_report_number(p + 7, len - 7, 100, &report->percent);
    }

    if (p[len - 1] == '%') {
        return corral_report_number(p, len - 1, 100, &report->percent);
    }

    if (len > 8 && memcmp(p, "maxconn:", 8) == 0) {
        return corral_report_number(p + 8, len - 8, CORRAL_REPORT_CONN_MAX,
                                    &report->maxconn);
    }

    for (w = corral_report_words; w->word; w++) {
        if (strlen(w->word) == len && memcmp(w->word, p, len) == 0) {
            report->state = w->state > report->state ? w->state
                                                     : report->state;
            report->failed |= w->failed;
            return 0;
        }
    }

    return -1;
}


/*
 * Reads one line, up to its end or CORRAL_REPORT_MAX bytes.  Returns 0, or -1
 * for a word that is not understood, which report->word then is.
 */

int
corral_report_parse(const char *text, size_t len, corral_report_t *report)
{
    size_t       n;
    const char  *p, *end;

    memset(report, 0, sizeof(corral_report_t));
    report->percent = 100;

    len = len > CORRAL_REPORT_MAX ? CORRAL_REPORT_MAX : len;

    for (n = 0; n < len && text[n] != '\n' && text[n] != '\r'; n++) {
        /* void */
    }

    end = text + n;

    for (p = text; p < end; p += n) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            n = 1;
            continue;
        }

        if (*p == '#') {
            report->reason = p + 1;
            report->reason_len = (size_t) (end - p - 1);
            break;
        }

        for (n = 1; p + n < end && p[n] != ' ' && p[n] != '\t' && p[n] != ',';
             n++)
        {
            /* void */
        }

        if (corral_report_word(p, n, report) != 0) {
            report->word = p;
            report->word_len = n;
            return -1;
        }
    }

    return 0;
}


/* A report as one word that can be stored at once; never 0. */

uint64_t
corral_report_pack(const corral_report_t *report)
{
    return CORRAL_REPORT_KNOWN | (uint64_t) report->state << 40
           | (uint64_t) report->percent << 32 | report->maxconn;
}


/* Returns 0 and what nothing says if the word is 0, else 1. */

int
corral_report_unpack(uint64_t word, corral_report_t *report)
{
    memset(report, 0, sizeof(corral_report_t));
    report->percent = 100;

    if (word == 0) {
        return 0;
    }

    report->maxconn = (uint32_t) word;
    report->percent = word >> 32 & 0xff;
    report->state = (corral_report_state_e) (word >> 40 & 0xff);

    return 1;
}
