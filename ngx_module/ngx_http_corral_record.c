
/*
 * The record of an upgraded request: one small block of memory instead of the
 * ten kilobytes that a request takes, and the request that is made of it for
 * the log phase, when the connection ends.
 *
 * Strings lie once: most are parts of the request line.  Of the client's
 * headers only those are kept that some indexed variable names ($http_x in a
 * log format, a map, ...), as values of that variable; so Cookie and
 * Authorization lie here only if the configuration speaks of them.  Other
 * variables that were evaluated before the upgrade and may be cached (set,
 * map, $request_id) are kept, too, up to a bound.
 *
 * What modules keep in their own request contexts is lost: modules that need
 * it in the log phase have a pool cleanup nearly always, and then the request
 * is not freed (see ngx_http_corral_relay_start()).
 */


#include "ngx_http_corral_record.h"


#define NGX_HTTP_CORRAL_RECORD_MAX       60000   /* bytes of all strings */
#define NGX_HTTP_CORRAL_RECORD_VARS      4096    /* of the variables */
#define NGX_HTTP_CORRAL_RECORD_AGENT     200     /* of User-Agent */
#define NGX_HTTP_CORRAL_RECORD_SOURCES   64
#define NGX_HTTP_CORRAL_RECORD_STATES    32      /* instances of one */


typedef struct {
    uint16_t                         offset;
    uint16_t                         len;
} ngx_http_corral_slice_t;


typedef struct {
    uint16_t                         index;
    ngx_http_corral_slice_t          value;
} ngx_http_corral_record_var_t;


typedef struct {
    uint32_t                         connect_time;
    uint32_t                         header_time;
    uint32_t                         response_time;
    uint32_t                         bytes_received;
    uint32_t                         bytes_sent;
    uint16_t                         status;
    ngx_http_corral_slice_t          peer;
} ngx_http_corral_record_state_t;


struct ngx_http_corral_record_s {
    time_t                           start_sec;
    time_t                           opened;
    uint64_t                         tried;     /* ms, start of the last try */
    uint32_t                         request_length;
    uint32_t                         size;       /* bytes at the end */
    uint32_t                         moved;      /* of these, where the strings
                                                    of the last move begin */
    uint32_t                         queue_time;
    uint16_t                         start_msec;
    uint16_t                         header_size;
    uint16_t                         nstates;
    uint16_t                         nvars;
    uint8_t                          method;     /* of balancing */
    uint8_t                          protocol;   /* of the service */
    uint8_t                          queued;
    ngx_http_corral_slice_t          strings[NGX_HTTP_CORRAL_RECORD_STRINGS];

    /* behind it: states, variables, bytes */
};


/* what a snapshot does with a variable */

typedef enum {
    NGX_HTTP_CORRAL_RECORD_KEEP = 0,    /* if its value is known */
    NGX_HTTP_CORRAL_RECORD_EVALUATE,
    NGX_HTTP_CORRAL_RECORD_SKIP
} ngx_http_corral_record_kind_e;


/* while a record is made: there is one of them, as its buffer is large */

typedef struct {
    u_char                          *last;
    ngx_str_t                       *line;
    ngx_str_t                        sources[NGX_HTTP_CORRAL_RECORD_SOURCES];
    uint16_t                         offsets[NGX_HTTP_CORRAL_RECORD_SOURCES];
    ngx_uint_t                       n;
    u_char                           start[NGX_HTTP_CORRAL_RECORD_MAX];
} ngx_http_corral_packer_t;


static void ngx_http_corral_record_pack(ngx_http_corral_packer_t *pk,
    ngx_http_corral_slice_t *slice, ngx_str_t *s, size_t max);
static void ngx_http_corral_record_pack_strings(ngx_http_corral_packer_t *pk,
    ngx_http_corral_slice_t *slices, ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx);
