/* links: controlplane/model/route.c ngx_module/corral_match.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/corral_learn.c -lpcre2-8 */
/* links: controlplane/model/check.c controlplane/model/rules.c */
/* links: controlplane/model/doc.c controlplane/model/view.c */
/* links: controlplane/model/state.c controlplane/base/clock.c */
/* links: ngx_module/common/corral_duration.c -ljansson */
/* links: ngx_module/common/corral_pointer.c */

/*
 * What the API takes: types, bounds, unknown and foreign fields, defaults,
 * rules between fields, and JSON that a parser should not see.
 */


#include <stdlib.h>
#include <string.h>

#include "../../controlplane/model/check.h"
#include "../../controlplane/model/rules.h"
#include "../../controlplane/model/view.h"

#include "unit.h"


static json_t *
parse(const char *text)
{
    json_t        *value;
    json_error_t   error;

    value = json_loads(text, 0, &error);

    if (value == NULL) {
        printf("Bail out! %s: %s\n", text, error.text);
        exit(1);
    }

    return value;
}


/* the first sentence about a request, or "" when it is taken */

static const char *
input(const char *text, unsigned owners, unsigned flags)
{
    json_t           *in;
    corrald_check_t   c;

    static char  sentence[512];

    in = parse(text);
    corrald_check_init(&c);

    if (corrald_check_input(&c, CORRALD_SERVICE, in, NULL, owners, flags)
        == 0)
    {
        snprintf(sentence, sizeof(sentence), "%s",
                 json_array_size(c.errors) ? "no error, but a list of them"
                                           : "");

    } else {
        snprintf(sentence, sizeof(sentence), "%s", c.sentence);
    }

    corrald_check_free(&c);
    json_decref(in);

    return sentence;
}


/* the same for a whole new service */

static const char *
document(const char *text)
{
    json_t           *in;
    corrald_check_t   c;

    static char  sentence[512];

    in = parse(text);
    corrald_check_init(&c);

    if (corrald_check_input(&c, CORRALD_SERVICE, in, NULL,
                            CORRALD_OWNER_operator, CORRALD_CHECK_CREATE)
        == 0
        && corrald_rules_derive(in) == 0)
    {
        json_object_set_new(in, "service_id", json_string("s1"));
        json_object_set_new(in, "created_at",
                            json_string("2026-01-31T12:00:00Z"));
        json_object_set_new(in, "updated_at",
                            json_string("2026-01-31T12:00:00Z"));

        if (corrald_check_fill(CORRALD_SERVICE, in) == 0) {
            (void) !corrald_check_document(&c, CORRALD_SERVICE, in);
        }
    }

    snprintf(sentence, sizeof(sentence), "%s", c.sentence);

    corrald_check_free(&c);
    json_decref(in);

    return sentence;
}


static const char *
text(const char *json)
{
    json_t           *value;
    corrald_check_t   c;

    static char  sentence[512];

    corrald_check_init(&c);
    value = corrald_check_parse(&c, json, strlen(json));

    snprintf(sentence, sizeof(sentence), "%s", value ? "" : c.sentence);

    json_decref(value);
    corrald_check_free(&c);

    return sentence;
}


#define STRICT  CORRALD_OWNER_operator, 0
#define CREATE  CORRALD_OWNER_operator, CORRALD_CHECK_CREATE
#define COMPAT  CORRALD_OWNER_operator, CORRALD_CHECK_COMPAT


