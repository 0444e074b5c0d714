/* SPDX-License-Identifier: MIT */

/*
 * A host of remote behaviours without processes: each call's outcome comes some virtual time later, in any order, and
 * now and then a child is lost with all that it holds.
 *
 * What a child does, it does when the outcome comes; only the order in which it gets messages is that of the calls.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/agent.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/sim.h"

#define PAUSED_RETRY_USEC (20 * USEC_PER_MSEC)
#define IDLE_CRASHES_MAX 20 /* tries: most find no such child */

struct ExecCall {
        ExecCall *next;
        Mail *mail;
        Agent *agent;
        uint32_t number;
        uint64_t id;
        bool has_state; /* a checkpoint that the child has made when it was asked, and answers later */
        uint64_t state;
};

static void on_call_due(Sim *sim, Event *event);

static bool is_message(const Mail *mail) {
        return mail->kind == MAIL_TRIGGER || mail->kind == MAIL_TOPIC;
}

static void check_concurrency(Sim *sim, const Node *node, uint32_t number) {
        const uint64_t max = sim->scenario.apps.agents[number].max_concurrency;
        uint64_t n = probe_n_pending(&node->runtime.children[number].probe);

        for (const ExecCall *call = node->runtime.calls; call; call = call->next)
                n += call->number == number && is_message(call->mail);
        if (n > max)
                sim_break(sim, "P7", "t%" PRIu32 " on %s has %" PRIu64 " messages at a time, not %" PRIu64, number,
                        node->name, n, max);
}

/* The last of the list, so that a crash ends them in the order in which they came. */
static ExecCall *add_call(Node *node, Mail *mail, uint32_t number, uint64_t id) {
        ExecCall *call = calloc(1, sizeof(*call)), **end = &node->runtime.calls;

        assert(call);
        *call = (ExecCall){ .mail = mail, .agent = mail->agent, .number = number, .id = id };
        while (*end)
                end = &(*end)->next;
        *end = call;
        return call;
}

void exec_take(Sim *sim, Node *node) {
        BehaviorMessage message;
        Mail *mail;

        while ((mail = runtime_take_call(node->runtime.core))) {
                const uint32_t number = probe_agent(agent_id_slice(mail->agent));
                ExecCall *call = add_call(node, mail, number, ++node->runtime.n_calls);

                if (mail->kind < MAIL_INIT) {
                        mail_read(mail, &message);
                        apps_on_handle(sim, node, number, mail, &message);
                        check_concurrency(sim, node, number);
                }
                call->has_state = mail->kind == MAIL_CHECKPOINT && rng_chance(&sim->rng_apps, 500);
                call->state = node->runtime.children[number].probe.state;
                schedule_add(&sim->schedule,
                        &(Event){
                                .usec = sim->now + rng_below(&sim->rng_apps, sim->scenario.apps.call_usec_max),
                                .fn = on_call_due,
                                .node = node,
                                .argument = (uint64_t)node->incarnation << 32 | call->id,
                        });
        }
}

static Outcome *blank_outcome(Mail *mail, Instant now) {
        Outcome *outcome = mail_outcome(mail);

        assert(outcome);
        outcome->started_usec = outcome->finished_usec = now.usec;
        return outcome;
}

static void refuse(Outcome *outcome, ErrorCode code) {
        behavior_fail(&outcome->reply, code, "the process is gone");
        outcome->reply.verdict = BEHAVIOR_LOST;
        outcome->result = BEHAVIOR_E_REFUSED;
}

static void init_child(Sim *sim, Node *node, ExecCall *call, Outcome *outcome) {
        const Control *control = control_of_mail(call->mail);
        ExecChild *child = &node->runtime.children[call->number];
        char why[64] = "";

        assert(!child->is_alive);
        outcome->result =
                probe_begin(sim, node, control->start.agent_id, &control->start, &child->probe, why, sizeof(why));
        if (outcome->result != 0) {
                buffer_append_slice(&outcome->reply.output, slice_of(why));
                return;
        }
        child->is_alive = true;
        child->agent = call->agent;
        outcome->behavior_state = child;
}

static void do_call(Sim *sim, Node *node, ExecCall *call, Outcome *outcome) {
        ExecChild *child = &node->runtime.children[call->number];
        BehaviorMessage message;

        if (call->mail->kind == MAIL_INIT) {
                init_child(sim, node, call, outcome);
        } else if (!child->is_alive) {
                if (call->mail->kind != MAIL_STOP)
                        refuse(outcome, ERROR_AGENT_CRASHED);
        } else if (call->mail->kind == MAIL_STOP) {
                child->is_alive = false;
                life_on_stop_hook(sim, node, call->number);
        } else if (call->mail->kind == MAIL_CHECKPOINT) {
                Probe probe = child->probe;

                if (call->has_state)
                        probe.state = call->state;
                probe_write(&probe, &outcome->reply.output);
        } else {
                mail_read(call->mail, &message);
                probe_handle(&child->probe, &message, &outcome->reply);
        }
}

