/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/corral_decode_print.c ngx_module/corral_decode_image.c */
/* links: ngx_module/common/corral_duration.c -ljansson -lz */

/*
 * Documents: what is decoded, each field's bounds and the sentence that refuses
 * it, printing and reading back, images.
 */


#include "../../ngx_module/corral_decode.h"

#include <stdlib.h>

#include <corral_schema.h>

#include "unit.h"


#define SERVICE   "\"service_id\":\"s1\",\"name\":\"echo\""
#define INSTANCE  "\"instance_id\":\"echo.x7\",\"service_id\":\"s1\","         \
                  "\"node\":\"n1\""


static void       *arena_blocks[256];
static unsigned    arena_used;
static unsigned    arena_limit = 256;
static char        err[CORRAL_DECODE_ERROR];


static void *
arena_alloc(void *data, size_t size)
{
    (void) data;

    if (arena_used >= arena_limit) {
        return NULL;
    }

    arena_blocks[arena_used] = malloc(size);

    return arena_blocks[arena_used++];
}


static void
arena_reset(void)
{
    while (arena_used) {
        free(arena_blocks[--arena_used]);
    }
}


/* from a copy without NUL, so that ASan sees a byte beyond it being read */

static int
service(const char *json, corral_service_t *s)
{
    int     rc;
    char   *copy;
    size_t  len;

    len = strlen(json);
    copy = malloc(len ? len : 1);
    memcpy(copy, json, len);

    memcpy(err, "-", 2);
    rc = corral_decode_service(copy, len, s, arena_alloc, NULL, err,
                               sizeof(err));
    free(copy);

    return rc;
}


static int
instance(const char *json, corral_instance_t *i)
{
    memcpy(err, "-", 2);

    return corral_decode_instance(json, strlen(json), i, arena_alloc, NULL,
                                  err, sizeof(err));
}


static void
defaults(void)
{
    corral_service_t   s;
    corral_instance_t  i;

    is_int(service("{" SERVICE "}", &s), 0, "the least a service needs");
    is_str(s.service_id.data, "s1", "service_id");
    is_int((int64_t) s.service_id.len, 2, "its length");
    is_str(s.name.data, "echo", "name");
    is_int(s.tags.n, 0, "no tags");
    is_int(s.desired, CORRAL_DESIRED_STOPPED, "desired");
    is_int(s.protocol, CORRAL_PROTOCOL_HTTP, "protocol");
    is_str(s.upstream_host.data, "", "upstream_host");
    is_int(s.balance, CORRAL_METHOD_DEFAULT, "balance");
    is_str(s.hash_key.data, "client_ip", "hash_key");
    is_int(s.hash_balance_factor, 0, "hash_balance_factor");
    is_int(s.connect_timeout, CORRAL_DECODE_UNSET, "connect_timeout");
    is_int(s.max_message_size, CORRAL_DECODE_UNSET, "max_message_size");
    is_int(s.message_rate, CORRAL_DECODE_UNSET, "message_rate");
    is_int(s.message_rate_action, CORRAL_RATE_ACTION_CLOSE,
           "message_rate_action");
    is_int(s.tries, CORRAL_DECODE_UNSET, "tries");
    is_int(s.max_fails, 3, "max_fails");
    is_int(s.fail_timeout, 10000, "fail_timeout");
    is_int(s.max_sessions, 0, "max_sessions");
    is_int(s.drain_timeout, 30000, "drain_timeout");
    is_int(s.failover, CORRAL_FAILOVER_CLOSE, "failover");
    is_int(s.hold_time, 10000, "hold_time");
    is_int(s.hold_size, 65536, "hold_size");
    is_int(s.answer, CORRAL_ANSWER_MODE_NONE, "answer");
    is_str(s.reset.data, "", "reset");

    is_int(instance("{" INSTANCE "}", &i), 0, "the least an instance needs");
    is_str(i.instance_id.data, "echo.x7", "instance_id");
    is_str(i.service_id.data, "s1", "service_id");
    is_str(i.node.data, "n1", "node");
    is_str(i.address.data, "", "address");
    is_int(i.incarnation, 1, "incarnation");
    is_int(i.weight, 100, "weight");
    is_int(i.priority, 0, "priority");
    is_int(i.state, CORRAL_STATE_PENDING, "state");
    is_int(i.health, CORRAL_HEALTH_UNKNOWN, "health");
    arena_reset();
}


