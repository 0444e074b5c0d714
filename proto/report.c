/* SPDX-License-Identifier: MIT */

#include "proto/check.h"
#include "proto/emit.h"
#include "proto/report.h"

const char *const execution_state_names[_EXECUTION_STATE_MAX + 1] = {
        [EXECUTION_NONE] = "",
        [EXECUTION_ACCEPTED] = "accepted",
        [EXECUTION_STARTED] = "started",
        [EXECUTION_DONE] = "done",
        [EXECUTION_REFUSED] = "refused",
};

static const ScanField runtime_fields[] = {
        { .name = "runtime_id", .kind = SCAN_ID, .required = true, .offset = offsetof(Report, runtime_id) },
        { .name = "epoch", .kind = SCAN_U64, .required = true, .offset = offsetof(Report, epoch), .max = EPOCH_MAX },
        { 0 },
};

static const ScanField load_fields[] = RUNTIME_LOAD_FIELDS(Report, load);

static const ScanField payload_fields[] = {
        { .name = "executions", .kind = SCAN_RAW_ARRAY, .offset = offsetof(Report, executions) },
        { .name = "load", .kind = SCAN_OBJECT, .fields = load_fields },
        { 0 },
};

static const ScanField report_fields[] = {
        { .name = "metadata", .kind = SCAN_OBJECT, .fields = metadata_fields },
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .required = true, .fields = runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .required = true, .fields = payload_fields },
        { 0 },
};

int report_decode(Slice body, Report *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Report){ .load.free_slots = FREE_SLOTS_UNSTATED };
        r = scan_object(body, report_fields, ret, arena, ret_error);
        if (r != 0)
                return r;
        return check_type(&ret->metadata, "AgentExecutionReport", ret_error);
}

static const ScanField execution_fields[] = {
        { .name = "exec_id", .kind = SCAN_ID, .required = true, .offset = offsetof(ExecutionReport, exec_id) },
        { .name = "attempt",
                .kind = SCAN_U64,
                .required = true,
                .offset = offsetof(ExecutionReport, attempt),
                .max = EPOCH_MAX },
        { .name = "state",
                .kind = SCAN_NAME,
                .required = true,
                .offset = offsetof(ExecutionReport, state),
                .names = execution_state_names },
        { .name = "status",
                .kind = SCAN_NAME,
                .offset = offsetof(ExecutionReport, status),
                .names = result_status_names },
        /* A code that a newer runtime knows and we don't is no reason to miss that the execution is done. */
        { .name = "code",
                .kind = SCAN_NAME,
                .offset = offsetof(ExecutionReport, code),
                .names = error_code_names,
                .max = ERROR_INTERNAL },
        { .name = "ask", .kind = SCAN_U64, .offset = offsetof(ExecutionReport, ask), .max = ASK_MAX },
        { 0 },
};

static int check_execution(const ExecutionReport *execution, WireError *ret_error) {
        const bool done = execution->state == EXECUTION_DONE, refused = execution->state == EXECUTION_REFUSED;

        if (done && execution->status == STATUS_NONE)
                return wire_error(ret_error, "status is missing");
        if ((refused || (done && execution->status != STATUS_SUCCESS)) && execution->code == ERROR_NONE)
                return wire_error(ret_error, "code is missing");
        return 0;
}

static int refuse_more(WireError *ret_error) {
        return wire_error(ret_error, "payload.executions has more than %d elements, the limit", REPORT_EXECUTIONS_MAX);
}

int execution_report_decode(Slice element, size_t index, ExecutionReport *ret, Arena *arena, WireError *ret_error) {
        int r;

        if (index >= REPORT_EXECUTIONS_MAX)
                return refuse_more(ret_error);

        *ret = (ExecutionReport){ 0 };
        r = scan_object(element, execution_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_execution(ret, ret_error);
        return r == WIRE_E_INVALID ? wire_error_within(ret_error, "execution", index) : r;
}

int execution_report_next(
        Slice executions, ReportCursor *cursor, ExecutionReport *ret, Arena *arena, WireError *ret_error) {
        const size_t index = cursor->index;
        int r;

        if (index > REPORT_EXECUTIONS_MAX)
                return SCAN_E_END;

        *ret = (ExecutionReport){ 0 };
        r = scan_next_object(executions, &cursor->position, execution_fields, ret, arena, ret_error);
        if (r == SCAN_E_END)
                return r;

        cursor->index++;
        if (index == REPORT_EXECUTIONS_MAX)
                return refuse_more(ret_error);
        if (r == 0)
                r = check_execution(ret, ret_error);
        return r == WIRE_E_INVALID ? wire_error_within(ret_error, "execution", index) : r;
}

void report_encode_head(Buffer *buffer, const Report *report, uint64_t real_usec) {
        emit_object(buffer, NULL);
        metadata_emit(buffer, "AgentExecutionReport", METADATA_EVENT_ID, report->metadata.event_id,
                report->metadata.correlation_id, real_usec, report->metadata.source_component);
        emit_object(buffer, "agent_runtime");
        emit_text(buffer, "runtime_id", report->runtime_id);
        emit_u64(buffer, "epoch", report->epoch);
        emit_object_end(buffer);
        emit_object(buffer, "payload");
        emit_array(buffer, "executions");
}

void report_encode_execution(Buffer *buffer, const ExecutionReport *execution) {
        assert(execution->state > EXECUTION_NONE && execution->state < _EXECUTION_STATE_MAX);
        assert(execution->status < _RESULT_STATUS_MAX && execution->code < _ERROR_CODE_MAX);

        emit_object(buffer, NULL);
        buffer_append_slice(buffer, SLICE("\"exec_id\":"));
        emit_text_value(buffer, execution->exec_id);
        buffer_append_slice(buffer, SLICE(",\"attempt\":"));
        emit_u64_value(buffer, execution->attempt);
        emit_name(buffer, "state", execution_state_names[execution->state]);
        if (execution->status != STATUS_NONE)
                emit_name(buffer, "status", result_status_names[execution->status]);
        if (execution->code != ERROR_NONE)
                emit_name(buffer, "code", error_code_names[execution->code]);
        if (execution->ask > 0)
                emit_u64(buffer, "ask", execution->ask);
        emit_object_end(buffer);
}

void report_encode_tail(Buffer *buffer, const RuntimeLoad *load) {
        emit_array_end(buffer);
        runtime_load_emit(buffer, load);
        emit_object_end(buffer);
        emit_object_end(buffer);
}
