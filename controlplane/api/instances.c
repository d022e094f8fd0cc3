
/*
 * Instances: lists, single ones, registration of external ones and their
 * heartbeats.
 *
 * Of a managed instance only the user's fields are changed here; its state is
 * its node's.  An external instance has no process of ours: the corrald that
 * took its registration writes all of it.
 */


#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_report.h>
#include <corral_schema.h>

#include "../base/clock.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/log.h"
#include "../base/loop.h"
#include "../model/patch.h"
#include "../model/rules.h"
#include "../model/state.h"
#include "../model/view.h"
#include "api.h"


/* A change on its way. */

typedef struct {
    uv_getaddrinfo_t   uv;           /* must be first; of a registration */
    corrald_rest_t    *r;
    json_t            *doc;
    char               id[CORRAL_ID_MAX + 1];
    char               host[256];
    uint16_t           port;
    int                status;
    int64_t            ttl;
} corrald_instances_change_t;


typedef struct {
    corrald_uri_row_t  *rows;
    size_t              n;
    corrald_rest_t     *r;
    const char         *sort;
} corrald_instances_rows_t;


static void corrald_instances_page(corrald_rest_t *r, const char *service_id);
static void corrald_instances_collect(const corrald_entry_t *entry,
    void *data);
static json_t *corrald_instances_row(void *row, void *data);
static void corrald_instances_words(corrald_check_t *check, const char *text);
static void corrald_instances_append(const corrald_entry_t *entry,
    void *data);
static corrald_instances_change_t *corrald_instances_make(corrald_rest_t *r,
    int status);
static void corrald_instances_free(corrald_instances_change_t *c);
static int corrald_instances_registration(corrald_rest_t *r,
    const corrald_entry_t *service, corrald_instances_change_t *c);
static void corrald_instances_resolved(uv_getaddrinfo_t *uv, int status,
    struct addrinfo *ai);
static int corrald_instances_allowed(const struct sockaddr *sa,
    uint16_t port, char *err, size_t size);
static void corrald_instances_insert(corrald_instances_change_t *c);
static void corrald_instances_alive(json_t *value, const char *err,
    void *data);
static void corrald_instances_set(corrald_rest_t *r,
    const corrald_entry_t *entry, json_t *doc, int status);
static void corrald_instances_done(const corrald_result_t *result,
    void *data);
static void corrald_instances_removed(const corrald_result_t *result,
    void *data);
static void corrald_instances_told(json_t *value, const char *err,
    void *data);
static void corrald_instances_historied(json_t *value, const char *err,
    void *data);
static void corrald_instances_none(corrald_instances_change_t *c);


void
corrald_instances_list(corrald_rest_t *r)
{
    const char             *name;
    const corrald_entry_t  *service;

    name = corrald_rest_query(r, "service");

    if (name == NULL) {
        corrald_instances_page(r, NULL);
        return;
    }

    service = corrald_store_service(name);

    corrald_instances_page(r, service ? service->id : "");
}


void
corrald_instances_of_service(corrald_rest_t *r)
{
    const corrald_entry_t  *service;

    service = corrald_services_find(r);

    if (service) {
        corrald_instances_page(r, service->id);
    }
}


void
corrald_instances_get(corrald_rest_t *r)
{
    json_t                 *view;
    const char             *fields;
    const corrald_entry_t  *entry;

    entry = corrald_instances_find(r);

    if (entry == NULL) {
        return;
    }

    corrald_rest_etag(r, entry->revision);

    view = corrald_instances_show(entry);
    fields = corrald_rest_query(r, "fields");

    if (fields) {
        corrald_view_select(view, fields);
    }

    corrald_rest_json(r, 200, view);
}


