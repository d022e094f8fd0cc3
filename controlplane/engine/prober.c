/*
 * Asks one instance once: connects, or runs a command through corral-shim, and
 * says within the time-out whether that went well.
 *
 * Everything is asynchronous; any number may run at a time.  Does not know
 * thresholds, intervals or documents.
 *
 * A prober frees itself when its last handle is closed.  The caller's pointer
 * ends with its handler's call, or with corrald_prober_cancel().
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <uv.h>

#include <corral_report.h>

#include "../base/clock.h"
#include "../base/crypt.h"
#include "../base/loop.h"
#include "../base/wire.h"
#include "address.h"
#include "answer.h"
#include "prober.h"


/* ms to end politely: an agent that is cut off within its answer logs it */

#define CORRALD_PROBER_LINGER  500

/* ms that the shim may take longer than its command's time */

#define CORRALD_PROBER_EXTRA   2000

/* bytes of a command's output that are kept */

#define CORRALD_PROBER_OUTPUT  200


struct corrald_prober_s {
    union {
        uv_handle_t           handle;
        uv_stream_t           stream;
        uv_tcp_t              tcp;
        uv_pipe_t             pipe;
    } conn;

    uv_timer_t                timer;
    uv_process_t              process;
    uv_pipe_t                 in;
    uv_pipe_t                 outputs[2];
    uv_connect_t              connect;
    uv_write_t                write;
    uv_write_t                ping;

    unsigned                  has_conn:1;
    unsigned                  has_process:1;
    unsigned                  has_pipes:1;
    unsigned                  exited:1;
    unsigned                  ends:2;        /* of the outputs */
    unsigned                  done:1;        /* handler was called, or never */
    unsigned                  closing:1;
    unsigned                  pinged:1;
    unsigned                  raw:1;         /* it speaks first */
    int                       open;          /* handles to be closed */
    int                       code;          /* of the command */
    int                       signal;

    corrald_prober_type_e     type;
    int64_t                   timeout;
    int64_t                   started;       /* monotonic */
    corrald_prober_pt         handler;
    void                     *data;
    corrald_prober_result_t   result;

    char                     *description;
    size_t                    description_len;
    char                     *request;
    char                      accept[32];
    char                      payload[9];
    char                      frame[16];
    char                      close[8];
    char                      output[CORRALD_PROBER_OUTPUT];
    size_t                    output_len;
    char                      buf[4096];
    corrald_answer_t          answer;
};


static int corrald_prober_connect(corrald_prober_t *p,
    const corrald_prober_ask_t *ask);
static void corrald_prober_elsewhere(corrald_address_t *address,
    uint16_t port);
static int corrald_prober_request(corrald_prober_t *p,
    const corrald_prober_ask_t *ask, const corrald_address_t *address);
static void corrald_prober_connected(uv_connect_t *req, int status);
static void corrald_prober_written(uv_write_t *req, int status);
static void corrald_prober_read(uv_stream_t *stream, ssize_t n,
    const uv_buf_t *buf);
static void corrald_prober_words(corrald_prober_t *p);
static int corrald_prober_ping(corrald_prober_t *p);
static void corrald_prober_frame(char *frame, unsigned opcode,
    const char *payload, size_t len);
static int corrald_prober_exec(corrald_prober_t *p,
    const corrald_prober_ask_t *ask);
static void corrald_prober_described(uv_write_t *req, int status);
static void corrald_prober_output(uv_stream_t *stream, ssize_t n,
    const uv_buf_t *buf);
static void corrald_prober_exited(uv_process_t *process, int64_t code,
    int signal);
static void corrald_prober_ended(corrald_prober_t *p);
static void corrald_prober_alloc(uv_handle_t *handle, size_t size,
    uv_buf_t *buf);
static void corrald_prober_timed(uv_timer_t *timer);
static void corrald_prober_finish(corrald_prober_t *p, int ok,
    const char *text);
static void corrald_prober_close(corrald_prober_t *p);
static void corrald_prober_wipe(corrald_prober_t *p);
static void corrald_prober_closed(uv_handle_t *handle);


