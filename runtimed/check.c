/* SPDX-License-Identifier: MIT */

/*
 * What must always hold inside a Runtime. For the simulator and the tests: visits everything, changes nothing.
 */

#include "runtimed/core.h"

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
                !execution->mail.agent->calls)
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
        if (!agent->run && !agent->is_ready && agent->state != AGENT_PAUSED &&
                !mailbox_is_empty(mailbox, agent_open_lanes(agent)))
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
        if (!broken)
                broken = invocations_check(&runtime->invocations);
        return broken ? broken : check_rest(runtime, now);
}
