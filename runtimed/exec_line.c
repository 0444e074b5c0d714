/* SPDX-License-Identifier: MIT */

/*
 * Lines are read in two steps: what every line has, by one table; then the params, by the table of the method. So an
 * error in the params is news to one request, while a line that is not of the protocol at all ends the child: a program
 * that writes something else to its stdout has lost track of what that is for, and nothing it writes can be trusted.
 *
 * Only what a peer must agree on is demanded: "jsonrpc" may be missing, unknown members are ignored.
 */

#include <syslog.h>

#include "common/instant.h"
#include "common/outbox.h"
#include "proto/emit.h"
#include "proto/message.h"
#include "proto/scan.h"
#include "proto/subject.h"
#include "runtimed/definition.h"
#include "runtimed/exec_line.h"
#include "runtimed/exec_payload.h"

#define WISH_TIMEOUT_MS 30000
#define ID_NUMBER_MAX (UINT64_C(1) << 53) /* what every language can repeat exactly */
#define LOG_MESSAGE_MAX 8192
#define KEY_MAX 256
#define HEADERS_MAX 64

/* from the child: any line */

typedef struct RawLine {
        Slice method, id, params, result, error;
} RawLine;

static const ScanField line_fields[] = {
        { .name = "id", .kind = SCAN_RAW, .offset = offsetof(RawLine, id) },
        { .name = "result", .kind = SCAN_RAW, .offset = offsetof(RawLine, result) },
        { .name = "method", .kind = SCAN_TEXT, .offset = offsetof(RawLine, method) },
        { .name = "params", .kind = SCAN_RAW_OBJECT, .offset = offsetof(RawLine, params) },
        { .name = "error", .kind = SCAN_RAW_OBJECT, .offset = offsetof(RawLine, error) },
        { .name = NULL },
};

static const ScanField result_name[] = { { .name = "result" }, { .name = NULL } };

typedef struct RawError {
        Slice code, message, data;
} RawError;

static const ScanField error_fields[] = {
        { .name = "code", .kind = SCAN_RAW, .offset = offsetof(RawError, code) },
        { .name = "message", .kind = SCAN_TEXT, .offset = offsetof(RawError, message) },
        { .name = "data", .kind = SCAN_RAW, .offset = offsetof(RawError, data) },
        { .name = NULL },
};

static const ScanField error_data_fields[] = {
        { .name = "code", .kind = SCAN_TEXT, .offset = 0 },
        { .name = NULL },
};

/*
 * What an agent can know. The others say what the platform has found out (that a runtime was lost, that a deadline has
 * passed), and a caller acts on that.
 */
static const ErrorCode agent_codes[] = {
        ERROR_INVALID_MESSAGE,
        ERROR_LIMIT_EXCEEDED,
        ERROR_STATE_ERROR,
        ERROR_CAPABILITY_NOT_FOUND,
        ERROR_CAPABILITY_ERROR,
        ERROR_TIMEOUT,
        ERROR_INTERNAL,
};

static ErrorCode agent_code(Slice name) {
        const ErrorCode code = error_code_from_name(name);

        for (size_t i = 0; i < ELEMENTSOF(agent_codes); i++)
                if (agent_codes[i] == code)
                        return code;
        return ERROR_NONE;
}

static int read_error(Slice raw, Arena *arena, ExecLine *ret, WireError *ret_error) {
        RawError error = {};
        Slice name = SLICE_NONE;
        int r;

        r = scan_object(raw, error_fields, &error, arena, ret_error);
        if (r != 0)
                return r;

        ret->is_error = true;
        ret->rpc_code = slice_equal(error.code, SLICE("-32601")) ? EXEC_RPC_METHOD_NOT_FOUND : EXEC_RPC_FAILED;
        ret->message = error.message.size > 0 ? error.message : SLICE("the agent gave no reason");
        if (error.data.size == 0 || error.data.data[0] != '{')
                return 0;
        r = scan_object(error.data, error_data_fields, &name, arena, NULL);
        if (r < 0)
                return r;
        ret->code = r == 0 && name.data ? agent_code(name) : ERROR_NONE;
        return 0;
}

