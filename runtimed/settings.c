/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "proto/message.h"
#include "proto/registration.h"
#include "runtimed/pool.h"
#include "runtimed/settings.h"

#define KEY(section, name, kind, field, fallback, help, ...) \
        DAEMON_KEY(section, name, kind, RuntimeSettings, field, fallback, help, ##__VA_ARGS__)

static const char *const events_names[] = { "all", "verbose", "outcomes", "none", NULL }; /* as EventsPublished */

static const ConfigKey keys[] = {
        DAEMON_KEYS(RuntimeSettings, daemon),

        KEY("runtime", "id", CONFIG_ID, id, "",
                "Name of this runtime, unique among all; empty: the host's name, so several on one host need one each",
                .at_start = true),
        KEY("runtime", "labels", CONFIG_LABELS, labels, "",
                "name=value,name=value: what triggers with labels are matched against", .at_start = true),
        KEY("runtime", "agents_dir", CONFIG_STRING, agents_dir, "",
                "Directory of agent definitions (*.json), read at the start and on reload; empty: none",
                .at_start = true),
        KEY("runtime", "plugins_dir", CONFIG_STRING, plugins_dir, "",
                "Directory of plugins (NAME.so) that definitions may name; empty: none", .at_start = true),
        KEY("runtime", "state_store", CONFIG_STRING, state_store, "none",
                "Where agents' states are kept: sqlite:PATH, or none: they last as long as the process",
                .at_start = true),
        KEY("runtime", "workers", CONFIG_U64, workers, "0", "Threads that run behaviours; 0: one per processor",
                .max = POOL_WORKERS_MAX, .at_start = true),
        KEY("runtime", "inline", CONFIG_BOOL, run_inline, "yes",
                "Run behaviours that are known to return at once on the loop's own thread: a wake-up less each way"),
        KEY("runtime", "max_in_flight", CONFIG_U64, max_in_flight, "1024",
                "Executions held at a time, waiting ones included; more are refused with OVERLOADED", .min = 1,
                .max = CAPACITY_MAX),
        KEY("runtime", "max_in_flight_bytes", CONFIG_U64, max_in_flight_bytes, "268435456",
                "Bytes they may hold together; more are refused with OVERLOADED", .min = 65536,
                .max = UINT64_C(1) << 40),
        KEY("runtime", "max_agents", CONFIG_U64, max_agents, "100000", "Agents hosted; more are refused", .min = 1,
                .max = CAPACITY_MAX),
        KEY("runtime", "heartbeat_interval_ms", CONFIG_U64, heartbeat_interval_ms, "1000",
                "Pause between heartbeats; dispatchers may ask for a longer one", .min = 10, .max = INTERVAL_MS_MAX),
        KEY("runtime", "drain_timeout_ms", CONFIG_U64, drain_timeout_ms, "30000",
                "On SIGTERM: how long executions may take to finish before they are handed back or cut short", .min = 0,
                .max = DEADLINE_MS_MAX),
        KEY("runtime", "report_delay_ms", CONFIG_REAL, report_delay_ms, "1",
                "How long reports of progress are gathered; outcomes leave with their answers", .min = 0, .max = 1000),
        KEY("runtime", "memory_executions", CONFIG_U64, memory_executions, "16384",
                "Finished executions whose repeats are answered from memory", .min = 16, .max = 10000000,
                .at_start = true),
        KEY("runtime", "memory_bytes", CONFIG_U64, memory_bytes, "16777216", "Bytes of their answers that are kept",
                .min = 65536, .max = UINT64_C(1) << 36, .at_start = true),

        KEY("limits", "max_message_bytes", CONFIG_U64, max_message_bytes, "1048576", "Larger messages are refused",
                .min = MESSAGE_BYTES_MIN, .max = 64 * 1024 * 1024),
        KEY("limits", "max_result_bytes", CONFIG_U64, max_result_bytes, "1048576",
                "An output that is larger becomes the error LIMIT_EXCEEDED; the server's max_payload is a limit as "
                "well",
                .min = 1024, .max = 64 * 1024 * 1024),
        KEY("limits", "max_mail_bytes", CONFIG_U64, max_mail_bytes, "536870912",
                "Memory that application messages may hold, in all mailboxes together; more are dropped, requests "
                "answered "
                "OVERLOADED",
                .min = 1024 * 1024, .max = UINT64_C(1) << 40),
        KEY("limits", "max_subscriptions", CONFIG_U64, max_subscriptions, "1000000",
                "Subscriptions of all agents together, reply topics apart", .min = 0, .max = 100000000),
        KEY("limits", "max_subscriptions_per_agent", CONFIG_U64, max_subscriptions_per_agent, "1024",
                "Subscriptions of one agent, its reply topic apart", .min = 0, .max = 1000000),
        KEY("limits", "max_asks", CONFIG_U64, max_asks, "65536",
                "Questions, calls of capabilities and triggers of all agents that wait for an answer", .min = 1,
                .max = 10000000),
        KEY("limits", "max_asks_per_agent", CONFIG_U64, max_asks_per_agent, "1024", "The same, of one agent", .min = 1,
                .max = 1000000),
        KEY("limits", "max_timers_per_agent", CONFIG_U64, max_timers_per_agent, "1024", "Timers of one agent", .min = 1,
                .max = 1000000),

        KEY("events", "executions", CONFIG_CHOICE, events, "all",
                "Execution events to publish: all, verbose, outcomes (completed and failed), none",
                .choices = events_names),

        KEY("topics", "allow_forbidden", CONFIG_BOOL, allow_forbidden, "no",
                "Let results, and what agents publish and subscribe to, touch reserved subjects ($..., and below "
                "nats.subject_prefix)"),
        KEY("topics", "reply_subjects", CONFIG_PATTERNS, reply_subjects, "",
                "Subjects (a.>,b) that results and answers may be sent to besides inboxes; empty: any but reserved "
                "ones",
                .at_start = true),
        KEY("topics", "realtime_max_age_ms", CONFIG_U64, realtime_max_age_ms, "1000",
                "A message of a realtime subscription that waited longer is late: dropped and counted", .min = 1,
                .max = DEADLINE_MS_MAX),

        KEY("metrics", "agents_max", CONFIG_U64, metrics_agents_max, "0",
                "Agents with metrics of their own, the first by id: each is several series; 0: none", .max = 10000),
};

const ConfigTable runtime_config = { .keys = keys, .n_keys = ELEMENTSOF(keys) };

void runtime_settings_apply(const RuntimeSettings *settings, RuntimeOptions *ret) {
        ret->subject_prefix = settings->daemon.subject_prefix;
        ret->labels = settings->labels;
        ret->heartbeat_interval_ms = settings->heartbeat_interval_ms;
        ret->max_in_flight = settings->max_in_flight;
        ret->max_in_flight_bytes = settings->max_in_flight_bytes;
        ret->max_agents = settings->max_agents;
        ret->max_message_bytes = settings->max_message_bytes;
        ret->max_result_bytes = settings->max_result_bytes;
        ret->memory_executions = settings->memory_executions;
        ret->memory_bytes = settings->memory_bytes;
        ret->report_delay_usec = (uint64_t)(settings->report_delay_ms * 1000);
        ret->events = settings->events;
        ret->allow_forbidden_topics = settings->allow_forbidden;
        ret->reply_subjects = settings->reply_subjects;
        ret->max_mail_bytes = settings->max_mail_bytes;
        ret->max_subscriptions = settings->max_subscriptions;
        ret->max_subscriptions_per_agent = settings->max_subscriptions_per_agent;
        ret->max_asks = settings->max_asks;
        ret->max_asks_per_agent = settings->max_asks_per_agent;
        ret->max_timers_per_agent = settings->max_timers_per_agent;
        ret->realtime_max_age_usec = settings->realtime_max_age_ms * USEC_PER_MSEC;
        ret->metrics_agents_max = settings->metrics_agents_max;
        ret->has_store = strcmp(settings->state_store, "none") != 0;
}

void runtime_id_from_host(const char *host, Id *ret) {
        char text[ID_MAX];
        size_t n = 0;

        for (const char *c = host; *c && *c != '.' && n < sizeof(text); c++) {
                Slice one = { c, 1 };

                text[n++] = id_is_valid(one) ? *c : '-';
        }
        *ret = n > 0 ? id_of((Slice){ text, n }) : id_of(SLICE("runtime"));
}
