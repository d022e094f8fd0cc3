
/*
 * Rules between the fields of a document, and the grammar of a few strings:
 * those that become headers, variables, arguments or paths somewhere else.
 *
 * Pure: no I/O, no clock, no globals.
 */


#include <inttypes.h>
#include <string.h>

#include <corral_learn.h>
#include <corral_pointer.h>

#include "rules.h"


static int corrald_rules_process(corrald_check_t *c, const json_t *doc);
static int corrald_rules_environment(corrald_check_t *c, const json_t *doc);
static int corrald_rules_routing(corrald_check_t *c, const json_t *doc);
static int corrald_rules_failover(corrald_check_t *c, const json_t *doc);
static int corrald_rules_answer(corrald_check_t *c, const json_t *doc);
static int corrald_rules_probes(corrald_check_t *c, const json_t *doc);
static int corrald_rules_words(corrald_check_t *c, const json_t *doc);
static int corrald_rules_key(const char *s);
static int corrald_rules_token(const char *s);


/* Returns 0, or -1 with errors.  doc has all its members, of right types. */

int
corrald_rules_service(corrald_check_t *c, const json_t *doc)
{
    int  rc;

    rc = corrald_rules_process(c, doc);
    rc |= corrald_rules_environment(c, doc);
    rc |= corrald_rules_routing(c, doc);
    rc |= corrald_rules_failover(c, doc);
    rc |= corrald_rules_answer(c, doc);
    rc |= corrald_rules_probes(c, doc);
    rc |= corrald_rules_words(c, doc);

    return rc ? -1 : 0;
}


int
corrald_rules_instance(corrald_check_t *c, const json_t *doc)
{
    const char  *address;

    address = corrald_doc_str(doc, "address");

    if (*address && !corrald_check_address(address)) {
        return corrald_check_error(c, "/address", "is \"%.64s\", it must be "
                                   "unix:/path, 1.2.3.4:port or [::1]:port",
                                   address);
    }

    return 0;
}


/*
 * The defaults of a new service that depend on what was given.  To be called
 * before the others are filled in.  Returns 0, or -1 when memory is short.
 */

int
corrald_rules_derive(json_t *in)
{
    int  tcp;

    if (json_object_get(in, "listen") == NULL) {
        tcp = corrald_doc_is_set(in, "host") || corrald_doc_is_set(in, "port")
              || json_array_size(json_object_get(in, "command")) == 0;

        if (json_object_set_new(in, "listen",
                                json_string(tcp ? "tcp" : "unix"))
            != 0)
        {
            return -1;
        }
    }

    if (json_object_get(in, "desired") == NULL
        && corrald_doc_bool(in, "auto_start"))
    {
        return json_object_set_new(in, "desired", json_string("running"));
    }

    return 0;
}


static int
corrald_rules_process(corrald_check_t *c, const json_t *doc)
{
    int          rc;
    size_t       i;
    json_t      *command, *item;
    const char  *path, *p;

    rc = 0;
    command = json_object_get(doc, "command");
    path = corrald_doc_str(doc, "agent_factory_path");

    if (json_array_size(command)) {

        if (*path) {
            rc = corrald_check_error(c, "/agent_factory_path", "stands "
                                     "instead of \"command\": give one of "
                                     "them");
        }

        if (json_string_length(json_array_get(command, 0)) == 0) {
            rc = corrald_check_error(c, "/command", "must begin with the "
                                     "program");
        }
    }

    if (*path && *path != '/') {
        rc = corrald_check_error(c, "/agent_factory_path", "must be an "
                                 "absolute path");
    }

    path = corrald_doc_str(doc, "cwd");

    if (*path && *path != '/') {
        rc = corrald_check_error(c, "/cwd", "must be an absolute path");
    }

    json_array_foreach(json_object_get(doc, "env_file"), i, item) {
        if (*json_string_value(item) != '/') {
            rc = corrald_check_error(c, "/env_file", "item %zu must be an "
                                     "absolute path", i);
        }
    }

    if (corrald_doc_is_set(doc, "port")
        && strcmp(corrald_doc_str(doc, "listen"), "tcp") != 0)
    {
        rc = corrald_check_error(c, "/port", "needs \"listen\": \"tcp\"");
    }

    for (p = corrald_doc_str(doc, "host"); *p; p++) {
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')
              || (*p >= 'A' && *p <= 'Z') || strchr(".-_:", *p)))
        {
            rc = corrald_check_error(c, "/host", "must be a name or an "
                                     "address, without a port");
            break;
        }
    }

    return rc;
}


