
/*
 * External instances: they register themselves and keep themselves by
 * heartbeats.  They have no process of ours: the corrald that took the
 * registration writes all of the document.
 */


#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <corral_report.h>
#include <corral_schema.h>

#include "../base/alloc.h"
#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/loop.h"
#include "api.h"


#define CORRALD_REGISTRATION_TTL  30000     /* ms, unless one is given */


/* A registration or a heartbeat on its way. */

typedef struct {
    uv_getaddrinfo_t   uv;           /* must be first; of a registration */
    corrald_rest_t    *r;
    json_t            *doc;
    char               id[CORRAL_ID_MAX + 1];
    char               host[256];
    uint16_t           port;
    int                status;
    int64_t            ttl;
} corrald_registration_t;


static corrald_registration_t *corrald_registration_make(corrald_rest_t *r,
    int status);
static void corrald_registration_free(corrald_registration_t *c);
static int corrald_registration_document(corrald_registration_t *c,
    const corrald_entry_t *service);
static void corrald_registration_fields(corrald_registration_t *c,
    corrald_check_t *check);
static int corrald_registration_address(corrald_registration_t *c,
    corrald_check_t *check);
static void corrald_registration_resolved(uv_getaddrinfo_t *uv, int status,
    struct addrinfo *ai);
static int corrald_registration_allowed(const struct sockaddr *sa,
    uint16_t port, char *err, size_t size);
static void corrald_registration_insert(corrald_registration_t *c);
static void corrald_registration_alive(json_t *value, const char *err,
    void *data);
static json_t *corrald_registration_load(corrald_rest_t *r,
    corrald_check_t *check, const char **health);
static const char *corrald_registration_health(corrald_check_t *check,
    const char *status);
static void corrald_registration_words(corrald_check_t *check,
    const char *text);
static void corrald_registration_told(json_t *value, const char *err,
    void *data);
static void corrald_registration_none(corrald_registration_t *c);
static void corrald_registration_done(const corrald_result_t *result,
    void *data);


void
corrald_registration_create(corrald_rest_t *r)
{
    int                      rc;
    char                     port[8];
    struct addrinfo          hints;
    const corrald_entry_t   *service;
    corrald_registration_t  *c;

    if (corrald_rest_body(r, 1) != 0) {
        return;
    }

    service = corrald_services_find(r);

    if (service == NULL) {
        return;
    }

    c = corrald_registration_make(r, 201);

    if (corrald_registration_document(c, service) != 0) {
        corrald_registration_free(c);
        return;
    }

    if (*c->host == '\0') {
        corrald_registration_insert(c);
        return;
    }

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    snprintf(port, sizeof(port), "%u", c->port);

    rc = uv_getaddrinfo(corrald_loop_uv(), &c->uv,
                        corrald_registration_resolved, c->host, port, &hints);

    if (rc != 0) {
        corrald_rest_problem(r, CORRALD_PROBLEM_INTERNAL_ERROR, "the name "
                             "cannot be resolved: %s", uv_strerror(rc));
        corrald_registration_free(c);
    }
}


/*
 * Body: status pass, warn or fail (Consul's words) or health; further members
 * are numbers and strings that answers show as load.
 */

void
corrald_registration_heartbeat(corrald_rest_t *r)
{
    json_t                  *load;
    const char              *health;
    corrald_check_t          check;
    const corrald_entry_t   *entry;
    corrald_registration_t  *c;

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
    load = corrald_registration_load(r, &check, &health);

    if (json_array_size(check.errors)) {
        corrald_rest_check(r, &check);
        corrald_check_free(&check);
        json_decref(load);
        return;
    }

    corrald_check_free(&check);

    c = corrald_registration_make(r, 200);
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
                            corrald_registration_told, c);
    json_decref(load);
}


static corrald_registration_t *
corrald_registration_make(corrald_rest_t *r, int status)
{
    corrald_registration_t  *c;

    c = corrald_alloc(1, sizeof(*c), "for a request");

    c->r = r;
    c->status = status;

    return c;
}