void
corrald_instances_patch(corrald_rest_t *r)
{
    int                     rc;
    json_t                 *wanted, *doc;
    corrald_check_t         check;
    const corrald_entry_t  *entry;
    const corrald_field_t  *f;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    corrald_check_init(&check);
    wanted = corrald_patch_merge(entry->doc, r->json);

    rc = corrald_check_input(&check, CORRALD_INSTANCE, wanted, entry->doc,
                             CORRALD_OWNER_user, 0);
    if (rc == 0) {
        rc = corrald_check_fill(CORRALD_INSTANCE, wanted);
    }

    if (rc != 0) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        json_decref(wanted);
        return;
    }

    corrald_check_free(&check);

    /* the user's fields only: the node writes the others meanwhile */

    doc = json_object();

    for (f = corrald_doc_fields(CORRALD_INSTANCE); f->name; f++) {
        if (f->owner == CORRALD_OWNER_user && !(f->flags & CORRAL_F)) {
            json_object_set(doc, f->name, json_object_get(wanted, f->name));
        }
    }

    json_decref(wanted);
    corrald_instances_set(r, entry, doc, 200);
}


void
corrald_instances_delete(corrald_rest_t *r)
{
    corrald_op_t                  op;
    const corrald_entry_t        *entry;
    corrald_instances_change_t   *c;

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        return;
    }

    if (corrald_doc_bool(entry->doc, "managed")
        && corrald_store_get(CORRALD_SERVICE,
                             corrald_doc_str(entry->doc, "service_id")))
    {
        corrald_instances_set(r, entry, json_pack("{s:b}", "evict", 1), 202);
        return;
    }

    c = corrald_instances_make(r, 200);
    snprintf(c->id, sizeof(c->id), "%s", entry->id);

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_DEL;
    op.kind = CORRALD_INSTANCE;
    op.id = c->id;
    op.expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                     : CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_instances_removed, c);
}


void
corrald_instances_action(corrald_rest_t *r)
{
    char                    now[CORRALD_CLOCK_SIZE];
    json_t                 *doc;
    const char             *action;
    const corrald_entry_t  *entry;

    action = r->params[1];
    doc = NULL;

    if (strcmp(action, "pause") == 0) {
        doc = json_pack("{s:b}", "maintenance", 1);

    } else if (strcmp(action, "resume") == 0) {
        doc = json_pack("{s:b}", "maintenance", 0);

    } else if (strcmp(action, "restart") == 0) {
        doc = json_pack("{s:s}", "restart_at",
                        corrald_clock_now(now, sizeof(now)));
    }

    if (doc == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_NOT_FOUND, "there is no "
                             "action \"%.64s\": it can be restart, pause, "
                             "resume", action);
        return;
    }

    entry = corrald_instances_find(r);

    if (entry == NULL || corrald_rest_if_match(r, entry->revision) != 0) {
        json_decref(doc);
        return;
    }

    if (strcmp(action, "restart") == 0
        && !corrald_doc_bool(entry->doc, "managed"))
    {
        json_decref(doc);
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "instance \"%s\" is "
                             "external: it is not run from here", entry->id);
        return;
    }

    corrald_instances_set(r, entry, doc, 202);
}


void
corrald_instances_register(corrald_rest_t *r)
{
    int                           rc;
    char                          port[8];
    struct addrinfo               hints;
    const corrald_entry_t        *service;
    corrald_instances_change_t   *c;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    service = corrald_services_find(r);

    if (service == NULL) {
        return;
    }

    c = corrald_instances_make(r, 201);

    if (corrald_instances_registration(r, service, c) != 0) {
        corrald_instances_free(c);
        return;
    }

    if (*c->host == '\0') {
        corrald_instances_insert(c);
        return;
    }

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    snprintf(port, sizeof(port), "%u", c->port);

    rc = uv_getaddrinfo(corrald_loop_uv(), &c->uv, corrald_instances_resolved,
                        c->host, port, &hints);

    if (rc != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INTERNAL_ERROR, "the name "
                             "cannot be resolved: %s", uv_strerror(rc));
        corrald_instances_free(c);
    }
}


/*
 * Body: status pass, warn or fail (Consul's words) or health; further members
 * are numbers and strings that answers show as load.
 */

