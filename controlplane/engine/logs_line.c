/*
 * One line of a log: its form, its level, whether it is asked for, and the
 * object that answers have of it.  Pure.
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../base/clock.h"
#include "logs.h"


/* of the beginning of a line, where its level is looked for */

#define CORRALD_LOGS_HEAD  512


static char *corrald_logs_utf8(const char *text, size_t len, size_t *size);
static corrald_logs_level_e corrald_logs_find_level(const char *text,
    size_t len);
static corrald_logs_level_e corrald_logs_member(const char *text, size_t len,
    const char *name, int json);
static corrald_logs_level_e corrald_logs_words(const char *text, size_t len);
static int corrald_logs_contains(const char *text, size_t len,
    const char *part);


static const struct {
    const char            *word;
    corrald_logs_level_e   level;
} corrald_logs_level_words[] = {
    { "trace",    CORRALD_LOGS_trace },
    { "debug",    CORRALD_LOGS_debug },
    { "dbg",      CORRALD_LOGS_debug },
    { "info",     CORRALD_LOGS_info  },
    { "notice",   CORRALD_LOGS_info  },
    { "warn",     CORRALD_LOGS_warn  },
    { "warning",  CORRALD_LOGS_warn  },
    { "error",    CORRALD_LOGS_error },
    { "err",      CORRALD_LOGS_error },
    { "critical", CORRALD_LOGS_fatal },
    { "crit",     CORRALD_LOGS_fatal },
    { "alert",    CORRALD_LOGS_fatal },
    { "emerg",    CORRALD_LOGS_fatal },
    { "fatal",    CORRALD_LOGS_fatal },
    { "panic",    CORRALD_LOGS_fatal },

    /* numbers of pino and bunyan */

    { "10",       CORRALD_LOGS_trace },
    { "20",       CORRALD_LOGS_debug },
    { "30",       CORRALD_LOGS_info  },
    { "40",       CORRALD_LOGS_warn  },
    { "50",       CORRALD_LOGS_error },
    { "60",       CORRALD_LOGS_fatal }
};


corrald_logs_level_e
corrald_logs_level(const char *word, size_t len)
{
    size_t  i, n;

    n = sizeof(corrald_logs_level_words) / sizeof(corrald_logs_level_words[0]);

    for (i = 0; i < n; i++) {
        if (strlen(corrald_logs_level_words[i].word) == len
            && strncasecmp(corrald_logs_level_words[i].word, word, len) == 0)
        {
            return corrald_logs_level_words[i].level;
        }
    }

    return CORRALD_LOGS_NONE;
}


/* The word of a level; NULL for NONE. */

const char *
corrald_logs_level_name(corrald_logs_level_e level)
{
    static const char  *names[] = {
        NULL,
#define X(level)  #level,
        CORRALD_LOGS_LEVELS(X)
#undef X
    };

    return names[level];
}


int
corrald_logs_parse(const char *data, size_t len, corrald_logs_line_t *line)
{
    char         stamp[32];
    size_t       n;
    const char  *p;

    p = memchr(data, ' ', len < 32 ? len : 32);

    if (p == NULL || p - data < 20 || p[-1] != 'Z') {
        return -1;
    }

    n = (size_t) (p - data);
    memcpy(stamp, data, n);
    stamp[n] = '\0';

    line->time = corrald_clock_parse(stamp);

    if (line->time < 0) {
        return -1;
    }

    p++;
    n = len - (size_t) (p - data);

    if (n < 2 || (*p != 'O' && *p != 'E' && *p != 'S')) {
        return -1;
    }

    line->stream = *p++;
    line->partial = (*p == '+');
    p += line->partial;

    if (p >= data + len || *p != ' ') {
        return -1;
    }

    line->text = p + 1;
    line->len = len - (size_t) (line->text - data);
    line->level = (line->stream == 'S')
                  ? CORRALD_LOGS_info
                  : corrald_logs_find_level(line->text, line->len);

    return 0;
}


int
corrald_logs_match(const corrald_logs_line_t *line,
    const corrald_logs_query_t *query)
{
    corrald_logs_level_e  level;

    if ((query->since != 0 && line->time < query->since)
        || (query->until != 0 && line->time >= query->until)
        || (query->stream != 0 && line->stream != query->stream))
    {
        return 0;
    }

    if (query->level != CORRALD_LOGS_NONE) {
        level = line->level;

        if (level == CORRALD_LOGS_NONE) {
            level = (line->stream == 'E') ? CORRALD_LOGS_warn
                                          : CORRALD_LOGS_info;
        }

        if (level < query->level) {
            return 0;
        }
    }

    return query->search == NULL || query->search[0] == '\0'
           || corrald_logs_contains(line->text, line->len, query->search);
}


json_t *
corrald_logs_json(const char *instance_id, const corrald_logs_line_t *line)
{
    char    *text, at[CORRALD_CLOCK_SIZE];
    size_t   len;
    json_t  *object;

    text = corrald_logs_utf8(line->text, line->len, &len);

    if (text == NULL) {
        return NULL;
    }

    object = json_pack("{s:s, s:s, s:s, s:s?, s:b, s:s%}",
                       "time", corrald_clock_format(line->time, at,
                                                    sizeof(at)),
                       "instance_id", instance_id,
                       "stream", line->stream == 'O' ? "stdout"
                               : line->stream == 'E' ? "stderr" : "corral",
                       "level", corrald_logs_level_name(line->level),
                       "partial", line->partial,
                       "text", text, len);
    free(text);

    return object;
}


