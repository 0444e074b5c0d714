/* SPDX-License-Identifier: MIT */

/*
 * Virtual workers: take runs by class as the real pool does, call the real behaviours through run_step() when a message
 * is begun, and hand its outcome over some virtual time later. A worker whose process is paused stands still with it.
 */

#include "proto/wire_error.h"
#include "runtimed/agent.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#define PAUSED_RETRY_USEC (20 * USEC_PER_MSEC)
#define LONG_WORK_USEC (3 * USEC_PER_SEC)

static void on_step_done(Sim *sim, Event *event);

static void push_waiting(Node *node, Run *run) {
        AgentClass class = run->agent_class;

        run->next = NULL;
        if (node->runtime.waiting[class])
                node->runtime.waiting_last[class]->next = run;
        else
                node->runtime.waiting[class] = run;
        node->runtime.waiting_last[class] = run;
}

static Run *pop_waiting(Node *node) {
        for (unsigned class = 0; class < _AGENT_CLASS_MAX; class ++) {
                Run *run = node->runtime.waiting[class];

                if (!run)
                        continue;
                node->runtime.waiting[class] = run->next;
                return run;
        }
        return NULL;
}

static uint64_t draw_work(Sim *sim) {
        const Scenario *s = &sim->scenario;

        if (rng_chance(&sim->rng_nodes, s->work_long_per_mille))
                return rng_below(&sim->rng_nodes, LONG_WORK_USEC);
        return rng_below(&sim->rng_nodes, s->work_usec_max + 1);
}

/* The number of the worker and of the process it belongs to. */
static uint64_t step_argument(const Node *node, unsigned index) {
        return (uint64_t)node->incarnation * WORKERS_MAX + index;
}

/* Promise 7: one message at a time per agent. */
static void check_alone(Sim *sim, const Node *node, const Run *run) {
        for (unsigned i = 0; i < WORKERS_MAX; i++) {
                const Run *other = node->runtime.workers[i].run;

                if (other && other != run && other->agent == run->agent)
                        sim_break(sim, "P7", "%s has an agent with two workers", node->name);
        }
}

/* Gives an outcome to the core, and tells the oracle that it has it. */
static void hand_over(Sim *sim, Node *node, const Agent *agent, Outcome *outcome, Instant now) {
        const bool is_probe = sim->apps && agent->id.text[0] == 't';
        const bool is_ready = outcome->mail && outcome->mail->kind == MAIL_INIT && outcome->result == 0;
        uint32_t number = is_probe ? probe_agent(agent_id_slice(agent)) : 0;

        runtime_on_outcome(node->runtime.core, outcome, now);
        if (is_probe && is_ready)
                life_on_ready(sim, node, number);
        if (is_probe)
                apps_host(sim, node, number)->n_done = apps_host(sim, node, number)->state;
}

/* Calls the behaviour; the outcome, if there is one, is the caller's. */
static Outcome *step(Sim *sim, Node *node, Run *run) {
        Mail *mail = run->mail;
        Outcome *outcome;

        check_alone(sim, node, run);
        node->runtime.at_work = mail;
        outcome = run_step(run, node_instant(sim, node).usec);
        if (!outcome || outcome->skipped || mail->kind != MAIL_TRIGGER)
                return outcome;
        oracle_on_work(sim, node, mail);
        if (outcome->reply.verdict == BEHAVIOR_DEFER)
                sim_count(sim, COUNT_DEFERRED);
        return outcome;
}

/* After a step: is the run over? Then the outcome is its last. */
static bool end_of_run(Run *run, bool gives_up, Outcome **outcome) {
        if (gives_up && !run->is_closed)
                run_abandon(run);
        if (!run->is_closed && !run_close(run))
                return false;
        *outcome = run_end(run, *outcome);
        return true;
}

static void begin_step(Sim *sim, Node *node, unsigned index) {
        Worker *worker = &node->runtime.workers[index];

        worker->outcome = step(sim, node, worker->run);
        sim_after(sim, draw_work(sim), on_step_done, node, step_argument(node, index));
}