void
corrald_instances_heartbeat(corrald_rest_t *r)
{
    json_t                       *load, *value;
    const char                   *name, *status, *health;
    corrald_check_t               check;
    const corrald_entry_t        *entry;
    corrald_instances_change_t   *c;

    if (corrald_rest_body(r, 0) != 0) {
        return;
    }

    entry = corrald_instances_find(r);

    if (entry == NULL) {
        return;
    }

    if (corrald_doc_bool(entry->doc, "managed")) {
        corrald_rest_problem(r, CORRALD_PROBLEM_CONFLICT, "instance \"%s\" is "
                             "run and probed by its node", entry->id);
        return;
    }

    corrald_check_init(&check);
    load = json_object();
    health = "healthy";

    json_object_foreach(r->json, name, value) {

        if (strcmp(name, "status") == 0) {
            status = json_string_value(value);
            status = status ? status : "";

            if (strcmp(status, "pass") == 0) {
                health = "healthy";

            } else if (strcmp(status, "warn") == 0) {
                health = "degraded";

            } else if (strcmp(status, "fail") == 0) {
                health = "unhealthy";

            } else {
                (void) corrald_check_error(&check, "/status", "is \"%.64s\", "
                                           "it can be: pass warn fail",
                                           status);
            }
        }

        if (strcmp(name, "agent") == 0) {
            corrald_instances_words(&check, json_string_value(value));
        }

        if (strlen(name) > 64 || json_object_size(r->json) > 32
            || !(json_is_number(value) || json_is_boolean(value)
                 || (json_is_string(value)
                     && json_string_length(value) <= 512)))
        {
            (void) corrald_check_error(&check, "", "\"%.64s\": a heartbeat "
                                       "has at most 32 members, each a number "
                                       "or a short string", name);
            break;
        }

        json_object_set(load, name, value);
    }

    if (json_array_size(check.errors)) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        json_decref(load);
        return;
    }

    corrald_check_free(&check);

    c = corrald_instances_make(r, 200);
    snprintf(c->id, sizeof(c->id), "%s", entry->id);

    c->doc = json_pack("{s:s, s:s, s:s}", "health", health,
                       "reason", "heartbeat", "message",
                       strcmp(health, "healthy") == 0
                           ? "" : "the instance said so itself");

    if (json_is_string(json_object_get(r->json, "note"))) {
        json_object_set(c->doc, "message", json_object_get(r->json, "note"));
    }

    /* who had left comes back */

    if (strcmp(corrald_doc_str(entry->doc, "state"), "stopped") == 0
        || strcmp(corrald_doc_str(entry->doc, "state"), "failed") == 0)
    {
        json_object_set_new(c->doc, "state", json_string("running"));
    }

    corrald_store_heartbeat(entry->id, load,
                            corrald_doc_ms(entry->doc, "ttl"),
                            corrald_instances_told, c);
    json_decref(load);
}


/* what an instance says of itself; text may be NULL */

static void
corrald_instances_words(corrald_check_t *check, const char *text)
{
    corral_report_t  report;

    if (text == NULL) {
        (void) corrald_check_error(check, "/agent", "must be a string");

    } else if (corral_report_parse(text, strlen(text), &report) != 0) {
        (void) corrald_check_error(check, "/agent", "has the word \"%.*s\", "
                                   "it can have: N%% weight:N maxconn:N ready "
                                   "up drain maint down fail stopped #reason",
                                   (int) (report.word_len > 64
                                          ? 64 : report.word_len),
                                   report.word);
    }
}


void
corrald_instances_history(corrald_rest_t *r)
{
    /* it stays for a while after its instance */

    if (strlen(r->params[0]) > CORRAL_ID_MAX) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "\"%.64s...\" is not an id", r->params[0]);
        return;
    }

    corrald_store_history(r->params[0], corrald_instances_historied, r);
}


json_t *
corrald_instances_show(const corrald_entry_t *entry)
{
    json_t                 *load;
    const corrald_entry_t  *service;

    service = corrald_store_get(CORRALD_SERVICE,
                                corrald_doc_str(entry->doc, "service_id"));

    load = corrald_store_load(entry->id);

    /* of those that we run: if their probe is told by them at all */

    if (corrald_doc_bool(entry->doc, "managed")
        && json_object_size(load) == 0)
    {
        load = NULL;
    }

    return corrald_view_instance(entry->doc, service ? service->doc : NULL,
                                 entry->revision, load);
}


