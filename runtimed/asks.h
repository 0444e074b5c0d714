/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Asks: what agents wait for: answers of other agents (ASK), of capabilities (INVOKE), of executions (TRIGGER). Each
 * has a number, never used twice, that stands in the reply subject of what was sent.
 *
 * Owns every Ask; an agent embeds its AskOwner by value, which may not move while it has any. Deadlines are armed in
 * a queue of the core's. Embedded by value. Loop thread only, pure, reads no clock.
 */

#include <sys/queue.h>

#include "common/deadline.h"
#include "common/number_index.h"
#include "common/trace.h"
#include "proto/cc.h"
#include "runtimed/effect.h"
#include "runtimed/envelope.h"

enum {
        ASKS_E_OK,

        ASKS_E_AGENT_LIMIT, /* the agent waits for as many as one may */
        ASKS_E_LIMIT,       /* all of them together do, by count or by bytes */
};

typedef struct Ask Ask;
typedef struct Invocation Invocation;

TAILQ_HEAD(AskLine, Ask);
LIST_HEAD(AskSet, Ask);

/* An agent's part in it. */
typedef struct AskOwner {
        struct AskSet asks; /* the latest first */
        uint32_t n;
} AskOwner;

struct Ask {
        Numbered number; /* first of all */
        AskOwner *owner;
        EffectKind kind;     /* ASK, INVOKE, TRIGGER */
        uint64_t token;      /* the behaviour's own name for it */
        uint64_t message_id; /* that was being handled; 0: none */
        uint64_t asked_usec;
        Deadline deadline;
        Envelope envelope; /* what the answer inherits */
        Slice target;      /* the agent or the capability */
        TraceSpan span;

        Invocation *invocation; /* that it waits for (invocations.h); NULL: none */
        LIST_ENTRY(Ask) of_owner;
        TAILQ_ENTRY(Ask) waiting;
        size_t n_bytes;
        char storage[];
};

typedef struct AsksLimits {
        uint64_t per_agent_max, total_max, bytes_max;
} AsksLimits;

#define ASKS_PER_AGENT_DEFAULT 1024

typedef struct Asks {
        DeadlineQueue *deadlines;
        int deadline_kind;
        AsksLimits limits;
        NumberIndex numbers;
        uint64_t n_bytes;
} Asks;

/* The queue is borrowed; `deadline_kind` marks what is ours in it. */
void asks_init(Asks *asks, DeadlineQueue *deadlines, int deadline_kind, const AsksLimits *limits);

/* With all that is left; none may wait for an invocation. */
void asks_done(Asks *asks);

/* What a reload brings; what is there already stays. */
void asks_set_limits(Asks *asks, const AsksLimits *limits);

void ask_owner_init(AskOwner *owner);

typedef struct AskWanted {
        EffectKind kind;
        uint64_t token, message_id;
        Slice target;
        const Envelope *envelope;
        uint64_t asked_usec, deadline_usec;
} AskWanted;

/* Copies what is wanted and arms the deadline. Returns 0, an outcome, -ENOMEM. */
int asks_add(Asks *asks, AskOwner *owner, const AskWanted *wanted, Ask **ret);

/* NULL: it was none of ours, or is over. */
Ask *asks_find(const Asks *asks, uint64_t number);

/* Disarms and frees it. It waits for no invocation any more. */
void asks_remove(Asks *asks, Ask *ask);

static inline Ask *ask_of_deadline(Deadline *deadline) {
        return CONTAINER_OF(deadline, Ask, deadline);
}

/* An agent's, the latest first: NULL: that one, and after the last one. An agent that ends removes its first until
 * there is none. */
Ask *ask_owner_next(const AskOwner *owner, const Ask *previous);

/* All of them, in no order; `cursor` starts at 0; NULL after the last. */
Ask *asks_next(const Asks *asks, size_t *cursor);

size_t asks_size(const Asks *asks);
uint64_t asks_bytes(const Asks *asks);

/* Does everything agree? NULL: yes; else what does not. Visits all. */
const char *asks_check(const Asks *asks);
