
/*
 * Sessions whose id the agent makes and tells in its answer: in a header, as
 * Mcp-Session-Id of MCP, or in a cookie of its own, as JSESSIONID; the head of
 * an event stream and the 101 of a WebSocket are such answers.  Who told an id
 * has its session; a request that carries one is looked up, on any gateway
 * (ngx_http_corral_affinity.c).
 *
 * Nothing that a client says makes an entry: an id that no agent has told is
 * none, and the answer of an error, which may repeat what it was asked, tells
 * none.  Only a hash of an id is kept, with its service and the way in which
 * the service learns, so that no other one finds it.
 */


#include "ngx_http_corral_affinity.h"
#include "ngx_http_corral_learn.h"

#include <corral_learn.h>


/* its DELETE ends a session; that of another application ends something else */

#define NGX_HTTP_CORRAL_LEARN_MCP  "mcp-session-id"


typedef struct {
    ngx_str_t   id;                         /* empty: it says nothing */
    ngx_uint_t  ended;
} ngx_http_corral_learn_told_t;


static void ngx_http_corral_learn_value(ngx_http_request_t *r,
    corral_learn_rule_t *rule, ngx_str_t *value);
static uint64_t ngx_http_corral_learn_key(ngx_http_corral_service_t *service,
    ngx_str_t *id);
static void ngx_http_corral_learn_told(ngx_http_request_t *r,
    corral_learn_rule_t *rule, ngx_http_corral_learn_told_t *told);
static void ngx_http_corral_learn_set_cookie(ngx_str_t *line,
    corral_learn_rule_t *rule, ngx_http_corral_learn_told_t *told);
static ngx_uint_t ngx_http_corral_learn_deleted(ngx_http_request_t *r,
    corral_learn_rule_t *rule);
static void ngx_http_corral_learn_too_long(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, size_t len);


ngx_uint_t
ngx_http_corral_learn_prepare(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_http_corral_service_t *service)
{
    ngx_str_t            id;
    corral_learn_rule_t  rule;

    if (!corral_learn_rule((char *) service->affinity.data,
                           service->affinity.len, &rule))
    {
        return 0;
    }

    ctx->learn = 1;

    ngx_http_corral_learn_value(r, &rule, &id);

    if (id.len && id.len <= CORRAL_LEARN_MAX) {
        ctx->affinity = ngx_http_corral_learn_key(service, &id);
        ctx->learned = 1;
    }

    return 1;
}


/*
 * The id that the request carries.  Of a header also as an argument: a browser
 * cannot give a WebSocket a header.
 */

static void
ngx_http_corral_learn_value(ngx_http_request_t *r, corral_learn_rule_t *rule,
    ngx_str_t *value)
{
    ngx_str_t         name;
    ngx_table_elt_t  *h;

    ngx_str_null(value);

    name.data = (u_char *) rule->name;
    name.len = rule->name_len;

    if (rule->where == CORRAL_LEARN_COOKIE) {
        ngx_http_corral_affinity_request_cookie(r, &name, value);
        return;
    }

    h = ngx_http_corral_get_header(r, &name);

    if (h) {
        *value = h->value;

    } else {
        (void) ngx_http_arg(r, name.data, name.len, value);
    }
}


static uint64_t
ngx_http_corral_learn_key(ngx_http_corral_service_t *service, ngx_str_t *id)
{
    uint64_t  parts[3];

    parts[0] = corral_balance_key(service->id.data, service->id.len);
    parts[1] = corral_balance_key(service->affinity.data,
                                  service->affinity.len);
    parts[2] = corral_balance_key(id->data, id->len);

    return corral_balance_key(parts, sizeof(parts));
}


