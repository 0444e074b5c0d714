/* SPDX-License-Identifier: MIT */

/*
 * What becomes of a trigger that arrives: docs/protocol.md, "A trigger's life".
 *
 * Order of the questions matters. Is it for this epoch? Do we have it already (then the truth is told, whatever else
 * holds)? May we take anything at all? Is there room? Does the agent take it? A relayed trigger that is not taken is
 * refused with a report, so that its dispatcher places it elsewhere; one that came by hand is answered.
 *
 * Nothing is published to a subject that a result may not go to, reports included: else whoever can reach our trigger
 * subject could make us publish commands in our name.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/core.h"
#include "runtimed/diag.h"
#include "runtimed/diag_execution.h"

/* A trigger on its way in. */
typedef struct Arrival {
        const InMessage *message;
        Trigger trigger;
        Reporter *reporter; /* NULL: came by hand */
        Slice reply_to;     /* absent: nowhere */
        Id made_up;         /* the execution's id when it came without */
        Envelope envelope;  /* how far the conversation it belongs to has come, and may still go */
        WireError why;      /* ... and why it may not go on; empty: it may */
} Arrival;

/* Subjects in a message were checked when it was decoded; the one that it came with was not. */
static bool may_publish_to(const Runtime *runtime, const InMessage *message, Slice subject) {
        if (subject.data == message->reply.data && !subject_is_valid(subject))
                return false;
        return core_may_answer_to(runtime, subject);
}

/* A dispatcher's subject for our reports, or one of an inbox. */
static bool may_report_to(const Runtime *runtime, const InMessage *message, Slice subject) {
        const SubjectMatch match = subject_parse(runtime->prefix, subject);

        return (match.kind == SUBJECT_DISPATCHER_REPORT && slice_equal(match.second, runtime->id)) ||
               may_publish_to(runtime, message, subject);
}

static void refuse(Runtime *runtime, Arrival *arrival, ErrorCode code, const char *why, Instant now) {
        const Trigger *trigger = &arrival->trigger;

        runtime->counters.refused[code]++;
        endpoint_fail(&runtime->trigger_stats, error_code_name(code), slice_of(why ? why : error_code_meaning(code)));
        diag_trigger_refused(trigger, code, why);

        if (arrival->reporter) {
                ExecutionReport report = {
                        .exec_id = trigger->agent_exec_id,
                        .attempt = trigger->dispatch.attempt,
                        .ask = trigger->dispatch.ask,
                        .state = EXECUTION_REFUSED,
                        .code = (unsigned)code,
                };

                reporter_add(&runtime->reporters, arrival->reporter, &report, now);
                /* Once told "refused", the dispatcher may place it elsewhere: this attempt may not run here any more.
                 */
                memory_put(runtime->refusals,
                        &(Remembered){ .exec_id = id_of(trigger->agent_exec_id),
                                .code = code,
                                .refused_attempt = trigger->dispatch.attempt },
                        now.usec);
        } else if (arrival->reply_to.data) {
                core_answer_refusal(
                        runtime, trigger, arrival->reply_to, code, why ? why : error_code_meaning(code), now);
        }
}

/* repeats */

/*
 * One more than can be kept. A dispatcher is told nothing: "refused" would mean that it does not run here, and have it
 * run elsewhere as well. It asks again, and once the execution is done its caller is answered from memory.
 */
static void refuse_asker(Runtime *runtime, Arrival *arrival, Instant now) {
        static const char why[] =
                "agent.exec_id: " STRINGIFY(ASKERS_MAX) " wait for that execution, which is the limit";

        if (!arrival->reporter) {
                refuse(runtime, arrival, ERROR_LIMIT_EXCEEDED, why, now);
                return;
        }

        runtime->counters.refused[ERROR_LIMIT_EXCEEDED]++;
        diag_trigger_refused(&arrival->trigger, ERROR_LIMIT_EXCEEDED, why);
}

/*
 * Whoever knows the id of an execution is answered as well as its caller, if its caller is nobody in particular. One
 * that has an inbox which permissions keep for it shares answers with nobody: ids may be guessed. This attempt of an
 * execution that is another's is refused for good, and not remembered under the id, which is the other's.
 */
static bool is_anothers(Runtime *runtime, const Arrival *arrival, uint64_t owner) {
        return owner != 0 && arrival->reply_to.data && subject_owner(runtime->prefix, arrival->reply_to) != owner;
}