static void
types(void)
{
    is_str(input("{\"name\":\"echo\"}", CREATE), "", "the least is a name");
    is_str(input("{}", CREATE), "\"name\" is required", "no name");
    is_str(input("{}", STRICT), "", "nothing is required in a change");

    is_str(input("{\"name\":5}", STRICT), "\"name\" must be a string",
           "a number is no string");
    is_str(input("{\"name\":null}", STRICT), "\"name\" cannot be null",
           "null where it means nothing");
    is_str(input("{\"port\":null}", STRICT), "", "null where it is allowed");
    is_str(input("{\"port\":0}", STRICT),
           "\"port\" is 0, it must be from 1 to 65535", "below a bound");
    is_str(input("{\"port\":65535}", STRICT), "", "at a bound");
    is_str(input("{\"port\":65536}", STRICT),
           "\"port\" is 65536, it must be from 1 to 65535", "above a bound");
    is_str(input("{\"port\":80.0}", STRICT), "\"port\" must be an integer",
           "a real is no integer");
    is_str(input("{\"auto_start\":1}", STRICT),
           "\"auto_start\" must be true or false", "1 is no boolean");
    is_str(input("{\"listen\":\"udp\"}", STRICT),
           "\"listen\" is \"udp\", it can be: unix tcp", "another word");
    is_str(input("{\"listen\":\"unix tcp\"}", STRICT),
           "\"listen\" is \"unix tcp\", it can be: unix tcp",
           "two words are not one");
    is_str(input("{\"listen\":\"\"}", STRICT),
           "\"listen\" is \"\", it can be: unix tcp", "an empty word");
    is_str(input("{\"tags\":[\"a\",1]}", STRICT),
           "\"tags\" must be an array of strings; item 1 is not one",
           "an item of another type");
    is_str(input("{\"env\":{\"A\":1}}", STRICT),
           "\"env/A\" must be a string", "a member of another type");
    is_str(input("{\"drain_timeout\":\"5x\"}", STRICT), "\"drain_timeout\" "
           "must be a duration such as \"500ms\", \"30s\", \"5m\", or seconds",
           "not a duration");
    is_str(input("{\"drain_timeout\":30}", STRICT), "", "seconds");
    is_str(input("{\"fail_timeout\":\"99ms\"}", STRICT), "\"fail_timeout\" "
           "is 99 ms, it must be from 100 to 3600000 ms", "too short");
    is_str(input("{\"readiness_probe\":{\"type\":\"http\",\"pth\":\"/\"}}",
                 STRICT),
           "\"readiness_probe/pth\" is not a field of a probe; is \"path\" "
           "meant?", "an unknown member of a probe");
    is_str(input("{\"readiness_probe\":{}}", STRICT), "\"readiness_probe\" "
           "needs a \"type\": websocket http tcp exec agent_check none",
           "a probe without a type");
}


static void
owners(void)
{
    json_t           *in, *current;
    corrald_check_t   c;

    is_str(input("{\"nmae\":\"x\"}", STRICT), "\"nmae\" is not a field of a "
           "service; is \"name\" meant?", "a misspelled field");
    is_str(input("{\"zzzzzzzzz\":1}", STRICT),
           "\"zzzzzzzzz\" is not a field of a service", "an unknown field");
    is_str(input("{\"zzzzzzzzz\":1}", COMPAT), "", "ignored for MyAgent");
    is_str(input("{\"generation\":1}", STRICT),
           "\"generation\" is set by corrald, not by requests", "not his");
    is_str(input("{\"generation\":1}", COMPAT), "", "ignored for MyAgent");
    is_str(input("{\"replicas\":2}", CORRALD_OWNER_user, 0),
           "\"replicas\" is set by the scaler, not by this request",
           "another owner's");
    is_str(input("{\"status\":\"running\"}", STRICT), "",
           "what answers add may come back");

    in = parse("{\"generation\":3,\"status\":\"x\",\"foo\":1}");
    current = parse("{\"generation\":3,\"service_id\":\"a\"}");
    corrald_check_init(&c);

    ok(corrald_check_input(&c, CORRALD_SERVICE, in, current, COMPAT) == 0
       && json_object_get(in, "generation")
       && json_object_get(in, "foo") == NULL,
       "a foreign field as it is, is no error and stays");
    is_int((int64_t) json_array_size(c.ignored), 2, "what is ignored is told");

    corrald_check_free(&c);
    json_decref(in);

    in = parse("{\"service_id\":\"b\"}");
    corrald_check_init(&c);

    ok(corrald_check_input(&c, CORRALD_SERVICE, in, current,
                           CORRALD_OWNER_all, 0)
       != 0, "a fixed field does not change");

    corrald_check_free(&c);
    json_decref(in);
    json_decref(current);
}


/* a service with these members more */

static const char *
with(const char *members)
{
    char  text[512];

    snprintf(text, sizeof(text), "{\"name\":\"a\",\"command\":[\"x\"],%s}",
             members);

    return document(text);
}


