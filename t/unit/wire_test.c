/* links: controlplane/base/wire.c */

/*
 * The words between corrald and corral-shim: what is accepted, and that
 * everything else is refused with a sentence.
 */


#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "../../controlplane/base/wire.h"

#include "unit.h"


static corrald_wire_spec_t  wire_spec;
static char                 wire_err[256];


/* parses a copy of exactly len bytes, so that a reader beyond it is seen */

static int
wire_parse(const char *text, size_t len)
{
    int          rc;
    char        *exact;

    static char  keep[8192];

    exact = malloc(len ? len : 1);
    memcpy(exact, text, len);
    memcpy(keep, text, len);

    wire_err[0] = '\0';
    rc = corrald_wire_parse_spec(exact, len, &wire_spec, wire_err,
                                 sizeof(wire_err));
    free(exact);

    /* once more where the strings of the result stay valid */

    if (rc == 0) {
        rc = corrald_wire_parse_spec(keep, len, &wire_spec, wire_err,
                                     sizeof(wire_err));
    }

    return rc;
}


#define WIRE_BASE  "corral=1\0instance=a.1\0cluster=c\0node=n\0nonce=x\0"     \
                   "cwd=/\0socket=/s\0lock=/l\0exit=/e\0log=/g\0"             \
                   "log_max=4096\0"

#define refused(text, why)                                                    \
    do {                                                                      \
        ok(wire_parse(text, sizeof(text) - 1) == -1, "refused: " why);        \
        ok(strstr(wire_err, why) != NULL, wire_err);                          \
    } while (0)

#define accepted(text, name)                                                  \
    ok(wire_parse(text, sizeof(text) - 1) == 0, name)


static void
wire_test_accepted(void)
{
    accepted(WIRE_BASE "arg=prog\0arg=\0arg=a=b\0env=A=1\0env=B=\0uid=0\0"
             "gid=65534\0groups=1,2,65534\0umask=022\0"
             "rlimit=nofile:10:unlimited\0stop_signal=15\0end=1\0",
             "a whole description");

    is_int((int64_t) wire_spec.argc, 3, "arguments");
    is_str(wire_spec.argv[1], "", "an empty one");
    is_str(wire_spec.argv[2], "a=b", "one with =");
    ok(wire_spec.argv[3] == NULL, "ended by NULL");
    is_int((int64_t) wire_spec.envc, 2, "variables");
    is_str(wire_spec.env[0], "A=1", "one of them");
    ok(wire_spec.env[2] == NULL, "ended by NULL");
    is_int(wire_spec.uid, 0, "root is not \"not set\"");
    is_int(wire_spec.gid, 65534, "group");
    is_int((int64_t) wire_spec.ngroups, 3, "groups");
    is_int(wire_spec.groups[2], 65534, "the last of them");
    is_int(wire_spec.umask, 022, "umask is octal");
    is_int((int64_t) wire_spec.rlimits[0].soft, 10, "soft limit");
    ok(wire_spec.rlimits[0].hard == (uint64_t) RLIM_INFINITY, "unlimited");
    is_int(wire_spec.rlimits[0].resource, RLIMIT_NOFILE, "which one");

    accepted(WIRE_BASE "arg=prog\0end=1\0", "the least");
    is_int(wire_spec.uid, -1, "no user is set");

    accepted("corral=1\0mode=probe\0cwd=/\0timeout=100\0arg=x\0end=1\0",
             "a probe needs less");
    is_int(wire_spec.probe, 1, "and is one");
}


static void
wire_test_refused(void)
{
    refused("", "does not begin");
    refused("corral", "does not begin");
    refused("corral=1", "does not begin");
    refused("corral=\0", "does not begin");
    refused("corral=x\0", "does not begin");
    refused("corral=99999999999999999999\0", "does not begin");
    refused("corral=2\0end=1\0", "version 2");
    refused("arg=x\0corral=1\0end=1\0", "does not begin");
    refused(WIRE_BASE "arg=prog\0", "cut off");
    refused(WIRE_BASE "arg=prog\0end=1\0arg=more\0", "after the end");
    refused(WIRE_BASE "arg=prog\0end=1", "not key=value");
    refused(WIRE_BASE "arg\0end=1\0", "not key=value");
    refused(WIRE_BASE "=prog\0end=1\0", "not key=value");
    refused(WIRE_BASE "shell=1\0end=1\0", "unknown member \"shell\"");
    refused(WIRE_BASE "corral=1\0end=1\0", "stands twice");
    refused(WIRE_BASE "arg=x\0cwd=/tmp\0end=1\0", "stands twice");
    refused(WIRE_BASE "end=1\0", "no program");
    refused(WIRE_BASE "arg=\0end=1\0", "no program");
    refused(WIRE_BASE "arg=x\0uid=-1\0end=1\0", "uid \"-1\"");
    refused(WIRE_BASE "arg=x\0uid=4294967295\0end=1\0", "uid");
    refused(WIRE_BASE "arg=x\0uid=0x10\0end=1\0", "uid");
    refused(WIRE_BASE "arg=x\0umask=8\0end=1\0", "umask");
    refused(WIRE_BASE "arg=x\0umask=1000\0end=1\0", "umask");
    refused(WIRE_BASE "arg=x\0groups=1,\0end=1\0", "groups");
    refused(WIRE_BASE "arg=x\0groups=,1\0end=1\0", "groups");
    refused(WIRE_BASE "arg=x\0rlimit=nofile\0end=1\0", "rlimit");
    refused(WIRE_BASE "arg=x\0rlimit=nofile:2:1\0end=1\0", "not above hard");
    refused(WIRE_BASE "arg=x\0rlimit=magic:1:1\0end=1\0", "rlimit");
    refused(WIRE_BASE "arg=x\0env=NOVALUE\0end=1\0", "variable 1");
    refused(WIRE_BASE "arg=x\0env==1\0end=1\0", "variable 1");
    refused(WIRE_BASE "arg=x\0mode=dance\0end=1\0", "mode");
    refused(WIRE_BASE "arg=x\0cgroup=here\0end=1\0", "not an absolute path");
    refused("corral=1\0mode=probe\0cwd=/\0arg=x\0end=1\0", "timeout");
    refused("corral=1\0mode=probe\0cwd=x\0arg=x\0timeout=1\0end=1\0",
            "not an absolute path");
    refused("corral=1\0arg=x\0end=1\0", "is missing");

    /* a secret must not stand in a message that is logged */

    refused(WIRE_BASE "arg=x\0env=SECRET\0end=1\0", "variable 1");
    ok(strstr(wire_err, "SECRET") == NULL, "a variable is not shown");
}