static void
values(void)
{
    corral_service_t   s;
    corral_instance_t  i;

    is_int(service("{" SERVICE ",\"tags\":[\"a\",\"\\u00e4\"],\"desired\":"
                   "\"running\",\"protocol\":\"grpcs\",\"upstream_host\":"
                   "\"a.example:8080\",\"balance\":\"hash\",\"hash_key\":"
                   "\"header.X\",\"connect_timeout\":\"1500ms\","
                   "\"idle_timeout\":0,\"ping_interval\":\"1m30s\","
                   "\"close_timeout\":5,\"max_message_size\":4294967296,"
                   "\"tries\":16,\"drain_timeout\":null,"
                   "\"command\":[\"x\"],\"unknown\":{\"a\":[]}}", &s), -1,
           "null where the schema does not allow it");
    is_str(err, "service \"s1\": \"drain_timeout\" is null, it must be a "
           "duration such as \"500ms\", \"30s\", \"5m\", from 0 to 86400000 ms",
           "says so");

    is_int(service("{" SERVICE ",\"tags\":[\"a\",\"\\u00e4\"],\"desired\":"
                   "\"running\",\"protocol\":\"grpcs\",\"upstream_host\":"
                   "\"a.example:8080\",\"balance\":\"hash\",\"hash_key\":"
                   "\"header.X\",\"connect_timeout\":\"1500ms\","
                   "\"idle_timeout\":0,\"ping_interval\":\"1m30s\","
                   "\"close_timeout\":5,\"max_message_size\":4294967296,"
                   "\"tries\":16,\"handshake_timeout\":null,"
                   "\"command\":5,\"unknown\":{\"a\":[]}}", &s), 0,
           "all fields; others are not looked at");
    is_int(s.tags.n, 2, "two tags");
    is_str(s.tags.items[1].data, "\xc3\xa4", "in UTF-8");
    is_int(s.desired, CORRAL_DESIRED_RUNNING, "desired");
    is_int(s.protocol, CORRAL_PROTOCOL_GRPCS, "protocol");
    is_str(s.upstream_host.data, "a.example:8080", "upstream_host");
    is_int(s.balance, CORRAL_METHOD_HASH, "balance");
    is_str(s.hash_key.data, "header.X", "hash_key");
    is_int(s.connect_timeout, 1500, "milliseconds");
    is_int(s.idle_timeout, 0, "a zero that is not unset");
    is_int(s.ping_interval, 90000, "two units");
    is_int(s.close_timeout, 5000, "seconds");
    is_int(s.max_message_size, 4294967296, "beyond 32 bits");
    is_int(s.handshake_timeout, CORRAL_DECODE_UNSET, "null");

    is_int(instance("{" INSTANCE ",\"address\":\"unix:/run/a.sock\","
                    "\"incarnation\":4294967295,\"weight\":0,"
                    "\"state\":\"failed\",\"health\":\"healthy\"}", &i), 0,
           "an instance");
    is_int(i.incarnation, 4294967295, "incarnation");
    is_int(i.weight, 0, "weight 0");
    is_int(i.state, CORRAL_STATE_FAILED, "state");
    is_int(i.health, CORRAL_HEALTH_HEALTHY, "health");
    arena_reset();
}


/* words of the enumerations against their constants */

