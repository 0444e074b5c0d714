/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Behavior: what an agent does with a message. The built-in ones are tables of this shape, and so is the adapter of
 * plugins. A child process ("exec") is remote: it has no functions here, its host gets the calls instead (run.h).
 *
 * All functions run on a worker thread (or, if `quick`, on the loop thread), one call at a time per agent, and may not
 * block for long. The state belongs to the agent and is touched by no other thread while a call lasts.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/slice.h"
#include "proto/wire_error.h"
#include "runtimed/effect.h"
#include "runtimed/envelope.h"

typedef enum MessageKind {
        MESSAGE_NONE,
        MESSAGE_TRIGGER, /* a task: the output is its result */
        MESSAGE_TOPIC,   /* published to a topic; the output, if any, goes to where an answer is wanted */
        MESSAGE_ANSWER,  /* to an effect: `token` says which; `code` and the sentence in `input`, or the answer's bytes
                          */
        MESSAGE_TIMER,   /* the timer `token` is due */
        MESSAGE_RESUME,  /* a trigger or topic message that was deferred is due */
        _MESSAGE_KIND_MAX,
} MessageKind;

typedef struct BehaviorMessage {
        MessageKind kind;
        uint64_t id; /* unique in this runtime: for EFFECT_REPLY */
        Slice agent_id;
        Slice exec_id; /* of a trigger */
        Slice topic;   /* the subject it was published on; absent for others */
        Slice input;   /* trigger: a raw JSON value, "null" when there was none; topic, answer: any bytes */
        uint64_t attempt;
        uint64_t token;
        ErrorCode code;
        const Envelope *envelope; /* never NULL; mostly empty where nothing is known */
} BehaviorMessage;

typedef enum BehaviorVerdict {
        BEHAVIOR_NONE,
        BEHAVIOR_DONE,    /* trigger: `output` holds one JSON value; topic: any bytes, empty for no answer */
        BEHAVIOR_ERROR,   /* `code` says what, `output` holds the sentence that says why (plain text) */
        BEHAVIOR_DEFER,   /* call again with MESSAGE_RESUME after `defer_usec`; other messages go on meanwhile */
        BEHAVIOR_LOST,    /* as ERROR, but not the agent's word: its process was lost, or took too long */
        BEHAVIOR_PENDING, /* an EFFECT_REPLY with this message's id ends it later */
} BehaviorVerdict;

typedef struct BehaviorReply {
        BehaviorVerdict verdict;
        ErrorCode code;
        Buffer output; /* owned by the reply */
        uint64_t defer_usec;
        EffectList effects; /* owned by the reply */
} BehaviorReply;

enum {
        BEHAVIOR_E_OK,

        BEHAVIOR_E_REFUSED, /* parameters or state make no sense, or init failed: `ret_why` says why */
        BEHAVIOR_E_STATE,   /* init: it will not have this state (on_restore_error decides) */
};

typedef struct Behavior Behavior;

typedef struct BehaviorStart {
        const Behavior *behavior;
        Slice agent_id;
        Slice parameters;         /* raw JSON object, or absent */
        Slice settings;           /* raw JSON value of the definition's key named like the type, or absent */
        Slice state;              /* what checkpoint() has written last, or absent */
        uint64_t max_concurrency; /* for remote ones: messages open at a time */
        EffectList *effects; /* init: takes what it wants done once it has succeeded; NULL: it can't want anything */
} BehaviorStart;

struct Behavior {
        const char *type; /* `agent_type` in a definition */
        const char *help;

        /* Is its output known to be valid JSON? What isn't ours is checked before it goes out. */
        bool trusted;

        /*
         * Does each call, init() included, return within microseconds, whatever the message? Then it need not cost the
         * two wake-ups of a worker: the edge may run it on the loop thread (runtime.inline). Nothing that is not ours
         * can promise that.
         */
        bool quick;

        /* Its calls go to a host on the loop thread, and their outcomes come back in any order. */
        bool is_remote;

        /* A definition's say, before anything is started: 0, WIRE_E_INVALID with a sentence naming the key, -ENOMEM.
         * NULL: anything goes. */
        int (*check)(const BehaviorStart *start, WireError *ret_error);

        /* Returns 0, BEHAVIOR_E_REFUSED, BEHAVIOR_E_STATE, -errno. */
        int (*init)(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size);
        void (*stop)(void *state); /* frees the state */
        void (*handle)(void *state, const BehaviorMessage *message, BehaviorReply *reply);

        /* Writes what init() wants back. Returns 0 or -errno, or BEHAVIOR_E_REFUSED with the sentence in `ret`.
         * NULL: keeps no state. A remote one says whether it keeps state by `is_durable`. */
        int (*checkpoint)(void *state, Buffer *ret);
        bool is_durable;

        void *userdata; /* of whoever made the table */
};

extern const Behavior behavior_echo, behavior_counter, behavior_delay, behavior_relay;

/* All built-in ones; NULL ends the list. */
extern const Behavior *const behaviors_builtin[];

/* NULL when `list` has none of that type. */
const Behavior *behavior_find(const Behavior *const *list, Slice type);

/* "counter, delay, echo", for error messages. */
void behavior_list_types(const Behavior *const *list, char *ret_text, size_t size);

static inline bool behavior_keeps_state(const Behavior *behavior) {
        return behavior->checkpoint || behavior->is_durable;
}

/* For handle(): the reply is an error with that sentence. */
void behavior_fail(BehaviorReply *reply, ErrorCode code, const char *format, ...) _printf_(3, 4);

void behavior_reply_done(BehaviorReply *reply);
