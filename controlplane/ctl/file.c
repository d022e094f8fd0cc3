
/*
 * Files that a command is given.
 */


#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#include "corral.h"


char *
corral_file_read(const char *path, size_t *len)
{
    int              bad;
    FILE            *f;
    char             chunk[8192];
    size_t           n;
    corrald_buf_t    b;

    f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");

    if (f == NULL) {
        corral_output_error("%s cannot be opened", path);
        return NULL;
    }

    corrald_buf_init(&b, 16 * 1024 * 1024);

    do {
        n = fread(chunk, 1, sizeof(chunk), f);
        (void) corrald_buf_add(&b, chunk, n);
    } while (n > 0 && !b.failed);

    bad = b.failed || ferror(f);

    if (f != stdin) {
        fclose(f);
    }

    if (bad) {
        corral_output_error("%s cannot be read, or is longer than 16 MB",
                            path);
        corrald_buf_free(&b);
        return NULL;
    }

    return corrald_buf_take(&b, len);
}
