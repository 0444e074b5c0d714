/* SPDX-License-Identifier: MIT */

/*
 * The body is read once: what the dispatcher decides by lands in the struct, and the two sections that only the agent
 * cares about (`task`, `payload`) stay bytes, which the relayed form repeats unread.
 */

#include "proto/check.h"
#include "proto/emit.h"
#include "proto/subject.h"
#include "proto/trigger.h"

#define AT(member) offsetof(Trigger, member)

static const ScanField workflow_fields[] = {
        { .name = "id", .kind = SCAN_ID, .offset = AT(workflow_id) },
        { .name = "exec_id", .kind = SCAN_TEXT, .offset = AT(workflow_exec_id), .max = TEXT_MAX },
        { 0 },
};

static const ScanField agent_fields[] = {
        { .name = "id", .kind = SCAN_ID, .offset = AT(agent_id) },
        { .name = "exec_id", .kind = SCAN_ID, .offset = AT(agent_exec_id) },
        { 0 },
};

static const ScanField context_fields[] = {
        { .name = "input", .kind = SCAN_RAW, .offset = AT(input) },
        { 0 },
};

static const ScanField payload_fields[] = {
        { .name = "reply_to_subject", .kind = SCAN_SUBJECT, .offset = AT(reply_to_subject), .max = SUBJECT_MAX },
        { .name = "deadline_ms", .kind = SCAN_U64, .offset = AT(deadline_ms), .max = DEADLINE_MS_MAX },
        { .name = "retry", .kind = SCAN_NAME, .offset = AT(retry), .names = retry_policy_names },
        { .name = "priority", .kind = SCAN_U64, .offset = AT(priority), .max = PRIORITY_MAX },
        { .name = "labels", .kind = SCAN_RAW_OBJECT, .offset = AT(labels) },
        { .name = "not_before", .kind = SCAN_RAW, .offset = AT(not_before) },
        { .name = "context", .kind = SCAN_OBJECT, .fields = context_fields, .raw_offset = AT(context) },
        { 0 },
};

static const ScanField runtime_fields[] = {
        { .name = "runtime_id", .kind = SCAN_ID, .offset = AT(dispatch.runtime_id) },
        { .name = "epoch", .kind = SCAN_U64, .offset = AT(dispatch.epoch), .max = EPOCH_MAX },
        { 0 },
};

static const ScanField dispatch_fields[] = {
        { .name = "dispatcher_id", .kind = SCAN_ID, .required = true, .offset = AT(dispatch.dispatcher_id) },
        { .name = "attempt", .kind = SCAN_U64, .required = true, .offset = AT(dispatch.attempt), .max = EPOCH_MAX },
        { .name = "deadline_ms",
                .kind = SCAN_U64,
                .required = true,
                .offset = AT(dispatch.deadline_ms),
                .max = DEADLINE_MS_MAX },
        { .name = "age_ms", .kind = SCAN_U64, .offset = AT(dispatch.age_ms), .max = EPOCH_MAX },
        { .name = "reply_to", .kind = SCAN_SUBJECT, .offset = AT(dispatch.reply_to), .max = SUBJECT_MAX },
        { .name = "report_to", .kind = SCAN_SUBJECT, .offset = AT(dispatch.report_to), .max = SUBJECT_MAX },
        { .name = "ask", .kind = SCAN_U64, .offset = AT(dispatch.ask), .max = ASK_MAX },
        { 0 },
};

static const ScanField trigger_fields[] = {
        { .name = "metadata", .kind = SCAN_OBJECT, .fields = metadata_fields },
        { .name = "workflow", .kind = SCAN_OBJECT, .fields = workflow_fields },
        { .name = "task", .kind = SCAN_RAW_OBJECT, .offset = AT(task) },
        { .name = "agent", .kind = SCAN_OBJECT, .fields = agent_fields },
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .fields = runtime_fields },
        { .name = "dispatch", .kind = SCAN_OBJECT, .fields = dispatch_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .fields = payload_fields, .raw_offset = AT(payload) },
        { 0 },
};

/* A relay leaves out the ids that are the execution's own; most triggers name none, and bytes are what a relay costs.
 */
static void fill_in(Trigger *trigger) {
        if (!trigger->workflow_exec_id.data)
                trigger->workflow_exec_id = trigger->agent_exec_id;
        if (!trigger->metadata.request_id.data)
                trigger->metadata.request_id = trigger->agent_exec_id;
        if (!trigger->metadata.correlation_id.data)
                trigger->metadata.correlation_id = trigger->metadata.request_id;
}

/* What the runtime needs of a relay, beyond what the table says. */
static int check_relay(const Trigger *trigger, WireError *ret_error) {
        if (!trigger->agent_id.data)
                return wire_error(ret_error, "agent.id is missing");
        if (!trigger->agent_exec_id.data)
                return wire_error(ret_error, "agent.exec_id is missing");
        if (!trigger->dispatch.runtime_id.data)
                return wire_error(ret_error, "agent_runtime.runtime_id is missing");
        if (trigger->dispatch.epoch == U64_UNSET)
                return wire_error(ret_error, "agent_runtime.epoch is missing");
        return check_at_least("dispatch.attempt", trigger->dispatch.attempt, 1, ret_error);
}

