/* links: controlplane/engine/logs.c controlplane/engine/logs_line.c */
/* links: controlplane/engine/logs_tail.c */
/* links: controlplane/engine/logs_follow.c */
/* links: controlplane/base/alloc.c */
/* links: controlplane/base/loop.c controlplane/base/log.c */
/* links: controlplane/base/buf.c controlplane/base/clock.c */
/* links: controlplane/base/conf.c controlplane/base/conf_value.c */
/* links: controlplane/base/file.c */
/* links: ngx_module/common/corral_duration.c -luv -lmicrohttpd -ljansson */
/* links: -lyaml */

/*
 * Lines of logs: taken apart, levels, the newest of several files and
 * instances, filters, and following over rotations without a line lost or
 * twice.
 */


#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "../../controlplane/base/clock.h"
#include "../../controlplane/base/conf.h"
#include "../../controlplane/base/loop.h"
#include "../../controlplane/engine/logs.h"

#include "unit.h"


static char    logs_dir[64];
static json_t *logs_value;
static char    logs_err[256];
static int     logs_called;

static unsigned  logs_next;          /* number of the next line to be seen */
static unsigned  logs_wrong;
static unsigned  logs_pauses;
static int       logs_gone;


static void
logs_write(const char *name, const char *text, const char *mode)
{
    FILE  *f;
    char   path[256];

    snprintf(path, sizeof(path), "%s/%s", logs_dir, name);
    f = fopen(path, mode);
    fputs(text, f);
    fclose(f);
}


static void
logs_rename(const char *from, const char *to)
{
    char  a[256], b[256];

    snprintf(a, sizeof(a), "%s/%s", logs_dir, from);
    snprintf(b, sizeof(b), "%s/%s", logs_dir, to);
    (void) rename(a, b);
}


static void
logs_handler(json_t *value, const char *err, void *data)
{
    logs_called++;
    json_decref(logs_value);
    logs_value = json_incref(value);
    snprintf(logs_err, sizeof(logs_err), "%s", err ? err : "");
}


static const char *
logs_fetch(const corrald_logs_query_t *query, const char *one,
    const char *two)
{
    size_t       i, n;
    json_t      *lines;
    const char  *ids[2];

    static char  text[65536];

    ids[0] = one;
    ids[1] = two;
    logs_called = 0;
    corrald_logs_fetch(ids, two ? 2 : 1, query, logs_handler, NULL);

    while (!logs_called) {
        uv_run(corrald_loop_uv(), UV_RUN_ONCE);
    }

    lines = json_object_get(logs_value, "lines");
    text[0] = '\0';
    n = 0;

    for (i = 0; i < json_array_size(lines) && n < sizeof(text) - 64; i++) {
        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%.40s",
                               i ? "," : "",
                               json_string_value(json_object_get(
                                   json_array_get(lines, i), "text")));
    }

    return text;
}


static void
logs_level_is(const char *text, corrald_logs_level_e level)
{
    char                  line[512];
    corrald_logs_line_t   l;

    snprintf(line, sizeof(line), "2026-11-20T10:00:00.000Z O %s", text);

    if (!ok(corrald_logs_parse(line, strlen(line), &l) == 0
            && l.level == level, text))
    {
        printf("# got %s\n", corrald_logs_level_name(l.level)
                             ? corrald_logs_level_name(l.level) : "none");
    }
}


