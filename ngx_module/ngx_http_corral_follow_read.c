
/*
 * Reads the streams "changes" and "commands".  Changes are checked for gaps and
 * become a batch of ids, which ngx_http_corral_follow_update.c fetches;
 * commands are handed on one by one.  The phases say when what is read, see
 * ngx_http_corral_follow.c.
 */


#include "ngx_http_corral.h"
#include "ngx_http_corral_command.h"
#include "ngx_http_corral_follow_state.h"


#define NGX_HTTP_CORRAL_FOLLOW_BLOCK    5000    /* ms that XREAD waits */
#define NGX_HTTP_CORRAL_FOLLOW_BRIEF    10      /* ms, for commands alone */
#define NGX_HTTP_CORRAL_FOLLOW_ENTRIES  1000    /* more: a full load */


static void ngx_http_corral_follow_read_end(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_read_entries(void *data,
    ngx_http_corral_redis_reply_t *reply);
static void ngx_http_corral_follow_read_commands(
    ngx_http_corral_redis_reply_t *entries);
static void ngx_http_corral_follow_read_changes(
    ngx_http_corral_redis_reply_t *entries);
static ngx_int_t ngx_http_corral_follow_read_change(ngx_rbtree_t *seen,
    ngx_http_corral_redis_reply_t *entry, uint64_t *revision);
static ngx_int_t ngx_http_corral_follow_read_add(ngx_rbtree_t *seen,
    ngx_uint_t kind, ngx_str_t *id);
static ngx_int_t ngx_http_corral_follow_read_compare(ngx_str_t *id,
    ngx_http_corral_follow_id_t *last);


#define ngx_http_corral_follow_read_field_e(name, text)  CHANGE_##name,
#define ngx_http_corral_follow_read_field(name, text)    ngx_string(#name),

enum { CORRAL_CHANGE_FIELDS(ngx_http_corral_follow_read_field_e)
       CHANGE_NUMBER };

static ngx_str_t  ngx_http_corral_follow_read_fields[] = {
    CORRAL_CHANGE_FIELDS(ngx_http_corral_follow_read_field)
};

/* by ngx_http_corral_kind_e */

static ngx_str_t  ngx_http_corral_follow_read_kinds[] = {
    ngx_string("service"),
    ngx_string("instance"),
    ngx_string("rule")
};


void
ngx_http_corral_follow_read_ready(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    /* commands from before are of no interest: they were not for us */

    if (ngx_http_corral_follow_last(ctx->follow, NGX_HTTP_CORRAL_KEY_COMMANDS,
                                    ngx_http_corral_follow_read_end)
        == NGX_ERROR)
    {
        ngx_http_corral_redis_fail(ctx->follow, "cannot be asked, no memory");
    }
}


void
ngx_http_corral_follow_read_closed(void *data)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    ctx->reading = 0;
    ctx->commands.len = 0;
}


static void
ngx_http_corral_follow_read_end(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY) {
        ngx_http_corral_redis_fail(ctx->follow, "refused to read commands: %V",
                                   &reply->str);
        return;
    }

    ctx->commands.len = ngx_sprintf(ctx->commands.data, "0-0")
                        - ctx->commands.data;

    if (reply->n && ngx_http_corral_follow_read_entry(reply->elements[0])) {
        ngx_http_corral_follow_read_set_id(&ctx->commands, reply->elements[0]);
    }

    ngx_http_corral_follow_read_next();
}


/* Waits for changes, in phase idle, and for commands. */

void
ngx_http_corral_follow_read_next(void)
{
    u_char                     ms[NGX_INT_T_LEN];
    ngx_str_t                  argv[8];
    ngx_uint_t                 n, idle, block;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    /*
     * A probe, or fetching a few documents, takes a millisecond: a wait for
     * commands alone would hold up the next change for longer.
     */

    if (ctx->reading || ctx->commands.len == 0
        || ctx->phase == NGX_HTTP_CORRAL_FOLLOW_PROBE
        || ctx->phase == NGX_HTTP_CORRAL_FOLLOW_FETCH
        || (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_COMMIT && !ctx->full))
    {
        return;
    }

    idle = (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_IDLE && ctx->changes.len);
    block = idle ? NGX_HTTP_CORRAL_FOLLOW_BLOCK : NGX_HTTP_CORRAL_FOLLOW_BRIEF;

    n = 0;
    ngx_str_set(&argv[n], "XREAD");
    n++;
    ngx_str_set(&argv[n], "BLOCK");
    n++;

    argv[n].data = ms;
    argv[n].len = ngx_sprintf(ms, "%ui", block) - ms;
    n++;

    ngx_str_set(&argv[n], "STREAMS");
    n++;

    if (idle) {
        argv[n++] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_CHANGES);
    }

    argv[n++] = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_COMMANDS);

    if (idle) {
        argv[n].data = ctx->changes.data;
        argv[n].len = ctx->changes.len;
        n++;
    }

    argv[n].data = ctx->commands.data;
    argv[n].len = ctx->commands.len;
    n++;

    if (ngx_http_corral_redis_command(ctx->follow,
                                      block + NGX_HTTP_CORRAL_FOLLOW_TIMEOUT,
                                      ngx_http_corral_follow_read_entries, NULL,
                                      n, argv)
        == NGX_OK)
    {
        ctx->reading = 1;
    }
}


