/* links: controlplane/engine/prober.c controlplane/engine/answer.c */
/* links: controlplane/engine/address.c controlplane/base/loop.c */
/* links: controlplane/base/log.c controlplane/base/buf.c */
/* links: controlplane/base/clock.c controlplane/base/crypt.c */
/* links: controlplane/base/wire.c ngx_module/corral_report.c */
/* links: -luv -lmicrohttpd -lcrypto */

/*
 * Probes against servers that answer, answer wrongly, are silent, close or
 * talk without end; and commands that pass, fail, hang and leave children.
 * The path of a request says what the server does.
 */


#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <uv.h>

#include "../../controlplane/base/clock.h"
#include "../../controlplane/base/loop.h"
#include "../../controlplane/base/wire.h"
#include "../../controlplane/engine/prober.h"

#include "unit.h"


typedef struct {
    uv_tcp_t    tcp;
    uv_write_t  write;
    char        in[4096];
    size_t      len;
    char        out[4096];
    int         upgraded;
} prober_conn_t;

typedef struct {
    int                      called;
    corrald_prober_result_t  result;
    corrald_prober_t        *prober;
} prober_seen_t;


static uv_tcp_t  prober_server;
static char      prober_address[64];
static char      prober_shim[4200];
static size_t    prober_written;


static void
prober_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    prober_conn_t  *c = (prober_conn_t *) handle;

    *buf = uv_buf_init(c->in + c->len, sizeof(c->in) - 1 - c->len);
}


static void
prober_closed(uv_handle_t *handle)
{
    free(handle);
}


static void
prober_say(prober_conn_t *c, const char *text, size_t len)
{
    uv_buf_t  buf;

    memcpy(c->out, text, len);
    buf = uv_buf_init(c->out, (unsigned) len);
    (void) uv_try_write((uv_stream_t *) c, &buf, 1);
}


static void
prober_more(uv_write_t *req, int status)
{
    static char      zeros[65536];
    uv_buf_t         buf;
    prober_conn_t   *c = req->data;

    if (status != 0) {
        return;
    }

    /* binary frames of 65,526 bytes without end */

    memcpy(zeros, "\x82\x7f\0\0\0\0\0\0\xff\xf6", 10);
    prober_written += sizeof(zeros);
    buf = uv_buf_init(zeros, sizeof(zeros));
    (void) uv_write(req, (uv_stream_t *) c, &buf, 1, prober_more);
}


static void
prober_handshake(prober_conn_t *c, const char *path)
{
    char           both[128], accept[64], text[512], *key;
    unsigned char  md[20];

    key = strstr(c->in, "Sec-WebSocket-Key: ");

    if (key == NULL) {
        prober_say(c, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        return;
    }

    snprintf(both, sizeof(both), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
             key + 19);
    SHA1((unsigned char *) both, strlen(both), md);
    EVP_EncodeBlock((unsigned char *) accept, md, 20);

    if (strcmp(path, "/ws/accept") == 0) {
        accept[0] ^= 1;
    }

    snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\n"
             "Upgrade: websocket\r\nConnection: Upgrade\r\n"
             "sec-websocket-accept:  %s \r\n\r\n%s", accept,
             strcmp(path, "/ws/greet") == 0 ? "\x81\x05hello" : "");
    prober_say(c, text, strlen(text));

    c->upgraded = 1;
    c->len = 0;

    if (strcmp(path, "/ws/flood") == 0) {
        c->write.data = c;
        prober_more(&c->write, 0);
    }
}


static void
prober_serve(prober_conn_t *c)
{
    char         path[128];
    const char  *say;

    static char  last[128];

    c->in[c->len] = '\0';

    if (c->upgraded) {

        if (c->len >= 14 && strcmp(last, "/ws/silent") != 0
            && strcmp(last, "/ws/flood") != 0)
        {
            char  pong[16], i;

            pong[0] = (char) 0x8a;
            pong[1] = 8;

            for (i = 0; i < 8; i++) {
                pong[2 + i] = c->in[6 + i] ^ c->in[2 + i % 4];
            }

            if (strcmp(last, "/ws/other") == 0) {
                pong[5] ^= 1;
            }

            if (strcmp(last, "/ws/close") == 0) {
                memcpy(pong, "\x88\x02\x03\xf3", 4);
                prober_say(c, pong, 4);
            } else {
                prober_say(c, pong, 10);
            }

            c->len = 0;
        }

        return;
    }

    if (strstr(c->in, "\r\n\r\n") == NULL
        || sscanf(c->in, "GET %127s ", path) != 1)
    {
        return;
    }

    if (strncmp(path, "/ws", 3) == 0) {
        snprintf(last, sizeof(last), "%s", path);
        prober_handshake(c, path);
        return;
    }

    say = strcmp(path, "/200") == 0 ? "HTTP/1.1 200 OK\r\n\r\n"
        : strcmp(path, "/302") == 0 ? "HTTP/1.0 302 Found\r\n\r\n"
        : strcmp(path, "/500") == 0 ? "HTTP/1.1 500 Oops\r\n\r\n"
        : strcmp(path, "/agent") == 0
          ? "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n75% maxconn:3\r\nmore"
        : strcmp(path, "/agent/end") == 0
          ? "HTTP/1.0 200 OK\r\n\r\ndrain"
        : strcmp(path, "/agent/down") == 0
          ? "HTTP/1.0 200 OK\r\n\r\ndown #disk\n"
        : strcmp(path, "/agent/word") == 0
          ? "HTTP/1.0 200 OK\r\n\r\n50% quick\n"
        : strcmp(path, "/torn") == 0 ? "HTTP/1.1"
        : strcmp(path, "/garbage") == 0 ? "SSH-2.0-OpenSSH\r\n"
        : "";

    prober_say(c, say, strlen(say));
    c->len = 0;

    if (strcmp(path, "/closed") == 0 || strcmp(path, "/torn") == 0
        || strcmp(path, "/agent/end") == 0)
    {
        uv_close((uv_handle_t *) c, prober_closed);
    }
}


