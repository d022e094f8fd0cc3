
/*
 * call: one exchange with a service through the gateway, as a client would
 * have it.  WebSocket unless --http is given: sends the message, prints the
 * first answer, or with --follow all until the close.
 *
 * libcurl makes the connection (also TLS); the handshake and the few frames of
 * one exchange are written here, as Debian's libcurl has no WebSocket.
 */


#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/buf.h"

#include "corral.h"


#define CORRAL_CALL_MAX  (64 * 1024 * 1024)      /* of one message */


typedef struct {
    corral_run_t    *run;
    CURL            *curl;
    curl_socket_t    fd;
    time_t           until;
    corrald_buf_t    in;             /* bytes not yet looked at */
    corrald_buf_t    message;        /* of the message that is open */
} corral_call_t;


static char *corral_call_url(corral_run_t *run, corral_exit_e *code);
static corral_exit_e corral_call_http(corral_run_t *run, const char *url);
static const char *corral_call_type(corral_run_t *run, const char *message,
    size_t len);
static size_t corral_call_write(char *data, size_t size, size_t n, void *ctx);
static corral_exit_e corral_call_websocket(corral_run_t *run,
    const char *url);
static int corral_call_connect(corral_call_t *call, const char *url);
static corral_exit_e corral_call_handshake(corral_call_t *call,
    const char *url);
static corral_exit_e corral_call_refused(corral_call_t *call, long status,
    size_t head);
static corral_exit_e corral_call_messages(corral_call_t *call);
static int corral_call_send(corral_call_t *call, unsigned opcode,
    const char *data, size_t len);
static int corral_call_send_all(corral_call_t *call, const void *data,
    size_t len);
static int corral_call_more(corral_call_t *call);
static int corral_call_frame(corral_call_t *call, unsigned *opcode,
    unsigned *fin, size_t *head, size_t *len);
static char *corral_call_message(corral_run_t *run, size_t *len);


corral_exit_e
corral_call_call(corral_run_t *run)
{
    char           *url;
    corral_exit_e   code;

    url = corral_call_url(run, &code);

    if (url == NULL) {
        return code;
    }

    if (run->http_call) {
        code = corral_call_http(run, url);

    } else {
        code = corral_call_websocket(run, url);
    }

    free(url);

    return code;
}


/* http:// or https:// of the service behind the gateway; to be freed */

static char *
corral_call_url(corral_run_t *run, corral_exit_e *code)
{
    char            *name, path[512];
    size_t           len;
    const char      *gateway, *scheme;
    corrald_buf_t    b;
    corral_answer_t  answer;

    memset(&answer, 0, sizeof(corral_answer_t));

    name = corral_http_escape(run->args[0]);
    corrald_buf_init(&b, 8192);

    gateway = run->gateway ? run->gateway : getenv("CORRAL_GATEWAY");

    if (gateway && *gateway) {
        len = strlen(gateway);
        corrald_buf_printf(&b, "%.*s/agents/%s",
                           (int) (len - (gateway[len - 1] == '/')), gateway,
                           name);

    } else {
        snprintf(path, sizeof(path), "/api/v1/services/%s", name);

        *code = corral_api_get(run, path, &answer);

        if (*code != CORRAL_OK) {
            corral_http_free(&answer);
            free(name);
            return NULL;
        }

        gateway = json_string_value(json_object_get(answer.body, "endpoint"));

        if (gateway) {
            corrald_buf_str(&b, gateway);
        }
    }

    if (run->path) {
        corrald_buf_printf(&b, "%s%s", run->path[0] == '/' ? "" : "/",
                           run->path);
    }

    free(name);
    corral_http_free(&answer);

    /* libcurl knows http and https; a WebSocket begins as one of them */

    scheme = b.len ? b.data : "";

    if (strncmp(scheme, "ws://", 5) == 0) {
        snprintf(path, sizeof(path), "http://%.500s", scheme + 5);

    } else if (strncmp(scheme, "wss://", 6) == 0) {
        snprintf(path, sizeof(path), "https://%.500s", scheme + 6);

    } else if (strncmp(scheme, "http://", 7) == 0
               || strncmp(scheme, "https://", 8) == 0)
    {
        snprintf(path, sizeof(path), "%s", scheme);

    } else {
        corral_output_error("\"%s\" is not where a gateway can be: ws://, "
                            "wss://, http:// or https://", scheme);
        corrald_buf_free(&b);
        *code = CORRAL_USAGE;
        return NULL;
    }

    corrald_buf_free(&b);

    return strdup(path);
}


