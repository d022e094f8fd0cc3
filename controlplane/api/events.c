
/*
 * What happens, as it happens: server-sent events or lines of JSON.
 *
 * The id of an event is its id in Redis' stream.  Who comes with the id of the
 * last one he has seen gets what he missed first; while that is read, new
 * events only raise a flag, and the reading goes on until none came meanwhile:
 * so none is lost between the two, and none comes twice.  Is his id no longer
 * kept, he gets "reset" and must look at everything anew.
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/bus.h"
#include "../base/clock.h"
#include "api.h"
#include "stream.h"


#define CORRALD_EVENTS_BATCH  1000

/* what types= can have: types, and kinds of what an event is about */

#define corrald_events_word(type, text)  " " #type
#define CORRALD_EVENTS_WORDS                                                  \
    CORRAL_EVENTS(corrald_events_word)                                        \
    " service instance rule connection revocation node worker"


typedef struct corrald_events_s  corrald_events_t;

struct corrald_events_s {
    corrald_events_t        *next;
    corrald_stream_t        *stream; /* NULL: the client is gone */
    corrald_stream_type_e    type;
    char                    *types;  /* words, or NULL for all */
    char                    *service;
    char                     last[48];
    int                      follow;
    int                      count;  /* of a list that does not follow */
    int                      reading;
    int                      missed; /* events came while reading */
    int                      checked;
};


static void corrald_events_gone(void *data);
static void corrald_events_free(corrald_events_t *e);
static void corrald_events_more(corrald_events_t *e);
static void corrald_events_oldest(json_t *value, const char *err, void *data);
static void corrald_events_read(json_t *value, const char *err, void *data);
static void corrald_events_snapshot(corrald_events_t *e);
static void corrald_events_take(corrald_bus_type_e type, const void *payload,
    void *data);
static void corrald_events_reset(corrald_events_t *e, const char *why);
static void corrald_events_write(corrald_events_t *e, const char *id,
    const char *type, const char *kind, const char *object,
    const json_t *data);
static int corrald_events_wanted(const corrald_events_t *e, const char *type,
    const char *kind, const char *object, const json_t *data);
static int corrald_events_compare(const char *a, const char *b);
static int corrald_events_valid(const char *id);


static corrald_events_t  *corrald_events_first;
static char               corrald_events_seen[48];


int
corrald_events_open(void)
{
    return corrald_bus_on(CORRALD_BUS_EVENT, corrald_events_take, NULL) != 0
           || corrald_bus_on(CORRALD_BUS_RESET, corrald_events_take, NULL)
              != 0
           ? -1 : 0;
}


void
corrald_events_list(corrald_rest_t *r)
{
    int                follow, snapshot;
    int64_t            limit;
    const char        *last, *text;
    corrald_events_t  *e;

    last = corrald_rest_header(r, "Last-Event-ID");
    last = last ? last : corrald_rest_query(r, "last_event_id");

    if (corrald_rest_query_bool(r, "follow", 1, &follow) != 0
        || corrald_rest_query_bool(r, "snapshot", 0, &snapshot) != 0
        || corrald_rest_query_int(r, "limit", 100, 1, CORRALD_EVENTS_BATCH,
                                  &limit)
           != 0
        || corrald_rest_query_words(r, "types", CORRALD_EVENTS_WORDS) != 0)
    {
        return;
    }

    if (last && !corrald_events_valid(last)) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST, "Last-Event-ID "
                             "is \"%.48s\", it must be an id that an event "
                             "had", last);
        return;
    }

    e = corrald_alloc(1, sizeof(*e), "for a stream");

    text = corrald_rest_query(r, "types");
    e->types = text ? strdup(text) : NULL;
    text = corrald_rest_query(r, "service");
    e->service = text ? strdup(text) : NULL;
    e->follow = follow;
    e->count = (int) limit;
    e->type = corrald_stream_type(r, CORRALD_STREAM_SSE);

    if (e->type == CORRALD_STREAM_TEXT) {
        e->type = CORRALD_STREAM_SSE;
    }

    snprintf(e->last, sizeof(e->last), "%s", last ? last : "");

    e->stream = corrald_stream_begin(r, e->type, corrald_events_gone, NULL, e);

    if (e->stream == NULL) {
        free(e->types);
        free(e->service);
        free(e);
        return;
    }

    e->next = corrald_events_first;
    corrald_events_first = e;

    if (e->type == CORRALD_STREAM_SSE) {
        (void) corrald_stream_write(e->stream, "retry: 2000\n\n", 13);
    }

    if (snapshot) {
        corrald_events_snapshot(e);
    }

    if (*e->last) {
        e->reading = 1;
        corrald_store_events("", 1, 0, corrald_events_oldest, e);
        return;
    }

    if (!follow) {
        e->reading = 1;
        corrald_store_events("", (size_t) limit, 1, corrald_events_read, e);
        return;
    }

    snprintf(e->last, sizeof(e->last), "%s", corrald_events_seen);
}


