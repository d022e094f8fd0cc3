
/*
 * The contract between corrald, which writes the registry, and the nginx
 * workers, which follow it: the names of Redis keys and streams, the fields of
 * every document kept under them, states, reasons and bounds.
 *
 * This file is the only place where such a name is spelled.  It is plain C
 * without types of any library and without code, so that both programs, the
 * tests and the documentation read the same tables.  docs/schema.md explains
 * each; "make check" holds the two to each other.
 *
 * To change the contract: edit a table, raise CORRAL_SCHEMA_VERSION if an old
 * reader would misread a new value, and describe the change in docs/schema.md.
 */


#ifndef _CORRAL_SCHEMA_H_INCLUDED_
#define _CORRAL_SCHEMA_H_INCLUDED_


#define CORRAL_SCHEMA_VERSION  1


/*
 * Keys.  "%s" is the name of the cluster.  X(name, format, type, writer, text)
 */

#define CORRAL_KEYS(X)                                                        \
    X(EPOCH,       "corral:%s:epoch",       string, corrald,                  \
      "random, written once; a missing one means: store not initialised")     \
    X(REVISION,    "corral:%s:revision",    string, corrald,                  \
      "integer, raised by one with each commit")                              \
    X(SERVICES,    "corral:%s:services",    hash,   corrald,                  \
      "service_id to the service document")                                   \
    X(INSTANCES,   "corral:%s:instances",   hash,   corrald,                  \
      "instance_id to the instance document")                                 \
    X(RULES,       "corral:%s:rules",       hash,   corrald,                  \
      "rule_id to the rule document")                                         \
    X(NAMES,       "corral:%s:names",       hash,   corrald,                  \
      "name of a service to service_id, rule/NAME to rule_id: unique")        \
    X(REVISIONS,   "corral:%s:revisions",   hash,   corrald,                  \
      "kind/id to the revision of the last change of that document")          \
    X(MACS,        "corral:%s:macs",        hash,   corrald,                  \
      "service_id to the HMAC-SHA256 of the document, hexadecimal")           \
    X(CHANGES,     "corral:%s:changes",     stream, corrald,                  \
      "what changed: kind, id, revision; the followers read it")              \
    X(EVENTS,      "corral:%s:events",      stream, corrald,                  \
      "what people want to know: type, kind, id, data")                       \
    X(HISTORY,     "corral:%s:history:%s",  list,   corrald,                  \
      "state changes of one instance, newest first; second part: its id")     \
    X(NODE,        "corral:%s:node:%s",     hash,   corrald,                  \
      "lease and facts of one node; second part: its name")                   \
    X(NODES,       "corral:%s:nodes",       set,    corrald,                  \
      "names of all nodes ever seen; the janitor prunes it")                  \
    X(LEADER,      "corral:%s:leader",      string, corrald,                  \
      "node that leads, with its fencing token; expires")                     \
    X(FENCE,       "corral:%s:fence",       string, corrald,                  \
      "the last fencing token given out")                                     \
    X(LOAD,        "corral:%s:load:%s",     hash,   corrald,                  \
      "heartbeat of one external instance; second part: its id; expires")     \
    X(REPORTS,     "corral:%s:reports:%s",  string, corrald,                  \
      "what instances of one node say of themselves; second part: its name; " \
      "expires")                                                              \
    X(WORKER,      "corral:%s:worker:%s",   hash,   gateway,                  \
      "lease and facts of one nginx worker; second part: its id; expires")    \
    X(WORKERS,     "corral:%s:workers",     set,    gateway,                  \
      "ids of all workers; readers prune those without a lease")              \
    X(CONNECTIONS, "corral:%s:connections:%s", hash, gateway,                 \
      "connection_id to the connection; second part: worker id; expires")     \
    X(COUNTS,      "corral:%s:counts:%s",   string, gateway,                  \
      "what one worker holds of each instance; second part: its id; expires") \
    X(ACKS,        "corral:%s:acks",        stream, gateway,                  \
      "worker, epoch, revision: a worker serves from this revision on")       \
    X(WAKES,       "corral:%s:wakes",       stream, gateway,                  \
      "worker, service_id, waiting: requests wait for an instance")           \
    X(SESSION,     "corral:%s:session:%s",  string, gateway,                  \
      "instance_id:incarnation that has a session; second part: the hash of " \
      "service and session, 16 hexadecimal digits; expires")                  \
    X(COMMANDS,    "corral:%s:commands",    stream, corrald,                  \
      "what workers are to do now: id, op and its arguments")                 \
    X(ANSWERS,     "corral:%s:answers:%s",  list,   gateway,                  \
      "answers of workers to one command; second part: its id; expires")      \
    X(REVOCATIONS, "corral:%s:revocations", zset,   corrald,                  \
      "what is revoked, a kind, a colon and a name, by the unix time of its "  \
      "end; expires with the last")                                           \
    X(REVOKED,     "corral:%s:revoked",     string, corrald,                  \
      "16 random hexadecimal digits, a dot and an integer, which is raised "  \
      "by one with each change of the revocations")                           \
    X(RUN,         "corral:%s:run:%s",      stream, gateway,                  \
      "events of a resumable stream; second part: service_id:run, and, if a " \
      "tenant or a subject began it, a colon and 32 hexadecimal digits of a " \
      "SHA-256 of both; expires")                                             \
    X(IDEMPOTENCY, "corral:%s:idempotency:%s", string, corrald,               \
      "answer to a POST with an Idempotency-Key; expires")


/* Bounds of what is kept, so that nothing grows for ever. */

#define CORRAL_CHANGES_MAX        10000   /* entries of the stream */
#define CORRAL_EVENTS_MAX         10000
#define CORRAL_ACKS_MAX           1000
#define CORRAL_SESSION_DEADLINE   20      /* ms, then one goes on without */
#define CORRAL_LEARN_MAX          2048    /* bytes of a session's id */
#define CORRAL_WAKES_MAX          1000
#define CORRAL_WAKE_REPEAT        1000    /* ms between entries of a line */
#define CORRAL_COMMANDS_MAX       1000
#define CORRAL_HISTORY_MAX        50      /* state changes kept per instance */
#define CORRAL_HISTORY_TTL        604800  /* seconds, after the last change */
#define CORRAL_IDEMPOTENCY_TTL    86400   /* seconds */
#define CORRAL_NODE_LEASE         10000   /* milliseconds */
#define CORRAL_NODE_LOST          300000  /* ms without lease, then failed */
#define CORRAL_WORKER_LEASE       10000   /* milliseconds */
#define CORRAL_HEARTBEAT          1000    /* ms between renewals of a lease */
#define CORRAL_REPORTS_LEASE      10000   /* milliseconds */
#define CORRAL_REPORTS_MAX        524288  /* bytes that one node tells */
#define CORRAL_ANSWERS_TTL        60      /* seconds */
#define CORRAL_LEADER_LEASE       5000    /* milliseconds */
#define CORRAL_DOCUMENT_MAX       65536   /* bytes of one document */
#define CORRAL_SERVICES_MAX       100000
#define CORRAL_INSTANCES_MAX      100000
#define CORRAL_RULES_MAX          100000
#define CORRAL_REGEX_MAX          1024    /* bytes of one pattern */
#define CORRAL_ID_MAX             64      /* bytes of an id or a name */
#define CORRAL_REVOCATIONS_MAX    10000   /* entries that have not ended */
#define CORRAL_REVOCATION_NAME    200     /* bytes of the name of one */
#define CORRAL_REVOCATION_AGE     31622400    /* s until its end, at most */
#define CORRAL_PRIORITY_MAX       100     /* the max of its row, for arrays */


