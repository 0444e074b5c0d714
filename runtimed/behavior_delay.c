/* SPDX-License-Identifier: MIT */

/*
 * delay: answers after `input.ms` milliseconds (default: the parameter `ms`, else 0) with {"ms": n}. It defers instead
 * of sleeping, so a thousand of them wait without holding a thread. A topic's message is treated the same: its payload
 * is the input.
 */

#include <stdio.h>

#include "common/instant.h"
#include "proto/message.h"
#include "proto/scan.h"
#include "runtimed/behavior_builtin.h"

typedef struct Delay {
        uint64_t ms;
} Delay;

static const ScanField delay_fields[] = {
        { .name = "ms", .kind = SCAN_U64, .offset = offsetof(Delay, ms), .max = DEADLINE_MS_MAX },
        { .name = NULL },
};

static int delay_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        Delay wanted = {}, *delay;
        int r;

        r = start->parameters.data ? scan_object(start->parameters, delay_fields, &wanted, &arena, &error) : 0;
        if (r != 0)
                return refuse_parameters(r, &error, ret_why, why_size);

        delay = malloc(sizeof(*delay));
        if (!delay)
                return -ENOMEM;

        *delay = wanted;
        *ret_state = delay;
        return 0;
}

static void delay_stop(void *state) {
        free(state);
}

/* An input that is no object (a text, null, bytes of any kind) has no `ms`: the default holds. */
static bool delay_wanted(const Delay *delay, const BehaviorMessage *message, BehaviorReply *reply, Delay *ret) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        int r;

        *ret = *delay;
        if (message->input.size == 0 || message->input.data[0] != '{')
                return true;

        r = scan_object(message->input, delay_fields, ret, &arena, &error);
        if (r == 0)
                return true;

        behavior_fail(reply, r < 0 ? ERROR_INTERNAL : ERROR_INVALID_MESSAGE, "input: %s",
                r < 0 ? "out of memory" : error.text);
        return false;
}

static void delay_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Delay wanted;

        reply->verdict = BEHAVIOR_DONE;
        if (!message_is_work(message) || !delay_wanted(state, message, reply, &wanted))
                return;

        if (wanted.ms > 0 && message->kind != MESSAGE_RESUME) {
                reply->verdict = BEHAVIOR_DEFER;
                reply->defer_usec = wanted.ms * USEC_PER_MSEC;
                return;
        }

        buffer_printf(&reply->output, "{\"ms\":%llu}", (unsigned long long)wanted.ms);
}

const Behavior behavior_delay = {
        .type = "delay",
        .help = "answers after input.ms milliseconds, without holding a thread",
        .trusted = true,
        .quick = true,
        .init = delay_init,
        .stop = delay_stop,
        .handle = delay_handle,
};
