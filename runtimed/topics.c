/* SPDX-License-Identifier: MIT */

/*
 * A Topic is one subject pattern in one queue group (or none) and the list of those that receive it; it has a tag, and
 * with it a NATS subscription, if and only if that list is not empty. The one exception is memory running out when the
 * end of a subscription is to be written: then the Topic keeps its tag, is counted as unsaid, and is either used again
 * or ended by topics_settle(). A Topic is freed when nobody has it and it has no tag. After topics_end() tags only say
 * who receives what the server had sent before.
 *
 * Who is suspended has the Topic, and is not in its list. So delivery never asks: all in the list receive.
 *
 * The next of a queue group is the first of the list, which then goes to its end: no cursor that a removal would have
 * to mind.
 *
 * Nearly all subscriptions of a large host are reply topics. Each is one allocation for the Topic and its only
 * Subscription, keeps no text (the agent's id says all), and is in none of the two indexes: another agent that is
 * subscribed to it by name in the same group has a Topic of its own, and NATS picks one of the two.
 *
 * Rejected: arrays of members with the index stored in each, which are smaller, but lose the order with each removal;
 * looking through an agent's list for a pattern, which makes the thousandth subscription of an agent a thousand times
 * as dear as the first.
 */

#include "runtimed/topics.h"

typedef struct Topic Topic;

struct Topic {
        Numbered tag;    /* first of all: 0 while there is no NATS subscription */
        HashEntry entry; /* in `names`, unless it is a reply topic */
        uint32_t n_having;
        struct SubscriptionList receivers;
        bool is_refused;                  /* by the server, since the connection is there */
        uint8_t pattern_size, queue_size; /* TOPIC_BYTES_MAX; 0 and 0: a reply topic. The texts follow the struct */
};

struct Subscription {
        HashEntry entry; /* in `pairs`, unless it is a reply topic's */
        uint8_t qos;     /* Qos */
        bool is_active;  /* in the list of its topic */
        Subscriber *subscriber;
        Topic *topic;
        TAILQ_ENTRY(Subscription) of_subscriber, of_topic;
};

/* A reply topic and who has it. */
typedef struct Managed {
        Topic topic;
        Subscription subscription;
} Managed;

struct Topics {
        Outbox *outbox;
        TopicsLimits limits;
        HashIndex names; /* topics by pattern and queue group */
        HashIndex pairs; /* subscriptions by pattern and subscriber */
        NumberIndex tags;
        size_t n_unsaid, n_refused;
        bool is_ended;     /* nothing more is written */
        size_t end_cursor; /* up to where all of `tags` is ended */
};

_Static_assert(TOPIC_BYTES_MAX <= UINT8_MAX, "sizes of texts are kept in a byte");

int topics_new(Outbox *outbox, const TopicsLimits *limits, uint64_t seed, Topics **ret) {
        Topics *topics = calloc(1, sizeof(*topics));

        assert(outbox);
        assert(limits);

        if (!topics)
                return -ENOMEM;
        topics->outbox = outbox;
        topics->limits = *limits;
        hash_index_init(&topics->names, seed);
        hash_index_init(&topics->pairs, seed);
        number_index_init(&topics->tags);
        *ret = topics;
        return 0;
}

void topics_set_limits(Topics *topics, const TopicsLimits *limits) {
        topics->limits = *limits;
}

/* texts */

static bool is_managed(const Topic *topic) {
        return topic->pattern_size == 0;
}

static char *topic_text(const Topic *topic) {
        return (char *)(topic + 1);
}

static Slice topic_pattern(const Topic *topic) {
        return (Slice){ topic_text(topic), topic->pattern_size };
}

static Slice topic_queue(const Topic *topic) {
        return topic->queue_size > 0 ? (Slice){ topic_text(topic) + topic->pattern_size, topic->queue_size }
                                     : SLICE_NONE;
}

