/* SPDX-License-Identifier: MIT */

/*
 * Who is subscribed to what: rules and errors around the table of topics (topics.h), which writes what NATS has to be
 * told into the outbox. So the subscription stands before the answer to whoever asked for it, and the server carries
 * the two out in that order: what the asker publishes next is delivered.
 *
 * Reserved subjects. Nobody may subscribe to what lies below the prefix, below `_INBOX` or `$...`: commands, answers to
 * others, the server's own. A pattern whose wildcards could match one of those is refused as well; in effect, its first
 * token must be a word (with a prefix of several tokens, as many as it takes to differ).
 */

#include <string.h>

#include "runtimed/core.h"
#include "runtimed/diag.h"

static Slice first_token(Slice pattern) {
        const char *dot = memchr(pattern.data, '.', pattern.size);

        return dot ? (Slice){ pattern.data, (size_t)(dot - pattern.data) } : pattern;
}

static Slice behind(Slice pattern, Slice token) {
        return slice_after(pattern, MIN_OF(token.size + 1, pattern.size));
}

/* Could a subject below `prefix` match? */
static bool reaches_below(Slice pattern, Slice prefix) {
        while (prefix.size > 0) {
                const Slice token = first_token(pattern), wanted = first_token(prefix);

                if (slice_equal(token, SLICE(">")))
                        return true;
                if (pattern.size == 0 || !(slice_equal(token, SLICE("*")) || slice_equal(token, wanted)))
                        return false;
                pattern = behind(pattern, token);
                prefix = behind(prefix, wanted);
        }
        return pattern.size > 0;
}

static bool is_reserved(const Runtime *runtime, Slice pattern) {
        const Slice token = first_token(pattern);

        if (token.size == 0 || token.data[0] == '$' || slice_equal(token, SLICE("*")) || slice_equal(token, SLICE(">")))
                return true;
        return slice_equal(token, SLICE("_INBOX")) || reaches_below(pattern, runtime->prefix);
}

static bool is_listed(Slice patterns, Slice subject) {
        while (patterns.size > 0) {
                const char *comma = memchr(patterns.data, ',', patterns.size);
                const Slice pattern = { patterns.data, comma ? (size_t)(comma - patterns.data) : patterns.size };

                if (subject_matches(pattern, subject))
                        return true;
                patterns = comma ? slice_after(patterns, pattern.size + 1) : SLICE_NONE;
        }
        return false;
}

bool core_may_answer_to(const Runtime *runtime, Slice subject) {
        const Slice listed = slice_of(runtime->options.reply_subjects);

        if (runtime->options.allow_forbidden_topics)
                return true;
        if (!subject_is_open_to_results(runtime->prefix, subject))
                return false;
        if (listed.size == 0 || slice_starts_with(subject, SLICE("_INBOX.")))
                return true;
        return reaches_below(subject, runtime->prefix) || is_listed(listed, subject); /* below the prefix: results */
}

static int refuse(ErrorCode code, ErrorCode *ret_code) {
        *ret_code = code;
        return WIRE_E_INVALID;
}

static int check_topic(const Runtime *runtime, const TopicWanted *wanted, ErrorCode *ret_code, WireError *ret_error) {
        if (wanted->topic.size > TOPIC_BYTES_MAX || !subject_pattern_is_valid(wanted->topic)) {
                (void)wire_error(ret_error, "topic: \"%.*s\" is no subject of at most %d bytes",
                        (int)MIN_OF(wanted->topic.size, (size_t)64), wanted->topic.data, TOPIC_BYTES_MAX);
                return refuse(ERROR_INVALID_MESSAGE, ret_code);
        }
        if (wanted->queue.size > 0 &&
                (memchr(wanted->queue.data, '*', wanted->queue.size) ||
                        memchr(wanted->queue.data, '>', wanted->queue.size) || !subject_is_valid(wanted->queue))) {
                (void)wire_error(ret_error, "queue: \"%.*s\" can't be the name of a queue group",
                        (int)MIN_OF(wanted->queue.size, (size_t)64), wanted->queue.data);
                return refuse(ERROR_INVALID_MESSAGE, ret_code);
        }
        if (!runtime->options.allow_forbidden_topics && is_reserved(runtime, wanted->topic)) {
                (void)wire_error(ret_error,
                        "topic: \"%.*s\" is or could match a reserved subject (%.*s.>, $..., _INBOX.>)",
                        SLICE_ARG(wanted->topic), SLICE_ARG(runtime->prefix));
                return refuse(ERROR_TOPIC_FORBIDDEN, ret_code);
        }
        return 0;
}

static bool is_reply_topic_of(const Id *agent_id, Slice topic) {
        static const Slice before = SLICE("agent."), behind = SLICE(".replies");

        return topic.size == before.size + agent_id->size + behind.size && slice_starts_with(topic, before) &&
               id_equal(agent_id, (Slice){ topic.data + before.size, agent_id->size }) &&
               slice_equal(slice_after(topic, before.size + agent_id->size), behind);
}

