/* SPDX-License-Identifier: MIT */

/*
 * The dispatcher's numbers, as Prometheus reads them and as the verb `status` tells them. What both tell has one name,
 * which stands in one table here. Names follow https://prometheus.io/docs/practices/naming/; docs/observability/
 * explains the set.
 */

#include <stdio.h>

#include "common/metrics.h"
#include "dispatcherd/state.h"
#include "proto/emit.h"

#define PREFIX "compozy_dispatcher_"

#define COUNTER(name_, member, help_) \
        { .name = name_, .help = help_, .offset = offsetof(DispatcherCounters, member) }

static const struct Counter {
        const char *name, *help; /* the metric is PREFIX <name> "_total" */
        size_t offset;
} counters[] = {
        COUNTER("triggers", triggers, "Triggers that arrived"),
        COUNTER("triggers_duplicate", duplicates, "Triggers whose agent.exec_id was known"),
        COUNTER("triggers_overloaded", overloaded, "Triggers refused because a queue was full"),
        COUNTER("triggers_expired", expired, "Triggers that met their deadline here"),
        COUNTER("attempts", relayed, "Triggers given to a runtime, each attempt counted"),
        COUNTER("retries", placed_again, "Attempts after the first"),
        COUNTER("attempt_checks", checked, "Attempts sent again because nothing was heard of them"),
        COUNTER("invalid_messages", invalid, "Messages refused because of their content"),
        COUNTER("reports", reports, "Report messages received"),
        COUNTER("stale_reports", stale_reports, "Reports of superseded attempts or epochs"),
        COUNTER("stale_registrations", stale_messages, "Registration messages of old epochs"),
        COUNTER("heartbeats", heartbeats, "Heartbeats received"),
        COUNTER("registrations", registrations, "Registrations (or parts) taken"),
        COUNTER("registrations_refused", registrations_refused, "Registrations refused"),
        COUNTER("announces_asked", announces_asked, "Runtimes asked to announce themselves"),
        COUNTER("agents_created", created, "Agents created by create_agent"),
        COUNTER("agent_creations_failed", creations_failed,
                "Requests of create_agent that runtimes had no success with"),
        COUNTER("probes", probes, "Probes sent to silent runtimes"),
        COUNTER("probes_failed", probes_failed, "Probes that found nobody"),
        COUNTER("suspicions", suspicions, "Times a runtime became suspect"),
        COUNTER("verdicts", verdicts, "Runtimes declared dead by this dispatcher"),
        COUNTER("mass_silences", mass_silences, "Times many runtimes fell silent together"),
        COUNTER("deafnesses", deafnesses, "Times our own messages to ourselves did not come back"),
        COUNTER("stalls", stalls, "Times this process did not run for a while"),
};

static uint64_t counter_value(const Dispatcher *d, const struct Counter *counter) {
        return *(const uint64_t *)((const char *)&d->n + counter->offset);
}

/* Attempts that did not end with an answer. */
static const struct Counter attempt_failures[] = {
        COUNTER("unheard", unheard, NULL), /* nobody listened */
        COUNTER("refused", refused, NULL), /* by the runtime */
        COUNTER("lost", lost, NULL),       /* with the runtime */
};

DispatcherSlots dispatcher_slots(const Dispatcher *d) {
        DispatcherSlots ret = {};

        for (const Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime))
                if (runtime->state == RUNTIME_LIVE) {
                        ret.all += runtime->max_in_flight;
                        ret.free += runtime_free_slots(runtime);
                }
        return ret;
}

/* the last seconds */

enum {
        RECENT_DISPATCH,
        RECENT_EXECUTION,
};

static RecentSample sample(const Dispatcher *d, uint64_t now_usec) {
        RecentSample ret = {
                .usec = now_usec,
                .counters = {
                        [RECENT_TRIGGERS] = d->n.triggers,
                        [RECENT_ATTEMPTS] = d->n.relayed,
                },
                .histograms = {
                        [RECENT_DISPATCH] = d->dispatch_duration,
                        [RECENT_EXECUTION] = d->execution_duration,
                },
        };

        for (ResultStatus status = STATUS_SUCCESS; status < _RESULT_STATUS_MAX; status++) {
                ret.counters[RECENT_ENDED] += d->n.by_status[status];
                if (status != STATUS_SUCCESS)
                        ret.counters[RECENT_FAILED] += d->n.by_status[status];
        }
        return ret;
}