/*
 * Fields of the documents.
 *
 * X(name, type, owner, flags, min, max, values, default, text)
 *
 * type     string    min..max bytes
 *          name      string of letters, digits, ".", "_", "-", beginning with
 *                    a letter or a digit, min..max bytes
 *          integer   min..max
 *          boolean   -
 *          duration  "1500ms", "30s", "5m", "1h", or an integer of seconds;
 *                    min..max in milliseconds
 *          enumerate one of the words in values
 *          strings   array of at most max strings
 *          map       object of at most max string members
 *          probe     object, see CORRAL_PROBE_FIELDS
 *          conditions  array of at most max objects, see
 *                    CORRAL_CONDITION_FIELDS
 *          weights   object of at most 256 integers, each min..max
 *          time      RFC 3339 in UTC
 *
 * owner    who may change it: user, scaler, schedule, deployment, node (the
 *          corrald that runs the instance), system (set by corrald itself; a
 *          value in a request is an error, or ignored where the row is compat)
 *
 * flags    CORRAL_R  required
 *          CORRAL_G  nginx workers read it
 *          CORRAL_M  one of MyAgent's fields: its name and meaning are fixed
 *          CORRAL_S  secret: never shown by the API, never logged
 *          CORRAL_N  null is allowed and means: not set
 *          CORRAL_F  fixed: cannot change after creation
 *          CORRAL_P  part of the process: a change raises generation
 *
 * default  JSON text, or "" for none
 */

#define CORRAL_R  0x01
#define CORRAL_G  0x02
#define CORRAL_M  0x04
#define CORRAL_S  0x08
#define CORRAL_N  0x10
#define CORRAL_F  0x20
#define CORRAL_P  0x40


