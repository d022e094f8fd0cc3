/* links: controlplane/base/wire.c */

/*
 * The first byte chooses who reads: a shim its description, a shim or corrald
 * a message, or corrald an exit record.  What is accepted must hold what the
 * reader promises.
 */


#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../controlplane/base/wire.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
shim_spec(char *buf, size_t len)
{
    char                        err[256];
    size_t                      i;

    static corrald_wire_spec_t  spec;

    if (corrald_wire_parse_spec(buf, len, &spec, err, sizeof(err)) != 0) {

        if (err[0] == '\0' || strlen(err) >= sizeof(err)) {
            abort();
        }

        return;
    }

    if (spec.argc == 0 || spec.argc > CORRALD_WIRE_ARGS_MAX
        || spec.argv[spec.argc] != NULL || spec.env[spec.envc] != NULL
        || spec.cwd == NULL || spec.cwd[0] != '/')
    {
        abort();
    }

    for (i = 0; i < spec.argc; i++) {
        if (spec.argv[i] < buf || spec.argv[i] >= buf + len) {
            abort();
        }
    }

    for (i = 0; i < spec.envc; i++) {
        if (strchr(spec.env[i], '=') == NULL) {
            abort();
        }
    }

    for (i = 0; i < spec.nrlimits; i++) {
        if (spec.rlimits[i].soft > spec.rlimits[i].hard) {
            abort();
        }
    }
}


static void
shim_msg(char *buf, size_t len, char sep)
{
    char                 err[256], out[CORRALD_WIRE_MSG_MAX * 2];
    corrald_wire_t       w;
    corrald_wire_msg_t   msg, back;

    if (corrald_wire_parse_msg(buf, len, sep, &msg, err, sizeof(err)) != 0) {
        return;
    }

    /* what was read can be written and read again */

    corrald_wire_begin(&w, out, sizeof(out), sep);
    corrald_wire_write_msg(&w, &msg);

    if (w.full) {
        return;
    }

    if (corrald_wire_parse_msg(out, w.len, sep, &back, err, sizeof(err)) != 0
        || back.type != msg.type || back.pid != msg.pid)
    {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char    *buf;
    size_t   len;

    if (size == 0) {
        return 0;
    }

    /* exactly so many bytes, so that a reader beyond them is seen */

    len = size - 1;
    buf = malloc(len ? len : 1);

    if (buf == NULL) {
        return 0;
    }

    memcpy(buf, data + 1, len);

    switch (data[0] % 3) {
    case 0:   shim_spec(buf, len);       break;
    case 1:   shim_msg(buf, len, '\0');  break;
    default:  shim_msg(buf, len, '\n');  break;
    }

    free(buf);

    return 0;
}
