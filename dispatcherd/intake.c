/* SPDX-License-Identifier: MIT */

/*
 * Intake: from the bytes of a TriggerAgent to an execution, or to an answer that says why not.
 *
 * The bytes are copied once, into a parcel, and decoded there; the execution then owns it: so what was decoded needs no
 * second copy. Whoever sent something that can't be taken is told all the same, where it wanted to be told if that can
 * be made out.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag_execution.h"
#include "dispatcherd/state.h"
#include "proto/result.h"

#define SOURCE SLICE("compozy-dispatcherd")

/* What a relay has beyond the trigger's own bytes: ids that were left out, the sections agent_runtime and dispatch. */
#define RELAY_MARGIN 2048

/* A trigger that never became an execution: what is known of it is its subject and where the answer goes. */
static void refuse_message(Dispatcher *d, Slice workflow_id, Slice agent_id, const Trigger *sender, Slice reply_to,
        ErrorCode code, const char *text, Instant now) {
        Id id = rng_id(&d->rng);
        Slice exec_id = sender->agent_exec_id.size > 0 ? sender->agent_exec_id : id_slice(&id);
        Slice correlation_id = sender->metadata.correlation_id;
        Result result = {
                .metadata = { .result_id = id_slice(&id),
                        .correlation_id = correlation_id.size > 0 ? correlation_id : exec_id,
                        .source_component = SOURCE },
                .workflow_id = workflow_id,
                .workflow_exec_id = exec_id,
                .agent_id = agent_id,
                .agent_exec_id = exec_id,
                .status = STATUS_FAILURE,
                .error = { .code = code, .message = slice_of(text) },
        };

        d->n.by_status[STATUS_FAILURE]++;
        d->n.by_code[code]++;
        endpoint_fail(&d->trigger_stats, error_code_name(code), slice_of(text));
        diag_trigger_refused(exec_id, agent_id, result.metadata.correlation_id, code, text);
        dispatch_put_result(d, reply_to, &result, SLICE_NONE, now);
}

static void fill_in(Execution *execution, Slice workflow_id, Slice agent_id) {
        Trigger *trigger = &execution->parcel->trigger;
        Slice id = id_slice(&execution->exec_id);

        id_set(&execution->workflow_id, workflow_id);
        id_set(&execution->agent_id, agent_id);
        trigger->workflow_id = id_slice(&execution->workflow_id);
        trigger->agent_id = id_slice(&execution->agent_id);
        trigger->agent_exec_id = id;
        if (trigger->workflow_exec_id.size == 0)
                trigger->workflow_exec_id = id;
        if (trigger->metadata.correlation_id.size == 0)
                trigger->metadata.correlation_id =
                        trigger->metadata.request_id.size > 0 ? trigger->metadata.request_id : id;
        if (trigger->metadata.request_id.size == 0)
                trigger->metadata.request_id = id;
        trigger->metadata.source_component = SOURCE;
        if (trigger->payload.size == 0)
                trigger->payload = SLICE("{}");
        execution->retry = trigger->retry == RETRY_NONE_GIVEN ? RETRY_UNSTARTED : (RetryPolicy)trigger->retry;
        execution->priority = trigger->priority;
}

/* What must be right before an execution exists. Returns 0 or why not. */
static ErrorCode check_trigger(
        const Dispatcher *d, Slice workflow_id, Slice agent_id, const Trigger *trigger, WireError *error) {
        if (trigger->workflow_id.size > 0 && !slice_equal(trigger->workflow_id, workflow_id)) {
                (void)wire_error(error, "workflow.id is \"%.*s\", the subject says \"%.*s\"",
                        SLICE_ARG(trigger->workflow_id), SLICE_ARG(workflow_id));
                return ERROR_INVALID_MESSAGE;
        }
        if (trigger->agent_id.size > 0 && !slice_equal(trigger->agent_id, agent_id)) {
                (void)wire_error(error, "agent.id is \"%.*s\", the subject says \"%.*s\"", SLICE_ARG(trigger->agent_id),
                        SLICE_ARG(agent_id));
                return ERROR_INVALID_MESSAGE;
        }
        if (trigger->not_before.size > 0) {
                (void)wire_error(error, "payload.not_before is %.*s: only durable triggers can wait for their time",
                        SLICE_ARG(trigger->not_before));
                return ERROR_INVALID_MESSAGE;
        }
        if (trigger->reply_to_subject.size > 0 && !subject_may_receive_result(d->prefix, trigger->reply_to_subject)) {
                (void)wire_error(error,
                        "payload.reply_to_subject \"%.*s\" is reserved: a result may go to %.*s.results.> or outside "
                        "%.*s. and $",
                        SLICE_ARG(trigger->reply_to_subject), SLICE_ARG(d->prefix), SLICE_ARG(d->prefix));
                return ERROR_TOPIC_FORBIDDEN;
        }
        return ERROR_NONE;
}

