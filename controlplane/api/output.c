
/*
 * What agents print: the newest lines of one or all instances, and what comes.
 *
 * The files are those of this node; the engine reads them (engine/logs.h).  A
 * client that reads slowly stops the reading of the files, not the agent.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_duration.h>
#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/log.h"
#include "../engine/logs.h"
#include "api.h"
#include "stream.h"


/* instances that one request follows */

#define CORRALD_OUTPUT_MAX    64

/* bytes on the way to the client until the files are read no further */

#define CORRALD_OUTPUT_AHEAD  65536


typedef struct corrald_output_s  corrald_output_t;

typedef struct {
    corrald_output_t        *output;
    corrald_logs_follow_t   *follow;
    char                     id[CORRAL_ID_MAX + 1];
} corrald_output_source_t;

struct corrald_output_s {
    corrald_rest_t           *r;
    corrald_stream_t         *stream;    /* NULL: the client is gone */
    corrald_stream_type_e     type;
    int                       json;      /* one object, not a stream */
    int                       follow;
    int                       several;   /* lines name their instance */
    int                       reading;
    corrald_logs_query_t      query;
    char                     *search;
    size_t                    n;
    size_t                    open;
    corrald_output_source_t   sources[CORRALD_OUTPUT_MAX];
};


static void corrald_output_begin(corrald_rest_t *r, corrald_output_t *o);
static int corrald_output_query(corrald_rest_t *r, corrald_output_t *o);
static int corrald_output_time(corrald_rest_t *r, const char *name,
    int64_t *ms);
static void corrald_output_add(const corrald_entry_t *entry, void *data);
static corrald_output_t *corrald_output_make(void);
static void corrald_output_free(corrald_output_t *o);
static void corrald_output_fetched(json_t *value, const char *err,
    void *data);
static void corrald_output_line(corrald_output_t *o, const json_t *line);
static void corrald_output_follow(corrald_output_t *o, const char *cursor);
static int corrald_output_came(const corrald_logs_line_t *line, void *data);
static void corrald_output_removed(void *data);
static void corrald_output_gone(void *data);
static void corrald_output_more(void *data);


void
corrald_output_instance(corrald_rest_t *r)
{
    json_t                 *files;
    corrald_output_t       *o;
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_INSTANCE, r->params[0]);

    /* the output stays for a while after its instance */

    if (entry == NULL) {
        files = strlen(r->params[0]) <= CORRAL_ID_MAX
                ? corrald_logs_files(r->params[0]) : NULL;

        if (json_array_size(files) == 0) {
            json_decref(files);
            corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                                 "there is no instance \"%.64s\"",
                                 r->params[0]);
            return;
        }

        json_decref(files);
    }

    if (entry && strcmp(corrald_doc_str(entry->doc, "node"),
                        corrald_conf()->node)
                 != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "instance \"%s\" "
                             "runs on node \"%s\": ask its corrald",
                             entry->id, corrald_doc_str(entry->doc, "node"));
        return;
    }

    o = corrald_output_make();
    o->n = 1;
    snprintf(o->sources[0].id, sizeof(o->sources[0].id), "%.64s",
             r->params[0]);

    corrald_output_begin(r, o);
}


void
corrald_output_service(corrald_rest_t *r)
{
    corrald_output_t       *o;
    const corrald_entry_t  *entry;

    entry = corrald_services_find(r);

    if (entry == NULL) {
        return;
    }

    o = corrald_output_make();
    o->several = 1;

    corrald_store_instances(entry->id, corrald_output_add, o);
    corrald_output_begin(r, o);
}


