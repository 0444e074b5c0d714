/* SPDX-License-Identifier: MIT */

/*
 * The core's numbers, as Prometheus reads them and as the verb `status` tells them: numbers that the modules keep
 * anyway, written down when somebody asks. What both tell has one name, which stands in one table here; names follow
 * https://prometheus.io/docs/practices/naming/, and docs/observability/ explains the set.
 */

#include <stdio.h>

#include "common/metrics.h"
#include "proto/emit.h"
#include "runtimed/core.h"

#define PREFIX "compozy_runtime_"

#define COUNTER(name_, member, help_) \
        { .name = name_, .help = help_, .offset = offsetof(Runtime, member) }

static const struct Counter {
        const char *name, *help; /* the metric is PREFIX <name> "_total" */
        size_t offset;
} counters[] = {
        COUNTER("executions_late", counters.late, "Outcomes of executions that were answered already"),
        COUNTER("executions_handed_back", counters.handed_back, "Executions handed back unstarted when stopping"),
        COUNTER("executions_cut_short", counters.cut_short, "Executions ended by the stop's deadline"),
        COUNTER("answers_withheld", counters.withheld,
                "Answers not given: their epoch was over, or nothing could go out"),
        COUNTER("answers_repeated", counters.memory_hits, "Repeated triggers answered from memory"),
        COUNTER("messages_delivered", counters.delivered, "Copies of application messages put into mailboxes"),
        COUNTER("messages_handled", counters.handled,
                "Application messages, answers and timers that behaviours have handled"),
        COUNTER("messages_failed", counters.agent_errors,
                "Application messages that a behaviour answered with an error"),
        COUNTER("messages_expired", counters.expired, "Application messages whose ttl was used up"),
        COUNTER("mailbox_sheds", counters.shed, "Messages that a full mailbox did not keep"),
        COUNTER("effects_refused", counters.effects_refused, "Wishes of behaviours that were not carried out"),
        COUNTER("agent_crashes", counters.crashes, "Child processes of agents that were lost"),
        COUNTER("agent_restarts", counters.restarts, "Restarts of agents after that"),
        COUNTER("checkpoints", counters.checkpoints, "States of agents saved durably"),
        COUNTER("checkpoint_failures", counters.checkpoint_failures, "States of agents that could not be saved"),
        COUNTER("restores", counters.restores, "States of agents restored"),
        COUNTER("restore_failures", counters.restore_failures,
                "States of agents that could not be restored as they were"),
        COUNTER("invalid_messages", counters.invalid, "Messages that were refused as invalid"),
        COUNTER("heartbeats", counters.heartbeats, "Heartbeats sent"),
        COUNTER("registrations", counters.registrations, "Registrations sent"),
        COUNTER("updates", counters.updates, "Updates of the set of agents sent"),
        COUNTER("epochs", counters.epochs, "Times that this runtime was declared dead or taken out"),
        COUNTER("reports", reporters.n_reports, "Reports sent to dispatchers"),
        COUNTER("report_entries", reporters.n_entries, "Executions in those reports"),
};

static uint64_t counter_value(const Runtime *runtime, const struct Counter *counter) {
        return *(const uint64_t *)((const char *)runtime + counter->offset);
}

Census core_census(const Runtime *runtime) {
        Census ret = {};

        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent; agent = core_next_agent(agent)) {
                const uint64_t n = agent_n_queued(agent);

                ret.by_state[agent->state]++;
                ret.n_mail += n;
                ret.n_deepest = MAX_OF(ret.n_deepest, n);
                ret.n_full += n > 0 && n >= agent->definition->mailbox.capacity;
                ret.n_open += agent->n_open + agent->n_deferred;
        }
        return ret;
}