void dispatcher_sample(Dispatcher *d, Instant now) {
        RecentSample taken;

        if (!recent_is_due(&d->recent, now.usec))
                return;
        taken = sample(d, now.usec);
        recent_add(&d->recent, &taken);
}

DispatcherRates dispatcher_rates(const Dispatcher *d, Instant now) {
        const RecentSample latest = sample(d, now.usec), since = recent_since(&d->recent, &latest);

        return (DispatcherRates){
                .window_usec = since.usec,
                .triggers = recent_rate(&since, RECENT_TRIGGERS),
                .attempts = recent_rate(&since, RECENT_ATTEMPTS),
                .ended = recent_rate(&since, RECENT_ENDED),
                .failed = recent_rate(&since, RECENT_FAILED),
                .dispatch_duration = since.histograms[RECENT_DISPATCH],
                .execution_duration = since.histograms[RECENT_EXECUTION],
        };
}

/* for `status` */

static void emit_recent(const Dispatcher *d, Buffer *buffer, Instant now) {
        const DispatcherRates rates = dispatcher_rates(d, now);

        emit_object(buffer, "recent");
        emit_u64(buffer, "window_ms", rates.window_usec / USEC_PER_MSEC);
        emit_real(buffer, "triggers_per_s", rates.triggers);
        emit_real(buffer, "attempts_per_s", rates.attempts);
        emit_real(buffer, "ended_per_s", rates.ended);
        emit_real(buffer, "failed_per_s", rates.failed);
        histogram_emit_quantiles(buffer, "dispatch_duration_ms", &rates.dispatch_duration);
        histogram_emit_quantiles(buffer, "execution_duration_ms", &rates.execution_duration);
        emit_object_end(buffer);
}

void dispatcher_emit_numbers(const Dispatcher *d, Buffer *buffer, Instant now) {
        const DispatcherSlots slots = dispatcher_slots(d);

        emit_u64(buffer, "trigger_bytes", execution_table_bytes(d->executions));
        emit_u64(buffer, "slots", slots.all);
        emit_u64(buffer, "free_slots", slots.free);
        emit_object(buffer, "counters");
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                emit_u64(buffer, counters[i].name, counter_value(d, &counters[i]));
        emit_object_end(buffer);
        emit_object(buffer, "attempts_failed");
        for (size_t i = 0; i < ELEMENTSOF(attempt_failures); i++)
                emit_u64(buffer, attempt_failures[i].name, counter_value(d, &attempt_failures[i]));
        emit_object_end(buffer);
        emit_object(buffer, "triggers_ended");
        for (ResultStatus status = STATUS_SUCCESS; status < _RESULT_STATUS_MAX; status++)
                emit_u64(buffer, result_status_names[status], d->n.by_status[status]);
        emit_object_end(buffer);
        emit_object(buffer, "trigger_errors");
        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                if (d->n.by_code[code] > 0)
                        emit_u64(buffer, error_code_name(code), d->n.by_code[code]);
        emit_object_end(buffer);
        emit_recent(d, buffer, now);
        histogram_emit_bounds(buffer, "bucket_bounds_ms");
        histogram_emit(buffer, "dispatch_duration", &d->dispatch_duration);
        histogram_emit(buffer, "execution_duration", &d->execution_duration);
}

/* for Prometheus */

static void sample_label(Buffer *buffer, const char *name, const char *label, const char *value, uint64_t number) {
        char labels[160];

        (void)snprintf(labels, sizeof(labels), "%s=\"%s\"", label, value);
        metrics_sample(buffer, name, labels, number);
}