#define CORRAL_SERVICE_FIELDS(X)                                              \
    X(service_id, name, system, CORRAL_G|CORRAL_M|CORRAL_F, 1, 64, "", "",    \
      "identifier, a UUID unless restored")                                   \
    X(name, name, user, CORRAL_R|CORRAL_G|CORRAL_M, 1, 63, "", "",            \
      "unique name; stands in paths and in ?service=")                        \
    X(description, string, user, CORRAL_M, 0, 1024, "", "\"\"",               \
      "for people")                                                           \
    X(version, string, user, CORRAL_M, 0, 64, "", "\"1.0.0\"",                \
      "version of the agent, for people and deployments")                     \
    X(tags, strings, user, CORRAL_G|CORRAL_M, 0, 32, "", "[]",                \
      "words to select services by")                                          \
    X(labels, map, user, 0, 0, 32, "", "{}",                                  \
      "key and value pairs to select services by")                            \
    X(command, strings, user, CORRAL_P, 0, 256, "", "[]",                     \
      "program and arguments, no shell; {port} {host} {socket} {listen} "     \
      "{instance} {service} are replaced")                                    \
    X(agent_factory_path, string, user, CORRAL_M|CORRAL_P, 0, 4096, "",       \
      "\"\"",                                                                 \
      "Python file of a MyAgent agent, instead of command")                   \
    X(agent_type, string, user, CORRAL_M, 0, 64, "", "\"custom\"",            \
      "for people")                                                           \
    X(cwd, string, user, CORRAL_P, 0, 4096, "", "\"\"",                       \
      "working directory, absolute; default: a directory of the instance")    \
    X(env, map, user, CORRAL_S|CORRAL_P, 0, 256, "", "{}",                    \
      "environment of the agent; values are not shown")                       \
    X(env_file, strings, user, CORRAL_P, 0, 16, "", "[]",                     \
      "files of KEY=VALUE lines, read at each start")                         \
    X(secrets, map, user, CORRAL_P, 0, 64, "", "{}",                          \
      "variable to reference: file:/absolute/path or env:NAME of corrald")    \
    X(user, string, user, CORRAL_P, 0, 32, "", "\"\"",                        \
      "system user the agent runs as; default: corral-agent when root")       \
    X(group, string, user, CORRAL_P, 0, 32, "", "\"\"",                       \
      "system group; default: that of the user")                              \
    X(memory_limit_mb, integer, user, CORRAL_M|CORRAL_N|CORRAL_P, 1,          \
      16777216, "", "null", "of one instance: its cgroup, else RLIMIT_DATA")  \
    X(cpu_limit_percent, integer, user, CORRAL_M|CORRAL_N|CORRAL_P, 1,        \
      102400, "", "null", "of one processor; only with a cgroup")             \
    X(process_limit, integer, user, CORRAL_N|CORRAL_P, 1, 4194304, "",        \
      "null", "of one instance: its cgroup, else RLIMIT_NPROC, of the user")  \
    X(file_limit, integer, user, CORRAL_N|CORRAL_P, 8, 1048576, "", "null",   \
      "open files of one process: RLIMIT_NOFILE")                             \
    X(replicas, integer, scaler, 0, 0, 1000, "", "1",                         \
      "how many instances are wanted")                                        \
    X(desired, enumerate, schedule, CORRAL_G, 0, 0,                           \
      "running stopped paused", "\"stopped\"",                                \
      "what the service is to be; set by start, stop, pause, resume")         \
    X(generation, integer, system, 0, 0, 2147483647, "", "0",                 \
      "raised when instances must be replaced: restart, changed command")     \
    X(auto_start, boolean, user, CORRAL_M, 0, 0, "", "false",                 \
      "start when created and when corrald starts")                           \
    X(listen, enumerate, user, CORRAL_P, 0, 0, "unix tcp", "\"unix\"",        \
      "how instances listen; tcp when host or port is given, or no command")  \
    X(host, string, user, CORRAL_M|CORRAL_P, 0, 255, "", "\"localhost\"",     \
      "address that TCP instances listen on")                                 \
    X(port, integer, user, CORRAL_M|CORRAL_N|CORRAL_P, 1, 65535, "", "null",  \
      "fixed port of the first instance; null: from the range of corrald")    \
    X(protocol, enumerate, user, CORRAL_G, 0, 0, "http https grpc grpcs",     \
      "\"http\"", "what the instances speak; WebSocket and SSE are http")     \
    X(upstream_host, string, user, CORRAL_G, 0, 255, "", "\"\"",              \
      "Host header for the agent; default: the one of the client")            \
    X(balance, enumerate, user, CORRAL_G, 0, 0,                               \
      "default round_robin least_conn hash random p2c ewma "                  \
      "weighted_round_robin weighted_random least_connections",               \
      "\"default\"",                                                          \
      "how an instance is chosen; default: corral_balance of the upstream")   \
    X(hash_key, string, user, CORRAL_G, 0, 128, "", "\"client_ip\"",          \
      "client_ip, session, subject, claim.NAME, header.NAME, query.NAME or "  \
      "cookie.NAME; of several with blanks between the first that the "       \
      "request has")                                                          \
    X(hash_balance_factor, integer, user, CORRAL_G, 0, 1000, "", "0",         \
      "percent of the mean load that an instance takes of a hash, 100 to "    \
      "1000; 0: no bound")                                                    \
    X(affinity, string, user, CORRAL_G, 1, 128, "", "\"none\"",               \
      "what keeps a client on its instance: none, cookie, client_ip, "        \
      "session, subject, claim.NAME, header.NAME, query.NAME, cookie.NAME, "  \
      "learn.header.NAME or learn.cookie.NAME")                               \
    X(affinity_ttl, duration, user, CORRAL_G, 1000, 31536000000, "",          \
      "\"1h\"", "how long a session is remembered after its last request")    \
    X(spill_threshold, integer, user, CORRAL_G, 0, 100, "", "70",             \
      "percent of a priority's instances that must be ready for all of its "  \
      "traffic; 0: any one")                                                  \
    X(slow_start, duration, user, CORRAL_G, 0, 3600000, "", "\"0s\"",         \
      "in which the weight of an instance that is new to a gateway rises "    \
      "to its full value; 0: at once")                                        \
    X(slow_start_rate, integer, user, CORRAL_G, 0, 1000000, "", "50",         \
      "new connections a second that it takes meanwhile; 0: no limit")        \
    X(connect_timeout, duration, user, CORRAL_G|CORRAL_N, 1, 3600000, "",     \
      "null", "to connect to an instance; null: the directive")               \
    X(handshake_timeout, duration, user, CORRAL_G|CORRAL_N, 1, 3600000, "",   \
      "null", "from the request to the answer of the agent")                  \
    X(idle_timeout, duration, user, CORRAL_G|CORRAL_N, 0, 604800000, "",      \
      "null", "WebSocket without a message in either direction; 0: never")    \
    X(ping_interval, duration, user, CORRAL_G|CORRAL_N, 0, 86400000, "",      \
      "null", "between pings of the gateway to both sides; 0: none")          \
    X(ping_timeout, duration, user, CORRAL_G|CORRAL_N, 100, 3600000, "",      \
      "null", "a side that sends nothing after a ping is dead")               \
    X(close_timeout, duration, user, CORRAL_G|CORRAL_N, 0, 600000, "",        \
      "null", "for a frame boundary and the answering Close")                 \
    X(max_lifetime, duration, user, CORRAL_G|CORRAL_N, 0, 604800000, "",      \
      "null", "WebSocket is closed with 1012 after it; 0: never")             \
    X(max_message_size, integer, user, CORRAL_G|CORRAL_N, 0, 4294967296, "",  \
      "null", "bytes of one WebSocket message; 0: no limit; beyond: 1009")    \
    X(max_message_size_out, integer, user, CORRAL_G|CORRAL_N, 0, 4294967296,  \
      "", "null", "of one that an agent sends; null: max_message_size")       \
    X(message_rate, integer, user, CORRAL_G|CORRAL_N, 0, 1000000, "",         \
      "null", "messages a second that a WebSocket client may send; 0: any")   \
    X(message_burst, integer, user, CORRAL_G|CORRAL_N, 1, 10000000, "",       \
      "null", "of message_rate: messages at once; null: those of a second")   \
    X(message_rate_action, enumerate, user, CORRAL_G, 0, 0,                   \
      "close delay", "\"close\"",                                             \
      "of message_rate: beyond it close with 1008, or read more slowly")      \
    X(byte_rate, integer, user, CORRAL_G|CORRAL_N, 0, 4294967296, "",         \
      "null", "bytes a second read from a WebSocket client; 0: any")          \
    X(byte_rate_out, integer, user, CORRAL_G|CORRAL_N, 0, 4294967296, "",     \
      "null", "bytes a second read from the agent for one client; 0: any")    \
    X(tries, integer, user, CORRAL_G|CORRAL_N, 1, 16, "", "null",             \
      "instances tried for one handshake or request")                         \
    X(retry_budget, integer, user, CORRAL_G, 0, 100, "", "20",                \
      "percent of a gateway's tries under way that may be retries; three "    \
      "always may")                                                           \
    X(circuit_failures, integer, user, CORRAL_G, 0, 1000000, "", "0",         \
      "failures in a row of all instances together that open the circuit: "   \
      "503; 0: never")                                                        \
    X(circuit_timeout, duration, user, CORRAL_G, 100, 3600000, "", "\"10s\"", \
      "how long it is open until one request tries")                          \
    X(max_fails, integer, user, CORRAL_G, 0, 1000, "", "3",                   \
      "failures in a row until a worker ejects an instance; 0: never")        \
    X(fail_timeout, duration, user, CORRAL_G, 100, 3600000, "", "\"10s\"",    \
      "how long an ejected instance rests until one trial request")           \
    X(eject_max_time, duration, user, CORRAL_G, 100, 86400000, "",            \
      "\"5m\"", "the longest rest: fail_timeout times the ejections so far")   \
    X(eject_interval, duration, user, CORRAL_G, 100, 3600000, "", "\"10s\"",  \
      "between looks at all instances; a good one forgives one ejection")     \
    X(eject_min_requests, integer, user, CORRAL_G, 1, 1000000, "", "100",     \
      "results of an instance in an interval, without which it is not "       \
      "compared")                                                             \
    X(eject_failure_percent, integer, user, CORRAL_G, 0, 100, "", "85",       \
      "failures in an interval that eject an instance; 0: off")               \
    X(eject_deviation, integer, user, CORRAL_G, 0, 1000, "", "190",           \
      "percent of the standard deviation by which successes may be below "    \
      "the mean of at least five instances; 0: off")                          \
    X(max_ejected, integer, user, CORRAL_G, 0, 100, "", "50",                 \
      "percent of the instances, at least one, that may be ejected for what " \
      "they answer; who refuses connections is ejected all the same")         \
    X(early_end, duration, user, CORRAL_G, 0, 86400000, "", "\"60s\"",        \
      "a WebSocket that the agent ends before this without a Close is a "     \
      "failure")                                                              \
    X(max_sessions, integer, user, CORRAL_G|CORRAL_M, 0, 1000000, "", "0",    \
      "WebSockets and requests one instance takes at a time; 0: no limit")    \
    X(max_connections, integer, user, CORRAL_G, 0, 1000000, "", "0",          \
      "WebSockets and requests of all instances together; 0: no limit")       \
    X(queue_size, integer, user, CORRAL_G, 0, 65535, "", "0",                 \
      "requests that may wait for an instance, per worker; 0: none waits")    \
    X(queue_timeout, duration, user, CORRAL_G, 1, 3600000, "", "\"30s\"",     \
      "how long one waits before it is refused")                              \
    X(mirror, string, user, CORRAL_G, 0, 64, "", "\"\"",                       \
      "name or id of the service that gets a copy of requests, where "        \
      "corral_mirror says how; empty: none")                                  \
    X(mirror_percent, integer, user, CORRAL_G, 0, 100, "", "100",             \
      "percent of the requests that are copied")                              \
    X(sse_resume, boolean, user, CORRAL_G, 0, 0, "", "false",                 \
      "server-sent events get ids and can be resumed; needs corral_redis")    \
    X(sse_events, integer, user, CORRAL_G, 1, 100000, "", "1000",             \
      "events of one stream kept for those who come back")                    \
    X(sse_keep, duration, user, CORRAL_G, 30000, 86400000, "", "\"5m\"",      \
      "how long they are kept after its end")                                 \
    X(sse_run_on, duration, user, CORRAL_G, 0, 86400000, "", "\"60s\"",       \
      "how long the agent goes on when its client has left; 0: not at all")   \
    X(session_timeout, duration, user, CORRAL_M|CORRAL_P, 0, 31536000000,     \
      "", "1800",                                                             \
      "seconds; handed to MyAgent agents")                                    \
    X(auto_restart, boolean, user, CORRAL_M, 0, 0, "", "true",                \
      "false: the same as restart never")                                     \
    X(restart, enumerate, user, 0, 0, 0, "always on_failure never",           \
      "\"always\"", "when an ended instance is started again")                \
    X(max_restart_count, integer, user, CORRAL_M, 0, 1000, "", "5",           \
      "restarts within restart_window; beyond: failed, crash_loop")           \
    X(restart_window, duration, user, 0, 1000, 86400000, "", "\"10m\"",       \
      "the window of max_restart_count")                                      \
    X(restart_delay, duration, user, 0, 0, 3600000, "", "\"1s\"",             \
      "first delay; doubles with each restart, plus up to a quarter")         \
    X(restart_max_delay, duration, user, 0, 0, 86400000, "", "\"60s\"",       \
      "the longest delay, also between tries in a crash loop")                \
    X(stable_after, duration, user, 0, 0, 86400000, "", "\"60s\"",            \
      "ready for so long: delays and counts begin anew")                      \
    X(stop_signal, enumerate, user, 0, 0, 0,                                  \
      "TERM INT QUIT HUP USR1 USR2 KILL", "\"TERM\"",                         \
      "the first signal to an instance that is to end")                       \
    X(stop_timeout, duration, user, 0, 0, 3600000, "", "\"10s\"",             \
      "from that signal to the kill of the whole group")                      \
    X(drain_timeout, duration, user, CORRAL_G, 0, 86400000, "", "\"30s\"",    \
      "for open connections to end before the signal")                        \
    X(failover, enumerate, user, CORRAL_G, 0, 0,                              \
      "close reattach replay", "\"close\"",                                   \
      "what becomes of a WebSocket whose instance is lost: it is "            \
      "closed, or goes on with another one, without or with "                 \
      "unanswered messages")                                                  \
    X(hold_time, duration, user, CORRAL_G, 100, 600000, "", "\"10s\"",        \
      "until such a WebSocket must have a new instance; beyond: 1012")        \
    X(hold_size, integer, user, CORRAL_G, 1024, 1048576, "", "65536",         \
      "with failover: bytes of a WebSocket message that passes whole "        \
      "or not at all; longer ones stream")                                    \
    X(journal_size, integer, user, CORRAL_G, 1024, 16777216, "", "65536",     \
      "bytes of unanswered messages kept for one WebSocket")                  \
    X(answer, enumerate, user, CORRAL_G, 0, 0,                                \
      "none jsonrpc events pointers", "\"none\"",                             \
      "how answers are told: JSON-RPC ids, names of events, JSON "            \
      "pointers")                                                             \
    X(answer_id, string, user, CORRAL_G, 0, 256, "", "\"\"",                  \
      "pointer to the correlation in a message of the client: events, "       \
      "pointers")                                                             \
    X(answer_reply_id, string, user, CORRAL_G, 0, 256, "", "\"\"",            \
      "the same in a message of the agent; default: answer_id")               \
    X(answer_name, string, user, CORRAL_G, 0, 256, "", "\"\"",                \
      "pointer to the name of an event, in both directions; events: "         \
      "required")                                                             \
    X(answer_requests, strings, user, CORRAL_G, 0, 32, "", "[]",              \
      "events: names from the client that ask for an answer")                 \
    X(answer_streams, strings, user, CORRAL_G, 0, 32, "", "[]",               \
      "events: names from the agent after which more of the answer "          \
      "follows")                                                              \
    X(answer_finals, strings, user, CORRAL_G, 0, 32, "", "[]",                \
      "names from the agent that end an answer, or values of "                \
      "answer_final")                                                         \
    X(answer_final, string, user, CORRAL_G, 0, 256, "", "\"\"",               \
      "jsonrpc, pointers: pointer in an answer; final if it holds one "       \
      "of answer_finals; default: each answer is final")                      \
    X(preamble_messages, integer, user, CORRAL_G, 0, 16, "", "0",             \
      "so many first messages of the client set the session up: "             \
      "replayed each time, their answers are swallowed")                      \
    X(preamble_names, strings, user, CORRAL_G, 0, 32, "", "[]",               \
      "the same by name: events, or methods of jsonrpc")                      \
    X(replay_started, boolean, user, CORRAL_G, 0, 0, "", "false",             \
      "replay also requests whose answer had begun, after the reset "         \
      "message")                                                              \
    X(reset, string, user, CORRAL_G, 0, 1024, "", "\"\"",                     \
      "text message to the client before such an answer begins anew")         \
    X(rebalance, enumerate, user, CORRAL_G, 0, 0, "off reattach close",       \
      "\"off\"",                                                              \
      "how WebSockets leave instances that hold more than their share: not, " \
      "only if they go on with another one (failover), or closed with 1012")  \
    X(rebalance_rate, integer, user, CORRAL_G, 1, 100000, "", "10",           \
      "of them a second, of all gateways together")                           \
    X(rebalance_tolerance, integer, user, CORRAL_G, 0, 100, "", "10",         \
      "percent of its share that an instance may be off, one WebSocket at "   \
      "least")                                                                \
    X(rebalance_idle, duration, user, CORRAL_G, 0, 3600000, "", "\"1s\"",      \
      "without a message for so long, and not waiting for an answer as far "  \
      "as that is known: it may leave")                                       \
    X(rebalance_sessions, boolean, user, CORRAL_G, 0, 0, "", "false",         \
      "also those that affinity or balance hash has put where they are")      \
    X(drain_rate, integer, user, 0, 0, 100000, "", "100",                     \
      "connections a second that are closed when it is over; 0: at once")     \
    X(startup_probe, probe, user, CORRAL_N, 0, 0, "", "null",                 \
      "until it passes, the others wait; default: the readiness probe")       \
    X(readiness_probe, probe, user, CORRAL_N, 0, 0, "", "null",               \
      "no traffic before it passes; default: TCP or socket connect")          \
    X(liveness_probe, probe, user, CORRAL_N, 0, 0, "", "null",                \
      "when it fails the instance is restarted; default: none")               \
    X(health_check_enabled, boolean, user, CORRAL_M, 0, 0, "", "true",        \
      "false: running is ready, no probes")                                   \
    X(log_max_size, integer, user, 0, 4096, 1073741824, "", "10485760",       \
      "bytes of one log file until it is rotated")                            \
    X(log_files, integer, user, 0, 1, 100, "", "5",                           \
      "rotated files kept per instance")                                      \
    X(delete_at, time, system, CORRAL_N, 0, 0, "", "null",                    \
      "when deletion was asked for: it goes with its last instance")          \
    X(created_at, time, system, CORRAL_M|CORRAL_F, 0, 0, "", "",              \
      "when the service was created")                                         \
    X(updated_at, time, system, CORRAL_M, 0, 0, "", "",                       \
      "when a field last changed")


