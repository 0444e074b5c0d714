/* SPDX-License-Identifier: MIT */

/*
 * How executions end. There are five ends, and every execution comes to exactly one of them:
 *
 *   finish     its behaviour replied: result, event, report, memory
 *   fail       the runtime gave up on it: the same, with a failure
 *   withhold   nobody may hear of it: its epoch is over, or no word could go out until its deadline
 *   hand back  it was never begun, and its dispatcher places it elsewhere
 *   drop       it was not taken after all
 *
 * All go through let_go(), which takes the execution out of wherever it is. What a worker still has (OUT) can't be
 * freed: it is ABANDONED, off the table of ids, and goes when its outcome comes.
 *
 * The result is written once, into a scratch buffer; askers get copies, the memory gets one.
 */

#include <stdio.h>

#include "proto/emit.h"
#include "proto/scan.h"
#include "runtimed/core.h"
#include "runtimed/diag_execution.h"

#define SOURCE SLICE("compozy-runtimed")

typedef struct Ending {
        unsigned status; /* ResultStatus */
        ErrorCode code;
        Slice output;   /* one JSON value, with SUCCESS */
        Slice message;  /* otherwise */
        char text[160]; /* where `message` may lie */
} Ending;

void core_publish_copy(Runtime *runtime, Slice subject, Slice headers, Slice body) {
        if (!runtime->is_up)
                return;

        outbox_put(runtime->outbox, &(OutMessage){ .subject = subject, .headers = headers, .body = body });
}

bool core_must_hold(const Runtime *runtime, const Execution *execution) {
        return !runtime->is_up || runtime->is_congested ||
               (execution_is_relayed(execution) && runtime->session.is_doubtful);
}

/* events */

static bool wants_event(const Runtime *runtime, ExecutionEventKind kind) {
        switch (runtime->options.events) {
        case EVENTS_ALL:
        case EVENTS_VERBOSE:
                return true;
        case EVENTS_OUTCOMES:
                return kind != EXECUTION_EVENT_STARTED;
        default:
                return false;
        }
}

static SubjectKind event_subject(ExecutionEventKind kind) {
        switch (kind) {
        case EXECUTION_EVENT_STARTED:
                return SUBJECT_EXECUTION_STARTED;
        case EXECUTION_EVENT_COMPLETED:
                return SUBJECT_EXECUTION_COMPLETED;
        default:
                return SUBJECT_EXECUTION_FAILED;
        }
}

static double duration_ms(const Execution *execution) {
        if (!execution->is_started || execution->finished_usec <= execution->started_usec)
                return 0;
        return (double)(execution->finished_usec - execution->started_usec) / 1000;
}

static void publish_event(
        Runtime *runtime, const Execution *execution, ExecutionEventKind kind, const Ending *ending, Instant now) {
        ExecutionEvent event = {
                .metadata.correlation_id = execution->correlation_id,
                .kind = kind,
                .workflow_id = execution->workflow_id,
                .workflow_exec_id = execution->workflow_exec_id,
                .agent_id = agent_id_slice(execution->mail.agent),
                .agent_exec_id = id_slice(&execution->id),
                .runtime_id = runtime->id,
                .epoch = execution->epoch,
                .attempt = execution->asker.attempt,
        };
        Outbox *outbox = runtime->options.late_outbox ? runtime->options.late_outbox : runtime->outbox;
        Buffer *out;
        Id id;

        if (!runtime->is_up || !wants_event(runtime, kind))
                return;

        if (ending) {
                event.status = ending->status;
                event.duration_ms = duration_ms(execution);
                event.error = (ErrorReply){ .code = ending->code, .message = ending->message };
        }

        id = rng_id(&runtime->rng);
        out = outbox_begin(outbox);
        subject_build(out, runtime->prefix, event_subject(kind), id_slice(&execution->id), SLICE_NONE);
        if (execution->headers.size > 0) {
                outbox_headers(outbox);
                buffer_append_slice(out, execution->headers);
        }
        outbox_body(outbox);
        execution_event_encode(out, &event, id_slice(&id), SOURCE, now.real_usec);
        outbox_end(outbox);
}

void core_note_started(Runtime *runtime, Execution *execution, uint64_t started_usec, Instant now) {
        if (execution->is_started)
                return;

        execution->is_started = true;
        execution->started_usec = started_usec;
        histogram_add(&runtime->queue_duration,
                started_usec > execution->accepted_usec ? started_usec - execution->accepted_usec : 0);
        publish_event(runtime, execution, EXECUTION_EVENT_STARTED, NULL, now);
        diag_execution_step(execution, "started", "began");
}

