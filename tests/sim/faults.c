/* SPDX-License-Identifier: MIT */

/*
 * One function per kind, called at random moments as often as the scenario's weights say; each picks whom it hits. What
 * a fault begins ends by an event of its own, at the latest when faults_end() heals the world.
 */

#include "tests/sim/faults.h"

#include <stdio.h>

#include "dispatcherd/dispatcher.h"
#include "proto/wire_error.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/load.h"
#include "tests/sim/node.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)
#define RESUME_ALL_USEC (6 * USEC_PER_SEC) /* after the last fault */

static Rng *dice(Sim *sim) {
        return &sim->rng_faults;
}

static Node *some_dispatcher(Sim *sim) {
        return sim->nodes[rng_below(dice(sim), sim->n_dispatchers)];
}

static Node *some_runtime(Sim *sim) {
        uint32_t first = sim->n_dispatchers + sim->n_callers;

        return sim->nodes[first + rng_below(dice(sim), sim->n_nodes - first)];
}

/* Runtimes three times out of five, callers now and then. */
static Node *some_node(Sim *sim) {
        uint64_t what = rng_below(dice(sim), 10);

        if (what < 6)
                return some_runtime(sim);
        return what < 9 ? some_dispatcher(sim) : sim->nodes[sim->n_dispatchers + rng_below(dice(sim), sim->n_callers)];
}

/* Often around the detection window, where it matters most. */
static uint64_t some_while(Sim *sim) {
        uint64_t window = scenario_window_usec(&sim->scenario);

        switch (rng_below(dice(sim), 4)) {
        case 0:
                return rng_between(dice(sim), 10, 500) * USEC_PER_MSEC;
        case 1:
                return rng_between(dice(sim), window / 4, window);
        case 2:
                return rng_between(dice(sim), window, window + window / 4);
        default:
                return rng_between(dice(sim), window, 3 * window);
        }
}

static void on_start_again(Sim *sim, Event *event) {
        if (event->node->state == NODE_DOWN && event->node->restart_wanted)
                node_start(sim, event->node);
}

/* A machine that comes back may do so with a wrong clock, and so with an epoch below the last one's. */
static void start_again_later(Sim *sim, Node *node, unsigned per_mille) {
        if (rng_chance(dice(sim), 150))
                node->real_offset += (int64_t)rng_below(dice(sim), 2 * HOUR_USEC) - (int64_t)HOUR_USEC;
        node->restart_wanted = rng_chance(dice(sim), per_mille);
        if (node->restart_wanted)
                sim_after(sim,
                        rng_chance(dice(sim), 500) ? rng_between(dice(sim), 20, 500) * USEC_PER_MSEC : some_while(sim),
                        on_start_again, node, 0);
}

static void on_resume(Sim *sim, Event *event) {
        if (event->node->incarnation == event->argument)
                node_resume(sim, event->node);
}

static void pause_node(Sim *sim, Node *node, uint64_t usec, bool freeze) {
        if (node->state != NODE_RUNNING || node->kind == NODE_CALLER)
                return;
        sim_trace(sim, node, "FAULT: %s for %.3f s", freeze ? "frozen" : "stopped", (double)usec / 1e6);
        node_pause(sim, node, freeze);
        if (usec > 5 * USEC_PER_SEC || rng_chance(dice(sim), 150))
                net_cut(sim, node, usec, USEC_NEVER, usec / 2); /* the server gives it up meanwhile */
        sim_after(sim, usec, on_resume, node, node->incarnation);
}

/* network */

static void fault_loss(Sim *sim) {
        Node *node = some_node(sim);
        uint64_t usec = some_while(sim);

        node->link.drop_until = sim->now + usec;
        node->link.drop_percent = (unsigned)(rng_chance(dice(sim), 200) ? 100 : rng_between(dice(sim), 1, 60));
        sim_trace(sim, node, "FAULT: %u %% of what it should receive is dropped for %.3f s", node->link.drop_percent,
                (double)usec / 1e6);
}

static void fault_duplication(Sim *sim) {
        Node *node = some_node(sim);

        node->link.duplicate_until = sim->now + some_while(sim);
        node->link.duplicate_percent = (unsigned)rng_between(dice(sim), 1, 50);
        sim_trace(sim, node, "FAULT: duplicates");
}

static void fault_spike(Sim *sim) {
        Node *node = some_node(sim);
        uint64_t usec = some_while(sim);

        node->link.spike_until = sim->now + usec;
        node->link.spike_usec = rng_between(dice(sim), 5, 1500) * USEC_PER_MSEC;
        sim_trace(sim, node, "FAULT: delays grow by %.3f s for %.3f s", (double)node->link.spike_usec / 1e6,
                (double)usec / 1e6);
}

static void cut(Sim *sim, Node *node, uint64_t usec) {
        uint64_t client = rng_between(dice(sim), 300, 4000) * USEC_PER_MSEC;
        uint64_t server = rng_between(dice(sim), 300, 4000) * USEC_PER_MSEC;

        sim_trace(sim, node, "FAULT: cut off for %.3f s", (double)usec / 1e6);
        net_cut(sim, node, usec, client, server);
}

