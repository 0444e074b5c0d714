/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Settings: every key of compozy-runtimed's configuration, and what the core is told of them.
 */

#include "common/daemon_keys.h"
#include "proto/id.h"
#include "runtimed/runtime.h"

typedef struct RuntimeSettings {
        DaemonSettings daemon;

        char *id, *labels, *agents_dir, *plugins_dir, *state_store;
        uint64_t heartbeat_interval_ms;
        uint64_t max_in_flight, max_in_flight_bytes, max_agents;
        uint64_t workers;
        uint64_t drain_timeout_ms;
        double report_delay_ms;
        uint64_t memory_executions, memory_bytes;
        uint64_t max_message_bytes, max_result_bytes;
        unsigned events;
        uint64_t max_mail_bytes, max_subscriptions, max_subscriptions_per_agent;
        uint64_t max_asks, max_asks_per_agent, max_timers_per_agent;
        uint64_t realtime_max_age_ms;
        bool allow_forbidden, run_inline;
        char *reply_subjects;
        uint64_t metrics_agents_max;
} RuntimeSettings;

extern const ConfigTable runtime_config;

/* Texts are borrowed from `settings`; ids, names, epoch and seed are the caller's to fill in. */
void runtime_settings_apply(const RuntimeSettings *settings, RuntimeOptions *ret);

/* `host` made to fit the grammar of ids: up to its first dot, anything else that doesn't fit becomes "-". */
void runtime_id_from_host(const char *host, Id *ret);
