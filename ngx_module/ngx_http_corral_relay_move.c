
/*
 * A pair leaves its instance: it keeps its client, gives its hold back, waits
 * for its turn, and is tried with instances that were not tried, in rounds,
 * until one takes it or the time is up.  The client's socket is not read
 * meanwhile.
 *
 * An agent is lost when its connection is reset or ends without a Close, when
 * it does not answer a ping, and when it says Close 1001 (going away) or 1012
 * (restart): it leaves, and means nobody.  Any other Close is its word to the
 * client and passes.
 *
 * While a pair moves its agent's side has no connection; it is eof and mute, so
 * that whatever happens to the pair then is the end of a pair with a dead
 * agent.  A close of our own cancels the move.
 *
 * How it joins the next one is ngx_http_corral_relay_move_join.c's affair.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


#define NGX_HTTP_CORRAL_MOVE_FIRST  50        /* ms until the second round */
#define NGX_HTTP_CORRAL_MOVE_LAST   1000      /* ms between later ones */
#define NGX_HTTP_CORRAL_MOVE_SHORT  1000      /* ms in silence: no life */


static void ngx_http_corral_relay_move_bye(ngx_http_corral_pair_t *p,
    ngx_uint_t code);
static ngx_uint_t ngx_http_corral_relay_move_closing(
    ngx_http_corral_pair_t *p);
static ngx_uint_t ngx_http_corral_relay_move_refused(
    ngx_http_corral_pair_t *p, ngx_uint_t died, ngx_str_t *reason);
static ngx_int_t ngx_http_corral_relay_move_start(ngx_http_corral_pair_t *p,
    ngx_uint_t died);
static ngx_int_t ngx_http_corral_relay_move_begin(ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_move_detach(ngx_http_corral_pair_t *p);


/*
 * Nothing comes from the agent any more; lost: not by a FIN.  NGX_OK: the pair
 * goes on with another one.  NGX_DECLINED: it ends; if that is for a reason of
 * ours, a close of our own has begun.
 */

ngx_int_t
ngx_http_corral_relay_move_lost(ngx_http_corral_pair_t *p, ngx_uint_t lost)
{
    if (p->moving) {
        return NGX_OK;
    }

    if (ngx_http_corral_relay_move_closing(p)) {
        return NGX_DECLINED;
    }

    ngx_http_corral_relay_fault(p, lost);

    return ngx_http_corral_relay_move_start(p, 1);
}


/* A Close of the agent.  NGX_OK: it was dealt with and is not to pass. */

ngx_int_t
ngx_http_corral_relay_move_leave(ngx_http_corral_pair_t *p,
    corral_frame_result_t *res)
{
    if ((res->code != 1001 && res->code != 1012)
        || ngx_http_corral_relay_move_closing(p))
    {
        return NGX_DECLINED;
    }

    ngx_http_corral_relay_move_bye(p, res->code);

    if (ngx_http_corral_relay_move_start(p, 0) != NGX_OK) {
        (void) ngx_http_corral_relay_see(p, NGX_HTTP_CORRAL_AGENT, res);
    }

    return NGX_OK;
}


/*
 * The pair is to leave its instance, which lives.  NGX_OK: it goes on with
 * another one; NGX_DECLINED: it cannot, and perhaps has begun to close.
 */

ngx_int_t
ngx_http_corral_relay_move_away(ngx_http_corral_pair_t *p)
{
    if (p->resume == NULL || ngx_http_corral_relay_move_closing(p)) {
        return NGX_DECLINED;
    }

    ngx_http_corral_relay_move_bye(p, 1001);

    return ngx_http_corral_relay_move_start(p, 0);
}


/* a Close for the agent, if one may be put in now; nobody waits for its own */

static void
ngx_http_corral_relay_move_bye(ngx_http_corral_pair_t *p, ngx_uint_t code)
{
    size_t                   n;
    uint32_t                 mask;
    ngx_http_corral_side_t  *agent;
    u_char                   buf[CORRAL_FRAME_CONTROL_MAX];

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    if (agent->tail
        || p->resume->halves[NGX_HTTP_CORRAL_CLIENT].streams)
    {
        return;
    }

    mask = (uint32_t) (ngx_random() << 8 ^ ngx_random());
    n = corral_frame_close(buf, code, "", 0, (uint8_t *) &mask);

    (void) agent->connection->send(agent->connection, buf, n);
    agent->told = 1;
}


/*
 * A send to the agent failed: what it has still to say may be in its socket and
 * is read first, in a turn of its own.  NGX_DECLINED: the pair ends anyway.
 */

ngx_int_t
ngx_http_corral_relay_move_mute(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_side_t    *agent, *client;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    if (p->moving || resume->state == NGX_HTTP_CORRAL_MOVE_LEAVING) {
        return NGX_OK;
    }

    if (ngx_http_corral_relay_move_closing(p)) {
        return NGX_DECLINED;
    }

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];
    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];

    agent->mute = 1;
    agent->owe_ping = 0;

    if (agent->tail) {
        ngx_free(agent->tail);
        agent->tail = NULL;
    }

    client->paused = 1;
    client->early = 1;

    /* its end may be in the same buffer, and then waits as the tail */

    resume->torn = resume->halves[NGX_HTTP_CORRAL_CLIENT].streams;

    resume->state = NGX_HTTP_CORRAL_MOVE_LEAVING;
    resume->event.data = client->connection;
    ngx_post_event(&resume->event, &ngx_posted_events);

    return NGX_OK;
}