static ngx_uint_t ngx_http_corral_record_pack_states(
    ngx_http_corral_packer_t *pk, ngx_http_corral_record_state_t *states,
    ngx_http_request_t *r);
static ngx_uint_t ngx_http_corral_record_pack_vars(
    ngx_http_corral_packer_t *pk, ngx_http_corral_record_var_t *vars,
    ngx_http_request_t *r);
static ngx_uint_t ngx_http_corral_record_wanted(ngx_str_t *name);
static ngx_str_t ngx_http_corral_record_slice(ngx_http_corral_record_t *record,
    ngx_http_corral_slice_t *slice);
static ngx_int_t ngx_http_corral_record_lists(ngx_http_request_t *r);
static void ngx_http_corral_record_line(ngx_http_request_t *r,
    ngx_http_corral_record_t *record);
static ngx_int_t ngx_http_corral_record_ctx(ngx_http_request_t *r,
    ngx_http_corral_record_t *record, ngx_http_corral_record_end_t *end);
static ngx_int_t ngx_http_corral_record_states(ngx_http_request_t *r,
    ngx_http_corral_record_t *record, ngx_http_corral_record_end_t *end);
static void ngx_http_corral_record_vars(ngx_http_request_t *r,
    ngx_http_corral_record_t *record);
static ngx_pool_t *ngx_http_corral_record_pool(ngx_log_t *log);
static void ngx_http_corral_record_clear(ngx_pool_t *pool);


static ngx_http_corral_packer_t  ngx_http_corral_record_packer;


#define ngx_http_corral_record_states_of(record)                              \
    ((ngx_http_corral_record_state_t *) ((record) + 1))

#define ngx_http_corral_record_vars_of(record)                                \
    ((ngx_http_corral_record_var_t *)                                         \
     (ngx_http_corral_record_states_of(record) + (record)->nstates))

#define ngx_http_corral_record_data_of(record)                                \
    ((u_char *) (ngx_http_corral_record_vars_of(record) + (record)->nvars))


ngx_int_t
ngx_http_corral_record_init(ngx_cycle_t *cycle)
{
    ngx_uint_t                              i;
    ngx_http_variable_t                    *v;
    ngx_http_core_main_conf_t              *cmcf;
    ngx_http_corral_websocket_main_conf_t  *wmcf;

    cmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_core_module);
    wmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                             ngx_http_corral_websocket_module);

    wmcf->kinds = ngx_palloc(cycle->pool, cmcf->variables.nelts + 1);
    if (wmcf->kinds == NULL) {
        return NGX_ERROR;
    }

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        /* those of Corral are made anew from the context */

        if ((v[i].flags & NGX_HTTP_VAR_NOCACHEABLE)
            || (v[i].name.len > 7
                && ngx_strncmp(v[i].name.data, "corral_", 7) == 0))
        {
            wmcf->kinds[i] = NGX_HTTP_CORRAL_RECORD_SKIP;

        } else if (ngx_http_corral_record_wanted(&v[i].name)) {
            wmcf->kinds[i] = NGX_HTTP_CORRAL_RECORD_EVALUATE;

        } else {
            wmcf->kinds[i] = NGX_HTTP_CORRAL_RECORD_KEEP;
        }
    }

    return NGX_OK;
}


