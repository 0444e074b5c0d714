/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Definition: what an agent is, as written in the files of agents.d or given to create_agent (docs/design.md).
 *
 * Every key, also those of what is planned, is known and checked. A key that asks for something this version can't do
 * is refused, and so is a key that nobody knows (it is a typing error more often than not): a definition never means
 * less than it says.
 */

#include "proto/arena.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/wire_error.h"
#include "runtimed/behavior.h"
#include "runtimed/mailbox.h"
#include "runtimed/run.h"

#define DEFINITION_BYTES_MAX (1024 * 1024)
#define MAILBOX_CAPACITY_MAX 1000000
#define MAILBOX_BYTES_MAX (UINT64_C(1) << 32)
#define QUANTUM_MAX 65536
#define CAPABILITIES_MAX 64
#define CAPABILITIES_BYTES_MAX 16384 /* as written, white space included: registrations carry it in one piece */
#define CONCURRENCY_MAX 1024
#define RESTARTS_MAX 64
#define TOPICS_MAX 1024 /* in a definition; limits.max_subscriptions_per_agent may be lower */
#define TOPIC_BYTES_MAX 255

typedef enum Overflow {
        OVERFLOW_NONE,
        OVERFLOW_REJECT,      /* refuse the newcomer: MAILBOX_FULL */
        OVERFLOW_DROP_OLDEST, /* answer the longest waiting with MAILBOX_FULL and take the newcomer */
        OVERFLOW_DROP_NEWEST, /* answer the newcomer with MAILBOX_FULL as if it had been taken: not placed elsewhere */
        _OVERFLOW_MAX,
} Overflow;

typedef enum Qos {
        QOS_NONE,
        QOS_REALTIME,   /* delivered first, dropped when late */
        QOS_BATCHED,    /* the default */
        QOS_BACKGROUND, /* when nothing else waits */
        _QOS_MAX,
} Qos;

typedef enum OnRestoreError {
        ON_RESTORE_ERROR_NONE,
        ON_RESTORE_ERROR_FAIL,     /* the default: the agent fails */
        ON_RESTORE_ERROR_FRESH,    /* starts without a state, and says so */
        ON_RESTORE_ERROR_PREVIOUS, /* takes the generation before; fails when there is none */
        _ON_RESTORE_ERROR_MAX,
} OnRestoreError;

typedef enum OnCheckpointError {
        ON_CHECKPOINT_ERROR_NONE,
        ON_CHECKPOINT_ERROR_RETRY, /* the default: with growing pauses */
        ON_CHECKPOINT_ERROR_STOP,  /* the agent fails */
        _ON_CHECKPOINT_ERROR_MAX,
} OnCheckpointError;

extern const char *const overflow_names[_OVERFLOW_MAX + 1];
extern const char *const qos_names[_QOS_MAX + 1];
extern const char *const on_restore_error_names[_ON_RESTORE_ERROR_MAX + 1];
extern const char *const on_checkpoint_error_names[_ON_CHECKPOINT_ERROR_MAX + 1];

typedef struct Definition {
        Id agent_id;
        const Behavior *behavior;
        AgentClass agent_class;
        uint8_t overflow;            /* Overflow */
        uint8_t on_restore_error;    /* OnRestoreError */
        uint8_t on_checkpoint_error; /* OnCheckpointError */
        uint64_t priority;
        MailboxLimits mailbox;
        uint64_t quantum;
        uint64_t max_concurrency;        /* messages open at a time; 1 unless given */
        uint64_t checkpoint_interval_ms; /* 0: after every message */
        struct {
                uint64_t max, window_ms, backoff_ms; /* restarts in the window; the first pause, doubled by each */
        } restart;
        bool is_again;           /* a copy, in the same agent's place: it is to be started again */
        char *parameters;        /* raw JSON object; NULL: none */
        char *settings;          /* raw JSON value of the key named like the type ("exec", "plugin"); NULL: none */
        char *capabilities;      /* raw JSON array of texts; NULL: none */
        char *subscribed_topics; /* raw JSON array, every element checked; NULL: none */
} Definition;

/* `behaviors` is the NULL-terminated list of types that can be had. Returns 0, WIRE_E_INVALID, -ENOMEM. */
int definition_parse(Slice text, const Behavior *const *behaviors, Definition **ret, WireError *ret_error) _must_check_;
Definition *definition_free(Definition *definition);

/* The same once more, with is_again. Returns 0 or -ENOMEM. */
int definition_copy(const Definition *definition, Definition **ret) _must_check_;

DEFINE_CLEANUP(Definition *, definition_free);

/* One element of subscribed_topics, or the arguments of subscribe_agent. Texts lie in `arena` or are borrowed. */
typedef struct TopicWanted {
        Slice topic, queue; /* queue absent: none */
        Qos qos;
} TopicWanted;

/* Walks them; `cursor` starts at 0. Returns 1, 0 after the last one, -ENOMEM. */
int definition_next_topic(const Definition *definition, size_t *cursor, Arena *arena, TopicWanted *ret);

/* A JSON value: a text, or an object {topic, queue, qos}. Grammar and lengths are checked, not what is forbidden.
 * `what` names it in errors. Returns 0, WIRE_E_INVALID, -ENOMEM. */
int topic_wanted_parse(Slice value, const char *what, Arena *arena, TopicWanted *ret, WireError *ret_error);

/* What its behaviour is started with; borrowed from the definition. */
BehaviorStart definition_start(const Definition *definition);

AgentClass agent_class_of(uint64_t priority);
const char *agent_class_name(AgentClass agent_class);