/* The stream is over; what is being read for it finds it gone. */

static void
corrald_events_gone(void *data)
{
    corrald_events_t  *e, **link;

    e = data;
    e->stream = NULL;

    for (link = &corrald_events_first; *link != e; link = &(*link)->next) {
        /* void */
    }

    *link = e->next;

    if (!e->reading) {
        corrald_events_free(e);
    }
}


static void
corrald_events_free(corrald_events_t *e)
{
    free(e->types);
    free(e->service);
    free(e);
}


static void
corrald_events_more(corrald_events_t *e)
{
    e->missed = 0;
    corrald_store_events(e->last, CORRALD_EVENTS_BATCH, 0,
                         corrald_events_read, e);
}


/* Is the id of the client still within what is kept? */

static void
corrald_events_oldest(json_t *value, const char *err, void *data)
{
    json_t            *oldest;
    corrald_events_t  *e;

    e = data;

    if (e->stream == NULL) {
        corrald_events_free(e);
        return;
    }

    oldest = json_array_get(value, 0);

    /*
     * Nothing kept, or only what is younger: some may be missing.  An id that
     * is younger than all belongs to another store.
     */

    if (value && (oldest == NULL
                  || corrald_events_compare(e->last,
                                            corrald_doc_str(oldest, "id"))
                     < 0))
    {
        corrald_events_reset(e, "events after this id are no longer kept");
        e->last[0] = '\0';

    } else if (*corrald_events_seen
               && corrald_events_compare(e->last, corrald_events_seen) > 0)
    {
        corrald_events_reset(e, "this id belongs to another store");
        e->last[0] = '\0';
    }

    corrald_events_more(e);
}


static void
corrald_events_read(json_t *value, const char *err, void *data)
{
    size_t             i;
    json_t            *event;
    corrald_events_t  *e;

    e = data;

    if (e->stream == NULL) {
        corrald_events_free(e);
        return;
    }

    json_array_foreach(value, i, event) {
        corrald_events_write(e, corrald_doc_str(event, "id"),
                             corrald_doc_str(event, "type"),
                             corrald_doc_str(event, "kind"),
                             corrald_doc_str(event, "object"),
                             json_object_get(event, "data"));
    }

    if (json_array_size(value) == CORRALD_EVENTS_BATCH
        || (value && e->missed && e->follow))
    {
        corrald_events_more(e);
        return;
    }

    e->reading = 0;

    if (!e->follow || value == NULL) {

        /* without Redis the client tries again later */

        corrald_stream_end(e->stream);
    }
}


/* All that is, as one event: what follows are changes of it. */

static void
corrald_events_snapshot_entry(const corrald_entry_t *entry, void *data)
{
    json_array_append_new(data, entry->kind == CORRALD_RULE
                                ? corrald_routes_show(entry)
                                : entry->kind == CORRALD_SERVICE
                                  ? corrald_services_show(entry)
                                  : corrald_instances_show(entry));
}


static void
corrald_events_snapshot(corrald_events_t *e)
{
    json_t  *services, *instances, *rules, *data;

    rules = json_array();
    services = json_array();
    instances = json_array();

    corrald_store_each(CORRALD_SERVICE, corrald_events_snapshot_entry,
                       services);
    corrald_store_each(CORRALD_INSTANCE, corrald_events_snapshot_entry,
                       instances);

    corrald_store_each(CORRALD_RULE, corrald_events_snapshot_entry, rules);

    data = json_pack("{s:I, s:o, s:o, s:o}", "revision",
                     (json_int_t) corrald_store_status()->revision,
                     "services", services, "instances", instances,
                     "rules", rules);

    corrald_events_write(e, "", "snapshot", "", "", data);
    json_decref(data);
}


