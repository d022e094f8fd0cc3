
/*
 * Suspect messages in the zone.  For ngx_http_corral_table*.c alone.
 */


#ifndef _NGX_HTTP_CORRAL_TABLE_SUSPECT_H_INCLUDED_
#define _NGX_HTTP_CORRAL_TABLE_SUSPECT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_CORRAL_SUSPECTS  256


typedef struct {
    ngx_atomic_t                 until;     /* ngx_time() of the youngest */
    ngx_atomic_t                 next;
    struct {
        ngx_atomic_t             hash;
        ngx_atomic_t             until;
    } entries[NGX_HTTP_CORRAL_SUSPECTS];
} ngx_http_corral_suspects_t;


void ngx_http_corral_table_suspect_init(ngx_http_corral_suspects_t *suspects);


#endif /* _NGX_HTTP_CORRAL_TABLE_SUSPECT_H_INCLUDED_ */