static bool read_number(Slice text, uint64_t *ret) {
        uint64_t value = 0;

        if (text.size == 0 || text.size > 16)
                return false;
        for (size_t i = 0; i < text.size; i++) {
                if (text.data[i] < '0' || text.data[i] > '9')
                        return false;
                value = value * 10 + (uint64_t)(text.data[i] - '0');
        }
        *ret = value;
        return true;
}

/* Is a member of the table there? It may be null, which scan_object() takes for absent. Returns 1; 0 and the first of
 * those that are there, if any; -ENOMEM. */
static int find_member(Slice object, const ScanField *fields, Arena *arena, Slice *ret_other) {
        size_t cursor = 0;
        Slice name, value;
        int r;

        while ((r = scan_next_member(object, &cursor, arena, &name, &value)) > 0) {
                for (const ScanField *field = fields; field->name; field++)
                        if (slice_equal(name, slice_of(field->name)))
                                return 1;
                if (!ret_other->data)
                        *ret_other = name;
        }
        return r;
}

static int read_null_result(Slice line, Arena *arena, ExecLine *ret) {
        Slice other = SLICE_NONE;
        const int r = find_member(line, result_name, arena, &other);

        if (r > 0)
                ret->result = SLICE("null");
        return MIN_OF(r, 0);
}

static int read_request(const RawLine *raw, ExecLine *ret, WireError *ret_error) {
        if (raw->id.size > EXEC_ID_MAX)
                return wire_error(ret_error, "its id of %zu bytes is over the limit of %d", raw->id.size, EXEC_ID_MAX);
        if (raw->id.data && !strchr("\"-0123456789", raw->id.data[0]))
                return wire_error(ret_error, "its id is neither a text nor a number");

        ret->method = raw->method;
        ret->id = raw->id;
        ret->params = raw->params;
        return 0;
}

int exec_line_read(Slice line, Arena *arena, ExecLine *ret, WireError *ret_error) {
        ExecLine read = {};
        RawLine raw = {};
        int r;

        r = scan_object(line, line_fields, &raw, arena, ret_error);
        if (r != 0)
                return r;

        if (raw.method.data)
                r = read_request(&raw, &read, ret_error);
        else if (!raw.id.data)
                r = wire_error(ret_error, "it has neither a method nor an id");
        else if (!read_number(raw.id, &read.response_to))
                r = wire_error(ret_error, "it answers %.*s, which is no id of ours",
                        (int)MIN_OF(raw.id.size, (size_t)EXEC_ID_MAX), raw.id.data);
        else if (raw.error.data)
                r = read_error(raw.error, arena, &read, ret_error);
        else if (raw.result.data)
                read.result = raw.result;
        else
                r = read_null_result(line, arena, &read);
        if (r == 0)
                *ret = read;
        return r;
}

/* from the child: what it wants */

typedef struct Params {
        uint64_t message_id, timeout_ms, token, ms;
        Slice target;
        Slice payload, payload_text, payload_base64; /* one of them, or none */
        Slice headers, key;
        unsigned qos, level;
} Params;

static const char *const level_names[] = { "", "error", "warning", "notice", "info", "debug", NULL };

