/* links: controlplane/base/conf.c controlplane/base/conf_value.c */
/* links: controlplane/base/file.c */
/* links: controlplane/base/buf.c controlplane/base/log.c */
/* links: controlplane/base/clock.c ngx_module/common/corral_duration.c */
/* links: -lyaml */

/*
 * The configuration: layers, places of errors, what a reload may change, and
 * that a refused one changes nothing.
 */


#define _GNU_SOURCE

#include <stdlib.h>
#include <unistd.h>

#include "../../controlplane/base/conf.h"

#include "unit.h"


static char  conf_file[64] = "/tmp/corral-conf-XXXXXX";
static char  conf_err[1024];


/* loads a file of this text; its error, or "" */

static const char *
load(const char *text, const char *const *overrides, char **restart)
{
    int    rc;
    FILE  *fp;
    char  *names;

    fp = fopen(conf_file, "w");

    if (fp == NULL) {
        printf("Bail out! no %s\n", conf_file);
        exit(1);
    }

    fputs(text, fp);
    fclose(fp);

    conf_err[0] = '\0';
    rc = corrald_conf_load(conf_file, overrides, &names, conf_err,
                           sizeof(conf_err));

    if (restart) {
        *restart = names;

    } else {
        free(names);
    }

    if (rc == 0 && *conf_err) {
        return "no error, but a sentence";
    }

    return rc == 0 ? "" : conf_err;
}


/* an error of a file, without the file's name */

static const char *
refused(const char *text)
{
    const char  *err;

    err = load(text, NULL, NULL);

    return strncmp(err, conf_file, strlen(conf_file)) == 0
           ? err + strlen(conf_file) : err;
}


static void
layers(void)
{
    const char  *overrides[] = { "listen=127.0.0.1:3", "users=a,b", NULL };

    is_str(load("", NULL, NULL), "", "an empty file");
    is_str(corrald_conf()->listen, "127.0.0.1:8080", "a default");
    is_int(corrald_conf()->redis_timeout, 2000, "a default duration");
    is_int(corrald_conf()->port_range.first, 20000, "a default range");
    ok(corrald_conf()->node[0] != '{', "the name of the host");

    is_str(load("listen: 127.0.0.1:1\nstate_dir: /x\nredis_timeout: 500ms\n"
                "public_metrics: true\ncommand_roots: [/a, /b]\n"
                "port_range: 8081-9000\n", NULL, NULL), "", "a file");
    is_str(corrald_conf()->listen, "127.0.0.1:8080",
           "a key that needs a restart keeps its value");
    is_int(corrald_conf()->redis_timeout, 500, "one that does not, changes");
    ok(corrald_conf()->public_metrics, "a boolean");
    is_int((int64_t) corrald_conf()->command_roots.n, 2, "a list");
    ok(corrald_conf_has(&corrald_conf()->command_roots, "/b")
       && !corrald_conf_has(&corrald_conf()->command_roots, "/"),
       "and its items");
    is_int(corrald_conf()->port_range.last, 9000, "a range");

    corrald_conf_free();

    is_str(load("listen: 127.0.0.1:1\nstate_dir: /x\n", NULL, NULL), "",
           "the same from the beginning");
    is_str(corrald_conf()->listen, "127.0.0.1:1", "the file over defaults");
    is_str(corrald_conf()->token_file, "/x/token", "a path of another");

    corrald_conf_free();
    setenv("CORRALD_LISTEN", "127.0.0.1:2", 1);
    setenv("CORRALD_USERS", "x,y,z", 1);

    is_str(load("listen: 127.0.0.1:1\n", NULL, NULL), "", "with variables");
    is_str(corrald_conf()->listen, "127.0.0.1:2", "over the file");
    is_int((int64_t) corrald_conf()->users.n, 3, "a list of them");

    corrald_conf_free();

    is_str(load("listen: 127.0.0.1:1\n", overrides, NULL), "", "with options");
    is_str(corrald_conf()->listen, "127.0.0.1:3", "over the environment");
    is_int((int64_t) corrald_conf()->users.n, 2, "a list of them");

    unsetenv("CORRALD_LISTEN");
    unsetenv("CORRALD_USERS");
    corrald_conf_free();
}


