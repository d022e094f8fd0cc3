
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
    LOAD_PROBE          /* one message each millisecond */
} load_mode_t;


typedef enum {
    LOAD_FREE = 0,
    LOAD_CONNECT,
    LOAD_ANSWER,        /* waits for the 101 */
    LOAD_OPEN,
    LOAD_CLOSING        /* Close is sent, waits for the end */
} load_state_t;


typedef struct {
    int              fd;
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
    uint64_t         left;          /* payload to come */
    uint64_t         frame_len;

    char             head[LOAD_HEAD];
    size_t           head_len;

    int64_t          begun;         /* ns: the message, or the handshake */
    uint64_t         messages;      /* echoed */
    uint64_t         received;      /* payload of data frames */
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
    double               warmup;    /* seconds */
    double               seconds;
    uint64_t             count;     /* instead of seconds, 0: seconds */
    uint64_t             rate;      /* bytes a second, of LOAD_SLOW */
    long                 pid;       /* whose CPU time is read, 0: nobody's */
    unsigned             fin:1;     /* LOAD_RATE: no Close frame */
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

/* load_mode.c: what connections do, and when */

void load_mode_run(void);
void load_mode_opened(load_conn_t *c);
void load_mode_echoed(load_conn_t *c);
void load_mode_ended(load_conn_t *c, const char *why);
int load_mode_epoll(void);

/* load_clock.c: times */

int64_t load_clock_now(void);
void load_clock_cpu(long pid, load_cpu_t *cpu);
void load_clock_add(load_times_t *times, int64_t ns);
double load_clock_percentile(const load_times_t *times, double part);


#endif /* _LOAD_H_INCLUDED_ */
