/* SPDX-License-Identifier: MIT */

/*
 * Promises 3 and 4, judged by what each dispatcher process was delivered.
 *
 * A verdict (AgentRuntimeDeregistered, heartbeat_timeout) must have behind it: a whole window in which that dispatcher
 * knew of no gap in its own hearing and nothing of that epoch was delivered to it; a probe after the last sign of life,
 * given its time or answered by "no responders"; and several windows when many were silent together. And its runtime
 * must not have been sound all that time, unless messages between the two were lost. Margins are a few loop turns:
 * timers fire late, not early.
 */

#include <inttypes.h>

#include "dispatcherd/dispatcher.h"
#include "proto/registration.h"
#include "tests/sim/record.h"

#define MASS_PATIENCE_MIN 2 /* windows: "slow down" must mean at least this */
#define LOADING_USEC \
        USEC_PER_SEC /* after a start: the slowest store has brought agents their states, they are announced */

static View *view_of(Oracle *oracle, const Node *dispatcher, uint32_t runtime) {
        return &oracle->views[dispatcher->index][runtime];
}

static uint64_t window_usec(const Scenario *s, const View *view, double intervals) {
        uint64_t interval = view->interval_usec > 0 ? view->interval_usec : s->heartbeat_interval_ms * USEC_PER_MSEC;

        return (uint64_t)(intervals * (double)interval);
}

/* After how much silence it is suspect at the latest: in a large fleet a dispatcher asks for longer intervals, by a
 * quarter longer than the rate needs, and waits for them. */
static uint64_t suspect_usec(const Sim *sim, const View *view) {
        const Scenario *s = &sim->scenario;
        uint64_t n_runtimes = sim->n_nodes - sim->n_dispatchers - sim->n_callers;
        uint64_t asked = n_runtimes * USEC_PER_SEC * 5 / 4 / s->heartbeats_per_second_max;

        return MAX_OF(window_usec(s, view, s->suspect_after), (uint64_t)(s->suspect_after * (double)asked)) +
               PROMPT_USEC;
}

static bool is_namesake(const Node *a, const Node *b) {
        return a->kind == NODE_RUNTIME && b->kind == NODE_RUNTIME && strcmp(a->runtime.id, b->runtime.id) == 0;
}

static void note_removal(Oracle *oracle, const Node *dispatcher, const Message *message) {
        const Sim *sim = oracle->sim;
        const Node *subject = sim->nodes[message->meaning.runtime];

        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (is_namesake(sim->nodes[i], subject)) {
                        View *view = view_of(oracle, dispatcher, i);

                        view->removal_told = true;
                        view->removed_epoch = MAX_OF(view->removed_epoch, message->meaning.epoch);
                }
}

/* A higher epoch takes the id over; a lower one, and one that is over, is refused. */
static void note_registration(Oracle *oracle, const Node *dispatcher, const Message *message) {
        const Sim *sim = oracle->sim;
        const Meaning *meaning = &message->meaning;
        View *view = view_of(oracle, dispatcher, message->from);

        if (meaning->epoch <= view->removed_epoch || meaning->epoch < view->epoch)
                return;
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (i != message->from && is_namesake(sim->nodes[i], sim->nodes[message->from]) &&
                        view_of(oracle, dispatcher, i)->known && view_of(oracle, dispatcher, i)->epoch > meaning->epoch)
                        return;
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (i != message->from && is_namesake(sim->nodes[i], sim->nodes[message->from]))
                        view_of(oracle, dispatcher, i)->known = false;
        if (meaning->epoch > view->epoch)
                *view = (View){
                        .incarnation = message->from_incarnation,
                        .epoch = meaning->epoch,
                        .max_in_flight = meaning->max_in_flight,
                        .told_free = meaning->max_in_flight,
                        .removed_epoch = view->removed_epoch,
                };
        view->known = true;
        view->removal_told = false;
}

static void note_load(View *view, const Meaning *meaning) {
        if (meaning->kind == MEANING_REPORT) {
                view->reported_local = view->heard_local;
                view->told_free = meaning->free_slots;
                view->n_relayed_since_told = 0;
        } else if (meaning->kind == MEANING_HEARTBEAT) {
                if (view->heard_local < view->reported_local + view->interval_usec &&
                        meaning->free_slots > view->told_free)
                        return;
                view->told_free = meaning->free_slots;
                view->n_relayed_since_told = 0;
        }
}

