
/*
 * The configuration: defaults, then the file, then the environment, then the
 * command line, each over the one before.  All rules are in the table of
 * conf.h, what a value can be is conf_value.c's affair; a wrong one is refused
 * with its place, and a refused configuration changes nothing.
 */


#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <yaml.h>

#include "buf.h"
#include "conf_value.h"
#include "file.h"


#define CORRALD_CONF_FILE_MAX  262144
#define CORRALD_CONF_LIST_MAX  1024


static const corrald_conf_row_t  corrald_conf_rows[] = {
#define X(key, type, when, min, max, values, preset, text)                    \
    { #key, CORRALD_CONF_##type, CORRALD_CONF_##when, min, max, values,       \
      preset, offsetof(corrald_conf_t, key) },
    CORRALD_CONF_KEYS(X)
#undef X
    { NULL, 0, 0, 0, 0, NULL, NULL, 0 }
};


_Static_assert(sizeof(corrald_conf_rows) / sizeof(corrald_conf_rows[0]) <= 64,
               "corrald_conf_ctx_t.set has a place for each key");


static const corrald_conf_row_t *corrald_conf_row(const char *name);
static int corrald_conf_set_split(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const char *where, const char *text);
static int corrald_conf_presets(corrald_conf_ctx_t *c);
static int corrald_conf_file(corrald_conf_ctx_t *c, const char *file);
static int corrald_conf_yaml(corrald_conf_ctx_t *c, const char *file,
    yaml_document_t *doc);
static int corrald_conf_pair(corrald_conf_ctx_t *c, const char *file,
    yaml_document_t *doc, yaml_node_t *key, yaml_node_t *value);
static int corrald_conf_environment(corrald_conf_ctx_t *c);
static int corrald_conf_overrides(corrald_conf_ctx_t *c,
    const char *const *overrides);
static int corrald_conf_expand(corrald_conf_ctx_t *c);
static int corrald_conf_expand_one(corrald_conf_ctx_t *c,
    const corrald_conf_row_t *row, const char *host);
static int corrald_conf_together(corrald_conf_ctx_t *c);
static char *corrald_conf_restart(corrald_conf_t *fresh);
static void corrald_conf_release(corrald_conf_t *conf);


static corrald_conf_t  *corrald_conf_current;


const corrald_conf_t *
corrald_conf(void)
{
    return corrald_conf_current;
}


/* See conf.h. */

int
corrald_conf_load(const char *file, const char *const *overrides,
    char **restart, char *err, size_t size)
{
    corrald_conf_ctx_t  c;

    memset(&c, 0, sizeof(c));

    c.err = err;
    c.size = size;
    *restart = NULL;

    c.conf = calloc(1, sizeof(*c.conf));
    if (c.conf == NULL) {
        return corrald_conf_fail(&c, "no memory for the configuration");
    }

    if (corrald_conf_presets(&c) != 0
        || (file && corrald_conf_file(&c, file) != 0)
        || corrald_conf_environment(&c) != 0
        || (overrides && corrald_conf_overrides(&c, overrides) != 0)
        || corrald_conf_expand(&c) != 0
        || corrald_conf_together(&c) != 0)
    {
        corrald_conf_release(c.conf);
        return -1;
    }

    if (corrald_conf_current) {
        *restart = corrald_conf_restart(c.conf);
    }

    corrald_conf_release(corrald_conf_current);
    corrald_conf_current = c.conf;

    return 0;
}


void
corrald_conf_free(void)
{
    corrald_conf_release(corrald_conf_current);
    corrald_conf_current = NULL;
}


int
corrald_conf_fail(corrald_conf_ctx_t *c, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(c->err, c->size, fmt, args);
    va_end(args);

    return -1;
}


static const corrald_conf_row_t *
corrald_conf_row(const char *name)
{
    const corrald_conf_row_t  *row;

    for (row = corrald_conf_rows; row->name; row++) {
        if (strcmp(row->name, name) == 0) {
            return row;
        }
    }

    return NULL;
}


/* A value from the environment or the command line: commas separate items. */