#define CORRAL_PROBE_FIELDS(X)                                                \
    X(type, enumerate, user, CORRAL_R, 0, 0,                                  \
      "websocket http tcp exec agent_check none", "",                         \
      "how the instance is asked")                                            \
    X(path, string, user, 0, 0, 1024, "", "\"/\"",                            \
      "of http, websocket and, without port, agent_check probes")             \
    X(port, integer, user, 0, 0, 65535, "", "0",                              \
      "of agent_check: a port of the instance's host that answers with a "    \
      "line; 0: the body of an HTTP answer is the line")                      \
    X(command, strings, user, 0, 0, 256, "", "[]",                            \
      "of exec probes; exit code 0 passes")                                   \
    X(interval, duration, user, 0, 100, 86400000, "", "\"10s\"",              \
      "between the starts of two probes; a tenth of jitter is added")         \
    X(timeout, duration, user, 0, 10, 600000, "", "\"5s\"",                   \
      "for one probe")                                                        \
    X(initial_delay, duration, user, 0, 0, 3600000, "", "\"0s\"",             \
      "after the start of the process")                                       \
    X(success_threshold, integer, user, 0, 1, 100, "", "1",                   \
      "passes in a row to be healthy")                                        \
    X(failure_threshold, integer, user, 0, 1, 1000, "", "3",                  \
      "failures in a row to be unhealthy")