static void
prober_heard(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    prober_conn_t  *c = (prober_conn_t *) stream;

    if (n < 0) {
        if (!uv_is_closing((uv_handle_t *) c)) {
            uv_close((uv_handle_t *) c, prober_closed);
        }
        return;
    }

    c->len += (size_t) n;
    prober_serve(c);
}


static void
prober_accept(uv_stream_t *server, int status)
{
    prober_conn_t  *c = calloc(1, sizeof(*c));

    uv_tcp_init(corrald_loop_uv(), &c->tcp);

    if (uv_accept(server, (uv_stream_t *) c) == 0) {
        uv_read_start((uv_stream_t *) c, prober_alloc, prober_heard);
    }
}


static void
prober_done(const corrald_prober_result_t *result, void *data)
{
    prober_seen_t  *seen = data;

    seen->called++;
    seen->result = *result;
    seen->prober = NULL;
}


static prober_seen_t
prober_ask(corrald_prober_type_e type, const char *address, const char *path,
    int64_t timeout)
{
    int64_t                end;
    prober_seen_t          seen;
    corrald_prober_ask_t   ask;

    memset(&seen, 0, sizeof(seen));
    memset(&ask, 0, sizeof(ask));
    ask.type = type;
    ask.address = address;
    ask.path = path;
    ask.timeout = timeout;

    seen.prober = corrald_prober_start(&ask, prober_done, &seen);

    if (seen.called) {
        ok(0, "the handler is never called before the start returns");
    }

    end = corrald_clock_monotonic() + timeout + 3000;

    while (!seen.called && corrald_clock_monotonic() < end) {
        uv_run(corrald_loop_uv(), UV_RUN_ONCE);
    }

    return seen;
}


static void
prober_is(corrald_prober_type_e type, const char *path, int good,
    const char *message)
{
    char           name[256];
    prober_seen_t  seen;

    seen = prober_ask(type, prober_address, path, 300);

    snprintf(name, sizeof(name), "%s %s: %s", path, good ? "passes" : "fails",
             message);

    if (!ok(seen.called == 1 && seen.result.ok == good
            && strstr(seen.result.message, message) != NULL, name))
    {
        printf("# called %d, ok %d, \"%s\"\n", seen.called, seen.result.ok,
               seen.result.message);
    }
}


static void
prober_exec(int good, const char *message, const char *script)
{
    char                   name[256], *buf;
    int64_t                end;
    prober_seen_t          seen;
    corrald_wire_t         w;
    corrald_prober_ask_t   ask;

    buf = malloc(4096);

    corrald_wire_begin(&w, buf, 4096, '\0');
    corrald_wire_add(&w, "mode", "probe");
    corrald_wire_add(&w, "cwd", "/");
    corrald_wire_num(&w, "timeout", 300);
    corrald_wire_add(&w, "arg", "sh");
    corrald_wire_add(&w, "arg", "-c");
    corrald_wire_add(&w, "arg", script);
    corrald_wire_add(&w, "env", "PATH=/usr/bin:/bin");
    corrald_wire_num(&w, "end", 1);

    memset(&seen, 0, sizeof(seen));
    memset(&ask, 0, sizeof(ask));
    ask.type = CORRALD_PROBER_EXEC;
    ask.timeout = 300;
    ask.shim = prober_shim;
    ask.description = buf;
    ask.len = w.len;

    seen.prober = corrald_prober_start(&ask, prober_done, &seen);
    end = corrald_clock_monotonic() + 5000;

    while (!seen.called && corrald_clock_monotonic() < end) {
        uv_run(corrald_loop_uv(), UV_RUN_ONCE);
    }

    snprintf(name, sizeof(name), "exec \"%.60s\" %s", script,
             good ? "passes" : "fails");

    if (!ok(seen.called == 1 && seen.result.ok == good
            && strstr(seen.result.message, message) != NULL, name))
    {
        printf("# called %d, ok %d, \"%s\"\n", seen.called, seen.result.ok,
               seen.result.message);
    }
}