static void refuse_stranger(Runtime *runtime, Arrival *arrival, Instant now) {
        const Trigger *trigger = &arrival->trigger;

        if (!arrival->reporter) {
                refuse(runtime, arrival, ERROR_INVALID_MESSAGE, "agent.exec_id is another caller's", now);
                return;
        }
        runtime->counters.refused[ERROR_INVALID_MESSAGE]++;
        diag_trigger_refused(trigger, ERROR_INVALID_MESSAGE, "it is another caller's");
        reporter_add(&runtime->reporters, arrival->reporter,
                &(ExecutionReport){ .exec_id = trigger->agent_exec_id,
                        .attempt = trigger->dispatch.attempt,
                        .ask = trigger->dispatch.ask,
                        .state = EXECUTION_REFUSED,
                        .code = ERROR_INVALID_MESSAGE },
                now);
}

static void tell_where_it_stands(Runtime *runtime, Execution *execution, Arrival *arrival, Instant now) {
        const uint64_t attempt = arrival->trigger.dispatch.attempt;
        Asker *asker;

        for (asker = &execution->asker; asker; asker = asker->next)
                if (asker->reporter == arrival->reporter &&
                        (!arrival->reply_to.data || slice_equal(asker->reply_to, arrival->reply_to)))
                        break;

        if (!asker) {
                asker = execution_add_asker(execution, arrival->reply_to, attempt);
                if (!asker) {
                        refuse_asker(runtime, arrival, now);
                        return;
                }
                if (arrival->reporter)
                        reporter_hold(arrival->reporter, asker);
        }

        diag_trigger_repeated(&arrival->trigger, "it is here");
        asker->attempt = MAX_OF(asker->attempt, attempt);
        asker->ask = arrival->trigger.dispatch.ask;
        reporter_note(&runtime->reporters, asker);
}

static void answer_from_memory(Runtime *runtime, const Remembered *remembered, Arrival *arrival, Instant now) {
        runtime->counters.memory_hits++;
        diag_trigger_repeated(&arrival->trigger, "it was answered from memory");

        if (arrival->reply_to.data && remembered->body.data)
                core_publish_copy(runtime, arrival->reply_to, remembered->headers, remembered->body);

        if (arrival->reporter) {
                ExecutionReport report = {
                        .exec_id = arrival->trigger.agent_exec_id,
                        .attempt = arrival->trigger.dispatch.attempt,
                        .ask = arrival->trigger.dispatch.ask,
                        .state = EXECUTION_DONE,
                        .status = remembered->status,
                        .code = (unsigned)remembered->code,
                };

                reporter_add(&runtime->reporters, arrival->reporter, &report, now);
        }
}

static bool is_repeat(Runtime *runtime, Arrival *arrival, Instant now) {
        Slice exec_id = arrival->trigger.agent_exec_id;
        Execution *execution = executions_find(&runtime->executions, exec_id);
        Remembered remembered;

        if (execution) {
                if (is_anothers(runtime, arrival, subject_owner(runtime->prefix, execution->asker.reply_to)))
                        refuse_stranger(runtime, arrival, now);
                else
                        tell_where_it_stands(runtime, execution, arrival, now);
                return true;
        }
        if (memory_find(runtime->memory, exec_id, &remembered)) {
                if (is_anothers(runtime, arrival, remembered.owner)) {
                        refuse_stranger(runtime, arrival, now);
                        return true;
                }
                answer_from_memory(runtime, &remembered, arrival, now);
                return true;
        }
        if (arrival->reporter && memory_find(runtime->refusals, exec_id, &remembered) &&
                arrival->trigger.dispatch.attempt <= remembered.refused_attempt) {
                refuse(runtime, arrival, remembered.code, NULL, now);
                return true;
        }
        return false;
}

/* may we? */

/* The relay's first sending, by our clock, was so long ago. Might we have had it and forgotten it? */
static bool memory_falls_short(const Runtime *runtime, const Trigger *trigger, Instant now) {
        const uint64_t age_usec = MIN_OF(trigger->dispatch.age_ms, UINT64_MAX / USEC_PER_MSEC / 2) * USEC_PER_MSEC;
        const uint64_t since_usec = now.usec > age_usec ? now.usec - age_usec : 0;

        return age_usec > 0 &&
               !(memory_reaches(runtime->memory, since_usec) && memory_reaches(runtime->refusals, since_usec));
}

/* Says which limit it is. */
static bool is_overloaded(const Runtime *runtime, const Arrival *arrival, WireError *ret_why) {
        const uint64_t bytes_max = runtime->options.max_in_flight_bytes;
        const size_t n_bytes = runtime->executions.n_bytes, size = arrival->message->body.size;

        if (runtime->is_congested)
                return wire_error(ret_why, "NATS takes what is sent too slowly: nats.pending_bytes_max is reached");
        if (runtime->executions.n >= runtime->options.max_in_flight)
                return wire_error(ret_why, "%zu executions are held, the limit of runtime.max_in_flight is %" PRIu64,
                        runtime->executions.n, runtime->options.max_in_flight);
        if (bytes_max > 0 && n_bytes + size > bytes_max)
                return wire_error(ret_why,
                        "executions hold %zu bytes, %zu more are over the limit of runtime.max_in_flight_bytes, "
                        "%" PRIu64,
                        n_bytes, size, bytes_max);
        return false;
}