static void
failover(void)
{
    is_str(with("\"failover\":\"replay\",\"answer\":\"jsonrpc\""), "",
           "replay of JSON-RPC needs no more");
    is_str(with("\"failover\":\"reattach\""), "", "reattach needs nothing");
    is_str(with("\"failover\":\"replay\""), "\"failover\" \"replay\" needs an "
           "\"answer\" other than \"none\": what has no answer yet must be "
           "known", "replay without an answer");
    is_str(with("\"failover\":\"reattach\",\"protocol\":\"grpc\""),
           "\"failover\" \"reattach\" is for WebSockets, which need "
           "\"protocol\": \"http\"", "no WebSocket");
    is_str(with("\"replay_started\":true,\"reset\":\"x\""),
           "\"replay_started\" needs \"failover\": \"replay\"",
           "nothing is replayed");
    is_str(with("\"failover\":\"replay\",\"answer\":\"jsonrpc\","
                "\"replay_started\":true"), "\"replay_started\" needs "
           "\"reset\": the client must learn that an answer begins anew",
           "a client that would not know");
    is_str(with("\"failover\":\"replay\",\"answer\":\"jsonrpc\","
                "\"journal_size\":1024"), "\"journal_size\" must be at least "
           "hold_size, or one message could be more than the journal holds",
           "too small a journal");
    is_str(with("\"answer\":\"pointers\""), "\"answer_id\" is required with "
           "\"answer\": \"pointers\"", "a pointer is missing");
    is_str(with("\"answer\":\"pointers\",\"answer_id\":\"id\""),
           "\"answer_id\" is \"id\", it must be a JSON pointer such as "
           "\"/params/id\" of at most 8 parts", "no pointer");
    is_str(with("\"answer\":\"jsonrpc\",\"answer_id\":\"/id\""),
           "\"answer_id\" says nothing with \"answer\": \"jsonrpc\"",
           "a field of another mode");
    is_str(with("\"answer\":\"jsonrpc\",\"answer_finals\":[\"x\"]"),
           "\"answer_final\" is required with \"answer_finals\"",
           "values without a place");
    is_str(with("\"answer\":\"pointers\",\"answer_id\":\"/id\","
                "\"preamble_names\":[\"x\"]"), "\"preamble_names\" needs "
           "\"answer_name\", where the name stands", "names without a place");
}


