/* SPDX-License-Identifier: MIT */

/*
 * relay: publishes what it gets to the topic that the parameter `to` names: a trigger's input as it stands, a topic's
 * payload byte for byte. The output for a trigger is {"to": topic, "bytes": n}; a topic's message gets no answer from
 * it. Relays in a circle come to an end, since what is published inherits the ttl of what was received.
 */

#include "proto/emit.h"
#include "proto/scan.h"
#include "proto/subject.h"
#include "runtimed/behavior_builtin.h"

typedef struct Relay {
        Slice to;
} Relay;

static const ScanField relay_parameters[] = {
        { .name = "to", .kind = SCAN_SUBJECT, .required = true, .offset = offsetof(Relay, to), .max = SUBJECT_MAX },
        { .name = NULL },
};

static int read_parameters(const BehaviorStart *start, Arena *arena, Relay *ret, WireError *ret_error) {
        if (!start->parameters.data)
                return wire_error(ret_error, "to is missing");

        return scan_object(start->parameters, relay_parameters, ret, arena, ret_error);
}

static int relay_check(const BehaviorStart *start, WireError *ret_error) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        Relay relay = {};
        int r;

        r = read_parameters(start, &arena, &relay, &error);
        return r > 0 ? wire_error(ret_error, "parameters: %s", error.text) : r;
}

static int relay_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        Relay relay = {};
        char *to;
        int r;

        r = read_parameters(start, &arena, &relay, &error);
        if (r != 0)
                return refuse_parameters(r, &error, ret_why, why_size);

        to = slice_dup(relay.to);
        if (!to)
                return -ENOMEM;

        *ret_state = to;
        return 0;
}

static void relay_stop(void *state) {
        free(state);
}

static void relay_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        const Slice to = slice_of(state);
        Effect *effect;

        reply->verdict = BEHAVIOR_DONE;
        if (!message_is_work(message))
                return;

        effect = effects_add(&reply->effects, EFFECT_PUBLISH);
        if (effect) {
                effect->target = effects_keep(&reply->effects, to);
                effect->payload = effects_keep(&reply->effects, message->input);
        }
        if (reply->effects.failed) {
                effects_clear(&reply->effects);
                behavior_fail(reply, ERROR_INTERNAL, "memory is out: %zu bytes were not relayed", message->input.size);
                return;
        }

        if (message->kind != MESSAGE_TRIGGER)
                return;
        emit_object(&reply->output, NULL);
        emit_text(&reply->output, "to", to);
        emit_u64(&reply->output, "bytes", message->input.size);
        emit_object_end(&reply->output);
}

const Behavior behavior_relay = {
        .type = "relay",
        .help = "publishes its input to the topic parameters.to",
        .trusted = true,
        .quick = true,
        .check = relay_check,
        .init = relay_init,
        .stop = relay_stop,
        .handle = relay_handle,
};
