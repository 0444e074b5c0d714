/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "ctl/trigger_body.h"
#include "proto/emit.h"

/* {"NAME": "VALUE", ...} of "NAME=VALUE" texts. */
static CtlExit emit_pairs(Buffer *buffer, const Ctl *ctl, const char *key, const char *option, const TextList *pairs) {
        json_t *object;
        char *text;

        if (!pairs || pairs->n_items == 0)
                return CTL_EXIT_OK;
        object = json_object();
        for (size_t i = 0; i < pairs->n_items; i++) {
                const char *equals = strchr(pairs->items[i], '=');

                if (!equals || equals == pairs->items[i] ||
                        json_object_setn_new(object, pairs->items[i], (size_t)(equals - pairs->items[i]),
                                json_string(equals + 1)) < 0) {
                        json_decref(object);
                        return ctl_fail(ctl, CTL_EXIT_USAGE, "--%s: \"%.100s\" is not of the form NAME=VALUE", option,
                                pairs->items[i]);
                }
        }
        text = json_dumps(object, JSON_COMPACT);
        emit_raw(buffer, key, slice_of(text));
        free(text);
        json_decref(object);
        return CTL_EXIT_OK;
}

/* `context` up to the number in the input, or to its own end. */
static CtlExit emit_context(TriggerBody *body, const Ctl *ctl, const TriggerWish *wish) {
        Buffer *buffer = &body->middle;
        CtlExit status;

        emit_object(buffer, "context");
        status = emit_pairs(buffer, ctl, "env", "env", wish->env);
        if (status == CTL_EXIT_OK && wish->input_text.data && !wish->is_numbered) {
                emit_raw(buffer, "input", wish->input_text);
        } else if (status == CTL_EXIT_OK && (wish->input || wish->is_numbered)) {
                char *text = wish->input ? ctl_json_text(wish->input, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("{}");
                Slice input = slice_of(text);

                if (!text)
                        return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
                if (wish->is_numbered)
                        input.size--; /* the bracket */
                emit_raw(buffer, "input", input);
                if (wish->is_numbered)
                        buffer_append_slice(buffer, input.size > 1 ? SLICE(",\"n\":") : SLICE("\"n\":"));
                free(text);
        }
        return status;
}

static CtlExit emit_payload(TriggerBody *body, const Ctl *ctl, const TriggerWish *wish) {
        Buffer *buffer = &body->middle;
        CtlExit status;

        emit_object(buffer, "payload");
        emit_string(buffer, "reply_to_subject", wish->reply_to);
        emit_u64(buffer, "deadline_ms", wish->deadline_ms);
        emit_string(buffer, "retry", wish->retry);
        emit_u64(buffer, "priority", wish->priority);
        status = emit_pairs(buffer, ctl, "labels", "label", wish->labels);
        return status == CTL_EXIT_OK ? emit_context(body, ctl, wish) : status;
}

CtlExit trigger_body_init(TriggerBody *body, const Ctl *ctl, const TriggerWish *wish) {
        CtlExit status;

        *body = (TriggerBody){ .is_numbered = wish->is_numbered };
        if (wish->is_numbered && wish->input && !json_is_object(wish->input))
                return ctl_fail(
                        ctl, CTL_EXIT_USAGE, "--number puts the member \"n\" into the input, which is no object");
        if (wish->is_numbered && json_object_get(wish->input, "n"))
                return ctl_fail(ctl, CTL_EXIT_USAGE, "--number: the input has a member \"n\" already");

        emit_object(&body->head, NULL);
        emit_object(&body->head, "metadata");
        emit_string(&body->head, "type", "TriggerAgent");
        emit_string(&body->head, "source_component", "compozyctl");
        emit_object_end(&body->head);
        emit_object(&body->head, "workflow");
        emit_string(&body->head, "id", wish->workflow_id);
        emit_object_end(&body->head);
        emit_object(&body->head, "agent");
        emit_string(&body->head, "id", wish->agent_id);
        emit_key(&body->head, "exec_id");
        buffer_append_char(&body->head, '"');

        buffer_append_slice(&body->middle, SLICE("\"}"));
        status = emit_payload(body, ctl, wish);
        buffer_append_slice(&body->tail, body->is_numbered ? SLICE("}}}}") : SLICE("}}}"));
        if (status == CTL_EXIT_OK && (body->head.failed || body->middle.failed || body->tail.failed))
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        return status;
}

void trigger_body_done(TriggerBody *body) {
        buffer_done(&body->head);
        buffer_done(&body->middle);
        buffer_done(&body->tail);
}

void trigger_body_write(const TriggerBody *body, Slice exec_id, uint64_t number, Buffer *ret) {
        buffer_append_slice(ret, buffer_slice(&body->head));
        buffer_append_slice(ret, exec_id);
        buffer_append_slice(ret, buffer_slice(&body->middle));
        if (body->is_numbered)
                emit_u64_value(ret, number);
        buffer_append_slice(ret, buffer_slice(&body->tail));
}
