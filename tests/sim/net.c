/* SPDX-License-Identifier: MIT */

/*
 * One event per direction of a connection, for the head of its queue; an event of an older generation does nothing. So
 * order within a direction holds whatever the faults do to delays, and a break is: empty the queues, raise the
 * generation.
 */

#include "tests/sim/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#define RETRY_USEC (50 * USEC_PER_MSEC) /* between attempts to connect; the real link backs off further */

typedef enum Direction {
        TO_SERVER,
        FROM_SERVER,
} Direction;

static void on_pump(Sim *sim, Event *event);

static uint64_t pump_argument(const Link *link, Direction direction) {
        return link->generation * 2 + direction;
}

static Queue *link_queue(Link *link, Direction direction) {
        return direction == TO_SERVER ? &link->out : &link->in;
}

static void pump_later(Sim *sim, Node *node, Direction direction, uint64_t usec) {
        schedule_add(&sim->schedule, &(Event){
                                             .usec = MAX_OF(usec, sim->now),
                                             .fn = on_pump,
                                             .node = node,
                                             .argument = pump_argument(&node->link, direction),
                                     });
}

static void link_push(Sim *sim, Node *node, Direction direction, Item item) {
        Link *link = &node->link;
        uint64_t *last = direction == TO_SERVER ? &link->out_last_usec : &link->in_last_usec;
        uint64_t delay = link->delay_usec / 2 + rng_below(&sim->rng_net, link->delay_usec + 1);

        if (sim->now < link->spike_until)
                delay += link->spike_usec / 2 + rng_below(&sim->rng_net, link->spike_usec + 1);
        item.ready_usec = MAX_OF(sim->now + delay, *last);
        *last = item.ready_usec;

        queue_push(link_queue(link, direction), item);
        if (link_queue(link, direction)->n_items == 1)
                pump_later(sim, node, direction, item.ready_usec);
}

static void link_empty(Sim *sim, Node *node, Direction direction, const char *why) {
        Item item;

        while (queue_pop(link_queue(&node->link, direction), &item)) {
                if (item.message)
                        oracle_on_lost(sim, item.message, direction == TO_SERVER ? NULL : node, why);
                (void)message_unref(item.message);
        }
        if (direction == TO_SERVER)
                node->link.out_last_usec = 0;
        else
                node->link.in_last_usec = 0;
}

/* the server */

static LinkSubscription *list_find(const LinkSubscriptions *list, uint64_t number) {
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].number == number)
                        return &list->items[i];
        return NULL;
}

static void list_add(LinkSubscriptions *list, const LinkSubscription *subscription) {
        if (list->n == list->n_allocated) {
                list->n_allocated = MAX_OF(list->n_allocated * 2, (size_t)8);
                list->items = reallocarray(list->items, list->n_allocated, sizeof(*list->items));
                assert(list->items);
        }
        list->items[list->n++] = *subscription;
}

/* The others keep their order: the server goes through them in it. */
static void list_remove(LinkSubscriptions *list, const LinkSubscription *gone) {
        const size_t at = (size_t)(gone - list->items);

        memmove(&list->items[at], &list->items[at + 1], (--list->n - at) * sizeof(*list->items));
}

static void server_deliver(Sim *sim, Node *node, Message *message, const LinkSubscription *through) {
        Link *link = &node->link;

        if (link->black_hole) {
                oracle_on_lost(sim, message, node, "the server has not noticed that the receiver is gone");
                return;
        }
        if (sim->now < link->drop_until && rng_below(&sim->rng_net, 100) < link->drop_percent) {
                oracle_on_lost(sim, message, node, "slow consumer");
                return;
        }
        link_push(sim, node, FROM_SERVER,
                (Item){
                        .kind = ITEM_MESSAGE,
                        .message = message_ref(message),
                        .number = through->number,
                        .tag = through->tag,
                        .in_order = through->in_order,
                });
}

typedef struct Late {
        Message *message;
        uint64_t generation;
        LinkSubscription through;
} Late;

