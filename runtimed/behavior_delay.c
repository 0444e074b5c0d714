/* SPDX-License-Identifier: MIT */

/*
 * delay: answers after `input.ms` milliseconds (default: the parameter `ms`, else 0) with {"ms": n}. It defers instead
 * of sleeping, so a thousand of them wait without holding a thread.
 */

#include <stdio.h>

#include "common/instant.h"
#include "proto/message.h"
#include "proto/scan.h"
#include "runtimed/behavior.h"

typedef struct Delay {
        uint64_t ms;
} Delay;

static const ScanField delay_fields[] = {
        { .name = "ms", .kind = SCAN_U64, .offset = offsetof(Delay, ms), .max = DEADLINE_MS_MAX },
        { .name = NULL },
};

static int delay_init(Slice agent_id, Slice parameters, void **ret_state, char *ret_why, size_t why_size) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        Delay *delay;
        int r;

        (void)agent_id;

        delay = calloc(1, sizeof(*delay));
        if (!delay)
                return -ENOMEM;

        r = parameters.data ? scan_object(parameters, delay_fields, delay, &arena, &error) : 0;
        if (r != 0) {
                free(delay);
                if (r < 0)
                        return r;
                (void)snprintf(ret_why, why_size, "%s", error.text);
                return BEHAVIOR_E_REFUSED;
        }

        *ret_state = delay;
        return 0;
}

static void delay_stop(void *state) {
        free(state);
}

/* An input that is no object (a text, null) has no `ms`: the default holds. */
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

static void delay_on_timer(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Delay wanted;

        if (!delay_wanted(state, message, reply, &wanted))
                return;

        buffer_printf(&reply->output, "{\"ms\":%llu}", (unsigned long long)wanted.ms);
        reply->verdict = BEHAVIOR_DONE;
}

static void delay_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Delay wanted;

        if (!delay_wanted(state, message, reply, &wanted))
                return;

        if (wanted.ms == 0) {
                delay_on_timer(state, message, reply);
                return;
        }

        reply->verdict = BEHAVIOR_DEFER;
        reply->defer_usec = wanted.ms * USEC_PER_MSEC;
}

const Behavior behavior_delay = {
        .type = "delay",
        .help = "answers after input.ms milliseconds, without holding a thread",
        .trusted = true,
        .quick = true,
        .init = delay_init,
        .stop = delay_stop,
        .handle = delay_handle,
        .on_timer = delay_on_timer,
};
