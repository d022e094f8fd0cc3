
/*
 * What the agents must and must not get, and the client neither: the journal of
 * a pair whose service replays.
 *
 * A message of the client is noted before it is sent.  What asks for nothing is
 * kept until an answer to something later proves that it was read, or the pong
 * to a ping that is sent for this alone.  Messages of the agent are looked into
 * only while something is unanswered.
 *
 * When an agent is lost, a message that was in flight for the second time is
 * suspect: the client is closed with 1011, and for a minute whoever sends the
 * same, under whatever id, is closed, too, before any agent sees it.  But what
 * an agent has answered, to whomever, is not suspect, nor what asks for nothing
 * if one has read it.  Else the next agent gets the preamble, whose answers are
 * swallowed, and then what has no answer yet.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>


#define NGX_HTTP_CORRAL_REPLAY_MEMORY  (64 * 1024 * 1024)   /* of a worker */

#define NGX_HTTP_CORRAL_REPLAY_KNOWN   4096                 /* contents */
#define NGX_HTTP_CORRAL_REPLAY_KEY     16       /* bytes of SipHash' key */

#define NGX_HTTP_CORRAL_REPLAY_FIN     0x80
#define NGX_HTTP_CORRAL_REPLAY_TEXT                                           \
    (NGX_HTTP_CORRAL_REPLAY_FIN | CORRAL_FRAME_TEXT)


static void *ngx_http_corral_relay_replay_alloc(void *data, size_t size);
static void ngx_http_corral_relay_replay_give(void *data, void *p);
static uint64_t ngx_http_corral_relay_replay_content(
    corral_pointer_scan_t *scan, u_char *data, size_t len);
static EVP_MAC_CTX *ngx_http_corral_relay_replay_siphash(void);
static uint64_t ngx_http_corral_relay_replay_hash(ngx_http_corral_pair_t *p,
    uint64_t content);
static void ngx_http_corral_relay_replay_count(ngx_http_corral_pair_t *p,
    corral_answer_t *answer);
static ngx_uint_t ngx_http_corral_relay_replay_answered(
    ngx_http_corral_pair_t *p, corral_answer_t *answer);
static void ngx_http_corral_relay_replay_read(ngx_http_corral_pair_t *p,
    uint32_t seq);
static void ngx_http_corral_relay_replay_acquit(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e);
static uint64_t *ngx_http_corral_relay_replay_known(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e);
static void ngx_http_corral_relay_replay_accuse(ngx_http_corral_pair_t *p);
static void ngx_http_corral_relay_replay_suspect(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e);
static ngx_int_t ngx_http_corral_relay_replay_send(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e);


corral_journal_memory_t  ngx_http_corral_relay_journals = {
    ngx_http_corral_relay_replay_alloc,
    ngx_http_corral_relay_replay_give,
    NULL,
    NGX_HTTP_CORRAL_REPLAY_MEMORY,
    0
};

static corral_pointer_scan_t  ngx_http_corral_relay_scan;  /* of one message */

static ngx_uint_t             ngx_http_corral_relay_nsuspects;
static size_t                 ngx_http_corral_relay_suspect_len;
static u_char                 ngx_http_corral_relay_suspect[CORRAL_ID_MAX];


ngx_uint_t
ngx_http_corral_relay_suspects(ngx_str_t *service_id)
{
    service_id->data = ngx_http_corral_relay_suspect;
    service_id->len = ngx_http_corral_relay_suspect_len;

    return ngx_http_corral_relay_nsuspects;
}


static void *
ngx_http_corral_relay_replay_alloc(void *data, size_t size)
{
    return ngx_alloc(size, ngx_cycle->log);
}


static void
ngx_http_corral_relay_replay_give(void *data, void *p)
{
    ngx_free(p);
}


/*
 * A hash of the client's message without its id, so that it is the same when it
 * is sent again with another one; scan has seen it, or is NULL.  SipHash with
 * the secret of the zone: nobody can make a message that has the hash of
 * another one.  0: there is none, and it is never under suspicion.
 */

