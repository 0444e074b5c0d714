/* SPDX-License-Identifier: MIT */

/*
 * What becomes of an application message that arrives: one letter, and a copy of it in the mailbox of each agent that
 * is to get it. Agents that share a topic share the letter.
 *
 * A copy that can't be kept, or that no behaviour will see, is counted by the reason; when somebody waits for an answer
 * (a NATS request, or a Compozy-Reply-To) he gets an error instead of silence.
 */

#include "proto/emit.h"
#include "runtimed/core.h"
#include "runtimed/diag.h"

static Lane lane_of(Qos qos) {
        switch (qos) {
        case QOS_REALTIME:
                return LANE_REALTIME;
        case QOS_BACKGROUND:
                return LANE_BACKGROUND;
        default:
                return LANE_BATCHED;
        }
}

/*
 * What an agent asks itself belongs to a message that it has begun, and must not wait behind it. A child process that
 * is to get no more than max_concurrency messages at a time waits for itself in vain, until its time-out.
 */
static Lane lane_for(const Runtime *runtime, const Agent *agent, const Letter *letter, Qos qos) {
        if (letter->envelope.is_request && !agent->definition->behavior->is_remote &&
                core_asks_itself(runtime, agent, letter->envelope.reply_to))
                return LANE_URGENT;
        return lane_of(qos);
}

/* An answer may go wherever a result may. */
static bool may_answer_to(const Runtime *runtime, Slice subject) {
        return subject_is_valid(subject) && core_may_answer_to(runtime, subject);
}

static void publish_answer(Runtime *runtime, const Agent *agent, const Letter *letter, const ErrorReply *error,
        Slice output, Instant now) {
        Outbox *outbox = runtime->outbox;
        WireError ignored;
        Buffer *out = outbox_begin(outbox);

        buffer_append_slice(out, letter->envelope.reply_to);
        outbox_headers(outbox);
        if (error)
                error_reply_emit_headers(out, error);
        runtime->names.size = 0;
        buffer_append_slice(&runtime->names, SLICE("agent."));
        buffer_append_slice(&runtime->names, agent_id_slice(agent));
        (void)envelope_write(
                out, &letter->envelope, buffer_slice(&runtime->names), SLICE_NONE, now.real_usec, &ignored);
        outbox_body(outbox);
        if (error)
                answer_encode_error(out, error);
        else
                buffer_append_slice(out, output);
        outbox_end(outbox);
}

void core_answer_letter(
        Runtime *runtime, const Agent *agent, const Letter *letter, ErrorCode code, Slice output, Instant now) {
        const uint64_t max = MIN_OF(core_payload_max(runtime), runtime->options.max_result_bytes);
        ErrorReply error = { .code = code, .message = output };
        const Envelope *envelope = &letter->envelope;
        WireError why;

        if (!runtime->is_up || !envelope->reply_to.data)
                return;
        if (!envelope->is_request && (code != ERROR_NONE || output.size == 0))
                return; /* nobody waits for it: a thread's reply subject takes outputs, not failures */
        if (!may_answer_to(runtime, envelope->reply_to)) {
                runtime->counters.undelivered[ERROR_TOPIC_FORBIDDEN]++;
                return;
        }
        if (code == ERROR_NONE && output.size > max) {
                (void)wire_error(&why, "the output of %zu bytes is over %s of %llu", output.size,
                        max < runtime->options.max_result_bytes ? "the server's limit" : "limits.max_result_bytes",
                        (unsigned long long)max);
                code = ERROR_LIMIT_EXCEEDED;
                error = (ErrorReply){ .code = code, .message = slice_of(why.text) };
        }
        publish_answer(runtime, agent, letter, code == ERROR_NONE ? NULL : &error, output, now);
}

void core_drop_delivery(Runtime *runtime, Delivery *delivery, ErrorCode code, Instant now) {
        Agent *agent = delivery->mail.agent;

        runtime->counters.undelivered[code]++;
        if (delivery->trace)
                delivery->trace->code = code;
        if (delivery->letter && delivery->mail.kind == MAIL_TOPIC && delivery->mail.wants_answer)
                core_answer_letter(runtime, agent, delivery->letter, code, slice_of(error_code_meaning(code)), now);
        core_free_delivery(runtime, delivery);
}

static ErrorCode why_not(const Agent *agent) {
        if (core_takes_mail(agent))
                return ERROR_NONE;
        return agent->state == AGENT_FAILED ? ERROR_AGENT_FAILED : ERROR_AGENT_STOPPED;
}