static void
words(void)
{
    size_t                    k;
    char                      json[200];
    corral_instance_t         i;
    static const char        *states[] = {
        "pending", "starting", "running", "paused", "draining", "stopping",
        "stopped", "failed"
    };
    static const int64_t      numbers[] = {
        CORRAL_STATE_PENDING, CORRAL_STATE_STARTING, CORRAL_STATE_RUNNING,
        CORRAL_STATE_PAUSED, CORRAL_STATE_DRAINING, CORRAL_STATE_STOPPING,
        CORRAL_STATE_STOPPED, CORRAL_STATE_FAILED
    };
    static const char        *healths[] = {
        "healthy", "degraded", "unhealthy", "unknown"
    };

    for (k = 0; k < 8; k++) {
        snprintf(json, sizeof(json), "{" INSTANCE ",\"state\":\"%s\"}",
                 states[k]);
        is_int(instance(json, &i), 0, states[k]);
        is_int(i.state, numbers[k], states[k]);
    }

    for (k = 0; k < 4; k++) {
        snprintf(json, sizeof(json), "{" INSTANCE ",\"health\":\"%s\"}",
                 healths[k]);
        is_int(instance(json, &i), 0, healths[k]);
        is_int(i.health, (int64_t) k, healths[k]);
    }

    arena_reset();
}


typedef struct {
    const char   *member;
    const char   *error;        /* NULL: is taken */
} decode_case_t;


static const decode_case_t  service_cases[] = {
    { "\"max_fails\":1000", NULL },
    { "\"max_fails\":1001", "service \"s1\": \"max_fails\" is 1001, it must be "
      "an integer from 0 to 1000" },
    { "\"max_fails\":-1", "service \"s1\": \"max_fails\" is -1, it must be an "
      "integer from 0 to 1000" },
    { "\"max_fails\":1.0", "service \"s1\": \"max_fails\" is 1.0, it must be "
      "an integer from 0 to 1000" },
    { "\"max_fails\":\"3\"", "service \"s1\": \"max_fails\" is \"3\", it must "
      "be an integer from 0 to 1000" },
    { "\"tries\":0", "service \"s1\": \"tries\" is 0, it must be an integer "
      "from 1 to 16" },
    { "\"fail_timeout\":\"100ms\"", NULL },
    { "\"fail_timeout\":\"99ms\"", "service \"s1\": \"fail_timeout\" is "
      "\"99ms\", it must be a duration such as \"500ms\", \"30s\", \"5m\", "
      "from 100 to 3600000 ms" },
    { "\"fail_timeout\":\"2h\"", "service \"s1\": \"fail_timeout\" is \"2h\", "
      "it must be a duration such as \"500ms\", \"30s\", \"5m\", from 100 to "
      "3600000 ms" },
    { "\"fail_timeout\":true", "service \"s1\": \"fail_timeout\" is true, it "
      "must be a duration such as \"500ms\", \"30s\", \"5m\", from 100 to "
      "3600000 ms" },
    { "\"idle_timeout\":-1", "service \"s1\": \"idle_timeout\" is -1, it must "
      "be a duration such as \"500ms\", \"30s\", \"5m\", from 0 to 604800000 "
      "ms" },
    { "\"desired\":\"run\"", "service \"s1\": \"desired\" is \"run\", it must "
      "be one of running stopped paused" },
    { "\"desired\":\"running stopped\"", "service \"s1\": \"desired\" is "
      "\"running stopped\", it must be one of running stopped paused" },
    { "\"desired\":\"\"", "service \"s1\": \"desired\" is \"\", it must be one "
      "of running stopped paused" },
    { "\"desired\":1", "service \"s1\": \"desired\" is 1, it must be one of "
      "running stopped paused" },
    { "\"tags\":\"a\"", "service \"s1\": \"tags\" is \"a\", it must be an "
      "array of at most 32 strings" },
    { "\"tags\":[\"a\",5]", "service \"s1\": \"tags\" is 5, it must be a "
      "string" },
    { "\"tags\":[\"a\\nb\"]", "service \"s1\": \"tags\" is \"a\\nb\", it must "
      "be without control characters" },
    { "\"upstream_host\":\"a\\r\\nX: y\"", "service \"s1\": \"upstream_host\" "
      "is \"a\\r\\nX: y\", it must be without control characters" },
    { "\"upstream_host\":\"a\\u007f\"", "service \"s1\": \"upstream_host\" is "
      "\"a?\", it must be without control characters" },
    { "\"upstream_host\":null", "service \"s1\": \"upstream_host\" is null, it "
      "must be a string of 0 to 255 bytes" },
    { "\"max_fails\":1,\"max_fails\":2", "service is not JSON, at byte 58: "
      "duplicate object key near '\"max_fails\"'" }
};


