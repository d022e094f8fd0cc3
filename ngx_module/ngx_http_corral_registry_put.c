
/*
 * Documents that come in: each is decoded, judged, and put aside in its entry
 * until the commit.  One that is refused is counted and logged, and the one
 * before stays in force.  A text that is there already changes nothing.
 *
 * What an instance needs beside its document is made here, too: its address,
 * its slot in the table, its key.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <corral_learn.h>

#include "ngx_http_corral_registry_entries.h"


static ngx_int_t ngx_http_corral_registry_judge(corral_service_t *doc,
    char *err, size_t size);
static ngx_uint_t ngx_http_corral_registry_hash_word(ngx_str_t *word);
static ngx_int_t ngx_http_corral_registry_put_service(ngx_str_t *json,
    ngx_uint_t line);
static ngx_int_t ngx_http_corral_registry_put_instance(ngx_str_t *json,
    ngx_uint_t line);
static ngx_http_corral_idoc_t *ngx_http_corral_registry_idoc(
    corral_instance_t *doc, char *err);
static ngx_int_t ngx_http_corral_registry_address(ngx_http_corral_idoc_t *idoc,
    char *err);


ngx_int_t
ngx_http_corral_registry_put(ngx_http_corral_kind_e kind, ngx_str_t *json,
    ngx_str_t *from, ngx_uint_t line)
{
    ngx_int_t  rc;

    ngx_http_corral_reg.from = from;

    switch (kind) {

    case NGX_HTTP_CORRAL_SERVICE:
        rc = ngx_http_corral_registry_put_service(json, line);
        break;

    case NGX_HTTP_CORRAL_INSTANCE:
        rc = ngx_http_corral_registry_put_instance(json, line);
        break;

    default: /* NGX_HTTP_CORRAL_RULE */
        rc = ngx_http_corral_registry_rules_put(json, line);
        break;
    }

    ngx_reset_pool(ngx_http_corral_reg.tmp);

    return rc;
}


/* what no row of the schema can say of a service; a sentence in err */

