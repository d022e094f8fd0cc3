
/*
 * What the files of the load generator share: options, connections, figures.
 * There is one thread and one epoll instance; nothing is locked.
 */


#ifndef _LOAD_H_INCLUDED_
#define _LOAD_H_INCLUDED_


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <netinet/in.h>


#define LOAD_BUFFER     262144      /* what one recv() may bring */
#define LOAD_EVENTS     256
#define LOAD_HEAD       1024        /* of an answer, to its empty line */
#define LOAD_CONTROL    131         /* a masked control frame */
#define LOAD_SPLIT      32          /* parts of each power of two */

#define LOAD_CLOSE      0x8
#define LOAD_PING       0x9


typedef enum {
    LOAD_ECHO = 0,      /* messages in a closed loop */
    LOAD_RATE,          /* connect, 101, close, anew */
    LOAD_IDLE,          /* opens connections and holds them */
    LOAD_SLOW,          /* reads slowly while it talks, until the end */
    LOAD_PROBE,         /* one message each millisecond */
    LOAD_PACED,         /* so many messages a second, of all connections */
    LOAD_HTTP,          /* requests in a closed loop */
    LOAD_SSE            /* opens streams and counts their events */
} load_mode_t;


typedef enum {
    LOAD_FREE = 0,
    LOAD_CONNECT,
    LOAD_ANSWER,        /* waits for the 101, or the first 200 */
    LOAD_OPEN,
    LOAD_CLOSING        /* Close is sent, waits for the end */
} load_state_t;


typedef struct {
    int              fd;
    void            *ssl;           /* NULL without --tls */
    load_state_t     state;
    uint32_t         events;        /* what epoll waits for */
    uint32_t         index;

    const uint8_t   *out;           /* what is being sent */
    size_t           out_len;
    size_t           out_pos;
    uint8_t          pong[LOAD_CONTROL];
    uint8_t          pong_len;      /* owed after out */

    uint8_t          hold[14];      /* of a frame header */
    uint8_t          hold_len;
    uint8_t          first;         /* first byte of the open frame */
    uint8_t          ping[125];     /* its payload, if it is a ping */
    uint8_t          ping_len;
    uint64_t         left;          /* payload, or body, to come */
    uint64_t         frame_len;

    char             head[LOAD_HEAD];
    size_t           head_len;

    int64_t          begun;         /* ns: the message, or the handshake */
    uint64_t         messages;      /* echoed */
    uint64_t         received;      /* payload of data frames */
    unsigned         body:1;        /* the head of the answer is whole */
    unsigned         want_read:1;   /* TLS reads before it can send */
    unsigned         send_failed:1;
    unsigned         reset:1;       /* it ended with an error */
} load_conn_t;


typedef struct {
    load_mode_t          mode;
    const char          *mode_name;
    struct sockaddr_in   address;
    char                 target[64];
    const char          *path;
    uint32_t             connections;
    uint32_t             parallel;
    uint64_t             size;
    uint64_t             answer;    /* bytes of the answer to a message */
    double               warmup;    /* seconds */
    double               seconds;
    uint64_t             count;     /* instead of seconds, 0: seconds */
    uint64_t             rate;      /* a second: bytes of LOAD_SLOW, messages
                                       of LOAD_PACED */
    long                 pid;       /* whose CPU time is read, 0: nobody's */
    unsigned             fin:1;     /* LOAD_RATE: no Close frame */
    unsigned             tls:1;
    unsigned             rpc:1;     /* messages are JSON-RPC */
} load_options_t;


typedef struct {
    uint64_t     user;              /* ns, in steps of a clock tick */
    uint64_t     system;
    uint64_t     total;             /* ns, from the scheduler */
} load_cpu_t;


typedef struct {
    uint64_t     count;
    uint64_t     max;               /* ns */
    uint64_t     slots[64 * LOAD_SPLIT];
} load_times_t;


/* load.c */

extern load_options_t  load;

void load_fail(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* load_conn.c: one connection */

void load_conn_init(void);
void load_conn_start(load_conn_t *c);
void load_conn_event(load_conn_t *c, uint32_t events);
void load_conn_message(load_conn_t *c);
void load_conn_read(load_conn_t *c, size_t max);
void load_conn_end(load_conn_t *c);
char *load_conn_head(load_conn_t *c, const uint8_t *p, size_t n,
    size_t *used);

/* load_io.c: its bytes, with or without TLS */

void load_io_init(void);
void load_io_start(load_conn_t *c);
void load_io_end(load_conn_t *c);
ssize_t load_io_recv(load_conn_t *c, void *data, size_t n);
ssize_t load_io_send(load_conn_t *c, const void *data, size_t n);
uint32_t load_io_blocked(load_conn_t *c);
int load_io_pending(load_conn_t *c);

/* load_http.c: what it reads in the modes http and sse */

const char *load_http_headers(void);
void load_http_read(load_conn_t *c, const uint8_t *p, size_t n);

/* load_mode.c: what connections do, and when */

void load_mode_run(void);
void load_mode_opened(load_conn_t *c);
void load_mode_echoed(load_conn_t *c);
void load_mode_counted(uint64_t n);
void load_mode_ended(load_conn_t *c, const char *why);
int load_mode_epoll(void);

/* load_clock.c: times */

int64_t load_clock_now(void);
void load_clock_cpu(long pid, load_cpu_t *cpu);
void load_clock_add(load_times_t *times, int64_t ns);
double load_clock_percentile(const load_times_t *times, double part);


#endif /* _LOAD_H_INCLUDED_ */