/* The id is known: a repeat by the network, a caller that asks again, or one that asks for something long done. */
static void repeat(Dispatcher *d, Execution *execution, Slice reply_to, Instant now) {
        const Parcel *parcel = execution->parcel;
        bool known = reply_to.size == 0 || slice_equal(reply_to, parcel->reply_to);
        WireError error;

        d->n.duplicates++;
        for (size_t i = 0; i < execution->n_followers; i++)
                known = known || slice_equal(reply_to, parcel->followers[i]);
        diag_execution_repeated(execution, !known);
        if (known)
                return;

        if (execution_follow(execution, reply_to) < 0) {
                (void)wire_error(&error, "agent.exec_id: %u callers wait for that execution, the limit is %d",
                        1 + execution->n_followers, 1 + FOLLOWERS_MAX);
                refuse_message(d, id_slice(&execution->workflow_id), id_slice(&execution->agent_id), &parcel->trigger,
                        reply_to, ERROR_LIMIT_EXCEEDED, error.text, now);
                return;
        }
        if (execution->phase == PHASE_IN_FLIGHT)
                dispatch_put_checks(d, execution, now);
}

/* An ended execution is asked for again. Its last runtime answers from memory, if it is still the same. */
static bool ask_again(Dispatcher *d, Execution *execution, Instant now) {
        const Attempt *attempt = execution_attempt(execution);
        Runtime *runtime = registry_find(d->registry, id_slice(&attempt->runtime_id));

        if (execution->attempt == 0 || !runtime || runtime->epoch != attempt->epoch || runtime->unreachable)
                return false;
        if (runtime_free_slots(runtime) == 0) {
                dispatch_fail_overloaded(
                        d, execution, "the runtime that could repeat its answer has no free slot", now);
                return true;
        }

        execution_attach(d->executions, execution, runtime);
        execution->n_tries = 1; /* if it does not remember, it runs it */
        execution->check_pause_usec = d->options.check_usec;
        execution->check_usec = now.usec + execution->check_pause_usec;
        dispatch_put_checks(d, execution, now);
        dispatch_arm(d, execution);
        return true;
}

/* Did its last attempt run, as far as its retry policy minds? What nobody heard, or a runtime refused, ran nowhere. */
static bool may_have_run(Execution *execution) {
        const Attempt *attempt = execution_attempt(execution);

        if (execution->attempt == 0 || attempt->end == ATTEMPT_UNHEARD)
                return false;
        if (attempt->end == ATTEMPT_REFUSED && attempt->code != ERROR_RUNTIME_LOST)
                return false;
        return attempt->end == ATTEMPT_ANSWERED || execution->retry == RETRY_NEVER ||
               (execution->retry == RETRY_UNSTARTED && attempt->started);
}

