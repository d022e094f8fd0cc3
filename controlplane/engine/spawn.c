/*
 * Starts a shim with its agent: runs corral-shim, writes the description to
 * it, and hears from its exit code whether the agent runs.  What it started is
 * by then no child of ours any more; it is met again at its socket.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>
#include <uv.h>

#include "../base/conf.h"
#include "../base/loop.h"
#include "spawn.h"


/* ms; a program on a file system that hangs */

#define CORRALD_SPAWN_TIMEOUT  30000

#define CORRALD_SPAWN_SYSTEM   71    /* CORRAL_SHIM_SYSTEM */


typedef struct {
    uv_process_t       process;
    uv_pipe_t          in;
    uv_pipe_t          error;
    uv_timer_t         timer;
    uv_write_t         write;
    int                open;
    unsigned           exited:1;
    unsigned           ended:1;      /* standard error was read to its end */
    unsigned           told:1;
    int                code;
    int                signal;
    char              *text;
    size_t             len;
    char               err[512];
    size_t             err_len;
    char               buf[512];
    corrald_spawn_pt   handler;
    void              *data;
} corrald_spawn_t;


static void corrald_spawn_written(uv_write_t *req, int status);
static void corrald_spawn_alloc(uv_handle_t *handle, size_t size,
    uv_buf_t *buf);
static void corrald_spawn_read(uv_stream_t *stream, ssize_t n,
    const uv_buf_t *buf);
static void corrald_spawn_exited(uv_process_t *process, int64_t code,
    int signal);
static void corrald_spawn_timed(uv_timer_t *timer);
static void corrald_spawn_finish(corrald_spawn_t *s);
static void corrald_spawn_wipe(corrald_spawn_t *s);
static void corrald_spawn_close(corrald_spawn_t *s, uv_handle_t *handle);
static void corrald_spawn_closed(uv_handle_t *handle);


int
corrald_spawn(char *text, size_t len, const char *instance_id,
    corrald_spawn_pt handler, void *data)
{
    int                    rc;
    char                  *args[3], *env[1];
    uv_buf_t               buf;
    corrald_spawn_t       *s;
    uv_process_options_t   options;
    uv_stdio_container_t   stdio[3];

    s = calloc(1, sizeof(*s));

    if (s == NULL) {
        explicit_bzero(text, len);
        free(text);
        return -1;
    }

    s->text = text;
    s->len = len;
    s->handler = handler;
    s->data = data;

    uv_timer_init(corrald_loop_uv(), &s->timer);
    uv_pipe_init(corrald_loop_uv(), &s->in, 0);
    uv_pipe_init(corrald_loop_uv(), &s->error, 0);
    s->timer.data = s;
    s->in.data = s;
    s->error.data = s;
    s->process.data = s;
    s->open = 4;

    /* the id is for those who look at the list of processes */

    args[0] = (char *) corrald_spawn_shim();
    args[1] = (char *) instance_id;
    args[2] = NULL;
    env[0] = NULL;

    memset(&options, 0, sizeof(options));
    options.file = args[0];
    options.args = args;
    options.env = env;
    options.exit_cb = corrald_spawn_exited;
    options.stdio = stdio;
    options.stdio_count = 3;

    stdio[0].flags = UV_CREATE_PIPE|UV_READABLE_PIPE;
    stdio[0].data.stream = (uv_stream_t *) &s->in;
    stdio[1].flags = UV_IGNORE;
    stdio[2].flags = UV_CREATE_PIPE|UV_WRITABLE_PIPE;
    stdio[2].data.stream = (uv_stream_t *) &s->error;

    rc = uv_spawn(corrald_loop_uv(), &s->process, &options);

    if (rc != 0) {
        s->exited = 1;
        s->ended = 1;
        s->code = CORRALD_SPAWN_SYSTEM;
        (void) snprintf(s->err, sizeof(s->err), "cannot run \"%s\": %s",
                        args[0], uv_strerror(rc));
        uv_timer_start(&s->timer, corrald_spawn_timed, 0, 0);
        return 0;
    }

    uv_timer_start(&s->timer, corrald_spawn_timed, CORRALD_SPAWN_TIMEOUT, 0);
    (void) uv_read_start((uv_stream_t *) &s->error, corrald_spawn_alloc,
                         corrald_spawn_read);

    buf = uv_buf_init(s->text, (unsigned) s->len);

    if (uv_write(&s->write, (uv_stream_t *) &s->in, &buf, 1,
                 corrald_spawn_written)
        != 0)
    {
        corrald_spawn_close(s, (uv_handle_t *) &s->in);
    }

    return 0;
}


