
/*
 * The pair of connections: what the files of the relay share.  Nobody else
 * includes it.
 */


#ifndef _NGX_HTTP_CORRAL_RELAY_PAIR_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RELAY_PAIR_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <corral_bucket.h>
#include <corral_frame.h>

#include "ngx_http_corral_record.h"
#include "ngx_http_corral_relay.h"


#define NGX_HTTP_CORRAL_CLIENT        0
#define NGX_HTTP_CORRAL_AGENT         1

#define NGX_HTTP_CORRAL_RELAY_LINGER  2000     /* ms for last words */
#define NGX_HTTP_CORRAL_RELAY_HURRY   500      /* the same when nginx stops */
#define NGX_HTTP_CORRAL_RELAY_REASON  123      /* bytes in a Close frame */
#define NGX_HTTP_CORRAL_RELAY_NEVER   0xffffffff    /* ms until */

/* beside what corral_frame_scan() returns: what comes next is to wait */

#define NGX_HTTP_CORRAL_RELAY_HELD    16


/* Bytes that wait: unsent ones, or the beginning of a frame.  By ngx_alloc. */

typedef struct {
    uint32_t                     size;
    uint32_t                     pos;
    uint32_t                     last;
    u_char                       data[];
} ngx_http_corral_bytes_t;


/*
 * What a pair with limits needs of its own.  By ngx_alloc; lives as long as
 * the pair.
 */

typedef struct {
    time_t                       expires;      /* its token, 0: never */
    corral_bucket_t              messages;     /* of the client */
    corral_bucket_t              bytes[2];     /* of each side */
    uint32_t                     opened;       /* ms */
    uint32_t                     early_end;    /* ms before max_lifetime */

    unsigned                     noticed:1;    /* that it was delayed */
} ngx_http_corral_paced_t;


/*
 * What connections of one service and location have in common: interned by
 * content, freed with the last pair.  Behind the names stand, if the service
 * replays, its rules and its reset message.
 */

typedef struct ngx_http_corral_shared_s  ngx_http_corral_shared_t;
typedef struct ngx_http_corral_resume_s  ngx_http_corral_resume_t;
typedef struct ngx_http_corral_renew_s   ngx_http_corral_renew_t;
typedef struct ngx_http_corral_verify_s  ngx_http_corral_verify_t;

struct ngx_http_corral_shared_s {
    ngx_http_corral_shared_t    *next;
    ngx_uint_t                   refs;
    uint32_t                     hash;

    /* what is compared begins here */

    ngx_http_corral_terms_t      terms;
    void                       **srv_conf;
    void                       **loc_conf;
    uint16_t                     id_len;
    uint16_t                     name_len;
    uint16_t                     rules;        /* where they stand, 0: none */
    uint16_t                     reset_len;
    u_char                       names[];      /* service_id, service_name */
};


/* Who wants to know how a forced close ended. */

typedef struct {
    ngx_http_corral_closed_pt    done;
    void                        *data;
    ngx_uint_t                   open;         /* pairs that have not ended */
    ngx_uint_t                   matched;
    ngx_uint_t                   closed;
    ngx_uint_t                   sent;
} ngx_http_corral_order_t;


typedef struct ngx_http_corral_waiter_s  ngx_http_corral_waiter_t;

struct ngx_http_corral_waiter_s {
    ngx_http_corral_waiter_t    *next;
    ngx_http_corral_order_t     *order;
};


/* A close of our own.  By ngx_alloc; lives until the pair ends. */

typedef struct {
    ngx_http_corral_waiter_t    *waiters;
    uint8_t                      len;
    u_char                       reason[NGX_HTTP_CORRAL_RELAY_REASON];
} ngx_http_corral_closing_t;


/*
 * One connection of the pair.  Times are ngx_current_msec, cut to 32 bits: a
 * difference of up to 49 days is right.
 */