static void fault_partition(Sim *sim) {
        cut(sim, some_node(sim), some_while(sim));
}

static void fault_group_partition(Sim *sim) {
        uint64_t usec = some_while(sim);
        unsigned share = (unsigned)rng_between(dice(sim), 200, 1000);

        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (sim->nodes[i]->kind != NODE_CALLER && rng_chance(dice(sim), share))
                        cut(sim, sim->nodes[i], usec);
}

static void fault_link_reset(Sim *sim) {
        Node *node = some_node(sim);

        sim_trace(sim, node, "FAULT: connection reset");
        net_reset(sim, node);
}

static void on_nats_start(Sim *sim, Event *event) {
        (void)event;
        sim_trace(sim, NULL, "NATS is back");
        net_server_start(sim);
}

static void fault_nats_restart(Sim *sim) {
        uint64_t usec = some_while(sim);

        if (!sim->server_up)
                return;
        sim_trace(sim, NULL, "FAULT: NATS is down for %.3f s", (double)usec / 1e6);
        net_server_stop(sim);
        sim_after(sim, usec, on_nats_start, NULL, 0);
}

/* processes */

static void fault_dispatcher_crash(Sim *sim) {
        Node *node = some_dispatcher(sim);

        if (node->state == NODE_DOWN)
                return;
        sim_trace(sim, node, "FAULT: killed");
        node_kill(sim, node, rng_below(dice(sim), 2000), /* lose_sent= */ false);
        start_again_later(sim, node, 1000);
}

static void fault_dispatcher_stop(Sim *sim) {
        Node *node = some_dispatcher(sim);
        Instant now = node_instant(sim, node);

        if (node->state != NODE_RUNNING || node->dispatcher.draining)
                return;
        sim_trace(sim, node, "FAULT: told to stop");
        node->dispatcher.draining = true;
        node->restart_wanted = true;
        net_unsubscribe_queues(node);
        dispatcher_drain(node->dispatcher.core, now.usec + rng_between(dice(sim), 100, 3000) * USEC_PER_MSEC, now);
        node->class->on_turn_end(sim, node, now);
        node_settle(sim, node);
}

static void fault_runtime_crash(Sim *sim) {
        Node *node = some_runtime(sim);

        if (node->state == NODE_DOWN)
                return;
        sim_trace(sim, node, "FAULT: killed");
        node_kill(sim, node, rng_below(dice(sim), 2000), /* lose_sent= */ false);
        start_again_later(sim, node, 700);
}

static void fault_power_cut(Sim *sim) {
        Node *node = some_runtime(sim);

        if (node->state == NODE_DOWN)
                return;
        sim_trace(sim, node, "FAULT: power cut");
        node_kill(sim, node, rng_between(dice(sim), 100, 8000) * USEC_PER_MSEC, /* lose_sent= */ true);
        start_again_later(sim, node, 700);
}

static void fault_runtime_stop(Sim *sim) {
        Node *node = some_runtime(sim);
        Instant now = node_instant(sim, node);

        if (node->state != NODE_RUNNING || node->runtime.stopping)
                return;
        sim_trace(sim, node, "FAULT: told to stop");
        node->runtime.stopping = true;
        life_on_told_to_stop(sim, node);
        node->restart_wanted = rng_chance(dice(sim), 700);
        node->runtime.stop_usec = now.usec + rng_between(dice(sim), 50, 3000) * USEC_PER_MSEC;
        runtime_stop(node->runtime.core, node->runtime.stop_usec, now);
        node->class->on_turn_end(sim, node, now);
        node_settle(sim, node);
}

static void fault_pause(Sim *sim) {
        pause_node(sim, some_node(sim), some_while(sim), /* freeze= */ false);
}

static void fault_freeze(Sim *sim) {
        pause_node(sim, some_node(sim), some_while(sim), /* freeze= */ true);
}

static void fault_mass_pause(Sim *sim) {
        uint32_t first = sim->n_dispatchers + sim->n_callers;
        uint64_t usec = some_while(sim);
        unsigned share = (unsigned)rng_between(dice(sim), 350, 1000);

        for (uint32_t i = first; i < sim->n_nodes; i++)
                if (rng_chance(dice(sim), share))
                        pause_node(sim, sim->nodes[i], usec, /* freeze= */ false);
}

/* The old process is cut off and lives on; a new one under its id comes up on another machine. */
static void fault_replace(Sim *sim) {
        Node *old = some_runtime(sim), *twin;
        char name[32];

        if (old->state == NODE_DOWN || sim->n_nodes + 1 >= NODES_MAX)
                return;
        if (rng_chance(dice(sim), 500))
                pause_node(sim, old, some_while(sim), /* freeze= */ false);
        else
                cut(sim, old, some_while(sim));
        (void)snprintf(name, sizeof(name), "%s-%u", old->runtime.id, sim->n_nodes);
        twin = node_new(sim, NODE_RUNTIME, name);
        twin->runtime.spec = old->runtime.spec;
        (void)snprintf(twin->runtime.id, sizeof(twin->runtime.id), "%s", old->runtime.id);
        twin->restart_wanted = true;
        sim_trace(sim, twin, "FAULT: a second %s is started", old->runtime.id);
        sim_after(sim, rng_between(dice(sim), 10, 2000) * USEC_PER_MSEC, on_start_again, twin, 0);
}