static void
corrald_events_take(corrald_bus_type_e type, const void *payload, void *data)
{
    json_t                     *detail;
    corrald_events_t           *e, *next;
    const corrald_bus_event_t  *event;

    if (type == CORRALD_BUS_RESET) {
        for (e = corrald_events_first; e; e = next) {
            next = e->next;
            corrald_events_reset(e, "the store was replaced");
        }

        return;
    }

    event = payload;

    snprintf(corrald_events_seen, sizeof(corrald_events_seen), "%s",
             event->stream_id);

    if (corrald_events_first == NULL) {
        return;
    }

    detail = json_loads(event->data, 0, NULL);

    for (e = corrald_events_first; e; e = next) {
        next = e->next;

        if (e->reading) {
            e->missed = 1;
            continue;
        }

        if (e->follow
            && corrald_events_compare(event->stream_id, e->last) > 0)
        {
            corrald_events_write(e, event->stream_id, event->type,
                                 event->kind, event->id, detail);
        }
    }

    json_decref(detail);
}


static void
corrald_events_reset(corrald_events_t *e, const char *why)
{
    json_t  *data;

    data = json_pack("{s:s}", "detail", why);
    corrald_events_write(e, "", "reset", "", "", data);
    json_decref(data);
}


/* One event to one client, if it wants it. */

static void
corrald_events_write(corrald_events_t *e, const char *id, const char *type,
    const char *kind, const char *object, const json_t *data)
{
    char           *text, when[CORRALD_CLOCK_SIZE];
    json_t         *event;
    corrald_buf_t   b;

    if (*id) {
        snprintf(e->last, sizeof(e->last), "%s", id);
    }

    if (*id && !corrald_events_wanted(e, type, kind, object, data)) {
        return;
    }

    event = json_pack("{s:s, s:s, s:s, s:s, s:O?}", "type", type,
                      "kind", kind, "id", object,
                      "time", *id ? corrald_clock_format(strtoll(id, NULL, 10),
                                                         when, sizeof(when))
                                  : corrald_clock_now(when, sizeof(when)),
                      "data", data);

    if (event && *id && e->type == CORRALD_STREAM_NDJSON) {
        json_object_set_new(event, "event_id", json_string(id));
    }

    text = json_dumps(event, JSON_COMPACT);
    json_decref(event);

    if (text == NULL) {
        return;
    }

    corrald_buf_init(&b, 67108864);

    if (e->type == CORRALD_STREAM_NDJSON) {
        corrald_buf_printf(&b, "%s\n", text);

    } else {
        if (*id) {
            corrald_buf_printf(&b, "id: %s\n", id);
        }

        corrald_buf_printf(&b, "event: %s\ndata: %s\n\n", type, text);
    }

    if (!b.failed && e->stream) {
        (void) corrald_stream_write(e->stream, b.data, b.len);
    }

    corrald_buf_free(&b);
    free(text);
}


/* types holds types and kinds; service is an id or a name. */

static int
corrald_events_wanted(const corrald_events_t *e, const char *type,
    const char *kind, const char *object, const json_t *data)
{
    const char             *id;
    const corrald_entry_t  *service;

    if (e->types && !corrald_uri_word(e->types, type)
        && !corrald_uri_word(e->types, kind))
    {
        return 0;
    }

    if (e->service == NULL) {
        return 1;
    }

    id = strcmp(kind, "service") == 0 ? object
                                      : corrald_doc_str(data, "service_id");

    if (strcmp(id, e->service) == 0) {
        return 1;
    }

    service = corrald_store_get(CORRALD_SERVICE, id);

    return strcmp(service ? corrald_doc_str(service->doc, "name")
                          : corrald_doc_str(data, "name"), e->service)
           == 0;
}


/* Ids are "ms-number"; an empty one is before all. */

static int
corrald_events_compare(const char *a, const char *b)
{
    uint64_t  ma, mb, na, nb;

    ma = mb = na = nb = 0;

    (void) sscanf(a, "%" SCNu64 "-%" SCNu64, &ma, &na);
    (void) sscanf(b, "%" SCNu64 "-%" SCNu64, &mb, &nb);

    if (ma != mb) {
        return ma < mb ? -1 : 1;
    }

    return na == nb ? 0 : na < nb ? -1 : 1;
}


static int
corrald_events_valid(const char *id)
{
    size_t  a, b;

    a = strspn(id, "0123456789");

    if (a == 0 || a > 19 || id[a] != '-') {
        return 0;
    }

    b = strspn(id + a + 1, "0123456789");

    return b > 0 && b <= 19 && id[a + 1 + b] == '\0';
}
