/* links: ngx_module/common/corral_duration.c */

/* Durations of any bytes: what is read is printed and read back the same. */


#include "../../ngx_module/common/corral_duration.h"

#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char     text[CORRAL_DURATION_TEXT], *copy;
    size_t   len;
    int64_t  ms;

    copy = malloc(size + 1);
    memcpy(copy, data, size);
    copy[size] = '9';                /* must not be read */
    ms = corral_duration_parse(copy, size);
    free(copy);

    if (ms < -1) {
        abort();
    }

    if (ms >= 0) {
        len = corral_duration_print(ms, text, sizeof(text));

        if (len == 0 || len >= sizeof(text)
            || corral_duration_parse(text, len) != ms)
        {
            abort();
        }
    }

    return 0;
}
