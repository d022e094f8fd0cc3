
/*
 * The registry of this worker into the zone and into the state file.
 * See ngx_http_corral_save.c.
 */


#ifndef _NGX_HTTP_CORRAL_SAVE_H_INCLUDED_
#define _NGX_HTTP_CORRAL_SAVE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Begins to save the registry: as the image of the zone if image is set, and
 * into the file unless path is NULL; path must live until the end.  What was
 * under way is dropped.  Call next until it says something else than
 * NGX_AGAIN.
 */
void ngx_http_corral_save_start(ngx_uint_t image, ngx_str_t *path);

/*
 * Works until the clock shows until.  NGX_OK: saved.  NGX_DECLINED: not
 * needed, the zone has this revision or a newer one, or another worker writes.
 * NGX_BUSY: the registry changed meanwhile, begin anew later.  NGX_ERROR: not
 * saved, it is in the log.
 */
ngx_int_t ngx_http_corral_save_next(uint64_t until);

void ngx_http_corral_save_abort(void);

/*
 * Compares the image of the zone with the registry of this worker: -1 if it is
 * older, of another epoch or not there, 0 if it is the same, 1 if it is newer.
 */
ngx_int_t ngx_http_corral_save_compare(void);


/* Bytes of the text that was saved last, 0 before the first. */
size_t ngx_http_corral_save_size(void);


#endif /* _NGX_HTTP_CORRAL_SAVE_H_INCLUDED_ */
