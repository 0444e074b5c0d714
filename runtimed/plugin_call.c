/* SPDX-License-Identifier: MIT */

/*
 * What a plugin says is checked here as far as it can be said at once, so that its author learns of it where it
 * happens; whether a topic is allowed, or an agent is there, is up to the core and comes as an answer.
 *
 * The call that is being made is known per thread. A plugin that keeps a call's address and uses it later, or on a
 * thread of its own, holds an address that is not that call any more: the two are compared, and nothing is read through
 * it.
 *
 * What ends a message must not get lost: a plugin that ignores our refusal of its huge output would else have succeeded
 * with the output null. So such a refusal is the message's failure.
 */

#include <string.h>

#include "common/outbox.h"
#include "proto/id.h"
#include "proto/json.h"
#include "proto/subject.h"
#include "runtimed/definition.h"
#include "runtimed/plugin_call.h"
#include "runtimed/store.h"

static_assert((int)COMPOZY_WISHES_MAX == EFFECTS_MAX, "the header says what holds");
static_assert((int)COMPOZY_SUBJECT_MAX == SUBJECT_MAX, "the header says what holds");
static_assert((int)COMPOZY_TOPIC_MAX == TOPIC_BYTES_MAX, "the header says what holds");
static_assert((int)COMPOZY_BYTES_MAX <= STORE_STATE_BYTES_MAX, "the header says what holds");
static_assert((int)COMPOZY_HEADERS_MAX == ENVELOPE_OVERRIDES_MAX, "the header says what holds");
static_assert((int)COMPOZY_HEADERS_BYTES_MAX == ENVELOPE_OVERRIDES_BYTES_MAX, "the header says what holds");
static_assert((int)COMPOZY_QOS_REALTIME == QOS_REALTIME, "one is the other");
static_assert((int)COMPOZY_QOS_BATCHED == QOS_BATCHED, "one is the other");
static_assert((int)COMPOZY_QOS_BACKGROUND == QOS_BACKGROUND, "one is the other");

static _Thread_local PluginCall *current;

static PluginCall *open_call(const compozy_call *call) {
        return current && &current->shown == call ? current : NULL;
}

static bool is_sound(compozy_bytes bytes) {
        return bytes.data || bytes.size == 0;
}

static Slice slice_of_bytes(compozy_bytes bytes) {
        return (Slice){ bytes.data, bytes.size };
}

/* Not longer than the limit, and with no character cut in two. */
static Slice cut_sentence(compozy_bytes bytes) {
        size_t size = MIN_OF(bytes.size, (size_t)COMPOZY_SENTENCE_MAX);

        if (!bytes.data || size == 0)
                return SLICE("the behaviour gave no reason");
        if (size < bytes.size)
                while (size > 0 && ((unsigned char)bytes.data[size] & 0xC0) == 0x80)
                        size--;
        return (Slice){ bytes.data, size };
}

static ErrorCode code_of(const char *name) {
        const ErrorCode code = name ? error_code_from_name(slice_of(name)) : ERROR_NONE;

        return code == ERROR_NONE ? ERROR_INTERNAL : code;
}

static bool json_is_valid(Slice text) {
        JsonReader reader = { .start = text.data, .at = text.data, .end = text.data + text.size };

        json_space(&reader);
        if (json_skip(&reader) != 0)
                return false;
        json_space(&reader);
        return reader.at == reader.end;
}

/* what ends a message */

static int set_failure(PluginCall *call, ErrorCode code, Slice sentence) {
        buffer_clear(call->output);
        buffer_append_slice(call->output, sentence);
        call->verdict = BEHAVIOR_ERROR;
        call->code = code;
        return call->output->failed ? COMPOZY_E_MEMORY : COMPOZY_OK;
}

/* Is there something that can be ended? Nobody waits for what becomes of an answer or a timer. */
static bool can_end(const PluginCall *call) {
        return call && call->hook == PLUGIN_HOOK_HANDLE && call->kind != MESSAGE_ANSWER && call->kind != MESSAGE_TIMER;
}

