/*
 * What the instances of this node say of themselves, for the gateways: the
 * heartbeats of external ones and the answers of those with a probe of type
 * agent_check.  Both are kept by the store and expire there; here they are told
 * once a second, in one piece, as long as there is something to tell.
 */


#include <string.h>

#include <corral_report.h>
#include <corral_schema.h>

#include "../base/buf.h"
#include "../base/conf.h"
#include "../model/doc.h"
#include "../store/store.h"
#include "local.h"


static void corrald_report_each(const corrald_entry_t *entry, void *data);


static int  corrald_report_told;     /* something of ours is out there */


/* To be called once a second while the store is there. */

void
corrald_report_tick(void)
{
    corrald_buf_t  b;

    corrald_buf_init(&b, CORRAL_REPORTS_MAX);
    corrald_store_each(CORRALD_INSTANCE, corrald_report_each, &b);

    /* the last time to say that there is nothing any more */

    if (b.len > 0 || corrald_report_told) {
        corrald_store_reports(b.len ? b.data : "");
    }

    corrald_report_told = (b.len > 0);
    corrald_buf_free(&b);
}


static void
corrald_report_each(const corrald_entry_t *entry, void *data)
{
    json_t           *load;
    const char       *words;
    corrald_buf_t    *b;
    corral_report_t   report;

    b = data;

    if (strcmp(corrald_doc_str(entry->doc, "node"), corrald_conf()->node)
        != 0)
    {
        return;
    }

    load = corrald_store_load(entry->id);
    words = json_string_value(json_object_get(load, "agent"));

    if (words == NULL
        || corral_report_parse(words, strlen(words), &report) != 0)
    {
        return;
    }

    corrald_buf_printf(b, "i:%s:%lld %.*s\n", entry->id,
                       (long long) corrald_doc_int(entry->doc, "incarnation"),
                       (int) strcspn(words, "\r\n#"), words);
}