/* Beside corrald's own program, unless the configuration says otherwise. */

const char *
corrald_spawn_shim(void)
{
    char          *slash;
    ssize_t        n;

    static char    path[4200];

    if (corrald_conf()->shim[0] != '\0') {
        return corrald_conf()->shim;
    }

    if (path[0] == '\0') {
        n = readlink("/proc/self/exe", path, sizeof(path) - 32);

        if (n > 0) {
            path[n] = '\0';
        }

        slash = strrchr(path, '/');
        slash = (slash == NULL) ? path : slash + 1;
        memcpy(slash, "corral-shim", sizeof("corral-shim"));
    }

    return path;
}


static void
corrald_spawn_written(uv_write_t *req, int status)
{
    corrald_spawn_t  *s;

    s = req->handle->data;

    corrald_spawn_wipe(s);
    corrald_spawn_close(s, (uv_handle_t *) &s->in);
}


static void
corrald_spawn_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    corrald_spawn_t  *s;

    s = handle->data;
    *buf = uv_buf_init(s->buf, sizeof(s->buf));
}


static void
corrald_spawn_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    size_t            room;
    corrald_spawn_t  *s;

    s = stream->data;

    if (n < 0) {
        s->ended = 1;
        (void) uv_read_stop(stream);
        corrald_spawn_finish(s);
        return;
    }

    room = sizeof(s->err) - 1 - s->err_len;
    room = ((size_t) n < room) ? (size_t) n : room;

    memcpy(s->err + s->err_len, buf->base, room);
    s->err_len += room;
}


static void
corrald_spawn_exited(uv_process_t *process, int64_t code, int signal)
{
    corrald_spawn_t  *s;

    s = process->data;
    s->exited = 1;
    s->code = (int) code;
    s->signal = signal;

    corrald_spawn_finish(s);
}


static void
corrald_spawn_timed(uv_timer_t *timer)
{
    corrald_spawn_t  *s;

    s = timer->data;

    if (!s->exited) {
        (void) snprintf(s->err, sizeof(s->err), "it did not start within "
                        "%d s", CORRALD_SPAWN_TIMEOUT / 1000);
        s->err_len = strlen(s->err);
        s->ended = 1;
        (void) uv_process_kill(&s->process, SIGKILL);
        return;
    }

    corrald_spawn_finish(s);
}


static void
corrald_spawn_finish(corrald_spawn_t *s)
{
    char  *text;

    if (!s->exited || !s->ended || s->told) {
        return;
    }

    s->told = 1;

    s->err[sizeof(s->err) - 1] = '\0';
    s->err[strcspn(s->err, "\n")] = '\0';

    text = s->err;

    if (strncmp(text, "corral-shim: ", 13) == 0) {
        text += 13;
    }

    if (s->signal != 0 && s->code == 0) {
        s->code = CORRALD_SPAWN_SYSTEM;
    }

    s->handler(s->code, text, s->data);

    corrald_spawn_close(s, (uv_handle_t *) &s->process);
    corrald_spawn_close(s, (uv_handle_t *) &s->in);
    corrald_spawn_close(s, (uv_handle_t *) &s->error);
    corrald_spawn_close(s, (uv_handle_t *) &s->timer);
}


/* The description holds secrets. */

static void
corrald_spawn_wipe(corrald_spawn_t *s)
{
    if (s->text != NULL) {
        explicit_bzero(s->text, s->len);
        free(s->text);
        s->text = NULL;
    }
}


static void
corrald_spawn_close(corrald_spawn_t *s, uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, corrald_spawn_closed);
    }
}


static void
corrald_spawn_closed(uv_handle_t *handle)
{
    corrald_spawn_t  *s;

    s = handle->data;

    if (--s->open == 0) {
        corrald_spawn_wipe(s);
        free(s);
    }
}