/* Into the mailbox, or what the overflow policy says instead: in every case somebody's answer is MAILBOX_FULL. */
static void deliver(Runtime *runtime, Delivery *delivery, Instant now) {
        Agent *agent = delivery->mail.agent;
        ErrorCode code = why_not(agent);
        int r;

        if (code != ERROR_NONE) {
                core_drop_delivery(runtime, delivery, code, now);
                return;
        }

        if (agent->definition->overflow == OVERFLOW_DROP_OLDEST)
                core_drop_oldest(runtime, agent, delivery->mail.n_bytes, now);
        r = core_push_mail(runtime, agent, &delivery->mail);
        if (r == 0) {
                runtime->counters.delivered++;
                return;
        }

        agent->n_shed++;
        runtime->counters.shed++;
        core_drop_delivery(runtime, delivery, r < 0 ? ERROR_INTERNAL : ERROR_MAILBOX_FULL, now);
}

/* Mailboxes are bounded one by one; a hundred thousand of them, each with its share, are not. */
bool core_has_mail_room(const Runtime *runtime) {
        const Letters *letters = &runtime->letters;
        const uint64_t max = runtime->options.max_mail_bytes;

        return max == 0 || letters->n_bytes + letters->n_deliveries * sizeof(Delivery) < max;
}

static void deliver_to(Runtime *runtime, Agent *agent, Letter *letter, Qos qos, Instant now) {
        const bool has_room = core_has_mail_room(runtime);
        Delivery *delivery = has_room ? delivery_new(&runtime->letters, agent, MAIL_TOPIC, letter) : NULL;
        WireError why;

        if (!delivery) {
                runtime->counters.undelivered[ERROR_OVERLOADED]++;
                runtime->counters.shed++;
                if (letter->envelope.is_request) {
                        if (has_room)
                                (void)wire_error(&why, "memory is out");
                        else
                                (void)wire_error(&why, "mailboxes hold the limit of limits.max_mail_bytes, %llu",
                                        (unsigned long long)runtime->options.max_mail_bytes);
                        core_answer_letter(runtime, agent, letter, ERROR_OVERLOADED, slice_of(why.text), now);
                }
                return;
        }

        delivery->id = ++runtime->n_messages;
        if (runtime->options.tracer)
                core_begin_delivery_span(runtime, delivery, now);
        delivery->mail.lane = (uint8_t)lane_for(runtime, agent, letter, qos);
        delivery->mail.wants_answer = letter->envelope.reply_to.data;
        if (qos == QOS_REALTIME)
                delivery->mail.late_usec = now.usec + runtime->options.realtime_max_age_usec;
        deliver(runtime, delivery, now);
}

static Letter *read_letter(Runtime *runtime, const InMessage *message) {
        WireError error = {};
        Envelope envelope;
        Letter *letter;
        int r;

        if (message->body.size > runtime->options.max_message_bytes)
                r = wire_error(&error, "a message of %zu bytes is over limits.max_message_bytes of %llu",
                        message->body.size, (unsigned long long)runtime->options.max_message_bytes);
        else
                r = envelope_read(message->headers, message->reply, &runtime->names, &envelope, &error);
        if (r == ENVELOPE_E_EXPIRED) {
                runtime->counters.expired++;
                return NULL;
        }
        if (r != 0) {
                runtime->counters.invalid++;
                diag_message_invalid(message->subject, error.text);
                return NULL;
        }

        if (runtime->options.tracer)
                core_trace_letter(runtime, message, &envelope, runtime->now);
        letter = letter_new(&runtime->letters, message->subject, message->body, &envelope);
        if (!letter)
                runtime->counters.undelivered[ERROR_INTERNAL]++;
        return letter;
}

void core_on_letter(Runtime *runtime, const InMessage *message, Instant now) {
        Subscription *receiver = topics_first_receiver(runtime->topics, message->tag);
        Letter *letter;

        if (!receiver)
                return; /* nobody any more */

        letter = read_letter(runtime, message);
        if (!letter)
                return;
        for (; receiver; receiver = topics_next_receiver(receiver))
                deliver_to(runtime, CONTAINER_OF(subscription_subscriber(receiver), Agent, subscriber), letter,
                        subscription_qos(receiver), now);
        letter_unref(&runtime->letters, letter);
}
