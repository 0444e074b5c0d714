/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Effect: something a behaviour wants done: publish, ask, subscribe, set a timer... EffectList: what one call, or one
 * child process, wants, in order.
 *
 * Written by whoever runs the behaviour (a worker thread, the host of child processes) and handed to the core as a
 * whole, which checks and carries it out on the loop thread. The list owns all the bytes that its effects point to.
 * An empty list costs nothing.
 */

#include "proto/arena.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/slice.h"

#define EFFECTS_MAX 1024 /* in one list; more are refused */

typedef enum EffectKind {
        EFFECT_NONE,
        EFFECT_PUBLISH,      /* `payload` to the topic `target`, with `headers` over what is inherited */
        EFFECT_REPLY,        /* ends the message `message_id` that was left pending: `payload` is the output, or, with
                                `code`, the sentence that says why not */
        EFFECT_ASK,          /* `payload` to the agent `target`; its answer within `usec` */
        EFFECT_INVOKE,       /* the capability `target` with `payload`; its answer within `usec`; `key`: idempotency */
        EFFECT_TRIGGER,      /* TriggerAgent for the agent `target` with the input `payload` (one JSON value) */
        EFFECT_SUBSCRIBE,    /* to the topic `target`, in the group `key` if there is one, with `qos` */
        EFFECT_UNSUBSCRIBE,  /* from the topic `target` */
        EFFECT_TIMER,        /* a MESSAGE_TIMER with `token` after `usec`; one with that token is set anew */
        EFFECT_CANCEL_TIMER, /* the one with `token` */
        EFFECT_CHECKPOINT,   /* soon */
        EFFECT_STOP,         /* the agent itself, when what it holds is done */
        EFFECT_LOG,          /* the sentence `payload` at `level` (syslog's); `headers`: raw JSON object of fields */
        _EFFECT_KIND_MAX,
} EffectKind;

typedef struct Effect Effect;

/*
 * `token` is the behaviour's own name for the matter. ASK, INVOKE, TRIGGER are always answered with a MESSAGE_ANSWER of
 * that token; PUBLISH, SUBSCRIBE, UNSUBSCRIBE, CHECKPOINT when `wants_answer` (else a failure is only logged).
 */
struct Effect {
        Effect *next;
        EffectKind kind;
        ErrorCode code;
        unsigned qos; /* Qos */
        int level;
        bool wants_answer;
        uint64_t token, message_id, usec;
        Slice target, payload, headers, key;
};

typedef struct EffectList {
        Effect *first, *last;
        size_t n, n_bytes;
        bool failed; /* memory was out, or EFFECTS_MAX was passed: something is missing */
        Arena arena;
} EffectList;

/* Appends a blank one. NULL: memory is out or there are too many (`failed` is set). */
Effect *effects_add(EffectList *list, EffectKind kind);

/* A copy that lives as long as the list; absent stays absent. Sets `failed` when memory is out. */
Slice effects_keep(EffectList *list, Slice bytes);

/* How many of that kind there are. */
uint32_t effects_count(const EffectList *list, EffectKind kind);

/* Frees everything; the list is empty and usable. */
void effects_clear(EffectList *list);

/* "publish", "ask", ... */
extern const char *const effect_kind_names[_EFFECT_KIND_MAX];