typedef struct {
    ngx_connection_t            *connection;
    ngx_http_corral_bytes_t     *tail;         /* unsent bytes towards it */
    ngx_http_corral_bytes_t     *rest;         /* of a frame it has begun */
    uint64_t                     messages;     /* that it sent */
    uint64_t                     bytes;
    corral_frame_t               frame;        /* of what it sends */
    uint32_t                     heard;        /* its last sign of life */
    uint32_t                     pinged;       /* our last ping */
    uint32_t                     taken;        /* bytes its other end had taken
                                                  when we last looked */
    uint16_t                     code;         /* of the Close that we owe it */

    unsigned                     told:1;       /* a Close is on its way to it */
    unsigned                     said:1;       /* it has sent a Close */
    unsigned                     eof:1;        /* nothing comes from it */
    unsigned                     mute:1;       /* nothing can be sent to it */
    unsigned                     fin:1;        /* we have shut writing down */
    unsigned                     deaf:1;       /* what it sends is dropped */
    unsigned                     owe_close:1;
    unsigned                     owe_ping:1;
    unsigned                     waiting:1;    /* for an answer to our ping */
    unsigned                     early:1;      /* rest is not scanned yet, or
                                                  paused is set; nothing is
                                                  read before */
    unsigned                     paused:1;     /* it is not read for a while */
    unsigned                     whole:1;      /* goes message by message */
    unsigned                     watched:1;    /* may renew its token */
    unsigned                     owe_text:1;   /* the answer to that */
} ngx_http_corral_side_t;


struct ngx_http_corral_pair_s {
    ngx_http_corral_side_t       sides[2];
    ngx_queue_t                  due;          /* in a bucket of the wheel */
    ngx_queue_t                  used;         /* among the changed */
    ngx_http_connection_t       *hc;
    ngx_http_corral_record_t    *record;
    ngx_http_corral_shared_t    *shared;
    ngx_http_corral_closing_t   *closing;
    ngx_http_corral_resume_t    *resume;       /* NULL: never with another
                                                  instance */
    ngx_http_corral_paced_t     *limits;       /* NULL: none */
    ngx_http_corral_renew_t     *renew;        /* NULL: not in band */
    ngx_http_corral_hold_t       hold;
    uint32_t                     number;       /* of the connection id; 0: the
                                                  pair is free */
    uint64_t                     last;         /* ms, the last data frame */
    uint32_t                     deadline;     /* ms, if limited */
    uint16_t                     close_code;   /* 0: none yet */

    unsigned                     kept:1;       /* c->data is the request */
    unsigned                     limited:1;
    unsigned                     ending:1;     /* to be settled each time */
    unsigned                     own:1;        /* we have begun a close */
    unsigned                     lingering:1;
    unsigned                     hurry:1;
    unsigned                     reset:1;      /* end it with a RST */
    unsigned                     lost:1;       /* the agent failed */
    unsigned                     moving:1;     /* it has no agent now */
    unsigned                     ended:1;
    unsigned                     changed:1;    /* queued in used */
    unsigned                     published:1;  /* the list has shown it */
};


#define ngx_http_corral_relay_now()  ((uint32_t) ngx_current_msec)

/* which side is it, and which is the other one? */

#define ngx_http_corral_relay_index(p, s)                                     \
    ((ngx_uint_t) ((s) != (p)->sides))

#define ngx_http_corral_relay_other(p, s)                                     \
    ((s) == (p)->sides ? (p)->sides + 1 : (p)->sides)


/* one more of a total, of the service and of the instance */

#define ngx_http_corral_relay_count_close(p, field)                           \
    (ngx_http_corral_table_local((p)->hold.ref)->field++,                     \
     ngx_http_corral_table_local((p)->shared->terms.ref)->field++)


/* ms from now until time + after, 0 if that is past */

static ngx_inline uint32_t
ngx_http_corral_relay_until(uint32_t time, uint32_t after)
{
    uint32_t  passed;

    passed = ngx_http_corral_relay_now() - time;

    return passed >= after ? 0 : after - passed;
}