static corral_exit_e
corral_call_http(corral_run_t *run, const char *url)
{
    CURL               *curl;
    char               *message;
    long                status;
    size_t              len;
    CURLcode            rc;
    struct curl_slist  *headers;

    message = corral_call_message(run, &len);

    if (message == NULL && (run->nargs > 1 || run->data)) {
        return CORRAL_USAGE;
    }

    curl = curl_easy_init();

    if (curl == NULL) {
        free(message);
        corral_output_error("out of memory");
        return CORRAL_FAILED;
    }

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, corral_call_write);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT,
                     run->follow ? 0L : run->http.timeout);

    if (run->http.insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }

    headers = NULL;

    if (message) {
        headers = curl_slist_append(NULL, corral_call_type(run, message, len));
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long) len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, message);
    }

    status = 0;
    rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    free(message);

    if (rc != CURLE_OK) {
        corral_output_error("%s: %s", url, curl_easy_strerror(rc));
        return rc == CURLE_OPERATION_TIMEDOUT ? CORRAL_TIMEOUT
                                              : CORRAL_UNREACHABLE;
    }

    if (status >= 400) {
        corral_output_error("the answer is %ld", status);
        return corral_http_code(status);
    }

    return CORRAL_OK;
}


/* libcurl would say that it is a form */

static const char *
corral_call_type(corral_run_t *run, const char *message, size_t len)
{
    json_t  *json;

    if (run->binary) {
        return "Content-Type: application/octet-stream";
    }

    json = json_loadb(message, len, 0, NULL);

    if (json) {
        json_decref(json);
        return "Content-Type: application/json";
    }

    return "Content-Type: text/plain; charset=utf-8";
}


static size_t
corral_call_write(char *data, size_t size, size_t n, void *ctx)
{
    (void) ctx;

    n = fwrite(data, 1, size * n, stdout);
    fflush(stdout);

    return n;
}


/*
 * The message: an argument, --data, or the file that --data names with "@".
 * NULL: none was given, or it was said what is wrong with it.
 */

static char *
corral_call_message(corral_run_t *run, size_t *len)
{
    char        *text;
    const char  *data;

    data = run->nargs > 1 ? run->args[1] : run->data;

    if (data == NULL) {
        return NULL;
    }

    if (run->nargs > 1 && run->data) {
        corral_output_error("the message is given twice: \"%s\" and --data",
                            data);
        return NULL;
    }

    if (data == run->data && data[0] == '@') {
        return corral_file_read(data + 1, len);
    }

    text = strdup(data);
    *len = strlen(data);

    return text;
}


static corral_exit_e
corral_call_websocket(corral_run_t *run, const char *url)
{
    char           *message;
    size_t          len;
    corral_exit_e   code;
    corral_call_t   call;

    memset(&call, 0, sizeof(corral_call_t));

    call.run = run;
    call.until = time(NULL) + run->http.timeout;

    corrald_buf_init(&call.in, CORRAL_CALL_MAX + 14);
    corrald_buf_init(&call.message, CORRAL_CALL_MAX);

    message = corral_call_message(run, &len);
    code = CORRAL_FAILED;

    if (message == NULL && (run->nargs > 1 || run->data)) {
        code = CORRAL_USAGE;

    } else if (message == NULL && !run->follow) {
        corral_output_error("usage: corral call SERVICE MESSAGE, or --follow "
                            "to only listen");
        code = CORRAL_USAGE;

    } else if (corral_call_connect(&call, url) == 0) {
        code = corral_call_handshake(&call, url);

        if (code == CORRAL_OK && message
            && corral_call_send(&call, run->binary ? 2 : 1, message, len) != 0)
        {
            corral_output_error("the message could not be sent");
            code = CORRAL_FAILED;
        }

        if (code == CORRAL_OK) {
            code = corral_call_messages(&call);
        }

    } else {
        code = CORRAL_UNREACHABLE;
    }

    if (call.curl) {
        curl_easy_cleanup(call.curl);
    }

    corrald_buf_free(&call.in);
    corrald_buf_free(&call.message);
    free(message);

    return code;
}


