
/*
 * Idempotency-Key: a request that is sent again gets the answer of the first
 * one.  The store knows keys, digests of what was asked, and answers.
 */


#include <stdlib.h>
#include <string.h>

#include "../base/crypt.h"
#include "api.h"


static int corrald_rest_key_make(corrald_rest_t *r);
static void corrald_rest_key_begun(json_t *value, const char *err,
    void *data);
static void corrald_rest_key_replay(corrald_rest_t *r, const json_t *answer);


void
corrald_rest_key_begin(corrald_rest_t *r)
{
    if (corrald_rest_key_make(r) == 0) {
        corrald_store_idempotency_begin(r->key, r->digest,
                                        corrald_rest_key_begun, r);
    }
}


void
corrald_rest_key_end(corrald_rest_t *r, int status, const json_t *body)
{
    json_t  *answer;

    if (status >= 500) {
        corrald_store_idempotency_end(r->key, r->digest, NULL);
        r->key[0] = '\0';
        return;
    }

    answer = json_pack("{s:i, s:O*, s:O}", "status", status,
                       "headers", r->headers, "body", body);

    corrald_store_idempotency_end(r->key, r->digest, answer);
    json_decref(answer);

    r->key[0] = '\0';
}


/* Makes key and digest.  Returns 0, or -1 after a problem was answered. */

static int
corrald_rest_key_make(corrald_rest_t *r)
{
    char           *query;
    const char     *key;
    corrald_buf_t   b;

    key = corrald_rest_header(r, "Idempotency-Key");

    if (*key == '\0' || strlen(key) > 255) {
        corrald_rest_problem(r, CORRALD_PROBLEM_BAD_REQUEST, "an "
                             "Idempotency-Key has from 1 to 255 bytes");
        return -1;
    }

    query = json_dumps(r->query, JSON_COMPACT|JSON_SORT_KEYS);

    corrald_buf_init(&b, r->body.len + 65536);
    corrald_buf_printf(&b, "%s %s?%s\n", r->method, r->uri,
                       query ? query : "");
    corrald_buf_add(&b, r->body.data, r->body.len);

    corrald_crypt_sha256(b.data, b.len, r->digest);
    corrald_crypt_sha256(key, strlen(key), r->key);

    corrald_buf_free(&b);
    free(query);

    return 0;
}


static void
corrald_rest_key_begun(json_t *value, const char *err, void *data)
{
    json_t          *answer;
    corrald_rest_t  *r;

    r = data;

    if (value == NULL) {
        r->key[0] = '\0';
        corrald_rest_store_error(r, err);
        return;
    }

    answer = json_object_get(value, "answer");

    if (answer || json_object_size(value)) {

        /* not ours to end */

        r->key[0] = '\0';
    }

    if (answer) {
        corrald_rest_key_replay(r, answer);

    } else if (json_object_get(value, "pending")) {
        corrald_rest_set(r, "Retry-After", "1");
        corrald_rest_problem(r, CORRALD_PROBLEM_REQUEST_IN_FLIGHT,
                             "a request with this Idempotency-Key has no "
                             "answer yet");

    } else if (json_object_get(value, "differs")) {
        corrald_rest_problem(r, CORRALD_PROBLEM_KEY_REUSED,
                             "this Idempotency-Key was used for another "
                             "request");

    } else {
        r->route->handler(r);
    }
}


static void
corrald_rest_key_replay(corrald_rest_t *r, const json_t *answer)
{
    int          status;
    json_t      *value;
    const char  *name;

    status = (int) corrald_doc_int(answer, "status");

    json_object_foreach(json_object_get(answer, "headers"), name, value) {
        corrald_rest_set(r, name, "%s", json_string_value(value));
    }

    corrald_rest_set(r, "Idempotency-Replayed", "true");
    corrald_rest_document(r, status, status < 400
                          ? "application/json" : "application/problem+json",
                          json_incref(json_object_get(answer, "body")));
}