/* "agent.<id>.replies"; its queue group is the same text without the last token. */
static Slice reply_topic(const Subscriber *subscriber, char scratch[REPLY_TOPIC_MAX]) {
        static const char first[] = "agent.", last[] = ".replies";
        char *p = scratch;

        p = mempcpy(p, first, sizeof(first) - 1);
        p = mempcpy(p, subscriber->id->text, subscriber->id->size);
        p = mempcpy(p, last, sizeof(last) - 1);
        return (Slice){ scratch, (size_t)(p - scratch) };
}

void subscription_read(const Subscription *subscription, char scratch[REPLY_TOPIC_MAX], SubscriptionInfo *ret) {
        const Topic *topic = subscription->topic;

        *ret = (SubscriptionInfo){
                .topic = topic_pattern(topic),
                .queue = topic_queue(topic),
                .qos = (Qos)subscription->qos,
                .is_managed = is_managed(topic),
                .is_active = subscription->is_active,
                .is_refused = topic->is_refused,
                .tag = topic->tag.number,
        };
        if (ret->is_managed) {
                ret->topic = reply_topic(subscription->subscriber, scratch);
                ret->queue = (Slice){ ret->topic.data, ret->topic.size - (sizeof(".replies") - 1) };
        }
}

/* topics */

typedef struct TopicKey {
        Slice pattern, queue;
} TopicKey;

static bool topic_matches(const HashEntry *entry, const void *key) {
        const Topic *topic = CONTAINER_OF(entry, Topic, entry);
        const TopicKey *wanted = key;

        return slice_equal(topic_pattern(topic), wanted->pattern) && slice_equal(topic_queue(topic), wanted->queue);
}

static void topic_init(Topic *topic) {
        *topic = (Topic){ .receivers = TAILQ_HEAD_INITIALIZER(topic->receivers) };
}

static int topic_new(Topics *topics, Slice pattern, Slice queue, uint32_t hash, Topic **ret) {
        Topic *topic = malloc(sizeof(*topic) + pattern.size + queue.size);

        if (!topic)
                return -ENOMEM;
        topic_init(topic);
        topic->entry.hash = hash;
        topic->pattern_size = (uint8_t)pattern.size;
        topic->queue_size = (uint8_t)queue.size;
        memcpy(topic_text(topic), pattern.data, pattern.size);
        if (queue.size > 0)
                memcpy(topic_text(topic) + pattern.size, queue.data, queue.size);
        if (hash_index_add(&topics->names, &topic->entry) < 0) {
                free(topic);
                return -ENOMEM;
        }
        *ret = topic;
        return 0;
}

static Topic *topic_find(const Topics *topics, Slice pattern, Slice queue, uint32_t hash) {
        const TopicKey key = { pattern, queue };
        HashEntry *entry = hash_index_find(&topics->names, hash, topic_matches, &key);

        return entry ? CONTAINER_OF(entry, Topic, entry) : NULL;
}

static int topic_find_or_new(Topics *topics, Slice pattern, Slice queue, Topic **ret) {
        const uint32_t hash = hash_index_hash(&topics->names, pattern, queue);
        Topic *topic = topic_find(topics, pattern, queue, hash);

        if (!topic)
                return topic_new(topics, pattern, queue, hash, ret);
        *ret = topic;
        return 0;
}

/* A reply topic's Subscription goes with it. */
static void topic_drop_if_unused(Topics *topics, Topic *topic) {
        if (topic->n_having > 0 || topic->tag.number != 0)
                return;
        if (!is_managed(topic))
                hash_index_remove(&topics->names, &topic->entry);
        free(topic);
}

/* receiving or not: what NATS is told */