static void
rules(void)
{
    json_t  *in;

    is_str(document("{\"name\":\"a\",\"command\":[\"x\"]}"), "",
           "a service is valid with its defaults");
    is_str(document("{\"name\":\"a\",\"command\":[\"x\"],"
                    "\"agent_factory_path\":\"/a.py\"}"),
           "\"agent_factory_path\" stands instead of \"command\": give one of "
           "them", "two programs");
    is_str(document("{\"name\":\"a\",\"command\":[\"\"]}"),
           "\"command\" must begin with the program", "no program");
    is_str(document("{\"name\":\"a\",\"command\":[\"x\"],\"cwd\":\"tmp\"}"),
           "\"cwd\" must be an absolute path", "a relative directory");
    is_str(document("{\"name\":\"a\",\"command\":[\"x\"],\"listen\":\"unix\","
                    "\"port\":80}"),
           "\"port\" needs \"listen\": \"tcp\"", "a port of a socket");
    is_str(document("{\"name\":\"a\",\"env\":{\"A=B\":\"1\"}}"),
           "\"env\" has the name \"A=B\": \"=\" cannot stand in a variable's "
           "name", "a variable's name");
    is_str(document("{\"name\":\"a\",\"secrets\":{\"A\":\"hunter2\"}}"),
           "\"secrets\" \"A\" must be file:/absolute/path or env:NAME",
           "a secret is a reference, and is not repeated");
    is_str(document("{\"name\":\"a\",\"upstream_host\":\"a b\"}"),
           "\"upstream_host\" must be a host, perhaps with a port",
           "a blank in a header");
    is_str(document("{\"name\":\"a\",\"upstream_host\":\"a\\r\\nX: y\"}"),
           "\"upstream_host\" must be a host, perhaps with a port",
           "a line break in a header");
    is_str(document("{\"name\":\"a\",\"hash_key\":\"header.X-User\"}"), "",
           "a header to hash");
    is_str(document("{\"name\":\"a\",\"hash_key\":\"header.\"}"), "\"hash_key\""
           " is \"header.\", it can be: client_ip, session, subject, "
           "claim.NAME, header.NAME, query.NAME, cookie.NAME, or several with "
           "blanks between", "a header without a name");
    is_str(document("{\"name\":\"a\",\"hash_key\":\"claim.org client_ip\","
                    "\"affinity\":\"claim.sub\"}"), "", "claims");
    is_str(document("{\"name\":\"a\",\"hash_key\":\"subject session "
                    "cookie.uid\"}"), "", "several keys");
    is_str(document("{\"name\":\"a\",\"hash_key\":\"subject x\"}"),
           "\"hash_key\" is \"subject x\", it can be: client_ip, session, "
           "subject, claim.NAME, header.NAME, query.NAME, cookie.NAME, or "
           "several with blanks between", "one of several is none");
    is_str(document("{\"name\":\"a\",\"affinity\":\"session subject\"}"),
           "\"affinity\" is \"session subject\", it can be: none, cookie, "
           "client_ip, session, subject, claim.NAME, header.NAME, query.NAME, "
           "cookie.NAME, learn.header.NAME, learn.cookie.NAME",
           "affinity has one");
    is_str(document("{\"name\":\"a\",\"affinity\":\"learn.cookie.SID\"}"),
           "", "a learned session");
    is_str(document("{\"name\":\"a\",\"affinity\":\"learn.query.sid\"}"),
           "\"affinity\" is \"learn.query.sid\", it can be: none, cookie, "
           "client_ip, session, subject, claim.NAME, header.NAME, query.NAME, "
           "cookie.NAME, learn.header.NAME, learn.cookie.NAME",
           "no agent answers with an argument");
    is_str(document("{\"name\":\"a\",\"hash_key\":\"learn.cookie.SID\"}"),
           "\"hash_key\" is \"learn.cookie.SID\", it can be: client_ip, "
           "session, subject, claim.NAME, header.NAME, query.NAME, "
           "cookie.NAME, or several with blanks between", "nothing to hash");
    is_str(document("{\"name\":\"a\",\"hash_balance_factor\":99}"),
           "\"hash_balance_factor\" is 99, it must be 0, for no bound, or from "
           "100 to 1000", "less than all together");
    is_str(document("{\"name\":\"a\",\"hash_balance_factor\":100}"), "",
           "the least bound");
    is_str(document("{\"name\":\"a\",\"readiness_probe\":{\"type\":\"exec\"}}"),
           "\"readiness_probe\" of type exec needs a \"command\"",
           "a probe without its command");
    is_str(document("{\"name\":\"a\",\"readiness_probe\":{\"type\":\"http\","
                    "\"path\":\"/a b\"}}"), "\"readiness_probe\" has a blank "
           "or a control character in its \"path\"", "a path of a probe");
    is_str(document("{\"name\":\"a\",\"tags\":[\"x,y\"]}"), "\"tags\" item 0 "
           "must have from 1 to 64 bytes and no comma", "a comma in a tag");
    is_str(document("{\"name\":\"-a\"}"), "\"name\" is \"-a\", it can have "
           "letters, digits, \".\", \"_\", \"-\", and begins with a letter or "
           "a digit", "how a name begins");

    in = parse("{\"name\":\"a\",\"command\":[\"x\"]}");
    ok(corrald_rules_derive(in) == 0
       && strcmp(corrald_doc_str(in, "listen"), "unix") == 0,
       "a command listens on a socket");
    json_decref(in);

    in = parse("{\"name\":\"a\",\"command\":[\"x\"],\"port\":80}");
    ok(corrald_rules_derive(in) == 0
       && strcmp(corrald_doc_str(in, "listen"), "tcp") == 0,
       "with a port, on TCP");
    json_decref(in);

    in = parse("{\"name\":\"a\",\"agent_factory_path\":\"/a\",\"port\":null,"
               "\"auto_start\":true}");
    ok(corrald_rules_derive(in) == 0
       && strcmp(corrald_doc_str(in, "listen"), "tcp") == 0
       && strcmp(corrald_doc_str(in, "desired"), "running") == 0,
       "a MyAgent agent listens on TCP, auto_start is a wish to run");
    json_decref(in);
}


