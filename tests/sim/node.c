/* SPDX-License-Identifier: MIT */

/*
 * A node's loop as the daemons run it: what arrived since the last turn is handled in order, then on_turn_end(), then
 * what the core wrote is published and one timer is set for its next deadline. Timers fire a little late, and after a
 * pause in a random order with the messages that piled up.
 */

#include "tests/sim/node.h"

#include <stdio.h>

#include "proto/scan.h"
#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#define TURN_MESSAGES_MAX 256
#define SPANS_MAX 64         /* of a turn: now and then one has more */
#define IDLE_TIMERS_MAX 1000 /* in a row: the core says "now" for ever and would burn a CPU */
#define TIMER_LATE_USEC 400
#define LONG_PAUSE_USEC                                                                                              \
        USEC_PER_SEC /* beyond a window: a process can't help noticing; a shorter one costs it nothing, what came is \
                        kept */

static void on_turn(Sim *sim, Event *event);
static void on_timer(Sim *sim, Event *event);

Instant node_instant(const Sim *sim, const Node *node) {
        uint64_t now = node->frozen ? node->paused_usec : sim->now;

        return (Instant){
                .usec = now + (uint64_t)node->boot_offset,
                .real_usec = now - SIM_EPOCH_USEC + SIM_REAL_USEC + (uint64_t)node->real_offset,
        };
}

void node_disturb(const Sim *sim, Node *node) {
        node->disturbed_until = MAX_OF(node->disturbed_until, sim->now);
}

void node_aware(const Sim *sim, Node *node) {
        node->aware_usec = sim->now;
        node->aware_local = node_instant(sim, node).usec;
}

bool node_is_sound_since(const Node *node, uint64_t usec) {
        const Link *link = &node->link;

        return node->state == NODE_RUNNING && link->up && link->attached && node->disturbed_until <= usec &&
               link->stall_until <= usec && link->drop_until <= usec &&
               link->spike_until + 2 * link->spike_usec <= usec;
}

bool node_is_undisturbed_since(const Node *node, uint64_t usec) {
        const Link *link = &node->link;

        return node->state == NODE_RUNNING && link->up && link->attached && node->disturbed_until <= usec &&
               link->stall_until <= usec;
}

Node *sim_find_runtime(const Sim *sim, Slice runtime_id) {
        Node *found = NULL;

        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                Node *node = sim->nodes[i];

                if (node->kind != NODE_RUNTIME || !slice_equal(slice_of(node->runtime.id), runtime_id))
                        continue;
                if (!found || (found->state != NODE_RUNNING && node->state != NODE_DOWN))
                        found = node;
        }
        return found;
}

/* turns */

static void schedule_turn(Sim *sim, Node *node) {
        if (node->turn_scheduled || node->state != NODE_RUNNING)
                return;
        node->turn_scheduled = true;
        sim_after(sim, rng_below(&sim->rng_nodes, 60), on_turn, node, node->incarnation);
}

void node_receive(Sim *sim, Node *node, Item item) {
        if (node->state == NODE_DOWN) {
                (void)message_unref(item.message);
                return;
        }
        item.ready_usec = sim->now;
        /* only where there is both: elsewhere all that comes is plain, and keeps the order of its one connection */
        queue_push(
                item.kind == ITEM_MESSAGE && !item.in_order && sim->scenario.apps.is_on ? &node->apart : &node->inbox,
                item);
        schedule_turn(sim, node);
}

static void arm_timer(Sim *sim, Node *node) {
        uint64_t deadline = node->class->next_deadline(node), usec;

        if (node->state != NODE_RUNNING)
                return;
        if (deadline == USEC_NEVER) {
                node->timer_usec = USEC_NEVER;
                return;
        }
        usec = deadline - (uint64_t)node->boot_offset;
        if ((int64_t)(usec - sim->now) < 0)
                usec = sim->now;
        if (node->timer_usec == usec)
                return;
        node->timer_usec = usec;
        schedule_add(&sim->schedule, &(Event){
                                             .usec = usec + rng_below(&sim->rng_nodes, TIMER_LATE_USEC),
                                             .fn = on_timer,
                                             .node = node,
                                             .argument = ++node->timer_generation,
                                     });
}

static void node_leave(Sim *sim, Node *node) {
        sim_trace(sim, node, "has nothing left to do and exits");
        oracle_on_leave(sim, node);
        node_kill(sim, node, 0, /* lose_sent= */ false);
        if (node->restart_wanted)
                sim_after(sim, rng_between(&sim->rng_faults, 50, 3000) * USEC_PER_MSEC, oracle_on_restart, node, 0);
}

/* traces */

Tracer *node_tracer(const Sim *sim, Node *node) {
        return sim->options.seed % 3 == 0 ? &node->tracer : NULL;
}

