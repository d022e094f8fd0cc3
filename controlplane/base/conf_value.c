
/*
 * Values of the configuration: what each type of conf.h takes, and how it is
 * kept, compared and freed.  Where a value was read is conf.c's affair.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <corral_duration.h>

#include "conf_value.h"


typedef struct {
    size_t     size;
    int      (*set)(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
                    const corrald_conf_value_t *v);
    int      (*same)(const void *a, const void *b);  /* NULL: by its bytes */
    void     (*free)(void *at);                      /* NULL: nothing to do */
} corrald_conf_type_t;


#define X(type, kept)                                                         \
static int corrald_conf_value_##type(corrald_conf_ctx_t *c,                   \
    const corrald_conf_row_t *row, const corrald_conf_value_t *v);
CORRALD_CONF_TYPES(X)
#undef X

static int corrald_conf_value_length(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v);
static int corrald_conf_value_keep_text(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const char *text);
static int corrald_conf_value_keep_number(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v, int64_t n,
    const char *unit);
static int corrald_conf_value_word(const char *words, const char *text);
static int corrald_conf_value_text_same(const void *a, const void *b);
static void corrald_conf_value_text_free(void *at);
static int corrald_conf_value_list_same(const void *a, const void *b);
static void corrald_conf_value_list_free(void *at);


#define CORRALD_CONF_TEXT                                                     \
    corrald_conf_value_text_same, corrald_conf_value_text_free
#define CORRALD_CONF_LIST                                                     \
    corrald_conf_value_list_same, corrald_conf_value_list_free
#define CORRALD_CONF_PLAIN  NULL, NULL

static const corrald_conf_type_t  corrald_conf_types[] = {
#define X(type, kept)                                                         \
    { sizeof(corrald_conf_##type##_t), corrald_conf_value_##type,             \
      CORRALD_CONF_##kept },
    CORRALD_CONF_TYPES(X)
#undef X
};


int
corrald_conf_value_set(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const corrald_conf_value_t *v)
{
    if (row->type != CORRALD_CONF_strings && (v->list || v->n != 1)) {
        return corrald_conf_fail(c, "%s: \"%s\" takes one value, not a list",
                                 v->where, row->name);
    }

    return corrald_conf_types[row->type].set(c, row, v);
}


int
corrald_conf_value_same(const corrald_conf_row_t *row, corrald_conf_t *a,
    corrald_conf_t *b)
{
    void                       *one, *two;
    const corrald_conf_type_t  *type;

    type = &corrald_conf_types[row->type];
    one = corrald_conf_at(a, row);
    two = corrald_conf_at(b, row);

    return type->same ? type->same(one, two)
                      : memcmp(one, two, type->size) == 0;
}


void
corrald_conf_value_swap(const corrald_conf_row_t *row, corrald_conf_t *a,
    corrald_conf_t *b)
{
    char    temp[sizeof(corrald_conf_list_t)];
    void   *one, *two;
    size_t  len;

    one = corrald_conf_at(a, row);
    two = corrald_conf_at(b, row);
    len = corrald_conf_types[row->type].size;

    memcpy(temp, one, len);
    memcpy(one, two, len);
    memcpy(two, temp, len);
}


void
corrald_conf_value_free(const corrald_conf_row_t *row, corrald_conf_t *conf)
{
    if (corrald_conf_types[row->type].free) {
        corrald_conf_types[row->type].free(corrald_conf_at(conf, row));
    }
}


/* Whether item is one of the list. */

int
corrald_conf_has(const corrald_conf_list_t *list, const char *item)
{
    size_t  i;

    for (i = 0; i < list->n; i++) {
        if (strcmp(list->items[i], item) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * Splits "host:port" or "[v6]:port"; host gets the address without brackets.
 * Returns 0, or -1 when the text is neither.
 */

int
corrald_conf_split_address(const char *address, char *host, size_t size,
    uint16_t *port)
{
    char        *end;
    long         n;
    size_t       len;
    const char  *colon;

    colon = strrchr(address, ':');
    if (colon == NULL || colon == address) {
        return -1;
    }

    len = (size_t) (colon - address);

    if (*address == '[') {
        if (address[len - 1] != ']' || len < 4) {
            return -1;
        }

        address++;
        len -= 2;

    } else if (memchr(address, ':', len)) {

        /* an IPv6 address without brackets: which colon is the last? */

        return -1;
    }

    if (len >= size || colon[1] < '0' || colon[1] > '9') {
        return -1;
    }

    n = strtol(colon + 1, &end, 10);

    if (*end != '\0' || n < 0 || n > 65535) {
        return -1;
    }

    memcpy(host, address, len);
    host[len] = '\0';
    *port = (uint16_t) n;

    return 0;
}


int
corrald_conf_value_is_name(const char *text)
{
    const char  *p;

    for (p = text; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')
            || (*p >= 'A' && *p <= 'Z')
            || (p > text && (*p == '.' || *p == '_' || *p == '-')))
        {
            continue;
        }

        return 0;
    }

    return 1;
}


/* ---- what each type takes ---- */

static int
corrald_conf_value_string(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    if (corrald_conf_value_length(c, row, v) != 0) {
        return -1;
    }

    return corrald_conf_value_keep_text(c, row, v->words[0]);
}


static int
corrald_conf_value_name(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const corrald_conf_value_t *v)
{
    const char  *text;

    text = v->words[0];

    if (corrald_conf_value_length(c, row, v) != 0) {
        return -1;
    }

    /* the names in braces are replaced when all layers are read */

    if (*text != '{' && !corrald_conf_value_is_name(text)) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it can have "
                                 "letters, digits, \".\", \"_\", \"-\", and "
                                 "begins with a letter or a digit", v->where,
                                 row->name, text);
    }

    return corrald_conf_value_keep_text(c, row, text);
}


static int
corrald_conf_value_path(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const corrald_conf_value_t *v)
{
    const char  *text;

    text = v->words[0];

    if (corrald_conf_value_length(c, row, v) != 0) {
        return -1;
    }

    if (*text != '\0' && *text != '/' && *text != '{') {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it must be an "
                                 "absolute path", v->where, row->name, text);
    }

    return corrald_conf_value_keep_text(c, row, text);
}


static int
corrald_conf_value_address(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    char         host[256];
    uint16_t     port;
    const char  *text;

    text = v->words[0];

    if (corrald_conf_value_length(c, row, v) != 0) {
        return -1;
    }

    if (corrald_conf_split_address(text, host, sizeof(host), &port) != 0) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it must be "
                                 "address:port or [address]:port", v->where,
                                 row->name, text);
    }

    return corrald_conf_value_keep_text(c, row, text);
}