static void
refusals(void)
{
    size_t            k;
    char              json[1024];
    corral_service_t  s;

    for (k = 0; k < sizeof(service_cases) / sizeof(service_cases[0]); k++) {
        snprintf(json, sizeof(json), "{" SERVICE ",%s}",
                 service_cases[k].member);
        memset(&s, 0x5a, sizeof(s));
        is_int(service(json, &s), service_cases[k].error ? -1 : 0,
               service_cases[k].member);

        if (service_cases[k].error) {
            is_str(err, service_cases[k].error, "with this sentence");
            is_int(s.max_fails, 0x5a5a5a5a5a5a5a5a, "nothing is written");
        }
    }

    is_int(service("{\"name\":\"echo\"}", &s), -1, "no service_id");
    is_str(err, "service without \"service_id\": \"service_id\" is missing",
           "says so");
    is_int(service("{\"service_id\":\"s1\"}", &s), -1, "no name");
    is_str(err, "service \"s1\": \"name\" is missing", "says so");
    is_int(service("{\"service_id\":\"s1\",\"name\":\"-a\"}", &s), -1,
           "a name that begins with a dash");
    is_str(err, "service \"s1\": \"name\" is \"-a\", it must be letters, "
           "digits, \".\", \"_\" and \"-\", beginning with a letter or a digit",
           "says so");
    is_int(service("{\"service_id\":\"s1\",\"name\":\"a/b\"}", &s), -1,
           "a name with a slash");
    is_int(service("{\"service_id\":\"s1\",\"name\":\"A.b_c-9\"}", &s), 0,
           "all that a name may have");
    is_int(service("{\"service_id\":\"s1\",\"name\":\"\"}", &s), -1,
           "an empty name");

    snprintf(json, sizeof(json), "{\"service_id\":\"s1\",\"name\":\"%064d\"}",
             7);
    is_int(service(json, &s), -1, "a name of 64 bytes");
    is_str(err, "service \"s1\": \"name\" is \"00000000000000000000000000000000"
           "00000000000000000000000000000007\", it must be a string of 1 to 63 "
           "bytes", "says so");
    snprintf(json, sizeof(json), "{\"service_id\":\"s1\",\"name\":\"%0200d\"}",
             7);
    is_int(service(json, &s), -1, "a name of 200 bytes");
    is_str(err, "service \"s1\": \"name\" is a long string, it must be a "
           "string of 1 to 63 bytes", "is not repeated");

    is_int(service("", &s), -1, "nothing");
    is_int(service("[]", &s), -1, "an array");
    is_str(err, "service is not a JSON object", "says so");
    is_int(service("{" SERVICE "} x", &s), -1, "text behind it");
    is_int(service("{" SERVICE ",\"tags\":[\"\\u0000\"]}", &s), -1, "a NUL");
    is_int(service("{" SERVICE ",\"x\":\"\xff\"}", &s), -1, "bad UTF-8");
    arena_reset();
}