static int
corrald_conf_set_split(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const char *where, const char *text)
{
    int                    rc;
    char                  *copy, *p, *words[CORRALD_CONF_LIST_MAX];
    corrald_conf_value_t   v;

    snprintf(v.where, sizeof(v.where), "%s", where);

    copy = strdup(text);
    if (copy == NULL) {
        return corrald_conf_fail(c, "no memory for the configuration");
    }

    v.words = words;
    v.n = 0;
    v.list = 0;

    if (row->type != CORRALD_CONF_strings) {
        words[v.n++] = copy;

    } else if (*copy) {
        for (p = copy; p && v.n < CORRALD_CONF_LIST_MAX; /* void */ ) {
            words[v.n++] = p;
            p = strchr(p, ',');

            if (p) {
                *p++ = '\0';
            }
        }
    }

    rc = corrald_conf_value_set(c, row, &v);
    free(copy);

    return rc;
}


/*
 * The defaults.  Without root the directories of a system service cannot be
 * written: those of the user are taken, so that the first start just works.
 */

static int
corrald_conf_presets(corrald_conf_ctx_t *c)
{
    char                       path[1024];
    const char                *text, *home, *state, *run;
    struct passwd             *pw;
    const corrald_conf_row_t  *row;

    pw = getpwuid(geteuid());
    home = pw ? pw->pw_dir : "/tmp";
    state = getenv("XDG_STATE_HOME");
    run = getenv("XDG_RUNTIME_DIR");

    for (row = corrald_conf_rows; row->name; row++) {
        text = row->preset;

        if (geteuid() != 0 && strcmp(row->name, "state_dir") == 0) {
            snprintf(path, sizeof(path), "%s%s/corral",
                     state && *state == '/' ? state : home,
                     state && *state == '/' ? "" : "/.local/state");
            text = path;

        } else if (geteuid() != 0 && strcmp(row->name, "run_dir") == 0) {
            text = "{state_dir}/run";

            if (run && *run == '/') {
                snprintf(path, sizeof(path), "%s/corral", run);
                text = path;
            }

        } else if (geteuid() != 0 && strcmp(row->name, "log_dir") == 0) {
            text = "{state_dir}/log";
        }

        if (corrald_conf_set_split(c, row, "default", text) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
corrald_conf_file(corrald_conf_ctx_t *c, const char *file)
{
    int              rc;
    char            *data;
    size_t           len;
    yaml_parser_t    parser;
    yaml_document_t  doc;

    switch (corrald_file_read(file, CORRALD_CONF_FILE_MAX, &data, &len,
                              c->err, c->size))
    {
    case 0:
        break;

    case 1:
        return corrald_conf_fail(c, "the file \"%s\" does not exist", file);

    default:
        return -1;
    }

    if (!yaml_parser_initialize(&parser)) {
        free(data);
        return corrald_conf_fail(c, "no memory for the configuration");
    }

    yaml_parser_set_input_string(&parser, (unsigned char *) data, len);

    if (!yaml_parser_load(&parser, &doc)) {
        rc = corrald_conf_fail(c, "%s:%zu: %s", file,
                               parser.problem_mark.line + 1,
                               parser.problem ? parser.problem
                                              : "not valid YAML");

    } else {
        rc = corrald_conf_yaml(c, file, &doc);
        yaml_document_delete(&doc);
    }

    yaml_parser_delete(&parser);
    free(data);

    return rc;
}


static int
corrald_conf_yaml(corrald_conf_ctx_t *c, const char *file,
    yaml_document_t *doc)
{
    yaml_node_t       *root;
    yaml_node_pair_t  *pair;

    root = yaml_document_get_root_node(doc);

    if (root == NULL) {
        return 0;       /* an empty file: the defaults */
    }

    if (root->type != YAML_MAPPING_NODE) {
        return corrald_conf_fail(c, "%s:%zu: the file must be a list of "
                                 "\"key: value\"", file,
                                 root->start_mark.line + 1);
    }

    for (pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top;
         pair++)
    {
        if (corrald_conf_pair(c, file, doc,
                              yaml_document_get_node(doc, pair->key),
                              yaml_document_get_node(doc, pair->value))
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
corrald_conf_pair(corrald_conf_ctx_t *c, const char *file,
    yaml_document_t *doc, yaml_node_t *key, yaml_node_t *value)
{
    char                      *words[CORRALD_CONF_LIST_MAX];
    yaml_node_t               *node;
    yaml_node_item_t          *item;
    corrald_conf_value_t       v;
    const corrald_conf_row_t  *row;

    snprintf(v.where, sizeof(v.where), "%s:%zu", file,
             key->start_mark.line + 1);

    if (key->type != YAML_SCALAR_NODE) {
        return corrald_conf_fail(c, "%s: a key must be a word", v.where);
    }

    row = corrald_conf_row((char *) key->data.scalar.value);
    if (row == NULL) {
        return corrald_conf_fail(c, "%s: unknown key \"%s\"", v.where,
                                 (char *) key->data.scalar.value);
    }

    if (c->set[row - corrald_conf_rows]++) {
        return corrald_conf_fail(c, "%s: \"%s\" is set twice", v.where,
                                 row->name);
    }

    v.words = words;
    v.n = 0;
    v.list = value->type == YAML_SEQUENCE_NODE;

    if (value->type == YAML_SCALAR_NODE) {

        /* "key:" alone, and ~, are null: for a list that is an empty one */

        if (row->type != CORRALD_CONF_strings
            || (value->data.scalar.length
                && strcmp((char *) value->data.scalar.value, "~") != 0))
        {
            words[v.n++] = (char *) value->data.scalar.value;
        }

        return corrald_conf_value_set(c, row, &v);
    }

    if (!v.list) {
        return corrald_conf_fail(c, "%s: \"%s\" cannot be a mapping", v.where,
                                 row->name);
    }

    for (item = value->data.sequence.items.start;
         item < value->data.sequence.items.top;
         item++)
    {
        node = yaml_document_get_node(doc, *item);

        if (node->type != YAML_SCALAR_NODE || v.n == CORRALD_CONF_LIST_MAX) {
            return corrald_conf_fail(c, "%s:%zu: \"%s\" is a list of at most "
                                     "%lld words", file,
                                     node->start_mark.line + 1, row->name,
                                     (long long) row->max);
        }

        words[v.n++] = (char *) node->data.scalar.value;
    }

    return corrald_conf_value_set(c, row, &v);
}


static int
corrald_conf_environment(corrald_conf_ctx_t *c)
{
    char                       name[64], where[128], *p;
    const char                *text;
    const corrald_conf_row_t  *row;

    for (row = corrald_conf_rows; row->name; row++) {
        snprintf(name, sizeof(name), "CORRALD_%s", row->name);

        for (p = name; *p; p++) {
            if (*p >= 'a' && *p <= 'z') {
                *p = (char) (*p - 'a' + 'A');
            }
        }

        text = getenv(name);
        if (text == NULL) {
            continue;
        }

        snprintf(where, sizeof(where), "environment variable %s", name);

        if (corrald_conf_set_split(c, row, where, text) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
corrald_conf_overrides(corrald_conf_ctx_t *c, const char *const *overrides)
{
    char                       name[64];
    size_t                     len;
    const char                *text;
    const corrald_conf_row_t  *row;

    for ( /* void */ ; *overrides; overrides++) {
        text = strchr(*overrides, '=');
        len = text ? (size_t) (text - *overrides) : 0;

        if (len == 0 || len >= sizeof(name)) {
            return corrald_conf_fail(c, "command line: \"%s\" is not "
                                     "key=value", *overrides);
        }

        memcpy(name, *overrides, len);
        name[len] = '\0';

        row = corrald_conf_row(name);
        if (row == NULL) {
            return corrald_conf_fail(c, "command line: unknown key \"%s\"",
                                     name);
        }

        if (corrald_conf_set_split(c, row, "command line", text + 1) != 0) {
            return -1;
        }
    }

    return 0;
}


/* Replaces {state_dir}, {run_dir} and {hostname} in paths and names. */

static int
corrald_conf_expand(corrald_conf_ctx_t *c)
{
    char                       host[256];
    const corrald_conf_row_t  *row;

    if (gethostname(host, sizeof(host)) != 0 || *host == '\0'
        || !corrald_conf_value_is_name(host))
    {
        snprintf(host, sizeof(host), "localhost");
    }

    /* a name has at most 64 bytes, a host may have more */

    host[64] = '\0';

    /* others are made of these two, so they come first */

    if (corrald_conf_expand_one(c, corrald_conf_row("state_dir"), host) != 0
        || corrald_conf_expand_one(c, corrald_conf_row("run_dir"), host) != 0)
    {
        return -1;
    }

    for (row = corrald_conf_rows; row->name; row++) {
        if ((row->type == CORRALD_CONF_path || row->type == CORRALD_CONF_name)
            && corrald_conf_expand_one(c, row, host) != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
corrald_conf_expand_one(corrald_conf_ctx_t *c, const corrald_conf_row_t *row,
    const char *host)
{
    char         text[8192], **p;
    size_t       len;
    const char  *with;

    p = corrald_conf_at(c->conf, row);

    if (**p != '{') {
        return 0;
    }

    len = strcspn(*p, "}") + 1;
    with = NULL;

    if (strncmp(*p, "{state_dir}", len) == 0) {
        with = c->conf->state_dir;

    } else if (strncmp(*p, "{run_dir}", len) == 0) {
        with = c->conf->run_dir;

    } else if (strncmp(*p, "{hostname}", len) == 0) {
        with = host;
    }

    if (with == NULL || *with == '{') {
        return corrald_conf_fail(c, "\"%s\" is \"%s\", which begins with an "
                                 "unknown name in braces", row->name, *p);
    }

    snprintf(text, sizeof(text), "%s%s", with, *p + len);

    if ((int64_t) strlen(text) > row->max) {
        return corrald_conf_fail(c, "\"%s\" becomes \"%s\", it has at most "
                                 "%lld bytes", row->name, text,
                                 (long long) row->max);
    }

    free(*p);
    *p = strdup(text);

    if (*p == NULL) {
        return corrald_conf_fail(c, "no memory for the configuration");
    }

    return 0;
}


/* Whether the address is of this machine only. */

static int
corrald_conf_is_loopback(const char *address)
{
    char      host[256];
    uint16_t  port;

    if (corrald_conf_split_address(address, host, sizeof(host), &port) != 0) {
        return 0;
    }

    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0
           || strcmp(host, "localhost") == 0;
}


/* What no single key can tell. */

static int
corrald_conf_together(corrald_conf_ctx_t *c)
{
    corrald_conf_t  *conf;

    conf = c->conf;

    if ((*conf->tls_certificate == '\0') != (*conf->tls_key == '\0')) {
        return corrald_conf_fail(c, "\"tls_certificate\" and \"tls_key\" must "
                                 "be given together");
    }

    if (!corrald_conf_is_loopback(conf->listen)
        && *conf->tls_certificate == '\0' && !conf->allow_plain)
    {
        return corrald_conf_fail(c, "\"listen\" is \"%s\": the API gives "
                                 "shell access, so beyond 127.0.0.1 and [::1] "
                                 "it needs \"tls_certificate\" and "
                                 "\"tls_key\", or \"allow_plain: true\" "
                                 "behind a proxy that does TLS",
                                 conf->listen);
    }

    if (strcmp(conf->redis, "embedded") != 0
        && strncmp(conf->redis, "unix:/", 6) != 0
        && strncmp(conf->redis, "redis://", 8) != 0)
    {
        return corrald_conf_fail(c, "\"redis\" is \"%s\", it can be: "
                                 "embedded, unix:/path, "
                                 "redis://[user:password@]host[:port][/db]",
                                 conf->redis);
    }

    return 0;
}


/*
 * At a reload: keys that need a restart keep what they are.  Returns the
 * names of those that were to change, or NULL.
 */

static char *
corrald_conf_restart(corrald_conf_t *fresh)
{
    corrald_buf_t              names;
    const corrald_conf_row_t  *row;

    corrald_buf_init(&names, 4096);

    for (row = corrald_conf_rows; row->name; row++) {

        if (row->when != CORRALD_CONF_start
            || corrald_conf_value_same(row, fresh, corrald_conf_current))
        {
            continue;
        }

        corrald_buf_printf(&names, "%s%s", names.len ? ", " : "", row->name);

        /* swapped: the new value is freed with the old configuration */

        corrald_conf_value_swap(row, fresh, corrald_conf_current);
    }

    return names.len ? corrald_buf_take(&names, NULL) : NULL;
}


static void
corrald_conf_release(corrald_conf_t *conf)
{
    const corrald_conf_row_t  *row;

    if (conf == NULL) {
        return;
    }

    for (row = corrald_conf_rows; row->name; row++) {
        corrald_conf_value_free(row, conf);
    }

    free(conf);
}
