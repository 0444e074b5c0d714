/* SPDX-License-Identifier: MIT */

/*
 * The real runtime core as a node, with virtual workers.
 */

#include "proto/wire_error.h"
#include "runtimed/runtime.h"

#include <inttypes.h>

#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#define MANY_AGENTS 250 /* do not fit in one message of 8 KiB */
#define DRAIN_USEC (2 * USEC_PER_SEC)

static void create_agent(Node *node, Buffer *text, Instant now) {
        WireError error = {};
        ErrorCode code = ERROR_NONE;
        int r;

        r = runtime_create_agent(node->runtime.core, buffer_slice(text), now, &code, &error);
        assert(r == 0);
        buffer_clear(text);
}

static void create_agents(Sim *sim, Node *node, Instant now) {
        const ScenarioRuntime *spec = &sim->scenario.runtimes[node->runtime.spec];
        _cleanup_(buffer_done) Buffer text = {};

        for (uint32_t a = 0; a < sim->scenario.n_agents; a++) {
                const ScenarioAgent *agent = &sim->scenario.agents[a];

                if (!(spec->agents & (UINT32_C(1) << a)))
                        continue;
                buffer_printf(&text,
                        "{\"agent_id\":\"%s\",\"agent_type\":\"%s\",\"mailbox_capacity\":%" PRIu64
                        ",\"priority\":%u,\"overflow\":\"%s\",\"quantum\":%" PRIu64,
                        agent->id, agent->type, agent->mailbox_capacity, agent->priority, agent->overflow,
                        agent->quantum);
                if (strcmp(agent->type, "delay") == 0)
                        buffer_printf(&text, ",\"parameters\":{\"ms\":%" PRIu64 "}", agent->delay_ms);
                buffer_printf(&text, "}");
                create_agent(node, &text, now);
        }
        for (uint32_t a = 0; sim->apps && a < sim->scenario.apps.n_agents; a++) {
                if (!apps_hosts(sim, node, a))
                        continue;
                apps_definition(sim, a, /* fails= */ false, &text);
                create_agent(node, &text, now);
        }
        for (unsigned i = 0; spec->many_agents && i < MANY_AGENTS; i++) {
                buffer_printf(&text, "{\"agent_id\":\"extra-%u\",\"agent_type\":\"echo\"}", i);
                create_agent(node, &text, now);
        }
}

/* The wall clock in milliseconds, as the edge does; two machines' clocks that agree to the millisecond are not tried
 * (README.md). */
static uint64_t start_epoch(const Sim *sim, const Node *node, Instant now) {
        uint64_t epoch = now.real_usec / 1000;

        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (sim->nodes[i] != node && sim->nodes[i]->kind == NODE_RUNTIME &&
                        sim->nodes[i]->runtime.epoch == epoch)
                        return epoch + 1;
        return epoch;
}

