/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Settings: every key of compozy-dispatcherd's configuration, and what the core is told of them.
 */

#include "common/daemon_keys.h"
#include "dispatcherd/dispatcher.h"

typedef struct DispatcherSettings {
        DaemonSettings daemon;

        char *id;
        uint64_t queue_limit, queue_bytes;
        uint64_t default_deadline_ms, max_attempts, check_ms, rehost_wait_ms, settle_ms, drain_timeout_ms, history;
        double suspect_after, dead_after;
        uint64_t probe_timeout_ms, heartbeats_per_second_max;
        uint64_t max_runtimes, max_agents, max_message_bytes;
        unsigned events;
        bool jetstream;
        uint64_t events_max_age_hours;
} DispatcherSettings;

extern const ConfigTable dispatcher_config;

/* What the table can't check: relations between keys. Returns 0 or CONFIG_E_INVALID. */
int dispatcher_settings_check(const DispatcherSettings *settings, ConfigError *ret_error);

/* Texts are borrowed from `settings`; ids, names and the seed are the caller's to fill in. */
void dispatcher_settings_apply(const DispatcherSettings *settings, DispatcherOptions *ret);