corrald_prober_t *
corrald_prober_start(const corrald_prober_ask_t *ask, corrald_prober_pt handler,
    void *data)
{
    int                rc;
    corrald_prober_t  *p;

    p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return NULL;
    }

    p->type = ask->type;
    p->timeout = ask->timeout;
    p->handler = handler;
    p->data = data;
    p->started = corrald_clock_monotonic();
    p->result.at = corrald_clock_ms();

    uv_timer_init(corrald_loop_uv(), &p->timer);
    p->timer.data = p;
    p->open = 1;

    rc = (p->type == CORRALD_PROBER_EXEC) ? corrald_prober_exec(p, ask)
                                          : corrald_prober_connect(p, ask);

    /* what failed at once is told in the next turn, as promised */

    uv_timer_start(&p->timer, corrald_prober_timed,
                   rc == 0 ? (uint64_t) p->timeout : 0, 0);

    return p;
}


/* handler will not be called.  NULL is allowed. */

void
corrald_prober_cancel(corrald_prober_t **prober)
{
    corrald_prober_t  *p;

    p = *prober;
    *prober = NULL;

    if (p == NULL || p->done) {
        return;
    }

    p->done = 1;

    if (p->has_process && !p->exited) {
        (void) uv_process_kill(&p->process, SIGTERM);
        uv_timer_start(&p->timer, corrald_prober_timed, CORRALD_PROBER_EXTRA,
                       0);
        return;
    }

    corrald_prober_close(p);
}


static int
corrald_prober_connect(corrald_prober_t *p, const corrald_prober_ask_t *ask)
{
    int                rc;
    corrald_address_t  address;

    if (corrald_address_parse(ask->address, &address) != 0) {
        (void) snprintf(p->result.message, sizeof(p->result.message),
                        "there is no address to connect to");
        return -1;
    }

    if (ask->port) {
        corrald_prober_elsewhere(&address, ask->port);
        p->raw = (p->type == CORRALD_PROBER_AGENT);
    }

    if (p->raw) {
        corrald_answer_init(&p->answer, CORRALD_ANSWER_LINE, NULL, NULL);

    } else if (p->type != CORRALD_PROBER_TCP
               && corrald_prober_request(p, ask, &address) != 0)
    {
        (void) snprintf(p->result.message, sizeof(p->result.message),
                        "no memory");
        return -1;
    }

    if (address.sa.sa_family == AF_UNIX) {
        rc = uv_pipe_init(corrald_loop_uv(), &p->conn.pipe, 0);

    } else {
        rc = uv_tcp_init(corrald_loop_uv(), &p->conn.tcp);
    }

    if (rc != 0) {
        goto failed;
    }

    p->has_conn = 1;
    p->open++;
    p->conn.handle.data = p;
    p->connect.data = p;

    if (address.sa.sa_family == AF_UNIX) {
        uv_pipe_connect(&p->connect, &p->conn.pipe, address.un.sun_path,
                        corrald_prober_connected);
        return 0;
    }

    rc = uv_tcp_connect(&p->connect, &p->conn.tcp, &address.sa,
                        corrald_prober_connected);

    if (rc == 0) {
        return 0;
    }

failed:

    (void) snprintf(p->result.message, sizeof(p->result.message),
                    "cannot connect: %s", uv_strerror(rc));
    return -1;
}


/* Another port of the same host; what has a path is on this one. */

static void
corrald_prober_elsewhere(corrald_address_t *address, uint16_t port)
{
    if (address->sa.sa_family == AF_INET6) {
        address->in6.sin6_port = htons(port);

    } else if (address->sa.sa_family == AF_INET) {
        address->in.sin_port = htons(port);

    } else {
        memset(address, 0, sizeof(*address));
        address->in.sin_family = AF_INET;
        address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address->in.sin_port = htons(port);
    }
}