#define CORRAL_INSTANCE_FIELDS(X)                                             \
    X(instance_id, name, system, CORRAL_G|CORRAL_F, 1, 64, "", "",            \
      "service name, a dot and a short random part, or chosen by an external" \
      " instance")                                                            \
    X(service_id, name, system, CORRAL_G|CORRAL_F, 1, 64, "", "",             \
      "the service it belongs to")                                            \
    X(incarnation, integer, node, CORRAL_G, 1, 4294967295, "", "1",           \
      "raised with each start of the process: counters belong to it")         \
    X(managed, boolean, system, CORRAL_F, 0, 0, "", "true",                   \
      "false: external, registered itself, not run by corrald")               \
    X(node, name, node, CORRAL_G, 1, 64, "", "",                              \
      "the node whose corrald runs it or took its registration")              \
    X(generation, integer, node, 0, 0, 2147483647, "", "0",                   \
      "generation of the service it was started for")                         \
    X(address, string, node, CORRAL_G, 0, 200, "", "\"\"",                    \
      "unix:/path, 1.2.3.4:port or [::1]:port; names are resolved before")    \
    X(weight, integer, user, CORRAL_G, 0, 1000, "", "100",                    \
      "share of the traffic; 0: none new")                                    \
    X(priority, integer, user, CORRAL_G, 0, 100, "", "0",                     \
      "0 is used first; the next one for what those before cannot take")      \
    X(state, enumerate, node, CORRAL_G, 0, 0,                                 \
      "pending starting running paused draining stopping stopped failed",     \
      "\"pending\"", "see CORRAL_STATE_CHANGES")                              \
    X(health, enumerate, node, CORRAL_G, 0, 0,                                \
      "healthy degraded unhealthy unknown", "\"unknown\"",                    \
      "of a running or paused instance")                                      \
    X(reason, enumerate, node, 0, 0, 0, "CORRAL_REASONS", "\"\"",             \
      "why the state or the health is what it is")                            \
    X(message, string, node, 0, 0, 1024, "", "\"\"",                          \
      "the reason as a sentence, with values")                                \
    X(maintenance, boolean, user, 0, 0, 0, "", "false",                       \
      "paused by its operator, whatever the service wants")                   \
    X(restart_at, time, user, CORRAL_N, 0, 0, "", "null",                     \
      "a process started before this is replaced: restart of one instance")   \
    X(evict, boolean, user, 0, 0, 0, "", "false",                             \
      "to be drained, stopped and removed; another comes if one is wanted")   \
    X(ttl, duration, user, 0, 1000, 86400000, "", "\"30s\"",                  \
      "of an external instance: unknown after it without a heartbeat")        \
    X(pid, integer, node, CORRAL_N, 1, 4194304, "", "null",                   \
      "process of the agent")                                                 \
    X(start_time, integer, node, CORRAL_N, 0, 9223372036854775807, "",        \
      "null", "clock ticks after boot, field 22 of /proc/PID/stat")           \
    X(boot_id, string, node, 0, 0, 64, "", "\"\"",                            \
      "of the kernel the process runs under")                                 \
    X(nonce, string, node, 0, 0, 64, "", "\"\"",                              \
      "random, given to the shim: the last part of the identity")             \
    X(restart_count, integer, node, CORRAL_M, 0, 2147483647, "", "0",         \
      "starts after the first")                                               \
    X(retry_at, time, node, CORRAL_N, 0, 0, "", "null",                       \
      "next start of a failed instance")                                      \
    X(exit_code, integer, node, CORRAL_N, 0, 255, "", "null",                 \
      "of the last process that ended by itself")                             \
    X(exit_signal, integer, node, CORRAL_N, 1, 64, "", "null",                \
      "that ended the last process")                                          \
    X(oom, boolean, node, 0, 0, 0, "", "false",                               \
      "the kernel killed the last process for want of memory")                \
    X(created_at, time, system, CORRAL_F, 0, 0, "", "", "when registered")    \
    X(started_at, time, node, CORRAL_N, 0, 0, "", "null",                     \
      "start of the current process")                                         \
    X(ready_at, time, node, CORRAL_N, 0, 0, "", "null",                       \
      "when the current process first became ready")                          \
    X(state_at, time, node, 0, 0, 0, "", "", "when the state last changed")