/* New work, or an id that ended and is asked for again. In phase WAITING, in no queue. */
static void admit(Dispatcher *d, Execution *execution, bool was_known, Instant now) {
        bool may_pump = d->pump_wanted; /* else all that waits was tried before, in vain */
        char text[160];

        diag_execution_arrived(execution, was_known, now.usec);
        if (was_known && ask_again(d, execution, now))
                return;
        if (was_known && may_have_run(execution) && execution->retry != RETRY_ALWAYS) {
                dispatch_fail(d, execution, ERROR_RUNTIME_LOST,
                        "that agent.exec_id was run before, and the runtime that could repeat its answer is gone",
                        SLICE_NONE, now);
                return;
        }

        execution->n_tries = 0;
        if (execution_table_bytes(d->executions) > d->options.queue_bytes_limit) {
                (void)snprintf(text, sizeof(text),
                        "triggers hold %" PRIu64 " bytes, the limit of dispatcher.queue_bytes is %" PRIu64,
                        execution_table_bytes(d->executions), d->options.queue_bytes_limit);
                dispatch_fail_overloaded(d, execution, text, now);
                return;
        }
        /* Nobody overtakes those who wait: behind them, the pump decides. */
        if (execution_table_n_waiting(d->executions) == 0) {
                dispatch_place(d, execution, now);
        } else {
                d->pump_wanted = true;
                diag_execution_waits(execution, "others came before it", USEC_NEVER, now.usec);
                dispatch_wait(d, execution, now);
        }
        if (execution->phase == PHASE_WAITING && execution->demand &&
                execution_table_n_waiting(d->executions) > d->options.queue_limit) {
                Id id = execution->exec_id;

                if (may_pump)
                        dispatch_pump(d, now);
                /* The pump may have ended it, and so many others that the history has forgotten it. */
                execution = execution_find(d->executions, id_slice(&id));
                if (!execution || !execution->demand)
                        return;
                execution_unwait(d->executions, execution);
                (void)snprintf(text, sizeof(text), "%zu triggers wait, the limit of dispatcher.queue_limit is %" PRIu64,
                        execution_table_n_waiting(d->executions), d->options.queue_limit);
                dispatch_fail_overloaded(d, execution, text, now);
        }
}

/* Where the answer goes: what the body says, else the NATS reply subject (which dispatcher_on_message() has checked).
 */
static Slice reply_target(const Trigger *trigger, Slice reply) {
        return trigger->reply_to_subject.size > 0 ? trigger->reply_to_subject : reply;
}

static ErrorCode arrival_decode(Dispatcher *d, Arrival *arrival, WireError *error) {
        const InMessage *message = arrival->message;
        Parcel *parcel;
        int r;

        if (message->body.size > d->options.max_message_bytes) {
                (void)wire_error(error, "the body has %zu bytes, the limit of limits.max_message_bytes is %" PRIu64,
                        message->body.size, d->options.max_message_bytes);
                return ERROR_INVALID_MESSAGE;
        }
        if (message->body.size + message->reply.size + message->headers.size + RELAY_MARGIN > d->max_payload) {
                (void)wire_error(error,
                        "the body has %zu bytes: with what a relay adds, more than the server's max_payload of "
                        "%" PRIu64,
                        message->body.size, d->max_payload);
                return ERROR_INVALID_MESSAGE;
        }
        parcel = arrival->parcel = parcel_new(d->executions, message->body, message->reply, arrival->headers);
        if (!parcel) {
                (void)wire_error(error, "the dispatcher is out of memory");
                return ERROR_INTERNAL;
        }

        r = trigger_decode(parcel->body, &parcel->trigger, &parcel->arena, error);
        if (r == 0 && parcel->trigger.labels.size > 0) {
                Labels *labels = arena_alloc(&parcel->arena, sizeof(*labels));

                r = labels ? labels_decode(parcel->trigger.labels, "payload.labels", &parcel->arena, labels, error)
                           : -ENOMEM;
                parcel->labels = labels;
        }
        if (r == WIRE_E_INVALID)
                return ERROR_INVALID_MESSAGE;
        if (r < 0) {
                (void)wire_error(error, "the dispatcher is out of memory");
                return ERROR_INTERNAL;
        }
        parcel->reply_to = reply_target(&parcel->trigger, parcel->reply);
        return check_trigger(d, arrival->workflow_id, arrival->agent_id, &parcel->trigger, error);
}

/* It could not be taken: still, whoever sent it is told, where it wanted to be told if that can be made out. */
static void refuse_unread(Dispatcher *d, const Arrival *arrival, ErrorCode code, const char *text, Instant now) {
        Slice reply_to = arrival->message->reply;
        Trigger sender = {};

        if (arrival->message->body.size <= d->options.max_message_bytes)
                trigger_decode_sender(arrival->message->body, &sender, &d->arena);
        if (sender.reply_to_subject.size > 0 && subject_may_receive_result(d->prefix, sender.reply_to_subject))
                reply_to = sender.reply_to_subject;
        refuse_message(d, arrival->workflow_id, arrival->agent_id, &sender, reply_to, code, text, now);
}

/* A subject with ids out of grammar: there is no agent, and the answer carries "-" for what could not be read. */
void dispatch_refuse_subject(Dispatcher *d, const InMessage *message, const char *text, Instant now) {
        Arrival arrival = { .workflow_id = SLICE("-"), .agent_id = SLICE("-"), .message = message };

        d->n.triggers++;
        d->trigger_stats.n_requests++;
        refuse_unread(d, &arrival, ERROR_INVALID_MESSAGE, text, now);
}