ngx_http_corral_record_t *
ngx_http_corral_record_create(ngx_http_request_t *r, ngx_http_corral_ctx_t *ctx,
    ngx_uint_t variables)
{
    size_t                           len, nstates, nvars;
    ngx_http_corral_packer_t        *pk;
    ngx_http_corral_record_t        *record, head;
    ngx_http_core_main_conf_t       *cmcf;
    ngx_http_corral_record_var_t    *vars;
    ngx_http_corral_record_state_t  *states;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    states = ngx_palloc(r->pool, r->upstream_states->nelts
                                 * sizeof(ngx_http_corral_record_state_t));
    vars = ngx_palloc(r->pool, cmcf->variables.nelts
                               * sizeof(ngx_http_corral_record_var_t) + 1);

    if (states == NULL || vars == NULL) {
        return NULL;
    }

    pk = &ngx_http_corral_record_packer;

    pk->n = 0;
    pk->last = pk->start;
    pk->line = &r->request_line;

    ngx_memzero(&head, sizeof(ngx_http_corral_record_t));

    head.start_sec = r->start_sec;
    head.start_msec = r->start_msec;
    head.opened = ngx_time();
    head.tried = r->upstream->start_time;
    head.request_length = r->request_length;
    head.header_size = r->header_size;
    head.method = ctx->method;
    head.protocol = ctx->protocol;
    head.queued = ctx->queued;
    head.queue_time = ctx->queue_time;

    ngx_http_corral_record_pack_strings(pk, head.strings, r, ctx);
    head.nstates = ngx_http_corral_record_pack_states(pk, states, r);

    if (variables) {
        head.nvars = ngx_http_corral_record_pack_vars(pk, vars, r);
    }

    nstates = head.nstates * sizeof(ngx_http_corral_record_state_t);
    nvars = head.nvars * sizeof(ngx_http_corral_record_var_t);
    len = pk->last - pk->start;

    record = ngx_alloc(sizeof(ngx_http_corral_record_t) + nstates + nvars
                       + len, r->connection->log);
    if (record == NULL) {
        return NULL;
    }

    *record = head;
    record->size = len;

    ngx_memcpy(ngx_http_corral_record_states_of(record), states, nstates);
    ngx_memcpy(ngx_http_corral_record_vars_of(record), vars, nvars);
    ngx_memcpy(ngx_http_corral_record_data_of(record), pk->start, len);

    return record;
}


/* keeps at most max bytes of s, or less if there is no room */

static void
ngx_http_corral_record_pack(ngx_http_corral_packer_t *pk,
    ngx_http_corral_slice_t *slice, ngx_str_t *s, size_t max)
{
    size_t      len;
    ngx_uint_t  i;

    slice->offset = 0;
    slice->len = 0;

    len = ngx_min(s->len, max);

    if (len == 0) {
        return;
    }

    /* the line itself is packed first, at 0 */

    if (pk->n && s->data >= pk->line->data
        && s->data + len <= pk->line->data + pk->sources[0].len)
    {
        slice->offset = s->data - pk->line->data;
        slice->len = len;
        return;
    }

    for (i = 0; i < pk->n; i++) {

        if (pk->sources[i].data == s->data && pk->sources[i].len >= len) {
            slice->offset = pk->offsets[i];
            slice->len = len;
            return;
        }
    }

    len = ngx_min(len, sizeof(pk->start) - (size_t) (pk->last - pk->start));

    slice->offset = pk->last - pk->start;
    slice->len = len;

    if (pk->n < NGX_HTTP_CORRAL_RECORD_SOURCES) {
        pk->sources[pk->n].data = s->data;
        pk->sources[pk->n].len = len;
        pk->offsets[pk->n++] = slice->offset;
    }

    pk->last = ngx_cpymem(pk->last, s->data, len);
}


