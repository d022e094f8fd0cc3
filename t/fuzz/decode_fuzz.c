/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/corral_decode_print.c ngx_module/corral_decode_image.c */
/* links: ngx_module/common/corral_duration.c -ljansson -lz */

/*
 * Images and documents of any bytes.  An image must be judged the same in
 * pieces of any size.  A document that is taken must be within its bounds and
 * print to a line that is read back the same; one that is refused must say why.
 * The first byte of the input is the size of the pieces.
 */


#include "../../ngx_module/corral_decode.h"

#include <stdlib.h>
#include <string.h>


typedef struct {
    void       *blocks[512];
    unsigned    used;
    unsigned    limit;
} fuzz_arena_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int cond)
{
    if (!cond) {
        abort();
    }
}


static void *
fuzz_alloc(void *data, size_t size)
{
    fuzz_arena_t  *arena;

    arena = data;

    if (arena->used == arena->limit) {
        return NULL;
    }

    arena->blocks[arena->used] = malloc(size);

    return arena->blocks[arena->used++];
}


static void
fuzz_free(fuzz_arena_t *arena)
{
    while (arena->used) {
        free(arena->blocks[--arena->used]);
    }
}


/* an error is a sentence without control characters */

static void
fuzz_error(const char *err)
{
    fuzz_check(err[0] != '\0');

    for ( /* void */ ; *err; err++) {
        fuzz_check((unsigned char) *err >= 0x20 && *err != 0x7f);
    }
}


static void
fuzz_string(const corral_str_t *s, size_t min, size_t max)
{
    fuzz_check(s->data && strlen(s->data) == s->len);
    fuzz_check(s->len >= min && s->len <= max);
    fuzz_check(s->len == 0 || strpbrk(s->data, "\r\n\t\x7f") == NULL);
}


static void
fuzz_between(int64_t n, int64_t min, int64_t max)
{
    fuzz_check(n >= min && n <= max);
}


static void
fuzz_service(const char *json, size_t len, fuzz_arena_t *arena)
{
    char              err[CORRAL_DECODE_ERROR], *line, *again;
    size_t            n;
    uint32_t          i;
    corral_service_t  s;

    err[0] = '\0';

    if (corral_decode_service(json, len, &s, fuzz_alloc, arena, err,
                              sizeof(err))
        != 0)
    {
        fuzz_error(err);
        return;
    }

    fuzz_string(&s.service_id, 1, 64);
    fuzz_string(&s.name, 1, 63);
    fuzz_string(&s.upstream_host, 0, 255);
    fuzz_string(&s.hash_key, 0, 128);
    fuzz_between(s.tags.n, 0, 32);

    for (i = 0; i < s.tags.n; i++) {
        fuzz_string(&s.tags.items[i], 0, len);
    }

    fuzz_between(s.desired, 0, CORRAL_DESIRED_PAUSED);
    fuzz_between(s.protocol, 0, CORRAL_PROTOCOL_GRPCS);
    fuzz_between(s.balance, 0, CORRAL_METHOD_LEAST_CONNECTIONS);
    fuzz_between(s.connect_timeout, -1, 3600000);
    fuzz_between(s.idle_timeout, -1, 604800000);
    fuzz_between(s.max_message_size, -1, 4294967296);
    fuzz_between(s.hash_balance_factor, 0, 1000);
    fuzz_between(s.spill_threshold, 0, 100);
    fuzz_between(s.slow_start, 0, 3600000);
    fuzz_between(s.eject_interval, 100, 3600000);
    fuzz_between(s.max_ejected, 0, 100);
    fuzz_between(s.max_message_size_out, -1, 4294967296);
    fuzz_between(s.max_lifetime, -1, 604800000);
    fuzz_between(s.message_rate, -1, 1000000);
    fuzz_between(s.message_burst, -1, 10000000);
    fuzz_between(s.message_rate_action, 0, CORRAL_RATE_ACTION_DELAY);
    fuzz_between(s.byte_rate, -1, 4294967296);
    fuzz_between(s.byte_rate_out, -1, 4294967296);
    fuzz_between(s.max_fails, 0, 1000);
    fuzz_between(s.fail_timeout, 100, 3600000);
    fuzz_between(s.drain_timeout, 0, 86400000);
    fuzz_between(s.failover, 0, CORRAL_FAILOVER_REPLAY);
    fuzz_between(s.hold_time, 100, 600000);
    fuzz_between(s.hold_size, 1024, 1048576);
    fuzz_between(s.answer, 0, CORRAL_ANSWER_MODE_POINTERS);
    fuzz_between(s.preamble_messages, 0, 16);
    fuzz_string(&s.answer_id, 0, 256);
    fuzz_string(&s.reset, 0, 1024);
    fuzz_between(s.answer_finals.n, 0, 32);

    n = corral_decode_print_service(&s, NULL, 0);
    line = malloc(n + 1);
    again = malloc(n + 1);
    fuzz_check(corral_decode_print_service(&s, line, n + 1) == n);
    fuzz_check(strlen(line) == n && line[n - 1] == '\n');
    fuzz_check(corral_decode_kind(line, n, err, sizeof(err))
               == CORRAL_SERVICE);

    /* a line of up to 65,536 bytes has room for its defaults */

    if (corral_decode_service(line, n, &s, fuzz_alloc, arena, err, sizeof(err))
        != 0)
    {
        fuzz_check(len > 65536 || arena->used == arena->limit);

    } else {
        fuzz_check(corral_decode_print_service(&s, again, n + 1) == n);
        fuzz_check(memcmp(line, again, n) == 0);
    }

    free(line);
    free(again);
}