static int host_output(compozy_call *shown, compozy_bytes bytes) {
        PluginCall *call = open_call(shown);

        if (!can_end(call) && !(call && call->hook == PLUGIN_HOOK_CHECKPOINT))
                return COMPOZY_E_NOT_NOW;
        if (!is_sound(bytes)) {
                (void)set_failure(call, ERROR_INTERNAL, SLICE("the behaviour's output is nowhere"));
                return COMPOZY_E_INVALID;
        }
        if (bytes.size > COMPOZY_BYTES_MAX) {
                (void)set_failure(call, ERROR_LIMIT_EXCEEDED,
                        SLICE("the behaviour's output is over the limit of " STRINGIFY(COMPOZY_BYTES_MAX) " bytes"));
                return COMPOZY_E_LIMIT;
        }

        buffer_clear(call->output);
        buffer_append_slice(call->output, slice_of_bytes(bytes));
        if (call->output->failed) {
                (void)set_failure(call, ERROR_INTERNAL, SLICE("memory is out: the output was lost"));
                return COMPOZY_E_MEMORY;
        }

        call->verdict = BEHAVIOR_DONE;
        return COMPOZY_OK;
}

static int host_fail(compozy_call *shown, const char *code, compozy_bytes sentence) {
        PluginCall *call = open_call(shown);

        if (!call)
                return COMPOZY_E_NOT_NOW;

        return set_failure(call, code_of(code), cut_sentence(sentence));
}

static int host_defer(compozy_call *shown, uint64_t usec) {
        PluginCall *call = open_call(shown);

        if (!can_end(call))
                return COMPOZY_E_NOT_NOW;
        if (usec > COMPOZY_DELAY_USEC_MAX) {
                (void)set_failure(call, ERROR_LIMIT_EXCEEDED, SLICE("the behaviour defers the message by over a year"));
                return COMPOZY_E_LIMIT;
        }

        buffer_clear(call->output);
        call->verdict = BEHAVIOR_DEFER;
        call->defer_usec = usec;
        return COMPOZY_OK;
}

static int host_keep_open(compozy_call *shown) {
        PluginCall *call = open_call(shown);

        if (!can_end(call))
                return COMPOZY_E_NOT_NOW;

        buffer_clear(call->output);
        call->verdict = BEHAVIOR_PENDING;
        return COMPOZY_OK;
}

/* wishes */

/* Appends a copy of `draft`, whose slices are the plugin's. */
static int wish(compozy_call *shown, const Effect *draft) {
        const Slice *const parts[] = { &draft->target, &draft->payload, &draft->headers, &draft->key };
        PluginCall *call = open_call(shown);
        size_t n_bytes = 0;
        EffectList *list;
        Effect *effect;

        if (!call || !call->effects)
                return COMPOZY_E_NOT_NOW;

        list = call->effects;
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                if (parts[i]->size > COMPOZY_BYTES_MAX)
                        return COMPOZY_E_LIMIT;
                n_bytes += parts[i]->size;
        }
        if (list->n >= EFFECTS_MAX || list->n_bytes + n_bytes > COMPOZY_BYTES_MAX)
                return COMPOZY_E_LIMIT;

        effect = effects_add(list, draft->kind);
        if (!effect)
                return COMPOZY_E_MEMORY;

        *effect = *draft;
        effect->target = effects_keep(list, draft->target);
        effect->payload = effects_keep(list, draft->payload);
        effect->headers = effects_keep(list, draft->headers);
        effect->key = effects_keep(list, draft->key);
        return list->failed ? COMPOZY_E_MEMORY : COMPOZY_OK;
}

static int host_reply(compozy_call *call, uint64_t message_id, compozy_bytes output) {
        if (!is_sound(output))
                return COMPOZY_E_INVALID;

        return wish(
                call, &(Effect){ .kind = EFFECT_REPLY, .message_id = message_id, .payload = slice_of_bytes(output) });
}

static int host_reply_error(compozy_call *call, uint64_t message_id, const char *code, compozy_bytes sentence) {
        return wish(call, &(Effect){ .kind = EFFECT_REPLY,
                                  .message_id = message_id,
                                  .code = code_of(code),
                                  .payload = cut_sentence(sentence) });
}

/* A name is a token of RFC 9110, more or less; what would end a line is nowhere. */
static bool header_is_valid(const compozy_header *header) {
        if (!header->name.data || header->name.size == 0 || !is_sound(header->value))
                return false;
        for (size_t i = 0; i < header->name.size; i++)
                if (header->name.data[i] <= ' ' || header->name.data[i] >= 0x7F || header->name.data[i] == ':')
                        return false;
        for (size_t i = 0; i < header->value.size; i++)
                if (header->value.data[i] == '\r' || header->value.data[i] == '\n' || header->value.data[i] == '\0')
                        return false;
        return true;
}

