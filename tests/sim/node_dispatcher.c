/* SPDX-License-Identifier: MIT */

/*
 * The real dispatcher core as a node.
 */

#include "dispatcherd/dispatcher.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

static void dispatcher_start(Sim *sim, Node *node, Instant now) {
        const Scenario *s = &sim->scenario;
        const DispatcherOptions options = {
                .id = node->name,
                .subject_prefix = SUBJECT_PREFIX_DEFAULT,
                .inbox_prefix = node->inbox_prefix,
                .hostname = "host",
                .version = "sim",
                .random_seed = rng_next(&sim->rng_nodes),
                .tracer = node_tracer(sim, node),
                .queue_limit = s->queue_limit,
                .queue_bytes_limit = s->queue_bytes_limit,
                .max_message_bytes = s->max_message_bytes,
                .max_runtimes = 1000,
                .max_agents = 100000,
                .suspect_after = s->suspect_after,
                .dead_after = s->dead_after,
                .probe_timeout_usec = s->probe_timeout_usec,
                .reconnect_grace_usec = s->reconnect_grace_usec,
                .heartbeats_per_second_max = s->heartbeats_per_second_max,
                .default_deadline_ms = s->default_deadline_ms,
                .max_attempts = s->max_attempts,
                .check_usec = s->check_usec,
                .rehost_wait_usec = s->rehost_wait_usec,
                .settle_usec = s->settle_usec,
                .events = s->events,
                .jetstream = s->jetstream,
                .events_max_age_usec = 7 * 24 * 3600 * USEC_PER_SEC,
                .history_max = s->history_max,
        };
        const NatsLinkSubscription *subscriptions;
        size_t n;
        int r;

        r = dispatcher_new(&options, &node->outbox, now, &node->dispatcher.core);
        assert(r == 0);
        node->dispatcher.n_runtimes = 0;
        node->dispatcher.draining = false;
        subscriptions = dispatcher_subscriptions(node->dispatcher.core, &n);
        for (size_t i = 0; i < n; i++)
                net_subscribe(sim, node, &subscriptions[i]);
}

static void dispatcher_stop(Sim *sim, Node *node) {
        (void)sim;
        node->dispatcher.core = dispatcher_free(node->dispatcher.core);
}

static void on_link_up(Node *node, uint64_t max_payload, Instant now) {
        dispatcher_on_link_up(node->dispatcher.core, max_payload, now);
}

static void on_link_down(Node *node, Instant now) {
        dispatcher_on_link_down(node->dispatcher.core, now);
}

static void on_message(Sim *sim, Node *node, const Message *message, uint64_t tag, Instant now) {
        const InMessage in = {
                .subject = message->subject,
                .reply = message->reply,
                .headers = message->headers,
                .body = message->body,
                .no_responders = message->no_responders,
        };

        (void)sim;
        (void)tag;
        dispatcher_on_message(node->dispatcher.core, &in, now);
}

static void on_turn_end(Sim *sim, Node *node, Instant now) {
        (void)sim;
        dispatcher_on_turn_end(node->dispatcher.core, now);
}

static void on_time(Node *node, Instant now) {
        dispatcher_on_time(node->dispatcher.core, now);
}

static uint64_t next_deadline(const Node *node) {
        return dispatcher_next_deadline(node->dispatcher.core);
}

static const char *check(const Node *node, Instant now) {
        return dispatcher_check(node->dispatcher.core, now);
}

static bool wants_to_leave(const Node *node) {
        return node->dispatcher.draining && dispatcher_is_drained(node->dispatcher.core);
}

const NodeClass node_class_dispatcher = {
        .letter = "d",
        .start = dispatcher_start,
        .stop = dispatcher_stop,
        .on_link_up = on_link_up,
        .on_link_down = on_link_down,
        .on_message = on_message,
        .on_turn_end = on_turn_end,
        .on_time = on_time,
        .next_deadline = next_deadline,
        .check = check,
        .wants_to_leave = wants_to_leave,
};
