/* SPDX-License-Identifier: MIT */

/*
 * A service that publishes triggers and waits for answers. It has no core: the oracle is told what arrives.
 */

#include <stdio.h>

#include "tests/sim/apps.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

static void caller_start(Sim *sim, Node *node, Instant now) {
        char inbox[80], results[96];

        (void)now;

        (void)snprintf(inbox, sizeof(inbox), "%s.>", node->inbox_prefix);
        (void)snprintf(results, sizeof(results), "compozy.results.agent.%s.*", node->name);
        net_subscribe(sim, node, &(NatsLinkSubscription){ .subject = inbox });
        net_subscribe(sim, node, &(NatsLinkSubscription){ .subject = results });
}

static void caller_stop(Sim *sim, Node *node) {
        (void)sim;
        (void)node;
}

static void on_link_up(Node *node, uint64_t max_payload, Instant now) {
        (void)node;
        (void)max_payload;
        (void)now;
}

static void on_link_down(Node *node, Instant now) {
        (void)node;
        (void)now;
}

static void on_message(Sim *sim, Node *node, const Message *message, uint64_t tag, Instant now) {
        (void)tag;
        (void)now;

        if (message->meaning.kind == MEANING_REQUEST_ANSWER)
                apps_on_answer(sim, node, message);
}

static void on_turn_end(Sim *sim, Node *node, Instant now) {
        (void)sim;
        (void)node;
        (void)now;
}

static void on_time(Node *node, Instant now) {
        (void)node;
        (void)now;
}

static uint64_t next_deadline(const Node *node) {
        (void)node;
        return USEC_NEVER;
}

const NodeClass node_class_caller = {
        .letter = "c",
        .start = caller_start,
        .stop = caller_stop,
        .on_link_up = on_link_up,
        .on_link_down = on_link_down,
        .on_message = on_message,
        .on_turn_end = on_turn_end,
        .on_time = on_time,
        .next_deadline = next_deadline,
};
