/* SPDX-License-Identifier: MIT */

/*
 * What behaviours want: one table says for each kind of effect who carries it out and when it is answered.
 *
 * Effects are carried out in order, in two passes. What may end a message (a reply, and what makes an agent stop or
 * fail) comes last: until then the envelope of the message being handled lies where it lay. Every wish that is refused
 * is counted and logged, and answered if its kind has answers and the behaviour waits for one.
 *
 * Answers travel in the urgent lane, which no full mailbox stops, and a paused agent keeps them. What bounds them is
 * what they answer: asks, calls and timers have limits, and a list of effects has one.
 *
 * A list that memory ran out for is carried out as far as it goes, and that it is incomplete is counted and logged. The
 * message goes on: whoever filled the list was told at once, and has said what it wanted to say of it.
 */

#include <stdio.h>

#include "runtimed/core_effects.h"
#include "runtimed/diag.h"

#define HEADER_OVERHEAD 12 /* "NATS/1.0\r\n" and the empty line count as payload */
#define SENTENCE_MAX 4096  /* of a line in the log */

/* refusals */

int wish_refuse(Wish *wish, ErrorCode code, const char *format, ...) {
        char text[sizeof(wish->error.text)];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        wish->code = code;
        return wire_error(&wish->error, "%s", text);
}

Letter *wish_context(Wish *wish) {
        if (!wish->context)
                wish->context = letter_new(&wish->runtime->letters, SLICE_NONE, SLICE_NONE, &wish->inherited);
        return wish->context;
}

/* answers */

/* Is there, or will there be, a behaviour that it could be given to? */
static bool is_alive(const Agent *agent) {
        return agent->state == AGENT_STARTING || agent->state == AGENT_RUNNING || agent->state == AGENT_PAUSED ||
               agent->state == AGENT_STOPPING;
}

int core_answer_wish(Runtime *runtime, Agent *agent, const WishAnswer *answer) {
        Delivery *delivery = NULL;
        Letter *letter;

        if (!is_alive(agent)) {
                runtime->counters.undelivered[ERROR_AGENT_STOPPED]++;
                return 0;
        }

        letter = letter_new(
                &runtime->letters, SLICE_NONE, answer->body.data ? answer->body : SLICE(""), answer->envelope);
        if (letter) {
                delivery = delivery_new(&runtime->letters, agent, MAIL_ANSWER, letter);
                letter_unref(&runtime->letters, letter); /* it is the delivery's */
        }
        if (!delivery)
                return -ENOMEM;

        delivery->id = ++runtime->n_messages;
        delivery->token = answer->token;
        delivery->code = answer->code;
        if (core_push_mail(runtime, agent, &delivery->mail) < 0) {
                core_free_delivery(runtime, delivery);
                return -ENOMEM;
        }
        return 0;
}

static void answer(Wish *wish, ErrorCode code, Slice body) {
        const WishAnswer news = {
                .token = wish->effect->token, .code = code, .body = body, .envelope = &wish->inherited
        };

        if (core_answer_wish(wish->runtime, wish->agent, &news) < 0)
                wish->runtime->counters.undelivered[ERROR_INTERNAL]++;
}

/* publishing */

/* Below the prefix commands are given, below `$` the server is spoken to. */
static bool is_forbidden(const Runtime *runtime, Slice subject) {
        const Slice prefix = runtime->prefix;

        if (runtime->options.allow_forbidden_topics)
                return false;
        return subject.data[0] == '$' || (slice_starts_with(subject, prefix) &&
                                                 (subject.size == prefix.size || subject.data[prefix.size] == '.'));
}

/* What envelope_write() has made of all that was to go into the headers. */
static int check_written(Wish *wish, Slice headers, Slice body) {
        const Runtime *runtime = wish->runtime;
        const Slice reply_to = headers_get(headers, SLICE("Compozy-Reply-To"));
        const size_t size = headers.size + HEADER_OVERHEAD + body.size;

        if (reply_to.size > 0 && !runtime->options.allow_forbidden_topics &&
                !subject_is_open_to_results(runtime->prefix, reply_to))
                return wish_refuse(wish, ERROR_TOPIC_FORBIDDEN, "Compozy-Reply-To: \"%.*s\" is reserved",
                        (int)MIN_OF(reply_to.size, (size_t)64), reply_to.data);
        if (size > runtime->max_payload)
                return wish_refuse(wish, ERROR_LIMIT_EXCEEDED,
                        "a message of %zu bytes with its headers is over the server's limit of %llu", size,
                        (unsigned long long)runtime->max_payload);
        return 0;
}

