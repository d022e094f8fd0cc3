/* links: ngx_module/corral_answer.c ngx_module/common/corral_pointer.c */

/*
 * What is a request and what is its answer, in each mode.
 */


#include "../../ngx_module/corral_answer.h"

#include "unit.h"


#define S(text)  { sizeof(text) - 1, (char *) text }


static corral_answer_rules_t  rules;


static corral_answer_t
client(const char *json)
{
    corral_pointer_scan_t  s;

    corral_answer_begin_client(&rules, &s);
    corral_pointer_feed(&s, (const uint8_t *) json, strlen(json));

    return corral_answer_of_client(&rules, &s);
}


/* is this the id, as it stands there? */

static int
is_id(const char *json, const char *id)
{
    size_t                 begin, end;
    corral_pointer_scan_t  s;

    corral_answer_begin_client(&rules, &s);
    corral_pointer_feed(&s, (const uint8_t *) json, strlen(json));

    if (!corral_answer_where(&s, &begin, &end)) {
        return id == NULL;
    }

    return id && end - begin == strlen(id)
           && memcmp(json + begin, id, end - begin) == 0;
}


static corral_answer_t
agent(const char *json)
{
    corral_pointer_scan_t  s;

    corral_answer_begin_agent(&rules, &s);
    corral_pointer_feed(&s, (const uint8_t *) json, strlen(json));

    return corral_answer_of_agent(&rules, &s);
}


static int
compile(corral_service_t *service)
{
    char  err[CORRAL_DECODE_ERROR];

    return corral_answer_compile(&rules, service, err, sizeof(err));
}


static void
test_jsonrpc(void)
{
    corral_str_t      finals[] = { S("true") };
    corral_service_t  s;

    memset(&s, 0, sizeof(s));
    s.answer = CORRAL_ANSWER_MODE_JSONRPC;
    (void) compile(&s);

    is_int(client("{\"id\":1,\"method\":\"x\"}").kind, CORRAL_ANSWER_REQUEST,
           "id and method: a request");
    is_int(client("{\"method\":\"x\"}").kind, CORRAL_ANSWER_NOTE,
           "a notification");
    is_int(client("{\"id\":null,\"method\":\"x\"}").kind, CORRAL_ANSWER_NOTE,
           "id null");
    is_int(client("{\"id\":4,\"result\":1}").kind, CORRAL_ANSWER_NOTE,
           "the client's own answer");
    is_int(client("[{\"id\":4,\"method\":\"x\"}]").kind, CORRAL_ANSWER_NOTE,
           "a batch");
    is_int(agent("{\"id\":1,\"result\":null}").kind, CORRAL_ANSWER_FINAL,
           "result null is a result");
    is_int(agent("{\"id\":1,\"error\":{}}").kind, CORRAL_ANSWER_FINAL,
           "an error");
    is_int(agent("{\"id\":1,\"method\":\"y\"}").kind, CORRAL_ANSWER_NOTE,
           "the agent's own request");
    ok(client("{\"id\":1,\"method\":\"x\"}").key
       == agent("{\"result\":5,\"id\":1}").key, "the keys are equal");
    ok(client("{\"id\":1,\"method\":\"x\"}").key
       != agent("{\"result\":5,\"id\":2}").key, "those of others are not");

    memset(&s, 0, sizeof(s));
    s.answer = CORRAL_ANSWER_MODE_JSONRPC;
    s.answer_final = (corral_str_t) S("/result/final");
    s.answer_finals.n = 1;
    s.answer_finals.items = finals;
    (void) compile(&s);

    is_int(agent("{\"id\":1,\"result\":{\"final\":false}}").kind,
           CORRAL_ANSWER_STARTED, "more follows");
    is_int(agent("{\"id\":1,\"result\":{\"final\":true}}").kind,
           CORRAL_ANSWER_FINAL, "the end");
    is_int(agent("{\"id\":1,\"error\":{}}").kind, CORRAL_ANSWER_FINAL,
           "an error is an end, always");
}