/* `subscription` is about to become its topic's first receiver. */
static int topic_open(Topics *topics, const Subscription *subscription) {
        Topic *topic = subscription->topic;
        char scratch[REPLY_TOPIC_MAX];
        SubscriptionInfo info;
        int r;

        if (topic->tag.number != 0) { /* its end was not said yet, and need not be */
                topics->n_unsaid--;
                return 0;
        }
        r = number_index_add(&topics->tags, &topic->tag);
        if (r < 0)
                return r;

        if (topics->is_ended)
                return 0;
        subscription_read(subscription, scratch, &info);
        r = outbox_subscribe(topics->outbox, info.topic, info.queue, topic->tag.number);
        if (r < 0)
                number_index_remove(&topics->tags, &topic->tag);
        return r;
}

static bool topic_close(Topics *topics, Topic *topic) {
        if (!topics->is_ended && outbox_unsubscribe(topics->outbox, topic->tag.number) < 0)
                return false;
        topics->n_refused -= topic->is_refused;
        topic->is_refused = false;
        number_index_remove(&topics->tags, &topic->tag);
        return true;
}

static int activate(Topics *topics, Subscription *subscription) {
        Topic *topic = subscription->topic;
        int r;

        assert(!subscription->is_active);

        r = TAILQ_EMPTY(&topic->receivers) ? topic_open(topics, subscription) : 0;
        if (r < 0)
                return r;
        TAILQ_INSERT_TAIL(&topic->receivers, subscription, of_topic);
        subscription->is_active = true;
        return 0;
}

static void deactivate(Topics *topics, Subscription *subscription) {
        Topic *topic = subscription->topic;

        if (!subscription->is_active)
                return;
        TAILQ_REMOVE(&topic->receivers, subscription, of_topic);
        subscription->is_active = false;
        if (TAILQ_EMPTY(&topic->receivers) && !topic_close(topics, topic))
                topics->n_unsaid++;
}

/* Rare enough to look at all of them. */
void topics_settle(Topics *topics) {
        size_t cursor = 0;
        Numbered *tag;

        while (topics->n_unsaid > 0 && (tag = number_index_next(&topics->tags, &cursor))) {
                Topic *topic = CONTAINER_OF(tag, Topic, tag);

                if (!TAILQ_EMPTY(&topic->receivers))
                        continue;
                if (!topic_close(topics, topic))
                        return;
                topics->n_unsaid--;
                topic_drop_if_unused(topics, topic);
        }
}

int topics_end(Topics *topics) {
        size_t cursor;
        Numbered *tag;

        topics_settle(topics);
        topics->is_ended = true;
        for (cursor = topics->end_cursor; (tag = number_index_next(&topics->tags, &cursor));
                topics->end_cursor = cursor)
                if (outbox_unsubscribe(topics->outbox, tag->number) < 0)
                        return -ENOMEM;
        return 0;
}

/* subscriptions */

typedef struct PairKey {
        Slice pattern;
        const Subscriber *subscriber;
} PairKey;

static bool pair_matches(const HashEntry *entry, const void *key) {
        const Subscription *subscription = CONTAINER_OF(entry, Subscription, entry);
        const PairKey *wanted = key;

        return subscription->subscriber == wanted->subscriber &&
               slice_equal(topic_pattern(subscription->topic), wanted->pattern);
}

static uint32_t pair_hash(const Topics *topics, const PairKey *key) {
        return hash_index_hash(&topics->pairs, key->pattern,
                (Slice){ (const char *)&key->subscriber, sizeof(key->subscriber) }); /* of the pointer itself */
}

static Subscription *find(const Topics *topics, const Subscriber *subscriber, Slice pattern) {
        const PairKey key = { pattern, subscriber };
        Subscription *first = TAILQ_FIRST(&subscriber->having);
        char scratch[REPLY_TOPIC_MAX];
        HashEntry *entry;

        if (first && is_managed(first->topic) && slice_equal(pattern, reply_topic(subscriber, scratch)))
                return first;
        entry = hash_index_find(&topics->pairs, pair_hash(topics, &key), pair_matches, &key);
        return entry ? CONTAINER_OF(entry, Subscription, entry) : NULL;
}