static int write_headers(const compozy_header *headers, size_t n, Buffer *ret) {
        if (n > 0 && !headers)
                return COMPOZY_E_INVALID;
        if (n > COMPOZY_HEADERS_MAX)
                return COMPOZY_E_LIMIT;

        for (size_t i = 0; i < n; i++) {
                if (headers[i].name.size > COMPOZY_HEADERS_BYTES_MAX ||
                        headers[i].value.size > COMPOZY_HEADERS_BYTES_MAX)
                        return COMPOZY_E_LIMIT;
                if (!header_is_valid(&headers[i]))
                        return COMPOZY_E_INVALID;
                headers_put(ret, slice_of_bytes(headers[i].name), slice_of_bytes(headers[i].value));
        }

        if (ret->failed)
                return COMPOZY_E_MEMORY;
        return ret->size > COMPOZY_HEADERS_BYTES_MAX ? COMPOZY_E_LIMIT : COMPOZY_OK;
}

static int host_publish(compozy_call *call, compozy_bytes topic, compozy_bytes payload, const compozy_header *headers,
        size_t n_headers, uint64_t token) {
        _cleanup_(buffer_done) Buffer block = {};
        int r;

        if (topic.size > COMPOZY_SUBJECT_MAX)
                return COMPOZY_E_LIMIT;
        if (!subject_is_valid(slice_of_bytes(topic)) || !is_sound(payload))
                return COMPOZY_E_INVALID;
        r = write_headers(headers, n_headers, &block);
        if (r != COMPOZY_OK)
                return r;

        return wish(call, &(Effect){ .kind = EFFECT_PUBLISH,
                                  .token = token,
                                  .wants_answer = token != 0,
                                  .target = slice_of_bytes(topic),
                                  .payload = slice_of_bytes(payload),
                                  .headers = n_headers > 0 ? buffer_slice(&block) : SLICE_NONE });
}

static int host_ask(
        compozy_call *call, compozy_bytes agent_id, compozy_bytes payload, uint64_t timeout_usec, uint64_t token) {
        if (!is_sound(payload) || !is_sound(agent_id) || !id_is_valid(slice_of_bytes(agent_id)))
                return COMPOZY_E_INVALID;
        if (timeout_usec > COMPOZY_DELAY_USEC_MAX)
                return COMPOZY_E_LIMIT;

        return wish(call, &(Effect){ .kind = EFFECT_ASK,
                                  .token = token,
                                  .wants_answer = true,
                                  .usec = timeout_usec,
                                  .target = slice_of_bytes(agent_id),
                                  .payload = slice_of_bytes(payload) });
}

static int host_invoke(compozy_call *call, compozy_bytes capability, compozy_bytes input, compozy_bytes key,
        uint64_t timeout_usec, uint64_t token) {
        if (timeout_usec > COMPOZY_DELAY_USEC_MAX || key.size > COMPOZY_KEY_MAX)
                return COMPOZY_E_LIMIT;
        if (!is_sound(input) || !is_sound(key) || !subject_is_valid(slice_of_bytes(capability)))
                return COMPOZY_E_INVALID;

        return wish(call, &(Effect){ .kind = EFFECT_INVOKE,
                                  .token = token,
                                  .wants_answer = true,
                                  .usec = timeout_usec,
                                  .target = slice_of_bytes(capability),
                                  .payload = slice_of_bytes(input),
                                  .key = slice_of_bytes(key) });
}

static int host_trigger(
        compozy_call *call, compozy_bytes agent_id, compozy_bytes input, uint64_t timeout_usec, uint64_t token) {
        const Slice value = input.data ? slice_of_bytes(input) : SLICE("null");

        if (timeout_usec > COMPOZY_DELAY_USEC_MAX || input.size > COMPOZY_BYTES_MAX)
                return COMPOZY_E_LIMIT;
        if (!is_sound(input) || !is_sound(agent_id) || !id_is_valid(slice_of_bytes(agent_id)) || !json_is_valid(value))
                return COMPOZY_E_INVALID;

        return wish(call, &(Effect){ .kind = EFFECT_TRIGGER,
                                  .token = token,
                                  .wants_answer = true,
                                  .usec = timeout_usec,
                                  .target = slice_of_bytes(agent_id),
                                  .payload = value });
}

