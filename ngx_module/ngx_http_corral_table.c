
/*
 * Shared memory of the gateway: one slot for each instance (by incarnation) and
 * each service, in it one column of counts for each process, and the last
 * registry image.
 *
 * A count has one writer, the process of its column; the value is the sum over
 * the columns of live processes.  There is no second total that could
 * disagree: when a process dies its column is cleared and the sum is right.
 * See ngx_http_corral_table_process.c.
 *
 * The only lock is shpool->mutex, which nginx takes back from a dead holder.
 * It is taken to give out slots and columns and to become the writer of the
 * image, never on the path of a request: there everything is an atomic in a
 * fixed array.  What is made under the lock is filled in first and becomes
 * visible with one last store, so that dying in between leaves the older state.
 *
 * The zone is kept over reloads.  A binary upgrade gets a new one.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_schema.h>

#include "ngx_http_corral_table_slots.h"

#include <sys/random.h>


#define NGX_HTTP_CORRAL_SLOT_REST   60      /* seconds unseen until reused */
#define NGX_HTTP_CORRAL_NONE        0xffffffff


static ngx_int_t ngx_http_corral_table_init_zone(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_corral_table_alloc(ngx_slab_pool_t *shpool,
    size_t size, ngx_http_corral_shctx_t **shctx);
static uint32_t ngx_http_corral_table_find_locked(ngx_str_t *key,
    uint32_t hash);
static uint32_t ngx_http_corral_table_take_locked(void);
static void ngx_http_corral_table_unlink_locked(uint32_t i);


/* of this worker */

ngx_http_corral_shctx_t         *ngx_http_corral_sh;
ngx_slab_pool_t                 *ngx_http_corral_shpool;
ngx_uint_t                       ngx_http_corral_column;   /* 64: none */
ngx_http_corral_local_t         *ngx_http_corral_locals;
uint32_t                         ngx_http_corral_nlocals;

static uint32_t                 *ngx_http_corral_dirty;
static ngx_uint_t                ngx_http_corral_ndirty;

static ngx_http_corral_totals_t  ngx_http_corral_lost;     /* a safe sink */


ngx_shm_zone_t *
ngx_http_corral_table_create(ngx_conf_t *cf, ngx_str_t *name, size_t size)
{
    ngx_shm_zone_t  *zone;

    zone = ngx_shared_memory_add(cf, name, size,
                                 &ngx_http_corral_table_create);
    if (zone == NULL) {
        return NULL;
    }

    zone->init = ngx_http_corral_table_init_zone;
    zone->data = zone;                  /* not NULL: an older cycle had it */

    return zone;
}


static ngx_int_t
ngx_http_corral_table_init_zone(ngx_shm_zone_t *zone, void *data)
{
    u_char                    nonce[8];
    ngx_uint_t                i;
    ngx_slab_pool_t          *shpool;
    ngx_http_corral_shctx_t  *sh;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data || zone->shm.exists) {
        return NGX_OK;
    }

    if (ngx_http_corral_table_alloc(shpool, zone->shm.size, &sh) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "corral_zone \"%V\" is too small", &zone->shm.name);
        return NGX_ERROR;
    }

    for (i = 0; i < 8; i++) {
        nonce[i] = (u_char) ngx_random();
    }

    ngx_hex_dump(sh->nonce, nonce, 8);

    if (getrandom(sh->secret, sizeof(sh->secret), 0)
        != (ssize_t) sizeof(sh->secret))
    {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, ngx_errno,
                      "getrandom() failed");
        return NGX_ERROR;
    }

    for (i = 0; i < sh->nbuckets; i++) {
        sh->buckets[i] = NGX_HTTP_CORRAL_NONE;
    }

    sh->current = 2;
    shpool->data = sh;

    return NGX_OK;
}


/*
 * Six tenths of the zone are slots, a third is two images: 16m hold 12,000
 * slots and images of 2.8 MB, enough for 10,000 instances of 1,000 services.
 * A thirtieth holds sessions, 23,000, and a sixty-fourth what is revoked, all
 * 10,000 of it.
 */