static uint64_t
ngx_http_corral_relay_replay_content(corral_pointer_scan_t *scan, u_char *data,
    size_t len)
{
    size_t        begin, end, size;
    uint64_t      hash;
    ngx_str_t     secret;
    EVP_MAC_CTX  *ctx;

    if (scan == NULL || !corral_answer_where(scan, &begin, &end)) {
        begin = len;
        end = len;
    }

    ctx = ngx_http_corral_relay_replay_siphash();
    ngx_http_corral_table_secret(&secret);

    /* the place of the id is in it: what follows is not what was before */

    if (ctx == NULL || secret.len < NGX_HTTP_CORRAL_REPLAY_KEY
        || !EVP_MAC_init(ctx, secret.data, NGX_HTTP_CORRAL_REPLAY_KEY, NULL)
        || !EVP_MAC_update(ctx, (u_char *) &begin, sizeof(begin))
        || !EVP_MAC_update(ctx, data, begin)
        || !EVP_MAC_update(ctx, data + end, len - end)
        || !EVP_MAC_final(ctx, (u_char *) &hash, &size, sizeof(hash)))
    {
        return 0;
    }

    return hash;
}


/* of 64 bits; made once in a worker, NULL if OpenSSL has it not */

static EVP_MAC_CTX *
ngx_http_corral_relay_replay_siphash(void)
{
    size_t       size;
    EVP_MAC     *mac;
    OSSL_PARAM   params[2];

    static EVP_MAC_CTX  *ctx;

    if (ctx) {
        return ctx;
    }

    mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    if (mac == NULL) {
        return NULL;
    }

    ctx = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);

    size = sizeof(uint64_t);
    params[0] = OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size);
    params[1] = OSSL_PARAM_construct_end();

    if (ctx && !EVP_MAC_CTX_set_params(ctx, params)) {
        EVP_MAC_CTX_free(ctx);
        ctx = NULL;
    }

    return ctx;
}


/* the same message of another service is another message */

static uint64_t
ngx_http_corral_relay_replay_hash(ngx_http_corral_pair_t *p, uint64_t content)
{
    return content ^ corral_balance_key(p->shared->names, p->shared->id_len);
}


/*
 * A whole message of the client, unmasked; first is the first byte of its
 * frame.  0: it must not reach an agent, and the pair is being closed.
 */

ngx_uint_t
ngx_http_corral_relay_replay_client(ngx_http_corral_pair_t *p,
    ngx_uint_t first, u_char *data, size_t len)
{
    corral_answer_t            answer;
    corral_pointer_scan_t     *scan;
    corral_journal_entry_t    *e;
    ngx_http_corral_resume_t  *resume;

    static ngx_str_t  reason = ngx_string("message is under suspicion");

    resume = p->resume;

    ngx_memzero(&answer, sizeof(corral_answer_t));
    scan = NULL;

    if (first == NGX_HTTP_CORRAL_REPLAY_TEXT) {
        scan = &ngx_http_corral_relay_scan;
        corral_answer_begin_client(resume->rules, scan);
        corral_pointer_feed(scan, data, len);
        answer = corral_answer_of_client(resume->rules, scan);
    }

    answer.content = ngx_http_corral_relay_replay_content(scan, data, len);

    if (ngx_http_corral_table_suspects()
        && ngx_http_corral_table_suspect(
                        ngx_http_corral_relay_replay_hash(p, answer.content)))
    {
        ngx_log_error(NGX_LOG_WARN, p->sides[0].connection->log, 0,
                      "client sent a WebSocket message that has seen two "
                      "instances of its service die: refused");

        p->sides[NGX_HTTP_CORRAL_CLIENT].deaf = 1;
        ngx_http_corral_relay_shut(p, 1011, 1001, &reason);
        return 0;
    }

    ngx_http_corral_relay_replay_count(p, &answer);

    e = corral_journal_add(&resume->journal, &answer,
                           first & ~NGX_HTTP_CORRAL_REPLAY_FIN, data, len);

    if (e && resume->state != NGX_HTTP_CORRAL_MOVE_NONE) {
        e->sent = 0;
    }

    return 1;
}


/* is it one of the first messages, that set the session up? */

static void
ngx_http_corral_relay_replay_count(ngx_http_corral_pair_t *p,
    corral_answer_t *answer)
{
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    if (resume->said < resume->rules->preamble) {
        resume->said++;
        answer->preamble = 1;
    }
}


/* A whole message of the agent.  1: the client has had it, it is dropped. */

