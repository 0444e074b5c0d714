/* SPDX-License-Identifier: MIT */

#include <stdio.h>

#include "common/instant.h"
#include "dispatcherd/settings.h"
#include "proto/message.h"

#define KEY(section, name, kind, field, fallback, help, ...) \
        DAEMON_KEY(section, name, kind, DispatcherSettings, field, fallback, help, ##__VA_ARGS__)

static const char *const events_names[] = { "all", "verbose", "outcomes", "none", NULL };

static const ConfigKey keys[] = {
        DAEMON_KEYS(DispatcherSettings, daemon),

        KEY("dispatcher", "id", CONFIG_ID, id, "",
                "Name of this dispatcher among those that run side by side; empty: made from the host name and the "
                "process id",
                .at_start = true),
        KEY("dispatcher", "queue_limit", CONFIG_U64, queue_limit, "10000",
                "Triggers that may wait for a free slot; more are refused with OVERLOADED", .min = 0, .max = 10000000),
        KEY("dispatcher", "queue_bytes", CONFIG_U64, queue_bytes, "268435456",
                "Bytes that triggers may hold until they end; more are refused with OVERLOADED", .min = 65536,
                .max = UINT64_C(1) << 40),
        KEY("dispatcher", "default_deadline_ms", CONFIG_U64, default_deadline_ms, STRINGIFY(DEADLINE_MS_DEFAULT),
                "Deadline of a trigger that names none", .min = 1, .max = DEADLINE_MS_MAX),
        KEY("dispatcher", "max_attempts", CONFIG_U64, max_attempts, "5",
                "Runtimes that may get a trigger one after the other, where its retry policy allows another", .min = 1,
                .max = 100),
        KEY("dispatcher", "check_ms", CONFIG_U64, check_ms, "1000",
                "A relay that nobody reported on for so long is sent again, as a question", .min = 10, .max = 60000),
        KEY("dispatcher", "rehost_wait_ms", CONFIG_U64, rehost_wait_ms, "5000",
                "How long a trigger waits for an agent whose last runtime has just gone", .min = 0,
                .max = DEADLINE_MS_MAX),
        KEY("dispatcher", "settle_ms", CONFIG_U64, settle_ms, "750",
                "After the roll call, until an unknown agent is taken for unknown", .min = 10, .max = 60000),
        KEY("dispatcher", "drain_timeout_ms", CONFIG_U64, drain_timeout_ms, "5000",
                "On SIGTERM: how long waiting triggers may still find a runtime", .min = 0, .max = 600000),
        KEY("dispatcher", "history", CONFIG_U64, history, "1024", "Ended executions that explain still knows",
                .min = 16, .max = 1000000, .at_start = true),

        KEY("liveness", "suspect_after", CONFIG_REAL, suspect_after, "2",
                "Heartbeat intervals of silence until a runtime is suspect", .min = 1, .max = 1000),
        KEY("liveness", "dead_after", CONFIG_REAL, dead_after, "5",
                "Heartbeat intervals of silence until a probe decides about a runtime", .min = 1, .max = 1000),
        KEY("liveness", "probe_timeout_ms", CONFIG_U64, probe_timeout_ms, "1000",
                "How long a runtime may take to answer a probe", .min = 10, .max = 60000),
        KEY("liveness", "heartbeats_per_second_max", CONFIG_U64, heartbeats_per_second_max, "1000",
                "In a large fleet runtimes are asked to beat more rarely, so that all together stay below this",
                .min = 1, .max = 1000000),

        KEY("limits", "max_runtimes", CONFIG_U64, max_runtimes, "20000", "Runtimes in the registry; more are refused",
                .min = 1, .max = 1000000),
        KEY("limits", "max_agents", CONFIG_U64, max_agents, "2000000",
                "Agents of all runtimes together; more are refused", .min = 1, .max = 100000000),
        KEY("limits", "max_message_bytes", CONFIG_U64, max_message_bytes, "1048576", "Larger messages are refused",
                .min = MESSAGE_BYTES_MIN, .max = 64 * 1024 * 1024),

        KEY("events", "executions", CONFIG_CHOICE, events, "all",
                "Execution events to publish: all (but dispatched), verbose, outcomes, none", .choices = events_names),

        KEY("jetstream", "enabled", CONFIG_BOOL, jetstream, "yes",
                "Keep the stream COMPOZY_EVENTS and the bucket compozy_runtimes, when the server has JetStream",
                .at_start = true),
        KEY("jetstream", "events_max_age_hours", CONFIG_U64, events_max_age_hours, "168",
                "Age at which the stream forgets events, when this dispatcher creates it", .min = 1, .max = 87600,
                .at_start = true),
};

const ConfigTable dispatcher_config = { .keys = keys, .n_keys = ELEMENTSOF(keys) };

int dispatcher_settings_check(const DispatcherSettings *settings, ConfigError *ret_error) {
        if (settings->dead_after <= settings->suspect_after) {
                (void)snprintf(ret_error->text, sizeof(ret_error->text),
                        "liveness.dead_after is %g, it must be more than liveness.suspect_after, which is %g",
                        settings->dead_after, settings->suspect_after);
                return CONFIG_E_INVALID;
        }
        return 0;
}

void dispatcher_settings_apply(const DispatcherSettings *settings, DispatcherOptions *ret) {
        ret->subject_prefix = settings->daemon.subject_prefix;
        ret->queue_limit = settings->queue_limit;
        ret->queue_bytes_limit = settings->queue_bytes;
        ret->max_message_bytes = settings->max_message_bytes;
        ret->max_runtimes = settings->max_runtimes;
        ret->max_agents = settings->max_agents;
        ret->suspect_after = settings->suspect_after;
        ret->dead_after = settings->dead_after;
        ret->probe_timeout_usec = settings->probe_timeout_ms * USEC_PER_MSEC;
        ret->heartbeats_per_second_max = settings->heartbeats_per_second_max;
        ret->default_deadline_ms = settings->default_deadline_ms;
        ret->max_attempts = settings->max_attempts;
        ret->check_usec = settings->check_ms * USEC_PER_MSEC;
        ret->rehost_wait_usec = settings->rehost_wait_ms * USEC_PER_MSEC;
        ret->settle_usec = settings->settle_ms * USEC_PER_MSEC;
        ret->events = settings->events;
        ret->jetstream = settings->jetstream;
        ret->events_max_age_usec = settings->events_max_age_hours * 3600 * USEC_PER_SEC;
        ret->history_max = settings->history;
}