/* Read here only to refuse them; who places the trigger decodes them again, and only then. */
static int check_labels(Slice raw, Arena *arena, WireError *ret_error) {
        Labels labels;

        return raw.data ? labels_decode(raw, "payload.labels", arena, &labels, ret_error) : 0;
}

int trigger_decode(Slice body, Trigger *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Trigger){ .priority = PRIORITY_DEFAULT, .dispatch.epoch = U64_UNSET };
        r = scan_object(body_or_empty_object(body), trigger_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_type(&ret->metadata, "TriggerAgent", ret_error);
        if (r == 0)
                r = check_labels(ret->labels, arena, ret_error);
        if (r != 0)
                return r;

        ret->dispatch.present = ret->dispatch.dispatcher_id.data != NULL;
        if (ret->dispatch.present) {
                fill_in(ret);
                return check_relay(ret, ret_error);
        }

        if (ret->dispatch.epoch == U64_UNSET)
                ret->dispatch.epoch = 0;
        return 0;
}

void trigger_decode_sender(Slice body, Trigger *ret, Arena *arena) {
        static const ScanField reply_fields[] = {
                { .name = "reply_to_subject",
                        .kind = SCAN_SUBJECT,
                        .offset = AT(reply_to_subject),
                        .max = SUBJECT_MAX },
                { 0 },
        };
        static const ScanField exec_fields[] = {
                { .name = "exec_id", .kind = SCAN_ID, .offset = AT(agent_exec_id) },
                { 0 },
        };
        static const ScanField correlation_fields[] = {
                { .name = "correlation_id", .kind = SCAN_TEXT, .offset = AT(metadata.correlation_id), .max = TEXT_MAX },
                { 0 },
        };
        /* Each on its own: what is wrong with one does not take the others along. */
        static const ScanField tables[][2] = {
                { { .name = "payload", .kind = SCAN_OBJECT, .fields = reply_fields } },
                { { .name = "agent", .kind = SCAN_OBJECT, .fields = exec_fields } },
                { { .name = "metadata", .kind = SCAN_OBJECT, .fields = correlation_fields } },
        };

        for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
                Trigger found = *ret;

                if (scan_object(body, tables[i], &found, arena, NULL) == 0)
                        *ret = found;
        }
}

/* Nothing when it is what the receiver fills in. */
static Slice unless_equal(Slice id, Slice other) {
        return slice_equal(id, other) ? SLICE_NONE : id;
}

static void emit_metadata(Buffer *buffer, const Trigger *trigger) {
        const Metadata *metadata = &trigger->metadata;

        buffer_append_slice(buffer, SLICE("\"metadata\":{\"type\":\"TriggerAgent\""));
        emit_text(buffer, "request_id", unless_equal(metadata->request_id, trigger->agent_exec_id));
        emit_text(buffer, "correlation_id", unless_equal(metadata->correlation_id, metadata->request_id));
        emit_text(buffer, "created_by", metadata->created_by);
        buffer_append_char(buffer, '}');
}

static void emit_dispatch(Buffer *buffer, const Trigger *trigger) {
        buffer_append_slice(buffer, SLICE(",\"dispatch\":{\"dispatcher_id\":"));
        emit_text_value(buffer, trigger->dispatch.dispatcher_id);
        buffer_append_slice(buffer, SLICE(",\"attempt\":"));
        emit_u64_value(buffer, trigger->dispatch.attempt);
        buffer_append_slice(buffer, SLICE(",\"deadline_ms\":"));
        emit_u64_value(buffer, trigger->dispatch.deadline_ms);
        if (trigger->dispatch.age_ms > 0)
                emit_u64(buffer, "age_ms", trigger->dispatch.age_ms);
        emit_text(buffer, "reply_to", trigger->dispatch.reply_to);
        emit_text(buffer, "report_to", trigger->dispatch.report_to);
        if (trigger->dispatch.ask > 0)
                emit_u64(buffer, "ask", trigger->dispatch.ask);
        buffer_append_char(buffer, '}');
}

void trigger_encode_relay(Buffer *buffer, const Trigger *trigger) {
        emit_object(buffer, NULL);
        emit_metadata(buffer, trigger);
        ids_emit(buffer, SLICE(",\"workflow\":{"), trigger->workflow_id,
                unless_equal(trigger->workflow_exec_id, trigger->agent_exec_id));
        emit_raw(buffer, "task", trigger->task);
        ids_emit(buffer, SLICE(",\"agent\":{"), trigger->agent_id, trigger->agent_exec_id);
        runtime_ids_emit(buffer, trigger->dispatch.runtime_id, trigger->dispatch.epoch);
        emit_dispatch(buffer, trigger);
        emit_raw(buffer, "payload", trigger->payload);
        emit_object_end(buffer);
}