static void
ngx_http_corral_record_pack_strings(ngx_http_corral_packer_t *pk,
    ngx_http_corral_slice_t *slices, ngx_http_request_t *r,
    ngx_http_corral_ctx_t *ctx)
{
    ngx_uint_t  i;
    ngx_str_t   empty, *s[NGX_HTTP_CORRAL_RECORD_STRINGS];

    ngx_str_null(&empty);

    s[NGX_HTTP_CORRAL_RECORD_LINE] = &r->request_line;
    s[NGX_HTTP_CORRAL_RECORD_URI] = &r->uri;
    s[NGX_HTTP_CORRAL_RECORD_ARGS] = &r->args;
    s[NGX_HTTP_CORRAL_RECORD_UNPARSED_URI] = ctx->unparsed_uri.len
                                             ? &ctx->unparsed_uri
                                             : &r->unparsed_uri;
    s[NGX_HTTP_CORRAL_RECORD_HOST] = &r->headers_in.server;
    s[NGX_HTTP_CORRAL_RECORD_TENANT] = &ctx->tenant;
    s[NGX_HTTP_CORRAL_RECORD_SUBJECT] = &ctx->subject;
    s[NGX_HTTP_CORRAL_RECORD_CLAIMS] = ctx->terms.failover
                                       != CORRAL_FAILOVER_CLOSE
                                       ? &ctx->claims : &empty;
    s[NGX_HTTP_CORRAL_RECORD_TOKEN] = &ctx->token;
    s[NGX_HTTP_CORRAL_RECORD_SESSION] = &ctx->session;
    s[NGX_HTTP_CORRAL_RECORD_RULE] = &ctx->rule;
    s[NGX_HTTP_CORRAL_RECORD_PREFIX] = &ctx->prefix;
    s[NGX_HTTP_CORRAL_RECORD_TARGET] = &ctx->uri;
    s[NGX_HTTP_CORRAL_RECORD_UPSTREAM_HOST] = &ctx->upstream_host;
    s[NGX_HTTP_CORRAL_RECORD_INSTANCE_ID] = &ctx->instance.id;
    s[NGX_HTTP_CORRAL_RECORD_INSTANCE_NAME] = &ctx->instance.name;
    s[NGX_HTTP_CORRAL_RECORD_USER_AGENT] = r->headers_in.user_agent
                                           ? &r->headers_in.user_agent->value
                                           : &empty;

    for (i = 0; i < NGX_HTTP_CORRAL_RECORD_STRINGS; i++) {
        ngx_http_corral_record_pack(pk, &slices[i], s[i],
                                    i == NGX_HTTP_CORRAL_RECORD_USER_AGENT
                                    ? NGX_HTTP_CORRAL_RECORD_AGENT
                                    : NGX_HTTP_CORRAL_RECORD_MAX);
    }
}


static ngx_uint_t
ngx_http_corral_record_pack_states(ngx_http_corral_packer_t *pk,
    ngx_http_corral_record_state_t *states, ngx_http_request_t *r)
{
    ngx_str_t                   none;
    ngx_uint_t                  i;
    ngx_http_upstream_state_t  *u;

    ngx_str_null(&none);

    u = r->upstream_states->elts;

    for (i = 0; i < r->upstream_states->nelts; i++) {
        states[i].connect_time = u[i].connect_time;
        states[i].header_time = u[i].header_time;
        states[i].response_time = u[i].response_time;
        states[i].bytes_received = u[i].bytes_received;
        states[i].bytes_sent = u[i].bytes_sent;
        states[i].status = u[i].status;

        ngx_http_corral_record_pack(pk, &states[i].peer,
                                    u[i].peer ? u[i].peer : &none,
                                    NGX_HTTP_CORRAL_RECORD_MAX);
    }

    return i;
}


/* a snapshot of the variables that a log format may ask for */

static ngx_uint_t
ngx_http_corral_record_pack_vars(ngx_http_corral_packer_t *pk,
    ngx_http_corral_record_var_t *vars, ngx_http_request_t *r)
{
    u_char                                 *end;
    ngx_str_t                               value;
    ngx_uint_t                              i, n;
    ngx_http_core_main_conf_t              *cmcf;
    ngx_http_variable_value_t              *vv;
    ngx_http_corral_websocket_main_conf_t  *wmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    wmcf = ngx_http_get_module_main_conf(r, ngx_http_corral_websocket_module);

    end = pk->last + NGX_HTTP_CORRAL_RECORD_VARS;
    n = 0;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        if (wmcf->kinds[i] == NGX_HTTP_CORRAL_RECORD_SKIP) {
            continue;
        }

        vv = &r->variables[i];

        if (!vv->valid && !vv->not_found
            && wmcf->kinds[i] == NGX_HTTP_CORRAL_RECORD_EVALUATE)
        {
            vv = ngx_http_get_indexed_variable(r, i);
        }

        if (vv == NULL || !vv->valid || vv->no_cacheable
            || pk->last + vv->len > end)
        {
            continue;
        }

        value.data = vv->data;
        value.len = vv->len;

        vars[n].index = i;
        ngx_http_corral_record_pack(pk, &vars[n].value, &value,
                                    NGX_HTTP_CORRAL_RECORD_MAX);
        n++;
    }

    return n;
}