ngx_uint_t
ngx_http_corral_relay_replay_agent(ngx_http_corral_pair_t *p,
    ngx_uint_t first, u_char *data, size_t len)
{
    corral_answer_t            answer;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    if (first != NGX_HTTP_CORRAL_REPLAY_TEXT
        || corral_journal_idle(&resume->journal))
    {
        return 0;
    }

    corral_answer_begin_agent(resume->rules, &ngx_http_corral_relay_scan);
    corral_pointer_feed(&ngx_http_corral_relay_scan, data, len);

    answer = corral_answer_of_agent(resume->rules,
                                    &ngx_http_corral_relay_scan);

    return ngx_http_corral_relay_replay_answered(p, &answer);
}


/* The same of any message of the agent. */

static ngx_uint_t
ngx_http_corral_relay_replay_answered(ngx_http_corral_pair_t *p,
    corral_answer_t *answer)
{
    corral_journal_entry_t    *e;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    e = answer->kind >= CORRAL_ANSWER_STARTED
        ? corral_journal_find(&resume->journal, answer->key) : NULL;

    if (e) {
        ngx_http_corral_relay_replay_read(p, e->seq - 1);

        if (answer->kind == CORRAL_ANSWER_FINAL) {
            ngx_http_corral_relay_replay_acquit(p, e);
        }
    }

    if (!corral_journal_answer(&resume->journal, answer)) {
        return 0;
    }

    if (resume->state == NGX_HTTP_CORRAL_MOVE_REPLAYING) {
        ngx_http_corral_relay_replay_go_on(p);
    }

    return 1;
}


/* what asks for nothing, up to seq, was read: more is never known of it */

static void
ngx_http_corral_relay_replay_read(ngx_http_corral_pair_t *p, uint32_t seq)
{
    corral_journal_t        *j;
    corral_journal_entry_t  *e;

    j = &p->resume->journal;

    for (e = j->notes ? j->first : NULL; e; e = e->next) {

        if (!e->request && e->open && e->sent && e->seq <= seq) {
            ngx_http_corral_relay_replay_acquit(p, e);
        }
    }
}


/*
 * An agent has answered it, and lives: it does not kill, and was in flight by
 * chance if two others have died.
 */

static void
ngx_http_corral_relay_replay_acquit(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e)
{
    if (e->content == 0) {
        return;
    }

    *ngx_http_corral_relay_replay_known(p, e) = e->content;

    if (ngx_http_corral_table_suspects()) {
        ngx_http_corral_table_suspect_drop(
                          ngx_http_corral_relay_replay_hash(p, e->content));
    }
}


/* where this worker remembers that a message of this content was answered */

static uint64_t *
ngx_http_corral_relay_replay_known(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e)
{
    static uint64_t  known[NGX_HTTP_CORRAL_REPLAY_KNOWN];

    return &known[(e->content ^ (uintptr_t) p->shared >> 4)
                  % NGX_HTTP_CORRAL_REPLAY_KNOWN];
}


/*
 * A run of a message of side i that is too long to be held; its beginning is
 * told by data NULL.
 */

void
ngx_http_corral_relay_replay_stream(ngx_http_corral_pair_t *p, ngx_uint_t i,
    u_char *data, size_t len)
{
    ngx_http_corral_half_t    *half;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;
    half = &resume->halves[i];

    if (data) {

        if (half->scan) {
            corral_pointer_feed(half->scan, data, len);
        }

        return;
    }

    if (half->first != NGX_HTTP_CORRAL_REPLAY_TEXT) {
        return;
    }

    half->scan = ngx_alloc(sizeof(corral_pointer_scan_t), ngx_cycle->log);

    if (half->scan == NULL) {
        return;                             /* it has no correlation then */
    }

    if (i == NGX_HTTP_CORRAL_CLIENT) {
        corral_answer_begin_client(resume->rules, half->scan);

    } else {
        corral_answer_begin_agent(resume->rules, half->scan);
    }
}


/* The end of it: it has passed, and is not kept. */

void
ngx_http_corral_relay_replay_end(ngx_http_corral_pair_t *p, ngx_uint_t i)
{
    corral_answer_t            answer;
    ngx_http_corral_half_t    *half;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;
    half = &resume->halves[i];

    ngx_memzero(&answer, sizeof(corral_answer_t));

    if (i == NGX_HTTP_CORRAL_CLIENT) {

        if (half->scan) {
            answer = corral_answer_of_client(resume->rules, half->scan);
        }

        ngx_http_corral_relay_replay_count(p, &answer);

        (void) corral_journal_add(&resume->journal, &answer,
                                  half->first & ~NGX_HTTP_CORRAL_REPLAY_FIN,
                                  NULL, 0);
        ngx_http_corral_relay_replay_ask(p);

    } else if (half->scan) {
        answer = corral_answer_of_agent(resume->rules, half->scan);

        (void) ngx_http_corral_relay_replay_answered(p, &answer);
    }
}