/* `ret_why` is written where there is more to say than the code does; else it stays empty. */
static ErrorCode why_not(
        const Runtime *runtime, const Arrival *arrival, const Agent *agent, WireError *ret_why, Instant now) {
        if (arrival->reporter) {
                if (runtime->session.is_doubtful || memory_falls_short(runtime, &arrival->trigger, now))
                        return ERROR_RUNTIME_LOST;
                if (!session_is_up(&runtime->session))
                        return ERROR_RUNTIME_LOST;
                if (runtime->session.state == SESSION_QUIET)
                        return ERROR_RUNTIME_DRAINING;
        }
        if (runtime->is_draining)
                return ERROR_RUNTIME_DRAINING;
        if (is_overloaded(runtime, arrival, ret_why))
                return ERROR_OVERLOADED;
        if (!agent)
                return ERROR_AGENT_NOT_FOUND;
        if (agent->state == AGENT_FAILED)
                return ERROR_AGENT_FAILED;
        return core_takes_mail(agent) ? ERROR_NONE : ERROR_AGENT_STOPPED;
}

/* taking it */

static uint64_t deadline_ms(const Trigger *trigger) {
        if (trigger->dispatch.present)
                return MIN_OF(trigger->dispatch.deadline_ms, (uint64_t)DEADLINE_MS_MAX);
        return trigger->deadline_ms > 0 ? trigger->deadline_ms : DEADLINE_MS_DEFAULT;
}

/*
 * An agent that triggers an agent that triggers an agent, and so on: what bounds that is the ttl in the headers, as for
 * application messages. A trigger from outside has no such headers, and begins a conversation.
 */
static void read_envelope(Runtime *runtime, Arrival *arrival) {
        const Slice headers = arrival->message->headers;

        envelope_init(&arrival->envelope);
        if (headers.size == 0)
                return;
        if (envelope_read(headers, SLICE_NONE, &runtime->names, &arrival->envelope, &arrival->why) ==
                ENVELOPE_E_EXPIRED)
                (void)wire_error(&arrival->why, "Compozy-Ttl is used up: too many agents have triggered one another");
}

/* An execution as it is before it is anywhere. NULL: memory is out. */
static Execution *take(Runtime *runtime, Arrival *arrival, Agent *agent, Instant now) {
        Slice headers = arrival->message->headers;
        Execution *execution;
        TraceSpan span;

        if (runtime->options.tracer)
                headers = core_begin_execution_span(runtime, headers, &span);
        execution = executions_add(&runtime->executions, agent, &arrival->trigger, headers, arrival->reply_to, now);
        if (!execution)
                return NULL;
        if (runtime->options.tracer)
                execution->span = span;

        execution->message_id = ++runtime->n_messages;
        execution->epoch = runtime->session.epoch;
        execution->envelope.ttl = arrival->envelope.ttl;
        execution->envelope.hop = arrival->envelope.hop;
        execution->asker.attempt = arrival->trigger.dispatch.attempt;
        execution->asker.ask = arrival->trigger.dispatch.ask;
        execution->expires_usec = now.usec + deadline_ms(&arrival->trigger) * USEC_PER_MSEC;
        if (arrival->reporter)
                reporter_hold(arrival->reporter, &execution->asker);
        return execution;
}

/* Into the mailbox, or what the overflow policy says instead. */
static void deliver(Runtime *runtime, Execution *execution, Arrival *arrival, Instant now) {
        Agent *agent = execution->mail.agent;
        int r;

        if (agent->definition->overflow == OVERFLOW_DROP_OLDEST)
                core_drop_oldest(runtime, agent, execution->mail.n_bytes, now);

        r = core_push_mail(runtime, agent, &execution->mail);
        if (r == 0) {
                execution->phase = PHASE_QUEUED;
                runtime->n_queued++;
                core_arm_execution(runtime, execution);
                diag_execution_accepted(execution, now.usec);
                reporter_note(&runtime->reporters, &execution->asker);
                return;
        }
        if (r < 0) {
                core_drop(runtime, execution);
                refuse(runtime, arrival, ERROR_OVERLOADED, "memory is out", now);
                return;
        }

        agent->n_shed++;
        runtime->counters.shed++;
        if (agent->definition->overflow == OVERFLOW_DROP_NEWEST) {
                core_fail(runtime, execution, ERROR_MAILBOX_FULL, "dropped: the mailbox is full", now);
                return;
        }
        core_drop(runtime, execution);
        refuse(runtime, arrival, ERROR_MAILBOX_FULL, NULL, now);
}

