/* links: ngx_module/corral_match.c ngx_module/corral_match_index.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/common/corral_duration.c -ljansson -lz -lpcre2-8 */

/*
 * Rules: each operator on each kind of field, what does not compile and its
 * sentence, limits of patterns, and the index against a look at all rules.
 */


#include "../../ngx_module/corral_match.h"

#include <stdlib.h>

#include "unit.h"


#define RULES  600


static void      *blocks[1000000];
static unsigned   nblocks;
static char       err[CORRAL_DECODE_ERROR];


static void *
test_alloc(void *data, size_t size)
{
    (void) data;

    blocks[nblocks] = malloc(size);

    return blocks[nblocks++];
}


/* a request: "field=value" with a NUL behind each, one more at the end */

static int
test_get(void *data, corral_match_field_e field, const corral_str_t *name,
    uint32_t i, corral_str_t *value)
{
    corral_str_t          text, found;
    const char           *p, *equals;
    corral_match_field_e  f;

    for (p = data; *p; p += strlen(p) + 1) {
        equals = strchr(p, '=');

        text.data = (char *) p;
        text.len = (size_t) (equals - p);

        if (corral_match_field(&text, &f, &found) != 0 || f != field
            || found.len != name->len
            || memcmp(found.data, name->data, name->len) != 0
            || i-- > 0)
        {
            continue;
        }

        value->data = (char *) equals + 1;
        value->len = strlen(equals + 1);

        return 1;
    }

    return 0;
}


static corral_match_rule_t *
test_compile(const char *conditions, int64_t priority)
{
    char           json[4096];
    corral_rule_t  rule;

    snprintf(json, sizeof(json), "{\"rule_id\":\"r\",\"name\":\"r%lld\","
             "\"priority\":%lld,\"conditions\":[%s]}", (long long) priority,
             (long long) priority, conditions);

    if (corral_decode_rule(json, strlen(json), &rule, test_alloc, NULL, err,
                           sizeof(err))
        != 0)
    {
        return NULL;
    }

    return corral_match_compile(&rule, test_alloc, NULL, err, sizeof(err));
}


static const char  request[] =
    "path=/v1/Chat\0" "host=a.example\0" "method=POST\0"
    "client_ip=10.1.2.3\0" "client_port=5000\0" "header.x-tier=Gold\0"
    "header.x-tier=second\0" "header.x-n=42\0" "query.client_ip=9.9.9.9\0"
    "query.n=1e1\0" "cookie.s=abc\0" "subprotocol=chat.v1\0"
    "subprotocol=chat.v2\0" "claim.sub=me\0" "header.x-six=2001:db8::7\0"
    "header.x-empty=\0";


