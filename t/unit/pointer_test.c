/* links: ngx_module/common/corral_pointer.c */

/*
 * JSON pointers in a stream: every form of a value, escapes, arrays, depth, and
 * equal results however the bytes are cut.
 */


#include "../../ngx_module/common/corral_pointer.h"

#include <stdlib.h>

#include "unit.h"


static corral_pointer_value_t
scan(const char *json, const char *text, size_t step)
{
    size_t                 i, n, len;
    corral_pointer_t       pointer;
    corral_pointer_scan_t  s;

    corral_pointer_begin(&s);

    if (corral_pointer_parse(&pointer, text, strlen(text)) != 0) {
        return s.values[0];
    }

    (void) corral_pointer_want(&s, &pointer);
    len = strlen(json);

    for (i = 0; i < len; i += n) {
        n = len - i < step ? len - i : step;
        corral_pointer_feed(&s, (const uint8_t *) json + i, n);
    }

    return s.values[0];
}


/* finds a value that reads like want, whole and byte by byte */

static void
finds(const char *json, const char *text, const char *want,
    corral_pointer_type_e type)
{
    size_t                  step;
    corral_pointer_value_t  v;

    for (step = 1; step <= 1000; step += 333) {
        v = scan(json, text, step);

        if (v.type != type
            || (want && v.hash != corral_pointer_hash(want, strlen(want))))
        {
            break;
        }
    }

    ok(step > 1000, json);
}


static void
test_values(void)
{
    finds("{\"id\":7}", "/id", "7", CORRAL_POINTER_PLAIN);
    finds(" { \"id\" : \"x y\" } ", "/id", "x y", CORRAL_POINTER_STRING);
    finds("{\"a\":[1,{\"id\":2}],\"id\":-1.5e+3}", "/id", "-1.5e+3",
          CORRAL_POINTER_PLAIN);
    finds("{\"id\":null}", "/id", NULL, CORRAL_POINTER_NULL);
    finds("{\"id\":{\"id\":1}}", "/id", NULL, CORRAL_POINTER_OBJECT);
    finds("{\"id\":[]}", "/id", NULL, CORRAL_POINTER_ARRAY);
    finds("{\"id\":true,\"x\":1}", "/id", "true", CORRAL_POINTER_PLAIN);
    finds("{\"x\":{\"id\":1}}", "/id", NULL, CORRAL_POINTER_NONE);
    finds("{\"x\":\"\\\"id\\\":1\"}", "/id", NULL, CORRAL_POINTER_NONE);
    finds("[1,2]", "/id", NULL, CORRAL_POINTER_NONE);
    finds("", "/id", NULL, CORRAL_POINTER_NONE);
    finds("no json", "/id", NULL, CORRAL_POINTER_NONE);
    finds("{\"id\":1,\"id\":2}", "/id", "1", CORRAL_POINTER_PLAIN);
}


/* where the value lies, however the message is cut */

static void
lies(const char *json, const char *want)
{
    size_t                  step;
    corral_pointer_value_t  v;

    for (step = 1; step <= 16; step++) {
        v = scan(json, "/id", step);

        if (v.end - v.begin != strlen(want)
            || memcmp(json + v.begin, want, strlen(want)) != 0)
        {
            break;
        }
    }

    ok(step > 16, json);
}


static void
test_place(void)
{
    lies("{\"id\":7}", "7");
    lies("{\"id\":-1.5e3 ,\"x\":2}", "-1.5e3");
    lies(" { \"x\":{\"id\":5}, \"id\" : \"a \\\" b\" } ", "\"a \\\" b\"");
    lies("{\"id\":\"\"}", "\"\"");
    lies("{\"id\":true,\"id\":8}", "true");
}