/*
 * Is nothing half said?  No message is open in either direction, nothing of
 * one waits, and nothing is held back.
 */

static ngx_inline ngx_uint_t
ngx_http_corral_relay_quiet(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_side_t  *client, *agent;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    return corral_frame_between(&client->frame)
           && corral_frame_between(&agent->frame)
           && client->tail == NULL && agent->tail == NULL
           && client->rest == NULL && agent->rest == NULL;
}


/* may bytes be put into the stream to this side? */

#define ngx_http_corral_relay_open(s)                                         \
    (!(s)->told && !(s)->mute && !(s)->eof && !(s)->fin)


/* ngx_http_corral_relay.c: bytes from side to side */

void ngx_http_corral_relay_handler(ngx_event_t *ev);
void ngx_http_corral_relay_kept_handler(ngx_event_t *ev);
void ngx_http_corral_relay_pump(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a);
void ngx_http_corral_relay_take_frames(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n);
ngx_uint_t ngx_http_corral_relay_see(ngx_http_corral_pair_t *p, ngx_uint_t i,
    corral_frame_result_t *res);
void ngx_http_corral_relay_passed(ngx_http_corral_pair_t *p, ngx_uint_t i,
    size_t bytes, size_t messages, ngx_uint_t data);
ngx_int_t ngx_http_corral_relay_wait(ngx_http_corral_side_t *s, u_char *pos,
    size_t n);
void ngx_http_corral_relay_flush(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *s);
void ngx_http_corral_relay_put(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n);
ngx_http_corral_bytes_t *ngx_http_corral_relay_bytes(u_char *data, size_t len,
    size_t size, ngx_log_t *log);
uint32_t ngx_http_corral_relay_new_number(void);
uint64_t ngx_http_corral_relay_id(ngx_http_corral_pair_t *p);

extern u_char  ngx_http_corral_relay_nonce[8];     /* payload of our pings */

/* ngx_http_corral_relay_close.c: how a pair comes to its end */

void ngx_http_corral_relay_ended(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t lost);
void ngx_http_corral_relay_fault(ngx_http_corral_pair_t *p, ngx_uint_t lost);
void ngx_http_corral_relay_lose(ngx_http_corral_pair_t *p, ngx_uint_t i);
void ngx_http_corral_relay_mute(ngx_http_corral_pair_t *p, ngx_uint_t i);
void ngx_http_corral_relay_refuse(ngx_http_corral_pair_t *p, ngx_uint_t i,
    ngx_uint_t code);
void ngx_http_corral_relay_shut(ngx_http_corral_pair_t *p, ngx_uint_t client,
    ngx_uint_t agent, ngx_str_t *reason);