/*
 * Rules: which service a request is for.  The first one by priority and name
 * whose conditions all hold decides; see docs/routing.md.
 */

#define CORRAL_RULE_FIELDS(X)                                                 \
    X(rule_id, name, system, CORRAL_G|CORRAL_M|CORRAL_F, 1, 64, "", "",       \
      "identifier, a UUID unless restored")                                   \
    X(name, string, user, CORRAL_R|CORRAL_G|CORRAL_M, 1, 128, "", "",         \
      "unique name, for people and logs; also orders rules of one priority")  \
    X(description, string, user, CORRAL_M, 0, 1024, "", "\"\"",               \
      "for people")                                                           \
    X(priority, integer, user, CORRAL_G|CORRAL_M, -1000000, 1000000, "",      \
      "100", "lower comes first; then the name, byte by byte")                \
    X(enabled, boolean, user, CORRAL_G|CORRAL_M, 0, 0, "", "true",            \
      "false: as if it were not there")                                       \
    X(conditions, conditions, user, CORRAL_G|CORRAL_M, 0, 32, "", "[]",       \
      "all must hold; none: every request")                                   \
    X(target_services, strings, user, CORRAL_G|CORRAL_M, 0, 256, "", "[]",    \
      "names or ids of services")                                             \
    X(target_tags, strings, user, CORRAL_G|CORRAL_M, 0, 32, "", "[]",         \
      "if no services are named: those with any of these tags; neither: all") \
    X(target_strategy, enumerate, user, CORRAL_G|CORRAL_M, 0, 0,              \
      "round_robin random weighted_random least_connections hash_based "      \
      "manual tag_based", "\"round_robin\"",                                  \
      "how one of the services is chosen that have a ready instance")         \
    X(hash_key, string, user, CORRAL_G, 0, 128, "", "\"client_ip\"",          \
      "of hash_based: client_ip, session, subject, claim.NAME, header.NAME, " \
      "query.NAME or cookie.NAME; of several with blanks between the first "  \
      "that the request has")                                                 \
    X(force_by, string, user, CORRAL_G, 0, 128, "", "\"\"",                   \
      "header.NAME, query.NAME, cookie.NAME or claim.NAME, or several with "  \
      "blanks between: a request whose first value there names one of "       \
      "target_services gets that one, if it is ready")                        \
    X(weights, weights, user, CORRAL_G, 0, 1000, "", "{}",                    \
      "name of a service to its share; 0: only if no other is ready")         \
    X(weight, integer, user, CORRAL_G|CORRAL_M, 0, 1000, "", "1",             \
      "share of the services that weights does not name")                     \
    X(fallback_service, string, user, CORRAL_G, 0, 64, "", "\"\"",            \
      "name or id of the service if no target has a ready instance")          \
    X(created_at, time, system, CORRAL_M|CORRAL_F, 0, 0, "", "",              \
      "when the rule was created")                                            \
    X(updated_at, time, system, CORRAL_M, 0, 0, "", "",                       \
      "when a field last changed")


#define CORRAL_CONDITION_FIELDS(X)                                            \
    X(field, string, user, CORRAL_R|CORRAL_G, 1, 128, "", "",                 \
      "one of CORRAL_MATCH_FIELDS, or of CORRAL_MATCH_PREFIXES with .NAME")   \
    X(operator, enumerate, user, CORRAL_R|CORRAL_G, 0, 0,                     \
      "CORRAL_OPERATORS", "", "how the field is compared")                    \
    X(value, string, user, CORRAL_G, 0, 4096, "", "\"\"",                     \
      "what it is compared with; of lists: words with commas between")        \
    X(values, strings, user, CORRAL_G, 0, 1000, "", "[]",                     \
      "the words of a list, instead of value")                                \
    X(case_sensitive, boolean, user, CORRAL_G, 0, 0, "", "false",             \
      "true: A is not a")


/*
 * Operators of conditions.  A field may have several values: an operator holds
 * if it does for one of them, one that begins with "not" if its opposite does
 * for none, thus also for a field that is not there.  X(word, text)
 */

#define CORRAL_OPERATORS(X)                                                   \
    X(equals,           "the field is value")                                 \
    X(not_equals,       "not equals")                                         \
    X(contains,         "value is a part of the field")                       \
    X(not_contains,     "not contains")                                       \
    X(starts_with,      "the field begins with value")                        \
    X(ends_with,        "the field ends with value")                          \
    X(regex_match,      "the PCRE2 pattern value is found in the field")      \
    X(in_list,          "the field is one of the words")                      \
    X(not_in_list,      "not in_list")                                        \
    X(ip_in_range,      "the field is an address within one of the CIDRs")    \
    X(exists,           "the request has the field; value false: has it not") \
    X(greater_than,     "the field is a number > value")                      \
    X(greater_or_equal, "the field is a number >= value")                     \
    X(less_than,        "the field is a number < value")                      \
    X(less_or_equal,    "the field is a number <= value")