static int check_post(Wish *wish, Slice body) {
        const Runtime *runtime = wish->runtime;

        if (!runtime->is_up)
                return wish_refuse(wish, ERROR_OVERLOADED, "there is no connection to NATS now");
        if (body.size > runtime->options.max_message_bytes)
                return wish_refuse(wish, ERROR_LIMIT_EXCEEDED,
                        "a message of %zu bytes is over limits.max_message_bytes of %llu", body.size,
                        (unsigned long long)runtime->options.max_message_bytes);
        return 0;
}

int wish_post(Wish *wish, const OutMessage *message) {
        Outbox *outbox = wish->runtime->outbox;
        char sender[sizeof("agent.") + ID_MAX];
        size_t start;
        Buffer *out;
        int r = check_post(wish, message->body);

        if (r != 0)
                return r;

        (void)snprintf(sender, sizeof(sender), "agent.%s", wish->agent->id.text);
        out = outbox_begin(outbox);
        buffer_append_slice(out, message->subject);
        if (message->reply.data) {
                outbox_reply(outbox);
                buffer_append_slice(out, message->reply);
        }
        outbox_headers(outbox);
        start = out->size;
        wish->code = ERROR_INVALID_MESSAGE;
        r = envelope_write(out, wish->is_traced ? &wish->posted : &wish->inherited, slice_of(sender), message->headers,
                wish->now.real_usec, &wish->error);
        if (r == 0 && !out->failed)
                r = check_written(wish, slice_after(buffer_slice(out), start), message->body);
        if (r != 0) {
                outbox_abort(outbox);
                return r;
        }

        outbox_body(outbox);
        buffer_append_slice(out, message->body);
        r = out->failed ? -ENOMEM : 0;
        outbox_end(outbox);
        return r;
}

static int publish(Wish *wish) {
        const Effect *effect = wish->effect;

        if (effect->target.size > SUBJECT_MAX || !subject_is_valid(effect->target))
                return wish_refuse(wish, ERROR_INVALID_MESSAGE, "\"%.*s\" is no topic to publish to",
                        (int)MIN_OF(effect->target.size, (size_t)64), effect->target.data ? effect->target.data : "");
        if (is_forbidden(wish->runtime, effect->target))
                return wish_refuse(wish, ERROR_TOPIC_FORBIDDEN,
                        "topic \"%.*s\" is reserved: agents may not publish to %.*s.> and $...",
                        (int)MIN_OF(effect->target.size, (size_t)64), effect->target.data,
                        SLICE_ARG(wish->runtime->prefix));
        return wish_post(
                wish, &(OutMessage){ .subject = effect->target, .headers = effect->headers, .body = effect->payload });
}

/* topics */

static int subscribe(Wish *wish) {
        const Effect *effect = wish->effect;
        const TopicWanted wanted = {
                .topic = effect->target,
                .queue = effect->key,
                .qos = effect->qos == QOS_NONE ? QOS_BATCHED : (Qos)effect->qos,
        };

        if (effect->qos >= _QOS_MAX)
                return wish_refuse(wish, ERROR_INVALID_MESSAGE, "%u is no QoS", effect->qos);
        return core_subscribe(wish->runtime, wish->agent, &wanted, &wish->code, &wish->error);
}

static int unsubscribe(Wish *wish) {
        return core_unsubscribe(wish->runtime, wish->agent, wish->effect->target, &wish->code, &wish->error);
}

/* its messages, its state, itself */

static int reply(Wish *wish) {
        const Effect *effect = wish->effect;
        BehaviorReply reply = {
                .verdict = effect->code == ERROR_NONE ? BEHAVIOR_DONE : BEHAVIOR_ERROR,
                .code = effect->code,
        };
        bool is_ended;

        buffer_append_slice(&reply.output, effect->payload);
        is_ended = core_end_pending(wish->runtime, wish->agent, effect->message_id, &reply, wish->now);
        behavior_reply_done(&reply);
        if (is_ended)
                return 0;
        return wish_refuse(wish, ERROR_INVALID_MESSAGE, "message %llu is not pending (any more)",
                (unsigned long long)effect->message_id);
}

/* What its message has done so far counts as handled, so that a checkpoint is due and covers it. */
static int checkpoint(Wish *wish) {
        Runtime *runtime = wish->runtime;
        Agent *agent = wish->agent;
        int r = 0;

        if (!behavior_keeps_state(agent->definition->behavior) || !runtime->options.has_store)
                return wish_refuse(wish, ERROR_STATE_ERROR, "it has nothing to keep: %s",
                        runtime->options.has_store ? "its type has no state" : "runtime.state_store is none");
        if (core_durable_new(runtime, agent) < 0)
                return -ENOMEM;

        core_note_handled(runtime, agent, 1, wish->now);
        if (wish->effect->wants_answer)
                r = wish_context(wish) ? core_wait_with(runtime, agent, wish->effect->token, wish->context) : -ENOMEM;
        if (r == WAIT_E_FULL)
                return wish_refuse(wish, ERROR_LIMIT_EXCEEDED, "%d requests wait for it already", WAITERS_MAX);
        if (r == 0)
                core_ask_checkpoint(runtime, agent, wish->now);
        return r;
}

