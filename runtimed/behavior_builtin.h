/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the built-in behaviours share. Pure; for behavior_*.c.
 */

#include "runtimed/behavior.h"

/* Does it bring them something to do? Answers and timers are for those who asked for them, and these never do: such a
 * message is a stray. */
static inline bool message_is_work(const BehaviorMessage *message) {
        return message->kind == MESSAGE_TRIGGER || message->kind == MESSAGE_TOPIC || message->kind == MESSAGE_RESUME;
}

/* The sentence of a refused init(). Returns BEHAVIOR_E_REFUSED, or `r` when that is no outcome but an -errno. */
int refuse_parameters(int r, const WireError *error, char *ret_why, size_t why_size);