static void
sizes(void)
{
    char              *json;
    size_t             n;
    unsigned           failed;
    corral_service_t   s;

    json = malloc(80000);
    n = (size_t) snprintf(json, 80000, "{" SERVICE ",\"description\":\"");
    memset(json + n, 'x', 70000);
    memcpy(json + 69630, "\"}", 3);
    is_int(service(json, &s), 0, "69632 bytes");
    memcpy(json + 69630, "x\"}", 4);
    is_int(service(json, &s), -1, "one byte more");
    is_str(err, "service has 69633 bytes, it must have at most 69632",
           "says so");

    n = (size_t) snprintf(json, 80000, "{" SERVICE ",\"tags\":[\"t\"");

    while (n < 180) {
        n += (size_t) snprintf(json + n, 8, ",\"t\"");
    }

    snprintf(json + n, 8, "]}");
    is_int(service(json, &s), -1, "too many tags");
    free(json);

    for (failed = 0; failed < 20; failed++) {
        arena_reset();
        arena_limit = failed;

        if (service("{" SERVICE ",\"tags\":[\"a\",\"b\"]}", &s) == 0) {
            break;
        }

        is_str(err, "service: no memory", "no memory");
    }

    arena_limit = 256;
    is_int(failed, 14, "no memory at any of its 14 allocations");
    arena_reset();

    is_int(corral_decode_service("{", 1, &s, arena_alloc, NULL, NULL, 0), -1,
           "an error without room for a sentence");
}


static void
printing(void)
{
    int                same;
    size_t             n, k;
    char               text[4096], again[4096];
    corral_service_t   s;
    corral_instance_t  i;

    service("{" SERVICE ",\"tags\":[\"a\\\"b\",\"\\\\\"],\"idle_timeout\":90,"
            "\"tries\":2,\"hash_key\":\"\"}", &s);
    n = corral_decode_print_service(&s, text, sizeof(text));
    is_str(text, "{\"kind\":\"service\",\"service_id\":\"s1\",\"name\":\"echo\""
           ",\"tags\":[\"a\\\"b\",\"\\\\\"],\"desired\":\"stopped\","
           "\"protocol\":\"http\",\"upstream_host\":\"\",\"balance\":"
           "\"default\",\"hash_key\":\"\",\"hash_balance_factor\":0,"
           "\"affinity\":\"none\",\"affinity_ttl\":\"1h\","
           "\"spill_threshold\":70,\"slow_start\":\"0s\","
           "\"slow_start_rate\":50,\"connect_timeout\":null,"
           "\"handshake_timeout\":null,\"idle_timeout\":\"1m30s\","
           "\"ping_interval\":null,\"ping_timeout\":null,\"close_timeout\":null"
           ",\"max_lifetime\":null,\"max_message_size\":null,"
           "\"max_message_size_out\":null,\"message_rate\":null,"
           "\"message_burst\":null,\"message_rate_action\":\"close\","
           "\"byte_rate\":null,\"byte_rate_out\":null,"
           "\"tries\":2,"
           "\"retry_budget\":20,\"circuit_failures\":0,"
           "\"circuit_timeout\":\"10s\",\"max_fails\":3,"
           "\"fail_timeout\":\"10s\",\"eject_max_time\":\"5m\","
           "\"eject_interval\":\"10s\",\"eject_min_requests\":100,"
           "\"eject_failure_percent\":85,\"eject_deviation\":190,"
           "\"max_ejected\":50,\"early_end\":\"1m\",\"max_sessions\":0,"
           "\"max_connections\":0,\"queue_size\":0,"
           "\"queue_timeout\":\"30s\",\"drain_timeout\":"
           "\"30s\",\"failover\":\"close\",\"hold_time\":\"10s\","
           "\"hold_size\":65536,\"journal_size\":65536,\"answer\":\"none\","
           "\"answer_id\":\"\",\"answer_reply_id\":\"\",\"answer_name\":\"\","
           "\"answer_requests\":[],\"answer_streams\":[],\"answer_finals\":[],"
           "\"answer_final\":\"\",\"preamble_messages\":0,"
           "\"preamble_names\":[],\"replay_started\":false,\"reset\":\"\","
           "\"rebalance\":\"off\",\"rebalance_rate\":10,"
           "\"rebalance_tolerance\":10,\"rebalance_idle\":\"1s\","
           "\"rebalance_sessions\":false,"
           "\"mirror\":\"\",\"mirror_percent\":100,"
           "\"sse_resume\":false,"
           "\"sse_events\":1000,\"sse_keep\":\"5m\","
           "\"sse_run_on\":\"1m\"}\n",
           "the line of a service");
    is_int((int64_t) n, (int64_t) strlen(text), "its length");
    is_int(service(text, &s), 0, "is read back");
    corral_decode_print_service(&s, again, sizeof(again));
    is_str(again, text, "to the same");

    instance("{" INSTANCE ",\"address\":\"[::1]:80\",\"state\":\"running\"}",
             &i);
    n = corral_decode_print_instance(&i, text, sizeof(text));
    is_str(text, "{\"kind\":\"instance\",\"instance_id\":\"echo.x7\","
           "\"service_id\":\"s1\",\"incarnation\":1,\"node\":\"n1\","
           "\"address\":\"[::1]:80\",\"weight\":100,\"priority\":0,"
           "\"state\":\"running\",\"health\":\"unknown\"}\n",
           "the line of an instance");

    is_int((int64_t) corral_decode_print_instance(&i, NULL, 0), (int64_t) n,
           "its length without a buffer");

    for (k = 0, same = 1; k <= n; k++) {
        memset(again, '#', sizeof(again));
        same &= corral_decode_print_instance(&i, again, k) == n;
        same &= again[k] == '#';
    }

    ok(same, "buffers too small: its length, and nothing written behind them");
    corral_decode_print_instance(&i, again, n + 1);
    is_str(again, text, "just enough");
    arena_reset();

    is_int(corral_decode_kind(text, strlen(text), err, sizeof(err)),
           CORRAL_INSTANCE, "kind of our own line");
    is_int(corral_decode_kind("{\"a\":1, \"kind\" : \"service\"}", 27, err,
                              sizeof(err)), CORRAL_SERVICE,
           "kind of a line by hand");
    is_int(corral_decode_kind("{\"a\":1}", 7, err, sizeof(err)), -1, "none");
    is_str(err, "\"kind\" is missing", "says so");
    is_int(corral_decode_kind("{\"kind\":\"x\"}", 12, err, sizeof(err)), -1,
           "another");
    is_str(err, "\"kind\" is \"x\", it must be \"service\", "
           "\"instance\" or \"rule\"", "says so");
    is_int(corral_decode_kind("{\"kind\":5}", 10, err, sizeof(err)), -1,
           "a number");
    is_int(corral_decode_kind("kind", 4, err, sizeof(err)), -1, "no JSON");
}


