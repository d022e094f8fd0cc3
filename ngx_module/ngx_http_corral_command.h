
/*
 * Commands that corrald sends to all workers.  See ngx_http_corral_command.c.
 */


#ifndef _NGX_HTTP_CORRAL_COMMAND_H_INCLUDED_
#define _NGX_HTTP_CORRAL_COMMAND_H_INCLUDED_


#include "ngx_http_corral.h"
#include "ngx_http_corral_redis.h"


/*
 * Carries out one entry of the stream "commands", an array of names and values,
 * and answers it, at once or later.  The array is not needed afterwards.
 */
void ngx_http_corral_command_run(ngx_http_corral_redis_reply_t *fields);


#endif /* _NGX_HTTP_CORRAL_COMMAND_H_INCLUDED_ */