static void late_drop(void *object) {
        Late *late = object;

        (void)message_unref(late->message);
        free(late);
}

static void on_late(Sim *sim, Event *event) {
        Late *late = event->object;

        if (event->node->link.attached && event->node->link.generation == late->generation)
                server_deliver(sim, event->node, late->message, &late->through);
}

/* A second copy comes later, behind what was sent in between. */
static void server_duplicate(Sim *sim, Node *node, Message *message, const LinkSubscription *through) {
        Late *late;

        if (message->is_single)
                return;
        if (sim->now >= node->link.duplicate_until || rng_below(&sim->rng_net, 100) >= node->link.duplicate_percent)
                return;
        late = calloc(1, sizeof(*late));
        assert(late);
        *late = (Late){ .message = message_ref(message), .generation = node->link.generation, .through = *through };
        schedule_add(&sim->schedule,
                &(Event){
                        .usec = sim->now +
                                rng_below(&sim->rng_net, rng_chance(&sim->rng_net, 300) ? 2 * USEC_PER_SEC : 20000),
                        .fn = on_late,
                        .node = node,
                        .object = late,
                        .drop = late_drop,
                });
}

static void server_no_responders(Sim *sim, Message *cause, Node *from) {
        const LinkSubscriptions *list = &from->link.subscriptions;
        const LinkSubscription *through = NULL;
        Message *message;

        for (size_t i = 0; i < list->n && !through; i++)
                if (subject_matches(slice_of(list->items[i].subject), cause->reply))
                        through = &list->items[i];
        if (!through)
                return;

        message = message_new(&(OutMessage){ .subject = cause->reply });
        message->no_responders = true;
        message->cause = message_ref(cause);
        message->published_usec = sim->now;
        server_deliver(sim, from, message, through);
        (void)message_unref(message);
}

typedef struct Groups {
        struct {
                const LinkSubscription *subscription; /* the first that was seen */
                const LinkSubscription *chosen;
                Node *chosen_node;
                uint32_t n_members;
        } items[QUEUE_GROUPS_MAX];
        size_t n_items;
} Groups;

/*
 * Reservoir sampling: each member of a group is as likely as any other. To the server a group is its name, whatever
 * the patterns that its members have.
 */
static void groups_add(Sim *sim, Groups *groups, const LinkSubscription *subscription, Node *node) {
        size_t i = 0;

        while (i < groups->n_items && strcmp(groups->items[i].subscription->queue, subscription->queue) != 0)
                i++;
        if (i == groups->n_items) {
                assert(i < ELEMENTSOF(groups->items));
                groups->items[groups->n_items++].subscription = subscription;
        }
        groups->items[i].n_members++;
        if (rng_below(&sim->rng_net, groups->items[i].n_members) == 0) {
                groups->items[i].chosen = subscription;
                groups->items[i].chosen_node = node;
        }
}

static void server_give(Sim *sim, Node *node, Message *message, const LinkSubscription *subscription) {
        server_deliver(sim, node, message, subscription);
        server_duplicate(sim, node, message, subscription);
}

static void server_route(Sim *sim, Message *message, Node *from) {
        Groups groups = { .n_items = 0 };
        bool anybody = false;

        if (net_jetstream(sim, message, from))
                return;
        for (uint32_t n = 0; n < sim->n_nodes; n++) {
                Node *node = sim->nodes[n];

                for (size_t i = 0; node->link.attached && i < node->link.subscriptions.n; i++) {
                        const LinkSubscription *subscription = &node->link.subscriptions.items[i];

                        if (!subject_matches(slice_of(subscription->subject), message->subject))
                                continue;
                        anybody = true;
                        if (subscription->queue[0] != '\0') {
                                groups_add(sim, &groups, subscription, node);
                                continue;
                        }
                        server_give(sim, node, message, subscription);
                }
        }
        for (size_t i = 0; i < groups.n_items; i++)
                server_give(sim, groups.items[i].chosen_node, message, groups.items[i].chosen);
        oracle_on_routed(sim, message);
        if (!anybody && message->reply.size > 0 && from && from->link.attached)
                server_no_responders(sim, message, from);
        if (!anybody)
                oracle_on_unheard(sim, message);
}

