/* SPDX-License-Identifier: MIT */

/*
 * What the dispatcher tells Prometheus. Names follow https://prometheus.io/docs/practices/naming/.
 */

#include <stdio.h>

#include "common/metrics.h"
#include "dispatcherd/state.h"

static void sample_label(Buffer *buffer, const char *name, const char *label, const char *value, uint64_t number) {
        char labels[160];

        (void)snprintf(labels, sizeof(labels), "%s=\"%s\"", label, value);
        metrics_sample(buffer, name, labels, number);
}

static void registry_metrics(const Dispatcher *d, Buffer *buffer) {
        metrics_gauge(buffer, "compozy_dispatcher_runtimes", "Agent runtimes in the registry, by state");
        for (RuntimeState state = RUNTIME_JOINING; state < RUNTIME_GONE; state++)
                sample_label(buffer, "compozy_dispatcher_runtimes", "state", runtime_state_name(state),
                        registry_n_in_state(d->registry, state));
        metrics_gauge_value(buffer, "compozy_dispatcher_agents", "Different agent ids in the registry",
                registry_n_agents(d->registry));
        metrics_gauge_value(
                buffer, "compozy_dispatcher_runtimes_limit", "limits.max_runtimes", d->options.max_runtimes);
        metrics_gauge_value(buffer, "compozy_dispatcher_mass_silence", "1 while many runtimes are silent together",
                d->mass_silence);
        metrics_counter(
                buffer, "compozy_dispatcher_runtimes_removed_total", "Runtimes that left the registry, by reason");
        for (DeregisterReason reason = DEREGISTER_SHUTDOWN; reason < _DEREGISTER_REASON_MAX; reason++)
                sample_label(buffer, "compozy_dispatcher_runtimes_removed_total", "reason",
                        deregister_reason_names[reason], d->n.removed[reason]);
}

static void outcome_metrics(const Dispatcher *d, Buffer *buffer) {
        metrics_counter(buffer, "compozy_dispatcher_outcomes_total", "Triggers that ended, by status");
        for (ResultStatus status = STATUS_SUCCESS; status < _RESULT_STATUS_MAX; status++)
                sample_label(buffer, "compozy_dispatcher_outcomes_total", "status", result_status_names[status],
                        d->n.by_status[status]);
        metrics_counter(buffer, "compozy_dispatcher_errors_total", "Triggers that ended with an error, by code");
        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                if (d->n.by_code[code] > 0)
                        sample_label(buffer, "compozy_dispatcher_errors_total", "code", error_code_name(code),
                                d->n.by_code[code]);
}

void dispatcher_metrics(const Dispatcher *d, Buffer *buffer) {
        const JetStreamStatus js = jetstream_status(d->jetstream);
        const struct {
                const char *name, *help;
                uint64_t value;
        } counters[] = {
                { "compozy_dispatcher_triggers_total", "Triggers that arrived", d->n.triggers },
                { "compozy_dispatcher_invalid_messages_total", "Messages refused because of their content",
                        d->n.invalid },
                { "compozy_dispatcher_duplicates_total", "Triggers whose agent.exec_id was known", d->n.duplicates },
                { "compozy_dispatcher_overloaded_total", "Triggers refused because a queue was full", d->n.overloaded },
                { "compozy_dispatcher_created_total", "Agents created by create_agent", d->n.created },
                { "compozy_dispatcher_creations_failed_total",
                        "Requests of create_agent that runtimes had no success with", d->n.creations_failed },
                { "compozy_dispatcher_relayed_total", "Triggers given to a runtime, each attempt counted",
                        d->n.relayed },
                { "compozy_dispatcher_checks_total", "Relays sent again because nothing was heard of them",
                        d->n.checked },
                { "compozy_dispatcher_placed_again_total", "Attempts after the first", d->n.placed_again },
                { "compozy_dispatcher_unheard_total", "Relays that nobody listened to", d->n.unheard },
                { "compozy_dispatcher_refusals_total", "Relays that a runtime refused", d->n.refused },
                { "compozy_dispatcher_lost_total", "Executions whose runtime went away", d->n.lost },
                { "compozy_dispatcher_expired_total", "Triggers that met their deadline", d->n.expired },
                { "compozy_dispatcher_stale_reports_total", "Reports of superseded attempts or epochs",
                        d->n.stale_reports },
                { "compozy_dispatcher_stale_messages_total", "Registration messages of old epochs",
                        d->n.stale_messages },
                { "compozy_dispatcher_reports_total", "Report messages received", d->n.reports },
                { "compozy_dispatcher_heartbeats_total", "Heartbeats received", d->n.heartbeats },
                { "compozy_dispatcher_registrations_total", "Registrations (or parts) taken", d->n.registrations },
                { "compozy_dispatcher_registrations_refused_total", "Registrations refused",
                        d->n.registrations_refused },
                { "compozy_dispatcher_announces_asked_total", "Runtimes asked to announce themselves",
                        d->n.announces_asked },
                { "compozy_dispatcher_probes_total", "Probes sent to silent runtimes", d->n.probes },
                { "compozy_dispatcher_probes_failed_total", "Probes that found nobody", d->n.probes_failed },
                { "compozy_dispatcher_suspicions_total", "Times a runtime became suspect", d->n.suspicions },
                { "compozy_dispatcher_verdicts_total", "Runtimes declared dead by this dispatcher", d->n.verdicts },
                { "compozy_dispatcher_mass_silences_total", "Times many runtimes fell silent together",
                        d->n.mass_silences },
                { "compozy_dispatcher_deaf_total", "Times our own messages to ourselves did not come back",
                        d->n.deafnesses },
                { "compozy_dispatcher_stalls_total", "Times this process did not run for a while", d->n.stalls },
                { "compozy_dispatcher_outbox_lost_total", "Messages lost for want of memory", d->outbox->n_lost },
                { "compozy_dispatcher_jetstream_errors_total", "JetStream requests that failed", js.n_errors },
        };

        registry_metrics(d, buffer);
        metrics_gauge_value(buffer, "compozy_dispatcher_waiting", "Triggers waiting for a free slot",
                execution_table_n_waiting(d->executions));
        metrics_gauge_value(
                buffer, "compozy_dispatcher_waiting_limit", "dispatcher.queue_limit", d->options.queue_limit);
        metrics_gauge_value(buffer, "compozy_dispatcher_in_flight", "Triggers with a runtime",
                execution_table_n_in_flight(d->executions));
        metrics_gauge_value(buffer, "compozy_dispatcher_held_bytes", "Bytes of triggers that have not ended",
                execution_table_bytes(d->executions));
        metrics_gauge_value(buffer, "compozy_dispatcher_settled", "1 when the roll call is answered", d->settled);
        outcome_metrics(d, buffer);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                metrics_counter_value(buffer, counters[i].name, counters[i].help, counters[i].value);
        metrics_histogram(
                buffer, "compozy_dispatcher_queue_seconds", "From arrival to the first relay", &d->queue_time);
        metrics_histogram(buffer, "compozy_dispatcher_run_seconds", "From the relay to the report that it was done",
                &d->run_time);
}