static void
logs_test_parse(void)
{
    size_t                i;
    corrald_logs_line_t   l;

    static const char  *bad[] = {
        "", "x", "2026-11-20T10:00:00.000Z", "2026-11-20T10:00:00.000Z ",
        "2026-11-20T10:00:00.000Z O", "2026-11-20T10:00:00.000Z X text",
        "2026-11-20T10:00:00.000Z Otext", "2026-99-20T10:00:00.000Z O text",
        "yesterday O text", "2026-11-20T10:00:00.000Z O+"
    };

    ok(corrald_logs_parse("2026-11-20T10:00:00.250Z E+ a b", 31, &l) == 0,
       "a line");
    is_int(l.time % 1000, 250, "its time");
    is_int(l.stream, 'E', "its stream");
    is_int(l.partial, 1, "it goes on");
    ok(l.len == 3 && memcmp(l.text, "a b", 3) == 0, "its text");

    ok(corrald_logs_parse("2026-11-20T10:00:00.250Z O ", 27, &l) == 0
       && l.len == 0, "an empty line");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(corrald_logs_parse(bad[i], strlen(bad[i]), &l) == -1, bad[i]);
    }

    logs_level_is("INFO:     Uvicorn running", CORRALD_LOGS_info);
    logs_level_is("WARNING:root:careful", CORRALD_LOGS_warn);
    logs_level_is("2026-11-20 10:00:00,123 - agent - ERROR - no",
                  CORRALD_LOGS_error);
    logs_level_is("[2026-11-20 10:00:00] [debug] x", CORRALD_LOGS_debug);
    logs_level_is("Error: cannot", CORRALD_LOGS_error);
    logs_level_is("{\"level\":\"warn\",\"msg\":\"x\"}", CORRALD_LOGS_warn);
    logs_level_is("{\"time\": 1, \"level\": 50, \"msg\":\"info\"}",
                  CORRALD_LOGS_error);
    logs_level_is("{\"severity\": \"CRITICAL\"}", CORRALD_LOGS_fatal);
    logs_level_is("ts=1 level=debug msg=x", CORRALD_LOGS_debug);
    logs_level_is("information about errors", CORRALD_LOGS_NONE);
    logs_level_is("error rates are low", CORRALD_LOGS_NONE);
    logs_level_is("{\"msg\":\"ERROR\"}", CORRALD_LOGS_NONE);
    logs_level_is("", CORRALD_LOGS_NONE);
}


static void
logs_test_fetch(void)
{
    int                    i;
    char                  *big;
    size_t                 len;
    corrald_logs_query_t   q;

    logs_write("a.1.log.2", "2026-11-20T10:00:00.000Z O one\n"
               "2026-11-20T10:00:01.000Z E two\n", "w");
    logs_write("a.1.log.1", "2026-11-20T10:00:02.000Z O three\n", "w");
    logs_write("a.1.log", "2026-11-20T10:00:03.000Z O [ERROR] four\n"
               "2026-11-20T10:00:04.000Z S five\n"
               "garbage\n"
               "2026-11-20T10:00:05.000Z O unfinis", "w");
    logs_write("b.1.log", "2026-11-20T10:00:00.500Z O b1\n"
               "2026-11-20T10:00:03.500Z O b2\n", "w");

    memset(&q, 0, sizeof(q));
    is_str(logs_fetch(&q, "a.1", NULL), "one,two,three,[ERROR] four,five",
           "all files, oldest first");

    q.tail = 2;
    is_str(logs_fetch(&q, "a.1", NULL), "[ERROR] four,five", "the newest two");
    q.tail = 4;
    is_str(logs_fetch(&q, "a.1", NULL), "two,three,[ERROR] four,five",
           "the newest four are in three files");

    is_str(logs_fetch(&q, "a.1", "b.1"), "three,[ERROR] four,b2,five",
           "two instances are merged by time");

    memset(&q, 0, sizeof(q));
    q.stream = 'E';
    is_str(logs_fetch(&q, "a.1", NULL), "two", "one stream");

    memset(&q, 0, sizeof(q));
    q.level = CORRALD_LOGS_warn;
    is_str(logs_fetch(&q, "a.1", NULL), "two,[ERROR] four",
           "levels: standard error counts as warn");

    memset(&q, 0, sizeof(q));
    q.search = "THREE";
    is_str(logs_fetch(&q, "a.1", NULL), "three", "search, case ignored");

    memset(&q, 0, sizeof(q));
    q.since = corrald_clock_parse("2026-11-20T10:00:02.000Z");
    q.until = corrald_clock_parse("2026-11-20T10:00:04.000Z");
    is_str(logs_fetch(&q, "a.1", NULL), "three,[ERROR] four",
           "since is included, until is not");

    memset(&q, 0, sizeof(q));
    is_str(logs_fetch(&q, "nobody.1", NULL), "", "no log: no lines");
    is_str(logs_err, "", "and no error");

    (void) logs_fetch(&q, "../a.1", NULL);
    ok(strstr(logs_err, "not the id") != NULL, logs_err);
    (void) logs_fetch(&q, "", NULL);
    ok(logs_value == NULL, "an empty id is refused");

    /* bytes that are no UTF-8 */

    logs_write("c.1.log", "2026-11-20T10:00:00.000Z O a\xff" "b\xc3\xa4\xe2\x82"
               "\n", "w");
    is_str(logs_fetch(&q, "c.1", NULL), "a\xef\xbf\xbd" "b\xc3\xa4"
           "\xef\xbf\xbd\xef\xbf\xbd", "bad bytes are replaced");

    /* many lines over many blocks, in one file */

    big = malloc(4000000);
    len = 0;

    for (i = 0; i < 50000; i++) {
        len += (size_t) snprintf(big + len, 4000000 - len,
                                 "2026-11-20T10:00:00.000Z O line %09d\n", i);
    }

    logs_write("d.1.log", big, "w");
    free(big);
    q.tail = 3;
    is_str(logs_fetch(&q, "d.1", NULL), "line 000049997,line 000049998,"
           "line 000049999", "tail of a large file");
    q.tail = 10000;
    (void) logs_fetch(&q, "d.1", NULL);
    is_int((int64_t) json_array_size(json_object_get(logs_value, "lines")),
           10000, "many");
    is_str(json_string_value(json_object_get(json_array_get(
               json_object_get(logs_value, "lines"), 0), "text")),
           "line 000040000", "in their order, over all blocks");
}