void ngx_http_corral_relay_ping(ngx_http_corral_pair_t *p, ngx_uint_t i);
void ngx_http_corral_relay_pay(ngx_http_corral_pair_t *p, ngx_uint_t i);
void ngx_http_corral_relay_settle(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_expire(ngx_http_corral_pair_t *p);

/* ngx_http_corral_relay_end.c: its end */

void ngx_http_corral_relay_end(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_end_of(ngx_http_corral_pair_t *p,
    ngx_http_corral_websocket_t *ws, ngx_http_corral_record_end_t *end);
off_t ngx_http_corral_relay_sent(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_answer(ngx_http_corral_closing_t *closing,
    ngx_uint_t closed, ngx_uint_t sent);
void ngx_http_corral_relay_kept_cleanup(void *data);

/* ngx_http_corral_relay_time.c: when something is due */

ngx_int_t ngx_http_corral_relay_time_init(ngx_cycle_t *cycle);
void ngx_http_corral_relay_time_start(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_time_limit(ngx_http_corral_pair_t *p,
    ngx_msec_t time);
void ngx_http_corral_relay_time_stop(ngx_http_corral_pair_t *p);
ngx_uint_t ngx_http_corral_relay_time_progress(ngx_http_corral_side_t *s,
    ngx_uint_t *queued);

void ngx_http_corral_relay_time_arm(ngx_http_corral_pair_t *p);

/* ngx_http_corral_relay_token.c: the end of a token before its time */

ngx_uint_t ngx_http_corral_relay_token_check(ngx_http_corral_pair_t *p);

/* ngx_http_corral_relay_renew.c: another token, in band */

ngx_int_t ngx_http_corral_relay_renew_create(ngx_http_corral_pair_t *p,
    ngx_log_t *log);
void ngx_http_corral_relay_renew_free(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_renew_take(ngx_http_corral_pair_t *p, u_char *pos,
    size_t n);
void ngx_http_corral_relay_renew_pay(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_renew_token(ngx_http_corral_pair_t *p,
    ngx_str_t *token);

/* ngx_http_corral_relay_limit.c: how much and how long */

ngx_int_t ngx_http_corral_relay_limit_create(ngx_http_corral_pair_t *p,
    time_t expires, ngx_log_t *log);
ngx_int_t ngx_http_corral_relay_limit_renew(ngx_http_corral_pair_t *p,
    time_t expires);
ngx_uint_t ngx_http_corral_relay_limit_metered(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
int ngx_http_corral_relay_limit_scan(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n, corral_frame_result_t *res);
ngx_uint_t ngx_http_corral_relay_limit_whole(ngx_http_corral_pair_t *p,
    ngx_uint_t i, size_t n);
uint32_t ngx_http_corral_relay_limit_wait(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
uint32_t ngx_http_corral_relay_limit_left(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_limit_due(ngx_http_corral_pair_t *p);

/* ngx_http_corral_relay_list.c: which pairs there are */

void ngx_http_corral_relay_list_init(void);
ngx_http_corral_pair_t *ngx_http_corral_relay_list_alloc(ngx_log_t *log);
void ngx_http_corral_relay_list_free(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_list_use(ngx_http_corral_pair_t *p);
ngx_http_corral_shared_t *ngx_http_corral_relay_list_share(
    ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_http_corral_terms_t *terms);
void ngx_http_corral_relay_list_unshare(ngx_http_corral_shared_t *shared);
ngx_uint_t ngx_http_corral_relay_list_service(ngx_http_corral_pair_t *p);
ngx_http_corral_pair_t *ngx_http_corral_relay_list_walk(void **at,
    ngx_uint_t *n);
ngx_uint_t ngx_http_corral_relay_list_matches(ngx_http_corral_pair_t *p,
    ngx_http_corral_filter_t *filter);
ngx_int_t ngx_http_corral_relay_list_order(ngx_http_corral_pair_t *p,
    ngx_http_corral_order_t *order);


/* n bytes of side a that are one message, and may pass: no scan is needed */

static ngx_inline ngx_uint_t
ngx_http_corral_relay_whole(ngx_http_corral_pair_t *p,
    ngx_http_corral_side_t *a, u_char *pos, size_t n)
{
    ngx_uint_t  i;

    i = ngx_http_corral_relay_index(p, a);

    return corral_frame_whole(&a->frame, pos, n,
                              p->shared->terms.max_message_size[i])
           && (!(a->frame.flags & CORRAL_FRAME_METERED)
               || ngx_http_corral_relay_limit_whole(p, i, n));
}


/* the scanner of side i, by way of its limits if it has any */

static ngx_inline int
ngx_http_corral_relay_next_frame(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n, corral_frame_result_t *res)
{
    if (p->sides[i].frame.flags & CORRAL_FRAME_METERED) {
        return ngx_http_corral_relay_limit_scan(p, i, pos, n, res);
    }

    return corral_frame_scan(&p->sides[i].frame, pos, n,
                             p->shared->terms.max_message_size[i], res);
}


#endif /* _NGX_HTTP_CORRAL_RELAY_PAIR_H_INCLUDED_ */
