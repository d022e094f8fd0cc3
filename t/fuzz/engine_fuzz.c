/* links: controlplane/engine/answer.c controlplane/engine/environ.c */
/* links: controlplane/engine/logs_line.c controlplane/engine/address.c */
/* links: controlplane/base/clock.c -ljansson */

/*
 * What the engine reads of strangers: answers to probes, env files, lines of
 * logs, addresses.  The first byte says which; what is accepted must hold.
 */


#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../controlplane/engine/address.h"
#include "../../controlplane/engine/answer.h"
#include "../../controlplane/engine/environ.h"
#include "../../controlplane/engine/logs.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void engine_message(const corrald_answer_t *a,
    const corrald_answer_t *b);


static void
engine_answer(const char *data, size_t len, corrald_answer_e type)
{
    int               whole, split;
    size_t            i;
    corrald_answer_t  a, b;

    corrald_answer_init(&a, type, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "01234567");
    corrald_answer_init(&b, type, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "01234567");

    whole = corrald_answer_feed(&a, data, len);

    /* the same answer, byte by byte, has the same end */

    split = 0;

    for (i = 0; i < len && split == 0; i++) {
        split = corrald_answer_feed(&b, data + i, 1);
    }

    if (whole != split || (whole != 0 && a.message[0] == '\0'
                           && type < CORRALD_ANSWER_BODY))
    {
        abort();
    }

    if (whole == 0) {
        whole = corrald_answer_end(&a);
        split = corrald_answer_end(&b);

        if (whole != split || whole == 0) {
            abort();
        }
    }

    if (type >= CORRALD_ANSWER_BODY) {
        engine_message(&a, &b);
    }
}


/* a line is plain text, as it becomes a member of documents */

static void
engine_message(const corrald_answer_t *a, const corrald_answer_t *b)
{
    const char  *p;

    if (strlen(a->message) >= sizeof(a->message)
        || strcmp(a->message, b->message) != 0)
    {
        abort();
    }

    for (p = a->message; *p; p++) {
        if (*p < 0x20 || *p > 0x7e) {
            abort();
        }
    }
}


static void
engine_environ(const char *data, size_t len)
{
    char               *text, err[256];
    size_t              i;
    corrald_environ_t   env;

    text = malloc(len + 1);

    if (text == NULL) {
        return;
    }

    memcpy(text, data, len);
    text[len] = '\0';

    corrald_environ_init(&env);

    if (corrald_environ_parse(&env, text, len, "file", err, sizeof(err)) != 0
        && strncmp(err, "file:", 5) != 0)
    {
        abort();
    }

    for (i = 0; i < env.n; i++) {
        if (strchr(env.vars[i], '=') == NULL || env.vars[i][0] == '=') {
            abort();
        }
    }

    corrald_environ_free(&env);
    free(text);
}


static void
engine_line(const char *data, size_t len)
{
    json_t                *object;
    corrald_logs_line_t    line;
    corrald_logs_query_t   query;

    if (corrald_logs_parse(data, len, &line) != 0) {
        return;
    }

    if (line.text < data || line.text + line.len > data + len) {
        abort();
    }

    memset(&query, 0, sizeof(query));
    query.search = "x";
    query.level = CORRALD_LOGS_warn;
    (void) corrald_logs_match(&line, &query);

    object = corrald_logs_json("a.1", &line);

    if (object == NULL) {
        abort();
    }

    json_decref(object);
}


static void
engine_address(const char *data, size_t len)
{
    char               text[256], again[256];
    corrald_address_t  address;

    if (len >= sizeof(text)) {
        return;
    }

    memcpy(text, data, len);
    text[len] = '\0';

    if (corrald_address_parse(text, &address) == 0) {
        corrald_address_format(&address, again, sizeof(again));

        if (corrald_address_parse(again, &address) != 0) {
            abort();
        }
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char    *exact;
    size_t   len;

    if (size == 0) {
        return 0;
    }

    len = size - 1;
    exact = malloc(len ? len : 1);

    if (exact == NULL) {
        return 0;
    }

    memcpy(exact, data + 1, len);

    switch (data[0] % 7) {
    case 0:   engine_answer(exact, len, CORRALD_ANSWER_HTTP);       break;
    case 1:   engine_answer(exact, len, CORRALD_ANSWER_WEBSOCKET);  break;
    case 2:   engine_environ(exact, len);                           break;
    case 3:   engine_line(exact, len);                              break;
    case 4:   engine_address(exact, len);                           break;
    case 5:   engine_answer(exact, len, CORRALD_ANSWER_BODY);       break;
    default:  engine_answer(exact, len, CORRALD_ANSWER_LINE);       break;
    }

    free(exact);

    return 0;
}