/* the end of the pair has begun, whoever has begun it */

static ngx_uint_t
ngx_http_corral_relay_move_closing(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_side_t  *client, *agent;

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    return p->own || p->lingering || p->ended || p->hurry
           || agent->said || agent->told || agent->eof
           || client->said || client->told || client->eof || client->mute
           || client->fin || client->deaf || client->owe_close;
}


/* the code that the client must be closed with; 0: the pair may go on */

static ngx_uint_t
ngx_http_corral_relay_move_refused(ngx_http_corral_pair_t *p, ngx_uint_t died,
    ngx_str_t *reason)
{
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    if (resume->halves[NGX_HTTP_CORRAL_AGENT].streams) {
        ngx_str_set(reason, "agent lost within a message");
        return 1012;
    }

    if (resume->halves[NGX_HTTP_CORRAL_CLIENT].streams || resume->torn) {
        ngx_str_set(reason, "agent lost within a message to it");
        return 1012;
    }

    return resume->rules ? ngx_http_corral_relay_replay_lost(p, died, reason)
                         : 0;
}


/* begins a move, or a close if that cannot be */

static ngx_int_t
ngx_http_corral_relay_move_start(ngx_http_corral_pair_t *p, ngx_uint_t died)
{
    ngx_str_t   reason;
    ngx_uint_t  code;

    code = ngx_http_corral_relay_move_refused(p, died, &reason);

    if (code == 0) {

        if (ngx_http_corral_relay_move_begin(p) == NGX_OK) {
            return NGX_OK;
        }

        ngx_str_set(&reason, "no other agent took over");
        code = 1012;
    }

    ngx_log_error(NGX_LOG_INFO,
                  p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                  "WebSocket cannot go on with another agent: %V", &reason);

    ngx_http_corral_table_local(p->shared->terms.ref)->moves_refused++;

    ngx_http_corral_relay_shut(p, code, 1001, &reason);

    return NGX_DECLINED;
}


/*
 * NGX_ERROR: no memory, or no time left.  Agents that take a pair and end it at
 * once, in silence, took nothing: the time and the rounds go on.
 */

static ngx_int_t
ngx_http_corral_relay_move_begin(ngx_http_corral_pair_t *p)
{
    ngx_uint_t                 again;
    ngx_http_corral_side_t    *client, *agent;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;
    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    again = resume->resumed && agent->bytes == resume->heard
            && ngx_current_msec - resume->joined < NGX_HTTP_CORRAL_MOVE_SHORT;

    resume->lost = ngx_current_msec;
    resume->replayed = 0;

    if (!again) {
        resume->deadline = ngx_current_msec + p->shared->terms.hold_time;
        resume->rounds = 0;

    } else if ((ngx_msec_int_t) (resume->deadline - ngx_current_msec) <= 0) {
        return NGX_ERROR;
    }

    /* what is partly sent is lost; a tail made since has whole messages */

    if (resume->state != NGX_HTTP_CORRAL_MOVE_LEAVING && agent->tail) {
        ngx_free(agent->tail);
        agent->tail = NULL;
    }

    resume->asked = 0;
    resume->event.data = client->connection;
    client->paused = 1;
    client->early = 1;

    if (again) {
        ngx_http_corral_relay_move_round(resume);

    } else if (ngx_http_corral_relay_pace_enter(resume) == NGX_OK) {
        ngx_add_timer(&resume->event, p->shared->terms.hold_time);

    } else {
        return NGX_ERROR;
    }

    ngx_http_corral_relay_move_detach(p);

    return NGX_OK;
}


/* the agent's side without an agent */

static void
ngx_http_corral_relay_move_detach(ngx_http_corral_pair_t *p)
{
    uint64_t                  messages, bytes;
    ngx_connection_t         *c;
    ngx_http_corral_side_t   *agent;
    ngx_http_corral_bytes_t  *tail;

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];
    c = agent->connection;

    p->moving = 1;
    p->resume->sent = c->sent;

    ngx_http_corral_table_release(&p->hold);
    ngx_http_corral_relay_hold_drop(&p->resume->halves[NGX_HTTP_CORRAL_AGENT]);

    if (agent->rest) {
        ngx_free(agent->rest);
    }

    tail = agent->tail;
    messages = agent->messages;
    bytes = agent->bytes;

    ngx_memzero(agent, sizeof(ngx_http_corral_side_t));

    agent->tail = tail;
    agent->messages = messages;
    agent->bytes = bytes;
    agent->eof = 1;
    agent->mute = 1;
    agent->whole = 1;

    ngx_close_connection(c);
}