static uint64_t rank(const Agent *agent, AgentOrder order) {
        switch (order) {
        case ORDER_ATTENTION:
                return agent->state == AGENT_FAILED ? UINT64_MAX : agent_n_queued(agent);
        case ORDER_QUEUED:
                return agent_n_queued(agent);
        case ORDER_HANDLED:
                return agent->n_handled;
        case ORDER_FAILED:
                return agent->n_failed;
        case ORDER_NONE:
        case ORDER_ID:
        case _ORDER_MAX:
                break;
        }
        return 0;
}

size_t core_first_agents(const Runtime *runtime, AgentOrder order, Agent **ret, size_t n_max) {
        size_t n = 0;

        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent; agent = core_next_agent(agent)) {
                const uint64_t mine = rank(agent, order);
                size_t place;

                if (n == n_max && (n == 0 || rank(ret[n - 1], order) >= mine)) {
                        if (order <= ORDER_ID || n == 0)
                                break;
                        continue; /* the usual case */
                }
                n = MIN_OF(n + 1, n_max);
                for (place = n - 1; place > 0 && rank(ret[place - 1], order) < mine; place--)
                        ret[place] = ret[place - 1];
                ret[place] = agent;
        }
        return n;
}

/* the last seconds */

enum {
        RECENT_QUEUE,
        RECENT_EXECUTION,
};

static RecentSample sample(const Runtime *runtime, uint64_t now_usec) {
        RecentSample ret = {
                .usec = now_usec,
                .counters = {
                        [RECENT_MESSAGES] = runtime->counters.handled,
                        [RECENT_SHEDS] = runtime->counters.shed,
                        [RECENT_CHECKPOINTS] = runtime->counters.checkpoints,
                },
                .histograms = {
                        [RECENT_QUEUE] = runtime->queue_duration,
                        [RECENT_EXECUTION] = runtime->execution_duration,
                },
        };

        for (unsigned i = STATUS_SUCCESS; i < _RESULT_STATUS_MAX; i++) {
                ret.counters[RECENT_EXECUTIONS] += runtime->counters.executions[i];
                if (i != STATUS_SUCCESS)
                        ret.counters[RECENT_FAILED] += runtime->counters.executions[i];
        }
        return ret;
}

void core_sample(Runtime *runtime, Instant now) {
        RecentSample taken;

        if (!recent_is_due(&runtime->recent, now.usec))
                return;
        taken = sample(runtime, now.usec);
        recent_add(&runtime->recent, &taken);
}

RuntimeRates core_rates(const Runtime *runtime, Instant now) {
        const RecentSample latest = sample(runtime, now.usec), since = recent_since(&runtime->recent, &latest);

        return (RuntimeRates){
                .window_usec = since.usec,
                .executions = recent_rate(&since, RECENT_EXECUTIONS),
                .failed = recent_rate(&since, RECENT_FAILED),
                .messages = recent_rate(&since, RECENT_MESSAGES),
                .sheds = recent_rate(&since, RECENT_SHEDS),
                .checkpoints = recent_rate(&since, RECENT_CHECKPOINTS),
                .queue_duration = since.histograms[RECENT_QUEUE],
                .execution_duration = since.histograms[RECENT_EXECUTION],
        };
}

/* for `status` */

static void emit_by_code(Buffer *out, const char *key, const uint64_t *by_code) {
        emit_object(out, key);
        for (unsigned i = ERROR_NONE + 1; i < _ERROR_CODE_MAX; i++)
                if (by_code[i] > 0)
                        emit_u64(out, error_code_name((ErrorCode)i), by_code[i]);
        emit_object_end(out);
}

static void emit_recent(const Runtime *runtime, Buffer *out, Instant now) {
        const RuntimeRates rates = core_rates(runtime, now);

        emit_object(out, "recent");
        emit_u64(out, "window_ms", rates.window_usec / USEC_PER_MSEC);
        emit_real(out, "executions_per_s", rates.executions);
        emit_real(out, "failed_per_s", rates.failed);
        emit_real(out, "messages_per_s", rates.messages);
        emit_real(out, "sheds_per_s", rates.sheds);
        emit_real(out, "checkpoints_per_s", rates.checkpoints);
        histogram_emit_quantiles(out, "queue_duration_ms", &rates.queue_duration);
        histogram_emit_quantiles(out, "execution_duration_ms", &rates.execution_duration);
        emit_object_end(out);
}