static void
ngx_http_corral_follow_read_entries(void *data,
    ngx_http_corral_redis_reply_t *reply)
{
    ngx_str_t                       changes;
    ngx_uint_t                      i;
    ngx_http_corral_follow_t       *ctx;
    ngx_http_corral_redis_reply_t  *stream, *entries;

    ctx = &ngx_http_corral_follow;
    ctx->reading = 0;

    if (reply->type != NGX_HTTP_CORRAL_REDIS_ARRAY
        && reply->type != NGX_HTTP_CORRAL_REDIS_NIL)
    {
        ngx_http_corral_redis_fail(ctx->follow, "refused to read changes: %V",
                                   &reply->str);
        return;
    }

    changes = ngx_http_corral_key(NGX_HTTP_CORRAL_KEY_CHANGES);

    for (i = 0; i < reply->n; i++) {
        stream = reply->elements[i];

        if (stream->type != NGX_HTTP_CORRAL_REDIS_ARRAY || stream->n != 2
            || stream->elements[1]->type != NGX_HTTP_CORRAL_REDIS_ARRAY)
        {
            ngx_http_corral_redis_fail(ctx->follow, "sent no stream");
            return;
        }

        entries = stream->elements[1];

        if (stream->elements[0]->str.len != changes.len
            || ngx_memcmp(stream->elements[0]->str.data, changes.data,
                          changes.len)
               != 0)
        {
            ngx_http_corral_follow_read_commands(entries);

        } else if (ctx->phase == NGX_HTTP_CORRAL_FOLLOW_IDLE) {
            ngx_http_corral_follow_read_changes(entries);
        }
    }

    ngx_http_corral_follow_read_next();
}


static void
ngx_http_corral_follow_read_commands(ngx_http_corral_redis_reply_t *entries)
{
    ngx_uint_t                      i;
    ngx_http_corral_redis_reply_t  *entry;

    for (i = 0; i < entries->n; i++) {
        entry = entries->elements[i];

        if (ngx_http_corral_follow_read_entry(entry)) {
            ngx_http_corral_follow_read_set_id(&ngx_http_corral_follow.commands,
                                          entry);
            ngx_http_corral_command_run(entry->elements[1]);
        }
    }
}


static void
ngx_http_corral_follow_read_changes(ngx_http_corral_redis_reply_t *entries)
{
    uint64_t                          revision;
    ngx_int_t                         rc;
    ngx_uint_t                        i;
    ngx_rbtree_t                      seen;
    ngx_rbtree_node_t                 sentinel;
    ngx_http_corral_follow_t         *ctx;
    ngx_http_corral_registry_info_t  *info;

    ctx = &ngx_http_corral_follow;
    info = ngx_http_corral_registry_info();

    if (entries->n > NGX_HTTP_CORRAL_FOLLOW_ENTRIES) {
        ngx_http_corral_follow_probe(1);
        return;
    }

    ctx->batch = ngx_create_pool(4096, ngx_cycle->log);
    rc = ctx->batch ? NGX_OK : NGX_ERROR;

    for (i = 0; i < NGX_HTTP_CORRAL_KINDS && rc == NGX_OK; i++) {
        rc = ngx_array_init(&ctx->ids[i], ctx->batch, 4, sizeof(ngx_str_t));
    }

    if (rc != NGX_OK) {
        ngx_http_corral_follow_update_failed();
        return;
    }

    ngx_rbtree_init(&seen, &sentinel, ngx_str_rbtree_insert_value);

    revision = info->revision;

    for (i = 0; i < entries->n; i++) {
        rc = ngx_http_corral_follow_read_change(&seen, entries->elements[i],
                                           &revision);

        if (rc == NGX_DECLINED) {
            ngx_http_corral_follow_probe(1);
            return;
        }

        if (rc != NGX_OK) {
            ngx_http_corral_follow_update_failed();
            return;
        }
    }

    if (revision == info->revision) {
        ngx_http_corral_follow_update_finish();
        return;
    }

    ngx_http_corral_follow_update_changes(revision);
}


/*
 * Takes one entry into the batch.  revision is that of the entry before, or
 * the registry's.  NGX_DECLINED: something is missing, everything is to be
 * loaded.
 */

