
/*
 * The one event loop of corrald: libuv's, with timers that own themselves and
 * libmicrohttpd driven from it.  See loop.c.
 */


#ifndef _CORRALD_LOOP_H_INCLUDED_
#define _CORRALD_LOOP_H_INCLUDED_


#include <stdint.h>

#include <uv.h>


struct MHD_Daemon;

typedef struct corrald_timer_s  corrald_timer_t;
typedef struct corrald_loop_http_s  corrald_loop_http_t;

typedef void (*corrald_loop_pt)(void *data);


int corrald_loop_init(void) __attribute__((warn_unused_result));
uv_loop_t *corrald_loop_uv(void);
void corrald_loop_run(void);
void corrald_loop_stop(void);
void corrald_loop_close(void);

/*
 * Timers.  delay and repeat are milliseconds; repeat 0 is a timer that fires
 * once and is then gone.
 */

corrald_timer_t *corrald_loop_timer(uint64_t delay, uint64_t repeat,
    corrald_loop_pt handler, void *data);
void corrald_loop_timer_stop(corrald_timer_t **timer);

/* handler runs in the next turn of the loop; nothing to free, no way back */

int corrald_loop_soon(corrald_loop_pt handler, void *data);

/*
 * work runs on a thread of libuv's pool, done on the loop's afterwards.
 * Returns 0; -1: not queued, neither will run.
 */

int corrald_loop_work(corrald_loop_pt work, corrald_loop_pt done, void *data);

/* libmicrohttpd: poll its epoll fd, run it, honour its time-out */

corrald_loop_http_t *corrald_loop_http_add(struct MHD_Daemon *daemon);
void corrald_loop_http_kick(void);
void corrald_loop_http_remove(corrald_loop_http_t **http);


#endif /* _CORRALD_LOOP_H_INCLUDED_ */
