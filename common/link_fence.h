/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LinkFence: tells how far nats.c's delivery thread is behind what the loop has read, so that the loop can stop reading
 * before more than a limit lies between the two. Embedded by value. Loop thread only.
 *
 * From time to time a fence is sent after the messages; until it has passed, no more than the limit is read.
 */

#include <nats/nats.h>

#include "common/link_inbox.h"

typedef struct LinkFence {
        LinkInbox *inbox;
        natsStatistics *counts;
        uint64_t limit;           /* bytes */
        uint64_t sent_at;         /* bytes that had been read */
        uint64_t awaited;         /* passed when the inbox has counted so many */
        bool is_awaited, is_over; /* over: as much as the limit was read since */
} LinkFence;

int link_fence_init(LinkFence *fence, LinkInbox *inbox, size_t limit);
void link_fence_done(LinkFence *fence);

/* A new connection counts from the start. */
void link_fence_restart(LinkFence *fence);

/* After each read: is it time to send one? */
bool link_fence_is_due(LinkFence *fence, natsConnection *connection);

/* `subject`: one that this connection is subscribed to, so that nobody can mind. */
void link_fence_send(LinkFence *fence, natsConnection *connection, const char *subject);

/* May more be read? */
bool link_fence_is_open(LinkFence *fence);

/* It did not come, and nothing else does: memory had no room for it. */
void link_fence_give_up(LinkFence *fence);
