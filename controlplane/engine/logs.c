/*
 * The files that agents' output is in: their names, which there are, and one
 * to be sent as it is.
 */


#define _GNU_SOURCE

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <corral_schema.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "logs.h"
#include "logs_local.h"


/* log_dir/ID.log or, with n above 0, log_dir/ID.log.n; -1: a bad id. */

int
corrald_logs_path(const char *dir, const char *instance_id, unsigned n,
    char *path, size_t size)
{
    int  rc;

    /* an id becomes a part of a path here: nothing that leads elsewhere */

    if (instance_id[0] == '\0' || instance_id[0] == '.'
        || strlen(instance_id) > CORRAL_ID_MAX
        || strspn(instance_id, "abcdefghijklmnopqrstuvwxyz"
                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
           != strlen(instance_id))
    {
        return -1;
    }

    rc = (n == 0) ? snprintf(path, size, "%s/%s.log", dir, instance_id)
                  : snprintf(path, size, "%s/%s.log.%u", dir, instance_id, n);

    return (rc > 0 && (size_t) rc < size) ? 0 : -1;
}


json_t *
corrald_logs_list(const char *service)
{
    int             files;
    DIR            *dir;
    char            id[256], at[CORRALD_CLOCK_SIZE], *end;
    size_t          i, len;
    json_t         *list, *object, *other;
    int64_t         bytes, modified;
    struct stat     st;
    struct dirent  *entry;

    list = json_array();
    dir = opendir(corrald_conf()->log_dir);

    while (dir != NULL) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        len = strlen(entry->d_name);

        /* the newest file stands for all of an instance */

        if (len <= 4 || len - 4 >= sizeof(id)
            || strcmp(entry->d_name + len - 4, ".log") != 0)
        {
            continue;
        }

        memcpy(id, entry->d_name, len - 4);
        id[len - 4] = '\0';

        end = strrchr(id, '.');
        len = end ? (size_t) (end - id) : strlen(id);

        if (service != NULL
            && (strlen(service) != len || strncmp(id, service, len) != 0))
        {
            continue;
        }

        other = corrald_logs_files(id);
        files = (int) json_array_size(other);
        json_decref(other);

        bytes = 0;
        modified = 0;

        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        {
            bytes = st.st_size;
            modified = (int64_t) st.st_mtim.tv_sec * 1000;
        }

        object = json_pack("{s:s, s:s%, s:i, s:I, s:s}", "instance_id", id,
                           "service", id, len, "files", files, "bytes",
                           (json_int_t) bytes, "modified",
                           corrald_clock_format(modified, at, sizeof(at)));

        /* newest first; RFC 3339 sorts as text */

        for (i = 0; i < json_array_size(list); i++) {
            other = json_object_get(json_array_get(list, i), "modified");

            if (strcmp(json_string_value(other), at) < 0) {
                break;
            }
        }

        json_array_insert_new(list, i, object);
    }

    if (dir != NULL) {
        (void) closedir(dir);
    }

    return list;
}


json_t *
corrald_logs_files(const char *instance_id)
{
    char          path[4200], at[CORRALD_CLOCK_SIZE];
    json_t       *list;
    unsigned      n;
    const char   *name;
    struct stat   st;

    list = json_array();

    for (n = 0; n <= CORRALD_LOGS_FILES; n++) {

        if (corrald_logs_path(corrald_conf()->log_dir, instance_id, n, path,
                              sizeof(path))
            != 0
            || lstat(path, &st) == -1 || !S_ISREG(st.st_mode))
        {
            /* the first may be missing for a moment, while it is rotated */

            if (n > 0) {
                break;
            }

            continue;
        }

        name = strrchr(path, '/') + 1;
        json_array_append_new(list,
            json_pack("{s:s, s:I, s:s}", "file", name, "bytes",
                      (json_int_t) st.st_size, "modified",
                      corrald_clock_format((int64_t) st.st_mtim.tv_sec * 1000,
                                           at, sizeof(at))));
    }

    return list;
}


int
corrald_logs_open(const char *instance_id, unsigned n, int64_t *bytes,
    char *err, size_t size)
{
    int          fd;
    char         path[4200];
    struct stat  st;

    if (corrald_logs_path(corrald_conf()->log_dir, instance_id, n, path,
                          sizeof(path))
        != 0)
    {
        (void) snprintf(err, size, "\"%.64s\" is not the id of an instance",
                        instance_id);
        return -1;
    }

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        (void) snprintf(err, size, "instance \"%s\" has no log file %u",
                        instance_id, n);

        if (fd != -1) {
            (void) close(fd);
        }

        return -1;
    }

    *bytes = st.st_size;

    return fd;
}
