/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of a Runtime, continued (core.h): its numbers, as metrics.c, control.c and page.c tell them.
 */

#include "runtimed/core.h"

/* metrics.c */

/* Per second, and how long things took, in the last seconds. */
typedef struct RuntimeRates {
        uint64_t window_usec;
        double executions, failed, messages, sheds, checkpoints;
        Histogram queue_duration, execution_duration;
} RuntimeRates;

enum { /* the counters of `recent` */
        RECENT_EXECUTIONS,
        RECENT_FAILED,
        RECENT_MESSAGES,
        RECENT_SHEDS,
        RECENT_CHECKPOINTS,
};

/* What one look at every agent tells. */
typedef struct Census {
        uint64_t by_state[_AGENT_STATE_MAX];
        uint64_t n_mail, n_deepest, n_full, n_open;
} Census;

Census core_census(const Runtime *runtime);
void core_sample(Runtime *runtime, Instant now); /* at the end of each turn */
RuntimeRates core_rates(const Runtime *runtime, Instant now);
void core_emit_numbers(const Runtime *runtime, Buffer *out, Instant now); /* members of an open object */

typedef enum AgentOrder {
        ORDER_NONE, /* as ORDER_ID */
        ORDER_ID,
        ORDER_ATTENTION, /* failed ones, then as ORDER_QUEUED */
        ORDER_QUEUED,    /* most first, as the following */
        ORDER_HANDLED,
        ORDER_FAILED,
        _ORDER_MAX,
} AgentOrder;

/* The first n_max agents in that order; one look at each agent. Returns how many there are in `ret`. */
size_t core_first_agents(const Runtime *runtime, AgentOrder order, Agent **ret, size_t n_max);