/*
 * Fields of conditions.  Each has a place of its own: no argument passes for a
 * header, none of both for what nginx knows itself.  X(word, text)
 */

#define CORRAL_MATCH_FIELDS(X)                                                \
    X(path,        "decoded path of the request, with a prefix")              \
    X(host,        "of the request, in lower case, without port")             \
    X(method,      "GET, POST ...")                                           \
    X(client_ip,   "address of the client")                                   \
    X(client_port, "port of the client")                                      \
    X(user_agent,  "the header User-Agent")                                   \
    X(subprotocol, "each word that the client offers")                        \
    X(tenant,      "who it is, see corral_tenant")                            \
    X(service,     "what the other places of corral_service_from name")

#define CORRAL_MATCH_PREFIXES(X)                                              \
    X(header,  "header.NAME: each header of the request with that name")      \
    X(query,   "query.NAME: each argument with that name, decoded")           \
    X(cookie,  "cookie.NAME: that cookie")                                    \
    X(claim,   "claim.NAME: of the client's token, see corral_claim")         \
    X(request, "request.NAME: header.NAME, or without one query.NAME")


/*
 * States of an instance and their legal changes.  X(state, text),
 * X(from, to, text).  An instance begins as pending and is removed from
 * stopped or failed.
 */

#define CORRAL_INSTANCE_STATES(X)                                             \
    X(pending,  "wanted, waits for a place, a port or its backoff")           \
    X(starting, "process runs or is being made, not yet ready")               \
    X(running,  "ready for traffic as far as its health allows")              \
    X(paused,   "out of routing by request, process untouched")               \
    X(draining, "takes no new connection, open ones go on")                   \
    X(stopping, "signalled, waits for its end")                               \
    X(stopped,  "ended as wanted")                                            \
    X(failed,   "ended or never got ready; retry_at says when it is tried")

#define CORRAL_STATE_CHANGES(X)                                               \
    X(pending,  starting, "the process is started")                           \
    X(pending,  stopped,  "no longer wanted before it began")                 \
    X(pending,  failed,   "cannot be started")                                \
    X(pending,  running,  "an external instance registers")                   \
    X(starting, running,  "ready")                                            \
    X(starting, stopping, "no longer wanted")                                 \
    X(starting, failed,   "ended or not ready in time")                       \
    X(running,  paused,   "pause requested")                                  \
    X(running,  draining, "no longer wanted, connections are open")           \
    X(running,  stopping, "no longer wanted")                                 \
    X(running,  stopped,  "an external instance leaves")                      \
    X(running,  failed,   "ended, or liveness lost")                          \
    X(paused,   running,  "resume requested")                                 \
    X(paused,   draining, "no longer wanted, connections are open")           \
    X(paused,   stopping, "no longer wanted")                                 \
    X(paused,   stopped,  "an external instance leaves")                      \
    X(paused,   failed,   "ended, or liveness lost")                          \
    X(draining, stopping, "drained, or the deadline has come")                \
    X(draining, running,  "wanted again")                                     \
    X(draining, stopped,  "an external instance leaves")                      \
    X(draining, failed,   "ended by itself")                                  \
    X(stopping, stopped,  "ended")                                            \
    X(stopping, failed,   "the node was lost meanwhile")                      \
    X(stopped,  pending,  "wanted again")                                     \
    X(stopped,  running,  "an external instance comes back")                  \
    X(failed,   pending,  "tried again")                                      \
    X(failed,   running,  "an external instance comes back")                  \
    X(failed,   stopped,  "no longer wanted")


/* Status of a service, derived from its instances.  First match wins. */

#define CORRAL_SERVICE_STATUS(X)                                              \
    X(stopping,  "stopped is wanted, an instance still lives")                \
    X(stopped,   "stopped is wanted and nothing lives")                       \
    X(running,   "at least one instance is running and not unhealthy")        \
    X(unhealthy, "an instance is running, none is healthy")                   \
    X(error,     "an instance is failed, none is running or starting")        \
    X(starting,  "running is wanted, nothing runs yet")


/* Why a state or a health is what it is.  X(code, text) */

#define CORRAL_REASONS(X)                                                     \
    X(created,          "the instance was created")                           \
    X(requested,        "an operator or the API asked for it")                \
    X(scaled_up,        "more replicas are wanted")                           \
    X(scaled_down,      "fewer replicas are wanted")                          \
    X(replaced,         "the service changed, a newer instance takes over")   \
    X(backoff,          "waits before the next start")                        \
    X(spawned,          "the process was started")                            \
    X(spawn_failed,     "the process could not be started")                   \
    X(command_refused,  "the command is outside command_roots or users")      \
    X(mac_mismatch,     "the document does not carry corrald's HMAC")         \
    X(port_conflict,    "the port is held by somebody else")                  \
    X(ports_exhausted,  "no port of the range is free")                       \
    X(secret_missing,   "a secret or env file cannot be read")                \
    X(probe_passed,     "the probe passed")                                   \
    X(probe_failed,     "the probe failed")                                   \
    X(startup_timeout,  "not ready within the startup probe")                 \
    X(liveness_failed,  "the liveness probe failed")                          \
    X(no_probe,         "probes are off: running is ready")                   \
    X(drained,          "no connection was left")                             \
    X(drain_timeout,    "the drain deadline came first")                      \
    X(exited,           "the process ended")                                  \
    X(killed,           "the process was killed by a signal")                 \
    X(out_of_memory,    "the kernel killed it for want of memory")            \
    X(stop_timeout,     "it ignored the stop signal and was killed")          \
    X(crash_loop,       "too many restarts within the window")                \
    X(shim_lost,        "its shim ended: the agent went with it")             \
    X(adopted,          "found alive after a restart of corrald")             \
    X(vanished,         "not found after a restart of corrald")               \
    X(node_lost,        "its node's lease ended")                             \
    X(ttl_expired,      "no heartbeat within the ttl")                        \
    X(heartbeat,        "the instance said so itself")                        \
    X(maintenance,      "its operator took it out")


/* Entries of the streams and hashes that are not documents.  X(name, text) */

#define CORRAL_CHANGE_FIELDS(X)                                               \
    X(kind,     "service, instance or rule")                                  \
    X(id,       "service_id, instance_id or rule_id")                         \
    X(revision, "of the commit that made the change")