static void
fuzz_instance(const char *json, size_t len, fuzz_arena_t *arena)
{
    char               err[CORRAL_DECODE_ERROR], line[2048], again[2048];
    size_t             n;
    corral_instance_t  i;

    err[0] = '\0';

    if (corral_decode_instance(json, len, &i, fuzz_alloc, arena, err,
                               sizeof(err))
        != 0)
    {
        fuzz_error(err);
        return;
    }

    fuzz_string(&i.instance_id, 1, 64);
    fuzz_string(&i.service_id, 1, 64);
    fuzz_string(&i.node, 1, 64);
    fuzz_string(&i.address, 0, 200);
    fuzz_between(i.incarnation, 1, 4294967295);
    fuzz_between(i.weight, 0, 1000);
    fuzz_between(i.priority, 0, 100);
    fuzz_between(i.state, 0, CORRAL_STATE_FAILED);
    fuzz_between(i.health, 0, CORRAL_HEALTH_UNKNOWN);

    n = corral_decode_print_instance(&i, line, sizeof(line));
    fuzz_check(n < sizeof(line) && strlen(line) == n);

    if (corral_decode_instance(line, n, &i, fuzz_alloc, arena, err,
                               sizeof(err))
        == 0)
    {
        corral_decode_print_instance(&i, again, sizeof(again));
        fuzz_check(strcmp(line, again) == 0);

    } else {
        fuzz_check(arena->used == arena->limit);
    }
}


static void
fuzz_rule(const char *json, size_t len, fuzz_arena_t *arena)
{
    char           err[CORRAL_DECODE_ERROR], *line, *again;
    size_t         n;
    uint32_t       i;
    corral_rule_t  r;

    err[0] = '\0';

    if (corral_decode_rule(json, len, &r, fuzz_alloc, arena, err, sizeof(err))
        != 0)
    {
        fuzz_error(err);
        return;
    }

    fuzz_string(&r.rule_id, 1, 64);
    fuzz_string(&r.name, 1, 128);
    fuzz_between(r.priority, -1000000, 1000000);
    fuzz_between(r.conditions.n, 0, 32);
    fuzz_between(r.weights.n, 0, 256);
    fuzz_between(r.weight, 0, 1000);
    fuzz_between(r.target_strategy, 0, CORRAL_STRATEGY_TAG_BASED);

    for (i = 0; i < r.conditions.n; i++) {
        fuzz_string(&r.conditions.items[i].field, 1, 128);
        fuzz_string(&r.conditions.items[i].value, 0, 4096);
        fuzz_between(r.conditions.items[i].operator, 0,
                     CORRAL_OPERATOR_NUMBER - 1);
    }

    for (i = 0; i < r.weights.n; i++) {
        fuzz_between(r.weights.items[i].weight, 0, 1000);
    }

    n = corral_decode_print_rule(&r, NULL, 0);
    line = malloc(n + 1);
    again = malloc(n + 1);
    fuzz_check(corral_decode_print_rule(&r, line, n + 1) == n);
    fuzz_check(corral_decode_kind(line, n, err, sizeof(err)) == CORRAL_RULE);

    if (corral_decode_rule(line, n, &r, fuzz_alloc, arena, err, sizeof(err))
        != 0)
    {
        fuzz_check(len > 65536 || arena->used == arena->limit);

    } else {
        fuzz_check(corral_decode_print_rule(&r, again, n + 1) == n);
        fuzz_check(memcmp(line, again, n) == 0);
    }

    free(line);
    free(again);
}


/* opens and checks in pieces; -2 if it was not opened */

static int
fuzz_image(const char *text, size_t len, size_t budget,
    corral_decode_image_t *image)
{
    int   rc;
    char  err[CORRAL_DECODE_ERROR];

    err[0] = '\0';

    if (corral_decode_image_open(image, text, len, err, sizeof(err)) != 0) {
        fuzz_error(err);
        return -2;
    }

    do {
        rc = corral_decode_image_check(image, budget, err, sizeof(err));
    } while (rc == 1);

    if (rc != 0) {
        fuzz_error(err);
    }

    return rc;
}


static void
fuzz_line(const char *line, size_t len, fuzz_arena_t *arena)
{
    char   err[CORRAL_DECODE_ERROR];

    switch (corral_decode_kind(line, len, err, sizeof(err))) {

    case CORRAL_SERVICE:
        fuzz_service(line, len, arena);
        break;

    case CORRAL_INSTANCE:
        fuzz_instance(line, len, arena);
        break;

    case CORRAL_RULE:
        fuzz_rule(line, len, arena);
        break;

    default:
        fuzz_error(err);
    }

    fuzz_free(arena);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                     rc;
    char                   *text;
    size_t                  len;
    uint64_t                lines;
    const char             *line;
    fuzz_arena_t            arena;
    corral_decode_image_t   image, whole;

    if (size == 0) {
        return 0;
    }

    memset(&arena, 0, sizeof(arena));
    arena.limit = data[0] == 0xff ? 3 : 512;

    len = size - 1;
    text = malloc(len ? len : 1);
    memcpy(text, data + 1, len);

    /* the whole input as a document of each kind */

    fuzz_service(text, len, &arena);
    fuzz_free(&arena);
    fuzz_instance(text, len, &arena);
    fuzz_free(&arena);
    fuzz_rule(text, len, &arena);
    fuzz_free(&arena);
    fuzz_line(text, len, &arena);

    /* and as an image */

    rc = fuzz_image(text, len, SIZE_MAX, &whole);

    fuzz_check(fuzz_image(text, len, data[0], &image) == rc);

    if (rc == 0) {
        fuzz_check(image.lines == whole.lines && image.crc32 == whole.crc32);

        for (lines = 0; corral_decode_image_next(&image, &line, &len);
             lines++)
        {
            fuzz_line(line, len, &arena);
        }

        fuzz_check(lines == whole.lines);
    }

    free(text);

    return 0;
}