static ngx_int_t
ngx_http_corral_follow_read_change(ngx_rbtree_t *seen,
    ngx_http_corral_redis_reply_t *entry, uint64_t *revision)
{
    uint64_t                        n, first;
    ngx_str_t                      *id;
    ngx_uint_t                      i, j;
    ngx_http_corral_follow_t       *ctx;
    ngx_http_corral_redis_reply_t  *fields, *values[CHANGE_NUMBER];

    ctx = &ngx_http_corral_follow;

    if (!ngx_http_corral_follow_read_entry(entry)) {
        return NGX_DECLINED;
    }

    if (ngx_http_corral_follow_read_compare(&entry->elements[0]->str,
                                            &ctx->changes)
        <= 0)
    {
        /* from before the last full load */
        return NGX_OK;
    }

    ngx_memzero(values, sizeof(values));
    fields = entry->elements[1];

    for (i = 0; i + 1 < fields->n; i += 2) {
        for (j = 0; j < CHANGE_NUMBER; j++) {
            if (ngx_strcmp(fields->elements[i]->str.data,
                           ngx_http_corral_follow_read_fields[j].data)
                == 0)
            {
                values[j] = fields->elements[i + 1];
            }
        }
    }

    if (values[CHANGE_kind] == NULL || values[CHANGE_id] == NULL
        || values[CHANGE_revision] == NULL
        || !ngx_http_corral_follow_number(values[CHANGE_revision], &n))
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "corral: an entry of the changes, \"%V\", is not one",
                      &entry->elements[0]->str);
        return NGX_DECLINED;
    }

    /* entries of one commit share its revision, but not with the registry */

    first = ngx_http_corral_registry_info()->revision;

    if (n != *revision + 1 && (n != *revision || n == first)) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "corral: a change of revision %uL follows revision %uL: "
                      "everything is loaded anew", n, *revision);
        return NGX_DECLINED;
    }

    *revision = n;
    ngx_http_corral_follow_read_set_id(&ctx->end, entry);

    id = &values[CHANGE_id]->str;

    for (i = 0; i < NGX_HTTP_CORRAL_KINDS; i++) {
        if (ngx_strcmp(values[CHANGE_kind]->str.data,
                       ngx_http_corral_follow_read_kinds[i].data)
            == 0)
        {
            return ngx_http_corral_follow_read_add(seen, i, id);
        }
    }

    /* a kind of a later version, nothing for us */

    return NGX_OK;
}


/* Adds a copy of the id unless it is there. */

static ngx_int_t
ngx_http_corral_follow_read_add(ngx_rbtree_t *seen, ngx_uint_t kind,
    ngx_str_t *id)
{
    uint32_t                   hash;
    ngx_str_t                  name, *new;
    ngx_str_node_t            *node;
    ngx_http_corral_follow_t  *ctx;

    ctx = &ngx_http_corral_follow;

    /* the kind makes it a name of its own: it is the last byte */

    name.len = id->len + 1;
    name.data = ngx_pnalloc(ctx->batch, name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(name.data, id->data, id->len);
    name.data[id->len] = (u_char) kind;

    hash = ngx_crc32_short(name.data, name.len);

    if (ngx_str_rbtree_lookup(seen, &name, hash)) {
        return NGX_OK;
    }

    node = ngx_palloc(ctx->batch, sizeof(ngx_str_node_t));
    new = ngx_array_push(&ctx->ids[kind]);

    if (node == NULL || new == NULL) {
        return NGX_ERROR;
    }

    node->node.key = hash;
    node->str = name;
    ngx_rbtree_insert(seen, &node->node);

    new->data = name.data;
    new->len = id->len;

    return NGX_OK;
}


/* Is it [id, [name, value, ...]], all of them strings? */

ngx_uint_t
ngx_http_corral_follow_read_entry(ngx_http_corral_redis_reply_t *entry)
{
    ngx_uint_t                      i;
    ngx_http_corral_redis_reply_t  *fields;

    if (entry->type != NGX_HTTP_CORRAL_REDIS_ARRAY || entry->n != 2
        || entry->elements[0]->type != NGX_HTTP_CORRAL_REDIS_STRING
        || entry->elements[0]->str.len > NGX_HTTP_CORRAL_FOLLOW_ID
        || entry->elements[1]->type != NGX_HTTP_CORRAL_REDIS_ARRAY)
    {
        return 0;
    }

    fields = entry->elements[1];

    for (i = 0; i < fields->n; i++) {
        if (fields->elements[i]->type != NGX_HTTP_CORRAL_REDIS_STRING) {
            return 0;
        }
    }

    return 1;
}


void
ngx_http_corral_follow_read_set_id(ngx_http_corral_follow_id_t *id,
    ngx_http_corral_redis_reply_t *entry)
{
    id->len = entry->elements[0]->str.len;
    ngx_memcpy(id->data, entry->elements[0]->str.data, id->len);
}


/* By time, then by number: "1700000000000-0".  -1, 0 or 1. */

static ngx_int_t
ngx_http_corral_follow_read_compare(ngx_str_t *id,
    ngx_http_corral_follow_id_t *last)
{
    size_t     i;
    u_char    *dash;
    ngx_int_t  a[2], b[2];
    ngx_str_t  s[2];

    s[0] = *id;
    s[1].data = last->data;
    s[1].len = last->len;

    for (i = 0; i < 2; i++) {
        dash = ngx_strlchr(s[i].data, s[i].data + s[i].len, '-');

        if (dash == NULL) {
            return 1;
        }

        a[i] = ngx_atoi(s[i].data, dash - s[i].data);
        b[i] = ngx_atoi(dash + 1, s[i].data + s[i].len - dash - 1);
    }

    if (a[0] != a[1]) {
        return a[0] < a[1] ? -1 : 1;
    }

    return (b[0] > b[1]) - (b[0] < b[1]);
}
