
/*
 * One value of the configuration, by the type of its row: what conf.c and
 * conf_value.c share.
 */


#ifndef _CORRALD_CONF_VALUE_H_INCLUDED_
#define _CORRALD_CONF_VALUE_H_INCLUDED_


#include "conf.h"


/* Types, as conf.h explains them, and how each is kept.  X(type, kept) */

#define CORRALD_CONF_TYPES(X)                                                 \
    X(string, TEXT)                                                           \
    X(name, TEXT)                                                             \
    X(path, TEXT)                                                             \
    X(address, TEXT)                                                          \
    X(integer, PLAIN)                                                         \
    X(boolean, PLAIN)                                                         \
    X(duration, PLAIN)                                                        \
    X(enumerate, TEXT)                                                        \
    X(strings, LIST)                                                          \
    X(ports, PLAIN)

typedef enum {
#define X(type, kept)  CORRALD_CONF_##type,
    CORRALD_CONF_TYPES(X)
#undef X
} corrald_conf_type_e;

enum {
    CORRALD_CONF_start = 0,
    CORRALD_CONF_reload
};


/* A key: the row of CORRALD_CONF_KEYS. */

typedef struct {
    const char           *name;
    corrald_conf_type_e   type;
    int                   when;
    int64_t               min;
    int64_t               max;
    const char           *values;
    const char           *preset;
    size_t                offset;    /* in corrald_conf_t */
} corrald_conf_row_t;


/* One value on its way: where it was read, and its words. */

typedef struct {
    char                  where[512];
    char                **words;     /* borrowed */
    size_t                n;
    int                   list;      /* written as a list */
} corrald_conf_value_t;


/* A configuration that is being made. */

typedef struct {
    corrald_conf_t       *conf;
    int                   set[64];   /* per row: the file has set it */
    char                 *err;
    size_t                size;
} corrald_conf_ctx_t;


#define corrald_conf_at(conf, row)  ((void *) ((char *) (conf) + (row)->offset))


/* conf.c: writes the sentence and returns -1. */

int corrald_conf_fail(corrald_conf_ctx_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Checks and keeps a value instead of the one before.  Returns 0 or -1. */

int corrald_conf_value_set(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const corrald_conf_value_t *v)
    __attribute__((warn_unused_result));

/* Whether it may be a name: of a cluster, a node. */

int corrald_conf_value_is_name(const char *text);

int corrald_conf_value_same(const corrald_conf_row_t *row, corrald_conf_t *a,
    corrald_conf_t *b);
void corrald_conf_value_swap(const corrald_conf_row_t *row, corrald_conf_t *a,
    corrald_conf_t *b);
void corrald_conf_value_free(const corrald_conf_row_t *row,
    corrald_conf_t *conf);


#endif /* _CORRALD_CONF_VALUE_H_INCLUDED_ */