static ngx_int_t
ngx_http_corral_table_alloc(ngx_slab_pool_t *shpool, size_t size,
    ngx_http_corral_shctx_t **shctx)
{
    ngx_uint_t                i, n;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_http_corral_shctx_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    n = size / 10 * 6 / (sizeof(ngx_http_corral_shslot_t) + 8);

    if (n < 16) {
        return NGX_ERROR;
    }

    for (i = 16; i < n; i <<= 1) { /* void */ }

    sh->nslots = n;
    sh->nbuckets = i >> 1;
    sh->image_size = size / 6;

    sh->slots = ngx_slab_calloc(shpool, n * sizeof(ngx_http_corral_shslot_t));
    sh->buckets = ngx_slab_calloc(shpool, sh->nbuckets * sizeof(uint32_t));
    sh->images[0].data = ngx_slab_alloc(shpool, sh->image_size);
    sh->images[1].data = ngx_slab_alloc(shpool, sh->image_size);

    sh->affinity.n = size / 30 / sizeof(corral_affinity_entry_t)
                     / CORRAL_AFFINITY_WAYS * CORRAL_AFFINITY_WAYS;
    sh->affinity.entries = ngx_slab_calloc(shpool, sh->affinity.n
                                          * sizeof(corral_affinity_entry_t));

    sh->nrevocations = ngx_min(size / 64 / sizeof(corral_revocation_t),
                               CORRAL_REVOCATIONS_MAX);
    sh->revocations = ngx_slab_alloc(shpool, sh->nrevocations
                                             * sizeof(corral_revocation_t));

    if (sh->slots == NULL || sh->buckets == NULL
        || sh->affinity.entries == NULL || sh->revocations == NULL
        || sh->images[0].data == NULL || sh->images[1].data == NULL)
    {
        return NGX_ERROR;
    }

    *shctx = sh;

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_table_attach(ngx_cycle_t *cycle, ngx_shm_zone_t *zone)
{
    ngx_http_corral_shctx_t  *sh;

    ngx_http_corral_shpool = (ngx_slab_pool_t *) zone->shm.addr;
    ngx_http_corral_sh = ngx_http_corral_shpool->data;
    ngx_http_corral_table_suspect_init(&ngx_http_corral_sh->suspects);

    sh = ngx_http_corral_sh;

    /* 144 bytes a slot: 1.9 MB beside a zone of 16m */

    ngx_http_corral_locals = ngx_pcalloc(cycle->pool,
                              sh->nslots * sizeof(ngx_http_corral_local_t));
    ngx_http_corral_dirty = ngx_palloc(cycle->pool,
                                       sh->nslots * sizeof(uint32_t));

    if (ngx_http_corral_locals == NULL || ngx_http_corral_dirty == NULL) {
        return NGX_ERROR;
    }

    ngx_http_corral_nlocals = sh->nslots;
    ngx_http_corral_ndirty = 0;

    ngx_http_corral_table_process_enter(cycle->log);

    return NGX_OK;
}


void
ngx_http_corral_table_detach(void)
{
    if (ngx_http_corral_sh == NULL) {
        return;
    }

    ngx_http_corral_table_flush();

    ngx_http_corral_table_process_leave();
    ngx_http_corral_sh = NULL;
}


void
ngx_http_corral_table_tick(void)
{
    if (ngx_http_corral_sh == NULL) {
        return;
    }

    ngx_http_corral_table_process_tick();
    ngx_http_corral_table_flush();
}


ngx_http_corral_slot_t
ngx_http_corral_table_slot(ngx_str_t *key)
{
    uint32_t                   i, hash;
    ngx_http_corral_slot_t     ref;
    ngx_http_corral_shslot_t  *slot;
    ngx_http_corral_shctx_t   *sh;

    ref.slot = NGX_HTTP_CORRAL_NO_SLOT;
    ref.seq = 0;

    sh = ngx_http_corral_sh;

    if (sh == NULL || key->len > NGX_HTTP_CORRAL_KEY_LEN) {
        return ref;
    }

    hash = ngx_murmur_hash2(key->data, key->len);

    ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);

    i = ngx_http_corral_table_find_locked(key, hash);

    if (i == NGX_HTTP_CORRAL_NONE) {
        i = ngx_http_corral_table_take_locked();

        if (i == NGX_HTTP_CORRAL_NONE) {
            ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "corral table: no slot is free for \"%V\", it is "
                          "not counted: make corral_zone larger", key);
            return ref;
        }

        slot = &sh->slots[i];

        ngx_memcpy(slot->key, key->data, key->len);
        slot->len = key->len;
        slot->hash = hash;
        slot->next = sh->buckets[hash & (sh->nbuckets - 1)];
        ngx_memory_barrier();
        sh->buckets[hash & (sh->nbuckets - 1)] = i;
    }

    slot = &sh->slots[i];
    slot->seen = ngx_time();

    ref.slot = i;
    ref.seq = slot->seq;

    ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    return ref;
}