/* What the exporter does in a daemon: it takes what a turn has recorded, which must be JSON. */
static void take_spans(Node *node) {
        static const ScanField fields[] = { { .name = "v", .kind = SCAN_RAW_ARRAY, .required = true },
                { .name = NULL } };
        _cleanup_(arena_clear) Arena arena = {};
        _cleanup_(buffer_done) Buffer text = {};
        WireError error;
        Slice spans, span;
        size_t cursor = 0, n = 0;

        if (node->tracer.n_spans == 0)
                return;
        buffer_printf(&text, "{\"v\":[%.*s]}", SLICE_ARG(buffer_slice(&node->tracer.spans)));
        assert(scan_object(buffer_slice(&text), fields, &spans, &arena, &error) == 0);
        while (scan_next(spans, &cursor, &span))
                n++;
        assert(n == node->tracer.n_spans);
        tracer_clear(&node->tracer);
}

void node_settle(Sim *sim, Node *node) {
        const Instant now = node_instant(sim, node);
        const char *broken = NULL;

        if (node->state == NODE_DOWN)
                return;
        if (node->kind == NODE_RUNTIME)
                workers_take(sim, node);
        if (node->kind == NODE_RUNTIME && sim->apps) {
                exec_take(sim, node);
                disk_take(sim, node);
        }
        for (size_t i = 0; i < outbox_size(&node->outbox); i++) {
                const OutMessage message = outbox_get(&node->outbox, i);

                if (message.kind == OUT_PUBLISH)
                        net_publish(sim, node, &message);
                else if (sim->scenario.apps.is_on) /* else nobody publishes to topics */
                        net_say_subscription(sim, node, &message);
        }
        outbox_clear(&node->outbox);
        take_spans(node);
        if (node->kind == NODE_RUNTIME)
                workers_feed(sim, node);

        node->n_turns++;
        if (node->class->check && (sim->scenario.check_each_turn || sim->options.trace || node->n_turns % 16 == 0))
                broken = node->class->check(node, now);
        if (broken)
                sim_break(sim, "own check", "%s: %s", node->name, broken);
        oracle_after_turn(sim, node);

        if (node->class->wants_to_leave && node->class->wants_to_leave(node))
                node_leave(sim, node);
        else
                arm_timer(sim, node);
}

static void handle_item(Sim *sim, Node *node, const Item *item, Instant now) {
        switch (item->kind) {
        case ITEM_UP:
                sim_trace(sim, node, "link up");
                node->link.up = true;
                apps_on_link(sim, node);
                node_disturb(sim, node);
                node_aware(sim, node);
                node->class->on_link_up(node, sim->scenario.max_payload, now);
                break;
        case ITEM_DOWN:
                sim_trace(sim, node, "link down");
                apps_on_link(sim, node);
                node->class->on_link_down(node, now);
                break;
        case ITEM_MESSAGE:
                if (item->tag > 0 && !net_find_subscription(node, item->number))
                        break; /* ended meanwhile: the link does not show it any more */
                sim_count(sim, COUNT_DELIVERIES);
                oracle_before_delivery(sim, node, item->message);
                if (item->tag > 0)
                        apps_on_delivery(sim, node, item->message, net_find_subscription(node, item->number));
                node->class->on_message(sim, node, item->message, item->tag, now);
                oracle_after_delivery(sim, node, item->message);
                break;
        default:
                break;
        }
}

static void run_timers(Sim *sim, Node *node, Instant now) {
        node->class->on_time(node, now);
        if (node->class->next_deadline(node) > now.usec) {
                node->n_idle_timers = 0;
                return;
        }
        if (++node->n_idle_timers > IDLE_TIMERS_MAX)
                sim_break(sim, "progress", "%s: next_deadline stays in the past after on_time", node->name);
}

/* What comes of the link itself (up, down) nothing overtakes. */
static bool is_apart_next(Sim *sim, const Item *first, const Item *apart) {
        if (!apart || !first)
                return apart;
        if (first->kind != ITEM_MESSAGE)
                return apart->ready_usec < first->ready_usec ||
                       (apart->ready_usec == first->ready_usec && first->kind == ITEM_DOWN);
        return rng_chance(&sim->rng_apps, 500);
}

static bool next_item(Sim *sim, Node *node, Item *ret) {
        const bool is_apart = is_apart_next(sim, queue_head(&node->inbox), queue_head(&node->apart));

        return queue_pop(is_apart ? &node->apart : &node->inbox, ret);
}

static void on_turn(Sim *sim, Event *event) {
        Node *node = event->node;
        const Instant now = node_instant(sim, node);
        bool timers_first;
        Item item;

        if (node->incarnation != event->argument || node->state != NODE_RUNNING)
                return;
        node->turn_scheduled = false;

        timers_first = node->class->next_deadline(node) <= now.usec && rng_chance(&sim->rng_nodes, 500);
        if (timers_first)
                run_timers(sim, node, now);
        for (unsigned i = 0; i < TURN_MESSAGES_MAX && next_item(sim, node, &item); i++) {
                handle_item(sim, node, &item, now);
                (void)message_unref(item.message);
        }
        node->class->on_turn_end(sim, node, now);
        node_settle(sim, node);
        if (queue_head(&node->inbox) || queue_head(&node->apart))
                schedule_turn(sim, node);
}