static const struct {
    const char  *field;
    const char  *operator;
    const char  *rest;
    int          holds;
} cases[] = {
    { "path", "equals", "\"value\":\"/v1/chat\"", 1 },
    { "path", "equals", "\"value\":\"/v1/chat\",\"case_sensitive\":true", 0 },
    { "path", "equals", "\"value\":\"/v1/Chat\",\"case_sensitive\":true", 1 },
    { "path", "equals", "\"value\":\"/v1/cha\"", 0 },
    { "path", "not_equals", "\"value\":\"/v1/chat\"", 0 },
    { "path", "not_equals", "\"value\":\"/v2\"", 1 },
    { "path", "contains", "\"value\":\"1/C\"", 1 },
    { "path", "contains", "\"value\":\"1/D\"", 0 },
    { "path", "not_contains", "\"value\":\"1/d\"", 1 },
    { "path", "starts_with", "\"value\":\"/V1\"", 1 },
    { "path", "starts_with", "\"value\":\"/v1/chat/more\"", 0 },
    { "path", "ends_with", "\"value\":\"CHAT\"", 1 },
    { "path", "ends_with", "\"value\":\"cha\"", 0 },
    { "path", "regex_match", "\"value\":\"^/v\\\\d+/chat$\"", 1 },
    { "path", "regex_match", "\"value\":\"^/v\\\\D+/\"", 0 },
    { "path", "regex_match", "\"value\":\"(/)v1\\\\1\"", 1 },
    { "path", "regex_match",
      "\"value\":\"chat\",\"case_sensitive\":true", 0 },
    { "method", "in_list", "\"value\":\"get, post\"", 1 },
    { "method", "in_list", "\"values\":[\"GET\",\"PUT\"]", 0 },
    { "method", "not_in_list", "\"values\":[\"GET\",\"PUT\"]", 1 },
    { "client_ip", "ip_in_range", "\"value\":\"10.0.0.0/8\"", 1 },
    { "client_ip", "ip_in_range", "\"value\":\"10.1.2.0/31,10.1.2.2/31\"",
      1 },
    { "client_ip", "ip_in_range", "\"value\":\"10.1.2.4/30\"", 0 },
    { "client_ip", "ip_in_range", "\"value\":\"9.0.0.0/8\"", 0 },
    { "client_ip", "ip_in_range", "\"value\":\"0.0.0.0/0\"", 1 },
    { "client_ip", "ip_in_range", "\"value\":\"::/0\"", 1 },
    { "client_ip", "ip_in_range", "\"value\":\"::ffff:10.1.2.3\"", 1 },
    { "header.x-six", "ip_in_range", "\"value\":\"2001:db8::/125\"", 1 },
    { "header.x-six", "ip_in_range", "\"value\":\"2001:db8::8/125\"", 0 },
    { "header.x-six", "ip_in_range", "\"value\":\"0.0.0.0/0\"", 0 },
    { "host", "ip_in_range", "\"value\":\"::/0\"", 0 },
    { "client_ip", "equals", "\"value\":\"9.9.9.9\"", 0 },
    { "query.client_ip", "equals", "\"value\":\"9.9.9.9\"", 1 },
    { "header.X-Tier", "equals", "\"value\":\"gold\"", 1 },
    { "header.x-tier", "equals", "\"value\":\"second\"", 1 },
    { "header.x-tier", "not_equals", "\"value\":\"second\"", 0 },
    { "header.x-none", "equals", "\"value\":\"\"", 0 },
    { "header.x-none", "not_equals", "\"value\":\"x\"", 1 },
    { "header.x-empty", "equals", "\"value\":\"\"", 1 },
    { "header.x-none", "exists", "\"value\":\"\"", 0 },
    { "header.x-none", "exists", "\"value\":\"false\"", 1 },
    { "header.x-empty", "exists", "\"value\":\"true\"", 1 },
    { "header.x-empty", "exists", "\"value\":\"false\"", 0 },
    { "header.x-n", "greater_than", "\"value\":\"41.5\"", 1 },
    { "header.x-n", "greater_than", "\"value\":\"42\"", 0 },
    { "header.x-n", "greater_or_equal", "\"value\":\"42\"", 1 },
    { "header.x-n", "less_than", "\"value\":\"42\"", 0 },
    { "header.x-n", "less_or_equal", "\"value\":\"42\"", 1 },
    { "query.n", "less_than", "\"value\":\"11\"", 1 },
    { "header.x-tier", "less_than", "\"value\":\"11\"", 0 },
    { "client_port", "greater_than", "\"value\":\"4999\"", 1 },
    { "cookie.s", "equals", "\"value\":\"ABC\"", 1 },
    { "subprotocol", "equals", "\"value\":\"chat.v2\"", 1 },
    { "claim.sub", "equals", "\"value\":\"me\"", 1 },
    { "tenant", "exists", "\"value\":\"\"", 0 },
};


static void
operators(corral_match_view_t *view)
{
    char                  text[512];
    size_t                i;
    corral_match_rule_t  *rule;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "{\"field\":\"%s\",\"operator\":\"%s\","
                 "%s}", cases[i].field, cases[i].operator, cases[i].rest);

        rule = test_compile(text, 1);

        if (!ok(rule != NULL, text)) {
            printf("# %s\n", err);
            continue;
        }

        is_int(corral_match_test(rule, view, NULL), cases[i].holds, text);
    }
}