static void
errors(void)
{
    is_str(refused("lisen: x\n"), ":1: unknown key \"lisen\"", "unknown");
    is_str(refused("\n\nbody_max: 1M\n"),
           ":3: \"body_max\" is \"1M\", it must be an integer", "its line");
    is_str(refused("body_max: 1\n"),
           ":1: \"body_max\" is \"1\", it must be from 1024 to 16777216",
           "a bound");
    is_str(refused("log_level: loud\n"), ":1: \"log_level\" is \"loud\", it "
           "can be: error warn info debug", "a word");
    is_str(refused("log_level: error warn\n"), ":1: \"log_level\" is \"error "
           "warn\", it can be: error warn info debug", "two words");
    is_str(refused("public_metrics: yes\n"),
           ":1: \"public_metrics\" is \"yes\", it can be: true false",
           "a boolean");
    is_str(refused("state_dir: var\n"),
           ":1: \"state_dir\" is \"var\", it must be an absolute path",
           "a path");
    is_str(refused("cluster: a b\n"), ":1: \"cluster\" is \"a b\", it can "
           "have letters, digits, \".\", \"_\", \"-\", and begins with a "
           "letter or a digit", "a name");
    is_str(refused("listen: 8080\n"), ":1: \"listen\" is \"8080\", it must be "
           "address:port or [address]:port", "an address");
    is_str(refused("redis_timeout: fast\n"), ":1: \"redis_timeout\" is "
           "\"fast\", it must be a duration such as 500ms, 30s, 5m",
           "a duration");
    is_str(refused("port_range: 9000-80\n"), ":1: \"port_range\" is "
           "\"9000-80\", it must be first-last, from 1 to 65535", "a range");
    is_str(refused("node: [a]\n"),
           ":1: \"node\" takes one value, not a list", "a list");
    is_str(refused("users: {a: b}\n"), ":1: \"users\" cannot be a mapping",
           "a mapping");
    is_str(refused("node: a\nnode: b\n"), ":2: \"node\" is set twice",
           "twice");
    ok(strncmp(refused("node: \"a\n"), ":", 1) == 0, "broken YAML");
    is_str(refused("- a\n"), ":1: the file must be a list of \"key: value\"",
           "a list of words");
    is_str(refused("tls_key: /k\n"), "\"tls_certificate\" and \"tls_key\" "
           "must be given together", "half of a pair");
    is_str(refused("redis: localhost\n"), "\"redis\" is \"localhost\", it can "
           "be: embedded, unix:/path, "
           "redis://[user:password@]host[:port][/db]", "an address of Redis");
    ok(strstr(refused("listen: 0.0.0.0:80\n"), "shell access") != NULL,
       "an API for everybody");
    is_str(load("listen: 0.0.0.0:80\nallow_plain: true\n", NULL, NULL), "",
           "unless it is said");
    corrald_conf_free();
}


static void
reload(void)
{
    char  *restart;

    is_str(load("node: a\nlog_level: info\n", NULL, &restart), "", "first");
    ok(restart == NULL, "nothing to restart for");

    is_str(load("node: b\nlog_level: debug\nstate_dir: /y\n", NULL, &restart),
           "", "again");
    is_str(restart, "node, token_file, state_dir, hmac_key_file",
           "what needs a restart is named");
    free(restart);

    is_str(corrald_conf()->node, "a", "and stays");
    is_str(corrald_conf()->log_level, "debug", "the rest changes");

    ok(*load("log_level: x\n", NULL, NULL) != '\0', "a wrong one");
    is_str(corrald_conf()->log_level, "debug", "changes nothing");

    corrald_conf_free();
}


static void
addresses(void)
{
    char      host[64];
    uint16_t  port;

    ok(corrald_conf_split_address("a.b:80", host, sizeof(host), &port) == 0
       && strcmp(host, "a.b") == 0 && port == 80, "host and port");
    ok(corrald_conf_split_address("[::1]:80", host, sizeof(host), &port) == 0
       && strcmp(host, "::1") == 0, "in brackets");
    ok(corrald_conf_split_address("::1:80", host, sizeof(host), &port) != 0,
       "without brackets");
    ok(corrald_conf_split_address(":80", host, sizeof(host), &port) != 0
       && corrald_conf_split_address("a:", host, sizeof(host), &port) != 0
       && corrald_conf_split_address("a:65536", host, sizeof(host), &port)
          != 0
       && corrald_conf_split_address("a:-1", host, sizeof(host), &port) != 0,
       "halves");
}


int
main(void)
{
    int  fd;

    fd = mkstemp(conf_file);

    if (fd == -1) {
        printf("Bail out! no temporary file\n");
        return 1;
    }

    close(fd);

    layers();
    errors();
    reload();
    addresses();

    unlink(conf_file);

    return done_testing();
}
