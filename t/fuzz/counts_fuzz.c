/* links: ngx_module/corral_counts.c */

/* Counts of any bytes: a line that is read is printed as it was. */


#include "../../ngx_module/corral_counts.h"

#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char             *copy, line[CORRAL_COUNTS_LINE_MAX];
    size_t            len;
    corral_counts_t   counts, again;

    copy = malloc(size + 1);
    memcpy(copy, data, size);
    copy[size] = '\n';               /* must not be read */

    if (corral_counts_open(&counts, copy, size) == 0) {
        while (corral_counts_next(&counts)) {
            len = corral_counts_line(line, counts.key, counts.len,
                                     counts.count);
            again.next = line;
            again.end = line + len;

            if (counts.next > counts.end
                || (memchr(counts.key, '\0', counts.len) == NULL
                    && (!corral_counts_next(&again)
                        || again.count != counts.count
                        || again.len != counts.len)))
            {
                abort();
            }
        }
    }

    free(copy);

    return 0;
}
