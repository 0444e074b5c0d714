/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What to do about a connection that does not come about, and what else the server's words mean. Pure.
 */

#include "common/nats_link.h"

/*
 * `why` is what nats.c or the server called it, `options` what was tried with. Returns a clause without secrets, that
 * names the keys to look at; NULL: nothing is known about it.
 */
const char *nats_advice(const NatsLinkOptions *options, const char *why);

/* Do permissions of the server forbid a subscription? Then it is these; `ret_queue` is absent when there is none.
 * Borrowed from `why`. */
bool nats_error_forbids_subscription(const char *why, Slice *ret_subject, Slice *ret_queue);

/* "<before><why>: <advice>", if there is one. */
void nats_explain(const NatsLinkOptions *options, const char *before, const char *why, char *ret, size_t size);
