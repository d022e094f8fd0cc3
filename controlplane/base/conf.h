
/*
 * The configuration of corrald.  See conf.c (layers) and conf_value.c (types).
 */


#ifndef _CORRALD_CONF_H_INCLUDED_
#define _CORRALD_CONF_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/*
 * Every key of corrald.yaml: X(key, type, when, min, max, values, default,
 * text).  The same word in capitals after CORRALD_ is its variable of the
 * environment.  Add keys in the order in which a reader wants to meet them.
 *
 * type     string    min..max bytes
 *          name      letters, digits, ".", "_", "-", min..max bytes
 *          path      absolute, or empty where min is 0, at most max bytes
 *          address   host:port or [v6]:port
 *          integer   min..max
 *          boolean   true or false
 *          duration  as in the schema, min..max in milliseconds
 *          enumerate one of the words in values
 *          strings   list of min..max strings; in the environment separated
 *                    by commas
 *          ports     "first-last", both within min..max
 *
 * when     start: a change needs a restart; reload: SIGHUP is enough
 *
 * default  {state_dir}, {run_dir} and {hostname} are replaced
 */

#define CORRALD_CONF_KEYS(X)                                                  \
    X(cluster, name, start, 1, 32, "", "default",                             \
      "name of the cluster: the second word of every Redis key")              \
    X(node, name, start, 1, 64, "", "{hostname}",                             \
      "name of this node, unique in the cluster")                             \
    X(listen, address, start, 1, 255, "", "127.0.0.1:8080",                   \
      "address and port of the REST API")                                     \
    X(tls_certificate, path, start, 0, 4096, "", "",                          \
      "PEM file; with tls_key the API speaks HTTPS")                          \
    X(tls_key, path, start, 0, 4096, "", "",                                  \
      "PEM file of the private key")                                          \
    X(allow_plain, boolean, start, 0, 0, "", "false",                         \
      "listen on other addresses than loopback without TLS: only behind a "   \
      "proxy that does it")                                                   \
    X(admin_socket, path, start, 0, 107, "", "{run_dir}/admin.sock",          \
      "unix socket on which root and the group corral-admin need no token; "  \
      "empty: none")                                                          \
    X(token_file, path, start, 1, 4096, "", "{state_dir}/token",              \
      "file of the admin token, made at the first start")                     \
    X(allowed_hosts, strings, reload, 0, 64, "", "",                          \
      "further values of the Host header, beside the address and localhost")  \
    X(allowed_origins, strings, reload, 0, 64, "", "",                        \
      "origins of web pages that may call the API, beside its own")           \
    X(connections, integer, start, 8, 65536, "", "1024",                      \
      "HTTP connections at a time")                                           \
    X(connections_per_ip, integer, start, 1, 65536, "", "256",                \
      "of these, from one address")                                           \
    X(request_timeout, duration, start, 1000, 600000, "", "30s",              \
      "an HTTP connection without progress is closed after it")               \
    X(body_max, integer, reload, 1024, 16777216, "", "1048576",               \
      "bytes of one request body")                                            \
    X(public_metrics, boolean, reload, 0, 0, "", "false",                     \
      "/metrics needs no token")                                              \
    X(redis, string, start, 1, 1024, "", "embedded",                          \
      "embedded, unix:/path or redis://[user:password@]host[:port][/db]")     \
    X(redis_program, string, start, 1, 4096, "", "redis-server",              \
      "the server that is started when redis is embedded")                    \
    X(redis_user, string, start, 0, 32, "", "",                               \
      "user the embedded Redis runs as when corrald is root; empty: root")    \
    X(redis_password_file, path, start, 0, 4096, "", "",                      \
      "file of the password for unix: and redis:// when it is not in the URL")\
    X(redis_timeout, duration, reload, 100, 60000, "", "2s",                  \
      "a command without an answer for so long breaks the connection")        \
    X(group, string, start, 0, 32, "", "corral",                              \
      "group that may connect to Redis' socket; ignored if there is none")    \
    X(state_dir, path, start, 1, 80, "", "/var/lib/corral",                   \
      "what must survive a reboot")                                           \
    X(run_dir, path, start, 1, 60, "", "/run/corral",                         \
      "sockets, locks, exit records")                                         \
    X(log_dir, path, start, 1, 2048, "", "/var/log/corral",                   \
      "output of the agents")                                                 \
    X(log_level, enumerate, reload, 0, 0, "error warn info debug", "info",    \
      "of corrald's own lines")                                               \
    X(log_format, enumerate, reload, 0, 0, "text json", "text",               \
      "of corrald's own lines")                                               \
    X(hmac_key_file, path, start, 1, 4096, "", "{state_dir}/hmac.key",        \
      "key of the HMAC over service documents, made at the first start; all " \
      "nodes of a cluster need the same one")                                 \
    X(gateway_url, string, reload, 0, 1024, "",                               \
      "ws://127.0.0.1:9090/agents/{service}",                                 \
      "where clients reach a service: the endpoint in answers")               \
    X(shim, path, start, 0, 4096, "", "",                                     \
      "the program corral-shim; empty: beside corrald")                       \
    X(python, string, reload, 1, 4096, "", "python3",                         \
      "interpreter for services with agent_factory_path")                     \
    X(myagent_command, string, reload, 1, 4096, "",                           \
      "{python} -m myagent.cli.server server {path} --host {host} "           \
      "--port {port}",                                                        \
      "how an agent_factory_path is run; blanks separate arguments")          \
    X(cgroup, enumerate, start, 0, 0, "auto off", "auto",                     \
      "a cgroup v2 for each instance, where that is possible")                \
    X(log_keep, duration, reload, 0, 31536000000, "", "7d",                   \
      "how long logs of removed instances are kept")                          \
    X(log_keep_instances, integer, reload, 0, 10000, "", "20",                \
      "of these, the newest so many of each service")                         \
    X(command_roots, strings, reload, 0, 64, "", "",                          \
      "directories that programs of services must lie in; empty: any")        \
    X(users, strings, reload, 0, 64, "", "",                                  \
      "users that services may run as; empty: any but root")                  \
    X(agent_user, string, reload, 0, 32, "", "corral-agent",                  \
      "user of services that name none, when corrald is root")                \
    X(port_range, ports, reload, 1, 65535, "", "20000-29999",                 \
      "TCP ports of instances; MyAgent used 8081-9000")