static int
corral_call_connect(corral_call_t *call, const char *url)
{
    CURLcode  rc;

    call->curl = curl_easy_init();

    if (call->curl == NULL) {
        corral_output_error("out of memory");
        return -1;
    }

    curl_easy_setopt(call->curl, CURLOPT_URL, url);
    curl_easy_setopt(call->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(call->curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(call->curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(call->curl, CURLOPT_HTTP_VERSION,
                     (long) CURL_HTTP_VERSION_1_1);

    if (call->run->http.insecure) {
        curl_easy_setopt(call->curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(call->curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }

    rc = curl_easy_perform(call->curl);

    if (rc == CURLE_OK) {
        rc = curl_easy_getinfo(call->curl, CURLINFO_ACTIVESOCKET, &call->fd);
    }

    if (rc != CURLE_OK) {
        corral_output_error("%s: %s%s", url, curl_easy_strerror(rc),
                            rc == CURLE_COULDNT_CONNECT
                            ? "; is the gateway running?" : "");
        return -1;
    }

    return 0;
}


static corral_exit_e
corral_call_handshake(corral_call_t *call, const char *url)
{
    char            *end;
    long             status;
    const char      *host, *path;
    unsigned char    key[16], encoded[32];
    corrald_buf_t    b;

    host = strstr(url, "://") + 3;
    path = strchr(host, '/');
    path = path ? path : host + strlen(host);

    if (RAND_bytes(key, sizeof(key)) != 1) {
        corral_output_error("no random bytes");
        return CORRAL_FAILED;
    }

    EVP_EncodeBlock(encoded, key, sizeof(key));

    corrald_buf_init(&b, 16384);
    corrald_buf_printf(&b, "GET %s HTTP/1.1\r\nHost: %.*s\r\n"
                       "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: %s\r\n"
                       "Sec-WebSocket-Version: 13\r\n\r\n",
                       *path ? path : "/", (int) (path - host), host,
                       (char *) encoded);

    if (corral_call_send_all(call, b.data, b.len) != 0) {
        corrald_buf_free(&b);
        corral_output_error("the handshake could not be sent");
        return CORRAL_UNREACHABLE;
    }

    corrald_buf_free(&b);

    for ( ;; ) {
        end = strstr(call->in.data ? call->in.data : "", "\r\n\r\n");

        if (end) {
            break;
        }

        if (corral_call_more(call) != 0) {
            corral_output_error("no answer to the handshake");
            return time(NULL) >= call->until ? CORRAL_TIMEOUT
                                             : CORRAL_UNREACHABLE;
        }
    }

    status = strncmp(call->in.data, "HTTP/1.1 ", 9) == 0
             ? strtol(call->in.data + 9, NULL, 10) : 0;

    if (status != 101) {
        return corral_call_refused(call, status, end + 4 - call->in.data);
    }

    corrald_buf_drop(&call->in, end + 4 - call->in.data);

    return CORRAL_OK;
}


/* the body after the head says why: it is a problem document, or a text */

static corral_exit_e
corral_call_refused(corral_call_t *call, long status, size_t head)
{
    char         *p;
    size_t        len;
    json_t       *json;
    const char   *detail;

    len = 0;

    for (p = strstr(call->in.data, "\r\n"); p; p = strstr(p + 2, "\r\n")) {

        if (strncasecmp(p + 2, "content-length:", 15) == 0) {
            len = strtoul(p + 17, NULL, 10);
            break;
        }
    }

    while (call->in.len < head + len && corral_call_more(call) == 0) {
        /* void */
    }

    json = json_loads(call->in.data + head, JSON_DISABLE_EOF_CHECK, NULL);
    detail = json_string_value(json_object_get(json, "detail"));

    corral_output_error("the gateway answers %ld: %s", status,
                        detail ? detail : call->in.data + head);
    json_decref(json);

    return corral_http_code(status) ? corral_http_code(status)
                                    : CORRAL_FAILED;
}


/* prints messages until enough, and closes */

static corral_exit_e
corral_call_messages(corral_call_t *call)
{
    size_t           head, len;
    unsigned         opcode, fin;
    unsigned char   *p;

    for ( ;; ) {

        if (corral_call_frame(call, &opcode, &fin, &head, &len) != 0) {

            if (corral_output_closed()) {
                return CORRAL_FAILED;       /* nobody reads any more */
            }

            if (time(NULL) >= call->until) {
                corral_output_error("no answer within %ld s",
                                    call->run->http.timeout);
                return CORRAL_TIMEOUT;
            }

            corral_output_error("the connection ended without an answer");
            return CORRAL_FAILED;
        }

        p = (unsigned char *) call->in.data + head;

        if (opcode == 8) {
            if (len >= 2 && (p[0] << 8 | p[1]) != 1000) {
                corral_output_error("closed with %d %.*s", p[0] << 8 | p[1],
                                    (int) (len - 2), (char *) p + 2);
                return CORRAL_FAILED;
            }

            return CORRAL_OK;
        }

        if (opcode == 9) {
            (void) corral_call_send(call, 10, (char *) p, len);

        } else if (opcode < 8) {
            (void) corrald_buf_add(&call->message, p, len);
        }

        corrald_buf_drop(&call->in, head + len);

        if (opcode >= 8 || !fin) {
            continue;
        }

        fwrite(call->message.data ? call->message.data : "", 1,
               call->message.len, stdout);
        fputc('\n', stdout);

        /* nobody reads any more */

        if (fflush(stdout) != 0) {
            return CORRAL_FAILED;
        }

        corrald_buf_clear(&call->message);

        if (!call->run->follow) {
            (void) corral_call_send(call, 8, "\x03\xe8", 2);
            return CORRAL_OK;
        }

        call->until = time(NULL) + call->run->http.timeout;
    }
}


/* waits until a whole frame is there; 0 and its parts, or -1 */

static int
corral_call_frame(corral_call_t *call, unsigned *opcode, unsigned *fin,
    size_t *head, size_t *len)
{
    int             i;
    uint64_t        n;
    unsigned char  *p;

    for ( ;; ) {
        p = (unsigned char *) call->in.data;
        *head = 2;

        if (call->in.len >= 2) {
            n = p[1] & 127;
            *head += n == 126 ? 2 : (n == 127 ? 8 : 0);

            if (call->in.len >= *head) {

                if (*head > 2) {
                    for (n = 0, i = 2; i < (int) *head; i++) {
                        n = n << 8 | p[i];
                    }
                }

                if (n > CORRAL_CALL_MAX || p[1] & 128) {
                    return -1;
                }

                if (call->in.len >= *head + n) {
                    *opcode = p[0] & 15;
                    *fin = p[0] >> 7;
                    *len = n;
                    return 0;
                }
            }
        }

        if (corral_call_more(call) != 0) {
            return -1;
        }
    }
}


static int
corral_call_send(corral_call_t *call, unsigned opcode, const char *data,
    size_t len)
{
    int             rc;
    size_t          i, n;
    unsigned char  *frame;

    frame = malloc(len + 14);

    if (frame == NULL) {
        return -1;
    }

    frame[0] = 0x80 | opcode;
    n = 2;

    if (len < 126) {
        frame[1] = 0x80 | len;

    } else if (len < 65536) {
        frame[1] = 0x80 | 126;
        frame[n++] = len >> 8;
        frame[n++] = len & 255;

    } else {
        frame[1] = 0x80 | 127;

        for (i = 0; i < 8; i++) {
            frame[n++] = (uint64_t) len >> (56 - 8 * i);
        }
    }

    rc = RAND_bytes(frame + n, 4) == 1 ? 0 : -1;

    for (i = 0; i < len; i++) {
        frame[n + 4 + i] = data[i] ^ frame[n + (i & 3)];
    }

    rc = rc == 0 ? corral_call_send_all(call, frame, n + 4 + len) : -1;
    free(frame);

    return rc;
}


static int
corral_call_send_all(corral_call_t *call, const void *data, size_t len)
{
    size_t          n;
    CURLcode        rc;
    const char     *p;
    struct pollfd   pfd;

    for (p = data; len; p += n, len -= n) {
        n = 0;
        rc = curl_easy_send(call->curl, p, len, &n);

        if (rc == CURLE_AGAIN) {
            pfd.fd = call->fd;
            pfd.events = POLLOUT;
            n = 0;

            if (time(NULL) >= call->until || poll(&pfd, 1, 1000) < 0) {
                return -1;
            }

        } else if (rc != CURLE_OK) {
            return -1;
        }
    }

    return 0;
}


/* reads what comes next; -1 at the end, after an error or the time */

static int
corral_call_more(corral_call_t *call)
{
    char            buf[16384];
    size_t          n;
    CURLcode        rc;
    struct pollfd   pfd;

    for ( ;; ) {
        rc = curl_easy_recv(call->curl, buf, sizeof(buf), &n);

        if (rc == CURLE_OK) {
            return n ? corrald_buf_add(&call->in, buf, n) : -1;
        }

        if (rc != CURLE_AGAIN) {
            return -1;
        }

        if (!call->run->follow && time(NULL) >= call->until) {
            return -1;
        }

        pfd.fd = call->fd;
        pfd.events = POLLIN;

        if ((poll(&pfd, 1, 1000) < 0 && errno != EINTR)
            || corral_output_closed())
        {
            return -1;
        }
    }
}
