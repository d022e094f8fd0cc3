
/*
 * What a pair has that may go on with another instance: the service's
 * "failover" is reattach or replay.  For the files of the relay alone.
 */


#ifndef _NGX_HTTP_CORRAL_RELAY_RESUME_H_INCLUDED_
#define _NGX_HTTP_CORRAL_RELAY_RESUME_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <corral_journal.h>

#include "ngx_http_corral_handshake.h"
#include "ngx_http_corral_relay_pair.h"


/* in front of a message that is held: room for the header of its frame */

#define NGX_HTTP_CORRAL_RELAY_HEAD  CORRAL_FRAME_HEADER_MAX


/* A message that has begun to come from one side. */

typedef struct {
    ngx_http_corral_bytes_t      *held;     /* unmasked, behind the room */
    corral_pointer_scan_t        *scan;     /* of one that streams */
    uint8_t                       first;    /* of its first frame, with FIN */
    unsigned                      begun:1;
    unsigned                      streams:1;    /* too big to be held */
} ngx_http_corral_half_t;


/* where a move stands */

typedef enum {
    NGX_HTTP_CORRAL_MOVE_NONE = 0,
    NGX_HTTP_CORRAL_MOVE_LEAVING,   /* a send failed: last words are read */
    NGX_HTTP_CORRAL_MOVE_QUEUED,    /* others have their turn */
    NGX_HTTP_CORRAL_MOVE_TRYING,    /* a handshake is under way */
    NGX_HTTP_CORRAL_MOVE_WAITING,   /* no instance took it, in a while again */
    NGX_HTTP_CORRAL_MOVE_REPLAYING  /* joined; the preamble's answers to come */
} ngx_http_corral_move_e;


typedef struct ngx_http_corral_pace_s  ngx_http_corral_pace_t;


struct ngx_http_corral_resume_s {
    ngx_http_corral_pair_t       *pair;
    corral_answer_rules_t        *rules;    /* NULL: nothing is replayed */
    ngx_str_t                     reset;
    ngx_http_corral_half_t        halves[2];
    corral_journal_t              journal;
    uint32_t                      said;     /* messages, up to the preamble */
    uint32_t                      resumed;  /* times */
    uint64_t                      before;   /* bytes of the agents before */
    off_t                         sent;     /* to the last of them */

    /* of a move */

    uint64_t                      key;      /* of the instance of now */
    uint64_t                      wanted;   /* the one to go to, 0: any */
    uint64_t                      heard;    /* bytes of it when it joined */
    ngx_msec_t                    joined;   /* when that was */
    ngx_msec_t                    lost;     /* when it was lost */
    ngx_msec_t                    deadline;
    ngx_uint_t                    rounds;
    ngx_uint_t                    replayed;
    ngx_http_corral_handshake_t  *handshake;
    ngx_http_corral_pace_t       *pace;     /* in it: queued or in flight */
    ngx_queue_t                   queue;
    ngx_event_t                   event;
    ngx_http_corral_move_e        state;

    unsigned                      asked:1;  /* a ping asks what was read */
    unsigned                      torn:1;   /* a message was half sent when a
                                               send failed */

    ngx_http_corral_agreed_t      agreed;   /* strings in data */
    u_char                        data[];
};


/* ngx_http_corral_relay_hold.c: message by message */

void ngx_http_corral_relay_hold_take(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *pos, size_t n);
void ngx_http_corral_relay_hold_drop(ngx_http_corral_half_t *half);


/* Is nothing of a message of side i on its way to the other side? */

static ngx_inline ngx_uint_t
ngx_http_corral_relay_hold_boundary(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    return p->resume && !p->resume->halves[i].streams;
}


/* ngx_http_corral_relay_resume.c */

ngx_int_t ngx_http_corral_relay_resume_create(ngx_http_corral_pair_t *p,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_agreed_t *agreed);
void ngx_http_corral_relay_resume_free(ngx_http_corral_pair_t *p);


/* ngx_http_corral_relay_move.c: away from an instance */

ngx_int_t ngx_http_corral_relay_move_lost(ngx_http_corral_pair_t *p,
    ngx_uint_t lost);
ngx_int_t ngx_http_corral_relay_move_mute(ngx_http_corral_pair_t *p);
ngx_int_t ngx_http_corral_relay_move_leave(ngx_http_corral_pair_t *p,
    corral_frame_result_t *res);
ngx_int_t ngx_http_corral_relay_move_away(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_move_cancel(ngx_http_corral_pair_t *p);
void ngx_http_corral_relay_move_round(ngx_http_corral_resume_t *resume);
void ngx_http_corral_relay_move_handler(ngx_event_t *ev);
void ngx_http_corral_relay_move_over(ngx_http_corral_pair_t *p,
    ngx_uint_t code, ngx_str_t *reason);


/* ngx_http_corral_relay_move_join.c: to another instance */

void ngx_http_corral_relay_move_try(ngx_http_corral_resume_t *resume);
void ngx_http_corral_relay_move_drop(ngx_http_corral_resume_t *resume);
void ngx_http_corral_relay_move_done(ngx_http_corral_pair_t *p);


static ngx_inline ngx_uint_t
ngx_http_corral_relay_resumed(ngx_http_corral_pair_t *p)
{
    return p->resume ? p->resume->resumed : 0;
}


/* does the client wait for an answer, as far as that is known? */

static ngx_inline ngx_uint_t
ngx_http_corral_relay_asking(ngx_http_corral_pair_t *p)
{
    return p->resume && p->resume->journal.requests != 0;
}


static ngx_inline uint64_t
ngx_http_corral_relay_before(ngx_http_corral_pair_t *p)
{
    return p->resume ? p->resume->before : 0;
}


/* ngx_http_corral_relay_pace.c: not all at once */

ngx_int_t ngx_http_corral_relay_pace_enter(ngx_http_corral_resume_t *resume);
void ngx_http_corral_relay_pace_leave(ngx_http_corral_resume_t *resume);
ngx_uint_t ngx_http_corral_relay_pace_waiting(ngx_str_t *service_id);

/* ngx_http_corral_relay_replay.c: what the agents must and must not get */

ngx_uint_t ngx_http_corral_relay_replay_client(ngx_http_corral_pair_t *p,
    ngx_uint_t first, u_char *data, size_t len);
ngx_uint_t ngx_http_corral_relay_replay_agent(ngx_http_corral_pair_t *p,
    ngx_uint_t first, u_char *data, size_t len);
void ngx_http_corral_relay_replay_stream(ngx_http_corral_pair_t *p,
    ngx_uint_t i, u_char *data, size_t len);
void ngx_http_corral_relay_replay_end(ngx_http_corral_pair_t *p,
    ngx_uint_t i);
void ngx_http_corral_relay_replay_ask(ngx_http_corral_pair_t *p);
ngx_uint_t ngx_http_corral_relay_replay_pong(ngx_http_corral_pair_t *p,
    corral_frame_result_t *res);
ngx_uint_t ngx_http_corral_relay_replay_lost(ngx_http_corral_pair_t *p,
    ngx_uint_t died, ngx_str_t *reason);
void ngx_http_corral_relay_replay_go_on(ngx_http_corral_pair_t *p);

extern corral_journal_memory_t  ngx_http_corral_relay_journals;


#endif /* _NGX_HTTP_CORRAL_RELAY_RESUME_H_INCLUDED_ */