void net_answer(Sim *sim, Message *request, Slice body) {
        Message *message = message_new(&(OutMessage){ .subject = request->reply, .body = body });

        message->published_usec = sim->now;
        server_route(sim, message, NULL);
        (void)message_unref(message);
}

/* connections */

static void on_connect(Sim *sim, Event *event) {
        Node *node = event->node;
        Link *link = &node->link;

        if (event->argument != link->generation || !link->wanted || (link->attached && !link->black_hole))
                return;
        if (!sim->server_up || sim->now < link->stall_until || node->state == NODE_PAUSED) {
                sim_after(sim, rng_jitter(&sim->rng_net, RETRY_USEC, 50), on_connect, node, link->generation);
                return;
        }
        link->connecting = false;
        link->attached = true;
        link->black_hole = false;
        link->subscriptions.n = 0;
        for (size_t i = 0; i < link->kept.n; i++)
                list_add(&link->subscriptions, &link->kept.items[i]);
        sim_trace(sim, node, "connects");
        link_push(sim, node, FROM_SERVER, (Item){ .kind = ITEM_UP });
}

static void connect_later(Sim *sim, Node *node, uint64_t delay_usec) {
        node->link.connecting = true;
        sim_after(sim, delay_usec, on_connect, node, node->link.generation);
}

/* Both queues are lost, whoever they belonged to. */
static void link_break(Sim *sim, Node *node, const char *why, bool tell) {
        Link *link = &node->link;

        link_empty(sim, node, TO_SERVER, why);
        link_empty(sim, node, FROM_SERVER, why);
        link->generation++;
        link->attached = false;
        link->black_hole = false;
        node_disturb(sim, node);
        if (!link->wanted)
                return;
        if (tell) {
                link->up = false;
                node_receive(sim, node, (Item){ .kind = ITEM_DOWN });
        }
        connect_later(sim, node, rng_between(&sim->rng_net, 1, 400) * USEC_PER_MSEC);
}

static void server_take(Sim *sim, Node *node, const Item *item) {
        LinkSubscriptions *list = &node->link.subscriptions;
        const LinkSubscription *kept, *standing = list_find(list, item->number);

        switch (item->kind) {
        case ITEM_MESSAGE:
                server_route(sim, item->message, node);
                break;
        case ITEM_SUBSCRIBE:
                kept = list_find(&node->link.kept, item->number);
                if (kept && !standing) /* else it was ended meanwhile, or stood when we connected */
                        list_add(list, kept);
                break;
        default:
                if (standing)
                        list_remove(list, standing);
                break;
        }
}

static void on_pump(Sim *sim, Event *event) {
        Node *node = event->node;
        Link *link = &node->link;
        Direction direction = event->argument & 1;
        Queue *queue = link_queue(link, direction);
        Item item;

        if (event->argument != pump_argument(link, direction))
                return;
        if (sim->now < link->stall_until) {
                pump_later(sim, node, direction, link->stall_until);
                return;
        }
        while (queue_head(queue) && queue_head(queue)->ready_usec <= sim->now) {
                (void)queue_pop(queue, &item);
                if (direction == FROM_SERVER) {
                        node_receive(sim, node, item);
                        continue;
                }
                server_take(sim, node, &item);
                (void)message_unref(item.message);
        }
        if (queue_head(queue))
                pump_later(sim, node, direction, queue_head(queue)->ready_usec);
}

void net_join(Sim *sim, Node *node) {
        node->link.generation++;
        node->link.wanted = true;
        connect_later(sim, node, rng_between(&sim->rng_net, 1, 20) * USEC_PER_MSEC);
}

static void on_unnoticed_end(Sim *sim, Event *event) {
        Link *link = &event->node->link;

        if (event->argument != link->generation || !link->black_hole)
                return;
        sim_trace(sim, event->node, "is forgotten by the server");
        link->attached = link->black_hole = false;
        link->subscriptions.n = 0;
}