static int
corrald_rules_environment(corrald_check_t *c, const json_t *doc)
{
    int          i, rc;
    json_t      *value;
    const char  *key, *s;

    static const char  *maps[] = { "env", "secrets", NULL };

    rc = 0;

    for (i = 0; maps[i]; i++) {
        json_object_foreach(json_object_get(doc, maps[i]), key, value) {
            if (strchr(key, '=')) {
                rc = corrald_check_error(c, i ? "/secrets" : "/env", "has the "
                                         "name \"%.64s\": \"=\" cannot stand "
                                         "in a variable's name", key);
            }
        }
    }

    json_object_foreach(json_object_get(doc, "secrets"), key, value) {
        s = json_string_value(value);

        if (strncmp(s, "file:/", 6) != 0
            && (strncmp(s, "env:", 4) != 0 || s[4] == '\0'))
        {
            /* the value is not repeated: it may be the secret itself */

            rc = corrald_check_error(c, "/secrets", "\"%.64s\" must be "
                                     "file:/absolute/path or env:NAME", key);
        }
    }

    return rc;
}


static int
corrald_rules_routing(corrald_check_t *c, const json_t *doc)
{
    int                   rc;
    int64_t               factor;
    const char           *s;
    corral_learn_rule_t   learn;

    rc = 0;

    /* it becomes a header of the request to the agent */

    for (s = corrald_doc_str(doc, "upstream_host"); *s; s++) {
        if ((unsigned char) *s <= 0x20 || (unsigned char) *s >= 0x7f
            || strchr("/\\?#@\"", *s))
        {
            rc = corrald_check_error(c, "/upstream_host", "must be a host, "
                                     "perhaps with a port");
            break;
        }
    }

    s = corrald_doc_str(doc, "affinity");

    if (strcmp(s, "none") != 0 && strcmp(s, "cookie") != 0
        && !corrald_rules_key(s) && !corral_learn_rule(s, strlen(s), &learn))
    {
        rc = corrald_check_error(c, "/affinity", "is \"%.64s\", it can be: "
                                 "none, cookie, client_ip, session, "
                                 "subject, claim.NAME, header.NAME, "
                                 "query.NAME, cookie.NAME, "
                                 "learn.header.NAME, learn.cookie.NAME", s);
    }

    factor = corrald_doc_int(doc, "hash_balance_factor");

    if (factor != 0 && factor < 100) {
        rc = corrald_check_error(c, "/hash_balance_factor", "is %" PRId64
                                 ", it must be 0, for no bound, or from 100 "
                                 "to 1000", factor);
    }

    return rc | corrald_rules_hash_key(c, doc);
}


/* Of services and rules.  Returns 0, or -1 with an error. */

int
corrald_rules_hash_key(corrald_check_t *c, const json_t *doc)
{
    char         word[129];
    size_t       len;
    const char  *s, *p;

    s = corrald_doc_str(doc, "hash_key");

    for (p = s; /* void */ ; p += len + 1) {
        len = strcspn(p, " ");
        (void) snprintf(word, sizeof(word), "%.*s", (int) len, p);

        if (!corrald_rules_key(word)) {
            return corrald_check_error(c, "/hash_key", "is \"%.64s\", it can "
                                       "be: client_ip, session, subject, "
                                       "claim.NAME, header.NAME, query.NAME, "
                                       "cookie.NAME, or several with blanks "
                                       "between", s);
        }

        if (p[len] == '\0') {
            return 0;
        }
    }
}


/* Of a rule.  Returns 0, or -1 with an error. */

