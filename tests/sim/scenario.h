/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scenario: everything a seed decides before its world begins to move: how many of what, limits, windows, mix of
 * faults.
 */

#include "proto/cc.h"
#include "proto/message.h"
#include "tests/sim/stats.h"

#define DISPATCHERS_MAX 3
#define CALLERS_MAX 3
#define RUNTIMES_MAX 30
#define AGENTS_MAX 12 /* in one world */
#define WORKERS_MAX 4

typedef enum FaultKind {
#define X(name, text) FAULT_##name,
        FAULT_KINDS(X) _FAULT_KIND_MAX,
#undef X
} FaultKind;

typedef struct ScenarioAgent {
        char id[16];
        const char *type; /* echo, counter, delay */
        uint64_t mailbox_capacity;
        unsigned priority;
        const char *overflow;
        uint64_t delay_ms;
        uint64_t quantum;
} ScenarioAgent;

typedef struct ScenarioRuntime {
        uint32_t agents; /* bitmap of Scenario.agents */
        uint64_t max_in_flight;
        unsigned n_workers;
        const char *labels;
        bool many_agents; /* so many that its registration comes in parts */
} ScenarioRuntime;

typedef struct Scenario {
        uint64_t load_usec;   /* for how long triggers come */
        uint64_t faults_usec; /* when the last fault ends */
        uint64_t end_usec;    /* when everything must be quiet */

        uint32_t n_dispatchers, n_callers, n_runtimes, n_agents;
        ScenarioAgent agents[AGENTS_MAX];
        ScenarioRuntime runtimes[RUNTIMES_MAX];

        /* runtimes */
        uint64_t heartbeat_interval_ms, report_delay_usec, memory_executions;
        unsigned events;
        uint64_t work_usec_max; /* how long a behaviour holds its worker, at most */
        unsigned work_long_per_mille;
        bool run_inline; /* quick behaviours run on the loop's thread, as the edge does by default */

        /* dispatchers */
        uint64_t queue_limit, queue_bytes_limit, max_message_bytes, max_attempts;
        uint64_t default_deadline_ms, check_usec, rehost_wait_usec, settle_usec, probe_timeout_usec, history_max;
        uint64_t heartbeats_per_second_max, reconnect_grace_usec;
        double suspect_after, dead_after;

        /* the network */
        uint64_t max_payload, delay_usec;
        bool jetstream;

        /* load */
        uint64_t n_triggers, deadline_ms_min, deadline_ms_max;
        unsigned ask_again_per_mille, never_per_mille, always_per_mille, unknown_agent_per_mille;

        unsigned n_faults;
        unsigned fault_weights[_FAULT_KIND_MAX]; /* 0: this kind does not occur */
        bool check_each_turn;
} Scenario;

void scenario_draw(Scenario *scenario, uint64_t seed);

/* One detection window: how long a runtime is silent before it can be declared dead, probe included. */
uint64_t scenario_window_usec(const Scenario *scenario);