void net_leave(Sim *sim, Node *node, uint64_t unnoticed_usec, bool lose_sent) {
        Link *link = &node->link;
        Item item;

        link->wanted = link->up = link->connecting = false;
        if (lose_sent)
                link_empty(sim, node, TO_SERVER, "power cut");
        /* what a dead process's kernel still sends arrives at once, before the server sees the close */
        while (link->attached && !link->black_hole && sim->now >= link->stall_until && queue_pop(&link->out, &item)) {
                server_take(sim, node, &item);
                (void)message_unref(item.message);
        }
        link_empty(sim, node, TO_SERVER, "process gone");
        link_empty(sim, node, FROM_SERVER, "process gone");
        link->generation++;
        link->spike_until = link->drop_until = link->duplicate_until = 0;
        if (!link->attached || unnoticed_usec == 0) {
                link->attached = link->black_hole = false;
                link->subscriptions.n = 0;
                return;
        }
        link->black_hole = true;
        sim_after(sim, unnoticed_usec, on_unnoticed_end, node, link->generation);
}

void net_publish(Sim *sim, Node *node, const OutMessage *content) {
        Message *message = message_new(content);

        message->from = node->index;
        message->from_incarnation = node->incarnation;
        message->published_usec = sim->now;
        sim_count(sim, COUNT_MESSAGES);
        oracle_on_publish(sim, node, message);
        if (!node->link.up)
                oracle_on_lost(sim, message, NULL, "link down");
        else if (message->headers.size + message->body.size > sim->scenario.max_payload)
                oracle_on_lost(sim, message, NULL, "over max_payload");
        else
                link_push(sim, node, TO_SERVER, (Item){ .kind = ITEM_MESSAGE, .message = message_ref(message) });
        (void)message_unref(message);
}

static LinkSubscription *keep(Sim *sim, Node *node, Slice subject, Slice queue) {
        LinkSubscription subscription = { .number = ++sim->n_subscriptions };

        assert(subject.size < sizeof(subscription.subject) && queue.size < sizeof(subscription.queue));
        (void)snprintf(subscription.subject, sizeof(subscription.subject), "%.*s", SLICE_ARG(subject));
        (void)snprintf(subscription.queue, sizeof(subscription.queue), "%.*s", SLICE_ARG(queue));
        list_add(&node->link.kept, &subscription);
        return &node->link.kept.items[node->link.kept.n - 1];
}

void net_subscribe(Sim *sim, Node *node, const NatsLinkSubscription *subscription) {
        LinkSubscription *kept = keep(sim, node, slice_of(subscription->subject), slice_of(subscription->queue));

        kept->in_order = subscription->ordered || strncmp(subscription->subject, "_INBOX.", 7) == 0;
}

/* While there is no connection the next one will do it. */
static void tell_server(Sim *sim, Node *node, ItemKind kind, uint64_t number) {
        if (node->link.attached && !node->link.black_hole)
                link_push(sim, node, TO_SERVER, (Item){ .kind = kind, .number = number });
}

void net_say_subscription(Sim *sim, Node *node, const OutMessage *message) {
        LinkSubscriptions *list = &node->link.kept;
        uint64_t number;

        if (message->kind == OUT_SUBSCRIBE) {
                LinkSubscription *kept = keep(sim, node, message->subject, message->reply);

                kept->tag = message->tag;
                kept->in_order = true;
                sim_trace(sim, node, "subscribes to %s %s (tag %" PRIu64 ")", kept->subject, kept->queue, kept->tag);
                tell_server(sim, node, ITEM_SUBSCRIBE, kept->number);
                return;
        }
        for (size_t i = 0; i < list->n; i++) {
                if (list->items[i].tag != message->tag)
                        continue;
                number = list->items[i].number;
                sim_trace(sim, node, "unsubscribes from %s (tag %" PRIu64 ")", list->items[i].subject, message->tag);
                list_remove(list, &list->items[i]);
                tell_server(sim, node, ITEM_UNSUBSCRIBE, number);
                return;
        }
}

