
/*
 * A fuzzer without libFuzzer: runs it over its known inputs, the files of
 * t/fuzz/regression/X and t/fuzz/corpus/X, and prints TAP, one line a file.
 * A crash ends the program, and prove reports the missing plan.
 *
 * CORRAL_ROOT is where t/ is found (default: the current directory).
 */


#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define MAIN_INPUT_MAX  (4 * 1024 * 1024)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static int  main_count;


static void
main_run_file(const char *path)
{
    FILE     *f;
    size_t    n;
    uint8_t  *buf, *exact;

    f = fopen(path, "rb");
    if (f == NULL) {
        printf("Bail out! cannot open %s\n", path);
        exit(1);
    }

    buf = malloc(MAIN_INPUT_MAX);
    n = buf ? fread(buf, 1, MAIN_INPUT_MAX, f) : 0;
    fclose(f);

    /* a block of the exact size, so that a sanitizer sees one byte too far */

    exact = malloc(n ? n : 1);

    if (buf == NULL || exact == NULL) {
        printf("Bail out! no memory for %s\n", path);
        exit(1);
    }

    memcpy(exact, buf, n);
    free(buf);

    printf("# %s\n", path);
    fflush(stdout);

    (void) LLVMFuzzerTestOneInput(exact, n);
    free(exact);

    printf("ok %d - %s\n", ++main_count, path);
    fflush(stdout);
}


static void
main_run_folder(const char *root, const char *kind, const char *name)
{
    int              n, i;
    char             dir[PATH_MAX], path[PATH_MAX + 256];
    struct dirent  **list;

    snprintf(dir, sizeof(dir), "%s/t/fuzz/%s/%s", root, kind, name);

    n = scandir(dir, &list, NULL, alphasort);

    for (i = 0; i < n; i++) {

        if (list[i]->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
            main_run_file(path);
        }

        free(list[i]);
    }

    if (n >= 0) {
        free(list);
    }
}


int
main(int argc, char **argv)
{
    char        *end, name[NAME_MAX + 1];
    const char  *root, *base;

    (void) argc;

    root = getenv("CORRAL_ROOT");
    base = strrchr(argv[0], '/');

    snprintf(name, sizeof(name), "%s", base ? base + 1 : argv[0]);

    end = strstr(name, "_fuzz");
    if (end) {
        *end = '\0';
    }

    main_run_folder(root ? root : ".", "regression", name);
    main_run_folder(root ? root : ".", "corpus", name);

    if (main_count == 0) {
        printf("not ok 1 - t/fuzz/corpus/%s has inputs\n1..1\n", name);
        return 1;
    }

    printf("1..%d\n", main_count);

    return 0;
}