static void link_up(Subscriber *subscriber, Topic *topic, Qos qos, Subscription *subscription) {
        *subscription = (Subscription){ .qos = (uint8_t)qos, .subscriber = subscriber, .topic = topic };
        TAILQ_INSERT_TAIL(&subscriber->having, subscription, of_subscriber);
        topic->n_having++;
}

/* Takes it out of everything, whatever it is in, and frees it. */
static void end(Topics *topics, Subscription *subscription) {
        Topic *topic = subscription->topic;

        deactivate(topics, subscription);
        TAILQ_REMOVE(&subscription->subscriber->having, subscription, of_subscriber);
        topic->n_having--;
        if (!is_managed(topic)) {
                hash_index_remove(&topics->pairs, &subscription->entry);
                subscription->subscriber->n--;
                free(subscription);
        }
        topic_drop_if_unused(topics, topic);
}

/* Of a topic that may have been made for it: then that goes, too, when memory is out. */
static int subscription_new(Topics *topics, Subscriber *subscriber, Topic *topic, Qos qos, Subscription **ret) {
        const PairKey key = { topic_pattern(topic), subscriber };
        Subscription *subscription = malloc(sizeof(*subscription));

        if (!subscription)
                goto failed;
        link_up(subscriber, topic, qos, subscription);
        subscription->entry.hash = pair_hash(topics, &key);
        if (hash_index_add(&topics->pairs, &subscription->entry) < 0) {
                TAILQ_REMOVE(&subscriber->having, subscription, of_subscriber);
                topic->n_having--;
                goto failed;
        }
        subscriber->n++;
        *ret = subscription;
        return 0;

failed:
        free(subscription);
        topic_drop_if_unused(topics, topic);
        return -ENOMEM;
}

void subscriber_init(Subscriber *subscriber, const Id *id) {
        *subscriber = (Subscriber){ .id = id, .having = TAILQ_HEAD_INITIALIZER(subscriber->having) };
}

int topics_add_reply_topic(Topics *topics, Subscriber *subscriber) {
        Managed *managed;
        int r;

        assert(TAILQ_EMPTY(&subscriber->having));

        topics_settle(topics);
        managed = malloc(sizeof(*managed));
        if (!managed)
                return -ENOMEM;
        topic_init(&managed->topic);
        link_up(subscriber, &managed->topic, QOS_BATCHED, &managed->subscription);
        r = activate(topics, &managed->subscription);
        if (r < 0)
                end(topics, &managed->subscription);
        return r;
}

int topics_subscribe(Topics *topics, Subscriber *subscriber, Slice pattern, Slice queue, Qos qos) {
        Subscription *subscription;
        Topic *topic;
        int r;

        assert(pattern.size > 0 && pattern.size <= TOPIC_BYTES_MAX);
        assert(queue.size <= TOPIC_BYTES_MAX);

        topics_settle(topics);
        if (find(topics, subscriber, pattern))
                return TOPICS_E_ALREADY_SUBSCRIBED;
        if (subscriber->n >= topics->limits.per_agent_max)
                return TOPICS_E_AGENT_LIMIT;
        if (topics->pairs.n >= topics->limits.total_max)
                return TOPICS_E_LIMIT;

        r = topic_find_or_new(topics, pattern, queue, &topic);
        if (r == 0)
                r = subscription_new(topics, subscriber, topic, qos, &subscription);
        if (r < 0 || subscriber->is_suspended)
                return r;

        r = activate(topics, subscription);
        if (r < 0)
                end(topics, subscription);
        return r;
}

int topics_unsubscribe(Topics *topics, Subscriber *subscriber, Slice pattern) {
        Subscription *subscription;

        topics_settle(topics);
        subscription = find(topics, subscriber, pattern);
        if (!subscription)
                return TOPICS_E_NOT_SUBSCRIBED;
        if (is_managed(subscription->topic))
                return TOPICS_E_MANAGED;
        end(topics, subscription);
        return 0;
}

