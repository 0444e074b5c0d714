/* SPDX-License-Identifier: MIT */

/*
 * A seed's life: the nodes start within half a second, triggers and faults come as planned, then faults_end() heals the
 * world and leaves it alone until everything must be quiet; at last one trigger for each agent that somebody hosts must
 * succeed.
 */

#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/log.h"
#include "tests/sim/apps.h"
#include "tests/sim/faults.h"
#include "tests/sim/load.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"

#define FRESH_USEC (12 * USEC_PER_SEC) /* the slowest agent's delay, behind what its mailbox may hold */

bool rng_chance(Rng *rng, unsigned per_mille) {
        return rng_below(rng, 1000) < per_mille;
}

uint64_t rng_between(Rng *rng, uint64_t low, uint64_t high) {
        return low + rng_below(rng, high - low + 1);
}

void sim_after(Sim *sim, uint64_t delay_usec, EventFn fn, Node *node, uint64_t argument) {
        schedule_add(&sim->schedule,
                &(Event){ .usec = sim->now + delay_usec, .fn = fn, .node = node, .argument = argument });
}

void sim_trace(const Sim *sim, const Node *node, const char *format, ...) {
        va_list arguments;

        if (!sim->options.trace)
                return;
        (void)printf("%11.6f  %-4s ", (double)(sim->now - SIM_EPOCH_USEC) / 1e6, node ? node->name : "");
        va_start(arguments, format);
        (void)vprintf(format, arguments);
        va_end(arguments);
        (void)printf("\n");
}

void sim_break(Sim *sim, const char *promise, const char *format, ...) {
        va_list arguments;
        int n;

        if (sim->broken)
                return;
        sim->broken = true;
        n = snprintf(sim->broken_text, sizeof(sim->broken_text),
                "at %.6f s, %s: ", (double)(sim->now - SIM_EPOCH_USEC) / 1e6, promise);
        va_start(arguments, format);
        (void)vsnprintf(sim->broken_text + n, sizeof(sim->broken_text) - (size_t)n, format, arguments);
        va_end(arguments);
        sim_trace(sim, NULL, "BROKEN %s", sim->broken_text);
}

static void on_log_line(int level, const char *message_id, LogFields fields, const char *text, void *userdata) {
        (void)message_id;
        (void)fields;
        sim_trace(userdata, NULL, "log <%d> %s", level, text);
}

static void on_boot(Sim *sim, Event *event) {
        if (event->node->state == NODE_DOWN)
                node_start(sim, event->node);
}

static void build(Sim *sim) {
        const Scenario *s = &sim->scenario;
        char name[32];

        for (uint32_t i = 0; i < s->n_dispatchers + s->n_callers + s->n_runtimes; i++) {
                NodeKind kind = i < s->n_dispatchers                  ? NODE_DISPATCHER
                                : i < s->n_dispatchers + s->n_callers ? NODE_CALLER
                                                                      : NODE_RUNTIME;
                uint32_t number = i - (kind == NODE_DISPATCHER      ? 0
                                              : kind == NODE_CALLER ? s->n_dispatchers
                                                                    : s->n_dispatchers + s->n_callers);
                Node *node;

                (void)snprintf(name, sizeof(name), "%c%u", "dcr"[kind], number + 1);
                node = node_new(sim, kind, name);
                node->restart_wanted = true;
                if (kind == NODE_RUNTIME) {
                        node->runtime.spec = number;
                        sim->n_slots += s->runtimes[number].max_in_flight;
                        (void)snprintf(node->runtime.id, sizeof(node->runtime.id), "%.15s", name);
                }
                if (kind == NODE_CALLER)
                        node_start(sim, node);
                else
                        sim_after(sim, rng_below(&sim->rng_nodes, 500 * USEC_PER_MSEC), on_boot, node, 0);
        }
        sim->n_dispatchers = s->n_dispatchers;
        sim->n_callers = s->n_callers;
}

