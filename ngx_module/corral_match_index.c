
/*
 * Many rules: which is the first that matches, without a look at all of them.
 *
 * A rule that asks for an exact value of some field (equals, or in_list of up
 * to 16 words) lies in the bucket of that field and value, whichever of its
 * conditions has the emptiest one; all others lie in one list.  A request looks
 * up the values it has, and tests what lies there in the order of the rules:
 * the cost follows the rules that may match, not those that there are.
 *
 * Built once by corral_match_index_add() and immutable then.  A bucket is found
 * by a hash of 64 bits without regard to case: two values of one hash share it,
 * which costs a test and nothing else, as each candidate is tested whole.
 *
 * Pure: no I/O, no clock, no globals.  Memory comes from the caller.
 */


#include "corral_match.h"

#include <string.h>


#define CORRAL_MATCH_SELECTORS  64      /* different fields with buckets */
#define CORRAL_MATCH_WORDS      16      /* of an in_list with buckets */


typedef struct corral_match_entry_s   corral_match_entry_t;
typedef struct corral_match_bucket_s  corral_match_bucket_t;

struct corral_match_entry_s {
    corral_match_rule_t     *rule;
    void                    *owner;
    uint32_t                 rank;
    corral_match_entry_t    *next;
};


typedef struct {
    corral_match_entry_t    *first;
    corral_match_entry_t    *last;
    uint32_t                 n;
} corral_match_list_t;


struct corral_match_bucket_s {
    corral_match_list_t      list;
    uint64_t                 hash;
    corral_match_bucket_t   *next;
};


typedef struct {
    corral_match_field_e     field;
    corral_str_t             name;
} corral_match_selector_t;


struct corral_match_index_s {
    corral_decode_alloc_pt    alloc;
    void                     *data;
    uint32_t                  ranks;
    uint32_t                  mask;
    corral_match_bucket_t   **buckets;
    corral_match_list_t       rest;     /* rules without an exact value */
    uint32_t                  n;
    corral_match_selector_t   selectors[CORRAL_MATCH_SELECTORS];
};


static uint32_t corral_match_index_selector(corral_match_index_t *index,
    const corral_match_key_t *key, int make);
static uint32_t corral_match_index_cost(corral_match_index_t *index,
    const corral_match_key_t *key);
static int corral_match_index_file(corral_match_index_t *index,
    const corral_match_key_t *key, corral_match_rule_t *rule, void *owner);
static int corral_match_index_append(corral_match_index_t *index,
    corral_match_list_t *list, corral_match_rule_t *rule, void *owner);


/* Makes an index for about n rules; NULL if there is no memory. */

corral_match_index_t *
corral_match_index_create(uint32_t n, corral_decode_alloc_pt alloc, void *data)
{
    size_t                 size;
    corral_match_index_t  *index;

    index = alloc(data, sizeof(*index));
    if (index == NULL) {
        return NULL;
    }

    memset(index, 0, sizeof(*index));

    index->alloc = alloc;
    index->data = data;

    for (size = 16; size < n; size *= 2) { /* void */ }

    index->mask = (uint32_t) size - 1;
    index->buckets = alloc(data, size * sizeof(*index->buckets));

    if (index->buckets == NULL) {
        return NULL;
    }

    memset(index->buckets, 0, size * sizeof(*index->buckets));

    return index;
}


/* FNV-1a of the selector and the value in lower case, then mixed */

static uint64_t
corral_match_index_hash(uint32_t selector, const corral_str_t *value)
{
    size_t    i;
    uint64_t  h;

    h = 0xcbf29ce484222325ULL ^ selector;

    for (i = 0; i < value->len; i++) {
        h ^= (unsigned char) corral_match_lower(value->data[i]);
        h *= 0x100000001b3ULL;
    }

    return h ^ h >> 32;
}


static corral_match_bucket_t *
corral_match_index_bucket(const corral_match_index_t *index, uint64_t hash)
{
    corral_match_bucket_t  *b;

    for (b = index->buckets[hash & index->mask]; b; b = b->next) {
        if (b->hash == hash) {
            return b;
        }
    }

    return NULL;
}


/*
 * Adds a rule behind those that were added: rules come in their order.  owner
 * is what find returns.  Returns 0, or -1 without memory: the index is of no
 * use then.
 */

int
corral_match_index_add(corral_match_index_t *index, corral_match_rule_t *rule,
    void *owner)
{
    int                 rc;
    uint32_t            i, cost, best;
    corral_match_key_t  key, chosen;

    best = UINT32_MAX;
    index->ranks++;

    for (i = 0; (rc = corral_match_key(rule, i, &key)) != -1; i++) {

        cost = rc ? corral_match_index_cost(index, &key) : UINT32_MAX;

        if (cost < best) {
            best = cost;
            chosen = key;
        }
    }

    return best == UINT32_MAX
           ? corral_match_index_append(index, &index->rest, rule, owner)
           : corral_match_index_file(index, &chosen, rule, owner);
}