/* variables whose source is gone at the end: evaluated for the snapshot */

static ngx_uint_t
ngx_http_corral_record_wanted(ngx_str_t *name)
{
    ngx_str_t  *s;

    static ngx_str_t  prefixes[] = {
        ngx_string("http_"),
        ngx_string("cookie_"),
        ngx_string("sent_http_"),
        ngx_string("upstream_http_"),
        ngx_string("upstream_cookie_"),
        ngx_string("remote_user"),
        ngx_string("proxy_add_x_forwarded_for"),
        ngx_null_string
    };

    for (s = prefixes; s->len; s++) {

        if (name->len >= s->len && name->data[0] == s->data[0]
            && ngx_strncmp(name->data, s->data, s->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_str_t
ngx_http_corral_record_slice(ngx_http_corral_record_t *record,
    ngx_http_corral_slice_t *slice)
{
    ngx_str_t  s;

    s.len = slice->len;
    s.data = ngx_http_corral_record_data_of(record) + slice->offset;

    return s;
}


ngx_http_corral_record_t *
ngx_http_corral_record_copy(ngx_http_corral_record_t *record,
    ngx_pool_t *pool)
{
    size_t                     size;
    ngx_http_corral_record_t  *copy;

    size = ngx_http_corral_record_data_of(record) + record->size
           - (u_char *) record;

    copy = ngx_palloc(pool, size);

    if (copy) {
        ngx_memcpy(copy, record, size);
    }

    return copy;
}


ngx_str_t
ngx_http_corral_record_string(ngx_http_corral_record_t *record,
    ngx_http_corral_record_e which)
{
    return ngx_http_corral_record_slice(record, &record->strings[which]);
}


time_t
ngx_http_corral_record_opened(ngx_http_corral_record_t *record)
{
    return record->opened;
}


ngx_uint_t
ngx_http_corral_record_method(ngx_http_corral_record_t *record)
{
    return record->method;
}


ngx_http_corral_record_t *
ngx_http_corral_record_move(ngx_http_corral_record_t *old,
    ngx_http_corral_ctx_t *ctx, ngx_http_upstream_state_t *state,
    ngx_msec_t tried, ngx_http_corral_record_end_t *end)
{
    u_char                          *p;
    size_t                           nvars, strings, more, fresh;
    ngx_http_corral_slice_t         *slice;
    ngx_http_corral_record_t        *new;
    ngx_http_corral_record_state_t  *s;

    /* beyond some moves the last instance replaces the one before */

    fresh = old->nstates < NGX_HTTP_CORRAL_RECORD_STATES;
    nvars = old->nvars * sizeof(ngx_http_corral_record_var_t);
    strings = fresh || old->moved == 0 ? old->size : old->moved;
    more = ctx->instance.id.len + ctx->instance.name.len;

    if (strings + more > NGX_HTTP_CORRAL_RECORD_MAX) {
        return NULL;
    }

    new = ngx_alloc(sizeof(ngx_http_corral_record_t)
                    + (old->nstates + fresh)
                      * sizeof(ngx_http_corral_record_state_t)
                    + nvars + strings + more, end->connection->log);
    if (new == NULL) {
        return NULL;
    }

    *new = *old;
    new->nstates += fresh;
    new->size = strings + more;
    new->moved = strings;
    new->tried = tried;

    s = ngx_http_corral_record_states_of(new);

    ngx_memcpy(s, ngx_http_corral_record_states_of(old),
               old->nstates * sizeof(ngx_http_corral_record_state_t));
    ngx_memcpy(ngx_http_corral_record_vars_of(new),
               ngx_http_corral_record_vars_of(old), nvars);

    p = ngx_http_corral_record_data_of(new);
    ngx_memcpy(p, ngx_http_corral_record_data_of(old), strings);

    slice = &new->strings[NGX_HTTP_CORRAL_RECORD_INSTANCE_ID];
    slice->offset = strings;
    slice->len = ctx->instance.id.len;
    ngx_memcpy(p + strings, ctx->instance.id.data, slice->len);

    slice = &new->strings[NGX_HTTP_CORRAL_RECORD_INSTANCE_NAME];
    slice->offset = strings + ctx->instance.id.len;
    slice->len = ctx->instance.name.len;
    ngx_memcpy(p + slice->offset, ctx->instance.name.data, slice->len);

    s += old->nstates - 1;

    if (fresh) {
        s->response_time = ngx_current_msec - old->tried;
        s->bytes_received += end->upstream_received;
        s->bytes_sent = end->upstream_sent;
        s++;
    }

    s->connect_time = state->connect_time;
    s->header_time = state->header_time;
    s->response_time = state->response_time;
    s->bytes_received = state->bytes_received;
    s->bytes_sent = state->bytes_sent;
    s->status = state->status;
    s->peer = *slice;

    return new;
}


void
ngx_http_corral_record_log(ngx_http_corral_record_t *record,
    ngx_http_corral_record_end_t *end)
{
    ngx_log_t                  *log;
    ngx_pool_t                 *pool;
    ngx_uint_t                  i;
    ngx_http_request_t         *r;
    ngx_http_handler_pt        *handler;
    ngx_http_core_main_conf_t  *cmcf;

    log = end->connection->log;

    pool = ngx_http_corral_record_pool(log);
    if (pool == NULL) {
        return;
    }

    r = ngx_http_corral_record_request(record, end, pool);

    if (r == NULL) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "no memory to log a WebSocket that has ended");
        ngx_http_corral_record_clear(pool);
        return;
    }

    log->action = "logging request";

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    handler = cmcf->phases[NGX_HTTP_LOG_PHASE].handlers.elts;

    for (i = 0; i < cmcf->phases[NGX_HTTP_LOG_PHASE].handlers.nelts; i++) {
        handler[i](r);
    }

    ngx_http_corral_record_clear(pool);
}


/* One pool serves all that are logged, one after the other. */

static ngx_pool_t *
ngx_http_corral_record_pool(ngx_log_t *log)
{
    static ngx_pool_t  *pool;

    if (pool == NULL) {
        pool = ngx_create_pool(4096, log);
    }

    if (pool) {
        pool->log = log;
    }

    return pool;
}


static void
ngx_http_corral_record_clear(ngx_pool_t *pool)
{
    ngx_pool_cleanup_t  *c;

    for (c = pool->cleanup; c; c = c->next) {
        if (c->handler) {
            c->handler(c->data);
        }
    }

    pool->cleanup = NULL;

    ngx_reset_pool(pool);

    pool->log = ngx_cycle->log;
}


ngx_http_request_t *
ngx_http_corral_record_request(ngx_http_corral_record_t *record,
    ngx_http_corral_record_end_t *end, ngx_pool_t *pool)
{
    ngx_http_request_t         *r;
    ngx_http_core_main_conf_t  *cmcf;

    r = ngx_pcalloc(pool, sizeof(ngx_http_request_t));
    if (r == NULL) {
        return NULL;
    }

    r->signature = NGX_HTTP_MODULE;
    r->pool = pool;
    r->main = r;
    r->count = 1;
    r->connection = end->connection;
    r->http_connection = end->hc;
    r->main_conf = end->hc->conf_ctx->main_conf;
    r->srv_conf = end->srv_conf;
    r->loc_conf = end->loc_conf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    r->ctx = ngx_pcalloc(pool, ngx_http_max_module * sizeof(void *));
    r->variables = ngx_pcalloc(pool, cmcf->variables.nelts
                                     * sizeof(ngx_http_variable_value_t));

    if (r->ctx == NULL || r->variables == NULL
        || ngx_http_corral_record_lists(r) != NGX_OK
        || ngx_http_corral_record_ctx(r, record, end) != NGX_OK
        || ngx_http_corral_record_states(r, record, end) != NGX_OK)
    {
        return NULL;
    }

    r->start_sec = record->start_sec;
    r->start_msec = record->start_msec;
    r->request_length = record->request_length;
    r->header_size = record->header_size;
    r->headers_in.content_length_n = -1;
    r->headers_in.keep_alive_n = -1;
    r->headers_out.content_length_n = -1;
    r->headers_out.last_modified_time = -1;
    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    r->header_sent = 1;
    r->request_complete = end->websocket->close_code != 1006;

    ngx_http_corral_record_line(r, record);
    ngx_http_corral_record_vars(r, record);

    ngx_http_set_ctx(r, end->websocket, ngx_http_corral_websocket_module);

    return r;
}


static ngx_int_t
ngx_http_corral_record_lists(ngx_http_request_t *r)
{
#if (nginx_version < 1023000)

    if (ngx_array_init(&r->headers_in.cookies, r->pool, 1,
                       sizeof(ngx_table_elt_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

#endif

    if (ngx_list_init(&r->headers_in.headers, r->pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_list_init(&r->headers_out.headers, r->pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_list_init(&r->headers_out.trailers, r->pool, 1,
                         sizeof(ngx_table_elt_t));
}


/* a handshake is GET, HTTP/1.1: nothing else gets here */

static void
ngx_http_corral_record_line(ngx_http_request_t *r,
    ngx_http_corral_record_t *record)
{
    r->request_line = ngx_http_corral_record_string(record,
                                                NGX_HTTP_CORRAL_RECORD_LINE);
    r->uri = ngx_http_corral_record_string(record,
                                           NGX_HTTP_CORRAL_RECORD_URI);
    r->args = ngx_http_corral_record_string(record,
                                            NGX_HTTP_CORRAL_RECORD_ARGS);
    r->unparsed_uri = ngx_http_corral_record_string(record,
                                         NGX_HTTP_CORRAL_RECORD_UNPARSED_URI);
    r->headers_in.server = ngx_http_corral_record_string(record,
                                                NGX_HTTP_CORRAL_RECORD_HOST);

    r->method = NGX_HTTP_GET;
    ngx_str_set(&r->method_name, "GET");

    r->http_version = NGX_HTTP_VERSION_11;
    r->http_major = 1;
    r->http_minor = 1;
    ngx_str_set(&r->http_protocol, "HTTP/1.1");
}


static ngx_int_t
ngx_http_corral_record_ctx(ngx_http_request_t *r,
    ngx_http_corral_record_t *record, ngx_http_corral_record_end_t *end)
{
    ngx_http_corral_ctx_t  *ctx;

    ctx = ngx_http_corral_get_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    ctx->service_id = end->service_id;
    ctx->service_name = end->service_name;
    ctx->terms = *end->terms;
    ctx->protocol = record->protocol;
    ctx->method = record->method;
    ctx->queued = record->queued;
    ctx->queue_time = record->queue_time;
    ctx->tenant = ngx_http_corral_record_string(record,
                                                NGX_HTTP_CORRAL_RECORD_TENANT);
    ctx->subject = ngx_http_corral_record_string(record,
                                               NGX_HTTP_CORRAL_RECORD_SUBJECT);
    ctx->claims = ngx_http_corral_record_string(record,
                                                NGX_HTTP_CORRAL_RECORD_CLAIMS);
    ctx->token = ngx_http_corral_record_string(record,
                                               NGX_HTTP_CORRAL_RECORD_TOKEN);
    ctx->session = ngx_http_corral_record_string(record,
                                               NGX_HTTP_CORRAL_RECORD_SESSION);
    ctx->rule = ngx_http_corral_record_string(record,
                                              NGX_HTTP_CORRAL_RECORD_RULE);
    ctx->prefix = ngx_http_corral_record_string(record,
                                                NGX_HTTP_CORRAL_RECORD_PREFIX);
    ctx->uri = ngx_http_corral_record_string(record,
                                             NGX_HTTP_CORRAL_RECORD_TARGET);
    ctx->unparsed_uri = ngx_http_corral_record_string(record,
                                          NGX_HTTP_CORRAL_RECORD_UNPARSED_URI);
    ctx->upstream_host = ngx_http_corral_record_string(record,
                                         NGX_HTTP_CORRAL_RECORD_UPSTREAM_HOST);
    ctx->instance.id = ngx_http_corral_record_string(record,
                                           NGX_HTTP_CORRAL_RECORD_INSTANCE_ID);
    ctx->instance.name = ngx_http_corral_record_string(record,
                                         NGX_HTTP_CORRAL_RECORD_INSTANCE_NAME);

    ctx->identified = 1;
    ctx->routed = 1;
    ctx->taken = 1;
    ctx->reported = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_record_states(ngx_http_request_t *r,
    ngx_http_corral_record_t *record, ngx_http_corral_record_end_t *end)
{
    ngx_str_t                       *peer;
    ngx_uint_t                       i;
    ngx_http_upstream_state_t       *u;
    ngx_http_corral_record_state_t  *s;

    r->upstream_states = ngx_array_create(r->pool, record->nstates,
                                          sizeof(ngx_http_upstream_state_t));
    if (r->upstream_states == NULL) {
        return NGX_ERROR;
    }

    s = ngx_http_corral_record_states_of(record);
    u = NULL;

    for (i = 0; i < record->nstates; i++) {
        u = ngx_array_push(r->upstream_states);
        peer = ngx_palloc(r->pool, sizeof(ngx_str_t));

        if (u == NULL || peer == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(u, sizeof(ngx_http_upstream_state_t));

        /* cut to 32 bits, so that -1, for none, has its sign again */

        u->connect_time = (ngx_msec_t) (int32_t) s[i].connect_time;
        u->header_time = (ngx_msec_t) (int32_t) s[i].header_time;
        u->response_time = (ngx_msec_t) (int32_t) s[i].response_time;
        u->bytes_received = s[i].bytes_received;
        u->bytes_sent = s[i].bytes_sent;
        u->status = s[i].status;

        if (s[i].peer.len) {
            *peer = ngx_http_corral_record_slice(record, &s[i].peer);
            u->peer = peer;
        }
    }

    if (u) {
        u->response_time = ngx_current_msec - record->tried;
        u->bytes_received += end->upstream_received;
        u->response_length = end->upstream_received;
        u->bytes_sent = end->upstream_sent;
    }

    return NGX_OK;
}


static void
ngx_http_corral_record_vars(ngx_http_request_t *r,
    ngx_http_corral_record_t *record)
{
    ngx_str_t                      value;
    ngx_uint_t                     i;
    ngx_http_variable_value_t     *vv;
    ngx_http_corral_record_var_t  *v;

    v = ngx_http_corral_record_vars_of(record);

    for (i = 0; i < record->nvars; i++) {
        value = ngx_http_corral_record_slice(record, &v[i].value);

        vv = &r->variables[v[i].index];
        vv->data = value.data;
        vv->len = value.len;
        vv->valid = 1;
    }
}