static int
logs_line(const corrald_logs_line_t *line, void *data)
{
    unsigned  n;
    char      text[64];

    snprintf(text, sizeof(text), "%.*s", (int) line->len, line->text);

    if (sscanf(text, "n %u", &n) != 1 || n != logs_next) {

        if (logs_wrong++ == 0) {
            printf("# expected %u, got \"%s\"\n", logs_next, text);
        }
    }

    logs_next++;

    /* now and then the reader has no room */

    if (logs_next % 7 == 0) {
        logs_pauses++;
        return 1;
    }

    return 0;
}


static void
logs_over(void *data)
{
    logs_gone = 1;
}


static void
logs_wait(corrald_logs_follow_t *f, unsigned n)
{
    int64_t  end;

    end = corrald_clock_monotonic() + 5000;

    while (logs_next < n && corrald_clock_monotonic() < end) {
        corrald_logs_resume(f);
        uv_run(corrald_loop_uv(), UV_RUN_ONCE);
    }
}


static void
logs_test_follow(void)
{
    char                    line[128], err[256], cursor[64];
    unsigned                i;
    int64_t                 end;
    corrald_logs_query_t    q;
    corrald_logs_follow_t  *f;

    memset(&q, 0, sizeof(q));
    logs_write("f.1.log", "2026-11-20T10:00:00.000Z O old\n", "w");

    logs_next = 0;
    f = corrald_logs_follow("f.1", &q, NULL, logs_line, logs_over, NULL, err,
                            sizeof(err));
    ok(f != NULL, "follows");

    for (i = 0; i < 400; i++) {

        /* three rotations, one of them in the middle of everything */

        if (i == 100 || i == 200 || i == 203) {
            logs_rename("f.1.log.1", "f.1.log.2");
            logs_rename("f.1.log", "f.1.log.1");
        }

        snprintf(line, sizeof(line), "2026-11-20T10:00:00.000Z O n %u\n", i);
        logs_write("f.1.log", line, "a");

        if (i % 50 == 49 && i != 199) {
            logs_wait(f, i + 1);
        }
    }

    logs_wait(f, 400);
    is_int(logs_next, 400, "all lines, over three rotations");
    is_int(logs_wrong, 0, "in order, none twice");
    ok(logs_pauses > 50, "with many pauses");
    corrald_logs_unfollow(&f);
    ok(f == NULL, "unfollowed");

    /* from the cursor of a fetch, with what came in between */

    q.tail = 1;
    is_str(logs_fetch(&q, "f.1", NULL), "n 399", "the newest line");
    snprintf(cursor, sizeof(cursor), "%s",
             json_string_value(json_object_get(logs_value, "cursor")));

    logs_write("f.1.log", "2026-11-20T10:00:00.000Z O n 400\n", "a");
    logs_rename("f.1.log", "f.1.log.1");
    logs_write("f.1.log", "2026-11-20T10:00:00.000Z O n 401\n", "w");

    f = corrald_logs_follow("f.1", &q, cursor, logs_line, logs_over, NULL, err,
                            sizeof(err));
    logs_wait(f, 402);
    is_int(logs_next, 402, "from the cursor on, over a rotation");
    is_int(logs_wrong, 0, "nothing lost, nothing twice");

    /* the logs are removed */

    logs_rename("f.1.log", "gone");
    logs_rename("f.1.log.1", "gone");
    logs_rename("f.1.log.2", "gone");
    end = corrald_clock_monotonic() + 8000;

    while (!logs_gone && corrald_clock_monotonic() < end) {
        corrald_logs_resume(f);
        uv_run(corrald_loop_uv(), UV_RUN_ONCE);
    }

    is_int(logs_gone, 1, "removed logs end it");
    corrald_logs_unfollow(&f);

    f = corrald_logs_follow("f.1", &q, "nonsense", logs_line, logs_over, NULL,
                            err, sizeof(err));
    ok(f == NULL && strstr(err, "cursor") != NULL, err);
    f = corrald_logs_follow("../x", &q, NULL, logs_line, logs_over, NULL, err,
                            sizeof(err));
    ok(f == NULL && strstr(err, "id of an instance") != NULL, err);
}


