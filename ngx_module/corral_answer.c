
/*
 * What is a request and what is its answer.
 *
 *   jsonrpc   a request has "id" and "method", its answer the same "id" and
 *             "result" or "error".  An error is always final, a result unless
 *             answer_final is set and does not hold one of answer_finals
 *   events    a request is a message whose name (answer_name) is one of
 *             answer_requests; its answer has the same value at answer_reply_id
 *             as the request at answer_id, and a name of answer_streams (more
 *             follows) or answer_finals
 *   pointers  a request is a message with a value at answer_id, its answer one
 *             with the same value at answer_reply_id; it is final unless
 *             answer_final is set and does not hold one of answer_finals
 *
 * A message that is no JSON object, is binary or compressed has no correlation:
 * it asks for nothing and answers nothing.  The caller does not scan it.
 *
 * Pure: no I/O, no clock, no allocation.
 */


#include "corral_answer.h"

#include <stdio.h>
#include <string.h>


static int corral_answer_compile_pointer(corral_pointer_t *pointer,
    const char *field, const corral_str_t *text, char *err, size_t size);
static int corral_answer_compile_names(corral_answer_names_t *names,
    const char *field, const corral_strs_t *list, char *err, size_t size);
static int corral_answer_named(const corral_answer_names_t *names,
    const corral_pointer_value_t *value);
static uint64_t corral_answer_key(const corral_pointer_value_t *value);


/* places of the values in a scan, in the order of the calls of want() */

enum { CORRAL_ANSWER_ID = 0, CORRAL_ANSWER_NAME };
enum { CORRAL_ANSWER_REPLY = 0, CORRAL_ANSWER_END, CORRAL_ANSWER_RESULT,
       CORRAL_ANSWER_ERROR };


/*
 * Compiles the declaration of a service.  Returns 0, or -1 and a sentence in
 * err.  A service without one gets rules by which every message is a note.
 */

int
corral_answer_compile(corral_answer_rules_t *rules, const corral_service_t *s,
    char *err, size_t size)
{
    static const corral_str_t  id = { 3, "/id" }, method = { 7, "/method" },
                               result = { 7, "/result" },
                               error = { 6, "/error" };

    int                        rc, jsonrpc;

    memset(rules, 0, sizeof(corral_answer_rules_t));

    rules->mode = (uint32_t) s->answer;
    rules->preamble = (uint32_t) s->preamble_messages;

    if (s->answer == CORRAL_ANSWER_MODE_NONE) {
        return 0;
    }

    jsonrpc = s->answer == CORRAL_ANSWER_MODE_JSONRPC;

    rc = corral_answer_compile_pointer(&rules->id, "answer_id",
                                       jsonrpc ? &id : &s->answer_id, err,
                                       size);
    rc |= corral_answer_compile_pointer(&rules->reply, "answer_reply_id",
                                        jsonrpc ? &id
                                        : (s->answer_reply_id.len
                                           ? &s->answer_reply_id
                                           : &s->answer_id), err, size);
    rc |= corral_answer_compile_pointer(&rules->name, "answer_name",
                                        jsonrpc ? &method : &s->answer_name,
                                        err, size);

    /* the name of an event is what says that it is final */

    rc |= corral_answer_compile_pointer(&rules->final, "answer_final",
                                s->answer == CORRAL_ANSWER_MODE_EVENTS
                                ? &s->answer_name : &s->answer_final,
                                err, size);

    rc |= corral_answer_compile_names(&rules->requests, "answer_requests",
                                      &s->answer_requests, err, size);
    rc |= corral_answer_compile_names(&rules->finals, "answer_finals",
                                      &s->answer_finals, err, size);
    rc |= corral_answer_compile_names(&rules->streams, "answer_streams",
                                      &s->answer_streams, err, size);
    rc |= corral_answer_compile_names(&rules->preambles, "preamble_names",
                                      &s->preamble_names, err, size);

    if (jsonrpc) {
        (void) corral_pointer_parse(&rules->result, result.data, result.len);
        (void) corral_pointer_parse(&rules->error, error.data, error.len);
    }

    return rc ? -1 : 0;
}


static int
corral_answer_compile_pointer(corral_pointer_t *pointer, const char *field,
    const corral_str_t *text, char *err, size_t size)
{
    if (text->len == 0
        || corral_pointer_parse(pointer, text->data, text->len) == 0)
    {
        return 0;
    }

    snprintf(err, size, "\"%s\" is \"%.64s\", it must be a JSON pointer such "
             "as \"/params/id\" of at most %d parts", field, text->data,
             CORRAL_POINTER_TOKENS);

    return -1;
}


static int
corral_answer_compile_names(corral_answer_names_t *names, const char *field,
    const corral_strs_t *list, char *err, size_t size)
{
    uint32_t  i;

    if (list->n > CORRAL_ANSWER_NAMES) {
        snprintf(err, size, "\"%s\" has %u items, it must have at most %d",
                 field, list->n, CORRAL_ANSWER_NAMES);
        return -1;
    }

    names->n = list->n;

    for (i = 0; i < list->n; i++) {
        names->hashes[i] = corral_pointer_hash(list->items[i].data,
                                               list->items[i].len);
    }

    return 0;
}


