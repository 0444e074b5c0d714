/* SPDX-License-Identifier: MIT */

#include "proto/check.h"
#include "proto/emit.h"
#include "proto/event.h"

#define SOURCE_DISPATCHER SLICE("compozy-dispatcherd")

static const char *const execution_event_types[_EXECUTION_EVENT_KIND_MAX + 1] = {
        [EXECUTION_EVENT_NONE] = "",
        [EXECUTION_EVENT_DISPATCHED] = "AgentExecutionDispatched",
        [EXECUTION_EVENT_DISPATCH_FAILED] = "AgentExecutionDispatchFailed",
        [EXECUTION_EVENT_DEAD_LETTERED] = "AgentExecutionDeadLettered",
        [EXECUTION_EVENT_STARTED] = "AgentExecutionStarted",
        [EXECUTION_EVENT_COMPLETED] = "AgentExecutionCompleted",
        [EXECUTION_EVENT_FAILED] = "AgentExecutionFailed",
};

const char *const runtime_change_names[_RUNTIME_CHANGE_MAX + 1] = {
        [RUNTIME_CHANGE_NONE] = "",
        [RUNTIME_CHANGE_ADDED] = "added",
        [RUNTIME_CHANGE_UPDATED] = "updated",
        [RUNTIME_CHANGE_SUSPECT] = "suspect",
        [RUNTIME_CHANGE_DRAINING] = "draining",
        [RUNTIME_CHANGE_REMOVED] = "removed",
};

const char *execution_event_type(ExecutionEventKind kind) {
        assert(kind > EXECUTION_EVENT_NONE && kind < _EXECUTION_EVENT_KIND_MAX);
        return execution_event_types[kind];
}

/* AgentExecution... */

#define AT(member) offsetof(ExecutionEvent, member)

DEFINE_EXECUTION_SECTIONS(ExecutionEvent);

static const ScanField payload_fields[] = {
        { .name = "attempt", .kind = SCAN_U64, .offset = AT(attempt), .max = EPOCH_MAX },
        { .name = "status", .kind = SCAN_NAME, .offset = AT(status), .names = result_status_names },
        { .name = "duration_ms", .kind = SCAN_REAL, .offset = AT(duration_ms) },
        { .name = "error", .kind = SCAN_OBJECT, .fields = error_fields },
        { 0 },
};

static const ScanField execution_event_fields[] = {
        { .name = "metadata", .kind = SCAN_OBJECT, .required = true, .fields = metadata_fields },
        { .name = "workflow", .kind = SCAN_OBJECT, .fields = workflow_fields },
        { .name = "agent", .kind = SCAN_OBJECT, .required = true, .fields = agent_fields },
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .fields = runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .fields = payload_fields },
        { 0 },
};

static ExecutionEventKind kind_of(Slice type) {
        for (unsigned kind = EXECUTION_EVENT_NONE + 1; kind < _EXECUTION_EVENT_KIND_MAX; kind++)
                if (slice_equal(type, slice_of(execution_event_types[kind])))
                        return (ExecutionEventKind)kind;
        return EXECUTION_EVENT_NONE;
}

int execution_event_decode(Slice body, ExecutionEvent *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (ExecutionEvent){ 0 };
        r = scan_object(body, execution_event_fields, ret, arena, ret_error);
        if (r != 0)
                return r;
        if (!ret->metadata.type.data)
                return wire_error(ret_error, "metadata.type is missing");

        ret->kind = kind_of(ret->metadata.type);
        if (ret->kind == EXECUTION_EVENT_NONE)
                return wire_error(
                        ret_error, "metadata.type \"%.*s\" is no event of an execution", SLICE_ARG(ret->metadata.type));
        ret->error.code = error_code_from_name(ret->error_code);
        return 0;
}

static bool kind_has_error(ExecutionEventKind kind) {
        return kind == EXECUTION_EVENT_FAILED || kind == EXECUTION_EVENT_DISPATCH_FAILED ||
               kind == EXECUTION_EVENT_DEAD_LETTERED;
}

