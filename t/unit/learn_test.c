/* links: ngx_module/corral_learn.c */

/*
 * Learned sessions: where a service says that they are told, and what a
 * Set-Cookie tells.
 */

#include <string.h>

#include "unit.h"
#include "../../ngx_module/corral_learn.h"


static corral_learn_rule_t  jsession = { CORRAL_LEARN_COOKIE, "JSESSIONID",
                                         10 };


static int rule(const char *s);
static const char *cookie(const char *s);
static void test_rule(void);
static void test_cookie(void);
static void test_ended(void);


int
main(void)
{
    test_rule();
    test_cookie();
    test_ended();

    return done_testing();
}


static int
rule(const char *s)
{
    corral_learn_rule_t  rule;

    return corral_learn_rule(s, strlen(s), &rule);
}


/* "value", "value until DATE" or "ended"; "-" if it is another cookie */

static const char *
cookie(const char *s)
{
    corral_learn_cookie_t  c;

    static char  text[256];

    if (!corral_learn_cookie(s, strlen(s), &jsession, &c)) {
        return "-";
    }

    (void) snprintf(text, sizeof(text), "%.*s%s%.*s%s", (int) c.value_len,
                    c.value, c.expires_len ? " until " : "",
                    (int) c.expires_len, c.expires ? c.expires : "",
                    c.ended ? " ended" : "");

    return text;
}


static void
test_rule(void)
{
    corral_learn_rule_t  r;

    is_int(corral_learn_rule("learn.header.Mcp-Session-Id", 27, &r), 1,
           "header");
    is_int(r.where, CORRAL_LEARN_HEADER, "its place");
    is_int(r.name_len == 14 && memcmp(r.name, "Mcp-Session-Id", 14) == 0, 1,
           "its name");

    is_int(corral_learn_rule("learn.cookie.A.B", 16, &r), 1, "cookie");
    is_int(r.where == CORRAL_LEARN_COOKIE && r.name_len == 3, 1,
           "a name may have dots");

    is_int(rule("learn.query.a"), 0, "an agent has no query");
    is_int(rule("learn.header."), 0, "a name is needed");
    is_int(rule("learn.cookie.a b"), 0, "of no blanks");
    is_int(rule("learn.cookie.a=b"), 0, "nor =");
    is_int(rule("learn.header.a\x7f"), 0, "nor controls");
    is_int(rule("header.learn"), 0, "by value");
    is_int(rule("LEARN.header.a"), 0, "words are lower case");
    is_int(rule(""), 0, "nothing");
    is_int(corral_learn_rule("learn.cookie.A;", 14, &r), 1,
           "not beyond its end");
}


static void
test_cookie(void)
{
    is_str(cookie("JSESSIONID=abc"), "abc", "value");
    is_str(cookie("JSESSIONID=abc; Path=/; HttpOnly"), "abc", "attributes");
    is_str(cookie(" JSESSIONID \t=  a b  ;"), "a b", "blanks around");
    is_str(cookie("JSESSIONID=\"abc\""), "\"abc\"",
           "quotes, as the client sends them back");
    is_str(cookie("JSESSIONID=a=b=="), "a=b==", "= in the value");
    is_str(cookie("jsessionid=abc"), "-", "its name has a case");
    is_str(cookie("JSESSIONID2=abc"), "-", "a longer name");
    is_str(cookie("XJSESSIONID=abc"), "-", "another name");
    is_str(cookie("a=b; JSESSIONID=abc"), "-", "an attribute is no cookie");
    is_str(cookie("JSESSIONID"), "-", "no =");
    is_str(cookie("JSESSIONID; x=1"), "-", "no = before the attributes");
    is_str(cookie("=abc"), "-", "no name");
    is_str(cookie(""), "-", "nothing");
    is_str(cookie(";;;=;"), "-", "rubbish");
}


static void
test_ended(void)
{
    is_str(cookie("JSESSIONID="), " ended", "no value");
    is_str(cookie("JSESSIONID=; Max-Age=3600"), " ended",
           "no value, whatever its age");
    is_str(cookie("JSESSIONID=a; Max-Age=0"), "a ended", "no age");
    is_str(cookie("JSESSIONID=a;max-age = 000 ;Path=/"), "a ended",
           "in any case, with blanks");
    is_str(cookie("JSESSIONID=a; Max-Age=-1"), "a ended", "negative");
    is_str(cookie("JSESSIONID=a; Max-Age=3600"), "a", "an hour");
    is_str(cookie("JSESSIONID=a; Max-Age=010"), "a", "not all zeros");
    is_str(cookie("JSESSIONID=a; Max-Age=99999999999999999999999"), "a",
           "longer than a number");
    is_str(cookie("JSESSIONID=a; Max-Age=0x"), "a", "no number");
    is_str(cookie("JSESSIONID=a; Max-Age=; Max-Age"), "a", "nor this");
    is_str(cookie("JSESSIONID=a; Max-Age=0; Max-Age=5"), "a",
           "the last one counts");
    is_str(cookie("JSESSIONID=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
           "a until Thu, 01 Jan 1970 00:00:00 GMT", "a date");
    is_str(cookie("JSESSIONID=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT;"
                  " Max-Age=9"), "a", "the age comes before the date");
    is_str(cookie("JSESSIONID=a; Max-Age=x; Expires=y"), "a until y",
           "but not one that is none");
}
