/* links: ngx_module/corral_match.c ngx_module/corral_match_index.c */
/* links: ngx_module/corral_match_compile.c */
/* links: ngx_module/corral_decode.c ngx_module/corral_decode_fields.c */
/* links: ngx_module/common/corral_duration.c -ljansson -lz -lpcre2-8 */

/*
 * A rule of any bytes and a request of any bytes: lines of JSON, each a rule,
 * up to an empty line; then lines "field=value".  A rule that does not compile
 * says why; the index finds what a look at all rules finds.
 */


#include "../../ngx_module/corral_match.h"

#include <stdlib.h>
#include <string.h>


#define RULES  16


static void    *blocks[4096];
static unsigned nblocks;


typedef struct {
    const char  *text;
    size_t       len;
} fuzz_request_t;


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
    (void) data;

    if (nblocks == 4096) {
        return NULL;
    }

    blocks[nblocks] = malloc(size);

    return blocks[nblocks++];
}


static int
fuzz_get(void *data, corral_match_field_e field, const corral_str_t *name,
    uint32_t i, corral_str_t *value)
{
    size_t                len;
    const char           *p, *end, *equals;
    fuzz_request_t       *r;
    corral_str_t          text, found;
    corral_match_field_e  f;

    r = data;

    for (p = r->text; p < r->text + r->len; p = end + 1) {
        end = memchr(p, '\n', (size_t) (r->text + r->len - p));
        end = end ? end : r->text + r->len;
        equals = memchr(p, '=', (size_t) (end - p));
        len = equals ? (size_t) (equals - p) : 0;

        text.data = (char *) p;
        text.len = len;

        if (len == 0 || corral_match_field(&text, &f, &found) != 0
            || f != field || found.len != name->len
            || memcmp(found.data, name->data, name->len) != 0 || i-- > 0)
        {
            continue;
        }

        value->data = (char *) equals + 1;
        value->len = (size_t) (end - equals - 1);

        return 1;
    }

    return 0;
}


/* the rules of the input; what follows them is the request */

static unsigned
fuzz_rules(const char *text, size_t size, corral_match_rule_t **rules,
    fuzz_request_t *request)
{
    char            err[CORRAL_DECODE_ERROR];
    size_t          len;
    unsigned        n;
    const char     *p, *end;
    corral_rule_t   rule;

    n = 0;
    p = text;

    while (p < text + size) {
        end = memchr(p, '\n', (size_t) (text + size - p));
        end = end ? end : text + size;
        len = (size_t) (end - p);

        if (len == 0) {
            break;
        }

        if (n < RULES && corral_decode_rule(p, len, &rule, fuzz_alloc, NULL,
                                            err, sizeof(err))
                         == 0)
        {
            err[0] = '\0';
            rules[n] = corral_match_compile(&rule, fuzz_alloc, NULL, err,
                                            sizeof(err));
            fuzz_check(rules[n] != NULL || *err != '\0');
            n += rules[n] != NULL;
        }

        p = end + 1;
    }

    request->text = p < text + size ? p : text + size;
    request->len = (size_t) (text + size - request->text);

    return n;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                  *text;
    unsigned               i, n;
    uint32_t               failed;
    fuzz_request_t         request;
    corral_match_view_t    view;
    corral_match_rule_t   *rules[RULES], *want;
    corral_match_index_t  *index;

    text = malloc(size ? size : 1);
    memcpy(text, data, size);

    view.get = fuzz_get;
    view.accept = NULL;
    view.data = &request;
    view.scratch = corral_match_scratch_create(fuzz_alloc, NULL);

    n = fuzz_rules(text, size, rules, &request);
    index = corral_match_index_create(n, fuzz_alloc, NULL);
    want = NULL;

    for (i = 0; index && i < n; i++) {
        failed = UINT32_MAX;

        if (corral_match_test(rules[i], &view, &failed)) {
            want = want ? want : rules[i];

        } else {
            fuzz_check(failed < 32);
        }

        if (corral_match_index_add(index, rules[i], rules[i]) != 0) {
            index = NULL;
        }
    }

    fuzz_check(index == NULL || corral_match_index_find(index, &view) == want);

    corral_match_scratch_free(view.scratch);

    while (nblocks) {
        free(blocks[--nblocks]);
    }

    free(text);

    return 0;
}