static void
corrald_output_begin(corrald_rest_t *r, corrald_output_t *o)
{
    size_t       i;
    const char  *ids[CORRALD_OUTPUT_MAX];

    if (corrald_output_query(r, o) != 0) {
        corrald_output_free(o);
        return;
    }

    o->type = corrald_stream_type(r, CORRALD_STREAM_TEXT);
    o->json = strstr(corrald_rest_accept(r), "application/json") != NULL
              && !o->follow;

    if (o->json) {
        o->r = r;

    } else {
        o->stream = corrald_stream_begin(r, o->type, corrald_output_gone,
                                         corrald_output_more, o);

        if (o->stream == NULL) {
            corrald_output_free(o);
            return;
        }
    }

    for (i = 0; i < o->n; i++) {
        o->sources[i].output = o;
        ids[i] = o->sources[i].id;
    }

    o->reading = 1;
    corrald_logs_fetch(ids, o->n, &o->query, corrald_output_fetched, o);
}


static int
corrald_output_query(corrald_rest_t *r, corrald_output_t *o)
{
    int64_t      tail;
    const char  *text;

    if (corrald_rest_query_int(r, "tail", 100, 0, CORRALD_LOGS_TAIL_MAX,
                               &tail)
        != 0
        || corrald_rest_query_bool(r, "follow", 0, &o->follow) != 0
        || corrald_output_time(r, "since", &o->query.since) != 0
        || corrald_output_time(r, "until", &o->query.until) != 0)
    {
        return -1;
    }

    o->query.tail = (size_t) tail;

    text = corrald_rest_query(r, "stream");

    if (text) {
        o->query.stream = strcmp(text, "stdout") == 0 ? 'O'
                          : strcmp(text, "stderr") == 0 ? 'E'
                          : strcmp(text, "corral") == 0 ? 'S' : '\0';

        if (o->query.stream == '\0') {
            corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                                 "\"stream\" is \"%.32s\", it can be: stdout "
                                 "stderr corral", text);
            return -1;
        }
    }

    text = corrald_rest_query(r, "level");

    if (text) {
        o->query.level = corrald_logs_level(text, strlen(text));

        if (o->query.level == CORRALD_LOGS_NONE) {
            corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                                 "\"level\" is \"%.32s\", it can be: trace "
                                 "debug info warn error fatal", text);
            return -1;
        }
    }

    text = corrald_rest_query(r, "search");

    if (text && *text) {
        o->search = strdup(text);
        o->query.search = o->search;
    }

    return 0;
}


/* RFC 3339, or an age such as 5m. */

static int
corrald_output_time(corrald_rest_t *r, const char *name, int64_t *ms)
{
    int64_t      age;
    const char  *text;

    text = corrald_rest_query(r, name);

    if (text == NULL) {
        return 0;
    }

    age = corral_duration_parse(text, strlen(text));
    *ms = age >= 0 ? corrald_clock_ms() - age : corrald_clock_parse(text);

    if (*ms < 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"%s\" is \"%.40s\", it must be a time as in "
                             "2026-01-31T12:00:00Z or an age such as 5m",
                             name, text);
        return -1;
    }

    return 0;
}


/* Only what this node has; the newest 64 of more. */

static void
corrald_output_add(const corrald_entry_t *entry, void *data)
{
    corrald_output_t  *o;

    o = data;

    if (o->n < CORRALD_OUTPUT_MAX
        && strcmp(corrald_doc_str(entry->doc, "node"), corrald_conf()->node)
           == 0)
    {
        snprintf(o->sources[o->n].id, sizeof(o->sources[o->n].id), "%.64s",
                 entry->id);
        o->n++;
    }
}


static corrald_output_t *
corrald_output_make(void)
{
    corrald_output_t  *o;

    o = corrald_alloc(1, sizeof(*o), "for a stream");

    return o;
}


static void
corrald_output_free(corrald_output_t *o)
{
    size_t  i;

    for (i = 0; i < o->n; i++) {
        if (o->sources[i].follow) {
            corrald_logs_unfollow(&o->sources[i].follow);
        }
    }

    free(o->search);
    free(o);
}


