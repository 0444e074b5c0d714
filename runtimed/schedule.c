/* SPDX-License-Identifier: MIT */

/*
 * From mailbox to worker and back. An agent is in the ready list if and only if it has something to hand out and its
 * run is not out; so one agent's messages are handled one at a time and in order, whatever the number of workers.
 *
 * The watch. Workers say nothing when they begin a message, that would double the hand-overs; they only raise n_begun.
 * Most messages are done before anybody could have wanted to know. For a run that stays out, the watch looks at n_begun
 * after a millisecond and then ever more rarely, tells observers what has started, and finds the behaviour that blocks
 * its worker.
 */

#include "runtimed/core.h"
#include "runtimed/diag.h"

#define WATCH_FIRST_USEC (1 * USEC_PER_MSEC)
#define WATCH_LAST_USEC (100 * USEC_PER_MSEC)
#define BLOCKED_USEC (1 * USEC_PER_SEC)

void core_make_ready(Runtime *runtime, Agent *agent) {
        if (agent->is_ready || agent->is_out || mailbox_size(&agent->mailbox) == 0)
                return;

        agent->is_ready = true;
        agent->next_ready = NULL;
        if (runtime->ready_last)
                runtime->ready_last->next_ready = agent;
        else
                runtime->ready_first = agent;
        runtime->ready_last = agent;
}

static Agent *pop_ready(Runtime *runtime) {
        Agent *agent = runtime->ready_first;

        if (!agent)
                return NULL;

        runtime->ready_first = agent->next_ready;
        if (!runtime->ready_first)
                runtime->ready_last = NULL;
        agent->is_ready = false;
        agent->next_ready = NULL;
        return agent;
}

static void watch(Runtime *runtime, Agent *agent, uint64_t in_usec) {
        agent->watch_usec = in_usec;
        deadline_arm(&runtime->deadlines, &agent->watch, runtime->now.usec + in_usec);
}

Run *runtime_take_run(Runtime *runtime) {
        Agent *agent;
        Run *run;

        while ((agent = pop_ready(runtime))) {
                run = agent_take_run(agent);
                if (!run)
                        continue;

                for (Execution *execution = agent->out_first; execution; execution = execution->next_out)
                        execution->phase = PHASE_OUT;
                runtime->n_queued -= agent->n_out;
                runtime->n_out++;
                watch(runtime, agent, WATCH_FIRST_USEC);
                return run;
        }
        return NULL;
}

/* What the worker did not get to goes back to the front of the mailbox; what was called off meanwhile is gone. */
static void take_back(Runtime *runtime, Agent *agent) {
        Mail *first = NULL, *last = NULL;
        Execution *execution, *next;

        for (execution = agent->out_first; execution; execution = next) {
                next = execution->next_out;
                execution->next_out = NULL;
                if (execution->phase == PHASE_ABANDONED) {
                        runtime->n_abandoned--;
                        executions_remove(&runtime->executions, execution);
                        continue;
                }

                execution->phase = PHASE_QUEUED;
                runtime->n_queued++;
                execution->mail.next = NULL;
                if (last)
                        last->next = &execution->mail;
                else
                        first = &execution->mail;
                last = &execution->mail;
        }

        mailbox_return(&agent->mailbox, first);
        agent->out_first = agent->out_last = NULL;
        agent->n_out = 0;
}

static void end_run(Runtime *runtime, Agent *agent, Instant now) {
        take_back(runtime, agent);
        agent->run.mail = NULL;
        agent->is_out = false;
        runtime->n_out--;
        deadline_disarm(&runtime->deadlines, &agent->watch);

        core_make_ready(runtime, agent);
        core_after_change(runtime, agent, now);
}

static void replace(Runtime *runtime, Agent *agent) {
        char why[128];
        int r = agent_replace(agent, why, sizeof(why));

        diag_agent_replaced(agent_id_slice(agent), r == 0 ? NULL : r < 0 ? "out of memory" : why);
        if (r == 0)
                core_note_changed(runtime, agent);
        core_make_ready(runtime, agent);
}

void core_after_change(Runtime *runtime, Agent *agent, Instant now) {
        (void)now;

        if (agent->successor && agent->state == AGENT_RUNNING && !agent->is_out && agent->n_deferred == 0 &&
                agent->mailbox.n_urgent == 0)
                replace(runtime, agent);

        (void)agent_settle(agent);
        if (agent->is_leaving && agent_is_idle(agent) &&
                agent_next_state(agent->state, AGENT_EV_DELETE) != AGENT_INVALID)
                core_remove_agent(runtime, agent);
}