static void
prober_test_exec(void)
{
    const char  *build;

    build = getenv("CORRAL_BUILD");
    snprintf(prober_shim, sizeof(prober_shim), "%s/corral-shim",
             build ? build : "build/release");

    if (access(prober_shim, X_OK) != 0) {
        ok(1, "corral-shim is missing # SKIP");
        return;
    }

    prober_exec(1, "exit code 0", "exit 0");
    prober_exec(0, "exit code 3: not yet", "echo not yet; echo x; exit 3");
    prober_exec(0, "exit code 1: from stderr", "echo from stderr >&2; exit 1");
    prober_exec(0, "longer than 300 ms", "sleep 100");
    prober_exec(0, "longer than 300 ms", "trap '' TERM; while :; do :; done");
    prober_exec(1, "exit code 0", "sleep 100 & exit 0");
    prober_exec(1, "exit code 0", "head -c 1000000 /dev/zero; exit 0");
}


int
main(void)
{
    int                  len;
    int64_t              t0;
    char                 nobody[64];
    struct sockaddr_in   addr;
    prober_seen_t        seen;
    corrald_prober_ask_t ask;

    if (corrald_loop_init() != 0) {
        return 1;
    }

    uv_tcp_init(corrald_loop_uv(), &prober_server);
    uv_ip4_addr("127.0.0.1", 0, &addr);
    uv_tcp_bind(&prober_server, (struct sockaddr *) &addr, 0);
    uv_listen((uv_stream_t *) &prober_server, 16, prober_accept);
    len = sizeof(addr);
    uv_tcp_getsockname(&prober_server, (struct sockaddr *) &addr, &len);
    snprintf(prober_address, sizeof(prober_address), "127.0.0.1:%u",
             ntohs(addr.sin_port));

    prober_is(CORRALD_PROBER_TCP, "/", 1, "connected");

    prober_is(CORRALD_PROBER_HTTP, "/200", 1, "status 200");
    prober_is(CORRALD_PROBER_HTTP, "/302", 1, "status 302");
    prober_is(CORRALD_PROBER_HTTP, "/500", 0, "status 500");
    prober_is(CORRALD_PROBER_HTTP, "/silent", 0, "no answer within 300 ms");
    prober_is(CORRALD_PROBER_HTTP, "/closed", 0, "without an answer");
    prober_is(CORRALD_PROBER_HTTP, "/torn", 0, "within its answer");
    prober_is(CORRALD_PROBER_HTTP, "/garbage", 0, "not HTTP/1.1");

    prober_is(CORRALD_PROBER_AGENT, "/agent", 1, "75% maxconn:3");
    prober_is(CORRALD_PROBER_AGENT, "/agent/end", 1, "drain");
    prober_is(CORRALD_PROBER_AGENT, "/agent/down", 0, "down #disk");
    prober_is(CORRALD_PROBER_AGENT, "/agent/word", 0, "it says \"quick\"");
    prober_is(CORRALD_PROBER_AGENT, "/500", 0, "status 500 instead of 200");
    prober_is(CORRALD_PROBER_AGENT, "/torn", 0, "within its answer");
    prober_is(CORRALD_PROBER_AGENT, "/silent", 0, "no answer within 300 ms");

    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws", 1, "pong");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws/greet", 1, "pong");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws/silent", 0, "no answer within");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws/accept", 0, "Accept is wrong");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws/other", 0, "no answer within");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws/close", 0, "with code 1011");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/ws/flood", 0, "1 MB");
    prober_is(CORRALD_PROBER_WEBSOCKET, "/200", 0, "instead of 101");

    /* nobody there */

    snprintf(nobody, sizeof(nobody), "unix:/tmp/corral-nobody-%d", getpid());
    seen = prober_ask(CORRALD_PROBER_TCP, nobody, "/", 300);
    ok(seen.called == 1 && !seen.result.ok, "no such socket: fails");
    ok(strstr(seen.result.message, "cannot connect: no such file") != NULL,
       seen.result.message);

    seen = prober_ask(CORRALD_PROBER_TCP, "127.0.0.1:1", "/", 300);
    ok(strstr(seen.result.message, "refused") != NULL, seen.result.message);

    seen = prober_ask(CORRALD_PROBER_TCP, "", "/", 300);
    ok(seen.called == 1 && !seen.result.ok, "no address: fails");

    /* a cancelled one does not call, and frees itself */

    memset(&ask, 0, sizeof(ask));
    memset(&seen, 0, sizeof(seen));
    ask.type = CORRALD_PROBER_HTTP;
    ask.address = prober_address;
    ask.path = "/200";
    ask.timeout = 100;
    seen.prober = corrald_prober_start(&ask, prober_done, &seen);
    corrald_prober_cancel(&seen.prober);
    ok(seen.prober == NULL, "cancelled");

    t0 = corrald_clock_monotonic();

    while (corrald_clock_monotonic() - t0 < 200) {
        uv_run(corrald_loop_uv(), UV_RUN_NOWAIT);
        uv_sleep(5);
    }

    is_int(seen.called, 0, "a cancelled probe says nothing");

    prober_test_exec();

    return done_testing();
}
