/* SPDX-License-Identifier: MIT */

/*
 * Spans: each trigger that arrives is one, "trigger <agent>", from its arrival to its outcome, with an event for each
 * runtime it was given to. What the relay carries makes the runtime's span a child of ours.
 *
 * A repeat, and what could not be taken, are spans that end where they begin. Names of attributes are OpenTelemetry's
 * where it has some (https://opentelemetry.io/docs/specs/semconv/messaging/), else begin with "compozy.".
 */

#include "dispatcherd/state.h"

void spans_begin(Dispatcher *d, Arrival *arrival) {
        const Slice headers = arrival->message->headers;

        if (!tracer_begin(d->options.tracer, headers_get(headers, SLICE("traceparent")), &arrival->span))
                return;
        buffer_clear(&d->scratch);
        trace_rewrite_headers(&d->scratch, headers, &arrival->span);
        if (d->scratch.failed)
                arrival->span.is_recorded = false; /* what comes behind it would have a parent that nobody has */
        else
                arrival->headers = buffer_slice(&d->scratch);
}

/* When something happened, on the clock that people read. */
static uint64_t real_usec(Instant now, uint64_t usec) {
        return now.real_usec - (now.usec - MIN_OF(usec, now.usec));
}

static void put_common(Dispatcher *d, Slice workflow_id, Slice agent_id) {
        Tracer *tracer = d->options.tracer;

        buffer_clear(&d->scratch);
        subject_build(&d->scratch, d->prefix, SUBJECT_TRIGGER, workflow_id, agent_id);
        tracer_text(tracer, "messaging.system", SLICE("nats"));
        tracer_text(tracer, "messaging.operation.type", SLICE("process"));
        tracer_text(tracer, "messaging.operation.name", SLICE("trigger"));
        if (!d->scratch.failed)
                tracer_text(tracer, "messaging.destination.name", buffer_slice(&d->scratch));
        tracer_text(tracer, "messaging.consumer.group.name", SLICE(QUEUE_GROUP));
        tracer_text(tracer, "compozy.agent.id", agent_id);
        tracer_text(tracer, "compozy.workflow.id", workflow_id);
}

static void put_attempt(Tracer *tracer, const Attempt *attempt, Instant now) {
        tracer_event(tracer, "placed", real_usec(now, attempt->sent_usec));
        tracer_number(tracer, "compozy.attempt", attempt->number);
        tracer_text(tracer, "compozy.runtime.id", id_slice(&attempt->runtime_id));
        if (attempt->end == ATTEMPT_RUNNING || attempt->end == ATTEMPT_ANSWERED)
                return;
        tracer_event(tracer, "attempt failed", real_usec(now, attempt->ended_usec));
        tracer_number(tracer, "compozy.attempt", attempt->number);
        tracer_text(tracer, "compozy.runtime.id", id_slice(&attempt->runtime_id));
        tracer_text(tracer, "error.type", slice_of(error_code_name(attempt->code)));
        tracer_text(tracer, "compozy.reason", slice_of(attempt_end_meaning(attempt->end)));
}

/* The last few, which are remembered; those of an earlier life of the id are not ours. */
static void put_attempts(Tracer *tracer, const Execution *execution, Instant now) {
        const uint64_t last = execution->attempt, first = last > ATTEMPTS_KEPT ? last - ATTEMPTS_KEPT + 1 : 1;

        for (uint64_t number = first; number <= last; number++) {
                const Attempt *attempt = &execution->attempts[number % ATTEMPTS_KEPT];

                if (attempt->sent_usec >= execution->received_usec)
                        put_attempt(tracer, attempt, now);
        }
}

void spans_end(Dispatcher *d, Execution *execution, unsigned status, ErrorCode code, Slice why, Instant now) {
        const Parcel *parcel = execution->parcel;
        const Trigger *trigger = &parcel->trigger;
        const char *error = code != ERROR_NONE ? error_code_name(code) : result_status_names[status];
        Tracer *tracer = d->options.tracer;
        const SpanHead head = {
                .span = &parcel->span,
                .kind = parcel->reply_to.size > 0 ? SPAN_SERVER : SPAN_CONSUMER,
                .what = "trigger",
                .of = id_slice(&execution->agent_id),
                .start_real_usec = real_usec(now, execution->received_usec),
                .end_real_usec = now.real_usec,
                .state = headers_get(parcel->headers, SLICE("tracestate")),
                .error = status == STATUS_SUCCESS ? NULL : error,
                .why = why,
        };

        if (!tracer || !tracer_open(tracer, &head))
                return;
        put_common(d, id_slice(&execution->workflow_id), id_slice(&execution->agent_id));
        tracer_text(tracer, "messaging.message.id", trigger->metadata.request_id);
        tracer_text(tracer, "messaging.message.conversation_id", trigger->metadata.correlation_id);
        tracer_number(tracer, "messaging.message.body.size", parcel->body.size);
        tracer_text(tracer, "compozy.exec_id", id_slice(&execution->exec_id));
        tracer_text(tracer, "compozy.status", slice_of(result_status_names[status]));
        tracer_number(tracer, "compozy.attempts", execution->attempt);
        put_attempts(tracer, execution, now);
        tracer_close(tracer);
}

void spans_end_arrival(Dispatcher *d, const Arrival *arrival, const char *why, Instant now) {
        Tracer *tracer = d->options.tracer;
        const SpanHead head = {
                .span = &arrival->span,
                .kind = arrival->message->reply.size > 0 ? SPAN_SERVER : SPAN_CONSUMER,
                .what = "trigger",
                .of = arrival->agent_id,
                .start_real_usec = now.real_usec,
                .end_real_usec = now.real_usec,
                .error = arrival->code == ERROR_NONE ? NULL : error_code_name(arrival->code),
                .why = slice_of(why),
        };

        if (!tracer_open(tracer, &head))
                return;
        put_common(d, arrival->workflow_id, arrival->agent_id);
        if (arrival->parcel)
                tracer_text(tracer, "compozy.exec_id", arrival->parcel->trigger.agent_exec_id);
        if (arrival->code == ERROR_NONE)
                tracer_text(tracer, "compozy.repeat", SLICE("true"));
        tracer_close(tracer);
}
