/* SPDX-License-Identifier: MIT */

/*
 * The core, seen from outside: metrics for operators, invariants for tests. Neither changes anything.
 */

#include <stdio.h>

#include "runtimed/core.h"

/* metrics */

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

void runtime_metrics(const Runtime *runtime, Buffer *buffer) {
        write_gauges(runtime, buffer);
        write_counters(runtime, buffer);
        write_labelled(runtime, buffer);
        metrics_histogram(buffer, "compozy_runtime_execution_seconds", "From acceptance to the answer",
                &runtime->execution_seconds);
        metrics_histogram(
                buffer, "compozy_runtime_queue_seconds", "From acceptance to the behaviour", &runtime->queue_seconds);
}

/* invariants */

static const char *check_execution(const Execution *execution) {
        const bool is_abandoned = execution->phase == PHASE_ABANDONED;

        if (execution->phase == PHASE_NONE || execution->phase == PHASE_SETTLING)
                return "an execution is nowhere";
        if (!execution->mail.agent)
                return "an execution has no agent";
        if (is_abandoned != !execution->hh.tbl)
                return "an abandoned execution can be found by its id, or a living one can not";
        if (!is_abandoned && execution->deadline.usec == USEC_NEVER)
                return "an unanswered execution has no deadline armed";
        if (!is_abandoned && execution->deadline.usec > execution->expires_usec)
                return "an unanswered execution would be looked at after its deadline";
        if (is_abandoned && execution->asker.reporter)
                return "an answered execution still owes a report";
        if ((is_abandoned || execution->phase == PHASE_OUT) && !execution->mail.agent->run &&
                execution->mail.agent->n_calls == 0)
                return "an execution is out with a worker, its agent is not";
        if (execution->held && execution->phase != PHASE_HELD)
                return "an execution that is not held waits for its agent's state";
        return NULL;
}

static const char *check_executions(const Runtime *runtime) {
        size_t n = 0, n_queued = 0, n_held = 0, n_abandoned = 0, n_bytes = 0;

        for (const Execution *execution = runtime->executions.first; execution; execution = execution->next) {
                const char *broken = check_execution(execution);

                if (broken)
                        return broken;
                n++;
                n_bytes += execution->mail.n_bytes;
                n_queued += execution->phase == PHASE_QUEUED;
                n_held += execution->phase == PHASE_HELD;
                n_abandoned += execution->phase == PHASE_ABANDONED;
        }

        if (n != runtime->executions.n || n_bytes != runtime->executions.n_bytes)
                return "the count of executions does not match their list";
        if (n_queued != runtime->n_queued || n_held != runtime->n_held || n_abandoned != runtime->n_abandoned)
                return "the counts of queued, held or abandoned executions do not match";
        if (HASH_COUNT(runtime->executions.by_id) != n - n_abandoned)
                return "the table of ids does not match the list of executions";
        if (n > runtime->options.max_in_flight)
                return "more executions than max_in_flight";
        return NULL;
}

static const char *check_mail(const Agent *agent) {
        const Mailbox *mailbox = agent->mailbox;

        if (agent->run && !mailbox)
                return "an agent has a run out and no mailbox to give it back to";
        if (!mailbox)
                return NULL;
        if (mailbox->n_bounded > agent->definition->mailbox.capacity + QUANTUM_MAX)
                return "a mailbox is beyond its capacity";
        if (!agent->run && (mailbox->n_given > 0 || mailbox->n_bytes_given > 0))
                return "a mailbox counts what was given to a worker, and no run is out";
        if (!agent->run && !agent->is_ready && !mailbox_is_empty(mailbox, agent_open_lanes(agent)))
                return "an agent has mail and nobody will take it";
        return NULL;
}

static const char *check_life(const Agent *agent) {
        const bool is_up = agent->state == AGENT_RUNNING || agent->state == AGENT_PAUSED;

        if (is_up && !agent->has_behavior)
                return "an agent runs without a behaviour";
        if (is_up && agent->step != STEP_NONE)
                return "an agent runs and awaits a step of its life";
        if (agent->state == AGENT_STARTING && agent->step == STEP_NONE && !agent->is_unsettled)
                return "an agent starts and awaits nothing";
        if (agent->state == AGENT_STOPPED && (agent->has_behavior || !agent_is_idle(agent)))
                return "a stopped agent has a behaviour or holds mail";
        return NULL;
}

static const char *check_agents(const Runtime *runtime) {
        size_t n_out = 0, n_ready = 0, n_listed = 0, n_alive = 0;
        const char *broken = NULL;

        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent && !broken; agent = core_next_agent(agent)) {
                n_out += agent->run ? 1 : 0;
                n_ready += agent->is_ready;
                n_alive += agent->state != AGENT_STOPPED && agent->state != AGENT_FAILED;
                broken = check_mail(agent);
                if (!broken)
                        broken = check_life(agent);
        }
        if (broken)
                return broken;

        for (const Agent *agent = runtime->ready.first; agent; agent = agent->next_ready)
                n_listed++;
        for (const Agent *agent = runtime->ready_remote.first; agent; agent = agent->next_ready)
                n_listed++;
        if (n_listed != n_ready)
                return "the lists of ready agents do not match";
        if (n_out != runtime->n_out)
                return "another number of runs is out than counted";
        if (n_alive != runtime->n_alive)
                return "another number of agents is alive than counted";
        if (core_n_agents(runtime) > runtime->options.max_agents)
                return "more agents than max_agents";
        return NULL;
}

static size_t count_withheld(const Runtime *runtime) {
        size_t n = 0;

        for (const Execution *execution = runtime->executions.first; execution; execution = execution->next)
                n += execution->phase == PHASE_HELD && !execution->held;
        return n;
}

static const char *check_rest(const Runtime *runtime, Instant now) {
        if (memory_size(runtime->memory) > runtime->options.memory_executions ||
                memory_bytes(runtime->memory) > runtime->options.memory_bytes)
                return "the memory of executions is beyond its limit";
        if (reporters_size(&runtime->reporters) > REPORTERS_MAX)
                return "more reporters than REPORTERS_MAX";
        if (reporters_have_news(&runtime->reporters) && runtime->report_usec == USEC_NEVER && runtime->is_up &&
                !runtime->is_stopped)
                return "there is news for a dispatcher and no report is due";
        if (runtime->reporters.epoch != runtime->session.epoch)
                return "reports carry another epoch than the session's";
        if (runtime->is_stopped && runtime->executions.n != runtime->n_abandoned)
                return "the runtime has stopped with executions unanswered";
        if (runtime->is_up && !runtime->is_congested && !runtime->session.is_doubtful && count_withheld(runtime) > 0)
                return "answers are held for no reason";
        if (session_is_up(&runtime->session) && runtime->session.state != SESSION_QUIET &&
                runtime->session.heartbeat_usec == USEC_NEVER)
                return "no heartbeat is due";
        if (now.usec < runtime->now.usec)
                return "the time runs backwards";
        return NULL;
}

const char *runtime_check(const Runtime *runtime, Instant now) {
        const char *broken = check_executions(runtime);

        if (!broken)
                broken = check_agents(runtime);
        if (!broken)
                broken = topics_check(runtime->topics);
        if (!broken)
                broken = asks_check(&runtime->asks);
        return broken ? broken : check_rest(runtime, now);
}
