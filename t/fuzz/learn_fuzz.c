/* links: ngx_module/corral_learn.c */

/*
 * An affinity, a line end, and a Set-Cookie of any bytes: what is found lies in
 * the text and is what a client would send back, and an age that is added in
 * the end decides.
 */


#include "../../ngx_module/corral_learn.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
learn_check(int cond)
{
    if (!cond) {
        abort();
    }
}


/* is it in the text, of one attribute, without blanks around? */

static void
learn_inside(const char *s, size_t len, const char *part, size_t part_len)
{
    if (part_len == 0) {
        return;
    }

    learn_check(part >= s && part + part_len <= s + len);
    learn_check(memchr(part, ';', part_len) == NULL);
    learn_check(part[0] != ' ' && part[part_len - 1] != ' ');
}


/* reads exactly that text and its end: what lies behind it is not ours */

static int
learn_with(const char *s, size_t len, const char *end,
    const corral_learn_rule_t *rule, corral_learn_cookie_t *cookie)
{
    int     rc;
    char   *text;
    size_t  n;

    n = strlen(end);
    text = malloc(len + n + 1);
    learn_check(text != NULL);

    if (len) {
        memcpy(text, s, len);
    }

    memcpy(text + len, end, n);

    text = realloc(text, len + n ? len + n : 1);
    learn_check(text != NULL);

    rc = corral_learn_cookie(text, len + n, rule, cookie);

    if (rc) {
        learn_inside(text, len + n, cookie->value, cookie->value_len);
        learn_inside(text, len + n, cookie->expires, cookie->expires_len);
        learn_check(cookie->value_len || cookie->ended);
    }

    free(text);

    return rc;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                     rc;
    size_t                  n, len;
    const char             *s, *p;
    corral_learn_rule_t     rule;
    corral_learn_cookie_t   cookie, more;

    s = (const char *) data;
    p = size ? memchr(s, '\n', size) : NULL;
    n = p ? (size_t) (p - s) : 0;

    if (corral_learn_rule(s, n, &rule)) {
        learn_check(rule.name > s && rule.name + rule.name_len == s + n);
        learn_check(rule.name_len != 0);

    } else {
        rule.name = "a";
        rule.name_len = 1;
    }

    s += p ? n + 1 : 0;
    len = size - (size_t) (s - (const char *) data);

    rc = learn_with(s, len, "", &rule, &cookie);

    if (memchr(s, '=', len) == NULL) {
        learn_check(rc == 0);
        return 0;
    }

    learn_check(learn_with(s, len, "; Max-Age=0", &rule, &more) == rc);
    learn_check(rc == 0 || (more.ended && more.expires_len == 0));

    learn_check(learn_with(s, len, ";max-age = 10;", &rule, &more) == rc);
    learn_check(rc == 0 || more.ended == (cookie.value_len == 0));
    learn_check(rc == 0 || (more.value_len == cookie.value_len
                            && more.expires_len == 0));

    return 0;
}
