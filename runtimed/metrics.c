/* SPDX-License-Identifier: MIT */

/*
 * The core's metrics: numbers that the modules keep anyway, written down when somebody asks. Only what an operator can
 * act on; agents are counted, never listed: a label for each of a hundred thousand would be the end of whoever scrapes.
 */

#include <stdio.h>

#include "runtimed/core.h"

static void write_gauges(const Runtime *runtime, Buffer *buffer) {
        const RuntimeLoad load = core_load(runtime);

        metrics_gauge_value(buffer, "compozy_runtime_registered", "1 when a dispatcher took the current registration",
                runtime_is_registered(runtime));
        metrics_gauge_value(
                buffer, "compozy_runtime_epoch", "Epoch under which the runtime is registered", runtime->session.epoch);
        metrics_gauge_value(
                buffer, "compozy_runtime_revision", "Revision of the set of agents", runtime->session.revision);
        metrics_gauge_value(buffer, "compozy_runtime_draining", "1 when no new work is taken", runtime->is_draining);
        metrics_gauge_value(buffer, "compozy_runtime_agents", "Agents hosted", load.agents);
        metrics_gauge_value(
                buffer, "compozy_runtime_in_flight", "Executions accepted and not finished", load.in_flight);
        metrics_gauge_value(buffer, "compozy_runtime_in_flight_bytes", "Memory they hold", runtime->executions.n_bytes);
        metrics_gauge_value(buffer, "compozy_runtime_queued", "Messages in mailboxes", load.queued);
        metrics_gauge_value(
                buffer, "compozy_runtime_free_slots", "Executions that can still be accepted", load.free_slots);
        metrics_gauge_value(
                buffer, "compozy_runtime_held", "Answers that wait for NATS or a dispatcher's word", runtime->n_held);
        metrics_gauge_value(buffer, "compozy_runtime_memory_executions", "Finished executions remembered",
                memory_size(runtime->memory));
        metrics_gauge_value(
                buffer, "compozy_runtime_memory_bytes", "Bytes of their answers", memory_bytes(runtime->memory));
        metrics_gauge_value(buffer, "compozy_runtime_reporters", "Dispatchers that reports go to",
                reporters_size(&runtime->reporters));
}

static void write_agents(const Runtime *runtime, Buffer *buffer) {
        uint64_t by_state[_AGENT_STATE_MAX] = {};
        uint64_t n_mail = 0, n_open = 0;
        char label[64];

        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent; agent = core_next_agent(agent)) {
                by_state[agent->state]++;
                n_mail += agent_n_queued(agent);
                n_open += agent->n_open + agent->n_deferred;
        }

        metrics_gauge(buffer, "compozy_runtime_agents_by_state", "Agents hosted, by the state of their life");
        for (unsigned i = AGENT_CREATED; i < AGENT_DELETED; i++) {
                (void)snprintf(label, sizeof(label), "state=\"%s\"", agent_state_name((AgentState)i));
                metrics_sample(buffer, "compozy_runtime_agents_by_state", label, by_state[i]);
        }
        metrics_gauge_value(buffer, "compozy_runtime_mail", "Messages of all kinds that wait in mailboxes", n_mail);
        metrics_gauge_value(buffer, "compozy_runtime_open_messages",
                "Messages that were begun and are not ended: with child processes, deferred, pending", n_open);
}

static void write_conversations(const Runtime *runtime, Buffer *buffer) {
        TopicsStats topics;

        topics_stats(runtime->topics, &topics);
        metrics_gauge_value(buffer, "compozy_runtime_subscriptions", "Subscriptions of agents, reply topics apart",
                topics.n_subscriptions);
        metrics_gauge_value(buffer, "compozy_runtime_nats_subscriptions",
                "Subscriptions on NATS that stand for them, reply topics included", topics.n_open);
        metrics_gauge_value(buffer, "compozy_runtime_asks", "Answers that agents wait for", asks_size(&runtime->asks));
        metrics_gauge_value(buffer, "compozy_runtime_letters", "Application messages held", runtime->letters.n_letters);
        metrics_gauge_value(buffer, "compozy_runtime_letter_bytes", "Memory they hold", runtime->letters.n_bytes);
        metrics_gauge_value(buffer, "compozy_runtime_store_requests", "Requests that are with the state store",
                runtime->n_stored_out);
}

static void write_counters(const Runtime *runtime, Buffer *buffer) {
        const RuntimeCounters *c = &runtime->counters;

        metrics_counter_value(buffer, "compozy_runtime_withheld_total",
                "Answers not given: their epoch was over, or nothing could go out", c->withheld);
        metrics_counter_value(
                buffer, "compozy_runtime_late_total", "Outcomes of executions that were answered already", c->late);
        metrics_counter_value(
                buffer, "compozy_runtime_memory_hits_total", "Repeats answered from memory", c->memory_hits);
        metrics_counter_value(
                buffer, "compozy_runtime_reports_total", "Reports sent to dispatchers", runtime->reporters.n_reports);
        metrics_counter_value(buffer, "compozy_runtime_report_entries_total", "Executions in those reports",
                runtime->reporters.n_entries);
        metrics_counter_value(buffer, "compozy_runtime_heartbeats_total", "Heartbeats sent", c->heartbeats);
        metrics_counter_value(buffer, "compozy_runtime_registrations_total", "Registrations sent", c->registrations);
        metrics_counter_value(buffer, "compozy_runtime_updates_total", "Updates of the set of agents sent", c->updates);
        metrics_counter_value(buffer, "compozy_runtime_epochs_total",
                "Times that this runtime was declared dead or taken out", c->epochs);
        metrics_counter_value(
                buffer, "compozy_runtime_invalid_total", "Messages that were refused as invalid", c->invalid);
        metrics_counter_value(
                buffer, "compozy_runtime_mailbox_sheds_total", "Messages that a full mailbox did not keep", c->shed);
        metrics_counter_value(buffer, "compozy_runtime_handed_back_total",
                "Executions handed back unstarted when stopping", c->handed_back);
        metrics_counter_value(
                buffer, "compozy_runtime_cut_short_total", "Executions ended by the stop's deadline", c->cut_short);
        metrics_counter_value(buffer, "compozy_runtime_outbox_lost_total", "Messages that memory had no room for",
                runtime->outbox->n_lost);
}

