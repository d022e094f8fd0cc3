
/*
 * What the files of bench-agent share: options, connections, threads.  A
 * connection belongs to the thread that accepted it; only the two counters are
 * shared between threads, and they are atomic.
 */


#ifndef _BENCH_H_INCLUDED_
#define _BENCH_H_INCLUDED_


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>


#define BENCH_BUFFER         131072  /* what one recv() may bring */
#define BENCH_HEAD           16384   /* of a request, to the empty line */
#define BENCH_HOLD           144     /* a whole control frame is 131 */
#define BENCH_EVENTS         256
#define BENCH_THREADS        64
#define BENCH_HEAD_TIMEOUT   30000   /* milliseconds */
#define BENCH_IDLE_TIMEOUT   90000   /* of a kept HTTP connection */
#define BENCH_LINGER         2000    /* for the end of the peer */
#define BENCH_SEND_TIMEOUT   60000   /* --send-and-close: for a slow reader */
#define BENCH_PATTERN        251
#define BENCH_RPC_MAX        1048576 /* bytes of a request in --rpc */
#define BENCH_RPC_ID         128     /* of its id */
#define BENCH_EVENT          128     /* bytes of an event of /sse */
#define BENCH_JSON           1024    /* bytes of the answer of /json */

#define BENCH_CONT           0x0
#define BENCH_TEXT           0x1
#define BENCH_BINARY         0x2
#define BENCH_CLOSE          0x8
#define BENCH_PING           0x9
#define BENCH_PONG           0xa


typedef enum {
    BENCH_STATE_HEAD = 0,   /* reads an HTTP request */
    BENCH_STATE_OPEN,       /* echoes frames */
    BENCH_STATE_SEND,       /* --send-and-close: sends, drops what it reads */
    BENCH_STATE_STREAM,     /* /sse: sends events, drops what it reads */
    BENCH_STATE_END         /* all is said: flush, half-close, drop, close */
} bench_state_t;


typedef struct bench_conn_s  bench_conn_t;

struct bench_conn_s {
    bench_conn_t    *next;           /* all connections of the thread */
    bench_conn_t    *prev;
    int              fd;
    bench_state_t    state;
    uint32_t         events;         /* what epoll waits for */

    uint64_t         left;           /* payload of the current frame to come */
    uint8_t          mask[4];        /* rotated to the next byte of payload */
    uint8_t          fin;            /* of the current frame */
    uint8_t          fragmented;     /* a message has begun and not ended */
    uint8_t          hold_len;
    uint8_t          hold[BENCH_HOLD];   /* a frame header that is not whole */

    char            *head;           /* the request so far */
    size_t           head_len;

    uint8_t         *tail;           /* output the peer has not taken */
    size_t           tail_pos;
    size_t           tail_len;

    uint64_t         total_left;     /* --send-and-close: bytes to send */
    uint64_t         frame_left;     /* of them in the current message */
    uint64_t         sent;

    size_t           budget;         /* --slow-read: bytes until the tick */
    int64_t          deadline;       /* milliseconds, 0: none */
    char            *message;        /* --rpc: what has come of a request */
    size_t           message_len;
    size_t           message_size;

    unsigned         eof:1;          /* the peer has ended */
    unsigned         shut:1;         /* our side is shut down */
};


typedef struct {
    int              epoll;
    int              listener;
    bench_conn_t    *conns;
    bench_conn_t    *closed;         /* freed when the events are handled */
    struct bench_job_s  *jobs;       /* --rpc: answers to come, soonest first */
    unsigned         stopping:1;
    unsigned         listening:1;
    uint8_t          buffer[BENCH_HOLD + BENCH_BUFFER + BENCH_HOLD];
} bench_thread_t;


typedef struct {
    const char      *listen;
    long             threads;
    long             grace;          /* seconds */
    uint64_t         slow_read;      /* bytes a second, 0: full speed */
    uint64_t         send;           /* bytes, with send_set */
    uint64_t         message_size;   /* of --send-and-close */
    long             reject;         /* per cent of handshakes */
    long             interval;       /* ms between the events of a stream */
    uint64_t         die_after;      /* messages, with die_set */
    unsigned         send_set:1;
    unsigned         die_set:1;
    unsigned         no_close:1;     /* end without a Close frame */
    unsigned         rpc:1;          /* JSON-RPC instead of echo */
} bench_options_t;


/* bench-agent.c */

extern bench_options_t        bench;
extern volatile sig_atomic_t  bench_stopping;    /* SIGTERM came */
extern atomic_uint_fast64_t   bench_messages;    /* echoed, by all threads */

/* bench_loop.c */

int bench_start(bench_thread_t *t, int listener);
void *bench_thread(void *data);
void bench_generate(bench_thread_t *t, bench_conn_t *c);
void bench_send(bench_thread_t *t, bench_conn_t *c, const uint8_t *data,
    size_t len);
void bench_finish(bench_thread_t *t, bench_conn_t *c);
void bench_free(bench_thread_t *t, bench_conn_t *c);
int64_t bench_now(void);

/* bench_http.c */

void bench_head(bench_thread_t *t, bench_conn_t *c, uint8_t *data, size_t len);

/* bench_frame.c */

void bench_frames(bench_thread_t *t, bench_conn_t *c, uint8_t *data,
    size_t len);
size_t bench_fail(bench_conn_t *c, uint8_t *out, unsigned code);

/* bench_rpc.c */

int bench_rpc_take(bench_conn_t *c, const uint8_t *data, size_t len);
void bench_rpc_message(bench_thread_t *t, bench_conn_t *c);
int bench_rpc_run(bench_thread_t *t);
void bench_rpc_forget(bench_thread_t *t, bench_conn_t *c);


#endif /* _BENCH_H_INCLUDED_ */