static void
corrald_registration_free(corrald_registration_t *c)
{
    json_decref(c->doc);
    free(c);
}


/*
 * Makes the document of a new external instance and c->host and c->port when
 * its address is to be resolved.  Returns -1 after a problem was answered.
 */

static int
corrald_registration_document(corrald_registration_t *c,
    const corrald_entry_t *service)
{
    int              rc;
    char             hex[17];
    const char      *id;
    corrald_check_t  check;

    corrald_check_init(&check);
    c->doc = json_object();

    corrald_registration_fields(c, &check);

    rc = json_array_size(check.errors)
         ? -1 : corrald_registration_address(c, &check);

    if (rc != 0) {
        corrald_rest_check(c->r, &check);
    }

    corrald_check_free(&check);

    if (rc != 0) {
        return -1;
    }

    id = corrald_doc_str(c->doc, "instance_id");

    if (*id) {
        snprintf(c->id, sizeof(c->id), "%s", id);

    } else if (corrald_crypt_random_hex(hex, 4) == 0) {

        /* a name has at most 63 bytes, an id 64 */

        snprintf(c->id, sizeof(c->id), "%.55s.%.8s",
                 corrald_doc_str(service->doc, "name"), hex);
    }

    c->ttl = corrald_doc_is_set(c->doc, "ttl") ? corrald_doc_ms(c->doc, "ttl")
                                               : CORRALD_REGISTRATION_TTL;

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


/* What it says of itself, beside the user's fields. */

static void
corrald_registration_fields(corrald_registration_t *c, corrald_check_t *check)
{
    char                    pointer[96];
    void                   *next;
    json_t                 *value;
    unsigned                owners;
    const char             *name;
    const corrald_field_t  *f;

    json_object_foreach_safe(c->r->json, next, name, value) {
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
            (void) corrald_check_error(check, "", "\"%.64s\" is not a field "
                                       "of a registration: it has "
                                       "instance_id, address, weight, "
                                       "priority, ttl, health, maintenance",
                                       name);
            continue;
        }

        /* a name to be resolved is no address yet: looked at below */

        snprintf(pointer, sizeof(pointer), "/%.80s", name);

        if (corrald_check_value(check, f, value, pointer) == 0) {
            json_object_set(c->doc, name, value);
        }
    }
}


/* c->host stays empty where nothing is to be resolved. */

static int
corrald_registration_address(corrald_registration_t *c, corrald_check_t *check)
{
    const char  *address;

    address = corrald_doc_str(c->doc, "address");

    if (*address == '\0') {
        return corrald_check_error(check, "/address", "is required");
    }

    if (strncmp(address, "unix:", 5) != 0
        && (corrald_conf_split_address(address, c->host, sizeof(c->host),
                                       &c->port)
            != 0
            || c->port == 0))
    {
        return corrald_check_error(check, "/address", "is \"%.64s\", it must "
                                   "be unix:/path, host:port or [::1]:port",
                                   address);
    }

    if (*c->host == '\0' && !corrald_check_address(address)) {
        return corrald_check_error(check, "/address", "is \"%.64s\", it must "
                                   "be unix:/path with at most 107 bytes",
                                   address);
    }

    return 0;
}


/* The name is an address: one that may be reached through us? */

static void
corrald_registration_resolved(uv_getaddrinfo_t *uv, int status,
    struct addrinfo *ai)
{
    char                     host[64], err[256];
    struct addrinfo         *a;
    corrald_registration_t  *c;

    c = (corrald_registration_t *) uv;

    if (status != 0) {
        corrald_rest_problem(c->r, CORRALD_PROBLEM_VALIDATION_FAILED,
                             "the name \"%.64s\" cannot be resolved: %s",
                             c->host, uv_strerror(status));
        uv_freeaddrinfo(ai);
        corrald_registration_free(c);
        return;
    }

    /* one forbidden address is enough: a name may have several */