/* Anything from a runtime is a sign of life; a new epoch is a new runtime. */
void liveness_on_delivery(Oracle *oracle, Node *dispatcher, const Message *message) {
        const Sim *sim = oracle->sim;
        const Meaning *meaning = &message->meaning;
        View *view;

        if (message->no_responders) {
                for (uint32_t i = 0; i < sim->n_nodes && message->cause->meaning.kind == MEANING_PROBE; i++)
                        if (message->cause->meaning.runtime != INDEX_NONE &&
                                is_namesake(sim->nodes[i], sim->nodes[message->cause->meaning.runtime]))
                                view_of(oracle, dispatcher, i)->probe_unheard = true;
                return;
        }
        if (meaning->kind == MEANING_DEREGISTERED && meaning->runtime != INDEX_NONE)
                note_removal(oracle, dispatcher, message);
        if (message->from == INDEX_NONE || sim->nodes[message->from]->kind != NODE_RUNTIME)
                return;

        view = view_of(oracle, dispatcher, message->from);
        if (meaning->kind == MEANING_PROBE_ANSWER && view->probe_local > 0)
                sim_count(oracle->sim, COUNT_PROBE_ANSWERED);
        if (meaning->kind == MEANING_REGISTERED)
                note_registration(oracle, dispatcher, message);
        if (meaning->kind == MEANING_PROBE_ANSWER ? message->from_incarnation != view->incarnation
                                                  : meaning->epoch == 0 || meaning->epoch != view->epoch)
                return;
        view->heard_usec = oracle->sim->now;
        view->heard_local = node_instant(oracle->sim, dispatcher).usec;
        view->probe_local = 0;
        view->probe_unheard = false;
        if (meaning->interval_ms > 0)
                view->interval_usec = meaning->interval_ms * USEC_PER_MSEC;
        note_load(view, meaning);
}

/* P3: how many that this dispatcher knows are silent by its own reckoning, the one in question included. */
static bool is_mass_silence(Oracle *oracle, const Node *dispatcher, const View *subject) {
        const Sim *sim = oracle->sim;
        uint64_t n_known = 0, n_silent = 0, now = node_instant(sim, dispatcher).usec;

        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                const View *view = view_of(oracle, dispatcher, i);
                uint64_t since =
                        MAX_OF(view->heard_local, dispatcher->aware_local + sim->scenario.reconnect_grace_usec);

                if (!view->known || (view->removal_told && view != subject))
                        continue;
                n_known++;
                n_silent += now > since + suspect_usec(sim, view);
        }
        /* one that was deregistered by another dispatcher may have stayed in its registry */
        n_known = MAX_OF(n_known, (uint64_t)dispatcher_n_runtimes(dispatcher->dispatcher.core) + 1);
        return n_silent >= 3 && n_silent * 3 > n_known;
}

void liveness_on_probe(Oracle *oracle, Node *dispatcher, const Message *message) {
        const Sim *sim = oracle->sim;

        sim_count(oracle->sim, COUNT_PROBE);
        if (message->meaning.runtime == INDEX_NONE)
                return;
        if (is_mass_silence(oracle, dispatcher, NULL))
                sim_count(oracle->sim, COUNT_MASS_SILENCE);
        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                View *view = view_of(oracle, dispatcher, i);

                if (!is_namesake(sim->nodes[i], sim->nodes[message->meaning.runtime]))
                        continue;
                view->probe_local = node_instant(sim, dispatcher).usec;
                view->probe_unheard = false;
        }
}

void liveness_on_lost(Oracle *oracle, const Message *message, const Node *to) {
        const Sim *sim = oracle->sim;
        const Node *from = message->from == INDEX_NONE ? NULL : sim->nodes[message->from];

        if (!from || from->kind == NODE_CALLER)
                return;
        if (from->kind == NODE_RUNTIME && to && to->kind == NODE_DISPATCHER) {
                view_of(oracle, to, from->index)->lost_usec = sim->now;
        } else if (from->kind == NODE_RUNTIME && !to) {
                for (uint32_t d = 0; d < sim->n_dispatchers; d++)
                        oracle->views[d][from->index].lost_usec = sim->now;
        } else if (from->kind == NODE_DISPATCHER && to && to->kind == NODE_RUNTIME) {
                view_of(oracle, from, to->index)->lost_usec = sim->now;
        } else if (from->kind == NODE_DISPATCHER && !to && message->meaning.runtime != INDEX_NONE) {
                view_of(oracle, from, message->meaning.runtime)->lost_usec = sim->now;
        }
}

