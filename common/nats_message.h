/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Messages between nats.c's form and ours.
 */

#include <nats/nats.h>

#include "common/outbox.h"

/* Borrowed from `message` and `headers`, a buffer for the block of those that pass through. */
InMessage nats_message_read(natsMsg *message, Buffer *headers);

/* What the server counts against max_payload. */
size_t nats_message_payload(const OutMessage *message);

/* `scratch` is any buffer. Returns 0, NATS_LINK_E_DOWN, NATS_LINK_E_TOO_LARGE, -EINVAL (can't travel), -ENOMEM. */
int nats_message_publish(natsConnection *connection, const OutMessage *message, Buffer *scratch);