void core_emit_numbers(const Runtime *runtime, Buffer *out, Instant now) {
        const Census census = core_census(runtime);
        TopicsStats topics;

        topics_stats(runtime->topics, &topics);
        emit_object(out, "agents_by_state");
        for (unsigned i = AGENT_CREATED; i < AGENT_DELETED; i++)
                emit_u64(out, agent_state_name((AgentState)i), census.by_state[i]);
        emit_object_end(out);
        emit_u64(out, "slots", runtime->options.max_in_flight);
        emit_u64(out, "mailbox_depth", census.n_mail);
        emit_u64(out, "mailbox_depth_max", census.n_deepest);
        emit_u64(out, "mailboxes_full", census.n_full);
        emit_u64(out, "open_messages", census.n_open);
        emit_u64(out, "in_flight_bytes", runtime->executions.n_bytes);
        emit_u64(out, "held_answers", runtime->n_held);
        emit_u64(out, "held_messages", runtime->letters.n_letters);
        emit_u64(out, "held_message_bytes", runtime->letters.n_bytes);
        emit_u64(out, "subscriptions", topics.n_subscriptions);
        emit_u64(out, "subscriptions_refused", topics.n_refused);
        emit_object(out, "counters");
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                emit_u64(out, counters[i].name, counter_value(runtime, &counters[i]));
        emit_object_end(out);
        emit_object(out, "executions");
        for (unsigned i = STATUS_SUCCESS; i < _RESULT_STATUS_MAX; i++)
                emit_u64(out, result_status_names[i], runtime->counters.executions[i]);
        emit_object_end(out);
        emit_by_code(out, "triggers_refused", runtime->counters.refused);
        emit_by_code(out, "messages_undelivered", runtime->counters.undelivered);
        emit_recent(runtime, out, now);
        histogram_emit_bounds(out, "bucket_bounds_ms");
        histogram_emit(out, "queue_duration", &runtime->queue_duration);
        histogram_emit(out, "execution_duration", &runtime->execution_duration);
        histogram_emit(out, "checkpoint_duration", &runtime->checkpoint_duration);
}

/* for Prometheus */

static void sample_label(Buffer *buffer, const char *name, const char *label, const char *value, uint64_t number) {
        char labels[160];

        (void)snprintf(labels, sizeof(labels), "%s=\"%s\"", label, value);
        metrics_sample(buffer, name, labels, number);
}

/* Of each agent, for whoever asked for it with metrics.agents_max: the first so many by id, so that the set of series
 * is the same from one scrape to the next. */

static uint64_t agent_depth(const Agent *agent) {
        return agent_n_queued(agent);
}

static uint64_t agent_handled(const Agent *agent) {
        return agent->n_handled;
}

static uint64_t agent_failed(const Agent *agent) {
        return agent->n_failed;
}

static uint64_t agent_sheds(const Agent *agent) {
        return agent->n_shed;
}

