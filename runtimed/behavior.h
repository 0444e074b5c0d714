/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Behavior: what an agent does with a message. The built-in ones are tables of this shape; plugins and child
 * processes (a later layer) will be adapters of the same shape.
 *
 * handle() and on_timer() run on a worker thread, one call at a time per agent, and may not block for long. The state
 * belongs to the agent and is touched by no other thread while a call lasts. init() and stop() run while no call is
 * out.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/slice.h"

typedef struct BehaviorMessage {
        Slice agent_id;
        Slice exec_id;
        Slice input; /* raw JSON value; "null" when the trigger had none */
        uint64_t attempt;
} BehaviorMessage;

typedef enum BehaviorVerdict {
        BEHAVIOR_NONE,
        BEHAVIOR_DONE,  /* `output` holds one JSON value */
        BEHAVIOR_ERROR, /* `code` says what, `output` holds the sentence that says why (plain text) */
        BEHAVIOR_DEFER, /* call on_timer() for this message after `defer_usec`; other messages go on meanwhile */
} BehaviorVerdict;

typedef struct BehaviorReply {
        BehaviorVerdict verdict;
        ErrorCode code;
        Buffer output; /* owned by the reply */
        uint64_t defer_usec;
} BehaviorReply;

enum {
        BEHAVIOR_E_OK,

        BEHAVIOR_E_REFUSED, /* the parameters make no sense, or init failed: `ret_why` says why */
};

typedef struct Behavior {
        const char *type; /* `agent_type` in a definition */
        const char *help;

        /* Is its output known to be valid JSON? What isn't ours is checked before it goes out. */
        bool trusted;

        /*
         * Does each call return within microseconds, whatever the message? Then it need not cost the two wake-ups of a
         * worker: the edge may run it on the loop thread (runtime.inline). Nothing that is not ours can promise that.
         */
        bool quick;

        /*
         * `parameters` is a raw JSON object, or absent. Returns 0, BEHAVIOR_E_REFUSED, -errno.
         */
        int (*init)(Slice agent_id, Slice parameters, void **ret_state, char *ret_why, size_t why_size);
        void (*stop)(void *state); /* frees the state; also after a failed run */
        void (*handle)(void *state, const BehaviorMessage *message, BehaviorReply *reply);
        void (*on_timer)(void *state, const BehaviorMessage *message, BehaviorReply *reply); /* NULL: never defers */
} Behavior;

extern const Behavior behavior_echo, behavior_counter, behavior_delay;

/* All built-in ones; NULL ends the list. */
extern const Behavior *const behaviors_builtin[];

/* NULL when `list` has none of that type. */
const Behavior *behavior_find(const Behavior *const *list, Slice type);

/* "counter, delay, echo", for error messages. */
void behavior_list_types(const Behavior *const *list, char *ret_text, size_t size);

/* For handle() and on_timer(): the reply is an error with that sentence. */
void behavior_fail(BehaviorReply *reply, ErrorCode code, const char *format, ...) _printf_(3, 4);
