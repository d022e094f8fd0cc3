
/*
 * The words of learned sessions: "learn.header.NAME" and "learn.cookie.NAME" of
 * a service's affinity, and the Set-Cookie of an agent (RFC 6265, 5.2).
 *
 * Pure: no clock, so a date is handed to the caller, no memory of its own.
 */


#include "corral_learn.h"

#include <string.h>
#include <strings.h>


static int corral_learn_is_token(const char *s, size_t len);
static void corral_learn_trim(const char **s, size_t *len);
static void corral_learn_attribute(const char *s, size_t len,
    corral_learn_cookie_t *cookie, int *max_age);
static size_t corral_learn_upto(const char *s, size_t len, char c);


/*
 * Reads an affinity.  Returns 1 with where its sessions are learned, pointing
 * into s; 0 if it is none of learned ones, or NAME is no token of HTTP.
 */

int
corral_learn_rule(const char *s, size_t len, corral_learn_rule_t *rule)
{
    size_t  n;

    static const struct {
        const char      *prefix;
        corral_learn_e   where;
    } words[] = {
        { "learn.header.", CORRAL_LEARN_HEADER },
        { "learn.cookie.", CORRAL_LEARN_COOKIE }
    };

    for (n = 0; n < sizeof(words) / sizeof(words[0]); n++) {

        rule->name_len = strlen(words[n].prefix);

        if (len > rule->name_len
            && memcmp(s, words[n].prefix, rule->name_len) == 0)
        {
            rule->where = words[n].where;
            rule->name = s + rule->name_len;
            rule->name_len = len - rule->name_len;

            return corral_learn_is_token(rule->name, rule->name_len);
        }
    }

    return 0;
}


static int
corral_learn_is_token(const char *s, size_t len)
{
    size_t  n;

    for (n = 0; n < len; n++) {
        if ((unsigned char) s[n] <= 0x20 || (unsigned char) s[n] >= 0x7f
            || strchr("()<>@,;:\\\"/[]?={}", s[n]))
        {
            return 0;
        }
    }

    return 1;
}


/*
 * Reads the value of a Set-Cookie.  Returns 1 if it is about the cookie of the
 * rule, else 0.
 */

int
corral_learn_cookie(const char *s, size_t len,
    const corral_learn_rule_t *rule, corral_learn_cookie_t *cookie)
{
    int          max_age;
    size_t       pair, n;
    const char  *name;

    memset(cookie, 0, sizeof(corral_learn_cookie_t));

    pair = corral_learn_upto(s, len, ';');
    n = corral_learn_upto(s, pair, '=');

    if (n == pair) {
        return 0;
    }

    cookie->value = s + n + 1;
    cookie->value_len = pair - n - 1;
    corral_learn_trim(&cookie->value, &cookie->value_len);

    name = s;
    corral_learn_trim(&name, &n);

    if (n != rule->name_len || memcmp(name, rule->name, n) != 0) {
        return 0;
    }

    cookie->ended = cookie->value_len == 0;
    max_age = 0;

    while (pair < len) {
        s += pair + 1;
        len -= pair + 1;

        pair = corral_learn_upto(s, len, ';');
        corral_learn_attribute(s, pair, cookie, &max_age);
    }

    if (max_age) {
        cookie->expires_len = 0;            /* the other one has no say */
    }

    return 1;
}


/* the last one of a name counts, and one that is none is passed over */

static void
corral_learn_attribute(const char *s, size_t len,
    corral_learn_cookie_t *cookie, int *max_age)
{
    size_t       n, i, value_len;
    const char  *value;

    n = corral_learn_upto(s, len, '=');

    if (n == len) {
        return;
    }

    value = s + n + 1;
    value_len = len - n - 1;
    corral_learn_trim(&value, &value_len);
    corral_learn_trim(&s, &n);

    if (n == 7 && strncasecmp(s, "expires", 7) == 0) {
        cookie->expires = value;
        cookie->expires_len = value_len;
        return;
    }

    if (n != 7 || strncasecmp(s, "max-age", 7) != 0 || value_len == 0) {
        return;
    }

    /* "-" and digits: over; digits: over only if all are zeros */

    for (i = *value == '-', n = 0; i < value_len; i++) {

        if (value[i] < '0' || value[i] > '9') {
            return;
        }

        n |= value[i] != '0';
    }

    *max_age = 1;
    cookie->ended = cookie->value_len == 0 || *value == '-' || n == 0;
}


static void
corral_learn_trim(const char **s, size_t *len)
{
    while (*len && (**s == ' ' || **s == '\t')) {
        (*s)++;
        (*len)--;
    }

    while (*len && ((*s)[*len - 1] == ' ' || (*s)[*len - 1] == '\t')) {
        (*len)--;
    }
}


/* how many bytes stand before c, or all */

static size_t
corral_learn_upto(const char *s, size_t len, char c)
{
    const char  *p;

    p = len ? memchr(s, c, len) : NULL;

    return p ? (size_t) (p - s) : len;
}