static void
corrald_output_fetched(json_t *value, const char *err, void *data)
{
    size_t             i;
    json_t            *lines, *line;
    corrald_output_t  *o;

    o = data;
    o->reading = 0;

    if (o->json) {
        if (value) {
            lines = json_object_get(value, "lines");
            corrald_rest_json(o->r, 200,
                              json_pack("{s:O, s:I, s:b}", "items", lines,
                                        "total", (json_int_t)
                                        json_array_size(lines),
                                        "truncated", json_is_true(
                                            json_object_get(value,
                                                            "truncated"))));

        } else {
            corrald_rest_problem(o->r, CORRALD_PROBLEM_INTERNAL_ERROR, "%s",
                                 err);
        }

        corrald_output_free(o);
        return;
    }

    if (o->stream == NULL) {
        corrald_output_free(o);
        return;
    }

    json_array_foreach(json_object_get(value, "lines"), i, line) {
        corrald_output_line(o, line);
    }

    if (value == NULL) {
        corrald_log_warn("logs cannot be read: %s", err);
    }

    if (!o->follow || value == NULL) {
        corrald_stream_end(o->stream);
        return;
    }

    corrald_output_follow(o, corrald_doc_str(value, "cursor"));
}


/* A line as an object, in the form of the stream. */

static void
corrald_output_line(corrald_output_t *o, const json_t *line)
{
    char           *text;
    corrald_buf_t   b;

    corrald_buf_init(&b, 16777216);

    if (o->type == CORRALD_STREAM_TEXT) {
        if (o->several) {
            corrald_buf_printf(&b, "%s | ", corrald_doc_str(line,
                                                            "instance_id"));
        }

        corrald_buf_printf(&b, "%s\n", corrald_doc_str(line, "text"));

    } else {
        text = json_dumps(line, JSON_COMPACT);
        corrald_buf_printf(&b, o->type == CORRALD_STREAM_SSE
                               ? "event: line\ndata: %s\n\n" : "%s\n",
                           text ? text : "{}");
        free(text);
    }

    if (!b.failed) {
        (void) corrald_stream_write(o->stream, b.data, b.len);
    }

    corrald_buf_free(&b);
}


static void
corrald_output_follow(corrald_output_t *o, const char *cursor)
{
    char                      err[256];
    size_t                    i;
    corrald_output_source_t  *s;

    for (i = 0; i < o->n; i++) {
        s = &o->sources[i];

        s->follow = corrald_logs_follow(s->id, &o->query,
                                        o->n == 1 && *cursor ? cursor : NULL,
                                        corrald_output_came,
                                        corrald_output_removed, s, err,
                                        sizeof(err));
        if (s->follow == NULL) {
            corrald_log_warn("the log of \"%s\" cannot be followed: %s", s->id,
                             err);
            continue;
        }

        o->open++;
    }

    if (o->open == 0) {
        corrald_stream_end(o->stream);
    }
}


static int
corrald_output_came(const corrald_logs_line_t *line, void *data)
{
    json_t                   *object;
    corrald_output_t         *o;
    corrald_output_source_t  *s;

    s = data;
    o = s->output;

    if (o->stream == NULL) {
        return 1;
    }

    object = corrald_logs_json(s->id, line);

    if (object) {
        corrald_output_line(o, object);
        json_decref(object);
    }

    return corrald_stream_pending(o->stream) > CORRALD_OUTPUT_AHEAD;
}


static void
corrald_output_removed(void *data)
{
    corrald_output_source_t  *s;

    s = data;
    s->follow = NULL;

    if (--s->output->open == 0 && s->output->stream) {
        corrald_stream_end(s->output->stream);
    }
}


static void
corrald_output_gone(void *data)
{
    corrald_output_t  *o;

    o = data;
    o->stream = NULL;

    if (!o->reading) {
        corrald_output_free(o);
    }
}


/* The client has taken all: on with the files. */

static void
corrald_output_more(void *data)
{
    size_t             i;
    corrald_output_t  *o;

    o = data;

    for (i = 0; i < o->n; i++) {
        if (o->sources[i].follow) {
            corrald_logs_resume(o->sources[i].follow);
        }
    }
}