int core_check_topics(Runtime *runtime, const Definition *definition, ErrorCode *ret_code, WireError *ret_error) {
        const uint64_t max = runtime->options.max_subscriptions_per_agent;
        _cleanup_(arena_clear) Arena arena = {};
        TopicWanted wanted;
        TopicsStats stats;
        size_t cursor = 0;
        uint64_t n = 0;
        int r;

        for (; (r = definition_next_topic(definition, &cursor, &arena, &wanted)) > 0; n++) {
                r = check_topic(runtime, &wanted, ret_code, ret_error);
                if (r != 0)
                        return r;
                if (is_reply_topic_of(&definition->agent_id, wanted.topic)) {
                        (void)wire_error(ret_error, "subscribed_topics: agent \"%s\" has \"%.*s\" anyway",
                                definition->agent_id.text, SLICE_ARG(wanted.topic));
                        return refuse(ERROR_REPLY_TOPIC_MANAGED, ret_code);
                }
        }
        if (r < 0)
                return r;

        topics_stats(runtime->topics, &stats);
        if (n <= max && stats.n_subscriptions + n <= runtime->options.max_subscriptions)
                return 0;
        if (n > max)
                (void)wire_error(ret_error,
                        "subscribed_topics: %llu of them are over limits.max_subscriptions_per_agent of %llu",
                        (unsigned long long)n, (unsigned long long)max);
        else
                (void)wire_error(ret_error,
                        "subscribed_topics: %llu of them and the %zu there are would be over limits.max_subscriptions "
                        "of %llu",
                        (unsigned long long)n, stats.n_subscriptions,
                        (unsigned long long)runtime->options.max_subscriptions);
        return refuse(ERROR_LIMIT_EXCEEDED, ret_code);
}

/* What the table of topics says, in the words of the control API. */
static int read_outcome(int outcome, const Agent *agent, Slice topic, ErrorCode *ret_code, WireError *ret_error) {
        static const struct {
                ErrorCode code;
                const char *text;
        } errors[] = {
                [TOPICS_E_ALREADY_SUBSCRIBED] = { ERROR_ALREADY_SUBSCRIBED, "is subscribed to it already" },
                [TOPICS_E_NOT_SUBSCRIBED] = { ERROR_NOT_SUBSCRIBED, "is not subscribed to it" },
                [TOPICS_E_MANAGED] = { ERROR_REPLY_TOPIC_MANAGED, "has it from its creation to its deletion" },
        };

        if (outcome <= 0)
                return outcome;

        assert((size_t)outcome < ELEMENTSOF(errors));
        (void)wire_error(
                ret_error, "topic \"%.*s\": agent \"%s\" %s", SLICE_ARG(topic), agent->id.text, errors[outcome].text);
        return refuse(errors[outcome].code, ret_code);
}

static int refuse_limit(
        const Agent *agent, Slice topic, const char *which, uint64_t max, ErrorCode *ret_code, WireError *ret_error) {
        (void)wire_error(ret_error, "topic \"%.*s\": agent \"%s\" can't have it: %s of %llu is reached",
                SLICE_ARG(topic), agent->id.text, which, (unsigned long long)max);
        return refuse(ERROR_LIMIT_EXCEEDED, ret_code);
}

static int subscribe(
        Runtime *runtime, Agent *agent, const TopicWanted *wanted, ErrorCode *ret_code, WireError *ret_error) {
        const RuntimeOptions *options = &runtime->options;
        int r = check_topic(runtime, wanted, ret_code, ret_error);

        if (r != 0)
                return r;

        r = topics_subscribe(runtime->topics, &agent->subscriber, wanted->topic, wanted->queue, wanted->qos);
        if (r == TOPICS_E_AGENT_LIMIT)
                return refuse_limit(agent, wanted->topic, "limits.max_subscriptions_per_agent",
                        options->max_subscriptions_per_agent, ret_code, ret_error);
        if (r == TOPICS_E_LIMIT)
                return refuse_limit(agent, wanted->topic, "limits.max_subscriptions", options->max_subscriptions,
                        ret_code, ret_error);
        return read_outcome(r, agent, wanted->topic, ret_code, ret_error);
}

/* Its list begins when it has become ready for the first time, with its reply topic and what its definition says. */
static int check_ready(const Agent *agent, ErrorCode *ret_code, WireError *ret_error) {
        if (agent->was_ready)
                return 0;

        (void)wire_error(ret_error, "agent \"%s\" is %s and was never running: its topics can't be changed",
                agent->id.text, agent_state_name(agent->state));
        return refuse(ERROR_INVALID_TRANSITION, ret_code);
}