static void write_labelled(const Runtime *runtime, Buffer *buffer) {
        char label[96];

        metrics_counter(buffer, "compozy_runtime_executions_total", "Executions answered");
        for (unsigned i = STATUS_NONE + 1; i < _RESULT_STATUS_MAX; i++) {
                (void)snprintf(label, sizeof(label), "status=\"%s\"", result_status_names[i]);
                metrics_sample(buffer, "compozy_runtime_executions_total", label, runtime->counters.executions[i]);
        }

        metrics_counter(buffer, "compozy_runtime_refused_total", "Triggers not taken");
        for (unsigned i = ERROR_NONE + 1; i < _ERROR_CODE_MAX; i++) {
                if (runtime->counters.refused[i] == 0)
                        continue;
                (void)snprintf(label, sizeof(label), "code=\"%s\"", error_code_name((ErrorCode)i));
                metrics_sample(buffer, "compozy_runtime_refused_total", label, runtime->counters.refused[i]);
        }
}

static void write_message_counters(const Runtime *runtime, Buffer *buffer) {
        const RuntimeCounters *c = &runtime->counters;

        metrics_counter_value(buffer, "compozy_runtime_messages_delivered_total",
                "Copies of application messages put into mailboxes", c->delivered);
        metrics_counter_value(buffer, "compozy_runtime_messages_handled_total",
                "Application messages, answers and timers that behaviours have handled", c->handled);
        metrics_counter_value(buffer, "compozy_runtime_messages_expired_total",
                "Application messages whose ttl was used up", c->expired);
        metrics_counter_value(buffer, "compozy_runtime_message_errors_total",
                "Application messages that a behaviour answered with an error", c->agent_errors);
        metrics_counter_value(buffer, "compozy_runtime_effects_refused_total",
                "Wishes of behaviours that were not carried out", c->effects_refused);
        metrics_counter_value(
                buffer, "compozy_runtime_crashes_total", "Child processes of agents that were lost", c->crashes);
        metrics_counter_value(buffer, "compozy_runtime_restarts_total", "Restarts of agents after that", c->restarts);
        metrics_counter_value(
                buffer, "compozy_runtime_checkpoints_total", "States of agents saved durably", c->checkpoints);
        metrics_counter_value(buffer, "compozy_runtime_checkpoint_failures_total",
                "States of agents that could not be saved", c->checkpoint_failures);
        metrics_counter_value(buffer, "compozy_runtime_restores_total", "States of agents restored", c->restores);
        metrics_counter_value(buffer, "compozy_runtime_restore_failures_total",
                "States of agents that could not be restored as they were", c->restore_failures);
}

static void write_labelled_messages(const Runtime *runtime, Buffer *buffer) {
        char label[96];

        metrics_counter(buffer, "compozy_runtime_messages_undelivered_total",
                "Copies of application messages that no behaviour saw, by the reason");
        for (unsigned i = ERROR_NONE + 1; i < _ERROR_CODE_MAX; i++) {
                if (runtime->counters.undelivered[i] == 0)
                        continue;
                (void)snprintf(label, sizeof(label), "code=\"%s\"", error_code_name((ErrorCode)i));
                metrics_sample(
                        buffer, "compozy_runtime_messages_undelivered_total", label, runtime->counters.undelivered[i]);
        }

        metrics_counter(buffer, "compozy_runtime_effects_total", "Wishes of behaviours, by kind");
        for (unsigned i = EFFECT_NONE + 1; i < _EFFECT_KIND_MAX; i++) {
                (void)snprintf(label, sizeof(label), "kind=\"%s\"", effect_kind_names[i]);
                metrics_sample(buffer, "compozy_runtime_effects_total", label, runtime->counters.effects[i]);
        }
}

void runtime_metrics(const Runtime *runtime, Buffer *buffer) {
        write_gauges(runtime, buffer);
        write_agents(runtime, buffer);
        write_conversations(runtime, buffer);
        write_counters(runtime, buffer);
        write_message_counters(runtime, buffer);
        write_labelled(runtime, buffer);
        write_labelled_messages(runtime, buffer);
        metrics_histogram(buffer, "compozy_runtime_execution_seconds", "From acceptance to the answer",
                &runtime->execution_seconds);
        metrics_histogram(buffer, "compozy_runtime_checkpoint_seconds",
                "From the hook's call until the state is durable", &runtime->checkpoint_seconds);
        metrics_histogram(
                buffer, "compozy_runtime_queue_seconds", "From acceptance to the behaviour", &runtime->queue_seconds);
}