static int
corrald_prober_request(corrald_prober_t *p, const corrald_prober_ask_t *ask,
    const corrald_address_t *address)
{
    int            ws;
    char           host[200], both[128];
    size_t         size;
    unsigned char  random[20], md[SHA_DIGEST_LENGTH];
    char           key[32];

    if (address->sa.sa_family == AF_UNIX) {
        (void) snprintf(host, sizeof(host), "localhost");

    } else {
        corrald_address_format(address, host, sizeof(host));
    }

    ws = (p->type == CORRALD_PROBER_WEBSOCKET);
    key[0] = '\0';

    if (ws) {
        if (corrald_crypt_random(random, sizeof(random)) != 0) {
            return -1;
        }

        (void) EVP_EncodeBlock((unsigned char *) key, random, 16);
        (void) snprintf(both, sizeof(both),
                        "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
        (void) SHA1((unsigned char *) both, strlen(both), md);
        (void) EVP_EncodeBlock((unsigned char *) p->accept, md, sizeof(md));
        (void) snprintf(p->payload, sizeof(p->payload), "%02x%02x%02x%02x",
                        random[16], random[17], random[18], random[19]);
    }

    corrald_answer_init(&p->answer,
                        ws ? CORRALD_ANSWER_WEBSOCKET
                        : p->type == CORRALD_PROBER_AGENT ? CORRALD_ANSWER_BODY
                        : CORRALD_ANSWER_HTTP,
                        p->accept, p->payload);

    size = strlen(ask->path) + sizeof(host) + 256;
    p->request = malloc(size);

    if (p->request == NULL) {
        return -1;
    }

    (void) snprintf(p->request, size,
                    "GET %s HTTP/1.%d\r\n"
                    "Host: %s\r\n"
                    "User-Agent: corrald\r\n"
                    "%s%s%s"
                    "\r\n",
                    ask->path,

                    /* 1.0: the body ends with the connection, in no chunks */

                    p->type == CORRALD_PROBER_AGENT ? 0 : 1, host,
                    ws ? "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                       : "Connection: close\r\nAccept: */*",
                    key, "\r\n");

    return 0;
}


static void
corrald_prober_connected(uv_connect_t *req, int status)
{
    int                rc;
    char               text[128];
    uv_buf_t           buf;
    corrald_prober_t  *p;

    p = req->data;

    if (status == UV_ECANCELED || p->done) {
        return;
    }

    if (status != 0) {
        (void) snprintf(text, sizeof(text), "cannot connect: %s",
                        uv_strerror(status));
        corrald_prober_finish(p, 0, text);
        return;
    }

    if (p->type == CORRALD_PROBER_TCP) {
        corrald_prober_finish(p, 1, "connected");
        return;
    }

    rc = 0;

    if (p->request != NULL) {
        buf = uv_buf_init(p->request, (unsigned) strlen(p->request));

        p->write.data = p;
        rc = uv_write(&p->write, &p->conn.stream, &buf, 1,
                      corrald_prober_written);
    }

    if (rc == 0) {
        rc = uv_read_start(&p->conn.stream, corrald_prober_alloc,
                           corrald_prober_read);
    }

    if (rc != 0) {
        corrald_prober_finish(p, 0, uv_strerror(rc));
    }
}


static void
corrald_prober_written(uv_write_t *req, int status)
{
    char               text[128];
    corrald_prober_t  *p;

    p = req->data;

    if (status != 0 && status != UV_ECANCELED && !p->done) {
        (void) snprintf(text, sizeof(text), "cannot send: %s",
                        uv_strerror(status));
        corrald_prober_finish(p, 0, text);
    }
}


static void
corrald_prober_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    int                rc;
    corrald_prober_t  *p;

    p = stream->data;

    if (p->done) {

        /* the answer is known: only its end is waited for */

        if (n < 0) {
            corrald_prober_close(p);
        }

        return;
    }

    if (n == 0) {
        return;
    }

    rc = (n < 0) ? corrald_answer_end(&p->answer)
                 : corrald_answer_feed(&p->answer, buf->base, (size_t) n);

    if (rc == 0 && p->answer.upgraded && !p->pinged) {
        rc = corrald_prober_ping(p);
    }

    if (rc == 1 && p->type == CORRALD_PROBER_AGENT) {
        corrald_prober_words(p);
        return;
    }

    if (rc != 0) {
        corrald_prober_finish(p, rc == 1, p->answer.message);
    }
}


/* The answer's message is what the instance says of itself. */

static void
corrald_prober_words(corrald_prober_t *p)
{
    char              text[256];
    corral_report_t   report;

    if (corral_report_parse(p->answer.message, strlen(p->answer.message),
                            &report)
        != 0)
    {
        (void) snprintf(text, sizeof(text), "it says \"%.*s\", which is no "
                        "word of agent_check",
                        (int) (report.word_len > 64 ? 64 : report.word_len),
                        report.word);
        corrald_prober_finish(p, 0, text);
        return;
    }

    (void) snprintf(p->result.words, sizeof(p->result.words), "%s",
                    p->answer.message);

    corrald_prober_finish(p, !report.failed, p->answer.message);
}


static int
corrald_prober_ping(corrald_prober_t *p)
{
    uv_buf_t  buf;

    p->pinged = 1;

    corrald_prober_frame(p->frame, 0x9, p->payload, strlen(p->payload));

    buf = uv_buf_init(p->frame, (unsigned) (6 + strlen(p->payload)));
    p->ping.data = p;

    if (uv_write(&p->ping, &p->conn.stream, &buf, 1, corrald_prober_written)
        != 0)
    {
        return corrald_answer_end(&p->answer);
    }

    return 0;
}


/* A frame of a client: final and masked.  len is below 126. */

static void
corrald_prober_frame(char *frame, unsigned opcode, const char *payload,
    size_t len)
{
    size_t         i;
    unsigned char  mask[4];

    if (corrald_crypt_random(mask, sizeof(mask)) != 0) {
        memset(mask, 0, sizeof(mask));
    }

    frame[0] = (char) (0x80 | opcode);
    frame[1] = (char) (0x80 | len);
    memcpy(frame + 2, mask, sizeof(mask));

    for (i = 0; i < len; i++) {
        frame[6 + i] = (char) (payload[i] ^ mask[i % 4]);
    }
}


static int
corrald_prober_exec(corrald_prober_t *p, const corrald_prober_ask_t *ask)
{
    int                    i, rc;
    char                  *args[2], *env[1];
    uv_buf_t               buf;
    uv_process_options_t   options;
    uv_stdio_container_t   stdio[3];

    p->description = ask->description;
    p->description_len = ask->len;

    uv_pipe_init(corrald_loop_uv(), &p->in, 0);
    uv_pipe_init(corrald_loop_uv(), &p->outputs[0], 0);
    uv_pipe_init(corrald_loop_uv(), &p->outputs[1], 0);

    p->in.data = p;
    p->outputs[0].data = p;
    p->outputs[1].data = p;
    p->has_pipes = 1;
    p->open += 3;

    args[0] = (char *) ask->shim;
    args[1] = NULL;
    env[0] = NULL;

    memset(&options, 0, sizeof(options));
    options.file = ask->shim;
    options.args = args;
    options.env = env;
    options.exit_cb = corrald_prober_exited;
    options.stdio = stdio;
    options.stdio_count = 3;

    stdio[0].flags = UV_CREATE_PIPE|UV_READABLE_PIPE;
    stdio[0].data.stream = (uv_stream_t *) &p->in;

    for (i = 0; i < 2; i++) {
        stdio[i + 1].flags = UV_CREATE_PIPE|UV_WRITABLE_PIPE;
        stdio[i + 1].data.stream = (uv_stream_t *) &p->outputs[i];
    }

    p->process.data = p;
    p->has_process = 1;
    p->open++;

    rc = uv_spawn(corrald_loop_uv(), &p->process, &options);

    if (rc != 0) {
        p->exited = 1;
        (void) snprintf(p->result.message, sizeof(p->result.message),
                        "cannot run corral-shim: %s", uv_strerror(rc));
        return -1;
    }

    for (i = 0; i < 2; i++) {
        (void) uv_read_start((uv_stream_t *) &p->outputs[i],
                             corrald_prober_alloc, corrald_prober_output);
    }

    buf = uv_buf_init(p->description, (unsigned) p->description_len);
    p->write.data = p;

    rc = uv_write(&p->write, (uv_stream_t *) &p->in, &buf, 1,
                  corrald_prober_described);

    if (rc != 0) {
        (void) uv_process_kill(&p->process, SIGTERM);
    }

    /* the shim keeps the time; this is for the case that it does not */

    p->timeout += CORRALD_PROBER_EXTRA;

    return 0;
}


static void
corrald_prober_described(uv_write_t *req, int status)
{
    corrald_prober_t  *p;

    p = req->data;

    corrald_prober_wipe(p);

    if (!uv_is_closing((uv_handle_t *) &p->in)) {
        uv_close((uv_handle_t *) &p->in, corrald_prober_closed);
    }
}


static void
corrald_prober_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    size_t             room;
    corrald_prober_t  *p;

    p = stream->data;

    if (n < 0) {
        (void) uv_read_stop(stream);
        p->ends++;
        corrald_prober_ended(p);
        return;
    }

    room = sizeof(p->output) - 1 - p->output_len;
    room = ((size_t) n < room) ? (size_t) n : room;

    memcpy(p->output + p->output_len, buf->base, room);
    p->output_len += room;
}