static const int levels[] = { LOG_INFO, LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

/* clang-format off */
#define MESSAGE_ID { .name = "message_id", .kind = SCAN_U64, .offset = offsetof(Params, message_id), .max = ID_NUMBER_MAX }
#define TIMEOUT { .name = "timeout_ms", .kind = SCAN_U64, .offset = offsetof(Params, timeout_ms), .max = DEADLINE_MS_MAX }
#define TOKEN { .name = "token", .kind = SCAN_U64, .required = true, .offset = offsetof(Params, token), .max = ID_NUMBER_MAX }
#define AGENT_ID { .name = "agent_id", .kind = SCAN_ID, .required = true, .offset = offsetof(Params, target) }
#define INPUT { .name = "input", .kind = SCAN_RAW, .offset = offsetof(Params, payload) }
#define KEY(key_name, most) { .name = key_name, .kind = SCAN_TEXT, .offset = offsetof(Params, key), .max = most }
#define PAYLOAD                                                                                                 \
        { .name = "payload", .kind = SCAN_RAW, .offset = offsetof(Params, payload) },                           \
        { .name = "payload_text", .kind = SCAN_TEXT, .offset = offsetof(Params, payload_text) },                \
        { .name = "payload_base64", .kind = SCAN_TEXT, .offset = offsetof(Params, payload_base64) }

static const ScanField publish_fields[] = {
        { .name = "topic", .kind = SCAN_SUBJECT, .required = true, .offset = offsetof(Params, target), .max = TOPIC_BYTES_MAX },
        PAYLOAD,
        { .name = "headers", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Params, headers) },
        MESSAGE_ID,
        { .name = NULL },
};
static const ScanField ask_fields[] = { AGENT_ID, PAYLOAD, TIMEOUT, MESSAGE_ID, { .name = NULL } };
static const ScanField invoke_fields[] = {
        { .name = "capability", .kind = SCAN_TEXT, .required = true, .offset = offsetof(Params, target), .max = KEY_MAX },
        INPUT, TIMEOUT, KEY("idempotency_key", KEY_MAX), MESSAGE_ID, { .name = NULL },
};
static const ScanField trigger_fields[] = { AGENT_ID, INPUT, TIMEOUT, MESSAGE_ID, { .name = NULL } };
static const ScanField subscribe_fields[] = {
        { .name = "topic", .kind = SCAN_TEXT, .required = true, .offset = offsetof(Params, target), .max = TOPIC_BYTES_MAX },
        KEY("queue", TOPIC_BYTES_MAX),
        { .name = "qos", .kind = SCAN_NAME, .offset = offsetof(Params, qos), .names = qos_names },
        MESSAGE_ID,
        { .name = NULL },
};
static const ScanField unsubscribe_fields[] = {
        { .name = "topic", .kind = SCAN_TEXT, .required = true, .offset = offsetof(Params, target), .max = TOPIC_BYTES_MAX },
        MESSAGE_ID,
        { .name = NULL },
};
static const ScanField timer_fields[] = {
        TOKEN,
        { .name = "ms", .kind = SCAN_U64, .required = true, .offset = offsetof(Params, ms), .max = DEADLINE_MS_MAX },
        MESSAGE_ID,
        { .name = NULL },
};
static const ScanField cancel_timer_fields[] = { TOKEN, MESSAGE_ID, { .name = NULL } };
static const ScanField bare_fields[] = { MESSAGE_ID, { .name = NULL } };
static const ScanField log_fields[] = {
        { .name = "level", .kind = SCAN_NAME, .offset = offsetof(Params, level), .names = level_names },
        { .name = "message", .kind = SCAN_TEXT, .required = true, .offset = offsetof(Params, payload_text), .max = LOG_MESSAGE_MAX },
        { .name = "fields", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Params, headers) },
        MESSAGE_ID,
        { .name = NULL },
};
/* clang-format on */

typedef struct Method {
        const char *name;
        const ScanField *fields;
        EffectKind kind;
        bool is_answered;
        bool is_awaited;
        bool needs_json; /* no payload is null, not empty */
} Method;

static const Method methods[] = {
        { "publish", publish_fields, EFFECT_PUBLISH, .is_answered = true },
        { "ask", ask_fields, EFFECT_ASK, .is_answered = true, .is_awaited = true },
        { "invoke", invoke_fields, EFFECT_INVOKE, .is_answered = true, .is_awaited = true, .needs_json = true },
        { "trigger", trigger_fields, EFFECT_TRIGGER, .is_answered = true, .is_awaited = true, .needs_json = true },
        { "subscribe", subscribe_fields, EFFECT_SUBSCRIBE, .is_answered = true },
        { "unsubscribe", unsubscribe_fields, EFFECT_UNSUBSCRIBE, .is_answered = true },
        { "set_timer", timer_fields, EFFECT_TIMER, .is_answered = false },
        { "cancel_timer", cancel_timer_fields, EFFECT_CANCEL_TIMER, .is_answered = false },
        { "checkpoint", bare_fields, EFFECT_CHECKPOINT, .is_answered = true },
        { "stop", bare_fields, EFFECT_STOP, .is_answered = false },
        { "log", log_fields, EFFECT_LOG, .is_answered = false },
};

static const Method *method_find(Slice name) {
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (slice_equal(slice_of(methods[i].name), name))
                        return &methods[i];
        return NULL;
}

