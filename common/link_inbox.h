/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LinkInbox: where threads of nats.c (and the thread that connects) leave what they have for the loop thread.
 *
 * Those threads may call back at any time, even after the link they belong to is gone. So they hold no pointer but a
 * ticket, a number that is looked up: when its inbox is gone, the push fails and the caller keeps what it had. A
 * subscription's callback gets ticket and key in one word, so there is nothing to free when it ends.
 * What pushes and wakes: from any thread; the rest on the loop thread.
 */

#include <nats/nats.h>

#include "proto/cc.h"

#define LINK_INBOX_KEY_BITS 48 /* of a closure; the ticket has the rest */
#define LINK_INBOX_MESSAGE_COST \
        256 /* of nats.c for a message, beside its bytes: with subject, reply and malloc's own */

enum {
        LINK_INBOX_E_OK,

        LINK_INBOX_E_GONE, /* the inbox of that ticket is no more */
        LINK_INBOX_E_FULL, /* too many bytes are waiting; counted */
};

/* Either a message, or what went wrong, as text. */
typedef struct LinkEvent {
        natsMsg *message;
        uint64_t key; /* of the subscription that the message came through (common/link_tags.h); 0: none */
        char *why;
} LinkEvent;

void link_event_done(LinkEvent *event);

typedef struct LinkInbox LinkInbox;

int link_inbox_new(size_t bytes_max, LinkInbox **ret) _must_check_;
LinkInbox *link_inbox_free(LinkInbox *inbox);

DEFINE_CLEANUP(LinkInbox *, link_inbox_free);

uintptr_t link_inbox_ticket(const LinkInbox *inbox);

/* What nats.c calls back with. */
void *link_inbox_closure(const LinkInbox *inbox, uint64_t key);

/* Readable when something was pushed, or somebody called link_inbox_wake(). */
int link_inbox_fd(const LinkInbox *inbox);

/* Takes the message on 0. Returns 0, an outcome above, -ENOMEM (counted, too). */
int link_inbox_push(void *closure, natsMsg *message);
int link_inbox_push_error(uintptr_t ticket, const char *why);
void link_inbox_wake(uintptr_t ticket);

/* The fence (common/link_fence.h) has passed all messages that were before it. */
void link_inbox_push_fence(uintptr_t ticket);
uint64_t link_inbox_n_fences(const LinkInbox *inbox);

/* Makes the descriptor unreadable; before the events are taken. */
void link_inbox_acknowledge(LinkInbox *inbox);

/*
 * The oldest event, the caller's from then on. Returns false when there is none: from then on the descriptor tells of
 * new ones. Who stops earlier has to come back by itself.
 */
bool link_inbox_take(LinkInbox *inbox, LinkEvent *ret);

uint64_t link_inbox_n_dropped(const LinkInbox *inbox);