static void
corrald_prober_exited(uv_process_t *process, int64_t code, int signal)
{
    corrald_prober_t  *p;

    p = process->data;
    p->exited = 1;
    p->code = (int) code;
    p->signal = signal;

    corrald_prober_ended(p);
}


/* The command is judged when it has ended and its last words were read. */

static void
corrald_prober_ended(corrald_prober_t *p)
{
    char    text[256];
    size_t  i;

    if (!p->exited || p->ends < 2) {
        return;
    }

    if (p->done) {
        corrald_prober_close(p);
        return;
    }

    /* one line of plain text: it becomes a member of a document */

    p->output[p->output_len] = '\0';
    p->output[strcspn(p->output, "\r\n")] = '\0';

    for (i = 0; p->output[i] != '\0'; i++) {
        if (p->output[i] < 0x20 || p->output[i] > 0x7e) {
            p->output[i] = '?';
        }
    }

    if (p->signal != 0) {
        (void) snprintf(text, sizeof(text), "ended by signal %d", p->signal);

    } else if (p->code == 124) {
        (void) snprintf(text, sizeof(text), "took longer than %lld ms",
                        (long long) (p->timeout - CORRALD_PROBER_EXTRA));

    } else if (p->output[0] != '\0') {
        (void) snprintf(text, sizeof(text), "exit code %d: %s", p->code,
                        p->output);
    } else {
        (void) snprintf(text, sizeof(text), "exit code %d", p->code);
    }

    corrald_prober_finish(p, p->code == 0 && p->signal == 0, text);
}


