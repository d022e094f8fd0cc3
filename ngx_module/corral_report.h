
/*
 * What an instance says of itself in HAProxy's words.  See corral_report.c.
 */


#ifndef _CORRAL_REPORT_H_INCLUDED_
#define _CORRAL_REPORT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CORRAL_REPORT_MAX  256          /* bytes of a line that are looked at */


typedef enum {
    CORRAL_REPORT_READY = 0,
    CORRAL_REPORT_DRAIN,                /* nothing new but its own sessions */
    CORRAL_REPORT_OUT                   /* nothing new */
} corral_report_state_e;


/* word and reason point into the text */

typedef struct {
    uint32_t                percent;    /* of its weight, 0 to 100 */
    uint32_t                maxconn;    /* 0: nothing is said */
    corral_report_state_e   state;
    unsigned                failed;     /* down, fail, stopped */
    const char             *word;       /* that is not understood */
    size_t                  word_len;
    const char             *reason;     /* behind "#"; or NULL */
    size_t                  reason_len;
} corral_report_t;


int corral_report_parse(const char *text, size_t len, corral_report_t *report);
uint64_t corral_report_pack(const corral_report_t *report);
int corral_report_unpack(uint64_t word, corral_report_t *report);


#endif /* _CORRAL_REPORT_H_INCLUDED_ */