int core_subscribe(
        Runtime *runtime, Agent *agent, const TopicWanted *wanted, ErrorCode *ret_code, WireError *ret_error) {
        int r = check_ready(agent, ret_code, ret_error);

        return r != 0 ? r : subscribe(runtime, agent, wanted, ret_code, ret_error);
}

int core_unsubscribe(Runtime *runtime, Agent *agent, Slice topic, ErrorCode *ret_code, WireError *ret_error) {
        int r = check_ready(agent, ret_code, ret_error);

        if (r != 0)
                return r;

        r = topics_unsubscribe(runtime->topics, &agent->subscriber, topic);
        return read_outcome(r, agent, topic, ret_code, ret_error);
}

/* What a definition asks for was checked; if there is no room for it all the same, that is said and the agent lives. */
static int subscribe_quietly(Runtime *runtime, Agent *agent, const TopicWanted *wanted) {
        ErrorCode code;
        WireError error;
        int r = subscribe(runtime, agent, wanted, &code, &error);

        if (r > 0 && code != ERROR_ALREADY_SUBSCRIBED)
                diag_subscription_refused(agent_id_slice(agent), wanted->topic, error.text);
        return r < 0 ? r : 0;
}

int core_subscribe_configured(Runtime *runtime, Agent *agent) {
        _cleanup_(arena_clear) Arena arena = {};
        TopicWanted wanted;
        size_t cursor = 0;
        int r;

        r = topics_add_reply_topic(runtime->topics, &agent->subscriber);
        while (r == 0 && (r = definition_next_topic(agent->definition, &cursor, &arena, &wanted)) > 0)
                r = subscribe_quietly(runtime, agent, &wanted);
        if (r != 0)
                topics_leave(runtime->topics, &agent->subscriber);
        return r;
}

static bool has_topic(const Definition *definition, const TopicWanted *wanted) {
        _cleanup_(arena_clear) Arena arena = {};
        TopicWanted other;
        size_t cursor = 0;

        while (definition_next_topic(definition, &cursor, &arena, &other) > 0)
                if (slice_equal(other.topic, wanted->topic) && slice_equal(other.queue, wanted->queue) &&
                        other.qos == wanted->qos)
                        return true;
        return false;
}

void core_change_configured(Runtime *runtime, Agent *agent, const Definition *old) {
        _cleanup_(arena_clear) Arena arena = {};
        TopicWanted wanted;
        size_t cursor = 0;

        if (!agent->was_ready)
                return;
        while (definition_next_topic(old, &cursor, &arena, &wanted) > 0)
                if (!has_topic(agent->definition, &wanted))
                        (void)topics_unsubscribe(runtime->topics, &agent->subscriber, wanted.topic);

        cursor = 0;
        while (definition_next_topic(agent->definition, &cursor, &arena, &wanted) > 0)
                if (!has_topic(old, &wanted) && subscribe_quietly(runtime, agent, &wanted) < 0)
                        diag_subscription_refused(agent_id_slice(agent), wanted.topic, "memory is out");
}

void core_unsubscribe_all(Runtime *runtime, Agent *agent) {
        topics_leave(runtime->topics, &agent->subscriber);
}

/* Who was never ready has none to suspend. */
void core_suspend_topics(Runtime *runtime, Agent *agent) {
        if (agent->was_ready)
                topics_suspend(runtime->topics, &agent->subscriber);
}

int core_resume_topics(Runtime *runtime, Agent *agent) {
        return topics_resume(runtime->topics, &agent->subscriber);
}

/* The server is told; the table stays, so that what it has sent before is still delivered. */
void core_leave_topics(Runtime *runtime) {
        if (topics_end(runtime->topics) < 0)
                diag_subscription_refused(runtime->id, SLICE("all of them"), "memory is out for their end");
}

/* "agent.<id>.replies", in its queue group: whose is it? */
static const Agent *owner_of_reply_topic(const Runtime *runtime, Slice topic, Slice queue) {
        static const Slice before = SLICE("agent."), behind = SLICE(".replies");
        Slice id;

        if (queue.size <= before.size || topic.size != queue.size + behind.size || !slice_starts_with(topic, before))
                return NULL;
        id = slice_after(queue, before.size);
        if (!id_is_valid(id) || !slice_equal(slice_after(topic, queue.size), behind))
                return NULL;
        return core_find_agent(runtime, id);
}

void runtime_on_subscription_refused(Runtime *runtime, Slice topic, Slice queue) {
        const Agent *owner = owner_of_reply_topic(runtime, topic, queue);
        const Subscription *one = topics_refuse(runtime->topics, topic, queue, owner ? &owner->subscriber : NULL);

        for (; one; one = topics_next_receiver(one))
                diag_subscription_refused(
                        id_slice(subscription_subscriber(one)->id), topic, "the NATS server's permissions forbid it");
}
