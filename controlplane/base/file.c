
/*
 * Small files, read and written whole.  A written file replaces the old one by
 * rename, after its bytes are on the disk: a reader or a crash sees the old
 * or the new one, never a half.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"


static int corrald_file_write_all(int fd, const char *data, size_t len);
static int corrald_file_sync_dir(const char *path);


/*
 * Reads all of a file of at most max bytes.  Returns 0 with *data, which is
 * followed by a NUL that *len does not count and which the caller frees; 1
 * when there is no such file; -1 and a sentence.
 */

int
corrald_file_read(const char *path, size_t max, char **data, size_t *len,
    char *err, size_t size)
{
    int          fd;
    char        *p;
    size_t       n;
    ssize_t      got;
    struct stat  st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        if (errno == ENOENT) {
            return 1;
        }

        snprintf(err, size, "cannot open \"%s\": %s", path, strerror(errno));
        return -1;
    }

    p = NULL;

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        snprintf(err, size, "\"%s\" is not a regular file", path);
        goto failed;
    }

    if ((size_t) st.st_size > max) {
        snprintf(err, size, "\"%s\" has %lld bytes, at most %zu are read",
                 path, (long long) st.st_size, max);
        goto failed;
    }

    p = malloc((size_t) st.st_size + 1);
    if (p == NULL) {
        snprintf(err, size, "no memory for \"%s\"", path);
        goto failed;
    }

    for (n = 0; n < (size_t) st.st_size; n += (size_t) got) {
        got = read(fd, p + n, (size_t) st.st_size - n);

        if (got == -1 && errno == EINTR) {
            got = 0;
            continue;
        }

        if (got == -1) {
            snprintf(err, size, "cannot read \"%s\": %s", path,
                     strerror(errno));
            goto failed;
        }

        if (got == 0) {
            break;
        }
    }

    p[n] = '\0';

    close(fd);

    *data = p;
    *len = n;

    return 0;

failed:

    free(p);
    close(fd);

    return -1;
}


/*
 * Writes a file with this mode and group (-1: as it comes) through a
 * temporary one beside it.  Returns 0, or -1 and a sentence.
 */

int
corrald_file_write(const char *path, const void *data, size_t len, mode_t mode,
    gid_t gid, char *err, size_t size)
{
    int   fd;
    char  temp[PATH_MAX];

    if ((size_t) snprintf(temp, sizeof(temp), "%s.%ld.tmp", path,
                          (long) getpid())
        >= sizeof(temp))
    {
        snprintf(err, size, "the name \"%s\" is too long", path);
        return -1;
    }

    /* what a killed process left; O_EXCL so that no link is followed */

    (void) unlink(temp);

    fd = open(temp, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        snprintf(err, size, "cannot create \"%s\": %s", temp, strerror(errno));
        return -1;
    }

    if ((gid != (gid_t) -1 && fchown(fd, (uid_t) -1, gid) == -1)
        || fchmod(fd, mode) == -1
        || corrald_file_write_all(fd, data, len) == -1
        || fsync(fd) == -1)
    {
        snprintf(err, size, "cannot write \"%s\": %s", temp, strerror(errno));
        close(fd);
        (void) unlink(temp);
        return -1;
    }

    close(fd);

    if (rename(temp, path) == -1) {
        snprintf(err, size, "cannot rename \"%s\" to \"%s\": %s", temp, path,
                 strerror(errno));
        (void) unlink(temp);
        return -1;
    }

    if (corrald_file_sync_dir(path) == -1) {
        snprintf(err, size, "cannot sync the directory of \"%s\": %s", path,
                 strerror(errno));
        return -1;
    }

    return 0;
}


/*
 * Makes a directory and those above it, these with mode 0755.  One that is
 * there already keeps its mode.  Returns 1 when it was made, 0 when it was
 * there, -1 and a sentence.
 */

int
corrald_file_mkdir(const char *path, mode_t mode, char *err, size_t size)
{
    char         copy[PATH_MAX], *p;
    struct stat  st;

    if (strlen(path) >= sizeof(copy)) {
        snprintf(err, size, "the name \"%s\" is too long", path);
        return -1;
    }

    memcpy(copy, path, strlen(path) + 1);

    for (p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';

        if (mkdir(copy, 0755) == -1 && errno != EEXIST) {
            snprintf(err, size, "cannot make the directory \"%s\": %s", copy,
                     strerror(errno));
            return -1;
        }

        *p = '/';
    }

    if (mkdir(path, mode) == 0) {

        /* not left to the umask: the mode is a promise */

        if (chmod(path, mode) == -1) {
            snprintf(err, size, "cannot set the mode of \"%s\": %s", path,
                     strerror(errno));
            return -1;
        }

        return 1;
    }

    if (errno != EEXIST || stat(path, &st) == -1 || !S_ISDIR(st.st_mode)) {
        snprintf(err, size, "cannot make the directory \"%s\": %s", path,
                 strerror(errno));
        return -1;
    }

    return 0;
}


static int
corrald_file_write_all(int fd, const char *data, size_t len)
{
    size_t   n;
    ssize_t  put;

    for (n = 0; n < len; n += (size_t) put) {
        put = write(fd, data + n, len - n);

        if (put == -1) {
            if (errno != EINTR) {
                return -1;
            }

            put = 0;
        }
    }

    return 0;
}


/* The rename is on the disk when the directory is. */

static int
corrald_file_sync_dir(const char *path)
{
    int   fd, rc;
    char  copy[PATH_MAX];

    memcpy(copy, path, strlen(path) + 1);

    fd = open(dirname(copy), O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);
    close(fd);

    return rc;
}