static bool kind_has_outcome(ExecutionEventKind kind) {
        return kind == EXECUTION_EVENT_FAILED || kind == EXECUTION_EVENT_COMPLETED;
}

static void emit_payload(Buffer *buffer, const ExecutionEvent *event) {
        buffer_append_slice(buffer, SLICE(",\"payload\":{\"attempt\":"));
        emit_u64_value(buffer, event->attempt);
        if (kind_has_outcome(event->kind)) {
                if (event->status != STATUS_NONE)
                        emit_name(buffer, "status", result_status_names[event->status]);
                emit_real(buffer, "duration_ms", event->duration_ms);
        }
        if (kind_has_error(event->kind))
                error_reply_emit(buffer, "error", &event->error);
        buffer_append_char(buffer, '}');
}

void execution_event_encode(
        Buffer *buffer, const ExecutionEvent *event, Slice event_id, Slice source, uint64_t real_usec) {
        assert(event->status < _RESULT_STATUS_MAX);

        emit_object(buffer, NULL);
        metadata_emit(buffer, execution_event_type(event->kind), METADATA_EVENT_ID, event_id,
                event->metadata.correlation_id, real_usec, source);
        ids_emit(buffer, SLICE(",\"workflow\":{"), event->workflow_id, event->workflow_exec_id);
        ids_emit(buffer, SLICE(",\"agent\":{"), event->agent_id, event->agent_exec_id);
        runtime_ids_emit(buffer, event->runtime_id, event->epoch);
        emit_payload(buffer, event);
        emit_object_end(buffer);
}

/* DispatcherRuntimeUpdate */

static const ScanField update_payload_fields[] = {
        { .name = "dispatcher_id", .kind = SCAN_ID, .offset = offsetof(RuntimeUpdate, dispatcher_id) },
        { .name = "change",
                .kind = SCAN_NAME,
                .required = true,
                .offset = offsetof(RuntimeUpdate, change),
                .names = runtime_change_names },
        { .name = "runtimes_live",
                .kind = SCAN_U64,
                .offset = offsetof(RuntimeUpdate, runtimes_live),
                .max = EPOCH_MAX },
        { .name = "reason", .kind = SCAN_TEXT, .offset = offsetof(RuntimeUpdate, reason), .max = TEXT_MAX },
        { 0 },
};

static const ScanField update_fields[] = {
        { .name = "metadata", .kind = SCAN_OBJECT, .fields = metadata_fields },
        { .name = "agent_runtime",
                .kind = SCAN_RAW_OBJECT,
                .required = true,
                .offset = offsetof(RuntimeUpdate, agent_runtime) },
        { .name = "payload", .kind = SCAN_OBJECT, .required = true, .fields = update_payload_fields },
        { 0 },
};

int runtime_update_decode(Slice body, RuntimeUpdate *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (RuntimeUpdate){ 0 };
        r = scan_object(body, update_fields, ret, arena, ret_error);
        if (r != 0)
                return r;
        return check_type(&ret->metadata, "DispatcherRuntimeUpdate", ret_error);
}

void runtime_update_encode(Buffer *buffer, const RuntimeUpdate *update, Slice event_id, uint64_t real_usec) {
        assert(update->change > RUNTIME_CHANGE_NONE && update->change < _RUNTIME_CHANGE_MAX);

        emit_object(buffer, NULL);
        metadata_emit(buffer, "DispatcherRuntimeUpdate", METADATA_EVENT_ID, event_id, update->metadata.correlation_id,
                real_usec, SOURCE_DISPATCHER);
        emit_raw(buffer, "agent_runtime", update->agent_runtime);
        emit_object(buffer, "payload");
        emit_text(buffer, "dispatcher_id", update->dispatcher_id);
        emit_string(buffer, "change", runtime_change_names[update->change]);
        emit_u64(buffer, "runtimes_live", update->runtimes_live);
        emit_text(buffer, "reason", update->reason);
        emit_object_end(buffer);
        emit_object_end(buffer);
}
