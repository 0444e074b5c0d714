/* SPDX-License-Identifier: MIT */

/*
 * counter: counts its messages; the output is {"count": n}. Its state is the count, so that it goes on where it was.
 * Parameter `start` (default 0) is where it begins when it has no state.
 *
 * The state is the text "counter 1 <count>"; the 1 is the version of that form. Read is only what would be written just
 * so: what looks different is not a counter's, and guessing at it would be a wrong count that nobody notices.
 */

#include <stdio.h>

#include "proto/scan.h"
#include "runtimed/behavior_builtin.h"

#define STATE_FORM "counter 1 %llu"

typedef struct Counter {
        uint64_t count;
} Counter;

static const ScanField counter_parameters[] = {
        { .name = "start", .kind = SCAN_U64, .offset = offsetof(Counter, count), .max = UINT64_C(1) << 53 },
        { .name = NULL },
};

static bool read_state(Slice state, Counter *ret) {
        char text[64], again[64];
        unsigned long long count = 0;

        if (state.size >= sizeof(text))
                return false;
        memcpy(text, state.data, state.size);
        text[state.size] = '\0';
        if (sscanf(text, STATE_FORM, &count) != 1)
                return false;
        (void)snprintf(again, sizeof(again), STATE_FORM, count);
        if (!slice_equal(state, slice_of(again)))
                return false;

        ret->count = count;
        return true;
}

static int begin(const BehaviorStart *start, Counter *ret, char *ret_why, size_t why_size) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        int r;

        r = start->parameters.data ? scan_object(start->parameters, counter_parameters, ret, &arena, &error) : 0;
        if (r != 0)
                return refuse_parameters(r, &error, ret_why, why_size);

        if (start->state.data && !read_state(start->state, ret)) {
                (void)snprintf(ret_why, why_size, "a state of %zu bytes that no counter of this version has written",
                        start->state.size);
                return BEHAVIOR_E_STATE;
        }

        return 0;
}

static int counter_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        Counter begun = {}, *counter;
        int r;

        r = begin(start, &begun, ret_why, why_size);
        if (r != 0)
                return r;

        counter = malloc(sizeof(*counter));
        if (!counter)
                return -ENOMEM;

        *counter = begun;
        *ret_state = counter;
        return 0;
}

static void counter_stop(void *state) {
        free(state);
}

static void counter_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Counter *counter = state;

        if (message_is_work(message))
                buffer_printf(&reply->output, "{\"count\":%llu}", (unsigned long long)++counter->count);
        reply->verdict = BEHAVIOR_DONE;
}

static int counter_checkpoint(void *state, Buffer *ret) {
        const Counter *counter = state;

        buffer_printf(ret, STATE_FORM, (unsigned long long)counter->count);
        return ret->failed ? -ENOMEM : 0;
}

const Behavior behavior_counter = {
        .type = "counter",
        .help = "output = {\"count\": how many messages it has handled}",
        .trusted = true,
        .quick = true,
        .init = counter_init,
        .stop = counter_stop,
        .handle = counter_handle,
        .checkpoint = counter_checkpoint,
};