static void write_each_agent(const Runtime *runtime, Buffer *buffer) {
        static const struct {
                const char *name, *help;
                void (*family)(Buffer *buffer, const char *name, const char *help);
                uint64_t (*value)(const Agent *agent);
        } families[] = {
                { PREFIX "agent_mailbox_depth", "Messages that wait in the agent's mailbox", metrics_gauge,
                        agent_depth },
                { PREFIX "agent_handled_total", "Messages and triggers that the agent has handled", metrics_counter,
                        agent_handled },
                { PREFIX "agent_failed_total", "Of those, the ones that it ended with an error", metrics_counter,
                        agent_failed },
                { PREFIX "agent_sheds_total", "Messages that its full mailbox did not keep", metrics_counter,
                        agent_sheds },
        };
        const uint64_t most = runtime->options.metrics_agents_max, n = core_n_agents(runtime);

        metrics_gauge_value(buffer, PREFIX "agents_unlisted",
                "Agents without metrics of their own, for metrics.agents_max", n > most ? n - most : 0);
        for (size_t i = 0; most > 0 && i < ELEMENTSOF(families); i++) {
                Agent *agent = core_agent_after(runtime, SLICE_NONE);

                families[i].family(buffer, families[i].name, families[i].help);
                for (uint64_t j = 0; agent && j < most; j++, agent = core_next_agent(agent))
                        sample_label(buffer, families[i].name, "agent_id", agent->id.text, families[i].value(agent));
        }
}

static void write_registration(const Runtime *runtime, Buffer *buffer) {
        metrics_gauge(buffer, PREFIX "info", "Who this is; always 1");
        sample_label(buffer, PREFIX "info", "runtime_id", runtime->options.id, 1);
        metrics_gauge_value(buffer, PREFIX "registered", "1 when a dispatcher took the current registration",
                runtime_is_registered(runtime));
        metrics_gauge_value(
                buffer, PREFIX "epoch", "Epoch under which the runtime is registered", runtime->session.epoch);
        metrics_gauge_value(buffer, PREFIX "revision", "Revision of the set of agents", runtime->session.revision);
        metrics_gauge_value(buffer, PREFIX "draining", "1 when no new work is taken", runtime->is_draining);
        metrics_gauge_value(
                buffer, PREFIX "reporters", "Dispatchers that reports go to", reporters_size(&runtime->reporters));
}

static void write_load(const Runtime *runtime, Buffer *buffer) {
        const RuntimeLoad load = core_load(runtime);

        metrics_gauge_value(buffer, PREFIX "slots", "runtime.max_in_flight", runtime->options.max_in_flight);
        metrics_gauge_value(buffer, PREFIX "free_slots", "Executions that can still be accepted", load.free_slots);
        metrics_gauge_value(buffer, PREFIX "in_flight", "Executions accepted and not finished", load.in_flight);
        metrics_gauge_value(buffer, PREFIX "in_flight_bytes", "Memory they hold", runtime->executions.n_bytes);
        metrics_gauge_value(buffer, PREFIX "queue_depth", "Executions accepted and not begun", load.queued);
        metrics_gauge_value(buffer, PREFIX "runs",
                "Turns of agents that are with workers or wait for one: with more than workers all are busy",
                runtime->n_out);
        metrics_gauge_value(
                buffer, PREFIX "held_answers", "Answers that wait for NATS or a dispatcher's word", runtime->n_held);
        metrics_gauge_value(
                buffer, PREFIX "remembered_executions", "Finished executions remembered", memory_size(runtime->memory));
        metrics_gauge_value(buffer, PREFIX "remembered_bytes", "Bytes of their answers", memory_bytes(runtime->memory));
}

static void write_agents(const Runtime *runtime, Buffer *buffer) {
        const Census census = core_census(runtime);

        metrics_gauge(buffer, PREFIX "agents", "Agents hosted, by the state of their life");
        for (unsigned i = AGENT_CREATED; i < AGENT_DELETED; i++)
                sample_label(buffer, PREFIX "agents", "state", agent_state_name((AgentState)i), census.by_state[i]);
        metrics_gauge_value(buffer, PREFIX "agents_limit", "runtime.max_agents", runtime->options.max_agents);
        metrics_gauge_value(buffer, PREFIX "mailbox_depth", "Messages that wait in mailboxes", census.n_mail);
        metrics_gauge_value(buffer, PREFIX "mailbox_depth_max", "Messages in the fullest mailbox", census.n_deepest);
        metrics_gauge_value(
                buffer, PREFIX "mailboxes_full", "Agents whose mailbox holds mailbox_capacity messages", census.n_full);
        metrics_gauge_value(buffer, PREFIX "open_messages",
                "Messages that were begun and are not ended: with child processes, deferred, pending", census.n_open);
}