static bool is_header_name(Slice name) {
        if (name.size == 0 || name.size > 256)
                return false;
        for (size_t i = 0; i < name.size; i++)
                if (name.data[i] <= ' ' || name.data[i] == ':' || name.data[i] >= 0x7F)
                        return false;
        return true;
}

/* {"Name": "value"} becomes "Name: value\r\n". */
static int read_headers(Slice object, Arena *arena, Slice *ret, WireError *ret_error) {
        _cleanup_(buffer_done) Buffer block = {};
        size_t cursor = 0, n = 0;
        Slice name, value, text;
        char *copy;
        int r;

        while ((r = scan_next_member(object, &cursor, arena, &name, &value)) > 0) {
                if (n++ == HEADERS_MAX)
                        return wire_error(ret_error, "headers are more than %d", HEADERS_MAX);
                r = scan_text(value, arena, &text);
                if (r < 0)
                        return r;
                if (r != 0 || !is_header_name(name) || memchr(text.data, '\r', text.size) ||
                        memchr(text.data, '\n', text.size))
                        return wire_error(ret_error,
                                "headers.%.*s makes no header: names have no spaces, values are texts "
                                "of one line",
                                (int)MIN_OF(name.size, (size_t)64), name.data);
                headers_put(&block, name, text);
        }
        if (r < 0 || block.failed)
                return -ENOMEM;

        copy = arena_alloc(arena, block.size + 1);
        if (!copy)
                return -ENOMEM;
        if (block.size > 0)
                memcpy(copy, block.data, block.size);
        *ret = (Slice){ copy, block.size };
        return 0;
}

static int read_payload(const Params *params, bool needs_json, Arena *arena, Slice *ret, WireError *ret_error) {
        const int n = !!params->payload.data + !!params->payload_text.data + !!params->payload_base64.data;
        int r;

        if (n > 1)
                return wire_error(ret_error, "payload, payload_text and payload_base64 exclude each other");
        if (params->payload_base64.data) {
                r = exec_base64_decode(params->payload_base64, arena, ret);
                return r == -EINVAL ? wire_error(ret_error, "payload_base64 is no base64 with padding") : r;
        }

        if (params->payload.data)
                *ret = params->payload;
        else if (params->payload_text.data)
                *ret = params->payload_text;
        else
                *ret = needs_json ? SLICE("null") : SLICE("");
        return 0;
}

static int check_params(const Method *method, const Params *params, WireError *ret_error) {
        switch (method->kind) {
        case EFFECT_SUBSCRIBE:
        case EFFECT_UNSUBSCRIBE:
                if (!subject_pattern_is_valid(params->target))
                        return wire_error(ret_error, "topic %.*s is not a topic", SLICE_ARG(params->target));
                if (params->key.data && !subject_is_valid(params->key))
                        return wire_error(ret_error, "queue %.*s can't be the name of a queue", SLICE_ARG(params->key));
                return 0;
        case EFFECT_INVOKE:
                if (!subject_is_valid(params->target))
                        return wire_error(ret_error, "capability %.*s is no name of one", SLICE_ARG(params->target));
                return 0;
        default:
                return 0;
        }
}

/* All that can be wrong with it, before the list is touched. */
static int read_wish(const ExecLine *line, const Method *method, EffectList *effects, Params *params, Effect *ret,
        WireError *ret_error) {
        const bool is_log = method->kind == EFFECT_LOG;
        int r;

        r = scan_object(
                line->params.data ? line->params : SLICE("{}"), method->fields, params, &effects->arena, ret_error);
        if (r == 0)
                r = check_params(method, params, ret_error);
        if (r == 0)
                r = read_payload(params, method->needs_json, &effects->arena, &ret->payload, ret_error);
        if (r != 0)
                return r;

        ret->headers = params->headers;
        if (params->headers.data && !is_log)
                r = read_headers(params->headers, &effects->arena, &ret->headers, ret_error);
        return r;
}

