/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Behavior: what an agent does with a message. The built-in ones are tables of this shape; plugins and child
 * processes (a later layer) will be adapters of the same shape.
 *
 * handle() and on_timer() run on a worker thread, one call at a time per agent, and may not block for long. The state belongs to
 * the agent and is touched by no other thread while a call lasts.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/slice.h"

typedef struct BehaviorMessage {
        Slice agent_id;
        Slice exec_id;
        Slice input;     /* raw JSON value; "null" when the trigger had none */
        uint64_t attempt;
} BehaviorMessage;

typedef enum BehaviorVerdict {
        BEHAVIOR_DONE,  /* `output` holds one JSON value */
        BEHAVIOR_ERROR, /* `code` and `message` say why */
        BEHAVIOR_DEFER, /* call on_timer() for this message after `defer_usec`; other messages go on meanwhile */
} BehaviorVerdict;

typedef struct BehaviorReply {
        BehaviorVerdict verdict;
        Buffer output;  /* owned by the reply */
        ErrorCode code;
        char message[256];
        uint64_t defer_usec;
} BehaviorReply;

typedef struct Behavior {
        const char *type; /* `agent_type` in a definition */
        const char *help;

        /* `parameters` is a raw JSON object, or absent. On failure writes why. Returns 0, -errno, or 1: parameters refused. */
        int (*init)(Slice agent_id, Slice parameters, void **ret_state, char *ret_why, size_t why_size);
        void (*stop)(void *state); /* frees the state; also after a failed run */
        void (*handle)(void *state, const BehaviorMessage *message, BehaviorReply *reply);
        void (*on_timer)(void *state, const BehaviorMessage *message, BehaviorReply *reply); /* NULL: never defers */
} Behavior;

/* NULL when there is none of that type. */
const Behavior *behavior_find(Slice type);

/* All built-in ones, for the registration's agent_types; NULL after the last. */
const Behavior *behavior_at(size_t index);
