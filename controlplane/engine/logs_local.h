/*
 * What the files of logs.h share.
 */


#ifndef _CORRALD_LOGS_LOCAL_H_INCLUDED_
#define _CORRALD_LOGS_LOCAL_H_INCLUDED_


#include <stddef.h>


/* log_files has this maximum */

#define CORRALD_LOGS_FILES  100


int corrald_logs_path(const char *dir, const char *instance_id, unsigned n,
    char *path, size_t size) __attribute__((warn_unused_result));


#endif /* _CORRALD_LOGS_LOCAL_H_INCLUDED_ */