int
corrald_rules_force_by(corrald_check_t *c, const json_t *doc)
{
    char         word[129];
    size_t       len;
    const char  *s, *p;

    s = corrald_doc_str(doc, "force_by");

    if (*s == '\0') {
        return 0;
    }

    if (json_array_size(json_object_get(doc, "target_services")) == 0) {
        return corrald_check_error(c, "/force_by", "needs \"target_services\""
                                   ", among which it chooses");
    }

    for (p = s; /* void */ ; p += len + 1) {
        len = strcspn(p, " ");
        (void) snprintf(word, sizeof(word), "%.*s", (int) len, p);

        if (!corrald_rules_key(word) || strchr(word, '.') == NULL) {
            return corrald_check_error(c, "/force_by", "is \"%.64s\", it can "
                                       "be: header.NAME, query.NAME, "
                                       "cookie.NAME, claim.NAME, or several "
                                       "with blanks between", s);
        }

        if (p[len] == '\0') {
            return 0;
        }
    }
}


/* what goes on with another instance, and what must be known for it */

static int
corrald_rules_failover(corrald_check_t *c, const json_t *doc)
{
    int          rc, replay;
    const char  *failover, *protocol;

    rc = 0;
    failover = corrald_doc_str(doc, "failover");
    protocol = corrald_doc_str(doc, "protocol");
    replay = strcmp(failover, "replay") == 0;

    if (strcmp(failover, "close") != 0 && strcmp(protocol, "http") != 0) {
        rc = corrald_check_error(c, "/failover", "\"%s\" is for WebSockets, "
                                 "which need \"protocol\": \"http\"",
                                 failover);
    }

    if (replay && strcmp(corrald_doc_str(doc, "answer"), "none") == 0) {
        rc = corrald_check_error(c, "/failover", "\"replay\" needs an "
                                 "\"answer\" other than \"none\": what has no "
                                 "answer yet must be known");
    }

    if (!replay && corrald_doc_bool(doc, "replay_started")) {
        rc = corrald_check_error(c, "/replay_started", "needs \"failover\": "
                                 "\"replay\"");
    }

    if (corrald_doc_bool(doc, "replay_started")
        && *corrald_doc_str(doc, "reset") == '\0')
    {
        rc = corrald_check_error(c, "/replay_started", "needs \"reset\": the "
                                 "client must learn that an answer begins "
                                 "anew");
    }

    if (corrald_doc_int(doc, "journal_size")
        < corrald_doc_int(doc, "hold_size") && replay)
    {
        rc = corrald_check_error(c, "/journal_size", "must be at least "
                                 "hold_size, or one message could be more "
                                 "than the journal holds");
    }

    return rc;
}


/* which fields an "answer" needs, and which say nothing to it */

static int
corrald_rules_answer(corrald_check_t *c, const json_t *doc)
{
    int                i, rc, given;
    char               pointer[64];
    json_t            *value;
    const char        *mode, *s;
    corral_pointer_t   parsed;

    /* n: none, j: jsonrpc, e: events, p: pointers */

    static const struct {
        const char  *name;
        const char  *may;
        const char  *must;
    } fields[] = {
        { "answer_id",       "ep",  "p" },
        { "answer_reply_id", "ep",  "" },
        { "answer_name",     "ep",  "e" },
        { "answer_requests", "e",   "e" },
        { "answer_streams",  "e",   "" },
        { "answer_finals",   "jep", "e" },
        { "answer_final",    "jp",  "" },
        { "preamble_names",  "jep", "" }
    };

    rc = 0;
    mode = corrald_doc_str(doc, "answer");

    for (i = 0; i < (int) (sizeof(fields) / sizeof(fields[0])); i++) {
        value = json_object_get(doc, fields[i].name);
        given = json_array_size(value) || json_string_length(value);
        snprintf(pointer, sizeof(pointer), "/%s", fields[i].name);

        if (given && strchr(fields[i].may, mode[0]) == NULL) {
            rc = corrald_check_error(c, pointer, "says nothing with "
                                     "\"answer\": \"%s\"", mode);
        }

        if (!given && strchr(fields[i].must, mode[0])) {
            rc = corrald_check_error(c, pointer, "is required with "
                                     "\"answer\": \"%s\"", mode);
        }

        s = json_string_value(value);

        if (s && *s && corral_pointer_parse(&parsed, s, strlen(s)) != 0) {
            rc = corrald_check_error(c, pointer, "is \"%.64s\", it must be a "
                                     "JSON pointer such as \"/params/id\" of "
                                     "at most %d parts", s,
                                     CORRAL_POINTER_TOKENS);
        }
    }

    value = json_object_get(doc, "answer_final");
    given = json_array_size(json_object_get(doc, "answer_finals")) != 0;

    if (mode[0] != 'e' && given != (json_string_length(value) != 0)) {
        rc = corrald_check_error(c, given ? "/answer_final"
                                          : "/answer_finals",
                                 "is required with \"%s\"",
                                 given ? "answer_finals" : "answer_final");
    }

    if (json_array_size(json_object_get(doc, "preamble_names"))
        && mode[0] == 'p' && *corrald_doc_str(doc, "answer_name") == '\0')
    {
        rc = corrald_check_error(c, "/preamble_names", "needs "
                                 "\"answer_name\", where the name stands");
    }

    return rc;
}


