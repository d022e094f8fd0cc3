
/*
 * The rows of corral_schema.h as tables, and which member of which struct each
 * row with CORRAL_G fills.  A field with that flag and no member, a member
 * without the flag, and a member of the wrong type do not compile.
 *
 * Constant data, and reading the words of an enumeration.
 */


#include "corral_decode_fields.h"

#include <string.h>

#include <corral_schema.h>

#include "corral_decode.h"


/* rows, and for each field its number, flags, and type of member */

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    { #name, CORRAL_DECODE_##type, flags, min, max, values, preset },

static const corral_decode_row_t  corral_decode_service_rows[] = {
    CORRAL_SERVICE_FIELDS(X)
};

static const corral_decode_row_t  corral_decode_instance_rows[] = {
    CORRAL_INSTANCE_FIELDS(X)
};

static const corral_decode_row_t  corral_decode_rule_rows[] = {
    CORRAL_RULE_FIELDS(X)
};

static const corral_decode_row_t  corral_decode_condition_rows[] = {
    CORRAL_CONDITION_FIELDS(X)
};

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_ROW_service_##name,

enum { CORRAL_SERVICE_FIELDS(X) };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_ROW_instance_##name,

enum { CORRAL_INSTANCE_FIELDS(X) };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_ROW_rule_##name,

enum { CORRAL_RULE_FIELDS(X) };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_ROW_condition_##name,

enum { CORRAL_CONDITION_FIELDS(X) };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_FLAGS_service_##name = (flags),                             \
    CORRAL_DECODE_TYPE_service_##name = CORRAL_DECODE_##type,

enum { CORRAL_SERVICE_FIELDS(X) CORRAL_DECODE_END_service };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_FLAGS_instance_##name = (flags),                            \
    CORRAL_DECODE_TYPE_instance_##name = CORRAL_DECODE_##type,

enum { CORRAL_INSTANCE_FIELDS(X) CORRAL_DECODE_END_instance };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_FLAGS_rule_##name = (flags),                                \
    CORRAL_DECODE_TYPE_rule_##name = CORRAL_DECODE_##type,

enum { CORRAL_RULE_FIELDS(X) CORRAL_DECODE_END_rule };

#undef X

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    CORRAL_DECODE_FLAGS_condition_##name = (flags),                           \
    CORRAL_DECODE_TYPE_condition_##name = CORRAL_DECODE_##type,

enum { CORRAL_CONDITION_FIELDS(X) CORRAL_DECODE_END_condition };

#undef X


/* does the member of the struct fit the type of the row? */

#define corral_decode_is(type, other)  ((int) (type) == (int) (other))

#define corral_decode_fits(type, member)                                      \
    _Generic((member),                                                        \
        corral_str_t:  corral_decode_is(type, CORRAL_DECODE_string)           \
                       || corral_decode_is(type, CORRAL_DECODE_name),         \
        corral_strs_t: corral_decode_is(type, CORRAL_DECODE_strings),         \
        corral_conditions_t:                                                  \
                       corral_decode_is(type, CORRAL_DECODE_conditions),      \
        corral_weights_t:                                                     \
                       corral_decode_is(type, CORRAL_DECODE_weights),         \
        int64_t:       corral_decode_is(type, CORRAL_DECODE_integer)          \
                       || corral_decode_is(type, CORRAL_DECODE_boolean)       \
                       || corral_decode_is(type, CORRAL_DECODE_duration)      \
                       || corral_decode_is(type, CORRAL_DECODE_enumerate))

/* does not compile for a field without CORRAL_G or with a wrong type */

#define corral_decode_member(kind, field)                                     \
    { CORRAL_DECODE_ROW_##kind##_##field,                                     \
      offsetof(corral_##kind##_t, field)                                      \
      + 0 * sizeof(char[                                                      \
            (CORRAL_DECODE_FLAGS_##kind##_##field & CORRAL_G)                 \
            && corral_decode_fits(CORRAL_DECODE_TYPE_##kind##_##field,        \
                                  ((corral_##kind##_t *) NULL)->field)        \
            ? 1 : -1]) }


static const corral_decode_member_t  corral_decode_service_members[] = {
    corral_decode_member(service, service_id),
    corral_decode_member(service, name),
    corral_decode_member(service, tags),
    corral_decode_member(service, desired),
    corral_decode_member(service, protocol),
    corral_decode_member(service, upstream_host),
    corral_decode_member(service, balance),
    corral_decode_member(service, hash_key),
    corral_decode_member(service, hash_balance_factor),
    corral_decode_member(service, affinity),
    corral_decode_member(service, affinity_ttl),
    corral_decode_member(service, spill_threshold),
    corral_decode_member(service, slow_start),
    corral_decode_member(service, slow_start_rate),
    corral_decode_member(service, connect_timeout),
    corral_decode_member(service, handshake_timeout),
    corral_decode_member(service, idle_timeout),
    corral_decode_member(service, ping_interval),
    corral_decode_member(service, ping_timeout),
    corral_decode_member(service, close_timeout),
    corral_decode_member(service, max_lifetime),
    corral_decode_member(service, max_message_size),
    corral_decode_member(service, max_message_size_out),
    corral_decode_member(service, message_rate),
    corral_decode_member(service, message_burst),
    corral_decode_member(service, message_rate_action),
    corral_decode_member(service, byte_rate),
    corral_decode_member(service, byte_rate_out),
    corral_decode_member(service, tries),
    corral_decode_member(service, retry_budget),
    corral_decode_member(service, circuit_failures),
    corral_decode_member(service, circuit_timeout),
    corral_decode_member(service, max_fails),
    corral_decode_member(service, fail_timeout),
    corral_decode_member(service, eject_max_time),
    corral_decode_member(service, eject_interval),
    corral_decode_member(service, eject_min_requests),
    corral_decode_member(service, eject_failure_percent),
    corral_decode_member(service, eject_deviation),
    corral_decode_member(service, max_ejected),
    corral_decode_member(service, early_end),
    corral_decode_member(service, max_sessions),
    corral_decode_member(service, max_connections),
    corral_decode_member(service, queue_size),
    corral_decode_member(service, queue_timeout),
    corral_decode_member(service, drain_timeout),
    corral_decode_member(service, failover),
    corral_decode_member(service, hold_time),
    corral_decode_member(service, hold_size),
    corral_decode_member(service, journal_size),
    corral_decode_member(service, answer),
    corral_decode_member(service, answer_id),
    corral_decode_member(service, answer_reply_id),
    corral_decode_member(service, answer_name),
    corral_decode_member(service, answer_requests),
    corral_decode_member(service, answer_streams),
    corral_decode_member(service, answer_finals),
    corral_decode_member(service, answer_final),
    corral_decode_member(service, preamble_messages),
    corral_decode_member(service, preamble_names),
    corral_decode_member(service, replay_started),
    corral_decode_member(service, reset),
    corral_decode_member(service, rebalance),
    corral_decode_member(service, rebalance_rate),
    corral_decode_member(service, rebalance_tolerance),
    corral_decode_member(service, rebalance_idle),
    corral_decode_member(service, rebalance_sessions),
    corral_decode_member(service, mirror),
    corral_decode_member(service, mirror_percent),
    corral_decode_member(service, sse_resume),
    corral_decode_member(service, sse_events),
    corral_decode_member(service, sse_keep),
    corral_decode_member(service, sse_run_on)
};


static const corral_decode_member_t  corral_decode_instance_members[] = {
    corral_decode_member(instance, instance_id),
    corral_decode_member(instance, service_id),
    corral_decode_member(instance, incarnation),
    corral_decode_member(instance, node),
    corral_decode_member(instance, address),
    corral_decode_member(instance, weight),
    corral_decode_member(instance, priority),
    corral_decode_member(instance, state),
    corral_decode_member(instance, health)
};


static const corral_decode_member_t  corral_decode_rule_members[] = {
    corral_decode_member(rule, rule_id),
    corral_decode_member(rule, name),
    corral_decode_member(rule, priority),
    corral_decode_member(rule, enabled),
    corral_decode_member(rule, conditions),
    corral_decode_member(rule, target_services),
    corral_decode_member(rule, target_tags),
    corral_decode_member(rule, target_strategy),
    corral_decode_member(rule, hash_key),
    corral_decode_member(rule, force_by),
    corral_decode_member(rule, weights),
    corral_decode_member(rule, weight),
    corral_decode_member(rule, fallback_service)
};


static const corral_decode_member_t  corral_decode_condition_members[] = {
    corral_decode_member(condition, field),
    corral_decode_member(condition, operator),
    corral_decode_member(condition, value),
    corral_decode_member(condition, values),
    corral_decode_member(condition, case_sensitive)
};


#define corral_decode_count(array)  (sizeof(array) / sizeof((array)[0]))

/* every field with CORRAL_G has its member */

#define X(name, type, owner, flags, min, max, values, preset, text)           \
    + (((flags) & CORRAL_G) != 0)

_Static_assert(0 CORRAL_SERVICE_FIELDS(X)
               == corral_decode_count(corral_decode_service_members),
               "a field of services with CORRAL_G has no member");

_Static_assert(0 CORRAL_INSTANCE_FIELDS(X)
               == corral_decode_count(corral_decode_instance_members),
               "a field of instances with CORRAL_G has no member");

_Static_assert(0 CORRAL_RULE_FIELDS(X)
               == corral_decode_count(corral_decode_rule_members),
               "a field of rules with CORRAL_G has no member");

_Static_assert(0 CORRAL_CONDITION_FIELDS(X)
               == corral_decode_count(corral_decode_condition_members),
               "a field of conditions with CORRAL_G has no member");

#undef X


const corral_decode_kind_t  corral_decode_kinds[] = {
    { "service", "service_id", corral_decode_service_rows,
      corral_decode_service_members,
      corral_decode_count(corral_decode_service_members),
      sizeof(corral_service_t) },

    { "instance", "instance_id", corral_decode_instance_rows,
      corral_decode_instance_members,
      corral_decode_count(corral_decode_instance_members),
      sizeof(corral_instance_t) },

    { "rule", "rule_id", corral_decode_rule_rows,
      corral_decode_rule_members,
      corral_decode_count(corral_decode_rule_members),
      sizeof(corral_rule_t) }
};


const corral_decode_kind_t  corral_decode_condition = {
    "condition", "field", corral_decode_condition_rows,
    corral_decode_condition_members,
    corral_decode_count(corral_decode_condition_members),
    sizeof(corral_condition_t)
};


#define X(word, text)  " " #word

static const char  corral_decode_operators[] = CORRAL_OPERATORS(X);

#undef X


/* The words of an enumeration; a long list has a table of its own. */

const char *
corral_decode_fields_words(const corral_decode_row_t *row)
{
    return strcmp(row->values, "CORRAL_OPERATORS") == 0
           ? corral_decode_operators + 1 : row->values;
}


/*
 * The next of the words between spaces, its length in *len; *words goes on
 * behind it.  NULL and 0 at the end.
 */

const char *
corral_decode_fields_word(const char **words, size_t *len)
{
    const char  *word;

    word = *words + strspn(*words, " ");
    *len = strcspn(word, " ");
    *words = word + *len;

    return *len ? word : NULL;
}