static const struct {
    const char  *condition;
    const char  *error;
} wrong[] = {
    { "{\"field\":\"paht\",\"operator\":\"exists\"}",
      "condition 1 on \"paht\": there is no such field" },
    { "{\"field\":\"header\",\"operator\":\"exists\"}", "no such field" },
    { "{\"field\":\"header.\",\"operator\":\"exists\"}", "no such field" },
    { "{\"field\":\"path.x\",\"operator\":\"exists\"}", "no such field" },
    { "{\"field\":\"path\",\"operator\":\"is\"}",
      "rule \"r\": \"conditions\" item 0: condition \"path\": \"operator\" is "
      "\"is\", it must be one of equals not_equals" },
    { "{\"field\":\"path\"}", "\"operator\" is missing" },
    { "{\"field\":\"path\",\"operator\":\"regex_match\",\"value\":\"a(b\"}",
      "the pattern \"a(b\" is wrong at byte 3: missing closing parenthesis" },
    { "{\"field\":\"path\",\"operator\":\"regex_match\"}",
      "a pattern has from 1 to 1024 bytes, not 0" },
    { "{\"field\":\"path\",\"operator\":\"regex_match\",\"value\":"
      "\"((a{1000}){1000}){1000}\"}", "regular expression is too large" },
    { "{\"field\":\"path\",\"operator\":\"regex_match\",\"value\":"
      "\"(*UTF)a\"}", "is wrong at byte" },
    { "{\"field\":\"client_ip\",\"operator\":\"ip_in_range\",\"value\":"
      "\"10.0.0.0/33\"}", "\"10.0.0.0/33\" is not a range" },
    { "{\"field\":\"client_ip\",\"operator\":\"ip_in_range\",\"value\":"
      "\"10.0.0/8\"}", "is not a range" },
    { "{\"field\":\"client_ip\",\"operator\":\"ip_in_range\",\"value\":"
      "\"10.0.0.0/ 8\"}", "is not a range" },
    { "{\"field\":\"path\",\"operator\":\"in_list\",\"value\":\"a,,b\"}",
      "the list \"a,,b\" has an empty word" },
    { "{\"field\":\"path\",\"operator\":\"in_list\"}", "has an empty word" },
    { "{\"field\":\"path\",\"operator\":\"in_list\",\"value\":\"a\","
      "\"values\":[\"b\"]}", "give \"value\" or \"values\"" },
    { "{\"field\":\"path\",\"operator\":\"equals\",\"values\":[\"b\"]}",
      "here it is \"value\"" },
    { "{\"field\":\"path\",\"operator\":\"contains\"}", "that holds always" },
    { "{\"field\":\"path\",\"operator\":\"less_than\",\"value\":\"1x\"}",
      "\"value\" is \"1x\", it must be a number" },
    { "{\"field\":\"path\",\"operator\":\"less_than\",\"value\":\"nan\"}",
      "must be a number" },
    { "{\"field\":\"path\",\"operator\":\"less_than\",\"value\":\"1e999\"}",
      "must be a number" },
    { "{\"field\":\"path\",\"operator\":\"exists\",\"value\":\"no\"}",
      "it can be: true false" },
    { "5", "it must be an object" },
};


static void
refused(void)
{
    size_t  i;

    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        err[0] = '\0';

        ok(test_compile(wrong[i].condition, 1) == NULL, wrong[i].condition);

        if (!ok(strstr(err, wrong[i].error) != NULL, wrong[i].error)) {
            printf("# %s\n", err);
        }
    }
}


static void
limits(corral_match_view_t *view)
{
    char                   text[4096 + 16];
    corral_match_view_t    slow;
    corral_match_rule_t   *rule;

    rule = test_compile("{\"field\":\"path\",\"operator\":\"regex_match\","
                        "\"value\":\"^(a+)+$\"}", 7);

    memset(text, 'a', sizeof(text));
    memcpy(text, "path=", 5);
    snprintf(text + 4000, 16, "b");
    text[4002] = '\0';

    slow = *view;
    slow.data = text;

    is_int(corral_match_test(rule, &slow, NULL), 0, "a slow pattern is none");
    is_str(corral_match_limited(view->scratch)->data, "r7", "its rule is told");
    is_int(corral_match_test(rule, &slow, NULL), 0, "again");
    ok(corral_match_limited(view->scratch) == NULL, "told once");
    is_int(corral_match_test(rule, view, NULL), 0, "others go on");
}


