
/*
 * How rules divide requests among services, for the metrics and the status
 * location.  What is counted is the registry's affair.
 */


#include "ngx_http_corral_metrics.h"


static void ngx_http_corral_metrics_split_weight(
    ngx_http_corral_registry_split_t *split, void *data);
static void ngx_http_corral_metrics_split_requests(
    ngx_http_corral_registry_split_t *split, void *data);
static void ngx_http_corral_metrics_split_labels(
    ngx_http_corral_metrics_out_t *out,
    ngx_http_corral_registry_split_t *split);
static void ngx_http_corral_status_split(
    ngx_http_corral_registry_split_t *split, void *data);


static char  *ngx_http_corral_split_strategies[] = {
    "round_robin", "random", "weighted_random", "least_connections",
    "hash_based", "manual", "tag_based"
};


void
ngx_http_corral_metrics_splits(ngx_http_corral_metrics_out_t *out)
{
    ngx_http_corral_metrics_print(out,
        "# HELP corral_rule_weight Share that a rule gives to a service\n"
        "# TYPE corral_rule_weight gauge\n");

    ngx_http_corral_registry_walk_splits(ngx_http_corral_metrics_split_weight,
                                         out);

    ngx_http_corral_metrics_print(out,
        "# HELP corral_rule_requests_total Requests that a rule has sent to a "
        "service since its shares were set\n"
        "# TYPE corral_rule_requests_total counter\n");

    ngx_http_corral_registry_walk_splits(
                                       ngx_http_corral_metrics_split_requests,
                                       out);
}


static void
ngx_http_corral_metrics_split_weight(ngx_http_corral_registry_split_t *split,
    void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    ngx_http_corral_metrics_print(out, "corral_rule_weight");
    ngx_http_corral_metrics_split_labels(out, split);
    ngx_http_corral_metrics_print(out, " %uD\n", split->weight);
}


static void
ngx_http_corral_metrics_split_requests(
    ngx_http_corral_registry_split_t *split, void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    ngx_http_corral_metrics_print(out, "corral_rule_requests_total");
    ngx_http_corral_metrics_split_labels(out, split);
    ngx_http_corral_metrics_print(out, " %uL\n", split->requests);
}


/* a rule's name is any text: what Prometheus would misread is escaped */

static void
ngx_http_corral_metrics_split_labels(ngx_http_corral_metrics_out_t *out,
    ngx_http_corral_registry_split_t *split)
{
    u_char     *p, buf[2 * 128];
    size_t      i;
    ngx_str_t   name;

    p = buf;

    for (i = 0; i < split->name.len && i < sizeof(buf) / 2; i++) {

        switch (split->name.data[i]) {

        case '\n':
            *p++ = '\\';
            *p++ = 'n';
            break;

        case '"':
        case '\\':
            *p++ = '\\';
            /* fall through */

        default:
            *p++ = split->name.data[i];
        }
    }

    name.data = buf;
    name.len = p - buf;

    ngx_http_corral_metrics_print(out, "{rule=\"%V\",service=\"%V\"}", &name,
                                  &split->service);
}


void
ngx_http_corral_status_splits(ngx_http_corral_metrics_out_t *out)
{
    out->items = 0;

    ngx_http_corral_registry_walk_splits(ngx_http_corral_status_split, out);

    if (out->items) {
        ngx_http_corral_metrics_print(out, "]}");
    }
}


static void
ngx_http_corral_status_split(ngx_http_corral_registry_split_t *split,
    void *data)
{
    ngx_http_corral_metrics_out_t *out = data;

    if (split->n == 0) {
        ngx_http_corral_metrics_print(out, "%s{\"rule_id\":\"%V\",\"name\":",
                                      out->items++ ? "]}," : "", &split->id);
        ngx_http_corral_metrics_string(out, &split->name);
        ngx_http_corral_metrics_print(out,
            ",\"strategy\":\"%s\",\"enabled\":%s,\"requests\":%uL,"
            "\"targets\":[",
            ngx_http_corral_split_strategies[split->strategy],
            split->enabled ? "true" : "false", split->total);
    }

    ngx_http_corral_metrics_print(out, "%s{\"service\":", split->n ? "," : "");
    ngx_http_corral_metrics_string(out, &split->service);
    ngx_http_corral_metrics_print(out,
        ",\"weight\":%uD,\"fallback\":%s,\"ready\":%uD,\"requests\":%uL,"
        "\"share\":%.4f}",
        split->weight, split->fallback ? "true" : "false", split->ready,
        split->requests, split->total ? (double) split->requests / split->total
                                      : 0.0);
}