static int stop(Wish *wish) {
        Agent *agent = wish->agent;

        if (agent->state == AGENT_STOPPING)
                return 0;
        if (core_stop_agent(wish->runtime, agent, /* discards= */ false, wish->now) == 0)
                return 0;
        return wish_refuse(wish, ERROR_INVALID_TRANSITION, "it is %s", agent_state_name(agent->state));
}

/* NULL when memory is out: then it shares the limit of all. */
static LogLimit *own_words(Agent *agent) {
        AgentRarely *rarely = agent_need_rarely(agent);

        if (rarely && !rarely->words)
                rarely->words = calloc(1, sizeof(*rarely->words));
        return rarely ? rarely->words : NULL;
}

/* Graver than an error is nothing that an agent can say: that would be the daemon's own distress. */
static int log_sentence(Wish *wish) {
        const Effect *effect = wish->effect;
        const int level = MIN_OF(MAX_OF(effect->level, LOG_ERR), LOG_DEBUG);
        const Slice sentence = { effect->payload.data, MIN_OF(effect->payload.size, (size_t)SENTENCE_MAX) };
        const Slice fields = { effect->headers.data, MIN_OF(effect->headers.size, (size_t)SENTENCE_MAX) };

        diag_agent_says(
                &(AgentWords){
                        .agent_id = agent_id_slice(wish->agent),
                        .exec_id = wish->exec_id,
                        .correlation_id = wish->inherited.correlation_id,
                        .sentence = sentence,
                        .fields = fields,
                        .level = level,
                },
                own_words(wish->agent));
        return 0;
}

/* all of them */

typedef enum AnsweredWhen {
        ANSWERED_NEVER,
        ANSWERED_IF_WANTED,   /* at once, refused or not */
        ANSWERED_LATER,       /* if wanted; at once only when it is refused */
        ANSWERED_LATER_ALWAYS /* wanted or not */
} AnsweredWhen;

#define FOR_LIVING .for_living = true

static const struct {
        int (*carry_out)(Wish *wish);
        AnsweredWhen answered;
        bool ends;       /* it may end a message or its agent: second pass */
        bool for_living; /* it would outlast an agent that has failed meanwhile */
} kinds[_EFFECT_KIND_MAX] = {
        [EFFECT_PUBLISH] = { .carry_out = publish, .answered = ANSWERED_IF_WANTED },
        [EFFECT_REPLY] = { .carry_out = reply, .answered = ANSWERED_IF_WANTED, .ends = true },
        [EFFECT_ASK] = { .carry_out = wish_ask, .answered = ANSWERED_LATER_ALWAYS, FOR_LIVING },
        [EFFECT_INVOKE] = { .carry_out = wish_invoke, .answered = ANSWERED_LATER_ALWAYS, FOR_LIVING },
        [EFFECT_TRIGGER] = { .carry_out = wish_trigger, .answered = ANSWERED_LATER_ALWAYS, FOR_LIVING },
        [EFFECT_SUBSCRIBE] = { .carry_out = subscribe, .answered = ANSWERED_IF_WANTED, FOR_LIVING },
        [EFFECT_UNSUBSCRIBE] = { .carry_out = unsubscribe, .answered = ANSWERED_IF_WANTED },
        [EFFECT_TIMER] = { .carry_out = wish_timer, .answered = ANSWERED_IF_WANTED, FOR_LIVING },
        [EFFECT_CANCEL_TIMER] = { .carry_out = wish_cancel_timer, .answered = ANSWERED_IF_WANTED },
        [EFFECT_CHECKPOINT] = { .carry_out = checkpoint, .answered = ANSWERED_LATER, .ends = true, FOR_LIVING },
        [EFFECT_STOP] = { .carry_out = stop, .answered = ANSWERED_IF_WANTED, .ends = true, FOR_LIVING },
        [EFFECT_LOG] = { .carry_out = log_sentence, .answered = ANSWERED_NEVER },
};

static void note_refused(Wish *wish, int r) {
        if (r < 0)
                (void)wish_refuse(wish, ERROR_INTERNAL, "memory is out");
        wish->runtime->counters.effects_refused++;
        diag_effect_refused(agent_id_slice(wish->agent), wish->exec_id, wish->inherited.correlation_id,
                effect_kind_names[wish->effect->kind], wish->code, wish->error.text);
}