json_t *
corrald_instances_array(const char *service_id)
{
    json_t  *array;

    array = json_array();
    corrald_store_instances(service_id, corrald_instances_append, array);

    return array;
}


static void
corrald_instances_append(const corrald_entry_t *entry, void *data)
{
    json_array_append(data, entry->doc);
}


/* service_id: NULL for all */

static void
corrald_instances_page(corrald_rest_t *r, const char *service_id)
{
    int                       descending;
    const char               *sort;
    corrald_instances_rows_t  c;

    if (corrald_rest_query_words(r, "state",
                         corrald_doc_field(CORRALD_INSTANCE, "state")->values)
        != 0
        || corrald_rest_query_words(r, "health",
                         corrald_doc_field(CORRALD_INSTANCE, "health")->values)
           != 0)
    {
        return;
    }

    sort = corrald_rest_query(r, "sort");
    sort = sort ? sort : "instance_id";
    descending = *sort == '-';
    sort += descending;

    if (strcmp(sort, "instance_id") != 0 && strcmp(sort, "created_at") != 0
        && strcmp(sort, "state_at") != 0)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_INVALID_PARAMETER,
                             "\"sort\" is \"%.64s\", it can be: instance_id "
                             "created_at state_at, each with \"-\" before it",
                             sort);
        return;
    }

    c.n = 0;
    c.r = r;
    c.sort = sort;
    c.rows = calloc(corrald_store_count(CORRALD_INSTANCE) + 1,
                    sizeof(*c.rows));

    if (c.rows == NULL) {
        corrald_log_error("no memory for a list");
        abort();
    }

    if (service_id) {
        corrald_store_instances(service_id, corrald_instances_collect, &c);

    } else {
        corrald_store_each(CORRALD_INSTANCE, corrald_instances_collect, &c);
    }

    corrald_rest_page(r, c.rows, c.n, sort, descending, corrald_instances_row,
                      NULL);
    free(c.rows);
}


static void
corrald_instances_collect(const corrald_entry_t *entry, void *data)
{
    size_t                     i;
    const char                *wanted;
    corrald_instances_rows_t  *c;

    static const char  *filters[] = { "state", "health", "node" };

    c = data;

    for (i = 0; i < 3; i++) {
        wanted = corrald_rest_query(c->r, filters[i]);

        if (wanted && !corrald_uri_word(wanted, corrald_doc_str(entry->doc,
                                                                filters[i])))
        {
            return;
        }
    }

    c->rows[c->n].key = corrald_doc_str(entry->doc, c->sort);
    c->rows[c->n].id = entry->id;
    c->rows[c->n].data = (void *) entry;
    c->n++;
}


static json_t *
corrald_instances_row(void *row, void *data)
{
    return corrald_instances_show(row);
}


const corrald_entry_t *
corrald_instances_find(corrald_rest_t *r)
{
    const corrald_entry_t  *entry;

    entry = corrald_store_get(CORRALD_INSTANCE, r->params[0]);

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "there is no instance \"%.64s\"", r->params[0]);
    }

    return entry;
}


static corrald_instances_change_t *
corrald_instances_make(corrald_rest_t *r, int status)
{
    corrald_instances_change_t  *c;

    c = calloc(1, sizeof(*c));

    if (c == NULL) {
        corrald_log_error("no memory for a request");
        abort();
    }

    c->r = r;
    c->status = status;

    return c;
}


static void
corrald_instances_free(corrald_instances_change_t *c)
{
    json_decref(c->doc);
    free(c);
}


/*
 * Makes the document of a new external instance and c->host and c->port when
 * its address is to be resolved.  Returns -1 after a problem was answered.
 */