static int
corrald_conf_value_enumerate(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    if (!corrald_conf_value_word(row->values, v->words[0])) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it can be: %s",
                                 v->where, row->name, v->words[0],
                                 row->values);
    }

    return corrald_conf_value_keep_text(c, row, v->words[0]);
}


static int
corrald_conf_value_boolean(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    const char  *text;

    text = v->words[0];

    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it can be: "
                                 "true false", v->where, row->name, text);
    }

    *(int *) corrald_conf_at(c->conf, row) = *text == 't';

    return 0;
}


static int
corrald_conf_value_ports(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const corrald_conf_value_t *v)
{
    char                  *end;
    long                   first, last;
    const char            *text;
    corrald_conf_ports_t  *ports;

    text = v->words[0];
    first = strtol(text, &end, 10);
    last = end > text && *end == '-' ? strtol(end + 1, &end, 10) : -1;

    if (*end != '\0' || first < row->min || last > row->max || first > last) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it must be "
                                 "first-last, from %lld to %lld", v->where,
                                 row->name, text, (long long) row->min,
                                 (long long) row->max);
    }

    ports = corrald_conf_at(c->conf, row);
    ports->first = (uint16_t) first;
    ports->last = (uint16_t) last;

    return 0;
}


static int
corrald_conf_value_duration(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    int64_t      n;
    const char  *text;

    text = v->words[0];
    n = corral_duration_parse(text, strlen(text));

    if (n < 0) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it must be a "
                                 "duration such as 500ms, 30s, 5m", v->where,
                                 row->name, text);
    }

    return corrald_conf_value_keep_number(c, row, v, n, " milliseconds");
}