static void unlink_call(Node *node, const ExecCall *gone) {
        ExecCall **place = &node->runtime.calls;

        while (*place != gone)
                place = &(*place)->next;
        *place = gone->next;
}

static void end_call(Sim *sim, Node *node, ExecCall *call, Outcome *outcome, Instant now) {
        const bool is_ready = call->mail->kind == MAIL_INIT && outcome->result == 0;
        const uint32_t number = call->number;

        unlink_call(node, call);
        free(call);
        runtime_on_outcome(node->runtime.core, outcome, now);
        if (is_ready)
                life_on_ready(sim, node, number);
        apps_host(sim, node, number)->n_done = apps_host(sim, node, number)->state;
}

static void crash(Sim *sim, Node *node, uint32_t number, Instant now) {
        ExecChild *child = &node->runtime.children[number];
        ExecCall *call, *next;

        sim_trace(sim, node, "t%" PRIu32 " crashes", number);
        child->is_alive = false;
        life_on_crash(sim, node, number);
        for (call = node->runtime.calls; call; call = next) {
                Outcome *outcome;

                next = call->next;
                if (call->number != number)
                        continue;
                outcome = blank_outcome(call->mail, now);
                if (call->mail->kind != MAIL_STOP)
                        refuse(outcome, ERROR_AGENT_CRASHED);
                end_call(sim, node, call, outcome, now);
        }
        runtime_on_crash(node->runtime.core, child->agent, "crashed", now);
}

static ExecCall *find_call(const Node *node, uint64_t id) {
        for (ExecCall *call = node->runtime.calls; call; call = call->next)
                if (call->id == id)
                        return call;
        return NULL;
}

static void on_call_due(Sim *sim, Event *event) {
        Node *node = event->node;
        const Instant now = node_instant(sim, node);
        ExecCall *call = node->state == NODE_DOWN || event->argument >> 32 != node->incarnation
                                 ? NULL
                                 : find_call(node, event->argument & UINT32_MAX);

        if (!call)
                return;
        if (node->state == NODE_PAUSED) {
                sim_after(sim, PAUSED_RETRY_USEC, on_call_due, node, event->argument);
                return;
        }
        if (node->runtime.children[call->number].is_alive && call->mail->kind != MAIL_STOP && !sim->faults_over &&
                rng_chance(&sim->rng_apps, sim->scenario.apps.agents[call->number].crash_per_mille)) {
                crash(sim, node, call->number, now);
        } else {
                Outcome *outcome = blank_outcome(call->mail, now);

                do_call(sim, node, call, outcome);
                end_call(sim, node, call, outcome, now);
        }
        node->class->on_turn_end(sim, node, now);
        node_settle(sim, node);
}

bool exec_has(const Node *node, uint32_t agent) {
        for (const ExecCall *call = node->runtime.calls; call; call = call->next)
                if (call->number == agent && is_message(call->mail))
                        return true;
        return false;
}

/* Of a node and an agent that happen to be there. */
static void on_idle_crash(Sim *sim, Event *event) {
        const uint32_t number = (uint32_t)rng_below(&sim->rng_apps, sim->scenario.apps.n_agents);
        Node *node =
                sim->nodes[sim->n_dispatchers + sim->n_callers + rng_below(&sim->rng_apps, sim->scenario.n_runtimes)];
        const Instant now = node_instant(sim, node);

        (void)event;
        if (node->state != NODE_RUNNING || !node->runtime.children[number].is_alive ||
                sim->scenario.apps.agents[number].crash_per_mille == 0)
                return;
        crash(sim, node, number, now);
        node->class->on_turn_end(sim, node, now);
        node_settle(sim, node);
}

void exec_plan(Sim *sim) {
        const uint64_t n = rng_below(&sim->rng_apps, IDLE_CRASHES_MAX + 1);

        for (uint64_t i = 0; i < n; i++)
                sim_after(sim, rng_between(&sim->rng_apps, USEC_PER_SEC, sim->scenario.load_usec), on_idle_crash, NULL,
                        0);
}

/* The core wants back what it lent. */
void exec_abandon(Sim *sim, Node *node, Instant now) {
        ExecCall *call;

        (void)sim;
        while ((call = node->runtime.calls)) {
                Outcome *outcome = blank_outcome(call->mail, now);

                node->runtime.calls = call->next;
                refuse(outcome, ERROR_AGENT_CRASHED);
                free(call);
                runtime_on_outcome(node->runtime.core, outcome, now);
        }
        memset(node->runtime.children, 0, APPS_MAX * sizeof(node->runtime.children[0]));
}
