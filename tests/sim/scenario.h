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
#define APPS_MAX 6 /* agents that topics and the control API are about */

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

typedef enum AppKind {
        APP_PROBE,  /* on workers */
        APP_QUICK,  /* on the loop's thread, if the seed says so */
        APP_REMOTE, /* with the host of child processes */
        _APP_KIND_MAX,
} AppKind;

typedef struct ScenarioApp {
        char id[16];
        AppKind kind;
        uint64_t mailbox_capacity, quantum, max_concurrency, checkpoint_interval_ms;
        unsigned priority;
        const char *overflow, *on_restore_error;
        uint32_t topics, queued; /* bitmaps of configured patterns, and which of them in a queue group */
        unsigned qos;            /* of all of them */
        unsigned defer_per_mille, error_per_mille, pending_per_mille, crash_per_mille, wish_per_mille;
        uint64_t restart_max, restart_window_ms, restart_backoff_ms;
        bool is_durable;
} ScenarioApp;

typedef struct ScenarioApps {
        bool is_on; /* in a share of the seeds */
        uint32_t n_agents;
        ScenarioApp agents[APPS_MAX];
        uint32_t hosted[RUNTIMES_MAX]; /* bitmaps: what each runtime has from its start */
        uint64_t n_bursts, n_requests;
        uint64_t realtime_max_age_usec;
        bool has_store;
        uint64_t store_usec_max, call_usec_max;
        unsigned save_fails_per_mille, load_fails_per_mille;
} ScenarioApps;

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

        ScenarioApps apps;

        unsigned n_faults;
        unsigned fault_weights[_FAULT_KIND_MAX]; /* 0: this kind does not occur */
        bool check_each_turn;
} Scenario;

void scenario_draw(Scenario *scenario, uint64_t seed);

/* One detection window: how long a runtime is silent before it can be declared dead, probe included. */
uint64_t scenario_window_usec(const Scenario *scenario);