int exec_wish_read(const ExecLine *line, EffectList *effects, ExecWish *ret, WireError *ret_error) {
        const Method *method = method_find(line->method);
        Params params = { .timeout_ms = WISH_TIMEOUT_MS, .qos = QOS_BATCHED };
        Effect wish = {}, *effect;
        int r;

        if (!method)
                return EXEC_WISH_E_METHOD;
        r = read_wish(line, method, effects, &params, &wish, ret_error);
        if (r != 0)
                return r;
        effect = effects_add(effects, method->kind);
        if (!effect)
                return -ENOMEM;

        effect->payload = wish.payload;
        effect->headers = wish.headers;
        effect->target = params.target;
        effect->key = params.key;
        effect->qos = params.qos;
        effect->level = levels[params.level];
        effect->token = params.token;
        effect->usec = (method->kind == EFFECT_TIMER ? params.ms : params.timeout_ms) * USEC_PER_MSEC;
        effect->wants_answer = line->id.data && method->is_answered;
        *ret = (ExecWish){
                .message_id = params.message_id, .is_answered = method->is_answered, .is_awaited = method->is_awaited
        };
        return 0;
}

/* from the child: answers */

typedef struct RawResult {
        Slice output, output_text, output_base64, state;
} RawResult;

static const ScanField result_fields[] = {
        { .name = "output", .kind = SCAN_RAW, .offset = offsetof(RawResult, output) },
        { .name = "output_text", .kind = SCAN_TEXT, .offset = offsetof(RawResult, output_text) },
        { .name = "output_base64", .kind = SCAN_TEXT, .offset = offsetof(RawResult, output_base64) },
        { .name = "state", .kind = SCAN_RAW, .offset = offsetof(RawResult, state) },
        { .name = NULL },
};

/*
 * Nothing at all is an answer: null or {}. An object with members none of which we know is not: whoever has forgotten
 * to wrap an output or a state must not lose it in silence.
 */
static int read_result(const ExecLine *line, const char *what, Arena *arena, RawResult *ret, WireError *ret_error) {
        Slice other = SLICE_NONE;
        int r;

        if (!line->result.data)
                return wire_error(ret_error, "the agent's answer has neither a result nor an error");
        if (slice_equal(line->result, SLICE("null")))
                return 0;
        if (line->result.data[0] != '{')
                return wire_error(ret_error, "the agent's result is no object with the member \"%s\"", what);

        r = scan_object(line->result, result_fields, ret, arena, ret_error);
        if (r != 0 || ret->output.data || ret->output_text.data || ret->output_base64.data || ret->state.data)
                return r;
        r = find_member(line->result, result_fields, arena, &other);
        if (r != 0 || !other.data)
                return MIN_OF(r, 0);
        return wire_error(ret_error, "the agent's result has no member \"%s\", but \"%.*s\"", what,
                (int)MIN_OF(other.size, (size_t)64), other.data);
}

int exec_output_read(const ExecLine *line, MessageKind kind, Arena *arena, Slice *ret, WireError *ret_error) {
        const bool is_trigger = kind == MESSAGE_TRIGGER;
        RawResult result = {};
        int r;

        r = read_result(line, "output", arena, &result, ret_error);
        if (r != 0)
                return r;
        if (is_trigger && (result.output_text.data || result.output_base64.data))
                return wire_error(ret_error, "the output of a trigger is JSON: the agent gave a text or base64");

        if (result.output_base64.data) {
                r = exec_base64_decode(result.output_base64, arena, ret);
                return r == -EINVAL ? wire_error(ret_error, "the agent's output_base64 is no base64 with padding") : r;
        }
        if (result.output.data)
                *ret = result.output;
        else if (result.output_text.data)
                *ret = result.output_text;
        else
                *ret = is_trigger ? SLICE("null") : SLICE("");
        return 0;
}

int exec_state_read(const ExecLine *line, Arena *arena, Slice *ret, WireError *ret_error) {
        RawResult result = {};
        int r;

        r = read_result(line, "state", arena, &result, ret_error);
        if (r == 0)
                *ret = result.state.data ? result.state : SLICE("null");
        return r;
}

/* to the child */

static void begin(Buffer *buffer) {
        buffer_append_slice(buffer, SLICE("{\"jsonrpc\":\"2.0\""));
        buffer->nesting++;
}

static void end(Buffer *buffer) {
        emit_object_end(buffer);
        buffer_append_char(buffer, '\n');
}

static void begin_request(Buffer *buffer, uint64_t id, const char *method) {
        begin(buffer);
        emit_u64(buffer, "id", id);
        emit_name(buffer, "method", method);
}