static void
addresses(void)
{
    size_t  i;

    static const char  *good[] = {
        "unix:/a", "127.0.0.1:1", "1.2.3.4:65535", "[::1]:80", "[fe80::1]:9"
    };

    static const char  *bad[] = {
        "", "unix:", "unix:a", "unix:/a b", "localhost:80", "1.2.3.4",
        "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:80x", "::1:80",
        "[::1]", "[::1:80", "[]:80", "1.2.3:80", "[1.2.3.4]:80"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ok(corrald_check_address(good[i]), good[i]);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(!corrald_check_address(bad[i]), *bad[i] ? bad[i] : "nothing");
    }
}


static void
parsing(void)
{
    char  deep[256];

    is_str(text("{\"a\":1}"), "", "an object");
    is_str(text("[]"), "the JSON must be an object", "no object");
    ok(*text(""), "nothing");
    ok(*text("{\"a\":1}x"), "something behind it");
    ok(strstr(text("{\"a\":1,\"a\":2}"), "duplicate") != NULL,
       "a member twice");
    ok(*text("{\"a\":\"\\u0000\"}"), "a NUL");
    ok(*text("{\"a\":\"\xff\"}"), "not UTF-8");

    memset(deep, '[', 40);
    memset(deep + 40, ']', 40);
    deep[80] = '\0';

    is_str(text(deep), "the JSON is nested deeper than 32 levels",
           "too deep for a parser that recurses");

    memset(deep, '[', 40);
    deep[40] = '\0';
    ok(strstr(text("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}"),
              "nested") == NULL, "brackets in a string are not levels");
}


static void
views(void)
{
    json_t      *doc, *in, *view, *instances;
    const char  *name;

    doc = parse("{\"service_id\":\"s\",\"name\":\"a\",\"desired\":\"running\","
                "\"env\":{\"KEY\":\"secret\"},\"port\":null}");
    instances = parse("{\"x\":[{\"state\":\"running\",\"health\":\"healthy\","
                      "\"address\":\"127.0.0.1:8081\",\"weight\":1,"
                      "\"managed\":true,\"restart_count\":2}]}");

    view = corrald_view_service(doc, json_object_get(instances, "x"), 7, 2,
                                1, "ws://gw/agents/{service}/ws");

    is_int(corrald_doc_int(view, "waiting"), 2, "who waits");
    is_str(corrald_doc_str(json_object_get(view, "env"), "KEY"),
           CORRALD_VIEW_HIDDEN, "a secret is hidden");
    is_str(corrald_doc_str(json_object_get(doc, "env"), "KEY"), "secret",
           "only in the view");
    is_str(corrald_doc_str(view, "status"), "running", "status");
    is_str(corrald_doc_str(view, "endpoint"), "ws://gw/agents/a/ws",
           "endpoint");
    is_int(corrald_doc_int(view, "port"), 8081, "the port that was chosen");
    is_int(corrald_doc_int(view, "restart_count"), 2, "restarts");
    is_int(corrald_doc_int(view, "ready"), 1, "ready");

    in = json_deep_copy(view);
    name = NULL;

    ok(corrald_view_unmask(in, doc, json_object_get(instances, "x"), &name)
       == 0
       && json_equal(json_object_get(in, "env"), json_object_get(doc, "env"))
       && json_is_null(json_object_get(in, "port")),
       "what was read can be written back");

    json_object_set_new(json_object_get(in, "env"), "NEW",
                        json_string(CORRALD_VIEW_HIDDEN));

    ok(corrald_view_unmask(in, doc, NULL, &name) == -1
       && strcmp(name, "NEW") == 0, "a hidden value that is not there");

    corrald_view_select(view, "name,ports,status");
    is_int((int64_t) json_object_size(view), 2, "selected members");

    json_decref(in);
    json_decref(view);
    json_decref(doc);
    json_decref(instances);
}


int
main(void)
{
    types();
    owners();
    rules();
    failover();
    addresses();
    parsing();
    views();

    return done_testing();
}
