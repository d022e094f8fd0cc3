
/*
 * One line for one fact, on standard error: as text, or as a JSON object when
 * a machine reads it.  Control characters never reach the output as they are:
 * a line of ours is one line, whatever a client or an agent put into it.
 *
 * No library, no allocation: the shim and the CLI use it, too.
 */


#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"


/* Longer messages are cut: a line must reach a pipe with one write. */

#define CORRALD_LOG_MESSAGE  2048
#define CORRALD_LOG_LINE     4000


static size_t corrald_log_escape(char *dst, size_t size, const char *src,
    int json);


static const char  *corrald_log_names[] = { "error", "warn", "info", "debug" };

static corrald_log_level_e  corrald_log_level = CORRALD_LOG_INFO;
static int                  corrald_log_json;


/* Before it, lines of level info and above are written as text. */

void
corrald_log_init(corrald_log_level_e level, int json)
{
    corrald_log_level = level;
    corrald_log_json = json;
}


/* Returns whether lines of this level are written. */

int
corrald_log_enabled(corrald_log_level_e level)
{
    return level <= corrald_log_level;
}


/* Writes one line.  errno is kept. */

void
corrald_log_write(corrald_log_level_e level, const char *fmt, ...)
{
    int      saved, n;
    char     message[CORRALD_LOG_MESSAGE], line[CORRALD_LOG_LINE];
    char     when[CORRALD_CLOCK_SIZE];
    size_t   len;
    va_list  args;

    if (level > corrald_log_level) {
        return;
    }

    saved = errno;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);

    corrald_clock_now(when, sizeof(when));

    n = snprintf(line, sizeof(line),
                 corrald_log_json
                     ? "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\""
                     : "%s %s ",
                 when, corrald_log_names[level]);
    len = (size_t) n;

    /* 4: quote, brace, newline and NUL */

    len += corrald_log_escape(line + len, sizeof(line) - len - 4, message,
                              corrald_log_json);

    n = snprintf(line + len, sizeof(line) - len,
                 corrald_log_json ? "\"}\n" : "\n");
    len += (size_t) n;

    /* nobody is left to hear of a failure here */

    if (write(STDERR_FILENO, line, len) < 0) {
        errno = saved;
        return;
    }

    errno = saved;
}


/*
 * Copies src without control characters (and, for JSON, without bare quotes)
 * as far as it fits; bytes above 0x7f pass.  Returns the bytes written.
 */

static size_t
corrald_log_escape(char *dst, size_t size, const char *src, int json)
{
    char         piece[8];
    size_t       len, n;
    const char  *p;

    len = 0;

    for (p = src; *p; p++) {

        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            n = (size_t) snprintf(piece, sizeof(piece),
                                  json ? "\\u%04x" : "\\x%02x",
                                  (unsigned char) *p);

        } else if (json && (*p == '"' || *p == '\\')) {
            n = (size_t) snprintf(piece, sizeof(piece), "\\%c", *p);

        } else {
            piece[0] = *p;
            n = 1;
        }

        if (len + n > size) {
            break;
        }

        memcpy(dst + len, piece, n);
        len += n;
    }

    return len;
}
