/* SPDX-License-Identifier: MIT */

/*
 * What must be true when the faults have been over for a while: nothing is held, everybody knows everybody, every
 * trigger that could be answered was, and new ones succeed.
 */

#include <inttypes.h>

#include "dispatcherd/dispatcher.h"
#include "proto/wire_error.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/record.h"

/* Promise 10: what was not given to any runtime is answered before a dispatcher leaves. */
static void check_dispatcher_left(Sim *sim, const Node *dispatcher) {
        const Oracle *oracle = sim->oracle;

        for (size_t i = 0; i < oracle->n_asks; i++) {
                const Ask *ask = &oracle->asks[i];
                const Exec *exec = oracle->execs[ask->exec];
                bool was_placed = false;

                if (ask->dispatcher != dispatcher->index || ask->incarnation != dispatcher->incarnation ||
                        !ask->wants_reply)
                        continue;
                for (size_t r = 0; r < exec->n_relays; r++)
                        was_placed |= exec->relays[r].dispatcher == dispatcher->index &&
                                      exec->relays[r].dispatcher_incarnation == dispatcher->incarnation;
                if (!was_placed && ask->dispatcher_usec == 0 &&
                        node_is_undisturbed_since(dispatcher, ask->reached_usec))
                        sim_break(sim, "P10", "%s left without having placed or answered trigger %zu (%s)",
                                dispatcher->name, i, exec->id.text);
        }
}

/* Promise 10: what a runtime took is answered, handed back or refused before it leaves. */
static void check_runtime_left(Sim *sim, const Node *runtime) {
        const Oracle *oracle = sim->oracle;

        for (size_t e = 0; e < oracle->n_execs; e++) {
                const Exec *exec = oracle->execs[e];

                for (size_t r = 0; r < exec->n_relays; r++) {
                        const Relay *relay = &exec->relays[r];

                        if (relay->runtime == runtime->index && relay->runtime_incarnation == runtime->incarnation &&
                                relay->delivered && !relay->settled && exec->options.wants_reply &&
                                relay->epoch > runtime->runtime.dead_epoch &&
                                node_is_undisturbed_since(runtime, relay->usec))
                                sim_break(sim, "P10", "%s left without a word about %s attempt %" PRIu64, runtime->name,
                                        exec->id.text, relay->attempt);
                }
        }
}

void oracle_on_leave(Sim *sim, Node *node) {
        if (node->kind == NODE_DISPATCHER)
                check_dispatcher_left(sim, node);
        else if (node->kind == NODE_RUNTIME && !runtime_was_replaced(node->runtime.core))
                check_runtime_left(sim, node);
        if (node->kind == NODE_RUNTIME)
                life_on_leave(sim, node);
}

static void check_known(Sim *sim, const Node *dispatcher, const Node *runtime) {
        uint64_t epoch = 0;
        const char *state = dispatcher_runtime_state(dispatcher->dispatcher.core, runtime->runtime.id, &epoch);

        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                const Node *twin = sim->nodes[i];

                if (twin != runtime && twin->kind == NODE_RUNTIME && twin->state == NODE_RUNNING &&
                        strcmp(twin->runtime.id, runtime->runtime.id) == 0 &&
                        twin->runtime.epoch > runtime->runtime.epoch) {
                        sim_break(sim, "quiet", "%s still runs, though %s took its place", runtime->name, twin->name);
                        return;
                }
        }
        if (!state || strcmp(state, "live") != 0 || epoch != runtime->runtime.epoch)
                sim_break(sim, "quiet", "%s, up with epoch %" PRIu64 ", is %s (epoch %" PRIu64 ") to %s", runtime->name,
                        runtime->runtime.epoch, state ? state : "unknown", epoch, dispatcher->name);
}

static void check_dispatcher(Sim *sim, const Node *node) {
        const Dispatcher *core = node->dispatcher.core;

        if (node->state != NODE_RUNNING || !node->link.up) {
                sim_break(sim, "quiet", "%s is not up", node->name);
                return;
        }
        if (dispatcher_n_in_flight(core) > 0 || dispatcher_n_waiting(core) > 0)
                sim_break(sim, "quiet", "%s still holds %zu in flight and %zu waiting", node->name,
                        dispatcher_n_in_flight(core), dispatcher_n_waiting(core));
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (sim->nodes[i]->kind == NODE_RUNTIME && sim->nodes[i]->state == NODE_RUNNING &&
                        !sim->nodes[i]->runtime.stopping)
                        check_known(sim, node, sim->nodes[i]);
}

void oracle_check_quiet(Sim *sim) {
        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                const Node *node = sim->nodes[i];
                const char *broken = node->state == NODE_RUNNING && node->class->check
                                             ? node->class->check(node, node_instant(sim, node))
                                             : NULL;

                if (broken)
                        sim_break(sim, "own check", "%s: %s", node->name, broken);
                if (node->kind == NODE_DISPATCHER)
                        check_dispatcher(sim, node);
                if (node->kind != NODE_RUNTIME || node->state != NODE_RUNNING)
                        continue;
                if (runtime_n_in_flight(node->runtime.core) > 0)
                        sim_break(sim, "quiet", "%s still holds %zu", node->name,
                                runtime_n_in_flight(node->runtime.core));
        }
}

void oracle_check_answered(Sim *sim) {
        const Oracle *oracle = sim->oracle;

        for (size_t i = 0; i < oracle->n_asks; i++) {
                const Ask *ask = &oracle->asks[i];
                const Node *dispatcher = ask->dispatcher == INDEX_NONE ? NULL : sim->nodes[ask->dispatcher];

                if (!ask->wants_reply || ask->n_received > 0)
                        continue;
                sim_count(sim, dispatcher ? COUNT_EXCUSED : COUNT_NEVER_ARRIVED);
                sim_trace(sim, dispatcher, "trigger %zu was not answered: %s", i,
                        !dispatcher       ? "it never arrived"
                        : ask->n_lost > 0 ? "its answer was lost"
                                          : "its dispatcher was disturbed");
                /* It never reached anybody; or who got it went down, or was cut off, before it could answer; or its
                 * answer was lost. */
                if (!dispatcher || ask->n_lost > 0 || dispatcher->incarnation != ask->incarnation ||
                        dispatcher->disturbed_until >= ask->reached_usec)
                        continue;
                sim_break(sim, "P5", "trigger %zu (%s) was never answered; %u answers were published, none was lost", i,
                        oracle->execs[ask->exec]->id.text, ask->n_published);
        }
}

void oracle_forget_verbs(Sim *sim) {
        sim->oracle->n_verbs_answered = 0;
}

void oracle_check_fresh(Sim *sim, uint32_t first_ask) {
        const Oracle *oracle = sim->oracle;

        if (oracle->n_verbs_answered == 0)
                sim_break(sim, "fresh", "after all faults, a verb was not answered");

        for (size_t i = first_ask; i < oracle->n_asks; i++) {
                const Ask *ask = &oracle->asks[i];

                /* all agents at once may be more than a short queue holds */
                if (ask->last_code == ERROR_OVERLOADED && sim->scenario.queue_limit < sim->scenario.n_agents)
                        continue;
                if (ask->success_runtime == INDEX_NONE)
                        sim_break(sim, "fresh", "after all faults, trigger %zu (%s, agent a%u) did not succeed: %s", i,
                                oracle->execs[ask->exec]->id.text, oracle->execs[ask->exec]->options.agent + 1,
                                ask->n_received > 0 ? error_code_name(ask->last_code) : "no answer");
        }
}