    for (a = ai; a; a = a->ai_next) {
        if (corrald_registration_allowed(a->ai_addr, c->port, err, sizeof(err))
            != 0)
        {
            corrald_rest_problem(c->r, CORRALD_PROBLEM_VALIDATION_FAILED,
                                 "the address \"%.64s\" is refused: %s",
                                 c->host, err);
            uv_freeaddrinfo(ai);
            corrald_registration_free(c);
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

    corrald_registration_insert(c);
}


/* Metadata services, link-local and unspecified addresses, our own port. */

static int
corrald_registration_allowed(const struct sockaddr *sa, uint16_t port,
    char *err, size_t size)
{
    char                  host[256];
    uint32_t              v4;
    uint16_t              own;
    const unsigned char  *b;

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
corrald_registration_insert(corrald_registration_t *c)
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
        corrald_registration_free(c);
        return;
    }

    load = json_pack("{s:s}", "status", "pass");
    corrald_store_heartbeat(c->id, load, c->ttl, corrald_registration_alive, c);
    json_decref(load);
}


static void
corrald_registration_alive(json_t *value, const char *err, void *data)
{
    corrald_op_t             op;
    const corrald_entry_t   *known;
    corrald_registration_t  *c;

    c = data;

    if (value == NULL) {
        corrald_rest_store_error(c->r, err);
        corrald_registration_free(c);
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

    corrald_store_commit(&op, 1, 0, corrald_registration_done, c);
}


/* What answers show as load, and what it says of its health. */

static json_t *
corrald_registration_load(corrald_rest_t *r, corrald_check_t *check,
    const char **health)
{
    json_t      *load, *value;
    const char  *name;

    load = json_object();
    *health = "healthy";

    json_object_foreach(r->json, name, value) {

        if (strcmp(name, "status") == 0) {
            *health = corrald_registration_health(check,
                                                  json_string_value(value));
        }

        if (strcmp(name, "agent") == 0) {
            corrald_registration_words(check, json_string_value(value));
        }

        if (strlen(name) > 64 || json_object_size(r->json) > 32
            || !(json_is_number(value) || json_is_boolean(value)
                 || (json_is_string(value)
                     && json_string_length(value) <= 512)))
        {
            (void) corrald_check_error(check, "", "\"%.64s\": a heartbeat "
                                       "has at most 32 members, each a number "
                                       "or a short string", name);
            break;
        }

        json_object_set(load, name, value);
    }

    return load;
}


/* status may be NULL */

static const char *
corrald_registration_health(corrald_check_t *check, const char *status)
{
    size_t  i;

    static const struct {
        const char  *status;
        const char  *health;
    } words[] = {
        { "pass", "healthy" },
        { "warn", "degraded" },
        { "fail", "unhealthy" }
    };

    status = status ? status : "";

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(status, words[i].status) == 0) {
            return words[i].health;
        }
    }

    (void) corrald_check_error(check, "/status", "is \"%.64s\", it can be: "
                               "pass warn fail", status);

    return words[0].health;
}


/* what an instance says of itself; text may be NULL */

static void
corrald_registration_words(corrald_check_t *check, const char *text)
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


/* The heartbeat is kept; what it says of the health becomes the document. */

static void
corrald_registration_told(json_t *value, const char *err, void *data)
{
    json_t                  *doc;
    const corrald_entry_t   *entry;
    corrald_registration_t  *c;

    c = data;

    if (value == NULL) {
        corrald_rest_store_error(c->r, err);
        corrald_registration_free(c);
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
        corrald_registration_none(c);
        return;
    }

    doc = json_incref(c->doc);
    corrald_store_set(CORRALD_INSTANCE, c->id, doc, CORRALD_OWNER_node, 0,
                      corrald_registration_done, c);
}


static void
corrald_registration_none(corrald_registration_t *c)
{
    corrald_result_t  result;

    memset(&result, 0, sizeof(result));

    result.result = CORRALD_DONE;
    result.revision = corrald_store_status()->revision;

    corrald_registration_done(&result, c);
}


static void
corrald_registration_done(const corrald_result_t *result, void *data)
{
    corrald_registration_t  *c;

    c = data;

    corrald_instances_changed(c->r, c->id, c->status, result);
    corrald_registration_free(c);
}
