/* SPDX-License-Identifier: MIT */

#include "proto/check.h"
#include "proto/emit.h"
#include "proto/result.h"

#define AT(member) offsetof(Result, member)

DEFINE_EXECUTION_SECTIONS(Result);

static const ScanField outcome_fields[] = {
        { .name = "output", .kind = SCAN_RAW, .offset = AT(output) },
        { .name = "error", .kind = SCAN_OBJECT, .fields = error_fields },
        { 0 },
};

static const ScanField payload_fields[] = {
        { .name = "status", .kind = SCAN_NAME, .required = true, .offset = AT(status), .names = result_status_names },
        { .name = "result", .kind = SCAN_OBJECT, .fields = outcome_fields },
        { .name = "duration_ms", .kind = SCAN_REAL, .offset = AT(duration_ms) },
        { .name = "attempt", .kind = SCAN_U64, .offset = AT(attempt), .max = EPOCH_MAX },
        { 0 },
};

static const ScanField result_fields[] = {
        { .name = "metadata", .kind = SCAN_OBJECT, .fields = metadata_fields },
        { .name = "workflow", .kind = SCAN_OBJECT, .fields = workflow_fields },
        { .name = "agent", .kind = SCAN_OBJECT, .required = true, .fields = agent_fields },
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .fields = runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .required = true, .fields = payload_fields },
        { 0 },
};

int result_decode(Slice body, Result *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Result){ 0 };
        r = scan_object(body, result_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_type(&ret->metadata, "AgentExecutionResult", ret_error);
        if (r != 0)
                return r;
        if (ret->status != STATUS_SUCCESS && !ret->error_code.data)
                return wire_error(ret_error, "payload.result.error is missing");

        ret->error.code = error_code_from_name(ret->error_code);
        return 0;
}

static void emit_payload(Buffer *buffer, const Result *result) {
        buffer_append_slice(buffer, SLICE(",\"payload\":{\"status\":\""));
        buffer_append_slice(buffer, slice_of(result_status_names[result->status]));
        buffer_append_slice(buffer, SLICE("\",\"result\":{"));
        if (result->status == STATUS_SUCCESS)
                emit_raw(buffer, "output", result->output);
        else
                error_reply_emit(buffer, "error", &result->error);
        buffer_append_slice(buffer, SLICE("},\"duration_ms\":"));
        emit_real_value(buffer, result->duration_ms);
        buffer_append_slice(buffer, SLICE(",\"attempt\":"));
        emit_u64_value(buffer, result->attempt);
        buffer_append_char(buffer, '}');
}

void result_encode(Buffer *buffer, const Result *result, uint64_t real_usec) {
        const Metadata *metadata = &result->metadata;

        assert(result->status > STATUS_NONE && result->status < _RESULT_STATUS_MAX);

        emit_object(buffer, NULL);
        metadata_emit(buffer, "AgentExecutionResult", METADATA_RESULT_ID, metadata->result_id, metadata->correlation_id,
                real_usec, metadata->source_component);
        ids_emit(buffer, SLICE(",\"workflow\":{"), result->workflow_id, result->workflow_exec_id);
        ids_emit(buffer, SLICE(",\"agent\":{"), result->agent_id, result->agent_exec_id);
        runtime_ids_emit(buffer, result->runtime_id, result->epoch);
        emit_payload(buffer, result);
        emit_object_end(buffer);
}
