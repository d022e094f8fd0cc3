
/*
 * The registry's printer: the whole registry as an image (docs/schema.md), in
 * slices, for the shared zone and the state file.  A change of the registry
 * meanwhile ends it: the caller begins anew.
 */


#include "ngx_http_corral_clock.h"
#include "ngx_http_corral_registry_entries.h"


/*
 * Bytes of a line, rather too many than too few: what is not written is not
 * even memory, while a buffer that grows is copied in one turn.
 */

#define NGX_HTTP_CORRAL_REGISTRY_PRINT_LINE  2048


static ngx_int_t ngx_http_corral_registry_print_entry(ngx_queue_t *q);


void
ngx_http_corral_registry_print_begin(void)
{
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    if (reg->image) {
        ngx_free(reg->image);
        reg->image = NULL;
    }

    /* the first line is known last: its place is kept free */

    reg->image_len = CORRAL_DECODE_HEAD_MAX;
    reg->image_size = CORRAL_DECODE_HEAD_MAX
                      + ((size_t) reg->info.services + reg->info.instances
                         + reg->info.rules)
                        * NGX_HTTP_CORRAL_REGISTRY_PRINT_LINE;
    reg->image = ngx_alloc(reg->image_size, ngx_cycle->log);

    if (reg->image == NULL) {
        reg->image_size = 0;
    }

    reg->image_lines = 0;
    reg->image_crc32 = 0;
    reg->image_swaps = reg->swaps;
    reg->image_kind = NGX_HTTP_CORRAL_SERVICE;
    reg->image_next = ngx_queue_head(&reg->all_services);
}


ngx_int_t
ngx_http_corral_registry_print_next(ngx_msec_t budget, ngx_str_t *image,
    uint32_t *crc32)
{
    size_t                       head;
    uint64_t                     start;
    ngx_queue_t                 *q;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;
    start = ngx_http_corral_clock();

    if (reg->image_swaps != reg->swaps || reg->updating) {
        return NGX_DECLINED;
    }

    for ( ;; ) {
        q = reg->image_next;

        if (q == ngx_queue_sentinel(&reg->all_services)) {
            reg->image_kind = NGX_HTTP_CORRAL_INSTANCE;
            reg->image_next = ngx_queue_head(&reg->all_instances);
            continue;
        }

        if (q == ngx_queue_sentinel(&reg->all_instances)) {
            reg->image_kind = NGX_HTTP_CORRAL_RULE;
            reg->image_next = ngx_queue_head(&reg->all_rules);
            continue;
        }

        if (q == ngx_queue_sentinel(&reg->all_rules)) {
            break;
        }

        if (ngx_http_corral_registry_print_entry(q) != NGX_OK) {
            return NGX_ERROR;
        }

        reg->image_next = ngx_queue_next(q);

        if (ngx_http_corral_clock() - start >= (uint64_t) budget * 1000) {
            return NGX_AGAIN;
        }
    }

    if (reg->image == NULL) {
        reg->image = ngx_alloc(CORRAL_DECODE_HEAD_MAX, ngx_cycle->log);
        if (reg->image == NULL) {
            return NGX_ERROR;
        }
    }

    head = corral_decode_print_head((char *) reg->info.epoch,
                                    reg->info.revision, reg->image_lines,
                                    reg->image_crc32, (char *) reg->image,
                                    CORRAL_DECODE_HEAD_MAX);

    /* what is left of its place is blanks: megabytes are not moved for it */

    ngx_memset(reg->image + head - 1, ' ', CORRAL_DECODE_HEAD_MAX - head);
    reg->image[CORRAL_DECODE_HEAD_MAX - 1] = '\n';

    *crc32 = corral_decode_crc32_join(
                 corral_decode_crc32(0, reg->image, CORRAL_DECODE_HEAD_MAX),
                 reg->image_crc32, reg->image_len - CORRAL_DECODE_HEAD_MAX);

    image->data = reg->image;
    image->len = reg->image_len;
    reg->image = NULL;

    return NGX_OK;
}


/* appends the line of one document */

static ngx_int_t
ngx_http_corral_registry_print_entry(ngx_queue_t *q)
{
    size_t                       n, size;
    u_char                      *p;
    ngx_http_corral_sentry_t    *s;
    ngx_http_corral_ientry_t    *i;
    ngx_http_corral_rentry_t    *e;
    ngx_http_corral_registry_t  *reg;

    reg = &ngx_http_corral_reg;

    for ( ;; ) {
        p = reg->image ? reg->image + reg->image_len : NULL;
        size = reg->image_size > reg->image_len
               ? reg->image_size - reg->image_len : 0;

        if (reg->image_kind == NGX_HTTP_CORRAL_SERVICE) {
            s = ngx_queue_data(q, ngx_http_corral_sentry_t, queue);

            if (s->doc == NULL) {
                return NGX_OK;
            }

            n = corral_decode_print_service(s->doc, (char *) p, size);

        } else if (reg->image_kind == NGX_HTTP_CORRAL_RULE) {
            e = ngx_queue_data(q, ngx_http_corral_rentry_t, queue);

            if (e->rule == NULL) {
                return NGX_OK;
            }

            n = corral_decode_print_rule(&e->rule->doc, (char *) p, size);

        } else {
            i = ngx_queue_data(q, ngx_http_corral_ientry_t, queue);

            if (i->doc == NULL) {
                return NGX_OK;
            }

            n = corral_decode_print_instance(&i->doc->doc, (char *) p, size);
        }

        if (n < size) {
            reg->image_crc32 = corral_decode_crc32(reg->image_crc32, p, n);
            reg->image_len += n;
            reg->image_lines++;

            return NGX_OK;
        }

        /* as snprintf() does, it says how much it would have taken */

        size = ngx_max(reg->image_size * 2, reg->image_len + n + 4096);

        p = ngx_alloc(size, ngx_cycle->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (reg->image) {
            ngx_memcpy(p, reg->image, reg->image_len);
            ngx_free(reg->image);
        }

        reg->image = p;
        reg->image_size = size;
    }
}