void exec_put_initialize(Buffer *buffer, uint64_t id, const BehaviorStart *start) {
        begin_request(buffer, id, "initialize");
        emit_object(buffer, "params");
        emit_u64(buffer, "protocol", EXEC_PROTOCOL);
        emit_text(buffer, "agent_id", start->agent_id);
        exec_emit_json(buffer, "parameters", start->parameters.data ? start->parameters : SLICE("{}"));
        exec_emit_json(buffer, "state", start->state.data ? start->state : SLICE("null"));
        emit_u64(buffer, "max_concurrency", start->max_concurrency);
        emit_object_end(buffer);
        end(buffer);
}

static void put_envelope(Buffer *buffer, const Envelope *envelope) {
        emit_object(buffer, "envelope");
        emit_text(buffer, "thread_id", envelope->thread_id);
        emit_text(buffer, "correlation_id", envelope->correlation_id);
        emit_text(buffer, "sender", envelope->sender);
        emit_text(buffer, "reply_to", envelope->reply_to);
        emit_u64(buffer, "ttl", envelope->ttl);
        emit_u64(buffer, "hop", envelope->hop);
        emit_text(buffer, "timestamp", envelope->timestamp);
        emit_text(buffer, "traceparent", envelope->traceparent);
        emit_text(buffer, "tracestate", envelope->tracestate);
        emit_object_end(buffer);
}

static const char *const kind_names[_MESSAGE_KIND_MAX] = {
        [MESSAGE_TRIGGER] = "trigger",
        [MESSAGE_TOPIC] = "topic",
        [MESSAGE_TIMER] = "timer",
};

void exec_put_handle(Buffer *buffer, uint64_t id, const BehaviorMessage *message) {
        const ExecEncoding encoding = message->kind == MESSAGE_TOPIC ? exec_encoding_of(message->input) : EXEC_JSON;

        assert(kind_names[message->kind]);

        begin_request(buffer, id, "handle");
        emit_object(buffer, "params");
        emit_name(buffer, "kind", kind_names[message->kind]);
        emit_u64(buffer, "message_id", id);
        emit_text(buffer, "exec_id", message->exec_id);
        if (message->kind == MESSAGE_TRIGGER)
                emit_u64(buffer, "attempt", message->attempt);
        emit_text(buffer, "topic", message->topic);
        if (message->kind == MESSAGE_TIMER) {
                emit_u64(buffer, "token", message->token);
        } else {
                exec_emit_bytes(buffer, "input",
                        message->input.size > 0 || encoding != EXEC_JSON ? message->input : SLICE("null"), encoding);
                emit_name(buffer, "encoding", exec_encoding_names[encoding]);
        }
        put_envelope(buffer, message->envelope);
        emit_object_end(buffer);
        end(buffer);
}

void exec_put_request(Buffer *buffer, uint64_t id, const char *method) {
        begin_request(buffer, id, method);
        emit_object(buffer, "params");
        emit_object_end(buffer);
        end(buffer);
}

void exec_put_result(Buffer *buffer, Slice id, Slice payload) {
        static const char *const markers[_EXEC_ENCODING_MAX] = {
                [EXEC_TEXT] = "payload_text",
                [EXEC_BASE64] = "payload_base64",
        };
        const ExecEncoding encoding = exec_encoding_of(payload);

        begin(buffer);
        emit_raw(buffer, "id", id);
        if (payload.size == 0) {
                emit_raw(buffer, "result", SLICE("null"));
        } else if (!markers[encoding]) {
                exec_emit_json(buffer, "result", payload);
        } else {
                emit_object(buffer, "result");
                exec_emit_bytes(buffer, markers[encoding], payload, encoding);
                emit_object_end(buffer);
        }
        end(buffer);
}

void exec_put_error(Buffer *buffer, Slice id, int rpc_code, ErrorCode code, Slice message) {
        begin(buffer);
        emit_raw(buffer, "id", id);
        emit_object(buffer, "error");
        emit_key(buffer, "code");
        buffer_printf(buffer, "%d", rpc_code);
        emit_text(buffer, "message", message.data ? message : SLICE(""));
        if (code != ERROR_NONE) {
                emit_object(buffer, "data");
                emit_name(buffer, "code", error_code_name(code));
                emit_object_end(buffer);
        }
        emit_object_end(buffer);
        end(buffer);
}
