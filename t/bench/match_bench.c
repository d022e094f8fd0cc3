/* links: ngx_module/corral_match.c ngx_module/corral_match_index.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/common/corral_duration.c -ljansson -lz -lpcre2-8 */

/*
 * One look-up of a rule.  Without arguments: nanoseconds of CPU for all kinds.
 * With them, kind (host, path, header, mixed; empty: the loop alone), rules,
 * look-ups: for callgrind, run with two counts; the difference, divided, is the
 * instructions of a look-up:
 *
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null \
 *       match_bench host 10000 1000
 *
 * Every request has a host, a path and six headers, and matches one rule, each
 * time another one.
 */


#include "../../ngx_module/corral_match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define BENCH_MAX  10000


typedef struct {
    char             host[32];
    char             path[32];
    char             tier[32];
    const char      *names[6];
    const char      *values[6];
} bench_request_t;


static const char  *kinds[] = { "empty", "host", "path", "header", "mixed" };


static void *
bench_alloc(void *data, size_t size)
{
    (void) data;

    return malloc(size);
}


static int
bench_get(void *data, corral_match_field_e field, const corral_str_t *name,
    uint32_t i, corral_str_t *value)
{
    unsigned          n;
    bench_request_t  *r;

    r = data;

    switch (field) {

    case CORRAL_MATCH_host:
        value->data = r->host;
        break;

    case CORRAL_MATCH_path:
        value->data = r->path;
        break;

    case CORRAL_MATCH_header:
        for (n = 0; n < 6; n++) {
            if (strlen(r->names[n]) == name->len
                && memcmp(r->names[n], name->data, name->len) == 0
                && i-- == 0)
            {
                value->data = (char *) r->values[n];
                value->len = strlen(r->values[n]);
                return 1;
            }
        }

        return 0;

    default:
        return 0;
    }

    value->len = strlen(value->data);

    return i == 0;
}


/* rules that ask for host, path or header number i; mixed: one of them */

static corral_match_index_t *
bench_create(unsigned kind, unsigned n)
{
    char                   err[CORRAL_DECODE_ERROR], json[512];
    unsigned               i, k;
    corral_rule_t          rule;
    corral_match_rule_t   *match;
    corral_match_index_t  *index;

    static const char  *forms[] = {
        "{\"field\":\"host\",\"operator\":\"equals\",\"value\":"
            "\"h%u.example.com\"}",
        "{\"field\":\"path\",\"operator\":\"equals\",\"value\":\"/v1/%u\"}",
        "{\"field\":\"header.x-tier\",\"operator\":\"equals\",\"value\":"
            "\"tier-%u\"}"
    };

    index = corral_match_index_create(n, bench_alloc, NULL);

    for (i = 0; i < n; i++) {
        char  text[256];

        k = kind == 4 ? i % 3 : kind - 1;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof(text), forms[k], i);
#pragma GCC diagnostic pop
        snprintf(json, sizeof(json), "{\"rule_id\":\"r\",\"name\":\"r%u\","
                 "\"priority\":%u,\"conditions\":[%s]}", i, i, text);

        if (corral_decode_rule(json, strlen(json), &rule, bench_alloc, NULL,
                               err, sizeof(err))
            != 0)
        {
            fprintf(stderr, "%s\n", err);
            exit(1);
        }

        match = corral_match_compile(&rule, bench_alloc, NULL, err,
                                     sizeof(err));

        if (match == NULL || corral_match_index_add(index, match, match) != 0)
        {
            fprintf(stderr, "%s\n", err);
            exit(1);
        }
    }

    return index;
}


/* returns how many look-ups found nothing: none should */

static unsigned
bench_run(corral_match_index_t *index, unsigned kind, unsigned n,
    unsigned count)
{
    unsigned             i, missed, at;
    bench_request_t      r;
    corral_match_view_t  view;

    static const char  *names[] = {
        "accept", "user-agent", "x-request-id", "x-tier", "cookie", "origin"
    };

    memset(&view, 0, sizeof(view));
    view.get = bench_get;
    view.data = &r;

    for (i = 0; i < 6; i++) {
        r.names[i] = names[i];
        r.values[i] = "something";
    }

    r.values[3] = r.tier;
    missed = 0;

    for (i = 0; i < count; i++) {
        at = i * 7919 % n;

        snprintf(r.host, sizeof(r.host), "h%05u.example.org", at);
        snprintf(r.path, sizeof(r.path), "/v1/x%05u", at);
        snprintf(r.tier, sizeof(r.tier), "none-%05u", at);

        switch (kind == 4 ? at % 3 + 1 : kind) {
        case 1:
            snprintf(r.host, sizeof(r.host), "h%u.example.com", at);
            break;
        case 2:
            snprintf(r.path, sizeof(r.path), "/v1/%u", at);
            break;
        case 3:
            snprintf(r.tier, sizeof(r.tier), "tier-%u", at);
            break;
        default:
            break;
        }

        if (kind) {
            missed += corral_match_index_find(index, &view) == NULL;
        }
    }

    return missed;
}


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}


int
main(int argc, char **argv)
{
    double                 start, empty;
    unsigned               k, n, missed;
    corral_match_index_t  *index;

    static const unsigned  rules[] = { 10, 100, 1000, 10000 };

    if (argc == 4) {
        n = (unsigned) strtoul(argv[2], NULL, 10);

        for (k = 0; k < 5 && strcmp(kinds[k], argv[1]) != 0; k++) {
            /* void */
        }

        if (k == 5 || n == 0 || n > BENCH_MAX) {
            fprintf(stderr, "kinds: empty host path header mixed; 1 to %d "
                    "rules\n", BENCH_MAX);
            return 2;
        }

        index = bench_create(k ? k : 1, n);

        return bench_run(index, k, n,
                         (unsigned) strtoul(argv[3], NULL, 10)) != 0;
    }

    printf("kind      rules  ns a look-up\n");

    for (k = 1; k < 5; k++) {
        for (n = 0; n < 4; n++) {
            index = bench_create(k, rules[n]);

            start = bench_now();
            (void) bench_run(index, 0, rules[n], 200000);
            empty = bench_now() - start;

            start = bench_now();
            missed = bench_run(index, k, rules[n], 200000);

            printf("%-8s %6u  %.0f%s\n", kinds[k], rules[n],
                   (bench_now() - start - empty) / 200000,
                   missed ? "  (rules were missed)" : "");
        }
    }

    return 0;
}
