
/*
 * Rules on a request: what each field of a condition is in nginx's terms.
 * Every field is read from its own place; what a client writes in a header or
 * an argument cannot pass for what nginx knows.  Matching is corral_match.c's
 * affair, the rules are the registry's.
 *
 * Called once for a request, by the route step.
 */


#include "ngx_http_corral_rules.h"


/* one request while its rules are asked; data of the view */

typedef struct {
    ngx_http_request_t      *r;
    ngx_http_corral_ctx_t   *ctx;
    ngx_str_t               *hint;
    ngx_http_corral_rule_t  *rule;      /* that is looked at */
    ngx_http_corral_service_t *service; /* to which it leads */
    u_char                   port[NGX_INT_T_LEN];
    ngx_uint_t               failed;    /* no memory */
} ngx_http_corral_rules_t;


typedef ngx_int_t (*ngx_http_corral_rules_part_pt)(ngx_str_t *part,
    const corral_str_t *name, ngx_str_t *value);


static int ngx_http_corral_rules_accept(void *data, void *owner);
static int ngx_http_corral_rules_get(void *data, corral_match_field_e field,
    const corral_str_t *name, uint32_t i, corral_str_t *value);
static ngx_int_t ngx_http_corral_rules_own(ngx_http_corral_rules_t *rules,
    corral_match_field_e field, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_claim(ngx_http_corral_rules_t *rules,
    const corral_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_header(ngx_http_request_t *r,
    const corral_str_t *name, uint32_t i, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_query(ngx_http_corral_rules_t *rules,
    const corral_str_t *name, uint32_t i, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_parts(ngx_http_request_t *r,
    char *header, u_char separator, ngx_http_corral_rules_part_pt part,
    const corral_str_t *name, uint32_t i, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_cookie(ngx_str_t *part,
    const corral_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_token(ngx_str_t *part,
    const corral_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_corral_rules_unescape(ngx_http_corral_rules_t *rules,
    ngx_str_t *s);
static uint64_t ngx_http_corral_rules_hash(void *data);


ngx_int_t
ngx_http_corral_rules_service(ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx, ngx_str_t *hint,
    ngx_http_corral_service_t **service)
{
    ngx_str_t                *name;
    corral_match_view_t       view;
    ngx_http_corral_rule_t   *rule;
    ngx_http_corral_rules_t   rules;

    rules.r = r;
    rules.ctx = ctx;
    rules.hint = hint;
    rules.failed = 0;

    view.get = ngx_http_corral_rules_get;
    view.accept = ngx_http_corral_rules_accept;
    view.data = &rules;

    rule = ngx_http_corral_registry_match(&view);

    if (rules.failed) {
        return NGX_ERROR;
    }

    if (rule == NULL) {
        return NGX_DECLINED;
    }

    *service = rules.service;

    /* a copy: the rule may be replaced at any time */

    name = ngx_http_corral_registry_rule_name(rule);

    ctx->rule.data = ngx_pstrdup(r->pool, name);
    if (ctx->rule.data == NULL) {
        return NGX_ERROR;
    }

    ctx->rule.len = name->len;

    return NGX_OK;
}


/* a rule whose services are all gone is passed over */

static int
ngx_http_corral_rules_accept(void *data, void *owner)
{
    ngx_http_corral_rules_t *rules = data;

    ngx_str_t  name;

    rules->rule = owner;

    ngx_http_corral_hash_value(rules->r, rules->ctx,
                         ngx_http_corral_registry_rule_force_by(rules->rule),
                         &name);

    rules->service = ngx_http_corral_registry_forced(rules->rule, &name);

    if (rules->service) {
        return 1;
    }

    rules->service = ngx_http_corral_registry_target(rules->rule,
                                                    ngx_http_corral_rules_hash,
                                                    rules);

    return rules->service != NULL;
}


/* corral_match_view_t.get */

static int
ngx_http_corral_rules_get(void *data, corral_match_field_e field,
    const corral_str_t *name, uint32_t i, corral_str_t *value)
{
    ngx_http_corral_rules_t *rules = data;

    ngx_int_t  rc;
    ngx_str_t  s;

    switch (field) {

    case CORRAL_MATCH_header:
        rc = ngx_http_corral_rules_header(rules->r, name, i, &s);
        break;

    case CORRAL_MATCH_query:
        rc = ngx_http_corral_rules_query(rules, name, i, &s);
        break;

    case CORRAL_MATCH_request:
        rc = ngx_http_corral_rules_header(rules->r, name, i, &s);

        if (rc != NGX_OK
            && (i == 0 || ngx_http_corral_rules_header(rules->r, name, 0, &s)
                          != NGX_OK))
        {
            rc = ngx_http_corral_rules_query(rules, name, i, &s);
        }

        break;

    case CORRAL_MATCH_cookie:
        rc = ngx_http_corral_rules_parts(rules->r, "cookie", ';',
                                         ngx_http_corral_rules_cookie, name, i,
                                         &s);
        break;

    case CORRAL_MATCH_subprotocol:
        rc = ngx_http_corral_rules_parts(rules->r, "sec-websocket-protocol",
                                         ',', ngx_http_corral_rules_token,
                                         name, i, &s);
        break;

    case CORRAL_MATCH_claim:
        rc = i ? NGX_DECLINED : ngx_http_corral_rules_claim(rules, name, &s);
        break;

    default:
        rc = i ? NGX_DECLINED : ngx_http_corral_rules_own(rules, field, &s);
        break;
    }

    if (rc != NGX_OK) {
        return 0;
    }

    value->len = s.len;
    value->data = (char *) s.data;

    return 1;
}


/* fields that have one value or none */

static ngx_int_t
ngx_http_corral_rules_own(ngx_http_corral_rules_t *rules,
    corral_match_field_e field, ngx_str_t *value)
{
    ngx_http_request_t  *r;

    r = rules->r;

    switch (field) {

    case CORRAL_MATCH_path:
        *value = r->uri;
        return NGX_OK;

    case CORRAL_MATCH_host:
        *value = r->headers_in.server;
        break;

    case CORRAL_MATCH_method:
        *value = r->method_name;
        return NGX_OK;

    case CORRAL_MATCH_client_ip:
        *value = r->connection->addr_text;
        return NGX_OK;

    case CORRAL_MATCH_client_port:
        value->data = rules->port;
        value->len = ngx_sprintf(rules->port, "%uD", (uint32_t)
                                 ngx_inet_get_port(r->connection->sockaddr))
                     - rules->port;
        return NGX_OK;

    case CORRAL_MATCH_user_agent:
        if (r->headers_in.user_agent == NULL) {
            return NGX_DECLINED;
        }

        *value = r->headers_in.user_agent->value;
        return NGX_OK;

    case CORRAL_MATCH_tenant:
        *value = rules->ctx->tenant;
        break;

    case CORRAL_MATCH_service:
        *value = *rules->hint;
        break;

    default: /* those with a name */
        return NGX_DECLINED;
    }

    return value->len ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_corral_rules_claim(ngx_http_corral_rules_t *rules,
    const corral_str_t *name, ngx_str_t *value)
{
    ngx_str_t  claim;

    claim.len = name->len;
    claim.data = (u_char *) name->data;

    ngx_http_corral_claim(rules->ctx, &claim, value);

    return value->len ? NGX_OK : NGX_DECLINED;
}


/* the i-th header of that name, which is in lower case but for "request" */

static ngx_int_t
ngx_http_corral_rules_header(ngx_http_request_t *r, const corral_str_t *name,
    uint32_t i, ngx_str_t *value)
{
    ngx_uint_t        n;
    ngx_table_elt_t  *h;
    ngx_list_part_t  *part;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (n = 0; n < part->nelts; n++) {

            if (h[n].key.len == name->len
                && ngx_strncasecmp(h[n].key.data, (u_char *) name->data,
                                   name->len)
                   == 0
                && i-- == 0)
            {
                *value = h[n].value;
                return NGX_OK;
            }
        }
    }

    return NGX_DECLINED;
}


/* the i-th argument of that name, decoded */

static ngx_int_t
ngx_http_corral_rules_query(ngx_http_corral_rules_t *rules,
    const corral_str_t *name, uint32_t i, ngx_str_t *value)
{
    u_char     *p, *end, *last, *equals;
    ngx_str_t   key;

    last = rules->r->args.data + rules->r->args.len;

    for (p = rules->r->args.data; p < last; p = end + 1) {
        end = ngx_strlchr(p, last, '&');
        end = end ? end : last;

        equals = ngx_strlchr(p, end, '=');

        key.data = p;
        key.len = (equals ? equals : end) - p;

        if (ngx_http_corral_rules_unescape(rules, &key) != NGX_OK) {
            return NGX_DECLINED;
        }

        if (key.len != name->len
            || ngx_memcmp(key.data, name->data, key.len) != 0
            || i-- > 0)
        {
            continue;
        }

        value->data = equals ? equals + 1 : end;
        value->len = end - value->data;

        return ngx_http_corral_rules_unescape(rules, value);
    }

    return NGX_DECLINED;
}


/* the i-th part of a list in the headers of that name that is wanted */

static ngx_int_t
ngx_http_corral_rules_parts(ngx_http_request_t *r, char *header,
    u_char separator, ngx_http_corral_rules_part_pt part,
    const corral_str_t *name, uint32_t i, ngx_str_t *value)
{
    u_char        *p, *end, *last;
    uint32_t       n;
    ngx_str_t      list, s;
    corral_str_t   field;

    field.data = header;
    field.len = ngx_strlen(header);

    for (n = 0;
         ngx_http_corral_rules_header(r, &field, n, &list) == NGX_OK;
         n++)
    {
        last = list.data + list.len;

        for (p = list.data; p < last; p = end + 1) {
            end = ngx_strlchr(p, last, separator);
            end = end ? end : last;

            for ( /* void */ ; p < end && *p == ' '; p++) { /* void */ }

            s.data = p;
            s.len = end - p;

            while (s.len && s.data[s.len - 1] == ' ') {
                s.len--;
            }

            if (part(&s, name, value) == NGX_OK && i-- == 0) {
                return NGX_OK;
            }
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_corral_rules_cookie(ngx_str_t *part, const corral_str_t *name,
    ngx_str_t *value)
{
    if (part->len <= name->len || part->data[name->len] != '='
        || ngx_memcmp(part->data, name->data, name->len) != 0)
    {
        return NGX_DECLINED;
    }

    value->data = part->data + name->len + 1;
    value->len = part->len - name->len - 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_rules_token(ngx_str_t *part, const corral_str_t *name,
    ngx_str_t *value)
{
    *value = *part;

    return part->len ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_corral_rules_unescape(ngx_http_corral_rules_t *rules, ngx_str_t *s)
{
    u_char  *src, *dst;

    if (ngx_strlchr(s->data, s->data + s->len, '%') == NULL) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(rules->r->pool, s->len);
    if (dst == NULL) {
        rules->failed = 1;
        return NGX_DECLINED;
    }

    src = s->data;
    s->data = dst;

    ngx_unescape_uri(&dst, &src, s->len, 0);

    s->len = dst - s->data;

    return NGX_OK;
}


static uint64_t
ngx_http_corral_rules_hash(void *data)
{
    ngx_http_corral_rules_t *rules = data;

    return ngx_http_corral_hash(rules->r, rules->ctx,
                        ngx_http_corral_registry_rule_hash_key(rules->rule));
}