/* opens and checks, with a budget; -2: not opened, -3: not checked */

static int
image_read(const char *text, size_t len, size_t budget,
    corral_decode_image_t *image)
{
    int  rc;

    memcpy(err, "-", 2);

    if (corral_decode_image_open(image, text, len, err, sizeof(err)) != 0) {
        return -2;
    }

    do {
        rc = corral_decode_image_check(image, budget, err, sizeof(err));
    } while (rc == 1);

    return rc == 0 ? 0 : -3;
}


static void
images(void)
{
    int                     same;
    char                    text[512];
    size_t                  n, len, budget;
    const char             *line;
    corral_decode_image_t   image;
    static const char       body[] = "\n{\"a\":1}\r\n \t\r\n{}\n{}";

    is_int(corral_decode_crc32(0, "123456789", 9), 0xcbf43926, "CRC of zlib");
    is_int(corral_decode_crc32(corral_decode_crc32(0, "1234", 4), "56789", 5),
           0xcbf43926, "in two pieces");
    is_int(corral_decode_crc32_join(corral_decode_crc32(0, "1234", 4),
                                    corral_decode_crc32(0, "56789", 5), 5),
           0xcbf43926, "of two pieces");

    n = corral_decode_print_head("5f0c", 42, 3,
                                 corral_decode_crc32(0, body, strlen(body)),
                                 text, sizeof(text));
    is_str(text, "{\"corral\":1,\"epoch\":\"5f0c\",\"revision\":42,\"lines\":3,"
           "\"crc32\":\"be47a993\"}\n", "the first line");
    ok(n < CORRAL_DECODE_HEAD_MAX, "is short");
    memcpy(text + n, body, strlen(body));
    n += strlen(body);

    for (same = 1, budget = 0; budget < 40; budget++) {
        same &= image_read(text, n, budget, &image) == 0;
    }

    ok(same, "checked in pieces of any size");
    is_str(image.epoch, "5f0c", "epoch");
    is_int((int64_t) image.revision, 42, "revision");
    is_int(corral_decode_image_next(&image, &line, &len), 1, "a line");
    ok(len == 8 && memcmp(line, "{\"a\":1}\r", 8) == 0, "which is this");
    is_int((int64_t) image.number, 3, "behind an empty one");
    is_int(corral_decode_image_next(&image, &line, &len), 1, "second");
    is_int((int64_t) image.number, 5, "behind one of spaces");
    is_int(corral_decode_image_next(&image, &line, &len), 1, "third");
    ok(len == 2 && memcmp(line, "{}", 2) == 0, "without a newline");
    is_int(corral_decode_image_next(&image, &line, &len), 0, "the end");

    is_int(image_read(text, n - 1, 10, &image), -3, "a byte is missing");
    is_int(image_read(text, n - 2, 10, &image), -3, "a line is missing");
    is_str(err, "it has 2 lines behind the first, which says 3", "says so");
    text[n - 1] = '{';
    is_int(image_read(text, n, 10, &image), -3, "a byte is another");
    is_str(err, "its CRC is 57240ca6, its first line says be47a993", "says so");

    line = "{\"corral\":1,\"epoch\":\"me\",\"revision\":0}\nx";
    is_int(image_read(line, strlen(line), 10, &image), 0, "written by hand");
    is_int((int64_t) image.lines, 1, "its lines are counted");
    is_int(image_read(line, 39, 10, &image), 0, "first line alone");
    is_int(corral_decode_image_next(&image, &line, &len), 0, "no line");
}