/* Gives the parcel to the execution. */
static void take_arrival(Dispatcher *d, Arrival *arrival, Execution *execution, Instant now) {
        uint64_t ms = arrival->parcel->trigger.deadline_ms > 0 ? arrival->parcel->trigger.deadline_ms
                                                               : d->options.default_deadline_ms;

        if (arrival->span.is_recorded)
                arrival->parcel->span = arrival->span;
        execution_own(d->executions, execution, TAKE_PTR(arrival->parcel));
        fill_in(execution, arrival->workflow_id, arrival->agent_id);
        execution->received_usec = now.usec;
        execution->deadline_usec = now.usec + ms * USEC_PER_MSEC;
        execution->order = execution_order(now.usec, execution->priority);
}

/* As runtimes do, which see to it where this dispatcher does not know of the execution: permissions keep the inboxes of
 * callers apart, and that must not be undone by guessing an id. */
static bool is_anothers(const Dispatcher *d, uint64_t owner, Slice reply_to) {
        return owner != 0 && reply_to.size > 0 && subject_owner(d->prefix, reply_to) != owner;
}

static void take_or_answer(Dispatcher *d, Arrival *arrival, Slice exec_id, Instant now) {
        const Parcel *parcel = arrival->parcel;
        Execution *execution = execution_find(d->executions, exec_id);

        if (execution && execution->phase != PHASE_ENDED &&
                is_anothers(d, subject_owner(d->prefix, execution->parcel->reply_to), parcel->reply_to)) {
                d->n.invalid++;
                refuse_message(d, arrival->workflow_id, arrival->agent_id, &parcel->trigger, parcel->reply_to,
                        ERROR_INVALID_MESSAGE, "agent.exec_id is another caller's", now);
        } else if (execution && !(id_equal(&execution->agent_id, arrival->agent_id) &&
                                        id_equal(&execution->workflow_id, arrival->workflow_id))) {
                d->n.invalid++;
                arrival->code = ERROR_INVALID_MESSAGE;
                refuse_message(d, arrival->workflow_id, arrival->agent_id, &parcel->trigger, parcel->reply_to,
                        ERROR_INVALID_MESSAGE, "agent.exec_id was used for another agent or workflow", now);
        } else if (execution && execution->phase != PHASE_ENDED) {
                repeat(d, execution, parcel->reply_to, now);
        } else if (execution) {
                d->n.duplicates++;
                execution_revive(d->executions, execution);
                take_arrival(d, arrival, execution, now);
                admit(d, execution, /* was_known= */ true, now);
        } else if (execution_add(d->executions, exec_id, &execution) < 0) {
                arrival->code = ERROR_INTERNAL;
                refuse_message(d, arrival->workflow_id, arrival->agent_id, &parcel->trigger, parcel->reply_to,
                        ERROR_INTERNAL, "the dispatcher is out of memory", now);
        } else {
                take_arrival(d, arrival, execution, now);
                admit(d, execution, /* was_known= */ false, now);
        }
}

void dispatch_trigger(Dispatcher *d, Slice workflow_id, Slice agent_id, const InMessage *message, Instant now) {
        Arrival arrival = {
                .workflow_id = workflow_id, .agent_id = agent_id, .message = message, .headers = message->headers
        };
        WireError error = {};
        ErrorCode code;

        d->n.triggers++;
        d->trigger_stats.n_requests++;
        if (d->options.tracer)
                spans_begin(d, &arrival);
        code = arrival_decode(d, &arrival, &error);
        arrival.code = code;
        if (code != ERROR_NONE) {
                d->n.invalid++;
                refuse_unread(d, &arrival, code, error.text, now);
        } else if (arrival.parcel->trigger.agent_exec_id.size > 0) {
                take_or_answer(d, &arrival, arrival.parcel->trigger.agent_exec_id, now);
        } else {
                Id id = rng_id(&d->rng);

                take_or_answer(d, &arrival, id_slice(&id), now);
        }
        if (arrival.span.is_recorded && (arrival.parcel || arrival.code != ERROR_NONE))
                spans_end_arrival(d, &arrival, error.text, now);
        (void)parcel_free(d->executions, arrival.parcel);
}
