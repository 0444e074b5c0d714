/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Behaviours that do what a test says, in the three ways that a behaviour can be called: at once ("quick"), by a worker
 * ("slow"), by a host of child processes ("remote"). They count what they handle; the count is their state. A message
 * with one of these words in it is handled otherwise:
 *
 *   defer     is wanted back after a second, once
 *   pending   is left pending; script.pending is its id
 *   fail      is an error
 *   quiet     has no output
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtimed/behavior.h"

typedef struct Script {
        int init_result, checkpoint_result; /* what the hooks return */
        unsigned n_states_refused;          /* so many inits that bring a state are refused for it */
        unsigned n_inits_refused;           /* ... whatever they bring */
        unsigned n_inits, n_stops, n_checkpoints;
        size_t n_alive; /* init has run, stop has not */
        uint64_t pending;
        char handled[4096]; /* every input, each with a semicolon */
        char state[64];     /* what the last init was given; "none" */
} Script;

static Script script;

static inline bool script_says(Slice input, const char *word) {
        return input.size > 0 && memmem(input.data, input.size, word, strlen(word));
}

static inline int script_refuse(int result, char *ret_why, size_t why_size) {
        (void)snprintf(ret_why, why_size, "the script says no");
        return result;
}

static inline int script_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        unsigned long *count;

        script.n_inits++;
        (void)snprintf(script.state, sizeof(script.state), "%.*s", start->state.data ? (int)start->state.size : 4,
                start->state.data ? start->state.data : "none");
        if (start->state.data && script.n_states_refused > 0) {
                script.n_states_refused--;
                return script_refuse(BEHAVIOR_E_STATE, ret_why, why_size);
        }
        if (script.n_inits_refused > 0) {
                script.n_inits_refused--;
                return script_refuse(BEHAVIOR_E_REFUSED, ret_why, why_size);
        }
        if (script.init_result != 0)
                return script_refuse(script.init_result, ret_why, why_size);
        if (start->parameters.data && script_says(start->parameters, "refuse"))
                return script_refuse(BEHAVIOR_E_REFUSED, ret_why, why_size);

        count = calloc(1, sizeof(*count));
        if (!count)
                return -ENOMEM;
        if (start->state.data)
                *count = strtoul(script.state, NULL, 10);
        script.n_alive++;
        *ret_state = count;
        return 0;
}

static inline void script_stop(void *state) {
        if (!state)
                return;
        script.n_stops++;
        script.n_alive--;
        free(state);
}

static inline void script_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        const size_t used = strlen(script.handled);
        unsigned long *count = state;

        if (used + message->input.size + 2 < sizeof(script.handled))
                (void)snprintf(
                        script.handled + used, sizeof(script.handled) - used, "%.*s;", SLICE_ARG(message->input));
        if (script_says(message->input, "defer") && message->kind != MESSAGE_RESUME) {
                reply->verdict = BEHAVIOR_DEFER;
                reply->defer_usec = 1000000;
                return;
        }
        if (script_says(message->input, "pending")) {
                reply->verdict = BEHAVIOR_PENDING;
                script.pending = message->id;
                return;
        }

        (*count)++;
        if (script_says(message->input, "fail")) {
                behavior_fail(reply, ERROR_CAPABILITY_ERROR, "the script says so");
                return;
        }
        if (!script_says(message->input, "quiet"))
                buffer_printf(&reply->output, "%lu", *count);
        reply->verdict = BEHAVIOR_DONE;
}

static inline int script_checkpoint(void *state, Buffer *ret) {
        const unsigned long *count = state;

        script.n_checkpoints++;
        if (script.checkpoint_result != 0) {
                buffer_append_slice(ret, SLICE("the script says no"));
                return script.checkpoint_result;
        }
        buffer_printf(ret, "%lu", *count);
        return ret->failed ? -ENOMEM : 0;
}

#define SCRIPTED .trusted = true, .init = script_init, .stop = script_stop, .handle = script_handle

static const Behavior behavior_quick = { .type = "quick", SCRIPTED, .quick = true, .checkpoint = script_checkpoint };
static const Behavior behavior_slow = { .type = "slow", SCRIPTED, .checkpoint = script_checkpoint };
static const Behavior behavior_stateless = { .type = "stateless", SCRIPTED };
static const Behavior behavior_remote = { .type = "remote", .trusted = true, .is_remote = true, .is_durable = true };

static const Behavior *const scripted_behaviors[] = { &behavior_quick, &behavior_slow, &behavior_stateless,
        &behavior_remote, &behavior_echo, &behavior_counter, &behavior_delay, &behavior_relay, NULL };
