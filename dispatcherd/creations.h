/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Creations: the verb create_agent. A runtime that can have the agent is chosen and asked to create it; its answer goes
 * back to whoever asked.
 *
 * Owns what was asked and is not answered yet: each in memory of its own, bounded by dispatcher.queue_limit and
 * dispatcher.queue_bytes. Embedded by value in the Dispatcher. Owner thread only. Holds no list of agents: whether one
 * exists is what the registry says, and what is being created here.
 */

#include <sys/queue.h>

#include "common/deadline.h"
#include "common/id_index.h"
#include "common/instant.h"
#include "common/outbox.h"
#include "common/rng.h"
#include "dispatcherd/registry.h"

/* Why a runtime is not asked. Ordered: the later, the closer it came. */
#define OBSTACLES(X)                                                 \
        X(JOINING, "its registration is incomplete")                 \
        X(DRAINING, "it is draining")                                \
        X(UNREACHABLE, "nobody listens on its subjects")             \
        X(TYPE, "it does not have the agent's type")                 \
        X(LABELS, "its labels do not match")                         \
        X(FULL, "it has as many agents as its limit allows")         \
        X(SUSPECT, "it is suspect: asked only when nobody else can") \
        X(TRIED, "it was asked, and did not take it")

typedef enum Obstacle {
        OBSTACLE_NONE,
#define X(name, meaning) OBSTACLE_##name,
        OBSTACLES(X) _OBSTACLE_MAX,
#undef X
} Obstacle;

typedef struct Creation Creation;

LIST_HEAD(CreationList, Creation);

typedef struct Creations {
        struct CreationList all;
        IdIndex by_token;
        IdIndex unnamed; /* by the agent's id: those that may go to any runtime */
        uint64_t n_bytes;
} Creations;

typedef struct Dispatcher Dispatcher;

void creations_init(Creations *creations, Rng *rng);
void creations_done(Creations *creations);

void creations_on_request(Dispatcher *d, const InMessage *message, Instant now);

/* What came to a creation's own reply subject, the rest of which is "<runtime id>.<token>". */
void creations_on_answer(Dispatcher *d, Slice rest, const InMessage *message, Instant now);
void creations_on_due(Dispatcher *d, Deadline *deadline, Instant now);

/* That epoch of the runtime is over: whoever waits for it is told. */
void creations_runtime_lost(Dispatcher *d, Runtime *runtime, Instant now);

/* The drain's deadline: whoever waits is told. */
void creations_answer_all(Dispatcher *d, Instant now);

/* NULL, or which invariant is broken. */
const char *creations_check(const Dispatcher *d);