static void
test_paths(void)
{
    finds("{\"a\":{\"b\":{\"c\":\"z\"}}}", "/a/b/c", "z",
          CORRAL_POINTER_STRING);
    finds("{\"a\":{\"x\":{\"c\":1}},\"b\":{\"c\":2}}", "/a/b/c", NULL,
          CORRAL_POINTER_NONE);
    finds("{\"a\":{\"x\":1},\"a2\":{\"b\":1}}", "/a/b", NULL,
          CORRAL_POINTER_NONE);
    finds("{\"a\":[10,[20,21],{\"k\":5}]}", "/a/1/1", "21",
          CORRAL_POINTER_PLAIN);
    finds("{\"a\":[10,[20,21],{\"k\":5}]}", "/a/2/k", "5",
          CORRAL_POINTER_PLAIN);
    finds("{\"a\":[10]}", "/a/1", NULL, CORRAL_POINTER_NONE);
    finds("{\"1\":\"by name\"}", "/1", "by name", CORRAL_POINTER_STRING);
    finds("[[],{},[3]]", "/2/0", "3", CORRAL_POINTER_PLAIN);
    finds("{\"a/b\":{\"~\":9}}", "/a~1b/~0", "9", CORRAL_POINTER_PLAIN);
    finds("{\"\":4}", "/", "4", CORRAL_POINTER_PLAIN);
    finds("{\"a\":{},\"b\":3}", "/b", "3", CORRAL_POINTER_PLAIN);
    finds("{\"a\":}", "/a", NULL, CORRAL_POINTER_NONE);
    finds("{\"a\":{\"b\":[1}],\"id\":1}", "/id", NULL, CORRAL_POINTER_NONE);
}


static void
test_escapes(void)
{
    finds("{\"i\\u0064\":\"\\u0041\\n\\/\"}", "/id", "A\n/",
          CORRAL_POINTER_STRING);
    finds("{\"id\":\"\\u00e9\\u20AC\\ud83d\\ude00\"}", "/id",
          "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", CORRAL_POINTER_STRING);
    finds("{\"x\":\"a long string with \\\\\",\"id\":\"q\\\"q\"}", "/id",
          "q\"q", CORRAL_POINTER_STRING);
}


static void
test_depth(void)
{
    int   i, n;
    char  json[CORRAL_POINTER_DEPTH * 2 + 64], *p;

    for (n = CORRAL_POINTER_DEPTH - 1; n <= CORRAL_POINTER_DEPTH; n++) {
        p = json + snprintf(json, 16, "{\"a\":");

        for (i = 0; i < n; i++) {
            *p++ = '[';
        }

        for (i = 0; i < n; i++) {
            *p++ = ']';
        }

        snprintf(p, 16, ",\"id\":1}");

        ok(scan(json, "/id", 1000).type
           == (n < CORRAL_POINTER_DEPTH ? CORRAL_POINTER_PLAIN
                                        : CORRAL_POINTER_NONE),
           "depth has a bound, and nothing breaks behind it");
    }
}


static void
test_parse(void)
{
    size_t            i;
    corral_pointer_t  p;

    static const char  *bad[] = { "", "id", "/a~2", "/a~",
                                  "/1/2/3/4/5/6/7/8/9" };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(corral_pointer_parse(&p, bad[i], strlen(bad[i])), -1, bad[i]);
    }

    is_int(corral_pointer_parse(&p, "/1/2/3/4/5/6/7/8", 16), 0, "8 tokens");
    is_int(p.n, 8, "their number");
    is_int(corral_pointer_parse(&p, "/007", 4), 0, "zeros");
}


static void
test_several(void)
{
    corral_pointer_t       a, b, c, d;
    corral_pointer_scan_t  s;

    static const char  json[] = "{\"jsonrpc\":\"2.0\",\"result\":{\"end\":"
                                "false,\"id\":3},\"id\":12,\"error\":null}";

    (void) corral_pointer_parse(&a, "/id", 3);
    (void) corral_pointer_parse(&b, "/result", 7);
    (void) corral_pointer_parse(&c, "/result/end", 11);
    (void) corral_pointer_parse(&d, "/error", 6);

    corral_pointer_begin(&s);

    is_int(corral_pointer_want(&s, &a), 0, "the first place");
    (void) corral_pointer_want(&s, &b);
    (void) corral_pointer_want(&s, &c);
    is_int(corral_pointer_want(&s, &d), 3, "the last place");

    corral_pointer_feed(&s, (const uint8_t *) json, sizeof(json) - 2);
    ok(!corral_pointer_whole(&s), "not whole yet");

    corral_pointer_feed(&s, (const uint8_t *) "}", 1);
    ok(corral_pointer_whole(&s), "whole");

    ok(s.values[0].hash == corral_pointer_hash("12", 2), "id");
    is_int(s.values[1].type, CORRAL_POINTER_OBJECT, "result");
    ok(s.values[2].hash == corral_pointer_hash("false", 5), "result/end");
    is_int(s.values[3].type, CORRAL_POINTER_NULL, "error");
}


int
main(void)
{
    test_values();
    test_place();
    test_paths();
    test_escapes();
    test_depth();
    test_parse();
    test_several();

    return done_testing();
}