static int try(Wish *wish) {
        const Agent *agent = wish->agent;

        if (kinds[wish->effect->kind].for_living && !is_alive(agent))
                return wish_refuse(wish, agent->state == AGENT_FAILED ? ERROR_AGENT_FAILED : ERROR_AGENT_STOPPED,
                        "the agent is %s", agent_state_name(agent->state));
        return kinds[wish->effect->kind].carry_out(wish);
}

static void carry_out(Wish *wish) {
        const Effect *effect = wish->effect;
        const AnsweredWhen answered = kinds[effect->kind].answered;
        const bool is_wanted =
                answered == ANSWERED_LATER_ALWAYS || (answered != ANSWERED_NEVER && effect->wants_answer);
        int r;

        wish->runtime->counters.effects[effect->kind]++;
        r = try(wish);
        if (r != 0)
                note_refused(wish, r);

        if (is_wanted && r != 0)
                answer(wish, wish->code, slice_of(wish->error.text));
        else if (is_wanted && answered == ANSWERED_IF_WANTED)
                answer(wish, ERROR_NONE, SLICE_NONE);
}

static void carry_out_pass(Wish *wish, const EffectList *effects, bool ends) {
        for (const Effect *effect = effects->first; effect; effect = effect->next) {
                assert(kinds[effect->kind].carry_out);

                if (kinds[effect->kind].ends != ends)
                        continue;
                wish->effect = effect;
                wish->is_traced = false;
                carry_out(wish);
                wish->n_invoked += effect->kind == EFFECT_INVOKE;
        }
}

static bool has_ending(const EffectList *effects) {
        for (const Effect *effect = effects->first; effect; effect = effect->next)
                if (kinds[effect->kind].ends)
                        return true;
        return false;
}

/* Who sent the message and where its answer goes is its own affair. */
static Envelope inherit(const Envelope *envelope) {
        return (Envelope){
                .thread_id = envelope->thread_id,
                .correlation_id = envelope->correlation_id,
                .ttl = envelope->ttl,
                .hop = envelope->hop,
                .traceparent = envelope->traceparent,
                .tracestate = envelope->tracestate,
        };
}

void core_apply_effects(
        Runtime *runtime, Agent *agent, const Occasion *occasion, const EffectList *effects, Instant now) {
        Wish wish = {
                .runtime = runtime,
                .agent = agent,
                .now = now,
                .message_id = occasion->message_id,
                .exec_id = occasion->exec_id,
                .inherited = inherit(occasion->envelope),
                .n_invoked = occasion->n_invoked,
        };

        if (effects->failed) {
                runtime->counters.effects_refused++;
                diag_effects_incomplete(agent_id_slice(agent), effects->n);
        }

        carry_out_pass(&wish, effects, /* ends= */ false);
        if (has_ending(effects)) {
                const Letter *kept = wish_context(&wish);

                if (kept)
                        wish.inherited = kept->envelope;
                else
                        envelope_init(&wish.inherited);
                wish.exec_id = SLICE_NONE;
                carry_out_pass(&wish, effects, /* ends= */ true);
        }
        if (wish.context)
                letter_unref(&runtime->letters, wish.context);
}

/* A message that is with a remote behaviour or pending, or a timer: those are not counted as open, nothing may hold
 * them up. NULL: none of that agent. */
static Mail *find_message(const Runtime *runtime, const Agent *agent, uint64_t message_id) {
        const OpenMessage *open = core_find_open(runtime, message_id);

        if (open)
                return open->mail->agent == agent ? open->mail : NULL;
        for (Mail *mail = agent->calls; mail; mail = mail->previous)
                if (mail->kind == MAIL_TIMER && delivery_of_mail(mail)->id == message_id)
                        return mail;
        return NULL;
}

void runtime_on_effects(Runtime *runtime, Agent *agent, uint64_t message_id, const EffectList *effects, Instant now) {
        Mail *mail = message_id > 0 ? find_message(runtime, agent, message_id) : NULL;
        const uint32_t n_invoked = effects_count(effects, EFFECT_INVOKE);
        Occasion occasion = {};
        Envelope none;

        runtime->now = now;
        envelope_init(&none);
        occasion.envelope = &none;
        if (mail && mail->kind == MAIL_TRIGGER) {
                Execution *execution = execution_of_mail(mail);

                occasion =
                        (Occasion){ message_id, id_slice(&execution->id), &execution->envelope, execution->n_invoked };
                execution->n_invoked += n_invoked;
        } else if (mail) {
                Delivery *delivery = delivery_of_mail(mail);

                occasion = (Occasion){ message_id, SLICE_NONE, delivery->letter ? delivery_envelope(delivery) : &none,
                        delivery->n_invoked };
                delivery->n_invoked += n_invoked;
        }

        core_apply_effects(runtime, agent, &occasion, effects, now);
        core_arm_reports(runtime, now);
}