/* Takes the first off the list of what is out: outcomes come in order. */
static Execution *pop_out(Agent *agent, Mail *mail) {
        Execution *execution = agent->out_first;

        assert(execution && &execution->mail == mail);

        agent->out_first = execution->next_out;
        if (!agent->out_first)
                agent->out_last = NULL;
        execution->next_out = NULL;
        return execution;
}

void core_arm_execution(Runtime *runtime, Execution *execution) {
        deadline_arm(&runtime->deadlines, &execution->deadline, MIN_OF(execution->expires_usec, execution->wake_usec));
}

static void defer(Runtime *runtime, Execution *execution, Instant now) {
        const uint64_t defer_usec = MIN_OF(execution->mail.reply.defer_usec, (uint64_t)DEADLINE_MS_MAX * USEC_PER_MSEC);

        execution->phase = PHASE_DEFERRED;
        execution->agent->n_deferred++;
        execution->wake_usec = now.usec + defer_usec;
        core_arm_execution(runtime, execution);
        for (Asker *asker = &execution->asker; asker; asker = asker->next)
                reporter_note(&runtime->reporters, asker);
}

/* Where the outcome of one message leads, when somebody still waits for it. */
static void settle(Runtime *runtime, Execution *execution, Instant now) {
        const BehaviorReply *reply = &execution->mail.reply;

        execution->finished_usec = execution->mail.outcome.finished_usec;
        core_note_started(runtime, execution, execution->mail.outcome.started_usec, now);

        if (reply->verdict == BEHAVIOR_DEFER && execution->agent->run.behavior->on_timer) {
                defer(runtime, execution, now);
                return;
        }

        execution->agent->n_handled++;
        if (!core_must_hold(runtime, execution)) {
                core_finish(runtime, execution, now);
                return;
        }

        execution->phase = PHASE_HELD;
        runtime->n_held++;
        for (Asker *asker = &execution->asker; asker; asker = asker->next)
                reporter_note(&runtime->reporters, asker);
}

void runtime_on_outcome(Runtime *runtime, Outcome *outcome, Instant now) {
        Agent *agent = outcome->run->agent;
        const bool run_ended = outcome->run_ended;
        Execution *execution = pop_out(agent, outcome->mail);

        runtime->now = now;
        core_apply(runtime, session_notice(&runtime->session, now), now);

        if (execution->phase == PHASE_ABANDONED) {
                if (!outcome->skipped)
                        runtime->counters.late++;
                runtime->n_abandoned--;
                executions_remove(&runtime->executions, execution);
        } else {
                assert(execution->phase == PHASE_OUT && !outcome->skipped);
                execution->phase = PHASE_SETTLING;
                settle(runtime, execution, now);
        }

        if (run_ended)
                end_run(runtime, agent, now);
        core_arm_reports(runtime, now);
}

void core_on_watch(Runtime *runtime, Agent *agent, Instant now) {
        const unsigned n_begun = atomic_load(&agent->run.n_begun);

        if (!agent->is_out)
                return;

        for (Execution *execution = agent->out_first; execution; execution = execution->next_out) {
                if (execution->out_index >= n_begun || execution->is_started || execution->phase != PHASE_OUT)
                        continue;
                core_note_started(runtime, execution, now.usec, now);
                for (Asker *asker = &execution->asker; asker; asker = asker->next)
                        reporter_note(&runtime->reporters, asker);
        }

        if (n_begun != agent->watched_begun) {
                agent->watched_begun = n_begun;
                agent->begun_usec = now.usec;
                agent->was_reported = false;
        } else if (n_begun > 0 && !agent->was_reported && now.usec - agent->begun_usec >= BLOCKED_USEC) {
                agent->was_reported = true;
                diag_agent_blocks(agent_id_slice(agent), now.usec - agent->begun_usec);
        }

        watch(runtime, agent, MIN_OF(agent->watch_usec * 2, WATCH_LAST_USEC));
        core_arm_reports(runtime, now);
}

static void wake(Runtime *runtime, Execution *execution, Instant now) {
        Agent *agent = execution->agent;

        (void)now;

        execution->wake_usec = USEC_NEVER;
        execution->phase = PHASE_QUEUED;
        execution->mail.is_timer = true;
        agent->n_deferred--;
        runtime->n_queued++;
        mailbox_push_urgent(&agent->mailbox, &execution->mail);
        core_arm_execution(runtime, execution);
        core_make_ready(runtime, agent);
}

void core_on_execution_time(Runtime *runtime, Execution *execution, Instant now) {
        if (execution->expires_usec <= now.usec) {
                if (core_must_hold(runtime, execution))
                        core_expire_unsaid(runtime, execution, now);
                else
                        core_fail(runtime, execution, ERROR_DEADLINE_EXCEEDED, NULL, now);
                return;
        }

        if (execution->phase == PHASE_DEFERRED && execution->wake_usec <= now.usec)
                wake(runtime, execution, now);
}
