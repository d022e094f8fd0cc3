
/*
 * What instances say of themselves.  See ngx_http_corral_report.c.
 */


#ifndef _NGX_HTTP_CORRAL_REPORT_H_INCLUDED_
#define _NGX_HTTP_CORRAL_REPORT_H_INCLUDED_


/* In one process of the zone, once a second, while Redis takes commands. */
void ngx_http_corral_report_ask(void);


#endif /* _NGX_HTTP_CORRAL_REPORT_H_INCLUDED_ */
