/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Topics: which agent is subscribed to what. Agents of this runtime that share a topic and a queue group share one NATS
 * subscription; the first that needs it has it written into the outbox, and so has the last that goes.
 *
 * Owns the topics and the subscriptions; borrows each agent's Subscriber, which is embedded in the agent by value and
 * may not move while it has any. Loop thread only, pure, reads no clock. Checks no grammar and knows no forbidden
 * subjects: its callers do.
 *
 * Every operation costs the same however many agents there are. A reply topic costs 112 bytes and a slot of eight to
 * twelve.
 */

#include <sys/queue.h>

#include "common/hash_index.h"
#include "common/number_index.h"
#include "common/outbox.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "runtimed/definition.h"

#define REPLY_TOPIC_MAX (sizeof("agent..replies") + ID_MAX)

enum {
        TOPICS_E_OK,

        TOPICS_E_ALREADY_SUBSCRIBED, /* that agent has that topic, in whatever queue group */
        TOPICS_E_NOT_SUBSCRIBED,
        TOPICS_E_MANAGED,     /* the reply topic comes and goes with the agent */
        TOPICS_E_AGENT_LIMIT, /* the agent has as many as one may have */
        TOPICS_E_LIMIT,       /* all of them together have */
};

typedef struct Topics Topics;
typedef struct Subscription Subscription;

TAILQ_HEAD(SubscriptionList, Subscription);

/* An agent's part in it. */
typedef struct Subscriber {
        const Id *id;                   /* the agent's */
        struct SubscriptionList having; /* in the order in which it got them, the reply topic first */
        uint32_t n;                     /* of those, without the reply topic */
        bool is_suspended;
} Subscriber;

typedef struct TopicsLimits {
        uint64_t per_agent_max, total_max; /* reply topics don't count: there is one for each agent */
} TopicsLimits;

/* The outbox is borrowed. */
int topics_new(Outbox *outbox, const TopicsLimits *limits, uint64_t seed, Topics **ret) _must_check_;

/* Writes nothing: whoever ends, ends with the connection. Forgets the subscribers without a look at them. */
Topics *topics_free(Topics *topics);

DEFINE_CLEANUP(Topics *, topics_free);

/* What a reload brings; whoever has more already keeps it. */
void topics_set_limits(Topics *topics, const TopicsLimits *limits);

/* what agents have: each returns 0, an outcome, or -ENOMEM, and then has changed nothing */

/* `id` is borrowed as long as it has subscriptions. */
void subscriber_init(Subscriber *subscriber, const Id *id);

/* "agent.<id>.replies", in the queue group "agent.<id>": first of all that it has, until topics_leave(). */
int topics_add_reply_topic(Topics *topics, Subscriber *subscriber);

/* `queue` absent or empty: none. */
int topics_subscribe(Topics *topics, Subscriber *subscriber, Slice pattern, Slice queue, Qos qos);
int topics_unsubscribe(Topics *topics, Subscriber *subscriber, Slice pattern);

/*
 * A stopped agent keeps what it has and gets nothing of it, so that a queue group gives its messages to others. The
 * reply topic stays: whoever asks a stopped agent is told that it is stopped. What is resumed stands behind the other
 * receivers of its topic, as if it had been subscribed then.
 */
void topics_suspend(Topics *topics, Subscriber *subscriber);
int topics_resume(Topics *topics, Subscriber *subscriber);

/* It has nothing any more. */
void topics_leave(Topics *topics, Subscriber *subscriber);

/*
 * The end of a NATS subscription that memory was out for is said by the next call of those above, or of this one. Until
 * then what comes through it has no receiver.
 */
void topics_settle(Topics *topics);

/*
 * The runtime is about to leave: writes the end of every NATS subscription, and from then on nothing more. What is on
 * its way still has its receivers. Returns 0 or -ENOMEM; then another call goes on where this one stopped.
 */
int topics_end(Topics *topics);

/*
 * The server will not have that NATS subscription: who is subscribed gets nothing through it. `reply_topic_of` is whose
 * reply topic it is, or NULL when it is none. Returns one of its receivers, or NULL: nobody has it (any more), or it was
 * known.
 */
Subscription *topics_refuse(Topics *topics, Slice pattern, Slice queue, const Subscriber *reply_topic_of);

/* The connection is lost, and with the next one the server is asked for all of them again. */
void topics_forget_refusals(Topics *topics);

/* receiving */

/*
 * Who gets a message that came with `tag`: all that share the topic, in the order of their subscription, or, in a queue
 * group, one after the other for each message. NULL: nobody (any more). Subscriptions may not change between the two.
 */
Subscription *topics_first_receiver(Topics *topics, uint64_t tag);
Subscription *topics_next_receiver(const Subscription *subscription);

Subscriber *subscription_subscriber(const Subscription *subscription);
Qos subscription_qos(const Subscription *subscription);

/* looking */

typedef struct SubscriptionInfo {
        Slice topic, queue; /* queue absent: none */
        Qos qos;
        bool is_managed, is_active, is_refused; /* the last: by the server */
        uint64_t tag; /* of the NATS subscription; 0: there is none now */
} SubscriptionInfo;

/* `scratch` holds the texts of a reply topic; else they are borrowed until the subscription ends. */
void subscription_read(const Subscription *subscription, char scratch[REPLY_TOPIC_MAX], SubscriptionInfo *ret);

/* What an agent has, in order; NULL: the first one, and after the last one. */
const Subscription *subscriber_next(const Subscriber *subscriber, const Subscription *previous);

typedef struct TopicsStats {
        size_t n_subscriptions; /* of agents, without reply topics */
        size_t n_open;          /* on NATS, with reply topics */
        size_t n_refused;       /* of those that are open, by the server */
        size_t n_unsaid;        /* whose end has to be said yet */
} TopicsStats;

void topics_stats(const Topics *topics, TopicsStats *ret);

/* Does everything agree with everything else? NULL: yes; else what does not. Visits all of it. */
const char *topics_check(const Topics *topics);