/* The pair begins to close, or ends: it looks for nothing any more. */

void
ngx_http_corral_relay_move_cancel(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_side_t    *client, *agent;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    if (resume->state == NGX_HTTP_CORRAL_MOVE_NONE) {
        return;
    }

    if (resume->handshake) {
        ngx_http_corral_relay_move_drop(resume);
    }

    ngx_http_corral_relay_pace_leave(resume);

    if (resume->event.timer_set) {
        ngx_del_timer(&resume->event);
    }

    if (resume->event.posted) {
        ngx_delete_posted_event(&resume->event);
    }

    resume->state = NGX_HTTP_CORRAL_MOVE_NONE;
    p->moving = 0;

    /*
     * What waited for an agent waits for nothing now, and would keep us from
     * reading the client's answer to our Close
     */

    agent = &p->sides[NGX_HTTP_CORRAL_AGENT];

    if (agent->mute && agent->tail) {
        ngx_free(agent->tail);
        agent->tail = NULL;
    }

    client = &p->sides[NGX_HTTP_CORRAL_CLIENT];
    client->paused = 0;
    ngx_post_event(client->connection->read, &ngx_posted_events);
}


/* The event of a move: a send has failed, or time has passed. */

void
ngx_http_corral_relay_move_handler(ngx_event_t *ev)
{
    ngx_msec_int_t             left;
    ngx_http_corral_pair_t    *p;
    ngx_http_corral_resume_t  *resume;

    static ngx_str_t  none = ngx_string("no other agent took over");
    static ngx_str_t  silent = ngx_string("agent did not resume");

    resume = (ngx_http_corral_resume_t *)
                 ((u_char *) ev - offsetof(ngx_http_corral_resume_t, event));
    p = resume->pair;

    if (resume->state == NGX_HTTP_CORRAL_MOVE_LEAVING) {
        ngx_http_corral_relay_pump(p, &p->sides[NGX_HTTP_CORRAL_AGENT]);

        if (resume->state == NGX_HTTP_CORRAL_MOVE_LEAVING) {
            ngx_http_corral_relay_ended(p, NGX_HTTP_CORRAL_AGENT, 1);
        }

        ngx_http_corral_relay_settle(p);
        return;
    }

    ev->timedout = 0;
    left = (ngx_msec_int_t) (resume->deadline - ngx_current_msec);

    if (left <= 0) {
        ngx_http_corral_relay_move_over(p, 1012,
                              resume->state == NGX_HTTP_CORRAL_MOVE_REPLAYING
                              ? &silent : &none);
        return;
    }

    ngx_add_timer(ev, (ngx_msec_t) left);

    if (resume->state == NGX_HTTP_CORRAL_MOVE_WAITING
        && ngx_http_corral_relay_pace_enter(resume) != NGX_OK)
    {
        ngx_http_corral_relay_move_over(p, 1012, &none);
    }
}


/* A pair that moves, or has just joined, cannot go on: closes it. */

void
ngx_http_corral_relay_move_over(ngx_http_corral_pair_t *p, ngx_uint_t code,
    ngx_str_t *reason)
{
    ngx_log_error(NGX_LOG_INFO,
                  p->sides[NGX_HTTP_CORRAL_CLIENT].connection->log, 0,
                  "WebSocket cannot go on with another agent: %V", reason);

    ngx_http_corral_table_local(p->shared->terms.ref)->moves_refused++;

    ngx_http_corral_relay_shut(p, code, 1001, reason);
    ngx_http_corral_relay_settle(p);
}


/* Nobody took the pair: another round later, until the deadline. */

void
ngx_http_corral_relay_move_round(ngx_http_corral_resume_t *resume)
{
    ngx_msec_t      wait;
    ngx_msec_int_t  left;

    ngx_http_corral_relay_pace_leave(resume);

    wait = NGX_HTTP_CORRAL_MOVE_FIRST << ngx_min(resume->rounds, 5);
    wait = ngx_min(wait, NGX_HTTP_CORRAL_MOVE_LAST);
    left = (ngx_msec_int_t) (resume->deadline - ngx_current_msec);

    resume->rounds++;
    resume->state = NGX_HTTP_CORRAL_MOVE_WAITING;

    if (resume->event.timer_set) {
        ngx_del_timer(&resume->event);
    }

    ngx_add_timer(&resume->event,
                  (ngx_msec_t) ngx_max(ngx_min((ngx_msec_int_t) wait, left),
                                       1));
}
