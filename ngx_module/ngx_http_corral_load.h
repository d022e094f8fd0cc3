
/*
 * The registry from its text form: the image in the zone, the state file.
 * See ngx_http_corral_load.c.
 */


#ifndef _NGX_HTTP_CORRAL_LOAD_H_INCLUDED_
#define _NGX_HTTP_CORRAL_LOAD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Begin to load the image of the zone or the file.  NGX_OK: call next until it
 * says something else than NGX_AGAIN.  NGX_DECLINED: there is none, or it
 * cannot be read (logged).  NGX_ERROR: no memory, or a load is under way.
 */
ngx_int_t ngx_http_corral_load_image(void);
ngx_int_t ngx_http_corral_load_file(ngx_str_t *path);

/*
 * Works until the clock of ngx_http_corral_clock() shows until.  NGX_AGAIN:
 * call it again in another turn.  NGX_OK: the registry is what the text says.
 * NGX_DECLINED: the text was refused as a whole, a sentence is in the log.
 * NGX_ERROR: no memory.  Unless NGX_OK, the registry is what it was before.
 */
ngx_int_t ngx_http_corral_load_next(uint64_t until);

/* Drops a load that is under way, if any. */
void ngx_http_corral_load_abort(void);

/*
 * 1 if the file is there and is not the one that was last begun to be loaded,
 * whatever came of it: so a broken file is told once, not each second.
 */
ngx_uint_t ngx_http_corral_load_changed(ngx_str_t *path);


#endif /* _NGX_HTTP_CORRAL_LOAD_H_INCLUDED_ */