/* results */

/* Is it one JSON value and nothing else? */
static bool output_is_valid(Runtime *runtime, Slice output) {
        static const ScanField fields[] = {
                { .name = "v", .kind = SCAN_RAW, .required = true, .offset = 0 },
                { .name = NULL },
        };
        _cleanup_(arena_clear) Arena arena = {};
        WireError error;
        Slice value = SLICE_NONE;

        while (output.size > 0 && strchr(" \t\r\n", output.data[output.size - 1]))
                output.size--;
        while (output.size > 0 && strchr(" \t\r\n", output.data[0]))
                output = slice_after(output, 1);
        if (slice_equal(output, SLICE("null")))
                return true;

        buffer_clear(&runtime->check);
        buffer_append_slice(&runtime->check, SLICE("{\"v\":"));
        buffer_append_slice(&runtime->check, output);
        buffer_append_slice(&runtime->check, SLICE("}"));
        if (runtime->check.failed || scan_object(buffer_slice(&runtime->check), fields, &value, &arena, &error) != 0)
                return false;

        /* `1,"v":2` makes a valid object, too */
        return value.size == output.size && value.data == runtime->check.data + 5;
}

static void fail_with(Ending *ending, unsigned status, ErrorCode code, const char *format, unsigned long long a,
        unsigned long long b) {
        (void)snprintf(ending->text, sizeof(ending->text), format, a, b);
        ending->status = status;
        ending->code = code;
        ending->output = SLICE_NONE;
        ending->message = slice_of(ending->text);
}

/* The behaviour's reply, read as an ending. */
static void read_reply(Runtime *runtime, const Execution *execution, Ending *ending) {
        const BehaviorReply *reply = &execution->outcome.reply;
        Slice output = buffer_slice(&reply->output);

        *ending = (Ending){ .status = STATUS_SUCCESS, .output = output };

        if (reply->output.failed) {
                fail_with(ending, STATUS_FAILURE, ERROR_INTERNAL, "out of memory", 0, 0);
        } else if (reply->verdict == BEHAVIOR_ERROR || reply->verdict == BEHAVIOR_LOST) {
                *ending = (Ending){ .status = reply->verdict == BEHAVIOR_LOST ? STATUS_FAILURE : STATUS_AGENT_ERROR,
                        .code = reply->code == ERROR_NONE ? ERROR_INTERNAL : reply->code,
                        .message = output };
        } else if (reply->verdict != BEHAVIOR_DONE) {
                fail_with(ending, STATUS_AGENT_ERROR, ERROR_INTERNAL, "the behaviour gave no answer", 0, 0);
        } else if (output.size > runtime->options.max_result_bytes) {
                fail_with(ending, STATUS_AGENT_ERROR, ERROR_LIMIT_EXCEEDED,
                        "the output of %llu bytes is over limits.max_result_bytes of %llu", output.size,
                        runtime->options.max_result_bytes);
        } else if (!execution->mail.agent->definition->behavior->trusted && !output_is_valid(runtime, output)) {
                fail_with(ending, STATUS_AGENT_ERROR, ERROR_INTERNAL,
                        "the behaviour's output of %llu bytes is no valid JSON value", output.size, 0);
        }
}

static void encode_result(Runtime *runtime, const Execution *execution, const Ending *ending, Instant now) {
        Id id = rng_id(&runtime->rng);
        Result result = {
                .metadata = { .result_id = id_slice(&id),
                        .correlation_id = execution->correlation_id,
                        .source_component = SOURCE },
                .workflow_id = execution->workflow_id,
                .workflow_exec_id = execution->workflow_exec_id,
                .agent_id = agent_id_slice(execution->mail.agent),
                .agent_exec_id = id_slice(&execution->id),
                .runtime_id = runtime->id,
                .epoch = execution->epoch,
                .status = ending->status,
                .output = ending->output,
                .error = { .code = ending->code, .message = ending->message },
                .duration_ms = duration_ms(execution),
                .attempt = execution->asker.attempt,
        };

        buffer_clear(&runtime->scratch);
        if (ending->status != STATUS_SUCCESS)
                error_reply_emit_headers(&runtime->scratch, &result.error);
        buffer_append_slice(&runtime->scratch, execution->headers);
        runtime->n_scratch_headers = runtime->scratch.size;
        result_encode(&runtime->scratch, &result, now.real_usec);
}