static void
wire_test_limits(void)
{
    char             buf[65536];
    size_t           i;
    corrald_wire_t   w;

    corrald_wire_begin(&w, buf, sizeof(buf), '\0');

    for (i = 0; i <= CORRALD_WIRE_ARGS_MAX; i++) {
        corrald_wire_add(&w, "arg", "x");
    }

    corrald_wire_add(&w, "end", "1");
    ok(!w.full, "many arguments fit into the buffer");
    ok(corrald_wire_parse_spec(buf, w.len, &wire_spec, wire_err,
                               sizeof(wire_err))
       == -1, "but are refused");
    ok(strstr(wire_err, "more than 512") != NULL, wire_err);

    corrald_wire_begin(&w, buf, sizeof(buf), '\0');

    for (i = 0; i <= CORRALD_WIRE_ENV_MAX; i++) {
        corrald_wire_add(&w, "env", "A=1");
    }

    ok(corrald_wire_parse_spec(buf, w.len, &wire_spec, wire_err,
                               sizeof(wire_err))
       == -1, "too many variables");

    corrald_wire_begin(&w, buf, 20, '\0');
    corrald_wire_add(&w, "arg", "0123456789");
    ok(w.full, "what does not fit is told");
    is_int((int64_t) w.len, 9, "and left out whole");

    corrald_wire_begin(&w, buf, sizeof(buf), '\n');
    corrald_wire_add(&w, "text", "two\nlines");
    ok(w.full, "a value with the separator is not written");
}


static void
wire_test_messages(void)
{
    char                 buf[CORRALD_WIRE_MSG_MAX];
    corrald_wire_t       w;
    corrald_wire_msg_t   msg, back;

    memset(&msg, 0, sizeof(msg));
    msg.type = CORRALD_WIRE_exit;
    msg.instance = "echo.1";
    msg.pid = 42;
    msg.signal = 9;
    msg.oom = 1;
    msg.ended_at = 1700000000123;

    corrald_wire_begin(&w, buf, sizeof(buf), '\n');
    corrald_wire_write_msg(&w, &msg);

    ok(corrald_wire_parse_msg(buf, w.len, '\n', &back, wire_err,
                              sizeof(wire_err))
       == 0, "a record comes back");
    is_int(back.type, CORRALD_WIRE_exit, "its type");
    is_str(back.instance, "echo.1", "its instance");
    is_int(back.pid, 42, "its pid");
    is_int(back.signal, 9, "its signal");
    is_int(back.oom, 1, "out of memory");
    is_int(back.ended_at, 1700000000123, "its time");
    ok(back.nonce == NULL, "what is not there is NULL");

#define message(text)                                                         \
    (memcpy(buf, text, sizeof(text) - 1),                                     \
     corrald_wire_parse_msg(buf, sizeof(text) - 1, '\0', &back, wire_err,     \
                            sizeof(wire_err)))

    ok(message("corral=1\0type=signal\0signal=15\0future=1\0") == 0,
       "members of a newer version are skipped");
    ok(message("corral=1\0type=dance\0") == -1, "unknown type");
    ok(message("corral=1\0signal=15\0") == -1, "no type");
    ok(message("corral=9\0type=ack\0") == -1, "other version");
    ok(message("corral=1\0type=signal\0signal=-1\0") == -1, "no number");
    ok(message("corral=1\0type=signal\0signal=99999999999999999999\0") == -1,
       "number too large");
    ok(message("corral=1\0type=ack") == -1, "cut off");
    ok(message("\0\0\0\0") == -1, "zeros");
}


int
main(void)
{
    wire_test_accepted();
    wire_test_refused();
    wire_test_limits();
    wire_test_messages();

    return done_testing();
}