/* pings the agent if notes are open: its pong says that they were read */

void
ngx_http_corral_relay_replay_ask(ngx_http_corral_pair_t *p)
{
    size_t                     n;
    uint32_t                   mask, seq;
    ngx_http_corral_resume_t  *resume;
    u_char                     payload[sizeof(ngx_http_corral_relay_nonce)
                                       + sizeof(uint32_t)];
    u_char                     buf[CORRAL_FRAME_CONTROL_MAX];

    resume = p->resume;

    if (resume->journal.notes == 0 || resume->asked
        || resume->state != NGX_HTTP_CORRAL_MOVE_NONE
        || resume->halves[NGX_HTTP_CORRAL_CLIENT].streams
        || !ngx_http_corral_relay_open(&p->sides[NGX_HTTP_CORRAL_AGENT]))
    {
        return;
    }

    seq = resume->journal.seq;

    ngx_memcpy(ngx_cpymem(payload, ngx_http_corral_relay_nonce,
                          sizeof(ngx_http_corral_relay_nonce)),
               &seq, sizeof(uint32_t));

    mask = (uint32_t) (ngx_random() << 8 ^ ngx_random());

    n = corral_frame_control(buf, CORRAL_FRAME_PING, payload, sizeof(payload),
                             (uint8_t *) &mask);

    resume->asked = 1;

    ngx_http_corral_relay_put(p, NGX_HTTP_CORRAL_AGENT, buf, n);
}


/* 1: this pong answers such a ping */

ngx_uint_t
ngx_http_corral_relay_replay_pong(ngx_http_corral_pair_t *p,
    corral_frame_result_t *res)
{
    uint32_t                   seq;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    if (resume->rules == NULL
        || res->len != sizeof(ngx_http_corral_relay_nonce) + sizeof(uint32_t)
        || ngx_memcmp(res->payload, ngx_http_corral_relay_nonce,
                      sizeof(ngx_http_corral_relay_nonce))
           != 0)
    {
        return 0;
    }

    ngx_memcpy(&seq, res->payload + sizeof(ngx_http_corral_relay_nonce),
               sizeof(uint32_t));

    if (resume->asked) {
        resume->asked = 0;
        ngx_http_corral_relay_replay_read(p, seq);
        corral_journal_seen(&resume->journal, seq);
        ngx_http_corral_relay_replay_ask(p);
    }

    return 1;
}


/* The agent has died, or left: 0 if another one may go on, or a close code. */

ngx_uint_t
ngx_http_corral_relay_replay_lost(ngx_http_corral_pair_t *p, ngx_uint_t died,
    ngx_str_t *reason)
{
    switch (corral_journal_lose(&p->resume->journal, died,
                                p->shared->terms.replay_started))
    {
    case CORRAL_JOURNAL_SUSPECT:
        ngx_http_corral_relay_replay_accuse(p);
        ngx_str_set(reason, "message is under suspicion");
        return 1011;

    case CORRAL_JOURNAL_OVERFLOW:
        ngx_str_set(reason, "agent lost, journal has overflowed");
        return 1012;

    case CORRAL_JOURNAL_STARTED:
        ngx_str_set(reason, "agent lost within an answer");
        return 1012;

    default: /* CORRAL_JOURNAL_REPLAY */
        return 0;
    }
}


/*
 * Messages that were in flight at two deaths: those are under suspicion that
 * nobody has seen answered.  If there is no such, chance has hit what is known,
 * or what was harmless kills now: the next time it is under suspicion, too,
 * unless it is answered before.
 */

static void
ngx_http_corral_relay_replay_accuse(ngx_http_corral_pair_t *p)
{
    ngx_uint_t               n;
    corral_journal_t        *j;
    corral_journal_entry_t  *e;

    j = &p->resume->journal;
    n = 0;

    for (e = corral_journal_suspect(j, NULL); e;
         e = corral_journal_suspect(j, e))
    {
        if (*ngx_http_corral_relay_replay_known(p, e) != e->content) {
            ngx_http_corral_relay_replay_suspect(p, e);
            n++;
        }
    }

    if (n) {
        return;
    }

    for (e = corral_journal_suspect(j, NULL); e;
         e = corral_journal_suspect(j, e))
    {
        *ngx_http_corral_relay_replay_known(p, e) = 0;
    }
}


