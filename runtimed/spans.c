/* SPDX-License-Identifier: MIT */

/*
 * Spans: what is told to a tracer of what agents handle and ask for.
 *
 *   handle AGENT   an execution, or one agent's copy of an application message: from its arrival to its end, an event
 *                  for when it was begun
 *   timer AGENT    the same, of a timer
 *   receive TOPIC  an application message that came without a trace, once, however many agents get it
 *   ask AGENT, invoke CAPABILITY, trigger AGENT
 *                  from the question to its answer
 *
 * A span's traceparent takes the place of the one that it came with, in what the behaviour is told and in all that it
 * emits. Copies of one message share the message, so each copy that is traced has an envelope of its own, in memory of
 * its own, that costs nothing where there is no tracer or the trace is not sampled.
 */

#include "runtimed/core_effects.h"

/* When something happened, on the clock that people read. */
static uint64_t real_usec(Instant now, uint64_t usec) {
        return now.real_usec - (now.usec - MIN_OF(usec, now.usec));
}

static void put_common(Tracer *tracer, const char *operation, const char *type, Slice destination, Slice agent_id) {
        tracer_text(tracer, "messaging.system", SLICE("nats"));
        tracer_text(tracer, "messaging.operation.type", slice_of(type));
        tracer_text(tracer, "messaging.operation.name", slice_of(operation));
        tracer_text(tracer, "messaging.destination.name", destination);
        tracer_text(tracer, "compozy.agent.id", agent_id);
}

/* executions */

Slice core_begin_execution_span(Runtime *runtime, Slice headers, TraceSpan *ret) {
        if (!tracer_begin(runtime->options.tracer, headers_get(headers, SLICE("traceparent")), ret))
                return headers;
        buffer_clear(&runtime->scratch);
        trace_rewrite_headers(&runtime->scratch, headers, ret);
        if (!runtime->scratch.failed)
                return buffer_slice(&runtime->scratch);
        ret->is_recorded = false; /* what comes behind it would have a parent that nobody has */
        return headers;
}

void core_end_execution_span(Runtime *runtime, Execution *execution, const char *status, ErrorCode code, Slice why) {
        const Instant now = runtime->now;
        Tracer *tracer = runtime->options.tracer;
        const SpanHead head = {
                .span = &execution->span,
                .kind = execution->asker.reply_to.data ? SPAN_SERVER : SPAN_CONSUMER,
                .what = "handle",
                .of = agent_id_slice(execution->mail.agent),
                .start_real_usec = real_usec(now, execution->accepted_usec),
                .end_real_usec = now.real_usec,
                .state = execution->envelope.tracestate,
                .error = code == ERROR_NONE ? NULL : error_code_name(code),
                .why = why,
        };

        execution->span.is_recorded = false; /* once */
        if (!tracer || !tracer_open(tracer, &head))
                return;
        put_common(tracer, "handle", "process", slice_of(runtime->texts[0]), head.of);
        tracer_text(tracer, "messaging.message.conversation_id", execution->correlation_id);
        tracer_number(tracer, "messaging.message.body.size", execution->input.size);
        tracer_text(tracer, "compozy.exec_id", id_slice(&execution->id));
        tracer_text(tracer, "compozy.workflow.id", execution->workflow_id);
        tracer_text(tracer, "compozy.runtime.id", runtime->id);
        tracer_number(tracer, "compozy.runtime.epoch", execution->epoch);
        tracer_number(tracer, "compozy.attempt", execution->asker.attempt);
        tracer_text(tracer, "compozy.status", slice_of(status));
        if (execution->is_started)
                tracer_event(tracer, "started", real_usec(now, execution->started_usec));
        tracer_close(tracer);
}

/* application messages */

void core_trace_letter(Runtime *runtime, const InMessage *message, Envelope *envelope, Instant now) {
        Tracer *tracer = runtime->options.tracer;
        SpanHead head = {
                .kind = SPAN_CONSUMER,
                .what = "receive",
                .of = message->subject,
                .start_real_usec = now.real_usec,
                .end_real_usec = now.real_usec,
        };
        TraceSpan span;

        if (trace_parse(envelope->traceparent, &span))
                return;
        if (!tracer_begin(tracer, SLICE_NONE, &span))
                return;
        envelope->traceparent = trace_format(&span, runtime->traceparent);
        envelope->tracestate = SLICE_NONE;
        head.span = &span;
        if (!span.is_recorded || !tracer_open(tracer, &head))
                return;
        put_common(tracer, "receive", "receive", message->subject, SLICE_NONE);
        tracer_text(tracer, "messaging.message.conversation_id", envelope->correlation_id);
        tracer_number(tracer, "messaging.message.body.size", message->body.size);
        tracer_text(tracer, "compozy.runtime.id", runtime->id);
        tracer_close(tracer);
}