/* Leaves headers and body in the scratch buffer. What doesn't fit a message is replaced by an error that says so. */
static void write_result(Runtime *runtime, const Execution *execution, Ending *ending, Instant now) {
        size_t size;

        encode_result(runtime, execution, ending, now);
        size = runtime->scratch.size - runtime->n_scratch_headers;
        if (size <= core_payload_max(runtime))
                return;

        fail_with(ending, STATUS_AGENT_ERROR, ERROR_LIMIT_EXCEEDED,
                "the result of %llu bytes is over the server's limit of %llu", size, core_payload_max(runtime));
        encode_result(runtime, execution, ending, now);
}

static Slice scratch_headers(const Runtime *runtime) {
        return runtime->n_scratch_headers > 0 ? (Slice){ runtime->scratch.data, runtime->n_scratch_headers }
                                              : SLICE_NONE;
}

static Slice scratch_body(const Runtime *runtime) {
        return slice_after(buffer_slice(&runtime->scratch), runtime->n_scratch_headers);
}

/* endings */

static void release_askers(Execution *execution) {
        for (Asker *asker = &execution->asker; asker; asker = asker->next)
                reporter_release(asker);
}

static void let_go(Runtime *runtime, Execution *execution) {
        Agent *agent = execution->mail.agent;

        release_askers(execution);
        deadline_disarm(&runtime->deadlines, &execution->deadline);

        switch (execution->phase) {
        case PHASE_OUT:
                atomic_store(&execution->mail.called_off, true);
                execution->phase = PHASE_ABANDONED;
                runtime->n_abandoned++;
                executions_forget(&runtime->executions, execution);
                return;
        case PHASE_QUEUED:
                mailbox_remove(agent->mailbox, &execution->mail);
                runtime->n_queued--;
                break;
        case PHASE_DEFERRED:
                agent->n_deferred--;
                break;
        case PHASE_PENDING:
                core_close_message(runtime, execution->message_id);
                agent->n_open--;
                core_make_ready(runtime, agent);
                break;
        case PHASE_HELD:
                core_drop_hold(execution);
                runtime->n_held--;
                break;
        default:
                break;
        }

        executions_remove(&runtime->executions, execution);
        if (agent->state == AGENT_STOPPING || agent_rarely(agent)->successor)
                core_note_unsettled(runtime, agent);
}

static void report(Runtime *runtime, const Execution *execution, ExecutionReport entry, Instant now) {
        for (const Asker *asker = &execution->asker; asker; asker = asker->next) {
                if (!asker->reporter)
                        continue;
                entry.exec_id = id_slice(&execution->id);
                entry.attempt = asker->attempt;
                entry.ask = asker->ask;
                reporter_add(&runtime->reporters, asker->reporter, &entry, now);
        }
}

/* The answer that write_result() has just written. */
static void remember(Runtime *runtime, const Execution *execution, const Ending *ending, Instant now) {
        memory_put(runtime->memory,
                &(Remembered){ .exec_id = execution->id,
                        .status = ending->status,
                        .code = ending->code,
                        .headers = scratch_headers(runtime),
                        .body = scratch_body(runtime),
                        .owner = subject_owner(runtime->prefix, execution->asker.reply_to) },
                now.usec);
}

static void end(Runtime *runtime, Execution *execution, Ending *ending, Instant now) {
        const bool succeeded = ending->status == STATUS_SUCCESS;
        Slice headers, body;

        write_result(runtime, execution, ending, now);
        headers = scratch_headers(runtime);
        body = scratch_body(runtime);

        if (!runtime->scratch.failed) {
                for (const Asker *asker = &execution->asker; asker; asker = asker->next)
                        if (asker->reply_to.data)
                                core_publish_copy(runtime, asker->reply_to, headers, body);
                remember(runtime, execution, ending, now);
        }

        publish_event(runtime, execution, succeeded ? EXECUTION_EVENT_COMPLETED : EXECUTION_EVENT_FAILED, ending, now);
        report(runtime, execution,
                (ExecutionReport){ .state = EXECUTION_DONE, .status = ending->status, .code = (unsigned)ending->code },
                now);

        if (execution->span.is_recorded)
                core_end_execution_span(
                        runtime, execution, result_status_names[ending->status], ending->code, ending->message);
        runtime->counters.executions[ending->status]++;
        runtime->trigger_stats.processing_usec += now.usec - execution->accepted_usec;
        if (!succeeded)
                endpoint_fail(&runtime->trigger_stats, error_code_name(ending->code), ending->message);
        histogram_add(&runtime->execution_duration, now.usec - execution->accepted_usec);
        diag_execution_ended(execution, ending->status, ending->code, ending->message);
        let_go(runtime, execution);
}

