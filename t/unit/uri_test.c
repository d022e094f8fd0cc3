/* links: controlplane/api/uri.c -ljansson */

/* Targets: what is decoded and when, queries, routes, pages. */


#include "../../controlplane/api/uri.h"

#include "unit.h"


static char  uri_params[CORRALD_URI_PARAMS][CORRALD_URI_PARAM_SIZE];


static int
match(const char *pattern, const char *path)
{
    memset(uri_params, 0, sizeof(uri_params));

    return corrald_uri_match(pattern, path, uri_params);
}


static const char *
query(const char *text, const char *name)
{
    json_t  *q;

    static char  value[256];

    q = corrald_uri_query(text);

    if (q == NULL) {
        return "broken";
    }

    snprintf(value, sizeof(value), "%s", json_object_get(q, name)
             ? json_string_value(json_object_get(q, name)) : "none");
    json_decref(q);

    return value;
}


static void
routes(void)
{
    is_int(match("/a/b", "/a/b"), 1, "the same");
    is_int(match("/a/b", "/a/bc"), 0, "longer");
    is_int(match("/a/b", "/a"), 0, "shorter");
    is_int(match("/a/b", "/a/b/"), 0, "a slash more");
    is_int(match("/a/b", "/a//b"), 0, "an empty segment");
    is_int(match("/a/{x}", "/a/b"), 1, "a parameter");
    is_str(uri_params[0], "b", "its value");
    is_int(match("/a/{x}", "/a/"), 0, "an empty parameter");
    is_int(match("/a/{x}/c", "/a/b%2Fc"), 0, "no separator when encoded");
    is_int(match("/a/{x}", "/a/b%2Fc"), 1, "but a part of the name");
    is_str(uri_params[0], "b/c", "decoded");
    is_int(match("/a/{x}/{y}", "/a/%41/%zz"), -1, "not encoded properly");
    is_int(match("/a/{x}", "/a/%00"), -1, "a NUL");
    is_int(match("/a/{x}", "/a/%"), -1, "half an encoding");
    is_int(match("/a/{x}", "/a/%4"), -1, "nearly a whole one");
    is_int(match("/a", "*"), 0, "not a path");
    is_int(match("/a", ""), 0, "nothing");
}


static void
queries(void)
{
    is_str(query("", "a"), "none", "no query");
    is_str(query("a=1&b=2", "b"), "2", "a value");
    is_str(query("a", "a"), "", "no value");
    is_str(query("a=x%26y%3Dz", "a"), "x&y=z", "decoded after it is split");
    is_str(query("a=x+y", "a"), "x y", "a blank of a form");
    is_str(query("a=1&a=2", "a"), "1,2", "given twice");
    is_str(query("&&a=1&", "a"), "1", "empty parts");
    is_str(query("a=b=c", "a"), "b=c", "the first one splits");
    is_str(query("a=%f", "a"), "broken", "half an encoding");
    is_str(query("a=%ff", "a"), "broken", "not UTF-8");
}


static void
pages(void)
{
    int                  i, n, seen;
    char                 keys[100][8], cursor[512];
    corrald_uri_row_t    rows[100];
    corrald_uri_page_t   page;

    for (i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%02d", (i * 37) % 100 / 2);
        rows[i].key = keys[i];
        rows[i].id = i % 2 ? "b" : "a";
        rows[i].data = NULL;
    }

    /* equal keys are told apart by their ids */

    for (i = 0; i < 100; i++) {
        rows[i].id = (i * 37) % 100 % 2 ? "b" : "a";
    }

    corrald_uri_sort(rows, 100, 0);
    ok(strcmp(rows[0].key, "k00") == 0 && strcmp(rows[1].key, "k00") == 0
       && strcmp(rows[0].id, "a") == 0, "sorted");

    cursor[0] = '\0';
    seen = 0;
    n = 0;

    do {
        if (corrald_uri_page(&page, rows, 100, "name", 0,
                             *cursor ? cursor : NULL, 0, 7)
            != 0)
        {
            break;
        }

        seen += (int) page.first == seen ? (int) (page.end - page.first) : 0;
        snprintf(cursor, sizeof(cursor), "%s", page.cursor);
        n++;

    } while (page.more);

    is_int(seen, 100, "each row once");
    is_int(n, 15, "in fifteen pages");

    ok(corrald_uri_page(&page, rows, 100, "name", 0, NULL, 95, 10) == 0
       && page.first == 95 && page.end == 100 && !page.more, "an offset");
    ok(corrald_uri_page(&page, rows, 100, "name", 0, NULL, 500, 10) == 0
       && page.first == 100 && page.end == 100 && !page.more, "behind all");
    ok(corrald_uri_page(&page, rows, 0, "name", 0, NULL, 0, 10) == 0
       && page.total == 0 && !page.more, "an empty list");

    ok(corrald_uri_page(&page, rows, 100, "name", 0, NULL, 0, 7) == 0,
       "a page");
    snprintf(cursor, sizeof(cursor), "%s", page.cursor);
    ok(corrald_uri_page(&page, rows, 100, "created_at", 0, cursor, 0, 7) != 0,
       "its cursor is of another order");
    ok(corrald_uri_page(&page, rows, 100, "name", 1, cursor, 0, 7) != 0,
       "or of another direction");
    ok(corrald_uri_page(&page, rows, 100, "name", 0, "zz", 0, 7) != 0
       && corrald_uri_page(&page, rows, 100, "name", 0, "61", 0, 7) != 0
       && corrald_uri_page(&page, rows, 100, "name", 0, "6", 0, 7) != 0,
       "not one of ours");

    corrald_uri_sort(rows, 100, 1);
    ok(strcmp(rows[0].key, "k49") == 0, "descending");
    ok(corrald_uri_page(&page, rows, 100, "name", 1, NULL, 0, 30) == 0,
       "a page of these");
    snprintf(cursor, sizeof(cursor), "%s", page.cursor);
    ok(corrald_uri_page(&page, rows, 100, "name", 1, cursor, 0, 30) == 0
       && page.first == 30, "and on");

    ok(corrald_uri_word("a,b", "b") && corrald_uri_word("b", "b")
       && !corrald_uri_word("ab,c", "b") && !corrald_uri_word("", "b"),
       "words of a list");
}


int
main(void)
{
    routes();
    queries();
    pages();

    return done_testing();
}