static void on_timer(Sim *sim, Event *event) {
        Node *node = event->node;
        const Instant now = node_instant(sim, node);

        if (event->argument != node->timer_generation || node->state != NODE_RUNNING)
                return;
        node->timer_usec = USEC_NEVER;
        if (node->class->next_deadline(node) <= now.usec) {
                run_timers(sim, node, now);
                node->class->on_turn_end(sim, node, now);
        }
        node_settle(sim, node);
}

/* processes */

void node_start(Sim *sim, Node *node) {
        assert(node->state == NODE_DOWN);

        node->state = NODE_RUNNING;
        node->incarnation++;
        node->started_usec = sim->now;
        node->stalled_usec = 0;
        node_aware(sim, node);
        node->turn_scheduled = false;
        node->timer_usec = USEC_NEVER;
        node->timer_generation++;
        node->n_idle_timers = 0;
        net_forget_subscriptions(node);
        node_disturb(sim, node);
        (void)snprintf(node->inbox_prefix, sizeof(node->inbox_prefix), "_INBOX.%sx%u", node->name, node->incarnation);
        sim_trace(sim, node, "starts (process %u)", node->incarnation);
        outbox_init(&node->outbox);
        tracer_init(&node->tracer, sim->options.seed + node->incarnation, 0.7, SPANS_MAX);
        if (node->kind == NODE_RUNTIME)
                apps_on_start(sim, node);
        node->class->start(sim, node, node_instant(sim, node));
        net_join(sim, node);
        oracle_on_start(sim, node);
        node_settle(sim, node);
}

void node_kill(Sim *sim, Node *node, uint64_t unnoticed_usec, bool lose_sent) {
        Item item;

        if (node->state == NODE_DOWN)
                return;
        node->state = NODE_DOWN;
        node->frozen = false;
        node->crashed_usec = sim->now;
        node->timer_generation++;
        node_disturb(sim, node);
        while (next_item(sim, node, &item)) {
                if (item.message)
                        oracle_on_lost(sim, item.message, node, "process gone");
                (void)message_unref(item.message);
        }
        net_leave(sim, node, unnoticed_usec, lose_sent);
        oracle_on_stop(sim, node);
        node->class->stop(sim, node);
        outbox_done(&node->outbox);
        tracer_done(&node->tracer);
}

void node_pause(Sim *sim, Node *node, bool freeze) {
        if (node->state != NODE_RUNNING)
                return;
        node->state = NODE_PAUSED;
        node->paused_usec = sim->now;
        node->frozen = freeze;
        node_disturb(sim, node);
}

void node_resume(Sim *sim, Node *node) {
        if (node->state != NODE_PAUSED)
                return;
        if (node->frozen)
                node->boot_offset -= (int64_t)(sim->now - node->paused_usec);
        else if (sim->now - node->paused_usec > scenario_window_usec(&sim->scenario) + LONG_PAUSE_USEC) {
                node_aware(sim, node);
                node->stalled_usec = sim->now;
        }
        node->frozen = false;
        node->state = NODE_RUNNING;
        node->turn_scheduled = false;
        node->timer_usec = USEC_NEVER;
        node_disturb(sim, node);
        sim_trace(sim, node, "goes on after %.3f s", (double)(sim->now - node->paused_usec) / 1e6);

        /* Which of the two comes first is the kernel's whim. */
        schedule_turn(sim, node);
        arm_timer(sim, node);
}

Node *node_new(Sim *sim, NodeKind kind, const char *name) {
        static const NodeClass *const classes[] = {
                [NODE_DISPATCHER] = &node_class_dispatcher,
                [NODE_CALLER] = &node_class_caller,
                [NODE_RUNTIME] = &node_class_runtime,
        };
        Node *node;

        assert(sim->n_nodes < NODES_MAX);
        node = calloc(1, sizeof(*node));
        assert(node);
        node->index = sim->n_nodes;
        node->kind = kind;
        node->class = classes[kind];
        node->link.delay_usec =
                rng_between(&sim->rng_nodes, sim->scenario.delay_usec / 2, sim->scenario.delay_usec * 2);
        (void)snprintf(node->name, sizeof(node->name), "%s", name);
        node->boot_offset = (int64_t)rng_below(&sim->rng_nodes, 1000 * USEC_PER_SEC);
        node->real_offset = (int64_t)rng_below(&sim->rng_nodes, 10 * USEC_PER_SEC) - (int64_t)(5 * USEC_PER_SEC);
        sim->nodes[sim->n_nodes++] = node;
        return node;
}

Node *node_free(Sim *sim, Node *node) {
        if (!node)
                return NULL;
        if (node->state != NODE_DOWN) {
                node->class->stop(sim, node);
                outbox_done(&node->outbox);
                tracer_done(&node->tracer);
        }
        queue_done(&node->inbox);
        queue_done(&node->apart);
        net_done(node);
        if (node->kind == NODE_RUNTIME)
                disk_free(node);
        free(node);
        return NULL;
}