static int
corrald_instances_registration(corrald_rest_t *r,
    const corrald_entry_t *service, corrald_instances_change_t *c)
{
    int                     rc;
    char                    hex[17], pointer[96];
    void                   *next;
    json_t                 *value;
    unsigned                owners;
    const char             *name, *address, *id;
    corrald_check_t         check;
    const corrald_field_t  *f;

    corrald_check_init(&check);
    c->doc = json_object();

    /* what it says of itself, beside the user's fields */

    json_object_foreach_safe(r->json, next, name, value) {
        f = corrald_doc_field(CORRALD_INSTANCE, name);
        owners = CORRALD_OWNER_user;

        if (strcmp(name, "instance_id") == 0 || strcmp(name, "address") == 0
            || strcmp(name, "health") == 0)
        {
            owners = CORRALD_OWNER_all;
        }

        if (f == NULL || !(f->owner & owners)
            || strcmp(name, "restart_at") == 0 || strcmp(name, "evict") == 0)
        {
            (void) corrald_check_error(&check, "", "\"%.64s\" is not a field "
                                       "of a registration: it has "
                                       "instance_id, address, weight, "
                                       "priority, ttl, health, maintenance",
                                       name);
            continue;
        }

        /* a name to be resolved is no address yet: looked at below */

        snprintf(pointer, sizeof(pointer), "/%.80s", name);

        if (corrald_check_value(&check, f, value, pointer) == 0) {
            json_object_set(c->doc, name, value);
        }
    }

    address = corrald_doc_str(c->doc, "address");
    rc = json_array_size(check.errors) ? -1 : 0;

    if (rc == 0 && *address == '\0') {
        rc = corrald_check_error(&check, "/address", "is required");

    } else if (rc == 0 && strncmp(address, "unix:", 5) != 0
               && (corrald_conf_split_address(address, c->host,
                                              sizeof(c->host), &c->port)
                   != 0
                   || c->port == 0))
    {
        rc = corrald_check_error(&check, "/address", "is \"%.64s\", it must "
                                 "be unix:/path, host:port or [::1]:port",
                                 address);

    } else if (rc == 0 && *c->host == '\0'
               && !corrald_check_address(address))
    {
        rc = corrald_check_error(&check, "/address", "is \"%.64s\", it must "
                                 "be unix:/path with at most 107 bytes",
                                 address);
    }

    if (rc != 0) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        return -1;
    }

    corrald_check_free(&check);

    id = corrald_doc_str(c->doc, "instance_id");

    if (*id) {
        snprintf(c->id, sizeof(c->id), "%s", id);

    } else if (corrald_crypt_random_hex(hex, 4) == 0) {

        /* a name has at most 63 bytes, an id 64 */

        snprintf(c->id, sizeof(c->id), "%.55s.%.8s",
                 corrald_doc_str(service->doc, "name"), hex);
    }

    c->ttl = corrald_doc_is_set(c->doc, "ttl") ? corrald_doc_ms(c->doc, "ttl")
                                               : 30000;

    if (json_object_get(c->doc, "health") == NULL) {
        json_object_set_new(c->doc, "health", json_string("healthy"));
    }

    json_object_set_new(c->doc, "service_id", json_string(service->id));
    json_object_set_new(c->doc, "node", json_string(corrald_conf()->node));
    json_object_set_new(c->doc, "managed", json_false());
    json_object_set_new(c->doc, "state", json_string("running"));
    json_object_set_new(c->doc, "reason", json_string("heartbeat"));

    return 0;
}


/* The name is an address: one that may be reached through us? */

static void
corrald_instances_resolved(uv_getaddrinfo_t *uv, int status,
    struct addrinfo *ai)
{
    char                          host[64], err[256];
    struct addrinfo              *a;
    corrald_instances_change_t   *c;

    c = (corrald_instances_change_t *) uv;

    if (status != 0) {
        corrald_rest_problem(c->r, CORRALD_PROBLEM_VALIDATION_FAILED,
                             "the name \"%.64s\" cannot be resolved: %s",
                             c->host, uv_strerror(status));
        uv_freeaddrinfo(ai);
        corrald_instances_free(c);
        return;
    }

    /* one forbidden address is enough: a name may have several */

    for (a = ai; a; a = a->ai_next) {
        if (corrald_instances_allowed(a->ai_addr, c->port, err, sizeof(err))
            != 0)
        {
            corrald_rest_problem(c->r, CORRALD_PROBLEM_VALIDATION_FAILED,
                                 "the address \"%.64s\" is refused: %s",
                                 c->host, err);
            uv_freeaddrinfo(ai);
            corrald_instances_free(c);
            return;
        }
    }