static void
test_events(void)
{
    corral_str_t      requests[] = { S("user.message") },
                      streams[] = { S("agent.thinking") },
                      finals[] = { S("agent.final_answer"), S("agent.error") },
                      preambles[] = { S("user.create_session") };
    corral_service_t  s;

    memset(&s, 0, sizeof(s));
    s.answer = CORRAL_ANSWER_MODE_EVENTS;
    s.answer_id = (corral_str_t) S("/session_id");
    s.answer_name = (corral_str_t) S("/event");
    s.answer_requests = (corral_strs_t) { 1, requests };
    s.answer_streams = (corral_strs_t) { 1, streams };
    s.answer_finals = (corral_strs_t) { 2, finals };
    s.preamble_names = (corral_strs_t) { 1, preambles };
    is_int(compile(&s), 0, "compiles");

    is_int(client("{\"event\":\"user.message\",\"session_id\":\"s\"}").kind,
           CORRAL_ANSWER_REQUEST, "a request by its name");
    is_int(client("{\"event\":\"user.ack\",\"session_id\":\"s\"}").kind,
           CORRAL_ANSWER_NOTE, "another name");
    is_int(client("{\"event\":\"user.create_session\"}").preamble, 1,
           "a preamble by its name");
    is_int(agent("{\"event\":\"agent.thinking\",\"session_id\":\"s\"}").kind,
           CORRAL_ANSWER_STARTED, "a part");
    is_int(agent("{\"event\":\"agent.error\",\"session_id\":\"s\"}").kind,
           CORRAL_ANSWER_FINAL, "an end");
    is_int(agent("{\"event\":\"system.notice\"}").kind, CORRAL_ANSWER_NOTE,
           "neither");
    ok(agent("{\"event\":\"agent.error\",\"session_id\":\"s\"}").key
       == client("{\"event\":\"user.message\",\"session_id\":\"s\"}").key,
       "the correlation stands at the same place by default");

    s.answer_name = (corral_str_t) S("event");
    is_int(compile(&s), -1, "a pointer begins with a slash");
}


static void
test_pointers(void)
{
    corral_str_t      finals[] = { S("1") };
    corral_service_t  s;

    memset(&s, 0, sizeof(s));
    s.answer = CORRAL_ANSWER_MODE_POINTERS;
    s.answer_id = (corral_str_t) S("/req/no");
    s.answer_reply_id = (corral_str_t) S("/for");
    s.answer_final = (corral_str_t) S("/last");
    s.answer_finals = (corral_strs_t) { 1, finals };
    (void) compile(&s);

    is_int(client("{\"req\":{\"no\":\"n\"}}").kind, CORRAL_ANSWER_REQUEST,
           "a value at the pointer: a request");
    is_int(client("{\"req\":{}}").kind, CORRAL_ANSWER_NOTE, "none: a note");
    is_int(agent("{\"for\":\"n\"}").kind, CORRAL_ANSWER_STARTED, "a part");
    is_int(agent("{\"for\":\"n\",\"last\":1}").kind, CORRAL_ANSWER_FINAL,
           "the end");
    is_int(agent("{\"last\":1}").kind, CORRAL_ANSWER_NOTE,
           "without a correlation");
    ok(client("{\"req\":{\"no\":\"n\"}}").key == agent("{\"for\":\"n\"}").key,
       "the keys are equal");
}


static void
test_where(void)
{
    corral_service_t  s;

    memset(&s, 0, sizeof(s));
    s.answer = CORRAL_ANSWER_MODE_JSONRPC;
    (void) compile(&s);

    ok(is_id("{\"id\":17,\"method\":\"x\"}", "17"), "a number");
    ok(is_id("{\"method\":\"x\",\"id\": \"a \\\"b\" }", "\"a \\\"b\""),
       "a string");
    ok(is_id("{\"method\":\"x\"}", NULL), "none");
    ok(is_id("{\"id\":null,\"method\":\"x\"}", NULL), "null");
    ok(is_id("{\"id\":{\"id\":1},\"method\":\"x\"}", NULL), "an object");
    ok(is_id("no JSON", NULL), "no JSON");
}


int
main(void)
{
    test_jsonrpc();
    test_events();
    test_pointers();
    test_where();

    return done_testing();
}