static void
corrald_prober_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    corrald_prober_t  *p;

    p = handle->data;
    *buf = uv_buf_init(p->buf, sizeof(p->buf));
}


static void
corrald_prober_timed(uv_timer_t *timer)
{
    char               text[64];
    corrald_prober_t  *p;

    p = timer->data;

    if (p->has_process && !p->exited) {
        (void) uv_process_kill(&p->process, SIGKILL);

        if (p->done) {
            return;
        }

        (void) snprintf(text, sizeof(text), "corral-shim did not end");

        p->done = 1;
        p->result.ok = 0;
        memcpy(p->result.message, text, sizeof(text));
        p->handler(&p->result, p->data);
        return;
    }

    if (p->done) {
        corrald_prober_close(p);
        return;
    }

    if (p->result.message[0] != '\0') {
        corrald_prober_finish(p, 0, p->result.message);
        return;
    }

    (void) snprintf(text, sizeof(text), "no answer within %lld ms",
                    (long long) p->timeout);
    corrald_prober_finish(p, 0, text);
}


/* Tells the result, then ends the conversation politely. */

static void
corrald_prober_finish(corrald_prober_t *p, int ok, const char *text)
{
    uv_buf_t  buf;

    p->done = 1;
    p->result.ok = ok;
    p->result.duration = corrald_clock_monotonic() - p->started;

    if (text != p->result.message) {
        (void) snprintf(p->result.message, sizeof(p->result.message), "%s",
                        text);
    }

    p->handler(&p->result, p->data);

    if (!ok || !p->has_conn || p->type == CORRALD_PROBER_TCP) {
        corrald_prober_close(p);
        return;
    }

    if (p->type == CORRALD_PROBER_WEBSOCKET) {
        corrald_prober_frame(p->close, 0x8, "\x03\xe8", 2);
        buf = uv_buf_init(p->close, 8);
        (void) uv_try_write(&p->conn.stream, &buf, 1);
    }

    uv_timer_start(&p->timer, corrald_prober_timed, CORRALD_PROBER_LINGER, 0);
}


static void
corrald_prober_close(corrald_prober_t *p)
{
    int  i;

    if (p->closing) {
        return;
    }

    p->closing = 1;

    uv_close((uv_handle_t *) &p->timer, corrald_prober_closed);

    if (p->has_conn) {
        uv_close(&p->conn.handle, corrald_prober_closed);
    }

    if (p->has_process) {
        uv_close((uv_handle_t *) &p->process, corrald_prober_closed);
    }

    if (p->has_pipes) {
        if (!uv_is_closing((uv_handle_t *) &p->in)) {
            uv_close((uv_handle_t *) &p->in, corrald_prober_closed);
        }

        for (i = 0; i < 2; i++) {
            uv_close((uv_handle_t *) &p->outputs[i], corrald_prober_closed);
        }
    }
}


/* The description holds secrets. */

static void
corrald_prober_wipe(corrald_prober_t *p)
{
    if (p->description != NULL) {
        explicit_bzero(p->description, p->description_len);
        free(p->description);
        p->description = NULL;
    }
}


static void
corrald_prober_closed(uv_handle_t *handle)
{
    corrald_prober_t  *p;

    p = handle->data;

    if (--p->open == 0) {
        corrald_prober_wipe(p);
        free(p->request);
        free(p);
    }
}
