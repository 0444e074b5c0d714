/* SPDX-License-Identifier: MIT */

/*
 * counter: counts its messages; the output is {"count": n}. Parameter `start` (default 0) is where it begins. The count
 * lives as long as the agent: durable state comes with checkpoints.
 */

#include <stdio.h>

#include "proto/scan.h"
#include "runtimed/behavior.h"

typedef struct Counter {
        uint64_t count;
} Counter;

static const ScanField counter_parameters[] = {
        { .name = "start", .kind = SCAN_U64, .offset = offsetof(Counter, count), .max = UINT64_C(1) << 53 },
        { .name = NULL },
};

static int counter_init(Slice agent_id, Slice parameters, void **ret_state, char *ret_why, size_t why_size) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        Counter *counter;
        int r;

        (void)agent_id;

        counter = calloc(1, sizeof(*counter));
        if (!counter)
                return -ENOMEM;

        r = parameters.data ? scan_object(parameters, counter_parameters, counter, &arena, &error) : 0;
        if (r != 0) {
                free(counter);
                if (r < 0)
                        return r;
                (void)snprintf(ret_why, why_size, "%s", error.text);
                return BEHAVIOR_E_REFUSED;
        }

        *ret_state = counter;
        return 0;
}

static void counter_stop(void *state) {
        free(state);
}

static void counter_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Counter *counter = state;

        (void)message;

        buffer_printf(&reply->output, "{\"count\":%llu}", (unsigned long long)++counter->count);
        reply->verdict = BEHAVIOR_DONE;
}

const Behavior behavior_counter = {
        .type = "counter",
        .help = "output = {\"count\": how many messages it has handled}",
        .trusted = true,
        .quick = true,
        .init = counter_init,
        .stop = counter_stop,
        .handle = counter_handle,
};