static const decode_case_t  head_cases[] = {
    { "", "the first line is not a JSON object such as "
      "{\"corral\":1,\"epoch\":\"...\",\"revision\":1}" },
    { "[1]", "the first line is not a JSON object such as "
      "{\"corral\":1,\"epoch\":\"...\",\"revision\":1}" },
    { "{}", "\"corral\" of the first line is 0, it must be the version 1 of "
      "the schema" },
    { "{\"corral\":2}", "\"corral\" of the first line is 2, it must be the "
      "version 1 of the schema" },
    { "{\"corral\":1.0}", "\"corral\" of the first line is 0, it must be the "
      "version 1 of the schema" },
    { "{\"corral\":1}", "\"epoch\" of the first line must be a word of 1 to 64 "
      "bytes" },
    { "{\"corral\":1,\"epoch\":\"\"}", "\"epoch\" of the first line must be a "
      "word of 1 to 64 bytes" },
    { "{\"corral\":1,\"epoch\":\"a b\"}", "\"epoch\" of the first line must be "
      "a word of 1 to 64 bytes" },
    { "{\"corral\":1,\"epoch\":\"a\\\"b\"}", "\"epoch\" of the first line must "
      "be a word of 1 to 64 bytes" },
    { "{\"corral\":1,\"epoch\":\"0123456789012345678901234567890123456789012345"
      "67890123456789012345\"}", "\"epoch\" of the first line must be a word "
      "of 1 to 64 bytes" },
    { "{\"corral\":1,\"epoch\":\"a\"}", "\"revision\" of the first line must "
      "be an integer, 0 or above" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":-1}", "\"revision\" of the "
      "first line must be an integer, 0 or above" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"lines\":\"1\"}",
      "\"lines\" of the first line must be an integer, 0 or above" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"lines\":-1}",
      "\"lines\" of the first line must be an integer, 0 or above" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"crc32\":5}",
      "\"crc32\" of the first line must be a string of eight hexadecimal "
      "digits" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"crc32\":\"0000000g\"}",
      "\"crc32\" of the first line must be a string of eight hexadecimal "
      "digits" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"crc32\":\"000000001\"}",
      "\"crc32\" of the first line must be a string of eight hexadecimal "
      "digits" },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"crc32\":\"00000000\","
      "\"lines\":0,\"more\":true}", NULL },
    { "{\"corral\":1,\"epoch\":\"a\",\"revision\":1,\"crc32\":\"A505DF1B\"}\n"
      "\x01", "its CRC is a505df1b, no" }
};