static int
corrald_rules_probes(corrald_check_t *c, const json_t *doc)
{
    int          i, rc;
    char         pointer[64];
    json_t      *probe;
    const char  *type, *p;

    static const char  *names[] = {
        "startup_probe", "readiness_probe", "liveness_probe", NULL
    };

    rc = 0;

    for (i = 0; names[i]; i++) {
        probe = json_object_get(doc, names[i]);

        if (!json_is_object(probe)) {
            continue;
        }

        snprintf(pointer, sizeof(pointer), "/%s", names[i]);
        type = corrald_doc_str(probe, "type");

        if (strcmp(type, "exec") == 0
            && json_array_size(json_object_get(probe, "command")) == 0)
        {
            rc = corrald_check_error(c, pointer, "of type exec needs a "
                                     "\"command\"");
        }

        /* it stands in a request line */

        p = corrald_doc_str(probe, "path");

        if (*p != '/') {
            rc = corrald_check_error(c, pointer, "needs a \"path\" that "
                                     "begins with \"/\"");
        }

        for ( /* void */ ; *p; p++) {
            if ((unsigned char) *p <= 0x20 || *p == 0x7f) {
                rc = corrald_check_error(c, pointer, "has a blank or a "
                                         "control character in its \"path\"");
                break;
            }
        }
    }

    return rc;
}


static int
corrald_rules_words(corrald_check_t *c, const json_t *doc)
{
    int          rc;
    size_t       i, len;
    json_t      *value;
    const char  *key;

    rc = 0;

    json_array_foreach(json_object_get(doc, "tags"), i, value) {
        len = json_string_length(value);

        /* a list of tags in a query is separated by commas */

        if (len == 0 || len > 64 || strchr(json_string_value(value), ',')) {
            rc = corrald_check_error(c, "/tags", "item %zu must have from 1 "
                                     "to 64 bytes and no comma", i);
        }
    }

    json_object_foreach(json_object_get(doc, "labels"), key, value) {
        if (strlen(key) > 63 || json_string_length(value) > 255
            || strpbrk(key, "=,"))
        {
            rc = corrald_check_error(c, "/labels", "a key must have at most "
                                     "63 bytes without \"=\" and \",\", a "
                                     "value at most 255 bytes");
        }
    }

    return rc;
}


/* what of a request tells sessions apart */

static int
corrald_rules_key(const char *s)
{
    const char  *dot;

    dot = strchr(s, '.');

    return strcmp(s, "client_ip") == 0 || strcmp(s, "session") == 0
           || strcmp(s, "subject") == 0
           || (dot && corrald_rules_token(dot + 1)
               && (strncmp(s, "header.", 7) == 0
                   || strncmp(s, "query.", 6) == 0
                   || strncmp(s, "cookie.", 7) == 0
                   || strncmp(s, "claim.", 6) == 0));
}


/* Whether s is a token of HTTP, such as the name of a header. */

static int
corrald_rules_token(const char *s)
{
    const char  *p;

    for (p = s; *p; p++) {
        if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f
            || strchr("()<>@,;:\\\"/[]?={}", *p))
        {
            return 0;
        }
    }

    return p > s;
}