    if (ai->ai_family == AF_INET6) {
        uv_ip6_name((struct sockaddr_in6 *) ai->ai_addr, host, sizeof(host));

    } else {
        uv_ip4_name((struct sockaddr_in *) ai->ai_addr, host, sizeof(host));
    }

    json_object_set_new(c->doc, "address",
                        json_sprintf(ai->ai_family == AF_INET6 ? "[%s]:%u"
                                                               : "%s:%u",
                                     host, c->port));
    uv_freeaddrinfo(ai);

    corrald_instances_insert(c);
}


/* Metadata services, link-local and unspecified addresses, our own port. */

static int
corrald_instances_allowed(const struct sockaddr *sa, uint16_t port, char *err,
    size_t size)
{
    char                   host[256];
    uint32_t               v4;
    uint16_t               own;
    const unsigned char   *b;

    v4 = 0;

    if (sa->sa_family == AF_INET) {
        v4 = ntohl(((const struct sockaddr_in *) sa)->sin_addr.s_addr);

    } else {
        b = ((const struct sockaddr_in6 *) sa)->sin6_addr.s6_addr;

        if (memcmp(b, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0) {
            v4 = (uint32_t) b[12] << 24 | (uint32_t) b[13] << 16
                 | (uint32_t) b[14] << 8 | b[15];

        } else if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
                   || memcmp(b, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16) == 0
                   || memcmp(b, "\xfd\0\x0e\xc2", 4) == 0)
        {
            snprintf(err, size, "it is link-local, multicast, unspecified or "
                     "a metadata service");
            return -1;

        } else if (memcmp(b, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16) == 0) {
            v4 = 0x7f000001;
        }
    }

    if (sa->sa_family == AF_INET || v4) {
        if (v4 >> 24 == 0 || v4 >> 16 == 0xa9fe || v4 >> 28 >= 0xe) {
            snprintf(err, size, "it is link-local (with the metadata "
                     "services), multicast or unspecified");
            return -1;
        }
    }

    if (v4 >> 24 == 127
        && corrald_conf_split_address(corrald_conf()->listen, host,
                                      sizeof(host), &own)
           == 0
        && own == port)
    {
        snprintf(err, size, "it is Corral's own port");
        return -1;
    }

    return 0;
}


/* The heartbeat first: without it the instance would be born expired. */

static void
corrald_instances_insert(corrald_instances_change_t *c)
{
    json_t                 *load;
    const corrald_entry_t  *known;

    known = corrald_store_get(CORRALD_INSTANCE, c->id);

    if (known && (corrald_doc_bool(known->doc, "managed")
                  || strcmp(corrald_doc_str(known->doc, "service_id"),
                            corrald_doc_str(c->doc, "service_id"))
                     != 0))
    {
        corrald_rest_problem(c->r, CORRALD_PROBLEM_CONFLICT, "there is "
                             "another instance \"%s\"", c->id);
        corrald_instances_free(c);
        return;
    }

    load = json_pack("{s:s}", "status", "pass");
    corrald_store_heartbeat(c->id, load, c->ttl, corrald_instances_alive, c);
    json_decref(load);
}


static void
corrald_instances_alive(json_t *value, const char *err, void *data)
{
    corrald_op_t                  op;
    const corrald_entry_t        *known;
    corrald_instances_change_t   *c;

    c = data;

    if (value == NULL) {
        corrald_rest_store_error(c->r, err);
        corrald_instances_free(c);
        return;
    }

    memset(&op, 0, sizeof(op));

    known = corrald_store_get(CORRALD_INSTANCE, c->id);

    op.op = CORRALD_PUT;
    op.kind = CORRALD_INSTANCE;
    op.id = c->id;
    op.doc = c->doc;
    op.owners = CORRALD_OWNER_all & ~(unsigned) CORRALD_OWNER_system;
    op.expected = CORRALD_ABSENT;

    /* one that comes back, perhaps at another address, keeps what it had */

    if (known) {
        c->status = 200;
        op.op = CORRALD_SET;
        op.expected = CORRALD_ANY;
        json_object_set_new(c->doc, "incarnation",
                            json_integer(corrald_doc_int(known->doc,
                                                         "incarnation")
                                         + 1));
    }

    corrald_store_commit(&op, 1, 0, corrald_instances_done, c);
}