/*
 * How full the fullest of its buckets is: UINT32_MAX if it can have none.
 * Methods and hosts are few, other values many: among equals those win.
 */

static uint32_t
corral_match_index_cost(corral_match_index_t *index,
    const corral_match_key_t *key)
{
    uint32_t                i, n, selector;
    corral_match_bucket_t  *b;

    if (key->words->n == 0 || key->words->n > CORRAL_MATCH_WORDS) {
        return UINT32_MAX;
    }

    selector = corral_match_index_selector(index, key, 0);

    if (selector == CORRAL_MATCH_SELECTORS) {
        return UINT32_MAX;
    }

    for (i = 0, n = 0; i < key->words->n; i++) {
        b = corral_match_index_bucket(index,
                     corral_match_index_hash(selector, &key->words->items[i]));
        n = b && b->list.n > n ? b->list.n : n;
    }

    return 2 * n + (key->field == CORRAL_MATCH_method
                    || key->field == CORRAL_MATCH_host);
}


/* the number of a selector; one not known yet would get the next */

static uint32_t
corral_match_index_selector(corral_match_index_t *index,
    const corral_match_key_t *key, int make)
{
    uint32_t                  i;
    corral_match_selector_t  *s;

    for (i = 0; i < index->n; i++) {
        s = &index->selectors[i];

        if (s->field == key->field && s->name.len == key->name->len
            && memcmp(s->name.data, key->name->data, s->name.len) == 0)
        {
            return i;
        }
    }

    if (make && i < CORRAL_MATCH_SELECTORS) {
        index->selectors[i].field = key->field;
        index->selectors[i].name = *key->name;
        index->n++;
    }

    return i;
}


static int
corral_match_index_file(corral_match_index_t *index,
    const corral_match_key_t *key, corral_match_rule_t *rule, void *owner)
{
    uint32_t                i, selector;
    uint64_t                hash;
    corral_match_bucket_t  *b;

    selector = corral_match_index_selector(index, key, 1);

    for (i = 0; i < key->words->n; i++) {
        hash = corral_match_index_hash(selector, &key->words->items[i]);
        b = corral_match_index_bucket(index, hash);

        if (b == NULL) {
            b = index->alloc(index->data, sizeof(*b));
            if (b == NULL) {
                return -1;
            }

            memset(b, 0, sizeof(*b));

            b->hash = hash;
            b->next = index->buckets[hash & index->mask];
            index->buckets[hash & index->mask] = b;
        }

        if (corral_match_index_append(index, &b->list, rule, owner) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
corral_match_index_append(corral_match_index_t *index,
    corral_match_list_t *list, corral_match_rule_t *rule, void *owner)
{
    corral_match_entry_t  *e;

    if (list->last && list->last->rank == index->ranks) {
        return 0;                           /* a word that stands twice */
    }

    e = index->alloc(index->data, sizeof(*e));
    if (e == NULL) {
        return -1;
    }

    e->rule = rule;
    e->owner = owner;
    e->rank = index->ranks;
    e->next = NULL;

    if (list->last) {
        list->last->next = e;

    } else {
        list->first = e;
    }

    list->last = e;
    list->n++;

    return 0;
}


/* Returns the owner of the first rule that matches and is accepted, or NULL. */

void *
corral_match_index_find(const corral_match_index_t *index,
    const corral_match_view_t *view)
{
    uint32_t                        i, k, n, first;
    corral_str_t                    value;
    corral_match_entry_t           *e;
    corral_match_bucket_t          *b;
    const corral_match_selector_t  *s;

    corral_match_entry_t  *lists[1 + CORRAL_MATCH_SELECTORS
                                     * CORRAL_MATCH_VALUES];

    n = 0;

    if (index->rest.first) {
        lists[n++] = index->rest.first;
    }

    for (i = 0; i < index->n; i++) {
        s = &index->selectors[i];

        for (k = 0; k < CORRAL_MATCH_VALUES; k++) {

            if (!view->get(view->data, s->field, &s->name, k, &value)) {
                break;
            }

            b = corral_match_index_bucket(index,
                                          corral_match_index_hash(i, &value));
            if (b) {
                lists[n++] = b->list.first;
            }
        }
    }

    while (n) {
        first = 0;

        for (i = 1; i < n; i++) {
            if (lists[i]->rank < lists[first]->rank) {
                first = i;
            }
        }

        e = lists[first];

        if (corral_match_test(e->rule, view, NULL)
            && (view->accept == NULL || view->accept(view->data, e->owner)))
        {
            return e->owner;
        }

        lists[first] = e->next;

        if (e->next == NULL) {
            lists[first] = lists[--n];
        }
    }

    return NULL;
}
