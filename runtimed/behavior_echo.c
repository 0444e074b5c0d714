/* SPDX-License-Identifier: MIT */

/*
 * echo: the output is the input, or the payload of a topic's message. Stateless; the thing to measure the system with,
 * and to try it out.
 */

#include "runtimed/behavior_builtin.h"

static int echo_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        (void)start;
        (void)ret_why;
        (void)why_size;

        *ret_state = NULL;
        return 0;
}

static void echo_stop(void *state) {
        (void)state;
}

static void echo_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        (void)state;

        if (message_is_work(message))
                buffer_append_slice(&reply->output, message->input);
        reply->verdict = BEHAVIOR_DONE;
}

const Behavior behavior_echo = {
        .type = "echo",
        .help = "output = input",
        .trusted = true,
        .quick = true,
        .init = echo_init,
        .stop = echo_stop,
        .handle = echo_handle,
};