static int host_subscribe(compozy_call *call, compozy_bytes topic, compozy_bytes queue, uint32_t qos, uint64_t token) {
        if (topic.size > COMPOZY_TOPIC_MAX || queue.size > COMPOZY_TOPIC_MAX)
                return COMPOZY_E_LIMIT;
        if (!subject_pattern_is_valid(slice_of_bytes(topic)) || !is_sound(queue) || qos > COMPOZY_QOS_BACKGROUND)
                return COMPOZY_E_INVALID;
        if (queue.data && !subject_is_valid(slice_of_bytes(queue)))
                return COMPOZY_E_INVALID;

        return wish(call, &(Effect){ .kind = EFFECT_SUBSCRIBE,
                                  .token = token,
                                  .wants_answer = token != 0,
                                  .qos = qos == COMPOZY_QOS_DEFAULT ? QOS_BATCHED : qos,
                                  .target = slice_of_bytes(topic),
                                  .key = slice_of_bytes(queue) });
}

static int host_unsubscribe(compozy_call *call, compozy_bytes topic, uint64_t token) {
        if (topic.size > COMPOZY_TOPIC_MAX)
                return COMPOZY_E_LIMIT;
        if (!subject_pattern_is_valid(slice_of_bytes(topic)))
                return COMPOZY_E_INVALID;

        return wish(call, &(Effect){ .kind = EFFECT_UNSUBSCRIBE,
                                  .token = token,
                                  .wants_answer = token != 0,
                                  .target = slice_of_bytes(topic) });
}

static int host_set_timer(compozy_call *call, uint64_t token, uint64_t usec) {
        if (usec > COMPOZY_DELAY_USEC_MAX)
                return COMPOZY_E_LIMIT;

        return wish(call, &(Effect){ .kind = EFFECT_TIMER, .token = token, .usec = usec });
}

static int host_cancel_timer(compozy_call *call, uint64_t token) {
        return wish(call, &(Effect){ .kind = EFFECT_CANCEL_TIMER, .token = token });
}

static int host_checkpoint(compozy_call *call, uint64_t token) {
        return wish(call, &(Effect){ .kind = EFFECT_CHECKPOINT, .token = token, .wants_answer = token != 0 });
}

static int host_stop(compozy_call *call) {
        return wish(call, &(Effect){ .kind = EFFECT_STOP });
}

static int host_log(compozy_call *call, int level, compozy_bytes sentence, compozy_bytes fields) {
        const Slice text = slice_of_bytes(fields);

        if (sentence.size > COMPOZY_SENTENCE_MAX || fields.size > COMPOZY_SENTENCE_MAX)
                return COMPOZY_E_LIMIT;
        if (level < 0 || level > COMPOZY_LOG_DEBUG || !sentence.data || !is_sound(fields))
                return COMPOZY_E_INVALID;
        if (text.data && (text.size == 0 || text.data[0] != '{' || !json_is_valid(text)))
                return COMPOZY_E_INVALID;

        return wish(call,
                &(Effect){ .kind = EFFECT_LOG, .level = level, .payload = slice_of_bytes(sentence), .headers = text });
}

static const compozy_host host = {
        .size = sizeof(compozy_host),
        .abi_major = COMPOZY_ABI_MAJOR,
        .abi_minor = COMPOZY_ABI_MINOR,
        .output = host_output,
        .fail = host_fail,
        .defer = host_defer,
        .keep_open = host_keep_open,
        .reply = host_reply,
        .reply_error = host_reply_error,
        .publish = host_publish,
        .ask = host_ask,
        .invoke = host_invoke,
        .trigger = host_trigger,
        .subscribe = host_subscribe,
        .unsubscribe = host_unsubscribe,
        .set_timer = host_set_timer,
        .cancel_timer = host_cancel_timer,
        .checkpoint = host_checkpoint,
        .stop = host_stop,
        .log = host_log,
};

void plugin_call_begin(PluginCall *call) {
        assert(!current && call->output);

        call->shown.host = &host;
        current = call;
}

void plugin_call_end(PluginCall *call) {
        assert(current == call);

        call->shown.host = NULL;
        current = NULL;
}