static void runtime_start(Sim *sim, Node *node, Instant now) {
        const Scenario *s = &sim->scenario;
        const ScenarioRuntime *spec = &s->runtimes[node->runtime.spec];
        const RuntimeOptions options = {
                .id = node->runtime.id,
                .subject_prefix = SUBJECT_PREFIX_DEFAULT,
                .inbox_prefix = node->inbox_prefix,
                .hostname = "host",
                .ip_address = "127.0.0.1",
                .version = "sim",
                .labels = spec->labels,
                .pid = node->incarnation,
                .epoch = start_epoch(sim, node, now),
                .random_seed = rng_next(&sim->rng_nodes),
                .tracer = node_tracer(sim, node),
                .heartbeat_interval_ms = s->heartbeat_interval_ms,
                .max_in_flight = spec->max_in_flight,
                .max_agents = 10000,
                .max_message_bytes = s->max_message_bytes,
                .max_result_bytes = s->max_message_bytes,
                .memory_executions = s->memory_executions,
                .memory_bytes = 16 << 20,
                .report_delay_usec = s->report_delay_usec,
                .events = s->events,
                .max_subscriptions = 100000,
                .max_subscriptions_per_agent = 100,
                .max_asks = 1000,
                .max_asks_per_agent = 100,
                .max_timers_per_agent = 100,
                .realtime_max_age_usec = sim->apps ? s->apps.realtime_max_age_usec : USEC_PER_SEC,
                .has_store = sim->apps && s->apps.has_store,
                .behaviors = sim->apps ? probes_new(sim, node) : NULL,
        };
        const NatsLinkSubscription *subscriptions;
        size_t n;
        int r;

        r = runtime_new(&options, &node->outbox, now, &node->runtime.core);
        assert(r == 0);
        if (options.epoch < node->runtime.epoch_started)
                sim_count(sim, COUNT_LOWER_EPOCH);
        node->runtime.epoch_started = options.epoch;
        node->runtime.epoch = runtime_epoch(node->runtime.core);
        node->runtime.dead_epoch = node->runtime.told_dead_epoch = 0;
        node->runtime.stopping = false;
        node->runtime.n_full = 0;
        if (sim->apps)
                node->runtime.children = calloc(APPS_MAX, sizeof(ExecChild));
        create_agents(sim, node, now);
        subscriptions = runtime_subscriptions(node->runtime.core, &n);
        for (size_t i = 0; i < n; i++)
                net_subscribe(sim, node, &subscriptions[i]);
}

static void runtime_stop_process(Sim *sim, Node *node) {
        const Instant now = node_instant(sim, node);

        if (sim->apps) {
                disk_abandon(sim, node, node->runtime.stopping && runtime_is_stopped(node->runtime.core));
                exec_abandon(sim, node, now);
        }
        workers_abandon(sim, node, now);
        node->runtime.core = runtime_free(node->runtime.core);
        probes_free(node);
        free(node->runtime.children);
        node->runtime.children = NULL;
}

static void on_link_up(Node *node, uint64_t max_payload, Instant now) {
        runtime_on_link_up(node->runtime.core, max_payload, now);
}

static void on_link_down(Node *node, Instant now) {
        runtime_on_link_down(node->runtime.core, now);
}

static void on_message(Sim *sim, Node *node, const Message *message, uint64_t tag, Instant now) {
        const InMessage in = {
                .subject = message->subject,
                .reply = message->reply,
                .headers = message->headers,
                .body = message->body,
                .no_responders = message->no_responders,
                .tag = tag,
        };

        (void)sim;
        runtime_on_message(node->runtime.core, &in, now);
}

static void on_turn_end(Sim *sim, Node *node, Instant now) {
        if (runtime_was_replaced(node->runtime.core) && !node->runtime.stopping) {
                sim_trace(sim, node, "was replaced: stops");
                sim_count(sim, COUNT_REPLACED);
                node->runtime.stopping = true;
                node->restart_wanted = false;
                life_on_told_to_stop(sim, node);
                node->runtime.stop_usec = now.usec + DRAIN_USEC;
                runtime_stop(node->runtime.core, node->runtime.stop_usec, now);
        }
        runtime_on_turn_end(node->runtime.core, now);
}

static void on_time(Node *node, Instant now) {
        runtime_on_time(node->runtime.core, now);
}

static uint64_t next_deadline(const Node *node) {
        return runtime_next_deadline(node->runtime.core);
}

static const char *check(const Node *node, Instant now) {
        return runtime_check(node->runtime.core, now);
}

static bool wants_to_leave(const Node *node) {
        return node->runtime.stopping && runtime_is_stopped(node->runtime.core);
}

const NodeClass node_class_runtime = {
        .letter = "r",
        .start = runtime_start,
        .stop = runtime_stop_process,
        .on_link_up = on_link_up,
        .on_link_down = on_link_down,
        .on_message = on_message,
        .on_turn_end = on_turn_end,
        .on_time = on_time,
        .next_deadline = next_deadline,
        .check = check,
        .wants_to_leave = wants_to_leave,
};