void core_finish(Runtime *runtime, Execution *execution, Instant now) {
        Ending ending;

        read_reply(runtime, execution, &ending);
        end(runtime, execution, &ending, now);
}

static const char *too_late(const Execution *execution) {
        if (execution->held)
                return "agent was done, but its state was not saved within the %llu ms that were left";
        if (execution->is_started || execution->phase == PHASE_OUT)
                return "agent did not finish within the %llu ms that were left";
        return "agent did not begin within the %llu ms that were left";
}

void core_fail(Runtime *runtime, Execution *execution, ErrorCode code, const char *why, Instant now) {
        Ending ending = { .status = STATUS_FAILURE, .code = code, .message = slice_of(why) };

        if (!why && code == ERROR_DEADLINE_EXCEEDED)
                fail_with(&ending, STATUS_FAILURE, code, too_late(execution),
                        (execution->expires_usec - execution->accepted_usec) / USEC_PER_MSEC, 0);

        if (execution->is_started)
                execution->finished_usec = now.usec;
        end(runtime, execution, &ending, now);
}

void core_withhold(Runtime *runtime, Execution *execution, const char *why) {
        runtime->counters.withheld++;
        if (execution->span.is_recorded)
                core_end_execution_span(runtime, execution, "WITHHELD", ERROR_RUNTIME_LOST, slice_of(why));
        diag_execution_withheld(execution, why);
        let_go(runtime, execution);
}

/* Remembered all the same: a dispatcher that asks again must not have it run a second time. */
void core_expire_unsaid(Runtime *runtime, Execution *execution, Instant now) {
        Ending ending = {
                .status = STATUS_FAILURE,
                .code = ERROR_DEADLINE_EXCEEDED,
                .message = SLICE("the deadline passed while no answer could go out"),
        };

        write_result(runtime, execution, &ending, now);
        if (!runtime->scratch.failed)
                remember(runtime, execution, &ending, now);
        core_withhold(runtime, execution, "its deadline passed while no answer could go out");
}

void core_hand_back(Runtime *runtime, Execution *execution, Instant now) {
        report(runtime, execution, (ExecutionReport){ .state = EXECUTION_REFUSED, .code = ERROR_RUNTIME_DRAINING },
                now);
        runtime->counters.handed_back++;
        if (execution->span.is_recorded)
                core_end_execution_span(runtime, execution, "HANDED_BACK", ERROR_RUNTIME_DRAINING,
                        slice_of(error_code_meaning(ERROR_RUNTIME_DRAINING)));
        diag_execution_step(execution, "handed_back", "was handed back unstarted, as the runtime stops");
        let_go(runtime, execution);
}

void core_drop(Runtime *runtime, Execution *execution) {
        release_askers(execution);
        deadline_disarm(&runtime->deadlines, &execution->deadline);
        executions_remove(&runtime->executions, execution);
}

void core_release_held(Runtime *runtime, Instant now) {
        Execution *execution, *next;

        for (execution = runtime->executions.first; execution && runtime->n_held > 0; execution = next) {
                next = execution->next;
                if (execution->phase == PHASE_HELD && !execution->held && !core_must_hold(runtime, execution))
                        core_finish(runtime, execution, now);
        }
}

void core_release_execution(Runtime *runtime, Execution *execution, Instant now) {
        if (execution->phase == PHASE_HELD && !core_must_hold(runtime, execution))
                core_finish(runtime, execution, now);
}

void core_answer_refusal(
        Runtime *runtime, const Trigger *trigger, Slice reply_to, ErrorCode code, const char *why, Instant now) {
        Id id = rng_id(&runtime->rng);
        Result result = {
                .metadata = { .result_id = id_slice(&id),
                        .correlation_id = trigger->metadata.correlation_id,
                        .source_component = SOURCE },
                .workflow_id = trigger->workflow_id,
                .workflow_exec_id = trigger->workflow_exec_id,
                .agent_id = trigger->agent_id,
                .agent_exec_id = trigger->agent_exec_id,
                .runtime_id = runtime->id,
                .epoch = runtime->session.epoch,
                .status = STATUS_FAILURE,
                .error = { .code = code, .message = slice_of(why) },
        };
        size_t n_headers;

        buffer_clear(&runtime->scratch);
        error_reply_emit_headers(&runtime->scratch, &result.error);
        n_headers = runtime->scratch.size;
        result_encode(&runtime->scratch, &result, now.real_usec);
        if (!runtime->scratch.failed)
                core_publish_copy(runtime, reply_to, (Slice){ runtime->scratch.data, n_headers },
                        slice_after(buffer_slice(&runtime->scratch), n_headers));
}
