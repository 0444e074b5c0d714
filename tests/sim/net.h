/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Net: a virtual NATS server and one connection (Link) to it per node.
 *
 * A connection is like TCP: each direction is a queue that keeps its order, may stand still, and loses what is in it
 * when it breaks. The server matches subscriptions with wildcards, picks one of each queue group, and tells a publisher
 * that nobody listens ("no responders") where the real one would.
 */

#include "common/nats_link.h"
#include "tests/sim/message.h"
#include "tests/sim/schedule.h"

#define QUEUE_GROUPS_MAX 32 /* that one message may be for */

typedef struct LinkSubscription {
        char subject[160];
        char queue[64];  /* "": none */
        uint64_t tag;    /* 0: none */
        uint64_t number; /* of all subscriptions that ever were, from 1: a tag may come again */
        bool in_order;   /* its messages keep the wire's order with those of all others of which that is true */
} LinkSubscription;

typedef struct LinkSubscriptions {
        LinkSubscription *items;
        size_t n, n_allocated;
} LinkSubscriptions;

typedef struct Link {
        /* the client's side */
        bool up;               /* the node was told so; publishing works */
        bool connecting;       /* an attempt is scheduled */
        bool wanted;           /* there is a process that wants it */
        uint64_t noticed_usec; /* when the node was last told that it is up, or down */
        /* the server's side */
        bool attached;   /* its subscriptions stand */
        bool black_hole; /* the server has not noticed yet that nobody is there any more */

        uint64_t generation; /* of the connection: what belongs to an older one is void */
        Queue out, in;       /* to the server, from the server */
        uint64_t out_last_usec, in_last_usec;

        uint64_t delay_usec; /* one way, varied by half */
        uint64_t stall_until, spike_until, spike_usec, drop_until, duplicate_until;
        unsigned drop_percent, duplicate_percent;

        LinkSubscriptions kept;          /* by the process: set up again with each connection */
        LinkSubscriptions subscriptions; /* that stand at the server */
} Link;

/* A process starts to connect, and again whenever the link is gone, until net_leave(). */
void net_join(Sim *sim, Node *node);

/*
 * The process is gone. Its socket closes: what it has sent arrives, and the server forgets its subscriptions
 * `unnoticed_usec` later; until then messages to it vanish. `lose_sent`: what it has sent and has not arrived is gone
 * too (power cut).
 */
void net_leave(Sim *sim, Node *node, uint64_t unnoticed_usec, bool lose_sent);

/* What a node publishes. Lost (and the oracle is told) when its link is down. */
void net_publish(Sim *sim, Node *node, const OutMessage *message);

/* Before it is connected. */
void net_subscribe(Sim *sim, Node *node, const NatsLinkSubscription *subscription);

/* What its core has said: to the server in one order with what it publishes. */
void net_say_subscription(Sim *sim, Node *node, const OutMessage *message);

/* The subscription that the message came through, as long as the process wants it; NULL: it does not any more. */
const LinkSubscription *net_find_subscription(const Node *node, uint64_t number);
void net_forget_subscriptions(Node *node); /* a new process has none */
void net_unsubscribe_queues(Node *node);   /* a draining dispatcher leaves its queue groups */

/* The connection breaks, both sides know at once, the client comes back after its own delay. */
void net_reset(Sim *sim, Node *node);

/*
 * Nothing passes for so long, then what was on its way arrives; unless one side gives the connection up before: the
 * client after `client_patience_usec`, the server after `server_patience_usec`.
 */
void net_cut(Sim *sim, Node *node, uint64_t usec, uint64_t client_patience_usec, uint64_t server_patience_usec);

/* No more loss, delay or cut; what stood still moves again. */
void net_heal(Sim *sim, Node *node);

void net_server_stop(Sim *sim);
void net_server_start(Sim *sim);

void net_done(Node *node);

/* jetstream.c: takes what is for JetStream; false when it is not, or there is none in this world. */
bool net_jetstream(Sim *sim, Message *message, const Node *from);
void net_answer(Sim *sim, Message *request, Slice body); /* the server's own answer */
