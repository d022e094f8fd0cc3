
/*
 * What a pair has that may go on with another instance, made with it and freed
 * with it: what was agreed with its first agent, the rules of its service's
 * answers, an empty journal.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_relay_pair.h"
#include "ngx_http_corral_relay_resume.h"


/*
 * Gives a new pair what it needs to go on with another instance, if its service
 * wants that: copies what was agreed.  NGX_OK, also if nothing is needed;
 * NGX_ERROR: no memory.
 */

ngx_int_t
ngx_http_corral_relay_resume_create(ngx_http_corral_pair_t *p,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_agreed_t *agreed)
{
    u_char                    *last;
    ngx_uint_t                 i;
    ngx_str_t                 *from[4], *to[4];
    ngx_http_corral_shared_t  *shared;
    ngx_http_corral_resume_t  *resume;

    shared = p->shared;

    if (shared->terms.failover == CORRAL_FAILOVER_CLOSE
        || (shared->terms.failover == CORRAL_FAILOVER_REPLAY
            && shared->rules == 0))
    {
        return NGX_OK;
    }

    resume = ngx_calloc(sizeof(ngx_http_corral_resume_t)
                        + agreed->request.len + agreed->accept.len
                        + agreed->protocol.len + agreed->extensions.len,
                        ngx_cycle->log);
    if (resume == NULL) {
        return NGX_ERROR;
    }

    from[0] = &agreed->request;
    from[1] = &agreed->accept;
    from[2] = &agreed->protocol;
    from[3] = &agreed->extensions;
    to[0] = &resume->agreed.request;
    to[1] = &resume->agreed.accept;
    to[2] = &resume->agreed.protocol;
    to[3] = &resume->agreed.extensions;
    last = resume->data;

    for (i = 0; i < 4; i++) {
        to[i]->data = last;
        to[i]->len = from[i]->len;
        last = ngx_cpymem(last, from[i]->data, from[i]->len);
    }

    resume->pair = p;
    resume->key = ctx->instance.key;

    if (shared->rules) {
        resume->rules = (corral_answer_rules_t *)
                            ((u_char *) shared + shared->rules);
        resume->reset.data = (u_char *) (resume->rules + 1);
        resume->reset.len = shared->reset_len;
    }

    corral_journal_init(&resume->journal, &ngx_http_corral_relay_journals,
                        shared->terms.journal_size);

    resume->event.handler = ngx_http_corral_relay_move_handler;
    resume->event.log = ngx_cycle->log;

    p->resume = resume;

    return NGX_OK;
}


/* The pair ends. */

void
ngx_http_corral_relay_resume_free(ngx_http_corral_pair_t *p)
{
    ngx_http_corral_relay_move_cancel(p);

    corral_journal_free(&p->resume->journal);
    ngx_http_corral_relay_hold_drop(&p->resume->halves[0]);
    ngx_http_corral_relay_hold_drop(&p->resume->halves[1]);

    ngx_free(p->resume);
    p->resume = NULL;
}
