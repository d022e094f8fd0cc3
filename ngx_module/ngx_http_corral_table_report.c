
/*
 * What instances say of themselves, in their slots: one word each, written by
 * the process that has read them last, all at once.  What a reading does not
 * bring is gone, and everything is when nobody has read for ten seconds: then
 * the documents hold again.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_corral_table_slots.h"


void
ngx_http_corral_table_report_set(uint64_t *reports, ngx_uint_t n)
{
    ngx_uint_t                i, any;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;
    any = 0;

    for (i = 0; i < sh->used; i++) {
        sh->slots[i].report = i < n ? reports[i] : 0;
        any |= sh->slots[i].report != 0;
    }

    sh->report_any = any;
    sh->report_read = ngx_time();
}


void
ngx_http_corral_table_report_tick(time_t lease)
{
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh && sh->report_any
        && ngx_time() - (time_t) sh->report_read > lease)
    {
        ngx_http_corral_table_report_set(NULL, 0);
    }
}


ngx_uint_t
ngx_http_corral_table_report_any(void)
{
    return ngx_http_corral_sh && ngx_http_corral_sh->report_any;
}


ngx_uint_t
ngx_http_corral_table_report(ngx_http_corral_slot_t ref,
    corral_report_t *report)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    return corral_report_unpack(slot ? slot->report : 0, report);
}
