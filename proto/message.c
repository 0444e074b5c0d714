/* SPDX-License-Identifier: MIT */

#include "proto/emit.h"
#include "proto/message.h"

#define METADATA_TEXT(member) \
        { .name = #member, .kind = SCAN_TEXT, .offset = offsetof(Metadata, member), .max = TEXT_MAX }

const ScanField metadata_fields[] = {
        METADATA_TEXT(type),
        METADATA_TEXT(event_id),
        METADATA_TEXT(request_id),
        METADATA_TEXT(result_id),
        METADATA_TEXT(correlation_id),
        METADATA_TEXT(event_timestamp),
        METADATA_TEXT(source_component),
        METADATA_TEXT(created_by),
        { 0 },
};

const char *const retry_policy_names[_RETRY_POLICY_MAX + 1] = {
        [RETRY_NONE_GIVEN] = "",
        [RETRY_NEVER] = "never",
        [RETRY_UNSTARTED] = "unstarted",
        [RETRY_ALWAYS] = "always",
};

const char *const result_status_names[_RESULT_STATUS_MAX + 1] = {
        [STATUS_NONE] = "",
        [STATUS_SUCCESS] = "SUCCESS",
        [STATUS_AGENT_ERROR] = "AGENT_ERROR",
        [STATUS_FAILURE] = "FAILURE",
};

void metadata_emit(Buffer *buffer, const char *type, MetadataIdKind kind, Slice id, Slice correlation_id,
        uint64_t real_usec, Slice source) {
        static const Slice id_keys[] = {
                [METADATA_EVENT_ID] = { ",\"event_id\":", 12 },
                [METADATA_REQUEST_ID] = { ",\"request_id\":", 14 },
                [METADATA_RESULT_ID] = { ",\"result_id\":", 13 },
        };

        assert(kind < ELEMENTSOF(id_keys));

        emit_key(buffer, "metadata");
        buffer_append_slice(buffer, SLICE("{\"type\":\""));
        buffer_append(buffer, type, strlen(type));
        buffer_append_char(buffer, '"');
        if (id.data) {
                buffer_append_slice(buffer, id_keys[kind]);
                emit_text_value(buffer, id);
        }
        emit_text(buffer, "correlation_id", correlation_id);
        buffer_append_slice(buffer, SLICE(",\"event_timestamp\":"));
        emit_timestamp_value(buffer, real_usec);
        emit_text(buffer, "source_component", source);
        buffer_append_char(buffer, '}');
}

void ids_emit(Buffer *buffer, Slice opening, Slice id, Slice exec_id) {
        if (!id.data && !exec_id.data)
                return;

        buffer_append_slice(buffer, opening);
        emit_text(buffer, "id", id);
        emit_text(buffer, "exec_id", exec_id);
        buffer_append_char(buffer, '}');
}

void runtime_ids_emit(Buffer *buffer, Slice runtime_id, uint64_t epoch) {
        if (!runtime_id.data)
                return;

        buffer_append_slice(buffer, SLICE(",\"agent_runtime\":{\"runtime_id\":"));
        emit_text_value(buffer, runtime_id);
        buffer_append_slice(buffer, SLICE(",\"epoch\":"));
        emit_u64_value(buffer, epoch);
        buffer_append_char(buffer, '}');
}

/* labels */

static int label_check(Slice text, const char *what, const char *field, WireError *ret_error) {
        if (text.size > LABEL_TEXT_MAX)
                return wire_error(ret_error, "%s: a %s is %zu bytes long, the limit is %d", field, what, text.size,
                        LABEL_TEXT_MAX);
        if (text.size > 0 && memchr(text.data, '\0', text.size))
                return wire_error(ret_error, "%s: a %s has a NUL in it", field, what);
        return 0;
}

static int label_decode(Slice name, Slice raw, const char *field, Arena *arena, Label *ret, WireError *ret_error) {
        Slice value;
        int r;

        r = label_check(name, "name", field, ret_error);
        if (r != 0)
                return r;
        r = scan_text(raw, arena, &value);
        if (r == WIRE_E_INVALID)
                return wire_error(ret_error, "%s.%.*s is not a text", field, SLICE_ARG(name));
        if (r == 0)
                r = label_check(value, "value", field, ret_error);
        if (r != 0)
                return r;

        *ret = (Label){ name, value };
        return 0;
}

static Label *labels_find(Labels *labels, Slice name) {
        for (size_t i = 0; i < labels->n_items; i++)
                if (slice_equal(labels->items[i].name, name))
                        return &labels->items[i];
        return NULL;
}

int labels_decode(Slice raw, const char *field, Arena *arena, Labels *ret, WireError *ret_error) {
        Labels labels = { .n_items = 0 };
        size_t cursor = 0;
        Slice name, value;
        int r;

        while ((r = scan_next_member(raw, &cursor, arena, &name, &value)) > 0) {
                Label label;

                r = label_decode(name, value, field, arena, &label, ret_error);
                if (r != 0)
                        return r;
                if (labels_find(&labels, name))
                        return wire_error(ret_error, "%s.%.*s is there twice", field, SLICE_ARG(name));
                if (labels.n_items == LABELS_MAX)
                        return wire_error(ret_error, "%s has more than %d members, the limit", field, LABELS_MAX);
                labels.items[labels.n_items++] = label;
        }
        if (r < 0)
                return r;

        *ret = labels;
        return 0;
}

bool labels_match(const Labels *wanted, const Labels *given) {
        for (size_t i = 0; i < wanted->n_items; i++) {
                bool found = false;

                for (size_t j = 0; j < given->n_items && !found; j++)
                        found = slice_equal(wanted->items[i].name, given->items[j].name) &&
                                slice_equal(wanted->items[i].value, given->items[j].value);
                if (!found)
                        return false;
        }
        return true;
}

/* errors and answers */

void error_reply_emit(Buffer *buffer, const char *key, const ErrorReply *error) {
        const ErrorCode code = error->code != ERROR_NONE ? error->code : ERROR_INTERNAL;

        emit_object(buffer, key);
        emit_string(buffer, "code", error_code_name(code));
        emit_text(buffer, "message", error->message.data ? error->message : slice_of(error_code_meaning(code)));
        emit_raw(buffer, "details", error->details);
        emit_object_end(buffer);
}

void error_reply_emit_headers(Buffer *buffer, const ErrorReply *error) {
        const ErrorCode code = error->code != ERROR_NONE ? error->code : ERROR_INTERNAL;
        const Slice message = error->message.data ? error->message : slice_of(error_code_meaning(code));

        buffer_append_slice(buffer, SLICE("Nats-Service-Error: "));
        for (size_t i = 0; i < message.size && i < TEXT_MAX; i++)
                buffer_append_char(buffer, (unsigned char)message.data[i] < ' ' ? ' ' : message.data[i]);
        buffer_printf(buffer, "\r\nNats-Service-Error-Code: %u\r\n", error_code_number(code));
}

void answer_encode_result(Buffer *buffer, Slice result) {
        emit_object(buffer, NULL);
        emit_bool(buffer, "ok", true);
        emit_raw(buffer, "result", result.data ? result : SLICE("{}"));
        emit_object_end(buffer);
}

void answer_encode_error(Buffer *buffer, const ErrorReply *error) {
        emit_object(buffer, NULL);
        emit_bool(buffer, "ok", false);
        error_reply_emit(buffer, "error", error);
        emit_object_end(buffer);
}

static const ScanField answer_error_fields[] = {
        { .name = "code",
                .kind = SCAN_TEXT,
                .required = true,
                .offset = offsetof(Answer, error_code),
                .max = TEXT_MAX },
        { .name = "message", .kind = SCAN_TEXT, .offset = offsetof(Answer, error_message) },
        { .name = "details", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Answer, error_details) },
        { 0 },
};

static const ScanField answer_fields[] = {
        { .name = "ok", .kind = SCAN_BOOL, .required = true, .offset = offsetof(Answer, ok) },
        { .name = "result", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Answer, result) },
        { .name = "error", .kind = SCAN_OBJECT, .fields = answer_error_fields },
        { 0 },
};

int answer_decode(Slice body, Answer *ret, Arena *arena, WireError *ret_error) {
        Answer answer = { 0 };
        int r;

        r = scan_object(body, answer_fields, &answer, arena, ret_error);
        if (r != 0)
                return r;
        if (!answer.ok && !answer.error_code.data)
                return wire_error(ret_error, "error is missing");

        *ret = answer;
        return 0;
}