void topics_suspend(Topics *topics, Subscriber *subscriber) {
        Subscription *subscription;

        topics_settle(topics);
        subscriber->is_suspended = true;
        TAILQ_FOREACH(subscription, &subscriber->having, of_subscriber) {
                if (!is_managed(subscription->topic))
                        deactivate(topics, subscription);
        }
}

int topics_resume(Topics *topics, Subscriber *subscriber) {
        Subscription *subscription;

        topics_settle(topics);
        if (!subscriber->is_suspended)
                return 0;
        TAILQ_FOREACH(subscription, &subscriber->having, of_subscriber) {
                if (!subscription->is_active && activate(topics, subscription) < 0) {
                        topics_suspend(topics, subscriber);
                        return -ENOMEM;
                }
        }
        subscriber->is_suspended = false;
        return 0;
}

void topics_leave(Topics *topics, Subscriber *subscriber) {
        Subscription *subscription;

        topics_settle(topics);
        while ((subscription = TAILQ_LAST(&subscriber->having, SubscriptionList)))
                end(topics, subscription);
}

static void free_all_of(HashIndex *index, size_t offset) {
        for (size_t i = 0; index->slots && i <= index->mask; i++)
                if (index->slots[i])
                        free((char *)index->slots[i] - offset);
        hash_index_done(index);
}

Topics *topics_free(Topics *topics) {
        size_t cursor = 0;
        Numbered *tag;

        if (!topics)
                return NULL;

        /* A reply topic is always in `tags`, all others are always in `names`. */
        while ((tag = number_index_next(&topics->tags, &cursor)))
                if (is_managed(CONTAINER_OF(tag, Topic, tag)))
                        free(CONTAINER_OF(tag, Topic, tag));
        number_index_done(&topics->tags);
        free_all_of(&topics->pairs, offsetof(Subscription, entry));
        free_all_of(&topics->names, offsetof(Topic, entry));
        free(topics);
        return NULL;
}

/* what the server will not have */

Subscription *topics_refuse(Topics *topics, Slice pattern, Slice queue, const Subscriber *reply_topic_of) {
        const Subscription *own = reply_topic_of ? TAILQ_FIRST(&reply_topic_of->having) : NULL;
        Topic *topic =
                own ? own->topic : topic_find(topics, pattern, queue, hash_index_hash(&topics->names, pattern, queue));

        if (!topic || topic->tag.number == 0 || topic->is_refused || is_managed(topic) != !!own)
                return NULL;
        topic->is_refused = true;
        topics->n_refused++;
        return TAILQ_FIRST(&topic->receivers);
}

void topics_forget_refusals(Topics *topics) {
        size_t cursor = 0;
        Numbered *tag;

        while (topics->n_refused > 0 && (tag = number_index_next(&topics->tags, &cursor))) {
                Topic *topic = CONTAINER_OF(tag, Topic, tag);

                topics->n_refused -= topic->is_refused;
                topic->is_refused = false;
        }
}

/* receiving */

Subscription *topics_first_receiver(Topics *topics, uint64_t tag) {
        Numbered *numbered = number_index_find(&topics->tags, tag);
        Subscription *first;
        Topic *topic;

        if (!numbered)
                return NULL;
        topic = CONTAINER_OF(numbered, Topic, tag);
        first = TAILQ_FIRST(&topic->receivers);
        if (topic->queue_size > 0 && first && TAILQ_NEXT(first, of_topic)) {
                TAILQ_REMOVE(&topic->receivers, first, of_topic);
                TAILQ_INSERT_TAIL(&topic->receivers, first, of_topic);
        }
        return first;
}

Subscription *topics_next_receiver(const Subscription *subscription) {
        return subscription->topic->queue_size > 0 ? NULL : TAILQ_NEXT(subscription, of_topic);
}

Subscriber *subscription_subscriber(const Subscription *subscription) {
        return subscription->subscriber;
}

Qos subscription_qos(const Subscription *subscription) {
        return (Qos)subscription->qos;
}