/* Begins a message of the client. */

void
corral_answer_begin_client(const corral_answer_rules_t *rules,
    corral_pointer_scan_t *scan)
{
    corral_pointer_begin(scan);

    (void) corral_pointer_want(scan, &rules->id);
    (void) corral_pointer_want(scan, &rules->name);
}


/* Begins a message of the agent. */

void
corral_answer_begin_agent(const corral_answer_rules_t *rules,
    corral_pointer_scan_t *scan)
{
    corral_pointer_begin(scan);

    (void) corral_pointer_want(scan, &rules->reply);
    (void) corral_pointer_want(scan, &rules->final);

    if (rules->mode == CORRAL_ANSWER_MODE_JSONRPC) {
        (void) corral_pointer_want(scan, &rules->result);
        (void) corral_pointer_want(scan, &rules->error);
    }
}


/* What the client's message is, by as much of it as was scanned. */

corral_answer_t
corral_answer_of_client(const corral_answer_rules_t *rules,
    const corral_pointer_scan_t *scan)
{
    int                            request;
    corral_answer_t                a;
    const corral_pointer_value_t  *name;

    memset(&a, 0, sizeof(corral_answer_t));

    name = &scan->values[CORRAL_ANSWER_NAME];

    a.key = corral_answer_key(&scan->values[CORRAL_ANSWER_ID]);
    a.preamble = (unsigned) corral_answer_named(&rules->preambles, name);

    switch (rules->mode) {

    case CORRAL_ANSWER_MODE_JSONRPC:
        request = a.key && name->type == CORRAL_POINTER_STRING;
        break;

    case CORRAL_ANSWER_MODE_EVENTS:
        request = corral_answer_named(&rules->requests, name);
        break;

    case CORRAL_ANSWER_MODE_POINTERS:
        request = a.key != 0;
        break;

    default: /* CORRAL_ANSWER_MODE_NONE */
        request = 0;
        break;
    }

    a.kind = request ? CORRAL_ANSWER_REQUEST : CORRAL_ANSWER_NOTE;

    return a;
}


/*
 * Where in the client's message its id is: the bytes from begin to before end.
 * Returns 0, and nothing there, if it has none.
 */

int
corral_answer_where(const corral_pointer_scan_t *scan, size_t *begin,
    size_t *end)
{
    const corral_pointer_value_t  *id;

    id = &scan->values[CORRAL_ANSWER_ID];

    if (corral_answer_key(id) == 0) {
        return 0;
    }

    *begin = id->begin;
    *end = id->end;

    return 1;
}


/* What the agent's message is, by as much of it as was scanned. */

corral_answer_t
corral_answer_of_agent(const corral_answer_rules_t *rules,
    const corral_pointer_scan_t *scan)
{
    int                            more;
    corral_answer_t                a;
    const corral_pointer_value_t  *v;

    memset(&a, 0, sizeof(corral_answer_t));

    v = scan->values;
    a.key = corral_answer_key(&v[CORRAL_ANSWER_REPLY]);

    more = rules->final.n
           && !corral_answer_named(&rules->finals, &v[CORRAL_ANSWER_END]);

    switch (rules->mode) {

    case CORRAL_ANSWER_MODE_JSONRPC:

        if (a.key == 0) {
            break;
        }

        if (v[CORRAL_ANSWER_ERROR].type > CORRAL_POINTER_NULL) {
            a.kind = CORRAL_ANSWER_FINAL;

        } else if (v[CORRAL_ANSWER_RESULT].type != CORRAL_POINTER_NONE) {
            a.kind = more ? CORRAL_ANSWER_STARTED : CORRAL_ANSWER_FINAL;
        }

        break;

    case CORRAL_ANSWER_MODE_EVENTS:

        if (!more) {
            a.kind = CORRAL_ANSWER_FINAL;

        } else if (corral_answer_named(&rules->streams,
                                       &v[CORRAL_ANSWER_END]))
        {
            a.kind = CORRAL_ANSWER_STARTED;
        }

        break;

    case CORRAL_ANSWER_MODE_POINTERS:

        if (a.key) {
            a.kind = more ? CORRAL_ANSWER_STARTED : CORRAL_ANSWER_FINAL;
        }

        break;

    default: /* CORRAL_ANSWER_MODE_NONE */
        break;
    }

    return a;
}


static int
corral_answer_named(const corral_answer_names_t *names,
    const corral_pointer_value_t *value)
{
    uint32_t  i;

    if (value->type != CORRAL_POINTER_STRING
        && value->type != CORRAL_POINTER_PLAIN)
    {
        return 0;
    }

    for (i = 0; i < names->n; i++) {
        if (names->hashes[i] == value->hash) {
            return 1;
        }
    }

    return 0;
}


/* null, objects and arrays correlate nothing */

static uint64_t
corral_answer_key(const corral_pointer_value_t *value)
{
    return value->type == CORRAL_POINTER_STRING
           || value->type == CORRAL_POINTER_PLAIN
           ? value->hash : 0;
}