/* Runs until then, or until a promise is broken. */
static void run_until(Sim *sim, uint64_t usec) {
        Event event;

        while (!sim->broken && schedule_take(&sim->schedule, usec, &event)) {
                sim->now = event.usec;
                sim_count(sim, COUNT_STEPS);
                event.fn(sim, &event);
                if (event.object && event.drop)
                        event.drop(event.object);
        }
        if (!sim->broken)
                sim->now = usec;
}

/* Until the last fault's tail is over, every deadline has passed and everybody has had time to find each other. */
static uint64_t quiet_usec(const Sim *sim) {
        const Scenario *s = &sim->scenario;
        uint64_t deadline_ms = MAX_OF(s->deadline_ms_max, s->default_deadline_ms);
        uint64_t tail = 3 * scenario_window_usec(s) + deadline_ms * USEC_PER_MSEC;

        return tail + 8 * USEC_PER_SEC;
}

static uint32_t ask_fresh(Sim *sim) {
        uint32_t first = INDEX_NONE;

        for (uint32_t a = 0; a < sim->scenario.n_agents; a++) {
                bool hosted = false;
                uint32_t ask;

                for (uint32_t i = 0; i < sim->n_nodes && !hosted; i++) {
                        const Node *node = sim->nodes[i];

                        hosted = node->kind == NODE_RUNTIME && node->state == NODE_RUNNING && !node->runtime.stopping &&
                                 sim->scenario.runtimes[node->runtime.spec].agents & (UINT32_C(1) << a);
                }
                if (!hosted)
                        continue;
                ask = load_trigger(sim, load_some_caller(sim),
                        &(AskOptions){
                                .agent = a,
                                .deadline_ms = FRESH_USEC / 1000 - 500,
                                .name_exec = true,
                                .wants_reply = true,
                                .again_exec = INDEX_NONE,
                        });
                first = MIN_OF(first, ask);
        }
        return first;
}

static void run_phases(Sim *sim) {
        uint32_t first_fresh;

        run_until(sim, SIM_EPOCH_USEC + sim->scenario.faults_usec);
        if (sim->broken)
                return;
        faults_end(sim);
        run_until(sim, sim->now + quiet_usec(sim));
        if (sim->broken)
                return;
        oracle_check_quiet(sim);
        apps_check_end(sim);
        oracle_forget_verbs(sim);
        load_verb(sim, "list_runtimes", NULL);
        first_fresh = ask_fresh(sim);
        run_until(sim, sim->now + FRESH_USEC);
        if (sim->broken)
                return;
        oracle_check_fresh(sim, first_fresh);
        oracle_check_answered(sim);
}

bool sim_run(const SimOptions *options, Stats *stats, uint64_t *ret_hash, char *ret_text, size_t size) {
        Sim *sim = calloc(1, sizeof(*sim));
        bool held;

        assert(sim);
        sim->options = *options;
        sim->stats = stats;
        sim->now = SIM_EPOCH_USEC;
        sim->server_up = true;
        rng_seed(&sim->rng_net, options->seed * 4 + 1);
        rng_seed(&sim->rng_nodes, options->seed * 4 + 2);
        rng_seed(&sim->rng_faults, options->seed * 4 + 3);
        rng_seed(&sim->rng_load, options->seed * 4 + 4);
        rng_seed(&sim->rng_apps, options->seed ^ UINT64_C(0xa995));
        scenario_draw(&sim->scenario, options->seed);
        sim->oracle = oracle_new(sim);
        apps_init(sim);
        log_set_sink(on_log_line, sim);
        log_set_level(options->trace ? LOG_DEBUG : LOG_EMERG);

        build(sim);
        load_plan(sim);
        apps_plan(sim);
        faults_plan(sim);
        run_phases(sim);

        held = !sim->broken;
        *ret_hash = sim->hash;
        (void)snprintf(ret_text, size, "%s", sim->broken_text);
        stats->counts[COUNT_USEC] += sim->now - SIM_EPOCH_USEC;
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                sim->nodes[i] = node_free(sim, sim->nodes[i]);
        schedule_done(&sim->schedule);
        hostile_done(sim);
        apps_done(sim);
        sim->oracle = oracle_free(sim->oracle);
        log_set_sink(NULL, NULL);
        free(sim);
        return held;
}