static int
corrald_conf_value_integer(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    char        *end;
    int64_t      n;
    const char  *text;

    text = v->words[0];

    errno = 0;
    n = strtoll(text, &end, 10);

    if (end == text || *end != '\0' || errno) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it must be an "
                                 "integer", v->where, row->name, text);
    }

    return corrald_conf_value_keep_number(c, row, v, n, "");
}


static int
corrald_conf_value_strings(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const corrald_conf_value_t *v)
{
    size_t               i;
    corrald_conf_list_t  list;

    if ((int64_t) v->n < row->min || (int64_t) v->n > row->max) {
        return corrald_conf_fail(c, "%s: \"%s\" has %zu items, it must have "
                                 "from %lld to %lld", v->where, row->name,
                                 v->n, (long long) row->min,
                                 (long long) row->max);
    }

    list.n = 0;
    list.items = calloc(v->n + 1, sizeof(*list.items));

    if (list.items == NULL) {
        return corrald_conf_fail(c, "no memory for the configuration");
    }

    for (i = 0; i < v->n; i++) {

        if (*v->words[i] == '\0') {
            corrald_conf_value_list_free(&list);
            return corrald_conf_fail(c, "%s: an item of \"%s\" is empty",
                                     v->where, row->name);
        }

        list.items[i] = strdup(v->words[i]);

        if (list.items[i] == NULL) {
            corrald_conf_value_list_free(&list);
            return corrald_conf_fail(c, "no memory for the configuration");
        }

        list.n++;
    }

    corrald_conf_value_list_free(corrald_conf_at(c->conf, row));
    *(corrald_conf_list_t *) corrald_conf_at(c->conf, row) = list;

    return 0;
}


/* ---- what several types share ---- */

static int
corrald_conf_value_length(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
{
    int64_t  len;

    len = (int64_t) strlen(v->words[0]);

    if (len < row->min || len > row->max) {
        return corrald_conf_fail(c, "%s: \"%s\" has %lld bytes, it must have "
                                 "from %lld to %lld", v->where, row->name,
                                 (long long) len, (long long) row->min,
                                 (long long) row->max);
    }

    return 0;
}


static int
corrald_conf_value_keep_text(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const char *text)
{
    char  **p, *copy;

    copy = strdup(text);
    if (copy == NULL) {
        return corrald_conf_fail(c, "no memory for the configuration");
    }

    p = corrald_conf_at(c->conf, row);
    free(*p);
    *p = copy;

    return 0;
}


static int
corrald_conf_value_keep_number(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v, int64_t n,
    const char *unit)
{
    if (n < row->min || n > row->max) {
        return corrald_conf_fail(c, "%s: \"%s\" is \"%s\", it must be from "
                                 "%lld to %lld%s", v->where, row->name,
                                 v->words[0], (long long) row->min,
                                 (long long) row->max, unit);
    }

    *(int64_t *) corrald_conf_at(c->conf, row) = n;

    return 0;
}


/* Whether text is one of the words between blanks. */

static int
corrald_conf_value_word(const char *words, const char *text)
{
    size_t       len;
    const char  *p;

    len = strchr(text, ' ') ? 0 : strlen(text);

    for (p = words; len && (p = strstr(p, text)) != NULL; p += len) {
        if ((p == words || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
        {
            return 1;
        }
    }

    return 0;
}


static int
corrald_conf_value_text_same(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b) == 0;
}


static void
corrald_conf_value_text_free(void *at)
{
    free(*(char **) at);
}


static int
corrald_conf_value_list_same(const void *a, const void *b)
{
    size_t                      i;
    const corrald_conf_list_t  *one, *two;

    one = a;
    two = b;

    if (one->n != two->n) {
        return 0;
    }

    for (i = 0; i < one->n; i++) {
        if (strcmp(one->items[i], two->items[i]) != 0) {
            return 0;
        }
    }

    return 1;
}


static void
corrald_conf_value_list_free(void *at)
{
    size_t                i;
    corrald_conf_list_t  *list;

    list = at;

    for (i = 0; i < list->n; i++) {
        free(list->items[i]);
    }

    free(list->items);

    list->items = NULL;
    list->n = 0;
}