static void
logs_test_files(void)
{
    int       fd;
    char      err[256];
    int64_t   bytes;
    json_t   *list;

    list = corrald_logs_files("a.1");
    is_int((int64_t) json_array_size(list), 3, "files of one instance");
    json_decref(list);

    list = corrald_logs_list("a");
    is_int((int64_t) json_array_size(list), 1, "instances of a service");
    json_decref(list);

    fd = corrald_logs_open("a.1", 1, &bytes, err, sizeof(err));
    ok(fd >= 0 && bytes == 33, "a file is opened");
    close(fd);
    ok(corrald_logs_open("a.1", 9, &bytes, err, sizeof(err)) == -1, err);
    ok(corrald_logs_open("../etc", 0, &bytes, err, sizeof(err)) == -1, err);
}


int
main(void)
{
    char   err[256], *restart, command[128];

    snprintf(logs_dir, sizeof(logs_dir), "/tmp/corral-logs-XXXXXX");

    if (mkdtemp(logs_dir) == NULL) {
        return 1;
    }

    setenv("CORRALD_LOG_DIR", logs_dir, 1);
    setenv("CORRALD_STATE_DIR", logs_dir, 1);
    setenv("CORRALD_RUN_DIR", logs_dir, 1);

    if (corrald_conf_load(NULL, NULL, &restart, err, sizeof(err)) != 0
        || corrald_loop_init() != 0)
    {
        printf("Bail out! %s\n", err);
        return 1;
    }

    logs_test_parse();
    logs_test_fetch();
    logs_test_files();
    logs_test_follow();

    snprintf(command, sizeof(command), "rm -r %s", logs_dir);

    return done_testing() | (system(command) != 0);
}
