/* links: ngx_module/corral_renew.c ngx_module/corral_frame.c */

/*
 * The message that renews a token: found among other frames, wherever the bytes
 * are cut, and nothing else is taken for it.
 */


#include "../../ngx_module/corral_renew.h"

#include "unit.h"


#define MESSAGE  "{\"type\":\"corral.renew\",\"token\":\"a.b-c\"}"


static uint8_t  buf[70000];
static size_t   len;


/* one more frame of a client at the end of buf */

static void
add(unsigned first, const char *payload, size_t n)
{
    static const uint8_t  key[4] = { 0x5a, 0x00, 0xff, 0x31 };

    len += corral_frame_header(buf + len, first, n, key);
    corral_frame_mask(buf + len, (const uint8_t *) payload, n, key, 0);
    len += n;
}


static size_t
frame(unsigned first, const char *payload)
{
    len = 0;
    add(first, payload, strlen(payload));

    return len;
}


static int
find(const uint8_t *p, size_t n, size_t *at, size_t *size)
{
    corral_frame_t  f;

    corral_frame_init(&f, CORRAL_FRAME_MASKED);
    *at = n;
    *size = 0;

    return corral_renew_find(&f, p, n, at, size);
}


/* the token of a frame of its own, or "" */

static const char *
token(const char *payload)
{
    size_t  n, at, size;

    static uint8_t  out[CORRAL_RENEW_TOKEN + 1];

    n = frame(0x81, payload);

    if (find(buf, n, &at, &size) != CORRAL_RENEW_HERE || at != 0 || size != n) {
        return "";
    }

    out[corral_renew_token(buf, n, out)] = '\0';

    return (char *) out;
}


static void
shapes(void)
{
    char    text[CORRAL_RENEW_TOKEN + 64];
    size_t  i;

    static const char  *others[] = {
        "", "{", "{\"type\":\"corral.renew\"}",
        "{\"type\":\"corral.renew\",\"token\":\"\"}",
        "{\"type\":\"corral.renew\",\"token\":\"a b\"}",
        "{\"type\":\"corral.renew\",\"token\":\"a\\u0041b\"}",
        "{\"type\":\"corral.renew\",\"token\":\"a\"b\"}",
        "{\"type\":\"corral.renew\",\"token\":\"abc\"",
        "{\"type\":\"corral.renew\",\"token\":\"abc\"}}",
        "{\"type\":\"corral.renew\",\"token\":\"abc\",\"x\":1}",
        "{\"type\":\"corral.renewX\",\"token\":\"abc\"}",
        "{\"type\":\"corral.renew\" ,\"token\":\"abc\"}",
        "{\"type\":  \"corral.renew\",\"token\":\"abc\"}",
        "{ \"type\":\"corral.renew\",\"token\":\"abc\"}",
        "{\"token\":\"abc\",\"type\":\"corral.renew\"}",
        "{\"type\":\"corral.renew\",\"token\":\"\xc3\xa4\xc3\xa4\"}",
        NULL
    };

    is_str(token(MESSAGE), "a.b-c", "as it is written");
    is_str(token("{\"type\": \"corral.renew\", \"token\": \"x\"}"), "x",
           "with blanks");
    is_str(token("{\"type\":\"corral.renew\",\"token\":\"AZaz09-._~+/=\"}"),
           "AZaz09-._~+/=", "what a token may hold");

    for (i = 0; others[i]; i++) {
        is_str(token(others[i]), "", others[i]);
    }

    strcpy(text, "{\"type\":\"corral.renew\",\"token\":\"");    /* style: test */
    i = strlen(text);
    memset(text + i, 'x', CORRAL_RENEW_TOKEN);
    memcpy(text + i + CORRAL_RENEW_TOKEN, "\"}", 3);
    is_int((int64_t) strlen(token(text)), CORRAL_RENEW_TOKEN, "the longest");

    memcpy(text + i + CORRAL_RENEW_TOKEN, "x\"}", 4);
    is_str(token(text), "", "one byte more");
}


static void
frames(void)
{
    size_t          n, at, size, here;
    corral_frame_t  f;

    n = frame(0x82, MESSAGE);
    is_int(find(buf, n, &at, &size), CORRAL_RENEW_NONE, "a binary one");
    n = frame(0xc1, MESSAGE);
    is_int(find(buf, n, &at, &size), CORRAL_RENEW_NONE, "a compressed one");
    n = frame(0x01, MESSAGE);
    is_int(find(buf, n, &at, &size), CORRAL_RENEW_NONE, "the first of several");

    len = 0;
    add(0x01, "x", 1);
    add(0x81, MESSAGE, strlen(MESSAGE));
    is_int(find(buf, len, &at, &size), CORRAL_RENEW_NONE,
           "within a message, which is an error");

    len = 0;
    add(0x01, "x", 1);
    add(0x89, "p", 1);
    add(0x80, "y", 1);
    add(0x82, (char *) buf + 1000, 300);
    add(0x82, (char *) buf + 1000, 66000);
    here = len;
    add(0x81, MESSAGE, strlen(MESSAGE));
    is_int(find(buf, len, &at, &size), CORRAL_RENEW_HERE, "behind others");
    is_int((int64_t) at, (int64_t) here, "where it is");
    is_int((int64_t) size, (int64_t) (len - here), "as long as it is");

    /* what the scanner has seen of a frame is behind it */

    corral_frame_init(&f, CORRAL_FRAME_MASKED);
    f.left = 7;
    f.opcode = CORRAL_FRAME_BINARY;
    f.first = 0x82;
    n = frame(0x81, MESSAGE);
    memmove(buf + 7, buf, n);
    is_int(corral_renew_find(&f, buf, n + 7, &at, &size), CORRAL_RENEW_HERE,
           "behind the rest of a frame");
    is_int((int64_t) at, 7, "there");

    f.first = 0x02;
    is_int(corral_renew_find(&f, buf, n + 7, &at, &size), CORRAL_RENEW_NONE,
           "behind the rest of a fragment");
    f.first = 0x82;
    f.flags |= CORRAL_FRAME_CLOSED;
    is_int(corral_renew_find(&f, buf, n + 7, &at, &size), CORRAL_RENEW_NONE,
           "behind a Close");
}


static void
cuts(void)
{
    int     rc, bad;
    size_t  n, i, at, size;

    n = frame(0x81, MESSAGE);
    bad = 0;

    for (i = 1; i <= n; i++) {
        rc = find(buf, i, &at, &size);

        bad += at != 0
               || (rc == CORRAL_RENEW_MORE ? i >= CORRAL_RENEW_HOLD
                                           : rc != CORRAL_RENEW_HERE
                                             || size != n || i < 30);
    }

    is_int(bad, 0, "cut anywhere");

    n = frame(0x81,
              "{\"type\":\"something else\",\"and\":\"so on\", 1234567}");
    is_int(find(buf, 15, &at, &size), CORRAL_RENEW_MORE, "so far like it");
    is_int(find(buf, 17, &at, &size), CORRAL_RENEW_NONE, "then it is not");
}


int
main(void)
{
    shapes();
    frames();
    cuts();

    return done_testing();
}