static void on_step_done(Sim *sim, Event *event) {
        Node *node = event->node;
        unsigned index = event->argument % WORKERS_MAX;
        Worker *worker = &node->runtime.workers[index];
        Outcome *outcome = worker->outcome;
        const Agent *agent;
        Instant now;
        bool ended;

        if (node->state == NODE_DOWN || event->argument / WORKERS_MAX != node->incarnation)
                return;
        if (node->state == NODE_PAUSED) {
                sim_after(sim, PAUSED_RETRY_USEC, on_step_done, node, event->argument);
                return;
        }
        now = node_instant(sim, node);
        agent = worker->run->agent;
        ended = end_of_run(worker->run, /* gives_up= */ rng_chance(&sim->rng_nodes, 50), &outcome);
        worker->outcome = NULL;
        if (ended)
                worker->run = NULL;

        if (outcome) {
                outcome->finished_usec = now.usec;
                hand_over(sim, node, agent, outcome, now);
        }
        node->class->on_turn_end(sim, node, now);
        if (!ended)
                begin_step(sim, node, index);
        node_settle(sim, node);
}

/* On the loop's thread: no time passes, and the turn ends after it. */
static void run_here(Sim *sim, Node *node, Run *run) {
        const Agent *agent = run->agent;
        bool ended;

        do {
                Outcome *outcome = step(sim, node, run);

                ended = end_of_run(run, /* gives_up= */ false, &outcome);
                if (outcome)
                        hand_over(sim, node, agent, outcome, node_instant(sim, node));
        } while (!ended);
}

/* Control first, then what was begun, then the rest; and nothing that waits behind a message of a lower lane but one.
 */
static void check_order(Sim *sim, const Node *node, const Run *run) {
        for (const Mail *mail = run->mail; mail && mail->next; mail = mail->next)
                if (mail->next->lane < mail->lane && mail->lane != LANE_BACKGROUND)
                        sim_break(sim, "P7", "%s hands out lane %u behind lane %u", node->name, mail->next->lane,
                                mail->lane);
}

void workers_take(Sim *sim, Node *node) {
        bool any_here = false;
        Run *run;

        while ((run = runtime_take_run(node->runtime.core))) {
                check_order(sim, node, run);
                if (!sim->scenario.run_inline || !run->behavior->quick) {
                        push_waiting(node, run);
                        continue;
                }
                run_here(sim, node, run);
                any_here = true;
        }
        if (any_here)
                node->class->on_turn_end(sim, node, node_instant(sim, node));
}

void workers_feed(Sim *sim, Node *node) {
        unsigned n_workers = sim->scenario.runtimes[node->runtime.spec].n_workers;
        Run *run;

        for (unsigned i = 0; i < n_workers; i++) {
                if (node->runtime.workers[i].run)
                        continue;
                run = pop_waiting(node);
                if (!run)
                        return;
                run->next = NULL;
                node->runtime.workers[i].run = run;
                begin_step(sim, node, i);
        }
}

/* The core wants back what it lent; nobody will see what it makes of it. */
void workers_abandon(Sim *sim, Node *node, Instant now) {
        Run *run;

        (void)sim;
        for (unsigned i = 0; i < WORKERS_MAX; i++) {
                Worker *worker = &node->runtime.workers[i];

                if (worker->run) {
                        (void)end_of_run(worker->run, /* gives_up= */ true, &worker->outcome);
                        runtime_on_outcome(node->runtime.core, worker->outcome, now);
                }
                *worker = (Worker){ 0 };
        }
        while ((run = pop_waiting(node))) {
                run_abandon(run);
                runtime_on_outcome(node->runtime.core, run_end(run, NULL), now);
        }
}

bool workers_have(const Node *node, uint32_t app) {
        for (unsigned i = 0; i < WORKERS_MAX; i++) {
                const Run *run = node->runtime.workers[i].run;

                if (run && run->agent->id.text[0] == 't' && probe_agent(agent_id_slice(run->agent)) == app)
                        return true;
        }
        return false;
}
