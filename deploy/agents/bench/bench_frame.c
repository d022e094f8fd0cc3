
/*
 * The frames of bench-agent: unmasks and answers them in place, in the buffer
 * they were read into.  A message is never held, only the header of a frame or
 * a control frame that has not come whole.
 */

#include "bench.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>


/*
 * Copy len bytes down, or onto themselves, and unmask them.  Each word is
 * loaded before the place it stood at can be written, because out <= in.
 */

static void
bench_unmask(bench_conn_t *c, uint8_t *out, const uint8_t *in, size_t len)
{
    size_t    i;
    uint8_t   m[8];
    uint64_t  mask, word;

    memcpy(m, c->mask, 4);
    memcpy(m + 4, c->mask, 4);
    memcpy(&mask, m, 8);

    for (i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, in + i, 8);
        word ^= mask;
        memcpy(out + i, &word, 8);
    }

    for ( /* void */ ; i < len; i++) {
        out[i] = in[i] ^ m[i & 3];
    }

    for (i = 0; i < 4; i++) {
        c->mask[i] = m[(len + i) & 3];
    }
}


/*
 * Write a Close with a code to out, four bytes, and return their number.  The
 * connection ends when they are sent.
 */

size_t
bench_fail(bench_conn_t *c, uint8_t *out, unsigned code)
{
    c->state = BENCH_STATE_END;

    out[0] = 0x80 | BENCH_CLOSE;
    out[1] = 2;
    out[2] = (uint8_t) (code >> 8);
    out[3] = (uint8_t) code;

    return 4;
}


static size_t
bench_control(bench_conn_t *c, unsigned opcode, uint8_t *data, size_t len,
    uint8_t *out)
{
    unsigned  code;

    if (opcode == BENCH_PONG) {
        return 0;
    }

    if (opcode == BENCH_CLOSE) {
        code = len >= 2 ? (unsigned) data[0] << 8 | data[1] : 1000;

        if (len == 1 || code < 1000 || (code > 1003 && code < 1007)
            || (code > 1014 && code < 3000) || code > 4999)
        {
            return bench_fail(c, out, 1002);
        }

        c->state = BENCH_STATE_END;
        len = len < 2 ? 0 : 2;
        out[0] = 0x80 | BENCH_CLOSE;

    } else {
        out[0] = 0x80 | BENCH_PONG;
    }

    out[1] = (uint8_t) len;
    memmove(out + 2, data, len);

    return len + 2;
}


/*
 * Take one frame header, or a whole control frame, from in and write what
 * answers it to out.  Returns the bytes used, 0 when more are needed, -1 when
 * --die-after says that the process is to die.
 */

static ssize_t
bench_frame(bench_conn_t *c, uint8_t *in, size_t len, uint8_t *out,
    size_t *written)
{
    size_t    head;
    uint64_t  n;
    unsigned  fin, opcode, form, i;

    *written = 0;

    if (len < 2) {
        return 0;
    }

    fin = in[0] >> 7;
    opcode = in[0] & 0x0f;
    form = in[1] & 0x7f;
    head = 2 + 4 + (form == 126 ? 2 : form == 127 ? 8 : 0);

    /* decided on two bytes: a broken header may never become whole */

    if ((in[0] & 0x70) || !(in[1] & 0x80)
        || (opcode > BENCH_BINARY && opcode < BENCH_CLOSE)
        || opcode > BENCH_PONG
        || (opcode >= BENCH_CLOSE && (!fin || form > 125))
        || (opcode == BENCH_CONT && !c->fragmented)
        || ((opcode == BENCH_TEXT || opcode == BENCH_BINARY)
            && c->fragmented))
    {
        *written = bench_fail(c, out, 1002);
        return (ssize_t) len;
    }

    if (len < head || (opcode >= BENCH_CLOSE && len < head + form)) {
        return 0;
    }

    n = form;

    if (form >= 126) {
        for (n = 0, i = 2; i < head - 4; i++) {
            n = n << 8 | in[i];
        }

        if (n >> 63 || n < (form == 126 ? 126 : 65536)) {
            *written = bench_fail(c, out, 1002);
            return (ssize_t) len;
        }
    }

    memcpy(c->mask, in + head - 4, 4);

    if (opcode >= BENCH_CLOSE) {
        bench_unmask(c, in + head, in + head, (size_t) n);
        *written = bench_control(c, opcode, in + head, (size_t) n, out);
        return (ssize_t) (head + n);
    }

    if (!c->fragmented && bench.die_set
        && atomic_load(&bench_messages) >= bench.die_after)
    {
        return -1;
    }

    c->fragmented = !fin;
    c->fin = (uint8_t) fin;
    c->left = n;

    memmove(out, in, head - 4);
    out[1] &= 0x7f;
    *written = head - 4;

    return (ssize_t) head;
}


/*
 * Answer len bytes of frames, in place: data has BENCH_HOLD bytes of room
 * behind it.  A header that is not whole is held.  The connection may be freed
 * on return.
 */

void
bench_frames(bench_thread_t *t, bench_conn_t *c, uint8_t *data, size_t len)
{
    size_t    n, written;
    ssize_t   used;
    uint8_t  *in, *out, *end;

    in = data;
    out = data;
    end = data + len;

    while (in < end && c->state == BENCH_STATE_OPEN) {

        if (c->left == 0) {
            used = bench_frame(c, in, (size_t) (end - in), out, &written);

            if (used == -1) {
                bench_send(t, c, data, (size_t) (out - data));
                kill(getpid(), SIGKILL);
                return;
            }

            if (used == 0) {
                c->hold_len = (uint8_t) (end - in);
                memcpy(c->hold, in, c->hold_len);
                break;
            }

            /* the header of a data frame is for an echo alone */

            if (!bench.rpc || (in[0] & 0x08) || c->state != BENCH_STATE_OPEN) {
                out += written;
            }

            in += used;

        } else {
            n = (size_t) (end - in);
            n = c->left < n ? (size_t) c->left : n;

            if (bench.rpc) {
                bench_unmask(c, in, in, n);

                if (bench_rpc_take(c, in, n) == -1) {
                    out += bench_fail(c, out, 1009);
                    break;
                }

            } else {
                bench_unmask(c, out, in, n);
                out += n;
            }

            in += n;
            c->left -= n;
        }

        if (c->left == 0 && c->fin && c->state == BENCH_STATE_OPEN) {
            c->fin = 0;
            atomic_fetch_add(&bench_messages, 1);

            if (bench.rpc) {
                bench_rpc_message(t, c);

                if (c->fd == -1) {
                    return;
                }
            }

            if (t->stopping) {
                out += bench_fail(c, out, 1012);
            }
        }
    }

    if (out > data) {
        bench_send(t, c, data, (size_t) (out - data));

    } else if (c->state == BENCH_STATE_END) {
        bench_finish(t, c);
    }
}
