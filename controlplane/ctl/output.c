
/*
 * What commands print.  Data goes to standard output, everything else to
 * standard error; no colours, so that a pipe sees what a person sees.
 */


#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "output.h"


#define CORRAL_OUTPUT_COLUMNS  12
#define CORRAL_OUTPUT_CELL     256


static json_t *corral_output_member(json_t *item, const char *path);
static void corral_output_cell(const corral_column_t *column, json_t *item,
    char *cell, size_t size);
static void corral_output_value(json_t *value, char *cell, size_t size);
static void corral_output_age(const char *time, char *cell, size_t size);
static void corral_output_clean(char *cell);


static int  corral_output_silent;


void
corral_output_table(const corral_column_t *columns, json_t *items)
{
    int          width[CORRAL_OUTPUT_COLUMNS];
    int          i, len, last;
    char         cell[CORRAL_OUTPUT_CELL];
    size_t       n;
    json_t      *item;

    for (i = 0; columns[i].heading; i++) {
        width[i] = (int) strlen(columns[i].heading);
    }

    last = i - 1;

    json_array_foreach(items, n, item) {
        for (i = 0; i < last; i++) {
            corral_output_cell(&columns[i], item, cell, sizeof(cell));
            len = (int) strlen(cell);
            width[i] = len > width[i] ? len : width[i];
        }
    }

    for (i = 0; i < last; i++) {
        printf("%-*s  ", width[i], columns[i].heading);
    }

    printf("%s\n", columns[last].heading);

    json_array_foreach(items, n, item) {
        for (i = 0; i < last; i++) {
            corral_output_cell(&columns[i], item, cell, sizeof(cell));
            printf("%-*s  ", width[i], cell);
        }

        corral_output_cell(&columns[last], item, cell, sizeof(cell));
        printf("%s\n", cell);
    }
}


void
corral_output_object(json_t *object)
{
    int          width;
    char         cell[4096];
    json_t      *value;
    const char  *key;

    width = 0;

    json_object_foreach(object, key, value) {
        width = (int) strlen(key) > width ? (int) strlen(key) : width;
    }

    json_object_foreach(object, key, value) {
        corral_output_value(value, cell, sizeof(cell));
        printf("%-*s  %s\n", width, key, cell);
    }
}


void
corral_output_json(json_t *value, int indent)
{
    json_dumpf(value, stdout, JSON_ENCODE_ANY
                              | (indent ? JSON_INDENT(2) : JSON_COMPACT));
    fputc('\n', stdout);
    fflush(stdout);
}


void
corral_output_error(const char *fmt, ...)
{
    va_list  args;

    fflush(stdout);
    fputs("corral: ", stderr);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fputc('\n', stderr);
}


void
corral_output_note(const char *fmt, ...)
{
    va_list  args;

    if (corral_output_silent) {
        return;
    }

    fflush(stdout);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fputc('\n', stderr);
}


void
corral_output_quiet(void)
{
    corral_output_silent = 1;
}


static json_t *
corral_output_member(json_t *item, const char *path)
{
    char         name[64];
    size_t       len;
    const char  *dot;

    for ( ;; ) {
        dot = strchr(path, '.');
        len = dot ? (size_t) (dot - path) : strlen(path);

        if (len >= sizeof(name)) {
            return NULL;
        }

        memcpy(name, path, len);
        name[len] = '\0';

        item = json_object_get(item, name);

        if (dot == NULL || item == NULL) {
            return item;
        }

        path = dot + 1;
    }
}


static void
corral_output_cell(const corral_column_t *column, json_t *item, char *cell,
    size_t size)
{
    size_t    i, n;
    json_t   *value, *e;

    value = corral_output_member(item, column->member);

    switch (column->shown) {

    case CORRAL_AGE:
        corral_output_age(json_string_value(value), cell, size);
        break;

    case CORRAL_LIST:
        n = 0;
        cell[0] = '\0';

        json_array_foreach(value, i, e) {
            if (n < size) {
                n += snprintf(cell + n, size - n, "%s%s", i ? "," : "",
                              json_string_value(e) ? json_string_value(e)
                                                   : "");
            }
        }

        if (n == 0) {
            snprintf(cell, size, "-");
        }

        break;

    case CORRAL_BYTES:
        if (json_is_integer(value)
            && json_integer_value(value) >= 10 * 1024 * 1024)
        {
            snprintf(cell, size, "%lldM",
                     (long long) json_integer_value(value) >> 20);

        } else if (json_is_integer(value)
                   && json_integer_value(value) >= 10 * 1024)
        {
            snprintf(cell, size, "%lldk",
                     (long long) json_integer_value(value) >> 10);

        } else {
            corral_output_value(value, cell, size);
        }

        break;

    default: /* CORRAL_PLAIN */
        corral_output_value(value, cell, size);
        break;
    }

    corral_output_clean(cell);
}


static void
corral_output_value(json_t *value, char *cell, size_t size)
{
    char  *text;

    if (value == NULL || json_is_null(value)
        || (json_is_string(value) && json_string_length(value) == 0))
    {
        snprintf(cell, size, "-");
        return;
    }

    if (json_is_string(value)) {
        snprintf(cell, size, "%s", json_string_value(value));
        return;
    }

    text = json_dumps(value, JSON_COMPACT|JSON_ENCODE_ANY);
    snprintf(cell, size, "%s", text ? text : "?");
    free(text);
}


/* "2026-11-20T17:00:00.123Z" as the time since then */

static void
corral_output_age(const char *time_text, char *cell, size_t size)
{
    long        age;
    struct tm   tm;

    memset(&tm, 0, sizeof(struct tm));

    if (time_text == NULL
        || sscanf(time_text, "%d-%d-%dT%d:%d:%d", &tm.tm_year, &tm.tm_mon,
                  &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
    {
        snprintf(cell, size, "-");
        return;
    }

    tm.tm_year -= 1900;
    tm.tm_mon -= 1;

    age = (long) (time(NULL) - timegm(&tm));

    if (age < 0) {
        age = 0;
    }

    if (age < 120) {
        snprintf(cell, size, "%lds", age);

    } else if (age < 7200) {
        snprintf(cell, size, "%ldm", age / 60);

    } else if (age < 172800) {
        snprintf(cell, size, "%ldh", age / 3600);

    } else {
        snprintf(cell, size, "%ldd", age / 86400);
    }
}


/* an agent's words must not steer the terminal */

static void
corral_output_clean(char *cell)
{
    for ( ; *cell; cell++) {
        if ((unsigned char) *cell < 0x20 || *cell == 0x7f) {
            *cell = '?';
        }
    }
}


int
corral_output_closed(void)
{
    struct pollfd  pfd;

    pfd.fd = STDOUT_FILENO;
    pfd.events = 0;

    return poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLERR);
}
