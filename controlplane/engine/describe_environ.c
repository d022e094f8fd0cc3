/*
 * The environment of an agent: what is inherited, env files, env, secrets, and
 * what Corral itself says.  Secrets are wiped, and stand in no error.
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file.h"
#include "../model/doc.h"
#include "describe_local.h"


#define CORRALD_DESCRIBE_SECRET  65536


static int corrald_describe_files(corrald_describe_t *d,
    corrald_environ_t *env);
static int corrald_describe_secrets(corrald_describe_t *d,
    corrald_environ_t *env);


/*
 * The environment: little that is inherited, then env files, env, secrets, and
 * last what Corral itself says; later ones replace earlier ones.
 */

int
corrald_describe_environ(corrald_describe_t *d,
    const corrald_describe_user_t *u, const corrald_describe_words_t *w,
    corrald_environ_t *env)
{
    int          rc;
    char         ms[24];
    size_t       i;
    json_t      *value;
    const char  *key, *text;

    static const char  *inherited[] = { "LANG", "LC_ALL", "TZ" };

    rc = corrald_environ_set(env, "PATH", "/usr/local/sbin:/usr/local/bin:"
                             "/usr/sbin:/usr/bin:/sbin:/bin");
    rc |= corrald_environ_set(env, "LANG", "C.UTF-8");
    rc |= corrald_environ_set(env, "HOME", u->home[0] ? u->home : "/");

    if (u->name[0]) {
        rc |= corrald_environ_set(env, "USER", u->name);
        rc |= corrald_environ_set(env, "LOGNAME", u->name);
    }

    for (i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++) {
        text = getenv(inherited[i]);

        if (text != NULL) {
            rc |= corrald_environ_set(env, inherited[i], text);
        }
    }

    if (corrald_describe_files(d, env) != 0) {
        return -1;
    }

    json_object_foreach(json_object_get(d->service, "env"), key, value) {
        rc |= corrald_environ_set(env, key, json_string_value(value));
    }

    if (corrald_describe_secrets(d, env) != 0) {
        return -1;
    }

    const struct {
        const char  *name;
        const char  *value;
    } ours[] = {
        { "CORRAL_SERVICE",  corrald_doc_str(d->service, "name") },
        { "CORRAL_INSTANCE", d->instance_id },
        { "CORRAL_NODE",     d->node },
        { "CORRAL_LISTEN",   w->listen },
        { "CORRAL_NONCE",    d->nonce },
        { "CORRAL_SESSION_TIMEOUT", ms },
        { "CORRAL_SOCKET",   d->port ? NULL : w->socket },
        { "PORT",            d->port ? w->port : NULL },
        { "HOST",            d->port ? w->host : NULL }
    };

    (void) snprintf(ms, sizeof(ms), "%lld",
                    (long long) corrald_doc_ms(d->service, "session_timeout")
                    / 1000);

    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (ours[i].value != NULL) {
            rc |= corrald_environ_set(env, ours[i].name, ours[i].value);
        }
    }

    if (rc != 0) {
        return corrald_describe_fail(d, "spawn_failed", "there are more than "
                                     "%d variables", CORRALD_ENVIRON_MAX);
    }

    return 0;
}


static int
corrald_describe_files(corrald_describe_t *d, corrald_environ_t *env)
{
    int          rc;
    char        *data, err[400];
    size_t       i, len;
    json_t      *item;
    const char  *file;

    json_array_foreach(json_object_get(d->service, "env_file"), i, item) {

        file = json_string_value(item);
        rc = corrald_file_read(file, CORRALD_ENVIRON_FILE_MAX, &data, &len,
                               err, sizeof(err));
        if (rc == 1) {
            return corrald_describe_fail(d, "secret_missing", "env file "
                                         "\"%s\" does not exist", file);
        }

        if (rc != 0) {
            return corrald_describe_fail(d, "secret_missing", "env file: %s",
                                         err);
        }

        rc = corrald_environ_parse(env, data, len, file, err, sizeof(err));

        explicit_bzero(data, len);
        free(data);

        if (rc != 0) {
            return corrald_describe_fail(d, "secret_missing", "%s", err);
        }
    }

    return 0;
}


static int
corrald_describe_secrets(corrald_describe_t *d, corrald_environ_t *env)
{
    int          rc;
    char        *data, err[400];
    size_t       len;
    json_t      *value;
    const char  *key, *ref, *text;

    json_object_foreach(json_object_get(d->service, "secrets"), key, value) {

        ref = json_string_value(value);

        if (strncmp(ref, "env:", 4) == 0) {
            text = getenv(ref + 4);

            if (text == NULL) {
                return corrald_describe_fail(d, "secret_missing", "secret "
                                             "\"%s\": corrald has no variable "
                                             "\"%s\"", key, ref + 4);
            }

            if (corrald_environ_set(env, key, text) != 0) {
                return corrald_describe_fail(d, "spawn_failed", "there are "
                                             "too many variables");
            }

            continue;
        }

        rc = corrald_file_read(ref + sizeof("file:") - 1,
                               CORRALD_DESCRIBE_SECRET, &data, &len, err,
                               sizeof(err));
        if (rc != 0) {
            return corrald_describe_fail(d, "secret_missing", "secret \"%s\": "
                                         "%s", key, rc == 1
                                         ? "its file does not exist" : err);
        }

        /* editors end a file with a newline; it is not meant */

        while (len > 0 && (data[len - 1] == '\n' || data[len - 1] == '\r')) {
            data[--len] = '\0';
        }

        rc = 0;

        if (memchr(data, '\0', len) != NULL) {
            rc = corrald_describe_fail(d, "secret_missing", "secret \"%s\": "
                                       "its file holds a zero byte", key);

        } else if (corrald_environ_set(env, key, data) != 0) {
            rc = corrald_describe_fail(d, "spawn_failed", "there are too many "
                                       "variables");
        }

        explicit_bzero(data, len);
        free(data);

        if (rc != 0) {
            return -1;
        }
    }

    return 0;
}
