/* links: ngx_module/corral_report.c */

/*
 * Words of any bytes: numbers are within their bounds, what is pointed to lies
 * in the line, and what was understood survives being packed.
 */


#include "../../ngx_module/corral_report.h"

#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int              rc;
    char            *text;
    corral_report_t  report, back;

    text = malloc(size + 1);

    if (text == NULL) {
        return 0;
    }

    memcpy(text, data, size);

    rc = corral_report_parse(text, size, &report);

    if (report.percent > 100 || report.maxconn > 1000000
        || (rc != 0) != (report.word != NULL)
        || (report.word
            && (report.word < text
                || report.word + report.word_len > text + size))
        || (report.reason
            && (report.reason <= text
                || report.reason + report.reason_len > text + size)))
    {
        abort();
    }

    if (rc == 0
        && (!corral_report_unpack(corral_report_pack(&report), &back)
            || back.percent != report.percent || back.maxconn != report.maxconn
            || back.state != report.state))
    {
        abort();
    }

    free(text);

    return 0;
}