/* Sets members of an instance; doc is taken over. */

static void
corrald_instances_set(corrald_rest_t *r, const corrald_entry_t *entry,
    json_t *doc, int status)
{
    corrald_op_t                  op;
    corrald_instances_change_t   *c;

    c = corrald_instances_make(r, status);
    c->doc = doc;
    snprintf(c->id, sizeof(c->id), "%s", entry->id);

    memset(&op, 0, sizeof(op));

    op.op = CORRALD_SET;
    op.kind = CORRALD_INSTANCE;
    op.id = c->id;
    op.doc = doc;
    op.owners = CORRALD_OWNER_user;
    op.expected = corrald_rest_header(r, "If-Match") ? entry->revision
                                                     : CORRALD_ANY;

    corrald_store_commit(&op, 1, 0, corrald_instances_done, c);
}


static void
corrald_instances_done(const corrald_result_t *result, void *data)
{
    int                           status;
    corrald_rest_t               *r;
    const corrald_entry_t        *entry;
    corrald_instances_change_t   *c;

    c = data;
    r = c->r;
    entry = corrald_store_get(CORRALD_INSTANCE, c->id);
    status = c->status;
    corrald_instances_free(c);

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    if (entry == NULL) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "the instance was removed meanwhile");
        return;
    }

    corrald_rest_etag(r, entry->revision);

    if (status == 201) {
        corrald_rest_set(r, "Location", "/api/v1/instances/%s", entry->id);
    }

    corrald_rest_changed(r, status, corrald_instances_show(entry),
                         result->revision);
}


static void
corrald_instances_removed(const corrald_result_t *result, void *data)
{
    corrald_rest_t               *r;
    corrald_instances_change_t   *c;

    c = data;
    r = c->r;
    corrald_instances_free(c);

    if (result->result != CORRALD_DONE) {
        corrald_rest_result(r, result);
        return;
    }

    corrald_rest_changed(r, 200, json_pack("{s:b, s:s, s:n}", "success", 1,
                                           "message", "Instance removed",
                                           "data"),
                         result->revision);
}


/* The heartbeat is kept; what it says of the health becomes the document. */

static void
corrald_instances_told(json_t *value, const char *err, void *data)
{
    json_t                       *doc;
    const corrald_entry_t        *entry;
    corrald_instances_change_t   *c;

    c = data;

    if (value == NULL) {
        corrald_rest_store_error(c->r, err);
        corrald_instances_free(c);
        return;
    }

    entry = corrald_store_get(CORRALD_INSTANCE, c->id);

    /* heartbeats do not raise the revision: only a change is written */

    if (entry
        && strcmp(corrald_doc_str(entry->doc, "health"),
                  corrald_doc_str(c->doc, "health"))
           == 0
        && json_object_get(c->doc, "state") == NULL)
    {
        corrald_instances_none(c);
        return;
    }

    doc = json_incref(c->doc);
    corrald_store_set(CORRALD_INSTANCE, c->id, doc, CORRALD_OWNER_node, 0,
                      corrald_instances_done, c);
}


static void
corrald_instances_none(corrald_instances_change_t *c)
{
    corrald_result_t  result;

    memset(&result, 0, sizeof(result));

    result.result = CORRALD_DONE;
    result.revision = corrald_store_status()->revision;

    corrald_instances_done(&result, c);
}


static void
corrald_instances_historied(json_t *value, const char *err, void *data)
{
    corrald_rest_t  *r;

    r = data;

    if (value == NULL) {
        corrald_rest_store_error(r, err);
        return;
    }

    if (json_array_size(value) == 0
        && corrald_store_get(CORRALD_INSTANCE, r->params[0]) == NULL)
    {
        corrald_rest_problem(r, CORRALD_PROBLEM_INSTANCE_NOT_FOUND,
                             "there is no instance \"%.64s\"", r->params[0]);
        return;
    }

    corrald_rest_json(r, 200, json_pack("{s:s, s:O}", "instance_id",
                                        r->params[0], "items", value));
}