static void write_conversations(const Runtime *runtime, Buffer *buffer) {
        TopicsStats topics;

        topics_stats(runtime->topics, &topics);
        metrics_gauge_value(
                buffer, PREFIX "subscriptions", "Subscriptions of agents, reply topics apart", topics.n_subscriptions);
        metrics_gauge_value(buffer, PREFIX "nats_subscriptions",
                "Subscriptions on NATS that stand for them, reply topics included", topics.n_open);
        metrics_gauge_value(buffer, PREFIX "nats_subscriptions_refused",
                "Those of them that the NATS server's permissions forbid", topics.n_refused);
        metrics_gauge_value(buffer, PREFIX "pending_asks", "Answers that agents wait for", asks_size(&runtime->asks));
        metrics_gauge_value(buffer, PREFIX "held_messages", "Application messages held", runtime->letters.n_letters);
        metrics_gauge_value(buffer, PREFIX "held_message_bytes", "Memory they hold", runtime->letters.n_bytes);
        metrics_gauge_value(buffer, PREFIX "pending_store_requests", "Requests that are with the state store",
                runtime->n_stored_out);
}

static void write_by_code(Buffer *buffer, const char *name, const char *help, const uint64_t *by_code) {
        metrics_counter(buffer, name, help);
        for (unsigned i = ERROR_NONE + 1; i < _ERROR_CODE_MAX; i++)
                sample_label(buffer, name, "code", error_code_name((ErrorCode)i), by_code[i]);
}

static void write_counters(const Runtime *runtime, Buffer *buffer) {
        char name[96];

        metrics_counter(buffer, PREFIX "executions_total", "Executions answered, by status");
        for (unsigned i = STATUS_SUCCESS; i < _RESULT_STATUS_MAX; i++)
                sample_label(buffer, PREFIX "executions_total", "status", result_status_names[i],
                        runtime->counters.executions[i]);
        write_by_code(
                buffer, PREFIX "triggers_refused_total", "Triggers not taken, by code", runtime->counters.refused);
        write_by_code(buffer, PREFIX "messages_undelivered_total",
                "Copies of application messages that no behaviour saw, by code", runtime->counters.undelivered);
        metrics_counter(buffer, PREFIX "effects_total", "Wishes of behaviours, by kind");
        for (unsigned i = EFFECT_NONE + 1; i < _EFFECT_KIND_MAX; i++)
                sample_label(
                        buffer, PREFIX "effects_total", "kind", effect_kind_names[i], runtime->counters.effects[i]);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
                (void)snprintf(name, sizeof(name), PREFIX "%s_total", counters[i].name);
                metrics_counter_value(buffer, name, counters[i].help, counter_value(runtime, &counters[i]));
        }
        metrics_counter_value(buffer, PREFIX "outbox_lost_messages_total", "Messages lost for want of memory",
                runtime->outbox->n_lost);
}

void runtime_metrics(const Runtime *runtime, Buffer *buffer) {
        write_registration(runtime, buffer);
        write_load(runtime, buffer);
        write_agents(runtime, buffer);
        write_each_agent(runtime, buffer);
        write_conversations(runtime, buffer);
        write_counters(runtime, buffer);
        metrics_histogram(buffer, PREFIX "queue_duration_seconds", "From an execution's acceptance to the behaviour",
                &runtime->queue_duration);
        metrics_histogram(buffer, PREFIX "execution_duration_seconds", "From an execution's acceptance to the answer",
                &runtime->execution_duration);
        metrics_histogram(buffer, PREFIX "checkpoint_duration_seconds",
                "From the call of an agent's checkpoint hook until its state is durable",
                &runtime->checkpoint_duration);
}