static void
failed(corral_match_view_t *view)
{
    uint32_t  n;

    n = 9;

    is_int(corral_match_test(test_compile(
               "{\"field\":\"path\",\"operator\":\"exists\"},"
               "{\"field\":\"tenant\",\"operator\":\"exists\"},"
               "{\"field\":\"host\",\"operator\":\"exists\"}", 1), view, &n),
           0, "all must hold");
    is_int(n, 1, "the first that does not");
    is_int(corral_match_test(test_compile("", 1), view, &n), 1,
           "no conditions: every request");
}


/* the index finds what a look at all rules finds, for many requests */

static void
indexed(corral_match_view_t *view)
{
    int                     same;
    char                    text[600], data[300];
    uint32_t                i, k, n;
    corral_match_view_t     v;
    corral_match_rule_t    *rules[RULES], *want;
    corral_match_index_t   *index;

    static const char  *forms[] = {
        "{\"field\":\"host\",\"operator\":\"equals\",\"value\":\"H%u\"}",
        "{\"field\":\"path\",\"operator\":\"equals\",\"value\":\"/p%u\"}",
        "{\"field\":\"header.x\",\"operator\":\"in_list\",\"value\":"
            "\"v%u,w,w\"}",
        "{\"field\":\"path\",\"operator\":\"ends_with\",\"value\":\"9%u\"}",
        "{\"field\":\"host\",\"operator\":\"equals\",\"value\":\"h%u\"},"
            "{\"field\":\"header.x\",\"operator\":\"exists\",\"value\":"
            "\"false\"}",
        "{\"field\":\"header.x\",\"operator\":\"not_equals\",\"value\":"
            "\"v%u\"},{\"field\":\"method\",\"operator\":\"equals\","
            "\"value\":\"PUT\"}",
    };

    srandom(7);
    index = corral_match_index_create(16, test_alloc, NULL);

    for (i = 0; i < RULES; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof(text), forms[random() % 6],
                 (unsigned) random() % 100);
#pragma GCC diagnostic pop

        rules[i] = test_compile(text, i);
        (void) corral_match_index_add(index, rules[i], rules[i]);
    }

    v = *view;
    v.data = data;
    same = 0;

    for (k = 0; k < 3000; k++) {
        n = (uint32_t) snprintf(data, sizeof(data), "host=h%u%cpath=/p%u%c"
                                "header.x=%c%u%cheader.x=v%u%cmethod=%s%c",
                                (unsigned) random() % 120, 0,
                                (unsigned) random() % 1000, 0,
                                random() % 2 ? 'v' : 'w',
                                (unsigned) random() % 120, 0,
                                (unsigned) random() % 200, 0,
                                random() % 4 ? "GET" : "PUT", 0);
        data[n] = '\0';

        if (random() % 3 == 0) {
            memcpy(strstr(data, "h"), "tenant", 4);
        }

        want = NULL;

        for (i = 0; i < RULES && want == NULL; i++) {
            want = corral_match_test(rules[i], &v, NULL) ? rules[i] : NULL;
        }

        same += corral_match_index_find(index, &v) == want;
    }

    is_int(same, 3000, "the index finds the first rule that matches");
}


static void
order(void)
{
    corral_str_t  a = { 1, "a" }, b = { 1, "b" }, aa = { 2, "aa" };

    ok(corral_match_order(1, &b, 2, &a) < 0, "by priority");
    ok(corral_match_order(-1, &b, -2, &a) > 0, "below zero");
    ok(corral_match_order(1, &a, 1, &b) < 0, "then by name");
    ok(corral_match_order(1, &a, 1, &aa) < 0, "the shorter first");
    ok(corral_match_order(1, &aa, 1, &aa) == 0, "the same");
}


int
main(void)
{
    corral_match_view_t  view;

    view.get = test_get;
    view.accept = NULL;
    view.data = (void *) request;
    view.scratch = corral_match_scratch_create(test_alloc, NULL);

    operators(&view);
    refused();
    limits(&view);
    failed(&view);
    indexed(&view);
    order();

    corral_match_scratch_free(view.scratch);

    while (nblocks) {
        free(blocks[--nblocks]);
    }

    return done_testing();
}