static void
heads(void)
{
    int                     rc;
    char                    text[5000];
    size_t                  k;
    corral_decode_image_t   image;

    for (k = 0; k < sizeof(head_cases) / sizeof(head_cases[0]) - 1; k++) {
        rc = image_read(head_cases[k].member, strlen(head_cases[k].member), 99,
                        &image);
        is_int(rc, head_cases[k].error ? -2 : 0, head_cases[k].member);

        if (head_cases[k].error) {
            is_str(err, head_cases[k].error, "with this sentence");
        }
    }

    is_int(image_read(head_cases[k].member, strlen(head_cases[k].member), 99,
                      &image), 0, "a CRC in capitals");

    memset(text, ' ', sizeof(text));
    is_int(image_read(text, sizeof(text), 99, &image), -2, "a long first line");
    is_str(err, "the first line is longer than 4096 bytes", "says so");
}


static int
rule(const char *members, corral_rule_t *r)
{
    char  json[2048];

    err[0] = '\0';
    snprintf(json, sizeof(json), "{\"rule_id\":\"r1\",\"name\":\"a b\"%s%s}",
             *members ? "," : "", members);

    return corral_decode_rule(json, strlen(json), r, arena_alloc, NULL, err,
                              sizeof(err));
}


static void
rules(void)
{
    char           line[2048], again[2048];
    size_t         n;
    corral_rule_t  r;

    is_int(rule("", &r), 0, "a rule with all its defaults");
    is_int(r.priority, 100, "its priority");
    is_int(r.enabled, 1, "it is enabled");
    is_int(r.conditions.n, 0, "it has no conditions");
    is_str(r.hash_key.data, "client_ip", "its hash key");

    is_int(rule("\"priority\":-7,\"enabled\":false,\"weights\":{\"a\":0,"
                "\"b\":1000},\"target_strategy\":\"manual\",\"conditions\":"
                "[{\"field\":\"header.x\",\"operator\":\"not_in_list\","
                "\"values\":[\"p\",\"q\\\"\"]},{\"field\":\"path\","
                "\"operator\":\"exists\",\"case_sensitive\":true}]", &r),
           0, "a rule with all there is");
    is_int(r.conditions.items[0].operator, CORRAL_OPERATOR_not_in_list,
           "an operator");
    is_str(r.conditions.items[0].values.items[1].data, "q\"", "a word");
    is_int(r.conditions.items[1].case_sensitive, 1, "case");
    is_int(r.weights.items[1].weight, 1000, "a weight");

    n = corral_decode_print_rule(&r, line, sizeof(line));
    is_int(corral_decode_kind(line, n, err, sizeof(err)), CORRAL_RULE,
           "its line");
    is_int(corral_decode_rule(line, n, &r, arena_alloc, NULL, err,
                              sizeof(err)), 0, "is read back");
    (void) corral_decode_print_rule(&r, again, sizeof(again));
    is_str(again, line, "the same");

    is_int(rule("\"weights\":{\"a\":1001}", &r), -1, "a weight too large");
    is_str(err, "rule \"r1\": \"weights\" is 1001, it must be an integer from "
           "0 to 1000", "says so");
    is_int(rule("\"weights\":[]", &r), -1, "weights that are none");
    is_int(rule("\"conditions\":{}", &r), -1, "conditions that are none");
    is_int(rule("\"conditions\":[{\"field\":\"path\",\"operator\":\"is\"}]",
                &r), -1, "an operator that is none");
    ok(strncmp(err, "rule \"r1\": \"conditions\" item 0: condition \"path\": "
               "\"operator\" is \"is\", it must be one of equals", 90) == 0,
       "says so");

    arena_reset();
}


int
main(void)
{
    defaults();
    rules();
    values();
    words();
    refusals();
    sizes();
    printing();
    images();
    heads();

    return done_testing();
}