static void
ngx_http_corral_relay_replay_suspect(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e)
{
    ngx_str_t  service, instance;

    service.data = p->shared->names + p->shared->id_len;
    service.len = p->shared->name_len;

    instance = ngx_http_corral_record_string(p->record,
                                           NGX_HTTP_CORRAL_RECORD_INSTANCE_ID);

    ngx_http_corral_table_suspect_add(
                          ngx_http_corral_relay_replay_hash(p, e->content));
    ngx_http_corral_table_local(p->shared->terms.ref)->suspects++;

    ngx_http_corral_relay_nsuspects++;
    ngx_http_corral_relay_suspect_len = ngx_min(p->shared->id_len,
                                                CORRAL_ID_MAX);
    ngx_memcpy(ngx_http_corral_relay_suspect, p->shared->names,
               ngx_http_corral_relay_suspect_len);

    ngx_log_error(NGX_LOG_ERR, p->sides[0].connection->log, 0,
                  "a WebSocket message of %uD bytes was in flight when two "
                  "instances of service \"%V\" died, \"%V\" the last: it is "
                  "refused for a minute", e->len, &service, &instance);
}


/*
 * Sends what the new agent must get, as far as that may be sent now; with the
 * last of it the client is heard again.
 */

void
ngx_http_corral_relay_replay_go_on(ngx_http_corral_pair_t *p)
{
    corral_journal_entry_t    *e;
    ngx_http_corral_resume_t  *resume;

    resume = p->resume;

    while (!p->ended && resume->state == NGX_HTTP_CORRAL_MOVE_REPLAYING) {

        e = corral_journal_next(&resume->journal);

        if (e == NULL) {
            break;
        }

        if (ngx_http_corral_relay_replay_send(p, e) != NGX_OK) {
            p->reset = 1;
            p->ended = 1;
            return;
        }
    }

    if (!corral_journal_waits(&resume->journal)) {
        ngx_http_corral_relay_move_done(p);
        ngx_http_corral_relay_replay_ask(p);
    }
}


static ngx_int_t
ngx_http_corral_relay_replay_send(ngx_http_corral_pair_t *p,
    corral_journal_entry_t *e)
{
    size_t                     n;
    u_char                    *frame;
    uint32_t                   mask;
    ngx_http_corral_resume_t  *resume;
    uint8_t                    head[CORRAL_FRAME_HEADER_MAX];

    resume = p->resume;

    if (e->again) {

        /* the client is to forget what it has of the answer */

        e->again = 0;
        n = corral_frame_header(head, NGX_HTTP_CORRAL_REPLAY_TEXT,
                                resume->reset.len, NULL);

        ngx_http_corral_relay_put(p, NGX_HTTP_CORRAL_CLIENT, head, n);

        if (ngx_http_corral_relay_open(&p->sides[NGX_HTTP_CORRAL_CLIENT])) {
            ngx_http_corral_relay_put(p, NGX_HTTP_CORRAL_CLIENT,
                                      resume->reset.data, resume->reset.len);
        }
    }

    frame = ngx_alloc(CORRAL_FRAME_HEADER_MAX + e->len, ngx_cycle->log);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    mask = (uint32_t) (ngx_random() << 8 ^ ngx_random());

    n = corral_frame_header(frame, NGX_HTTP_CORRAL_REPLAY_FIN | e->opcode,
                            e->len, (uint8_t *) &mask);

    corral_frame_mask(frame + n, e->data, e->len, (uint8_t *) &mask, 0);

    /* what had to wait for an agent goes for the first time */

    if (e->deaths || e->preamble) {
        resume->replayed++;
        ngx_http_corral_table_local(p->shared->terms.ref)->replayed++;
    }

    if (ngx_http_corral_relay_open(&p->sides[NGX_HTTP_CORRAL_AGENT])) {
        ngx_http_corral_relay_put(p, NGX_HTTP_CORRAL_AGENT, frame,
                                  n + e->len);
    }

    ngx_free(frame);

    return NGX_OK;
}