static void registry_metrics(const Dispatcher *d, Buffer *buffer) {
        const DispatcherSlots slots = dispatcher_slots(d);

        metrics_gauge(buffer, PREFIX "info", "Who this is; always 1");
        sample_label(buffer, PREFIX "info", "dispatcher_id", d->options.id, 1);
        metrics_gauge(buffer, PREFIX "runtimes", "Agent runtimes in the registry, by state");
        for (RuntimeState state = RUNTIME_JOINING; state < RUNTIME_GONE; state++)
                sample_label(buffer, PREFIX "runtimes", "state", runtime_state_name(state),
                        registry_n_in_state(d->registry, state));
        metrics_gauge_value(buffer, PREFIX "runtimes_limit", "limits.max_runtimes", d->options.max_runtimes);
        metrics_gauge_value(
                buffer, PREFIX "agents", "Different agent ids in the registry", registry_n_agents(d->registry));
        metrics_gauge_value(buffer, PREFIX "agents_failed", "Places where an agent has failed, as runtimes announce it",
                registry_n_failed(d->registry));
        metrics_gauge_value(buffer, PREFIX "slots", "Triggers that the live runtimes can work on at once", slots.all);
        metrics_gauge_value(buffer, PREFIX "free_slots", "Triggers that they could still take", slots.free);
        metrics_gauge_value(buffer, PREFIX "settled", "1 when the roll call is answered", d->settled);
        metrics_gauge_value(
                buffer, PREFIX "mass_silence", "1 while many runtimes are silent together", d->mass_silence);
        metrics_counter(buffer, PREFIX "runtimes_removed_total", "Runtimes that left the registry, by reason");
        for (DeregisterReason reason = DEREGISTER_SHUTDOWN; reason < _DEREGISTER_REASON_MAX; reason++)
                sample_label(buffer, PREFIX "runtimes_removed_total", "reason", deregister_reason_names[reason],
                        d->n.removed[reason]);
}

static void trigger_metrics(const Dispatcher *d, Buffer *buffer) {
        metrics_gauge_value(buffer, PREFIX "queue_depth", "Triggers waiting for a free slot",
                execution_table_n_waiting(d->executions));
        metrics_gauge_value(buffer, PREFIX "queue_limit", "dispatcher.queue_limit", d->options.queue_limit);
        metrics_gauge_value(
                buffer, PREFIX "in_flight", "Triggers with a runtime", execution_table_n_in_flight(d->executions));
        metrics_gauge_value(buffer, PREFIX "trigger_bytes", "Bytes of triggers that have not ended",
                execution_table_bytes(d->executions));
        metrics_gauge_value(
                buffer, PREFIX "trigger_bytes_limit", "dispatcher.queue_bytes_limit", d->options.queue_bytes_limit);

        metrics_counter(buffer, PREFIX "triggers_ended_total", "Triggers that ended, by status");
        for (ResultStatus status = STATUS_SUCCESS; status < _RESULT_STATUS_MAX; status++)
                sample_label(buffer, PREFIX "triggers_ended_total", "status", result_status_names[status],
                        d->n.by_status[status]);
        metrics_counter(buffer, PREFIX "trigger_errors_total", "Triggers that ended with an error, by code");
        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                sample_label(buffer, PREFIX "trigger_errors_total", "code", error_code_name(code), d->n.by_code[code]);
        metrics_counter(buffer, PREFIX "attempts_failed_total",
                "Attempts that nobody listened to, that a runtime refused, or that were lost with their runtime");
        for (size_t i = 0; i < ELEMENTSOF(attempt_failures); i++)
                sample_label(buffer, PREFIX "attempts_failed_total", "reason", attempt_failures[i].name,
                        counter_value(d, &attempt_failures[i]));
}

void dispatcher_metrics(const Dispatcher *d, Buffer *buffer) {
        const JetStreamStatus js = jetstream_status(d->jetstream);
        char name[96];

        registry_metrics(d, buffer);
        trigger_metrics(d, buffer);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
                (void)snprintf(name, sizeof(name), PREFIX "%s_total", counters[i].name);
                metrics_counter_value(buffer, name, counters[i].help, counter_value(d, &counters[i]));
        }
        metrics_counter_value(
                buffer, PREFIX "outbox_lost_messages_total", "Messages lost for want of memory", d->outbox->n_lost);
        metrics_counter_value(buffer, PREFIX "jetstream_errors_total", "JetStream requests that failed", js.n_errors);
        metrics_histogram(buffer, PREFIX "dispatch_duration_seconds",
                "From a trigger's arrival until it was given to a runtime for the first time", &d->dispatch_duration);
        metrics_histogram(buffer, PREFIX "execution_duration_seconds",
                "From giving a trigger to a runtime until its report that it was done", &d->execution_duration);
}
