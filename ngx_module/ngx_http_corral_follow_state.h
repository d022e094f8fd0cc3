
/*
 * What the files of ngx_http_corral_follow share: the state of one worker and
 * the functions between them.
 */


#ifndef _NGX_HTTP_CORRAL_FOLLOW_STATE_H_INCLUDED_
#define _NGX_HTTP_CORRAL_FOLLOW_STATE_H_INCLUDED_


#include "ngx_http_corral.h"
#include "ngx_http_corral_follow.h"
#include "ngx_http_corral_key.h"
#include "ngx_http_corral_redis.h"


#define NGX_HTTP_CORRAL_FOLLOW_TIMEOUT  3000    /* ms, for an answer */
#define NGX_HTTP_CORRAL_FOLLOW_ID       64      /* bytes of an entry's id */


typedef enum {
    NGX_HTTP_CORRAL_FOLLOW_WAIT = 0,
    NGX_HTTP_CORRAL_FOLLOW_PROBE,
    NGX_HTTP_CORRAL_FOLLOW_SCAN,
    NGX_HTTP_CORRAL_FOLLOW_FETCH,
    NGX_HTTP_CORRAL_FOLLOW_COMMIT,
    NGX_HTTP_CORRAL_FOLLOW_IDLE
} ngx_http_corral_follow_phase_e;


/* id of the last entry that was read of a stream; len 0: not known */

typedef struct {
    size_t                            len;
    u_char                            data[NGX_HTTP_CORRAL_FOLLOW_ID];
} ngx_http_corral_follow_id_t;


typedef struct {
    ngx_http_corral_sync_info_t      *info;
    void                            (*changed)(ngx_uint_t full);

    ngx_http_corral_redis_t          *cmd;
    ngx_http_corral_redis_t          *follow;
    ngx_http_corral_follow_phase_e    phase;

    ngx_http_corral_follow_id_t       changes;
    ngx_http_corral_follow_id_t       commands;
    unsigned                          reading:1;   /* XREAD is under way */

    unsigned                          force:1;     /* probe, then full load */
    unsigned                          full:1;      /* of the update */
    unsigned                          begun:1;     /* registry_begin was said */
    unsigned                          empty:1;     /* it was told */
    unsigned                          same:1;      /* epoch, in this beat */
    ngx_uint_t                        behind;      /* beats */
    uint64_t                          behind_at;   /* revision at that time */

    /* the update */
    u_char                            epoch[CORRAL_ID_MAX + 1];
    uint64_t                          revision;
    ngx_http_corral_follow_id_t       end;         /* of changes, then */
    ngx_http_corral_kind_e            kind;        /* of a scan */
    u_char                            cursor[NGX_INT64_LEN + 1];
    size_t                            cursor_len;

    /* documents not yet put: elements pos to n of list */
    ngx_http_corral_redis_reply_t    *reply;       /* kept */
    ngx_http_corral_redis_reply_t    *list;
    ngx_uint_t                        pos;

    /* a batch of changes: ids by kind */
    ngx_pool_t                       *batch;
    ngx_array_t                       ids[NGX_HTTP_CORRAL_KINDS];
    ngx_uint_t                        fetched;     /* of ids[kind] */
    ngx_uint_t                        asked;       /* by this HMGET */

    ngx_event_t                       beat;
    ngx_event_t                       timer;       /* jitter, retry */
    ngx_event_t                       work;
    ngx_connection_t                  dummy;       /* ev->data */
} ngx_http_corral_follow_t;


extern ngx_http_corral_follow_t  ngx_http_corral_follow;


/*
 * ngx_http_corral_follow.c: commands of "cmd" (NGX_DECLINED if it is not
 * connected), the last entry of a stream, a number (0 if it is none), the
 * answers "OK" and "QUEUED".
 *
 * probe asks where the store is and goes on from there; with force everything
 * is loaded, whatever it says.  What was begun is dropped.
 */
ngx_int_t ngx_http_corral_follow_send(ngx_http_corral_redis_reply_pt cb,
    ngx_uint_t argc, ngx_str_t *argv);
ngx_int_t ngx_http_corral_follow_get(ngx_http_corral_key_e key,
    ngx_http_corral_redis_reply_pt cb);
ngx_int_t ngx_http_corral_follow_last(ngx_http_corral_redis_t *redis,
    ngx_http_corral_key_e key, ngx_http_corral_redis_reply_pt cb);
ngx_uint_t ngx_http_corral_follow_number(ngx_http_corral_redis_reply_t *reply,
    uint64_t *number);
void ngx_http_corral_follow_queued(void *data,
    ngx_http_corral_redis_reply_t *reply);
void ngx_http_corral_follow_probe(ngx_uint_t force);

/*
 * ngx_http_corral_follow_update.c: full loads everything, changes fetches
 * ctx->ids and leads to the revision; both end in a commit.  work is the
 * handler of ctx->work.  reset drops what was begun, finish frees what it
 * needed; failed tries again later.
 */
void ngx_http_corral_follow_update_full(void);
void ngx_http_corral_follow_update_changes(uint64_t revision);
void ngx_http_corral_follow_update_work(ngx_event_t *ev);
void ngx_http_corral_follow_update_reset(void);
void ngx_http_corral_follow_update_finish(void);
void ngx_http_corral_follow_update_failed(void);

/*
 * ngx_http_corral_follow_read.c: ready and closed are told of the connection
 * "follow"; next waits for changes and commands as the phase allows.
 * entry says whether it is one of a stream, set_id takes its id.
 */
void ngx_http_corral_follow_read_ready(void *data);
void ngx_http_corral_follow_read_closed(void *data);
void ngx_http_corral_follow_read_next(void);
ngx_uint_t ngx_http_corral_follow_read_entry(
    ngx_http_corral_redis_reply_t *entry);
void ngx_http_corral_follow_read_set_id(ngx_http_corral_follow_id_t *id,
    ngx_http_corral_redis_reply_t *entry);


#endif /* _NGX_HTTP_CORRAL_FOLLOW_STATE_H_INCLUDED_ */