/* looking */

const Subscription *subscriber_next(const Subscriber *subscriber, const Subscription *previous) {
        return previous ? TAILQ_NEXT(previous, of_subscriber) : TAILQ_FIRST(&subscriber->having);
}

void topics_stats(const Topics *topics, TopicsStats *ret) {
        *ret = (TopicsStats){
                .n_subscriptions = topics->pairs.n,
                .n_open = topics->tags.n,
                .n_refused = topics->n_refused,
                .n_unsaid = topics->n_unsaid,
        };
}

/* Returns what is wrong with a topic that has a tag, or NULL. */
static const char *check_open(const Topic *topic, size_t *n_active, size_t *n_unsaid) {
        const Subscription *subscription;
        uint32_t n = 0;

        TAILQ_FOREACH(subscription, &topic->receivers, of_topic) {
                if (subscription->topic != topic || !subscription->is_active)
                        return "a receiver is not its topic's";
                n++;
        }
        if (n > topic->n_having)
                return "a topic has more receivers than subscribers";
        if (n == 0)
                (*n_unsaid)++;
        if (is_managed(topic) && topic->n_having > 1)
                return "two agents share a reply topic";
        if (!is_managed(topic))
                *n_active += n;
        return NULL;
}

static const char *check_subscription(const Topics *topics, const Subscription *subscription) {
        if (find(topics, subscription->subscriber, topic_pattern(subscription->topic)) != subscription)
                return "an agent has a topic twice";
        if (subscription->is_active == subscription->subscriber->is_suspended)
                return "a suspended agent receives, or one that is not does not";
        if (subscription->is_active && subscription->topic->tag.number == 0)
                return "a topic with receivers has no NATS subscription";
        return NULL;
}

static const char *check_pairs(const Topics *topics, size_t n_active) {
        size_t n = 0;

        for (size_t i = 0; topics->pairs.slots && i <= topics->pairs.mask; i++) {
                const Subscription *subscription;
                const char *wrong;

                if (!topics->pairs.slots[i])
                        continue;
                subscription = CONTAINER_OF(topics->pairs.slots[i], Subscription, entry);
                wrong = check_subscription(topics, subscription);
                if (wrong)
                        return wrong;
                n += subscription->is_active;
        }
        return n == n_active ? NULL : "the topics have other receivers than there are active subscriptions";
}

static const char *check_names(const Topics *topics) {
        size_t n_having = 0;

        for (size_t i = 0; topics->names.slots && i <= topics->names.mask; i++) {
                const Topic *topic;

                if (!topics->names.slots[i])
                        continue;
                topic = CONTAINER_OF(topics->names.slots[i], Topic, entry);
                if (topic->n_having == 0 && topic->tag.number == 0)
                        return "a topic that nobody has is still there";
                if (topic->tag.number == 0 && !TAILQ_EMPTY(&topic->receivers))
                        return "a topic with receivers has no NATS subscription";
                n_having += topic->n_having;
        }
        return n_having == topics->pairs.n ? NULL : "the topics count other subscriptions than there are";
}

const char *topics_check(const Topics *topics) {
        size_t cursor = 0, n_active = 0, n_unsaid = 0, n_refused = 0;
        const char *wrong = NULL;
        const Numbered *tag;

        while (!wrong && (tag = number_index_next(&topics->tags, &cursor))) {
                wrong = check_open(CONTAINER_OF(tag, const Topic, tag), &n_active, &n_unsaid);
                n_refused += CONTAINER_OF(tag, const Topic, tag)->is_refused;
        }
        if (!wrong && n_refused != topics->n_refused)
                wrong = "the number of NATS subscriptions that the server refused is wrong";
        if (!wrong && n_unsaid != topics->n_unsaid)
                wrong = "the number of NATS subscriptions whose end is unsaid is wrong";
        if (!wrong)
                wrong = check_pairs(topics, n_active);
        return wrong ? wrong : check_names(topics);
}