void liveness_on_verdict(Oracle *oracle, Node *dispatcher, const Message *message) {
        Sim *sim = oracle->sim;
        const Scenario *s = &sim->scenario;
        const Node *runtime;
        uint64_t window, since, lead, heard;
        View *view;

        if (message->meaning.runtime == INDEX_NONE)
                return;
        runtime = sim->nodes[message->meaning.runtime];
        view = view_of(oracle, dispatcher, runtime->index);
        if (message->meaning.status != DEREGISTER_HEARTBEAT_TIMEOUT) {
                note_removal(oracle, dispatcher, message);
                return;
        }
        sim_count(sim, COUNT_VERDICT);
        window = window_usec(s, view, s->dead_after);
        since = MAX_OF(view->heard_local, dispatcher->aware_local);
        heard = MAX_OF(view->heard_usec, dispatcher->aware_usec);
        lead = node_instant(sim, dispatcher).usec + PROMPT_USEC;

        if (lead < since + window)
                sim_break(sim, "P3", "%s declared %s dead %.3f s after it %s; its window is %.3f s", dispatcher->name,
                        runtime->name, (double)(lead - PROMPT_USEC - since) / 1e6,
                        since == view->heard_local ? "heard it last" : "was itself deaf", (double)window / 1e6);
        else if (view->probe_local == 0)
                sim_break(sim, "P3", "%s declared %s dead without a probe since it was heard", dispatcher->name,
                        runtime->name);
        else if (!view->probe_unheard && lead < view->probe_local + s->probe_timeout_usec)
                sim_break(sim, "P3", "%s declared %s dead %.3f s after its probe, which has %.3f s", dispatcher->name,
                        runtime->name, (double)(lead - PROMPT_USEC - view->probe_local) / 1e6,
                        (double)s->probe_timeout_usec / 1e6);
        else if (runtime->runtime.epoch == message->meaning.epoch && node_is_sound_since(runtime, heard) &&
                 view->lost_usec <= heard)
                sim_break(sim, "P3", "%s declared %s dead, which has been well all the time", dispatcher->name,
                        runtime->name);
        else if (is_mass_silence(oracle, dispatcher, view) && lead < since + MASS_PATIENCE_MIN * window)
                sim_break(sim, "P3", "%s declared %s dead after %.3f s while more than a third of the fleet was silent",
                        dispatcher->name, runtime->name, (double)(lead - PROMPT_USEC - since) / 1e6);
        note_removal(oracle, dispatcher, message);
}

/* P3: no runtime vanishes without anybody having said so; and an epoch never goes back. */
void liveness_after_turn(Oracle *oracle, Node *dispatcher) {
        Sim *sim = oracle->sim;
        size_t n = dispatcher_n_runtimes(dispatcher->dispatcher.core);
        bool fewer = n < dispatcher->dispatcher.n_runtimes;

        dispatcher->dispatcher.n_runtimes = n;
        for (uint32_t i = 0; fewer && i < sim->n_nodes; i++) {
                const Node *runtime = sim->nodes[i];
                View *view = view_of(oracle, dispatcher, i);
                uint64_t epoch;

                if (runtime->kind != NODE_RUNTIME || !view->known ||
                        dispatcher_runtime_state(dispatcher->dispatcher.core, runtime->runtime.id, &epoch))
                        continue;
                if (!view->removal_told)
                        sim_break(sim, "P3", "%s forgot %s, though nobody said that it was gone", dispatcher->name,
                                runtime->name);
                view->known = false;
                view->outstanding = 0;
        }
}

bool view_could_take(const Oracle *oracle, const Node *dispatcher, const Node *runtime, const Exec *exec) {
        const Sim *sim = oracle->sim;
        const View *view = &oracle->views[dispatcher->index][runtime->index];
        const ScenarioRuntime *spec = &sim->scenario.runtimes[runtime->runtime.spec];
        const char *state;
        uint64_t epoch = 0;

        if (exec->options.agent == INDEX_NONE || !(spec->agents & (UINT32_C(1) << exec->options.agent)))
                return false;
        if (sim->scenario.apps.has_store && sim->now < runtime->started_usec + LOADING_USEC)
                return false;
        if (exec->options.labelled && strcmp(spec->labels, "zone=a") != 0)
                return false;
        if (!view->known || (view->refused_usec > 0 && sim->now < view->refused_usec + USEC_PER_SEC))
                return false;
        state = dispatcher_runtime_state(dispatcher->dispatcher.core, runtime->runtime.id, &epoch);
        return state && strcmp(state, "live") == 0 && epoch == view->epoch &&
               view->outstanding + view->n_unknown < view->max_in_flight &&
               view->told_free > view->n_relayed_since_told;
}

/* P4: no work for a crashed runtime once its silence must have been noticed, unless nobody else can take it. */
void liveness_on_relay(Oracle *oracle, Node *dispatcher, const Exec *exec, const Message *message) {
        Sim *sim = oracle->sim;
        const Node *runtime = sim->nodes[message->meaning.runtime];
        const View *view = view_of(oracle, dispatcher, runtime->index);
        uint64_t since;

        if (runtime->state != NODE_DOWN || message->meaning.age_ms > 0)
                return;
        since = MAX_OF(MAX_OF(runtime->crashed_usec, view->heard_usec),
                dispatcher->disturbed_until + sim->scenario.reconnect_grace_usec);
        if (sim->now < since + suspect_usec(sim, view))
                return;
        /* One whose own link is slow or loses messages doubts itself before it doubts others. */
        if (!node_is_sound_since(dispatcher, since))
                return;
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (sim->nodes[i]->kind == NODE_RUNTIME && sim->nodes[i] != runtime &&
                        sim->nodes[i]->state != NODE_DOWN && view_could_take(oracle, dispatcher, sim->nodes[i], exec))
                        sim_break(sim, "P4", "%s gave %s to %s, which crashed %.3f s ago, though %s could take it",
                                dispatcher->name, exec->id.text, runtime->name,
                                (double)(sim->now - runtime->crashed_usec) / 1e6, sim->nodes[i]->name);
}