static void take_in(Runtime *runtime, Arrival *arrival, Instant now) {
        Agent *agent = core_find_agent(runtime, arrival->trigger.agent_id);
        WireError why = {};
        ErrorCode code = why_not(runtime, arrival, agent, &why, now);
        Execution *execution;

        if (code != ERROR_NONE) {
                refuse(runtime, arrival, code, why.text[0] ? why.text : NULL, now);
                return;
        }

        read_envelope(runtime, arrival);
        execution = take(runtime, arrival, agent, now);
        if (!execution) {
                refuse(runtime, arrival, ERROR_OVERLOADED, "memory is out", now);
                return;
        }

        if (execution->expires_usec <= now.usec) {
                core_fail(runtime, execution, ERROR_DEADLINE_EXCEEDED, "it had no time left when it arrived", now);
                return;
        }
        if (arrival->why.text[0]) { /* taken, since no other runtime would judge otherwise */
                core_fail(runtime, execution, ERROR_INVALID_MESSAGE, arrival->why.text, now);
                return;
        }
        deliver(runtime, execution, arrival, now);
}

/* reading it */

/* Finds out whom to tell. Returns false when there is nobody that may be told: the trigger is dropped. */
static bool find_addressees(Runtime *runtime, Arrival *arrival, Instant now) {
        const Trigger *trigger = &arrival->trigger;
        Slice report_to = SLICE_NONE, reply = arrival->message->reply;

        if (trigger->dispatch.present) {
                report_to = trigger->dispatch.report_to.data ? trigger->dispatch.report_to : reply;
                arrival->reply_to = trigger->dispatch.reply_to;
        } else {
                arrival->reply_to = trigger->reply_to_subject.data ? trigger->reply_to_subject : reply;
        }

        if (report_to.data) {
                if (may_report_to(runtime, arrival->message, report_to))
                        arrival->reporter = reporters_get(&runtime->reporters, report_to);
                if (!arrival->reporter) {
                        runtime->counters.refused[ERROR_TOPIC_FORBIDDEN]++;
                        diag_message_invalid(arrival->message->subject, "no report may go to its report_to");
                        return false;
                }
        }

        if (arrival->reply_to.data && !may_publish_to(runtime, arrival->message, arrival->reply_to)) {
                arrival->reply_to =
                        !trigger->dispatch.present && reply.data && may_publish_to(runtime, arrival->message, reply)
                                ? reply
                                : SLICE_NONE;
                refuse(runtime, arrival, ERROR_TOPIC_FORBIDDEN, "no result may go to that reply subject", now);
                return false;
        }
        return true;
}

static bool decode(Runtime *runtime, Arrival *arrival, Instant now) {
        const InMessage *message = arrival->message;
        WireError error = {};
        int r;

        if (message->body.size > runtime->options.max_message_bytes)
                r = wire_error(&error, "a message of %zu bytes is over limits.max_message_bytes of %llu",
                        message->body.size, (unsigned long long)runtime->options.max_message_bytes);
        else
                r = trigger_decode(message->body, &arrival->trigger, &runtime->arena, &error);
        if (r == 0 && !arrival->trigger.agent_id.data)
                r = wire_error(&error, "agent.id is missing");
        if (r == 0)
                return true;

        runtime->counters.invalid++;
        if (r < 0)
                (void)wire_error(&error, "memory is out");
        diag_message_invalid(message->subject, error.text);

        /* Nothing of what it said is trusted, so the answer goes where NATS says it came from. */
        arrival->trigger = (Trigger){};
        if (message->reply.data && may_publish_to(runtime, message, message->reply))
                core_answer_refusal(runtime, &arrival->trigger, message->reply, ERROR_INVALID_MESSAGE, error.text, now);
        return false;
}

/* By hand, ids may be left out. */
static void fill_in(Runtime *runtime, Arrival *arrival) {
        Trigger *trigger = &arrival->trigger;

        if (trigger->agent_exec_id.data)
                return;

        arrival->made_up = rng_id(&runtime->rng);
        trigger->agent_exec_id = id_slice(&arrival->made_up);
}

static bool is_for_us(const Runtime *runtime, const Trigger *trigger) {
        if (!trigger->dispatch.present)
                return true;

        return slice_equal(trigger->dispatch.runtime_id, runtime->id) &&
               trigger->dispatch.epoch == runtime->session.epoch;
}

void core_on_trigger(Runtime *runtime, const InMessage *message, Instant now) {
        Arrival arrival = { .message = message };

        runtime->trigger_stats.n_requests++;
        if (!decode(runtime, &arrival, now))
                return;

        fill_in(runtime, &arrival);
        if (!find_addressees(runtime, &arrival, now))
                return;

        if (!is_for_us(runtime, &arrival.trigger)) {
                refuse(runtime, &arrival, ERROR_RUNTIME_LOST, "it is addressed to another epoch of this runtime", now);
                return;
        }
        if (!is_repeat(runtime, &arrival, now))
                take_in(runtime, &arrival, now);
}
