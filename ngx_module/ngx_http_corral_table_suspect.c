
/*
 * Suspect messages in the zone: a ring of hashes, each with the second in
 * which it is forgotten.  Atomics only: a reader that meets a half-written
 * entry finds nothing in it.
 */


#include "ngx_http_corral_table_slots.h"


#define NGX_HTTP_CORRAL_SUSPECT_TIME  60        /* seconds */


static ngx_http_corral_suspects_t  *ngx_http_corral_suspects;


/* The zone of this worker. */

void
ngx_http_corral_table_suspect_init(ngx_http_corral_suspects_t *suspects)
{
    ngx_http_corral_suspects = suspects;
}


void
ngx_http_corral_table_suspect_add(uint64_t hash)
{
    ngx_uint_t  i;

    if (ngx_http_corral_suspects == NULL) {
        return;
    }

    i = ngx_atomic_fetch_add(&ngx_http_corral_suspects->next, 1)
        % NGX_HTTP_CORRAL_SUSPECTS;

    ngx_http_corral_suspects->entries[i].until = 0;
    ngx_memory_barrier();
    ngx_http_corral_suspects->entries[i].hash = hash;
    ngx_memory_barrier();
    ngx_http_corral_suspects->entries[i].until =
                                    ngx_time() + NGX_HTTP_CORRAL_SUSPECT_TIME;

    ngx_http_corral_suspects->until = ngx_time()
                                      + NGX_HTTP_CORRAL_SUSPECT_TIME;
}


ngx_uint_t
ngx_http_corral_table_suspects(void)
{
    return ngx_http_corral_suspects
           && (time_t) ngx_http_corral_suspects->until > ngx_time();
}


ngx_uint_t
ngx_http_corral_table_suspect(uint64_t hash)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_CORRAL_SUSPECTS; i++) {

        if (ngx_http_corral_suspects->entries[i].hash == hash
            && (time_t) ngx_http_corral_suspects->entries[i].until
               > ngx_time())
        {
            return 1;
        }
    }

    return 0;
}


void
ngx_http_corral_table_suspect_drop(uint64_t hash)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_CORRAL_SUSPECTS; i++) {

        if (ngx_http_corral_suspects->entries[i].hash == hash) {
            ngx_http_corral_suspects->entries[i].until = 0;
        }
    }
}