static uint32_t
ngx_http_corral_table_find_locked(ngx_str_t *key, uint32_t hash)
{
    uint32_t                   i;
    ngx_http_corral_shslot_t  *slot;
    ngx_http_corral_shctx_t   *sh;

    sh = ngx_http_corral_sh;

    for (i = sh->buckets[hash & (sh->nbuckets - 1)];
         i != NGX_HTTP_CORRAL_NONE;
         i = slot->next)
    {
        slot = &sh->slots[i];

        if (slot->hash == hash && slot->len == key->len
            && ngx_memcmp(slot->key, key->data, key->len) == 0)
        {
            break;
        }
    }

    return i;
}


uint32_t
ngx_http_corral_table_find(ngx_str_t *key)
{
    uint32_t  i;

    if (ngx_http_corral_sh == NULL) {
        return NGX_HTTP_CORRAL_NO_SLOT;
    }

    ngx_shmtx_lock(&ngx_http_corral_shpool->mutex);
    i = ngx_http_corral_table_find_locked(key, ngx_murmur_hash2(key->data,
                                                                key->len));
    ngx_shmtx_unlock(&ngx_http_corral_shpool->mutex);

    return i;
}


/*
 * Returns an empty slot outside of all buckets: a fresh one, or one that no
 * worker has seen for a minute and nobody holds.
 */

static uint32_t
ngx_http_corral_table_take_locked(void)
{
    uint32_t                   i, active, reserved, seq;
    ngx_http_corral_shslot_t  *slot;
    ngx_http_corral_shctx_t   *sh;

    sh = ngx_http_corral_sh;

    if (sh->used < sh->nslots) {
        i = sh->used++;
        sh->slots[i].seq = 1;

        return i;
    }

    for (i = 0; i < sh->nslots; i++) {
        slot = &sh->slots[i];

        if ((time_t) slot->seen + NGX_HTTP_CORRAL_SLOT_REST > ngx_time()) {
            continue;
        }

        ngx_http_corral_table_sum(slot, &active, &reserved);

        if (active || reserved) {
            continue;
        }

        ngx_http_corral_table_unlink_locked(i);

        seq = slot->seq + 1;
        ngx_memzero(slot, sizeof(ngx_http_corral_shslot_t));
        slot->seq = seq ? seq : 1;

        return i;
    }

    return NGX_HTTP_CORRAL_NONE;
}


static void
ngx_http_corral_table_unlink_locked(uint32_t i)
{
    uint32_t                 *p;
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    p = &sh->buckets[sh->slots[i].hash & (sh->nbuckets - 1)];

    while (*p != NGX_HTTP_CORRAL_NONE) {

        if (*p == i) {
            *p = sh->slots[i].next;
            return;
        }

        p = &sh->slots[*p].next;
    }
}


ngx_http_corral_shslot_t *
ngx_http_corral_table_get(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shctx_t  *sh;

    sh = ngx_http_corral_sh;

    if (sh == NULL || ref.slot >= sh->nslots
        || sh->slots[ref.slot].seq != ref.seq)
    {
        return NULL;
    }

    return &sh->slots[ref.slot];
}


void
ngx_http_corral_table_seen(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot) {
        slot->seen = ngx_time();
    }
}


uint32_t *
ngx_http_corral_table_cursor(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_shslot_t  *slot;

    static uint32_t  cursor;                /* of services without a slot */

    slot = ngx_http_corral_table_get(ref);

    return slot ? &slot->cursor : &cursor;
}


#define ngx_http_corral_table_add_field(field, text)                        \
    if (delta->field) {                                                       \
        (void) ngx_atomic_fetch_add((ngx_atomic_t *) &slot->totals.field,     \
                                    delta->field);                            \
    }