void
ngx_http_corral_learn_answer(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    corral_learn_rule_t            rule;
    ngx_http_corral_service_t     *service;
    ngx_http_corral_learn_told_t   told;

    if (!ctx->learn || !ctx->taken || r->upstream == NULL
        || r->headers_out.status >= NGX_HTTP_BAD_REQUEST)
    {
        return;
    }

#if (NGX_HTTP_CACHE)
    if (r->cached) {
        return;
    }
#endif

    ctx->learn = 0;

    service = ngx_http_corral_registry_find(&ctx->service_id);

    if (service == NULL
        || !corral_learn_rule((char *) service->affinity.data,
                              service->affinity.len, &rule))
    {
        return;
    }

    ngx_http_corral_learn_told(r, &rule, &told);

    if (told.ended || ngx_http_corral_learn_deleted(r, &rule)) {

        if (ctx->learned) {
            ngx_http_corral_affinity_end(r, service, ctx->affinity,
                                         ctx->instance.ref);
        }

    } else if (told.id.len > CORRAL_LEARN_MAX) {
        ngx_http_corral_learn_too_long(r, service, told.id.len);

    } else if (told.id.len) {
        ngx_http_corral_affinity_keep(r, service,
                               ngx_http_corral_learn_key(service, &told.id),
                               ctx->instance.ref);
    }
}


/* what the agent said itself, also if the client will not see it */

static void
ngx_http_corral_learn_told(ngx_http_request_t *r, corral_learn_rule_t *rule,
    ngx_http_corral_learn_told_t *told)
{
    ngx_str_t         name;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_memzero(told, sizeof(ngx_http_corral_learn_told_t));

    ngx_str_set(&name, "set-cookie");

    if (rule->where == CORRAL_LEARN_HEADER) {
        name.data = (u_char *) rule->name;
        name.len = rule->name_len;
    }

    for (part = &r->upstream->headers_in.headers.part; part;
         part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len != name.len
                || ngx_strncasecmp(h[i].key.data, name.data, name.len) != 0)
            {
                continue;
            }

            if (rule->where == CORRAL_LEARN_COOKIE) {
                ngx_http_corral_learn_set_cookie(&h[i].value, rule, told);

            } else if (told->id.len == 0) {
                told->id = h[i].value;
            }
        }
    }
}


/* of several cookies of a name a client keeps the last one */

static void
ngx_http_corral_learn_set_cookie(ngx_str_t *line, corral_learn_rule_t *rule,
    ngx_http_corral_learn_told_t *told)
{
    time_t                 expires;
    corral_learn_cookie_t  cookie;

    if (!corral_learn_cookie((char *) line->data, line->len, rule, &cookie)) {
        return;
    }

    if (cookie.expires_len) {
        expires = ngx_parse_http_time((u_char *) cookie.expires,
                                      cookie.expires_len);

        if (expires != NGX_ERROR && expires <= ngx_time()) {
            cookie.ended = 1;
        }
    }

    told->id.data = (u_char *) cookie.value;
    told->id.len = cookie.value_len;
    told->ended = cookie.ended;
}


static ngx_uint_t
ngx_http_corral_learn_deleted(ngx_http_request_t *r,
    corral_learn_rule_t *rule)
{
    return r->method == NGX_HTTP_DELETE
           && r->headers_out.status >= NGX_HTTP_OK
           && r->headers_out.status < NGX_HTTP_SPECIAL_RESPONSE
           && rule->where == CORRAL_LEARN_HEADER
           && rule->name_len == sizeof(NGX_HTTP_CORRAL_LEARN_MCP) - 1
           && ngx_strncasecmp((u_char *) rule->name,
                              (u_char *) NGX_HTTP_CORRAL_LEARN_MCP,
                              rule->name_len)
              == 0;
}


/* every request of it is as if it had none: said once a minute */

static void
ngx_http_corral_learn_too_long(ngx_http_request_t *r,
    ngx_http_corral_service_t *service, size_t len)
{
    static time_t  told;

    if (told && ngx_time() - told < 60) {
        return;
    }

    told = ngx_time();

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "corral: service \"%V\": an agent told a session id of %uz "
                  "bytes, only up to %d are learned", &service->name, len,
                  CORRAL_LEARN_MAX);
}