typedef struct {
    char        **items;
    size_t        n;
} corrald_conf_list_t;

typedef struct {
    uint16_t      first;
    uint16_t      last;
} corrald_conf_ports_t;

typedef char                 *corrald_conf_string_t;
typedef char                 *corrald_conf_name_t;
typedef char                 *corrald_conf_path_t;
typedef char                 *corrald_conf_address_t;
typedef int64_t               corrald_conf_integer_t;
typedef int                   corrald_conf_boolean_t;
typedef int64_t               corrald_conf_duration_t;    /* milliseconds */
typedef char                 *corrald_conf_enumerate_t;
typedef corrald_conf_list_t   corrald_conf_strings_t;


typedef struct {
#define X(key, type, when, min, max, values, def, text)                       \
    corrald_conf_##type##_t  key;
    CORRALD_CONF_KEYS(X)
#undef X
} corrald_conf_t;


/*
 * file: NULL for no file.  Command line options stand over all layers:
 * overrides is NULL or a list of "key=value" ended by NULL.
 *
 * corrald_conf_load() makes what corrald_conf() returns; on an error, a
 * sentence with the place is in err, -1 is returned and the configuration in
 * force stays.  At a reload, keys of when "start" keep their value and
 * *restart gets the names of those that differ (to be freed), or NULL.
 */

int corrald_conf_load(const char *file, const char *const *overrides,
    char **restart, char *err, size_t size)
    __attribute__((warn_unused_result));
const corrald_conf_t *corrald_conf(void);
void corrald_conf_free(void);
int corrald_conf_split_address(const char *address, char *host, size_t size,
    uint16_t *port) __attribute__((warn_unused_result));
int corrald_conf_has(const corrald_conf_list_t *list, const char *item);


#endif /* _CORRALD_CONF_H_INCLUDED_ */
