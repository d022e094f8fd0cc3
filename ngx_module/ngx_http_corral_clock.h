
/*
 * A clock that moves within one turn of the event loop, for work that is done
 * in slices.  ngx_current_msec stands still there, and is too coarse.
 */


#ifndef _NGX_HTTP_CORRAL_CLOCK_H_INCLUDED_
#define _NGX_HTTP_CORRAL_CLOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* what one slice may take, microseconds: see DESIGN, "parsing in slices" */
#define NGX_HTTP_CORRAL_SLICE  1000


/* Microseconds from some point in the past; never goes back. */

static ngx_inline uint64_t
ngx_http_corral_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}


#endif /* _NGX_HTTP_CORRAL_CLOCK_H_INCLUDED_ */
