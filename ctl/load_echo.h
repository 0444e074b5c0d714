/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LoadEcho: answers every request with its own body: the other half of a bare request and answer over NATS, to
 * compare with. In a thread of its own, with a connection of its own, made as those of ctl/load.h.
 */

#include "ctl/client.h"

typedef struct LoadEcho LoadEcho;

/* Connects within `timeout_usec`. Returns 0, or -errno with a sentence. */
int load_echo_new(const CtlSettings *settings, uint64_t timeout_usec, LoadEcho **ret, NatsReason *ret_why) _must_check_;
LoadEcho *load_echo_free(LoadEcho *echo);

DEFINE_CLEANUP(LoadEcho *, load_echo_free);

const char *load_echo_subject(const LoadEcho *echo);