static ngx_int_t
ngx_http_corral_registry_judge(corral_service_t *doc, char *err, size_t size)
{
    ngx_str_t              key;
    corral_learn_rule_t    learn;
    corral_answer_rules_t  rules;
    char                   why[CORRAL_DECODE_ERROR];

    key.len = doc->hash_key.len;
    key.data = (u_char *) doc->hash_key.data;

    if (!ngx_http_corral_registry_hash_key(&key)) {
        ngx_snprintf((u_char *) err, size,
                     "service \"%s\": \"hash_key\" is \"%s\", it must be "
                     "client_ip, session, subject, claim.NAME, header.NAME, "
                     "query.NAME or cookie.NAME, or several with blanks "
                     "between%Z",
                     doc->name.data, key.data);
        return NGX_DECLINED;
    }

    key.len = doc->affinity.len;
    key.data = (u_char *) doc->affinity.data;

    if (ngx_strcmp(key.data, "none") != 0
        && ngx_strcmp(key.data, "cookie") != 0
        && !ngx_http_corral_registry_hash_word(&key)
        && !corral_learn_rule(doc->affinity.data, doc->affinity.len, &learn))
    {
        ngx_snprintf((u_char *) err, size,
                     "service \"%s\": \"affinity\" is \"%s\", it must be "
                     "none, cookie, client_ip, session, subject, claim.NAME, "
                     "header.NAME, query.NAME, cookie.NAME, learn.header.NAME "
                     "or learn.cookie.NAME%Z", doc->name.data, key.data);
        return NGX_DECLINED;
    }

    if (corral_answer_compile(&rules, doc, why, sizeof(why)) != 0) {
        ngx_snprintf((u_char *) err, size, "service \"%s\": %s%Z",
                     doc->name.data, why);
        return NGX_DECLINED;
    }

    if (doc->failover == CORRAL_FAILOVER_REPLAY
        && doc->answer == CORRAL_ANSWER_MODE_NONE)
    {
        ngx_snprintf((u_char *) err, size, "service \"%s\": \"failover\" is "
                     "\"replay\", which needs an \"answer\" other than "
                     "\"none\"%Z", doc->name.data);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_corral_registry_hash_key(ngx_str_t *key)
{
    u_char     *p, *last;
    ngx_str_t   word;

    last = key->data + key->len;
    p = key->data;

    do {
        word.data = p;

        while (p < last && *p != ' ') {
            p++;
        }

        word.len = p - word.data;

        if (!ngx_http_corral_registry_hash_word(&word)) {
            return 0;
        }

    } while (p++ < last);

    return 1;
}


static ngx_uint_t
ngx_http_corral_registry_hash_word(ngx_str_t *word)
{
    ngx_uint_t  n;

    static ngx_str_t  words[] = {
        ngx_string("client_ip"),
        ngx_string("session"),
        ngx_string("subject"),
        ngx_null_string
    };

    static ngx_str_t  prefixes[] = {
        ngx_string("header."),
        ngx_string("query."),
        ngx_string("cookie."),
        ngx_string("claim."),
        ngx_null_string
    };

    for (n = 0; words[n].len; n++) {

        if (word->len == words[n].len
            && ngx_strncmp(word->data, words[n].data, words[n].len) == 0)
        {
            return 1;
        }
    }

    for (n = 0; prefixes[n].len; n++) {

        if (word->len > prefixes[n].len
            && ngx_strncmp(word->data, prefixes[n].data, prefixes[n].len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_corral_registry_put_service(ngx_str_t *json, ngx_uint_t line)
{
    uint64_t                   hash;
    ngx_str_t                  id;
    ngx_pool_t                *pool;
    corral_service_t          *doc;
    ngx_http_corral_sentry_t  *s;
    char                       err[CORRAL_DECODE_ERROR];

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    doc = ngx_palloc(pool, sizeof(corral_service_t));

    if (doc == NULL
        || corral_decode_service((char *) json->data, json->len, doc,
                                 ngx_http_corral_registry_palloc, pool,
                                 err, sizeof(err))
           != 0)
    {
        ngx_destroy_pool(pool);
        return doc ? ngx_http_corral_registry_refuse(line, err) : NGX_ERROR;
    }

    if (ngx_http_corral_registry_judge(doc, err, sizeof(err)) != NGX_OK) {
        ngx_destroy_pool(pool);
        return ngx_http_corral_registry_refuse(line, err);
    }

    id.len = doc->service_id.len;
    id.data = (u_char *) doc->service_id.data;

    s = ngx_http_corral_registry_service(&id, 1);

    if (s == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    if (s->next_pool) {
        ngx_destroy_pool(s->next_pool);
        s->next_pool = NULL;
        s->next_doc = NULL;
    }

    hash = corral_balance_key(json->data, json->len);

    s->put = 1;
    s->del = 0;

    if (s->doc && s->hash == hash) {
        ngx_destroy_pool(pool);
        return NGX_OK;                      /* nothing new */
    }

    s->next_doc = doc;
    s->next_pool = pool;
    s->next_hash = hash;

    ngx_http_corral_registry_mark(s);

    return NGX_OK;
}


static ngx_int_t
ngx_http_corral_registry_put_instance(ngx_str_t *json, ngx_uint_t line)
{
    uint64_t                   hash;
    ngx_str_t                  id;
    corral_instance_t          doc;
    ngx_http_corral_idoc_t    *idoc;
    ngx_http_corral_ientry_t  *i;
    char                       err[CORRAL_DECODE_ERROR];

    if (corral_decode_instance((char *) json->data, json->len, &doc,
                               ngx_http_corral_registry_palloc,
                               ngx_http_corral_reg.tmp, err, sizeof(err))
        != 0)
    {
        return ngx_http_corral_registry_refuse(line, err);
    }

    id.len = doc.instance_id.len;
    id.data = (u_char *) doc.instance_id.data;

    i = ngx_http_corral_registry_instance(&id, 1);
    if (i == NULL) {
        return NGX_ERROR;
    }

    if (i->next_doc) {
        ngx_free(i->next_doc);
        i->next_doc = NULL;
    }

    hash = corral_balance_key(json->data, json->len);

    i->put = 1;
    i->del = 0;

    if (i->doc && i->doc->hash == hash) {
        return NGX_OK;                      /* nothing new */
    }

    idoc = ngx_http_corral_registry_idoc(&doc, err);
    if (idoc == NULL) {
        ngx_http_corral_registry_mark_instance(i);
        return ngx_http_corral_registry_refuse(line, err);
    }

    idoc->hash = hash;

    if (ngx_http_corral_registry_attach(i, &doc.service_id) != NGX_OK) {
        ngx_free(idoc);
        return NGX_ERROR;
    }

    i->next_doc = idoc;

    ngx_http_corral_registry_mark_instance(i);

    return NGX_OK;
}


/* the document in one block, with its address, its slot and its strings */

static ngx_http_corral_idoc_t *
ngx_http_corral_registry_idoc(corral_instance_t *doc, char *err)
{
    u_char                  *p;
    size_t                   len;
    ngx_str_t                key;
    ngx_uint_t               n;
    corral_str_t            *strs[4];
    ngx_http_corral_idoc_t  *idoc;
    u_char                   buf[CORRAL_ID_MAX + NGX_INT64_LEN + 4];

    len = sizeof(ngx_http_corral_idoc_t) + doc->instance_id.len
          + doc->service_id.len + doc->node.len + doc->address.len + 4;

    idoc = ngx_alloc(len, ngx_cycle->log);
    if (idoc == NULL) {
        ngx_snprintf((u_char *) err, CORRAL_DECODE_ERROR, "no memory%Z");
        return NULL;
    }

    ngx_memzero(idoc, sizeof(ngx_http_corral_idoc_t));

    idoc->doc = *doc;

    strs[0] = &idoc->doc.instance_id;
    strs[1] = &idoc->doc.service_id;
    strs[2] = &idoc->doc.node;
    strs[3] = &idoc->doc.address;

    p = (u_char *) (idoc + 1);

    for (n = 0; n < 4; n++) {
        ngx_memcpy(p, strs[n]->data, strs[n]->len);
        strs[n]->data = (char *) p;
        p += strs[n]->len;
        *p++ = '\0';
    }

    if (ngx_http_corral_registry_address(idoc, err) != NGX_OK) {
        ngx_free(idoc);
        return NULL;
    }

    idoc->key = corral_balance_key(doc->instance_id.data,
                                   doc->instance_id.len);

    key.data = buf;
    key.len = ngx_sprintf(buf, "i:%s:%L", idoc->doc.instance_id.data,
                          idoc->doc.incarnation)
              - buf;

    idoc->ref = ngx_http_corral_table_slot(&key);

    return idoc;
}


static ngx_int_t
ngx_http_corral_registry_address(ngx_http_corral_idoc_t *idoc, char *err)
{
    ngx_url_t      u;
    corral_str_t  *address;

    address = &idoc->doc.address;

    if (address->len == 0) {
        return NGX_OK;                      /* not started yet */
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url.len = address->len;
    u.url.data = ngx_pnalloc(ngx_http_corral_reg.tmp, address->len + 1);
    if (u.url.data == NULL) {
        return NGX_ERROR;
    }

    ngx_cpystrn(u.url.data, (u_char *) address->data, address->len + 1);
    u.no_resolve = 1;

    if (ngx_parse_url(ngx_http_corral_reg.tmp, &u) != NGX_OK || u.naddrs != 1
        || (u.family != AF_UNIX && u.no_port) || u.uri.len
        || u.addrs[0].socklen > (socklen_t) sizeof(ngx_sockaddr_t))
    {
        ngx_snprintf((u_char *) err, CORRAL_DECODE_ERROR,
                     "instance \"%s\": \"address\" is \"%s\", it must be "
                     "unix:/path, 1.2.3.4:port or [::1]:port%Z",
                     idoc->doc.instance_id.data, address->data);
        return NGX_ERROR;
    }

    idoc->socklen = u.addrs[0].socklen;
    ngx_memcpy(&idoc->sockaddr, u.addrs[0].sockaddr, idoc->socklen);

    return NGX_OK;
}


ngx_int_t
ngx_http_corral_registry_refuse(ngx_uint_t line, char *err)
{
    ngx_http_corral_reg.info.refused++;

    if (ngx_http_corral_reg.from) {
        ngx_log_error(NGX_LOG_ERR, ngx_http_corral_reg.log, 0,
                      "corral: %V, line %ui was refused: %s",
                      ngx_http_corral_reg.from, line, err);

    } else {
        ngx_log_error(NGX_LOG_ERR, ngx_http_corral_reg.log, 0,
                      "corral registry: document refused: %s", err);
    }

    return NGX_DECLINED;
}
