
/*
 * Small files, whole.  See file.c.
 */


#ifndef _CORRALD_FILE_H_INCLUDED_
#define _CORRALD_FILE_H_INCLUDED_


#include <stddef.h>
#include <sys/types.h>


int corrald_file_read(const char *path, size_t max, char **data, size_t *len,
    char *err, size_t size) __attribute__((warn_unused_result));
int corrald_file_write(const char *path, const void *data, size_t len,
    mode_t mode, gid_t gid, char *err, size_t size)
    __attribute__((warn_unused_result));
int corrald_file_mkdir(const char *path, mode_t mode, char *err, size_t size)
    __attribute__((warn_unused_result));


#endif /* _CORRALD_FILE_H_INCLUDED_ */