void core_begin_delivery_span(Runtime *runtime, Delivery *delivery, Instant now) {
        const Envelope *envelope = &delivery->letter->envelope;
        DeliveryTrace *trace;
        TraceSpan span;

        if (envelope->traceparent.size == 0)
                return; /* a timer of nobody's message */
        (void)tracer_begin(runtime->options.tracer, envelope->traceparent, &span);
        if (!span.is_recorded)
                return;
        trace = malloc(sizeof(*trace));
        if (!trace) {
                runtime->options.tracer->n_dropped++;
                return;
        }
        *trace = (DeliveryTrace){ .span = span, .envelope = *envelope, .began_usec = now.usec };
        trace->envelope.traceparent = trace_format(&span, trace->traceparent);
        delivery->trace = trace;
}

void core_end_delivery_span(Runtime *runtime, Delivery *delivery) {
        DeliveryTrace *trace = TAKE_PTR(delivery->trace);
        const Letter *letter = delivery->letter;
        const bool is_timer = delivery->mail.kind == MAIL_TIMER;
        const Instant now = runtime->now;
        Tracer *tracer = runtime->options.tracer;
        const SpanHead head = {
                .span = &trace->span,
                .kind = trace->envelope.is_request && !is_timer ? SPAN_SERVER : SPAN_CONSUMER,
                .what = is_timer ? "timer" : "handle",
                .of = agent_id_slice(delivery->mail.agent),
                .start_real_usec = real_usec(now, trace->began_usec),
                .end_real_usec = now.real_usec,
                .state = trace->envelope.tracestate,
                .error = trace->code == ERROR_NONE ? NULL : error_code_name(trace->code),
                .why = slice_of(error_code_meaning(trace->code)),
        };

        if (tracer && tracer_open(tracer, &head)) {
                put_common(tracer, head.what, "process", letter->topic, head.of);
                tracer_text(tracer, "messaging.message.conversation_id", trace->envelope.correlation_id);
                tracer_number(tracer, "messaging.message.body.size", letter->payload.size);
                tracer_text(tracer, "compozy.thread.id", trace->envelope.thread_id);
                tracer_text(tracer, "compozy.sender", trace->envelope.sender);
                tracer_text(tracer, "compozy.runtime.id", runtime->id);
                tracer_close(tracer);
        }
        free(trace);
}

/* what agents ask for */

/* What is posted for it carries the span's own traceparent; its answer goes back to the span of the message. */
void wish_begin_span(Wish *wish, Ask *ask) {
        const Envelope *inherited = &wish->inherited;

        if (!tracer_begin(wish->runtime->options.tracer, inherited->traceparent, &ask->span))
                return;
        wish->posted = *inherited;
        wish->posted.traceparent = trace_format(&ask->span, wish->traceparent);
        wish->is_traced = true;
}

static const char *const ask_names[_EFFECT_KIND_MAX] = {
        [EFFECT_ASK] = "ask",
        [EFFECT_INVOKE] = "invoke",
        [EFFECT_TRIGGER] = "trigger",
};

void core_end_ask_span(Runtime *runtime, Ask *ask, ErrorCode code, Slice why, Instant now) {
        Tracer *tracer = runtime->options.tracer;
        const SpanHead head = {
                .span = &ask->span,
                .kind = SPAN_CLIENT,
                .what = ask_names[ask->kind],
                .of = ask->target,
                .start_real_usec = real_usec(now, ask->asked_usec),
                .end_real_usec = now.real_usec,
                .state = ask->envelope.tracestate,
                .error = code == ERROR_NONE ? NULL : error_code_name(code),
                .why = why,
        };

        ask->span.is_recorded = false; /* once */
        if (!tracer || !tracer_open(tracer, &head))
                return;
        put_common(tracer, head.what, "send", ask->target, agent_id_slice(CONTAINER_OF(ask->owner, const Agent, asks)));
        tracer_text(tracer, "messaging.message.conversation_id", ask->envelope.correlation_id);
        tracer_text(tracer, "compozy.runtime.id", runtime->id);
        tracer_close(tracer);
}