static void on_drain_end(Sim *sim, Event *event) {
        load_verb(sim, "resume_runtime", event->node->runtime.id);
}

static void fault_drain(Sim *sim) {
        Node *node = some_runtime(sim);

        sim_trace(sim, node, "FAULT: drained by an operator");
        node->runtime.drain_wanted = true;
        load_verb(sim, "drain_runtime", node->runtime.id);
        sim_after(sim, some_while(sim), on_drain_end, node, 0);
}

/* clocks */

static void fault_clock_jump(Sim *sim) {
        Node *node = some_node(sim);
        int64_t usec = (int64_t)rng_below(dice(sim), 10 * HOUR_USEC) - (int64_t)(5 * HOUR_USEC);

        sim_trace(sim, node, "FAULT: wall clock jumps by %.3f s", (double)usec / 1e6);
        node->real_offset += usec;
}

static void fault_suspend(Sim *sim) {
        Node *node = some_node(sim);
        uint64_t usec = some_while(sim);

        if (node->state != NODE_RUNNING || node->kind == NODE_CALLER)
                return;
        sim_trace(sim, node, "FAULT: boot clock jumps by %.3f s", (double)usec / 1e6);
        node->boot_offset += (int64_t)usec;
        if (usec > scenario_window_usec(&sim->scenario) + USEC_PER_SEC)
                node_aware(sim, node);
        node_disturb(sim, node);
        node_settle(sim, node);
}

/* peers */

static void fault_hostile(Sim *sim) {
        sim_trace(sim, NULL, "FAULT: hostile messages");
        hostile_burst(sim);
}

static void fault_storm(Sim *sim) {
        sim_trace(sim, NULL, "FAULT: a storm of triggers");
        load_storm(sim);
}

static void (*const faults[_FAULT_KIND_MAX])(Sim *sim) = {
        [FAULT_LOSS] = fault_loss,
        [FAULT_DUPLICATION] = fault_duplication,
        [FAULT_SPIKE] = fault_spike,
        [FAULT_DISPATCHER_CRASH] = fault_dispatcher_crash,
        [FAULT_DISPATCHER_STOP] = fault_dispatcher_stop,
        [FAULT_RUNTIME_CRASH] = fault_runtime_crash,
        [FAULT_POWER_CUT] = fault_power_cut,
        [FAULT_RUNTIME_STOP] = fault_runtime_stop,
        [FAULT_PAUSE] = fault_pause,
        [FAULT_FREEZE] = fault_freeze,
        [FAULT_MASS_PAUSE] = fault_mass_pause,
        [FAULT_PARTITION] = fault_partition,
        [FAULT_GROUP_PARTITION] = fault_group_partition,
        [FAULT_LINK_RESET] = fault_link_reset,
        [FAULT_NATS_RESTART] = fault_nats_restart,
        [FAULT_CLOCK_JUMP] = fault_clock_jump,
        [FAULT_SUSPEND] = fault_suspend,
        [FAULT_DRAIN] = fault_drain,
        [FAULT_REPLACE] = fault_replace,
        [FAULT_HOSTILE] = fault_hostile,
        [FAULT_STORM] = fault_storm,
};

static void on_fault(Sim *sim, Event *event) {
        if (sim->faults_over)
                return;
        sim->stats->counts[COUNT_FAULT_LOSS + event->argument]++;
        faults[event->argument](sim);
}

void faults_plan(Sim *sim) {
        const Scenario *s = &sim->scenario;
        uint64_t sum = 0;

        for (unsigned i = 0; i < _FAULT_KIND_MAX; i++)
                sum += s->fault_weights[i];
        for (unsigned i = 0; i < s->n_faults && sum > 0; i++) {
                uint64_t at = rng_below(dice(sim), sum);
                unsigned kind = 0;

                while (at >= s->fault_weights[kind])
                        at -= s->fault_weights[kind++];
                sim_after(sim, rng_between(dice(sim), 300 * USEC_PER_MSEC, s->faults_usec), on_fault, NULL, kind);
        }
}

static void heal_node(Sim *sim, Node *node) {
        net_heal(sim, node);
        node_resume(sim, node);
        if (node->state == NODE_DOWN && node->restart_wanted)
                node_start(sim, node);
}

/* An operator whose request may have been lost asks again when everybody is connected. */
static void on_resume_all(Sim *sim, Event *event) {
        (void)event;
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (sim->nodes[i]->kind == NODE_RUNTIME && sim->nodes[i]->runtime.drain_wanted)
                        load_verb(sim, "resume_runtime", sim->nodes[i]->runtime.id);
        apps_end(sim);
}

void faults_end(Sim *sim) {
        sim_trace(sim, NULL, "faults are over");
        sim->faults_over = true;
        net_server_start(sim);
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                heal_node(sim, sim->nodes[i]);
        sim_after(sim, RESUME_ALL_USEC, on_resume_all, NULL, 0);
}