#define CORRAL_WORKER_FIELDS(X)                                               \
    X(worker,      "gateway:pid:start time")                                  \
    X(gateway,     "name of the gateway, see corral_gateway")                 \
    X(node,        "name of the node, see corral_node")                       \
    X(zone,        "nonce of the shared zone the worker counts in")           \
    X(pid,         "process id")                                              \
    X(start_time,  "clock ticks after boot")                                  \
    X(state,       "serving or exiting")                                      \
    X(epoch,       "of the registry it serves from")                          \
    X(revision,    "of the registry it serves from")                          \
    X(services,    "number of services it knows")                             \
    X(instances,   "number of instances it knows")                            \
    X(connections, "WebSockets it relays")                                    \
    X(suspects,    "messages that saw two instances die, so far")             \
    X(suspect_service_id, "of the last of them, or empty")                    \
    X(version,     "of Corral")

#define CORRAL_CONNECTION_FIELDS(X)                                           \
    X(connection_id,     "16 hexadecimal digits, unique in the cluster")      \
    X(worker,            "the worker that relays it")                         \
    X(gateway,           "the gateway of that worker")                        \
    X(target_service_id, "service_id")                                        \
    X(service,           "name of the service")                               \
    X(instance_id,       "the instance it is connected to")                   \
    X(session_id,        "session named by the client, or null")              \
    X(tenant,            "whose it is, or null")                              \
    X(subject,           "who it is, or null")                                \
    X(client_ip,         "address of the client")                             \
    X(client_port,       "port of the client")                                \
    X(user_agent,        "at most 200 bytes of it")                           \
    X(path,              "at most 200 bytes of the request's path")           \
    X(routing_strategy,  "how the instance was chosen")                       \
    X(status,            "active or closing")                                 \
    X(connected_at,      "RFC 3339")                                          \
    X(last_activity,     "RFC 3339, of the last data frame")                  \
    X(expires_at,        "RFC 3339, end of the client's token, or null")      \
    X(messages_in,       "from the client")                                   \
    X(messages_out,      "to the client")                                     \
    X(bytes_received,    "payload and framing from the client")               \
    X(bytes_sent,        "to the client")                                     \
    X(message_count,     "messages_in plus messages_out")                     \
    X(resumed,           "times it went on with another instance")

#define CORRAL_WAKE_FIELDS(X)                                                 \
    X(worker,     "gateway:pid:start time")                                   \
    X(service_id, "what is waited for")                                       \
    X(waiting,    "requests that wait in this worker; 0: none any more")

#define CORRAL_COMMAND_FIELDS(X)                                              \
    X(id,     "of the command; answers go to its key")                        \
    X(op,     "close; drain: close at a pace; renew: another expires; "       \
              "rebalance: one pass for the service of the filter")            \
    X(filter, "JSON object of filter fields: all must match; {}: every one")  \
    X(code,   "close code: 1000, 1001, 1008, 1011, 1012, 1013, 3000-4999")    \
    X(reason, "at most 123 bytes of UTF-8")                                   \
    X(dry_run, "1: only count")                                               \
    X(rate,   "of drain: connections a second, of all workers together")      \
    X(total,  "of drain: connections of all workers; 0: not known")           \
    X(deadline, "of drain: ms from now, then the rest is closed")             \
    X(retry_after, "of drain: seconds; each reason tells up to so many")      \
    X(expires, "of renew: unix time of the end of the client's token")

/* By which connections are chosen, listed and closed; each is a string. */

#define CORRAL_FILTER_FIELDS(X)                                               \
    X(connection_id, "16 hexadecimal digits")                                 \
    X(worker,        "the worker that relays it")                             \
    X(gateway,       "the gateway of that worker")                            \
    X(service_id,    "its service")                                           \
    X(instance_id,   "the instance it is connected to")                       \
    X(session_id,    "session named by the client")                           \
    X(tenant,        "whose it is")                                           \
    X(subject,       "who it is")                                             \
    X(client_ip,     "address of the client")                                 \
    X(age,           "a duration: it is open for so long, or longer")         \
    X(idle,          "a duration: without a data frame for so long, or "      \
                     "longer")

/* What can be revoked: connections that have this. */

#define CORRAL_REVOCATION_KINDS(X)                                            \
    X(token,   "id of the client's token, see corral_token_id")               \
    X(subject, "who it is")                                                   \
    X(session, "session named by the client")

#define CORRAL_ANSWER_FIELDS(X)                                               \
    X(worker,  "who answers")                                                 \
    X(matched, "connections that the filter matched, or that were renewed; "  \
               "of rebalance: are to go, told by one worker of a gateway")    \
    X(closed,  "connections that were ended; of rebalance: that could go")    \
    X(sent,    "of these, how many got the close frame")                      \
    X(error,   "why the command was not carried out; absent if it was")

#define CORRAL_NODE_FIELDS(X)                                                 \
    X(node,       "its name")                                                 \
    X(epoch,      "raised with each start of its corrald: fences its writes") \
    X(pid,        "of corrald")                                               \
    X(address,    "of its API")                                               \
    X(version,    "of Corral")                                                \
    X(started_at, "RFC 3339")                                                 \
    X(revision,   "of the registry it has seen")                              \
    X(instances,  "instances it runs")


/* Types of events.  X(type, text) */

#define CORRAL_EVENTS(X)                                                      \
    X(service_created,  "a service was created")                              \
    X(service_updated,  "fields of a service changed")                        \
    X(service_deleted,  "a service was deleted")                              \
    X(service_status,   "the derived status of a service changed")            \
    X(service_waiting,  "requests wait for an instance of a service")         \
    X(instance_created, "an instance was created or registered")              \
    X(instance_state,   "the state of an instance changed")                   \
    X(instance_health,  "the health of an instance changed")                  \
    X(instance_removed, "an instance was removed")                            \
    X(rule_created,     "a rule was created")                                 \
    X(rule_updated,     "fields of a rule changed")                           \
    X(rule_deleted,     "a rule was deleted")                                 \
    X(connections_closed, "connections were closed by request")               \
    X(rebalance,        "connections are to go elsewhere, by request")        \
    X(revoked,          "a token, a subject or a session was revoked")        \
    X(unrevoked,        "it is revoked no longer, before its time")           \
    X(message_suspect,  "a message was in flight when two instances died")    \
    X(node_up,          "a node's lease began")                               \
    X(node_lost,        "a node's lease ended")                               \
    X(gateway_up,       "a worker appeared")                                  \
    X(gateway_gone,     "a worker's lease ended")                             \
    X(store_lost,       "Redis cannot be reached")                            \
    X(store_back,       "Redis can be reached again")                         \
    X(store_restored,   "an emptied Redis was filled from the snapshot")


#endif /* _CORRAL_SCHEMA_H_INCLUDED_ */