/* A copy that is UTF-8; what is not becomes U+FFFD. */

static char *
corrald_logs_utf8(const char *text, size_t len, size_t *size)
{
    char                 *out;
    size_t                i, j, n, need;
    const unsigned char  *p;

    out = malloc(len * 3 + 1);

    if (out == NULL) {
        return NULL;
    }

    p = (const unsigned char *) text;

    for (i = 0, n = 0; i < len; i += need) {

        need = p[i] < 0x80 ? 1 : (p[i] & 0xe0) == 0xc0 && p[i] >= 0xc2 ? 2
             : (p[i] & 0xf0) == 0xe0 ? 3
             : (p[i] & 0xf8) == 0xf0 && p[i] <= 0xf4 ? 4 : 0;

        for (j = 1; need > 1 && j < need; j++) {
            if (i + j >= len || (p[i + j] & 0xc0) != 0x80) {
                need = 0;
            }
        }

        /* overlong forms, surrogates, beyond Unicode */

        if ((need == 3 && ((p[i] == 0xe0 && p[i + 1] < 0xa0)
                           || (p[i] == 0xed && p[i + 1] > 0x9f)))
            || (need == 4 && ((p[i] == 0xf0 && p[i + 1] < 0x90)
                              || (p[i] == 0xf4 && p[i + 1] > 0x8f))))
        {
            need = 0;
        }

        if (need == 0) {
            memcpy(out + n, "\xef\xbf\xbd", 3);
            n += 3;
            need = 1;
            continue;
        }

        memcpy(out + n, p + i, need);
        n += need;
    }

    out[n] = '\0';
    *size = n;

    return out;
}


/*
 * The level as the line itself says it: a member of JSON, level=WORD, or a
 * word at its beginning.
 */

static corrald_logs_level_e
corrald_logs_find_level(const char *text, size_t len)
{
    size_t                 i;
    corrald_logs_level_e   level;

    static const char  *members[] = {
        "level", "lvl", "severity", "levelname", "log.level"
    };

    len = (len < CORRALD_LOGS_HEAD) ? len : CORRALD_LOGS_HEAD;

    while (len > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }

    if (len == 0) {
        return CORRALD_LOGS_NONE;
    }

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        level = corrald_logs_member(text, len, members[i], *text == '{');

        if (level != CORRALD_LOGS_NONE) {
            return level;
        }
    }

    return (*text == '{') ? CORRALD_LOGS_NONE : corrald_logs_words(text, len);
}


/* "name": "WORD" or "name": 40, else name=WORD */

static corrald_logs_level_e
corrald_logs_member(const char *text, size_t len, const char *name, int json)
{
    char         key[32];
    size_t       n;
    const char  *p, *end, *word;

    (void) snprintf(key, sizeof(key), json ? "\"%s\"" : "%s=", name);

    end = text + len;
    p = memmem(text, len, key, strlen(key));

    if (p == NULL || (!json && p > text && p[-1] != ' ')) {
        return CORRALD_LOGS_NONE;
    }

    p += strlen(key);

    while (p < end && (*p == ' ' || *p == ':' || *p == '"')) {
        p++;
    }

    word = p;

    while (p < end && ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
                       || (*p >= '0' && *p <= '9')))
    {
        p++;
    }

    n = (size_t) (p - word);

    return corrald_logs_level(word, n);
}


/*
 * One of the first six words, if it looks like a level: in capitals, in
 * brackets, or with a colon behind it.
 */

static corrald_logs_level_e
corrald_logs_words(const char *text, size_t len)
{
    int                    i, marked, upper;
    size_t                 n;
    const char            *p, *end, *word;
    corrald_logs_level_e   level;

    p = text;
    end = text + len;

    for (i = 0; i < 6 && p < end; i++) {

        marked = 0;

        while (p < end && strchr(" \t[(<|-", *p) != NULL && *p != '\0') {
            marked |= (*p == '[' || *p == '(' || *p == '<' || *p == '|');
            p++;
        }

        word = p;
        upper = 1;

        while (p < end && ((*p >= 'a' && *p <= 'z')
                           || (*p >= 'A' && *p <= 'Z')))
        {
            upper &= (*p <= 'Z');
            p++;
        }

        n = (size_t) (p - word);
        marked |= (p < end && (*p == ':' || *p == ']'));

        if (n > 1 && (upper || marked)) {
            level = corrald_logs_level(word, n);

            if (level != CORRALD_LOGS_NONE) {
                return level;
            }
        }

        while (p < end && *p != ' ' && *p != '\t') {
            p++;
        }
    }

    return CORRALD_LOGS_NONE;
}


static int
corrald_logs_contains(const char *text, size_t len, const char *part)
{
    size_t  i, n;

    n = strlen(part);

    for (i = 0; i + n <= len; i++) {
        if (strncasecmp(text + i, part, n) == 0) {
            return 1;
        }
    }

    return 0;
}
