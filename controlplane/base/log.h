
/*
 * Lines for people and machines, on standard error.  See log.c.
 */


#ifndef _CORRALD_LOG_H_INCLUDED_
#define _CORRALD_LOG_H_INCLUDED_


#include <stdarg.h>


typedef enum {
    CORRALD_LOG_ERROR = 0,
    CORRALD_LOG_WARN,
    CORRALD_LOG_INFO,
    CORRALD_LOG_DEBUG
} corrald_log_level_e;


#define corrald_log_error(...)                                                \
    corrald_log_write(CORRALD_LOG_ERROR, __VA_ARGS__)
#define corrald_log_warn(...)                                                 \
    corrald_log_write(CORRALD_LOG_WARN, __VA_ARGS__)
#define corrald_log_info(...)                                                 \
    corrald_log_write(CORRALD_LOG_INFO, __VA_ARGS__)

/* the arguments of a debug line are not evaluated when it is not written */

#define corrald_log_debug(...)                                                \
    do {                                                                      \
        if (corrald_log_enabled(CORRALD_LOG_DEBUG)) {                         \
            corrald_log_write(CORRALD_LOG_DEBUG, __VA_ARGS__);                \
        }                                                                     \
    } while (0)


void corrald_log_init(corrald_log_level_e level, int json);
int corrald_log_enabled(corrald_log_level_e level);
void corrald_log_write(corrald_log_level_e level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));


#endif /* _CORRALD_LOG_H_INCLUDED_ */