const LinkSubscription *net_find_subscription(const Node *node, uint64_t number) {
        return list_find(&node->link.kept, number);
}

void net_forget_subscriptions(Node *node) {
        node->link.kept.n = 0;
}

static void leave_queues(LinkSubscriptions *list) {
        size_t n = 0;

        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].queue[0] == '\0')
                        list->items[n++] = list->items[i];
        list->n = n;
}

void net_unsubscribe_queues(Node *node) {
        leave_queues(&node->link.kept);
        leave_queues(&node->link.subscriptions);
}

void net_reset(Sim *sim, Node *node) {
        if (node->link.attached && !node->link.black_hole)
                link_break(sim, node, "connection reset", true);
}

/* The server still holds the old connection, until it notices or the client is back. */
static void on_client_gives_up(Sim *sim, Event *event) {
        Link *link = &event->node->link;
        bool held = link->attached;

        if (event->argument != link->generation || !link->wanted || sim->now >= link->stall_until)
                return;
        link_break(sim, event->node, "cut off: the client gave up", true);
        link->attached = link->black_hole = held;
        sim_after(sim, rng_between(&sim->rng_net, 100, 3000) * USEC_PER_MSEC, on_unnoticed_end, event->node,
                link->generation);
}

/* The client learns of it when the cut is over: its next packet is answered with a reset. */
static void on_server_gives_up(Sim *sim, Event *event) {
        Node *node = event->node;

        if (event->argument != node->link.generation || !node->link.attached || sim->now >= node->link.stall_until)
                return;
        sim_trace(sim, node, "is given up by the server");
        node->link.attached = false;
        link_empty(sim, node, FROM_SERVER, "cut off: the server gave up");
}

static void on_cut_end(Sim *sim, Event *event) {
        Node *node = event->node;

        node_disturb(sim, node);
        if (event->argument == node->link.generation && node->link.wanted && !node->link.attached &&
                !node->link.connecting)
                link_break(sim, node, "the server had given up", true);
}

void net_cut(Sim *sim, Node *node, uint64_t usec, uint64_t client_patience_usec, uint64_t server_patience_usec) {
        Link *link = &node->link;

        node_disturb(sim, node);
        link->stall_until = MAX_OF(link->stall_until, sim->now + usec);
        if (link->attached && !link->black_hole && client_patience_usec < usec)
                sim_after(sim, client_patience_usec, on_client_gives_up, node, link->generation);
        if (link->attached && !link->black_hole && server_patience_usec < usec)
                sim_after(sim, server_patience_usec, on_server_gives_up, node, link->generation);
        sim_after(sim, usec, on_cut_end, node, link->generation);
}

void net_heal(Sim *sim, Node *node) {
        Link *link = &node->link;

        link->drop_until = link->duplicate_until = link->spike_until = 0;
        if (link->stall_until > sim->now) {
                link->stall_until = sim->now;
                if (queue_head(&link->out))
                        pump_later(sim, node, TO_SERVER, queue_head(&link->out)->ready_usec);
                if (queue_head(&link->in))
                        pump_later(sim, node, FROM_SERVER, queue_head(&link->in)->ready_usec);
                if (link->wanted && !link->attached && !link->connecting)
                        link_break(sim, node, "the server had given up", true);
        }
        /* what a delay holds back is still on its way */
        node->disturbed_until =
                MAX_OF(node->disturbed_until, MAX_OF(sim->now, MAX_OF(link->out_last_usec, link->in_last_usec)));
}

void net_server_stop(Sim *sim) {
        sim->server_up = false;
        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                Link *link = &sim->nodes[i]->link;

                if (link->attached && link->wanted)
                        link_break(sim, sim->nodes[i], "NATS stopped", true);
                link->attached = link->black_hole = false;
        }
}

void net_server_start(Sim *sim) {
        sim->server_up = true;
}

void net_done(Node *node) {
        queue_done(&node->link.out);
        queue_done(&node->link.in);
        free(node->link.kept.items);
        free(node->link.subscriptions.items);
}