void
ngx_http_corral_table_add_totals(ngx_http_corral_shslot_t *slot,
    ngx_http_corral_totals_t *delta)
{
    NGX_HTTP_CORRAL_TOTALS(ngx_http_corral_table_add_field)
}


void
ngx_http_corral_table_add(ngx_http_corral_slot_t ref,
    ngx_http_corral_totals_t *delta)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot) {
        ngx_http_corral_table_add_totals(slot, delta);
    }
}


/* the first since the last flush, or of a slot that is not this one any more */

ngx_http_corral_totals_t *
ngx_http_corral_table_local_begin(ngx_http_corral_slot_t ref)
{
    ngx_http_corral_local_t  *local;

    if (ngx_http_corral_table_get(ref) == NULL) {
        return &ngx_http_corral_lost;
    }

    local = &ngx_http_corral_locals[ref.slot];

    if (local->seq == 0) {
        ngx_http_corral_dirty[ngx_http_corral_ndirty++] = ref.slot;
    }

    /* the slot had another key before: those totals are gone with it */

    ngx_memzero(&local->totals, sizeof(ngx_http_corral_totals_t));
    local->seq = ref.seq;

    return &local->totals;
}


void
ngx_http_corral_table_flush(void)
{
    ngx_uint_t                i;
    ngx_http_corral_slot_t    ref;
    ngx_http_corral_local_t  *local;

    for (i = 0; i < ngx_http_corral_ndirty; i++) {
        ref.slot = ngx_http_corral_dirty[i];

        local = &ngx_http_corral_locals[ref.slot];
        ref.seq = local->seq;
        local->seq = 0;

        ngx_http_corral_table_add(ref, &local->totals);
    }

    ngx_http_corral_ndirty = 0;
}


ngx_uint_t
ngx_http_corral_table_slots(void)
{
    return ngx_http_corral_sh ? ngx_http_corral_sh->used : 0;
}


ngx_uint_t
ngx_http_corral_table_view(ngx_uint_t i, ngx_http_corral_slot_view_t *view)
{
    ngx_http_corral_slot_t     ref;
    ngx_http_corral_shslot_t  *slot;

    if (i >= ngx_http_corral_table_slots()) {
        return 0;
    }

    slot = &ngx_http_corral_sh->slots[i];

    ref.slot = i;
    ref.seq = slot->seq;

    return ngx_http_corral_table_view_ref(ref, view);
}


ngx_uint_t
ngx_http_corral_table_view_ref(ngx_http_corral_slot_t ref,
    ngx_http_corral_slot_view_t *view)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL || slot->len == 0) {
        return 0;
    }

    view->key.data = slot->key;
    view->key.len = slot->len;
    view->totals = slot->totals;
    view->avail = ngx_http_corral_table_avail(ref, 0);
    view->rest = ngx_http_corral_table_rests(slot);

    ngx_http_corral_table_sum(slot, &view->active, &view->reserved);
    view->waiting = 0;
    view->remote = slot->remote;

    if (slot->key[0] == 's') {
        view->waiting = view->reserved;
        view->reserved = 0;
    }

    return 1;
}


corral_affinity_t *
ngx_http_corral_table_affinity(void)
{
    static corral_affinity_t  none;

    return ngx_http_corral_sh ? &ngx_http_corral_sh->affinity : &none;
}


void
ngx_http_corral_table_secret(ngx_str_t *secret)
{
    ngx_str_null(secret);

    if (ngx_http_corral_sh) {
        secret->data = ngx_http_corral_sh->secret;
        secret->len = sizeof(ngx_http_corral_sh->secret);
    }
}


ngx_int_t
ngx_http_corral_table_key(ngx_http_corral_slot_t ref, ngx_str_t *key)
{
    ngx_http_corral_shslot_t  *slot;

    slot = ngx_http_corral_table_get(ref);

    if (slot == NULL) {
        return NGX_DECLINED;
    }

    key->data = slot->key;
    key->len = slot->len;

    return NGX_OK;
}


void
ngx_http_corral_table_nonce(ngx_str_t *nonce)
{
    ngx_str_null(nonce);

    if (ngx_http_corral_sh) {
        nonce->data = ngx_http_corral_sh->nonce;
        nonce->len = 16;
    }
}
